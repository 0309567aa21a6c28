/* A directory that sends more than it was asked for: what is kept of it is little. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/publish/look.h"
#include "daemon/publish/target.h"

/* LDAPMessages (RFC 4511 4.1.1): 1 is the bind, 2 the search. */
static const uint8_t bound[] = {0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, 0, 4, 0, 4, 0};
static const uint8_t done[] = {0x30, 12, 2, 1, 2, 0x65, 7, 10, 1, 0, 4, 0, 4, 0};
static const uint8_t reference[] = {
    0x30, 14, 2, 1, 2, 0x73, 9, 4, 7, 'l', 'd', 'a', 'p', ':', '/', '/'};
/* cn=x with certificateRevocationList;binary of one octet. */
#define ENTRY(octet)                                                                              \
	{                                                                                         \
		0x30, 54, 2, 1, 2, 0x64, 49, 4, 4, 'c', 'n', '=', 'x', 0x30, 41, 0x30, 39, 4, 32, \
		    'c', 'e', 'r', 't', 'i', 'f', 'i', 'c', 'a', 't', 'e', 'R', 'e', 'v', 'o',    \
		    'c', 'a', 't', 'i', 'o', 'n', 'L', 'i', 's', 't', ';', 'b', 'i', 'n', 'a',    \
		    'r', 'y', 0x31, 3, 4, 1, octet                                                \
	}
static const uint8_t first[] = ENTRY('a'), second[] = ENTRY('b');

enum manner {
	ENDLESS_ENTRIES,
	ENDLESS_REFERENCES,
	TWO_ENTRIES,
};

static struct publish_job job;
static pid_t server;

static void
say(int s, const uint8_t *p, size_t len)
{
	if (send(s, p, len, MSG_NOSIGNAL) != (ssize_t)len)
		_exit(0);
}

/* Each request is a small one and comes whole. */
static void
serve(int listener, enum manner manner)
{
	uint8_t request[1024];
	int s;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	s = accept(listener, NULL, NULL);
	if (recv(s, request, sizeof request, 0) <= 0)
		_exit(1);
	say(s, bound, sizeof bound);
	if (recv(s, request, sizeof request, 0) <= 0)
		_exit(1);
	say(s, first, sizeof first);
	while (manner == ENDLESS_ENTRIES)
		say(s, second, sizeof second);
	while (manner == ENDLESS_REFERENCES)
		say(s, reference, sizeof reference);
	say(s, reference, sizeof reference);
	say(s, second, sizeof second);
	say(s, done, sizeof done);
	(void)recv(s, request, sizeof request, 0);
	_exit(0);
}

static void
start(enum manner manner)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	server = fork();
	if (server == 0)
		serve(listener, manner);
	assert_true(server > 0);
	(void)close(listener);
	memset(&job, 0, sizeof job);
	job.artifact = ARTIFACT_CRL;
	(void)snprintf(
	    job.read_url, sizeof job.read_url, "ldap://127.0.0.1:%u/cn=x", ntohs(at.sin_port));
}

static bool
look(uint8_t *found, struct error *err)
{
	struct target_work work = {.job = &job, .artifact_fd = memfd_create("kept", MFD_CLOEXEC)};
	struct publish_result result = {.outcome = PUBLISH_FAILED};
	struct timespec now;
	bool ok;

	assert_true(work.artifact_fd >= 0);
	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	work.deadline_ms = (int64_t)now.tv_sec * 1000 + 100000;
	ok = look_fetch(&work, &result, err);
	assert_int_equal(pread(work.artifact_fd, found, 1, 0), ok);
	(void)close(work.artifact_fd);
	(void)waitpid(server, NULL, 0);
	return ok;
}

static void
test_endless(void **state)
{
	(void)state;
	for (enum manner m = ENDLESS_ENTRIES; m <= ENDLESS_REFERENCES; m++) {
		struct error err = ERROR_INIT;
		uint8_t found;

		start(m);
		assert_false(look(&found, &err));
		assert_non_null(strstr(err.text, "reading back cn=x"));
		assert_non_null(strstr(err.text, "sends more than it was asked for"));
	}
}

static void
test_first_of_two(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t found = 0;

	(void)state;
	start(TWO_ENTRIES);
	assert_true(look(&found, &err));
	assert_int_equal(found, 'a');
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_endless),
	    cmocka_unit_test(test_first_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
