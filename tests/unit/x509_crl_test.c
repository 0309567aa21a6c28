/* CRLs are encoded as OpenSSL would, and what is no CRL of ours is refused. */

#include "tests/unit/crl_lists.h"

#include "daemon/x509/derw.h"

/* ---- ours */

struct encoded {
	uint8_t *tbs, *whole;
	size_t tbs_len, whole_len;
};

static struct bytes
our_extensions(const struct list *l, uint8_t *buf, size_t size)
{
	const struct idp idp = {.urls = urls, .url_count = 1};
	struct extensions x;

	extensions_init(&x, buf, size);
	extensions_add_authority_key_identifier(&x, BYTES(key_id));
	extensions_add_crl_number(&x, (struct bytes){l->number, l->number_len});
	if (l->delta)
		extensions_add_delta_crl_indicator(&x, (struct bytes){l->base, l->base_len});
	if (l->idp)
		extensions_add_issuing_distribution_point(&x, &idp);
	if (l->freshest)
		extensions_add_freshest_crl(
		    &x, &(struct distribution_point){.urls = urls + 1, .url_count = 1}, 1);
	assert_true(extensions_ok(&x));
	return extensions_result(&x);
}

static void
append(uint8_t *to, size_t *len, struct bytes b)
{
	memcpy(to + *len, b.p, b.len);
	*len += b.len;
}

/* As the database adds them up. */
static struct crl_sums
sums_of(const struct list *l)
{
	struct crl_sums s = {.entries = (int64_t)l->count};

	for (size_t i = 0; i < l->count; i++) {
		const struct crl_entry *e = &l->entries[i];
		struct bytes serial = as_number(e->serial);

		s.serial_octets += (int64_t)serial.len + (serial.p[0] >= 0x80);
		s.generalized += e->revoked_at >= 2524608000;
		s.with_reason += e->reason != CRL_UNSPECIFIED;
		s.with_invalidity += e->has_invalidity_date;
		s.with_both += e->reason != CRL_UNSPECIFIED && e->has_invalidity_date;
	}
	return s;
}

/* As the issuer does it: sizes first, then head, entries, tail. */
static void
encode_tbs(const struct list *l, struct encoded *out)
{
	uint8_t issuer[NAME_DER_MAX], ext[2048], buf[CRL_HEAD_MAX], entry[CRL_ENTRY_MAX];
	struct tbs_crl t = {
	    .sig_alg = l->alg, .this_update = l->this_update, .next_update = l->next_update};
	struct error e = ERROR_INIT;
	const struct crl_sums sums = sums_of(l);
	uint64_t sum, tbs_len;
	struct bytes piece;
	size_t size;

	t.extensions = our_extensions(l, ext, sizeof ext);
	assert_ok(name_from_text(ISSUER, issuer, sizeof issuer, &t.issuer, &e), e);
	assert_ok(crl_sums_size(&sums, &sum, &e), e);
	assert_ok(crl_tbs_head(&t, sum, buf, sizeof buf, &piece, &tbs_len, &e), e);
	out->tbs = malloc(tbs_len);
	out->tbs_len = 0;
	append(out->tbs, &out->tbs_len, piece);
	for (size_t i = 0; i < l->count; i++) {
		assert_ok(crl_entry_encode(&l->entries[i], l->delta, entry, &size, &e), e);
		append(out->tbs, &out->tbs_len, (struct bytes){entry, size});
	}
	assert_ok(crl_tbs_tail(&t, buf, sizeof buf, &piece, &e), e);
	append(out->tbs, &out->tbs_len, piece);
	assert_int_equal(out->tbs_len, tbs_len);
}

