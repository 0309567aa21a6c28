/*
 * What the guard lets through and what it refuses, and by which rule, without a
 * token. Each refusal is one change to something that passes; make mutate
 * (tests/faults/mutate.py) shows that none would be refused without its rule.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/core/channel.h"
#include "tests/unit/guard_refusal.h"

static struct parties all;

static int
set_up(void **state)
{
	parties_make(&all);
	return 0;
}

static int
tear_down(void **state)
{
	parties_free(&all);
	return 0;
}

static void
allow(struct setting *s, const char *what)
{
	struct error e = ERROR_INIT;
	struct guard_use use;

	setting_build(s);
	if (!guard_check(&s->r, &use, &e))
		fail_msg("%s: %s", what, e.text);
	assert_int_equal(use.digest.len, sig_alg_digest_len(s->r.alg));
	assert_int_equal(use.kind, s->r.kind);
	assert_int_equal(use.has_decision, s->approved || s->ordered);
	free(s);
}

struct change {
	const char *what;
	const char *rule; /* NULL: it passes */
	setting_maker *make;
	void (*change)(struct setting *s);
};

/* Not a test: with --seeds DIR what is tried is written there, for the fuzz target
 * and pkcs11_guard_corpus_test: the number of a variant, and a SIGN. */
static const char *seeds;

static bool
same_variant(const struct setting *s, unsigned int variant)
{
	static struct key_limits key;
	uint8_t own_keys[2][32];

	variant_make(variant, &all, &key, own_keys);
	return memcmp(&key, &s->key, sizeof key) == 0 && s->r.signer_id == SIGNER_ID &&
	       sig_alg_valid(s->r.alg);
}

static void
write_seed(const struct setting *s, const char *rule, const char *what)
{
	struct signproto_sign m = {
	    .cka_id = TEXT("guard"),
	    .sig_alg = (uint16_t)s->r.alg,
	    .kind = s->r.kind,
	    .tbs = s->r.tbs,
	    .csr = s->r.csr,
	    .statement = s->r.statement,
	    .signature = s->r.signature,
	    .spki = s->r.spki,
	};
	unsigned int variant = 0;
	struct error e = ERROR_INIT;
	struct wire_writer w;
	char path[512];
	FILE *f;

	while (variant < VARIANTS && !same_variant(s, variant))
		variant++;
	if (variant == VARIANTS || s->r.template == NULL)
		return;
	(void)snprintf(m.template, sizeof m.template, "%s", s->r.template);
	if (s->r.order != NULL)
		m.order = *s->r.order;
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	wire_put_u8(&w, (uint8_t)variant);
	signproto_put_sign(&w, &m);
	must(wire_writer_ok(&w));
	if (signproto_get_sign((struct bytes){w.buf + 1, w.len - 1}, &m, &e)) {
		(void)snprintf(
		    path, sizeof path, "%s/%s.%s", seeds, rule != NULL ? rule : "passes", what);
		must((f = fopen(path, "w")) != NULL);
		must(fwrite(w.buf, 1, w.len, f) == w.len && fclose(f) == 0);
	}
	wire_writer_free(&w);
}

static void
try_changes(const struct change *changes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct setting *s = changes[i].make(&all);

		changes[i].change(s);
		if (seeds != NULL) {
			setting_build(s);
			write_seed(s, changes[i].rule, changes[i].what);
		}
		if (changes[i].rule == NULL) {
			allow(s, changes[i].what);
			continue;
		}
		setting_build(s);
		expect_refusal(&s->r, changes[i].rule, changes[i].what);
		free(s);
	}
}

/* A list of changes: X(what, rule, setting, statements). */
#define FUNCTION(what, rule, make, ...)     \
	static void what(struct setting *s) \
	{                                   \
		__VA_ARGS__;                \
	}
#define ENTRY(what, rule, make, ...) {#what, rule, setting_##make, what},
#define TEST(name, list)                                              \
	list(FUNCTION) static void name(void **state)                 \
	{                                                             \
		static const struct change changes[] = {list(ENTRY)}; \
                                                                      \
		try_changes(changes, COUNT_OF(changes));              \
	}

/* clang-format off */

static void
set_purpose(struct setting *s, const char *name)
{
	must(oid_purpose_from_name(name, &s->purposes[0]));
	s->purpose_count = 1;
}

static void
set_name(struct setting *s, enum san_type type, const char *text)
{
	s->names[0] = (struct san){type, {(const uint8_t *)text, strlen(text)}};
	s->name_count = 1;
}

static void
set_ip(struct setting *s, const char *octets, size_t len)
{
	s->names[0] = (struct san){SAN_IP, {(const uint8_t *)octets, len}};
	s->name_count = 1;
}

/* The buffer lives as long as the test. */
static void
set_subject(struct setting *s, const char *text)
{
	static uint8_t buf[NAME_DER_MAX];
	struct error e = ERROR_INIT;

	must(name_from_text(text, buf, sizeof buf, &s->subject, &e));
}

/* Nothing but the subject could be meant. */
static void
only_subject(struct setting *s, const char *text)
{
	s->name_count = 0;
	set_subject(s, text);
}

#define PASSING(X) \
	X(an_automatic_one, NULL, new, (void)s) \
	X(an_approved_one, NULL, manual, (void)s) \
	X(an_automatic_one_that_was_approved, NULL, manual, \
		s->r.template = "auto"; memcpy(s->statement.template_name, "auto", 5)) \
	X(by_any_lower_or_higher_version_of_the_template, NULL, manual, s->statement.template_version = 1) \
	X(a_sub_ca, NULL, sub_ca, (void)s) \
	X(a_responder, NULL, ocsp, (void)s) \
	X(a_root, NULL, root, (void)s) \
	X(a_root_with_its_own_aki, NULL, root, s->aki = (struct bytes){all.us.key_id, SKI_LEN}) \
	X(a_crl, NULL, crl, (void)s) \
	X(a_request, NULL, csr, (void)s) \
	X(a_request_once_installed, NULL, csr, s->key.installed = true) \
	X(a_bare_request, NULL, csr, s->has_constraints = false; s->key_usage = 0; s->ski.len = 0) \
	X(without_purposes_where_the_line_has_none, NULL, new, s->r.template = "free"; s->purpose_count = 0) \
	X(without_constraints, NULL, new, s->has_constraints = false) \
	X(a_serial_of_some_days_ago, NULL, new, set_serial(s, SIGNER_ID, NOW - GUARD_AGE_MAX_S)) \
	X(a_serial_of_a_clock_ahead, NULL, new, set_serial(s, SIGNER_ID, NOW + GUARD_AHEAD_MAX_S)) \
	X(to_the_last_second_of_the_limits, NULL, new, s->key.document.not_after = s->not_after) \
	X(to_the_last_second_of_the_ca, NULL, new, s->key.not_after = s->not_after) \
	X(from_the_first_second_of_the_ca, NULL, new, s->key.not_before = s->not_before) \
	X(an_empty_subject, NULL, new, s->subject = TEXT("\x30\x00"); s->san_critical = true) \
	X(a_name_that_is_nobodys, NULL, new, PERMIT(s, "email:example.com"); EXCLUDE(s, "uri:")) \
	X(a_crl_to_the_end_of_the_ca, NULL, crl, s->next_update = s->key.not_after; s->key.not_after = NOW + 7 * DAY; \
		s->next_update = s->key.not_after)

