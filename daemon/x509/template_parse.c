/* From YAML to a compiled template. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/name.h"
#include "daemon/x509/template_int.h"

const char *const template_key_words[TEMPLATE_KEY_COUNT] = {
    [TEMPLATE_RSA] = "rsa",
    [TEMPLATE_EC] = "ec",
    [TEMPLATE_ED25519] = "ed25519",
};

void
template_list_add(char *list, const char *word)
{
	size_t used = strlen(list);

	(void)snprintf(
	    list + used, TEMPLATE_ALLOWED_MAX - used, "%s%s", used > 0 ? ", " : "", word);
}

static bool
is_template_name(const char *s)
{
	size_t len = strlen(s);

	if (len == 0 || len > TEMPLATE_NAME_MAX || s[0] == '-')
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static bool
read_head(struct template *t, struct yaml_map *map, struct error *err)
{
	static const char *const approvals[] = {"manual", "automatic"};
	static const char *const exceeds[] = {"cut", "refuse"};
	size_t approval = 0, exceed = 0;

	if (yaml_get_string(map, "name", YAML_REQUIRED, &t->name, err) &&
	    !is_template_name(t->name))
		return yaml_fail_key(map, "name", err,
		    "'%.80s' is not allowed; allowed: letters a-z, digits and '-', at most %d, "
		    "first "
		    "a letter or digit",
		    t->name, TEMPLATE_NAME_MAX);
	if (yaml_get_enum(
		map, "approval", YAML_REQUIRED, approvals, COUNT_OF(approvals), &approval, err))
		t->automatic = approval == 1;
	(void)yaml_get_duration(
	    map, "validity", YAML_REQUIRED, 60, TEMPLATE_VALIDITY_MAX_S, &t->validity_s, err);
	if (yaml_get_duration(
		map, "renewal", YAML_OPTIONAL, 60, TEMPLATE_VALIDITY_MAX_S, &t->renewal_s, err) &&
	    t->renewal_s >= t->validity_s)
		return yaml_fail_key(
		    map, "renewal", err, "is not shorter than 'validity'; allowed: less than it");
	if (yaml_get_enum(
		map, "exceed_issuer", YAML_REQUIRED, exceeds, COUNT_OF(exceeds), &exceed, err))
		t->cut = exceed == 0;
	if (yaml_get_string(map, "crl_attribute", YAML_OPTIONAL, &t->crl_attribute, err) &&
	    !capolicy_is_word(t->crl_attribute))
		return yaml_fail_key(map, "crl_attribute", err,
		    "'%.60s' is not allowed; allowed: a letter a-z, then letters and digits, at "
		    "most %d, but not 'user', 'ca' or 'v' with a number",
		    t->crl_attribute, CAPOLICY_WORD_MAX);
	return !error_is_set(err);
}

/* ---- key */

static bool
read_curves(struct template *t, struct yaml_map *key, struct error *err)
{
	static const char *const words[] = {"p256", "p384", "p521"};
	bool *const flags[] = {&t->curve_p256, &t->curve_p384, &t->curve_p521};
	const struct yaml_node *item;
	struct yaml_list list;
	size_t i = 0;

	if (!yaml_get_list(key, "curves", YAML_OPTIONAL, 1, COUNT_OF(words), &list, err)) {
		t->curve_p256 = t->curve_p384 = t->key_allowed[TEMPLATE_EC];
		return !error_is_set(err);
	}
	if (!t->key_allowed[TEMPLATE_EC])
		return yaml_fail_key(key, "curves", err, "is given, but 'types' has no ec");
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_enum(item, words, COUNT_OF(words), &i, err))
			return false;
		if (*flags[i])
			return yaml_fail(item, err, "stands twice; allowed: once");
		*flags[i] = true;
	}
	return true;
}

static bool
read_key(struct template *t, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_map key;
	struct yaml_list list;
	int64_t bits = SPKI_RSA_BITS_MIN;
	size_t i = 0;

	if (!yaml_get_map(map, "key", YAML_REQUIRED, &key, err) ||
	    !yaml_get_list(&key, "types", YAML_REQUIRED, 1, TEMPLATE_KEY_COUNT, &list, err))
		return false;
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_enum(item, template_key_words, TEMPLATE_KEY_COUNT, &i, err))
			return false;
		if (t->key_allowed[i])
			return yaml_fail(item, err, "stands twice; allowed: once");
		t->key_allowed[i] = true;
	}
	if (yaml_get_int(&key, "rsa_min_bits", YAML_OPTIONAL, SPKI_RSA_BITS_MIN, SPKI_RSA_BITS_MAX,
		&bits, err) &&
	    !t->key_allowed[TEMPLATE_RSA])
		return yaml_fail_key(&key, "rsa_min_bits", err, "is given, but 'types' has no rsa");
	t->rsa_min_bits = (unsigned)bits;
	return read_curves(t, &key, err) && yaml_map_end(&key, err);
}