static void
encode_whole(const struct list *l, struct bytes signature, struct encoded *out)
{
	uint8_t head[CRL_LIST_HEAD_MAX], buf[CRL_LIST_TAIL_MAX];
	struct error e = ERROR_INIT;
	struct bytes tail;
	uint64_t list_len;
	size_t len;

	assert_ok(crl_list_head(out->tbs_len, l->alg, signature.len, head, &len, &list_len, &e), e);
	out->whole = malloc(list_len);
	out->whole_len = 0;
	append(out->whole, &out->whole_len, (struct bytes){head, len});
	append(out->whole, &out->whole_len, (struct bytes){out->tbs, out->tbs_len});
	assert_ok(crl_list_tail(l->alg, signature, buf, sizeof buf, &tail, &e), e);
	append(out->whole, &out->whole_len, tail);
	assert_int_equal(out->whole_len, list_len);
}

/* ---- the checker */

enum chunks { WHOLE, SINGLE, RANDOM };

static bool
run_check(const struct crl_rules *rules, struct bytes tbs, enum chunks chunks,
    struct crl_summary *summary, struct error *err)
{
	static struct crl_check check;
	const struct crl_summary *s;
	size_t at = 0;

	crl_check_begin(&check, rules);
	while (at < tbs.len) {
		size_t n = chunks == WHOLE    ? tbs.len
			   : chunks == SINGLE ? 1
					      : 1 + random_below(random_below(2) ? 5 : 200);
		uint8_t *copy;
		bool ok;

		if (n > tbs.len - at)
			n = tbs.len - at;
		/* Each piece in memory of its own, gone afterwards. */
		copy = malloc(n);
		memcpy(copy, tbs.p + at, n);
		ok = crl_check_push(&check, (struct bytes){copy, n}, err);
		free(copy);
		if (!ok) {
			assert_false(crl_check_finish(&check, &s, err));
			return false;
		}
		at += n;
	}
	if (!crl_check_finish(&check, &s, err))
		return false;
	*summary = *s;
	return true;
}

static void
check_all_ways(const struct list *l, struct bytes tbs)
{
	const struct crl_rules rules = rules_for(l, tbs.len);

	for (enum chunks chunks = WHOLE; chunks <= RANDOM; chunks++) {
		struct error e = ERROR_INIT;
		struct crl_summary s;

		assert_ok(run_check(&rules, tbs, chunks, &s, &e), e);
		assert_int_equal(s.entries, l->count);
		assert_int_equal(s.this_update, l->this_update);
		assert_int_equal(s.next_update, l->next_update);
		assert_int_equal(s.delta, l->delta);
		assert_bytes((struct bytes){s.number, s.number_len},
		    (struct bytes){l->number, l->number_len});
		assert_int_equal(s.base_number_len, l->delta ? 1 : 0);
		assert_int_equal(s.idp.len > 0, l->idp);
	}
}

static void
like_openssl(void **state)
{
	static const size_t counts[] = {0, 1, 2, 3, 1000};

	for (int i = 0; i < 200; i++) {
		struct encoded ours = {0};
		const ASN1_BIT_STRING *sig = NULL;
		struct bytes want;
		struct list l;
		X509_CRL *crl;

		make_list(&l, i < 10 ? counts[i % 5] : random_below(20), i % 2);
		crl = openssl_crl(&l);
		want = TO_DER(X509_CRL, crl);
		X509_CRL_get0_signature(crl, &sig, NULL);
		encode_tbs(&l, &ours);
		encode_whole(&l,
		    (struct bytes){ASN1_STRING_get0_data(sig), (size_t)ASN1_STRING_length(sig)},
		    &ours);
		assert_bytes((struct bytes){ours.whole, ours.whole_len}, want);
		check_all_ways(&l, (struct bytes){ours.tbs, ours.tbs_len});
		free(ours.tbs);
		free(ours.whole);
		free_bytes(want);
		X509_CRL_free(crl);
		free_list(&l);
	}
}

