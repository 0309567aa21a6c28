#include "daemon/cli/pin_show.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/cli/decision.h"
#include "daemon/core/encode.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/crl_abstract.h"
#include "daemon/x509/crl_check.h"
#include "daemon/x509/crl_read.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"
#include "daemon/x509/statement.h"

#define PIECE_MAX (1024 * 1024) /* octets */
#define PIECES_MAX 100000
#define NAMES_SHOWN 100
#define HEADER_MAX 10

/* ------------------------------------------------------------------- pieces */

struct piece {
	uint8_t *octets; /* owned; PIECE_MAX of room */
	size_t len;
	json_int_t count; /* of all pieces */
};

static bool
fetch(struct cli *cli, const char *id, json_int_t number, struct piece *p, struct error *e)
{
	char path[CLI_PATH_MAX], text[24];
	json_t *answer = NULL;
	const char *tbs;
	bool ok;

	(void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, number);
	if (!cli_path(path, "/v1/pin/operations/", id, "/tbs", e) ||
	    !cli_path_add(path, "piece", text, e) ||
	    !cli_get_object(cli, path, "id", id, &answer, e))
		return false;
	tbs = cli_member(answer, "tbs", e);
	p->count = json_integer_value(json_object_get(answer, "pieces"));
	ok = tbs != NULL && base64_decode((struct bytes){(const uint8_t *)tbs, strlen(tbs)}, false,
				p->octets, PIECE_MAX, &p->len, e);
	if (ok && (p->count < 1 || p->count > PIECES_MAX || p->len == 0))
		ok = error_set(e, ERROR_INTERNAL,
		    "the service shows %" JSON_INTEGER_FORMAT " pieces of what would be signed",
		    p->count);
	json_decref(answer);
	return ok;
}

/* ------------------------------------------------------------------- showing */

static void
note_text(const char *what, const char *text)
{
	char line[4096];

	table_escape(text, line, sizeof line);
	cli_note("  %-12s %s", what, line);
}

static bool
note_name(const char *what, struct bytes name, struct error *e)
{
	char text[NAME_TEXT_MAX];

	if (name_is_empty(name)) {
		note_text(what, "(empty)");
		return true;
	}
	if (!name_to_text(name, text, sizeof text, e))
		return false;
	note_text(what, text);
	return true;
}

static void
note_times(const char *what, int64_t from, int64_t to)
{
	char first[CANON_TIME_SIZE], last[CANON_TIME_SIZE];

	canon_time_text(from, first);
	canon_time_text(to, last);
	cli_note("  %-12s %s to %s", what, first, last);
}

static void
note_names(const struct san *names, size_t count)
{
	for (size_t i = 0; i < count && i < NAMES_SHOWN; i++) {
		char text[SAN_TEXT_MAX];

		note_text(i == 0 ? "names" : "",
		    san_to_text(&names[i], text, sizeof text) ? text : "(of another kind)");
	}
	if (count > NAMES_SHOWN)
		cli_note("  %-12s and %zu more", "", count - NAMES_SHOWN);
}

static bool
show_names(struct bytes extensions, struct error *e)
{
	struct san *names = calloc(CSR_SAN_MAX, sizeof *names);
	struct extension san;
	size_t count = 0;
	bool ok = names != NULL;

	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "allocating names");
	else if (extension_find(extensions, oid_subject_alt_name, &san))
		ok = extension_read_subject_alt_name(san.value, names, CSR_SAN_MAX, &count, e);
	if (ok)
		note_names(names, count);
	free(names);
	return ok;
}

static bool
show_certificate(struct bytes tbs, struct error *e)
{
	struct certificate c;
	char serial[2 * 20 + 1], key[16];

	if (!tbs_certificate_parse(tbs, &c, e))
		return error_wrap(e, "what would be signed is no certificate");
	hex_encode(c.serial.p, c.serial.len, serial);
	spki_describe(&c.spki, key);
	if (!note_name("issuer", c.issuer, e) || !note_name("subject", c.subject, e) ||
	    !show_names(c.extensions, e))
		return false;
	note_times("valid", c.not_before, c.not_after);
	cli_note("  %-12s %s", "key", key);
	cli_note("  %-12s %s", "serial", serial);
	if (c.ca && c.path_length >= 0)
		cli_note("  %-12s YES: a certificate of a CA, path length %d", "CA", c.path_length);
	else if (c.ca)
		cli_note("  %-12s YES: a certificate of a CA", "CA");
	return true;
}

