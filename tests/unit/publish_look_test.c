/* What a courier keeps of a look: the thing, or of a long one its beginning and digest. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <openssl/sha.h>

#include <cmocka.h>

#include "daemon/publish/look.h"
#include "daemon/publish/target.h"

#define LONG ((size_t)LOOK_KEPT_MAX + 70000)

static struct publish_job job;
static char path[64];
static int kept;

/* What stands at the place. */
static void
put(const uint8_t *p, size_t len)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static bool
look(struct publish_result *result, struct error *err)
{
	struct timespec now;
	struct target_work work = {.job = &job, .artifact_fd = kept};

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	work.deadline_ms = (int64_t)now.tv_sec * 1000 + 100000;
	memset(result, 0, sizeof *result);
	return look_fetch(&work, result, err);
}

static int
set_up(void **state)
{
	int fd;

	(void)state;
	(void)snprintf(path, sizeof path, "/tmp/chancery-look-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	(void)close(fd);
	memset(&job, 0, sizeof job);
	(void)snprintf(job.read_url, sizeof job.read_url, "%s", path);
	kept = memfd_create("kept", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(kept >= 0);
	assert_int_equal(ftruncate(kept, LOOK_KEPT_MAX), 0);
	assert_int_equal(fcntl(kept, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	(void)close(kept);
	(void)unlink(path);
	return 0;
}

static void
test_short_and_long(void **state)
{
	const size_t lengths[] = {1, 70000, (size_t)LOOK_KEPT_MAX, (size_t)LOOK_KEPT_MAX + 1, LONG};
	uint8_t *data = malloc(LONG), *found = malloc(LOOK_KEPT_MAX), sha256[32];
	struct publish_result result;

	(void)state;
	assert_non_null(data);
	assert_non_null(found);
	for (size_t i = 0; i < LONG; i++)
		data[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		size_t n = lengths[i] < LOOK_KEPT_MAX ? lengths[i] : (size_t)LOOK_KEPT_MAX;
		struct error err = ERROR_INIT;

		put(data, lengths[i]);
		assert_true(look(&result, &err));
		assert_int_equal(result.outcome, PUBLISH_SAME);
		assert_int_equal(result.read_size, lengths[i]);
		assert_non_null(SHA256(data, lengths[i], sha256));
		assert_memory_equal(result.read_sha256, sha256, sizeof sha256);
		assert_int_equal(pread(kept, found, n, 0), n);
		assert_memory_equal(found, data, n);
	}
	free(found);
	free(data);
}

static void
test_nothing_there(void **state)
{
	struct publish_result result;
	struct error err = ERROR_INIT, gone = ERROR_INIT;

	(void)state;
	put((const uint8_t *)"", 0);
	assert_false(look(&result, &err));
	assert_non_null(strstr(err.text, "empty"));
	assert_int_equal(unlink(path), 0);
	assert_false(look(&result, &gone));
	assert_int_equal(gone.code, ERROR_NOT_FOUND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_short_and_long, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_nothing_there, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
