/* Tables, objects and JSON for people: widths, and nothing that a terminal obeys. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <stdlib.h>

#include "daemon/cli/table.h"

static char *printed;
static size_t printed_len;

static FILE *
begin(void)
{
	FILE *f;

	free(printed);
	printed = NULL;
	f = open_memstream(&printed, &printed_len);
	assert_non_null(f);
	return f;
}

static json_t *
json(const char *text)
{
	json_error_t why;
	json_t *value = json_loads(text, JSON_DECODE_ANY, &why);

	if (value == NULL)
		fail_msg("%s: %s", text, why.text);
	return value;
}

static void
expect_escape(const char *text, const char *expected)
{
	char out[256];

	table_escape(text, out, sizeof out);
	assert_string_equal(out, expected);
}

static void
test_escape(void **state)
{
	expect_escape("", "");
	expect_escape("CN=M\u00fcller, \u65e5\u672c", "CN=M\u00fcller, \u65e5\u672c");
	expect_escape("a\x1b[2Jb\r\n\t\x7f", "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{9}\\u{7f}");
	/* C1: U+009B is CSI, U+0085 a line end */
	expect_escape("\xc2\x9b"
		      "1m\xc2\x85",
	    "\\u{9b}1m\\u{85}");
	/* marks of direction, invisible characters, tags */
	expect_escape("a\u202eb\u2066\u200b\ufeff\u00ad\u061c",
	    "a\\u{202e}b\\u{2066}\\u{200b}\\u{feff}\\u{ad}\\u{61c}");
	expect_escape("\U000e0041\U0010fffd\u2028", "\\u{e0041}\\u{10fffd}\\u{2028}");
	/* no UTF-8: a lone octet, an overlong form, a surrogate, cut off, too high */
	expect_escape("a\xff", "a\\xff");
	expect_escape("\xc0\xaf", "\\xc0\\xaf");
	expect_escape("\xe0\x80\xaf", "\\xe0\\x80\\xaf");
	expect_escape("\xed\xa0\x80", "\\xed\\xa0\\x80");
	expect_escape("x\xe2\x80", "x\\xe2\\x80");
	expect_escape("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80");
	expect_escape("\x9b"
		      "2J",
	    "\\x9b"
	    "2J");
}

/* Whatever the size: a NUL in it, whole characters, an ellipsis if it was cut. */
static void
test_escape_of_any_size(void **state)
{
	static const char text[] = "ab\u00e9\x1b\u65e5"
				   "cd\u202e"
				   "efgh\xff";
	char full[128], out[128];

	table_escape(text, full, sizeof full);
	for (size_t size = 16; size <= sizeof out; size++) {
		memset(out, 'X', sizeof out);
		table_escape(text, out, size);
		assert_true(strlen(out) < size);
		if (strlen(full) < size) {
			assert_string_equal(out, full);
		} else {
			assert_true(strlen(out) >= 3);
			assert_string_equal(out + strlen(out) - 3, "\u2026");
			assert_memory_equal(out, full, strlen(out) - 3);
		}
	}
}

static void
test_width(void **state)
{
	assert_int_equal(table_text_width(""), 0);
	assert_int_equal(table_text_width("abc"), 3);
	assert_int_equal(table_text_width("M\u00fcller"), 6);
	assert_int_equal(table_text_width("\u65e5\u672c"), 4);
	assert_int_equal(table_text_width("e\u0301"), 1); /* combining */
	assert_int_equal(table_text_width("\x1b"), 6);	  /* as it is shown */
}

static const struct table_column columns[] = {
    {"ID", "id"}, {"STATE", "state"}, {"SUBJECT", "subject"}, {"REASON", "more/reason"}};

