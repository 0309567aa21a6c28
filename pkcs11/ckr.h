#ifndef CHANCERY_PKCS11_CKR_H
#define CHANCERY_PKCS11_CKR_H

/*
 * What a PKCS#11 return code means for us: one table for all of them.
 */

#include <p11-kit/pkcs11.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/* The least that has to be done before the same request may be tried again. */
enum ckr_class {
	CKR_CLASS_OK,
	CKR_CLASS_REQUEST,	/* nothing helps: this one request fails */
	CKR_CLASS_RETRY,	/* the same call on the same session */
	CKR_CLASS_SESSION,	/* a new session */
	CKR_CLASS_LOGIN,	/* a new login */
	CKR_CLASS_REINITIALISE, /* C_Finalize and C_Initialize, or a new process */
	CKR_CLASS_PIN,		/* a person has to put the PIN right */
};

/* "CKR_DEVICE_ERROR"; codes that no standard names come as "CKR_0x80000123" in
 * buf. Never NULL. */
#define CKR_NAME_MAX 32
const char *ckr_name(CK_RV rv, char buf[CKR_NAME_MAX]);

/* Unknown and vendors' codes are CKR_CLASS_REINITIALISE: nobody knows the
 * token's state after them. */
enum ckr_class ckr_class(CK_RV rv);

/* True when a token that answers a login so may have counted it as a wrong PIN. */
bool ckr_may_count(CK_RV rv);

/* Of the code that an error carries; CKR_CLASS_OK when it carries none. */
enum ckr_class ckr_class_of(const struct error *e);

/* True when the sessions that we hold are no longer good for signing. */
bool ckr_is_fatal(CK_RV rv);

/* True for codes that several processes see when they open or log in to one
 * token at the same moment, although nothing is wrong. */
bool ckr_is_start_race(CK_RV rv);

/* Fills e in with the code's name as foreign and in the sentence: ERROR_UNAVAILABLE
 * for what may come back, ERROR_DENIED for the PIN, ERROR_INTERNAL else. For what
 * opens the token; other requests fail by session_error. Returns false. */
bool ckr_error(struct error *e, CK_RV rv, const char *fmt, ...) PRINTF(3, 4);

#endif
