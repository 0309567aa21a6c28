#include "daemon/publish/ldap_session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "daemon/publish/credential.h"
#include "daemon/publish/ldap_gssapi.h"

/* Where libldap has no built-in default, unlike libcurl. */
#define SYSTEM_CA_FILE "/etc/ssl/certs/ca-certificates.crt"
/* Beyond the artifact and its companions: a newer, longer artifact. */
#define ANSWER_SLACK ((ber_len_t)64 << 20)
/* Answers to a search before its result: entries, and references to other servers. */
#define SEARCH_MESSAGES_MAX 64

const char *
ldap_attribute_of(enum artifact_kind kind, enum target_schema schema)
{
	static const char *const names[][2] = {
	    [ARTIFACT_CA_CERTIFICATE] = {"cACertificate;binary", "cACertificate"},
	    [ARTIFACT_CRL] = {"certificateRevocationList;binary", "certificateRevocationList"},
	    [ARTIFACT_DELTA_CRL] = {"deltaRevocationList;binary", "deltaRevocationList"},
	    [ARTIFACT_CERTIFICATE] = {"userCertificate;binary", "userCertificate"},
	};

	return (size_t)kind < COUNT_OF(names) ? names[kind][schema == TARGET_SCHEMA_AD] : NULL;
}

/* With or without ";binary", in any case of letters. */
static bool
attribute_fits(const char *given, const char *wanted)
{
	size_t bare = strcspn(wanted, ";");

	if (strncasecmp(given, wanted, bare) != 0)
		return false;
	return given[bare] == '\0' || strcasecmp(given + bare, wanted + bare) == 0;
}

static bool
set_attribute(const char *url, const LDAPURLDesc *d, const struct publish_job *job,
    struct ldap_place *place, struct error *err)
{
	const char *wanted = ldap_attribute_of(job->artifact, TARGET_SCHEMA_RFC4523);

	if (d->lud_attrs != NULL && d->lud_attrs[0] != NULL) {
		if (d->lud_attrs[1] != NULL)
			return error_set(err, ERROR_INPUT,
			    "%s names several attributes; name %s alone", url, wanted);
		if (!attribute_fits(d->lud_attrs[0], wanted))
			return error_set(err, ERROR_INPUT,
			    "%s: a %s stands in the attribute %s (RFC 4523 2), not in %s", url,
			    artifact_kind_name(job->artifact), wanted, d->lud_attrs[0]);
	}
	(void)snprintf(place->attribute, sizeof place->attribute, "%s",
	    ldap_attribute_of(job->artifact, job->schema));
	return true;
}

static bool
set_server(const char *url, const LDAPURLDesc *d, enum target_tls tls, struct ldap_place *place,
    struct error *err)
{
	bool ldaps = strcasecmp(d->lud_scheme, "ldaps") == 0;
	bool bracket = strchr(d->lud_host, ':') != NULL && d->lud_host[0] != '[';
	int port = d->lud_port;
	int n;

	if (!ldaps && strcasecmp(d->lud_scheme, "ldap") != 0)
		return error_set(
		    err, ERROR_INPUT, "%s: the scheme must be ldap:// or ldaps://", url);
	if (ldaps && tls == TARGET_TLS_STARTTLS)
		return error_set(
		    err, ERROR_INPUT, "%s: StartTLS begins on ldap://, not on ldaps://", url);
	if (tls == TARGET_TLS_LDAPS && !ldaps) {
		ldaps = true;
		if (port == LDAP_PORT)
			port = 0;
	}
	if (port == 0)
		port = ldaps ? LDAPS_PORT : LDAP_PORT;
	place->tls = ldaps;
	place->loopback = credential_host_is_loopback(d->lud_host);
	n = snprintf(place->server, sizeof place->server, "%s://%s%s%s:%d",
	    ldaps ? "ldaps" : "ldap", bracket ? "[" : "", d->lud_host, bracket ? "]" : "", port);
	if (n < 0 || (size_t)n >= sizeof place->server)
		return error_set(err, ERROR_LIMIT, "the URL %s is too long", url);
	return true;
}

bool
ldap_place_parse(const char *url, const struct publish_job *job, enum target_tls tls,
    struct ldap_place *place, struct error *err)
{
	LDAPURLDesc *d = NULL;
	LDAPDN dn = NULL;
	bool ok = false;

