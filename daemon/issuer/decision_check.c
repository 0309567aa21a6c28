#include "daemon/issuer/decision_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/order.h"
#include "daemon/x509/pem.h"
#include "daemon/x509/spki.h"

static const char *
role_for(enum statement_action action)
{
	switch (action) {
	case STATEMENT_CA_CREATE:
	case STATEMENT_CA_INSTALL:
	case STATEMENT_CA_LIMITS:
	case STATEMENT_CA_RENEW:
	case STATEMENT_CA_REKEY:
	case STATEMENT_CA_ROLLOVER:
	case STATEMENT_CA_CROSS:
	case STATEMENT_SIGNER_RESEED:
	case STATEMENT_KEY_DESTROY:
	case STATEMENT_TEMPLATE_APPLY:
	case STATEMENT_OPERATOR_ADD:
		return "administrator";
	default:
		return "manager";
	}
}

static bool
has_role(const struct decision_row *row, const char *role)
{
	for (size_t i = 0; i < row->role_count; i++) {
		if (strcmp(row->roles[i], role) == 0)
			return true;
	}
	return false;
}

static bool
may_be_unsigned(const struct decision_row *row, uid_t own_uid)
{
	char own[32];

	(void)snprintf(own, sizeof own, "uid:%u", (unsigned)own_uid);
	return row->first_operator && strcmp(row->action, "operator-add") == 0 &&
	       (strcmp(row->received_via, "uid:0") == 0 || strcmp(row->received_via, own) == 0);
}

static bool
check_signer(
    const struct decision_row *row, const struct statement *s, uid_t own_uid, struct error *e)
{
	if (row->credential_spki.len == 0) {
		if (may_be_unsigned(row, own_uid))
			return true;
		return error_set(
		    e, ERROR_DENIED, "the decision is not signed by a registered operator's key");
	}
	if (!row->credential_live || row->person == NULL)
		return error_set(e, ERROR_DENIED,
		    "the key that signed this decision is no operator's key, or no longer valid");
	if (!statement_verify(row->statement, strlen(row->statement), row->signature.p,
		row->signature.len, row->credential_spki.p, row->credential_spki.len, e))
		return false;
	if (!has_role(row, role_for(s->action)))
		return error_set(e, ERROR_DENIED, "%s needs the role %s, which %s does not have",
		    statement_action_name(s->action), role_for(s->action), row->person);
	return true;
}

static bool
check_body(const struct decision_row *row, const struct statement *s, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (s->has_body != (row->body != NULL))
		return error_set(
		    e, ERROR_INPUT, "the statement and what came beside it do not belong together");
	if (row->body == NULL)
		return true;
	SHA256((const unsigned char *)row->body, strlen(row->body), digest);
	if (memcmp(digest, s->body_sha256, sizeof digest) != 0)
		return error_set(e, ERROR_DENIED,
		    "what came beside the statement is not what the operator signed: its digest "
		    "differs");
	return true;
}

static bool
check_ca(const struct decision_row *row, const struct statement *s, struct error *e)
{
	if (row->ca_name == NULL || strcmp(s->ca, row->ca_name) != 0)
		return error_set(e, ERROR_INPUT, "the statement is about CA %s and not about %s",
		    s->ca, row->ca_name != NULL ? row->ca_name : "any CA that exists");
	return true;
}

static bool
check_request(const struct decision_row *row, const struct statement *s, struct error *e)
{
	char template[STATEMENT_NAME_MAX + 16];

	if (!check_ca(row, s, e))
		return false;
	if (strcmp(s->object, row->request_public_id) != 0)
		return error_set(e, ERROR_INPUT,
		    "the statement is about request %s and not about %s", s->object,
		    row->request_public_id);
	if (row->request_template == NULL)
		return error_set(e, ERROR_INPUT, "the decision names no request");
	if (s->has_csr &&
	    (row->request_csr_sha256.len != sizeof s->csr_sha256 ||
		memcmp(row->request_csr_sha256.p, s->csr_sha256, sizeof s->csr_sha256) != 0))
		return error_set(e, ERROR_DENIED,
		    "the CSR of request %s is not the one that the operator signed for", s->object);
	(void)snprintf(
	    template, sizeof template, "%s/%u", s->template_name, (unsigned)s->template_version);
	if (s->template_version != 0 && strcmp(template, row->request_template) != 0)
		return error_set(e, ERROR_DENIED,
		    "request %s is under template %s and not under %s, which the operator signed "
		    "for",
		    s->object, row->request_template, template);
	return true;
}

