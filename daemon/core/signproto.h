#ifndef CHANCERY_CORE_SIGNPROTO_H
#define CHANCERY_CORE_SIGNPROTO_H

/*
 * What issuer and signer say to each other over a channel (channel.h).
 *
 *     issuer asks                     signer answers
 *     STATUS                          STATUS_OK
 *     KEY_GENERATE, KEY_FIND          KEY_OK
 *     LIMITS_SET, INSTALL, RESEED,
 *     KEY_DESTROY, PIN                DONE
 *     SIGN                            SIGNED
 *     STREAM_BEGIN, STREAM_DATA ...,
 *     STREAM_END                      SIGNED, or ABSTRACT where that was asked for
 *     any of them                     FAILED
 *
 * The asker chooses the request id; the answer carries the same one. Many
 * requests are in flight at once and answers come in any order. An id may be
 * used again once its answer came. All messages of a stream carry one id; a
 * stream may be answered FAILED before its end, and what then still arrives
 * for that id is dropped. STREAM_DROP in place of the end: it is given up, and
 * not answered.
 *
 * Each message is a struct, an encoder (signproto_put_*: appends to a writer,
 * whose stickiness reports failure) and a decoder (signproto_get_*: strict,
 * the whole payload and nothing beyond, every length within its limit). Byte
 * strings in a decoded struct are borrowed from the payload.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

/* Both ends must speak the same; STATUS says it first. */
#define SIGNPROTO_VERSION 4

#define SIGNPROTO_TBS_MAX (1024 * 1024)			 /* one SIGN */
#define SIGNPROTO_DATA_MAX (1024 * 1024)		 /* one STREAM_DATA */
#define SIGNPROTO_STREAM_MAX (4ULL * 1024 * 1024 * 1024) /* one streamed structure */
#define SIGNPROTO_ID_MAX 64				 /* CKA_ID; ours are 16 octets */
#define SIGNPROTO_SUBJECT_MAX 4096			 /* DER of a Name */
#define SIGNPROTO_SPKI_MAX 2048				 /* DER of a SubjectPublicKeyInfo */
#define SIGNPROTO_SIGNATURE_MAX 1024			 /* content of the BIT STRING */
#define SIGNPROTO_CHALLENGE_SIZE 33			 /* hex of 16 octets, with the NUL */
#define SIGNPROTO_NAME_SIZE 65				 /* names and labels, with the NUL */
#define SIGNPROTO_CSR_MAX 65536				 /* DER of a CertificationRequest */
#define SIGNPROTO_STATEMENT_MAX 2048			 /* text of an operator's statement */
#define SIGNPROTO_OPERATOR_SIGNATURE_MAX 80
#define SIGNPROTO_OPERATOR_SPKI_MAX 96
#define SIGNPROTO_BODY_MAX 262144	  /* what stands beside a statement */
#define SIGNPROTO_ORDER_SIGNATURES_MAX 16 /* under one statement */
#define SIGNPROTO_DEADLINE_MAX_MS (600 * 1000)
#define SIGNPROTO_START_SIZE 513 /* announcement of a start, with the NUL */
#define SIGNPROTO_START_SIGNATURE_MAX 64
#define SIGNPROTO_PIN_SHARES_MAX 16384 /* text of a split PIN */
#define SIGNPROTO_ABSTRACT_MAX 2048    /* text about a CRL */
#define SIGNPROTO_SCOPE_LEN 32
#define SIGNPROTO_IDENTITY_MAX 44 /* SPKI of the signer's identity key */

enum signproto_type {
	SIGNPROTO_STATUS = 1,
	SIGNPROTO_KEY_GENERATE = 2,
	SIGNPROTO_KEY_FIND = 3,
	SIGNPROTO_SIGN = 4,
	SIGNPROTO_STREAM_BEGIN = 5,
	SIGNPROTO_STREAM_DATA = 6,
	SIGNPROTO_STREAM_END = 7,
	SIGNPROTO_LIMITS_SET = 8,
	SIGNPROTO_INSTALL = 9,
	SIGNPROTO_RESEED = 10,
	SIGNPROTO_PIN = 11,
	SIGNPROTO_KEY_DESTROY = 12,
	SIGNPROTO_STREAM_DROP = 13,

