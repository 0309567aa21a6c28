/* How the login to a token comes about: a PIN that is kept here, or persons. */

#include <stdlib.h>
#include <string.h>

#include "daemon/core/config_int.h"

#define CREDENTIAL_NAME_MAX 255
#define SESSION_MAX_DEFAULT_S (8 * 3600)
#define SESSION_MAX_S (366 * 86400)
#define SIGNATURES_MAX 1000000000000LL
/* PKCS#11's CKU_USER, and CKU_VENDOR_DEFINED with what follows. */
#define USER_TYPE_DEFAULT 1
#define USER_TYPE_VENDOR 0x80000000LL
#define USER_TYPE_MAX 0xffffffffLL

static const char *const access_words[] = {
    [CONFIG_ACCESS_AUTO] = "auto",
    [CONFIG_ACCESS_SESSION] = "session",
    [CONFIG_ACCESS_OPERATION] = "operation",
};

const char *
config_access_name(enum config_access access)
{
	return access_words[access];
}

static void
read_source(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	bool file = yaml_has(map, "pin_file"), credential = yaml_has(map, "pin_credential");
	bool given = file || credential;

	if (error_is_set(r->err))
		return;
	if (t->access == CONFIG_ACCESS_AUTO && file == credential) {
		(void)yaml_fail_key(map, credential ? "pin_credential" : "pin_file", r->err,
		    "the PIN's source is given %s; allowed: exactly one of pin_file, "
		    "pin_credential",
		    file ? "twice" : "nowhere");
		return;
	}
	if (t->access != CONFIG_ACCESS_AUTO && given) {
		(void)yaml_fail_key(map, credential ? "pin_credential" : "pin_file", r->err,
		    "with access: %s the PIN comes from persons; allowed only with access: auto",
		    access_words[t->access]);
		return;
	}
	config_read_file(
	    r, map, "pin_file", YAML_OPTIONAL, &t->pin_file, config_check_secret, &t->user);
	if (config_read_text(r, map, "pin_credential", YAML_OPTIONAL, &t->pin_credential) &&
	    (strchr(t->pin_credential, '/') != NULL || t->pin_credential[0] == '.' ||
		strlen(t->pin_credential) > CREDENTIAL_NAME_MAX))
		(void)yaml_fail_key(map, "pin_credential", r->err,
		    "'%.80s' is no name of a credential; allowed: a file's name without '/'",
		    t->pin_credential);
}

static bool
read_operator(struct reader *r, const struct yaml_node *node, struct config_token *t)
{
	static const char name_characters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@-";
	struct config_pin_operator *o = &t->pin_operators[t->pin_operator_count++];
	const char *key;
	struct yaml_map map;

	if (!yaml_map_begin(node, &map, r->err))
		return false;
	if (config_read_text(r, &map, "name", YAML_REQUIRED, &o->name) &&
	    !config_consists_of(o->name, CONFIG_PERSON_MAX, name_characters))
		return yaml_fail_key(&map, "name", r->err,
		    "'%.80s' is no name of a person; allowed: 1 to %d of A-Z, a-z, 0-9, '._@-'",
		    o->name, CONFIG_PERSON_MAX);
	if (yaml_has(&map, "key") && yaml_get_string(&map, "key", YAML_REQUIRED, &key, r->err) &&
	    key[0] != '/')
		(void)config_read_text(r, &map, "key", YAML_REQUIRED, &o->key);
	else
		config_read_file(
		    r, &map, "key", YAML_REQUIRED, &o->key, config_check_file, &t->user);
	return yaml_map_end(&map, r->err);
}

static void
read_operators(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	const struct yaml_node *node;
	struct yaml_list list;
	bool given = yaml_has(map, "pin_operators");

	if (error_is_set(r->err))
		return;
	if (given == (t->access == CONFIG_ACCESS_AUTO)) {
		(void)yaml_fail_key(map, "pin_operators", r->err, "%s",
		    given ? "are for access: session and access: operation; allowed there only"
			  : "is missing: with this access somebody has to enter the PIN; allowed: "
			    "a list of name and key");
		return;
	}
	if (!yaml_get_list(
		map, "pin_operators", YAML_OPTIONAL, 1, CONFIG_PIN_OPERATORS_MAX, &list, r->err))
		return;
	t->pin_operators = calloc(CONFIG_PIN_OPERATORS_MAX, sizeof *t->pin_operators);
	if (t->pin_operators == NULL) {
		(void)error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL)
		if (!read_operator(r, node, t))
			return;
}

static void
read_caps(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	static const char *const keys[] = {
	    "session_max", "session_idle_max", "session_signatures_max"};

	t->session_max_s = SESSION_MAX_DEFAULT_S;
	yaml_get_duration(map, keys[0], YAML_OPTIONAL, 1, SESSION_MAX_S, &t->session_max_s, r->err);
	yaml_get_duration(
	    map, keys[1], YAML_OPTIONAL, 1, SESSION_MAX_S, &t->session_idle_max_s, r->err);
	yaml_get_int(
	    map, keys[2], YAML_OPTIONAL, 1, SIGNATURES_MAX, &t->session_signatures_max, r->err);
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		if (yaml_has(map, keys[i]) && t->access != CONFIG_ACCESS_SESSION &&
		    !error_is_set(r->err))
			(void)yaml_fail_key(
			    map, keys[i], r->err, "allowed only with access: session");
}

void
config_read_access(struct reader *r, struct yaml_map *map, struct config_token *t)
{
	size_t word = CONFIG_ACCESS_AUTO;

	if (yaml_get_enum(
		map, "access", YAML_OPTIONAL, access_words, COUNT_OF(access_words), &word, r->err))
		t->access = (enum config_access)word;
	read_source(r, map, t);
	read_operators(r, map, t);
	read_caps(r, map, t);
	t->user_type = USER_TYPE_DEFAULT;
	if (yaml_get_int(map, "user_type", YAML_OPTIONAL, USER_TYPE_DEFAULT, USER_TYPE_MAX,
		&t->user_type, r->err) &&
	    t->user_type != USER_TYPE_DEFAULT && t->user_type < USER_TYPE_VENDOR)
		(void)yaml_fail_key(map, "user_type", r->err,
		    "%lld is no type of a user that signs; allowed: 1 (CKU_USER), or a vendor's "
		    "from 2147483648 (CKU_VENDOR_DEFINED)",
		    (long long)t->user_type);
}

static bool
is_same_token(const struct config_token *a, const struct config_token *b)
{
	if (a->module == NULL || b->module == NULL || a->select == NULL || b->select == NULL ||
	    a->select_by != b->select_by || strcmp(a->module, b->module) != 0)
		return false;
	for (size_t i = 0; i < b->others.count; i++) {
		if (config_names_token(a, b->others.items[i]))
			return true;
	}
	return config_names_token(a, b->select);
}

/* One login is one way to a token: what a person has to allow with one of them, the
 * other would sign without. */
bool
config_check_mixed_access(
    const struct config *cfg, const struct config_token *t, const struct config_token **other)
{
	for (size_t i = 0; i < cfg->token_count; i++) {
		const struct config_token *o = &cfg->tokens[i];

		if (o != t && o->access != t->access && is_same_token(o, t)) {
			*other = o;
			return false;
		}
	}
	return true;
}

void
config_free_access(struct config_token *t)
{
	for (size_t i = 0; i < t->pin_operator_count; i++) {
		free(t->pin_operators[i].name);
		free(t->pin_operators[i].key);
	}
	free(t->pin_operators);
	free(t->pin_file);
	free(t->pin_credential);
}