static bool
check_certificate(const struct decision_row *row, const struct statement *s, struct error *e)
{
	char thumbprint[2 * SHA256_DIGEST_LENGTH + 1] = "";

	if (row->certificate_sha256.len == SHA256_DIGEST_LENGTH)
		hex_encode(row->certificate_sha256.p, SHA256_DIGEST_LENGTH, thumbprint);
	if (strcmp(s->object, thumbprint) != 0)
		return error_set(e, ERROR_INPUT,
		    "the statement is about certificate %s and not about %s", s->object,
		    thumbprint);
	return check_ca(row, s, e);
}

static bool
check_object(const struct decision_row *row, const struct statement *s, struct error *e)
{
	switch (s->action) {
	case STATEMENT_APPROVE:
	case STATEMENT_DENY:
		return check_request(row, s, e);
	case STATEMENT_REVOKE:
	case STATEMENT_HOLD:
	case STATEMENT_RELEASE:
		return check_certificate(row, s, e);
	case STATEMENT_CRL_ISSUE:
	case STATEMENT_CA_INSTALL:
	case STATEMENT_CA_LIMITS:
	case STATEMENT_CA_RENEW:
	case STATEMENT_CA_REKEY:
	case STATEMENT_CA_ROLLOVER:
	case STATEMENT_CA_CROSS:
	case STATEMENT_KEY_ATTEST:
	case STATEMENT_KEY_DESTROY:
		return check_ca(row, s, e);
	default:
		return true;
	}
}

/* What keeps a statement from being handed in twice is that a row's nonce is
 * unique: so it has to be the statement's. */
static bool
check_nonce(const struct decision_row *row, const struct statement *s, struct error *e)
{
	if (row->nonce.len == sizeof s->nonce &&
	    memcmp(row->nonce.p, s->nonce, sizeof s->nonce) == 0)
		return true;
	return error_set(e, ERROR_DENIED,
	    "the decision was recorded under another nonce than that of its statement: a statement "
	    "counts once");
}

/* --------------------------------------------------------------- ceremonies */

