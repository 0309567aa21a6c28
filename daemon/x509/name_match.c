/* When two names are the same, for who does not compare octets. */

#include "daemon/x509/name_int.h"

/*
 * RFC 5280 7.1: strings are prepared (RFC 4518 2) before they are compared.
 * Programs do more or less of it: all fold the case of ASCII and the blanks,
 * some fold more. What any of them could take for the same is the same here.
 */

/* A value, read prepared. */
struct prepared {
	uint8_t tag;
	struct bytes rest;
	uint32_t kept; /* the character behind a run of blanks; 0: none */
	bool begun;
};

/* RFC 4518 2.2: mapped to nothing. */
static bool
is_nothing(uint32_t c)
{
	return c < 0x09 || (c >= 0x0e && c < 0x20) || (c >= 0x7f && c < 0x85) ||
	       (c >= 0x86 && c < 0xa0) || c == 0xad || c == 0x34f || c == 0x6dd ||
	       (c >= 0x180b && c <= 0x180e) || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x202a && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
	       (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffc);
}

/* RFC 4518 2.2: mapped to a space. */
static bool
is_blank(uint32_t c)
{
	return c == ' ' || (c >= 0x09 && c <= 0x0d) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	       c == 0x205f || c == 0x3000;
}

/* ASCII, its fullwidth forms, Latin 1, Greek and Cyrillic. */
static uint32_t
fold(uint32_t c)
{
	if (c >= 0xff01 && c <= 0xff5e)
		c -= 0xfee0;
	if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) ||
	    (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
		return c + 0x20;
	return c >= 0x400 && c <= 0x40f ? c + 0x50 : c;
}

/* False at the end, or where the value is no string. */
static bool
next(struct prepared *p, uint32_t *character)
{
	bool blank = false;
	uint32_t c;

	if (p->kept != 0) {
		*character = p->kept;
		p->kept = 0;
		return true;
	}
	while (p->rest.len > 0 && name_next_character(p->tag, &p->rest, &c)) {
		if (is_nothing(c))
			continue;
		if (is_blank(c)) {
			blank = p->begun;
			continue;
		}
		p->begun = true;
		*character = fold(c);
		if (blank) {
			p->kept = *character;
			*character = ' ';
		}
		return true;
	}
	return false;
}

static bool
values_match(const struct name_attribute *a, const struct name_attribute *b)
{
	struct prepared x = {.tag = a->tag, .rest = a->value};
	struct prepared y = {.tag = b->tag, .rest = b->value};
	uint32_t c = 0, d = 0;
	bool more, same;

	if (!bytes_equal(a->oid, b->oid))
		return false;
	do {
		more = next(&x, &c);
		same = more == next(&y, &d) && (!more || c == d);
	} while (more && same);
	/* Both at their end, or both no strings there: then octets decide. */
	return same && (x.rest.len == y.rest.len) &&
	       (x.rest.len == 0 || bytes_equal(x.rest, y.rest));
}

static size_t
collect(struct bytes der, struct name_attribute out[NAME_ATTRIBUTE_MAX])
{
	struct name_iter it;
	size_t n = 0;

	name_iter_init(&it, der);
	while (n < NAME_ATTRIBUTE_MAX && name_iter_next(&it, &out[n]))
		n++;
	return n;
}

bool
name_matches(struct bytes a, struct bytes b)
{
	struct name_attribute x[NAME_ATTRIBUTE_MAX], y[NAME_ATTRIBUTE_MAX];
	bool taken[NAME_ATTRIBUTE_MAX] = {false};
	size_t n, k;

	if (bytes_equal(a, b))
		return true;
	n = collect(a, x);
	if (collect(b, y) != n)
		return false;
	/* The order within an RDN is one of octets, and means nothing. */
	for (size_t i = 0; i < n; i++) {
		for (k = 0; k < n; k++) {
			if (!taken[k] && x[i].rdn == y[k].rdn && values_match(&x[i], &y[k]))
				break;
		}
		if (k == n)
			return false;
		taken[k] = true;
	}
	return true;
}
