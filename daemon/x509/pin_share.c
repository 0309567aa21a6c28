#include "daemon/x509/pin_share.h"

#include <stdlib.h>
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
	canon_put(&w, "chancery-pin-shares: 1\ntoken: %s\nsplit: ", s->token);
	canon_put_hex(&w, s->split, sizeof s->split);
	canon_put(&w, "\nmade: %s\nneed: %u\nlength: %zu\n", made, s->need, s->length);
	for (size_t i = 0; i < s->count; i++) {
		const struct pin_holder *h = &s->holders[i];

		canon_put(&w, "holder: %zu %s ", i + 1, h->person);
		canon_put_hex(&w, h->key_sha256, sizeof h->key_sha256);
		canon_put(&w, " ");
		canon_put_hex(&w, h->commitment, sizeof h->commitment);
		(void)EVP_EncodeBlock((unsigned char *)sealed, h->sealed, (int)sealed_len(s));
		canon_put(&w, " %s\n", sealed);
	}
	*len = w.len;
	return !w.failed ||
	       error_set(err, ERROR_LIMIT, WHAT " of more than %d bytes", PIN_SHARES_TEXT_MAX);
}

static bool
take_number(struct canon_reader *r, const char *key, uint64_t max, uint64_t *n, struct error *err)
{
	char *v;

	return canon_take(r, key, &v, err) &&
	       (canon_number(v, max, n) ||
		   error_set(err, ERROR_INPUT, WHAT ", field '%s': must be a number up to %llu",
		       key, (unsigned long long)max));
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
take_values(char *text, struct pin_shares *s, struct error *err)
{
	struct canon_reader r;
	uint64_t need, length;
	char *v;

	canon_reader_init(&r, text, WHAT);
	if (!canon_take(&r, "chancery-pin-shares", &v, err))
		return false;
	if (strcmp(v, "1") != 0)
		return error_set(
		    err, ERROR_INPUT, WHAT " of version '%.20s'; this program knows version 1", v);
	if (!canon_take(&r, "token", &v, err))
		return false;
	if (strlen(v) >= sizeof s->token)
		return error_set(err, ERROR_INPUT, WHAT ": the token's name is too long");
	memcpy(s->token, v, strlen(v) + 1);
	if (!canon_take(&r, "split", &v, err))
		return false;
	if (!canon_hex(v, s->split, sizeof s->split))
		return error_set(err, ERROR_INPUT, WHAT ", field 'split': must be 32 hex digits");
	if (!canon_take(&r, "made", &v, err))
		return false;
	if (!canon_time(v, &s->made))
		return error_set(err, ERROR_INPUT, WHAT ", field 'made': must be a time");
	if (!take_number(&r, "need", PIN_SHARES_MAX, &need, err) ||
	    !take_number(&r, "length", PIN_SHARE_MAX_LEN, &length, err))
		return false;
	s->need = (unsigned)need;
	s->length = (size_t)length;
	while (canon_next_is(&r, "holder")) {
		if (s->count == PIN_SHARES_MAX)
			return error_set(
			    err, ERROR_LIMIT, WHAT ": more than %d holders", PIN_SHARES_MAX);
		if (!canon_take(&r, "holder", &v, err))
			return false;
		if (!read_holder(s, v))
			return error_set(
			    err, ERROR_INPUT, WHAT ", line %u: is no holder", r.line - 1);
	}
	return canon_end(&r, err);
}

bool
pin_shares_parse(const char *text, size_t len, struct pin_shares *out, struct error *err)
{
	char *copy = NULL, *again = NULL;
	size_t again_len = 0;
	bool ok = false;

	if (len > PIN_SHARES_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, WHAT " of %zu bytes; allowed: at most %d", len,
		    PIN_SHARES_TEXT_MAX);
	if (len == 0 || memchr(text, '\0', len) != NULL)
		return error_set(err, ERROR_INPUT, WHAT " that are empty or have a NUL byte");
	copy = malloc(len + 1);
	again = malloc(PIN_SHARES_TEXT_MAX + 1);
	if (copy == NULL || again == NULL) {
		(void)error_set(err, ERROR_SYSTEM, "no memory for " WHAT);
		goto out;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	*out = (struct pin_shares){0};
	if (!take_values(copy, out, err) || !pin_shares_format(out, again, &again_len, err))
		goto out;
	if (again_len != len || memcmp(again, text, len) != 0) {
		(void)error_set(err, ERROR_INPUT, WHAT " not in their one canonical form");
		goto out;
	}
	ok = true;
out:
	free(copy);
	free(again);
	return ok;
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
