/* What an operator may send a host to look at: what a CA names, letter by letter. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "daemon/publish/look_place.h"

#define OID_INT4 23

static const char policy[] =
    "subject: \"CN=Demo,O=Example,C=DE\"\n"
    "kind: subordinate\n"
    "token: main\n"
    "key: p256\n"
    "templates: [tls-server]\n"
    "crl: {period: 7d, overlap: 12h, delta_period: 1d, delta_overlap: 1h, shards: 2}\n"
    "locations:\n"
    "  server: \"pki.ex\\u0061mple\" # as YAML has it\n"
    "  delta_suffix: \"-delta\"\n"
    "  cdp:\n"
    "    - {url: 'http://<ServerDNSName>/<CaName>%8<CRLPartitionIndex>%9.crl', "
    "flags: [in_certificates, in_idp, in_freshest, publish, publish_delta]}\n"
    "    - {url: 'https://up.example/<CaName><CRLPartitionIndex>%8%9.crl', "
    "flags: [publish, publish_delta], credential: w}\n"
    "  aia:\n"
    "    - {url: 'ldap:///CN=%3%4,DC=example?cACertificate;binary?base', "
    "flags: [in_certificates]}\n"
    "    - {url: 'http://ocsp.example/', flags: [as_ocsp]}\n";

/* A directoryName and [6] "http://dp.example/1.crl", as cRLDistributionPoints and as
 * issuingDistributionPoint. */
#define URI "http://dp.example/1.crl"
#define NAMES "\xa0\x1f\xa0\x1d\xa4\x02\x30\x00\x86\x17" URI
static const char points[] = "\x30\x23\x30\x21" NAMES;
static const char idp[] = "\x30\x21" NAMES;

/* An array as the database sends it. */
struct list {
	uint8_t memory[8192];
	size_t len;
	uint32_t count;
};