static void
cut_off_and_flipped(void **state)
{
	struct crl_summary s;
	struct encoded ours;
	struct list l;

	make_list(&l, 5, true);
	encode_tbs(&l, &ours);
	for (size_t i = 0; i < ours.tbs_len; i++) {
		struct crl_rules rules = rules_for(&l, ours.tbs_len);

		assert_false(
		    run_check(&rules, (struct bytes){ours.tbs, i}, RANDOM, &s, &(struct error){0}));
		rules.total_len = i;
		assert_false(
		    run_check(&rules, (struct bytes){ours.tbs, i}, WHOLE, &s, &(struct error){0}));
	}
	for (int i = 0; i < 20000; i++) {
		const struct crl_rules rules = rules_for(&l, ours.tbs_len);
		size_t at = random_below((unsigned)ours.tbs_len);
		uint8_t bit = (uint8_t)(1 << random_below(8));
		bool results[2];

		/* Whatever the answer is, it does not depend on the pieces. */
		ours.tbs[at] ^= bit;
		for (int way = 0; way < 2; way++)
			results[way] = run_check(&rules, (struct bytes){ours.tbs, ours.tbs_len},
			    way == 0 ? WHOLE : RANDOM, &s, &(struct error){0});
		assert_int_equal(results[0], results[1]);
		ours.tbs[at] ^= bit;
	}
	free(ours.tbs);
	free_list(&l);
}

/* ---- lists that must be refused, each built by hand around one fault */

#define AKI "30 1f 06 03 551d23 04 18 30 16 80 14 0102030405060708090a0b0c0d0e0f1011121314"
#define NUMBER "30 0a 06 03 551d14 04 03 02 01 07"
#define FRESHEST "30 14 06 03 551d2e 04 0d 30 0b 30 09 a0 07 a0 05 86 03 613a62"
#define PUBLISHED "30 1a 06 09 2b060104018237150e 04 0d 30 0b 30 09 a0 07 a0 05 86 03 613a62"
#define DELTA "30 0d 06 03 551d1b 01 01 ff 04 03 02 01 05"
#define ENTRY "30 12 02 01 05 17 0d 3236313132323132303030305a"
#define ENTRY_WITH(len, list_len, ext) \
	"30 " len " 02 01 05 17 0d 3236313132323132303030305a 30 " list_len " " ext
#define REASON(n) "30 0a 06 03 551d15 04 03 0a 01 " n

struct fault {
	const char *entries, *extensions; /* entries NULL: absent */
	const char *words;		  /* NULL: legal */
};

static struct bytes
build_by_hand(const struct fault *f, const struct crl_rules *rules, uint8_t *buf, size_t size)
{
	size_t mark;
	struct derw w;

	derw_init(&w, buf, size);
	derw_raw(&w, hex(f->extensions));
	derw_wrap(&w, 0, DER_SEQUENCE);
	derw_wrap(&w, 0, DER_CONTEXT_CONSTRUCTED(0));
	mark = derw_mark(&w);
	if (f->entries != NULL) {
		derw_raw(&w, hex(f->entries));
		derw_wrap(&w, mark, DER_SEQUENCE);
	}
	derw_time(&w, 1795435200);
	derw_time(&w, 1795348800);
	derw_raw(&w, rules->issuer);
	derw_raw(&w, sig_alg_der(rules->sig_alg));
	derw_unsigned(&w, 1);
	derw_wrap(&w, 0, DER_SEQUENCE);
	assert_true(derw_ok(&w));
	return derw_result(&w);
}

