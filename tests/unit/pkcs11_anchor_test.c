/*
 * Values in data objects on a real token: replaced, damaged, doubled, refused.
 */

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/x509/der.h"
#include "pkcs11/anchor.h"
#include "pkcs11/token.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;
static struct token *token;
static struct session rw;

static int
set_up(void **state)
{
	enum signproto_state reached;
	struct error e = ERROR_INIT;

	softhsm_make(&hsm);
	if (!token_open(&hsm.config, hsm.state_dir, &token, &reached, &e) ||
	    !session_open(token_functions(token), token_info(token)->slot, true, &rw, &e))
		fail_msg("%s", e.text);
	return 0;
}

static int
tear_down(void **state)
{
	session_close(&rw);
	token_close(token);
	softhsm_remove(&hsm);
	return 0;
}

static struct bytes
text(const char *s)
{
	return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static void
has(const char *label, struct bytes want)
{
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error e = ERROR_INIT;
	size_t len;

	if (!anchor_read(&rw, label, value, &len, &e))
		fail_msg("%s", e.text);
	assert_true(bytes_equal((struct bytes){value, len}, want));
}

static void
has_not(const char *label, enum error_code code)
{
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error e = ERROR_INIT;
	size_t len;

	assert_false(anchor_read(&rw, label, value, &len, &e));
	assert_int_equal(e.code, code);
	assert_int_equal(len, 0);
}

static void
writes(const char *label, struct bytes value)
{
	struct error e = ERROR_INIT;

	if (!anchor_write(&rw, label, value, &e))
		fail_msg("%s", e.text);
}

/* Objects on the token with this label; *any is one of them, *octets its value. */
static unsigned int
count(const char *label, CK_OBJECT_HANDLE *any, uint8_t octets[1024], CK_ULONG *len)
{
	CK_ATTRIBUTE t = {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)};
	CK_ATTRIBUTE v = {CKA_VALUE, octets, 1024};
	CK_OBJECT_HANDLE found[8];
	CK_ULONG n = 0;

	assert_int_equal(rw.f->C_FindObjectsInit(rw.handle, &t, 1), CKR_OK);
	assert_int_equal(rw.f->C_FindObjects(rw.handle, found, 8, &n), CKR_OK);
	assert_int_equal(rw.f->C_FindObjectsFinal(rw.handle), CKR_OK);
	if (n > 0) {
		*any = found[0];
		assert_int_equal(rw.f->C_GetAttributeValue(rw.handle, *any, &v, 1), CKR_OK);
		*len = v.ulValueLen;
	}
	return (unsigned int)n;
}

/* An object as another process, or nobody of ours, would leave it. */
static void
plant(const char *label, const uint8_t *octets, CK_ULONG len)
{
	static CK_OBJECT_CLASS class = CKO_DATA;
	static CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE t[] = {
	    {CKA_CLASS, &class, sizeof class},
	    {CKA_TOKEN, &yes, sizeof yes},
	    {CKA_PRIVATE, &yes, sizeof yes},
	    {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)},
	    {CKA_VALUE, (void *)(uintptr_t)octets, len},
	};
	CK_OBJECT_HANDLE made;

	assert_int_equal(rw.f->C_CreateObject(rw.handle, t, COUNT_OF(t), &made), CKR_OK);
}

static void
a_value_is_replaced_and_removed(void **state)
{
	uint8_t big[ANCHOR_VALUE_MAX], octets[1024];
	CK_OBJECT_HANDLE any;
	CK_ULONG len;

	memset(big, 0xa5, sizeof big);
	has_not("one", ERROR_NOT_FOUND);
	writes("one", text("first"));
	has("one", text("first"));
	writes("one", (struct bytes){big, sizeof big});
	has("one", (struct bytes){big, sizeof big});
	writes("two", text("another"));
	writes("one", text("x"));
	has("one", text("x"));
	has("two", text("another"));
	assert_int_equal(count("one", &any, octets, &len), 1);
	softhsm_remove_objects(&rw, "one");
	has_not("one", ERROR_NOT_FOUND);
	has("two", text("another"));
}

