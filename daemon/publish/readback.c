#include "daemon/publish/readback.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/publish/file_place.h"
#include "daemon/publish/http_session.h"
#include "daemon/publish/ldap_session.h"

#define READ_BUFFER 65536

struct digest {
	EVP_MD_CTX *md;
	uint64_t len, max;
	bool too_long;
};

static bool
digest_start(struct digest *d, uint64_t max, struct error *err)
{
	d->len = 0;
	d->max = max;
	d->too_long = false;
	if (d->md == NULL)
		d->md = EVP_MD_CTX_new();
	if (d->md == NULL || EVP_DigestInit_ex(d->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
	return true;
}

static bool
digest_add(struct digest *d, const void *p, size_t len)
{
	if (len > d->max - d->len) {
		d->too_long = true;
		return false;
	}
	d->len += len;
	return EVP_DigestUpdate(d->md, p, len) == 1;
}

static bool
digest_end(struct digest *d, struct publish_result *result, struct error *err)
{
	result->read_size = d->len;
	if (EVP_DigestFinal_ex(d->md, result->read_sha256, NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "ending a digest");
	return true;
}

static bool
set_too_long(struct error *err, const char *url, const struct digest *d)
{
	return error_set(err, ERROR_LIMIT, "what stands at %s is longer than %llu octets", url,
	    (unsigned long long)d->max);
}

static bool
is_ours(const struct publish_job *job, const struct publish_result *r)
{
	return r->read_size == job->size &&
	       memcmp(r->read_sha256, job->sha256, sizeof job->sha256) == 0;
}

static bool
read_file(const struct target_work *work, struct digest *d, struct error *err)
{
	char path[PUBLISH_URL_MAX], buf[READ_BUFFER];
	bool ok = false;
	ssize_t n;
	int fd;

	if (!file_place_parse(work->job->read_url, path, sizeof path, err))
		return false;
	/* O_NONBLOCK: somebody's FIFO must not hold us up. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set_errno(err, ERROR_NOT_FOUND, "reading back %s", path);
	while ((n = read(fd, buf, sizeof buf)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set_errno(err, ERROR_SYSTEM, "reading back %s", path);
			goto out;
		}
		if (!digest_add(d, buf, (size_t)n)) {
			set_too_long(err, path, d);
			goto out;
		}
	}
	ok = true;
out:
	(void)close(fd);
	return ok;
}

static size_t
body_write(char *data, size_t size, size_t count, void *arg)
{
	return digest_add(arg, data, size * count) ? size * count : 0;
}

static bool
read_http(const struct target_work *work, struct digest *d, struct error *err)
{
	const char *url = work->job->read_url;
	char text[CURL_ERROR_SIZE];
	struct http_place place;
	bool ok = false;
	long status = 0;
	CURL *c = NULL;
	CURLcode rc;

	if (!http_place_parse(work->job, url, false, &place, err))
		return false;
	if ((c = http_session_new(work, place.url, text, err)) == NULL)
		return false;
	if (curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_write) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_WRITEDATA, d) != CURLE_OK) {
		error_set(err, ERROR_SYSTEM, "preparing the GET of %s", url);
		goto out;
	}
	rc = curl_easy_perform(c);
	if (d->too_long) {
		set_too_long(err, url, d);
		goto out;
	}
	if (rc != CURLE_OK) {
		http_session_failed(err, "GET", url, rc, text);
		goto out;
	}
	if (curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK) {
		error_set(err, ERROR_INTERNAL, "GET %s: no status", url);
		goto out;
	}
	if (!http_status_ok(err, "GET", url, status))
		goto out;
	ok = true;
out:
	curl_easy_cleanup(c);
	return ok;
}

/* Digests the values one by one until one is the artifact; what remains in
 * result is the first that differs otherwise. */
static bool
compare_values(const struct target_work *work, struct berval **values, struct digest *d,
    struct publish_result *result, struct error *err)
{
	struct publish_result one;

	for (size_t i = 0; values[i] != NULL; i++) {
		memset(&one, 0, sizeof one);
		if (!digest_start(d, d->max, err))
			return false;
		if (!digest_add(d, values[i]->bv_val, values[i]->bv_len))
			return set_too_long(err, work->job->read_url, d);
		if (!digest_end(d, &one, err))
			return false;
		if (i == 0 || is_ours(work->job, &one)) {
			result->read_size = one.read_size;
			memcpy(result->read_sha256, one.read_sha256, sizeof one.read_sha256);
		}
		if (is_ours(work->job, &one))
			break;
	}
	return true;
}

static bool
read_values(const struct target_work *work, LDAP *ld, const struct ldap_place *place,
    struct digest *d, struct publish_result *result, struct error *err)
{
	char *attributes[] = {(char *)(uintptr_t)place->attribute, NULL};
	char text[ERROR_TEXT_MAX];
	struct berval **values = NULL;
	LDAPMessage *answer = NULL, *entry;
	int msgid = -1, rc;
	bool ok = false;

	rc = ldap_search_ext(ld, place->dn, LDAP_SCOPE_BASE, "(objectClass=*)", attributes, 0, NULL,
	    NULL, NULL, 1, &msgid);
	text[0] = '\0';
	if (rc == LDAP_SUCCESS)
		rc = ldap_session_wait(work, ld, msgid, true, &answer, text, sizeof text);
	if (rc != LDAP_SUCCESS) {
		ldap_session_failed(work, err, "reading back", place->dn, rc, text);
		goto out;
	}
	entry = ldap_first_entry(ld, answer);
	values = entry != NULL ? ldap_get_values_len(ld, entry, place->attribute) : NULL;
	if (values == NULL || values[0] == NULL) {
		error_set(err, ERROR_NOT_FOUND, "%s shows no %s to clients; let them read it",
		    place->dn, place->attribute);
		goto out;
	}
	ok = compare_values(work, values, d, result, err);
out:
	if (values != NULL)
		ldap_value_free_len(values);
	if (answer != NULL)
		(void)ldap_msgfree(answer);
	return ok;
}

static bool
read_ldap(const struct target_work *work, struct digest *d, struct publish_result *result,
    struct error *err)
{
	struct ldap_place place;
	LDAP *ld = NULL;
	bool ok;

	if (!ldap_place_parse(
		work->job->read_url, work->job->artifact, TARGET_TLS_NONE, &place, err))
		return false;
	if (!ldap_session_open(work, &place, false, "", "", 0, &ld, err))
		return false;
	ok = read_values(work, ld, &place, d, result, err);
	ldap_session_close(ld);
	return ok;
}

static bool
is_ldap(const char *url)
{
	return strncasecmp(url, "ldap:", 5) == 0 || strncasecmp(url, "ldaps:", 6) == 0;
}

static bool
is_http(const char *url)
{
	return strncasecmp(url, "http:", 5) == 0 || strncasecmp(url, "https:", 6) == 0;
}

bool
readback_compare(const struct target_work *work, struct publish_result *result, struct error *err)
{
	const struct publish_job *job = work->job;
	struct digest d = {NULL, 0, 0, false};
	bool ok = false;

	if (!digest_start(&d, job->size + READBACK_SLACK, err))
		goto out;
	if (is_ldap(job->read_url)) {
		if (!read_ldap(work, &d, result, err))
			goto out;
	} else {
		if (!(is_http(job->read_url) ? read_http : read_file)(work, &d, err) ||
		    !digest_end(&d, result, err))
			goto out;
	}
	result->outcome = is_ours(job, result) ? PUBLISH_SAME : PUBLISH_DIFFERENT;
	if (result->outcome == PUBLISH_DIFFERENT)
		error_set(&result->error, ERROR_CONFLICT,
		    "%s gives clients something else (%llu octets instead of %llu); does the "
		    "server "
		    "behind it serve what is written to %s?",
		    job->read_url, (unsigned long long)result->read_size,
		    (unsigned long long)job->size, job->write_url);
	ok = true;
out:
	EVP_MD_CTX_free(d.md);
	return ok;
}
