#include "daemon/issuer/crl_calendar.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"

#define LOOK_S 1
#define LEASE_S 30
/* After a failure the scope rests: longer each time, unless it may pass by itself. */
#define REST_MIN_S 2
#define REST_MAX_S 300
/* While the CRLs are another signer's, which may be dead. */
#define REST_ELSEWHERE_S 5
#define RESTS_MAX 1024
/* The database takes thisUpdate from its own clock. */
#define CLOCKS_DIFFER_S 2

/* A scope whose last CRL failed. */
struct rest {
	int64_t scope_id;
	int64_t until; /* monotonic_s() */
	int length_s;
	bool elsewhere; /* another issuer's signer has the duty for them */
	bool told;	/* people were, that it waits for a token */
};

/* What is on its way to one token. */
struct lane {
	struct crl_calendar *calendar;
	const char *token; /* the configuration's name of it */
	struct crl_build *builds[CRL_BUILDS_MAX];
	size_t build_count;
	size_t beginning; /* questions whose answer may start a build */
};

struct crl_calendar {
	struct crl_build_env env;
	struct ca_cache *cache;
	struct event *timer;
	struct lane lanes[CONFIG_TOKENS_MAX]; /* in the order of the configuration's tokens */
	size_t lane_count;
	bool looking, draining;
	bool held; /* the clock is in doubt */
	struct rest rests[RESTS_MAX];
};

/* A CRL that is asked for and not yet begun. */
struct beginning {
	struct lane *lane;
	struct issuing_ca *ca; /* held */
	crl_ordered_fn *begun; /* NULL: by the calendar */
	void *arg;
	int64_t scope_id;
	int64_t decision_id; /* 0: by the calendar */
};

/* ------------------------------------------------------------------- lanes */

/* NULL: this host has no such token. */
static struct lane *
find_lane(struct crl_calendar *c, const char *token)
{
	for (size_t i = 0; i < c->lane_count; i++) {
		if (strcmp(c->lanes[i].token, token) == 0)
			return &c->lanes[i];
	}
	return NULL;
}

static int
room_in(const struct lane *l)
{
	return CRL_BUILDS_MAX - (int)(l->build_count + l->beginning);
}

