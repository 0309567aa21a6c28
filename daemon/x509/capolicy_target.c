/* Publication targets of a CA policy: artifact, kind of place, and addresses. */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/x509/capolicy_int.h"

#define FILE_SCHEME "file://"

enum artifact_index {
	CERTIFICATE,
	CRL,
	DELTA,
};

enum ldap_auth_index {
	LDAP_AUTH_SIMPLE,
	LDAP_AUTH_GSSAPI,
};

enum place_index {
	PLACE_FILE,
	PLACE_HTTP,
	PLACE_LDAP,
	PLACE_SFTP,
	PLACE_COMMAND,
};

static const char *const artifact_words[] = {"ca-certificate", "crl", "delta-crl"};
static const char *const kind_words[] = {"file", "http", "ldap", "sftp", "command"};
static const char *const tls_words[] = {"none", "starttls", "ldaps"};
static const char *const http_auth_words[] = {"basic", "bearer", "aws-sigv4"};
static const char *const sftp_auth_words[] = {"key", "password"};
static const char *const ldap_auth_words[] = {"simple", "gssapi"};
static const char *const schema_words[] = {"rfc4523", "ad"};

/* RFC 4523 2: these syntaxes travel in binary. */
static const char *const attributes[] = {
    [CERTIFICATE] = "cACertificate;binary",
    [CRL] = "certificateRevocationList;binary",
    [DELTA] = "deltaRevocationList;binary",
};

static const char *const bare_attributes[] = {
    [CERTIFICATE] = "cACertificate",
    [CRL] = "certificateRevocationList",
    [DELTA] = "deltaRevocationList",
};

bool
capolicy_is_name(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= CAPOLICY_NAME_MAX && s[0] != '.' && s[0] != '-' &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
		   len;
}

static bool
get_name(
    struct yaml_map *map, const char *key, enum yaml_need need, const char **out, struct error *err)
{
	if (!yaml_get_string(map, key, need, out, err))
		return false;
	if (!capolicy_is_name(*out))
		return yaml_fail_key(map, key, err,
		    "'%.80s' is not allowed; allowed: letters, digits, '.', '_' and '-', at most "
		    "%d, "
		    "first no '.' or '-'; a name, not a path",
		    *out, CAPOLICY_NAME_MAX);
	return true;
}

/* ---- places */

/* An absolute path without empty, "." or ".." parts, to a file. */
static bool
is_file_path(const char *path)
{
	size_t len = strlen(path), part;

	if (path[0] != '/' || len < 2 || len > CAPOLICY_PATH_MAX)
		return false;
	for (const char *p = path; *p != '\0'; p += part) {
		p++;
		part = strcspn(p, "/");
		if (part == 0 || (part == 1 && p[0] == '.') ||
		    (part == 2 && p[0] == '.' && p[1] == '.'))
			return false;
	}
	for (const char *p = path; *p != '\0'; p++)
		if (*p <= 0x20 || *p >= 0x7f)
			return false;
	return true;
}

static bool
check_path(struct yaml_map *map, const char *key, const char *path, struct error *err)
{
	return is_file_path(path) || yaml_fail_key(map, key, err,
					 "'%.200s' is no path; allowed: an absolute path of a "
					 "file, without '.', '..' and empty "
					 "parts, blanks and non-ASCII characters, at most %d bytes",
					 path, CAPOLICY_PATH_MAX);
}

static bool
check_ldap(struct yaml_map *map, const char *key, const char *text, const struct url *url,
    size_t artifact, struct error *err)
{
	if (url->dn.len == 0)
		return yaml_fail_key(map, key, err, "'%.200s' names no entry (DN)", text);
	if (url->host.len == 0)
		return yaml_fail_key(map, key, err, "'%.200s' names no server", text);
	/* Active Directory's own URLs have no ";binary". */
	if (!url_attribute_is(url, attributes[artifact]) &&
	    !(yaml_has(map, "schema") && url_attribute_is(url, bare_attributes[artifact])))
		return yaml_fail_key(map, key, err,
		    "'%.200s' does not name the attribute of this artifact; a %s stands in '?%s' "
		    "(RFC "
		    "4523)",
		    text, artifact_words[artifact], attributes[artifact]);
	return true;
}

