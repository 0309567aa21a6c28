#ifndef CHANCERY_X509_ORDER_H
#define CHANCERY_X509_ORDER_H

/*
 * Orders: what several operators signed together. The limits of a key say who
 * they are and how many of them it takes.
 */

#include "daemon/core/signproto.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/statement.h"

struct order_rules {
	enum statement_action action; /* what the statement must say ... */
	const char *object;	      /* ... and about what */
	const struct limits *limits;  /* who counts */
	enum limits_right right;
	unsigned needed; /* persons; at least 1 */
};

/*
 * Checks an order: the statement is of that action and object, the body is the
 * one that it names, and enough persons signed it. A person counts once, however
 * many keys or signatures he has. A signature of somebody whom the limits do not
 * name with that right does not count; one that does not verify refuses the whole.
 *
 * *statement is the parsed statement; its time is for the caller to check
 * (statement_check_time). ERROR_DENIED says who signed and who else could.
 */
bool order_verify(const struct signproto_order *order, const struct order_rules *rules,
    struct statement *statement, struct error *err) MUST_CHECK;

/* How many persons count, as order_verify would count them, with nothing required:
 * for showing how far a ceremony has come. */
bool order_count(const struct signproto_order *order, const struct order_rules *rules,
    unsigned *persons, struct error *err) MUST_CHECK;

#endif
