#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/config_int.h"

char *
config_copy(struct reader *r, const char *text)
{
	char *s = strdup(text);

	if (s == NULL)
		error_set(r->err, ERROR_SYSTEM, "out of memory");
	return s;
}

bool
config_read_text(
    struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out)
{
	const char *text;

	if (!yaml_get_string(map, key, need, &text, r->err))
		return false;
	*out = config_copy(r, text);
	return *out != NULL;
}

bool
config_is_absolute(const char *path)
{
	return path[0] == '/' && strlen(path) < PATH_MAX;
}

bool
config_read_path(
    struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need, char **out)
{
	if (!config_read_text(r, map, key, need, out))
		return false;
	if (!config_is_absolute(*out))
		return yaml_fail_key(map, key, r->err,
		    "'%.80s' is no absolute path; allowed: a path that begins with '/'", *out);
	return true;
}

void
config_read_paths(struct reader *r, struct yaml_map *map, const char *key, struct config_paths *out)
{
	const struct yaml_node *node;
	struct yaml_list list;
	const char *text;

	if (!yaml_get_list(map, key, YAML_OPTIONAL, 0, CONFIG_PATHS_MAX, &list, r->err))
		return;
	out->items = calloc(CONFIG_PATHS_MAX, sizeof *out->items);
	if (out->items == NULL) {
		error_set(r->err, ERROR_SYSTEM, "out of memory");
		return;
	}
	while ((node = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_string(node, &text, r->err))
			return;
		if (!config_is_absolute(text)) {
			(void)yaml_fail(node, r->err,
			    "'%.80s' is no absolute path; allowed: a path that begins with '/'",
			    text);
			return;
		}
		out->items[out->count] = config_copy(r, text);
		out->count += out->items[out->count] != NULL;
	}
}

void
config_free_paths(struct config_paths *paths)
{
	for (size_t i = 0; i < paths->count; i++)
		free(paths->items[i]);
	free(paths->items);
	*paths = (struct config_paths){0};
}

/* ---- files, seen by the user who needs them */

struct look {
	const char *path;
	config_check_fn *check;
};

static bool
look(void *arg, struct error *err)
{
	const struct look *l = arg;

	return l->check(l->path, err);
}

void
config_read_file(struct reader *r, struct yaml_map *map, const char *key, enum yaml_need need,
    char **out, config_check_fn *check, const struct identity *user)
{
	bool has_users = r->cfg->separation == CONFIG_SEPARATION_USERS;
	struct error why = ERROR_INIT;
	struct look l = {.check = check};

	if (!config_read_path(r, map, key, need, out) || !r->files)
		return;
	l.path = *out;
	if (!identity_check(has_users ? user : NULL, look, &l, &why))
		(void)yaml_fail_key(map, key, r->err, "%s", why.text);
}

bool
config_consists_of(const char *text, size_t max, const char *characters)
{
	size_t len = strlen(text);

	return len > 0 && len <= max && strspn(text, characters) == len;
}
