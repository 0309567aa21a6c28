/* Where clients look: the locations of a CA policy. */

#include <string.h>
#include <strings.h>

#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/name.h"

#define DELTA_SUFFIX "+" /* that of AD CS */

/* What a list of locations is about. */
struct list {
	const char *word;
	unsigned flags; /* enum location_flag */
	struct location *locations;
	size_t *count;
};

void
capolicy_names(const struct capolicy *policy, const char *ca, struct location_names *names)
{
	*names = (struct location_names){
	    .server = policy->server,
	    .config_dn = policy->config_dn,
	    .ca = ca,
	    .delta_suffix = policy->delta_suffix,
	    .partition = "",
	};
}

void
capolicy_sample_names(const struct capolicy *policy, struct location_names *names)
{
	capolicy_names(policy, "ca", names);
	if (capolicy_scope_count(policy) > 1)
		names->partition = "~ca";
}

/* ---- one address */

static bool
check_scheme(const struct yaml_node *item, const char *text, const struct url *url,
    unsigned schemes, const char *schemes_text, struct error *err)
{
	if (url->scheme == URL_HTTPS || url->scheme == URL_LDAPS)
		return yaml_fail(item, err,
		    "'%.200s' has the scheme %s: to fetch it a client would have to verify a "
		    "certificate, for which it may need this very location (RFC 5280 8); what is "
		    "fetched is signed anyway; allowed: %s",
		    text, url_scheme_name(url->scheme), schemes_text);
	if ((url->scheme & schemes) == 0)
		return yaml_fail(item, err, "'%.200s' has the scheme %s; allowed here: %s", text,
		    url_scheme_name(url->scheme), schemes_text);
	return true;
}

/* What clients are to be told. attribute: of the artifact in a directory. */
static bool
check_address(const struct yaml_node *item, const char *text, bool ocsp, const char *attribute,
    struct error *err)
{
	const char *schemes_text = ocsp ? "http" : "http, ldap";
	struct error detail = ERROR_INIT;
	struct url url;

	if (strncasecmp(text, "file:", 5) == 0)
		return yaml_fail(item, err,
		    "'%.200s' is a file, which clients elsewhere cannot read; allowed: %s", text,
		    schemes_text);
	if (!url_parse(text, &url, &detail))
		return yaml_fail(item, err, "'%.200s' %s", text, detail.text);
	if (!check_scheme(
		item, text, &url, ocsp ? URL_HTTP : URL_HTTP | URL_LDAP, schemes_text, err))
		return false;
	if (url.scheme != URL_LDAP)
		return true;
	if (url.dn.len == 0 || !url_attribute_is(&url, attribute))
		return yaml_fail(item, err,
		    "'%.200s' must name an entry and the attribute, as ldap://HOST/DN?%s (RFC 5280 "
		    "4.2.1.13, 4.2.2.1)",
		    text, attribute);
	return url_check_dn(&url, &detail) ||
	       yaml_fail(item, err, "'%.200s' has a DN that does not parse (RFC 4514): %s", text,
		   detail.text);
}

/* The address as it would be; "" when nothing of this kind stands there. */
static bool
expand(const struct capolicy *p, const struct yaml_node *item, const struct location *l, bool delta,
    char text[LOCATION_URL_MAX + 1], struct error *err)
{
	struct error detail = ERROR_INIT;
	struct location_names names;

	text[0] = '\0';
	if ((l->flags & (delta ? LOCATION_DELTA_FLAGS : ~(unsigned)LOCATION_DELTA_FLAGS)) == 0)
		return true;
	capolicy_sample_names(p, &names);
	return location_expand(l->url, &names, delta, text, &detail) ||
	       yaml_fail(item, err, "'%.200s' %s", l->url, detail.text);
}

/* Each CRL has an address of its own. */
static bool
check_partition(const struct capolicy *p, const struct yaml_node *item, const struct location *l,
    struct error *err)
{
	return capolicy_scope_count(p) == 1 ||
	       (location_variables(l->url) & 1u << LOCATION_CRL_PARTITION_INDEX) != 0 ||
	       yaml_fail(item, err,
		   "'%.200s' would be the address of all %zu CRLs that 'crl' asks for: it needs %s",
		   l->url, capolicy_scope_count(p),
		   location_variable_name(LOCATION_CRL_PARTITION_INDEX));
}

