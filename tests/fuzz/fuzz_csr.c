/* CSRs: what is taken has its slices inside the input, and OpenSSL reads it
 * too; what is refused has a sentence; both ways to verify it say the same. */

#include <stdint.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"
#include "daemon/x509/verifier.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
inside(struct bytes whole, struct bytes slice)
{
	if (slice.len > 0 && (slice.p < whole.p || slice.p + slice.len > whole.p + whole.len))
		abort();
}

static void
look_at(const struct csr *csr)
{
	char text[NAME_TEXT_MAX];
	struct error err = ERROR_INIT;
	struct extension_iter it;
	struct extension x;

	inside(csr->whole, csr->info);
	inside(csr->whole, csr->signature);
	inside(csr->info, csr->subject);
	inside(csr->info, csr->spki.key);
	inside(csr->info, csr->extensions);
	if (!name_to_text(csr->subject, text, sizeof text, &err) && err.code != ERROR_LIMIT)
		abort();
	extension_iter_init(&it, csr->extensions);
	while (extension_iter_next(&it, &x))
		inside(csr->extensions, x.value);
	if (!der_end(&it.rest))
		abort();
	for (size_t i = 0; i < csr->name_count; i++) {
		char name[SAN_TEXT_MAX];

		inside(csr->extensions, csr->names[i].value);
		if (!san_to_text(&csr->names[i], name, sizeof name))
			abort();
	}
}

static void
verify(const struct csr *csr)
{
	static struct verifier *verifier;
	struct error err = ERROR_INIT, other = ERROR_INIT;
	bool ok;

	if (verifier == NULL && (verifier = verifier_new(&err)) == NULL)
		abort();
	ok = csr_verify(csr, &err);
	if (csr_verify_with(csr, verifier, &other) != ok || error_is_set(&err) == ok ||
	    error_is_set(&other) == ok)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct csr csr;
	static uint8_t buf[CSR_MAX];
	struct error err = ERROR_INIT;
	const uint8_t *p = data;
	struct bytes der;
	X509_REQ *req;

	if (!csr_from_input((struct bytes){data, size}, buf, sizeof buf, &der, &err) ||
	    !csr_parse(der, &csr, &err)) {
		if (!error_is_set(&err))
			abort();
		return 0;
	}
	look_at(&csr);
	verify(&csr);
	p = der.p;
	req = d2i_X509_REQ(NULL, &p, (long)der.len);
	if (req == NULL || p != der.p + der.len)
		abort();
	X509_REQ_free(req);
	ERR_clear_error();
	return 0;
}