	SIGNPROTO_STATUS_OK = 0x8001,
	SIGNPROTO_KEY_OK = 0x8002,
	SIGNPROTO_SIGNED = 0x8003,
	SIGNPROTO_FAILED = 0x8004,
	SIGNPROTO_DONE = 0x8005,
	SIGNPROTO_ABSTRACT = 0x8006,
};

/* What a to-be-signed structure claims to be; the signer checks that it is. */
enum signproto_kind {
	SIGNPROTO_TBS_CERTIFICATE = 1, /* TBSCertificate, RFC 5280 4.1 */
	SIGNPROTO_TBS_CRL = 2,	       /* TBSCertList, RFC 5280 5.1 */
	SIGNPROTO_CSR_INFO = 3,	       /* CertificationRequestInfo, RFC 2986 4.1 */
};

enum signproto_state {
	SIGNPROTO_READY = 1,
	SIGNPROTO_NO_PIN = 2,	     /* no PIN source, or it cannot be read */
	SIGNPROTO_PIN_WRONG = 3,     /* refused by the token; not tried again by itself */
	SIGNPROTO_TOKEN_AWAY = 4,    /* tried again by itself */
	SIGNPROTO_MODULE_BROKEN = 5, /* the module cannot be loaded or initialised */
	SIGNPROTO_CLOSED = 6,	     /* the journal is: nothing is signed */
	SIGNPROTO_LOCKED = 7,	     /* waits for a person's PIN */
	SIGNPROTO_AT_DEVICE = 8,     /* somebody has to enter the PIN at the token's device */
	SIGNPROTO_BLOCKED = 9,	     /* logins went wrong: none until an operator clears it */
};

/* How a login comes about; the numbers are those of enum signer_access. */
enum signproto_access {
	SIGNPROTO_ACCESS_AUTO = 0,
	SIGNPROTO_ACCESS_SESSION = 1,
	SIGNPROTO_ACCESS_OPERATION = 2,
};

struct signproto_status_ok {
	uint64_t instance;		      /* random for each start of the signer */
	char token_name[SIGNPROTO_NAME_SIZE]; /* as the configuration calls it */
	char label[SIGNPROTO_NAME_SIZE];      /* these three from the token; "" while away */
	char serial[SIGNPROTO_NAME_SIZE];
	char model[SIGNPROTO_NAME_SIZE];
	enum signproto_state state;
	char state_text[ERROR_TEXT_MAX];	  /* one sentence */
	uint32_t threads;			  /* signing threads */
	uint64_t signatures;			  /* made since the start */
	uint64_t since;				  /* seconds since 1970: in this state since */
	char journal[ERROR_TEXT_MAX];		  /* one sentence; "" while the token is away */
	char challenge[SIGNPROTO_CHALLENGE_SIZE]; /* for a reseed, hex; likewise */

	/* How it is reached by operators with a PIN; all empty with ACCESS_AUTO. */
	enum signproto_access access;
	char start[SIGNPROTO_START_SIZE]; /* announcement, daemon/x509/signer_start.h */
	struct bytes start_signature;	  /* by the identity key */
	struct bytes identity;		  /* its SPKI */
	struct bytes pin_shares;	  /* text, daemon/x509/pin_share.h; empty: no split */
	/* Who let it sign, "" while nobody does; and how long at most. */
	char unlocked_by[SIGNPROTO_NAME_SIZE];
	uint64_t unlocked_until;  /* seconds since 1970; 0: locked */
	uint32_t unlocked_idle_s; /* 0: no such limit; so the next, while it is unlocked */
	uint64_t signatures_left; /* ACCESS_OPERATION: operations still to be done */
};

