#include "pkcs11/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "pkcs11/store.h"

#define FILE_NAME_MAX (KEY_ID_TEXT_MAX + 8)

static const char hex_digits[] = "0123456789abcdef";

static const struct {
	const char *word;
	enum key_purpose purpose;
} purposes[] = {
    {"ca", KEY_PURPOSE_CA},
};

bool
key_limits_purpose_parse(const char *word, enum key_purpose *purpose)
{
	for (size_t i = 0; i < COUNT_OF(purposes); i++) {
		if (strcmp(word, purposes[i].word) == 0) {
			*purpose = purposes[i].purpose;
			return true;
		}
	}
	return false;
}

static const char *
purpose_word(enum key_purpose purpose)
{
	for (size_t i = 0; i < COUNT_OF(purposes); i++) {
		if (purposes[i].purpose == purpose)
			return purposes[i].word;
	}
	return "-";
}

void
key_limits_id_text(struct bytes id, char out[KEY_ID_TEXT_MAX])
{
	hex_encode(id.p, id.len <= SIGNPROTO_ID_MAX ? id.len : SIGNPROTO_ID_MAX, out);
}

static void
file_name(struct bytes id, char out[FILE_NAME_MAX])
{
	char text[KEY_ID_TEXT_MAX];

	key_limits_id_text(id, text);
	(void)snprintf(out, FILE_NAME_MAX, "%s.limits", text);
}

bool
key_limits_init(struct key_limits *l, struct bytes id, enum key_purpose purpose,
    struct bytes subject, const struct spki *spki, struct error *e)
{
	*l = (struct key_limits){.purpose = purpose, .algorithm = spki_key_alg(spki)};
	if (id.len == 0 || id.len > sizeof l->id || subject.len == 0 ||
	    subject.len > sizeof l->subject)
		return error_set(e, ERROR_LIMIT,
		    "a key's limits need an id of at most %zu and a subject of at most %zu octets",
		    sizeof l->id, sizeof l->subject);
	if (l->algorithm == KEY_NONE)
		return error_set(e, ERROR_INPUT,
		    "a CA key must be one of " KEY_ALG_TEXT ", and this one is not");
	memcpy(l->id, id.p, id.len);
	l->id_len = id.len;
	memcpy(l->subject, subject.p, subject.len);
	l->subject_len = subject.len;
	return spki_sha256(spki, l->spki_sha256, e) && spki_ski(spki, l->key_id, e);
}

/* Returns the length; the buffer always suffices. */
static size_t
format(const struct key_limits *l, char out[STORE_FILE_MAX])
{
	char id[KEY_ID_TEXT_MAX], subject[2 * SIGNPROTO_SUBJECT_MAX + 1];
	char digest[2 * sizeof l->spki_sha256 + 1], key_id[2 * SKI_LEN + 1];
	int n;

	hex_encode(l->id, l->id_len, id);
	hex_encode(l->subject, l->subject_len, subject);
	hex_encode(l->spki_sha256, sizeof l->spki_sha256, digest);
	hex_encode(l->key_id, sizeof l->key_id, key_id);
	n = snprintf(out, STORE_FILE_MAX,
	    "chancery-limits: %d\n"
	    "key: %s\n"
	    "purpose: %s\n"
	    "algorithm: %s\n"
	    "subject: %s\n"
	    "spki-sha256: %s\n"
	    "key-identifier: %s\n",
	    KEY_LIMITS_VERSION, id, purpose_word(l->purpose), key_alg_name(l->algorithm), subject,
	    digest, key_id);
	return n > 0 && n < STORE_FILE_MAX ? (size_t)n : 0;
}

bool
key_limits_save(const struct key_limits *l, const char *state_dir, struct error *e)
{
	char name[FILE_NAME_MAX], text[STORE_FILE_MAX];

	file_name((struct bytes){l->id, l->id_len}, name);
	return store_write(state_dir, name, text, format(l, text), false, e) ||
	       error_wrap(e, "the limits of a new key");
}

/* ---- reading */

/* Takes "key: value\n" off the text; the value gets a NUL. */
static bool
take_line(char **text, const char *key, char **value)
{
	size_t len = strlen(key);
	char *end;

	if (strncmp(*text, key, len) != 0 || strncmp(*text + len, ": ", 2) != 0)
		return false;
	*value = *text + len + 2;
	end = strchr(*value, '\n');
	if (end == NULL)
		return false;
	*end = '\0';
	*text = end + 1;
	return true;
}

static int
digit(char c)
{
	const char *at = c != '\0' ? strchr(hex_digits, c) : NULL;

	return at != NULL ? (int)(at - hex_digits) : -1;
}

static bool
from_hex(const char *hex, uint8_t *out, size_t max, size_t *len)
{
	size_t digits = strlen(hex);

	if (digits % 2 != 0 || digits / 2 > max)
		return false;
	for (size_t i = 0; i < digits; i += 2) {
		int high = digit(hex[i]), low = digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i / 2] = (uint8_t)(high << 4 | low);
	}
	*len = digits / 2;
	return true;
}

static bool
scan(struct key_limits *l, char *text)
{
	char *version, *id, *purpose, *algorithm, *subject, *digest, *key_id;
	size_t digest_len, key_id_len;

	*l = (struct key_limits){0};
	return take_line(&text, "chancery-limits", &version) && strcmp(version, "1") == 0 &&
	       take_line(&text, "key", &id) && take_line(&text, "purpose", &purpose) &&
	       take_line(&text, "algorithm", &algorithm) && take_line(&text, "subject", &subject) &&
	       take_line(&text, "spki-sha256", &digest) &&
	       take_line(&text, "key-identifier", &key_id) && *text == '\0' &&
	       from_hex(id, l->id, sizeof l->id, &l->id_len) &&
	       key_limits_purpose_parse(purpose, &l->purpose) &&
	       key_alg_from_name(algorithm, &l->algorithm) &&
	       from_hex(subject, l->subject, sizeof l->subject, &l->subject_len) &&
	       from_hex(digest, l->spki_sha256, sizeof l->spki_sha256, &digest_len) &&
	       digest_len == sizeof l->spki_sha256 &&
	       from_hex(key_id, l->key_id, sizeof l->key_id, &key_id_len) &&
	       key_id_len == sizeof l->key_id;
}

bool
key_limits_load(struct key_limits *l, const char *state_dir, struct bytes id, struct error *e)
{
	char name[FILE_NAME_MAX], text[STORE_FILE_MAX + 1], again[STORE_FILE_MAX],
	    copy[sizeof text];
	struct error why = ERROR_INIT;
	size_t len;

	file_name(id, name);
	if (!store_read(state_dir, name, text, STORE_FILE_MAX, &len, &why)) {
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
	    !bytes_equal((struct bytes){l->id, l->id_len}, id))
		return error_set(e, ERROR_DENIED,
		    "%s/%s is damaged or not of version %d: the key signs nothing", state_dir, name,
		    KEY_LIMITS_VERSION);
	return true;
}
