#include "daemon/issuer/ca_order_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/rand.h>

#include "daemon/core/log.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/limits_policy.h"
#include "db/ca.h"

#define SIGN_DEADLINE_MS 30000

/* ---------------------------------------------------------------- the end */

void
ca_order_free(struct ca_order *o)
{
	capolicy_free(&o->policy);
	chain_pool_free(&o->pool);
	free(o->chain);
	kept_order_drop(&o->kept);
	ca_places_free(o->change.places);
	free(o->old_limits);
	free(o->limits);
	free(o->limits_text);
	free(o->policy_text);
	free(o->body);
	free(o->tbs);
	free(o);
}

/* why: NULL when the decision is closed. */
void
ca_order_end(struct ca_order *o, const struct error *why)
{
	ca_ordered_fn *done = o->done;
	void *arg = o->arg;

	ca_order_free(o);
	done(why, arg);
}

void
ca_order_closed(const struct error *err, void *order)
{
	ca_order_end(order, err);
}

bool
ca_order_keep_tbs(struct ca_order *o, struct bytes tbs, struct error *e)
{
	free(o->tbs);
	o->tbs = malloc(tbs.len);
	o->tbs_len = tbs.len;
	if (o->tbs == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating to-be-signed bytes");
	memcpy(o->tbs, tbs.p, tbs.len);
	return true;
}

struct ca_order *
ca_order_new(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = calloc(1, sizeof *o);

	if (o != NULL)
		o->body = strdup(row->body != NULL ? row->body : "");
	if (o == NULL || o->body == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating an order about a CA");
		goto fail;
	}
	if (!kept_order_take(&o->kept, row, e))
		goto fail;
	o->env = env;
	o->key = row->key;
	o->done = done;
	o->arg = arg;
	memcpy(o->name, statement->object, sizeof o->name);
	return o;
fail:
	if (o != NULL)
		ca_order_free(o);
	return NULL;
}

/* ----------------------------------------------------- the CA that stands */

static void
on_loaded(const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	const struct issuing_ca *ca;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	ca = ca_cache_find_name(o->env->cache, o->name);
	if (ca == NULL)
		error_set(&e, ERROR_NOT_FOUND, "there is no CA named %s", o->name);
	else if (o->with_ca(o, ca, &e))
		return;
	ca_order_end(o, &e);
}

bool
ca_order_load(struct ca_order *o, ca_order_ca_fn *next, struct error *e)
{
	o->with_ca = next;
	return ca_cache_load(o->env->cache, on_loaded, o, e);
}

static bool
keep_key_id(struct ca_order *o, struct bytes cka_id, struct error *e)
{
	if (cka_id.len > sizeof o->cka_id_buf)
		return error_set(e, ERROR_INTERNAL, "the key of CA %s does not fit", o->name);
	memcpy(o->cka_id_buf, cka_id.p, cka_id.len);
	o->cka_id = (struct bytes){o->cka_id_buf, cka_id.len};
	return true;
}

bool
ca_order_take_key_of(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	o->sig_alg = ca->policy.sig_alg;
	memcpy(o->token, ca->row.token, sizeof o->token);
	return keep_key_id(o, ca->row.cka_id, e);
}

/* ----------------------------------------------------------- activating it */

/* What was done is done, also when the cache could not be read again. */
static void
on_reloaded(const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "-", err);
	ca_order_end(arg, NULL);
}

void
ca_order_reload(struct ca_order *o)
{
	struct error e = ERROR_INIT;

	if (!ca_cache_load(o->env->cache, on_reloaded, o, &e))
		ca_order_end(o, NULL);
}

static void
on_activated(const struct error *err, void *arg)
{
	struct ca_order *o = arg;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	log_info(o->name, "is active");
	ca_order_reload(o);
}

/* What the variables of its locations stand for. */
static void
names_of(const struct ca_order *o, struct location_names *names)
{
	capolicy_names(&o->policy, o->name, names);
	names->certificate_index = o->certificate_index;
	names->key_index = o->key_index;
}

