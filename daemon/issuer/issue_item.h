#ifndef CHANCERY_ISSUER_ISSUE_ITEM_H
#define CHANCERY_ISSUER_ISSUE_ITEM_H

/*
 * One claimed request on its way to a certificate: the work that needs neither
 * database nor signer. issue.c moves items through these steps in batches.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/verifier.h"
#include "db/request.h"

enum item_step {
	ITEM_CLAIMED,
	ITEM_CHECKED, /* found good; if not cleared the database is being told */
	ITEM_REFUSED, /* failure says why; final */
	ITEM_BUILT,   /* has an intent */
	ITEM_SIGNING,
	ITEM_SIGNED, /* has its certificate */
	ITEM_LATER,  /* failure says what is away; back into the queue */
	ITEM_PIN,    /* waits for a person's PIN; failure says why it does so again */
	ITEM_VOID,   /* the signer does not take its serial; failure says why */
	ITEM_GONE,   /* nothing more to do here */
};

/* What a certificate, or a CSR, is listed under. Owned. */
struct item_names {
	char *subject;
	char **names;
	size_t count;
};

struct batch;

struct issue_item {
	struct batch *batch;		   /* of issue.c */
	const struct request_claim *claim; /* in the batch */
	struct issuing_ca *ca;		   /* held */
	const struct template *template;
	enum item_step step;
	struct error failure;
	bool stale;	/* its intent is to be given up */
	struct csr csr; /* points into the claim */
	uint8_t csr_sha256[32], spki_sha256[32];
	char key_type[16];
	struct request_intent intent;
	uint8_t *tbs; /* owned; NULL when the intent came with the claim */
	struct item_names listed;
	int64_t not_before, not_after;
	uint8_t *der; /* the certificate; owned */
	size_t der_len;
	uint64_t call; /* at the signer */
};

/* Reads and verifies the CSR and checks it against template and CA; on success
 * the item is CHECKED, else REFUSED. What it is listed under is set as soon as
 * the CSR could be read. */
void item_check(struct issue_item *item, struct verifier *verifier);

/* Goes on with the intent that came with the claim: BUILT; REFUSED when its CA is
 * not in operation; LATER and stale when those bytes are not to be signed any
 * more: the CA has another generation by now, their time has passed, their serial
 * is another signer's or too old. */
void item_resume(struct issue_item *item, uint16_t signer_id, int64_t now);

/* The signer cannot tell any more whether the serial was used: VOID. */
void item_refused_as_stale(struct issue_item *item, const struct error *failure);

/* Gives the item a serial and its to-be-signed bytes: BUILT, or REFUSED. */
void item_build(struct issue_item *item, uint16_t signer_id, int64_t now);

/* Takes the signature: SIGNED, with the certificate and what it is listed
 * under, or REFUSED. */
void item_take_signature(struct issue_item *item, struct bytes signature);

/* REFUSED with this failure, or LATER when it may pass by itself. */
void item_fail(struct issue_item *item, const struct error *failure);

void item_free(struct issue_item *item);

#endif
