/* Listening sockets, the state directory, what a reload changes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/supervisor/change.h"
#include "daemon/supervisor/install.h"
#include "daemon/supervisor/listener.h"
#include "daemon/supervisor/place.h"
#include "daemon/supervisor/runtime.h"

static char dir[] = "/tmp/chancery-parts-XXXXXX";

static char *
in_dir(const char *name)
{
	static char path[sizeof((struct sockaddr_un *)NULL)->sun_path];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static char *
word(const char *text)
{
	return (char *)(uintptr_t)text;
}

/* ---- listeners */

struct front {
	struct config cfg;
	struct config_address http[4];
	struct config_https https[1];
	char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
};

static void
add_http(struct front *f, const char *text)
{
	struct error err = ERROR_INIT;

	assert_true(config_parse_address(text, &f->http[f->cfg.front.http_count++], &err));
	f->cfg.front.http = f->http;
}

static void
init_front(struct front *f, const char *unix_path)
{
	*f = (struct front){0};
	if (unix_path != NULL) {
		(void)snprintf(f->path, sizeof f->path, "%s", unix_path);
		f->cfg.front.unix_path = f->path;
	}
	f->cfg.front.unix_mode = 0620;
	f->cfg.front.unix_gid = (gid_t)-1;
}

static void
free_front(struct front *f)
{
	for (size_t i = 0; i < f->cfg.front.http_count; i++)
		free(f->http[i].text);
	for (size_t i = 0; i < f->cfg.front.https_count; i++)
		free(f->https[i].listen.text);
}

static void
check_conflict(struct front *f, const struct listeners *old, const char *words)
{
	struct error err = ERROR_INIT;
	struct listeners l;

	assert_false(listeners_open(&f->cfg, old, &l, &err));
	assert_int_equal(err.code, ERROR_CONFLICT);
	if (strstr(err.text, words) == NULL)
		fail_msg("%s", err.text);
	assert_int_equal(l.count, 0);
}

