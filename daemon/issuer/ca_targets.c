#include "daemon/issuer/ca_targets.h"

#include <stdlib.h>
#include <string.h>

struct ca_targets *
ca_targets_new(const struct capolicy *policy, const struct location_names *names, struct error *e)
{
	struct ca_targets *targets = calloc(1, sizeof *targets);

	if (targets == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the targets of CA %s", names->ca);
		return NULL;
	}
	for (size_t i = 0; i < policy->target_count; i++) {
		const struct capolicy_target *t = &policy->targets[i];
		bool delta = strcmp(t->artifact, "delta-crl") == 0;

		if (!location_expand(t->write, names, delta, targets->write[i], e) ||
		    !location_expand(t->read, names, delta, targets->read[i], e)) {
			(void)error_wrap(e, "target %s of CA %s", t->name, names->ca);
			free(targets);
			return NULL;
		}
		targets->list[i] = (struct ca_target){t->name, t->kind, t->artifact,
		    targets->write[i], targets->read[i], t->credential, t->bind_dn, t->tls, t->auth,
		    t->region, t->certificate, t->user, t->host_key, t->schema, t->webdav};
	}
	targets->count = policy->target_count;
	return targets;
}
