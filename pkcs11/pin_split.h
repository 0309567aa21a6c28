#ifndef CHANCERY_PKCS11_PIN_SPLIT_H
#define CHANCERY_PKCS11_PIN_SPLIT_H

/*
 * A PIN that nobody knows (daemon/x509/pin_share.h): made and split by the signer, and
 * put together again for one login.
 *
 * The shares of the PIN that the token has are in PIN_SHARES_FILE. Those of the next
 * one are in PIN_SHARES_NEXT from before the token is told of it until a login has
 * shown which of the two it has.
 */

#include "daemon/x509/pin_share.h"
#include "pkcs11/access.h"
#include "pkcs11/module.h"
#include "pkcs11/pin.h"

#define PIN_SHARES_FILE "pin-shares"
#define PIN_SHARES_NEXT "pin-shares.next"

/* Reads one of the two; ERROR_NOT_FOUND: it is not there. */
bool pin_split_read(
    const char *state_dir, const char *file, struct pin_shares *shares, struct error *e) MUST_CHECK;

/* What the holders need to see: the next one's text, or that of the present one; "" where
 * nothing is split. */
void pin_split_text(const char *state_dir, char text[PIN_SHARES_TEXT_MAX + 1]);

/* Puts so many shares as are needed together. numbers: of the shares, all different.
 * pin: made by pin_make. */
bool pin_split_combine(const struct pin_shares *s, const uint8_t *numbers,
    const uint8_t (*octets)[PIN_SHARE_MAX_LEN], struct pin *pin, struct error *e) MUST_CHECK;

/* A random PIN of a length that the token takes; pin is the caller's (pin_clear). */
bool pin_split_make_pin(const struct token_info *info, struct pin *pin, struct error *e) MUST_CHECK;

/* Shares of it for the persons whom the envelope names, which access_check has let
 * through. */
bool pin_split_make_shares(const struct access *access, const struct pin_envelope *env,
    const struct pin *pin, int64_t now, struct pin_shares *s, struct error *e) MUST_CHECK;

/* Puts them on the disk as the next ones, and reads them back from there. */
bool pin_split_keep(const char *state_dir, const struct pin_shares *s, struct error *e) MUST_CHECK;

/* True when a split has not come to its end. */
bool pin_split_is_open(const char *state_dir);

/* Which PIN the token has is known: the next ones become the present ones, or go. That
 * there are none is no error. */
bool pin_split_settle(const char *state_dir, bool next, struct error *e) MUST_CHECK;

#endif
