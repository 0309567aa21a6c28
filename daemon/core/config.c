#include "daemon/core/config.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/config_int.h"

#define DEFAULT_DRAIN_S 30
#define DEFAULT_BATCH 256
#define DEFAULT_CRL_ABSTRACT_FROM (32LL * 1024 * 1024)
#define DEFAULT_UNIX_MODE 0660

static bool
check_state_dir(const char *path, struct error *err)
{
	return config_check_directory(path, 077, true, err);
}

/* With users of their own the roles pass through it, each to its own directory. */
static bool
check_open_state_dir(const char *path, struct error *err)
{
	return config_check_directory(path, 066, true, err);
}

static bool
check_credentials_dir(const char *path, struct error *err)
{
	return config_check_directory(path, 022, false, err);
}

static bool
check_commands_dir(const char *path, struct error *err)
{
	return config_check_directory(path, 022, false, err);
}

/* ---- listeners */

static bool
parse_mode(const char *text, mode_t *mode)
{
	if (text[0] != '0' || strlen(text) != 4 || strspn(text, "01234567") != 4)
		return false;
	*mode = (mode_t)strtoul(text, NULL, 8);
	return true;
}

static bool
read_unix(struct reader *r, struct yaml_map *front)
{
	struct config_front *f = &r->cfg->front;
	const struct group *group;
	struct yaml_map map;
	const char *mode;

	if (!yaml_get_map(front, "unix", YAML_OPTIONAL, &map, r->err))
		return false;
	if (config_read_path(r, &map, "path", YAML_REQUIRED, &f->unix_path) &&
	    strlen(f->unix_path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		(void)yaml_fail_key(&map, "path", r->err,
		    "is too long for a Unix socket; allowed: %zu bytes",
		    sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
	if (yaml_get_string(&map, "mode", YAML_OPTIONAL, &mode, r->err) &&
	    !parse_mode(mode, &f->unix_mode))
		(void)yaml_fail_key(&map, "mode", r->err,
		    "'%.80s' is no mode; allowed: four octal digits as in \"0660\"", mode);
	if (config_read_text(r, &map, "group", YAML_OPTIONAL, &f->unix_group) && r->files) {
		group = getgrnam(f->unix_group);
		if (group == NULL)
			(void)yaml_fail_key(&map, "group", r->err,
			    "group '%.80s' does not exist on this host", f->unix_group);
		else
			f->unix_gid = group->gr_gid;
	}
	return yaml_map_end(&map, r->err);
}

static bool
is_address(const struct config_address *a, const char *text)
{
	return a->text != NULL && strcmp(a->text, text) == 0;
}

/* Reads an address and refuses one that is listened on already. */
static bool
read_address(struct reader *r, const struct yaml_node *node, struct config_address *out)
{
	const struct config_front *f = &r->cfg->front;
	struct error why = ERROR_INIT;
	const char *text, *port;
	bool twice = false;

	if (!yaml_node_string(node, &text, r->err))
		return false;
	if (!config_parse_address(text, out, &why))
		return yaml_fail(node, r->err, "%s", why.text);
	for (size_t i = 0; i < f->http_count; i++)
		twice |= out != &f->http[i] && is_address(&f->http[i], text);
	twice |= out != &f->metrics && is_address(&f->metrics, text);
	for (size_t i = 0; i < f->https_count; i++)
		twice |= out != &f->https[i].listen && is_address(&f->https[i].listen, text);
	port = strrchr(text, ':');
	if (twice && strcmp(port, ":0") != 0)
		return yaml_fail(node, r->err, "'%s' is listed twice", text);
	return true;
}

static void
read_http(struct reader *r, struct yaml_map *front)
{
	struct config_front *f = &r->cfg->front;
	const struct yaml_node *node;
	struct yaml_list list;

	if (!yaml_get_list(front, "http", YAML_OPTIONAL, 0, CONFIG_LISTENERS_MAX, &list, r->err))
		return;
	f->http = calloc(CONFIG_LISTENERS_MAX, sizeof *f->http);
	if (f->http == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL) {
		f->http_count++;
		if (!read_address(r, node, &f->http[f->http_count - 1]))
			return;
	}
}

static void
read_https(struct reader *r, struct yaml_map *front)
{
	struct config_front *f = &r->cfg->front;
	const struct yaml_node *node, *listen;
	struct config_https *each;
	struct yaml_list list;
	struct yaml_map map;

	if (!yaml_get_list(front, "https", YAML_OPTIONAL, 0, CONFIG_LISTENERS_MAX, &list, r->err))
		return;
	f->https = calloc(CONFIG_LISTENERS_MAX, sizeof *f->https);
	if (f->https == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL) {
		if (!yaml_map_begin(node, &map, r->err))
			return;
		each = &f->https[f->https_count++];
		if (yaml_get_node(&map, "listen", YAML_REQUIRED, &listen, r->err) &&
		    !read_address(r, listen, &each->listen))
			return;
		config_read_file(r, &map, "certificate", YAML_REQUIRED, &each->certificate,
		    config_check_file, &r->cfg->front_user);
		config_read_file(r, &map, "key", YAML_REQUIRED, &each->key, config_check_secret,
		    &r->cfg->front_user);
		if (!yaml_map_end(&map, r->err))
			return;
	}
}

static void
read_front(struct reader *r, struct yaml_map *root)
{
	struct config_front *f = &r->cfg->front;
	const struct yaml_node *node;
	struct yaml_map map;

	f->unix_mode = DEFAULT_UNIX_MODE;
	f->unix_gid = (gid_t)-1;
	if (!yaml_get_map(root, "front", YAML_REQUIRED, &map, r->err))
		return;
	read_unix(r, &map);
	read_http(r, &map);
	read_https(r, &map);
	if (yaml_get_node(&map, "metrics", YAML_OPTIONAL, &node, r->err))
		(void)read_address(r, node, &f->metrics);
	if (yaml_map_end(&map, r->err) && f->unix_path == NULL &&
	    f->http_count + f->https_count == 0)
		(void)yaml_fail_key(root, "front", r->err,
		    "listens nowhere; allowed: at least one of unix, http, https");
}

/* ---- the rest */

/* A libpq connection string: "host=... password=..." or "postgresql://name:password@...". */
static void
read_connection(
    struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out)
{
	const char *user, *at, *colon;
	bool password;

	if (!config_read_text(r, map, key, need, out))
		return;
	password = strstr(*out, "password") != NULL;
	user = strstr(*out, "://");
	if (user != NULL) {
		at = strchr(user + 3, '@');
		colon = strchr(user + 3, ':');
		password |= at != NULL && colon != NULL && colon < at;
	}
	if (password && r->cfg->separation == CONFIG_SEPARATION_USERS)
		(void)yaml_fail_key(map, key, r->err,
		    "contains a password, but the users of all roles read this file; allowed: "
		    "passfile=FILE, a file of the role's own user, or no password at all (peer)");
	else if (password && r->public)
		(void)yaml_fail_key(map, key, r->err,
		    "contains a password, but others may read this file; allowed: mode 0640 or "
		    "stricter (chmod o-rwx)");
}

static bool
read_database(struct reader *r, struct yaml_map *root)
{
	struct yaml_map map;

	if (!yaml_get_map(root, "database", YAML_REQUIRED, &map, r->err))
		return false;
	read_connection(r, &map, "owner", YAML_OPTIONAL, &r->cfg->database_owner);
	read_connection(r, &map, "issuer", YAML_REQUIRED, &r->cfg->database_issuer);
	read_connection(r, &map, "front", YAML_REQUIRED, &r->cfg->database_front);
	return yaml_map_end(&map, r->err);
}

static bool
read_issuer(struct reader *r, struct yaml_map *root)
{
	struct config_issuer *issuer = &r->cfg->issuer;
	int64_t signer_id = 0, batch = DEFAULT_BATCH, abstract_from = DEFAULT_CRL_ABSTRACT_FROM;
	struct yaml_map map;

	if (!yaml_get_map(root, "issuer", YAML_REQUIRED, &map, r->err))
		return false;
	yaml_get_int(&map, "signer_id", YAML_REQUIRED, 1, UINT16_MAX, &signer_id, r->err);
	yaml_get_int(&map, "batch", YAML_OPTIONAL, 1, CONFIG_BATCH_MAX, &batch, r->err);
	yaml_get_int(
	    &map, "crl_abstract_from", YAML_OPTIONAL, 0, INT64_MAX, &abstract_from, r->err);
	issuer->signer_id = (uint16_t)signer_id;
	issuer->crl_abstract_from = (uint64_t)abstract_from;
	issuer->batch = (unsigned)batch;
	config_read_file(r, &map, "credentials_dir", YAML_OPTIONAL, &issuer->credentials_dir,
	    check_credentials_dir, &r->cfg->issuer_user);
	config_read_file(r, &map, "commands_dir", YAML_OPTIONAL, &issuer->commands_dir,
	    check_commands_dir, &r->cfg->issuer_user);
	config_read_file(r, &map, "ca_file", YAML_OPTIONAL, &issuer->ca_file, config_check_file,
	    &r->cfg->issuer_user);
	config_read_file(r, &map, "krb5_config", YAML_OPTIONAL, &issuer->krb5_config,
	    config_check_file, &r->cfg->issuer_user);
	config_read_publish_dirs(r, &map);
	return yaml_map_end(&map, r->err);
}

static bool
read_root(struct reader *r, const struct yaml_node *node)
{
	static const char *const words[] = {"error", "warning", "info", "debug"};
	int64_t drain_s = DEFAULT_DRAIN_S;
	struct yaml_map map;
	size_t level = 2;

	if (!yaml_map_begin(node, &map, r->err))
		return false;
	config_read_separation(r, &map);
	/* The supervisor's: that of the users is below. */
	config_read_file(r, &map, "state_dir", YAML_REQUIRED, &r->cfg->state_dir,
	    r->cfg->separation == CONFIG_SEPARATION_USERS ? check_open_state_dir : check_state_dir,
	    NULL);
	yaml_get_enum(&map, "log_level", YAML_OPTIONAL, words, COUNT_OF(words), &level, r->err);
	if (!log_level_parse(words[level], &r->cfg->log_level))
		return error_set(r->err, ERROR_INTERNAL, "log level %s", words[level]);
	yaml_get_duration(
	    &map, "drain_timeout", YAML_OPTIONAL, 1, CONFIG_DRAIN_MAX_S, &drain_s, r->err);
	r->cfg->drain_timeout_s = (unsigned)drain_s;
	read_database(r, &map);
	config_read_tokens(r, &map);
	read_front(r, &map);
	read_issuer(r, &map);
	return yaml_map_end(&map, r->err);
}

/* ---- the file */

/* The whole text, with what may be beyond the limit left to the walker. */
static char *
read_whole(const char *path, size_t *len, bool *public, struct error *err)
{
	char *text = NULL;
	struct stat st;
	ssize_t n = 0;
	int fd;

	*len = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		error_set_errno(err, ERROR_CONFIG, "the configuration %s cannot be read", path);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		error_set(err, ERROR_CONFIG, "the configuration %s is no regular file", path);
		goto out;
	}
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		error_set(err, ERROR_CONFIG,
		    "%s has mode %04o; allowed: not writable by group or others (chmod go-w)", path,
		    (unsigned)st.st_mode & 07777);
		goto out;
	}
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		error_set(err, ERROR_CONFIG,
		    "%s belongs to uid %u; allowed: root or uid %u, as which this runs", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
		goto out;
	}
	*public = (st.st_mode & S_IROTH) != 0;
	text = malloc(YAML_TEXT_MAX + 1);
	if (text == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	while (*len <= YAML_TEXT_MAX && (n = read(fd, text + *len, YAML_TEXT_MAX + 1 - *len)) > 0)
		*len += (size_t)n;
	if (n < 0) {
		error_set_errno(err, ERROR_CONFIG, "the configuration %s cannot be read", path);
		free(text);
		text = NULL;
	}
out:
	if (fd >= 0)
		(void)close(fd);
	return text;
}

/* Not realpath(3): a link that is moved to another file is a way to reload. */
static char *
absolute_path(const char *path)
{
	char here[PATH_MAX], *out = NULL;

	if (path[0] == '/')
		return strdup(path);
	if (getcwd(here, sizeof here) == NULL || asprintf(&out, "%s/%s", here, path) < 0)
		return NULL;
	return out;
}

static bool
load(const char *path, bool files, struct config *cfg, struct error *err)
{
	struct error why = ERROR_INIT;
	struct config got = {0};
	struct reader r = {.cfg = &got, .files = files, .err = &why};
	struct yaml_doc *doc = NULL;
	char *text = NULL;
	bool ok = false;
	size_t len;

	*cfg = (struct config){0};
	text = read_whole(path, &len, &r.public, &why);
	if (text == NULL)
		goto out;
	got.path = absolute_path(path);
	if (got.path == NULL) {
		error_set_errno(&why, ERROR_SYSTEM, "cannot name %s in full", path);
		goto out;
	}
	if (!yaml_doc_load(text, len, path, &doc, &why) || !read_root(&r, yaml_doc_root(doc)))
		goto out;
	*cfg = got;
	got = (struct config){0};
	ok = true;
out:
	if (!ok)
		error_set(err, why.code, "%s", why.text);
	config_free(&got);
	yaml_doc_free(doc);
	free(text);
	return ok;
}

bool
config_load(const char *path, struct config *cfg, struct error *err)
{
	return load(path, true, cfg, err);
}

bool
config_load_for_role(const char *path, struct config *cfg, struct error *err)
{
	return load(path, false, cfg, err);
}

void
config_free(struct config *cfg)
{
	for (size_t i = 0; i < cfg->token_count; i++)
		config_free_token(&cfg->tokens[i]);
	free(cfg->tokens);
	for (size_t i = 0; i < cfg->front.http_count; i++)
		free(cfg->front.http[i].text);
	free(cfg->front.http);
	for (size_t i = 0; i < cfg->front.https_count; i++) {
		free(cfg->front.https[i].listen.text);
		free(cfg->front.https[i].certificate);
		free(cfg->front.https[i].key);
	}
	free(cfg->front.https);
	free(cfg->front.metrics.text);
	free(cfg->front.unix_path);
	free(cfg->front.unix_group);
	free(cfg->issuer.credentials_dir);
	free(cfg->issuer.commands_dir);
	free(cfg->issuer.ca_file);
	free(cfg->issuer.krb5_config);
	config_free_publish_dirs(&cfg->issuer.publish_dirs);
	free(cfg->database_owner);
	free(cfg->database_issuer);
	free(cfg->database_front);
	free(cfg->state_dir);
	free(cfg->path);
	*cfg = (struct config){0};
}

const struct config_token *
config_find_token(const struct config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->token_count; i++) {
		if (cfg->tokens[i].name != NULL && strcmp(cfg->tokens[i].name, name) == 0)
			return &cfg->tokens[i];
	}
	return NULL;
}
