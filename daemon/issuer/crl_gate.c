#include "daemon/issuer/crl_gate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <openssl/rand.h>

#include "daemon/x509/crl_read.h"
#include "daemon/x509/crl_tally.h"

/* thisUpdate was taken from the database's clock, which may run ahead of ours. */
#define SKEW_MAX_S 60

struct crl_gate {
	const struct issuing_ca *ca;
	struct crl_job job;
	struct spki key;
	struct crl_reader *reader;
	struct crl_tally found, expected; /* in the signed octets; from the events */
	uint8_t serial[SERIAL_LEN];	  /* of the last event that was read; none: 0 octets */
	size_t serial_len;
	struct db_stream *stream; /* of the events; NULL: all were read, or failure says why not */
	struct error failure;
	struct event *over; /* both sides are known */
	crl_gate_fn *done;  /* NULL: the octets are not all there yet */
	void *arg;
};

static bool
closed(const struct crl_gate *g, struct error *e, const char *why)
{
	return error_set(e, ERROR_INTERNAL,
	    "the signed %s of %s is kept back and the one before stays in place: %s",
	    g->job.delta ? "delta CRL" : "CRL", g->job.ca_name, why);
}

bool
crl_gate_push(struct crl_gate *g, struct bytes piece, struct error *e)
{
	struct error why = ERROR_INIT;

	return crl_reader_push(g->reader, piece, &why) || closed(g, e, why.text);
}

/* ---- what it says of itself */

static bool
check_facts(const struct crl_gate *g, const struct crl_summary *s, struct error *e)
{
	const struct crl_job *job = &g->job;
	int64_t now = (int64_t)time(NULL);

	if (s->delta != job->delta ||
	    !bytes_equal((struct bytes){s->number, s->number_len},
		(struct bytes){job->number, job->number_len}) ||
	    !bytes_equal((struct bytes){s->base_number, s->base_number_len},
		(struct bytes){job->base_number, job->base_number_len}))
		return closed(g, e, "it has another number or base than was committed");
	if (s->this_update != job->this_update || s->next_update != job->next_update)
		return closed(g, e, "it has other times than were committed");
	if (!bytes_equal(s->idp, crl_job_value(job, job->idp)))
		return closed(g, e,
		    "its issuingDistributionPoint is not that of its certificates (RFC 5280 "
		    "5.2.5)");
	if (s->expired_since != (job->expired_since < 0 ? 0 : job->expired_since))
		return closed(g, e, "its expiredCertsOnCRL is not what was committed");
	if (s->this_update > now + SKEW_MAX_S)
		return closed(g, e, "its thisUpdate lies ahead of this host's clock");
	if (s->next_update <= now)
		return closed(g, e, "its nextUpdate has passed");
	if (s->next_update > g->ca->context->not_after)
		return closed(g, e, "its nextUpdate lies behind the end of the CA's certificate");
	return true;
}

/* ---- what the events say */

static void
judge_when_known(struct crl_gate *g)
{
	if (g->stream == NULL && g->done != NULL)
		event_active(g->over, EV_TIMEOUT, 0);
}

static void
end_stream(struct crl_gate *g, const struct error *err)
{
	if (err != NULL)
		g->failure = *err;
	db_stream_close(g->stream);
	g->stream = NULL;
	judge_when_known(g);
}

static void
on_rows_end(struct db_stream *s, const struct error *err, void *arg)
{
	end_stream(arg, err);
}

/* The events come newest first of each serial: the first is what stands. */
static bool
stands(struct crl_gate *g, const struct crl_entry *event)
{
	const struct bytes last = {g->serial, g->serial_len};

	if (bytes_equal(event->serial, last))
		return false;
	g->serial_len = event->serial.len <= sizeof g->serial ? event->serial.len : 0;
	memcpy(g->serial, event->serial.p, g->serial_len);
	/* What was released is named in delta CRLs alone (RFC 5280 5.3.1). */
	return event->reason != CRL_REMOVE_FROM_CRL || g->job.delta;
}

