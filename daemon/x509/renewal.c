#include "daemon/x509/renewal.h"

#include <string.h>

#define WHAT "renewal"

bool
renewal_format(
    const struct renewal *r, char out[RENEWAL_TEXT_MAX + 1], size_t *len, struct error *err)
{
	char end[CANON_TIME_SIZE] = "-";
	struct canon_writer w;

	if (!canon_is_name(r->ca, ".-_", false) ||
	    (r->not_after != 0 && !canon_time_valid(r->not_after)))
		return error_set(
		    err, ERROR_INPUT, "renewal: the CA's name or the end is missing, or is none");
	if (r->not_after != 0)
		canon_time_text(r->not_after, end);
	canon_writer_init(&w, out, RENEWAL_TEXT_MAX + 1);
	canon_put(&w, "chancery-renewal: 1\nca: %s\n", r->ca);
	canon_put_hex_line(&w, "replaces", r->has_replaces, r->replaces, sizeof r->replaces);
	canon_put_hex_line(&w, "key", true, r->key, sizeof r->key);
	canon_put_hex_line(&w, "signer", r->has_signer, r->signer, sizeof r->signer);
	canon_put(&w, "not-after: %s\n", end);
	return canon_written(&w, WHAT, len, err);
}

static bool
take_end(struct canon_reader *r, int64_t *t, struct error *err)
{
	char *v;

	*t = 0;
	return canon_take(r, "not-after", &v, err) &&
	       (strcmp(v, "-") == 0 || canon_time(v, t) ||
		   error_set(err, ERROR_INPUT,
		       WHAT ", field 'not-after': must be like 2026-11-22T12:00:00Z, or '-'"));
}

static bool
read_values(struct canon_reader *in, void *to, struct error *err)
{
	struct renewal *r = to;

	return canon_take_text(in, "ca", r->ca, sizeof r->ca, err) &&
	       canon_take_hex(
		   in, "replaces", r->replaces, sizeof r->replaces, &r->has_replaces, err) &&
	       canon_take_hex(in, "key", r->key, sizeof r->key, NULL, err) &&
	       canon_take_hex(in, "signer", r->signer, sizeof r->signer, &r->has_signer, err) &&
	       take_end(in, &r->not_after, err);
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return renewal_format(from, text, len, err);
}

bool
renewal_parse(const char *text, size_t len, struct renewal *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-renewal", RENEWAL_TEXT_MAX, read_values, write_again};

	*out = (struct renewal){.not_after = 0};
	return canon_parse(&form, text, len, out, err);
}
