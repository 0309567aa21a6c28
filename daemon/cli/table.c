#define _XOPEN_SOURCE 700
#include "daemon/cli/table.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define GAP 2
#define NARROWEST 6

/* Reads one character of UTF-8; 0 octets at the end, and -1 for what is none. */
static int
next_char(const char *text, wchar_t *c)
{
	mbstate_t state;
	size_t n;

	memset(&state, 0, sizeof state);
	n = mbrtowc(c, text, strlen(text), &state);
	if (n == 0 || *text == '\0')
		return 0;
	return n > 8 ? -1 : (int)n;
}

/* Marks that turn the direction of text, and other invisible ones. */
static bool
is_deceiving(wchar_t c)
{
	return (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe007f);
}

void
table_escape(const char *text, char *out, size_t size)
{
	size_t at = 0;

	while (*text != '\0' && at + 12 < size) {
		wchar_t c;
		int n = next_char(text, &c);

		if (n <= 0) {
			at += (size_t)snprintf(
			    out + at, size - at, "\\x%02x", (unsigned char)*text);
			text++;
		} else if (wcwidth(c) < 0 || is_deceiving(c)) {
			at += (size_t)snprintf(out + at, size - at, "\\u{%x}", (unsigned)c);
			text += n;
		} else {
			memcpy(out + at, text, (size_t)n);
			at += (size_t)n;
			text += n;
		}
	}
	out[at] = '\0';
}

size_t
table_text_width(const char *text)
{
	size_t width = 0;
	wchar_t c;
	int n;

	while ((n = next_char(text, &c)) != 0) {
		width += n > 0 && wcwidth(c) >= 0 ? (size_t)wcwidth(c) : 1;
		text += n > 0 ? n : 1;
	}
	return width;
}

/* Prints at most width columns, and blanks up to it when pad is set. */
static void
print_cell(FILE *out, const char *text, size_t width, bool pad)
{
	size_t full = table_text_width(text), room = full > width ? width - 1 : width, used = 0;
	wchar_t c;
	int n;

	while ((n = next_char(text, &c)) != 0) {
		size_t w = n > 0 && wcwidth(c) >= 0 ? (size_t)wcwidth(c) : 1;

		if (used + w > room)
			break;
		(void)fwrite(text, 1, n > 0 ? (size_t)n : 1, out);
		text += n > 0 ? n : 1;
		used += w;
	}
	if (full > width) {
		(void)fputs("…", out);
		used++;
	}
	for (; pad && used < width; used++)
		(void)fputc(' ', out);
}

/* ------------------------------------------------------------------- cells */

static json_t *
find(json_t *object, const char *path)
{
	char key[64];
	size_t len;

	while (object != NULL && *path != '\0') {
		len = strcspn(path, "/");
		if (len >= sizeof key)
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		object = json_object_get(object, key);
		path += len + (path[len] == '/');
	}
	return object;
}

static void
append_value(json_t *value, char *out, size_t size)
{
	size_t at = strlen(out), i;
	json_t *one;

	if (json_is_string(value)) {
		table_escape(json_string_value(value), out + at, size - at);
	} else if (json_is_integer(value)) {
		(void)snprintf(
		    out + at, size - at, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	} else if (json_is_boolean(value)) {
		(void)snprintf(out + at, size - at, "%s", json_is_true(value) ? "yes" : "no");
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, one)
		{
			if (i > 0 && strlen(out) + 2 < size)
				strcat(out, ",");
			append_value(one, out, size);
		}
	}
}

static void
cell_text(json_t *row, const char *path, char *out, size_t size)
{
	out[0] = '\0';
	append_value(find(row, path), out, size);
}

/* ------------------------------------------------------------------ tables */

static size_t
widest(const size_t *widths, size_t count)
{
	size_t best = 0;

	for (size_t i = 1; i < count; i++) {
		if (widths[i] > widths[best])
			best = i;
	}
	return best;
}

static void
fit(size_t *widths, size_t count)
{
	size_t total = GAP * (count - 1);

	for (size_t i = 0; i < count; i++)
		total += widths[i];
	while (total > TABLE_WIDTH) {
		size_t w = widest(widths, count);

		if (widths[w] <= NARROWEST)
			return;
		widths[w]--;
		total--;
	}
}

static void
end_cell(FILE *out, size_t i, size_t count)
{
	(void)fputs(i + 1 == count ? "\n" : "  ", out);
}

void
table_print(
    FILE *out, json_t *rows, const struct table_column *columns, size_t count, const char *nothing)
{
	size_t widths[TABLE_COLUMNS_MAX], r;
	char cell[TABLE_CELL_MAX];
	json_t *row;

	if (json_array_size(rows) == 0) {
		(void)fprintf(out, "%s\n", nothing);
		return;
	}
	for (size_t i = 0; i < count; i++)
		widths[i] = strlen(columns[i].heading);
	json_array_foreach(rows, r, row)
	{
		for (size_t i = 0; i < count; i++) {
			cell_text(row, columns[i].path, cell, sizeof cell);
			if (table_text_width(cell) > widths[i])
				widths[i] = table_text_width(cell);
		}
	}
	fit(widths, count);
	for (size_t i = 0; i < count; i++) {
		print_cell(out, columns[i].heading, widths[i], i + 1 < count);
		end_cell(out, i, count);
	}
	json_array_foreach(rows, r, row)
	{
		for (size_t i = 0; i < count; i++) {
			cell_text(row, columns[i].path, cell, sizeof cell);
			print_cell(out, cell, widths[i], i + 1 < count);
			end_cell(out, i, count);
		}
	}
}

void
table_print_object(FILE *out, json_t *object, const struct table_column *fields, size_t count)
{
	char cell[TABLE_CELL_MAX];
	size_t width = 0;

	for (size_t i = 0; i < count; i++) {
		if (strlen(fields[i].heading) > width)
			width = strlen(fields[i].heading);
	}
	for (size_t i = 0; i < count; i++) {
		cell_text(object, fields[i].path, cell, sizeof cell);
		if (cell[0] != '\0')
			(void)fprintf(out, "%-*s  %s\n", (int)width, fields[i].heading, cell);
	}
}
