#include "pkcs11/key_adopt.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "pkcs11/key_int.h"
#include "pkcs11/limits.h"
#include "pkcs11/store.h"

/* ---- root's leave */

#define NOTE_NAME_MAX 80

static void
note_name(const uint8_t document_sha256[32], char out[NOTE_NAME_MAX])
{
	char hex[65];

	hex_encode(document_sha256, 32, hex);
	(void)snprintf(out, NOTE_NAME_MAX, "adopt-%s", hex);
}

bool
key_adopt_allow(const char *state_dir, const uint8_t document_sha256[32], struct error *e)
{
	char name[NOTE_NAME_MAX];

	note_name(document_sha256, name);
	return store_write(state_dir, name, "allowed\n", strlen("allowed\n"), true, e);
}

bool
key_adopt_check_allowed(const char *state_dir, const uint8_t document_sha256[32], struct error *e)
{
	char name[NOTE_NAME_MAX], text[16], hex[65];
	struct error why = ERROR_INIT;
	size_t len;

	note_name(document_sha256, name);
	if (store_read(state_dir, name, text, sizeof text, &len, &why))
		return true;
	if (why.code != ERROR_NOT_FOUND)
		return error_set(e, why.code, "%s", why.text);
	hex_encode(document_sha256, 32, hex);
	return error_set(e, ERROR_UNAVAILABLE,
	    "the key is there already, and root of the signer's host has to agree that these "
	    "limits "
	    "take it over: chancery-signer --adopt %s",
	    hex);
}

bool
key_adopt_forget(const char *state_dir, const uint8_t document_sha256[32], struct error *e)
{
	char name[NOTE_NAME_MAX];

	note_name(document_sha256, name);
	return store_remove(state_dir, name, e);
}

/* ---- the pair */

struct found {
	CK_OBJECT_HANDLE public_key, private_key;
	uint8_t id[SIGNPROTO_ID_MAX]; /* of the public half */
	size_t id_len;
};

static bool
is_wanted(struct session *s, CK_OBJECT_HANDLE handle, const uint8_t wanted[32])
{
	struct error ignored = ERROR_INIT;
	struct key key = {0};
	uint8_t digest[32];
	bool same;

	/* Keys of other kinds are on tokens as well. */
	same = key_read_public(s, handle, &key, &ignored) &&
	       spki_sha256(&key.spki, digest, &ignored) && memcmp(digest, wanted, 32) == 0;
	key_clear(&key);
	return same;
}

bool
key_is_there(struct session *s, const uint8_t wanted[32], bool *there, struct error *e)
{
	CK_OBJECT_HANDLE all[KEY_OBJECTS_MAX];
	CK_ULONG count;

	*there = false;
	if (!key_list_objects(s, CKO_PUBLIC_KEY, all, &count, e))
		return false;
	for (CK_ULONG i = 0; i < count && !*there; i++)
		*there = is_wanted(s, all[i], wanted);
	return true;
}

bool
key_find_public(
    struct session *s, const uint8_t wanted[32], CK_OBJECT_HANDLE *handle, struct error *e)
{
	CK_OBJECT_HANDLE all[KEY_OBJECTS_MAX];
	CK_ULONG count;
	unsigned n = 0;

	if (!key_list_objects(s, CKO_PUBLIC_KEY, all, &count, e))
		return false;
	for (CK_ULONG i = 0; i < count; i++) {
		if (!is_wanted(s, all[i], wanted))
			continue;
		*handle = all[i];
		n++;
	}
	if (n == 0)
		return error_set(e, ERROR_NOT_FOUND,
		    "the token has no public key with the SHA-256 that was named; where only the "
		    "private one is there, the vendor's tools make the public one");
	if (n > 1)
		return error_set(e, ERROR_CONFLICT, "the token has that public key %u times", n);
	return true;
}

/* The private half has the id of the public one; or the new one, when it got that
 * before a crash. */
static bool
find_private(struct session *s, const struct key_wanted *w, struct found *f, struct error *e)
{
	const struct bytes ids[] = {{f->id, f->id_len}, {w->id, KEY_ID_LEN}};

	for (size_t i = 0; i < COUNT_OF(ids) && f->private_key == CK_INVALID_HANDLE; i++) {
		if (ids[i].len > 0 && !key_find_private(s, ids[i], &f->private_key, e))
			return false;
	}
	return f->private_key != CK_INVALID_HANDLE ||
	       error_set(e, ERROR_NOT_FOUND,
		   "the token has the public key that the limits name, and no private key with the "
		   "same CKA_ID");
}

static bool
set_id(struct session *s, CK_OBJECT_HANDLE handle, const uint8_t *id, struct error *e)
{
	CK_ATTRIBUTE a = {CKA_ID, (void *)(uintptr_t)id, KEY_ID_LEN};
	CK_RV rv = s->f->C_SetAttributeValue(s->handle, handle, &a, 1);

	return rv == CKR_OK || session_error(s, rv, e,
				   "the token does not let the key have the CKA_ID of its limits");
}

bool
key_adopt(struct session *s, const uint8_t digest[32], const struct key_wanted *w, struct key *key,
    struct error *e)
{
	struct found f = {.public_key = CK_INVALID_HANDLE, .private_key = CK_INVALID_HANDLE};

	*key = (struct key){0};
	if (!key_find_public(s, digest, &f.public_key, e) ||
	    !key_read_id(s, f.public_key, f.id, &f.id_len, e) || !find_private(s, w, &f, e))
		return false;
	key->private_key = f.private_key;
	if (!key_read_public(s, f.public_key, key, e) || !key_check_adopted(s, key, e))
		goto fail;
	if (key->alg != w->alg) {
		(void)error_set(e, ERROR_INPUT, "the key on the token is %s, and its limits say %s",
		    key_alg_name(key->alg), key_alg_name(w->alg));
		goto fail;
	}
	key_read_always_authenticate(s, key);
	/* Its private half shows itself by signing what the public one verifies. */
	if (key_try(s, w, key, e) && set_id(s, f.private_key, w->id, e) &&
	    set_id(s, f.public_key, w->id, e))
		return true;
fail:
	key_clear(key);
	return false;
}
