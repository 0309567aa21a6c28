#include "daemon/front/artifact_reply.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "daemon/front/disk_cache.h"
#include "daemon/front/http_field.h"

#define MAX_AGE_CERTIFICATE_S (24 * 3600) /* a CA certificate is good for years; look daily */
#define ETAG_SIZE 67

struct content *
content_new(const struct front_artifact *info)
{
	struct content *c = malloc(sizeof(*c) + info->size);

	if (c == NULL)
		return NULL;
	c->refs = 1;
	c->info = *info;
	return c;
}

struct content *
content_ref(struct content *c)
{
	c->refs++;
	return c;
}

void
content_unref(struct content *c)
{
	if (c != NULL && --c->refs == 0)
		free(c);
}

/* --------------------------------------------------------------- the body */

struct sending {
	struct front *front;
	struct content *content; /* NULL: from the disk or the database */
	struct disk_file *file;	 /* NULL: from the database alone */
	int64_t artifact;
	uint64_t at, end;
	struct http_exchange *x;
	struct front_asked *asked;
};

static void
on_piece(struct bytes piece, const struct error *err, void *arg)
{
	struct sending *s = arg;

	s->asked = NULL;
	if (err != NULL || piece.len == 0 || piece.len > s->end - s->at) {
		/* The length is out; a cut connection is the only way to say so. */
		log_warning("-", "artifact %lld cannot be read on: its reply is cut off",
		    (long long)s->artifact);
		http_reply_abort(s->x);
		return;
	}
	s->at += piece.len;
	http_reply_piece(s->x, piece.p, piece.len);
}

/* As much as is there. A TLS connection has to see the octets. */
static bool
send_from_disk(struct sending *s, struct http_exchange *x, uint64_t left)
{
	size_t max = http_reply_takes_files(x) ? HTTP_FILE_PIECE_MAX : HTTP_PIECE_MAX;
	size_t n = left < max ? (size_t)left : max;
	uint8_t piece[HTTP_PIECE_MAX];

	if (n > HTTP_PIECE_MAX && !disk_file_has(s->file, s->at, n))
		n = HTTP_PIECE_MAX;
	if (!disk_file_has(s->file, s->at, n))
		return false;
	s->at += n;
	if (http_reply_takes_files(x)) {
		http_reply_file(x, disk_file_fd(s->file), s->at - n, n);
		return true;
	}
	if (pread(disk_file_fd(s->file), piece, n, (off_t)(s->at - n)) != (ssize_t)n) {
		s->at -= n;
		return false;
	}
	http_reply_piece(x, piece, n);
	return true;
}

static void
sending_pull(struct http_exchange *x, void *arg)
{
	struct sending *s = arg;
	uint64_t left = s->end - s->at;
	size_t n = left < HTTP_PIECE_MAX ? (size_t)left : HTTP_PIECE_MAX;
	struct error err = ERROR_INIT;

	if (s->content != NULL) {
		s->at += n;
		http_reply_piece(x, s->content->data + s->at - n, n);
		return;
	}
	if (send_from_disk(s, x, left))
		return;
	s->x = x;
	s->asked = front_artifact_piece(
	    front_public_db(s->front), s->artifact, s->at, n, on_piece, s, &err);
	if (s->asked == NULL)
		http_reply_abort(x);
}

static void
sending_done(void *arg)
{
	struct sending *s = arg;

	front_cancel(s->asked);
	disk_file_return(s->file);
	content_unref(s->content);
	free(s);
}

static const struct http_source sending_source = {sending_pull, sending_done};

/* ------------------------------------------------------------- conditions */

static bool
is_not_modified(
    const struct http_request *r, const struct front_artifact *artifact, const char *etag)
{
	const char *none_match = http_request_field(r, "If-None-Match");
	const char *since = http_request_field(r, "If-Modified-Since");
	time_t t;

	if (none_match != NULL) /* RFC 9110 13.2.2: then the date does not count */
		return http_etag_listed(none_match, etag);
	return since != NULL && http_date_parse(since, &t) && artifact->not_before <= t;
}

/* If-Range holds: the same octets as those that the client has a part of. */
static bool
is_same_range(const struct http_request *r, const struct front_artifact *artifact, const char *etag)
{
	const char *v = http_request_field(r, "If-Range");
	time_t t;

	if (v == NULL || strcmp(v, etag) == 0)
		return true;
	return http_date_parse(v, &t) && t == artifact->not_before;
}

static void
put_fields(struct call *call, const struct front_artifact *artifact, const char *etag)
{
	char date[HTTP_DATE_SIZE];
	int64_t age = artifact->not_after - (int64_t)time(NULL);

	if (age < 0)
		age = 0;
	if (strcmp(call->route->type, "application/pkix-cert") == 0 && age > MAX_AGE_CERTIFICATE_S)
		age = MAX_AGE_CERTIFICATE_S;
	http_date_format(artifact->not_before, date);
	http_reply_field(call->x, "ETag", "%s", etag);
	http_reply_field(call->x, "Last-Modified", "%s", date);
	http_reply_field(
	    call->x, "Cache-Control", "public, max-age=%lld, no-transform", (long long)age);
	http_reply_field(call->x, "Accept-Ranges", "bytes");
}

static void
send_part(struct call *call, const struct front_artifact *artifact, struct content *content,
    int status, uint64_t first, uint64_t end)
{
	struct sending *s = calloc(1, sizeof(*s));

	if (s == NULL) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the reply.");
		return;
	}
	s->front = call->front;
	s->content = content == NULL ? NULL : content_ref(content);
	if (content == NULL && strcmp(http_exchange_request(call->x)->method, "GET") == 0)
		s->file = disk_cache_take(call->front->disk, artifact);
	s->artifact = artifact->id;
	s->at = first;
	s->end = end;
	http_reply_stream(call->x, status, call->route->type, end - first, &sending_source, s);
}

void
artifact_reply(struct call *call, const struct front_artifact *artifact, struct content *content)
{
	const struct http_request *r = http_exchange_request(call->x);
	const char *range = http_request_field(r, "Range");
	uint64_t first = 0, last = 0;
	enum http_range part = HTTP_RANGE_NONE;
	char etag[ETAG_SIZE], hex[2 * sizeof(artifact->sha256) + 1];

	hex_encode(artifact->sha256, sizeof(artifact->sha256), hex);
	snprintf(etag, sizeof(etag), "\"%s\"", hex);
	put_fields(call, artifact, etag);
	if (is_not_modified(r, artifact, etag)) {
		http_reply(call->x, 304, NULL, NULL, 0);
		return;
	}
	if (range != NULL && strcmp(r->method, "GET") == 0 && is_same_range(r, artifact, etag))
		part = http_range_parse(range, artifact->size, &first, &last);
	if (part == HTTP_RANGE_UNSATISFIABLE) {
		http_reply_field(
		    call->x, "Content-Range", "bytes */%llu", (unsigned long long)artifact->size);
		http_reply_error(call->x, 416, NULL, "The range begins behind the end.");
	} else if (part == HTTP_RANGE_PART) {
		http_reply_field(call->x, "Content-Range", "bytes %llu-%llu/%llu",
		    (unsigned long long)first, (unsigned long long)last,
		    (unsigned long long)artifact->size);
		send_part(call, artifact, content, 206, first, last + 1);
	} else {
		send_part(call, artifact, content, 200, 0, artifact->size);
	}
}
