#ifndef CHANCERY_CORE_YAML_INT_H
#define CHANCERY_CORE_YAML_INT_H

/* The tree that yaml_load.c builds and yaml.c reads. */

#include <stddef.h>

#include "daemon/core/yaml.h"

#define YAML_NAME_MAX 200 /* bytes of the document's name in errors */
#define YAML_PATH_MAX 160 /* bytes of a key's path in errors */

enum yaml_kind {
	YAML_SCALAR,
	YAML_MAPPING,
	YAML_SEQUENCE,
};

struct yaml_place {
	unsigned line, col; /* from 1 */
};

struct yaml_node {
	enum yaml_kind kind;
	bool plain; /* a scalar without quotes, and no block */
	struct yaml_place place, key_place;
	const struct yaml_doc *doc;
	struct yaml_node *parent;
	struct yaml_node *next; /* the following child of parent */
	struct yaml_node *first, *last;
	size_t count; /* children */
	size_t index; /* in a sequence */
	char *key;    /* in a mapping; owned */
	char *value;  /* of a scalar; owned, value_len bytes and a NUL */
	size_t value_len;
	struct yaml_node *chain; /* all nodes of the document, to free them */
};

struct yaml_doc {
	char name[YAML_NAME_MAX];
	struct yaml_node *root;
	struct yaml_node *chain;
	size_t nodes;
};

/* The child of a mapping under key, or NULL. */
struct yaml_node *yaml_child(const struct yaml_node *map, const char *key);

/* True for bytes without NUL, C0, DEL and C1 control characters. */
bool yaml_is_printable(const char *s, size_t len);

/* Fills err with "NAME:LINE:COL: key 'PATH': words". Returns false. */
bool yaml_fail_at(const struct yaml_node *node, struct yaml_place place, struct error *err,
    enum error_code code, const char *fmt, ...) PRINTF(5, 6);

#endif
