#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/x509/order.h"
#include "daemon/x509/reseed.h"
#include "pkcs11/journal.h"
#include "pkcs11/limits_floor.h"
#include "pkcs11/orders.h"

/* Each key's own operators say that it may go on. */
static bool
check_key(struct session *s, const struct orders_env *env, const struct reseed_key *k,
    const struct signproto_order *order, struct error *e)
{
	struct key_limits *l = malloc(sizeof *l);
	struct order_rules rules = {
	    .action = STATEMENT_SIGNER_RESEED,
	    .object = env->token,
	    .right = LIMITS_RIGHT_LIMITS,
	};
	struct statement statement;
	bool refused = false, ok = false;

	if (l == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	/* Those in force, as the token remembers them: not of an older copy. */
	if (!limits_floor_load(s, env->state_dir, (struct bytes){k->id, k->id_len}, l, &refused, e))
		goto out;
	if (strcmp(l->document.ca, k->ca) != 0) {
		(void)error_set(e, ERROR_DENIED,
		    "the key that the reseed calls that of CA %s is that of %s", k->ca,
		    l->document.ca);
		goto out;
	}
	rules.limits = &l->document;
	rules.needed = l->document.quorum;
	ok = (order_verify(order, &rules, &statement, e) ||
		 error_wrap(e, "the reseed of CA %s", k->ca)) &&
	     statement_check_time(&statement, env->now, e);
out:
	free(l);
	return ok;
}

bool
orders_reseed(struct session *s, const struct orders_env *env, const struct signproto_order *order,
    struct error *e)
{
	struct reseed *doc = malloc(sizeof *doc);
	bool ok;

	if (doc == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a reseed document");
	ok = reseed_parse((const char *)order->body.p, order->body.len, doc, e);
	for (size_t i = 0; ok && i < doc->key_count; i++)
		ok = check_key(s, env, &doc->keys[i], order, e);
	ok = ok && journal_reseed(env->journal, doc, order, journal_clock_now(), e);
	if (ok)
		log_info(env->token, "the journal goes on with %zu keys, as operators said",
		    doc->key_count);
	free(doc);
	return ok;
}
