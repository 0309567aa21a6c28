#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "daemon/core/log.h"
#include "daemon/front/artifact_reply.h"
#include "daemon/front/front_int.h"

#define CACHE_ARTIFACT_MAX (4 * 1024 * 1024) /* octets; bigger ones are never held whole */
#define CACHE_TOTAL_MAX (32 * 1024 * 1024)   /* octets */
#define CACHE_SLOTS_MAX 256
#define LOOKUPS_MAX 128 /* slots at once: the others keep their content, whatever is asked for */
#define CA_NAME_MAX (64 + 63) /* of a CA, and the label of one of its CRLs: "demo~2of8" */

/*
 * Public distribution. A slot is what an address stands for: the newest CRL,
 * delta CRL or certificate of a CA. Each request asks the database which
 * artifact that is now, one index look-up, which requests that come at the same
 * time share; octets come from the cache, or, of a big artifact, piece by piece
 * from its chunks. An artifact never changes, so a reply is always whole and of
 * one artifact, whatever is issued meanwhile.
 *
 * While the database is away, what is cached is served on.
 */
struct slot {
	TAILQ_ENTRY(slot) link; /* most recently used first */
	char ca[CA_NAME_MAX + 1];
	const char *kind;
	int index; /* -1: the newest */
	struct distribution *d;
	struct content *content; /* NULL: nothing cached */
	/* Calls that share the look-up in flight, and those for the next one, which
	 * must not be answered with what was read before they came. */
	TAILQ_HEAD(, ask) asking;
	TAILQ_HEAD(, ask) next;
	bool busy;
	struct front_artifact found; /* while its content is being loaded */
	struct content *loading;
	size_t loaded;
};

/* A call that waits for its slot. */
struct ask {
	TAILQ_ENTRY(ask) link;
	struct call *call;
	struct slot *slot;
	bool queued_next;
};

struct distribution {
	struct front *f;
	TAILQ_HEAD(slots_head, slot) slots;
	size_t slot_count, looking, cached;
};

static void slot_look(struct slot *s);

/* ----------------------------------------------------------------- slots */

static void
slot_drop_content(struct slot *s)
{
	if (s->content == NULL)
		return;
	s->d->cached -= s->content->info.size;
	content_unref(s->content);
	s->content = NULL;
}

static bool
slot_is_unused(const struct slot *s)
{
	return !s->busy && TAILQ_EMPTY(&s->asking) && TAILQ_EMPTY(&s->next);
}

static void
slot_free(struct slot *s)
{
	slot_drop_content(s);
	content_unref(s->loading);
	TAILQ_REMOVE(&s->d->slots, s, link);
	s->d->slot_count--;
	free(s);
}

static struct slot *
slot_get(struct distribution *d, const char *ca, const char *kind, int index)
{
	struct slot *s, *unused = NULL;

	TAILQ_FOREACH(s, &d->slots, link)
	{
		if (s->index == index && s->kind == kind && strcmp(s->ca, ca) == 0) {
			TAILQ_REMOVE(&d->slots, s, link);
			TAILQ_INSERT_HEAD(&d->slots, s, link);
			return s;
		}
		if (slot_is_unused(s))
			unused = s;
	}
	if (d->slot_count >= CACHE_SLOTS_MAX) {
		if (unused == NULL)
			return NULL;
		slot_free(unused);
	}
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	snprintf(s->ca, sizeof(s->ca), "%s", ca);
	s->kind = kind;
	s->index = index;
	s->d = d;
	TAILQ_INIT(&s->asking);
	TAILQ_INIT(&s->next);
	TAILQ_INSERT_HEAD(&d->slots, s, link);
	d->slot_count++;
	return s;
}

/* Puts the content into its slot and makes room for it by what was used least. */
static void
slot_keep(struct slot *s, struct content *c)
{
	struct distribution *d = s->d;
	struct slot *other, *before;

	slot_drop_content(s);
	s->content = c;
	d->cached += c->info.size;
	for (other = TAILQ_LAST(&d->slots, slots_head);
	     other != NULL && d->cached > CACHE_TOTAL_MAX; other = before) {
		before = TAILQ_PREV(other, slots_head, link);
		if (other != s)
			slot_drop_content(other);
	}
}