TEST(passes, PASSING)

static const uint8_t utc_2050[] = "\x17\x0d" "500101000000Z";
static const uint8_t general_2026[] = "\x18\x0f" "20261122000000Z";
static const uint8_t utc_2026[] = "\x17\x0d" "261122000000Z";
static const uint8_t utc_without_seconds[] = "\x17\x0b" "2611221200Z";
static const uint8_t utc_offset[] = "\x17\x11" "261122120000+0100";
static const uint8_t general_fraction[] = "\x18\x11" "20501122120000.5Z";
static const uint8_t utc_no_day[] = "\x17\x0d" "270230000000Z";

#define RAW(a) ((struct bytes){(a), sizeof(a) - 1})
#define KU_AGAIN "\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x01\x06"
#define BC_FALSE "\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\x00"
#define PATH_WITHOUT_CA "\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x02\x01\x00"
#define CRITICAL_FALSE "\x30\x0c\x06\x03\x55\x1d\x20\x01\x01\x00\x04\x02\x30\x00"
#define CRITICAL_ONE "\x30\x0c\x06\x03\x55\x1d\x20\x01\x01\x01\x04\x02\x30\x00"
#define LONG_LENGTH "\x30\x0b\x06\x03\x55\x1d\x20\x04\x81\x02\x30\x00"
#define INDEFINITE "\x30\x80\x06\x03\x55\x1d\x20\x04\x02\x30\x00\x00\x00"
#define CONSTRUCTED_STRING "\x30\x0b\x06\x03\x55\x1d\x20\x24\x04\x04\x02\x30\x00"

#define STRUCTURES(X) \
	X(version_1, "structure", new, s->version.len = 0) \
	X(version_2, "structure", new, s->version = TEXT("\xa0\x03\x02\x01\x01")) \
	X(version_4, "structure", new, s->version = TEXT("\xa0\x03\x02\x01\x03")) \
	X(padded_version, "structure", new, s->version = TEXT("\xa0\x04\x02\x02\x00\x02")) \
	X(negative_serial, "structure", new, s->serial[0] |= 0x80) \
	X(zero_serial, "structure", new, s->serial[0] = 0; s->serial_len = 1) \
	X(padded_serial, "structure", new, memmove(s->serial + 1, s->serial, SERIAL_LEN); s->serial[0] = 0; \
		s->serial_len = SERIAL_LEN + 1) \
	X(long_serial, "structure", new, s->serial_len = SERIAL_LEN + 1) \
	X(empty_serial, "structure", new, s->serial_len = 0) \
	X(unique_identifier, "structure", new, s->tail = TEXT("\x81\x02\x00\x01")) \
	X(something_behind, "structure", new, s->tail = TEXT("\x05\x00")) \
	X(ends_before_it_begins, "structure", new, s->not_after = s->not_before - 1) \
	X(utc_time_of_1950, "structure", new, s->not_after_raw = RAW(utc_2050)) \
	X(generalized_time_before_2050, "structure", new, s->not_before_raw = RAW(general_2026)) \
	X(time_without_seconds, "structure", new, s->not_before_raw = RAW(utc_without_seconds)) \
	X(time_with_offset, "structure", new, s->not_before_raw = RAW(utc_offset)) \
	X(time_with_fraction, "structure", new, s->not_after_raw = RAW(general_fraction)) \
	X(time_of_no_day, "structure", new, s->not_after_raw = RAW(utc_no_day)) \
	X(time_as_it_should_be, NULL, new, s->not_before_raw = RAW(utc_2026)) \
	X(key_usage_twice, "structure", new, s->extra = TEXT(KU_AGAIN)) \
	X(ca_false_written, "structure", new, s->has_constraints = false; s->extra = TEXT(BC_FALSE)) \
	X(path_length_without_ca, "structure", new, s->has_constraints = false; s->extra = TEXT(PATH_WITHOUT_CA)) \
	X(critical_false_written, "structure", new, s->extra = TEXT(CRITICAL_FALSE)) \
	X(boolean_that_is_one, "structure", new, s->extra = TEXT(CRITICAL_ONE)) \
	X(length_too_long, "structure", new, s->extra = TEXT(LONG_LENGTH)) \
	X(indefinite_length, "structure", new, s->extra = TEXT(INDEFINITE)) \
	X(constructed_string, "structure", new, s->extra = TEXT(CONSTRUCTED_STRING)) \
	X(empty_issuer, "structure", new, s->issuer = TEXT("\x30\x00")) \
	X(dsa_key, "structure", new, s->spki = TEXT("\x30\x0f\x30\x09\x06\x07\x2a\x86\x48\xce\x38\x04\x01\x03\x02\x00\x02")) \
	X(host_name_with_a_nul, "structure", new, s->names[0] = DNS("host.example.com\0.evil.example")) \
	X(host_name_with_a_space, "structure", new, s->names[0] = DNS("host.example.com ")) \
	X(two_wildcards, "structure", new, s->names[0] = DNS("*.*.example.com"))

TEST(structures, STRUCTURES)

static const uint8_t other_string_type[] =
    "\x30\x31\x31\x0b\x30\x09\x06\x03\x55\x04\x06\x13\x02" "DE"
    "\x31\x10\x30\x0e\x06\x03\x55\x04\x0a\x13\x07" "Example"
    "\x31\x10\x30\x0e\x06\x03\x55\x04\x03\x13\x07" "Unit CA";

static struct bytes
rsa_key(bool three)
{
	static uint8_t buf[SPKI_MAX], modulus[256];
	static const uint8_t f4[] = {1, 0, 1}, e3[] = {3};
	struct error e = ERROR_INIT;
	struct bytes spki;

	memset(modulus, 0xc5, sizeof modulus);
	must(spki_encode_rsa((struct bytes){modulus, sizeof modulus},
	    three ? (struct bytes){e3, 1} : (struct bytes){f4, 3}, buf, sizeof buf, &spki, &e));
	return spki;
}

static void
set_key(struct setting *s, struct bytes spki)
{
	static uint8_t id[SKI_LEN];
	struct error e = ERROR_INIT;
	struct spki parsed;

	must(spki_parse(spki, &parsed, &e) && spki_ski(&parsed, id, &e));
	s->spki = spki;
	s->ski = (struct bytes){id, SKI_LEN};
}

/* y is another. */
static void
set_point_off_the_curve(struct setting *s)
{
	static uint8_t buf[SPKI_MAX];

	memcpy(buf, s->spki.p, s->spki.len);
	buf[s->spki.len - 1] ^= 1;
	set_key(s, (struct bytes){buf, s->spki.len});
}