static void
add(struct list *l, const void *p, size_t len)
{
	uint8_t head[4] = {
	    (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

	assert_true(l->len + sizeof head + len <= sizeof l->memory);
	memcpy(l->memory + l->len, head, sizeof head);
	memcpy(l->memory + l->len + sizeof head, p, len);
	l->len += sizeof head + len;
	l->count++;
}

static void
add_number(struct list *l, uint8_t n)
{
	add(l, (uint8_t[]){0, 0, 0, n}, 4);
}

static struct db_array
array_of(const struct list *l, uint32_t oid)
{
	return (struct db_array){
	    .left = {.p = l->memory, .left = l->len}, .count = l->count, .element_oid = oid};
}

/* Generation 0, and 3 with key 1 beside it; two shards and what has none. */
static bool
is_named(const char *url)
{
	static struct list policies, certificates, keys, labels, with_points, with_idp, broken;
	struct db_look order = {.id = 1, .url = url, .artifact = "crl", .ca = "demo"};
	struct error err = ERROR_INIT;

	if (policies.count == 0) {
		add(&policies, "no: policy", 10);
		add(&policies, policy, sizeof policy - 1);
		add(&policies, policy, sizeof policy - 1);
		for (uint8_t i = 0; i < 3; i++) {
			add_number(&certificates, i < 2 ? 0 : 3);
			add_number(&keys, i < 2 ? 0 : 1);
		}
		add(&labels, "", 0);
		add(&labels, "~1of2", 5);
		add(&labels, "~2of2~v9", 8);
		add(&with_points, points, sizeof points - 1);
		add(&with_idp, idp, sizeof idp - 1);
		add(&broken, "\x30\x80", 2);
	}
	order.policies = array_of(&policies, 0);
	order.certificate_indexes = array_of(&certificates, OID_INT4);
	order.key_indexes = array_of(&keys, OID_INT4);
	order.labels = array_of(&labels, 0);
	order.certificates = array_of(&broken, 0);
	order.points = array_of(&broken, 0);
	if (look_place_check(&order, &err))
		return true;
	assert_non_null(strstr(err.text, "CA \"demo\" tells nobody to look at "));
	order.points = array_of(&with_points, 0);
	if (look_place_check(&order, &err)) {
		order.points = array_of(&broken, 0);
		order.idps = array_of(&with_idp, 0);
		assert_true(look_place_check(&order, &err));
		return true;
	}
	return false;
}

static void
test_named(void **state)
{
	static const char *const urls[] = {"http://pki.example/demo.crl",
	    "http://pki.example/demo-delta.crl", "http://pki.example/demo~1of2.crl",
	    "http://pki.example/demo(1)~2of2~v9-delta.crl",
	    "ldap:///CN=demo,DC=example?cACertificate;binary?base",
	    "ldap:///CN=demo(3),DC=example?cACertificate;binary?base", URI};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(urls); i++)
		if (!is_named(urls[i]))
			fail_msg("%s", urls[i]);
}

static void
test_not_named(void **state)
{
	static const char *const urls[] = {"http://pki.example/other.crl",
	    "http://pki.example/demo.cr", "http://pki.example/demo.crlx",
	    "http://pki.example/demo.crl?", "http://pki.example/demo~3of2.crl",
	    "http://pki.example/demo(2).crl", "http://pki.example/x/demo.crl",
	    "http://PKI.example/demo.crl", "HTTP://pki.example/demo.crl",
	    "http://u@pki.example/demo.crl", "http://pki.example:81/demo.crl",
	    "http://pki.example/demo.crl\n", "http://<ServerDNSName>/<CaName>.crl",
	    "http://up.example/demo.crl", "https://up.example/demo.crl", "http://ocsp.example/",
	    "ldap://h/CN=demo,DC=example?cACertificate;binary?base",
	    "ldap:///CN=demo,DC=example?userPassword?base", "file:///etc/passwd",
	    "http://dp.example/1.cr", "", "demo"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(urls); i++)
		if (is_named(urls[i]))
			fail_msg("%s", urls[i]);
}

/* How long the issuer reads is not for whoever writes an address: of the labels that are in
 * it, 32 are tried. */
static void
test_labels_that_are_tried(void **state)
{
#define MANY "http://pki.example/~a~b~c~d~e~f~g~h~i~j~k~l~m~n~o~p~q~r~s~t~u~v~w~x~y~z~0~1~2~3~4~5~6"
	static const char text[] =
	    "subject: \"CN=Demo,O=Example,C=DE\"\n"
	    "kind: subordinate\n"
	    "token: main\n"
	    "key: p256\n"
	    "templates: [tls-server]\n"
	    "crl: {period: 7d, overlap: 12h, shards: 2}\n"
	    "locations:\n"
	    "  cdp: [{url: '" MANY
	    "<CRLPartitionIndex>%8.crl', flags: [in_certificates, in_idp]}]\n";
	struct list policies = {0}, indexes = {0}, labels = {0};
	struct db_look order = {.id = 1, .artifact = "crl", .ca = "demo"};
	struct error err = ERROR_INIT;

	(void)state;
	add(&policies, text, sizeof text - 1);
	add_number(&indexes, 0);
	for (const char *at = strchr(MANY, '~'); *at != '\0'; at += 2)
		add(&labels, at, 2);
	add(&labels, "~9", 2);
	order.policies = array_of(&policies, 0);
	order.certificate_indexes = order.key_indexes = array_of(&indexes, OID_INT4);
	order.labels = array_of(&labels, 0);
	order.url = MANY "~5.crl";
	assert_true(look_place_check(&order, &err));
	order.url = MANY "~6.crl"; /* the 33rd */
	assert_false(look_place_check(&order, &err));
	order.url = MANY "~9.crl";
	assert_false(look_place_check(&order, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_named),
	    cmocka_unit_test(test_not_named),
	    cmocka_unit_test(test_labels_that_are_tried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
