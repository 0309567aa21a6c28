#ifndef CHANCERY_PUBLISH_HTTP_SESSION_H
#define CHANCERY_PUBLISH_HTTP_SESSION_H

/*
 * What writing and reading by HTTP share: URLs checked before use, and libcurl
 * handles with everything that could surprise turned off: redirects, proxies
 * from the environment, netrc, other protocols, unverified TLS.
 */

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"
#include "daemon/publish/target.h"

#define HTTP_REPLY_MAX 65536 /* octets of a PUT's or MOVE's answer */

struct http_place {
	bool tls;
	bool loopback;
	char url[PUBLISH_URL_MAX];	/* as libcurl wrote it again */
	char part_url[PUBLISH_URL_MAX]; /* beside it, for a put that is moved; "" if unwanted */
};

/* Takes http and https with a host; refuses credentials in it and fragments.
 * With webdav set also makes part_url, for which the URL must name a file and
 * have no query. ERROR_INPUT. */
bool http_place_parse(const struct publish_job *job, const char *url, bool webdav,
    struct http_place *place, struct error *err) MUST_CHECK;

/* A part of a URL that libcurl took apart; false: there is none, or it does not fit. */
bool http_url_part(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t size) MUST_CHECK;

/* A handle for one transfer to url, with the rest of the work's time. text
 * (CURL_ERROR_SIZE) receives libcurl's own words and must outlive the handle.
 * The caller frees it with curl_easy_cleanup. */
CURL *http_session_new(
    const struct target_work *work, const char *url, char *text, struct error *err) MUST_CHECK;

/* Sets err for a transfer that failed; verb as in "PUT". Returns false. */
bool http_session_failed(
    struct error *err, const char *verb, const char *url, CURLcode rc, const char *text);

/* False, with a sentence for people, unless the status is one of 2xx. */
bool http_status_ok(struct error *err, const char *verb, const char *url, long status) MUST_CHECK;

#endif
