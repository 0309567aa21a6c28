#ifndef CHANCERY_CLI_TABLE_H
#define CHANCERY_CLI_TABLE_H

/*
 * What people get to read: tables as wide as their content, at most TABLE_WIDTH
 * columns, of which the widest gives way, and single objects as lines. The first
 * column is what the row is called by on the command line: it does not give way.
 *
 * Whatever comes from the service is made harmless for a terminal first:
 * control characters, and those that are invisible or turn the direction of
 * text, are shown as escapes. All text is taken as UTF-8, whatever the locale.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "daemon/core/attr.h"

#define TABLE_WIDTH 100
#define TABLE_COLUMNS_MAX 12
#define TABLE_CELL_MAX 1024  /* octets of a table's cell; the rest is not shown */
#define TABLE_WHOLE_MAX 40   /* columns that the first one may keep */
#define TABLE_ITEMS_MAX 1000 /* of an array in one place; the rest is counted */

/* A column: its heading and the path in each row's JSON object ("key",
 * "key/algorithm"). Arrays are joined by commas. */
struct table_column {
	const char *heading, *path;
};

/* rows: a JSON array of objects. Prints "nothing" when it is empty. */
void table_print(
    FILE *out, json_t *rows, const struct table_column *columns, size_t count, const char *nothing);

/* Below a table: "  ID: sentence" for each row that has a text at that path. */
void table_print_notes(FILE *out, json_t *rows, const char *id_path, const char *path);

/* One object as "heading  value" lines, nothing cut off; lists are broken after
 * TABLE_WIDTH columns; absent values are left out. */
void table_print_object(FILE *out, json_t *object, const struct table_column *fields, size_t count);

/* text as it may be shown; out always ends with a NUL, and with "…" where it
 * was too small. size is at least 16. */
void table_escape(const char *text, char *out, size_t size);

/* The same, of any length, to a stream. Line feeds and tabs stay when lines is
 * set. */
void table_write_escaped(FILE *out, const char *text, bool lines);

/* JSON with what table_escape would escape written as \uXXXX: the same JSON,
 * but harmless. Two blanks of indentation, a line feed at its end. */
bool table_write_json(FILE *out, json_t *value);

/* Columns that the UTF-8 text takes on a terminal. */
size_t table_text_width(const char *text);

/* Widths of characters are known in UTF-8 locales only: chooses one. To be
 * called once, before all others. */
void table_choose_locale(void);

#endif
