#ifndef CHANCERY_FRONT_HTTP_PARSER_INT_H
#define CHANCERY_FRONT_HTTP_PARSER_INT_H

/* What http_parser.c (octets) and http_head.c (their meaning) share. */

#include "daemon/front/http_parser.h"

enum state {
	S_START,
	S_START_LF, /* after the CR of one empty line before the request line */
	S_METHOD,
	S_TARGET,
	S_VERSION,
	S_LINE_LF, /* after the CR of the request line or of a field line */
	S_FIELD_START,
	S_FIELD_NAME,
	S_VALUE_START,
	S_VALUE,
	S_HEAD_LF,
	S_HEAD_DONE, /* HTTP_HEAD was told; framing follows */
	S_BODY,
	S_CHUNK_SIZE,
	S_CHUNK_EXTENSION,
	S_CHUNK_SIZE_LF,
	S_CHUNK_DATA,
	S_CHUNK_DATA_CR,
	S_CHUNK_DATA_LF,
	S_TRAILER_START,
	S_TRAILER_NAME,
	S_TRAILER_VALUE,
	S_TRAILER_LF,
	S_END_LF,
	S_DONE,
	S_REFUSED,
};

/* Offsets into head, which moves while it grows. */
struct span {
	uint32_t name, value, value_end;
};

struct http_parser {
	enum state state;
	char *head; /* request line and fields; separators become NULs */
	size_t head_len, head_cap;
	uint32_t target_at, version_at;
	struct span spans[HTTP_FIELDS_MAX];
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t field_count;

	bool chunked;
	uint64_t length; /* Content-Length; rest of the body or of the chunk */
	unsigned chunk_digits, chunk_extension, trailer_len;
	char trailer_name[HTTP_FIELD_NAME_MAX + 1];
	size_t trailer_name_len;

	uint8_t *body;
	size_t body_len, body_cap, body_max;

	struct http_request request;
	int status;
	char reason[HTTP_REASON_MAX];
};

/* Ends the parsing with a status and a sentence; the first one wins. Always
 * returns false. */
bool http_parser_refuse(struct http_parser *p, int status, const char *fmt, ...) PRINTF(3, 4);

/* Reads the head, which is complete: fills the request in, or refuses. */
bool http_parser_finish_head(struct http_parser *p);

#endif
