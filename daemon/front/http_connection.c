#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>

#include "daemon/core/log.h"
#include "daemon/front/http_server_int.h"
#include "daemon/front/tls.h"

void
connection_set_phase(struct http_connection *c, enum phase phase, uint64_t deadline_ms)
{
	struct timeval tv = {
	    (time_t)(deadline_ms / 1000), (suseconds_t)(deadline_ms % 1000) * 1000};

	c->phase = phase;
	c->phase_ms = deadline_ms;
	evtimer_add(c->timer, &tv);
}

void
connection_free(struct http_connection *c)
{
	http_parser_free(c->parser);
	if (c->timer != NULL)
		event_free(c->timer);
	if (c->bev != NULL)
		bufferevent_free(c->bev);
	ERR_clear_error();
	free(c);
}

/* The memory goes when the loop comes round: c, and the strings of its parser,
 * may be in use further up the stack. */
void
connection_close(struct http_connection *c)
{
	struct http_exchange *x = c->x;

	if (c->dead)
		return;
	c->dead = true;
	if (c->timer != NULL)
		evtimer_del(c->timer);
	if (c->bev != NULL) {
		bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
		bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	}
	server_forget(c);
	if (x != NULL) {
		c->x = NULL;
		exchange_drop(x);
	}
}

/* The client may still be sending what we refused; closing now would make the
 * kernel reset the connection and throw away the reply on its way to him. So
 * our side is closed, and what comes is read and dropped for a moment. */
static void
connection_linger(struct http_connection *c)
{
	if (c->is_tls) {
		SSL *ssl = bufferevent_openssl_get_ssl(c->bev);

		SSL_shutdown(ssl);
	}
	shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	evbuffer_drain(bufferevent_get_input(c->bev), SIZE_MAX);
	if (c->eof)
		connection_close(c);
	else
		connection_set_phase(c, PHASE_LINGERING, c->s->limits->linger_ms);
}

void
connection_sent(struct http_connection *c)
{
	struct http_exchange *x = c->x;
	bool close = x->will_close || c->s->draining || c->eof, lingers = x->lingers;

	/* A next request may have been pipelined before the end of file. */
	if (c->eof && !x->will_close && !c->s->draining &&
	    evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)
		close = false;
	c->x = NULL;
	x->answered = true;
	x->gone = NULL;
	exchange_drop(x);
	lingers = lingers || evbuffer_get_length(bufferevent_get_input(c->bev)) > 0;
	if (close && lingers && !c->eof) {
		connection_linger(c);
	} else if (close) {
		if (c->is_tls)
			SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
		connection_close(c);
	} else {
		http_parser_next(c->parser);
		connection_set_phase(c, PHASE_IDLE, c->s->limits->idle_ms);
		connection_advance(c);
	}
}

/* -------------------------------------------------------------- reading */

static void
answer_refused(struct http_connection *c, int status, const char *reason)
{
	if (c->x == NULL)
		c->x = exchange_new(c);
	if (c->x == NULL) {
		connection_close(c);
		return;
	}
	c->x->will_close = true;
	c->x->lingers = true;
	log_debug("-", "request refused with %d: %s", status, reason);
	http_reply_error(c->x, status, NULL, "%s", reason);
}

