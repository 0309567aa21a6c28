#include "daemon/x509/crl.h"

#include "daemon/x509/cert.h"
#include "daemon/x509/derw.h"

#define VERSION_2 1 /* RFC 5280 5.1.2.1 */

/* Extension { reasonCode, OCTET STRING { ENUMERATED reason } }: the last octet is
 * the reason. */
static const uint8_t reason_extension[] = {
    0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 21, 0x04, 0x03, 0x0a, 0x01, 0x00};
/* Extension { invalidityDate, OCTET STRING { GeneralizedTime } } up to the time. */
static const uint8_t invalidity_extension[] = {
    0x30, 0x18, 0x06, 0x03, 0x55, 0x1d, 24, 0x04, 0x11, 0x18, 0x0f};
#define INVALIDITY_LEN (sizeof invalidity_extension + 15)

static const char *const reasons[] = {
    [CRL_UNSPECIFIED] = "unspecified",
    [CRL_KEY_COMPROMISE] = "keyCompromise",
    [CRL_CA_COMPROMISE] = "cACompromise",
    [CRL_AFFILIATION_CHANGED] = "affiliationChanged",
    [CRL_SUPERSEDED] = "superseded",
    [CRL_CESSATION_OF_OPERATION] = "cessationOfOperation",
    [CRL_CERTIFICATE_HOLD] = "certificateHold",
    [CRL_REMOVE_FROM_CRL] = "removeFromCRL",
    [CRL_PRIVILEGE_WITHDRAWN] = "privilegeWithdrawn",
    [CRL_AA_COMPROMISE] = "aACompromise",
};

const char *
crl_reason_name(unsigned reason)
{
	return reason < COUNT_OF(reasons) ? reasons[reason] : NULL;
}

bool
crl_reason_from_name(const char *name, enum crl_reason *reason)
{
	for (size_t i = 0; i < COUNT_OF(reasons); i++) {
		if (reasons[i] != NULL && strcmp(reasons[i], name) == 0) {
			*reason = (enum crl_reason)i;
			return true;
		}
	}
	return false;
}

/* An entry taken apart into what is written. */
struct entry_parts {
	const uint8_t *serial; /* without leading zeros */
	size_t serial_len;
	bool sign_octet; /* a zero octet keeps it positive */
	uint8_t time[DER_TIME_MAX], time_tag;
	uint8_t time_len;
	uint8_t invalidity[DER_TIME_MAX];
	uint8_t extensions_len, content_len; /* all lengths stay below 128 */
};

static bool
make_parts(const struct crl_entry *e, bool delta, struct entry_parts *p, struct error *err)
{
	*p = (struct entry_parts){.serial = e->serial.p, .serial_len = e->serial.len};
	while (p->serial_len > 0 && p->serial[0] == 0) {
		p->serial++;
		p->serial_len--;
	}
	p->sign_octet = p->serial_len > 0 && p->serial[0] >= 0x80;
	if (p->serial_len == 0 || p->serial_len + p->sign_octet > SERIAL_LEN)
		return error_set(err, ERROR_INPUT,
		    "CRL entry: the serial number is not positive or longer than %d octets "
		    "(RFC 5280 4.1.2.2)",
		    SERIAL_LEN);
	if (crl_reason_name(e->reason) == NULL)
		return error_set(
		    err, ERROR_INPUT, "CRL entry: %u is no reason (RFC 5280 5.3.1)", e->reason);
	if (e->reason == CRL_REMOVE_FROM_CRL && !delta)
		return error_set(err, ERROR_INPUT,
		    "CRL entry: removeFromCRL stands only in delta CRLs (RFC 5280 5.3.1)");
	p->time_len = (uint8_t)der_time_put(p->time, e->revoked_at, &p->time_tag);
	if (p->time_len == 0 || (e->has_invalidity_date && der_generalized_time_put(p->invalidity,
							       e->invalidity_date) == 0))
		return error_set(
		    err, ERROR_INPUT, "CRL entry: a time is outside the years 0 to 9999");
	p->extensions_len = (uint8_t)((e->reason != CRL_UNSPECIFIED ? sizeof reason_extension : 0) +
				      (e->has_invalidity_date ? INVALIDITY_LEN : 0));
	p->content_len = (uint8_t)(2 + p->sign_octet + p->serial_len + 2 + p->time_len +
				   (p->extensions_len > 0 ? 2 + p->extensions_len : 0));
	return true;
}

bool
crl_entry_size(const struct crl_entry *entry, bool delta, size_t *size, struct error *err)
{
	struct entry_parts parts;

	if (!make_parts(entry, delta, &parts, err))
		return false;
	*size = 2U + parts.content_len;
	return true;
}

static uint8_t *
put(uint8_t *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	return to + len;
}