static void
faults(void **state)
{
	static const struct fault cases[] = {
	    {NULL, AKI NUMBER, NULL},
	    {ENTRY ENTRY, AKI NUMBER, NULL},
	    {NULL, AKI NUMBER DELTA, NULL},
	    {ENTRY_WITH("20", "0c", REASON("01")), AKI NUMBER, NULL},
	    {ENTRY_WITH("20", "0c", REASON("08")), AKI NUMBER DELTA, NULL},
	    {"", AKI NUMBER, "revokedCertificates is empty"},
	    {ENTRY_WITH("20", "0c", REASON("08")), AKI NUMBER, "removeFromCRL"},
	    {ENTRY_WITH("20", "0c", REASON("00")), AKI NUMBER, "5.3.1"},
	    {ENTRY_WITH("20", "0c", REASON("07")), AKI NUMBER, "5.3.1"},
	    {ENTRY_WITH("20", "0c", REASON("0b")), AKI NUMBER, "5.3.1"},
	    {ENTRY_WITH("2c", "18", REASON("01") REASON("01")), AKI NUMBER, "repeated"},
	    {ENTRY_WITH("23", "0f", "30 0d 06 03 551d15 01 01 ff 04 03 0a 01 01"), AKI NUMBER,
		"5.3.1"},
	    {ENTRY_WITH("1d", "09", "30 07 06 03 551d18 04 00"), AKI NUMBER, "5.3.1"},
	    {ENTRY_WITH("1d", "09", "30 07 06 03 551d1d 04 00"), AKI NUMBER, "unknown"},
	    {ENTRY_WITH("14", "00", ""), AKI NUMBER, "no DER"},
	    {"30 12 02 01 00 17 0d 3236313132323132303030305a", AKI NUMBER, "not positive"},
	    {"30 12 02 01 80 17 0d 3236313132323132303030305a", AKI NUMBER, "not positive"},
	    {"30 13 02 02 00 01 17 0d 3236313132323132303030305a", AKI NUMBER, "not positive"},
	    {"30 26 02 15 010000000000000000000000000000000000000000 17 0d "
	     "3236313132323132303030305a",
		AKI NUMBER, "longer than 20"},
	    {"30 12 02 01 05 17 0d 3236313132323132303030302b", AKI NUMBER, "revocationDate"},
	    {"30 14 02 01 05 18 0f 32303236313132323132303030305a", AKI NUMBER, "revocationDate"},
	    {"30 14 02 01 05 17 0d 3236313132323132303030305a 05 00", AKI NUMBER, "more than"},
	    {"31 12 02 01 05 17 0d 3236313132323132303030305a", AKI NUMBER, "not positive"},
	    {"30 81 80 02 01 05", AKI NUMBER, "longer than what"},
	    {"30 7f 02 01 05", AKI NUMBER, "longer than what"},
	    {NULL, AKI, "missing"},
	    {NULL, NUMBER, "missing"},
	    {NULL, "", "no DER sequence"},
	    {NULL, AKI NUMBER NUMBER, "stands twice"},
	    {NULL,
		"30 1f 06 03 551d23 04 18 30 16 80 14 "
		"ff02030405060708090a0b0c0d0e0f1011121314" NUMBER,
		"not the CA's key"},
	    {NULL, "30 0d 06 03 551d14 01 01 ff 04 03 02 01 07" AKI, "must be critical"},
	    {NULL, AKI NUMBER "30 0a 06 03 551d1b 04 03 02 01 05", "must be critical"},
	    {NULL, AKI NUMBER "30 0d 06 03 551d1b 01 01 ff 04 03 02 01 08", "below its base"},
	    {NULL, AKI "30 0a 06 03 551d14 04 03 02 01 ff", "CRL number"},
	    {NULL, AKI NUMBER DELTA FRESHEST, "freshestCRL"},
	    {NULL, AKI NUMBER FRESHEST, NULL},
	    {NULL, AKI NUMBER DELTA PUBLISHED, NULL},
	    {NULL, AKI NUMBER "30 11 06 09 2b060104018237150e 04 04 30 02 30 00",
		"distribution point"},
	    {NULL, AKI NUMBER "30 18 06 03 551d3c 04 11 18 0f 32303236303130313030303030305a",
		NULL},
	    {NULL,
		AKI NUMBER "30 1b 06 03 551d3c 01 01 ff 04 11 18 0f 32303236303130313030303030305a",
		"must be critical"},
	    {NULL, AKI NUMBER "30 16 06 03 551d3c 04 0f 17 0d 3236303130313030303030305a",
		"no GeneralizedTime"},
	    {NULL, AKI NUMBER "30 0b 06 03 551d2e 04 04 30 02 30 00", "distribution point"},
	    {NULL, AKI NUMBER "30 14 06 08 2b06010505070101 04 08 30 06 30 04 86 02 613a",
		"access method"},
	    {NULL,
		AKI NUMBER "30 1b 06 03 551d1c 01 01 ff 04 11 30 0f a0 0d a1 0b 30 09 06 03 550403 "
			   "0c 02 6161",
		"full name"},
	    {NULL,
		AKI NUMBER "30 17 06 03 551d1c 01 01 ff 04 0d 30 0b a0 09 a0 07 86 05 613a622f63",
		NULL},
	    {NULL, AKI NUMBER "30 0a 06 03 551d12 04 03 30 01 00", "is no DER"},
	    {NULL, AKI NUMBER "30 09 06 03 551d12 04 02 30 00", "does not belong"},
	    {NULL, AKI NUMBER "30 0c 06 03 551d1c 01 01 ff 04 02 30 00", "issuingDistribution"},
	    {NULL, AKI NUMBER "30 0f 06 03 551d1c 01 01 ff 04 05 30 03 81 01 ff", NULL},
	    {NULL, AKI NUMBER "30 0f 06 03 551d1c 01 01 ff 04 05 30 03 81 01 01",
		"issuingDistribution"},
	    {NULL, AKI NUMBER "30 0f 06 03 551d1c 01 01 ff 04 05 30 03 84 01 ff",
		"issuingDistribution"},
	    {NULL,
		AKI NUMBER "30 1b 06 03 551d1c 01 01 ff 04 11 30 0f a0 09 a0 07 86 05 613a622f63 "
			   "83 02 0640",
		NULL},
	    {NULL,
		AKI NUMBER "30 1e 06 03 551d1c 01 01 ff 04 14 30 12 a0 09 a0 07 86 05 613a622f63 "
			   "82 01 ff 83 02 0640",
		NULL},
	    {NULL, /* not in this order */
		AKI NUMBER "30 1e 06 03 551d1c 01 01 ff 04 14 30 12 a0 09 a0 07 86 05 613a622f63 "
			   "83 02 0640 82 01 ff",
		"issuingDistribution"},
	    {NULL,
		AKI NUMBER "30 1b 06 03 551d1c 01 01 ff 04 11 30 0f a0 09 a0 07 86 05 613a622f63 "
			   "83 02 0780",
		"ReasonFlags"},
	    {NULL, AKI NUMBER "30 10 06 03 551d1c 01 01 ff 04 06 30 04 83 02 0640",
		"issuingDistribution"},
	    {NULL, AKI NUMBER "30 12 06 03 551d1c 01 01 ff 04 08 30 06 81 01 ff 82 01 ff",
		"issuingDistribution"},
	};
	struct list l;

	make_list(&l, 0, false);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct crl_rules rules = rules_for(&l, 0);

		for (enum chunks chunks = WHOLE; chunks <= RANDOM; chunks++) {
			struct error e = ERROR_INIT;
			struct crl_summary s;
			uint8_t buf[2048];
			struct bytes tbs = build_by_hand(&cases[i], &rules, buf, sizeof buf);

			rules.total_len = tbs.len;
			if (cases[i].words == NULL) {
				assert_ok(run_check(&rules, tbs, chunks, &s, &e), e);
				continue;
			}
			if (run_check(&rules, tbs, chunks, &s, &e))
				fail_msg("case %zu was taken", i);
			assert_error(e, cases[i].words);
		}
	}
	free_list(&l);
}

