#include "daemon/supervisor/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "daemon/core/notify.h"
#include "daemon/supervisor/change.h"
#include "daemon/supervisor/child.h"
#include "daemon/supervisor/listener.h"
#include "daemon/supervisor/place.h"
#include "daemon/supervisor/roster.h"
#include "daemon/supervisor/runtime.h"

TAILQ_HEAD(child_list, child);

enum supervisor_state {
	SUPERVISOR_STARTING,
	SUPERVISOR_RUNNING,  /* all children have been ready at the same time */
	SUPERVISOR_STOPPING, /* front and issuer drain; then signers and writers */
};

struct supervisor {
	enum supervisor_state state;
	struct event_base *base;
	struct config cfg;
	bool (*check)(const struct config *cfg, struct error *err); /* or NULL */
	struct child_site site;
	struct child_list children;
	struct listeners listeners;
	int lock_fd;
	struct event *signals[4];
	struct event *settle;	/* after children changed: run.json, readiness, the end */
	struct event *deadline; /* of the drain */
	bool helpers_told, killed, reloading;
	bool front_is_new; /* and knows of no process yet */
};

/* ---- what the world is told */

static void
notify(const char *text)
{
	struct error err = ERROR_INIT;

	if (!notify_send(&err, "%s", text))
		log_failure(LOG_LEVEL_WARNING, "-", &err);
}

static const char *
state_name(const struct supervisor *s)
{
	static const char *const names[] = {
	    [SUPERVISOR_STARTING] = "starting",
	    [SUPERVISOR_RUNNING] = "running",
	    [SUPERVISOR_STOPPING] = "stopping",
	};

	return names[s->state];
}

static void
put_child(FILE *out, const struct child *c, bool first)
{
	(void)fprintf(out, "%s\n    ", first ? "" : ",");
	runtime_put_string(out, c->name);
	(void)fputs(": {\"pid\": ", out);
	if (c->pid > 0)
		(void)fprintf(out, "%d", (int)c->pid);
	else
		(void)fputs("null", out);
	(void)fprintf(out,
	    ", \"state\": \"%s\", \"restarts\": %u, \"sandbox\": ", child_state_name(c->state),
	    c->restarts);
	runtime_put_string(out, c->sandbox);
	(void)fputs(", \"status\": ", out);
	runtime_put_string(out, c->status);
	(void)fputc('}', out);
}

static void
put_listener(FILE *out, const struct listener *l, bool first)
{
	(void)fprintf(out,
	    "%s\n    {\"kind\": \"%s\", \"index\": %u, \"configured\": ", first ? "" : ",", l->kind,
	    l->index);
	runtime_put_string(out, l->configured);
	(void)fputs(", \"address\": ", out);
	runtime_put_string(out, l->actual);
	if (l->port > 0)
		(void)fprintf(out, ", \"port\": %u}", l->port);
	else
		(void)fputs(", \"port\": null}", out);
}

static void
write_run_file(const struct supervisor *s)
{
	struct error err = ERROR_INIT;
	const struct child *c;
	char *text = NULL;
	size_t len = 0;
	bool whole;
	FILE *out;

	out = open_memstream(&text, &len);
	if (out == NULL)
		return;
	(void)fprintf(out, "{\n  \"pid\": %d,\n  \"state\": \"%s\",\n  \"children\": {",
	    (int)getpid(), state_name(s));
	TAILQ_FOREACH(c, &s->children, entry)
	put_child(out, c, c == TAILQ_FIRST(&s->children));
	(void)fputs("\n  },\n  \"listeners\": [", out);
	for (size_t i = 0; i < s->listeners.count; i++)
		put_listener(out, &s->listeners.items[i], i == 0);
	(void)fputs("\n  ]\n}\n", out);
	whole = fclose(out) == 0;
	if (!whole || !runtime_write(s->cfg.state_dir, text, len, &err))
		log_failure(LOG_LEVEL_WARNING, "-", &err);
	free(text);
}

/* ---- children */