/* ---------------------------------------------------------------- answers */

/* Takes the first call off the slot's shared look-up; NULL after the last. */
static struct call *
take_call(struct slot *s)
{
	struct ask *a = TAILQ_FIRST(&s->asking);
	struct call *call;

	if (a == NULL)
		return NULL;
	TAILQ_REMOVE(&s->asking, a, link);
	call = a->call;
	free(a);
	return call;
}

/* The look-up is over: those who came meanwhile get one of their own. */
static void
slot_next(struct slot *s)
{
	struct ask *a;

	s->busy = false;
	s->d->looking--;
	while ((a = TAILQ_FIRST(&s->next)) != NULL) {
		TAILQ_REMOVE(&s->next, a, link);
		a->queued_next = false;
		TAILQ_INSERT_TAIL(&s->asking, a, link);
	}
	if (!TAILQ_EMPTY(&s->asking))
		slot_look(s);
	else if (s->content == NULL)
		slot_free(s);
}

static void
answer_all(struct slot *s, const struct front_artifact *artifact, struct content *content)
{
	struct call *call;

	while ((call = take_call(s)) != NULL)
		artifact_reply(call, artifact, content);
	slot_next(s);
}

static void
fail_all(struct slot *s, const struct error *err)
{
	struct call *call;

	/* Better the last CRL known than none: it says itself how long it is good. */
	if (error_is_retryable(err) && s->content != NULL) {
		answer_all(s, &s->content->info, s->content);
		return;
	}
	while ((call = take_call(s)) != NULL)
		call_fail(call, err);
	slot_next(s);
}

/* ---------------------------------------------------------------- loading */

static bool
content_is_whole(const struct content *c)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	return EVP_Digest(c->data, c->info.size, digest, NULL, EVP_sha256(), NULL) == 1 &&
	       memcmp(digest, c->info.sha256, 32) == 0;
}

static void
load_failed(struct slot *s, const struct error *err)
{
	content_unref(s->loading);
	s->loading = NULL;
	fail_all(s, err);
}

static void load_more(struct slot *s);

static void
on_piece(struct bytes piece, const struct error *err, void *arg)
{
	struct slot *s = arg;
	struct content *c = s->loading;
	struct error gone = ERROR_INIT;

	if (err == NULL && (piece.len == 0 || piece.len > c->info.size - s->loaded)) {
		error_set(&gone, ERROR_UNAVAILABLE,
		    "artifact %lld was taken away while it was read", (long long)c->info.id);
		err = &gone;
	}
	if (err != NULL) {
		load_failed(s, err);
		return;
	}
	memcpy(c->data + s->loaded, piece.p, piece.len);
	s->loaded += piece.len;
	if (s->loaded < c->info.size) {
		load_more(s);
		return;
	}
	if (!content_is_whole(c)) {
		error_set(&gone, ERROR_INTERNAL, "artifact %lld does not have its SHA-256",
		    (long long)c->info.id);
		load_failed(s, &gone);
		return;
	}
	s->loading = NULL;
	slot_keep(s, c);
	answer_all(s, &c->info, c);
}

static void
load_more(struct slot *s)
{
	struct error err = ERROR_INIT;

	if (front_artifact_piece(front_public_db(s->d->f), s->loading->info.id, s->loaded,
		FRONT_PIECE_MAX, on_piece, s, &err) == NULL)
		load_failed(s, &err);
}

static void
on_found(const struct front_artifact *artifact, const struct error *err, void *arg)
{
	struct slot *s = arg;
	struct error none = ERROR_INIT;

	if (err != NULL) {
		fail_all(s, err);
	} else if (artifact == NULL) {
		slot_drop_content(s);
		error_set_foreign(&none, ERROR_NOT_FOUND, ERROR_POSTGRES, "CH404",
		    "CA \"%s\" has issued no such thing, or is not known.", s->ca);
		fail_all(s, &none);
	} else if (s->content != NULL && s->content->info.id == artifact->id) {
		answer_all(s, &s->content->info, s->content);
	} else if (artifact->size == 0 || artifact->size > CACHE_ARTIFACT_MAX) {
		slot_drop_content(s);
		s->found = *artifact;
		answer_all(s, &s->found, NULL);
	} else if ((s->loading = content_new(artifact)) == NULL) {
		error_set(&none, ERROR_UNAVAILABLE, "no memory for an artifact");
		fail_all(s, &none);
	} else {
		s->loaded = 0;
		load_more(s);
	}
}

