#include "pkcs11/worker_int.h"

#include <string.h>

#include <openssl/evp.h>

/* What an operator's list calls an order: SHA-256 of its statement. */
static bool
digest_statement(const struct job *job, uint8_t digest[32])
{
	struct bytes input = {job->input, job->input_len};
	struct error ignored = ERROR_INIT;
	struct signproto_order order;
	union {
		struct signproto_key_generate generate;
		struct signproto_limits_set limits;
		struct signproto_install install;
		struct signproto_reseed reseed;
		struct signproto_key_destroy destroy;
	} m;

	if (job->kind == JOB_KEY_GENERATE &&
	    signproto_get_key_generate(input, &m.generate, &ignored))
		order = m.generate.order;
	else if (job->kind == JOB_LIMITS_SET &&
		 signproto_get_limits_set(input, &m.limits, &ignored))
		order = m.limits.order;
	else if (job->kind == JOB_INSTALL && signproto_get_install(input, &m.install, &ignored))
		order = m.install.order;
	else if (job->kind == JOB_RESEED && signproto_get_reseed(input, &m.reseed, &ignored))
		order = m.reseed.order;
	else if (job->kind == JOB_KEY_DESTROY &&
		 signproto_get_key_destroy(input, &m.destroy, &ignored))
		order = m.destroy.order;
	else
		return false;
	return EVP_Digest(
		   order.statement.p, order.statement.len, digest, NULL, EVP_sha256(), NULL) == 1;
}

static bool
digest_structure(const struct job *job, uint8_t digest[32])
{
	struct error ignored = ERROR_INIT;
	struct signproto_sign m;

	if (job->kind == JOB_SIGN_DIGEST) {
		memcpy(digest, job->use.tbs_sha256, 32);
		return true;
	}
	return signproto_get_sign((struct bytes){job->input, job->input_len}, &m, &ignored) &&
	       EVP_Digest(m.tbs.p, m.tbs.len, digest, NULL, EVP_sha256(), NULL) == 1;
}

static void
describe_for_gate(const struct job *job, struct gate_job *g)
{
	static const enum pin_operation_kind kinds[] = {
	    [SIGNPROTO_TBS_CERTIFICATE] = PIN_OPERATION_CERTIFICATE,
	    [SIGNPROTO_TBS_CRL] = PIN_OPERATION_CRL,
	    [SIGNPROTO_CSR_INFO] = PIN_OPERATION_CSR_INFO,
	};
	struct pin_operation *o = &g->operation;

	*g = (struct gate_job){.counts = job->kind == JOB_SIGN || job->kind == JOB_SIGN_DIGEST};
	if (!g->counts) {
		o->kind = PIN_OPERATION_ORDER;
		g->listed = digest_statement(job, o->sha256);
		return;
	}
	o->kind = kinds[job->structure];
	memcpy(o->cka_id, job->id, job->id_len);
	o->cka_id_len = job->id_len;
	g->listed = digest_structure(job, o->sha256);
}

/* Entries are past it: they open it, and each is good for one time. */
void
worker_run_behind_gate(struct worker *w, struct job *job)
{
	struct gate *gate = w->pool->place.gate;
	bool signed_;
	struct gate_job g;

	if (gate == NULL) {
		worker_run_patiently(w, job);
	} else if (job->kind == JOB_PIN || job->kind == JOB_LOCK) {
		worker_run(w, job);
	} else {
		describe_for_gate(job, &g);
		if (gate_enter(gate, &g, &job->error)) {
			w->session.pin = gate_pin(gate);
			w->session.pin_refused = false;
			worker_run_patiently(w, job);
			w->session.pin = (struct bytes){0};
			/* Looking whether the token is there is no use of it. */
			signed_ = g.counts && !error_is_set(&job->error) && !job->ticket.answered;
			gate_leave(gate, &g, signed_, w->session.pin_refused);
		}
	}
	if (gate != NULL && gate_is_lost(gate))
		w->session.fatal = true;
}
