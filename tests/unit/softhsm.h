#ifndef CHANCERY_TESTS_SOFTHSM_H
#define CHANCERY_TESTS_SOFTHSM_H

/*
 * A private SoftHSM for one test program: token directory, configuration, PIN
 * file and state directory below one temporary directory. Tokens are made by
 * softhsm2-util, before the module is loaded into the test.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/core/config.h"
#include "pkcs11/session.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_PIN "7311-pin"

struct softhsm {
	char dir[64];
	char pin_file[96];
	char state_dir[96];
	struct config_token config; /* selects the token "unit"; its strings are not owned */
};

static inline void
softhsm_write(const char *path, const char *text, mode_t mode)
{
	FILE *f;

	(void)unlink(path);
	f = fopen(path, "w");
	if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0 || chmod(path, mode) != 0)
		abort();
}

static inline void
softhsm_add_token(const char *label)
{
	char command[512];

	(void)snprintf(command, sizeof command,
	    "softhsm2-util --init-token --free --label '%s' --pin %s --so-pin so-%s >/dev/null",
	    label, SOFTHSM_PIN, SOFTHSM_PIN);
	if (system(command) != 0)
		abort();
}

static inline void
softhsm_make(struct softhsm *h)
{
	char path[128], text[256];

	(void)snprintf(h->dir, sizeof h->dir, "/tmp/chancery-unit-XXXXXX");
	if (mkdtemp(h->dir) == NULL)
		abort();
	(void)snprintf(path, sizeof path, "%s/tokens", h->dir);
	(void)snprintf(h->state_dir, sizeof h->state_dir, "%s/state", h->dir);
	if (mkdir(path, 0700) != 0 || mkdir(h->state_dir, 0700) != 0)
		abort();
	(void)snprintf(text, sizeof text, "directories.tokendir = %s\nlog.level = ERROR\n", path);
	(void)snprintf(path, sizeof path, "%s/softhsm2.conf", h->dir);
	softhsm_write(path, text, 0600);
	(void)setenv("SOFTHSM2_CONF", path, 1);
	(void)snprintf(h->pin_file, sizeof h->pin_file, "%s/pin", h->dir);
	softhsm_write(h->pin_file, SOFTHSM_PIN "\n", 0600);
	softhsm_add_token("unit");
	h->config = (struct config_token){
	    .user_type = 1, /* CKU_USER */
	    .name = (char *)(uintptr_t) "main",
	    .module = (char *)(uintptr_t)SOFTHSM_MODULE,
	    .select_by = CONFIG_SELECT_LABEL,
	    .select = (char *)(uintptr_t) "unit",
	    .pin_file = h->pin_file,
	    .threads = 4,
	};
}

static inline void
softhsm_remove(struct softhsm *h)
{
	char command[128];

	(void)snprintf(command, sizeof command, "rm -rf '%s'", h->dir);
	if (system(command) != 0)
		abort();
}

/* All objects with this label. rw: a read-write session. */
static inline void
softhsm_remove_objects(struct session *rw, const char *label)
{
	CK_ATTRIBUTE t = {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)};
	CK_OBJECT_HANDLE found[64];
	CK_ULONG count = 0;

	if (rw->f->C_FindObjectsInit(rw->handle, &t, 1) != CKR_OK ||
	    rw->f->C_FindObjects(rw->handle, found, 64, &count) != CKR_OK ||
	    rw->f->C_FindObjectsFinal(rw->handle) != CKR_OK)
		abort();
	for (CK_ULONG i = 0; i < count; i++) {
		if (rw->f->C_DestroyObject(rw->handle, found[i]) != CKR_OK)
			abort();
	}
}

#endif
