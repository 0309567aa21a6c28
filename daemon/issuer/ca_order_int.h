#ifndef CHANCERY_ISSUER_CA_ORDER_INT_H
#define CHANCERY_ISSUER_CA_ORDER_INT_H

/* What the orders of operators share that go over several steps: ca_order.c (a new CA),
 * ca_renew.c, ca_rekey.c, ca_rollover.c and ca_cross.c (the same CA again), ca_install.c (its
 * certificate), limits_order.c, key_attest.c and key_end.c (a key of it), reseed_order.c (a
 * signer). */

#include "daemon/issuer/ca_order.h"
#include "daemon/issuer/chain.h"
#include "daemon/issuer/kept_order.h"
#include "daemon/issuer/pin_turn.h"
#include "daemon/issuer/policy_places.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/name.h"
#include "daemon/x509/renewal.h"
#include "daemon/x509/serial.h"

struct ca_order;

/* One step of an order; false, with an error, ends it. With what the CA is that it is
 * about; and with the signature over its to-be-signed bytes. */
typedef bool ca_order_ca_fn(struct ca_order *o, const struct issuing_ca *ca, struct error *e);
typedef bool ca_order_signed_fn(struct ca_order *o, struct bytes signature, struct error *e);

struct ca_order {
	const struct ca_order_env *env;
	struct decision_key key;
	ca_ordered_fn *done;
	void *arg;
	char name[STATEMENT_NAME_MAX + 1];     /* of the CA; signer-reseed: of the token */
	char object[STATEMENT_OBJECT_MAX + 1]; /* ca-rekey: the key that it replaces */
	struct kept_order kept;
	char *body;			 /* owned: limits and policy, or the chain */
	uint8_t nonce[16];		 /* key-attest: the statement's */
	struct limits *limits;		 /* ca-create, ca-renew, ca-limits; owned */
	struct limits *old_limits;	 /* ca-limits: those in force; owned */
	uint8_t old_sha256[32];		 /* ... and of their document */
	struct policy_change change;	 /* ca-limits: what the policy comes to; owned */
	struct renewal renewal;		 /* ca-renew */
	char *limits_text, *policy_text; /* the parts of the body; owned */
	struct capolicy policy;		 /* of the generation; owned */
	int certificate_index, key_index;
	bool rekey;    /* of a CA that stands ... */
	int64_t ca_id; /* ... this one */
	enum sig_alg sig_alg;
	char token[CA_TOKEN_SIZE];
	char readable[NAME_TEXT_MAX];

	int64_t token_key_id;
	uint8_t cka_id_buf[SIGNPROTO_ID_MAX], spki_buf[SPKI_MAX];
	struct bytes cka_id, spki;

	uint8_t serial[SERIAL_LEN];
	uint8_t *tbs; /* owned: what is being signed */
	size_t tbs_len;
	ca_order_ca_fn *with_ca;	    /* what comes when the CAs were read ... */
	ca_order_signed_fn *with_signature; /* ... and when it is signed */
	int64_t generation_id;

	struct chain_pool pool; /* ca-install; owned */
	struct chain *chain;	/* owned; points into the pool */
};

/* Begins one, with copies of what the row borrows. NULL with an error. */
struct ca_order *ca_order_new(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
/* Without telling anybody. */
void ca_order_free(struct ca_order *o);
/* Tells and frees. why: NULL when the decision is closed. */
void ca_order_end(struct ca_order *o, const struct error *why);
/* The decision is closed: reads the CAs again, and ends it. */
void ca_order_reload(struct ca_order *o);

/* Whether the token's signer can be asked to carry it out now, or a person's PIN is
 * waited for. about: the CA, or "-". */
enum pin_turn_outcome ca_order_turn(
    struct ca_order *o, const char *token, const char *about, struct error *e) MUST_CHECK;

/* Stores the CA's certificate and chain: its own first, the root last. own: signed by
 * this order. */
bool ca_order_activate(
    struct ca_order *o, const struct chain *chain, bool own, struct error *e) MUST_CHECK;

/* The database has closed the decision, or keeps it until a person has entered a PIN. */
void ca_order_closed(const struct error *err, void *order);

/* The key of a decision is noted: the generation begins with it. */
bool ca_order_begin(struct ca_order *o, struct error *e) MUST_CHECK;
/* Has the token make the key, unless an earlier attempt did. */
bool ca_order_find_key(struct ca_order *o, struct error *e) MUST_CHECK;
/* Reads limits and policy of a new key, which must be of one and the same CA. */
bool ca_order_take_body(struct ca_order *o, struct error *e) MUST_CHECK;
/* A generation with the order's key, of a CA that stands; ca_rekey.c. */
bool ca_order_make_generation(struct ca_order *o, struct bytes csr, struct bytes serial,
    struct bytes tbs, ca_begun_fn *begun, struct error *e) MUST_CHECK;
bool ca_order_find_next(struct ca_order *o, struct error *e) MUST_CHECK;

/* Reads the CAs again, and goes on with the one that the order names. */
bool ca_order_load(struct ca_order *o, ca_order_ca_fn *next, struct error *e) MUST_CHECK;
/* From now on the order signs with the key of this CA. */
bool ca_order_take_key_of(
    struct ca_order *o, const struct issuing_ca *ca, struct error *e) MUST_CHECK;

/* Keeps what is to be signed; a copy. */
bool ca_order_keep_tbs(struct ca_order *o, struct bytes tbs, struct error *e) MUST_CHECK;
/* Has it signed, and goes on with the signature; order: of operators, about it, or NULL. */
bool ca_order_sign(struct ca_order *o, enum signproto_kind kind,
    const struct signproto_order *order, ca_order_signed_fn *next, struct error *e) MUST_CHECK;
/* A serial for a root's own certificate, into the order. */
bool ca_order_make_serial(struct ca_order *o, struct error *e) MUST_CHECK;
/* What the database has of a root's own certificate, and its signature: the CA signs
 * under it. */
bool ca_order_take_begun(
    struct ca_order *o, const struct ca_begun *begun, struct error *e) MUST_CHECK;
/* Both, once the database has begun: with `next`, or the end. order: as above. */
void ca_order_sign_begun(struct ca_order *o, const struct ca_begun *begun, const struct error *err,
    const struct signproto_order *order, ca_order_signed_fn *next);
bool ca_order_install_own(struct ca_order *o, struct bytes signature, struct error *e) MUST_CHECK;

#endif
