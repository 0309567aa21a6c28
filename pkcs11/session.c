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
	char text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (ckr_is_fatal(rv))
		s->fatal = true;
	return ckr_error(e, rv, "%s", text);
}
