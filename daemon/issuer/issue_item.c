#include "daemon/issuer/issue_item.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "daemon/x509/name.h"

/* The signer refuses serials of more than 7 days. */
#define SERIAL_LIFE_S (6 * 86400)

void
item_fail(struct issue_item *item, const struct error *failure)
{
	/*
	 * That this process is out of memory or randomness, or that another token
	 * than the one with the CA's key stands in the reader, is no fault of the
	 * request.
	 */
	bool ours = failure->code == ERROR_SYSTEM || failure->code == ERROR_NOT_FOUND;

	item->failure = *failure;
	item->step = error_is_retryable(failure) || ours ? ITEM_LATER : ITEM_REFUSED;
}

static void
names_free(struct item_names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->names[i]);
	free(n->names);
	free(n->subject);
	*n = (struct item_names){0};
}

void
item_free(struct issue_item *item)
{
	names_free(&item->listed);
	ca_release(item->ca);
	free(item->tbs);
	free(item->der);
	*item = (struct issue_item){0};
}

static bool
list_names(struct item_names *n, struct bytes subject, const struct san *names, size_t count,
    struct error *e)
{
	char text[NAME_TEXT_MAX];

	names_free(n);
	if (!name_to_text(subject, text, sizeof text, e))
		return false;
	n->subject = strdup(text);
	n->names = calloc(count > 0 ? count : 1, sizeof *n->names);
	if (n->subject == NULL || n->names == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "listing a request's names");
	for (size_t i = 0; i < count; i++) {
		char one[SAN_TEXT_MAX];

		if (!san_to_text(&names[i], one, sizeof one))
			continue;
		n->names[n->count] = strdup(one);
		if (n->names[n->count] == NULL)
			return error_set_errno(e, ERROR_SYSTEM, "listing a request's names");
		n->count++;
	}
	return true;
}

/* ------------------------------------------------------------------- check */

static bool
check_in_operation(const struct issue_item *item, struct error *e)
{
	if (item->ca == NULL || item->ca->context == NULL)
		return error_set(e, ERROR_CONFLICT, "the CA of this request is not in operation");
	return !item->ca->row.over ||
	       error_set(e, ERROR_CONFLICT, "CA %s is retired and issues no certificates any more",
		   item->ca->row.name);
}

static bool
check(struct issue_item *item, struct verifier *verifier, struct error *e)
{
	struct csr *csr = &item->csr;

	/* Digest and names come first: a rejected request is listed too. */
	if (!csr_parse(item->claim->csr, csr, e) || !csr_sha256(csr, item->csr_sha256, e) ||
	    !spki_sha256(&csr->spki, item->spki_sha256, e) ||
	    !list_names(&item->listed, csr->subject, csr->names, csr->name_count, e))
		return false;
	spki_describe(&csr->spki, item->key_type);
	if (!check_in_operation(item, e))
		return false;
	if (item->template == NULL)
		return error_set(e, ERROR_CONFLICT, "the template of this request cannot be used");
	if (!capolicy_allows_template(&item->ca->policy, template_name(item->template)))
		return error_set(e, ERROR_INPUT, "CA %s does not issue by template %s",
		    item->ca->row.name, template_name(item->template));
	return csr_verify_with(csr, verifier, e) && template_check_csr(item->template, csr, e) &&
	       template_check_ca(item->template, item->ca->context, e);
}

void
item_check(struct issue_item *item, struct verifier *verifier)
{
	struct error e = ERROR_INIT;

	if (check(item, verifier, &e))
		item->step = ITEM_CHECKED;
	else
		item_fail(item, &e);
}

/* ------------------------------------------------------------------ resume */

