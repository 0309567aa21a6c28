#include "daemon/x509/crl_check.h"

#include "daemon/x509/der.h"

#define SERIAL_MAX 20
#define HEADER_MAX 9 /* tag and length of what streams: up to 2^56 octets */

/* What is expected next. */
enum state {
	AT_TBS, /* tag and length of the TBSCertList */
	AT_VERSION,
	AT_ALGORITHM,
	AT_ISSUER,
	AT_THIS_UPDATE,
	AT_NEXT_UPDATE,
	AT_LIST, /* tag and length of revokedCertificates, or the extensions */
	AT_ENTRY,
	AT_EXTENSIONS,
	AT_END,
};

void
crl_check_begin(struct crl_check *c, const struct crl_rules *rules)
{
	c->rules = *rules;
	c->summary = (struct crl_summary){0};
	c->state = AT_TBS;
	c->seen = 0;
	c->list_left = 0;
	c->tbs_left = 0;
	c->held = 0;
	c->failed = false;
	c->finished = false;
	c->removed = false;
}

static bool
refuse(struct error *err, const char *what)
{
	return error_set(err, ERROR_INPUT, "CRL: %s", what);
}

/* ---- fields */

static bool
check_time(struct bytes element, int64_t *seconds, struct error *err)
{
	struct der d;

	der_init(&d, element);
	if (!der_read_time(&d, seconds) || !der_end(&d))
		return refuse(err, "thisUpdate or nextUpdate is no time as RFC 5280 5.1.2.4 and "
				   "5.1.2.5 have it");
	return true;
}

/* ENUMERATED, one octet: 1 to 10 without 7; unspecified is left out. */
static bool
read_reason(struct bytes value, uint8_t *reason)
{
	struct bytes content;
	struct der d;

	der_init(&d, value);
	if (!der_read(&d, DER_ENUMERATED, &content) || !der_end(&d) || content.len != 1)
		return false;
	*reason = content.p[0];
	return *reason >= 1 && *reason <= 10 && *reason != 7;
}

static bool
read_invalidity_date(struct bytes value, int64_t *seconds)
{
	struct der d;

	der_init(&d, value);
	return der_read_generalized_time(&d, seconds) && der_end(&d);
}

/* RFC 5280 5.3: of entry extensions only reasonCode and invalidityDate are for
 * a CRL that its own CA signs; neither is critical. */
static bool
check_entry_extensions(
    struct crl_check *c, struct bytes list, struct crl_entry *entry, struct error *err)
{
	bool reason = false, legal;
	struct extension_iter it;
	struct extension x;

	extension_iter_init(&it, list);
	do {
		if (!extension_iter_next(&it, &x))
			return refuse(err, "an entry's extensions are no DER (RFC 5280 5.3)");
		if (bytes_equal(x.oid, oid_reason_code) && !reason) {
			reason = true;
			legal = read_reason(x.value, &entry->reason);
			c->removed |= entry->reason == CRL_REMOVE_FROM_CRL;
		} else if (bytes_equal(x.oid, oid_invalidity_date) && !entry->has_invalidity_date) {
			entry->has_invalidity_date = true;
			legal = read_invalidity_date(x.value, &entry->invalidity_date);
		} else {
			return refuse(err,
			    "an entry has an unknown or repeated extension (RFC 5280 "
			    "5.3: reasonCode and invalidityDate)");
		}
		if (!legal || x.critical)
			return refuse(err, "an entry's reasonCode or invalidityDate is wrong (RFC "
					   "5280 5.3.1, 5.3.2)");
	} while (!der_end(&it.rest));
	return true;
}

static bool
check_entry(struct crl_check *c, struct bytes element, struct error *err)
{
	struct crl_entry entry = {0};
	struct bytes integer, extensions = {0};
	struct der d;

	if (!der_enter_only(element, DER_SEQUENCE, &d) || !der_read_integer(&d, &integer) ||
	    integer.p[0] >= 0x80 || integer.len > SERIAL_MAX ||
	    (integer.len == 1 && integer.p[0] == 0))
		return refuse(err, "an entry's serial number is not positive or longer than 20 "
				   "octets (RFC 5280 4.1.2.2)");
	if (!der_read_time(&d, &entry.revoked_at))
		return refuse(err, "an entry's revocationDate is no time as RFC 5280 5.1.2.6 has "
				   "it");
	if (!der_end(&d) && (!der_read(&d, DER_SEQUENCE, &extensions) || !der_end(&d)))
		return refuse(err, "an entry has more than serial, date and extensions (RFC 5280 "
				   "5.1)");
	if (extensions.p != NULL && !check_entry_extensions(c, extensions, &entry, err))
		return false;
	c->summary.entries++;
	if (c->rules.entry == NULL)
		return true;
	entry.serial = integer.p[0] == 0 ? (struct bytes){integer.p + 1, integer.len - 1} : integer;
	return c->rules.entry(&entry, c->rules.arg, err);
}

