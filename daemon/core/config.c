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
#include "daemon/core/yaml.h"

#define DEFAULT_DRAIN_S 30
#define DEFAULT_THREADS 4
#define DEFAULT_BATCH 256
#define DEFAULT_UNIX_MODE 0660
#define CREDENTIAL_NAME_MAX 255

/* Goes through all readers. Like the getters of yaml.h they do nothing once
 * err is set; the end of each mapping tells. */
struct reader {
	struct config *cfg;
	bool files;  /* look at the files that are named */
	bool public; /* others may read the file: no place for passwords */
	struct error *err;
};

/* ---- single values */

static char *
copy(struct reader *r, const char *text)
{
	char *s = strdup(text);

	if (s == NULL)
		error_set(r->err, ERROR_SYSTEM, "out of memory");
	return s;
}

static bool
read_text(struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out)
{
	const char *text;

	if (!yaml_get_string(map, key, need, &text, r->err))
		return false;
	*out = copy(r, text);
	return *out != NULL;
}

static bool
read_path(struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out)
{
	if (!read_text(r, map, key, need, out))
		return false;
	if ((*out)[0] != '/' || strlen(*out) >= PATH_MAX)
		return yaml_fail_key(map, key, r->err,
		    "'%.80s' is no absolute path; allowed: a path that begins with '/'", *out);
	return true;
}

/* A path and the rule that its file has to keep. */
static void
read_file(struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out,
    bool (*check)(const char *path, struct error *err))
{
	struct error why = ERROR_INIT;

	if (read_path(r, map, key, need, out) && r->files && !check(*out, &why))
		(void)yaml_fail_key(map, key, r->err, "%s", why.text);
}

static bool
check_secret(const char *path, struct error *err)
{
	int fd;

	if (!config_open_secret(path, &fd, err))
		return false;
	(void)close(fd);
	return true;
}

static bool
check_state_dir(const char *path, struct error *err)
{
	return config_check_directory(path, true, true, err);
}

static bool
check_credentials_dir(const char *path, struct error *err)
{
	return config_check_directory(path, false, false, err);
}

static bool
consists_of(const char *text, size_t max, const char *characters)
{
	size_t len = strlen(text);

	return len > 0 && len <= max && strspn(text, characters) == len;
}

/* ---- tokens */

static void
read_select(struct reader *r, struct yaml_map *token, struct config_token *t)
{
	static const char *const words[] = {
	    [CONFIG_SELECT_LABEL] = "label",
	    [CONFIG_SELECT_SERIAL] = "serial",
	    [CONFIG_SELECT_URI] = "uri",
	};
	struct yaml_map map;
	size_t given = 0;

	if (!yaml_get_map(token, "select", YAML_REQUIRED, &map, r->err))
		return;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (!yaml_has(&map, words[i]))
			continue;
		given++;
		t->select_by = (enum config_select)i;
	}
	if (!yaml_map_end(&map, r->err))
		return;
	if (given != 1) {
		(void)yaml_fail_key(token, "select", r->err,
		    "names %zu ways to find the token; allowed: exactly one of label, serial, uri",
		    given);
		return;
	}
	if (read_text(r, &map, words[t->select_by], YAML_REQUIRED, &t->select) &&
	    t->select_by == CONFIG_SELECT_URI && strncmp(t->select, "pkcs11:", 7) != 0)
		(void)yaml_fail_key(&map, "uri", r->err,
		    "'%.80s' is no PKCS#11 URI (RFC 7512); allowed: \"pkcs11:token=NAME\" and the "
		    "like",
		    t->select);
}

