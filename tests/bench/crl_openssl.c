/*
 * The same CRL by OpenSSL's own objects, from the same rows:
 *
 *	crl_openssl CONNINFO SCOPE_ID AFTER_SEQ FILE
 *
 * As crl_stream, and prints the same; it also signs, with a P-256 key made for it,
 * because X509_CRL is encoded when it is signed. The rows come as fast as libpq
 * has them: as a binary COPY.
 */

#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <arpa/inet.h>
#include <libpq-fe.h>
#include <openssl/ec.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "tests/bench/peak.h"

#define COPY_HEADER_LEN 19 /* signature, flags, length of the extension */
#define POSTGRES_EPOCH 946684800

static void
must(int ok, const char *what)
{
	if (!ok)
		errx(1, "%s failed", what);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const uint8_t *
field(const uint8_t **p, size_t *len)
{
	const uint8_t *value = *p + 4;
	uint32_t n;

	memcpy(&n, *p, sizeof n);
	*len = ntohl(n);
	*p = value + *len;
	return value;
}

static void
add_entry(X509_CRL *crl, const uint8_t *p)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_TIME *at = ASN1_TIME_new();
	ASN1_INTEGER *serial;
	const uint8_t *octets;
	uint64_t time_us;
	uint16_t reason;
	BIGNUM *n;
	size_t len;

	p += 2; /* number of fields */
	octets = field(&p, &len);
	n = BN_bin2bn(octets, (int)len, NULL);
	serial = BN_to_ASN1_INTEGER(n, NULL);
	BN_free(n);
	memcpy(&time_us, field(&p, &len), sizeof time_us);
	must(entry != NULL && serial != NULL &&
		 ASN1_TIME_set(
		     at, (time_t)((int64_t)be64toh(time_us) / 1000000 + POSTGRES_EPOCH)) != NULL,
	    "an entry");
	must(X509_REVOKED_set_serialNumber(entry, serial) &&
		 X509_REVOKED_set_revocationDate(entry, at),
	    "an entry");
	memcpy(&reason, field(&p, &len), sizeof reason);
	if (reason != 0) {
		ASN1_ENUMERATED *code = ASN1_ENUMERATED_new();

		must(ASN1_ENUMERATED_set(code, ntohs(reason)) &&
			 X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, code, 0, 0) == 1,
		    "a reason");
		ASN1_ENUMERATED_free(code);
	}
	must(X509_CRL_add0_revoked(crl, entry), "an entry");
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(at);
}

static unsigned long
add_entries(X509_CRL *crl, PGconn *conn, const char *sql)
{
	PGresult *r = PQexec(conn, sql);
	unsigned long count = 0;
	char *row;
	int len;

	if (PQresultStatus(r) != PGRES_COPY_OUT)
		errx(1, "%s", PQerrorMessage(conn));
	PQclear(r);
	while ((len = PQgetCopyData(conn, &row, 0)) > 0) {
		const uint8_t *p = (const uint8_t *)row;

		if (count == 0 && len > COPY_HEADER_LEN && memcmp(p, "PGCOPY", 6) == 0)
			p += COPY_HEADER_LEN;
		if (p + 2 < (const uint8_t *)row + len) {
			add_entry(crl, p);
			count++;
		}
		PQfreemem(row);
	}
	if (len != -1)
		errx(1, "%s", PQerrorMessage(conn));
	return count;
}

static void
add_number(X509_CRL *crl, int nid, long value, int critical)
{
	ASN1_INTEGER *number = ASN1_INTEGER_new();

	must(ASN1_INTEGER_set(number, value) &&
		 X509_CRL_add1_ext_i2d(crl, nid, number, critical, 0) == 1,
	    "a number");
	ASN1_INTEGER_free(number);
}

static X509_CRL *
begin_list(long after)
{
	X509_NAME *name = X509_NAME_new();
	ASN1_TIME *at = ASN1_TIME_new();
	X509_CRL *crl = X509_CRL_new();

	must(crl != NULL && X509_CRL_set_version(crl, X509_CRL_VERSION_2) &&
		 X509_NAME_add_entry_by_txt(
		     name, "CN", MBSTRING_UTF8, (const uint8_t *)"Bench CA", -1, -1, 0) &&
		 X509_CRL_set_issuer_name(crl, name) && ASN1_TIME_set(at, time(NULL)) != NULL &&
		 X509_CRL_set1_lastUpdate(crl, at) &&
		 ASN1_TIME_set(at, time(NULL) + 86400) != NULL && X509_CRL_set1_nextUpdate(crl, at),
	    "the list");
	add_number(crl, NID_crl_number, 2, 0);
	if (after >= 0)
		add_number(crl, NID_delta_crl, 1, 1);
	X509_NAME_free(name);
	ASN1_TIME_free(at);
	return crl;
}

static void
make_query(char *sql, size_t size, long scope, long after)
{
	if (after < 0)
		snprintf(sql, size,
		    "COPY (SELECT serial, revoked_at, reason FROM chancery_store.revocation WHERE "
		    "scope_id = %ld) TO STDOUT (FORMAT binary)",
		    scope);
	else
		snprintf(sql, size,
		    "COPY (SELECT DISTINCT ON (serial) serial, revoked_at, reason FROM "
		    "chancery_store.revocation_event WHERE scope_id = %ld AND seq > %ld "
		    "ORDER BY serial, seq DESC) TO STDOUT (FORMAT binary)",
		    scope, after);
}

int
main(int argc, char **argv)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	double start = now();
	unsigned long count;
	char sql[512];
	X509_CRL *crl;
	PGconn *conn;
	FILE *out;
	long len;

	if (argc != 5)
		errx(2, "usage: crl_openssl CONNINFO SCOPE_ID AFTER_SEQ FILE");
	conn = PQconnectdb(argv[1]);
	if (PQstatus(conn) != CONNECTION_OK)
		errx(1, "%s", PQerrorMessage(conn));
	make_query(sql, sizeof sql, atol(argv[2]), atol(argv[3]));
	crl = begin_list(atol(argv[3]));
	count = add_entries(crl, conn, sql);
	must(X509_CRL_sort(crl) && X509_CRL_sign(crl, key, EVP_sha256()) > 0, "signing");
	out = fopen(argv[4], "we");
	if (out == NULL || i2d_X509_CRL_fp(out, crl) != 1 || (len = ftell(out)) < 0 ||
	    fclose(out) != 0)
		err(1, "%s", argv[4]);
	printf("%lu %ld %.6f %ld\n", count, len, now() - start, peak_kib());
	X509_CRL_free(crl);
	EVP_PKEY_free(key);
	PQfinish(conn);
	return 0;
}
