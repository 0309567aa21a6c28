/* chancery doctor: what it looks at, and in which order. */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/pem.h>

#include "daemon/cli/doctor.h"
#include "daemon/core/encode.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/pem.h"

#define CLOCK_WARNING_S 5
#define CLOCK_CRITICAL_S 60
#define TLS_WARNING_S (14 * 86400)
#define PENDING_WARNING_S (7 * 86400)
#define PIN_WARNING_S 3600		/* somebody forgot, or has no time */
#define DISK_WARNING ((int64_t)1 << 30) /* octets left ... */
#define DISK_CRITICAL ((int64_t)64 << 20)
#define DISK_PART 20	  /* ... or less than this part of it */
#define CRLS_LOOKED_AT 50 /* newest ones, among which the last complete and delta CRL are */

/* A CA and what the service says of it. */
struct ca_view {
	const char *name;
	json_t *detail;				    /* owned */
	json_t *crls;				    /* owned: newest first */
	struct capolicy *policy;		    /* owned */
	uint8_t *der[DOCTOR_CHAIN_MAX];		    /* owned */
	struct certificate chain[DOCTOR_CHAIN_MAX]; /* its own first */
	size_t chain_len;
};

/* ---- findings */

static const char *const words[] = {"ok", "warning", "critical"};

/* from: NULL where it was found here. */
static void
add_finding(struct doctor *d, enum finding state, const char *object, const char *check,
    const char *from, const char *fmt, va_list ap)
{
	char text[2 * ERROR_TEXT_MAX];

	(void)vsnprintf(text, sizeof text, fmt, ap);
	if (state > d->worst)
		d->worst = state;
	(void)json_array_append_new(
	    d->findings, json_pack("{s:s, s:s, s:s, s:s*, s:s}", "state", words[state], "object",
			     object, "check", check, "from", from, "detail", text));
}

void
doctor_note(struct doctor *d, enum finding state, const char *object, const char *check,
    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_finding(d, state, object, check, NULL, fmt, ap);
	va_end(ap);
}

void
doctor_note_place(struct doctor *d, enum finding state, const char *object, const char *check,
    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add_finding(d, state, object, check, d->from, fmt, ap);
	va_end(ap);
}

const char *
doctor_span(int64_t seconds, char out[DOCTOR_SPAN_MAX])
{
	int64_t s = seconds < 0 ? -seconds : seconds;

	if (s >= 2 * 86400)
		(void)snprintf(out, DOCTOR_SPAN_MAX, "%lld d", (long long)(s / 86400));
	else if (s >= 2 * 3600)
		(void)snprintf(out, DOCTOR_SPAN_MAX, "%lld h", (long long)(s / 3600));
	else
		(void)snprintf(out, DOCTOR_SPAN_MAX, "%lld min", (long long)(s / 60));
	return out;
}

/* "2026-11-22T12:00:00Z", or -1. */
int64_t
doctor_time(json_t *object, const char *key)
{
	struct tm tm = {0};
	const char *end = strptime(cli_text(object, key), "%Y-%m-%dT%H:%M:%S", &tm);

	return end != NULL ? (int64_t)timegm(&tm) : -1;
}

/* ---- the service */

/* What the issuers saw of it. */
static void
judge_clock(struct doctor *d, json_t *clock)
{
	if (json_is_true(json_object_get(clock, "held")))
		doctor_note(d, FINDING_CRITICAL, "service", "clock",
		    "nothing is signed since %s: %s; set the clock right, then \"chancery clock "
		    "confirm\"",
		    cli_text(clock, "since"), cli_text(clock, "reason"));
	if (json_is_string(json_object_get(clock, "apart")))
		doctor_note(d, FINDING_CRITICAL, "service", "clock", "an issuer signs nothing: %s",
		    cli_text(clock, "apart"));
}

