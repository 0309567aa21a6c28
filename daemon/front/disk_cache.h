#ifndef CHANCERY_FRONT_DISK_CACHE_H
#define CHANCERY_FRONT_DISK_CACHE_H

/*
 * Artifacts that are too large to be held in memory, in files without a name, from which
 * the kernel sends them (sendfile). The files are opened before the front gives up the
 * right to; they vanish with it. Each holds one artifact, filled from the database piece by
 * piece by whoever asks first; what is not in it yet is read from the database, so that
 * nobody waits, and without any file everything goes on as well.
 */

#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/front/front_int.h"

#define DISK_CACHE_FILES 4			    /* artifacts at once */
#define DISK_CACHE_ARTIFACT_MAX ((uint64_t)1 << 30) /* octets; a longer one is never kept */

struct disk_cache;
struct disk_file;

/* Opens the files: in state_dir, or else in /var/tmp. Without any it holds nothing; NULL when
 * memory is out. Before the sandbox. */
struct disk_cache *disk_cache_open(const char *state_dir, struct error *err) MUST_CHECK;
void disk_cache_attach(struct disk_cache *c, struct front *f);
void disk_cache_free(struct disk_cache *c); /* NULL is legal; all files were returned */

/* The artifact's file, which from here on is not used for another until it is returned; it
 * begins to be filled, if it is not yet. NULL: there is none. */
struct disk_file *disk_cache_take(struct disk_cache *c, const struct front_artifact *artifact);
void disk_file_return(struct disk_file *f); /* NULL is legal */

/* Whether these octets are in it; then the descriptor has them at the same offset. */
bool disk_file_has(const struct disk_file *f, uint64_t offset, size_t len);
int disk_file_fd(const struct disk_file *f);

#endif