static void
wrong_rules(void **state)
{
	struct error e = ERROR_INIT;
	struct crl_summary s;
	struct crl_rules rules;
	struct encoded ours;
	struct bytes tbs;
	struct list l;

	make_list(&l, 3, false);
	encode_tbs(&l, &ours);
	tbs = (struct bytes){ours.tbs, ours.tbs_len};
	rules = rules_for(&l, tbs.len);
	rules.issuer = hex("30 00");
	assert_false(run_check(&rules, tbs, RANDOM, &s, &e));
	assert_error(e, "byte for byte");
	e = ERROR_INIT;
	rules = rules_for(&l, tbs.len);
	rules.sig_alg = SIG_ECDSA_SHA256;
	assert_false(run_check(&rules, tbs, RANDOM, &s, &e));
	assert_error(e, "another than asked for");
	e = ERROR_INIT;
	rules = rules_for(&l, tbs.len + 1);
	assert_false(run_check(&rules, tbs, RANDOM, &s, &e));
	assert_error(e, "another than announced");
	e = ERROR_INIT;
	rules = rules_for(&l, tbs.len);
	rules.key_id.len = 19;
	assert_false(run_check(&rules, tbs, RANDOM, &s, &e));
	assert_error(e, "not the CA's key");
	free(ours.tbs);
	free_list(&l);
}

