#include "daemon/x509/name_int.h"

#include <stdio.h>

#include "daemon/x509/derw.h"
#include "daemon/x509/oid.h"

/* One AttributeTypeAndValue: SEQUENCE { type, value }. */
static bool
read_attribute(struct der *set, struct name_attribute *a, struct bytes *whole)
{
	struct der d;

	if (!der_next_is(set, DER_SEQUENCE) || !der_read_any(set, NULL, NULL, whole))
		return false;
	return der_enter_only(*whole, DER_SEQUENCE, &d) && der_read_oid(&d, &a->oid) &&
	       der_read_any(&d, &a->tag, &a->value, NULL) && der_end(&d);
}

static bool
check_rdn(struct der *set, unsigned *attributes, bool strict, struct error *err)
{
	struct bytes seen[NAME_ATTRIBUTE_MAX], whole, before = {0};
	struct name_attribute a = {0};
	size_t count = 0;

	do {
		if (!read_attribute(set, &a, &whole))
			return error_set(err, ERROR_INPUT,
			    "the name is no DER sequence of attributes (RFC 5280 4.1.2.4)");
		if (++*attributes > NAME_ATTRIBUTE_MAX)
			return error_set(err, ERROR_LIMIT, "the name has more than %d attributes",
			    NAME_ATTRIBUTE_MAX);
		if (count > 0 && bytes_compare(before, whole) >= 0)
			return error_set(err, ERROR_INPUT,
			    "the attributes of an RDN are not in DER order (X.690 11.6)");
		for (size_t i = 0; i < count; i++) {
			if (bytes_equal(seen[i], a.oid))
				return error_set(err, ERROR_INPUT,
				    "an RDN holds an attribute type twice (X.501 9.3)");
		}
		if (!name_check_value(name_type_by_oid(a.oid), a.tag, a.value, strict, err))
			return false;
		seen[count++] = a.oid;
		before = whole;
	} while (!der_end(set));
	return true;
}

static bool
check(struct bytes der, bool strict, struct error *err)
{
	unsigned attributes = 0;
	struct der rdns, set;

	if (der.len > NAME_DER_MAX)
		return error_set(err, ERROR_LIMIT, "the name takes %zu octets; at most %d", der.len,
		    NAME_DER_MAX);
	if (!der_enter_only(der, DER_SEQUENCE, &rdns))
		return error_set(
		    err, ERROR_INPUT, "the name is no DER SEQUENCE (RFC 5280 4.1.2.4)");
	while (!der_end(&rdns)) {
		if (!der_enter(&rdns, DER_SET, &set))
			return error_set(err, ERROR_INPUT,
			    "the name holds something that is no RDN (RFC 5280 4.1.2.4)");
		if (!check_rdn(&set, &attributes, strict, err))
			return false;
	}
	return true;
}

bool
name_check_structure(struct bytes der, struct error *err)
{
	return check(der, false, err);
}

bool
name_check(struct bytes der, struct error *err)
{
	return check(der, true, err);
}

bool
name_is_empty(struct bytes der)
{
	return der.len == 2;
}

void
name_iter_init(struct name_iter *it, struct bytes der)
{
	*it = (struct name_iter){0};
	if (!der_enter_only(der, DER_SEQUENCE, &it->rdns))
		it->rdns = (struct der){0};
}

bool
name_iter_next(struct name_iter *it, struct name_attribute *attribute)
{
	struct bytes whole;

	if (der_end(&it->attributes)) {
		if (!der_enter(&it->rdns, DER_SET, &it->attributes))
			return false;
		it->rdn++;
	}
	attribute->rdn = it->rdn - 1;
	return read_attribute(&it->attributes, attribute, &whole);
}

/* ---- to text */

struct text {
	char *out;
	size_t size, len;
	bool failed;
};

static void
put_char(struct text *t, char c)
{
	if (t->failed || t->size - t->len < 2) {
		t->failed = true;
		return;
	}
	t->out[t->len++] = c;
	t->out[t->len] = '\0';
}

static void
put_words(struct text *t, const char *words)
{
	for (; *words != '\0'; words++)
		put_char(t, *words);
}