	memset(place, 0, sizeof *place);
	if (ldap_url_parse(url, &d) != LDAP_URL_SUCCESS || d->lud_host == NULL ||
	    d->lud_host[0] == '\0' || d->lud_dn == NULL) {
		error_set(err, ERROR_INPUT,
		    "%s is no LDAP URL of an entry: ldap://HOST/DN?ATTRIBUTE (RFC 4516)", url);
		goto out;
	}
	if (d->lud_dn[0] == '\0' ||
	    ldap_str2dn(d->lud_dn, &dn, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS || dn == NULL ||
	    dn[0] == NULL) {
		error_set(err, ERROR_INPUT,
		    "%s: '%s' is no distinguished name of an entry (RFC 4514)", url, d->lud_dn);
		goto out;
	}
	if (strlen(d->lud_dn) >= sizeof place->dn) {
		error_set(err, ERROR_LIMIT, "the URL %s is too long", url);
		goto out;
	}
	(void)snprintf(place->dn, sizeof place->dn, "%s", d->lud_dn);
	ok = set_attribute(url, d, job, place, err) && set_server(url, d, tls, place, err);
out:
	if (dn != NULL)
		ldap_dnfree(dn);
	if (d != NULL)
		ldap_free_urldesc(d);
	return ok;
}

bool
ldap_session_failed(const struct target_work *work, struct error *err, const char *what,
    const char *dn, int rc, const char *text)
{
	enum error_code code = ERROR_UNAVAILABLE;
	const char *advice = "";
	char foreign[24];

	switch (rc) {
	case LDAP_INVALID_CREDENTIALS:
		code = ERROR_DENIED;
		advice = "; check bind_dn and the password in the target's credential";
		break;
	case LDAP_INSUFFICIENT_ACCESS:
		code = ERROR_DENIED;
		advice = "; give bind_dn the right to write this entry";
		break;
	case LDAP_NO_SUCH_OBJECT:
		code = ERROR_NOT_FOUND;
		break;
	case LDAP_TIMEOUT:
		code = ERROR_TIMEOUT;
		break;
	case LDAP_SERVER_DOWN:
		/* slapd closes the connection on what is larger than its limit. */
		if (work->job->size > ((uint64_t)4 << 20))
			advice =
			    "; an artifact of this size may be above the server's limit (slapd: "
			    "sockbuf_max_incoming_auth)";
		break;
	default:
		break;
	}
	(void)snprintf(foreign, sizeof foreign, "LDAP %d", rc);
	return error_set_foreign(err, code, ERROR_LDAP, foreign, "%s %s: %s%s%s%s", what, dn,
	    ldap_err2string(rc), text[0] != '\0' ? ": " : "", text, advice);
}

/* The next message that answers msgid, alone: libldap would collect all of them, however
 * many a server sends. */
static int
receive(const struct target_work *work, LDAP *ld, int msgid, LDAPMessage **m)
{
	long left = target_left_ms(work);
	struct timeval tv = {.tv_sec = left / 1000, .tv_usec = (left % 1000) * 1000};
	int rc, code = LDAP_OTHER;

	rc = ldap_result(ld, msgid, LDAP_MSG_ONE, &tv, m);
	if (rc > 0)
		return LDAP_SUCCESS;
	if (rc == 0) {
		(void)ldap_abandon_ext(ld, msgid, NULL, NULL);
		return LDAP_TIMEOUT;
	}
	if (ldap_get_option(ld, LDAP_OPT_RESULT_CODE, &code) != LDAP_OPT_SUCCESS ||
	    code == LDAP_SUCCESS)
		code = LDAP_SERVER_DOWN;
	return code;
}

static int
read_result(LDAP *ld, LDAPMessage *m, char *text, size_t size)
{
	char *server_text = NULL;
	int code = LDAP_OTHER;
	int rc = ldap_parse_result(ld, m, &code, NULL, &server_text, NULL, NULL, 0);

	if (server_text != NULL)
		(void)snprintf(text, size, "%s", server_text);
	ldap_memfree(server_text);
	return rc != LDAP_SUCCESS ? rc : code;
}

int
ldap_session_wait(const struct target_work *work, LDAP *ld, int msgid, LDAPMessage **result,
    char *text, size_t size)
{
	LDAPMessage *m = NULL;
	int rc;

	text[0] = '\0';
	rc = receive(work, ld, msgid, &m);
	if (rc != LDAP_SUCCESS)
		return rc;
	rc = read_result(ld, m, text, size);
	if (result != NULL)
		*result = m;
	else
		(void)ldap_msgfree(m);
	return rc;
}

int
ldap_session_search(const struct target_work *work, LDAP *ld, const struct ldap_search *s,
    struct ldap_found *found, char *text, size_t size)
{
	char *attributes[] = {(char *)(uintptr_t)s->attribute, NULL};
	LDAPMessage *m = NULL;
	int msgid = -1, rc;