static void
encoder_refuses(void **state)
{
	static const struct {
		const char *serial;
		uint8_t reason;
		int64_t revoked_at;
		bool delta, ok;
		const char *words;
	} cases[] = {
	    {"01", 0, 0, false, true, NULL},
	    {"01", 8, 0, true, true, NULL},
	    {"01", 8, 0, false, false, "delta CRLs"},
	    {"01", 7, 0, true, false, "no reason"},
	    {"01", 11, 0, true, false, "no reason"},
	    {"00", 0, 0, false, false, "not positive"},
	    {"", 0, 0, false, false, "not positive"},
	    {"8000000000000000000000000000000000000000", 0, 0, false, false, "longer than"},
	    {"008000000000000000000000000000000000000000", 0, 0, false, false, "longer than"},
	    {"007f00000000000000000000000000000000000000", 0, 0, false, true, NULL},
	    {"01", 0, INT64_MAX, false, false, "outside the years"},
	};
	uint8_t out[CRL_ENTRY_MAX], buf[CRL_HEAD_MAX];
	struct error e = ERROR_INIT;
	uint64_t tbs_len;
	struct bytes head;
	size_t size;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct crl_entry entry = {.serial = hex(cases[i].serial),
		    .reason = cases[i].reason,
		    .revoked_at = cases[i].revoked_at};

		e = ERROR_INIT;
		assert_int_equal(
		    crl_entry_encode(&entry, cases[i].delta, out, &size, &e), cases[i].ok);
		if (!cases[i].ok)
			assert_error(e, cases[i].words);
	}
	{
		struct tbs_crl t = {.sig_alg = SIG_RSA_SHA256,
		    .issuer = hex("30 00"),
		    .this_update = 5,
		    .next_update = 5,
		    .extensions = hex(NUMBER)};

		e = ERROR_INIT;
		assert_false(crl_tbs_head(&t, 0, buf, sizeof buf, &head, &tbs_len, &e));
		assert_error(e, "not after");
		e = ERROR_INIT;
		t.next_update = 6;
		assert_ok(crl_tbs_head(&t, 0, buf, sizeof buf, &head, &tbs_len, &e), e);
		assert_false(crl_tbs_head(&t, UINT64_MAX, buf, sizeof buf, &head, &tbs_len, &e));
		assert_int_equal(e.code, ERROR_LIMIT);
		e = ERROR_INIT;
		t.extensions = (struct bytes){0};
		assert_false(crl_tbs_head(&t, 0, buf, sizeof buf, &head, &tbs_len, &e));
	}
}

