/*
 * CRL numbers. Complete and delta CRLs of one scope share one sequence (RFC 5280
 * 5.2.3): a number is never lower than one before it, and serves at most one
 * complete and one delta CRL, which then have the same thisUpdate.
 */

#include <stdlib.h>
#include <string.h>

#include "daemon/x509/der.h"
#include "daemon/x509/extension.h"
#include "pkcs11/journal.h"
#include "pkcs11/journal_state.h"

#define NUMBER_TEXT_MAX 64

/* Leading zeros do not count; the number 0 is one octet. */
static struct bytes
plain(const uint8_t *p, size_t len)
{
	static const uint8_t zero[1];

	if (len == 0)
		return (struct bytes){zero, 1};
	while (len > 1 && *p == 0) {
		p++;
		len--;
	}
	return (struct bytes){p, len};
}

static int
compare(struct bytes a, struct bytes b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return memcmp(a.p, b.p, a.len);
}

static struct bytes
number_of(const struct journal_number *n)
{
	return plain(n->number, n->len);
}

static const char *
text_of(struct bytes number, char out[NUMBER_TEXT_MAX])
{
	if (!crl_number_to_text(number, out, NUMBER_TEXT_MAX))
		out[0] = '\0';
	return out;
}

struct journal_scope *
state_find_scope(struct journal_state *s, struct bytes id, const uint8_t scope[32])
{
	for (size_t i = 0; i < s->scope_count; i++) {
		struct journal_scope *known = &s->scopes[i];

		if (bytes_equal((struct bytes){known->id, known->id_len}, id) &&
		    memcmp(known->scope, scope, sizeof known->scope) == 0)
			return known;
	}
	return NULL;
}

/* ---- rules */

static bool
check_same_number(const struct journal_number *last, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], enum state_verdict *verdict,
    struct journal_place *place, struct error *e)
{
	char text[NUMBER_TEXT_MAX];

	if (memcmp(last->content, content, JOURNAL_CONTENT_LEN) != 0)
		return error_set(e, ERROR_DENIED,
		    "CRL number %s was used for another %s already (RFC 5280 5.2.3)",
		    text_of(number_of(last), text), use->delta ? "delta CRL" : "complete CRL");
	*verdict = last->place.segment != 0 ? STATE_SIGNED : STATE_AGAIN;
	*place = last->place;
	return true;
}

/* Against the last one of either kind. */
static bool
check_after(const struct journal_number *last, struct bytes number, const struct guard_use *use,
    bool own, struct error *e)
{
	char text[NUMBER_TEXT_MAX], before[NUMBER_TEXT_MAX];
	int order;

	if (last->len == 0)
		return true;
	order = compare(number, number_of(last));
	if (order < 0 || (order == 0 && !own && use->this_update != last->this_update))
		return error_set(e, ERROR_DENIED,
		    "CRL number %s does not follow number %s of this scope (RFC 5280 5.2.3; the "
		    "same number only for a complete and a delta CRL with equal thisUpdate)",
		    text_of(number, text), text_of(number_of(last), before));
	if (use->this_update < last->this_update)
		return error_set(e, ERROR_DENIED,
		    "thisUpdate of CRL number %s is before that of number %s",
		    text_of(number, text), text_of(number_of(last), before));
	return true;
}

static bool
check_base(const struct journal_scope *sc, const struct guard_use *use, struct error *e)
{
	struct bytes base = plain(use->base_number, use->base_number_len);
	char text[NUMBER_TEXT_MAX];

	for (size_t i = 0; sc != NULL && i < sc->base_count; i++) {
		if (compare(base, number_of(&sc->bases[i])) == 0)
			return true;
	}
	return error_set(e, ERROR_DENIED,
	    "the delta CRL's base, number %s, is none of the last %d complete CRLs of this scope "
	    "(RFC 5280 5.2.4)",
	    text_of(base, text), JOURNAL_BASES_MAX);
}

static bool
check_room(const struct journal_state *s, struct bytes id, struct error *e)
{
	size_t own = 0;

	for (size_t i = 0; i < s->scope_count; i++)
		own += bytes_equal((struct bytes){s->scopes[i].id, s->scopes[i].id_len}, id);
	if (own < JOURNAL_KEY_SCOPES_MAX && s->scope_count < JOURNAL_SCOPES_MAX)
		return true;
	return error_set(e, ERROR_DENIED,
	    "the key signed CRLs of %zu scopes already; at most %d of one key, and %d of all, are "
	    "kept apart",
	    own, JOURNAL_KEY_SCOPES_MAX, JOURNAL_SCOPES_MAX);
}

bool
state_check_crl(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], enum state_verdict *verdict,
    struct journal_place *place, struct error *e)
{
	const struct journal_scope *sc = state_find_scope(s, id, use->scope);
	struct bytes number = plain(use->number, use->number_len);
	const struct journal_number *own, *other;

