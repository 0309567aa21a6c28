/* Where targets lie: file paths, HTTP and LDAP URLs, entries, credentials. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/publish/credential.h"
#include "daemon/publish/file_place.h"
#include "daemon/publish/http_session.h"
#include "daemon/publish/ldap_entry.h"
#include "daemon/publish/ldap_session.h"

static struct publish_job *
job_for(enum artifact_kind kind, enum target_schema schema)
{
	static struct publish_job job;

	memset(&job, 0, sizeof job);
	job.artifact = kind;
	job.schema = schema;
	return &job;
}

static void
test_file_places(void **state)
{
	static const struct {
		const char *url, *path; /* path NULL: refused */
	} cases[] = {
	    {"/srv/pki/demo.crl", "/srv/pki/demo.crl"},
	    {"/srv/100%/demo.crl", "/srv/100%/demo.crl"},
	    {"file:///srv/pki/a%20b.crl", "/srv/pki/a b.crl"},
	    {"FILE://localhost/srv/x", "/srv/x"},
	    {"file://elsewhere/srv/x", NULL},
	    {"file:///srv/%zz", NULL},
	    {"file:///srv/%2", NULL},
	    {"file:///srv/%00x", NULL},
	    {"srv/x", NULL},
	    {"", NULL},
	    {"/srv/../etc/passwd", NULL},
	    {"file:///srv/%2e%2e/x", NULL},
	    {"/srv/./x", NULL},
	    {"/srv/a\nb", NULL},
	    {"/srv/..x/...", "/srv/..x/..."},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error err = ERROR_INIT;
		char path[64];
		bool ok = file_place_parse(cases[i].url, path, sizeof path, &err);

		if (ok != (cases[i].path != NULL))
			fail_msg("%s", cases[i].url);
		if (ok)
			assert_string_equal(path, cases[i].path);
	}
}

static void
test_file_split(void **state)
{
	char folder[32], name[8];

	(void)state;
	assert_true(
	    file_place_split("/srv/x.crl", folder, sizeof folder, name, sizeof name, &ERROR_INIT));
	assert_string_equal(folder, "/srv");
	assert_string_equal(name, "x.crl");
	assert_true(
	    file_place_split("/x.crl", folder, sizeof folder, name, sizeof name, &ERROR_INIT));
	assert_string_equal(folder, "/");
	assert_false(
	    file_place_split("/srv/", folder, sizeof folder, name, sizeof name, &ERROR_INIT));
	assert_false(file_place_split(
	    "/srv/much-too-long", folder, sizeof folder, name, sizeof name, &ERROR_INIT));
}

static void
test_http_places(void **state)
{
	static const char *const refused[] = {
	    "ftp://host/x",
	    "http:///x",
	    "host/x y",
	    "http://user:secret@host/x",
	    "https://user@host/x",
	    "http://host/x#part",
	    "file:///etc/passwd",
	    "",
	};
	struct publish_job job = {.sha256 = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}};
	struct http_place place;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		struct error err = ERROR_INIT;

		if (http_place_parse(&job, refused[i], false, &place, &err))
			fail_msg("%s", refused[i]);
		assert_int_equal(err.code, ERROR_INPUT);
		assert_null(strstr(err.text, "secret"));
	}
	assert_true(http_place_parse(
	    &job, "https://pki.example:8443/a/demo.crl", true, &place, &ERROR_INIT));
	assert_true(place.tls);
	assert_false(place.loopback);
	assert_string_equal(
	    place.part_url, "https://pki.example:8443/a/.demo.crl.0123456789abcdef.part");
	assert_true(
	    http_place_parse(&job, "http://127.0.0.1/demo.crl?v=1", false, &place, &ERROR_INIT));
	assert_true(place.loopback);
	assert_string_equal(place.part_url, "");
	assert_false(
	    http_place_parse(&job, "http://127.0.0.1/demo.crl?v=1", true, &place, &ERROR_INIT));
	assert_false(http_place_parse(&job, "http://127.0.0.1/a/", true, &place, &ERROR_INIT));
}