/* chain: the CA's own certificate first, the root last. */
bool
ca_order_activate(struct ca_order *o, const struct chain *chain, bool own, struct error *e)
{
	struct bytes above[CHAIN_LENGTH_MAX];
	const struct certificate *c = &chain->certs[0];
	struct ca_places *places;
	struct location_names names;
	struct ca_activation activation = {
	    .decision_id = o->key.id,
	    .epoch = o->key.epoch,
	    .generation_id = o->generation_id,
	    .certificate = c->whole,
	    .ski = c->subject_key_id,
	    .chain = above,
	    .chain_len = chain->count - 1,
	    .not_before = c->not_before,
	    .not_after = c->not_after,
	    .readable = o->readable,
	    .templates = o->policy.templates,
	    .template_count = o->policy.template_count,
	};
	bool ok;

	for (size_t i = 1; i < chain->count; i++)
		above[i - 1] = chain->certs[i].whole;
	if (own)
		activation.own_serial = (struct bytes){o->serial, sizeof o->serial};
	names_of(o, &names);
	places = policy_places(&o->policy, &names, e);
	activation.places = places;
	ok = places != NULL && name_to_text(c->subject, o->readable, sizeof o->readable, e) &&
	     ca_activate(o->env->db, &activation, on_activated, o, e) != NULL;
	ca_places_free(places);
	return ok;
}

/* ------------------------------------------------ a root's own certificate */

bool
ca_order_install_own(struct ca_order *o, struct bytes signature, struct error *e)
{
	uint8_t buf[CERTIFICATE_MAX];
	struct chain chain = {.count = 1};
	struct bytes der;

	return certificate_assemble((struct bytes){o->tbs, o->tbs_len}, o->sig_alg, signature, buf,
		   sizeof buf, &der, e) &&
	       certificate_parse(der, &chain.certs[0], e) && ca_order_activate(o, &chain, true, e);
}

/* To-be-signed bytes are committed before they are signed; those of an earlier
 * attempt count before ours. */
bool
ca_order_take_begun(struct ca_order *o, const struct ca_begun *begun, struct error *e)
{
	o->generation_id = begun->generation_id;
	o->certificate_index = begun->certificate_index;
	o->key_index = begun->key_index;
	if (begun->serial.len != sizeof o->serial || begun->tbs.len == 0)
		return error_set(e, ERROR_INTERNAL, "CA %s has no to-be-signed bytes", o->name);
	memcpy(o->serial, begun->serial.p, sizeof o->serial);
	return ca_order_keep_tbs(o, begun->tbs, e);
}

bool
ca_order_make_serial(struct ca_order *o, struct error *e)
{
	uint8_t random[SERIAL_RANDOM_LEN];

	if (RAND_bytes(random, sizeof random) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "no random octets for a serial");
	serial_build(o->serial, o->env->config->issuer.signer_id, (int64_t)time(NULL), random);
	return true;
}

/* --------------------------------------------------------------- signing */

enum pin_turn_outcome
ca_order_turn(struct ca_order *o, const char *token, const char *about, struct error *e)
{
	const struct pin_turn turn = {
	    .token = token, .ca = about, .kind = "order", .statement = o->kept.order.statement};

	return pin_turn_take(o->env, o->key, &turn, ca_order_closed, o, e);
}

static void
on_signed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL)
		ca_order_end(o, failure);
	else if (!o->with_signature(o, answer->sign.signature, &e))
		ca_order_end(o, &e);
}

