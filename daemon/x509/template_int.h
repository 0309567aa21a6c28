#ifndef CHANCERY_X509_TEMPLATE_INT_H
#define CHANCERY_X509_TEMPLATE_INT_H

/* A parsed template: template_parse.c fills it, template.c and template_build.c
 * read it. */

#include "daemon/core/yaml.h"
#include "daemon/x509/template.h"

#define TEMPLATE_ATTRIBUTE_MAX 24 /* attribute types that a subject may have */
#define TEMPLATE_FIXED_MAX 8192	  /* octets of the extensions that never change */
#define TEMPLATE_ALLOWED_MAX 256  /* bytes of a list of words in errors */

/* Kinds of subject keys: what a key can be used for depends on them. */
enum template_key {
	TEMPLATE_RSA,
	TEMPLATE_EC,
	TEMPLATE_ED25519,
};
#define TEMPLATE_KEY_COUNT 3

/* Alternative names, as bits. */
enum template_san {
	TEMPLATE_SAN_DNS = 1 << 0,
	TEMPLATE_SAN_IP = 1 << 1,
	TEMPLATE_SAN_EMAIL = 1 << 2,
	TEMPLATE_SAN_URI = 1 << 3,
	TEMPLATE_SAN_UPN = 1 << 4, /* otherName with a user principal name */
};

struct template_attribute {
	const char *word; /* as the template spells it; borrowed from doc */
	struct bytes oid;
	uint8_t oid_buf[OID_DER_MAX];
	bool required;
	bool repeatable;
};

struct template
{
	const char *name;
	const char *crl_attribute; /* or NULL */
	bool automatic, cut;
	int64_t validity_s, renewal_s;

	bool key_allowed[TEMPLATE_KEY_COUNT];
	unsigned rsa_min_bits;
	bool curve_p256, curve_p384, curve_p521;

	struct template_attribute attributes[TEMPLATE_ATTRIBUTE_MAX];
	size_t attribute_count;
	char attributes_text[TEMPLATE_ALLOWED_MAX]; /* "CN, O, C" */

	unsigned san_allowed; /* enum template_san */
	bool san_required;
	size_t san_max;
	char san_text[TEMPLATE_ALLOWED_MAX];

	uint16_t key_usage;
	struct bytes purposes[EKU_MAX];
	uint8_t purpose_bufs[EKU_MAX][OID_DER_MAX];
	size_t purpose_count;
	char purposes_text[TEMPLATE_ALLOWED_MAX];
	bool has_basic_constraints, ca;
	int path_length; /* -1: none */
	struct policy policies[TEMPLATE_POLICY_MAX];
	uint8_t policy_bufs[TEMPLATE_POLICY_MAX][OID_DER_MAX];
	size_t policy_count;

	/* basicConstraints, keyUsage, extendedKeyUsage, certificatePolicies. */
	struct bytes fixed[TEMPLATE_KEY_COUNT];
	uint8_t fixed_buf[TEMPLATE_KEY_COUNT][TEMPLATE_FIXED_MAX];

	struct yaml_doc *doc; /* owned */
};

/* "rsa", "ec", "ed25519" */
extern const char *const template_key_words[TEMPLATE_KEY_COUNT];

enum template_key template_key_of(const struct spki *spki);

/* The bits that make sense for a kind of key. */
uint16_t template_usage_for(enum template_key key, uint16_t usage);

/* Adds ", word" to a list in a buffer of TEMPLATE_ALLOWED_MAX bytes. */
void template_list_add(char *list, const char *word);

/* Encodes the fixed extensions; the last step of parsing. */
bool template_encode_fixed(struct template *t, struct error *err) MUST_CHECK;

#endif
