/* Jobs and results on their way between outbox and courier. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/publish/job.h"

static void
make_job(struct publish_job *job)
{
	memset(job, 0, sizeof *job);
	(void)snprintf(job->target, sizeof job->target, "demo/ldap-ca");
	job->kind = TARGET_LDAP;
	job->artifact = ARTIFACT_CA_CERTIFICATE;
	(void)snprintf(job->write_url, sizeof job->write_url, "ldap://127.0.0.1/cn=demo,o=example");
	(void)snprintf(job->read_url, sizeof job->read_url, "http://127.0.0.1/demo.cer");
	(void)snprintf(job->credential_path, sizeof job->credential_path, "/etc/c/ldap");
	(void)snprintf(job->bind_dn, sizeof job->bind_dn, "cn=admin,o=example");
	job->tls = TARGET_TLS_STARTTLS;
	job->auth = TARGET_AUTH_BEARER;
	job->webdav = true;
	(void)snprintf(job->certificate_path, sizeof job->certificate_path, "/etc/c/own.pem");
	(void)snprintf(job->command_path, sizeof job->command_path, "/etc/k/sync");
	(void)snprintf(job->region, sizeof job->region, "eu-1");
	(void)snprintf(job->user, sizeof job->user, "crl");
	(void)snprintf(job->host_key, sizeof job->host_key, "abc");
	job->schema = TARGET_SCHEMA_AD;
	job->sandbox = SANDBOX_REQUIRE;
	job->look = true;
	job->timeout_ms = 60000;
	job->size = 1234;
	memset(job->sha256, 0x5a, sizeof job->sha256);
	job->issuer = (struct bytes){(const uint8_t *)"issuer", 6};
	job->companion_count = 2;
	job->companions[0] = (struct bytes){(const uint8_t *)"first", 5};
	job->companions[1] = (struct bytes){(const uint8_t *)"second", 6};
	job->crossed = true;
	job->cross_count = 1;
	job->crosses[0] = (struct bytes){(const uint8_t *)"abroad", 6};
}

static void
test_job_round_trip(void **state)
{
	struct publish_job in, out;
	struct error err = ERROR_INIT;
	struct wire_writer w;

	(void)state;
	make_job(&in);
	wire_writer_init(&w, PUBLISH_FRAME_MAX);
	publish_job_encode(&in, &w);
	assert_true(wire_writer_ok(&w));
	assert_true(publish_job_decode(w.buf, w.len, &out, &err));
	assert_string_equal(out.target, in.target);
	assert_int_equal(out.kind, TARGET_LDAP);
	assert_int_equal(out.artifact, ARTIFACT_CA_CERTIFICATE);
	assert_string_equal(out.write_url, in.write_url);
	assert_string_equal(out.read_url, in.read_url);
	assert_string_equal(out.credential_path, in.credential_path);
	assert_string_equal(out.bind_dn, in.bind_dn);
	assert_string_equal(out.certificate_path, in.certificate_path);
	assert_string_equal(out.command_path, in.command_path);
	assert_string_equal(out.region, in.region);
	assert_string_equal(out.user, in.user);
	assert_string_equal(out.host_key, in.host_key);
	assert_int_equal(out.schema, TARGET_SCHEMA_AD);
	assert_int_equal(out.issuer.len, 6);
	assert_memory_equal(out.issuer.p, "issuer", 6);
	assert_int_equal(out.tls, TARGET_TLS_STARTTLS);
	assert_int_equal(out.auth, TARGET_AUTH_BEARER);
	assert_true(out.webdav);
	assert_int_equal(out.sandbox, SANDBOX_REQUIRE);
	assert_true(out.look);
	assert_false(out.look_first);
	assert_int_equal(out.timeout_ms, 60000);
	assert_int_equal(out.size, 1234);
	assert_memory_equal(out.sha256, in.sha256, sizeof in.sha256);
	assert_int_equal(out.companion_count, 2);
	assert_int_equal(out.companions[1].len, 6);
	assert_memory_equal(out.companions[1].p, "second", 6);
	assert_true(out.crossed);
	assert_int_equal(out.cross_count, 1);
	assert_memory_equal(out.crosses[0].p, "abroad", 6);
	wire_writer_free(&w);
}

static void
test_job_refused_when_cut_or_longer(void **state)
{
	struct publish_job in, out;
	struct wire_writer w;

	(void)state;
	make_job(&in);
	wire_writer_init(&w, PUBLISH_FRAME_MAX);
	publish_job_encode(&in, &w);
	assert_true(wire_writer_ok(&w));
	for (size_t len = 0; len < w.len; len++) {
		struct error err = ERROR_INIT;
		/* A copy of just this length, so that reading on is noticed. */
		uint8_t *part = malloc(len + 1);

		assert_non_null(part);
		memcpy(part, w.buf, len);
		assert_false(publish_job_decode(part, len, &out, &err));
		assert_int_equal(err.code, ERROR_INPUT);
		free(part);
	}
	wire_put_u8(&w, 0);
	assert_false(publish_job_decode(w.buf, w.len, &out, &ERROR_INIT));
	wire_writer_free(&w);
}

