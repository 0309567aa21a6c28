#include "db/publish.h"

#include <stdlib.h>

#include "db/call_int.h"

#define EXPIRING_MAX 64

static const struct db_statement claim_statement = {
    .name = "publish_claim",
    .sql = "SELECT publication_id, epoch, attempts, lease_ms, target_id, target, kind, artifact,"
	   " write_url, read_url, credential, bind_dn, tls, auth, webdav, region, certificate,"
	   " account, host_key, schema, artifact_id, size,"
	   " sha256, issuer, companions, crosses IS NOT NULL, crosses, absent, vouched, requester, "
	   "entry,"
	   " mode, owner_group"
	   " FROM chancery_store.claim_publications("
	   "$1::int, $2::int, $3::int, $4::int, $5::bigint[])",
    .nparams = 5,
};
static const struct db_statement report_statement = {
    .name = "publish_report",
    .sql = "SELECT outcome, retry_ms FROM chancery_store.report_publication("
	   "$1::bigint, $2::int, $3::bigint, $4::text, $5::text, $6::bytea, $7::text)",
    .nparams = 7,
};
static const struct db_statement chunk_statement = {
    .name = "publish_chunk",
    .sql = "SELECT chancery_store.read_artifact_chunk($1::bigint, $2::int)",
    .nparams = 2,
};
static const struct db_statement release_statement = {
    .name = "publish_release",
    .sql = "SELECT chancery_store.release_publications($1::int)",
    .nparams = 1,
};
static const struct db_statement recheck_statement = {
    .name = "publish_recheck",
    .sql = "SELECT chancery_store.recheck_publications($1::int, $2::int)",
    .nparams = 2,
};
static const struct db_statement expire_statement = {
    .name = "publish_expire",
    .sql = "SELECT chancery_store.expire_in_entries($1::int)",
    .nparams = 1,
};
static const struct db_statement before_statement = {
    .name = "publish_before",
    .sql = "SELECT coalesce(chancery_store.publish_before($1::int), -1)",
    .nparams = 1,
};
static const struct db_statement next_statement = {
    .name = "publish_next",
    .sql = "SELECT coalesce(chancery_store.next_publication_ms(), -1)",
    .nparams = 0,
};
static const struct db_statement expiring_statement = {
    .name = "publish_expiring",
    .sql = "SELECT publication_id, target, artifact, left_s, attempts, last_error"
	   " FROM chancery_store.expiring_publications($1::int)",
    .nparams = 1,
};

static void
read_claim(struct db_result *r, size_t row, struct db_publish_claim *c)
{
	c->publication = db_get_int64(r, row, 0);
	c->epoch = (int)db_get_int64(r, row, 1);
	c->attempts = (int)db_get_int64(r, row, 2);
	c->lease_ms = db_get_int64(r, row, 3);
	c->target_id = db_get_int64(r, row, 4);
	c->target = db_get_text(r, row, 5);
	c->kind = db_get_text(r, row, 6);
	c->artifact = db_get_text(r, row, 7);
	c->write_url = db_get_text(r, row, 8);
	c->read_url = db_get_text(r, row, 9);
	c->credential = db_get_text(r, row, 10);
	c->bind_dn = db_get_text(r, row, 11);
	c->tls = db_get_text(r, row, 12);
	c->auth = db_get_text(r, row, 13);
	c->webdav = db_get_bool(r, row, 14);
	c->region = db_get_text(r, row, 15);
	c->certificate = db_get_text(r, row, 16);
	c->user = db_get_text(r, row, 17);
	c->host_key = db_get_text(r, row, 18);
	c->schema = db_get_text(r, row, 19);
	c->artifact_id = db_get_int64(r, row, 20);
	c->size = db_get_int64(r, row, 21);
	c->sha256 = db_get_bytes(r, row, 22);
	c->issuer = db_get_bytes(r, row, 23);
	c->companions = db_get_array(r, row, 24);
	c->crossed = db_get_bool(r, row, 25);
	if (c->crossed)
		c->crosses = db_get_array(r, row, 26);
	c->absent = db_get_bool(r, row, 27);
	c->vouched = db_get_bool(r, row, 28);
	c->requester = db_get_text(r, row, 29);
	c->entry = db_get_text(r, row, 30);
	c->mode = db_get_text(r, row, 31);
	c->group = db_get_text(r, row, 32);
}

static void
claim_answer(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct db_publish_claim rows[DB_PUBLISH_CLAIM_MAX];
	struct error bad = ERROR_INIT;
	struct db_call c = db_call_take(arg);
	size_t n = 0;

	if (r != NULL) {
		n = db_row_count(r);
		if (n > COUNT_OF(rows))
			error_set(&bad, ERROR_INTERNAL, "a claim answered with %zu rows", n);
		for (size_t i = 0; i < n && !error_is_set(&bad); i++)
			read_claim(r, i, &rows[i]);
		if (!error_is_set(&bad) && db_result_ok(r, &bad)) {
			((db_publish_claimed_fn *)c.fn)(rows, n, NULL, c.arg);
			return;
		}
		err = &bad;
	}
	((db_publish_claimed_fn *)c.fn)(NULL, 0, err, c.arg);
}

