/* The decision ca-renew: another certificate for the key that a CA has. A root signs it
 * itself, by the operators' order; of a subordinate the parent does, and here begins
 * what ca-install ends. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"
#include "daemon/x509/csr.h"

/* ------------------------------------------------------------------ a root */

static void
on_root_begun(const struct ca_begun *begun, const struct error *err, void *arg)
{
	struct ca_order *o = arg;

	ca_order_sign_begun(o, begun, err, &o->kept.order, ca_order_install_own);
}

/* A certificate that does not last longer would renew nothing. */
static bool
check_end(
    const struct ca_order *o, const struct certificate *old, int64_t not_after, struct error *e)
{
	char end[CANON_TIME_SIZE];

	if (not_after > old->not_after)
		return true;
	canon_time_text(old->not_after, end);
	return error_set(e, ERROR_CONFLICT,
	    "the renewed certificate of CA %s would end no later than the one in force, at %s: let "
	    "the limits of its key last longer first (chancery ca limits change %s --not-after)",
	    o->name, end, o->name);
}

static bool
begin_root(
    struct ca_order *o, const struct issuing_ca *ca, const struct certificate *old, struct error *e)
{
	int64_t until = o->limits->not_after, not_after;
	uint8_t buf[CERTIFICATE_MAX];
	struct ca_renewal renewal = {.decision_id = o->key.id,
	    .epoch = o->key.epoch,
	    .serial = {o->serial, sizeof o->serial}};

	if (o->renewal.not_after < until)
		until = o->renewal.not_after;
	return ca_order_make_serial(o, e) &&
	       capolicy_build_root(&ca->policy, ca->row.spki, renewal.serial, (int64_t)time(NULL),
		   until, buf, sizeof buf, &renewal.tbs, &not_after, e) &&
	       check_end(o, old, not_after, e) &&
	       ca_renew(o->env->db, &renewal, on_root_begun, o, e) != NULL;
}

/* ------------------------------------------------------------ a subordinate */

static void
on_subordinate_begun(const struct ca_begun *begun, const struct error *err, void *arg)
{
	ca_order_end(arg, err);
}

static bool
keep_csr(struct ca_order *o, struct bytes signature, struct error *e)
{
	struct ca_renewal renewal = {.decision_id = o->key.id, .epoch = o->key.epoch};
	uint8_t buf[CSR_MAX];

	return csr_assemble((struct bytes){o->tbs, o->tbs_len}, o->sig_alg, signature, buf,
		   sizeof buf, &renewal.csr, e) &&
	       ca_renew(o->env->db, &renewal, on_subordinate_begun, o, e) != NULL;
}

static bool
begin_subordinate(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	uint8_t buf[CSR_MAX];
	struct bytes info;

	return capolicy_build_request(&ca->policy, ca->row.spki, buf, sizeof buf, &info, e) &&
	       ca_order_keep_tbs(o, info, e) &&
	       ca_order_sign(o, SIGNPROTO_CSR_INFO, NULL, keep_csr, e);
}

/* ------------------------------------------------------------- the beginning */

static bool
is_digest_of(const uint8_t digest[RENEWAL_DIGEST_LEN], struct bytes b)
{
	uint8_t own[SHA256_DIGEST_LENGTH];

	SHA256(b.p, b.len, own);
	return memcmp(own, digest, sizeof own) == 0;
}

/* The operators meant this key, and the certificate that is in force now. */
static bool
check(
    const struct ca_order *o, const struct issuing_ca *ca, struct certificate *old, struct error *e)
{
	if (ca->context == NULL)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s has no certificate yet that could be renewed", o->name);
	if (!certificate_parse(ca->row.certificate, old, e))
		return false;
	if (!is_digest_of(o->renewal.key, ca->row.spki))
		return error_set(e, ERROR_CONFLICT,
		    "the order is about another key than the one that CA %s signs with", o->name);
	if (!o->renewal.has_replaces || !is_digest_of(o->renewal.replaces, old->tbs))
		return error_set(e, ERROR_CONFLICT,
		    "the order is to replace another certificate than the one of CA %s that is in "
		    "force: it was renewed meanwhile",
		    o->name);
	return (ca->row.root == (o->renewal.not_after != 0) &&
		   ca->row.root == o->renewal.has_signer) ||
	       error_set(e, ERROR_INPUT,
		   "the order has to say when the new certificate of a root ends, and of a "
		   "subordinate the parent says it");
}

static bool
begin(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	struct certificate old;

	if (!ca_order_take_key_of(o, ca, e) || !check(o, ca, &old, e) ||
	    !capolicy_parse(ca->row.policy, strlen(ca->row.policy), o->name, &o->policy, e))
		return false;
	return ca->row.root ? begin_root(o, ca, &old, e) : begin_subordinate(o, ca, e);
}

static bool
take_body(struct ca_order *o, const struct decision_row *row, struct error *e)
{
	if (row->limits_count != 1)
		return error_set(e, ERROR_CONFLICT, "CA %s has no limits", o->name);
	o->limits = malloc(sizeof *o->limits);
	if (o->limits == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the limits of CA %s", o->name);
	if (!limits_parse((const char *)row->limits[0].p, row->limits[0].len, o->limits, e) ||
	    !renewal_parse(o->body, strlen(o->body), &o->renewal, e))
		return false;
	return strcmp(o->renewal.ca, o->name) == 0 ||
	       error_set(e, ERROR_INPUT, "the renewal is of CA %s, and the statement about CA %s",
		   o->renewal.ca, o->name);
}

bool
ca_order_renew(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (take_body(o, row, e) && ca_order_load(o, begin, e))
		return true;
	ca_order_free(o);
	return false;
}
