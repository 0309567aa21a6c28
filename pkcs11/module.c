#include "pkcs11/module.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libp11.h>
#include <p11-kit/uri.h>

#include "pkcs11/call.h"
#include "pkcs11/ckr.h"

#define SLOTS_MAX 1024
#define CANDIDATES_NAMED 8

#ifdef __SANITIZE_ADDRESS__
/* libp11 0.4 loses a slot each time a token does not answer while it lists them: what
 * signers that start at once on one SoftHSM token do to each other. Not in a file, which
 * LeakSanitizer would open at the end, when the sandbox lets nothing be opened. */
const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
	return "leak:libp11.so\n";
}
#endif

struct module {
	void *handle;
	const CK_FUNCTION_LIST *f; /* each call on it is watched */
	PKCS11_CTX *ctx;
	bool initialised, thread_safe;
};

/* libp11 leaves the CKR in OpenSSL's error queue, or nothing at all. */
static bool
libp11_error(struct error *e, const char *what)
{
	unsigned long last = ERR_peek_last_error();
	bool is_ckr = last != 0 && ERR_GET_LIB(last) == ERR_get_CKR_code();

	ERR_clear_error();
	if (is_ckr)
		return ckr_error(e, (CK_RV)ERR_GET_REASON(last), "%s", what);
	return error_set(e, ERROR_UNAVAILABLE, "%s", what);
}

/* Some modules refuse init arguments: those get none, and one thread. */
static bool
initialise(struct module *m, const char *path, struct error *e)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_RV rv = m->f->C_Initialize(&args);

	m->thread_safe = true;
	if (rv == CKR_ARGUMENTS_BAD || rv == CKR_CANT_LOCK || rv == CKR_NEED_TO_CREATE_THREADS) {
		m->thread_safe = false;
		rv = m->f->C_Initialize(NULL);
	}
	if (rv != CKR_OK)
		return ckr_error(e, rv, "the PKCS#11 module %s does not initialise", path);
	m->initialised = true;
	return true;
}

static bool
load(struct module *m, const char *path, struct error *e)
{
	CK_RV (*get)(CK_FUNCTION_LIST **);
	CK_FUNCTION_LIST *list = NULL;
	CK_RV rv;

	call_begin("dlopen");
	m->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	call_end();
	if (m->handle == NULL) {
		(void)error_set(e, ERROR_CONFIG, "cannot load the PKCS#11 module: %s", dlerror());
		return false;
	}
	*(void **)&get = dlsym(m->handle, "C_GetFunctionList");
	if (get == NULL) {
		(void)error_set(
		    e, ERROR_CONFIG, "%s is no PKCS#11 module: it has no C_GetFunctionList", path);
		return false;
	}
	call_begin("C_GetFunctionList");
	rv = get(&list);
	call_end();
	if (rv != CKR_OK) {
		(void)ckr_error(e, rv, "the PKCS#11 module %s gives no function list", path);
		return false;
	}
	if (list == NULL || list->version.major < 2) {
		(void)error_set(
		    e, ERROR_CONFIG, "%s is no PKCS#11 module of version 2 or later", path);
		return false;
	}
	m->f = call_watch(list);
	return true;
}

/* libp11 has the module's own function list: what it calls is watched as a whole. */
static bool
load_libp11(struct module *m, const char *path)
{
	bool ok;

	call_begin("C_GetInfo by libp11");
	m->ctx = PKCS11_CTX_new();
	ok = m->ctx != NULL && PKCS11_CTX_load(m->ctx, path) == 0;
	call_end();
	return ok;
}

bool
module_open(const char *path, struct module **module, struct error *e)
{
	struct module *m = calloc(1, sizeof *m);
	bool ok = false;

	*module = NULL;
	if (m == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for the PKCS#11 module");
		goto out;
	}
	if (!load(m, path, e) || !initialise(m, path, e))
		goto out;
	/*
	 * libp11 finds the module initialised and takes that as it is, so that
	 * it is us who decide about the init arguments.
	 */
	if (!load_libp11(m, path)) {
		(void)libp11_error(e, "libp11 cannot use the PKCS#11 module");
		if (m->ctx != NULL)
			PKCS11_CTX_free(m->ctx);
		m->ctx = NULL;
		goto out;
	}
	*module = m;
	ok = true;
out:
	if (!ok)
		module_close(m);
	return ok;
}

void
module_close(struct module *m)
{
	if (m == NULL)
		return;
	if (m->ctx != NULL) {
		call_begin("C_Finalize");
		PKCS11_CTX_unload(m->ctx);
		PKCS11_CTX_free(m->ctx);
		call_end();
	} else if (m->initialised) {
		(void)m->f->C_Finalize(NULL);
	}
	if (m->handle != NULL) {
		call_begin("dlclose");
		(void)dlclose(m->handle);
		call_end();
	}
	free(m);
}

