/* Directory entries of a CA policy: where certificates go that people and machines get. */

#include <string.h>

#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/entry_address.h"

static bool
read_templates(struct yaml_map *map, struct capolicy_entry *e, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;

	if (!yaml_get_list(map, "templates", YAML_REQUIRED, 1, CAPOLICY_TEMPLATE_MAX, &list, err))
		return false;
	while ((item = yaml_list_next(&list)) != NULL)
		if (!yaml_node_string(item, &e->templates[e->template_count++], err))
			return false;
	return true;
}

static bool
read_remove(struct yaml_map *map, struct capolicy_entry *e, struct error *err)
{
	static const char *const words[] = {"revoked", "expired"};
	bool *const flags[] = {&e->remove_revoked, &e->remove_expired};
	const struct yaml_node *item;
	struct yaml_list list;
	size_t i = 0;

	if (!yaml_get_list(map, "remove", YAML_OPTIONAL, 0, COUNT_OF(words), &list, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_enum(item, words, COUNT_OF(words), &i, err))
			return false;
		*flags[i] = true;
	}
	return true;
}

static bool
is_known(const struct capolicy *policy, const char *name)
{
	for (size_t i = 0; i < policy->target_count; i++)
		if (strcmp(policy->targets[i].name, name) == 0)
			return true;
	for (size_t i = 0; i < policy->entry_count; i++)
		if (strcmp(policy->entries[i].target.name, name) == 0)
			return true;
	return false;
}

static bool
check_templates(const struct capolicy *policy, struct yaml_map *map, const struct capolicy_entry *e,
    struct error *err)
{
	for (size_t i = 0; i < e->template_count; i++)
		if (!capolicy_allows_template(policy, e->templates[i]))
			return yaml_fail_key(map, "templates", err,
			    "names '%.80s', by which this CA does not issue; see the policy's own "
			    "'templates'",
			    e->templates[i]);
	return true;
}

static bool
read_entry(struct capolicy *policy, const struct yaml_node *item, struct error *err)
{
	struct capolicy_entry *e = &policy->entries[policy->entry_count];
	struct capolicy_target *t = &e->target;
	struct error detail = ERROR_INIT;
	struct entry_address address;
	struct url url = {0};
	struct yaml_map map;

	if (!yaml_map_begin(item, &map, err) ||
	    !yaml_get_string(&map, "name", YAML_REQUIRED, &t->name, err) ||
	    !yaml_get_string(&map, "entry", YAML_REQUIRED, &t->write, err) ||
	    !read_templates(&map, e, err) || !read_remove(&map, e, err))
		return false;
	if (!capolicy_is_name(t->name) || is_known(policy, t->name))
		return yaml_fail_key(&map, "name", err,
		    "'%.80s' is no name, or the name of another target or entry", t->name);
	if (!entry_address_parse(t->write, &address, &detail) ||
	    !url_parse(address.server, &url, &detail))
		return yaml_fail_key(&map, "entry", err, "'%.200s' %s", t->write, detail.text);
	t->read = t->write;
	t->artifact = "certificate";
	t->kind = "ldap";
	if (!capolicy_read_ldap_access(&map, t, &url, err) ||
	    !check_templates(policy, &map, e, err) || !yaml_map_end(&map, err))
		return false;
	policy->entry_count++;
	return true;
}

bool
capolicy_read_entries(struct capolicy *policy, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;

	if (yaml_get_list(map, "entries", YAML_OPTIONAL, 0, CAPOLICY_ENTRY_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_entry(policy, item, err))
				return false;
	return !error_is_set(err);
}
