/* The several CRLs of one key: which there are, and what tells them apart. */

#include <stdio.h>
#include <string.h>

#include "daemon/x509/capolicy.h"
#include "daemon/x509/extension.h"

static const char *const kind_names[] = {
    [SCOPE_ALL] = "all",
    [SCOPE_USER] = "user",
    [SCOPE_CA] = "ca",
};

const char *
capolicy_scope_kind_name(enum capolicy_scope_kind kind)
{
	return kind_names[kind];
}

size_t
capolicy_scope_count(const struct capolicy *policy)
{
	return (size_t)policy->crl_shards + policy->crl_by_kind;
}

static void
put_label(struct capolicy_scope *s)
{
	size_t len = 0;

	s->label[0] = '\0';
	if (s->kind != SCOPE_ALL)
		len = (size_t)snprintf(s->label, sizeof s->label, "~%s", kind_names[s->kind]);
	if (s->shards > 1)
		(void)snprintf(
		    s->label + len, sizeof s->label - len, "~%dof%d", s->shard + 1, s->shards);
}

void
capolicy_scope(const struct capolicy *policy, size_t i, struct capolicy_scope *scope)
{
	if (policy->crl_by_kind && i == (size_t)policy->crl_shards)
		*scope = (struct capolicy_scope){.kind = SCOPE_CA, .shards = 1};
	else
		*scope = (struct capolicy_scope){
		    .kind = policy->crl_by_kind ? SCOPE_USER : SCOPE_ALL,
		    .shard = (int)i,
		    .shards = policy->crl_shards,
		};
	put_label(scope);
}

size_t
capolicy_scope_choose(enum capolicy_scope_kind first, size_t count, bool ca, struct bytes serial)
{
	size_t shards = first == SCOPE_USER ? count - 1 : count, number = 0;

	if (first == SCOPE_USER && ca)
		return count - 1;
	for (size_t i = serial.len > 4 ? serial.len - 4 : 0; i < serial.len; i++)
		number = number << 8 | serial.p[i];
	return number % shards;
}

/* The value of the one extension that was added. */
static bool
take_value(struct extensions *x, struct bytes *value, struct error *err)
{
	struct extension_iter it;
	struct extension extension;

	*value = (struct bytes){0};
	if (!extensions_ok(x))
		return error_set(err, ERROR_LIMIT,
		    "the URLs of an extension of CRLs take more than %d octets",
		    CAPOLICY_SCOPE_VALUE_MAX);
	if (x->len == 0)
		return true;
	extension_iter_init(&it, extensions_result(x));
	if (!extension_iter_next(&it, &extension))
		return error_set(err, ERROR_INTERNAL, "an extension of CRLs is no extension");
	*value = extension.value;
	return true;
}

static bool
encode_idp(const struct capolicy *policy, const struct capolicy_scope *scope,
    const struct location_names *names, struct capolicy_scope_values *v, struct error *err)
{
	struct capolicy_urls urls;
	struct idp idp = {
	    .only_user = scope->kind == SCOPE_USER, .only_ca = scope->kind == SCOPE_CA};

	v->idp = (struct bytes){0};
	if (!capolicy_cdp_urls(policy, LOCATION_IN_IDP, names, &urls, err))
		return false;
	idp.urls = urls.urls;
	idp.url_count = urls.count;
	return (urls.count == 0 && scope->kind == SCOPE_ALL) ||
	       idp_encode(&idp, v->memory[0], sizeof v->memory[0], &v->idp, err);
}

bool
capolicy_scope_values(const struct capolicy *policy, const struct capolicy_scope *scope,
    struct location_names *names, struct capolicy_scope_values *values, struct error *err)
{
	struct capolicy_urls urls;
	struct extensions x;

	names->partition = scope->label;
	if (!encode_idp(policy, scope, names, values, err) ||
	    !capolicy_cdp_urls(policy, LOCATION_IN_FRESHEST, names, &urls, err))
		return false;
	extensions_init(&x, values->memory[1], sizeof values->memory[1]);
	extensions_add_freshest_crl(&x, urls.urls, urls.count);
	if (!take_value(&x, &values->freshest, err) ||
	    !capolicy_cdp_urls(policy, LOCATION_IN_CRL_PUBLISHED, names, &urls, err))
		return false;
	extensions_init(&x, values->memory[2], sizeof values->memory[2]);
	extensions_add_crl_published_locations(&x, urls.urls, urls.count);
	if (!take_value(&x, &values->published, err))
		return false;
	return values->idp.len + values->freshest.len + values->published.len <=
		   CAPOLICY_SCOPE_VALUE_MAX ||
	       error_set(err, ERROR_LIMIT, "the URLs of locations take more than %d octets in CRLs",
		   CAPOLICY_SCOPE_VALUE_MAX);
}
