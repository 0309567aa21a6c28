/* File targets: whole or not at all. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <openssl/sha.h>

#include <cmocka.h>

#include "daemon/publish/readback.h"
#include "daemon/publish/target.h"

static char folder[64];
static struct publish_job job;

static int
artifact_of(const void *data, size_t len)
{
	int fd = memfd_create("artifact", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	job.size = len;
	assert_non_null(SHA256(data, len, job.sha256));
	return fd;
}

static struct target_work
work_with(int fd)
{
	struct timespec now;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (struct target_work){&job, fd, (int64_t)now.tv_sec * 1000 + 100000, NULL, NULL};
}

static size_t
count_files(void)
{
	DIR *d = opendir(folder);
	size_t n = 0;

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static bool
stands(void)
{
	struct publish_result r = {0};
	struct target_work w = work_with(-1);
	struct error err = ERROR_INIT;

	return readback_compare(&w, &r, &err) && r.outcome == PUBLISH_SAME;
}

static bool
put(const void *data, size_t len, struct error *err)
{
	int fd = artifact_of(data, len);
	struct target_work w = work_with(fd);
	bool ok = target_driver_of(TARGET_FILE)->put(&w, err);

	close(fd);
	return ok;
}

static int
set_up(void **state)
{
	(void)state;
	memset(&job, 0, sizeof job);
	(void)snprintf(folder, sizeof folder, "/tmp/chancery-file-XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(job.write_url, sizeof job.write_url, "%s/demo.crl", folder);
	(void)snprintf(job.read_url, sizeof job.read_url, "file://%s/demo.crl", folder);
	job.mode = 0644;
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}

static void
test_put_and_replace(void **state)
{
	struct error err = ERROR_INIT;
	struct stat st;
	mode_t mask;

	(void)state;
	mask = umask(0077);
	assert_true(put("first", 5, &err));
	umask(mask);
	assert_true(stands());
	assert_int_equal(stat(job.write_url, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_true(put("second one", 10, &err));
	assert_true(stands());
	assert_int_equal(count_files(), 1);
}

/* In the library's place: what the disk was asked to keep, and what stood there then. */
static struct {
	bool is_folder;
	off_t stood;
} synced[8];
static size_t sync_count;

int
fsync(int fd)
{
	struct stat st, there;

	assert_int_equal(fstat(fd, &st), 0);
	if (sync_count < sizeof synced / sizeof *synced) {
		synced[sync_count].is_folder = S_ISDIR(st.st_mode);
		synced[sync_count].stood = stat(job.write_url, &there) == 0 ? there.st_size : -1;
	}
	sync_count++;
	return (int)syscall(SYS_fsync, fd);
}

/* The new file is on the disk before it has its name, and its name before it counts. */
static void
test_on_the_disk(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	assert_true(put("first", 5, &err));
	sync_count = 0;
	assert_true(put("second one", 10, &err));
	assert_int_equal(sync_count, 2);
	assert_false(synced[0].is_folder);
	assert_int_equal(synced[0].stood, 5);
	assert_true(synced[1].is_folder);
	assert_int_equal(synced[1].stood, 10);
}

static void
test_mode_and_group(void **state)
{
	char name[64] = "", path[sizeof job.write_url];
	struct error err = ERROR_INIT;
	struct group *own = getgrgid(getgid());
	struct stat st;

	(void)state;
	(void)snprintf(path, sizeof path, "%s", job.write_url);
	job.mode = 0640;
	if (own != NULL)
		(void)snprintf(name, sizeof name, "%s", own->gr_name);
	(void)snprintf(job.group, sizeof job.group, "%s", name);
	assert_true(put("for some", 8, &err));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(st.st_gid, getgid());
	/* What cannot be given away is not published, and what stood there stays. */
	(void)snprintf(job.group, sizeof job.group, "no-such-group");
	assert_false(put("for nobody", 10, &err));
	assert_non_null(strstr(err.text, "there is no group 'no-such-group'"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8);
	assert_int_equal(count_files(), 1);
	job.mode = 0644;
	job.group[0] = '\0';
}

static void
test_leftover_is_replaced(void **state)
{
	struct error err = ERROR_INIT;
	char name[64], path[160];
	int fd;

	(void)state;
	close(artifact_of("first", 5));
	assert_true(target_part_name(&job, "demo.crl", name, sizeof name));
	(void)snprintf(path, sizeof path, "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_true(put("first", 5, &err));
	assert_true(stands());
	assert_int_equal(count_files(), 1);
}

/* What a full disk and a quota look like, without either. */
static void
test_no_room_leaves_old_file(void **state)
{
	struct rlimit before, small = {4096, 0};
	struct error err = ERROR_INIT;
	static char big[20000];
	bool ok;
	int fd;

	(void)state;
	assert_true(put("first", 5, &err));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small.rlim_max = before.rlim_max;
	fd = artifact_of(big, sizeof big);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	{
		struct target_work w = work_with(fd);

		ok = target_driver_of(TARGET_FILE)->put(&w, &err);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	close(fd);
	assert_false(ok);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_string_equal(err.foreign, "EFBIG");
	assert_non_null(strstr(err.text, "no room"));
	assert_int_equal(count_files(), 1);
	close(artifact_of("first", 5));
	assert_true(stands());
}

static void
test_refusals(void **state)
{
	struct error err = ERROR_INIT;

	(void)state;
	(void)snprintf(job.write_url, sizeof job.write_url, "%s/none/demo.crl", folder);
	assert_false(put("x", 1, &err));
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	error_clear(&err);
	(void)snprintf(job.write_url, sizeof job.write_url, "%s", folder);
	assert_false(put("x", 1, &err)); /* a folder stands there */
	error_clear(&err);
	(void)snprintf(job.write_url, sizeof job.write_url, "demo.crl");
	assert_false(put("x", 1, &err));
	assert_int_equal(err.code, ERROR_INPUT);
}

static void
test_read_back_differs(void **state)
{
	struct publish_result r = {0};
	struct error err = ERROR_INIT;
	struct target_work w;
	uint8_t digest[32];

	(void)state;
	assert_true(put("first", 5, &err));
	assert_non_null(SHA256((const uint8_t *)"first", 5, digest));
	close(artifact_of("firsT", 5));
	w = work_with(-1);
	assert_true(readback_compare(&w, &r, &err));
	assert_int_equal(r.outcome, PUBLISH_DIFFERENT);
	assert_int_equal(r.read_size, 5);
	assert_memory_equal(r.read_sha256, digest, sizeof digest);
	assert_int_equal(unlink(job.write_url), 0);
	assert_false(readback_compare(&w, &r, &err));
	assert_int_equal(err.code, ERROR_NOT_FOUND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_put_and_replace, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_on_the_disk, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_mode_and_group, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_leftover_is_replaced, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_room_leaves_old_file, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_read_back_differs, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