/*
 * What operators ordered: a statement, the body that its body-sha256 is of, and
 * the signatures of all who signed the statement.
 */
struct signproto_operator_signature {
	struct bytes spki; /* of the operator's key */
	struct bytes signature;
};

struct signproto_order {
	struct bytes statement; /* text */
	struct bytes body;
	struct signproto_operator_signature signatures[SIGNPROTO_ORDER_SIGNATURES_MAX];
	size_t signature_count; /* at least 1 */
};

/* A ca-create statement: the key that its limits document is for. Asked again, the
 * same key. */
struct signproto_key_generate {
	struct signproto_order order;
};

/* A ca-limits statement about the key with this id: new limits for it. */
struct signproto_limits_set {
	struct bytes cka_id;
	struct signproto_order order;
};

/* A ca-install statement: the certificate of the CA whose key this is. */
struct signproto_install {
	struct bytes cka_id;
	struct signproto_order order;
};

/* A key-destroy statement: the key with this id is to be destroyed. Asked again, it is
 * gone. */
struct signproto_key_destroy {
	struct bytes cka_id;
	struct signproto_order order;
};

/* A signer-reseed statement: the journal begins anew. */
struct signproto_reseed {
	struct signproto_order order;
};

/* A statement pin-..., with an envelope as its body (pin_envelope.h), signed by one
 * operator. DONE: it was opened and counts; for pin-unlock, the token is logged in
 * to. */
struct signproto_pin {
	struct signproto_order order;
};

struct signproto_key_find {
	struct bytes cka_id;
};

struct signproto_key_ok {
	struct bytes cka_id;
	struct bytes spki;
};

struct signproto_sign {
	struct bytes cka_id;
	uint16_t sig_alg; /* enum sig_alg, algorithm.h */
	enum signproto_kind kind;
	uint32_t deadline_ms; /* from the arrival; 0: none */
	struct bytes tbs;     /* the whole DER structure */

	/* Why a certificate may be issued: the template's name, and unless it
	 * issues by itself what an operator approved. A root's own certificate, and
	 * everything else that is signed, goes without these. */
	char template[SIGNPROTO_NAME_SIZE];
	struct bytes csr;	/* CertificationRequest, DER */
	struct bytes statement; /* the operator's text, its signature and public key */
	struct bytes signature;
	struct bytes spki;

	/* A ca-renew statement: why a root signs its own certificate anew. Without
	 * signatures: none. */
	struct signproto_order order;
};

struct signproto_stream_begin {
	struct bytes cka_id;
	uint16_t sig_alg;
	enum signproto_kind kind; /* SIGNPROTO_TBS_CRL only */
	uint64_t total_len;	  /* of the whole structure */
	uint32_t deadline_ms;
	/* Nothing is signed with the key; the signer says what it was shown. scope: of the
	 * CRL, as the asker believes, to be compared with the last one. */
	bool abstract;
	struct bytes scope; /* SHA-256 of its issuingDistributionPoint, or empty */
};

struct signproto_abstract {
	struct bytes text, signature; /* daemon/x509/crl_abstract.h */
};

struct signproto_stream_data {
	struct bytes data; /* 1 .. SIGNPROTO_DATA_MAX bytes */
};

struct signproto_signed {
	struct bytes signature; /* as the BIT STRING's content */
};

/* Words for people: "STATUS", "tbs-certificate", "ready"; "unknown". */
const char *signproto_type_name(uint16_t type);
const char *signproto_kind_name(enum signproto_kind kind);
const char *signproto_state_name(enum signproto_state state);

void signproto_put_status(struct wire_writer *w);
bool signproto_get_status(struct bytes payload, struct error *e) MUST_CHECK;

