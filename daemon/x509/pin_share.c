#include "daemon/x509/pin_share.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "daemon/core/encode.h"
#include "daemon/x509/seal_int.h"
#include "daemon/x509/statement.h"

#define WHAT "PIN shares"
#define SEALED_TEXT_MAX (2 * PIN_SHARE_SEALED_MAX)

/* With its NUL. */
static const char domain[] = "chancery-pin-share";

#define INFO_LEN (sizeof domain + 16 + 1 + 32)

static size_t
sealed_len(const struct pin_shares *s)
{
	return PIN_SHARE_ENC_LEN + s->length + SEAL_TAG_LEN;
}

/* ---- the text */

static bool
check(const struct pin_shares *s, struct error *err)
{
	if (!canon_is_name(s->token, "-", true) || !canon_time_valid(s->made))
		return error_set(err, ERROR_INPUT, WHAT ": names no token, or no time");
	if (s->length < PIN_SHARE_MIN_LEN || s->length > PIN_SHARE_MAX_LEN)
		return error_set(err, ERROR_LIMIT,
		    WHAT " of a PIN of %zu octets; allowed: %d to %d", s->length, PIN_SHARE_MIN_LEN,
		    PIN_SHARE_MAX_LEN);
	if (s->count > PIN_SHARES_MAX || s->need < 2 || s->need > s->count)
		return error_set(err, ERROR_LIMIT,
		    WHAT ": %u of %zu are needed; allowed: at least 2, of at most %d", s->need,
		    s->count, PIN_SHARES_MAX);
	for (size_t i = 0; i < s->count; i++) {
		if (!canon_is_name(s->holders[i].person, PIN_HOLDER_CHARACTERS, false))
			return error_set(err, ERROR_INPUT, WHAT ": holder %zu has no name", i + 1);
		for (size_t j = 0; j < i; j++)
			if (strcmp(s->holders[i].person, s->holders[j].person) == 0)
				return error_set(
				    err, ERROR_INPUT, WHAT ": %s holds two", s->holders[i].person);
	}
	return true;
}

bool
pin_shares_format(
    const struct pin_shares *s, char out[PIN_SHARES_TEXT_MAX + 1], size_t *len, struct error *err)
{
	char made[CANON_TIME_SIZE], sealed[SEALED_TEXT_MAX];
	struct canon_writer w;

	if (!check(s, err))
		return false;
	canon_time_text(s->made, made);
	canon_writer_init(&w, out, PIN_SHARES_TEXT_MAX + 1);
	canon_put(&w, "chancery-pin-shares: 1\ntoken: %s\n", s->token);
	canon_put_hex_line(&w, "split", true, s->split, sizeof s->split);
	canon_put(&w, "made: %s\nneed: %u\nlength: %zu\n", made, s->need, s->length);
	for (size_t i = 0; i < s->count; i++) {
		const struct pin_holder *h = &s->holders[i];

		canon_put(&w, "holder: %zu %s ", i + 1, h->person);
		canon_put_hex(&w, h->key_sha256, sizeof h->key_sha256);
		canon_put(&w, " ");
		canon_put_hex(&w, h->commitment, sizeof h->commitment);
		(void)EVP_EncodeBlock((unsigned char *)sealed, h->sealed, (int)sealed_len(s));
		canon_put(&w, " %s\n", sealed);
	}
	return canon_written(&w, WHAT, len, err);
}

static bool
read_holder(struct pin_shares *s, char *line)
{
	struct pin_holder *h = &s->holders[s->count];
	const char *number = canon_next_word(&line, ' '), *person = canon_next_word(&line, ' '),
		   *key = canon_next_word(&line, ' '), *commitment = canon_next_word(&line, ' ');
	struct error ignored = ERROR_INIT;
	uint64_t n = 0;
	size_t len = 0;

	if (commitment == NULL || line == NULL || !canon_number(number, PIN_SHARES_MAX, &n) ||
	    n != s->count + 1 || strlen(person) >= sizeof h->person ||
	    !canon_hex(key, h->key_sha256, sizeof h->key_sha256) ||
	    !canon_hex(commitment, h->commitment, sizeof h->commitment) ||
	    !base64_decode((struct bytes){(const uint8_t *)line, strlen(line)}, false, h->sealed,
		sizeof h->sealed, &len, &ignored) ||
	    len != sealed_len(s))
		return false;
	memcpy(h->person, person, strlen(person) + 1);
	s->count++;
	return true;
}

static bool
read_values(struct canon_reader *r, void *to, struct error *err)
{
	struct pin_shares *s = to;
	uint64_t need, length;
	char *v;

	if (!canon_take_text(r, "token", s->token, sizeof s->token, err) ||
	    !canon_take_hex(r, "split", s->split, sizeof s->split, NULL, err) ||
	    !canon_take_time(r, "made", &s->made, err) ||
	    !canon_take_number(r, "need", PIN_SHARES_MAX, &need, err) ||
	    !canon_take_number(r, "length", PIN_SHARE_MAX_LEN, &length, err))
		return false;
	s->need = (unsigned)need;
	s->length = (size_t)length;
	while (canon_next_is(r, "holder")) {
		if (s->count == PIN_SHARES_MAX)
			return error_set(
			    err, ERROR_LIMIT, WHAT ": more than %d holders", PIN_SHARES_MAX);
		if (!canon_take(r, "holder", &v, err))
			return false;
		if (!read_holder(s, v))
			return error_set(
			    err, ERROR_INPUT, WHAT ", line %u: is no holder", r->line - 1);
	}
	return true;
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return pin_shares_format(from, text, len, err);
}

bool
pin_shares_parse(const char *text, size_t len, struct pin_shares *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-pin-shares", PIN_SHARES_TEXT_MAX, read_values, write_again};

	*out = (struct pin_shares){0};
	return canon_parse(&form, text, len, out, err);
}

