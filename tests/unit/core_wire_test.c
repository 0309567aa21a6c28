#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/wire.h"

static void
round_trip(void **state)
{
	struct wire_writer w;
	struct wire_reader r;
	char text[8];
	struct bytes b;

	wire_writer_init(&w, 1024);
	wire_put_u8(&w, 7);
	wire_put_u16(&w, 0x1234);
	wire_put_u32(&w, 0xdeadbeef);
	wire_put_u64(&w, 0x0102030405060708);
	wire_put_bytes(&w, "abc", 3);
	wire_put_string(&w, "seven77");
	assert_true(wire_writer_ok(&w));

	wire_reader_init(&r, w.buf, w.len);
	assert_int_equal(wire_get_u8(&r), 7);
	assert_int_equal(wire_get_u16(&r), 0x1234);
	assert_int_equal(wire_get_u32(&r), 0xdeadbeef);
	assert_int_equal(wire_get_u64(&r), 0x0102030405060708);
	b = wire_get_bytes(&r, 3);
	assert_int_equal(b.len, 3);
	assert_memory_equal(b.p, "abc", 3);
	assert_false(wire_reader_end(&r));
	wire_get_string(&r, text, sizeof text);
	assert_string_equal(text, "seven77");
	assert_true(wire_reader_end(&r));

	/* Every truncation is a failure, never an overread (ASan watches). */
	for (size_t len = 0; len < w.len; len++) {
		wire_reader_init(&r, w.buf, len);
		(void)wire_get_u8(&r);
		(void)wire_get_u16(&r);
		(void)wire_get_u32(&r);
		(void)wire_get_u64(&r);
		(void)wire_get_bytes(&r, 3);
		wire_get_string(&r, text, sizeof text);
		assert_false(wire_reader_end(&r));
	}
	wire_writer_free(&w);
}

static void
limits(void **state)
{
	struct wire_writer w;
	struct wire_reader r;
	char text[4];

	wire_writer_init(&w, 6);
	wire_put_bytes(&w, "abc", 3);
	assert_false(wire_writer_ok(&w));
	wire_writer_free(&w);

	wire_writer_init(&w, 64);
	wire_put_string(&w, "long");
	wire_reader_init(&r, w.buf, w.len);
	wire_get_string(&r, text, sizeof text);
	assert_false(wire_reader_end(&r));
	wire_writer_free(&w);

	wire_writer_init(&w, 64);
	wire_put_bytes(&w, "a\0b", 3);
	wire_reader_init(&r, w.buf, w.len);
	wire_get_string(&r, text, sizeof text);
	assert_false(wire_reader_end(&r));
	wire_writer_free(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trip),
	    cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
