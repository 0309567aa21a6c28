#ifndef CHANCERY_FRONT_ARTIFACT_REPLY_H
#define CHANCERY_FRONT_ARTIFACT_REPLY_H

/* An artifact as an HTTP representation: validators, conditions, ranges, and
 * its octets, from memory, from the disk or from the database. */

#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/front/front_int.h"

/* A small artifact, whole; shared by the cache and the replies it is sent by. */
struct content {
	unsigned refs;
	struct front_artifact info;
	uint8_t data[]; /* info.size octets */
};

/* With one reference and its octets unset; NULL when memory is out. */
struct content *content_new(const struct front_artifact *info) MUST_CHECK;
struct content *content_ref(struct content *c);
void content_unref(struct content *c);

/* Answers the call (RFC 9110 13, 14). content NULL: the octets come piece by
 * piece from the disk, as far as they are there, or from the database. */
void artifact_reply(
    struct call *call, const struct front_artifact *artifact, struct content *content);

#endif
