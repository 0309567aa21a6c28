/* CA policies: a good one, every way to be wrong, what follows from it, and its
 * manual page. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "daemon/x509/capolicy.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"

/* After ours, whose names it would replace. */
#include <openssl/x509v3.h>
#undef KU_KEY_CERT_SIGN
#undef KU_CRL_SIGN

#define MANUAL "daemon/man/chancery-ca-policy.5"
#define NOW 1795348800LL /* 2026-11-22T12:00:00Z */

#define DEMO "http://127.0.0.1:8080/crl/demo<DeltaCRLAllowed>.crl"
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char good[] =
    "subject: \"CN=Demo Issuing CA,O=Example,C=DE\"\n"
    "kind: subordinate\n"
    "token: main\n"
    "key: rsa2048\n"
    "signature: sha256\n"
    "pss: false\n"
    "validity: 10y\n"
    "path_length: 0\n"
    "templates: [tls-server, tls-client]\n"
    "policies: [{oid: 1.3.6.1.4.1.99999.1, cps: \"http://example.com/cps\"}]\n"
    "crl: {period: 7d, overlap: 12h, delta_period: 1d, delta_overlap: 1h, "
    "on_revocation: 1h, on_compromise: 0s}\n"
    "locations:\n"
    "  server: pki.example.com\n"
    "  config_dn: \"CN=Configuration,DC=example,DC=com\"\n"
    "  delta_suffix: \"-delta\"\n"
    "  cdp:\n"
    "    - {url: \"http://127.0.0.1:8080/crl/demo<DeltaCRLAllowed>.crl\", flags: "
    "[in_certificates, in_idp, in_freshest, in_certificate_freshest]}\n"
    "    - {url: \"ldap://[::1]:389/cn=demo%20ca,o=example"
    "?certificateRevocationList;binary?base\", flags: [in_certificates, "
    "in_crl_published_location]}\n"
    "    - {url: \"file:///srv/crl/<CaName>%9.crl\", flags: [publish, publish_delta]}\n"
    "  aia:\n"
    "    - {url: \"http://127.0.0.1:8080/aia/demo.cer\", flags: [in_certificates]}\n"
    "    - {url: \"http://ocsp.example.com/\", flags: [as_ocsp]}\n"
    "    - {url: \"https://up.example/%3%4.cer\", flags: [publish], credential: web}\n"
    "targets:\n"
    "  - {name: web-crl, artifact: crl, kind: http, write: \"http://127.0.0.1:9000/demo.crl\", "
    "read: \"http://127.0.0.1:8080/crl/demo.crl\", credential: web, auth: bearer, webdav: true}\n"
    "  - {name: dir-delta, artifact: delta-crl, kind: file, write: /srv/pki/d.crl, "
    "read: \"http://127.0.0.1/d.crl\"}\n"
    "  - {name: ldap-ca, artifact: ca-certificate, kind: ldap, "
    "write: \"ldap://ds.example/cn=demo,o=x?cACertificate;binary\", "
    "read: \"ldap://ds.example/cn=demo,o=x?cacertificate;BINARY\", "
    "bind_dn: \"cn=w,o=x\", credential: ds, tls: starttls}\n"
    "limits: {quorum: 2, operators: [{person: alice, rights: [limits, decide]}, {person: bob@x, "
    "rights: [limits]}], signer_ids: [2, 1], permitted: [\"dns:example.com\", \"ip:10.0.0.0/8\"], "
    "excluded: [\"dns:secret.example.com\"], responders: [" HASH "], not_after: 12y}\n";

static void
test_reads_everything(void **state)
{
	const struct capolicy_target *t;
	struct capolicy p;
	struct error err = ERROR_INIT;
	char text[256];

	if (!capolicy_parse(good, strlen(good), "p.yaml", &p, &err))
		fail_msg("%s", err.text);
	assert_true(name_to_text(p.subject, text, sizeof text, &err));
	assert_string_equal(text, "CN=Demo Issuing CA,O=Example,C=DE");
	assert_int_equal(p.kind, CA_SUBORDINATE);
	assert_string_equal(p.token, "main");
	assert_int_equal(p.key_alg, KEY_RSA2048);
	assert_int_equal(p.sig_alg, SIG_RSA_SHA256);
	assert_int_equal(p.validity_s, 10LL * 365 * 86400);
	assert_int_equal(p.path_length, 0);
	assert_true(capolicy_allows_template(&p, "tls-client"));
	assert_false(capolicy_allows_template(&p, "user"));
	assert_int_equal(p.policy_count, 1);
	assert_string_equal(p.policies[0].cps, "http://example.com/cps");
	assert_int_equal(p.crl_period_s, 7 * 86400);
	assert_int_equal(p.crl_overlap_s, 12 * 3600);
	assert_int_equal(p.delta_period_s, 86400);
	assert_int_equal(p.delta_overlap_s, 3600);
	assert_int_equal(p.on_revocation_s, 3600);
	assert_int_equal(p.on_compromise_s, 0);
	assert_int_equal(p.cdp_count, 3);
	assert_int_equal(p.cdp[0].flags, LOCATION_IN_CERTIFICATES | LOCATION_IN_IDP |
					     LOCATION_IN_FRESHEST |
					     LOCATION_IN_CERTIFICATE_FRESHEST);
	assert_int_equal(p.aia_count, 3);
	assert_int_equal(p.aia[1].flags, LOCATION_AS_OCSP);
	assert_string_equal(p.server, "pki.example.com");
	assert_string_equal(p.config_dn, "CN=Configuration,DC=example,DC=com");
	assert_string_equal(p.delta_suffix, "-delta");
	assert_int_equal(p.target_count, 6);
	t = p.targets; /* of `publish` */
	assert_string_equal(t[0].name, "cdp-3");
	assert_string_equal(t[0].artifact, "crl");
	assert_string_equal(t[0].kind, "file");
	assert_string_equal(t[0].write, "/srv/crl/<CaName>%9.crl");
	assert_string_equal(t[1].name, "cdp-3-delta");
	assert_string_equal(t[1].artifact, "delta-crl");
	assert_string_equal(t[2].name, "aia-3");
	assert_string_equal(t[2].artifact, "ca-certificate");
	assert_string_equal(t[2].kind, "http");
	assert_string_equal(t[2].auth, "basic");
	t += 3;
	assert_string_equal(t[0].auth, "bearer");
	assert_true(t[0].webdav);
	assert_null(t[0].tls);
	assert_string_equal(t[1].artifact, "delta-crl");
	assert_null(t[1].credential);
	assert_string_equal(t[2].tls, "starttls");
	assert_string_equal(t[2].bind_dn, "cn=w,o=x");
	assert_int_equal(p.limits.quorum, 2);
	assert_int_equal(p.limits.operator_count, 2);
	assert_string_equal(p.limits.operators[1].person, "bob@x");
	assert_int_equal(p.limits.operators[0].rights, LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE);
	assert_int_equal(p.limits.operators[1].rights, LIMITS_RIGHT_LIMITS);
	assert_int_equal(p.limits.signer_count, 2);
	assert_int_equal(p.limits.signer_ids[0], 2);
	assert_int_equal(p.limits.permitted_count, 2);
	assert_string_equal(p.limits.excluded[0], "dns:secret.example.com");
	assert_int_equal(p.limits.responder_count, 1);
	assert_int_equal(p.limits.responders[0][1], 0x11);
	assert_int_equal(p.limits.life_s, 12LL * 365 * 86400);
	assert_int_equal(p.limits.not_after, 0);
	capolicy_free(&p);
	capolicy_free(&p);
}

