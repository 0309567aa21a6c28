#include "pkcs11/limits_show.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/name.h"
#include "pkcs11/limits.h"

#define DAY 86400

/* "  word        " */
static void
label(FILE *out, const char *word)
{
	(void)fprintf(out, "  %-13s", word);
}

static void
put_digest(FILE *out, const uint8_t digest[32])
{
	char text[65];

	hex_encode(digest, 32, text);
	(void)fprintf(out, "SHA-256 %s", text);
}

static void
put_path_length(FILE *out, int path_length)
{
	if (path_length >= 0)
		(void)fprintf(out, ", path length %d", path_length);
}

static void
put_head(FILE *out, const struct key_limits *l)
{
	char id[KEY_ID_TEXT_MAX], subject[NAME_TEXT_MAX];
	const struct limits *d = &l->document;
	struct error ignored = ERROR_INIT;

	key_limits_id_text((struct bytes){l->id, sizeof l->id}, id);
	(void)fprintf(out, "CA %s\n", d->ca);
	label(out, "limits");
	(void)fprintf(out, "version %u, ", (unsigned)d->version);
	put_digest(out, l->document_sha256);
	(void)fputc('\n', out);
	label(out, "key");
	put_digest(out, l->spki_sha256);
	(void)fputc('\n', out);
	label(out, "");
	(void)fprintf(out, "%s on token %s, CKA_ID %s\n", key_alg_name(d->algorithm), d->token, id);
	label(out, "subject");
	if (!name_to_text(
		(struct bytes){d->subject, d->subject_len}, subject, sizeof subject, &ignored))
		(void)snprintf(subject, sizeof subject, "(too long to be shown)");
	(void)fprintf(out, "%s, %s\n", subject, d->root ? "a root" : "a subordinate CA");
	if (d->retired == LIMITS_IN_USE)
		return;
	label(out, "retired");
	(void)fprintf(out, "the %s, which signs CRLs and no certificate any more\n",
	    d->retired == LIMITS_CA_RETIRED ? "CA" : "key");
}

static void
put_certificate(FILE *out, const struct key_limits *l)
{
	char from[CANON_TIME_SIZE], to[CANON_TIME_SIZE];

	label(out, "certificate");
	if (!l->installed) {
		(void)fprintf(out, "%s\n",
		    l->document.root ? "not yet signed"
				     : "not yet installed, so it signs its own request only");
		return;
	}
	canon_time_text(l->not_before, from);
	canon_time_text(l->not_after, to);
	(void)fprintf(out, "valid from %s to %s", from, to);
	put_path_length(out, l->path_length);
	(void)fputc('\n', out);
}

static void
put_names(FILE *out, const char *word, const struct limits_name *names, size_t count)
{
	char text[LIMITS_NAME_TEXT_SIZE];

	for (size_t i = 0; i < count; i++) {
		limits_name_text(&names[i], text);
		label(out, i == 0 ? word : "");
		(void)fprintf(out, "%s\n", text);
	}
}

static void
put_bounds(FILE *out, const struct limits *d)
{
	char to[CANON_TIME_SIZE];

	canon_time_text(d->not_after, to);
	label(out, "not after");
	(void)fprintf(out, "%s", to);
	put_path_length(out, d->path_length);
	(void)fputc('\n', out);
	label(out, "signs with");
	for (size_t i = 0; i < d->signature_count; i++)
		(void)fprintf(out, "%s%s", i > 0 ? ", " : "", sig_alg_name(d->signatures[i]));
	(void)fputc('\n', out);
	label(out, "signer ids");
	for (size_t i = 0; i < d->signer_count; i++)
		(void)fprintf(out, "%s%u", i > 0 ? ", " : "", d->signer_ids[i]);
	(void)fputc('\n', out);
	put_names(out, "permitted", d->permitted, d->permitted_count);
	put_names(out, "excluded", d->excluded, d->excluded_count);
	for (size_t i = 0; i < d->responder_count; i++) {
		label(out, i == 0 ? "responders" : "");
		put_digest(out, d->responders[i]);
		(void)fputc('\n', out);
	}
}

