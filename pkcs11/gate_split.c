/* A PIN that nobody knows: how the token gets it, and never loses the one it has
 * before all shares of the new one are on the disk. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/gate_int.h"

static const char *
name_of(const struct gate *g)
{
	return g->o.access->config->name;
}

void
gate_settle_split(struct gate *g)
{
	struct error why = ERROR_INIT;

	/* It stays as it was then, and the next login will settle it. */
	if (pin_split_settle(g->o.state_dir, g->next, &why))
		atomic_store(&g->unsettled, false);
	else
		log_failure(LOG_LEVEL_ERROR, name_of(g), &why);
}

static struct bytes
octets_of(const struct pin *pin)
{
	return (struct bytes){(const uint8_t *)pin->text, pin->len};
}

static bool
record(struct gate *g, enum logins_event event, const struct pin_shares *s, struct error *e)
{
	char split[2 * sizeof s->split + 1];

	hex_encode(s->split, sizeof s->split, split);
	return gate_record(g, event, &g->who, split, e);
}

/* With this PIN, of which the caller keeps its own. */
static bool
log_in_with(struct gate *g, const struct pin *pin, bool next, struct error *e)
{
	if (!pin_make(&g->pin, e))
		return false;
	memcpy(g->pin.text, pin->text, pin->len);
	g->pin.len = pin->len;
	g->next = next;
	return gate_log_in(g, e);
}

/* What the token has done that did not say "done" shows when the old PIN is entered:
 * if it is still right, the new one never was. */
static bool
undo(struct gate *g, const struct pin *old, struct error *e)
{
	struct error why = ERROR_INIT;

	gate_close(g, "split");
	if (!token_is_lost(g->o.token) && log_in_with(g, old, false, &why)) {
		gate_close(g, "split");
		return error_wrap(e, "the PIN is what it was");
	}
	return error_wrap(e,
	    "nobody knows which PIN token '%s' has now, the old one or the new one, of which all "
	    "holders have their share",
	    name_of(g));
}

/* Logged in with the old one. */
static bool
change(struct gate *g, const struct pin *old, const struct pin *fresh, const struct pin_shares *s,
    struct error *e)
{
	const char *dir = g->o.state_dir;

	/* Shares that the present PIN may need are not written over. */
	if (!pin_split_settle(dir, g->next, e))
		return false;
	g->next = false;
	if (!pin_split_keep(dir, s, e) || !record(g, LOGINS_SPLIT, s, e)) {
		/* Nobody shall try them: the token is not told. */
		gate_settle_split(g);
		return false;
	}
	atomic_store(&g->unsettled, true);
	if (!token_set_pin(g->o.token, octets_of(old), octets_of(fresh), e))
		return undo(g, old, e);
	gate_close(g, "split");
	if (!log_in_with(g, fresh, true, e))
		return error_wrap(e, "the token said that it has the new PIN, of which all holders "
				     "have their share, "
				     "but did not open with it");
	return record(g, LOGINS_NEW_PIN, s, e);
}

static void
describe(const struct gate *g, const struct pin_shares *s, char text[ERROR_TEXT_MAX])
{
	int n = snprintf(text, ERROR_TEXT_MAX,
	    "token %s has a new PIN that nobody knows: any %u of these open it, each with their "
	    "share:",
	    name_of(g), s->need);

	for (size_t i = 0; i < s->count && n >= 0 && n < ERROR_TEXT_MAX; i++)
		n += snprintf(text + n, (size_t)(ERROR_TEXT_MAX - n), " %s", s->holders[i].person);
}

bool
gate_split(struct gate *g, const struct access_entry *entry, const struct pin *pin,
    char text[ERROR_TEXT_MAX], struct error *e)
{
	struct pin_shares *s = malloc(sizeof *s);
	struct pin fresh = {0};
	bool ok = false;

	if (s == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the shares of a PIN");
	if (pin->len == 0) {
		(void)error_set(e, ERROR_DENIED,
		    "the PIN of token '%s' is entered at its own device, and cannot be split",
		    name_of(g));
		goto out;
	}
	ok = log_in_with(g, pin, g->next, e) &&
	     pin_split_make_pin(token_info(g->o.token), &fresh, e) &&
	     pin_split_make_shares(
		 g->o.access, &entry->envelope, &fresh, gate_clock_now().wall_s, s, e) &&
	     change(g, pin, &fresh, s, e);
	gate_close(g, ok ? "split" : "failed");
	if (ok) {
		describe(g, s, text);
		log_info(name_of(g), "%s: %s", entry->person->name, text);
	}
out:
	pin_clear(&fresh);
	free(s);
	return ok;
}
