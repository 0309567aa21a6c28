/* Rules for whom an issued certificate may name. */

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "daemon/x509/name.h"
#include "pkcs11/guard_int.h"

#define CN_TEXT_MAX 1024 /* bytes of a value that is looked at; 64 characters fit */

/* ---- subtrees, RFC 5280 4.2.1.10 */

static bool
same_text(struct bytes a, struct bytes b)
{
	return a.len == b.len &&
	       (a.len == 0 || strncasecmp((const char *)a.p, (const char *)b.p, a.len) == 0);
}

static struct bytes
tail(struct bytes b, size_t len)
{
	return (struct bytes){b.p + (b.len - len), len};
}

/* a.b.example is below .b.example; domain comes without its dot. */
static bool
is_below(struct bytes host, struct bytes domain)
{
	return host.len > domain.len + 1 && host.p[host.len - domain.len - 1] == '.' &&
	       same_text(tail(host, domain.len), domain);
}

static bool
dns_within(struct bytes name, struct bytes domain, bool wide)
{
	struct bytes base = name;

	if (domain.len == 0)
		return true;
	if (name.len > 2 && name.p[0] == '*' && name.p[1] == '.')
		base = tail(name, name.len - 2);
	if (same_text(base, domain) || is_below(base, domain))
		return true;
	/* A wildcard stands for one label, and so for a name in the subtree, too. */
	return wide && base.len != name.len && is_below(domain, base) &&
	       memchr(domain.p, '.', domain.len - base.len - 1) == NULL;
}

/* Cuts a mailbox at its last "@"; false when it is none. */
static bool
split_mailbox(struct bytes name, struct bytes *local, struct bytes *host)
{
	const uint8_t *at = name.len > 0 ? memrchr(name.p, '@', name.len) : NULL;

	if (at == NULL || at == name.p)
		return false;
	*local = (struct bytes){name.p, (size_t)(at - name.p)};
	*host = tail(name, name.len - local->len - 1);
	return host->len > 0;
}

static bool
email_within(const struct san *name, struct bytes area, bool wide)
{
	struct bytes local, host, area_local, area_host;

	if (area.len == 0)
		return true;
	/* From a subject it may be anything. */
	if (!san_check(name, NULL) || !split_mailbox(name->value, &local, &host))
		return wide;
	if (area.p[0] == '.')
		return is_below(host, tail(area, area.len - 1));
	if (!split_mailbox(area, &area_local, &area_host))
		return same_text(host, area);
	/* Local parts differ by case for RFC 5321 2.4, and for hardly any host. */
	return same_text(host, area_host) &&
	       (wide ? same_text(local, area_local) : bytes_equal(local, area_local));
}

/* The host of a URI (RFC 3986 3.2.2); false when it has none that is a name. */
static bool
uri_host(struct bytes uri, struct bytes *host)
{
	const uint8_t *p = memmem(uri.p, uri.len, "://", 3), *end, *at, *port;
	struct san name = {.type = SAN_DNS};
	struct in_addr v4;
	char text[16];

	/* The first colon ends the scheme. */
	if (p == NULL || memchr(uri.p, ':', uri.len) != p)
		return false;
	p += 3;
	for (end = p; end < uri.p + uri.len && strchr("/?#", *end) == NULL; end++)
		;
	at = memrchr(p, '@', (size_t)(end - p));
	if (at != NULL)
		p = at + 1;
	port = memchr(p, ':', (size_t)(end - p));
	*host = (struct bytes){p, (size_t)((port != NULL ? port : end) - p)};
	name.value = *host;
	if (!san_check(&name, NULL) || host->p[0] == '*')
		return false;
	if (host->len < sizeof text) {
		memcpy(text, host->p, host->len);
		text[host->len] = '\0';
		return inet_pton(AF_INET, text, &v4) != 1;
	}
	return true;
}

static bool
uri_within(struct bytes name, struct bytes area, bool wide)
{
	struct bytes host;

	if (area.len == 0)
		return true;
	if (!uri_host(name, &host))
		return wide;
	if (area.p[0] == '.')
		return is_below(host, tail(area, area.len - 1));
	return same_text(host, area);
}

