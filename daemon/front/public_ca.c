/*
 * What the distribution has besides artifacts: an index page for people, and the
 * chain of a CA as PEM and as a "certs-only" CMS message (RFC 5280 4.2.1.13,
 * RFC 5652 5.1, RFC 8551 3.8).
 */

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/x509.h>

#include "daemon/front/front_int.h"

#define PAGE_MAX (1024 * 1024) /* octets of the index page */
#define CHAIN_MAX 16	       /* certificates */
#define CERTIFICATE_MAX 65536  /* octets of one */
#define MAX_AGE_S 300

/* ---- the index page */

struct page {
	BIO *out;
};

/* Text from the database; nothing in it is markup. */
static void
put_text(struct page *p, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '&':
			(void)BIO_puts(p->out, "&amp;");
			break;
		case '<':
			(void)BIO_puts(p->out, "&lt;");
			break;
		case '>':
			(void)BIO_puts(p->out, "&gt;");
			break;
		case '"':
			(void)BIO_puts(p->out, "&quot;");
			break;
		default:
			(void)BIO_write(p->out, text, 1);
		}
	}
}

static const char *
text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

/* The names of CAs are letters, digits, ".", "_" and "-": no escape in a path. */
static void
put_link(struct page *p, const char *name, const char *before, const char *after, const char *words)
{
	(void)BIO_printf(p->out, "<a href=\"%s", before);
	put_text(p, name);
	(void)BIO_printf(p->out, "%s\">%s</a>\n", after, words);
}

static void
put_row(struct page *p, const char *heading, const char *text)
{
	(void)BIO_printf(p->out, "<tr><th>%s</th><td>", heading);
	put_text(p, text);
	(void)BIO_puts(p->out, "</td></tr>\n");
}

static void
put_crl(struct page *p, const char *name, json_t *crl, const char *after, const char *words)
{
	if (!json_is_object(crl))
		return;
	(void)BIO_puts(p->out, "<tr><th>");
	put_link(p, name, "crl/", after, words);
	(void)BIO_puts(p->out, "</th><td>number ");
	put_text(p, text_of(crl, "number"));
	(void)BIO_puts(p->out, ", next at ");
	put_text(p, text_of(crl, "next_update"));
	(void)BIO_puts(p->out, "</td></tr>\n");
}

/* One of the CA's CRLs: its label stands behind the CA's name. */
static void
put_scope(struct page *p, const char *ca, json_t *scope)
{
	char name[ROUTE_VALUE_SIZE];

	(void)snprintf(name, sizeof name, "%s%s", ca, text_of(scope, "label"));
	put_crl(p, name, json_object_get(scope, "crl"), ".crl", "CRL");
	put_crl(p, name, json_object_get(scope, "delta"), "-delta.crl", "delta CRL");
}

static void
put_ca(struct page *p, json_t *ca)
{
	const char *name = text_of(ca, "name");
	json_t *scope;
	size_t i;

	(void)BIO_puts(p->out, "<h2>");
	put_text(p, name);
	(void)BIO_puts(p->out, "</h2>\n<table>\n");
	put_row(p, "subject", text_of(ca, "subject"));
	put_row(p, "valid until", text_of(ca, "not_after"));
	put_row(p, "SHA-256", text_of(ca, "sha256"));
	(void)BIO_puts(p->out, "<tr><th>certificate</th><td>\n");
	put_link(p, name, "aia/", ".cer", "DER");
	put_link(p, name, "aia/", ".pem", "PEM, with its chain");
	put_link(p, name, "aia/", ".p7c", "CMS, with its chain");
	(void)BIO_puts(p->out, "</td></tr>\n");
	json_array_foreach(json_object_get(ca, "crls"), i, scope)
	{
		put_scope(p, name, scope);
	}
	(void)BIO_puts(p->out, "</table>\n");
}

static void
put_page(struct page *p, json_t *cas)
{
	json_t *ca;
	size_t i;

	(void)BIO_puts(p->out,
	    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	    "<title>Certification authorities</title>\n</head>\n<body>\n"
	    "<h1>Certification authorities</h1>\n"
	    "<p>Compare the SHA-256 with one that you got another way before you trust a "
	    "certificate from here.</p>\n");
	json_array_foreach(cas, i, ca)
	{
		put_ca(p, ca);
	}
	if (i == 0)
		(void)BIO_puts(p->out, "<p>There are none yet.</p>\n");
	(void)BIO_puts(p->out, "</body>\n</html>\n");
}

static bool
make_page(json_t *answer, BIO *out)
{
	put_page(&(struct page){out}, answer);
	return BIO_pending(out) > 0 && BIO_pending(out) <= PAGE_MAX;
}

/* ---- chains */

/* Adds the certificates in that member of the answer. */
static bool
add_certificates(STACK_OF(X509) * chain, json_t *ca, const char *member)
{
	uint8_t der[CERTIFICATE_MAX];
	json_t *item;
	size_t i, len;

	json_array_foreach(json_object_get(ca, member), i, item)
	{
		const uint8_t *at = der;
		X509 *x = NULL;

		if (i < CHAIN_MAX && json_is_string(item) &&
		    call_base64(json_string_value(item), der, sizeof der, &len))
			x = d2i_X509(NULL, &at, (long)len);
		if (x == NULL || sk_X509_push(chain, x) <= 0) {
			X509_free(x);
			return false;
		}
	}
	return true;
}

