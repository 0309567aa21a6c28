/* One place where relying parties look: fetched as they do, and judged. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "daemon/cli/doctor.h"
#include "daemon/core/encode.h"
#include "daemon/core/monotonic.h"
#include "daemon/publish/look.h"
#include "daemon/x509/crl_read.h"

#define FETCH_TIMEOUT_MS (LOOK_ATTEMPT_S * 1000)
#define FOREIGN_CRL_MAX ((uint64_t)64 << 20) /* of a CA that is not ours: read as a whole */
#define PIECE 65536

/* What was fetched: in a file without a name, digested on its way. */
struct catch
{
	FILE *file;
	EVP_MD_CTX *md;
	uint64_t size;
	char sha256[65];
	struct bytes wanted; /* one of several values may be it */
	bool is_wanted;
	bool is_elsewhere; /* only size and sha256 are known */
};

static bool
start_value(struct catch *c, struct error *err)
{
	c->size = 0;
	if (fflush(c->file) != 0 || fseek(c->file, 0, SEEK_SET) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "keeping what was fetched");
	if (EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
	return true;
}

static bool
take_data(const void *p, size_t len, void *arg, struct error *err)
{
	struct catch *c = arg;

	if (c->size == 0 && !start_value(c, err))
		return false;
	c->size += len;
	if (fwrite(p, 1, len, c->file) != len)
		return error_set_errno(err, ERROR_SYSTEM, "keeping what was fetched");
	if (EVP_DigestUpdate(c->md, p, len) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "digesting what was fetched");
	return true;
}

static bool
take_end(bool *enough, void *arg, struct error *err)
{
	uint8_t digest[32], wanted[32];
	struct catch *c = arg;

	if (c->size == 0)
		return error_set(err, ERROR_INPUT, "what stands there is empty");
	if (EVP_DigestFinal_ex(c->md, digest, NULL) != 1 ||
	    (c->wanted.len > 0 &&
		EVP_Digest(c->wanted.p, c->wanted.len, wanted, NULL, EVP_sha256(), NULL) != 1))
		return error_set_openssl(err, ERROR_INTERNAL, "digesting what was fetched");
	hex_encode(digest, sizeof digest, c->sha256);
	c->is_wanted = c->wanted.len > 0 && memcmp(digest, wanted, sizeof digest) == 0;
	*enough = c->wanted.len == 0 || c->is_wanted;
	if (!*enough)
		c->size = 0; /* the next value starts afresh */
	return true;
}

static bool
fetch_here(const struct doctor_place *place, const struct fetch_sink *sink, struct error *err)
{
	struct publish_job *job = calloc(1, sizeof *job);
	struct target_work work = {.job = job, .artifact_fd = -1};
	bool ok = false;

	if (job == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "allocating a look at %s", place->url);
	work.deadline_ms = monotonic_ms() + FETCH_TIMEOUT_MS;
	job->artifact = place->kind;
	/* No file: that is not where relying parties look. */
	if (strncasecmp(place->url, "http", 4) != 0 && strncasecmp(place->url, "ldap", 4) != 0)
		error_set(err, ERROR_INPUT, "%s is no place on the network", place->url);
	else if (strlen(place->url) >= sizeof job->read_url)
		error_set(err, ERROR_LIMIT, "the URL is longer than %zu octets",
		    sizeof job->read_url - 1);
	else {
		memcpy(job->read_url, place->url, strlen(place->url) + 1);
		ok = fetch_read(&work, LOOK_READ_MAX, sink, err);
	}
	free(job);
	return ok;
}

static bool
fetch_from(struct doctor *d, const struct doctor_place *place, const struct fetch_sink *sink,
    struct error *err)
{
	struct catch *c = sink->arg;
	struct doctor_digest digest;
	uint8_t wanted[32];
	char hex[65];

	if (c->wanted.len > 0 &&
	    EVP_Digest(c->wanted.p, c->wanted.len, wanted, NULL, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "digesting a certificate");
	hex_encode(wanted, c->wanted.len > 0 ? sizeof wanted : 0, hex);
	if (!doctor_fetch_from(d, place, c->wanted.len > 0 ? hex : NULL, sink, &digest, err))
		return false;
	if (digest.sha256[0] != '\0') {
		c->is_elsewhere = true;
		c->size = digest.size;
		memcpy(c->sha256, digest.sha256, sizeof c->sha256);
	}
	return true;
}

static bool
fetch(struct doctor *d, const struct doctor_place *place, struct catch *c, struct error *err)
{
	const struct fetch_sink sink = {.data = take_data, .end = take_end, .arg = c};

	return d->from != NULL ? fetch_from(d, place, &sink, err) : fetch_here(place, &sink, err);
}

/* ---- what it is */

struct found {
	char number[DOCTOR_NUMBER_MAX], base[DOCTOR_NUMBER_MAX];
	int64_t this_update, next_update;
	uint64_t entries;
	bool delta;
	bool revoked;	       /* the place's subject ... */
	int reason;	       /* ... CRLReason, or -1 */
	int64_t revocation_at; /* ... since */
};

static void
keep_summary(const struct crl_summary *s, struct found *f)
{
	f->this_update = s->this_update;
	f->next_update = s->next_update;
	f->entries = s->entries;
	f->delta = s->delta;
	if (!crl_number_to_text(
		(struct bytes){s->number, s->number_len}, f->number, sizeof f->number) ||
	    (s->delta && !crl_number_to_text((struct bytes){s->base_number, s->base_number_len},
			     f->base, sizeof f->base)))
		f->number[0] = '\0';
}

static bool
read_own_crl(const struct doctor_place *place, struct catch *c, enum sig_alg alg, struct found *f,
    struct error *err)
{
	const struct crl_rules rules = {
	    .issuer = place->issuer->subject,
	    .key_id = place->issuer->subject_key_id,
	    .sig_alg = alg,
	};
	struct crl_reader *r = crl_reader_new(&rules, &place->issuer->spki, c->size, err);
	const struct crl_summary *summary;
	uint8_t piece[PIECE];
	uint64_t left = c->size;
	bool ok = r != NULL;

	rewind(c->file);
	while (ok && left > 0) {
		size_t n = left < sizeof piece ? (size_t)left : sizeof piece;

		if (fread(piece, 1, n, c->file) != n)
			ok = error_set_errno(err, ERROR_SYSTEM, "reading what was fetched");
		else
			ok = crl_reader_push(r, (struct bytes){piece, n}, err);
		left -= n;
	}
	ok = ok && crl_reader_finish(r, &summary, err);
	if (ok)
		keep_summary(summary, f);
	crl_reader_free(r);
	return ok;
}

static bool
asn1_time(const ASN1_TIME *t, int64_t *seconds)
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*seconds = timegm(&tm);
	return true;
}

static void
keep_number(const X509_CRL *crl, int nid, char out[DOCTOR_NUMBER_MAX])
{
	ASN1_INTEGER *n = X509_CRL_get_ext_d2i(crl, nid, NULL, NULL);
	BIGNUM *big = n != NULL ? ASN1_INTEGER_to_BN(n, NULL) : NULL;
	char *text = big != NULL ? BN_bn2dec(big) : NULL;

	(void)snprintf(out, DOCTOR_NUMBER_MAX, "%s", text != NULL ? text : "");
	OPENSSL_free(text);
	BN_free(big);
	ASN1_INTEGER_free(n);
}

static bool
judge_foreign(X509_CRL *crl, const struct doctor_place *place, struct found *f, struct error *err)
{
	EVP_PKEY *key = spki_to_pkey(&place->issuer->spki, err);
	const uint8_t *name = NULL;
	size_t name_len = 0;
	bool ok = false;

	if (key == NULL)
		return false;
	if (X509_NAME_get0_der(X509_CRL_get_issuer(crl), &name, &name_len) != 1 ||
	    !bytes_equal((struct bytes){name, name_len}, place->issuer->subject))
		error_set(err, ERROR_INPUT, "it is a CRL of another CA");
	else if (X509_CRL_verify(crl, key) != 1)
		error_set(err, ERROR_INPUT, "its signature is not of the CA's key");
	else if (!asn1_time(X509_CRL_get0_lastUpdate(crl), &f->this_update) ||
		 !asn1_time(X509_CRL_get0_nextUpdate(crl), &f->next_update))
		error_set(err, ERROR_INPUT, "it has no nextUpdate (RFC 5280 5.1.2.5)");
	else
		ok = true;
	EVP_PKEY_free(key);
	return ok;
}

/* Whether the subject is on it; what a delta takes off is not. */
static void
find_subject(X509_CRL *crl, const struct certificate *subject, struct found *f)
{
	BIGNUM *number = BN_bin2bn(subject->serial.p, (int)subject->serial.len, NULL);
	ASN1_INTEGER *serial = number != NULL ? BN_to_ASN1_INTEGER(number, NULL) : NULL;
	X509_REVOKED *entry = NULL;
	ASN1_ENUMERATED *reason;

	f->reason = -1;
	if (serial != NULL && X509_CRL_get0_by_serial(crl, &entry, serial) == 1) {
		f->revoked = true;
		(void)asn1_time(X509_REVOKED_get0_revocationDate(entry), &f->revocation_at);
		reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
		if (reason != NULL)
			f->reason = (int)ASN1_ENUMERATED_get(reason);
		ASN1_ENUMERATED_free(reason);
	}
	ASN1_INTEGER_free(serial);
	BN_free(number);
}

/* Other makers' CRLs may be right in ways that ours are not allowed to. */
static bool
read_foreign_crl(
    const struct doctor_place *place, struct catch *c, struct found *f, struct error *err)
{
	uint8_t *der = NULL;
	const uint8_t *p;
	X509_CRL *crl = NULL;
	bool ok = false;

	if (c->size > FOREIGN_CRL_MAX)
		return error_set(err, ERROR_LIMIT, "it is longer than %llu octets and not read",
		    (unsigned long long)FOREIGN_CRL_MAX);
	rewind(c->file);
	der = malloc(c->size);
	if (der == NULL || fread(der, 1, c->size, c->file) != c->size) {
		error_set_errno(err, ERROR_SYSTEM, "reading what was fetched");
		goto out;
	}
	p = der;
	crl = d2i_X509_CRL(NULL, &p, (long)c->size);
	if (crl == NULL || p != der + c->size) {
		ERR_clear_error();
		error_set(err, ERROR_INPUT, "it is no CRL in DER");
		goto out;
	}
	ok = judge_foreign(crl, place, f, err);
	f->delta = X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0;
	f->entries = (uint64_t)sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl));
	if (f->entries > INT64_MAX)
		f->entries = 0;
	keep_number(crl, NID_crl_number, f->number);
	keep_number(crl, NID_delta_crl, f->base);
	if (ok && place->subject != NULL)
		find_subject(crl, place->subject, f);