static void
put_operators(FILE *out, const struct limits *d)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	label(out, "quorum");
	(void)fprintf(out, "%u of %u may change the limits\n", d->quorum,
	    limits_count_persons(d, LIMITS_RIGHT_LIMITS));
	for (size_t i = 0; i < d->operator_count; i++) {
		const struct limits_operator *o = &d->operators[i];

		(void)SHA256(o->spki, o->spki_len, digest);
		label(out, i == 0 ? "operators" : "");
		(void)fprintf(out, "%s (%s%s%s), key ", o->person,
		    (o->rights & LIMITS_RIGHT_LIMITS) != 0 ? "limits" : "",
		    o->rights == (LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE) ? ", " : "",
		    (o->rights & LIMITS_RIGHT_DECIDE) != 0 ? "decides" : "");
		put_digest(out, digest);
		(void)fputc('\n', out);
	}
}

static void
put_template(FILE *out, const struct limits_template *t)
{
	char text[OID_TEXT_MAX];

	(void)fprintf(out, "%s: %s, at most ", t->name, t->automatic ? "automatic" : "decided");
	if (t->validity_s % DAY == 0)
		(void)fprintf(out, "%lld days", (long long)(t->validity_s / DAY));
	else
		(void)fprintf(out, "%lld s", (long long)t->validity_s);
	if (t->ca)
		(void)fprintf(out, ", CAs");
	put_path_length(out, t->path_length);
	for (unsigned bit = 1, n = 0; bit <= KU_DECIPHER_ONLY; bit <<= 1)
		if ((t->key_usage & bit) != 0)
			(void)fprintf(
			    out, "%s%s", n++ == 0 ? "; " : ", ", key_usage_name((uint16_t)bit));
	for (size_t i = 0; i < t->purpose_count; i++) {
		limits_purpose_text(&t->purposes[i], text);
		(void)fprintf(out, "%s%s", i == 0 ? "; " : ", ", text);
	}
	(void)fputc('\n', out);
}

static void
put_templates(FILE *out, const struct limits *d)
{
	label(out, "templates");
	if (d->template_count == 0)
		(void)fprintf(out, "none\n");
	for (size_t i = 0; i < d->template_count; i++) {
		if (i > 0)
			label(out, "");
		put_template(out, &d->templates[i]);
	}
}

static void
put_invalid(FILE *out, const uint8_t id[KEY_ID_LEN], const struct error *why)
{
	char text[KEY_ID_TEXT_MAX];

	key_limits_id_text((struct bytes){id, KEY_ID_LEN}, text);
	(void)fprintf(out, "The key with CKA_ID %s\n", text);
	label(out, "not valid");
	(void)fprintf(out, "%s\n", why->text);
}

bool
limits_show(const char *state_dir, FILE *out, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	uint8_t(*ids)[KEY_ID_LEN] = NULL;
	size_t count = 0;
	bool ok = false;

	if (l == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
		goto out;
	}
	if (!key_limits_list(state_dir, &ids, &count, e))
		goto out;
	for (size_t i = 0; i < count; i++) {
		struct error why = ERROR_INIT;

		if (i > 0)
			(void)fputc('\n', out);
		if (key_limits_load(l, state_dir, (struct bytes){ids[i], KEY_ID_LEN}, &why)) {
			put_head(out, l);
			put_certificate(out, l);
			put_bounds(out, &l->document);
			put_operators(out, &l->document);
			put_templates(out, &l->document);
		} else {
			put_invalid(out, ids[i], &why);
			(void)error_set(e, why.code, "%s", why.text);
		}
	}
	if (count == 0)
		(void)fprintf(out, "No key has limits in %s.\n", state_dir);
	if (fflush(out) != 0)
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot write the limits");
	ok = !error_is_set(e);
out:
	free(ids);
	free(l);
	return ok;
}
