/* A CA that takes over a key which is on the token already. */

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/chain_file.h"
#include "daemon/cli/limits_draft_int.h"
#include "daemon/core/encode.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

#define SUBJECT_TEXT_MAX 8192

struct text {
	char out[SUBJECT_TEXT_MAX];
	size_t len;
};

static void
put(struct text *t, const char *words)
{
	size_t len = strlen(words);

	if (t->len + len < sizeof t->out) {
		memcpy(t->out + t->len, words, len + 1);
		t->len += len;
	}
}

static void
put_attribute(struct text *t, const struct name_attribute *a)
{
	const uint8_t head[] = {a->tag, (uint8_t)a->value.len};
	const char *keyword = name_attribute_keyword(a->oid);
	char hex[2 * 127 + 1];

	put(t, keyword != NULL ? keyword : "?");
	put(t, "=#");
	hex_encode(head, sizeof head, hex);
	put(t, hex);
	hex_encode(a->value.p, a->value.len, hex);
	put(t, hex);
}

/* As RFC 4514 2.4 writes a value whose octets matter: "CN=#130454657374". False when the
 * name has what cannot be written so here. */
static bool
exact_text(struct bytes subject, struct text *t)
{
	struct name_attribute all[NAME_ATTRIBUTE_MAX];
	struct name_iter it;
	size_t n = 0;

	name_iter_init(&it, subject);
	while (n < COUNT_OF(all) && name_iter_next(&it, &all[n])) {
		if (all[n].value.len > 127 || name_attribute_keyword(all[n].oid) == NULL ||
		    (n > 0 && all[n].rdn == all[n - 1].rdn))
			return false;
		n++;
	}
	for (size_t i = n; i-- > 0;) {
		put_attribute(t, &all[i]);
		if (i > 0)
			put(t, ",");
	}
	return n > 0;
}

/* What the policy would have to say, so that its name is the certificate's. */
static bool
suggest(const struct certificate *c, char out[SUBJECT_TEXT_MAX])
{
	struct error ignored = ERROR_INIT;
	uint8_t buf[NAME_DER_MAX];
	struct text t = {.len = 0};
	struct bytes again;

	if (name_to_text(c->subject, out, SUBJECT_TEXT_MAX, &ignored) &&
	    name_from_text(out, buf, sizeof buf, &again, &ignored) &&
	    bytes_equal(again, c->subject))
		return true;
	if (!exact_text(c->subject, &t))
		return false;
	memcpy(out, t.out, t.len + 1);
	return true;
}

static bool
check_subject(const struct capolicy *policy, const struct certificate *c, struct error *e)
{
	char text[SUBJECT_TEXT_MAX];

	if (bytes_equal(policy->subject, c->subject))
		return true;
	if (!suggest(c, text))
		return error_set(e, ERROR_INPUT,
		    "the policy's subject is not, byte for byte, that of the certificate");
	return error_set(e, ERROR_INPUT,
	    "the policy's subject is not, byte for byte, that of the certificate; write: subject: "
	    "\"%s\"",
	    text);
}

static bool
take(const struct capolicy *policy, struct limits *l, const struct certificate *c, struct error *e)
{
	enum key_alg alg = spki_key_alg(&c->spki);

	if (alg != policy->key_alg)
		return error_set(e, ERROR_INPUT,
		    "the certificate's key is %s, and the policy says %s",
		    alg == KEY_NONE ? "of a kind that no CA has here" : key_alg_name(alg),
		    key_alg_name(policy->key_alg));
	return check_subject(policy, c, e) && spki_sha256(&c->spki, l->key, e);
}

bool
limits_adopt(struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e)
{
	const char *file = cli->options->value[OPTION_ADOPT];
	uint8_t *der = NULL;
	struct certificate c;
	struct bytes rest;
	char *pem = NULL;
	bool ok = false;
	size_t len;

	if (file == NULL)
		return true;
	der = malloc(CERTIFICATE_MAX);
	if (der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	if (chain_files_read(&file, 1, &pem, e)) {
		rest = (struct bytes){(const uint8_t *)pem, strlen(pem)};
		ok = pem_decode(&rest, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, e) &&
		     certificate_parse((struct bytes){der, len}, &c, e) && take(policy, l, &c, e);
	}
	if (!ok)
		(void)error_wrap(e, "%s", file);
	free(pem);
	free(der);
	return ok;
}
