#include "daemon/issuer/policy_places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCOPES_MAX 240 /* of one key; a signer's journal has room for 256 */
#define NAME_MAX_LEN (CAPOLICY_NAME_MAX + LOCATION_PARTITION_MAX + 16)

/* The entries of those who get certificates; their variables are of each certificate. */
static bool
add_entries(struct ca_places *places, const struct capolicy *p, struct error *e)
{
	for (size_t i = 0; i < p->entry_count; i++) {
		const struct capolicy_entry *entry = &p->entries[i];
		const struct capolicy_target *t = &entry->target;

		if (!ca_places_add_target(places,
			&(struct ca_target){.name = t->name,
			    .kind = t->kind,
			    .artifact = t->artifact,
			    .write = t->write,
			    .read = t->read,
			    .credential = t->credential,
			    .bind_dn = t->bind_dn,
			    .tls = t->tls,
			    .auth = t->auth,
			    .certificate = t->certificate,
			    .schema = t->schema,
			    .templates = entry->templates,
			    .template_count = entry->template_count,
			    .remove_revoked = entry->remove_revoked,
			    .remove_expired = entry->remove_expired},
			e))
			return false;
	}
	return true;
}

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
		.mode = t->mode,
		.group = t->group,
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

/* How scopes get their labels. */
struct labels {
	const struct ca_row *standing; /* those that stand; NULL: as the policy says, and ... */
	unsigned version;	       /* ... behind it "~v2"; 0: nothing */
};

static void
get_scope(const struct capolicy *p, size_t i, const struct labels *l, struct capolicy_scope *scope)
{
	size_t len;

	capolicy_scope(p, i, scope);
	len = strlen(scope->label);
	if (l->standing != NULL)
		memcpy(scope->label, l->standing->scopes[i].label, sizeof scope->label);
	else if (l->version > 0)
		(void)snprintf(scope->label + len, sizeof scope->label - len, "~v%u", l->version);
}

static bool
add_scope(struct ca_places *places, const struct capolicy *p, size_t i, const struct labels *labels,
    struct location_names *names, struct capolicy_scope_values *values, struct error *e)
{
	struct capolicy_scope scope, whole;

	get_scope(p, i, labels, &scope);
	get_scope(p, scope.whole, labels, &whole);
	if (!capolicy_scope_values(p, &scope, names, values, e) ||
	    !ca_places_add_scope(places,
		&(struct ca_new_scope){.kind = capolicy_scope_kind_name(scope.kind),
		    .attribute = scope.attribute,
		    .label = scope.label,
		    .whole = scope.reasons != 0 ? whole.label : NULL,
		    .reasons = scope.reasons,
		    .shard = scope.shard,
		    .shards = scope.shards,
		    .idp = values->idp,
		    .freshest = values->freshest,
		    .published = values->published},
		e))
		return error_wrap(e, "CRLs of CA %s", names->ca);
	return add_targets(places, p, names, true, scope.label, e);
}

static struct ca_places *
make_places(const struct capolicy *policy, const struct location_names *names,
    const struct labels *labels, struct error *e)
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
		ok = add_scope(places, policy, i, labels, &n, values, e);
	n.partition = "";
	ok = ok && add_targets(places, policy, &n, false, NULL, e) &&
	     add_entries(places, policy, e);
	free(values);
	if (ok)
		return places;
	ca_places_free(places);
	return NULL;
}

struct ca_places *
policy_places(const struct capolicy *policy, const struct location_names *names, struct error *e)
{
	return make_places(policy, names, &(struct labels){0}, e);
}

/* ---- a policy after another */

/* The same certificates under the same names. */
static bool
is_same_scope(const struct ca_row *row, const struct capolicy *old, const struct capolicy *fresh,
    size_t i, struct location_names *names, struct capolicy_scope_values *values, bool *same,
    struct error *e)
{
	struct location_names fresh_names = *names;
	struct capolicy_scope a, b;

	capolicy_names(fresh, row->name, &fresh_names);
	fresh_names.certificate_index = names->certificate_index;
	fresh_names.key_index = names->key_index;
	capolicy_scope(old, i, &a);
	capolicy_scope(fresh, i, &b);
	*same = a.kind == b.kind && a.shards == b.shards && a.reasons == b.reasons &&
		strcmp(a.attribute, b.attribute) == 0;
	memcpy(a.label, row->scopes[i].label, sizeof a.label);
	memcpy(b.label, row->scopes[i].label, sizeof b.label);
	if (!capolicy_scope_values(old, &a, names, &values[0], e) ||
	    !capolicy_scope_values(fresh, &b, &fresh_names, &values[1], e))
		return false;
	*same = *same && bytes_equal(values[0].idp, values[1].idp);
	return true;
}

