#include "daemon/issuer/chain.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

bool
chain_pool_add(struct chain_pool *pool, struct bytes der, struct error *e)
{
	uint8_t *copy;

	if (pool->count == CHAIN_CANDIDATES_MAX)
		return error_set(e, ERROR_LIMIT, "more than %d certificates to build a chain from",
		    CHAIN_CANDIDATES_MAX);
	copy = malloc(der.len > 0 ? der.len : 1);
	if (copy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	if (der.len > 0)
		memcpy(copy, der.p, der.len);
	pool->der[pool->count++] = (struct bytes){copy, der.len};
	return true;
}

bool
chain_pool_add_pem(struct chain_pool *pool, const char *text, struct error *e)
{
	struct bytes rest = {(const uint8_t *)text, strlen(text)};
	uint8_t der[CERTIFICATE_MAX];
	size_t found = 0, len;

	for (;;) {
		struct error one = ERROR_INIT;

		if (!pem_decode(&rest, PEM_CERTIFICATE, der, sizeof der, &len, &one)) {
			if (one.code == ERROR_NOT_FOUND && found > 0)
				return true;
			*e = one;
			return false;
		}
		if (!chain_pool_add(pool, (struct bytes){der, len}, e))
			return false;
		found++;
	}
}

void
chain_pool_free(struct chain_pool *pool)
{
	for (size_t i = 0; i < pool->count; i++)
		free((void *)pool->der[i].p);
	*pool = (struct chain_pool){0};
}

static void
readable(struct bytes name, char out[256])
{
	struct error ignored = ERROR_INIT;

	if (!name_to_text(name, out, 256, &ignored))
		memcpy(out, "(unreadable name)", sizeof "(unreadable name)");
}

/* Whether the certificate may stand above below_count certificates of CAs. */
static bool
check_issuer(const struct certificate *c, size_t below_count, int64_t now, struct error *e)
{
	char name[256];

	readable(c->subject, name);
	if (!c->has_basic_constraints || !c->ca)
		return error_set(
		    e, ERROR_INPUT, "RFC 5280 4.2.1.9: %s is not the certificate of a CA", name);
	if (c->has_key_usage && (c->key_usage & KU_KEY_CERT_SIGN) == 0)
		return error_set(e, ERROR_INPUT,
		    "RFC 5280 4.2.1.3: the key of %s may not sign certificates", name);
	if (now < c->not_before || now > c->not_after)
		return error_set(e, ERROR_INPUT, "the certificate of %s is not valid now", name);
	if (c->path_length >= 0 && below_count > (size_t)c->path_length)
		return error_set(e, ERROR_INPUT,
		    "RFC 5280 4.2.1.9: the pathLenConstraint of %s is %d, and %zu CAs stand below "
		    "it",
		    name, c->path_length, below_count);
	return true;
}

/* The certificate of that subject whose key verifies child; false when there is
 * none, with a sentence. */
static bool
find_issuer(const struct chain_pool *pool, const struct certificate *child, struct certificate *out,
    struct error *e)
{
	char name[256];
	bool named = false;

	for (size_t i = 0; i < pool->count; i++) {
		struct error ignored = ERROR_INIT;

		if (!certificate_parse(pool->der[i], out, &ignored) ||
		    !bytes_equal(out->subject, child->issuer))
			continue;
		named = true;
		error_clear(&ignored);
		if (certificate_verify(child, &out->spki, &ignored))
			return true;
	}
	readable(child->issuer, name);
	if (named)
		return error_set(e, ERROR_INPUT,
		    "no certificate of %s verifies the signature of the one below it", name);
	return error_set(e, ERROR_NOT_FOUND,
	    "the certificate of %s is missing: give the whole chain up to the root", name);
}

static bool
find_own(const struct chain_pool *pool, struct bytes spki, struct certificate *out, struct error *e)
{
	for (size_t i = 0; i < pool->count; i++) {
		struct error ignored = ERROR_INIT;

		if (certificate_parse(pool->der[i], out, &ignored) &&
		    bytes_equal(out->spki.whole, spki))
			return true;
	}
	return error_set(e, ERROR_NOT_FOUND,
	    "none of the certificates is for this CA's key: was another CSR signed?");
}

bool
chain_build(const struct chain_pool *pool, struct bytes spki, int64_t now, struct chain *chain,
    struct error *e)
{
	*chain = (struct chain){0};
	if (!find_own(pool, spki, &chain->certs[0], e))
		return false;
	chain->count = 1;
	for (;;) {
		const struct certificate *last = &chain->certs[chain->count - 1];

		if (!check_issuer(last, chain->count - 1, now, e))
			return false;
		if (certificate_is_self_issued(last) && certificate_verify(last, &last->spki, NULL))
			return true;
		if (chain->count == CHAIN_LENGTH_MAX)
			return error_set(e, ERROR_LIMIT, "the chain is longer than %d certificates",
			    CHAIN_LENGTH_MAX);
		if (!find_issuer(pool, last, &chain->certs[chain->count], e))
			return false;
		chain->count++;
	}
}