static void
slot_look(struct slot *s)
{
	struct error err = ERROR_INIT;

	s->busy = true;
	if (s->d->looking++ >= LOOKUPS_MAX) {
		error_set(&err, ERROR_UNAVAILABLE, "too many artifacts are looked for at once");
		fail_all(s, &err);
		return;
	}
	if (!front_find_artifact(
		front_public_db(s->d->f), s->ca, s->kind, s->index, on_found, s, &err))
		fail_all(s, &err);
}

/* ------------------------------------------------------------------ calls */

static void
on_gone(enum http_gone how, void *arg)
{
	struct ask *a = arg;

	if (how == HTTP_LEAVING)
		return;
	if (a->queued_next)
		TAILQ_REMOVE(&a->slot->next, a, link);
	else
		TAILQ_REMOVE(&a->slot->asking, a, link);
	free(a);
}

static const char crl_kind[] = "crl", delta_kind[] = "delta-crl",
		  certificate_kind[] = "ca-certificate";

/* "demo+" is what AD CS calls the delta CRL of "demo". */
static const char *
take_plus(char *name, const char *kind)
{
	size_t len = strlen(name);

	if (kind != crl_kind || len == 0 || name[len - 1] != '+')
		return kind;
	name[len - 1] = '\0';
	return delta_kind;
}

/* "demo" or "demo(2)", the form that a CA's later generations have; "demo~2of8" is one
 * of several CRLs. */
static bool
name_split(const char *text, char ca[CA_NAME_MAX + 1], int *index)
{
	size_t len = strcspn(text, "("), digits;

	if (len == 0 || len > CA_NAME_MAX)
		return false;
	memcpy(ca, text, len);
	ca[len] = '\0';
	*index = -1;
	if (text[len] == '\0')
		return true;
	digits = strspn(text + len + 1, "0123456789");
	if (digits == 0 || digits > 4 || strcmp(text + len + 1 + digits, ")") != 0)
		return false;
	*index = (int)strtol(text + len + 1, NULL, 10); /* 4 digits at most */
	return true;
}

static void
distribute(struct call *call, const char *kind)
{
	char name[ROUTE_VALUE_SIZE], ca[CA_NAME_MAX + 1];
	struct slot *s;
	struct ask *a;
	int index;

	switch (call_param(call, "ca", name)) {
	case CALL_BAD:
		return;
	case CALL_FOUND:
		kind = take_plus(name, kind);
		if (name_split(name, ca, &index))
			break;
		/* fall through */
	default:
		http_reply_error(call->x, 404, NULL, "No CA has such a name.");
		return;
	}
	s = slot_get(call->front->distribution, ca, kind, index);
	a = calloc(1, sizeof(*a));
	if (s == NULL || a == NULL) {
		free(a);
		http_reply_error(call->x, 503, NULL, "Too much is asked for at once.");
		return;
	}
	a->call = call;
	a->slot = s;
	a->queued_next = s->busy;
	http_on_gone(call->x, on_gone, a);
	if (s->busy) {
		TAILQ_INSERT_TAIL(&s->next, a, link);
	} else {
		TAILQ_INSERT_TAIL(&s->asking, a, link);
		slot_look(s);
	}
}

void
distribution_crl(struct call *call)
{
	distribute(call, crl_kind);
}

void
distribution_delta(struct call *call)
{
	distribute(call, delta_kind);
}

void
distribution_certificate(struct call *call)
{
	distribute(call, certificate_kind);
}

struct distribution *
distribution_new(struct front *f, struct error *err)
{
	struct distribution *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		error_set(err, ERROR_SYSTEM, "no memory for the distribution");
		return NULL;
	}
	d->f = f;
	TAILQ_INIT(&d->slots);
	return d;
}

void
distribution_free(struct distribution *d)
{
	struct slot *s, *next;

	if (d == NULL)
		return;
	for (s = TAILQ_FIRST(&d->slots); s != NULL; s = next) {
		next = TAILQ_NEXT(s, link);
		slot_free(s);
	}
	free(d);
}