static void
test_least_policy(void **state)
{
	static const char text[] = "subject: CN=R\nkind: root\ntoken: t\nkey: p384\nvalidity: 1h\n"
				   "crl: {period: 2s, overlap: 1s}\n";
	struct capolicy p;
	struct error err = ERROR_INIT;

	if (!capolicy_parse(text, strlen(text), "p.yaml", &p, &err))
		fail_msg("%s", err.text);
	assert_int_equal(p.sig_alg, SIG_ECDSA_SHA384);
	assert_int_equal(p.path_length, -1);
	assert_int_equal(p.delta_period_s, 0);
	assert_int_equal(p.on_revocation_s, -1);
	assert_int_equal(p.on_compromise_s, -1);
	assert_int_equal(p.target_count, 0);
	assert_int_equal(p.limits.quorum, 0);
	assert_int_equal(p.limits.operator_count, 0);
	capolicy_free(&p);
}

/* One replacement in the good text. */
static const struct {
	const char *from, *to;
	const char *error;
} refused[] = {
    {"CN=Demo Issuing CA,O=Example,C=DE", "Demo", "p.yaml:1:10: key 'subject': "},
    {"\"CN=Demo Issuing CA,O=Example,C=DE\"", "''", "p.yaml:1:10: key 'subject': is empty"},
    {",C=DE", ",C=Germany", "p.yaml:1:10: key 'subject': the value of C has 7 characters"},
    {"kind: subordinate", "kind: sub",
	"p.yaml:2:7: key 'kind': 'sub' is not allowed; allowed: "
	"root, subordinate"},
    {"kind: subordinate\n", "", "key 'kind': is missing"},
    {"token: main", "token: ../main", "p.yaml:3:8: key 'token': '../main' is not allowed"},
    {"key: rsa2048", "key: rsa1024",
	"p.yaml:4:6: key 'key': 'rsa1024' is not allowed; allowed: "
	"rsa2048, rsa3072, rsa4096, p256, p384, p521"},
    {"signature: sha256", "signature: sha1",
	"p.yaml:5:12: key 'signature': 'sha1' is not allowed; allowed: sha256, sha384, sha512"},
    {"key: rsa2048\nsignature: sha256\npss: false", "key: p256\nsignature: sha256\npss: true",
	"p.yaml:6:6: key 'pss': is for RSA keys only (RFC 4055); 'key' is p256"},
    {"pss: false", "pss: no", "p.yaml:6:6: key 'pss': 'no' is not allowed; allowed: true, false"},
    {"quorum: 2", "quorum: 0", "key 'limits.quorum': '0' is not allowed"},
    {"quorum: 2", "quorum: 17", "key 'limits.quorum': '17' is not allowed"},
    {"quorum: 2", "quorum: 3",
	"key 'limits.quorum': is 3, but 'operators' names only 2 persons with the right 'limits'"},
    {"rights: [limits]}]", "rights: [decide]}]",
	"key 'limits.quorum': is 2, but 'operators' names only 1 person with the right 'limits'"},
    {"[{person: alice, rights: [limits, decide]}, {person: bob@x, rights: [limits]}]",
	"[{person: alice, rights: [decide]}]",
	"key 'limits.operators': names nobody with the right 'limits'"},
    {"operators: [{person: alice, rights: [limits, decide]}, {person: bob@x, rights: [limits]}], ",
	"", "key 'limits.quorum': is 2, but 'operators' is not given"},
    {"person: bob@x", "person: alice", "'alice' stands twice"},
    {"person: bob@x", "person: \"bob x\"", "'bob x' is no person's name"},
    {"rights: [limits, decide]", "rights: [limits, limits]", "'limits' stands twice"},
    {"rights: [limits, decide]", "rights: [sign]",
	"'sign' is not allowed; allowed: limits, decide"},
    {"rights: [limits, decide]", "rights: []", "key 'limits.operators[0].rights'"},
    {"signer_ids: [2, 1]", "signer_ids: [2, 2]", "stands twice"},
    {"signer_ids: [2, 1]", "signer_ids: [65536]", "key 'limits.signer_ids[0]'"},
    {"dns:example.com", "dns:.example.com", "key 'limits.permitted[0]'"},
    {"dns:example.com", "example.com", "key 'limits.permitted[0]'"},
    {"ip:10.0.0.0/8", "ip:10.0.0.1/8", "key 'limits.permitted[1]'"},
    {"ip:10.0.0.0/8", "dns:example.com", "key 'limits.permitted[1]': stands twice"},
    {HASH, "00", "key 'limits.responders[0]': '00' is no key"},
    {"not_after: 12y", "not_after: 12", "key 'limits.not_after': '12' is not allowed"},
    {"not_after: 12y", "not_after: 2026-11-31T00:00:00Z", "key 'limits.not_after'"},
    {"validity: 10y", "validity: 60y", "p.yaml:7:11: key 'validity': '60y' is not allowed"},
    {"kind: subordinate\ntoken: main\nkey: rsa2048\nsignature: sha256\npss: false\nvalidity: 10y",
	"kind: root\ntoken: main\nkey: rsa2048\nsignature: sha256\npss: false",
	"key 'validity': is missing and must be given"},
    {"path_length: 0", "path_length: -1", "p.yaml:8:14: key 'path_length': '-1' is not allowed"},
    {"[tls-server, tls-client]", "[tls-server, tls-server]",
	"p.yaml:9:25: key 'templates[1]': 'tls-server' stands twice"},
    {"[tls-server, tls-client]", "[a/b]", "key 'templates[0]': 'a/b' is no name"},
    {"oid: 1.3.6.1.4.1.99999.1", "oid: 1.3.x", "p.yaml:10:18: key 'policies[0].oid': "},
    {"http://example.com/cps", "ldap://example.com/cps", "key 'policies[0].cps': "},
    {"period: 7d,", "period: 1s,", "p.yaml:11:15: key 'crl.period': '1s' is not allowed"},
    {"overlap: 12h,", "overlap: 7d,", "key 'crl.overlap': is not shorter than 'period'"},
    {"delta_period: 1d", "delta_period: 7d",
	"key 'crl.delta_period': is not shorter than 'period'"},
    {"delta_overlap: 1h", "delta_overlap: 1d",
	"key 'crl.delta_overlap': is not shorter than 'delta_period'"},
    {", delta_overlap: 1h", "", "key 'crl.delta_overlap': is missing"},
    {"delta_period: 1d, ", "", "key 'crl.delta_overlap': is given without 'delta_period'"},
    {"delta_period: 1d, delta_overlap: 1h, ", "",
	"key 'locations.cdp[0].flags': has a flag of delta CRLs, but 'crl' has "
	"no 'delta_period'"},
    {"crl: {period: 7d, overlap: 12h, delta_period: 1d, delta_overlap: 1h, "
     "on_revocation: 1h, on_compromise: 0s}\n",
	"", "key 'crl': is missing"},
    {"on_compromise: 0s", "on_compromise: 61m",
	"key 'crl.on_compromise': is longer than 'on_revocation'"},
    {"on_revocation: 1h", "on_revocation: 25h", "key 'crl.on_revocation': '25h' is not allowed"},
    {DEMO, "https://x/a.crl",
	"p.yaml:17:7: key 'locations.cdp[0]': 'https://x/a.crl' has the scheme https: to fetch it "
	"a "
	"client would have to verify a certificate"},
    {DEMO, "file:///srv/a.crl", "is a file, which clients elsewhere cannot read"},
    {DEMO, "ftp://x/a.crl", "has none of the schemes"},
    {DEMO, "http://x/a b.crl", "has a blank, a control or a non-ASCII character"},
    {DEMO, "http://x/\xc3\xa4.crl", "has a blank, a control or a non-ASCII character"},
    {DEMO, "http://x/a\\rb", "contains control characters"},
    {DEMO, "http://x/%zz", "has a '%' without two hex digits"},
    {DEMO, "http://x/<a>", "has the variable '<a>', which does not exist"},
    {DEMO, "http://x/<a", "must be written as %3C"},
    {DEMO, "http://x/demo.crl",
	"key 'locations.cdp[0]': 'http://x/demo.crl' is for complete and for delta CRLs, and both "
	"have one address: it needs <DeltaCRLAllowed>"},
    {"  server: pki.example.com\n", "  server: a_b\n", "'a_b' is no DNS name of a host"},
    {DEMO, "http://u:p@x/a", "has a user name or password"},
    {DEMO, "http://x/a#b", "has a fragment"},
    {DEMO, "http:///a", "has no host"},
    {DEMO, "http://x:0/a", "has a port that is none"},
    {DEMO, "http://x:65536/a", "has a port that is none"},
    {DEMO, "http://x:/a", "has a port that is none"},
    {DEMO, "http://[::1/a", "has a malformed IPv6 address"},
    {DEMO, "http://[::1]x/a", "has a malformed IPv6 address"},
    {"[::1]:389/cn=demo%20ca,o=example?certificateRevocationList;binary",
	"x/cn=d?certificateRevocationList",
	"key 'locations.cdp[1]': 'ldap://x/cn=d?certificateRevocationList?base' must name an "
	"entry"},
    {"[::1]:389/cn=demo%20ca,o=example?certificateRevocationList;binary",
	"x/cn=d?deltaRevocationList;binary", "must name an entry and the attribute"},
    {"[::1]:389/cn=demo%20ca,o=example?", "x/?", "must name an entry"},
    {"certificateRevocationList;binary?base", "certificateRevocationList;binary?sub",
	"has another scope than base"},
    {"certificateRevocationList;binary?base", "certificateRevocationList;binary,cn",
	"names several attributes"},
    {"cn=demo%20ca,o=example", "demo", "has a DN that does not parse (RFC 4514)"},
    {"cn=demo%20ca,o=example", "cn=demo,o=a%00b", "the DN has a NUL"},
    {"file:///srv/crl/<CaName>%9.crl", "http://127.0.0.1:8080/crl/demo<DeltaCRLAllowed>.crl",
	"key 'locations.cdp[2]': 'http://127.0.0.1:8080/crl/demo.crl' stands twice"},
    {"file:///srv/crl/<CaName>%9.crl", "http://127.0.0.1:8080/crl/demo%9-delta.crl",
	"'http://127.0.0.1:8080/crl/demo-delta.crl' is the address of a complete CRL and of a "
	"delta CRL"},
    {"file:///srv/crl/<CaName>%9.crl", "file:///srv/crl/demo.crl", "have one address"},
    {"file:///srv/crl/<CaName>%9.crl", "file:///srv/../%3%9.crl", "is no path"},
    {"[publish, publish_delta]", "[publish, publish_delta, in_certificates]",
	"is a file, which clients elsewhere cannot read"},
    {"[publish, publish_delta]", "[publish, publish_delta], webdav: true",
	"key 'locations.cdp[2].webdav': is only for targets of kind http"},
    {"flags: [publish], credential: web", "flags: [in_certificates], credential: web",
	"has the scheme https"},
    {"flags: [as_ocsp]", "flags: [as_ocsp], credential: web",
	"key 'locations.aia[1].credential': is only for locations with the flag publish"},
    {"flags: [as_ocsp]", "flags: [as_ocsp, in_certificates]", "has as_ocsp and others"},
    {"flags: [as_ocsp]", "flags: [in_idp]",
	"'in_idp' is no flag of 'aia'; allowed: publish, in_certificates, as_ocsp"},
    {"flags: [as_ocsp]", "flags: [ocsp]",
	"'ocsp' is no flag of 'aia'; allowed: publish, in_certificates, as_ocsp"},
    {"flags: [as_ocsp]", "flags: []", "key 'locations.aia[1].flags': "},
    {"flags: [as_ocsp]", "flags: [as_ocsp, as_ocsp]", "'as_ocsp' stands twice"},
    {"[in_certificates, in_idp, in_freshest", "[in_idp, in_freshest",
	"key 'locations.cdp[0].flags': has in_idp without in_certificates"},
    {"http://ocsp.example.com/", "ldap://ocsp.example.com/",
	"key 'locations.aia[1]': 'ldap://ocsp.example.com/' has the scheme ldap; allowed here: "
	"http"},
    {"  aia:", "  iaa:",
	"p.yaml:20:3: key 'locations.iaa': unknown key; allowed: server, config_dn, delta_suffix, "
	"keep_old, cdp, aia"},
    {"config_dn: \"CN=Configuration", "config_dn: \"Configuration", "key 'locations.config_dn': "},
    {"delta_suffix: \"-delta\"", "delta_suffix: \"/delta\"",
	"key 'locations.delta_suffix': '/delta' is not allowed"},
    {"name: web-crl", "name: web crl", "p.yaml:25:12: key 'targets[0].name': 'web crl' is not"},
    {"name: dir-delta", "name: web-crl", "key 'targets[1].name': 'web-crl' stands twice"},
    {"artifact: crl, kind: http", "artifact: crls, kind: http",
	"key 'targets[0].artifact': 'crls' is not allowed; allowed: ca-certificate, crl, "
	"delta-crl"},
    {"kind: http", "kind: ftp", "key 'targets[0].kind': 'ftp' is not allowed"},
    {"write: \"http://127.0.0.1:9000/demo.crl\"", "write: /srv/a",
	"key 'targets[0].write': '/srv/a' has none of the schemes"},
    {"write: \"http://127.0.0.1:9000/demo.crl\"", "write: \"ldap://x/cn=a\"",
	"key 'targets[0].write': 'ldap://x/cn=a' has the scheme ldap; allowed here: http, https"},
    {"write: \"http://127.0.0.1:9000/demo.crl\"", "write: \"http://web.example/demo.crl\"",
	"key 'targets[0].credential': would cross the network unencrypted"},
    {"write: \"http://127.0.0.1:9000/demo.crl\"", "write: \"http://127.evil.example/demo.crl\"",
	"key 'targets[0].credential': would cross the network unencrypted"},
    {"credential: web, ", "credential: ../web, ",
	"key 'targets[0].credential': '../web' is not allowed; allowed: letters, digits"},
    {"credential: web, ", "credential: .web, ", "a name, not a path"},
    {"credential: web, ", "", "key 'targets[0].auth': is given without 'credential'"},
    {"webdav: true", "tls: none",
	"key 'targets[0].tls': is only for targets of kind ldap; this one is of kind http"},
    {"write: /srv/pki/d.crl", "write: srv/d.crl", "key 'targets[1].write': 'srv/d.crl' is no path"},
    {"write: /srv/pki/d.crl", "write: /srv/../d.crl", "is no path"},
    {"write: /srv/pki/d.crl", "write: /srv//d.crl", "is no path"},
    {"write: /srv/pki/d.crl", "write: /srv/", "is no path"},
    {"read: \"http://127.0.0.1/d.crl\"", "read: \"http://127.0.0.1:8080/crl/demo.crl\"",
	"key 'targets[1].read': is one of 'locations.cdp' where clients expect a complete CRL"},
    {"read: \"http://127.0.0.1:8080/crl/demo.crl\"",
	"read: \"http://127.0.0.1:8080/crl/demo-delta.crl\"",
	"key 'targets[0].read': is one of 'locations.cdp' where clients expect a delta CRL"},
    {"read: \"http://127.0.0.1/d.crl\"", "read: \"http://127.0.0.1/d.crl\", credential: x",
	"key 'targets[1].credential': is not for targets of kind file"},
    {"name: dir-delta, artifact: delta-crl", "name: dir-delta, artifact: crl, zzz: 1",
	"key 'targets[1].zzz': unknown key; allowed: name, artifact, kind, write, read, bind_dn, "
	"tls, "
	"schema, webdav, region, user, host_key, mode, group, auth, credential, certificate"},
    {"write: \"ldap://ds.example/cn=demo,o=x?cACertificate;binary\"",
	"write: \"ldap://ds.example/cn=demo,o=x?cACertificate\"",
	"does not name the attribute of this artifact; a ca-certificate stands in "
	"'?cACertificate;binary'"},
    {"write: \"ldap://ds.example/cn=demo,o=x?cACertificate;binary\"",
	"write: \"ldap://ds.example/?cACertificate;binary\"", "names no entry (DN)"},
    {"write: \"ldap://ds.example", "write: \"ldaps://ds.example",
	"key 'targets[2].tls': StartTLS begins on ldap://"},
    {", tls: starttls", "", "key 'targets[2].credential': would cross the network unencrypted"},
    {"bind_dn: \"cn=w,o=x\", ", "", "'bind_dn' and 'credential' belong together"},
    {"bind_dn: \"cn=w,o=x\"", "bind_dn: writer", "key 'targets[2].bind_dn': 'writer' is no"},
    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"2:00\"", "'2:00' is no time"},
    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"24:00\"", "is no time"},
    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"02:60\"", "is no time"},
    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"sunday  2:00\"", "is no time"},
    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"someday 02:00\"", "is no time"},
    {"period: 7d", "align: \"02:00\", period: 36h", "must be whole days or divide one"},
    {"period: 7d", "align: \"monday 02:00\", period: 10d", "must be whole weeks"},
    {"delta_overlap: 1h", "delta_overlap: 1h, jitter: 31m", "'crl.jitter': is longer than half"},
    {"auth: bearer, ", "auth: aws-sigv4, ", "'auth: aws-sigv4' and 'region' belong together"},
    {"auth: bearer, webdav: true", "auth: bearer, region: eu", "belong together"},
    {"kind: file, write: /srv/pki/d.crl", "kind: file, mode: \"0777\", write: /srv/pki/d.crl",
	"'targets[1].mode': '0777' is not allowed"},
    {"webdav: true", "mode: \"0640\"", "is only for targets of kind file"},
    {"auth: bearer, ", "auth: gssapi, ", "allowed: basic, bearer, aws-sigv4"},
    {"auth: bearer, ", "auth: aws-sigv4, region: eu, ", "is nothing that an S3 server does"},
    {"auth: bearer, ", "certificate: me, ", "'targets[0].certificate': is shown in TLS only"},
    {", credential: ds, tls: starttls", ", credential: ds, tls: starttls, certificate: me",
	"says who we are"},
    {", credential: ds, tls: starttls", ", credential: ds, tls: starttls, auth: gssapi",
	"'targets[2].bind_dn': is not for 'auth: gssapi'"},
    {"bind_dn: \"cn=w,o=x\", credential: ds, ", "auth: gssapi, ", "needs 'credential'"},
    {"kind: file, write: /srv/pki/d.crl",
	"kind: sftp, user: u, credential: c, host_key: x, write: \"sftp://h/d.crl\"",
	"key 'targets[1].host_key': 'x' is no fingerprint"},
    {"kind: file, write: /srv/pki/d.crl", "kind: sftp, user: u, write: \"sftp://h/d.crl\"",
	"'targets[1].host_key': is missing"},
    {"kind: file, write: /srv/pki/d.crl",
	"kind: sftp, user: u, host_key: \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\", "
	"write: \"sftp://h/d.crl\"",
	"'targets[1].credential': is missing"},
    {"kind: file, write: /srv/pki/d.crl", "kind: command, write: ../x",
	"key 'targets[1].write': '../x' is no name of a program"},
    {"kind: file, write: /srv/pki/d.crl", "kind: command, credential: x, write: sync",
	"key 'targets[1].credential': is not for targets of kind command"},
    {"path_length: 0", "path_length: 0\nzzz: 1",
	"p.yaml:9:1: key 'zzz': unknown key; allowed: subject"},
    {"path_length: 0", "path_length: 0\npath_length: 0",
	"p.yaml:9:1: key 'path_length': stands twice"},
};

