/*
 * CRL numbers take up to 20 octets (RFC 5280 5.2.3); databases and people give
 * them as decimal digits.
 */

#include "daemon/x509/extension.h"

#include <stdio.h>

#define DIGITS_MAX 64

bool
crl_number_from_text(
    const char *text, uint8_t out[CRL_NUMBER_MAX], struct bytes *number, struct error *err)
{
	uint8_t value[CRL_NUMBER_MAX] = {0};
	size_t start = 0;

	if (*text == '\0')
		goto bad;
	for (const char *p = text; *p != '\0'; p++) {
		unsigned carry = (unsigned)(*p - '0');

		if (*p < '0' || *p > '9')
			goto bad;
		for (size_t i = CRL_NUMBER_MAX; i > 0; i--) {
			carry += value[i - 1] * 10U;
			value[i - 1] = (uint8_t)carry;
			carry >>= 8;
		}
		/* The sign takes a bit of the 20 octets. */
		if (carry != 0 || value[0] >= 0x80)
			goto bad;
	}
	while (start < CRL_NUMBER_MAX - 1 && value[start] == 0)
		start++;
	memcpy(out, value + start, CRL_NUMBER_MAX - start);
	*number = (struct bytes){out, CRL_NUMBER_MAX - start};
	return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "'%.64s' is no CRL number: it takes decimal digits and at most 20 octets (RFC 5280 "
	    "5.2.3)",
	    text);
}

bool
crl_number_to_text(struct bytes number, char *out, size_t out_size)
{
	uint8_t value[CRL_NUMBER_MAX];
	char digits[DIGITS_MAX];
	size_t at = DIGITS_MAX;
	bool more = true;

	if (number.len == 0 || number.len > sizeof value)
		return false;
	memcpy(value, number.p, number.len);
	while (more) {
		unsigned rest = 0;

		more = false;
		for (size_t i = 0; i < number.len; i++) {
			rest = rest << 8 | value[i];
			value[i] = (uint8_t)(rest / 10);
			rest %= 10;
			more = more || value[i] != 0;
		}
		digits[--at] = (char)('0' + rest);
	}
	if (out_size < DIGITS_MAX - at + 1)
		return false;
	memcpy(out, digits + at, DIGITS_MAX - at);
	out[DIGITS_MAX - at] = '\0';
	return true;
}
