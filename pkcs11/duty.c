#include "pkcs11/duty.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/config.h"
#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "daemon/core/wire.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/der.h"
#include "pkcs11/limits.h"

/* Both kinds of value begin with format, epoch and holder, so that of two that
 * were written at once the same signer's is the winner (anchor.h). */
#define FORMAT 1
/* Clocks of two hosts differ by no more. */
#define CLOCKS_DIFFER_S 300

struct lease {
	uint64_t epoch;
	uint16_t holder;
	int64_t until;
};

static struct bytes
octets(const uint8_t *p, size_t len)
{
	return (struct bytes){p, len};
}

static const char *
ca_of(const struct duty *d)
{
	return d->limits->document.ca;
}

/* Other signers may use the key, too: what the token says is binding. */
static bool
is_shared(const struct duty *d)
{
	return d->limits->document.signer_count > 1;
}

static bool
may_hold(const struct duty *d, uint16_t signer_id)
{
	for (size_t i = 0; i < d->limits->document.signer_count; i++) {
		if (d->limits->document.signer_ids[i] == signer_id)
			return true;
	}
	return false;
}

/* ---- values on the token */

/* Moves a writer's octets; 0 when it failed, or they are too many. */
static size_t
take_octets(struct wire_writer *w, uint8_t out[ANCHOR_VALUE_MAX])
{
	size_t len = wire_writer_ok(w) && w->len <= ANCHOR_VALUE_MAX ? w->len : 0;

	if (len > 0)
		memcpy(out, w->buf, len);
	wire_writer_free(w);
	return len;
}

static void
put_head(struct wire_writer *w, uint64_t epoch, uint16_t holder)
{
	wire_writer_init(w, ANCHOR_VALUE_MAX);
	wire_put_u8(w, FORMAT);
	wire_put_u64(w, epoch);
	wire_put_u16(w, holder);
}

static size_t
put_lease(const struct lease *m, uint8_t out[ANCHOR_VALUE_MAX])
{
	struct wire_writer w;

	put_head(&w, m->epoch, m->holder);
	wire_put_u64(&w, (uint64_t)m->until);
	return take_octets(&w, out);
}

static bool
get_lease(struct bytes value, struct lease *m)
{
	struct wire_reader r;
	uint8_t format;

	wire_reader_init(&r, value.p, value.len);
	format = wire_get_u8(&r);
	m->epoch = wire_get_u64(&r);
	m->holder = wire_get_u16(&r);
	m->until = (int64_t)wire_get_u64(&r);
	return wire_reader_end(&r) && format == FORMAT && m->epoch > 0 && m->epoch < UINT64_MAX &&
	       canon_time_valid(m->until);
}

static void
put_number(struct wire_writer *w, const struct journal_number *n)
{
	wire_put_bytes(w, n->number, n->len);
	wire_put_bytes(w, n->content, sizeof n->content);
	wire_put_u64(w, (uint64_t)n->this_update);
}

static size_t
put_numbers(
    const struct journal_scope *sc, uint64_t epoch, uint16_t holder, uint8_t out[ANCHOR_VALUE_MAX])
{
	struct wire_writer w;

	put_head(&w, epoch, holder);
	put_number(&w, &sc->complete);
	put_number(&w, &sc->delta);
	wire_put_u8(&w, (uint8_t)sc->base_count);
	for (size_t i = 0; i < sc->base_count; i++)
		wire_put_bytes(&w, sc->bases[i].number, sc->bases[i].len);
	return take_octets(&w, out);
}

static bool
get_plain_number(struct wire_reader *r, struct journal_number *n)
{
	struct bytes number = wire_get_bytes(r, CRL_NUMBER_MAX);

	*n = (struct journal_number){.len = number.len};
	if (number.len > 0)
		memcpy(n->number, number.p, number.len);
	return number.len == 0 || number.len == 1 || number.p[0] != 0;
}