static void
test_job_refuses_unknown_choice(void **state)
{
	struct publish_job in, out;
	struct wire_writer w;

	(void)state;
	make_job(&in);
	in.kind = (enum target_kind)(TARGET_COMMAND + 1);
	wire_writer_init(&w, PUBLISH_FRAME_MAX);
	publish_job_encode(&in, &w);
	assert_false(publish_job_decode(w.buf, w.len, &out, &ERROR_INIT));
	wire_writer_free(&w);
}

static void
test_result_round_trip(void **state)
{
	struct publish_result in = {.outcome = PUBLISH_DIFFERENT, .read_size = 7}, out;
	struct error err = ERROR_INIT;
	struct wire_writer w;

	(void)state;
	memset(in.read_sha256, 0x11, sizeof in.read_sha256);
	error_set_foreign(&in.error, ERROR_CONFLICT, ERROR_CURL, "HTTP 200", "something else");
	wire_writer_init(&w, PUBLISH_RESULT_MAX);
	publish_result_encode(&in, &w);
	assert_true(wire_writer_ok(&w));
	assert_true(publish_result_decode(w.buf, w.len, &out, &err));
	assert_int_equal(out.outcome, PUBLISH_DIFFERENT);
	assert_int_equal(out.read_size, 7);
	assert_memory_equal(out.read_sha256, in.read_sha256, sizeof in.read_sha256);
	assert_int_equal(out.error.code, ERROR_CONFLICT);
	assert_int_equal(out.error.source, ERROR_CURL);
	assert_string_equal(out.error.foreign, "HTTP 200");
	assert_string_equal(out.error.text, "something else");
	for (size_t len = 0; len < w.len; len++)
		assert_false(publish_result_decode(w.buf, len, &out, &ERROR_INIT));
	wire_writer_free(&w);
}

/* A courier that was taken over, or repeats what a server told it. */
static void
test_results_that_are_no_text(void **state)
{
	static const char *const bad[] = {"cn=J\xf6rg", "cn=a\nb", "cn=\x1b[2J", "cn=\xc2\x9b"};

	(void)state;
	for (size_t i = 0; i < 3 * COUNT_OF(bad); i++) {
		struct publish_result in = {.outcome = PUBLISH_SAME}, out;
		char *const places[] = {in.entry, in.error.text, in.error.foreign};
		struct wire_writer w;

		in.error.code = ERROR_DENIED;
		memcpy(places[i % 3], bad[i / 3], strlen(bad[i / 3]) + 1);
		wire_writer_init(&w, PUBLISH_RESULT_MAX);
		publish_result_encode(&in, &w);
		assert_false(publish_result_decode(w.buf, w.len, &out, &out.error));
		assert_int_equal(out.outcome, PUBLISH_FAILED);
		assert_string_equal(out.entry, "");
		assert_int_equal(out.error.code, ERROR_INPUT);
		assert_string_equal(out.error.text, "the courier's result is malformed");
		wire_writer_free(&w);
	}
}

