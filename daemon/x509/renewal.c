#include "daemon/x509/renewal.h"

#include <string.h>

static void
put_digest(
    struct canon_writer *w, const char *key, bool has, const uint8_t digest[RENEWAL_DIGEST_LEN])
{
	canon_put(w, "%s: ", key);
	if (has)
		canon_put_hex(w, digest, RENEWAL_DIGEST_LEN);
	else
		canon_put(w, "-");
	canon_put(w, "\n");
}

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
	put_digest(&w, "replaces", r->has_replaces, r->replaces);
	put_digest(&w, "key", true, r->key);
	put_digest(&w, "signer", r->has_signer, r->signer);
	canon_put(&w, "not-after: %s\n", end);
	if (w.failed)
		return error_set(err, ERROR_LIMIT,
		    "renewal: the document would have more than %d bytes", RENEWAL_TEXT_MAX);
	*len = w.len;
	return true;
}

static bool
read_end(const char *text, int64_t *t)
{
	*t = 0;
	return strcmp(text, "-") == 0 || canon_time(text, t);
}

static bool
read_digest(const char *text, bool *has, uint8_t digest[RENEWAL_DIGEST_LEN])
{
	*has = strcmp(text, "-") != 0;
	return !*has || canon_hex(text, digest, RENEWAL_DIGEST_LEN);
}

static bool
read_lines(struct canon_reader *in, struct renewal *r, struct error *err)
{
	char *version, *ca, *replaces, *key, *signer, *end;

	if (!canon_take(in, "chancery-renewal", &version, err) || !canon_take(in, "ca", &ca, err) ||
	    !canon_take(in, "replaces", &replaces, err) || !canon_take(in, "key", &key, err) ||
	    !canon_take(in, "signer", &signer, err) || !canon_take(in, "not-after", &end, err))
		return false;
	if (strcmp(version, "1") != 0)
		return error_set(
		    err, ERROR_INPUT, "renewal: version '%.16s' is not known", version);
	if (strlen(ca) > CANON_NAME_MAX || !read_digest(replaces, &r->has_replaces, r->replaces) ||
	    !canon_hex(key, r->key, sizeof r->key) ||
	    !read_digest(signer, &r->has_signer, r->signer) || !read_end(end, &r->not_after))
		return error_set(
		    err, ERROR_INPUT, "renewal: the CA's name, a digest or the end is malformed");
	memcpy(r->ca, ca, strlen(ca) + 1);
	return canon_end(in, err);
}

bool
renewal_parse(const char *text, size_t len, struct renewal *out, struct error *err)
{
	char copy[RENEWAL_TEXT_MAX + 1], again[RENEWAL_TEXT_MAX + 1];
	struct canon_reader in;
	size_t again_len;

	if (len > RENEWAL_TEXT_MAX)
		return error_set(
		    err, ERROR_LIMIT, "renewal: a document has at most %d bytes", RENEWAL_TEXT_MAX);
	*out = (struct renewal){.not_after = 0};
	memcpy(copy, text, len);
	copy[len] = '\0';
	canon_reader_init(&in, copy, "renewal");
	if (!read_lines(&in, out, err) || !renewal_format(out, again, &again_len, err))
		return false;
	/* Also whatever a NUL in it hid. */
	return (again_len == len && memcmp(again, text, len) == 0) ||
	       error_set(
		   err, ERROR_INPUT, "renewal: the document is not in its one canonical form");
}
