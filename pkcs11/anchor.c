#include "pkcs11/anchor.h"

#include <pthread.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/x509/der.h"
#include "pkcs11/call.h"
#include "pkcs11/ckr.h"

#define ALL_MAX 2048			 /* objects that are looked at for the first one */
#define NUMBERS_FROM_ONE "tpm2-software" /* CK_INFO's manufacturerID begins so */
#define APPLICATION "chancery"
/* Objects of one label: one, and what crashes and races left behind. */
#define OBJECTS_MAX 64
#define LOADS_MAX 5 /* when others replace the object meanwhile */
/* As stored: magic, generation, value, and the first octets of the SHA-256 of
 * label and all before. */
#define MAGIC "CHa1"
#define MAGIC_LEN 4
#define CHECK_LEN 8
#define HEAD_LEN (MAGIC_LEN + 8)
#define STORED_MAX (HEAD_LEN + ANCHOR_VALUE_MAX + CHECK_LEN)

/* What the token has under one label. */
struct objects {
	CK_OBJECT_HANDLE handles[OBJECTS_MAX];
	CK_ULONG count;
	CK_ULONG damaged;
	uint64_t generation; /* these from the one that counts; 0: there is none */
	uint8_t value[ANCHOR_VALUE_MAX];
	size_t len;
};

static CK_BBOOL yes = CK_TRUE;
static CK_OBJECT_CLASS data_class = CKO_DATA;

static void
check_octets(const char *label, const uint8_t *stored, size_t len, uint8_t out[CHECK_LEN])
{
	uint8_t buf[ANCHOR_LABEL_MAX + STORED_MAX], digest[SHA256_DIGEST_LENGTH];
	size_t label_len = strlen(label);

	memcpy(buf, label, label_len);
	memcpy(buf + label_len, stored, len);
	(void)SHA256(buf, label_len + len, digest);
	memcpy(out, digest, CHECK_LEN);
}

static size_t
encode(const char *label, uint64_t generation, struct bytes value, uint8_t out[STORED_MAX])
{
	size_t len = HEAD_LEN + value.len;

	memcpy(out, MAGIC, MAGIC_LEN);
	for (size_t i = 0; i < 8; i++)
		out[MAGIC_LEN + i] = (uint8_t)(generation >> (8 * (7 - i)));
	memcpy(out + HEAD_LEN, value.p, value.len);
	check_octets(label, out, len, out + len);
	return len + CHECK_LEN;
}

static bool
decode(const char *label, struct bytes stored, uint64_t *generation, struct bytes *value)
{
	uint8_t check[CHECK_LEN];
	size_t len;

	if (stored.len <= HEAD_LEN + CHECK_LEN || memcmp(stored.p, MAGIC, MAGIC_LEN) != 0)
		return false;
	len = stored.len - CHECK_LEN;
	check_octets(label, stored.p, len, check);
	if (memcmp(check, stored.p + len, CHECK_LEN) != 0)
		return false;
	*generation = 0;
	for (size_t i = 0; i < 8; i++)
		*generation = *generation << 8 | stored.p[MAGIC_LEN + i];
	*value = (struct bytes){stored.p + HEAD_LEN, len - HEAD_LEN};
	return *generation > 0;
}

static bool
check_label(const char *label, struct error *e)
{
	size_t len = strlen(label);

	if (len > 0 && len <= ANCHOR_LABEL_MAX)
		return true;
	return error_set(e, ERROR_INTERNAL, "a data object's label of %zu octets", len);
}

static bool
find(struct session *s, const char *label, struct objects *o, struct error *e)
{
	CK_ATTRIBUTE t[] = {
	    {CKA_CLASS, &data_class, sizeof data_class},
	    {CKA_TOKEN, &yes, sizeof yes},
	    {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)},
	};
	CK_RV rv, end;

	o->count = 0;
	rv = s->f->C_FindObjectsInit(s->handle, t, COUNT_OF(t));
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot look for '%s' on the token", label);
	rv = s->f->C_FindObjects(s->handle, o->handles, OBJECTS_MAX, &o->count);
	end = s->f->C_FindObjectsFinal(s->handle);
	if (rv == CKR_OK)
		rv = end;
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot look for '%s' on the token", label);
	/* The one that counts could be among the rest. */
	if (o->count == OBJECTS_MAX)
		return error_set(e, ERROR_CONFLICT,
		    "the token has %d or more data objects '%s'; remove all but the newest",
		    OBJECTS_MAX, label);
	return true;
}

