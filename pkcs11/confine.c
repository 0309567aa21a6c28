#include "pkcs11/confine.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/sandbox.h"
#include "pkcs11/store.h"

#define SOFTHSM_CONF_DEFAULT "/etc/softhsm/softhsm2.conf"
#define SOFTHSM_CONF_MAX 16384

/* ---- softhsm2.conf(5): lines "name = value", "#" before a comment */

static char *
trim(char *text)
{
	char *end;

	text += strspn(text, " \t\r");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r", end[-1]) != NULL)
		*--end = '\0';
	return text;
}

bool
confine_find_tokens(const char *text, char *out, size_t size)
{
	char line[PATH_MAX + 64], *value;
	bool found = false;

	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		(void)snprintf(line, sizeof line, "%.*s", (int)len, text);
		text += len + (text[len] == '\n');
		line[strcspn(line, "#")] = '\0';
		value = strchr(line, '=');
		if (value == NULL)
			continue;
		*value++ = '\0';
		if (strcmp(trim(line), "directories.tokendir") != 0)
			continue;
		value = trim(value);
		found = value[0] == '/' && strlen(value) < size;
		if (found)
			(void)snprintf(out, size, "%s", value);
	}
	return found;
}

static void
allow_softhsm(struct sandbox *s, const char *token)
{
	const char *conf = getenv("SOFTHSM2_CONF");
	char text[SOFTHSM_CONF_MAX], tokens[PATH_MAX];
	size_t len = 0;
	FILE *in;

	if (conf == NULL)
		conf = SOFTHSM_CONF_DEFAULT;
	sandbox_directory_of(s, SANDBOX_READ, conf);
	in = fopen(conf, "re");
	if (in != NULL) {
		len = fread(text, 1, sizeof text - 1, in);
		(void)fclose(in);
	}
	text[len] = '\0';
	if (confine_find_tokens(text, tokens, sizeof tokens))
		sandbox_path(s, SANDBOX_WRITE, tokens);
	else
		log_warning(token,
		    "%s names no directories.tokendir: SoftHSM will find its tokens only where "
		    "'writable' lets it",
		    conf);
}

/* ---- */

static void
allow_own_files(struct sandbox *s, const struct config *cfg, const struct config_token *token)
{
	/* Directories: the PIN may be another file by the next login. */
	sandbox_directory_of(s, SANDBOX_READ, cfg->path);
	sandbox_directory_of(s, SANDBOX_READ, token->pin_file);
	if (token->pin_credential != NULL)
		sandbox_path(s, SANDBOX_READ, getenv("CREDENTIALS_DIRECTORY"));
	for (size_t i = 0; i < token->pin_operator_count; i++) {
		if (token->pin_operators[i].key[0] == '/')
			sandbox_path(s, SANDBOX_READ, token->pin_operators[i].key);
	}
	for (size_t i = 0; i < token->writable.count; i++)
		sandbox_path(s, SANDBOX_WRITE, token->writable.items[i]);
}

bool
confine_signer(const struct config *cfg, const struct config_token *token, struct error *err)
{
	char directory[PATH_MAX];
	struct sandbox *s;

	if (snprintf(directory, sizeof directory, "%s/signer-%s", cfg->state_dir, token->name) >=
	    (int)sizeof directory)
		return error_set(err, ERROR_CONFIG, "state_dir is too long");
	if (!store_make_dir(directory, err))
		return false;
	s = sandbox_new(token->profile, cfg->sandbox);
	sandbox_path(s, SANDBOX_WRITE, directory);
	allow_own_files(s, cfg, token);
	if (token->profile == SANDBOX_SOFTHSM) {
		sandbox_system_files(s);
		sandbox_directory_of(s, SANDBOX_READ, token->module);
		allow_softhsm(s, token->name);
	} else {
		sandbox_path(s, SANDBOX_READ, "/");
		sandbox_path(s, SANDBOX_DEVICE, "/dev");
	}
	sandbox_sockets(s, token->unix_sockets, token->network);
	return sandbox_enter(s, NULL, err);
}