static bool
is_building(const struct lane *l, int64_t scope_id)
{
	for (size_t i = 0; i < l->build_count; i++) {
		if (crl_build_scope(l->builds[i]) == scope_id)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------- rests */

static struct rest *
find_rest(struct crl_calendar *c, int64_t scope_id)
{
	for (size_t i = 0; i < RESTS_MAX; i++) {
		if (c->rests[i].scope_id == scope_id)
			return &c->rests[i];
	}
	return NULL;
}

static bool
is_resting(struct crl_calendar *c, int64_t scope_id)
{
	const struct rest *r = find_rest(c, scope_id);

	return r != NULL && monotonic_s() < r->until;
}

/* why: NULL when the CRL is issued. */
static void
note_outcome(struct crl_calendar *c, int64_t scope_id, const struct error *why)
{
	struct rest *r = find_rest(c, scope_id);

	if (why == NULL) {
		if (r != NULL)
			*r = (struct rest){0};
		return;
	}
	if (r == NULL)
		r = find_rest(c, 0); /* a free one; without one it simply does not rest */
	if (r == NULL)
		return;
	r->scope_id = scope_id;
	r->elsewhere = why->code == ERROR_ELSEWHERE;
	r->length_s = r->length_s == 0 || error_is_retryable(why) ? REST_MIN_S : r->length_s * 2;
	if (r->length_s > REST_MAX_S)
		r->length_s = REST_MAX_S;
	if (r->elsewhere)
		r->length_s = REST_ELSEWHERE_S;
	r->until = monotonic_s() + r->length_s;
}

/* That another one has the duty is said once, until that is over. */
static void
log_outcome(struct crl_calendar *c, int64_t scope_id, const struct error *why)
{
	const struct rest *r = find_rest(c, scope_id);

	if (why == NULL)
		return;
	if (why->code != ERROR_ELSEWHERE)
		log_failure(LOG_LEVEL_ERROR, "crl", why);
	else
		log_failure(
		    r != NULL && r->elsewhere ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "crl", why);
}

/* ------------------------------------------------------------------ builds */

static void on_built(
    struct crl_build *b, const struct crl_job *together, const struct error *err, void *arg);

static void
ignore_done(bool held, const struct error *err, void *arg)
{
}

/* The database has begun it: it is built here, or its number is burnt. */
static void
start_build(struct lane *l, struct issuing_ca *ca, const struct crl_job *job)
{
	struct crl_calendar *c = l->calendar;
	struct error e = ERROR_INIT, unasked = ERROR_INIT;
	struct crl_build *b = NULL;

	if (l->build_count == CRL_BUILDS_MAX)
		error_set(&e, ERROR_LIMIT, "%d CRLs are being made already", CRL_BUILDS_MAX);
	else
		b = crl_build_start(&c->env, ca, job, on_built, l, &e);
	if (b != NULL) {
		l->builds[l->build_count++] = b;
		return;
	}
	log_failure(LOG_LEVEL_ERROR, job->ca_name, &e);
	note_outcome(c, job->scope_id, &e);
	if (crl_burn(c->env.db, job, e.text, false, ignore_done, NULL, &unasked) == NULL)
		log_failure(LOG_LEVEL_WARNING, job->ca_name, &unasked);
}

static void
on_built(struct crl_build *b, const struct crl_job *together, const struct error *err, void *arg)
{
	struct issuing_ca *ca = ca_hold(crl_build_ca(b));
	struct lane *l = arg;
	size_t i = 0;

	log_outcome(l->calendar, crl_build_scope(b), err);
	note_outcome(l->calendar, crl_build_scope(b), err);
	while (l->builds[i] != b)
		i++;
	l->builds[i] = l->builds[--l->build_count];
	crl_build_free(b);
	if (together != NULL)
		start_build(l, ca, together);
	ca_release(ca);
}

static void
on_begun(const struct crl_job *job, const struct error *err, void *arg)
{
	struct beginning *begin = arg;

	begin->lane->beginning--;
	if (err != NULL && begin->begun == NULL) {
		log_failure(LOG_LEVEL_WARNING, begin->ca->row.name, err);
		note_outcome(begin->lane->calendar, begin->scope_id, err);
	}
	if (job != NULL)
		start_build(begin->lane, begin->ca, job);
	/* What was left behind by another comes first; the order comes again. */
	if (begin->begun != NULL)
		begin->begun(
		    job != NULL && job->decision_id == begin->decision_id, err, begin->arg);
	ca_release(begin->ca);
	free(begin);
}

/* From thisUpdate to nextUpdate. Nothing says what is revoked once the CA's own
 * certificate has ended, so no CRL outlives it. */
static int64_t
life_of(const struct issuing_ca *ca, bool delta)
{
	const struct capolicy *p = &ca->policy;
	int64_t life_s = delta ? p->delta_period_s + p->delta_overlap_s
			       : p->crl_period_s + p->crl_overlap_s;
	int64_t left_s = ca->context->not_after - (int64_t)time(NULL) - CLOCKS_DIFFER_S;

	return life_s < left_s ? life_s : left_s;
}

static bool
begin_crl(struct lane *l, struct issuing_ca *ca, int64_t scope_id, bool delta,
    const struct decision_key *decision, crl_ordered_fn *begun, void *arg, struct error *e)
{
	struct beginning *begin;
	int64_t life_s = life_of(ca, delta);
	uint8_t policy[SHA256_DIGEST_LENGTH];

	if (life_s <= 0)
		return error_set(e, ERROR_CONFLICT,
		    "the certificate of CA %s has ended or is about to: it signs no more CRLs",
		    ca->row.name);
	begin = calloc(1, sizeof *begin);
	if (begin == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the beginning of a CRL");
	*begin = (struct beginning){
	    l, ca_hold(ca), begun, arg, scope_id, decision != NULL ? decision->id : 0};
	SHA256((const uint8_t *)ca->row.policy, strlen(ca->row.policy), policy);
	if (crl_begin(l->calendar->env.db, scope_id, delta, decision, life_s, LEASE_S,
		(struct bytes){policy, sizeof policy}, on_begun, begin, e) == NULL) {
		ca_release(begin->ca);
		free(begin);
		return false;
	}
	l->beginning++;
	return true;
}

bool
crl_calendar_order(struct crl_calendar *c, struct issuing_ca *ca, bool delta,
    const struct decision_key *decision, crl_ordered_fn *begun, void *arg, struct error *e)
{
	struct lane *l = find_lane(c, ca->row.token);

	if (ca->context == NULL)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s has no certificate yet and signs no CRLs", ca->row.name);
	if (delta && ca->policy.delta_period_s == 0)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s has no delta CRLs: its policy names no delta_period", ca->row.name);
	/* A number is not begun here that could only wait: another issuer may have
	 * this token's signer. */
	if (l == NULL || !signer_client_is_up(c->env.signers, ca->row.token))
		return error_set(
		    e, ERROR_UNAVAILABLE, "token %s has no signer running", ca->row.token);
	if (token_access_is_away(c->env.access, ca->row.token, e) ||
	    token_access_is_locked(c->env.access, ca->row.token, e))
		return false;
	if (c->held || room_in(l) <= 0 || is_building(l, ca->row.scope_id)) {
		begun(false, NULL, arg);
		return true;
	}
	return begin_crl(l, ca, ca->row.scope_id, delta, decision, begun, arg, e);
}

/* ------------------------------------------------------------------- listed */

static void
on_listed(const struct crl_job *jobs, size_t count, const struct error *err, void *arg)
{
	struct lane *l = arg;

	l->beginning--;
	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "crl", err);
	/* Those for which there is no room, or whose CA is not in the cache yet, come back when
	 * their leases end. */
	for (size_t i = 0; i < count && room_in(l) > 0; i++) {
		struct issuing_ca *ca = ca_cache_find_key(l->calendar->cache, jobs[i].token_key_id);

		if (ca != NULL && ca->context != NULL)
			start_build(l, ca, &jobs[i]);
	}
}

bool
crl_calendar_sign_listed(
    struct crl_calendar *c, const char *token, const struct pin_digests *digests, struct error *e)
{
	struct lane *l = find_lane(c, token);

	if (c->draining || l == NULL)
		return true;
	if (crl_claim_pins(c->env.db, token, c->env.signer_id, digests, LEASE_S, on_listed, l, e) ==
	    NULL)
		return false;
	l->beginning++;
	return true;
}

/* ---------------------------------------------------------------- calendar */

static void
on_cas_loaded(const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "crl", err);
}

/* Nothing is begun that could only wait, so that what is begun is fresh; but people are
 * told, since a CRL that nobody unlocks the token for, or brings it back, is one that will
 * be missing. */
static void
note_waiting(
    struct crl_calendar *c, const struct issuing_ca *ca, int64_t scope_id, const struct error *why)
{
	struct error e = ERROR_INIT, once = ERROR_INIT;
	struct rest *r;

	note_outcome(c, scope_id, why);
	r = find_rest(c, scope_id);
	if (r == NULL || !r->told) {
		(void)error_set(&once, why->code, "a CRL is due, and waits: %s", why->text);
		log_failure(LOG_LEVEL_WARNING, ca->row.name, &once);
	}
	if (r != NULL)
		r->told = true;
	if (crl_note_alarm(c->env.db, scope_id, why->text, ignore_done, NULL, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "crl", &e);
}

static void
begin_due(struct crl_calendar *c, const struct crl_due *due)
{
	struct issuing_ca *ca = ca_cache_find_key(c->cache, due->token_key_id);
	struct lane *l = ca != NULL ? find_lane(c, ca->row.token) : NULL;
	struct error e = ERROR_INIT, unread = ERROR_INIT;

	if (is_resting(c, due->scope_id) ||
	    (l != NULL && (room_in(l) <= 0 || is_building(l, due->scope_id))))
		return;
	if (l == NULL || ca->context == NULL) {
		/* Another issuer made it; the next look finds it. */
		error_set(&e, ERROR_UNAVAILABLE, "its CA is not in the cache");
		note_outcome(c, due->scope_id, &e);
		if (!ca_cache_load(c->cache, on_cas_loaded, c, &unread))
			log_failure(LOG_LEVEL_WARNING, "crl", &unread);
		return;
	}
	if (!signer_client_is_up(c->env.signers, ca->row.token)) {
		error_set(&e, ERROR_UNAVAILABLE, "its signer is not running");
		note_outcome(c, due->scope_id, &e);
	} else if (token_access_is_away(c->env.access, ca->row.token, &e) ||
		   token_access_is_locked(c->env.access, ca->row.token, &e)) {
		note_waiting(c, ca, due->scope_id, &e);
	} else if (!begin_crl(l, ca, due->scope_id, due->delta, NULL, NULL, NULL, &e)) {
		log_failure(LOG_LEVEL_WARNING, ca->row.name, &e);
		note_outcome(c, due->scope_id, &e);
	}
}

static void
on_due(const struct crl_due *due, size_t n, const struct error *err, void *arg)
{
	struct crl_calendar *c = arg;

	c->looking = false;
	if (err != NULL && db_is_up(c->env.db))
		log_failure(LOG_LEVEL_WARNING, "crl", err);
	for (size_t i = 0; i < n && !c->draining && !c->held; i++)
		begin_due(c, &due[i]);
}

/* Scopes that cannot be served now and must not hide others that are due. */
static size_t
list_resting(struct crl_calendar *c, int64_t scopes[RESTS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < RESTS_MAX; i++) {
		if (c->rests[i].scope_id != 0 && is_resting(c, c->rests[i].scope_id))
			scopes[n++] = c->rests[i].scope_id;
	}
	return n;
}

void
crl_calendar_poke(struct crl_calendar *c)
{
	struct crl_room rooms[CONFIG_TOKENS_MAX];
	int64_t resting[RESTS_MAX];
	struct error e = ERROR_INIT;

	if (c->looking || c->draining || c->held || !db_is_up(c->env.db))
		return;
	for (size_t i = 0; i < c->lane_count; i++)
		rooms[i] = (struct crl_room){c->lanes[i].token, room_in(&c->lanes[i])};
	if (crl_find_due(c->env.db, rooms, c->lane_count, resting, list_resting(c, resting), on_due,
		c, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "crl", &e);
	else
		c->looking = true;
}

void
crl_calendar_hold(struct crl_calendar *c, bool held)
{
	c->held = held;
	crl_calendar_poke(c);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	crl_calendar_poke(arg);
}

/* A build may end under the hands of who goes through them. */
static void
each_build(struct lane *l, void (*act)(struct crl_build *b))
{
	struct crl_build *all[CRL_BUILDS_MAX];
	size_t count = l->build_count;

	memcpy(all, l->builds, sizeof all);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < l->build_count; k++) {
			if (l->builds[k] != all[i])
				continue;
			act(all[i]);
			break;
		}
	}
}

void
crl_calendar_signer(struct crl_calendar *c, const char *token)
{
	struct lane *l = find_lane(c, token);

	memset(c->rests, 0, sizeof c->rests); /* who rested may have waited for this */
	if (l != NULL)
		each_build(l, crl_build_poke);
}

void
crl_calendar_room(struct crl_calendar *c, const char *token)
{
	struct lane *l = find_lane(c, token);

	if (l != NULL)
		each_build(l, crl_build_room);
}

struct crl_calendar *
crl_calendar_new(const struct crl_build_env *env, const struct config *config,
    struct ca_cache *cache, struct error *e)
{
	struct crl_calendar *c = calloc(1, sizeof *c);
	const struct timeval look = {LOOK_S, 0};

	if (c != NULL) {
		c->env = *env;
		c->cache = cache;
		for (size_t i = 0; i < config->token_count; i++)
			c->lanes[c->lane_count++] = (struct lane){
			    .calendar = c, .token = config->tokens[i].name};
		c->timer = event_new(env->base, -1, EV_PERSIST, on_timer, c);
		if (c->timer != NULL && event_add(c->timer, &look) == 0)
			return c;
	}
	error_set_errno(e, ERROR_SYSTEM, "allocating the CRLs' calendar");
	crl_calendar_free(c);
	return NULL;
}

void
crl_calendar_drain(struct crl_calendar *c)
{
	c->draining = true;
	for (size_t i = 0; i < c->lane_count; i++)
		each_build(&c->lanes[i], crl_build_drain);
}

bool
crl_calendar_is_idle(const struct crl_calendar *c)
{
	for (size_t i = 0; i < c->lane_count; i++) {
		if (c->lanes[i].build_count > 0 || c->lanes[i].beginning > 0)
			return false;
	}
	return true;
}

void
crl_calendar_free(struct crl_calendar *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->lane_count; i++) {
		for (size_t k = 0; k < c->lanes[i].build_count; k++)
			crl_build_free(c->lanes[i].builds[k]);
	}
	if (c->timer != NULL)
		event_free(c->timer);
	free(c);
}