static struct child *
find_child(const struct supervisor *s, enum child_kind kind, const char *subject)
{
	struct child *c;

	TAILQ_FOREACH(c, &s->children, entry)
	{
		if (c->kind == kind && (subject == NULL || strcmp(c->subject, subject) == 0))
			return c;
	}
	return NULL;
}

/* Front and issuer work with the help of those. */
static bool
is_helper(const struct child *c)
{
	return c->kind == CHILD_SIGNER || c->kind == CHILD_WRITER;
}

/* Gives a signer or a writer and the issuer the two ends of a fresh socket pair: what a
 * writer is asked is a message. */
static void
connect_helper(struct supervisor *s, struct child *helper)
{
	struct child *issuer = find_child(s, CHILD_ISSUER, NULL);
	bool writes = helper->kind == CHILD_WRITER;
	enum control_type type = writes ? CONTROL_WRITER_CHANNEL : CONTROL_SIGNER_CHANNEL;
	int fds[2];

	if (issuer == NULL || !child_has_process(issuer) || !child_has_process(helper))
		return;
	if (socketpair(AF_UNIX, (writes ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, fds) <
	    0) {
		/* Without descriptors nothing works; its restart tries again. */
		log_error(helper->name, "cannot make a socket pair: %s", strerror(errno));
		child_kill(helper);
		return;
	}
	child_send(helper, type, helper->subject, 0, fds[0]);
	child_send(issuer, type, helper->subject, 0, fds[1]);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void
handle_child_start(struct child *c, void *arg)
{
	struct supervisor *s = arg;
	struct child *each;

	switch (c->kind) {
	case CHILD_SIGNER:
	case CHILD_WRITER:
		connect_helper(s, c);
		break;
	case CHILD_ISSUER:
		TAILQ_FOREACH(each, &s->children, entry)
		{
			if (is_helper(each))
				connect_helper(s, each);
		}
		break;
	case CHILD_FRONT:
		for (size_t i = 0; i < s->listeners.count; i++)
			child_send(c, CONTROL_LISTENER, s->listeners.items[i].kind,
			    s->listeners.items[i].index, s->listeners.items[i].fd);
		s->front_is_new = true;
		break;
	}
}

/* Only marks it: children change while lists are walked. */
static void
handle_child_change(struct child *c, void *arg)
{
	struct supervisor *s = arg;

	event_active(s->settle, EV_TIMEOUT, 0);
}

static bool
add_child(struct supervisor *s, enum child_kind kind, const char *subject)
{
	struct child *c = child_new(&s->site, kind, subject);

	if (c == NULL)
		return false;
	TAILQ_INSERT_TAIL(&s->children, c, entry);
	child_start(c);
	return true;
}

/* Those signers and writers that the configuration wants and that are not there. */
static bool
add_helpers(struct supervisor *s)
{
	const struct config_publish_dirs *dirs = &s->cfg.issuer.publish_dirs;

	for (size_t i = 0; i < s->cfg.token_count; i++) {
		if (find_child(s, CHILD_SIGNER, s->cfg.tokens[i].name) == NULL &&
		    !add_child(s, CHILD_SIGNER, s->cfg.tokens[i].name))
			return false;
	}
	for (size_t i = 0; i < dirs->count; i++) {
		const char *user = dirs->items[i].user.name;

		if (user[0] != '\0' && find_child(s, CHILD_WRITER, user) == NULL &&
		    !add_child(s, CHILD_WRITER, user))
			return false;
	}
	return true;
}

static bool
start_children(struct supervisor *s)
{
	return add_helpers(s) && add_child(s, CHILD_ISSUER, NULL) &&
	       add_child(s, CHILD_FRONT, NULL);
}

/* ---- after a change */

static void
remove_done(struct supervisor *s)
{
	struct child *front = find_child(s, CHILD_FRONT, NULL), *c, *next;

	for (c = TAILQ_FIRST(&s->children); c != NULL; c = next) {
		next = TAILQ_NEXT(c, entry);
		if (c->state != CHILD_DONE)
			continue;
		s->killed |= c->killed && s->state == SUPERVISOR_STOPPING;
		TAILQ_REMOVE(&s->children, c, entry);
		if (c == front)
			front = NULL;
		else if (front != NULL)
			roster_tell_gone(front, c);
		child_free(c);
	}
}

static void
tell_front(struct supervisor *s)
{
	struct child *front = find_child(s, CHILD_FRONT, NULL), *c;
	bool anew = s->front_is_new;

	if (front == NULL || front->control == NULL)
		return;
	s->front_is_new = false;
	if (anew)
		roster_tell_supervisor(front);
	TAILQ_FOREACH(c, &s->children, entry)
	roster_tell(front, c, anew);
}

/* A writer's user is the service of somebody else, who may stop its processes with a signal:
 * that keeps his own files back, and not us from our start. */
static bool
all_ready(const struct supervisor *s)
{
	const struct child *c;

	TAILQ_FOREACH(c, &s->children, entry)
	{
		if (c->state != CHILD_RUNNING && c->kind != CHILD_WRITER)
			return false;
	}
	return true;
}

static void
look_for_readiness(struct supervisor *s)
{
	if (!all_ready(s))
		return;
	if (s->state == SUPERVISOR_STARTING) {
		s->state = SUPERVISOR_RUNNING;
		log_info("-", "signers, issuer and front are ready");
		notify("READY=1\nSTATUS=signers, issuer and front are ready");
	} else if (s->reloading) {
		notify("READY=1\nSTATUS=signers, issuer and front are ready");
	}
	s->reloading = false;
}

/* Signers and writers are the last: front and issuer finish with their help. */
static void
go_on_stopping(struct supervisor *s)
{
	struct child *c;

	if (TAILQ_EMPTY(&s->children)) {
		(void)event_base_loopbreak(s->base);
		return;
	}
	if (s->helpers_told || find_child(s, CHILD_ISSUER, NULL) != NULL ||
	    find_child(s, CHILD_FRONT, NULL) != NULL)
		return;
	s->helpers_told = true;
	TAILQ_FOREACH(c, &s->children, entry)
	child_stop(c, s->cfg.drain_timeout_s, false);
}

static void
handle_settle(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *s = arg;

	remove_done(s);
	if (s->state == SUPERVISOR_STOPPING)
		go_on_stopping(s);
	else
		look_for_readiness(s);
	tell_front(s);
	write_run_file(s);
}

/* ---- stop */

/* SIGKILL is certain: what remains is to wait for the ends. */
static void
kill_all(struct supervisor *s)
{
	struct child *c;

	s->helpers_told = true;
	s->killed = true;
	TAILQ_FOREACH(c, &s->children, entry)
	{
		child_stop(c, s->cfg.drain_timeout_s, false);
		child_kill(c);
	}
}

static void
handle_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *s = arg;

	log_warning("-", "draining took longer than drain_timeout (%u s), killing what is left",
	    s->cfg.drain_timeout_s);
	kill_all(s);
}

static void
handle_stop(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *s = arg;
	struct timeval limit = {.tv_sec = s->cfg.drain_timeout_s};
	struct child *c;

	if (s->state == SUPERVISOR_STOPPING) {
		log_warning("-", "told to stop again, killing what is left");
		kill_all(s);
		return;
	}
	log_info("-", "stopping");
	s->state = SUPERVISOR_STOPPING;
	notify("STOPPING=1\nSTATUS=finishing what is in flight");
	(void)evtimer_add(s->deadline, &limit);
	TAILQ_FOREACH(c, &s->children, entry)
	{
		if (!is_helper(c))
			child_stop(c, s->cfg.drain_timeout_s, false);
	}
	event_active(s->settle, EV_TIMEOUT, 0);
}

/* ---- reload */

static void
notify_reloading(void)
{
	char text[96];

	(void)snprintf(
	    text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)monotonic_us());
	notify(text);
}

