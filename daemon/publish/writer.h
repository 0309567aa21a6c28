#ifndef CHANCERY_PUBLISH_WRITER_H
#define CHANCERY_PUBLISH_WRITER_H

/*
 * The role "writer": writes the files of directories that belong to another user, as that
 * user, and can do nothing else. It has no network, no configuration, no database; its
 * sandbox holds it to those directories, whatever it is asked for.
 *
 *   issuer ── channel: (socket, life line) ──► writer ── fork ──► a process for the file
 *     └─ fork, exec ─► courier ── socket: job, artifact ──────────────┘
 *
 * The process for a file lives no longer than its courier: with the courier's end, and with
 * the issuer's, the writer kills it. The life line is a pipe whose writing end writer and
 * process hold and whose reading end the issuer has: its end of file says that nothing more
 * is written, and the issuer waits for it before it counts the attempt as over. A process
 * that was killed and does not end, because a dead file system holds it in the kernel, might
 * still write when that lives again: until it has ended the writer starts no other one, for
 * this issuer or the next. So nothing older is written over what was written after it, as if
 * the courier wrote itself.
 */

#include <stddef.h>

/* name: "writer-USER"; directories: absolute paths. Returns the exit status. */
int writer_main(const char *name, int control_fd, char *const *directories, size_t count);

#endif
