#include "daemon/x509/capolicy.h"

#include <stdio.h>
#include <string.h>

#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/name.h"

/* ---- who the CA is */

static bool
read_subject(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	uint8_t buf[NAME_DER_MAX];
	struct error detail = ERROR_INIT;
	struct bytes der;

	if (!yaml_get_string(map, "subject", YAML_REQUIRED, &p->subject_text, err))
		return false;
	if (!name_from_text(p->subject_text, buf, sizeof buf, &der, &detail) ||
	    !name_check(der, &detail))
		return yaml_fail_key(map, "subject", err, "%s", detail.text);
	if (name_is_empty(der))
		return yaml_fail_key(
		    map, "subject", err, "is empty; a CA must have a name (RFC 5280 4.1.2.6)");
	if (der.len > sizeof p->subject_der)
		return yaml_fail_key(map, "subject", err, "takes %zu octets; allowed: at most %zu",
		    der.len, sizeof p->subject_der);
	memcpy(p->subject_der, der.p, der.len);
	p->subject = (struct bytes){p->subject_der, der.len};
	return true;
}

static bool
get_name(struct yaml_map *map, const char *key, const char **out, struct error *err)
{
	if (!yaml_get_string(map, key, YAML_REQUIRED, out, err))
		return false;
	if (!capolicy_is_name(*out))
		return yaml_fail_key(map, key, err,
		    "'%.80s' is not allowed; allowed: letters, digits, '.', '_' and '-', at most "
		    "%d, "
		    "first no '.' or '-'",
		    *out, CAPOLICY_NAME_MAX);
	return true;
}

static bool
read_key(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	static const char *const keys[] = {
	    "rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521", "ed25519"};
	static const char *const digests[] = {"sha256", "sha384", "sha512"};
	size_t key = 0, digest = 0;
	bool has_digest, pss = false;

	if (!yaml_get_enum(map, "key", YAML_REQUIRED, keys, COUNT_OF(keys), &key, err))
		return false;
	has_digest = yaml_get_enum(
	    map, "signature", YAML_OPTIONAL, digests, COUNT_OF(digests), &digest, err);
	(void)yaml_get_bool(map, "pss", YAML_OPTIONAL, &pss, err);
	if (error_is_set(err))
		return false;
	if (!key_alg_from_name(keys[key], &p->key_alg))
		return error_set(err, ERROR_INTERNAL, "key algorithm %s", keys[key]);
	if (pss && !key_alg_is_rsa(p->key_alg))
		return yaml_fail_key(
		    map, "pss", err, "is for RSA keys only (RFC 4055); 'key' is %s", keys[key]);
	if (!sig_alg_choose(p->key_alg, has_digest ? digests[digest] : NULL, pss, &p->sig_alg))
		return yaml_fail_key(map, "signature", err, "'%s' does not go with the key %s",
		    digests[digest], keys[key]);
	return true;
}

static bool
read_identity(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	static const char *const kinds[] = {"root", "subordinate"};
	int64_t path_length = -1;
	size_t kind = 0;

	if (!read_subject(p, map, err) ||
	    !yaml_get_enum(map, "kind", YAML_REQUIRED, kinds, COUNT_OF(kinds), &kind, err) ||
	    !get_name(map, "token", &p->token, err) || !read_key(p, map, err))
		return false;
	p->kind = kind == 0 ? CA_ROOT : CA_SUBORDINATE;
	(void)yaml_get_duration(map, "validity", p->kind == CA_ROOT ? YAML_REQUIRED : YAML_OPTIONAL,
	    3600, CAPOLICY_VALIDITY_MAX_S, &p->validity_s, err);
	(void)yaml_get_int(
	    map, "path_length", YAML_OPTIONAL, 0, CAPOLICY_PATH_LENGTH_MAX, &path_length, err);
	p->path_length = (int)path_length;
	return !error_is_set(err);
}

/* ---- what it issues */

static bool
read_templates(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	const char *name = NULL;

	if (!yaml_get_list(map, "templates", YAML_OPTIONAL, 0, CAPOLICY_TEMPLATE_MAX, &list, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_string(item, &name, err))
			return false;
		if (!capolicy_is_name(name))
			return yaml_fail(item, err, "'%.80s' is no name of a template", name);
		if (capolicy_allows_template(p, name))
			return yaml_fail(item, err, "'%s' stands twice; allowed: once", name);
		p->templates[p->template_count++] = name;
	}
	return true;
}

