#include "daemon/x509/destruction.h"

#include <string.h>

#define WHAT "destruction"

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
	canon_put(&w, "chancery-key-destruction: 1\nca: %s\ntoken: %s\n", d->ca, d->token);
	canon_put_hex_line(&w, "key", true, d->key, sizeof d->key);
	canon_put(&w, "label: %s\n", d->label);
	return canon_written(&w, WHAT, len, err);
}

static bool
read_values(struct canon_reader *r, void *to, struct error *err)
{
	struct destruction *d = to;

	return canon_take_text(r, "ca", d->ca, sizeof d->ca, err) &&
	       canon_take_text(r, "token", d->token, sizeof d->token, err) &&
	       canon_take_hex(r, "key", d->key, sizeof d->key, NULL, err) &&
	       canon_take_text(r, "label", d->label, sizeof d->label, err);
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return destruction_format(from, text, len, err);
}

bool
destruction_parse(const char *text, size_t len, struct destruction *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-key-destruction", DESTRUCTION_TEXT_MAX, read_values, write_again};

	*out = (struct destruction){.ca = ""};
	return canon_parse(&form, text, len, out, err);
}
