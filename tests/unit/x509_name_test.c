#include "tests/unit/x509_util.h"

#include "daemon/x509/name.h"

struct pair {
	const char *keyword, *value;
};

/* Builds with OpenSSL in DER order and compares. */
static void
same_as_openssl(const char *text, const struct pair *pairs, size_t count)
{
	X509_NAME *name = X509_NAME_new();
	struct error e = ERROR_INIT;
	uint8_t buf[NAME_DER_MAX];
	char back[NAME_TEXT_MAX];
	struct bytes der, want;

	for (size_t i = 0; i < count; i++)
		assert_true(X509_NAME_add_entry_by_txt(name, pairs[i].keyword, MBSTRING_UTF8,
		    (const unsigned char *)pairs[i].value, -1, -1, 0));
	want = TO_DER(X509_NAME, name);
	assert_ok(name_from_text(text, buf, sizeof buf, &der, &e), e);
	assert_bytes(der, want);
	assert_ok(name_check(der, &e), e);
	assert_ok(name_to_text(der, back, sizeof back, &e), e);
	assert_ok(name_from_text(back, buf, sizeof buf, &der, &e), e);
	assert_bytes(der, want);
	free_bytes(want);
	X509_NAME_free(name);
}

static void
like_openssl(void **state)
{
	const struct pair demo[] = {{"C", "DE"}, {"O", "Example"}, {"CN", "Demo CA"}};
	const struct pair odd[] = {{"C", "DE"}, {"ST", "Bayern"}, {"L", "M\xc3\xbcnchen"},
	    {"O", "Doe, Jane & \"Sons\" <+;>"}, {"OU", " leading and trailing "}, {"OU", "#1"},
	    {"CN", "a\\b=c"}, {"serialNumber", "12-34"}, {"emailAddress", "a@b.example"}};
	const struct pair directory[] = {
	    {"DC", "example"}, {"DC", "corp"}, {"OU", "Users"}, {"UID", "jdoe"}};

	same_as_openssl("CN=Demo CA,O=Example,C=DE", demo, 3);
	same_as_openssl("  cn = Demo CA ,  O=Example  , countryName=DE ", demo, 3);
	same_as_openssl("2.5.4.3=Demo CA,O=Example,C=DE", demo, 3);
	same_as_openssl("emailAddress=a@b.example,serialNumber=12-34,CN=a\\\\b=c,OU=\\#1,"
			"OU=\\ leading and trailing\\ ,O=Doe\\, Jane & \\\"Sons\\\" \\<\\+\\;\\>,"
			"L=M\\C3\\BCnchen,ST=Bayern,C=DE",
	    odd, COUNT_OF(odd));
	same_as_openssl("UID=jdoe,OU=Users,DC=corp,DC=example", directory, COUNT_OF(directory));
}

static void
several_attributes_in_an_rdn(void **state)
{
	X509_NAME *name = X509_NAME_new();
	struct error e = ERROR_INIT;
	uint8_t buf[NAME_DER_MAX];
	char text[NAME_TEXT_MAX];
	struct bytes der, want;

	assert_true(X509_NAME_add_entry_by_txt(
	    name, "O", MBSTRING_UTF8, (const unsigned char *)"Example", -1, -1, 0));
	assert_true(X509_NAME_add_entry_by_txt(
	    name, "UID", MBSTRING_UTF8, (const unsigned char *)"jd", -1, -1, 0));
	assert_true(X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const unsigned char *)"Jane", -1, -1, -1));
	want = TO_DER(X509_NAME, name);
	assert_ok(name_from_text("UID=jd+CN=Jane,O=Example", buf, sizeof buf, &der, &e), e);
	assert_bytes(der, want);
	assert_ok(name_from_text("CN=Jane + UID=jd,O=Example", buf, sizeof buf, &der, &e), e);
	assert_bytes(der, want);
	assert_ok(name_to_text(der, text, sizeof text, &e), e);
	assert_string_equal(text, "CN=Jane+UID=jd,O=Example");
	free_bytes(want);
	X509_NAME_free(name);
}

static void
wrong_text(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
	    {"", "empty"},
	    {"/C=DE/CN=x", "commas"},
	    {"CN", "TYPE=value"},
	    {"CN=", "is empty"},
	    {"=x", "not known"},
	    {"FOO=x", "not known"},
	    {"CN=a,", "at its end"},
	    {"CN=a,,O=b", "TYPE=value"},
	    {"CN=a;O=b", "escaped"},
	    {"CN=\"a\"", "escaped"},
	    {"CN=a\\", "backslash"},
	    {"CN=a\\zz", "backslash"},
	    {"CN=a\\00b", "control character"},
	    {"CN=a\\0Ab", "control character"},
	    {"CN=\\C3", "character that its string"},
	    {"CN=\\ED\\A0\\80", "character that its string"},
	    {"C=DEU", "must have 2"},
	    {"C=D", "must have 2"},
	    {"C=D_", "PrintableString"},
	    {"emailAddress=\xc3\xbc@x", "character that its string"},
	    {"CN=12345678901234567890123456789012345678901234567890123456789012345", "at most 64"},
	    {"CN=a+CN=b", "twice"},
	    {"CN=#", "no DER"},
	    {"CN=#0c01", "no DER"},
	    {"CN=#0c0161zz", "hexadecimal"},
	    {"1.2.3.x=a", "not known"},
	};
	uint8_t buf[NAME_DER_MAX];
	struct bytes der;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error e = ERROR_INIT;

		if (name_from_text(cases[i].text, buf, sizeof buf, &der, &e))
			fail_msg("'%s' was taken", cases[i].text);
		assert_error(e, cases[i].words);
	}
}