/* ---- subject */

static struct template_attribute *
find_attribute(struct template *t, struct bytes oid)
{
	for (size_t i = 0; i < t->attribute_count; i++)
		if (bytes_equal(t->attributes[i].oid, oid))
			return &t->attributes[i];
	return NULL;
}

/* A keyword or dotted OID of a list. */
static bool
attribute_of(const struct yaml_node *item, const char **word, uint8_t buf[OID_DER_MAX],
    struct bytes *oid, struct error *err)
{
	if (!yaml_node_string(item, word, err))
		return false;
	if (!name_attribute_oid(*word, buf, oid))
		return yaml_fail(item, err,
		    "'%.60s' is no attribute type; allowed: a word of RFC 4514 (CN, O, OU, C, L, "
		    "ST, "
		    "serialNumber, emailAddress, DC, UID, ...) or a dotted OID",
		    *word);
	return true;
}

static bool
read_allowed_attributes(struct template *t, struct yaml_list *list, struct error *err)
{
	const struct yaml_node *item;

	while ((item = yaml_list_next(list)) != NULL) {
		struct template_attribute *a = &t->attributes[t->attribute_count];
		const char *keyword;

		if (!attribute_of(item, &a->word, a->oid_buf, &a->oid, err))
			return false;
		if (find_attribute(t, a->oid) != NULL)
			return yaml_fail(item, err, "stands twice; allowed: once");
		/* A name has several of these by its nature (RFC 4519 2.4, RFC 5280 4.1.2.4). */
		keyword = name_attribute_keyword(a->oid);
		a->repeatable = keyword != NULL &&
				(strcmp(keyword, "OU") == 0 || strcmp(keyword, "DC") == 0);
		template_list_add(t->attributes_text, a->word);
		t->attribute_count++;
	}
	return true;
}

static bool
read_required_attributes(struct template *t, struct yaml_list *list, struct error *err)
{
	const struct yaml_node *item;

	while ((item = yaml_list_next(list)) != NULL) {
		struct template_attribute *a;
		uint8_t buf[OID_DER_MAX];
		struct bytes oid;
		const char *word;

		if (!attribute_of(item, &word, buf, &oid, err))
			return false;
		a = find_attribute(t, oid);
		if (a == NULL)
			return yaml_fail(item, err,
			    "'%.60s' is required but not allowed; add it to 'allowed'", word);
		a->required = true;
	}
	return true;
}

static bool
read_subject(struct template *t, struct yaml_map *map, struct error *err)
{
	static const char *const sources[] = {"request"};
	struct yaml_map subject;
	struct yaml_list list;
	size_t source = 0;

	if (!yaml_get_map(map, "subject", YAML_REQUIRED, &subject, err))
		return false;
	(void)yaml_get_enum(
	    &subject, "from", YAML_REQUIRED, sources, COUNT_OF(sources), &source, err);
	if (!yaml_get_list(
		&subject, "allowed", YAML_REQUIRED, 0, TEMPLATE_ATTRIBUTE_MAX, &list, err) ||
	    !read_allowed_attributes(t, &list, err))
		return false;
	if (yaml_get_list(
		&subject, "required", YAML_OPTIONAL, 0, TEMPLATE_ATTRIBUTE_MAX, &list, err) &&
	    !read_required_attributes(t, &list, err))
		return false;
	return yaml_map_end(&subject, err);
}

/* ---- alternative names */

