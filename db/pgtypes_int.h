#ifndef CHANCERY_DB_PGTYPES_INT_H
#define CHANCERY_DB_PGTYPES_INT_H

/* Numbers of PostgreSQL's built-in types (pg_type.dat); they never change. */
#define OID_BOOL 16u
#define OID_BYTEA 17u
#define OID_NAME 19u
#define OID_INT8 20u
#define OID_INT2 21u
#define OID_INT4 23u
#define OID_TEXT 25u
#define OID_JSON 114u
#define OID_VARCHAR 1043u
#define OID_TIMESTAMPTZ 1184u
#define OID_UUID 2950u
#define OID_JSONB 3802u
#define OID_INT4_ARRAY 1007u
#define OID_TEXT_ARRAY 1009u
#define OID_INT8_ARRAY 1016u
#define OID_BYTEA_ARRAY 1001u

/* Seconds from 1970-01-01 to 2000-01-01, where PostgreSQL's clock starts, and
 * the ticks of that clock in a second. */
#define POSTGRES_EPOCH_S 946684800
#define POSTGRES_TICKS 1000000

#endif
