#ifndef CHANCERY_PKCS11_PIN_SPLIT_H
#define CHANCERY_PKCS11_PIN_SPLIT_H

/*
 * A PIN that nobody knows (daemon/x509/pin_share.h): made at the signer's console,
 * with the signer stopped, and put together again by the signer for one login.
 */

#include <stdio.h>

#include "daemon/core/config.h"
#include "daemon/x509/pin_share.h"
#include "pkcs11/pin.h"

#define PIN_SHARES_FILE "pin-shares"
/* What is there from before the token is told until that was seen to work. */
#define PIN_SHARES_NEXT "pin-shares.next"

/* Reads the shares of the token's PIN; ERROR_NOT_FOUND: it is not split. */
bool pin_split_read(const char *state_dir, struct pin_shares *shares, struct error *e) MUST_CHECK;

/* Puts so many shares as are needed together. numbers: of the shares, all different.
 * pin: made by pin_make. */
bool pin_split_combine(const struct pin_shares *s, const uint8_t *numbers,
    const uint8_t (*octets)[PIN_SHARE_MAX_LEN], struct pin *pin, struct error *e) MUST_CHECK;

/*
 * Gives the token a random PIN, and each of the configuration's pin_operators a share of
 * it, `need` of which are needed. old: the present one. The shares are on the disk before
 * the token is told, and are printed to out. When the token does not take it, the old
 * PIN stays. ERROR_UNAVAILABLE while the signer runs.
 */
bool pin_split_make(const struct config_token *token, const char *state_dir, unsigned need,
    const struct pin *old, FILE *out, struct error *e) MUST_CHECK;

#endif