static void
judge_listeners(struct doctor *d, json_t *listeners)
{
	char span[DOCTOR_SPAN_MAX];
	json_t *l;
	size_t i;

	json_array_foreach(listeners, i, l)
	{
		int64_t left = doctor_time(l, "not_after") - d->now;

		(void)doctor_span(left, span);
		doctor_note(d,
		    left <= 0		   ? FINDING_CRITICAL
		    : left < TLS_WARNING_S ? FINDING_WARNING
					   : FINDING_OK,
		    "service", "tls", "the certificate of %s %s %s", cli_text(l, "listen"),
		    left <= 0 ? "ended before" : "is good for", span);
	}
}

/* The operator's own, with which this is asked from afar. */
static void
judge_own_certificate(struct doctor *d, const char *path)
{
	FILE *f = path != NULL ? fopen(path, "re") : NULL;
	X509 *certificate = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
	char span[DOCTOR_SPAN_MAX];
	struct tm tm = {0};
	int64_t left;

	if (certificate != NULL && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1) {
		left = (int64_t)timegm(&tm) - d->now;
		doctor_note(d, left < TLS_WARNING_S ? FINDING_WARNING : FINDING_OK, "operator",
		    "tls", "your certificate %s %s %s", path,
		    left <= 0 ? "ended before" : "is good for", doctor_span(left, span));
	}
	X509_free(certificate);
	if (f != NULL)
		(void)fclose(f);
}

/* Hosts that are gone for an hour are none any more. */
static void
judge_hosts(struct doctor *d, json_t *hosts)
{
	json_t *h;
	size_t i;

	json_array_foreach(hosts, i, h)
	{
		int64_t left = json_integer_value(json_object_get(h, "disk_free"));
		int64_t size = json_integer_value(json_object_get(h, "disk_size"));
		long long signer = json_integer_value(json_object_get(h, "signer_id"));

		if (d->now - doctor_time(h, "reported_at") > 3600)
			continue;
		doctor_note(d,
		    left < DISK_CRITICAL			     ? FINDING_CRITICAL
		    : left < DISK_WARNING || left < size / DISK_PART ? FINDING_WARNING
								     : FINDING_OK,
		    "service", "disk",
		    "issuer %lld has %lld MiB of %lld left for spool and journals", signer,
		    (long long)(left >> 20), (long long)(size >> 20));
	}
}

static void
judge_pending(struct doctor *d, json_t *status)
{
	int64_t since = doctor_time(status, "oldest_pending_at");
	char span[DOCTOR_SPAN_MAX];

	if (since < 0)
		return;
	doctor_note(d, d->now - since > PENDING_WARNING_S ? FINDING_WARNING : FINDING_OK, "service",
	    "requests", "one waits for a decision since %s", doctor_span(d->now - since, span));
}

static void
judge_pins(struct doctor *d, json_t *status)
{
	int64_t since = doctor_time(status, "oldest_pin_wait_at");
	char span[DOCTOR_SPAN_MAX];

	if (since < 0)
		return;
	doctor_note(d, d->now - since > PIN_WARNING_S ? FINDING_WARNING : FINDING_OK, "service",
	    "pin", "%lld wait until somebody enters a PIN, the oldest since %s",
	    (long long)json_integer_value(json_object_get(status, "waiting_for_pin")),
	    doctor_span(d->now - since, span));
}

static bool
look_at_service(struct doctor *d, struct error *e)
{
	json_t *status = NULL;
	int64_t theirs, apart;

	if (!http_get(d->cli->http, "/v1/status", &status, e))
		return false;
	theirs = doctor_time(status, "database_time");
	apart = theirs > d->now ? theirs - d->now : d->now - theirs;
	doctor_note(d,
	    apart > CLOCK_CRITICAL_S  ? FINDING_CRITICAL
	    : apart > CLOCK_WARNING_S ? FINDING_WARNING
				      : FINDING_OK,
	    "service", "clock", "the database's clock and this host's are %lld s apart",
	    (long long)apart);
	judge_clock(d, json_object_get(status, "clock"));
	judge_listeners(d, json_object_get(status, "tls"));
	judge_own_certificate(d, d->cli->options->value[OPTION_CLIENT_CERT]);
	judge_hosts(d, json_object_get(status, "hosts"));
	judge_pending(d, status);
	judge_pins(d, status);
	json_decref(status);
	return true;
}

