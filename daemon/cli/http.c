#include "daemon/cli/http.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <curl/curl.h>

#include "daemon/core/config.h"

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

/* "https://host:port", and perhaps a path below which the API is. */
static bool
check_url(const char *url, struct error *e)
{
	size_t len = strlen(url);

	if (strncmp(url, "https://", 8) != 0)
		return error_set(e, ERROR_USAGE,
		    "--url begins with https:// (the API is not served without TLS)");
	if (len >= PATH_MAX_OCTETS / 2)
		return error_set(e, ERROR_USAGE, "--url is too long");
	if (url[8] == '\0' || url[8] == '/' || strcspn(url, "?#@ \"\\") != len)
		return error_set(
		    e, ERROR_USAGE, "--url is https://HOST:PORT, without user name or query");
	return true;
}

static bool
choose_url(struct http *h, const struct options *o, struct error *e)
{
	const char *url = o->value[OPTION_URL];
	int fd;

	if (!check_url(url, e))
		return false;
	if (o->value[OPTION_SOCKET] != NULL)
		return error_set(e, ERROR_USAGE, "--url and --socket exclude each other");
	if (o->value[OPTION_CLIENT_CERT] == NULL || o->value[OPTION_CLIENT_KEY] == NULL)
		return error_set(e, ERROR_USAGE, "--url needs --client-cert and --client-key");
	if (!config_open_secret(o->value[OPTION_CLIENT_KEY], &fd, e))
		return error_wrap(e, "--client-key");
	(void)close(fd);
	(void)snprintf(h->base, sizeof h->base, "%s", url);
	(void)snprintf(h->where, sizeof h->where, "%s", url);
	for (size_t len = strlen(h->base); h->base[len - 1] == '/'; len--)
		h->base[len - 1] = '\0';
	curl_easy_setopt(h->curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(h->curl, CURLOPT_SSLCERT, o->value[OPTION_CLIENT_CERT]);
	curl_easy_setopt(h->curl, CURLOPT_SSLKEY, o->value[OPTION_CLIENT_KEY]);
	if (o->value[OPTION_CA_FILE] != NULL)
		curl_easy_setopt(h->curl, CURLOPT_CAINFO, o->value[OPTION_CA_FILE]);
	return true;
}

static bool
choose_socket(struct http *h, const struct options *o, struct error *e)
{
	static const enum option remote[] = {OPTION_CLIENT_CERT, OPTION_CLIENT_KEY, OPTION_CA_FILE};
	const char *path = option_or_variable(o, OPTION_SOCKET, HTTP_SOCKET_VARIABLE);
	struct sockaddr_un address;

	for (size_t i = 0; i < COUNT_OF(remote); i++) {
		if (o->value[remote[i]] != NULL)
			return error_set(e, ERROR_USAGE, "--%s is of use with --url only",
			    option_name(remote[i]));
	}
	if (path == NULL)
		path = HTTP_SOCKET_DEFAULT;
	if (strlen(path) >= sizeof address.sun_path)
		return error_set(e, ERROR_USAGE, "the path of the socket is longer than %zu octets",
		    sizeof address.sun_path - 1);
	(void)snprintf(h->base, sizeof h->base, "http://localhost");
	(void)snprintf(h->where, sizeof h->where, "%s", path);
	curl_easy_setopt(h->curl, CURLOPT_UNIX_SOCKET_PATH, path);
	return true;
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
	if (options->value[OPTION_URL] != NULL ? choose_url(h, options, e)
					       : choose_socket(h, options, e))
		return h;
	http_close(h);
	return NULL;
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
		return status >= 400 && status < 500 ? ERROR_INPUT : ERROR_INTERNAL;
	}
}