static void
sockets_are_opened_and_named(void **state)
{
	struct error err = ERROR_INIT;
	struct listeners l;
	struct front f;
	struct stat st;
	int on;
	socklen_t len = sizeof on;

	init_front(&f, in_dir("a.sock"));
	f.cfg.front.unix_gid = getegid();
	add_http(&f, "127.0.0.1:0");
	add_http(&f, "127.0.0.1:0");
	if (!listeners_open(&f.cfg, NULL, &l, &err))
		fail_msg("%s", err.text);
	assert_int_equal(l.count, 3);
	assert_string_equal(l.items[0].kind, "http");
	assert_int_equal(l.items[1].index, 1);
	assert_true(l.items[0].port > 0 && l.items[0].port != l.items[1].port);
	assert_string_equal(l.items[0].configured, "127.0.0.1:0");
	assert_string_not_equal(l.items[0].actual, "127.0.0.1:0");
	assert_string_equal(l.items[2].kind, "unix");
	for (size_t i = 0; i < l.count; i++) {
		assert_int_equal(
		    getsockopt(l.items[i].fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len), 0);
		assert_int_equal(on, 1);
		assert_true((fcntl(l.items[i].fd, F_GETFD) & FD_CLOEXEC) != 0);
	}
	assert_int_equal(lstat(in_dir("a.sock"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0620);
	listeners_close(&l, NULL);
	assert_int_not_equal(access(in_dir("a.sock"), F_OK), 0);
	free_front(&f);
}

static void
what_is_in_use_is_left_alone(void **state)
{
	struct error err = ERROR_INIT;
	struct listeners l, other;
	char address[LISTENER_ADDRESS_MAX];
	struct front f, g;
	int plain;

	init_front(&f, in_dir("b.sock"));
	add_http(&f, "127.0.0.1:0");
	assert_true(listeners_open(&f.cfg, NULL, &l, &err));

	/* A busy port, and what was opened before it is closed again. */
	init_front(&g, NULL);
	(void)snprintf(address, sizeof address, "127.0.0.1:%u", l.items[0].port);
	add_http(&g, "127.0.0.1:0");
	add_http(&g, address);
	check_conflict(&g, NULL, "another process uses this address");
	free_front(&g);

	/* A Unix socket on which somebody answers. */
	init_front(&g, in_dir("b.sock"));
	check_conflict(&g, NULL, "another process answers");
	assert_int_equal(access(in_dir("b.sock"), F_OK), 0);

	/* One on which nobody does is replaced. */
	(void)close(l.items[1].fd);
	l.items[1].fd = -1;
	assert_int_equal(access(in_dir("b.sock"), F_OK), 0);
	assert_true(listeners_open(&g.cfg, NULL, &other, &err));
	listeners_close(&other, NULL);

	/* A file of that name is not touched. */
	plain = open(in_dir("b.sock"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(plain >= 0);
	(void)close(plain);
	check_conflict(&g, NULL, "no socket");
	assert_int_equal(unlink(in_dir("b.sock")), 0);

	init_front(&g, in_dir("missing/b.sock"));
	error_clear(&err);
	assert_false(listeners_open(&g.cfg, NULL, &other, &err));
	assert_int_equal(err.code, ERROR_SYSTEM);
	assert_non_null(strstr(err.text, "missing/b.sock"));
	listeners_close(&l, NULL);
	free_front(&f);
}

static void
open_sockets_survive_a_change(void **state)
{
	struct error err = ERROR_INIT;
	struct listeners old, now;
	struct front f, g;
	struct stat st;

	init_front(&f, in_dir("c.sock"));
	add_http(&f, "127.0.0.1:0");
	assert_true(listeners_open(&f.cfg, NULL, &old, &err));

	/* The same socket, another mode; a listener more; http becomes https. */
	init_front(&g, in_dir("c.sock"));
	g.cfg.front.unix_mode = 0600;
	g.cfg.front.https = g.https;
	g.cfg.front.https_count = 1;
	assert_true(config_parse_address("127.0.0.1:0", &g.https[0].listen, &err));
	assert_true(listeners_open(&g.cfg, &old, &now, &err));
	assert_string_equal(now.items[0].kind, "https");
	assert_int_equal(now.items[0].port, old.items[0].port);
	listeners_close(&old, &now);
	assert_int_equal(lstat(in_dir("c.sock"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	free_front(&f);

	/* A change that fails leaves all as it was. */
	init_front(&f, in_dir("c.sock"));
	add_http(&f, "127.0.0.1:0");
	add_http(&f, "192.0.2.1:1"); /* not an address of this host */
	error_clear(&err);
	assert_false(listeners_open(&f.cfg, &now, &old, &err));
	assert_int_equal(err.code, ERROR_SYSTEM);
	assert_int_equal(lstat(in_dir("c.sock"), &st), 0);
	assert_true(fcntl(now.items[0].fd, F_GETFD) >= 0);
	free_front(&f);

	/* A path that is no longer configured goes away. */
	init_front(&f, in_dir("d.sock"));
	error_clear(&err);
	assert_true(listeners_open(&f.cfg, &now, &old, &err));
	listeners_close(&now, &old);
	assert_int_not_equal(access(in_dir("c.sock"), F_OK), 0);
	free_front(&g);
	listeners_close(&old, NULL);
}

/* ---- the state directory */

static void
a_state_directory_has_one_owner(void **state)
{
	struct error err = ERROR_INIT;
	char state_dir[64], text[64];
	struct stat st;
	const struct config cfg = {.state_dir = state_dir};
	int lock, second;
	FILE *in;

	(void)snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	assert_true(place_state(&cfg, &err));
	assert_true(place_state(&cfg, &err));
	assert_true(runtime_claim(state_dir, &lock, &err));
	assert_int_equal(stat(state_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_false(runtime_claim(state_dir, &second, &err));
	assert_int_equal(err.code, ERROR_CONFLICT);
	(void)snprintf(text, sizeof text, "process %d", (int)getpid());
	assert_non_null(strstr(err.text, text));

	error_clear(&err);
	assert_true(runtime_write(state_dir, "old and longer", 14, &err));
	assert_true(runtime_write(state_dir, "new", 3, &err));
	in = fopen(in_dir("state/run.json"), "r");
	assert_non_null(in);
	assert_non_null(fgets(text, sizeof text, in));
	assert_string_equal(text, "new");
	(void)fclose(in);

	/* The next owner does not believe it. */
	(void)close(lock);
	assert_true(runtime_claim(state_dir, &lock, &err));
	assert_int_not_equal(access(in_dir("state/run.json"), F_OK), 0);
	(void)close(lock);

	(void)snprintf(state_dir, sizeof state_dir, "%s/no/state", dir);
	assert_false(place_state(&cfg, &err));
	assert_int_equal(err.code, ERROR_SYSTEM);
	error_clear(&err);
	assert_false(runtime_claim(state_dir, &lock, &err));
	assert_int_equal(err.code, ERROR_SYSTEM);
}

static void
json_strings(void **state)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	runtime_put_string(out, "a\"b\\c\n\x01\xc3\xa4");
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa4\"");
	free(text);
}

/* ---- where things are */

static void
touch(const char *name, mode_t mode)
{
	int fd = open(in_dir(name), O_CREAT | O_WRONLY | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	(void)close(fd);
}

static void
parts_are_found_beside_the_program(void **state)
{
	char self[PATH_MAX], path[PATH_MAX];
	struct error err = ERROR_INIT;

	assert_true(install_find_self(path, &err));
	assert_non_null(strstr(path, "supervisor_parts_test"));

	assert_int_equal(mkdir(in_dir("tree"), 0755), 0);
	assert_int_equal(mkdir(in_dir("tree/daemon"), 0755), 0);
	assert_int_equal(mkdir(in_dir("tree/build"), 0755), 0);
	(void)snprintf(self, sizeof self, "%s/tree/build/asan/chanceryd", dir);
	assert_int_equal(mkdir(in_dir("tree/build/asan"), 0755), 0);
	assert_false(install_find_signer(self, path, &err));
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(err.text, CHANCERY_LIBEXECDIR));
	touch("tree/build/asan/chancery-signer", 0755);
	error_clear(&err);
	assert_true(install_find_signer(self, path, &err));
	assert_string_equal(path, in_dir("tree/build/asan/chancery-signer"));

	touch("tree/daemon/chanceryd.c", 0644);
	assert_true(install_find_migrations(self, path, &err));
	assert_string_equal(path, in_dir("tree/migrations"));
	(void)snprintf(self, sizeof self, "%s/tree/build/chanceryd", dir);
	assert_true(install_find_migrations(self, path, &err));
	assert_string_equal(path, in_dir("tree/migrations"));
}

/* ---- reload */

static void
init_config(struct config *c, struct config_token tokens[2], struct config_variable *variable,
    struct config_pin_operator *person, struct config_address *http)
{
	*person = (struct config_pin_operator){word("alice"), word("/alice.pem")};
	*variable = (struct config_variable){word("A"), word("b")};
	tokens[0] = (struct config_token){.name = word("main"),
	    .module = word("/m.so"),
	    .select = word("x"),
	    .pin_file = word("/pin"),
	    .pin_operators = person,
	    .pin_operator_count = 1,
	    .threads = 4,
	    .environment = variable,
	    .environment_count = 1};
	tokens[1] = (struct config_token){.name = word("second")};
	*http = (struct config_address){.text = word("127.0.0.1:80")};
	*c = (struct config){.tokens = tokens,
	    .token_count = 1,
	    .database_issuer = word("i"),
	    .database_front = word("f"),
	    .front = {.unix_path = word("/s"), .http = http, .http_count = 1},
	    .issuer = {.signer_id = 1, .batch = 64}};
}

/* Makes a change in a copy and tells who is concerned. */
#define CHANGES(change, token, issuer, front)                             \
	do {                                                              \
		init_config(&a, at, &av, &ap, &ah);                       \
		init_config(&b, bt, &bv, &bp, &bh);                       \
		change;                                                   \
		assert_int_equal(change_of_token(&at[0], &bt[0]), token); \
		assert_int_equal(change_of_issuer(&a, &b), issuer);       \
		assert_int_equal(change_of_front(&a, &b), front);         \
	} while (0)

static void
a_change_concerns_whom_it_concerns(void **state)
{
	struct config_pin_operator ap, bp;
	struct config_variable av, bv;
	struct config_address ah, bh;
	struct config_token at[2], bt[2];
	struct config_publish_dir www = {.path = word("/srv"), .user = {.name = "www", .uid = 5}},
				  away = www, web = www, member = www;
	struct config_publish_dirs dirs = {&www, 1}, moved = {&away, 1}, given = {&web, 1},
				   joined = {&member, 1};
	struct config a, b;

	away.path = word("/opt");
	(void)snprintf(web.user.name, sizeof web.user.name, "web");
	member.user.groups[member.user.group_count++] = 7;
	CHANGES(b.log_level = LOG_LEVEL_DEBUG, false, false, false);
	CHANGES(b.drain_timeout_s = 7, false, false, false);
	CHANGES(b.database_owner = word("o"), false, false, false);
	CHANGES(b.database_issuer = word("o"), false, true, false);
	CHANGES(b.database_front = word("o"), false, false, true);
	CHANGES(bt[0].module = word("/n.so"), true, false, false);
	CHANGES(bt[0].select_by = CONFIG_SELECT_URI, true, false, false);
	CHANGES(bt[0].select = word("y"), true, false, false);
	CHANGES(
	    bt[0].others = ((struct config_paths){(char *[]){word("z")}, 1}), true, false, false);
	CHANGES(bt[0].spread = true, true, false, false);
	CHANGES((bt[0].pin_file = NULL, bt[0].pin_credential = word("p")), true, false, false);
	CHANGES(bt[0].access = CONFIG_ACCESS_SESSION, true, false, false);
	CHANGES(bt[0].pin_operator_count = 0, true, false, false);
	CHANGES(bp.name = word("bob"), true, false, false);
	CHANGES(bp.key = word("/bob.pem"), true, false, false);
	CHANGES(bt[0].session_max_s = 1, true, false, false);
	CHANGES(bt[0].session_idle_max_s = 1, true, false, false);
	CHANGES(bt[0].session_signatures_max = 1, true, false, false);
	CHANGES(bt[0].user_type = 2147483648, true, false, false);
	CHANGES(bt[0].threads = 5, true, false, false);
	CHANGES(bt[0].call_timeout_s = 5, true, false, false);
	CHANGES(bt[0].crl_lease_s = 5, true, false, false);
	CHANGES(bv.value = word("c"), true, false, false);
	CHANGES(bt[0].environment_count = 0, true, false, false);
	CHANGES(bt[0].name = word("other"), true, true, false);
	CHANGES(b.token_count = 2, false, true, false);
	CHANGES(b.issuer.batch = 1, false, true, false);
	CHANGES(b.issuer.crl_abstract_from = 1, false, true, false);
	CHANGES(b.issuer.signer_id = 2, false, true, false);
	CHANGES(b.issuer.ca_file = word("/ca"), false, true, false);
	CHANGES(b.issuer.krb5_config = word("/krb5"), false, true, false);
	CHANGES(b.issuer.credentials_dir = word("/c"), false, true, false);
	CHANGES(b.issuer.commands_dir = word("/c"), false, true, false);
	CHANGES(b.issuer.publish_dirs = dirs, false, true, false);
	CHANGES((a.issuer.publish_dirs = b.issuer.publish_dirs = dirs), false, false, false);
	assert_false(change_of_writer(&a, &b, "www"));
	assert_true(change_of_writer(&a, &b, "web"));
	CHANGES((a.issuer.publish_dirs = dirs, b.issuer.publish_dirs = moved), false, true, false);
	assert_true(change_of_writer(&a, &b, "www"));
	CHANGES((a.issuer.publish_dirs = dirs, b.issuer.publish_dirs = given), false, true, false);
	assert_true(change_of_writer(&a, &b, "www"));
	/* The same name, and somebody else: nothing for the issuer, who knows the name only. */
	CHANGES(
	    (a.issuer.publish_dirs = dirs, b.issuer.publish_dirs = joined), false, false, false);
	assert_true(change_of_writer(&a, &b, "www"));
	CHANGES(b.front.unix_path = NULL, false, false, true);
	CHANGES(b.front.unix_mode = 0600, false, false, false);
	CHANGES(b.front.http_count = 0, false, false, true);
	CHANGES(bh.text = word("127.0.0.1:81"), false, false, true);
}

static int
set_up(void **state)
{
	return mkdtemp(dir) == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sockets_are_opened_and_named),
	    cmocka_unit_test(what_is_in_use_is_left_alone),
	    cmocka_unit_test(open_sockets_survive_a_change),
	    cmocka_unit_test(a_state_directory_has_one_owner),
	    cmocka_unit_test(json_strings),
	    cmocka_unit_test(parts_are_found_beside_the_program),
	    cmocka_unit_test(a_change_concerns_whom_it_concerns),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
