#include "daemon/publish/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "daemon/core/process.h"
#include "daemon/publish/command.h"
#include "daemon/publish/credential.h"
#include "daemon/publish/file_place.h"
#include "daemon/publish/look.h"
#include "daemon/publish/spool.h"
#include "daemon/publish/writers.h"

/* The courier's own time ends this much before it is killed, so that it can
 * still say what it waited for. */
#define COURIER_HEAD_START_MS 1000
/* With the courier its writer's process is killed. One that a dead file system holds in the
 * kernel may not end for days: it keeps its user's writer busy (writer.h), not a courier's
 * place here. */
#define WRITER_END_MS 2000

enum attempt_state {
	ATTEMPT_SPOOLING, /* the file is being fetched */
	ATTEMPT_RUNNING,  /* a courier runs; its end of life moves on */
	ATTEMPT_ENDED,	  /* end was called, or is about to be */
};

struct attempt {
	struct event_base *base;
	char *program;
	enum attempt_state state;
	int64_t publication;
	int epoch;
	int64_t artifact_id, target_id;
	bool retry;
	int64_t deadline_ms, started_ms;
	struct publish_job job;
	uint8_t *companions; /* owned octets that the job's issuer and companions point to */
	struct spool_ticket *ticket;
	struct event *timer; /* the deadline; or the turn of the loop in which it ends */
	struct event *exit;  /* on pidfd */
	pid_t pid;	     /* 0: none to wait for */
	int pidfd, socket;
	int found; /* of a look: memory that the courier fills */
	struct writers *writers;
	int life;	    /* ends with the process that writes for the courier; -1: none does */
	struct event *gone; /* on life */
	int status;	    /* of the courier, while we wait for that */
	bool killed;
	attempt_end_fn *end;
	void *arg;
	struct publish_result result;
};

static void
set_timer(struct attempt *a, int64_t ms)
{
	struct timeval tv;

	if (ms < 0)
		ms = 0;
	tv.tv_sec = (time_t)(ms / 1000);
	tv.tv_usec = (suseconds_t)(ms % 1000) * 1000;
	(void)event_add(a->timer, &tv);
}

/* Says so at the loop's next turn, when nothing of ours is on the stack. */
static void
finish(struct attempt *a)
{
	a->state = ATTEMPT_ENDED;
	spool_return(a->ticket);
	a->ticket = NULL;
	set_timer(a, 0);
}

static void
finish_failed(struct attempt *a)
{
	a->result.outcome = PUBLISH_FAILED;
	finish(a);
}

/* ------------------------------------------------------- the courier's end */

static bool
read_result(struct attempt *a, struct error *err)
{
	uint8_t buf[4 + PUBLISH_RESULT_MAX];
	size_t used = 0, len;
	ssize_t n;

	/* The courier is gone: what it sent lies in the socket's buffer, whole. */
	do {
		n = recv(a->socket, buf + used, sizeof buf - used, MSG_DONTWAIT);
		if (n > 0)
			used += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (used < 4)
		return error_set(err, ERROR_INTERNAL, "the courier ended without a result");
	len = (size_t)buf[0] << 24 | (size_t)buf[1] << 16 | (size_t)buf[2] << 8 | buf[3];
	if (len != used - 4)
		return error_set(err, ERROR_INTERNAL, "the courier's result is cut off");
	return publish_result_decode(buf + 4, len, &a->result, err);
}

static void
judge_end(struct attempt *a, int status)
{
	struct error *err = &a->result.error;

	if (a->killed || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)) {
		error_set(err, ERROR_TIMEOUT,
		    "%s did not answer within %lld s; the courier was killed", a->job.write_url,
		    (long long)((monotonic_ms() - a->started_ms) / 1000));
		finish_failed(a);
		return;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		error_set(err, ERROR_INTERNAL,
		    "the courier made a system call that its sandbox forbids; the log names it");
		finish_failed(a);
		return;
	}
	if (WIFSIGNALED(status)) {
		error_set(err, ERROR_INTERNAL, "the courier died of signal %d", WTERMSIG(status));
		finish_failed(a);
		return;
	}
	if (!read_result(a, err)) {
		finish_failed(a);
		return;
	}
	finish(a);
}

/* The process that wrote for the courier has ended: nothing is written any more. */
static void
on_gone(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;

	(void)close(a->life);
	a->life = -1;
	if (a->state != ATTEMPT_RUNNING || a->pid > 0)
		return;
	(void)event_del(a->timer);
	judge_end(a, a->status);
}

