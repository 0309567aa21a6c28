#include "daemon/x509/extension.h"

#include <stdio.h>

#include "daemon/x509/derw.h"

void
extensions_init(struct extensions *x, void *buf, size_t size)
{
	*x = (struct extensions){.buf = buf, .size = size};
}

bool
extensions_ok(const struct extensions *x)
{
	return !x->failed;
}

struct bytes
extensions_result(const struct extensions *x)
{
	if (x->failed)
		return (struct bytes){0};
	return (struct bytes){x->buf, x->len};
}

/* A value is written backwards at the far end of the free space ... */
static void
begin(const struct extensions *x, struct derw *w)
{
	derw_init(w, x->buf + x->len, x->size - x->len);
}

/* ... gets its frame, and moves to where the list ends. */
static void
finish(struct extensions *x, struct derw *w, struct bytes oid, bool critical)
{
	struct bytes whole;

	derw_wrap(w, 0, DER_OCTET_STRING);
	if (critical)
		derw_boolean(w, true);
	derw_oid(w, oid);
	derw_wrap(w, 0, DER_SEQUENCE);
	if (!derw_ok(w) || x->count == EXTENSION_COUNT_MAX)
		x->failed = true;
	if (x->failed)
		return;
	whole = derw_result(w);
	memmove(x->buf + x->len, whole.p, whole.len);
	x->len += whole.len;
	x->count++;
}

void
extensions_add(struct extensions *x, struct bytes oid, bool critical, struct bytes value)
{
	struct derw w;

	begin(x, &w);
	derw_raw(&w, value);
	finish(x, &w, oid, critical);
}

void
extensions_add_key_usage(struct extensions *x, uint16_t bits)
{
	struct derw w;

	if (bits == 0)
		return;
	begin(x, &w);
	derw_named_bits(&w, DER_BIT_STRING, bits);
	finish(x, &w, oid_key_usage, true);
}

void
extensions_add_extended_key_usage(
    struct extensions *x, const struct bytes *oids, size_t count, bool critical)
{
	struct derw w;

	if (count == 0)
		return;
	begin(x, &w);
	for (size_t i = count; i > 0; i--)
		derw_oid(&w, oids[i - 1]);
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid_extended_key_usage, critical);
}

static void
put_general_name(struct derw *w, const struct san *name)
{
	switch (name->type) {
	case SAN_EMAIL:
		derw_element(w, DER_CONTEXT(1), name->value);
		return;
	case SAN_DNS:
		derw_element(w, DER_CONTEXT(2), name->value);
		return;
	case SAN_URI:
		derw_element(w, DER_CONTEXT(6), name->value);
		return;
	case SAN_IP:
		derw_element(w, DER_CONTEXT(7), name->value);
		return;
	case SAN_UNSUPPORTED:
		derw_raw(w, name->value);
		return;
	}
	w->failed = true;
}

void
extensions_add_subject_alt_name(
    struct extensions *x, const struct san *names, size_t count, bool critical)
{
	struct derw w;

	if (count == 0)
		return;
	begin(x, &w);
	for (size_t i = count; i > 0; i--)
		put_general_name(&w, &names[i - 1]);
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid_subject_alt_name, critical);
}

void
extensions_add_basic_constraints(struct extensions *x, bool ca, int path_length, bool critical)
{
	struct derw w;

	/* RFC 5280 4.2.1.9: no pathLenConstraint without cA. */
	if (path_length >= 0 && !ca)
		x->failed = true;
	begin(x, &w);
	if (path_length >= 0)
		derw_unsigned(&w, (uint64_t)path_length);
	if (ca)
		derw_boolean(&w, true);
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid_basic_constraints, critical);
}

void
extensions_add_subject_key_identifier(struct extensions *x, struct bytes key_id)
{
	struct derw w;

	begin(x, &w);
	derw_element(&w, DER_OCTET_STRING, key_id);
	finish(x, &w, oid_subject_key_identifier, false);
}

