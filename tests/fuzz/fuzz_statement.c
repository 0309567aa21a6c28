/* Statements: what parses is what would be written, byte for byte. The last
 * octets serve as signature and key. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/x509/statement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[STATEMENT_TEXT_MAX + 1];
	struct error err = ERROR_INIT;
	struct statement s;
	size_t len = 0, tail = size < 91 ? size : 91;

	if (statement_parse((const char *)data, size, &s, &err)) {
		if (!statement_format(&s, text, &len, &err) || len != size ||
		    memcmp(text, data, size) != 0 || !statement_check_time(&s, s.issued, &err))
			abort();
	} else if (!error_is_set(&err)) {
		abort();
	}
	err = ERROR_INIT;
	if (statement_verify((const char *)data, size, data, size, data + size - tail, tail, &err))
		abort();
	return 0;
}
