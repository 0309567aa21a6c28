/*
 * The real chancery-signer, started as the supervisor starts it and asked as
 * the issuer asks it: requests, streams, sudden deaths, start-up failures.
 */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>
#include <event2/event.h>

#include "daemon/core/channel.h"
#include "daemon/core/control.h"
#include "daemon/core/process.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"
#include "daemon/x509/spki.h"
#include "tests/unit/ceremony.h"
#include "tests/unit/softhsm.h"

/* Patience, for sanitizers on a busy machine; nothing waits that long by itself. */
#define WAIT_S 100
#define NOW ((int64_t)time(NULL))
#define ANSWERS_MAX 8192

/* A signer and what it said. */
struct signer {
	struct event_base *base;
	struct control *control;
	struct channel *channel;
	pid_t pid;
	bool ready, closed;
	uint64_t last_id;
	/* Of the newest answer. */
	uint16_t type;
	uint64_t id;
	struct error failure;
	struct signproto_status_ok status;
	uint8_t cka_id[SIGNPROTO_ID_MAX], data[4096];
	size_t cka_id_len, data_len;
	/* Of all answers, by type. */
	unsigned int answers, statuses, signed_, failed, limited, unavailable;
};

static struct softhsm hsm;
static char binary[256], config_path[128];
/* Of the module that fails on command, tests/faults/shim.c. */
static char shim[256], shim_log[128], shim_faults[128];
static uint8_t subject_buf[NAME_DER_MAX];
static struct bytes subject;

#define THREADS 3
/* p11-kit's client closes its descriptor under the threads that read from it;
 * ThreadSanitizer sees that in a module that is not ours to mend. */
#ifdef __SANITIZE_THREAD__
#define THREADS_P11_KIT 1
#else
#define THREADS_P11_KIT THREADS
#endif

static void
write_config_file(const char *path, unsigned int signer_id, const char *state_dir,
    const char *module, const char *label, int threads)
{
	bool softhsm = strcmp(module, SOFTHSM_MODULE) == 0;
	char text[1024];

	(void)snprintf(text, sizeof text,
	    "state_dir: %s\n"
	    "database: {owner: x, issuer: x, front: x}\n"
	    "tokens:\n"
	    "  - {name: main, module: %s, select: {label: %s}, pin_file: %s, threads: %d%s%s%s}\n"
	    "front: {unix: {path: %s/api.sock}}\n"
	    "issuer: {signer_id: %u, credentials_dir: %s}\n",
	    state_dir, module, label, hsm.pin_file, threads,
	    /* Behind any other module is SoftHSM, in this process or in another. */
	    softhsm ? "" : ", unix_sockets: true, writable: [", softhsm ? "" : hsm.dir,
	    softhsm ? "" : "]", hsm.dir, signer_id, hsm.dir);
	softhsm_write(path, text, 0600);
}

static void
write_config_threads(const char *module, const char *label, int threads)
{
	write_config_file(config_path, 1, hsm.state_dir, module, label, threads);
}

static void
write_config(const char *module, const char *label)
{
	write_config_threads(module, label, THREADS);
}

static int
set_up(void **state)
{
	struct error e = ERROR_INIT;
	char self[200] = "";

	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		*strrchr(self, '/') = '\0';
	(void)snprintf(binary, sizeof binary, "%s/chancery-signer", self);
	(void)snprintf(shim, sizeof shim, "%s/faults/shim.so", self);
	ceremony_begin();
	softhsm_make(&hsm);
	(void)snprintf(shim_log, sizeof shim_log, "%s/shim.log", hsm.dir);
	(void)snprintf(shim_faults, sizeof shim_faults, "%s/shim.faults", hsm.dir);
	(void)snprintf(config_path, sizeof config_path, "%s/chanceryd.yaml", hsm.dir);
	write_config(SOFTHSM_MODULE, "unit");
	return name_from_text(
		   "CN=Unit CA,O=Example,C=DE", subject_buf, sizeof subject_buf, &subject, &e)
		   ? 0
		   : -1;
}

static int
tear_down(void **state)
{
	softhsm_remove(&hsm);
	ceremony_end();
	return 0;
}