static void
limits(void **state)
{
	struct error e = ERROR_INIT;
	uint8_t buf[NAME_DER_MAX];
	char text[8192] = "CN=";
	struct bytes der;

	/* Characters count, not octets: 64 umlauts are 128 octets. */
	for (int i = 0; i < 64; i++)
		strcat(text, "\xc3\xbc");
	assert_ok(name_from_text(text, buf, sizeof buf, &der, &e), e);
	text[0] = '\0';
	for (int i = 0; i < 60; i++)
		(void)sprintf(text + strlen(text), "OU=unit %d,", i);
	strcat(text, "O=x");
	assert_ok(name_from_text(text, buf, sizeof buf, &der, &e), e);
	strcat(text, ",OU=a,OU=b,OU=c,OU=d");
	assert_false(name_from_text(text, buf, sizeof buf, &der, &e));
	assert_error(e, "too many");
	e = ERROR_INIT;
	assert_ok(name_from_text("CN=x", buf, sizeof buf, &der, &e), e);
	assert_false(name_from_text("CN=a long name", buf, 10, &der, &e));
	assert_error(e, "octets of DER");
}

static void
readable(void **state)
{
	static const struct {
		const char *der, *text;
	} cases[] = {
	    {"30 00", ""},
	    /* right-to-left override, line feed, zero width space */
	    {"30 13 31 11 30 0f 06 03 55 04 03 0c 08 61 e2 80 ae 0a e2 80 8b",
		"CN=a\\E2\\80\\AE\\0A\\E2\\80\\8B"},
	    /* BMPString */
	    {"30 0f 31 0d 30 0b 06 03 55 04 03 1e 04 00 41 20 ac", "CN=A\xe2\x82\xac"},
	    /* TeletexString as Latin 1 */
	    {"30 0c 31 0a 30 08 06 03 55 04 03 14 01 fc", "CN=\xc3\xbc"},
	    /* no short name */
	    {"30 0b 31 09 30 07 06 02 2a 03 0c 01 61", "1.2.3=#0C0161"},
	};
	struct error e = ERROR_INIT;
	char text[NAME_TEXT_MAX];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_ok(name_to_text(hex(cases[i].der), text, sizeof text, &e), e);
		assert_string_equal(text, cases[i].text);
	}
	assert_false(name_to_text(hex(cases[1].der), text, 10, &e));
	assert_error(e, "longer than");
}

static void
hostile_der(void **state)
{
	static const struct {
		const char *der, *words;
	} cases[] = {
	    {"", "no DER SEQUENCE"},
	    {"31 00", "no DER SEQUENCE"},
	    {"30 00 00", "no DER SEQUENCE"},
	    {"30 02 31 00", "sequence of attributes"},
	    {"30 02 30 00", "no RDN"},
	    {"30 0c 31 0a 30 08 06 03 55 04 03 0c 01 ff", "character"},
	    {"30 0c 31 0a 30 08 06 03 55 04 03 04 01 61", "no string"},
	    /* VisibleString is no DirectoryString; OpenSSL would not read it back */
	    {"30 0c 31 0a 30 08 06 03 55 04 03 1a 01 61", "no string"},
	    {"30 0b 31 09 30 07 06 03 55 04 03 0c 00", "empty"},
	    {"30 0c 31 0a 30 08 06 03 55 04 03 0c 01 00", "control"},
	    {"30 0c 31 0a 30 08 06 03 55 04 03 13 01 2a", "PrintableString"},
	    {"30 0d 31 0b 30 09 06 03 55 04 03 0c 01 61 00", "sequence of attributes"},
	    /* O before CN in a SET */
	    {"30 16 31 14 30 08 06 03 55 04 0a 0c 01 61 30 08 06 03 55 04 03 0c 01 61",
		"DER order"},
	    {"30 16 31 14 30 08 06 03 55 04 03 0c 01 61 30 08 06 03 55 04 03 0c 01 62", "twice"},
	};
	uint8_t buf[NAME_DER_MAX];
	struct bytes der;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error e = ERROR_INIT;

		assert_false(name_check(hex(cases[i].der), &e));
		assert_error(e, cases[i].words);
	}
	/* Cut off and flipped: never an overread, whatever the answer. */
	{
		struct error e = ERROR_INIT;
		char text[NAME_TEXT_MAX];

		assert_ok(
		    name_from_text("CN=Jane+UID=jd,OU=x,O=Example,C=DE", buf, sizeof buf, &der, &e),
		    e);
		for (size_t i = 0; i < der.len; i++) {
			uint8_t *copy = malloc(i + 1);

			memcpy(copy, der.p, i);
			assert_false(name_check((struct bytes){copy, i}, &(struct error){0}));
			free(copy);
		}
		for (int i = 0; i < 5000; i++) {
			uint8_t *copy = malloc(der.len);

			memcpy(copy, der.p, der.len);
			copy[random_below((unsigned)der.len)] ^= (uint8_t)(1 << random_below(8));
			if (!name_to_text((struct bytes){copy, der.len}, text, sizeof text,
				&(struct error){0}))
				text[0] = '\0';
			free(copy);
		}
	}
}

