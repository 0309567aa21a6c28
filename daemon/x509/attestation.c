#include "daemon/x509/attestation.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/core/encode.h"
#include "daemon/x509/derw.h"

#define WORDS "chancery attest: "
#define HEX_LEN ((size_t)2 * ATTESTATION_NONCE_LEN)

bool
attestation_build(struct bytes subject, struct bytes spki,
    const uint8_t nonce[ATTESTATION_NONCE_LEN], void *buf, size_t size, struct bytes *info,
    struct error *err)
{
	static const uint8_t challenge_password[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 7};
	char text[sizeof WORDS + HEX_LEN] = WORDS;
	struct derw w;

	hex_encode(nonce, ATTESTATION_NONCE_LEN, text + sizeof WORDS - 1);
	derw_init(&w, buf, size);
	derw_raw(&w, (struct bytes){(const uint8_t *)text, strlen(text)});
	derw_wrap(&w, 0, DER_PRINTABLE_STRING);
	derw_wrap(&w, 0, DER_SET);
	derw_oid(&w, (struct bytes){challenge_password, sizeof challenge_password});
	derw_wrap(&w, 0, DER_SEQUENCE);
	derw_wrap(&w, 0, DER_CONTEXT_CONSTRUCTED(0));
	derw_raw(&w, spki);
	derw_raw(&w, subject);
	derw_unsigned(&w, 0);
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(err, ERROR_LIMIT, "the proof is longer than %zu octets", size);
	*info = derw_result(&w);
	return true;
}

/* The nonce stands last. */
bool
attestation_is(struct bytes info, const struct csr *csr)
{
	uint8_t nonce[ATTESTATION_NONCE_LEN], *buf;
	struct error ignored = ERROR_INIT;
	struct bytes same;
	bool ok;

	if (csr->attribute_count != 1 || csr->extensions.len > 0 || info.len < HEX_LEN ||
	    !hex_decode((const char *)info.p + info.len - HEX_LEN, sizeof nonce, nonce))
		return false;
	buf = malloc(info.len);
	ok = buf != NULL &&
	     attestation_build(
		 csr->subject, csr->spki.whole, nonce, buf, info.len, &same, &ignored) &&
	     bytes_equal(info, same);
	free(buf);
	return ok;
}
