/* The configuration file: a good one, every way to be wrong, the manual. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/config.h"

#define MANUAL "daemon/man/chanceryd.conf.5"
#define EXAMPLE "daemon/chanceryd.yaml.example"

/* Directory of the test; '~' in a configuration stands for it. */
static char dir[] = "/tmp/chancery-config-XXXXXX";

static const char *
in_dir(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void
write_file(const char *name, const char *text, size_t len, mode_t mode)
{
	FILE *f;

	(void)unlink(in_dir(name));
	f = fopen(in_dir(name), "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(in_dir(name), mode), 0);
}

static const char good[] = "state_dir: ~/state\n"				       /* 1 */
			   "log_level: debug\n"					       /* 2 */
			   "drain_timeout: 2m\n"				       /* 3 */
			   "database:\n"					       /* 4 */
			   "  owner: \"dbname=x user=owner\"\n"			       /* 5 */
			   "  issuer: \"dbname=x user=issuer\"\n"		       /* 6 */
			   "  front: \"dbname=x user=front\"\n"			       /* 7 */
			   "tokens:\n"						       /* 8 */
			   "  - name: main\n"					       /* 9 */
			   "    module: ~/module.so\n"				       /* 10 */
			   "    select: {label: \"chancery\"}\n"		       /* 11 */
			   "    pin_file: ~/pin\n"				       /* 12 */
			   "    threads: 8\n"					       /* 13 */
			   "    environment: {SOFTHSM2_CONF: /x, P11_2: y}\n"	       /* 14 */
			   "  - name: second-1\n"				       /* 15 */
			   "    module: ~/module.so\n"				       /* 16 */
			   "    select: {uri: \"pkcs11:token=x\"}\n"		       /* 17 */
			   "    pin_credential: hsm-pin\n"			       /* 18 */
			   "front:\n"						       /* 19 */
			   "  unix: {path: ~/api.sock, mode: \"0600\", group: root}\n" /* 20 */
			   "  http: [\"127.0.0.1:0\", \"[::1]:8080\"]\n"	       /* 21 */
			   "  https:\n"						       /* 22 */
			   "    - listen: \"0.0.0.0:8443\"\n"			       /* 23 */
			   "      certificate: ~/tls.pem\n"			       /* 24 */
			   "      key: ~/pin\n"					       /* 25 */
			   "issuer:\n"						       /* 26 */
			   "  signer_id: 65535\n"				       /* 27 */
			   "  batch: 256\n"					       /* 28 */
			   "  credentials_dir: ~/state\n"			       /* 29 */
			   "  ca_file: ~/tls.pem\n"				       /* 30 */
			   "  publish_dirs: [/srv/pki, ~]\n"			       /* 31 */
			   "separation: none\n"					       /* 32 */
			   "sandbox: require\n";				       /* 33 */

/* Writes c.yaml: the text with '~' filled in, and with what stands after the
 * indentation (and "- ") of line number `line` replaced. */
static void
write_config(const char *text, unsigned line, const char *instead, mode_t mode)
{
	static char out[300 * 1024];
	size_t used = 0;
	unsigned at = 1;

	for (const char *p = text; *p != '\0'; p++) {
		bool start = p == text || p[-1] == '\n';

		if (start && at == line && instead != NULL) {
			size_t indent = strspn(p, " -");

			if (instead[0] != '\0')
				used += (size_t)snprintf(
				    out + used, sizeof out - used, "%.*s", (int)indent, p);
			for (const char *i = instead; *i != '\0'; i++)
				used += (size_t)snprintf(out + used, sizeof out - used,
				    *i == '~' ? "%s" : "%.1s", *i == '~' ? dir : i);
			p = strchr(p, '\n');
		}
		used += (size_t)snprintf(
		    out + used, sizeof out - used, *p == '~' ? "%s" : "%.1s", *p == '~' ? dir : p);
		at += *p == '\n';
	}
	write_file("c.yaml", out, used, mode);
}

static void
a_good_file_is_read_whole(void **state)
{
	const struct sockaddr_in6 *in6;
	struct error err = ERROR_INIT;
	struct config cfg;

	write_config(good, 0, NULL, 0644);
	if (!config_load(in_dir("c.yaml"), &cfg, &err))
		fail_msg("%s", err.text);
	assert_string_equal(cfg.path, in_dir("c.yaml"));
	assert_string_equal(cfg.state_dir, in_dir("state"));
	assert_int_equal(cfg.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(cfg.drain_timeout_s, 120);
	assert_string_equal(cfg.database_owner, "dbname=x user=owner");
	assert_string_equal(cfg.database_issuer, "dbname=x user=issuer");
	assert_string_equal(cfg.database_front, "dbname=x user=front");

	assert_int_equal(cfg.token_count, 2);
	assert_ptr_equal(config_find_token(&cfg, "main"), &cfg.tokens[0]);
	assert_null(config_find_token(&cfg, "mai"));
	assert_string_equal(cfg.tokens[0].module, in_dir("module.so"));
	assert_int_equal(cfg.tokens[0].select_by, CONFIG_SELECT_LABEL);
	assert_string_equal(cfg.tokens[0].select, "chancery");
	assert_string_equal(cfg.tokens[0].pin_file, in_dir("pin"));
	assert_null(cfg.tokens[0].pin_credential);
	assert_int_equal(cfg.tokens[0].threads, 8);
	assert_int_equal(cfg.tokens[0].environment_count, 2);
	assert_string_equal(cfg.tokens[0].environment[1].name, "P11_2");
	assert_string_equal(cfg.tokens[0].environment[1].value, "y");
	assert_int_equal(cfg.tokens[1].select_by, CONFIG_SELECT_URI);
	assert_string_equal(cfg.tokens[1].pin_credential, "hsm-pin");
	assert_int_equal(cfg.tokens[1].threads, 4);
	assert_int_equal(cfg.tokens[1].call_timeout_s, 30);
	assert_int_equal(cfg.tokens[1].crl_lease_s, 60);

	assert_string_equal(cfg.front.unix_path, in_dir("api.sock"));
	assert_int_equal(cfg.front.unix_mode, 0600);
	assert_int_equal(cfg.front.unix_gid, 0);
	assert_int_equal(cfg.front.http_count, 2);
	assert_int_equal(cfg.front.http[0].addr.ss_family, AF_INET);
	in6 = (const struct sockaddr_in6 *)&cfg.front.http[1].addr;
	assert_int_equal(in6->sin6_family, AF_INET6);
	assert_int_equal(ntohs(in6->sin6_port), 8080);
	assert_int_equal(cfg.front.https_count, 1);
	assert_string_equal(cfg.front.https[0].listen.text, "0.0.0.0:8443");
	assert_string_equal(cfg.front.https[0].key, in_dir("pin"));
	assert_int_equal(cfg.issuer.signer_id, 65535);
	assert_int_equal(cfg.issuer.batch, 256);
	assert_int_equal(cfg.separation, CONFIG_SEPARATION_NONE);
	assert_int_equal(cfg.sandbox, SANDBOX_REQUIRE);
	assert_int_equal(cfg.issuer.publish_dirs.count, 2);
	assert_string_equal(cfg.issuer.publish_dirs.items[0].path, "/srv/pki");
	assert_string_equal(cfg.issuer.publish_dirs.items[1].path, dir);
	config_free(&cfg);
	config_free(&cfg);
}

static void
defaults_and_absent_parts(void **state)
{
	static const char small[] =
	    "state_dir: ~/new\n"
	    "database: {issuer: \"a=b\", front: \"a=b\"}\n"
	    "tokens: [{name: a, module: ~/module.so, select: {serial: \"1\"}, "
	    "pin_file: ~/pin}]\n"
	    "front: {http: [\"127.0.0.1:0\", \"127.0.0.1:0\"]}\n"
	    "issuer: {signer_id: 1}\n"
	    "separation: none\n";
	struct error err = ERROR_INIT;
	struct config cfg;
	char here[256];

	write_config(small, 0, NULL, 0600);
	assert_non_null(getcwd(here, sizeof here));
	assert_int_equal(chdir(dir), 0);
	if (!config_load("c.yaml", &cfg, &err))
		fail_msg("%s", err.text);
	assert_int_equal(chdir(here), 0);
	assert_string_equal(cfg.path, in_dir("c.yaml"));
	assert_int_equal(cfg.log_level, LOG_LEVEL_INFO);
	assert_int_equal(cfg.drain_timeout_s, 30);
	assert_int_equal(cfg.issuer.batch, 256);
	assert_null(cfg.database_owner);
	assert_null(cfg.front.unix_path);
	assert_null(cfg.issuer.ca_file);
	assert_int_equal(cfg.sandbox, SANDBOX_BEST_EFFORT);
	assert_int_equal(cfg.issuer.publish_dirs.count, 0);
	assert_int_equal(cfg.tokens[0].profile, SANDBOX_MODULE);
	assert_false(cfg.tokens[0].network || cfg.tokens[0].unix_sockets);
	assert_int_equal(cfg.tokens[0].writable.count, 0);
	config_free(&cfg);
}

/* What a module may do; and SoftHSM known by its file's name, also behind a link. */
static void
tokens_say_what_their_modules_need(void **state)
{
	static const struct {
		const char *module;
		enum sandbox_profile profile;
	} cases[] = {
	    {"module: ~/libsofthsm2.so", SANDBOX_SOFTHSM},
	    {"module: ~/link.so", SANDBOX_SOFTHSM},
	    {"module: ~/libsofthsm2.so\n    profile: module", SANDBOX_MODULE},
	    {"module: ~/module.so\n    profile: softhsm", SANDBOX_SOFTHSM},
	    {"module: ~/module.so\n    network: true\n    unix_sockets: true\n"
	     "    writable: [/opt/a, /opt/b]",
		SANDBOX_MODULE},
	};
	struct error err = ERROR_INIT;
	struct config cfg;

	write_file("libsofthsm2.so", "\177ELF and so on", 14, 0644);
	assert_int_equal(symlink("libsofthsm2.so", in_dir("link.so")), 0);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		write_config(good, 10, cases[i].module, 0644);
		if (!config_load(in_dir("c.yaml"), &cfg, &err))
			fail_msg("%s", err.text);
		assert_int_equal(cfg.tokens[0].profile, cases[i].profile);
		if (i == COUNT_OF(cases) - 1) {
			assert_true(cfg.tokens[0].network && cfg.tokens[0].unix_sockets);
			assert_int_equal(cfg.tokens[0].writable.count, 2);
			assert_string_equal(cfg.tokens[0].writable.items[1], "/opt/b");
		}
		config_free(&cfg);
	}
}

/* Persons, and what an unlock may be. */
static void
access_by_persons(void **state)
{
	const struct config_token *t;
	struct error err = ERROR_INIT;
	struct config cfg;

	write_config(good, 12,
	    "access: session\n    pin_operators:\n      - {name: alice, key: ~/tls.pem}\n"
	    "      - {name: bob, key: MCowBQYDK2VwAyEA}\n    session_max: 2h\n"
	    "    session_idle_max: 10m\n    session_signatures_max: 500\n"
	    "    user_type: 2147483649",
	    0644);
	if (!config_load(in_dir("c.yaml"), &cfg, &err))
		fail_msg("%s", err.text);
	t = &cfg.tokens[0];
	assert_int_equal(t->access, CONFIG_ACCESS_SESSION);
	assert_null(t->pin_file);
	assert_int_equal(t->pin_operator_count, 2);
	assert_string_equal(t->pin_operators[0].name, "alice");
	assert_string_equal(t->pin_operators[0].key, in_dir("tls.pem"));
	assert_string_equal(t->pin_operators[1].key, "MCowBQYDK2VwAyEA");
	assert_int_equal(t->session_max_s, 7200);
	assert_int_equal(t->session_idle_max_s, 600);
	assert_int_equal(t->session_signatures_max, 500);
	assert_int_equal(t->user_type, 2147483649);
	t = &cfg.tokens[1];
	assert_int_equal(t->access, CONFIG_ACCESS_AUTO);
	assert_int_equal(t->pin_operator_count, 0);
	assert_int_equal(t->user_type, 1);
	config_free(&cfg);
}

static void check_refused(const char *words);

/* What root is asked, and what only root can have. */
static void
users_for_the_roles(void **state)
{
	struct error err = ERROR_INIT;
	struct config cfg;
	bool root = geteuid() == 0;

	write_config(good, 32, "", 0644);
	if (root) {
		check_refused("'separation': is missing, and this is root");
	} else {
		assert_true(config_load(in_dir("c.yaml"), &cfg, &err));
		assert_int_equal(cfg.separation, CONFIG_SEPARATION_UNSET);
		config_free(&cfg);
	}
	write_config(good, 32,
	    "separation: {signer: \"47001:47001\", issuer: \"47002:5\", front: \"47003:6\"}", 0644);
	/* A role knows who it is, and does not ask who the others are. */
	assert_true(config_load_for_role(in_dir("c.yaml"), &cfg, &err));
	assert_int_equal(cfg.separation, CONFIG_SEPARATION_USERS);
	config_free(&cfg);
	if (!root) {
		check_refused("only root can give each role a user of its own");
		return;
	}
	check_refused("'tokens[0].pin_file'");
	assert_int_equal(chown(in_dir("pin"), 47001, 47001), 0);
	check_refused("'front.https[0].key'"); /* the same file, and one role's only */
	write_config(good, 32,
	    "separation: {signer: \"47001:47001\", issuer: \"47001:5\", front: \"47003:6\"}", 0644);
	check_refused("the user of the signer as well");
	assert_int_equal(chown(in_dir("pin"), 0, 0), 0);
}

/* The user to whom published files belong. */
static void
users_for_published_files(void **state)
{
	static const char with[] =
	    "state_dir: ~/state\n"
	    "separation: {signer: \"47001:47001\", issuer: \"47002:5\", front: \"47003:6\"}\n"
	    "database: {issuer: \"a=b\", front: \"a=b\"}\n"
	    "tokens: [{name: a, module: ~/module.so, select: {serial: \"1\"}, user: \"47004:4\", "
	    "pin_credential: p}]\n"
	    "front: {http: [\"127.0.0.1:0\"]}\n"
	    "issuer:\n"
	    "  signer_id: 1\n"
	    "  publish_dirs: [/srv, {path: ~, user: \"47005:7\"}]\n"; /* 8 */
	static const struct {
		const char *user, *words;
	} wrong[] = {
	    {"\"47002:7\"", "the user of the issuer, who writes there without"},
	    {"\"47003:7\"", "the user of the front"},
	    {"\"47001:7\"", "the user of the signers"},
	    {"\"47004:7\"", "the user of a signer"},
	    {"root", "is root"},
	    {"\"47005:0\"", "has root's group"},
	    {"no-such-user", "is no user of this host"},
	    {"\"two words\"", "allowed: 1 to 32 of"},
	    {"a23456789012345678901234567890123", "allowed: 1 to 32 of"},
	};
	struct error err = ERROR_INIT;
	struct config cfg;
	char line[256];

	write_config(with, 0, NULL, 0644);
	assert_true(config_load_for_role(in_dir("c.yaml"), &cfg, &err));
	assert_int_equal(cfg.issuer.publish_dirs.count, 2);
	assert_string_equal(cfg.issuer.publish_dirs.items[0].user.name, "");
	assert_string_equal(cfg.issuer.publish_dirs.items[1].path, dir);
	assert_ptr_equal(
	    config_find_writer(&cfg, "47005:7"), &cfg.issuer.publish_dirs.items[1].user);
	assert_null(config_find_writer(&cfg, ""));
	assert_null(config_find_writer(&cfg, "47005"));
	config_free(&cfg);
	if (geteuid() != 0)
		return;
	if (!config_load(in_dir("c.yaml"), &cfg, &err))
		fail_msg("%s", err.text);
	assert_int_equal(config_find_writer(&cfg, "47005:7")->uid, 47005);
	config_free(&cfg);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		(void)snprintf(
		    line, sizeof line, "publish_dirs: [{path: /srv, user: %s}]", wrong[i].user);
		write_config(with, 8, line, 0644);
		check_refused(wrong[i].words);
	}
}

/* Each line of the good file made wrong: the line reported, words to be found. */
static const struct {
	unsigned line;
	const char *instead;
	unsigned reported;
	const char *words, *allowed;
} mistakes[] = {
    {1, "state_dir: relative", 1, "'state_dir'", "begins with '/'"},
    {1, "state_dir: [a]", 1, "'state_dir'", "a list"},
    {1, "state_dir: ~/open", 1, "'state_dir'", "0700"},
    {1, "state_dir: ~/pin", 1, "'state_dir'", "no directory"},
    {1, "state_dir: ~/a/b", 1, "'state_dir'", "does not exist"},
    {1, "", 2, "'state_dir'", "missing"},
    {2, "log_level: loud", 2, "'log_level'", "error, warning, info, debug"},
    {3, "drain_timeout: 0s", 3, "'drain_timeout'", "1s"},
    {3, "drain_timeout: 11m", 3, "'drain_timeout'", "10m"},
    {3, "drain_timeout: 30", 3, "'drain_timeout'", "allowed"},
    {3, "drain_timout: 30s", 3, "'drain_timout'", "drain_timeout"},
    {5, "ower: \"x\"", 5, "'database.ower'", "owner, issuer, front"},
    {6, "isuer: \"x\"", 5, "'database.issuer'", "isuer"},
    {7, "front: 3.5\n  front: x", 8, "front", "twice"},
    {8, "tokens: []\nx:", 8, "'tokens'", "1 to 16"},
    {9, "name: Main", 9, "'tokens[0].name'", "a-z"},
    {9, "name: a23456789012345678901234567890123", 9, "'tokens[0].name'", "1 to 32"},
    {10, "module: ~/nothing.so", 10, "'tokens[0].module'", "PKCS#11 module"},
    {10, "module: ~/tls.pem", 10, "'tokens[0].module'", "shared library"},
    {10, "module: ~", 10, "'tokens[0].module'", "regular file"},
    {10, "module: libsofthsm2.so", 10, "'tokens[0].module'", "begins with '/'"},
    {11, "select: {slot: 1}", 11, "'tokens[0].select.slot'", "label, serial, uri"},
    {11, "select: {}", 11, "'tokens[0].select'", "exactly one of label, serial, uri"},
    {11, "select: {label: a, serial: b}", 11, "'tokens[0].select'", "exactly one"},
    {11, "select: {uri: \"token=x\"}", 11, "'tokens[0].select.uri'", "pkcs11:"},
    {11, "select: chancery", 11, "'tokens[0].select'", "mapping"},
    {11, "select: {label: [a, b, a]}", 11, "'tokens[0].select.label[2]'", "named twice"},
    {11, "select: {label: [1, 2, 3, 4, 5, 6, 7, 8, 9]}", 11, "'tokens[0].select.label'", "1 to 8"},
    {11, "select: {label: []}", 11, "'tokens[0].select.label'", "1 to 8"},
    {11, "select: {uri: [\"pkcs11:token=a\", b]}", 11, "'tokens[0].select.uri[1]'", "pkcs11:"},
    {11, "select: {label: a}\n    spread: true", 12, "'tokens[0].spread'", "names several"},
    {12, "pin_file: ~/pin\n    pin_credential: x", 13, "pin_credential", "exactly one of"},
    {12, "pin_file: ~/none", 12, "'tokens[0].pin_file'", "No such file"},
    {12, "pin_file: ~/pin-open", 12, "'tokens[0].pin_file'", "chmod 0600"},
    {12, "pin_file: ~/pin-link", 12, "'tokens[0].pin_file'", "symbolic link"},
    {12, "pin_file: ~/pipe", 12, "'tokens[0].pin_file'", "no regular file"},
    {12, "pin_file: ~/state", 12, "'tokens[0].pin_file'", "no regular file"},
    {12, "", 9, "'tokens[0].pin_file'", "exactly one of pin_file, pin_credential"},
    {12, "pin_file: ~/pin\n    user: nobody", 13, "'tokens[0].user'",
	"only where separation gives each role a user"},
    {12, "access: sometimes", 12, "'tokens[0].access'", "auto, session, operation"},
    {12, "access: session", 9, "'tokens[0].pin_operators'", "is missing"},
    {12, "access: session\n    pin_file: ~/pin\n    pin_operators: [{name: a, key: x}]", 13,
	"'tokens[0].pin_file'", "only with access: auto"},
    {12, "pin_file: ~/pin\n    pin_operators: [{name: a, key: x}]", 13, "'tokens[0].pin_operators'",
	"allowed there only"},
    {12, "access: operation\n    pin_operators: []", 13, "'tokens[0].pin_operators'", "1 to 32"},
    {12, "access: operation\n    pin_operators: [{name: a b, key: x}]", 13,
	"'tokens[0].pin_operators[0].name'", "no name of a person"},
    {12, "access: operation\n    pin_operators: [{name: a}]", 13,
	"'tokens[0].pin_operators[0].key'", "missing"},
    {12, "access: operation\n    pin_operators: [{name: a, key: ~/none}]", 13,
	"'tokens[0].pin_operators[0].key'", "No such file"},
    {12, "access: operation\n    pin_operators: [{name: a, key: x}]\n    session_max: 1h", 14,
	"'tokens[0].session_max'", "only with access: session"},
    {12, "access: session\n    pin_operators: [{name: a, key: x}]\n    session_max: 0s", 14,
	"'tokens[0].session_max'", "allowed"},
    {12, "pin_file: ~/pin\n    user_type: 2", 13, "'tokens[0].user_type'", "CKU_USER"},
    {17,
	"select: {label: chancery}\n    access: session\n    pin_operators: [{name: a, key: "
	"x}]\n    environment: {A: b}\n    threads: 1\n  - name: third\n    module: ~/module.so\n  "
	"  select: {label: x}",
	18, "'tokens[1].access'", "the looser one undoes the other"},
    {13, "threads: 0", 13, "'tokens[0].threads'", "from 1 to 64"},
    {13, "threads: 65", 13, "'tokens[0].threads'", "from 1 to 64"},
    {13, "crl_lease: 25h", 13, "'tokens[0].crl_lease'", "from 1s"},
    {13, "threads: four", 13, "'tokens[0].threads'", "from 1 to 64"},
    {13, "call_timeout: 0s", 13, "'tokens[0].call_timeout'", "1s"},
    {13, "call_timeout: 2h", 13, "'tokens[0].call_timeout'", "1h"},
    {14, "environment: {A=B: x}", 14, "environment", "letters, digits, '_'"},
    {14, "environment: {1A: x}", 14, "environment", "letters, digits, '_'"},
    {14, "environment: {A: [x]}", 14, "'tokens[0].environment.A'", "allowed"},
    {15, "name: main", 15, "'tokens[1].name'", "two tokens"},
    {18, "pin_credential: ../pin", 18, "'tokens[1].pin_credential'", "without '/'"},
    {19, "front: {}\nx:", 19, "'front'", "at least one of unix, http, https"},
    {20, "unix: {path: ~/api.sock, mode: \"660\"}", 20, "'front.unix.mode'", "0660"},
    {20, "unix: {path: ~/api.sock, mode: \"0999\"}", 20, "'front.unix.mode'", "0660"},
    {20, "unix: {path: ~/api.sock, group: no-such-group}", 20, "'front.unix.group'",
	"does not exist"},
    {20, "unix: {mode: \"0660\"}", 20, "'front.unix.path'", "missing"},
    {20,
	"unix: {path: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
	20, "'front.unix.path'", "107 bytes"},
    {21, "http: [\"localhost:80\"]", 21, "'front.http[0]'", "127.0.0.1:8080"},
    {21, "http: \"127.0.0.1:80\"", 21, "'front.http'", "a list"},
    {21, "http: [\"127.0.0.1:0\", \"127.0.0.1:80\", \"127.0.0.1:80\"]", 21, "'front.http[2]'",
	"twice"},
    {23, "listen: \"[::1]:8080\"", 23, "'front.https[0].listen'", "twice"},
    {24, "certificate: ~/none", 24, "'front.https[0].certificate'", "No such file"},
    {25, "key: ~/pin-open", 25, "'front.https[0].key'", "chmod 0600"},
    {25, "kye: ~/pin", 23, "'front.https[0].key'", "kye"},
    {27, "signer_id: 0", 27, "'issuer.signer_id'", "from 1 to 65535"},
    {27, "signer_id: 65536", 27, "'issuer.signer_id'", "from 1 to 65535"},
    {27, "", 28, "'issuer.signer_id'", "missing"},
    {28, "batch: 257", 28, "'issuer.batch'", "from 1 to 256"},
    {29, "credentials_dir: ~/pin", 29, "'issuer.credentials_dir'", "no directory"},
    {29, "credentials_dir: ~/none", 29, "'issuer.credentials_dir'", "No such file"},
    {30, "ca_file: ~/none", 30, "'issuer.ca_file'", "No such file"},
    {30, "\tca_file: x", 30, "", ""},
    {31, "publish_dirs: [srv]", 31, "'issuer.publish_dirs[0]'", "begins with '/'"},
    {31, "publish_dirs: /srv", 31, "'issuer.publish_dirs'", "a list"},
    {31, "publish_dirs: [{path: srv}]", 31, "'issuer.publish_dirs[0].path'", "begins with '/'"},
    {31, "publish_dirs: [{user: a}]", 31, "'issuer.publish_dirs[0].path'", "missing"},
    {31, "publish_dirs: [[/srv]]", 31, "'issuer.publish_dirs[0]'", "mapping"},
    {31, "publish_dirs: [{path: /srv, user: a}]", 31, "'issuer.publish_dirs[0].user'",
	"only where root starts the daemon"},
    {32, "separation: some", 32, "'separation'", "none, or users"},
    {32, "separation: [a]", 32, "'separation'", "mapping"},
    {33, "sandbox: maybe", 33, "'sandbox'", "require, best-effort, off"},
    {13, "profile: hsm", 13, "'tokens[0].profile'", "softhsm, module"},
    {13, "network: 1", 13, "'tokens[0].network'", "true"},
    {13, "writable: [a/b]", 13, "'tokens[0].writable[0]'", "begins with '/'"},
};

static void
each_mistake_is_named_with_its_place(void **state)
{
	char place[600];
	struct config cfg;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
		err = ERROR_INIT;
		write_config(good, mistakes[i].line, mistakes[i].instead, 0644);
		if (config_load(in_dir("c.yaml"), &cfg, &err))
			fail_msg("%s was taken", mistakes[i].instead);
		(void)snprintf(
		    place, sizeof place, "%s:%u:", in_dir("c.yaml"), mistakes[i].reported);
		if (err.code != ERROR_CONFIG || strncmp(err.text, place, strlen(place)) != 0 ||
		    strstr(err.text, mistakes[i].words) == NULL ||
		    strstr(err.text, mistakes[i].allowed) == NULL)
			fail_msg("%s: %s", mistakes[i].instead, err.text);
		assert_null(cfg.path);
		assert_int_equal(cfg.token_count, 0);
	}
}

