#include "daemon/x509/limits_policy.h"

#include <stdio.h>
#include <string.h>

#include "daemon/x509/canon.h"

/* ---- from a policy */

static bool
put_name(char *to, size_t size, const char *from, const char *field, struct error *err)
{
	if (strlen(from) >= size)
		return error_set(
		    err, ERROR_LIMIT, "%s '%.80s' has more than %zu bytes", field, from, size - 1);
	memcpy(to, from, strlen(from) + 1);
	return true;
}

/* Both ends belong to a validity (RFC 5280 4.1.2.5), so the last second counts. */
static bool
put_end(const struct capolicy *p, int64_t now, struct limits *out, struct error *err)
{
	int64_t life = p->limits.life_s;

	if (life == 0)
		life = p->validity_s != 0 ? p->validity_s : LIMITS_SUBORDINATE_LIFE_S;
	out->not_after = p->limits.not_after != 0 ? p->limits.not_after : now + life - 1;
	if (out->not_after <= now)
		return error_set(err, ERROR_INPUT,
		    "the policy's 'limits.not_after' has passed: the key could sign nothing");
	return true;
}

static bool
put_names(
    const char *const *texts, size_t count, struct limits_name *out, size_t *n, struct error *err)
{
	for (*n = 0; *n < count; ++*n)
		if (!limits_name_from_text(texts[*n], &out[*n], err))
			return false;
	return true;
}

bool
limits_from_policy(const struct capolicy *p, const char *ca, struct bytes text, int64_t now,
    struct limits *out, struct error *err)
{
	const struct capolicy_limits *l = &p->limits;

	memset(out, 0, sizeof *out);
	out->version = 1;
	out->root = p->kind == CA_ROOT;
	out->algorithm = p->key_alg;
	out->signatures[0] = p->sig_alg;
	out->signature_count = 1;
	out->path_length = p->path_length;
	out->quorum = l->quorum != 0 ? l->quorum : 1;
	memcpy(out->signer_ids, l->signer_ids, sizeof l->signer_ids);
	out->signer_count = l->signer_count;
	memcpy(out->responders, l->responders, sizeof l->responders);
	out->responder_count = l->responder_count;
	out->has_policy = true;
	limits_sha256((const char *)text.p, text.len, out->policy_sha256);
	if (p->subject.len > sizeof out->subject)
		return error_set(err, ERROR_LIMIT, "the subject takes %zu octets; allowed: %zu",
		    p->subject.len, sizeof out->subject);
	memcpy(out->subject, p->subject.p, p->subject.len);
	out->subject_len = p->subject.len;
	return put_name(out->ca, sizeof out->ca, ca, "the CA's name", err) &&
	       put_name(out->token, sizeof out->token, p->token, "the token's name", err) &&
	       put_end(p, now, out, err) &&
	       put_names(
		   l->permitted, l->permitted_count, out->permitted, &out->permitted_count, err) &&
	       put_names(l->excluded, l->excluded_count, out->excluded, &out->excluded_count, err);
}

/* ---- against a policy */

static bool
differs(struct error *err, const char *field, const char *limits, const char *policy)
{
	return error_set(err, ERROR_INPUT,
	    "the limits and the policy beside them are of different CAs: '%s' is %s in the limits "
	    "and %s in the policy",
	    field, limits, policy);
}

static void
path_length_text(int path_length, char out[16])
{
	if (path_length < 0)
		(void)snprintf(out, 16, "not set");
	else
		(void)snprintf(out, 16, "%d", path_length);
}

static bool
check_identity(const struct limits *l, const struct capolicy *p, struct error *err)
{
	static const char *const kinds[] = {"subordinate", "root"};
	char ours[16], theirs[16];

	if (l->root != (p->kind == CA_ROOT))
		return differs(err, "kind", kinds[l->root], kinds[p->kind == CA_ROOT]);
	if (strcmp(l->token, p->token) != 0)
		return differs(err, "token", l->token, p->token);
	if (l->algorithm != p->key_alg)
		return differs(
		    err, "algorithm", key_alg_name(l->algorithm), key_alg_name(p->key_alg));
	if (!bytes_equal((struct bytes){l->subject, l->subject_len}, p->subject))
		return differs(err, "subject", "another name", p->subject_text);
	if (l->path_length != p->path_length) {
		path_length_text(l->path_length, ours);
		path_length_text(p->path_length, theirs);
		return differs(err, "path-length", ours, theirs);
	}
	return true;
}

bool
limits_check_policy(const struct limits *l, const struct capolicy *p, struct error *err)
{
	if (!check_identity(l, p, err))
		return false;
	if (!limits_allows_signature(l, p->sig_alg))
		return error_set(err, ERROR_INPUT,
		    "the CA's policy signs with %s, which its limits do not allow",
		    sig_alg_name(p->sig_alg));
	for (size_t i = 0; i < l->template_count; i++)
		if (!capolicy_allows_template(p, l->templates[i].name))
			return error_set(err, ERROR_INPUT,
			    "the limits allow template %s, which the CA's policy does not name",
			    l->templates[i].name);
	return true;
}

/* ---- one policy after another */

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool
same_policies(const struct capolicy *a, const struct capolicy *b)
{
	if (a->policy_count != b->policy_count)
		return false;
	for (size_t i = 0; i < a->policy_count; i++)
		if (!bytes_equal(a->policies[i].oid, b->policies[i].oid) ||
		    !same_text(a->policies[i].cps, b->policies[i].cps))
			return false;
	return true;
}

bool
limits_check_next_policy(
    const struct capolicy *old, const struct capolicy *fresh, struct error *err)
{
	const struct {
		const char *key;
		bool same;
	} parts[] = {
	    {"subject", bytes_equal(old->subject, fresh->subject)},
	    {"kind", old->kind == fresh->kind},
	    {"token", strcmp(old->token, fresh->token) == 0},
	    {"key", old->key_alg == fresh->key_alg},
	    {"signature", old->sig_alg == fresh->sig_alg},
	    {"validity", old->validity_s == fresh->validity_s},
	    {"path_length", old->path_length == fresh->path_length},
	    {"policies", same_policies(old, fresh)},
	};

	for (size_t i = 0; i < COUNT_OF(parts); i++)
		if (!parts[i].same)
			return error_set(err, ERROR_INPUT,
			    "the policy differs from the one that the CA was made with in '%s'; "
			    "with its limits only 'templates', 'crl', 'limits', 'locations', "
			    "'targets' and 'entries' can change",
			    parts[i].key);
	return true;
}