void signproto_put_status_ok(struct wire_writer *w, const struct signproto_status_ok *m);
bool signproto_get_status_ok(
    struct bytes payload, struct signproto_status_ok *m, struct error *e) MUST_CHECK;

void signproto_put_key_generate(struct wire_writer *w, const struct signproto_key_generate *m);
bool signproto_get_key_generate(
    struct bytes payload, struct signproto_key_generate *m, struct error *e) MUST_CHECK;

void signproto_put_limits_set(struct wire_writer *w, const struct signproto_limits_set *m);
bool signproto_get_limits_set(
    struct bytes payload, struct signproto_limits_set *m, struct error *e) MUST_CHECK;

void signproto_put_install(struct wire_writer *w, const struct signproto_install *m);
bool signproto_get_install(
    struct bytes payload, struct signproto_install *m, struct error *e) MUST_CHECK;

void signproto_put_key_destroy(struct wire_writer *w, const struct signproto_key_destroy *m);
bool signproto_get_key_destroy(
    struct bytes payload, struct signproto_key_destroy *m, struct error *e) MUST_CHECK;
void signproto_put_reseed(struct wire_writer *w, const struct signproto_reseed *m);
bool signproto_get_reseed(
    struct bytes payload, struct signproto_reseed *m, struct error *e) MUST_CHECK;

void signproto_put_pin(struct wire_writer *w, const struct signproto_pin *m);
bool signproto_get_pin(struct bytes payload, struct signproto_pin *m, struct error *e) MUST_CHECK;

void signproto_put_key_find(struct wire_writer *w, const struct signproto_key_find *m);
bool signproto_get_key_find(
    struct bytes payload, struct signproto_key_find *m, struct error *e) MUST_CHECK;

void signproto_put_key_ok(struct wire_writer *w, const struct signproto_key_ok *m);
bool signproto_get_key_ok(
    struct bytes payload, struct signproto_key_ok *m, struct error *e) MUST_CHECK;

void signproto_put_sign(struct wire_writer *w, const struct signproto_sign *m);
bool signproto_get_sign(struct bytes payload, struct signproto_sign *m, struct error *e) MUST_CHECK;

void signproto_put_stream_begin(struct wire_writer *w, const struct signproto_stream_begin *m);
bool signproto_get_stream_begin(
    struct bytes payload, struct signproto_stream_begin *m, struct error *e) MUST_CHECK;

void signproto_put_stream_data(struct wire_writer *w, const struct signproto_stream_data *m);
bool signproto_get_stream_data(
    struct bytes payload, struct signproto_stream_data *m, struct error *e) MUST_CHECK;

void signproto_put_stream_end(struct wire_writer *w);
bool signproto_get_stream_end(struct bytes payload, struct error *e) MUST_CHECK;

void signproto_put_stream_drop(struct wire_writer *w);
bool signproto_get_stream_drop(struct bytes payload, struct error *e) MUST_CHECK;

void signproto_put_signed(struct wire_writer *w, const struct signproto_signed *m);
bool signproto_get_signed(
    struct bytes payload, struct signproto_signed *m, struct error *e) MUST_CHECK;

void signproto_put_abstract(struct wire_writer *w, const struct signproto_abstract *m);
bool signproto_get_abstract(
    struct bytes payload, struct signproto_abstract *m, struct error *e) MUST_CHECK;

/* The order was carried out. text: what is to be said of it beyond that, or "". */
void signproto_put_done(struct wire_writer *w, const char *text);
bool signproto_get_done(
    struct bytes payload, char text[ERROR_TEXT_MAX], struct error *e) MUST_CHECK;

/* FAILED carries the signer's error as it is: code, foreign code, sentence.
 * The decoder gives it back in *failure; its own complaint goes to e. */
void signproto_put_failed(struct wire_writer *w, const struct error *failure);
bool signproto_get_failed(struct bytes payload, struct error *failure, struct error *e) MUST_CHECK;

#endif