static void
check_refused(const char *words)
{
	struct error err = ERROR_INIT;
	struct config cfg;

	assert_false(config_load(in_dir("c.yaml"), &cfg, &err));
	assert_int_equal(err.code, ERROR_CONFIG);
	if (strstr(err.text, words) == NULL || strstr(err.text, "c.yaml") == NULL)
		fail_msg("%s", err.text);
}

static void
the_file_itself_has_rules(void **state)
{
	struct error err = ERROR_INIT;
	struct config cfg;

	write_config(good, 0, NULL, 0664);
	check_refused("chmod go-w");
	write_config(good, 0, NULL, 0646);
	check_refused("chmod go-w");
	assert_int_equal(unlink(in_dir("c.yaml")), 0);
	check_refused("No such file");
	assert_int_equal(mkdir(in_dir("c.yaml"), 0700), 0);
	check_refused("no regular file");
	assert_int_equal(rmdir(in_dir("c.yaml")), 0);
	assert_int_equal(mkfifo(in_dir("c.yaml"), 0600), 0);
	check_refused("no regular file");

	write_config(good, 6, "issuer: \"user=x password=y\"", 0644);
	check_refused("chmod o-rwx");
	write_config(good, 6, "issuer: \"postgresql://x:y@host/db\"", 0644);
	check_refused("chmod o-rwx");
	write_config(good, 6, "issuer: \"user=x password=y\"", 0640);
	assert_true(config_load(in_dir("c.yaml"), &cfg, &err));
	config_free(&cfg);

	write_config(good, 0, NULL, 0600);
	if (geteuid() == 0) {
		assert_int_equal(chown(in_dir("c.yaml"), 12345, 0), 0);
		check_refused("uid 12345");
		assert_int_equal(chown(in_dir("c.yaml"), 0, 0), 0);
		assert_int_equal(chown(in_dir("pin"), 12345, 0), 0);
		check_refused("uid 12345");
		assert_int_equal(chown(in_dir("pin"), 0, 0), 0);
	}
	/* A role does not look at files that others use. */
	assert_int_equal(chmod(in_dir("pin"), 0644), 0);
	check_refused("chmod 0600");
	assert_true(config_load_for_role(in_dir("c.yaml"), &cfg, &err));
	config_free(&cfg);
	assert_int_equal(chmod(in_dir("pin"), 0600), 0);
}

