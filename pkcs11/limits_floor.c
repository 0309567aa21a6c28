#include "pkcs11/limits_floor.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/anchor.h"

/* Version, digest, whether there is a certificate, when it was ordered, its digest. */
#define VALUE_LEN (4 + 32 + 1 + 8 + 32)
/* In place of a version: the key was destroyed, by the order with that digest. */
#define DESTROYED UINT32_MAX

static void
label_of(const uint8_t id[KEY_ID_LEN], char out[ANCHOR_LABEL_MAX + 1])
{
	char text[2 * KEY_ID_LEN + 1];

	hex_encode(id, KEY_ID_LEN, text);
	(void)snprintf(out, ANCHOR_LABEL_MAX + 1, "chancery limits %s", text);
}

static void
put_number(uint8_t **at, uint64_t v, int octets)
{
	for (int i = octets - 1; i >= 0; i--)
		*(*at)++ = (uint8_t)(v >> (8 * i));
}

static uint64_t
take_number(const uint8_t **at, int octets)
{
	uint64_t v = 0;

	for (int i = 0; i < octets; i++)
		v = v << 8 | *(*at)++;
	return v;
}

static void
encode(const struct limits_floor *floor, uint8_t out[VALUE_LEN])
{
	uint8_t *at = out;

	put_number(&at, floor->version, 4);
	memcpy(at, floor->sha256, 32);
	at += 32;
	put_number(&at, floor->has_certificate, 1);
	put_number(&at, (uint64_t)floor->ordered, 8);
	memcpy(at, floor->tbs_sha256, 32);
}