static void
test_frame_over_socket(void **state)
{
	uint8_t too_long[4] = {0xff, 0xff, 0xff, 0xff}, *payload = NULL;
	struct error err = ERROR_INIT;
	struct wire_writer w;
	size_t len = 0;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	wire_writer_init(&w, PUBLISH_FRAME_MAX);
	wire_put_string(&w, "hello");
	assert_true(publish_frame_write(pair[0], &w, &err));
	assert_true(publish_frame_read(pair[1], &payload, &len, &err));
	assert_int_equal(len, w.len);
	assert_memory_equal(payload, w.buf, len);
	free(payload);
	wire_writer_free(&w);

	assert_int_equal(write(pair[0], too_long, sizeof too_long), sizeof too_long);
	assert_false(publish_frame_read(pair[1], &payload, &len, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
	error_clear(&err);

	assert_int_equal(write(pair[0], "\0\0\0\5ab", 6), 6);
	close(pair[0]);
	assert_false(publish_frame_read(pair[1], &payload, &len, &err));
	assert_int_equal(err.code, ERROR_INPUT);
	close(pair[1]);
}

static void
test_descriptors_over_socket(void **state)
{
	int pair[2], p[2], got[PUBLISH_DESCRIPTORS_MAX] = {-1, -1, -1}, free_fd;
	const int three[] = {0, 1, 2};
	struct error err = ERROR_INIT;
	size_t count = 0;
	char c = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pipe(p), 0);
	assert_true(publish_descriptors_send(pair[0], p, 2, &err));
	assert_true(publish_descriptors_receive(pair[1], got, 2, 3, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(write(got[1], "x", 1), 1);
	assert_int_equal(read(got[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	close(got[0]);
	close(got[1]);
	close(p[0]);
	close(p[1]);
	/* One octet without descriptors is no job. */
	assert_int_equal(write(pair[0], "y", 1), 1);
	assert_false(publish_descriptors_receive(pair[1], got, 2, 2, &count, &err));
	assert_int_equal(err.code, ERROR_INPUT);
	/* What is too many is not kept open. */
	err = ERROR_INIT;
	free_fd = dup(0);
	close(free_fd);
	assert_true(publish_descriptors_send(pair[0], three, 3, &err));
	assert_false(publish_descriptors_receive(pair[1], got, 2, 2, &count, &err));
	assert_int_equal(err.code, ERROR_INPUT);
	c = (char)dup(0);
	assert_int_equal(c, free_fd);
	close(free_fd);
	/* Nobody is there any more; and nobody reads. */
	err = ERROR_INIT;
	close(pair[0]);
	assert_false(publish_descriptors_receive(pair[1], got, 2, 3, &count, &err));
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	close(pair[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	err = ERROR_INIT;
	while (publish_descriptors_send(pair[0], three, 2, &err))
		;
	assert_int_equal(err.code, ERROR_LIMIT);
	close(pair[0]);
	close(pair[1]);
}

static void
test_words(void **state)
{
	enum artifact_kind a;
	enum target_kind k;
	enum target_auth u;
	enum target_tls t;

	(void)state;
	assert_true(artifact_kind_parse("delta-crl", &a));
	assert_int_equal(a, ARTIFACT_DELTA_CRL);
	assert_string_equal(artifact_kind_name(a), "delta-crl");
	assert_false(artifact_kind_parse("delta", &a));
	assert_true(target_kind_parse("ldap", &k));
	assert_int_equal(k, TARGET_LDAP);
	assert_false(target_kind_parse("LDAP", &k));
	assert_true(target_tls_parse("starttls", &t));
	assert_int_equal(t, TARGET_TLS_STARTTLS);
	assert_false(target_tls_parse("", &t));
	assert_true(target_auth_parse("bearer", &u));
	assert_int_equal(u, TARGET_AUTH_BEARER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_job_round_trip),
	    cmocka_unit_test(test_job_refused_when_cut_or_longer),
	    cmocka_unit_test(test_job_refuses_unknown_choice),
	    cmocka_unit_test(test_result_round_trip),
	    cmocka_unit_test(test_results_that_are_no_text),
	    cmocka_unit_test(test_frame_over_socket),
	    cmocka_unit_test(test_descriptors_over_socket),
	    cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