static struct bytes
text_bytes(const char *text)
{
	return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

void
decision_order(const struct decision_row *row, struct signproto_order *order)
{
	*order = (struct signproto_order){
	    .statement = text_bytes(row->statement), .body = text_bytes(row->body)};
	order->signatures[order->signature_count++] = (struct signproto_operator_signature){
	    row->credential_spki, row->signature};
	for (size_t i = 0; i < row->more_count; i++)
		order->signatures[order->signature_count++] = (struct signproto_operator_signature){
		    row->more[i].spki, row->more[i].signature};
}

_Static_assert(
    DECISION_SIGNATURES_MAX <= SIGNPROTO_ORDER_SIGNATURES_MAX, "an order holds them all");

static bool
check_quorum(const struct decision_row *row, const struct statement *s, const struct limits *l,
    struct error *e)
{
	struct signproto_order order;
	struct statement ignored;
	const struct order_rules rules = {
	    .action = s->action,
	    .object = s->object,
	    .limits = l,
	    .right = LIMITS_RIGHT_LIMITS,
	    .needed = l->quorum,
	};

	decision_order(row, &order);
	return order_verify(&order, &rules, &ignored, e);
}

/* l: some 60 kB for the document that is looked at. */
static bool
check_documents(
    const struct decision_row *row, const struct statement *s, struct limits *l, struct error *e)
{
	struct limits_body parts;

	/* A new key's own; when it takes the place of another, those of that, too. */
	if ((s->action == STATEMENT_CA_CREATE || s->action == STATEMENT_CA_REKEY) &&
	    (!limits_body_parse(text_bytes(row->body), &parts, l, e) ||
		!check_quorum(row, s, l, e)))
		return false;
	if (s->action == STATEMENT_CA_CREATE)
		return true;
	if (row->limits_count == 0)
		return error_set(e, ERROR_CONFLICT,
		    "there are no limits of a key that say who may order %s of %s",
		    statement_action_name(s->action), s->object);
	for (size_t i = 0; i < row->limits_count; i++) {
		const struct bytes *text = &row->limits[i];

		if (!limits_parse((const char *)text->p, text->len, l, e) ||
		    !check_quorum(row, s, l, e))
			return false;
	}
	return true;
}

static bool
check_ceremony(const struct decision_row *row, const struct statement *s, struct error *e)
{
	struct limits *l;
	bool ok;

	if (!statement_is_ceremony(s->action))
		return true;
	if (row->overfull)
		return error_set(e, ERROR_LIMIT,
		    "a decision has at most %d signatures and depends on the limits of at most %d "
		    "keys",
		    DECISION_SIGNATURES_MAX, DECISION_LIMITS_MAX);
	for (size_t i = 0; i < row->more_count; i++)
		if (!statement_check_time(s, row->more[i].received_at, e))
			return false;
	l = malloc(sizeof *l);
	if (l == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	ok = check_documents(row, s, l, e);
	free(l);
	return ok;
}

bool
decision_check(
    const struct decision_row *row, uid_t own_uid, struct statement *statement, struct error *e)
{
	if (!statement_parse(row->statement, strlen(row->statement), statement, e))
		return false;
	if (strcmp(statement_action_name(statement->action), row->action) != 0)
		return error_set(e, ERROR_INPUT, "the statement says %s where the row says %s",
		    statement_action_name(statement->action), row->action);
	if (statement_is_pin(statement->action))
		return error_set(e, ERROR_INPUT, "%s is for a signer, and no decision",
		    statement_action_name(statement->action));
	return check_signer(row, statement, own_uid, e) && check_nonce(row, statement, e) &&
	       statement_check_time(statement, row->received_at, e) &&
	       check_body(row, statement, e) && check_object(row, statement, e) &&
	       check_ceremony(row, statement, e);
}

/* ------------------------------------------------------------ operator-add */

/* Reads "key: value\n" at *text into out and moves *text behind it. */
static bool
take_line(const char **text, const char *key, char *out, size_t size, struct error *e)
{
	size_t key_len = strlen(key), len;
	const char *end = strchr(*text, '\n');

	if (end == NULL || strncmp(*text, key, key_len) != 0 ||
	    strncmp(*text + key_len, ": ", 2) != 0)
		return error_set(e, ERROR_INPUT,
		    "the description of an operator has the lines person, roles, kind and then a "
		    "public key in PEM; %s is missing",
		    key);
	len = (size_t)(end - (*text + key_len + 2));
	if (len == 0 || len >= size)
		return error_set(
		    e, ERROR_LIMIT, "%s of an operator has 1 to %zu characters", key, size - 1);
	memcpy(out, *text + key_len + 2, len);
	out[len] = '\0';
	*text = end + 1;
	return true;
}

static bool
split_roles(char *list, struct operator_body *out, struct error *e)
{
	char *save = NULL;

	for (char *word = strtok_r(list, ",", &save); word != NULL;
	     word = strtok_r(NULL, ",", &save)) {
		if (out->role_count == OPERATOR_ROLES_MAX || strlen(word) >= sizeof out->roles[0])
			return error_set(e, ERROR_LIMIT,
			    "a person has at most %d roles, of at most %zu characters each",
			    OPERATOR_ROLES_MAX, sizeof out->roles[0] - 1);
		memcpy(out->roles[out->role_count++], word, strlen(word) + 1);
	}
	return out->role_count > 0 ||
	       error_set(e, ERROR_INPUT, "an operator needs at least one role");
}

bool
operator_body_parse(const char *text, struct operator_body *out, struct error *e)
{
	char roles[256];
	struct bytes pem;

	*out = (struct operator_body){0};
	if (!take_line(&text, "person", out->person, sizeof out->person, e) ||
	    !take_line(&text, "roles", roles, sizeof roles, e) ||
	    !take_line(&text, "kind", out->kind, sizeof out->kind, e) ||
	    !split_roles(roles, out, e))
		return false;
	pem = (struct bytes){(const uint8_t *)text, strlen(text)};
	if (!pem_decode(&pem, PEM_PUBLIC_KEY, out->spki, sizeof out->spki, &out->spki_len, e))
		return false;
	for (size_t i = 0; i < pem.len; i++) {
		if (strchr(" \r\n", pem.p[i]) == NULL)
			return error_set(e, ERROR_INPUT,
			    "something stands behind the public key of the operator");
	}
	if (strcmp(out->kind, "operator_key") == 0)
		return statement_check_key(out->spki, out->spki_len, e);
	if (strcmp(out->kind, "tls_client") == 0) {
		struct spki spki;

		return spki_parse((struct bytes){out->spki, out->spki_len}, &spki, e);
	}
	return error_set(e, ERROR_INPUT,
	    "kind of an operator's key is operator_key or tls_client, not \"%s\"", out->kind);
}
