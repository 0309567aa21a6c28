#include "daemon/x509/order.h"

#include <stdio.h>
#include <string.h>

#include <openssl/sha.h>

#define PEOPLE_TEXT_MAX 200

/* Who signed, by their place in the limits. */
struct roll {
	bool signed_[LIMITS_OPERATOR_MAX];
	unsigned persons;
};

static bool
check_statement(const struct signproto_order *order, const struct order_rules *rules,
    struct statement *s, struct error *err)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (!statement_parse((const char *)order->statement.p, order->statement.len, s, err))
		return false;
	if (s->action != rules->action || strcmp(s->object, rules->object) != 0)
		return error_set(err, ERROR_DENIED,
		    "the operators signed '%s' about '%s', and not '%s' about '%s'",
		    statement_action_name(s->action), s->object,
		    statement_action_name(rules->action), rules->object);
	if (s->has_body != (order->body.len > 0))
		return error_set(err, ERROR_INPUT,
		    "the statement and what came beside it do not belong together");
	if (!s->has_body)
		return true;
	(void)SHA256(order->body.p, order->body.len, digest);
	return memcmp(digest, s->body_sha256, sizeof digest) == 0 ||
	       error_set(err, ERROR_DENIED,
		   "what came beside the statement is not what the operators signed: its digest "
		   "differs");
}

static bool
has_signed(const struct limits *l, const struct roll *roll, const char *person)
{
	for (size_t i = 0; i < l->operator_count; i++)
		if (roll->signed_[i] && strcmp(l->operators[i].person, person) == 0)
			return true;
	return false;
}

static bool
call_roll(const struct signproto_order *order, const struct order_rules *rules, struct roll *roll,
    struct error *err)
{
	const struct limits *l = rules->limits;

	*roll = (struct roll){0};
	for (size_t i = 0; i < order->signature_count; i++) {
		const struct signproto_operator_signature *s = &order->signatures[i];
		const struct limits_operator *o = limits_find_operator(l, s->spki);

		if (o == NULL || (o->rights & rules->right) == 0)
			continue;
		if (!statement_verify((const char *)order->statement.p, order->statement.len,
			s->signature.p, s->signature.len, o->spki, o->spki_len, err))
			return error_wrap(err, "signature of %s", o->person);
		if (!has_signed(l, roll, o->person))
			roll->persons++;
		roll->signed_[o - l->operators] = true;
	}
	return true;
}

/* Names of those with the right who have signed, or have not; each once. */
static void
list_people(const struct order_rules *rules, const struct roll *roll, bool who_signed,
    char out[PEOPLE_TEXT_MAX])
{
	const struct limits *l = rules->limits;
	struct roll listed = {0};
	size_t len = 0;

	(void)snprintf(out, PEOPLE_TEXT_MAX, "nobody");
	for (size_t i = 0; i < l->operator_count; i++) {
		const char *person = l->operators[i].person;
		int n;

		if ((l->operators[i].rights & rules->right) == 0 ||
		    has_signed(l, roll, person) != who_signed || has_signed(l, &listed, person))
			continue;
		listed.signed_[i] = true;
		n = snprintf(out + len, PEOPLE_TEXT_MAX - len, "%s%s", len > 0 ? ", " : "", person);
		if (n < 0 || (size_t)n >= PEOPLE_TEXT_MAX - len)
			return;
		len += (size_t)n;
	}
}

static bool
fail_quorum(const struct order_rules *rules, const struct roll *roll, struct error *err)
{
	char present[PEOPLE_TEXT_MAX], missing[PEOPLE_TEXT_MAX];

	list_people(rules, roll, true, present);
	list_people(rules, roll, false, missing);
	return error_set(err, ERROR_DENIED,
	    "'%s' about '%s' needs %u of the operators whom the limits of CA %s name; signed: %s; "
	    "could also sign: %s",
	    statement_action_name(rules->action), rules->object, rules->needed, rules->limits->ca,
	    present, missing);
}

bool
order_count(const struct signproto_order *order, const struct order_rules *rules, unsigned *persons,
    struct error *err)
{
	struct statement ignored;
	struct roll roll;

	if (!check_statement(order, rules, &ignored, err) || !call_roll(order, rules, &roll, err))
		return false;
	*persons = roll.persons;
	return true;
}

bool
order_verify(const struct signproto_order *order, const struct order_rules *rules,
    struct statement *statement, struct error *err)
{
	struct roll roll;

	if (!check_statement(order, rules, statement, err) || !call_roll(order, rules, &roll, err))
		return false;
	/* Nobody is never enough, whatever a caller asked for. */
	return (roll.persons > 0 && roll.persons >= rules->needed) ||
	       fail_quorum(rules, &roll, err);
}