/* Of several HSMs with the same keys; its signer says it so (pkcs11/signer_group.c). */
static bool
lacks_members(json_t *token)
{
	const char *sentence = cli_text(token, "sentence");

	return strncmp(sentence, "a group of ", strlen("a group of ")) == 0 &&
	       (strstr(sentence, "' is away: ") != NULL ||
		   strstr(sentence, "' is refused: ") != NULL);
}

/* A token that wants a PIN for each signature is always locked; one that nobody has
 * unlocked, or that waits for somebody at its device, stands still. */
static enum finding
judge_token(json_t *token)
{
	const char *state = cli_text(token, "state"), *access = cli_text(token, "access");

	if (json_is_true(json_object_get(token, "stale")))
		return FINDING_CRITICAL;
	if (strcmp(state, "ready") == 0 && lacks_members(token))
		return FINDING_WARNING;
	if (strcmp(state, "ready") == 0 ||
	    (strcmp(state, "locked") == 0 && strcmp(access, "operation") == 0))
		return FINDING_OK;
	return strcmp(state, "locked") == 0 || strcmp(state, "at-device") == 0 ? FINDING_WARNING
									       : FINDING_CRITICAL;
}

static bool
look_at_tokens(struct doctor *d, struct error *e)
{
	json_t *answer = NULL, *token;
	size_t i;

	if (!http_get(d->cli->http, "/v1/tokens", &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "tokens"), i, token)
	{
		bool stale = json_is_true(json_object_get(token, "stale"));

		doctor_note(d, judge_token(token), cli_text(token, "token"), "token", "%s: %s",
		    cli_text(token, "state"),
		    stale ? "its issuer has not reported for a minute"
			  : cli_text(token, "sentence"));
	}
	if (i == 0)
		doctor_note(
		    d, FINDING_WARNING, "service", "token", "no issuer has reported a token yet");
	json_decref(answer);
	return true;
}

static const char *
why_it_waits(json_t *row)
{
	const char *why = cli_text(row, "last_error");

	if (why[0] != '\0')
		return why;
	return strcmp(cli_text(row, "state"), "working") == 0 ? "it is on its way"
							      : "it was not tried yet";
}

/* What waits to be published, page by page. */
static bool
look_at_outbox(struct doctor *d, const char *ca, struct error *e)
{
	char path[CLI_PATH_MAX], after[32] = "";
	size_t waiting = 0, homeless = 0;
	bool more = true;

	while (more) {
		json_t *answer = NULL, *row;
		const char *next;
		size_t i;

		(void)snprintf(path, sizeof path, "/v1/publications?limit=1000");
		if ((ca != NULL && !cli_path_add(path, "ca", ca, e)) ||
		    (after[0] != '\0' && !cli_path_add(path, "after", after, e)) ||
		    !http_get(d->cli->http, path, &answer, e))
			return false;
		json_array_foreach(json_object_get(answer, "publications"), i, row)
		{
			if (strcmp(cli_text(row, "state"), "done") == 0)
				continue;
			if (strcmp(cli_text(row, "state"), "no-entry") == 0) {
				homeless++;
				continue;
			}
			waiting++;
			doctor_note(d, FINDING_WARNING, cli_text(row, "ca"), "publication",
			    "%s waits for %s: %s", cli_text(row, "artifact"),
			    cli_text(row, "target"), why_it_waits(row));
		}
		next = cli_text(answer, "next");
		more = next[0] != '\0' && strlen(next) < sizeof after;
		if (more)
			memcpy(after, next, strlen(next) + 1);
		json_decref(answer);
	}
	if (homeless > 0)
		doctor_note(d, FINDING_OK, ca != NULL ? ca : "service", "publication",
		    "%zu certificates have no directory entry to go to (chancery publish status)",
		    homeless);
	if (waiting == 0)
		doctor_note(d, FINDING_OK, ca != NULL ? ca : "service", "publication",
		    "everything is published and was read back");
	return true;
}

