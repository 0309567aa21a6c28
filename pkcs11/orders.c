#include "pkcs11/orders_int.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/journal.h"
#include "pkcs11/key_adopt.h"
#include "pkcs11/key_remove.h"
#include "pkcs11/limits_chain.h"
#include "pkcs11/limits_floor.h"

/* What operators compare with what they signed. */
void
orders_log(const struct key_limits *l, const char *what)
{
	char digest[65], key[65];

	hex_encode(l->document_sha256, sizeof l->document_sha256, digest);
	hex_encode(l->spki_sha256, sizeof l->spki_sha256, key);
	log_info(l->document.ca, "%s: key %s, limits version %u, SHA-256 %s", what, key,
	    (unsigned)l->document.version, digest);
}

/* ---- ca-create */

static bool
check_token(const struct orders_env *env, const struct limits *l, struct error *e)
{
	return strcmp(l->token, env->token) == 0 ||
	       error_set(e, ERROR_DENIED,
		   "the limits of CA %s are for a key on token '%s', and this is '%s'", l->ca,
		   l->token, env->token);
}

/* Of limits that nobody knows yet. */
static bool
check_fresh_first(const struct orders_env *env, const struct limits_version *first, struct error *e)
{
	if (!limits_allows_signer(&first->document, env->signer_id))
		return error_set(e, ERROR_DENIED,
		    "the limits of CA %s do not name the signer id %u of this host",
		    first->document.ca, env->signer_id);
	return statement_check_time(&first->statement, env->now, e);
}

/* Whoever orders keys for himself must not fill the directory. */
static bool
check_count(const struct orders_env *env, const uint8_t id[KEY_ID_LEN], struct error *e)
{
	uint8_t(*ids)[KEY_ID_LEN] = NULL;
	size_t count = 0;
	bool ok;

	if (key_limits_is_known(env->state_dir, id))
		return true;
	ok = key_limits_list(env->state_dir, &ids, &count, e) &&
	     (count < KEY_LIMITS_COUNT_MAX ||
		 error_set(e, ERROR_LIMIT,
		     "token '%s' has %zu keys with limits, and no more are made", env->token,
		     count));
	free(ids);
	return ok;
}

/*
 * The limits on the disk. When they are not there, the order brings them: a fresh one,
 * or one of a key that the token remembers, since then nothing older than what was in
 * force comes back by it.
 */