/* Every line is within TABLE_WIDTH columns. */
static size_t
check_lines(void)
{
	size_t lines = 0;
	char *save = NULL, *copy = strdup(printed);

	for (char *l = strtok_r(copy, "\n", &save); l != NULL; l = strtok_r(NULL, "\n", &save)) {
		if (table_text_width(l) > TABLE_WIDTH)
			fail_msg("%zu columns: %s", table_text_width(l), l);
		lines++;
	}
	free(copy);
	return lines;
}

static void
print_rows(const char *text)
{
	json_t *rows = json(text);
	FILE *f = begin();

	table_print(f, rows, columns, COUNT_OF(columns), "Nothing.");
	assert_int_equal(fclose(f), 0);
	json_decref(rows);
}

static void
test_table(void **state)
{
	print_rows("[{\"id\": 1, \"state\": \"pending\", \"subject\": \"CN=a\"},"
		   " {\"id\": 20, \"state\": true, \"subject\": [\"x\", \"y\"],"
		   "  \"more\": {\"reason\": \"because\"}}]");
	assert_string_equal(printed, "ID  STATE    SUBJECT  REASON\n"
				     "1   pending  CN=a\n"
				     "20  yes      x,y      because\n");
	print_rows("[]");
	assert_string_equal(printed, "Nothing.\n");
}

/* The id stays whole, the widest gives way; wide characters are counted. */
static void
test_table_fits(void **state)
{
	static const char id[] = "2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11";
	static const char *const fillers[] = {
	    "x", "\u00fc", "\u65e5", "e\u0301", "\x1b", "\U0001f512"};
	char subject[4096];

	for (size_t i = 0; i < COUNT_OF(fillers); i++) {
		for (size_t n = 1; n < 300; n += 13) {
			json_t *rows;
			FILE *f;

			subject[0] = '\0';
			for (size_t k = 0; k < n; k++)
				strcat(subject, fillers[i]);
			rows = json_pack("[{s:s, s:s, s:s, s:{s:s}}, {s:s, s:s}]", "id", id,
			    "state", "pending", "subject", subject, "more", "reason", subject, "id",
			    id, "state", "issued");
			assert_non_null(rows);
			f = begin();
			table_print(f, rows, columns, COUNT_OF(columns), "");
			assert_int_equal(fclose(f), 0);
			json_decref(rows);
			assert_int_equal(check_lines(), 3);
			assert_non_null(strstr(printed, id));
			assert_null(strchr(printed, '\x1b'));
		}
	}
}

/* An id that is longer than any of ours does not break the table. */
static void
test_table_with_absurd_cells(void **state)
{
	char *wide = malloc(100001);
	json_t *rows;
	FILE *f;

	assert_non_null(wide);
	memset(wide, 'w', 100000);
	wide[100000] = '\0';
	rows = json_pack("[{s:s, s:s, s:s, s:{s:s}}]", "id", wide, "state", wide, "subject", wide,
	    "more", "reason", wide);
	f = begin();
	table_print(f, rows, columns, COUNT_OF(columns), "");
	assert_int_equal(fclose(f), 0);
	assert_int_equal(check_lines(), 2);
	json_decref(rows);
	free(wide);
}

/* Other types than expected are shown as nothing, or as that. */
static void
test_odd_types(void **state)
{
	print_rows("[{\"id\": null, \"state\": 1.5, \"subject\": {\"a\": 1}, \"more\": 3},"
		   " {\"id\": [[1], null, {}], \"state\": false}, {}]");
	assert_string_equal(printed, "ID                         STATE  SUBJECT       REASON\n"
				     "                           1.5    (see --json)\n"
				     "(see --json),(see --json)  no\n"
				     "\n");
}

static void
test_notes(void **state)
{
	json_t *rows = json(
	    "[{\"id\": \"1\", \"e\": \"no \\u001b[1m route\"}, {\"id\": \"2\", \"e\": null},"
	    " {\"id\": \"3\", \"e\": \"\"}, {\"e\": \"x\"}]");
	FILE *f = begin();

	table_print_notes(f, rows, "id", "e");
	assert_int_equal(fclose(f), 0);
	assert_string_equal(printed, "  1: no \\u{1b}[1m route\n  : x\n");
	json_decref(rows);
}

