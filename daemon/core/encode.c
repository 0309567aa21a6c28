#include "daemon/core/encode.h"

int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

void
hex_encode(const void *octets, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = octets;

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[p[i] >> 4];
		*out++ = digits[p[i] & 15];
	}
	*out = '\0';
}

bool
hex_decode(const char *text, size_t len, uint8_t *out)
{
	for (size_t i = 0; i < len; i++) {
		int high = hex_value(text[2 * i]);
		int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* Value of a base64 character, or -1. */
static int
base64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool
base64_decode(struct bytes text, bool white_space, uint8_t *out, size_t out_size, size_t *len,
    struct error *err)
{
	unsigned held = 0, padding = 0;
	uint32_t group = 0;
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.p[i];
		int value = base64_value(c);

		if (white_space && (c == '\n' || c == '\r' || c == ' ' || c == '\t'))
			continue;
		if (c == '=' && held + padding >= 2 && held + padding < 4) {
			padding++;
			continue;
		}
		if (value < 0 || padding > 0)
			return error_set(err, ERROR_INPUT,
			    "a character is no base64 (RFC 4648 4), or stands behind its end");
		group = group << 6 | (uint32_t)value;
		if (++held < 4)
			continue;
		if (out_size - n < 3)
			goto too_long;
		out[n++] = (uint8_t)(group >> 16);
		out[n++] = (uint8_t)(group >> 8);
		out[n++] = (uint8_t)group;
		held = 0;
		group = 0;
	}
	if (held + padding != 0 && held + padding != 4)
		return error_set(err, ERROR_INPUT, "the base64 is cut off");
	if ((held == 2 && (group & 0xf) != 0) || (held == 3 && (group & 0x3) != 0))
		return error_set(err, ERROR_INPUT, "the base64 ends with stray bits");
	if (held > 0 && out_size - n < held - 1)
		goto too_long;
	if (held > 0)
		out[n++] = (uint8_t)(group >> (held == 2 ? 4 : 10));
	if (held == 3)
		out[n++] = (uint8_t)(group >> 2);
	*len = n;
	return true;
too_long:
	return error_set(
	    err, ERROR_LIMIT, "the base64 holds more than the %zu octets allowed", out_size);
}
