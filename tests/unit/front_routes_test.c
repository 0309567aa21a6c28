#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/front/routes.h"

static const char *
find(const char *method, const char *path, struct route_values *values)
{
	const struct route *r;

	switch (route_find(method, path, &r, values)) {
	case ROUTE_FOUND:
		return r->path;
	case ROUTE_NO_METHOD:
		return "no method";
	default:
		return "no path";
	}
}

static void
test_find(void **state)
{
	struct route_values v;
	(void)state;

	assert_string_equal(find("GET", "/v1/cas", &v), "/v1/cas");
	assert_string_equal(find("HEAD", "/v1/cas", &v), "/v1/cas");
	assert_string_equal(find("GET", "/v1/cas/a%2Fb", &v), "/v1/cas/{name}");
	assert_string_equal(v.value[0], "a/b");
	assert_string_equal(
	    find("POST", "/v1/requests/x/withdraw", &v), "/v1/requests/{id}/withdraw");
	assert_string_equal(v.value[0], "x");
	assert_string_equal(find("GET", "/crl/a.b-delta.crl", &v), "/crl/{ca}-delta.crl");
	assert_string_equal(v.value[0], "a.b");
	assert_string_equal(find("GET", "/crl/a.crl", &v), "/crl/{ca}.crl");
	assert_string_equal(v.value[0], "a");
	assert_string_equal(find("POST", "/v1/cas", &v), "no method");
	assert_string_equal(find("get", "/v1/cas", &v), "no method");
	assert_string_equal(find("GET", "/v1/cas/", &v), "no path");
	assert_string_equal(find("GET", "/v1/cas/%00", &v), "no path");
	assert_string_equal(find("GET", "/v1/cas/%4", &v), "no path");
	assert_string_equal(find("GET", "/v1//cas", &v), "no path");
	assert_string_equal(find("GET", "v1/cas", &v), "no path");
	assert_string_equal(find("GET", "/crl/.crl", &v), "no path");
	assert_string_equal(find("GET", "/crl/a.crl/", &v), "no path");
	assert_string_equal(find("OPTIONS", "*", &v), "no path");
	assert_string_equal(find("GET", "/", &v), "/");
	assert_string_equal(find("GET", "/x", &v), "no path");
}

/* The document's lines "  /path:" and, below them, "    get:" or "    post:". */
static size_t
documented(bool (*each)(const char *path, size_t path_len, const char *method))
{
	const char *path = NULL;
	size_t path_len = 0, count = 0, len;

	for (const char *line = openapi_text; line < openapi_text + openapi_text_len;
	     line += len + 1) {
		len = strcspn(line, "\n");
		if (len > 4 && strncmp(line, "  /", 3) == 0 && line[len - 1] == ':') {
			path = line + 2;
			path_len = len - 3;
		} else if (path != NULL &&
			   (strncmp(line, "    get:", len) == 0 ||
			       strncmp(line, "    post:", len) == 0) &&
			   len > 4) {
			count++;
			if (!each(path, path_len, line[4] == 'g' ? "GET" : "POST"))
				fail_msg("not a route: %.*s", (int)path_len, path);
		}
	}
	return count;
}

static bool
is_route(const char *path, size_t path_len, const char *method)
{
	for (size_t i = 0; i < route_count; i++)
		if (strlen(routes[i].path) == path_len &&
		    memcmp(routes[i].path, path, path_len) == 0 &&
		    strcmp(routes[i].method, method) == 0)
			return true;
	return false;
}

/* Every route is in the document, and everything in the document is a route. */
static void
test_openapi(void **state)
{
	(void)state;
	assert_int_equal(documented(is_route), route_count);
	for (size_t i = 0; i < route_count; i++)
		for (size_t j = 0; j < i; j++)
			assert_false(strcmp(routes[i].path, routes[j].path) == 0 &&
				     strcmp(routes[i].method, routes[j].method) == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_find),
	    cmocka_unit_test(test_openapi),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
