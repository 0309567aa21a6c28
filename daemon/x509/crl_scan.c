#include "daemon/x509/crl_scan.h"
#include "daemon/x509/sig_input.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/x509/der.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/oid.h"

#define HEADER_MAX 9 /* tag and length of up to 2^56 octets */
/* From the TBSCertList's tag to its algorithm, while the digest is not known. */
#define EARLY_MAX (HEADER_MAX + 8 + HEADER_MAX + SIG_ALG_DER_MAX)

/* What comes next. The fields of a TBSCertList in their order, RFC 5280 5.1. */
enum part {
	AT_LIST, /* tag and length of the CertificateList */
	AT_TBS,	 /* the same of the TBSCertList */
	AT_VERSION,
	AT_ALGORITHM,
	AT_ISSUER,
	AT_THIS_UPDATE,
	AT_NEXT_UPDATE, /* optional, as are all that follow */
	AT_ENTRIES,
	AT_EXTENSIONS,
	AT_OUTER_ALGORITHM,
	AT_SIGNATURE,
	AT_END,
};

struct crl_scan {
	struct bytes issuer;
	const struct spki *key;
	enum part part;
	bool failed;
	uint64_t list_left, tbs_left; /* octets of their contents still to come */
	uint64_t skip;		      /* octets of entries still to come */
	enum sig_alg alg;
	struct sig_input input; /* from the algorithm on */
	bool digesting;
	uint8_t early[EARLY_MAX], algorithm[SIG_ALG_DER_MAX];
	size_t early_len, algorithm_len, held_len;
	struct crl_facts facts;
	bool is_signed;
	uint8_t extensions[CRL_SCAN_ELEMENT_MAX];
	uint8_t held[CRL_SCAN_ELEMENT_MAX];
};

static bool
refuse(struct error *err, const char *what)
{
	return error_set(err, ERROR_INPUT, "CRL: %s", what);
}

struct crl_scan *
crl_scan_new(struct bytes issuer, const struct spki *key, struct error *err)
{
	struct crl_scan *s = calloc(1, sizeof *s);

	if (s == NULL) {
		free(s);
		(void)error_set_errno(err, ERROR_SYSTEM, "allocating a look at a CRL");
		return NULL;
	}
	s->issuer = issuer;
	s->key = key;
	return s;
}

void
crl_scan_free(struct crl_scan *s)
{
	if (s == NULL)
		return;
	sig_input_free(&s->input);
	free(s);
}

/* ---- the digest of the to-be-signed part */

static bool
digest(struct crl_scan *s, struct bytes octets, struct error *err)
{
	if (!s->digesting) {
		if (octets.len > sizeof s->early - s->early_len)
			return refuse(err, "too much stands before its algorithm");
		memcpy(s->early + s->early_len, octets.p, octets.len);
		s->early_len += octets.len;
		return true;
	}
	return sig_input_add(&s->input, octets, err);
}

static bool
begin_digest(struct crl_scan *s, struct bytes algorithm, struct error *err)
{
	unsigned salt_len;

	if (algorithm.len > sizeof s->algorithm || !sig_alg_parse(algorithm, &s->alg, &salt_len))
		return refuse(err, "it is signed with an algorithm that is not known here");
	memcpy(s->algorithm, algorithm.p, algorithm.len);
	s->algorithm_len = algorithm.len;
	s->digesting = true;
	return sig_input_begin(&s->input, s->alg, err) &&
	       sig_input_add(&s->input, (struct bytes){s->early, s->early_len}, err);
}

/* ---- fields */

static bool
keep_extensions(struct crl_scan *s, struct bytes element, struct error *err)
{
	struct extension x;
	struct der tagged;
	struct bytes list;

	memcpy(s->extensions, element.p, element.len);
	if (!der_enter_only(
		(struct bytes){s->extensions, element.len}, DER_CONTEXT_CONSTRUCTED(0), &tagged) ||
	    !der_read(&tagged, DER_SEQUENCE, &list) || !der_end(&tagged))
		return refuse(err, "its extensions are no DER (RFC 5280 5.1.2.7)");
	if (extension_find(list, oid_crl_number, &x) &&
	    !extension_read_crl_number(x.value, &s->facts.number, err))
		return false;
	s->facts.delta = extension_find(list, oid_delta_crl_indicator, &x);
	if (extension_find(list, oid_issuing_distribution_point, &x))
		s->facts.idp = x.value;
	return true;
}