static bool
show_request(struct bytes info, struct error *e)
{
	struct csr *csr = malloc(sizeof *csr);
	char key[16];
	bool ok;

	if (csr == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a request");
	ok = csr_info_parse(info, csr, e) || error_wrap(e, "what would be signed is no request");
	if (ok) {
		spki_describe(&csr->spki, key);
		ok = note_name("subject", csr->subject, e);
		note_names(csr->names, csr->name_count);
		cli_note("  %-12s %s", "key", key);
	}
	free(csr);
	return ok;
}

static bool
show_order(struct bytes text, struct error *e)
{
	char copy[STATEMENT_TEXT_MAX + 1];
	struct statement s;

	if (!statement_parse((const char *)text.p, text.len, &s, e))
		return error_wrap(e, "what the signer would carry out is no order");
	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	decision_show_text(copy);
	return true;
}

/* ---------------------------------------------------------------------- CRLs */

/* What a CRL has to name as its issuer and key, of the certificate of the CA's key that would
 * sign it, which may be an older one. That comes from the service; another CA's would not fit
 * the CRL. */
struct crl_issuer {
	uint8_t der[CERTIFICATE_MAX];
	struct certificate certificate;
};

static bool
load_issuer(struct cli *cli, const char *ca, const struct pin_operation *operation,
    struct crl_issuer *issuer, struct error *e)
{
	char path[CLI_PATH_MAX], key[2 * PIN_ENVELOPE_ID_MAX + 1], *text = NULL;
	struct bytes input;
	size_t len;
	bool ok;

	hex_encode(operation->cka_id, operation->cka_id_len, key);
	if (!cli_path(path, "/v1/cas/", ca, "/chain", e) || !cli_path_add(path, "cka_id", key, e) ||
	    !http_get_text(cli->http, path, &text, e))
		return false;
	input = (struct bytes){(const uint8_t *)text, strlen(text)};
	ok = pem_decode(&input, PEM_CERTIFICATE, issuer->der, sizeof issuer->der, &len, e) &&
	     certificate_parse((struct bytes){issuer->der, len}, &issuer->certificate, e);
	free(text);
	return ok || error_wrap(e, "the certificate of CA %s", ca);
}

/* Octets of the whole structure, by the header of its first piece. */
static uint64_t
announced_len(const struct piece *p)
{
	uint64_t len = 0;
	size_t n;

	if (p->len < HEADER_MAX || p->octets[0] != 0x30)
		return 0;
	if (p->octets[1] < 0x80)
		return 2 + (uint64_t)p->octets[1];
	n = p->octets[1] & 0x7f;
	if (n > 7)
		return 0;
	for (size_t i = 0; i < n; i++)
		len = len << 8 | p->octets[2 + i];
	return 2 + n + len;
}

/* The algorithm is looked for in a signed list, whose header comes first. */
static bool
begin_crl(struct crl_check *check, const struct crl_issuer *issuer, const struct piece *first,
    struct error *e)
{
	uint8_t head[256] = {0x30, 0x00};
	size_t n = first->len < sizeof head - 2 ? first->len : sizeof head - 2;
	struct crl_rules rules = {.issuer = issuer->certificate.subject,
	    .key_id = issuer->certificate.subject_key_id,
	    .total_len = announced_len(first)};

	memcpy(head + 2, first->octets, n);
	if (!crl_peek_algorithm((struct bytes){head, n + 2}, &rules.sig_alg, e))
		return false;
	crl_check_begin(check, &rules);
	return true;
}

static bool
show_summary(const struct crl_issuer *issuer, const struct crl_summary *s, struct error *e)
{
	char number[64] = "?", base[64] = "?";

	if (!note_name("issuer", issuer->certificate.subject, e) ||
	    !crl_number_to_text((struct bytes){s->number, s->number_len}, number, sizeof number))
		return error_set(e, ERROR_INTERNAL, "a CRL's number that cannot be shown");
	if (s->delta && !crl_number_to_text(
			    (struct bytes){s->base_number, s->base_number_len}, base, sizeof base))
		return error_set(e, ERROR_INTERNAL, "a CRL's number that cannot be shown");
	cli_note("  %-12s %s%s%s", s->delta ? "delta CRL" : "CRL", number,
	    s->delta ? ", to complete CRL " : "", s->delta ? base : "");
	cli_note("  %-12s %s", "scope",
	    s->idp.len > 0 ? "a part, by its issuingDistributionPoint" : "all certificates");
	cli_note("  %-12s %llu", "revoked", (unsigned long long)s->entries);
	note_times("valid", s->this_update, s->next_update);
	return true;
}

/* All pieces go by, one by one. */
static bool
show_crl(struct cli *cli, const char *id, const char *ca, const struct pin_operation *operation,
    struct piece *p, EVP_MD_CTX *md, struct error *e)
{
	struct crl_issuer *issuer = calloc(1, sizeof *issuer);
	struct crl_check *check = calloc(1, sizeof *check);
	const struct crl_summary *summary;
	json_int_t next = 1;
	bool ok = issuer != NULL && check != NULL;

	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "allocating a CRL");
	ok = ok && load_issuer(cli, ca, operation, issuer, e) && begin_crl(check, issuer, p, e);
	while (ok) {
		ok = crl_check_push(check, (struct bytes){p->octets, p->len}, e);
		if (!ok || next == p->count)
			break;
		ok = fetch(cli, id, next++, p, e);
		if (ok && EVP_DigestUpdate(md, p->octets, p->len) != 1)
			ok = error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	}
	ok = ok && crl_check_finish(check, &summary, e) && show_summary(issuer, summary, e);
	free(issuer);
	free(check);
	return ok || error_wrap(e, "what would be signed is no CRL of CA %s", ca);
}

