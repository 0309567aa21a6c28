#include "pkcs11/limits.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/canon.h"
#include "pkcs11/limits_chain.h"
#include "pkcs11/store.h"

#define SUFFIX ".key"
#define NAME_SIZE (2 * KEY_ID_LEN + sizeof SUFFIX)
#define TEXT_MAX 1024 /* bytes of a key's own file */

void
key_limits_id_text(struct bytes id, char out[KEY_ID_TEXT_MAX])
{
	hex_encode(id.p, id.len <= SIGNPROTO_ID_MAX ? id.len : SIGNPROTO_ID_MAX, out);
}

static void
file_name(const uint8_t id[KEY_ID_LEN], char out[NAME_SIZE])
{
	hex_encode(id, KEY_ID_LEN, out);
	memcpy(out + 2 * KEY_ID_LEN, SUFFIX, sizeof SUFFIX);
}

bool
key_limits_init(struct key_limits *l, const uint8_t id[KEY_ID_LEN], const struct limits *document,
    const uint8_t document_sha256[32], const struct spki *spki, struct error *e)
{
	memset(l, 0, sizeof *l);
	l->path_length = -1;
	memcpy(l->id, id, sizeof l->id);
	l->document = *document;
	memcpy(l->document_sha256, document_sha256, sizeof l->document_sha256);
	if (spki_key_alg(spki) != document->algorithm)
		return error_set(e, ERROR_CONFLICT,
		    "the limits of CA %s are for a key %s, and this key is another", document->ca,
		    key_alg_name(document->algorithm));
	return spki_sha256(spki, l->spki_sha256, e) && spki_ski(spki, l->key_id, e);
}

/* ---- the key's own file */

static void
put_hex(struct canon_writer *w, const char *key, const uint8_t *octets, size_t len)
{
	canon_put(w, "%s: ", key);
	canon_put_hex(w, octets, len);
	canon_put(w, "\n");
}

static void
put_certificate(struct canon_writer *w, const struct key_limits *l)
{
	char from[CANON_TIME_SIZE], to[CANON_TIME_SIZE], ordered[CANON_TIME_SIZE];

	if (!l->installed) {
		canon_put(w, "certificate: -\n");
		return;
	}
	put_hex(w, "certificate", l->tbs_sha256, sizeof l->tbs_sha256);
	canon_time_text(l->not_before, from);
	canon_time_text(l->not_after, to);
	canon_time_text(l->ordered, ordered);
	canon_put(w, "not-before: %s\nnot-after: %s\npath-length: ", from, to);
	if (l->path_length < 0)
		canon_put(w, "-\n");
	else
		canon_put(w, "%d\n", l->path_length);
	canon_put(w, "ordered: %s\n", l->ordered == 0 ? "-" : ordered);
}

/* Returns the length; the buffer always suffices. */
static size_t
format(const struct key_limits *l, char out[TEXT_MAX])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct canon_writer w;

	canon_writer_init(&w, out, TEXT_MAX);
	canon_put(&w, "chancery-key: 1\n");
	put_hex(&w, "key", l->id, sizeof l->id);
	put_hex(&w, "spki-sha256", l->spki_sha256, sizeof l->spki_sha256);
	put_hex(&w, "key-identifier", l->key_id, sizeof l->key_id);
	put_certificate(&w, l);
	(void)SHA256((const unsigned char *)out, w.len, digest);
	put_hex(&w, "sha256", digest, sizeof digest);
	return w.failed ? 0 : w.len;
}

bool
key_limits_save(const struct key_limits *l, const char *state_dir, struct error *e)
{
	char name[NAME_SIZE], text[TEXT_MAX];

	file_name(l->id, name);
	return store_write(state_dir, name, text, format(l, text), true, e) ||
	       error_wrap(e, "a key and its limits");
}

static bool
take_hex(struct canon_reader *r, const char *key, uint8_t *out, size_t len)
{
	struct error ignored = ERROR_INIT;
	char *value;

	return canon_take(r, key, &value, &ignored) && canon_hex(value, out, len);
}

