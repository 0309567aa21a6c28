/* The several CRLs of one key: which there are, and what tells them apart. */

#include <stdio.h>
#include <string.h>

#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/crl.h"
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
capolicy_part_count(const struct capolicy *policy)
{
	return (size_t)policy->crl_shards * (policy->attribute_count + 1) + policy->crl_by_kind;
}

size_t
capolicy_scope_count(const struct capolicy *policy)
{
	return capolicy_part_count(policy) * (policy->reason_count + 1);
}

size_t
capolicy_scope_of_reasons(const struct capolicy *policy, size_t part, size_t set)
{
	return capolicy_part_count(policy) + part * policy->reason_count + set;
}

static void
add_word(struct capolicy_scope *s, const char *word)
{
	size_t len = strlen(s->label);

	(void)snprintf(s->label + len, sizeof s->label - len, "~%s", word);
}

static void
put_label(struct capolicy_scope *s, const char *reasons)
{
	char shard[32];

	s->label[0] = '\0';
	if (s->kind != SCOPE_ALL)
		add_word(s, kind_names[s->kind]);
	if (*s->attribute != '\0')
		add_word(s, s->attribute);
	if (s->shards > 1) {
		(void)snprintf(shard, sizeof shard, "%dof%d", s->shard + 1, s->shards);
		add_word(s, shard);
	}
	if (reasons != NULL)
		add_word(s, reasons);
}

void
capolicy_scope(const struct capolicy *policy, size_t i, struct capolicy_scope *scope)
{
	size_t parts = capolicy_part_count(policy), shards = (size_t)policy->crl_shards;
	const struct capolicy_reasons *set = NULL;
	size_t part = i;

	if (i >= parts) {
		part = (i - parts) / policy->reason_count;
		set = &policy->reasons[(i - parts) % policy->reason_count];
	}
	if (policy->crl_by_kind && part == parts - 1)
		*scope = (struct capolicy_scope){.kind = SCOPE_CA, .attribute = "", .shards = 1};
	else
		*scope = (struct capolicy_scope){
		    .kind = policy->crl_by_kind ? SCOPE_USER : SCOPE_ALL,
		    .attribute = part < shards ? "" : policy->attributes[part / shards - 1],
		    .shard = (int)(part % shards),
		    .shards = policy->crl_shards,
		};
	scope->whole = part;
	scope->reasons = set != NULL ? set->reasons : 0;
	put_label(scope, set != NULL ? set->name : NULL);
}

bool
capolicy_same_division(const struct capolicy *a, const struct capolicy *b)
{
	struct capolicy_scope x, y;

	if (capolicy_scope_count(a) != capolicy_scope_count(b))
		return false;
	for (size_t i = 0; i < capolicy_scope_count(a); i++) {
		capolicy_scope(a, i, &x);
		capolicy_scope(b, i, &y);
		if (strcmp(x.label, y.label) != 0 || x.reasons != y.reasons)
			return false;
	}
	return true;
}

size_t
capolicy_scope_choose(
    const struct capolicy *policy, bool ca, const char *attribute, struct bytes serial)
{
	size_t shards = (size_t)policy->crl_shards, number = 0, row = 0;

	if (policy->crl_by_kind && ca)
		return capolicy_part_count(policy) - 1;
	for (size_t i = 0; i < policy->attribute_count; i++)
		if (strcmp(policy->attributes[i], attribute) == 0)
			row = i + 1;
	for (size_t i = serial.len > 4 ? serial.len - 4 : 0; i < serial.len; i++)
		number = number << 8 | serial.p[i];
	return row * shards + number % shards;
}

/* ---- from the policy's text */

bool
capolicy_is_word(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= CAPOLICY_WORD_MAX && s[0] >= 'a' && s[0] <= 'z' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") == len &&
	       strcmp(s, kind_names[SCOPE_USER]) != 0 && strcmp(s, kind_names[SCOPE_CA]) != 0 &&
	       (s[0] != 'v' || strspn(s + 1, "0123456789") != len - 1);
}

static bool
check_word(
    const struct capolicy *p, const struct yaml_node *item, const char *word, struct error *err)
{
	if (!capolicy_is_word(word))
		return yaml_fail(item, err,
		    "'%.60s' is not allowed; allowed: a letter a-z, then letters and digits, at "
		    "most %d, but not 'user', 'ca' or 'v' with a number",
		    word, CAPOLICY_WORD_MAX);
	for (size_t i = 0; i < p->attribute_count; i++)
		if (strcmp(p->attributes[i], word) == 0)
			return yaml_fail(item, err, "'%s' stands twice; allowed: once", word);
	for (size_t i = 0; i < p->reason_count; i++)
		if (strcmp(p->reasons[i].name, word) == 0)
			return yaml_fail(item, err, "'%s' stands twice; allowed: once", word);
	return true;
}