/* ------------------------------------------------- CRLs that are not fetched */

static bool
read_abstract(json_t *row, const struct pin_signer *signer, struct crl_abstract *a, struct error *e)
{
	const char *text = json_string_value(json_object_get(row, "abstract")),
		   *signature = json_string_value(json_object_get(row, "abstract_signature"));
	uint8_t octets[CRL_ABSTRACT_TEXT_MAX], sig[SIGNER_START_SIGNATURE_LEN];
	size_t len = 0, sig_len = 0;

	if (text == NULL || signature == NULL)
		return error_set(e, ERROR_INTERNAL, "the service shows half of an abstract");
	return base64_decode((struct bytes){(const uint8_t *)text, strlen(text)}, false, octets,
		   sizeof octets, &len, e) &&
	       base64_decode((struct bytes){(const uint8_t *)signature, strlen(signature)}, false,
		   sig, sizeof sig, &sig_len, e) &&
	       crl_abstract_verify((const char *)octets, len, sig, sig_len, signer->identity,
		   sizeof signer->identity, e) &&
	       crl_abstract_parse((const char *)octets, len, a, e);
}

/* The signer says it of this very CRL, and of the key that would sign it. */
static bool
check_abstract(const struct crl_abstract *a, const struct pin_signer *signer,
    const struct pin_operation *operation, const char *sha256, struct error *e)
{
	char hex[65];

	hex_encode(a->sha256, sizeof a->sha256, hex);
	return (strcmp(a->token, signer->start.token) == 0 &&
		   memcmp(a->signer, signer->fingerprint, sizeof a->signer) == 0 &&
		   a->key_len == operation->cka_id_len &&
		   memcmp(a->key, operation->cka_id, a->key_len) == 0 &&
		   strcmp(hex, sha256) == 0) ||
	       error_set(e, ERROR_DENIED, "what the signer says is about another CRL");
}

static bool
note_abstract(const struct crl_abstract *a, struct error *e)
{
	char number[64] = "?", base[64] = "?", last[CANON_TIME_SIZE];

	if (!crl_number_to_text((struct bytes){a->number, a->number_len}, number, sizeof number) ||
	    (a->base_len > 0 &&
		!crl_number_to_text((struct bytes){a->base, a->base_len}, base, sizeof base)))
		return error_set(e, ERROR_INTERNAL, "a CRL's number that cannot be shown");
	cli_note("  It was not fetched. Its signer, which you pinned, says of its %llu octets:",
	    (unsigned long long)a->length);
	cli_note("  %-12s %s%s%s", a->base_len > 0 ? "delta CRL" : "CRL", number,
	    a->base_len > 0 ? ", to complete CRL " : "", a->base_len > 0 ? base : "");
	cli_note("  %-12s %s", "scope",
	    a->has_scope ? "a part, by its issuingDistributionPoint" : "all certificates");
	cli_note("  %-12s %llu", "revoked", (unsigned long long)a->entries);
	for (unsigned i = 0; i < CRL_ABSTRACT_REASONS; i++)
		if (a->reasons[i] > 0)
			cli_note("  %-12s %llu %s", "", (unsigned long long)a->reasons[i],
			    crl_abstract_reason(i));
	if (a->has_last) {
		canon_time_text(a->last, last);
		cli_note("  %-12s %llu since the last one that it signed, of %s", "new",
		    (unsigned long long)a->fresh, last);
	} else {
		cli_note("  %-12s it knows of no CRL before", "new");
	}
	note_times("valid", a->this_update, a->next_update);
	return true;
}

static bool
show_abstract(json_t *row, const struct pin_signer *signer, struct pin_operation *operation,
    const char *sha256, struct error *e)
{
	struct crl_abstract a;

	if (!read_abstract(row, signer, &a, e) || !check_abstract(&a, signer, operation, sha256, e))
		return error_wrap(e, "the abstract of a CRL that the service shows");
	memcpy(operation->sha256, a.sha256, sizeof operation->sha256);
	return note_abstract(&a, e);
}

