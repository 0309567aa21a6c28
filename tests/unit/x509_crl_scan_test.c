/* The look over a CRL of unknown origin, against OpenSSL as its writer. */

#include "tests/unit/x509_util.h"

#include "daemon/x509/crl_scan.h"

#define THIS_UPDATE 1795348800

struct list {
	EVP_PKEY *key;
	const char *name;
	long version; /* 0: v1 */
	int entries;
	bool next_update, delta;
	long number; /* 0: none */
};

static struct bytes
make(const struct list *l)
{
	X509_CRL *crl = X509_CRL_new();
	X509_NAME *name = X509_NAME_new();
	ASN1_TIME *when = ASN1_TIME_set(NULL, THIS_UPDATE);
	struct bytes der;

	assert_true(X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const unsigned char *)l->name, -1, -1, 0));
	assert_true(X509_CRL_set_version(crl, l->version));
	assert_true(X509_CRL_set_issuer_name(crl, name));
	assert_true(X509_CRL_set1_lastUpdate(crl, when));
	if (l->next_update)
		assert_true(X509_CRL_set1_nextUpdate(crl, when));
	for (int i = 0; i < l->entries; i++) {
		X509_REVOKED *r = X509_REVOKED_new();
		ASN1_INTEGER *serial = ASN1_INTEGER_new();

		assert_true(ASN1_INTEGER_set(serial, 1000 + i));
		assert_true(X509_REVOKED_set_serialNumber(r, serial));
		assert_true(X509_REVOKED_set_revocationDate(r, when));
		assert_true(X509_CRL_add0_revoked(crl, r));
		ASN1_INTEGER_free(serial);
	}
	if (l->number > 0) {
		ASN1_INTEGER *n = ASN1_INTEGER_new();

		assert_true(ASN1_INTEGER_set(n, l->number));
		assert_true(X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0));
		if (l->delta)
			assert_true(X509_CRL_add1_ext_i2d(crl, NID_delta_crl, n, 1, 0));
		ASN1_INTEGER_free(n);
	}
	assert_true(X509_CRL_sign(crl, l->key, EVP_sha256()) > 0);
	der = TO_DER(X509_CRL, crl);
	ASN1_TIME_free(when);
	X509_NAME_free(name);
	X509_CRL_free(crl);
	return der;
}

struct reader {
	X509_NAME *name;
	struct bytes issuer, key_der;
	struct spki key;
};

static void
reader_make(struct reader *r, EVP_PKEY *key)
{
	struct error e = ERROR_INIT;

	r->name = X509_NAME_new();
	assert_true(X509_NAME_add_entry_by_txt(
	    r->name, "CN", MBSTRING_UTF8, (const unsigned char *)"Scan CA", -1, -1, 0));
	r->issuer = TO_DER(X509_NAME, r->name);
	r->key_der = TO_DER(PUBKEY, key);
	assert_ok(spki_parse(r->key_der, &r->key, &e), e);
}

static void
reader_free(struct reader *r)
{
	X509_NAME_free(r->name);
	free_bytes(r->issuer);
	free_bytes(r->key_der);
}

/* In pieces of this size, each in memory of its own. NULL: it is refused. */
static struct crl_scan *
scan(const struct reader *r, struct bytes whole, size_t piece, struct crl_facts *facts,
    struct error *e)
{
	struct crl_scan *s = crl_scan_new(r->issuer, &r->key, e);
	bool ok = s != NULL;

	for (size_t at = 0; ok && at < whole.len; at += piece) {
		size_t n = whole.len - at < piece ? whole.len - at : piece;
		uint8_t *copy = malloc(n);

		memcpy(copy, whole.p + at, n);
		ok = crl_scan_push(s, (struct bytes){copy, n}, e);
		free(copy);
	}
	if (ok && crl_scan_finish(s, facts, e))
		return s;
	crl_scan_free(s);
	return NULL;
}

