#ifndef CHANCERY_X509_SERIAL_H
#define CHANCERY_X509_SERIAL_H

/*
 * Serial numbers of 20 octets (RFC 5280 4.1.2.2: positive, at most 20 octets):
 *
 *	1 octet   random in 0x01..0x7f: positive, and never shortened by DER
 *	2 octets  signer id: hosts cannot collide
 *	6 octets  time in seconds since 1970, big-endian: neighbours in the index
 *	11 octets from the CSPRNG: 88 bits nobody can guess
 */

#include "daemon/core/error.h"
#include "daemon/x509/der.h"

#define SERIAL_LEN 20
#define SERIAL_RANDOM_LEN 12
#define SERIAL_TEXT_MAX (2 * SERIAL_LEN + 1)

/* random: fresh CSPRNG octets, never used twice. */
void serial_build(uint8_t serial[SERIAL_LEN], uint16_t signer_id, int64_t now_s,
    const uint8_t random[SERIAL_RANDOM_LEN]);

/* Takes one of ours apart; false when it does not have the layout. */
bool serial_parse(struct bytes serial, uint16_t *signer_id, int64_t *time_s) MUST_CHECK;

/* Hexadecimal in lower case, two digits an octet; serial has at most
 * SERIAL_LEN octets. */
void serial_to_text(struct bytes serial, char out[SERIAL_TEXT_MAX]);

/* Either case, colons between octets allowed, 1 to 20 octets; a leading zero
 * octet (the sign of DER) is dropped. */
bool serial_from_text(
    const char *text, uint8_t out[SERIAL_LEN], struct bytes *serial, struct error *err) MUST_CHECK;

#endif