/* Long ones, or where that is asked for. */
static bool
goes_by_abstract(struct cli *cli, json_t *row, json_int_t pieces)
{
	return json_is_string(json_object_get(row, "abstract")) &&
	       (pieces > CRL_ABSTRACT_FROM / PIECE_MAX ||
		   cli->options->value[OPTION_SUMMARY] != NULL);
}

/* ----------------------------------------------------------------- operation */

static bool
show(struct cli *cli, const char *id, const char *ca, const struct pin_operation *operation,
    struct piece *p, EVP_MD_CTX *md, struct error *e)
{
	struct bytes whole = {p->octets, p->len};

	if (operation->kind != PIN_OPERATION_CRL && p->count != 1)
		return error_set(e, ERROR_INTERNAL, "the service shows pieces of what has none");
	switch (operation->kind) {
	case PIN_OPERATION_CERTIFICATE:
		return show_certificate(whole, e);
	case PIN_OPERATION_CSR_INFO:
		return show_request(whole, e);
	case PIN_OPERATION_ORDER:
		return show_order(whole, e);
	default:
		return show_crl(cli, id, ca, operation, p, md, e);
	}
}

static bool
digest_is(const uint8_t sha256[32], const char *shown)
{
	char hex[65];

	hex_encode(sha256, 32, hex);
	return strcmp(hex, shown) == 0;
}

static bool
read_row(json_t *row, const char **id, const char **ca, const char **sha256,
    struct pin_operation *operation, struct error *e)
{
	const char *kind = cli_member(row, "kind", e), *key;

	*id = cli_id(row, e);
	*ca = cli_member(row, "ca", e);
	*sha256 = cli_member(row, "sha256", e);
	if (kind == NULL || *id == NULL || *ca == NULL || *sha256 == NULL)
		return false;
	*operation = (struct pin_operation){0};
	if (!pin_operation_kind_parse(kind, &operation->kind))
		return error_set(
		    e, ERROR_INTERNAL, "the service shows an operation of an unknown kind");
	if (operation->kind == PIN_OPERATION_ORDER)
		return true;
	key = cli_member(row, "cka_id", e);
	if (key == NULL)
		return false;
	operation->cka_id_len = strlen(key) / 2;
	return (strlen(key) % 2 == 0 && operation->cka_id_len <= sizeof operation->cka_id &&
		   hex_decode(key, operation->cka_id_len, operation->cka_id)) ||
	       error_set(e, ERROR_INTERNAL, "the service's \"cka_id\" is no hexadecimal");
}

static void
show_heading(json_t *row, const char *id, const char *ca, enum pin_operation_kind kind)
{
	const char *template = json_string_value(json_object_get(row, "template"));
	char name[128], template_name[160];

	table_escape(ca, name, sizeof name);
	table_escape(template != NULL ? template : "", template_name, sizeof template_name);
	cli_note("%s of CA %s%s%s (%s):",
	    kind == PIN_OPERATION_ORDER ? "Order" : pin_operation_kind_name(kind), name,
	    template != NULL ? ", as the service says by template " : "", template_name, id);
}

bool
pin_show_operation(struct cli *cli, const struct pin_signer *signer, json_t *listed,
    struct pin_operation *operation, struct error *e)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	struct piece p = {.octets = malloc(PIECE_MAX)};
	const char *id, *ca, *sha256;
	bool ok = false;

	if (md == NULL || p.octets == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating what would be signed");
		goto out;
	}
	if (!read_row(listed, &id, &ca, &sha256, operation, e))
		goto out;
	show_heading(listed, id, ca, operation->kind);
	if (!fetch(cli, id, 0, &p, e))
		goto out;
	if (goes_by_abstract(cli, listed, p.count)) {
		ok = show_abstract(listed, signer, operation, sha256, e);
		goto out;
	}
	if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(md, p.octets, p.len) != 1) {
		error_set_openssl(e, ERROR_INTERNAL, "digesting what would be signed");
		goto out;
	}
	if (!show(cli, id, ca, operation, &p, md, e))
		goto out;
	if (EVP_DigestFinal_ex(md, operation->sha256, NULL) != 1)
		error_set_openssl(e, ERROR_INTERNAL, "digesting what would be signed");
	else if (!digest_is(operation->sha256, sha256))
		error_set(e, ERROR_DENIED,
		    "the service lists operation %s with another digest than that of the octets "
		    "which "
		    "it shows: nothing of it is signed",
		    id);
	else
		ok = true;
out:
	EVP_MD_CTX_free(md);
	free(p.octets);
	return ok;
}
