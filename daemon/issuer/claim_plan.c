#include "daemon/issuer/claim_plan.h"

#include <stdlib.h>
#include <string.h>

#define LATE_US 1000000

/* How far a CA's requests have been taken. */
struct mark {
	int64_t ca_id; /* 0: unused */
	int64_t due_us;
};

struct claim_plan {
	const struct config *config;
	size_t token;
	const struct signer_client *signers;
	const struct token_access *access;
	struct mark marks[REQUEST_SOURCES_MAX];
	size_t turn; /* how many CAs the next call begins after */
};

struct claim_plan *
claim_plan_new(const struct config *config, size_t token, const struct signer_client *signers,
    const struct token_access *access, struct error *e)
{
	struct claim_plan *p = calloc(1, sizeof *p);

	if (p == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the plan of claims");
		return NULL;
	}
	p->config = config;
	p->token = token;
	p->signers = signers;
	p->access = access;
	return p;
}

void
claim_plan_free(struct claim_plan *p)
{
	free(p);
}

/* The CA's mark, or an unused one for it; NULL: more CAs than marks. */
static struct mark *
find_mark(struct claim_plan *p, int64_t ca_id)
{
	for (size_t i = 0; i < COUNT_OF(p->marks); i++) {
		if (p->marks[i].ca_id == ca_id || p->marks[i].ca_id == 0)
			return &p->marks[i];
	}
	return NULL;
}

/* ------------------------------------------------------------------- sources */

/* Its number in the configuration; token_count: it is not there. */
static size_t
find_token(const struct claim_plan *p, const char *token)
{
	size_t i = 0;

	while (i < p->config->token_count && strcmp(p->config->tokens[i].name, token) != 0)
		i++;
	return i;
}

static bool
make_source(struct claim_plan *p, const struct issuing_ca *ca, bool full, struct request_source *s)
{
	size_t token = find_token(p, ca->row.token);
	bool configured = token < p->config->token_count;
	const struct mark *m;

	if ((configured ? token : 0) != p->token)
		return false;
	m = find_mark(p, ca->row.ca_id);
	*s = (struct request_source){.ca_id = ca->row.ca_id};
	/* Requests of a CA that is not in operation need no token to be refused. */
	s->signs = ca->context == NULL || ca->row.over ||
		   (!ca->unchained && ca->row.stopped == NULL &&
		       signer_client_is_up(p->signers, ca->row.token) &&
		       !token_access_is_away(p->access, ca->row.token, NULL) &&
		       !token_access_is_locked(p->access, ca->row.token, NULL));
	if (!full && m != NULL && m->ca_id != 0 && m->due_us > LATE_US)
		s->since_us = m->due_us - LATE_US;
	return s->signs || (full && configured);
}

size_t
claim_plan_make(struct claim_plan *p, struct issuing_ca *const *cas, size_t count, bool full,
    struct request_source sources[REQUEST_SOURCES_MAX])
{
	size_t first = p->turn++, n = 0;

	for (size_t i = 0; i < count && n < REQUEST_SOURCES_MAX; i++)
		n += make_source(p, cas[(first + i) % count], full, &sources[n]);
	return n;
}

/* ----------------------------------------------------------------- outcomes */

static void
raise_mark(struct claim_plan *p, int64_t ca_id, int64_t due_us)
{
	struct mark *m = find_mark(p, ca_id);

	if (m != NULL && (m->ca_id == 0 || m->due_us < due_us))
		*m = (struct mark){ca_id, due_us};
}

void
claim_plan_note(struct claim_plan *p, bool full, const struct request_batch *batch, unsigned limit)
{
	int64_t last_us = 0;

	/* A full look begins anew: the clock may have been set back meanwhile. */
	for (size_t i = 0; full && i < batch->count; i++) {
		struct mark *m = find_mark(p, batch->claims[i].ca_id);

		if (m != NULL)
			m->due_us = 0;
	}
	for (size_t i = 0; i < batch->count; i++) {
		raise_mark(p, batch->claims[i].ca_id, batch->claims[i].due_us);
		if (batch->claims[i].due_us > last_us)
			last_us = batch->claims[i].due_us;
	}
	/* Fewer than were asked for: no CA had more until then. */
	for (size_t i = 0; batch->count < limit && i < COUNT_OF(p->marks); i++) {
		if (p->marks[i].ca_id != 0 && p->marks[i].due_us < last_us)
			p->marks[i].due_us = last_us;
	}
}