bool
crl_entry_encode(const struct crl_entry *entry, bool delta, uint8_t out[CRL_ENTRY_MAX],
    size_t *size, struct error *err)
{
	struct entry_parts parts;
	uint8_t *p = out;

	if (!make_parts(entry, delta, &parts, err))
		return false;
	*p++ = DER_SEQUENCE;
	*p++ = parts.content_len;
	*p++ = DER_INTEGER;
	*p++ = (uint8_t)(parts.serial_len + parts.sign_octet);
	if (parts.sign_octet)
		*p++ = 0;
	p = put(p, parts.serial, parts.serial_len);
	*p++ = parts.time_tag;
	*p++ = parts.time_len;
	p = put(p, parts.time, parts.time_len);
	if (parts.extensions_len > 0) {
		*p++ = DER_SEQUENCE;
		*p++ = parts.extensions_len;
	}
	if (entry->reason != CRL_UNSPECIFIED) {
		p = put(p, reason_extension, sizeof reason_extension);
		p[-1] = entry->reason;
	}
	if (entry->has_invalidity_date) {
		p = put(p, invalidity_extension, sizeof invalidity_extension);
		p = put(p, parts.invalidity, sizeof parts.invalidity);
	}
	*size = (size_t)(p - out);
	return true;
}

/* [0] EXPLICIT Extensions */
static void
put_tail(struct derw *w, const struct tbs_crl *t)
{
	derw_raw(w, t->extensions);
	derw_wrap(w, 0, DER_SEQUENCE);
	derw_wrap(w, 0, DER_CONTEXT_CONSTRUCTED(0));
}

static uint64_t
tail_len(const struct tbs_crl *t)
{
	uint64_t list = der_header_size(t->extensions.len) + t->extensions.len;

	return der_header_size(list) + list;
}

static void
put_header(struct derw *w, uint64_t len)
{
	uint8_t header[9];
	size_t header_len = der_header_put(header, DER_SEQUENCE, len);

	derw_raw(w, (struct bytes){header, header_len});
}

bool
crl_tbs_head(const struct tbs_crl *t, uint64_t entries_len, void *buf, size_t size,
    struct bytes *head, uint64_t *tbs_len, struct error *err)
{
	uint64_t content;
	struct derw w;

	if (t->next_update <= t->this_update)
		return error_set(err, ERROR_INPUT, "CRL: nextUpdate is not after thisUpdate");
	if (entries_len > CRL_TBS_MAX)
		return error_set(err, ERROR_LIMIT, "CRL: the entries take more than 2^40 octets");
	if (sig_alg_der(t->sig_alg).len == 0 || t->issuer.len == 0)
		return error_set(err, ERROR_INTERNAL, "CRL: no signature algorithm or issuer");
	if (!extensions_check(t->extensions, "CRL", err))
		return false;
	derw_init(&w, buf, size);
	if (entries_len > 0)
		put_header(&w, entries_len);
	derw_time(&w, t->next_update);
	derw_time(&w, t->this_update);
	derw_raw(&w, t->issuer);
	derw_raw(&w, sig_alg_der(t->sig_alg));
	derw_unsigned(&w, VERSION_2);
	content = derw_mark(&w) + entries_len + tail_len(t);
	put_header(&w, content);
	if (!derw_ok(&w))
		return error_set(err, ERROR_LIMIT,
		    "CRL: the first fields do not fit into %zu octets, or a time is beyond the "
		    "year 9999",
		    size);
	*head = derw_result(&w);
	*tbs_len = der_header_size(content) + content;
	return true;
}

bool
crl_tbs_tail(const struct tbs_crl *t, void *buf, size_t size, struct bytes *tail, struct error *err)
{
	struct derw w;

	derw_init(&w, buf, size);
	put_tail(&w, t);
	if (!derw_ok(&w))
		return error_set(
		    err, ERROR_LIMIT, "CRL: the extensions do not fit into %zu octets", size);
	*tail = derw_result(&w);
	return true;
}

/* What stands after the to-be-signed part: algorithm and BIT STRING. */
static uint64_t
list_tail_len(enum sig_alg alg, size_t signature_len)
{
	return sig_alg_der(alg).len + der_header_size(1 + signature_len) + 1 + signature_len;
}

bool
crl_list_head(uint64_t tbs_len, enum sig_alg alg, size_t signature_len,
    uint8_t out[CRL_LIST_HEAD_MAX], size_t *len, uint64_t *list_len, struct error *err)
{
	uint64_t content = tbs_len + list_tail_len(alg, signature_len);

	if (sig_alg_der(alg).len == 0 || signature_len == 0 || signature_len > SIG_MAX ||
	    tbs_len > 2 * CRL_TBS_MAX)
		return error_set(
		    err, ERROR_INTERNAL, "CRL: no signature algorithm, or a length that cannot be");
	*len = der_header_put(out, DER_SEQUENCE, content);
	*list_len = *len + content;
	return true;
}

bool
crl_list_tail(enum sig_alg alg, struct bytes signature, void *buf, size_t size, struct bytes *tail,
    struct error *err)
{
	struct derw w;

	if (sig_alg_der(alg).len == 0 || signature.len == 0 || signature.len > SIG_MAX)
		return error_set(err, ERROR_INTERNAL, "CRL: no signature algorithm or signature");
	derw_init(&w, buf, size);
	derw_bit_octets(&w, signature);
	derw_raw(&w, sig_alg_der(alg));
	if (!derw_ok(&w))
		return error_set(
		    err, ERROR_LIMIT, "CRL: the signature does not fit into %zu octets", size);
	*tail = derw_result(&w);
	return true;
}
