#include "daemon/x509/der.h"

int
bytes_compare(struct bytes a, struct bytes b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common == 0 ? 0 : memcmp(a.p, b.p, common);

	if (order != 0)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

/*
 * Reads tag and length at d and says how long both are. Only the definite form
 * with the fewest octets is DER (X.690 10.1).
 */
static bool
read_header(const struct der *d, size_t *header_len, size_t *content_len)
{
	size_t octets, len;

	if (d->left < 2 || (d->p[0] & 0x1f) == 0x1f)
		return false;
	if (d->p[1] < 0x80) {
		*header_len = 2;
		*content_len = d->p[1];
		return *content_len <= d->left - 2;
	}
	octets = d->p[1] & 0x7f;
	if (octets == 0 || octets > 4 || d->left < 2 + octets)
		return false;
	len = 0;
	for (size_t i = 0; i < octets; i++)
		len = len << 8 | d->p[2 + i];
	if (len < 0x80 || d->p[2] == 0)
		return false;
	*header_len = 2 + octets;
	*content_len = len;
	return len <= d->left - *header_len;
}

bool
der_read_any(struct der *d, uint8_t *tag, struct bytes *content, struct bytes *whole)
{
	size_t header_len, content_len;

	if (!read_header(d, &header_len, &content_len))
		return false;
	if (tag != NULL)
		*tag = d->p[0];
	if (content != NULL)
		*content = (struct bytes){d->p + header_len, content_len};
	if (whole != NULL)
		*whole = (struct bytes){d->p, header_len + content_len};
	d->p += header_len + content_len;
	d->left -= header_len + content_len;
	return true;
}

bool
der_read_long(struct der *d, uint8_t tag, struct bytes *content)
{
	return der_next_is(d, tag) && der_read_any(d, NULL, content, NULL);
}

bool
der_read_whole(struct der *d, uint8_t tag, struct bytes *whole)
{
	return der_next_is(d, tag) && der_read_any(d, NULL, NULL, whole);
}

bool
der_enter(struct der *d, uint8_t tag, struct der *inner)
{
	struct bytes content;

	if (!der_read(d, tag, &content))
		return false;
	der_init(inner, content);
	return true;
}

bool
der_enter_only(struct bytes from, uint8_t tag, struct der *inner)
{
	struct der d;

	der_init(&d, from);
	return der_enter(&d, tag, inner) && der_end(&d);
}

/* X.690 8.3.2: the first nine bits are not all equal. */
static bool
integer_minimal(struct bytes b)
{
	if (b.len < 2)
		return b.len == 1;
	return !(b.p[0] == 0x00 && b.p[1] < 0x80) && !(b.p[0] == 0xff && b.p[1] >= 0x80);
}

/* What was read is not what was asked for. That nobody works on a copy of the cursor
 * instead, to write it back whole, has its reason: a processor that has written the two
 * halves waits for them to reach its cache before it reads both as one. */
static bool
back_to(struct der *d, const uint8_t *start)
{
	d->left += (size_t)(d->p - start);
	d->p = start;
	return false;
}

bool
der_read_integer(struct der *d, struct bytes *content)
{
	const uint8_t *start = d->p;

	if (!der_read(d, DER_INTEGER, content) || !integer_minimal(*content))
		return back_to(d, start);
	return true;
}

bool
der_read_unsigned(struct der *d, struct bytes *magnitude)
{
	const uint8_t *start = d->p;

	if (!der_read_integer(d, magnitude) || magnitude->p[0] >= 0x80)
		return back_to(d, start);
	if (magnitude->p[0] == 0 && magnitude->len > 1) {
		magnitude->p++;
		magnitude->len--;
	}
	return true;
}

bool
der_read_small(struct der *d, uint32_t max, uint32_t *value)
{
	const uint8_t *start = d->p;
	struct bytes b;
	uint32_t v = 0;

	if (!der_read_unsigned(d, &b) || b.len > 4)
		return back_to(d, start);
	for (size_t i = 0; i < b.len; i++)
		v = v << 8 | b.p[i];
	if (v > max)
		return back_to(d, start);
	*value = v;
	return true;
}

bool
der_read_boolean(struct der *d, bool *value)
{
	const uint8_t *start = d->p;
	struct bytes b;

	if (!der_read(d, DER_BOOLEAN, &b) || b.len != 1 || (b.p[0] != 0x00 && b.p[0] != 0xff))
		return back_to(d, start);
	*value = b.p[0] == 0xff;
	return true;
}

bool
der_oid_valid(struct bytes content)
{
	bool arc_starts = true;

	if (content.len == 0)
		return false;
	for (size_t i = 0; i < content.len; i++) {
		if (arc_starts && content.p[i] == 0x80)
			return false;
		arc_starts = content.p[i] < 0x80;
	}
	return arc_starts;
}

bool
der_read_oid(struct der *d, struct bytes *content)
{
	const uint8_t *start = d->p;

	if (!der_read(d, DER_OID, content) || !der_oid_valid(*content))
		return back_to(d, start);
	return true;
}

/* Content of a BIT STRING: the count of unused bits, then octets whose unused
 * bits are zero (X.690 11.2.1). */
static bool
split_bits(struct bytes b, struct bytes *octets, unsigned *unused)
{
	if (b.len == 0 || b.p[0] > 7 || (b.len == 1 && b.p[0] != 0))
		return false;
	*unused = b.p[0];
	*octets = (struct bytes){b.p + 1, b.len - 1};
	return *unused == 0 || (b.p[b.len - 1] & ((1U << *unused) - 1)) == 0;
}

bool
der_read_bit_string(struct der *d, struct bytes *octets, unsigned *unused)
{
	const uint8_t *start = d->p;
	struct bytes b;

	if (!der_read(d, DER_BIT_STRING, &b) || !split_bits(b, octets, unused))
		return back_to(d, start);
	return true;
}

bool
der_read_bit_octets(struct der *d, struct bytes *octets)
{
	const uint8_t *start = d->p;
	unsigned unused;

	if (!der_read_bit_string(d, octets, &unused) || unused != 0)
		return back_to(d, start);
	return true;
}

bool
der_read_named_bits(struct der *d, uint8_t tag, uint16_t *bits)
{
	const uint8_t *start = d->p;
	struct bytes b, octets;
	unsigned unused;

	if (!der_read(d, tag, &b) || !split_bits(b, &octets, &unused) || octets.len > 2)
		return back_to(d, start);
	*bits = 0;
	for (unsigned i = 0; i < 8 * octets.len; i++) {
		if (octets.p[i / 8] & (0x80 >> i % 8))
			*bits |= (uint16_t)(1U << i);
	}
	/* The last bit that is used must be set. */
	if (octets.len > 0 && (octets.p[octets.len - 1] >> unused & 1) == 0)
		return back_to(d, start);
	return true;
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar; years are
 * counted from March, so that the leap day comes last. */
static int64_t
days_from_date(int64_t year, unsigned month, unsigned day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	unsigned month_from_march = (month + 9) % 12;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;

	return era * 146097 + day_of_era - 719468;
}

static bool
two_digits(const uint8_t *p, unsigned max, unsigned *value)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*value = (unsigned)(p[0] - '0') * 10 + (unsigned)(p[1] - '0');
	return *value <= max;
}

/* MMDDHHMMSSZ after a year. */
static bool
parse_time_of_year(int64_t year, const uint8_t *p, int64_t *seconds)
{
	static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	unsigned month, day, hour, minute, second;

	if (!two_digits(p, 12, &month) || !two_digits(p + 2, 31, &day) ||
	    !two_digits(p + 4, 23, &hour) || !two_digits(p + 6, 59, &minute) ||
	    !two_digits(p + 8, 59, &second) || p[10] != 'Z' || month == 0 || day == 0)
		return false;
	if (day > month_days[month - 1] + (unsigned)(month == 2 && leap))
		return false;
	*seconds = days_from_date(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
	return true;
}

bool
der_read_generalized_time(struct der *d, int64_t *seconds)
{
	const uint8_t *start = d->p;
	unsigned century, year;
	struct bytes b;

	if (!der_read(d, DER_GENERALIZED_TIME, &b) || b.len != 15 ||
	    !two_digits(b.p, 99, &century) || !two_digits(b.p + 2, 99, &year) ||
	    !parse_time_of_year(century * 100 + year, b.p + 4, seconds))
		return back_to(d, start);
	return true;
}

bool
der_read_time(struct der *d, int64_t *seconds)
{
	static const int64_t year_1950 = -631152000, year_2050 = 2524608000;
	const uint8_t *start = d->p;
	struct bytes b;
	unsigned year;

	if (der_next_is(d, DER_GENERALIZED_TIME)) {
		if (!der_read_generalized_time(d, seconds) ||
		    (*seconds >= year_1950 && *seconds < year_2050))
			return back_to(d, start);
	} else if (!der_read(d, DER_UTC_TIME, &b) || b.len != 13 || !two_digits(b.p, 99, &year) ||
		   !parse_time_of_year(year < 50 ? 2000 + year : 1900 + year, b.p + 2, seconds)) {
		return back_to(d, start);
	}
	return true;
}

/*
 * Of the universal types, SEQUENCE and SET (and EXTERNAL and EMBEDDED PDV) are
 * always constructed and in DER all others never are (X.690 8, 10.2); the
 * simplest have few legal contents.
 */
static bool
universal_valid(uint8_t tag, struct bytes content)
{
	bool constructed = (tag & 0x20) != 0;
	unsigned unused;

	switch (tag & 0x1f) {
	case 0:
		return false; /* end of contents, of the indefinite form */
	case DER_SEQUENCE & 0x1f:
	case DER_SET & 0x1f:
	case 8:
	case 11:
		return constructed;
	case DER_BOOLEAN:
		return !constructed && content.len == 1 &&
		       (content.p[0] == 0x00 || content.p[0] == 0xff);
	case DER_INTEGER:
	case DER_ENUMERATED:
		return !constructed && integer_minimal(content);
	case DER_BIT_STRING:
		return !constructed && split_bits(content, &content, &unused);
	case DER_NULL:
		return !constructed && content.len == 0;
	case DER_OID:
		return !constructed && der_oid_valid(content);
	default:
		return !constructed;
	}
}

static bool
well_formed(struct bytes from, unsigned depth)
{
	struct bytes content;
	struct der d;
	uint8_t tag;

	der_init(&d, from);
	while (!der_end(&d)) {
		if (!der_read_any(&d, &tag, &content, NULL))
			return false;
		if ((tag & 0xc0) == 0 && !universal_valid(tag, content))
			return false;
		if ((tag & 0x20) != 0 &&
		    (depth == DER_DEPTH_MAX || !well_formed(content, depth + 1)))
			return false;
	}
	return true;
}

bool
der_well_formed(struct bytes from)
{
	return well_formed(from, 0);
}
