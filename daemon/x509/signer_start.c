#include "daemon/x509/signer_start.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/core/encode.h"

#define WHAT "signer's announcement"
#define KEY_LEN 32
#define KEY_SPKI_LEN 44
#define KEY_TEXT_LEN 60 /* base64 of that */

/* A SubjectPublicKeyInfo of these kinds has one DER form: this, then the key (RFC
 * 8410 4). */
static const uint8_t x25519_head[] = {
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00};
static const uint8_t ed25519_head[] = {
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

/* With its NUL: so no text can be taken for the tag of another domain. */
static const char domain[] = "chancery-signer-start";

static const char *const access_names[] = {
    [SIGNER_ACCESS_AUTO] = "auto",
    [SIGNER_ACCESS_SESSION] = "session",
    [SIGNER_ACCESS_OPERATION] = "operation",
};

const char *
signer_access_name(enum signer_access access)
{
	return (unsigned)access < COUNT_OF(access_names) ? access_names[access] : "?";
}

bool
signer_access_parse(const char *word, enum signer_access *access)
{
	for (size_t i = 0; i < COUNT_OF(access_names); i++)
		if (strcmp(access_names[i], word) == 0) {
			*access = (enum signer_access)i;
			return true;
		}
	return false;
}

static bool
fail(struct error *err, const char *field, const char *rule)
{
	return error_set(err, ERROR_INPUT, WHAT ", field '%s': %s", field, rule);
}

/* As tokens have it: printable, no blanks at the ends, and not what stands for
 * nothing. */
static bool
serial_valid(const char *s)
{
	size_t len = strlen(s);

	if (len == 0)
		return true;
	if (len > SIGNER_START_SERIAL_MAX || s[0] == ' ' || s[len - 1] == ' ' ||
	    strcmp(s, "-") == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] > 0x7e)
			return false;
	return true;
}

static bool
check(const struct signer_start *s, struct error *err)
{
	if (!canon_is_name(s->token, "-", true))
		return fail(err, "token", "must be a token's name: [a-z0-9-], at most 64");
	if (!serial_valid(s->token_serial))
		return fail(err, "token-serial", "must be printable, or '-'");
	if (s->access != SIGNER_ACCESS_SESSION && s->access != SIGNER_ACCESS_OPERATION)
		return fail(err, "access", "must be session or operation");
	if (!canon_time_valid(s->started))
		return fail(err, "started", "is outside the years 2000 to 9999");
	return true;
}

bool
signer_start_format(const struct signer_start *s, char out[SIGNER_START_TEXT_MAX + 1], size_t *len,
    struct error *err)
{
	uint8_t spki[KEY_SPKI_LEN];
	char key[KEY_TEXT_LEN + 1], started[CANON_TIME_SIZE];
	struct canon_writer w;

	if (!check(s, err))
		return false;
	memcpy(spki, x25519_head, sizeof x25519_head);
	memcpy(spki + sizeof x25519_head, s->key, KEY_LEN);
	(void)EVP_EncodeBlock((unsigned char *)key, spki, sizeof spki);
	canon_time_text(s->started, started);
	canon_writer_init(&w, out, SIGNER_START_TEXT_MAX + 1);
	canon_put(&w, "chancery-signer-start: 1\ntoken: %s\ntoken-serial: %s\n", s->token,
	    s->token_serial[0] != '\0' ? s->token_serial : "-");
	canon_put(&w, "signer-id: %u\naccess: %s\n", s->signer_id, signer_access_name(s->access));
	canon_put_hex_line(&w, "instance", true, s->instance, sizeof s->instance);
	canon_put(&w, "key: %s\nstarted: %s\n", key, started);
	return canon_written(&w, WHAT, len, err);
}

static bool
take_key(struct canon_reader *r, uint8_t key[KEY_LEN], struct error *err)
{
	uint8_t spki[KEY_SPKI_LEN];
	size_t len = 0;
	char *v;

	if (!canon_take(r, "key", &v, err))
		return false;
	if (!base64_decode(
		(struct bytes){(const uint8_t *)v, strlen(v)}, false, spki, sizeof spki, &len, err))
		return error_wrap(err, WHAT ", field 'key'");
	if (len != sizeof spki || memcmp(spki, x25519_head, sizeof x25519_head) != 0)
		return fail(err, "key", "must be an X25519 key (RFC 8410)");
	memcpy(key, spki + sizeof x25519_head, KEY_LEN);
	return true;
}

static bool
take_serial(struct canon_reader *r, struct signer_start *s, struct error *err)
{
	if (!canon_take_text(r, "token-serial", s->token_serial, sizeof s->token_serial, err))
		return false;
	if (strcmp(s->token_serial, "-") == 0)
		s->token_serial[0] = '\0';
	return true;
}

static bool
take_access(struct canon_reader *r, struct signer_start *s, struct error *err)
{
	char *v;

	return canon_take(r, "access", &v, err) &&
	       (signer_access_parse(v, &s->access) ||
		   fail(err, "access", "must be session or operation"));
}

