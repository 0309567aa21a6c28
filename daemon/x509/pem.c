#include "daemon/x509/pem.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/encode.h"

#define LINE_LEN 64

static const char dashes[] = "-----";

/* "-----BEGIN label-----" or END. */
static size_t
make_line(char *out, size_t size, const char *word, const char *label)
{
	return (size_t)snprintf(out, size, "%s%s %s%s", dashes, word, label, dashes);
}

/* The block of this label: what stands between its two lines, and what comes
 * after. begin_at tells where it starts. */
static bool
find_block(struct bytes text, const char *label, struct bytes *body, struct bytes *after,
    const uint8_t **begin_at, bool *broken)
{
	char begin[PEM_LABEL_MAX + 32], end[PEM_LABEL_MAX + 32];
	size_t begin_len = make_line(begin, sizeof begin, "BEGIN", label);
	size_t end_len = make_line(end, sizeof end, "END", label);
	const uint8_t *text_end = text.p + text.len;
	const uint8_t *b, *e;

	if (text.len == 0)
		return false;
	b = memmem(text.p, text.len, begin, begin_len);
	if (b == NULL)
		return false;
	*begin_at = b;
	b += begin_len;
	e = memmem(b, (size_t)(text_end - b), end, end_len);
	*broken = e == NULL;
	if (e == NULL)
		return true;
	*body = (struct bytes){b, (size_t)(e - b)};
	*after = (struct bytes){e + end_len, (size_t)(text_end - e) - end_len};
	return true;
}

bool
pem_decode(struct bytes *text, const char *label, uint8_t *out, size_t out_size, size_t *len,
    struct error *err)
{
	struct bytes body = {0}, after = {0}, other_body = {0}, other_after = {0};
	const uint8_t *at = NULL, *other_at = NULL;
	bool broken = false, other_broken = false;
	bool found, other_found = false;

	found = find_block(*text, label, &body, &after, &at, &broken);
	if (strcmp(label, PEM_CERTIFICATE_REQUEST) == 0)
		other_found = find_block(*text, "NEW CERTIFICATE REQUEST", &other_body,
		    &other_after, &other_at, &other_broken);
	if (other_found && (!found || other_at < at)) {
		found = true;
		body = other_body;
		after = other_after;
		broken = other_broken;
	}
	if (!found)
		return error_set(
		    err, ERROR_NOT_FOUND, "there is no PEM block '-----BEGIN %s-----'", label);
	if (broken)
		return error_set(
		    err, ERROR_INPUT, "the PEM block has no line '-----END %s-----'", label);
	if (!base64_decode(body, true, out, out_size, len, err))
		return error_wrap(err, "PEM %s", label);
	*text = after;
	return true;
}

size_t
pem_encoded_size(const char *label, size_t der_len)
{
	size_t base64_len = (der_len + 2) / 3 * 4;
	size_t lines = (base64_len + LINE_LEN - 1) / LINE_LEN;

	/* "-----BEGIN " and "-----" with a newline; END is two shorter. */
	return base64_len + lines + 2 * strlen(label) + 17 + 15 + 1;
}

bool
pem_encode(const char *label, struct bytes der, char *out, size_t out_size)
{
	static const char alphabet[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *p = out;
	size_t column = 0;

	if (strlen(label) > PEM_LABEL_MAX || out_size < pem_encoded_size(label, der.len))
		return false;
	p += make_line(p, out_size, "BEGIN", label);
	*p++ = '\n';
	for (size_t i = 0; i < der.len; i += 3) {
		size_t left = der.len - i;
		uint32_t group = (uint32_t)der.p[i] << 16 |
				 (left > 1 ? (uint32_t)der.p[i + 1] << 8 : 0) |
				 (left > 2 ? der.p[i + 2] : 0);

		*p++ = alphabet[group >> 18];
		*p++ = alphabet[group >> 12 & 63];
		*p++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
		*p++ = left > 2 ? alphabet[group & 63] : '=';
		column += 4;
		if (column == LINE_LEN || left <= 3) {
			*p++ = '\n';
			column = 0;
		}
	}
	p += make_line(p, out_size - (size_t)(p - out), "END", label);
	*p++ = '\n';
	*p = '\0';
	return true;
}
