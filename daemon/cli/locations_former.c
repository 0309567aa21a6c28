#include "daemon/cli/locations_former.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/output.h"
#include "daemon/publish/named_url.h"

#define DER_MAX 8192 /* octets of an extension's value */

struct reading {
	struct locations_former *f;
	const char *label;
	int key;
	bool failed;
};

static void
add(struct reading *r, enum location_artifact artifact, int generation, unsigned flags,
    const char *url)
{
	struct location_line *lines = realloc(r->f->lines, (r->f->count + 1) * sizeof *r->f->lines);
	char *copy = strdup(url);

	if (lines != NULL)
		r->f->lines = lines;
	if (lines == NULL || copy == NULL) {
		free(copy);
		r->failed = true;
		return;
	}
	lines[r->f->count++] = (struct location_line){.artifact = artifact,
	    .generation = generation,
	    .label = artifact == LOCATION_OF_CERTIFICATE ? "" : r->label,
	    .flags = flags,
	    .url = copy};
}

/* ---- what the CRL says: names that stand in its certificates, too */

static void
on_name(const char *url, enum artifact_kind kind, void *arg)
{
	struct reading *r = arg;
	bool delta = kind == ARTIFACT_DELTA_CRL;

	add(r, delta ? LOCATION_OF_DELTA : LOCATION_OF_CRL, r->key,
	    delta ? LOCATION_IN_FRESHEST : LOCATION_IN_CERTIFICATES | LOCATION_IN_IDP, url);
}

static bool
add_named(struct reading *r, json_t *row)
{
	uint8_t idp[DER_MAX], freshest[DER_MAX];
	size_t before = r->f->count;

	named_urls_of_idp(cli_octets(row, "idp", idp, sizeof idp), on_name, r);
	if (r->f->count == before)
		return false;
	named_urls_of_points(
	    cli_octets(row, "freshest", freshest, sizeof freshest), ARTIFACT_DELTA_CRL, on_name, r);
	return true;
}

/* ---- what the policy of its time says */

static bool
add_places(struct reading *r, const struct location *locations, size_t count,
    const struct location_names *names, enum location_artifact artifact, unsigned flags,
    struct error *e)
{
	bool certificate = artifact == LOCATION_OF_CERTIFICATE;
	char url[LOCATION_URL_MAX + 1];

	for (size_t i = 0; i < count; i++) {
		if ((locations[i].flags & flags) == 0)
			continue;
		if (!location_expand(
			locations[i].url, names, artifact == LOCATION_OF_DELTA, url, e))
			return error_wrap(e, "the former location '%.200s'", locations[i].url);
		add(r, artifact, certificate ? names->certificate_index : r->key,
		    locations[i].flags & flags, url);
	}
	return true;
}

struct capolicy *
former_policy(const char *ca, json_t *row, struct location_names *names, struct error *e)
{
	const char *text = cli_text(row, "policy");
	struct capolicy *p = calloc(1, sizeof *p);

	if (p == NULL) {
		(void)error_set_errno(e, ERROR_SYSTEM, "allocating a former policy");
		return NULL;
	}
	if (!capolicy_parse(text, strlen(text), ca, p, e)) {
		free(p);
		return NULL;
	}
	capolicy_names(p, ca, names);
	names->partition = cli_text(row, "label");
	names->key_index = (int)json_integer_value(json_object_get(row, "key_index"));
	names->certificate_index = (int)json_integer_value(
	    json_object_get(row, "certificate_index"));
	return p;
}

static bool
add_by_policy(
    struct reading *r, const char *ca, json_t *row, bool crls, bool certificate, struct error *e)
{
	struct location_names names;
	struct capolicy *p = former_policy(ca, row, &names, e);
	bool ok;

	if (p == NULL)
		return false;
	ok = (!crls || (add_places(r, p->cdp, p->cdp_count, &names, LOCATION_OF_CRL,
			    LOCATION_BASE_FLAGS, e) &&
			   add_places(r, p->cdp, p->cdp_count, &names, LOCATION_OF_DELTA,
			       LOCATION_DELTA_FLAGS, e))) &&
	     (!certificate || add_places(r, p->aia, p->aia_count, &names, LOCATION_OF_CERTIFICATE,
				  LOCATION_PUBLISH | LOCATION_IN_CERTIFICATES, e));
	capolicy_free(p);
	free(p);
	return ok;
}

/* ---- all */

bool
locations_former_read(
    json_t *answer, const char *ca, int key, struct locations_former *f, struct error *e)
{
	struct reading r = {.f = f};
	int last = key; /* whose certificate was listed */
	json_t *row;
	size_t i;

	*f = (struct locations_former){0};
	json_array_foreach(json_object_get(answer, "former_crls"), i, row)
	{
		bool certificate, named;

		r.label = cli_text(row, "label");
		r.key = (int)json_integer_value(json_object_get(row, "key_index"));
		named = add_named(&r, row);
		certificate = r.key != last && r.key != key;
		last = r.key;
		if ((!named || certificate) && !add_by_policy(&r, ca, row, !named, certificate, e))
			return false;
	}
	return !r.failed || error_set(e, ERROR_SYSTEM, "no memory for former locations");
}

void
locations_former_free(struct locations_former *f)
{
	for (size_t i = 0; i < f->count; i++)
		free((char *)(uintptr_t)f->lines[i].url);
	free(f->lines);
	*f = (struct locations_former){0};
}