static bool
keep_number(struct bytes value, uint8_t out[CRL_NUMBER_MAX], size_t *len, struct error *err)
{
	struct bytes number;

	if (!extension_read_crl_number(value, &number, err))
		return false;
	memcpy(out, number.p, number.len);
	*len = number.len;
	return true;
}

/* RFC 5280 5.2.5. Indirect CRLs are not what a CA of ours signs, nor one that is told
 * from the CRL of all reasons by nothing that a client could look for. */
static bool
check_idp(struct bytes value, struct error *err)
{
	static const uint8_t fields[] = {
	    DER_CONTEXT(1), DER_CONTEXT(2), DER_CONTEXT(3), DER_CONTEXT(5)};
	struct bytes content;
	unsigned only = 0, reasons = 0;
	bool named = false;
	struct der d;

	if (!der_enter_only(value, DER_SEQUENCE, &d) || der_end(&d))
		goto bad;
	named = der_next_is(&d, DER_CONTEXT_CONSTRUCTED(0));
	if (named && (!der_read(&d, DER_CONTEXT_CONSTRUCTED(0), &content) ||
			 !extension_check_full_name(content, err)))
		goto bad;
	for (size_t i = 0; i < COUNT_OF(fields); i++) {
		bool some_reasons = fields[i] == DER_CONTEXT(3);

		if (!der_next_is(&d, fields[i]))
			continue;
		if (!der_read(&d, fields[i], &content))
			goto bad;
		if (some_reasons ? !extension_read_reasons(content, &reasons, err)
				 : content.len != 1 || content.p[0] != 0xff)
			goto bad;
		only += !some_reasons;
	}
	if (der_end(&d) && only <= 1 && (reasons == 0 || named))
		return true;
bad:
	return refuse(err, "issuingDistributionPoint is not one of ours (RFC 5280 5.2.5)");
}

static bool
check_extension(
    struct crl_check *c, const struct extension *x, bool *key_id, bool *freshest, struct error *err)
{
	struct crl_summary *s = &c->summary;
	bool must_be_critical = false, only_key_id;
	struct bytes id;

	if (bytes_equal(x->oid, oid_authority_key_identifier)) {
		if (!extension_read_authority_key_identifier(x->value, &id, &only_key_id, err))
			return false;
		if (!only_key_id || !bytes_equal(id, c->rules.key_id))
			return refuse(err, "authorityKeyIdentifier is not the CA's key (RFC 5280 "
					   "5.2.1)");
		*key_id = true;
	} else if (bytes_equal(x->oid, oid_crl_number)) {
		if (!keep_number(x->value, s->number, &s->number_len, err))
			return false;
	} else if (bytes_equal(x->oid, oid_delta_crl_indicator)) {
		if (!keep_number(x->value, s->base_number, &s->base_number_len, err))
			return false;
		s->delta = must_be_critical = true;
	} else if (bytes_equal(x->oid, oid_issuing_distribution_point)) {
		if (!check_idp(x->value, err))
			return false;
		s->idp = x->value;
		must_be_critical = true;
	} else if (bytes_equal(x->oid, oid_freshest_crl)) {
		if (!extension_check_distribution_points(x->value, err))
			return false;
		*freshest = true;
	} else if (bytes_equal(x->oid, oid_crl_published_locations)) {
		if (!extension_check_distribution_points(x->value, err))
			return false;
	} else if (bytes_equal(x->oid, oid_expired_certs_on_crl)) {
		if (!extension_read_expired_certs_on_crl(x->value, &s->expired_since, err))
			return false;
	} else if (bytes_equal(x->oid, oid_authority_info_access)) {
		if (!extension_check_authority_info_access(x->value, err))
			return false;
	} else {
		return refuse(err, "it has an extension that does not belong there (RFC 5280 5.2)");
	}
	if (x->critical != must_be_critical)
		return refuse(err, "deltaCRLIndicator and issuingDistributionPoint must be "
				   "critical, other extensions not (RFC 5280 5.2)");
	return true;
}