	*found = (struct ldap_found){0};
	text[0] = '\0';
	rc = ldap_search_ext(
	    ld, s->dn, s->scope, s->filter, attributes, 0, NULL, NULL, NULL, s->most, &msgid);
	for (int i = 0; rc == LDAP_SUCCESS && i <= SEARCH_MESSAGES_MAX; i++) {
		rc = receive(work, ld, msgid, &m);
		if (rc != LDAP_SUCCESS)
			return rc;
		if (ldap_msgtype(m) == LDAP_RES_SEARCH_RESULT) {
			rc = read_result(ld, m, text, size);
			(void)ldap_msgfree(m);
			return rc;
		}
		if (ldap_msgtype(m) == LDAP_RES_SEARCH_ENTRY && found->count++ == 0)
			found->entry = m;
		else
			(void)ldap_msgfree(m);
	}
	if (rc != LDAP_SUCCESS)
		return rc;
	(void)ldap_abandon_ext(ld, msgid, NULL, NULL);
	(void)snprintf(text, size, "it sends more than it was asked for");
	return LDAP_PROTOCOL_ERROR;
}

int
ldap_session_read(const struct target_work *work, LDAP *ld, const char *dn, const char *attribute,
    struct berval ***values, char *text, size_t size)
{
	const struct ldap_search search = {
	    .dn = dn,
	    .scope = LDAP_SCOPE_BASE,
	    .filter = "(objectClass=*)",
	    .attribute = attribute,
	    .most = 1,
	};
	struct ldap_found found;
	int rc = ldap_session_search(work, ld, &search, &found, text, size);

	*values = rc == LDAP_SUCCESS && found.entry != NULL
		      ? ldap_get_values_len(ld, found.entry, attribute)
		      : NULL;
	if (found.entry != NULL)
		(void)ldap_msgfree(found.entry);
	return rc;
}

/* The limit against a server that never stops answering. */
static bool
set_answer_limit(const struct target_work *work, LDAP *ld)
{
	ber_len_t max = (ber_len_t)work->job->size + ANSWER_SLACK;
	Sockbuf *sb = NULL;

	for (size_t i = 0; i < work->job->companion_count; i++)
		max += work->job->companions[i].len;
	if (ldap_get_option(ld, LDAP_OPT_SOCKBUF, &sb) != LDAP_OPT_SUCCESS || sb == NULL)
		return false;
	return ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &max) == 1;
}

static bool
set_certificate(LDAP *ld, const char *path, struct error *err)
{
	if (!credential_check(path, err))
		return false;
	if (ldap_set_option(ld, LDAP_OPT_X_TLS_CERTFILE, path) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_X_TLS_KEYFILE, path) != LDAP_OPT_SUCCESS)
		return error_set(err, ERROR_CONFIG, "libldap takes no certificate from %s", path);
	return true;
}

static bool
set_options(
    const struct target_work *work, LDAP *ld, bool tls, const char *certificate, struct error *err)
{
	const char *ca = work->job->ca_file[0] != '\0' ? work->job->ca_file : SYSTEM_CA_FILE;
	long left = target_left_ms(work);
	long connect = left < TARGET_CONNECT_TIMEOUT_MS ? left : TARGET_CONNECT_TIMEOUT_MS;
	struct timeval network = {.tv_sec = connect / 1000, .tv_usec = (connect % 1000) * 1000};
	struct timeval all = {.tv_sec = left / 1000, .tv_usec = (left % 1000) * 1000};
	int version = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND, client = 0;
	int minimum = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;

	if (ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &network) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_TIMEOUT, &all) != LDAP_OPT_SUCCESS ||
	    !set_answer_limit(work, ld))
		return error_set(err, ERROR_INTERNAL, "libldap refuses its options");
	if (!tls)
		return true;
	if (access(ca, R_OK) < 0)
		return error_set_errno(err, ERROR_CONFIG, "the TLS trust file %s", ca);
	if (certificate != NULL && !set_certificate(ld, certificate, err))
		return false;
	if (ldap_set_option(ld, LDAP_OPT_X_TLS_CACERTFILE, ca) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &minimum) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &client) != LDAP_OPT_SUCCESS)
		return error_set(err, ERROR_CONFIG, "libldap takes no TLS trust from %s", ca);
	return true;
}