static void
addresses(void **state)
{
	static const char *const bad[] = {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
	    "127.0.0.1:99999999999", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:080",
	    "127.0.0.1:80 ", "127.1:80", "::1:80", "[::1]", "[::1:80", "[127.0.0.1]:80", "*:80",
	    "[fe80::1%eth0]:80",
	    "[00000000000000000000000000000000000000000000000000000000000000000000000]:80"};
	static const char *const fine[] = {
	    "0.0.0.0:0", "255.255.255.255:65535", "[::]:80", "[2001:db8::192.0.2.1]:443"};
	struct config_address a;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err = ERROR_INIT;
		if (config_parse_address(bad[i], &a, &err))
			fail_msg("%s was taken", bad[i]);
		assert_int_equal(err.code, ERROR_CONFIG);
	}
	for (size_t i = 0; i < COUNT_OF(fine); i++) {
		err = ERROR_INIT;
		assert_true(config_parse_address(fine[i], &a, &err));
		assert_string_equal(a.text, fine[i]);
		free(a.text);
	}
}

/* ---- manual and example */

static char *
slurp(const char *path)
{
	char *text = calloc(1, 64 * 1024);
	FILE *f = fopen(path, "r");

	if (f == NULL)
		fail_msg("%s: run the test from the top of the source tree", path);
	assert_non_null(text);
	assert_true(fread(text, 1, 64 * 1024 - 1, f) > 0);
	(void)fclose(f);
	return text;
}