static bool
check_url(struct yaml_map *map, const char *key, const char *text, unsigned allowed,
    const char *allowed_text, size_t artifact, struct url *url, struct error *err)
{
	struct error detail = ERROR_INIT;

	if (!url_parse(text, url, &detail))
		return yaml_fail_key(map, key, err, "'%.200s' %s", text, detail.text);
	if ((url->scheme & allowed) == 0)
		return yaml_fail_key(map, key, err, "'%.200s' has the scheme %s; allowed here: %s",
		    text, url_scheme_name(url->scheme), allowed_text);
	if ((url->scheme & (URL_LDAP | URL_LDAPS)) != 0)
		return check_ldap(map, key, text, url, artifact, err);
	return true;
}

/* A template of an address, as it would be for a CA of some name. */
static bool
expand(const struct capolicy *policy, struct yaml_map *map, const char *key, const char *text,
    bool delta, char out[LOCATION_URL_MAX + 1], struct error *err)
{
	struct error detail = ERROR_INIT;
	struct location_names names;

	capolicy_sample_names(policy, &names);
	return location_expand(text, &names, delta, out, &detail) ||
	       yaml_fail_key(map, key, err, "'%.200s' %s", text, detail.text);
}

static bool
check_write(const struct capolicy *policy, struct yaml_map *map, const char *key,
    const struct capolicy_target *t, size_t artifact, size_t kind, struct url *url,
    char text[LOCATION_URL_MAX + 1], struct error *err)
{
	if (!expand(policy, map, key, t->write, artifact == DELTA, text, err))
		return false;
	switch (kind) {
	case PLACE_FILE:
		return check_path(map, key, text, err);
	case PLACE_HTTP:
		return check_url(
		    map, key, text, URL_HTTP | URL_HTTPS, "http, https", artifact, url, err);
	case PLACE_SFTP:
		return check_url(map, key, text, URL_SFTP, "sftp", artifact, url, err) &&
		       (text[strlen(text) - 1] != '/' ||
			   yaml_fail_key(
			       map, key, err, "'%.200s' names a folder, not a file", text));
	case PLACE_COMMAND:
		return capolicy_is_name(text) ||
		       yaml_fail_key(map, key, err,
			   "'%.80s' is no name of a program in issuer.commands_dir; allowed: "
			   "letters, digits, '.', '_' and '-', at most %d, first no '.' or '-'",
			   text, CAPOLICY_NAME_MAX);
	default:
		return check_url(
		    map, key, text, URL_LDAP | URL_LDAPS, "ldap, ldaps", artifact, url, err);
	}
}

/* Where clients look; for a file also the file itself. */
static bool
check_read(const struct capolicy *policy, struct yaml_map *map, const char *key,
    const struct capolicy_target *t, size_t artifact, size_t kind, struct error *err)
{
	char text[LOCATION_URL_MAX + 1];
	struct url url;

	if (!expand(policy, map, key, t->read, artifact == DELTA, text, err))
		return false;
	if (kind == PLACE_FILE && text[0] == '/')
		return check_path(map, key, text, err);
	return check_url(map, key, text, URL_HTTP | URL_HTTPS | URL_LDAP | URL_LDAPS,
	    "http, https, ldap, ldaps", artifact, &url, err);
}

/* ---- secrets */

static bool
is_encrypted(const struct capolicy_target *t, const struct url *url)
{
	return url->scheme == URL_HTTPS || url->scheme == URL_LDAPS || url->scheme == URL_SFTP ||
	       (t->tls != NULL && strcmp(t->tls, "none") != 0);
}

/* The ticket says who we are. */
static bool
check_gssapi(struct yaml_map *map, const struct capolicy_target *t, struct error *err)
{
	if (t->bind_dn != NULL)
		return yaml_fail_key(map, "bind_dn", err,
		    "is not for 'auth: gssapi': the principal of the Kerberos ticket is who "
		    "writes");
	return t->credential != NULL || yaml_fail_key(map, "auth", err,
					    "is gssapi and needs 'credential', the name of a "
					    "keytab or a cache of tickets");
}

static bool
read_ldap_options(
    struct yaml_map *map, struct capolicy_target *t, const struct url *url, struct error *err)
{
	size_t tls = 0, schema = 0, auth = 0;

