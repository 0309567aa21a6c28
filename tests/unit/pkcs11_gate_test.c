/* The gate by itself, before a real token and with a clock that is set as one likes:
 * what opens it, what closes it, and that no clock opens it again. */

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "journal_util.h"
#include "pkcs11/gate.h"
#include "softhsm.h"

#define HOUR 3600

static int64_t wall_shift_s, boot_shift_s;

/* The program's own, in place of the C library's. */
int
clock_gettime(clockid_t clock, struct timespec *t)
{
	int result = (int)syscall(SYS_clock_gettime, clock, t);

	if (clock == CLOCK_REALTIME)
		t->tv_sec += wall_shift_s;
	if (clock == CLOCK_BOOTTIME)
		t->tv_sec += boot_shift_s;
	return result;
}

/* A thread whose turn does not come before somebody says so. */
static _Thread_local bool is_held;
static sem_t held, let_go;

int
pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
	int (*real)(pthread_rwlock_t *);

	*(void **)&real = dlsym(RTLD_NEXT, "pthread_rwlock_wrlock");
	if (is_held) {
		is_held = false;
		(void)sem_post(&held);
		while (sem_wait(&let_go) != 0)
			;
	}
	return real(lock);
}

struct person {
	EVP_PKEY *key;
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
	char base64[200];
};

static struct softhsm hsm;
static struct place place;
static struct person people[2];
static struct config_pin_operator operators[2];
static struct access *access_;
static struct token *token;
static struct logins *logins;
static struct gate *gate;

static bool
open_journal(void *arg, struct journal **journal, struct error *e)
{
	struct place *p = arg;

	p->options.now = journal_clock_now();
	if (p->j == NULL && !journal_open(&p->options, &p->j, e))
		return false;
	*journal = p->j;
	return true;
}

static void
make_person(size_t i, const char *name)
{
	struct person *p = &people[i];
	struct error e = ERROR_INIT;

	p->key = EVP_EC_gen("P-256");
	assert_non_null(p->key);
	assert_true(statement_public_key(p->key, p->spki, &p->spki_len, &e));
	(void)EVP_EncodeBlock((unsigned char *)p->base64, p->spki, (int)p->spki_len);
	operators[i] = (struct config_pin_operator){(char *)(uintptr_t)name, p->base64};
}

static int
begin(void **state)
{
	softhsm_make(&hsm);
	place_make(&place);
	make_person(0, "alice");
	make_person(1, "bob");
	hsm.config.pin_operators = operators;
	hsm.config.pin_operator_count = 2;
	return 0;
}

static int
end(void **state)
{
	place_remove(&place);
	softhsm_remove(&hsm);
	for (size_t i = 0; i < COUNT_OF(people); i++)
		EVP_PKEY_free(people[i].key);
	return 0;
}

static void
start(enum config_access how)
{
	struct gate_options options = {.open_journal = open_journal, .arg = &place};
	enum signproto_state state;
	struct error e = ERROR_INIT;

	wall_shift_s = boot_shift_s = 0;
	hsm.config.access = how;
	hsm.config.session_max_s = 8 * HOUR;
	if (!access_open(&hsm.config, hsm.state_dir, 1, (int64_t)time(NULL), &access_, &e) ||
	    !logins_open(hsm.state_dir, &logins, &e) ||
	    !token_open(&hsm.config, hsm.state_dir, &token, &state, &e))
		fail_msg("%s", e.text);
	options.access = access_;
	options.token = token;
	options.logins = logins;
	options.state_dir = hsm.state_dir;
	if (!gate_new(&options, &gate, &e))
		fail_msg("%s", e.text);
}

static void
stop(void)
{
	gate_free(gate);
	token_close(token);
	logins_close(logins);
	access_free(access_);
	journal_free(place.j);
	place.j = NULL;
}

/* ---- orders */

struct order {
	char statement[STATEMENT_TEXT_MAX + 1], body[PIN_ENVELOPE_TEXT_MAX + 1];
	uint8_t signature[STATEMENT_SIGNATURE_MAX];
	struct signproto_order order;
};

