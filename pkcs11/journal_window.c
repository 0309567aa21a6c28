#include "pkcs11/journal_window.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/*
 * A ring of entries in the order they came, and an index into it: open
 * addressing with linear probing, at most half full. A slot holds the entry's
 * place in the ring and one; 0 is empty.
 */
struct window {
	struct window_entry *ring;
	uint32_t *slots;
	size_t max, count, first; /* first: the oldest */
	size_t mask;		  /* slots, less one; a power of two */
	uint64_t secret[2];	  /* so that nobody can choose keys that collide */
	int64_t floor;
};

_Static_assert(sizeof(struct window_entry) == 48, "a window's entry grew");

struct window *
window_new(size_t max)
{
	struct window *w = calloc(1, sizeof *w);
	size_t slots = 4;

	if (w == NULL)
		return NULL;
	while (slots < 2 * max)
		slots *= 2;
	w->max = max;
	w->mask = slots - 1;
	/* Untouched pages of large blocks cost nothing. */
	w->ring = calloc(max, sizeof *w->ring);
	w->slots = calloc(slots, sizeof *w->slots);
	if (w->ring == NULL || w->slots == NULL ||
	    getrandom(w->secret, sizeof w->secret, 0) != sizeof w->secret) {
		window_free(w);
		return NULL;
	}
	return w;
}

void
window_free(struct window *w)
{
	if (w == NULL)
		return;
	free(w->ring);
	free(w->slots);
	free(w);
}

static uint64_t
mix(uint64_t v)
{
	v ^= v >> 32;
	v *= 0xd6e8feb86659fd93ULL;
	v ^= v >> 32;
	v *= 0xd6e8feb86659fd93ULL;
	return v ^ v >> 32;
}

static size_t
home(const struct window *w, const uint8_t key[WINDOW_KEY_LEN])
{
	uint64_t high;
	uint32_t low;

	memcpy(&high, key, sizeof high);
	memcpy(&low, key + sizeof high, sizeof low);
	return (size_t)mix(mix(high ^ w->secret[0]) ^ low ^ w->secret[1]) & w->mask;
}

/* The slot that points to this key, or the empty one where it would be. */
static size_t
find_slot(const struct window *w, const uint8_t key[WINDOW_KEY_LEN])
{
	size_t s = home(w, key);

	while (w->slots[s] != 0 && memcmp(w->ring[w->slots[s] - 1].key, key, WINDOW_KEY_LEN) != 0)
		s = (s + 1) & w->mask;
	return s;
}

struct window_entry *
window_find(struct window *w, const uint8_t key[WINDOW_KEY_LEN])
{
	uint32_t at = w->slots[find_slot(w, key)];

	return at != 0 ? &w->ring[at - 1] : NULL;
}

/* Empties a slot, and moves up those behind it that would not be found then. */
static void
clear_slot(struct window *w, size_t hole)
{
	size_t s = hole;

	for (;;) {
		size_t from;

		s = (s + 1) & w->mask;
		if (w->slots[s] == 0)
			break;
		from = home(w, w->ring[w->slots[s] - 1].key);
		if (((s - from) & w->mask) < ((s - hole) & w->mask))
			continue;
		w->slots[hole] = w->slots[s];
		hole = s;
	}
	w->slots[hole] = 0;
}

static void
drop_oldest(struct window *w)
{
	const struct window_entry *oldest = &w->ring[w->first];

	if (oldest->time > w->floor)
		w->floor = oldest->time;
	clear_slot(w, find_slot(w, oldest->key));
	w->first = (w->first + 1) % w->max;
	w->count--;
}

void
window_add(struct window *w, const struct window_entry *entry)
{
	size_t at;

	if (w->count == w->max)
		drop_oldest(w);
	at = (w->first + w->count) % w->max;
	w->ring[at] = *entry;
	w->slots[find_slot(w, entry->key)] = (uint32_t)(at + 1);
	w->count++;
}

int64_t
window_floor(const struct window *w)
{
	return w->floor;
}

size_t
window_count(const struct window *w)
{
	return w->count;
}

void
window_serial_key(struct bytes serial, uint8_t key[WINDOW_KEY_LEN])
{
	size_t len = serial.len < WINDOW_KEY_LEN ? serial.len : WINDOW_KEY_LEN;

	memset(key, 0, WINDOW_KEY_LEN);
	if (serial.len > 0)
		memcpy(key + WINDOW_KEY_LEN - len, serial.p + serial.len - len, len);
	if (serial.len == SERIAL_LEN)
		key[0] = serial.p[0];
}

uint32_t
window_time(int64_t seconds)
{
	if (seconds < 0)
		return 0;
	return seconds < UINT32_MAX ? (uint32_t)seconds : UINT32_MAX;
}