	if (sc == NULL)
		return check_room(s, id, e) && (!use->delta || check_base(sc, use, e));
	own = use->delta ? &sc->delta : &sc->complete;
	other = use->delta ? &sc->complete : &sc->delta;
	if (own->len > 0 && compare(number, number_of(own)) == 0)
		return check_same_number(own, use, content, verdict, place, e);
	return check_after(own, number, use, true, e) &&
	       check_after(other, number, use, false, e) && (!use->delta || check_base(sc, use, e));
}

/* ---- changes */

static struct journal_scope *
add_scope(struct journal_state *s, struct bytes id, const uint8_t scope[32], struct error *e)
{
	struct journal_scope *sc = state_find_scope(s, id, scope);

	if (sc != NULL)
		return sc;
	if (s->scope_count == s->scope_room) {
		size_t room = s->scope_room > 0 ? 2 * s->scope_room : 4;
		struct journal_scope *scopes = realloc(s->scopes, room * sizeof *scopes);

		if (scopes == NULL) {
			(void)error_set(e, ERROR_SYSTEM, "no memory for a CRL scope");
			return NULL;
		}
		s->scopes = scopes;
		s->scope_room = room;
	}
	sc = &s->scopes[s->scope_count++];
	*sc = (struct journal_scope){.id_len = id.len};
	memcpy(sc->id, id.p, id.len);
	memcpy(sc->scope, scope, sizeof sc->scope);
	return sc;
}

bool
state_use_crl(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct error *e)
{
	struct journal_scope *sc = add_scope(s, id, use->scope, e);
	struct bytes number = plain(use->number, use->number_len);
	struct journal_number *own;

	if (sc == NULL)
		return false;
	own = use->delta ? &sc->delta : &sc->complete;
	if (own->len > 0 && compare(number, number_of(own)) == 0)
		return true;
	*own = (struct journal_number){.len = number.len, .this_update = use->this_update};
	memcpy(own->number, number.p, number.len);
	memcpy(own->content, content, JOURNAL_CONTENT_LEN);
	return true;
}

/* Newest first; the oldest goes. True when that is news. */
static bool
add_base(struct journal_scope *sc, const struct journal_number *n)
{
	size_t at = 0;
	int order = 1;

	while (at < sc->base_count) {
		order = compare(number_of(n), number_of(&sc->bases[at]));
		if (order >= 0)
			break;
		at++;
	}
	if (at == JOURNAL_BASES_MAX || order == 0)
		return false;
	if (sc->base_count < JOURNAL_BASES_MAX)
		sc->base_count++;
	memmove(
	    &sc->bases[at + 1], &sc->bases[at], (sc->base_count - 1 - at) * sizeof sc->bases[0]);
	sc->bases[at] = *n;
	return true;
}

void
state_sign_crl(
    struct journal_state *s, const struct journal_signature *m, struct journal_place place)
{
	struct journal_scope *sc;
	struct journal_number *own;

	sc = state_find_scope(s, (struct bytes){m->id, m->id_len}, m->scope);
	if (sc == NULL)
		return;
	own = m->delta ? &sc->delta : &sc->complete;
	if (memcmp(own->content, m->content, JOURNAL_CONTENT_LEN) != 0)
		return;
	own->place = place;
	if (!m->delta)
		(void)add_base(sc, own);
}

/* The same number with another content was signed by another signer, while this
 * one only reserved it. True when that is news. */
static bool
raise_number(struct journal_number *to, const struct journal_number *from)
{
	static const uint8_t unknown[JOURNAL_CONTENT_LEN];
	int order = 1;

	if (from->len == 0)
		return false;
	if (to->len > 0)
		order = compare(number_of(from), number_of(to));
	if (order < 0 ||
	    (order == 0 && (memcmp(from->content, unknown, sizeof unknown) == 0 ||
			       memcmp(from->content, to->content, sizeof unknown) == 0)))
		return false;
	*to = *from;
	return true;
}

bool
state_raise_scope(
    struct journal_state *s, const struct journal_scope *to, bool *raised, struct error *e)
{
	struct bytes id = {to->id, to->id_len};
	struct journal_scope *sc = state_find_scope(s, id, to->scope);
	bool news = sc == NULL;

	if (sc == NULL && !check_room(s, id, e))
		return false;
	sc = add_scope(s, id, to->scope, e);
	if (sc == NULL)
		return false;
	news |= raise_number(&sc->complete, &to->complete);
	news |= raise_number(&sc->delta, &to->delta);
	for (size_t i = 0; i < to->base_count; i++)
		news |= add_base(sc, &to->bases[i]);
	if (raised != NULL)
		*raised = news;
	return true;
}
