#ifndef CHANCERY_PUBLISH_FETCH_H
#define CHANCERY_PUBLISH_FETCH_H

/*
 * Fetches what stands at a place: at a job's read URL (http, https, ldap, ldaps,
 * file) as clients would, without any credential, or over a session that its
 * writer has. Blocks until the work's deadline.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/http_session.h"
#include "daemon/publish/ldap_session.h"
#include "daemon/publish/target.h"

/* Takes what comes. A web server or a file has one value; a directory has one
 * or more, each told apart by `end`. */
struct fetch_sink {
	/* The next octets of the value; false ends the fetch with err. */
	bool (*data)(const void *p, size_t len, void *arg, struct error *err);
	/* The value is whole; *enough: no further one is wanted. */
	bool (*end)(bool *enough, void *arg, struct error *err);
	void *arg;
};

/* max: octets of one value; more is ERROR_LIMIT. True when at least one value
 * was given to the sink. ERROR_NOT_FOUND: nothing stands there. */
bool fetch_read(const struct target_work *work, uint64_t max, const struct fetch_sink *sink,
    struct error *err) MUST_CHECK;

/* The same of a file, of what a prepared handle gets (text: its error buffer), and
 * of the attribute of an entry. */
bool fetch_file(
    const char *path, uint64_t max, const struct fetch_sink *sink, struct error *err) MUST_CHECK;
bool fetch_curl(CURL *c, const char *url, const char *text, uint64_t max,
    const struct fetch_sink *sink, struct error *err) MUST_CHECK;
bool fetch_ldap(const struct target_work *work, LDAP *ld, const struct ldap_place *place,
    uint64_t max, const struct fetch_sink *sink, struct error *err) MUST_CHECK;

#endif
