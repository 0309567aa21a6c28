#include "daemon/publish/courier.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "daemon/core/control.h"
#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "daemon/publish/confine.h"
#include "daemon/publish/entry.h"
#include "daemon/publish/look.h"
#include "daemon/publish/readback.h"
#include "daemon/publish/standing.h"
#include "daemon/publish/target.h"

#define ROUNDS_MAX 3 /* of looking and writing */

/* The alarm's default action ends the process, whatever it blocks in. */
static bool
arm_deadline(uint32_t timeout_ms, struct error *err)
{
	uint64_t ms = (uint64_t)timeout_ms + COURIER_GRACE_MS;
	struct itimerval at = {
	    .it_value = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000},
	};

	if (signal(SIGALRM, SIG_DFL) == SIG_ERR || setitimer(ITIMER_REAL, &at, NULL) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "arming the courier's alarm");
	return true;
}

static bool
restrict_process(struct error *err)
{
	const struct rlimit none = {0, 0};

	/* A peer that closes, and a file above RLIMIT_FSIZE, are errors with a
	 * sentence, not deaths. */
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return error_set_errno(err, ERROR_SYSTEM, "ignoring signals");
	/* No core: it would hold the target's password. */
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "forbidding core files");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "forbidding new privileges");
	return true;
}

/* Looks and writes; once more where somebody else wrote between the two. A server
 * that refuses again what it has just shown cannot do conditions. True: what
 * stands there now is to be read back. */
static bool
look_and_put(const struct target_work *work, bool *kept, struct publish_result *result)
{
	enum standing standing;

	for (int round = 0;; round++) {
		work->seen->plain = round == ROUNDS_MAX - 1;
		if (!standing_look(work, &standing, result, &result->error))
			return false;
		*kept = standing == STANDING_NEWER;
		if (standing != STANDING_FREE)
			return true;
		if (target_driver_of(work->job->kind)->put(work, &result->error))
			return true;
		if (result->error.code != ERROR_CONFLICT || work->seen->plain)
			return false;
		error_clear(&result->error);
	}
}

/* Writes and reads back, or only finds that all is well already. */
static void
deliver(const struct target_work *work, struct publish_result *result)
{
	struct error ignored = ERROR_INIT;
	bool kept = false;

	if (work->job->look) {
		if (!look_fetch(work, result, &result->error))
			goto failed;
		return;
	}
	if (!target_check_artifact(work, &result->error))
		goto failed;
	if (work->job->artifact == ARTIFACT_CERTIFICATE) {
		entry_deliver(work, result);
		return;
	}
	if (work->job->look_first) {
		if (readback_compare(work, result, &ignored) && result->outcome == PUBLISH_SAME)
			return;
		memset(result, 0, sizeof *result);
	}
	if (!look_and_put(work, &kept, result))
		goto failed;
	if (kept)
		return;
	if (!readback_compare(work, result, &result->error))
		goto failed;
	return;
failed:
	result->outcome = PUBLISH_FAILED;
}

int
courier_main(void)
{
	struct publish_result *result = calloc(1, sizeof *result);
	struct publish_job *job = calloc(1, sizeof *job);
	struct target_seen seen = {0};
	struct error err = ERROR_INIT;
	uint8_t *frame = NULL;
	size_t len = 0, count = 0;
	int fds[PUBLISH_DESCRIPTORS_MAX] = {-1, -1, -1}, status = 1;
	struct target_writer writer;

	log_init("courier", LOG_LEVEL_INFO);
	if (result == NULL || job == NULL) {
		error_set_errno(&err, ERROR_SYSTEM, "memory for a courier");
		goto out;
	}
	if (!restrict_process(&err) ||
	    !publish_descriptors_receive(CONTROL_FD, fds, 2, COUNT_OF(fds), &count, &err) ||
	    !publish_frame_read(fds[0], &frame, &len, &err) ||
	    !publish_job_decode(frame, len, job, &err) || !arm_deadline(job->timeout_ms, &err))
		goto out;
	if ((job->writer[0] != '\0') != (count == COUNT_OF(fds))) {
		error_set(&err, ERROR_INTERNAL, "the job and its descriptors do not fit");
		goto out;
	}
	if (!confine_courier(job, &err))
		goto out;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		error_set(&err, ERROR_SYSTEM, "libcurl does not start");
		goto out;
	}
	writer = (struct target_writer){.socket = fds[2], .job = fds[0]};
	deliver(&(struct target_work){.job = job,
		    .artifact_fd = fds[1],
		    .deadline_ms = monotonic_ms() + job->timeout_ms,
		    .seen = &seen,
		    .writer = count == COUNT_OF(fds) ? &writer : NULL},
	    result);
	curl_global_cleanup();
	if (publish_result_write(CONTROL_FD, result, &err))
		status = 0;
out:
	if (error_is_set(&err))
		log_failure(LOG_LEVEL_ERROR,
		    job != NULL && job->target[0] != '\0' ? job->target : "-", &err);
	publish_descriptors_close(fds, COUNT_OF(fds));
	free(frame);
	free(result);
	free(job);
	return status;
}
