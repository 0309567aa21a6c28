#ifndef CHANCERY_CLI_LOCATIONS_FORMER_H
#define CHANCERY_CLI_LOCATIONS_FORMER_H

/* Where clients look for what a CA keeps up for certificates that it does not issue any
 * more: CRLs of former keys and of scopes that get no new ones, and the certificates of
 * those keys. */

#include <jansson.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/capolicy_report.h"

/* The policy of the time of a row of "former_crls", with what its variables stand for there,
 * borrowed from both. The caller's, to be ended with capolicy_free and free; NULL: it failed. */
struct capolicy *former_policy(
    const char *ca, json_t *row, struct location_names *names, struct error *e) MUST_CHECK;

struct locations_former {
	struct location_line *lines; /* owned, with their URLs; labels are the answer's */
	size_t count;
};

/* answer: what the service says of the CA; it must outlive *f. key: the index of the key
 * that signs. *f is to be ended with locations_former_free, also after a failure. */
bool locations_former_read(json_t *answer, const char *ca, int key, struct locations_former *f,
    struct error *e) MUST_CHECK;
void locations_former_free(struct locations_former *f);

#endif