/* ---- the supervisor's and the issuer's part */

static void
on_message(const struct control_message *m, void *arg)
{
	struct signer *s = arg;

	if (m->type == CONTROL_READY)
		s->ready = true;
	if (m->fd >= 0)
		(void)close(m->fd);
}

static void
on_control_close(const struct error *err, void *arg)
{
}

static const struct control_callbacks control_handlers = {on_message, on_control_close};

static void
keep(struct signer *s, struct bytes data)
{
	assert_true(data.len <= sizeof s->data);
	memcpy(s->data, data.p, data.len);
	s->data_len = data.len;
}

static void
on_frame(struct channel *c, uint16_t type, uint64_t id, struct bytes payload, void *arg)
{
	struct signproto_signed sig;
	struct signproto_key_ok key;
	struct error e = ERROR_INIT;
	struct signer *s = arg;

	s->type = type;
	s->id = id;
	s->answers++;
	switch (type) {
	case SIGNPROTO_STATUS_OK:
		assert_true(signproto_get_status_ok(payload, &s->status, &e));
		s->statuses++;
		break;
	case SIGNPROTO_KEY_OK:
		assert_true(signproto_get_key_ok(payload, &key, &e));
		memcpy(s->cka_id, key.cka_id.p, key.cka_id.len);
		s->cka_id_len = key.cka_id.len;
		keep(s, key.spki);
		break;
	case SIGNPROTO_SIGNED:
		assert_true(signproto_get_signed(payload, &sig, &e));
		keep(s, sig.signature);
		s->signed_++;
		break;
	case SIGNPROTO_FAILED:
		assert_true(signproto_get_failed(payload, &s->failure, &e));
		s->failed++;
		s->limited += s->failure.code == ERROR_LIMIT;
		s->unavailable += s->failure.code == ERROR_UNAVAILABLE;
		break;
	default:
		fail_msg("answer of type %u", type);
	}
}

static void
on_channel_closed(struct channel *c, const struct error *why, void *arg)
{
	struct signer *s = arg;

	s->closed = true;
	channel_free(c);
	s->channel = NULL;
}

static const struct channel_callbacks channel_handlers = {on_frame, on_channel_closed, NULL};

static void
turn(struct signer *s)
{
	struct timeval tick = {.tv_usec = 20000};

	(void)event_base_loopexit(s->base, &tick);
	(void)event_base_loop(s->base, EVLOOP_ONCE);
}

