/*
 * The supervisor with real children: this program runs itself again as signer,
 * issuer and front, in a form that does nothing but talk. Children do as files
 * in the state directory tell them, because they inherit no environment.
 *
 *   crash-ROLE  end at once with status 3
 *   hang-ROLE   do not react to a drain
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/listener.h>

#include "daemon/core/control.h"
#include "daemon/core/role.h"
#include "daemon/supervisor/supervisor.h"

#define WAIT_MS 60000 /* patience, for a busy machine */

/* ---- the children */

struct actor {
	struct role *role;
	struct config cfg;
	const char *name;
	struct event *watched[CONFIG_TOKENS_MAX];
	struct evconnlistener *listeners[CONFIG_LISTENERS_MAX];
	size_t watched_count, listener_count;
	int reloads;
};

static bool
told(const struct actor *a, const char *what)
{
	char path[512];

	(void)snprintf(path, sizeof path, "%s/%s-%s", a->cfg.state_dir, what, a->name);
	return access(path, F_OK) == 0;
}

static void
watch(struct actor *a, int fd, event_callback_fn callback)
{
	struct event *e = event_new(role_base(a->role), fd, EV_READ | EV_PERSIST, callback, a);

	if (a->watched_count < COUNT_OF(a->watched))
		a->watched[a->watched_count++] = e;
	(void)event_add(e, NULL);
}

/* The signer answers whatever it reads with its pid. */
static void
signer_answer(evutil_socket_t fd, short what, void *arg)
{
	struct actor *a = arg;
	char text[64];

	if (read(fd, text, sizeof text) <= 0) {
		(void)event_del(event_base_get_running_event(role_base(a->role)));
		return;
	}
	(void)!write(fd, text, (size_t)snprintf(text, sizeof text, "%d", (int)getpid()));
}

static void
signer_channel(const char *token, int fd, void *arg)
{
	watch(arg, fd, signer_answer);
}

/* The issuer reports who answered it. */
static void
issuer_hear(evutil_socket_t fd, short what, void *arg)
{
	struct actor *a = arg;
	char text[64];
	ssize_t n = read(fd, text, sizeof text - 1);

	if (n <= 0) {
		(void)event_del(event_base_get_running_event(role_base(a->role)));
		return;
	}
	text[n] = '\0';
	role_status(a->role, "answered by %s", text);
}

static void
issuer_channel(const char *token, int fd, void *arg)
{
	watch(arg, fd, issuer_hear);
	(void)!write(fd, "?", 1);
}

/* The front tells every caller the kind and index of his listener. */
static void
front_accept(
    struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	const char *text = arg;

	(void)!write(fd, text, strlen(text));
	(void)close(fd);
}

