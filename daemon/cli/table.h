#ifndef CHANCERY_CLI_TABLE_H
#define CHANCERY_CLI_TABLE_H

/*
 * Tables for people: as wide as their content, at most TABLE_WIDTH columns; the
 * widest column gives way. Whatever comes from the service is made harmless for
 * a terminal first: control characters, and those that turn the direction of
 * text, are shown as escapes.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "daemon/core/attr.h"

#define TABLE_WIDTH 100
#define TABLE_COLUMNS_MAX 12
#define TABLE_CELL_MAX 1024 /* octets of a cell */

/* A column: its heading and the path in each row's JSON object ("key",
 * "key/algorithm"). Arrays are joined by commas. */
struct table_column {
	const char *heading, *path;
};

/* rows: a JSON array of objects. Prints "nothing" when it is empty. */
void table_print(
    FILE *out, json_t *rows, const struct table_column *columns, size_t count, const char *nothing);

/* One object as "heading  value" lines; absent values are left out. */
void table_print_object(FILE *out, json_t *object, const struct table_column *fields, size_t count);

/* text as it may be shown; out always ends with a NUL. */
void table_escape(const char *text, char *out, size_t size);

/* Columns that the UTF-8 text takes on a terminal. */
size_t table_text_width(const char *text);

#endif
