#include "daemon/x509/destruction.h"

#include <string.h>

/* A space at an end would not be seen. */
static bool
is_label(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > DESTRUCTION_LABEL_MAX || s[0] == ' ' || s[len - 1] == ' ')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	}
	return true;
}

bool
destruction_format(
    const struct destruction *d, char out[DESTRUCTION_TEXT_MAX + 1], size_t *len, struct error *err)
{
	struct canon_writer w;

	if (!canon_is_name(d->ca, ".-_", false) || !canon_is_name(d->token, ".-_", false))
		return error_set(
		    err, ERROR_INPUT, "destruction: the CA's or the token's name is none");
	if (!is_label(d->label))
		return error_set(err, ERROR_INPUT,
		    "destruction: a label is 1 to %d printable characters of ASCII",
		    DESTRUCTION_LABEL_MAX);
	canon_writer_init(&w, out, DESTRUCTION_TEXT_MAX + 1);
	canon_put(&w, "chancery-key-destruction: 1\nca: %s\ntoken: %s\nkey: ", d->ca, d->token);
	canon_put_hex(&w, d->key, sizeof d->key);
	canon_put(&w, "\nlabel: %s\n", d->label);
	if (w.failed)
		return error_set(err, ERROR_LIMIT,
		    "destruction: the document would have more than %d bytes",
		    DESTRUCTION_TEXT_MAX);
	*len = w.len;
	return true;
}

static bool
read_lines(struct canon_reader *in, struct destruction *d, struct error *err)
{
	char *version, *ca, *token, *key, *label;

	if (!canon_take(in, "chancery-key-destruction", &version, err) ||
	    !canon_take(in, "ca", &ca, err) || !canon_take(in, "token", &token, err) ||
	    !canon_take(in, "key", &key, err) || !canon_take(in, "label", &label, err))
		return false;
	if (strcmp(version, "1") != 0)
		return error_set(
		    err, ERROR_INPUT, "destruction: version '%.16s' is not known", version);
	if (strlen(ca) > CANON_NAME_MAX || strlen(token) > CANON_NAME_MAX ||
	    strlen(label) > DESTRUCTION_LABEL_MAX || !canon_hex(key, d->key, sizeof d->key))
		return error_set(
		    err, ERROR_INPUT, "destruction: a name, the digest or the label is malformed");
	memcpy(d->ca, ca, strlen(ca) + 1);
	memcpy(d->token, token, strlen(token) + 1);
	memcpy(d->label, label, strlen(label) + 1);
	return canon_end(in, err);
}

bool
destruction_parse(const char *text, size_t len, struct destruction *out, struct error *err)
{
	char copy[DESTRUCTION_TEXT_MAX + 1], again[DESTRUCTION_TEXT_MAX + 1];
	struct canon_reader in;
	size_t again_len;

	if (len > DESTRUCTION_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, "destruction: a document has at most %d bytes",
		    DESTRUCTION_TEXT_MAX);
	*out = (struct destruction){.ca = ""};
	memcpy(copy, text, len);
	copy[len] = '\0';
	canon_reader_init(&in, copy, "destruction");
	if (!read_lines(&in, out, err) || !destruction_format(out, again, &again_len, err))
		return false;
	/* Also whatever a NUL in it hid. */
	return (again_len == len && memcmp(again, text, len) == 0) ||
	       error_set(
		   err, ERROR_INPUT, "destruction: the document is not in its one canonical form");
}