#define WAIT_UNTIL(s, condition)                                                 \
	do {                                                                     \
		time_t until_ = time(NULL) + WAIT_S;                             \
                                                                                 \
		while (!(condition)) {                                           \
			if (time(NULL) > until_)                                 \
				fail_msg("waited too long for: %s", #condition); \
			turn(s);                                                 \
		}                                                                \
	} while (0)

/* A fresh channel, one end of it to the signer. */
static void
give_channel(struct signer *s)
{
	struct control_message m = {.type = CONTROL_SIGNER_CHANNEL, .text = "main"};
	struct error e = ERROR_INIT;
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	channel_free(s->channel);
	s->closed = false;
	s->channel = channel_new(s->base, fd[0], &channel_handlers, s, &e);
	assert_non_null(s->channel);
	m.fd = fd[1];
	assert_true(control_send(s->control, &m, &e));
	(void)close(fd[1]);
}

static void
start_only(struct signer *s, char *config)
{
	char *argv[] = {binary, (char *)(uintptr_t) "--config", config,
	    (char *)(uintptr_t) "--token", (char *)(uintptr_t) "main", NULL};
	/* Those that are set for all tests, and one of the last two for some of them. */
	struct config_variable extra[] = {
	    {(char *)(uintptr_t) "SOFTHSM2_CONF", getenv("SOFTHSM2_CONF")},
	    {(char *)(uintptr_t) "SHIM_MODULE", (char *)(uintptr_t)SOFTHSM_MODULE},
	    {(char *)(uintptr_t) "SHIM_LOG", shim_log},
	    {(char *)(uintptr_t) "SHIM_FAULTS", shim_faults},
	    {(char *)(uintptr_t) "P11_KIT_SERVER_ADDRESS", getenv("P11_KIT_SERVER_ADDRESS")},
	};
	char **environment;
	struct error e = ERROR_INIT;
	int fd[2];

	*s = (struct signer){.base = event_base_new()};
	environment = process_environment(false, extra, COUNT_OF(extra) - (extra[4].value == NULL));
	assert_non_null(environment);
	assert_true(control_pair(fd, &e));
	if (!process_spawn(binary, argv, environment, fd[1], &s->pid, &e))
		fail_msg("%s", e.text);
	process_environment_free(environment);
	(void)close(fd[1]);
	s->control = control_new(s->base, fd[0], &control_handlers, s, &e);
	assert_non_null(s->control);
	give_channel(s);
}

/* Waits for the process's end and gives its status as of waitpid. */
static int
reap(struct signer *s)
{
	int status = -1;

	WAIT_UNTIL(s, waitpid(s->pid, &status, WNOHANG) == s->pid);
	channel_free(s->channel);
	control_free(s->control);
	event_base_free(s->base);
	return status;
}

static void
drain(struct signer *s)
{
	struct control_message m = {.type = CONTROL_DRAIN, .fd = -1};
	struct error e = ERROR_INIT;
	int status;

	assert_true(control_send(s->control, &m, &e));
	status = reap(s);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void
send_message(struct signer *s, uint16_t type, uint64_t id, struct wire_writer *w)
{
	struct error e = ERROR_INIT;

	if (!channel_send_writer(s->channel, type, id, w, &e))
		fail_msg("%s", e.text);
}

/* Sends and waits for the answer. */
static void
ask(struct signer *s, uint16_t type, struct wire_writer *w, uint16_t expected)
{
	uint64_t id = ++s->last_id;

	send_message(s, type, id, w);
	WAIT_UNTIL(s, s->id == id || s->closed);
	if (s->type != expected)
		fail_msg("%s was answered with %s: %s", signproto_type_name(type),
		    signproto_type_name(s->type), s->failure.text);
}

static void
ask_status(struct signer *s)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_status(&w);
	ask(s, SIGNPROTO_STATUS, &w, SIGNPROTO_STATUS_OK);
}

/* A signer on a slow machine serves before the token is open: asked again. */
static void
wait_for_state(struct signer *s, enum signproto_state state, const char *words)
{
	time_t until = time(NULL) + WAIT_S;

	for (;;) {
		ask_status(s);
		if (s->status.state == state && strstr(s->status.state_text, words) != NULL)
			return;
		if (time(NULL) > until)
			fail_msg("the signer stays in state %s: %s",
			    signproto_state_name(s->status.state), s->status.state_text);
		turn(s);
	}
}

/* Until it serves, be the token open or not. */
static void
start(struct signer *s)
{
	start_only(s, config_path);
	WAIT_UNTIL(s, s->ready);
}

/* Until the token is open; begins to count the answers. */
static void
start_ready(struct signer *s)
{
	start(s);
	wait_for_state(s, SIGNPROTO_READY, "");
	s->answers = s->statuses = 0;
}

struct ca_key {
	uint8_t id[SIGNPROTO_ID_MAX], spki_der[SPKI_MAX], info_buf[4096];
	size_t id_len;
	struct spki spki;
	struct bytes info; /* CertificationRequestInfo */
	uint8_t key_id[SKI_LEN];
};

static void
generate(struct signer *s, const char *algorithm, struct ca_key *k)
{
	static struct ceremony_order order;
	struct signproto_key_generate m;
	struct error e = ERROR_INIT;
	struct limits *l = malloc(sizeof *l);
	enum key_alg alg;
	struct wire_writer w;

	assert_non_null(l);
	assert_true(key_alg_from_name(algorithm, &alg));
	ceremony_limits(l, "unit", alg, subject);
	for (l->signer_count = 0; l->signer_count < LIMITS_SIGNER_MAX; l->signer_count++)
		l->signer_ids[l->signer_count] = (uint16_t)(l->signer_count + 1);
	l->root = true;
	ceremony_order(&order, l, CEREMONY_BY(ALICE));
	free(l);
	m.order = order.order;
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_key_generate(&w, &m);
	ask(s, SIGNPROTO_KEY_GENERATE, &w, SIGNPROTO_KEY_OK);
	memcpy(k->id, s->cka_id, s->cka_id_len);
	k->id_len = s->cka_id_len;
	memcpy(k->spki_der, s->data, s->data_len);
	assert_true(spki_parse((struct bytes){k->spki_der, s->data_len}, &k->spki, &e));
	assert_true(spki_ski(&k->spki, k->key_id, &e));
	assert_true(csr_info_build(subject, k->spki.whole, (struct bytes){0}, k->info_buf,
	    sizeof k->info_buf, &k->info, &e));
}

static void
put_sign(struct wire_writer *w, const struct ca_key *k, enum sig_alg alg)
{
	wire_writer_init(w, CHANNEL_FRAME_MAX);
	signproto_put_sign(w, &(struct signproto_sign){
				  .cka_id = {k->id, k->id_len},
				  .sig_alg = (uint16_t)alg,
				  .kind = SIGNPROTO_CSR_INFO,
				  .deadline_ms = 20000,
				  .tbs = k->info,
			      });
}

static void
sign(struct signer *s, const struct ca_key *k, enum sig_alg alg)
{
	struct error e = ERROR_INIT;
	struct wire_writer w;

	put_sign(&w, k, alg);
	ask(s, SIGNPROTO_SIGN, &w, SIGNPROTO_SIGNED);
	if (!spki_verify(&k->spki, alg, k->info, (struct bytes){s->data, s->data_len}, &e))
		fail_msg("%s", e.text);
}

/* The root's own certificate: before it a key signs no CRL. */
static void
sign_own_certificate(struct signer *s, const struct ca_key *k)
{
	static const uint8_t random[SERIAL_RANDOM_LEN] = {1};
	uint8_t x_buf[512], buf[2048], serial[SERIAL_LEN];
	struct tbs_certificate t;
	struct error e = ERROR_INIT;
	struct extensions x;
	struct wire_writer w;
	struct bytes tbs;

	extensions_init(&x, x_buf, sizeof x_buf);
	extensions_add_basic_constraints(&x, true, -1, true);
	extensions_add_key_usage(&x, KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	extensions_add_subject_key_identifier(&x, (struct bytes){k->key_id, SKI_LEN});
	serial_build(serial, 1, NOW, random);
	t = (struct tbs_certificate){
	    .serial = {serial, sizeof serial},
	    .sig_alg = SIG_ECDSA_SHA256,
	    .issuer = subject,
	    .not_before = NOW,
	    .not_after = NOW + 10LL * 365 * 86400,
	    .subject = subject,
	    .spki = k->spki.whole,
	    .extensions = extensions_result(&x),
	};
	if (!tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e))
		fail_msg("%s", e.text);
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_sign(&w, &(struct signproto_sign){
				   .cka_id = {k->id, k->id_len},
				   .sig_alg = SIG_ECDSA_SHA256,
				   .kind = SIGNPROTO_TBS_CERTIFICATE,
				   .deadline_ms = 20000,
				   .tbs = tbs,
			       });
	ask(s, SIGNPROTO_SIGN, &w, SIGNPROTO_SIGNED);
}

/* ---- tests */

static struct ca_key p256, rsa;

static void
serves_requests(void **state)
{
	struct signproto_key_find find;
	struct wire_writer w;
	struct signer s;

	start_ready(&s);
	assert_string_equal(s.status.token_name, "main");
	assert_string_equal(s.status.label, "unit");
	assert_int_equal(s.status.threads, THREADS);
	assert_true(s.status.instance != 0);
	generate(&s, "p256", &p256);
	generate(&s, "rsa2048", &rsa);
	sign(&s, &p256, SIG_ECDSA_SHA256);
	sign(&s, &rsa, SIG_RSA_SHA256);
	sign(&s, &rsa, SIG_PSS_SHA256);
	ask_status(&s);
	assert_int_equal(s.status.signatures, 3);

	/* Found again, and not found. */
	find.cka_id = (struct bytes){p256.id, p256.id_len};
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_key_find(&w, &find);
	ask(&s, SIGNPROTO_KEY_FIND, &w, SIGNPROTO_KEY_OK);
	assert_memory_equal(s.data, p256.spki_der, s.data_len);
	find.cka_id.len--;
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_key_find(&w, &find);
	ask(&s, SIGNPROTO_KEY_FIND, &w, SIGNPROTO_FAILED);
	assert_int_equal(s.failure.code, ERROR_DENIED);

	/* A fresh channel (the issuer was restarted) takes over. */
	give_channel(&s);
	sign(&s, &p256, SIG_ECDSA_SHA256);
	drain(&s);
}

static void
refuses_nonsense(void **state)
{
	struct wire_writer w;
	struct signer s;

	start_ready(&s);
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	ask(&s, 99, &w, SIGNPROTO_FAILED);
	assert_int_equal(s.failure.code, ERROR_INPUT);
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	wire_put_u8(&w, 1);
	ask(&s, SIGNPROTO_SIGN, &w, SIGNPROTO_FAILED);
	assert_int_equal(s.failure.code, ERROR_INPUT);
	put_sign(&w, &p256, (enum sig_alg)999);
	ask(&s, SIGNPROTO_SIGN, &w, SIGNPROTO_FAILED);
	assert_int_equal(s.failure.code, ERROR_INPUT);
	put_sign(&w, &p256, SIG_RSA_SHA256);
	ask(&s, SIGNPROTO_SIGN, &w, SIGNPROTO_FAILED);
	assert_int_equal(s.failure.code, ERROR_DENIED);
	/* It still serves. */
	sign(&s, &p256, SIG_ECDSA_SHA256);
	drain(&s);
}

/* Streams a CRL; `spoil` changes one octet of an entry's serial's tag. */
static void
stream_crl(struct signer *s, const struct ca_key *k, unsigned int entries, bool spoil)
{
	static uint8_t piece[SIGNPROTO_DATA_MAX];
	const unsigned int per_piece = 10000;
	static const uint8_t serial[20] = {0x7f, 1, 2, 3};
	static uint8_t number[] = {9}; /* never twice */
	const struct crl_entry entry = {.serial = {serial, sizeof serial}, .revoked_at = NOW};
	uint8_t x_buf[512], head_buf[CRL_HEAD_MAX], tail_buf[2048], one[CRL_ENTRY_MAX];
	uint8_t digest[32];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint64_t id = ++s->last_id, total;
	struct bytes head, tail;
	struct error e = ERROR_INIT;
	struct extensions x;
	struct wire_writer w;
	struct tbs_crl t;
	size_t size;

	number[0]++;
	assert_int_equal(EVP_DigestInit_ex(md, EVP_sha256(), NULL), 1);
	extensions_init(&x, x_buf, sizeof x_buf);
	extensions_add_authority_key_identifier(&x, (struct bytes){k->key_id, SKI_LEN});
	extensions_add_crl_number(&x, (struct bytes){number, sizeof number});
	t = (struct tbs_crl){
	    .sig_alg = SIG_ECDSA_SHA256,
	    .issuer = subject,
	    .this_update = NOW,
	    .next_update = NOW + 86400,
	    .extensions = extensions_result(&x),
	};
	assert_true(crl_entry_encode(&entry, false, one, &size, &e));
	assert_true(crl_tbs_head(
	    &t, (uint64_t)entries * size, head_buf, sizeof head_buf, &head, &total, &e));
	assert_true(crl_tbs_tail(&t, tail_buf, sizeof tail_buf, &tail, &e));

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_stream_begin(&w, &(struct signproto_stream_begin){
					   .cka_id = {k->id, k->id_len},
					   .sig_alg = SIG_ECDSA_SHA256,
					   .kind = SIGNPROTO_TBS_CRL,
					   .total_len = total,
					   .deadline_ms = 60000,
				       });
	send_message(s, SIGNPROTO_STREAM_BEGIN, id, &w);
	for (unsigned int done = 0; done <= entries + per_piece; done += per_piece) {
		size_t len = 0;

		if (done == 0) {
			memcpy(piece, head.p, head.len);
			len = head.len;
		}
		for (unsigned int i = done; i < entries && i < done + per_piece; i++, len += size)
			memcpy(piece + len, one, size);
		if (spoil && done == 0)
			piece[head.len + 2] ^= 0x01;
		if (done >= entries) {
			memcpy(piece + len, tail.p, tail.len);
			len += tail.len;
			done = entries + per_piece;
		}
		assert_int_equal(EVP_DigestUpdate(md, piece, len), 1);
		wire_writer_init(&w, CHANNEL_FRAME_MAX);
		signproto_put_stream_data(&w, &(struct signproto_stream_data){{piece, len}});
		WAIT_UNTIL(s, channel_queued(s->channel) < CHANNEL_OUT_LOW);
		send_message(s, SIGNPROTO_STREAM_DATA, id, &w);
	}
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_stream_end(&w);
	send_message(s, SIGNPROTO_STREAM_END, id, &w);
	WAIT_UNTIL(s, s->id == id);
	assert_int_equal(EVP_DigestFinal_ex(md, digest, NULL), 1);
	EVP_MD_CTX_free(md);
	if (spoil)
		return;
	if (s->type != SIGNPROTO_SIGNED)
		fail_msg("%s", s->failure.text);
	if (!spki_verify_digest(&k->spki, SIG_ECDSA_SHA256, (struct bytes){digest, 32},
		(struct bytes){s->data, s->data_len}, &e))
		fail_msg("%s", e.text);
}

/* Largest resident size of the signer, in KiB; 0 when /proc hides it. */
static unsigned long
peak_memory(const struct signer *s)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *f;

	(void)snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	while (fgets(line, sizeof line, f) != NULL) {
		if (strncmp(line, "VmHWM:", 6) == 0)
			kib = strtoul(line + 6, NULL, 10);
	}
	(void)fclose(f);
	return kib;
}