static int64_t
now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec;
}

/* env's own fields are the caller's. */
static void
seal(struct order *o, size_t who, enum statement_action action, struct pin_envelope *env)
{
	struct statement s = {.action = action, .object = "main", .has_body = true};
	size_t len = 0, body_len = 0, signature_len = 0;
	struct error e = ERROR_INIT;

	assert_int_equal(RAND_bytes(s.nonce, sizeof s.nonce), 1);
	(void)snprintf(env->token, sizeof env->token, "main");
	memcpy(env->signer, access_->fingerprint, sizeof env->signer);
	memcpy(env->instance, access_->start.instance, sizeof env->instance);
	(void)SHA256(people[who].spki, people[who].spki_len, env->operator_key);
	pin_envelope_sort(env);
	if (action == STATEMENT_PIN_UNLOCK || action == STATEMENT_PIN_OPERATE)
		assert_true(pin_envelope_seal(env, s.nonce, access_->start.key,
		    (struct bytes){(const uint8_t *)SOFTHSM_PIN, strlen(SOFTHSM_PIN)}, &e));
	assert_true(pin_envelope_format(env, o->body, &body_len, &e));
	(void)SHA256((const uint8_t *)o->body, body_len, s.body_sha256);
	s.issued = now();
	s.expires = s.issued + STATEMENT_LIFE_PIN_S;
	if (!statement_format(&s, o->statement, &len, &e) ||
	    !statement_sign(o->statement, len, people[who].key, o->signature, &signature_len, &e))
		fail_msg("%s", e.text);
	o->order = (struct signproto_order){
	    .statement = {(const uint8_t *)o->statement, len},
	    .body = {(const uint8_t *)o->body, body_len},
	    .signatures = {{.spki = {people[who].spki, people[who].spki_len},
		.signature = {o->signature, signature_len}}},
	    .signature_count = 1,
	};
}

static bool
hand_in(const struct order *o, struct error *e)
{
	char text[ERROR_TEXT_MAX];

	*e = ERROR_INIT;
	return gate_order(gate, &o->order, text, e);
}

static void
unlock(struct order *o, int64_t lasts_s, uint32_t idle_s, uint64_t signatures)
{
	struct pin_envelope env = {.unlock = true, .idle_s = idle_s, .signatures = signatures};
	struct error e;

	env.until = now() + lasts_s;
	seal(o, 0, STATEMENT_PIN_UNLOCK, &env);
	if (!hand_in(o, &e))
		fail_msg("%s", e.text);
}

static void
says(const struct error *e, enum error_code code, const char *words)
{
	if (e->code != code || strstr(e->text, words) == NULL)
		fail_msg("%s: %s", error_code_name(e->code), e->text);
}

/* ---- passing */

static const struct gate_job signature = {.counts = true};

static bool
passes(const struct gate_job *job)
{
	struct error e = ERROR_INIT;

	if (!gate_enter(gate, job, &e)) {
		assert_int_equal(e.code, ERROR_LOCKED);
		return false;
	}
	gate_leave(gate, job, true, false);
	return true;
}

static void
is_closed(void)
{
	struct gate_report r;

	assert_false(passes(&signature));
	if (gate_is_due(gate))
		gate_lock_if_due(gate);
	gate_report(gate, &r);
	assert_int_equal(r.state, SIGNPROTO_LOCKED);
	assert_false(token_is_logged_in(token));
}

static void
is_closed_until_somebody_opens_it(void **state)
{
	struct gate_report r;
	struct order o;

	start(CONFIG_ACCESS_SESSION);
	is_closed();
	unlock(&o, HOUR, 0, 0);
	gate_report(gate, &r);
	assert_int_equal(r.state, SIGNPROTO_READY);
	assert_string_equal(r.unlocked_by, "alice");
	assert_true(passes(&signature));
	stop();
}

