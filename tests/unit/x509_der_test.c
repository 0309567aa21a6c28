#include "tests/unit/x509_util.h"

#include <time.h>

#include "daemon/x509/derw.h"
#include "daemon/x509/oid.h"
#include "daemon/x509/serial.h"

static bool
reads(const char *text, bool (*read)(struct der *))
{
	struct bytes b = hex(text);
	struct der d;
	bool ok;

	der_init(&d, b);
	ok = read(&d);
	/* A refusal moves nothing. */
	if (!ok)
		assert_true(d.p == b.p && d.left == b.len);
	return ok && der_end(&d);
}

static bool
any(struct der *d)
{
	return der_read_any(d, NULL, NULL, NULL);
}

static bool
integer(struct der *d)
{
	struct bytes b;

	return der_read_integer(d, &b);
}

static bool
boolean(struct der *d)
{
	bool b;

	return der_read_boolean(d, &b);
}

static bool
oid(struct der *d)
{
	struct bytes b;

	return der_read_oid(d, &b);
}

static bool
bits(struct der *d)
{
	struct bytes b;
	unsigned unused;

	return der_read_bit_string(d, &b, &unused);
}

static bool
named(struct der *d)
{
	uint16_t b;

	return der_read_named_bits(d, DER_BIT_STRING, &b);
}

static void
lengths_and_tags(void **state)
{
	assert_true(reads("04 00", any));
	assert_true(reads("04 01 aa", any));
	assert_false(reads("", any));
	assert_false(reads("04", any));
	assert_false(reads("04 01", any));
	assert_false(reads("04 80 00 00", any));	     /* indefinite */
	assert_false(reads("04 81 01 aa", any));	     /* long form of a short length */
	assert_false(reads("04 82 00 01 aa", any));	     /* leading zero */
	assert_false(reads("04 85 01 00 00 00 00 aa", any)); /* beyond 32 bits */
	assert_false(reads("04 84 ff ff ff ff aa", any));
	assert_false(reads("1f 81 01 00", any)); /* high tag number */
	assert_false(reads("bf 20 00", any));
}

static void
primitives(void **state)
{
	assert_true(reads("02 01 00", integer));
	assert_true(reads("02 02 00 80", integer));
	assert_true(reads("02 01 80", integer));
	assert_false(reads("02 00", integer));
	assert_false(reads("02 02 00 7f", integer));
	assert_false(reads("02 02 ff 80", integer));
	assert_true(reads("01 01 ff", boolean));
	assert_true(reads("01 01 00", boolean));
	assert_false(reads("01 01 01", boolean));
	assert_false(reads("01 00", boolean));
	assert_true(reads("06 03 55 1d 0f", oid));
	assert_true(reads("06 02 81 00", oid));
	assert_false(reads("06 00", oid));
	assert_false(reads("06 02 80 01", oid));
	assert_false(reads("06 02 55 81", oid));
	assert_true(reads("03 01 00", bits));
	assert_true(reads("03 02 07 80", bits));
	assert_false(reads("03 02 07 81", bits)); /* unused bits set */
	assert_false(reads("03 02 08 00", bits));
	assert_false(reads("03 01 01", bits));
	assert_false(reads("03 00", bits));
	assert_true(reads("03 02 01 06", named));
	assert_true(reads("03 01 00", named));
	assert_false(reads("03 02 00 06", named)); /* trailing zero bit */
	assert_false(reads("03 02 07 00", named));
	assert_false(reads("03 04 00 00 00 01", named));
}

static void
nesting_is_bounded(void **state)
{
	uint8_t deep[64];

	/* 30 len 30 len ... each content is the rest. */
	for (size_t i = 0; i < 64; i += 2) {
		deep[i] = DER_SEQUENCE;
		deep[i + 1] = (uint8_t)(62 - i);
	}
	assert_false(der_well_formed(BYTES(deep)));
	assert_true(
	    der_well_formed((struct bytes){deep + 64 - 2 * DER_DEPTH_MAX, 2 * DER_DEPTH_MAX}));
	assert_false(der_well_formed(
	    (struct bytes){deep + 64 - 2 * DER_DEPTH_MAX - 2, 2 * DER_DEPTH_MAX + 2}));
	assert_true(der_well_formed((struct bytes){0}));
	assert_false(der_well_formed(hex("30 03 02 01")));
}