static bool
check_location(const struct capolicy *p, const struct list *list, const struct yaml_node *item,
    const struct location *l, struct error *err)
{
	const unsigned placed = LOCATION_PUBLISH | LOCATION_PUBLISH_DELTA;
	char base[LOCATION_URL_MAX + 1], delta[LOCATION_URL_MAX + 1];
	bool cdp = list->locations == p->cdp;

	if (!expand(p, item, l, false, base, err) || !expand(p, item, l, true, delta, err))
		return false;
	if (base[0] != '\0' && (l->flags & LOCATION_BASE_FLAGS & ~placed) != 0 &&
	    !check_address(item, base, false,
		cdp ? "certificateRevocationList;binary" : "cACertificate;binary", err))
		return false;
	if ((l->flags & LOCATION_AS_OCSP) != 0 && !check_address(item, base, true, "", err))
		return false;
	if ((l->flags & LOCATION_DELTA_FLAGS & ~placed) != 0 &&
	    !check_address(item, delta, false, "deltaRevocationList;binary", err))
		return false;
	if (cdp && !check_partition(p, item, l, err))
		return false;
	if (base[0] != '\0' && strcmp(base, delta) == 0)
		return yaml_fail(item, err,
		    "'%.200s' is for complete and for delta CRLs, and both have one address: it "
		    "needs "
		    "%s; a delta must not stand where a complete CRL is expected",
		    l->url, location_variable_name(LOCATION_DELTA_CRL_ALLOWED));
	return true;
}

/* ---- flags */

static bool
read_flags(const struct list *list, struct yaml_map *map, unsigned *flags, struct error *err)
{
	const struct yaml_node *item;
	const char *name = NULL;
	struct yaml_list names;
	unsigned flag;
	char all[LOCATION_FLAGS_TEXT_MAX];

	if (!yaml_get_list(map, "flags", YAML_REQUIRED, 1, 8, &names, err))
		return false;
	while ((item = yaml_list_next(&names)) != NULL) {
		if (!yaml_node_string(item, &name, err))
			return false;
		flag = location_flag_from_name(name);
		if ((flag & list->flags) == 0) {
			location_flags_text(list->flags, all);
			return yaml_fail(item, err, "'%.80s' is no flag of '%s'; allowed: %s", name,
			    list->word, all);
		}
		if ((*flags & flag) != 0)
			return yaml_fail(item, err, "'%s' stands twice; allowed: once", name);
		*flags |= flag;
	}
	return true;
}

static bool
check_flags(const struct capolicy *p, struct yaml_map *map, unsigned flags, struct error *err)
{
	if ((flags & LOCATION_AS_OCSP) != 0 && flags != LOCATION_AS_OCSP)
		return yaml_fail_key(map, "flags", err,
		    "has as_ocsp and others; a responder is no place of a certificate");
	if ((flags & LOCATION_IN_IDP) != 0 && (flags & LOCATION_IN_CERTIFICATES) == 0)
		return yaml_fail_key(map, "flags", err,
		    "has in_idp without in_certificates: a client would find a name in the CRL "
		    "that "
		    "the certificate does not have (RFC 5280 6.3.3)");
	if ((flags & LOCATION_DELTA_FLAGS) != 0 && p->delta_period_s == 0)
		return yaml_fail_key(map, "flags", err,
		    "has a flag of delta CRLs, but 'crl' has no 'delta_period', so nothing will "
		    "ever be there");
	return true;
}

/* ---- lists */

/* No two locations may be one, and no client may find a delta in a complete CRL's
 * place: many take it for the whole list. */
static bool
check_neighbour(const struct capolicy *p, const struct yaml_node *item, const struct location *a,
    const struct location *b, struct error *err)
{
	char base[LOCATION_URL_MAX + 1], delta[LOCATION_URL_MAX + 1], text[LOCATION_URL_MAX + 1];

	if (!expand(p, item, a, false, base, err) || !expand(p, item, a, true, delta, err) ||
	    !expand(p, item, b, false, text, err))
		return false;
	if (text[0] != '\0' && strcmp(text, base) == 0)
		return yaml_fail(item, err, "'%.200s' stands twice; allowed: once", text);
	if (text[0] != '\0' && strcmp(text, delta) == 0)
		goto mixed;
	if (!expand(p, item, b, true, text, err))
		return false;
	if (text[0] != '\0' && strcmp(text, base) == 0)
		goto mixed;
	if (text[0] != '\0' && strcmp(text, delta) == 0)
		return yaml_fail(item, err, "'%.200s' stands twice; allowed: once", text);
	return true;
mixed:
	return yaml_fail(item, err,
	    "'%.200s' is the address of a complete CRL and of a delta CRL; a delta must not stand "
	    "where a complete CRL is expected",
	    text);
}

static bool
read_location(
    struct capolicy *p, const struct list *list, const struct yaml_node *item, struct error *err)
{
	struct location *l = &list->locations[*list->count];
	struct yaml_map map;

	if (!yaml_map_begin(item, &map, err) ||
	    !yaml_get_string(&map, "url", YAML_REQUIRED, &l->url, err) ||
	    !read_flags(list, &map, &l->flags, err) || !check_flags(p, &map, l->flags, err) ||
	    !check_location(p, list, item, l, err))
		return false;
	for (size_t i = 0; i < *list->count; i++)
		if (!check_neighbour(p, item, &list->locations[i], l, err))
			return false;
	if (!capolicy_publish_location(p, &map, l, list->word, *list->count + 1, err) ||
	    !yaml_map_end(&map, err))
		return false;
	++*list->count;
	return true;
}

