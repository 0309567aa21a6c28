#include "daemon/cli/table.h"

#include <langinfo.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "daemon/core/utf8.h"

#define GAP 2
#define NARROWEST 6
#define ELLIPSIS "\xe2\x80\xa6"
#define ESCAPE_SIZE 16

void
table_choose_locale(void)
{
	if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		(void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* ------------------------------------------------------------- characters */

/* Its octets; 0 at the end of the text, -1 for what is no character. */
static int
next_char(const char *text, uint32_t *c)
{
	size_t n = utf8_decode(text, UTF8_MAX, c);

	if (*text == '\0')
		return 0;
	return n > 0 ? (int)n : -1;
}

/* Columns of a character, or -1 for one that must not reach a terminal: control
 * characters, those that turn the direction of text, and invisible ones. */
static int
char_width(uint32_t c)
{
	if (c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x34f || c == 0x61c ||
	    c == 0x115f || c == 0x1160 || (c >= 0x180b && c <= 0x180f) || c == 0x3164 ||
	    (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2060 && c <= 0x206f) || (c >= 0xe000 && c <= 0xf8ff) ||
	    (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff || c == 0xffa0 || c >= 0xe0000 ||
	    (c >= 0xfff0 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe)
		return -1;
	return c < 0x7f ? 1 : wcwidth((wchar_t)c);
}

/* The next character of *text as it may be shown, into out; moves *text behind
 * it and gives its octets in out, 0 at the end. *width: its columns. */
static size_t
take_shown(const char **text, char out[ESCAPE_SIZE], size_t *width)
{
	uint32_t c;
	int n = next_char(*text, &c), w = n > 0 ? char_width(c) : -1;

	if (n == 0)
		return 0;
	if (w >= 0) {
		memcpy(out, *text, (size_t)n);
		out[n] = '\0';
		*width = (size_t)w;
	} else {
		*width = (size_t)snprintf(out, ESCAPE_SIZE, n > 0 ? "\\u{%x}" : "\\x%02x",
		    n > 0 ? c : (unsigned char)**text);
	}
	*text += n > 0 ? n : 1;
	return strlen(out);
}

void
table_escape(const char *text, char *out, size_t size)
{
	char one[ESCAPE_SIZE];
	size_t at = 0, n, width;

	while ((n = take_shown(&text, one, &width)) > 0) {
		/* Room for this one and, unless it is the last, for the ellipsis. */
		if (at + n + (*text != '\0' ? sizeof ELLIPSIS : 1) > size) {
			memcpy(out + at, ELLIPSIS, sizeof ELLIPSIS);
			return;
		}
		memcpy(out + at, one, n);
		at += n;
	}
	out[at] = '\0';
}

void
table_write_escaped(FILE *out, const char *text, bool lines)
{
	char one[ESCAPE_SIZE];
	size_t width;

	while (*text != '\0') {
		if (lines && (*text == '\n' || *text == '\t'))
			(void)fputc(*text++, out);
		else if (take_shown(&text, one, &width) > 0)
			(void)fputs(one, out);
	}
}

size_t
table_text_width(const char *text)
{
	char one[ESCAPE_SIZE];
	size_t total = 0, width;

	while (take_shown(&text, one, &width) > 0)
		total += width;
	return total;
}

static bool
write_json_char(FILE *out, uint32_t c)
{
	if (c < 0x10000)
		return fprintf(out, "\\u%04x", (unsigned)c) > 0;
	c -= 0x10000;
	return fprintf(out, "\\u%04x\\u%04x", 0xd800U + (unsigned)(c >> 10),
		   0xdc00U + (unsigned)(c & 0x3ff)) > 0;
}

bool
table_write_json(FILE *out, json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
	bool ok = text != NULL;
	uint32_t c;
	int n;

	/* jansson writes UTF-8, and line feeds only between values. */
	for (const char *p = text; ok && (n = next_char(p, &c)) > 0; p += n) {
		if (c == '\n' || char_width(c) >= 0)
			ok = fwrite(p, 1, (size_t)n, out) == (size_t)n;
		else
			ok = write_json_char(out, c);
	}
	free(text);
	return ok && fputc('\n', out) != EOF;
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

/* A value that is no list, as it came: not escaped. NULL when there is nothing
 * to show. buf is for those that are no text. */
static const char *
plain_text(json_t *value, char *buf, size_t size)
{
	if (json_is_string(value))
		return json_string_value(value);
	if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	if (json_is_integer(value))
		(void)snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		(void)snprintf(buf, size, "%g", json_real_value(value));
	else if (json_is_object(value) || json_is_array(value))
		(void)snprintf(buf, size, "(see --json)");
	else
		return NULL;
	return buf;
}

static void
cell_text(json_t *row, const char *path, char out[TABLE_CELL_MAX])
{
	json_t *value = find(row, path), *one;
	char raw[TABLE_CELL_MAX] = "", buf[32];
	size_t i, at = 0;
	const char *text;

	if (!json_is_array(value)) {
		text = plain_text(value, buf, sizeof buf);
		table_escape(text != NULL ? text : "", out, TABLE_CELL_MAX);
		return;
	}
	json_array_foreach(value, i, one)
	{
		text = plain_text(one, buf, sizeof buf);
		if (text != NULL && at < sizeof raw)
			at += (size_t)snprintf(
			    raw + at, sizeof raw - at, "%s%s", at > 0 ? "," : "", text);
	}
	table_escape(raw, out, TABLE_CELL_MAX);
}

/* Prints at most width columns and an ellipsis in the last of them if that is
 * not all; then fills up what a wide character left. text is escaped already. */
static void
print_cell(FILE *out, const char *text, size_t width)
{
	size_t full = table_text_width(text), room = full > width ? width - 1 : width, used = 0, w;
	char one[ESCAPE_SIZE];

	while (take_shown(&text, one, &w) > 0 && used + w <= room) {
		(void)fputs(one, out);
		used += w;
	}
	if (full > width)
		(void)fprintf(out, ELLIPSIS "%*s", (int)(room - used), "");
}

/* ------------------------------------------------------------------ tables */

/* The widest of those that may give way; count when there is none. */
static size_t
widest(const size_t *widths, size_t count)
{
	size_t best = count;

	for (size_t i = 0; i < count; i++) {
		if (widths[i] <= (i == 0 ? TABLE_WHOLE_MAX : NARROWEST))
			continue;
		if (best == count || widths[i] > widths[best])
			best = i;
	}
	return best;
}

static void
fit(size_t *widths, size_t count)
{
	size_t total = GAP * (count - 1), w;

	for (size_t i = 0; i < count; i++)
		total += widths[i];
	for (; total > TABLE_WIDTH; total--) {
		w = widest(widths, count);
		if (w == count)
			return;
		widths[w]--;
	}
}

/* A row, or the headings for NULL; no blanks at its end. */
static void
print_line(
    FILE *out, const struct table_column *columns, const size_t *widths, size_t count, json_t *row)
{
	size_t blanks = 0, width;
	char cell[TABLE_CELL_MAX];

	for (size_t i = 0; i < count; i++) {
		if (row != NULL)
			cell_text(row, columns[i].path, cell);
		else
			(void)snprintf(cell, sizeof cell, "%s", columns[i].heading);
		width = table_text_width(cell);
		if (width > 0) {
			(void)fprintf(out, "%*s", (int)blanks, "");
			blanks = 0;
			print_cell(out, cell, widths[i]);
		}
		blanks += GAP + (width < widths[i] ? widths[i] - width : 0);
	}
	(void)fputc('\n', out);
}

void
table_print(
    FILE *out, json_t *rows, const struct table_column *columns, size_t count, const char *nothing)
{
	size_t widths[TABLE_COLUMNS_MAX], r, w;
	char cell[TABLE_CELL_MAX];
	json_t *row;

	if (json_array_size(rows) == 0) {
		(void)fprintf(out, "%s\n", nothing);
		return;
	}
	for (size_t i = 0; i < count; i++)
		widths[i] = table_text_width(columns[i].heading);
	json_array_foreach(rows, r, row)
	{
		for (size_t i = 0; i < count; i++) {
			cell_text(row, columns[i].path, cell);
			w = table_text_width(cell);
			if (w > widths[i])
				widths[i] = w;
		}
	}
	fit(widths, count);
	print_line(out, columns, widths, count, NULL);
	json_array_foreach(rows, r, row)
	{
		print_line(out, columns, widths, count, row);
	}
}

void
table_print_notes(FILE *out, json_t *rows, const char *id_path, const char *path)
{
	char cell[TABLE_CELL_MAX];
	size_t r;
	json_t *row;

	json_array_foreach(rows, r, row)
	{
		const char *text = json_string_value(find(row, path));

		if (text == NULL || text[0] == '\0')
			continue;
		cell_text(row, id_path, cell);
		(void)fprintf(out, "  %s: ", cell);
		table_write_escaped(out, text, false);
		(void)fputc('\n', out);
	}
}

/* ----------------------------------------------------------------- objects */

/* "a, b, c", a new line below the first where TABLE_WIDTH is reached. */
static void
print_items(FILE *out, json_t *list, size_t indent)
{
	size_t at = indent, i, width;
	char buf[32];
	json_t *one;

	json_array_foreach(list, i, one)
	{
		const char *text = plain_text(one, buf, sizeof buf);

		if (text == NULL)
			text = "-";
		if (i == TABLE_ITEMS_MAX) {
			(void)fprintf(out, ",\n%*sand %zu more, see --json", (int)indent, "",
			    json_array_size(list) - i);
			break;
		}
		width = table_text_width(text);
		if (i > 0) {
			bool fits = at + 2 + width + 1 <= TABLE_WIDTH;

			(void)fprintf(out, ",%s%*s", fits ? "" : "\n", fits ? 1 : (int)indent, "");
			at = fits ? at + 2 : indent;
		}
		table_write_escaped(out, text, false);
		at += width;
	}
}

void
table_print_object(FILE *out, json_t *object, const struct table_column *fields, size_t count)
{
	size_t width = 0;
	char buf[32];

	for (size_t i = 0; i < count; i++) {
		if (table_text_width(fields[i].heading) > width)
			width = table_text_width(fields[i].heading);
	}
	for (size_t i = 0; i < count; i++) {
		json_t *value = find(object, fields[i].path);
		const char *text = plain_text(value, buf, sizeof buf);

		if (json_is_array(value) ? json_array_size(value) == 0
					 : text == NULL || text[0] == '\0')
			continue;
		(void)fprintf(out, "%-*s  ", (int)width, fields[i].heading);
		if (json_is_array(value))
			print_items(out, value, width + 2);
		else
			table_write_escaped(out, text, false);
		(void)fputc('\n', out);
	}
}
