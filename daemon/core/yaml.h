#ifndef CHANCERY_CORE_YAML_H
#define CHANCERY_CORE_YAML_H

/*
 * A strict walker over one YAML document: configuration, CA policies, templates.
 *
 * Loading reads libyaml's events into a tree of our own, because libyaml's
 * document loader has already forgotten anchors and explicit tags. Refused:
 * aliases, anchors, tags, duplicate keys, keys that are not scalars, several
 * documents, an empty document, NUL bytes, and whatever is beyond the limits.
 *
 * Reading goes key by key:
 *
 *	struct yaml_map map;
 *	if (!yaml_map_begin(yaml_doc_root(doc), &map, err))
 *		return false;
 *	yaml_get_string(&map, "name", YAML_REQUIRED, &name, err);
 *	if (yaml_get_int(&map, "threads", YAML_OPTIONAL, 1, 64, &threads, err))
 *		... it is there ...
 *	return yaml_map_end(&map, err);
 *
 * A getter returns true when the key is there and its value is good; *out is
 * then set. It returns false, and leaves *out as it was, when the key is absent
 * and optional, or after an error; with err already set it does nothing. So a
 * caller sets its defaults first, asks for everything, and looks once, at
 * yaml_map_end. (A value that is used in between needs the getter's result.)
 * err must not be NULL.
 *
 * Every error reads "FILE:LINE:COL: key 'a.b[0].c': what is wrong", names what
 * is allowed, and has the code ERROR_CONFIG (ERROR_LIMIT for a size). Lines and
 * columns count from 1, columns in characters.
 *
 * Strings that come out are borrowed from the document, NUL-terminated UTF-8
 * without control characters, and never empty.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define YAML_TEXT_MAX (256 * 1024) /* bytes of a document */
#define YAML_DEPTH_MAX 16	   /* mappings and sequences inside each other */
#define YAML_NODES_MAX 20000	   /* scalars, mappings and sequences together */
#define YAML_CHILDREN_MAX 2000	   /* keys of a mapping, items of a sequence */
#define YAML_KEY_MAX 128	   /* bytes of a key */
#define YAML_SCALAR_MAX 8192	   /* bytes of a value */
#define YAML_ASKED_MAX 48	   /* keys that a program asks a mapping for */

struct yaml_doc;  /* owns every node and string below */
struct yaml_node; /* one scalar, mapping or sequence with its place */

enum yaml_need {
	YAML_OPTIONAL = 0,
	YAML_REQUIRED = 1,
};

/* A mapping that is being read. Remembers what it was asked for, so that the
 * end can name keys that nobody knows. Nothing to free. */
struct yaml_map {
	const struct yaml_node *node;
	const char *asked[YAML_ASKED_MAX];
	size_t asked_count;
	bool free_form; /* entries were iterated: any key goes */
};

/* A sequence that is being read. Nothing to free. */
struct yaml_list {
	const struct yaml_node *node;
	const struct yaml_node *next;
	size_t count;
};

/* Parses len bytes of text. name goes into errors (a path, or "template x");
 * it is copied. On success *doc is owned by the caller, to be freed with
 * yaml_doc_free after the last borrowed string is done with. */
bool yaml_doc_load(const char *text, size_t len, const char *name, struct yaml_doc **doc,
    struct error *err) MUST_CHECK;
void yaml_doc_free(struct yaml_doc *doc);

const struct yaml_node *yaml_doc_root(const struct yaml_doc *doc);

/* Starts reading node as a mapping; an error if it is something else. */
bool yaml_map_begin(
    const struct yaml_node *node, struct yaml_map *map, struct error *err) MUST_CHECK;

/* Ends it: true when no error is set and every key was asked for. The error
 * for an unknown key lists all keys that were. */
bool yaml_map_end(struct yaml_map *map, struct error *err) MUST_CHECK;

/* True if the mapping has the key (counts as asked for). */
bool yaml_has(struct yaml_map *map, const char *key);

bool yaml_get_string(struct yaml_map *map, const char *key, enum yaml_need need, const char **out,
    struct error *err);

/* A plain decimal number, min <= out <= max. */
bool yaml_get_int(struct yaml_map *map, const char *key, enum yaml_need need, int64_t min,
    int64_t max, int64_t *out, struct error *err);

/* true or false, nothing else. */
bool yaml_get_bool(
    struct yaml_map *map, const char *key, enum yaml_need need, bool *out, struct error *err);

/* One number and one unit: "45s", "30m", "12h", "90d", "2w", "1y" (365 days).
 * Bounds and result in seconds. */
bool yaml_get_duration(struct yaml_map *map, const char *key, enum yaml_need need, int64_t min_s,
    int64_t max_s, int64_t *out_s, struct error *err);

/* The same of a text from elsewhere, without bounds but that it is not negative. */
bool yaml_duration(const char *s, int64_t *out_s) MUST_CHECK;

/* One of count words; *out is its index. */
bool yaml_get_enum(struct yaml_map *map, const char *key, enum yaml_need need,
    const char *const *words, size_t count, size_t *out, struct error *err);

/* A mapping below; read it like any other, with its own yaml_map_end. */
bool yaml_get_map(struct yaml_map *map, const char *key, enum yaml_need need,
    struct yaml_map *child, struct error *err);

/* A sequence below with min..max items (max at most YAML_CHILDREN_MAX). */
bool yaml_get_list(struct yaml_map *map, const char *key, enum yaml_need need, size_t min,
    size_t max, struct yaml_list *list, struct error *err);

/* The value as it stands. */
bool yaml_get_node(struct yaml_map *map, const char *key, enum yaml_need need,
    const struct yaml_node **out, struct error *err);

bool yaml_is_list(const struct yaml_node *node);

/* The next item, or NULL after the last. */
const struct yaml_node *yaml_list_next(struct yaml_list *list);

/* For mappings whose keys are free (environment variables): entry index 0.., in
 * the order of the document. *key is borrowed. False after the last. */
bool yaml_map_entry(
    struct yaml_map *map, size_t index, const char **key, const struct yaml_node **value);

/* The same readings for an item of a sequence or a free entry. Return false
 * with err set when the node is something else, or err was set already. */
bool yaml_node_string(const struct yaml_node *node, const char **out, struct error *err);
bool yaml_node_int(
    const struct yaml_node *node, int64_t min, int64_t max, int64_t *out, struct error *err);
bool yaml_node_enum(const struct yaml_node *node, const char *const *words, size_t count,
    size_t *out, struct error *err);

/* Refuses a value for a reason of the caller's: fills err with the place and
 * the path of the node before the words. Return false. */
bool yaml_fail(const struct yaml_node *node, struct error *err, const char *fmt, ...) PRINTF(3, 4);

/* The same for the value of a key; at the mapping itself if the key is absent. */
bool yaml_fail_key(struct yaml_map *map, const char *key, struct error *err, const char *fmt, ...)
    PRINTF(4, 5);

#endif
