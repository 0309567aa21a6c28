#ifndef CHANCERY_X509_CAPOLICY_H
#define CHANCERY_X509_CAPOLICY_H

/*
 * A CA's policy: the YAML file that creates it (chancery-ca-policy(5)), kept
 * with the CA as the text that the operator signed.
 *
 * Also what follows from it alone: the contents of the CA's own certificate
 * (a root signs it itself) or certification request (a subordinate's), and the
 * context for its certificates.
 */

#include "daemon/core/error.h"
#include "daemon/core/yaml.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/ca_context.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/location.h"

#define CAPOLICY_TEXT_MAX 65536 /* bytes of YAML */
#define CAPOLICY_NAME_MAX 64	/* bytes of names: tokens, templates, targets, credentials */
#define CAPOLICY_TEMPLATE_MAX 32
#define CAPOLICY_POLICY_MAX 16
#define CAPOLICY_URL_MAX 8 /* URLs in one list */
#define CAPOLICY_TARGET_MAX 32
#define CAPOLICY_ENTRY_MAX 8
#define CAPOLICY_TARGET_NAME_MAX 16 /* bytes of the name of a target that `publish` makes */
#define CAPOLICY_SHARD_MAX 64
#define CAPOLICY_ATTRIBUTE_MAX 16     /* partitions that templates name */
#define CAPOLICY_REASON_SET_MAX 4     /* CRLs of some reasons beside each one of all */
#define CAPOLICY_WORD_MAX 16	      /* bytes of a name that stands in labels */
#define CAPOLICY_SCOPE_MAX 128	      /* CRLs of one key */
#define CAPOLICY_SCOPE_VALUE_MAX 6144 /* octets of the extensions of CRLs with URLs, together */
#define CAPOLICY_PATH_LENGTH_MAX 16
#define CAPOLICY_PATH_MAX 1023 /* bytes of a file's path */
#define CAPOLICY_PERIOD_MIN_S 2
#define CAPOLICY_ON_REVOCATION_MAX_S 86400
#define CAPOLICY_PERIOD_MAX_S (2LL * 365 * 86400)
#define CAPOLICY_VALIDITY_MAX_S (50LL * 365 * 86400)
#define CAPOLICY_QUORUM_MAX LIMITS_QUORUM_MAX

enum ca_kind {
	CA_ROOT,
	CA_SUBORDINATE,
};

/* Where an artifact is published. The words are those of the database and of
 * the outbox; all text is borrowed from the policy, NULL where absent. */
struct capolicy_target {
	const char *name;
	const char *artifact; /* "ca-certificate", "crl", "delta-crl" */
	const char *kind;     /* "file", "http", "ldap", "sftp", "command" */
	/* With variables (location.h). */
	const char *write; /* absolute path, URL to PUT, LDAP URL, sftp URL, program's name */
	const char *read;  /* URL at which clients look */
	const char *credential;
	const char *bind_dn; /* ldap */
	const char *tls;     /* ldap: "none", "starttls", "ldaps"; else NULL */
	const char *auth;    /* http: "basic", "bearer", "aws-sigv4"; sftp: "key", "password"; ldap:
				"gssapi" */
	const char *region;  /* aws-sigv4: of the bucket */
	const char *certificate;  /* http, ldap: name of a file with our certificate and key */
	const char *user;	  /* sftp: who logs in there ... */
	const char *host_key;	  /* ... and the server's key: base64 of its SHA-256 */
	const char *schema;	  /* ldap: "rfc4523", "ad" */
	const char *mode, *group; /* file: "0640", and a group of the issuer's user */
	bool webdav;		  /* http: PUT under another name, then MOVE */
};

/* Certificates of some templates go to the entries of their subjects (entry_address.h). */
struct capolicy_entry {
	/* Of kind ldap and artifact "certificate"; write and read are the entry's address. */
	struct capolicy_target target;
	const char *templates[CAPOLICY_TEMPLATE_MAX];
	size_t template_count;
	bool remove_revoked, remove_expired; /* they are taken out again */
};

struct capolicy_operator {
	const char *person;
	unsigned rights; /* enum limits_right */
};

/* The section `limits`: what the limits of the CA's key are to be, as far as the
 * policy says (limits_policy.h makes the document). Counts and numbers that are
 * 0 were not said. */
struct capolicy_limits {
	unsigned quorum;
	struct capolicy_operator operators[LIMITS_OPERATOR_MAX];
	size_t operator_count;
	uint16_t signer_ids[LIMITS_SIGNER_MAX];
	size_t signer_count;
	const char *permitted[LIMITS_NAME_COUNT_MAX], *excluded[LIMITS_NAME_COUNT_MAX];
	size_t permitted_count, excluded_count;
	uint8_t responders[LIMITS_RESPONDER_MAX][32];
	size_t responder_count;
	int64_t not_after; /* seconds since 1970, or ... */
	int64_t life_s;	   /* ... from the ceremony on */
};

/* CRLs of some reasons: those with these, as bits 1 << CRLReason. */
struct capolicy_reasons {
	const char *name;
	unsigned reasons;
};