static void
test_ldap_places(void **state)
{
	static const struct {
		const char *url;
		enum artifact_kind kind;
		enum target_tls tls;
		const char *server, *dn, *attribute; /* server NULL: refused */
	} cases[] = {
	    {"ldap://127.0.0.1/cn=demo,ou=pki,o=example", ARTIFACT_CRL, TARGET_TLS_NONE,
		"ldap://127.0.0.1:389", "cn=demo,ou=pki,o=example",
		"certificateRevocationList;binary"},
	    {"ldap://h:1389/cn=demo%20ca,o=x?certificaterevocationlist", ARTIFACT_CRL,
		TARGET_TLS_STARTTLS, "ldap://h:1389", "cn=demo ca,o=x",
		"certificateRevocationList;binary"},
	    {"ldap://h/cn=d,o=x?deltaRevocationList;binary?base?(objectClass=*)",
		ARTIFACT_DELTA_CRL, TARGET_TLS_NONE, "ldap://h:389", "cn=d,o=x",
		"deltaRevocationList;binary"},
	    {"ldaps://h/cn=d,o=x?cACertificate", ARTIFACT_CA_CERTIFICATE, TARGET_TLS_NONE,
		"ldaps://h:636", "cn=d,o=x", "cACertificate;binary"},
	    {"ldap://h/cn=d,o=x", ARTIFACT_CRL, TARGET_TLS_LDAPS, "ldaps://h:636", "cn=d,o=x",
		"certificateRevocationList;binary"},
	    {"ldap://h:3890/cn=d,o=x", ARTIFACT_CRL, TARGET_TLS_LDAPS, "ldaps://h:3890", "cn=d,o=x",
		"certificateRevocationList;binary"},
	    /* another kind's attribute, several, none of ours */
	    {"ldap://h/cn=d,o=x?deltaRevocationList", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL,
		NULL},
	    {"ldap://h/cn=d,o=x?cn,sn", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	    {"ldap://h/cn=d,o=x?certificateRevocationListX", ARTIFACT_CRL, TARGET_TLS_NONE, NULL,
		NULL, NULL},
	    /* no entry, no host, no DN, other schemes */
	    {"ldap://h/", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	    {"ldap://h", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	    {"ldap:///cn=d,o=x", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	    {"ldap://h/demo", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	    {"ldapi://%2frun%2fx/cn=d,o=x", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	    {"ldaps://h/cn=d,o=x", ARTIFACT_CRL, TARGET_TLS_STARTTLS, NULL, NULL, NULL},
	    {"http://h/cn=d", ARTIFACT_CRL, TARGET_TLS_NONE, NULL, NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error err = ERROR_INIT;
		struct publish_job *job = job_for(cases[i].kind, TARGET_SCHEMA_RFC4523);
		struct ldap_place place;
		bool ok = ldap_place_parse(cases[i].url, job, cases[i].tls, &place, &err);

		if (ok != (cases[i].server != NULL))
			fail_msg("%s", cases[i].url);
		if (!ok) {
			assert_int_equal(err.code, ERROR_INPUT);
			continue;
		}
		assert_string_equal(place.server, cases[i].server);
		assert_string_equal(place.dn, cases[i].dn);
		assert_string_equal(place.attribute, cases[i].attribute);
	}
}

static bool
plan(const char *dn, enum artifact_kind kind, struct ldap_entry *e)
{
	return ldap_entry_plan(dn, job_for(kind, TARGET_SCHEMA_RFC4523), e, &ERROR_INIT);
}

/* Active Directory has classes of its own, and no ";binary". */
static void
test_ldap_of_active_directory(void **state)
{
	struct publish_job *job = job_for(ARTIFACT_CA_CERTIFICATE, TARGET_SCHEMA_AD);
	struct ldap_place place;
	struct ldap_entry e;

	(void)state;
	assert_true(ldap_place_parse("ldap://h/cn=demo,cn=AIA?cACertificate?base?objectClass=x",
	    job, TARGET_TLS_NONE, &place, &ERROR_INIT));
	assert_string_equal(place.attribute, "cACertificate");
	assert_true(ldap_entry_plan("CN=demo,CN=AIA", job, &e, &ERROR_INIT));
	assert_string_equal(e.classes[0], "certificationAuthority");
	assert_null(e.classes[1]);
	assert_string_equal(e.others[0], "authorityRevocationList");
	assert_string_equal(e.others[1], "certificateRevocationList");
	assert_null(e.others[2]);
	assert_false(ldap_entry_plan("OU=demo,CN=AIA", job, &e, &ERROR_INIT));
	job = job_for(ARTIFACT_DELTA_CRL, TARGET_SCHEMA_AD);
	assert_true(ldap_entry_plan("CN=demo,CN=CDP", job, &e, &ERROR_INIT));
	assert_string_equal(e.classes[0], "cRLDistributionPoint");
	assert_null(e.classes[1]);
	assert_null(e.others[0]);
}

static void
test_ldap_entries(void **state)
{
	struct ldap_entry e;

	(void)state;
	assert_true(plan("cn=demo,o=x", ARTIFACT_CRL, &e));
	assert_string_equal(e.classes[0], "cRLDistributionPoint");
	assert_null(e.classes[1]);
	assert_true(plan("cn=demo,o=x", ARTIFACT_DELTA_CRL, &e));
	assert_string_equal(e.classes[0], "cRLDistributionPoint");
	assert_null(e.classes[1]);
	assert_true(plan("CN=Demo\\, Inc,o=x", ARTIFACT_CA_CERTIFICATE, &e));
	assert_string_equal(e.classes[0], "applicationProcess");
	assert_string_equal(e.classes[1], "pkiCA");
	assert_string_equal(e.rdn_type, "cn");
	assert_string_equal(e.rdn_value, "Demo, Inc");
	assert_true(plan("ou=pki,o=x", ARTIFACT_DELTA_CRL, &e));
	assert_string_equal(e.classes[0], "organizationalUnit");
	assert_string_equal(e.classes[1], "deltaCRL");
	assert_true(plan("o=x", ARTIFACT_CRL, &e));
	assert_string_equal(e.classes[0], "organization");
	assert_string_equal(e.classes[1], "pkiCA");
	assert_false(plan("uid=demo,o=x", ARTIFACT_CRL, &e));
	assert_false(plan("cn=demo+ou=x,o=x", ARTIFACT_CRL, &e));
	assert_false(plan("nonsense", ARTIFACT_CRL, &e));
}

static void
test_credential_paths(void **state)
{
	static const char *const refused[] = {"", ".", "..", ".hidden", "a/b", "../x", "a b"};
	char path[64];

	(void)state;
	assert_true(credential_path("/etc/c", "ldap-1_a.pw", path, sizeof path, &ERROR_INIT));
	assert_string_equal(path, "/etc/c/ldap-1_a.pw");
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		if (credential_path("/etc/c", refused[i], path, sizeof path, &ERROR_INIT))
			fail_msg("%s", refused[i]);
	}
	assert_false(credential_path(NULL, "a", path, sizeof path, &ERROR_INIT));
	assert_false(credential_path("/etc/c", "a", path, 7, &ERROR_INIT));
}

static void
write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void
test_credential_files(void **state)
{
	char path[] = "/tmp/chancery-credential-XXXXXX";
	struct credential c;

	(void)state;
	close(mkstemp(path));
	write_file(path, "secret word\n", 0600);
	assert_true(credential_load(path, &c, &ERROR_INIT));
	assert_string_equal(c.text, "secret word");
	assert_int_equal(c.len, 11);
	credential_wipe(&c);
	assert_int_equal(c.text[0], 0);
	write_file(path, "secret word\n", 0640);
	assert_false(credential_load(path, &c, &ERROR_INIT));
	write_file(path, "two\nlines\n", 0600);
	assert_false(credential_load(path, &c, &ERROR_INIT));
	write_file(path, "\n", 0600);
	assert_false(credential_load(path, &c, &ERROR_INIT));
	assert_int_equal(unlink(path), 0);
	assert_false(credential_load(path, &c, &ERROR_INIT));
	assert_true(credential_load("", &c, &ERROR_INIT));
	assert_int_equal(c.len, 0);
}

static void
test_loopback(void **state)
{
	(void)state;
	assert_true(credential_host_is_loopback("127.0.0.1"));
	assert_true(credential_host_is_loopback("127.1.2.3"));
	assert_true(credential_host_is_loopback("[::1]"));
	assert_true(credential_host_is_loopback("localhost"));
	assert_false(credential_host_is_loopback("127.0.0.1.example"));
	assert_false(credential_host_is_loopback("10.0.0.1"));
	assert_false(credential_host_is_loopback("localhost.example"));
}

static void
test_allowed_places(void **state)
{
	char pki[] = "/srv/pki/", two[] = "//var//www", root[] = "/";
	struct config_publish_dir items[] = {{.path = pki}, {.path = two}},
				  everywhere[] = {{.path = root}};
	const struct config_publish_dirs dirs = {items, 2}, all = {everywhere, 1}, none = {0};
	static const struct {
		const char *path;
		bool allowed;
	} cases[] = {{"/srv/pki/a.crl", true}, {"//srv///pki/sub/a.crl", true},
	    {"/var/www/a", true}, {"/srv/pki", false}, {"/srv/pki/", false},
	    {"/srv/pki2/a.crl", false}, {"/srv/a", false}, {"/", false}, {"/etc/passwd", false},
	    {"/var/ww", false}};
	struct error err;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		err = ERROR_INIT;
		if ((file_place_find(cases[i].path, &dirs, &err) != NULL) != cases[i].allowed)
			fail_msg("%s", cases[i].path);
		assert_null(file_place_find(cases[i].path, &none, &err));
		assert_int_equal(err.code, ERROR_CONFIG);
	}
	assert_non_null(file_place_find("/etc/x", &all, &err));
	assert_null(file_place_find("/etc/x", NULL, &err));
	assert_true(file_place_is_one("/x") && file_place_is_one("FILE:///x"));
	assert_false(file_place_is_one("http://x/") || file_place_is_one("ldap:///x"));
}

/* Whose a file is: the nearest directory says so, in whatever order they are listed. */
static void
test_nearest_directory(void **state)
{
	char srv[] = "/srv", www[] = "//srv/www/", pki[] = "/srv/www/pki", again[] = "/srv/www";
	struct config_publish_dir items[] = {
	    {.path = www}, {.path = srv}, {.path = pki}, {.path = again}};
	const struct config_publish_dirs dirs = {items, 4};
	static const struct {
		const char *path;
		size_t nearest;
	} cases[] = {{"/srv/a", 1}, {"/srv/www", 1}, {"/srv/www/a", 0}, {"/srv/www2/a", 1},
	    {"/srv/www/pki/a", 2}, {"/srv/www/pki", 0}};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_ptr_equal(
		    file_place_find(cases[i].path, &dirs, &ERROR_INIT), &items[cases[i].nearest]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nearest_directory),
	    cmocka_unit_test(test_file_places),
	    cmocka_unit_test(test_file_split),
	    cmocka_unit_test(test_allowed_places),
	    cmocka_unit_test(test_http_places),
	    cmocka_unit_test(test_ldap_places),
	    cmocka_unit_test(test_ldap_entries),
	    cmocka_unit_test(test_ldap_of_active_directory),
	    cmocka_unit_test(test_credential_paths),
	    cmocka_unit_test(test_credential_files),
	    cmocka_unit_test(test_loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