static void
reload_or_restart(struct supervisor *s, struct child *c, bool changed)
{
	if (changed) {
		log_info(c->name, "its configuration changed, restarting it");
		child_stop(c, s->cfg.drain_timeout_s, true);
	} else {
		child_send(c, CONTROL_RELOAD, NULL, 0, -1);
	}
}

/* Makes the children fit the configuration in force; before is what it was. */
static void
adapt_children(struct supervisor *s, const struct config *before)
{
	const struct config_token *now, *then;
	struct child *c;

	TAILQ_FOREACH(c, &s->children, entry)
	{
		switch (c->kind) {
		case CHILD_ISSUER:
			reload_or_restart(s, c, change_of_issuer(before, &s->cfg));
			break;
		case CHILD_FRONT:
			reload_or_restart(s, c, change_of_front(before, &s->cfg));
			break;
		case CHILD_SIGNER:
			now = config_find_token(&s->cfg, c->subject);
			then = config_find_token(before, c->subject);
			if (now == NULL)
				child_stop(c, s->cfg.drain_timeout_s, false);
			else
				reload_or_restart(s, c, then == NULL || change_of_token(then, now));
			break;
		case CHILD_WRITER:
			if (config_find_writer(&s->cfg, c->subject) == NULL)
				child_stop(c, s->cfg.drain_timeout_s, false);
			else
				reload_or_restart(
				    s, c, change_of_writer(before, &s->cfg, c->subject));
			break;
		}
	}
	if (!add_helpers(s))
		log_error("-", "out of memory for a signer or writer");
}

