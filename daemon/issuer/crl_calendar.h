#ifndef CHANCERY_ISSUER_CRL_CALENDAR_H
#define CHANCERY_ISSUER_CRL_CALENDAR_H

/*
 * When CRLs are made: by the calendar that the database keeps for each scope,
 * and on an operator's order. Whatever is due is decided there, so that several
 * issuers share one calendar; here a timer looks, and builds run.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/crl_build.h"

struct crl_calendar;

/* CRLs of each token's keys that one issuer builds at the same time: those that wait for a
 * token that hangs, or is away, delay no other's. */
#define CRL_BUILDS_MAX 8

/* env is copied; what it points to, and the configuration, must outlive the calendar. */
struct crl_calendar *crl_calendar_new(const struct crl_build_env *env, const struct config *config,
    struct ca_cache *cache, struct error *e) MUST_CHECK;

/* Looks now for what is due. */
void crl_calendar_poke(struct crl_calendar *c);

/* Nothing is begun while the clock is in doubt; an order then is told so and comes again. */
void crl_calendar_hold(struct crl_calendar *c, bool held);

/* The signer of this token can be asked (again). */
void crl_calendar_signer(struct crl_calendar *c, const char *token);
/* Its channel has room again. */
void crl_calendar_room(struct crl_calendar *c, const char *token);

/* An operator's order. begun is called once, maybe from here: with err NULL and
 * true when the CRL is being made (it closes the decision itself), false when
 * another one of the scope is under way, or was issued this very second, or as
 * many are being made as may be. */
typedef void crl_ordered_fn(bool begun, const struct error *err, void *arg);
bool crl_calendar_order(struct crl_calendar *c, struct issuing_ca *ca, bool delta,
    const struct decision_key *decision, crl_ordered_fn *begun, void *arg,
    struct error *e) MUST_CHECK;

/* An entry of a PIN was accepted for this token that lists these: what waits here of them
 * is signed. */
bool crl_calendar_sign_listed(struct crl_calendar *c, const char *token,
    const struct pin_digests *digests, struct error *e) MUST_CHECK;

/* Begins nothing more; builds go on, but for those that only wait for a token. */
void crl_calendar_drain(struct crl_calendar *c);
bool crl_calendar_is_idle(const struct crl_calendar *c);
void crl_calendar_free(struct crl_calendar *c); /* NULL is legal */

#endif
