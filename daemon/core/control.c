#include "daemon/core/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

/* Messages taken in one round of the loop, so that a busy peer starves nobody. */
#define CONTROL_BURST 32

struct control {
	int fd;
	struct event *readable;
	const struct control_callbacks *callbacks;
	void *arg;
	bool receiving; /* control_receive runs: it frees, not control_free */
	bool freed;
};

/* What a message of each type carries. */
static const struct {
	enum control_type type;
	bool has_text, has_index, has_fd;
} shapes[] = {
    {.type = CONTROL_SIGNER_CHANNEL, .has_text = true, .has_fd = true},
    {.type = CONTROL_WRITER_CHANNEL, .has_text = true, .has_fd = true},
    {.type = CONTROL_LISTENER, .has_text = true, .has_index = true, .has_fd = true},
    {.type = CONTROL_RELOAD},
    {.type = CONTROL_DRAIN},
    {.type = CONTROL_READY},
    {.type = CONTROL_STATUS, .has_text = true},
    {.type = CONTROL_SANDBOX, .has_text = true},
    {.type = CONTROL_PROCESS, .has_text = true},
};

static size_t
shape_of(enum control_type type)
{
	size_t i;

	for (i = 0; i < COUNT_OF(shapes); i++) {
		if (shapes[i].type == type)
			break;
	}
	return i;
}

bool
control_encode(const struct control_message *m, struct wire_writer *w, struct error *err)
{
	size_t i = shape_of(m->type);

	if (i == COUNT_OF(shapes) || shapes[i].has_fd != (m->fd >= 0))
		return error_set(err, ERROR_INTERNAL,
		    "control message of type %d with descriptor %d", (int)m->type, m->fd);
	wire_put_u8(w, (uint8_t)m->type);
	if (shapes[i].has_text)
		wire_put_bytes(w, m->text, strnlen(m->text, sizeof m->text - 1));
	if (shapes[i].has_index)
		wire_put_u16(w, m->index);
	if (!wire_writer_ok(w))
		return error_set(err, ERROR_INTERNAL, "control message does not fit its frame");
	return true;
}

bool
control_decode(const void *buf, size_t len, int fd, struct control_message *m, struct error *err)
{
	struct control_message got = {.fd = fd};
	struct wire_reader r;
	size_t i;

	wire_reader_init(&r, buf, len);
	got.type = wire_get_u8(&r);
	i = shape_of(got.type);
	if (i == COUNT_OF(shapes))
		return error_set(
		    err, ERROR_INPUT, "control message of unknown type %d", (int)got.type);
	if (shapes[i].has_text)
		wire_get_string(&r, got.text, sizeof got.text);
	if (shapes[i].has_index)
		got.index = wire_get_u16(&r);
	if (!wire_reader_end(&r))
		return error_set(
		    err, ERROR_INPUT, "control message of type %d is malformed", (int)got.type);
	if (shapes[i].has_fd != (fd >= 0))
		return error_set(err, ERROR_INPUT, "control message of type %d %s a descriptor",
		    (int)got.type, fd >= 0 ? "has" : "lacks");
	*m = got;
	return true;
}

bool
control_pair(int fds[2], struct error *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot make a socket pair");
	return true;
}

bool
control_send(struct control *c, const struct control_message *m, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ancillary = {0};
	struct msghdr header = {0};
	struct wire_writer w;
	struct cmsghdr *cmsg;
	struct iovec iov;
	ssize_t n;
	bool ok = false;

	wire_writer_init(&w, CONTROL_FRAME_MAX);
	if (!control_encode(m, &w, err))
		goto out;
	iov = (struct iovec){.iov_base = w.buf, .iov_len = w.len};
	header.msg_iov = &iov;
	header.msg_iovlen = 1;
	if (m->fd >= 0) {
		header.msg_control = ancillary.bytes;
		header.msg_controllen = sizeof ancillary.bytes;
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &m->fd, sizeof(int));
	}
	do {
		n = sendmsg(c->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)) {
		error_set(err, ERROR_LIMIT, "the peer does not read its control channel");
		goto out;
	}
	if (n < 0) {
		error_set_errno(err, ERROR_UNAVAILABLE, "cannot send on the control channel");
		goto out;
	}
	ok = true;
