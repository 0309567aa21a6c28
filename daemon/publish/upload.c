#include "daemon/publish/upload.h"

#include <errno.h>
#include <unistd.h>

#include "daemon/publish/http_session.h"

static size_t
upload_read(char *buf, size_t size, size_t count, void *arg)
{
	struct upload *u = arg;
	ssize_t n;

	do {
		n = pread(u->fd, buf, size * count, u->offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return CURL_READFUNC_ABORT;
	u->offset += n;
	return (size_t)n;
}

/* libcurl starts the body again, for instance on a connection found closed. */
static int
upload_seek(void *arg, curl_off_t offset, int origin)
{
	struct upload *u = arg;

	if (origin != SEEK_SET)
		return CURL_SEEKFUNC_CANTSEEK;
	u->offset = (off_t)offset;
	return CURL_SEEKFUNC_OK;
}

/* The answer's text is of no use; only its length is looked at. */
static size_t
answer_write(char *data, size_t size, size_t count, void *arg)
{
	struct upload *u = arg;

	u->answer_len += size * count;
	return u->answer_len > HTTP_REPLY_MAX ? 0 : size * count;
}

bool
upload_drop_answer(CURL *c, struct upload *up)
{
	return curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, answer_write) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEDATA, up) == CURLE_OK;
}

bool
upload_prepare(CURL *c, struct upload *up, uint64_t size)
{
	return curl_easy_setopt(c, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_READFUNCTION, upload_read) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_READDATA, up) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, upload_seek) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_SEEKDATA, up) == CURLE_OK && upload_drop_answer(c, up);
}
