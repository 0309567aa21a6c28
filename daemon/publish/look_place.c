#include "daemon/publish/look_place.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/publish/named_url.h"
#include "daemon/x509/capolicy.h"

/* Labels that an address may have in it: its own, and those that begin like it or end in it. */
#define LABELS_IN_URL_MAX 32

struct search {
	const char *url;
	bool found;
};

static void
compare(const char *url, enum artifact_kind kind, void *arg)
{
	struct search *s = arg;

	(void)kind;
	if (strcmp(url, s->url) == 0)
		s->found = true;
}

static bool
in_certificates(struct db_array ders, const char *url)
{
	struct search s = {.url = url};
	struct certificate c;
	struct bytes der;

	while (!s.found && db_array_next(&ders, &der)) {
		struct error ignored = ERROR_INIT;

		if (certificate_parse(der, &c, &ignored))
			named_urls_of_certificate(&c, compare, &s);
	}
	return s.found;
}

static bool
in_crls(struct db_array idps, struct db_array points, const char *url)
{
	struct search s = {.url = url};
	struct bytes value;

	while (!s.found && db_array_next(&idps, &value))
		named_urls_of_idp(value, compare, &s);
	while (!s.found && db_array_next(&points, &value))
		named_urls_of_points(value, ARTIFACT_CRL, compare, &s);
	return s.found;
}

/* ---- policies */

static bool
in_list(const struct capolicy_urls *urls, const char *url)
{
	for (size_t i = 0; i < urls->count; i++)
		if (strcmp(urls->urls[i], url) == 0)
			return true;
	return false;
}

static bool
in_policy(const struct capolicy *policy, const struct location_names *names, const char *url)
{
	static const enum location_flag flags[] = {LOCATION_IN_CERTIFICATES, LOCATION_IN_FRESHEST,
	    LOCATION_IN_CRL_PUBLISHED, LOCATION_IN_IDP, LOCATION_IN_CERTIFICATE_FRESHEST};
	struct capolicy_urls *urls = malloc(sizeof *urls);
	bool found;

	if (urls == NULL)
		return false;
	found = capolicy_aia_urls(policy, LOCATION_IN_CERTIFICATES, names, urls, &ERROR_INIT) &&
		in_list(urls, url);
	for (size_t i = 0; !found && i < COUNT_OF(flags); i++)
		found = capolicy_cdp_urls(policy, flags[i], names, urls, &ERROR_INIT) &&
			in_list(urls, url);
	free(urls);
	return found;
}

/* Any of the CA's CRLs, whichever key signs it: that differs in the names' indexes. Labels
 * are of characters that nothing escapes, so one that the address does not have leads where
 * the empty one does: a CA may have hundreds, and the issuer's loop waits. */
static bool
with_labels(const struct capolicy *policy, const struct location_names *unlabelled,
    struct db_array labels, const char *url)
{
	struct location_names names = *unlabelled;
	char label[LOCATION_PARTITION_MAX];
	struct bytes text;
	bool found = false;
	int tried = 0;

	names.partition = label;
	while (!found && tried < LABELS_IN_URL_MAX && db_array_next(&labels, &text)) {
		if (text.len >= sizeof label)
			continue;
		if (text.len > 0)
			memcpy(label, text.p, text.len);
		label[text.len] = '\0';
		if (strstr(url, label) == NULL)
			continue;
		found = in_policy(policy, &names, url);
		tried++;
	}
	return found;
}

static bool
in_policies(const struct db_look *order)
{
	struct capolicy *policy = calloc(1, sizeof *policy);
	struct db_array texts = order->policies, certificates = order->certificate_indexes,
			keys = order->key_indexes;
	struct location_names names;
	int64_t certificate, key;
	struct bytes text;
	bool found = false;

	while (policy != NULL && !found && db_array_next(&texts, &text) &&
	       db_array_next_int64(&certificates, &certificate) &&
	       db_array_next_int64(&keys, &key)) {
		struct error ignored = ERROR_INIT;

		if (!capolicy_parse((const char *)text.p, text.len, order->ca, policy, &ignored))
			continue;
		capolicy_names(policy, order->ca, &names);
		names.certificate_index = (int)certificate;
		names.key_index = (int)key;
		found = with_labels(policy, &names, order->labels, order->url);
		capolicy_free(policy);
	}
	free(policy);
	return found;
}

/* ---- all of it */

/* By the network, and without what no address has: a file of this host is no place. */
static bool
is_fetched(const char *url)
{
	static const char *const schemes[] = {"http://", "https://", "ldap://", "ldaps://"};

	for (const char *p = url; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	for (size_t i = 0; i < COUNT_OF(schemes); i++)
		if (strncmp(url, schemes[i], strlen(schemes[i])) == 0)
			return true;
	return false;
}

bool
look_place_check(const struct db_look *order, struct error *err)
{
	if (is_fetched(order->url) &&
	    (in_certificates(order->certificates, order->url) ||
		in_crls(order->idps, order->points, order->url) || in_policies(order)))
		return true;
	return error_set(
	    err, ERROR_DENIED, "CA \"%s\" tells nobody to look at %.200s", order->ca, order->url);
}