static void
read_pin(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	bool file = yaml_has(map, "pin_file"), credential = yaml_has(map, "pin_credential");

	if (file == credential && !error_is_set(r->err)) {
		(void)yaml_fail_key(map, credential ? "pin_credential" : "pin_file", r->err,
		    "the PIN's source is given %s; allowed: exactly one of pin_file, "
		    "pin_credential",
		    file ? "twice" : "nowhere");
		return;
	}
	read_file(r, map, "pin_file", YAML_OPTIONAL, &t->pin_file, check_secret);
	if (read_text(r, map, "pin_credential", YAML_OPTIONAL, &t->pin_credential) &&
	    (strchr(t->pin_credential, '/') != NULL || t->pin_credential[0] == '.' ||
		strlen(t->pin_credential) > CREDENTIAL_NAME_MAX))
		(void)yaml_fail_key(map, "pin_credential", r->err,
		    "'%.80s' is no name of a credential; allowed: a file's name without '/'",
		    t->pin_credential);
}

static void
read_environment(struct reader *r, struct yaml_map *token, struct config_token *t)
{
	static const char name_characters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
	const struct yaml_node *node;
	const char *name, *value;
	struct yaml_map map;

	if (!yaml_get_map(token, "environment", YAML_OPTIONAL, &map, r->err))
		return;
	t->environment = calloc(CONFIG_ENVIRONMENT_MAX, sizeof *t->environment);
	if (t->environment == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	for (size_t i = 0; yaml_map_entry(&map, i, &name, &node); i++) {
		struct config_variable *v = &t->environment[i];

		if (i == CONFIG_ENVIRONMENT_MAX) {
			(void)yaml_fail(node, r->err, "is one too many; allowed: %d variables",
			    CONFIG_ENVIRONMENT_MAX);
			return;
		}
		if (!consists_of(name, YAML_KEY_MAX, name_characters) ||
		    (name[0] >= '0' && name[0] <= '9')) {
			(void)yaml_fail(node, r->err,
			    "is no name of an environment variable; allowed: letters, digits, '_'");
			return;
		}
		if (!yaml_node_string(node, &value, r->err))
			return;
		t->environment_count = i + 1;
		v->name = copy(r, name);
		v->value = copy(r, value);
	}
}

static bool
read_token(struct reader *r, const struct yaml_node *node, struct config_token *t)
{
	int64_t threads = DEFAULT_THREADS;
	struct yaml_map map;

	if (!yaml_map_begin(node, &map, r->err))
		return false;
	if (read_text(r, &map, "name", YAML_REQUIRED, &t->name)) {
		if (!consists_of(
			t->name, CONFIG_TOKEN_NAME_MAX, "abcdefghijklmnopqrstuvwxyz0123456789-"))
			return yaml_fail_key(&map, "name", r->err,
			    "'%.80s' is no name of a token; allowed: 1 to %d of a-z, 0-9, '-'",
			    t->name, CONFIG_TOKEN_NAME_MAX);
		if (config_find_token(r->cfg, t->name) != t)
			return yaml_fail_key(
			    &map, "name", r->err, "'%s' names two tokens", t->name);
	}
	read_file(r, &map, "module", YAML_REQUIRED, &t->module, config_check_module);
	read_select(r, &map, t);
	read_pin(r, &map, t);
	yaml_get_int(&map, "threads", YAML_OPTIONAL, 1, CONFIG_THREADS_MAX, &threads, r->err);
	t->threads = (unsigned)threads;
	read_environment(r, &map, t);
	return yaml_map_end(&map, r->err);
}

static void
read_tokens(struct reader *r, struct yaml_map *root)
{
	const struct yaml_node *node;
	struct yaml_list list;

	if (!yaml_get_list(root, "tokens", YAML_REQUIRED, 1, CONFIG_TOKENS_MAX, &list, r->err))
		return;
	r->cfg->tokens = calloc(CONFIG_TOKENS_MAX, sizeof *r->cfg->tokens);
	if (r->cfg->tokens == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL) {
		r->cfg->token_count++;
		if (!read_token(r, node, &r->cfg->tokens[r->cfg->token_count - 1]))
			return;
	}
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
	if (read_path(r, &map, "path", YAML_REQUIRED, &f->unix_path) &&
	    strlen(f->unix_path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		(void)yaml_fail_key(&map, "path", r->err,
		    "is too long for a Unix socket; allowed: %zu bytes",
		    sizeof((struct sockaddr_un *)NULL)->sun_path - 1);
	if (yaml_get_string(&map, "mode", YAML_OPTIONAL, &mode, r->err) &&
	    !parse_mode(mode, &f->unix_mode))
		(void)yaml_fail_key(&map, "mode", r->err,
		    "'%.80s' is no mode; allowed: four octal digits as in \"0660\"", mode);
	if (read_text(r, &map, "group", YAML_OPTIONAL, &f->unix_group) && r->files) {
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
		read_file(
		    r, &map, "certificate", YAML_REQUIRED, &each->certificate, config_check_file);
		read_file(r, &map, "key", YAML_REQUIRED, &each->key, check_secret);
		if (!yaml_map_end(&map, r->err))
			return;
	}
}

static void
read_front(struct reader *r, struct yaml_map *root)
{
	struct config_front *f = &r->cfg->front;
	struct yaml_map map;

	f->unix_mode = DEFAULT_UNIX_MODE;
	f->unix_gid = (gid_t)-1;
	if (!yaml_get_map(root, "front", YAML_REQUIRED, &map, r->err))
		return;
	read_unix(r, &map);
	read_http(r, &map);
	read_https(r, &map);
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

	if (!read_text(r, map, key, need, out))
		return;
	password = strstr(*out, "password") != NULL;
	user = strstr(*out, "://");
	if (user != NULL) {
		at = strchr(user + 3, '@');
		colon = strchr(user + 3, ':');
		password |= at != NULL && colon != NULL && colon < at;
	}
	if (password && r->public)
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
	int64_t signer_id = 0, batch = DEFAULT_BATCH;
	struct yaml_map map;

	if (!yaml_get_map(root, "issuer", YAML_REQUIRED, &map, r->err))
		return false;
	yaml_get_int(&map, "signer_id", YAML_REQUIRED, 1, UINT16_MAX, &signer_id, r->err);
	yaml_get_int(&map, "batch", YAML_OPTIONAL, 1, CONFIG_BATCH_MAX, &batch, r->err);
	issuer->signer_id = (uint16_t)signer_id;
	issuer->batch = (unsigned)batch;
	read_file(r, &map, "credentials_dir", YAML_OPTIONAL, &issuer->credentials_dir,
	    check_credentials_dir);
	read_file(r, &map, "ca_file", YAML_OPTIONAL, &issuer->ca_file, config_check_file);
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
	read_file(r, &map, "state_dir", YAML_REQUIRED, &r->cfg->state_dir, check_state_dir);
	yaml_get_enum(&map, "log_level", YAML_OPTIONAL, words, COUNT_OF(words), &level, r->err);
	if (!log_level_parse(words[level], &r->cfg->log_level))
		return error_set(r->err, ERROR_INTERNAL, "log level %s", words[level]);
	yaml_get_duration(
	    &map, "drain_timeout", YAML_OPTIONAL, 1, CONFIG_DRAIN_MAX_S, &drain_s, r->err);
	r->cfg->drain_timeout_s = (unsigned)drain_s;
	read_database(r, &map);
	read_tokens(r, &map);
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

static void
free_token(struct config_token *t)
{
	for (size_t i = 0; i < t->environment_count; i++) {
		free(t->environment[i].name);
		free(t->environment[i].value);
	}
	free(t->environment);
	free(t->name);
	free(t->module);
	free(t->select);
	free(t->pin_file);
	free(t->pin_credential);
}

void
config_free(struct config *cfg)
{
	for (size_t i = 0; i < cfg->token_count; i++)
		free_token(&cfg->tokens[i]);
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
	free(cfg->front.unix_path);
	free(cfg->front.unix_group);
	free(cfg->issuer.credentials_dir);
	free(cfg->issuer.ca_file);
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