/* Whether it is as long as the token says when it does not fit. */
static bool
is_too_long(struct session *s, CK_OBJECT_HANDLE handle)
{
	CK_ATTRIBUTE a = {CKA_VALUE, NULL, 0};

	return s->f->C_GetAttributeValue(s->handle, handle, &a, 1) == CKR_OK &&
	       a.ulValueLen > STORED_MAX;
}

/* False only when the token fails; an object that is not one of ours has *len 0. */
static bool
read_stored(struct session *s, CK_OBJECT_HANDLE handle, const char *label,
    uint8_t stored[STORED_MAX], size_t *len, CK_RV *said, struct error *e)
{
	CK_ATTRIBUTE a = {CKA_VALUE, stored, STORED_MAX};

	*said = s->f->C_GetAttributeValue(s->handle, handle, &a, 1);
	*len = 0;
	if (*said == CKR_OK && a.ulValueLen <= STORED_MAX)
		*len = a.ulValueLen;
	if (*said == CKR_OK || (*said == CKR_BUFFER_TOO_SMALL && is_too_long(s, handle)))
		return true;
	/* It may be the object alone, which another process is removing just now. */
	if (session_is_gone(*said))
		return ckr_error(e, *said, "cannot read '%s' on the token", label);
	return session_error(s, *said, e, "cannot read '%s' on the token", label);
}

/* The same winner for every process: the highest generation, then the octets. */
static bool
is_newer(const struct objects *o, uint64_t generation, struct bytes value)
{
	size_t len = value.len < o->len ? value.len : o->len;
	int order;

	if (generation != o->generation)
		return generation > o->generation;
	order = memcmp(value.p, o->value, len);
	return order > 0 || (order == 0 && value.len > o->len);
}

/* *gone: an object was there, and another process was quicker and replaced it. */
static bool
load_once(struct session *s, const char *label, struct objects *o, bool *gone, struct error *e)
{
	uint8_t stored[STORED_MAX];
	uint64_t generation;
	struct bytes value;
	CK_RV said = CKR_OK;
	size_t len;

	*gone = false;
	*o = (struct objects){.count = 0};
	if (!check_label(label, e) || !find(s, label, o, e))
		return false;
	for (CK_ULONG i = 0; i < o->count; i++) {
		if (!read_stored(s, o->handles[i], label, stored, &len, &said, e)) {
			*gone = session_is_gone(said);
			return false;
		}
		if (!decode(label, (struct bytes){stored, len}, &generation, &value)) {
			o->damaged++;
		} else if (is_newer(o, generation, value)) {
			o->generation = generation;
			memcpy(o->value, value.p, value.len);
			o->len = value.len;
		}
	}
	return true;
}

static bool
load(struct session *s, const char *label, struct objects *o, struct error *e)
{
	struct error why = ERROR_INIT;
	bool gone;

	for (unsigned int attempt = 1;; attempt++) {
		error_clear(&why);
		if (load_once(s, label, o, &gone, &why))
			return true;
		if (!gone || attempt == LOADS_MAX)
			break;
	}
	*e = why;
	return false;
}

bool
anchor_read(struct session *s, const char *label, uint8_t value[ANCHOR_VALUE_MAX], size_t *len,
    struct error *e)
{
	struct objects o;

	*len = 0;
	if (!load(s, label, &o, e))
		return false;
	if (o.generation == 0 && o.damaged > 0)
		return error_set(
		    e, ERROR_CONFLICT, "the data object '%s' on the token is damaged", label);
	if (o.generation == 0)
		return error_set(e, ERROR_NOT_FOUND, "the token has no data object '%s'", label);
	memcpy(value, o.value, o.len);
	*len = o.len;
	return true;
}

static bool
create(struct session *s, const char *label, struct bytes stored, CK_OBJECT_HANDLE *made,
    struct error *e)
{
	CK_ATTRIBUTE t[] = {
	    {CKA_CLASS, &data_class, sizeof data_class},
	    {CKA_TOKEN, &yes, sizeof yes},
	    {CKA_PRIVATE, &yes, sizeof yes},
	    {CKA_APPLICATION, (void *)(uintptr_t)APPLICATION, strlen(APPLICATION)},
	    {CKA_LABEL, (void *)(uintptr_t)label, strlen(label)},
	    {CKA_VALUE, (void *)(uintptr_t)stored.p, stored.len},
	};
	char buf[CKR_NAME_MAX];
	CK_RV rv = s->f->C_CreateObject(s->handle, t, COUNT_OF(t), made);

