#ifndef CHANCERY_X509_CANON_H
#define CHANCERY_X509_CANON_H

/*
 * Parts of texts that are signed: lines "key: value", one form for each value,
 * so that two different texts never mean the same. Who parses such a text
 * writes it again and compares; what is checked here is what that comparison
 * cannot see.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/* Names of CAs, tokens, templates, persons; bytes. */
#define CANON_NAME_MAX 64
/* "2026-11-22T12:00:00Z" and a NUL; years beyond 9999 would need more. */
#define CANON_TIME_SIZE 32

/* Takes lines off a copy of the text; values get a NUL where their line ended. */
struct canon_reader {
	char *at;
	const char *what; /* "limits": for sentences */
	unsigned line;	  /* of `at`, from 1 */
};

void canon_reader_init(struct canon_reader *r, char *text, const char *what);

/* True when the next line has that key. */
bool canon_next_is(const struct canon_reader *r, const char *key) MUST_CHECK;

/* The value of the next line, which must have that key; never empty. */
bool canon_take(
    struct canon_reader *r, const char *key, char **value, struct error *err) MUST_CHECK;

/* The same, and what its value says. ERROR_INPUT, or ERROR_LIMIT of a text that does not
 * fit into size bytes. */
bool canon_take_text(
    struct canon_reader *r, const char *key, char *out, size_t size, struct error *err) MUST_CHECK;
/* Of len octets. given: whether it is any, and no "-"; NULL: it must be. */
bool canon_take_hex(struct canon_reader *r, const char *key, uint8_t *out, size_t len, bool *given,
    struct error *err) MUST_CHECK;
bool canon_take_number(struct canon_reader *r, const char *key, uint64_t max, uint64_t *number,
    struct error *err) MUST_CHECK;
bool canon_take_time(
    struct canon_reader *r, const char *key, int64_t *t, struct error *err) MUST_CHECK;

/* Nothing may follow. */
bool canon_end(const struct canon_reader *r, struct error *err) MUST_CHECK;

/* Appends text to a buffer; sticky: the caller asks once at the end. */
struct canon_writer {
	char *buf; /* borrowed */
	size_t size, len;
	bool failed; /* it did not fit */
};

void canon_writer_init(struct canon_writer *w, char *buf, size_t size);
void canon_put(struct canon_writer *w, const char *fmt, ...) PRINTF(2, 3);
void canon_put_hex(struct canon_writer *w, const uint8_t *octets, size_t len);
/* A whole line; "-" unless given. */
void canon_put_hex_line(
    struct canon_writer *w, const char *key, bool given, const uint8_t *octets, size_t len);
/* The length of what was written, without its NUL. ERROR_LIMIT: it did not fit. */
bool canon_written(
    const struct canon_writer *w, const char *what, size_t *len, struct error *err) MUST_CHECK;

/* A kind of such a text. */
struct canon_form {
	const char *what; /* as in canon_reader */
	const char *key;  /* of the first line, whose value is the version: 1 */
	size_t max;	  /* bytes of a text */
	/* Takes the lines behind the first one. */
	bool (*read)(struct canon_reader *r, void *to, struct error *err);
	/* Writes it and a NUL, or refuses what is against its rules. */
	bool (*write)(const void *from, char *text, size_t *len, struct error *err);
};

/* Reads a text into `to`, which is empty, and refuses one that is not byte for byte
 * what is written of it then. On failure it is undefined what `to` holds. ERROR_INPUT,
 * ERROR_LIMIT, and what reading and writing say. */
bool canon_parse(const struct canon_form *form, const char *text, size_t len, void *to,
    struct error *err) MUST_CHECK;

/* Cuts the next word off a list, in place; NULL when none is left. Two
 * separators together give an empty word. */
char *canon_next_word(char **list, char separator);

/* Letters, digits and the extra characters, a letter or digit first, 1 to
 * CANON_NAME_MAX bytes. */
bool canon_is_name(const char *s, const char *extra, bool lower_only) MUST_CHECK;

/* Decimal digits without a leading zero, at most max. */
bool canon_number(const char *s, uint64_t max, uint64_t *number) MUST_CHECK;

/* Exactly 2 * len lower-case hexadecimal digits; of 1 to max octets. */
bool canon_hex(const char *s, uint8_t *out, size_t len) MUST_CHECK;
bool canon_hex_upto(const char *s, uint8_t *out, size_t max, size_t *len) MUST_CHECK;

/* Seconds since 1970 as "2026-11-22T12:00:00Z", and back; a day or an hour that
 * does not exist is refused, and so are years outside 2000 to 9999. */
void canon_time_text(int64_t t, char out[CANON_TIME_SIZE]);
bool canon_time(const char *s, int64_t *t) MUST_CHECK;
bool canon_time_valid(int64_t t) MUST_CHECK;
/* Only the shape: what is no day or hour becomes another one. */
bool canon_time_shape(const char *s, int64_t *t) MUST_CHECK;

#endif
