/* Reseed documents: what parses is what would be written, byte for byte. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/x509/reseed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[RESEED_TEXT_MAX + 1];
	static struct reseed doc;
	struct error err = ERROR_INIT;
	size_t len = 0;

	if (reseed_parse((const char *)data, size, &doc, &err)) {
		if (!reseed_format(&doc, text, &len, &err) || len != size ||
		    memcmp(text, data, size) != 0)
			abort();
	} else if (!error_is_set(&err)) {
		abort();
	}
	return 0;
}
