/* CRLs that stand somewhere: the answer does not depend on how the bytes are cut, and
 * what the key signed is read as OpenSSL reads it. The first octet chooses the pieces.
 * Issuer and key of the seeds: "CN=Fuzz CA", and the P-256 key 1, so that its point is
 * the curve's base point. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "daemon/x509/crl_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t issuer[] = {0x30, 0x12, 0x31, 0x10, 0x30, 0x0e, 0x06, 0x03, 0x55, 0x04, 0x03,
    0x0c, 0x07, 'F', 'u', 'z', 'z', ' ', 'C', 'A'};
static const uint8_t key_der[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
    0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2,
    0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16,
    0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5};

struct seen {
	bool ok, delta;
	int64_t this_update;
	size_t number_len, idp_len;
};

static struct seen
scan(struct bytes whole, unsigned seed)
{
	struct error err = ERROR_INIT;
	struct crl_facts facts = {0};
	struct crl_scan *s;
	struct seen seen = {0};
	struct spki key;

	if (!spki_parse((struct bytes){key_der, sizeof key_der}, &key, &err) ||
	    (s = crl_scan_new((struct bytes){issuer, sizeof issuer}, &key, &err)) == NULL)
		abort();
	seen.ok = true;
	while (seen.ok && whole.len > 0) {
		size_t n = seed == 0 ? whole.len
				     : 1 + (seed = seed * 1103515245 + 12345) / 65536 % 40;

		if (n > whole.len)
			n = whole.len;
		seen.ok = crl_scan_push(s, (struct bytes){whole.p, n}, &err);
		whole.p += n;
		whole.len -= n;
	}
	seen.ok = crl_scan_finish(s, &facts, &err) && seen.ok;
	if (seen.ok == error_is_set(&err))
		abort();
	if (seen.ok) {
		seen.delta = facts.delta;
		seen.this_update = facts.this_update;
		seen.number_len = facts.number.len;
		seen.idp_len = facts.idp.len;
	}
	crl_scan_free(s);
	return seen;
}

/* What the key signed is a CRL for others, too. */
static void
compare(struct bytes whole, const struct seen *seen)
{
	const uint8_t *p = whole.p;
	X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)whole.len);

	if (crl == NULL || p != whole.p + whole.len ||
	    (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0) != seen->delta)
		abort();
	X509_CRL_free(crl);
	ERR_clear_error();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole, pieces;
	struct bytes crl;

	if (size < 1)
		return 0;
	crl = (struct bytes){data + 1, size - 1};
	whole = scan(crl, 0);
	pieces = scan(crl, 1U + data[0]);
	if (whole.ok != pieces.ok || whole.delta != pieces.delta ||
	    whole.this_update != pieces.this_update || whole.number_len != pieces.number_len ||
	    whole.idp_len != pieces.idp_len)
		abort();
	if (whole.ok)
		compare(crl, &whole);
	return 0;
}
