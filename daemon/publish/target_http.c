/*
 * Kind "http": PUT to a web server. A server with WebDAV gets the artifact
 * under another name first and a MOVE over the old one (RFC 4918 9.9), because
 * few servers replace a file atomically while they receive it.
 */

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"
#include "daemon/publish/credential.h"
#include "daemon/publish/fetch.h"
#include "daemon/publish/http_session.h"
#include "daemon/publish/target.h"
#include "daemon/publish/upload.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static CURLcode
set_user(CURL *c, char *text)
{
	char *colon = strchr(text, ':');
	CURLcode rc;

	*colon = '\0';
	if ((rc = curl_easy_setopt(c, CURLOPT_USERNAME, text)) == CURLE_OK)
		rc = curl_easy_setopt(c, CURLOPT_PASSWORD, colon + 1);
	*colon = ':';
	return rc;
}

/* S3's version of AWS Signature 4. The key itself does not travel. */
static CURLcode
set_signing(CURL *c, const struct publish_job *job)
{
	char scope[PUBLISH_NAME_MAX + 16];

	(void)snprintf(scope, sizeof scope, "aws:amz:%s:s3", job->region);
	return curl_easy_setopt(c, CURLOPT_AWS_SIGV4, scope);
}

static bool
set_credential(CURL *c, const struct publish_job *job, struct credential *cred, struct error *err)
{
	CURLcode rc = CURLE_OK;

	if (job->certificate_path[0] != '\0') {
		if (!credential_check(job->certificate_path, err))
			return false;
		if ((rc = curl_easy_setopt(c, CURLOPT_SSLCERT, job->certificate_path)) == CURLE_OK)
			rc = curl_easy_setopt(c, CURLOPT_SSLKEY, job->certificate_path);
	}
	if (cred->len > 0 && job->auth == TARGET_AUTH_BEARER && rc == CURLE_OK) {
		if ((rc = curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BEARER)) == CURLE_OK)
			rc = curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, cred->text);
	} else if (cred->len > 0 && rc == CURLE_OK) {
		if (strchr(cred->text, ':') == NULL)
			return error_set(err, ERROR_CONFIG, "%s must hold %s in one line",
			    job->credential_path,
			    job->auth == TARGET_AUTH_SIGV4 ? "ACCESS-KEY:SECRET-KEY"
							   : "USER:PASSWORD (RFC 7617)");
		rc = job->auth == TARGET_AUTH_SIGV4
			 ? set_signing(c, job)
			 : curl_easy_setopt(c, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		if (rc == CURLE_OK)
			rc = set_user(c, cred->text);
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

/* S3 wants the body's digest signed; NULL is that of none. */
static struct curl_slist *
add_digest(struct curl_slist *list, const struct publish_job *job, const uint8_t *sha256)
{
	char hex[2 * PUBLISH_SHA256_LEN + 1] = EMPTY_SHA256, header[sizeof hex + 32];

	if (list == NULL || job->auth != TARGET_AUTH_SIGV4)
		return list;
	if (sha256 != NULL)
		hex_encode(sha256, PUBLISH_SHA256_LEN, hex);
	(void)snprintf(header, sizeof header, "x-amz-content-sha256: %s", hex);
	return add_header(list, header);
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
	headers = add_digest(headers, work->job, work->job->sha256);
	if (headers == NULL || curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) != CURLE_OK ||
	    !upload_prepare(c, &up, work->job->size)) {
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
	    !upload_drop_answer(c, &up)) {
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
	struct curl_slist *headers = NULL;
	char text[CURL_ERROR_SIZE];
	struct http_place place;
	struct credential cred;
	CURL *c = NULL;
	bool ok = prepare(work, &place, &cred, err) &&
		  (c = http_session_new(work, place.url, text, err)) != NULL &&
		  set_credential(c, work->job, &cred, err);

	if (ok) {
		headers = add_digest(add_header(NULL, "Accept: */*"), work->job, NULL);
		ok = headers != NULL &&
		     curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers) == CURLE_OK &&
		     curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, header_take) == CURLE_OK &&
		     curl_easy_setopt(c, CURLOPT_HEADERDATA, work->seen) == CURLE_OK;
		if (!ok)
			error_set(err, ERROR_SYSTEM, "preparing the GET of %s", place.url);
	}
	if (ok)
		ok = fetch_curl(c, place.url, text, max, sink, err);
	curl_easy_cleanup(c);
	curl_slist_free_all(headers);
	credential_wipe(&cred);
	return ok;
}

const struct target_driver target_http = {"http", http_put, http_look};
