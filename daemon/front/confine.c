#include "daemon/front/confine.h"

#include "daemon/core/sandbox.h"
#include "db/needs.h"

bool
confine_front(const struct config *cfg, struct error *err)
{
	struct sandbox *s = sandbox_new(SANDBOX_FRONT, cfg->sandbox);

	sandbox_system_files(s);
	/* The directories: a reload reads what stands there by then. */
	sandbox_directory_of(s, SANDBOX_READ, cfg->path);
	for (size_t i = 0; i < cfg->front.https_count; i++) {
		sandbox_directory_of(s, SANDBOX_READ, cfg->front.https[i].certificate);
		sandbox_directory_of(s, SANDBOX_READ, cfg->front.https[i].key);
	}
	if (!db_needs(cfg->database_front, true, s, err)) {
		sandbox_free(s);
		return false;
	}
	return sandbox_enter(s, NULL, err);
}
