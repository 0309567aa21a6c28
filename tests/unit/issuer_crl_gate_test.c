/* Each thing that the gate looks at, in a CRL where just that is wrong. What is committed is
 * the job; what is signed may differ, and the gate must see it. */

#include "tests/unit/issuer_setting.h"

#include <time.h>

#include <event2/event.h>

#include "daemon/issuer/crl_gate.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/name.h"

static const char policy[] = "subject: \"CN=Gate CA\"\nkind: root\ntoken: main\nkey: p256\n"
			     "validity: 30d\ncrl: {period: 7d, overlap: 12h}\n";
static const char *const url = "http://h/a.crl", *const other_url = "http://h/b.crl";

/* What a CRL says. */
struct said {
	uint8_t number, base; /* base 0: complete */
	int64_t this_update, next_update, expired_since;
	const char *url; /* NULL: no issuingDistributionPoint */
	const char *issuer;
	bool other_key_id, other_key, other_octet, cut;
};

static struct crl_job
job_of(const struct said *s)
{
	const struct idp idp = {.urls = &s->url, .url_count = 1};
	struct crl_job job = {.delta = s->base != 0,
	    .number = {s->number},
	    .number_len = 1,
	    .base_number = {s->base},
	    .base_number_len = s->base != 0,
	    .this_update = s->this_update,
	    .next_update = s->next_update,
	    .expired_since = s->expired_since,
	    .ca_name = "gate"};
	uint8_t buf[256];
	struct error e = ERROR_INIT;
	struct bytes value;

	assert_ok(idp_encode(&idp, buf, sizeof buf, &value, &e), e);
	memcpy(job.extensions, value.p, value.len);
	job.idp = (struct crl_slice){0, value.len};
	return job;
}

static struct bytes
extensions_of(const struct said *s, struct bytes key_id, uint8_t *buf, size_t size)
{
	static const uint8_t other_id[20] = {9};
	const struct idp idp = {.urls = &s->url, .url_count = 1};
	struct extensions x;

	extensions_init(&x, buf, size);
	extensions_add_authority_key_identifier(&x, s->other_key_id ? BYTES(other_id) : key_id);
	extensions_add_crl_number(&x, (struct bytes){&s->number, 1});
	if (s->base != 0)
		extensions_add_delta_crl_indicator(&x, (struct bytes){&s->base, 1});
	if (s->url != NULL)
		extensions_add_issuing_distribution_point(&x, &idp);
	if (s->expired_since >= 0)
		extensions_add_expired_certs_on_crl(&x, s->expired_since);
	assert_true(extensions_ok(&x));
	return extensions_result(&x);
}

static void
append(uint8_t *to, size_t *len, struct bytes b)
{
	memcpy(to + *len, b.p, b.len);
	*len += b.len;
}

/* The signed octets; the caller frees them. */
static struct bytes
make_crl(const struct issuing_ca *ca, const struct said *s)
{
	const struct crl_entry entry = {.serial = {(const uint8_t *)"\x05", 1},
	    .revoked_at = s->this_update,
	    .reason = CRL_KEY_COMPROMISE};
	uint8_t name[256], ext[1024], entry_buf[CRL_ENTRY_MAX], buf[CRL_HEAD_MAX], signature[128];
	uint8_t tbs[4096], *whole;
	struct tbs_crl t = {.sig_alg = ca->policy.sig_alg,
	    .issuer = ca->policy.subject,
	    .this_update = s->this_update,
	    .next_update = s->next_update,
	    .extensions = extensions_of(s, ca->context->key_id, ext, sizeof ext)};
	size_t size, tbs_len = 0, len, signature_len = sizeof signature, whole_len = 0;
	struct error e = ERROR_INIT;
	uint64_t announced, list_len;
	struct bytes piece;

	if (s->issuer != NULL)
		assert_ok(name_from_text(s->issuer, name, sizeof name, &t.issuer, &e), e);
	assert_ok(crl_entry_encode(&entry, s->base != 0, entry_buf, &size, &e), e);
	assert_ok(crl_tbs_head(&t, size, buf, sizeof buf, &piece, &announced, &e), e);
	append(tbs, &tbs_len, piece);
	append(tbs, &tbs_len, (struct bytes){entry_buf, size});
	assert_ok(crl_tbs_tail(&t, buf, sizeof buf, &piece, &e), e);
	append(tbs, &tbs_len, piece);
	sign_tbs(s->other_key ? "p256" : CA_KEY, (struct bytes){tbs, tbs_len}, signature,
	    &signature_len);
	assert_ok(crl_list_head(tbs_len, t.sig_alg, signature_len, ext, &len, &list_len, &e), e);
	whole = malloc(list_len);
	assert_non_null(whole);
	append(whole, &whole_len, (struct bytes){ext, len});
	append(whole, &whole_len, (struct bytes){tbs, tbs_len});
	if (s->other_octet) { /* of the serial number, behind the signature's back */
		uint8_t *at = memmem(whole, whole_len, "\x02\x01\x05\x17", 4);

		assert_non_null(at);
		at[2] = 6;
	}
	assert_ok(crl_list_tail(t.sig_alg, (struct bytes){signature, signature_len}, buf,
		      sizeof buf, &piece, &e),
	    e);
	append(whole, &whole_len, piece);
	assert_int_equal(whole_len, list_len);
	return (struct bytes){whole, whole_len};
}

