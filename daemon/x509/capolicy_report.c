#include "daemon/x509/capolicy_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/x509/capolicy_int.h"

#define LINES_MAX 65536
#define SENTENCE_MAX 8192

/* An address that something stands at. */
struct line {
	char *url; /* owned */
	enum location_artifact artifact;
	int generation;
	size_t scope, location;
};

struct report {
	const struct capolicy *policy;
	const struct location_subject *subject;
	const struct location_report *to;
	struct line *lines; /* owned */
	size_t count;
	unsigned said; /* locations that a generation was said of, as bits */
	struct error *err;
};

const char *
location_artifact_name(enum location_artifact artifact)
{
	static const char *const names[] = {
	    [LOCATION_OF_CRL] = "CRL",
	    [LOCATION_OF_DELTA] = "delta CRL",
	    [LOCATION_OF_CERTIFICATE] = "certificate",
	    [LOCATION_OF_RESPONDER] = "OCSP",
	};

	return names[artifact];
}

static void PRINTF(2, 3) finding(struct report *r, const char *fmt, ...)
{
	char sentence[SENTENCE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(sentence, sizeof sentence, fmt, ap);
	va_end(ap);
	r->to->finding(sentence, r->to->arg);
}

/* ---- the addresses */

static bool
is_ldap(const char *url)
{
	return strncasecmp(url, "ldap", 4) == 0;
}

static bool
keep(struct report *r, const struct line *line)
{
	struct line *lines;

	if (r->count == LINES_MAX)
		return error_set(r->err, ERROR_LIMIT,
		    "the locations stand for more than %d addresses", LINES_MAX);
	lines = realloc(r->lines, (r->count + 1) * sizeof *lines);
	if (lines == NULL)
		return error_set_errno(r->err, ERROR_SYSTEM, "listing addresses");
	r->lines = lines;
	lines[r->count] = *line;
	lines[r->count].url = strdup(line->url);
	if (lines[r->count].url == NULL)
		return error_set_errno(r->err, ERROR_SYSTEM, "listing addresses");
	r->count++;
	return true;
}

static bool
add(struct report *r, const struct location *l, const struct location_names *names, size_t scope,
    enum location_artifact artifact, unsigned flags)
{
	char url[LOCATION_URL_MAX + 1];
	bool crl = artifact == LOCATION_OF_CRL || artifact == LOCATION_OF_DELTA;
	struct line line = {
	    .url = url,
	    .artifact = artifact,
	    .generation = crl ? names->key_index : names->certificate_index,
	    .scope = scope,
	    .location = (size_t)(l - (crl ? r->policy->cdp : r->policy->aia)),
	};

	if ((l->flags & flags) == 0)
		return true;
	if (!location_expand(l->url, names, artifact == LOCATION_OF_DELTA, url, r->err))
		return error_wrap(r->err, "the location '%.200s'", l->url);
	r->to->line(&(struct location_line){.artifact = artifact,
			.generation = line.generation,
			.label = names->partition,
			.flags = l->flags & flags,
			.url = url},
	    r->to->arg);
	return keep(r, &line);
}

/* Of no location and no scope of the policy. */
static bool
add_former(struct report *r)
{
	for (size_t i = 0; i < r->subject->former_count; i++) {
		const struct location_line *l = &r->subject->former[i];
		char url[LOCATION_URL_MAX + 1];
		struct line line = {
		    .url = url,
		    .artifact = l->artifact,
		    .generation = l->generation,
		    .scope = l->artifact == LOCATION_OF_CERTIFICATE ? 0 : CAPOLICY_SCOPE_MAX + i,
		    .location = 2 * CAPOLICY_URL_MAX,
		};

		(void)snprintf(url, sizeof url, "%s", l->url);
		r->to->line(l, r->to->arg);
		if (!keep(r, &line))
			return false;
	}
	return true;
}

static const char *
label_of(const struct report *r, int key_index, size_t scope, const char *own)
{
	const struct location_subject *s = r->subject;

	return key_index == s->labelled_key && s->label_count == capolicy_scope_count(r->policy)
		   ? s->labels[scope]
		   : own;
}

static bool
list_crls(struct report *r, const struct location_names *key)
{
	const struct capolicy *p = r->policy;
	struct location_names names = *key;
	struct capolicy_scope scope;

	for (size_t s = 0; s < capolicy_scope_count(p); s++) {
		capolicy_scope(p, s, &scope);
		names.partition = label_of(r, names.key_index, s, scope.label);
		for (size_t i = 0; i < p->cdp_count; i++)
			if (!add(r, &p->cdp[i], &names, s, LOCATION_OF_CRL, LOCATION_BASE_FLAGS))
				return false;
		for (size_t i = 0; i < p->cdp_count; i++)
			if (!add(r, &p->cdp[i], &names, s, LOCATION_OF_DELTA, LOCATION_DELTA_FLAGS))
				return false;
	}
	return true;
}

static bool
list_certificates(struct report *r, const struct location_names *names)
{
	const struct capolicy *p = r->policy;

	for (size_t i = 0; i < p->aia_count; i++)
		if (!add(r, &p->aia[i], names, 0, LOCATION_OF_CERTIFICATE,
			LOCATION_PUBLISH | LOCATION_IN_CERTIFICATES))
			return false;
	return true;
}

static bool
list_responders(struct report *r, const struct location_names *names)
{
	for (size_t i = 0; i < r->policy->aia_count; i++)
		if (!add(r, &r->policy->aia[i], names, 0, LOCATION_OF_RESPONDER, LOCATION_AS_OCSP))
			return false;
	return true;
}

/* ---- what is questionable */

/* Two generations at one address. A directory's entry holds all certificates. */
static void
judge_generations(struct report *r, const struct line *a)
{
	bool certificate = a->artifact == LOCATION_OF_CERTIFICATE;
	unsigned bit = 1u << (a->location + (certificate ? CAPOLICY_URL_MAX : 0));

	if ((certificate && is_ldap(a->url)) || (r->said & bit) != 0)
		return;
	r->said |= bit;
	finding(r, "%s is the address of %s: it needs %s, or the older one is lost there", a->url,
	    certificate ? "more than one CA certificate" : "the CRLs of more than one key",
	    location_variable_name(
		certificate ? LOCATION_CERTIFICATE_NAME : LOCATION_CRL_NAME_SUFFIX));
}

static int
by_url(const void *a, const void *b)
{
	return strcmp(((const struct line *)a)->url, ((const struct line *)b)->url);
}

static void
judge_collisions(struct report *r)
{
	if (r->count > 0)
		qsort(r->lines, r->count, sizeof *r->lines, by_url);
	for (size_t i = 1; i < r->count; i++) {
		const struct line *a = &r->lines[i - 1], *b = &r->lines[i];

		if (strcmp(a->url, b->url) != 0 || a->artifact == LOCATION_OF_RESPONDER)
			continue;
		if (a->artifact == b->artifact && a->scope == b->scope &&
		    a->generation != b->generation)
			judge_generations(r, a);
		else if (a->artifact != b->artifact || a->scope != b->scope)
			finding(r,
			    "%s is the address of two artifacts, a %s and a %s: one overwrites the "
			    "other",
			    a->url, location_artifact_name(a->artifact),
			    location_artifact_name(b->artifact));
	}
}

/* The part behind the host. */
static const char *
path_of(const char *url)
{
	const char *at = strstr(url, "://");

	at = at != NULL ? strchr(at + 3, '/') : NULL;
	return at != NULL ? at : "";
}

static void
judge_addresses(struct report *r)
{
	bool plus = false, hostless = false;

	for (size_t i = 0; i < r->count; i++) {
		const char *url = r->lines[i].url;

		if (!plus && strncasecmp(url, "http", 4) == 0 &&
		    strchr(path_of(url), '+') != NULL) {
			plus = true;
			finding(r,
			    "%s has a '+' in its path, which some HTTP servers refuse (IIS without "
			    "allowDoubleEscaping): give another 'locations.delta_suffix'",
			    url);
		}
		if (!hostless && strncasecmp(url, "ldap:///", 8) == 0) {
			hostless = true;
			finding(r,
			    "%s names no server: only members of the directory know one (RFC 5280 "
			    "4.2.1.13)",
			    url);
		}
	}
}

static unsigned
flags_of(const struct capolicy *p, bool http_only)
{
	unsigned flags = 0;

	for (size_t i = 0; i < p->cdp_count; i++)
		if (!http_only || !is_ldap(p->cdp[i].url))
			flags |= p->cdp[i].flags;
	return flags;
}

static void
judge_reach(struct report *r)
{
	const struct capolicy *p = r->policy;
	unsigned all = flags_of(p, false), http = flags_of(p, true);

	if ((all & LOCATION_IN_CERTIFICATES) == 0)
		finding(r,
		    "no location of CRLs has the flag in_certificates: certificates do not say "
		    "where their CRL is");
	else if ((http & LOCATION_IN_CERTIFICATES) == 0)
		finding(r,
		    "CRLs are to be found in a directory only: who is no member of it cannot "
		    "read them; add an HTTP location");
	if (p->delta_period_s > 0 &&
	    (all & (LOCATION_IN_FRESHEST | LOCATION_IN_CERTIFICATE_FRESHEST)) == 0)
		finding(r,
		    "delta CRLs are made, but no location has the flag in_freshest: no client "
		    "finds them (RFC 5280 5.2.6)");
	if (p->kind == CA_ROOT && p->delta_period_s > 0)
		finding(r,
		    "a root has delta CRLs: there is little to gain where few certificates are "
		    "revoked, and none while it is offline");
}

bool
capolicy_report(const struct capolicy *policy, const struct location_subject *subject,
    const struct location_report *report, struct error *err)
{
	struct report r = {.policy = policy, .subject = subject, .to = report, .err = err};
	struct location_names names;
	bool ok = add_former(&r);

	capolicy_names(policy, subject->ca, &names);
	for (int i = subject->first_key; ok && i < subject->keys; i++) {
		names.key_index = i;
		ok = list_crls(&r, &names);
	}
	for (int i = subject->first_certificate; ok && i < subject->certificates; i++) {
		names.certificate_index = i;
		ok = list_certificates(&r, &names);
	}
	ok = ok && list_responders(&r, &names);
	if (ok) {
		judge_collisions(&r);
		judge_addresses(&r);
		judge_reach(&r);
	}
	for (size_t i = 0; i < r.count; i++)
		free(r.lines[i].url);
	free(r.lines);
	return ok;
}