static void
test_object(void **state)
{
	static const struct table_column fields[] = {{"id", "id"}, {"subject", "subject"},
	    {"absent", "absent"}, {"null", "null"}, {"names", "names"}, {"none", "none"},
	    {"yes", "key/yes"}};
	json_t *object = json(
	    "{\"id\": 7, \"subject\": \"a\\u001b[2Jb\\nstate   issued\", \"null\": null,"
	    " \"names\": [\"dns:a\", \"dns:b\"], \"none\": [], \"key\": {\"yes\": true}}");
	FILE *f = begin();

	table_print_object(f, object, fields, COUNT_OF(fields));
	assert_int_equal(fclose(f), 0);
	assert_string_equal(printed, "id       7\n"
				     "subject  a\\u{1b}[2Jb\\u{a}state   issued\n"
				     "names    dns:a, dns:b\n"
				     "yes      yes\n");
	json_decref(object);
}

/* All names of a CSR are there, however many; lines break between them. */
static void
test_object_with_many_items(void **state)
{
	static const struct table_column fields[] = {{"names", "names"}};
	json_t *names = json_array(), *object;
	char name[64];
	FILE *f;

	for (int i = 0; i < 100; i++)
		json_array_append_new(names, json_sprintf("dns:host-%d.department.example", i));
	object = json_pack("{s:o}", "names", names);
	f = begin();
	table_print_object(f, object, fields, 1);
	assert_int_equal(fclose(f), 0);
	assert_true(check_lines() > 20);
	for (int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof name, "dns:host-%d.department.example", i);
		assert_non_null(strstr(printed, name));
	}
	for (int i = 0; i < TABLE_ITEMS_MAX; i++)
		json_array_append_new(names, json_string("x"));
	f = begin();
	table_print_object(f, object, fields, 1);
	assert_int_equal(fclose(f), 0);
	assert_non_null(strstr(printed, "and 100 more, see --json"));
	json_decref(object);
}

/* The same value again, though nothing in it can reach a terminal. */
static void
test_json(void **state)
{
	static const char *const texts[] = {
	    "{\"a\": \"M\u00fcller \u65e5\u672c\", \"b\": [1, true, null, 2.5], \"c\": {}}",
	    "{\"a\": \"\\u001b[2J\\u007f\\u009b1m\\u202e\\u200b\\udb40\\udc41\\ufeff\"}",
	    "[\"\\ud83d\\udd12\", \"line\\nbreak\"]", "\"text\""};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		json_t *value = json(texts[i]), *again;
		FILE *f = begin();
		char *line, *save = NULL, shown[512];

		assert_true(table_write_json(f, value));
		assert_int_equal(fclose(f), 0);
		again = json(printed);
		assert_true(json_equal(value, again));
		for (line = strtok_r(printed, "\n", &save); line != NULL;
		     line = strtok_r(NULL, "\n", &save)) {
			table_escape(line, shown, sizeof shown);
			assert_string_equal(line, shown);
		}
		json_decref(value);
		json_decref(again);
	}
}

static void
test_write_lines(void **state)
{
	FILE *f = begin();

	table_write_escaped(f, "a:\n\tb\x1b\r\n", true);
	assert_int_equal(fclose(f), 0);
	assert_string_equal(printed, "a:\n\tb\\u{1b}\\u{d}\n");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_escape),
	    cmocka_unit_test(test_escape_of_any_size),
	    cmocka_unit_test(test_width),
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_table_fits),
	    cmocka_unit_test(test_table_with_absurd_cells),
	    cmocka_unit_test(test_odd_types),
	    cmocka_unit_test(test_notes),
	    cmocka_unit_test(test_object),
	    cmocka_unit_test(test_object_with_many_items),
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_write_lines),
	};
	int failed;

	table_choose_locale();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(printed);
	return failed;
}
