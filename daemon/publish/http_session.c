#include "daemon/publish/http_session.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/publish/credential.h"

bool
http_url_part(CURLU *u, CURLUPart part, unsigned flags, char *out, size_t size)
{
	char *text = NULL;
	bool ok = curl_url_get(u, part, &text, flags) == CURLUE_OK && strlen(text) < size;

	if (ok)
		(void)snprintf(out, size, "%s", text);
	curl_free(text);
	return ok;
}

static bool
has_part(CURLU *u, CURLUPart what)
{
	char *text = NULL;
	bool found = curl_url_get(u, what, &text, 0) == CURLUE_OK;

	curl_free(text);
	return found;
}

static bool
make_part_url(const struct publish_job *job, CURLU *u, struct http_place *place, struct error *err)
{
	char path[PUBLISH_URL_MAX], name[PUBLISH_URL_MAX], part[PUBLISH_URL_MAX];
	char *slash;
	int n;

	if (has_part(u, CURLUPART_QUERY))
		return error_set(err, ERROR_INPUT,
		    "%s: a WebDAV target is written under another name first and so cannot have a "
		    "query",
		    place->url);
	if (!http_url_part(u, CURLUPART_PATH, 0, path, sizeof path) ||
	    (slash = strrchr(path, '/')) == NULL || slash[1] == '\0')
		return error_set(err, ERROR_INPUT, "%s names a folder, not a file", place->url);
	(void)snprintf(name, sizeof name, "%s", slash + 1);
	slash[1] = '\0';
	if (!target_part_name(job, name, part, sizeof part))
		goto too_long;
	n = snprintf(name, sizeof name, "%s%s", path, part);
	if (n < 0 || (size_t)n >= sizeof name ||
	    curl_url_set(u, CURLUPART_PATH, name, 0) != CURLUE_OK)
		goto too_long;
	if (!http_url_part(u, CURLUPART_URL, 0, place->part_url, sizeof place->part_url))
		goto too_long;
	return true;
too_long:
	return error_set(err, ERROR_LIMIT, "the URL %s is too long", place->url);
}

/* libcurl forgives one slash too few or too many. */
static bool
starts_well(const char *url)
{
	const char *rest = strstr(url, "://");

	return rest != NULL && rest[3] != '/';
}

bool
http_place_parse(const struct publish_job *job, const char *url, bool webdav,
    struct http_place *place, struct error *err)
{
	char scheme[16], host[PUBLISH_URL_MAX];
	CURLU *u = curl_url();
	bool ok = false;

	memset(place, 0, sizeof *place);
	if (u == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for a URL");
	if (!starts_well(url) || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
	    !http_url_part(u, CURLUPART_SCHEME, 0, scheme, sizeof scheme) ||
	    (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0) ||
	    !http_url_part(u, CURLUPART_HOST, 0, host, sizeof host) || host[0] == '\0') {
		error_set(err, ERROR_INPUT,
		    "%s is no URL of a web server: http://HOST/PATH or https://HOST/PATH", url);
		goto out;
	}
	if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD)) {
		error_set(err, ERROR_INPUT,
		    "the URL on host %s has a user or password in it; put them into a credential",
		    host);
		goto out;
	}
	if (has_part(u, CURLUPART_FRAGMENT)) {
		error_set(
		    err, ERROR_INPUT, "%s: a fragment never reaches a server (RFC 3986 3.5)", url);
		goto out;
	}
	if (!http_url_part(u, CURLUPART_URL, 0, place->url, sizeof place->url)) {
		error_set(err, ERROR_LIMIT, "the URL %s is too long", url);
		goto out;
	}
	place->tls = strcasecmp(scheme, "https") == 0;
	place->loopback = credential_host_is_loopback(host);
	if (webdav && !make_part_url(job, u, place, err))
		goto out;
	ok = true;
out:
	curl_url_cleanup(u);
	return ok;
}

CURL *
http_session_new(const struct target_work *work, const char *url, char *text, struct error *err)
{
	long left = target_left_ms(work);
	long connect = left < TARGET_CONNECT_TIMEOUT_MS ? left : TARGET_CONNECT_TIMEOUT_MS;
	CURL *c = curl_easy_init();
	CURLcode rc = CURLE_FAILED_INIT;

	text[0] = '\0';
	if (c == NULL)
		goto fail;
	if ((rc = curl_easy_setopt(c, CURLOPT_URL, url)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_ERRORBUFFER, text)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https")) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_PROXY, "")) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2)) !=
		CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, connect)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, left)) != CURLE_OK ||
	    (rc = curl_easy_setopt(c, CURLOPT_USERAGENT, "chancery/" CHANCERY_VERSION)) != CURLE_OK)
		goto fail;
	if (work->job->ca_file[0] != '\0' &&
	    (rc = curl_easy_setopt(c, CURLOPT_CAINFO, work->job->ca_file)) != CURLE_OK)
		goto fail;
	return c;
fail:
	error_set(err, ERROR_SYSTEM, "preparing a transfer to %s: %s", url, curl_easy_strerror(rc));
	curl_easy_cleanup(c);
	return NULL;
}

bool
http_session_failed(
    struct error *err, const char *verb, const char *url, CURLcode rc, const char *text)
{
	enum error_code code = ERROR_UNAVAILABLE;
	char foreign[16];

	if (rc == CURLE_OPERATION_TIMEDOUT)
		code = ERROR_TIMEOUT;
	else if (rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_LOGIN_DENIED ||
		 rc == CURLE_REMOTE_ACCESS_DENIED)
		code = ERROR_DENIED;
	else if (rc == CURLE_REMOTE_FILE_NOT_FOUND)
		code = ERROR_NOT_FOUND;
	(void)snprintf(foreign, sizeof foreign, "CURLE %d", (int)rc);
	return error_set_foreign(err, code, ERROR_CURL, foreign, "%s %s: %s", verb, url,
	    text[0] != '\0' ? text : curl_easy_strerror(rc));
}

bool
http_status_ok(struct error *err, const char *verb, const char *url, long status)
{
	const char *advice = "";
	enum error_code code = ERROR_UNAVAILABLE;
	char foreign[16];

	if (status >= 200 && status <= 299)
		return true;
	if (status >= 300 && status <= 399) {
		advice = ": redirects are not followed; name the final address";
		code = ERROR_INPUT;
	} else if (status == 401 || status == 403) {
		advice =
		    ": the server refuses; check the target's credential and the server's rights";
		code = ERROR_DENIED;
	} else if (status == 404 || status == 409) {
		advice = strcmp(verb, "GET") == 0 ? ": there is nothing at this address"
						  : ": the server has no such folder; create it";
		code = ERROR_NOT_FOUND;
	} else if (status == 405 || status == 501) {
		advice = ": the server does not take this method; allow it there";
		code = ERROR_DENIED;
	} else if (status == 412) {
		advice = ": something else was written there meanwhile";
		code = ERROR_CONFLICT;
	} else if (status == 413) {
		advice = ": too large for the server; raise its limit of request bodies";
		code = ERROR_LIMIT;
	} else if (status == 507) {
		advice = ": the server has no room left";
	}
	(void)snprintf(foreign, sizeof foreign, "HTTP %ld", status);
	return error_set_foreign(
	    err, code, ERROR_CURL, foreign, "%s %s: answer %ld%s", verb, url, status, advice);
}