/* All text is borrowed from doc. */
struct capolicy {
	const char *subject_text;
	struct bytes subject; /* whole Name, in subject_der */
	uint8_t subject_der[1024];
	enum ca_kind kind;
	const char *token; /* the configuration's name of a token login */
	enum key_alg key_alg;
	enum sig_alg sig_alg;
	int64_t validity_s; /* of a root's own certificate; 0 for a subordinate */
	int path_length;    /* -1: none */
	const char *templates[CAPOLICY_TEMPLATE_MAX];
	size_t template_count;
	struct policy policies[CAPOLICY_POLICY_MAX]; /* OIDs in policy_oids */
	size_t policy_count;
	uint8_t policy_oids[CAPOLICY_POLICY_MAX][OID_DER_MAX];

	int64_t crl_period_s;	/* a complete CRL is made this often ... */
	int64_t crl_overlap_s;	/* ... and lives this much longer */
	int64_t delta_period_s; /* 0: no delta CRLs */
	int64_t delta_overlap_s;
	/* Ticks of the calendar at a time of the day or week, UTC: so far into each
	 * unit from 1970 on; unit 0: a period after the last one. */
	int64_t align_unit_s, align_offset_s;
	int64_t crl_jitter_s; /* each tick is up to so much later */
	/* A CRL is made at most so long after a revocation; -1: it waits for the
	 * calendar. The second is for keyCompromise and cACompromise. */
	int64_t on_revocation_s, on_compromise_s;
	/* Several CRLs, see capolicy_scope. */
	bool crl_by_kind;
	int crl_shards; /* 1: not split */
	const char *attributes[CAPOLICY_ATTRIBUTE_MAX];
	size_t attribute_count;
	struct capolicy_reasons reasons[CAPOLICY_REASON_SET_MAX];
	size_t reason_count;
	bool expired_certificates; /* an entry stays when its certificate has expired */

	/* Locations, with variables, in the order in which clients are to try them. */
	struct location cdp[CAPOLICY_URL_MAX], aia[CAPOLICY_URL_MAX];
	size_t cdp_count, aia_count;
	bool keep_old;			/* places that an older policy named */
	const char *server, *config_dn; /* what some variables stand for, or NULL */
	const char *delta_suffix;	/* the same, never NULL */

	struct capolicy_target targets[CAPOLICY_TARGET_MAX]; /* also those of `publish` */
	size_t target_count;
	char target_names[CAPOLICY_TARGET_MAX][CAPOLICY_TARGET_NAME_MAX];
	struct capolicy_entry entries[CAPOLICY_ENTRY_MAX];
	size_t entry_count;
	struct capolicy_limits limits;
	struct yaml_doc *doc; /* owned */
};

/* Parses YAML text into *policy, to be ended with capolicy_free. source names it
 * in errors ("FILE:LINE:COL: ..."). On failure there is nothing to free. The
 * struct must not be copied or moved: it points into itself. ERROR_CONFIG,
 * ERROR_LIMIT. */
bool capolicy_parse(const char *text, size_t len, const char *source, struct capolicy *policy,
    struct error *err) MUST_CHECK;
/* Frees what it owns and zeroes it; legal on a zeroed one. */
void capolicy_free(struct capolicy *policy);

/* True when the CA may issue by the template of that name. */
bool capolicy_allows_template(const struct capolicy *policy, const char *name);

/* What the variables of its locations stand for, as far as the policy says; ca is
 * borrowed like the policy. The first generation, and a CA with one CRL. */
void capolicy_names(const struct capolicy *policy, const char *ca, struct location_names *names);

/* Addresses of one kind. */
struct capolicy_urls {
	const char *urls[CAPOLICY_URL_MAX]; /* in text */
	size_t count;
	char text[CAPOLICY_URL_MAX][LOCATION_URL_MAX + 1];
};

/* Those of `cdp`, or of `aia`, that have this flag, expanded. *urls must stay where
 * it is. */
bool capolicy_cdp_urls(const struct capolicy *policy, enum location_flag flag,
    const struct location_names *names, struct capolicy_urls *urls, struct error *err) MUST_CHECK;
bool capolicy_aia_urls(const struct capolicy *policy, enum location_flag flag,
    const struct location_names *names, struct capolicy_urls *urls, struct error *err) MUST_CHECK;

/* Which certificates one of the CA's CRLs is about (RFC 5280 5: its scope). */
enum capolicy_scope_kind {
	SCOPE_ALL,
	SCOPE_USER, /* those that are of no CA */
	SCOPE_CA,
};

/* One of the CRLs of a key. The label stands for <CRLPartitionIndex> and behind the
 * CA's name in this service's addresses: "", "~user", "~ca", "~devices", "~2of8",
 * "~user~devices~2of8~compromise". No CA's name has a '~'. */
struct capolicy_scope {
	enum capolicy_scope_kind kind;
	const char *attribute; /* of the certificates' templates; "": of all others */
	int shard, shards;     /* from 0 */
	unsigned reasons;      /* as bits 1 << CRLReason; 0: all */
	size_t whole; /* the CRL of the same certificates that is for all reasons: it, or ... */
	char label[LOCATION_PARTITION_MAX];
};

