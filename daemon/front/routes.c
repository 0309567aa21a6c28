#include "daemon/front/routes.h"

#include <string.h>

#include "daemon/front/front_int.h"
#include "daemon/front/http_field.h"

#define JSON "application/json"
#define PEM "application/x-pem-file"

/* A -delta.crl stands before .crl, because the first that fits is taken. */
const struct route routes[] = {
    {"GET", "/crl/{ca}-delta.crl", DOORS_ALL, distribution_delta, 0, 200, "application/pkix-crl", 0,
	{{"ca", PARAM_TEXT}}},
    {"GET", "/crl/{ca}.crl", DOORS_ALL, distribution_crl, 0, 200, "application/pkix-crl", 0,
	{{"ca", PARAM_TEXT}}},
    {"GET", "/aia/{ca}.cer", DOORS_ALL, distribution_certificate, 0, 200, "application/pkix-cert",
	0, {{"ca", PARAM_TEXT}}},
    {"GET", "/aia/{ca}.pem", DOORS_ALL, distribution_chain_pem, 0, 200, PEM, 0,
	{{"ca", PARAM_TEXT}}},
    {"GET", "/aia/{ca}.p7c", DOORS_ALL, distribution_chain_cms, 0, 200,
	"application/pkcs7-mime; smime-type=certs-only", 0, {{"ca", PARAM_TEXT}}},
    {"GET", "/", DOORS_ALL, distribution_index, 0, 200, "text/html; charset=utf-8", 0, {{0}}},

    {"GET", "/metrics", DOORS_API | HTTP_DOOR_METRICS, metrics_scrape, FRONT_METRICS, 200,
	"text/plain; version=0.0.4; charset=utf-8", 0, {{0}}},
    {"GET", "/v1/status", DOORS_API, api_ask, FRONT_STATUS, 200, JSON, 0, {{0}}},
    {"GET", "/v1/tokens", DOORS_API, api_ask, FRONT_TOKENS, 200, JSON, 0, {{0}}},
    {"GET", "/v1/tokens/{token}/reseed", DOORS_API, api_ask, FRONT_RESEED, 200, JSON, 0,
	{{"token", PARAM_TEXT}, {"signer", PARAM_INT}}},
    {"POST", "/v1/tokens/{token}/pin", DOORS_API, api_pin_enter, FRONT_PIN_ENTER, 202, JSON,
	ROUTE_BODY_MAX, {{"token", PARAM_TEXT}}},
    {"GET", "/v1/pin/operations", DOORS_API, api_ask, FRONT_PIN_OPERATIONS, 200, JSON, 0,
	{{"token", PARAM_TEXT}, {"limit", PARAM_LIMIT}, {"after", PARAM_TEXT}}},
    {"GET", "/v1/pin/operations/{id}/tbs", DOORS_API, api_ask, FRONT_PIN_TBS, 200, JSON, 0,
	{{"id", PARAM_TEXT}, {"piece", PARAM_INT}}},
    {"GET", "/v1/pin/entries/{id}", DOORS_API, api_ask, FRONT_PIN_ENTRY, 200, JSON, 0,
	{{"id", PARAM_TEXT}}},
    {"GET", "/v1/openapi.yaml", DOORS_API, api_openapi, 0, 200, "application/yaml", 0, {{0}}},

    {"GET", "/v1/cas", DOORS_API, api_ask, FRONT_CAS, 200, JSON, 0,
	{{"limit", PARAM_LIMIT}, {"after", PARAM_TEXT}}},
    {"GET", "/v1/cas/{name}", DOORS_API, api_ask, FRONT_CA, 200, JSON, 0, {{"name", PARAM_TEXT}}},
    {"GET", "/v1/cas/{name}/csr", DOORS_API, api_ask, FRONT_CA_CSR, 200, PEM, 0,
	{{"name", PARAM_TEXT}}},
    {"GET", "/v1/cas/{name}/chain", DOORS_API, api_ask, FRONT_CA_CHAIN, 200, PEM, 0,
	{{"name", PARAM_TEXT}, {"cka_id", PARAM_TEXT}}},
    {"GET", "/v1/cas/{name}/crls", DOORS_API, api_ask, FRONT_CA_CRLS, 200, JSON, 0,
	{{"name", PARAM_TEXT}, {"limit", PARAM_LIMIT}, {"after", PARAM_NUMBER}}},
    {"GET", "/v1/cas/{name}/valid", DOORS_API, api_ask, FRONT_CA_VALID, 200, JSON, 0,
	{{"name", PARAM_TEXT}}},
    {"GET", "/v1/cas/{name}/limits", DOORS_API, api_ask, FRONT_CA_LIMITS, 200, JSON, 0,
	{{"name", PARAM_TEXT}, {"version", PARAM_INT}, {"key", PARAM_TEXT}}},

    {"GET", "/v1/forecast", DOORS_API, api_ask, FRONT_FORECAST, 200, JSON, 0, {{"ca", PARAM_TEXT}}},

    {"GET", "/v1/templates", DOORS_API, api_ask, FRONT_TEMPLATES, 200, JSON, 0,
	{{"limit", PARAM_LIMIT}, {"after", PARAM_TEXT}}},
    {"GET", "/v1/templates/{name}", DOORS_API, api_ask, FRONT_TEMPLATE, 200, JSON, 0,
	{{"name", PARAM_TEXT}, {"version", PARAM_INT}}},
    {"GET", "/v1/operators", DOORS_API, api_ask, FRONT_OPERATORS, 200, JSON, 0,
	{{"limit", PARAM_LIMIT}, {"after", PARAM_TEXT}}},

    {"POST", "/v1/requests", DOORS_API, api_submit, FRONT_SUBMIT, 201, JSON, ROUTE_BODY_MAX, {{0}}},
    {"GET", "/v1/requests", DOORS_API, api_ask, FRONT_REQUESTS, 200, JSON, 0,
	{{"state", PARAM_TEXT}, {"ca", PARAM_TEXT}, {"limit", PARAM_LIMIT}, {"after", PARAM_TEXT}}},
    {"GET", "/v1/requests/{id}", DOORS_API, api_ask_wait, FRONT_REQUEST, 200, JSON, 0,
	{{"id", PARAM_TEXT}, {"wait", PARAM_WAIT}}},
    {"POST", "/v1/requests/{id}/withdraw", DOORS_API, api_post, FRONT_WITHDRAW, 200, JSON, 1024,
	{{"id", PARAM_TEXT}}},
    {"GET", "/v1/requests/{id}/certificate", DOORS_API, api_ask, FRONT_REQUEST_CERTIFICATE, 200,
	PEM, 0, {{"id", PARAM_TEXT}}},

    {"GET", "/v1/certificates", DOORS_API, api_ask, FRONT_CERTIFICATES, 200, JSON, 0,
	{{"ca", PARAM_TEXT}, {"serial", PARAM_TEXT}, {"sha256", PARAM_TEXT}, {"limit", PARAM_LIMIT},
	    {"after", PARAM_TEXT}}},
    {"GET", "/v1/certificates/{id}", DOORS_API, api_ask, FRONT_CERTIFICATE, 200, JSON, 0,
	{{"id", PARAM_TEXT}}},
    {"GET", "/v1/certificates/{id}/pem", DOORS_API, api_ask, FRONT_CERTIFICATE_PEM, 200, PEM, 0,
	{{"id", PARAM_TEXT}, {"chain", PARAM_FLAG}}},

    {"POST", "/v1/decisions", DOORS_API, api_decide, FRONT_DECIDE, 202, JSON, ROUTE_BODY_MAX,
	{{0}}},
    {"GET", "/v1/decisions", DOORS_API, api_ask, FRONT_DECISIONS, 200, JSON, 0,
	{{"state", PARAM_TEXT}, {"limit", PARAM_LIMIT}, {"after", PARAM_TEXT}}},
    {"POST", "/v1/decisions/{id}/signatures", DOORS_API, api_sign, FRONT_SIGN, 202, JSON, 8192,
	{{"id", PARAM_TEXT}}},
    {"POST", "/v1/decisions/{id}/withdraw", DOORS_API, api_post, FRONT_WITHDRAW_DECISION, 200, JSON,
	1024, {{"id", PARAM_TEXT}}},
    {"GET", "/v1/decisions/{id}", DOORS_API, api_ask_wait, FRONT_DECISION, 200, JSON, 0,
	{{"id", PARAM_TEXT}, {"wait", PARAM_WAIT}}},

    {"GET", "/v1/publications", DOORS_API, api_ask, FRONT_PUBLICATIONS, 200, JSON, 0,
	{{"ca", PARAM_TEXT}, {"limit", PARAM_LIMIT}, {"after", PARAM_NUMBER}}},
    {"POST", "/v1/publications/{id}/retry", DOORS_API, api_post, FRONT_PUBLICATION_RETRY, 200, JSON,
	1024, {{"id", PARAM_NUMBER}}},
    {"POST", "/v1/cas/{name}/entries", DOORS_API, api_post, FRONT_PUBLISH_ENTRIES, 200, JSON, 1024,
	{{"name", PARAM_TEXT}}},
    {"POST", "/v1/clock/confirm", DOORS_API, api_post, FRONT_CLOCK_CONFIRM, 200, JSON, 1024, {{0}}},
    {"POST", "/v1/looks", DOORS_API, api_look, FRONT_LOOK, 202, JSON, 8192, {{0}}},
    {"GET", "/v1/looks/{id}", DOORS_API, api_ask, FRONT_LOOK_RESULT, 200, JSON, 0,
	{{"id", PARAM_TEXT}}},
};
const size_t route_count = COUNT_OF(routes);

