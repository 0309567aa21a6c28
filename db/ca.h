#ifndef CHANCERY_DB_CA_H
#define CHANCERY_DB_CA_H

/*
 * CAs, their keys and generations, and templates, as the issuer reads and makes
 * them (migrations/0007_ca.sql).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/ca_places.h"
#include "db/db.h"

#define CA_NAME_SIZE 65
#define CA_TOKEN_SIZE 65
#define CA_CHAIN_MAX 16

#define CA_LABEL_SIZE 64

/* One of a CA's CRLs. */
struct ca_scope {
	int64_t id;
	char label[CA_LABEL_SIZE];
};

/* A CA with one of its generations: the one that signs, or waits; or of a superseded
 * key the newest, which signs CRLs. Slices and policy are owned by the row. */
struct ca_row {
	int64_t ca_id, issuer_name_id, generation_id, token_key_id;
	int64_t scope_id; /* the first of scopes */
	int certificate_index, key_index;
	bool root, active, superseded;
	bool issued; /* something, by this key */
	bool over;   /* the CA is retired */
	char name[CA_NAME_SIZE];
	char token[CA_TOKEN_SIZE];	  /* the configuration's name of the token login */
	char *policy;			  /* YAML as given */
	char *stopped;			  /* why it issues nothing: a sentence; NULL: it does */
	struct bytes subject;		  /* Name */
	struct bytes certificate;	  /* empty while it waits for one */
	struct bytes chain[CA_CHAIN_MAX]; /* its issuers, nearest first */
	size_t chain_len;
	struct bytes cka_id, spki;
	struct ca_scope *scopes;	 /* that new certificates are divided among; at least one */
	size_t scope_count, scope_total; /* total: with those that get no more certificates */
};

/* True when both came from the same state of the database. */
bool ca_row_equal(const struct ca_row *a, const struct ca_row *b);
void ca_row_free(struct ca_row *row);

