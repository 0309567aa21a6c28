#ifndef CHANCERY_TESTS_ORDERS_SETTING_H
#define CHANCERY_TESTS_ORDERS_SETTING_H

/*
 * For cmocka tests of operators' orders, which include that first: a token with a journal, a CA
 * whose limits one person may change, and the files that are kept of its key.
 */

#include "daemon/x509/name.h"
#include "pkcs11/journal.h"
#include "pkcs11/limits_floor.h"
#include "pkcs11/orders.h"
#include "pkcs11/token.h"
#include "tests/unit/ceremony.h"
#include "tests/unit/softhsm.h"

#define DAY 86400

static struct softhsm hsm;
static struct token *token;
static struct session rw;
static struct journal *journal;
static struct orders_env env;
static int64_t started;
static uint8_t subject_buf[NAME_DER_MAX];
static struct bytes subject;

/* The CA of a test: its limits in force, the order that made its key, and the key. */
static struct limits limits, first;
static struct ceremony_order first_order, order;
static struct key_limits kept;
static uint8_t id[KEY_ID_LEN];
static uint8_t spki_der[SPKI_MAX];
static struct spki spki;

static int
set_up(void **state)
{
	enum signproto_state token_state;
	struct journal_options options;
	struct error e = ERROR_INIT;

	ceremony_begin();
	softhsm_make(&hsm);
	options = (struct journal_options){.state_dir = hsm.state_dir,
	    .token = "main",
	    .signer_id = 1,
	    .now = journal_clock_now()};
	if (!token_open(&hsm.config, hsm.state_dir, &token, &token_state, &e) ||
	    !journal_open(&options, &journal, &e) ||
	    !session_open(token_functions(token), token_info(token)->slot, true, &rw, &e) ||
	    !name_from_text(
		"CN=Unit CA,O=Example,C=DE", subject_buf, sizeof subject_buf, &subject, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	started = (int64_t)time(NULL);
	env = (struct orders_env){journal, hsm.state_dir, "main", 1, started};
	return 0;
}

static int
tear_down(void **state)
{
	session_close(&rw);
	journal_free(journal);
	token_close(token);
	softhsm_remove(&hsm);
	ceremony_end();
	return 0;
}

/* ---- what the tests do again and again */

#define OK(call)                                            \
	do {                                                \
		struct error e_ = ERROR_INIT, *e = &e_;     \
		if (!(call))                                \
			fail_msg("%s: %s", #call, e_.text); \
	} while (0)

#define REFUSED(call, error_code, words)                                            \
	do {                                                                        \
		struct error e_ = ERROR_INIT, *e = &e_;                             \
		if (call)                                                           \
			fail_msg("%s was carried out", #call);                      \
		if (e_.code != (error_code) || strstr(e_.text, words) == NULL)      \
			fail_msg("%s: '%s' (%s) does not say '%s'", #call, e_.text, \
			    error_code_name(e_.code), words);                       \
	} while (0)

static bool
make_key(const struct ceremony_order *o, struct error *e)
{
	struct key key;

	if (!orders_make_key(&rw, &env, &o->order, id, &key, e))
		return false;
	memcpy(spki_der, key.spki_der, sizeof spki_der);
	assert_true(spki_parse(
	    (struct bytes){spki_der + (key.spki.whole.p - key.spki_der), key.spki.whole.len}, &spki,
	    NULL));
	key_clear(&key);
	return true;
}

static bool
set_limits(const int *who, struct error *e)
{
	ceremony_order(&order, &limits, who);
	return orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e);
}

static bool
in_force(struct error *e)
{
	bool refused = false;

	return limits_floor_load(
	    &rw, hsm.state_dir, (struct bytes){id, KEY_ID_LEN}, &kept, &refused, e);
}

/* A key whose limits one person may change. */
static void
make_ca(const char *name, bool root)
{
	ceremony_limits(&limits, name, KEY_P256, subject);
	limits.root = root;
	first = limits;
	ceremony_order(&first_order, &limits, CEREMONY_BY(ALICE));
	OK(make_key(&first_order, e));
}

static void
next_version(void)
{
	uint8_t digest[32];

	assert_true(spki_sha256(&spki, digest, NULL));
	ceremony_next(&limits, digest);
}

static void
path_of(const char *suffix, char out[256])
{
	char text[KEY_ID_TEXT_MAX];

	key_limits_id_text((struct bytes){id, KEY_ID_LEN}, text);
	(void)snprintf(out, 256, "%s/%s%s", hsm.state_dir, text, suffix);
}

static void
remove_file(const char *suffix)
{
	char path[256];

	path_of(suffix, path);
	assert_int_equal(unlink(path), 0);
}

static size_t
read_file(const char *suffix, char *out, size_t size)
{
	char path[256];
	FILE *f;
	size_t n;

	path_of(suffix, path);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(out, 1, size - 1, f);
	assert_int_equal(fclose(f), 0);
	out[n] = '\0';
	return n;
}

static void
write_file(const char *suffix, const char *text)
{
	char path[256];

	path_of(suffix, path);
	softhsm_write(path, text, 0600);
}

#endif