	(void)yaml_get_enum(
	    map, "schema", YAML_OPTIONAL, schema_words, COUNT_OF(schema_words), &schema, err);
	t->schema = schema_words[schema];
	(void)yaml_get_enum(map, "tls", YAML_OPTIONAL, tls_words, COUNT_OF(tls_words), &tls, err);
	(void)yaml_get_string(map, "bind_dn", YAML_OPTIONAL, &t->bind_dn, err);
	(void)yaml_get_enum(
	    map, "auth", YAML_OPTIONAL, ldap_auth_words, COUNT_OF(ldap_auth_words), &auth, err);
	if (error_is_set(err))
		return false;
	if (auth == LDAP_AUTH_GSSAPI)
		t->auth = ldap_auth_words[auth];
	t->tls = tls_words[tls];
	if (url->scheme == URL_LDAPS && strcmp(t->tls, "starttls") == 0)
		return yaml_fail_key(
		    map, "tls", err, "StartTLS begins on ldap://, but 'write' is ldaps://");
	if (t->certificate != NULL && (t->bind_dn != NULL || t->credential != NULL))
		return yaml_fail_key(map, "certificate", err,
		    "says who we are (SASL EXTERNAL, RFC 4513 5.2.3); 'bind_dn' and 'credential' "
		    "would say it once more");
	if (t->auth != NULL)
		return check_gssapi(map, t, err);
	if ((t->bind_dn != NULL) != (t->credential != NULL))
		return yaml_fail_key(map, t->bind_dn != NULL ? "bind_dn" : "credential", err,
		    "'bind_dn' and 'credential' belong together: give both, or none to write "
		    "anonymously");
	if (t->bind_dn != NULL && strchr(t->bind_dn, '=') == NULL)
		return yaml_fail_key(map, "bind_dn", err,
		    "'%.80s' is no distinguished name; allowed: such as cn=writer,o=example",
		    t->bind_dn);
	return true;
}

static bool
read_http_options(struct yaml_map *map, struct capolicy_target *t, struct error *err)
{
	size_t auth = 0;

	if (yaml_get_enum(map, "auth", YAML_OPTIONAL, http_auth_words, COUNT_OF(http_auth_words),
		&auth, err) &&
	    t->credential == NULL)
		return yaml_fail_key(map, "auth", err, "is given without 'credential'");
	(void)yaml_get_bool(map, "webdav", YAML_OPTIONAL, &t->webdav, err);
	(void)get_name(map, "region", YAML_OPTIONAL, &t->region, err);
	if (error_is_set(err))
		return false;
	if (t->credential != NULL)
		t->auth = http_auth_words[auth];
	if ((t->region != NULL) != (t->auth != NULL && strcmp(t->auth, "aws-sigv4") == 0))
		return yaml_fail_key(map, t->region != NULL ? "region" : "auth", err,
		    "'auth: aws-sigv4' and 'region' belong together");
	if (t->region != NULL && t->webdav)
		return yaml_fail_key(map, "webdav", err, "is nothing that an S3 server does");
	return true;
}

/* Base64 of a SHA-256, as "ssh-keygen -l" prints it behind "SHA256:". */
static bool
is_host_key(const char *text)
{
	return strlen(text) == 43 && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv"
						  "wxyz0123456789+/") == 43;
}

static bool
read_sftp_options(struct yaml_map *map, struct capolicy_target *t, struct error *err)
{
	size_t auth = 0;

	(void)yaml_get_enum(
	    map, "auth", YAML_OPTIONAL, sftp_auth_words, COUNT_OF(sftp_auth_words), &auth, err);
	(void)get_name(map, "user", YAML_REQUIRED, &t->user, err);
	(void)yaml_get_string(map, "host_key", YAML_REQUIRED, &t->host_key, err);
	if (error_is_set(err))
		return false;
	t->auth = sftp_auth_words[auth];
	if (t->credential == NULL)
		return yaml_fail_key(map, "credential", err,
		    "is missing; kind sftp logs in with the private key, or password, in it");
	if (strncmp(t->host_key, "SHA256:", 7) == 0)
		t->host_key += 7;
	if (!is_host_key(t->host_key))
		return yaml_fail_key(map, "host_key", err,
		    "'%.80s' is no fingerprint; allowed: SHA256: and 43 characters, as "
		    "\"ssh-keyscan HOST | ssh-keygen -lf -\" prints it",
		    t->host_key);
	return true;
}