static bool
parse_altered(const char *from, const char *to, struct error *err)
{
	const char *at = strstr(good, from);
	char text[8192];
	struct capolicy p;
	int len;

	if (at == NULL)
		fail_msg("'%s' is not in the policy", from);
	len = snprintf(
	    text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
	assert_in_range(len, 1, sizeof text - 1);
	*err = ERROR_INIT;
	if (!capolicy_parse(text, (size_t)len, "p.yaml", &p, err))
		return false;
	capolicy_free(&p);
	return true;
}

static void
test_refusals(void **state)
{
	struct error err;

	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		if (parse_altered(refused[i].from, refused[i].to, &err) ||
		    strstr(err.text, refused[i].error) == NULL)
			fail_msg("'%s' -> '%s'\ngave:   %s\nwanted: %s", refused[i].from,
			    refused[i].to, err.text, refused[i].error);
		assert_int_equal(err.code, ERROR_CONFIG);
		assert_memory_equal(err.text, "p.yaml:", 7);
	}
}

static const struct {
	const char *from, *to;
} fine[] = {
    {"key: rsa2048\nsignature: sha256\npss: false", "key: rsa4096\nsignature: sha512\npss: true"},
    {"validity: 10y\n", ""},
    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"sunday 02:00\", jitter: 30m"},
    {"period: 7d", "align: \"23:59\", period: 3d"},
    {"write: \"http://127.0.0.1:9000/demo.crl\"", "write: \"https://web.example/demo.crl\""},
    {"read: \"http://127.0.0.1/d.crl\"", "read: /srv/pki/d.crl"},
    {"?certificateRevocationList;binary?base", "?certificateRevocationList;binary"},
    {"tls: starttls", "tls: ldaps"},
};

