/*
 * A CRL from the database into a file, by the encoder and the stream that the
 * issuer uses, without spool, signer and gates:
 *
 *	crl_stream CONNINFO SCOPE_ID AFTER_SEQ FILE
 *
 * AFTER_SEQ: -1 for a complete CRL, otherwise a delta CRL of the events after that
 * number. The signature's place is filled, but not signed. Prints entries, octets,
 * seconds from the connection's start until the file is whole, and the largest
 * resident size in KiB.
 */

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <openssl/evp.h>

#include "daemon/core/log.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/name.h"
#include "db/crl.h"
#include "tests/bench/peak.h"

#define SIGNATURE_LEN 256
#define FILE_BUFFER (256 * 1024)

static struct event_base *base;
static struct db_stream *stream;
static struct crl_job job;
static int64_t upto;
static uint64_t entries, tbs_len;
static uint8_t name_buf[NAME_DER_MAX], extension_buf[EXTENSIONS_MAX];
static struct tbs_crl list = {.sig_alg = SIG_RSA_SHA256};
static EVP_MD_CTX *digest;
static FILE *out;

static void
must(bool ok, const struct error *e)
{
	if (!ok)
		errx(1, "%s", e != NULL ? e->text : "failed");
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
put(struct bytes b)
{
	if (fwrite(b.p, 1, b.len, out) != b.len)
		err(1, "the file");
}

static void
put_tbs(struct bytes b)
{
	if (EVP_DigestUpdate(digest, b.p, b.len) != 1)
		errx(1, "digesting");
	put(b);
}

static void
describe(void)
{
	static const uint8_t key_id[20] = {1}, number[1] = {2}, before[1] = {1};
	struct error e = ERROR_INIT;
	struct extensions x;

	must(name_from_text(
		 "CN=Bench CA,O=Example,C=DE", name_buf, sizeof name_buf, &list.issuer, &e),
	    &e);
	list.this_update = time(NULL);
	list.next_update = list.this_update + 86400;
	extensions_init(&x, extension_buf, sizeof extension_buf);
	extensions_add_authority_key_identifier(&x, (struct bytes){key_id, sizeof key_id});
	extensions_add_crl_number(&x, (struct bytes){number, sizeof number});
	if (job.delta)
		extensions_add_delta_crl_indicator(&x, (struct bytes){before, sizeof before});
	must(extensions_ok(&x), NULL);
	list.extensions = extensions_result(&x);
}

static bool
on_row(struct db_stream *s, struct db_stream_row *row, void *arg, struct error *e)
{
	struct crl_entry entry;
	uint8_t der[CRL_ENTRY_MAX];
	size_t len;

	if (!crl_get_entry(row, &entry, e) || !crl_entry_encode(&entry, job.delta, der, &len, e))
		return false;
	put_tbs((struct bytes){der, len});
	return true;
}

static void
on_end(struct db_stream *s, const struct error *why, void *arg)
{
	static const uint8_t signature[SIGNATURE_LEN] = {1};
	uint8_t buf[CRL_HEAD_MAX], sha256[32];
	struct error e = ERROR_INIT;
	struct bytes tail;

	must(why == NULL, why);
	must(crl_tbs_tail(&list, buf, sizeof buf, &tail, &e), &e);
	put_tbs(tail);
	must(EVP_DigestFinal_ex(digest, sha256, NULL) == 1, NULL);
	must(crl_list_tail(list.sig_alg, (struct bytes){signature, sizeof signature}, buf,
		 sizeof buf, &tail, &e),
	    &e);
	put(tail);
	event_base_loopbreak(base);
}

static void
on_sums(struct db_stream *s, struct db_result *result, const struct error *why, void *arg)
{
	uint8_t buf[CRL_HEAD_MAX], head[CRL_LIST_HEAD_MAX];
	struct error e = ERROR_INIT;
	uint64_t entries_len, list_len;
	struct bytes tbs_head;
	struct crl_sums sums;
	size_t len;

	must(why == NULL, why);
	must(crl_get_sums(result, &sums, &e) && crl_sums_size(&sums, &entries_len, &e), &e);
	entries = (uint64_t)sums.entries;
	must(crl_tbs_head(&list, entries_len, buf, sizeof buf, &tbs_head, &tbs_len, &e), &e);
	must(crl_list_head(tbs_len, list.sig_alg, SIGNATURE_LEN, head, &len, &list_len, &e), &e);
	put((struct bytes){head, len});
	put_tbs(tbs_head);
	must(crl_stream_entries(stream, &job, upto, on_row, on_end, NULL, &e), &e);
}

static void
on_seq(struct db_stream *s, struct db_result *result, const struct error *why, void *arg)
{
	struct error e = ERROR_INIT;

	must(why == NULL, why);
	upto = db_get_int64(result, 0, 0);
	must(crl_stream_sums(stream, &job, upto, on_sums, NULL, &e), &e);
}

static void
on_ready(struct db_stream *s, const struct error *why, void *arg)
{
	struct error e = ERROR_INIT;

	must(why == NULL, why);
	must(crl_stream_seq(stream, &job, on_seq, NULL, &e), &e);
}

int
main(int argc, char **argv)
{
	struct error e = ERROR_INIT;
	double start = now();

	if (argc != 5)
		errx(2, "usage: crl_stream CONNINFO SCOPE_ID AFTER_SEQ FILE");
	log_init("crl_stream", LOG_LEVEL_ERROR);
	job.scope_id = atoll(argv[2]);
	job.base_seq = atoll(argv[3]);
	job.delta = job.base_seq >= 0;
	job.drop_upto_seq = -1;
	describe();
	digest = EVP_MD_CTX_new();
	must(digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1, NULL);
	out = fopen(argv[4], "we");
	if (out == NULL || setvbuf(out, NULL, _IOFBF, FILE_BUFFER) != 0)
		err(1, "%s", argv[4]);
	base = event_base_new();
	if (base == NULL)
		errx(1, "no event loop");
	stream = db_stream_open(base, argv[1], on_ready, NULL, &e);
	must(stream != NULL, &e);
	(void)event_base_dispatch(base);
	if (fclose(out) != 0)
		err(1, "%s", argv[4]);
	printf("%llu %llu %.6f %ld\n", (unsigned long long)entries, (unsigned long long)tbs_len,
	    now() - start, peak_kib());
	db_stream_close(stream);
	event_base_free(base);
	EVP_MD_CTX_free(digest);
	return 0;
}