/* "all", "user", "ca", as the database has them. */
const char *capolicy_scope_kind_name(enum capolicy_scope_kind kind);
/* The CRLs that new certificates are divided among: the shards in their order, of those
 * without an attribute and then of each attribute, and last, with `by_kind`, that of CA
 * certificates. */
size_t capolicy_part_count(const struct capolicy *policy);
/* With those of some reasons, which stand behind, at most CAPOLICY_SCOPE_MAX. Of the
 * i-th part they are capolicy_scope_of_reasons(policy, i, 0) and so on. */
size_t capolicy_scope_count(const struct capolicy *policy);
size_t capolicy_scope_of_reasons(const struct capolicy *policy, size_t part, size_t set);
void capolicy_scope(const struct capolicy *policy, size_t i, struct capolicy_scope *scope);
/* Whether the calendars of two policies are one: what is issued when, and lives how long. */
bool capolicy_same_calendar(const struct capolicy *a, const struct capolicy *b);
/* Whether two policies divide certificates among CRLs in the same way. */
bool capolicy_same_division(const struct capolicy *a, const struct capolicy *b);
/* Which part a new certificate goes to. attribute: of its template, "" for none; one that
 * the policy does not know is none. The serial's last octets are random, so that the
 * shards fill evenly. */
size_t capolicy_scope_choose(
    const struct capolicy *policy, bool ca, const char *attribute, struct bytes serial);

/* What the extensions of a scope's CRLs hold, for keeping with the scope: values that
 * stay what they are while certificates refer to them. */
struct capolicy_scope_values {
	/* Critical; RFC 5280 5.2.5: names that stand in certificates' distribution
	 * points, byte for byte, and what kind of certificates. Empty where the one
	 * CRL is for all certificates and no location says `in_idp`. */
	struct bytes idp;
	struct bytes freshest;	/* freshestCRL of complete CRLs, or empty */
	struct bytes published; /* 1.3.6.1.4.1.311.21.14, or empty */
	uint8_t memory[3][CAPOLICY_SCOPE_VALUE_MAX];
};

/* names->partition is set to the scope's label. *values must stay where it is. */
bool capolicy_scope_values(const struct capolicy *policy, const struct capolicy_scope *scope,
    struct location_names *names, struct capolicy_scope_values *values,
    struct error *err) MUST_CHECK;

/* The to-be-signed bytes of a root's own certificate: basicConstraints critical
 * (RFC 5280 4.2.1.9), keyUsage keyCertSign and cRLSign critical (4.2.1.3),
 * subjectKeyIdentifier (4.2.1.2), policies if given; no AKI, which a
 * self-signed certificate may omit (4.2.1.1). spki: the new key, whole. serial:
 * SERIAL_LEN octets. It ends with its validity, or at `until` when that is earlier.
 * not_after may be NULL. tbs points to the end of buf (CERTIFICATE_MAX octets do). */
bool capolicy_build_root(const struct capolicy *policy, struct bytes spki, struct bytes serial,
    int64_t now, int64_t until, void *buf, size_t size, struct bytes *tbs, int64_t *not_after,
    struct error *err) MUST_CHECK;

/* The to-be-signed bytes of a certificate by which one of a root's keys vouches for
 * another (RFC 4210 4.4): like the root's own, with the signing key's identifier in
 * authorityKeyIdentifier. policy: of the generation that has the key in spki;
 * sig_alg: of the one that signs. */
bool capolicy_build_rollover(const struct capolicy *policy, enum sig_alg sig_alg, struct bytes spki,
    struct bytes authority_key_id, struct bytes serial, int64_t not_before, int64_t not_after,
    void *buf, size_t size, struct bytes *tbs, struct error *err) MUST_CHECK;

/* The CertificationRequestInfo of a subordinate (RFC 2986 4.1), which asks for
 * basicConstraints, keyUsage and subjectKeyIdentifier as above. info points to
 * the end of buf (CSR_MAX octets do). */
bool capolicy_build_request(const struct capolicy *policy, struct bytes spki, void *buf,
    size_t size, struct bytes *info, struct error *err) MUST_CHECK;

/* Checks a certificate that is to be installed as this CA's own: subject byte
 * for byte, key, a CA's basicConstraints and keyUsage, and the subject key
 * identifier that the request asked for (what the CA issues refers to it).
 * Signature and chain are the caller's business. */
bool capolicy_check_certificate(const struct capolicy *policy, struct bytes spki,
    const struct certificate *certificate, struct error *err) MUST_CHECK;

/* The context for this CA's certificates. names->partition: of the CRL for all reasons;
 * labels: of those for some of the same certificates, policy->reason_count of them (NULL:
 * none). *out is owned by the caller. */
bool capolicy_context(const struct capolicy *policy, const struct location_names *names,
    const char *const *labels, struct bytes certificate, struct ca_context **out,
    struct error *err) MUST_CHECK;

#endif
