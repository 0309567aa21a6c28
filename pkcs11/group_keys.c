#include "pkcs11/group_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/call.h"
#include "pkcs11/group.h"
#include "pkcs11/key_adopt.h"
#include "pkcs11/key_int.h"
#include "pkcs11/limits.h"
#include "pkcs11/limits_floor.h"
#include "pkcs11/orders.h"

/* What is known of the keys, and who lacks which. */
struct check {
	struct token *t;
	const char *state_dir;
	uint8_t (*ids)[KEY_ID_LEN], (*digests)[32]; /* owned; in the same order */
	size_t count; /* of those whose limits are whole: others sign nothing anyway */
	bool *ended;  /* owned; by the key: it was destroyed by an order */
	bool *lacks[CONFIG_MEMBERS_MAX]; /* owned; likewise */
};

static struct bytes
id_of(const struct check *c, size_t key)
{
	return (struct bytes){c->ids[key], KEY_ID_LEN};
}

/* "CA demo-issuing" as far as that can be told. */
static void
name_key(const struct check *c, size_t key, char out[KEY_ID_TEXT_MAX + 64])
{
	struct key_limits *l = malloc(sizeof *l);
	struct error ignored = ERROR_INIT;
	char id[KEY_ID_TEXT_MAX];

	key_limits_id_text(id_of(c, key), id);
	if (l != NULL && key_limits_load(l, c->state_dir, id_of(c, key), &ignored))
		(void)snprintf(out, KEY_ID_TEXT_MAX + 64, "CA %.60s", l->document.ca);
	else
		(void)snprintf(out, KEY_ID_TEXT_MAX + 64, "CKA_ID %s", id);
	free(l);
}

static bool
refuse_key(const struct check *c, size_t member, size_t key, const char *has, struct error *e)
{
	char name[KEY_ID_TEXT_MAX + 64], id[KEY_ID_TEXT_MAX];

	name_key(c, key, name);
	key_limits_id_text(id_of(c, key), id);
	return error_set(e, ERROR_DENIED,
	    "'%s' %s for %s, and is not used: clone the key to it with its CKA_ID (%s)",
	    group_name(token_config(c->t), member), has, name, id);
}

/* ---- one key on one member */

/* Where it was brought from outside: the same public key, under whatever id that came
 * with. */
