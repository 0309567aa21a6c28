/* The section `limits` of a CA policy: what the policy says of the limits that
 * operators are to sign for the CA's key. */

#include <stdio.h>
#include <string.h>

#include "daemon/x509/canon.h"
#include "daemon/x509/capolicy_int.h"

static bool
read_rights(struct yaml_map *map, unsigned *rights, struct error *err)
{
	static const char *const words[] = {"limits", "decide"};
	static const unsigned bits[] = {LIMITS_RIGHT_LIMITS, LIMITS_RIGHT_DECIDE};
	const struct yaml_node *right;
	struct yaml_list list;
	size_t word = 0;

	if (!yaml_get_list(map, "rights", YAML_REQUIRED, 1, COUNT_OF(words), &list, err))
		return false;
	while ((right = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_enum(right, words, COUNT_OF(words), &word, err))
			return false;
		if ((*rights & bits[word]) != 0)
			return yaml_fail(
			    right, err, "'%s' stands twice; allowed: once", words[word]);
		*rights |= bits[word];
	}
	return true;
}

static bool
read_operator(struct capolicy_limits *l, const struct yaml_node *item, struct error *err)
{
	struct capolicy_operator *o = &l->operators[l->operator_count];
	struct yaml_map map;

	if (!yaml_map_begin(item, &map, err) ||
	    !yaml_get_string(&map, "person", YAML_REQUIRED, &o->person, err))
		return false;
	if (!canon_is_name(o->person, "._@-", false))
		return yaml_fail_key(&map, "person", err,
		    "'%.80s' is no person's name; allowed: [A-Za-z0-9._@-], at most %d, first a "
		    "letter or digit",
		    o->person, CANON_NAME_MAX);
	for (size_t i = 0; i < l->operator_count; i++)
		if (strcmp(l->operators[i].person, o->person) == 0)
			return yaml_fail_key(
			    &map, "person", err, "'%s' stands twice; allowed: once", o->person);
	if (!read_rights(&map, &o->rights, err) || !yaml_map_end(&map, err))
		return false;
	l->operator_count++;
	return true;
}

/* Who may sign changes must be enough: otherwise the limits could never change. */
static bool
check_quorum(const struct capolicy_limits *l, struct yaml_map *map, struct error *err)
{
	unsigned persons = 0;

	for (size_t i = 0; i < l->operator_count; i++)
		persons += (l->operators[i].rights & LIMITS_RIGHT_LIMITS) != 0;
	if (l->operator_count > 0 && persons == 0)
		return yaml_fail_key(map, "operators", err,
		    "names nobody with the right 'limits', so that nobody could ever change them");
	if (l->quorum > 1 && l->operator_count == 0)
		return yaml_fail_key(map, "quorum", err,
		    "is %u, but 'operators' is not given, and then only the operator who creates "
		    "the CA has the right 'limits'; name at least %u persons with it",
		    l->quorum, l->quorum);
	if (l->operator_count > 0 && l->quorum > persons)
		return yaml_fail_key(map, "quorum", err,
		    "is %u, but 'operators' names only %u %s with the right 'limits'", l->quorum,
		    persons, persons == 1 ? "person" : "persons");
	return true;
}

static bool
read_operators(struct capolicy_limits *l, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	int64_t quorum = 0;

	(void)yaml_get_int(map, "quorum", YAML_OPTIONAL, 1, CAPOLICY_QUORUM_MAX, &quorum, err);
	l->quorum = (unsigned)quorum;
	if (yaml_get_list(map, "operators", YAML_OPTIONAL, 1, LIMITS_OPERATOR_MAX, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!read_operator(l, item, err))
				return false;
	return !error_is_set(err) && check_quorum(l, map, err);
}

static bool
read_signers(struct capolicy_limits *l, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	int64_t id = 0;

	if (!yaml_get_list(map, "signer_ids", YAML_OPTIONAL, 1, LIMITS_SIGNER_MAX, &list, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_int(item, 1, UINT16_MAX, &id, err))
			return false;
		for (size_t i = 0; i < l->signer_count; i++)
			if (l->signer_ids[i] == (uint16_t)id)
				return yaml_fail(item, err, "stands twice; allowed: once");
		l->signer_ids[l->signer_count++] = (uint16_t)id;
	}
	return true;
}

static bool
read_names(
    struct yaml_map *map, const char *key, const char **names, size_t *count, struct error *err)
{
	const struct yaml_node *item;
	struct limits_name parsed;
	struct yaml_list list;

	if (!yaml_get_list(map, key, YAML_OPTIONAL, 0, LIMITS_NAME_COUNT_MAX, &list, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&list)) != NULL) {
		struct error detail = ERROR_INIT;

		if (!yaml_node_string(item, &names[*count], err))
			return false;
		if (!limits_name_from_text(names[*count], &parsed, &detail))
			return yaml_fail(item, err, "%s", detail.text);
		for (size_t i = 0; i < *count; i++)
			if (strcmp(names[i], names[*count]) == 0)
				return yaml_fail(item, err, "stands twice; allowed: once");
		++*count;
	}
	return true;
}

static bool
read_responders(struct capolicy_limits *l, struct yaml_map *map, struct error *err)
{
	const struct yaml_node *item;
	struct yaml_list list;
	const char *text = NULL;

	if (!yaml_get_list(map, "responders", YAML_OPTIONAL, 0, LIMITS_RESPONDER_MAX, &list, err))
		return !error_is_set(err);
	while ((item = yaml_list_next(&list)) != NULL) {
		if (!yaml_node_string(item, &text, err))
			return false;
		if (!canon_hex(text, l->responders[l->responder_count], 32))
			return yaml_fail(item, err,
			    "'%.80s' is no key; allowed: the SHA-256 of an OCSP responder's "
			    "SubjectPublicKeyInfo, 64 lower-case hex digits",
			    text);
		for (size_t i = 0; i < l->responder_count; i++)
			if (memcmp(l->responders[i], l->responders[l->responder_count], 32) == 0)
				return yaml_fail(item, err, "stands twice; allowed: once");
		l->responder_count++;
	}
	return true;
}

/* A moment, or a time from the ceremony on. */
static bool
read_not_after(struct capolicy *p, struct yaml_map *map, struct error *err)
{
	struct capolicy_limits *l = &p->limits;
	const char *text = NULL;

	if (!yaml_get_string(map, "not_after", YAML_OPTIONAL, &text, err))
		return !error_is_set(err);
	if (canon_time(text, &l->not_after))
		return true;
	if (!yaml_get_duration(
		map, "not_after", YAML_REQUIRED, 3600, CAPOLICY_VALIDITY_MAX_S, &l->life_s, err))
		return false;
	if (p->kind == CA_ROOT && l->life_s < p->validity_s)
		return yaml_fail_key(map, "not_after", err,
		    "is shorter than 'validity', so that the root could not sign its own "
		    "certificate");
	return true;
}

bool
capolicy_read_limits(struct capolicy *policy, struct yaml_map *map, struct error *err)
{
	struct capolicy_limits *l = &policy->limits;
	struct yaml_map child;

	if (!yaml_get_map(map, "limits", YAML_OPTIONAL, &child, err))
		return !error_is_set(err);
	return read_operators(l, &child, err) && read_signers(l, &child, err) &&
	       read_names(&child, "permitted", l->permitted, &l->permitted_count, err) &&
	       read_names(&child, "excluded", l->excluded, &l->excluded_count, err) &&
	       read_responders(l, &child, err) && read_not_after(policy, &child, err) &&
	       yaml_map_end(&child, err);
}
