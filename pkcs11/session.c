#include "pkcs11/session.h"

#include <stdio.h>

#include "daemon/x509/der.h"
#include "pkcs11/ckr.h"

bool
session_open(
    const CK_FUNCTION_LIST *f, CK_SLOT_ID slot, bool rw, struct session *s, struct error *e)
{
	CK_FLAGS flags = CKF_SERIAL_SESSION | (rw ? CKF_RW_SESSION : 0);
	CK_RV rv;

	*s = (struct session){.f = f, .slot = slot, .handle = CK_INVALID_HANDLE};
	rv = f->C_OpenSession(slot, flags, NULL, NULL, &s->handle);
	if (rv != CKR_OK) {
		s->handle = CK_INVALID_HANDLE;
		return session_error(s, rv, e, "cannot open a session");
	}
	return true;
}

bool
session_renew(struct session *s, struct error *e)
{
	struct session old = *s;
	bool ok;

	/* Opened first: the end of a process's last session is a logout. */
	ok = session_open(old.f, old.slot, false, s, e);
	s->pin = old.pin;
	s->pin_refused = old.pin_refused;
	session_close(&old);
	return ok;
}

bool
session_check_login(struct session *s, struct error *e)
{
	CK_SESSION_INFO info;
	CK_RV rv = s->f->C_GetSessionInfo(s->handle, &info);

	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot ask for the state of a session");
	if (info.state != CKS_RO_PUBLIC_SESSION && info.state != CKS_RW_PUBLIC_SESSION)
		return true;
	return session_error(s, CKR_USER_NOT_LOGGED_IN, e, "the token has lost our login");
}

#define NAME_MAX_LEN 256 /* of an object, as we give them */

bool
session_mistook(struct session *s, struct error *e)
{
	s->fatal = true;
	return error_set(e, ERROR_UNAVAILABLE,
	    "the module mistakes one object on the token for another, which it has right again in "
	    "a "
	    "new process");
}

bool
session_is_gone(CK_RV rv)
{
	return rv == CKR_OBJECT_HANDLE_INVALID || rv == CKR_FUNCTION_FAILED ||
	       rv == CKR_GENERAL_ERROR;
}

bool
session_check_object(struct session *s, CK_OBJECT_HANDLE handle, CK_OBJECT_CLASS class,
    CK_ATTRIBUTE_TYPE name, struct bytes value, bool *gone, struct error *e)
{
	CK_OBJECT_CLASS has = CK_UNAVAILABLE_INFORMATION;
	uint8_t said[NAME_MAX_LEN];
	CK_ATTRIBUTE a[] = {{CKA_CLASS, &has, sizeof has}, {name, said, sizeof said}};
	CK_RV rv = s->f->C_GetAttributeValue(s->handle, handle, a, 2);

	if (gone != NULL) {
		*gone = session_is_gone(rv) ||
			(rv == CKR_ATTRIBUTE_TYPE_INVALID && has == CK_UNAVAILABLE_INFORMATION);
		if (*gone)
			return error_set(e, ERROR_UNAVAILABLE,
			    "an object on the token went while it was looked at");
	}
	/* Of another kind of object: it has no such name, or a longer one. */
	if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_BUFFER_TOO_SMALL)
		return session_mistook(s, e);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot look at an object");
	return (has == class && bytes_equal(value, (struct bytes){said, a[1].ulValueLen})) ||
	       session_mistook(s, e);
}

void
session_close(struct session *s)
{
	if (s->f != NULL && s->handle != CK_INVALID_HANDLE)
		(void)s->f->C_CloseSession(s->handle);
	s->handle = CK_INVALID_HANDLE;
}

bool
session_error(struct session *s, CK_RV rv, struct error *e, const char *fmt, ...)
{
	struct error why = ERROR_INIT;
	char text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (ckr_is_fatal(rv))
		s->fatal = true;
	(void)ckr_error(&why, rv, "%s", text);
	return error_set_foreign(e, why.code == ERROR_DENIED ? ERROR_UNAVAILABLE : why.code,
	    why.source, why.foreign, "%s", why.text);
}
