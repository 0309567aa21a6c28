/* Where the entry of a certificate's subject is: what the address says, and that no value can
 * say anything else. */

#include "x509_util.h"

#include "daemon/x509/cert.h"
#include "daemon/x509/entry_address.h"

/* A certificate by OpenSSL with this subject and these alternative names. */
static uint8_t der[4096];

static void
make(struct certificate *c, const char *const subject[][2], size_t count, const char *names)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_EXTENSION *e;
	X509 *x = X509_new();
	uint8_t *p = der;
	int len;

	assert_non_null(key);
	assert_int_equal(X509_set_version(x, 2), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x), 77), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 3600));
	for (size_t i = 0; i < count; i++)
		assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), subject[i][0],
				     MBSTRING_UTF8, (const uint8_t *)subject[i][1], -1, -1, 0),
		    1);
	assert_int_equal(X509_set_issuer_name(x, X509_get_subject_name(x)), 1);
	assert_int_equal(X509_set_pubkey(x, key), 1);
	if (names != NULL) {
		e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
		assert_non_null(e);
		assert_int_equal(X509_add_ext(x, e, -1), 1);
		X509_EXTENSION_free(e);
	}
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	len = i2d_X509(x, NULL);
	assert_true(len > 0 && (size_t)len <= sizeof der);
	assert_int_equal(i2d_X509(x, &p), len);
	X509_free(x);
	EVP_PKEY_free(key);
	assert_true(certificate_parse((struct bytes){der, (size_t)len}, c, &ERROR_INIT));
}

static void
check(const char *url, const struct certificate *c, const char *requester, const char *dn,
    const char *filter)
{
	const struct entry_subject subject = {c, requester};
	char got_dn[ENTRY_TEXT_MAX], got_filter[ENTRY_TEXT_MAX];
	struct entry_address a;
	struct error e = ERROR_INIT;

	assert_ok(entry_address_parse(url, &a, &e), e);
	assert_ok(entry_address_expand(&a, &subject, got_dn, got_filter, &e), e);
	assert_string_equal(got_dn, dn);
	assert_string_equal(got_filter, filter);
}

static void
check_nobody(const char *url, const struct certificate *c, const char *requester, const char *words)
{
	const struct entry_subject subject = {c, requester};
	char dn[ENTRY_TEXT_MAX], filter[ENTRY_TEXT_MAX];
	struct entry_address a;
	struct error e = ERROR_INIT;

	assert_ok(entry_address_parse(url, &a, &e), e);
	assert_false(entry_address_expand(&a, &subject, dn, filter, &e));
	assert_int_equal(e.code, ERROR_NOT_FOUND);
	assert_error(e, words);
}

static void
test_values(void **state)
{
	static const char *const subject[][2] = {
	    {"O", "Example"}, {"UID", "alice"}, {"CN", "Alice Liddell"}};
	struct certificate c;

	(void)state;
	make(&c, subject, 3,
	    "email:al-1@x.example,DNS:h.x.example,otherName:1.3.6.1.4.1.311.20.2.3;"
	    "UTF8:alice@REALM");
	check("ldap://ds.example/uid=<subject.UID>,ou=people,o=example", &c, "",
	    "uid=alice,ou=people,o=example", "");
	check("ldaps://ds.example:6360/cn=<subject.CN>+uid=<subject.uid>,ou=our%20people,o=x", &c,
	    "", "cn=Alice\\20Liddell+uid=alice,ou=our people,o=x", "");
	check("ldap://[::1]/o=example??sub?(mail=<san.email>)", &c, "", "o=example",
	    "(mail=al\\2d1\\40x\\2eexample)");
	check("ldap://ds/o=x??one?(&(objectClass=device)(cn=<san.dns>))", &c, "", "o=x",
	    "(&(objectClass=device)(cn=h\\2ex\\2eexample))");
	check("ldap://ds/DC=x??sub?(userPrincipalName=<san.upn>)", &c, "", "DC=x",
	    "(userPrincipalName=alice\\40REALM)");
	check("ldap://ds/uid=<requester>,o=<subject.2.5.4.10>", &c, "web_shop",
	    "uid=web\\5fshop,o=Example", "");
}