/* RFC 5280 5.1.1.3. */
static bool
check_signature(struct crl_scan *s, struct bytes element, struct error *err)
{
	struct bytes signature, input;
	struct der d;

	der_init(&d, element);
	if (!der_read_bit_octets(&d, &signature) || !der_end(&d))
		return refuse(err, "its signature is no DER (RFC 5280 5.1.1.3)");
	s->is_signed = sig_input_end(&s->input, &input, err) &&
		       spki_verify_digest(s->key, s->alg, input, signature, err);
	return s->is_signed;
}

static bool
read_time(struct bytes element, int64_t *seconds)
{
	struct der d;

	der_init(&d, element);
	return der_read_time(&d, seconds) && der_end(&d);
}

static bool
take_field(struct crl_scan *s, struct bytes element, struct error *err)
{
	switch (s->part) {
	case AT_VERSION:
		break;
	case AT_ALGORITHM:
		if (!begin_digest(s, element, err))
			return false;
		break;
	case AT_ISSUER:
		if (!bytes_equal(element, s->issuer))
			return refuse(err, "it is a CRL of another CA");
		break;
	case AT_THIS_UPDATE:
		if (!read_time(element, &s->facts.this_update))
			return refuse(err, "thisUpdate is no time (RFC 5280 5.1.2.4)");
		break;
	case AT_EXTENSIONS:
		return keep_extensions(s, element, err);
	case AT_OUTER_ALGORITHM:
		return bytes_equal(element, (struct bytes){s->algorithm, s->algorithm_len}) ||
		       refuse(err, "its two signature algorithms differ (RFC 5280 5.1.1.2)");
	case AT_SIGNATURE:
		return check_signature(s, element, err);
	default:
		break;
	}
	return true;
}

/* ---- the stream */

static uint64_t *
room_of(struct crl_scan *s)
{
	return s->part >= AT_OUTER_ALGORITHM ? &s->list_left : &s->tbs_left;
}

/* Which field this tag begins; some are left out. */
static bool
find_field(struct crl_scan *s, uint8_t tag, struct error *err)
{
	if (s->part == AT_VERSION && tag != DER_INTEGER)
		s->part = AT_ALGORITHM; /* version 1 */
	if (s->part == AT_NEXT_UPDATE && tag != DER_UTC_TIME && tag != DER_GENERALIZED_TIME)
		s->part = AT_ENTRIES;
	if (s->part == AT_ENTRIES && tag != DER_SEQUENCE)
		s->part = AT_EXTENSIONS;
	if (s->part == AT_EXTENSIONS && tag != DER_CONTEXT_CONSTRUCTED(0))
		return refuse(err, "something stands in it that RFC 5280 5.1 does not have");
	return true;
}

/* Steps over what has been taken; the end of the to-be-signed part is the
 * beginning of what stands behind it. */
static void
go_on(struct crl_scan *s, uint64_t len)
{
	*room_of(s) -= len;
	s->held_len = 0;
	s->part++;
	if (s->part <= AT_OUTER_ALGORITHM && s->tbs_left == 0 && s->skip == 0)
		s->part = AT_OUTER_ALGORITHM;
}

enum header { HEADER_BAD, HEADER_SHORT, HEADER_WHOLE };

static enum header
read_header(const struct crl_scan *s, size_t *header_len, uint64_t *content_len)
{
	const uint8_t *p = s->held;
	size_t octets = s->held_len >= 2 && p[1] >= 0x80 ? p[1] & 0x7fu : 0;
	uint64_t v = 0;

	if (s->held_len < 2)
		return HEADER_SHORT;
	if (p[1] == 0x80 || octets > HEADER_MAX - 2)
		return HEADER_BAD;
	if (s->held_len < 2 + octets)
		return HEADER_SHORT;
	for (size_t i = 0; i < octets; i++)
		v = v << 8 | p[2 + i];
	*header_len = 2 + octets;
	*content_len = octets == 0 ? p[1] : v;
	return HEADER_WHOLE;
}