static void
on_head(struct http_connection *c)
{
	const struct http_request *r = http_parser_request(c->parser);
	struct http_exchange *x = c->x = exchange_new(c);
	size_t used, max;
	enum http_event event;

	if (x == NULL) {
		connection_close(c);
		return;
	}
	x->will_close = !r->keep_alive;
	connection_set_phase(c, PHASE_BODY, c->s->limits->body_ms);
	/* Until the request is complete, an answer means that a body is left lying. */
	x->will_close = x->will_close || r->has_body;
	x->lingers = r->has_body;
	max = c->s->handler->head(x, c->s->arg);
	if (c->dead || c->x != x || x->answered)
		return;
	if (r->has_body && !exchange_hold(x, max)) {
		http_reply_error(x, 503, NULL, "Too much is being sent here at once.");
		return;
	}
	http_parser_allow_body(c->parser, max);
	event = http_parser_feed(c->parser, "", 0, &used);
	if (event == HTTP_MORE && r->expect_continue &&
	    evbuffer_get_length(bufferevent_get_input(c->bev)) == 0)
		bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static void
on_request(struct http_connection *c)
{
	struct http_exchange *x = c->x;

	exchange_release(x, x->held - http_parser_request(c->parser)->body_len);
	x->will_close = !http_parser_request(c->parser)->keep_alive;
	x->lingers = false;
	connection_set_phase(c, PHASE_WORKING, c->s->limits->answer_ms);
	c->s->handler->request(x, c->s->arg);
	/* It was pipelined before the client closed its side. */
	if (c->eof && !c->dead && c->x == x && c->phase == PHASE_WORKING && x->gone != NULL)
		x->gone(HTTP_LEAVING, x->gone_arg);
}

/* One step of the parser; false when it needs more octets or has to wait. */
static bool
advance_step(struct http_connection *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t len = evbuffer_get_contiguous_space(in), used = 0;
	bool complete_without_more = c->phase == PHASE_BODY && c->x != NULL;
	enum http_event event;

	if (len == 0 && !complete_without_more)
		return false;
	if (http_parser_is_idle(c->parser) && c->phase != PHASE_OPENING)
		connection_set_phase(c, PHASE_HEAD, c->s->limits->head_ms);
	event = http_parser_feed(
	    c->parser, len == 0 ? (void *)"" : evbuffer_pullup(in, (ev_ssize_t)len), len, &used);
	evbuffer_drain(in, used);
	switch (event) {
	case HTTP_HEAD:
		on_head(c);
		return true;
	case HTTP_REQUEST:
		on_request(c);
		return true;
	case HTTP_REFUSED:
		answer_refused(c, http_parser_status(c->parser), http_parser_reason(c->parser));
		return false;
	default:
		return used > 0;
	}
}

static bool
may_advance(const struct http_connection *c)
{
	return !c->dead &&
	       (c->phase == PHASE_OPENING || c->phase == PHASE_IDLE || c->phase == PHASE_HEAD ||
		   (c->phase == PHASE_BODY && !c->x->answered));
}

void
connection_advance(struct http_connection *c)
{
	if (c->reading)
		return;
	c->reading = true;
	while (may_advance(c) && advance_step(c))
		;
	/* The client closed its side in the middle of a request, or between two. */
	if (may_advance(c) && c->eof)
		connection_close(c);
	c->reading = false;
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	struct http_connection *c = arg;

	if (c->phase == PHASE_LINGERING)
		evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	else
		connection_advance(c);
}

static void
on_write(struct bufferevent *bev, void *arg)
{
	struct http_connection *c = arg;

	if (c->phase != PHASE_SENDING || c->x == NULL)
		return;
	if (c->x->left > 0)
		exchange_more(c->x);
	else if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		connection_sent(c);
}

/* ---------------------------------------------------------- life and end */

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct http_connection *c = arg;

	if (what & BEV_EVENT_CONNECTED) {
		/* TLS: the handshake is over, and the client has proved its key. */
		if (!tls_peer_identity(bufferevent_openssl_get_ssl(bev), c->peer.identity,
			sizeof(c->peer.identity)))
			connection_close(c);
		return;
	}
	/* After the end of a TLS stream libevent neither reads nor writes. */
	if (!(what & BEV_EVENT_EOF) || c->phase == PHASE_LINGERING || c->is_tls) {
		connection_close(c);
		return;
	}
	c->eof = true;
	if (c->phase == PHASE_WORKING && c->x->gone != NULL)
		c->x->gone(HTTP_LEAVING, c->x->gone_arg);
	else
		connection_advance(c);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct http_connection *c = arg;

	switch (c->phase) {
	case PHASE_HEAD:
		answer_refused(c, 408, "The request's head did not arrive in time.");
		break;
	case PHASE_BODY:
		answer_refused(c, 408, "The request's body did not arrive in time.");
		break;
	case PHASE_OPENING:
		if (http_parser_is_idle(c->parser))
			connection_close(c);
		else
			answer_refused(c, 408, "The request's head did not arrive in time.");
		break;
	case PHASE_WORKING:
		log_warning("-", "a request was not answered in time");
		connection_close(c);
		break;
	default:
		connection_close(c);
	}
}

static bool
peer_read(struct http_connection *c, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int on = 1;

	if (c->peer.door != HTTP_DOOR_UNIX) {
		/* Only makes small replies quicker. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return true;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0)
		return false;
	c->peer.uid = cred.uid;
	snprintf(c->peer.identity, sizeof(c->peer.identity), "uid:%lu", (unsigned long)cred.uid);
	return true;
}

/* Takes fd over in any case. */
static struct bufferevent *
transport_new(struct http_server *s, const struct http_listener *l, int fd)
{
	struct bufferevent *bev = NULL;
	SSL *ssl;

	if (l->door != HTTP_DOOR_HTTPS) {
		bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
	} else if (s->tls[l->index] != NULL && (ssl = SSL_new(s->tls[l->index])) != NULL) {
		bev = bufferevent_openssl_socket_new(
		    s->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
		if (bev == NULL)
			SSL_free(ssl);
		else
			bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	}
	if (bev == NULL)
		close(fd);
	return bev;
}

bool
connection_start(struct http_server *s, const struct http_listener *l, int fd)
{
	struct http_connection *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		close(fd);
		return false;
	}
	c->s = s;
	c->peer.door = l->door;
	c->is_tls = l->door == HTTP_DOOR_HTTPS;
	TAILQ_INSERT_TAIL(&s->connections, c, link);
	s->count++;
	s->door_count[door_index(l->door)]++;
	c->timer = evtimer_new(s->base, on_deadline, c);
	c->parser = http_parser_new();
	if (c->timer == NULL || c->parser == NULL || !peer_read(c, fd)) {
		close(fd);
		connection_close(c);
		return false;
	}
	c->bev = transport_new(s, l, fd);
	if (c->bev == NULL) {
		connection_close(c);
		return false;
	}
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, HTTP_INPUT_MAX);
	connection_set_phase(c, PHASE_OPENING, s->limits->head_ms);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) != 0) {
		connection_close(c);
		return false;
	}
	return true;
}
