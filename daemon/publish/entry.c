#include "daemon/publish/entry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/utf8.h"
#include "daemon/publish/target_ldap.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/entry_address.h"

#define CLASS "pkiUser" /* RFC 4523 3.1: lets any entry have certificates */

struct entry_work {
	const struct target_work *work;
	struct ldap_place place;
	LDAP *ld;
	uint8_t der[CERTIFICATE_MAX];
	size_t der_len;
	struct certificate certificate; /* points into der */
	char dn[ENTRY_TEXT_MAX], filter[ENTRY_TEXT_MAX];
	bool nowhere; /* and the error says why */
};

static bool
nowhere(struct entry_work *w, struct error *err, const char *where, const char *why)
{
	w->nowhere = true;
	return error_set(err, ERROR_NOT_FOUND, "%s%s", where, why);
}

static bool
read_certificate(struct entry_work *w, struct error *err)
{
	if (w->work->job->size > sizeof w->der)
		return error_set(
		    err, ERROR_LIMIT, "a certificate has at most %zu octets", sizeof w->der);
	while (w->der_len < w->work->job->size) {
		ssize_t n = pread(w->work->artifact_fd, w->der + w->der_len,
		    (size_t)w->work->job->size - w->der_len, (off_t)w->der_len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set_errno(err, ERROR_SYSTEM, "reading the certificate");
		w->der_len += (size_t)n;
	}
	return certificate_parse((struct bytes){w->der, w->der_len}, &w->certificate, err);
}

/* Exactly one entry must be found: of two nobody knows whose certificate it is. */
static bool
search_entry(struct entry_work *w, const struct entry_address *address, struct error *err)
{
	const struct ldap_search search = {
	    .dn = w->dn,
	    .scope = address->one_level ? LDAP_SCOPE_ONELEVEL : LDAP_SCOPE_SUBTREE,
	    .filter = w->filter,
	    .attribute = LDAP_NO_ATTRS,
	    .most = 2,
	};
	char text[ERROR_TEXT_MAX], *dn;
	struct ldap_found found;
	bool ok = false;
	int rc = ldap_session_search(w->work, w->ld, &search, &found, text, sizeof text);

	if (rc != LDAP_SUCCESS && rc != LDAP_SIZELIMIT_EXCEEDED) {
		ldap_session_failed(w->work, err, "searching below", w->dn, rc, text);
		goto out;
	}
	if (found.count != 1 || rc == LDAP_SIZELIMIT_EXCEEDED) {
		(void)nowhere(w, err, w->filter,
		    found.count == 0
			? ": no entry below the address's DN matches"
			: ": several entries match, and it is not to be guessed which");
		goto out;
	}
	if ((dn = ldap_get_dn(w->ld, found.entry)) == NULL || strlen(dn) >= sizeof w->dn) {
		error_set(err, ERROR_LIMIT, "the name of the entry that was found is too long");
	} else if (!utf8_is_line(dn)) {
		/* The database keeps it, and people see it. */
		error_set(err, ERROR_INPUT,
		    "the name of the entry that was found is no UTF-8, or has control characters "
		    "(RFC 4514 2.4): %s",
		    dn);
	} else {
		(void)snprintf(w->dn, sizeof w->dn, "%s", dn);
		ok = true;
	}
	ldap_memfree(dn);
out:
	if (found.entry != NULL)
		(void)ldap_msgfree(found.entry);
	return ok;
}

static int
modify(struct entry_work *w, bool with_class, char *text, size_t size)
{
	char class_name[] = CLASS, *classes[] = {class_name, NULL};
	struct berval value = {.bv_len = w->der_len, .bv_val = (char *)w->der},
		      *values[] = {&value, NULL};
	LDAPMod class_mod = {
	    .mod_op = LDAP_MOD_ADD,
	    .mod_type = (char *)(uintptr_t) "objectClass",
	    .mod_values = classes,
	};
	LDAPMod value_mod = {
	    .mod_op = (w->work->job->absent ? LDAP_MOD_DELETE : LDAP_MOD_ADD) | LDAP_MOD_BVALUES,
	    .mod_type = w->place.attribute,
	    .mod_bvalues = values,
	};
	LDAPMod *mods[] = {&value_mod, with_class ? &class_mod : NULL, NULL};
	int msgid = -1, rc;

	text[0] = '\0';
	rc = ldap_modify_ext(w->ld, w->dn, mods, NULL, NULL, &msgid);
	if (rc != LDAP_SUCCESS)
		return rc;
	return ldap_session_wait(w->work, w->ld, msgid, NULL, text, size);
}

static bool
write_value(struct entry_work *w, struct error *err)
{
	const struct publish_job *job = w->work->job;
	char text[ERROR_TEXT_MAX];
	int rc = modify(w, false, text, sizeof text);

	if (rc == LDAP_OBJECT_CLASS_VIOLATION && !job->absent &&
	    job->schema == TARGET_SCHEMA_RFC4523)
		rc = modify(w, true, text, sizeof text);
	if (rc == LDAP_NO_SUCH_OBJECT)
		return nowhere(
		    w, err, w->dn, " does not exist; who has no entry has no certificate in it");
	/* As it should be already. */
	if (rc == LDAP_SUCCESS ||
	    rc == (job->absent ? LDAP_NO_SUCH_ATTRIBUTE : LDAP_TYPE_OR_VALUE_EXISTS))
		return true;
	return ldap_session_failed(w->work, err, "writing", w->dn, rc, text);
}

static bool
read_back(struct entry_work *w, struct error *err)
{
	bool stands = false, absent = w->work->job->absent;
	struct berval **values = NULL;
	char text[ERROR_TEXT_MAX];
	int rc = ldap_session_read(
	    w->work, w->ld, w->dn, w->place.attribute, &values, text, sizeof text);

	for (size_t i = 0; values != NULL && values[i] != NULL; i++)
		stands = stands || (values[i]->bv_len == w->der_len &&
				       memcmp(values[i]->bv_val, w->der, w->der_len) == 0);
	if (values != NULL)
		ldap_value_free_len(values);
	if (rc != LDAP_SUCCESS)
		return ldap_session_failed(w->work, err, "reading back", w->dn, rc, text);
	return stands != absent ||
	       error_set(err, ERROR_CONFLICT, "%s %s the certificate all the same", w->dn,
		   absent ? "has" : "does not show");
}

/* Where the subject's entry is now. */
static bool
find_entry(struct entry_work *w, const struct entry_address *address, struct error *err)
{
	const struct entry_subject subject = {&w->certificate, w->work->job->requester};
	struct error why = ERROR_INIT;

	if (address->from_certificate && !w->work->job->vouched)
		return nowhere(w, err, "",
		    "the certificate's template issues without an operator's decision, so what "
		    "its requester wrote into it chooses no entry; use <requester> in the address");
	if (!entry_address_expand(address, &subject, w->dn, w->filter, &why)) {
		if (why.code == ERROR_NOT_FOUND)
			return nowhere(w, err, "", why.text);
		*err = why;
		return false;
	}
	return w->filter[0] == '\0' || search_entry(w, address, err);
}

static bool
write_and_read(struct entry_work *w, struct error *err)
{
	return write_value(w, err) && read_back(w, err);
}

static bool
deliver(struct entry_work *w, struct error *err)
{
	const struct publish_job *job = w->work->job;
	char url[ENTRY_SERVER_MAX + 16];
	struct entry_address address;

	if (!read_certificate(w, err) || !entry_address_parse(job->write_url, &address, err))
		return false;
	/* The server alone is of interest. */
	(void)snprintf(url, sizeof url, "%s/cn=entry", address.server);
	if (!ldap_place_parse(url, job, job->tls, &w->place, err) ||
	    !target_ldap_open(w->work, &w->place, &w->ld, err))
		return false;
	/* It is taken out of where it was put, whatever names are there by now. */
	if (job->absent && job->entry[0] != '\0') {
		(void)snprintf(w->dn, sizeof w->dn, "%s", job->entry);
		if (write_and_read(w, err) || !w->nowhere)
			return !error_is_set(err);
		w->nowhere = false;
		error_clear(err);
	}
	return find_entry(w, &address, err) && write_and_read(w, err);
}

void
entry_deliver(const struct target_work *work, struct publish_result *result)
{
	static struct entry_work w; /* one for each process; too large for a stack */
	bool ok;

	memset(&w, 0, sizeof w);
	w.work = work;
	ok = deliver(&w, &result->error);
	ldap_session_close(w.ld);
	if (!ok && w.nowhere && work->job->absent) {
		/* Then it stands nowhere. */
		error_clear(&result->error);
		ok = true;
	}
	result->outcome = ok ? PUBLISH_SAME : w.nowhere ? PUBLISH_NOWHERE : PUBLISH_FAILED;
	if (ok && strlen(w.dn) < sizeof result->entry)
		memcpy(result->entry, w.dn, strlen(w.dn) + 1);
}
