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

/* More than any list has, so that nothing that is counted of them overflows. */
#define ENTRIES_MAX (INT64_C(1) << 40)

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

static uint8_t *
put(uint8_t *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	return to + len;
}

/* NULL when it cannot stand in a certificate. */
static uint8_t *
put_serial(uint8_t *p, struct bytes serial)
{
	bool sign_octet; /* a zero octet keeps it positive */

	while (serial.len > 0 && serial.p[0] == 0)
		serial = (struct bytes){serial.p + 1, serial.len - 1};
	sign_octet = serial.len > 0 && serial.p[0] >= 0x80;
	if (serial.len == 0 || serial.len + sign_octet > SERIAL_LEN)
		return NULL;
	*p++ = DER_INTEGER;
	*p++ = (uint8_t)(serial.len + sign_octet);
	if (sign_octet)
		*p++ = 0;
	return put(p, serial.p, serial.len);
}

/* NULL when it is outside the years 0 to 9999. */
static uint8_t *
put_time(uint8_t *p, int64_t seconds)
{
	p[1] = (uint8_t)der_time_put(p + 2, seconds, p);
	return p[1] != 0 ? p + 2 + p[1] : NULL;
}

/* Nothing, for an entry that has none; NULL as put_time. */
static uint8_t *
put_entry_extensions(uint8_t *p, const struct crl_entry *entry)
{
	uint8_t *list = p;

	if (entry->reason == CRL_UNSPECIFIED && !entry->has_invalidity_date)
		return p;
	p += 2;
	if (entry->reason != CRL_UNSPECIFIED) {
		p = put(p, reason_extension, sizeof reason_extension);
		p[-1] = entry->reason;
	}
	if (entry->has_invalidity_date) {
		p = put(p, invalidity_extension, sizeof invalidity_extension);
		if (der_generalized_time_put(p, entry->invalidity_date) == 0)
			return NULL;
		p += DER_TIME_MAX;
	}
	list[0] = DER_SEQUENCE;
	list[1] = (uint8_t)(p - list - 2);
	return p;
}

bool
crl_entry_encode(const struct crl_entry *entry, bool delta, uint8_t out[CRL_ENTRY_MAX],
    size_t *size, struct error *err)
{
	uint8_t *p = put_serial(out + 2, entry->serial);

	if (p == NULL)
		return error_set(err, ERROR_INPUT,
		    "CRL entry: the serial number is not positive or longer than %d octets "
		    "(RFC 5280 4.1.2.2)",
		    SERIAL_LEN);
	if (crl_reason_name(entry->reason) == NULL)
		return error_set(
		    err, ERROR_INPUT, "CRL entry: %u is no reason (RFC 5280 5.3.1)", entry->reason);
	if (entry->reason == CRL_REMOVE_FROM_CRL && !delta)
		return error_set(err, ERROR_INPUT,
		    "CRL entry: removeFromCRL stands only in delta CRLs (RFC 5280 5.3.1)");
	if ((p = put_time(p, entry->revoked_at)) == NULL ||
	    (p = put_entry_extensions(p, entry)) == NULL)
		return error_set(
		    err, ERROR_INPUT, "CRL entry: a time is outside the years 0 to 9999");
	out[0] = DER_SEQUENCE;
	out[1] = (uint8_t)(p - out - 2); /* CRL_ENTRY_MAX is below 128 */
	*size = (size_t)(p - out);
	return true;
}

/* Octets of entries with and without either extension, with serials of SERIAL_LEN octets
 * and a UTCTime. */
static bool
shape_size(bool with_reason, bool with_invalidity, size_t *size, struct error *err)
{
	static const uint8_t serial[SERIAL_LEN] = {1};
	const struct crl_entry entry = {
	    .serial = {serial, sizeof serial},
	    .reason = with_reason ? CRL_KEY_COMPROMISE : CRL_UNSPECIFIED,
	    .has_invalidity_date = with_invalidity,
	};
	uint8_t der[CRL_ENTRY_MAX];

	return crl_entry_encode(&entry, false, der, size, err);
}

/* Some list has them. */
static bool
sums_agree(const struct crl_sums *s)
{
	return s->entries >= 0 && s->entries <= ENTRIES_MAX && s->serial_octets >= s->entries &&
	       s->serial_octets <= s->entries * SERIAL_LEN && s->generalized >= 0 &&
	       s->generalized <= s->entries && s->with_both >= 0 &&
	       s->with_both <= s->with_reason && s->with_both <= s->with_invalidity &&
	       s->with_reason <= s->entries &&
	       s->with_invalidity - s->with_both <= s->entries - s->with_reason;
}

bool
crl_sums_size(const struct crl_sums *s, uint64_t *size, struct error *err)
{
	int64_t shapes[2][2];

	if (!sums_agree(s))
		return error_set(
		    err, ERROR_INTERNAL, "the sums of a CRL's entries contradict each other");
	shapes[1][1] = s->with_both;
	shapes[1][0] = s->with_reason - s->with_both;
	shapes[0][1] = s->with_invalidity - s->with_both;
	shapes[0][0] = s->entries - s->with_reason - shapes[0][1];

	*size = 0;
	for (int r = 0; r < 2; r++) {
		for (int i = 0; i < 2; i++) {
			size_t one;

			if (!shape_size(r, i, &one, err))
				return false;
			*size += one * (uint64_t)shapes[r][i];
		}
	}
	/* GeneralizedTime has the two digits of the century, too. */
	*size += 2 * (uint64_t)s->generalized;
	*size -= (uint64_t)(s->entries * SERIAL_LEN - s->serial_octets);
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
