/*
 * libFuzzer target: the decoders of the signer protocol. The first byte chooses
 * the message type. What a decoder accepts must be encoded again to the same
 * bytes: there is one way to write a message.
 */

#include <stdlib.h>
#include <string.h>

#include "daemon/core/signproto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool
again(uint8_t choice, struct bytes in, struct wire_writer *w)
{
	union {
		struct signproto_status_ok status_ok;
		struct signproto_key_generate key_generate;
		struct signproto_key_find key_find;
		struct signproto_key_ok key_ok;
		struct signproto_sign sign;
		struct signproto_stream_begin stream_begin;
		struct signproto_abstract abstract;
		struct signproto_stream_data stream_data;
		struct signproto_signed signed_;
		struct signproto_limits_set limits_set;
		struct signproto_install install;
		struct signproto_reseed reseed;
		struct signproto_pin pin;
		struct signproto_key_destroy key_destroy;
		char done[ERROR_TEXT_MAX];
		struct error failed;
	} m;

#define AGAIN(name) \
	(signproto_get_##name(in, &m.name, NULL) && (signproto_put_##name(w, &m.name), true))
	switch (choice) {
	case 0:
		return signproto_get_status(in, NULL) && (signproto_put_status(w), true);
	case 1:
		return AGAIN(status_ok);
	case 2:
		return AGAIN(key_generate);
	case 3:
		return AGAIN(key_find);
	case 4:
		return AGAIN(key_ok);
	case 5:
		return AGAIN(sign);
	case 6:
		return AGAIN(stream_begin);
	case 7:
		return AGAIN(stream_data);
	case 8:
		return signproto_get_stream_end(in, NULL) && (signproto_put_stream_end(w), true);
	case 9:
		return signproto_get_signed(in, &m.signed_, NULL) &&
		       (signproto_put_signed(w, &m.signed_), true);
	case 10:
		return AGAIN(failed);
	case 11:
		return AGAIN(limits_set);
	case 12:
		return AGAIN(install);
	case 13:
		return AGAIN(reseed);
	case 14:
		return signproto_get_done(in, m.done, NULL) &&
		       (signproto_put_done(w, m.done), true);
	case 15:
		return AGAIN(pin);
	case 16:
		return AGAIN(key_destroy);
	case 17:
		return AGAIN(abstract);
	case 18:
		return signproto_get_stream_drop(in, NULL) && (signproto_put_stream_drop(w), true);
	default:
		return false;
	}
#undef AGAIN
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_writer w;

	if (size == 0)
		return 0;
	wire_writer_init(&w, 4 * 1024 * 1024);
	if (again(data[0], (struct bytes){data + 1, size - 1}, &w)) {
		if (!wire_writer_ok(&w) || w.len != size - 1 ||
		    (w.len > 0 && memcmp(w.buf, data + 1, w.len) != 0))
			abort();
	}
	wire_writer_free(&w);
	return 0;
}