#define NAME_CONSTRAINTS "\x30\x1b\x06\x03\x55\x1d\x1e\x01\x01\xff\x04\x11\x30\x0f\xa0\x0d\x30\x0b\x82\x09localhost"
#define INHIBIT_ANY "\x30\x0d\x06\x03\x55\x1d\x36\x01\x01\xff\x04\x03\x02\x01\x00"
#define NETSCAPE "\x30\x11\x06\x09\x60\x86\x48\x01\x86\xf8\x42\x01\x01\x04\x04\x03\x02\x00\xf7"
#define POISON "\x30\x13\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x03\x01\x01\xff\x04\x02\x05\x00"
#define POLICIES_CRITICAL "\x30\x14\x06\x03\x55\x1d\x20\x01\x01\xff\x04\x0a\x30\x08\x30\x06\x06\x04\x55\x1d\x20\x00"
#define POLICIES "\x30\x11\x06\x03\x55\x1d\x20\x04\x0a\x30\x08\x30\x06\x06\x04\x55\x1d\x20\x00"
#define AKI_WITH_SERIAL "\x30\x19\x06\x03\x55\x1d\x23\x04\x12\x30\x10\xa1\x0b\xa4\x09\x30\x07\x31\x05\x30\x03\x06\x01\x2a\x82\x01\x05"
#define CDP "\x30\x14\x06\x03\x55\x1d\x1f\x04\x0d\x30\x0b\x30\x09\xa0\x07\xa0\x05\x86\x03" "a:b"
#define CDP_REASONS(flags) "\x30\x23\x06\x03\x55\x1d\x1f\x04\x1c\x30\x1a\x30\x09\xa0\x07\xa0\x05\x86\x03" "a:b" \
	"\x30\x0d\xa0\x07\xa0\x05\x86\x03" "a:c" "\x81\x02" flags
#define CDP_SOME "\x30\x18\x06\x03\x55\x1d\x1f\x04\x11\x30\x0f\x30\x0d\xa0\x07\xa0\x05\x86\x03" "a:c" "\x81\x02\x06\x40"
#define CDP_ISSUER "\x30\x0f\x06\x03\x55\x1d\x1f\x04\x08\x30\x06\x30\x04\xa2\x02\xa4\x00"
#define FRESHEST "\x30\x14\x06\x03\x55\x1d\x2e\x04\x0d\x30\x0b\x30\x09\xa0\x07\xa0\x05\x86\x03" "a:b"
#define FRESHEST_DIRECTORY "\x30\x13\x06\x03\x55\x1d\x2e\x04\x0c\x30\x0a\x30\x08\xa0\x06\xa0\x04\xa4\x02\x30\x00"
#define AIA "\x30\x1f\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x01\x04\x13\x30\x11\x30\x0f\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x01\x86\x03" "a:b"
#define AIA_REPOSITORY "\x30\x1f\x06\x08\x2b\x06\x01\x05\x05\x07\x01\x01\x04\x13\x30\x11\x30\x0f\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x05\x86\x03" "a:b"

#define CERTIFICATES(X) \
	X(nothing_of_the_kind, "kind", new, s->r.kind = (enum signproto_kind)99) \
	X(rsa_with_a_p256_key, "algorithm", new, s->r.alg = SIG_RSA_SHA256) \
	X(ed25519_with_a_p256_key, "algorithm", new, s->r.alg = SIG_ED25519) \
	X(no_algorithm, "algorithm", new, s->r.alg = SIG_NONE) \
	X(an_algorithm_outside_the_limits, "algorithm", new, s->r.alg = SIG_ECDSA_SHA384; \
		s->inner_alg = sig_alg_der(SIG_ECDSA_SHA384)) \
	X(another_algorithm_inside, "inner-algorithm", new, s->inner_alg = sig_alg_der(SIG_ECDSA_SHA384)) \
	X(an_unknown_algorithm_inside, "inner-algorithm", new, s->inner_alg = TEXT("\x30\x03\x06\x01\x2a")) \
	X(parameters_with_ecdsa, "inner-algorithm", new, \
		s->inner_alg = TEXT("\x30\x0c\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00")) \
	X(another_issuer, "issuer", new, s->issuer = all.other.name) \
	X(an_issuer_that_only_compares_equal, "issuer", new, s->issuer = RAW(other_string_type)) \
	X(subject_and_issuer_changed_over, "issuer", new, s->issuer = s->subject; s->subject = all.us.name) \
	X(a_short_serial, "serial", new, s->serial_len = 19) \
	X(a_serial_of_one_octet, "serial", new, s->serial[0] = 1; s->serial_len = 1) \
	X(another_signers_serial, "signer-id", new, set_serial(s, 2, NOW)) \
	X(a_serial_of_another_allowed_signer, "signer-id", new, set_serial(s, 9, NOW)) \
	X(a_signer_outside_the_limits, "signer", new, set_serial(s, 2, NOW); s->r.signer_id = 2) \
	X(a_crl_of_a_signer_outside_the_limits, "signer", crl, s->r.signer_id = 2) \
	X(another_signer_of_the_limits, NULL, new, set_serial(s, 9, NOW); s->r.signer_id = 9) \
	X(a_serial_of_tomorrow, "serial-time", new, set_serial(s, SIGNER_ID, NOW + GUARD_AHEAD_MAX_S + 1)) \
	X(a_serial_of_last_year, "serial-time", new, set_serial(s, SIGNER_ID, NOW - GUARD_AGE_MAX_S - 1)) \
	X(backdated, "not-before", new, s->not_before = NOW - GUARD_AGE_MAX_S - 1) \
	X(postdated, "not-before", new, s->not_before = NOW + GUARD_AHEAD_MAX_S + 1) \
	X(beyond_the_limits, "limits-end", new, s->key.document.not_after = s->not_after - 1) \
	X(name_constraints, "extensions", sub_ca, s->extra = TEXT(NAME_CONSTRAINTS)) \
	X(inhibit_any_policy, "extensions", new, s->extra = TEXT(INHIBIT_ANY)) \
	X(netscape_ca, "extensions", new, s->extra = TEXT(NETSCAPE)) \
	X(a_precertificate, "extensions", new, s->extra = TEXT(POISON)) \
	X(plain_constraints, "criticality", new, s->constraints_plain = true) \
	X(plain_constraints_of_a_ca, "criticality", sub_ca, s->constraints_plain = true) \
	X(plain_key_usage, "criticality", new, s->usage_plain = true) \
	X(critical_purposes, "criticality", new, s->purposes_critical = true) \
	X(critical_policies, "criticality", new, s->extra = TEXT(POLICIES_CRITICAL)) \
	X(policies, NULL, new, s->extra = TEXT(POLICIES)) \
	X(critical_names_beside_a_subject, "criticality", new, s->san_critical = true) \
	X(plain_names_without_a_subject, "criticality", new, s->subject = TEXT("\x30\x00")) \
	X(no_aki, "authority-key-id", new, s->aki.len = 0) \
	X(another_aki, "authority-key-id", new, s->aki = (struct bytes){all.other.key_id, SKI_LEN}) \
	X(a_short_aki, "authority-key-id", new, s->aki.len = 8) \
	X(aki_by_issuer_and_serial, "authority-key-id", new, s->aki.len = 0; s->extra = TEXT(AKI_WITH_SERIAL)) \
	X(no_ski, "subject-key-id", new, s->ski.len = 0) \
	X(the_cas_ski, "subject-key-id", new, s->ski = (struct bytes){all.us.key_id, SKI_LEN}) \
	X(a_point_off_the_curve, "public-key", new, set_point_off_the_curve(s)) \
	X(a_weak_exponent, "public-key", new, set_key(s, rsa_key(true))) \
	X(an_rsa_key, NULL, new, set_key(s, rsa_key(false))) \
	X(distribution_points, NULL, new, s->extra = TEXT(CDP FRESHEST AIA)) \
	X(points_of_some_reasons, NULL, new, s->extra = TEXT(CDP_REASONS("\x06\x40"))) \
	X(points_of_no_reasons, "locations", new, s->extra = TEXT(CDP_REASONS("\x06\x00"))) \
	X(no_point_of_all_reasons, "locations", new, s->extra = TEXT(CDP_SOME)) \
	X(another_crl_issuer, "locations", new, s->extra = TEXT(CDP_ISSUER)) \
	X(freshest_in_a_directory, "locations", new, s->extra = TEXT(FRESHEST_DIRECTORY)) \
	X(another_access_method, "locations", new, s->extra = TEXT(AIA_REPOSITORY))