/* Whatever a requester writes stays one value. */
static void
test_hostile_values(void **state)
{
	static const char *const hostile[] = {"bob,ou=admins", "bob)(uid=*", "*", "b\\2a",
	    "bob+cn=root", "#04024869", " bob", "bob\n",
	    "b\xc3\xb6"
	    "b",
	    "\"bob\"", "=;<>"};
	char dn[ENTRY_TEXT_MAX], filter[ENTRY_TEXT_MAX];
	struct error e = ERROR_INIT;
	struct entry_address a;
	struct certificate c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(hostile); i++) {
		const char *const subject[][2] = {{"UID", hostile[i]}};
		const struct entry_subject s = {&c, hostile[i]};

		make(&c, subject, 1, NULL);
		for (int requester = 0; requester < 2; requester++) {
			assert_ok(
			    entry_address_parse(
				requester
				    ? "ldap://d/uid=<requester>,o=x??sub?(uid=<requester>)"
				    : "ldap://d/uid=<subject.UID>,o=x??sub?(uid=<subject.UID>)",
				&a, &e),
			    e);
			assert_int_equal(a.from_certificate, !requester);
			assert_ok(entry_address_expand(&a, &s, dn, filter, &e), e);
			assert_int_equal(strncmp(dn, "uid=", 4), 0);
			assert_string_equal(dn + strlen(dn) - 4, ",o=x");
			dn[strlen(dn) - 4] = '\0';
			assert_int_equal(strspn(dn + 4, "abcdefghijklmnopqrstuvwxyz0123456789\\"),
			    strlen(dn + 4));
			assert_string_equal(filter + strlen(filter) - 1, ")");
			filter[strlen(filter) - 1] = '\0';
			assert_int_equal(strncmp(filter, "(uid=", 5), 0);
			assert_string_equal(filter + 5, dn + 4);
		}
	}
}

static void
test_names_of_nobody(void **state)
{
	static const char *const subject[][2] = {{"CN", "one"}, {"CN", "two"}, {"O", "x"}};
	struct certificate c;

	(void)state;
	make(&c, subject, 3, "email:a@x.example,email:b@x.example,otherName:1.2.3;UTF8:c@x");
	check_nobody("ldap://d/cn=<subject.CN>,o=x", &c, "", "has several names");
	check_nobody("ldap://d/o=x??sub?(mail=<san.email>)", &c, "", "has several names");
	check_nobody("ldap://d/uid=<subject.UID>,o=x", &c, "", "has no name that <subject.UID>");
	check_nobody("ldap://d/o=x??sub?(u=<san.upn>)", &c, "", "has no name");
	check_nobody("ldap://d/uid=<requester>,o=x", &c, "", "has no name that <requester>");
}

static void
test_addresses_that_are_refused(void **state)
{
	static const struct {
		const char *url, *words;
	} cases[] = {
	    {"http://d/uid=<subject.UID>,o=x", "another scheme than ldap"},
	    {"ldap:///uid=<subject.UID>,o=x", "no host"},
	    {"ldap://d", "is no ldap://HOST/DN"},
	    {"uid=<subject.UID>", "is no ldap://HOST/DN"},
	    {"ldap://u:p@d/uid=<subject.UID>,o=x", "user name or password"},
	    {"ldap://d/cn=all,o=x", "has no variable"},
	    {"ldap://d/uid=<subject.UID>x,o=x", "must be a whole value"},
	    {"ldap://d/uid=x<subject.UID>,o=x", "must be a whole value"},
	    {"ldap://d/<subject.UID>,o=x", "must be a whole value"},
	    {"ldap://d/uid%3D<subject.UID>,o=x", "must be a whole value"},
	    {"ldap://d/o=x??sub?(mail=<san.email>*)", "must be a whole value"},
	    {"ldap://d/o=x??sub?(member=uid=<subject.UID>,o=x)", "must be a whole value"},
	    {"ldap://d/o=x??sub?(uid>=<requester>)", "must be a whole value"},
	    {"ldap://d/o=x??sub?(uid:=<requester>)", "must be a whole value"},
	    {"ldap://d/o=x??sub?mail=<san.email>", "no filter in parentheses"},
	    {"ldap://d/o=x??sub?(mail=<san.email>", "no filter in parentheses"},
	    {"ldap://d/o=x??sub?(mail=<san.email>)(a=b)", "no filter in parentheses"},
	    {"ldap://d/o=x??\?(mail=<san.email>)", "needs the scope one or sub"},
	    {"ldap://d/uid=<requester>,o=x??sub", "no filter to search with"},
	    {"ldap://d/uid=<requester>,o=x?mail", "names an attribute"},
	    {"ldap://d/uid=<requester>,o=x????x", "extensions"},
	    {"ldap://d/uid=<subject.>,o=x", "names no attribute type"},
	    {"ldap://d/uid=<subject.nonsense>,o=x", "names no attribute type"},
	    {"ldap://d/uid=<san.ip>,o=x", "is no type of name"},
	    {"ldap://d/uid=<CaName>,o=x", "is none; allowed"},
	    {"ldap://d/uid=<>,o=x", "begins no variable"},
	    {"ldap://d/uid=<requester,o=x", "begins no variable"},
	    {"ldap://d/uid=<requester>,o=%0", "two hex digits"},
	    {"ldap://d/uid=<requester>,o=%00", "has a NUL"},
	    {"ldap://d/uid=<requester>,o=a b", "a blank"},
	};
	struct entry_address a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error e = ERROR_INIT;

		if (entry_address_parse(cases[i].url, &a, &e))
			fail_msg("%s is taken", cases[i].url);
		assert_error(e, cases[i].words);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_hostile_values),
	    cmocka_unit_test(test_names_of_nobody),
	    cmocka_unit_test(test_addresses_that_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
