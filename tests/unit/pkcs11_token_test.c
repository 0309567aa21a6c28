/*
 * Modules, token selection, PIN sources, the wrong PIN and what processes do to
 * each other that start at once, on a real module.
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
/* Of the module that fails on command, tests/faults/shim.c. */
static char shim[256], shim_log[128], shim_faults[128];

/* Paths for it: it lies beside this program's folder. */
static bool
find_shim(void)
{
	char self[200] = "";

	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return false;
	for (int i = 0; i < 2; i++)
		*strrchr(self, '/') = '\0';
	(void)snprintf(shim, sizeof shim, "%s/faults/shim.so", self);
	(void)snprintf(shim_log, sizeof shim_log, "%s/shim.log", hsm.dir);
	(void)snprintf(shim_faults, sizeof shim_faults, "%s/shim.faults", hsm.dir);
	return setenv("SHIM_MODULE", SOFTHSM_MODULE, 1) == 0 &&
	       setenv("SHIM_LOG", shim_log, 1) == 0 && setenv("SHIM_FAULTS", shim_faults, 1) == 0;
}

static int
set_up(void **state)
{
	softhsm_make(&hsm);
	if (!find_shim())
		return -1;
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

/* ---- tokens that fail on command */

/* The token, which then fails as these lines say; begins a new record. */
static struct config_token
failing(const char *faults)
{
	struct config_token c = hsm.config;
	struct error e = ERROR_INIT;
	struct module *m;

	c.module = shim;
	/* Without a file it forgets what it counted. */
	(void)unlink(shim_faults);
	assert_true(module_open(shim, &m, &e));
	module_close(m);
	(void)unlink(shim_log);
	softhsm_write(shim_faults, faults, 0600);
	return c;
}

/* How often the module was asked for this since. */
static unsigned int
recorded(const char *call)
{
	FILE *f = fopen(shim_log, "r");
	unsigned int count = 0;
	char line[512], word[32];

	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL)
		count += sscanf(line, "%31s", word) == 1 && strcmp(word, call) == 0;
	(void)fclose(f);
	return count;
}

/* Each opening of the module ends with one; libp11 initialises a second time. */
static unsigned int
views(void)
{
	return recorded("finalize");
}

static bool
is_marked_wrong(void)
{
	char path[160];

	(void)snprintf(path, sizeof path, "%s/%s", hsm.state_dir, PIN_MARK_FILE);
	return access(path, F_OK) == 0;
}

static void
opens_anew_what_it_met_half_written(void **state)
{
	static const char *const codes[] = {"0x5", "0xe1", "0x102"};
	struct token_info info;
	struct config_token c;
	char faults[64];

	for (size_t i = 0; i < COUNT_OF(codes); i++) {
		/* Calls made again in the same view get the same answer. */
		(void)snprintf(faults, sizeof faults, "login %s 2 spoil\n", codes[i]);
		c = failing(faults);
		opened(&c, &info);
		assert_string_equal(info.label, "unit");
		assert_int_equal(views(), 3);
		assert_false(is_marked_wrong());
	}
	c = failing("open-session 0x5 4\n");
	opened(&c, &info);
	assert_int_equal(views(), 2);
	/* What passes by itself needs no new view. */
	c = failing("login 0xe1 1\n");
	opened(&c, &info);
	assert_int_equal(views(), 1);
}

static void
a_race_without_end_is_given_up(void **state)
{
	struct config_token c = failing("login 0xe1\n");
	struct token_info info;

	refused(&c, SIGNPROTO_TOKEN_AWAY, "cannot log in to token 'unit'");
	assert_true(views() > 1);
	assert_false(is_marked_wrong());
	c = failing("get-token-info 0x5\n");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "");
	assert_int_equal(recorded("login"), 0);
	c = failing("");
	opened(&c, &info);
}

/* An answer that says nothing, of a token that can be read: it may count unseen. */
static void
a_doubtful_try_is_made_twice_at_most(void **state)
{
	struct config_token c = failing("login 0x5\n");

	refused(&c, SIGNPROTO_TOKEN_AWAY, "cannot log in to token 'unit'");
	assert_int_equal(recorded("login"), 2);
	assert_false(is_marked_wrong());
	c = failing("login 0x5 1\n");
	opened(&c, &(struct token_info){0});
}

/* An answer that may hide a count is waited out only with a PIN that is known to be right. */
static void
an_unclear_answer_to_a_new_pin_ends_it(void **state)
{
	struct config_token c;

	softhsm_write(hsm.pin_file, SOFTHSM_PIN "\n", 0600);
	c = failing("login 0x30\n");
	refused(&c, SIGNPROTO_PIN_WRONG, "does not say whether the PIN");
	assert_int_equal(recorded("login"), 1);
	assert_true(is_marked_wrong());
	refused(&c, SIGNPROTO_PIN_WRONG, "before; it is not tried again");
	assert_int_equal(recorded("login"), 1);
	softhsm_write(hsm.pin_file, SOFTHSM_PIN "\n", 0600);
	c = failing("login 0x3 1\n"); /* nobody looked at it */
	refused(&c, SIGNPROTO_TOKEN_AWAY, "cannot log in");
	assert_false(is_marked_wrong());
	opened(&c, &(struct token_info){0});
	c = failing("login 0x30\n");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "cannot log in");
	refused(&c, SIGNPROTO_TOKEN_AWAY, "cannot log in");
	assert_false(is_marked_wrong());
}

