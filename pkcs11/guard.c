#include "pkcs11/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/x509/sig_input.h"
#include "pkcs11/guard_int.h"

/* A build for tests can leave out one rule, to see which test notices. */
#ifdef GUARD_WITHOUT
#define LEFT_OUT(rule) (strcmp((rule)->name, GUARD_WITHOUT) == 0)
#else
#define LEFT_OUT(rule) ((void)(rule), false)
#endif

struct guard_stream {
	struct key_limits key; /* these two are borrowed from below */
	struct guard_request request;
	struct crl_check check;
	struct sig_input input; /* what the token signs */
	EVP_MD_CTX *sha256;	/* what the journal keeps */
	struct guard_count count;
	uint64_t left;
};

static const struct guard_table *const tables[] = {
    &guard_any_table,
    &guard_certificate_table,
    &guard_root_table,
    &guard_renewal_table,
    &guard_rollover_table,
    &guard_issued_table,
    &guard_power_table,
    &guard_name_table,
    &guard_decision_table,
    &guard_crl_table,
    &guard_csr_table,
};

bool
guard_rule(size_t number, const char **kind, const char **name, const char **reference)
{
	for (size_t i = 0; i < COUNT_OF(tables); i++) {
		if (number < tables[i]->count) {
			*kind = tables[i]->kind;
			*name = tables[i]->rules[number].name;
			*reference = tables[i]->rules[number].reference;
			return true;
		}
		number -= tables[i]->count;
	}
	return false;
}