static bool
read_policy(struct capolicy *p, const struct yaml_node *item, struct error *err)
{
	struct policy *policy = &p->policies[p->policy_count];
	struct error detail = ERROR_INIT;
	const char *oid = NULL;
	struct yaml_map map;
	struct url url;

	if (!yaml_map_begin(item, &map, err))
		return false;
	if (yaml_get_string(&map, "oid", YAML_REQUIRED, &oid, err) &&
	    !oid_from_text(oid, p->policy_oids[p->policy_count], &policy->oid, &detail))
		return yaml_fail_key(&map, "oid", err, "%s", detail.text);
	if (yaml_get_string(&map, "cps", YAML_OPTIONAL, &policy->cps, err)) {
		if (!url_parse(policy->cps, &url, &detail))
			return yaml_fail_key(
			    &map, "cps", err, "'%.200s' %s", policy->cps, detail.text);
		if ((url.scheme & (URL_HTTP | URL_HTTPS)) == 0)
			return yaml_fail_key(&map, "cps", err,
			    "'%.200s' has the scheme %s; allowed here: http, https", policy->cps,
			    url_scheme_name(url.scheme));
	}
	if (!yaml_map_end(&map, err))
		return false;
	for (size_t i = 0; i < p->policy_count; i++)
		if (bytes_equal(p->policies[i].oid, policy->oid))
			return yaml_fail(
			    item, err, "the policy %s stands twice (RFC 5280 4.2.1.4)", oid);
	p->policy_count++;
	return true;
}

