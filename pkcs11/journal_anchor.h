#ifndef CHANCERY_PKCS11_JOURNAL_ANCHOR_H
#define CHANCERY_PKCS11_JOURNAL_ANCHOR_H

/*
 * The journal's anchor: a data object on the token ("chancery journal <signer
 * id>") that says how far the journal was. It is written at the start, at the end
 * in good order, and while signing once a minute.
 */

#include "pkcs11/journal.h"
#include "pkcs11/session.h"

/* Fills in what the token says. A token that does not answer is an error. */
bool journal_anchor_read(
    struct session *s, struct journal_options *options, struct error *e) MUST_CHECK;

/*
 * Brings it up to what is on the disk, and notes in the journal that there is one. A
 * token that does not take it is one that the journal has to do without: that is
 * logged, and shown by journal_report. What it means for signing is found out by
 * signing.
 */
void journal_anchor_write(struct journal *j, const CK_FUNCTION_LIST *f, CK_SLOT_ID slot);

#endif