static void
counts_what_was_signed(void **state)
{
	struct error e = ERROR_INIT;
	struct order o;

	start(CONFIG_ACCESS_SESSION);
	unlock(&o, HOUR, 0, 2);
	assert_true(passes(&signature));
	/* What failed costs none. */
	assert_true(gate_enter(gate, &signature, &e));
	gate_leave(gate, &signature, false, false);
	assert_true(passes(&signature));
	is_closed();
	stop();
}

static void
a_clock_that_jumps_ahead_ends_an_unlock(void **state)
{
	struct order o;

	start(CONFIG_ACCESS_SESSION);
	unlock(&o, HOUR, 0, 0);
	wall_shift_s = HOUR + 1;
	is_closed();
	/* It stays closed when the clock is put right. */
	wall_shift_s = 0;
	is_closed();
	stop();
}

static void
a_clock_that_is_set_back_prolongs_nothing(void **state)
{
	struct order o;

	start(CONFIG_ACCESS_SESSION);
	unlock(&o, HOUR, 0, 0);
	wall_shift_s = -5 * HOUR;
	assert_true(passes(&signature));
	boot_shift_s = HOUR + 1; /* of which the hour has really passed */
	is_closed();
	stop();
}

static void
idleness_does_not_go_by_the_wall_clock(void **state)
{
	struct order o;

	start(CONFIG_ACCESS_SESSION);
	unlock(&o, 4 * HOUR, 600, 0);
	wall_shift_s = -HOUR;
	boot_shift_s = 590;
	assert_true(passes(&signature)); /* and is used by that */
	boot_shift_s = 1180;
	assert_true(passes(&signature));
	boot_shift_s = 1781;
	is_closed();
	stop();
}

/* The memory of envelopes is as short as their life. */
static void
an_envelope_that_was_forgotten_is_not_valid_again(void **state)
{
	struct order first, second, third;
	struct error e;

	start(CONFIG_ACCESS_SESSION);
	unlock(&first, HOUR, 0, 0);
	assert_false(hand_in(&first, &e));
	says(&e, ERROR_DENIED, "was used already");
	wall_shift_s = STATEMENT_LIFE_PIN_S + 1;
	assert_false(hand_in(&first, &e));
	says(&e, ERROR_DENIED, "expired");
	unlock(&second, HOUR, 0, 0); /* with which the first is forgotten */
	wall_shift_s = 5;	     /* set back: the first would be valid now */
	assert_false(hand_in(&first, &e));
	says(&e, ERROR_DENIED, "expired");
	assert_false(hand_in(&second, &e));
	says(&e, ERROR_DENIED, "was used already");
	/* Until the clock has caught up, a new one is as if it were of then. */
	wall_shift_s = STATEMENT_LIFE_PIN_S + 30;
	unlock(&third, HOUR, 0, 0);
	stop();
}

struct late {
	const struct order *order;
	struct error e;
	bool ok;
};

static void *
hand_in_late(void *arg)
{
	struct late *l = arg;

	is_held = true;
	l->ok = hand_in(l->order, &l->e);
	return NULL;
}

