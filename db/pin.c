#include "db/pin.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "db/call_int.h"

static const struct db_statement stmt_take = {"pin_take_entry",
    "SELECT id, statement, body, spki, signature FROM take_pin_entry($1, $2, $3, $4)", 4};
static const struct db_statement stmt_end = {
    "pin_end_entry", "SELECT end_pin_entry($1, $2, $3)", 3};
static const struct db_statement stmt_return = {
    "pin_return_entry", "SELECT return_pin_entry($1, $2, $3, $4, $5, $6)", 6};
static const struct db_statement stmt_await = {
    "pin_await_decision", "SELECT await_pin_decision($1, $2, $3, $4, $5, $6, $7, $8)", 8};
static const struct db_statement stmt_wake = {
    "pin_wake_decisions", "SELECT wake_pin_decisions($1, $2, $3)", 3};
static const struct db_statement stmt_expire = {"pin_expire", "SELECT expire_pins()", 0};

void
pin_param_digests(struct db_params *p, const struct pin_digests *digests)
{
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < digests->count; i++)
		db_element_bytea(p, digests->sha256[i], PIN_DIGEST_LEN);
	db_array_end(p);
}

static struct bytes
text_bytes(const char *text)
{
	return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static void
on_entry(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error e = ERROR_INIT;
	struct pin_entry entry;
	bool some = err == NULL && db_row_count(result) > 0;

	if (some) {
		entry = (struct pin_entry){.id = db_get_int64(result, 0, 0),
		    .statement = text_bytes(db_get_text(result, 0, 1)),
		    .body = text_bytes(db_get_text(result, 0, 2)),
		    .spki = db_get_bytes(result, 0, 3),
		    .signature = db_get_bytes(result, 0, 4)};
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((pin_entry_fn *)call.fn)(some && err == NULL ? &entry : NULL, err, call.arg);
}

struct db_pending *
pin_take_entry(struct db *db, const char *token, int signer_id, const char *instance, bool busy,
    pin_entry_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_text(&p, token);
	db_param_int64(&p, signer_id);
	db_param_text(&p, instance);
	db_param_bool(&p, busy);
	return db_call(db, &stmt_take, &p, on_entry, (db_call_fn *)fn, arg, err);
}

static void
on_ended(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "pin", err);
}

bool
pin_end_entry(struct db *db, int64_t id, bool done, const char *outcome, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, id);
	db_param_text(&p, done ? "done" : "refused");
	db_param_text(&p, outcome);
	return db_query(db, &stmt_end, &p, on_ended, NULL, err) != NULL;
}

static void
param_text(struct db_params *p, struct bytes text)
{
	char *copy = strndup((const char *)text.p, text.len);

	db_param_text(p, copy);
	free(copy);
}

bool
pin_return_entry(
    struct db *db, const struct pin_entry *entry, const char *outcome, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, entry->id);
	param_text(&p, entry->statement);
	param_text(&p, entry->body);
	db_param_bytea(&p, entry->spki.p, entry->spki.len);
	db_param_bytea(&p, entry->signature.p, entry->signature.len);
	db_param_text(&p, outcome);
	return db_query(db, &stmt_return, &p, on_ended, NULL, err) != NULL;
}

static void
on_void(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);

	((pin_done_fn *)call.fn)(err, call.arg);
}

/* Nothing is NULL to the database. */
static void
param_bytes(struct db_params *p, struct bytes b)
{
	db_param_bytea(p, b.len > 0 ? b.p : NULL, b.len);
}

struct db_pending *
pin_await_decision(struct db *db, struct decision_key key, const struct pin_wait *wait,
    pin_done_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, key.id);
	db_param_int64(&p, key.epoch);
	db_param_int64(&p, wait->signer_id);
	db_param_text(&p, wait->token);
	db_param_text(&p, wait->kind);
	db_param_text(&p, wait->ca);
	param_bytes(&p, wait->cka_id);
	param_bytes(&p, wait->tbs);
	return db_call(db, &stmt_await, &p, on_void, (db_call_fn *)fn, arg, err);
}

static void
on_count(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error e = ERROR_INIT;
	int64_t count = err == NULL ? db_get_int64(result, 0, 0) : 0;

	if (err == NULL && !db_result_ok(result, &e))
		err = &e;
	((pin_count_fn *)call.fn)(err == NULL ? count : 0, err, call.arg);
}

struct db_pending *
pin_wake_decisions(struct db *db, const char *token, int signer_id,
    const struct pin_digests *digests, pin_count_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_text(&p, token);
	db_param_int64(&p, signer_id);
	pin_param_digests(&p, digests);
	return db_call(db, &stmt_wake, &p, on_count, (db_call_fn *)fn, arg, err);
}

struct db_pending *
pin_expire(struct db *db, pin_count_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	return db_call(db, &stmt_expire, &p, on_count, (db_call_fn *)fn, arg, err);
}
