#ifndef CHANCERY_PKCS11_GUARD_INT_H
#define CHANCERY_PKCS11_GUARD_INT_H

/*
 * The guard's rules. A rule is a function that looks at one thing; rules stand
 * in tables, one for each kind of structure, and are asked in their order. A
 * rule is free to rely on the gates above it in its table, which take things
 * apart, and on nothing else: each is in force by itself.
 */

#include "daemon/x509/cert.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/renewal.h"
#include "daemon/x509/statement.h"
#include "pkcs11/guard.h"

#define GUARD_SAN_MAX CSR_SAN_MAX /* alternative names of one certificate */

/* One structure under examination. */
struct guard_case {
	const struct guard_request *r;
	const struct key_limits *key;
	const struct limits *l; /* the document in it */

	/* Certificates; from the gate `structure`. */
	struct certificate c;
	struct bytes purposes[EKU_MAX];
	size_t purpose_count; /* 0: no extendedKeyUsage */
	struct san names[GUARD_SAN_MAX];
	size_t name_count;
	uint8_t spki_sha256[32];	    /* of the subject's key */
	const struct limits_template *line; /* from the gate `template` */

	/* Its approval; from the gates `request` and `statement`. */
	struct csr csr;
	struct statement statement;
	bool decided; /* there is one */

	/* An order to renew a root's own; from the gate `renewal-order`, with the
	 * statement above. */
	struct renewal renewal;
	bool renewed;  /* there is one */
	bool rollover; /* and it is for another of the root's keys */

	const struct crl_summary *crl;

	bool open; /* a gate was left out, and could not be passed: all below it too */
};

struct guard_rule {
	const char *name;
	const char *reference; /* the section that asks for it */
	/* False with a sentence in why, ERROR_DENIED if it sets the code itself. */
	bool (*check)(struct guard_case *g, struct error *why);
	bool gate; /* those below it rely on it */
};

struct guard_table {
	const char *kind; /* what its rules look at, for people */
	const struct guard_rule *rules;
	size_t count;
};

extern const struct guard_table guard_any_table;	 /* whatever is asked */
extern const struct guard_table guard_certificate_table; /* all certificates */
extern const struct guard_table guard_root_table;	 /* a root's own certificate */
extern const struct guard_table guard_renewal_table;	 /* the same, in place of another */
extern const struct guard_table guard_rollover_table;	 /* a root's for another key of its own */
extern const struct guard_table guard_issued_table;	 /* all other certificates */
extern const struct guard_table guard_power_table;	 /* what these may be used for */
extern const struct guard_table guard_name_table;	 /* and for whom */
extern const struct guard_table guard_decision_table;	 /* and who approved them */
extern const struct guard_table guard_crl_table;
extern const struct guard_table guard_csr_table;

/* ERROR_DENIED; always false. */
bool guard_no(struct error *why, const char *fmt, ...) PRINTF(2, 3);

/* SHA-256; ERROR_INTERNAL. */
bool guard_sha256(struct bytes b, uint8_t digest[32], struct error *why) MUST_CHECK;

/* True when both names are the same for who compares as RFC 5280 7.1 says:
 * whatever their string types, cases and blanks. */
bool guard_names_match(struct bytes a, struct bytes b);

/* True when the name is in the subtree (RFC 5280 4.2.1.10). `wide`: in doubt it
 * is, which is right for excluded names; otherwise in doubt it is not. */
bool guard_name_within(const struct san *name, const struct limits_name *subtree, bool wide);

#endif