out:
	X509_CRL_free(crl);
	free(der);
	return ok;
}

static bool
read_crl(const struct doctor_place *place, struct catch *c, struct found *f, struct error *err)
{
	uint8_t head[512];
	enum sig_alg alg;
	size_t n;

	if (place->sha256 == NULL)
		return read_foreign_crl(place, c, f, err);
	rewind(c->file);
	n = fread(head, 1, sizeof head, c->file);
	return crl_peek_algorithm((struct bytes){head, n}, &alg, err) &&
	       read_own_crl(place, c, alg, f, err);
}

/* ---- findings */

static void
note(struct doctor *d, const struct doctor_place *place, enum finding state, const char *text)
{
	doctor_note_place(
	    d, state, place->object, artifact_kind_name(place->kind), "%s: %s", place->url, text);
}

/* Once is enough; but one that has ceased to answer is news, and a host that does not look
 * any more is said in any case, since nothing else is said of all that comes after it. */
static void
note_unreachable(struct doctor *d, const struct doctor_place *place, const struct error *why)
{
	char key[PUBLISH_URL_MAX + 16];
	bool said;

	(void)snprintf(key, sizeof key, "unreachable %s", place->url);
	said = doctor_is_seen(d, key);
	if (!said || d->from_is_away)
		note(d, place, FINDING_CRITICAL, why->text);
}

