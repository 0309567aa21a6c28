#include "daemon/cli/parent.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"

#define TEMPLATE_DEFAULT "sub-ca"
/* How long one look waits at the parent, and all of them together. */
#define LOOK_S 30
#define WAIT_S 600

bool
parent_is_given(const struct cli *cli, bool *given, struct error *e)
{
	static const enum option belonging[] = {OPTION_PARENT_CA, OPTION_PARENT_TEMPLATE,
	    OPTION_PARENT_CERT, OPTION_PARENT_KEY, OPTION_PARENT_ROOTS};
	const char *const *value = cli->options->value;

	*given = value[OPTION_PARENT] != NULL;
	for (size_t i = 0; !*given && i < COUNT_OF(belonging); i++)
		if (value[belonging[i]] != NULL)
			return error_set(
			    e, ERROR_USAGE, "--%s needs --parent", option_name(belonging[i]));
	if (*given && value[OPTION_PARENT_CA] == NULL)
		return error_set(
		    e, ERROR_USAGE, "--parent needs --parent-ca: which CA there is to issue");
	return true;
}

/* The options as if the parent were the service. */
static void
options_of_parent(const struct options *own, struct options *out)
{
	const char *where = own->value[OPTION_PARENT];

	*out = *own;
	out->value[OPTION_URL] = where[0] == '/' ? NULL : where;
	out->value[OPTION_SOCKET] = where[0] == '/' ? where : NULL;
	out->value[OPTION_CLIENT_CERT] = own->value[OPTION_PARENT_CERT];
	out->value[OPTION_CLIENT_KEY] = own->value[OPTION_PARENT_KEY];
	out->value[OPTION_CA_FILE] = own->value[OPTION_PARENT_ROOTS];
}

static bool
submit(struct cli *up, const char *csr, json_t **request, struct error *e)
{
	const char *template = up->options->value[OPTION_PARENT_TEMPLATE];
	char key[2 * SHA256_DIGEST_LENGTH + 1];
	uint8_t digest[SHA256_DIGEST_LENGTH];
	json_t *body;
	bool ok;

	SHA256((const unsigned char *)csr, strlen(csr), digest);
	hex_encode(digest, sizeof digest, key);
	body = json_pack("{s:s, s:s, s:s, s:s}", "ca", up->options->value[OPTION_PARENT_CA],
	    "template", template != NULL ? template : TEMPLATE_DEFAULT, "csr", csr,
	    "idempotency_key", key);
	if (body == NULL)
		return error_set(e, ERROR_USAGE, "a word on the command line is not UTF-8");
	ok = http_post(up->http, "/v1/requests", body, request, e);
	json_decref(body);
	return ok;
}

/* Its state, once the parent has no more to do by itself; NULL with an error. */
static bool
look(struct cli *up, const char *id, json_t **request, struct error *e)
{
	char path[CLI_PATH_MAX], rest[32];

	json_decref(*request);
	*request = NULL;
	(void)snprintf(rest, sizeof rest, "?wait=%d", LOOK_S);
	return cli_path(path, "/v1/requests/", id, rest, e) &&
	       cli_get_object(up, path, "id", id, request, e);
}

static bool
is_one_of(const char *state, const char *const *states)
{
	for (; *states != NULL; states++)
		if (strcmp(state, *states) == 0)
			return true;
	return false;
}

/* A parent that is away, as while it is started anew, still has the request. */
static bool
may_look_again(const struct error *why, time_t end, bool *away)
{
	if (!error_is_retryable(why) || time(NULL) >= end)
		return false;
	if (!*away)
		cli_note("The parent does not answer, and is asked again: %s", why->text);
	*away = true;
	return true;
}

/* A look answers at once when the request waits for a person. */
static bool
await_issue(struct cli *up, const char *id, json_t **request, struct error *e)
{
	static const char *const over[] = {
	    "rejected", "denied", "expired", "withdrawn", "failed", NULL};
	const struct timespec pause = {1, 0};
	time_t end = time(NULL) + WAIT_S;
	bool told = false, away = false;

	for (;;) {
		const char *state, *reason;
		struct error why = ERROR_INIT;

		if (!look(up, id, request, &why)) {
			if (!may_look_again(&why, end, &away))
				return error_set_foreign(
				    e, why.code, why.source, why.foreign, "%s", why.text);
			(void)nanosleep(&pause, NULL);
			continue;
		}
		away = false;
		state = cli_member(*request, "state", e);
		if (state == NULL)
			return false;
		if (strcmp(state, "issued") == 0)
			return true;
		reason = json_string_value(json_object_get(*request, "reason"));
		if (is_one_of(state, over))
			return error_set(e, ERROR_DENIED, "the parent's request %s is %s: %s", id,
			    state, reason != NULL ? reason : "no reason given");
		if (!told && strcmp(state, "pending") == 0)
			cli_note("Request %s waits at the parent for an operator's approval.", id);
		told = true;
		if (time(NULL) >= end)
			return error_set(e, ERROR_TIMEOUT,
			    "nobody has decided on request %s at the parent; once it is approved, "
			    "\"chancery ca install\" with the same --parent options fetches the "
			    "certificate",
			    id);
		(void)nanosleep(&pause, NULL);
	}
}

static bool
fetch(struct cli *up, const char *csr, char **pem, struct error *e)
{
	char path[CLI_PATH_MAX], id[64];
	json_t *request = NULL;
	const char *found;
	bool ok = false;

	if (!submit(up, csr, &request, e))
		goto out;
	found = cli_id(request, e);
	if (found == NULL || (size_t)snprintf(id, sizeof id, "%s", found) >= sizeof id)
		goto out;
	ok = await_issue(up, id, &request, e) &&
	     cli_path(path, "/v1/requests/", id, "/certificate", e) &&
	     http_get_text(up->http, path, pem, e);
out:
	json_decref(request);
	return ok || error_wrap(e, "the parent at %s", up->options->value[OPTION_PARENT]);
}

bool
parent_fetch(struct cli *cli, const char *ca, char **pem, struct error *e)
{
	struct options *options = malloc(sizeof *options);
	struct cli up = *cli;
	char path[CLI_PATH_MAX], *csr = NULL;
	bool ok = false;

	if (options == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the way to the parent");
	options_of_parent(cli->options, options);
	up.options = options;
	up.json = false;
	if (!cli_path(path, "/v1/cas/", ca, "/csr", e) || !http_get_text(cli->http, path, &csr, e))
		goto out;
	up.http = http_open(options, e);
	ok = up.http != NULL && fetch(&up, csr, pem, e);
	http_close(up.http);
out:
	free(csr);
	free(options);
	return ok;
}

bool
parent_install(struct cli *cli, const char *ca, struct error *e)
{
	char *pem = NULL;
	bool ok = parent_fetch(cli, ca, &pem, e) && ca_install_pem(cli, ca, pem, e);

	free(pem);
	return ok;
}
