#include "db/front.h"

#include <stdlib.h>
#include <string.h>

static const struct db_statement queries[FRONT_QUERY_COUNT] = {
    [FRONT_STATUS] = {"front_status", "SELECT chancery.api_status($1)", 1},
    [FRONT_TOKENS] = {"front_tokens", "SELECT chancery.api_tokens($1)", 1},
    [FRONT_RESEED] = {"front_reseed", "SELECT chancery.api_reseed($1, $2, $3)", 3},
    [FRONT_PIN_OPERATIONS] = {"front_pin_operations",
	"SELECT chancery.api_pin_operations($1, $2, $3, $4)", 4},
    [FRONT_PIN_TBS] = {"front_pin_tbs", "SELECT chancery.api_pin_tbs($1, $2, $3)", 3},
    [FRONT_PIN_ENTER] = {"front_pin_enter",
	"SELECT chancery.api_pin_enter($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", 11},
    [FRONT_PIN_ENTRY] = {"front_pin_entry", "SELECT chancery.api_pin_entry($1, $2)", 2},
    [FRONT_CAS] = {"front_cas", "SELECT chancery.api_cas($1, $2, $3)", 3},
    [FRONT_CA] = {"front_ca", "SELECT chancery.api_ca($1, $2)", 2},
    [FRONT_CA_CSR] = {"front_ca_csr", "SELECT chancery.api_ca_csr($1, $2)", 2},
    [FRONT_CA_CHAIN] = {"front_ca_chain", "SELECT chancery.api_ca_chain($1, $2, $3)", 3},
    [FRONT_CA_VALID] = {"front_ca_valid", "SELECT chancery.api_ca_valid($1, $2)", 2},
    [FRONT_CA_CRLS] = {"front_ca_crls", "SELECT chancery.api_ca_crls($1, $2, $3, $4)", 4},
    [FRONT_CA_LIMITS] = {"front_ca_limits", "SELECT chancery.api_ca_limits($1, $2, $3, $4)", 4},
    [FRONT_TEMPLATES] = {"front_templates", "SELECT chancery.api_templates($1, $2, $3)", 3},
    [FRONT_TEMPLATE] = {"front_template", "SELECT chancery.api_template($1, $2, $3)", 3},
    [FRONT_OPERATORS] = {"front_operators", "SELECT chancery.api_operators($1, $2, $3)", 3},
    [FRONT_SUBMIT] = {"front_submit", "SELECT chancery.api_submit($1, $2, $3, $4, $5, $6)", 6},
    [FRONT_REQUESTS] = {"front_requests", "SELECT chancery.api_requests($1, $2, $3, $4, $5)", 5},
    [FRONT_REQUEST] = {"front_request", "SELECT chancery.api_request($1, $2)", 2},
    [FRONT_WITHDRAW] = {"front_withdraw", "SELECT chancery.api_withdraw($1, $2)", 2},
    [FRONT_REQUEST_CERTIFICATE] = {"front_request_certificate",
	"SELECT chancery.api_request_certificate($1, $2)", 2},
    [FRONT_CERTIFICATES] = {"front_certificates",
	"SELECT chancery.api_certificates($1, $2, $3, $4, $5, $6)", 6},
    [FRONT_CERTIFICATE] = {"front_certificate", "SELECT chancery.api_certificate($1, $2)", 2},
    [FRONT_CERTIFICATE_PEM] = {"front_certificate_pem",
	"SELECT chancery.api_certificate_pem($1, $2, $3)", 3},
    [FRONT_DECIDE] = {"front_decide",
	"SELECT chancery.api_decide($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, "
	"$15, "
	"$16)",
	16},
    [FRONT_DECISION] = {"front_decision", "SELECT chancery.api_decision($1, $2)", 2},
    [FRONT_DECISIONS] = {"front_decisions", "SELECT chancery.api_decisions($1, $2, $3, $4)", 4},
    [FRONT_SIGNER] = {"front_signer", "SELECT chancery.api_signer($1, $2, $3)", 3},
    [FRONT_SIGN] = {"front_sign", "SELECT chancery.api_sign($1, $2, $3, $4)", 4},
    [FRONT_WITHDRAW_DECISION] = {"front_withdraw_decision",
	"SELECT chancery.api_withdraw_decision($1, $2)", 2},
    [FRONT_PUBLICATIONS] = {"front_publications",
	"SELECT chancery.api_publications($1, $2, $3, $4)", 4},
    [FRONT_PUBLICATION_RETRY] = {"front_publication_retry",
	"SELECT chancery.api_publication_retry($1, $2)", 2},
    [FRONT_PUBLISH_ENTRIES] = {"front_publish_entries",
	"SELECT chancery.api_publish_entries($1, $2)", 2},
    [FRONT_FORECAST] = {"front_forecast", "SELECT chancery.api_crl_forecast($1, $2)", 2},
    [FRONT_METRICS] = {"front_metrics", "SELECT chancery.api_metrics($1)", 1},
    [FRONT_CLOCK_CONFIRM] = {"front_clock_confirm", "SELECT chancery.api_clock_confirm($1)", 1},
    [FRONT_LOOK] = {"front_look", "SELECT chancery.api_look($1, $2, $3, $4, $5, $6)", 6},
    [FRONT_LOOK_RESULT] = {"front_look_result", "SELECT chancery.api_look_result($1, $2)", 2},
};

