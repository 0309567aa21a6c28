#include "daemon/x509/sig_input.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 65536

bool
sig_input_begin(struct sig_input *in, enum sig_alg alg, struct error *err)
{
	*in = (struct sig_input){.md = NULL};
	if (sig_alg_family(alg) == SIG_FAMILY_EDDSA)
		return true;
	in->md = EVP_MD_CTX_new();
	return (in->md != NULL && EVP_DigestInit_ex(in->md, sig_alg_md(alg), NULL) == 1) ||
	       error_set_openssl(err, ERROR_SYSTEM, "cannot begin to digest a structure");
}

static bool
make_room(struct sig_input *in, size_t more, struct error *err)
{
	size_t size = in->size != 0 ? in->size : FIRST_SIZE;
	uint8_t *grown;

	if (more > SIG_INPUT_WHOLE_MAX - in->len)
		return error_set(err, ERROR_LIMIT,
		    "it is longer than the %lu octets that are signed with Ed25519, which takes no "
		    "digest",
		    SIG_INPUT_WHOLE_MAX);
	while (size < in->len + more)
		size *= 2;
	if (size == in->size)
		return true;
	grown = realloc(in->whole, size);
	if (grown == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for what is to be signed");
	in->whole = grown;
	in->size = size;
	return true;
}

bool
sig_input_add(struct sig_input *in, struct bytes piece, struct error *err)
{
	if (in->md != NULL)
		return EVP_DigestUpdate(in->md, piece.p, piece.len) == 1 ||
		       error_set_openssl(err, ERROR_INTERNAL, "cannot digest a structure");
	if (piece.len == 0)
		return true;
	if (!make_room(in, piece.len, err))
		return false;
	memcpy(in->whole + in->len, piece.p, piece.len);
	in->len += piece.len;
	return true;
}

bool
sig_input_end(struct sig_input *in, struct bytes *out, struct error *err)
{
	unsigned int len = 0;

	*out = (struct bytes){in->whole, in->len};
	if (in->md == NULL)
		return true;
	if (EVP_DigestFinal_ex(in->md, in->digest, &len) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "cannot digest a structure");
	*out = (struct bytes){in->digest, len};
	return true;
}

void
sig_input_free(struct sig_input *in)
{
	EVP_MD_CTX_free(in->md);
	free(in->whole);
	*in = (struct sig_input){.md = NULL};
}
