/* What is noted beside signatures: keys, how far CRL scopes are, logins, the ends of keys. */

#include <string.h>

#include "daemon/x509/der.h"
#include "pkcs11/journal_int.h"

/* ---- keys and scopes */

static bool
add_key(struct journal *j, struct bytes id, enum journal_key_origin origin,
    struct journal_clock now, struct error *e)
{
	struct journal_key key = {.id_len = id.len, .origin = origin};

	if (!journal_check_open(j, e) || !journal_check_clock(j, now, e))
		return false;
	if (id.len == 0 || id.len > sizeof key.id)
		return error_set(e, ERROR_INTERNAL, "a key's id of %zu octets", id.len);
	if (state_find_key(&j->state, id) != NULL)
		return true;
	if (origin == JOURNAL_KEY_FOUND && (j->state.floors.reseeded || !j->state.floors.anchored))
		return error_set(e, ERROR_CONFLICT,
		    "the key was on the token before, and the journal of token '%s' cannot tell "
		    "what "
		    "it was used for; its operators open it with `chancery signer reseed %s`",
		    j->token, j->token);
	memcpy(key.id, id.p, id.len);
	if (!journal_make_room(j, JOURNAL_USE_MAX, now, e))
		return false;
	journal_put_key(journal_payload(j), &key);
	return journal_append_payload(j, JOURNAL_KEY, now.wall_s, NULL, e) &&
	       state_add_key(&j->state, &key, e) && journal_sync_locked(j, e);
}

bool
journal_add_key(struct journal *j, struct bytes id, enum journal_key_origin origin,
    struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = add_key(j, id, origin, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

bool
journal_knows_key(struct journal *j, struct bytes id)
{
	bool known;

	(void)pthread_mutex_lock(&j->lock);
	known = j->closed == JOURNAL_OPEN && state_find_key(&j->state, id) != NULL;
	(void)pthread_mutex_unlock(&j->lock);
	return known;
}

bool
journal_find_scope(
    struct journal *j, struct bytes id, const uint8_t scope[32], struct journal_scope *out)
{
	const struct journal_scope *found;

	(void)pthread_mutex_lock(&j->lock);
	found = state_find_scope(&j->state, id, scope);
	if (found != NULL)
		*out = *found;
	(void)pthread_mutex_unlock(&j->lock);
	return found != NULL;
}

static bool
raise_scope(
    struct journal *j, const struct journal_scope *to, struct journal_clock now, struct error *e)
{
	struct bytes id = {to->id, to->id_len};
	bool raised;

	if (!journal_check(j, id, now, e) ||
	    !journal_make_room(j, JOURNAL_RECORD_MAX / 16, now, e) ||
	    !state_raise_scope(&j->state, to, &raised, e))
		return false;
	if (!raised)
		return true;
	journal_put_scope(journal_payload(j), state_find_scope(&j->state, id, to->scope));
	return journal_append_payload(j, JOURNAL_SCOPE, now.wall_s, NULL, e) &&
	       journal_sync_locked(j, e);
}

bool
journal_raise_scope(
    struct journal *j, const struct journal_scope *to, struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = raise_scope(j, to, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

/* ---- logins */

bool
journal_note_login(struct journal *j, const char *line, struct journal_clock now, struct error *e)
{
	bool ok = true;

	(void)pthread_mutex_lock(&j->lock);
	if (j->closed == JOURNAL_OPEN) {
		ok = journal_make_room(j, LOGINS_LINE_SIZE + JOURNAL_USE_MAX, now, e);
		wire_put_string(journal_payload(j), line);
		ok = ok && journal_append_payload(j, JOURNAL_LOGIN, now.wall_s, NULL, e) &&
		     journal_sync_locked(j, e);
	}
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

bool
journal_get_login(struct bytes payload, char line[LOGINS_LINE_SIZE])
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	wire_get_string(&r, line, LOGINS_LINE_SIZE);
	return wire_reader_end(&r);
}

/* ---- destroyed keys */

/* A document of a destruction with its signatures is not longer. */
#define DESTRUCTION_MAX (16 * 1024)

static bool
note_destruction(struct journal *j, struct bytes id, const struct signproto_order *order,
    struct journal_clock now, struct error *e)
{
	if (j->closed != JOURNAL_OPEN)
		return error_set(e, ERROR_UNAVAILABLE,
		    "the journal is closed, and no key is destroyed without a record of it");
	if (order->statement.len + order->body.len > DESTRUCTION_MAX / 2)
		return error_set(e, ERROR_LIMIT, "the order to destroy a key is too long");
	if (!journal_make_room(j, DESTRUCTION_MAX + JOURNAL_USE_MAX, now, e))
		return false;
	signproto_put_key_destroy(journal_payload(j), &(struct signproto_key_destroy){id, *order});
	return journal_append_payload(j, JOURNAL_DESTROY, now.wall_s, NULL, e) &&
	       journal_sync_locked(j, e);
}

bool
journal_note_destruction(struct journal *j, struct bytes id, const struct signproto_order *order,
    struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = note_destruction(j, id, order, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}
