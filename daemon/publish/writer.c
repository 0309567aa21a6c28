#include "daemon/publish/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/role.h"
#include "daemon/core/sandbox.h"
#include "daemon/publish/job.h"
#include "daemon/publish/outbox.h"
#include "daemon/publish/writer_work.h"

/* As many as an issuer has couriers, and as many again that are just ending. */
#define WORKERS_MAX (2 * OUTBOX_COURIERS_MAX)
#define SOCKET_FD 3 /* in a worker */
#define LIFE_FD 4
#define HIGH_FD 16 /* above everything that is put in place */

/* A process for one file. */
struct worker {
	struct writer *writer;
	pid_t pid;
	int socket;	      /* the same as the worker's */
	int life;	      /* closed when it has ended */
	struct event *hangup; /* its courier has ended */
	bool killed;
	TAILQ_ENTRY(worker) link;
};

struct writer {
	struct role *role;
	struct writer_places places;
	int channel;   /* to the issuer; -1: none */
	bool stopping; /* once nothing is at work any more */
	struct event *asked, *ended;
	size_t count;  /* of workers ... */
	size_t killed; /* ... of which so many were killed and have not ended */
	TAILQ_HEAD(worker_list, worker) workers;
};

/* ---------------------------------------------------------------- a worker */

static bool
place_descriptors(int socket, int life)
{
	int high[2] = {
	    fcntl(socket, F_DUPFD_CLOEXEC, HIGH_FD), fcntl(life, F_DUPFD_CLOEXEC, HIGH_FD)};

	return high[0] >= 0 && high[1] >= 0 && dup2(high[0], SOCKET_FD) >= 0 &&
	       dup2(high[1], LIFE_FD) >= 0 && close_range(LIFE_FD + 1, UINT_MAX, 0) == 0;
}

static NORETURN void
be_worker(const struct writer *w, int socket, int life, pid_t parent)
{
	static const int handled[] = {SIGTERM, SIGCHLD};
	sigset_t none;

	for (size_t i = 0; i < COUNT_OF(handled); i++)
		(void)signal(handled[i], SIG_DFL);
	/* A file above the limit is an error with a sentence, no death. */
	(void)signal(SIGXFSZ, SIG_IGN);
	if (!place_descriptors(socket, life) || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 ||
	    getppid() != parent)
		_exit(127);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	_exit(writer_work(SOCKET_FD, &w->places));
}

static void
kill_worker(struct worker *k)
{
	k->writer->killed += !k->killed;
	k->killed = true;
	(void)kill(k->pid, SIGKILL);
}

/* Reads from the issuer unless something that was killed has not ended yet. */
static void
listen_or_wait(struct writer *w)
{
	if (w->asked == NULL)
		return;
	if (w->stopping || w->killed > 0) {
		(void)event_del(w->asked);
	} else if (event_add(w->asked, NULL) < 0) {
		log_error("-", "no memory to listen to the issuer");
		role_stop(w->role, 1);
	}
}

static void
on_hangup(evutil_socket_t fd, short what, void *arg)
{
	struct worker *k = arg;

	kill_worker(k);
	listen_or_wait(k->writer);
}

static void
free_worker(struct worker *k)
{
	TAILQ_REMOVE(&k->writer->workers, k, link);
	k->writer->count--;
	k->writer->killed -= k->killed;
	if (k->hangup != NULL)
		event_free(k->hangup);
	(void)close(k->socket);
	(void)close(k->life);
	free(k);
}

/* Takes both descriptors over. */
static bool
start_worker(struct writer *w, int socket, int life, struct error *err)
{
	struct worker *k = w->count < WORKERS_MAX ? calloc(1, sizeof *k) : NULL;
	pid_t parent = getpid();
	sigset_t all, before;

	if (k == NULL) {
		(void)close(socket);
		(void)close(life);
		return error_set(err, ERROR_LIMIT, "too many files at once");
	}
	*k = (struct worker){.writer = w, .socket = socket, .life = life};
	TAILQ_INSERT_TAIL(&w->workers, k, link);
	w->count++;
	/* No handler of ours may run in the child before it reset them. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	k->pid = fork();
	if (k->pid == 0)
		be_worker(w, socket, life, parent);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	if (k->pid < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot start a process for a file");
		free_worker(k);
		return false;
	}
	k->hangup = event_new(role_base(w->role), socket, EV_CLOSED, on_hangup, k);
	if (k->hangup == NULL || event_add(k->hangup, NULL) < 0) {
		/* Nobody would end it. */
		kill_worker(k);
		listen_or_wait(w);
		return error_set(err, ERROR_SYSTEM, "cannot watch a courier");
	}
	return true;
}

/* -------------------------------------------------------------- the issuer */

static void
leave_issuer(struct writer *w)
{
	struct worker *k;

	if (w->asked != NULL)
		event_free(w->asked);
	if (w->channel >= 0)
		(void)close(w->channel);
	w->asked = NULL;
	w->channel = -1;
	TAILQ_FOREACH(k, &w->workers, link)
	kill_worker(k);
}

