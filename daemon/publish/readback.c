#include "daemon/publish/readback.h"

#include <string.h>

#include <openssl/evp.h>

#include "daemon/publish/fetch.h"

/* Values are digested one by one until one is the artifact; where none is, the
 * first is what stands there. */
struct comparison {
	const struct publish_job *job;
	EVP_MD_CTX *md;
	uint64_t len; /* of the value that is coming */
	struct publish_result *result;
	bool has_first;
};

static bool
start(struct comparison *c, struct error *err)
{
	c->len = 0;
	if (c->md == NULL)
		c->md = EVP_MD_CTX_new();
	if (c->md == NULL || EVP_DigestInit_ex(c->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
	return true;
}

static bool
add(const void *p, size_t len, void *arg, struct error *err)
{
	struct comparison *c = arg;

	c->len += len;
	if (EVP_DigestUpdate(c->md, p, len) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "digesting what was read back");
	return true;
}

static bool
end(bool *enough, void *arg, struct error *err)
{
	struct comparison *c = arg;
	uint8_t sha256[PUBLISH_SHA256_LEN];

	if (EVP_DigestFinal_ex(c->md, sha256, NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "ending a digest");
	*enough = c->len == c->job->size && memcmp(sha256, c->job->sha256, sizeof sha256) == 0;
	if (*enough)
		c->result->outcome = PUBLISH_SAME;
	if (*enough || !c->has_first) {
		c->has_first = true;
		c->result->read_size = c->len;
		memcpy(c->result->read_sha256, sha256, sizeof sha256);
	}
	return start(c, err);
}

bool
readback_compare(const struct target_work *work, struct publish_result *result, struct error *err)
{
	const struct publish_job *job = work->job;
	struct comparison c = {.job = job, .result = result};
	const struct fetch_sink sink = {.data = add, .end = end, .arg = &c};
	bool ok;

	result->outcome = PUBLISH_DIFFERENT;
	ok = start(&c, err) && fetch_read(work, job->size + READBACK_SLACK, &sink, err);
	EVP_MD_CTX_free(c.md);
	if (ok && result->outcome == PUBLISH_DIFFERENT)
		error_set(&result->error, ERROR_CONFLICT,
		    "%s gives clients something else (%llu octets instead of %llu); does the "
		    "server behind it serve what is written to %s?",
		    job->read_url, (unsigned long long)result->read_size,
		    (unsigned long long)job->size, job->write_url);
	return ok;
}
