#include "daemon/supervisor/child.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "daemon/core/process.h"
#include "daemon/core/role.h"

/* SoftHSM makes a signature with hundreds of small allocations, more of a size than
 * glibc's threads keep for themselves: that costs a tenth of the signature. */
#define ALLOCATOR_VARIABLE "GLIBC_TUNABLES"
#define ALLOCATOR_OF_SIGNERS "glibc.malloc.tcache_count=100"

const char *
child_state_name(enum child_state state)
{
	static const char *const names[] = {
	    [CHILD_WAITING] = "waiting",
	    [CHILD_STARTING] = "starting",
	    [CHILD_RUNNING] = "running",
	    [CHILD_STOPPING] = "stopping",
	    [CHILD_DONE] = "done",
	};

	return names[state];
}

bool
child_has_process(const struct child *c)
{
	return c->pid > 0;
}

static void
move(struct child *c, enum child_state state)
{
	c->state = state;
	c->site->on_change(c, c->site->arg);
}

static void
set_timer(struct child *c, unsigned ms)
{
	struct timeval delay = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};

	(void)evtimer_add(c->timer, &delay);
}

static void
handle_timer(evutil_socket_t fd, short what, void *arg)
{
	struct child *c = arg;

	if (c->state == CHILD_WAITING) {
		child_start(c);
		return;
	}
	log_warning(c->name, "does not end, killing process %d", (int)c->pid);
	child_kill(c);
}

