#include "daemon/core/yaml_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the tree */

struct yaml_node *
yaml_child(const struct yaml_node *map, const char *key)
{
	for (struct yaml_node *n = map->first; n != NULL; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

bool
yaml_is_printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f)
			return false;
		/* U+0080..U+009F are C2 80..C2 9F. */
		if (c == 0xc2 && i + 1 < len && (unsigned char)s[i + 1] < 0xa0)
			return false;
	}
	return true;
}

/* Writes "a.b[0].c" for a node; what does not fit loses its beginning. */
static void
path_of(const struct yaml_node *node, const char *last_key, char *out, size_t size)
{
	const struct yaml_node *line[YAML_DEPTH_MAX + 2] = {NULL};
	char full[(YAML_KEY_MAX + 16) * (YAML_DEPTH_MAX + 2)];
	size_t n = 0, used = 0;

	for (; node != NULL && n < COUNT_OF(line); node = node->parent)
		line[n++] = node;
	full[0] = '\0';
	while (n-- > 0) {
		const struct yaml_node *at = line[n];

		if (at->key != NULL)
			used += (size_t)snprintf(
			    full + used, sizeof full - used, "%s%s", used > 0 ? "." : "", at->key);
		else if (at->parent != NULL)
			used += (size_t)snprintf(
			    full + used, sizeof full - used, "[%zu]", at->index);
	}
	if (last_key != NULL)
		used += (size_t)snprintf(
		    full + used, sizeof full - used, "%s%s", used > 0 ? "." : "", last_key);
	if (used < size)
		memcpy(out, full, used + 1);
	else
		(void)snprintf(out, size, "...%s", full + used - (size - 4));
}

static bool
fail_words(const struct yaml_node *node, const char *last_key, struct yaml_place at,
    struct error *err, enum error_code code, const char *fmt, va_list ap)
{
	char words[ERROR_TEXT_MAX], path[YAML_PATH_MAX];

	(void)vsnprintf(words, sizeof words, fmt, ap);
	path_of(node, last_key, path, sizeof path);
	if (path[0] == '\0')
		return error_set(err, code, "%s:%u:%u: the document %s", node->doc->name, at.line,
		    at.col, words);
	return error_set(
	    err, code, "%s:%u:%u: key '%s': %s", node->doc->name, at.line, at.col, path, words);
}

bool
yaml_fail_at(const struct yaml_node *node, struct yaml_place place, struct error *err,
    enum error_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fail_words(node, NULL, place, err, code, fmt, ap);
	va_end(ap);
	return false;
}

bool
yaml_fail(const struct yaml_node *node, struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fail_words(node, NULL, node->place, err, ERROR_CONFIG, fmt, ap);
	va_end(ap);
	return false;
}