bool
ca_order_sign(struct ca_order *o, enum signproto_kind kind, const struct signproto_order *order,
    ca_order_signed_fn *next, struct error *e)
{
	struct signproto_sign m = {
	    .cka_id = o->cka_id,
	    .sig_alg = (uint16_t)o->sig_alg,
	    .kind = kind,
	    .deadline_ms = SIGN_DEADLINE_MS,
	    .tbs = {o->tbs, o->tbs_len},
	};
	const struct pin_turn turn = {
	    .token = o->token,
	    .ca = o->name,
	    .cka_id = o->cka_id,
	    .kind = kind == SIGNPROTO_CSR_INFO ? "csr-info" : "certificate",
	    .tbs = m.tbs,
	};
	enum pin_turn_outcome now = pin_turn_take(o->env, o->key, &turn, ca_order_closed, o, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	if (order != NULL)
		m.order = *order;
	o->with_signature = next;
	return signer_ask_sign(o->env->signers, o->token, &m, on_signed, o, &id, e);
}

void
ca_order_sign_begun(struct ca_order *o, const struct ca_begun *begun, const struct error *err,
    const struct signproto_order *order, ca_order_signed_fn *next)
{
	struct error e = ERROR_INIT;

	if (err != NULL)
		ca_order_end(o, err);
	else if (!ca_order_take_begun(o, begun, &e) ||
		 !ca_order_sign(o, SIGNPROTO_TBS_CERTIFICATE, order, next, &e))
		ca_order_end(o, &e);
}

/* ---------------------------------------------------------- ca-create: root */

/* The CA stands in the database. */
static void
on_root_begun(const struct ca_begun *begun, const struct error *err, void *arg)
{
	ca_order_sign_begun(arg, begun, err, NULL, ca_order_install_own);
}

static void
on_subordinate_begun(const struct ca_begun *begun, const struct error *err, void *arg)
{
	struct ca_order *o = arg;

	if (err != NULL)
		ca_order_end(o, err);
	else
		ca_order_reload(o);
}

/* A new CA with its first generation, or the next one of a CA that stands. */
static bool
make_ca(struct ca_order *o, struct bytes csr, struct bytes serial, struct bytes tbs,
    ca_begun_fn *begun, struct error *e)
{
	const struct capolicy *p = &o->policy;
	struct ca_places *places;
	struct location_names names;
	struct ca_begin begin = {
	    .decision_id = o->key.id,
	    .epoch = o->key.epoch,
	    .name = o->name,
	    .policy = o->policy_text,
	    .limits = o->limits_text,
	    .readable = o->readable,
	    .root = p->kind == CA_ROOT,
	    .subject = p->subject,
	    .token_key_id = o->token_key_id,
	    .csr = csr,
	    .keep_expired = p->expired_certificates,
	    .templates = p->templates,
	    .template_count = p->template_count,
	    .serial = serial,
	    .tbs = tbs,
	};
	bool ok;

	if (o->rekey)
		return ca_order_make_generation(o, csr, serial, tbs, begun, e);
	names_of(o, &names);
	places = policy_places(p, &names, e);
	begin.places = places;
	ok = places != NULL && name_to_text(p->subject, o->readable, sizeof o->readable, e) &&
	     ca_make(o->env->db, &begin, begun, o, e) != NULL;
	ca_places_free(places);
	return ok;
}

static bool
begin_root(struct ca_order *o, struct error *e)
{
	uint8_t buf[CERTIFICATE_MAX];
	struct bytes tbs, serial = {o->serial, sizeof o->serial};

	return ca_order_make_serial(o, e) &&
	       capolicy_build_root(&o->policy, o->spki, serial, (int64_t)time(NULL),
		   o->limits->not_after, buf, sizeof buf, &tbs, NULL, e) &&
	       make_ca(o, (struct bytes){0}, serial, tbs, on_root_begun, e);
}

/* --------------------------------------------------- ca-create: subordinate */

static bool
keep_csr(struct ca_order *o, struct bytes signature, struct error *e)
{
	uint8_t buf[CSR_MAX];
	struct bytes der;

	return csr_assemble((struct bytes){o->tbs, o->tbs_len}, o->sig_alg, signature, buf,
		   sizeof buf, &der, e) &&
	       make_ca(o, der, (struct bytes){0}, (struct bytes){0}, on_subordinate_begun, e);
}

static bool
begin_subordinate(struct ca_order *o, struct error *e)
{
	uint8_t buf[CSR_MAX];
	struct bytes info;

	return capolicy_build_request(&o->policy, o->spki, buf, sizeof buf, &info, e) &&
	       ca_order_keep_tbs(o, info, e) &&
	       ca_order_sign(o, SIGNPROTO_CSR_INFO, NULL, keep_csr, e);
}

bool
ca_order_begin(struct ca_order *o, struct error *e)
{
	return o->policy.kind == CA_ROOT ? begin_root(o, e) : begin_subordinate(o, e);
}

/* ------------------------------------------------------------ ca-create: key */

static bool
take_key(struct ca_order *o, struct bytes cka_id, struct bytes spki, struct error *e)
{
	if (spki.len > sizeof o->spki_buf)
		return error_set(e, ERROR_INTERNAL, "the key of CA %s does not fit", o->name);
	memcpy(o->spki_buf, spki.p, spki.len);
	o->spki = (struct bytes){o->spki_buf, spki.len};
	return keep_key_id(o, cka_id, e);
}

static void
on_key_noted(const struct ca_key *key, const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	o->token_key_id = key->token_key_id;
	if (o->rekey ? !ca_order_find_next(o, &e) : !ca_order_begin(o, &e))
		ca_order_end(o, &e);
}

static void
on_key_made(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL) {
		ca_order_end(o, failure);
		return;
	}
	if (!take_key(o, answer->key.cka_id, answer->key.spki, &e) ||
	    ca_note_key(o->env->db, o->key.id, o->key.epoch, o->policy.token, o->name,
		key_alg_name(o->policy.key_alg), o->cka_id, o->spki, on_key_noted, o, &e) == NULL)
		ca_order_end(o, &e);
}

