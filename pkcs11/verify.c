#include "pkcs11/verify.h"

#include <pthread.h>
#include <string.h>

#include "daemon/x509/ecdsa_verifier.h"

/* Keys that can have a table; further ones do without. */
#define TABLES_MAX 16
/* A key gets its table when it has signed this often. */
#define USES_MIN 256

struct table {
	uint8_t spki[128]; /* those of P-256 have 91 octets */
	size_t spki_len;   /* 0: not used yet */
	unsigned int uses;
	bool making; /* a thread makes it, or could not */
	struct ecdsa_verifier *verifier;
};

static struct {
	pthread_mutex_t lock;
	struct table tables[TABLES_MAX];
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct table *
find_table(struct bytes spki)
{
	for (size_t i = 0; i < TABLES_MAX && spki.len <= sizeof shared.tables[i].spki; i++) {
		struct table *t = &shared.tables[i];

		if (t->spki_len == 0) {
			memcpy(t->spki, spki.p, spki.len);
			t->spki_len = spki.len;
		}
		if (bytes_equal((struct bytes){t->spki, t->spki_len}, spki))
			return t;
	}
	return NULL;
}

/* The key's verifier, NULL while it has none; *make is set for the one caller that
 * is to make it. */
static const struct ecdsa_verifier *
look_up(struct bytes spki, struct table **make)
{
	const struct ecdsa_verifier *v = NULL;
	struct table *t;

	*make = NULL;
	(void)pthread_mutex_lock(&shared.lock);
	t = find_table(spki);
	if (t != NULL) {
		v = t->verifier;
		if (!t->making && ++t->uses >= USES_MIN) {
			t->making = true;
			*make = t;
		}
	}
	(void)pthread_mutex_unlock(&shared.lock);
	return v;
}

/* For this key the others go on without until it is there. */
static const struct ecdsa_verifier *
make_verifier(struct table *t, const struct spki *spki)
{
	struct error none = ERROR_INIT;
	struct ecdsa_verifier *v = ecdsa_verifier_new(spki, &none);

	(void)pthread_mutex_lock(&shared.lock);
	t->verifier = v;
	(void)pthread_mutex_unlock(&shared.lock);
	return v;
}

bool
verify_made(const struct key *key, enum sig_alg alg, struct bytes digest, struct bytes signature,
    struct error *e)
{
	const struct ecdsa_verifier *v = NULL;
	struct table *make;

	if (key->alg == KEY_P256 && alg == SIG_ECDSA_SHA256) {
		v = look_up(key->spki.whole, &make);
		if (make != NULL)
			v = make_verifier(make, &key->spki);
	}
	if (v != NULL)
		return ecdsa_verifier_check(v, digest, signature, e);
	return pkey_verify_digest(
	    key->pkey, alg, (unsigned int)sig_alg_digest_len(alg), digest, signature, e);
}
