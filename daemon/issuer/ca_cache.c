#include "daemon/issuer/ca_cache.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/issuer/chain_watch.h"

struct template_entry {
	int64_t version_id;
	struct template *template;
};

struct ca_cache {
	struct db *db;
	struct issuing_ca **cas;
	size_t ca_count, current_count;	  /* those that are superseded stand last */
	struct template_entry *templates; /* sorted by version_id */
	size_t template_count, template_cap;
	struct waiter *waiters; /* loads in flight */
};

/* One load in flight; it may outlive neither the cache nor its question. */
struct waiter {
	struct ca_cache *cache;
	ca_cache_done_fn *done;
	void *arg;
	struct db_pending *pending;
	struct waiter *next;
};

struct ca_cache *
ca_cache_new(struct db *db, struct error *e)
{
	struct ca_cache *c = calloc(1, sizeof *c);

	if (c == NULL)
		error_set_errno(e, ERROR_SYSTEM, "allocating the CAs' cache");
	else
		c->db = db;
	return c;
}

static void
issuing_ca_free(struct issuing_ca *ca)
{
	if (ca->contexts != NULL)
		for (size_t i = 1; i < ca->part_count; i++)
			ca_context_free(ca->contexts[i]);
	free(ca->contexts);
	ca_context_free(ca->context);
	capolicy_free(&ca->policy);
	ca_row_free(&ca->row);
	free(ca);
}

struct issuing_ca *
ca_hold(struct issuing_ca *ca)
{
	ca->references++;
	return ca;
}

void
ca_release(struct issuing_ca *ca)
{
	if (ca != NULL && --ca->references == 0)
		issuing_ca_free(ca);
}

void
ca_cache_free(struct ca_cache *c)
{
	if (c == NULL)
		return;
	while (c->waiters != NULL) {
		struct waiter *w = c->waiters;

		c->waiters = w->next;
		db_cancel(w->pending);
		free(w);
	}
	for (size_t i = 0; i < c->ca_count; i++)
		ca_release(c->cas[i]);
	for (size_t i = 0; i < c->template_count; i++)
		template_free(c->templates[i].template);
	free(c->cas);
	free(c->templates);
	free(c);
}

static struct waiter *
add_waiter(struct ca_cache *c, ca_cache_done_fn *done, void *arg, struct error *e)
{
	struct waiter *w = calloc(1, sizeof *w);

	if (w == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a load of the cache");
		return NULL;
	}
	*w = (struct waiter){.cache = c, .done = done, .arg = arg, .next = c->waiters};
	c->waiters = w;
	return w;
}

static void
drop_waiter(struct waiter *w)
{
	struct waiter **at = &w->cache->waiters;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	free(w);
}

static void
finish_waiter(struct waiter *w, const struct error *err)
{
	ca_cache_done_fn *done = w->done;
	void *arg = w->arg;

	drop_waiter(w);
	done(err, arg);
}

/* --------------------------------------------------------------------- CAs */

void
ca_location_names(const struct issuing_ca *ca, struct location_names *names)
{
	capolicy_names(&ca->policy, ca->row.name, names);
	names->certificate_index = ca->row.certificate_index;
	names->key_index = ca->row.key_index;
}

const struct ca_context *
ca_choose_scope(
    const struct issuing_ca *ca, const struct template *t, struct bytes serial, int64_t *scope_id)
{
	size_t i;

	*scope_id = ca->row.scope_id;
	if (ca->contexts == NULL)
		return ca->context;
	i = capolicy_scope_choose(
	    &ca->policy, template_makes_ca(t), template_crl_attribute(t), serial);
	*scope_id = ca->row.scopes[i].id;
	return ca->contexts[i];
}

/* The context of the certificates of one of the CRLs. */
static bool
make_context(const struct issuing_ca *ca, size_t part, struct location_names *names,
    struct ca_context **context, struct error *e)
{
	const char *labels[CAPOLICY_REASON_SET_MAX];

	if (ca->row.scope_count > 0)
		names->partition = ca->row.scopes[part].label;
	for (size_t i = 0; i < ca->policy.reason_count; i++)
		labels[i] = ca->row.scopes[capolicy_scope_of_reasons(&ca->policy, part, i)].label;
	return capolicy_context(&ca->policy, names, labels, ca->row.certificate, context, e);
}