static void
a_value_has_its_sizes(void **state)
{
	uint8_t big[ANCHOR_VALUE_MAX + 1] = {0};
	char label[ANCHOR_LABEL_MAX + 2];
	struct error e = ERROR_INIT;

	assert_false(anchor_write(&rw, "sizes", (struct bytes){big, sizeof big}, &e));
	error_clear(&e);
	assert_false(anchor_write(&rw, "sizes", (struct bytes){big, 0}, &e));
	memset(label, 'x', sizeof label);
	label[ANCHOR_LABEL_MAX + 1] = '\0';
	error_clear(&e);
	assert_false(anchor_write(&rw, label, text("x"), &e));
	label[ANCHOR_LABEL_MAX] = '\0';
	writes(label, text("x"));
	has(label, text("x"));
}

/* A crash between making the new object and removing the old one. */
static void
the_newest_of_several_counts(void **state)
{
	uint8_t old[1024], new[1024];
	CK_ULONG old_len, new_len;
	CK_OBJECT_HANDLE any;

	writes("several", text("old"));
	assert_int_equal(count("several", &any, old, &old_len), 1);
	writes("several", text("new"));
	assert_int_equal(count("several", &any, new, &new_len), 1);
	plant("several", old, old_len);
	has("several", text("new"));
	plant("several", new, new_len);
	has("several", text("new"));
	writes("several", text("newest"));
	has("several", text("newest"));
	assert_int_equal(count("several", &any, new, &new_len), 1);
}

static void
what_is_damaged_does_not_count(void **state)
{
	uint8_t whole[1024], octets[1024];
	CK_OBJECT_HANDLE any;
	CK_ULONG len, ignored;

	writes("damaged", text("value"));
	assert_int_equal(count("damaged", &any, whole, &len), 1);
	softhsm_remove_objects(&rw, "damaged");
	for (CK_ULONG at = 0; at < len; at++) {
		whole[at] ^= 0x10;
		plant("damaged", whole, len);
		has_not("damaged", ERROR_CONFLICT);
		softhsm_remove_objects(&rw, "damaged");
		whole[at] ^= 0x10;
	}
	for (CK_ULONG cut = 0; cut < len; cut++) {
		plant("damaged", whole, cut);
		has_not("damaged", ERROR_CONFLICT);
		softhsm_remove_objects(&rw, "damaged");
	}
	/* Another label's value is none of this one's. */
	plant("elsewhere", whole, len);
	has_not("elsewhere", ERROR_CONFLICT);
	plant("damaged", whole, len - 1);
	plant("damaged", whole, len);
	has("damaged", text("value"));
	writes("damaged", text("mended"));
	has("damaged", text("mended"));
	assert_int_equal(count("damaged", &any, octets, &ignored), 1);
}

/* On a session that may not write the token refuses, and the old value stays. */
static void
a_refusal_leaves_the_value(void **state)
{
	struct error e = ERROR_INIT;
	struct session ro;

	writes("kept", text("before"));
	assert_true(session_open(token_functions(token), token_info(token)->slot, false, &ro, &e));
	assert_false(anchor_write(&ro, "kept", text("after"), &e));
	assert_int_equal(e.code, ERROR_DENIED);
	assert_string_equal(e.foreign, "CKR_SESSION_READ_ONLY");
	assert_false(ro.fatal);
	session_close(&ro);
	has("kept", text("before"));
}