bool
yaml_fail_key(struct yaml_map *map, const char *key, struct error *err, const char *fmt, ...)
{
	const struct yaml_node *n = yaml_child(map->node, key);
	va_list ap;

	va_start(ap, fmt);
	if (n != NULL)
		(void)fail_words(n, NULL, n->place, err, ERROR_CONFIG, fmt, ap);
	else
		(void)fail_words(map->node, key, map->node->place, err, ERROR_CONFIG, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- mappings */

static const char *
kind_name(const struct yaml_node *node)
{
	switch (node->kind) {
	case YAML_MAPPING:
		return "a mapping";
	case YAML_SEQUENCE:
		return "a list";
	default:
		return node->value_len == 0 && node->plain ? "empty" : "a single value";
	}
}

static bool
expect_kind(const struct yaml_node *node, enum yaml_kind kind, struct error *err)
{
	static const char *const wanted[] = {
	    [YAML_SCALAR] = "a single value",
	    [YAML_MAPPING] = "a mapping of keys to values",
	    [YAML_SEQUENCE] = "a list",
	};

	if (error_is_set(err))
		return false;
	if (node->kind == kind)
		return true;
	return yaml_fail(node, err, "is %s; allowed: %s", kind_name(node), wanted[kind]);
}

bool
yaml_map_begin(const struct yaml_node *node, struct yaml_map *map, struct error *err)
{
	*map = (struct yaml_map){.node = node};
	return expect_kind(node, YAML_MAPPING, err);
}

static bool
was_asked(const struct yaml_map *map, const char *key)
{
	for (size_t i = 0; i < map->asked_count; i++)
		if (strcmp(map->asked[i], key) == 0)
			return true;
	return false;
}

/* "a, b, c" of the strings, as far as they fit. */
static void
join(const char *const *words, size_t count, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < count && used < size; i++)
		used += (size_t)snprintf(
		    out + used, size - used, "%s%s", i > 0 ? ", " : "", words[i]);
}

bool
yaml_map_end(struct yaml_map *map, struct error *err)
{
	char allowed[ERROR_TEXT_MAX];

	if (error_is_set(err))
		return false;
	if (map->free_form)
		return true;
	for (const struct yaml_node *n = map->node->first; n != NULL; n = n->next) {
		if (was_asked(map, n->key))
			continue;
		join(map->asked, map->asked_count, allowed, sizeof allowed);
		return yaml_fail_at(
		    n, n->key_place, err, ERROR_CONFIG, "unknown key; allowed: %s", allowed);
	}
	return true;
}

static const struct yaml_node *
ask(struct yaml_map *map, const char *key)
{
	if (!was_asked(map, key) && map->asked_count < YAML_ASKED_MAX)
		map->asked[map->asked_count++] = key;
	return yaml_child(map->node, key);
}

bool
yaml_has(struct yaml_map *map, const char *key)
{
	return ask(map, key) != NULL;
}

bool
yaml_get_node(struct yaml_map *map, const char *key, enum yaml_need need,
    const struct yaml_node **out, struct error *err)
{
	const struct yaml_node *n, *c;
	const char *given[8] = {NULL};
	char list[200];
	size_t count = 0;

	if (error_is_set(err))
		return false;
	n = ask(map, key);
	if (n != NULL) {
		*out = n;
		return true;
	}
	if (need == YAML_OPTIONAL)
		return false;
	/* A mistyped key shows as a missing one: say what stands there. */
	for (c = map->node->first; c != NULL && count < COUNT_OF(given); c = c->next)
		if (!was_asked(map, c->key))
			given[count++] = c->key;
	join(given, count, list, sizeof list);
	(void)yaml_fail_key(map, key, err, "is missing and must be given%s%s",
	    count > 0 ? "; here stand also: " : "", list);
	return false;
}

bool
yaml_get_map(struct yaml_map *map, const char *key, enum yaml_need need, struct yaml_map *child,
    struct error *err)
{
	const struct yaml_node *n = NULL;

	return yaml_get_node(map, key, need, &n, err) && yaml_map_begin(n, child, err);
}

bool
yaml_map_entry(struct yaml_map *map, size_t index, const char **key, const struct yaml_node **value)
{
	const struct yaml_node *n = map->node->first;

	map->free_form = true;
	for (; n != NULL && n->index < index; n = n->next)
		;
	if (n == NULL)
		return false;
	*key = n->key;
	*value = n;
	return true;
}

/* ---- lists */

bool
yaml_is_list(const struct yaml_node *node)
{
	return node->kind == YAML_SEQUENCE;
}

bool
yaml_get_list(struct yaml_map *map, const char *key, enum yaml_need need, size_t min, size_t max,
    struct yaml_list *list, struct error *err)
{
	const struct yaml_node *n;

	if (!yaml_get_node(map, key, need, &n, err) || !expect_kind(n, YAML_SEQUENCE, err))
		return false;
	if (n->count < min || n->count > max)
		return yaml_fail(n, err, "has %zu items; allowed: %zu to %zu", n->count, min, max);
	*list = (struct yaml_list){.node = n, .next = n->first, .count = n->count};
	return true;
}

const struct yaml_node *
yaml_list_next(struct yaml_list *list)
{
	const struct yaml_node *n = list->next;

	if (n != NULL)
		list->next = n->next;
	return n;
}

/* ---- values */

/* A scalar with something in it. */
static bool
expect_value(const struct yaml_node *node, const char *allowed, struct error *err)
{
	if (error_is_set(err))
		return false;
	if (node->kind != YAML_SCALAR)
		return yaml_fail(node, err, "is %s; allowed: %s", kind_name(node), allowed);
	if (node->value_len == 0 ||
	    (node->plain && (strcmp(node->value, "~") == 0 || strcmp(node->value, "null") == 0)))
		return yaml_fail(node, err, "is empty; allowed: %s, or leave the key out", allowed);
	if (!yaml_is_printable(node->value, node->value_len))
		return yaml_fail(node, err, "contains control characters; allowed: %s", allowed);
	return true;
}

bool
yaml_node_string(const struct yaml_node *node, const char **out, struct error *err)
{
	if (!expect_value(node, "text", err))
		return false;
	*out = node->value;
	return true;
}

bool
yaml_get_string(
    struct yaml_map *map, const char *key, enum yaml_need need, const char **out, struct error *err)
{
	const struct yaml_node *n = NULL;

	return yaml_get_node(map, key, need, &n, err) && yaml_node_string(n, out, err);
}

/*
 * Decimal digits with at most a minus sign. strtoll alone would also take
 * blanks, a plus sign, and leave what follows; leading zeros are refused
 * because other readers take them for octal.
 */
static bool
parse_decimal(const char *s, const char **end, int64_t *out)
{
	const char *digits = s[0] == '-' ? s + 1 : s;
	char *stop = NULL;
	long long v;

	if (digits[0] < '0' || digits[0] > '9')
		return false;
	if (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9')
		return false;
	errno = 0;
	v = strtoll(s, &stop, 10);
	if (errno != 0)
		return false;
	*end = stop;
	*out = v;
	return true;
}

bool
yaml_node_int(
    const struct yaml_node *node, int64_t min, int64_t max, int64_t *out, struct error *err)
{
	const char *end = NULL;
	char allowed[96];
	int64_t v = 0;

	(void)snprintf(allowed, sizeof allowed, "a whole number from %lld to %lld", (long long)min,
	    (long long)max);
	if (!expect_value(node, allowed, err))
		return false;
	if (!node->plain || !parse_decimal(node->value, &end, &v) || *end != '\0' || v < min ||
	    v > max)
		return yaml_fail(node, err, "'%.60s' is not allowed; allowed: %s%s", node->value,
		    allowed, node->plain ? "" : ", without quotes");
	*out = v;
	return true;
}

bool
yaml_get_int(struct yaml_map *map, const char *key, enum yaml_need need, int64_t min, int64_t max,
    int64_t *out, struct error *err)
{
	const struct yaml_node *n = NULL;

	return yaml_get_node(map, key, need, &n, err) && yaml_node_int(n, min, max, out, err);
}

bool
yaml_get_bool(
    struct yaml_map *map, const char *key, enum yaml_need need, bool *out, struct error *err)
{
	const struct yaml_node *n;

	if (!yaml_get_node(map, key, need, &n, err) || !expect_value(n, "true or false", err))
		return false;
	if (n->plain && strcmp(n->value, "true") == 0)
		*out = true;
	else if (n->plain && strcmp(n->value, "false") == 0)
		*out = false;
	else
		return yaml_fail(n, err, "'%.60s' is not allowed; allowed: true, false%s", n->value,
		    n->plain ? "" : ", without quotes");
	return true;
}

static const struct {
	char letter;
	int64_t seconds;
} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 7 * 86400}, {'y', 365 * 86400}};

