#include "db/decision.h"

#include <stdlib.h>
#include <string.h>

#include "db/call_int.h"

static const struct db_statement stmt_claim = {"decision_claim",
    "SELECT id, epoch, public_id, action, statement, signature, body, received_via, received_at, "
    "nonce, credential_spki, credential_live, person, roles, first_operator, "
    "request_public_id, request_csr_sha256, request_template, certificate_sha256, ca_name, "
    "more_spkis, more_signatures, more_received, limits, token "
    "FROM claim_decisions($1, $2, $3, $4)",
    4};
static const struct db_statement stmt_keep = {
    "decision_keep", "SELECT keep_decisions($1, $2, $3)", 3};
static const struct db_statement stmt_refuse = {
    "decision_refuse", "SELECT refuse_decision($1, $2, $3)", 3};
static const struct db_statement stmt_retry = {
    "decision_retry", "SELECT retry_decision($1, $2, $3, $4, NULL)", 4};
static const struct db_statement stmt_expire = {"decision_expire", "SELECT expire_decisions()", 0};
static const struct db_statement stmt_request = {
    "decision_apply_request", "SELECT apply_request_decision($1, $2)", 2};
static const struct db_statement stmt_revocation = {
    "decision_apply_revocation", "SELECT apply_revocation($1, $2, $3::smallint, $4, $5)", 5};
static const struct db_statement stmt_operator = {
    "decision_apply_operator", "SELECT apply_operator($1, $2, $3, $4, $5, $6)", 6};
static const struct db_statement stmt_reseed = {
    "decision_apply_reseed", "SELECT apply_reseed($1, $2, $3, $4)", 4};
static const struct db_statement stmt_attest = {
    "decision_apply_attest", "SELECT apply_attest($1, $2, $3)", 3};
static const struct db_statement stmt_template = {
    "decision_apply_template", "SELECT apply_template($1, $2, $3, $4)", 4};

static void
read_roles(struct db_result *r, size_t i, struct decision_row *row)
{
	struct db_array roles = db_get_array(r, i, 13);
	struct bytes role;

	while (row->role_count < DECISION_ROLES_MAX && db_array_next(&roles, &role)) {
		char *to = row->roles[row->role_count];

		if (role.len == 0 || role.len >= sizeof row->roles[0])
			continue;
		memcpy(to, role.p, role.len);
		to[role.len] = '\0';
		row->role_count++;
	}
}

/* What a ceremony has beside the first signature. */
static void
read_ceremony(struct db_result *r, size_t i, struct decision_row *row)
{
	struct db_array spkis = db_get_array(r, i, 20), signatures = db_get_array(r, i, 21);
	struct db_array times = db_get_array(r, i, 22), limits = db_get_array(r, i, 23);
	struct decision_signature s;
	struct bytes document;

	while (db_array_next(&spkis, &s.spki) && db_array_next(&signatures, &s.signature) &&
	       db_array_next_int64(&times, &s.received_at)) {
		if (row->more_count == COUNT_OF(row->more))
			row->overfull = true;
		else
			row->more[row->more_count++] = s;
	}
	while (db_array_next(&limits, &document)) {
		if (row->limits_count == COUNT_OF(row->limits))
			row->overfull = true;
		else
			row->limits[row->limits_count++] = document;
	}
}

static void
read_row(struct db_result *r, size_t i, struct decision_row *row)
{
	*row = (struct decision_row){
	    .key = {db_get_int64(r, i, 0), (int)db_get_int64(r, i, 1)},
	    .action = db_get_text(r, i, 3),
	    .statement = db_get_text(r, i, 4),
	    .signature = db_get_bytes(r, i, 5),
	    .body = db_get_text(r, i, 6),
	    .received_via = db_get_text(r, i, 7),
	    .received_at = db_get_unixtime(r, i, 8),
	    .nonce = db_get_bytes(r, i, 9),
	    .credential_spki = db_get_bytes(r, i, 10),
	    .credential_live = db_get_bool(r, i, 11),
	    .person = db_get_text(r, i, 12),
	    .first_operator = db_get_bool(r, i, 14),
	    .request_csr_sha256 = db_get_bytes(r, i, 16),
	    .request_template = db_get_text(r, i, 17),
	    .certificate_sha256 = db_get_bytes(r, i, 18),
	    .ca_name = db_get_text(r, i, 19),
	    .token = db_get_text(r, i, 24),
	};
	db_get_uuid(r, i, 2, row->public_id);
	db_get_uuid(r, i, 15, row->request_public_id);
	read_roles(r, i, row);
	read_ceremony(r, i, row);
}