static void
well_formed_types(void **state)
{
	static const char *const good[] = {"30 00", "31 00", "05 00", "04 00", "0c 01 ff",
	    "01 01 ff", "02 01 00", "a0 03 02 01 00", "80 01 00", "03 01 00", "06 01 2a"};
	static const char *const wrong[] = {"10 00", "11 00", "00 00", "24 00", "05 01 00", "25 00",
	    "01 01 01", "21 01 ff", "02 02 00 00", "22 00", "0a 00", "03 00", "23 02 03 00",
	    "06 00", "2c 00", "a0 02 02 01", "30 02 10 00"};

	for (size_t i = 0; i < COUNT_OF(good); i++)
		assert_true(der_well_formed(hex(good[i])));
	for (size_t i = 0; i < COUNT_OF(wrong); i++)
		assert_false(der_well_formed(hex(wrong[i])));
}

static bool
read_time_text(uint8_t tag, const char *text, int64_t *seconds)
{
	uint8_t buf[64];
	struct derw w;
	struct der d;

	derw_init(&w, buf, sizeof buf);
	derw_string(&w, tag, text);
	der_init(&d, derw_result(&w));
	return der_read_time(&d, seconds) && der_end(&d);
}

static void
times_read(void **state)
{
	static const char *const wrong_utc[] = {"2611221200Z", "261122120000", "261122120000+0000",
	    "26112212000 Z", "261322120000Z", "260022120000Z", "261100120000Z", "261131120000Z",
	    "260229120000Z", "261122240000Z", "261122126000Z", "261122120060Z", "2611221200000Z",
	    "", "26112212000aZ"};
	static const char *const wrong_general[] = {"20261122120000Z", "20491231235959Z",
	    "19500101000000Z", "20500101000000.5Z", "20500101000000", "20500230000000Z"};
	int64_t t;

	assert_true(read_time_text(DER_UTC_TIME, "700101000000Z", &t));
	assert_int_equal(t, 0);
	assert_true(read_time_text(DER_UTC_TIME, "491231235959Z", &t));
	assert_int_equal(t, 2524607999);
	assert_true(read_time_text(DER_UTC_TIME, "500101000000Z", &t));
	assert_int_equal(t, -631152000);
	assert_true(read_time_text(DER_UTC_TIME, "240229120000Z", &t));
	assert_true(read_time_text(DER_GENERALIZED_TIME, "20500101000000Z", &t));
	assert_int_equal(t, 2524608000);
	assert_true(read_time_text(DER_GENERALIZED_TIME, "99991231235959Z", &t));
	assert_int_equal(t, 253402300799);
	for (size_t i = 0; i < COUNT_OF(wrong_utc); i++)
		assert_false(read_time_text(DER_UTC_TIME, wrong_utc[i], &t));
	for (size_t i = 0; i < COUNT_OF(wrong_general); i++)
		assert_false(read_time_text(DER_GENERALIZED_TIME, wrong_general[i], &t));
}

/* Against gmtime, over all years that can be encoded. */
static void
times_written(void **state)
{
	char want[32];
	uint8_t buf[32];
	struct derw w;
	struct der d;
	struct tm tm;
	int64_t back;

	for (int i = 0; i < 20000; i++) {
		int64_t t = (int64_t)(random_u64() % 315569519999) - 62167219200;
		time_t tt = (time_t)t;
		size_t len;

		derw_init(&w, buf, sizeof buf);
		derw_time(&w, t);
		assert_true(derw_ok(&w));
		gmtime_r(&tt, &tm);
		len = strftime(want, sizeof want, "%Y%m%d%H%M%SZ", &tm);
		/* glibc does not pad years below 1000. */
		if (len == 15)
			assert_memory_equal(
			    w.buf + w.at + 2, want + 15 - buf[w.at + 1], buf[w.at + 1]);
		assert_int_equal(buf[w.at],
		    tm.tm_year >= 50 && tm.tm_year < 150 ? DER_UTC_TIME : DER_GENERALIZED_TIME);
		der_init(&d, derw_result(&w));
		assert_true(der_read_time(&d, &back));
		assert_int_equal(back, t);
	}
	derw_init(&w, buf, sizeof buf);
	derw_time(&w, 253402300800);
	assert_false(derw_ok(&w));
	assert_int_equal(derw_result(&w).len, 0);
}

