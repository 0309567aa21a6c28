#include "db/look.h"

#include "daemon/core/log.h"
#include "db/call_int.h"

#define SHA256_LEN 32

static const struct db_statement claim_statement = {
    .name = "look_claim",
    .sql = "SELECT look_id, url, artifact, wanted, ca, certificates, idps, points, policies, "
	   "certificate_indexes, key_indexes, labels "
	   "FROM chancery_store.claim_looks($1::int, $2::int, $3::boolean)",
    .nparams = 3,
};
static const struct db_statement end_statement = {
    .name = "look_end",
    .sql = "SELECT chancery_store.end_look($1::bigint, $2::text, $3::bigint, $4::bytea, $5::bytea)",
    .nparams = 5,
};

static void
read_order(struct db_result *r, size_t row, struct db_look *look)
{
	*look = (struct db_look){.id = db_get_int64(r, row, 0),
	    .url = db_get_text(r, row, 1),
	    .artifact = db_get_text(r, row, 2),
	    .wanted = db_get_bytes(r, row, 3),
	    .ca = db_get_text(r, row, 4),
	    .certificates = db_get_array(r, row, 5),
	    .idps = db_get_array(r, row, 6),
	    .points = db_get_array(r, row, 7),
	    .policies = db_get_array(r, row, 8),
	    .certificate_indexes = db_get_array(r, row, 9),
	    .key_indexes = db_get_array(r, row, 10),
	    .labels = db_get_array(r, row, 11)};
}

static void
on_claimed(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct db_call c = db_call_take(arg);
	struct db_look rows[DB_LOOK_CLAIM_MAX];
	struct error bad = ERROR_INIT;
	size_t n = 0;

	(void)db;
	if (r != NULL) {
		n = db_row_count(r) < COUNT_OF(rows) ? db_row_count(r) : COUNT_OF(rows);
		for (size_t i = 0; i < n; i++)
			read_order(r, i, &rows[i]);
		if (db_result_ok(r, &bad)) {
			((db_look_claim_fn *)c.fn)(rows, n, NULL, c.arg);
			return;
		}
		err = &bad;
	}
	((db_look_claim_fn *)c.fn)(NULL, 0, err, c.arg);
}

bool
db_look_claim(struct db *db, unsigned signer_id, unsigned limit, bool resume, db_look_claim_fn *fn,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, signer_id);
	db_param_int64(&p, limit < DB_LOOK_CLAIM_MAX ? limit : DB_LOOK_CLAIM_MAX);
	db_param_bool(&p, resume);
	return db_call(db, &claim_statement, &p, on_claimed, (db_call_fn *)fn, arg, err) != NULL;
}

static void
on_reported(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	(void)db;
	(void)result;
	(void)arg;
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "look", err);
}

bool
db_look_report(struct db *db, const struct db_look_end *end, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, end->id);
	db_param_text(&p, end->error);
	if (end->error != NULL) {
		db_param_null(&p);
		db_param_null(&p);
	} else {
		db_param_int64(&p, (int64_t)(end->size < INT64_MAX ? end->size : INT64_MAX));
		db_param_bytea(&p, end->sha256, SHA256_LEN);
	}
	db_param_bytea(&p, end->content.len > 0 ? end->content.p : NULL, end->content.len);
	return db_query(db, &end_statement, &p, on_reported, NULL, err) != NULL;
}
