#include "pkcs11/pin_split.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libgfshare.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "pkcs11/access.h"
#include "pkcs11/logins.h"
#include "pkcs11/store.h"
#include "pkcs11/token.h"

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

bool
pin_split_read(const char *state_dir, struct pin_shares *shares, struct error *e)
{
	char text[PIN_SHARES_TEXT_MAX];
	size_t len;

	return store_read(state_dir, PIN_SHARES_FILE, text, sizeof text, &len, e) &&
	       (pin_shares_parse(text, len, shares, e) ||
		   error_wrap(e, "%s/" PIN_SHARES_FILE, state_dir));
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

static bool
make_pin(const struct token_info *info, struct pin *pin, struct error *e)
{
	const unsigned span = sizeof alphabet - 1, limit = 256 - 256 % span;
	size_t len = info->pin_max > 0 && info->pin_max < PIN_LEN ? info->pin_max : PIN_LEN;
	uint8_t octet;

	if (!pin_make(pin, e))
		return false;
	if (info->pin_min > len)
		len = info->pin_min;
	if (len < PIN_SHARE_MIN_LEN || len > PIN_SHARE_MAX_LEN)
		return error_set(e, ERROR_LIMIT, "the token takes no PIN of %d to %d characters",
		    PIN_SHARE_MIN_LEN, PIN_SHARE_MAX_LEN);
	while (pin->len < len) {
		fill(&octet, 1);
		if (octet < limit)
			pin->text[pin->len++] = alphabet[octet % span];
	}
	OPENSSL_cleanse(&octet, sizeof octet);
	return true;
}

static bool
make_shares(const struct config_token *token, const struct access_operator *operators, size_t count,
    unsigned need, const struct pin *pin, struct pin_shares *s, struct error *e)
{
	uint8_t octets[PIN_SHARES_MAX][PIN_SHARE_MAX_LEN] = {{0}};
	bool ok = true;

	*s = (struct pin_shares){.need = need, .length = pin->len, .count = count};
	s->made = (int64_t)time(NULL);
	(void)snprintf(s->token, sizeof s->token, "%s", token->name);
	fill(s->split, sizeof s->split);
	if (need < 2 || need > count)
		return error_set(e, ERROR_USAGE,
		    "of %zu pin_operators at least 2 and at most all can be needed", count);
	if (!split(s, pin, octets))
		return error_set(e, ERROR_SYSTEM, "no memory for the shares of a PIN");
	for (unsigned i = 0; i < count && ok; i++) {
		const struct access_operator *o = &operators[i];

		memcpy(s->holders[i].person, o->name, sizeof s->holders[i].person);
		memcpy(s->holders[i].key_sha256, o->key_sha256, sizeof o->key_sha256);
		ok = pin_share_seal(s, i + 1, (struct bytes){o->spki, o->spki_len}, octets[i], e) ||
		     error_wrap(e, "share of %s", o->name);
	}
	OPENSSL_cleanse(octets, sizeof octets);
	return ok;
}

/* ---- the token */

static bool
record(struct logins *l, enum logins_event event, const char *detail, struct error *e)
{
	return logins_write(l, event, NULL, detail, (int64_t)time(NULL), e);
}

static bool
log_in(struct token *t, struct logins *l, const struct pin *pin, struct error *e)
{
	struct bytes octets = {(const uint8_t *)pin->text, pin->len};
	enum token_login end;
	const char *said;

	if (!token_check_login(t, pin->len, e) || !record(l, LOGINS_OPEN, "split", e))
		return false;
	end = token_login(t, octets, &said, e);
	if (end == TOKEN_LOGGED_IN)
		return record(l, LOGINS_OK, said, e);
	(void)record(l, end == TOKEN_PIN_WRONG ? LOGINS_WRONG : LOGINS_UNCLEAR, said, e);
	return false;
}

static bool
set_pin(struct token *t, const struct pin *old, const struct pin *fresh, struct error *e)
{
	const CK_FUNCTION_LIST *f = token_functions(t);
	struct session rw;
	CK_RV rv;

	if (!session_open(f, token_info(t)->slot, true, &rw, e))
		return false;
	rv = f->C_SetPIN(rw.handle, (unsigned char *)old->text, (CK_ULONG)old->len,
	    (unsigned char *)fresh->text, (CK_ULONG)fresh->len);
	if (rv != CKR_OK)
		(void)session_error(&rw, rv, e, "the token does not take the new PIN");
	session_close(&rw);
	return rv == CKR_OK;
}

static bool
change(struct token *t, struct logins *l, const char *state_dir, const struct pin *old,
    const struct pin *fresh, const struct pin_shares *s, FILE *out, struct error *e)
{
	char text[PIN_SHARES_TEXT_MAX + 1];
	size_t len = 0;

	if (!pin_shares_format(s, text, &len, e) || !log_in(t, l, old, e) ||
	    !store_write(state_dir, PIN_SHARES_NEXT, text, len, true, e))
		return false;
	/* Nobody knows what a token has done that fails: the shares stay. */
	if (!set_pin(t, old, fresh, e))
		return error_wrap(e,
		    "if the old PIN is no longer right, the shares of the new one "
		    "are in %s/%s",
		    state_dir, PIN_SHARES_NEXT);
	/* From here on only the shares open the token. */
	(void)fwrite(text, 1, len, out);
	(void)fflush(out);
	if (!token_logout(t, e) || !log_in(t, l, fresh, e))
		return error_wrap(e, "the token has a new PIN, whose shares are in %s/%s",
		    state_dir, PIN_SHARES_NEXT);
	return store_write(state_dir, PIN_SHARES_FILE, text, len, true, e) &&
	       store_remove(state_dir, PIN_SHARES_NEXT, e) && token_logout(t, e);
}

bool
pin_split_make(const struct config_token *config, const char *state_dir, unsigned need,
    const struct pin *old, FILE *out, struct error *e)
{
	struct access_operator *operators = NULL;
	struct pin_shares *shares = malloc(sizeof *shares);
	struct token *token = NULL;
	struct logins *logins = NULL;
	enum signproto_state state;
	char blocked[ERROR_TEXT_MAX];
	struct pin fresh = {0};
	size_t count = 0;
	bool ok = false;

	operators = calloc(CONFIG_PIN_OPERATORS_MAX, sizeof *operators);
	if (operators == NULL || shares == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for the shares of a PIN");
		goto out;
	}
	if (!access_read_operators(config, operators, &count, e))
		goto out;
	if (!logins_open(state_dir, &logins, e)) {
		(void)error_wrap(e, "a PIN is split while its signer is stopped");
		goto out;
	}
	if (logins_blocked(logins, blocked)) {
		(void)error_set(
		    e, ERROR_LOCKED, "token '%s' is blocked: %s", config->name, blocked);
		goto out;
	}
	ok = token_open(config, state_dir, &token, &state, e) &&
	     make_pin(token_info(token), &fresh, e) &&
	     make_shares(config, operators, count, need, &fresh, shares, e) &&
	     change(token, logins, state_dir, old, &fresh, shares, out, e);
out:
	token_close(token);
	logins_close(logins);
	pin_clear(&fresh);
	free(operators);
	free(shares);
	return ok;
}