static void
test_variants(void **state)
{
	struct error err;

	for (size_t i = 0; i < COUNT_OF(fine); i++)
		if (!parse_altered(fine[i].from, fine[i].to, &err))
			fail_msg("'%s' -> '%s': %s", fine[i].from, fine[i].to, err.text);
}

/* Times of the week count from the first Thursday of 1970. */
static void
test_times_of_the_calendar(void **state)
{
	static const struct {
		const char *text;
		int64_t unit, offset;
	} cases[] = {
	    {"00:00", 86400, 0},
	    {"02:30", 86400, 9000},
	    {"thursday 00:00", 604800, 0},
	    {"sunday 02:00", 604800, 3 * 86400 + 7200},
	    {"wednesday 23:59", 604800, 6 * 86400 + 86340},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *from = "delta_overlap: 1h", *at = strstr(good, from);
		struct error err = ERROR_INIT;
		struct capolicy p;
		char text[8192];
		int len = snprintf(text, sizeof text, "%.*s%s, align: \"%s\"%s", (int)(at - good),
		    good, from, cases[i].text, at + strlen(from));

		assert_in_range(len, 1, sizeof text - 1);
		if (!capolicy_parse(text, (size_t)len, "p.yaml", &p, &err))
			fail_msg("%s", err.text);
		assert_int_equal(p.align_unit_s, cases[i].unit);
		assert_int_equal(p.align_offset_s, cases[i].offset);
		capolicy_free(&p);
	}
}