/* ---- a CA: what the service says */

static void
view_free(struct ca_view *v)
{
	if (v->policy != NULL)
		capolicy_free(v->policy);
	free(v->policy);
	for (size_t i = 0; i < v->chain_len; i++)
		free(v->der[i]);
	json_decref(v->detail);
	json_decref(v->crls);
	*v = (struct ca_view){0};
}

static bool
read_chain(struct ca_view *v, const char *pem, struct error *e)
{
	struct bytes text = {(const uint8_t *)pem, strlen(pem)};
	struct error why = ERROR_INIT;

	while (v->chain_len < DOCTOR_CHAIN_MAX) {
		uint8_t *der = malloc(CERTIFICATE_MAX);
		size_t len = 0;

		if (der == NULL)
			return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
		v->der[v->chain_len] = der;
		if (!pem_decode(&text, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, &why)) {
			free(der);
			if (why.code == ERROR_NOT_FOUND && v->chain_len > 0)
				return true;
			*e = why;
			return false;
		}
		v->chain_len++;
		if (!certificate_parse((struct bytes){der, len}, &v->chain[v->chain_len - 1], e))
			return false;
	}
	return error_set(
	    e, ERROR_LIMIT, "the chain has more than %d certificates", DOCTOR_CHAIN_MAX);
}

