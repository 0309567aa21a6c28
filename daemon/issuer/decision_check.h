#ifndef CHANCERY_ISSUER_DECISION_CHECK_H
#define CHANCERY_ISSUER_DECISION_CHECK_H

/*
 * Whether a decision in the database is what an operator signed, and whether
 * that operator may decide it. The front checks the same things as a courtesy
 * to its user; this is the check that counts, because whoever owns the front
 * can write any row.
 */

#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/statement.h"
#include "db/decision.h"

/*
 * Checks signature, nonce, time of arrival, the person's role, and that the
 * statement is about the very object of the row: request, digest of its CSR, template
 * version, certificate, CA, digest of the body. A ceremony must have been signed by
 * as many persons as the limits in question take, each of whose signatures is
 * verified: a new CA's own limits, else those in force, and for a signer's reseed
 * those of every key. On success *statement is what was signed. ERROR_DENIED or
 * ERROR_INPUT with a sentence for the operator.
 *
 * own_uid: the daemon's. Only while nobody is registered, an operator-add may
 * be unsigned, if it came through the Unix socket from root or from own_uid.
 */
bool decision_check(const struct decision_row *row, uid_t own_uid, struct statement *statement,
    struct error *e) MUST_CHECK;

/* The statement, what came beside it, and all its signatures, as they go to the
 * signer; borrowed from the row. Of a decision that decision_check has passed. */
void decision_order(const struct decision_row *row, struct signproto_order *order);

/* What the body of an operator-add says:
 *
 *	person: alice
 *	roles: administrator,manager
 *	kind: operator_key
 *	-----BEGIN PUBLIC KEY----- ...
 */
#define OPERATOR_ROLES_MAX 8
struct operator_body {
	char person[STATEMENT_NAME_MAX + 1];
	char roles[OPERATOR_ROLES_MAX][32];
	size_t role_count;
	char kind[32];
	uint8_t spki[2048];
	size_t spki_len;
};
bool operator_body_parse(const char *text, struct operator_body *out, struct error *e) MUST_CHECK;

#endif