static bool
check_extensions(struct crl_check *c, struct bytes element, struct error *err)
{
	const struct crl_summary *s = &c->summary;
	bool key_id = false, freshest = false;
	struct extension_iter it;
	struct extension x;
	struct der tagged;
	struct bytes list;

	if (!der_enter_only(element, DER_CONTEXT_CONSTRUCTED(0), &tagged) ||
	    !der_read(&tagged, DER_SEQUENCE, &list) || !der_end(&tagged))
		return refuse(err, "crlExtensions are no DER (RFC 5280 5.1.2.7)");
	if (!extensions_check(list, "CRL", err))
		return false;
	extension_iter_init(&it, list);
	while (extension_iter_next(&it, &x)) {
		if (!check_extension(c, &x, &key_id, &freshest, err))
			return false;
	}
	if (!key_id || s->number_len == 0)
		return refuse(err, "authorityKeyIdentifier or cRLNumber is missing (RFC 5280 5.2)");
	if (s->delta && freshest)
		return refuse(err, "freshestCRL stands in a delta CRL (RFC 5280 5.2.6)");
	if (s->delta && (s->number_len < s->base_number_len ||
			    (s->number_len == s->base_number_len &&
				memcmp(s->number, s->base_number, s->number_len) < 0)))
		return refuse(err, "the delta's number is below its base's (RFC 5280 5.2.4)");
	if (c->removed && !s->delta)
		return refuse(err, "removeFromCRL stands in a complete CRL (RFC 5280 5.3.1)");
	return true;
}

/* ---- the stream */

/* A whole element has come. */
static bool
check_element(struct crl_check *c, struct bytes element, struct error *err)
{
	static const uint8_t version_2[] = {DER_INTEGER, 1, 1};

	switch (c->state) {
	case AT_VERSION:
		if (!bytes_equal(element, (struct bytes){version_2, sizeof version_2}))
			return refuse(err, "the version is not 2 (RFC 5280 5.1.2.1)");
		break;
	case AT_ALGORITHM:
		if (!bytes_equal(element, sig_alg_der(c->rules.sig_alg)))
			return refuse(err, "the signature algorithm is another than asked for (RFC "
					   "5280 5.1.2.2)");
		break;
	case AT_ISSUER:
		if (!bytes_equal(element, c->rules.issuer))
			return refuse(err, "the issuer is not the CA's subject, byte for byte (RFC "
					   "5280 5.1.2.3)");
		break;
	case AT_THIS_UPDATE:
		if (!check_time(element, &c->summary.this_update, err))
			return false;
		break;
	case AT_NEXT_UPDATE:
		if (!check_time(element, &c->summary.next_update, err))
			return false;
		if (c->summary.next_update <= c->summary.this_update)
			return refuse(err, "nextUpdate is not after thisUpdate");
		break;
	case AT_ENTRY:
		if (!check_entry(c, element, err))
			return false;
		c->list_left -= element.len;
		if (c->list_left == 0)
			c->state = AT_EXTENSIONS;
		return true;
	case AT_EXTENSIONS:
		if (!check_extensions(c, element, err))
			return false;
		break;
	}
	c->tbs_left -= element.len;
	if (c->state == AT_EXTENSIONS && c->tbs_left != 0)
		return refuse(err, "something stands after crlExtensions (RFC 5280 5.1)");
	c->state++;
	return true;
}

/* Tag and length of something that streams have come: step into it. */
static bool
enter_container(
    struct crl_check *c, uint8_t tag, size_t header_len, uint64_t content_len, struct error *err)
{
	if (tag != DER_SEQUENCE)
		return refuse(err, "a SEQUENCE is missing where RFC 5280 5.1 has one");
	if (c->state == AT_TBS) {
		if (header_len + content_len != c->rules.total_len)
			return refuse(err, "its length is another than announced");
		c->tbs_left = content_len;
		c->state = AT_VERSION;
		return true;
	}
	if (content_len == 0)
		return refuse(err, "revokedCertificates is empty; it must be left out (RFC 5280 "
				   "5.1.2.6)");
	c->list_left = content_len;
	c->tbs_left -= header_len + content_len;
	c->state = AT_ENTRY;
	return true;
}

enum header { HEADER_BAD, HEADER_SHORT, HEADER_WHOLE };

