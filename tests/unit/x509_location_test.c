/* Locations: variables, escapes, and what administrators of AD CS have. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/x509/location.h"

#define NAME_40 "Example Corporation Issuing Authority 03"

static const struct location_names plain = {
    .server = "ca1.corp.example",
    .config_dn = "CN=Configuration,DC=corp,DC=example",
    .ca = "demo",
    .delta_suffix = "+",
    .partition = "",
};

struct expansion {
	const char *url, *base, *delta;
};

static void
check_all(const struct location_names *names, const struct expansion *cases, size_t count)
{
	char out[LOCATION_URL_MAX + 1];
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < count; i++) {
		if (!location_expand(cases[i].url, names, false, out, &err))
			fail_msg("%s: %s", cases[i].url, err.text);
		assert_string_equal(out, cases[i].base);
		assert_true(location_expand(cases[i].url, names, true, out, &err));
		assert_string_equal(out, cases[i].delta != NULL ? cases[i].delta : cases[i].base);
	}
}

static void
test_both_spellings(void **state)
{
	static const struct expansion cases[] = {
	    {"http://%1/%2/%3%8%9.crl", "http://ca1.corp.example/ca1/demo.crl",
		"http://ca1.corp.example/ca1/demo+.crl"},
	    {"http://<ServerDNSName>/<servershortname>/"
	     "<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl",
		"http://ca1.corp.example/ca1/demo.crl", "http://ca1.corp.example/ca1/demo+.crl"},
	    {"ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public%20Key%20Services,CN=Services,%6%10",
		"ldap:///CN=demo,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,"
		"CN=Configuration,DC=corp,DC=example?certificateRevocationList;binary?base?"
		"objectClass=cRLDistributionPoint",
		"ldap:///CN=demo,CN=ca1,CN=CDP,CN=Public%20Key%20Services,CN=Services,"
		"CN=Configuration,DC=corp,DC=example?deltaRevocationList;binary?base?"
		"objectClass=cRLDistributionPoint"},
	    {"ldap:///CN=<CATruncatedName>,<ConfigurationContainer><CAObjectClass>",
		"ldap:///CN=demo,CN=Configuration,DC=corp,DC=example?cACertificate;binary?base?"
		"objectClass=certificationAuthority",
		NULL},
	    {"file:///srv/%1_%3%4.crt", "file:///srv/ca1.corp.example_demo.crt", NULL},
	    /* Two hexadecimal digits are an escape. */
	    {"http://h/a%20b%3a%41%9", "http://h/a%20b%3a%41", "http://h/a%20b%3a%41+"},
	    {"http://h/%1", "http://h/ca1.corp.example", NULL},
	    {"http://h/%11.%10",
		"http://h/?cACertificate;binary?base?objectClass="
		"certificationAuthority.?certificateRevocationList;binary?base?"
		"objectClass=cRLDistributionPoint",
		"http://h/?cACertificate;binary?base?objectClass=certificationAuthority."
		"?deltaRevocationList;binary?base?objectClass=cRLDistributionPoint"},
	    {"", "", NULL},
	};

	check_all(&plain, cases, COUNT_OF(cases));
}

static void
test_generations_and_partitions(void **state)
{
	static const struct expansion cases[] = {
	    {"http://h/%3<CRLPartitionIndex>%8%9.crl", "http://h/demo-2of4(1).crl",
		"http://h/demo-2of4(1)-delta.crl"},
	    {"http://h/%3%4.cer", "http://h/demo(3).cer", NULL},
	};
	struct location_names names = plain;

	names.certificate_index = 3;
	names.key_index = 1;
	names.partition = "-2of4";
	names.delta_suffix = "-delta";
	check_all(&names, cases, COUNT_OF(cases));
}

/* Each place has its own escapes. */
static void
test_escapes(void **state)
{
	static const struct expansion cases[] = {
	    {"http://h/%3.crl", "http://h/A%2FB%20%23%25%3F,+=%C3%A4.crl", NULL},
	    {"ldap://h/cn=%3,o=x?a", "ldap://h/cn=A%2FB%20%23%25%3F%5C,%5C+%5C=%C3%A4,o=x?a", NULL},
	    {"file:///srv/%3.crl", "file:///srv/A_B #%?,+=\xc3\xa4.crl", NULL},
	    {"/srv/%3.crl", "/srv/A_B #%?,+=\xc3\xa4.crl", NULL},
	};
	struct location_names names = plain;

	names.ca = "A/B #%?,+=\xc3\xa4";
	check_all(&names, cases, COUNT_OF(cases));
	names.ca = " <a\" b ";
	check_all(&names,
	    &(struct expansion){
		"ldap://h/cn=%3", "ldap://h/cn=%5C%20%5C%3Ca%5C%22%20b%5C%20", NULL},
	    1);
}

