#include "db/status.h"

#include "daemon/core/log.h"

static const struct db_statement stmt_report = {"report_token",
    "SELECT report_token($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, "
    "$17, $18, $19, $20, $21)",
    21};

static const struct db_statement stmt_report_host = {
    "report_host", "SELECT report_host($1, $2, $3, $4)", 4};

static void
on_reported(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "token", err);
}

static void
param_bytes(struct db_params *p, struct bytes b)
{
	db_param_bytea(p, b.len > 0 ? b.p : NULL, b.len);
}

bool
status_report_token(struct db *db, const struct token_report *report, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, report->signer_id);
	db_param_text(&p, report->token);
	db_param_text(&p, report->state);
	db_param_text(&p, report->sentence);
	db_param_text(&p, report->label);
	db_param_text(&p, report->serial);
	db_param_text(&p, report->model);
	db_param_int64(&p, report->threads);
	db_param_int64(&p, report->signatures);
	db_param_unixtime(&p, report->since);
	db_param_text(&p, report->journal);
	db_param_text(&p, report->challenge);
	db_param_text(&p, report->access);
	db_param_text(&p, report->instance);
	db_param_text(&p, report->start);
	param_bytes(&p, report->start_signature);
	param_bytes(&p, report->identity);
	db_param_text(&p, report->unlocked_until > 0 ? report->unlocked_by : NULL);
	if (report->unlocked_until > 0) {
		db_param_unixtime(&p, report->unlocked_until);
		db_param_int64(&p, report->signatures_left);
	} else {
		db_param_null(&p);
		db_param_null(&p);
	}
	param_bytes(&p, report->pin_shares);
	return db_query(db, &stmt_report, &p, on_reported, NULL, err) != NULL;
}

bool
status_report_host(struct db *db, int signer_id, const char *name, uint64_t disk_free,
    uint64_t disk_size, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, signer_id);
	db_param_int64(&p, (int64_t)(disk_free < INT64_MAX ? disk_free : INT64_MAX));
	db_param_int64(&p, (int64_t)(disk_size < INT64_MAX ? disk_size : INT64_MAX));
	db_param_text(&p, name);
	return db_query(db, &stmt_report_host, &p, on_reported, NULL, err) != NULL;
}
