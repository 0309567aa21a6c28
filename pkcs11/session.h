#ifndef CHANCERY_PKCS11_SESSION_H
#define CHANCERY_PKCS11_SESSION_H

/*
 * Sessions of our own on the module's function list. Each belongs to one
 * thread: two threads on one session get CKR_OPERATION_ACTIVE or worse.
 */

#include <p11-kit/pkcs11.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

struct session {
	const CK_FUNCTION_LIST *f;
	CK_SLOT_ID slot;
	CK_SESSION_HANDLE handle; /* CK_INVALID_HANDLE: closed */
	bool fatal;		  /* a call said that our sessions are of no use any more */
	/* For keys that want the PIN for each signature (CKA_ALWAYS_AUTHENTICATE);
	 * empty: there is none. Borrowed, and set for one request. */
	struct bytes pin;
	bool pin_refused; /* by the token, for such a key */
};

/* rw: for making and destroying objects. */
bool session_open(const CK_FUNCTION_LIST *f, CK_SLOT_ID slot, bool rw, struct session *s,
    struct error *e) MUST_CHECK;

/* Another one in its place, which knows nothing of what the old one was doing. */
bool session_renew(struct session *s, struct error *e) MUST_CHECK;

/* CKR_USER_NOT_LOGGED_IN, as by session_error, when nobody is logged in: private
 * objects are then not found, which looks as if they were not there. */
bool session_check_login(struct session *s, struct error *e) MUST_CHECK;

/*
 * Whether a handle means the object that it was got for: of this class, and with this value
 * of CKA_ID or CKA_LABEL. There are modules (tpm2-pkcs11 1.9) that give a new object the
 * handle of another one, after the first of all objects was removed in the same process:
 * whoever destroys by such a handle destroys the other one. A fresh process has them right:
 * what is mistaken makes s->fatal, and is ERROR_UNAVAILABLE; so is a token that does not
 * answer. *gone, where another process may remove the object at any time: it does just now,
 * which is ERROR_UNAVAILABLE and no fault of the session. NULL: nobody else removes it.
 */
bool session_check_object(struct session *s, CK_OBJECT_HANDLE handle, CK_OBJECT_CLASS class,
    CK_ATTRIBUTE_TYPE name, struct bytes value, bool *gone, struct error *e) MUST_CHECK;

/* What tokens say of an object that another process is removing. */
bool session_is_gone(CK_RV rv);
bool session_mistook(struct session *s, struct error *e); /* says that; false */

/* Closing the last session of the process logs out. s may be all zero. */
void session_close(struct session *s);

/* Records a failed call: as ckr_error, and sets s->fatal where it is. What is wrong
 * with the PIN is no fault of a request, which waits: ERROR_UNAVAILABLE. Returns
 * false. */
bool session_error(struct session *s, CK_RV rv, struct error *e, const char *fmt, ...) PRINTF(4, 5);

#endif