/* Numbers are decimal without leading zeros. */
static int
compare_numbers(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);

	return la != lb ? (la < lb ? -1 : 1) : strcmp(a, b);
}

static void
judge_crl(struct doctor *d, const struct doctor_place *place, const struct catch *c,
    const struct found *f)
{
	char span[DOCTOR_SPAN_MAX], text[ERROR_TEXT_MAX];
	int64_t left = f->next_update - d->now;
	int order = place->number != NULL ? compare_numbers(f->number, place->number) : 0;

	(void)doctor_span(left, span);
	if (f->delta != (place->kind == ARTIFACT_DELTA_CRL))
		(void)snprintf(text, sizeof text,
		    "a %s stands where clients expect a %s (RFC 5280 5.2.4)",
		    f->delta ? "delta CRL" : "complete CRL",
		    f->delta ? "complete one" : "delta CRL");
	else if (left <= 0)
		(void)snprintf(text, sizeof text, "number %s ended %s ago: clients refuse it",
		    f->number, span);
	else if (f->this_update > d->now + 300)
		(void)snprintf(text, sizeof text, "number %s begins in the future", f->number);
	else if (order > 0)
		(void)snprintf(text, sizeof text,
		    "number %s is unknown to the service, whose last is %s: was its database put "
		    "back, or is its key used elsewhere?",
		    f->number, place->number);
	else if (order == 0 && place->sha256 != NULL && strcmp(c->sha256, place->sha256) != 0)
		(void)snprintf(text, sizeof text,
		    "number %s is not the CRL of that number that the service issued", f->number);
	else {
		bool late = order < 0 || (place->overlap_s > 0 && left < place->overlap_s / 2);

		(void)snprintf(text, sizeof text, "number %s, %llu entries, valid for %s%s%s",
		    f->number, (unsigned long long)f->entries, span,
		    order < 0 ? "; the service has issued number " : "",
		    order < 0 ? place->number : "");
		note(d, place, late ? FINDING_WARNING : FINDING_OK, text);
		return;
	}
	note(d, place, FINDING_CRITICAL, text);
}

