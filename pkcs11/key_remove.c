#include "pkcs11/key_remove.h"

#include <stdlib.h>
#include <string.h>

#include "pkcs11/key_int.h"
#include "pkcs11/limits.h"

/* By the key itself, and by the id that limits gave it. */
static bool
check_unowned(const char *state_dir, struct bytes id, const uint8_t digest[32], struct error *e)
{
	uint8_t(*digests)[32] = NULL;
	size_t count = 0;
	bool ok;

	if (id.len == KEY_ID_LEN && key_limits_is_known(state_dir, id.p))
		return error_set(e, ERROR_DENIED,
		    "there are limits for this key: it is its CA's, and is not destroyed by hand");
	ok = key_limits_list_keys(state_dir, &digests, &count, e);
	for (size_t i = 0; i < count && ok; i++)
		ok = memcmp(digests[i], digest, 32) != 0 ||
		     error_set(e, ERROR_DENIED,
			 "there are limits for this key: it is its CA's, and is not destroyed by "
			 "hand");
	free(digests);
	return ok;
}

static bool
read_label(struct session *s, struct key_remains *key, struct error *e)
{
	CK_ATTRIBUTE a = {CKA_LABEL, key->label, KEY_LABEL_MAX};
	CK_RV rv = s->f->C_GetAttributeValue(s->handle,
	    key->private_key != CK_INVALID_HANDLE ? key->private_key : key->public_key, &a, 1);

	if (rv != CKR_OK || a.ulValueLen > KEY_LABEL_MAX)
		return error_set(e, ERROR_INPUT, "the key has no label that could be compared");
	key->label[a.ulValueLen] = '\0';
	return true;
}

bool
key_find_unowned(struct session *s, const char *state_dir, const uint8_t digest[32],
    struct key_remains *key, struct error *e)
{
	*key = (struct key_remains){CK_INVALID_HANDLE, CK_INVALID_HANDLE, .id_len = 0};
	return key_find_public(s, digest, &key->public_key, e) &&
	       key_read_id(s, key->public_key, key->id, &key->id_len, e) &&
	       check_unowned(state_dir, (struct bytes){key->id, key->id_len}, digest, e) &&
	       (key->id_len == 0 || key_find_private(s, (struct bytes){key->id, key->id_len},
					&key->private_key, e)) &&
	       read_label(s, key, e);
}

bool
key_find_remains(struct session *s, struct bytes id, struct key_remains *key, struct error *e)
{
	*key = (struct key_remains){CK_INVALID_HANDLE, CK_INVALID_HANDLE, .id_len = id.len};
	if (id.len > sizeof key->id)
		return error_set(e, ERROR_INTERNAL, "a CKA_ID of %zu octets", id.len);
	memcpy(key->id, id.p, id.len);
	if (!key_find_private(s, id, &key->private_key, e) ||
	    !key_find_public_half(s, id, &key->public_key, e))
		return false;
	return (key->private_key == CK_INVALID_HANDLE && key->public_key == CK_INVALID_HANDLE) ||
	       read_label(s, key, e);
}

bool
key_remove(struct session *s, const struct key_remains *key, struct error *e)
{
	const struct {
		CK_OBJECT_CLASS class;
		CK_OBJECT_HANDLE handle;
	} halves[] = {{CKO_PRIVATE_KEY, key->private_key}, {CKO_PUBLIC_KEY, key->public_key}};

	for (size_t i = 0; i < COUNT_OF(halves); i++) {
		CK_RV rv = CKR_OK;

		if (halves[i].handle == CK_INVALID_HANDLE)
			continue;
		if (!session_check_object(s, halves[i].handle, halves[i].class, CKA_ID,
			(struct bytes){key->id, key->id_len}, NULL, e))
			return false;
		rv = s->f->C_DestroyObject(s->handle, halves[i].handle);
		if (rv != CKR_OK)
			return session_error(s, rv, e, "the token does not destroy the key");
	}
	return true;
}