static bool
read_policies(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;

	if (yaml_get_list(map, "policies", YAML_OPTIONAL, 1, CAPOLICY_POLICY_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_policy(p, item, err))
				return false;
	return !error_is_set(err);
}

/* ---- its CRLs */

/* A key that was compromised is at least as urgent as any other. */
static bool
read_on_revocation(struct capolicy *p, struct yaml_map *crl, struct error *err)
{
	const int64_t max = CAPOLICY_ON_REVOCATION_MAX_S;

	p->on_revocation_s = p->on_compromise_s = -1;
	if (yaml_get_duration(
		crl, "on_revocation", YAML_OPTIONAL, 0, max, &p->on_revocation_s, err))
		p->on_compromise_s = p->on_revocation_s;
	(void)yaml_get_duration(
	    crl, "on_compromise", YAML_OPTIONAL, 0, max, &p->on_compromise_s, err);
	if (error_is_set(err))
		return false;
	return p->on_revocation_s < 0 || p->on_compromise_s <= p->on_revocation_s ||
	       yaml_fail_key(crl, "on_compromise", err, "is longer than 'on_revocation'");
}

/* "02:00", or with a day of the week before it: "sunday 02:00". */
static bool
parse_align(const char *text, int64_t *unit_s, int64_t *offset_s)
{
	static const char *const days[] = {
	    "thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday"};
	const int64_t day_s = 86400;
	int64_t day = 0, hour, minute;
	const char *space = strchr(text, ' ');

	*unit_s = day_s;
	if (space != NULL) {
		size_t len = (size_t)(space - text);

		/* 1970 began on a Thursday. */
		while (day < (int64_t)COUNT_OF(days) &&
		       (strlen(days[day]) != len || strncmp(days[day], text, len) != 0))
			day++;
		if (day == (int64_t)COUNT_OF(days))
			return false;
		*unit_s = 7 * day_s;
		text = space + 1;
	}
	if (strlen(text) != 5 || text[2] != ':' || strspn(text, "0123456789") != 2 ||
	    strspn(text + 3, "0123456789") != 2)
		return false;
	hour = (text[0] - '0') * 10 + (text[1] - '0');
	minute = (text[3] - '0') * 10 + (text[4] - '0');
	*offset_s = day * day_s + hour * 3600 + minute * 60;
	return hour <= 23 && minute <= 59;
}

static bool
read_align(struct capolicy *p, struct yaml_map *crl, struct error *err)
{
	const char *text;

	if (!yaml_get_string(crl, "align", YAML_OPTIONAL, &text, err))
		return !error_is_set(err);
	if (!parse_align(text, &p->align_unit_s, &p->align_offset_s))
		return yaml_fail_key(crl, "align", err,
		    "'%.80s' is no time; allowed: \"HH:MM\" (UTC), or with a day of the week "
		    "before it, as in \"sunday 02:00\"",
		    text);
	return p->crl_period_s % p->align_unit_s == 0 || p->align_unit_s % p->crl_period_s == 0 ||
	       yaml_fail_key(crl, "align", err,
		   "does not go with 'period', which must be whole %s or divide one",
		   p->align_unit_s > 86400 ? "weeks" : "days");
}

/* It must leave time to bring the next one to the clients. */
static bool
check_jitter(const struct capolicy *p, struct yaml_map *crl, struct error *err)
{
	int64_t overlap_s = p->crl_overlap_s;

	if (p->delta_period_s > 0 && p->delta_overlap_s < overlap_s)
		overlap_s = p->delta_overlap_s;
	return p->crl_jitter_s <= overlap_s / 2 ||
	       yaml_fail_key(crl, "jitter", err, "is longer than half of the shortest overlap");
}

static bool
read_crl(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	const int64_t min = CAPOLICY_PERIOD_MIN_S, max = CAPOLICY_PERIOD_MAX_S;
	struct yaml_map crl;
	bool delta;

	if (!yaml_get_map(map, "crl", YAML_REQUIRED, &crl, err))
		return false;
	if (!capolicy_read_division(p, &crl, err))
		return false;
	(void)yaml_get_bool(
	    &crl, "expired_certificates", YAML_OPTIONAL, &p->expired_certificates, err);
	(void)yaml_get_duration(&crl, "period", YAML_REQUIRED, min, max, &p->crl_period_s, err);
	(void)yaml_get_duration(&crl, "overlap", YAML_REQUIRED, 1, max, &p->crl_overlap_s, err);
	delta = yaml_get_duration(
	    &crl, "delta_period", YAML_OPTIONAL, min, max, &p->delta_period_s, err);
	(void)yaml_get_duration(&crl, "delta_overlap", delta ? YAML_REQUIRED : YAML_OPTIONAL, 1,
	    max, &p->delta_overlap_s, err);
	(void)yaml_get_duration(&crl, "jitter", YAML_OPTIONAL, 0, max, &p->crl_jitter_s, err);
	if (!read_on_revocation(p, &crl, err) || !read_align(p, &crl, err) ||
	    !yaml_map_end(&crl, err) || !check_jitter(p, &crl, err))
		return false;
	if (p->crl_overlap_s >= p->crl_period_s)
		return yaml_fail_key(&crl, "overlap", err, "is not shorter than 'period'");
	if (!delta)
		return p->delta_overlap_s == 0 ||
		       yaml_fail_key(&crl, "delta_overlap", err, "is given without 'delta_period'");
	if (p->delta_period_s >= p->crl_period_s)
		return yaml_fail_key(&crl, "delta_period", err,
		    "is not shorter than 'period'; a delta bridges the time between two complete "
		    "CRLs");
	if (p->delta_overlap_s >= p->delta_period_s)
		return yaml_fail_key(
		    &crl, "delta_overlap", err, "is not shorter than 'delta_period'");
	return true;
}

bool
capolicy_parse(
    const char *text, size_t len, const char *source, struct capolicy *policy, struct error *err)
{
	struct yaml_map map;

	memset(policy, 0, sizeof *policy);
	if (len > CAPOLICY_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, "%s:1:1: %zu bytes; allowed: at most %d", source,
		    len, CAPOLICY_TEXT_MAX);
	if (yaml_doc_load(text, len, source, &policy->doc, err) &&
	    yaml_map_begin(yaml_doc_root(policy->doc), &map, err) &&
	    read_identity(policy, &map, err) && read_templates(policy, &map, err) &&
	    read_policies(policy, &map, err) && read_crl(policy, &map, err) &&
	    capolicy_read_locations(policy, &map, err) &&
	    capolicy_read_targets(policy, &map, err) && capolicy_read_entries(policy, &map, err) &&
	    capolicy_read_limits(policy, &map, err) && yaml_map_end(&map, err))
		return true;
	capolicy_free(policy);
	return false;
}

void
capolicy_free(struct capolicy *policy)
{
	yaml_doc_free(policy->doc);
	memset(policy, 0, sizeof *policy);
}

bool
capolicy_same_calendar(const struct capolicy *a, const struct capolicy *b)
{
	return a->align_unit_s == b->align_unit_s && a->align_offset_s == b->align_offset_s &&
	       a->crl_jitter_s == b->crl_jitter_s && a->crl_period_s == b->crl_period_s &&
	       a->crl_overlap_s == b->crl_overlap_s && a->delta_period_s == b->delta_period_s &&
	       a->delta_overlap_s == b->delta_overlap_s;
}

bool
capolicy_allows_template(const struct capolicy *policy, const char *name)
{
	for (size_t i = 0; i < policy->template_count; i++)
		if (strcmp(policy->templates[i], name) == 0)
			return true;
	return false;
}
