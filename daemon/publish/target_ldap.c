/*
 * Kind "ldap": a value in a directory entry, schema of RFC 4523 as OpenLDAP's
 * core.schema has it. The attributes have no equality rule, so that only
 * "replace" works; the entry is made when it is missing.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#include "daemon/publish/credential.h"
#include "daemon/publish/fetch.h"
#include "daemon/publish/ldap_entry.h"
#include "daemon/publish/ldap_session.h"
#include "daemon/publish/target.h"
#include "daemon/publish/target_ldap.h"
#include "daemon/x509/derw.h"

struct ldap_work {
	const struct target_work *work;
	const struct ldap_place *place;
	LDAP *ld;
	void *map; /* of the artifact */
	struct berval value_store[PUBLISH_COMPANIONS_MAX + 1];
	struct berval *values[PUBLISH_COMPANIONS_MAX + 2]; /* NULL-terminated */
	uint8_t *pair_octets[PUBLISH_CROSSES_MAX];	   /* owned */
	struct berval pair_store[PUBLISH_CROSSES_MAX];
	struct berval *pairs[PUBLISH_CROSSES_MAX + 1]; /* NULL-terminated */
};

#define PAIR_EXTRA 16 /* octets of a CertificatePair beyond the certificate */

/* CertificatePair (RFC 4523 2.3) with issuedToThisCA alone: what others certified. */
static bool
collect_pairs(struct ldap_work *lw, struct error *err)
{
	const struct publish_job *job = lw->work->job;

	for (size_t i = 0; i < job->cross_count; i++) {
		size_t size = job->crosses[i].len + PAIR_EXTRA;
		struct bytes pair;
		struct derw w;

		lw->pair_octets[i] = malloc(size);
		if (lw->pair_octets[i] == NULL)
			return error_set_errno(err, ERROR_SYSTEM, "memory for a certificate pair");
		derw_init(&w, lw->pair_octets[i], size);
		derw_raw(&w, job->crosses[i]);
		derw_wrap(&w, 0, DER_CONTEXT_CONSTRUCTED(0));
		derw_wrap(&w, 0, DER_SEQUENCE);
		if (!derw_ok(&w))
			return error_set(err, ERROR_INTERNAL, "a certificate pair does not fit");
		pair = derw_result(&w);
		lw->pair_store[i].bv_val = (char *)(uintptr_t)pair.p;
		lw->pair_store[i].bv_len = (ber_len_t)pair.len;
		lw->pairs[i] = &lw->pair_store[i];
	}
	return true;
}

/* The artifact, and for CA certificates all others that have not ended: a
 * client may need any of them to build a path. */
static bool
collect_values(struct ldap_work *lw, struct error *err)
{
	const struct publish_job *job = lw->work->job;
	size_t n = 0;

	if (job->size == 0 || job->size > LDAP_VALUE_MAX)
		return error_set(err, ERROR_LIMIT,
		    "an artifact of %llu octets is above the limit of %llu for a directory",
		    (unsigned long long)job->size, (unsigned long long)LDAP_VALUE_MAX);
	lw->map = mmap(NULL, (size_t)job->size, PROT_READ, MAP_PRIVATE, lw->work->artifact_fd, 0);
	if (lw->map == MAP_FAILED) {
		lw->map = NULL;
		return error_set_errno(err, ERROR_SYSTEM, "mapping the artifact");
	}
	lw->value_store[n].bv_val = lw->map;
	lw->value_store[n++].bv_len = (ber_len_t)job->size;
	for (size_t i = 0; job->artifact == ARTIFACT_CA_CERTIFICATE && i < job->companion_count;
	     i++) {
		lw->value_store[n].bv_val = (char *)(uintptr_t)job->companions[i].p;
		lw->value_store[n++].bv_len = (ber_len_t)job->companions[i].len;
	}
	for (size_t i = 0; i < n; i++)
		lw->values[i] = &lw->value_store[i];
	lw->values[n] = NULL;
	return true;
}

static const char *
pair_attribute(const struct ldap_work *lw)
{
	return lw->work->job->schema == TARGET_SCHEMA_AD ? "crossCertificatePair"
							 : "crossCertificatePair;binary";
}

