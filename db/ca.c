#include "db/ca.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "db/call_int.h"

#define TEMPLATE_LOAD_MAX 256

static const struct db_statement stmt_load = {"ca_load",
    "SELECT ca_id, issuer_name_id, generation_id, token_key_id, scope_ids[1], key_index, "
    "kind = 'root', state = 'active', name, token, policy, subject, certificate, chain, cka_id, "
    "spki, certificate_index, scope_ids, scope_labels, superseded, "
    "issued, scope_total, stopped, over FROM load_cas()",
    0};
static const struct db_statement stmt_templates = {"template_load",
    "SELECT v.id, t.name, v.body, v.version FROM template_version v "
    "JOIN template t ON t.id = v.template_id WHERE v.id = ANY ($1::bigint[])",
    1};
static const struct db_statement stmt_obstacle = {"ca_obstacle", "SELECT ca_obstacle($1, $2)", 2};
static const struct db_statement stmt_find_key = {
    "ca_noted_key", "SELECT token_key_id, cka_id, spki FROM ca_noted_key($1)", 1};
static const struct db_statement stmt_note_key = {
    "ca_note_key", "SELECT ca_note_key($1, $2, $3, $6, $4, $5, $7), $6::bytea, $7::bytea", 7};
static const struct db_statement stmt_begin = {"ca_begin",
    "SELECT ca_id, generation_id, serial, tbs, certificate_index, key_index "
    "FROM ca_begin($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    16};
static const struct db_statement stmt_renew = {"ca_renew",
    "SELECT ca_id, generation_id, serial, tbs, certificate_index, key_index "
    "FROM ca_renew($1, $2, $3, $4, $5)",
    5};
static const struct db_statement stmt_rekey = {"ca_rekey",
    "SELECT ca_id, generation_id, serial, tbs, certificate_index, key_index "
    "FROM ca_rekey($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    11};
static const struct db_statement stmt_next = {
    "ca_next", "SELECT certificate_index, key_index FROM ca_next($1)", 1};
static const struct db_statement stmt_rollover_begin = {"ca_rollover_begin",
    "SELECT ca_id, generation_id, serial, tbs, certificate_index, key_index "
    "FROM ca_rollover_begin($1, $2, $3, $4, $5, $6)",
    6};
static const struct db_statement stmt_cross = {
    "ca_cross", "SELECT ca_cross($1, $2, $3, $4, $5)", 5};
static const struct db_statement stmt_rollover_end = {
    "ca_rollover_end", "SELECT ca_rollover_end($1, $2, $3, $4, $5, $6, $7)", 7};
static const struct db_statement stmt_retire = {"ca_retire", "SELECT retire_generations()", 0};
static const struct db_statement stmt_remind = {
    "ca_remind", "SELECT name, not_after FROM remind_of_renewals()", 0};
static const struct db_statement stmt_waiting = {"ca_waiting",
    "SELECT generation_id, token, cka_id, spki, certificate_index, key_index, policy "
    "FROM ca_waiting($1)",
    1};
static const struct db_statement stmt_limits = {
    "ca_limits", "SELECT apply_limits($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", 12};
static const struct db_statement stmt_activate = {
    "ca_activate", "SELECT ca_activate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", 12};

/* ---------------------------------------------------------------- reading */

static bool
copy_bytes(struct bytes from, struct bytes *to)
{
	uint8_t *p;

	if (from.len == 0)
		return true;
	p = malloc(from.len);
	if (p == NULL)
		return false;
	memcpy(p, from.p, from.len);
	to->p = p;
	to->len = from.len;
	return true;
}

static bool
copy_name(const char *from, char *to, size_t size)
{
	if (from == NULL || strlen(from) >= size)
		return false;
	memcpy(to, from, strlen(from) + 1);
	return true;
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool
same(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool
ca_row_equal(const struct ca_row *a, const struct ca_row *b)
{
	if (a->ca_id != b->ca_id || a->generation_id != b->generation_id ||
	    a->scope_id != b->scope_id || a->active != b->active ||
	    a->superseded != b->superseded || a->issued != b->issued || a->over != b->over ||
	    !same_text(a->stopped, b->stopped) || a->chain_len != b->chain_len ||
	    strcmp(a->policy, b->policy) != 0 || !same(a->certificate, b->certificate) ||
	    a->scope_count != b->scope_count)
		return false;
	for (size_t i = 0; i < a->scope_count; i++) {
		if (a->scopes[i].id != b->scopes[i].id)
			return false;
	}
	for (size_t i = 0; i < a->chain_len; i++) {
		if (!same(a->chain[i], b->chain[i]))
			return false;
	}
	return true;
}

void
ca_row_free(struct ca_row *row)
{
	free(row->policy);
	free(row->stopped);
	free((void *)row->subject.p);
	free((void *)row->certificate.p);
	for (size_t i = 0; i < row->chain_len; i++)
		free((void *)row->chain[i].p);
	free((void *)row->cka_id.p);
	free((void *)row->spki.p);
	free(row->scopes);
	*row = (struct ca_row){0};
}

static bool
read_chain(struct db_result *r, size_t i, struct ca_row *row, struct error *err)
{
	struct db_array chain = db_get_array(r, i, 13);
	struct bytes der;

	while (db_array_next(&chain, &der)) {
		if (row->chain_len == CA_CHAIN_MAX)
			return error_set(err, ERROR_LIMIT,
			    "CA %s: more than %d certificates above it", row->name, CA_CHAIN_MAX);
		if (!copy_bytes(der, &row->chain[row->chain_len]))
			return error_set_errno(err, ERROR_SYSTEM, "reading CA %s", row->name);
		row->chain_len++;
	}
	return true;
}

static bool
copy_word(struct bytes from, char *to, size_t size)
{
	if (from.len >= size)
		return false;
	if (from.len > 0)
		memcpy(to, from.p, from.len);
	to[from.len] = '\0';
	return true;
}

static bool
read_scopes(struct db_result *r, size_t i, struct ca_row *row, struct error *err)
{
	struct db_array ids = db_get_array(r, i, 17), labels = db_get_array(r, i, 18);
	struct bytes label;

	row->scopes = calloc(ids.count > 0 ? ids.count : 1, sizeof *row->scopes);
	if (row->scopes == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "reading CA %s", row->name);
	while (db_array_next_int64(&ids, &row->scopes[row->scope_count].id)) {
		struct ca_scope *s = &row->scopes[row->scope_count++];

		if (!db_array_next(&labels, &label) || !copy_word(label, s->label, sizeof s->label))
			return error_set(err, ERROR_INTERNAL,
			    "CA %s: a CRL scope's label is missing or too long", row->name);
		if (row->scope_count == ids.count)
			break;
	}
	return row->scope_count > 0 ||
	       error_set(err, ERROR_INTERNAL, "CA %s has no CRL", row->name);
}

static bool
read_row(struct db_result *r, size_t i, struct ca_row *row, struct error *err)
{
	const char *policy = db_get_text(r, i, 10), *stopped = db_get_text(r, i, 22);

	row->ca_id = db_get_int64(r, i, 0);
	row->issuer_name_id = db_get_int64(r, i, 1);
	row->generation_id = db_get_int64(r, i, 2);
	row->token_key_id = db_get_int64(r, i, 3);
	row->scope_id = db_get_int64(r, i, 4);
	row->key_index = (int)db_get_int64(r, i, 5);
	row->certificate_index = (int)db_get_int64(r, i, 16);
	row->root = db_get_bool(r, i, 6);
	row->superseded = db_get_bool(r, i, 19);
	row->issued = db_get_bool(r, i, 20);
	row->scope_total = (size_t)db_get_int64(r, i, 21);
	row->active = db_get_bool(r, i, 7);
	row->over = db_get_bool(r, i, 23);
	if (!copy_name(db_get_text(r, i, 8), row->name, sizeof row->name) ||
	    !copy_name(db_get_text(r, i, 9), row->token, sizeof row->token))
		return error_set(
		    err, ERROR_INTERNAL, "a CA's name or token is missing or too long");
	row->policy = policy != NULL ? strdup(policy) : NULL;
	row->stopped = stopped != NULL ? strdup(stopped) : NULL;
	if (row->policy == NULL || (stopped != NULL && row->stopped == NULL) ||
	    !copy_bytes(db_get_bytes(r, i, 11), &row->subject) ||
	    !copy_bytes(db_get_bytes(r, i, 12), &row->certificate) ||
	    !copy_bytes(db_get_bytes(r, i, 14), &row->cka_id) ||
	    !copy_bytes(db_get_bytes(r, i, 15), &row->spki))
		return error_set_errno(err, ERROR_SYSTEM, "reading CA %s", row->name);
	return read_scopes(r, i, row, err) && read_chain(r, i, row, err) && db_result_ok(r, err);
}

static void
on_rows(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error e = ERROR_INIT;
	struct ca_row *rows = NULL;
	size_t n = 0, read = 0;

	if (err == NULL) {
		n = db_row_count(result);
		rows = calloc(n > 0 ? n : 1, sizeof *rows);
		if (rows == NULL)
			error_set_errno(&e, ERROR_SYSTEM, "reading the CAs");
		else
			while (read < n && read_row(result, read, &rows[read], &e))
				read++;
		if (error_is_set(&e))
			err = &e;
	}
	((ca_rows_fn *)call.fn)(rows, err == NULL ? n : 0, err, call.arg);
	for (size_t i = 0; rows != NULL && i < n; i++)
		ca_row_free(&rows[i]);
	free(rows);
}

struct db_pending *
ca_load(struct db *db, ca_rows_fn *answer, void *arg, struct error *err)
{
	return db_call(db, &stmt_load, NULL, on_rows, (db_call_fn *)answer, arg, err);
}

static void
on_templates(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct template_row rows[TEMPLATE_LOAD_MAX];
	struct error e = ERROR_INIT;
	size_t n = 0;

	if (err == NULL) {
		n = db_row_count(result);
		if (n > COUNT_OF(rows))
			n = COUNT_OF(rows);
		for (size_t i = 0; i < n; i++)
			rows[i] = (struct template_row){
			    .version_id = db_get_int64(result, i, 0),
			    .name = db_get_text(result, i, 1),
			    .body = db_get_text(result, i, 2),
			    .version = (int)db_get_int64(result, i, 3),
			};
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((template_rows_fn *)call.fn)(rows, err == NULL ? n : 0, err, call.arg);
}

struct db_pending *
template_load(struct db *db, const int64_t *version_ids, size_t n, template_rows_fn *answer,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_array_begin(&p, DB_INT8);
	for (size_t i = 0; i < n && i < TEMPLATE_LOAD_MAX; i++)
		db_element_int64(&p, version_ids[i]);
	db_array_end(&p);
	return db_call(db, &stmt_templates, &p, on_templates, (db_call_fn *)answer, arg, err);
}

/* ----------------------------------------------------------------- making */

static void
on_obstacle(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);

	((ca_obstacle_fn *)call.fn)(err == NULL ? db_get_text(result, 0, 0) : NULL, err, call.arg);
}

struct db_pending *
ca_find_obstacle(struct db *db, const char *name, struct bytes subject, ca_obstacle_fn *answer,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_text(&p, name);
	db_param_bytes(&p, subject);
	return db_call(db, &stmt_obstacle, &p, on_obstacle, (db_call_fn *)answer, arg, err);
}

static void
on_key(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct ca_key key = {0};
	struct error e = ERROR_INIT;

	if (err == NULL && db_row_count(result) > 0) {
		key = (struct ca_key){db_get_int64(result, 0, 0), db_get_bytes(result, 0, 1),
		    db_get_bytes(result, 0, 2)};
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((ca_key_fn *)call.fn)(err == NULL ? &key : NULL, err, call.arg);
}

struct db_pending *
ca_find_key(struct db *db, int64_t decision_id, ca_key_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, decision_id);
	return db_call(db, &stmt_find_key, &p, on_key, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_note_key(struct db *db, int64_t decision_id, int epoch, const char *token, const char *label,
    const char *algorithm, struct bytes cka_id, struct bytes spki, ca_key_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, decision_id);
	db_param_int64(&p, epoch);
	db_param_text(&p, token);
	db_param_text(&p, label);
	db_param_text(&p, algorithm);
	db_param_bytes(&p, cka_id);
	db_param_bytes(&p, spki);
	return db_call(db, &stmt_note_key, &p, on_key, (db_call_fn *)answer, arg, err);
}

static void
on_begun(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct ca_begun begun = {0};
	struct error e = ERROR_INIT;

	if (err == NULL) {
		begun = (struct ca_begun){db_get_int64(result, 0, 0), db_get_int64(result, 0, 1),
		    db_get_bytes(result, 0, 2), db_get_bytes(result, 0, 3),
		    (int)db_get_int64(result, 0, 4), (int)db_get_int64(result, 0, 5)};
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((ca_begun_fn *)call.fn)(err == NULL ? &begun : NULL, err, call.arg);
}

/* An empty slice is an SQL NULL here: there is none. */
static void
param_optional(struct db_params *p, struct bytes v)
{
	db_param_bytea(p, v.len > 0 ? v.p : NULL, v.len);
}

struct db_pending *
ca_make(
    struct db *db, const struct ca_begin *begin, ca_begun_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, begin->decision_id);
	db_param_int64(&p, begin->epoch);
	db_param_text(&p, begin->name);
	db_param_text(&p, begin->root ? "root" : "subordinate");
	db_param_text(&p, begin->policy);
	db_param_bytes(&p, begin->subject);
	db_param_text(&p, begin->readable);
	db_param_int64(&p, begin->token_key_id);
	param_optional(&p, begin->csr);
	if (!ca_places_scopes_param(begin->places, &p, err))
		goto fail;
	db_param_bool(&p, begin->keep_expired);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < begin->template_count; i++)
		db_element_text(&p, begin->templates[i]);
	db_array_end(&p);
	if (!ca_places_targets_param(begin->places, &p, err))
		goto fail;
	param_optional(&p, begin->serial);
	param_optional(&p, begin->tbs);
	db_param_text(&p, begin->limits);
	return db_call(db, &stmt_begin, &p, on_begun, (db_call_fn *)answer, arg, err);
fail:
	db_params_free(&p);
	return NULL;
}

struct db_pending *
ca_renew(struct db *db, const struct ca_renewal *renewal, ca_begun_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, renewal->decision_id);
	db_param_int64(&p, renewal->epoch);
	param_optional(&p, renewal->csr);
	param_optional(&p, renewal->serial);
	param_optional(&p, renewal->tbs);
	return db_call(db, &stmt_renew, &p, on_begun, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_rekey(struct db *db, const struct ca_rekeying *rekeying, ca_begun_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, rekeying->decision_id);
	db_param_int64(&p, rekeying->epoch);
	db_param_text(&p, rekeying->policy);
	db_param_int64(&p, rekeying->token_key_id);
	db_param_int64(&p, rekeying->key_index);
	param_optional(&p, rekeying->csr);
	if (!ca_places_scopes_param(rekeying->places, &p, err)) {
		db_params_free(&p);
		return NULL;
	}
	db_param_bool(&p, rekeying->keep_expired);
	param_optional(&p, rekeying->serial);
	param_optional(&p, rekeying->tbs);
	db_param_text(&p, rekeying->limits);
	return db_call(db, &stmt_rekey, &p, on_begun, (db_call_fn *)answer, arg, err);
}

static void
on_next(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	int certificate_index = 0, key_index = 0;
	struct error e = ERROR_INIT;

	if (err == NULL) {
		certificate_index = (int)db_get_int64(result, 0, 0);
		key_index = (int)db_get_int64(result, 0, 1);
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((ca_next_fn *)call.fn)(certificate_index, key_index, err, call.arg);
}

struct db_pending *
ca_find_next(struct db *db, int64_t ca_id, ca_next_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, ca_id);
	return db_call(db, &stmt_next, &p, on_next, (db_call_fn *)answer, arg, err);
}

static void
on_waiting(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct ca_waiting waiting = {0};
	struct error e = ERROR_INIT;

	if (err == NULL && db_row_count(result) > 0) {
		waiting = (struct ca_waiting){
		    .generation_id = db_get_int64(result, 0, 0),
		    .token = db_get_text(result, 0, 1),
		    .cka_id = db_get_bytes(result, 0, 2),
		    .spki = db_get_bytes(result, 0, 3),
		    .certificate_index = (int)db_get_int64(result, 0, 4),
		    .key_index = (int)db_get_int64(result, 0, 5),
		    .policy = db_get_text(result, 0, 6),
		};
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((ca_waiting_fn *)call.fn)(err == NULL ? &waiting : NULL, err, call.arg);
}

struct db_pending *
ca_find_waiting(struct db *db, int64_t ca_id, ca_waiting_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, ca_id);
	return db_call(db, &stmt_waiting, &p, on_waiting, (db_call_fn *)answer, arg, err);
}

static void
on_done(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);

	((ca_done_fn *)call.fn)(err, call.arg);
}

struct db_pending *
ca_change_limits(struct db *db, const struct ca_limits_change *change, ca_done_fn *answer,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, change->decision_id);
	db_param_int64(&p, change->epoch);
	db_param_int64(&p, change->version);
	db_param_text(&p, change->document);
	db_param_text(&p, change->policy);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < change->template_count; i++)
		db_element_text(&p, change->templates[i]);
	db_array_end(&p);
	if (change->places == NULL) {
		db_param_null(&p);
		db_param_null(&p);
	} else if (!ca_places_scopes_param(change->places, &p, err) ||
		   !ca_places_targets_param(change->places, &p, err)) {
		db_params_free(&p);
		return NULL;
	}
	db_param_bool(&p, change->divide);
	db_param_bool(&p, change->keep_expired);
	db_param_bool(&p, change->keep_places);
	if (change->calendar == NULL) {
		db_param_null(&p);
	} else {
		const struct ca_calendar *c = change->calendar;
		char text[256];

		(void)snprintf(text, sizeof text,
		    "{\"period\":%" PRId64 ",\"delta\":%" PRId64 ",\"unit\":%" PRId64
		    ",\"offset\":%" PRId64 ",\"jitter\":%" PRId64 "}",
		    c->period_s, c->delta_period_s, c->align_unit_s, c->align_offset_s,
		    c->jitter_s);
		db_param_text(&p, text);
	}
	return db_call(db, &stmt_limits, &p, on_done, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_activate(struct db *db, const struct ca_activation *activation, ca_done_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, activation->decision_id);
	db_param_int64(&p, activation->epoch);
	db_param_int64(&p, activation->generation_id);
	db_param_bytes(&p, activation->certificate);
	db_array_begin(&p, DB_BYTEA);
	for (size_t i = 0; i < activation->chain_len; i++)
		db_element_bytes(&p, activation->chain[i]);
	db_array_end(&p);
	db_param_bytes(&p, activation->ski);
	db_param_unixtime(&p, activation->not_before);
	db_param_unixtime(&p, activation->not_after);
	param_optional(&p, activation->own_serial);
	db_param_text(&p, activation->readable);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < activation->template_count; i++)
		db_element_text(&p, activation->templates[i]);
	db_array_end(&p);
	if (!ca_places_targets_param(activation->places, &p, err)) {
		db_params_free(&p);
		return NULL;
	}
	return db_call(db, &stmt_activate, &p, on_done, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_retire(struct db *db, ca_done_fn *answer, void *arg, struct error *err)
{
	return db_call(db, &stmt_retire, NULL, on_done, (db_call_fn *)answer, arg, err);
}

static void
on_reminders(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct ca_reminder rows[CA_REMINDERS_MAX];
	size_t n = 0;

	for (; err == NULL && n < db_row_count(result) && n < CA_REMINDERS_MAX; n++)
		rows[n] = (struct ca_reminder){
		    db_get_text(result, n, 0), db_get_text(result, n, 1)};
	((ca_reminders_fn *)call.fn)(rows, n, err, call.arg);
}

struct db_pending *
ca_remind(struct db *db, ca_reminders_fn *answer, void *arg, struct error *err)
{
	return db_call(db, &stmt_remind, NULL, on_reminders, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_rollover_begin(struct db *db, const struct ca_rolling *rolling, ca_begun_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, rolling->decision_id);
	db_param_int64(&p, rolling->epoch);
	db_param_int64(&p, rolling->signer_key_id);
	db_param_int64(&p, rolling->subject_key_id);
	db_param_bytes(&p, rolling->serial);
	db_param_bytes(&p, rolling->tbs);
	return db_call(db, &stmt_rollover_begin, &p, on_begun, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_rollover_end(
    struct db *db, const struct ca_rolled *rolled, ca_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, rolled->decision_id);
	db_param_int64(&p, rolled->epoch);
	db_param_bytes(&p, rolled->certificate);
	db_param_unixtime(&p, rolled->not_before);
	db_param_unixtime(&p, rolled->not_after);
	db_param_text(&p, rolled->readable);
	db_param_bytes(&p, rolled->spki_sha256);
	return db_call(db, &stmt_rollover_end, &p, on_done, (db_call_fn *)answer, arg, err);
}

struct db_pending *
ca_cross(struct db *db, const struct ca_crossed *crossed, ca_done_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, crossed->decision_id);
	db_param_int64(&p, crossed->epoch);
	db_param_bytes(&p, crossed->certificate);
	db_param_text(&p, crossed->issuer);
	db_param_unixtime(&p, crossed->not_after);
	return db_call(db, &stmt_cross, &p, on_done, (db_call_fn *)answer, arg, err);
}