/* Whose file it is: read and write bits, the owner's both among them. */
static bool
is_file_mode(const char *text)
{
	return strlen(text) == 4 && text[0] == '0' && text[1] == '6' &&
	       (text[2] == '0' || text[2] == '4' || text[2] == '6') &&
	       (text[3] == '0' || text[3] == '4');
}

static bool
read_file_options(struct yaml_map *map, struct capolicy_target *t, struct error *err)
{
	if (yaml_get_string(map, "mode", YAML_OPTIONAL, &t->mode, err) && !is_file_mode(t->mode))
		return yaml_fail_key(map, "mode", err,
		    "'%.80s' is not allowed; allowed: \"0600\", \"0640\", \"0644\", \"0660\", "
		    "\"0664\"",
		    t->mode);
	(void)get_name(map, "group", YAML_OPTIONAL, &t->group, err);
	return !error_is_set(err);
}

/* What is a secret stays one on its way. */
static bool
check_secrecy(
    struct yaml_map *map, const struct capolicy_target *t, const struct url *url, struct error *err)
{
	if (t->certificate != NULL && !is_encrypted(t, url))
		return yaml_fail_key(map, "certificate", err,
		    "is shown in TLS only; use https, ldaps or 'tls: starttls'");
	/* A keytab's key crosses none. */
	if (t->credential != NULL && !is_encrypted(t, url) && !url_is_loopback(url) &&
	    (t->auth == NULL || strcmp(t->auth, ldap_auth_words[LDAP_AUTH_GSSAPI]) != 0))
		return yaml_fail_key(map, "credential", err,
		    "would cross the network unencrypted; use https, ldaps or 'tls: starttls'");
	return true;
}

/* Asked for in every kind, so that the error says where they belong. */
static bool
check_owners(struct yaml_map *map, size_t kind, struct error *err)
{
	static const struct {
		const char *key;
		size_t kind;
	} owners[] = {{"bind_dn", PLACE_LDAP}, {"tls", PLACE_LDAP}, {"schema", PLACE_LDAP},
	    {"webdav", PLACE_HTTP}, {"region", PLACE_HTTP}, {"user", PLACE_SFTP},
	    {"host_key", PLACE_SFTP}, {"mode", PLACE_FILE}, {"group", PLACE_FILE}};

	for (size_t i = 0; i < COUNT_OF(owners); i++)
		if (yaml_has(map, owners[i].key) && owners[i].kind != kind)
			return yaml_fail_key(map, owners[i].key, err,
			    "is only for targets of kind %s; this one is of kind %s",
			    kind_words[owners[i].kind], kind_words[kind]);
	return true;
}

static bool
read_options(struct yaml_map *map, struct capolicy_target *t, size_t kind, const struct url *url,
    struct error *err)
{
	bool has_secrets = kind != PLACE_FILE && kind != PLACE_COMMAND;

	if (!check_owners(map, kind, err))
		return false;
	if (yaml_has(map, "auth") && !has_secrets)
		return yaml_fail_key(
		    map, "auth", err, "is not for targets of kind %s", kind_words[kind]);
	if (get_name(map, "credential", YAML_OPTIONAL, &t->credential, err) && !has_secrets)
		return yaml_fail_key(
		    map, "credential", err, "is not for targets of kind %s", kind_words[kind]);
	if (get_name(map, "certificate", YAML_OPTIONAL, &t->certificate, err) &&
	    kind != PLACE_HTTP && kind != PLACE_LDAP)
		return yaml_fail_key(
		    map, "certificate", err, "is not for targets of kind %s", kind_words[kind]);
	if (error_is_set(err))
		return false;
	if (kind == PLACE_LDAP && !read_ldap_options(map, t, url, err))
		return false;
	if (kind == PLACE_HTTP && !read_http_options(map, t, err))
		return false;
	if (kind == PLACE_SFTP && !read_sftp_options(map, t, err))
		return false;
	if (kind == PLACE_FILE && !read_file_options(map, t, err))
		return false;
	return check_secrecy(map, t, url, err);
}

bool
capolicy_read_ldap_access(
    struct yaml_map *map, struct capolicy_target *t, const struct url *url, struct error *err)
{
	(void)get_name(map, "credential", YAML_OPTIONAL, &t->credential, err);
	(void)get_name(map, "certificate", YAML_OPTIONAL, &t->certificate, err);
	return !error_is_set(err) && read_ldap_options(map, t, url, err) &&
	       check_secrecy(map, t, url, err);
}

