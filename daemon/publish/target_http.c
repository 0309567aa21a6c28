/*
 * Kind "http": PUT to a web server. A server with WebDAV gets the artifact
 * under another name first and a MOVE over the old one (RFC 4918 9.9), because
 * few servers replace a file atomically while they receive it.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/publish/credential.h"
#include "daemon/publish/fetch.h"
#include "daemon/publish/http_session.h"
#include "daemon/publish/target.h"

struct upload {
	int fd;
	off_t offset;
	size_t answer_len;
};

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

static bool
set_credential(CURL *c, const struct publish_job *job, struct credential *cred, struct error *err)
{
	CURLcode rc;
	char *colon;

	if (cred->len == 0)
		return true;
	if (job->auth == TARGET_AUTH_BEARER) {
		if ((rc = curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BEARER)) == CURLE_OK)
			rc = curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, cred->text);
	} else {
		if ((colon = strchr(cred->text, ':')) == NULL)
			return error_set(err, ERROR_CONFIG,
			    "%s must hold USER:PASSWORD in one line (RFC 7617)",
			    job->credential_path);
		*colon = '\0';
		if ((rc = curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC)) == CURLE_OK &&
		    (rc = curl_easy_setopt(c, CURLOPT_USERNAME, cred->text)) == CURLE_OK)
			rc = curl_easy_setopt(c, CURLOPT_PASSWORD, colon + 1);
		*colon = ':';
	}
	if (rc != CURLE_OK)
		return error_set(err, ERROR_SYSTEM, "preparing the credential of target %s: %s",
		    job->target, curl_easy_strerror(rc));
	return true;
}

/* Runs one request and judges its answer. */
static bool
perform(CURL *c, const char *verb, const char *url, const char *text, struct error *err)
{
	CURLcode rc = curl_easy_perform(c);
	long status = 0;

	if (rc != CURLE_OK)
		return http_session_failed(err, verb, url, rc, text);
	if (curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
		return error_set(err, ERROR_INTERNAL, "%s %s: no status", verb, url);
	return http_status_ok(err, verb, url, status);
}

/* A list that is freed here when it cannot grow: NULL is no memory. */
static struct curl_slist *
add_header(struct curl_slist *list, const char *text)
{
	struct curl_slist *more = curl_slist_append(list, text);

	if (more == NULL)
		curl_slist_free_all(list);
	return more;
}

/* RFC 9110 13.1: the write counts only if that still stands there which was
 * looked at. A server without conditions ignores it. */
static struct curl_slist *
add_condition(struct curl_slist *list, const struct target_work *work)
{
	const struct target_seen *seen = work->seen;
	char header[TARGET_ETAG_MAX + 32];

	if (list == NULL || seen->plain || (!seen->absent && seen->etag[0] == '\0'))
		return list;
	if (seen->absent)
		return add_header(list, "If-None-Match: *");
	(void)snprintf(header, sizeof header, "If-Match: %s", seen->etag);
	return add_header(list, header);
}

static bool
put_to(const struct target_work *work, const char *url, bool final, struct credential *cred,
    struct error *err)
{
	const char *type = work->job->artifact == ARTIFACT_CA_CERTIFICATE
			       ? "Content-Type: application/pkix-cert" /* RFC 2585 4.1 */
			       : "Content-Type: application/pkix-crl"; /* RFC 2585 4.2 */
	struct upload up = {.fd = work->artifact_fd};
	struct curl_slist *headers = NULL;
	char text[CURL_ERROR_SIZE];
	CURL *c = http_session_new(work, url, text, err);
	bool ok = false;

	if (c == NULL || !set_credential(c, work->job, cred, err))
		goto out;
	headers = add_header(NULL, type);
	if (final)
		headers = add_condition(headers, work);
	if (headers == NULL || curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_UPLOAD, 1L) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)work->job->size) !=
		CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_READFUNCTION, upload_read) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_READDATA, &up) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, upload_seek) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_SEEKDATA, &up) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, answer_write) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_WRITEDATA, &up) != CURLE_OK) {
		error_set(err, ERROR_SYSTEM, "preparing the PUT to %s", url);
		goto out;
	}
	ok = perform(c, "PUT", url, text, err);
out:
	curl_easy_cleanup(c);
	curl_slist_free_all(headers);
	return ok;
}

/* What goes with a MOVE. RFC 4918 9.9.3, 10.4: nothing else may stand at the
 * destination than what was looked at. */
