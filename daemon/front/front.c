#include "daemon/front/front.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/front/confine.h"
#include "daemon/front/disk_cache.h"
#include "daemon/front/front_int.h"
#include "daemon/front/tls.h"

#define DESCRIPTORS_OWN 40 /* of the log, the event loop, the databases, the listeners */
#define DOOR_MIN 4	   /* connections at once, however few descriptors there are */
#define PUBLIC_IN_FLIGHT_MAX 1024

/* The role, with what it must find again when the configuration is read anew. */
struct main_front {
	struct front f;
	const char *config_path;
	struct config config; /* the last one that was read again */
	struct http_limits limits;
};

/* --------------------------------------------------------------- requests */

static bool
is_distribution(const struct route *r)
{
	return (r->doors & HTTP_DOOR_HTTP) != 0;
}

/* A browser adds its client certificate to what any page makes it send, and
 * says in Origin which page that was (RFC 6454 7). */
static bool
is_foreign_page(const struct http_request *r)
{
	const char *origin = http_request_field(r, "Origin");

	if (origin == NULL || strcmp(r->method, "POST") != 0)
		return false;
	return strncasecmp(origin, "https://", 8) != 0 || r->host == NULL ||
	       strcasecmp(origin + 8, r->host) != 0;
}

/* Finds the route, and refuses before a body is read what needs none for it. */
static size_t
on_head(struct http_exchange *x, void *arg)
{
	struct front *f = arg;
	const struct http_request *r = http_exchange_request(x);
	const struct http_peer *peer = http_exchange_peer(x);
	struct call *call = calloc(1, sizeof(*call));

	if (call == NULL) {
		http_reply_error(x, 503, NULL, "There is no memory for the request.");
		return 0;
	}
	http_exchange_set_data(x, call);
	call->front = f;
	call->x = x;
	switch (route_find(r->method, r->path, &call->route, &call->values)) {
	case ROUTE_NO_PATH:
		http_reply_error(x, 404, NULL, "There is nothing at this path.");
		return 0;
	case ROUTE_NO_METHOD:
		http_reply_field(x, "Allow", "%s",
		    strcmp(call->route->method, "GET") == 0 ? "GET, HEAD" : call->route->method);
		http_reply_error(x, 405, NULL, "This path is not for the method %s.", r->method);
		return 0;
	default:
		break;
	}
	if ((call->route->doors & peer->door) == 0) {
		http_reply_error(
		    x, 403, NULL, "The API is served at the Unix socket and over HTTPS only.");
		return 0;
	}
	if (is_foreign_page(r)) {
		http_reply_error(x, 403, NULL, "A web page of another site sends this.");
		return 0;
	}
	if (!is_distribution(call->route) && peer->door != HTTP_DOOR_METRICS &&
	    peer->identity[0] == '\0') {
		http_reply_error(x, 401, NULL, "A client certificate is needed here.");
		return 0;
	}
	return call->route->body_max;
}

static void
on_request(struct http_exchange *x, void *arg)
{
	struct call *call = http_exchange_data(x);

	call->route->handle(call);
}

static const struct http_handler handler = {on_head, on_request};

/* --------------------------------------------------------------- database */

static void
on_db_up(struct db *db, void *arg)
{
	struct front *f = arg;

	log_info("-", "connected to the database");
	role_status(f->role, "serves");
}

static void
on_db_down(struct db *db, const struct error *why, void *arg)
{
	struct front *f = arg;

	log_failure(LOG_LEVEL_WARNING, "-", why);
	role_status(f->role, "serves cached artifacts only: the database is away");
}

/* ------------------------------------------------------------------- role */

static void
on_listener(const char *kind, unsigned index, int fd, void *arg)
{
	struct main_front *m = arg;
	enum http_door door = strcmp(kind, "unix") == 0	     ? HTTP_DOOR_UNIX
			      : strcmp(kind, "http") == 0    ? HTTP_DOOR_HTTP
			      : strcmp(kind, "metrics") == 0 ? HTTP_DOOR_METRICS
							     : HTTP_DOOR_HTTPS;
	struct error err = ERROR_INIT;

	if (!http_server_listen(m->f.server, door, door == HTTP_DOOR_HTTPS ? index : 0, fd, &err))
		log_failure(LOG_LEVEL_ERROR, kind, &err);
}