static void
attributes(void **state)
{
	struct error e = ERROR_INIT;
	struct name_attribute a;
	uint8_t buf[NAME_DER_MAX], oid_buf[64];
	struct name_iter it;
	struct bytes der, oid;
	char text[64];

	assert_ok(name_from_text("CN=Jane+UID=jd,O=M\xc3\xbc,C=DE", buf, sizeof buf, &der, &e), e);
	name_iter_init(&it, der);
	assert_true(name_iter_next(&it, &a));
	assert_string_equal(name_attribute_keyword(a.oid), "C");
	assert_int_equal(a.rdn, 0);
	assert_true(name_iter_next(&it, &a));
	assert_true(name_attribute_text(&a, text, sizeof text));
	assert_string_equal(text, "M\xc3\xbc");
	assert_true(name_iter_next(&it, &a));
	assert_int_equal(a.rdn, 2);
	assert_true(name_iter_next(&it, &a));
	assert_int_equal(a.rdn, 2);
	assert_string_equal(name_attribute_keyword(a.oid), "UID");
	assert_true(name_attribute_text(&a, text, 3));
	assert_false(name_attribute_text(&a, text, 2));
	assert_false(name_iter_next(&it, &a));
	assert_true(name_attribute_oid("emailaddress", oid_buf, &oid));
	assert_string_equal(name_attribute_keyword(oid), "emailAddress");
	assert_true(name_attribute_oid("2.5.4.10", oid_buf, &oid));
	assert_string_equal(name_attribute_keyword(oid), "O");
	assert_false(name_attribute_oid("nonsense", oid_buf, &oid));
	assert_true(name_is_empty(hex("30 00")));
}

/* What somebody could take for the same name. */
static void
matching(void **state)
{
	static const char *const same[][2] = {
	    {"CN=Demo CA,O=Example,C=DE", "CN=Demo CA,O=Example,C=DE"},
	    {"CN=Demo CA,O=Example,C=DE", "CN=demo ca,O=EXAMPLE,C=de"},
	    {"CN=Demo CA", "CN=\\ Demo   CA\\ "},
	    {"CN=Demo CA", "CN=Demo\xc2\xa0"
			   "CA"},
	    {"CN=Demo CA", "CN=De\xc2\xadmo C\xe2\x80\x8b"
			   "A"},
	    {"CN=Demo CA", "CN=\xef\xbc\xa4"
			   "emo CA"},
	    {"CN=Demo CA", "CN=#130744656d6f204341"},		    /* PrintableString */
	    {"CN=Demo CA", "CN=#1e0e00440065006d006f002000430041"}, /* BMPString */
	    {"CN=M\xc3\xbcnchen", "CN=M\xc3\x9cNCHEN"}, {"CN=\xd0\x96", "CN=\xd0\xb6"},
	    {"CN=a+O=B", "CN=#130141+O=b"}, /* another order in DER */
	};
	static const char *const differ[][2] = {
	    {"CN=Demo CA,O=Example,C=DE", "CN=Demo CA,O=Example"},
	    {"CN=Demo CA", "CN=DemoCA"},
	    {"CN=Demo CA", "O=Demo CA"},
	    {"CN=Demo CA", "CN=Demo CA 2"},
	    {"CN=a,O=b", "CN=a+O=b"},
	    {"O=a,O=b", "O=b,O=a"},
	};
	uint8_t buf[2][NAME_DER_MAX];
	struct error e = ERROR_INIT;
	struct bytes a, b;

	for (size_t i = 0; i < COUNT_OF(same) + COUNT_OF(differ); i++) {
		bool alike = i < COUNT_OF(same);
		const char *const *pair = alike ? same[i] : differ[i - COUNT_OF(same)];

		assert_ok(name_from_text(pair[0], buf[0], sizeof buf[0], &a, &e), e);
		assert_ok(name_from_text(pair[1], buf[1], sizeof buf[1], &b, &e), e);
		if (name_matches(a, b) != alike || name_matches(b, a) != alike)
			fail_msg("'%s' and '%s'", pair[0], pair[1]);
	}
	assert_false(name_matches(hex("30 00"), a));
	assert_true(name_matches(hex("30 00"), hex("30 00")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(like_openssl),
	    cmocka_unit_test(several_attributes_in_an_rdn),
	    cmocka_unit_test(wrong_text),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(readable),
	    cmocka_unit_test(hostile_der),
	    cmocka_unit_test(attributes),
	    cmocka_unit_test(matching),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
