#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/publish/fetch.h"
#include "daemon/publish/look.h"

struct taking {
	const struct target_work *work;
	EVP_MD_CTX *md;
	uint64_t len; /* of the value that is coming */
	struct publish_result *result;
};

static bool
start(struct taking *t, struct error *err)
{
	t->len = 0;
	if (EVP_DigestInit_ex(t->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
	return true;
}

static bool
add(const void *p, size_t len, void *arg, struct error *err)
{
	struct taking *t = arg;
	uint64_t room = t->len < LOOK_KEPT_MAX ? LOOK_KEPT_MAX - t->len : 0;
	size_t kept = len < room ? len : (size_t)room;

	if (kept > 0 && pwrite(t->work->artifact_fd, p, kept, (off_t)t->len) != (ssize_t)kept)
		return error_set_errno(err, ERROR_SYSTEM, "keeping what was fetched");
	t->len += len;
	if (EVP_DigestUpdate(t->md, p, len) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "digesting what was fetched");
	return true;
}

static bool
end(bool *enough, void *arg, struct error *err)
{
	static const uint8_t none[PUBLISH_SHA256_LEN];
	struct taking *t = arg;
	struct publish_result *r = t->result;
	const uint8_t *wanted = t->work->job->sha256;

	if (t->len == 0)
		return error_set(err, ERROR_INPUT, "what stands there is empty");
	if (EVP_DigestFinal_ex(t->md, r->read_sha256, NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "ending a digest");
	r->outcome = PUBLISH_SAME;
	r->read_size = t->len;
	*enough = memcmp(wanted, none, sizeof none) == 0 ||
		  memcmp(wanted, r->read_sha256, sizeof none) == 0;
	return start(t, err);
}

bool
look_fetch(const struct target_work *work, struct publish_result *result, struct error *err)
{
	struct taking t = {.work = work, .md = EVP_MD_CTX_new(), .result = result};
	const struct fetch_sink sink = {.data = add, .end = end, .arg = &t};
	bool ok;

	if (t.md == NULL)
		return error_set_openssl(err, ERROR_SYSTEM, "memory for a digest");
	ok = start(&t, err) && fetch_read(work, LOOK_READ_MAX, &sink, err);
	EVP_MD_CTX_free(t.md);
	return ok;
}