/* libldap does not say why TLS failed: a certificate that nobody vouches for
 * looks like a dead server. */
static bool
set_connect_error(const struct target_work *work, LDAP *ld, const char *what,
    const struct ldap_place *place, bool starttls, int rc, struct error *err)
{
	const char *hint =
	    place->tls || starttls
		? "is the server there, does it speak TLS, and is its certificate for "
		  "this host and issued under a CA of ca_file?"
		: "";
	char *reason = NULL;

	(void)ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &reason);
	if (reason != NULL && reason[0] != '\0' && reason[0] != '(')
		ldap_session_failed(work, err, what, place->server, rc, reason);
	else
		ldap_session_failed(work, err, what, place->server, rc, hint);
	ldap_memfree(reason);
	return false;
}

static bool
bind_as(const struct target_work *work, LDAP *ld, const struct ldap_place *place,
    const struct ldap_identity *who, struct error *err)
{
	struct berval cred = {
	    .bv_len = who->password_len, .bv_val = (char *)(uintptr_t)who->password};
	const char *name = who->certificate != NULL ? who->certificate : who->dn;
	char text[ERROR_TEXT_MAX];
	int msgid = -1, rc;

	/* An empty response, without which the server would ask for one. */
	if (who->certificate != NULL)
		rc = ldap_sasl_bind(ld, NULL, "EXTERNAL", &cred, NULL, NULL, &msgid);
	else
		rc = ldap_sasl_bind(ld, who->dn, LDAP_SASL_SIMPLE, &cred, NULL, NULL, &msgid);
	if (rc != LDAP_SUCCESS)
		return set_connect_error(work, ld, "connecting to", place, false, rc, err);
	rc = ldap_session_wait(work, ld, msgid, NULL, text, sizeof text);
	if (rc != LDAP_SUCCESS)
		return ldap_session_failed(work, err,
		    name[0] != '\0' ? "binding as" : "binding anonymously to",
		    name[0] != '\0' ? name : place->server, rc, text);
	return true;
}

static int
start_tls(const struct target_work *work, LDAP *ld)
{
	char text[ERROR_TEXT_MAX];
	int msgid = -1, rc = ldap_start_tls(ld, NULL, NULL, &msgid);

	if (rc == LDAP_SUCCESS)
		rc = ldap_session_wait(work, ld, msgid, NULL, text, sizeof text);
	return rc == LDAP_SUCCESS ? ldap_install_tls(ld) : rc;
}

bool
ldap_session_open(const struct target_work *work, const struct ldap_place *place, bool starttls,
    const struct ldap_identity *who, LDAP **ld_out, struct error *err)
{
	LDAP *ld = NULL;
	int rc;

	/* Nothing of this machine's ldap.conf, ~/.ldaprc or LDAP* variables. */
	if (setenv("LDAPNOINIT", "1", 1) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "setting LDAPNOINIT");
	rc = ldap_initialize(&ld, place->server);
	if (rc != LDAP_SUCCESS)
		return error_set(err, ERROR_INPUT, "%s: %s", place->server, ldap_err2string(rc));
	if (!set_options(work, ld, place->tls || starttls, who->certificate, err))
		goto fail;
	if (starttls && (rc = start_tls(work, ld)) != LDAP_SUCCESS) {
		set_connect_error(work, ld, "StartTLS with", place, true, rc, err);
		goto fail;
	}
	if (!(who->gssapi ? ldap_gssapi_bind(work, ld, place, place->tls || starttls, err)
			  : bind_as(work, ld, place, who, err)))
		goto fail;
	*ld_out = ld;
	return true;
fail:
	ldap_session_close(ld);
	return false;
}

void
ldap_session_close(LDAP *ld)
{
	if (ld != NULL)
		(void)ldap_unbind_ext(ld, NULL, NULL);
}