bool
guard_no(struct error *why, const char *fmt, ...)
{
	char words[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	return error_set(why, ERROR_DENIED, "%s", words);
}

bool
guard_sha256(struct bytes b, uint8_t digest[32], struct error *why)
{
	return EVP_Digest(b.p, b.len, digest, NULL, EVP_sha256(), NULL) == 1 ||
	       error_set_openssl(why, ERROR_INTERNAL, "cannot compute SHA-256");
}

/* What is refused, by which rule, and why. That this process is out of memory is
 * no refusal, and what only waited too long may be built anew. */
static bool
refuse(enum signproto_kind kind, const struct guard_rule *rule, const struct error *why,
    struct error *e)
{
	bool other = why->code == ERROR_SYSTEM || why->code == ERROR_INTERNAL ||
		     why->code == ERROR_CONFLICT;
	enum error_code code = other ? why->code : ERROR_DENIED;

	return error_set(e, code, "the signer refuses to sign this %s: rule %s (%s): %s",
	    signproto_kind_name(kind), rule->name, rule->reference, why->text);
}

static bool
run(const struct guard_table *table, struct guard_case *g, struct error *e)
{
	for (size_t i = 0; i < table->count && !g->open; i++) {
		const struct guard_rule *rule = &table->rules[i];
		struct error why = ERROR_INIT;

		if (LEFT_OUT(rule) && !rule->gate)
			continue;
		if (rule->check(g, &why))
			continue;
		if (LEFT_OUT(rule)) {
			g->open = true;
			return true;
		}
		return refuse(g->r->kind, rule, &why, e);
	}
	return true;
}

/* ---- whole structures */

static bool
use_certificate(struct guard_use *use, const struct guard_case *g, struct error *e)
{
	uint8_t digest[32];
	uint16_t signer_id;

	if (g->c.serial.len > 0)
		memcpy(use->serial, g->c.serial.p, g->c.serial.len);
	use->serial_len = g->c.serial.len;
	if (!serial_parse(g->c.serial, &signer_id, &use->serial_time))
		use->serial_time = 0;
	if (!g->decided && !g->renewed)
		return true;
	if (!guard_sha256(g->renewed ? g->r->order->statement : g->r->statement, digest, e))
		return false;
	use->has_decision = true;
	memcpy(use->decision, digest, sizeof use->decision);
	use->decision_issued = g->statement.issued;
	return true;
}

/* What is no statement is refused by either. */
static const struct guard_table *
order_table(const struct signproto_order *order)
{
	struct statement s;

	return statement_parse((const char *)order->statement.p, order->statement.len, &s, NULL) &&
		       s.action == STATEMENT_CA_ROLLOVER
		   ? &guard_rollover_table
		   : &guard_renewal_table;
}

static bool
check_certificate(struct guard_case *g, struct guard_use *use, struct error *e)
{
	if (!run(&guard_certificate_table, g, e))
		return false;
	if (g->r->template == NULL || g->r->template[0] == '\0') {
		if ((g->r->order != NULL && !run(order_table(g->r->order), g, e)) ||
		    !run(&guard_root_table, g, e))
			return false;
		use->own = !g->rollover;
	} else if (!run(&guard_issued_table, g, e) || !run(&guard_power_table, g, e) ||
		   !run(&guard_name_table, g, e) || !run(&guard_decision_table, g, e)) {
		return false;
	}
	return use_certificate(use, g, e);
}

static bool
use_crl(struct guard_use *use, const struct crl_summary *s, struct error *e)
{
	use->delta = s->delta;
	memcpy(use->number, s->number, s->number_len);
	use->number_len = s->number_len;
	memcpy(use->base_number, s->base_number, s->base_number_len);
	use->base_number_len = s->base_number_len;
	use->this_update = s->this_update;
	use->next_update = s->next_update;
	return s->idp.len == 0 || guard_sha256(s->idp, use->scope, e);
}

/* A certificate or a request, whole; digested by the caller. */
static bool
check_case(const struct guard_request *r, struct guard_use *use, struct error *e)
{
	struct guard_case g = {.r = r, .key = r->key, .l = &r->key->document};

	if (!run(&guard_any_table, &g, e))
		return false;
	if (r->kind == SIGNPROTO_TBS_CERTIFICATE)
		return check_certificate(&g, use, e);
	return run(&guard_csr_table, &g, e);
}

/* A CRL that comes whole is a stream of one piece. */
static bool
check_crl(const struct guard_request *r, struct guard_use *use, struct error *e)
{
	struct guard_stream *g = guard_stream_new(r, r->tbs.len, e);
	bool ok;

	ok = g != NULL && guard_stream_push(g, r->tbs, e) && guard_stream_finish(g, use, e);
	guard_stream_free(g);
	return ok;
}

/* Most often both are the same SHA-256. */
static bool
digest(const struct guard_request *r, struct guard_use *use, struct error *e)
{
	unsigned int n = 0;

	if (!guard_sha256(r->tbs, use->tbs_sha256, e))
		return false;
	/* With Ed25519 the structure itself is signed; the digest only names it. */
	if (sig_alg_md(r->alg) == EVP_sha256() || sig_alg_md(r->alg) == NULL) {
		memcpy(use->digest.octets, use->tbs_sha256, sizeof use->tbs_sha256);
		use->digest.len = sizeof use->tbs_sha256;
		return true;
	}
	if (EVP_Digest(r->tbs.p, r->tbs.len, use->digest.octets, &n, sig_alg_md(r->alg), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a structure");
	use->digest.len = n;
	return true;
}

bool
guard_check(const struct guard_request *r, struct guard_use *use, struct error *e)
{
	memset(use, 0, sizeof *use);
	if (r->kind == SIGNPROTO_TBS_CRL)
		return check_crl(r, use, e);
	use->kind = r->kind;
	use->alg = r->alg;
	return check_case(r, use, e) && digest(r, use, e);
}

/* ---- streams */

static bool
count_entry(const struct crl_entry *entry, void *arg, struct error *e)
{
	struct guard_count *n = arg;

	(void)e;
	if (entry->reason < CRL_ABSTRACT_REASONS)
		n->reasons[entry->reason]++;
	n->fresh += entry->revoked_at > n->since;
	return true;
}

struct guard_count *
guard_stream_count(struct guard_stream *g)
{
	return &g->count;
}

static struct crl_rules
crl_rules_of(struct guard_stream *g, uint64_t total_len)
{
	return (struct crl_rules){
	    .issuer = {g->key.document.subject, g->key.document.subject_len},
	    .key_id = {g->key.key_id, sizeof g->key.key_id},
	    .sig_alg = g->request.alg,
	    .total_len = total_len,
	    .entry = count_entry,
	    .arg = &g->count,
	};
}

static bool
stream_begin(struct guard_stream *g, uint64_t total_len, struct error *e)
{
	struct guard_case c = {.r = &g->request, .key = &g->key, .l = &g->key.document};
	struct crl_rules rules = crl_rules_of(g, total_len);

	if (!run(&guard_any_table, &c, e))
		return false;
	g->sha256 = EVP_MD_CTX_new();
	if (g->sha256 == NULL || EVP_DigestInit_ex(g->sha256, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "cannot begin to check a CRL");
	if (!sig_input_begin(&g->input, g->request.alg, e))
		return false;
	crl_check_begin(&g->check, &rules);
	return true;
}

struct guard_stream *
guard_stream_new(const struct guard_request *r, uint64_t total_len, struct error *e)
{
	struct guard_stream *g = calloc(1, sizeof *g);

	if (g == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory to check a CRL");
		return NULL;
	}
	g->key = *r->key;
	g->request = *r;
	g->request.key = &g->key;
	g->request.tbs = g->request.csr = g->request.statement = (struct bytes){0};
	g->request.signature = g->request.spki = (struct bytes){0};
	g->request.template = "";
	g->request.order = NULL;
	g->request.own_keys = NULL;
	g->request.own_key_count = 0;
	g->left = total_len;
	if (stream_begin(g, total_len, e))
		return g;
	guard_stream_free(g);
	return NULL;
}

/* What the checker says is the word of the rule `crl`. */
static bool
refuse_crl(const struct guard_stream *g, const struct error *why, struct error *e)
{
	return refuse(g->request.kind, &guard_crl_table.rules[0], why, e);
}

bool
guard_stream_push(struct guard_stream *g, struct bytes piece, struct error *e)
{
	struct error why = ERROR_INIT;
	bool ok;

	ok = piece.len <= g->left ? crl_check_push(&g->check, piece, &why)
				  : guard_no(&why, "it is longer than was announced");
	if (!ok && !LEFT_OUT(&guard_crl_table.rules[0]))
		return refuse_crl(g, &why, e);
	if (!sig_input_add(&g->input, piece, e))
		return false;
	if (EVP_DigestUpdate(g->sha256, piece.p, piece.len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a CRL");
	g->left -= piece.len;
	return true;
}

bool
guard_stream_finish(struct guard_stream *g, struct guard_use *use, struct error *e)
{
	struct guard_case c = {.r = &g->request, .key = &g->key, .l = &g->key.document};
	struct error why = ERROR_INIT;
	struct bytes input;

	memset(use, 0, sizeof *use);
	use->kind = SIGNPROTO_TBS_CRL;
	use->alg = g->request.alg;
	if (!crl_check_finish(&g->check, &c.crl, &why)) {
		if (!LEFT_OUT(&guard_crl_table.rules[0]))
			return refuse_crl(g, &why, e);
	} else if (!run(&guard_crl_table, &c, e) || !use_crl(use, c.crl, e)) {
		return false;
	}
	if (EVP_DigestFinal_ex(g->sha256, use->tbs_sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a CRL");
	if (!sig_input_end(&g->input, &input, e))
		return false;
	if (g->input.md == NULL)
		input = (struct bytes){use->tbs_sha256, sizeof use->tbs_sha256};
	memcpy(use->digest.octets, input.p, input.len);
	use->digest.len = input.len;
	return true;
}

uint8_t *
guard_stream_take_whole(struct guard_stream *g, size_t *len)
{
	uint8_t *whole = g->input.whole;

	*len = g->input.len;
	g->input.whole = NULL;
	return whole;
}

void
guard_stream_free(struct guard_stream *g)
{
	if (g == NULL)
		return;
	sig_input_free(&g->input);
	EVP_MD_CTX_free(g->sha256);
	free(g);
}
