#ifndef CHANCERY_FRONT_FRONT_INT_H
#define CHANCERY_FRONT_FRONT_INT_H

/* What the files of the front share. */

#include <sys/queue.h>

#include <jansson.h>

#include "daemon/core/role.h"
#include "daemon/front/http_server.h"
#include "daemon/front/processes.h"
#include "daemon/front/routes.h"
#include "db/db.h"
#include "db/front.h"

struct distribution;
struct waiting;

struct front {
	struct role *role;
	struct event_base *base;
	struct db *db;
	/* For the distribution: neither does a crowd there keep the API from the
	 * database, nor a slow question at the API a CRL from its readers. */
	struct db *public_db;
	struct http_server *server;
	struct distribution *distribution;
	struct disk_cache *disk;
	struct waiting *waiting;
	struct processes processes;
	/* The certificates of the HTTPS listeners. */
	struct {
		char listen[64];
		int64_t not_after; /* Unix seconds */
	} tls[CONFIG_LISTENERS_MAX];
	size_t tls_count;
};

/* The database of the distribution, or, as long as that one is not there, the API's. */
static inline struct db *
front_public_db(const struct front *f)
{
	return db_is_up(f->public_db) ? f->public_db : f->db;
}

/* A request that found its route. It belongs to its exchange, which frees it. */
struct call {
	struct front *front;
	struct http_exchange *x;
	const struct route *route;
	struct route_values values;
	struct front_asked *asked; /* in flight */
	/* A client that waits for a change. */
	unsigned wait_s;
	bool in_waiting;
	bool waited; /* enough: the next answer is sent as it is */
	char wait_id[DB_UUID_TEXT_SIZE];
	struct event *wait_timer;
	TAILQ_ENTRY(call) wait_link;
};

/* ---------------------------------------------------------------- call.c */

enum call_value {
	CALL_ABSENT,
	CALL_FOUND,
	CALL_BAD, /* answered with 400 already */
};
/* The value of a parameter of the call's route, from the path or the query. */
enum call_value call_param(
    struct call *call, const char *name, char out[ROUTE_VALUE_SIZE]) MUST_CHECK;

/* Answers with the status that belongs to the error. */
void call_fail(struct call *call, const struct error *err);
/* Answers with the route's status: JSON as it is, or the text in a JSON string. */
void call_answer(struct call *call, const char *json);

/* Adds the route's parameters to those of a query; false: answered with 400. */
bool call_put_params(struct call *call, struct db_params *p) MUST_CHECK;

/* The request's JSON object, with no keys but these (NULL ends them); NULL:
 * answered already. An absent body reads as {}. The caller frees it. */
json_t *call_body(struct call *call, const char *const *keys) MUST_CHECK;

/* The string at key; NULL when it is absent or null. False: answered with 400. */
bool call_string(struct call *call, json_t *body, const char *key, bool required, size_t max,
    const char **out) MUST_CHECK;
/* base64 without white space; out has room for 3/4 of the text. */
bool call_base64(const char *text, uint8_t *out, size_t out_size, size_t *len) MUST_CHECK;

/* Adds who calls, which every query begins with. */
void call_put_identity(struct call *call, struct db_params *p);

/* Sends the query and answers with its result, or waits on. */
void call_ask(struct call *call, struct db_params *p);

/* ----------------------------------------------------------------- api.c */

void api_ask(struct call *call);      /* a query made of the route's parameters */
void api_ask_wait(struct call *call); /* the same, with ?wait= */
void api_post(struct call *call);     /* the same, with a body that says nothing */
void api_submit(struct call *call);
void api_openapi(struct call *call);
void api_look(struct call *call);
/* The database's answer about the service, with this host's processes. */
void api_add_processes(struct call *call, const char *json);

/* ------------------------------------------------------------- metrics.c */

void metrics_scrape(struct call *call);

/* -------------------------------------------------------------- decide.c */

void api_decide(struct call *call);
void api_sign(struct call *call);

/* ----------------------------------------------------------------- pin.c */

void api_pin_enter(struct call *call);

/* ---------------------------------------------------------------- wait.c */

struct waiting *waiting_new(struct front *f, struct error *err) MUST_CHECK;
void waiting_free(struct waiting *w);
/* Holds the call back until its object has settled or wait_s are over; then
 * asks its query anew and answers. id: a UUID as the database writes it. */
void wait_begin(struct call *call, const char *id);
/* The client went away, or the call is answered. */
void wait_end(struct call *call);
/* Everybody is answered now with what there is. */
void waiting_flush(struct waiting *w);
/* The state in which a request or decision is no longer waited for. */
bool wait_is_settled(const char *state) MUST_CHECK;

/* -------------------------------------------------------- distribution.c */

struct distribution *distribution_new(struct front *f, struct error *err) MUST_CHECK;
void distribution_free(struct distribution *d);
void distribution_crl(struct call *call);
void distribution_delta(struct call *call);
void distribution_certificate(struct call *call);

/* ----------------------------------------------------------- public_ca.c */

void distribution_index(struct call *call);	/* a page for people */
void distribution_chain_pem(struct call *call); /* the CA's own certificate first */
void distribution_chain_cms(struct call *call);

#endif