/* ---- a target and its neighbours */

/* Whether one of the locations for the other kind of CRL has this address. */
static bool
is_place_of(
    const struct capolicy *policy, unsigned flags, const char *url, bool *found, struct error *err)
{
	char text[LOCATION_URL_MAX + 1];
	struct location_names names;

	*found = false;
	capolicy_sample_names(policy, &names);
	for (size_t i = 0; i < policy->cdp_count; i++) {
		const struct location *l = &policy->cdp[i];

		if ((l->flags & flags) == 0)
			continue;
		if (!location_expand(l->url, &names, flags == LOCATION_DELTA_FLAGS, text, err))
			return false;
		*found = *found || strcmp(text, url) == 0;
	}
	return true;
}

/*
 * Clients take a delta that stands where they expect the complete CRL for the
 * whole list (dirmngr does, and OpenSSL).
 */
static bool
check_role(const struct capolicy *policy, struct yaml_map *map, const char *key,
    const struct capolicy_target *t, size_t artifact, struct error *err)
{
	unsigned other = artifact == DELTA ? LOCATION_BASE_FLAGS : LOCATION_DELTA_FLAGS,
		 variables = location_variables(t->read);
	char text[LOCATION_URL_MAX + 1];
	bool found;

	if (artifact == DELTA && policy->delta_period_s == 0)
		return yaml_fail_key(map, "artifact", err,
		    "is delta-crl, but 'crl' has no 'delta_period', so there are none");
	if (artifact == CERTIFICATE)
		return true;
	/* A program is told what it publishes. */
	if (strcmp(t->kind, kind_words[PLACE_COMMAND]) != 0)
		variables &= location_variables(t->write);
	if (capolicy_scope_count(policy) > 1 &&
	    (variables & 1u << LOCATION_CRL_PARTITION_INDEX) == 0)
		return yaml_fail_key(map, key, err,
		    "would be the address of all %zu CRLs that 'crl' asks for: it needs %s, and "
		    "where the CA writes does, too",
		    capolicy_scope_count(policy),
		    location_variable_name(LOCATION_CRL_PARTITION_INDEX));
	if (!expand(policy, map, key, t->read, artifact == DELTA, text, err) ||
	    !is_place_of(policy, other, text, &found, err))
		return false;
	if (found && artifact == DELTA)
		return yaml_fail_key(map, key, err,
		    "is one of 'locations.cdp' where clients expect a complete CRL, not a delta");
	if (found)
		return yaml_fail_key(
		    map, key, err, "is one of 'locations.cdp' where clients expect a delta CRL");
	return true;
}

static bool
same_address(const char *a, const char *b, bool same_artifact)
{
	return strcmp(a, b) == 0 &&
	       (same_artifact || (location_variables(a) & 1u << LOCATION_DELTA_CRL_ALLOWED) == 0);
}

static bool
check_neighbours(const struct capolicy *policy, struct yaml_map *map, const char *write_key,
    const char *read_key, const struct capolicy_target *t, struct error *err)
{
	for (size_t i = 0; i < policy->target_count; i++) {
		const struct capolicy_target *other = &policy->targets[i];
		bool same = strcmp(other->artifact, t->artifact) == 0;

		if (strcmp(other->name, t->name) == 0)
			return yaml_fail_key(
			    map, "name", err, "'%s' stands twice; allowed: once", t->name);
		if (same_address(other->write, t->write, same))
			return yaml_fail_key(map, write_key, err,
			    "is also where target '%s' writes; they would overwrite each other",
			    other->name);
		if (!same && same_address(other->read, t->read, false))
			return yaml_fail_key(map, read_key, err,
			    "is also where target '%s' has its %s", other->name, other->artifact);
	}
	return true;
}

