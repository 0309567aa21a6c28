/* The YAML walker: what it gives out, and each refusal with its place. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/yaml.h"

static const char *const colours[] = {"red", "green"};

struct sample {
	const char *name;
	int64_t port, life_s;
	bool on;
	size_t colour;
	const char *inner;
	const char *items[8];
	size_t item_count;
};

static bool
read_sample(const struct yaml_node *root, struct sample *s, struct error *err)
{
	struct yaml_map map, inner;
	struct yaml_list list;
	const struct yaml_node *item;

	if (!yaml_map_begin(root, &map, err))
		return false;
	(void)yaml_get_string(&map, "name", YAML_REQUIRED, &s->name, err);
	(void)yaml_get_int(&map, "port", YAML_OPTIONAL, 1, 65535, &s->port, err);
	(void)yaml_get_bool(&map, "on", YAML_OPTIONAL, &s->on, err);
	(void)yaml_get_duration(&map, "life", YAML_OPTIONAL, 60, 10 * 365 * 86400, &s->life_s, err);
	(void)yaml_get_enum(
	    &map, "colour", YAML_OPTIONAL, colours, COUNT_OF(colours), &s->colour, err);
	if (yaml_get_map(&map, "inner", YAML_OPTIONAL, &inner, err)) {
		(void)yaml_get_string(&inner, "text", YAML_REQUIRED, &s->inner, err);
		if (!yaml_map_end(&inner, err))
			return false;
	}
	if (yaml_get_list(&map, "items", YAML_OPTIONAL, 1, 8, &list, err))
		while ((item = yaml_list_next(&list)) != NULL)
			if (!yaml_node_string(item, &s->items[s->item_count++], err))
				return false;
	return yaml_map_end(&map, err);
}

/* Loads and reads text; the error's text is left in *err. */
static bool
try(const char *text, size_t len, struct error *err)
{
	struct yaml_doc *doc = NULL;
	struct sample s = {0};
	bool ok;

	*err = ERROR_INIT;
	ok = yaml_doc_load(text, len, "f.yaml", &doc, err) &&
	     read_sample(yaml_doc_root(doc), &s, err);
	assert_int_equal(ok, !error_is_set(err));
	yaml_doc_free(doc);
	return ok;
}

static void
test_reads_values(void **state)
{
	static const char text[] = "# comment\n"
				   "name: main one\n"
				   "port: 8080\n"
				   "on: true\n"
				   "life: 90d\n"
				   "colour: \"green\"\n"
				   "inner: {text: 'gr\xc3\xbc\xc3\x9f'}\n"
				   "items: [a, \"b c\", 1.3.6]\n";
	struct yaml_doc *doc = NULL;
	struct error err = ERROR_INIT;
	struct sample s = {0};

	assert_true(yaml_doc_load(text, strlen(text), "f.yaml", &doc, &err));
	assert_true(read_sample(yaml_doc_root(doc), &s, &err));
	assert_string_equal(s.name, "main one");
	assert_int_equal(s.port, 8080);
	assert_true(s.on);
	assert_int_equal(s.life_s, 90 * 86400);
	assert_int_equal(s.colour, 1);
	assert_string_equal(s.inner, "gr\xc3\xbc\xc3\x9f");
	assert_int_equal(s.item_count, 3);
	assert_string_equal(s.items[2], "1.3.6");
	yaml_doc_free(doc);
}

static void
test_absent_leaves_default(void **state)
{
	struct yaml_doc *doc = NULL;
	struct error err = ERROR_INIT;
	struct sample s = {.port = 7, .on = true};

	assert_true(yaml_doc_load("name: x", 7, "f.yaml", &doc, &err));
	assert_true(read_sample(yaml_doc_root(doc), &s, &err));
	assert_int_equal(s.port, 7);
	assert_true(s.on);
	yaml_doc_free(doc);
}

