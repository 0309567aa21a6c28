#include "daemon/publish/target.h"

#include <stdio.h>
#include <sys/stat.h>

#include "daemon/core/monotonic.h"

const struct target_driver *
target_driver_of(enum target_kind kind)
{
	static const struct target_driver *const drivers[] = {
	    [TARGET_FILE] = &target_file,
	    [TARGET_HTTP] = &target_http,
	    [TARGET_LDAP] = &target_ldap,
	    [TARGET_SFTP] = &target_sftp,
	    [TARGET_COMMAND] = &target_command,
	};

	return (size_t)kind < COUNT_OF(drivers) ? drivers[kind] : NULL;
}

long
target_left_ms(const struct target_work *work)
{
	int64_t left = work->deadline_ms - monotonic_ms();

	return left > 1 ? (long)left : 1;
}

bool
target_check_artifact(const struct target_work *work, struct error *err)
{
	struct stat st;

	if (fstat(work->artifact_fd, &st) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "looking at the artifact");
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != work->job->size)
		return error_set(err, ERROR_INTERNAL, "the artifact's file is not of its size");
	return true;
}

bool
target_part_name(const struct publish_job *job, const char *final_name, char *out, size_t size)
{
	const uint8_t *d = job->sha256;
	int n;

	n = snprintf(out, size, ".%s.%02x%02x%02x%02x%02x%02x%02x%02x.part", final_name, d[0], d[1],
	    d[2], d[3], d[4], d[5], d[6], d[7]);
	return n > 0 && (size_t)n < size;
}
