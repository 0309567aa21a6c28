#ifndef CHANCERY_FRONT_ROUTES_H
#define CHANCERY_FRONT_ROUTES_H

/*
 * The one table of what is served: method, path, door, and how it is answered.
 * daemon/front/openapi.yaml says the same for people, and a test holds the two
 * against each other.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/front/http_server.h"
#include "db/front.h"

#define ROUTE_VALUES_MAX 2	    /* {names} in a path */
#define ROUTE_PARAMS_MAX 6	    /* parameters of a query, in a path or after "?" */
#define ROUTE_VALUE_SIZE 129	    /* octets of a parameter's value, decoded, with its NUL */
#define ROUTE_LIST_MAX 1000	    /* objects on a page of a list */
#define ROUTE_WAIT_MAX_S 60	    /* of ?wait= */
#define ROUTE_BODY_MAX (512 * 1024) /* octets of a JSON document */

#define DOORS_API (HTTP_DOOR_UNIX | HTTP_DOOR_HTTPS)
#define DOORS_ALL (HTTP_DOOR_UNIX | HTTP_DOOR_HTTP | HTTP_DOOR_HTTPS)

struct call;

enum route_param_type {
	PARAM_NONE = 0, /* ends the list */
	PARAM_TEXT,
	PARAM_LIMIT,  /* 1 to ROUTE_LIST_MAX */
	PARAM_NUMBER, /* bigint */
	PARAM_INT,    /* int */
	PARAM_FLAG,   /* 0 or 1 */
	PARAM_WAIT,   /* 0 to ROUTE_WAIT_MAX_S; for the front itself, not for the query */
};

struct route_param {
	const char *name; /* {name} of the path, or name=value of the query */
	enum route_param_type type;
};

struct route {
	const char *method; /* GET also answers HEAD */
	const char *path;   /* a segment may hold one {name}, with a literal suffix */
	unsigned doors;	    /* set of enum http_door */
	void (*handle)(struct call *call);
	enum front_query query;
	int status;	  /* of success */
	const char *type; /* of success: application/json, or PEM in a JSON string */
	size_t body_max;
	struct route_param params[ROUTE_PARAMS_MAX]; /* in the order of the query's */
};

extern const struct route routes[];
extern const size_t route_count;

/* What a path's {names} stand for, in order, decoded. */
struct route_values {
	size_t count;
	const char *name[ROUTE_VALUES_MAX]; /* into the route's path, up to "}" */
	char value[ROUTE_VALUES_MAX][ROUTE_VALUE_SIZE];
};

enum route_found {
	ROUTE_FOUND,
	ROUTE_NO_PATH,
	ROUTE_NO_METHOD, /* *route is one with that path */
};
enum route_found route_find(const char *method, const char *path, const struct route **route,
    struct route_values *values) MUST_CHECK;

/* The OpenAPI document as text. */
extern const char openapi_text[];
extern const uint64_t openapi_text_len; /* octets before its NUL */

#endif
