#include "daemon/publish/standing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/publish/fetch.h"
#include "daemon/publish/readback.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/crl_scan.h"

#define PIECE 65536
#define TIME_TEXT_SIZE 24
#define NUMBER_TEXT_SIZE 64

struct gate {
	const struct publish_job *job;
	const char *url;	 /* that is looked at */
	struct certificate ca;	 /* points into the job */
	struct crl_scan *ours;	 /* of the artifact; its facts are borrowed from it */
	struct crl_facts wanted; /* what the artifact is */
	/* The value that is coming. */
	struct crl_scan *scan;
	EVP_MD_CTX *md;
	uint64_t len;
	bool is_crl; /* so far */
	/* The judgement. */
	enum standing standing;
	struct publish_result *result;
};

/* ---- the artifact */

static bool
scan_artifact(struct gate *g, int fd, struct error *err)
{
	uint8_t piece[PIECE];
	off_t at = 0;

	g->ours = crl_scan_new(g->ca.subject, &g->ca.spki, err);
	if (g->ours == NULL)
		return false;
	while ((uint64_t)at < g->job->size) {
		ssize_t n = pread(fd, piece, sizeof piece, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_set_errno(err, ERROR_SYSTEM, "reading the artifact");
		if (!crl_scan_push(g->ours, (struct bytes){piece, (size_t)n}, err))
			return false;
		at += n;
	}
	return crl_scan_finish(g->ours, &g->wanted, err);
}

/* ---- what stands there */

static bool
start_value(struct gate *g, struct error *err)
{
	struct error ignored = ERROR_INIT;

	crl_scan_free(g->scan);
	g->len = 0;
	g->scan = crl_scan_new(g->ca.subject, &g->ca.spki, &ignored);
	g->is_crl = g->scan != NULL;
	if (EVP_DigestInit_ex(g->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
	return true;
}

static bool
take_data(const void *p, size_t len, void *arg, struct error *err)
{
	struct error ignored = ERROR_INIT;
	struct gate *g = arg;

	g->len += len;
	if (g->is_crl)
		g->is_crl = crl_scan_push(g->scan, (struct bytes){p, len}, &ignored);
	if (EVP_DigestUpdate(g->md, p, len) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "digesting what stands there");
	return true;
}

static int
compare_numbers(struct bytes a, struct bytes b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return a.len == 0 ? 0 : memcmp(a.p, b.p, a.len);
}

/* Numbers count within one scope, which the IDP tells; time counts for all that
 * the key signs. A list of the other kind stands there by mistake. */
static bool
is_newer(const struct crl_facts *there, const struct crl_facts *wanted)
{
	if (there->delta != wanted->delta)
		return false;
	if (bytes_equal(there->idp, wanted->idp) &&
	    compare_numbers(there->number, wanted->number) > 0)
		return true;
	return there->this_update > wanted->this_update;
}

static void
set_newer(struct gate *g, const struct crl_facts *there, const uint8_t sha256[PUBLISH_SHA256_LEN])
{
	char has[NUMBER_TEXT_SIZE], would[NUMBER_TEXT_SIZE];
	char has_time[TIME_TEXT_SIZE] = "", would_time[TIME_TEXT_SIZE] = "";
	time_t a = (time_t)there->this_update, b = (time_t)g->wanted.this_update;
	struct tm tm;

	if (!crl_number_to_text(there->number, has, sizeof has))
		(void)snprintf(has, sizeof has, "?");
	if (!crl_number_to_text(g->wanted.number, would, sizeof would))
		(void)snprintf(would, sizeof would, "?");
	(void)strftime(has_time, sizeof has_time, "%Y-%m-%d %H:%M:%S", gmtime_r(&a, &tm));
	(void)strftime(would_time, sizeof would_time, "%Y-%m-%d %H:%M:%S", gmtime_r(&b, &tm));
	g->standing = STANDING_NEWER;
	g->result->outcome = PUBLISH_DIFFERENT;
	g->result->read_size = g->len;
	memcpy(g->result->read_sha256, sha256, PUBLISH_SHA256_LEN);
	error_clear(&g->result->error);
	error_set(&g->result->error, ERROR_CONFLICT,
	    "%s has CRL number %s of %s, which this CA's key signed and which is newer than number "
	    "%s of %s: it stays (RFC 5280 5.2.3). Was the database put back, or does another scope "
	    "or installation publish there?",
	    g->url, has, has_time, would, would_time);
}

static bool
take_end(bool *enough, void *arg, struct error *err)
{
	uint8_t sha256[PUBLISH_SHA256_LEN];
	struct error ignored = ERROR_INIT;
	struct crl_facts there;
	struct gate *g = arg;

	if (EVP_DigestFinal_ex(g->md, sha256, NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "ending a digest");
	if (g->len == g->job->size && memcmp(sha256, g->job->sha256, sizeof sha256) == 0) {
		if (g->standing == STANDING_FREE)
			g->standing = STANDING_SAME;
	} else if (g->is_crl && crl_scan_finish(g->scan, &there, &ignored) &&
		   is_newer(&there, &g->wanted)) {
		set_newer(g, &there, sha256);
	}
	*enough = g->standing == STANDING_NEWER;
	return start_value(g, err);
}

/* A place that never shows anything must still be written in time. */
static struct target_work
part_of(const struct target_work *work)
{
	struct target_work part = *work;

	part.deadline_ms -= (int64_t)target_left_ms(work) * 2 / 3;
	return part;
}

static bool
look(struct gate *g, const struct target_work *work, struct error *err)
{
	const struct fetch_sink sink = {.data = take_data, .end = take_end, .arg = g};
	const struct target_driver *driver = target_driver_of(work->job->kind);
	uint64_t max = work->job->size + READBACK_SLACK;
	struct error first = ERROR_INIT, second = ERROR_INIT;
	struct target_work part = part_of(work);

	work->seen->etag[0] = '\0';
	work->seen->absent = false;
	if (!start_value(g, err))
		return false;
	g->url = work->job->write_url;
	if (driver->look(&part, max, &sink, &first))
		return true;
	work->seen->etag[0] = '\0';
	work->seen->absent = first.code == ERROR_NOT_FOUND;
	g->url = work->job->read_url;
	if (work->seen->absent && strcmp(g->url, work->job->write_url) == 0)
		return true;
	/* Some places can only be written. */
	if (!start_value(g, err))
		return false;
	part = part_of(work);
	if (!fetch_read(&part, max, &sink, &second))
		error_clear(&second);
	if (g->standing == STANDING_SAME) /* by another way */
		g->standing = STANDING_FREE;
	return true;
}

bool
standing_look(const struct target_work *work, enum standing *standing,
    struct publish_result *result, struct error *err)
{
	const struct publish_job *job = work->job;
	struct gate g = {.job = job, .result = result, .standing = STANDING_FREE};
	bool ok = false;

	*standing = STANDING_FREE;
	if (job->artifact == ARTIFACT_CA_CERTIFICATE || job->issuer.len == 0)
		return true;
	if (!certificate_parse(job->issuer, &g.ca, err))
		return false;
	if (!scan_artifact(&g, work->artifact_fd, err))
		goto out;
	if ((g.md = EVP_MD_CTX_new()) == NULL) {
		error_set_openssl(err, ERROR_SYSTEM, "starting a digest");
		goto out;
	}
	ok = look(&g, work, err);
	*standing = g.standing;
out:
	EVP_MD_CTX_free(g.md);
	crl_scan_free(g.scan);
	crl_scan_free(g.ours);
	return ok;
}