static bool
same_users(const struct config *a, const struct config *b)
{
	for (size_t i = 0; i < a->token_count; i++) {
		const struct config_token *other = config_find_token(b, a->tokens[i].name);

		if (other != NULL && other->user.uid != a->tokens[i].user.uid)
			return false;
	}
	return a->signer_user.uid == b->signer_user.uid &&
	       a->issuer_user.uid == b->issuer_user.uid && a->front_user.uid == b->front_user.uid;
}

static bool
reload(struct supervisor *s, struct error *err)
{
	struct listeners fresh = {0};
	struct config cfg = {0}, before;

	if (!config_load(s->cfg.path, &cfg, err))
		return false;
	if (s->check != NULL && !s->check(&cfg, err))
		goto fail;
	if (strcmp(cfg.state_dir, s->cfg.state_dir) != 0) {
		error_set(err, ERROR_CONFIG,
		    "%s: key 'state_dir' cannot be changed by a reload, only by a restart",
		    cfg.path);
		goto fail;
	}
	if (cfg.separation != s->cfg.separation || cfg.sandbox != s->cfg.sandbox ||
	    !same_users(&cfg, &s->cfg)) {
		error_set(err, ERROR_CONFIG,
		    "%s: the keys 'separation' and 'sandbox' cannot be changed by a reload, only "
		    "by a "
		    "restart",
		    cfg.path);
		goto fail;
	}
	if (!place_state(&cfg, err) || !listeners_open(&cfg, &s->listeners, &fresh, err))
		goto fail;
	listeners_close(&s->listeners, &fresh);
	s->listeners = fresh;
	before = s->cfg;
	s->cfg = cfg;
	log_init("supervisor", s->cfg.log_level);
	adapt_children(s, &before);
	config_free(&before);
	return true;
fail:
	config_free(&cfg);
	return false;
}

static void
handle_reload(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *s = arg;
	struct error err = ERROR_INIT;

	if (s->state == SUPERVISOR_STOPPING)
		return;
	notify_reloading();
	s->reloading = true;
	if (reload(s, &err)) {
		log_info("-", "the configuration %s was read again", s->cfg.path);
	} else {
		log_failure(LOG_LEVEL_ERROR, "-", &err);
		log_error("-", "keeping the configuration as it was");
	}
	event_active(s->settle, EV_TIMEOUT, 0);
}

/* ---- the loop */

static void
handle_child_signal(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *s = arg;
	struct child *c;

	TAILQ_FOREACH(c, &s->children, entry)
	child_reap(c);
}

