#include "pkcs11/signer_watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "pkcs11/call.h"

/* A call is noticed so much after its time, at the latest. */
#define PERIOD_MS 100
/* For the loop's last words. */
#define LAST_WORDS_MS 2000

struct signer_watch {
	const char *name;
	unsigned int timeout_s;
	int wake_fd, status;
	pthread_t thread;
	pthread_mutex_t lock; /* for what follows */
	pthread_cond_t stop;
	bool stopping, late;
	int member;
	struct error why;
};

/* Under lock. True when it is over. */
static bool
pause_for(struct signer_watch *w, long ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (!w->stopping && pthread_cond_timedwait(&w->stop, &w->lock, &until) == 0)
		;
	return w->stopping;
}

static void
end_process(struct signer_watch *w, const struct call *c)
{
	uint64_t one = 1;

	w->late = true;
	w->member = c->member;
	(void)error_set(&w->why, ERROR_TIMEOUT, "%s has not come back for %lld s", c->name,
	    (long long)(c->age_ms / 1000));
	log_error(w->name, "the module hangs: %s; this process ends", w->why.text);
	if (write(w->wake_fd, &one, sizeof one) < 0 || !pause_for(w, LAST_WORDS_MS))
		_exit(w->status);
}

static void *
watch_main(void *arg)
{
	struct signer_watch *w = arg;
	struct call c;

	(void)pthread_mutex_lock(&w->lock);
	while (!pause_for(w, PERIOD_MS)) {
		if (call_worst(w->timeout_s, &c) && c.age_ms >= c.limit_ms) {
			end_process(w, &c);
			break;
		}
	}
	(void)pthread_mutex_unlock(&w->lock);
	return NULL;
}

static bool
start(struct signer_watch *w)
{
	pthread_condattr_t monotonic;
	sigset_t all, before;
	bool ok;

	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&w->stop, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSYS); /* the sandbox names the call */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(&w->thread, NULL, watch_main, w) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return ok;
}

struct signer_watch *
signer_watch_new(const char *name, unsigned int timeout_s, int wake_fd, int status, struct error *e)
{
	struct signer_watch *w = calloc(1, sizeof *w);

	if (w != NULL) {
		*w = (struct signer_watch){
		    .name = name, .timeout_s = timeout_s, .wake_fd = wake_fd, .status = status};
		if (start(w))
			return w;
	}
	free(w);
	(void)error_set(e, ERROR_SYSTEM, "cannot start a thread to watch the module");
	return NULL;
}

bool
signer_watch_is_late(struct signer_watch *w, int *member, struct error *why)
{
	bool late;

	(void)pthread_mutex_lock(&w->lock);
	late = w->late;
	if (late) {
		*why = w->why;
		*member = w->member;
	}
	(void)pthread_mutex_unlock(&w->lock);
	return late;
}

void
signer_watch_free(struct signer_watch *w)
{
	if (w == NULL)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->stopping = true;
	(void)pthread_cond_signal(&w->stop);
	(void)pthread_mutex_unlock(&w->lock);
	(void)pthread_join(w->thread, NULL);
	(void)pthread_cond_destroy(&w->stop);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}
