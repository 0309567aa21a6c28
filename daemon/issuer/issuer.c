#include "daemon/issuer/issuer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/config.h"
#include "daemon/core/log.h"
#include "daemon/core/role.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/clock_watch.h"
#include "daemon/issuer/confine.h"
#include "daemon/issuer/crl_calendar.h"
#include "daemon/issuer/decide.h"
#include "daemon/issuer/issue.h"
#include "daemon/issuer/order_replay.h"
#include "daemon/issuer/pin_courier.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/issuer/token_access.h"
#include "daemon/publish/look.h"
#include "daemon/publish/outbox.h"
#include "daemon/publish/writers.h"
#include "daemon/x509/signer_start.h"
#include "db/db.h"
#include "db/pin.h"
#include "db/request.h"
#include "db/status.h"

/* Hints may be missed; this often somebody looks anyway. */
#define LOOK_S 1
/* What other issuers changed on CAs is read again after a hint, and this often. */
#define CAS_S 30
#define STATUS_S 5
/* A token that is away is asked for this often, so that work goes on at once. */
#define AWAY_MS 250
#define EXPIRE_S 600
#define LAST_WORDS_S 2
/* A request that nobody decided on for so long is closed. */
#define PENDING_MAX_S (90LL * 86400)

struct issuer {
	const struct config *config;
	struct role *role;
	struct db *db;
	struct signer_client *signers;
	struct ca_cache *cache;
	struct issuance *issuance;
	struct crl_calendar *calendar;
	struct crl_build_env crl_env;
	struct decider *decider;
	struct order_replay *replay;
	struct token_access *access;
	struct pin_courier *courier;
	struct writers *writers;
	struct outbox *outbox;
	struct look_desk *looks;
	struct clock_watch *clock;
	struct event *look, *status, *expire, *away;
	int cas_age_s; /* of the cache; CAS_S or more: to be read again */
	bool outbox_drained;
};

/* ------------------------------------------------------------------- drain */

static void
stop_when_idle(void *arg)
{
	struct issuer *i = arg;

	if (role_is_draining(i->role) && issuance_is_idle(i->issuance) &&
	    decider_is_idle(i->decider) && crl_calendar_is_idle(i->calendar) && i->outbox_drained)
		role_stop(i->role, 0);
}

static void
on_outbox_drained(void *arg)
{
	struct issuer *i = arg;

	i->outbox_drained = true;
	stop_when_idle(i);
}

static void
on_drain(void *arg)
{
	struct issuer *i = arg;

	issuance_drain(i->issuance);
	decider_drain(i->decider);
	order_replay_drain(i->replay);
	crl_calendar_drain(i->calendar);
	pin_courier_drain(i->courier);
	look_desk_drain(i->looks);
	outbox_drain(i->outbox, on_outbox_drained, i);
	stop_when_idle(i);
}

/* ------------------------------------------------------------------- hints */

static void
look_for_work(struct issuer *i)
{
	decider_poke(i->decider);
	issuance_poke(i->issuance);
	crl_calendar_poke(i->calendar);
}

static void
on_work(struct db *db, void *arg)
{
	struct issuer *i = arg;

	i->cas_age_s = CAS_S;
	look_for_work(i);
}

static void
on_request(struct db *db, void *arg)
{
	struct issuer *i = arg;

	issuance_poke(i->issuance);
}

static void
on_pin(struct db *db, void *arg)
{
	struct issuer *i = arg;

	pin_courier_poke(i->courier);
}

static void
on_publish(struct db *db, void *arg)
{
	struct issuer *i = arg;

	outbox_poke(i->outbox);
}

static void
on_look_ordered(struct db *db, void *arg)
{
	struct issuer *i = arg;

	look_desk_poke(i->looks);
}

static void
on_cas_reloaded(const struct error *err, void *arg)
{
	struct issuer *i = arg;

	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "database", err);
	else
		issuance_poke(i->issuance);
}