static bool
set_up_events(struct supervisor *s, struct error *err)
{
	static const struct {
		int number;
		event_callback_fn handle;
	} wanted[] = {
	    {SIGTERM, handle_stop},
	    {SIGINT, handle_stop},
	    {SIGHUP, handle_reload},
	    {SIGCHLD, handle_child_signal},
	};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	(void)sigaction(SIGPIPE, &ignore, NULL);
	s->base = event_base_new();
	if (s->base == NULL)
		return error_set(err, ERROR_SYSTEM, "cannot make the event loop");
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		s->signals[i] = evsignal_new(s->base, wanted[i].number, wanted[i].handle, s);
		if (s->signals[i] == NULL || evsignal_add(s->signals[i], NULL) < 0)
			return error_set(err, ERROR_SYSTEM, "cannot watch signals");
	}
	s->settle = evtimer_new(s->base, handle_settle, s);
	s->deadline = evtimer_new(s->base, handle_deadline, s);
	if (s->settle == NULL || s->deadline == NULL)
		return error_set(err, ERROR_SYSTEM, "cannot make timers");
	return true;
}

static void
free_supervisor(struct supervisor *s)
{
	struct child *c;

	while ((c = TAILQ_FIRST(&s->children)) != NULL) {
		TAILQ_REMOVE(&s->children, c, entry);
		child_free(c);
	}
	listeners_close(&s->listeners, NULL);
	if (s->settle != NULL)
		event_free(s->settle);
	if (s->deadline != NULL)
		event_free(s->deadline);
	for (size_t i = 0; i < COUNT_OF(s->signals); i++) {
		if (s->signals[i] != NULL)
			event_free(s->signals[i]);
	}
	if (s->base != NULL)
		event_base_free(s->base);
	if (s->lock_fd >= 0) {
		runtime_clear(s->cfg.state_dir);
		(void)close(s->lock_fd);
	}
	config_free(&s->cfg);
}

static bool
restrict_ourselves(const struct config *cfg, struct error *err)
{
	bool users = cfg->separation == CONFIG_SEPARATION_USERS;
	struct error why = ERROR_INIT;

	if (cfg->separation == CONFIG_SEPARATION_UNSET)
		log_warning("-",
		    "all roles run as uid %u: only when started as root each gets a user of its "
		    "own",
		    (unsigned)geteuid());
	sandbox_allow_locking();
	if (cfg->sandbox == SANDBOX_OFF || sandbox_restrict_supervisor(users, &why))
		return true;
	if (cfg->sandbox == SANDBOX_REQUIRE) {
		*err = why;
		return error_wrap(err, "sandbox: require");
	}
	log_failure(LOG_LEVEL_WARNING, "sandbox", &why);
	return true;
}

bool
supervisor_run(const struct supervisor_programs *programs, struct config *cfg, struct error *err)
{
	struct supervisor s = {.cfg = *cfg, .lock_fd = -1};
	bool ok = false;

	*cfg = (struct config){0};
	TAILQ_INIT(&s.children);
	log_init("supervisor", s.cfg.log_level);
	if ((s.cfg.sandbox == SANDBOX_REQUIRE && !sandbox_available(err)) ||
	    !place_state(&s.cfg, err) || !runtime_claim(s.cfg.state_dir, &s.lock_fd, err) ||
	    !set_up_events(&s, err) || !listeners_open(&s.cfg, NULL, &s.listeners, err) ||
	    !restrict_ourselves(&s.cfg, err))
		goto out;
	s.check = programs->check;
	s.site = (struct child_site){
	    .base = s.base,
	    .self = programs->self,
	    .signer = programs->signer,
	    .config = &s.cfg,
	    .on_start = handle_child_start,
	    .on_change = handle_child_change,
	    .arg = &s,
	};
	for (size_t i = 0; i < s.listeners.count; i++)
		log_info("-", "listening on %s (%s)", s.listeners.items[i].actual,
		    s.listeners.items[i].kind);
	if (!start_children(&s)) {
		error_set(err, ERROR_SYSTEM, "out of memory for children");
		goto out;
	}
	if (event_base_dispatch(s.base) < 0)
		error_set(err, ERROR_SYSTEM, "the event loop failed");
	else if (s.killed)
		error_set(err, ERROR_TIMEOUT, "children had to be killed");
	else
		ok = true;
	log_info("-", "stopped");
out:
	free_supervisor(&s);
	return ok;
}
