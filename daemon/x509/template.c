#include "daemon/x509/template.h"

#include <stdio.h>
#include <string.h>

#include "daemon/x509/name.h"
#include "daemon/x509/template_int.h"

/* otherName of type 1.3.6.1.4.1.311.20.2.3: user principal name. */
static const uint8_t upn_oid[] = {0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3};

const char *
template_name(const struct template *t)
{
	return t->name;
}

bool
template_is_automatic(const struct template *t)
{
	return t->automatic;
}

bool
template_makes_ca(const struct template *t)
{
	return t->ca;
}

const char *
template_crl_attribute(const struct template *t)
{
	return t->crl_attribute != NULL ? t->crl_attribute : "";
}

int64_t
template_validity_s(const struct template *t)
{
	return t->validity_s;
}

int64_t
template_renewal_s(const struct template *t)
{
	return t->renewal_s;
}

enum template_key
template_key_of(const struct spki *spki)
{
	switch (spki->kind) {
	case SPKI_RSA:
		return TEMPLATE_RSA;
	case SPKI_EC:
		return TEMPLATE_EC;
	default:
		return TEMPLATE_ED25519;
	}
}

/* ---- checks of a request; each error names the rule's place in the template */

static bool PRINTF(4, 5)
    refuse(const struct template *t, const char *rule, struct error *err, const char *fmt, ...)
{
	char words[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	return error_set(err, ERROR_INPUT, "template '%s', %s: %s", t->name, rule, words);
}

static bool
check_key(const struct template *t, const struct spki *spki, struct error *err)
{
	enum template_key key = template_key_of(spki);
	char words[TEMPLATE_ALLOWED_MAX] = "";

	if (!t->key_allowed[key]) {
		for (int k = 0; k < TEMPLATE_KEY_COUNT; k++)
			if (t->key_allowed[k])
				template_list_add(words, template_key_words[k]);
		return refuse(t, "key.types", err, "the request's key is of type %s; allowed: %s",
		    template_key_words[key], words);
	}
	/* FIPS 186-5 A.1.1; the signer would refuse it. */
	if (key == TEMPLATE_RSA && spki->exponent.len < 3)
		return refuse(t, "key", err,
		    "the request's RSA key has a public exponent of less than 65537: make a new "
		    "key");
	if (key == TEMPLATE_RSA && spki->bits < t->rsa_min_bits)
		return refuse(t, "key.rsa_min_bits", err,
		    "the request's RSA key has %u bits; allowed: at least %u", spki->bits,
		    t->rsa_min_bits);
	if (key == TEMPLATE_EC &&
	    !((spki->bits == 256 && t->curve_p256) || (spki->bits == 384 && t->curve_p384) ||
		(spki->bits == 521 && t->curve_p521))) {
		if (t->curve_p256)
			template_list_add(words, "p256");
		if (t->curve_p384)
			template_list_add(words, "p384");
		if (t->curve_p521)
			template_list_add(words, "p521");
		return refuse(t, "key.curves", err, "the request's key is on p%u; allowed: %s",
		    spki->bits, words);
	}
	return true;
}

static const char *
attribute_word(struct bytes oid, char buf[OID_TEXT_MAX])
{
	const char *word = name_attribute_keyword(oid);

	if (word != NULL)
		return word;
	oid_to_text(oid, buf);
	return buf;
}

static bool
check_subject(const struct template *t, const struct csr *csr, struct error *err)
{
	unsigned seen[TEMPLATE_ATTRIBUTE_MAX] = {0};
	char buf[OID_TEXT_MAX];
	struct name_attribute a;
	struct name_iter it;
	size_t i;

	name_iter_init(&it, csr->subject);
	while (name_iter_next(&it, &a)) {
		for (i = 0; i < t->attribute_count; i++)
			if (bytes_equal(t->attributes[i].oid, a.oid))
				break;
		if (i == t->attribute_count)
			return refuse(t, "subject.allowed", err,
			    "the request's subject has the attribute %s; allowed: %s",
			    attribute_word(a.oid, buf),
			    t->attribute_count > 0 ? t->attributes_text : "none");
		if (++seen[i] > 1 && !t->attributes[i].repeatable)
			return refuse(t, "subject.allowed", err,
			    "the request's subject has the attribute %s more than once",
			    t->attributes[i].word);
	}
	for (i = 0; i < t->attribute_count; i++)
		if (t->attributes[i].required && seen[i] == 0)
			return refuse(t, "subject.required", err,
			    "the request's subject lacks the attribute %s", t->attributes[i].word);
	return true;
}

/* GeneralName otherName with a UPN: [0] { type-id, [0] { UTF8String } }. */
static bool
is_upn(struct bytes general_name)
{
	struct bytes oid, text;
	struct der name, value;

	if (!der_enter_only(general_name, DER_CONTEXT_CONSTRUCTED(0), &name) ||
	    !der_read_oid(&name, &oid) ||
	    !bytes_equal(oid, (struct bytes){upn_oid, sizeof upn_oid}) ||
	    !der_enter(&name, DER_CONTEXT_CONSTRUCTED(0), &value) || !der_end(&name) ||
	    !der_read(&value, DER_UTF8_STRING, &text) || !der_end(&value))
		return false;
	/* user@realm: printable, one line. */
	for (size_t i = 0; i < text.len; i++)
		if (text.p[i] <= 0x20 || text.p[i] >= 0x7f)
			return false;
	return text.len >= 3 && text.len <= 256 && memchr(text.p, '@', text.len) != NULL;
}

static unsigned
san_bit(const struct san *san)
{
	switch (san->type) {
	case SAN_DNS:
		return TEMPLATE_SAN_DNS;
	case SAN_IP:
		return TEMPLATE_SAN_IP;
	case SAN_EMAIL:
		return TEMPLATE_SAN_EMAIL;
	case SAN_URI:
		return TEMPLATE_SAN_URI;
	case SAN_UNSUPPORTED:
		return is_upn(san->value) ? TEMPLATE_SAN_UPN : 0;
	}
	return 0;
}

static bool
check_names(const struct template *t, const struct csr *csr, struct error *err)
{
	char text[SAN_TEXT_MAX];

	if (t->san_required && csr->name_count == 0)
		return refuse(t, "san.required", err,
		    "the request has no subject alternative name; ask for at least one of: %s",
		    t->san_text);
	if (csr->name_count > 0 && t->san_allowed == 0)
		return refuse(
		    t, "san", err, "the request asks for subject alternative names; allowed: none");
	if (csr->name_count > t->san_max && csr->name_count > 0)
		return refuse(t, "san.max", err,
		    "the request asks for %zu subject alternative names; allowed: at most %zu",
		    csr->name_count, t->san_max);
	for (size_t i = 0; i < csr->name_count; i++) {
		if ((san_bit(&csr->names[i]) & t->san_allowed) != 0)
			continue;
		if (!san_to_text(&csr->names[i], text, sizeof text))
			(void)snprintf(text, sizeof text, "of another kind");
		return refuse(t, "san.allowed", err,
		    "the request asks for the name %.120s; allowed: %s", text, t->san_text);
	}
	if (name_is_empty(csr->subject) && csr->name_count == 0)
		return refuse(t, "subject", err,
		    "the request has neither subject nor alternative name (RFC 5280 4.1.2.6)");
	return true;
}

/*
 * Asking for more than the template gives is refused, so that nobody takes the
 * certificate for what it is not; asking for less, or for other key usages of
 * an end entity, is answered with what the template says.
 */
static bool
check_powers(const struct template *t, const struct csr *csr, struct error *err)
{
	char buf[OID_TEXT_MAX];
	const char *word;
	size_t k;

	if (csr->has_basic_constraints && csr->ca != t->ca)
		return refuse(t, "basic_constraints.ca", err,
		    "the request asks for a certificate %s; this template makes %s",
		    csr->ca ? "of a CA" : "that is none of a CA",
		    t->ca ? "CA certificates" : "none of a CA");
	if (t->path_length >= 0 && csr->has_basic_constraints && csr->path_length > t->path_length)
		return refuse(t, "basic_constraints.path_length", err,
		    "the request asks for a path length of %d; allowed: at most %d",
		    csr->path_length, t->path_length);
	if (csr->has_key_usage && !t->ca &&
	    (csr->key_usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0)
		return refuse(t, "key_usage", err,
		    "the request asks for keyCertSign or cRLSign, which only a CA may have");
	for (size_t i = 0; i < csr->purpose_count; i++) {
		for (k = 0; k < t->purpose_count; k++)
			if (bytes_equal(t->purposes[k], csr->purposes[i]))
				break;
		if (k < t->purpose_count)
			continue;
		word = oid_purpose_name(csr->purposes[i]);
		if (word == NULL) {
			oid_to_text(csr->purposes[i], buf);
			word = buf;
		}
		return refuse(t, "extended_key_usage", err, "the request asks for %s; allowed: %s",
		    word, t->purpose_count > 0 ? t->purposes_text : "none");
	}
	return true;
}

bool
template_check_csr(const struct template *t, const struct csr *csr, struct error *err)
{
	return check_key(t, &csr->spki, err) && check_subject(t, csr, err) &&
	       check_names(t, csr, err) && check_powers(t, csr, err);
}

bool
template_check_ca(const struct template *t, const struct ca_context *ca, struct error *err)
{
	if (!t->ca || ca->path_length < 0)
		return true;
	if (ca->path_length == 0)
		return refuse(t, "basic_constraints.ca", err,
		    "the CA's own certificate has path length 0, so it may not issue CA "
		    "certificates "
		    "(RFC 5280 4.2.1.9)");
	if (t->path_length < 0 || t->path_length >= ca->path_length)
		return refuse(t, "basic_constraints.path_length", err,
		    "must be less than %d, the path length of the CA's own certificate (RFC 5280 "
		    "4.2.1.9)",
		    ca->path_length);
	return true;
}
