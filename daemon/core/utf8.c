#include "daemon/core/utf8.h"

/* As the first octet says; 0: none begins with it. */
static size_t
length(uint8_t first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc0)
		return 0;
	if (first < 0xe0)
		return 2;
	if (first < 0xf0)
		return 3;
	return first < 0xf8 ? 4 : 0;
}

size_t
utf8_decode(const void *p, size_t len, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const uint8_t *octets = p;
	size_t n = length(octets[0]);

	*c = octets[0];
	if (n <= 1)
		return n;
	if (n > len)
		return 0;
	*c &= 0xffU >> (n + 1);
	for (size_t i = 1; i < n; i++) {
		if ((octets[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (octets[i] & 0x3fU);
	}
	return *c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff) ? 0 : n;
}

bool
utf8_is_line(const char *text)
{
	uint32_t c;
	size_t n;

	for (; *text != '\0'; text += n) {
		n = utf8_decode(text, UTF8_MAX, &c);
		if (n == 0 || c < 0x20 || (c >= 0x7f && c < 0xa0))
			return false;
	}
	return true;
}
