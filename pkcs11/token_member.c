/* Of a group: which members are in use, which are not and why, and whether one that is away is
 * back. */

#include "pkcs11/token_int.h"

#include <string.h>
#include <time.h>

#include "pkcs11/call.h"

void
token_keep_reason(struct token *t, size_t i, const struct error *why)
{
	(void)pthread_mutex_lock(&t->lock);
	memcpy(t->members[i].why, why->text, sizeof t->members[i].why);
	(void)pthread_mutex_unlock(&t->lock);
}

bool
token_choose_first(struct token *t)
{
	t->m = &t->members[0];
	for (size_t i = 0; i < t->count; i++) {
		if (t->members[i].standing != TOKEN_OPEN)
			continue;
		t->m = &t->members[i];
		return true;
	}
	return false;
}

/* ---- what others are told */

size_t
token_members(const struct token *t)
{
	return t->count;
}

size_t
token_first(const struct token *t)
{
	return (size_t)(t->m - t->members);
}

void
token_member(struct token *t, size_t i, struct token_member *out)
{
	const struct token_place *m = &t->members[i];

	*out = (struct token_member){.name = group_name(t->config, i), .info = &m->info};
	(void)pthread_mutex_lock(&t->lock);
	out->standing = m->standing;
	memcpy(out->why, m->why, sizeof out->why);
	(void)pthread_mutex_unlock(&t->lock);
}

static void
set_standing(struct token *t, size_t i, enum token_standing standing, const struct error *why)
{
	(void)pthread_mutex_lock(&t->lock);
	t->members[i].standing = standing;
	memcpy(t->members[i].why, why->text, sizeof t->members[i].why);
	(void)pthread_mutex_unlock(&t->lock);
}

bool
token_refuse(struct token *t, size_t i, const struct error *why)
{
	set_standing(t, i, TOKEN_REFUSED, why);
	return token_choose_first(t);
}

void
token_set_aside(struct token *t, size_t i, const struct error *why)
{
	set_standing(t, i, TOKEN_REFUSED, why);
}

void
token_lose(struct token *t, size_t i, const struct error *why)
{
	set_standing(t, i, TOKEN_AWAY, why);
}

void
token_check_others(struct token *t)
{
	int before = call_about(CALL_OF_NONE);

	for (size_t i = 0; i < t->count; i++) {
		struct error why = ERROR_INIT;
		struct token_member m;

		token_member(t, i, &m);
		if (m.standing != TOKEN_OPEN || i == token_first(t))
			continue;
		(void)call_about((int)i);
		if (!session_check_login(&t->members[i].keeper, &why))
			token_lose(t, i, &why);
	}
	(void)call_about(before);
}

/* Nothing of the token's own is touched: this may hang for ever. */
bool
token_look(struct token *t, const char *state_dir, size_t i, struct error *e)
{
	int64_t now = (int64_t)time(NULL);
	bool left_alone[CONFIG_MEMBERS_MAX];
	struct token_info info;
	struct session s;

	for (size_t k = 0; k < t->count; k++)
		left_alone[k] = k != i && group_is_blamed(t->config, state_dir, k, now);
	if (!token_find_member(t, state_dir, i, left_alone, &info, e))
		return false;
	(void)call_about((int)i);
	if (!session_open(module_functions(t->module), info.slot, false, &s, e))
		return false;
	session_close(&s);
	return true;
}