/* Each number that no list has. */
static void
sums_that_contradict(void **state)
{
	const struct crl_sums good = {.entries = 9,
	    .serial_octets = 100,
	    .generalized = 3,
	    .with_reason = 5,
	    .with_invalidity = 6,
	    .with_both = 4};
	static const struct {
		size_t field;
		int64_t value;
	} cases[] = {
	    {offsetof(struct crl_sums, entries), -1},
	    {offsetof(struct crl_sums, entries), 6}, /* 7 have a reason, an invalidity date */
	    {offsetof(struct crl_sums, entries), INT64_MAX},
	    {offsetof(struct crl_sums, serial_octets), 8},
	    {offsetof(struct crl_sums, serial_octets), 181},
	    {offsetof(struct crl_sums, serial_octets), INT64_MIN},
	    {offsetof(struct crl_sums, generalized), -1},
	    {offsetof(struct crl_sums, generalized), 10},
	    {offsetof(struct crl_sums, with_reason), 3},
	    {offsetof(struct crl_sums, with_reason), 8},
	    {offsetof(struct crl_sums, with_invalidity), 3},
	    {offsetof(struct crl_sums, with_invalidity), INT64_MIN},
	    {offsetof(struct crl_sums, with_both), -1},
	    {offsetof(struct crl_sums, with_both), 1},
	    {offsetof(struct crl_sums, with_both), 6},
	    {offsetof(struct crl_sums, with_both), INT64_MAX},
	};
	struct error e = ERROR_INIT;
	uint64_t size;

	assert_ok(crl_sums_size(&(struct crl_sums){0}, &size, &e), e);
	assert_true(size == 0);
	assert_ok(crl_sums_size(&good, &size, &e), e);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct crl_sums bad = good;

		memcpy((char *)&bad + cases[i].field, &cases[i].value, sizeof cases[i].value);
		e = ERROR_INIT;
		if (crl_sums_size(&bad, &size, &e))
			fail_msg("case %zu was taken", i);
		assert_error(e, "contradict each other");
	}
}

static void
numbers(void **state)
{
	static const char *const good[] = {"0", "1", "255", "256", "18446744073709551616",
	    "730750818665451459101842416358141509827966271487"}; /* 2^159 - 1 */
	static const char *const wrong[] = {"", "-1", "1a", " 1",
	    "730750818665451459101842416358141509827966271488",
	    "99999999999999999999999999999999999999999999999999999999999999"};
	uint8_t out[CRL_NUMBER_MAX];
	struct bytes number;
	char text[64];

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct error e = ERROR_INIT;
		BIGNUM *n = NULL;
		uint8_t want[20];

		assert_ok(crl_number_from_text(good[i], out, &number, &e), e);
		assert_true(crl_number_to_text(number, text, sizeof text));
		assert_string_equal(text, good[i]);
		BN_dec2bn(&n, good[i]);
		if (!BN_is_zero(n)) {
			int len = BN_bn2bin(n, want);

			assert_bytes(number, (struct bytes){want, (size_t)len});
		}
		BN_free(n);
	}
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct error e = ERROR_INIT;

		assert_false(crl_number_from_text(wrong[i], out, &number, &e));
		assert_error(e, "no CRL number");
	}
	assert_false(crl_number_to_text(hex("ffff"), text, 5));
}

static void
reason_names(void **state)
{
	enum crl_reason reason;

	for (unsigned i = 0; i < 12; i++) {
		const char *name = crl_reason_name(i);

		assert_int_equal(name == NULL, i == 7 || i > 10);
		if (name != NULL) {
			assert_true(crl_reason_from_name(name, &reason));
			assert_int_equal(reason, i);
		}
	}
	assert_false(crl_reason_from_name("keycompromise", &reason));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(like_openssl),
	    cmocka_unit_test(cut_off_and_flipped),
	    cmocka_unit_test(faults),
	    cmocka_unit_test(wrong_rules),
	    cmocka_unit_test(encoder_refuses),
	    cmocka_unit_test(sums_that_contradict),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(reason_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