void
extensions_add_authority_key_identifier(struct extensions *x, struct bytes key_id)
{
	struct derw w;

	begin(x, &w);
	derw_element(&w, DER_CONTEXT(0), key_id);
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid_authority_key_identifier, false);
}

static void
put_url(struct derw *w, const char *url)
{
	if (!extension_url_check(url, NULL))
		w->failed = true;
	derw_string(w, DER_CONTEXT(6), url);
}

/* DistributionPointName with fullName (RFC 5280 4.2.1.13). */
static void
put_full_name(struct derw *w, const char *const *urls, size_t count)
{
	size_t mark = derw_mark(w);

	if (count > EXTENSION_URL_COUNT_MAX)
		w->failed = true;
	for (size_t i = count; i > 0; i--)
		put_url(w, urls[i - 1]);
	derw_wrap(w, mark, DER_CONTEXT_CONSTRUCTED(0));
	derw_wrap(w, mark, DER_CONTEXT_CONSTRUCTED(0));
}

/* ReasonFlags (RFC 5280 4.2.1.13), a named bit list: no zero bits at its end (X.690
 * 11.2.2). Its order is that of CRLReason up to certificateHold, and then has no gap. */
static void
put_reasons(struct derw *w, uint8_t tag, unsigned reasons)
{
	unsigned flags = (reasons & 0x7e) | (reasons >> 2 & 0x180);
	uint8_t octets[3] = {0};
	unsigned last = 0;

	if (!REASONS_VALID(reasons))
		w->failed = true;
	for (unsigned bit = 0; bit <= 8; bit++) {
		if ((flags >> bit & 1) == 0)
			continue;
		octets[1 + bit / 8] |= (uint8_t)(0x80 >> bit % 8);
		last = bit;
	}
	octets[0] = (uint8_t)(7 - last % 8);
	derw_element(w, tag, (struct bytes){octets, 2 + last / 8});
}

static void
add_distribution_points(
    struct extensions *x, struct bytes oid, const struct distribution_point *points, size_t count)
{
	struct derw w;
	bool any = false;

	begin(x, &w);
	for (size_t i = count; i > 0; i--) {
		const struct distribution_point *p = &points[i - 1];
		size_t mark = derw_mark(&w);

		if (p->url_count == 0)
			continue;
		any = true;
		if (p->reasons != 0)
			put_reasons(&w, DER_CONTEXT(1), p->reasons);
		put_full_name(&w, p->urls, p->url_count);
		derw_wrap(&w, mark, DER_SEQUENCE);
	}
	if (!any)
		return;
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid, false);
}

void
extensions_add_crl_distribution_points(
    struct extensions *x, const struct distribution_point *points, size_t count)
{
	add_distribution_points(x, oid_crl_distribution_points, points, count);
}

void
extensions_add_freshest_crl(
    struct extensions *x, const struct distribution_point *points, size_t count)
{
	add_distribution_points(x, oid_freshest_crl, points, count);
}

void
extensions_add_crl_published_locations(struct extensions *x, const char *const *urls, size_t count)
{
	add_distribution_points(x, oid_crl_published_locations,
	    &(struct distribution_point){.urls = urls, .url_count = count}, 1);
}

void
extensions_add_expired_certs_on_crl(struct extensions *x, int64_t since)
{
	struct derw w;

	begin(x, &w);
	derw_generalized_time(&w, since);
	finish(x, &w, oid_expired_certs_on_crl, false);
}

static void
put_access(struct derw *w, struct bytes method, const char *const *urls, size_t count)
{
	if (count > EXTENSION_URL_COUNT_MAX)
		w->failed = true;
	for (size_t i = count; i > 0; i--) {
		size_t mark = derw_mark(w);

		put_url(w, urls[i - 1]);
		derw_oid(w, method);
		derw_wrap(w, mark, DER_SEQUENCE);
	}
}

void
extensions_add_authority_info_access(struct extensions *x, const char *const *ca_issuers,
    size_t ca_issuer_count, const char *const *ocsp, size_t ocsp_count)
{
	struct derw w;

	if (ca_issuer_count + ocsp_count == 0)
		return;
	begin(x, &w);
	put_access(&w, oid_ad_ocsp, ocsp, ocsp_count);
	put_access(&w, oid_ad_ca_issuers, ca_issuers, ca_issuer_count);
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid_authority_info_access, false);
}

