/* The request parser on hostile bytes. The first octet chooses how the rest is
 * cut into pieces; whatever the cut, the outcome must be the same. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/front/http_parser.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
	enum http_event event;
	int status;
	size_t taken, body_len, fields;
};

static struct outcome
run(const uint8_t *data, size_t size, size_t step)
{
	struct http_parser *p = http_parser_new();
	struct outcome o = {HTTP_MORE, 0, 0, 0, 0};
	size_t used;

	if (p == NULL)
		abort();
	while (o.taken < size || o.event == HTTP_HEAD) {
		size_t n = size - o.taken < step ? size - o.taken : step;

		o.event = http_parser_feed(p, data + o.taken, n, &used);
		if (used > n)
			abort();
		o.taken += used;
		if (o.event == HTTP_HEAD)
			http_parser_allow_body(p, 512);
		if (o.event == HTTP_REQUEST || o.event == HTTP_REFUSED)
			break;
	}
	if (o.event == HTTP_REFUSED)
		o.status = http_parser_status(p);
	if (o.event == HTTP_REQUEST) {
		const struct http_request *r = http_parser_request(p);

		o.body_len = r->body_len;
		o.fields = r->field_count;
		if (r->body_len > 512 || r->field_count > HTTP_FIELDS_MAX ||
		    strlen(r->path) > HTTP_TARGET_MAX)
			abort();
		for (size_t i = 0; i < r->field_count; i++)
			if (strpbrk(r->fields[i].value, "\r\n") != NULL)
				abort();
	}
	http_parser_free(p);
	return o;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct outcome whole, cut;

	if (size < 1)
		return 0;
	whole = run(data + 1, size - 1, size);
	cut = run(data + 1, size - 1, (size_t)data[0] % 17 + 1);
	if (whole.event != cut.event || whole.status != cut.status ||
	    whole.body_len != cut.body_len || whole.fields != cut.fields ||
	    (whole.event != HTTP_REFUSED && whole.taken != cut.taken))
		abort();
	return 0;
}