static void
reads_what_others_write(void **state)
{
	static const struct list lists[] = {
	    {NULL, "Scan CA", 1, 0, true, false, 1},
	    {NULL, "Scan CA", 1, 1, true, false, 77},
	    {NULL, "Scan CA", 1, 3000, true, false, 300},
	    {NULL, "Scan CA", 1, 5, true, true, 0x7fff},
	    {NULL, "Scan CA", 1, 3, false, false, 4},
	    {NULL, "Scan CA", 0, 3, true, false, 0},
	    {NULL, "Scan CA", 0, 0, true, false, 0},
	    {NULL, "Scan CA", 0, 0, false, false, 0},
	};
	static const size_t pieces[] = {1, 7, 4096, SIZE_MAX / 2};

	for (size_t i = 0; i < COUNT_OF(lists) * 2; i++) {
		struct list l = lists[i / 2];
		struct reader r;
		struct bytes der;

		l.key = shared_key(i % 2 ? "p256" : "rsa2048");
		reader_make(&r, l.key);
		der = make(&l);
		for (size_t k = 0; k < COUNT_OF(pieces); k++) {
			struct error e = ERROR_INIT;
			struct crl_facts facts = {0};
			struct crl_scan *s = scan(&r, der, pieces[k], &facts, &e);
			uint64_t number = 0;

			if (s == NULL)
				fail_msg("list %zu, pieces of %zu: %s", i, pieces[k], e.text);
			for (size_t n = 0; n < facts.number.len; n++)
				number = number << 8 | facts.number.p[n];
			assert_int_equal(number, l.number);
			assert_int_equal(facts.this_update, THIS_UPDATE);
			assert_int_equal(facts.delta, l.delta);
			crl_scan_free(s);
		}
		free_bytes(der);
		reader_free(&r);
	}
}

static void
refuses_what_is_not_of_the_key(void **state)
{
	struct list l = {shared_key("p256"), "Scan CA", 1, 3, true, false, 9};
	struct crl_facts facts;
	struct error e = ERROR_INIT;
	struct reader r;
	struct bytes der;

	reader_make(&r, shared_key("p256-bob"));
	der = make(&l);
	assert_null(scan(&r, der, 100, &facts, &e));
	assert_error(e, "signature");
	free_bytes(der);
	error_clear(&e);
	l.key = shared_key("p256-bob");
	l.name = "Other CA";
	der = make(&l);
	assert_null(scan(&r, der, 100, &facts, &e));
	assert_error(e, "of another CA");
	free_bytes(der);
	reader_free(&r);
}

/* Whatever is cut off, put behind or changed: it is refused. */
static void
refuses_what_was_changed(void **state)
{
	struct list l = {shared_key("p256"), "Scan CA", 1, 3, true, false, 9};
	struct crl_facts facts;
	struct bytes der = make(&l);
	struct reader r;
	uint8_t *copy = malloc(der.len + 1);

	reader_make(&r, l.key);
	for (size_t len = 0; len < der.len; len++) {
		struct error e = ERROR_INIT;

		assert_null(scan(&r, (struct bytes){der.p, len}, 33, &facts, &e));
		assert_true(error_is_set(&e));
	}
	for (size_t i = 0; i < der.len * 8; i++) {
		struct error e = ERROR_INIT;

		memcpy(copy, der.p, der.len);
		copy[i / 8] ^= (uint8_t)(1 << i % 8);
		if (scan(&r, (struct bytes){copy, der.len}, 33, &facts, &e) != NULL)
			fail_msg("bit %zu of octet %zu", i % 8, i / 8);
	}
	memcpy(copy, der.p, der.len);
	copy[der.len] = 0;
	{
		struct error e = ERROR_INIT;

		assert_null(scan(&r, (struct bytes){copy, der.len + 1}, 33, &facts, &e));
	}
	free(copy);
	free_bytes(der);
	reader_free(&r);
}

static void
refuses_random_octets(void **state)
{
	struct crl_facts facts;
	struct reader r;
	uint8_t octets[600];

	reader_make(&r, shared_key("p256"));
	for (int i = 0; i < 5000; i++) {
		struct error e = ERROR_INIT;
		static const uint8_t head[] = {0x30, 0x82, 0x02, 0x54, 0x30, 0x82, 0x01, 0x00};

		random_octets(octets, sizeof octets);
		if (i % 2)
			memcpy(octets, head, sizeof head);
		assert_null(scan(&r, BYTES(octets), 1 + random_below(sizeof octets), &facts, &e));
	}
	reader_free(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_what_others_write),
	    cmocka_unit_test(refuses_what_is_not_of_the_key),
	    cmocka_unit_test(refuses_what_was_changed),
	    cmocka_unit_test(refuses_random_octets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
