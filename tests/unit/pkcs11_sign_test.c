/*
 * Keys and signatures on a real token: every key algorithm with every signature
 * algorithm that fits, judged by OpenSSL's own X.509 code; several threads.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>
#include <openssl/x509.h>
#include <p11-kit/pkcs11.h>

#include "daemon/core/monotonic.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"
#include "pkcs11/key_remove.h"
#include "pkcs11/worker.h"
#include "tests/unit/ceremony.h"
#include "tests/unit/softhsm.h"

/* SoftHSM 2.6.1 loses some octets with each signature of Ed25519, which the sanitizer would
 * tell of us. */
#ifdef __SANITIZE_ADDRESS__
#define ED25519_KEYS
#define ED25519_COUNT 0
#else
#define ED25519_KEYS , KEY_ED25519
#define ED25519_COUNT 1
#endif

static const enum key_alg key_algs[] = {
    KEY_RSA2048, KEY_RSA3072, KEY_RSA4096, KEY_P256, KEY_P384, KEY_P521 ED25519_KEYS};
static const enum sig_alg sig_algs[] = {SIG_RSA_SHA256, SIG_RSA_SHA384, SIG_RSA_SHA512,
    SIG_PSS_SHA256, SIG_PSS_SHA384, SIG_PSS_SHA512, SIG_ECDSA_SHA256, SIG_ECDSA_SHA384,
    SIG_ECDSA_SHA512, SIG_ED25519};

struct made_key {
	uint8_t id[KEY_ID_LEN];
	uint8_t spki[SPKI_MAX];
	size_t spki_len;
};

static struct softhsm hsm;
static struct token *token;
static struct journal *journal;
static struct pool *pool;
static int wake_fd;
static uint8_t subject_buf[NAME_DER_MAX];
static struct bytes subject;
static struct made_key keys[COUNT_OF(key_algs)];

