#include "daemon/x509/serial.h"

#include <stdio.h>

#include "daemon/core/encode.h"

void
serial_build(uint8_t serial[SERIAL_LEN], uint16_t signer_id, int64_t now_s,
    const uint8_t random[SERIAL_RANDOM_LEN])
{
	serial[0] = (uint8_t)(1 + random[0] % 127);
	serial[1] = (uint8_t)(signer_id >> 8);
	serial[2] = (uint8_t)signer_id;
	for (int i = 0; i < 6; i++)
		serial[3 + i] = (uint8_t)((uint64_t)now_s >> 8 * (5 - i));
	memcpy(serial + 9, random + 1, SERIAL_RANDOM_LEN - 1);
}

bool
serial_parse(struct bytes serial, uint16_t *signer_id, int64_t *time_s)
{
	uint64_t seconds = 0;

	if (serial.len != SERIAL_LEN || serial.p[0] == 0 || serial.p[0] > 0x7f)
		return false;
	*signer_id = (uint16_t)(serial.p[1] << 8 | serial.p[2]);
	for (int i = 0; i < 6; i++)
		seconds = seconds << 8 | serial.p[3 + i];
	*time_s = (int64_t)seconds;
	return true;
}

void
serial_to_text(struct bytes serial, char out[SERIAL_TEXT_MAX])
{
	size_t len = serial.len < SERIAL_LEN ? serial.len : SERIAL_LEN;

	hex_encode(serial.p, len, out);
}

bool
serial_from_text(const char *text, uint8_t out[SERIAL_LEN], struct bytes *serial, struct error *err)
{
	const char *p = text;
	size_t len = 0;

	if (p[0] == '0' && p[1] == '0' && p[2] != '\0')
		p += p[2] == ':' ? 3 : 2;
	while (*p != '\0') {
		int high = hex_value(p[0]);
		int low = high < 0 ? -1 : hex_value(p[1]);

		if (low < 0 || len == SERIAL_LEN)
			goto bad;
		out[len++] = (uint8_t)(high << 4 | low);
		p += 2;
		if (*p == ':' && p[1] != '\0')
			p++;
	}
	if (len == 0)
		goto bad;
	*serial = (struct bytes){out, len};
	return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "'%.80s' is no serial number; give it as 1 to 20 octets in hexadecimal", text);
}
