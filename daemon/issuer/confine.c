#include "daemon/issuer/confine.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "daemon/core/sandbox.h"
#include "db/needs.h"

/* Programs of the operators' run as couriers' children, in the issuer's sandbox;
 * most are scripts, which need an interpreter and other programs. */
static void
allow_commands(struct sandbox *s, const char *dir)
{
	sandbox_path(s, SANDBOX_EXECUTE, dir);
	sandbox_path(s, SANDBOX_EXECUTE, "/usr");
	sandbox_path(s, SANDBOX_EXECUTE, "/bin");
	sandbox_path(s, SANDBOX_EXECUTE, "/lib");
	sandbox_path(s, SANDBOX_EXECUTE, "/lib64");
}

bool
confine_issuer(const struct config *cfg, struct error *err)
{
	struct sandbox *s = sandbox_new(SANDBOX_ISSUER, cfg->sandbox);
	char spool[PATH_MAX];

	(void)snprintf(spool, sizeof spool, "%s/spool", cfg->state_dir);
	if (mkdir(spool, 0700) != 0 && errno != EEXIST) {
		error_set_errno(err, ERROR_SYSTEM, "cannot make the directory %s", spool);
		goto fail;
	}
	sandbox_system_files(s);
	sandbox_own_program(s);
	sandbox_path(s, SANDBOX_WRITE, spool);
	sandbox_directory_of(s, SANDBOX_READ, cfg->path);
	sandbox_path(s, SANDBOX_READ, cfg->issuer.credentials_dir);
	sandbox_directory_of(s, SANDBOX_READ, cfg->issuer.ca_file);
	sandbox_directory_of(s, SANDBOX_READ, cfg->issuer.krb5_config);
	for (size_t i = 0; i < cfg->issuer.publish_dirs.count; i++) {
		const struct config_publish_dir *dir = &cfg->issuer.publish_dirs.items[i];

		/* Those of another user are for his writer to write. */
		sandbox_path(
		    s, dir->user.name[0] != '\0' ? SANDBOX_READ : SANDBOX_WRITE, dir->path);
	}
	if (cfg->issuer.commands_dir != NULL)
		allow_commands(s, cfg->issuer.commands_dir);
	sandbox_sockets(s, true, true);
	if (!db_needs(cfg->database_issuer, false, s, err))
		goto fail;
	return sandbox_enter(s, NULL, err);
fail:
	sandbox_free(s);
	return false;
}
