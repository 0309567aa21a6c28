/* Whole signed CRLs are read while they stream by, and their entries tallied. */

#include "tests/unit/crl_lists.h"

#include "daemon/x509/crl_read.h"
#include "daemon/x509/crl_tally.h"
#include "daemon/x509/spki.h"

/* The key of a list, as the reader wants it. */
static struct bytes
list_key(const struct list *l, struct spki *spki)
{
	struct bytes der = {0};
	uint8_t *out = NULL;
	struct error e = ERROR_INIT;
	int len = i2d_PUBKEY(l->key, &out);

	assert_true(len > 0);
	der = (struct bytes){out, (size_t)len};
	assert_ok(spki_parse(der, spki, &e), e);
	return der;
}

static const uint8_t tally_key[CRL_TALLY_KEY_LEN] = {1, 2, 3};

static bool
tally_entry(const struct crl_entry *entry, void *arg, struct error *err)
{
	return crl_tally_add(arg, entry, err);
}

/* tag: of its entries, in the order in which they stand. */
static bool
read_whole(const struct list *l, const struct spki *key, struct bytes whole, bool pieces,
    uint8_t tag[CRL_TALLY_LEN], struct crl_summary *summary, struct error *err)
{
	struct crl_tally tally = {0};
	struct crl_rules rules = rules_for(l, 0);
	const struct crl_summary *read = NULL;
	struct crl_reader *r;
	size_t at = 0;
	bool ok;

	rules.entry = tally_entry;
	rules.arg = &tally;
	r = crl_reader_new(&rules, key, whole.len, err);
	ok = r != NULL && crl_tally_begin(&tally, tally_key, err);

	while (ok && at < whole.len) {
		size_t n = pieces ? 1 + random_below(random_below(2) ? 3 : 300) : whole.len;
		uint8_t *copy;

		if (n > whole.len - at)
			n = whole.len - at;
		copy = malloc(n);
		memcpy(copy, whole.p + at, n);
		ok = crl_reader_push(r, (struct bytes){copy, n}, err);
		free(copy);
		at += n;
	}
	ok = ok && crl_reader_finish(r, &read, err) && crl_tally_end(&tally, tag, err);
	if (ok)
		*summary = *read;
	crl_reader_free(r);
	crl_tally_free(&tally);
	return ok;
}

static void
tally_of(const struct list *l, size_t without, uint8_t tag[CRL_TALLY_LEN])
{
	struct error e = ERROR_INIT;
	struct crl_tally t = {0};

	assert_ok(crl_tally_begin(&t, tally_key, &e), e);
	for (size_t i = 0; i < l->count; i++) {
		struct crl_entry entry = l->entries[i];

		entry.serial = as_number(entry.serial);
		if (i != without)
			assert_ok(crl_tally_add(&t, &entry, &e), e);
	}
	assert_ok(crl_tally_end(&t, tag, &e), e);
	assert_int_equal(t.count, l->count - (without < l->count));
	crl_tally_free(&t);
	crl_tally_free(&t);
}

static void
reads_signed_lists(void **state)
{
	for (int i = 0; i < 100; i++) {
		uint8_t want[CRL_TALLY_LEN], other[CRL_TALLY_LEN];
		struct crl_summary summary;
		struct error e = ERROR_INIT;
		struct bytes whole, key_der;
		struct spki key;
		struct list l;
		X509_CRL *crl;

		make_list(&l, i < 3 ? (size_t)i : i == 3 ? 2000 : random_below(20), i % 2);
		crl = openssl_crl(&l);
		whole = TO_DER(X509_CRL, crl);
		key_der = list_key(&l, &key);
		for (int pieces = 0; pieces < 2; pieces++) {
			assert_ok(read_whole(&l, &key, whole, pieces, other, &summary, &e), e);
			tally_of(&l, SIZE_MAX, want);
			assert_memory_equal(other, want, sizeof want);
			assert_int_equal(summary.entries, l.count);
			assert_int_equal(summary.this_update, l.this_update);
		}
		for (size_t k = 0; k < l.count && k < 20; k++) {
			tally_of(&l, k, other);
			assert_memory_not_equal(want, other, sizeof want);
		}
		X509_CRL_free(crl);
		free_bytes(whole);
		OPENSSL_free((void *)key_der.p);
		free_list(&l);
	}
}

/* Every bit counts: structure or signature. */
static void
reads_nothing_else(void **state)
{
	uint8_t tag[CRL_TALLY_LEN];
	struct crl_summary summary;
	struct bytes whole, key_der;
	uint8_t *octets;
	struct spki key;
	struct list l;
	X509_CRL *crl;

	make_list(&l, 3, true);
	crl = openssl_crl(&l);
	whole = TO_DER(X509_CRL, crl);
	key_der = list_key(&l, &key);
	octets = malloc(whole.len + 1);
	memcpy(octets, whole.p, whole.len);
	octets[whole.len] = 0;
	for (size_t i = 0; i < whole.len; i++) {
		struct bytes cut = {octets, i};

		assert_false(read_whole(&l, &key, cut, false, tag, &summary, &(struct error){0}));
		octets[i] ^= (uint8_t)(1 << random_below(8));
		assert_false(read_whole(&l, &key, (struct bytes){octets, whole.len}, i % 2, tag,
		    &summary, &(struct error){0}));
		octets[i] = whole.p[i];
	}
	assert_false(read_whole(&l, &key, (struct bytes){octets, whole.len + 1}, false, tag,
	    &summary, &(struct error){0}));
	free(octets);
	X509_CRL_free(crl);
	free_bytes(whole);
	OPENSSL_free((void *)key_der.p);
	free_list(&l);
}

static void
another_key_is_refused(void **state)
{
	uint8_t tag[CRL_TALLY_LEN];
	struct crl_summary summary;
	struct error e = ERROR_INIT;
	struct bytes whole, key_der;
	struct spki key;
	struct list l, other;
	X509_CRL *crl;

	make_list(&l, 1, false);
	while (l.key != shared_key("p384")) {
		free_list(&l);
		make_list(&l, 1, false);
	}
	other = l;
	other.key = EVP_EC_gen("P-384");
	crl = openssl_crl(&l);
	whole = TO_DER(X509_CRL, crl);
	key_der = list_key(&other, &key);
	assert_false(read_whole(&l, &key, whole, true, tag, &summary, &e));
	assert_error(e, "signature");
	X509_CRL_free(crl);
	free_bytes(whole);
	OPENSSL_free((void *)key_der.p);
	EVP_PKEY_free(other.key);
	free_list(&l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_signed_lists),
	    cmocka_unit_test(reads_nothing_else),
	    cmocka_unit_test(another_key_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
