#include "pkcs11/guard.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/csr.h"
#include "pkcs11/sign.h"

struct guard_stream {
	struct key_limits limits; /* the checker borrows from here */
	struct crl_check check;
	enum sig_alg alg;
	EVP_MD_CTX *md, *sha256; /* what the token signs; what the journal keeps */
	uint64_t left;
};

/* Words of a parser become a refusal that says who refused what. */
static bool
refuse(struct error *e, enum signproto_kind kind, const struct error *why)
{
	return error_set(e, ERROR_DENIED, "the signer refuses to sign this %s: %s",
	    signproto_kind_name(kind), why->text);
}

static bool
check_request(const struct key_limits *l, enum sig_alg alg, struct error *why)
{
	if (!sig_alg_fits_key(alg, l->document.algorithm))
		return error_set(why, ERROR_DENIED, "a key %s does not sign with %s",
		    key_alg_name(l->document.algorithm),
		    sig_alg_name(alg) != NULL ? sig_alg_name(alg) : "this algorithm");
	return true;
}

static bool
check_own_spki(const struct key_limits *l, const struct spki *spki, bool *own, struct error *why)
{
	uint8_t digest[sizeof l->spki_sha256];

	if (!spki_sha256(spki, digest, why))
		return false;
	*own = memcmp(digest, l->spki_sha256, sizeof digest) == 0;
	return true;
}

/*
 * RFC 5280 4.2.1.1: only a certificate that the key signs for itself may go
 * without an authority key identifier.
 */
static bool
check_authority_key_id(const struct key_limits *l, const struct certificate *c, struct error *why)
{
	bool own = false;

	if (bytes_equal(c->authority_key_id, (struct bytes){l->key_id, sizeof l->key_id}))
		return true;
	if (c->authority_key_id.len > 0)
		return error_set(why, ERROR_DENIED,
		    "RFC 5280 4.2.1.1: authorityKeyIdentifier is not that of the signing key");
	if (!check_own_spki(l, &c->spki, &own, why))
		return false;
	if (!own || !certificate_is_self_issued(c))
		return error_set(
		    why, ERROR_DENIED, "RFC 5280 4.2.1.1: authorityKeyIdentifier is missing");
	return true;
}

static void
use_certificate(struct guard_use *use, const struct certificate *c)
{
	uint16_t signer_id;

	memcpy(use->serial, c->serial.p, c->serial.len);
	use->serial_len = c->serial.len;
	if (!serial_parse(c->serial, &signer_id, &use->serial_time))
		use->serial_time = 0;
}

static bool
check_certificate(const struct key_limits *l, enum sig_alg alg, struct bytes tbs,
    struct guard_use *use, struct error *why)
{
	struct certificate c;

	if (!tbs_certificate_parse(tbs, &c, why))
		return false;
	if (!bytes_equal(c.issuer, (struct bytes){l->document.subject, l->document.subject_len}))
		return error_set(why, ERROR_DENIED,
		    "RFC 5280 4.1.2.4: the issuer is not, byte for byte, the subject that the key "
		    "signs for");
	if (!bytes_equal(c.inner_alg, sig_alg_der(alg)))
		return error_set(why, ERROR_DENIED,
		    "RFC 5280 4.1.2.3: it names another signature algorithm than %s",
		    sig_alg_name(alg));
	use_certificate(use, &c);
	return check_authority_key_id(l, &c, why);
}

static bool
use_crl(struct guard_use *use, const struct crl_summary *s, struct error *why)
{
	use->delta = s->delta;
	memcpy(use->number, s->number, s->number_len);
	use->number_len = s->number_len;
	memcpy(use->base_number, s->base_number, s->base_number_len);
	use->base_number_len = s->base_number_len;
	use->this_update = s->this_update;
	use->next_update = s->next_update;
	if (s->idp.len == 0)
		return true;
	return EVP_Digest(s->idp.p, s->idp.len, use->scope, NULL, EVP_sha256(), NULL) == 1 ||
	       error_set_openssl(why, ERROR_INTERNAL, "cannot digest a CRL's scope");
}

static struct crl_rules
crl_rules_of(const struct key_limits *l, enum sig_alg alg, uint64_t total_len)
{
	return (struct crl_rules){
	    .issuer = {l->document.subject, l->document.subject_len},
	    .key_id = {l->key_id, sizeof l->key_id},
	    .sig_alg = alg,
	    .total_len = total_len,
	};
}

static bool
check_crl(const struct key_limits *l, enum sig_alg alg, struct bytes tbs, struct guard_use *use,
    struct error *why)
{
	struct crl_check *check = malloc(sizeof *check);
	struct crl_rules rules = crl_rules_of(l, alg, tbs.len);
	const struct crl_summary *summary;
	bool ok;

	if (check == NULL)
		return error_set(why, ERROR_SYSTEM, "no memory to check a CRL");
	crl_check_begin(check, &rules);
	ok = crl_check_push(check, tbs, why) && crl_check_finish(check, &summary, why) &&
	     use_crl(use, summary, why);
	free(check);
	return ok;
}