static bool
take_over(const struct check *c, struct session *s, size_t key, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	struct key found = {0};
	bool ok = false;

	if (l == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	if (key_limits_load(l, c->state_dir, id_of(c, key), e)) {
		struct key_wanted wanted = {l->document.algorithm, l->document.ca, c->ids[key],
		    l->document.signatures, l->document.signature_count, false};

		ok = key_adopt(s, c->digests[key], &wanted, &found, e);
	}
	if (ok)
		log_info(l->document.ca, "its key is on another member of the group, too");
	key_clear(&found);
	free(l);
	return ok;
}

/* *lacks says whether it is not there; an error is anything else. */
static bool
check_key(const struct check *c, struct session *s, size_t member, size_t key, bool *lacks,
    struct error *e)
{
	struct error why = ERROR_INIT;
	struct key found = {0};
	uint8_t digest[32];
	bool ok;

	*lacks = false;
	if (!key_find(s, id_of(c, key), &found, &why)) {
		if (why.code != ERROR_NOT_FOUND && why.code != ERROR_CONFLICT)
			return error_set_foreign(
			    e, why.code, why.source, why.foreign, "%s", why.text);
		error_clear(&why);
		*lacks = !take_over(c, s, key, &why);
		return true;
	}
	ok = spki_sha256(&found.spki, digest, e);
	if (ok && memcmp(digest, c->digests[key], sizeof digest) != 0)
		ok = refuse_key(c, member, key, "has another key", e);
	if (ok)
		ok = key_check_adopted(s, &found, e) ||
		     refuse_key(c, member, key, "has a key that can leave it", e);
	key_clear(&found);
	return ok;
}

/* Here it was away, or a copy of it came later. */
static bool
end_key(const struct check *c, struct session *rw, size_t key, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	bool ok;

	if (l == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	ok = key_limits_load(l, c->state_dir, id_of(c, key), e) && orders_destroy_copy(rw, l, e);
	free(l);
	return ok;
}

static bool
check_member(struct check *c, size_t member, struct error *e)
{
	const CK_FUNCTION_LIST *f = token_functions(c->t);
	struct token_member m;
	struct session rw;
	bool ok;

	token_member(c->t, member, &m);
	ok = session_open(f, m.info->slot, true, &rw, e);
	for (size_t k = 0; k < c->count && ok; k++)
		ok = c->ended[k] ? end_key(c, &rw, k, e)
				 : check_key(c, &rw, member, k, &c->lacks[member][k], e);
	session_close(&rw);
	return ok;
}

/* ---- all of them */

static bool
is_open(const struct check *c, size_t member)
{
	struct token_member m;

	token_member(c->t, member, &m);
	return m.standing == TOKEN_OPEN;
}

/* Keys that another one has; that none has them is nobody's fault: they may have been
 * destroyed. */
static bool
check_complete(const struct check *c, size_t member, size_t other, struct error *e)
{
	for (size_t k = 0; k < c->count; k++) {
		if (c->lacks[member][k] && !c->lacks[other][k])
			return refuse_key(c, member, k, "has no key", e);
	}
	return true;
}

static bool
refuse(struct check *c, size_t member, const struct error *why, struct error *e)
{
	log_warning(token_config(c->t)->name, "%s", why->text);
	if (token_refuse(c->t, member, why))
		return true;
	return error_set_foreign(e, ERROR_UNAVAILABLE, why->source, why->foreign, "%s", why->text);
}

static bool
check_all(struct check *c, struct error *e)
{
	for (size_t i = 0; i < token_members(c->t); i++) {
		struct error why = ERROR_INIT;
		int before = call_about((int)i);
		bool ok = !is_open(c, i) || check_member(c, i, &why);

		(void)call_about(before);
		if (!ok && !refuse(c, i, &why, e))
			return false;
	}
	for (size_t i = 0; i < token_members(c->t); i++) {
		struct error why = ERROR_INIT;
		bool ok = true;

		for (size_t k = 0; k < token_members(c->t) && ok && is_open(c, i); k++)
			ok = !is_open(c, k) || check_complete(c, i, k, &why);
		if (!ok && !refuse(c, i, &why, e))
			return false;
	}
	return true;
}

static bool
load_keys(struct check *c, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	size_t listed = 0;
	bool ok = false;

	if (l != NULL && key_limits_list(c->state_dir, &c->ids, &listed, e)) {
		c->digests = calloc(listed + 1, sizeof *c->digests);
		c->ended = calloc(listed + 1, sizeof *c->ended);
		ok = c->digests != NULL && c->ended != NULL;
	}
	for (size_t i = 0; i < listed && ok; i++) {
		struct error ignored = ERROR_INIT;

		if (!key_limits_load(
			l, c->state_dir, (struct bytes){c->ids[i], KEY_ID_LEN}, &ignored))
			continue;
		memmove(c->ids[c->count], c->ids[i], KEY_ID_LEN);
		c->ended[c->count] = orders_is_destroyed(c->state_dir, c->ids[c->count]);
		memcpy(c->digests[c->count++], l->spki_sha256, sizeof *c->digests);
	}
	free(l);
	return ok || error_set(e, ERROR_SYSTEM, "no memory for a list of keys");
}

static void
end_check(struct check *c)
{
	for (size_t i = 0; i < COUNT_OF(c->lacks); i++)
		free(c->lacks[i]);
	free(c->ids);
	free(c->digests);
	free(c->ended);
}

static bool
begin_check(struct check *c, struct token *t, const char *state_dir, struct error *e)
{
	*c = (struct check){.t = t, .state_dir = state_dir};
	if (!load_keys(c, e))
		return false;
	for (size_t i = 0; i < token_members(t); i++) {
		c->lacks[i] = calloc(c->count + 1, sizeof *c->lacks[i]);
		if (c->lacks[i] == NULL)
			return error_set(e, ERROR_SYSTEM, "no memory to compare keys");
	}
	return true;
}

bool
group_check_keys(struct token *t, const char *state_dir, struct error *e)
{
	struct check c = {.t = t};
	bool ok;

	if (token_members(t) == 1)
		return true;
	ok = begin_check(&c, t, state_dir, e) && check_all(&c, e);
	end_check(&c);
	return ok;
}

bool
group_check_member(struct token *t, const char *state_dir, size_t member, struct error *e)
{
	int before = call_about((int)member);
	size_t first = token_first(t);
	struct check c = {.t = t};
	bool ok;

	ok = begin_check(&c, t, state_dir, e) && check_member(&c, member, e);
	(void)call_about((int)first);
	ok = ok && check_member(&c, first, e) && check_complete(&c, member, first, e);
	(void)call_about(before);
	end_check(&c);
	return ok;
}

static bool
share_floors(const char *state_dir, struct session rw[], size_t count, struct error *e)
{
	uint8_t(*ids)[KEY_ID_LEN] = NULL;
	size_t keys = 0;
	bool ok;

	ok = key_limits_list(state_dir, &ids, &keys, e);
	for (size_t k = 0; k < keys && ok; k++)
		ok = limits_floor_share(rw, count, ids[k], e);
	free(ids);
	return ok;
}

void
group_share_floors(struct token *t, const char *state_dir)
{
	struct session rw[CONFIG_MEMBERS_MAX];
	struct error why = ERROR_INIT;
	size_t count = 0;
	bool ok = true;

	for (size_t i = 0; i < token_members(t) && ok; i++) {
		struct token_member m;

		token_member(t, i, &m);
		if (m.standing == TOKEN_OPEN)
			ok = session_open(
			    token_functions(t), m.info->slot, true, &rw[count++], &why);
	}
	ok = ok && share_floors(state_dir, rw, count, &why);
	for (size_t i = 0; i < count; i++)
		session_close(&rw[i]);
	if (!ok)
		log_failure(LOG_LEVEL_WARNING, token_config(t)->name, &why);
}

void
group_check_others(struct token *t, const char *state_dir)
{
	for (size_t i = 0; i < token_members(t); i++) {
		struct error why = ERROR_INIT;
		struct token_member m;

		token_member(t, i, &m);
		if (i == token_first(t) || m.standing != TOKEN_OPEN ||
		    group_check_member(t, state_dir, i, &why))
			continue;
		log_warning(token_config(t)->name, "%s", why.text);
		token_set_aside(t, i, &why);
	}
}