static void
on_exit_of_courier(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;
	int status = 0;
	pid_t pid;

	(void)fd;
	(void)what;
	do {
		pid = waitpid(a->pid, &status, WNOHANG);
	} while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return;
	(void)event_del(a->exit);
	(void)event_del(a->timer);
	a->pid = 0;
	a->status = status;
	if (a->life < 0)
		judge_end(a, status);
	else
		set_timer(a, WRITER_END_MS);
}

/* ----------------------------------------------------- the courier's start */

static bool
make_job_file(struct attempt *a, int *fd, struct error *err)
{
	struct wire_writer w;
	bool ok = false;

	wire_writer_init(&w, PUBLISH_FRAME_MAX);
	publish_job_encode(&a->job, &w);
	*fd = memfd_create("publication-job", MFD_CLOEXEC);
	if (*fd < 0) {
		error_set_errno(err, ERROR_SYSTEM, "creating a publication job");
		goto out;
	}
	if (!publish_frame_write(*fd, &w, err))
		goto out;
	if (lseek(*fd, 0, SEEK_SET) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "rewinding a publication job");
		goto out;
	}
	ok = true;
out:
	wire_writer_free(&w);
	return ok;
}

static bool
spawn_courier(struct attempt *a, int peer, struct error *err)
{
	char name[] = "chanceryd", option[] = "--role", role[] = "courier";
	char *argv[] = {name, option, role, NULL};
	char **environment = process_environment(false, NULL, 0);
	bool ok;

	if (environment == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "memory for a courier");
	ok = process_spawn(a->program, argv, environment, peer, &a->pid, err);
	process_environment_free(environment);
	return ok;
}

static bool
watch_courier(struct attempt *a, struct error *err)
{
	a->pidfd = pidfd_open(a->pid, 0);
	if (a->pidfd < 0)
		return error_set_errno(err, ERROR_SYSTEM, "watching a courier");
	a->exit = event_new(a->base, a->pidfd, EV_READ | EV_PERSIST, on_exit_of_courier, a);
	if (a->exit == NULL || event_add(a->exit, NULL) < 0)
		return error_set(err, ERROR_SYSTEM, "no memory to watch a courier");
	return true;
}

/* *socket: the courier's end. */
static bool
call_writer(struct attempt *a, int *socket, struct error *err)
{
	int pair[2] = {-1, -1}, life[2] = {-1, -1};
	bool ok = false;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    pipe2(life, O_CLOEXEC) < 0)
		error_set_errno(err, ERROR_SYSTEM, "descriptors for a writer");
	else if ((a->gone = event_new(a->base, life[0], EV_READ, on_gone, a)) == NULL ||
		 event_add(a->gone, NULL) < 0)
		error_set(err, ERROR_SYSTEM, "no memory to watch a writer");
	else
		ok = writers_call(a->writers, a->job.writer, pair[1], life[1], err);
	*socket = pair[0];
	a->life = life[0];
	if (pair[1] >= 0)
		(void)close(pair[1]);
	if (life[1] >= 0)
		(void)close(life[1]);
	return ok;
}

static bool
start_courier(struct attempt *a, int artifact, struct error *err)
{
	int64_t left = a->deadline_ms - monotonic_ms() - COURIER_HEAD_START_MS;
	int pair[2] = {-1, -1}, fds[] = {-1, artifact, -1};
	bool writes = a->job.writer[0] != '\0', ok = false;

	if (left < COURIER_HEAD_START_MS)
		return error_set(err, ERROR_TIMEOUT,
		    "reading the artifact from the database left no time to publish it");
	a->job.timeout_ms = (uint32_t)(left < INT32_MAX ? left : INT32_MAX);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "a socket for a courier");
		goto out;
	}
	a->socket = pair[0];
	if (!make_job_file(a, &fds[0], err) || (writes && !call_writer(a, &fds[2], err)) ||
	    !publish_descriptors_send(a->socket, fds, writes ? 3 : 2, err) ||
	    !spawn_courier(a, pair[1], err) || !watch_courier(a, err))
		goto out;
	ok = true;
out:
	if (fds[0] >= 0)
		(void)close(fds[0]);
	if (fds[2] >= 0)
		(void)close(fds[2]);
	if (pair[1] >= 0)
		(void)close(pair[1]);
	return ok;
}

