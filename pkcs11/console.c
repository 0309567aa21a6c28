#include "pkcs11/console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "daemon/core/config.h"
#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "daemon/core/sandbox.h"
#include "pkcs11/console_login.h"
#include "pkcs11/group.h"
#include "pkcs11/key_adopt.h"
#include "pkcs11/key_import.h"
#include "pkcs11/key_list.h"
#include "pkcs11/key_remove.h"
#include "pkcs11/probe.h"
#include "pkcs11/store.h"
#include "pkcs11/token.h"

#define PASSPHRASE_MAX 256
#define STATE_DIR_MAX 4096

struct console {
	const struct console_task *task;
	struct config config;
	const struct config_token *token;
	char state_dir[STATE_DIR_MAX];
};

/* Keys and PINs pass through this memory. */
static bool
become_signer(const struct config *config, const struct config_token *token, struct error *e)
{
	struct identity user;

	(void)umask(077);
	(void)sandbox_lock_memory();
	if (!sandbox_hide(e))
		return false;
	if (config->separation != CONFIG_SEPARATION_USERS || geteuid() != 0)
		return true;
	if (!identity_parse(token->user.name, &user, e))
		return false;
	return identity_assume(&user) ||
	       error_set_errno(e, ERROR_SYSTEM, "cannot become the user %s", user.name);
}

static bool
enter(struct console *c, struct error *e)
{
	return become_signer(&c->config, c->token, e) &&
	       store_signer_dir(&c->config, c->task->token, c->state_dir, sizeof c->state_dir, e) &&
	       store_make_dir(c->state_dir, e);
}

/* ---- with the token */

static bool
set_environment(const struct console *c, struct error *e)
{
	for (size_t i = 0; i < c->token->environment_count; i++) {
		const struct config_variable *v = &c->token->environment[i];

		if (setenv(v->name, v->value, 1) != 0)
			return error_set(e, ERROR_SYSTEM, "no memory for the environment");
	}
	(void)signal(SIGPIPE, SIG_IGN); /* modules write to sockets */
	return true;
}

typedef bool token_work_fn(struct console *c, struct session *s, void *arg, struct error *e);

static bool
with_token(struct console *c, token_work_fn *work, void *arg, struct error *e)
{
	struct session session = {.handle = CK_INVALID_HANDLE};
	struct token *token = NULL;
	struct console_login l;
	bool ok = false;

	if (!set_environment(c, e))
		return false;
	if (console_login_begin(&l, c->token, c->state_dir, c->task->pin_fd, e) &&
	    console_login_open(&l, c->task->member, &token, e) &&
	    session_open(token_functions(token), token_info(token)->slot, true, &session, e))
		ok = work(c, &session, arg, e);
	session_close(&session);
	console_login_close(&l, token);
	console_login_end(&l);
	return ok;
}

static bool
list_keys(struct console *c, struct session *s, void *arg, struct error *e)
{
	(void)arg;
	return key_list(s, c->state_dir, c->task->json, stdout, e);
}

static bool
probe(struct console *c, struct error *e)
{
	const struct probe_options options = {
	    c->task->json, c->task->soak_s, c->task->member, c->task->pin_fd};

	return probe_run(c->token, c->state_dir, &options, stdout, stderr, e);
}

/* ---- import: the file is opened as the one who may read it */

struct import {
	int fd;
	uint8_t octets[KEY_IMPORT_FILE_MAX];
	size_t len;
	char passphrase[PASSPHRASE_MAX];
	EVP_PKEY *pkey;
};

static bool
read_all(int fd, void *buf, size_t size, size_t *len, struct error *e)
{
	*len = 0;
	while (*len < size) {
		ssize_t n = read(fd, (char *)buf + *len, size - *len);

		if (n < 0)
			return error_set_errno(e, ERROR_SYSTEM, "cannot be read");
		if (n == 0)
			return true;
		*len += (size_t)n;
	}
	return error_set(e, ERROR_LIMIT, "is longer than %zu octets", size - 1);
}

