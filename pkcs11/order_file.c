#include "pkcs11/order_file.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/canon.h"
#include "pkcs11/store.h"

#define SEPARATOR "---\n"

struct order_file {
	struct signproto_order order; /* its slices point to what follows */
	uint8_t spkis[SIGNPROTO_ORDER_SIGNATURES_MAX][SIGNPROTO_OPERATOR_SPKI_MAX];
	uint8_t signatures[SIGNPROTO_ORDER_SIGNATURES_MAX][SIGNPROTO_OPERATOR_SIGNATURE_MAX];
	char text[ORDER_FILE_MAX + 1];
};

static void
put_base64(struct canon_writer *w, struct bytes b)
{
	char text[2 * SIGNPROTO_OPERATOR_SPKI_MAX];

	(void)EVP_EncodeBlock((unsigned char *)text, b.p, (int)b.len);
	canon_put(w, " %s", text);
}

static void
put_octets(struct canon_writer *w, struct bytes b)
{
	if (w->failed || b.len >= w->size - w->len) {
		w->failed = true;
		return;
	}
	memcpy(w->buf + w->len, b.p, b.len);
	w->len += b.len;
}

/* Over what stands before it, statement and body: the signatures do not cover each
 * other, nor those that count for nothing. */
static bool
make_digest(const struct signproto_order *order, const char *head, size_t head_len,
    uint8_t digest[SHA256_DIGEST_LENGTH])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok;

	ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(md, head, head_len) == 1 &&
	     EVP_DigestUpdate(md, order->statement.p, order->statement.len) == 1 &&
	     EVP_DigestUpdate(md, order->body.p, order->body.len) == 1 &&
	     EVP_DigestFinal_ex(md, digest, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok;
}

/* out has room for ORDER_FILE_MAX. */
static bool
format(const struct signproto_order *order, char *out, size_t *len, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct canon_writer w;

	canon_writer_init(&w, out, ORDER_FILE_MAX);
	canon_put(&w, "chancery-order: 1\n");
	for (size_t i = 0; i < order->signature_count; i++) {
		canon_put(&w, "signature:");
		put_base64(&w, order->signatures[i].spki);
		put_base64(&w, order->signatures[i].signature);
		canon_put(&w, "\n");
	}
	canon_put(&w, "statement: %zu\nbody: %zu\nsha256: ", order->statement.len, order->body.len);
	if (!make_digest(order, out, w.len, digest))
		return error_set(e, ERROR_INTERNAL, "cannot digest an order");
	canon_put_hex(&w, digest, sizeof digest);
	canon_put(&w, "\n" SEPARATOR);
	put_octets(&w, order->statement);
	put_octets(&w, order->body);
	if (w.failed || order->body.len > ORDER_FILE_BODY_MAX)
		return error_set(e, ERROR_LIMIT,
		    "an order of %zu octets; allowed with its signatures: %d", order->body.len,
		    ORDER_FILE_BODY_MAX);
	*len = w.len;
	return true;
}

bool
order_file_write(
    const char *dir, const char *name, const struct signproto_order *order, struct error *e)
{
	char *text = malloc(ORDER_FILE_MAX);
	size_t len = 0;
	bool ok;

	if (text == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for an order");
	ok = format(order, text, &len, e) && store_write(dir, name, text, len, false, e);
	free(text);
	return ok;
}

/* ---- reading */

static bool
read_base64(char **line, uint8_t *out, size_t size, struct bytes *b)
{
	const char *word = canon_next_word(line, ' ');
	struct error ignored = ERROR_INIT;
	size_t len = 0;

	if (word == NULL || !base64_decode((struct bytes){(const uint8_t *)word, strlen(word)},
				false, out, size, &len, &ignored))
		return false;
	*b = (struct bytes){out, len};
	return len > 0;
}

static bool
read_signature(struct order_file *f, struct canon_reader *r, struct error *e)
{
	size_t i = f->order.signature_count;
	struct signproto_operator_signature *s = &f->order.signatures[i];
	char *line;

	if (i == SIGNPROTO_ORDER_SIGNATURES_MAX || !canon_take(r, "signature", &line, e) ||
	    !read_base64(&line, f->spkis[i], sizeof f->spkis[i], &s->spki) ||
	    !read_base64(&line, f->signatures[i], sizeof f->signatures[i], &s->signature) ||
	    line != NULL)
		return false;
	f->order.signature_count++;
	return true;
}

static bool
read_length(struct canon_reader *r, const char *key, size_t max, size_t *len, struct error *e)
{
	uint64_t n = 0;
	char *value;

	if (!canon_take(r, key, &value, e) || !canon_number(value, max, &n))
		return false;
	*len = (size_t)n;
	return true;
}

/* The lines get their NULs here; statement and body behind them stay whole. */
static bool
parse(struct order_file *f, size_t len, struct error *e)
{
	struct signproto_order *o = &f->order;
	char *format_line, *digest;
	struct canon_reader r;
	size_t head;

	canon_reader_init(&r, f->text, "order");
	if (!canon_take(&r, "chancery-order", &format_line, e) || strcmp(format_line, "1") != 0)
		return false;
	while (canon_next_is(&r, "signature"))
		if (!read_signature(f, &r, e))
			return false;
	if (!read_length(&r, "statement", SIGNPROTO_STATEMENT_MAX, &o->statement.len, e) ||
	    !read_length(&r, "body", ORDER_FILE_BODY_MAX, &o->body.len, e) ||
	    !canon_take(&r, "sha256", &digest, e) ||
	    strncmp(r.at, SEPARATOR, strlen(SEPARATOR)) != 0)
		return false;
	r.at += strlen(SEPARATOR);
	head = (size_t)(r.at - f->text);
	if (o->signature_count == 0 || o->statement.len == 0 ||
	    len != head + o->statement.len + o->body.len)
		return false;
	o->statement.p = (const uint8_t *)r.at;
	o->body.p = o->statement.p + o->statement.len;
	return true;
}

static bool
is_canonical(const struct order_file *f, const char *original, size_t len)
{
	char *again = malloc(ORDER_FILE_MAX);
	struct error ignored = ERROR_INIT;
	size_t again_len = 0;
	bool same;

	same = again != NULL && format(&f->order, again, &again_len, &ignored) &&
	       again_len == len && memcmp(again, original, len) == 0;
	free(again);
	return same;
}

bool
order_file_read(const char *dir, const char *name, struct order_file **out, struct error *e)
{
	struct order_file *f = calloc(1, sizeof *f);
	struct error why = ERROR_INIT;
	char *original = NULL;
	size_t len = 0;
	bool ok = false;

	*out = NULL;
	if (f == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for an order");
		goto out;
	}
	if (!store_read(dir, name, f->text, ORDER_FILE_MAX, &len, e))
		goto out;
	original = malloc(len > 0 ? len : 1);
	if (original == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for an order");
		goto out;
	}
	memcpy(original, f->text, len);
	if (memchr(f->text, '\0', len) != NULL || !parse(f, len, &why) ||
	    !is_canonical(f, original, len)) {
		(void)error_set(e, ERROR_DENIED, "%s/%s is damaged", dir, name);
		goto out;
	}
	*out = f;
	f = NULL;
	ok = true;
out:
	free(original);
	free(f);
	return ok;
}

const struct signproto_order *
order_file_order(const struct order_file *f)
{
	return &f->order;
}

void
order_file_free(struct order_file *f)
{
	free(f);
}