static bool
in_network(const uint8_t *address, const struct limits_name *net)
{
	for (size_t i = 0; i < net->address_len; i++) {
		if ((address[i] & net->mask[i]) != (net->address[i] & net->mask[i]))
			return false;
	}
	return true;
}

/* An IPv4 address written as an IPv6 one (RFC 4291 2.5.5) is the same host to
 * many programs. */
static bool
ip_within(struct bytes address, const struct limits_name *net, bool wide)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint8_t long_form[16];

	if (address.len == net->address_len)
		return in_network(address.p, net);
	if (!wide)
		return false;
	if (address.len == 16)
		return memcmp(address.p, mapped, sizeof mapped) == 0 &&
		       in_network(address.p + sizeof mapped, net);
	memcpy(long_form, mapped, sizeof mapped);
	memcpy(long_form + sizeof mapped, address.p, 4);
	return in_network(long_form, net);
}

bool
guard_name_within(const struct san *name, const struct limits_name *subtree, bool wide)
{
	struct bytes area = {(const uint8_t *)subtree->text, strlen(subtree->text)};

	if (name->type != subtree->type)
		return false;
	switch (name->type) {
	case SAN_DNS:
		return dns_within(name->value, area, wide);
	case SAN_EMAIL:
		return email_within(name, area, wide);
	case SAN_URI:
		return uri_within(name->value, area, wide);
	case SAN_IP:
		return ip_within(name->value, subtree, wide);
	default:
		return false;
	}
}

/* ---- every name in a certificate */

typedef bool check_one(const struct guard_case *g, const struct san *name, struct error *why);

static bool
is_for_servers(const struct guard_case *g)
{
	struct bytes server;

	if (!oid_purpose_from_name("serverAuth", &server))
		return true;
	for (size_t i = 0; i < g->purpose_count; i++) {
		if (bytes_equal(g->purposes[i], server))
			return true;
	}
	return g->purpose_count == 0;
}

/*
 * Programs take a common name for a host's, or a mailbox, when there are no
 * alternative names, and some when there are: with a dot at its end, or blanks
 * around it. A word without a dot is a host's only where servers are meant.
 */
static bool
name_of_common_name(const struct guard_case *g, char *text, uint8_t address[16], struct san *name)
{
	size_t len = strlen(text);

	for (; len > 0 && (text[len - 1] == ' ' || text[len - 1] == '.'); len--)
		text[len - 1] = '\0';
	for (; *text == ' '; text++)
		len--;
	name->value = (struct bytes){(const uint8_t *)text, len};
	name->type = SAN_EMAIL;
	if (san_check(name, NULL))
		return true;
	name->type = SAN_DNS;
	if (inet_pton(AF_INET, text, address) == 1)
		*name = (struct san){SAN_IP, {address, 4}};
	else if (inet_pton(AF_INET6, text, address) == 1)
		*name = (struct san){SAN_IP, {address, 16}};
	else
		return san_check(name, NULL) &&
		       (memchr(text, '.', len) != NULL || is_for_servers(g));
	return true;
}

static bool
each_subject_name(const struct guard_case *g, check_one *check, struct error *why)
{
	char text[CN_TEXT_MAX];
	struct name_attribute a;
	struct name_iter it;
	struct san name;
	uint8_t address[16];
	const char *keyword;

	name_iter_init(&it, g->c.subject);
	while (name_iter_next(&it, &a)) {
		keyword = name_attribute_keyword(a.oid);
		if (keyword == NULL ||
		    (strcmp(keyword, "CN") != 0 && strcmp(keyword, "emailAddress") != 0))
			continue;
		if (!name_attribute_text(&a, text, sizeof text))
			return guard_no(why, "the subject's %s cannot be read", keyword);
		if (keyword[0] == 'e')
			name = (struct san){SAN_EMAIL, {(const uint8_t *)text, strlen(text)}};
		else if (!name_of_common_name(g, text, address, &name))
			continue;
		if (!check(g, &name, why))
			return false;
	}
	return true;
}

