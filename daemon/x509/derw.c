#include "daemon/x509/derw.h"

void
derw_init(struct derw *w, void *buf, size_t size)
{
	*w = (struct derw){.buf = buf, .at = size, .size = size};
}

size_t
derw_mark(const struct derw *w)
{
	return w->size - w->at;
}

/* Room for len octets before what stands already, or NULL. */
static uint8_t *
take(struct derw *w, size_t len)
{
	if (w->failed || len > w->at) {
		w->failed = true;
		return NULL;
	}
	w->at -= len;
	return w->buf + w->at;
}

static void
put_header(struct derw *w, uint8_t tag, size_t len)
{
	uint8_t *p = take(w, der_header_size(len));

	if (p != NULL)
		(void)der_header_put(p, tag, len);
}

void
derw_wrap(struct derw *w, size_t mark, uint8_t tag)
{
	if (!w->failed)
		put_header(w, tag, derw_mark(w) - mark);
}

void
derw_raw(struct derw *w, struct bytes b)
{
	uint8_t *p = take(w, b.len);

	if (p != NULL && b.len > 0)
		memcpy(p, b.p, b.len);
}

void
derw_element(struct derw *w, uint8_t tag, struct bytes content)
{
	derw_raw(w, content);
	put_header(w, tag, content.len);
}

void
derw_boolean(struct derw *w, bool value)
{
	uint8_t octet = value ? 0xff : 0x00;

	derw_element(w, DER_BOOLEAN, (struct bytes){&octet, 1});
}

void
derw_null(struct derw *w)
{
	put_header(w, DER_NULL, 0);
}

void
derw_unsigned(struct derw *w, uint64_t value)
{
	uint8_t octets[8];

	for (size_t i = 0; i < sizeof octets; i++)
		octets[i] = (uint8_t)(value >> 8 * (sizeof octets - 1 - i));
	derw_unsigned_octets(w, DER_INTEGER, (struct bytes){octets, sizeof octets});
}

void
derw_unsigned_octets(struct derw *w, uint8_t tag, struct bytes magnitude)
{
	static const uint8_t zero = 0;
	size_t mark = derw_mark(w);

	while (magnitude.len > 0 && magnitude.p[0] == 0) {
		magnitude.p++;
		magnitude.len--;
	}
	derw_raw(w, magnitude);
	if (magnitude.len == 0 || magnitude.p[0] >= 0x80)
		derw_raw(w, (struct bytes){&zero, 1});
	derw_wrap(w, mark, tag);
}

void
derw_oid(struct derw *w, struct bytes oid)
{
	if (!der_oid_valid(oid))
		w->failed = true;
	derw_element(w, DER_OID, oid);
}

void
derw_bit_octets(struct derw *w, struct bytes octets)
{
	static const uint8_t no_unused_bits = 0;
	size_t mark = derw_mark(w);

	derw_raw(w, octets);
	derw_raw(w, (struct bytes){&no_unused_bits, 1});
	derw_wrap(w, mark, DER_BIT_STRING);
}

void
derw_named_bits(struct derw *w, uint8_t tag, uint16_t bits)
{
	uint8_t content[3] = {0};
	unsigned used = 0;
	size_t octets;

	for (unsigned i = 0; i < 16; i++) {
		if ((bits & 1U << i) == 0)
			continue;
		content[1 + i / 8] |= (uint8_t)(0x80 >> i % 8);
		used = i + 1;
	}
	octets = (used + 7) / 8;
	content[0] = (uint8_t)(octets * 8 - used);
	derw_element(w, tag, (struct bytes){content, 1 + octets});
}

void
derw_string(struct derw *w, uint8_t tag, const char *s)
{
	derw_element(w, tag, (struct bytes){(const uint8_t *)s, strlen(s)});
}

void
derw_time(struct derw *w, int64_t seconds)
{
	uint8_t text[DER_TIME_MAX], tag = 0;
	size_t len = der_time_put(text, seconds, &tag);

	if (len == 0)
		w->failed = true;
	derw_element(w, tag, (struct bytes){text, len});
}

