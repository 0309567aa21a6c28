/*
 * Kind "sftp": a file on another host, by SSH. The server is known by its key's
 * fingerprint, never trusted on first use. SFTP version 3, which OpenSSH speaks,
 * renames over no file (draft-ietf-secsh-filexfer-02 6.5): the old one is removed
 * first, and for that moment nothing stands there.
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
#include "daemon/publish/upload.h"

#define SCHEME "sftp://"

struct sftp_place {
	char path[PUBLISH_URL_MAX]; /* decoded, absolute */
	char part_path[PUBLISH_URL_MAX];
	char part_url[PUBLISH_URL_MAX];
};

/* libcurl's commands have quotes around names. */
static bool
name_is_plain(const char *path)
{
	for (const char *p = path; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '"' || *p == '\\')
			return false;
	return true;
}

static bool
place_parse(const struct publish_job *job, struct sftp_place *place, struct error *err)
{
	char name[PUBLISH_URL_MAX], part[PUBLISH_URL_MAX];
	CURLU *u = curl_url();
	bool ok = false;
	char *slash;
	int n;

	if (u == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for a URL");
	if (strncasecmp(job->write_url, SCHEME, strlen(SCHEME)) != 0 ||
	    curl_url_set(u, CURLUPART_URL, job->write_url, 0) != CURLUE_OK ||
	    !http_url_part(u, CURLUPART_PATH, CURLU_URLDECODE, place->path, sizeof place->path) ||
	    (slash = strrchr(place->path, '/')) == NULL || slash[1] == '\0' ||
	    !name_is_plain(place->path) || strstr(place->path, "/../") != NULL) {
		error_set(err, ERROR_INPUT, "%s names no file: sftp://HOST/PATH", job->write_url);
		goto out;
	}
	(void)snprintf(name, sizeof name, "%s", slash + 1);
	n = target_part_name(job, name, part, sizeof part)
		? snprintf(place->part_path, sizeof place->part_path, "%.*s%s",
		      (int)(slash + 1 - place->path), place->path, part)
		: -1;
	if (n < 0 || (size_t)n >= sizeof place->part_path ||
	    curl_url_set(u, CURLUPART_PATH, place->part_path, CURLU_URLENCODE) != CURLUE_OK ||
	    !http_url_part(u, CURLUPART_URL, 0, place->part_url, sizeof place->part_url)) {
		error_set(err, ERROR_LIMIT, "the URL %s is too long", job->write_url);
		goto out;
	}
	ok = true;
out:
	curl_url_cleanup(u);
	return ok;
}

static bool
log_in(CURL *c, const struct publish_job *job, struct credential *cred, struct error *err)
{
	CURLcode rc;

	if ((rc = curl_easy_setopt(c, CURLOPT_USERNAME, job->user)) == CURLE_OK &&
	    (rc = curl_easy_setopt(c, CURLOPT_SSH_HOST_PUBLIC_KEY_SHA256, job->host_key)) ==
		CURLE_OK) {
		if (job->auth == TARGET_AUTH_PASSWORD) {
			if (!credential_load(job->credential_path, cred, err))
				return false;
			rc = curl_easy_setopt(c, CURLOPT_PASSWORD, cred->text);
			if (rc == CURLE_OK)
				rc = curl_easy_setopt(c, CURLOPT_SSH_AUTH_TYPES,
				    (long)(CURLSSH_AUTH_PASSWORD | CURLSSH_AUTH_KEYBOARD));
		} else {
			if (!credential_check(job->credential_path, err))
				return false;
			rc = curl_easy_setopt(c, CURLOPT_SSH_PRIVATE_KEYFILE, job->credential_path);
			if (rc == CURLE_OK)
				rc = curl_easy_setopt(
				    c, CURLOPT_SSH_AUTH_TYPES, (long)CURLSSH_AUTH_PUBLICKEY);
		}
	}
	if (rc != CURLE_OK)
		return error_set(err, ERROR_SYSTEM, "preparing the login of target %s: %s",
		    job->target, curl_easy_strerror(rc));
	return true;
}

/* A handle that is logged in at its first transfer. */
static CURL *
open_session(const struct target_work *work, const char *url, struct credential *cred, char *text,
    struct error *err)
{
	const struct publish_job *job = work->job;
	CURL *c;

	memset(cred, 0, sizeof *cred);
	if (job->user[0] == '\0' || job->host_key[0] == '\0' || job->credential_path[0] == '\0') {
		error_set(err, ERROR_CONFIG,
		    "target %s needs user, host_key and credential together", job->target);
		return NULL;
	}
	c = http_session_new(work, url, text, err);
	if (c == NULL)
		return NULL;
	if (curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "sftp") != CURLE_OK)
		error_set(err, ERROR_CONFIG, "this host's libcurl is built without SFTP");
	else if (log_in(c, job, cred, err))
		return c;
	curl_easy_cleanup(c);
	return NULL;
}

/* What follows the transfer: the part takes the place's name. NULL without memory. */
static struct curl_slist *
rename_commands(const struct sftp_place *place)
{
	char command[2 * PUBLISH_URL_MAX + 32];
	struct curl_slist *first, *both;

	/* "*": it may be the first. */
	(void)snprintf(command, sizeof command, "*rm \"%s\"", place->path);
	first = curl_slist_append(NULL, command);
	if (first == NULL)
		return NULL;
	(void)snprintf(
	    command, sizeof command, "rename \"%s\" \"%s\"", place->part_path, place->path);
	both = curl_slist_append(first, command);
	if (both == NULL)
		curl_slist_free_all(first);
	return both;
}

static bool
transfer(CURL *c, const struct target_work *work, const struct sftp_place *place, const char *text,
    struct error *err)
{
	struct upload up = {.fd = work->artifact_fd};
	struct curl_slist *after = rename_commands(place);
	CURLcode rc;
	bool ok;

	if (after == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for a request");
	if (!upload_prepare(c, &up, work->job->size) ||
	    curl_easy_setopt(c, CURLOPT_NEW_FILE_PERMS, 0644L) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_POSTQUOTE, after) != CURLE_OK) {
		ok = error_set(err, ERROR_SYSTEM, "preparing the transfer to %s", place->part_url);
	} else {
		rc = curl_easy_perform(c);
		ok = rc == CURLE_OK ||
		     http_session_failed(err, "SFTP to", place->part_url, rc, text);
	}
	curl_slist_free_all(after);
	return ok;
}

static bool
sftp_put(const struct target_work *work, struct error *err)
{
	char text[CURL_ERROR_SIZE];
	struct sftp_place place;
	struct credential cred;
	CURL *c;
	bool ok;

	if (!place_parse(work->job, &place, err))
		return false;
	c = open_session(work, place.part_url, &cred, text, err);
	ok = c != NULL && transfer(c, work, &place, text, err);
	curl_easy_cleanup(c);
	credential_wipe(&cred);
	return ok;
}

static bool
sftp_look(
    const struct target_work *work, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	char text[CURL_ERROR_SIZE];
	struct sftp_place place;
	struct credential cred;
	CURL *c;
	bool ok;

	if (!place_parse(work->job, &place, err))
		return false;
	c = open_session(work, work->job->write_url, &cred, text, err);
	ok = c != NULL && fetch_curl(c, work->job->write_url, text, max, sink, err);
	curl_easy_cleanup(c);
	credential_wipe(&cred);
	return ok;
}

const struct target_driver target_sftp = {"sftp", sftp_put, sftp_look};
