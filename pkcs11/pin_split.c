#include "pkcs11/pin_split.h"

#include <stdlib.h>
#include <string.h>

#include <libgfshare.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "pkcs11/store.h"

/* Letters and digits, as every token takes them: 190 bits. */
#define PIN_LEN 32
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/* A split that can be guessed is none. */
static void
fill(unsigned char *octets, unsigned int len)
{
	if (RAND_bytes(octets, (int)len) != 1)
		abort();
}

/* ---- the files */

bool
pin_split_read(const char *state_dir, const char *file, struct pin_shares *shares, struct error *e)
{
	char text[PIN_SHARES_TEXT_MAX];
	size_t len;

	return store_read(state_dir, file, text, sizeof text, &len, e) &&
	       (pin_shares_parse(text, len, shares, e) || error_wrap(e, "%s/%s", state_dir, file));
}

void
pin_split_text(const char *state_dir, char text[PIN_SHARES_TEXT_MAX + 1])
{
	struct error ignored = ERROR_INIT;
	size_t len = 0;

	if (!store_read(state_dir, PIN_SHARES_NEXT, text, PIN_SHARES_TEXT_MAX, &len, &ignored) &&
	    !store_read(state_dir, PIN_SHARES_FILE, text, PIN_SHARES_TEXT_MAX, &len, &ignored))
		len = 0;
	text[len] = '\0';
}

bool
pin_split_keep(const char *state_dir, const struct pin_shares *s, struct error *e)
{
	char text[PIN_SHARES_TEXT_MAX + 1], again[PIN_SHARES_TEXT_MAX];
	size_t len = 0, again_len = 0;

	if (!pin_shares_format(s, text, &len, e) ||
	    !store_write(state_dir, PIN_SHARES_NEXT, text, len, true, e) ||
	    !store_read(state_dir, PIN_SHARES_NEXT, again, sizeof again, &again_len, e))
		return false;
	return (again_len == len && memcmp(again, text, len) == 0) ||
	       error_set(e, ERROR_SYSTEM, "%s/" PIN_SHARES_NEXT " does not read as it was written",
		   state_dir);
}

bool
pin_split_is_open(const char *state_dir)
{
	struct error why = ERROR_INIT;
	struct pin_shares s;

	return pin_split_read(state_dir, PIN_SHARES_NEXT, &s, &why) || why.code != ERROR_NOT_FOUND;
}

bool
pin_split_settle(const char *state_dir, bool next, struct error *e)
{
	char text[PIN_SHARES_TEXT_MAX];
	struct error why = ERROR_INIT;
	size_t len = 0;

	if (!store_read(state_dir, PIN_SHARES_NEXT, text, sizeof text, &len, &why))
		return why.code == ERROR_NOT_FOUND || error_set(e, why.code, "%s", why.text);
	return (!next || store_write(state_dir, PIN_SHARES_FILE, text, len, true, e)) &&
	       store_remove(state_dir, PIN_SHARES_NEXT, e);
}

/* ---- the arithmetic */

static bool
split(struct pin_shares *s, const struct pin *pin, uint8_t octets[][PIN_SHARE_MAX_LEN])
{
	unsigned char numbers[PIN_SHARES_MAX];
	gfshare_ctx *ctx;

	gfshare_fill_rand = fill;
	for (unsigned i = 0; i < s->count; i++)
		numbers[i] = (unsigned char)(i + 1);
	ctx = gfshare_ctx_init_enc(
	    numbers, (unsigned)s->count, (unsigned char)s->need, (unsigned)s->length);
	if (ctx == NULL)
		return false;
	gfshare_ctx_enc_setsecret(ctx, (unsigned char *)pin->text);
	for (unsigned i = 0; i < s->count; i++)
		gfshare_ctx_enc_getshare(ctx, (unsigned char)i, octets[i]);
	gfshare_ctx_free(ctx);
	return true;
}

bool
pin_split_combine(const struct pin_shares *s, const uint8_t *numbers,
    const uint8_t (*octets)[PIN_SHARE_MAX_LEN], struct pin *pin, struct error *e)
{
	unsigned char copy[PIN_SHARES_MAX], share[PIN_SHARE_MAX_LEN];
	gfshare_ctx *ctx;

	gfshare_fill_rand = fill;
	memcpy(copy, numbers, s->need);
	ctx = gfshare_ctx_init_dec(copy, s->need, (unsigned)s->length);
	if (ctx == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the shares of a PIN");
	for (unsigned i = 0; i < s->need; i++) {
		memcpy(share, octets[i], s->length);
		gfshare_ctx_dec_giveshare(ctx, (unsigned char)i, share);
	}
	gfshare_ctx_dec_extract(ctx, (unsigned char *)pin->text);
	pin->len = s->length;
	gfshare_ctx_free(ctx);
	OPENSSL_cleanse(share, sizeof share);
	return true;
}

/* ---- making one */

bool
pin_split_make_pin(const struct token_info *info, struct pin *pin, struct error *e)
{
	const unsigned span = sizeof alphabet - 1, limit = 256 - 256 % span;
	size_t len = info->pin_max > 0 && info->pin_max < PIN_LEN ? info->pin_max : PIN_LEN;
	uint8_t octet;

	if (info->pin_min > len)
		len = info->pin_min;
	if (len < PIN_SHARE_MIN_LEN || len > PIN_SHARE_MAX_LEN)
		return error_set(e, ERROR_LIMIT, "the token takes no PIN of %d to %d characters",
		    PIN_SHARE_MIN_LEN, PIN_SHARE_MAX_LEN);
	if (!pin_make(pin, e))
		return false;
	while (pin->len < len) {
		fill(&octet, 1);
		if (octet < limit)
			pin->text[pin->len++] = alphabet[octet % span];
	}
	OPENSSL_cleanse(&octet, sizeof octet);
	return true;
}

static bool
seal(const struct access *a, const struct pin_envelope *env, uint8_t octets[][PIN_SHARE_MAX_LEN],
    struct pin_shares *s, struct error *e)
{
	for (unsigned i = 0; i < s->count; i++) {
		const struct access_operator *o = access_find_person(a, env->holders[i]);

		memcpy(s->holders[i].person, o->name, sizeof s->holders[i].person);
		memcpy(s->holders[i].key_sha256, o->key_sha256, sizeof o->key_sha256);
		if (!pin_share_seal(s, i + 1, (struct bytes){o->spki, o->spki_len}, octets[i], e))
			return error_wrap(e, "share of %s", o->name);
	}
	return true;
}

bool
pin_split_make_shares(const struct access *access, const struct pin_envelope *env,
    const struct pin *pin, int64_t now, struct pin_shares *s, struct error *e)
{
	uint8_t octets[PIN_SHARES_MAX][PIN_SHARE_MAX_LEN] = {{0}};
	bool ok;

	*s = (struct pin_shares){
	    .made = now, .need = env->need, .length = pin->len, .count = env->holder_count};
	memcpy(s->token, env->token, sizeof s->token);
	fill(s->split, sizeof s->split);
	ok = split(s, pin, octets)
		 ? seal(access, env, octets, s, e)
		 : error_set(e, ERROR_SYSTEM, "no memory for the shares of a PIN");
	OPENSSL_cleanse(octets, sizeof octets);
	return ok;
}
