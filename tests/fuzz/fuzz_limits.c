/* Limits: what parses is what would be written, byte for byte, and answers
 * questions without harm; the same with a policy behind it. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/x509/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct limits limits, sorted;

static void
check_document(const char *text, size_t len)
{
	char again[LIMITS_TEXT_MAX + 1];
	struct error err = ERROR_INIT;
	uint8_t digest[32];
	size_t again_len = 0;

	if (!limits_format(&limits, again, &again_len, &err) || again_len != len ||
	    memcmp(again, text, len) != 0)
		abort();
	sorted = limits;
	limits_sort(&sorted);
	if (memcmp(&sorted, &limits, sizeof limits) != 0)
		abort();
	if (limits_count_persons(&limits, LIMITS_RIGHT_LIMITS) < limits.quorum)
		abort();
	for (size_t i = 0; i < limits.template_count; i++)
		if (limits_find_template(&limits, limits.templates[i].name) != &limits.templates[i])
			abort();
	limits_sha256(text, len, digest);
	if (limits_check_change(&limits, digest, limits.key, &limits, &err))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct limits_body parts;

	if (limits_parse((const char *)data, size, &limits, &err))
		check_document((const char *)data, size);
	else if (!error_is_set(&err))
		abort();
	err = ERROR_INIT;
	if (limits_body_parse((struct bytes){data, size}, &parts, &limits, &err))
		check_document((const char *)parts.document.p, parts.document.len);
	return 0;
}
