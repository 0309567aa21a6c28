/* The certificates of the CAs whose keys these are. */

#include "pkcs11/orders_int.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/order.h"
#include "daemon/x509/pem.h"
#include "pkcs11/limits_floor.h"

/* Certificates that one order may bring. */
#define CHAIN_MAX 16

static bool
is_own(const struct key_limits *l, const struct certificate *c)
{
	struct error ignored = ERROR_INIT;
	uint8_t digest[32];

	return spki_sha256(&c->spki, digest, &ignored) &&
	       memcmp(digest, l->spki_sha256, sizeof digest) == 0;
}

/* der has room for CERTIFICATE_MAX octets, and c points into it. */
static bool
find_own(const struct key_limits *l, struct bytes pem, uint8_t *der, struct certificate *c,
    struct error *e)
{
	size_t len;

	for (int i = 0; i < CHAIN_MAX; i++) {
		struct error why = ERROR_INIT;

		if (!pem_decode(&pem, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, &why)) {
			if (why.code == ERROR_NOT_FOUND)
				break;
			return error_set(e, why.code, "%s", why.text);
		}
		if (certificate_parse((struct bytes){der, len}, c, &why) && is_own(l, c))
			return true;
	}
	return error_set(e, ERROR_INPUT,
	    "none of the certificates that are to be installed has the key of CA %s",
	    l->document.ca);
}

static bool
fail_certificate(const struct key_limits *l, const char *words, struct error *e)
{
	return error_set(e, ERROR_DENIED, "the certificate of CA %s does not fit its limits: %s",
	    l->document.ca, words);
}

/* What the limits and RFC 5280 ask of the CA's own certificate. */
static bool
check_certificate(const struct key_limits *l, const struct certificate *c, struct error *e)
{
	const struct limits *d = &l->document;

	if (!bytes_equal(c->subject, (struct bytes){d->subject, d->subject_len}))
		return fail_certificate(l, "its subject is not, byte for byte, the limits'", e);
	if (!c->has_basic_constraints || !c->ca)
		return fail_certificate(l, "it is not one of a CA (RFC 5280 4.2.1.9)", e);
	if (!c->has_key_usage || (c->key_usage & KU_KEY_CERT_SIGN) == 0)
		return fail_certificate(l, "its key usage lacks keyCertSign (RFC 5280 4.2.1.3)", e);
	if (!bytes_equal(c->subject_key_id, (struct bytes){l->key_id, sizeof l->key_id}))
		return fail_certificate(l,
		    "its subjectKeyIdentifier is not the one that the CA's certificates refer to "
		    "(RFC 5280 4.2.1.2)",
		    e);
	if (d->path_length >= 0 && (c->path_length < 0 || c->path_length > d->path_length))
		return fail_certificate(
		    l, "its path length is more than allowed (RFC 5280 4.2.1.9)", e);
	/* That of a subordinate is its parent's to say; what it signs ends with both. */
	if (d->root && c->not_after > d->not_after)
		return fail_certificate(l, "it is valid beyond the limits' not-after", e);
	return true;
}

/* A renewed one has the same key, which has signed since the first one: what is under
 * way while it comes may begin before it. */
static void
note(struct key_limits *l, const struct certificate *c, int64_t ordered)
{
	if (!l->installed || c->not_before < l->not_before)
		l->not_before = c->not_before;
	l->installed = true;
	(void)SHA256(c->tbs.p, c->tbs.len, l->tbs_sha256);
	l->not_after = c->not_after;
	l->path_length = c->path_length;
	l->ordered = ordered;
}

static bool
is_installed(const struct key_limits *l, const uint8_t tbs_sha256[32])
{
	return l->installed && memcmp(tbs_sha256, l->tbs_sha256, sizeof l->tbs_sha256) == 0;
}

/* The order itself. A root's certificates are those that it signs itself, and what was
 * ordered earlier than the one that is known does not come back. */
static bool
check_order(const struct orders_env *env, const struct key_limits *l,
    const struct limits_floor *floor, const struct signproto_order *order, int64_t *issued,
    struct error *e)
{
	const struct limits *d = &l->document;
	struct order_rules rules = {STATEMENT_CA_INSTALL, d->ca, d, LIMITS_RIGHT_LIMITS, d->quorum};
	struct statement statement;

	if (!order_verify(order, &rules, &statement, e))
		return false;
	if (d->root)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s is a root: its certificate is the one that it signs itself", d->ca);
	if ((l->installed && statement.issued <= l->ordered) ||
	    (floor->has_certificate && statement.issued <= floor->ordered))
		return error_set(e, ERROR_CONFLICT,
		    "CA %s has a certificate whose installation was ordered later than this one",
		    d->ca);
	*issued = statement.issued;
	return statement_check_time(&statement, env->now, e);
}

/* What the token remembers was ordered, whoever brings it now. */
static bool
install(const struct orders_env *env, struct key_limits *l, const struct limits_floor *floor,
    const struct signproto_order *order, const struct certificate *c, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	int64_t issued = floor->ordered;

	(void)SHA256(c->tbs.p, c->tbs.len, digest);
	if (!check_certificate(l, c, e))
		return false;
	if (is_installed(l, digest))
		return true;
	if (!(floor->has_certificate && memcmp(floor->tbs_sha256, digest, sizeof digest) == 0) &&
	    !check_order(env, l, floor, order, &issued, e))
		return false;
	note(l, c, issued);
	if (!key_limits_save(l, env->state_dir, e))
		return false;
	orders_log(l, "has its certificate");
	return true;
}

bool
orders_install(struct session *s, const struct orders_env *env, struct bytes id,
    const struct signproto_order *order, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	uint8_t *der = malloc(CERTIFICATE_MAX);
	struct limits_floor floor;
	struct certificate c;
	bool refused = false, ok = false;

	if (l == NULL || der == NULL)
		(void)error_set(e, ERROR_SYSTEM, "no memory for a CA's certificate");
	else
		ok = key_limits_load(l, env->state_dir, id, e) &&
		     limits_floor_read(s, l->id, &floor, e) &&
		     limits_floor_compare_document(&floor, l, e) &&
		     find_own(l, order->body, der, &c, e) &&
		     install(env, l, &floor, order, &c, e) && limits_floor_check(s, l, &refused, e);
	free(l);
	free(der);
	return ok;
}

/* ---- a root's own certificate */

static bool
note_root(const struct orders_env *env, struct key_limits *l, struct bytes tbs, int64_t ordered,
    struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct certificate c;

	(void)SHA256(tbs.p, tbs.len, digest);
	if (is_installed(l, digest))
		return true;
	if ((l->installed && ordered <= l->ordered) || !l->document.root)
		return error_set(e, ERROR_DENIED,
		    "CA %s has its certificate already, and this is another one that was not "
		    "ordered later",
		    l->document.ca);
	if (!tbs_certificate_parse(tbs, &c, e) || !check_certificate(l, &c, e))
		return false;
	note(l, &c, ordered);
	return key_limits_save(l, env->state_dir, e);
}

bool
orders_note_root(struct session *s, const struct orders_env *env, struct bytes id, struct bytes tbs,
    int64_t ordered, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	bool refused = false, ok;

	if (l == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	ok = limits_floor_load(s, env->state_dir, id, l, &refused, e) &&
	     note_root(env, l, tbs, ordered, e) && limits_floor_raise(s, l, &refused, e);
	free(l);
	return ok;
}