static bool
get_number(struct wire_reader *r, struct journal_number *n)
{
	bool ok = get_plain_number(r, n);
	struct bytes content = wire_get_bytes(r, sizeof n->content);

	n->this_update = (int64_t)wire_get_u64(r);
	if (content.len == sizeof n->content)
		memcpy(n->content, content.p, content.len);
	return ok && content.len == sizeof n->content;
}

/* What another signer began to sign as a complete CRL may have gone out: it counts
 * as a base. */
static bool
get_numbers(struct bytes value, uint16_t self, struct journal_scope *sc, uint64_t *epoch)
{
	struct wire_reader r;
	uint8_t format, bases;
	uint16_t writer;
	bool ok;

	wire_reader_init(&r, value.p, value.len);
	format = wire_get_u8(&r);
	*epoch = wire_get_u64(&r);
	writer = wire_get_u16(&r);
	ok = get_number(&r, &sc->complete) && get_number(&r, &sc->delta);
	bases = wire_get_u8(&r);
	if (!ok || format != FORMAT || *epoch == UINT64_MAX || bases > JOURNAL_BASES_MAX)
		return false;
	if (sc->complete.len > 0 && writer != self)
		sc->bases[sc->base_count++] = sc->complete;
	for (; bases > 0 && ok; bases--) {
		struct journal_number n;

		ok = get_plain_number(&r, &n) && n.len > 0;
		if (sc->base_count < JOURNAL_BASES_MAX)
			sc->bases[sc->base_count++] = n;
	}
	return wire_reader_end(&r) && ok;
}

/* ---- reading and writing them */

/* Nothing there is no error: *len is 0. */
static bool
read_value(struct duty *d, const char *label, uint8_t value[ANCHOR_VALUE_MAX], size_t *len,
    struct error *e)
{
	struct error why = ERROR_INIT;

	if (anchor_read(&d->rw, label, value, len, &why) || why.code == ERROR_NOT_FOUND)
		return true;
	return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
}

static bool
swap_value(struct duty *d, const char *label, uint8_t stored[ANCHOR_VALUE_MAX], size_t *stored_len,
    const uint8_t *value, size_t len, struct error *e)
{
	struct error why = ERROR_INIT;

	if (len == 0)
		return error_set(e, ERROR_SYSTEM, "no memory for a data object");
	if (anchor_swap(&d->rw, label, octets(stored, *stored_len), octets(value, len), &why)) {
		memcpy(stored, value, len);
		*stored_len = len;
		return true;
	}
	d->contended = why.code == ERROR_CONFLICT;
	if (d->contended)
		return error_set(e, ERROR_UNAVAILABLE,
		    "the CRL duty for CA %s is being taken over by another signer: ask again",
		    ca_of(d));
	return error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
}

/* ---- the lease */

static bool
refuse(const struct duty *d, const struct lease *held, struct error *e)
{
	char until[CANON_TIME_SIZE];

	canon_time_text(held->until, until);
	return error_set(e, ERROR_ELSEWHERE,
	    "CRLs of CA %s are signed by signer %u, which has that duty until %s; this is signer "
	    "%u",
	    ca_of(d), held->holder, until, d->place.signer_id);
}

/* Who has the duty by its lease, and may use the key at all. */
static bool
is_held(const struct duty *d, const struct lease *held)
{
	int64_t now = d->place.now.wall_s;

	return held->until > now && held->until <= now + CONFIG_CRL_LEASE_MAX_S + CLOCKS_DIFFER_S &&
	       may_hold(d, held->holder);
}

static bool
write_lease(struct duty *d, uint64_t epoch, struct error *e)
{
	struct lease fresh = {
	    .epoch = epoch,
	    .holder = d->place.signer_id,
	    .until = d->place.now.wall_s + d->place.lease_s,
	};
	uint8_t value[ANCHOR_VALUE_MAX];
	size_t len = put_lease(&fresh, value);

	d->epoch = epoch;
	return swap_value(d, d->lease_label, d->lease, &d->lease_len, value, len, e);
}