out:
	wire_writer_free(&w);
	return ok;
}

/* Takes the one descriptor out of a received message. Several, which the
 * buffer's alignment leaves room for, are all closed: *broken is set. */
static int
take_descriptor(struct msghdr *header, bool *broken)
{
	int fd = -1, each;
	size_t count;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			memcpy(&each, CMSG_DATA(c) + i * sizeof(int), sizeof each);
			if (fd < 0 && !*broken) {
				fd = each;
				continue;
			}
			*broken = true;
			(void)close(each);
		}
	}
	if (*broken && fd >= 0) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

/*
 * Receives one message. 1: *m is set; 0: nothing there; -1: the peer is gone,
 * or err is set.
 */
static int
receive_one(int fd, struct control_message *m, struct error *err)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ancillary;
	uint8_t buf[CONTROL_FRAME_MAX];
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof buf};
	struct msghdr header = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = ancillary.bytes,
	    .msg_controllen = sizeof ancillary.bytes,
	};
	bool broken = false;
	int got;
	ssize_t n;

	n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	/* A peer that died with unread messages gives ECONNRESET, not the end. */
	if (n < 0 && errno == ECONNRESET)
		return -1;
	if (n < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot read the control channel");
		return -1;
	}
	got = take_descriptor(&header, &broken);
	if (broken || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		error_set(err, ERROR_INPUT, "control message is too long");
		if (got >= 0)
			(void)close(got);
		return -1;
	}
	if (n == 0 && got < 0)
		return -1;
	if (!control_decode(buf, (size_t)n, got, m, err)) {
		if (got >= 0)
			(void)close(got);
		return -1;
	}
	return 1;
}

static void
control_receive(evutil_socket_t fd, short what, void *arg)
{
	struct control *c = arg;
	struct error err = ERROR_INIT;
	struct control_message m;
	int result;

	c->receiving = true;
	for (int i = 0; i < CONTROL_BURST; i++) {
		result = receive_one(fd, &m, &err);
		if (result == 0)
			break;
		if (result < 0) {
			(void)event_del(c->readable);
			c->callbacks->on_close(&err, c->arg);
			break;
		}
		c->callbacks->on_message(&m, c->arg);
		if (c->freed)
			break;
	}
	c->receiving = false;
	if (c->freed)
		free(c);
}

struct control *
control_new(struct event_base *base, int fd, const struct control_callbacks *callbacks, void *arg,
    struct error *err)
{
	struct control *c = calloc(1, sizeof *c);
	socklen_t type_len = sizeof(int);
	int type = 0;

	if (c == NULL) {
		(void)close(fd);
		error_set(err, ERROR_SYSTEM, "out of memory for a control channel");
		return NULL;
	}
	*c = (struct control){.fd = fd, .callbacks = callbacks, .arg = arg};
	/* Tells a role that somebody started by hand what is wrong. */
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 || type != SOCK_SEQPACKET) {
		error_set(err, ERROR_USAGE,
		    "descriptor %d is no control channel: only the supervisor starts a role", fd);
		goto fail;
	}
	if (evutil_make_socket_nonblocking(fd) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot set up a control channel");
		goto fail;
	}
	c->readable = event_new(base, fd, EV_READ | EV_PERSIST, control_receive, c);
	if (c->readable == NULL || event_add(c->readable, NULL) < 0) {
		error_set(err, ERROR_SYSTEM, "cannot watch a control channel");
		goto fail;
	}
	return c;
fail:
	control_free(c);
	return NULL;
}

void
control_free(struct control *c)
{
	if (c == NULL)
		return;
	if (c->readable != NULL)
		event_free(c->readable);
	(void)close(c->fd);
	c->freed = true;
	if (!c->receiving)
		free(c);
}