static bool
ask_key(struct ca_order *o, struct error *e)
{
	const struct signproto_key_generate m = {.order = o->kept.order};
	enum pin_turn_outcome now = ca_order_turn(o, o->policy.token, o->name, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_generate(o->env->signers, o->policy.token, &m, on_key_made, o, &id, e);
}

static void
on_obstacle(const char *obstacle, const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	if (obstacle != NULL)
		error_set(&e, ERROR_CONFLICT, "%s", obstacle);
	else if (ask_key(o, &e))
		return;
	ca_order_end(o, &e);
}

static void
on_key_found(const struct ca_key *key, const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;
	bool ok;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	if (key->token_key_id != 0) {
		/* An earlier attempt made it. */
		ok = take_key(o, key->cka_id, key->spki, &e);
		if (ok)
			on_key_noted(key, NULL, o);
	} else if (o->rekey) {
		ok = ask_key(o, &e);
	} else {
		ok = ca_find_obstacle(o->env->db, o->name, o->policy.subject, on_obstacle, o, &e) !=
		     NULL;
	}
	if (!ok)
		ca_order_end(o, &e);
}

bool
ca_order_find_key(struct ca_order *o, struct error *e)
{
	if (config_find_token(o->env->config, o->policy.token) == NULL)
		return error_set(e, ERROR_INPUT,
		    "the policy names token %s, which the configuration of this host does not have",
		    o->policy.token);
	if (!token_access_check_mixed(o->env->access, o->policy.token, e))
		return false;
	return ca_find_key(o->env->db, o->key.id, on_key_found, o, e) != NULL;
}

bool
ca_order_take_body(struct ca_order *o, struct error *e)
{
	struct limits_body parts;

	o->limits = malloc(sizeof *o->limits);
	if (o->limits == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the limits of CA %s", o->name);
	if (!limits_body_parse(
		(struct bytes){(const uint8_t *)o->body, strlen(o->body)}, &parts, o->limits, e))
		return false;
	o->limits_text = strndup((const char *)parts.document.p, parts.document.len);
	o->policy_text = strndup((const char *)parts.policy.p, parts.policy.len);
	if (o->limits_text == NULL || o->policy_text == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the limits of CA %s", o->name);
	if (strcmp(o->limits->ca, o->name) != 0 || o->limits->version != 1)
		return error_set(e, ERROR_INPUT,
		    "a new CA %s needs limits of version 1 for it; these are version %u of CA %s",
		    o->name, (unsigned)o->limits->version, o->limits->ca);
	if (!capolicy_parse(o->policy_text, parts.policy.len, o->name, &o->policy, e))
		return false;
	o->sig_alg = o->policy.sig_alg;
	memcpy(o->token, o->limits->token, sizeof o->token);
	return limits_check_policy(o->limits, &o->policy, e);
}

bool
ca_order_create(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (ca_order_take_body(o, e) && ca_order_find_key(o, e))
		return true;
	ca_order_free(o);
	return false;
}