static void
a_group_names_its_tokens(void **state)
{
	struct error err = ERROR_INIT;
	struct config cfg;

	write_config(good, 11, "select: {serial: [one, two, three]}\n    spread: true", 0644);
	if (!config_load(in_dir("c.yaml"), &cfg, &err))
		fail_msg("%s", err.text);
	assert_int_equal(cfg.tokens[0].select_by, CONFIG_SELECT_SERIAL);
	assert_string_equal(cfg.tokens[0].select, "one");
	assert_int_equal(cfg.tokens[0].others.count, 2);
	assert_string_equal(cfg.tokens[0].others.items[1], "three");
	assert_true(cfg.tokens[0].spread);
	assert_false(cfg.tokens[1].spread);
	config_free(&cfg);
}

static void
the_example_is_good(void **state)
{
	char *text = slurp(EXAMPLE);
	struct error err = ERROR_INIT;
	struct config cfg;

	write_file("c.yaml", text, strlen(text), 0644);
	if (!config_load_for_role(in_dir("c.yaml"), &cfg, &err))
		fail_msg("%s", err.text);
	assert_string_equal(cfg.front.unix_path, "/run/chancery/api.sock");
	config_free(&cfg);
	free(text);
}

/* Where to put an unknown key so that the error lists what its mapping knows. */
static const struct {
	unsigned line;
	const char *instead, *prefix;
} mappings[] = {
    {2, "zzz: 1", ""},
    {5, "zzz: 1", "database."},
    {13, "zzz: 1", "tokens[]."},
    {11, "select: {label: a, zzz: 1}", "tokens[].select."},
    {12, "access: session\n    pin_operators: [{name: a, key: x, zzz: 1}]",
	"tokens[].pin_operators[]."},
    {21, "zzz: 1", "front."},
    {20, "unix: {path: ~/api.sock, zzz: 1}", "front.unix."},
    {25, "key: ~/pin\n      zzz: 1", "front.https[]."},
    {28, "zzz: 1", "issuer."},
    {31, "publish_dirs: [{path: /srv, zzz: 1}]", "issuer.publish_dirs[]."},
    {32, "separation: {signer: a, issuer: b, front: c, zzz: 1}", "separation."},
};