TEST(certificates, CERTIFICATES)

#define ROOTS(X) \
	X(a_root_of_a_subordinate, "root-kind", root, s->key.document.root = false) \
	X(a_subordinate_without_a_template, "root-kind", new, s->r.template = "") \
	X(no_template_at_all, "root-kind", new, s->r.template = NULL) \
	X(a_root_twice, "root-once", root, s->key.installed = true) \
	X(the_same_root_again, NULL, root, s->key.installed = true; setting_build(s); \
		must(guard_sha256(s->r.tbs, s->key.tbs_sha256, &(struct error){0}))) \
	X(a_root_with_another_key, "root-key", root, set_subject_key(s, &all.other); \
		s->aki = (struct bytes){all.us.key_id, SKI_LEN}) \
	X(a_root_with_another_subject, "root-subject", root, s->subject = all.other.name) \
	X(a_root_that_is_no_ca, "root-constraints", root, s->ca = false) \
	X(a_root_with_a_longer_path, "root-constraints", root, s->key.document.path_length = 1; s->path_length = 2) \
	X(a_root_without_its_path_length, "root-constraints", root, s->key.document.path_length = 1) \
	X(a_root_with_a_shorter_path, NULL, root, s->key.document.path_length = 1; s->path_length = 0) \
	X(a_root_that_signs_documents, "root-usage", root, s->key_usage |= KU_DIGITAL_SIGNATURE) \
	X(a_root_without_crl_sign, "root-usage", root, s->key_usage = KU_KEY_CERT_SIGN) \
	X(a_root_without_usage, "root-usage", root, s->key_usage = 0) \
	X(a_root_with_a_host_name, "root-extensions", root, set_name(s, SAN_DNS, "evil.example")) \
	X(a_root_for_servers, "root-extensions", root, set_purpose(s, "serverAuth")) \
	X(a_root_beyond_its_limits, "limits-end", root, s->not_after++)

TEST(roots, ROOTS)

#define RENEWALS(X) \
	X(a_renewed_root, NULL, renewal, (void)s) \
	X(a_renewed_root_with_its_own_aki, NULL, renewal, s->aki = (struct bytes){all.us.key_id, SKI_LEN}) \
	X(a_renewal_by_two, NULL, renewal, s->key.document.quorum = 2; s->second = &all.bob) \
	X(a_renewal_by_who_does_not_decide, NULL, renewal, s->decider = &all.bob) \
	X(a_shorter_root_than_ordered, NULL, renewal, s->not_after -= DAY) \
	X(the_same_renewal_again, NULL, renewal, setting_build(s); memset(s->renewal.replaces, 8, 32); \
		must(guard_sha256(s->r.tbs, s->key.tbs_sha256, &(struct error){0}))) \
	X(a_renewal_by_too_few, "renewal-order", renewal, s->key.document.quorum = 2) \
	X(a_renewal_by_one_twice, "renewal-order", renewal, s->key.document.quorum = 2; s->second = &all.alice) \
	X(a_renewal_by_a_stranger, "renewal-order", renewal, s->decider = &all.mallory) \
	X(a_renewal_by_another_order, "renewal-order", renewal, s->statement.action = STATEMENT_CA_INSTALL) \
	X(a_renewal_of_another_ca, "renewal-order", renewal, strcpy(s->statement.ca, "other"); \
		strcpy(s->statement.object, "other")) \
	X(a_renewal_with_another_body, "renewal-order", renewal, s->keep_digest = true) \
	X(an_old_order, "renewal-time", renewal, s->statement.issued = NOW - GUARD_AGE_MAX_S - 1; \
		s->statement.expires = s->statement.issued + 600) \
	X(an_order_of_the_future, "renewal-time", renewal, s->statement.issued = NOW + GUARD_AHEAD_MAX_S + 1; \
		s->statement.expires = s->statement.issued + 600) \
	X(a_renewal_of_another_certificate, "renewal-replaces", renewal, s->renewal.replaces[31] ^= 1) \
	X(a_renewal_before_the_first, "renewal-replaces", renewal, s->key.installed = false) \
	X(a_renewal_for_another_key, "renewal-key", renewal, memcpy(s->renewal.key, all.other.sha256, 32)) \
	X(a_renewal_of_a_retired_key, "retired", renewal, s->key.document.retired = LIMITS_KEY_RETIRED) \
	X(a_longer_root_than_ordered, "renewal-end", renewal, s->renewal.not_after--) \
	X(a_renewal_that_a_parent_ends, "renewal-end", renewal, s->renewal.not_after = 0) \
	X(a_renewed_root_beyond_its_limits, "limits-end", renewal, s->key.document.not_after--) \
	X(a_renewed_subordinate, "root-kind", renewal, s->key.document.root = false) \
	X(a_renewal_by_another_key, "renewal-order", renewal, memcpy(s->renewal.signer, all.other.sha256, 32)) \
	X(a_renewed_root_with_another_key, "root-key", renewal, set_subject_key(s, &all.other); \
		s->aki = (struct bytes){all.us.key_id, SKI_LEN}; memcpy(s->renewal.key, all.other.sha256, 32)) \
	X(a_renewed_root_with_a_longer_path, "root-constraints", renewal, s->key.document.path_length = 1; \
		s->path_length = 2)

TEST(renewals, RENEWALS)

