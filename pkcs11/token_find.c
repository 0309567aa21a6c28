/* Finding the token, or a group's members, in the slots of the module. */

#include "pkcs11/token_int.h"

#include <string.h>

#include "pkcs11/call.h"

#define FIND_TRIES 4

/* ---- finding the members */

/* Slots where members were seen last: whose it is when asking there hangs; and one that is
 * left alone because of that is not asked again. */
struct asking {
	const struct token *t;
	const char *state_dir;
	const bool *left_alone; /* members */
};

static bool
before_slot(CK_SLOT_ID slot, void *arg)
{
	const struct asking *a = arg;
	unsigned long last;

	(void)call_about(CALL_OF_NONE);
	for (size_t i = 0; i < a->t->count; i++) {
		if (!group_last_slot(a->t->config, a->state_dir, i, &last) || last != slot)
			continue;
		(void)call_about((int)i);
		if (a->left_alone[i])
			return false;
	}
	return true;
}

bool
token_find_member(const struct token *t, const char *state_dir, size_t i, const bool left_alone[],
    struct token_info *info, struct error *e)
{
	struct asking a = {.t = t, .state_dir = state_dir, .left_alone = left_alone};
	enum config_select by = t->config->select_by;
	const char *what = group_name(t->config, i);
	bool ok;

	if (t->count == 1)
		return module_select(t->module, by, what, info, e);
	ok = module_select_among(t->module, by, what, before_slot, &a, info, e);
	(void)call_about(CALL_OF_NONE);
	return ok;
}

/* How many of those that are wanted are there; *e is the first one's reason. */
static size_t
select_wanted(struct token *t, struct token_opening *os, const bool left_alone[], struct error *e)
{
	size_t found = 0;

	for (size_t i = 0; i < t->count; i++) {
		struct error why = ERROR_INIT;

		os[i].state = SIGNPROTO_TOKEN_AWAY;
		if (os[i].skipped)
			continue;
		os[i].found = token_find_member(
		    t, os[i].state_dir, i, left_alone, &t->members[i].info, &why);
		found += os[i].found;
		if (os[i].found)
			continue;
		token_keep_reason(t, i, &why);
		(void)error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	}
	return found;
}

/* Slots may have other numbers than when they were noted. But that one member is not there is
 * no reason to ask where another one hangs, as long as there is a third. */
static size_t
select_members(struct token *t, struct token_opening *os, struct error *e)
{
	bool left_alone[CONFIG_MEMBERS_MAX] = {false}, any = false;
	struct error why = ERROR_INIT;
	size_t found;

	for (size_t i = 0; i < t->count; i++) {
		left_alone[i] = os[i].skipped;
		any |= os[i].skipped;
	}
	found = select_wanted(t, os, left_alone, &why);
	if (found == 0 && any) {
		memset(left_alone, 0, sizeof left_alone);
		error_clear(&why);
		found = select_wanted(t, os, left_alone, &why);
	}
	*e = why;
	return found;
}

static bool
open_module(struct token *t, struct token_opening *os, struct error *e)
{
	bool ok;

	module_close(t->module);
	t->module = NULL;
	ok = module_open(t->config->module, &t->module, e);
	for (size_t i = 0; i < t->count; i++) {
		os[i].state = ok || e->code == ERROR_UNAVAILABLE ? SIGNPROTO_TOKEN_AWAY
								 : SIGNPROTO_MODULE_BROKEN;
		os[i].found = false;
	}
	return ok;
}

/*
 * A token whose file another process is just rewriting is not there for a
 * module that looks once, when it is initialised: it has to look again.
 */
bool
token_find_members(struct token *t, struct token_opening *os, struct error *e)
{
	struct error why = ERROR_INIT;
	size_t wanted = 0, found = 0;

	for (size_t i = 0; i < t->count; i++)
		wanted += !os[i].skipped;
	for (unsigned int attempt = 0; attempt < FIND_TRIES; attempt++) {
		if (attempt > 0)
			token_stagger(TOKEN_CALL_PAUSE_MS, attempt);
		error_clear(&why);
		found = open_module(t, os, &why) ? select_members(t, os, &why) : 0;
		if (found == wanted || (found > 0 && attempt > 0))
			return true;
		if (why.code != ERROR_UNAVAILABLE)
			break;
	}
	if (found == 0)
		*e = why;
	return found > 0;
}