static void
never(const struct error *err, void *arg)
{
	fail_msg("judged without a database");
}

/* What the gate says to this CRL where that one was committed; with both the same it asks
 * the database for the events, of which there is none. */
static bool
look(const struct issuing_ca *ca, const struct said *committed, const struct said *said,
    struct event_base *base, struct error *e)
{
	struct bytes whole = make_crl(ca, said);
	struct crl_job job = job_of(committed);
	struct crl_gate *g;
	size_t len = said->cut ? whole.len - 1 : whole.len, at = 0;
	bool asked = false;

	*e = (struct error)ERROR_INIT;
	g = crl_gate_new(ca, &job, base, "host=/nowhere", e);
	assert_non_null(g);
	assert_ok(crl_gate_begin(g, whole.len, e), *e);
	while (at < len) {
		size_t n = len - at < 7 ? len - at : 7;

		if (!crl_gate_push(g, (struct bytes){whole.p + at, n}, e))
			break;
		at += n;
	}
	if (at == len)
		asked = crl_gate_judge(g, never, NULL, e);
	crl_gate_free(g);
	free((void *)(uintptr_t)whole.p);
	return asked;
}

enum field {
	NUMBER,
	BASE,
	COMPLETE,
	THIS_UPDATE,
	NEXT_UPDATE,
	NAME,
	NO_NAME,
	EXPIRED,
	NOT_EXPIRED,
	ISSUER,
	KEY_ID,
	KEY,
	OCTET,
	CUT,
	FIELDS
};

static struct said
with(struct said s, enum field field)
{
	switch (field) {
	case NUMBER:
		s.number++;
		break;
	case BASE:
		s.base--;
		break;
	case COMPLETE:
		s.base = 0;
		break;
	case THIS_UPDATE:
		s.this_update--;
		break;
	case NEXT_UPDATE:
		s.next_update++;
		break;
	case NAME:
		s.url = other_url;
		break;
	case NO_NAME:
		s.url = NULL;
		break;
	case EXPIRED:
		s.expired_since++;
		break;
	case NOT_EXPIRED:
		s.expired_since = -1;
		break;
	case ISSUER:
		s.issuer = "CN=Gate CA 2";
		break;
	case KEY_ID:
		s.other_key_id = true;
		break;
	case KEY:
		s.other_key = true;
		break;
	case OCTET:
		s.other_octet = true;
		break;
	case CUT:
		s.cut = true;
		break;
	case FIELDS:
		break;
	}
	return s;
}

static void
what_is_signed_is_what_was_committed(void **state)
{
	static const char *const words[FIELDS] = {
	    [NUMBER] = "another number or base",
	    [BASE] = "another number or base",
	    [COMPLETE] = "another number or base",
	    [THIS_UPDATE] = "other times",
	    [NEXT_UPDATE] = "other times",
	    [NAME] = "issuingDistributionPoint is not that",
	    [NO_NAME] = "issuingDistributionPoint is not that",
	    [EXPIRED] = "expiredCertsOnCRL",
	    [NOT_EXPIRED] = "expiredCertsOnCRL",
	    [ISSUER] = "issuer is not the CA's subject",
	    [KEY_ID] = "authorityKeyIdentifier",
	    [KEY] = "signature",
	    [OCTET] = "signature",
	    [CUT] = "ends too early",
	};
	int64_t now = (int64_t)time(NULL);
	const struct said good = {.number = 5,
	    .base = 3,
	    .this_update = now - 10,
	    .next_update = now + DAY,
	    .expired_since = now - DAY,
	    .url = url};
	struct event_base *base = event_base_new();
	struct issuing_ca *ca = issuing_ca_make(policy, "gate", now);
	struct error e;

	for (int i = 0; i < FIELDS; i++) {
		struct said bad = with(good, (enum field)i);

		assert_false(look(ca, &good, &bad, base, &e));
		assert_error(e, "is kept back and the one before stays in place");
		assert_error(e, words[i]);
		assert_int_equal(e.code, ERROR_INTERNAL);
	}
	assert_true(look(ca, &good, &good, base, &e));
	ca_release(ca);
	event_base_free(base);
}

/* Committed so, and signed so, and yet no client should see it. */
static void
times_that_are_not_sane(void **state)
{
	int64_t now = (int64_t)time(NULL);
	const struct {
		int64_t this_update, next_update;
		const char *words;
	} cases[] = {
	    {now + 3600, now + DAY, "thisUpdate lies ahead of this host's clock"},
	    {now - 2 * DAY, now - DAY, "nextUpdate has passed"},
	    {now - 10, now + 31 * DAY, "behind the end of the CA's certificate"},
	};
	struct event_base *base = event_base_new();
	struct issuing_ca *ca = issuing_ca_make(policy, "gate", now);
	struct error e;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct said s = {.number = 5,
		    .this_update = cases[i].this_update,
		    .next_update = cases[i].next_update,
		    .expired_since = -1,
		    .url = url};

		assert_false(look(ca, &s, &s, base, &e));
		assert_error(e, "is kept back");
		assert_error(e, cases[i].words);
	}
	ca_release(ca);
	event_base_free(base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_signed_is_what_was_committed),
	    cmocka_unit_test(times_that_are_not_sane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
