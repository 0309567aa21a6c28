/*
 * Preloaded into an sshd of the tests: whoever runs it has the password whose crypt(3) hash
 * is in SHADOW_HASH, without a change of the system's own users.
 */

#include <shadow.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct spwd *
getspnam(const char *name)
{
	static struct spwd entry;

	entry = (struct spwd){.sp_namp = (char *)(uintptr_t)name,
	    .sp_pwdp = getenv("SHADOW_HASH"),
	    .sp_lstchg = -1,
	    .sp_min = -1,
	    .sp_max = -1,
	    .sp_warn = -1,
	    .sp_inact = -1,
	    .sp_expire = -1};
	return entry.sp_pwdp != NULL ? &entry : NULL;
}
