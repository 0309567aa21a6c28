#ifndef CHANCERY_TESTS_DER_MUTATE_H
#define CHANCERY_TESTS_DER_MUTATE_H

/*
 * A mutator for libFuzzer that keeps DER in form: one element, however deep, is
 * changed, left out, doubled or given another tag, and the lengths around it are
 * written anew, so that what is inside gets past the outermost parser.
 */

#include "daemon/x509/der.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

enum der_change { DER_CHANGE, DER_DROP, DER_DOUBLE, DER_RETAG, DER_CHANGES };

struct der_mutation {
	unsigned int left;    /* elements until the one that is changed */
	unsigned int counted; /* all elements */
	enum der_change change;
	uint8_t tag;
};

struct der_out {
	uint8_t *p;
	size_t len, max;
	bool failed;
};

static void
der_out_add(struct der_out *o, const uint8_t *p, size_t len)
{
	if (o->failed || len > o->max - o->len) {
		o->failed = true;
		return;
	}
	if (len > 0)
		memcpy(o->p + o->len, p, len);
	o->len += len;
}

static void
der_out_element(struct der_out *o, uint8_t tag, const uint8_t *content, size_t len)
{
	uint8_t head[6] = {tag};
	size_t n = 2;

	if (len < 0x80) {
		head[1] = (uint8_t)len;
	} else {
		size_t octets = len < 0x100 ? 1 : len < 0x10000 ? 2 : 3;

		head[1] = (uint8_t)(0x80 | octets);
		for (size_t i = 0; i < octets; i++)
			head[n++] = (uint8_t)(len >> 8 * (octets - 1 - i));
	}
	der_out_add(o, head, n);
	der_out_add(o, content, len);
}

static void der_mutate_list(
    struct der_mutation *m, struct bytes list, unsigned int depth, struct der_out *o);

/* Constructed, or octets that hold elements, as extensions do. */
static bool
der_has_elements(uint8_t tag, struct bytes content)
{
	if ((tag & 0x20) != 0)
		return true;
	return tag == DER_OCTET_STRING && content.len > 0 && der_well_formed(content);
}

static void
der_mutate_element(struct der_mutation *m, uint8_t tag, struct bytes content, unsigned int depth,
    struct der_out *o)
{
	static uint8_t scratch[DER_DEPTH_MAX + 1][65536];
	struct der_out inner = {scratch[depth], 0, sizeof scratch[depth], false};
	bool chosen = m->left-- == 0;

	m->counted++;
	if (chosen && m->change == DER_DROP)
		return;
	if (chosen && m->change == DER_RETAG)
		tag = m->tag;
	if (chosen && m->change == DER_CHANGE) {
		der_out_add(&inner, content.p, content.len);
		inner.len = LLVMFuzzerMutate(inner.p, inner.len, inner.len + 64);
	} else if (depth < DER_DEPTH_MAX && der_has_elements(tag, content)) {
		der_mutate_list(m, content, depth + 1, &inner);
	} else {
		der_out_add(&inner, content.p, content.len);
	}
	o->failed |= inner.failed;
	der_out_element(o, tag, inner.p, inner.len);
	if (chosen && m->change == DER_DOUBLE)
		der_out_element(o, tag, inner.p, inner.len);
}

static void
der_mutate_list(struct der_mutation *m, struct bytes list, unsigned int depth, struct der_out *o)
{
	struct bytes content;
	struct der d;
	uint8_t tag;

	der_init(&d, list);
	while (!der_end(&d)) {
		if (!der_read_any(&d, &tag, &content, NULL)) {
			der_out_add(o, d.p, d.left); /* no element: as it is */
			return;
		}
		der_mutate_element(m, tag, content, depth, o);
	}
}

/* Changes DER of len octets in place; returns the new length, at most max. */
static size_t
der_mutate(uint8_t *der, size_t len, size_t max, unsigned int seed)
{
	static uint8_t whole[65536];
	struct der_out o = {whole, 0, sizeof whole < max ? sizeof whole : max, false};
	struct der_mutation m = {.left = UINT32_MAX};

	/* Once to count, once to change. */
	der_mutate_list(&m, (struct bytes){der, len}, 0, &o);
	if (m.counted == 0 || o.failed)
		return LLVMFuzzerMutate(der, len, max);
	m = (struct der_mutation){.left = seed % m.counted,
	    .change = (enum der_change)(seed / 7 % DER_CHANGES),
	    .tag = (uint8_t)(seed >> 16)};
	o.len = 0;
	der_mutate_list(&m, (struct bytes){der, len}, 0, &o);
	if (o.failed || o.len == 0)
		return len;
	memcpy(der, whole, o.len);
	return o.len;
}

#endif
