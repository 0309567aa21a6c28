#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/config_int.h"

#define DEFAULT_THREADS 4
#define DEFAULT_CALL_TIMEOUT_S 30
#define CALL_TIMEOUT_MAX_S 3600
#define DEFAULT_CRL_LEASE_S 60

/* One name, of a group one of several. */
static bool
take_name(struct reader *r, const struct yaml_node *node, struct config_token *t)
{
	char **place = t->select == NULL ? &t->select : &t->others.items[t->others.count];
	const char *text;

	if (!yaml_node_string(node, &text, r->err))
		return false;
	if (t->select_by == CONFIG_SELECT_URI && strncmp(text, "pkcs11:", 7) != 0)
		return yaml_fail(node, r->err,
		    "'%.80s' is no PKCS#11 URI (RFC 7512); allowed: \"pkcs11:token=NAME\" and the "
		    "like",
		    text);
	if (config_names_token(t, text))
		return yaml_fail(node, r->err, "'%.80s' is named twice", text);
	*place = config_copy(r, text);
	if (place != &t->select)
		t->others.count += *place != NULL;
	return *place != NULL;
}

static void
read_names(struct reader *r, struct yaml_map *map, const char *key, struct config_token *t)
{
	const struct yaml_node *node;
	struct yaml_list list;

	if (!yaml_get_node(map, key, YAML_REQUIRED, &node, r->err))
		return;
	if (!yaml_is_list(node)) {
		(void)take_name(r, node, t);
		return;
	}
	if (!yaml_get_list(map, key, YAML_REQUIRED, 1, CONFIG_MEMBERS_MAX, &list, r->err))
		return;
	t->others.items = calloc(CONFIG_MEMBERS_MAX, sizeof *t->others.items);
	if (t->others.items == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL && take_name(r, node, t))
		;
}

bool
config_names_token(const struct config_token *t, const char *what)
{
	if (t->select != NULL && strcmp(t->select, what) == 0)
		return true;
	for (size_t i = 0; i < t->others.count; i++) {
		if (strcmp(t->others.items[i], what) == 0)
			return true;
	}
	return false;
}

static void
read_group(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	yaml_get_bool(map, "spread", YAML_OPTIONAL, &t->spread, r->err);
	if (error_is_set(r->err))
		return;
	if (t->others.count == 0 && yaml_has(map, "spread"))
		(void)yaml_fail_key(map, "spread", r->err,
		    "there is one token here; allowed where 'select' names several");
	else if (t->others.count > 0 && t->access != CONFIG_ACCESS_AUTO)
		(void)yaml_fail_key(map, "select", r->err,
		    "names %zu tokens, and persons enter PINs for one at a time; allowed only with "
		    "access: auto",
		    t->others.count + 1);
	else if (t->spread && t->threads <= t->others.count)
		(void)yaml_fail_key(map, "threads", r->err,
		    "is %u, for %zu tokens that all sign; allowed: at least one thread for each",
		    t->threads, t->others.count + 1);
}

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
	read_names(r, &map, words[t->select_by], t);
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
		if (!config_consists_of(name, YAML_KEY_MAX, name_characters) ||
		    (name[0] >= '0' && name[0] <= '9')) {
			(void)yaml_fail(node, r->err,
			    "is no name of an environment variable; allowed: letters, digits, '_'");
			return;
		}
		if (!yaml_node_string(node, &value, r->err))
			return;
		t->environment_count = i + 1;
		v->name = config_copy(r, name);
		v->value = config_copy(r, value);
	}
}

/* SoftHSM is known by the name of its file, also behind a link: for a module that
 * only wraps it the profile has to be said. */