static void
on_asked(evutil_socket_t fd, short what, void *arg)
{
	struct error err = ERROR_INIT;
	struct writer *w = arg;
	size_t count;
	int fds[2];

	if (!publish_descriptors_receive(
		w->channel, fds, COUNT_OF(fds), COUNT_OF(fds), &count, &err)) {
		/* Normally it has ended; and one that talks like this is no issuer. */
		if (err.code != ERROR_UNAVAILABLE)
			log_failure(LOG_LEVEL_ERROR, "-", &err);
		leave_issuer(w);
		return;
	}
	if (!start_worker(w, fds[0], fds[1], &err))
		log_failure(LOG_LEVEL_ERROR, "-", &err);
}

static void
on_channel(const char *user, int fd, void *arg)
{
	struct writer *w = arg;

	leave_issuer(w);
	w->channel = fd;
	w->asked = event_new(role_base(w->role), fd, EV_READ | EV_PERSIST, on_asked, w);
	if (w->asked == NULL)
		role_stop(w->role, 1);
	listen_or_wait(w);
}

/* ---------------------------------------------------------------- the role */

static void
stop_when_idle(struct writer *w)
{
	if (w->stopping && w->count == 0)
		role_stop(w->role, 0);
}

static void
on_drain(void *arg)
{
	struct writer *w = arg;

	w->stopping = true;
	listen_or_wait(w);
	stop_when_idle(w);
}

static void
on_ended(evutil_socket_t fd, short what, void *arg)
{
	struct worker *k, *next;
	struct writer *w = arg;
	int status;

	for (k = TAILQ_FIRST(&w->workers); k != NULL; k = next) {
		next = TAILQ_NEXT(k, link);
		if (waitpid(k->pid, &status, WNOHANG) != k->pid)
			continue;
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
			log_error(
			    "-", "the process for a file died of signal %d", WTERMSIG(status));
		if (WIFEXITED(status) && WEXITSTATUS(status) == WRITER_WORK_ANEW && !w->stopping) {
			log_info(
			    "-", "a directory is another one than at the start: starting anew");
			w->stopping = true;
		}
		free_worker(k);
	}
	listen_or_wait(w);
	stop_when_idle(w);
}

static const struct role_callbacks role_callbacks = {
    .on_writer_channel = on_channel,
    .on_drain = on_drain,
};

static bool
confine(const struct writer *w, struct error *err)
{
	const char *word = getenv(SANDBOX_VARIABLE);
	enum sandbox_mode mode = SANDBOX_REQUIRE;
	struct sandbox *s;

	if (word != NULL && !sandbox_mode_parse(word, &mode))
		return error_set(err, ERROR_CONFIG, SANDBOX_VARIABLE " has no mode");
	s = sandbox_new(SANDBOX_WRITER, mode);
	/* Names of groups. */
	sandbox_system_files(s);
	for (size_t i = 0; i < w->places.dirs.count; i++)
		sandbox_path(s, SANDBOX_WRITE, w->places.dirs.items[i].path);
	return sandbox_enter(s, NULL, err);
}

/* What an operator would otherwise learn from the first failure only. */
static void
tell_of_directories(const struct writer *w)
{
	for (size_t i = 0; i < w->places.dirs.count; i++) {
		const char *path = w->places.dirs.items[i].path;

		if (access(path, W_OK | X_OK) == 0)
			continue;
		role_status(w->role, "user id %u cannot write in %s: %s", (unsigned)geteuid(), path,
		    strerror(errno));
	}
}

static bool
set_up(struct writer *w, const char *name, int control_fd, char *const *directories, size_t count,
    struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		w->places.dirs.items[i].path = directories[i];
		w->places.seen[i] = writer_place_at(directories[i]);
	}
	w->places.dirs.count = count;
	if (!confine(w, err) ||
	    (w->role = role_new(name, control_fd, &role_callbacks, w, err)) == NULL)
		return false;
	w->ended = evsignal_new(role_base(w->role), SIGCHLD, on_ended, w);
	if (w->ended == NULL || evsignal_add(w->ended, NULL) < 0)
		return error_set(err, ERROR_SYSTEM, "cannot watch signals of role %s", name);
	tell_of_directories(w);
	role_ready(w->role);
	return true;
}

int
writer_main(const char *name, int control_fd, char *const *directories, size_t count)
{
	struct writer w = {.channel = -1};
	struct error err = ERROR_INIT;
	int status = 1;

	log_init(name, LOG_LEVEL_INFO);
	TAILQ_INIT(&w.workers);
	w.places.dirs.items = calloc(count + 1, sizeof *w.places.dirs.items);
	w.places.seen = calloc(count + 1, sizeof *w.places.seen);
	if (w.places.dirs.items == NULL || w.places.seen == NULL)
		error_set_errno(&err, ERROR_SYSTEM, "memory for a writer");
	else if (set_up(&w, name, control_fd, directories, count, &err))
		status = role_run(w.role);
	if (error_is_set(&err))
		log_failure(LOG_LEVEL_ERROR, "-", &err);
	/* With us ends what we started. */
	leave_issuer(&w);
	while (!TAILQ_EMPTY(&w.workers)) {
		(void)waitpid(TAILQ_FIRST(&w.workers)->pid, NULL, 0);
		free_worker(TAILQ_FIRST(&w.workers));
	}
	if (w.ended != NULL)
		event_free(w.ended);
	role_free(w.role);
	free(w.places.dirs.items);
	free(w.places.seen);
	return status;
}
