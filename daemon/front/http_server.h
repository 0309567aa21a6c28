#ifndef CHANCERY_FRONT_HTTP_SERVER_H
#define CHANCERY_FRONT_HTTP_SERVER_H

/*
 * Connections: HTTP/1.1 over listening sockets that somebody else has bound.
 *
 * One request of a connection is worked on at a time; what is pipelined waits
 * in a bounded buffer. Deadlines count from the start of a head or a body, so
 * that a byte now and then keeps nothing open; replies are written as fast as
 * the client reads, in pieces. A request that the parser refuses is answered
 * with the reason, and the connection is closed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <event2/event.h>
#include <openssl/ssl.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/front/http_parser.h"

#define HTTP_PIECE_MAX (64 * 1024)	  /* octets of one piece of a streamed reply */
#define HTTP_FILE_PIECE_MAX (1024 * 1024) /* octets of one that the kernel takes from a file */
#define HTTP_INPUT_MAX (32 * 1024)	  /* octets read ahead of the parser */
#define HTTP_HELD_MAX (96u << 20)	/* octets of bodies and whole replies of a door's clients */
#define HTTP_HELD_FREE (16 * 1024)	/* a reply up to here always finds room: errors do */
#define HTTP_OPENING_MIN_MS 1000	/* a full door lets a client open for so long, */
#define HTTP_SENDING_MIN_MS (15 * 1000) /* and read for so long, before he makes room */
#define HTTP_REPLY_FIELDS_MAX 4096	/* octets of the fields a handler adds */
#define HTTP_DRAIN_RATE_MIN (8 * 1024)	/* octets per second below which a reader is cut off */
#define HTTP_IDENTITY_SIZE 80

/* Where a request came in; the bits make sets of doors. */
enum http_door {
	HTTP_DOOR_UNIX = 1,
	HTTP_DOOR_HTTP = 2,
	HTTP_DOOR_HTTPS = 4,
	HTTP_DOOR_METRICS = 8, /* HTTP for a monitoring system alone */
};
#define HTTP_DOORS 4

struct http_peer {
	enum http_door door;
	uid_t uid; /* HTTP_DOOR_UNIX only */
	/* "uid:1000"; "tls:" and the SHA-256 in hex of the public key (SPKI) of
	 * the client's certificate; "" for whoever showed nothing. */
	char identity[HTTP_IDENTITY_SIZE];
};

struct http_limits {
	unsigned head_ms;   /* TLS handshake and head, from the connection's or the head's start */
	unsigned body_ms;   /* body, from the head's end */
	unsigned idle_ms;   /* between requests */
	unsigned answer_ms; /* the handler's time */
	unsigned linger_ms; /* reading on after a refusal, so that the reply arrives */
	unsigned connections[HTTP_DOORS]; /* at once: unix, http, https, metrics */
};
extern const struct http_limits http_limits_default;

struct http_server;
struct http_exchange; /* a request and its reply */

struct http_handler {
	/* The head is there. Returns the octets of body it takes, or answers at
	 * once (http_reply) when it need not see a body to refuse. */
	size_t (*head)(struct http_exchange *x, void *arg);
	/* The request is complete. Answers now, or later after http_on_gone. */
	void (*request)(struct http_exchange *x, void *arg);
};

/* handler and limits are borrowed and must outlive the server. */
struct http_server *http_server_new(struct event_base *base, const struct http_limits *limits,
    const struct http_handler *handler, void *arg, struct error *err) MUST_CHECK;
/* Closes everything at once, without calling drained. NULL is legal. */
void http_server_free(struct http_server *s);

/* Serves a listening socket; fd is taken over, also on failure. index is the
 * place among the https listeners: its context comes by http_server_set_tls,
 * before or after; until then its connections are closed. */
bool http_server_listen(struct http_server *s, enum http_door door, unsigned index, int fd,
    struct error *err) MUST_CHECK;
/* The context for new connections; takes over one reference. */
void http_server_set_tls(struct http_server *s, unsigned index, SSL_CTX *ctx);

/* No new connections, idle ones closed, the others after their reply; then
 * drained is called, from the loop. */
void http_server_drain(struct http_server *s, void (*drained)(void *arg), void *arg);

size_t http_server_connections(const struct http_server *s);

/* ---------------------------------------------------------- the exchange */

const struct http_request *http_exchange_request(const struct http_exchange *x);
const struct http_peer *http_exchange_peer(const struct http_exchange *x);

/* Room for the handler, kept from head to request; freed with free() at the end. */
void http_exchange_set_data(struct http_exchange *x, void *data);
void *http_exchange_data(const struct http_exchange *x);

enum http_gone {
	HTTP_LEAVING, /* the client has closed its side; it may still read: answer soon */
	HTTP_GONE,    /* nobody is there: drop the work, x is invalid when this returns */
};
/* For a handler that answers later, instead of in its call. Ends with the reply. */
void http_on_gone(struct http_exchange *x, void (*gone)(enum http_gone how, void *arg), void *arg);

/* ------------------------------------------------------------- the reply */

/* Adds a field to the coming reply. A value with a control octet, or beyond the
 * limit, makes the reply a 500 instead: it cannot split a response. */
void http_reply_field(struct http_exchange *x, const char *name, const char *fmt, ...) PRINTF(3, 4);

/* Answers with a whole body, which is copied; content_type NULL for none. x is
 * invalid when this returns. A HEAD request gets the length and no body. */
void http_reply(
    struct http_exchange *x, int status, const char *content_type, const void *body, size_t len);

/* {"error": {"code": ..., "message": ...}} */
void http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...)
    PRINTF(4, 5);

struct http_source {
	/* Room for a piece: call http_reply_piece or http_reply_abort, now or later. */
	void (*pull)(struct http_exchange *x, void *arg);
	/* The reply is over, well or not: called exactly once. x is invalid. */
	void (*done)(void *arg);
};

/* Answers with len octets that come piece by piece. For HEAD, and for len 0,
 * pull is not called. May call pull and done before it returns; x belongs to
 * the source from here on. */
void http_reply_stream(struct http_exchange *x, int status, const char *content_type, uint64_t len,
    const struct http_source *source, void *arg);
/* 1 to HTTP_PIECE_MAX octets, copied, in answer to one pull. */
void http_reply_piece(struct http_exchange *x, const void *data, size_t len);
/* Whether the kernel can send from a file: not through TLS. */
bool http_reply_takes_files(const struct http_exchange *x);
/* 1 to HTTP_FILE_PIECE_MAX octets at offset of the file, in answer to one pull. fd stays the
 * caller's, and what is there must stay until the source's done. */
void http_reply_file(struct http_exchange *x, int fd, uint64_t offset, size_t len);
/* The rest cannot be had: the connection is cut, which tells the client. */
void http_reply_abort(struct http_exchange *x);

#endif