static void
test_a_long_name_is_cut(void **state)
{
	struct location_names names = plain;
	char out[LOCATION_URL_MAX + 1];
	struct error err = ERROR_INIT;

	names.ca = "12345678901234567890123456789012";
	assert_true(location_expand("http://h/%7", &names, false, out, &err));
	assert_string_equal(out, "http://h/12345678901234567890123456789012");
	names.ca = NAME_40;
	assert_true(location_expand("http://h/%7", &names, false, out, &err));
	/* printf 'Example...03' | sha256sum */
	assert_string_equal(out, "http://h/Example%20Corporation%20Issuing%20Auth-8da4d561");
	/* No character in two. */
	names.ca =
	    "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
	    "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
	    "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
	    "\xc3\xa4\xc3\xa4\xc3\xa4";
	assert_true(location_expand("/%7", &names, false, out, &err));
	assert_int_equal(strlen(out), 1 + 64 + 1 + 8);
}

static void
test_what_cannot_be_expanded(void **state)
{
	struct location_names names = plain;
	char out[LOCATION_URL_MAX + 1], longest[LOCATION_URL_MAX + 2];
	struct error err = ERROR_INIT;

	assert_false(location_expand("http://h/<CAName2>", &names, false, out, &err));
	assert_non_null(strstr(err.text, "'<CAName2>', which does not exist"));
	names.server = NULL;
	err = ERROR_INIT;
	assert_false(location_expand("http://%2/x", &names, false, out, &err));
	assert_non_null(strstr(err.text, "<ServerShortName>, but 'locations.server' does not say"));
	names.config_dn = NULL;
	err = ERROR_INIT;
	assert_false(location_expand("ldap:///CN=a,%6%10", &names, false, out, &err));
	assert_non_null(strstr(err.text, "'locations.config_dn'"));

	memset(longest, 'a', sizeof longest);
	longest[LOCATION_URL_MAX] = '\0';
	err = ERROR_INIT;
	assert_true(location_expand(longest, &names, false, out, &err));
	assert_string_equal(out, longest);
	longest[LOCATION_URL_MAX - 2] = '%';
	longest[LOCATION_URL_MAX - 1] = '3';
	assert_false(location_expand(longest, &names, false, out, &err));
	assert_non_null(strstr(err.text, "takes more than 2048 bytes"));
	/* An escape is not cut in two, either. */
	names.ca = "\x01";
	err = ERROR_INIT;
	assert_false(location_expand(longest, &names, false, out, &err));
}

static void
test_variables(void **state)
{
	assert_int_equal(location_variables("http://%1/%3%8<deltacrlallowed>%20"),
	    1 << LOCATION_SERVER_DNS_NAME | 1 << LOCATION_CA_NAME | 1 << LOCATION_CRL_NAME_SUFFIX |
		1 << LOCATION_DELTA_CRL_ALLOWED);
	assert_int_equal(location_variables("<CRLPartitionIndex>%10%11%5%"),
	    1 << LOCATION_CRL_PARTITION_INDEX | 1 << LOCATION_CDP_OBJECT_CLASS |
		1 << LOCATION_CA_OBJECT_CLASS);
	assert_int_equal(location_variables("<"), 0);
	for (unsigned flag = 1; flag <= LOCATION_IN_CERTIFICATE_FRESHEST; flag <<= 1) {
		const char *name = location_flag_name(flag);

		assert_int_equal(flag == 16, name == NULL);
		if (name != NULL)
			assert_int_equal(location_flag_from_name(name), flag);
	}
	assert_int_equal(location_flag_from_name("in_crl"), 0);
}