static void
put_hex(struct text *t, uint8_t octet)
{
	static const char digits[] = "0123456789ABCDEF";

	put_char(t, digits[octet >> 4]);
	put_char(t, digits[octet & 0xf]);
}

static size_t
to_utf8(uint32_t c, uint8_t out[4])
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

/* Characters that move the cursor, hide, or turn the direction of what is
 * around them: an operator must see them for what they are. */
static bool
deceives(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x00ad || c == 0x061c ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe007f);
}

/* RFC 4514 2.4 */
static void
put_value(struct text *t, uint8_t tag, struct bytes value)
{
	struct bytes rest = value;
	uint8_t utf8[4];
	uint32_t c = 0;

	while (rest.len > 0 && !t->failed) {
		bool first = rest.len == value.len;

		if (!name_next_character(tag, &rest, &c)) {
			t->failed = true;
			return;
		}
		if (deceives(c)) {
			for (size_t i = 0, n = to_utf8(c, utf8); i < n; i++) {
				put_char(t, '\\');
				put_hex(t, utf8[i]);
			}
			continue;
		}
		if ((c < 0x80 && strchr("\"+,;<>\\", (int)c) != NULL) || (first && c == '#') ||
		    (c == ' ' && (first || rest.len == 0)))
			put_char(t, '\\');
		for (size_t i = 0, n = to_utf8(c, utf8); i < n; i++)
			put_char(t, (char)utf8[i]);
	}
}

/* An attribute without a short name: dotted type and the value's DER (2.4). */
static void
put_unknown(struct text *t, const struct name_attribute *a)
{
	char dotted[OID_TEXT_MAX];
	uint8_t header[9];
	size_t len = der_header_put(header, a->tag, a->value.len);

	oid_to_text(a->oid, dotted);
	put_words(t, dotted);
	put_words(t, "=#");
	for (size_t i = 0; i < len; i++)
		put_hex(t, header[i]);
	for (size_t i = 0; i < a->value.len; i++)
		put_hex(t, a->value.p[i]);
}

static void
put_attribute(struct text *t, const struct name_attribute *a)
{
	const char *keyword = name_attribute_keyword(a->oid);

	if (keyword == NULL) {
		put_unknown(t, a);
		return;
	}
	put_words(t, keyword);
	put_char(t, '=');
	put_value(t, a->tag, a->value);
}

bool
name_to_text(struct bytes der, char *out, size_t out_size, struct error *err)
{
	struct name_attribute attributes[NAME_ATTRIBUTE_MAX];
	struct text t = {.out = out, .size = out_size};
	struct name_iter it;
	size_t end, count = 0;

	if (out_size == 0 || !name_check_structure(der, err))
		return error_set(err, ERROR_INTERNAL, "no room for the text of a name");
	out[0] = '\0';
	name_iter_init(&it, der);
	while (count < NAME_ATTRIBUTE_MAX && name_iter_next(&it, &attributes[count]))
		count++;
	/* RDNs from the last to the first, within one in the order they have. */
	for (end = count; end > 0;) {
		size_t start = end - 1;

		while (start > 0 && attributes[start - 1].rdn == attributes[end - 1].rdn)
			start--;
		for (size_t i = start; i < end; i++) {
			if (i > start || end < count)
				put_char(&t, i > start ? '+' : ',');
			put_attribute(&t, &attributes[i]);
		}
		end = start;
	}
	if (t.failed)
		return error_set(err, ERROR_LIMIT, "the name is longer than %zu characters as text",
		    out_size - 1);
	return true;
}

bool
name_attribute_text(const struct name_attribute *attribute, char *out, size_t out_size)
{
	struct bytes rest = attribute->value;
	size_t len = 0, n;
	uint8_t utf8[4];
	uint32_t c;

	while (rest.len > 0) {
		if (!name_next_character(attribute->tag, &rest, &c) || c == 0)
			return false;
		n = to_utf8(c, utf8);
		if (out_size - len <= n)
			return false;
		memcpy(out + len, utf8, n);
		len += n;
	}
	if (out_size - len < 1)
		return false;
	out[len] = '\0';
	return true;
}