static bool
put_pem(STACK_OF(X509) * chain, BIO *out)
{
	for (int i = 0; i < sk_X509_num(chain); i++)
		if (PEM_write_bio_X509(out, sk_X509_value(chain, i)) != 1)
			return false;
	return true;
}

/* SignedData with certificates and nothing else. */
static bool
put_cms(STACK_OF(X509) * chain, BIO *out)
{
	PKCS7 *p7 = PKCS7_new();
	bool ok = p7 != NULL && PKCS7_set_type(p7, NID_pkcs7_signed) == 1 &&
		  PKCS7_content_new(p7, NID_pkcs7_data) == 1;

	for (int i = 0; ok && i < sk_X509_num(chain); i++)
		ok = PKCS7_add_certificate(p7, sk_X509_value(chain, i)) == 1;
	/* An absent content, not an empty one. */
	ok = ok && PKCS7_set_detached(p7, 1) != 0 && i2d_PKCS7_bio(out, p7) == 1;
	PKCS7_free(p7);
	return ok;
}

static bool
make_chain(json_t *answer, bool (*put)(STACK_OF(X509) * chain, BIO *out), BIO *out,
    const char *const *members)
{
	json_t *ca = json_array_get(answer, 0);
	STACK_OF(X509) *chain = sk_X509_new_null();
	bool ok = chain != NULL;

	for (; ok && *members != NULL; members++)
		ok = add_certificates(chain, ca, *members);
	ok = ok && sk_X509_num(chain) > 0 && put(chain, out);
	sk_X509_pop_free(chain, X509_free);
	ERR_clear_error();
	return ok;
}

static bool
make_pem(json_t *answer, BIO *out)
{
	return make_chain(answer, put_pem, out, (const char *const[]){"chain", NULL});
}

/* Beside the chain what vouches for a root's other keys, and by which CAs elsewhere vouch
 * for this CA: who trusts the one finds the way to the other. OpenSSL takes the first that
 * fits, and a root's own only from those it trusts: so of a root that comes last, and of
 * any other CA the chain that it issues under first. */
static bool
make_cms(json_t *answer, BIO *out)
{
	static const char *const of_root[] = {"rollovers", "crosses", "chain", NULL};
	static const char *const of_other[] = {"chain", "rollovers", "crosses", NULL};
	json_t *chain = json_object_get(json_array_get(answer, 0), "chain");

	return make_chain(answer, put_cms, out, json_array_size(chain) == 1 ? of_root : of_other);
}

/* ---- calls */

/* A call that waits for its CAs. */
struct wish {
	struct call *call;
	bool (*make)(json_t *answer, BIO *out);
	bool one; /* of one CA, which may not exist */
	struct front_asked *asked;
};

static void
answer_with(struct wish *w, json_t *answer)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *data;
	long len;

	if (w->one && json_array_size(answer) == 0) {
		http_reply_error(w->call->x, 404, NULL, "No CA has such a name.");
	} else if (out == NULL || !w->make(answer, out)) {
		http_reply_error(
		    w->call->x, 500, NULL, "Something went wrong here; the log says what.");
	} else {
		len = BIO_get_mem_data(out, &data);
		http_reply_field(w->call->x, "Cache-Control", "public, max-age=%d", MAX_AGE_S);
		http_reply_field(w->call->x, "Content-Security-Policy", "default-src 'none'");
		http_reply(w->call->x, 200, w->call->route->type, data, (size_t)len);
	}
	BIO_free(out);
}

static void
on_gone(enum http_gone how, void *arg)
{
	struct wish *w = arg;

	if (how == HTTP_LEAVING)
		return;
	front_cancel(w->asked);
	free(w);
}

static void
on_cas(const char *json, const struct error *err, void *arg)
{
	struct wish w = *(struct wish *)arg;
	json_t *answer;

	free(arg);
	if (err != NULL) {
		call_fail(w.call, err);
		return;
	}
	answer = json_loads(json, 0, NULL);
	answer_with(&w, answer);
	json_decref(answer);
}

static void
ask(struct call *call, const char *ca, bool (*make)(json_t *answer, BIO *out))
{
	struct wish *w = calloc(1, sizeof *w);
	struct error err = ERROR_INIT;

	if (w == NULL) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the reply.");
		return;
	}
	*w = (struct wish){.call = call, .make = make, .one = ca != NULL};
	w->asked = front_public_cas(front_public_db(call->front), ca, on_cas, w, &err);
	if (w->asked == NULL) {
		free(w);
		call_fail(call, &err);
		return;
	}
	http_on_gone(call->x, on_gone, w);
}

static void
ask_one(struct call *call, bool (*make)(json_t *answer, BIO *out))
{
	char ca[ROUTE_VALUE_SIZE];

	if (call_param(call, "ca", ca) == CALL_FOUND)
		ask(call, ca, make);
}

void
distribution_index(struct call *call)
{
	ask(call, NULL, make_page);
}

void
distribution_chain_pem(struct call *call)
{
	ask_one(call, make_pem);
}

void
distribution_chain_cms(struct call *call)
{
	ask_one(call, make_cms);
}
