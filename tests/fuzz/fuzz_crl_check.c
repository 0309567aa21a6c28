/* Streamed CRLs: the answer does not depend on how the bytes are cut; what is
 * taken, OpenSSL reads too, with as many entries. The first octet chooses the
 * pieces. Issuer and key of the seeds: "CN=Fuzz CA", 01 02 .. 14. */

#include <stdint.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "daemon/x509/crl.h"
#include "daemon/x509/crl_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t issuer[] = {0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x03,
    0x0c, 0x07, 'F', 'u', 'z', 'z', ' ', 'C', 'A'};
static const uint8_t key_id[] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};

static bool
check(struct bytes tbs, unsigned seed, struct crl_summary *summary)
{
	static struct crl_check c;
	const struct crl_rules rules = {
	    .issuer = {issuer, sizeof issuer},
	    .key_id = {key_id, sizeof key_id},
	    .sig_alg = SIG_ECDSA_SHA256,
	    .total_len = tbs.len,
	};
	const struct crl_summary *s = NULL;
	struct error err = ERROR_INIT;
	bool ok = true;

	crl_check_begin(&c, &rules);
	while (ok && tbs.len > 0) {
		size_t n = seed == 0 ? tbs.len
				     : 1 + (seed = seed * 1103515245 + 12345) / 65536 % 40;

		if (n > tbs.len)
			n = tbs.len;
		ok = crl_check_push(&c, (struct bytes){tbs.p, n}, &err);
		tbs.p += n;
		tbs.len -= n;
	}
	ok = crl_check_finish(&c, &s, &err) && ok;
	if (ok == error_is_set(&err))
		abort();
	if (ok)
		*summary = *s;
	return ok;
}

/* Puts a signature around the list and lets OpenSSL count the entries. */
static void
compare(struct bytes tbs, uint64_t entries)
{
	static const uint8_t signature[] = {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01};
	uint8_t head[CRL_LIST_HEAD_MAX], tail_buf[CRL_LIST_TAIL_MAX], *whole;
	struct error err = ERROR_INIT;
	const uint8_t *p;
	struct bytes tail;
	uint64_t list_len;
	X509_CRL *crl;
	size_t len;

	if (!crl_list_head(
		tbs.len, SIG_ECDSA_SHA256, sizeof signature, head, &len, &list_len, &err) ||
	    !crl_list_tail(SIG_ECDSA_SHA256, (struct bytes){signature, sizeof signature}, tail_buf,
		sizeof tail_buf, &tail, &err) ||
	    len + tbs.len + tail.len != list_len)
		abort();
	whole = malloc(list_len);
	memcpy(whole, head, len);
	memcpy(whole + len, tbs.p, tbs.len);
	memcpy(whole + len + tbs.len, tail.p, tail.len);
	p = whole;
	crl = d2i_X509_CRL(NULL, &p, (long)list_len);
	if (crl == NULL || p != whole + list_len ||
	    (uint64_t)(X509_CRL_get_REVOKED(crl) == NULL
			   ? 0
			   : sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl))) != entries)
		abort();
	X509_CRL_free(crl);
	free(whole);
	ERR_clear_error();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct crl_summary whole = {0}, pieces = {0};
	struct bytes tbs;
	bool ok;

	if (size < 1)
		return 0;
	tbs = (struct bytes){data + 1, size - 1};
	ok = check(tbs, 0, &whole);
	if (check(tbs, 1U + data[0], &pieces) != ok || whole.entries != pieces.entries ||
	    whole.number_len != pieces.number_len || whole.delta != pieces.delta)
		abort();
	if (ok)
		compare(tbs, whole.entries);
	return 0;
}