static const struct db_statement settled_statement = {
    "front_settled", "SELECT chancery.api_settled($1, $2)", 2};
static const struct db_statement public_cas_statement = {
    "front_public_cas", "SELECT chancery.api_public_cas($1)", 1};
static const struct db_statement artifact_statement = {"front_artifact",
    "SELECT id, size, sha256, not_before, not_after FROM chancery.api_artifact($1, $2, $3)", 3};
static const struct db_statement piece_statement = {
    "front_artifact_piece", "SELECT chancery.api_artifact_piece($1, $2, $3)", 3};

/* Carries the caller's function over to the answer. */
struct front_asked {
	struct db_pending *pending;
	front_json_fn *json;
	front_settled_fn *settled;
	front_done_fn *done;
	front_artifact_fn *artifact;
	front_piece_fn *piece;
	void *arg;
};

static struct front_asked *
send(struct db *db, const struct db_statement *statement, struct db_params *params,
    db_answer_fn *answer, const struct front_asked *how, struct error *err)
{
	struct front_asked *asked = malloc(sizeof(*asked));

	if (asked == NULL) {
		db_params_free(params);
		error_set(err, ERROR_SYSTEM, "no memory for a query");
		return NULL;
	}
	*asked = *how;
	asked->pending = db_query(db, statement, params, answer, asked, err);
	if (asked->pending == NULL) {
		free(asked);
		return NULL;
	}
	return asked;
}

void
front_cancel(struct front_asked *asked)
{
	if (asked == NULL)
		return;
	db_cancel(asked->pending);
	free(asked);
}

static void
on_json(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct front_asked asked = *(struct front_asked *)arg;
	struct error bad = ERROR_INIT;
	const char *json = NULL;

	free(arg);
	if (err == NULL) {
		json = db_get_text(result, 0, 0);
		if (!db_result_ok(result, &bad))
			json = NULL;
		else if (json == NULL)
			error_set(&bad, ERROR_INTERNAL, "a query of the front had no answer");
	}
	asked.json(json, err != NULL ? err : json == NULL ? &bad : NULL, asked.arg);
}

struct front_asked *
front_ask(struct db *db, enum front_query query, struct db_params *params, front_json_fn *answer,
    void *arg, struct error *err)
{
	return send(db, &queries[query], params, on_json,
	    &(struct front_asked){.json = answer, .arg = arg}, err);
}