const CK_FUNCTION_LIST *
module_functions(const struct module *m)
{
	return m->f;
}

bool
module_is_thread_safe(const struct module *m)
{
	return m->thread_safe;
}

/* PKCS#11 pads texts with blanks and does not end them. */
static void
copy_text(char out[TOKEN_TEXT_MAX], const unsigned char *text, size_t len)
{
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\0'))
		len--;
	memcpy(out, text, len);
	out[len] = '\0';
}

static void
describe(const CK_TOKEN_INFO *info, CK_SLOT_ID slot, struct token_info *token)
{
	*token = (struct token_info){
	    .slot = slot,
	    .flags = info->flags,
	    .pin_min = info->ulMinPinLen,
	    .pin_max = info->ulMaxPinLen,
	};
	copy_text(token->label, info->label, sizeof info->label);
	copy_text(token->serial, info->serialNumber, sizeof info->serialNumber);
	copy_text(token->model, info->model, sizeof info->model);
}

static P11KitUri *
parse_uri(const char *text, struct error *e)
{
	P11KitUri *uri = p11_kit_uri_new();
	const CK_TOKEN_INFO *info;
	int rc;

	if (uri == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a PKCS#11 URI");
		return NULL;
	}
	rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri);
	if (rc != P11_KIT_URI_OK) {
		(void)error_set(e, ERROR_CONFIG, "'%s' is no PKCS#11 URI (RFC 7512): %s", text,
		    p11_kit_uri_message(rc));
		goto fail;
	}
	if (p11_kit_uri_any_unrecognized(uri)) {
		(void)error_set(e, ERROR_CONFIG,
		    "the PKCS#11 URI '%s' has attributes that RFC 7512 does not know", text);
		goto fail;
	}
	if (p11_kit_uri_get_pin_value(uri) != NULL || p11_kit_uri_get_pin_source(uri) != NULL) {
		(void)error_set(e, ERROR_CONFIG,
		    "the PKCS#11 URI must not carry a PIN: use pin_file or pin_credential");
		goto fail;
	}
	info = p11_kit_uri_get_token_info(uri);
	if (info->label[0] == '\0' && info->serialNumber[0] == '\0' && info->model[0] == '\0' &&
	    info->manufacturerID[0] == '\0') {
		(void)error_set(e, ERROR_CONFIG,
		    "the PKCS#11 URI '%s' names no token: give token=, serial=, model= or "
		    "manufacturer=",
		    text);
		goto fail;
	}
	return uri;
fail:
	p11_kit_uri_free(uri);
	return NULL;
}

static bool
matches(const CK_TOKEN_INFO *info, const struct token_info *token, enum config_select by,
    const char *what, const P11KitUri *uri)
{
	switch (by) {
	case CONFIG_SELECT_LABEL:
		return strcmp(token->label, what) == 0;
	case CONFIG_SELECT_SERIAL:
		return strcmp(token->serial, what) == 0;
	case CONFIG_SELECT_URI:
		return p11_kit_uri_match_token_info(uri, info) == 1;
	}
	return false;
}

/* "label 'a' serial 1; label 'b' serial 2" for the error's sentence. */
static void
name_candidate(char *list, size_t size, const struct token_info *token, unsigned int n)
{
	size_t used = strlen(list);

	if (n > CANDIDATES_NAMED)
		return;
	if (n == CANDIDATES_NAMED)
		(void)snprintf(list + used, size - used, "; ...");
	else
		(void)snprintf(list + used, size - used, "%slabel '%s' serial %s",
		    used > 0 ? "; " : "", token->label, token->serial);
}

struct search {
	struct token_info found;
	unsigned int present, matched;
	char all[256], matching[256];
};

/* What is looked for. */
struct wanted {
	enum config_select by;
	const char *what;
	P11KitUri *uri; /* owned */
};

