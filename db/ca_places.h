#ifndef CHANCERY_DB_CA_PLACES_H
#define CHANCERY_DB_CA_PLACES_H

/*
 * What the policy of a CA comes to in the database: the scopes of a key's CRLs, and
 * the targets that CRLs and certificates are published to.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/params.h"

struct ca_places;

/* Everything is borrowed for the call. Extension values that are empty are absent. */
struct ca_new_scope {
	const char *kind, *attribute, *label;
	int shard, shards;
	/* Of a CRL of some reasons, as bits 1 << CRLReason: the label of that of all. */
	const char *whole;
	unsigned reasons;
	struct bytes idp, freshest, published;
};

struct ca_target {
	const char *name, *kind, *artifact, *write, *read;
	const char *label; /* only CRLs of that scope; NULL: all of the CA's */
	const char *credential, *bind_dn, *tls, *auth; /* options: names, no secrets; or NULL */
	const char *region, *certificate, *user, *host_key, *schema, *mode, *group;
	bool webdav;
	/* Of directory entries: whose certificates, and which are taken out again. */
	const char *const *templates;
	size_t template_count;
	bool remove_revoked, remove_expired;
};

/* NULL with an error without memory. ca_places_free(NULL) is legal. */
struct ca_places *ca_places_new(struct error *err) MUST_CHECK;
void ca_places_free(struct ca_places *places);

/* False without memory, or when a text is no UTF-8. */
bool ca_places_add_scope(
    struct ca_places *places, const struct ca_new_scope *scope, struct error *err) MUST_CHECK;
bool ca_places_add_target(
    struct ca_places *places, const struct ca_target *target, struct error *err) MUST_CHECK;

/* Adds them as parameters of ca_open_scopes and ca_open_targets. */
bool ca_places_scopes_param(
    const struct ca_places *places, struct db_params *p, struct error *err) MUST_CHECK;
bool ca_places_targets_param(
    const struct ca_places *places, struct db_params *p, struct error *err) MUST_CHECK;

#endif
