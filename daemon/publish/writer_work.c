#include "daemon/publish/writer_work.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/publish/file_place.h"
#include "daemon/publish/job.h"

/* ---- the courier */

static bool
read_answer(const struct target_work *work, struct publish_result *result, struct error *err)
{
	struct error why = ERROR_INIT;
	uint8_t *frame = NULL;
	size_t len;
	bool ok;

	if (!publish_frame_read(work->writer->socket, &frame, &len, &why))
		return error_set(err, ERROR_UNAVAILABLE,
		    "the process that writes %s as user %s ended before it was done",
		    work->job->write_url, work->job->writer);
	ok = publish_result_decode(frame, len, result, err);
	free(frame);
	return ok;
}

bool
writer_ask(const struct target_work *work, struct error *err)
{
	const int fds[] = {work->writer->job, work->artifact_fd};
	struct publish_result *result = calloc(1, sizeof *result);
	bool ok = false;

	if (result == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "memory for a writer's answer");
	/* It was read once, by us. */
	if (lseek(work->writer->job, 0, SEEK_SET) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "rewinding a publication job");
		goto out;
	}
	if (!publish_descriptors_send(work->writer->socket, fds, COUNT_OF(fds), err) ||
	    !read_answer(work, result, err))
		goto out;
	ok = result->outcome == PUBLISH_SAME;
	if (!ok && result->error.text[0] != '\0')
		*err = result->error;
	/* Nobody would see why. */
	if (!ok)
		error_set(err, ERROR_INTERNAL,
		    "the process that writes %s as user %s does not say why it failed",
		    work->job->write_url, work->job->writer);
out:
	free(result);
	return ok;
}

/* ---- the writer's process */

struct writer_place
writer_place_at(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return (struct writer_place){.there = false};
	return (struct writer_place){true, st.st_dev, st.st_ino};
}

static bool
is_same(const struct writer_place *a, const struct writer_place *b)
{
	return a->there == b->there && (!a->there || (a->dev == b->dev && a->ino == b->ino));
}

/* *anew: it would be, but our sandbox knows another directory. */
static bool
is_ours(const struct publish_job *job, const struct writer_places *places, bool *anew,
    struct error *err)
{
	const struct config_publish_dir *dir;
	char path[PUBLISH_URL_MAX];
	struct writer_place now;

	if (job->kind != TARGET_FILE)
		return error_set(err, ERROR_INPUT, "a writer writes nothing but files");
	if (!file_place_parse(job->write_url, path, sizeof path, err) ||
	    (dir = file_place_find(path, &places->dirs, err)) == NULL)
		return false;
	now = writer_place_at(dir->path);
	*anew = now.there && !is_same(&now, &places->seen[dir - places->dirs.items]);
	if (*anew)
		return error_set(err, ERROR_UNAVAILABLE,
		    "%s was made, moved or mounted after the start of the process that writes "
		    "there, which starts anew for it",
		    dir->path);
	return true;
}

int
writer_work(int socket, const struct writer_places *places)
{
	struct publish_result *result = calloc(1, sizeof *result);
	struct publish_job *job = calloc(1, sizeof *job);
	struct error err = ERROR_INIT;
	int fds[2] = {-1, -1}, status = 1;
	struct target_work work;
	uint8_t *frame = NULL;
	size_t len, count;
	bool anew = false;

	if (result == NULL || job == NULL) {
		error_set_errno(&err, ERROR_SYSTEM, "memory for a writer");
		goto out;
	}
	if (!publish_descriptors_receive(socket, fds, COUNT_OF(fds), COUNT_OF(fds), &count, &err)) {
		/* The courier found all well, or cannot write now. */
		if (err.code == ERROR_UNAVAILABLE) {
			error_clear(&err);
			status = 0;
		}
		goto out;
	}
	if (!publish_frame_read(fds[0], &frame, &len, &err) ||
	    !publish_job_decode(frame, len, job, &err))
		goto out;
	/* The courier has looked at the artifact as well; but what we are asked is not for it to
	 * promise. Nothing is read back here: that it is the same is the courier's to find. */
	work = (struct target_work){.job = job, .artifact_fd = fds[1]};
	result->outcome = PUBLISH_FAILED;
	if (is_ours(job, places, &anew, &result->error) &&
	    target_check_artifact(&work, &result->error) && target_file.put(&work, &result->error))
		result->outcome = PUBLISH_SAME;
	if (publish_result_write(socket, result, &err))
		status = anew ? WRITER_WORK_ANEW : 0;
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
