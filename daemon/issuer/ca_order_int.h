#ifndef CHANCERY_ISSUER_CA_ORDER_INT_H
#define CHANCERY_ISSUER_CA_ORDER_INT_H

/* What ca_order.c (a new CA) and ca_install.c (its certificate) share. */

#include "daemon/issuer/ca_order.h"
#include "daemon/issuer/chain.h"
#include "daemon/issuer/kept_order.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/name.h"
#include "daemon/x509/serial.h"

struct ca_order {
	const struct ca_order_env *env;
	struct decision_key key;
	ca_ordered_fn *done;
	void *arg;
	char name[STATEMENT_NAME_MAX + 1];
	struct kept_order kept;
	char *body;			 /* owned: limits and policy, or the chain */
	struct limits *limits;		 /* ca-create; owned */
	char *limits_text, *policy_text; /* the parts of the body; owned */
	struct capolicy policy;
	char readable[NAME_TEXT_MAX];

	int64_t token_key_id;
	uint8_t cka_id_buf[SIGNPROTO_ID_MAX], spki_buf[SPKI_MAX];
	struct bytes cka_id, spki;

	uint8_t serial[SERIAL_LEN];
	uint8_t *tbs; /* owned: what is being signed */
	size_t tbs_len;
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

/* Stores the CA's certificate and chain: its own first, the root last. own: signed by
 * this order. */
bool ca_order_activate(
    struct ca_order *o, const struct chain *chain, bool own, struct error *e) MUST_CHECK;

#endif
