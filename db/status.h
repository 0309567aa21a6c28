#ifndef CHANCERY_DB_STATUS_H
#define CHANCERY_DB_STATUS_H

/* What an issuer reports of the tokens it signs with (migrations/0008_status.sql). */

#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/db.h"

struct token_report {
	int signer_id;
	const char *token, *state, *sentence, *label, *serial, *model;
	const char *journal, *challenge; /* of the signer's journal; or NULL */
	int threads;
	int64_t signatures;
	int64_t since; /* unix seconds */
	/* How people reach it with a PIN; all NULL, empty or 0 where nobody has to. */
	const char *access, *instance, *start, *unlocked_by;
	struct bytes start_signature, identity, pin_shares;
	int64_t unlocked_until; /* unix seconds; 0: locked */
	int64_t signatures_left;
};

/* Nobody waits for the answer; a failure is logged at debug level. */
bool status_report_token(
    struct db *db, const struct token_report *report, struct error *err) MUST_CHECK;

/* The name of this issuer's host, and the room on the disk of its state, in octets.
 * Likewise. */
bool status_report_host(struct db *db, int signer_id, const char *name, uint64_t disk_free,
    uint64_t disk_size, struct error *err) MUST_CHECK;

#endif