static bool
keep_first(struct session *rw, const struct orders_env *env, const uint8_t id[KEY_ID_LEN],
    const struct signproto_order *order, const struct limits_version *first, struct error *e)
{
	struct limits_version *kept = malloc(sizeof *kept);
	struct limits_floor floor;
	struct error why = ERROR_INIT;
	bool there;

	if (kept == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	there = limits_chain_load(env->state_dir, id, NULL, kept, &why);
	free(kept);
	if (there)
		return true;
	if (why.code != ERROR_NOT_FOUND)
		return error_set(e, why.code, "%s", why.text);
	if (!limits_floor_read(rw, id, &floor, e))
		return false;
	if (floor.version == 0 && !check_fresh_first(env, first, e))
		return false;
	return limits_chain_append(env->state_dir, id, 1, order, e);
}

/* What the token cannot do is said before anything is written for the key. */
static bool
check_possible(struct session *rw, const struct orders_env *env, const uint8_t id[KEY_ID_LEN],
    const struct limits *l, struct error *e)
{
	struct key_wanted wanted = {
	    l->algorithm, l->ca, id, l->signatures, l->signature_count, rw->pin.len > 0};

	if (key_limits_is_known(env->state_dir, id) || key_is_possible(rw, &wanted, e))
		return true;
	return error_wrap(e, "token '%s'", env->token);
}

/* A key with limits belongs to the CA that has them. */
static bool
check_free(const struct orders_env *env, const struct limits *l, struct error *e)
{
	uint8_t(*digests)[32] = NULL;
	size_t count = 0;
	bool ok = key_limits_list_keys(env->state_dir, &digests, &count, e);

	for (size_t i = 0; i < count && ok; i++)
		ok = memcmp(digests[i], l->key, sizeof l->key) != 0 ||
		     error_set(e, ERROR_CONFLICT,
			 "the key that CA %s would take over has limits already", l->ca);
	free(digests);
	return ok;
}

/* The journal knows the key before: it has signed nothing by our hand. */
static bool
adopt(struct session *rw, const struct orders_env *env, const struct limits_version *first,
    const struct key_wanted *wanted, struct key *key, struct error *e)
{
	struct bytes cka_id = {wanted->id, KEY_ID_LEN};
	struct error why = ERROR_INIT;

	if (!check_free(env, &first->document, e) ||
	    !key_adopt_check_allowed(env->state_dir, first->sha256, e) ||
	    !journal_add_key(env->journal, cka_id, JOURNAL_KEY_MADE, journal_clock_now(), e) ||
	    !key_adopt(rw, first->document.key, wanted, key, e))
		return false;
	if (!key_adopt_forget(env->state_dir, first->sha256, &why))
		log_failure(LOG_LEVEL_WARNING, first->document.ca, &why);
	log_warning(first->document.ca,
	    "takes over a key that was on the token: what it signed before is not in the journal");
	return true;
}

/* Of a pair that has the id already. */
static bool
check_found(struct session *rw, const struct limits *l, const struct key *key, struct error *e)
{
	uint8_t digest[32];

	if (!limits_adopts_key(l))
		return key_check(rw, key, e);
	if (!key_check_adopted(rw, key, e) || !spki_sha256(&key->spki, digest, e))
		return false;
	return memcmp(digest, l->key, sizeof digest) == 0 ||
	       error_set(e, ERROR_DENIED,
		   "the key with the CKA_ID of these limits is not the one that they name");
}

/*
 * A half of a pair that an attempt of ours left, which the token or its login went away
 * from: it has signed nothing, since the order was not carried out, and nobody else may be
 * making it at this moment.
 */
static bool
is_left_over(struct session *rw, const struct orders_env *env, const struct limits *l,
    const uint8_t id[KEY_ID_LEN], struct key_remains *half)
{
	struct error ignored = ERROR_INIT;
	struct limits_floor floor;

	return l->signer_count == 1 && !limits_adopts_key(l) &&
	       !key_limits_is_known(env->state_dir, id) &&
	       limits_floor_read(rw, id, &floor, &ignored) && floor.version == 0 &&
	       key_find_remains(rw, (struct bytes){id, KEY_ID_LEN}, half, &ignored) &&
	       (half->private_key == CK_INVALID_HANDLE) != (half->public_key == CK_INVALID_HANDLE);
}

/* Finds the pair, or makes it; the journal knows it before. One that was found, and of
 * which the journal cannot tell what it was used for, stays closed, and every use of
 * it says so. */
static bool
find_or_make(struct session *rw, const struct orders_env *env, const struct limits_version *first,
    const uint8_t id[KEY_ID_LEN], struct key *key, struct error *e)
{
	const struct limits *l = &first->document;
	struct key_wanted wanted = {
	    l->algorithm, l->ca, id, l->signatures, l->signature_count, rw->pin.len > 0};
	struct bytes cka_id = {id, KEY_ID_LEN};
	struct error why = ERROR_INIT;
	struct key_remains half;

	if (key_find(rw, cka_id, key, &why)) {
		if (!check_found(rw, l, key, e)) {
			key_clear(key);
			return false;
		}
		if (!journal_add_key(
			env->journal, cka_id, JOURNAL_KEY_FOUND, journal_clock_now(), &why))
			log_failure(LOG_LEVEL_WARNING, l->ca, &why);
		return true;
	}
	if (why.code == ERROR_CONFLICT && is_left_over(rw, env, l, id, &half)) {
		log_warning(l->ca, "%s; it is left from an attempt, and makes room", why.text);
		if (!key_remove(rw, &half, e))
			return false;
		why.code = ERROR_NOT_FOUND;
	}
	/* One half only has the id when a takeover was cut short. */
	if (limits_adopts_key(l) && (why.code == ERROR_NOT_FOUND || why.code == ERROR_CONFLICT))
		return adopt(rw, env, first, &wanted, key, e);
	if (why.code != ERROR_NOT_FOUND)
		return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	return journal_add_key(env->journal, cka_id, JOURNAL_KEY_MADE, journal_clock_now(), e) &&
	       key_generate(rw, &wanted, key, e);
}

/* The key's own file, and what the token is to remember. Limits that are older than
 * that are no failure here: the newer ones may still come, and nothing is signed
 * before. */
static bool
keep_key(struct session *rw, const struct orders_env *env, const uint8_t id[KEY_ID_LEN],
    const struct limits_version *first, const struct key *key, struct key_limits *l,
    struct error *e)
{
	struct bytes cka_id = {id, KEY_ID_LEN};
	uint8_t digest[32];
	bool refused = false;

	if (key_limits_is_known(env->state_dir, id)) {
		if (!key_limits_load(l, env->state_dir, cka_id, e) ||
		    !spki_sha256(&key->spki, digest, e))
			return false;
		if (memcmp(digest, l->spki_sha256, sizeof digest) != 0)
			return error_set(e, ERROR_DENIED,
			    "the key of CA %s on the token is not the one that its limits were "
			    "made for",
			    l->document.ca);
	} else if (!key_limits_init(l, id, &first->document, first->sha256, &key->spki, e) ||
		   !key_limits_save(l, env->state_dir, e) ||
		   !key_limits_load(l, env->state_dir, cka_id, e)) {
		return false;
	}
	return limits_floor_raise(rw, l, &refused, e);
}

bool
orders_make_key(struct session *rw, const struct orders_env *env,
    const struct signproto_order *order, uint8_t id[KEY_ID_LEN], struct key *key, struct error *e)
{
	struct limits_version *first = malloc(sizeof *first);
	struct key_limits *l = malloc(sizeof *l);
	bool ok = false;

	*key = (struct key){0};
	if (first == NULL || l == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
		goto out;
	}
	if (!limits_chain_check_first(order, first, e) || !check_token(env, &first->document, e))
		goto out;
	limits_chain_id(first->sha256, id);
	if (!orders_check_not_destroyed(rw, env, id, e) || !check_count(env, id, e) ||
	    !check_possible(rw, env, id, &first->document, e) ||
	    !keep_first(rw, env, id, order, first, e) || !find_or_make(rw, env, first, id, key, e))
		goto out;
	ok = keep_key(rw, env, id, first, key, l, e);
	if (ok)
		orders_log(l, "has its key");
	else
		key_clear(key);
out:
	free(first);
	free(l);
	return ok;
}

/* ---- ca-limits */

/* Whether these are the limits in force already. */
static bool
is_in_force(const struct signproto_order *order, const struct key_limits *l)
{
	struct limits *document = malloc(sizeof *document);
	struct error ignored = ERROR_INIT;
	struct limits_body parts;
	uint8_t digest[32];
	bool same;

	same = document != NULL && limits_body_parse(order->body, &parts, document, &ignored);
	if (same) {
		limits_sha256((const char *)parts.document.p, parts.document.len, digest);
		same = memcmp(digest, l->document_sha256, sizeof digest) == 0;
	}
	free(document);
	return same;
}

/* An expired order counts when the token says that it was in force once. */
static bool
check_fresh(const struct orders_env *env, const struct limits_version *v,
    const struct limits_floor *floor, struct error *e)
{
	if (floor->version < v->document.version)
		return statement_check_time(&v->statement, env->now, e);
	if (floor->version == v->document.version &&
	    memcmp(floor->sha256, v->sha256, sizeof floor->sha256) != 0)
		return error_set(e, ERROR_DENIED,
		    "the token remembers another version %u of the limits of CA %s",
		    (unsigned)floor->version, v->document.ca);
	return true;
}

/* *old has version and digest of l's document already. */
static bool
append(struct session *s, const struct orders_env *env, const struct signproto_order *order,
    const struct key_limits *l, const struct limits_version *old, struct limits_version *fresh,
    struct error *e)
{
	struct limits_floor floor;

	return limits_chain_check_next(order, old, l->spki_sha256, fresh, e) &&
	       limits_floor_read(s, l->id, &floor, e) && check_fresh(env, fresh, &floor, e) &&
	       limits_chain_append(env->state_dir, l->id, fresh->document.version, order, e);
}

bool
orders_set_limits(struct session *s, const struct orders_env *env, struct bytes id,
    const struct signproto_order *order, struct error *e)
{
	struct limits_version *old = malloc(sizeof *old), *fresh = malloc(sizeof *fresh);
	struct key_limits *l = malloc(sizeof *l);
	bool refused = false, ok = false;

	if (old == NULL || fresh == NULL || l == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
		goto out;
	}
	/* Not through the floor: this may be the version that is missing. */
	if (!key_limits_load(l, env->state_dir, id, e))
		goto out;
	if (!is_in_force(order, l)) {
		old->document = l->document;
		memcpy(old->sha256, l->document_sha256, sizeof old->sha256);
		if (!append(s, env, order, l, old, fresh, e))
			goto out;
	}
	/* A newer version may still be to come. */
	ok = key_limits_load(l, env->state_dir, id, e) && limits_floor_raise(s, l, &refused, e);
	if (ok)
		orders_log(l, "has new limits");
out:
	free(old);
	free(fresh);
	free(l);
	return ok;
}