static void
every_key_is_in_the_manual(void **state)
{
	char *manual = slurp(MANUAL), *list, *save, entry[256];
	size_t keys = 0, items = 0;
	struct config cfg;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(mappings); i++) {
		err = ERROR_INIT;
		write_config(good, mappings[i].line, mappings[i].instead, 0644);
		assert_false(config_load_for_role(in_dir("c.yaml"), &cfg, &err));
		list = strstr(err.text, "unknown key; allowed: ");
		if (list == NULL)
			fail_msg("%s", err.text);
		list += strlen("unknown key; allowed: ");
		for (char *k = strtok_r(list, ", ", &save); k != NULL;
		     k = strtok_r(NULL, ", ", &save)) {
			(void)snprintf(
			    entry, sizeof entry, "\n.It Ic %s%s\n", mappings[i].prefix, k);
			if (strstr(manual, entry) == NULL)
				fail_msg("%s lacks key %s%s", MANUAL, mappings[i].prefix, k);
			keys++;
		}
	}
	for (const char *p = manual; (p = strstr(p, "\n.It Ic ")) != NULL; p++)
		items++;
	/* And the manual has no key that does not exist. */
	assert_int_equal(items, keys);
	free(manual);
}

static int
set_up(void **state)
{
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) != 0)
		return -1;
	if (mkdir(in_dir("state"), 0700) != 0 || mkdir(in_dir("open"), 0755) != 0 ||
	    mkfifo(in_dir("pipe"), 0600) != 0)
		return -1;
	write_file("module.so", "\177ELF and so on", 14, 0644);
	write_file("pin", "1234\n", 5, 0600);
	write_file("pin-open", "1234\n", 5, 0640);
	write_file("tls.pem", "-----BEGIN", 10, 0644);
	return symlink("pin", in_dir("pin-link"));
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
	    cmocka_unit_test(a_good_file_is_read_whole),
	    cmocka_unit_test(defaults_and_absent_parts),
	    cmocka_unit_test(tokens_say_what_their_modules_need),
	    cmocka_unit_test(access_by_persons),
	    cmocka_unit_test(users_for_the_roles),
	    cmocka_unit_test(users_for_published_files),
	    cmocka_unit_test(each_mistake_is_named_with_its_place),
	    cmocka_unit_test(the_file_itself_has_rules),
	    cmocka_unit_test(addresses),
	    cmocka_unit_test(a_group_names_its_tokens),
	    cmocka_unit_test(the_example_is_good),
	    cmocka_unit_test(every_key_is_in_the_manual),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