static void
test_every_prefix(void **state)
{
	struct error err = ERROR_INIT;
	struct capolicy p;

	for (size_t i = 0; i < strlen(good); i++) {
		err = ERROR_INIT;
		if (capolicy_parse(good, i, "p.yaml", &p, &err))
			capolicy_free(&p);
	}
	err = ERROR_INIT;
	assert_false(capolicy_parse(good, CAPOLICY_TEXT_MAX + 1, "p.yaml", &p, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
}

/* ---- what follows from it */

struct key {
	EVP_PKEY *pkey;
	uint8_t *der;
	struct bytes spki;
};

static struct key
key_new(bool rsa)
{
	struct key k = {0};

	k.pkey = rsa ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
		     : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
	assert_non_null(k.pkey);
	k.spki.len = (size_t)i2d_PUBKEY(k.pkey, &k.der);
	k.spki.p = k.der;
	return k;
}

static void
key_free(struct key *k)
{
	OPENSSL_free(k->der);
	EVP_PKEY_free(k->pkey);
}

static struct bytes
sign(const struct key *k, const char *digest, struct bytes tbs, uint8_t sig[SIG_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len = SIG_MAX;

	assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, digest, NULL, NULL, k->pkey, NULL), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &len, tbs.p, tbs.len), 1);
	EVP_MD_CTX_free(ctx);
	return (struct bytes){sig, len};
}

static const char root_policy[] =
    "subject: \"CN=Root,O=Example,C=DE\"\nkind: root\ntoken: t\nkey: p384\nvalidity: 20y\n"
    "path_length: 1\npolicies: [{oid: 2.5.29.32.0}]\ncrl: {period: 30d, overlap: 7d}\n"
    "locations: {cdp: [{url: \"http://x/r.crl\", flags: [in_certificates]}], "
    "aia: [{url: \"http://x/r.cer\", flags: [in_certificates]}]}\n";

