#include "daemon/publish/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/publish/file_place.h"
#include "daemon/publish/http_session.h"
#include "daemon/publish/ldap_session.h"

#define READ_BUFFER 65536

struct flow {
	const char *url;
	const struct fetch_sink *sink;
	uint64_t len, max;  /* of the value that is coming */
	struct error error; /* why the sink took no more */
};

static bool
give(struct flow *f, const void *p, size_t len)
{
	if (len > f->max - f->len)
		return error_set(&f->error, ERROR_LIMIT,
		    "what stands at %s is longer than %llu octets", f->url,
		    (unsigned long long)f->max);
	f->len += len;
	return f->sink->data(p, len, f->sink->arg, &f->error);
}

static bool
end_value(struct flow *f, bool *enough)
{
	*enough = false;
	f->len = 0;
	return f->sink->end(enough, f->sink->arg, &f->error);
}

/* Why the sink took no more comes before what became of the transfer. */
static bool
settle(const struct flow *f, bool ok, struct error *err)
{
	if (!ok && error_is_set(&f->error))
		*err = f->error;
	return ok;
}

static bool
read_path(const char *path, struct flow *f, struct error *err)
{
	char buf[READ_BUFFER];
	bool ok = true;
	ssize_t n;
	int fd;

	/* O_NONBLOCK: somebody's FIFO must not hold us up. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set_errno(
		    err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE, "reading %s", path);
	while (ok && (n = read(fd, buf, sizeof buf)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ok = error_set_errno(err, ERROR_SYSTEM, "reading %s", path);
		else
			ok = give(f, buf, (size_t)n);
	}
	(void)close(fd);
	return ok && end_value(f, &(bool){false});
}

bool
fetch_file(const char *path, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	struct flow f = {.url = path, .sink = sink, .max = max};

	return settle(&f, read_path(path, &f, err), err);
}

static bool
read_file(const struct target_work *work, struct flow *f, struct error *err)
{
	char path[PUBLISH_URL_MAX];

	return file_place_parse(work->job->read_url, path, sizeof path, err) &&
	       read_path(path, f, err);
}

static size_t
body_write(char *data, size_t size, size_t count, void *arg)
{
	return give(arg, data, size * count) ? size * count : 0;
}

static bool
get(CURL *c, const char *url, struct flow *f, const char *text, struct error *err)
{
	long status = 0;
	CURLcode rc;

	if (curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, body_write) != CURLE_OK ||
	    curl_easy_setopt(c, CURLOPT_WRITEDATA, f) != CURLE_OK)
		return error_set(err, ERROR_SYSTEM, "preparing the GET of %s", url);
	rc = curl_easy_perform(c);
	if (error_is_set(&f->error))
		return false;
	if (rc != CURLE_OK)
		return http_session_failed(err, "GET", url, rc, text);
	if (curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status) != CURLE_OK)
		return error_set(err, ERROR_INTERNAL, "GET %s: no status", url);
	return (strncasecmp(url, "http", 4) != 0 || http_status_ok(err, "GET", url, status)) &&
	       end_value(f, &(bool){false});
}

bool
fetch_curl(CURL *c, const char *url, const char *text, uint64_t max, const struct fetch_sink *sink,
    struct error *err)
{
	struct flow f = {.url = url, .sink = sink, .max = max};

	return settle(&f, get(c, url, &f, text, err), err);
}

static bool
read_http(const struct target_work *work, struct flow *f, struct error *err)
{
	char text[CURL_ERROR_SIZE];
	struct http_place place;
	CURL *c;
	bool ok;

	if (!http_place_parse(work->job, work->job->read_url, false, &place, err) ||
	    (c = http_session_new(work, place.url, text, err)) == NULL)
		return false;
	ok = get(c, work->job->read_url, f, text, err);
	curl_easy_cleanup(c);
	return ok;
}

static bool
give_values(struct berval **values, struct flow *f)
{
	bool enough = false;

	for (size_t i = 0; values[i] != NULL && !enough; i++) {
		if (!give(f, values[i]->bv_val, values[i]->bv_len) || !end_value(f, &enough))
			return false;
	}
	return true;
}

static bool
read_values(const struct target_work *work, LDAP *ld, const struct ldap_place *place,
    struct flow *f, struct error *err)
{
	struct berval **values = NULL;
	char text[ERROR_TEXT_MAX];
	int rc = ldap_session_read(
	    work, ld, place->dn, place->attribute, &values, text, sizeof text);
	bool ok = false;

	if (rc != LDAP_SUCCESS)
		ldap_session_failed(work, err, "reading back", place->dn, rc, text);
	else if (values == NULL || values[0] == NULL)
		error_set(err, ERROR_NOT_FOUND, "%s shows no %s to clients; let them read it",
		    place->dn, place->attribute);
	else
		ok = give_values(values, f);
	if (values != NULL)
		ldap_value_free_len(values);
	return ok;
}

bool
fetch_ldap(const struct target_work *work, LDAP *ld, const struct ldap_place *place, uint64_t max,
    const struct fetch_sink *sink, struct error *err)
{
	struct flow f = {.url = place->dn, .sink = sink, .max = max};

	return settle(&f, read_values(work, ld, place, &f, err), err);
}

static bool
read_ldap(const struct target_work *work, struct flow *f, struct error *err)
{
	const struct ldap_identity nobody = {.dn = "", .password = ""};
	struct ldap_place place;
	LDAP *ld = NULL;
	bool ok;

	if (!ldap_place_parse(work->job->read_url, work->job, TARGET_TLS_NONE, &place, err) ||
	    !ldap_session_open(work, &place, false, &nobody, &ld, err))
		return false;
	ok = read_values(work, ld, &place, f, err);
	ldap_session_close(ld);
	return ok;
}

static bool
has_scheme(const char *url, const char *one, const char *other)
{
	return strncasecmp(url, one, strlen(one)) == 0 ||
	       strncasecmp(url, other, strlen(other)) == 0;
}

bool
fetch_read(
    const struct target_work *work, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	struct flow f = {.url = work->job->read_url, .sink = sink, .max = max};
	bool ok;

	if (has_scheme(f.url, "ldap:", "ldaps:"))
		ok = read_ldap(work, &f, err);
	else if (has_scheme(f.url, "http:", "https:"))
		ok = read_http(work, &f, err);
	else
		ok = read_file(work, &f, err);
	return settle(&f, ok, err);
}