static bool
read_view(struct doctor *d, const char *name, struct ca_view *v, struct error *e)
{
	char path[CLI_PATH_MAX], rest[32], *pem = NULL;
	const char *policy;
	bool ok;

	v->name = name;
	v->policy = calloc(1, sizeof *v->policy);
	if (v->policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CA's policy");
	if (!cli_path(path, "/v1/cas/", name, "", e) ||
	    !cli_get_object(d->cli, path, "name", name, &v->detail, e))
		return false;
	if (!json_is_object(json_object_get(v->detail, "certificate")))
		return true;
	policy = cli_text(v->detail, "policy");
	if (!capolicy_parse(policy, strlen(policy), name, v->policy, e) ||
	    !cli_path(path, "/v1/cas/", name, "/chain", e) ||
	    !http_get_text(d->cli->http, path, &pem, e))
		return false;
	ok = read_chain(v, pem, e);
	free(pem);
	(void)snprintf(rest, sizeof rest, "/crls?limit=%d", CRLS_LOOKED_AT);
	return ok && cli_path(path, "/v1/cas/", name, rest, e) &&
	       http_get(d->cli->http, path, &v->crls, e);
}

static json_t *
last_crl(const struct ca_view *v, const char *label, bool delta)
{
	json_t *row;
	size_t i;

	json_array_foreach(json_object_get(v->crls, "crls"), i, row)
	{
		if (json_is_true(json_object_get(row, "delta")) == delta &&
		    strcmp(cli_text(row, "label"), label) == 0 &&
		    strcmp(cli_text(row, "state"), "issued") == 0)
			return row;
	}
	return NULL;
}

/* ---- a CA: its certificate and those above it */

static bool
is_retired(const struct ca_view *v)
{
	return strcmp(cli_text(v->detail, "state"), "retired") == 0;
}

/* Whether nobody can rely on it any more, and nobody wants to. */
static bool
is_over(const struct doctor *d, const struct ca_view *v)
{
	return is_retired(v) && (v->chain_len == 0 || v->chain[0].not_after < d->now);
}

static void
judge_validity(struct doctor *d, const struct ca_view *v)
{
	const struct certificate *c = &v->chain[0];
	int64_t left = c->not_after - d->now, whole = c->not_after - c->not_before;
	char span[DOCTOR_SPAN_MAX];

	(void)doctor_span(left, span);
	if (is_retired(v))
		doctor_note(d, FINDING_OK, v->name, "certificate",
		    "valid for %s; the CA is retired and issues no certificates", span);
	else if (left <= 0)
		doctor_note(d, FINDING_CRITICAL, v->name, "certificate", "ended %s ago", span);
	else
		doctor_note(d, left < whole / 2 ? FINDING_WARNING : FINDING_OK, v->name,
		    "certificate", "valid for %s%s", span,
		    left < whole / 2 ? "; less than half of its life is left: renew the CA" : "");
}

static void
judge_chain(struct doctor *d, const struct ca_view *v)
{
	for (size_t i = 0; i < v->chain_len; i++) {
		const struct certificate *c = &v->chain[i];
		const struct certificate *above = i + 1 < v->chain_len ? c + 1 : c;
		struct error why = ERROR_INIT;

		if (!bytes_equal(c->issuer, above->subject))
			(void)error_set(&why, ERROR_INPUT, "the next one has another name");
		else if (d->now > c->not_after || d->now < c->not_before)
			(void)error_set(&why, ERROR_INPUT, "it is not valid now");
		else if (certificate_verify(c, &above->spki, &why))
			continue;
		doctor_note(d, FINDING_CRITICAL, v->name, "chain", "certificate %zu of %zu: %s",
		    i + 1, v->chain_len, why.text);
		return;
	}
	doctor_note(d, FINDING_OK, v->name, "chain", "%zu certificate%s up to a root", v->chain_len,
	    v->chain_len == 1 ? "" : "s");
}

static void
judge_alarms(struct doctor *d, const struct ca_view *v)
{
	json_t *scope;
	size_t i;

	json_array_foreach(json_object_get(v->detail, "crls"), i, scope)
	{
		if (json_is_string(json_object_get(scope, "alarm")))
			doctor_note(d, FINDING_CRITICAL, v->name, "calendar", "since %s: %s",
			    cli_text(scope, "alarm_since"), cli_text(scope, "alarm"));
	}
}

/* ---- a CA: the places */

bool
doctor_is_seen(struct doctor *d, const char *url)
{
	char *copy;

	for (size_t i = 0; i < d->seen_count; i++)
		if (strcmp(d->seen[i], url) == 0)
			return true;
	copy = strdup(url);
	if (copy == NULL || d->seen_count == COUNT_OF(d->seen)) {
		free(copy);
		return false;
	}
	d->seen[d->seen_count++] = copy;
	return false;
}

/* A delta is of use only with a complete CRL from its base on. */
static void
judge_pair(struct doctor *d, const struct ca_view *v, const char *full, const char *base)
{
	size_t lf = strlen(full), lb = strlen(base);

	if (lf == 0 || lb == 0)
		return;
	if (lb > lf || (lb == lf && strcmp(base, full) > 0))
		doctor_note_place(d, FINDING_CRITICAL, v->name, "delta-crl",
		    "the delta CRL needs the complete CRL %s, and clients find number %s", base,
		    full);
}

static int
index_in(json_t *detail, const char *object)
{
	return (int)json_integer_value(json_object_get(json_object_get(detail, object), "index"));
}

/* The places that a location of the policy with this flag stands for. Clients take the first
 * that has a CRL, so that the number is of that one. */
static void
look_at_locations(struct doctor *d, const struct ca_view *v, struct doctor_place *place,
    const char *label, enum location_flag flag, char number[DOCTOR_NUMBER_MAX])
{
	struct error why = ERROR_INIT;
	struct location_names names;
	struct capolicy_urls urls;
	bool ok;

	capolicy_names(v->policy, v->name, &names);
	names.partition = label;
	names.certificate_index = index_in(v->detail, "certificate");
	names.key_index = index_in(v->detail, "key");
	ok = place->kind == ARTIFACT_CA_CERTIFICATE
		 ? capolicy_aia_urls(v->policy, flag, &names, &urls, &why)
		 : capolicy_cdp_urls(v->policy, flag, &names, &urls, &why);
	if (!ok) {
		doctor_note(d, FINDING_CRITICAL, v->name, "locations", "%s", why.text);
		return;
	}
	for (size_t i = 0; i < urls.count; i++) {
		place->url = urls.urls[i];
		if (!doctor_is_seen(d, place->url))
			doctor_look(d, place, number != NULL && number[0] == '\0' ? number : NULL);
	}
}

/* The places of one of the CA's CRLs. */
static void
look_at_crl(struct doctor *d, const struct ca_view *v, const char *label)
{
	const struct capolicy *p = v->policy;
	json_t *full = last_crl(v, label, false), *delta = last_crl(v, label, true);
	char number[DOCTOR_NUMBER_MAX] = "", base[DOCTOR_NUMBER_MAX] = "";
	struct doctor_place place = {.object = v->name, .issuer = &v->chain[0]};

	place.kind = ARTIFACT_CRL;
	place.number = full != NULL ? cli_text(full, "number") : NULL;
	place.sha256 = full != NULL ? cli_text(full, "sha256") : "";
	place.overlap_s = p->crl_overlap_s;
	look_at_locations(d, v, &place, label, LOCATION_IN_CERTIFICATES, number);
	place.kind = ARTIFACT_DELTA_CRL;
	place.number = delta != NULL ? cli_text(delta, "number") : NULL;
	place.sha256 = delta != NULL ? cli_text(delta, "sha256") : "";
	place.overlap_s = p->delta_overlap_s;
	look_at_locations(d, v, &place, label, LOCATION_IN_FRESHEST, base);
	judge_pair(d, v, number, base);
}

/* None any more once the last certificate has ended of a key that is retired. */
static bool
gets_crls(json_t *scope)
{
	return json_is_string(json_object_get(scope, "next_full_at"));
}

static void
look_at_own_places(struct doctor *d, const struct ca_view *v)
{
	struct doctor_place place = {
	    .object = v->name, .issuer = &v->chain[0], .kind = ARTIFACT_CA_CERTIFICATE};
	json_t *scope;
	size_t i;

	look_at_locations(d, v, &place, "", LOCATION_IN_CERTIFICATES, NULL);
	json_array_foreach(json_object_get(v->detail, "crls"), i, scope)
	{
		if (json_is_true(json_object_get(scope, "current")) && gets_crls(scope))
			look_at_crl(d, v, cli_text(scope, "label"));
	}
}

struct chain_look {
	struct doctor *d;
	char object[CLI_PATH_MAX];
	const struct certificate *issuer, *subject;
};

/* A place that was judged for its own sake says more: whether the certificate is on it. */
static void
look_at_chain_url(const char *url, enum artifact_kind kind, void *arg)
{
	struct chain_look *look = arg;
	struct doctor_place place = {
	    .object = look->object, .url = url, .kind = kind, .issuer = look->issuer};
	char key[PUBLISH_URL_MAX + 64];
	size_t len = strlen(url);

	place.again = doctor_is_seen(look->d, url);
	if (kind != ARTIFACT_CA_CERTIFICATE) {
		place.subject = look->subject;
		(void)snprintf(key, sizeof key, "%s ", url);
		hex_encode(look->subject->serial.p, look->subject->serial.len, key + len + 1);
		if (doctor_is_seen(look->d, key))
			return;
	} else if (place.again) {
		return;
	}
	doctor_look(look->d, &place, NULL);
}

/* Where a client that has the chain looks for what is above the CA. */
static void
look_at_places_above(struct doctor *d, const struct ca_view *v)
{
	for (size_t i = 0; i + 1 < v->chain_len; i++) {
		struct chain_look look = {
		    .d = d, .issuer = &v->chain[i + 1], .subject = &v->chain[i]};

		(void)snprintf(look.object, sizeof look.object, "%s (above, %zu)", v->name, i + 1);
		named_urls_of_certificate(&v->chain[i], look_at_chain_url, &look);
	}
}

static bool
look_at_ca(struct doctor *d, const char *name, struct error *e)
{
	struct ca_view v = {0};
	bool ok;

	d->ca = name;
	ok = read_view(d, name, &v, e);

	if (ok && is_over(d, &v)) {
		doctor_note(d, FINDING_OK, name, "certificate",
		    "the CA is retired and has no valid certificate");
	} else if (ok && v.chain_len == 0) {
		doctor_note(d, FINDING_WARNING, name, "certificate",
		    strcmp(cli_text(v.detail, "kind"), "root") == 0
			? "the CA has no certificate yet: it makes it itself when its token signs; "
			  "see \"chancery decision list\" and \"token list\""
			: "the CA waits for its certificate; see \"chancery ca csr\" and \"ca "
			  "install\"");
	} else if (ok) {
		judge_validity(d, &v);
		judge_chain(d, &v);
		judge_alarms(d, &v);
		doctor_judge_rollovers(d, name, v.detail);
		doctor_judge_crosses(d, name, v.detail);
		look_at_own_places(d, &v);
		doctor_look_at_former_crls(d, name, v.detail);
		look_at_places_above(d, &v);
	}
	view_free(&v);
	return ok;
}

static bool
look_at_all_cas(struct doctor *d, struct error *e)
{
	json_t *answer = NULL, *ca;
	bool ok = true;
	size_t i;

	if (!http_get(d->cli->http, "/v1/cas?limit=1000", &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "cas"), i, ca)
	{
		ok = ok && look_at_ca(d, cli_text(ca, "name"), e);
	}
	json_decref(answer);
	return ok;
}

/* ---- the whole */

static bool
examine(struct doctor *d, struct error *e)
{
	const char *ca = d->cli->word_count > 0 ? d->cli->words[0] : NULL;

	return look_at_service(d, e) && look_at_tokens(d, e) &&
	       (ca != NULL ? look_at_ca(d, ca, e) : look_at_all_cas(d, e)) &&
	       look_at_outbox(d, ca, e);
}

static void
report(const struct doctor *d)
{
	json_t *answer, *f;
	size_t i;

	if (d->cli->json) {
		answer = json_pack("{s:s, s:O}", "state", words[d->worst], "findings", d->findings);
		cli_print_json(answer);
		json_decref(answer);
		return;
	}
	json_array_foreach(d->findings, i, f)
	{
		const char *from = cli_text(f, "from");

		cli_say(d->cli, "%-8s  %s, %s%s%s: %s", cli_text(f, "state"), cli_text(f, "object"),
		    cli_text(f, "check"), from[0] != '\0' ? " as seen from " : "", from,
		    cli_text(f, "detail"));
	}
}

bool
cmd_doctor(struct cli *cli, struct error *e)
{
	struct doctor d = {.cli = cli,
	    .from = cli->options->value[OPTION_FROM],
	    .refused = ERROR_INIT,
	    .findings = json_array(),
	    .now = (int64_t)time(NULL)};
	bool ok;

	if (d.findings == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return error_set(e, ERROR_SYSTEM, "no memory for an examination");
	ok = examine(&d, e);
	if (ok && error_is_set(&d.refused)) {
		*e = d.refused;
		ok = false;
	}
	if (ok)
		report(&d);
	if (ok && d.worst == FINDING_CRITICAL)
		ok = error_set(e, ERROR_CONFLICT, "something is wrong: see what is critical above");
	for (size_t i = 0; i < d.seen_count; i++)
		free((char *)(uintptr_t)d.seen[i]);
	json_decref(d.findings);
	return ok;
}
