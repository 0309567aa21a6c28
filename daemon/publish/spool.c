#include "daemon/publish/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/evp.h>

#include "daemon/core/encode.h"
#include "db/publish.h"

#define NAME_LEN (2 * PUBLISH_SHA256_LEN)
#define PART_SUFFIX ".part"
#define NAME_SIZE (NAME_LEN + sizeof PART_SUFFIX)

enum entry_state {
	ENTRY_FETCHING, /* a chunk was asked for */
	ENTRY_READY,	/* the file stands */
	ENTRY_FAILED,	/* has no file any more; goes with its last ticket */
};

struct spool_ticket {
	struct entry *entry;
	spool_ready_fn *ready;
	void *arg;
	struct event *tell; /* calls ready at the loop's next turn */
	int fd;		    /* read-only; or -1 */
	TAILQ_ENTRY(spool_ticket) link;
};

struct entry {
	struct spool *spool;
	enum entry_state state;
	int64_t artifact_id;
	uint64_t size, written;
	uint8_t sha256[PUBLISH_SHA256_LEN];
	char name[NAME_SIZE], part[NAME_SIZE];
	int fd; /* write end while fetching; or -1 */
	int position;
	bool asking; /* the database owes an answer; the entry must stay */
	EVP_MD_CTX *md;
	struct error err;
	TAILQ_HEAD(ticket_list, spool_ticket) tickets;
	TAILQ_ENTRY(entry) link;
};

struct spool {
	struct event_base *base;
	struct db *db;
	char *path;
	int folder;
	bool closed;
	size_t asking;
	TAILQ_HEAD(entry_list, entry) entries;
};

static void
spool_free_if_idle(struct spool *s)
{
	if (!s->closed || s->asking > 0)
		return;
	if (s->folder >= 0)
		(void)close(s->folder);
	free(s->path);
	free(s);
}

static void
entry_unlink(struct entry *e)
{
	(void)unlinkat(e->spool->folder, e->part, 0);
	(void)unlinkat(e->spool->folder, e->name, 0);
}

static void
entry_free(struct entry *e)
{
	TAILQ_REMOVE(&e->spool->entries, e, link);
	if (e->fd >= 0)
		(void)close(e->fd);
	/* A failed one has lost its names; they may be another entry's by now. */
	if (e->state != ENTRY_FAILED)
		entry_unlink(e);
	EVP_MD_CTX_free(e->md);
	free(e);
}

/* Opened for each ticket: offset and flags of an open file (O_DIRECT) are whose process has
 * it, and some go to processes of other users. */
