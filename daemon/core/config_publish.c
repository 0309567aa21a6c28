#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/config_int.h"

/* The name stands in names of processes, one word of a line. */
static const char name_characters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    "_-.:@$+\\";

/* Whom the writer's user must not be: what a web server can do with its own processes, it
 * could do with those of a role, too. NULL: nobody of them. */
static const char *
role_of(const struct config *cfg, uid_t uid)
{
	if (uid == cfg->issuer_user.uid)
		return "the issuer, who writes there without 'user'";
	if (uid == cfg->front_user.uid)
		return "the front";
	if (uid == cfg->signer_user.uid)
		return "the signers";
	for (size_t i = 0; i < cfg->token_count; i++) {
		if (uid == cfg->tokens[i].user.uid)
			return "a signer";
	}
	return NULL;
}

static void
read_user(struct reader *r, struct yaml_map *map, struct identity *out)
{
	struct error why = ERROR_INIT;
	const char *text, *role;

	if (!yaml_get_string(map, "user", YAML_OPTIONAL, &text, r->err))
		return;
	if (r->cfg->separation != CONFIG_SEPARATION_USERS) {
		(void)yaml_fail_key(map, "user", r->err,
		    "is allowed only where root starts the daemon and separation gives each role a "
		    "user of its own; without it the files belong to the user who runs the daemon");
		return;
	}
	if (!config_consists_of(text, CONFIG_WRITER_MAX, name_characters)) {
		(void)yaml_fail_key(map, "user", r->err,
		    "'%.80s' is no user here; allowed: 1 to %d of A-Z, a-z, 0-9 and _-.:@$+\\",
		    text, CONFIG_WRITER_MAX);
		return;
	}
	(void)snprintf(out->name, sizeof out->name, "%s", text);
	if (!r->files)
		return;
	if (!identity_parse(text, out, &why))
		(void)yaml_fail_key(map, "user", r->err, "%s", why.text);
	else if ((role = role_of(r->cfg, out->uid)) != NULL)
		(void)yaml_fail_key(map, "user", r->err,
		    "'%s' is the user of %s; allowed: another one, or no 'user' here", text, role);
}

/* A path, or {path: ..., user: ...}. */
static bool
read_dir(struct reader *r, const struct yaml_node *node, struct config_publish_dir *dir)
{
	struct error no_text = ERROR_INIT;
	struct yaml_map map;
	const char *text;

	if (yaml_node_string(node, &text, &no_text)) {
		dir->path = config_copy(r, text);
		if (dir->path != NULL && !config_is_absolute(text))
			(void)yaml_fail(node, r->err,
			    "'%.80s' is no absolute path; allowed: a path that begins with '/'",
			    text);
		return !error_is_set(r->err);
	}
	if (!yaml_map_begin(node, &map, r->err))
		return false;
	(void)config_read_path(r, &map, "path", YAML_REQUIRED, &dir->path);
	read_user(r, &map, &dir->user);
	return yaml_map_end(&map, r->err);
}

void
config_read_publish_dirs(struct reader *r, struct yaml_map *issuer)
{
	struct config_publish_dirs *dirs = &r->cfg->issuer.publish_dirs;
	const struct yaml_node *node;
	struct yaml_list list;

	if (!yaml_get_list(
		issuer, "publish_dirs", YAML_OPTIONAL, 0, CONFIG_PATHS_MAX, &list, r->err))
		return;
	dirs->items = calloc(CONFIG_PATHS_MAX, sizeof *dirs->items);
	if (dirs->items == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL) {
		if (!read_dir(r, node, &dirs->items[dirs->count++]))
			return;
	}
}

void
config_free_publish_dirs(struct config_publish_dirs *dirs)
{
	for (size_t i = 0; i < dirs->count; i++)
		free(dirs->items[i].path);
	free(dirs->items);
	*dirs = (struct config_publish_dirs){0};
}

const struct identity *
config_find_writer(const struct config *cfg, const char *user)
{
	const struct config_publish_dirs *dirs = &cfg->issuer.publish_dirs;

	for (size_t i = 0; i < dirs->count; i++) {
		if (dirs->items[i].user.name[0] != '\0' &&
		    strcmp(dirs->items[i].user.name, user) == 0)
			return &dirs->items[i].user;
	}
	return NULL;
}