static void
front_listener(const char *kind, unsigned index, int fd, void *arg)
{
	static char texts[CONFIG_LISTENERS_MAX][32];
	struct actor *a = arg;
	char *text = texts[a->listener_count];

	(void)snprintf(text, sizeof texts[0], "%s %u", kind, index);
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	a->listeners[a->listener_count++] = evconnlistener_new(role_base(a->role), front_accept,
	    text, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
}

static void
actor_reload(void *arg)
{
	struct actor *a = arg;

	role_status(a->role, "reloaded %d", ++a->reloads);
}

static void
actor_drain(void *arg)
{
	struct actor *a = arg;

	if (!told(a, "hang"))
		role_stop(a->role, 0);
}

static int
act(const char *name, const char *config, const struct role_callbacks *callbacks)
{
	struct actor a = {.name = name};
	struct error err = ERROR_INIT;
	int status;

	if (!config_load_for_role(config, &a.cfg, &err))
		return 1;
	log_init(name, LOG_LEVEL_ERROR);
	if (told(&a, "crash")) {
		config_free(&a.cfg);
		return 3;
	}
	a.role = role_new(name, CONTROL_FD, callbacks, &a, &err);
	if (a.role == NULL)
		return 1;
	role_ready(a.role);
	status = role_run(a.role);
	for (size_t i = 0; i < a.watched_count; i++) {
		(void)close(event_get_fd(a.watched[i]));
		event_free(a.watched[i]);
	}
	for (size_t i = 0; i < a.listener_count; i++)
		evconnlistener_free(a.listeners[i]);
	role_free(a.role);
	config_free(&a.cfg);
	return status;
}

static int
be_child(char **argv)
{
	static const struct role_callbacks signer = {.on_signer_channel = signer_channel,
	    .on_reload = actor_reload,
	    .on_drain = actor_drain};
	static const struct role_callbacks issuer = {.on_signer_channel = issuer_channel,
	    .on_reload = actor_reload,
	    .on_drain = actor_drain};
	static const struct role_callbacks front = {
	    .on_listener = front_listener, .on_reload = actor_reload, .on_drain = actor_drain};

	if (strcmp(argv[3], "--config") != 0)
		return 2;
	if (strcmp(argv[1], "--token") == 0)
		return act("signer", argv[4], &signer);
	if (strcmp(argv[2], "issuer") == 0)
		return act("issuer", argv[4], &issuer);
	return act("front", argv[4], &front);
}

/* ---- the test */

struct fixture {
	char dir[64];
	char self[512];
	char run[8192]; /* run.json as last read */
	int notify_fd;
	char notified[65536]; /* what came there, in order */
	size_t notified_len, notified_seen;
	const char *state; /* name of the state directory */
	pid_t supervisor;
};

static struct fixture f = {.state = "state"};

/* The socket holds few messages: more are lost while nobody reads them. */
static void
collect_notifications(void)
{
	size_t room;
	ssize_t n;

	while ((room = sizeof f.notified - f.notified_len) > 1024) {
		n = recv(f.notify_fd, f.notified + f.notified_len, 1023, MSG_DONTWAIT);
		if (n <= 0)
			break;
		f.notified_len += (size_t)n;
		f.notified[f.notified_len++] = '\n';
		f.notified[f.notified_len] = '\0';
	}
}

static void
sleep_ms(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	(void)nanosleep(&t, NULL);
	collect_notifications();
}

#define WAIT_UNTIL(condition)                                                    \
	do {                                                                     \
		int left_ = WAIT_MS;                                             \
                                                                                 \
		while (!(condition)) {                                           \
			if (left_ <= 0)                                          \
				fail_msg("waited too long for: %s", #condition); \
			sleep_ms(10);                                            \
			left_ -= 10;                                             \
		}                                                                \
	} while (0)

static const char *
path_of(const char *name)
{
	static char path[sizeof((struct sockaddr_un *)NULL)->sun_path];

	(void)snprintf(path, sizeof path, "%s/%s", f.dir, name);
	return path;
}

static void
put_file(const char *name, const char *text)
{
	FILE *out = fopen(path_of(name), "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(chmod(path_of(name), 0600), 0);
}

/* The configuration with these tokens (NULL-ended) and HTTP addresses. */
static void
put_config(const char *const *tokens, const char *http, unsigned drain_s)
{
	char text[4096];
	size_t used = 0;

	used += (size_t)snprintf(text, sizeof text,
	    "state_dir: %s/%s\nlog_level: info\ndrain_timeout: %us\nseparation: none\n"
	    "database: {issuer: a=b, front: a=b}\nissuer: {signer_id: 1}\n"
	    "front: {unix: {path: %s/api.sock, mode: \"0600\"}, http: [%s]}\ntokens:\n",
	    f.dir, f.state, drain_s, f.dir, http);
	for (; *tokens != NULL; tokens++)
		used += (size_t)snprintf(text + used, sizeof text - used,
		    "  - {name: %s, module: %s, select: {label: x}, pin_credential: x}\n", *tokens,
		    f.self);
	put_file("c.yaml", text);
}

static bool
read_run_file(void)
{
	FILE *in = fopen(path_of("state/run.json"), "r");
	size_t n;

	f.run[0] = '\0';
	if (in == NULL)
		return false;
	n = fread(f.run, 1, sizeof f.run - 1, in);
	f.run[n] = '\0';
	(void)fclose(in);
	return true;
}

/* The number behind "name": {... "field": in run.json, or -1. */
static long
number_of(const char *name, const char *field)
{
	char words[64];
	const char *p, *end;

	if (!read_run_file())
		return -1;
	(void)snprintf(words, sizeof words, "\"%s\": {", name);
	p = strstr(f.run, words);
	if (p == NULL)
		return -1;
	end = strchr(p, '}');
	(void)snprintf(words, sizeof words, "\"%s\": ", field);
	p = strstr(p, words);
	if (p == NULL || p > end || strncmp(p + strlen(words), "null", 4) == 0)
		return -1;
	return strtol(p + strlen(words), NULL, 10);
}

static pid_t
pid_of(const char *name)
{
	return (pid_t)number_of(name, "pid");
}

static bool
run_contains(const char *words)
{
	return read_run_file() && strstr(f.run, words) != NULL;
}

static void
wait_for(const char *words)
{
	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		if (run_contains(words))
			return;
		sleep_ms(10);
	}
	fail_msg("run.json never had %s:\n%s", words, f.run);
}

static void
wait_running(void)
{
	wait_for("\"state\": \"running\",\n  \"children\"");
}

/* Waits until a child has another process than before and is ready. */
static pid_t
wait_new(const char *name, pid_t before)
{
	char words[128];
	pid_t pid;

	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		pid = pid_of(name);
		(void)snprintf(words, sizeof words, "\"%s\": {\"pid\": %d, \"state\": \"running\"",
		    name, (int)pid);
		if (pid > 0 && pid != before && strstr(f.run, words) != NULL)
			return pid;
		sleep_ms(10);
	}
	fail_msg("%s was not restarted:\n%s", name, f.run);
	return -1;
}

static void
wait_answered_by(pid_t signer)
{
	char words[64];

	(void)snprintf(words, sizeof words, "answered by %d\"", (int)signer);
	wait_for(words);
}

/* Whether these words came since those that were asked for last. */
static bool
was_notified(const char *words)
{
	const char *at;

	collect_notifications();
	at = strstr(f.notified + f.notified_seen, words);
	if (at == NULL)
		return false;
	f.notified_seen = (size_t)(at - f.notified) + strlen(words);
	return true;
}

static void
wait_notified(const char *words)
{
	for (int ms = 0; ms < WAIT_MS; ms += 10) {
		if (was_notified(words))
			return;
		sleep_ms(10);
	}
	fail_msg("no notification of %s", words);
}

/* Runs a supervisor in a process of its own; its status: 0, or an error code. */
static void
start_supervisor(void)
{
	struct supervisor_programs programs = {.self = f.self, .signer = f.self};
	struct error err = ERROR_INIT;
	struct config cfg;

	collect_notifications();
	f.notified_len = f.notified_seen = 0;
	f.notified[0] = '\0';
	f.supervisor = fork();
	assert_true(f.supervisor >= 0);
	if (f.supervisor > 0)
		return;
	/* And all of them go with it. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (config_load(path_of("c.yaml"), &cfg, &err) && supervisor_run(&programs, &cfg, &err))
		exit(0);
	fprintf(stderr, "supervisor: %s\n", err.text);
	exit((int)err.code);
}

static int
wait_supervisor(void)
{
	int status = 0;

	assert_int_equal(waitpid(f.supervisor, &status, 0), f.supervisor);
	f.supervisor = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void
stop_supervisor(void)
{
	assert_int_equal(kill(f.supervisor, SIGTERM), 0);
	assert_int_equal(wait_supervisor(), 0);
	assert_int_not_equal(access(path_of("state/run.json"), F_OK), 0);
	assert_int_not_equal(access(path_of("api.sock"), F_OK), 0);
}

static const char *
ask(int fd)
{
	static char text[64];
	ssize_t n = read(fd, text, sizeof text - 1);

	text[n > 0 ? n : 0] = '\0';
	(void)close(fd);
	return text;
}

static int
call_port(unsigned port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	    .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

static int
call_unix(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path_of("api.sock"));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

/* The port of the HTTP listener with this index. */
static unsigned
port_of(unsigned index)
{
	char words[64];
	const char *p;

	(void)snprintf(words, sizeof words, "{\"kind\": \"http\", \"index\": %u", index);
	assert_true(read_run_file());
	p = strstr(f.run, words);
	assert_non_null(p);
	p = strstr(p, "\"port\": ");
	assert_non_null(p);
	return (unsigned)strtoul(p + 8, NULL, 10);
}

static void
it_runs_restarts_and_drains(void **state)
{
	static const char *const tokens[] = {"main", NULL};
	pid_t signer, issuer, front, before;
	struct stat st;
	int fd;

	put_config(tokens, "\"127.0.0.1:0\", \"127.0.0.1:0\"", 10);
	start_supervisor();
	wait_notified("READY=1");
	wait_running();
	assert_int_equal(stat(path_of("state"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(path_of("api.sock"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	signer = pid_of("signer-main");
	issuer = pid_of("issuer");
	front = pid_of("front");
	assert_true(signer > 0 && issuer > 0 && front > 0);
	wait_answered_by(signer);
	assert_int_not_equal(port_of(0), port_of(1));
	assert_string_equal(ask(call_port(port_of(0))), "http 0");
	assert_string_equal(ask(call_port(port_of(1))), "http 1");
	assert_string_equal(ask(call_unix()), "unix 0");

	/* Whichever side dies, the two are connected anew. */
	before = signer;
	assert_int_equal(kill(signer, SIGKILL), 0);
	signer = wait_new("signer-main", before);
	wait_answered_by(signer);
	assert_int_equal(pid_of("issuer"), issuer);
	assert_int_equal(number_of("signer-main", "restarts"), 1);
	before = issuer;
	assert_int_equal(kill(issuer, SIGKILL), 0);
	issuer = wait_new("issuer", before);
	wait_answered_by(signer);
	assert_int_equal(pid_of("signer-main"), signer);

	/* Who calls while the front is away is served by the next one. */
	assert_int_equal(kill(front, SIGSTOP), 0);
	fd = call_port(port_of(0));
	assert_int_equal(kill(front, SIGKILL), 0);
	assert_string_equal(ask(fd), "http 0");
	(void)wait_new("front", front);
	stop_supervisor();
	wait_notified("STOPPING=1");
}

static void
only_one_runs_on_a_state_directory(void **state)
{
	static const char *const tokens[] = {"main", NULL};
	pid_t first;

	put_config(tokens, "\"127.0.0.1:0\"", 10);
	start_supervisor();
	wait_running();
	first = f.supervisor;
	start_supervisor();
	assert_int_equal(wait_supervisor(), ERROR_CONFLICT);
	/* Nor does one with another state directory take the socket away. */
	f.state = "other";
	put_config(tokens, "\"127.0.0.1:0\"", 10);
	start_supervisor();
	assert_int_equal(wait_supervisor(), ERROR_CONFLICT);
	f.state = "state";

	/* The losers have not disturbed the winner. */
	assert_string_equal(ask(call_unix()), "unix 0");
	assert_true(run_contains("\"state\": \"running\""));
	f.supervisor = first;
	stop_supervisor();
}

static void
back_off_grows_and_ends(void **state)
{
	static const char *const tokens[] = {"main", NULL};
	struct timespec start, now;
	long ms;

	put_config(tokens, "", 10);
	put_file("state/crash-issuer", "");
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	start_supervisor();
	WAIT_UNTIL(number_of("issuer", "restarts") >= 4);
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (long)(now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000;
	/* 100 + 200 + 400 + 800 before the fourth; the pauses vary. */
	assert_true(ms > 700);
	assert_true(run_contains("\"state\": \"starting\",\n  \"children\""));
	assert_int_equal(unlink(path_of("state/crash-issuer")), 0);
	wait_running();
	stop_supervisor();
}

static void
a_reload_changes_only_what_changed(void **state)
{
	static const char *const one[] = {"main", NULL}, *const two[] = {"main", "second", NULL};
	pid_t signer, issuer, front, second;
	unsigned port;

	put_config(one, "\"127.0.0.1:0\"", 10);
	start_supervisor();
	wait_running();
	signer = pid_of("signer-main");
	issuer = pid_of("issuer");
	front = pid_of("front");
	port = port_of(0);
	wait_notified("READY=1");
	wait_answered_by(signer); /* or this would take the place of "reloaded" */

	/* A wrong file changes nothing. */
	put_file("c.yaml", "nonsense: [\n");
	assert_int_equal(kill(f.supervisor, SIGHUP), 0);
	wait_notified("RELOADING=1\nMONOTONIC_USEC=");
	wait_notified("READY=1");
	assert_int_equal(pid_of("front"), front);
	assert_string_equal(ask(call_port(port)), "http 0");

	/* The same file: everybody reloads, nobody is restarted. */
	put_config(one, "\"127.0.0.1:0\"", 10);
	assert_int_equal(kill(f.supervisor, SIGHUP), 0);
	wait_notified("READY=1");
	wait_for("\"issuer\": {\"pid\": ");
	wait_for("reloaded 1\"},\n    \"front\"");
	assert_int_equal(pid_of("signer-main"), signer);
	assert_int_equal(pid_of("issuer"), issuer);
	assert_int_equal(pid_of("front"), front);
	assert_int_equal(port_of(0), port);

	/* One listener more: the front is restarted, the open socket stays. */
	put_config(one, "\"127.0.0.1:0\", \"127.0.0.1:0\"", 10);
	assert_int_equal(kill(f.supervisor, SIGHUP), 0);
	front = wait_new("front", front);
	assert_int_equal(pid_of("signer-main"), signer);
	assert_int_equal(pid_of("issuer"), issuer);
	assert_int_equal(port_of(0), port);
	assert_string_equal(ask(call_port(port_of(1))), "http 1");

	/* One token more, and away again. */
	put_config(two, "\"127.0.0.1:0\", \"127.0.0.1:0\"", 10);
	assert_int_equal(kill(f.supervisor, SIGHUP), 0);
	second = wait_new("signer-second", -1);
	issuer = wait_new("issuer", issuer);
	assert_int_equal(pid_of("signer-main"), signer);
	put_config(one, "\"127.0.0.1:0\", \"127.0.0.1:0\"", 10);
	assert_int_equal(kill(f.supervisor, SIGHUP), 0);
	WAIT_UNTIL(!run_contains("signer-second"));
	assert_int_equal(kill(second, 0), -1);
	(void)wait_new("issuer", issuer);
	assert_int_equal(pid_of("signer-main"), signer);
	assert_int_equal(pid_of("front"), front);
	stop_supervisor();
}

static void
what_does_not_drain_is_killed(void **state)
{
	static const char *const tokens[] = {"main", NULL};

	put_config(tokens, "", 1);
	put_file("state/hang-issuer", "");
	start_supervisor();
	wait_running();
	assert_int_equal(kill(f.supervisor, SIGTERM), 0);
	assert_int_equal(wait_supervisor(), ERROR_TIMEOUT);

	/* Told twice, it does not wait. */
	put_config(tokens, "", 600);
	start_supervisor();
	wait_running();
	assert_int_equal(kill(f.supervisor, SIGTERM), 0);
	wait_for("\"state\": \"stopping\",\n  \"children\"");
	assert_int_equal(kill(f.supervisor, SIGINT), 0);
	assert_int_equal(wait_supervisor(), ERROR_TIMEOUT);
	assert_int_equal(unlink(path_of("state/hang-issuer")), 0);
}

/* Gone, or a zombie that nobody has waited for yet. */
static bool
is_dead(pid_t pid)
{
	char name[64], text[512];
	const char *p;
	FILE *in;
	size_t n;

	(void)snprintf(name, sizeof name, "/proc/%d/stat", (int)pid);
	in = fopen(name, "r");
	if (in == NULL)
		return true;
	n = fread(text, 1, sizeof text - 1, in);
	text[n] = '\0';
	(void)fclose(in);
	p = strrchr(text, ')');
	return p == NULL || p[2] == 'Z';
}

static void
children_die_with_the_supervisor(void **state)
{
	static const char *const tokens[] = {"main", NULL};
	static const char *const names[] = {"signer-main", "issuer", "front"};
	pid_t pids[COUNT_OF(names)];
	int status;

	put_config(tokens, "", 10);
	start_supervisor();
	wait_running();
	for (size_t i = 0; i < COUNT_OF(names); i++)
		pids[i] = pid_of(names[i]);
	assert_int_equal(kill(f.supervisor, SIGKILL), 0);
	assert_int_equal(waitpid(f.supervisor, &status, 0), f.supervisor);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		WAIT_UNTIL(is_dead(pids[i]));
	}
	/* What it left behind (socket, run.json, lock) is in nobody's way. */
	assert_int_equal(access(path_of("api.sock"), F_OK), 0);
	start_supervisor();
	WAIT_UNTIL(number_of("front", "pid") != pids[2]);
	wait_running();
	assert_string_equal(ask(call_unix()), "unix 0");
	stop_supervisor();
}

static int
set_up(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	ssize_t n;

	(void)snprintf(f.dir, sizeof f.dir, "/tmp/chancery-super-XXXXXX");
	n = readlink("/proc/self/exe", f.self, sizeof f.self - 1);
	if (n < 0 || mkdtemp(f.dir) == NULL)
		return -1;
	f.self[n] = '\0';
	f.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path_of("notify"));
	if (bind(f.notify_fd, (struct sockaddr *)&addr, sizeof addr) != 0)
		return -1;
	return setenv("NOTIFY_SOCKET", path_of("notify"), 1);
}

static int
tear_down(void **state)
{
	char command[128];

	if (f.supervisor > 0)
		(void)kill(f.supervisor, SIGKILL);
	(void)close(f.notify_fd);
	(void)snprintf(command, sizeof command, "rm -rf %s", f.dir);
	return system(command);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_runs_restarts_and_drains),
	    cmocka_unit_test(only_one_runs_on_a_state_directory),
	    cmocka_unit_test(back_off_grows_and_ends),
	    cmocka_unit_test(a_reload_changes_only_what_changed),
	    cmocka_unit_test(what_does_not_drain_is_killed),
	    cmocka_unit_test(children_die_with_the_supervisor),
	};

	if (argc == 5)
		return be_child(argv);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