/* The same octets as OpenSSL's; both forms. */
static void
put_like_openssl(ASN1_TIME *want, int64_t t)
{
	uint8_t out[DER_TIME_MAX], tag = 0;
	size_t len = der_time_put(out, t, &tag);

	assert_non_null(ASN1_TIME_set(want, (time_t)t));
	assert_int_equal(tag, ASN1_STRING_type(want));
	assert_bytes((struct bytes){out, len},
	    (struct bytes){ASN1_STRING_get0_data(want), (size_t)ASN1_STRING_length(want)});
	assert_non_null(ASN1_GENERALIZEDTIME_set(want, (time_t)t));
	assert_int_equal(der_generalized_time_put(out, t), sizeof out);
	assert_memory_equal(out, ASN1_STRING_get0_data(want), sizeof out);
}

/* Every day of all years that can be encoded, and where the form, the day, the year and the
 * sign change. */
static void
times_put(void **state)
{
	static const int64_t first = -62167219200, end = 253402300800;
	static const int64_t edges[] = {0, -631152000 /* 1950 */, 2524608000 /* 2050 */,
	    951782400 /* 2000-02-29 */, 4107542400 /* 2100-03-01 */, 68169600 /* 1972-02-29 */,
	    -62162035200 /* 0000-03-01 */, -62135596800 /* 0001 */};
	const int64_t outside[] = {first - 1, end, INT64_MIN, INT64_MAX};
	ASN1_TIME *want = ASN1_TIME_new();
	uint8_t out[DER_TIME_MAX], tag;

	for (int64_t day = first; day < end; day += 86400)
		put_like_openssl(want, day + random_below(86400));
	for (size_t i = 0; i < COUNT_OF(edges); i++) {
		for (int64_t near = -2; near <= 2; near++)
			put_like_openssl(want, edges[i] + near);
		put_like_openssl(want, edges[i] + 86399);
	}
	put_like_openssl(want, first);
	put_like_openssl(want, end - 1);
	for (size_t i = 0; i < COUNT_OF(outside); i++) {
		assert_int_equal(der_time_put(out, outside[i], &tag), 0);
		assert_int_equal(der_generalized_time_put(out, outside[i]), 0);
	}
	ASN1_TIME_free(want);
}

static void
writer(void **state)
{
	uint8_t buf[300], content[256];
	struct derw w;

	memset(content, 0xab, sizeof content);
	derw_init(&w, buf, sizeof buf);
	derw_element(&w, DER_OCTET_STRING, BYTES(content));
	assert_bytes((struct bytes){derw_result(&w).p, 4}, hex("04 82 01 00"));
	derw_element(&w, DER_OCTET_STRING, BYTES(content));
	assert_false(derw_ok(&w));
	assert_int_equal(derw_result(&w).len, 0);

	derw_init(&w, buf, sizeof buf);
	derw_unsigned_octets(&w, DER_INTEGER, hex("00 00 80"));
	derw_unsigned_octets(&w, DER_INTEGER, hex("00 00"));
	derw_unsigned(&w, 127);
	derw_named_bits(&w, DER_BIT_STRING, 0x106);
	derw_named_bits(&w, DER_BIT_STRING, 0);
	derw_boolean(&w, true);
	derw_null(&w);
	derw_bit_octets(&w, hex("0f"));
	derw_wrap(&w, 0, DER_SEQUENCE);
	assert_bytes(derw_result(&w),
	    hex("30 1b 03 02 00 0f 05 00 01 01 ff 03 01 00 03 03 07 60 80 02 01 7f 02 01 00 "
		"02 02 00 80"));

	derw_init(&w, buf, sizeof buf);
	derw_oid(&w, hex("80 01"));
	assert_false(derw_ok(&w));
}

static void
headers(void **state)
{
	static const uint64_t lengths[] = {0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000,
	    0xffffffff, 0x100000000, 0xffffffffffffff};
	uint8_t out[9];

	for (size_t i = 0; i < COUNT_OF(lengths); i++)
		assert_int_equal(
		    der_header_put(out, DER_SEQUENCE, lengths[i]), der_header_size(lengths[i]));
	assert_int_equal(der_header_put(out, DER_SEQUENCE, 0x1234567890), 7);
	assert_memory_equal(out, hex("30 85 12 34 56 78 90").p, 7);
}