static bool
take_time(struct canon_reader *r, const char *key, int64_t *t)
{
	struct error ignored = ERROR_INIT;
	char *value;

	*t = 0;
	return canon_take(r, key, &value, &ignored) &&
	       (strcmp(value, "-") == 0 || canon_time(value, t));
}

static bool
take_path_length(struct canon_reader *r, int *path_length)
{
	struct error ignored = ERROR_INIT;
	uint64_t n = 0;
	char *value;

	*path_length = -1;
	if (!canon_take(r, "path-length", &value, &ignored))
		return false;
	if (strcmp(value, "-") == 0)
		return true;
	if (!canon_number(value, INT32_MAX, &n))
		return false;
	*path_length = (int)n;
	return true;
}

/* What the digest at the end and the comparison with what we would write leave to
 * find out. */
static bool
scan(struct key_limits *l, char *text)
{
	struct error ignored = ERROR_INIT;
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct canon_reader r;
	char *value;

	canon_reader_init(&r, text, "key");
	if (!canon_take(&r, "chancery-key", &value, &ignored) || strcmp(value, "1") != 0 ||
	    !take_hex(&r, "key", l->id, sizeof l->id) ||
	    !take_hex(&r, "spki-sha256", l->spki_sha256, sizeof l->spki_sha256) ||
	    !take_hex(&r, "key-identifier", l->key_id, sizeof l->key_id) ||
	    !canon_take(&r, "certificate", &value, &ignored))
		return false;
	l->installed = strcmp(value, "-") != 0;
	if (l->installed &&
	    (!canon_hex(value, l->tbs_sha256, sizeof l->tbs_sha256) ||
		!take_time(&r, "not-before", &l->not_before) ||
		!take_time(&r, "not-after", &l->not_after) ||
		!take_path_length(&r, &l->path_length) || !take_time(&r, "ordered", &l->ordered)))
		return false;
	return take_hex(&r, "sha256", digest, sizeof digest) && canon_end(&r, &ignored);
}

/* Not the limits in it. */
static bool
read_key(struct key_limits *l, const char *state_dir, const uint8_t id[KEY_ID_LEN], struct error *e)
{
	char name[NAME_SIZE], text[TEXT_MAX + 1], again[TEXT_MAX], copy[sizeof text];
	struct error why = ERROR_INIT;
	size_t len;

	memset(l, 0, sizeof *l);
	l->path_length = -1;
	file_name(id, name);
	if (!store_read(state_dir, name, text, TEXT_MAX, &len, &why)) {
		if (why.code == ERROR_NOT_FOUND)
			return error_set(e, ERROR_DENIED,
			    "the key has no limits (%s/%s is missing), so it signs nothing; "
			    "restore the signer's state directory",
			    state_dir, name);
		return error_set(e, why.code, "%s", why.text);
	}
	text[len] = '\0';
	memcpy(copy, text, len + 1);
	if (!scan(l, copy) || format(l, again) != len || memcmp(text, again, len) != 0 ||
	    memcmp(l->id, id, sizeof l->id) != 0)
		return error_set(e, ERROR_DENIED,
		    "%s/%s is damaged: the key signs nothing; restore the file", state_dir, name);
	return true;
}

/* ---- both together */

static bool
read_limits(struct key_limits *l, const char *state_dir, struct error *e)
{
	struct limits_version *v = malloc(sizeof *v);
	struct error why = ERROR_INIT;
	bool ok;

	if (v == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	ok = limits_chain_load(state_dir, l->id, l->spki_sha256, v, &why);
	if (ok) {
		l->document = v->document;
		memcpy(l->document_sha256, v->sha256, sizeof l->document_sha256);
	} else if (why.code == ERROR_NOT_FOUND) {
		(void)error_set(e, ERROR_DENIED,
		    "the key has no limits (%s), so it signs nothing; restore the signer's state "
		    "directory",
		    why.text);
	} else {
		(void)error_set(e, why.code, "%s", why.text);
	}
	free(v);
	return ok;
}

bool
key_limits_load(struct key_limits *l, const char *state_dir, struct bytes id, struct error *e)
{
	char text[KEY_ID_TEXT_MAX];

	if (id.len == KEY_ID_LEN)
		return read_key(l, state_dir, id.p, e) && read_limits(l, state_dir, e);
	key_limits_id_text(id, text);
	return error_set(e, ERROR_DENIED,
	    "the key %s has no limits, so it signs nothing: ids of keys with limits have %d octets",
	    text, KEY_ID_LEN);
}

bool
key_limits_is_known(const char *state_dir, const uint8_t id[KEY_ID_LEN])
{
	char name[NAME_SIZE], text[TEXT_MAX];
	struct error why = ERROR_INIT;
	size_t len;

	file_name(id, name);
	return store_read(state_dir, name, text, sizeof text, &len, &why) ||
	       why.code != ERROR_NOT_FOUND;
}

/* ---- all of them */

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, KEY_ID_LEN);
}