#define ROLLOVERS(X) \
	X(a_rollover, NULL, rollover, (void)s) \
	X(a_shorter_rollover, NULL, rollover, s->not_after -= DAY) \
	X(a_rollover_by_a_stranger, "rollover-order", rollover, s->decider = &all.mallory) \
	X(a_rollover_by_too_few, "rollover-order", rollover, s->key.document.quorum = 2) \
	X(a_rollover_of_another_ca, "rollover-order", rollover, strcpy(s->statement.ca, "other"); \
		strcpy(s->statement.object, "other")) \
	X(a_rollover_by_another_key, "rollover-order", rollover, memcpy(s->renewal.signer, all.other.sha256, 32)) \
	X(a_rollover_by_a_parent, "rollover-order", rollover, s->renewal.has_signer = false) \
	X(a_renewal_as_a_rollover, "root-key", rollover, s->statement.action = STATEMENT_CA_RENEW; \
		s->renewal.has_replaces = true; memcpy(s->renewal.replaces, s->key.tbs_sha256, 32)) \
	X(a_rollover_as_a_renewal, "rollover-key", rollover, set_subject_key(s, &all.us)) \
	X(a_rollover_for_itself, "rollover-key", rollover, set_subject_key(s, &all.us); \
		memcpy(s->renewal.key, all.us.sha256, 32)) \
	X(an_old_rollover, "rollover-time", rollover, s->statement.issued = NOW - GUARD_AGE_MAX_S - 1; \
		s->statement.expires = s->statement.issued + 600) \
	X(a_rollover_by_a_retired_key, "retired", rollover, s->key.document.retired = LIMITS_KEY_RETIRED) \
	X(a_longer_rollover_than_ordered, "rollover-end", rollover, s->renewal.not_after--) \
	X(a_rollover_that_outlives_the_key, "rollover-validity", rollover, s->key.not_after--) \
	X(a_rollover_before_the_first, "rollover-validity", rollover, s->key.installed = false) \
	X(a_rollover_of_a_subordinate, "root-kind", rollover, s->key.document.root = false) \
	X(a_rollover_for_another_name, "root-subject", rollover, s->subject = all.other.name) \
	X(a_rollover_that_is_no_ca, "root-constraints", rollover, s->ca = false) \
	X(a_rollover_without_aki, "authority-key-id", rollover, s->aki.len = 0)

TEST(rollovers, ROLLOVERS)

#define ISSUED(X) \
	X(by_a_retired_key, "retired", new, s->key.document.retired = LIMITS_KEY_RETIRED) \
	X(by_a_retired_ca, "retired", new, s->key.document.retired = LIMITS_CA_RETIRED) \
	X(a_template_outside_the_limits, "template", new, s->r.template = "nonesuch") \
	X(a_template_in_capitals, "template", new, s->r.template = "AUTO") \
	X(before_the_ca_is_installed, "installed", new, s->key.installed = false) \
	X(a_root_without_its_certificate, "installed", new, s->key.installed = false; s->key.document.root = true) \
	X(older_than_the_ca, "ca-validity", new, s->key.not_before = s->not_before + 1) \
	X(outlives_the_ca, "ca-validity", new, s->key.not_after = s->not_after - 1) \
	X(a_second_too_long, "lifetime", new, s->not_after++) \
	X(long_by_being_backdated, "lifetime", new, s->not_before--) \
	X(a_ca_by_an_end_entitys_template, "basic-constraints", new, s->ca = true) \
	X(an_end_entity_by_a_cas_template, "basic-constraints", sub_ca, s->ca = false; s->path_length = -1) \
	X(a_longer_path_than_the_line, "path-length", sub_ca, s->path_length = 3) \
	X(no_path_length_where_the_line_has_one, "path-length", sub_ca, s->path_length = -1) \
	X(as_long_a_path_as_the_line, NULL, sub_ca, s->path_length = 2) \
	X(a_ca_below_path_length_0, "path-length", sub_ca, s->key.path_length = 0) \
	X(a_ca_below_limits_of_path_length_0, "path-length", sub_ca, s->key.document.path_length = 0; s->path_length = 0) \
	X(as_long_a_path_as_the_cas_own, "path-length", sub_ca, s->key.path_length = 1) \
	X(one_less_than_the_cas_own, NULL, sub_ca, s->key.path_length = 2) \
	X(no_path_length_below_a_bounded_ca, "path-length", sub_ca, s->key.path_length = 3; s->path_length = -1; \
		s->key.document.templates[4].path_length = -1) \
	X(no_bound_anywhere, NULL, sub_ca, s->path_length = -1; s->key.document.templates[4].path_length = -1) \
	X(no_key_usage, "key-usage", new, s->key_usage = 0) \
	X(more_key_usage_than_the_line, "key-usage", new, s->key_usage |= KU_NON_REPUDIATION) \
	X(key_usage_of_a_ca, "key-usage", new, s->key_usage |= KU_KEY_CERT_SIGN) \
	X(crl_sign, "key-usage", new, s->key_usage |= KU_CRL_SIGN) \
	X(cert_sign_without_ca, "ca-usage", new, s->key_usage = KU_KEY_CERT_SIGN; \
		s->key.document.templates[0].key_usage = KU_KEY_CERT_SIGN) \
	X(crl_sign_without_ca, "ca-usage", new, s->key_usage = KU_CRL_SIGN; \
		s->key.document.templates[0].key_usage = KU_CRL_SIGN) \
	X(a_ca_without_cert_sign, "ca-usage", sub_ca, s->key_usage = KU_CRL_SIGN) \
	X(no_purposes, "extended-key-usage", new, s->purpose_count = 0) \
	X(purposes_where_the_line_has_none, "extended-key-usage", new, s->r.template = "free") \
	X(another_purpose, "extended-key-usage", new, set_purpose(s, "codeSigning")) \
	X(any_purpose, "extended-key-usage", new, set_purpose(s, "anyExtendedKeyUsage")) \
	X(a_purpose_more, "extended-key-usage", new, \
		must(oid_purpose_from_name("clientAuth", &s->purposes[1])); s->purpose_count = 2) \
	X(a_responder_of_somebody_else, "ocsp-signing", ocsp, set_subject_key(s, &all.host); s->csr_spki = s->spki) \
	X(a_responders_key_for_servers, "responder-key", new, set_subject_key(s, &all.responder)) \
	X(a_responders_key_for_a_ca, "responder-key", sub_ca, set_subject_key(s, &all.responder); s->csr_spki = s->spki) \
	X(the_cas_own_key, "own-keys", new, set_subject_key(s, &all.us)) \
	X(the_cas_own_key_for_a_ca, "own-keys", sub_ca, set_subject_key(s, &all.us); s->csr_spki = s->spki) \
	X(another_ca_key_of_this_signer, "own-keys", new, set_subject_key(s, &all.other)) \
	X(another_ca_of_this_signer, NULL, sub_ca, set_subject_key(s, &all.other); s->csr_spki = s->spki)

TEST(issued, ISSUED)

static const uint8_t general_name[] = "\xa4\x04\x30\x02\x31\x00";
static const uint8_t upn[] =
    "\xa0\x1f\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03\xa0\x11\x0c\x0f" "admin@corp.test";

static void
set_raw_name(struct setting *s, const uint8_t *whole, size_t len)
{
	s->names[0] = (struct san){SAN_UNSUPPORTED, {whole, len}};
	s->name_count = 1;
}