static bool
read_passphrase(const struct console_task *task, struct import *m, struct error *e)
{
	size_t len = 0;
	bool ok;
	int fd;

	if (task->passphrase_file == NULL)
		return EVP_read_pw_string(m->passphrase, sizeof m->passphrase,
			   "Passphrase of the PKCS#12 file: ", 0) == 0 ||
		       error_set(e, ERROR_INPUT, "no passphrase was given");
	if (!config_open_secret(task->passphrase_file, &fd, e))
		return false;
	ok = read_all(fd, m->passphrase, sizeof m->passphrase, &len, e);
	(void)close(fd);
	if (!ok)
		return error_wrap(e, "%s", task->passphrase_file);
	if (len > 0 && m->passphrase[len - 1] == '\n')
		len--;
	m->passphrase[len] = '\0';
	return true;
}

static bool
read_key(const struct console_task *task, struct import *m, struct error *e)
{
	m->fd = open(
	    task->file, (task->wipe ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (m->fd < 0)
		return error_set_errno(e, ERROR_INPUT, "cannot open %s", task->file);
	if (!read_passphrase(task, m, e))
		return false;
	if (read_all(m->fd, m->octets, sizeof m->octets, &m->len, e))
		m->pkey = key_import_read((struct bytes){m->octets, m->len}, m->passphrase, e);
	return m->pkey != NULL || error_wrap(e, "%s", task->file);
}

/* Over the octets that were read, before anybody could have put another file there. */
static bool
wipe(const struct console_task *task, struct import *m, struct error *e)
{
	OPENSSL_cleanse(m->octets, m->len);
	if (pwrite(m->fd, m->octets, m->len, 0) != (ssize_t)m->len || fsync(m->fd) != 0 ||
	    ftruncate(m->fd, 0) != 0 || fsync(m->fd) != 0)
		return error_set_errno(
		    e, ERROR_SYSTEM, "the key is on the token, but %s was not wiped", task->file);
	if (unlink(task->file) == 0)
		(void)printf("%s was overwritten and removed.", task->file);
	else
		(void)printf("%s was overwritten; it is empty now.", task->file);
	(void)puts(" Copies, backups, and what a disk or file\n"
		   "system keeps of old blocks, are still there.");
	return true;
}

static bool
import_key(struct console *c, struct session *s, void *arg, struct error *e)
{
	const char *label = c->task->label != NULL ? c->task->label : "imported";
	struct import *m = arg;
	uint8_t digest[32];
	char hex[65];

	if (!key_import(s, m->pkey, label, digest, e))
		return error_wrap(e, "%s", c->task->file);
	hex_encode(digest, sizeof digest, hex);
	(void)printf("key %s\nis on token '%s' now, and cannot be taken out of it.\n"
		     "It has been outside: who had the file, or a copy of it, has the key.\n",
	    hex, c->token->name);
	return true;
}

static bool
import(struct console *c, struct error *e)
{
	struct import *m = calloc(1, sizeof *m);
	bool ok = false;

	if (m == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "no memory for a file");
	m->fd = -1;
	ok = sandbox_hide(e) && read_key(c->task, m, e) && enter(c, e) &&
	     with_token(c, import_key, m, e) && (!c->task->wipe || wipe(c->task, m, e));
	EVP_PKEY_free(m->pkey);
	key_import_end();
	if (m->fd >= 0)
		(void)close(m->fd);
	OPENSSL_cleanse(m, sizeof *m);
	free(m);
	return ok;
}

/* ---- adopt */

static bool
adopt(struct console *c, struct error *e)
{
	uint8_t digest[32];

	if (strlen(c->task->document) != 64 ||
	    !hex_decode(c->task->document, sizeof digest, digest))
		return error_set(e, ERROR_USAGE,
		    "--adopt takes the SHA-256 of limits, 64 lower-case hex digits");
	if (!enter(c, e) || !key_adopt_allow(c->state_dir, digest, e))
		return false;
	(void)printf("The limits with that SHA-256 may take over the key that they name.\n");
	return true;
}

/* ---- destroy */

/* Whoever means this key knows its label. */
static bool
confirm(const struct console_task *task, const struct key_remains *key, struct error *e)
{
	char line[KEY_LABEL_MAX + 2] = "";

	if (task->label == NULL) {
		(void)fprintf(stderr, "The key's label, to destroy it for good: ");
		if (fgets(line, sizeof line, stdin) == NULL)
			return error_set(e, ERROR_INPUT, "no label was given");
		line[strcspn(line, "\n")] = '\0';
	}
	return strcmp(task->label != NULL ? task->label : line, key->label) == 0 ||
	       error_set(e, ERROR_DENIED, "this is not the key's label; nothing was destroyed");
}

static bool
destroy_key(struct console *c, struct session *s, void *arg, struct error *e)
{
	struct key_remains key;

	if (!key_find_unowned(s, c->state_dir, arg, &key, e) || !confirm(c->task, &key, e) ||
	    !key_remove(s, &key, e))
		return false;
	(void)printf("The key is destroyed. Copies in the HSM's backups are not.\n");
	return true;
}

static bool
destroy(struct console *c, struct error *e)
{
	uint8_t digest[32];

	if (strlen(c->task->key) != 64 || !hex_decode(c->task->key, sizeof digest, digest))
		return error_set(e, ERROR_USAGE,
		    "--destroy-key takes the SHA-256 of a public key, 64 hex digits (--keys)");
	return enter(c, e) && with_token(c, destroy_key, digest, e);
}

/* ---- */

/* What is done by hand to one of a group's tokens is done to each. */
static bool
check_member(const struct console *c, struct error *e)
{
	char names[ERROR_TEXT_MAX / 2] = "";
	size_t at = 0;

	if (c->task->work == CONSOLE_ADOPT ||
	    (c->task->member == NULL && group_count(c->token) == 1))
		return true;
	if (c->task->member != NULL &&
	    group_find(c->token, c->task->member) < group_count(c->token))
		return true;
	for (size_t i = 0; i < group_count(c->token) && at < sizeof names; i++)
		at += (size_t)snprintf(names + at, sizeof names - at, "%s'%s'", i > 0 ? ", " : "",
		    group_name(c->token, i));
	return error_set(e, ERROR_USAGE, "token '%s' is %s; say --member with one of: %s",
	    c->token->name, group_count(c->token) > 1 ? "a group" : "a single one", names);
}

static bool
work(struct console *c, struct error *e)
{
	switch (c->task->work) {
	case CONSOLE_PROBE:
		return enter(c, e) && probe(c, e);
	case CONSOLE_KEYS:
		return enter(c, e) && with_token(c, list_keys, NULL, e);
	case CONSOLE_IMPORT:
		return import(c, e);
	case CONSOLE_ADOPT:
		return adopt(c, e);
	case CONSOLE_DESTROY:
		return destroy(c, e);
	case CONSOLE_NONE:
		break;
	}
	return error_set(e, ERROR_INTERNAL, "nothing to do");
}

int
console_run(const struct console_task *task)
{
	struct console c = {.task = task};
	struct error why = ERROR_INIT;
	bool ok = false;

	if (!config_load_for_role(task->config, &c.config, &why)) {
		(void)fprintf(stderr, "chancery-signer: %s\n", why.text);
		return 1;
	}
	log_init("signer", LOG_LEVEL_WARNING);
	c.token = config_find_token(&c.config, task->token);
	if (c.token == NULL)
		(void)error_set(&why, ERROR_CONFIG, "the configuration %s has no token '%s'",
		    task->config, task->token);
	else
		ok = check_member(&c, &why) && work(&c, &why);
	if (!ok)
		(void)fprintf(stderr, "chancery-signer: %s\n", why.text);
	config_free(&c.config);
	return ok ? 0 : 1;
}