static void
ticket_tell(evutil_socket_t fd, short what, void *arg)
{
	struct spool_ticket *t = arg;
	struct entry *e = t->entry;
	struct error err = e->err;

	(void)fd;
	(void)what;
	if (e->state == ENTRY_READY && t->fd < 0) {
		t->fd = openat(e->spool->folder, e->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		if (t->fd < 0)
			error_set_errno(&err, ERROR_SYSTEM, "opening the spool file %s/%s",
			    e->spool->path, e->name);
	}
	t->ready(t->fd, t->fd < 0 ? &err : NULL, t->arg);
}

static void
entry_tell(struct entry *e)
{
	struct spool_ticket *t;

	for (t = TAILQ_FIRST(&e->tickets); t != NULL; t = TAILQ_NEXT(t, link))
		event_active(t->tell, EV_TIMEOUT, 0);
}

static void
entry_fail(struct entry *e)
{
	e->state = ENTRY_FAILED;
	if (e->fd >= 0)
		(void)close(e->fd);
	e->fd = -1;
	entry_unlink(e);
	entry_tell(e);
}

static bool
entry_write(struct entry *e, struct bytes data)
{
	if (data.len > e->size - e->written)
		return error_set(&e->err, ERROR_INTERNAL,
		    "artifact %lld has more octets than its size of %llu",
		    (long long)e->artifact_id, (unsigned long long)e->size);
	if (EVP_DigestUpdate(e->md, data.p, data.len) != 1)
		return error_set_openssl(&e->err, ERROR_SYSTEM, "digesting an artifact");
	e->written += data.len;
	while (data.len > 0) {
		ssize_t n = write(e->fd, data.p, data.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(&e->err, ERROR_UNAVAILABLE,
			    "writing the spool file %s/%s; make room there", e->spool->path,
			    e->part);
		data.p += n;
		data.len -= (size_t)n;
	}
	return true;
}

static bool
entry_finish(struct entry *e)
{
	uint8_t digest[PUBLISH_SHA256_LEN];

	if (EVP_DigestFinal_ex(e->md, digest, NULL) != 1)
		return error_set_openssl(&e->err, ERROR_SYSTEM, "digesting an artifact");
	if (memcmp(digest, e->sha256, sizeof digest) != 0)
		return error_set(&e->err, ERROR_INTERNAL,
		    "the chunks of artifact %lld do not have its SHA-256",
		    (long long)e->artifact_id);
	(void)close(e->fd);
	e->fd = -1;
	if (renameat(e->spool->folder, e->part, e->spool->folder, e->name) < 0)
		return error_set_errno(&e->err, ERROR_SYSTEM, "renaming the spool file %s/%s",
		    e->spool->path, e->part);
	return true;
}

static void entry_chunk(struct bytes data, const struct error *err, void *arg);

static bool
entry_ask(struct entry *e)
{
	if (!db_publish_read_chunk(
		e->spool->db, e->artifact_id, e->position, entry_chunk, e, &e->err))
		return false;
	e->asking = true;
	e->spool->asking++;
	return true;
}

static void
entry_chunk(struct bytes data, const struct error *err, void *arg)
{
	struct entry *e = arg;
	struct spool *s = e->spool;

	e->asking = false;
	s->asking--;
	if (s->closed || TAILQ_EMPTY(&e->tickets)) {
		entry_free(e);
		spool_free_if_idle(s);
		return;
	}
	if (err != NULL) {
		e->err = *err;
		entry_fail(e);
		return;
	}
	if (data.len == 0)
		error_set(&e->err, ERROR_INTERNAL, "artifact %lld ends after %llu of %llu octets",
		    (long long)e->artifact_id, (unsigned long long)e->written,
		    (unsigned long long)e->size);
	if (error_is_set(&e->err) || !entry_write(e, data)) {
		entry_fail(e);
		return;
	}
	if (e->written < e->size) {
		e->position++;
		if (!entry_ask(e))
			entry_fail(e);
		return;
	}
	if (!entry_finish(e)) {
		entry_fail(e);
		return;
	}
	e->state = ENTRY_READY;
	entry_tell(e);
}

static struct entry *
entry_new(struct spool *s, int64_t artifact_id, uint64_t size,
    const uint8_t sha256[PUBLISH_SHA256_LEN], struct error *err)
{
	struct entry *e = calloc(1, sizeof *e);

	if (e == NULL) {
		error_set_errno(err, ERROR_SYSTEM, "memory for a spool file");
		return NULL;
	}
	e->spool = s;
	e->artifact_id = artifact_id;
	e->size = size;
	memcpy(e->sha256, sha256, sizeof e->sha256);
	hex_encode(sha256, sizeof e->sha256, e->name);
	(void)snprintf(e->part, sizeof e->part, "%.*s%s", NAME_LEN, e->name, PART_SUFFIX);
	TAILQ_INIT(&e->tickets);
	TAILQ_INSERT_TAIL(&s->entries, e, link);
	e->fd = openat(
	    s->folder, e->part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (e->fd < 0) {
		error_set_errno(
		    err, ERROR_SYSTEM, "creating the spool file %s/%s", s->path, e->part);
		goto fail;
	}
	if ((e->md = EVP_MD_CTX_new()) == NULL ||
	    EVP_DigestInit_ex(e->md, EVP_sha256(), NULL) != 1) {
		error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
		goto fail;
	}
	if (!entry_ask(e)) {
		*err = e->err;
		goto fail;
	}
	return e;
fail:
	entry_free(e);
	return NULL;
}

static struct entry *
find_entry(struct spool *s, const uint8_t sha256[PUBLISH_SHA256_LEN])
{
	struct entry *e;

	for (e = TAILQ_FIRST(&s->entries); e != NULL; e = TAILQ_NEXT(e, link)) {
		if (e->state != ENTRY_FAILED && memcmp(e->sha256, sha256, sizeof e->sha256) == 0)
			return e;
	}
	return NULL;
}

struct spool_ticket *
spool_take(struct spool *s, int64_t artifact_id, uint64_t size,
    const uint8_t sha256[PUBLISH_SHA256_LEN], spool_ready_fn *ready, void *arg, struct error *err)
{
	struct spool_ticket *t = calloc(1, sizeof *t);
	struct entry *e = find_entry(s, sha256);

	if (t == NULL || (t->tell = evtimer_new(s->base, ticket_tell, t)) == NULL) {
		error_set(err, ERROR_SYSTEM, "no memory for a spool file");
		goto fail;
	}
	if (e == NULL && (e = entry_new(s, artifact_id, size, sha256, err)) == NULL)
		goto fail;
	t->entry = e;
	t->fd = -1;
	t->ready = ready;
	t->arg = arg;
	TAILQ_INSERT_TAIL(&e->tickets, t, link);
	if (e->state == ENTRY_READY)
		event_active(t->tell, EV_TIMEOUT, 0);
	return t;
fail:
	if (t != NULL && t->tell != NULL)
		event_free(t->tell);
	free(t);
	return NULL;
}

void
spool_return(struct spool_ticket *t)
{
	struct entry *e;

	if (t == NULL)
		return;
	e = t->entry;
	TAILQ_REMOVE(&e->tickets, t, link);
	event_free(t->tell);
	if (t->fd >= 0)
		(void)close(t->fd);
	free(t);
	if (TAILQ_EMPTY(&e->tickets) && !e->asking)
		entry_free(e);
}

static bool
is_ours(const char *name)
{
	size_t hex = strspn(name, "0123456789abcdef");

	return hex == NAME_LEN && (name[hex] == '\0' || strcmp(name + hex, PART_SUFFIX) == 0);
}

/* What a process left that was killed. Other names are not ours to remove. */
static bool
clean_folder(struct spool *s, struct error *err)
{
	struct dirent *d;
	int fd = dup(s->folder);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return error_set_errno(err, ERROR_SYSTEM, "reading the folder %s", s->path);
	}
	while ((d = readdir(dir)) != NULL) {
		if (is_ours(d->d_name))
			(void)unlinkat(s->folder, d->d_name, 0);
	}
	(void)closedir(dir);
	return true;
}

struct spool *
spool_open(struct event_base *base, struct db *db, const char *folder, struct error *err)
{
	struct spool *s = calloc(1, sizeof *s);

	if (s == NULL || (s->path = strdup(folder)) == NULL) {
		free(s);
		error_set_errno(err, ERROR_SYSTEM, "memory for the spool");
		return NULL;
	}
	s->base = base;
	s->db = db;
	s->folder = -1;
	TAILQ_INIT(&s->entries);
	if (mkdir(folder, 0700) < 0 && errno != EEXIST) {
		error_set_errno(err, ERROR_SYSTEM, "creating the folder %s", folder);
		goto fail;
	}
	s->folder = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (s->folder < 0) {
		error_set_errno(err, ERROR_SYSTEM, "opening the folder %s", folder);
		goto fail;
	}
	if (!clean_folder(s, err))
		goto fail;
	return s;
fail:
	spool_close(s);
	return NULL;
}

void
spool_close(struct spool *s)
{
	if (s == NULL)
		return;
	s->closed = true;
	spool_free_if_idle(s);
}
