#ifndef CHANCERY_PKCS11_JOURNAL_WINDOW_H
#define CHANCERY_PKCS11_JOURNAL_WINDOW_H

/*
 * What was used lately, in bounded memory: serials, or decisions. When the
 * window is full the oldest entry goes and the floor rises to its time; what is
 * not in the window and not later than the floor may have been used before.
 *
 * Not thread-safe: the journal's lock is around it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "pkcs11/journal_record.h"

#define WINDOW_KEY_LEN 12

/* 48 octets, for hundreds of thousands of them are kept. */
struct window_entry {
	uint8_t key[WINDOW_KEY_LEN];
	uint8_t content[JOURNAL_CONTENT_LEN]; /* what it was used for */
	uint32_t time;			      /* of the serial, or the decision */
	union {
		struct journal_place place; /* of a serial: its signature's record */
		struct {
			uint32_t serial_time; /* of a decision: of what it was used for */
			uint32_t is_signed;   /* and whether that was signed */
		};
	};
};

struct window;

/* max: entries; memory is taken as it fills. NULL without memory. */
struct window *window_new(size_t max) MUST_CHECK;
void window_free(struct window *w); /* NULL is legal */

/* The entry, or NULL. The pointer is good until the next window_add. */
struct window_entry *window_find(struct window *w, const uint8_t key[WINDOW_KEY_LEN]);

/* Adds an entry that is not in the window; the oldest one may go for it. */
void window_add(struct window *w, const struct window_entry *entry);

/* The highest time of what went; 0 while nothing did. */
int64_t window_floor(const struct window *w);
size_t window_count(const struct window *w);

/* The key of a serial: all octets but those of signer id and time, which are the
 * same for many; of another serial its last ones. */
void window_serial_key(struct bytes serial, uint8_t key[WINDOW_KEY_LEN]);

/* Seconds in four octets: until the year 2106, and never wrapping round. */
uint32_t window_time(int64_t seconds);

#endif