static struct curl_slist *
move_headers(const struct target_work *work, const char *destination)
{
	const struct target_seen *seen = work->seen;
	char header[PUBLISH_URL_MAX + TARGET_ETAG_MAX + 32];
	struct curl_slist *list;

	(void)snprintf(header, sizeof header, "Destination: %s", destination);
	list = add_header(NULL, header);
	if (list != NULL)
		list = add_header(
		    list, seen->absent && !seen->plain ? "Overwrite: F" : "Overwrite: T");
	if (list == NULL || seen->plain || seen->etag[0] == '\0')
		return list;
	(void)snprintf(header, sizeof header, "If: <%s> ([%s])", destination, seen->etag);
	return add_header(list, header);
}

/* MOVE to destination, or DELETE when that is NULL. */
static bool
request(const struct target_work *work, const char *verb, const char *url, const char *destination,
    struct credential *cred, struct error *err)
{
	struct curl_slist *headers = NULL;
	char text[CURL_ERROR_SIZE];
	struct upload up = {.fd = -1};
	CURL *c = http_session_new(work, url, text, err);
	bool ok = false;

	if (c == NULL || !set_credential(c, work->job, cred, err))
		goto out;
	if (destination != NULL && (headers = move_headers(work, destination)) == NULL) {
		error_set(err, ERROR_SYSTEM, "no memory for a request");
		goto out;
	}
	if (curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, verb) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, answer_write) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_WRITEDATA, &up) != CURLE_OK) {
		error_set(err, ERROR_SYSTEM, "preparing the %s of %s", verb, url);
		goto out;
	}
	ok = perform(c, verb, url, text, err);
out:
	curl_easy_cleanup(c);
	curl_slist_free_all(headers);
	return ok;
}

static bool
put_and_move(const struct target_work *work, const struct http_place *place,
    struct credential *cred, struct error *err)
{
	struct error ignored = ERROR_INIT;

	if (!put_to(work, place->part_url, false, cred, err))
		return false;
	if (request(work, "MOVE", place->part_url, place->url, cred, err))
		return true;
	/* The old file stands; leave no litter beside it. */
	if (!request(work, "DELETE", place->part_url, NULL, cred, &ignored))
		error_clear(&ignored);
	return false;
}

/* The place and what opens it, for every request of a work. Cleanse cred. */
static bool
prepare(const struct target_work *work, struct http_place *place, struct credential *cred,
    struct error *err)
{
	const struct publish_job *job = work->job;

	memset(cred, 0, sizeof *cred);
	if (!http_place_parse(job, job->write_url, job->webdav, place, err) ||
	    !credential_load(job->credential_path, cred, err))
		return false;
	if (cred->len > 0 && !place->tls && !place->loopback)
		return error_set(err, ERROR_CONFIG,
		    "target %s would send its credential in the clear to %s; use https://",
		    job->target, place->url);
	return true;
}

static bool
http_put(const struct target_work *work, struct error *err)
{
	struct http_place place;
	struct credential cred;
	bool ok = prepare(work, &place, &cred, err);

	if (ok && work->job->webdav)
		ok = put_and_move(work, &place, &cred, err);
	else if (ok)
		ok = put_to(work, place.url, true, &cred, err);
	credential_wipe(&cred);
	return ok;
}

/* ---- the look before */

/* Keeps the ETag, if it is a strong one: a weak one fits other octets, too. */
static size_t
header_take(char *data, size_t size, size_t count, void *arg)
{
	struct target_seen *seen = arg;
	size_t len = size * count, from = strlen("etag:"), to = len;

	if (len <= from || strncasecmp(data, "etag:", from) != 0)
		return len;
	seen->etag[0] = '\0';
	while (from < to && (data[from] == ' ' || data[from] == '\t'))
		from++;
	while (to > from && strchr(" \t\r\n", data[to - 1]) != NULL)
		to--;
	if (to - from < 2 || to - from >= sizeof seen->etag || data[from] != '"' ||
	    data[to - 1] != '"')
		return len;
	memcpy(seen->etag, data + from, to - from);
	seen->etag[to - from] = '\0';
	return len;
}

static bool
http_look(
    const struct target_work *work, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	char text[CURL_ERROR_SIZE];
	struct http_place place;
	struct credential cred;
	CURL *c = NULL;
	bool ok = prepare(work, &place, &cred, err) &&
		  (c = http_session_new(work, place.url, text, err)) != NULL &&
		  set_credential(c, work->job, &cred, err);

	if (ok && (curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, header_take) != CURLE_OK ||
		      curl_easy_setopt(c, CURLOPT_HEADERDATA, work->seen) != CURLE_OK))
		ok = error_set(err, ERROR_SYSTEM, "preparing the GET of %s", place.url);
	if (ok)
		ok = fetch_http(c, place.url, text, max, sink, err);
	curl_easy_cleanup(c);
	credential_wipe(&cred);
	return ok;
}

const struct target_driver target_http = {"http", http_put, http_look};