static void
on_claimed(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct decision_row rows[DECISION_BATCH_MAX];
	struct error e = ERROR_INIT;
	size_t n = 0;

	if (err == NULL) {
		n = db_row_count(result);
		if (n > COUNT_OF(rows))
			n = COUNT_OF(rows);
		for (size_t i = 0; i < n; i++)
			read_row(result, i, &rows[i]);
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((decisions_fn *)call.fn)(rows, err == NULL ? n : 0, err, call.arg);
}

static void
on_done(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);

	((decision_done_fn *)call.fn)(err, call.arg);
}

struct db_pending *
decision_claim(struct db *db, int limit, int lease_s, const char *const *tokens, size_t token_count,
    bool clock, decisions_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, limit < DECISION_BATCH_MAX ? limit : DECISION_BATCH_MAX);
	db_param_int64(&p, lease_s);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < token_count; i++)
		db_element_text(&p, tokens[i]);
	db_array_end(&p);
	db_param_bool(&p, clock);
	return db_call(db, &stmt_claim, &p, on_claimed, (db_call_fn *)answer, arg, err);
}

/* Every other question starts with the key and ends with "done or not". */
static void
begin_params(struct db_params *p, struct decision_key key)
{
	*p = DB_PARAMS_INIT;
	db_param_int64(p, key.id);
	db_param_int64(p, key.epoch);
}

static struct db_pending *
ask(struct db *db, const struct db_statement *statement, struct db_params *p,
    decision_done_fn *answer, void *arg, struct error *err)
{
	return db_call(db, statement, p, on_done, (db_call_fn *)answer, arg, err);
}

struct db_pending *
decision_keep(struct db *db, const struct decision_key *keys, size_t n, int lease_s,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_array_begin(&p, DB_INT8);
	for (size_t i = 0; i < n; i++)
		db_element_int64(&p, keys[i].id);
	db_array_end(&p);
	db_array_begin(&p, DB_INT4);
	for (size_t i = 0; i < n; i++)
		db_element_int32(&p, keys[i].epoch);
	db_array_end(&p);
	db_param_int64(&p, lease_s);
	return ask(db, &stmt_keep, &p, answer, arg, err);
}

struct db_pending *
decision_refuse(struct db *db, struct decision_key key, const char *outcome,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_text(&p, outcome);
	return ask(db, &stmt_refuse, &p, answer, arg, err);
}

struct db_pending *
decision_retry(struct db *db, struct decision_key key, int after_s, const char *outcome,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_int64(&p, after_s);
	db_param_text(&p, outcome);
	return ask(db, &stmt_retry, &p, answer, arg, err);
}

struct db_pending *
decision_expire(struct db *db, decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	return ask(db, &stmt_expire, &p, answer, arg, err);
}

struct db_pending *
decision_apply_request(
    struct db *db, struct decision_key key, decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	return ask(db, &stmt_request, &p, answer, arg, err);
}

struct db_pending *
decision_apply_revocation(struct db *db, struct decision_key key, unsigned reason, int64_t since,
    int64_t publish_s, decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_int64(&p, reason);
	if (publish_s < 0)
		db_param_null(&p);
	else
		db_param_int64(&p, publish_s);
	if (since < 0)
		db_param_null(&p);
	else
		db_param_unixtime(&p, since);
	return ask(db, &stmt_revocation, &p, answer, arg, err);
}

struct db_pending *
decision_apply_operator(struct db *db, struct decision_key key, const char *person,
    const char *const *roles, size_t role_count, const char *kind, struct bytes spki,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_text(&p, person);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < role_count; i++)
		db_element_text(&p, roles[i]);
	db_array_end(&p);
	db_param_text(&p, kind);
	db_param_bytes(&p, spki);
	return ask(db, &stmt_operator, &p, answer, arg, err);
}

struct db_pending *
decision_apply_reseed(struct db *db, struct decision_key key, const char *token, int signer_id,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_text(&p, token);
	db_param_int64(&p, signer_id);
	return ask(db, &stmt_reseed, &p, answer, arg, err);
}

struct db_pending *
decision_apply_attest(struct db *db, struct decision_key key, const char *outcome,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_text(&p, outcome);
	return ask(db, &stmt_attest, &p, answer, arg, err);
}

struct db_pending *
decision_apply_template(struct db *db, struct decision_key key, const char *name, bool automatic,
    decision_done_fn *answer, void *arg, struct error *err)
{
	struct db_params p;

	begin_params(&p, key);
	db_param_text(&p, name);
	db_param_bool(&p, automatic);
	return ask(db, &stmt_template, &p, answer, arg, err);
}
