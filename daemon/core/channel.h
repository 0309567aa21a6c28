#ifndef CHANCERY_CORE_CHANNEL_H
#define CHANCERY_CORE_CHANNEL_H

/*
 * Framed messages in both directions over a connected stream socket, on a
 * libevent bufferevent. Used between issuer and signer; what the types mean is
 * the business of the protocol above (signproto.h).
 *
 * A frame, all integers big-endian:
 *
 *     u32 payload length | u16 type | u16 zero | u64 request id | payload
 *
 * Neither side ever buffers without bound. A sender whose peer does not read
 * is refused once CHANNEL_OUT_MAX bytes wait (and told by the `writable`
 * callback when it may go on); a receiver holds no more than one unfinished
 * frame, and when it cannot take more work it pauses the channel, after which
 * nothing more is read and the peer's queue fills up.
 *
 * A frame that breaks the format cannot be skipped, because the next one's
 * beginning is then unknown: the channel is closed, with the reason.
 *
 * One channel belongs to one thread, that of its event base. The process has to
 * ignore SIGPIPE.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

#define CHANNEL_HEADER_LEN 16
/* The longest payload: a piece of a streamed structure and what goes with it. */
#define CHANNEL_FRAME_MAX (1024 * 1024 + 64 * 1024)
/* Bytes that may wait to be sent before channel_send refuses. */
#define CHANNEL_OUT_MAX (8 * 1024 * 1024)
/* Below this many waiting bytes, a sender that was refused is called again. */
#define CHANNEL_OUT_LOW (2 * 1024 * 1024)

struct channel;
struct event_base;

struct channel_callbacks {
	/* One whole frame. payload is borrowed and ends with the call. */
	void (*frame)(
	    struct channel *c, uint16_t type, uint64_t id, struct bytes payload, void *arg);
	/*
	 * The channel is dead: the peer closed it (why is not set), or broke the
	 * format, or the socket failed (why is set). Called once, never from
	 * inside another function of this face; nothing is called after it. The
	 * owner frees the channel, now or later.
	 */
	void (*closed)(struct channel *c, const struct error *why, void *arg);
	/* May be NULL: after a refused send, or no room for one, fewer than CHANNEL_OUT_LOW bytes
	 * wait again. */
	void (*writable)(struct channel *c, void *arg);
};

/* Takes over fd (also when it fails) and makes it non-blocking. callbacks must
 * outlive the channel; arg is handed to each of them. */
struct channel *channel_new(struct event_base *base, int fd,
    const struct channel_callbacks *callbacks, void *arg, struct error *e) MUST_CHECK;

/* Closes the socket, dropping what is still unsent; `closed` is not called.
 * Legal from inside the channel's callbacks; c may be NULL. */
void channel_free(struct channel *c);

/*
 * Queues one frame; the payload is copied. Fails with ERROR_LIMIT when the
 * payload is longer than CHANNEL_FRAME_MAX or CHANNEL_OUT_MAX bytes already
 * wait (nothing was queued then), with ERROR_UNAVAILABLE when the channel is
 * dead.
 */
bool channel_send(struct channel *c, uint16_t type, uint64_t id, const void *payload, size_t len,
    struct error *e) MUST_CHECK;

/* The same with the content of a writer, which is freed in any case. A writer
 * that failed is ERROR_LIMIT. */
bool channel_send_writer(struct channel *c, uint16_t type, uint64_t id, struct wire_writer *w,
    struct error *e) MUST_CHECK;

/* Whether a frame of so many octets would be taken now; if not, `writable` comes. */
bool channel_has_room(struct channel *c, size_t len);

/* Stops reading and handing frames on; while paused the end of the channel may
 * go unnoticed. Resuming goes on from the loop, not inside the call. */
void channel_pause(struct channel *c);
void channel_resume(struct channel *c);

/* Bytes that wait to be sent. */
size_t channel_queued(const struct channel *c);

#endif