static void
oids(void **state)
{
	static const char *const good[] = {"1.3.6.1.5.5.7.3.1", "2.5.29.15", "0.0", "2.999.1",
	    "1.39.1", "2.16.840.1.101.3.4.2.1", "1.2.840.113549.1.1.11",
	    "2.48.4294967295.9223372036854775"};
	static const char *const wrong[] = {"", "1", "1.", "3.1", "1.40", "1..2", "1.2.", "1.2.a",
	    " 1.2", "1.02", "1.2.99999999999999999999999", "-1.2",
	    "1.2.3333333333333333.3333333333333333.3333333333333333.3333333333333333."
	    "3333333333333333.3333333333333333.3333333333333333.3333333333333333."
	    "3333333333333333.3333333333333333"};
	uint8_t buf[OID_DER_MAX];
	char text[OID_TEXT_MAX];
	struct bytes b;

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct error e = ERROR_INIT;
		ASN1_OBJECT *o = OBJ_txt2obj(good[i], 1);
		struct bytes der = TO_DER(ASN1_OBJECT, o);

		assert_ok(oid_from_text(good[i], buf, &b, &e), e);
		assert_bytes(b, (struct bytes){der.p + 2, der.len - 2});
		oid_to_text(b, text);
		assert_string_equal(text, good[i]);
		free_bytes(der);
		ASN1_OBJECT_free(o);
	}
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct error e = ERROR_INIT;

		assert_false(oid_from_text(wrong[i], buf, &b, &e));
		assert_error(e, "object identifier");
	}
	oid_to_text(hex("55 ff ff ff ff ff ff ff ff ff ff 7f 03"), text);
	assert_string_equal(text, "2.5.?.3");
	assert_true(oid_purpose_from_name("serverAuth", &b));
	assert_string_equal(oid_purpose_name(b), "serverAuth");
	assert_false(oid_purpose_from_name("serverauth2", &b));
	assert_null(oid_purpose_name(oid_key_usage));
}

static void
serials(void **state)
{
	uint8_t random[SERIAL_RANDOM_LEN], serial[SERIAL_LEN], back[SERIAL_LEN];
	struct error e = ERROR_INIT;
	char text[SERIAL_TEXT_MAX];
	uint16_t signer_id;
	struct bytes b;
	int64_t t;

	for (int i = 0; i < 1000; i++) {
		random_octets(random, sizeof random);
		serial_build(serial, 0xbeef, 1795348800 + i, random);
		assert_in_range(serial[0], 1, 0x7f);
		assert_memory_equal(serial + 9, random + 1, 11);
		assert_true(serial_parse(BYTES(serial), &signer_id, &t));
		assert_int_equal(signer_id, 0xbeef);
		assert_int_equal(t, 1795348800 + i);
		serial_to_text(BYTES(serial), text);
		assert_ok(serial_from_text(text, back, &b, &e), e);
		assert_bytes(b, BYTES(serial));
	}
	assert_ok(serial_from_text("00:A1:b2", back, &b, &e), e);
	assert_bytes(b, hex("a1b2"));
	assert_ok(serial_from_text("00", back, &b, &e), e);
	assert_false(serial_from_text("", back, &b, &e));
	assert_false(serial_from_text("abc", back, &b, &e));
	assert_false(serial_from_text("ab:", back, &b, &e));
	assert_false(serial_from_text("ab cd", back, &b, &e));
	assert_false(serial_from_text("0102030405060708090a0b0c0d0e0f101112131415", back, &b, &e));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lengths_and_tags),
	    cmocka_unit_test(primitives),
	    cmocka_unit_test(nesting_is_bounded),
	    cmocka_unit_test(well_formed_types),
	    cmocka_unit_test(times_read),
	    cmocka_unit_test(times_written),
	    cmocka_unit_test(times_put),
	    cmocka_unit_test(writer),
	    cmocka_unit_test(headers),
	    cmocka_unit_test(oids),
	    cmocka_unit_test(serials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