#define NAMES(X) \
	X(neither_subject_nor_name, "subject", new, s->subject = TEXT("\x30\x00"); s->name_count = 0) \
	X(a_ca_without_a_subject, "subject", sub_ca, s->subject = s->csr_subject = TEXT("\x30\x00")) \
	X(a_control_character, "subject", new, s->subject = TEXT("\x30\x0d\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02" "a\b")) \
	X(the_cas_own_name, "self-issued", new, s->subject = all.us.name) \
	X(the_cas_own_name_in_capitals, "self-issued", new, set_subject(s, "CN=UNIT CA,O=EXAMPLE,C=de")) \
	X(the_cas_own_name_with_blanks, "self-issued", new, set_subject(s, "CN=Unit\\ \\ CA,O=\\ Example,C=DE")) \
	X(the_cas_own_name_in_another_type, "self-issued", new, s->subject = RAW(other_string_type)) \
	X(a_ca_of_the_same_name, "self-issued", sub_ca, s->subject = s->csr_subject = all.us.name) \
	X(a_directory_name, "name-kinds", new, set_raw_name(s, general_name, sizeof general_name - 1)) \
	X(a_principal_name, "name-kinds", new, set_raw_name(s, upn, sizeof upn - 1)) \
	X(a_principal_name_somebody_saw, NULL, manual, set_raw_name(s, upn, sizeof upn - 1); \
		s->csr_names[0] = s->names[0]) \
	\
	X(below_the_permitted_domain, NULL, new, PERMIT(s, "dns:example.com")) \
	X(the_permitted_host, NULL, new, PERMIT(s, "dns:host.example.com")) \
	X(in_other_letters, NULL, new, PERMIT(s, "dns:example.com"); set_name(s, SAN_DNS, "HOST.Example.COM")) \
	X(in_one_of_two, NULL, new, PERMIT(s, "dns:other.test"); PERMIT(s, "dns:example.com")) \
	X(outside_the_permitted_domain, "names-permitted", new, PERMIT(s, "dns:other.test")) \
	X(no_label_of_its_own, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_name(s, SAN_DNS, "evilexample.com")) \
	X(the_domain_in_front, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_name(s, SAN_DNS, "example.com.evil.test")) \
	X(above_the_permitted_host, "names-permitted", new, PERMIT(s, "dns:host.example.com"); \
		set_name(s, SAN_DNS, "example.com")) \
	X(a_wildcard_above_it, "names-permitted", new, PERMIT(s, "dns:host.example.com"); \
		set_name(s, SAN_DNS, "*.example.com")) \
	X(a_wildcard_below_it, NULL, new, PERMIT(s, "dns:example.com"); set_name(s, SAN_DNS, "*.example.com")) \
	X(one_good_name_and_one_bad, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		s->names[s->name_count++] = DNS("evil.test")) \
	X(a_bad_common_name, "names-permitted", new, PERMIT(s, "dns:example.com"); set_subject(s, "CN=evil.test")) \
	X(a_bad_common_name_with_a_dot, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_subject(s, "CN=evil.test.")) \
	X(a_bad_common_name_in_blanks, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_subject(s, "CN=\\ evil.test\\ ")) \
	X(a_bad_second_common_name, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_subject(s, "CN=evil.test,CN=host.example.com")) \
	X(a_bad_common_name_in_wide_characters, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_subject(s, "CN=#1e0e006500760069006c002e00740065")) \
	X(a_word_as_common_name_of_a_server, "names-permitted", new, PERMIT(s, "dns:example.com"); \
		set_subject(s, "CN=localhost")) \
	X(an_address_as_common_name, "names-permitted", new, PERMIT(s, "ip:10.0.0.0/8"); set_subject(s, "CN=192.0.2.1")) \
	X(a_long_address_as_common_name, "names-permitted", new, PERMIT(s, "ip:10.0.0.0/8"); \
		set_subject(s, "CN=2001:db8::1")) \
	X(a_mailbox_as_common_name, "names-permitted", new, PERMIT(s, "email:example.com"); \
		set_subject(s, "CN=a@evil.test")) \
	X(a_common_name_that_is_no_host, NULL, new, PERMIT(s, "dns:example.com"); set_subject(s, "CN=A small server")) \
	X(a_bad_email_address, "names-permitted", new, PERMIT(s, "email:example.com"); \
		set_subject(s, "emailAddress=a@evil.test,CN=x")) \
	X(two_email_addresses_in_one, "names-permitted", new, PERMIT(s, "email:example.com"); \
		set_subject(s, "emailAddress=a@evil.test\\,b@example.com,CN=x")) \
	X(no_email_address_in_it, "names-permitted", new, PERMIT(s, "email:example.com"); \
		set_subject(s, "emailAddress=nobody,CN=x")) \
	X(a_good_email_address, NULL, new, PERMIT(s, "email:example.com"); \
		set_subject(s, "emailAddress=a@Example.com,CN=x")) \
	X(a_mailbox_of_the_host, NULL, new, PERMIT(s, "email:example.com"); set_name(s, SAN_EMAIL, "a@example.com")) \
	X(a_mailbox_below_the_host, "names-permitted", new, PERMIT(s, "email:example.com"); \
		set_name(s, SAN_EMAIL, "a@sub.example.com")) \
	X(a_mailbox_below_the_domain, NULL, new, PERMIT(s, "email:.example.com"); \
		set_name(s, SAN_EMAIL, "a@sub.example.com")) \
	X(a_mailbox_at_the_domain, "names-permitted", new, PERMIT(s, "email:.example.com"); \
		set_name(s, SAN_EMAIL, "a@example.com")) \
	X(the_one_mailbox, NULL, new, PERMIT(s, "email:a@example.com"); set_name(s, SAN_EMAIL, "a@EXAMPLE.com")) \
	X(another_case_of_the_one_mailbox, "names-permitted", new, PERMIT(s, "email:a@example.com"); \
		set_name(s, SAN_EMAIL, "A@example.com")) \
	X(an_address_in_the_network, NULL, new, PERMIT(s, "ip:10.0.0.0/8"); set_ip(s, "\x0a\x01\x02\x03", 4)) \
	X(an_address_outside, "names-permitted", new, PERMIT(s, "ip:10.0.0.0/8"); set_ip(s, "\x0b\x01\x02\x03", 4)) \
	X(an_address_of_another_length, "names-permitted", new, PERMIT(s, "ip:10.0.0.0/8"); \
		set_ip(s, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03", 16)) \
	X(an_ipv6_address_in_the_network, NULL, new, PERMIT(s, "ip:2001:db8::/32"); \
		set_ip(s, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16)) \
	X(a_uri_of_the_host, NULL, new, PERMIT(s, "uri:www.example.com"); \
		set_name(s, SAN_URI, "https://me:pw@WWW.example.com:8443/x?y#z")) \
	X(a_uri_below, NULL, new, PERMIT(s, "uri:.example.com"); set_name(s, SAN_URI, "https://www.example.com")) \
	X(a_uri_at_the_domain, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "https://example.com/")) \
	X(a_uri_of_another_host, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "https://www.example.com@evil.test/")) \
	X(a_uri_with_the_host_behind, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "https://evil.test/?//www.example.com")) \
	X(a_uri_with_the_host_in_the_query, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "https://evil.test?@www.example.com")) \
	X(a_uri_without_a_host, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "urn:x:y")) \
	X(a_uri_of_an_address, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "https://192.0.2.1/")) \
	X(a_uri_of_a_long_address, "names-permitted", new, PERMIT(s, "uri:.example.com"); \
		set_name(s, SAN_URI, "https://[2001:db8::1]/")) \
	\
	X(the_excluded_host, "names-excluded", new, EXCLUDE(s, "dns:host.example.com")) \
	X(below_an_excluded_domain, "names-excluded", new, EXCLUDE(s, "dns:com")) \
	X(all_hosts_excluded, "names-excluded", new, EXCLUDE(s, "dns:")) \
	X(beside_an_excluded_host, NULL, new, EXCLUDE(s, "dns:ost.example.com")) \
	X(a_wildcard_over_an_excluded_host, "names-excluded", new, EXCLUDE(s, "dns:secret.example.com"); \
		set_name(s, SAN_DNS, "*.example.com")) \
	X(a_wildcard_beside_a_deeper_one, NULL, new, EXCLUDE(s, "dns:very.secret.example.com"); \
		set_name(s, SAN_DNS, "*.example.com")) \
	X(an_excluded_common_name, "names-excluded", new, EXCLUDE(s, "dns:secret.example.com"); \
		only_subject(s, "CN=secret.example.com")) \
	X(an_excluded_address_written_long, "names-excluded", new, EXCLUDE(s, "ip:10.0.0.0/8"); \
		set_ip(s, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03", 16)) \
	X(an_excluded_long_address_written_short, "names-excluded", new, EXCLUDE(s, "ip:::ffff:10.0.0.0/104"); \
		set_ip(s, "\x0a\x01\x02\x03", 4)) \
	X(an_address_that_is_not_excluded, NULL, new, EXCLUDE(s, "ip:10.0.0.0/8"); set_ip(s, "\x0b\x01\x02\x03", 4)) \
	X(another_case_of_an_excluded_mailbox, "names-excluded", new, EXCLUDE(s, "email:root@example.com"); \
		set_name(s, SAN_EMAIL, "ROOT@example.com")) \
	X(a_uri_that_could_be_excluded, "names-excluded", new, EXCLUDE(s, "uri:evil.test"); \
		set_name(s, SAN_URI, "urn:x:y")) \
	X(a_ca_below_permitted_names, "names-below", sub_ca, PERMIT(s, "dns:example.com")) \
	X(a_ca_below_excluded_names, "names-below", sub_ca, EXCLUDE(s, "dns:other.test"))

TEST(names, NAMES)

static void
set_statement(struct setting *s, enum statement_action action, const char *object)
{
	s->statement = (struct statement){.action = action, .ca = "unit",
	    .issued = NOW - 60, .expires = NOW + 540, .reason = "superseded"};
	(void)snprintf(s->statement.object, sizeof s->statement.object, "%s", object);
	s->keep_digest = true;
}

#define THUMBPRINT "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

#define DECISIONS(X) \
	X(a_manual_one_without_a_decision, "approval", new, s->r.template = "manual") \
	X(a_ca_without_a_decision, "approval", sub_ca, s->approved = false; s->key.document.templates[4].automatic = true) \
	X(a_denial, "action", manual, s->statement.action = STATEMENT_DENY; \
		memcpy(s->statement.reason, "no", 3)) \
	X(a_revocation, "action", manual, set_statement(s, STATEMENT_REVOKE, THUMBPRINT)) \
	X(another_cas_decision, "decided-ca", manual, memcpy(s->statement.ca, "unit2", 6)) \
	X(another_templates_decision, "decided-template", manual, memcpy(s->statement.template_name, "auto", 5)) \
	X(another_requests_decision, "decided-request", manual, s->keep_digest = true) \
	X(a_strangers_decision, "decider", manual, s->decider = &all.mallory) \
	X(the_hosts_own_decision, "decider", manual, s->decider = &all.host) \
	X(a_decision_without_the_right, "decider", manual, s->decider = &all.bob) \
	X(a_decision_of_last_month, "decision-time", manual, s->statement.issued = NOW - GUARD_AGE_MAX_S - 1; \
		s->statement.expires = s->statement.issued + 60) \
	X(a_decision_of_tomorrow, "decision-time", manual, s->statement.issued = NOW + GUARD_AHEAD_MAX_S + 1; \
		s->statement.expires = s->statement.issued + 60) \
	X(a_decision_of_last_week, NULL, manual, s->statement.issued = NOW - GUARD_AGE_MAX_S; \
		s->statement.expires = s->statement.issued + 60) \
	X(another_key_than_approved, "request-key", manual, set_subject_key(s, &all.mallory)) \
	X(another_subject_than_approved, "request-subject", manual, s->subject = all.mallory.name) \
	X(another_name_than_approved, "request-names", manual, set_name(s, SAN_DNS, "evil.test")) \
	X(a_name_more_than_approved, "request-names", manual, s->names[s->name_count++] = DNS("evil.test")) \
	X(a_name_less_than_approved, "request-names", manual, s->name_count = 0) \
	X(names_in_another_order, "request-names", manual, s->names[1] = DNS("b.test"); s->name_count = 2; \
		s->csr_names[0] = DNS("b.test"); s->csr_names[1] = s->names[0]; s->csr_name_count = 2) \
	X(names_where_none_were_approved, "request-names", manual, s->csr_name_count = 0) \
	X(an_approval_does_not_widen_the_template, "key-usage", manual, s->key_usage |= KU_NON_REPUDIATION) \
	X(an_approval_does_not_widen_the_names, "names-permitted", manual, PERMIT(s, "dns:other.test"))

TEST(decisions, DECISIONS)


#define CRLS(X) \
	X(another_issuers_crl, "crl", crl, s->issuer = all.other.name) \
	X(a_crl_with_another_aki, "crl", crl, s->aki = (struct bytes){all.other.key_id, SKI_LEN}) \
	X(a_crl_without_aki, "crl", crl, s->aki.len = 0) \
	X(a_delta, NULL, crl, s->crl_extra = TEXT(DELTA("\x05"))) \
	X(a_delta_below_its_base, "crl", crl, s->crl_extra = TEXT(DELTA("\x08"))) \
	X(a_crl_of_user_certificates, NULL, crl, s->crl_extra = TEXT(IDP("\x81\x01\xff"))) \
	X(an_indirect_crl, "crl", crl, s->crl_extra = TEXT(IDP("\x84\x01\xff"))) \
	X(a_crl_of_some_reasons, "crl", crl, \
		s->crl_extra = TEXT("\x30\x10\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x06\x30\x04\x83\x02\x06\x40")) \
	X(a_named_crl_of_some_reasons, NULL, crl, \
		s->crl_extra = TEXT("\x30\x19\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x0f\x30\x0d\xa0\x07\xa0\x05\x86\x03" "a:b" "\x83\x02\x06\x40")) \
	X(a_crl_of_users_and_cas, "crl", crl, \
		s->crl_extra = TEXT("\x30\x12\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x08\x30\x06\x81\x01\xff\x82\x01\xff")) \
	X(a_delta_with_freshest, "crl", crl, s->crl_extra = TEXT(DELTA("\x05") FRESHEST)) \
	X(a_crl_before_the_ca_is_installed, "crl-installed", crl, s->key.installed = false) \
	X(a_crl_of_tomorrow, "this-update", crl, s->this_update = NOW + GUARD_AHEAD_MAX_S + 1) \
	X(a_crl_of_last_month, "this-update", crl, s->this_update = NOW - GUARD_AGE_MAX_S - 1) \
	X(a_crl_of_a_retired_ca, NULL, crl, s->key.document.retired = LIMITS_CA_RETIRED) \
	X(a_crl_that_outlives_the_ca, "next-update", crl, s->next_update = s->key.not_after + 1) \
	X(a_crl_for_ever, "crl-life", crl, s->next_update = NOW + GUARD_CRL_LIFE_MAX_S + 1; \
		s->key.not_after = s->next_update) \
	X(a_crl_from_an_algorithm_outside, "algorithm", crl, s->r.alg = SIG_ECDSA_SHA512)

TEST(crls, CRLS)

#define CHALLENGE "\x30\x12\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x31\x05\x0c\x03" "abc"
#define WANTS_NAMES "\x30\x0e\x06\x03\x55\x1d\x11\x04\x07\x30\x05\x82\x03" "a.b"

#define REQUESTS(X) \
	X(a_certificate_as_a_request, "own-request", csr, s->spki = TEXT("\x05\x00")) \
	X(a_request_with_another_key, "own-key", csr, s->spki = all.other.spki.whole) \
	X(a_request_with_another_subject, "own-subject", csr, s->subject = all.other.name) \
	X(a_request_of_a_retired_key, "own-use", csr, s->key.document.retired = LIMITS_KEY_RETIRED) \
	X(a_request_with_a_password, "own-attributes", csr, s->tail = TEXT(CHALLENGE)) \
	X(a_request_for_a_host_name, "own-wishes", csr, s->extra = TEXT(WANTS_NAMES)) \
	X(a_request_for_servers, "own-wishes", csr, set_purpose(s, "serverAuth")) \
	X(a_request_to_sign_documents, "own-wishes", csr, s->key_usage |= KU_DIGITAL_SIGNATURE) \
	X(a_request_for_a_longer_path, "own-wishes", csr, s->key.document.path_length = 0; s->path_length = 1) \
	X(a_request_for_any_path, "own-wishes", csr, s->key.document.path_length = 0) \
	X(a_request_for_its_path, NULL, csr, s->key.document.path_length = 0; s->path_length = 0)

TEST(requests, REQUESTS)

/* clang-format on */

/* ---- what comes beside the structure */

static void
approvals_are_taken_apart(void **state)
{
	struct setting *s = setting_manual(&all);
	struct guard_request good;
	uint8_t copy[4096];

	setting_build(s);
	good = s->r;

	/* The CSR: octets behind it, octets missing. */
	memcpy(copy, good.csr.p, good.csr.len);
	copy[good.csr.len] = 0;
	s->r.csr = (struct bytes){copy, good.csr.len + 1};
	expect_refusal(&s->r, "request", "a CSR with an octet more");
	s->r.csr.len = good.csr.len - 1;
	expect_refusal(&s->r, "request", "a CSR with an octet less");
	s->r = good;
	s->r.csr.len = 0;
	expect_refusal(&s->r, "request", "no CSR");

	/* The statement: every text that is not its one form. */
	s->r = good;
	memcpy(copy, good.statement.p, good.statement.len);
	copy[good.statement.len] = '\n';
	s->r.statement = (struct bytes){copy, good.statement.len + 1};
	expect_refusal(&s->r, "statement", "a statement with a line more");
	s->r.statement.len = good.statement.len - 1;
	expect_refusal(&s->r, "statement", "a statement with an octet less");

	/* The signature: changed, of another text, missing. */
	s->r = good;
	memcpy(copy, good.signature.p, good.signature.len);
	copy[good.signature.len - 1] ^= 1;
	s->r.signature.p = copy;
	expect_refusal(&s->r, "decision-signature", "a changed signature");
	s->r.signature.len = 0;
	expect_refusal(&s->r, "decision-signature", "no signature");
	s->r = good;
	memcpy(copy, good.statement.p, good.statement.len);
	memcpy(memmem(copy, good.statement.len, "2f1c", 4), "2f1d", 4);
	s->r.statement.p = copy;
	expect_refusal(&s->r, "decision-signature", "another request's id");

	/* An operator's key in another form is another key. */
	s->r = good;
	s->r.spki.len--;
	expect_refusal(&s->r, "decider", "a cut off key");
	free(s);
}

static void
kinds_are_not_confused(void **state)
{
	static const uint8_t digest[32] = {0x30, 30};
	static const enum signproto_kind kinds[] = {
	    SIGNPROTO_TBS_CERTIFICATE, SIGNPROTO_TBS_CRL, SIGNPROTO_CSR_INFO};
	static const char *const rules[] = {"structure", "crl", "own-request"};
	struct setting *s[] = {setting_new(&all), setting_crl(&all), setting_csr(&all)};

	for (size_t is = 0; is < COUNT_OF(s); is++) {
		setting_build(s[is]);
		s[is]->key.installed = true;
		for (size_t called = 0; called < COUNT_OF(kinds); called++) {
			struct guard_request r = s[is]->r;

			r.kind = kinds[called];
			r.template = called == 0 ? "auto" : "";
			if (is != called)
				expect_refusal(&r, rules[called], "another kind");
			r.tbs = (struct bytes){digest, sizeof digest};
			expect_refusal(&r, rules[called], "a digest");
			r.tbs.len = 0;
			expect_refusal(&r, called == 1 ? "crl" : "kind", "nothing");
		}
		free(s[is]);
	}
}

/* ---- the list of rules, for people and for the mutation run */

static void
rules_have_names_of_their_own(void **state)
{
	const char *kind, *name, *other, *reference;
	size_t count = 0;

	for (; guard_rule(count, &kind, &name, &reference); count++) {
		assert_true(strlen(kind) > 0 && strlen(name) > 0 && strlen(reference) > 0);
		for (size_t i = 0; i < count; i++) {
			assert_true(guard_rule(i, &kind, &other, &reference));
			assert_string_not_equal(name, other);
		}
	}
	assert_true(count > 50);
}

int
main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(passes),
	    cmocka_unit_test(structures),
	    cmocka_unit_test(certificates),
	    cmocka_unit_test(roots),
	    cmocka_unit_test(renewals),
	    cmocka_unit_test(rollovers),
	    cmocka_unit_test(issued),
	    cmocka_unit_test(names),
	    cmocka_unit_test(decisions),
	    cmocka_unit_test(crls),
	    cmocka_unit_test(requests),
	    cmocka_unit_test(approvals_are_taken_apart),
	    cmocka_unit_test(kinds_are_not_confused),
	    cmocka_unit_test(rules_have_names_of_their_own),
	};

	if (argc > 2 && strcmp(argv[1], "--seeds") == 0)
		seeds = argv[2];
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
