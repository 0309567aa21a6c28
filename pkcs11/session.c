#include "pkcs11/session.h"

#include <stdio.h>

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