/* What certutil and PowerShell print and take. */
static void
test_import(void **state)
{
	static const struct {
		const char *text, *url;
		bool aia, is_aia;
		unsigned flags;
	} cases[] = {
	    {"65:http://%1/CertEnroll/%3%8%9.crl",
		"http://<ServerDNSName>/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl",
		false, false, 65},
	    {"    1: 79:ldap:///CN=%7%8,CN=%2,CN=CDP,CN=Public Key Services,CN=Services,%6%10\r\n",
		"ldap:///CN=<CATruncatedName><CRLNameSuffix>,CN=<ServerShortName>,CN=CDP,"
		"CN=Public%20Key%20Services,CN=Services,<ConfigurationContainer><CDPObjectClass>",
		false, false, 79},
	    {"\"134:http://cdp.example.com/%3<CRLPartitionIndex>%8%9.crl\"",
		"http://cdp.example.com/<CaName><CRLPartitionIndex><CRLNameSuffix>"
		"<DeltaCRLAllowed>.crl",
		false, false, 134},
	    {"0: 1:C:\\Windows\\system32\\CertSrv\\CertEnroll\\%1_%3%4.crt",
		"C:\\Windows\\system32\\CertSrv\\CertEnroll\\<ServerDNSName>_<CaName>"
		"<CertificateName>.crt",
		true, true, 1},
	    {"32:http://ocsp.example/ocsp", "http://ocsp.example/ocsp", true, true, 32},
	    {"0:http://h/%3a%20%%<a>\xc3\xa4",
		"http://h/<CaName>a<ServerShortName>0%25%25%3Ca%3E%C3%A4", false, false, 0},
	    {"Add-CACrlDistributionPoint -Uri \"http://pki/<CaName><DeltaCRLAllowed>.crl\" "
	     "-AddToCertificateCdp -AddToFreshestCrl -AddToCrlIdp -Force",
		"http://pki/<CaName><DeltaCRLAllowed>.crl", true, false, 134},
	    {"  add-cacrldistributionpoint -PublishToServer -PublishDeltaToServer -AddToCrlCdp "
	     "-Uri ldap:///CN=a%10",
		"ldap:///CN=a<CDPObjectClass>", false, false, 73},
	    {"Add-CAAuthorityInformationAccess -AddToCertificateAia 'http://x' -Uri 'http://pki/%3 "
	     "x.crt'",
		NULL, false, true, 0},
	    {"Add-CAAuthorityInformationAccess -AddToCertificateAia -Uri 'http://pki/%3 x.crt'",
		"http://pki/<CaName>%20x.crt", false, true, 2},
	    {"Add-CAAuthorityInformationAccess -AddToCertificateAia http://pki/%1_%3%4.crt -Force",
		"http://pki/<ServerDNSName>_<CaName><CertificateName>.crt", false, true, 2},
	    {"Add-CAAuthorityInformationAccess 'http://a' -AddToCertificateAia http://b", NULL,
		false, true, 0},
	    {"Add-CACrlDistributionPoint \"http://pki/x.crl\" -AddToCertificateCdp -ErrorAction "
	     "Stop "
	     "-Verbose | Out-Null",
		"http://pki/x.crl", true, false, 2},
	    {"Add-CACrlDistributionPoint http://x -AddToCertificateCdp; Restart-Service certsvc",
		"http://x", true, false, 2},
	    {"\"6:http://pki/%%3%%8%%9.crl\"",
		"http://pki/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", false, false, 6},
	    {"\"+32:http://ocsp/\"", "http://ocsp/", true, true, 32},
	    {"Add-CAAuthorityInformationAccess -AddToCertificateOcsp -Uri http://ocsp/",
		"http://ocsp/", false, true, 32},
	    {"Add-CAAuthorityInformationAccess -AddToCrlIdp -Uri http://x/", NULL, false, true, 0},
	    {"Add-CACrlDistributionPoint -AddToCrlIdp -Uri", NULL, false, false, 0},
	    {"Add-CACrlDistributionPointX -Uri http://x/", NULL, false, false, 0},
	    {"http://x/", NULL, false, false, 0},
	    {"65:", NULL, false, false, 0},
	    {"65", NULL, false, false, 0},
	    {"", NULL, false, false, 0},
	    {"999999:http://x/", NULL, false, false, 0},
	    {"65:http://x/", NULL, true, true, 0}, /* no delta CRLs in an AIA */
	    {"32:http://x/", NULL, false, false, 0},
	};
	char out[LOCATION_URL_MAX + 1];
	unsigned flags;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error err = ERROR_INIT;
		bool aia = cases[i].aia;

		if (location_from_adcs(cases[i].text, &aia, &flags, out, &err) !=
		    (cases[i].url != NULL))
			fail_msg("%s: %s", cases[i].text, err.text);
		if (cases[i].url == NULL) {
			assert_true(error_is_set(&err));
			continue;
		}
		assert_string_equal(out, cases[i].url);
		assert_int_equal(flags, cases[i].flags);
		assert_int_equal(aia, cases[i].is_aia);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_both_spellings),
	    cmocka_unit_test(test_generations_and_partitions),
	    cmocka_unit_test(test_escapes),
	    cmocka_unit_test(test_a_long_name_is_cut),
	    cmocka_unit_test(test_what_cannot_be_expanded),
	    cmocka_unit_test(test_variables),
	    cmocka_unit_test(test_import),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
