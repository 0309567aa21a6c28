#include "pkcs11/limits_chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/x509/order.h"
#include "pkcs11/order_file.h"

#define NAME_SIZE (2 * KEY_ID_LEN + 32)

void
limits_chain_id(const uint8_t sha256[32], uint8_t id[KEY_ID_LEN])
{
	memcpy(id, sha256, KEY_ID_LEN);
}

static void
file_name(const uint8_t id[KEY_ID_LEN], uint32_t version, char out[NAME_SIZE])
{
	char text[2 * KEY_ID_LEN + 1];

	hex_encode(id, KEY_ID_LEN, text);
	(void)snprintf(out, NAME_SIZE, "%s.limits-%u", text, (unsigned)version);
}

static bool
take_body(const struct signproto_order *order, struct limits_version *out, struct error *e)
{
	struct limits_body parts;

	if (!limits_body_parse(order->body, &parts, &out->document, e))
		return false;
	limits_sha256((const char *)parts.document.p, parts.document.len, out->sha256);
	return true;
}

/* Signed by the quorum of these limits. */
static bool
check_signed(const struct signproto_order *order, enum statement_action action, const char *object,
    const struct limits *by, struct limits_version *out, struct error *e)
{
	struct order_rules rules = {
	    .action = action,
	    .object = object,
	    .limits = by,
	    .right = LIMITS_RIGHT_LIMITS,
	    .needed = by->quorum,
	};

	return order_verify(order, &rules, &out->statement, e);
}

static bool
check_ca(const struct statement *s, const struct limits *l, struct error *e)
{
	return strcmp(s->ca, l->ca) == 0 ||
	       error_set(e, ERROR_DENIED,
		   "the operators signed '%s' about CA '%s', and these are limits of CA '%s'",
		   statement_action_name(s->action), s->ca, l->ca);
}

bool
limits_chain_check_first(
    const struct signproto_order *order, struct limits_version *out, struct error *e)
{
	if (!take_body(order, out, e))
		return false;
	if (out->document.version != 1)
		return error_set(e, ERROR_INPUT,
		    "a new key needs limits of version 1, and these for CA %s are version %u",
		    out->document.ca, (unsigned)out->document.version);
	/* A CA's next key: which one it takes the place of is the issuer's business. */
	if (statement_parse(
		(const char *)order->statement.p, order->statement.len, &out->statement, NULL) &&
	    out->statement.action == STATEMENT_CA_REKEY) {
		struct statement said = out->statement;

		return check_ca(&said, &out->document, e) &&
		       check_signed(order, STATEMENT_CA_REKEY, said.object, &out->document, out, e);
	}
	return check_signed(order, STATEMENT_CA_CREATE, out->document.ca, &out->document, out, e);
}

bool
limits_chain_check_next(const struct signproto_order *order, const struct limits_version *old,
    const uint8_t key_sha256[32], struct limits_version *out, struct error *e)
{
	return take_body(order, out, e) &&
	       limits_check_change(&old->document, old->sha256, key_sha256, &out->document, e) &&
	       check_signed(order, STATEMENT_CA_LIMITS, old->document.ca, &old->document, out, e);
}

bool
limits_chain_append(const char *dir, const uint8_t id[KEY_ID_LEN], uint32_t version,
    const struct signproto_order *order, struct error *e)
{
	char name[NAME_SIZE];

	file_name(id, version, name);
	return order_file_write(dir, name, order, e) || error_wrap(e, "the limits of a key");
}

/* ---- reading */

/* What is wrong with a file is not the asker's mistake. */
static bool
refuse(struct error *e, const char *dir, const char *name, const struct error *why)
{
	return error_set(e, ERROR_DENIED,
	    "the limits in %s/%s are not valid, so the key signs nothing: %s", dir, name,
	    why->text);
}

static bool
check_id(const struct limits_version *first, const uint8_t id[KEY_ID_LEN], struct error *e)
{
	uint8_t own[KEY_ID_LEN];

	limits_chain_id(first->sha256, own);
	return memcmp(own, id, KEY_ID_LEN) == 0 ||
	       error_set(e, ERROR_DENIED,
		   "the key was made for another document: its CKA_ID is not the digest of this "
		   "one");
}

/* *old, NULL for the first, is what the one that is read has to follow. */
static bool
read_version(const char *dir, const uint8_t id[KEY_ID_LEN], const uint8_t *key_sha256,
    const struct limits_version *old, struct limits_version *out, struct error *e)
{
	uint32_t version = old != NULL ? old->document.version + 1 : 1;
	struct order_file *f = NULL;
	struct error why = ERROR_INIT;
	char name[NAME_SIZE];
	bool ok;

	file_name(id, version, name);
	if (!order_file_read(dir, name, &f, e))
		return false;
	if (old == NULL)
		ok = limits_chain_check_first(order_file_order(f), out, &why) &&
		     check_id(out, id, &why);
	else
		ok = limits_chain_check_next(order_file_order(f), old, key_sha256, out, &why);
	order_file_free(f);
	return ok || refuse(e, dir, name, &why);
}

bool
limits_chain_load(const char *dir, const uint8_t id[KEY_ID_LEN], const uint8_t key_sha256[32],
    struct limits_version *out, struct error *e)
{
	struct limits_version *next = malloc(sizeof *next);
	struct error why = ERROR_INIT;
	bool ok;

	if (next == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
	ok = read_version(dir, id, key_sha256, NULL, out, e);
	if (ok && key_sha256 != NULL) {
		while (read_version(dir, id, key_sha256, out, next, &why))
			*out = *next;
		ok = why.code == ERROR_NOT_FOUND;
		if (!ok)
			(void)error_set(e, why.code, "%s", why.text);
	}
	free(next);
	return ok;
}
