#include "db/status.h"

#include "daemon/core/log.h"

static const struct db_statement stmt_report = {
    "report_token", "SELECT report_token($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", 12};

static void
on_reported(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "token", err);
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
	return db_query(db, &stmt_report, &p, on_reported, NULL, err) != NULL;
}