/* PolicyInformation (RFC 5280 4.2.1.4) with at most a CPS pointer. */
static void
put_policy(struct derw *w, const struct policy *policy)
{
	size_t mark = derw_mark(w);

	if (policy->cps != NULL) {
		if (!extension_url_check(policy->cps, NULL))
			w->failed = true;
		derw_string(w, DER_IA5_STRING, policy->cps);
		derw_oid(w, oid_policy_cps);
		derw_wrap(w, mark, DER_SEQUENCE);
		derw_wrap(w, mark, DER_SEQUENCE);
	}
	derw_oid(w, policy->oid);
	derw_wrap(w, mark, DER_SEQUENCE);
}

void
extensions_add_certificate_policies(
    struct extensions *x, const struct policy *policies, size_t count)
{
	struct derw w;

	if (count == 0)
		return;
	begin(x, &w);
	if (count > EXTENSION_POLICY_MAX)
		w.failed = true;
	for (size_t i = count; i > 0; i--)
		put_policy(&w, &policies[i - 1]);
	derw_wrap(&w, 0, DER_SEQUENCE);
	finish(x, &w, oid_certificate_policies, false);
}

/* An implicitly tagged BOOLEAN, present only when true (X.690 11.5). */
static void
put_flag(struct derw *w, uint8_t number, bool value)
{
	static const uint8_t true_octet = 0xff;

	if (value)
		derw_element(w, DER_CONTEXT(number), (struct bytes){&true_octet, 1});
}

static void
put_idp(struct derw *w, const struct idp *idp)
{
	size_t mark = derw_mark(w);
	size_t name;

	/* RFC 5280 5.2.5: at most one of them. */
	if (idp->only_user + idp->only_ca + idp->only_attribute > 1)
		w->failed = true;
	put_flag(w, 5, idp->only_attribute);
	if (idp->only_reasons != 0)
		put_reasons(w, DER_CONTEXT(3), idp->only_reasons);
	put_flag(w, 2, idp->only_ca);
	put_flag(w, 1, idp->only_user);
	name = derw_mark(w);
	if (idp->url_count > 0)
		put_full_name(w, idp->urls, idp->url_count);
	/* RFC 5280 5.2.5: the value must not be an empty SEQUENCE. */
	if (name == mark && idp->url_count == 0)
		w->failed = true;
	derw_wrap(w, mark, DER_SEQUENCE);
}

void
extensions_add_issuing_distribution_point(struct extensions *x, const struct idp *idp)
{
	struct derw w;

	begin(x, &w);
	put_idp(&w, idp);
	finish(x, &w, oid_issuing_distribution_point, true);
}

bool
idp_encode(const struct idp *idp, void *buf, size_t size, struct bytes *value, struct error *err)
{
	struct derw w;

	derw_init(&w, buf, size);
	put_idp(&w, idp);
	if (!derw_ok(&w))
		return error_set(err, ERROR_INPUT,
		    "the issuing distribution point cannot be encoded: it needs a valid URL or one "
		    "of onlyContainsUserCerts, onlyContainsCACerts, onlyContainsAttributeCerts "
		    "(RFC 5280 5.2.5)");
	*value = derw_result(&w);
	return true;
}

static void
add_number(struct extensions *x, struct bytes oid, bool critical, struct bytes number)
{
	struct derw w;

	begin(x, &w);
	derw_unsigned_octets(&w, DER_INTEGER, number);
	if (derw_result(&w).len > 2 + CRL_NUMBER_MAX)
		x->failed = true;
	finish(x, &w, oid, critical);
}

void
extensions_add_crl_number(struct extensions *x, struct bytes number)
{
	add_number(x, oid_crl_number, false, number);
}

void
extensions_add_delta_crl_indicator(struct extensions *x, struct bytes base_number)
{
	add_number(x, oid_delta_crl_indicator, true, base_number);
}
