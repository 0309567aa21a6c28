#ifndef CHANCERY_X509_LIMITS_H
#define CHANCERY_X509_LIMITS_H

/*
 * The limits of a CA key: what it may sign, and whose signatures may change
 * that. Operators sign this text when the CA is created; the signer keeps it
 * and believes nothing else.
 *
 *	chancery-limits: 1
 *	ca: demo-issuing
 *	version: 1
 *	previous: -                  SHA-256 of the document that this one replaces
 *	key: -                       SHA-256 of the key's SubjectPublicKeyInfo
 *	token: main
 *	kind: subordinate            or root
 *	retired: key                 or ca; stands only where the key is retired
 *	algorithm: p256
 *	signatures: ecdsa-sha256     algorithms it may sign with
 *	subject: <DER of the Name, hex>
 *	not-after: 2036-11-22T12:00:00Z
 *	path-length: 0               or -, none
 *	signer-ids: 1,2              octets 2 and 3 of each serial number
 *	permitted: dns:example.com   names, as RFC 5280 4.2.1.10; or -
 *	excluded: -
 *	responders: -                SHA-256 of the keys that may get OCSPSigning
 *	quorum: 1                    persons with the right `limits` for a change
 *	operator: alice limits,decide <SubjectPublicKeyInfo, base64>
 *	template: tls-server manual ca=no key-usage=digitalSignature eku=serverAuth
 *	    validity=34300800 path-length=-              (one line)
 *	nonce: <32 hex digits>
 *	policy-sha256: <64 hex digits>    of the CA's policy beside it; or -
 *
 * Exactly these lines in this order, `operator` 1 to 32 times and `template` 0 to
 * 32 times; an absent value is "-". Lists stand in rising order without a double:
 * algorithms by their number, ids by value, names, digests and purposes by their
 * bytes, key usages by their bit, operators by person and then key, templates by
 * name. A text that is not byte for byte what limits_format would write is no
 * limits document.
 *
 * A key that is retired signs no certificate any more, its CRLs as before, and has no
 * `template`; with "ca" the whole CA is over and gets no new key either. No later version
 * takes it back.
 *
 * Version 1 names no previous document, and a key only if the CA takes over one that is
 * there already; otherwise the key is made for it. Every later version names both. Names in
 *`permitted` and `excluded`:
 *
 *	dns:example.com      it and all below it; "dns:" every DNS name
 *	email:a@example.com  one mailbox; email:example.com those of that host;
 *	                     email:.example.com those of hosts below; "email:" all
 *	uri:www.example.com  that host; uri:.example.com hosts below; "uri:" all
 *	ip:192.0.2.0/24      addresses of that network
 *
 * in lower case, but for the part before an "@". A kind of name that `permitted`
 * does not mention is free.
 *
 * Functions here are pure. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT, a
 * change that is none ERROR_CONFLICT.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/statement.h"
#include "daemon/x509/template.h"

#define LIMITS_TEXT_MAX 32768			      /* bytes of a document */
#define LIMITS_BODY_MAX (LIMITS_TEXT_MAX + 4 + 65536) /* with separator and policy */
#define LIMITS_SUBJECT_MAX 1024			      /* octets of the subject's DER */
#define LIMITS_VERSION_MAX 1000000
#define LIMITS_SIGNATURE_MAX 8	 /* algorithms */
#define LIMITS_SIGNER_MAX 16	 /* signer ids */
#define LIMITS_NAME_COUNT_MAX 32 /* names permitted, and names excluded */
#define LIMITS_NAME_MAX 320	 /* bytes of one */
#define LIMITS_RESPONDER_MAX 16
#define LIMITS_OPERATOR_MAX 32
#define LIMITS_QUORUM_MAX 16 /* as many signatures go with an order to the signer */
#define LIMITS_TEMPLATE_MAX 32
#define LIMITS_PURPOSE_MAX 16	  /* extended key usages of one template */
#define LIMITS_PURPOSE_OID_MAX 32 /* octets of one */
#define LIMITS_PATH_LENGTH_MAX 16

/* What a signature of an operator counts for; a set of bits. */
enum limits_right {
	LIMITS_RIGHT_LIMITS = 1, /* limits, installing a certificate, a reseed */
	LIMITS_RIGHT_DECIDE = 2, /* requests */
};

/* No later version has less of it. */
enum limits_retired {
	LIMITS_IN_USE,
	LIMITS_KEY_RETIRED, /* signs no certificates; the CA may get a new key */
	LIMITS_CA_RETIRED,  /* the same, and there is no next key */
};

/* One key of a person. A person with two keys has two of these, and counts
 * once; no key stands twice. */
struct limits_operator {
	char person[STATEMENT_NAME_MAX + 1];
	unsigned rights; /* enum limits_right */
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
};

struct limits_purpose {
	uint8_t oid[LIMITS_PURPOSE_OID_MAX]; /* content octets */
	size_t len;
};

struct limits_template {
	char name[STATEMENT_NAME_MAX + 1];
	bool automatic; /* issues without an operator's decision; never with ca */
	bool ca;
	uint16_t key_usage;				    /* enum key_usage: at most these */
	struct limits_purpose purposes[LIMITS_PURPOSE_MAX]; /* at most these */
	size_t purpose_count;				    /* 0: no extended key usage */
	int64_t validity_s;				    /* at most */
	int path_length; /* -1: none; otherwise a CA's must be there and at most this */
};