static void
streams_crls_in_constant_memory(void **state)
{
	unsigned long before, after;
	struct signer s;

	start_ready(&s);
	sign_own_certificate(&s, &p256);
	stream_crl(&s, &p256, 0, false);
	stream_crl(&s, &p256, 40000, false);
	before = peak_memory(&s);
	stream_crl(&s, &p256, 400000, false); /* some 15 MB */
	after = peak_memory(&s);
	/* A few frames, not the list. Sanitizers keep freed memory. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	assert_true(after < before + 8 * 1024);
#endif
	(void)before;
	(void)after;

	stream_crl(&s, &p256, 20000, true);
	assert_int_equal(s.type, SIGNPROTO_FAILED);
	assert_int_equal(s.failure.code, ERROR_DENIED);
	assert_non_null(strstr(s.failure.text, "refuses to sign this tbs-crl"));
	stream_crl(&s, &p256, 10, false);
	drain(&s);
}

/* Sends that many; what the answers are is seen later. */
static void
send_signs(struct signer *s, unsigned int count)
{
	struct wire_writer w;

	for (unsigned int i = 0; i < count; i++) {
		put_sign(&w, &rsa, SIG_RSA_SHA256);
		send_message(s, SIGNPROTO_SIGN, ++s->last_id, &w);
	}
}

static void
killed_in_flight(void **state)
{
	time_t until = time(NULL) + WAIT_S;
	unsigned int sent = 0;
	struct signer s;
	int status;

	start_ready(&s);
	/* The queue is full at 4096 and says so; meanwhile it signs. */
	while (s.limited == 0 || s.signed_ == 0) {
		if (time(NULL) > until)
			fail_msg("of %u requests %u were signed, %u were too many", sent, s.signed_,
			    s.limited);
		if (channel_queued(s.channel) < CHANNEL_OUT_LOW) {
			send_signs(&s, 512);
			sent += 512;
		}
		turn(&s);
	}
	assert_int_equal(kill(s.pid, SIGKILL), 0);
	WAIT_UNTIL(&s, s.closed);
	assert_true(s.answers < sent);
	status = reap(&s);
	assert_true(WIFSIGNALED(status));

	/* The next one finds the same key. */
	start_ready(&s);
	sign(&s, &rsa, SIG_RSA_SHA256);
	drain(&s);
}

static void
drains_and_dies_with_the_supervisor(void **state)
{
	struct control_message m = {.type = CONTROL_DRAIN, .fd = -1};
	struct error e = ERROR_INIT;
	struct wire_writer w;
	struct signer s;
	int status;

	/* What it has taken in is finished first: all of it, as it has read the
	 * request behind it. */
	start_ready(&s);
	send_signs(&s, 600);
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_status(&w);
	send_message(&s, SIGNPROTO_STATUS, ++s.last_id, &w);
	WAIT_UNTIL(&s, s.statuses > 0);
	assert_true(control_send(s.control, &m, &e));
	WAIT_UNTIL(&s, s.closed);
	assert_int_equal(s.signed_ + s.unavailable + 1, s.answers);
	assert_int_equal(s.answers, 601);
	assert_true(s.signed_ > 0);
	status = reap(&s);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);

	start_ready(&s);
	control_free(s.control);
	s.control = NULL;
	status = reap(&s);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static bool
is_recorded(const char *words)
{
	FILE *f = fopen(shim_log, "r");
	bool found = false;
	char line[512];

	while (f != NULL && !found && fgets(line, sizeof line, f) != NULL)
		found = strcmp(line, words) == 0;
	if (f != NULL)
		(void)fclose(f);
	return found;
}

/* The login comes to its end: SoftHSM would lose the token in the middle of it. */
static void
ends_no_login_in_the_middle(void **state)
{
	struct signer s;

	softhsm_write(shim_faults, "login delay 1000\n", 0600);
	write_config(shim, "unit");
	start_only(&s, config_path);
	WAIT_UNTIL(&s, is_recorded("open-session 0x0\n"));
	drain(&s);
	assert_true(is_recorded("login 0x0\n") && is_recorded("finalize 0x0\n"));
	write_config(SOFTHSM_MODULE, "unit");
	start_ready(&s);
	drain(&s);
}

static void
expect_state(struct signer *s, enum signproto_state state, const char *words)
{
	struct wire_writer w;

	wait_for_state(s, state, words);
	put_sign(&w, &p256, SIG_ECDSA_SHA256);
	ask(s, SIGNPROTO_SIGN, &w, SIGNPROTO_FAILED);
	assert_int_equal(s->failure.code, ERROR_UNAVAILABLE);
}

static void
wait_for_ready(struct signer *s)
{
	wait_for_state(s, SIGNPROTO_READY, "");
	sign(s, &p256, SIG_ECDSA_SHA256);
}

static void
a_wrong_pin_is_a_state(void **state)
{
	struct signer s;

	softhsm_write(hsm.pin_file, "wrong-pin\n", 0600);
	start(&s);
	expect_state(&s, SIGNPROTO_PIN_WRONG, "refused the PIN");
	drain(&s);
	start(&s);
	expect_state(&s, SIGNPROTO_PIN_WRONG, "before; it is not tried again");
	/* The right PIN is found without a restart. */
	softhsm_write(hsm.pin_file, SOFTHSM_PIN "\n", 0600);
	wait_for_ready(&s);
	drain(&s);
}

static void
a_missing_module_or_token_is_a_state(void **state)
{
	char state_dir[128];
	struct signer s;

	write_config("/nonexistent/module.so", "unit");
	start(&s);
	expect_state(&s, SIGNPROTO_MODULE_BROKEN, "cannot load the PKCS#11 module");
	drain(&s);

	(void)snprintf(state_dir, sizeof state_dir, "%s/state-late", hsm.dir);
	assert_int_equal(mkdir(state_dir, 0700), 0);
	write_config_file(config_path, 1, state_dir, SOFTHSM_MODULE, "late", THREADS);
	start(&s);
	expect_state(&s, SIGNPROTO_TOKEN_AWAY, "no token with the label 'late'");
	softhsm_add_token("late");
	wait_for_state(&s, SIGNPROTO_READY, "");
	assert_string_equal(s.status.label, "late");
	drain(&s);
	write_config(SOFTHSM_MODULE, "unit");
}

/*
 * Each login rewrites the token's file, which the others are just reading. All
 * become ready by themselves: at once, or when they look again.
 */
static void
several_start_at_once(void **state)
{
	char path[6][128], state_dir[128];
	struct signer s[COUNT_OF(path)];
	struct ca_key own;

	for (size_t i = 0; i < COUNT_OF(s); i++) {
		(void)snprintf(path[i], sizeof path[i], "%s/%zu.yaml", hsm.dir, i);
		(void)snprintf(state_dir, sizeof state_dir, "%s/state-%zu", hsm.dir, i);
		assert_int_equal(mkdir(state_dir, 0700), 0);
		write_config_file(
		    path[i], 10 + (unsigned int)i, state_dir, SOFTHSM_MODULE, "unit", THREADS);
	}
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < COUNT_OF(s); i++)
			start_only(&s[i], path[i]);
		for (size_t i = 0; i < COUNT_OF(s); i++) {
			wait_for_state(&s[i], SIGNPROTO_READY, "");
			generate(&s[i], "p256", &own);
			sign(&s[i], &own, SIG_ECDSA_SHA256);
		}
		for (size_t i = 0; i < COUNT_OF(s); i++)
			drain(&s[i]);
	}
}

