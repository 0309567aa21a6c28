#ifndef CHANCERY_PKCS11_CONSOLE_H
#define CHANCERY_PKCS11_CONSOLE_H

/*
 * What root of the signer's host does by hand, beside the signer or without it: with the
 * PIN that the configuration names, and as the signer's user, to whom its files and the
 * token's belong.
 */

#include <stdbool.h>

enum console_work {
	CONSOLE_NONE,
	CONSOLE_PROBE,	 /* probe.h */
	CONSOLE_KEYS,	 /* key_list.h */
	CONSOLE_IMPORT,	 /* key_import.h */
	CONSOLE_ADOPT,	 /* key_adopt.h; takes no token */
	CONSOLE_DESTROY, /* key_remove.h */
};

struct console_task {
	enum console_work work;
	const char *config, *token; /* path; name */
	const char *member;	    /* of a group: which of its tokens */
	int pin_fd;		    /* as console_login_begin takes it */
	bool json;
	unsigned soak_s;	     /* probe */
	const char *file;	     /* import: PKCS#12 */
	const char *label;	     /* import: CKA_LABEL, or NULL. destroy: its CKA_LABEL, or
				      * NULL asks at the terminal */
	const char *passphrase_file; /* import: NULL asks at the terminal */
	bool wipe;		     /* import: the file, when the key is on the token */
	const char *document;	     /* adopt: SHA-256 of the limits, hex */
	const char *key;	     /* destroy: SHA-256 of the public key, hex */
};

/* Does it, writing to standard output and error. The exit status. */
int console_run(const struct console_task *task);

#endif