static bool
are_same_scopes(const struct ca_row *row, const struct capolicy *old, const struct capolicy *fresh,
    struct location_names *names, bool *same, struct error *e)
{
	struct capolicy_scope_values *values = calloc(2, sizeof *values);
	bool ok = values != NULL;

	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "allocating the scopes of CA %s", row->name);
	*same = capolicy_scope_count(fresh) == row->scope_count &&
		capolicy_scope_count(old) == row->scope_count;
	for (size_t i = 0; ok && *same && i < row->scope_count; i++)
		ok = is_same_scope(row, old, fresh, i, names, values, same, e);
	free(values);
	return ok;
}

static bool
has_names(const struct capolicy *p)
{
	for (size_t i = 0; i < p->cdp_count; i++)
		if ((p->cdp[i].flags & LOCATION_IN_IDP) != 0)
			return true;
	return false;
}

/*
 * CRLs beside those that stand: each must have its own addresses. And where one has no
 * name in its issuingDistributionPoint it is about every certificate of the key, also
 * those that would stand in the other only (RFC 5280 5.2.5, 6.3.3).
 */
static bool
check_division(const struct ca_row *row, const struct capolicy *old, const struct capolicy *fresh,
    struct error *e)
{
	const unsigned needed = 1u << LOCATION_CRL_PARTITION_INDEX;
	const char *variable = location_variable_name(LOCATION_CRL_PARTITION_INDEX);

	if (row->scope_total + capolicy_scope_count(fresh) > SCOPES_MAX)
		return error_set(e, ERROR_CONFLICT,
		    "the key of CA %s has had %zu CRLs, and the policy asks for %zu others; a "
		    "signer "
		    "remembers the numbers of at most %d; renew the CA with a new key",
		    row->name, row->scope_total, capolicy_scope_count(fresh), SCOPES_MAX);
	if (row->issued && (!has_names(old) || !has_names(fresh)))
		return error_set(e, ERROR_CONFLICT,
		    "CA %s has issued, and its CRL %s no name in issuingDistributionPoint: a CRL "
		    "without one is about every certificate of the key, so there can be no other "
		    "beside it (RFC 5280 5.2.5); renew the CA with a new key, and with the policy",
		    row->name, has_names(old) ? "would have" : "has");
	for (size_t i = 0; i < fresh->cdp_count; i++)
		if ((location_variables(fresh->cdp[i].url) & needed) == 0)
			return error_set(e, ERROR_CONFLICT,
			    "the policy opens new CRLs beside those that CA %s has, and '%.200s' "
			    "could be the address of both: it needs %s",
			    row->name, fresh->cdp[i].url, variable);
	for (size_t i = 0; i < fresh->target_count; i++) {
		const struct capolicy_target *t = &fresh->targets[i];

		if (strcmp(t->artifact, "ca-certificate") != 0 && strcmp(t->kind, "command") != 0 &&
		    (location_variables(t->write) & needed) == 0)
			return error_set(e, ERROR_CONFLICT,
			    "the policy opens new CRLs beside those that CA %s has, and target %s "
			    "would be the place of both: it needs %s",
			    row->name, t->name, variable);
	}
	return true;
}

bool
policy_places_change(const struct ca_row *row, const struct capolicy *old,
    const struct capolicy *fresh, unsigned version, struct policy_change *change, struct error *e)
{
	struct location_names names;
	struct labels labels = {.standing = row};
	bool same = false;

	*change = (struct policy_change){.calendar = !capolicy_same_calendar(old, fresh)};
	capolicy_names(old, row->name, &names);
	names.certificate_index = row->certificate_index;
	names.key_index = row->key_index;
	if (!are_same_scopes(row, old, fresh, &names, &same, e))
		return false;
	if (!same) {
		if (!check_division(row, old, fresh, e))
			return false;
		labels = (struct labels){.version = version};
		change->divide = true;
	}
	capolicy_names(fresh, row->name, &names);
	names.certificate_index = row->certificate_index;
	names.key_index = row->key_index;
	change->places = make_places(fresh, &names, &labels, e);
	return change->places != NULL;
}