static void
refresh_cas(struct issuer *i)
{
	struct error e = ERROR_INIT;

	i->cas_age_s += LOOK_S;
	if (i->cas_age_s < CAS_S || !db_is_up(i->db))
		return;
	i->cas_age_s = 0;
	if (!ca_cache_load(i->cache, on_cas_reloaded, i, &e))
		log_failure(LOG_LEVEL_DEBUG, "database", &e);
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct issuer *i = arg;

	refresh_cas(i);
	decider_poke(i->decider);
	issuance_poke(i->issuance);
	pin_courier_poke(i->courier);
	if (role_is_draining(i->role))
		stop_when_idle(i);
}

static void
on_expired(int64_t count, const struct error *err, void *arg)
{
	if (err == NULL && count > 0)
		log_info("-", "%lld requests expired: nobody decided on them", (long long)count);
}

static void
on_expire(evutil_socket_t fd, short what, void *arg)
{
	struct issuer *i = arg;
	struct error e = ERROR_INIT;

	if (db_is_up(i->db) && request_expire(i->db, PENDING_MAX_S, on_expired, i, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "-", &e);
}

/* ------------------------------------------------------------------ status */

/* A question about one token's state; the names in it outlive the question. */
struct asked_status {
	struct issuer *issuer;
	const char *token;
	bool between; /* the reports: only that it is back is news */
};

static void
report(struct issuer *i, struct token_report *r)
{
	struct error e = ERROR_INIT;

	r->signer_id = i->config->issuer.signer_id;
	if (db_is_up(i->db) && !status_report_token(i->db, r, &e))
		log_failure(LOG_LEVEL_DEBUG, r->token, &e);
}

static void
report_absent(struct issuer *i, const char *token, const char *why)
{
	struct token_report r = {.token = token,
	    .state = "no-signer",
	    .sentence = why,
	    .label = "",
	    .serial = "",
	    .model = "",
	    .since = (int64_t)time(NULL)};

	report(i, &r);
}

static void
ask_soon(struct issuer *i)
{
	const struct timeval soon = {0, AWAY_MS * 1000};

	if (!event_pending(i->away, EV_TIMEOUT, NULL))
		(void)event_add(i->away, &soon);
}

/* The token can sign again: what waited for that goes on. */
static void
on_unlocked(struct issuer *i, const char *token)
{
	order_replay_signer(i->replay, token);
	crl_calendar_signer(i->calendar, token);
	look_for_work(i);
}

/* What people need to reach it with a PIN. */
static void
report_access(const struct issuer *i, const char *token, const struct signproto_status_ok *s,
    struct token_report *r)
{
	r->access = signer_access_name((enum signer_access)s->access);
	r->instance = token_access_instance(i->access, token);
	if (r->instance == NULL)
		return;
	r->start = s->start;
	r->start_signature = s->start_signature;
	r->identity = s->identity;
	r->pin_shares = s->pin_shares;
	r->unlocked_by = s->unlocked_by;
	r->unlocked_until = (int64_t)s->unlocked_until;
	r->signatures_left = (int64_t)s->signatures_left;
}

static void
on_status_answer(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct asked_status *asked = arg;
	const struct signproto_status_ok *s;
	struct token_report r;
	bool unlocked;

	if (failure != NULL) {
		token_access_forget(asked->issuer->access, asked->token);
		report_absent(asked->issuer, asked->token, failure->text);
	} else {
		s = answer->status;
		unlocked = token_access_note(asked->issuer->access, asked->token, s);
		r = (struct token_report){.token = asked->token,
		    .state = signproto_state_name(s->state),
		    .sentence = token_access_words(asked->issuer->access, asked->token),
		    .label = s->label,
		    .serial = s->serial,
		    .model = s->model,
		    .threads = (int)s->threads,
		    .signatures = (int64_t)s->signatures,
		    .since = (int64_t)s->since,
		    .journal = s->journal[0] != '\0' ? s->journal : NULL,
		    .challenge = s->challenge[0] != '\0' ? s->challenge : NULL};
		report_access(asked->issuer, asked->token, s, &r);
		if (unlocked || !asked->between)
			report(asked->issuer, &r);
		if (token_access_is_away(asked->issuer->access, asked->token, NULL) ||
		    token_access_is_busy(asked->issuer->access, asked->token))
			ask_soon(asked->issuer);
		if (unlocked)
			on_unlocked(asked->issuer, asked->token);
		pin_courier_poke(asked->issuer->courier);
	}
	free(asked);
}

static void
ask_status(struct issuer *i, const char *token, bool between)
{
	struct asked_status *asked = malloc(sizeof *asked);
	struct error e = ERROR_INIT;
	uint64_t id;

	if (asked == NULL)
		return;
	*asked = (struct asked_status){i, token, between};
	if (!signer_ask_status(i->signers, token, on_status_answer, asked, &id, &e)) {
		free(asked);
		report_absent(i, token, e.text);
	}
}

static void
on_away(evutil_socket_t fd, short what, void *arg)
{
	struct issuer *i = arg;

	for (size_t t = 0; t < i->config->token_count; t++) {
		if (token_access_is_away(i->access, i->config->tokens[t].name, NULL) ||
		    token_access_is_busy(i->access, i->config->tokens[t].name))
			ask_status(i, i->config->tokens[t].name, true);
	}
}

static void
on_pins_expired(int64_t count, const struct error *err, void *arg)
{
	if (err == NULL && count > 0)
		log_info("-", "%lld requests get a new serial: nobody entered a PIN for them",
		    (long long)count);
}

static void
report_host(struct issuer *i)
{
	struct error e = ERROR_INIT;
	struct statvfs st;
	struct utsname host;

	if (!db_is_up(i->db) || uname(&host) < 0 || statvfs(i->config->state_dir, &st) < 0)
		return;
	if (!status_report_host(i->db, i->config->issuer.signer_id, host.nodename,
		(uint64_t)st.f_bavail * st.f_frsize, (uint64_t)st.f_blocks * st.f_frsize, &e))
		log_failure(LOG_LEVEL_DEBUG, "-", &e);
}

static void
on_status(evutil_socket_t fd, short what, void *arg)
{
	struct issuer *i = arg;
	struct error e = ERROR_INIT;

	report_host(i);
	look_desk_poke(i->looks);
	for (size_t t = 0; t < i->config->token_count; t++)
		ask_status(i, i->config->tokens[t].name, false);
	order_replay_look(i->replay);
	if (db_is_up(i->db) && pin_expire(i->db, on_pins_expired, i, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "-", &e);
}

/* A signer took an entry of a PIN. */
static void
on_pin_taken(const char *token, void *arg)
{
	ask_status(arg, token, false);
}

static void
on_clock(bool held, void *arg)
{
	struct issuer *i = arg;

	issuance_hold(i->issuance, held);
	decider_hold(i->decider, held);
	crl_calendar_hold(i->calendar, held);
	if (!held)
		look_for_work(i);
}

/* ----------------------------------------------------- database and signers */

static void
on_cas_loaded(const struct error *err, void *arg)
{
	struct issuer *i = arg;

	if (err != NULL) {
		log_failure(LOG_LEVEL_WARNING, "database", err);
		return;
	}
	role_ready(i->role);
	look_for_work(i);
}

static void
on_db_up(struct db *db, void *arg)
{
	struct issuer *i = arg;
	struct error e = ERROR_INIT;

	role_status(i->role, "the database is connected");
	clock_watch_look(i->clock);
	if (!ca_cache_load(i->cache, on_cas_loaded, i, &e))
		log_failure(LOG_LEVEL_WARNING, "database", &e);
	outbox_poke(i->outbox);
	look_desk_resume(i->looks);
	on_status(-1, 0, i);
}

static void
on_db_down(struct db *db, const struct error *why, void *arg)
{
	struct issuer *i = arg;

	log_failure(LOG_LEVEL_WARNING, "database", why);
	role_status(i->role, "the database is away: %s", why->text);
}

static const struct db_callbacks db_callbacks = {.up = on_db_up, .down = on_db_down};

static void
on_signer_attached(const char *token, void *arg)
{
	struct issuer *i = arg;

	log_info(token, "the signer is connected");
	token_access_forget(i->access, token);
	for (size_t t = 0; t < i->config->token_count; t++) {
		if (strcmp(i->config->tokens[t].name, token) == 0)
			ask_status(i, i->config->tokens[t].name, false);
	}
	order_replay_signer(i->replay, token);
}

static void
on_signer_up(const char *token, void *arg)
{
	struct issuer *i = arg;

	crl_calendar_signer(i->calendar, token);
	look_for_work(i);
}

static void
on_signer_writable(const char *token, void *arg)
{
	struct issuer *i = arg;

	crl_calendar_room(i->calendar, token);
}

static const struct signer_client_callbacks signer_callbacks = {
    .attached = on_signer_attached,
    .up = on_signer_up,
    .writable = on_signer_writable,
};

static void
on_signer_channel(const char *token, int fd, void *arg)
{
	struct issuer *i = arg;

	signer_client_attach(i->signers, token, fd);
}

static void
on_writer_channel(const char *user, int fd, void *arg)
{
	struct issuer *i = arg;

	writers_take(i->writers, user, fd);
}

static const struct role_callbacks role_callbacks = {
    .on_signer_channel = on_signer_channel,
    .on_writer_channel = on_writer_channel,
    .on_drain = on_drain,
};

/* ------------------------------------------------------------------- set-up */

static bool
open_database(struct issuer *i, struct error *e)
{
	const struct db_options options = {.application = "chancery issuer", .check_schema = true};

	i->db = db_open(
	    role_base(i->role), i->config->database_issuer, &options, &db_callbacks, i, e);
	return i->db != NULL && db_listen(i->db, "chancery_work", on_work, i, e) &&
	       db_listen(i->db, "chancery_request", on_request, i, e) &&
	       db_listen(i->db, "chancery_publish", on_publish, i, e) &&
	       db_listen(i->db, "chancery_pin", on_pin, i, e) &&
	       db_listen(i->db, "chancery_look", on_look_ordered, i, e);
}

static bool
start_work(struct issuer *i, struct error *e)
{
	struct event_base *base = role_base(i->role);
	const struct config_issuer *c = &i->config->issuer;
	const struct issue_env issue = {base, i->db, i->signers, i->cache, i->config, i->access};
	const struct outbox_config outbox = {.state_dir = i->config->state_dir,
	    .credentials_dir = c->credentials_dir,
	    .commands_dir = c->commands_dir,
	    .ca_file = c->ca_file,
	    .krb5_config = c->krb5_config,
	    .signer_id = c->signer_id,
	    .publish_dirs = &c->publish_dirs,
	    .writers = i->writers,
	    .sandbox = i->config->sandbox};
	struct pin_courier_env pins = {.db = i->db,
	    .signers = i->signers,
	    .access = i->access,
	    .config = i->config,
	    .taken = on_pin_taken,
	    .arg = i};
	struct decide_env decide = {
	    .base = base, .db = i->db, .cache = i->cache, .own_uid = geteuid()};

	i->crl_env = (struct crl_build_env){base, i->db, i->config->database_issuer, i->signers,
	    i->access, c->signer_id, c->crl_abstract_from};
	i->issuance = issuance_new(&issue, stop_when_idle, i, e);
	i->calendar = crl_calendar_new(&i->crl_env, i->config, i->cache, e);
	i->clock = clock_watch_new(base, i->db, on_clock, i, e);
	decide.calendar = i->calendar;
	decide.orders = (struct ca_order_env){i->db, i->signers, i->cache, i->config, i->access};
	i->decider = decider_new(&decide, stop_when_idle, i, e);
	i->outbox = outbox_start(base, i->db, &outbox, e);
	i->replay = order_replay_new(base, i->db, i->signers, c->signer_id, e);
	if (i->clock == NULL || i->replay == NULL || i->issuance == NULL || i->calendar == NULL ||
	    i->decider == NULL || i->outbox == NULL)
		return false;
	i->looks = look_desk_new(i->db, i->outbox, c->signer_id, e);
	if (i->looks == NULL)
		return false;
	pins.issuance = i->issuance;
	pins.calendar = i->calendar;
	pins.decider = i->decider;
	i->courier = pin_courier_new(&pins, e);
	return i->courier != NULL;
}

static struct event *
add_timer(struct issuer *i, int period_s, event_callback_fn fn)
{
	const struct timeval period = {period_s, 0};
	struct event *ev = event_new(role_base(i->role), -1, EV_PERSIST, fn, i);

	if (ev != NULL && event_add(ev, &period) == 0)
		return ev;
	if (ev != NULL)
		event_free(ev);
	return NULL;
}

static bool
set_up(struct issuer *i, int control_fd, struct error *e)
{
	i->role = role_new("issuer", control_fd, &role_callbacks, i, e);
	if (i->role == NULL)
		return false;
	i->writers = writers_new();
	if (i->writers == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "memory for the writers' channels");
	i->signers = signer_client_new(role_base(i->role), &signer_callbacks, i, e);
	i->access = token_access_new(i->config, e);
	if (i->signers == NULL || i->access == NULL || !open_database(i, e))
		return false;
	i->cache = ca_cache_new(i->db, e);
	if (i->cache == NULL || !start_work(i, e))
		return false;
	i->look = add_timer(i, LOOK_S, on_look);
	i->status = add_timer(i, STATUS_S, on_status);
	i->expire = add_timer(i, EXPIRE_S, on_expire);
	i->away = evtimer_new(role_base(i->role), on_away, i);
	if (i->look == NULL || i->status == NULL || i->expire == NULL || i->away == NULL)
		return error_set(e, ERROR_SYSTEM, "setting timers");
	return true;
}

static void
free_event(struct event *ev)
{
	if (ev != NULL)
		event_free(ev);
}

/* What was told to the database last is lost when the connection is closed with
 * its answers unread. */
static void
await_answers(struct issuer *i)
{
	const struct timeval limit = {LAST_WORDS_S, 0};
	struct event_base *base;

	if (i->db == NULL || db_in_flight(i->db) == 0)
		return;
	base = role_base(i->role);
	(void)event_base_loopexit(base, &limit);
	do
		(void)event_base_loop(base, EVLOOP_ONCE);
	while (db_in_flight(i->db) > 0 && !event_base_got_exit(base));
}

/*
 * Everything in flight is answered first, by the signers and then by the
 * database, to owners that still live: what was claimed goes back into the queue
 * as far as the database can still be told.
 */
static void
tear_down(struct issuer *i)
{
	free_event(i->look);
	free_event(i->status);
	free_event(i->expire);
	free_event(i->away);
	if (i->looks != NULL)
		look_desk_drain(i->looks);
	outbox_stop(i->outbox);
	if (i->issuance != NULL)
		issuance_drain(i->issuance);
	if (i->decider != NULL)
		decider_drain(i->decider);
	if (i->calendar != NULL)
		crl_calendar_drain(i->calendar);
	if (i->replay != NULL)
		order_replay_drain(i->replay);
	if (i->courier != NULL)
		pin_courier_drain(i->courier);
	signer_client_close(i->signers);
	await_answers(i);
	db_close(i->db);
	clock_watch_free(i->clock);
	issuance_free(i->issuance);
	crl_calendar_free(i->calendar);
	decider_free(i->decider);
	order_replay_free(i->replay);
	pin_courier_free(i->courier);
	look_desk_free(i->looks);
	token_access_free(i->access);
	signer_client_free(i->signers);
	ca_cache_free(i->cache);
	writers_free(i->writers);
	role_free(i->role);
}

int
issuer_main(const struct config *config, int control_fd)
{
	struct issuer issuer = {.config = config};
	struct error e = ERROR_INIT;
	int status = 1;

	log_init("issuer", config->log_level);
	if (confine_issuer(config, &e) && set_up(&issuer, control_fd, &e))
		status = role_run(issuer.role);
	else
		log_failure(LOG_LEVEL_ERROR, "-", &e);
	tear_down(&issuer);
	return status;
}