	if (rv == CKR_OK)
		return true;
	/* The request itself is what the token does not like, or it is full. */
	if (ckr_class(rv) == CKR_CLASS_REQUEST || ckr_class(rv) == CKR_CLASS_RETRY) {
		const char *name = ckr_name(rv, buf);

		return error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, name,
		    "the token does not take the data object '%s' (%s)", label, name);
	}
	return session_error(s, rv, e, "cannot write '%s' to the token", label);
}

static bool
is_ours(struct session *s, CK_OBJECT_HANDLE handle, const char *label, bool *gone, struct error *e)
{
	return session_check_object(s, handle, CKO_DATA, CKA_LABEL,
	    (struct bytes){(const uint8_t *)label, strlen(label)}, gone, e);
}

/*
 * tpm2-pkcs11 numbers its objects from 1, and counts on the first being there: when it was
 * removed, new objects get numbers that others have (session_check_object). An old value
 * that is the first of all therefore stays.
 */
static CK_OBJECT_HANDLE
first_to_stay(struct session *s)
{
	CK_OBJECT_HANDLE all[ALL_MAX], first = CK_INVALID_HANDLE;
	CK_ULONG count = 0;
	CK_INFO info;

	if (s->f->C_GetInfo(&info) != CKR_OK ||
	    memcmp(info.manufacturerID, NUMBERS_FROM_ONE, strlen(NUMBERS_FROM_ONE)) != 0 ||
	    s->f->C_FindObjectsInit(s->handle, NULL, 0) != CKR_OK)
		return first;
	if (s->f->C_FindObjects(s->handle, all, ALL_MAX, &count) == CKR_OK) {
		for (CK_ULONG i = 0; i < count; i++) {
			if (first == CK_INVALID_HANDLE || all[i] < first)
				first = all[i];
		}
	}
	(void)s->f->C_FindObjectsFinal(s->handle);
	return first;
}

/* The new value counts already: what stays is removed the next time. SoftHSM says
 * CKR_FUNCTION_FAILED when another process removes the same object just now. */
static void
destroy_old(struct session *s, const struct objects *o, const char *label)
{
	CK_OBJECT_HANDLE first = o->count > 0 ? first_to_stay(s) : CK_INVALID_HANDLE;
	char buf[CKR_NAME_MAX];

	for (CK_ULONG i = 0; i < o->count; i++) {
		struct error ignored = ERROR_INIT;
		CK_RV rv = CKR_OK;
		bool gone;

		if (o->handles[i] == first)
			continue;
		if (is_ours(s, o->handles[i], label, &gone, &ignored))
			rv = s->f->C_DestroyObject(s->handle, o->handles[i]);
		if (rv != CKR_OK && rv != CKR_OBJECT_HANDLE_INVALID)
			log_debug(label, "an old value stays on the token: %s", ckr_name(rv, buf));
	}
}

static bool
check_made(
    struct session *s, CK_OBJECT_HANDLE made, const char *label, struct bytes want, struct error *e)
{
	uint8_t stored[STORED_MAX];
	CK_RV said;
	size_t len;

	if (!read_stored(s, made, label, stored, &len, &said, e))
		return false;
	if (!bytes_equal(want, (struct bytes){stored, len}))
		return error_set(e, ERROR_DENIED,
		    "the token did not keep the data object '%s' as it was written", label);
	return true;
}

/* In place of what was found. */
static bool
replace(struct session *s, const char *label, const struct objects *found, struct bytes value,
    struct error *e)
{
	CK_OBJECT_HANDLE made = CK_INVALID_HANDLE;
	uint8_t stored[STORED_MAX];
	bool gone;
	size_t len = encode(label, found->generation + 1, value, stored);

	if (!create(s, label, (struct bytes){stored, len}, &made, e))
		return false;
	for (CK_ULONG i = 0; i < found->count; i++) {
		if (found->handles[i] == made)
			return session_mistook(s, e);
	}
	if (!is_ours(s, made, label, &gone, e))
		return false;
	if (!check_made(s, made, label, (struct bytes){stored, len}, e)) {
		(void)s->f->C_DestroyObject(s->handle, made);
		return false;
	}
	destroy_old(s, found, label);
	return true;
}