static const struct {
	const char *text;
	const char *error;
} refused[] = {
    /* values */
    {"name: x\nport: 80a\n",
	"f.yaml:2:7: key 'port': '80a' is not allowed; allowed: a whole number from 1 to 65535"},
    {"name: x\nport: 0\n",
	"f.yaml:2:7: key 'port': '0' is not allowed; allowed: a whole number from 1 to 65535"},
    {"name: x\nport: 65536\n", "f.yaml:2:7: key 'port': '65536' is not allowed"},
    {"name: x\nport: 99999999999999999999\n", "f.yaml:2:7: key 'port': '99999999999999999999' is"},
    {"name: x\nport: -1\n", "f.yaml:2:7: key 'port': '-1' is not allowed"},
    {"name: x\nport: +1\n", "f.yaml:2:7: key 'port': '+1' is not allowed"},
    {"name: x\nport: 0x50\n", "f.yaml:2:7: key 'port': '0x50' is not allowed"},
    {"name: x\nport: 080\n", "f.yaml:2:7: key 'port': '080' is not allowed"},
    {"name: x\nport: 8 0\n", "f.yaml:2:7: key 'port': '8 0' is not allowed"},
    {"name: x\nport: \"80\"\n", "f.yaml:2:7: key 'port': '80' is not allowed; allowed: a whole "
				"number from 1 to 65535, without quotes"},
    {"name: x\nport: [80]\n", "f.yaml:2:7: key 'port': is a list; allowed: a whole number"},
    {"name: x\nport:\n", "key 'port': is empty; allowed: a whole number"},
    {"name: x\non: maybe\n", "f.yaml:2:5: key 'on': 'maybe' is not allowed; allowed: true, false"},
    {"name: x\non: yes\n", "f.yaml:2:5: key 'on': 'yes' is not allowed; allowed: true, false"},
    {"name: x\non: True\n", "f.yaml:2:5: key 'on': 'True' is not allowed"},
    {"name: x\non: 'true'\n", "without quotes"},
    {"name: x\nlife: 90\n", "f.yaml:2:7: key 'life': '90' is not allowed; allowed: a number with "
			    "one unit of s, m, h, d, w, y, from 1m to 10y"},
    {"name: x\nlife: 59s\n", "'59s' is not allowed"},
    {"name: x\nlife: 11y\n", "'11y' is not allowed"},
    {"name: x\nlife: 90dd\n", "'90dd' is not allowed"},
    {"name: x\nlife: 90 d\n", "'90 d' is not allowed"},
    {"name: x\nlife: d\n", "'d' is not allowed"},
    {"name: x\nlife: -90d\n", "'-90d' is not allowed"},
    {"name: x\nlife: 9223372036854775807y\n", "'9223372036854775807y' is not allowed"},
    {"name: x\ncolour: blue\n",
	"f.yaml:2:9: key 'colour': 'blue' is not allowed; allowed: red, green"},
    {"name: ~\n", "f.yaml:1:7: key 'name': is empty; allowed: text, or leave the key out"},
    {"name: ''\n", "f.yaml:1:7: key 'name': is empty"},
    {"name: {a: b}\n", "f.yaml:1:7: key 'name': is a mapping; allowed: text"},
    {"name: \"a\\nb\"\n", "f.yaml:1:7: key 'name': contains control characters"},
    {"name: \"a\\x85b\"\n", "f.yaml:1:7: key 'name': contains control characters"},
    {"name: |\n  a\n  b\n", "key 'name': contains control characters"},
    {"name: \"a\\0b\"\n", "f.yaml:1:7: key 'name': contains a NUL byte"},
    /* structure */
    {"name: x\nprt: 80\n", "f.yaml:2:1: key 'prt': unknown key; allowed: name, port, on, life, "
			   "colour, inner, items"},
    {"name: x\ninner:\n  text: y\n  txt: z\n",
	"f.yaml:4:3: key 'inner.txt': unknown key; allowed: text"},
    {"nme: x\n", "f.yaml:1:1: key 'name': is missing and must be given; here stand also: nme"},
    {"name: x\ninner: {}\n", "f.yaml:2:8: key 'inner.text': is missing and must be given"},
    {"name: x\ninner: y\n",
	"f.yaml:2:8: key 'inner': is a single value; allowed: a mapping of keys to values"},
    {"name: x\nitems: y\n", "f.yaml:2:8: key 'items': is a single value; allowed: a list"},
    {"name: x\nitems: []\n", "f.yaml:2:8: key 'items': has 0 items; allowed: 1 to 8"},
    {"name: x\nitems: [a, [b]]\n", "f.yaml:2:12: key 'items[1]': is a list; allowed: text"},
    {"- a\n", "f.yaml:1:1: the document is a list; allowed: a mapping of keys to values"},
    {"just text", "f.yaml:1:1: the document is a single value; allowed: a mapping"},
    {"name: x\nport: 1\nname: y\n",
	"f.yaml:3:1: key 'name': stands twice, first in line 1; allowed: once"},
    {"name: x\ninner: {text: a, text: b}\n",
	"f.yaml:2:18: key 'inner.text': stands twice, first in line 2"},
    {"name: &a x\n", "f.yaml:1:7: anchor '&a'; anchors and aliases are not allowed"},
    {"name: &a x\nitems: [*a]\n", "f.yaml:1:7: anchor '&a'"},
    {"name: *a\n", "f.yaml:1:7: alias '*a'; anchors and aliases are not allowed"},
    {"inner: &a {text: x}\n", "f.yaml:1:8: anchor '&a'"},
    {"items: &a [x]\n", "f.yaml:1:8: anchor '&a'"},
    {"name: !!str x\n", "f.yaml:1:7: tag 'tag:yaml.org,2002:str'; tags are not allowed"},
    {"name: !x y\n", "f.yaml:1:7: tag '!x'; tags are not allowed"},
    {"inner: !!map {text: x}\n", "f.yaml:1:8: tag 'tag:yaml.org,2002:map'"},
    {"items: ! [x]\n", "f.yaml:1:8: tag '!'"},
    {"%TAG ! tag:x,2000:\n---\nname: x\n", "a %TAG directive; tags are not allowed"},
    {"name: x\n---\nname: y\n", "f.yaml:2:1: a second document; allowed: one for each file"},
    {"name: x\n...\n---\nname: y\n", "f.yaml:3:1: a second document"},
    {"", "f.yaml:1:1: the document is empty"},
    {"# only a comment\n", "f.yaml:1:1: the document is empty"},
    {"---\n", "the document is empty"},
    {"? [a]\n: b\n", "f.yaml:1:3: a mapping or sequence stands as a key; allowed: a word"},
    {"'': b\n", "f.yaml:1:1: an empty key"},
    {"\"a\\tb\": c\n", "f.yaml:1:1: a key with control characters"},
    /* syntax */
    {"name: [x\n", "f.yaml:2:1: not YAML: "},
    {"name: x\n\tport: 1\n", "f.yaml:2:1: not YAML: "},
    {"name: \"x\n", "not YAML: "},
    {"name: \xff\n", "f.yaml:1:7: not YAML: "},
    {"name: x\nport: 1: 2\n", "f.yaml:2:8: not YAML: "},
};

