#ifndef CHANCERY_PKCS11_JOURNAL_SHOW_H
#define CHANCERY_PKCS11_JOURNAL_SHOW_H

/*
 * The journal for auditors: every record, and whether the chain is whole. Reads
 * files only, also while the signer writes them, or a copy on another machine.
 */

#include <stdio.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/*
 * Writes a line for each record of all segments in dir, oldest first; as_json: a JSON
 * object a line. Ends with an error at the first thing that is not as the signer
 * wrote it: what was printed before that is whole. Octets behind the last record of
 * the newest segment that are the beginning of one are mentioned on `notes`.
 */
bool journal_show(
    const char *dir, bool as_json, FILE *out, FILE *notes, struct error *e) MUST_CHECK;

#endif
