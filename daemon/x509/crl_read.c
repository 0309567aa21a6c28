#include "daemon/x509/crl_read.h"
#include "daemon/x509/sig_input.h"

#include <stdlib.h>

#include "daemon/x509/der.h"

/* Tag and length of CertificateList and TBSCertList, of up to 2^40 octets. */
#define HEADER_MAX 7

/* ---- peek */

/* Steps over tag and length of a SEQUENCE whose content need not all be there. */
static bool
step_in(struct bytes *b)
{
	size_t header = b->len >= 2 && b->p[1] >= 0x80 ? 2 + (size_t)(b->p[1] & 0x7f) : 2;

	if (b->len < header || b->p[0] != DER_SEQUENCE || header > HEADER_MAX)
		return false;
	*b = (struct bytes){b->p + header, b->len - header};
	return true;
}

bool
crl_peek_algorithm(struct bytes head, enum sig_alg *alg, struct error *err)
{
	unsigned salt_len;
	struct bytes whole;
	uint32_t version;
	struct der d;

	for (int depth = 0; depth < 2; depth++) { /* CertificateList, TBSCertList */
		if (!step_in(&head))
			goto bad;
	}
	der_init(&d, head);
	if (der_read_small(&d, 1, &version) && der_read_whole(&d, DER_SEQUENCE, &whole) &&
	    sig_alg_parse(whole, alg, &salt_len))
		return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "it is no CRL in DER, or not signed with an algorithm "
	    "that is known here");
}

/* ---- reader */

enum part {
	IN_LIST_HEADER, /* tag and length of the CertificateList */
	IN_TBS_HEADER,	/* the same of the TBSCertList */
	IN_TBS,
	IN_TAIL, /* signatureAlgorithm and signatureValue */
};

struct crl_reader {
	struct crl_rules rules;
	const struct spki *key;
	uint64_t total_len, seen;
	uint64_t tbs_left;
	enum part part;
	bool failed;
	struct crl_check check;
	struct sig_input input; /* the to-be-signed part */
	uint8_t held[CRL_LIST_TAIL_MAX];
	size_t held_len;
};

static bool
refuse(struct error *err, const char *what)
{
	return error_set(err, ERROR_INPUT, "CRL: %s", what);
}

struct crl_reader *
crl_reader_new(
    const struct crl_rules *rules, const struct spki *key, uint64_t total_len, struct error *err)
{
	struct crl_reader *r = calloc(1, sizeof *r);

	if (r == NULL) {
		(void)error_set_errno(err, ERROR_SYSTEM, "allocating a CRL's reader");
		return NULL;
	}
	r->rules = *rules;
	r->key = key;
	r->total_len = total_len;
	if (sig_input_begin(&r->input, rules->sig_alg, err))
		return r;
	crl_reader_free(r);
	return NULL;
}

void
crl_reader_free(struct crl_reader *r)
{
	if (r == NULL)
		return;
	sig_input_free(&r->input);
	free(r);
}

static bool
hold_octet(struct crl_reader *r, struct bytes *piece)
{
	if (r->held_len == sizeof r->held)
		return false;
	r->held[r->held_len++] = *piece->p++;
	piece->len--;
	return true;
}

/* True when held[] is tag and length of a SEQUENCE, whole and in DER's form. */
static bool
is_header(const struct crl_reader *r, uint64_t *content_len, bool *bad)
{
	size_t octets = r->held_len >= 2 && r->held[1] >= 0x80 ? r->held[1] & 0x7fu : 0;
	uint64_t v = 0;

	*bad = r->held[0] != DER_SEQUENCE || octets > HEADER_MAX - 2 ||
	       (r->held_len >= 2 && r->held[1] == 0x80);
	if (*bad || r->held_len < 2 + octets)
		return false;
	for (size_t i = 0; i < octets; i++)
		v = v << 8 | r->held[2 + i];
	*content_len = octets == 0 ? r->held[1] : v;
	*bad = octets > 0 && (v < 0x80 || r->held[2] == 0);
	return !*bad && r->held_len >= 2;
}

/* The header is known: the checker gets it, and then what it announces. */
static bool
begin_tbs(struct crl_reader *r, uint64_t content_len, struct error *err)
{
	struct bytes header = {r->held, r->held_len};

	r->rules.total_len = r->held_len + content_len;
	r->tbs_left = content_len;
	crl_check_begin(&r->check, &r->rules);
	r->part = IN_TBS;
	return sig_input_add(&r->input, header, err) && crl_check_push(&r->check, header, err);
}

static bool
take_header(struct crl_reader *r, struct bytes *piece, struct error *err)
{
	uint64_t content_len = 0;
	bool bad;

	(void)hold_octet(r, piece);
	if (!is_header(r, &content_len, &bad))
		return !bad ||
		       refuse(err, "tag or length at its beginning is not DER (X.690 10.1)");
	if (r->part == IN_TBS_HEADER) {
		if (!begin_tbs(r, content_len, err))
			return false;
	} else if (r->held_len + content_len != r->total_len) {
		return refuse(err, "its length is another than the number of its octets");
	} else {
		r->part = IN_TBS_HEADER;
	}
	r->held_len = 0;
	return true;
}

static bool
take_tbs(struct crl_reader *r, struct bytes *piece, struct error *err)
{
	struct bytes part = {piece->p, piece->len < r->tbs_left ? piece->len : (size_t)r->tbs_left};

	if (!crl_check_push(&r->check, part, err) || !sig_input_add(&r->input, part, err))
		return false;
	piece->p += part.len;
	piece->len -= part.len;
	r->tbs_left -= part.len;
	if (r->tbs_left == 0)
		r->part = IN_TAIL;
	return true;
}

bool
crl_reader_push(struct crl_reader *r, struct bytes piece, struct error *err)
{
	if (r->failed)
		return refuse(err, "it was refused already");
	r->seen += piece.len;
	if (r->seen > r->total_len)
		r->failed = !refuse(err, "it is longer than announced");
	while (!r->failed && piece.len > 0) {
		if (r->part == IN_TBS)
			r->failed = !take_tbs(r, &piece, err);
		else if (r->part != IN_TAIL)
			r->failed = !take_header(r, &piece, err);
		else if (!hold_octet(r, &piece))
			r->failed = !refuse(err, "too much stands behind its TBSCertList");
	}
	return !r->failed;
}

/* RFC 5280 5.1.1.2, 5.1.1.3. */
static bool
check_signature(struct crl_reader *r, struct error *err)
{
	struct bytes alg, signature, input;
	struct der d;

	der_init(&d, (struct bytes){r->held, r->held_len});
	if (!der_read_whole(&d, DER_SEQUENCE, &alg) || !der_read_bit_octets(&d, &signature) ||
	    !der_end(&d))
		return refuse(
		    err, "algorithm and signature at its end are no DER (RFC 5280 5.1.1)");
	if (!bytes_equal(alg, sig_alg_der(r->rules.sig_alg)))
		return refuse(err, "its outer signature algorithm is another than the inner one "
				   "(RFC 5280 5.1.1.2)");
	return sig_input_end(&r->input, &input, err) &&
	       spki_verify_digest(r->key, r->rules.sig_alg, input, signature, err);
}

bool
crl_reader_finish(struct crl_reader *r, const struct crl_summary **summary, struct error *err)
{
	if (r->failed)
		return refuse(err, "it was refused already");
	r->failed = true; /* it is over in any case */
	if (r->part != IN_TAIL || r->seen != r->total_len)
		return refuse(err, "it ends too early");
	return crl_check_finish(&r->check, summary, err) && check_signature(r, err);
}