static bool
read_values(struct canon_reader *r, void *to, struct error *err)
{
	struct signer_start *s = to;
	uint64_t id = 0;

	if (!canon_take_text(r, "token", s->token, sizeof s->token, err) ||
	    !take_serial(r, s, err) || !canon_take_number(r, "signer-id", UINT16_MAX, &id, err))
		return false;
	s->signer_id = (uint16_t)id;
	return take_access(r, s, err) &&
	       canon_take_hex(r, "instance", s->instance, sizeof s->instance, NULL, err) &&
	       take_key(r, s->key, err) && canon_take_time(r, "started", &s->started, err);
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return signer_start_format(from, text, len, err);
}

bool
signer_start_parse(const char *text, size_t len, struct signer_start *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-signer-start", SIGNER_START_TEXT_MAX, read_values, write_again};
	struct signer_start s = {0};

	if (!canon_parse(&form, text, len, &s, err))
		return false;
	*out = s;
	return true;
}

/* ---- signatures */

#define IDENTITY "signer's identity key"
#define SIGNED_MAX (64 + SIGNER_IDENTITY_TEXT_MAX)

/* The tag with its NUL, then the text. */
static bool
put_message(const char *tag, const char *text, size_t len, uint8_t out[SIGNED_MAX], size_t *out_len,
    struct error *err)
{
	size_t tag_len = strlen(tag) + 1;

	if (len > SIGNER_IDENTITY_TEXT_MAX || tag_len > SIGNED_MAX - SIGNER_IDENTITY_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, "%zu bytes to sign; allowed: at most %d", len,
		    SIGNER_IDENTITY_TEXT_MAX);
	memcpy(out, tag, tag_len);
	memcpy(out + tag_len, text, len);
	*out_len = tag_len + len;
	return true;
}

bool
signer_identity_sign(const char *tag, const char *text, size_t len, EVP_PKEY *identity,
    uint8_t sig[SIGNER_START_SIGNATURE_LEN], struct error *err)
{
	size_t sig_len = SIGNER_START_SIGNATURE_LEN, message_len = 0;
	uint8_t message[SIGNED_MAX];
	EVP_MD_CTX *ctx = NULL;
	bool ok = false;

	if (!put_message(tag, text, len, message, &message_len, err))
		return false;
	ctx = EVP_MD_CTX_new();
	if (ctx == NULL || !EVP_PKEY_is_a(identity, "ED25519") ||
	    EVP_DigestSignInit_ex(ctx, NULL, NULL, NULL, NULL, identity, NULL) != 1 ||
	    EVP_DigestSign(ctx, sig, &sig_len, message, message_len) != 1 ||
	    sig_len != SIGNER_START_SIGNATURE_LEN)
		(void)error_set_openssl(err, ERROR_INTERNAL, "the " IDENTITY " does not sign");
	else
		ok = true;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool
signer_identity_verify(const char *tag, const char *text, size_t len, const uint8_t *sig,
    size_t sig_len, const uint8_t *spki, size_t spki_len, struct error *err)
{
	uint8_t message[SIGNED_MAX];
	size_t message_len = 0;
	EVP_MD_CTX *ctx = NULL;
	EVP_PKEY *key = NULL;
	bool ok = false;

	if (!put_message(tag, text, len, message, &message_len, err))
		return false;
	if (spki_len != SIGNER_IDENTITY_SPKI_LEN || sig_len != SIGNER_START_SIGNATURE_LEN ||
	    memcmp(spki, ed25519_head, sizeof ed25519_head) != 0)
		return error_set(err, ERROR_INPUT, "a " IDENTITY " is Ed25519 (RFC 8410)");
	key = EVP_PKEY_new_raw_public_key(
	    EVP_PKEY_ED25519, NULL, spki + sizeof ed25519_head, KEY_LEN);
	ctx = EVP_MD_CTX_new();
	if (key == NULL || ctx == NULL ||
	    EVP_DigestVerifyInit_ex(ctx, NULL, NULL, NULL, NULL, key, NULL) != 1)
		(void)error_set_openssl(err, ERROR_INTERNAL, "a signature could not be verified");
	else if (EVP_DigestVerify(ctx, sig, sig_len, message, message_len) != 1)
		(void)error_set(err, ERROR_DENIED, "its signature is not that of the " IDENTITY);
	else
		ok = true;
	ERR_clear_error();
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return ok;
}

bool
signer_start_sign(const char *text, size_t len, EVP_PKEY *identity,
    uint8_t sig[SIGNER_START_SIGNATURE_LEN], struct error *err)
{
	return signer_identity_sign(domain, text, len, identity, sig, err) || error_wrap(err, WHAT);
}

bool
signer_start_verify(const char *text, size_t len, const uint8_t *sig, size_t sig_len,
    const uint8_t *spki, size_t spki_len, struct error *err)
{
	return signer_identity_verify(domain, text, len, sig, sig_len, spki, spki_len, err) ||
	       error_wrap(err, WHAT);
}

void
signer_identity_fingerprint(const uint8_t *spki, size_t spki_len, uint8_t out[32])
{
	(void)SHA256(spki, spki_len, out);
}
