#include "daemon/x509/crl_tally.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "daemon/x509/serial.h"

#define RECORD_MAX (2 + SERIAL_LEN + 8 + 8)

static EVP_MAC_CTX *
new_gmac(void)
{
	EVP_MAC *gmac = EVP_MAC_fetch(NULL, "GMAC", NULL);
	EVP_MAC_CTX *ctx = gmac != NULL ? EVP_MAC_CTX_new(gmac) : NULL;

	EVP_MAC_free(gmac); /* the context holds it */
	return ctx;
}

bool
crl_tally_begin(struct crl_tally *t, const uint8_t key[CRL_TALLY_KEY_LEN], struct error *err)
{
	/* The key is not used for anything else, so one value of the nonce does. */
	uint8_t nonce[12] = {0};
	char cipher[] = "AES-256-GCM";
	const OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
	    OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, nonce, sizeof nonce),
	    OSSL_PARAM_construct_end(),
	};

	t->count = 0;
	t->held_len = 0;
	if (t->mac == NULL)
		t->mac = new_gmac();
	if (t->mac == NULL || EVP_MAC_init(t->mac, key, CRL_TALLY_KEY_LEN, params) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "beginning a tally of revocations");
	return true;
}

static size_t
put_int64(uint8_t *out, int64_t value)
{
	for (size_t i = 0; i < 8; i++)
		out[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
	return 8;
}

static bool
take_held(struct crl_tally *t, struct error *err)
{
	bool ok = EVP_MAC_update(t->mac, t->held, t->held_len) == 1;

	t->held_len = 0;
	return ok || error_set_openssl(err, ERROR_INTERNAL, "tallying revocations");
}

/* The first octet says where the others end, so that no two entries look alike. */
bool
crl_tally_add(struct crl_tally *t, const struct crl_entry *entry, struct error *err)
{
	uint8_t *p;

	if (entry->serial.len == 0 || entry->serial.len > SERIAL_LEN)
		return error_set(err, ERROR_INPUT,
		    "a revoked serial has %zu octets; RFC 5280 "
		    "4.1.2.2 allows 1 to 20",
		    entry->serial.len);
	if (sizeof t->held - t->held_len < RECORD_MAX && !take_held(t, err))
		return false;
	p = t->held + t->held_len;
	*p++ = (uint8_t)(entry->serial.len | (entry->has_invalidity_date ? 0x80 : 0));
	*p++ = entry->reason;
	memcpy(p, entry->serial.p, entry->serial.len);
	p += entry->serial.len;
	p += put_int64(p, entry->revoked_at);
	if (entry->has_invalidity_date)
		p += put_int64(p, entry->invalidity_date);
	t->held_len = (size_t)(p - t->held);
	t->count++;
	return true;
}

bool
crl_tally_end(struct crl_tally *t, uint8_t tag[CRL_TALLY_LEN], struct error *err)
{
	size_t len;

	if (!take_held(t, err))
		return false;
	if (EVP_MAC_final(t->mac, tag, &len, CRL_TALLY_LEN) != 1 || len != CRL_TALLY_LEN)
		return error_set_openssl(err, ERROR_INTERNAL, "ending a tally of revocations");
	return true;
}

void
crl_tally_free(struct crl_tally *t)
{
	EVP_MAC_CTX_free(t->mac);
	*t = (struct crl_tally){0};
}