static bool
refuse(long status, const struct answer *a, struct error *e)
{
	json_t *body = a->text != NULL ? json_loadb(a->text, a->len, 0, NULL) : NULL;
	const char *message = json_string_value(
	    json_object_get(json_object_get(body, "error"), "message"));

	if (message != NULL && message[0] != '\0')
		error_set(e, code_for(status), "%s", message);
	else
		error_set(e, code_for(status), "the service answered with HTTP status %ld", status);
	json_decref(body);
	return false;
}

static const char *
socket_advice(long number)
{
	switch (number) {
	case ENOENT:
		return "there is no such socket: chanceryd does not run, or serves another one "
		       "(--socket)";
	case ECONNREFUSED:
		return "nobody listens there: chanceryd does not run";
	case EACCES:
	case EPERM:
		return "you may not open it: its mode and group say who may";
	default:
		return NULL;
	}
}

/* Why there is no answer. */
static bool
fail_exchange(struct http *h, CURLcode rc, struct error *e)
{
	const char *reason = h->reason[0] != '\0' ? h->reason : curl_easy_strerror(rc),
		   *advice = NULL;
	long number = 0;

	curl_easy_getinfo(h->curl, CURLINFO_OS_ERRNO, &number);
	switch (rc) {
	case CURLE_OPERATION_TIMEDOUT:
		return error_set_foreign(e, ERROR_TIMEOUT, ERROR_CURL, curl_easy_strerror(rc),
		    "the service at %s did not answer in time (%s)", h->where, reason);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		advice =
		    "whether its certificate is genuine is checked with --ca-file, or else the "
		    "system's roots";
		break;
	case CURLE_SSL_CERTPROBLEM:
		advice = "--client-cert and --client-key are a certificate and its key in PEM";
		break;
	case CURLE_COULDNT_CONNECT:
		advice = socket_advice(number);
		break;
	default:
		break;
	}
	if (advice != NULL && rc == CURLE_COULDNT_CONNECT)
		return error_set_foreign(e, ERROR_UNAVAILABLE, ERROR_CURL, curl_easy_strerror(rc),
		    "the service cannot be reached at %s: %s", h->where, advice);
	return error_set_foreign(e, ERROR_UNAVAILABLE, ERROR_CURL, curl_easy_strerror(rc),
	    "the service cannot be reached at %s (%s)%s%s", h->where, reason,
	    advice != NULL ? ": " : "", advice != NULL ? advice : "");
}

/* TLS writes raise SIGPIPE when the other end is gone; standard output is to
 * keep it. */
static CURLcode
perform(CURL *curl)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
	CURLcode rc;

	(void)sigaction(SIGPIPE, &ignore, &old);
	rc = curl_easy_perform(curl);
	(void)sigaction(SIGPIPE, &old, NULL);
	return rc;
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
	rc = perform(h->curl);
	curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	if (a->too_long)
		return error_set(e, ERROR_LIMIT,
		    "the service's answer is longer than %d octets; a list gets shorter by --limit",
		    HTTP_ANSWER_MAX);
	if (rc != CURLE_OK)
		return fail_exchange(h, rc, e);
	return (status >= 200 && status < 300) || refuse(status, a, e);
}

static bool
exchange_json(struct http *h, const char *path, const char *body, json_t **out, struct error *e)
{
	struct answer a = {0};
	json_t *json = NULL;
	bool ok = exchange(h, path, body, &a, e);

	if (ok) {
		json = a.text != NULL ? json_loadb(a.text, a.len, JSON_REJECT_DUPLICATES, NULL)
				      : NULL;
		ok = json_is_object(json) ||
		     error_set(e, ERROR_INTERNAL, "the service's answer is no JSON object");
	}
	free(a.text);
	if (ok)
		*out = json;
	else
		json_decref(json);
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

	if (exchange(h, path, NULL, &a, e)) {
		if (a.text != NULL && strlen(a.text) == a.len) {
			*answer = a.text;
			return true;
		}
		error_set(e, ERROR_INTERNAL, "the service's answer is no text");
	}
	free(a.text);
	return false;
}
