#include "daemon/publish/confine.h"

#include "daemon/core/sandbox.h"
#include "daemon/publish/file_place.h"

static void
allow_place(struct sandbox *s, enum sandbox_access access, const char *url)
{
	char path[PUBLISH_URL_MAX];
	struct error ignored = ERROR_INIT;

	/* What is wrong with it is told when it is used. */
	if (file_place_parse(url, path, sizeof path, &ignored))
		sandbox_directory_of(s, access, path);
}

bool
confine_courier(const struct publish_job *job, struct error *err)
{
	struct sandbox *s;

	/* A program of the operators' needs what nobody here knows: it stays in the
	 * issuer's sandbox. */
	if (job->kind == TARGET_COMMAND)
		return true;
	s = sandbox_new(SANDBOX_COURIER, job->sandbox);
	sandbox_system_files(s);
	if (job->credential_path[0] != '\0')
		sandbox_path(s, SANDBOX_READ, job->credential_path);
	if (job->certificate_path[0] != '\0')
		sandbox_path(s, SANDBOX_READ, job->certificate_path);
	if (job->ca_file[0] != '\0')
		sandbox_path(s, SANDBOX_READ, job->ca_file);
	if (job->krb5_config[0] != '\0')
		sandbox_path(s, SANDBOX_READ, job->krb5_config);
	if (job->kind == TARGET_FILE)
		allow_place(
		    s, job->writer[0] != '\0' ? SANDBOX_READ : SANDBOX_WRITE, job->write_url);
	if (file_place_is_one(job->read_url))
		allow_place(s, SANDBOX_READ, job->read_url);
	sandbox_sockets(s, true, true);
	return sandbox_enter(s, NULL, err);
}
