/* The limits in force, and the draft of their next version. */

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/decision.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/core/encode.h"

static bool
take_answer(const char *ca, struct limits_current *c, struct error *e)
{
	const char *text = cli_member(c->answer, "document", e),
		   *sha256 = cli_member(c->answer, "sha256", e),
		   *key = cli_member(c->answer, "key_sha256", e);
	char hex[65];

	if (text == NULL || sha256 == NULL || key == NULL)
		return false;
	if (!limits_parse(text, strlen(text), &c->limits, e))
		return error_wrap(e, "what the service shows as the limits of CA %s", ca);
	limits_sha256(text, strlen(text), c->sha256);
	hex_encode(c->sha256, sizeof c->sha256, hex);
	if (strcmp(hex, sha256) != 0 || strcmp(c->limits.ca, ca) != 0 || strlen(key) != 64 ||
	    !hex_decode(key, sizeof c->key, c->key))
		return error_set(e, ERROR_INTERNAL,
		    "the service shows limits of CA %s that are not what it says they are", ca);
	memcpy(c->key_hex, key, sizeof c->key_hex);
	c->text = strdup(text);
	return c->text != NULL || error_set_errno(e, ERROR_SYSTEM, "allocating limits");
}

bool
limits_current_load(
    struct cli *cli, const char *ca, struct limits_current **current, struct error *e)
{
	struct limits_current *c = calloc(1, sizeof *c);
	char path[CLI_PATH_MAX];

	if (c == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	if (cli_path(path, "/v1/cas/", ca, "/limits", e) &&
	    cli_get_object(cli, path, "ca", ca, &c->answer, e) && take_answer(ca, c, e)) {
		*current = c;
		return true;
	}
	limits_current_free(c);
	return false;
}

void
limits_current_free(struct limits_current *current)
{
	if (current == NULL)
		return;
	json_decref(current->answer);
	free(current->text);
	free(current);
}