static void
on_spooled(int fd, const struct error *err, void *arg)
{
	struct attempt *a = arg;

	if (err != NULL) {
		a->result.error = *err;
		finish_failed(a);
		return;
	}
	a->state = ATTEMPT_RUNNING;
	if (!start_courier(a, fd, &a->result.error))
		finish_failed(a);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;

	(void)fd;
	(void)what;
	switch (a->state) {
	case ATTEMPT_SPOOLING:
		error_set(&a->result.error, ERROR_TIMEOUT,
		    "the artifact could not be read from the database in time");
		finish_failed(a);
		break;
	case ATTEMPT_RUNNING:
		if (a->pid > 0) {
			a->killed = true;
			(void)kill(a->pid, SIGKILL);
			break;
		}
		log_warning(a->job.target, "the process that writes as user %s does not end",
		    a->job.writer);
		judge_end(a, a->status);
		break;
	case ATTEMPT_ENDED:
		a->end(a, &a->result, a->arg);
		break;
	}
}

/* -------------------------------------------------------- from claim to job */

static bool
copy_text(char *out, size_t size, const char *text, const char *what, struct error *err)
{
	if (text == NULL || strlen(text) >= size)
		return error_set(
		    err, ERROR_LIMIT, "the target's %s is longer than %zu octets", what, size - 1);
	(void)snprintf(out, size, "%s", text);
	return true;
}

/* How many there are, and how many octets in all. */
static bool
measure(struct db_array left, size_t max, size_t *count, size_t *total, struct error *err)
{
	struct bytes der;

	for (*count = 0; db_array_next(&left, &der); *total += der.len) {
		if (der.len > PUBLISH_COMPANION_MAX || ++*count > max)
			return error_set(err, ERROR_LIMIT,
			    "a directory entry holds at most %zu certificates of %d octets beside "
			    "the CA's own",
			    max, PUBLISH_COMPANION_MAX);
	}
	return true;
}

/* Appends those of the array; out[i] points to where they are now. */
static void
keep_certificates(struct attempt *a, struct db_array left, size_t *used, struct bytes *out)
{
	struct bytes der;

	for (size_t i = 0; db_array_next(&left, &der); i++) {
		memcpy(a->companions + *used, der.p, der.len);
		out[i] = (struct bytes){a->companions + *used, der.len};
		*used += der.len;
	}
}

/* The octets are copied: the claim's are gone soon. */
static bool
copy_certificates(struct attempt *a, const struct db_publish_claim *c, struct error *err)
{
	struct publish_job *job = &a->job;
	size_t total = c->issuer.len, used = 0;

	if (c->issuer.len > PUBLISH_COMPANION_MAX)
		return error_set(err, ERROR_LIMIT, "the CA's certificate is longer than %d octets",
		    PUBLISH_COMPANION_MAX);
	job->crossed = c->crossed;
	if (!measure(c->companions, PUBLISH_COMPANIONS_MAX, &job->companion_count, &total, err) ||
	    (c->crossed &&
		!measure(c->crosses, PUBLISH_CROSSES_MAX, &job->cross_count, &total, err)))
		return false;
	/* That the certificate stands there does not say that the others do. */
	job->look_first = a->retry && job->companion_count == 0 && !job->crossed;
	if ((a->companions = malloc(total + 1)) == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "memory for CA certificates");
	if (c->issuer.len > 0) {
		memcpy(a->companions, c->issuer.p, c->issuer.len);
		job->issuer = (struct bytes){a->companions, c->issuer.len};
		used = c->issuer.len;
	}
	keep_certificates(a, c->companions, &used, job->companions);
	if (c->crossed)
		keep_certificates(a, c->crosses, &used, job->crosses);
	return true;
}

/* The database says where; what the host's operators did not allow is not touched,
 * with or without a sandbox. */
static const struct config_publish_dir *
find_place(const char *url, const struct config_publish_dirs *dirs, struct error *err)
{
	char path[PUBLISH_URL_MAX];

	return file_place_parse(url, path, sizeof path, err) ? file_place_find(path, dirs, err)
							     : NULL;
}