static void
test_refusals(void **state)
{
	struct error err;

	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		bool taken = try(refused[i].text, strlen(refused[i].text), &err);

		if (taken || strstr(err.text, refused[i].error) == NULL)
			fail_msg("%s\ngave:   %s\nwanted: %s", refused[i].text, err.text,
			    refused[i].error);
		assert_int_equal(err.code, ERROR_CONFIG);
		assert_memory_equal(err.text, "f.yaml:", 7);
	}
}

static void
test_nul_in_text(void **state)
{
	static const char text[] = "name: x\nport\0: 1\n";
	struct error err;

	assert_false(try(text, sizeof text - 1, &err));
	assert_non_null(strstr(err.text, "f.yaml:2:5: not YAML: "));
}

static void
test_utf16_is_refused(void **state)
{
	static const char text[] = "\xff\xfe"
				   "n\0:\0 \0x\0";
	struct error err;

	assert_false(try(text, sizeof text - 1, &err));
}

/* A document of size bytes: one good line and a comment. */
static char *
padded(size_t size)
{
	char *text = malloc(size);

	assert_non_null(text);
	memset(text, 'x', size);
	memcpy(text, "name: x\n# ", strlen("name: x\n# "));
	return text;
}

static void
test_size_cap(void **state)
{
	char *text = padded(YAML_TEXT_MAX + 1);
	struct error err;

	assert_true(try(text, YAML_TEXT_MAX, &err));
	assert_false(try(text, YAML_TEXT_MAX + 1, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
	assert_string_equal(err.text, "f.yaml:1:1: 262145 bytes; allowed: at most 262144");
	free(text);
}

static bool
load_only(const char *text, struct error *err)
{
	struct yaml_doc *doc = NULL;
	bool ok;

	*err = ERROR_INIT;
	ok = yaml_doc_load(text, strlen(text), "f.yaml", &doc, err);
	yaml_doc_free(doc);
	return ok;
}

static void
test_depth_cap(void **state)
{
	char text[64] = "";
	struct error err;

	memset(text, '[', YAML_DEPTH_MAX);
	memset(text + YAML_DEPTH_MAX, ']', YAML_DEPTH_MAX);
	assert_true(load_only(text, &err));
	memset(text, '[', YAML_DEPTH_MAX + 1);
	memset(text + YAML_DEPTH_MAX + 1, ']', YAML_DEPTH_MAX + 1);
	assert_false(load_only(text, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
	assert_string_equal(err.text, "f.yaml:1:17: nested deeper than 16");
}

static void
test_deep_nesting_is_cheap(void **state)
{
	char *text = calloc(1, 200001);
	struct error err;

	assert_non_null(text);
	memset(text, '[', 200000);
	assert_false(load_only(text, &err));
	free(text);
}

static void
test_count_caps(void **state)
{
	char *text = calloc(1, 250000);
	size_t used = 0;
	struct error err;

	assert_non_null(text);
	for (int i = 0; i <= YAML_CHILDREN_MAX; i++)
		used += (size_t)sprintf(text + used, "k%d: v\n", i);
	assert_false(load_only(text, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
	assert_non_null(strstr(err.text, "f.yaml:2001:"));

	used = 0;
	for (int i = 0; i < 20; i++) {
		used += (size_t)sprintf(text + used, "k%d: [", i);
		for (int k = 0; k < 1100; k++)
			used += (size_t)sprintf(text + used, "1,");
		used += (size_t)sprintf(text + used, "]\n");
	}
	assert_false(load_only(text, &err));
	assert_non_null(strstr(err.text, ": more than 20000 values in one document"));
	assert_int_equal(err.code, ERROR_LIMIT);
	free(text);
}

static void
test_long_key_and_value(void **state)
{
	char *text = calloc(1, YAML_SCALAR_MAX + 100);
	struct error err;

	assert_non_null(text);
	memset(text, 'k', YAML_KEY_MAX + 1);
	memcpy(text + YAML_KEY_MAX + 1, ": v", sizeof ": v");
	assert_false(load_only(text, &err));
	assert_string_equal(err.text, "f.yaml:1:1: a key of more than 128 bytes");

	memcpy(text, "name: ", sizeof "name: ");
	memset(text + 6, 'v', YAML_SCALAR_MAX + 1);
	assert_false(load_only(text, &err));
	assert_string_equal(err.text, "f.yaml:1:7: key 'name': longer than 8192 bytes");
	assert_int_equal(err.code, ERROR_LIMIT);
	free(text);
}

static void
test_free_entries(void **state)
{
	static const char text[] = "env: {A: one, B: '', C: three}\n";
	struct yaml_doc *doc = NULL;
	struct yaml_map map, env;
	struct error err = ERROR_INIT;
	const struct yaml_node *value;
	const char *key, *words = NULL;
	size_t n = 0;

	assert_true(yaml_doc_load(text, strlen(text), "f.yaml", &doc, &err));
	assert_true(yaml_map_begin(yaml_doc_root(doc), &map, &err));
	assert_true(yaml_get_map(&map, "env", YAML_REQUIRED, &env, &err));
	for (; yaml_map_entry(&env, n, &key, &value); n++)
		if (strcmp(key, "C") == 0) {
			assert_true(yaml_node_string(value, &words, &err));
			assert_string_equal(words, "three");
		}
	assert_int_equal(n, 3);
	assert_true(yaml_map_end(&env, &err));
	assert_true(yaml_map_end(&map, &err));
	yaml_doc_free(doc);
}

static void
test_callers_own_words(void **state)
{
	static const char text[] = "list:\n  - {url: bad}\n";
	struct yaml_doc *doc = NULL;
	struct yaml_map map, item;
	struct yaml_list list;
	struct error err = ERROR_INIT;

	assert_true(yaml_doc_load(text, strlen(text), "f.yaml", &doc, &err));
	assert_true(yaml_map_begin(yaml_doc_root(doc), &map, &err));
	assert_true(yaml_get_list(&map, "list", YAML_REQUIRED, 1, 4, &list, &err));
	assert_true(yaml_map_begin(yaml_list_next(&list), &item, &err));
	assert_false(yaml_fail_key(&item, "url", &err, "is no URL: %d", 1));
	assert_string_equal(err.text, "f.yaml:2:11: key 'list[0].url': is no URL: 1");
	err = ERROR_INIT;
	assert_false(yaml_fail_key(&item, "name", &err, "is needed"));
	assert_string_equal(err.text, "f.yaml:2:5: key 'list[0].name': is needed");
	yaml_doc_free(doc);
}

/* Any prefix of a good document is read or refused, never worse. */
static void
test_every_prefix(void **state)
{
	static const char text[] = "name: \"a b\"\nport: 80\ninner: {text: 'x'}\nitems:\n  - a\n"
				   "  - [b, {c: d}]\nlife: 1d # end\n";
	struct error err;

	for (size_t i = 0; i < sizeof text; i++)
		(void)try(text, i, &err);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_values),
	    cmocka_unit_test(test_absent_leaves_default),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_nul_in_text),
	    cmocka_unit_test(test_utf16_is_refused),
	    cmocka_unit_test(test_size_cap),
	    cmocka_unit_test(test_depth_cap),
	    cmocka_unit_test(test_deep_nesting_is_cheap),
	    cmocka_unit_test(test_count_caps),
	    cmocka_unit_test(test_long_key_and_value),
	    cmocka_unit_test(test_free_entries),
	    cmocka_unit_test(test_callers_own_words),
	    cmocka_unit_test(test_every_prefix),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