struct front_asked *
front_public_cas(struct db *db, const char *ca, front_json_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	if (ca != NULL)
		db_param_text(&p, ca);
	else
		db_param_null(&p);
	return send(db, &public_cas_statement, &p, on_json,
	    &(struct front_asked){.json = answer, .arg = arg}, err);
}

static void
on_settled(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct front_asked asked = *(struct front_asked *)arg;
	struct error bad = ERROR_INIT;
	struct db_array ids;
	struct bytes id;

	free(arg);
	if (err == NULL) {
		ids = db_get_array(result, 0, 0);
		while (db_array_next(&ids, &id))
			asked.settled((const char *)id.p, id.len, asked.arg);
		if (!db_result_ok(result, &bad))
			err = &bad;
	}
	asked.done(err, asked.arg);
}

bool
front_ask_settled(struct db *db, const struct front_wait_ids *ids, front_settled_fn *settled,
    front_done_fn *done, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < ids->request_count; i++)
		db_element_text(&p, ids->requests[i]);
	db_array_end(&p);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < ids->decision_count; i++)
		db_element_text(&p, ids->decisions[i]);
	db_array_end(&p);
	return send(db, &settled_statement, &p, on_settled,
		   &(struct front_asked){.settled = settled, .done = done, .arg = arg},
		   err) != NULL;
}

bool
front_listen(struct db *db, void (*hint)(struct db *db, void *arg), void *arg, struct error *err)
{
	return db_listen(db, "chancery_done", hint, arg, err);
}

static void
on_artifact(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct front_asked asked = *(struct front_asked *)arg;
	struct error bad = ERROR_INIT;
	struct front_artifact a = {0};
	struct bytes sha256;

	free(arg);
	if (err != NULL || db_row_count(result) == 0) {
		asked.artifact(NULL, err, asked.arg);
		return;
	}
	a.id = db_get_int64(result, 0, 0);
	a.size = (uint64_t)db_get_int64(result, 0, 1);
	sha256 = db_get_bytes(result, 0, 2);
	a.not_before = db_get_unixtime(result, 0, 3);
	a.not_after = db_get_unixtime(result, 0, 4);
	if (!db_result_ok(result, &bad) || sha256.len != sizeof(a.sha256)) {
		error_set(&bad, ERROR_INTERNAL, "artifact %lld has no digest", (long long)a.id);
		asked.artifact(NULL, &bad, asked.arg);
		return;
	}
	memcpy(a.sha256, sha256.p, sizeof(a.sha256));
	asked.artifact(&a, NULL, asked.arg);
}

bool
front_find_artifact(struct db *db, const char *ca, const char *kind, int index,
    front_artifact_fn *answer, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_text(&p, ca);
	db_param_text(&p, kind);
	if (index < 0)
		db_param_null(&p);
	else
		db_param_int64(&p, index);
	return send(db, &artifact_statement, &p, on_artifact,
		   &(struct front_asked){.artifact = answer, .arg = arg}, err) != NULL;
}

static void
on_piece(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct front_asked asked = *(struct front_asked *)arg;
	struct error bad = ERROR_INIT;
	struct bytes piece = {NULL, 0};

	free(arg);
	if (err == NULL && db_row_count(result) > 0) {
		piece = db_get_bytes(result, 0, 0);
		if (!db_result_ok(result, &bad)) {
			piece = (struct bytes){NULL, 0};
			err = &bad;
		}
	}
	asked.piece(piece, err, asked.arg);
}

struct front_asked *
front_artifact_piece(struct db *db, int64_t id, uint64_t offset, size_t max, front_piece_fn *answer,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, id);
	db_param_int64(&p, (int64_t)offset);
	db_param_int64(&p, (int64_t)(max < FRONT_PIECE_MAX ? max : FRONT_PIECE_MAX));
	return send(db, &piece_statement, &p, on_piece,
	    &(struct front_asked){.piece = answer, .arg = arg}, err);
}