/* A root's certificate as OpenSSL reads it. */
static void
test_root_certificate(void **state)
{
	static const uint8_t serial[20] = {0x41, 1, 2, 3, 4, 5, 6, 7, 8, 9};
	uint8_t buf[4096], out[4096], sig[SIG_MAX];
	struct key k = key_new(false), other = key_new(true);
	struct location_names names;
	struct error err = ERROR_INIT;
	struct bytes tbs, der;
	struct certificate c;
	struct capolicy p;
	struct ca_context *ctx = NULL;
	const uint8_t *at;
	int64_t not_after = 0;
	X509 *x;

	assert_true(capolicy_parse(root_policy, strlen(root_policy), "r", &p, &err));
	if (!capolicy_build_root(&p, k.spki, (struct bytes){serial, sizeof serial}, NOW, INT64_MAX,
		buf, sizeof buf, &tbs, &not_after, &err))
		fail_msg("%s", err.text);
	assert_int_equal(not_after, NOW + 20LL * 365 * 86400 - 1);
	assert_true(capolicy_build_root(&p, k.spki, (struct bytes){serial, sizeof serial}, NOW,
	    NOW + 86400, buf, sizeof buf, &tbs, &not_after, &err));
	assert_int_equal(not_after, NOW + 86400);
	assert_true(capolicy_build_root(&p, k.spki, (struct bytes){serial, sizeof serial}, NOW,
	    INT64_MAX, buf, sizeof buf, &tbs, &not_after, &err));
	assert_true(certificate_assemble(
	    tbs, p.sig_alg, sign(&k, "SHA384", tbs, sig), out, sizeof out, &der, &err));
	at = der.p;
	x = d2i_X509(NULL, &at, (long)der.len);
	assert_non_null(x);
	assert_int_equal(X509_verify(x, k.pkey), 1);
	assert_int_equal(X509_check_ca(x), 1);
	assert_int_equal(X509_get_pathlen(x), 1);
	assert_int_equal(X509_get_key_usage(x),
	    0x0004 | 0x0002); /* OpenSSL's numbers of keyCertSign and cRLSign */
	assert_int_equal(X509_get_extension_flags(x) & EXFLAG_SS, EXFLAG_SS);
	assert_int_equal(X509_get_ext_by_NID(x, NID_authority_key_identifier, -1), -1);
	assert_true(X509_EXTENSION_get_critical(
	    X509_get_ext(x, X509_get_ext_by_NID(x, NID_basic_constraints, -1))));
	assert_true(X509_get_ext_by_NID(x, NID_certificate_policies, -1) >= 0);
	X509_free(x);

	assert_true(certificate_parse(der, &c, &err));
	assert_true(capolicy_check_certificate(&p, k.spki, &c, &err));
	assert_false(capolicy_check_certificate(&p, other.spki, &c, &err));
	assert_non_null(strstr(err.text, "another key"));

	err = ERROR_INIT;
	capolicy_names(&p, "root", &names);
	if (!capolicy_context(&p, &names, NULL, der, &ctx, &err))
		fail_msg("%s", err.text);
	assert_int_equal(ctx->path_length, 1);
	assert_int_equal(ctx->not_after, not_after);
	assert_true(bytes_equal(ctx->issuer, p.subject));
	assert_true(bytes_equal(ctx->spki, k.spki));
	assert_int_equal(ctx->key_id.len, SKI_LEN);
	ca_context_free(ctx);

	assert_false(capolicy_build_root(&p, other.spki, (struct bytes){serial, sizeof serial}, NOW,
	    INT64_MAX, buf, sizeof buf, &tbs, NULL, &err));
	assert_string_equal(err.text, "the CA's key is none of type p384, as its policy says");
	capolicy_free(&p);
	key_free(&k);
	key_free(&other);
}

