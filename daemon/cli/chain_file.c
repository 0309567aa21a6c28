#include "daemon/cli/chain_file.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>

#include "daemon/cli/output.h"
#include "daemon/cli/table.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

#define PEM_PKCS7 "PKCS7"

/* The PEM that is being put together. */
struct chain_text {
	char *text; /* CHAIN_FILE_MAX octets and a NUL */
	size_t len, count;
};

static bool
add(struct chain_text *out, struct bytes der, const char *path, struct error *e)
{
	struct error why = ERROR_INIT;
	struct certificate c;

	if (!certificate_parse(der, &c, &why))
		return error_set(e, ERROR_INPUT, "%s: %s", path, why.text);
	if (pem_encoded_size(PEM_CERTIFICATE, der.len) > CHAIN_FILE_MAX - out->len ||
	    !pem_encode(PEM_CERTIFICATE, der, out->text + out->len, CHAIN_FILE_MAX - out->len))
		return error_set(e, ERROR_LIMIT, "%s: the certificates take more than %d octets",
		    path, CHAIN_FILE_MAX);
	out->len += strlen(out->text + out->len);
	out->count++;
	return true;
}

static bool
add_pem(struct chain_text *out, struct bytes text, uint8_t *der, const char *path, struct error *e)
{
	size_t len;

	for (;;) {
		struct error why = ERROR_INIT;

		if (!pem_decode(&text, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, &why))
			return why.code == ERROR_NOT_FOUND ||
			       error_set(e, why.code, "%s: %s", path, why.text);
		if (!add(out, (struct bytes){der, len}, path, e))
			return false;
	}
}

static bool
add_x509(struct chain_text *out, const X509 *x, const char *path, struct error *e)
{
	uint8_t *der = NULL;
	int len = i2d_X509(x, &der);
	bool ok;

	if (len < 0)
		return error_set_openssl(e, ERROR_SYSTEM, "%s: encoding a certificate", path);
	ok = add(out, (struct bytes){der, (size_t)len}, path, e);
	OPENSSL_free(der);
	return ok;
}

/* What is signed in it, and by whom, does not matter: the chain is verified. */
static bool
add_pkcs7(struct chain_text *out, struct bytes der, const char *path, struct error *e)
{
	const uint8_t *p = der.p;
	PKCS7 *bundle = d2i_PKCS7(NULL, &p, (long)der.len);
	const STACK_OF(X509) *certs = NULL;
	bool ok = true;

	if (bundle != NULL && PKCS7_type_is_signed(bundle) && bundle->d.sign != NULL)
		certs = bundle->d.sign->cert;
	if (certs == NULL)
		ok = error_set(e, ERROR_INPUT,
		    "%s is no certificate in PEM or DER, and no PKCS#7 with certificates", path);
	for (int i = 0; ok && i < sk_X509_num(certs); i++)
		ok = add_x509(out, sk_X509_value(certs, i), path, e);
	PKCS7_free(bundle);
	ERR_clear_error();
	return ok;
}

/* der: CHAIN_FILE_MAX octets to work in. */
static bool
add_file(struct chain_text *out, const char *path, uint8_t *der, struct error *e)
{
	struct error why = ERROR_INIT;
	struct bytes all, rest;
	char *text;
	size_t len, der_len;
	bool ok;

	if (!output_read_file(path, CHAIN_FILE_MAX, &text, &len, e))
		return false;
	all = rest = (struct bytes){(const uint8_t *)text, len};
	if (memmem(text, len, "-----BEGIN CERTIFICATE-----", 27) != NULL)
		ok = add_pem(out, all, der, path, e);
	else if (memmem(text, len, "-----BEGIN PKCS7-----", 21) != NULL)
		ok = (pem_decode(&rest, PEM_PKCS7, der, CHAIN_FILE_MAX, &der_len, &why) ||
			 error_set(e, why.code, "%s: %s", path, why.text)) &&
		     add_pkcs7(out, (struct bytes){der, der_len}, path, e);
	else if (certificate_parse(all, &(struct certificate){.ca = false}, &why))
		ok = add(out, all, path, e);
	else
		ok = add_pkcs7(out, all, path, e);
	free(text);
	return ok;
}

bool
chain_files_read(const char *const *paths, size_t count, char **pem, struct error *e)
{
	struct chain_text out = {.text = malloc(CHAIN_FILE_MAX + 1)};
	uint8_t *der = malloc(CHAIN_FILE_MAX);
	bool ok = out.text != NULL && der != NULL;

	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "allocating certificates");
	for (size_t i = 0; ok && i < count; i++)
		ok = add_file(&out, paths[i], der, e);
	if (ok && out.count == 0)
		ok = error_set(e, ERROR_INPUT,
		    "%s holds no certificate: the CA's certificate and those above it are needed",
		    paths[0]);
	free(der);
	if (ok)
		*pem = out.text;
	else
		free(out.text);
	return ok;
}

static void
put_name(const char *what, struct bytes name)
{
	char text[NAME_TEXT_MAX];
	struct error ignored = ERROR_INIT;

	if (!name_to_text(name, text, sizeof text, &ignored))
		(void)snprintf(text, sizeof text, "(a name that cannot be read)");
	(void)fputs(what, stderr);
	table_write_escaped(stderr, text, false);
	(void)fputc('\n', stderr);
}

/* False: there is no further one, or it is none, of which *e tells. */
static bool
next_certificate(struct bytes *pem, uint8_t *der, struct certificate *c, struct error *e)
{
	struct error end = ERROR_INIT;
	size_t len;

	return pem_decode(pem, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, &end) &&
	       certificate_parse((struct bytes){der, len}, c, e);
}

bool
chain_show(const char *pem, struct error *e)
{
	struct bytes rest = {(const uint8_t *)pem, strlen(pem)};
	char from[CANON_TIME_SIZE], to[CANON_TIME_SIZE];
	uint8_t *der = malloc(CERTIFICATE_MAX);
	struct certificate c;

	if (der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	while (next_certificate(&rest, der, &c, e)) {
		canon_time_text(c.not_before, from);
		canon_time_text(c.not_after, to);
		put_name("A certificate of ", c.subject);
		put_name("  by           ", c.issuer);
		(void)fprintf(stderr, "  valid        %s to %s\n", from, to);
	}
	free(der);
	return !error_is_set(e);
}

bool
chain_has_key(const char *pem, const uint8_t sha256[32], bool *has, struct error *e)
{
	struct bytes rest = {(const uint8_t *)pem, strlen(pem)};
	uint8_t *der = malloc(CERTIFICATE_MAX), digest[32];
	struct certificate c;

	*has = false;
	if (der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	while (!*has && next_certificate(&rest, der, &c, e) && spki_sha256(&c.spki, digest, e))
		*has = memcmp(digest, sha256, sizeof digest) == 0;
	free(der);
	return !error_is_set(e);
}