bool
db_publish_claim(struct db *db, unsigned holder, unsigned limit, unsigned retries, unsigned lease_s,
    const int64_t *busy, size_t busy_count, db_publish_claimed_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, holder);
	db_param_int64(&p, limit < DB_PUBLISH_CLAIM_MAX ? limit : DB_PUBLISH_CLAIM_MAX);
	db_param_int64(&p, retries);
	db_param_int64(&p, lease_s);
	db_array_begin(&p, DB_INT8);
	for (size_t i = 0; i < busy_count; i++)
		db_element_int64(&p, busy[i]);
	db_array_end(&p);
	return db_call(db, &claim_statement, &p, claim_answer, (db_call_fn *)fn, arg, err) != NULL;
}

static void
report_answer(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct db_call c = db_call_take(arg);
	struct error bad = ERROR_INIT;
	const char *outcome;
	int64_t retry_ms;

	if (r != NULL) {
		outcome = db_get_text(r, 0, 0);
		retry_ms = db_get_int64(r, 0, 1);
		if (db_result_ok(r, &bad) && outcome != NULL) {
			((db_publish_reported_fn *)c.fn)(outcome, retry_ms, NULL, c.arg);
			return;
		}
		error_set(
		    &bad, ERROR_INTERNAL, "a publication's report was answered without outcome");
		err = &bad;
	}
	((db_publish_reported_fn *)c.fn)(NULL, 0, err, c.arg);
}

bool
db_publish_report(struct db *db, const struct db_publish_end *end, db_publish_reported_fn *fn,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, end->publication);
	db_param_int64(&p, end->epoch);
	db_param_int64(&p, end->artifact_id);
	db_param_text(&p, end->outcome);
	db_param_text(&p, end->error);
	db_param_bytea(&p, end->read_sha256, end->read_sha256 != NULL ? 32 : 0);
	db_param_text(&p, end->entry);
	return db_call(db, &report_statement, &p, report_answer, (db_call_fn *)fn, arg, err) !=
	       NULL;
}

static void
chunk_answer(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct db_call c = db_call_take(arg);
	struct error bad = ERROR_INIT;
	struct bytes data;

	if (r != NULL) {
		data = db_get_bytes(r, 0, 0);
		if (db_result_ok(r, &bad)) {
			((db_publish_chunk_fn *)c.fn)(data, NULL, c.arg);
			return;
		}
		err = &bad;
	}
	((db_publish_chunk_fn *)c.fn)((struct bytes){NULL, 0}, err, c.arg);
}

bool
db_publish_read_chunk(struct db *db, int64_t artifact_id, int position, db_publish_chunk_fn *fn,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, artifact_id);
	db_param_int64(&p, position);
	return db_call(db, &chunk_statement, &p, chunk_answer, (db_call_fn *)fn, arg, err) != NULL;
}

static void
number_answer(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct db_call c = db_call_take(arg);
	struct error bad = ERROR_INIT;
	int64_t n;

	if (r != NULL) {
		n = db_get_int64(r, 0, 0);
		if (db_result_ok(r, &bad)) {
			((db_publish_number_fn *)c.fn)(n, NULL, c.arg);
			return;
		}
		err = &bad;
	}
	((db_publish_number_fn *)c.fn)(-1, err, c.arg);
}

bool
db_publish_release(
    struct db *db, unsigned holder, db_publish_number_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, holder);
	return db_call(db, &release_statement, &p, number_answer, (db_call_fn *)fn, arg, err) !=
	       NULL;
}

bool
db_publish_recheck(struct db *db, unsigned after_s, unsigned limit, db_publish_number_fn *fn,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, after_s);
	db_param_int64(&p, limit);
	return db_call(db, &recheck_statement, &p, number_answer, (db_call_fn *)fn, arg, err) !=
	       NULL;
}

bool
db_publish_expire(
    struct db *db, unsigned limit, db_publish_number_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, limit);
	return db_call(db, &expire_statement, &p, number_answer, (db_call_fn *)fn, arg, err) !=
	       NULL;
}

bool
db_publish_before(
    struct db *db, unsigned limit, db_publish_number_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, limit);
	return db_call(db, &before_statement, &p, number_answer, (db_call_fn *)fn, arg, err) !=
	       NULL;
}

bool
db_publish_next(struct db *db, db_publish_number_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	return db_call(db, &next_statement, &p, number_answer, (db_call_fn *)fn, arg, err) != NULL;
}

static void
expiring_answer(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct db_publish_expiring rows[EXPIRING_MAX];
	struct db_call c = db_call_take(arg);
	struct error bad = ERROR_INIT;
	size_t n = 0;

	if (r != NULL) {
		n = db_row_count(r) < COUNT_OF(rows) ? db_row_count(r) : COUNT_OF(rows);
		for (size_t i = 0; i < n; i++) {
			rows[i].publication = db_get_int64(r, i, 0);
			rows[i].target = db_get_text(r, i, 1);
			rows[i].artifact = db_get_text(r, i, 2);
			rows[i].left_s = db_get_int64(r, i, 3);
			rows[i].attempts = (int)db_get_int64(r, i, 4);
			rows[i].last_error = db_get_text(r, i, 5);
		}
		if (db_result_ok(r, &bad)) {
			((db_publish_expiring_fn *)c.fn)(rows, n, NULL, c.arg);
			return;
		}
		err = &bad;
	}
	((db_publish_expiring_fn *)c.fn)(NULL, 0, err, c.arg);
}

bool
db_publish_expiring(struct db *db, db_publish_expiring_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, EXPIRING_MAX);
	return db_call(db, &expiring_statement, &p, expiring_answer, (db_call_fn *)fn, arg, err) !=
	       NULL;
}
