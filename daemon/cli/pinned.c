#include "daemon/cli/pinned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cli/operator_key.h"
#include "daemon/core/config.h"
#include "daemon/core/encode.h"

#define LINE_MAX_SIZE 256

struct pinned {
	char token[STATEMENT_NAME_MAX + 1];
	unsigned signer_id;
	uint8_t fingerprint[32];
};

struct pinned_file {
	char path[OPERATOR_PATH_MAX + 16];
	struct pinned all[PINNED_MAX];
	size_t count;
};

bool
pinned_path(const struct options *options, char *out, size_t size, struct error *e)
{
	char key[OPERATOR_PATH_MAX];

	if (!operator_key_path(options, key, sizeof key, e))
		return false;
	if ((size_t)snprintf(out, size, "%s" PINNED_SUFFIX, key) >= size)
		return error_set(e, ERROR_USAGE, "the path of the operator key is too long");
	return true;
}

/* ------------------------------------------------------------------- reading */

static bool
read_one(const char *line, struct pinned *p)
{
	char token[STATEMENT_NAME_MAX + 1], digits[6], hex[65];
	int end = 0;

	if (sscanf(line, "%64[A-Za-z0-9._-] %5[0-9] %64[0-9a-f]%n", token, digits, hex, &end) !=
		3 ||
	    strcmp(line + end, "\n") != 0 || strlen(hex) != 64)
		return false;
	p->signer_id = (unsigned)strtoul(digits, NULL, 10);
	if (p->signer_id > UINT16_MAX)
		return false;
	memcpy(p->token, token, sizeof p->token);
	return hex_decode(hex, 32, p->fingerprint);
}

static bool
read_lines(FILE *in, struct pinned_file *f, struct error *e)
{
	char line[LINE_MAX_SIZE];

	while (fgets(line, sizeof line, in) != NULL) {
		if (f->count == PINNED_MAX)
			return error_set(
			    e, ERROR_LIMIT, "%s has more than %d signers", f->path, PINNED_MAX);
		if (!read_one(line, &f->all[f->count]))
			return error_set(e, ERROR_CONFIG,
			    "%s, line %zu: not \"TOKEN SIGNER FINGERPRINT\"", f->path,
			    f->count + 1);
		f->count++;
	}
	return !ferror(in) || error_set_errno(e, ERROR_SYSTEM, "reading %s", f->path);
}

/* A file that is not there has nobody in it. */
static bool
read_file(const struct options *options, struct pinned_file *f, struct error *e)
{
	struct stat st;
	FILE *in;
	bool ok;
	int fd;

	*f = (struct pinned_file){0};
	if (!pinned_path(options, f->path, sizeof f->path, e))
		return false;
	if (lstat(f->path, &st) != 0 && errno == ENOENT)
		return true;
	if (!config_open_secret(f->path, &fd, e))
		return error_wrap(e, "the signers that you have pinned");
	in = fdopen(fd, "r");
	if (in == NULL) {
		(void)close(fd);
		return error_set_errno(e, ERROR_SYSTEM, "reading %s", f->path);
	}
	ok = read_lines(in, f, e);
	(void)fclose(in);
	return ok;
}

static struct pinned *
find(struct pinned_file *f, const char *token, unsigned signer_id)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->all[i].signer_id == signer_id && strcmp(f->all[i].token, token) == 0)
			return &f->all[i];
	}
	return NULL;
}

bool
pinned_find(const struct options *options, const char *token, unsigned signer_id,
    uint8_t fingerprint[32], struct error *e)
{
	struct pinned_file *f = malloc(sizeof *f);
	const struct pinned *p = NULL;

	if (f == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the pinned signers");
	if (read_file(options, f, e)) {
		p = find(f, token, signer_id);
		if (p == NULL)
			p = find(f, token, 0);
		if (p == NULL)
			error_set(e, ERROR_DENIED,
			    "you have not pinned the signer of token %s, so no PIN can be sent to "
			    "it: read its "
			    "fingerprint at its own console (chancery-signer --config CONFIG "
			    "--token %s --identity) "
			    "and say \"chancery operator pin-signer %s FINGERPRINT\"",
			    token, token, token);
		else
			memcpy(fingerprint, p->fingerprint, 32);
	}
	free(f);
	return p != NULL;
}

/* ------------------------------------------------------------------- writing */

static bool
write_all(const struct pinned_file *f, FILE *out)
{
	char hex[65];

	for (size_t i = 0; i < f->count; i++) {
		hex_encode(f->all[i].fingerprint, 32, hex);
		if (fprintf(out, "%s %u %s\n", f->all[i].token, f->all[i].signer_id, hex) < 0)
			return false;
	}
	return fflush(out) == 0 && fsync(fileno(out)) == 0;
}

/* Whole or not at all: a torn file would have somebody trust nobody, at best. */
static bool
write_file(const struct pinned_file *f, struct error *e)
{
	char fresh[sizeof f->path + 8];
	FILE *out = NULL;
	bool ok = false;
	int fd;

	(void)snprintf(fresh, sizeof fresh, "%s.XXXXXX", f->path);
	operator_key_make_folders(f->path);
	fd = mkstemp(fresh); /* 0600 */
	if (fd >= 0)
		out = fdopen(fd, "w");
	if (out == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "writing %s", f->path);
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	ok = write_all(f, out);
	if (fclose(out) != 0 || !ok || rename(fresh, f->path) != 0) {
		error_set_errno(e, ERROR_SYSTEM, "writing %s", f->path);
		(void)unlink(fresh);
		return false;
	}
	return true;
}

static bool
change(struct pinned_file *f, const struct pinned *fresh, bool force, bool *added, struct error *e)
{
	struct pinned *p = find(f, fresh->token, fresh->signer_id);
	char old[65];

	*added = p == NULL;
	if (p != NULL && memcmp(p->fingerprint, fresh->fingerprint, 32) == 0)
		return true;
	if (p != NULL && !force) {
		hex_encode(p->fingerprint, 32, old);
		return error_set(e, ERROR_CONFLICT,
		    "you know the signer of token %s by another fingerprint, %s: if it was really "
		    "installed anew, --force replaces it",
		    fresh->token, old);
	}
	if (p == NULL) {
		if (f->count == PINNED_MAX)
			return error_set(
			    e, ERROR_LIMIT, "%d signers are pinned already", PINNED_MAX);
		p = &f->all[f->count++];
	}
	*p = *fresh;
	return write_file(f, e);
}

bool
pinned_add(const struct options *options, const char *token, unsigned signer_id,
    const uint8_t fingerprint[32], bool force, bool *added, struct error *e)
{
	struct pinned_file *f = malloc(sizeof *f);
	struct pinned fresh = {.signer_id = signer_id};
	bool ok;

	if (f == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the pinned signers");
	memcpy(fresh.fingerprint, fingerprint, 32);
	(void)snprintf(fresh.token, sizeof fresh.token, "%s", token);
	ok = read_file(options, f, e) && change(f, &fresh, force, added, e);
	free(f);
	return ok;
}