static bool
read_lease(struct duty *d, struct lease *found, struct error *e)
{
	if (!read_value(d, d->lease_label, d->lease, &d->lease_len, e))
		return false;
	*found = (struct lease){.epoch = 0};
	if (d->lease_len == 0 || get_lease(octets(d->lease, d->lease_len), found))
		return true;
	return error_set(
	    e, ERROR_CONFLICT, "the data object '%s' on the token says nothing", d->lease_label);
}

static bool
take_lease(struct duty *d, struct error *e)
{
	int64_t left, now = d->place.now.wall_s;
	struct lease found;

	if (!read_lease(d, &found, e))
		return false;
	if (found.holder != d->place.signer_id) {
		if (is_held(d, &found))
			return refuse(d, &found, e);
		if (!write_lease(d, found.epoch + 1, e))
			return false;
		if (found.epoch > 0)
			log_info(ca_of(d), "signer %u has taken the CRL duty over from signer %u",
			    d->place.signer_id, found.holder);
		return true;
	}
	d->epoch = found.epoch;
	left = found.until - now;
	if (left > d->place.lease_s / 2 && left <= d->place.lease_s)
		return true;
	return write_lease(d, found.epoch, e);
}

/* ---- the numbers */

static bool
read_numbers(struct duty *d, struct error *e)
{
	struct journal_scope sc = {.id_len = KEY_ID_LEN};
	uint64_t epoch;

	if (!read_value(d, d->scope_label, d->numbers, &d->numbers_len, e))
		return false;
	if (d->numbers_len == 0)
		return true;
	if (!get_numbers(octets(d->numbers, d->numbers_len), d->place.signer_id, &sc, &epoch))
		return error_set(e, ERROR_CONFLICT,
		    "the data object '%s' on the token says nothing", d->scope_label);
	/* The lease was lost from the token, and began at the beginning. */
	if (epoch > d->epoch && !write_lease(d, epoch + 1, e))
		return false;
	memcpy(sc.id, d->limits->id, KEY_ID_LEN);
	memcpy(sc.scope, d->use->scope, sizeof sc.scope);
	return journal_raise_scope(d->place.journal, &sc, d->place.now, e);
}

/* ---- a token that keeps nothing */

static bool
has_duty_for_good(const struct duty *d, struct error *e)
{
	uint16_t first = d->limits->document.signer_ids[0];

	if (first == d->place.signer_id)
		return true;
	return error_set(e, ERROR_ELSEWHERE,
	    "CRLs of CA %s are signed by signer %u, the first of its limits, since %s; this is "
	    "signer %u",
	    ca_of(d), first,
	    d->place.in_group ? "its token is a group, of which hosts may see different ones"
			      : "the token keeps no data objects",
	    d->place.signer_id);
}

/* True when the CRL may be signed all the same. */
static bool
do_without(struct duty *d, const struct error *why, struct error *e)
{
	d->kept = false;
	if (!d->rw.fatal && !d->contended && !is_shared(d)) {
		log_failure(LOG_LEVEL_DEBUG, ca_of(d), why);
		return true;
	}
	if (!d->rw.fatal && why->code == ERROR_DENIED && d->lease_len == 0)
		return has_duty_for_good(d, e);
	return error_set_foreign(e, why->code == ERROR_DENIED ? ERROR_UNAVAILABLE : why->code,
	    why->source, why->foreign, "%s", why->text);
}

/* ---- one CRL */

static void
set_lease_label(const uint8_t id[KEY_ID_LEN], char out[ANCHOR_LABEL_MAX])
{
	char hex[KEY_ID_TEXT_MAX];

	key_limits_id_text(octets(id, KEY_ID_LEN), hex);
	(void)snprintf(out, ANCHOR_LABEL_MAX, "chancery crl-duty %.32s", hex);
}

