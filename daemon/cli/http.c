#include "daemon/cli/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#define PATH_MAX_OCTETS 4096

struct http {
	CURL *curl;
	char base[PATH_MAX_OCTETS / 2];	 /* "http://localhost" or the given URL */
	char where[PATH_MAX_OCTETS / 2]; /* for sentences */
	char reason[CURL_ERROR_SIZE];
};

struct answer {
	char *text; /* NUL-terminated */
	size_t len;
	bool too_long;
};

void
http_close(struct http *h)
{
	if (h == NULL)
		return;
	curl_easy_cleanup(h->curl);
	free(h);
}

static bool
choose_url(struct http *h, const struct options *o, struct error *e)
{
	const char *url = o->value[OPTION_URL];

	if (strncmp(url, "https://", 8) != 0)
		return error_set(e, ERROR_USAGE,
		    "--url begins with https:// (the API is not served without TLS)");
	if (o->value[OPTION_CLIENT_CERT] == NULL || o->value[OPTION_CLIENT_KEY] == NULL)
		return error_set(e, ERROR_USAGE, "--url needs --client-cert and --client-key");
	(void)snprintf(h->base, sizeof h->base, "%s", url);
	(void)snprintf(h->where, sizeof h->where, "%s", url);
	if (h->base[strlen(h->base) - 1] == '/')
		h->base[strlen(h->base) - 1] = '\0';
	curl_easy_setopt(h->curl, CURLOPT_SSLCERT, o->value[OPTION_CLIENT_CERT]);
	curl_easy_setopt(h->curl, CURLOPT_SSLKEY, o->value[OPTION_CLIENT_KEY]);
	if (o->value[OPTION_CA_FILE] != NULL)
		curl_easy_setopt(h->curl, CURLOPT_CAINFO, o->value[OPTION_CA_FILE]);
	return true;
}

static void
choose_socket(struct http *h, const struct options *o)
{
	const char *path = o->value[OPTION_SOCKET];

	if (path == NULL)
		path = getenv("CHANCERY_SOCKET");
	if (path == NULL)
		path = HTTP_SOCKET_DEFAULT;
	(void)snprintf(h->base, sizeof h->base, "http://localhost");
	(void)snprintf(h->where, sizeof h->where, "%s", path);
	curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, path);
}

struct http *
http_open(const struct options *options, struct error *e)
{
	struct http *h = calloc(1, sizeof *h);

	if (h == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
	    (h->curl = curl_easy_init()) == NULL) {
		error_set(e, ERROR_SYSTEM, "libcurl cannot be started");
		http_close(h);
		return NULL;
	}
	curl_easy_setopt(h->curl, CURLOPT_ERRORBUFFER, h->reason);
	curl_easy_setopt(h->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h->curl, CURLOPT_TIMEOUT, (long)HTTP_TIMEOUT_S);
	curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h->curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(h->curl, CURLOPT_PROXY, "");
	if (options->value[OPTION_URL] == NULL) {
		choose_socket(h, options);
	} else if (!choose_url(h, options, e)) {
		http_close(h);
		return NULL;
	}
	return h;
}

bool
http_escape(const char *text, char *out, size_t size)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t at = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= '0' && *p <= '9') || strchr("-._~", *p) != NULL;

		if (at + 4 > size)
			return false;
		if (plain) {
			out[at++] = (char)*p;
		} else {
			out[at++] = '%';
			out[at++] = digits[*p >> 4];
			out[at++] = digits[*p & 15];
		}
	}
	out[at] = '\0';
	return true;
}

static size_t
on_data(char *data, size_t size, size_t n, void *arg)
{
	struct answer *a = arg;
	size_t len = size * n;
	char *text;

	if (len > HTTP_ANSWER_MAX - a->len) {
		a->too_long = true;
		return 0;
	}
	text = realloc(a->text, a->len + len + 1);
	if (text == NULL)
		return 0;
	memcpy(text + a->len, data, len);
	a->text = text;
	a->len += len;
	a->text[a->len] = '\0';
	return len;
}

