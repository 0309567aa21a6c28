#ifndef CHANCERY_X509_CAPOLICY_INT_H
#define CHANCERY_X509_CAPOLICY_INT_H

/* What the files of the CA policy share. */

#include "daemon/x509/capolicy.h"

/* Schemes of URLs, as bits. */
enum url_scheme {
	URL_HTTP = 1 << 0,
	URL_HTTPS = 1 << 1,
	URL_LDAP = 1 << 2,
	URL_LDAPS = 1 << 3,
	URL_SFTP = 1 << 4,
};

struct url {
	enum url_scheme scheme;
	struct bytes host;	/* without brackets and port; empty only in ldap:///DN */
	struct bytes dn;	/* ldap: as written, percent-escapes and all; may be empty */
	struct bytes attribute; /* ldap: as written; may be empty */
};

/* Takes a URL apart: printable ASCII without space, scheme, host, well-formed
 * percent-escapes, no user name, no fragment; an LDAP URL (RFC 4516) has at
 * most one attribute, scope base and no extensions. ERROR_INPUT: what is wrong,
 * to stand behind "'URL': ". */
bool url_parse(const char *text, struct url *url, struct error *err) MUST_CHECK;

/* Of an LDAP URL behind its host (RFC 4516 2): what stands before the next '?', which is
 * passed over. */
struct bytes url_field(const char **at);
/* True for that word in any case. */
bool url_word_is(struct bytes field, const char *word);
/* The octet at text[*at], which moves behind it; percent-escapes are well-formed. */
char url_octet(struct bytes text, size_t *at);

/* "http", ... */
const char *url_scheme_name(enum url_scheme scheme);

/* True for "localhost", 127.0.0.0/8 and ::1: what goes there stays here. */
bool url_is_loopback(const struct url *url);

/* True when the LDAP attribute is wanted ("cACertificate;binary"), in any case. */
bool url_attribute_is(const struct url *url, const char *wanted);

/* 1 to CAPOLICY_NAME_MAX of letters, digits, '.', '_', '-', first not '.' or
 * '-': a name, never a path. */
bool capolicy_is_name(const char *s);

/* Whether it is a DN as RFC 4514 has it, percent-escapes and all. */
bool url_check_dn(const struct url *url, struct error *err) MUST_CHECK;

/* What the variables stand for while a policy is checked: no CA has a name yet. */
void capolicy_sample_names(const struct capolicy *policy, struct location_names *names);

/* 1 to CAPOLICY_WORD_MAX of a-z, 0-9, first a letter, and no word that labels of CRLs
 * have of themselves: "user", "ca", "v2". */
bool capolicy_is_word(const char *s);

/* Reads what certificates each CRL is about from `crl`. */
bool capolicy_read_division(
    struct capolicy *policy, struct yaml_map *crl, struct error *err) MUST_CHECK;

/* Reads `locations`; the calendar has been read. */
bool capolicy_read_locations(
    struct capolicy *policy, struct yaml_map *map, struct error *err) MUST_CHECK;

/* A location that says `publish` or `publish_delta`: adds its targets, whose options
 * stand in the location's own map. word: "cdp", "aia". */
bool capolicy_publish_location(struct capolicy *policy, struct yaml_map *map,
    const struct location *location, const char *word, size_t index, struct error *err) MUST_CHECK;

/* Reads `targets`; everything but `limits` has been read. */
bool capolicy_read_targets(
    struct capolicy *policy, struct yaml_map *map, struct error *err) MUST_CHECK;

/* Reads what a map says of how to write to a directory at url, into *t. */
bool capolicy_read_ldap_access(struct yaml_map *map, struct capolicy_target *t,
    const struct url *url, struct error *err) MUST_CHECK;

/* Reads `entries`; templates and targets have been read. */
bool capolicy_read_entries(
    struct capolicy *policy, struct yaml_map *map, struct error *err) MUST_CHECK;

/* Reads `limits`; kind and validity have been read. */
bool capolicy_read_limits(
    struct capolicy *policy, struct yaml_map *map, struct error *err) MUST_CHECK;

#endif
