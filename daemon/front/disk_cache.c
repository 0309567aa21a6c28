#include "daemon/front/disk_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/core/log.h"

#define OTHER_DIRECTORY "/var/tmp"

struct disk_file {
	struct disk_cache *cache;
	int fd;
	unsigned refs;
	uint64_t used; /* a count that grows; the smallest is longest ago */
	/* What it holds. */
	struct front_artifact artifact; /* id 0: nothing */
	uint64_t filled;
	bool spoilt; /* not to be used for this artifact any more */
	EVP_MD_CTX *md;
	struct front_asked *asked; /* the next piece, on its way */
};

struct disk_cache {
	struct front *front;
	struct disk_file files[DISK_CACHE_FILES];
	size_t count;
	uint64_t clock;
};

static int
open_nameless(const char *directory)
{
	return open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
}

struct disk_cache *
disk_cache_open(const char *state_dir, struct error *err)
{
	struct disk_cache *c = calloc(1, sizeof *c);

	if (c == NULL) {
		error_set_errno(err, ERROR_SYSTEM, "allocating a cache on the disk");
		return NULL;
	}
	for (; c->count < DISK_CACHE_FILES; c->count++) {
		struct disk_file *f = &c->files[c->count];

		f->cache = c;
		f->fd = open_nameless(state_dir);
		if (f->fd < 0)
			f->fd = open_nameless(OTHER_DIRECTORY);
		if (f->fd < 0 || (f->md = EVP_MD_CTX_new()) == NULL)
			break;
	}
	if (c->count == 0)
		log_info("-", "no room on the disk for large CRLs: they come from the database");
	return c;
}

void
disk_cache_attach(struct disk_cache *c, struct front *f)
{
	c->front = f;
}

void
disk_cache_free(struct disk_cache *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->count; i++) {
		front_cancel(c->files[i].asked);
		EVP_MD_CTX_free(c->files[i].md);
		(void)close(c->files[i].fd);
	}
	free(c);
}

/* ---- filling */

static void fill(struct disk_file *f);

/* Its readers go on from the database. */
static void
spoil(struct disk_file *f, const char *why)
{
	log_warning(
	    "-", "artifact %lld is not kept on the disk: %s", (long long)f->artifact.id, why);
	f->spoilt = true;
	f->filled = 0;
}

static bool
write_piece(const struct disk_file *f, struct bytes piece)
{
	size_t done = 0;

	while (done < piece.len) {
		ssize_t n = pwrite(
		    f->fd, piece.p + done, piece.len - done, (off_t)(f->filled + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

static void
finish(struct disk_file *f)
{
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (EVP_DigestFinal_ex(f->md, digest, NULL) != 1 ||
	    memcmp(digest, f->artifact.sha256, sizeof f->artifact.sha256) != 0)
		spoil(f, "it does not have its SHA-256");
}

static void
on_piece(struct bytes piece, const struct error *err, void *arg)
{
	struct disk_file *f = arg;

	f->asked = NULL;
	if (err != NULL || piece.len == 0 || piece.len > f->artifact.size - f->filled)
		spoil(f, err != NULL ? err->text : "it was taken away while it was read");
	else if (!write_piece(f, piece))
		spoil(f, strerror(errno));
	else if (EVP_DigestUpdate(f->md, piece.p, piece.len) != 1)
		spoil(f, "no digest of it can be made");
	else {
		f->filled += piece.len;
		if (f->filled == f->artifact.size)
			finish(f);
		else if (f->refs > 0)
			fill(f);
	}
}

/* Goes on as long as somebody reads. */
static void
fill(struct disk_file *f)
{
	struct error err = ERROR_INIT;

	if (f->asked != NULL || f->spoilt || f->filled == f->artifact.size)
		return;
	f->asked = front_artifact_piece(front_public_db(f->cache->front), f->artifact.id, f->filled,
	    FRONT_PIECE_MAX, on_piece, f, &err);
	if (f->asked == NULL)
		spoil(f, err.text);
}

/* ---- files */

static struct disk_file *
find(struct disk_cache *c, int64_t artifact)
{
	struct disk_file *unused = NULL;

	for (size_t i = 0; i < c->count; i++) {
		struct disk_file *f = &c->files[i];

		if (f->artifact.id == artifact && !f->spoilt)
			return f;
		if (f->refs == 0 && f->asked == NULL && (unused == NULL || f->used < unused->used))
			unused = f;
	}
	return unused;
}

/* A longer one that it held before takes no room any more. */
static bool
begin(struct disk_file *f, const struct front_artifact *artifact)
{
	f->artifact = *artifact;
	f->filled = 0;
	f->spoilt = false;
	return ftruncate(f->fd, 0) == 0 && EVP_DigestInit_ex(f->md, EVP_sha256(), NULL) == 1;
}

struct disk_file *
disk_cache_take(struct disk_cache *c, const struct front_artifact *artifact)
{
	struct disk_file *f = artifact->size <= DISK_CACHE_ARTIFACT_MAX ? find(c, artifact->id)
									: NULL;

	if (f == NULL)
		return NULL;
	if ((f->artifact.id != artifact->id || f->spoilt) && !begin(f, artifact)) {
		f->artifact.id = 0;
		return NULL;
	}
	f->refs++;
	f->used = ++c->clock;
	fill(f);
	return f;
}

void
disk_file_return(struct disk_file *f)
{
	if (f != NULL)
		f->refs--;
}

bool
disk_file_has(const struct disk_file *f, uint64_t offset, size_t len)
{
	return f != NULL && offset <= f->filled && len <= f->filled - offset;
}

int
disk_file_fd(const struct disk_file *f)
{
	return f->fd;
}