static enum error_code
code_for(long status)
{
	switch (status) {
	case 401:
	case 403:
		return ERROR_DENIED;
	case 404:
		return ERROR_NOT_FOUND;
	case 409:
		return ERROR_CONFLICT;
	case 413:
		return ERROR_LIMIT;
	case 503:
		return ERROR_UNAVAILABLE;
	default:
		return ERROR_INPUT;
	}
}

static bool
refuse(long status, const struct answer *a, struct error *e)
{
	json_t *body = a->text != NULL ? json_loadb(a->text, a->len, 0, NULL) : NULL;
	const char *message = json_string_value(
	    json_object_get(json_object_get(body, "error"), "message"));

	if (message != NULL)
		error_set(e, code_for(status), "%s", message);
	else
		error_set(e, code_for(status), "the service answered with HTTP status %ld", status);
	json_decref(body);
	return false;
}

/* One exchange; body NULL for GET. */
static bool
exchange(struct http *h, const char *path, const char *body, struct answer *a, struct error *e)
{
	char url[PATH_MAX_OCTETS];
	struct curl_slist *headers = NULL;
	long status = 0;
	CURLcode rc;

	if ((size_t)snprintf(url, sizeof url, "%s%s", h->base, path) >= sizeof url)
		return error_set(e, ERROR_USAGE, "a name on the command line is too long");
	curl_easy_setopt(h->curl, CURLOPT_URL, url);
	curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, a);
	if (body != NULL) {
		headers = curl_slist_append(NULL, "Content-Type: application/json");
		headers = curl_slist_append(headers, "Expect:");
		curl_easy_setopt(h->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(h->curl, CURLOPT_POSTFIELDSIZE, (long)strlen(body));
	} else {
		curl_easy_setopt(h->curl, CURLOPT_HTTPGET, 1L);
	}
	curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
	h->reason[0] = '\0';
	rc = curl_easy_perform(h->curl);
	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	if (a->too_long)
		return error_set(
		    e, ERROR_LIMIT, "the answer is longer than %d octets", HTTP_ANSWER_MAX);
	if (rc != CURLE_OK)
		return error_set_foreign(e, ERROR_UNAVAILABLE, ERROR_CURL, curl_easy_strerror(rc),
		    "the service cannot be reached at %s (%s): is chanceryd running, and may you "
		    "open it?",
		    h->where, h->reason[0] != '\0' ? h->reason : curl_easy_strerror(rc));
	return (status >= 200 && status < 300) || refuse(status, a, e);
}

static bool
exchange_json(struct http *h, const char *path, const char *body, json_t **out, struct error *e)
{
	struct answer a = {0};
	bool ok = exchange(h, path, body, &a, e);

	if (ok) {
		*out = a.text != NULL ? json_loadb(a.text, a.len, JSON_DECODE_ANY, NULL) : NULL;
		ok = *out != NULL ||
		     error_set(e, ERROR_INTERNAL, "the service's answer is not JSON");
	}
	free(a.text);
	return ok;
}

bool
http_get(struct http *h, const char *path, json_t **answer, struct error *e)
{
	return exchange_json(h, path, NULL, answer, e);
}

bool
http_post(struct http *h, const char *path, json_t *body, json_t **answer, struct error *e)
{
	char *text = json_dumps(body, JSON_COMPACT);
	bool ok;

	if (text == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a request");
	ok = exchange_json(h, path, text, answer, e);
	free(text);
	return ok;
}

bool
http_get_text(struct http *h, const char *path, char **answer, struct error *e)
{
	struct answer a = {0};

	if (exchange(h, path, NULL, &a, e) && a.text != NULL) {
		*answer = a.text;
		return true;
	}
	free(a.text);
	return error_set(e, ERROR_INTERNAL, "the service's answer is empty");
}
