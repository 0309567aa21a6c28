/* Which sockets a connection string needs. What a sandbox then allows is tried in
 * core_sandbox_test.c; here its report is read, in a child that enters it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/needs.h"

struct answer {
	struct sandbox_report report;
	int refused[3]; /* errno of connections to these ports of this host */
};

static const uint16_t ports[] = {5432, 5433, 9};

static int
connect_to(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
}

static struct answer
enter(const char *conninfo, bool alone)
{
	struct answer a = {0};
	struct error err = ERROR_INIT;
	struct sandbox *s;
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		s = sandbox_new(SANDBOX_FRONT, SANDBOX_BEST_EFFORT);
		sandbox_system_files(s);
		if (!db_needs(conninfo, alone, s, &err) || !sandbox_enter(s, &a.report, &err))
			_exit(1);
		for (size_t i = 0; i < COUNT_OF(ports); i++)
			a.refused[i] = connect_to(ports[i]);
		_exit(write(fds[1], &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
	}
	(void)close(fds[1]);
	assert_int_equal(read(fds[0], &a, sizeof a), sizeof a);
	(void)close(fds[0]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	return a;
}

static void
kinds_of_sockets(void **state)
{
	static const struct {
		const char *conninfo, *sockets;
	} cases[] = {
	    {"dbname=x", "local"},
	    {"host=/run/postgresql dbname=x", "local"},
	    {"host=/run/postgresql,/tmp dbname=x", "local"},
	    {"host=@abstract dbname=x", "local"},
	    {"host=127.0.0.1 dbname=x", "local+network"},
	    {"host=/run/postgresql,db.example dbname=x", "local+network"},
	    {"hostaddr=::1 dbname=x", "local+network"},
	    {"service=x", "local+network"},
	    {"postgresql://db.example/x", "local+network"},
	    {"postgresql:///x?host=/run/postgresql", "local"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (strcmp(enter(cases[i].conninfo, true).report.sockets, cases[i].sockets) != 0)
			fail_msg("%s", cases[i].conninfo);
	}
}

static void
only_the_databases_port(void **state)
{
	struct answer a = enter("host=127.0.0.1 port=5433", true);

	if (a.report.landlock < 4)
		skip();
	assert_int_equal(a.refused[0], EACCES);
	assert_int_not_equal(a.refused[1], EACCES);
	assert_int_equal(a.refused[2], EACCES);
	a = enter("host=127.0.0.1", true);
	assert_int_not_equal(a.refused[0], EACCES);
	assert_int_equal(a.refused[1], EACCES);
	a = enter("host=a,b port=,5433", true);
	assert_int_not_equal(a.refused[0], EACCES);
	assert_int_not_equal(a.refused[1], EACCES);
	assert_int_equal(a.refused[2], EACCES);
	a = enter("host=127.0.0.1", false);
	assert_int_not_equal(a.refused[2], EACCES);
	a = enter("service=x", true);
	assert_int_not_equal(a.refused[2], EACCES);
}

static void
nonsense_is_refused(void **state)
{
	struct error err = ERROR_INIT;

	assert_false(db_needs("no equals sign", true, NULL, &err));
	assert_int_equal(err.code, ERROR_CONFIG);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(kinds_of_sockets),
	    cmocka_unit_test(only_the_databases_port),
	    cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