static void
set_labels(struct duty *d)
{
	char scope[2 * sizeof d->use->scope + 1], id[KEY_ID_TEXT_MAX];

	key_limits_id_text(octets(d->limits->id, KEY_ID_LEN), id);
	hex_encode(d->use->scope, sizeof d->use->scope, scope);
	set_lease_label(d->limits->id, d->lease_label);
	(void)snprintf(
	    d->scope_label, sizeof d->scope_label, "chancery crl %.32s %.64s", id, scope);
}

bool
duty_begin(struct duty *d, struct session *s, const struct duty_place *place,
    const struct key_limits *limits, const struct guard_use *use, struct error *e)
{
	struct error why = ERROR_INIT;

	*d = (struct duty){.place = *place, .limits = limits, .use = use};
	set_labels(d);
	if (d->place.in_group && is_shared(d) && !has_duty_for_good(d, e))
		return false;
	d->kept = session_open(s->f, s->slot, true, &d->rw, &why) && take_lease(d, &why) &&
		  read_numbers(d, &why);
	return d->kept || do_without(d, &why, e);
}

bool
duty_note(struct duty *d, struct error *e)
{
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error why = ERROR_INIT;
	struct journal_scope sc;
	size_t len;

	if (!d->kept)
		return true;
	if (!journal_find_scope(
		d->place.journal, octets(d->limits->id, KEY_ID_LEN), d->use->scope, &sc))
		return error_set(e, ERROR_INTERNAL, "the journal has no such CRL scope");
	len = put_numbers(&sc, d->epoch, d->place.signer_id, value);
	if (bytes_equal(octets(value, len), octets(d->numbers, d->numbers_len)))
		return true;
	return swap_value(d, d->scope_label, d->numbers, &d->numbers_len, value, len, &why) ||
	       do_without(d, &why, e);
}

bool
duty_confirm(struct duty *d, struct error *e)
{
	struct error why = ERROR_INIT;
	struct lease found;

	if (!d->kept)
		return true;
	if (!read_lease(d, &found, &why))
		return do_without(d, &why, e);
	if (found.holder == d->place.signer_id && found.epoch == d->epoch)
		return true;
	if (found.epoch > 0)
		return refuse(d, &found, e);
	return error_set(e, ERROR_UNAVAILABLE,
	    "the data object '%s' went from the token while the CRL was signed", d->lease_label);
}

void
duty_end(struct duty *d, bool *fatal)
{
	*fatal |= d->rw.fatal;
	session_close(&d->rw);
}

/* ---- the end */

static bool
end_lease(struct session *rw, const uint8_t id[KEY_ID_LEN], uint16_t signer_id, int64_t now,
    struct error *e)
{
	uint8_t value[ANCHOR_VALUE_MAX], ended[ANCHOR_VALUE_MAX];
	char label[ANCHOR_LABEL_MAX];
	struct lease lease;
	size_t len;

	set_lease_label(id, label);
	if (!anchor_read(rw, label, value, &len, e))
		return false;
	if (!get_lease(octets(value, len), &lease) || lease.holder != signer_id ||
	    lease.until <= now)
		return true;
	lease.until = now;
	return anchor_swap(
	    rw, label, octets(value, len), octets(ended, put_lease(&lease, ended)), e);
}

void
duty_give_up(struct session *s, const char *state_dir, uint16_t signer_id, int64_t now)
{
	struct error why = ERROR_INIT;
	uint8_t(*ids)[KEY_ID_LEN] = NULL;
	struct session rw = {.f = NULL};
	size_t count = 0;

	if (!key_limits_list(state_dir, &ids, &count, &why) ||
	    !session_open(s->f, s->slot, true, &rw, &why))
		log_failure(LOG_LEVEL_DEBUG, "crl duty", &why);
	else
		for (size_t i = 0; i < count && !rw.fatal; i++) {
			why = ERROR_INIT;
			if (!end_lease(&rw, ids[i], signer_id, now, &why) &&
			    why.code != ERROR_NOT_FOUND)
				log_failure(LOG_LEVEL_DEBUG, "crl duty", &why);
		}
	session_close(&rw);
	free(ids);
}
