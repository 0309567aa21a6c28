#ifndef CHANCERY_ISSUER_PIN_COURIER_H
#define CHANCERY_ISSUER_PIN_COURIER_H

/*
 * Carries entries of PINs from the database to the signer that they are for, each
 * once, and has what an accepted entry lists signed. An entry is an envelope that
 * only that start of that signer opens; whether it counts is the signer's to say.
 */

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/issuer/crl_calendar.h"
#include "daemon/issuer/decide.h"
#include "daemon/issuer/issue.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/issuer/token_access.h"
#include "db/db.h"

struct pin_courier;

struct pin_courier_env {
	struct db *db;
	struct signer_client *signers;
	struct token_access *access;
	struct issuance *issuance;
	struct crl_calendar *calendar;
	struct decider *decider;
	const struct config *config;
	/* The signer took an entry: its state is another one now. */
	void (*taken)(const char *token, void *arg);
	void *arg;
};

/* env is copied; what it points to must outlive the courier. */
struct pin_courier *pin_courier_new(const struct pin_courier_env *env, struct error *e) MUST_CHECK;

/* There may be an entry: after a hint, on a timer. */
void pin_courier_poke(struct pin_courier *c);

/* Takes no more of them. */
void pin_courier_drain(struct pin_courier *c);

/* The signers' client was closed before. NULL is legal. */
void pin_courier_free(struct pin_courier *c);

#endif
