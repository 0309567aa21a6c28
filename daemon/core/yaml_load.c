#include "daemon/core/yaml_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

struct loader {
	struct yaml_doc *doc;
	struct yaml_node *open;	  /* the mapping or sequence that is being filled */
	char *key;		  /* a key that waits for its value; owned */
	struct yaml_place key_at; /* its place */
	unsigned depth;
	unsigned documents;
	bool done;
};

static struct yaml_place
place_of(yaml_mark_t mark)
{
	return (struct yaml_place){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

/* An error that has a place but no node yet. */
static bool PRINTF(5, 6) fail(const struct loader *l, struct yaml_place at, struct error *err,
    enum error_code code, const char *fmt, ...)
{
	char words[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	return error_set(err, code, "%s:%u:%u: %s", l->doc->name, at.line, at.col, words);
}

static struct yaml_node *
node_new(struct loader *l, enum yaml_kind kind, yaml_mark_t mark, struct error *err)
{
	struct yaml_node *n;

	if (l->doc->nodes >= YAML_NODES_MAX) {
		(void)fail(l, place_of(mark), err, ERROR_LIMIT,
		    "more than %d values in one document", YAML_NODES_MAX);
		return NULL;
	}
	n = calloc(1, sizeof *n);
	if (n == NULL) {
		(void)error_set(err, ERROR_SYSTEM, "%s: out of memory", l->doc->name);
		return NULL;
	}
	n->kind = kind;
	n->place = place_of(mark);
	n->doc = l->doc;
	n->chain = l->doc->chain;
	l->doc->chain = n;
	l->doc->nodes++;
	return n;
}

/* Hangs a node under the open one, or makes it the root. */
static bool
node_attach(struct loader *l, struct yaml_node *n, struct error *err)
{
	struct yaml_node *parent = l->open;

	if (parent == NULL) {
		l->doc->root = n;
		return true;
	}
	if (parent->count >= YAML_CHILDREN_MAX)
		return yaml_fail_at(parent, n->place, err, ERROR_LIMIT, "has more than %d entries",
		    YAML_CHILDREN_MAX);
	n->parent = parent;
	n->index = parent->count++;
	if (parent->kind == YAML_MAPPING) {
		n->key = l->key;
		n->key_place = l->key_at;
		l->key = NULL;
	}
	if (parent->last != NULL)
		parent->last->next = n;
	else
		parent->first = n;
	parent->last = n;
	return true;
}

static bool
take_key(struct loader *l, const yaml_event_t *ev, struct error *err)
{
	struct yaml_place at = place_of(ev->start_mark);
	const char *text = (const char *)ev->data.scalar.value;
	size_t len = ev->data.scalar.length;
	const struct yaml_node *twin;

	if (len == 0)
		return fail(l, at, err, ERROR_CONFIG, "an empty key; allowed: a word");
	if (len > YAML_KEY_MAX)
		return fail(l, at, err, ERROR_LIMIT, "a key of more than %d bytes", YAML_KEY_MAX);
	if (!yaml_is_printable(text, len))
		return fail(l, at, err, ERROR_CONFIG, "a key with control characters");
	twin = yaml_child(l->open, text);
	if (twin != NULL)
		return yaml_fail_at(twin, at, err, ERROR_CONFIG,
		    "stands twice, first in line %u; allowed: once", twin->key_place.line);
	l->key = strdup(text);
	l->key_at = at;
	if (l->key == NULL)
		return error_set(err, ERROR_SYSTEM, "%s: out of memory", l->doc->name);
	return true;
}

static bool
on_scalar(struct loader *l, const yaml_event_t *ev, struct error *err)
{
	struct yaml_place at = place_of(ev->start_mark);
	size_t len = ev->data.scalar.length;
	struct yaml_node *n;

	if (l->open != NULL && l->open->kind == YAML_MAPPING && l->key == NULL)
		return take_key(l, ev, err);
	n = node_new(l, YAML_SCALAR, ev->start_mark, err);
	if (n == NULL || !node_attach(l, n, err))
		return false;
	if (len > YAML_SCALAR_MAX)
		return yaml_fail_at(
		    n, at, err, ERROR_LIMIT, "longer than %d bytes", YAML_SCALAR_MAX);
	if (memchr(ev->data.scalar.value, '\0', len) != NULL)
		return yaml_fail_at(n, at, err, ERROR_CONFIG, "contains a NUL byte");
	n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	n->value = malloc(len + 1);
	if (n->value == NULL)
		return error_set(err, ERROR_SYSTEM, "%s: out of memory", l->doc->name);
	memcpy(n->value, ev->data.scalar.value, len);
	n->value[len] = '\0';
	n->value_len = len;
	return true;
}

static bool
on_open(struct loader *l, const yaml_event_t *ev, enum yaml_kind kind, struct error *err)
{
	struct yaml_place at = place_of(ev->start_mark);
	struct yaml_node *n;

	if (l->open != NULL && l->open->kind == YAML_MAPPING && l->key == NULL)
		return fail(l, at, err, ERROR_CONFIG,
		    "a mapping or sequence stands as a key; allowed: a word");
	if (++l->depth > YAML_DEPTH_MAX)
		return fail(l, at, err, ERROR_LIMIT, "nested deeper than %d", YAML_DEPTH_MAX);
	n = node_new(l, kind, ev->start_mark, err);
	if (n == NULL || !node_attach(l, n, err))
		return false;
	l->open = n;
	return true;
}

static bool
on_document(struct loader *l, const yaml_event_t *ev, struct error *err)
{
	if (ev->data.document_start.tag_directives.start !=
	    ev->data.document_start.tag_directives.end)
		return fail(l, place_of(ev->start_mark), err, ERROR_CONFIG,
		    "a %%TAG directive; tags are not allowed");
	if (++l->documents > 1)
		return fail(l, place_of(ev->start_mark), err, ERROR_CONFIG,
		    "a second document; allowed: one for each file");
	return true;
}

/* Anchors and tags would let a value mean something else than it reads. */
static bool
check_decoration(struct loader *l, const yaml_event_t *ev, const yaml_char_t *anchor,
    const yaml_char_t *tag, struct error *err)
{
	if (anchor != NULL)
		return fail(l, place_of(ev->start_mark), err, ERROR_CONFIG,
		    "anchor '&%.40s'; anchors and aliases are not allowed, write the value out",
		    (const char *)anchor);
	if (tag != NULL)
		return fail(l, place_of(ev->start_mark), err, ERROR_CONFIG,
		    "tag '%.60s'; tags are not allowed", (const char *)tag);
	return true;
}

static bool
on_event(struct loader *l, const yaml_event_t *ev, struct error *err)
{
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		return on_document(l, ev, err);
	case YAML_ALIAS_EVENT:
		return fail(l, place_of(ev->start_mark), err, ERROR_CONFIG,
		    "alias '*%.40s'; anchors and aliases are not allowed, write the value out",
		    (const char *)ev->data.alias.anchor);
	case YAML_SCALAR_EVENT:
		return check_decoration(l, ev, ev->data.scalar.anchor, ev->data.scalar.tag, err) &&
		       on_scalar(l, ev, err);
	case YAML_MAPPING_START_EVENT:
		return check_decoration(
			   l, ev, ev->data.mapping_start.anchor, ev->data.mapping_start.tag, err) &&
		       on_open(l, ev, YAML_MAPPING, err);
	case YAML_SEQUENCE_START_EVENT:
		return check_decoration(l, ev, ev->data.sequence_start.anchor,
			   ev->data.sequence_start.tag, err) &&
		       on_open(l, ev, YAML_SEQUENCE, err);
	case YAML_MAPPING_END_EVENT:
	case YAML_SEQUENCE_END_EVENT:
		if (l->open != NULL) {
			l->open = l->open->parent;
			l->depth--;
		}
		return true;
	case YAML_STREAM_END_EVENT:
		l->done = true;
		return true;
	default:
		return true;
	}
}

/* Line and column of a byte, for complaints that carry only an offset. */
static yaml_mark_t
mark_of_offset(const char *text, size_t len, size_t offset)
{
	yaml_mark_t mark = {0};

	for (size_t i = 0; i < offset && i < len; i++) {
		if (text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		} else if (((unsigned char)text[i] & 0xc0) != 0x80) {
			mark.column++;
		}
	}
	return mark;
}

/* libyaml's own complaint, with its place. */
static bool
syntax_error(
    const struct loader *l, const yaml_parser_t *p, const char *text, size_t len, struct error *err)
{
	const char *problem = p->problem != NULL ? p->problem : "not YAML";
	yaml_mark_t mark = p->problem_mark;

	if (p->error == YAML_MEMORY_ERROR)
		return error_set(err, ERROR_SYSTEM, "%s: out of memory", l->doc->name);
	if (p->error == YAML_READER_ERROR)
		mark = mark_of_offset(text, len, p->problem_offset);
	if (p->context != NULL)
		return fail(l, place_of(mark), err, ERROR_CONFIG, "not YAML: %s %s (line %zu)",
		    problem, p->context, p->context_mark.line + 1);
	return fail(l, place_of(mark), err, ERROR_CONFIG, "not YAML: %s", problem);
}

static bool
load_events(struct loader *l, const char *text, size_t len, struct error *err)
{
	yaml_parser_t parser;
	yaml_event_t ev;
	bool ok = true;

	if (!yaml_parser_initialize(&parser))
		return error_set(err, ERROR_SYSTEM, "%s: out of memory", l->doc->name);
	/* Left to itself libyaml would also take UTF-16. */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	while (ok && !l->done) {
		if (!yaml_parser_parse(&parser, &ev)) {
			ok = syntax_error(l, &parser, text, len, err);
			break;
		}
		ok = on_event(l, &ev, err);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&parser);
	return ok;
}

bool
yaml_doc_load(
    const char *text, size_t len, const char *name, struct yaml_doc **out, struct error *err)
{
	struct loader l = {0};
	bool ok = false;

	*out = NULL;
	l.doc = calloc(1, sizeof *l.doc);
	if (l.doc == NULL)
		return error_set(err, ERROR_SYSTEM, "%s: out of memory", name);
	(void)snprintf(l.doc->name, sizeof l.doc->name, "%s", name);
	if (len > YAML_TEXT_MAX) {
		(void)error_set(err, ERROR_LIMIT, "%s:1:1: %zu bytes; allowed: at most %d",
		    l.doc->name, len, YAML_TEXT_MAX);
		goto out;
	}
	if (!load_events(&l, text, len, err))
		goto out;
	if (l.doc->root == NULL) {
		(void)error_set(err, ERROR_CONFIG, "%s:1:1: the document is empty", l.doc->name);
		goto out;
	}
	*out = l.doc;
	l.doc = NULL;
	ok = true;
out:
	free(l.key);
	yaml_doc_free(l.doc);
	return ok;
}

void
yaml_doc_free(struct yaml_doc *doc)
{
	struct yaml_node *n, *next;

	if (doc == NULL)
		return;
	for (n = doc->chain; n != NULL; n = next) {
		next = n->chain;
		free(n->key);
		free(n->value);
		free(n);
	}
	free(doc);
}

const struct yaml_node *
yaml_doc_root(const struct yaml_doc *doc)
{
	return doc->root;
}