void
derw_generalized_time(struct derw *w, int64_t seconds)
{
	uint8_t text[DER_TIME_MAX];
	size_t len = der_generalized_time_put(text, seconds);

	if (len == 0)
		w->failed = true;
	derw_element(w, DER_GENERALIZED_TIME, (struct bytes){text, len});
}

bool
derw_ok(const struct derw *w)
{
	return !w->failed;
}

struct bytes
derw_result(const struct derw *w)
{
	if (w->failed)
		return (struct bytes){0};
	return (struct bytes){w->buf + w->at, w->size - w->at};
}

size_t
der_header_size(uint64_t len)
{
	size_t size = 2;

	if (len < 0x80)
		return size;
	for (; len > 0; len >>= 8)
		size++;
	return size;
}

size_t
der_header_put(uint8_t *out, uint8_t tag, uint64_t len)
{
	size_t size = der_header_size(len);

	out[0] = tag;
	if (size == 2) {
		out[1] = (uint8_t)len;
		return size;
	}
	out[1] = (uint8_t)(0x80 | (size - 2));
	for (size_t i = size - 1; i > 1; i--, len >>= 8)
		out[i] = (uint8_t)len;
	return size;
}

struct date {
	uint32_t year, month, day;
};

/* A day since 0000-01-01 to its date; the counterpart of the reader's days_from_date. Years
 * begin in March here, so that a leap day ends one, and one era of 400 earlier. */
static struct date
date_from_days(uint32_t days)
{
	uint32_t z = days + 146097 - 60;
	uint32_t era = z / 146097, doe = z % 146097;
	uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint32_t month_from_march = (5 * doy + 2) / 153;
	struct date d;

	d.day = doy - (153 * month_from_march + 2) / 5 + 1;
	d.month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
	d.year = yoe + era * 400 + (d.month <= 2) - 400;
	return d;
}

static uint8_t *
put_two(uint8_t *out, uint32_t value)
{
	out[0] = (uint8_t)('0' + value / 10);
	out[1] = (uint8_t)('0' + value % 10);
	return out + 2;
}

/* The year outside 0..9999 gives false. */
static bool
split_time(int64_t seconds, struct date *date, uint32_t *second_of_day)
{
	static const int64_t year_0 = -62167219200, year_10000 = 253402300800;
	uint64_t since;

	if (seconds < year_0 || seconds >= year_10000)
		return false;
	since = (uint64_t)(seconds - year_0);
	*date = date_from_days((uint32_t)(since / 86400));
	*second_of_day = (uint32_t)(since % 86400);
	return true;
}

/* YYMMDDHHMMSSZ */
static void
put_short_time(uint8_t *out, const struct date *date, uint32_t second)
{
	out = put_two(out, date->year % 100);
	out = put_two(out, date->month);
	out = put_two(out, date->day);
	out = put_two(out, second / 3600);
	out = put_two(out, second / 60 % 60);
	out = put_two(out, second % 60);
	*out = 'Z';
}

size_t
der_time_put(uint8_t out[DER_TIME_MAX], int64_t seconds, uint8_t *tag)
{
	struct date date;
	uint32_t second;

	if (!split_time(seconds, &date, &second))
		return 0;
	if (date.year < 1950 || date.year > 2049) {
		*tag = DER_GENERALIZED_TIME;
		put_short_time(put_two(out, date.year / 100), &date, second);
		return 15;
	}
	*tag = DER_UTC_TIME;
	put_short_time(out, &date, second);
	return 13;
}

size_t
der_generalized_time_put(uint8_t out[DER_TIME_MAX], int64_t seconds)
{
	struct date date;
	uint32_t second;

	if (!split_time(seconds, &date, &second))
		return 0;
	put_short_time(put_two(out, date.year / 100), &date, second);
	return 15;
}
