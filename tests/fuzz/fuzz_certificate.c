/* Certificates: what is taken, OpenSSL reads too, and our builder makes the same
 * bytes from the parts. */

#include <stdint.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_extensions(const struct certificate *c)
{
	static struct san names[100];
	struct bytes oids[EKU_MAX], b;
	struct extension_iter it;
	struct extension x;
	char text[OID_TEXT_MAX], name[SAN_TEXT_MAX];
	size_t count;

	extension_iter_init(&it, c->extensions);
	while (extension_iter_next(&it, &x)) {
		struct error err = ERROR_INIT;

		oid_to_text(x.oid, text);
		if (extension_read_subject_alt_name(x.value, names, 100, &count, &err)) {
			while (count-- > 0) {
				if (!san_to_text(&names[count], name, sizeof name))
					abort();
			}
		} else if (!error_is_set(&err)) {
			abort();
		}
		if (!extension_read_extended_key_usage(x.value, oids, EKU_MAX, &count, &err) &&
		    !error_is_set(&err))
			abort();
		if (!extension_read_crl_number(x.value, &b, &err) && !error_is_set(&err))
			abort();
	}
	if (!der_end(&it.rest))
		abort();
}

static void
build_again(const struct certificate *c)
{
	static uint8_t buf[CERTIFICATE_MAX], whole_buf[CERTIFICATE_MAX];
	const struct tbs_certificate t = {
	    .serial = c->serial,
	    .sig_alg = c->sig_alg,
	    .issuer = c->issuer,
	    .not_before = c->not_before,
	    .not_after = c->not_after,
	    .subject = c->subject,
	    .spki = c->spki.whole,
	    .extensions = c->extensions,
	};
	struct error err = ERROR_INIT;
	struct bytes tbs, whole;

	/* RSA without parameters and odd PSS salts are read, but not written. */
	if (!bytes_equal(sig_alg_der(c->sig_alg), c->inner_alg))
		return;
	if (!tbs_certificate_build(&t, buf, sizeof buf, &tbs, &err) || !bytes_equal(tbs, c->tbs))
		abort();
	if (!certificate_assemble(
		tbs, c->sig_alg, c->signature, whole_buf, sizeof whole_buf, &whole, &err) ||
	    !bytes_equal(whole, c->whole))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	char text[NAME_TEXT_MAX];
	const uint8_t *p = data;
	struct certificate c;
	X509 *x;

	if (!certificate_parse((struct bytes){data, size}, &c, &err)) {
		if (!error_is_set(&err))
			abort();
		return 0;
	}
	read_extensions(&c);
	build_again(&c);
	if ((!name_to_text(c.subject, text, sizeof text, &err) && err.code != ERROR_LIMIT))
		abort();
	err = ERROR_INIT;
	if (!certificate_verify(&c, &c.spki, &err) && !error_is_set(&err))
		abort();
	x = d2i_X509(NULL, &p, (long)size);
	if (x == NULL || p != data + size)
		abort();
	X509_free(x);
	ERR_clear_error();
	return 0;
}