static bool
decode(const uint8_t *value, size_t len, struct limits_floor *floor)
{
	const uint8_t *at = value;
	uint64_t has;

	if (len != VALUE_LEN)
		return false;
	floor->version = (uint32_t)take_number(&at, 4);
	memcpy(floor->sha256, at, 32);
	at += 32;
	has = take_number(&at, 1);
	floor->has_certificate = has == 1;
	floor->ordered = (int64_t)take_number(&at, 8);
	memcpy(floor->tbs_sha256, at, 32);
	return floor->version > 0 && has <= 1;
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
			return floor->version != DESTROYED ||
			       error_set(e, ERROR_DENIED,
				   "the token remembers that the key of these limits was destroyed "
				   "because its operators ordered it");
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

/* ---- comparing */

bool
limits_floor_compare_document(
    const struct limits_floor *floor, const struct key_limits *l, struct error *e)
{
	uint32_t own = l->document.version;

	if (floor->version > own)
		return error_set(e, ERROR_DENIED,
		    "the limits of CA %s here are version %u, and the token remembers version %u: "
		    "an older copy of the signer's state directory was put back, or the newer ones "
		    "did not come here, and the key signs nothing until they are there",
		    l->document.ca, (unsigned)own, (unsigned)floor->version);
	if (floor->version == own &&
	    memcmp(floor->sha256, l->document_sha256, sizeof floor->sha256) != 0)
		return error_set(e, ERROR_DENIED,
		    "the limits of CA %s here are another version %u than the one that the token "
		    "remembers: the key signs nothing until those are restored",
		    l->document.ca, (unsigned)own);
	return true;
}

static bool
same_certificate(const struct limits_floor *floor, const struct key_limits *l)
{
	return floor->has_certificate && l->installed &&
	       memcmp(floor->tbs_sha256, l->tbs_sha256, sizeof l->tbs_sha256) == 0;
}

static bool
has_newer_certificate(const struct limits_floor *floor, const struct key_limits *l)
{
	return l->installed && !same_certificate(floor, l) &&
	       (!floor->has_certificate || l->ordered > floor->ordered);
}

static bool
compare_certificate(const struct limits_floor *floor, const struct key_limits *l, struct error *e)
{
	if (!floor->has_certificate || same_certificate(floor, l) ||
	    has_newer_certificate(floor, l))
		return true;
	return error_set(e, ERROR_DENIED,
	    "the token remembers a certificate of CA %s that was installed %s: an older copy of "
	    "the signer's state directory was put back, or the certificate did not come here, and "
	    "the key signs nothing until it is there",
	    l->document.ca, l->installed ? "later than the one here" : "and is not here");
}

static bool
write_floor(struct session *s, const struct key_limits *l, const struct limits_floor *floor,
    bool *refused, struct error *e)
{
	char label[ANCHOR_LABEL_MAX + 1];
	struct error why = ERROR_INIT;
	uint8_t value[VALUE_LEN];
	struct session rw;
	bool ok;

	if (*refused)
		return true;
	encode(floor, value);
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

/* The newer of both, of limits and certificate each by itself; another document of the
 * same version is not newer. */
static bool
join(struct limits_floor *floor, const struct key_limits *l)
{
	bool rises = false;

	if (l->document.version > floor->version) {
		floor->version = l->document.version;
		memcpy(floor->sha256, l->document_sha256, sizeof floor->sha256);
		rises = true;
	}
	if (has_newer_certificate(floor, l)) {
		floor->has_certificate = true;
		floor->ordered = l->ordered;
		memcpy(floor->tbs_sha256, l->tbs_sha256, sizeof floor->tbs_sha256);
		rises = true;
	}
	return rises;
}

bool
limits_floor_raise(struct session *s, const struct key_limits *l, bool *refused, struct error *e)
{
	struct limits_floor floor;

	return limits_floor_read(s, l->id, &floor, e) &&
	       (!join(&floor, l) || write_floor(s, l, &floor, refused, e));
}

bool
limits_floor_bury(struct session *rw, const struct key_limits *l,
    const uint8_t statement_sha256[32], struct error *e)
{
	struct limits_floor floor = {.version = DESTROYED};
	char label[ANCHOR_LABEL_MAX + 1];
	struct error why = ERROR_INIT;
	uint8_t value[VALUE_LEN];

	memcpy(floor.sha256, statement_sha256, sizeof floor.sha256);
	encode(&floor, value);
	label_of(l->id, label);
	if (anchor_write(rw, label, (struct bytes){value, sizeof value}, &why) ||
	    why.code == ERROR_DENIED)
		return true;
	return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
}

bool
limits_floor_check(struct session *s, const struct key_limits *l, bool *refused, struct error *e)
{
	struct limits_floor floor;

	return limits_floor_read(s, l->id, &floor, e) &&
	       limits_floor_compare_document(&floor, l, e) && compare_certificate(&floor, l, e) &&
	       (!join(&floor, l) || write_floor(s, l, &floor, refused, e));
}

bool
limits_floor_load(struct session *s, const char *state_dir, struct bytes id, struct key_limits *l,
    bool *refused, struct error *e)
{
	return key_limits_load(l, state_dir, id, e) && limits_floor_check(s, l, refused, e);
}

/* ---- several tokens */

/* The end of a key is newer than any version of its limits. */
static bool
take_newer(struct limits_floor *to, const struct limits_floor *from)
{
	bool rises = from->version > to->version;

	if (rises) {
		to->version = from->version;
		memcpy(to->sha256, from->sha256, sizeof to->sha256);
	}
	if (from->has_certificate && (!to->has_certificate || from->ordered > to->ordered)) {
		to->has_certificate = true;
		to->ordered = from->ordered;
		memcpy(to->tbs_sha256, from->tbs_sha256, sizeof to->tbs_sha256);
		rises = true;
	}
	return rises;
}

/* As it stands there; what is damaged is found by who needs it. */
static bool
read_plain(struct session *s, const char *label, struct limits_floor *floor, struct error *e)
{
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error why = ERROR_INIT;
	size_t len;

	*floor = (struct limits_floor){0};
	if (anchor_read(s, label, value, &len, &why)) {
		if (!decode(value, len, floor))
			*floor = (struct limits_floor){0};
		return true;
	}
	return why.code == ERROR_NOT_FOUND || why.code == ERROR_CONFLICT ||
	       error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
}

bool
limits_floor_share(struct session rw[], size_t count, const uint8_t id[KEY_ID_LEN], struct error *e)
{
	struct limits_floor newest = {0}, own;
	char label[ANCHOR_LABEL_MAX + 1];
	uint8_t value[VALUE_LEN];

	label_of(id, label);
	for (size_t i = 0; i < count; i++) {
		if (!read_plain(&rw[i], label, &own, e))
			return false;
		(void)take_newer(&newest, &own);
	}
	for (size_t i = 0; i < count && newest.version > 0; i++) {
		struct error why = ERROR_INIT;

		if (!read_plain(&rw[i], label, &own, e))
			return false;
		if (!take_newer(&own, &newest))
			continue;
		encode(&own, value);
		if (!anchor_write(&rw[i], label, (struct bytes){value, sizeof value}, &why) &&
		    why.code != ERROR_DENIED)
			return error_set_foreign(
			    e, why.code, why.source, why.foreign, "%s", why.text);
	}
	return true;
}