/* And whose a file is. */
static bool
check_places(struct publish_job *job, const struct attempt_settings *settings, struct error *err)
{
	const struct config_publish_dir *dir;

	if (job->kind == TARGET_FILE) {
		dir = find_place(job->write_url, settings->publish_dirs, err);
		if (dir == NULL)
			return false;
		(void)snprintf(job->writer, sizeof job->writer, "%s", dir->user.name);
	}
	return !file_place_is_one(job->read_url) ||
	       find_place(job->read_url, settings->publish_dirs, err) != NULL;
}

static bool
find_secrets(struct publish_job *job, const struct attempt_settings *settings,
    const struct db_publish_claim *c, struct error *err)
{
	if (c->credential[0] != '\0' && !credential_path(settings->credentials_dir, c->credential,
					    job->credential_path, sizeof job->credential_path, err))
		return false;
	if (c->certificate[0] != '\0' &&
	    !credential_path(settings->credentials_dir, c->certificate, job->certificate_path,
		sizeof job->certificate_path, err))
		return false;
	return job->kind != TARGET_COMMAND || command_path(settings->commands_dir, c->write_url,
						  job->command_path, sizeof job->command_path, err);
}

static bool
make_job(struct attempt *a, const struct attempt_settings *settings,
    const struct db_publish_claim *c, struct error *err)
{
	struct publish_job *job = &a->job;

	if (!target_kind_parse(c->kind, &job->kind) ||
	    !artifact_kind_parse(c->artifact, &job->artifact) ||
	    !target_tls_parse(c->tls, &job->tls) || !target_auth_parse(c->auth, &job->auth) ||
	    !target_schema_parse(c->schema, &job->schema))
		return error_set(err, ERROR_INPUT,
		    "the target's kind '%s', tls '%s', auth '%s' or schema '%s' is unknown",
		    c->kind, c->tls, c->auth, c->schema);
	if (c->size <= 0 || c->sha256.len != PUBLISH_SHA256_LEN)
		return error_set(err, ERROR_INTERNAL, "artifact %lld is not complete",
		    (long long)c->artifact_id);
	if (!copy_text(job->write_url, sizeof job->write_url, c->write_url, "write URL", err) ||
	    !copy_text(job->read_url, sizeof job->read_url, c->read_url, "read URL", err) ||
	    !copy_text(job->bind_dn, sizeof job->bind_dn, c->bind_dn, "bind_dn", err) ||
	    !copy_text(job->region, sizeof job->region, c->region, "region", err) ||
	    !copy_text(job->user, sizeof job->user, c->user, "user", err) ||
	    !copy_text(job->group, sizeof job->group, c->group, "group", err) ||
	    !copy_text(job->requester, sizeof job->requester, c->requester, "requester", err) ||
	    !copy_text(job->entry, sizeof job->entry, c->entry, "entry", err) ||
	    !copy_text(job->host_key, sizeof job->host_key, c->host_key, "host_key", err))
		return false;
	if (settings->ca_file != NULL &&
	    !copy_text(job->ca_file, sizeof job->ca_file, settings->ca_file, "ca_file", err))
		return false;
	if (settings->krb5_config != NULL && !copy_text(job->krb5_config, sizeof job->krb5_config,
						 settings->krb5_config, "krb5_config", err))
		return false;
	if (!find_secrets(job, settings, c, err))
		return false;
	if (!check_places(job, settings, err))
		return false;
	job->sandbox = settings->sandbox;
	job->mode = (uint16_t)(strtoul(c->mode, NULL, 8) & PUBLISH_MODE_MAX);
	job->webdav = c->webdav;
	job->absent = c->absent;
	job->vouched = c->vouched;
	job->size = (uint64_t)c->size;
	memcpy(job->sha256, c->sha256.p, PUBLISH_SHA256_LEN);
	return copy_certificates(a, c, err);
}

static struct attempt *
attempt_new(const struct attempt_settings *settings, int64_t deadline_ms, attempt_end_fn *end,
    void *arg, struct error *err)
{
	struct attempt *a = calloc(1, sizeof *a);

	if (a == NULL || (a->program = strdup(settings->program)) == NULL ||
	    (a->timer = evtimer_new(settings->base, on_timer, a)) == NULL) {
		if (a != NULL)
			free(a->program);
		free(a);
		error_set(err, ERROR_SYSTEM, "no memory for a publication");
		return NULL;
	}
	a->base = settings->base;
	a->deadline_ms = deadline_ms;
	a->started_ms = monotonic_ms();
	a->pidfd = a->socket = a->found = a->life = -1;
	a->writers = settings->writers;
	a->end = end;
	a->arg = arg;
	set_timer(a, deadline_ms - a->started_ms);
	return a;
}