/* Who holds an answer up until the envelope is forgotten gets no second use of it. */
static void
an_envelope_that_waits_until_it_is_forgotten(void **state)
{
	struct order first, second;
	struct late late = {.order = &first};
	pthread_t thread;

	start(CONFIG_ACCESS_SESSION);
	unlock(&first, HOUR, 0, 0);
	assert_int_equal(sem_init(&held, 0, 0), 0);
	assert_int_equal(sem_init(&let_go, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, hand_in_late, &late), 0);
	while (sem_wait(&held) != 0)
		;
	wall_shift_s = STATEMENT_LIFE_PIN_S + 1;
	unlock(&second, HOUR, 0, 0); /* with which the first is forgotten */
	assert_int_equal(sem_post(&let_go), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(late.ok);
	says(&late.e, ERROR_DENIED, "expired while it waited");
	(void)sem_destroy(&held);
	(void)sem_destroy(&let_go);
	stop();
}

/* Also where that happened by one that was used before. */
static void
an_envelope_that_is_forgotten_by_a_second_use(void **state)
{
	struct order first, second;
	struct error e;

	start(CONFIG_ACCESS_SESSION);
	unlock(&first, HOUR, 0, 0);
	wall_shift_s = 2;
	unlock(&second, HOUR, 0, 0);
	wall_shift_s = STATEMENT_LIFE_PIN_S + 1;
	assert_false(hand_in(&second, &e));
	says(&e, ERROR_DENIED, "was used already");
	wall_shift_s = 5; /* set back */
	assert_false(hand_in(&first, &e));
	says(&e, ERROR_DENIED, "expired");
	stop();
}

/* ---- operations */

static struct gate_job
job_of(uint8_t what)
{
	struct gate_job job = {.counts = true, .listed = true};

	job.operation = (struct pin_operation){PIN_OPERATION_CERTIFICATE, {1}, 1, {what}};
	return job;
}

static bool
enter(struct order *o, size_t who, uint8_t count, struct error *e)
{
	struct pin_envelope env = {.operation_count = count};

	for (uint8_t i = 0; i < count; i++)
		env.operations[i] = job_of(i).operation;
	seal(o, who, STATEMENT_PIN_OPERATE, &env);
	return hand_in(o, e);
}

static void
what_is_listed_passes_once(void **state)
{
	struct gate_job first = job_of(0), second = job_of(1), other = job_of(2);
	struct gate_job unlisted = {.counts = true};
	struct gate_report r;
	struct order o;
	struct error e;

	start(CONFIG_ACCESS_OPERATION);
	assert_false(passes(&first));
	assert_true(enter(&o, 0, 2, &e));
	assert_false(token_is_logged_in(token));
	assert_false(passes(&other));
	assert_false(passes(&unlisted));
	assert_true(passes(&first));
	assert_true(token_is_logged_in(token));
	assert_false(passes(&first));
	gate_report(gate, &r);
	assert_int_equal(r.left, 1);
	assert_true(passes(&second));
	assert_false(token_is_logged_in(token));
	assert_int_equal(gate_pin(gate).len, 0);
	is_closed();
	stop();
}

static void
an_entry_waits_for_a_minute(void **state)
{
	struct gate_job first = job_of(0);
	struct order o, lock;
	struct error e;
	struct pin_envelope plain = {0};

	start(CONFIG_ACCESS_OPERATION);
	assert_true(enter(&o, 0, 2, &e));
	/* Another one has its turn then; who locks does not wait for it. */
	assert_false(enter(&o, 1, 1, &e));
	says(&e, ERROR_BUSY, "2 operations to go");
	wall_shift_s = -HOUR;
	boot_shift_s = GATE_ENTRY_S + 1;
	assert_true(gate_is_due(gate));
	assert_false(passes(&first));
	is_closed();
	wall_shift_s = boot_shift_s = 0;
	assert_true(hand_in(&o, &e)); /* it was not looked at, and is still good */
	seal(&lock, 1, STATEMENT_PIN_LOCK, &plain);
	assert_true(hand_in(&lock, &e));
	assert_false(passes(&first));
	stop();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(is_closed_until_somebody_opens_it),
	    cmocka_unit_test(counts_what_was_signed),
	    cmocka_unit_test(a_clock_that_jumps_ahead_ends_an_unlock),
	    cmocka_unit_test(a_clock_that_is_set_back_prolongs_nothing),
	    cmocka_unit_test(idleness_does_not_go_by_the_wall_clock),
	    cmocka_unit_test(an_envelope_that_was_forgotten_is_not_valid_again),
	    cmocka_unit_test(an_envelope_that_waits_until_it_is_forgotten),
	    cmocka_unit_test(an_envelope_that_is_forgotten_by_a_second_use),
	    cmocka_unit_test(what_is_listed_passes_once),
	    cmocka_unit_test(an_entry_waits_for_a_minute),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