static bool
read_san(struct template *t, struct yaml_map *map, struct error *err)
{
	static const char *const words[] = {"dns", "ip", "email", "uri", "upn"};
	const struct yaml_node *item;
	struct yaml_map san;
	struct yaml_list list;
	int64_t max = CSR_SAN_MAX;
	size_t i = 0;

	if (!yaml_get_map(map, "san", YAML_OPTIONAL, &san, err))
		return !error_is_set(err);
	if (!yaml_get_list(&san, "allowed", YAML_REQUIRED, 1, COUNT_OF(words), &list, err))
		return false;
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_enum(item, words, COUNT_OF(words), &i, err))
			return false;
		if ((t->san_allowed & 1u << i) != 0)
			return yaml_fail(item, err, "stands twice; allowed: once");
		t->san_allowed |= 1u << i; /* in the order of enum template_san */
		template_list_add(t->san_text, words[i]);
	}
	(void)yaml_get_bool(&san, "required", YAML_OPTIONAL, &t->san_required, err);
	(void)yaml_get_int(&san, "max", YAML_OPTIONAL, 1, CSR_SAN_MAX, &max, err);
	t->san_max = (size_t)max;
	return yaml_map_end(&san, err);
}

/* ---- what the certificate is for */

static bool
read_key_usage(struct template *t, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	const char *word = NULL;
	uint16_t bit = 0;

	if (!yaml_get_list(map, "key_usage", YAML_REQUIRED, 1, 9, &list, err))
		return false;
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_string(item, &word, err))
			return false;
		if (!key_usage_from_name(word, &bit))
			return yaml_fail(item, err,
			    "'%.60s' is no key usage; allowed: digitalSignature, nonRepudiation, "
			    "keyEncipherment, dataEncipherment, keyAgreement, keyCertSign, "
			    "cRLSign, "
			    "encipherOnly, decipherOnly (RFC 5280 4.2.1.3)",
			    word);
		if ((t->key_usage & bit) != 0)
			return yaml_fail(item, err, "stands twice; allowed: once");
		t->key_usage |= bit;
	}
	if ((t->key_usage & (KU_ENCIPHER_ONLY | KU_DECIPHER_ONLY)) != 0 &&
	    (t->key_usage & KU_KEY_AGREEMENT) == 0)
		return yaml_fail_key(map, "key_usage", err,
		    "has encipherOnly or decipherOnly, which mean nothing without keyAgreement "
		    "(RFC "
		    "5280 4.2.1.3)");
	return true;
}

static bool
read_purpose(struct template *t, const struct yaml_node *item, struct error *err)
{
	struct bytes *oid = &t->purposes[t->purpose_count];
	struct error detail = ERROR_INIT;
	const char *word = NULL;

	if (!yaml_node_string(item, &word, err))
		return false;
	if (!oid_purpose_from_name(word, oid) &&
	    !oid_from_text(word, t->purpose_bufs[t->purpose_count], oid, &detail))
		return yaml_fail(item, err,
		    "'%.60s' is no purpose; allowed: serverAuth, clientAuth, codeSigning, "
		    "emailProtection, timeStamping, OCSPSigning, ... or a dotted OID (RFC 5280 "
		    "4.2.1.12)",
		    word);
	for (size_t i = 0; i < t->purpose_count; i++)
		if (bytes_equal(t->purposes[i], *oid))
			return yaml_fail(item, err, "stands twice; allowed: once");
	template_list_add(t->purposes_text, word);
	t->purpose_count++;
	return true;
}