/* ---- a network HSM: SoftHSM behind p11-kit's server */

static pid_t
start_p11_server(const char *socket_path)
{
	char path[128];
	pid_t pid;

	(void)snprintf(path, sizeof path, "%s", socket_path);
	(void)unlink(path);
	pid = fork();
	if (pid == 0) {
		(void)setpgid(0, 0);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (freopen("/dev/null", "w", stdout) == NULL)
			_exit(126);
		(void)execlp("p11-kit", "p11-kit", "server", "--foreground", "--name", path,
		    "--provider", SOFTHSM_MODULE, "pkcs11:token=unit", (char *)NULL);
		_exit(127);
	}
	(void)setpgid(pid, pid);
	for (int i = 0; i < WAIT_S * 100 && access(path, F_OK) != 0; i++)
		(void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_int_equal(access(path, F_OK), 0);
	return pid;
}

static void
a_lost_token_ends_the_process(void **state)
{
	char socket_path[128], address[160];
	struct wire_writer w;
	struct signer s;
	pid_t server;
	int status;

	(void)snprintf(socket_path, sizeof socket_path, "%s/p11.sock", hsm.dir);
	(void)snprintf(address, sizeof address, "unix:path=%s", socket_path);
	(void)setenv("P11_KIT_SERVER_ADDRESS", address, 1);
	write_config_threads(
	    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so", "unit", THREADS_P11_KIT);
	server = start_p11_server(socket_path);
	start_ready(&s);
	sign(&s, &p256, SIG_ECDSA_SHA256);
	(void)kill(-server, SIGKILL);
	(void)waitpid(server, NULL, 0);

	/* Everything in flight is answered, and then the process ends. */
	for (unsigned int i = 0; i < 50; i++) {
		put_sign(&w, &p256, SIG_ECDSA_SHA256);
		send_message(&s, SIGNPROTO_SIGN, ++s.last_id, &w);
	}
	WAIT_UNTIL(&s, s.closed);
	assert_int_equal(s.unavailable, 50);
	status = reap(&s);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);

	/* The next one waits for the token and goes on by itself. */
	start(&s);
	ask_status(&s);
	assert_int_not_equal(s.status.state, SIGNPROTO_READY);
	server = start_p11_server(socket_path);
	wait_for_ready(&s);
	drain(&s);
	(void)kill(-server, SIGKILL);
	(void)waitpid(server, NULL, 0);
	(void)unsetenv("P11_KIT_SERVER_ADDRESS");
	write_config(SOFTHSM_MODULE, "unit");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(serves_requests),
	    cmocka_unit_test(refuses_nonsense),
	    cmocka_unit_test(streams_crls_in_constant_memory),
	    cmocka_unit_test(killed_in_flight),
	    cmocka_unit_test(drains_and_dies_with_the_supervisor),
	    cmocka_unit_test(ends_no_login_in_the_middle),
	    cmocka_unit_test(a_wrong_pin_is_a_state),
	    cmocka_unit_test(a_missing_module_or_token_is_a_state),
	    cmocka_unit_test(several_start_at_once),
	    cmocka_unit_test(a_lost_token_ends_the_process),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