/* In place of what is expected, and of nothing else. */
static void
a_value_is_swapped(void **state)
{
	struct error e = ERROR_INIT;

	assert_false(anchor_swap(&rw, "swap", text("a"), text("b"), &e));
	assert_int_equal(e.code, ERROR_CONFLICT);
	has_not("swap", ERROR_NOT_FOUND);
	e = ERROR_INIT;
	assert_true(anchor_swap(&rw, "swap", text(""), text("a"), &e));
	assert_true(anchor_swap(&rw, "swap", text("a"), text("b"), &e));
	has("swap", text("b"));
	assert_false(anchor_swap(&rw, "swap", text("a"), text("c"), &e));
	assert_int_equal(e.code, ERROR_CONFLICT);
	e = ERROR_INIT;
	assert_false(anchor_swap(&rw, "swap", text(""), text("c"), &e));
	assert_int_equal(e.code, ERROR_CONFLICT);
	has("swap", text("b"));
	/* What is damaged is not nothing. */
	plant("swap-damaged", (const uint8_t *)"xyz", 3);
	e = ERROR_INIT;
	assert_false(anchor_swap(&rw, "swap-damaged", text(""), text("c"), &e));
	assert_int_equal(e.code, ERROR_CONFLICT);
}

/* ---- a mirror that hangs */

#define HANGING_SLOT 0x7fffffff
#define HANGS_MAX_S 60 /* then the test has failed */

static int asked[2], answer[2]; /* pipes */

static CK_RV
hanging_open(CK_SLOT_ID slot, CK_FLAGS flags, void *arg, CK_NOTIFY notify, CK_SESSION_HANDLE *out)
{
	char c;

	if (slot != HANGING_SLOT)
		return token_functions(token)->C_OpenSession(slot, flags, arg, notify, out);
	if (write(asked[1], "", 1) != 1 || read(answer[0], &c, 1) != 1)
		abort();
	return CKR_DEVICE_REMOVED;
}

static void *
write_both(void *arg)
{
	struct error e = ERROR_INIT;

	return anchor_write(arg, "mirrored", text("value"), &e) ? arg : NULL;
}

/* Who asks what has failed, the signer's loop, does not hang with it. */
static void
a_mirror_that_hangs_is_asked_about(void **state)
{
	const struct anchor_mirror of[] = {{rw.slot, 0}, {HANGING_SLOT, 1}};
	CK_FUNCTION_LIST f = *rw.f;
	struct session s = rw;
	struct error why = ERROR_INIT;
	pthread_t thread;
	size_t member = 9;
	void *written;
	char c;

	f.C_OpenSession = hanging_open;
	s.f = &f;
	assert_true(pipe(asked) == 0 && pipe(answer) == 0);
	anchor_set_mirrors(of, COUNT_OF(of));
	(void)alarm(HANGS_MAX_S);
	assert_int_equal(pthread_create(&thread, NULL, write_both, &s), 0);
	assert_int_equal(read(asked[0], &c, 1), 1);
	assert_false(anchor_mirror_failed(&member, &why));
	assert_int_equal(write(answer[1], "", 1), 1);
	assert_int_equal(pthread_join(thread, &written), 0);
	(void)alarm(0);
	assert_ptr_equal(written, &s);
	assert_true(anchor_mirror_failed(&member, &why));
	assert_int_equal(member, 1);
	assert_string_equal(why.foreign, "CKR_DEVICE_REMOVED");
	assert_false(anchor_mirror_failed(&member, &why));
	/* It is left out from then on. */
	assert_non_null(write_both(&s));
	has("mirrored", text("value"));
	anchor_set_mirrors(NULL, 0);
	for (size_t i = 0; i < 2; i++)
		(void)(close(asked[i]) + close(answer[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_value_is_replaced_and_removed),
	    cmocka_unit_test(a_value_has_its_sizes),
	    cmocka_unit_test(the_newest_of_several_counts),
	    cmocka_unit_test(what_is_damaged_does_not_count),
	    cmocka_unit_test(a_refusal_leaves_the_value),
	    cmocka_unit_test(a_value_is_swapped),
	    cmocka_unit_test(a_mirror_that_hangs_is_asked_about),
	};

	return cmocka_run_group_tests_name("pkcs11_anchor", tests, set_up, tear_down);
}
