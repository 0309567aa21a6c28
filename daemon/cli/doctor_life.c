/* What is left of a CA's former life: CRLs of earlier keys and closed scopes, for which
 * certificates are still valid, and whether the keys of a root vouch for each other. */

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/doctor.h"
#include "daemon/cli/locations_former.h"
#include "daemon/x509/capolicy.h"

#define DER_MAX 8192 /* octets of an extension's value */

static int
number_of(json_t *object, const char *key)
{
	return (int)json_integer_value(json_object_get(object, key));
}

/* ---- CRLs of former keys and scopes */

struct former {
	struct doctor *d;
	struct doctor_place place;
	size_t count; /* of places */
};

static void
look(const char *url, enum artifact_kind kind, void *arg)
{
	struct former *f = arg;

	f->count++;
	f->place.url = url;
	f->place.kind = kind;
	if (!doctor_is_seen(f->d, url))
		doctor_look(f->d, &f->place, NULL);
}

/* Without names in the CRL the places are those of the policy of its time. */
static bool
look_by_policy(struct former *f, const char *ca, json_t *row, struct error *why)
{
	struct capolicy_urls *urls = malloc(sizeof *urls);
	struct capolicy *policy = NULL;
	struct location_names names;
	bool ok = false;

	if (urls == NULL) {
		error_set_errno(why, ERROR_SYSTEM, "allocating former places");
		goto out;
	}
	policy = former_policy(ca, row, &names, why);
	if (policy == NULL)
		goto out;
	ok = capolicy_cdp_urls(policy, LOCATION_IN_CERTIFICATES, &names, urls, why);
	for (size_t i = 0; ok && i < urls->count; i++)
		look(urls->urls[i], ARTIFACT_CRL, f);
	capolicy_free(policy);
out:
	free(policy);
	free(urls);
	return ok;
}

static void
look_at_former_crl(struct doctor *d, const char *ca, json_t *row)
{
	uint8_t *der = malloc(CERTIFICATE_MAX), idp[DER_MAX], freshest[DER_MAX];
	char object[CLI_PATH_MAX];
	struct former f = {.d = d, .place = {.object = object}};
	struct certificate issuer;
	struct error why = ERROR_INIT;

	(void)snprintf(object, sizeof object, "%s (key %d%s)", ca, number_of(row, "key_index"),
	    cli_text(row, "label"));
	if (der == NULL || !certificate_parse(cli_octets(row, "certificate", der, CERTIFICATE_MAX),
			       &issuer, &why)) {
		doctor_note(d, FINDING_CRITICAL, object, "crl", "%s", why.text);
		goto out;
	}
	f.place.issuer = &issuer;
	f.place.number = json_string_value(json_object_get(row, "number"));
	f.place.sha256 = cli_text(row, "sha256");
	named_urls_of_idp(cli_octets(row, "idp", idp, sizeof idp), look, &f);
	if (f.count == 0 && !look_by_policy(&f, ca, row, &why))
		doctor_note(d, FINDING_CRITICAL, object, "locations", "%s", why.text);
	f.place.number = json_string_value(json_object_get(row, "delta_number"));
	f.place.sha256 = cli_text(row, "delta_sha256");
	named_urls_of_points(
	    cli_octets(row, "freshest", freshest, sizeof freshest), ARTIFACT_DELTA_CRL, look, &f);
out:
	free(der);
}

void
doctor_look_at_former_crls(struct doctor *d, const char *ca, json_t *detail)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(detail, "former_crls"), i, row)
	{
		look_at_former_crl(d, ca, row);
	}
}

/* ---- rollover certificates */

static bool
vouches(json_t *rollovers, int signer, int subject)
{
	json_t *r;
	size_t i;

	json_array_foreach(rollovers, i, r)
	{
		if (number_of(r, "signer_key") == signer && number_of(r, "subject_key") == subject)
			return true;
	}
	return false;
}

void
doctor_judge_rollovers(struct doctor *d, const char *ca, json_t *detail)
{
	json_t *rollovers = json_object_get(detail, "rollovers"), *g;
	int newest = number_of(json_object_get(detail, "key"), "index"), judged = -1;
	size_t i;

	if (strcmp(cli_text(detail, "kind"), "root") != 0)
		return;
	json_array_foreach(json_object_get(detail, "generations"), i, g)
	{
		int key = number_of(g, "key_index");

		if (key >= newest || key == judged || doctor_time(g, "not_after") <= d->now)
			continue;
		judged = key;
		if (vouches(rollovers, key, newest) && vouches(rollovers, newest, key))
			doctor_note(d, FINDING_OK, ca, "rollover",
			    "keys %d and %d vouch for each other", key, newest);
		else
			doctor_note(d, FINDING_WARNING, ca, "rollover",
			    "key %d, whose certificate is still valid, and key %d do not vouch for "
			    "each other (RFC 4210 4.4): see \"chancery ca rollover\"",
			    key, newest);
	}
}

/* ---- cross-certificates */

#define CROSS_WARNING_S (30 * 86400)

void
doctor_judge_crosses(struct doctor *d, const char *ca, json_t *detail)
{
	json_t *cross;
	size_t i;

	json_array_foreach(json_object_get(detail, "crosses"), i, cross)
	{
		int64_t left = doctor_time(cross, "not_after") - d->now;
		const char *issuer = cli_text(cross, "issuer"), *end = cli_text(cross, "not_after");

		if (left > CROSS_WARNING_S)
			doctor_note(
			    d, FINDING_OK, ca, "cross", "%s vouches for it until %s", issuer, end);
		else
			doctor_note(d, FINDING_WARNING, ca, "cross",
			    "the cross-certificate of %s %s at %s: get another one, and hand it "
			    "out by \"chancery ca install-cross %s FILE\"",
			    issuer, left > 0 ? "ends" : "ended", end, ca);
	}
}
