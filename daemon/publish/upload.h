#ifndef CHANCERY_PUBLISH_UPLOAD_H
#define CHANCERY_PUBLISH_UPLOAD_H

/* The artifact as the body of one of libcurl's transfers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <curl/curl.h>

#include "daemon/core/attr.h"

struct upload {
	int fd; /* read with pread */
	off_t offset;
	size_t answer_len;
};

/* Makes c an upload of size octets; up must outlive the transfer. Of what the
 * server answers at most HTTP_REPLY_MAX octets are taken, and dropped. */
bool upload_prepare(CURL *c, struct upload *up, uint64_t size) MUST_CHECK;

/* Only the latter. */
bool upload_drop_answer(CURL *c, struct upload *up) MUST_CHECK;

#endif