/* Replaces the attribute; with aux also adds that object class. */
static int
modify(struct ldap_work *lw, const char *aux, char *text, size_t size)
{
	char *aux_values[] = {(char *)(uintptr_t)aux, NULL};
	LDAPMod class_mod = {
	    .mod_op = LDAP_MOD_ADD,
	    .mod_type = (char *)(uintptr_t) "objectClass",
	    .mod_values = aux_values,
	};
	LDAPMod value_mod = {
	    .mod_op = LDAP_MOD_REPLACE | LDAP_MOD_BVALUES,
	    .mod_type = (char *)(uintptr_t)lw->place->attribute,
	    .mod_bvalues = lw->values,
	};
	/* Without a value it goes away (RFC 4511 4.6). */
	LDAPMod pair_mod = {
	    .mod_op = LDAP_MOD_REPLACE | LDAP_MOD_BVALUES,
	    .mod_type = (char *)(uintptr_t)pair_attribute(lw),
	    .mod_bvalues = lw->work->job->cross_count > 0 ? lw->pairs : NULL,
	};
	LDAPMod *mods[4];
	size_t n = 0;
	int msgid = -1, rc;

	text[0] = '\0';
	if (aux != NULL)
		mods[n++] = &class_mod;
	mods[n++] = &value_mod;
	if (lw->work->job->crossed)
		mods[n++] = &pair_mod;
	mods[n] = NULL;
	rc = ldap_modify_ext(lw->ld, lw->place->dn, mods, NULL, NULL, &msgid);
	if (rc != LDAP_SUCCESS)
		return rc;
	return ldap_session_wait(lw->work, lw->ld, msgid, NULL, text, size);
}

/* Adds the entry with its classes, its name and the value. */
static int
add(struct ldap_work *lw, const struct ldap_entry *e, char *text, size_t size)
{
	char *classes[LDAP_ENTRY_CLASSES_MAX + 1] = {NULL};
	char *names[] = {(char *)(uintptr_t)e->rdn_value, NULL};
	LDAPMod class_mod = {
	    .mod_op = LDAP_MOD_ADD,
	    .mod_type = (char *)(uintptr_t) "objectClass",
	    .mod_values = classes,
	};
	LDAPMod name_mod = {
	    .mod_op = LDAP_MOD_ADD,
	    .mod_type = (char *)(uintptr_t)e->rdn_type,
	    .mod_values = names,
	};
	LDAPMod value_mod = {
	    .mod_op = LDAP_MOD_ADD | LDAP_MOD_BVALUES,
	    .mod_type = (char *)(uintptr_t)lw->place->attribute,
	    .mod_bvalues = lw->values,
	};
	LDAPMod others[LDAP_ENTRY_OTHERS_MAX];
	LDAPMod pair_mod = {
	    .mod_op = LDAP_MOD_ADD | LDAP_MOD_BVALUES,
	    .mod_type = (char *)(uintptr_t)pair_attribute(lw),
	    .mod_bvalues = lw->pairs,
	};
	LDAPMod *mods[4 + LDAP_ENTRY_OTHERS_MAX + 1] = {&class_mod, &name_mod, &value_mod};
	size_t n = 3;
	char zero[1] = {0};
	struct berval nothing = {.bv_len = 1, .bv_val = zero}, *nothings[] = {&nothing, NULL};
	int msgid = -1, rc;

	text[0] = '\0';
	for (size_t i = 0; i < LDAP_ENTRY_CLASSES_MAX && e->classes[i] != NULL; i++)
		classes[i] = (char *)(uintptr_t)e->classes[i];
	for (size_t i = 0; i < LDAP_ENTRY_OTHERS_MAX && e->others[i] != NULL; i++) {
		others[i] = (LDAPMod){
		    .mod_op = LDAP_MOD_ADD | LDAP_MOD_BVALUES,
		    .mod_type = (char *)(uintptr_t)e->others[i],
		    .mod_bvalues = nothings,
		};
		mods[n++] = &others[i];
	}
	if (lw->work->job->cross_count > 0)
		mods[n++] = &pair_mod;
	rc = ldap_add_ext(lw->ld, lw->place->dn, mods, NULL, NULL, &msgid);
	if (rc != LDAP_SUCCESS)
		return rc;
	return ldap_session_wait(lw->work, lw->ld, msgid, NULL, text, size);
}

/* The entry is missing. */
static bool
create_entry(struct ldap_work *lw, struct error *err)
{
	char text[ERROR_TEXT_MAX];
	struct ldap_entry entry;
	int rc;

	if (!ldap_entry_plan(lw->place->dn, lw->work->job, &entry, err))
		return false;
	rc = add(lw, &entry, text, sizeof text);
	if (rc == LDAP_ALREADY_EXISTS) /* somebody was quicker */
		rc = modify(lw, NULL, text, sizeof text);
	if (rc == LDAP_NO_SUCH_OBJECT)
		return ldap_session_failed(lw->work, err, "creating the entry", lw->place->dn, rc,
		    "the entry above it does not exist; create that one");
	if (rc != LDAP_SUCCESS)
		return ldap_session_failed(
		    lw->work, err, "creating the entry", lw->place->dn, rc, text);
	return true;
}

