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
	pool->der[pool->count].p = copy;
	pool->der[pool->count].len = der.len;
	pool->count++;
	return true;
}

/* Whether a certificate of the pool names this one's subject as its issuer, and
 * this one is not there yet. */
static bool
is_wanted(const struct chain_pool *pool, const struct certificate *c)
{
	bool wanted = false;

	for (size_t i = 0; i < pool->count; i++) {
		struct error ignored = ERROR_INIT;
		struct certificate have;

		if (bytes_equal(pool->der[i], c->whole))
			return false;
		if (certificate_parse(pool->der[i], &have, &ignored) &&
		    bytes_equal(have.issuer, c->subject))
			wanted = true;
	}
	return wanted;
}

bool
chain_pool_add_issuer(struct chain_pool *pool, struct bytes der, struct error *e)
{
	struct error ignored = ERROR_INIT;
	struct certificate c;

	if (!certificate_parse(der, &c, &ignored) || !is_wanted(pool, &c))
		return true;
	return chain_pool_add(pool, der, e);
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

/* Whether the certificate may stand above so many that are not self-issued: those
 * are what a pathLenConstraint counts. */
static bool
check_issuer(const struct certificate *c, size_t below, int64_t now, struct error *e)
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
	if (c->path_length >= 0 && below > (size_t)c->path_length)
		return error_set(e, ERROR_INPUT,
		    "RFC 5280 4.2.1.9: the pathLenConstraint of %s is %d, and %zu CAs stand below "
		    "it",
		    name, c->path_length, below);
	return true;
}

static bool
is_root(const struct certificate *c)
{
	return certificate_is_self_issued(c) && certificate_verify(c, &c->spki, NULL);
}

/* roots: no others. */
static bool
find_issuer(const struct chain_pool *pool, const struct certificate *child, size_t below,
    int64_t now, bool roots, struct certificate *out, struct error *e)
{
	struct error unfit = ERROR_INIT;
	char name[256];
	bool named = false;

	for (size_t i = 0; i < pool->count; i++) {
		struct error ignored = ERROR_INIT;

		if (!certificate_parse(pool->der[i], out, &ignored) ||
		    !bytes_equal(out->subject, child->issuer))
			continue;
		named = true;
		error_clear(&ignored);
		if (certificate_verify(child, &out->spki, &ignored) && (!roots || is_root(out)) &&
		    check_issuer(out, below, now, &unfit))
			return true;
	}
	if (error_is_set(&unfit)) {
		*e = unfit;
		return false;
	}
	readable(child->issuer, name);
	if (named)
		return error_set(e, ERROR_INPUT,
		    "no certificate of %s verifies the signature of the one below it", name);
	return error_set(e, ERROR_NOT_FOUND,
	    "the certificate of %s is missing: give the whole chain up to the root", name);
}

bool
chain_find_issuer(const struct chain_pool *pool, const struct certificate *child, size_t below,
    int64_t now, struct certificate *out, struct error *e)
{
	return find_issuer(pool, child, below, now, false, out, e);
}

bool
chain_find_own(
    const struct chain_pool *pool, struct bytes spki, struct certificate *out, struct error *e)
{
	struct error unread = ERROR_INIT;

	for (size_t i = 0; i < pool->count; i++) {
		struct error why = ERROR_INIT;

		if (!certificate_parse(pool->der[i], out, &why))
			unread = why;
		else if (bytes_equal(out->spki.whole, spki))
			return true;
	}
	if (error_is_set(&unread))
		return error_set(e, ERROR_NOT_FOUND,
		    "none of the certificates that could be read is for this CA's key; another: %s",
		    unread.text);
	return error_set(e, ERROR_NOT_FOUND,
	    "none of the certificates is for this CA's key: was another CSR signed?");
}

/* roots_first: a root, where one fits, before what stands ahead of it in the pool. */
static bool
build(const struct chain_pool *pool, struct bytes spki, int64_t now, bool roots_first,
    struct chain *chain, struct error *e)
{
	size_t below = 0;

	*chain = (struct chain){0};
	if (!chain_find_own(pool, spki, &chain->certs[0], e) ||
	    !check_issuer(&chain->certs[0], below, now, e))
		return false;
	chain->count = 1;
	for (;;) {
		const struct certificate *last = &chain->certs[chain->count - 1];
		struct certificate *next = &chain->certs[chain->count];
		struct error none = ERROR_INIT;

		if (is_root(last))
			return true;
		if (chain->count == CHAIN_LENGTH_MAX)
			return error_set(e, ERROR_LIMIT, "the chain is longer than %d certificates",
			    CHAIN_LENGTH_MAX);
		below += !certificate_is_self_issued(last);
		if (!(roots_first && find_issuer(pool, last, below, now, true, next, &none)) &&
		    !find_issuer(pool, last, below, now, false, next, e))
			return false;
		chain->count++;
	}
}

/* Where a root's keys vouch for each other, the way through what comes first may end
 * nowhere, or where it began, while a root stands behind it. */
bool
chain_build(const struct chain_pool *pool, struct bytes spki, int64_t now, struct chain *chain,
    struct error *e)
{
	struct error again = ERROR_INIT;

	if (build(pool, spki, now, false, chain, e))
		return true;
	if (!build(pool, spki, now, true, chain, &again))
		return false;
	error_clear(e);
	return true;
}