/* rows is borrowed; the callee may move a row out of it (and empty it there). */
typedef void ca_rows_fn(struct ca_row *rows, size_t n, const struct error *err, void *arg);
struct db_pending *ca_load(
    struct db *db, ca_rows_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* body is borrowed. */
struct template_row {
	int64_t version_id;
	const char *name, *body;
	int version;
};
typedef void template_rows_fn(
    const struct template_row *rows, size_t n, const struct error *err, void *arg);
struct db_pending *template_load(struct db *db, const int64_t *version_ids, size_t n,
    template_rows_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* ------------------------------------------------- making a CA, in steps */

/* obstacle: why there can be no such CA, or NULL. */
typedef void ca_obstacle_fn(const char *obstacle, const struct error *err, void *arg);
struct db_pending *ca_find_obstacle(struct db *db, const char *name, struct bytes subject,
    ca_obstacle_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* The key made for a decision; token_key_id 0 when there is none yet. Slices
 * are borrowed for the call. */
struct ca_key {
	int64_t token_key_id;
	struct bytes cka_id, spki;
};
typedef void ca_key_fn(const struct ca_key *key, const struct error *err, void *arg);
struct db_pending *ca_find_key(
    struct db *db, int64_t decision_id, ca_key_fn *answer, void *arg, struct error *err) MUST_CHECK;
struct db_pending *ca_note_key(struct db *db, int64_t decision_id, int epoch, const char *token,
    const char *label, const char *algorithm, struct bytes cka_id, struct bytes spki,
    ca_key_fn *answer, void *arg, struct error *err) MUST_CHECK;

struct ca_begin {
	int64_t decision_id;
	int epoch;
	const char *name, *policy, *readable;
	const char *limits; /* of its key: the document, version 1 */
	bool root;
	struct bytes subject;
	int64_t token_key_id;
	struct bytes csr; /* subordinate */
	const char *const *templates;
	size_t template_count;
	const struct ca_places *places;
	bool keep_expired;	  /* entries of CRLs stay when certificates expire */
	struct bytes serial, tbs; /* root: of its own certificate */
};
/* What stands now; serial and tbs are those that count (an earlier attempt's
 * when there was one), borrowed for the call. */
struct ca_begun {
	int64_t ca_id, generation_id;
	struct bytes serial, tbs;
	int certificate_index, key_index;
};
typedef void ca_begun_fn(const struct ca_begun *begun, const struct error *err, void *arg);
struct db_pending *ca_make(struct db *db, const struct ca_begin *begin, ca_begun_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

/* Begins a renewal with the key that the CA has, of which the decision is. */
struct ca_renewal {
	int64_t decision_id;
	int epoch;
	struct bytes csr;	  /* subordinate */
	struct bytes serial, tbs; /* root: of its own certificate */
};
struct db_pending *ca_renew(struct db *db, const struct ca_renewal *renewal, ca_begun_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

/* The same with a new key. */
struct ca_rekeying {
	int64_t decision_id;
	int epoch;
	const char *policy, *limits; /* of the new key */
	int64_t token_key_id;
	int key_index;
	struct bytes csr;		/* subordinate */
	const struct ca_places *places; /* of which only the scopes count */
	bool keep_expired;		/* entries of CRLs stay when certificates expire */
	struct bytes serial, tbs;
};
struct db_pending *ca_rekey(struct db *db, const struct ca_rekeying *rekeying, ca_begun_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

/* The indexes that a generation with a new key would have. */
typedef void ca_next_fn(int certificate_index, int key_index, const struct error *err, void *arg);
struct db_pending *ca_find_next(
    struct db *db, int64_t ca_id, ca_next_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* The generation that waits for a certificate; generation_id 0: none does. Borrowed
 * for the call. */
struct ca_waiting {
	int64_t generation_id;
	const char *token, *policy;
	struct bytes cka_id, spki;
	int certificate_index, key_index;
};
typedef void ca_waiting_fn(const struct ca_waiting *waiting, const struct error *err, void *arg);
struct db_pending *ca_find_waiting(
    struct db *db, int64_t ca_id, ca_waiting_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* The next version of a CA's limits, which the signer has by now. policy NULL: it
 * stays; otherwise templates are the new policy's. */
struct ca_calendar {
	int64_t period_s, delta_period_s; /* the latter 0: no delta CRLs */
	int64_t align_unit_s, align_offset_s, jitter_s;
};
struct ca_limits_change {
	int64_t decision_id;
	int epoch, version;
	const char *document, *policy;
	const char *const *templates;
	size_t template_count;
	const struct ca_places *places;	    /* of the new policy, else NULL */
	const struct ca_calendar *calendar; /* of its CRLs, where it changes, else NULL */
	bool divide;			    /* its scopes are new ones, beside those that stand */
	bool keep_expired;		    /* entries of CRLs stay when certificates expire */
	bool keep_places;		    /* that it no longer names, while certificates may */
};
typedef void ca_done_fn(const struct error *err, void *arg);
struct db_pending *ca_change_limits(struct db *db, const struct ca_limits_change *change,
    ca_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

struct ca_activation {
	int64_t decision_id, generation_id;
	int epoch;
	struct bytes certificate, ski;
	const struct bytes *chain; /* its issuers, nearest first */
	size_t chain_len;
	int64_t not_before, not_after;
	struct bytes own_serial; /* root: the certificate's serial; else empty */
	const char *readable;
	const char *const *templates; /* of the policy */
	size_t template_count;
	const struct ca_places *places; /* of which only the targets count */
};
struct db_pending *ca_activate(struct db *db, const struct ca_activation *activation,
    ca_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* A rollover certificate: begun, and signed. */
struct ca_rolling {
	int64_t decision_id, signer_key_id, subject_key_id;
	int epoch;
	struct bytes serial, tbs;
};
struct db_pending *ca_rollover_begin(struct db *db, const struct ca_rolling *rolling,
    ca_begun_fn *answer, void *arg, struct error *err) MUST_CHECK;
struct ca_rolled {
	int64_t decision_id;
	int epoch;
	struct bytes certificate, spki_sha256;
	int64_t not_before, not_after;
	const char *readable;
};
struct db_pending *ca_rollover_end(struct db *db, const struct ca_rolled *rolled,
    ca_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* A certificate by which a CA elsewhere vouches for one of ours: kept, and handed out. */
struct ca_crossed {
	int64_t decision_id;
	int epoch;
	struct bytes certificate;
	const char *issuer; /* readable */
	int64_t not_after;
};
struct db_pending *ca_cross(struct db *db, const struct ca_crossed *crossed, ca_done_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

/* CAs that are to be renewed and of which that was not said yet; rows are borrowed. */
struct ca_reminder {
	const char *name, *not_after;
};
#define CA_REMINDERS_MAX 64 /* at once; the others are not told of before the next call */
typedef void ca_reminders_fn(
    const struct ca_reminder *rows, size_t n, const struct error *err, void *arg);
struct db_pending *ca_remind(
    struct db *db, ca_reminders_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* Retires generations whose certificates have all ended. */
struct db_pending *ca_retire(
    struct db *db, ca_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

#endif