static bool
read_purposes(struct template *t, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;

	if (yaml_get_list(map, "extended_key_usage", YAML_OPTIONAL, 1, EKU_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_purpose(t, item, err))
				return false;
	return !error_is_set(err);
}

static bool
read_basic_constraints(struct template *t, struct yaml_map *map, struct error *err)
{
	const uint16_t ca_usage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
	struct yaml_map bc;
	int64_t path_length = -1;

	t->path_length = -1;
	if (yaml_get_map(map, "basic_constraints", YAML_OPTIONAL, &bc, err)) {
		t->has_basic_constraints = true;
		(void)yaml_get_bool(&bc, "ca", YAML_REQUIRED, &t->ca, err);
		if (yaml_get_int(&bc, "path_length", YAML_OPTIONAL, 0, 16, &path_length, err) &&
		    !t->ca)
			return yaml_fail_key(&bc, "path_length", err,
			    "is given without 'ca: true' (RFC 5280 4.2.1.9)");
		if (!yaml_map_end(&bc, err))
			return false;
	}
	t->path_length = (int)path_length;
	if (error_is_set(err))
		return false;
	if (t->ca && (t->key_usage & KU_KEY_CERT_SIGN) == 0)
		return yaml_fail_key(map, "key_usage", err,
		    "lacks keyCertSign, which a CA needs (RFC 5280 4.2.1.3)");
	if (!t->ca && (t->key_usage & ca_usage) != 0)
		return yaml_fail_key(map, "key_usage", err,
		    "has keyCertSign or cRLSign, which only a CA may have; set 'basic_constraints: "
		    "{ca: true}' (RFC 5280 4.2.1.3)");
	return true;
}

static bool
read_policy(struct template *t, const struct yaml_node *item, struct error *err)
{
	struct policy *p = &t->policies[t->policy_count];
	struct error detail = ERROR_INIT;
	const char *oid = NULL;
	struct yaml_map map;

	if (!yaml_map_begin(item, &map, err))
		return false;
	if (yaml_get_string(&map, "oid", YAML_REQUIRED, &oid, err) &&
	    !oid_from_text(oid, t->policy_bufs[t->policy_count], &p->oid, &detail))
		return yaml_fail_key(&map, "oid", err, "%s", detail.text);
	if (yaml_get_string(&map, "cps", YAML_OPTIONAL, &p->cps, err) &&
	    !extension_url_check(p->cps, &detail))
		return yaml_fail_key(&map, "cps", err, "%s", detail.text);
	if (!yaml_map_end(&map, err))
		return false;
	for (size_t i = 0; i < t->policy_count; i++)
		if (bytes_equal(t->policies[i].oid, p->oid))
			return yaml_fail(
			    item, err, "the policy %s stands twice (RFC 5280 4.2.1.4)", oid);
	t->policy_count++;
	return true;
}

static bool
read_policies(struct template *t, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;

	if (yaml_get_list(map, "policies", YAML_OPTIONAL, 1, TEMPLATE_POLICY_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_policy(t, item, err))
				return false;
	return !error_is_set(err);
}

/* ---- rules between the keys */

static bool
check_whole(struct template *t, struct yaml_map *map, struct error *err)
{
	bool subject_required = false;

	for (size_t i = 0; i < t->attribute_count; i++)
		subject_required |= t->attributes[i].required;
	if (t->ca && !subject_required)
		return yaml_fail_key(map, "subject", err,
		    "requires no attribute; the subject of a CA must not be empty (RFC 5280 "
		    "4.1.2.6)");
	if (!subject_required && !t->san_required)
		return yaml_fail_key(map, "subject", err,
		    "requires no attribute, so 'san: {required: true}' is needed: a certificate "
		    "has a "
		    "subject or an alternative name (RFC 5280 4.1.2.6)");
	for (int k = 0; k < TEMPLATE_KEY_COUNT; k++)
		if (t->key_allowed[k] &&
		    template_usage_for((enum template_key)k, t->key_usage) == 0)
			return yaml_fail_key(map, "key_usage", err,
			    "has nothing that a key of type %s can be used for (RFC 3279 2.3, RFC "
			    "8813, "
			    "RFC 8410 5)",
			    template_key_words[k]);
	return true;
}

static bool
read_template(struct template *t, struct error *err)
{
	struct yaml_map map;

	return yaml_map_begin(yaml_doc_root(t->doc), &map, err) && read_head(t, &map, err) &&
	       read_key(t, &map, err) && read_subject(t, &map, err) && read_san(t, &map, err) &&
	       read_key_usage(t, &map, err) && read_purposes(t, &map, err) &&
	       read_basic_constraints(t, &map, err) && read_policies(t, &map, err) &&
	       yaml_map_end(&map, err) && check_whole(t, &map, err);
}

bool
template_parse(
    const char *text, size_t len, const char *source, struct template **out, struct error *err)
{
	struct template *t = NULL;
	bool ok = false;

	*out = NULL;
	if (len > TEMPLATE_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, "%s:1:1: %zu bytes; allowed: at most %d", source,
		    len, TEMPLATE_TEXT_MAX);
	t = calloc(1, sizeof *t);
	if (t == NULL)
		return error_set(err, ERROR_SYSTEM, "out of memory");
	if (!yaml_doc_load(text, len, source, &t->doc, err) || !read_template(t, err) ||
	    !template_encode_fixed(t, err))
		goto out;
	*out = t;
	t = NULL;
	ok = true;
out:
	template_free(t);
	return ok;
}

void
template_free(struct template *t)
{
	if (t == NULL)
		return;
	yaml_doc_free(t->doc);
	free(t);
}