static bool
read_list(struct capolicy *p, const struct list *list, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list items;

	if (!yaml_get_list(map, list->word, YAML_OPTIONAL, 0, CAPOLICY_URL_MAX, &items, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&items)) != NULL)
		if (!read_location(p, list, item, err))
			return false;
	return true;
}

/* ---- what variables stand for */

static bool
check_host(struct yaml_map *map, const char *host, struct error *err)
{
	size_t len = strlen(host);

	return (len > 0 && len <= 253 && host[0] != '.' && host[0] != '-' &&
		   strspn(
		       host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") ==
		       len) ||
	       yaml_fail_key(
		   map, "server", err, "'%.80s' is no DNS name of a host (RFC 1123 2.1)", host);
}

static bool
check_suffix(struct yaml_map *map, const char *suffix, struct error *err)
{
	size_t len = strlen(suffix);

	return (len > 0 && len <= LOCATION_SUFFIX_MAX &&
		   strspn(suffix,
		       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-_.~") ==
		       len) ||
	       yaml_fail_key(map, "delta_suffix", err,
		   "'%.80s' is not allowed; allowed: letters, digits, '+', '-', '_', '.' and '~', "
		   "1 to "
		   "%d",
		   suffix, LOCATION_SUFFIX_MAX);
}

static bool
read_values(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	struct error detail = ERROR_INIT;
	uint8_t der[sizeof p->subject_der];
	struct bytes name;

	if (yaml_get_string(map, "server", YAML_OPTIONAL, &p->server, err) &&
	    !check_host(map, p->server, err))
		return false;
	if (yaml_get_string(map, "config_dn", YAML_OPTIONAL, &p->config_dn, err) &&
	    !name_from_text(p->config_dn, der, sizeof der, &name, &detail))
		return yaml_fail_key(map, "config_dn", err, "%s", detail.text);
	if (yaml_get_string(map, "delta_suffix", YAML_OPTIONAL, &p->delta_suffix, err) &&
	    !check_suffix(map, p->delta_suffix, err))
		return false;
	(void)yaml_get_bool(map, "keep_old", YAML_OPTIONAL, &p->keep_old, err);
	return !error_is_set(err);
}

/* A CRL of some certificates says so, and some have nothing but their name. */
static bool
check_names(const struct capolicy *p, struct yaml_map *map, struct error *err)
{
	for (size_t i = 0; i < p->cdp_count; i++)
		if ((p->cdp[i].flags & LOCATION_IN_IDP) != 0)
			return true;
	if (p->reason_count > 0)
		return yaml_fail_key(map, "locations", err,
		    "has no location with in_idp, but 'crl.by_reasons' makes CRLs of some reasons: "
		    "a client finds them by the name that its certificate has for these reasons "
		    "(RFC 5280 4.2.1.13, 6.3.3)");
	return (p->crl_shards == 1 && p->attribute_count == 0) ||
	       yaml_fail_key(map, "locations", err,
		   "has no location with in_idp, but 'crl.%s' splits the CRL: without its name "
		   "in issuingDistributionPoint one part would pass for the whole list (RFC 5280 "
		   "5.2.5)",
		   p->crl_shards > 1 ? "shards" : "by_attribute");
}

bool
capolicy_read_locations(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	const struct list lists[] = {
	    {"cdp", LOCATION_CDP_FLAGS, p->cdp, &p->cdp_count},
	    {"aia", LOCATION_AIA_FLAGS, p->aia, &p->aia_count},
	};
	struct yaml_map child;

	p->delta_suffix = DELTA_SUFFIX;
	p->keep_old = true;
	if (!yaml_get_map(map, "locations", YAML_OPTIONAL, &child, err))
		return !error_is_set(err) && check_names(p, map, err);
	if (!read_values(p, &child, err))
		return false;
	for (size_t i = 0; i < COUNT_OF(lists); i++)
		if (!read_list(p, &lists[i], &child, err))
			return false;
	return yaml_map_end(&child, err) && check_names(p, map, err);
}

/* ---- the addresses */

static bool
list_urls(const struct location *locations, size_t count, enum location_flag flag,
    const struct location_names *names, struct capolicy_urls *urls, struct error *err)
{
	bool delta = (flag & LOCATION_DELTA_FLAGS) != 0;

	urls->count = 0;
	for (size_t i = 0; i < count; i++) {
		char *text = urls->text[urls->count];

		if ((locations[i].flags & (unsigned)flag) == 0)
			continue;
		if (!location_expand(locations[i].url, names, delta, text, err))
			return error_wrap(err, "the location '%.200s'", locations[i].url);
		urls->urls[urls->count++] = text;
	}
	return true;
}

bool
capolicy_cdp_urls(const struct capolicy *policy, enum location_flag flag,
    const struct location_names *names, struct capolicy_urls *urls, struct error *err)
{
	return list_urls(policy->cdp, policy->cdp_count, flag, names, urls, err);
}

bool
capolicy_aia_urls(const struct capolicy *policy, enum location_flag flag,
    const struct location_names *names, struct capolicy_urls *urls, struct error *err)
{
	return list_urls(policy->aia, policy->aia_count, flag, names, urls, err);
}