/* Reads tag and length; unlike der.h's, the content may be yet to come. */
static enum header
read_header(const uint8_t *p, size_t len, size_t *header_len, uint64_t *content_len)
{
	size_t octets;
	uint64_t v = 0;

	if (len < 2)
		return HEADER_SHORT;
	if (p[1] < 0x80) {
		*header_len = 2;
		*content_len = p[1];
		return HEADER_WHOLE;
	}
	octets = p[1] & 0x7f;
	if (octets == 0 || octets > HEADER_MAX - 2)
		return HEADER_BAD;
	if (len < 2 + octets)
		return HEADER_SHORT;
	for (size_t i = 0; i < octets; i++)
		v = v << 8 | p[2 + i];
	if (v < 0x80 || p[2] == 0)
		return HEADER_BAD;
	*header_len = 2 + octets;
	*content_len = v;
	return HEADER_WHOLE;
}

static void
hold(struct crl_check *c, struct bytes *piece, size_t len)
{
	memcpy(c->element + c->held, piece->p, len);
	c->held += len;
	piece->p += len;
	piece->len -= len;
}

/* An element of `size` octets has begun, in element[] or at the piece's start:
 * checks it when it is all there, else keeps what there is. */
static bool
take_element(struct crl_check *c, struct bytes *piece, uint64_t size, struct error *err)
{
	uint64_t room = c->state == AT_ENTRY ? c->list_left : c->tbs_left;
	uint64_t max = c->state == AT_ENTRY ? CRL_CHECK_ENTRY_MAX : CRL_CHECK_ELEMENT_MAX;
	struct bytes whole;
	size_t missing;

	if (size > room)
		return refuse(err, "an element is longer than what it stands in");
	if (size > max)
		return error_set(err, ERROR_LIMIT,
		    "CRL: an element takes %llu octets; at most %llu", (unsigned long long)size,
		    (unsigned long long)max);
	/* The extensions are always kept: the summary points to them. */
	if (c->held == 0 && piece->len >= size && c->state != AT_EXTENSIONS) {
		whole = (struct bytes){piece->p, (size_t)size};
		piece->p += size;
		piece->len -= (size_t)size;
		return check_element(c, whole, err);
	}
	missing = (size_t)size - c->held;
	hold(c, piece, missing < piece->len ? missing : piece->len);
	if (c->held < size)
		return true;
	c->held = 0;
	return check_element(c, (struct bytes){c->element, (size_t)size}, err);
}

/* Makes one step forward with what the piece has. */
static bool
step(struct crl_check *c, struct bytes *piece, struct error *err)
{
	const uint8_t *p = c->held > 0 ? c->element : piece->p;
	size_t len = c->held > 0 ? c->held : piece->len;
	size_t header_len;
	uint64_t content_len, room;

	if (c->state == AT_END)
		return refuse(err, "something stands after its end");
	switch (read_header(p, len, &header_len, &content_len)) {
	case HEADER_BAD:
		return refuse(err, "a length is not DER (X.690 10.1)");
	case HEADER_SHORT:
		hold(c, piece, 1);
		return true;
	case HEADER_WHOLE:
		break;
	}
	if (c->state == AT_LIST && p[0] == DER_CONTEXT_CONSTRUCTED(0))
		c->state = AT_EXTENSIONS;
	if (c->state != AT_TBS && c->state != AT_LIST)
		return take_element(c, piece, header_len + content_len, err);
	room = c->state == AT_TBS ? UINT64_MAX : c->tbs_left;
	if (header_len + content_len > room)
		return refuse(err, "an element is longer than what it stands in");
	if (!enter_container(c, p[0], header_len, content_len, err))
		return false;
	if (c->held == 0) {
		piece->p += header_len;
		piece->len -= header_len;
	}
	c->held = 0;
	return true;
}

bool
crl_check_push(struct crl_check *c, struct bytes piece, struct error *err)
{
	if (c->failed || c->finished)
		return refuse(err, "it was refused already, or is over");
	c->seen += piece.len;
	if (c->seen > c->rules.total_len)
		c->failed = !refuse(err, "it is longer than announced");
	while (!c->failed && piece.len > 0)
		c->failed = !step(c, &piece, err);
	return !c->failed;
}

bool
crl_check_finish(struct crl_check *c, const struct crl_summary **summary, struct error *err)
{
	if (c->failed)
		return refuse(err, "it was refused already");
	c->finished = true;
	if (c->state != AT_END || c->seen != c->rules.total_len) {
		c->failed = true;
		return refuse(err, "it ends too early");
	}
	*summary = &c->summary;
	return true;
}