static void
look_at(struct module *m, CK_SLOT_ID id, const struct wanted *w, struct search *s)
{
	struct token_info token;
	CK_TOKEN_INFO info;

	if (m->f->C_GetTokenInfo(id, &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0)
		return;
	describe(&info, id, &token);
	name_candidate(s->all, sizeof s->all, &token, s->present++);
	if (!matches(&info, &token, w->by, w->what, w->uri))
		return;
	name_candidate(s->matching, sizeof s->matching, &token, s->matched++);
	s->found = token;
}

/* Some modules look for tokens only when they are asked for the number. */
static bool
list_slots(struct module *m, CK_SLOT_ID slots[SLOTS_MAX], CK_ULONG *count, struct error *e)
{
	CK_RV rv;

	*count = SLOTS_MAX;
	rv = m->f->C_GetSlotList(CK_TRUE, NULL, count);
	*count = SLOTS_MAX;
	if (rv == CKR_OK)
		rv = m->f->C_GetSlotList(CK_TRUE, slots, count);
	if (rv == CKR_OK)
		return true;
	if (rv == CKR_BUFFER_TOO_SMALL)
		return error_set(
		    e, ERROR_LIMIT, "the PKCS#11 module has more than %d tokens", SLOTS_MAX);
	(void)ckr_error(e, rv, "the PKCS#11 module does not list its slots");
	return false;
}

/*
 * libp11 lists no slot at all when one token does not answer, does not say why,
 * and loses a little memory each time: that token is met here.
 */
static bool
all_answer(struct module *m, struct error *e)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_TOKEN_INFO info;
	CK_ULONG count;
	CK_RV rv;

	if (!list_slots(m, slots, &count, e))
		return false;
	for (CK_ULONG i = 0; i < count; i++) {
		rv = m->f->C_GetTokenInfo(slots[i], &info);
		if (rv != CKR_OK && rv != CKR_TOKEN_NOT_PRESENT && rv != CKR_TOKEN_NOT_RECOGNIZED)
			return ckr_error(
			    e, rv, "the token in slot 0x%lx does not tell what it is", slots[i]);
	}
	return true;
}

static bool
begin_search(struct wanted *w, enum config_select by, const char *what, struct error *e)
{
	*w = (struct wanted){.by = by, .what = what};
	if (by == CONFIG_SELECT_URI)
		w->uri = parse_uri(what, e);
	return by != CONFIG_SELECT_URI || w->uri != NULL;
}

static bool
end_search(
    const struct wanted *w, const struct search *s, struct token_info *token, struct error *e)
{
	static const char *const words[] = {
	    [CONFIG_SELECT_LABEL] = "label",
	    [CONFIG_SELECT_SERIAL] = "serial number",
	    [CONFIG_SELECT_URI] = "URI",
	};

	if (s->matched == 0)
		return error_set(e, ERROR_UNAVAILABLE,
		    "no token with the %s '%s' is present; present are: %s", words[w->by], w->what,
		    s->present > 0 ? s->all : "none");
	if (s->matched > 1)
		return error_set(e, ERROR_CONFLICT,
		    "%u tokens match the %s '%s' (%s); select one by its serial number", s->matched,
		    words[w->by], w->what, s->matching);
	*token = s->found;
	return true;
}

bool
module_select(struct module *m, enum config_select by, const char *what, struct token_info *token,
    struct error *e)
{
	struct search s = {0};
	PKCS11_SLOT *slots = NULL;
	unsigned int count = 0;
	struct wanted w;
	bool listed, ok = false;

	if (!begin_search(&w, by, what, e))
		return false;
	if (!all_answer(m, e))
		goto out;
	call_begin("C_GetSlotList by libp11");
	listed = PKCS11_enumerate_slots(m->ctx, &slots, &count) == 0;
	call_end();
	if (!listed) {
		(void)libp11_error(e, "the PKCS#11 module does not list its slots");
		goto out;
	}
	for (unsigned int i = 0; i < count && i < SLOTS_MAX; i++) {
		if (slots[i].token != NULL && slots[i].token->initialized)
			look_at(m, PKCS11_get_slotid_from_slot(&slots[i]), &w, &s);
	}
	ok = end_search(&w, &s, token, e);
out:
	if (slots != NULL) {
		call_begin("C_CloseAllSessions by libp11");
		PKCS11_release_all_slots(m->ctx, slots, count);
		call_end();
	}
	p11_kit_uri_free(w.uri);
	return ok;
}

/* Not by libp11, which lists no slot when one of them does not answer. */
bool
module_select_among(struct module *m, enum config_select by, const char *what,
    module_before_fn *before, void *arg, struct token_info *token, struct error *e)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	struct search s = {0};
	CK_ULONG count;
	struct wanted w;
	bool ok = false;

	if (!begin_search(&w, by, what, e))
		return false;
	if (list_slots(m, slots, &count, e)) {
		for (CK_ULONG i = 0; i < count; i++) {
			if (before == NULL || before(slots[i], arg))
				look_at(m, slots[i], &w, &s);
		}
		ok = end_search(&w, &s, token, e);
	}
	p11_kit_uri_free(w.uri);
	return ok;
}
