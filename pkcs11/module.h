#ifndef CHANCERY_PKCS11_MODULE_H
#define CHANCERY_PKCS11_MODULE_H

/*
 * A PKCS#11 module and the token in it that we were told to use.
 *
 * libp11 loads the module and discovers slots and tokens; what signs, logs in
 * and makes keys is called on the module's own function list. Both sit on one
 * C_Initialize, of which there is one in a process: at most one module may be
 * open at a time, and the process must not fork while it is.
 *
 * Every call here may block as long as the module likes. Not for the loop.
 */

#include <p11-kit/pkcs11.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

#define TOKEN_TEXT_MAX 65 /* longest of the token's texts, as UTF-8, with NUL */

struct module;

/* What the token says of itself; trailing blanks are cut off. */
struct token_info {
	CK_SLOT_ID slot; /* changes from start to start: never stored */
	char label[TOKEN_TEXT_MAX];
	char serial[TOKEN_TEXT_MAX];
	char model[TOKEN_TEXT_MAX];
	CK_FLAGS flags; /* CKF_USER_PIN_LOCKED, ... as of the selection */
	CK_ULONG pin_min, pin_max;
};

/* Loads and initialises. ERROR_CONFIG when path is no module that can be
 * loaded, ERROR_UNAVAILABLE when it does not initialise. */
bool module_open(const char *path, struct module **module, struct error *e) MUST_CHECK;

/* Finalises and unloads: all sessions must be out of use. NULL is legal. */
void module_close(struct module *m);

const CK_FUNCTION_LIST *module_functions(const struct module *m);

/* False when the module refused to work with several threads: then no two
 * calls may overlap. */
bool module_is_thread_safe(const struct module *m);

/* Finds the one token that `by` and `what` name (a slot number never does).
 * ERROR_UNAVAILABLE when there is none, naming what is there; ERROR_CONFLICT
 * when several match, naming them; ERROR_CONFIG for a URI that is none, or
 * that does not name a token. */
bool module_select(struct module *m, enum config_select by, const char *what,
    struct token_info *token, struct error *e) MUST_CHECK;

/* The same for one of a group, whose others may be away: tokens that do not say what they
 * are do not count. before (may be NULL) is called before a slot is asked, which may hang;
 * false: it is not asked. */
typedef bool module_before_fn(CK_SLOT_ID slot, void *arg);
bool module_select_among(struct module *m, enum config_select by, const char *what,
    module_before_fn *before, void *arg, struct token_info *token, struct error *e) MUST_CHECK;

#endif
