/*
 * What a monitoring system scrapes: the database's numbers, and this front's own,
 * which come also while the database is away.
 */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/log.h"
#include "daemon/front/front_int.h"

#define TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A scrape in flight. */
struct scrape {
	struct call *call;
	struct front_asked *asked;
};

/* A label's value as the format has it. */
static void
put_label(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\' || *text == '"')
			(void)fputc('\\', out);
		(void)fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
	}
}

static void
put_head(FILE *out, const char *name, const char *help)
{
	(void)fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

static void
put_own(FILE *out, const struct front *f, bool database)
{
	int64_t now = (int64_t)time(NULL);

	put_head(out, "chancery_database_up", "1: this front reaches the database.");
	(void)fprintf(out, "chancery_database_up %d\n", database);
	put_head(out, "chancery_tls_certificate_left_seconds",
	    "Until the certificate of an HTTPS listener ends.");
	for (size_t i = 0; i < f->tls_count; i++) {
		(void)fputs("chancery_tls_certificate_left_seconds{listen=\"", out);
		put_label(out, f->tls[i].listen);
		(void)fprintf(out, "\"} %lld\n", (long long)(f->tls[i].not_after - now));
	}
	put_head(out, "chancery_process_running", "1: a process of this host runs.");
	for (size_t i = 0; i < f->processes.count; i++) {
		const struct process_entry *p = &f->processes.entries[i];

		(void)fputs("chancery_process_running{process=\"", out);
		put_label(out, p->name);
		(void)fprintf(out, "\"} %d\n", strcmp(p->state, "running") == 0);
	}
}

static void
answer(struct call *call, const char *numbers)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out != NULL) {
		put_own(out, call->front, numbers != NULL);
		if (numbers != NULL)
			(void)fputs(numbers, out);
	}
	if (out == NULL || fclose(out) != 0) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the reply.");
	} else {
		http_reply_field(call->x, "Cache-Control", "no-store");
		http_reply(call->x, 200, TYPE, text, len);
	}
	free(text);
}

/* At the listener for metrics there is no reason to refuse: what is away is a fact
 * to be scraped. Others are told why. */
static void
fail(struct call *call, const struct error *err)
{
	if (http_exchange_peer(call->x)->door == HTTP_DOOR_METRICS) {
		if (!error_is_retryable(err))
			log_failure(LOG_LEVEL_ERROR, "metrics", err);
		answer(call, NULL);
	} else {
		call_fail(call, err);
	}
}

static void
on_gone(enum http_gone how, void *arg)
{
	struct scrape *s = arg;

	if (how == HTTP_LEAVING)
		return;
	front_cancel(s->asked);
	free(s);
}

static void
on_numbers(const char *json, const struct error *err, void *arg)
{
	struct scrape s = *(struct scrape *)arg;
	struct error bad = ERROR_INIT;
	json_t *text;

	free(arg);
	if (err != NULL) {
		fail(s.call, err);
		return;
	}
	text = json_loads(json, JSON_DECODE_ANY, NULL);
	if (json_is_string(text)) {
		answer(s.call, json_string_value(text));
	} else {
		error_set(&bad, ERROR_INTERNAL, "the database's metrics are no text");
		fail(s.call, &bad);
	}
	json_decref(text);
}

void
metrics_scrape(struct call *call)
{
	struct scrape *s = calloc(1, sizeof *s);
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;

	if (s == NULL) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the reply.");
		return;
	}
	s->call = call;
	if (http_exchange_peer(call->x)->door == HTTP_DOOR_METRICS)
		db_param_null(&p);
	else
		call_put_identity(call, &p);
	s->asked = front_ask(call->front->db, FRONT_METRICS, &p, on_numbers, s, &err);
	if (s->asked == NULL) {
		free(s);
		fail(call, &err);
		return;
	}
	http_on_gone(call->x, on_gone, s);
}
