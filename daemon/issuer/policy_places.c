#include "daemon/issuer/policy_places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LEN (CAPOLICY_NAME_MAX + LOCATION_PARTITION_MAX + 16)

/* label: NULL for a certificate's. The name tells the target of one scope from those of
 * the others. */
static bool
add_target(struct ca_places *places, const struct capolicy_target *t,
    const struct location_names *names, const char *label, struct error *e)
{
	bool delta = strcmp(t->artifact, "delta-crl") == 0;
	char write[LOCATION_URL_MAX + 1], read[LOCATION_URL_MAX + 1];
	char name[NAME_MAX_LEN];

	(void)snprintf(name, sizeof name, "%s%s", t->name, label != NULL ? label : "");
	if (!location_expand(t->write, names, delta, write, e) ||
	    !location_expand(t->read, names, delta, read, e))
		return error_wrap(e, "target %s of CA %s", t->name, names->ca);
	return ca_places_add_target(places,
	    &(struct ca_target){.name = name,
		.kind = t->kind,
		.artifact = t->artifact,
		.write = write,
		.read = read,
		.label = label,
		.credential = t->credential,
		.bind_dn = t->bind_dn,
		.tls = t->tls,
		.auth = t->auth,
		.region = t->region,
		.certificate = t->certificate,
		.user = t->user,
		.host_key = t->host_key,
		.schema = t->schema,
		.webdav = t->webdav},
	    e);
}

static bool
add_targets(struct ca_places *places, const struct capolicy *p, const struct location_names *names,
    bool crls, const char *label, struct error *e)
{
	for (size_t i = 0; i < p->target_count; i++) {
		const struct capolicy_target *t = &p->targets[i];

		if ((strcmp(t->artifact, "ca-certificate") != 0) == crls &&
		    !add_target(places, t, names, label, e))
			return false;
	}
	return true;
}

static bool
add_scope(struct ca_places *places, const struct capolicy *p, size_t i,
    struct location_names *names, struct capolicy_scope_values *values, struct error *e)
{
	struct capolicy_scope scope;

	capolicy_scope(p, i, &scope);
	if (!capolicy_scope_values(p, &scope, names, values, e) ||
	    !ca_places_add_scope(places,
		&(struct ca_new_scope){.kind = capolicy_scope_kind_name(scope.kind),
		    .label = scope.label,
		    .shard = scope.shard,
		    .shards = scope.shards,
		    .idp = values->idp,
		    .freshest = values->freshest,
		    .published = values->published},
		e))
		return error_wrap(e, "CRLs of CA %s", names->ca);
	return add_targets(places, p, names, true, scope.label, e);
}

struct ca_places *
policy_places(const struct capolicy *policy, const struct location_names *names, struct error *e)
{
	struct capolicy_scope_values *values = malloc(sizeof *values);
	struct ca_places *places = ca_places_new(e);
	struct location_names n = *names;
	bool ok = false;

	if (values == NULL)
		(void)error_set_errno(e, ERROR_SYSTEM, "allocating the scopes of CA %s", n.ca);
	else if (places != NULL)
		ok = true;
	for (size_t i = 0; ok && i < capolicy_scope_count(policy); i++)
		ok = add_scope(places, policy, i, &n, values, e);
	n.partition = "";
	ok = ok && add_targets(places, policy, &n, false, NULL, e);
	free(values);
	if (ok)
		return places;
	ca_places_free(places);
	return NULL;
}
