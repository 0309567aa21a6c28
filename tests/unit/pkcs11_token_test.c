/*
 * Modules, token selection, PIN sources and the wrong PIN, on a real module.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pkcs11/ckr.h"
#include "pkcs11/pin.h"
#include "pkcs11/store.h"
#include "pkcs11/token.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;

static int
set_up(void **state)
{
	softhsm_make(&hsm);
	softhsm_add_token("twin");
	softhsm_add_token("twin");
	return 0;
}

static int
tear_down(void **state)
{
	softhsm_remove(&hsm);
	return 0;
}

/* Expects token_open to fail in this state with these words. */
static void
refused(const struct config_token *config, enum signproto_state want, const char *words)
{
	enum signproto_state state = SIGNPROTO_READY;
	struct error e = ERROR_INIT;
	struct token *t;

	assert_false(token_open(config, hsm.state_dir, &t, &state, &e));
	assert_null(t);
	if (strstr(e.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", e.text, words);
	assert_string_equal(signproto_state_name(state), signproto_state_name(want));
}

static void
opened(const struct config_token *config, struct token_info *info)
{
	enum signproto_state state;
	struct error e = ERROR_INIT;
	struct token *t;

	if (!token_open(config, hsm.state_dir, &t, &state, &e))
		fail_msg("%s", e.text);
	assert_int_equal(state, SIGNPROTO_READY);
	*info = *token_info(t);
	token_close(t);
}

static struct config_token
selecting(enum config_select by, const char *what)
{
	struct config_token c = hsm.config;

	c.select_by = by;
	c.select = (char *)(uintptr_t)what;
	return c;
}

static void
selects_by_label_serial_and_uri(void **state)
{
	struct token_info info, again;
	struct config_token c;
	char uri[128];

	opened(&hsm.config, &info);
	assert_string_equal(info.label, "unit");
	assert_int_equal(strlen(info.serial), 16);

	c = selecting(CONFIG_SELECT_SERIAL, info.serial);
	opened(&c, &again);
	assert_string_equal(again.label, "unit");

	(void)snprintf(uri, sizeof uri, "pkcs11:token=un%%69t;serial=%s", info.serial);
	c = selecting(CONFIG_SELECT_URI, uri);
	opened(&c, &again);
	assert_string_equal(again.serial, info.serial);
}

static void
refuses_what_selects_none_or_several(void **state)
{
	struct config_token c;

	c = selecting(CONFIG_SELECT_LABEL, "twin");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "2 tokens match the label 'twin' (label 'twin' serial ");
	c = selecting(CONFIG_SELECT_URI, "pkcs11:model=SoftHSM%20v2");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "3 tokens match");
	c = selecting(CONFIG_SELECT_LABEL, "absent");
	refused(
	    &c, SIGNPROTO_TOKEN_AWAY, "no token with the label 'absent' is present; present are: ");
	c = selecting(CONFIG_SELECT_LABEL, "");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "no token with the label ''");
}

static void
refuses_uris_that_name_no_token(void **state)
{
	struct config_token c;

	c = selecting(CONFIG_SELECT_URI, "https://token");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "is no PKCS#11 URI");
	c = selecting(CONFIG_SELECT_URI, "pkcs11:slot-id=0");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "names no token");
	c = selecting(CONFIG_SELECT_URI, "pkcs11:");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "names no token");
	c = selecting(CONFIG_SELECT_URI, "pkcs11:token=unit?pin-value=1234");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "must not carry a PIN");
	c = selecting(CONFIG_SELECT_URI, "pkcs11:token=unit;colour=red");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "does not know");
}

static void
refuses_what_is_no_module(void **state)
{
	struct config_token c = hsm.config;
	char path[128];

	c.module = (char *)(uintptr_t) "/nonexistent/module.so";
	refused(&c, SIGNPROTO_MODULE_BROKEN, "cannot load the PKCS#11 module: /nonexistent");
	c.module = (char *)(uintptr_t) "libm.so.6";
	refused(&c, SIGNPROTO_MODULE_BROKEN, "has no C_GetFunctionList");
	(void)snprintf(path, sizeof path, "%s/text.so", hsm.dir);
	softhsm_write(path, "not ELF", 0600);
	c.module = path;
	refused(&c, SIGNPROTO_MODULE_BROKEN, "cannot load the PKCS#11 module");
}

static void
refuses_pin_files_that_are_not_private(void **state)
{
	struct config_token c = hsm.config;
	char path[128];

	(void)snprintf(path, sizeof path, "%s/other-pin", hsm.dir);
	c.pin_file = path;
	refused(&c, SIGNPROTO_NO_PIN, path);
	softhsm_write(path, SOFTHSM_PIN, 0640);
	refused(&c, SIGNPROTO_NO_PIN, path);
	(void)unlink(path);
	assert_int_equal(symlink(hsm.pin_file, path), 0);
	refused(&c, SIGNPROTO_NO_PIN, path);
	softhsm_write(path, "\n", 0600);
	refused(&c, SIGNPROTO_NO_PIN, "is empty");
	/* Of a length that the token would not take: never sent to it. */
	softhsm_write(path, "123\n", 0600);
	refused(&c, SIGNPROTO_NO_PIN, "it was not tried");
	(void)unlink(path);

	c.pin_file = NULL;
	refused(&c, SIGNPROTO_NO_PIN, "no pin_file");
	c.pin_credential = (char *)(uintptr_t) "hsm-pin";
	(void)unsetenv("CREDENTIALS_DIRECTORY");
	refused(&c, SIGNPROTO_NO_PIN, "CREDENTIALS_DIRECTORY");
}