static bool
each_name(const struct guard_case *g, check_one *check, struct error *why)
{
	for (size_t i = 0; i < g->name_count; i++) {
		if (!check(g, &g->names[i], why))
			return false;
	}
	return each_subject_name(g, check, why);
}

static bool
refuse_name(const struct san *name, const char *words, struct error *why)
{
	char text[SAN_TEXT_MAX];

	return guard_no(why, "%.200s %s",
	    san_to_text(name, text, sizeof text) ? text : "an alternative name", words);
}

static bool
is_permitted(const struct guard_case *g, const struct san *name, struct error *why)
{
	bool restricted = false;

	for (size_t i = 0; i < g->l->permitted_count; i++) {
		if (g->l->permitted[i].type != name->type)
			continue;
		if (guard_name_within(name, &g->l->permitted[i], false))
			return true;
		restricted = true;
	}
	return !restricted ||
	       refuse_name(name, "is outside all names that the key's limits permit", why);
}

static bool
is_not_excluded(const struct guard_case *g, const struct san *name, struct error *why)
{
	for (size_t i = 0; i < g->l->excluded_count; i++) {
		if (guard_name_within(name, &g->l->excluded[i], true))
			return refuse_name(
			    name, "is, or may be, one that the key's limits exclude", why);
	}
	return true;
}

/* ---- the rules */

/* A subject of ours: characters, lengths; a CA has one, others a subject or an
 * alternative name. */
static bool
check_subject(struct guard_case *g, struct error *why)
{
	if (!name_check(g->c.subject, why))
		return false;
	if (!name_is_empty(g->c.subject))
		return true;
	if (g->c.ca)
		return guard_no(why, "the subject of a CA is empty");
	return g->name_count > 0 ||
	       guard_no(why, "it has neither a subject nor an alternative name");
}

/* Such a certificate passes for the CA's own, and counts in no path (RFC 5280
 * 6.1: self-issued). */
static bool
check_self_issued(struct guard_case *g, struct error *why)
{
	return !name_matches(g->c.subject, (struct bytes){g->l->subject, g->l->subject_len}) ||
	       guard_no(why, "its subject is the CA's own name");
}

/* Of names that limits cannot describe nothing is known but what a person saw. */
static bool
check_name_kinds(struct guard_case *g, struct error *why)
{
	if (g->r->statement.len > 0)
		return true;
	for (size_t i = 0; i < g->name_count; i++) {
		if (g->names[i].type == SAN_UNSUPPORTED)
			return guard_no(why,
			    "it has an alternative name that is none of dns, email, ip and uri: "
			    "that takes an operator's decision");
	}
	return true;
}

static bool
check_permitted(struct guard_case *g, struct error *why)
{
	return each_name(g, is_permitted, why);
}

static bool
check_excluded(struct guard_case *g, struct error *why)
{
	return each_name(g, is_not_excluded, why);
}

/* The limits bind all below this key, and only nameConstraints would bind what a
 * CA below it issues; no template writes them. */
static bool
check_names_below(struct guard_case *g, struct error *why)
{
	return !g->c.ca || (g->l->permitted_count == 0 && g->l->excluded_count == 0) ||
	       guard_no(why,
		   "the key's limits permit or exclude names, and nothing would hold a CA below it "
		   "to them");
}

static const struct guard_rule name_rules[] = {
    {"subject", "RFC 5280 4.1.2.6", check_subject, false},
    {"self-issued", "RFC 5280 6.1, 7.1", check_self_issued, false},
    {"name-kinds", "RFC 5280 4.2.1.6; limits, template", check_name_kinds, false},
    {"names-permitted", "RFC 5280 4.2.1.10; limits, permitted", check_permitted, false},
    {"names-excluded", "RFC 5280 4.2.1.10; limits, excluded", check_excluded, false},
    {"names-below", "RFC 5280 4.2.1.10; limits, permitted", check_names_below, false},
};

const struct guard_table guard_name_table = {
    "issued certificate", name_rules, COUNT_OF(name_rules)};