static bool
write_value(struct ldap_work *lw, struct error *err)
{
	char text[ERROR_TEXT_MAX], aux_text[ERROR_TEXT_MAX];
	int rc, aux_rc;

	rc = modify(lw, NULL, text, sizeof text);
	if (rc == LDAP_NO_SUCH_OBJECT)
		return create_entry(lw, err);
	if (rc == LDAP_OBJECT_CLASS_VIOLATION && lw->work->job->schema == TARGET_SCHEMA_RFC4523) {
		/* The entry is somebody's, of a class that has no such attribute. When
		 * adding the class changes nothing, the first complaint is the right one. */
		aux_rc = modify(
		    lw, ldap_entry_auxiliary(lw->work->job->artifact), aux_text, sizeof aux_text);
		if (aux_rc != LDAP_TYPE_OR_VALUE_EXISTS) {
			rc = aux_rc;
			memcpy(text, aux_text, sizeof text);
		}
	}
	if (rc != LDAP_SUCCESS)
		return ldap_session_failed(lw->work, err, "writing", lw->place->dn, rc, text);
	return true;
}

static bool
check_secrets(const struct publish_job *job, const struct credential *cred,
    const struct ldap_place *place, struct error *err)
{
	bool starttls = job->tls == TARGET_TLS_STARTTLS;

	/* RFC 4513 5.1.2: a name without a password would be an anonymous bind. */
	if ((job->bind_dn[0] != '\0') != (cred->len > 0))
		return error_set(err, ERROR_CONFIG,
		    "target %s needs bind_dn and credential together", job->target);
	if (cred->len > 0 && !place->tls && !starttls && !place->loopback)
		return error_set(err, ERROR_CONFIG,
		    "target %s would send its password in the clear to %s; set tls: starttls or "
		    "ldaps",
		    job->target, place->server);
	if (job->certificate_path[0] != '\0' && !place->tls && !starttls)
		return error_set(err, ERROR_CONFIG,
		    "target %s has a certificate, which is shown in TLS only; set tls: starttls or "
		    "ldaps",
		    job->target);
	return true;
}

bool
target_ldap_open(
    const struct target_work *work, const struct ldap_place *place, LDAP **ld, struct error *err)
{
	const struct publish_job *job = work->job;
	bool gssapi = job->auth == TARGET_AUTH_GSSAPI, ok;
	struct credential cred;
	struct ldap_identity who = {
	    .dn = job->bind_dn,
	    .certificate = job->certificate_path[0] != '\0' ? job->certificate_path : NULL,
	    .gssapi = gssapi,
	};

	/* A keytab is no password. */
	if (!credential_load(gssapi ? "" : job->credential_path, &cred, err))
		return false;
	who.password = cred.text;
	who.password_len = cred.len;
	ok = check_secrets(job, &cred, place, err) &&
	     ldap_session_open(work, place, job->tls == TARGET_TLS_STARTTLS, &who, ld, err);
	credential_wipe(&cred);
	return ok;
}

static bool
ldap_put(const struct target_work *work, struct error *err)
{
	struct ldap_place place;
	struct ldap_work lw = {.work = work, .place = &place};
	bool ok = collect_values(&lw, err) && collect_pairs(&lw, err) &&
		  ldap_place_parse(work->job->write_url, work->job, work->job->tls, &place, err) &&
		  target_ldap_open(work, &place, &lw.ld, err) && write_value(&lw, err);

	ldap_session_close(lw.ld);
	for (size_t i = 0; i < PUBLISH_CROSSES_MAX; i++)
		free(lw.pair_octets[i]);
	if (lw.map != NULL)
		(void)munmap(lw.map, (size_t)work->job->size);
	return ok;
}

static bool
ldap_look(
    const struct target_work *work, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	struct ldap_place place;
	LDAP *ld = NULL;
	bool ok = ldap_place_parse(work->job->write_url, work->job, work->job->tls, &place, err) &&
		  target_ldap_open(work, &place, &ld, err) &&
		  fetch_ldap(work, ld, &place, max, sink, err);

	ldap_session_close(ld);
	return ok;
}

const struct target_driver target_ldap = {"ldap", ldap_put, ldap_look};
