#ifndef CHANCERY_CORE_SANDBOX_H
#define CHANCERY_CORE_SANDBOX_H

/*
 * What a process gives up before it meets anything from outside: capabilities,
 * new privileges, core dumps, most system calls (seccomp) and most files
 * (Landlock). Its user id it has from the supervisor already (identity.h).
 *
 * A role describes what it needs, and enters:
 *
 *   sandbox_new; sandbox_path, sandbox_sockets, sandbox_port; sandbox_enter
 *
 * Every profile but one lists the system calls that a process may make. Any
 * other ends the process with SIGSYS, after one line in the log that names the
 * call; opening something for writing, a protocol family or an option that is
 * not on the list is an ordinary error (EACCES, EPERM) instead, because
 * libraries try such things and do without. What is newer than the lists is
 * ENOSYS: C libraries fall back.
 *
 * The exception is SANDBOX_MODULE, for the PKCS#11 modules of vendors, of which
 * nobody knows what they call: it refuses (EPERM) what no module needs. The
 * kernel's log tells what was refused, where the kernel logs seccomp at all.
 *
 * Seccomp and Landlock hold for all threads and all later children of the
 * process, and cannot be taken back.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

enum sandbox_mode {
	SANDBOX_BEST_EFFORT, /* what the kernel does not have is logged */
	SANDBOX_REQUIRE,     /* a process without all of it does not start */
	SANDBOX_OFF,
};

enum sandbox_profile {
	SANDBOX_MODULE,	 /* a signer with a vendor's module: deny list */
	SANDBOX_SOFTHSM, /* a signer with SoftHSM */
	SANDBOX_ISSUER,	 /* starts couriers; its filter is theirs, too */
	SANDBOX_COURIER,
	SANDBOX_WRITER, /* writes files of another user; starts processes, executes nothing */
	SANDBOX_FRONT,	/* opens no file for writing */
};

/* Rights on a file, or on a directory and all below it. */
enum sandbox_access {
	SANDBOX_READ,	 /* files and lists of directories */
	SANDBOX_WRITE,	 /* that, and write, make, rename and remove */
	SANDBOX_DEVICE,	 /* read, write and control what is there; make nothing */
	SANDBOX_EXECUTE, /* read and execute */
};

struct sandbox;

/* NULL when out of memory. Everything below takes a NULL, and does nothing. */
struct sandbox *sandbox_new(enum sandbox_profile profile, enum sandbox_mode mode) MUST_CHECK;

/* Forgets it without entering. */
void sandbox_free(struct sandbox *s);

/* Allows a path; a NULL path, or one that does not exist, allows nothing.
 * A file is meant as it is now: one put in its place later is another. */
void sandbox_path(struct sandbox *s, enum sandbox_access access, const char *path);

/* The directory that a path lies in. */
void sandbox_directory_of(struct sandbox *s, enum sandbox_access access, const char *path);

/* What every dynamic program reads: libraries, /etc, /proc, a few devices. */
void sandbox_system_files(struct sandbox *s);

/* This program itself and its loader, to be executed. */
void sandbox_own_program(struct sandbox *s);

/* Which sockets the process may make. Without a call: none. Those that it is
 * given or accepts are always of use. */
void sandbox_sockets(struct sandbox *s, bool local, bool network);

/* Restricts TCP connections to the ports that are given so, where the kernel can
 * (Landlock since 6.7). Without a call: any port, if there is a network. With
 * port 0: no connection at all. */
void sandbox_port(struct sandbox *s, uint16_t port);

/* Room for a report's text with its NUL; fits into a control message. */
#define SANDBOX_TEXT_MAX 224
#define SANDBOX_WORDS_MAX 64

/* What a process really has: as the kernel says in /proc/self/status, and as its
 * answers to the system calls were. */
struct sandbox_report {
	char profile[16]; /* "softhsm" ..., "none" */
	uint32_t uid, gid;
	uint64_t capabilities; /* effective or permitted */
	bool no_new_privileges;
	unsigned filters;		 /* of seccomp; 0: none */
	unsigned landlock;		 /* version of its interface; 0: none */
	char sockets[16];		 /* "none", "local", "network", "local+network", "any" */
	char missing[SANDBOX_WORDS_MAX]; /* words with commas; "" when all is there */
};

/* Enters, logs what the kernel does not have, and frees s. On failure
 * (ERROR_SYSTEM: mode is require and something is missing, which err names; or
 * out of memory) the process must end. report may be NULL. Before the first
 * thread is started. */
bool sandbox_enter(struct sandbox *s, struct sandbox_report *report, struct error *err) MUST_CHECK;

/* What this process has, without a profile. */
void sandbox_look(struct sandbox_report *report);

/* The report of the sandbox that this process entered, or else what it has. */
void sandbox_current(struct sandbox_report *report);

/* True for what `require` promises: a profile, and nothing missing. */
bool sandbox_is_whole(const struct sandbox_report *report);

/* For the supervisor, which enters none: no new privileges, no look at it, and of
 * root's capabilities only those that it needs for roles that have users of their
 * own. */
bool sandbox_restrict_supervisor(bool has_users, struct error *err) MUST_CHECK;

/* Whether the kernel has all that `sandbox: require` asks for. ERROR_SYSTEM
 * names what is missing. */
bool sandbox_available(struct error *err) MUST_CHECK;

/* No core dump, no debugger of the same user, no look into its memory. */
bool sandbox_hide(struct error *err) MUST_CHECK;

/* Keeps all memory of the process out of the swap from now on: what it has, and what it will
 * get, each page when it is touched. Before the sandbox, whose filter knows no such call.
 * False when that is not permitted: RLIMIT_MEMLOCK has to be unlimited, since a limit would
 * make memory run out at any later moment. */
bool sandbox_lock_memory(void);
bool sandbox_memory_is_locked(void);

/* For the supervisor while it is root: its children may lock theirs. What cannot be raised
 * stays. */
void sandbox_allow_locking(void);

/* A report as one line of text and back; the reader takes exactly what the
 * writer makes. */
void sandbox_report_format(const struct sandbox_report *report, char out[SANDBOX_TEXT_MAX]);
bool sandbox_report_parse(
    const char *text, struct sandbox_report *report, struct error *err) MUST_CHECK;

/* The mode in the environment of the supervisor's children: that of the
 * configuration in force, whatever the file says by now. */
#define SANDBOX_VARIABLE "CHANCERY_SANDBOX"

const char *sandbox_mode_name(enum sandbox_mode mode);
bool sandbox_mode_parse(const char *word, enum sandbox_mode *mode);

#endif