static bool
check_csr_info(const struct key_limits *l, struct bytes tbs, struct error *why)
{
	struct csr *csr = malloc(sizeof *csr);
	bool own = false, ok = false;

	if (csr == NULL)
		return error_set(why, ERROR_SYSTEM, "no memory to check a request");
	if (!csr_info_parse(tbs, csr, why) || !check_own_spki(l, &csr->spki, &own, why))
		goto out;
	if (!own)
		(void)error_set(why, ERROR_DENIED, "the public key in it is not the key's own");
	else if (!bytes_equal(
		     csr->subject, (struct bytes){l->document.subject, l->document.subject_len}))
		(void)error_set(why, ERROR_DENIED, "the subject in it is not the key's own");
	else
		ok = true;
out:
	free(csr);
	return ok;
}

bool
guard_check(const struct key_limits *limits, enum signproto_kind kind, enum sig_alg alg,
    struct bytes tbs, struct guard_use *use, struct error *e)
{
	struct error why = ERROR_INIT;
	bool ok = check_request(limits, alg, &why);

	*use = (struct guard_use){.kind = kind, .alg = alg};
	if (ok) {
		switch (kind) {
		case SIGNPROTO_TBS_CERTIFICATE:
			ok = check_certificate(limits, alg, tbs, use, &why);
			break;
		case SIGNPROTO_TBS_CRL:
			ok = check_crl(limits, alg, tbs, use, &why);
			break;
		case SIGNPROTO_CSR_INFO:
			ok = check_csr_info(limits, tbs, &why);
			break;
		default:
			ok = error_set(&why, ERROR_DENIED, "unknown kind of structure");
		}
	}
	if (!ok)
		return refuse(e, kind, &why);
	if (EVP_Digest(tbs.p, tbs.len, use->tbs_sha256, NULL, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a structure");
	return sign_make_digest(alg, tbs, use->digest.octets, &use->digest.len, e);
}

struct guard_stream *
guard_stream_new(const struct key_limits *limits, enum signproto_kind kind, enum sig_alg alg,
    uint64_t total_len, struct error *e)
{
	struct error why = ERROR_INIT;
	struct guard_stream *g = NULL;
	struct crl_rules rules;

	if (kind != SIGNPROTO_TBS_CRL)
		(void)error_set(&why, ERROR_DENIED, "only CRLs are signed from a stream");
	else
		(void)check_request(limits, alg, &why);
	if (error_is_set(&why)) {
		(void)refuse(e, kind, &why);
		return NULL;
	}
	g = calloc(1, sizeof *g);
	if (g == NULL || (g->md = EVP_MD_CTX_new()) == NULL ||
	    (g->sha256 = EVP_MD_CTX_new()) == NULL ||
	    EVP_DigestInit_ex(g->md, sig_alg_md(alg), NULL) != 1 ||
	    EVP_DigestInit_ex(g->sha256, EVP_sha256(), NULL) != 1) {
		(void)error_set_openssl(e, ERROR_SYSTEM, "cannot begin to check a CRL");
		guard_stream_free(g);
		return NULL;
	}
	g->limits = *limits;
	g->alg = alg;
	g->left = total_len;
	rules = crl_rules_of(&g->limits, alg, total_len);
	crl_check_begin(&g->check, &rules);
	return g;
}

bool
guard_stream_push(struct guard_stream *g, struct bytes piece, struct error *e)
{
	struct error why = ERROR_INIT;

	if (piece.len > g->left) {
		(void)error_set(&why, ERROR_DENIED, "it is longer than was announced");
		return refuse(e, SIGNPROTO_TBS_CRL, &why);
	}
	if (!crl_check_push(&g->check, piece, &why))
		return refuse(e, SIGNPROTO_TBS_CRL, &why);
	if (EVP_DigestUpdate(g->md, piece.p, piece.len) != 1 ||
	    EVP_DigestUpdate(g->sha256, piece.p, piece.len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a CRL");
	g->left -= piece.len;
	return true;
}

bool
guard_stream_finish(struct guard_stream *g, struct guard_use *use, struct error *e)
{
	const struct crl_summary *summary;
	struct error why = ERROR_INIT;
	unsigned int n = 0;

	*use = (struct guard_use){.kind = SIGNPROTO_TBS_CRL, .alg = g->alg};
	if (!crl_check_finish(&g->check, &summary, &why) || !use_crl(use, summary, &why))
		return refuse(e, SIGNPROTO_TBS_CRL, &why);
	if (EVP_DigestFinal_ex(g->md, use->digest.octets, &n) != 1 ||
	    EVP_DigestFinal_ex(g->sha256, use->tbs_sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a CRL");
	use->digest.len = n;
	return true;
}

void
guard_stream_free(struct guard_stream *g)
{
	if (g == NULL)
		return;
	EVP_MD_CTX_free(g->md);
	EVP_MD_CTX_free(g->sha256);
	free(g);
}