static bool
id_of_name(const char *name, uint8_t id[KEY_ID_LEN])
{
	char digits[2 * KEY_ID_LEN + 1];

	if (strlen(name) != NAME_SIZE - 1 || strcmp(name + 2 * KEY_ID_LEN, SUFFIX) != 0)
		return false;
	memcpy(digits, name, sizeof digits - 1);
	digits[sizeof digits - 1] = '\0';
	return canon_hex(digits, id, KEY_ID_LEN);
}

bool
key_limits_list(const char *state_dir, uint8_t (**ids)[KEY_ID_LEN], size_t *count, struct error *e)
{
	uint8_t(*list)[KEY_ID_LEN] = NULL;
	DIR *dir = opendir(state_dir);
	const struct dirent *entry;
	bool ok = false;
	size_t n = 0;

	*count = 0;
	*ids = NULL;
	if (dir == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "cannot read the directory %s", state_dir);
	list = calloc(KEY_LIMITS_COUNT_MAX, sizeof *list);
	if (list == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a list of keys");
		goto out;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		uint8_t id[KEY_ID_LEN];

		if (!id_of_name(entry->d_name, id))
			continue;
		if (n == KEY_LIMITS_COUNT_MAX) {
			(void)error_set(e, ERROR_LIMIT, "%s has more than %d keys", state_dir,
			    KEY_LIMITS_COUNT_MAX);
			goto out;
		}
		memcpy(list[n++], id, KEY_ID_LEN);
	}
	if (errno != 0) {
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot read the directory %s", state_dir);
		goto out;
	}
	qsort(list, n, sizeof *list, compare_ids);
	*ids = list;
	*count = n;
	list = NULL;
	ok = true;
out:
	free(list);
	(void)closedir(dir);
	return ok;
}

bool
key_limits_any(const char *state_dir, bool *found, struct error *e)
{
	DIR *dir = opendir(state_dir);
	const struct dirent *entry;
	uint8_t id[KEY_ID_LEN];

	*found = false;
	if (dir == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "cannot read the directory %s", state_dir);
	while ((errno = 0, entry = readdir(dir)) != NULL)
		if (id_of_name(entry->d_name, id) || strstr(entry->d_name, ".limits-") != NULL)
			*found = true;
	if (errno != 0)
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot read the directory %s", state_dir);
	(void)closedir(dir);
	return !error_is_set(e);
}

bool
key_limits_list_keys(const char *state_dir, uint8_t (**digests)[32], size_t *count, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	uint8_t(*ids)[KEY_ID_LEN] = NULL, (*list)[32] = NULL;
	bool ok = false;
	size_t n = 0;

	*count = 0;
	*digests = NULL;
	if (!key_limits_list(state_dir, &ids, &n, e))
		goto out;
	list = calloc(n + 1, sizeof *list);
	if (l == NULL || list == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a list of keys");
		goto out;
	}
	for (size_t i = 0; i < n; i++) {
		if (!read_key(l, state_dir, ids[i], e))
			goto out;
		memcpy(list[i], l->spki_sha256, sizeof list[i]);
	}
	*digests = list;
	*count = n;
	list = NULL;
	ok = true;
out:
	free(list);
	free(ids);
	free(l);
	return ok;
}