static bool
read_target(struct capolicy *policy, const struct yaml_node *item, struct error *err)
{
	struct capolicy_target *t;
	char text[LOCATION_URL_MAX + 1]; /* what url points into */
	size_t artifact = 0, kind = 0;
	struct url url = {0};
	struct yaml_map map;

	if (policy->target_count == CAPOLICY_TARGET_MAX)
		return yaml_fail(item, err,
		    "is one target more than the %d that are allowed, with "
		    "those of 'publish'",
		    CAPOLICY_TARGET_MAX);
	t = &policy->targets[policy->target_count];
	if (!yaml_map_begin(item, &map, err) ||
	    !get_name(&map, "name", YAML_REQUIRED, &t->name, err) ||
	    !yaml_get_enum(&map, "artifact", YAML_REQUIRED, artifact_words,
		COUNT_OF(artifact_words), &artifact, err) ||
	    !yaml_get_enum(
		&map, "kind", YAML_REQUIRED, kind_words, COUNT_OF(kind_words), &kind, err) ||
	    !yaml_get_string(&map, "write", YAML_REQUIRED, &t->write, err) ||
	    !yaml_get_string(&map, "read", YAML_REQUIRED, &t->read, err) ||
	    !check_write(policy, &map, "write", t, artifact, kind, &url, text, err) ||
	    !check_read(policy, &map, "read", t, artifact, kind, err) ||
	    !read_options(&map, t, kind, &url, err) || !yaml_map_end(&map, err))
		return false;
	t->artifact = artifact_words[artifact];
	t->kind = kind_words[kind];
	if (!check_role(policy, &map, "read", t, artifact, err) ||
	    !check_neighbours(policy, &map, "write", "read", t, err))
		return false;
	policy->target_count++;
	return true;
}

/* ---- locations that say where to publish */

static size_t
kind_of(const char *url)
{
	if (strncasecmp(url, FILE_SCHEME, strlen(FILE_SCHEME)) == 0)
		return PLACE_FILE;
	return strncasecmp(url, "ldap", 4) == 0 ? PLACE_LDAP : PLACE_HTTP;
}

static bool
publish(struct capolicy *policy, struct yaml_map *map, const struct location *l, size_t artifact,
    const char *word, size_t index, struct error *err)
{
	struct capolicy_target *t;
	char *name, text[LOCATION_URL_MAX + 1];
	size_t kind = kind_of(l->url);
	struct url url = {0};

	if (policy->target_count == CAPOLICY_TARGET_MAX)
		return yaml_fail_key(map, "flags", err,
		    "asks for one target more than the %d that are allowed", CAPOLICY_TARGET_MAX);
	t = &policy->targets[policy->target_count];
	name = policy->target_names[policy->target_count];
	(void)snprintf(name, CAPOLICY_TARGET_NAME_MAX, "%s-%zu%s", word, index,
	    artifact == DELTA ? "-delta" : "");
	t->name = name;
	t->artifact = artifact_words[artifact];
	t->kind = kind_words[kind];
	t->write = l->url + (kind == PLACE_FILE ? strlen(FILE_SCHEME) : 0);
	t->read = t->write;
	if (!check_write(policy, map, "url", t, artifact, kind, &url, text, err) ||
	    !check_read(policy, map, "url", t, artifact, kind, err) ||
	    !read_options(map, t, kind, &url, err) ||
	    !check_role(policy, map, "url", t, artifact, err) ||
	    !check_neighbours(policy, map, "url", "url", t, err))
		return false;
	policy->target_count++;
	return true;
}

bool
capolicy_publish_location(struct capolicy *policy, struct yaml_map *map, const struct location *l,
    const char *word, size_t index, struct error *err)
{
	static const char *const options[] = {"credential", "bind_dn", "tls", "auth", "webdav",
	    "region", "certificate", "schema", "mode", "group"};
	bool certificate = strcmp(word, "aia") == 0;

	if ((l->flags & (LOCATION_PUBLISH | LOCATION_PUBLISH_DELTA)) == 0) {
		for (size_t i = 0; i < COUNT_OF(options); i++)
			if (yaml_has(map, options[i]))
				return yaml_fail_key(map, options[i], err,
				    "is only for locations with the flag publish or publish_delta");
		return true;
	}
	if ((l->flags & LOCATION_PUBLISH) != 0 &&
	    !publish(policy, map, l, certificate ? CERTIFICATE : CRL, word, index, err))
		return false;
	return (l->flags & LOCATION_PUBLISH_DELTA) == 0 ||
	       publish(policy, map, l, DELTA, word, index, err);
}

bool
capolicy_read_targets(struct capolicy *policy, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;

	if (yaml_get_list(map, "targets", YAML_OPTIONAL, 0, CAPOLICY_TARGET_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_target(policy, item, err))
				return false;
	return !error_is_set(err);
}
