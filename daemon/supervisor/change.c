#include "daemon/supervisor/change.h"

#include <string.h>

static bool
differ(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a != b;
	return strcmp(a, b) != 0;
}

static bool
paths_differ(const struct config_paths *a, const struct config_paths *b)
{
	if (a->count != b->count)
		return true;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->items[i], b->items[i]) != 0)
			return true;
	}
	return false;
}

static bool
dirs_differ(const struct config_publish_dirs *a, const struct config_publish_dirs *b)
{
	if (a->count != b->count)
		return true;
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->items[i].path, b->items[i].path) != 0 ||
		    strcmp(a->items[i].user.name, b->items[i].user.name) != 0)
			return true;
	}
	return false;
}

/* What operators' keys say is in files that the signer read when it started. */
static bool
access_differs(const struct config_token *a, const struct config_token *b)
{
	if (a->access != b->access || a->session_max_s != b->session_max_s ||
	    a->session_idle_max_s != b->session_idle_max_s ||
	    a->session_signatures_max != b->session_signatures_max ||
	    a->user_type != b->user_type || a->pin_operator_count != b->pin_operator_count)
		return true;
	for (size_t i = 0; i < a->pin_operator_count; i++) {
		if (differ(a->pin_operators[i].name, b->pin_operators[i].name) ||
		    differ(a->pin_operators[i].key, b->pin_operators[i].key))
			return true;
	}
	return false;
}

bool
change_of_token(const struct config_token *a, const struct config_token *b)
{
	if (differ(a->name, b->name) || differ(a->module, b->module) ||
	    a->select_by != b->select_by || differ(a->select, b->select) ||
	    paths_differ(&a->others, &b->others) || a->spread != b->spread ||
	    differ(a->pin_file, b->pin_file) || differ(a->pin_credential, b->pin_credential) ||
	    a->threads != b->threads || a->call_timeout_s != b->call_timeout_s ||
	    a->crl_lease_s != b->crl_lease_s || a->profile != b->profile ||
	    a->network != b->network || a->unix_sockets != b->unix_sockets ||
	    paths_differ(&a->writable, &b->writable) ||
	    a->environment_count != b->environment_count || access_differs(a, b))
		return true;
	for (size_t i = 0; i < a->environment_count; i++) {
		if (differ(a->environment[i].name, b->environment[i].name) ||
		    differ(a->environment[i].value, b->environment[i].value))
			return true;
	}
	return false;
}

bool
change_of_issuer(const struct config *a, const struct config *b)
{
	if (differ(a->database_issuer, b->database_issuer) ||
	    a->issuer.signer_id != b->issuer.signer_id || a->issuer.batch != b->issuer.batch ||
	    a->issuer.crl_abstract_from != b->issuer.crl_abstract_from ||
	    differ(a->issuer.credentials_dir, b->issuer.credentials_dir) ||
	    differ(a->issuer.commands_dir, b->issuer.commands_dir) ||
	    differ(a->issuer.ca_file, b->issuer.ca_file) ||
	    differ(a->issuer.krb5_config, b->issuer.krb5_config) ||
	    dirs_differ(&a->issuer.publish_dirs, &b->issuer.publish_dirs) ||
	    a->token_count != b->token_count)
		return true;
	/* It knows its tokens by name. */
	for (size_t i = 0; i < a->token_count; i++) {
		if (config_find_token(b, a->tokens[i].name) == NULL)
			return true;
	}
	return false;
}

static bool
users_differ(const struct identity *a, const struct identity *b)
{
	return a->uid != b->uid || a->gid != b->gid || a->group_count != b->group_count ||
	       memcmp(a->groups, b->groups, a->group_count * sizeof a->groups[0]) != 0;
}

bool
change_of_writer(const struct config *a, const struct config *b, const char *user)
{
	const struct identity *was = config_find_writer(a, user), *is = config_find_writer(b, user);

	return was == NULL || is == NULL || users_differ(was, is) ||
	       dirs_differ(&a->issuer.publish_dirs, &b->issuer.publish_dirs);
}

bool
change_of_front(const struct config *a, const struct config *b)
{
	const struct config_front *f = &a->front, *g = &b->front;

	if (differ(a->database_front, b->database_front) || differ(f->unix_path, g->unix_path) ||
	    differ(f->metrics.text, g->metrics.text) || f->http_count != g->http_count ||
	    f->https_count != g->https_count)
		return true;
	for (size_t i = 0; i < f->http_count; i++) {
		if (differ(f->http[i].text, g->http[i].text))
			return true;
	}
	for (size_t i = 0; i < f->https_count; i++) {
		if (differ(f->https[i].listen.text, g->https[i].listen.text) ||
		    differ(f->https[i].certificate, g->https[i].certificate) ||
		    differ(f->https[i].key, g->https[i].key))
			return true;
	}
	return false;
}
