#ifndef CHANCERY_ISSUER_CA_CACHE_H
#define CHANCERY_ISSUER_CA_CACHE_H

/*
 * What the issuer knows of each CA and template, read from the database and
 * compiled once: policies parsed, extension bytes prebuilt.
 *
 * A CA's entry is replaced whole when the database shows another one; who works
 * with it over several turns of the loop holds a reference.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/ca_context.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/template.h"
#include "db/ca.h"
#include "db/db.h"

struct issuing_ca {
	struct ca_row row; /* ids, names and DER, owned */
	struct capolicy policy;
	/* NULL until the CA has its certificate; of a superseded key for its CRLs. */
	struct ca_context *context;
	/* With the locations of each CRL that certificates are divided among, where there
	 * are several: the first of them is context. NULL where there is one. */
	struct ca_context **contexts;
	size_t part_count;  /* of contexts */
	bool unchained;	    /* issues nothing; chain_watch.h */
	int64_t chain_seen; /* when that was looked at; 0: not yet */
	int references;
};

struct ca_cache;

struct ca_cache *ca_cache_new(struct db *db, struct error *e) MUST_CHECK;
void ca_cache_free(struct ca_cache *c);

/* Reads all CAs again; done is called when the cache is as the database was.
 * Entries that did not change stay. An entry that cannot be compiled is left
 * out, with an error in the log. */
typedef void ca_cache_done_fn(const struct error *err, void *arg);
bool ca_cache_load(
    struct ca_cache *c, ca_cache_done_fn *done, void *arg, struct error *e) MUST_CHECK;

/* Reads the versions of templates that are not in the cache yet. */
bool ca_cache_load_templates(struct ca_cache *c, const int64_t *version_ids, size_t n,
    ca_cache_done_fn *done, void *arg, struct error *e) MUST_CHECK;

/* Borrowed, valid until the loop's next turn; NULL when not in the cache. */
struct issuing_ca *ca_cache_find(const struct ca_cache *c, int64_t ca_id);
struct issuing_ca *ca_cache_find_name(const struct ca_cache *c, const char *name);
/* The CA's generation with the key whose SubjectPublicKeyInfo has this SHA-256, maybe a
 * superseded one. */
struct issuing_ca *ca_cache_find_digest(
    const struct ca_cache *c, const char *name, const uint8_t sha256[32]);
/* The same with the generation that a key has, maybe a superseded one: the others here
 * give none of those. */
struct issuing_ca *ca_cache_find_key(const struct ca_cache *c, int64_t token_key_id);
/* All of them, as an array. */
struct issuing_ca *const *ca_cache_all(const struct ca_cache *c, size_t *count);
/* All of them, and superseded ones behind; NULL at the end. */
struct issuing_ca *ca_cache_first(const struct ca_cache *c);
struct issuing_ca *ca_cache_next(const struct ca_cache *c, const struct issuing_ca *ca);
/* Templates are immutable and stay as long as the cache. */
const struct template *ca_cache_template(const struct ca_cache *c, int64_t version_id);

/* What the variables of its locations stand for, now; borrowed from the CA. */
void ca_location_names(const struct issuing_ca *ca, struct location_names *names);

/* Which of the CA's CRLs a new certificate goes to, and the context with its
 * locations. */
const struct ca_context *ca_choose_scope(
    const struct issuing_ca *ca, const struct template *t, struct bytes serial, int64_t *scope_id);

struct issuing_ca *ca_hold(struct issuing_ca *ca);
void ca_release(struct issuing_ca *ca); /* NULL is legal */

#endif
