#ifndef CHANCERY_PKCS11_PROBE_INT_H
#define CHANCERY_PKCS11_PROBE_INT_H

#include "pkcs11/console_login.h"
#include "pkcs11/key.h"
#include "pkcs11/probe.h"
#include "pkcs11/token.h"

#define PROBE_LABEL_MAX 48
#define PROBE_THREADS_MAX CONFIG_THREADS_MAX

struct probe {
	const struct config_token *config;
	const char *state_dir;
	const struct probe_options *options;
	FILE *out, *notes;
	bool begun; /* something was written to out */
	char label[PROBE_LABEL_MAX];
	struct console_login login;
	struct token *token;	/* NULL while it is away */
	struct session session; /* read-write; scratch keys live as long as it does */
	unsigned call_timeout_s;
	bool token_objects; /* the token has no session objects */
};

/* A line of the table. */
void probe_line(struct probe *p, const char *name, const char *fmt, ...) PRINTF(3, 4);

/* Set by a signal. */
bool probe_is_interrupted(void);

/* Opens token and session; probe_close is legal after a failure too. */
bool probe_open(struct probe *p, struct error *e) MUST_CHECK;
void probe_close(struct probe *p);

/* ---- probe_key.c */

struct scratch {
	CK_OBJECT_HANDLE public_key;
	struct key key;
};

/* A key pair that does not outlive the probe. */
bool probe_make_key(struct probe *p, enum key_alg alg, bool always_authenticate, struct scratch *k,
    struct error *e) MUST_CHECK;
void probe_drop_key(struct probe *p, struct scratch *k);

/* Lines on keys, signatures and CKA_ALWAYS_AUTHENTICATE; *best is the key that signs
 * soonest, KEY_NONE: there is none. */
void probe_keys(struct probe *p, enum key_alg *best);
/* Whether the token keeps values for the signer (anchor.h). */
void probe_data_objects(struct probe *p);
/* Removes what has our label; false when something is left. */
bool probe_clean(struct probe *p, struct error *e) MUST_CHECK;

/* ---- probe_rate.c */

void probe_sessions(struct probe *p);
void probe_rates(struct probe *p, enum key_alg alg);
bool probe_soak(struct probe *p, enum key_alg alg, struct error *e) MUST_CHECK;

#endif