static bool
check_length(struct bytes value, struct error *e)
{
	if (value.len > 0 && value.len <= ANCHOR_VALUE_MAX)
		return true;
	return error_set(e, ERROR_INTERNAL, "a data object of %zu octets", value.len);
}

static bool
write_here(struct session *s, const char *label, struct bytes value, struct error *e)
{
	struct objects o;

	return check_length(value, e) && load(s, label, &o, e) && replace(s, label, &o, value, e);
}

/* ---- a group's other members */

/* The first lock is held while a token is written to, which may take as long as it likes; the
 * second, taken under it, for what is asked about the mirrors meanwhile. */
static pthread_mutex_t mirror_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t news_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct anchor_mirror of;
	bool refused;	   /* a value, for whatever reason of its own */
	bool failed, told; /* these with the second lock */
	struct error why;
} mirrors[CONFIG_MEMBERS_MAX];
static size_t mirror_count;

void
anchor_set_mirrors(const struct anchor_mirror *of, size_t count)
{
	(void)pthread_mutex_lock(&mirror_lock);
	(void)pthread_mutex_lock(&news_lock);
	memset(mirrors, 0, sizeof mirrors);
	mirror_count = count;
	for (size_t i = 0; i < count; i++)
		mirrors[i].of = of[i];
	(void)pthread_mutex_unlock(&news_lock);
	(void)pthread_mutex_unlock(&mirror_lock);
}

bool
anchor_mirror_failed(size_t *member, struct error *why)
{
	bool news = false;

	(void)pthread_mutex_lock(&news_lock);
	for (size_t i = 0; i < mirror_count && !news; i++) {
		news = mirrors[i].failed && !mirrors[i].told;
		if (!news)
			continue;
		mirrors[i].told = true;
		*member = mirrors[i].of.member;
		*why = mirrors[i].why;
	}
	(void)pthread_mutex_unlock(&news_lock);
	return news;
}

static void
write_there(const struct session *s, size_t i, const char *label, struct bytes value)
{
	struct error why = ERROR_INIT;
	struct session rw;
	int before = call_about((int)mirrors[i].of.member);
	bool ok;

	ok = session_open(s->f, mirrors[i].of.slot, true, &rw, &why) &&
	     write_here(&rw, label, value, &why);
	session_close(&rw);
	(void)call_about(before);
	if (ok)
		return;
	/* One that takes no such objects, or no more, is no worse than a single token that does
	 * not: it is said once. */
	if (!rw.fatal) {
		(void)error_wrap(&why, "another token of the group");
		log_failure(mirrors[i].refused ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, label, &why);
		mirrors[i].refused = true;
		return;
	}
	(void)pthread_mutex_lock(&news_lock);
	mirrors[i].failed = true;
	mirrors[i].why = why;
	(void)pthread_mutex_unlock(&news_lock);
}

/* Under the lock throughout: of two values of one label the later one stays everywhere. */
static void
mirror(const struct session *s, const char *label, struct bytes value)
{
	(void)pthread_mutex_lock(&mirror_lock);
	for (size_t i = 0; i < mirror_count; i++) {
		if (mirrors[i].of.slot != s->slot && !mirrors[i].failed)
			write_there(s, i, label, value);
	}
	(void)pthread_mutex_unlock(&mirror_lock);
}

/* ---- */

bool
anchor_write(struct session *s, const char *label, struct bytes value, struct error *e)
{
	if (!write_here(s, label, value, e))
		return false;
	mirror(s, label, value);
	return true;
}

static bool
check_value(const struct objects *o, const char *label, struct bytes expected, struct error *e)
{
	if (bytes_equal((struct bytes){o->value, o->len}, expected) &&
	    (o->generation > 0 || o->damaged == 0))
		return true;
	return error_set(e, ERROR_CONFLICT,
	    "the data object '%s' on the token was written by another process", label);
}

bool
anchor_swap(struct session *s, const char *label, struct bytes expected, struct bytes value,
    struct error *e)
{
	struct objects o;

	if (!check_length(value, e) || !load(s, label, &o, e) ||
	    !check_value(&o, label, expected, e) || !replace(s, label, &o, value, e) ||
	    !load(s, label, &o, e) || !check_value(&o, label, value, e))
		return false;
	mirror(s, label, value);
	return true;
}
