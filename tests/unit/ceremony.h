#ifndef CHANCERY_TESTS_CEREMONY_H
#define CHANCERY_TESTS_CEREMONY_H

/*
 * Operators for the tests of the signer: their keys, limits documents, and orders
 * that they sign together.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "daemon/core/attr.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/statement.h"

enum {
	ALICE, /* limits and decide */
	BOB,   /* limits */
	CAROL, /* decide */
	MALLORY,
	PEOPLE,
};

struct ceremony_person {
	EVP_PKEY *key;
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
};

static struct ceremony_person ceremony_people[PEOPLE];

UNUSED static void
ceremony_begin(void)
{
	for (int i = 0; i < PEOPLE; i++) {
		struct ceremony_person *p = &ceremony_people[i];
		struct error e = ERROR_INIT;

		p->key = i == BOB ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_EC_gen("P-256");
		if (p->key == NULL || !statement_public_key(p->key, p->spki, &p->spki_len, &e))
			abort();
	}
}

UNUSED static void
ceremony_end(void)
{
	for (int i = 0; i < PEOPLE; i++)
		EVP_PKEY_free(ceremony_people[i].key);
}

UNUSED static void
ceremony_add(struct limits *l, int who, const char *name, unsigned rights)
{
	struct limits_operator *o = &l->operators[l->operator_count++];

	*o = (struct limits_operator){.rights = rights, .spki_len = ceremony_people[who].spki_len};
	(void)snprintf(o->person, sizeof o->person, "%s", name);
	memcpy(o->spki, ceremony_people[who].spki, o->spki_len);
}

/* Limits of a new subordinate on the token "main" for signer 1: alice and bob may change
 * them, one of the two is enough, alice and carol decide. */
UNUSED static void
ceremony_limits(struct limits *l, const char *ca, enum key_alg alg, struct bytes subject)
{
	memset(l, 0, sizeof *l);
	(void)snprintf(l->ca, sizeof l->ca, "%s", ca);
	(void)snprintf(l->token, sizeof l->token, "main");
	l->version = 1;
	l->algorithm = alg;
	for (unsigned n = 1; n < 64; n++)
		if (sig_alg_valid(n) && sig_alg_fits_key((enum sig_alg)n, alg))
			l->signatures[l->signature_count++] = (enum sig_alg)n;
	memcpy(l->subject, subject.p, subject.len);
	l->subject_len = subject.len;
	l->not_after = (int64_t)time(NULL) + 20LL * 365 * 86400;
	l->path_length = -1;
	l->signer_ids[0] = 1;
	l->signer_count = 1;
	l->quorum = 1;
	ceremony_add(l, ALICE, "alice", LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE);
	ceremony_add(l, BOB, "bob", LIMITS_RIGHT_LIMITS);
	ceremony_add(l, CAROL, "carol", LIMITS_RIGHT_DECIDE);
	(void)RAND_bytes(l->nonce, sizeof l->nonce);
}

/* The next version of them, for the key. */
UNUSED static void
ceremony_next(struct limits *l, const uint8_t key_sha256[32])
{
	char text[LIMITS_TEXT_MAX + 1];
	struct error e = ERROR_INIT;
	size_t len = 0;

	if (!limits_format(l, text, &len, &e))
		abort();
	limits_sha256(text, len, l->previous);
	memcpy(l->key, key_sha256, sizeof l->key);
	l->version++;
	(void)RAND_bytes(l->nonce, sizeof l->nonce);
}

struct ceremony_order {
	char statement[STATEMENT_TEXT_MAX + 1];
	char body[LIMITS_TEXT_MAX + 64];
	uint8_t signatures[PEOPLE][STATEMENT_SIGNATURE_MAX];
	struct signproto_order order; /* points to all this */
};

/* An order with o->body as its body, issued at that time, signed by those in `who`,
 * which ends with PEOPLE. */
UNUSED static void
ceremony_sign_about(struct ceremony_order *o, enum statement_action action, const char *ca,
    const char *object, int64_t issued, const int *who)
{
	struct statement s = {.action = action, .has_body = true};
	struct error e = ERROR_INIT;
	size_t len = 0, n = 0;

	(void)snprintf(s.ca, sizeof s.ca, "%s", ca);
	(void)snprintf(s.object, sizeof s.object, "%s", object);
	s.issued = issued;
	s.expires = issued + 600;
	(void)SHA256((const unsigned char *)o->body, strlen(o->body), s.body_sha256);
	if (!statement_format(&s, o->statement, &len, &e))
		abort();
	o->order = (struct signproto_order){
	    .statement = {(const uint8_t *)o->statement, len},
	    .body = {(const uint8_t *)o->body, strlen(o->body)},
	};
	for (; who[n] != PEOPLE; n++) {
		const struct ceremony_person *p = &ceremony_people[who[n]];
		size_t sig_len = 0;

		if (!statement_sign(o->statement, len, p->key, o->signatures[n], &sig_len, &e))
			abort();
		o->order.signatures[n] = (struct signproto_operator_signature){
		    {p->spki, p->spki_len}, {o->signatures[n], sig_len}};
	}
	o->order.signature_count = n;
}

UNUSED static void
ceremony_sign(struct ceremony_order *o, enum statement_action action, const char *ca,
    int64_t issued, const int *who)
{
	ceremony_sign_about(o, action, ca, ca, issued, who);
}

#define CEREMONY_BY(...) ((const int[]){__VA_ARGS__, PEOPLE})

/* A ca-create or ca-limits order of these limits, issued now. */
UNUSED static void
ceremony_order(struct ceremony_order *o, const struct limits *l, const int *who)
{
	struct error e = ERROR_INIT;
	size_t len = 0;

	if (!limits_format(l, o->body, &len, &e)) {
		(void)fprintf(stderr, "%s\n", e.text);
		abort();
	}
	(void)snprintf(o->body + len, sizeof o->body - len, "---\n");
	ceremony_sign(o, l->version == 1 ? STATEMENT_CA_CREATE : STATEMENT_CA_LIMITS, l->ca,
	    (int64_t)time(NULL), who);
}

#endif