static enum sandbox_profile
guess_profile(const char *module)
{
	char resolved[PATH_MAX];
	const char *name;

	if (module == NULL)
		return SANDBOX_MODULE;
	if (realpath(module, resolved) == NULL)
		(void)snprintf(resolved, sizeof resolved, "%s", module);
	name = strrchr(resolved, '/');
	return name != NULL && strncmp(name, "/libsofthsm2.so", strlen("/libsofthsm2.so")) == 0
		   ? SANDBOX_SOFTHSM
		   : SANDBOX_MODULE;
}

static void
read_confinement(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	static const char *const words[] = {"softhsm", "module"};
	static const enum sandbox_profile profiles[] = {SANDBOX_SOFTHSM, SANDBOX_MODULE};
	size_t word;

	t->profile = guess_profile(t->module);
	if (yaml_get_enum(map, "profile", YAML_OPTIONAL, words, COUNT_OF(words), &word, r->err))
		t->profile = profiles[word];
	yaml_get_bool(map, "network", YAML_OPTIONAL, &t->network, r->err);
	yaml_get_bool(map, "unix_sockets", YAML_OPTIONAL, &t->unix_sockets, r->err);
	config_read_paths(r, map, "writable", &t->writable);
}

static bool
read_token(struct reader *r, const struct yaml_node *node, struct config_token *t)
{
	const struct config_token *other;
	int64_t threads = DEFAULT_THREADS, call_timeout_s = DEFAULT_CALL_TIMEOUT_S,
		lease_s = DEFAULT_CRL_LEASE_S;
	struct yaml_map map;

	if (!yaml_map_begin(node, &map, r->err))
		return false;
	if (config_read_text(r, &map, "name", YAML_REQUIRED, &t->name)) {
		if (!config_consists_of(
			t->name, CONFIG_TOKEN_NAME_MAX, "abcdefghijklmnopqrstuvwxyz0123456789-"))
			return yaml_fail_key(&map, "name", r->err,
			    "'%.80s' is no name of a token; allowed: 1 to %d of a-z, 0-9, '-'",
			    t->name, CONFIG_TOKEN_NAME_MAX);
		if (config_find_token(r->cfg, t->name) != t)
			return yaml_fail_key(
			    &map, "name", r->err, "'%s' names two tokens", t->name);
	}
	config_read_token_user(r, &map, t);
	config_read_file(
	    r, &map, "module", YAML_REQUIRED, &t->module, config_check_module, &t->user);
	read_select(r, &map, t);
	config_read_access(r, &map, t);
	if (!error_is_set(r->err) && !config_check_mixed_access(r->cfg, t, &other))
		return yaml_fail_key(&map, "access", r->err,
		    "is %s here and %s for '%s', which is the same token: all logins to a token "
		    "are of one kind, or the looser one undoes the other; allowed: the same "
		    "access for both",
		    config_access_name(t->access), config_access_name(other->access), other->name);
	yaml_get_int(&map, "threads", YAML_OPTIONAL, 1, CONFIG_THREADS_MAX, &threads, r->err);
	t->threads = (unsigned)threads;
	read_group(r, &map, t);
	yaml_get_duration(
	    &map, "call_timeout", YAML_OPTIONAL, 1, CALL_TIMEOUT_MAX_S, &call_timeout_s, r->err);
	t->call_timeout_s = (unsigned)call_timeout_s;
	yaml_get_duration(
	    &map, "crl_lease", YAML_OPTIONAL, 1, CONFIG_CRL_LEASE_MAX_S, &lease_s, r->err);
	t->crl_lease_s = (unsigned)lease_s;
	read_environment(r, &map, t);
	read_confinement(r, &map, t);
	return yaml_map_end(&map, r->err);
}

void
config_read_tokens(struct reader *r, struct yaml_map *root)
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

void
config_free_token(struct config_token *t)
{
	for (size_t i = 0; i < t->environment_count; i++) {
		free(t->environment[i].name);
		free(t->environment[i].value);
	}
	free(t->environment);
	free(t->name);
	free(t->module);
	free(t->select);
	config_free_paths(&t->others);
	config_free_access(t);
	config_free_paths(&t->writable);
}
