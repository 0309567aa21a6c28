#ifndef CHANCERY_FRONT_HTTP_SERVER_INT_H
#define CHANCERY_FRONT_HTTP_SERVER_INT_H

/* What http_server.c (listeners), http_connection.c (reading) and http_reply.c
 * (writing) share. */

#include <sys/queue.h>

#include <event2/bufferevent.h>
#include <event2/listener.h>

#include "daemon/front/http_server.h"

#define HTTP_TLS_MAX 16 /* https listeners */
#define HTTP_LISTENERS_MAX 40
#define HTTP_OUTPUT_LOW (64 * 1024) /* octets unsent below which the next piece is wanted */

/*
 * What a connection is doing; each phase has its deadline.
 *
 *   OPENING   TLS handshake, or the first head      head_ms from accept
 *   IDLE      kept alive, no octet of a request     idle_ms
 *   HEAD      a head has begun                      head_ms from its first octet
 *   BODY      its body is coming                    body_ms from the head's end
 *   WORKING   the handler has it                    answer_ms
 *   SENDING   a reply is on its way                 by its length
 *   LINGERING refused and answered; reads on until the client closes   linger_ms
 */
enum phase {
	PHASE_OPENING,
	PHASE_IDLE,
	PHASE_HEAD,
	PHASE_BODY,
	PHASE_WORKING,
	PHASE_SENDING,
	PHASE_LINGERING,
};

struct http_connection;

struct http_exchange {
	struct http_connection *c;
	void *data;
	char fields[HTTP_REPLY_FIELDS_MAX];
	size_t fields_len;
	bool fields_bad;
	bool answered;	 /* a reply has begun */
	bool will_close; /* the connection ends after this reply */
	bool lingers;	 /* and unread input is to be expected */
	void (*gone)(enum http_gone how, void *arg);
	void *gone_arg;
	/* a streamed reply */
	const struct http_source *source;
	void *source_arg;
	uint64_t left; /* octets of body that are still to come */
	bool pulling;  /* a piece was asked for and has not come */
	size_t held;   /* octets of body and reply, counted at the door */
};

struct http_connection {
	TAILQ_ENTRY(http_connection) link;
	struct http_server *s;
	struct bufferevent *bev;
	struct event *timer;
	struct http_parser *parser;
	struct http_exchange *x; /* from a head's end to its reply's end */
	struct http_peer peer;
	enum phase phase;
	uint64_t phase_ms; /* that the phase may take */
	bool is_tls;
	bool eof;     /* the client has closed its side */
	bool reading; /* inside connection_advance */
	bool dead;    /* closed; freed when the loop comes round */
};

struct http_listener {
	struct http_server *s;
	struct evconnlistener *ev;
	enum http_door door;
	unsigned index;
};

struct http_server {
	struct event_base *base;
	const struct http_limits *limits;
	const struct http_handler *handler;
	void *arg;
	struct http_listener listeners[HTTP_LISTENERS_MAX];
	size_t listener_count;
	SSL_CTX *tls[HTTP_TLS_MAX];
	struct event *again; /* takes up accepting after an error */
	TAILQ_HEAD(, http_connection) connections;
	TAILQ_HEAD(, http_connection) dead;
	struct event *reap; /* frees the dead ones */
	size_t count, door_count[HTTP_DOORS];
	size_t held[HTTP_DOORS]; /* of all exchanges of a door */
	bool draining;
	void (*drained)(void *arg);
	void *drained_arg;
	struct event *drain_event;
};

unsigned door_index(enum http_door door);

/* http_connection.c */
bool connection_start(struct http_server *s, const struct http_listener *l, int fd);
void connection_close(struct http_connection *c);
void connection_free(struct http_connection *c);
void connection_set_phase(struct http_connection *c, enum phase phase, uint64_t deadline_ms);
/* The reply is in the output buffer whole. */
void connection_sent(struct http_connection *c);
/* Works on what has been read, as far as it goes. */
void connection_advance(struct http_connection *c);

/* http_server.c: a connection has ended. */
void server_forget(struct http_connection *c);

/* http_reply.c */
struct http_exchange *exchange_new(struct http_connection *c);
/* Counts octets that are kept for the exchange, until they are released or it
 * ends; false: the door's clients have HTTP_HELD_MAX already. */
bool exchange_hold(struct http_exchange *x, size_t more) MUST_CHECK;
void exchange_release(struct http_exchange *x, size_t less);
/* Ends it without a reply's end: tells the handler or the source. */
void exchange_drop(struct http_exchange *x);
/* The output buffer has run low. */
void exchange_more(struct http_exchange *x);

#endif