/* The contexts of ca->row, whose certificate it has. */
static bool
make_contexts(struct issuing_ca *ca, struct error *e)
{
	struct location_names names;

	ca_location_names(ca, &names);
	if (capolicy_scope_count(&ca->policy) !=
	    (ca->row.scope_count > 0 ? ca->row.scope_count : 1))
		return error_set(e, ERROR_INTERNAL,
		    "CA %s has %zu CRLs, and its policy asks for %zu", ca->row.name,
		    ca->row.scope_count, capolicy_scope_count(&ca->policy));
	ca->part_count = capolicy_part_count(&ca->policy);
	if (!make_context(ca, 0, &names, &ca->context, e))
		return false;
	if (ca->part_count == 1)
		return true;
	ca->contexts = calloc(ca->part_count, sizeof(struct ca_context *));
	if (ca->contexts == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating CA %s", ca->row.name);
	ca->contexts[0] = ca->context;
	for (size_t i = 1; i < ca->part_count; i++)
		if (!make_context(ca, i, &names, &ca->contexts[i], e))
			return false;
	return true;
}

/* Moves row into a compiled entry; NULL when it cannot be compiled. */
static struct issuing_ca *
compile_ca(struct ca_row *row, struct error *e)
{
	struct issuing_ca *ca = calloc(1, sizeof *ca);

	if (ca == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating CA %s", row->name);
		return NULL;
	}
	ca->references = 1;
	if (!capolicy_parse(row->policy, strlen(row->policy), row->name, &ca->policy, e)) {
		free(ca);
		return NULL;
	}
	ca->row = *row;
	*row = (struct ca_row){0};
	if (!ca->row.active || make_contexts(ca, e))
		return ca;
	ca_release(ca);
	return NULL;
}

/* The entry for this row: the old one if nothing changed. */
static struct issuing_ca *
entry_for(struct ca_cache *c, struct ca_row *row)
{
	struct issuing_ca *old = ca_cache_find_key(c, row->token_key_id), *ca;
	char name[CA_NAME_SIZE];
	struct error e = ERROR_INIT;

	if (old != NULL && ca_row_equal(&old->row, row))
		return ca_hold(old);
	memcpy(name, row->name, sizeof name);
	ca = compile_ca(row, &e);
	if (ca == NULL)
		log_failure(LOG_LEVEL_ERROR, name, &e);
	return ca;
}

static void
on_rows(struct ca_row *rows, size_t n, const struct error *err, void *arg)
{
	struct waiter *w = arg;
	struct ca_cache *c = w->cache;
	struct error e = ERROR_INIT;
	struct issuing_ca **cas;
	size_t count = 0, current = 0;

	if (err == NULL) {
		cas = calloc(n > 0 ? n : 1, sizeof *cas);
		if (cas == NULL) {
			error_set_errno(&e, ERROR_SYSTEM, "allocating the CAs' cache");
			err = &e;
		} else {
			for (size_t i = 0; i < n; i++) {
				cas[count] = entry_for(c, &rows[i]);
				if (cas[count] == NULL)
					continue;
				current += !cas[count]->row.superseded;
				count++;
			}
			for (size_t i = 0; i < c->ca_count; i++)
				ca_release(c->cas[i]);
			free(c->cas);
			c->cas = cas;
			c->ca_count = count;
			c->current_count = current;
			chain_watch(c, (int64_t)time(NULL));
		}
	}
	finish_waiter(w, err);
}

bool
ca_cache_load(struct ca_cache *c, ca_cache_done_fn *done, void *arg, struct error *e)
{
	struct waiter *w = add_waiter(c, done, arg, e);

	if (w == NULL)
		return false;
	w->pending = ca_load(c->db, on_rows, w, e);
	if (w->pending == NULL) {
		drop_waiter(w);
		return false;
	}
	return true;
}

struct issuing_ca *
ca_cache_find(const struct ca_cache *c, int64_t ca_id)
{
	for (size_t i = 0; i < c->current_count; i++) {
		if (c->cas[i]->row.ca_id == ca_id)
			return c->cas[i];
	}
	return NULL;
}

struct issuing_ca *
ca_cache_find_name(const struct ca_cache *c, const char *name)
{
	for (size_t i = 0; i < c->current_count; i++) {
		if (strcmp(c->cas[i]->row.name, name) == 0)
			return c->cas[i];
	}
	return NULL;
}

struct issuing_ca *
ca_cache_find_digest(const struct ca_cache *c, const char *name, const uint8_t sha256[32])
{
	uint8_t own[SHA256_DIGEST_LENGTH];

	for (size_t i = 0; i < c->ca_count; i++) {
		const struct ca_row *row = &c->cas[i]->row;

		SHA256(row->spki.p, row->spki.len, own);
		if (strcmp(row->name, name) == 0 && memcmp(own, sha256, sizeof own) == 0)
			return c->cas[i];
	}
	return NULL;
}

struct issuing_ca *
ca_cache_find_key(const struct ca_cache *c, int64_t token_key_id)
{
	for (size_t i = 0; i < c->ca_count; i++) {
		if (c->cas[i]->row.token_key_id == token_key_id)
			return c->cas[i];
	}
	return NULL;
}

struct issuing_ca *const *
ca_cache_all(const struct ca_cache *c, size_t *count)
{
	*count = c->current_count;
	return c->cas;
}

struct issuing_ca *
ca_cache_first(const struct ca_cache *c)
{
	return c->ca_count > 0 ? c->cas[0] : NULL;
}

struct issuing_ca *
ca_cache_next(const struct ca_cache *c, const struct issuing_ca *ca)
{
	for (size_t i = 0; i + 1 < c->ca_count; i++) {
		if (c->cas[i] == ca)
			return c->cas[i + 1];
	}
	return NULL;
}

/* --------------------------------------------------------------- templates */

/* Where the version stands, or would stand. */
static size_t
template_position(const struct ca_cache *c, int64_t version_id)
{
	size_t low = 0, high = c->template_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->templates[middle].version_id < version_id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct template *
ca_cache_template(const struct ca_cache *c, int64_t version_id)
{
	size_t i = template_position(c, version_id);

	if (i == c->template_count || c->templates[i].version_id != version_id)
		return NULL;
	/* cppcheck-suppress CastIntegerToAddressAtReturn ; takes the name for C++ */
	return c->templates[i].template;
}

static bool
add_template(struct ca_cache *c, const struct template_row *row, struct error *e)
{
	size_t i = template_position(c, row->version_id), cap;
	struct template_entry *entries;
	struct template *t;

	if (ca_cache_template(c, row->version_id) != NULL)
		return true; /* another load was quicker */
	if (!template_parse(row->body, strlen(row->body), row->name, &t, e))
		return false;
	if (c->template_count == c->template_cap) {
		cap = c->template_cap == 0 ? 16 : c->template_cap * 2;
		entries = realloc(c->templates, cap * sizeof *entries);
		if (entries == NULL) {
			template_free(t);
			return error_set_errno(
			    e, ERROR_SYSTEM, "allocating template %s", row->name);
		}
		c->templates = entries;
		c->template_cap = cap;
	}
	memmove(
	    c->templates + i + 1, c->templates + i, (c->template_count - i) * sizeof *c->templates);
	c->templates[i] = (struct template_entry){row->version_id, t};
	c->template_count++;
	return true;
}

static void
on_templates(const struct template_row *rows, size_t n, const struct error *err, void *arg)
{
	struct waiter *w = arg;

	for (size_t i = 0; err == NULL && i < n; i++) {
		struct error e = ERROR_INIT;

		if (!add_template(w->cache, &rows[i], &e))
			log_failure(LOG_LEVEL_ERROR, rows[i].name, &e);
	}
	finish_waiter(w, err);
}

bool
ca_cache_load_templates(struct ca_cache *c, const int64_t *version_ids, size_t n,
    ca_cache_done_fn *done, void *arg, struct error *e)
{
	struct waiter *w = add_waiter(c, done, arg, e);

	if (w == NULL)
		return false;
	w->pending = template_load(c->db, version_ids, n, on_templates, w, e);
	if (w->pending == NULL) {
		drop_waiter(w);
		return false;
	}
	return true;
}