static void
test_request_of_subordinate(void **state)
{
	uint8_t buf[4096], out[4096], sig[SIG_MAX];
	struct key k = key_new(true);
	struct error err = ERROR_INIT;
	struct bytes info, der;
	struct capolicy p;
	struct csr csr;

	assert_true(capolicy_parse(good, strlen(good), "p", &p, &err));
	assert_true(capolicy_build_request(&p, k.spki, buf, sizeof buf, &info, &err));
	assert_true(csr_assemble(
	    info, p.sig_alg, sign(&k, "SHA256", info, sig), out, sizeof out, &der, &err));
	if (!csr_parse(der, &csr, &err) || !csr_verify(&csr, &err))
		fail_msg("%s", err.text);
	assert_true(csr.has_basic_constraints);
	assert_true(csr.ca);
	assert_int_equal(csr.path_length, 0);
	assert_int_equal(csr.key_usage, KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	assert_true(bytes_equal(csr.subject, p.subject));

	assert_false(capolicy_build_root(&p, k.spki, (struct bytes){sig, 20}, NOW, INT64_MAX, buf,
	    sizeof buf, &info, NULL, &err));
	assert_non_null(strstr(err.text, "only a root signs its own certificate"));

	err = ERROR_INIT;
	capolicy_free(&p);
	key_free(&k);
}

/* ---- several CRLs */

static const char several[] =
    "subject: CN=S\nkind: root\ntoken: t\nkey: p256\nvalidity: 1y\n"
    "crl: {period: 7d, overlap: 1d, delta_period: 1d, delta_overlap: 1h, by_kind: true, "
    "shards: 2}\n"
    "locations:\n"
    "  delta_suffix: \"-delta\"\n"
    "  cdp: [{url: \"http://h/%3<CRLPartitionIndex>%8%9.crl\", flags: [in_certificates, in_idp, "
    "in_freshest, in_crl_published_location]}]\n"
    "targets: [{name: t, artifact: crl, kind: file, write: /s/<CRLPartitionIndex>, "
    "read: /s/<CRLPartitionIndex>}]\n";

/* Everything that may stand in an issuingDistributionPoint, from OpenSSL. */
static void
check_idp(struct bytes value, const char *url, bool user, bool ca, unsigned reasons)
{
	const uint8_t *at = value.p;
	ISSUING_DIST_POINT *idp = d2i_ISSUING_DIST_POINT(NULL, &at, (long)value.len);
	const GENERAL_NAME *name;

	assert_non_null(idp);
	assert_ptr_equal(at, value.p + value.len);
	assert_int_equal(idp->onlyuser != 0, user);
	assert_int_equal(idp->onlyCA != 0, ca);
	assert_int_equal(idp->onlyattr | idp->indirectCRL, 0);
	assert_int_equal(idp->onlysomereasons != NULL, reasons != 0);
	for (int bit = 1; bit <= 6 && reasons != 0; bit++)
		assert_int_equal(
		    ASN1_BIT_STRING_get_bit(idp->onlysomereasons, bit), reasons >> bit & 1);
	assert_int_equal(sk_GENERAL_NAME_num(idp->distpoint->name.fullname), 1);
	name = sk_GENERAL_NAME_value(idp->distpoint->name.fullname, 0);
	assert_int_equal(ASN1_STRING_length(name->d.ia5), strlen(url));
	assert_memory_equal(ASN1_STRING_get0_data(name->d.ia5), url, strlen(url));
	ISSUING_DIST_POINT_free(idp);
}

static void
test_several_crls(void **state)
{
	static const struct {
		const char *label, *url;
		bool ca;
	} scopes[] = {
	    {"~user~1of2", "http://h/demo~user~1of2(1).crl", false},
	    {"~user~2of2", "http://h/demo~user~2of2(1).crl", false},
	    {"~ca", "http://h/demo~ca(1).crl", true},
	};
	struct capolicy_scope_values *values = malloc(sizeof *values);
	struct location_names names;
	struct capolicy_scope scope;
	struct error err = ERROR_INIT;
	struct capolicy p;

	assert_non_null(values);
	if (!capolicy_parse(several, strlen(several), "p", &p, &err))
		fail_msg("%s", err.text);
	capolicy_names(&p, "demo", &names);
	names.key_index = 1;
	assert_int_equal(capolicy_scope_count(&p), COUNT_OF(scopes));
	for (size_t i = 0; i < COUNT_OF(scopes); i++) {
		capolicy_scope(&p, i, &scope);
		assert_string_equal(scope.label, scopes[i].label);
		assert_int_equal(scope.kind == SCOPE_CA, scopes[i].ca);
		assert_true(capolicy_scope_values(&p, &scope, &names, values, &err));
		check_idp(values->idp, scopes[i].url, !scopes[i].ca, scopes[i].ca, 0);
		assert_true(extension_check_distribution_points(values->freshest, &err));
		assert_true(extension_check_distribution_points(values->published, &err));
	}
	capolicy_free(&p);
	free(values);
}

static size_t
choose(int shards, size_t attributes, bool by_kind, bool ca, const char *attribute,
    struct bytes serial)
{
	const struct capolicy p = {.crl_shards = shards,
	    .crl_by_kind = by_kind,
	    .attributes = {"first", "second"},
	    .attribute_count = attributes};

	return capolicy_scope_choose(&p, ca, attribute, serial);
}

static void
test_shards_are_chosen_by_serial(void **state)
{
	uint8_t serial[20] = {0x41};
	const struct bytes s = {serial, sizeof serial};

	for (unsigned i = 0; i < 512; i++) {
		serial[18] = (uint8_t)(i >> 8);
		serial[19] = (uint8_t)i;
		assert_int_equal(choose(1, 0, false, i % 2, "", s), 0);
		assert_int_equal(choose(5, 0, false, i % 2, "", s), i % 5);
		assert_int_equal(choose(1, 0, true, i % 2, "", s), i % 2);
		assert_int_equal(choose(3, 0, true, i % 2, "", s), i % 2 ? 3 : i % 3);
		assert_int_equal(choose(5, 2, false, i % 2, "second", s), 10 + i % 5);
		assert_int_equal(choose(5, 2, false, i % 2, "first", s), 5 + i % 5);
		assert_int_equal(choose(5, 2, false, i % 2, "third", s), i % 5);
		assert_int_equal(choose(3, 2, true, i % 2, "second", s), i % 2 ? 9 : 6 + i % 3);
	}
}

/* Kinds, attributes, shards and reasons at once. */
static void
test_every_division_at_once(void **state)
{
	static const struct {
		const char *label;
		bool ca;
		size_t whole;
		unsigned reasons;
	} scopes[] = {
	    {"~user~1of2", false, 0, 0},
	    {"~user~2of2", false, 1, 0},
	    {"~user~dev~1of2", false, 2, 0},
	    {"~user~dev~2of2", false, 3, 0},
	    {"~ca", true, 4, 0},
	    {"~user~1of2~bad", false, 0, 6},
	    {"~user~1of2~rest", false, 0, 0x50},
	    {"~user~2of2~bad", false, 1, 6},
	    {"~user~2of2~rest", false, 1, 0x50},
	    {"~user~dev~1of2~bad", false, 2, 6},
	    {"~user~dev~1of2~rest", false, 2, 0x50},
	    {"~user~dev~2of2~bad", false, 3, 6},
	    {"~user~dev~2of2~rest", false, 3, 0x50},
	    {"~ca~bad", true, 4, 6},
	    {"~ca~rest", true, 4, 0x50},
	};
	static const char division[] =
	    "shards: 2, by_attribute: [dev], by_reasons: [{name: bad, reasons: [keyCompromise, "
	    "cACompromise]}, {name: rest, reasons: [certificateHold, superseded]}]}";
	struct capolicy_scope_values *values = malloc(sizeof *values);
	const char *at = strstr(several, "shards: 2}");
	struct location_names names;
	struct capolicy_scope scope;
	struct error err = ERROR_INIT;
	char text[2048], url[256];
	struct capolicy p;

	assert_non_null(values);
	(void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - several), several, division,
	    at + strlen("shards: 2}"));
	if (!capolicy_parse(text, strlen(text), "p", &p, &err))
		fail_msg("%s", err.text);
	capolicy_names(&p, "demo", &names);
	assert_int_equal(capolicy_part_count(&p), 5);
	assert_int_equal(capolicy_scope_count(&p), COUNT_OF(scopes));
	assert_int_equal(capolicy_scope_of_reasons(&p, 3, 1), 12);
	for (size_t i = 0; i < COUNT_OF(scopes); i++) {
		capolicy_scope(&p, i, &scope);
		assert_string_equal(scope.label, scopes[i].label);
		assert_int_equal(scope.kind == SCOPE_CA, scopes[i].ca);
		assert_int_equal(scope.whole, scopes[i].whole);
		assert_int_equal(scope.reasons, scopes[i].reasons);
		assert_true(capolicy_scope_values(&p, &scope, &names, values, &err));
		(void)snprintf(url, sizeof url, "http://h/demo%s.crl", scopes[i].label);
		check_idp(values->idp, url, !scopes[i].ca, scopes[i].ca, scopes[i].reasons);
		assert_true(extension_check_distribution_points(values->freshest, &err));
	}
	capolicy_free(&p);
	free(values);
}