struct attempt *
attempt_start(const struct attempt_settings *settings, const struct db_publish_claim *c,
    int64_t deadline_ms, attempt_end_fn *end, void *arg, struct error *err)
{
	struct attempt *a = attempt_new(settings, deadline_ms, end, arg, err);

	if (a == NULL)
		return NULL;
	a->publication = c->publication;
	a->epoch = c->epoch;
	a->artifact_id = c->artifact_id;
	a->target_id = c->target_id;
	a->retry = c->attempts > 1;
	(void)snprintf(a->job.target, sizeof a->job.target, "%s", c->target);
	if (!make_job(a, settings, c, &a->result.error) ||
	    (a->ticket = spool_take(settings->spool, a->artifact_id, a->job.size, a->job.sha256,
		 on_spooled, a, &a->result.error)) == NULL)
		finish_failed(a);
	return a;
}

/* As large as it will ever be: a courier that was taken over cannot make it grow. */
static bool
make_room(struct attempt *a, struct error *err)
{
	a->found = memfd_create("look", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (a->found < 0 || ftruncate(a->found, LOOK_KEPT_MAX) < 0 ||
	    fcntl(a->found, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "memory for what is fetched");
	return true;
}

struct attempt *
attempt_look(const struct attempt_settings *settings, const char *url, enum artifact_kind kind,
    const uint8_t *wanted, int64_t deadline_ms, attempt_end_fn *end, void *arg, struct error *err)
{
	struct attempt *a = attempt_new(settings, deadline_ms, end, arg, err);
	struct error *why;

	if (a == NULL)
		return NULL;
	why = &a->result.error;
	a->state = ATTEMPT_RUNNING;
	a->job.look = true;
	/* Its writer is never asked; the address is no file's. */
	a->job.kind = TARGET_HTTP;
	a->job.artifact = kind;
	a->job.sandbox = settings->sandbox;
	if (wanted != NULL)
		memcpy(a->job.sha256, wanted, sizeof a->job.sha256);
	if (file_place_is_one(url))
		error_set(why, ERROR_INPUT, "%s is no place on the network", url);
	if (error_is_set(why) ||
	    !copy_text(a->job.target, sizeof a->job.target, "look", "name", why) ||
	    !copy_text(a->job.write_url, sizeof a->job.write_url, url, "URL", why) ||
	    !copy_text(a->job.read_url, sizeof a->job.read_url, url, "URL", why) ||
	    (settings->ca_file != NULL && !copy_text(a->job.ca_file, sizeof a->job.ca_file,
					      settings->ca_file, "ca_file", why)) ||
	    !make_room(a, why) || !start_courier(a, a->found, why))
		finish_failed(a);
	return a;
}

int
attempt_found(const struct attempt *a)
{
	return a->found;
}

void
attempt_free(struct attempt *a)
{
	if (a == NULL)
		return;
	spool_return(a->ticket);
	if (a->exit != NULL)
		event_free(a->exit);
	event_free(a->timer);
	if (a->pid > 0) {
		(void)kill(a->pid, SIGKILL);
		(void)waitpid(a->pid, NULL, 0);
	}
	if (a->pidfd >= 0)
		(void)close(a->pidfd);
	if (a->socket >= 0)
		(void)close(a->socket);
	if (a->found >= 0)
		(void)close(a->found);
	if (a->gone != NULL)
		event_free(a->gone);
	if (a->life >= 0)
		(void)close(a->life);
	free(a->companions);
	free(a->program);
	free(a);
}

int64_t
attempt_publication(const struct attempt *a)
{
	return a->publication;
}

int
attempt_epoch(const struct attempt *a)
{
	return a->epoch;
}

int64_t
attempt_artifact(const struct attempt *a)
{
	return a->artifact_id;
}

int64_t
attempt_target_id(const struct attempt *a)
{
	return a->target_id;
}

const char *
attempt_target(const struct attempt *a)
{
	return a->job.target;
}

const char *
attempt_kind(const struct attempt *a)
{
	return artifact_kind_name(a->job.artifact);
}

bool
attempt_is_retry(const struct attempt *a)
{
	return a->retry;
}

bool
attempt_takes_out(const struct attempt *a)
{
	return a->job.absent;
}