/* Tag and length of what streams are whole. */
static bool
enter(struct crl_scan *s, size_t header_len, uint64_t content_len, struct error *err)
{
	uint64_t whole = header_len + content_len;

	if (s->held[0] != DER_SEQUENCE)
		return refuse(err, "it is no CRL in DER");
	if (s->part == AT_LIST) {
		s->list_left = content_len;
	} else if (s->part == AT_TBS) {
		if (whole > s->list_left)
			return refuse(err, "it is no CRL in DER");
		s->list_left -= whole;
		s->tbs_left = content_len;
	} else {
		s->skip = content_len;
		go_on(s, whole);
		return true;
	}
	s->held_len = 0;
	s->part++;
	return true;
}

/* One octet more of a header or an element. */
static bool
take_octet(struct crl_scan *s, uint8_t octet, struct error *err)
{
	size_t header_len = 0;
	uint64_t content_len = 0, whole;

	s->held[s->held_len++] = octet;
	if (s->part == AT_END)
		return refuse(err, "something stands behind it");
	if (s->part >= AT_TBS && s->part <= AT_EXTENSIONS &&
	    !digest(s, (struct bytes){&octet, 1}, err))
		return false;
	if (s->held_len == 1 && s->part >= AT_VERSION && s->part < AT_OUTER_ALGORITHM &&
	    !find_field(s, octet, err))
		return false;
	switch (read_header(s, &header_len, &content_len)) {
	case HEADER_BAD:
		return refuse(err, "a length in it is not DER (X.690 10.1)");
	case HEADER_SHORT:
		return true;
	default:
		break;
	}
	whole = header_len + content_len;
	if (s->part == AT_LIST || s->part == AT_TBS)
		return enter(s, header_len, content_len, err);
	if (content_len > *room_of(s) || whole > *room_of(s))
		return refuse(err, "an element is longer than what it stands in");
	if (s->part == AT_ENTRIES)
		return enter(s, header_len, content_len, err);
	if (whole > sizeof s->held)
		return error_set(err, ERROR_LIMIT, "CRL: an element takes %llu octets; at most %d",
		    (unsigned long long)whole, CRL_SCAN_ELEMENT_MAX);
	if (s->held_len < whole)
		return true;
	if (!take_field(s, (struct bytes){s->held, s->held_len}, err))
		return false;
	go_on(s, whole);
	return true;
}

static bool
skip_entries(struct crl_scan *s, struct bytes *piece, struct error *err)
{
	size_t n = s->skip < piece->len ? (size_t)s->skip : piece->len;

	if (!digest(s, (struct bytes){piece->p, n}, err))
		return false;
	piece->p += n;
	piece->len -= n;
	s->skip -= n;
	if (s->skip == 0 && s->tbs_left == 0)
		s->part = AT_OUTER_ALGORITHM;
	return true;
}

bool
crl_scan_push(struct crl_scan *s, struct bytes piece, struct error *err)
{
	if (s->failed)
		return refuse(err, "it was refused already");
	while (!s->failed && piece.len > 0) {
		if (s->skip > 0) {
			s->failed = !skip_entries(s, &piece, err);
			continue;
		}
		s->failed = !take_octet(s, *piece.p, err);
		piece.p++;
		piece.len--;
	}
	return !s->failed;
}

bool
crl_scan_finish(struct crl_scan *s, struct crl_facts *facts, struct error *err)
{
	if (s->failed)
		return refuse(err, "it was refused already");
	s->failed = true; /* it is over in any case */
	if (s->part != AT_END || s->list_left != 0 || !s->is_signed)
		return refuse(err, "it ends too early");
	*facts = s->facts;
	return true;
}
