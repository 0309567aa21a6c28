#include "pkcs11/limits_floor.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/anchor.h"

#define VALUE_LEN (4 + 32) /* version, digest */

static void
label_of(const uint8_t id[KEY_ID_LEN], char out[ANCHOR_LABEL_MAX + 1])
{
	char text[2 * KEY_ID_LEN + 1];

	hex_encode(id, KEY_ID_LEN, text);
	(void)snprintf(out, ANCHOR_LABEL_MAX + 1, "chancery limits %s", text);
}

static void
encode(const struct limits_floor *floor, uint8_t out[VALUE_LEN])
{
	for (int i = 0; i < 4; i++)
		out[i] = (uint8_t)(floor->version >> (24 - 8 * i));
	memcpy(out + 4, floor->sha256, sizeof floor->sha256);
}

static bool
decode(const uint8_t *value, size_t len, struct limits_floor *floor)
{
	if (len != VALUE_LEN)
		return false;
	floor->version = 0;
	for (int i = 0; i < 4; i++)
		floor->version = floor->version << 8 | value[i];
	memcpy(floor->sha256, value + 4, sizeof floor->sha256);
	return floor->version > 0;
}

bool
limits_floor_read(
    struct session *s, const uint8_t id[KEY_ID_LEN], struct limits_floor *floor, struct error *e)
{
	char label[ANCHOR_LABEL_MAX + 1];
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error why = ERROR_INIT;
	size_t len;

	*floor = (struct limits_floor){0};
	label_of(id, label);
	if (anchor_read(s, label, value, &len, &why)) {
		if (decode(value, len, floor))
			return true;
		(void)error_set(&why, ERROR_CONFLICT,
		    "the data object '%s' on the token is not one of limits", label);
	}
	if (why.code == ERROR_NOT_FOUND)
		return true;
	if (why.code == ERROR_CONFLICT)
		return error_set(e, ERROR_DENIED,
		    "%s: whether the limits of the key are the newest cannot be told, so it signs "
		    "nothing; remove the object once you have compared them",
		    why.text);
	return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
}

static bool
raise_floor(struct session *s, const struct key_limits *l, bool *refused, struct error *e)
{
	struct limits_floor floor = {.version = l->document.version};
	char label[ANCHOR_LABEL_MAX + 1];
	struct error why = ERROR_INIT;
	uint8_t value[VALUE_LEN];
	struct session rw;
	bool ok;

	if (*refused)
		return true;
	memcpy(floor.sha256, l->document_sha256, sizeof floor.sha256);
	encode(&floor, value);
	label_of(l->id, label);
	if (!session_open(s->f, s->slot, true, &rw, e)) {
		s->fatal |= rw.fatal;
		return false;
	}
	ok = anchor_write(&rw, label, (struct bytes){value, sizeof value}, &why);
	s->fatal |= rw.fatal;
	session_close(&rw);
	if (ok)
		return true;
	if (why.code != ERROR_DENIED)
		return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	*refused = true;
	log_warning(l->document.ca,
	    "%s: that an older copy of the limits was put back would be noticed by the journal "
	    "only",
	    why.text);
	return true;
}

bool
limits_floor_check(struct session *s, const struct key_limits *l, bool *refused, struct error *e)
{
	uint32_t own = l->document.version;
	struct limits_floor floor;

	if (!limits_floor_read(s, l->id, &floor, e))
		return false;
	if (floor.version < own)
		return raise_floor(s, l, refused, e);
	if (floor.version > own)
		return error_set(e, ERROR_DENIED,
		    "the limits of CA %s here are version %u, and the token remembers version %u: "
		    "an "
		    "older copy of the signer's state directory was put back, and the key signs "
		    "nothing until the newest one is there",
		    l->document.ca, (unsigned)own, (unsigned)floor.version);
	if (memcmp(floor.sha256, l->document_sha256, sizeof floor.sha256) != 0)
		return error_set(e, ERROR_DENIED,
		    "the limits of CA %s here are another version %u than the one that the token "
		    "remembers: the key signs nothing until those are restored",
		    l->document.ca, (unsigned)own);
	return true;
}

bool
limits_floor_load(struct session *s, const char *state_dir, struct bytes id, struct key_limits *l,
    bool *refused, struct error *e)
{
	return key_limits_load(l, state_dir, id, e) && limits_floor_check(s, l, refused, e);
}
