#ifndef CHANCERY_CORE_SANDBOX_INT_H
#define CHANCERY_CORE_SANDBOX_INT_H

#include "daemon/core/sandbox.h"

/* ---- sandbox_profile.c: which system calls */

/* Names with blanks between them. What a machine's kernel has no such call for
 * is left out. */
struct sandbox_calls {
	const char *name;
	bool is_deny_list;	  /* calls are refused with EPERM, all others allowed */
	const char *const *calls; /* NULL-ended */
	const int *options;	  /* prctl; ended by -1 */
	bool writes;		  /* may open files for writing */
	bool processes;		  /* may fork, and reset all signal handlers */
};

extern const struct sandbox_calls sandbox_calls_of[];
/* Newer than the lists, or of no use to a filter: ENOSYS. */
extern const char sandbox_calls_unknown[];

/* ---- sandbox_seccomp.c */

struct sandbox_families {
	bool local, network;
};

/* Installs the filter for all threads. */
bool sandbox_seccomp_install(enum sandbox_profile profile, const struct sandbox_families *families,
    struct error *err) MUST_CHECK;
/* The kernel has what the filters use. */
bool sandbox_seccomp_available(struct error *err) MUST_CHECK;

/* ---- sandbox_landlock.c */

#define SANDBOX_PORTS_MAX 8

struct sandbox_ports {
	bool restricted;
	uint16_t port[SANDBOX_PORTS_MAX];
	size_t count;
};

/* The version of Landlock's interface; 0 where there is none. */
unsigned sandbox_landlock_version(void);

/* A fresh ruleset, or -1 (none, no memory). */
int sandbox_landlock_new(unsigned version, enum sandbox_profile profile,
    const struct sandbox_families *families, const struct sandbox_ports *ports);
/* Adds what a path may be used for; one that does not exist adds nothing. */
bool sandbox_landlock_add(int ruleset, unsigned version, enum sandbox_access access,
    const char *path, struct error *err) MUST_CHECK;
bool sandbox_landlock_add_ports(
    int ruleset, unsigned version, const struct sandbox_ports *ports, struct error *err) MUST_CHECK;
/* Enters it, and proves that it has an effect. */
bool sandbox_landlock_enter(int ruleset, struct error *err) MUST_CHECK;

#endif