static void
judge_subject(struct doctor *d, const struct doctor_place *place, const struct found *f)
{
	char span[DOCTOR_SPAN_MAX];
	bool held = f->reason == CRL_REASON_CERTIFICATE_HOLD;

	if (place->subject == NULL || !f->revoked)
		return;
	doctor_note_place(d, FINDING_CRITICAL, place->object, "revocation",
	    "%s: a certificate of the chain is %s there since %s%s%s", place->url,
	    held ? "on hold" : "revoked", doctor_span(d->now - f->revocation_at, span),
	    f->reason == CRL_REASON_KEY_COMPROMISE || f->reason == CRL_REASON_CA_COMPROMISE
		? ", because its key is compromised"
		: "",
	    "; nobody trusts what was issued under it");
}

/* Too long to come here: it is the last one of the service's or not. */
static void
judge_digest(
    struct doctor *d, const struct doctor_place *place, const struct catch *c, char *number)
{
	char text[ERROR_TEXT_MAX];
	bool same = place->sha256 != NULL && strcmp(c->sha256, place->sha256) == 0;

	if (place->again)
		return;
	if (same)
		(void)snprintf(text, sizeof text, "the service's number %s, %llu octets",
		    place->number != NULL ? place->number : "-", (unsigned long long)c->size);
	else
		(void)snprintf(text, sizeof text,
		    "%llu octets%s, too many to be judged from another host",
		    (unsigned long long)c->size,
		    place->sha256 != NULL ? ", not the last CRL of the service" : "");
	note(d, place, same ? FINDING_OK : FINDING_WARNING, text);
	if (same && number != NULL && place->number != NULL && place->kind == ARTIFACT_CRL)
		(void)snprintf(number, DOCTOR_NUMBER_MAX, "%s", place->number);
}

static void
look_for_crl(struct doctor *d, const struct doctor_place *place, struct catch *c, char *number)
{
	struct error why = ERROR_INIT;
	struct found f = {0};

	if (c->is_elsewhere) {
		judge_digest(d, place, c, number);
		return;
	}
	if (!read_crl(place, c, &f, &why)) {
		if (!place->again)
			note(d, place, FINDING_CRITICAL, why.text);
		return;
	}
	if (!place->again)
		judge_crl(d, place, c, &f);
	judge_subject(d, place, &f);
	if (number != NULL && f.delta == (place->kind == ARTIFACT_DELTA_CRL))
		memcpy(number, f.delta ? f.base : f.number, DOCTOR_NUMBER_MAX);
}

void
doctor_look(struct doctor *d, const struct doctor_place *place, char number[DOCTOR_NUMBER_MAX])
{
	struct catch c = {.file = tmpfile(), .md = EVP_MD_CTX_new()};
	struct error why = ERROR_INIT;

	if (number != NULL)
		number[0] = '\0';
	if (d->from_is_away || error_is_set(&d->refused))
		goto out; /* said once is enough */
	if (place->kind == ARTIFACT_CA_CERTIFICATE)
		c.wanted = place->issuer->whole;
	if (c.file == NULL || c.md == NULL)
		note(d, place, FINDING_CRITICAL, "no temporary file can be made here");
	else if (!fetch(d, place, &c, &why))
		note_unreachable(d, place, &why);
	else if (place->kind != ARTIFACT_CA_CERTIFICATE)
		look_for_crl(d, place, &c, number);
	else if (c.is_wanted)
		note(d, place, FINDING_OK, "is the CA's certificate");
	else
		note(d, place, FINDING_CRITICAL,
		    "something else than the CA's certificate in DER stands there (RFC 5280 "
		    "4.2.2.1)");
out:
	if (c.file != NULL)
		(void)fclose(c.file);
	EVP_MD_CTX_free(c.md);
}
