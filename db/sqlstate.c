#include "db/sqlstate.h"

#include <string.h>

static const struct {
	const char *prefix; /* the longest that fits wins: longer ones stand first */
	enum error_code code;
} codes[] = {
    {"CH400", ERROR_INPUT}, {"CH401", ERROR_DENIED}, {"CH403", ERROR_DENIED},
    {"CH404", ERROR_NOT_FOUND}, {"CH409", ERROR_CONFLICT}, {"CH413", ERROR_LIMIT},
    {"CH503", ERROR_UNAVAILABLE},
    {"42501", ERROR_DENIED},	  /* insufficient_privilege, row-level security too */
    {"57014", ERROR_TIMEOUT},	  /* query_canceled: statement_timeout */
    {"55P03", ERROR_UNAVAILABLE}, /* lock_not_available */
    {"23505", ERROR_CONFLICT},	  /* unique_violation */
    {"23503", ERROR_CONFLICT},	  /* foreign_key_violation */
    {"26000", ERROR_UNAVAILABLE}, /* a statement that failed to prepare just before */
    {"08", ERROR_UNAVAILABLE},	  /* connection */
    {"53", ERROR_UNAVAILABLE},	  /* disk full, too many connections */
    {"57", ERROR_UNAVAILABLE},	  /* shutdown, crash, still starting */
    {"40", ERROR_UNAVAILABLE},	  /* serialization failure, deadlock: again */
    {"25006", ERROR_UNAVAILABLE}, /* read only: a standby, before it is promoted */
    {"58", ERROR_UNAVAILABLE},	  /* an I/O error of the server */
    {"22", ERROR_INPUT},	  /* data exception */
    {"23", ERROR_INPUT},	  /* CHECK, NOT NULL */
};

enum error_code
sqlstate_code(const char *sqlstate)
{
	if (sqlstate == NULL)
		return ERROR_UNAVAILABLE;
	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		if (strncmp(sqlstate, codes[i].prefix, strlen(codes[i].prefix)) == 0)
			return codes[i].code;
	}
	return ERROR_INTERNAL;
}

bool
error_set_sqlstate(
    struct error *err, const char *sqlstate, const char *attempted, const char *message)
{
	enum error_code code = sqlstate_code(sqlstate);
	int len;

	if (message == NULL || message[0] == '\0')
		message = "no message";
	len = (int)strcspn(message, "\n"); /* what follows are details for administrators */
	if (sqlstate != NULL && strncmp(sqlstate, "CH", 2) == 0)
		return error_set_foreign(err, code, ERROR_POSTGRES, sqlstate, "%.*s", len, message);
	return error_set_foreign(
	    err, code, ERROR_POSTGRES, sqlstate, "database, %s: %.*s", attempted, len, message);
}
