#include "pkcs11/key_list.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "pkcs11/key_int.h"
#include "pkcs11/limits.h"

#define LABEL_MAX 64

struct listed {
	char id[KEY_ID_TEXT_MAX];
	char label[LABEL_MAX + 1]; /* printable ASCII; what else there is comes as '?' */
	char spki[65];		   /* SHA-256 of the public key, or "-" */
	const char *kind;	   /* "p256" */
	char owner[160];
	bool leaves; /* the token may give the private key out */
};

static void
read_label(struct session *s, CK_OBJECT_HANDLE handle, struct listed *l)
{
	CK_ATTRIBUTE a = {CKA_LABEL, l->label, LABEL_MAX};
	size_t len = 0;

	if (s->f->C_GetAttributeValue(s->handle, handle, &a, 1) == CKR_OK &&
	    a.ulValueLen <= LABEL_MAX)
		len = a.ulValueLen;
	l->label[len] = '\0';
	for (size_t i = 0; i < len; i++) {
		if (l->label[i] < 0x20 || l->label[i] > 0x7e || l->label[i] == '"' ||
		    l->label[i] == '\\')
			l->label[i] = '?';
	}
}

static bool
has(struct session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type, CK_BBOOL wanted)
{
	CK_BBOOL value = 0xaa;
	CK_ATTRIBUTE a = {type, &value, sizeof value};

	return s->f->C_GetAttributeValue(s->handle, handle, &a, 1) == CKR_OK && value == wanted;
}

/* The CA by the limits of this host; a CKA_ID alone proves nothing. */
static void
find_owner(const char *state_dir, struct bytes id, const char *spki, struct listed *l)
{
	struct key_limits *limits = malloc(sizeof *limits);
	struct error why = ERROR_INIT;
	char hex[65];

	(void)snprintf(l->owner, sizeof l->owner, "nobody here: no limits are for it");
	if (limits == NULL || id.len != KEY_ID_LEN || !key_limits_is_known(state_dir, id.p))
		goto out;
	if (!key_limits_load(limits, state_dir, id, &why)) {
		(void)snprintf(l->owner, sizeof l->owner, "unclear: its limits are not valid");
		goto out;
	}
	hex_encode(limits->spki_sha256, sizeof limits->spki_sha256, hex);
	if (strcmp(hex, spki) == 0)
		(void)snprintf(l->owner, sizeof l->owner, "CA %s", limits->document.ca);
	else
		(void)snprintf(l->owner, sizeof l->owner,
		    "nobody: CA %s has another key with this id", limits->document.ca);
out:
	free(limits);
}

static bool
list_one(struct session *s, const char *state_dir, CK_OBJECT_HANDLE private_key, struct listed *l,
    struct error *e)
{
	uint8_t id[SIGNPROTO_ID_MAX], digest[32];
	struct error why = ERROR_INIT;
	struct key key = {0};
	size_t len;

	*l = (struct listed){.kind = "?", .spki = "-"};
	if (!key_read_id(s, private_key, id, &len, e))
		return false;
	key_limits_id_text((struct bytes){id, len}, l->id);
	read_label(s, private_key, l);
	if (len > 0 && key_find(s, (struct bytes){id, len}, &key, &why) &&
	    spki_sha256(&key.spki, digest, &why)) {
		hex_encode(digest, sizeof digest, l->spki);
		l->kind = key_alg_name(key.alg);
	}
	find_owner(state_dir, (struct bytes){id, len}, l->spki, l);
	l->leaves = !has(s, private_key, CKA_EXTRACTABLE, CK_FALSE) ||
		    !has(s, private_key, CKA_SENSITIVE, CK_TRUE);
	key_clear(&key);
	return true;
}

static void
print(const struct listed *l, bool json, FILE *out)
{
	if (json)
		(void)fprintf(out,
		    "{\"key\": \"%s\", \"kind\": \"%s\", \"cka_id\": \"%s\", \"label\": \"%s\", "
		    "\"owner\": \"%s\", \"can_leave\": %s}\n",
		    l->spki, l->kind, l->id, l->label, l->owner, l->leaves ? "true" : "false");
	else
		(void)fprintf(out, "%s\n  %s, label '%s', CKA_ID %s\n  of %s%s\n", l->spki, l->kind,
		    l->label, l->id[0] != '\0' ? l->id : "-", l->owner,
		    l->leaves ? "; the token may give it out" : "");
}

bool
key_list(struct session *s, const char *state_dir, bool json, FILE *out, struct error *e)
{
	CK_OBJECT_HANDLE all[KEY_OBJECTS_MAX];
	struct listed l;
	CK_ULONG count;

	if (!key_list_objects(s, CKO_PRIVATE_KEY, all, &count, e))
		return false;
	for (CK_ULONG i = 0; i < count; i++) {
		if (!list_one(s, state_dir, all[i], &l, e))
			return false;
		print(&l, json, out);
	}
	if (count == 0 && !json)
		(void)fputs("The token has no private keys.\n", out);
	return true;
}