static void
takes_the_pin_from_a_credential(void **state)
{
	struct config_token c = hsm.config;
	struct token_info info;
	char path[128];

	(void)snprintf(path, sizeof path, "%s/hsm-pin", hsm.dir);
	/* As systemd leaves it: no newline, read-only, a group right for the ACL. */
	softhsm_write(path, SOFTHSM_PIN, 0440);
	(void)setenv("CREDENTIALS_DIRECTORY", hsm.dir, 1);
	c.pin_file = NULL;
	c.pin_credential = (char *)(uintptr_t) "hsm-pin";
	opened(&c, &info);
	softhsm_write(path, SOFTHSM_PIN, 0444);
	refused(&c, SIGNPROTO_NO_PIN, "closed to others");
	(void)unsetenv("CREDENTIALS_DIRECTORY");
}

/* SoftHSM raises CKF_USER_PIN_COUNT_LOW after a wrong PIN. */
static bool
a_wrong_pin_was_seen(void)
{
	struct error e = ERROR_INIT;
	struct token_info info;
	struct module *m;

	assert_true(module_open(SOFTHSM_MODULE, &m, &e));
	assert_true(module_select(m, CONFIG_SELECT_LABEL, "unit", &info, &e));
	module_close(m);
	return (info.flags & CKF_USER_PIN_COUNT_LOW) != 0;
}

static void
a_wrong_pin_is_tried_once(void **state)
{
	struct error e = ERROR_INIT;
	struct token_info info;
	char mark[512], path[160];
	size_t len;

	assert_false(a_wrong_pin_was_seen());
	softhsm_write(hsm.pin_file, "wrong-pin\n", 0600);
	refused(&hsm.config, SIGNPROTO_PIN_WRONG, "refused the PIN");
	assert_true(a_wrong_pin_was_seen());

	/* As after a restart: the mark alone keeps it from being tried again. */
	refused(&hsm.config, SIGNPROTO_PIN_WRONG, "refused the PIN in");
	refused(&hsm.config, SIGNPROTO_PIN_WRONG, "before; it is not tried again");
	assert_true(store_read(hsm.state_dir, PIN_MARK_FILE, mark, sizeof mark - 1, &len, &e));
	mark[len] = '\0';
	assert_null(strstr(mark, "wrong-pin\n"));
	assert_non_null(strstr(mark, "inode: "));

	/* A person removes the mark: tried once more, marked again. */
	(void)snprintf(path, sizeof path, "%s/%s", hsm.state_dir, PIN_MARK_FILE);
	assert_int_equal(unlink(path), 0);
	refused(&hsm.config, SIGNPROTO_PIN_WRONG, "is not tried again until the file changes");
	assert_int_equal(access(path, F_OK), 0);

	/* The file changes: tried, right, and the mark is gone. */
	softhsm_write(hsm.pin_file, SOFTHSM_PIN "\r\n", 0600);
	opened(&hsm.config, &info);
	assert_int_equal(access(path, F_OK), -1);
	assert_false(a_wrong_pin_was_seen());
}

static void
every_code_has_a_name_and_a_class(void **state)
{
	struct error e = ERROR_INIT;
	char buf[CKR_NAME_MAX];

	assert_string_equal(ckr_name(CKR_OK, buf), "CKR_OK");
	assert_string_equal(ckr_name(0xe1, buf), "CKR_TOKEN_NOT_RECOGNIZED");
	assert_string_equal(ckr_name(0x80000123, buf), "CKR_0x80000123");
	assert_int_equal(ckr_class(CKR_OK), CKR_CLASS_OK);
	assert_true(ckr_is_fatal(CKR_DEVICE_ERROR));
	assert_true(ckr_is_fatal(CKR_SESSION_HANDLE_INVALID));
	assert_true(ckr_is_fatal(CKR_TOKEN_NOT_PRESENT));
	assert_true(ckr_is_fatal(CKR_USER_NOT_LOGGED_IN));
	assert_true(ckr_is_fatal(0x80000123));
	assert_false(ckr_is_fatal(CKR_PIN_INCORRECT));
	assert_false(ckr_is_fatal(CKR_MECHANISM_INVALID));
	assert_false(ckr_error(&e, CKR_DEVICE_ERROR, "cannot sign with '%s'", "x"));
	assert_int_equal(e.code, ERROR_UNAVAILABLE);
	assert_string_equal(e.foreign, "CKR_DEVICE_ERROR");
	assert_string_equal(e.text, "cannot sign with 'x': the token says CKR_DEVICE_ERROR");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(selects_by_label_serial_and_uri),
	    cmocka_unit_test(refuses_what_selects_none_or_several),
	    cmocka_unit_test(refuses_uris_that_name_no_token),
	    cmocka_unit_test(refuses_what_is_no_module),
	    cmocka_unit_test(refuses_pin_files_that_are_not_private),
	    cmocka_unit_test(takes_the_pin_from_a_credential),
	    cmocka_unit_test(a_wrong_pin_is_tried_once),
	    cmocka_unit_test(every_code_has_a_name_and_a_class),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