struct child *
child_new(const struct child_site *site, enum child_kind kind, const char *subject)
{
	static const char *const names[] = {[CHILD_SIGNER] = "signer",
	    [CHILD_WRITER] = "writer",
	    [CHILD_ISSUER] = "issuer",
	    [CHILD_FRONT] = "front"};
	struct child *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	*c = (struct child){.site = site, .kind = kind, .backoff_ms = CHILD_BACKOFF_MIN_MS};
	if (subject != NULL)
		(void)snprintf(c->subject, sizeof c->subject, "%s", subject);
	(void)snprintf(c->name, sizeof c->name, "%s%s%s", names[kind],
	    c->subject[0] != '\0' ? "-" : "", c->subject);
	c->timer = evtimer_new(site->base, handle_timer, c);
	if (c->timer == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

/* ---- its words */

/* Kept in ASCII: a text cut in the middle of a character would not be UTF-8. */
static void
keep_status(struct child *c, const char *text)
{
	size_t i;

	for (i = 0; i < sizeof c->status - 1 && text[i] != '\0'; i++)
		c->status[i] = (char)(text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?');
	c->status[i] = '\0';
}

static const struct identity *
identity_of(const struct child *c)
{
	const struct config *cfg = c->site->config;
	const struct config_token *token;

	if (cfg->separation != CONFIG_SEPARATION_USERS)
		return NULL;
	switch (c->kind) {
	case CHILD_SIGNER:
		token = config_find_token(cfg, c->subject);
		return token != NULL ? &token->user : &cfg->signer_user;
	case CHILD_WRITER:
		return config_find_writer(cfg, c->subject);
	case CHILD_ISSUER:
		return &cfg->issuer_user;
	default:
		return &cfg->front_user;
	}
}

/* What it says of its sandbox, against what the configuration asks for. */
static void
keep_report(struct child *c, const char *text)
{
	const struct identity *id = identity_of(c);
	struct sandbox_report report;
	struct error err = ERROR_INIT;

	if (c->sandbox[0] != '\0' || !sandbox_report_parse(text, &report, &err)) {
		if (!error_is_set(&err))
			error_set(&err, ERROR_INPUT, "it speaks of its sandbox a second time");
		log_failure(LOG_LEVEL_ERROR, c->name, &err);
		child_kill(c);
		return;
	}
	sandbox_report_format(&report, c->sandbox);
	log_info(c->name, "is confined: %s", c->sandbox);
	c->is_confined = (id == NULL || (report.uid == id->uid && report.gid == id->gid)) &&
			 (c->site->config->sandbox != SANDBOX_REQUIRE || sandbox_is_whole(&report));
	move(c, c->state);
}

static void
handle_message(const struct control_message *m, void *arg)
{
	struct child *c = arg;

	switch (m->type) {
	case CONTROL_SANDBOX:
		keep_report(c, m->text);
		break;
	case CONTROL_READY:
		if (c->state != CHILD_STARTING)
			break;
		if (!c->is_confined) {
			log_error(c->name,
			    "is not confined as the configuration asks for (%s), "
			    "killing it",
			    c->sandbox[0] != '\0' ? c->sandbox : "it does not say how");
			child_kill(c);
			break;
		}
		log_info(c->name, "process %d is ready", (int)c->pid);
		move(c, CHILD_RUNNING);
		break;
	case CONTROL_STATUS:
		keep_status(c, m->text);
		log_info(c->name, "says: %s", c->status);
		move(c, c->state);
		break;
	default:
		if (m->fd >= 0)
			(void)close(m->fd);
		log_error(c->name, "sent a message that only the supervisor sends, killing it");
		child_kill(c);
		break;
	}
}

static void
handle_close(const struct error *err, void *arg)
{
	struct child *c = arg;

	control_free(c->control);
	c->control = NULL;
	if (error_is_set(err)) {
		log_failure(LOG_LEVEL_ERROR, c->name, err);
		child_kill(c);
		return;
	}
	/* Normally its end follows at once; nobody can reach it any more. */
	if (c->state != CHILD_STOPPING)
		set_timer(c, CHILD_CLOSED_S * 1000);
}

static const struct control_callbacks control_handlers = {
    .on_message = handle_message,
    .on_close = handle_close,
};

/* ---- start */

static void
retry_later(struct child *c)
{
	log_info(c->name, "starting again in %u ms", c->backoff_ms);
	set_timer(c, c->backoff_ms);
	c->backoff_ms = c->backoff_ms > CHILD_BACKOFF_MAX_MS / 2 ? CHILD_BACKOFF_MAX_MS
								 : c->backoff_ms * 2;
	c->restarts++;
	move(c, CHILD_WAITING);
}

/* Threads count, and all processes of a user together: signers of 16 tokens with 64
 * threads each, couriers with the threads of libcurl. A writer's user has processes of
 * his own, nobody here knows how many. */
static unsigned
processes_max(enum child_kind kind)
{
	switch (kind) {
	case CHILD_SIGNER:
		return 4096;
	case CHILD_ISSUER:
		return 1024;
	case CHILD_WRITER:
		return 0;
	default:
		return 64;
	}
}

/* A credential lies where only root gets at it: the signer is given it open. */
static bool
open_credential(const char *name, int *fd, struct error *err)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char path[PATH_MAX];

	if (dir == NULL)
		return error_set(err, ERROR_CONFIG,
		    "pin_credential '%s' needs systemd's LoadCredential: CREDENTIALS_DIRECTORY is "
		    "not set",
		    name);
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	*fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		return error_set_errno(err, ERROR_CONFIG, "cannot open the credential %s", path);
	return true;
}

/* What sandbox to enter; a signer's own, and where its credential is. Ours first:
 * the first of two with one name counts, but of the allocator's the last. t is NULL for
 * others than signers. */
static char **
environment_of(enum sandbox_mode mode, const struct config_token *t, int credential)
{
	struct config_variable extra[CONFIG_ENVIRONMENT_MAX + 3];
	char sandbox[] = SANDBOX_VARIABLE, passed[] = CREDENTIAL_VARIABLE, value[12], word[16];
	char tunables[] = ALLOCATOR_VARIABLE, allocator[] = ALLOCATOR_OF_SIGNERS;
	size_t count = 0;

	(void)snprintf(word, sizeof word, "%s", sandbox_mode_name(mode));
	extra[count++] = (struct config_variable){sandbox, word};
	if (t != NULL)
		extra[count++] = (struct config_variable){tunables, allocator};
	if (credential >= 0) {
		(void)snprintf(value, sizeof value, "%d", CREDENTIAL_FD);
		extra[count++] = (struct config_variable){passed, value};
	}
	for (size_t i = 0; t != NULL && i < t->environment_count; i++)
		extra[count++] = t->environment[i];
	return process_environment(t != NULL && credential < 0, extra, count);
}

/* program and out point to what lives as long as the child and its configuration. A writer
 * is told its directories and nothing else: it need not be able to read the configuration. */
static void
arguments_of(struct child *c, const char *program, char *out[CONFIG_PATHS_MAX + 6])
{
	static char config[] = "--config", token[] = "--token", role[] = "--role", end[] = "--";
	const struct config_publish_dirs *dirs = &c->site->config->issuer.publish_dirs;
	size_t n = 0;

	out[n++] = (char *)(uintptr_t)program;
	out[n++] = c->kind == CHILD_SIGNER ? token : role;
	out[n++] = c->kind == CHILD_SIGNER ? c->subject : c->name;
	if (c->kind != CHILD_WRITER) {
		out[n++] = config;
		out[n++] = c->site->config->path;
	} else {
		out[n++] = end;
	}
	for (size_t i = 0; c->kind == CHILD_WRITER && i < dirs->count; i++) {
		if (strcmp(dirs->items[i].user.name, c->subject) == 0)
			out[n++] = dirs->items[i].path;
	}
	out[n] = NULL;
}

static bool
spawn(struct child *c, int control, struct error *err)
{
	const struct child_site *site = c->site;
	const char *program = c->kind == CHILD_SIGNER ? site->signer : site->self;
	const struct config_token *t = NULL;
	char *argv[CONFIG_PATHS_MAX + 6];
	struct process_start start = {.program = program,
	    .argv = argv,
	    .control = control,
	    .credential = -1,
	    .identity = identity_of(c)};
	char **environment = NULL;
	bool ok = false;

	arguments_of(c, program, argv);
	if (c->kind == CHILD_WRITER && start.identity == NULL)
		return error_set(
		    err, ERROR_INTERNAL, "nothing is published as user %s", c->subject);
	if (c->kind == CHILD_SIGNER) {
		t = config_find_token(site->config, c->subject);
		if (t == NULL)
			return error_set(
			    err, ERROR_INTERNAL, "token %s is not configured", c->subject);
	}
	/* The limit is of the user, so it must be a user of the role's own. */
	if (start.identity != NULL)
		start.processes_max = processes_max(c->kind);
	if (start.identity != NULL && t != NULL && t->pin_credential != NULL &&
	    !open_credential(t->pin_credential, &start.credential, err))
		goto out;
	environment = environment_of(site->config->sandbox, t, start.credential);
	if (environment == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	start.environment = environment;
	ok = process_start(&start, &c->pid, err);
out:
	if (start.credential >= 0)
		(void)close(start.credential);
	process_environment_free(environment);
	return ok;
}

void
child_start(struct child *c)
{
	struct error err = ERROR_INIT;
	int fds[2] = {-1, -1};

	c->killed = false;
	c->again = false;
	c->status[0] = '\0';
	c->sandbox[0] = '\0';
	c->is_confined = false;
	c->started_s = monotonic_s();
	if (!control_pair(fds, &err) || !spawn(c, fds[1], &err))
		goto fail;
	(void)close(fds[1]);
	fds[1] = -1;
	c->control = control_new(c->site->base, fds[0], &control_handlers, c, &err);
	fds[0] = -1;
	if (c->control == NULL) {
		/* Its channel is closed, so it ends; SIGCHLD brings it back. */
		log_failure(LOG_LEVEL_ERROR, c->name, &err);
		child_kill(c);
	}
	log_info(c->name, "started as process %d", (int)c->pid);
	move(c, CHILD_STARTING);
	c->site->on_start(c, c->site->arg);
	return;
fail:
	for (size_t i = 0; i < COUNT_OF(fds); i++) {
		if (fds[i] >= 0)
			(void)close(fds[i]);
	}
	log_failure(LOG_LEVEL_ERROR, c->name, &err);
	retry_later(c);
}

void
child_send(struct child *c, enum control_type type, const char *text, unsigned index, int fd)
{
	struct control_message m = {.type = type, .index = (uint16_t)index, .fd = fd};
	struct error err = ERROR_INIT;

	if (c->control == NULL)
		return;
	(void)snprintf(m.text, sizeof m.text, "%s", text != NULL ? text : "");
	if (control_send(c->control, &m, &err))
		return;
	/* Unavailable: it is ending just now. */
	if (err.code == ERROR_UNAVAILABLE)
		return;
	log_failure(LOG_LEVEL_ERROR, c->name, &err);
	child_kill(c);
}

/* ---- end */

void
child_kill(struct child *c)
{
	if (c->pid <= 0)
		return;
	c->killed = true;
	(void)kill(c->pid, SIGKILL);
}

void
child_stop(struct child *c, unsigned timeout_s, bool again)
{
	bool was_stopping = c->state == CHILD_STOPPING;

	c->again = again;
	if (c->pid <= 0) {
		(void)evtimer_del(c->timer);
		if (again)
			child_start(c);
		else
			move(c, CHILD_DONE);
		return;
	}
	if (was_stopping)
		return;
	set_timer(c, timeout_s * 1000);
	child_send(c, CONTROL_DRAIN, NULL, 0, -1);
	move(c, CHILD_STOPPING);
}

static void
log_end(const struct child *c, int status, bool expected)
{
	enum log_level level = expected ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR;

	if (WIFSIGNALED(status))
		log_line(level, c->name, "process %d was killed by signal %d (%s)%s", (int)c->pid,
		    WTERMSIG(status), strsignal(WTERMSIG(status)), c->killed ? " of ours" : "");
	else
		log_line(level, c->name, "process %d ended with status %d", (int)c->pid,
		    WEXITSTATUS(status));
}

/* A signer that lost its token wants a fresh module, and signs as soon as the token is
 * there: it does not wait longer for having met the same outage before. */
static void
limit_backoff(struct child *c, int status)
{
	if (c->kind != CHILD_SIGNER || !WIFEXITED(status) ||
	    (WEXITSTATUS(status) != ROLE_EXIT_TOKEN_LOST &&
		WEXITSTATUS(status) != ROLE_EXIT_MODULE_HUNG))
		return;
	if (c->backoff_ms > CHILD_BACKOFF_TOKEN_MS)
		c->backoff_ms = CHILD_BACKOFF_TOKEN_MS;
}

static void
handle_end(struct child *c, int status)
{
	bool stopping = c->state == CHILD_STOPPING;

	log_end(c, status, stopping && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	(void)evtimer_del(c->timer);
	control_free(c->control);
	c->control = NULL;
	c->pid = 0;
	if (stopping && !c->again) {
		move(c, CHILD_DONE);
		return;
	}
	if (stopping) {
		child_start(c);
		return;
	}
	if (monotonic_s() - c->started_s >= CHILD_STABLE_S)
		c->backoff_ms = CHILD_BACKOFF_MIN_MS;
	limit_backoff(c, status);
	retry_later(c);
}

void
child_reap(struct child *c)
{
	int status;

	if (c->pid > 0 && waitpid(c->pid, &status, WNOHANG) == c->pid)
		handle_end(c, status);
}

void
child_free(struct child *c)
{
	if (c == NULL)
		return;
	if (c->pid > 0) {
		(void)kill(c->pid, SIGKILL);
		(void)waitpid(c->pid, NULL, 0);
	}
	control_free(c->control);
	event_free(c->timer);
	free(c);
}
