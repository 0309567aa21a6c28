/* A place as another host sees it: its issuer is asked to fetch what stands there. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/cli/doctor.h"
#include "daemon/core/encode.h"
#include "daemon/core/monotonic.h"
#include "daemon/publish/look.h"

#define PAUSE_MS 100
#define SILENT_S 20 /* of an issuer that reports each 5 s: it may be starting anew */
#define GONE_S 60   /* it does not run */
/* By one that runs: it is woken, and may have other desks' looks to do first. */
#define DONE_WITHIN_S (3 * LOOK_ATTEMPT_S + 5)

static const char *
text_of(json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* wanted_sha256: hex or NULL. */
static bool
order(struct doctor *d, const struct doctor_place *place, const char *wanted_sha256, json_t **look,
    struct error *err)
{
	json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:s?}", "host", d->from, "ca", d->ca, "url",
	    place->url, "artifact", artifact_kind_name(place->kind), "wanted", wanted_sha256);
	bool ok;

	if (body == NULL)
		return error_set(err, ERROR_INPUT, "the address is no text in UTF-8");
	ok = http_post(d->cli->http, "/v1/looks", body, look, err);
	json_decref(body);
	/* Who may not, or a host that nobody knows: so it is with every place. */
	if (!ok && (err->code == ERROR_DENIED || err->code == ERROR_NOT_FOUND))
		d->refused = *err;
	return ok;
}

/* Whether waiting is of no use any more, and why. */
static bool
is_away(struct doctor *d, json_t *look, long waited_s, struct error *err)
{
	long long silent_s = json_integer_value(json_object_get(look, "silent_s"));

	if (silent_s > GONE_S || (silent_s > SILENT_S && waited_s > SILENT_S))
		error_set(err, ERROR_TIMEOUT,
		    "host %s is away: its issuer was last heard of %lld s ago; it was asked "
		    "nothing else",
		    d->from, silent_s);
	else if (waited_s > DONE_WITHIN_S)
		error_set(err, ERROR_TIMEOUT,
		    "host %s did not answer within %d s, though its issuer runs; it was asked "
		    "nothing else",
		    d->from, DONE_WITHIN_S);
	else
		return false;
	d->from_is_away = true;
	return true;
}

static bool
await(struct doctor *d, json_t **look, struct error *err)
{
	const struct timespec pause = {0, PAUSE_MS * 1000000L};
	char path[CLI_PATH_MAX], id[64];
	int64_t since = monotonic_s();

	(void)snprintf(
	    id, sizeof id, "%s", text_of(*look, "id") != NULL ? text_of(*look, "id") : "");
	for (;;) {
		const char *state = text_of(*look, "state");

		if (state != NULL && strcmp(state, "done") == 0)
			return true;
		if (is_away(d, *look, (long)(monotonic_s() - since), err))
			return false;
		(void)nanosleep(&pause, NULL);
		json_decref(*look);
		*look = NULL;
		if (!cli_path(path, "/v1/looks/", id, "", err) ||
		    !http_get(d->cli->http, path, look, err))
			return false;
	}
}

/* Gives it to the sink as if it came from here. */
static bool
give(json_t *look, const struct fetch_sink *sink, struct error *err)
{
	const char *text = text_of(look, "content");
	size_t len = strlen(text), n = 0;
	uint8_t *octets = malloc(len + 1);
	bool ok, enough;

	if (octets == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "memory for what was fetched");
	ok = base64_decode(
		 (struct bytes){(const uint8_t *)text, len}, false, octets, len + 1, &n, err) &&
	     sink->data(octets, n, sink->arg, err) && sink->end(&enough, sink->arg, err);
	free(octets);
	return ok;
}

bool
doctor_fetch_from(struct doctor *d, const struct doctor_place *place, const char *wanted_sha256,
    const struct fetch_sink *sink, struct doctor_digest *digest, struct error *err)
{
	json_t *look = NULL;
	const char *why, *sha256;
	bool ok = false;

	digest->sha256[0] = '\0';
	if (!order(d, place, wanted_sha256, &look, err) || !await(d, &look, err))
		goto out;
	why = text_of(look, "error");
	sha256 = text_of(look, "sha256");
	if (why != NULL)
		error_set(err, ERROR_UNAVAILABLE, "%s", why);
	else if (sha256 == NULL || strlen(sha256) != sizeof digest->sha256 - 1)
		error_set(err, ERROR_INTERNAL, "the service does not say what its host found");
	else if (text_of(look, "content") != NULL)
		ok = give(look, sink, err);
	else {
		digest->size = (uint64_t)json_integer_value(json_object_get(look, "size"));
		memcpy(digest->sha256, sha256, sizeof digest->sha256);
		ok = true;
	}
out:
	json_decref(look);
	return ok;
}