/* Seconds as the largest unit that divides them: "90d". */
static void
format_duration(int64_t s, char out[32])
{
	size_t i = COUNT_OF(units) - 1;

	while (i > 0 && (s % units[i].seconds != 0 || s == 0 || units[i].letter == 'w'))
		i--;
	(void)snprintf(out, 32, "%lld%c", (long long)(s / units[i].seconds), units[i].letter);
}

bool
yaml_duration(const char *s, int64_t *out_s)
{
	const char *end = NULL;
	int64_t v = 0;

	if (s[0] == '-' || !parse_decimal(s, &end, &v) || end[0] == '\0' || end[1] != '\0')
		return false;
	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (units[i].letter == *end)
			return !__builtin_mul_overflow(v, units[i].seconds, out_s);
	return false;
}

bool
yaml_get_duration(struct yaml_map *map, const char *key, enum yaml_need need, int64_t min_s,
    int64_t max_s, int64_t *out_s, struct error *err)
{
	const struct yaml_node *n;
	char min[32], max[32], allowed[160];
	int64_t v = 0;

	format_duration(min_s, min);
	format_duration(max_s, max);
	(void)snprintf(allowed, sizeof allowed,
	    "a number with one unit of s, m, h, d, w, y, from %s to %s", min, max);
	if (!yaml_get_node(map, key, need, &n, err) || !expect_value(n, allowed, err))
		return false;
	if (!yaml_duration(n->value, &v) || v < min_s || v > max_s)
		return yaml_fail(n, err, "'%.60s' is not allowed; allowed: %s", n->value, allowed);
	*out_s = v;
	return true;
}

bool
yaml_node_enum(const struct yaml_node *node, const char *const *words, size_t count, size_t *out,
    struct error *err)
{
	char allowed[320];

	join(words, count, allowed, sizeof allowed);
	if (!expect_value(node, allowed, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (strcmp(node->value, words[i]) == 0) {
			*out = i;
			return true;
		}
	return yaml_fail(node, err, "'%.60s' is not allowed; allowed: %s", node->value, allowed);
}

bool
yaml_get_enum(struct yaml_map *map, const char *key, enum yaml_need need, const char *const *words,
    size_t count, size_t *out, struct error *err)
{
	const struct yaml_node *n = NULL;

	return yaml_get_node(map, key, need, &n, err) && yaml_node_enum(n, words, count, out, err);
}