unsigned
pin_shares_find(const struct pin_shares *s, const uint8_t key_sha256[32])
{
	for (size_t i = 0; i < s->count; i++)
		if (memcmp(s->holders[i].key_sha256, key_sha256, 32) == 0)
			return (unsigned)i + 1;
	return 0;
}

/* ---- one share */

static bool
commit(const struct pin_shares *s, unsigned number, const uint8_t *share, uint8_t out[32])
{
	uint8_t octet = (uint8_t)number;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok;

	ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(md, domain, sizeof domain) == 1 &&
	     EVP_DigestUpdate(md, s->split, sizeof s->split) == 1 &&
	     EVP_DigestUpdate(md, &octet, 1) == 1 && EVP_DigestUpdate(md, share, s->length) == 1 &&
	     EVP_DigestFinal_ex(md, out, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok;
}

bool
pin_share_check(const struct pin_shares *s, unsigned number, struct bytes share)
{
	uint8_t digest[32];

	return number >= 1 && number <= s->count && share.len == s->length &&
	       commit(s, number, share.p, digest) &&
	       CRYPTO_memcmp(digest, s->holders[number - 1].commitment, sizeof digest) == 0;
}

/* What a share's encryption is bound to. */
static void
make_info(const struct pin_shares *s, unsigned number, uint8_t info[INFO_LEN])
{
	memcpy(info, domain, sizeof domain);
	memcpy(info + sizeof domain, s->split, sizeof s->split);
	info[sizeof domain + sizeof s->split] = (uint8_t)number;
	memcpy(info + sizeof domain + sizeof s->split + 1, s->holders[number - 1].key_sha256, 32);
}

static bool
derive(const struct pin_shares *s, unsigned number, EVP_PKEY *own, EVP_PKEY *peer,
    uint8_t material[SEAL_MATERIAL_LEN])
{
	const struct pin_holder *h = &s->holders[number - 1];
	uint8_t shared[SEAL_SHARED_LEN], info[INFO_LEN];
	bool ok;

	make_info(s, number, info);
	ok = seal_agree(own, peer, shared) &&
	     seal_derive(shared, (struct bytes){h->sealed, PIN_SHARE_ENC_LEN},
		 (struct bytes){info, sizeof info}, material);
	OPENSSL_cleanse(shared, sizeof shared);
	return ok;
}

static EVP_PKEY *
p256_key(struct bytes spki, struct error *err)
{
	const unsigned char *p = spki.p;
	EVP_PKEY *key;

	if (!statement_check_key(spki.p, spki.len, err))
		return NULL;
	key = spki.len == PIN_SHARE_ENC_LEN ? d2i_PUBKEY(NULL, &p, (long)spki.len) : NULL;
	if (key == NULL)
		(void)error_set(err, ERROR_INPUT,
		    "a share of a PIN can only be encrypted to a P-256 key (Ed25519 has no key "
		    "agreement)");
	return key;
}

bool
pin_share_check_key(struct bytes spki, struct error *err)
{
	EVP_PKEY *key = p256_key(spki, err);

	EVP_PKEY_free(key);
	return key != NULL;
}

bool
pin_share_seal(struct pin_shares *s, unsigned number, struct bytes spki, const uint8_t *share,
    struct error *err)
{
	struct pin_holder *h = &s->holders[number - 1];
	uint8_t material[SEAL_MATERIAL_LEN], enc[STATEMENT_SPKI_MAX];
	EVP_PKEY *peer = p256_key(spki, err), *own = NULL;
	size_t enc_len = 0;
	bool ok = false;

	if (peer == NULL)
		return false;
	own = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	if (own != NULL && statement_public_key(own, enc, &enc_len, err) &&
	    enc_len == PIN_SHARE_ENC_LEN) {
		memcpy(h->sealed, enc, enc_len);
		ok = commit(s, number, share, h->commitment) &&
		     derive(s, number, own, peer, material) &&
		     seal_encrypt(material, (struct bytes){h->commitment, sizeof h->commitment},
			 (struct bytes){share, s->length}, h->sealed + PIN_SHARE_ENC_LEN);
	}
	if (!ok)
		(void)error_set_openssl(err, ERROR_INTERNAL, "a share could not be encrypted");
	OPENSSL_cleanse(material, sizeof material);
	EVP_PKEY_free(own);
	EVP_PKEY_free(peer);
	return ok;
}

bool
pin_share_open(const struct pin_shares *s, unsigned number, EVP_PKEY *key,
    uint8_t share[PIN_SHARE_MAX_LEN], struct error *err)
{
	const struct pin_holder *h = &s->holders[number - 1];
	uint8_t material[SEAL_MATERIAL_LEN];
	struct error ignored = ERROR_INIT;
	EVP_PKEY *peer = p256_key((struct bytes){h->sealed, PIN_SHARE_ENC_LEN}, &ignored);
	bool ok;

	memset(share, 0, PIN_SHARE_MAX_LEN);
	ok = peer != NULL && derive(s, number, key, peer, material) &&
	     seal_decrypt(material, (struct bytes){h->commitment, sizeof h->commitment},
		 (struct bytes){h->sealed + PIN_SHARE_ENC_LEN, s->length + SEAL_TAG_LEN}, share) &&
	     pin_share_check(s, number, (struct bytes){share, s->length});
	if (!ok)
		OPENSSL_cleanse(share, PIN_SHARE_MAX_LEN);
	OPENSSL_cleanse(material, sizeof material);
	EVP_PKEY_free(peer);
	ERR_clear_error();
	return ok || error_set(err, ERROR_DENIED,
			 "share %u of the PIN does not open with this key, or is not what was "
			 "committed to",
			 number);
}