/* Until when it is good, for who watches. */
static void
note_certificate(struct front *f, size_t i, const char *listen, SSL_CTX *ctx)
{
	const X509 *certificate = SSL_CTX_get0_certificate(ctx);
	struct tm tm = {0};

	if (i >= COUNT_OF(f->tls) || certificate == NULL ||
	    ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
		return;
	(void)snprintf(f->tls[i].listen, sizeof f->tls[i].listen, "%s", listen);
	f->tls[i].not_after = (int64_t)timegm(&tm);
	if (f->tls_count <= i)
		f->tls_count = i + 1;
}

/* A pair of files that cannot be used leaves the one that was loaded before. */
static void
load_tls(struct main_front *m, const struct config *config)
{
	for (size_t i = 0; i < config->front.https_count; i++) {
		const struct config_https *h = &config->front.https[i];
		struct error err = ERROR_INIT;
		SSL_CTX *ctx = tls_context_new(h->certificate, h->key, &err);

		if (ctx != NULL) {
			note_certificate(&m->f, i, h->listen.text, ctx);
			http_server_set_tls(m->f.server, (unsigned)i, ctx);
		} else {
			log_failure(LOG_LEVEL_ERROR, h->listen.text, &err);
			role_status(m->f.role, "https %s: %s", h->listen.text, err.text);
		}
	}
}

static void
on_reload(void *arg)
{
	struct main_front *m = arg;
	struct error err = ERROR_INIT;
	struct config config = {0};

	if (!config_load_for_role(m->config_path, &config, &err)) {
		log_failure(LOG_LEVEL_ERROR, "-", &err);
		return;
	}
	log_init("front", config.log_level);
	load_tls(m, &config);
	config_free(&m->config);
	m->config = config;
	log_info("-", "configuration and TLS certificates are read again");
}

static void
on_process(const char *text, void *arg)
{
	struct main_front *m = arg;
	struct error err = ERROR_INIT;

	if (!processes_take(&m->f.processes, text, &err))
		log_failure(LOG_LEVEL_ERROR, "-", &err);
}

static void
on_drained(void *arg)
{
	struct front *f = arg;

	role_stop(f->role, 0);
}

static void
on_drain(void *arg)
{
	struct main_front *m = arg;

	http_server_drain(m->f.server, on_drained, &m->f);
	waiting_flush(m->f.waiting);
}

static const struct role_callbacks callbacks = {.on_listener = on_listener,
    .on_process = on_process,
    .on_reload = on_reload,
    .on_drain = on_drain};

/* Every connection is a descriptor: where fewer are allowed, each door gets its
 * share of them, so that a crowd at one never takes those of the others, or of
 * the database. */
static void
fit_descriptors(struct http_limits *limits)
{
	struct rlimit limit;
	rlim_t wanted = 0, room;

	*limits = http_limits_default;
	for (size_t i = 0; i < HTTP_DOORS; i++)
		wanted += limits->connections[i];
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
		(void)getrlimit(RLIMIT_NOFILE, &limit);
	}
	room = limit.rlim_cur > DESCRIPTORS_OWN ? limit.rlim_cur - DESCRIPTORS_OWN : 0;
	if (room >= wanted)
		return;
	for (size_t i = 0; i < HTTP_DOORS; i++) {
		limits->connections[i] = (unsigned)(limits->connections[i] * room / wanted);
		if (limits->connections[i] < DOOR_MIN)
			limits->connections[i] = DOOR_MIN;
	}
	log_warning("-",
	    "only %llu descriptors are allowed (RLIMIT_NOFILE): connections at once are limited to "
	    "%u at the Unix socket, %u over HTTP and %u over HTTPS",
	    (unsigned long long)limit.rlim_cur, limits->connections[0], limits->connections[1],
	    limits->connections[2]);
}

static bool
front_start(struct main_front *m, const struct config *config, int control_fd, struct error *err)
{
	static const struct db_options options = {
	    .application = "chancery front", .check_schema = true};
	static const struct db_options public_options = {.application = "chancery distribution",
	    .in_flight_max = PUBLIC_IN_FLIGHT_MAX,
	    .check_schema = true};
	static const struct db_callbacks db_callbacks = {on_db_up, on_db_down};
	struct front *f = &m->f;

	f->role = role_new("front", control_fd, &callbacks, m, err);
	if (f->role == NULL)
		return false;
	f->base = role_base(f->role);
	disk_cache_attach(f->disk, f);
	f->db = db_open(f->base, config->database_front, &options, &db_callbacks, f, err);
	f->public_db = db_open(f->base, config->database_front, &public_options, NULL, f, err);
	if (f->db == NULL || f->public_db == NULL)
		return false;
	f->waiting = waiting_new(f, err);
	f->distribution = distribution_new(f, err);
	f->server = http_server_new(f->base, &m->limits, &handler, f, err);
	if (f->waiting == NULL || f->distribution == NULL || f->server == NULL)
		return false;
	load_tls(m, config);
	return true;
}

static void
front_stop(struct front *f)
{
	http_server_free(f->server);
	/* The last answers come here: the two below must still be there. */
	db_close(f->db);
	db_close(f->public_db);
	waiting_free(f->waiting);
	distribution_free(f->distribution);
	disk_cache_free(f->disk);
	role_free(f->role);
}

int
front_main(const struct config *config, int control_fd)
{
	struct main_front m = {.config_path = config->path};
	struct error err = ERROR_INIT;
	int status = 1;

	fit_descriptors(&m.limits);
	if ((m.f.disk = disk_cache_open(config->state_dir, &err)) != NULL &&
	    confine_front(config, &err) && front_start(&m, config, control_fd, &err)) {
		role_ready(m.f.role);
		status = role_run(m.f.role);
	} else {
		log_failure(LOG_LEVEL_ERROR, "-", &err);
	}
	front_stop(&m.f);
	config_free(&m.config);
	return status;
}
