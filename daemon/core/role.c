#include "daemon/core/role.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/control.h"
#include "daemon/core/log.h"
#include "daemon/core/sandbox.h"

struct role {
	const char *name;
	struct event_base *base;
	struct control *control;
	struct event *sigterm;
	const struct role_callbacks *callbacks;
	void *arg;
	bool ready_sent, draining, stopped;
	int status;
	char last_status[CONTROL_TEXT_MAX];
};

static void
drain(struct role *r)
{
	if (r->draining)
		return;
	r->draining = true;
	log_info("-", "finishing what is in flight");
	if (r->callbacks->on_drain != NULL)
		r->callbacks->on_drain(r->arg);
	else
		role_stop(r, 0);
}

static void
handle_message(const struct control_message *m, void *arg)
{
	const struct role_callbacks *cb;
	struct role *r = arg;

	cb = r->callbacks;
	switch (m->type) {
	case CONTROL_SIGNER_CHANNEL:
		if (cb->on_signer_channel == NULL)
			break;
		cb->on_signer_channel(m->text, m->fd, r->arg);
		return;
	case CONTROL_WRITER_CHANNEL:
		if (cb->on_writer_channel == NULL)
			break;
		cb->on_writer_channel(m->text, m->fd, r->arg);
		return;
	case CONTROL_LISTENER:
		if (cb->on_listener == NULL)
			break;
		cb->on_listener(m->text, m->index, m->fd, r->arg);
		return;
	case CONTROL_RELOAD:
		if (cb->on_reload != NULL && !r->draining)
			cb->on_reload(r->arg);
		break;
	case CONTROL_DRAIN:
		drain(r);
		break;
	case CONTROL_PROCESS:
		if (cb->on_process != NULL)
			cb->on_process(m->text, r->arg);
		break;
	case CONTROL_READY:
	case CONTROL_STATUS:
	case CONTROL_SANDBOX:
		log_warning("-", "the supervisor sent a message that only a child sends");
		break;
	}
	if (m->fd >= 0)
		(void)close(m->fd);
}

static void
handle_close(const struct error *err, void *arg)
{
	struct role *r = arg;

	if (error_is_set(err))
		log_failure(LOG_LEVEL_ERROR, "-", err);
	else
		log_warning("-", "the supervisor is gone, stopping");
	role_stop(r, 1);
}

static const struct control_callbacks control_handlers = {
    .on_message = handle_message,
    .on_close = handle_close,
};

static void
handle_sigterm(evutil_socket_t number, short what, void *arg)
{
	drain(arg);
}

static bool
send_up(struct role *r, enum control_type type, const char *text)
{
	struct control_message m = {.type = type, .fd = -1};
	struct error err = ERROR_INIT;

	(void)snprintf(m.text, sizeof m.text, "%s", text);
	if (control_send(r->control, &m, &err))
		return true;
	log_failure(LOG_LEVEL_WARNING, "-", &err);
	return false;
}

static bool
tell_sandbox(struct role *r)
{
	struct sandbox_report report;
	char text[SANDBOX_TEXT_MAX];

	sandbox_current(&report);
	sandbox_report_format(&report, text);
	return send_up(r, CONTROL_SANDBOX, text);
}

struct role *
role_new(const char *name, int control_fd, const struct role_callbacks *callbacks, void *arg,
    struct error *err)
{
	static const int ignored[] = {SIGPIPE, SIGINT, SIGHUP};
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct role *r = calloc(1, sizeof *r);

	for (size_t i = 0; i < COUNT_OF(ignored); i++)
		(void)sigaction(ignored[i], &ignore, NULL);
	if (r == NULL || (r->base = event_base_new()) == NULL) {
		error_set(err, ERROR_SYSTEM, "cannot make the event loop of role %s", name);
		(void)close(control_fd);
		free(r);
		return NULL;
	}
	r->name = name;
	r->callbacks = callbacks;
	r->arg = arg;
	r->control = control_new(r->base, control_fd, &control_handlers, r, err);
	if (r->control == NULL)
		goto fail;
	r->sigterm = evsignal_new(r->base, SIGTERM, handle_sigterm, r);
	if (r->sigterm == NULL || evsignal_add(r->sigterm, NULL) < 0) {
		error_set(err, ERROR_SYSTEM, "cannot watch signals of role %s", name);
		goto fail;
	}
	if (!tell_sandbox(r)) {
		error_set(
		    err, ERROR_UNAVAILABLE, "the supervisor does not take what role %s says", name);
		goto fail;
	}
	return r;
fail:
	role_free(r);
	return NULL;
}

struct event_base *
role_base(struct role *r)
{
	return r->base;
}

void
role_ready(struct role *r)
{
	if (!r->ready_sent)
		r->ready_sent = send_up(r, CONTROL_READY, "");
}

void
role_status(struct role *r, const char *fmt, ...)
{
	char text[CONTROL_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (strcmp(text, r->last_status) == 0)
		return;
	if (send_up(r, CONTROL_STATUS, text))
		memcpy(r->last_status, text, sizeof text);
}

bool
role_is_draining(const struct role *r)
{
	return r->draining;
}

int
role_run(struct role *r)
{
	if (!r->stopped && event_base_dispatch(r->base) < 0) {
		log_error("-", "the event loop of role %s failed", r->name);
		return 1;
	}
	return r->status;
}

void
role_stop(struct role *r, int status)
{
	/* The first reason counts: an error must not be hidden by the drain. */
	if (r->stopped)
		return;
	r->stopped = true;
	r->status = status;
	(void)event_base_loopexit(r->base, NULL);
}

void
role_free(struct role *r)
{
	if (r == NULL)
		return;
	if (r->sigterm != NULL)
		event_free(r->sigterm);
	control_free(r->control);
	event_base_free(r->base);
	free(r);
}