/* One segment of a path against one of a pattern; a {name} in it is taken down. */
static bool
match_segment(const char *pattern, size_t pattern_len, const char *segment, size_t len,
    struct route_values *values)
{
	const char *open = memchr(pattern, '{', pattern_len), *close;
	size_t prefix, suffix;

	if (open == NULL)
		return pattern_len == len && memcmp(pattern, segment, len) == 0;
	close = memchr(open, '}', pattern_len - (size_t)(open - pattern));
	prefix = (size_t)(open - pattern);
	suffix = pattern_len - (size_t)(close + 1 - pattern);
	if (len <= prefix + suffix || memcmp(pattern, segment, prefix) != 0 ||
	    memcmp(close + 1, segment + len - suffix, suffix) != 0)
		return false;
	values->name[values->count] = open + 1;
	return http_percent_decode(segment + prefix, len - prefix - suffix, false,
	    values->value[values->count++], ROUTE_VALUE_SIZE);
}

static bool
match_path(const char *pattern, const char *path, struct route_values *values)
{
	values->count = 0;
	for (;;) {
		size_t pattern_len = strcspn(pattern, "/"), len = strcspn(path, "/");

		if (!match_segment(pattern, pattern_len, path, len, values))
			return false;
		pattern += pattern_len;
		path += len;
		if (*pattern == '\0' || *path == '\0')
			return *pattern == *path;
		pattern++;
		path++;
	}
}

enum route_found
route_find(
    const char *method, const char *path, const struct route **route, struct route_values *values)
{
	const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
	enum route_found found = ROUTE_NO_PATH;

	for (size_t i = 0; i < route_count; i++) {
		struct route_values v;

		if (!match_path(routes[i].path, path, &v))
			continue;
		*route = &routes[i];
		if (strcmp(routes[i].method, wanted) == 0) {
			*values = v;
			return ROUTE_FOUND;
		}
		found = ROUTE_NO_METHOD;
	}
	return found;
}
