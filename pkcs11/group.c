#include "pkcs11/group.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/store.h"

#define BLAME_FILE "blamed"
#define SLOT_FILE "slot"
#define USE_FILE "in-use"
#define OPENING_FILE "opening"
#define HASH_LEN 8 /* of the member's name, in that of its directory */
/* A failure within so many pauses of the last one's end is the same trouble. */
#define AGAIN_PAUSES 4
#define AGAIN_MIN_S 60

size_t
group_count(const struct config_token *config)
{
	return 1 + config->others.count;
}

const char *
group_name(const struct config_token *config, size_t member)
{
	return member == 0 ? config->select : config->others.items[member - 1];
}

size_t
group_find(const struct config_token *config, const char *name)
{
	size_t i = 0;

	while (i < group_count(config) && strcmp(group_name(config, i), name) != 0)
		i++;
	return i;
}

/* By its name: the order in the configuration may change. */
static bool
path_of(const struct config_token *config, const char *state_dir, size_t member,
    char out[GROUP_DIR_MAX], struct error *e)
{
	const char *name = group_name(config, member);
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char hex[2 * HASH_LEN + 1];
	int n;

	(void)SHA256((const unsigned char *)name, strlen(name), digest);
	hex_encode(digest, HASH_LEN, hex);
	n = group_count(config) == 1 ? snprintf(out, GROUP_DIR_MAX, "%s", state_dir)
				     : snprintf(out, GROUP_DIR_MAX, "%s/member-%s", state_dir, hex);
	if (n < 0 || n >= GROUP_DIR_MAX)
		return error_set(e, ERROR_CONFIG, "state_dir is too long");
	return true;
}

bool
group_dir(const struct config_token *config, const char *state_dir, size_t member,
    char out[GROUP_DIR_MAX], struct error *e)
{
	return path_of(config, state_dir, member, out, e) &&
	       (group_count(config) == 1 || store_make_dir(out, e));
}

/* ---- blame */

struct blame {
	int64_t until, pause_s;
};

static bool
read_small(const struct config_token *config, const char *state_dir, size_t member,
    const char *file, char text[64])
{
	char dir[GROUP_DIR_MAX];
	struct error ignored = ERROR_INIT;
	size_t len = 0;

	if (group_count(config) == 1 || !path_of(config, state_dir, member, dir, &ignored) ||
	    !store_read(dir, file, text, 63, &len, &ignored))
		return false;
	text[len] = '\0';
	return true;
}

static void
write_small(const struct config_token *config, const char *state_dir, size_t member,
    const char *file, const char *text)
{
	char dir[GROUP_DIR_MAX];
	struct error why = ERROR_INIT;

	if (!group_dir(config, state_dir, member, dir, &why) ||
	    !store_write(dir, file, text, strlen(text), true, &why))
		log_failure(LOG_LEVEL_WARNING, config->name, &why);
}

/* A number and the blank or newline behind it; *at moves past both. */
static bool
take_number(const char **at, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(*at, &end, 10);
	if (errno != 0 || end == *at || *out < 0 || (*end != ' ' && *end != '\n'))
		return false;
	*at = end + 1;
	return true;
}

/* Zeros when there is none. What nobody wrote so counts for nothing. */
static struct blame
read_blame(const struct config_token *config, const char *state_dir, size_t member, int64_t now)
{
	struct blame b = {0};
	const char *at;
	char text[64];

	at = text;
	if (!read_small(config, state_dir, member, BLAME_FILE, text) ||
	    !take_number(&at, &b.until) || !take_number(&at, &b.pause_s) ||
	    b.pause_s > GROUP_PAUSE_MAX_S || b.until > now + b.pause_s)
		return (struct blame){0};
	return b;
}

bool
group_is_blamed(
    const struct config_token *config, const char *state_dir, size_t member, int64_t now)
{
	return read_blame(config, state_dir, member, now).until > now;
}

void
group_blame(const struct config_token *config, const char *state_dir, size_t member, int64_t now)
{
	struct blame b = read_blame(config, state_dir, member, now);
	int64_t again_s = AGAIN_PAUSES * b.pause_s;
	char text[64];

	if (group_count(config) == 1)
		return;
	if (again_s < AGAIN_MIN_S)
		again_s = AGAIN_MIN_S;
	b.pause_s = b.pause_s > 0 && now < b.until + again_s ? 2 * b.pause_s : GROUP_PAUSE_MIN_S;
	if (b.pause_s > GROUP_PAUSE_MAX_S)
		b.pause_s = GROUP_PAUSE_MAX_S;
	(void)snprintf(text, sizeof text, "%" PRId64 " %" PRId64 "\n", now + b.pause_s, b.pause_s);
	write_small(config, state_dir, member, BLAME_FILE, text);
}

/* ---- what a crash leaves behind */

void
group_begin_use(const struct config_token *config, const char *state_dir, size_t member)
{
	if (group_count(config) > 1)
		write_small(config, state_dir, member, USE_FILE, "yes\n");
}

void
group_begin_opening(const struct config_token *config, const char *state_dir, size_t member)
{
	if (group_count(config) > 1)
		write_small(config, state_dir, member, OPENING_FILE, "yes\n");
}

/* True when the file was there. */
static bool
forget(const struct config_token *config, const char *state_dir, size_t member, const char *file)
{
	char dir[GROUP_DIR_MAX], text[64];
	struct error why = ERROR_INIT;

	if (!read_small(config, state_dir, member, file, text))
		return false;
	if (!path_of(config, state_dir, member, dir, &why) || !store_remove(dir, file, &why))
		log_failure(LOG_LEVEL_WARNING, config->name, &why);
	return true;
}

void
group_end_opening(const struct config_token *config, const char *state_dir, size_t member)
{
	(void)forget(config, state_dir, member, OPENING_FILE);
}

void
group_end_use(const struct config_token *config, const char *state_dir)
{
	for (size_t i = 0; i < group_count(config); i++) {
		(void)forget(config, state_dir, i, USE_FILE);
		group_end_opening(config, state_dir, i);
	}
}

void
group_look_back(const struct config_token *config, const char *state_dir, int64_t now)
{
	for (size_t i = 0; i < group_count(config); i++) {
		bool used = forget(config, state_dir, i, USE_FILE);

		if (forget(config, state_dir, i, OPENING_FILE) || used)
			group_blame(config, state_dir, i, now);
	}
}

/* ---- the slot */

void
group_note_slot(
    const struct config_token *config, const char *state_dir, size_t member, unsigned long slot)
{
	unsigned long last;
	char text[64];

	if (group_count(config) == 1 ||
	    (group_last_slot(config, state_dir, member, &last) && last == slot))
		return;
	(void)snprintf(text, sizeof text, "%lu\n", slot);
	write_small(config, state_dir, member, SLOT_FILE, text);
}

bool
group_last_slot(
    const struct config_token *config, const char *state_dir, size_t member, unsigned long *slot)
{
	const char *at;
	int64_t number;
	char text[64];

	at = text;
	if (!read_small(config, state_dir, member, SLOT_FILE, text) || !take_number(&at, &number))
		return false;
	*slot = (unsigned long)number;
	return true;
}