/* What the token counted as a wrong PIN is not sent again, in no view. */
static void
a_counted_try_is_remembered(void **state)
{
	struct config_token c;
	struct token_info info;

	softhsm_write(hsm.pin_file, "wrong-pin\n", 0600);
	c = failing("login 0x5 1 after-spoil\n");
	refused(&c, SIGNPROTO_PIN_WRONG, "refused the PIN");
	assert_int_equal(recorded("login"), 1);
	assert_int_equal(views(), 2);
	assert_true(is_marked_wrong());
	assert_true(a_wrong_pin_was_seen());
	/* In the same view, too. */
	softhsm_write(hsm.pin_file, SOFTHSM_PIN "\n", 0600);
	opened(&hsm.config, &info);
	softhsm_write(hsm.pin_file, "other-pin\n", 0600);
	c = failing("login 0x102 1 after\n");
	refused(&c, SIGNPROTO_PIN_WRONG, "refused the PIN");
	assert_int_equal(recorded("login"), 1);
	assert_int_equal(views(), 1);
	softhsm_write(hsm.pin_file, SOFTHSM_PIN "\n", 0600);
	opened(&hsm.config, &info);
}

static void
the_last_try_is_not_used(void **state)
{
	struct token_info info;
	struct config_token c;
	char faults[64];

	(void)snprintf(faults, sizeof faults, "token-flags 0x%lx\n", CKF_USER_PIN_FINAL_TRY);
	c = failing(faults);
	refused(&c, SIGNPROTO_PIN_WRONG, "one PIN try left");
	assert_int_equal(recorded("login"), 0);
	(void)snprintf(faults, sizeof faults, "token-flags 0x%lx\n", CKF_USER_PIN_LOCKED);
	c = failing(faults);
	refused(&c, SIGNPROTO_PIN_WRONG, "is locked");
	assert_int_equal(recorded("login"), 0);
	assert_false(is_marked_wrong());
	opened(&hsm.config, &info);
}

/* Initialised, but nobody has set a user PIN. */
static void
add_token_without_pin(void)
{
	unsigned char so_pin[] = "so-pin", label[33];
	const CK_FUNCTION_LIST *f;
	struct error e = ERROR_INIT;
	CK_SLOT_ID slots[16];
	CK_ULONG count = COUNT_OF(slots);
	struct module *m;

	assert_true(module_open(SOFTHSM_MODULE, &m, &e));
	f = module_functions(m);
	assert_int_equal(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	/* The last slot is the one without a token. */
	(void)snprintf((char *)label, sizeof label, "%-32s", "bare");
	assert_int_equal(f->C_InitToken(slots[count - 1], so_pin, 6, label), CKR_OK);
	module_close(m);
}

static void
a_token_without_a_pin_is_a_state(void **state)
{
	struct config_token c;

	add_token_without_pin();
	c = selecting(CONFIG_SELECT_LABEL, "bare");
	refused(&c, SIGNPROTO_NO_PIN,
	    "token 'bare' has no user PIN yet: the token says CKR_USER_PIN_NOT_INITIALIZED");
	assert_false(is_marked_wrong());
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
	assert_true(ckr_is_fatal(CKR_PIN_EXPIRED)); /* of a signature: a new login finds out */
	assert_false(ckr_is_fatal(CKR_MECHANISM_INVALID));
	assert_false(ckr_error(&e, CKR_DEVICE_ERROR, "cannot sign with '%s'", "x"));
	assert_int_equal(e.code, ERROR_UNAVAILABLE);
	assert_string_equal(e.foreign, "CKR_DEVICE_ERROR");
	assert_string_equal(e.text, "cannot sign with 'x': the token says CKR_DEVICE_ERROR");
	assert_int_equal(ckr_class_of(&e), CKR_CLASS_REINITIALISE);
	error_clear(&e);
	assert_false(ckr_error(&e, CKR_HOST_MEMORY, "x"));
	assert_int_equal(ckr_class_of(&e), CKR_CLASS_RETRY);
	error_clear(&e);
	assert_false(error_set(&e, ERROR_INPUT, "CKR_HOST_MEMORY"));
	assert_int_equal(ckr_class_of(&e), CKR_CLASS_OK);
	assert_true(ckr_may_count(CKR_GENERAL_ERROR) && ckr_may_count(0x80000123));
	assert_false(ckr_may_count(CKR_TOKEN_NOT_PRESENT) || ckr_may_count(CKR_SESSION_CLOSED));
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
	    cmocka_unit_test(opens_anew_what_it_met_half_written),
	    cmocka_unit_test(a_race_without_end_is_given_up),
	    cmocka_unit_test(a_doubtful_try_is_made_twice_at_most),
	    cmocka_unit_test(an_unclear_answer_to_a_new_pin_ends_it),
	    cmocka_unit_test(a_counted_try_is_remembered),
	    cmocka_unit_test(the_last_try_is_not_used),
	    cmocka_unit_test(a_token_without_a_pin_is_a_state),
	    cmocka_unit_test(every_code_has_a_name_and_a_class),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
