#include "pkcs11/losses.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/x509/canon.h"
#include "pkcs11/store.h"

#define PAUSE_MIN_MS 1000
#define COUNT_MAX 1000000 /* enough to be told */
#define FILE_MAX (ERROR_TEXT_MAX + 128)

static bool
read_file(struct losses *l, char *text)
{
	struct error ignored = ERROR_INIT;
	char *count, *since, *why;
	struct canon_reader in;
	uint64_t n;

	canon_reader_init(&in, text, "losses");
	if (!canon_take(&in, "count", &count, &ignored) ||
	    !canon_take(&in, "since", &since, &ignored) ||
	    !canon_take(&in, "why", &why, &ignored) || !canon_end(&in, &ignored) ||
	    !canon_number(count, COUNT_MAX, &n) || !canon_time(since, &l->since) ||
	    strlen(why) >= sizeof l->why)
		return false;
	l->count = (unsigned)n;
	memcpy(l->why, why, strlen(why) + 1);
	return true;
}

void
losses_load(struct losses *l, const char *state_dir)
{
	struct error ignored = ERROR_INIT;
	char text[FILE_MAX + 1];
	size_t len = 0;

	*l = (struct losses){.count = 0};
	if (!store_read(state_dir, LOSSES_FILE, text, FILE_MAX, &len, &ignored))
		return;
	text[len] = '\0';
	if (!read_file(l, text))
		*l = (struct losses){.count = 0};
}

/* One line of it, whatever a module said. */
static void
keep_why(struct losses *l, const char *why)
{
	(void)snprintf(l->why, sizeof l->why, "%s", why);
	for (char *p = l->why; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	}
}

void
losses_add(struct losses *l, const char *state_dir, int64_t served_s, const char *why, int64_t now)
{
	char text[FILE_MAX], since[CANON_TIME_SIZE];
	struct error e = ERROR_INIT;
	int len;

	if (l->count == 0 || served_s >= LOSSES_QUIET_S || l->since > now)
		*l = (struct losses){.since = now};
	if (l->count < COUNT_MAX)
		l->count++;
	keep_why(l, why[0] != '\0' ? why : "?");
	canon_time_text(l->since, since);
	len = snprintf(
	    text, sizeof text, "count: %u\nsince: %s\nwhy: %s\n", l->count, since, l->why);
	if (len < 0 || (size_t)len >= sizeof text ||
	    !store_write(state_dir, LOSSES_FILE, text, (size_t)len, true, &e))
		log_failure(LOG_LEVEL_WARNING, LOSSES_FILE, &e);
}

void
losses_end(struct losses *l, const char *state_dir)
{
	struct error e = ERROR_INIT;

	if (l->count > 0 && !store_remove(state_dir, LOSSES_FILE, &e))
		log_failure(LOG_LEVEL_WARNING, LOSSES_FILE, &e);
	*l = (struct losses){.count = 0};
}

unsigned
losses_pause_ms(const struct losses *l, uint16_t random)
{
	unsigned ms = PAUSE_MIN_MS;

	if (l->count <= LOSSES_FREE)
		return 0;
	for (unsigned i = LOSSES_FREE + 1; i < l->count && ms < LOSSES_PAUSE_MAX_MS; i++)
		ms *= 2;
	if (ms > LOSSES_PAUSE_MAX_MS)
		ms = LOSSES_PAUSE_MAX_MS;
	/* Hosts that share a token must not come back in step. */
	return ms - random % (ms / 2);
}

void
losses_text(const struct losses *l, char out[ERROR_TEXT_MAX])
{
	char since[CANON_TIME_SIZE];

	canon_time_text(l->since, since);
	(void)snprintf(out, ERROR_TEXT_MAX,
	    "the token has been opened %u times since %s and failed each time, so that it is left "
	    "alone for up to %d s between two tries; the last time: %.300s",
	    l->count, since, LOSSES_PAUSE_MAX_MS / 1000, l->why);
}
