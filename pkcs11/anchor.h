#ifndef CHANCERY_PKCS11_ANCHOR_H
#define CHANCERY_PKCS11_ANCHOR_H

/*
 * Anchors: small values that live on the token itself, where restoring the
 * signer's disk does not reset them. Each is a private data object
 * (PKCS#11 2.40, CKO_DATA) of the application "chancery", known by its label.
 *
 * A value is replaced by making a new object and destroying the old one, so that
 * a crash in between leaves at least one whole value; the one with the highest
 * generation counts, and what is not whole counts as if it were not there while
 * another one is. Several processes may write one label: all then agree on the
 * same winner, and the value itself has to say who may write next.
 */

#include "daemon/core/config.h"
#include "daemon/core/wire.h"
#include "pkcs11/session.h"

#define ANCHOR_VALUE_MAX 512
#define ANCHOR_LABEL_MAX 128

/*
 * Reads the value. ERROR_NOT_FOUND: there is none; ERROR_CONFLICT: there is, and
 * it is damaged; ERROR_UNAVAILABLE and ERROR_INTERNAL: the token did not answer.
 * A read-only session will do.
 */
bool anchor_read(struct session *s, const char *label, uint8_t value[ANCHOR_VALUE_MAX], size_t *len,
    struct error *e) MUST_CHECK;

/*
 * Writes the value (1 .. ANCHOR_VALUE_MAX octets) and reads it back. s must be a
 * read-write session. ERROR_DENIED: the token takes no such objects, now or
 * ever; what was there before is still there then.
 */
bool anchor_write(
    struct session *s, const char *label, struct bytes value, struct error *e) MUST_CHECK;

/*
 * The same, but only in place of the value that is expected (empty: of none).
 * ERROR_CONFLICT: there is another one, or another process wrote one in the same
 * moment that counts for more: of two the one whose octets are greater, byte for
 * byte.
 */
bool anchor_swap(struct session *s, const char *label, struct bytes expected, struct bytes value,
    struct error *e) MUST_CHECK;

/*
 * A group's other members (group.h): what is written to one of them is then written to
 * the others as well, so that each knows it should it be the only one left.
 * One that fails over it is left out from then on; nobody waits for it.
 */
struct anchor_mirror {
	CK_SLOT_ID slot;
	size_t member;
};

/* For the whole process, before any other thread writes; copied. */
void anchor_set_mirrors(const struct anchor_mirror *mirrors, size_t count);

/* One that has failed, each once: false when there is none (any more). Does not wait for one
 * that is just written to. */
bool anchor_mirror_failed(size_t *member, struct error *why);

#endif