static void
test_crls_that_would_share_a_place(void **state)
{
	static const struct {
		const char *from, *to, *words;
	} cases[] = {
	    {"%3<CRLPartitionIndex>%8%9.crl", "%3%8%9.crl",
		"key 'locations.cdp[0]': 'http://h/%3%8%9.crl' would be the address of all 3 CRLs "
		"that 'crl' asks for: it needs <CRLPartitionIndex>"},
	    {"in_idp, ", "", "key 'locations': has no location with in_idp, but 'crl.shards'"},
	    {"write: /s/<CRLPartitionIndex>", "write: /s/x", "key 'targets[0].read': would be the"},
	    {"read: /s/<CRLPartitionIndex>", "read: /s/x", "key 'targets[0].read': would be the"},
	    {"shards: 2", "shards: 65", "key 'crl.shards': '65' is not allowed"},
	    {"shards: 2", "shards: 0", "key 'crl.shards': '0' is not allowed"},
	    {"shards: 2", "by_attribute: []", "key 'crl.by_attribute'"},
	    {"shards: 2", "by_attribute: [a, a]", "'a' stands twice"},
	    {"shards: 2", "by_attribute: [user]", "'user' is not allowed"},
	    {"shards: 2", "by_attribute: [v2]", "'v2' is not allowed"},
	    {"shards: 2", "by_attribute: [2of3]", "'2of3' is not allowed"},
	    {"shards: 2", "by_attribute: [A]", "'A' is not allowed"},
	    {"shards: 2", "by_attribute: [abcdefghijklmnopq]", "is not allowed"},
	    {"shards: 2", "by_reasons: [{name: x, reasons: [unspecified]}]",
		"'unspecified' is no reason that a CRL can be about"},
	    {"shards: 2", "by_reasons: [{name: x, reasons: [removeFromCRL]}]",
		"'removeFromCRL' is no reason that a CRL can be about"},
	    {"shards: 2", "by_reasons: [{name: x, reasons: []}]", "by_reasons[0].reasons"},
	    {"shards: 2", "by_reasons: [{name: x, reasons: [superseded, superseded]}]",
		"'superseded' stands twice"},
	    {"shards: 2",
		"by_reasons: [{name: x, reasons: [superseded]}, {name: y, reasons: [superseded]}]",
		"are those of 'x', too"},
	    {"shards: 2", "by_attribute: [x], by_reasons: [{name: x, reasons: [superseded]}]",
		"'x' stands twice"},
	    {"shards: 2",
		"by_reasons: [{name: x, reasons: [keyCompromise, cACompromise, affiliationChanged, "
		"superseded, cessationOfOperation, certificateHold, privilegeWithdrawn, "
		"aACompromise]}]",
		"the CRL for all of them is there anyway"},
	    {"shards: 2", "shards: 64, by_reasons: [{name: x, reasons: [superseded]}]",
		"makes 130 CRLs; allowed: at most 128"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const char *at = strstr(several, cases[i].from);
		struct error err = ERROR_INIT;
		struct capolicy p;
		char text[2048];

		assert_non_null(at);
		(void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - several), several,
		    cases[i].to, at + strlen(cases[i].from));
		assert_false(capolicy_parse(text, strlen(text), "p", &p, &err));
		if (strstr(err.text, cases[i].words) == NULL)
			fail_msg("%s", err.text);
	}
}

/* ---- the manual */

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

/* Where to put an unknown key so that the error lists what its mapping knows. */
static const struct {
	const char *from, *to, *prefix;
} mappings[] = {
    {"path_length: 0", "path_length: 0\nzzz: 1", ""},
    {"{oid: ", "{zzz: 1, oid: ", "policies[]."},
    {"{period: ", "{zzz: 1, period: ", "crl."},
    {"on_compromise: 0s", "by_reasons: [{zzz: 1, name: x, reasons: [superseded]}]",
	"crl.by_reasons[]."},
    {"  cdp:\n", "  zzz: 1\n  cdp:\n", "locations."},
    {"{url: \"file:", "{zzz: 1, url: \"file:", "locations.cdp[]."},
    {"{url: \"https://up", "{zzz: 1, url: \"https://up", "locations.aia[]."},
    {"{name: web-crl", "{zzz: 1, name: web-crl", "targets[]."},
    {"limits: {",
	"entries: [{zzz: 1, name: e, entry: \"ldap://d/uid=<requester>,o=x\", "
	"templates: [tls-client]}]\nlimits: {",
	"entries[]."},
    {"limits: {", "limits: {zzz: 1, ", "limits."},
    {"{person: alice", "{zzz: 1, person: alice", "limits.operators[]."},
};

static void
test_every_key_is_in_the_manual(void **state)
{
	char *manual = slurp(MANUAL), *list, *save, entry[128];
	size_t keys = 0, items = 0;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(mappings); i++) {
		assert_false(parse_altered(mappings[i].from, mappings[i].to, &err));
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
	for (const char *m = manual; (m = strstr(m, "\n.It Ic ")) != NULL; m++)
		items++;
	/* And the manual has no key that does not exist. */
	assert_int_equal(items, keys);
	free(manual);
}

/* The manual's example is a policy. */
static void
test_example_of_the_manual(void **state)
{
	char *manual = slurp(MANUAL), *text, *end;
	struct error err = ERROR_INIT;
	struct capolicy p;

	text = strstr(manual, ".Bd -literal");
	assert_non_null(text);
	text = strchr(text, '\n') + 1;
	end = strstr(text, ".Ed");
	assert_non_null(end);
	if (!capolicy_parse(text, (size_t)(end - text), MANUAL, &p, &err))
		fail_msg("%s", err.text);
	capolicy_free(&p);
	free(manual);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_everything),
	    cmocka_unit_test(test_least_policy),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_variants),
	    cmocka_unit_test(test_times_of_the_calendar),
	    cmocka_unit_test(test_every_prefix),
	    cmocka_unit_test(test_root_certificate),
	    cmocka_unit_test(test_request_of_subordinate),
	    cmocka_unit_test(test_several_crls),
	    cmocka_unit_test(test_shards_are_chosen_by_serial),
	    cmocka_unit_test(test_every_division_at_once),
	    cmocka_unit_test(test_crls_that_would_share_a_place),
	    cmocka_unit_test(test_every_key_is_in_the_manual),
	    cmocka_unit_test(test_example_of_the_manual),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
