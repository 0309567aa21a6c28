/* The end of a key. */

#include "pkcs11/orders_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/core/log.h"
#include "daemon/x509/destruction.h"
#include "daemon/x509/order.h"
#include "pkcs11/journal.h"
#include "pkcs11/key_int.h"
#include "pkcs11/key_remove.h"
#include "pkcs11/limits_floor.h"
#include "pkcs11/order_file.h"

/* The order stays beside the key's limits: the key is not made again. */
#define MARK_NAME_MAX (KEY_ID_TEXT_MAX + 16)

static void
mark_name(const uint8_t id[KEY_ID_LEN], char out[MARK_NAME_MAX])
{
	char text[KEY_ID_TEXT_MAX];

	key_limits_id_text((struct bytes){id, KEY_ID_LEN}, text);
	(void)snprintf(out, MARK_NAME_MAX, "%s.destroyed", text);
}

/* Whether it was ordered, as this host knows. */
static bool
is_ordered(const char *state_dir, const uint8_t id[KEY_ID_LEN], bool *ordered, struct error *e)
{
	struct order_file *f = NULL;
	struct error why = ERROR_INIT;
	char name[MARK_NAME_MAX];

	mark_name(id, name);
	*ordered = order_file_read(state_dir, name, &f, &why);
	order_file_free(f);
	return *ordered || why.code == ERROR_NOT_FOUND || error_set(e, why.code, "%s", why.text);
}

bool
orders_check_not_destroyed(
    struct session *s, const struct orders_env *env, const uint8_t id[KEY_ID_LEN], struct error *e)
{
	struct limits_floor ignored;
	bool ordered;

	if (!is_ordered(env->state_dir, id, &ordered, e))
		return false;
	if (ordered)
		return error_set(e, ERROR_DENIED,
		    "the key of these limits was destroyed because its operators ordered it, and "
		    "is not made again");
	return limits_floor_read(s, id, &ignored, e);
}

/* ---- may it go? */

/* label: of the key on the token; NULL when it is not there. */
static bool
check_document(const struct orders_env *env, const struct key_limits *l,
    const struct signproto_order *order, const char *label, struct error *e)
{
	struct destruction d;

	if (!destruction_parse((const char *)order->body.p, order->body.len, &d, e))
		return false;
	if (strcmp(d.ca, l->document.ca) != 0 || strcmp(d.token, env->token) != 0 ||
	    memcmp(d.key, l->spki_sha256, sizeof d.key) != 0)
		return error_set(e, ERROR_DENIED,
		    "the operators ordered the destruction of another key: one of CA %s on token "
		    "'%s'",
		    d.ca, d.token);
	return label == NULL || strcmp(d.label, label) == 0 ||
	       error_set(e, ERROR_DENIED,
		   "the label of the key of CA %s is '%s', and not '%s' as the operators typed; "
		   "nothing was destroyed",
		   d.ca, label, d.label);
}

static bool
check_order(const struct orders_env *env, const struct key_limits *l,
    const struct signproto_order *order, struct error *e)
{
	const struct limits *d = &l->document;
	const struct order_rules rules = {
	    STATEMENT_KEY_DESTROY, d->ca, d, LIMITS_RIGHT_LIMITS, d->quorum};
	struct statement statement;

	return order_verify(order, &rules, &statement, e) &&
	       statement_check_time(&statement, env->now, e);
}

/* Nothing is destroyed because of an order that is not on the disk. */
static bool
keep(const struct orders_env *env, const struct key_limits *l, const struct signproto_order *order,
    struct error *e)
{
	char name[MARK_NAME_MAX];

	mark_name(l->id, name);
	return order_file_write(env->state_dir, name, order, e) ||
	       error_wrap(e, "the order to destroy a key");
}

/* ---- what is on the token */

/* *there: something with the key's CKA_ID, which then is not another key. */
static bool
look(struct session *s, const struct key_limits *l, struct key_remains *found, bool *there,
    struct error *e)
{
	struct bytes id = {l->id, sizeof l->id};
	struct key key = {0};
	uint8_t digest[32];
	bool ok = true;

	*there = false;
	if (!key_find_remains(s, id, found, e))
		return false;
	*there = found->private_key != CK_INVALID_HANDLE || found->public_key != CK_INVALID_HANDLE;
	if (found->public_key == CK_INVALID_HANDLE)
		return true;
	ok = key_read_public(s, found->public_key, &key, e) && spki_sha256(&key.spki, digest, e);
	if (ok && memcmp(digest, l->spki_sha256, sizeof digest) != 0)
		ok = error_set(e, ERROR_DENIED,
		    "what has the CKA_ID of the key of CA %s on the token is another key",
		    l->document.ca);
	key_clear(&key);
	return ok;
}

static bool
destroy(struct session *rw, const struct key_limits *l, struct error *e)
{
	struct key_remains found;
	bool there;

	if (!look(rw, l, &found, &there, e) || (there && !key_remove(rw, &found, e)) ||
	    (there && !look(rw, l, &found, &there, e)))
		return false;
	return !there || error_set(e, ERROR_UNAVAILABLE,
			     "the token says that it destroyed the key, and still has it");
}

bool
orders_is_destroyed(const char *state_dir, const uint8_t id[KEY_ID_LEN])
{
	struct error ignored = ERROR_INIT;
	bool ordered;

	return is_ordered(state_dir, id, &ordered, &ignored) && ordered;
}

bool
orders_destroy_copy(struct session *rw, const struct key_limits *l, struct error *e)
{
	return destroy(rw, l, e);
}

/* The token shall remember it as long as it has room for that. */
static void
bury(struct session *rw, const struct key_limits *l, const struct signproto_order *order)
{
	struct error why = ERROR_INIT;
	uint8_t digest[32];

	if (EVP_Digest(
		order->statement.p, order->statement.len, digest, NULL, EVP_sha256(), NULL) != 1 ||
	    !limits_floor_bury(rw, l, digest, &why))
		log_failure(LOG_LEVEL_WARNING, l->document.ca, &why);
}

static bool
take_order(struct session *rw, const struct orders_env *env, const struct key_limits *l,
    const struct signproto_order *order, struct error *e)
{
	struct bytes id = {l->id, sizeof l->id};
	struct key_remains found;
	bool refused = false, there;

	return limits_floor_check(rw, l, &refused, e) && check_order(env, l, order, e) &&
	       look(rw, l, &found, &there, e) &&
	       check_document(env, l, order, there ? found.label : NULL, e) &&
	       journal_note_destruction(env->journal, id, order, journal_clock_now(), e) &&
	       keep(env, l, order, e);
}

bool
orders_destroy_key(struct session *rw, const struct orders_env *env, struct bytes id,
    const struct signproto_order *order, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	bool ordered = false, ok = false;

	if (l == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	if (!key_limits_load(l, env->state_dir, id, e) ||
	    !is_ordered(env->state_dir, l->id, &ordered, e))
		goto out;
	/* What was begun is brought to its end, whoever asks for it. */
	ok = (ordered || take_order(rw, env, l, order, e)) && destroy(rw, l, e);
	if (ok) {
		bury(rw, l, order);
		orders_log(l, "has its key no more: it is destroyed");
	}
out:
	free(l);
	return ok;
}
