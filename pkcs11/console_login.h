#ifndef CHANCERY_PKCS11_CONSOLE_LOGIN_H
#define CHANCERY_PKCS11_CONSOLE_LOGIN_H

/*
 * Opening a token at the signer's console. With access: auto that logs in with the PIN of
 * the configuration. Where persons have the PIN (access: session, operation), one of them
 * enters it here: on the terminal, without echo, or through a descriptor. It is tried once
 * and recorded as the signer's logins are (logins.h), so that a wrong one blocks the token
 * for the signer, too; the signer must not run, since it keeps that record.
 */

#include "pkcs11/logins.h"
#include "pkcs11/pin.h"
#include "pkcs11/token.h"

struct console_login {
	const struct config_token *config; /* borrowed, as the next */
	const char *state_dir;
	struct logins *logins; /* NULL with access: auto */
	struct pin pin;
};

/* Asks for the PIN, unless the configuration has it; nothing has been asked of the token
 * then. pin_fd: where the PIN comes from, up to its end or a line feed; -1: the terminal.
 * ERROR_DENIED while logins are blocked, ERROR_UNAVAILABLE while the signer runs. To be
 * called as the signer's user. */
bool console_login_begin(struct console_login *l, const struct config_token *config,
    const char *state_dir, int pin_fd, struct error *e) MUST_CHECK;

/* Opens the token, or one member of a group, and logs in. May be called again when the
 * token was lost: what it took is right, and is sent again. */
bool console_login_open(
    struct console_login *l, const char *member, struct token **token, struct error *e) MUST_CHECK;

/* Logs out and closes the token (NULL is legal); its sessions must be closed. */
void console_login_close(struct console_login *l, struct token *token);

/* Wipes the PIN; l may be all zero. */
void console_login_end(struct console_login *l);

#endif