struct limits_name {
	enum san_type type;		/* never SAN_UNSUPPORTED */
	char text[LIMITS_NAME_MAX + 1]; /* without the kind: "example.com", "10.0.0.0/8" */
	uint8_t address[16], mask[16];	/* SAN_IP */
	size_t address_len;		/* 4 or 16; 0 for the others */
};

struct limits {
	char ca[STATEMENT_NAME_MAX + 1];
	uint32_t version;
	uint8_t previous[32]; /* from version 2 on */
	uint8_t key[32];      /* all zero: none, in version 1 */
	char token[CANON_NAME_MAX + 1];
	bool root;
	enum limits_retired retired;
	enum key_alg algorithm;
	enum sig_alg signatures[LIMITS_SIGNATURE_MAX];
	size_t signature_count;
	uint8_t subject[LIMITS_SUBJECT_MAX]; /* whole Name */
	size_t subject_len;
	int64_t not_after; /* seconds since 1970 */
	int path_length;   /* of the CA's own certificate; -1: none */
	uint16_t signer_ids[LIMITS_SIGNER_MAX];
	size_t signer_count;
	struct limits_name permitted[LIMITS_NAME_COUNT_MAX], excluded[LIMITS_NAME_COUNT_MAX];
	size_t permitted_count, excluded_count;
	uint8_t responders[LIMITS_RESPONDER_MAX][32];
	size_t responder_count;
	unsigned quorum; /* persons */
	struct limits_operator operators[LIMITS_OPERATOR_MAX];
	size_t operator_count;
	struct limits_template templates[LIMITS_TEMPLATE_MAX];
	size_t template_count;
	uint8_t nonce[16];
	bool has_policy;
	uint8_t policy_sha256[32]; /* valid if has_policy */
};

/* Reads len bytes; the result obeys the rules above. out (some 60 kB) is the
 * caller's, and undefined on failure. */
bool limits_parse(const char *text, size_t len, struct limits *out, struct error *err) MUST_CHECK;

/* "key", "ca"; NULL of a key that is not retired. */
const char *limits_retired_word(enum limits_retired retired);

/* Writes the text and a NUL; *len counts without it. Sorts nothing: refuses a
 * struct that breaks the rules (limits_sort helps). */
bool limits_format(const struct limits *l, char out[LIMITS_TEXT_MAX + 1], size_t *len,
    struct error *err) MUST_CHECK;

/* Brings all lists into the order that a document has them in. */
void limits_sort(struct limits *l);

/* True when version 1 is for a key that was there before. */
bool limits_adopts_key(const struct limits *l);

void limits_sha256(const char *text, size_t len, uint8_t digest[32]);

/* "dns:example.com" to a name; ERROR_INPUT says what is wrong. */
bool limits_name_from_text(
    const char *text, struct limits_name *name, struct error *err) MUST_CHECK;

/* "dns:example.com" */
#define LIMITS_NAME_TEXT_SIZE (LIMITS_NAME_MAX + 8)
void limits_name_text(const struct limits_name *name, char out[LIMITS_NAME_TEXT_SIZE]);

/* "serverAuth", or dotted when it has no name here. */
void limits_purpose_text(const struct limits_purpose *purpose, char out[OID_TEXT_MAX]);

/* NULL when there is none; points into l. */
const struct limits_template *limits_find_template(const struct limits *l, const char *name);
const struct limits_operator *limits_find_operator(const struct limits *l, struct bytes spki);

/* How many different persons have a key with this right. */
unsigned limits_count_persons(const struct limits *l, enum limits_right right);

bool limits_allows_signature(const struct limits *l, enum sig_alg alg);
bool limits_allows_signer(const struct limits *l, uint16_t signer_id);
bool limits_allows_responder(const struct limits *l, const uint8_t spki_sha256[32]);

/* The line that allows what a template issues, and no more. Refuses one that
 * makes CA certificates without a decision, or has more or longer purposes than
 * fit. */
bool limits_template_from(
    const struct template *t, struct limits_template *out, struct error *err) MUST_CHECK;

/* Checks that `fresh` may follow `old` (whose text has old_sha256) for the key with
 * that digest: the next version, which names the old document and the key, for the
 * same CA, token, kind, algorithm and subject, and not less retired. Whether enough persons signed
 * it is order_verify's business. */
bool limits_check_change(const struct limits *old, const uint8_t old_sha256[32],
    const uint8_t key_sha256[32], const struct limits *fresh, struct error *err) MUST_CHECK;

/* The body of a ca-create or ca-limits statement: a document, a line "---", and the
 * CA's policy, which may be empty. Everything is borrowed from the body. */
struct limits_body {
	struct bytes document;
	struct bytes policy; /* empty when has_policy is not set */
};

/* Takes a body apart, parses the document into *l and checks that the policy is
 * the one that it names. */
bool limits_body_parse(
    struct bytes body, struct limits_body *parts, struct limits *l, struct error *err) MUST_CHECK;

#endif
