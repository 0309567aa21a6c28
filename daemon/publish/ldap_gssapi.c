#include "daemon/publish/ldap_gssapi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sasl/sasl.h>

#include "daemon/core/config.h"

#define MECHANISM "GSSAPI"
/* In TLS no second layer: Active Directory refuses it (MS-ADTS 5.1.1.1.2). Without,
 * AES; what protects less is none. */
#define PROPERTIES_TLS "noanonymous,noplain,maxssf=0"
#define PROPERTIES_PLAIN "noanonymous,noplain,minssf=128"

#ifdef __SANITIZE_ADDRESS__
/* Cyrus SASL forgets a credential where no layer of its own was wanted. The courier ends
 * after it. */
const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
	return "leak:libgssapi_krb5.so\n";
}
#endif

enum ticket_file {
	TICKET_KEYTAB,
	TICKET_CACHE,
};

/* MIT's formats begin with 5 and their kind. */
static bool
look_at_file(const char *path, enum ticket_file *kind, struct error *err)
{
	uint8_t head[2] = {0};
	ssize_t n;
	int fd;

	if (!config_open_secret(path, &fd, err))
		return false;
	do {
		n = read(fd, head, sizeof head);
	} while (n < 0 && errno == EINTR);
	(void)close(fd);
	if (n == sizeof head && head[0] == 5 && (head[1] == 1 || head[1] == 2))
		*kind = TICKET_KEYTAB;
	else if (n == sizeof head && head[0] == 5 && (head[1] == 3 || head[1] == 4))
		*kind = TICKET_CACHE;
	else
		return error_set(
		    err, ERROR_CONFIG, "%s is neither a keytab nor a cache of tickets", path);
	return true;
}

static bool
set_file(const char *variable, const char *path, struct error *err)
{
	char value[PUBLISH_PATH_MAX + 8];

	(void)snprintf(value, sizeof value, "FILE:%s", path);
	return setenv(variable, value, 1) == 0 ||
	       error_set_errno(err, ERROR_SYSTEM, "setting %s", variable);
}

static bool
set_environment(const struct publish_job *job, enum ticket_file kind, struct error *err)
{
	/* HOME: ~/.k5identity would choose another principal. */
	static const char *const others[] = {
	    "KRB5_KTNAME", "KRB5_TRACE", "SASL_PATH", "SASL_CONF_PATH", "KRB5RCACHENAME"};
	const char *config = job->krb5_config[0] != '\0' ? job->krb5_config : LDAP_GSSAPI_CONFIG;

	for (size_t i = 0; i < COUNT_OF(others); i++)
		(void)unsetenv(others[i]);
	if (setenv("HOME", "/nonexistent", 1) != 0 || setenv("KRB5_CONFIG", config, 1) != 0 ||
	    setenv("KRB5CCNAME", "MEMORY:chancery", 1) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "setting the variables of Kerberos");
	if (access(config, R_OK) < 0)
		return error_set_errno(err, ERROR_CONFIG, "the Kerberos configuration %s", config);
	if (kind == TICKET_KEYTAB)
		return set_file("KRB5_CLIENT_KTNAME", job->credential_path, err);
	return set_file("KRB5_CLIENT_KTNAME", "/nonexistent", err) &&
	       set_file("KRB5CCNAME", job->credential_path, err);
}

/* SASL asks as whom to act, and a ticket says that already. */
static int
answer_nothing(LDAP *ld, unsigned flags, void *defaults, void *questions)
{
	sasl_interact_t *q = questions;

	(void)ld;
	(void)flags;
	(void)defaults;
	for (; q != NULL && q->id != SASL_CB_LIST_END; q++) {
		q->result = "";
		q->len = 0;
	}
	return LDAP_SUCCESS;
}

static bool
bind_failed(const struct target_work *work, LDAP *ld, const struct ldap_place *place, int rc,
    struct error *err)
{
	char *reason = NULL, text[ERROR_TEXT_MAX];

	(void)ldap_get_option(ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &reason);
	(void)snprintf(text, sizeof text, "%s%s", reason != NULL ? reason : "",
	    rc == LDAP_AUTH_UNKNOWN || rc == LDAP_AUTH_METHOD_NOT_SUPPORTED
		? "; is libsasl2-modules-gssapi-mit installed, and does the server offer GSSAPI?"
		: "");
	ldap_memfree(reason);
	return ldap_session_failed(
	    work, err, "binding with a Kerberos ticket to", place->server, rc, text);
}

bool
ldap_gssapi_bind(const struct target_work *work, LDAP *ld, const struct ldap_place *place, bool tls,
    struct error *err)
{
	LDAPMessage *answer = NULL;
	const char *mechanism = NULL;
	char text[ERROR_TEXT_MAX];
	enum ticket_file kind = TICKET_KEYTAB;
	int msgid = -1, rc;

	if (!look_at_file(work->job->credential_path, &kind, err) ||
	    !set_environment(work->job, kind, err))
		return false;
	/* The ticket is for the server that the URL names, not for what a reverse look-up
	 * in DNS makes of its address. */
	if (ldap_set_option(ld, LDAP_OPT_X_SASL_NOCANON, LDAP_OPT_ON) != LDAP_OPT_SUCCESS ||
	    ldap_set_option(ld, LDAP_OPT_X_SASL_SECPROPS,
		(void *)(uintptr_t)(tls ? PROPERTIES_TLS : PROPERTIES_PLAIN)) != LDAP_OPT_SUCCESS)
		return error_set(err, ERROR_INTERNAL, "libldap refuses its options for SASL");
	do {
		rc = ldap_sasl_interactive_bind(ld, NULL, MECHANISM, NULL, NULL, LDAP_SASL_QUIET,
		    answer_nothing, NULL, answer, &mechanism, &msgid);
		if (answer != NULL)
			(void)ldap_msgfree(answer);
		answer = NULL;
		if (rc != LDAP_SASL_BIND_IN_PROGRESS)
			break;
		rc = ldap_session_wait(work, ld, msgid, &answer, text, sizeof text);
		if (answer == NULL)
			return ldap_session_failed(work, err, "binding with a Kerberos ticket to",
			    place->server, rc, text);
	} while (true);
	return rc == LDAP_SUCCESS || bind_failed(work, ld, place, rc, err);
}