static bool
read_attributes(struct capolicy *p, struct yaml_map *crl, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	const char *word = NULL;

	if (!yaml_get_list(
		crl, "by_attribute", YAML_OPTIONAL, 1, CAPOLICY_ATTRIBUTE_MAX, &list, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_string(item, &word, err) || !check_word(p, item, word, err))
			return false;
		p->attributes[p->attribute_count++] = word;
	}
	return true;
}

static bool
read_reason(const struct yaml_node *item, unsigned *set, struct error *err)
{
	enum crl_reason reason;
	const char *word = NULL;

	if (!yaml_node_string(item, &word, err))
		return false;
	if (!crl_reason_from_name(word, &reason) || !REASONS_VALID(1u << reason))
		return yaml_fail(item, err,
		    "'%.60s' is no reason that a CRL can be about; allowed: keyCompromise, "
		    "cACompromise, affiliationChanged, superseded, cessationOfOperation, "
		    "certificateHold, privilegeWithdrawn, aACompromise (RFC 5280 4.2.1.13, 5.2.5)",
		    word);
	if ((*set & 1u << reason) != 0)
		return yaml_fail(item, err, "'%s' stands twice; allowed: once", word);
	*set |= 1u << reason;
	return true;
}

static bool
read_reason_set(struct capolicy *p, const struct yaml_node *item, struct error *err)
{
	struct capolicy_reasons *set = &p->reasons[p->reason_count];
	const struct yaml_node *reason;
	struct yaml_list list;
	struct yaml_map map;

	if (!yaml_map_begin(item, &map, err) ||
	    !yaml_get_string(&map, "name", YAML_REQUIRED, &set->name, err) ||
	    !check_word(p, item, set->name, err) ||
	    !yaml_get_list(&map, "reasons", YAML_REQUIRED, 1, 9, &list, err))
		return false;
	while ((reason = yaml_list_next(&list)) != NULL)
		if (!read_reason(reason, &set->reasons, err))
			return false;
	if (set->reasons == REASONS_ALL)
		return yaml_fail_key(&map, "reasons", err,
		    "has all reasons: the CRL for all of them is there anyway, and does not say "
		    "onlySomeReasons (RFC 5280 5.2.5)");
	for (size_t i = 0; i < p->reason_count; i++)
		if (p->reasons[i].reasons == set->reasons)
			return yaml_fail_key(
			    &map, "reasons", err, "are those of '%s', too", p->reasons[i].name);
	p->reason_count++;
	return yaml_map_end(&map, err);
}

bool
capolicy_read_division(struct capolicy *p, struct yaml_map *crl, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	int64_t shards = 1;

	(void)yaml_get_bool(crl, "by_kind", YAML_OPTIONAL, &p->crl_by_kind, err);
	(void)yaml_get_int(crl, "shards", YAML_OPTIONAL, 1, CAPOLICY_SHARD_MAX, &shards, err);
	p->crl_shards = (int)shards;
	if (error_is_set(err) || !read_attributes(p, crl, err))
		return false;
	if (yaml_get_list(crl, "by_reasons", YAML_OPTIONAL, 1, CAPOLICY_REASON_SET_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_reason_set(p, item, err))
				return false;
	if (error_is_set(err))
		return false;
	return capolicy_scope_count(p) <= CAPOLICY_SCOPE_MAX ||
	       yaml_fail_key(crl, "shards", err,
		   "times kinds, attributes and reasons makes %zu CRLs; allowed: at most %d",
		   capolicy_scope_count(p), CAPOLICY_SCOPE_MAX);
}

/* ---- what their extensions hold */

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
	struct idp idp = {.only_user = scope->kind == SCOPE_USER,
	    .only_ca = scope->kind == SCOPE_CA,
	    .only_reasons = scope->reasons};

	v->idp = (struct bytes){0};
	if (!capolicy_cdp_urls(policy, LOCATION_IN_IDP, names, &urls, err))
		return false;
	idp.urls = urls.urls;
	idp.url_count = urls.count;
	return (urls.count == 0 && scope->kind == SCOPE_ALL && scope->reasons == 0) ||
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
	extensions_add_freshest_crl(
	    &x, &(struct distribution_point){.urls = urls.urls, .url_count = urls.count}, 1);
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
