#include "db/key_order.h"

#include <stdlib.h>
#include <string.h>

#include "db/call_int.h"

#define VERSIONS_MAX 4096 /* keys of one answer */

static const struct db_statement stmt_versions = {
    "key_versions", "SELECT token, cka_id, name, version, install FROM key_versions($1)", 1};
static const struct db_statement stmt_orders = {"key_orders",
    "SELECT action, version, decision, statement, body, spkis, signatures "
    "FROM key_orders($1, $2, $3)",
    3};
static const struct db_statement stmt_end_begin = {
    "key_end_begin", "SELECT obstacle, token, cka_id FROM key_end_begin($1, $2)", 2};
static const struct db_statement stmt_end = {"key_end", "SELECT key_end($1, $2)", 2};

static void
on_versions(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct key_version *rows = NULL;
	struct error e = ERROR_INIT;
	size_t n = 0;

	if (err == NULL) {
		n = db_row_count(result);
		n = n < VERSIONS_MAX ? n : VERSIONS_MAX;
		rows = calloc(n > 0 ? n : 1, sizeof *rows);
		if (rows == NULL)
			error_set_errno(&e, ERROR_SYSTEM, "reading the keys");
		for (size_t i = 0; rows != NULL && i < n; i++)
			rows[i] = (struct key_version){db_get_text(result, i, 0),
			    db_get_text(result, i, 2), db_get_bytes(result, i, 1),
			    (int)db_get_int64(result, i, 3), db_get_int64(result, i, 4)};
		if (error_is_set(&e) || !db_result_ok(result, &e))
			err = &e;
	}
	((key_versions_fn *)call.fn)(rows, err == NULL ? n : 0, err, call.arg);
	free(rows);
}

struct db_pending *
key_versions_load(
    struct db *db, int signer_id, key_versions_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, signer_id);
	return db_call(db, &stmt_versions, &p, on_versions, (db_call_fn *)answer, arg, err);
}

static struct bytes
text_bytes(const char *text)
{
	return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static bool
read_order(struct db_result *r, size_t i, struct key_order *row, struct error *err)
{
	struct db_array spkis = db_get_array(r, i, 5), signatures = db_get_array(r, i, 6);
	const char *action = db_get_text(r, i, 0);
	struct signproto_operator_signature s;

	*row = (struct key_order){
	    .kind = KEY_ORDER_LIMITS,
	    .version = (int)db_get_int64(r, i, 1),
	    .decision = db_get_int64(r, i, 2),
	    .order = {.statement = text_bytes(db_get_text(r, i, 3)),
		.body = text_bytes(db_get_text(r, i, 4))},
	};
	if (action != NULL && (strcmp(action, "ca-create") == 0 || strcmp(action, "ca-rekey") == 0))
		row->kind = KEY_ORDER_CREATE;
	else if (action != NULL && strcmp(action, "ca-install") == 0)
		row->kind = KEY_ORDER_INSTALL;
	while (db_array_next(&spkis, &s.spki) && db_array_next(&signatures, &s.signature)) {
		if (row->order.signature_count == SIGNPROTO_ORDER_SIGNATURES_MAX)
			return error_set(err, ERROR_LIMIT, "an order with more than %d signatures",
			    SIGNPROTO_ORDER_SIGNATURES_MAX);
		row->order.signatures[row->order.signature_count++] = s;
	}
	return true;
}

static void
on_orders(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct key_order *rows = calloc(KEY_ORDERS_MAX, sizeof *rows);
	struct error e = ERROR_INIT;
	size_t n = 0, read = 0;

	if (rows == NULL && err == NULL) {
		error_set_errno(&e, ERROR_SYSTEM, "reading the orders about a key");
		err = &e;
	}
	if (err == NULL) {
		n = db_row_count(result);
		n = n < KEY_ORDERS_MAX ? n : KEY_ORDERS_MAX;
		while (read < n && read_order(result, read, &rows[read], &e))
			read++;
		if (error_is_set(&e) || !db_result_ok(result, &e))
			err = &e;
	}
	((key_orders_fn *)call.fn)(rows, err == NULL ? n : 0, err, call.arg);
	free(rows);
}

struct db_pending *
key_orders_load(struct db *db, struct bytes cka_id, int version, int64_t install,
    key_orders_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_bytes(&p, cka_id);
	db_param_int64(&p, version);
	db_param_int64(&p, install);
	return db_call(db, &stmt_orders, &p, on_orders, (db_call_fn *)answer, arg, err);
}

/* -------------------------------------------------------------------- its end */

static void
on_end_begun(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct key_ending key = {0};
	struct error e = ERROR_INIT;

	if (err == NULL && db_row_count(result) > 0) {
		key = (struct key_ending){db_get_text(result, 0, 0), db_get_text(result, 0, 1),
		    db_get_bytes(result, 0, 2)};
		if (!db_result_ok(result, &e))
			err = &e;
		else if (key.obstacle == NULL && (key.token == NULL || key.cka_id.len == 0)) {
			(void)error_set(&e, ERROR_INTERNAL, "no key to be destroyed");
			err = &e;
		}
	}
	((key_ending_fn *)call.fn)(err == NULL ? &key : NULL, err, call.arg);
}

static struct db_pending *
ask_end(struct db *db, const struct db_statement *statement, int64_t decision_id, int epoch,
    db_answer_fn *answer, db_call_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, decision_id);
	db_param_int64(&p, epoch);
	return db_call(db, statement, &p, answer, fn, arg, err);
}

struct db_pending *
key_end_begin(struct db *db, int64_t decision_id, int epoch, key_ending_fn *answer, void *arg,
    struct error *err)
{
	return ask_end(
	    db, &stmt_end_begin, decision_id, epoch, on_end_begun, (db_call_fn *)answer, arg, err);
}

static void
on_ended(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);

	((key_ended_fn *)call.fn)(err, call.arg);
}

struct db_pending *
key_end_note(struct db *db, int64_t decision_id, int epoch, key_ended_fn *answer, void *arg,
    struct error *err)
{
	return ask_end(db, &stmt_end, decision_id, epoch, on_ended, (db_call_fn *)answer, arg, err);
}