static int
set_up(void **state)
{
	enum signproto_state token_state;
	struct journal_options options;
	struct error e = ERROR_INIT;

	struct pool_place place = {.state_dir = hsm.state_dir, .token = "main", .signer_id = 1};

	ceremony_begin();
	softhsm_make(&hsm);
	options = (struct journal_options){.state_dir = hsm.state_dir,
	    .token = "unit",
	    .signer_id = 1,
	    .now = journal_clock_now()};
	wake_fd = eventfd(0, EFD_CLOEXEC);
	if (!token_open(&hsm.config, hsm.state_dir, &token, &token_state, &e) ||
	    !journal_open(&options, &journal, &e) ||
	    (place.journal = journal, !pool_new(token, &place, 4, wake_fd, &pool, &e)) ||
	    !name_from_text(
		"CN=Unit CA,O=Example,C=DE", subject_buf, sizeof subject_buf, &subject, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	return 0;
}

static int
tear_down(void **state)
{
	pool_free(pool);
	journal_free(journal);
	token_close(token);
	(void)close(wake_fd);
	softhsm_remove(&hsm);
	ceremony_end();
	return 0;
}

/* Waits until `count` jobs are done and returns them. */
static struct job *
wait_for(unsigned int count)
{
	struct job *all = NULL, *job;
	uint64_t n;

	while (count > 0) {
		assert_int_equal(read(wake_fd, &n, sizeof n), sizeof n);
		job = pool_take_done(pool);
		while (job != NULL) {
			struct job *next = job->next;

			job->next = all;
			all = job;
			job = next;
			count--;
		}
	}
	return all;
}

/* An order for a key of its own kind of CA. */
static struct job *
key_job(size_t number)
{
	static struct ceremony_order order;
	struct signproto_key_generate m;
	struct wire_writer w;
	struct limits *l = malloc(sizeof *l);
	struct job *job;

	assert_non_null(l);
	ceremony_limits(l, key_alg_name(key_algs[number]), key_algs[number], subject);
	ceremony_order(&order, l, CEREMONY_BY(ALICE));
	free(l);
	m.order = order.order;
	wire_writer_init(&w, 1024 * 1024);
	signproto_put_key_generate(&w, &m);
	assert_true(wire_writer_ok(&w));
	job = job_new(JOB_KEY_GENERATE, (struct bytes){0}, (struct bytes){w.buf, w.len});
	assert_non_null(job);
	job->request = number;
	wire_writer_free(&w);
	return job;
}

static void
generate_all(void **state)
{
	struct job *job;

	for (size_t i = 0; i < COUNT_OF(key_algs); i++) {
		pool_submit(pool, key_job(i));
	}
	job = wait_for(COUNT_OF(key_algs));
	while (job != NULL) {
		struct job *next = job->next;
		struct made_key *k = &keys[job->request];
		struct spki spki;

		if (error_is_set(&job->error))
			fail_msg("%s", job->error.text);
		assert_int_equal(job->id_len, KEY_ID_LEN);
		memcpy(k->id, job->id, KEY_ID_LEN);
		memcpy(k->spki, job->output, job->output_len);
		k->spki_len = job->output_len;
		assert_true(spki_parse((struct bytes){k->spki, k->spki_len}, &spki, NULL));
		assert_int_equal(spki_key_alg(&spki), key_algs[job->request]);
		job_free(job);
		job = next;
	}
}

static struct job *
structure_job(
    const struct made_key *k, enum sig_alg alg, enum signproto_kind kind, struct bytes tbs)
{
	const struct signproto_sign m = {
	    .cka_id = {k->id, KEY_ID_LEN}, .sig_alg = (uint16_t)alg, .kind = kind, .tbs = tbs};
	struct wire_writer w;
	struct job *job;

	wire_writer_init(&w, 1024 * 1024);
	signproto_put_sign(&w, &m);
	assert_true(wire_writer_ok(&w));
	job = job_new(JOB_SIGN, m.cka_id, (struct bytes){w.buf, w.len});
	assert_non_null(job);
	job->alg = alg;
	job->structure = kind;
	wire_writer_free(&w);
	return job;
}

static struct job *
sign_job(const struct made_key *k, enum sig_alg alg, uint8_t *buf, size_t size)
{
	struct error e = ERROR_INIT;
	struct bytes info;

	assert_true(csr_info_build(subject, (struct bytes){k->spki, k->spki_len}, (struct bytes){0},
	    buf, size, &info, &e));
	return structure_job(k, alg, SIGNPROTO_CSR_INFO, info);
}

/* OpenSSL parses and verifies the request as any client would. */
static void
judge(const struct job *job)
{
	uint8_t buf[CSR_MAX];
	struct error e = ERROR_INIT;
	struct signproto_sign m;
	struct bytes der;
	const uint8_t *p;
	X509_REQ *req;
	EVP_PKEY *key;

	assert_true(signproto_get_sign((struct bytes){job->input, job->input_len}, &m, &e));
	if (!csr_assemble(m.tbs, job->alg, (struct bytes){job->output, job->output_len}, buf,
		sizeof buf, &der, &e))
		fail_msg("%s", e.text);
	p = der.p;
	req = d2i_X509_REQ(NULL, &p, (long)der.len);
	assert_non_null(req);
	key = X509_REQ_get0_pubkey(req);
	assert_non_null(key);
	assert_int_equal(X509_REQ_verify(req, key), 1);
	X509_REQ_free(req);
}

static void
every_key_with_every_algorithm(void **state)
{
	unsigned int count = 0, good = 0;
	uint8_t buf[4096];
	struct job *job;

	for (size_t k = 0; k < COUNT_OF(keys); k++) {
		for (size_t a = 0; a < COUNT_OF(sig_algs); a++) {
			pool_submit(pool, sign_job(&keys[k], sig_algs[a], buf, sizeof buf));
			count++;
		}
	}
	job = wait_for(count);
	while (job != NULL) {
		struct job *next = job->next;
		bool fits = false;

		for (size_t k = 0; k < COUNT_OF(keys); k++) {
			if (memcmp(keys[k].id, job->id, KEY_ID_LEN) == 0)
				fits = sig_alg_fits_key(job->alg, key_algs[k]);
		}
		if (fits && error_is_set(&job->error))
			fail_msg("%s: %s", sig_alg_name(job->alg), job->error.text);
		if (fits) {
			judge(job);
			good++;
		} else {
			assert_int_equal(job->error.code, ERROR_DENIED);
		}
		job_free(job);
		job = next;
	}
	/* Three RSA keys with six algorithms, three EC keys with three, Ed25519 with its own. */
	assert_int_equal(good, 27 + ED25519_COUNT);
}

static void
many_at_once(void **state)
{
	uint8_t buf[4096];
	struct job *job;

	for (unsigned int i = 0; i < 400; i++) {
		const struct made_key *k = &keys[i % 2 == 0 ? 0 : 3];

		pool_submit(pool,
		    sign_job(k, i % 2 == 0 ? SIG_RSA_SHA256 : SIG_ECDSA_SHA256, buf, sizeof buf));
	}
	job = wait_for(400);
	while (job != NULL) {
		struct job *next = job->next;

		assert_false(error_is_set(&job->error));
		judge(job);
		job_free(job);
		job = next;
	}
}

static void
expired_jobs_are_not_signed(void **state)
{
	uint8_t buf[4096];
	struct job *job = sign_job(&keys[3], SIG_ECDSA_SHA256, buf, sizeof buf);

	job->deadline_ms = monotonic_ms() - 1;
	pool_submit(pool, job);
	job = wait_for(1);
	assert_int_equal(job->error.code, ERROR_TIMEOUT);
	assert_int_equal(job->output_len, 0);
	job_free(job);
}

static void
refused(struct job *job, enum error_code code, const char *words)
{
	pool_submit(pool, job);
	job = wait_for(1);
	assert_int_equal(job->error.code, code);
	if (strstr(job->error.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", job->error.text, words);
	assert_int_equal(job->output_len, 0);
	job_free(job);
}

static void
the_guard_stands_before_the_token(void **state)
{
	static const uint8_t digest[32] = {1};
	uint8_t buf[4096];
	struct job *job;

	/* A digest, as a signing oracle would take it. */
	job = structure_job(
	    &keys[3], SIG_ECDSA_SHA256, SIGNPROTO_TBS_CERTIFICATE, (struct bytes){digest, 32});
	refused(job, ERROR_DENIED, "refuses to sign this tbs-certificate");
	/* Another key's request. */
	job = sign_job(&keys[4], SIG_ECDSA_SHA256, buf, sizeof buf);
	memcpy(job->id, keys[3].id, KEY_ID_LEN);
	refused(job, ERROR_DENIED, "public key in it is not the key's own");
	/* A key that has no limits. */
	job = sign_job(&keys[4], SIG_ECDSA_SHA256, buf, sizeof buf);
	job->id[0] ^= 1;
	refused(job, ERROR_UNAVAILABLE, "has no limits");
}

/* Asks the token behind our back. */
static void
keys_cannot_leave(void **state)
{
	const CK_FUNCTION_LIST *f = token_functions(token);
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE search = {CKA_CLASS, &class, sizeof class};
	CK_OBJECT_HANDLE found[32];
	struct error e = ERROR_INIT;
	struct session s;
	CK_ULONG count;

	assert_true(session_open(f, token_info(token)->slot, false, &s, &e));
	assert_int_equal(f->C_FindObjectsInit(s.handle, &search, 1), CKR_OK);
	assert_int_equal(f->C_FindObjects(s.handle, found, 32, &count), CKR_OK);
	assert_int_equal(f->C_FindObjectsFinal(s.handle), CKR_OK);
	assert_int_equal(count, COUNT_OF(key_algs));
	for (CK_ULONG i = 0; i < count; i++) {
		CK_BBOOL sensitive = 2, extractable = 2, local = 2, decrypt = 2;
		CK_ATTRIBUTE a[] = {{CKA_SENSITIVE, &sensitive, 1},
		    {CKA_EXTRACTABLE, &extractable, 1}, {CKA_LOCAL, &local, 1},
		    {CKA_DECRYPT, &decrypt, 1}};

		assert_int_equal(f->C_GetAttributeValue(s.handle, found[i], a, 4), CKR_OK);
		assert_int_equal(sensitive, CK_TRUE);
		assert_int_equal(extractable, CK_FALSE);
		assert_int_equal(local, CK_TRUE);
		assert_int_equal(decrypt, CK_FALSE);
	}
	session_close(&s);
}

static void
a_destroyed_key_ends_the_pool(void **state)
{
	struct bytes id = {keys[5].id, KEY_ID_LEN};
	struct error e = ERROR_INIT;
	struct key_remains remains;
	struct session rw;
	uint8_t buf[4096];
	struct job *job;

	/* Known to the threads' sessions, and then gone. */
	assert_false(pool_failed(pool, NULL, &e));
	assert_true(session_open(token_functions(token), token_info(token)->slot, true, &rw, &e));
	assert_true(key_find_remains(&rw, id, &remains, &e) && key_remove(&rw, &remains, &e));
	session_close(&rw);
	job = job_new(JOB_KEY_FIND, id, (struct bytes){0});
	refused(job, ERROR_NOT_FOUND, "has no key with CKA_ID");
	/* A handle that is no more is the sign of lost sessions. */
	for (unsigned int i = 0; i < 8 && !pool_failed(pool, NULL, &e); i++) {
		pool_submit(pool, sign_job(&keys[5], SIG_ECDSA_SHA512, buf, sizeof buf));
		job = wait_for(1);
		assert_true(error_is_set(&job->error));
		job_free(job);
	}
	if (error_is_set(&e))
		assert_int_equal(e.code, ERROR_UNAVAILABLE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(generate_all),
	    cmocka_unit_test(every_key_with_every_algorithm),
	    cmocka_unit_test(many_at_once),
	    cmocka_unit_test(expired_jobs_are_not_signed),
	    cmocka_unit_test(the_guard_stands_before_the_token),
	    cmocka_unit_test(keys_cannot_leave),
	    cmocka_unit_test(a_destroyed_key_ends_the_pool),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