static bool
resume(struct issue_item *item, uint16_t signer_id, int64_t now, struct error *e)
{
	uint16_t made_by;
	struct certificate c;
	int64_t made;

	if (!check_in_operation(item, e))
		return false;
	if (!tbs_certificate_parse(item->intent.tbs, &c, e))
		return error_wrap(e, "what was committed for this request");
	/* A signer takes no serials but its own, and none of last week. */
	item->stale = item->intent.generation_id != item->ca->row.generation_id ||
		      c.not_after < now || !serial_parse(c.serial, &made_by, &made) ||
		      made_by != signer_id || made < now - SERIAL_LIFE_S;
	if (item->stale)
		return error_set(e, ERROR_UNAVAILABLE,
		    "its certificate was not signed in time: it gets a new serial");
	return true;
}

void
item_resume(struct issue_item *item, uint16_t signer_id, int64_t now)
{
	struct error e = ERROR_INIT;

	item->intent = item->claim->intent;
	if (resume(item, signer_id, now, &e))
		item->step = ITEM_BUILT;
	else
		item_fail(item, &e);
}

void
item_refused_as_stale(struct issue_item *item, const struct error *failure)
{
	item->failure = *failure;
	item->step = ITEM_VOID;
}

/* ------------------------------------------------------------------- build */

static bool
build(struct issue_item *item, uint16_t signer_id, int64_t now, struct error *e)
{
	uint8_t buf[CERTIFICATE_MAX], random[SERIAL_RANDOM_LEN];
	struct request_intent *intent = &item->intent;
	struct template_order order = {
	    .t = item->template,
	    .csr = &item->csr,
	    .serial = {intent->serial, sizeof intent->serial},
	    .now = now,
	};
	struct template_built built;

	if (RAND_bytes(random, sizeof random) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "no random octets for a serial");
	serial_build(intent->serial, signer_id, now, random);
	order.ca = ca_choose_scope(item->ca, item->template, order.serial, &intent->scope_id);
	if (!template_build(&order, buf, sizeof buf, &built, e))
		return false;
	item->tbs = malloc(built.tbs.len);
	if (item->tbs == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating to-be-signed bytes");
	memcpy(item->tbs, built.tbs.p, built.tbs.len);
	intent->tbs = (struct bytes){item->tbs, built.tbs.len};
	intent->issuer_name_id = item->ca->row.issuer_name_id;
	intent->generation_id = item->ca->row.generation_id;
	return true;
}

void
item_build(struct issue_item *item, uint16_t signer_id, int64_t now)
{
	struct error e = ERROR_INIT;

	if (build(item, signer_id, now, &e))
		item->step = ITEM_BUILT;
	else
		item_fail(item, &e);
}

/* --------------------------------------------------------------- signature */

/* What the certificate says is what it is listed under, also when its bytes
 * were built by an issuer before us. */
static bool
describe(struct issue_item *item, struct error *e)
{
	struct san names[CSR_SAN_MAX];
	struct extension san;
	struct certificate c;
	size_t count = 0;

	if (!tbs_certificate_parse(item->intent.tbs, &c, e) ||
	    !spki_sha256(&c.spki, item->spki_sha256, e))
		return false;
	spki_describe(&c.spki, item->key_type);
	if (c.extensions.len > 0 && extension_find(c.extensions, oid_subject_alt_name, &san) &&
	    !extension_read_subject_alt_name(san.value, names, COUNT_OF(names), &count, e))
		return false;
	item->not_before = c.not_before;
	item->not_after = c.not_after;
	return list_names(&item->listed, c.subject, names, count, e);
}

static bool
take_signature(struct issue_item *item, struct bytes signature, struct error *e)
{
	uint8_t buf[CERTIFICATE_MAX];
	struct bytes der;

	if (!describe(item, e) || !certificate_assemble(item->intent.tbs, item->ca->policy.sig_alg,
				      signature, buf, sizeof buf, &der, e))
		return false;
	item->der = malloc(der.len);
	if (item->der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	memcpy(item->der, der.p, der.len);
	item->der_len = der.len;
	return true;
}

void
item_take_signature(struct issue_item *item, struct bytes signature)
{
	struct error e = ERROR_INIT;

	if (take_signature(item, signature, &e))
		item->step = ITEM_SIGNED;
	else
		item_fail(item, &e);
}