static bool
on_row(struct db_stream *s, struct db_stream_row *row, void *arg, struct error *err)
{
	struct crl_gate *g = arg;
	struct crl_entry event;

	if (!crl_get_entry(row, &event, err))
		return false;
	return !stands(g, &event) || crl_tally_add(&g->expected, &event, err);
}

static void
on_stream_ready(struct db_stream *s, const struct error *err, void *arg)
{
	struct crl_gate *g = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		end_stream(g, err);
	else if (!crl_stream_expected(g->stream, &g->job, on_row, on_rows_end, g, &e))
		end_stream(g, &e);
}

/* ---- both */

static bool
compare(struct crl_gate *g, struct error *e)
{
	uint8_t found[CRL_TALLY_LEN], expected[CRL_TALLY_LEN];

	if (error_is_set(&g->failure)) {
		*e = g->failure;
		return false;
	}
	if (!crl_tally_end(&g->found, found, e) || !crl_tally_end(&g->expected, expected, e))
		return false;
	if (g->expected.count != g->found.count)
		return closed(g, e, "it has more or fewer entries than the events say");
	if (memcmp(found, expected, sizeof found) != 0)
		return closed(g, e, "its entries are not those that the events say");
	return true;
}

static void
on_over(evutil_socket_t fd, short what, void *arg)
{
	struct crl_gate *g = arg;
	struct error e = ERROR_INIT;

	g->done(compare(g, &e) ? NULL : &e, g->arg);
}

static bool
on_entry(const struct crl_entry *entry, void *arg, struct error *err)
{
	struct crl_gate *g = arg;

	return crl_tally_add(&g->found, entry, err);
}

bool
crl_gate_begin(struct crl_gate *g, uint64_t total_len, struct error *e)
{
	const struct crl_rules rules = {
	    .issuer = g->ca->row.subject,
	    .key_id = g->ca->context->key_id,
	    .sig_alg = g->ca->policy.sig_alg,
	    .entry = on_entry,
	    .arg = g,
	};

	g->reader = crl_reader_new(&rules, &g->key, total_len, e);
	return g->reader != NULL;
}

bool
crl_gate_judge(struct crl_gate *g, crl_gate_fn *done, void *arg, struct error *e)
{
	const struct crl_summary *summary;
	struct error why = ERROR_INIT;

	if (!crl_reader_finish(g->reader, &summary, &why))
		return closed(g, e, why.text);
	if (!check_facts(g, summary, e))
		return false;
	g->done = done;
	g->arg = arg;
	judge_when_known(g);
	return true;
}

struct crl_gate *
crl_gate_new(const struct issuing_ca *ca, const struct crl_job *job, struct event_base *base,
    const char *conninfo, struct error *e)
{
	struct crl_gate *g = calloc(1, sizeof *g);
	uint8_t key[CRL_TALLY_KEY_LEN];

	if (g == NULL) {
		(void)error_set_errno(e, ERROR_SYSTEM, "allocating the gate of a CRL");
		return NULL;
	}
	g->ca = ca;
	g->job = *job;
	g->over = event_new(base, -1, 0, on_over, g);
	if (g->over == NULL)
		(void)error_set_errno(e, ERROR_SYSTEM, "allocating the gate of a CRL");
	else if (RAND_bytes(key, sizeof key) != 1)
		(void)error_set_openssl(e, ERROR_SYSTEM, "drawing a key for the gate of a CRL");
	else if (spki_parse(ca->context->spki, &g->key, e) && crl_tally_begin(&g->found, key, e) &&
		 crl_tally_begin(&g->expected, key, e) &&
		 (g->stream = db_stream_open(base, conninfo, on_stream_ready, g, e)) != NULL)
		return g;
	crl_gate_free(g);
	return NULL;
}

void
crl_gate_free(struct crl_gate *g)
{
	if (g == NULL)
		return;
	if (g->over != NULL)
		event_free(g->over);
	db_stream_close(g->stream);
	crl_reader_free(g->reader);
	crl_tally_free(&g->found);
	crl_tally_free(&g->expected);
	free(g);
}
