#include "pkcs11/journal_show.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/extension.h"
#include "pkcs11/journal.h"
#include "pkcs11/journal_segment.h"

#define HEX_MAX (2 * SIGNPROTO_SIGNATURE_MAX + 1)
#define NUMBER_TEXT_MAX 64

struct show {
	FILE *out;
	bool json;
	/* The chain, over all segments. */
	bool begun;
	uint64_t seq;
	uint8_t hash[JOURNAL_HASH_LEN], id[JOURNAL_ID_LEN];
	uint64_t records;
};

/* ---- fields of a line */

/* As a JSON string's content; for people without quotes. */
static void
put_escaped(struct show *s, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '"' || c == '\\')
			(void)fprintf(s->out, "\\%c", c);
		else if (c == '\n')
			(void)fputs("\\n", s->out);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(s->out, "\\u%04x", c);
		else
			(void)fputc(c, s->out);
	}
}

static void
put_name(struct show *s, const char *name)
{
	(void)fprintf(s->out, s->json ? ", \"%s\": " : " %s=", name);
}

static void
put_text(struct show *s, const char *name, const char *text, size_t len)
{
	put_name(s, name);
	(void)fputc('"', s->out);
	put_escaped(s, text, len);
	(void)fputc('"', s->out);
}

static void
put_word(struct show *s, const char *name, const char *word)
{
	put_name(s, name);
	(void)fprintf(s->out, s->json ? "\"%s\"" : "%s", word);
}

static void
put_number(struct show *s, const char *name, uint64_t number)
{
	put_name(s, name);
	(void)fprintf(s->out, "%llu", (unsigned long long)number);
}

static void
put_hex(struct show *s, const char *name, const uint8_t *octets, size_t len)
{
	char hex[HEX_MAX];

	hex_encode(octets, len < SIGNPROTO_SIGNATURE_MAX ? len : SIGNPROTO_SIGNATURE_MAX, hex);
	put_word(s, name, hex);
}

static void
put_time(struct show *s, const char *name, int64_t time)
{
	char text[CANON_TIME_SIZE];

	if (canon_time_valid(time)) {
		canon_time_text(time, text);
		put_word(s, name, text);
	} else {
		put_number(s, name, (uint64_t)time);
	}
}

static void
put_crl_number(struct show *s, const char *name, const uint8_t *octets, size_t len)
{
	static const uint8_t zero[1];
	char text[NUMBER_TEXT_MAX];

	if (!crl_number_to_text(
		len > 0 ? (struct bytes){octets, len} : (struct bytes){zero, 1}, text, sizeof text))
		text[0] = '\0';
	put_word(s, name, text);
}

/* ---- records */

static bool
show_use(struct show *s, struct bytes payload)
{
	const struct guard_use *u;
	struct journal_use m;
	const char *alg;

	if (!journal_get_use(payload, &m))
		return false;
	u = &m.use;
	alg = sig_alg_name(u->alg);
	put_hex(s, "key", m.id, m.id_len);
	put_word(s, "kind", signproto_kind_name(u->kind));
	put_word(s, "algorithm", alg != NULL ? alg : "unknown");
	put_hex(s, "tbs-sha256", u->tbs_sha256, sizeof u->tbs_sha256);
	if (u->kind == SIGNPROTO_TBS_CERTIFICATE) {
		put_hex(s, "serial", u->serial, u->serial_len);
		if (u->has_decision) {
			put_hex(s, "decision", u->decision, sizeof u->decision);
			put_time(s, "decided", u->decision_issued);
		}
	} else if (u->kind == SIGNPROTO_TBS_CRL) {
		put_hex(s, "scope", u->scope, sizeof u->scope);
		put_crl_number(s, "number", u->number, u->number_len);
		if (u->delta)
			put_crl_number(s, "base", u->base_number, u->base_number_len);
		put_time(s, "this-update", u->this_update);
		put_time(s, "next-update", u->next_update);
	}
	return true;
}

static bool
show_signature(struct show *s, struct bytes payload)
{
	struct journal_signature m;

	if (!journal_get_signature(payload, &m))
		return false;
	put_number(s, "use", m.use_seq);
	put_word(s, "kind", signproto_kind_name(m.kind));
	if (m.kind == SIGNPROTO_TBS_CERTIFICATE)
		put_hex(s, "serial", m.serial, m.serial_len);
	put_hex(s, "signature", m.signature, m.signature_len);
	return true;
}

static bool
show_segment(struct show *s, struct bytes payload)
{
	struct journal_segment m;

	if (!journal_get_segment(payload, &m))
		return false;
	put_hex(s, "journal", m.journal_id, sizeof m.journal_id);
	put_number(s, "segment", m.number);
	put_number(s, "signer", m.signer_id);
	put_text(s, "token", m.token, strlen(m.token));
	put_number(s, "serials", m.serials);
	return true;
}

static bool
show_floors(struct show *s, struct bytes payload)
{
	struct journal_floors m;

	if (!journal_get_floors(payload, &m))
		return false;
	put_time(s, "serial-floor", m.serial_floor);
	put_time(s, "decision-floor", m.decision_floor);
	put_word(s, "anchored", m.anchored ? "yes" : "no");
	put_word(s, "reseeded", m.reseeded ? "yes" : "no");
	return true;
}

static bool
show_key(struct show *s, struct bytes payload)
{
	static const char *const origins[] = {"", "made", "found", "reseed"};
	struct journal_key m;

	if (!journal_get_key(payload, &m))
		return false;
	put_hex(s, "key", m.id, m.id_len);
	put_word(s, "origin", origins[m.origin]);
	return true;
}

static bool
show_scope(struct show *s, struct bytes payload)
{
	struct journal_scope m;

	if (!journal_get_scope(payload, &m))
		return false;
	put_hex(s, "key", m.id, m.id_len);
	put_hex(s, "scope", m.scope, sizeof m.scope);
	if (m.complete.len > 0)
		put_crl_number(s, "complete", m.complete.number, m.complete.len);
	if (m.delta.len > 0)
		put_crl_number(s, "delta", m.delta.number, m.delta.len);
	return true;
}

static bool
show_start(struct show *s, struct bytes payload)
{
	char version[64], note[256];
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	wire_get_string(&r, version, sizeof version);
	wire_get_string(&r, note, sizeof note);
	put_text(s, "version", version, strlen(version));
	if (note[0] != '\0')
		put_text(s, "note", note, strlen(note));
	return wire_reader_end(&r);
}

static bool
show_login(struct show *s, struct bytes payload)
{
	char line[LOGINS_LINE_SIZE];

	if (!journal_get_login(payload, line))
		return false;
	put_text(s, "line", line, strlen(line));
	return true;
}

/* All of it: statement, document, and who signed. */
static void
put_order(struct show *s, const struct signproto_order *order)
{
	put_text(s, "statement", (const char *)order->statement.p, order->statement.len);
	put_text(s, "document", (const char *)order->body.p, order->body.len);
	for (size_t i = 0; i < order->signature_count; i++) {
		uint8_t digest[SHA256_DIGEST_LENGTH];
		char name[32];

		(void)SHA256(order->signatures[i].spki.p, order->signatures[i].spki.len, digest);
		(void)snprintf(name, sizeof name, "signed-by-%zu", i + 1);
		put_hex(s, name, digest, sizeof digest);
	}
}

static bool
show_reseed(struct show *s, struct bytes payload)
{
	struct error why = ERROR_INIT;
	struct signproto_reseed m;
	struct bytes order;

	if (!journal_get_reseed(payload, NULL, NULL, &order) ||
	    !signproto_get_reseed(order, &m, &why))
		return false;
	put_order(s, &m.order);
	return true;
}

static bool
show_destruction(struct show *s, struct bytes payload)
{
	struct signproto_key_destroy m;
	struct error why = ERROR_INIT;

	if (!signproto_get_key_destroy(payload, &m, &why))
		return false;
	put_hex(s, "key", m.cka_id.p, m.cka_id.len);
	put_order(s, &m.order);
	return true;
}

static bool
show_payload(struct show *s, const struct journal_record *r)
{
	switch (r->type) {
	case JOURNAL_SEGMENT:
		return show_segment(s, r->payload);
	case JOURNAL_FLOORS:
		return show_floors(s, r->payload);
	case JOURNAL_KEY:
		return show_key(s, r->payload);
	case JOURNAL_SCOPE:
		return show_scope(s, r->payload);
	case JOURNAL_USE:
		return show_use(s, r->payload);
	case JOURNAL_SIGNATURE:
		return show_signature(s, r->payload);
	case JOURNAL_START:
		return show_start(s, r->payload);
	case JOURNAL_RESEED:
		return show_reseed(s, r->payload);
	case JOURNAL_LOGIN:
		return show_login(s, r->payload);
	case JOURNAL_DESTROY:
		return show_destruction(s, r->payload);
	case JOURNAL_BEGIN:
	case JOURNAL_STOP:
	case JOURNAL_ANCHORED:
		return true;
	}
	return false;
}

static bool
show_record(struct show *s, const struct journal_record *r)
{
	char time[CANON_TIME_SIZE] = "-";
	bool ok;

	if (canon_time_valid(r->time))
		canon_time_text(r->time, time);
	(void)fprintf(s->out,
	    s->json ? "{\"record\": %llu, \"time\": \"%s\", \"type\": \"%s\"" : "%llu %s %s",
	    (unsigned long long)r->seq, time, journal_type_name(r->type));
	ok = show_payload(s, r);
	(void)fputs(s->json ? "}\n" : "\n", s->out);
	s->records++;
	return ok;
}

/* ---- segments */

static bool
wrong(uint32_t number, const char *what, struct error *e)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(number, name);
	return error_set(e, ERROR_INPUT, "%s %s", name, what);
}

static bool
show_records(struct show *s, uint32_t number, const uint8_t *buf, size_t size, bool newest,
    FILE *notes, struct error *e)
{
	enum segment_tail tail;
	struct journal_record r;
	struct segment_walk w;

	if (!segment_walk(&w, number, buf, size))
		return wrong(number, "does not begin as a segment of a journal", e);
	if (w.head.size != size)
		return wrong(number, "was cut off, or is longer than it was", e);
	if (s->begun && (w.seq != s->seq || memcmp(w.hash, s->hash, sizeof s->hash) != 0 ||
			    memcmp(w.head.journal_id, s->id, sizeof s->id) != 0))
		return wrong(number, "does not go on where the one before it ends", e);
	while (segment_next(&w, &r)) {
		if (!show_record(s, &r))
			return wrong(number, "has a record that this version does not know", e);
	}
	tail = segment_tail(&w);
	if (tail == SEGMENT_DAMAGED || (tail == SEGMENT_TORN && !newest))
		return wrong(number, "is damaged: a record in it is not what was written", e);
	if (tail == SEGMENT_TORN)
		(void)fprintf(notes,
		    "behind record %llu something begins that is no whole record: it is being "
		    "written, "
		    "or the power went\n",
		    (unsigned long long)w.seq);
	s->begun = true;
	s->seq = w.seq;
	memcpy(s->hash, w.hash, sizeof s->hash);
	memcpy(s->id, w.head.journal_id, sizeof s->id);
	return true;
}

static bool
show_segments(
    struct show *s, int dir_fd, const uint32_t *numbers, size_t count, FILE *notes, struct error *e)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t *buf;
		size_t size;
		bool ok;

		if (i > 0 && numbers[i] != numbers[i - 1] + 1)
			return wrong(
			    numbers[i], "does not follow the one before it: one is missing", e);
		if (!segment_read(dir_fd, numbers[i], &buf, &size, e))
			return false;
		ok = show_records(s, numbers[i], buf, size, i + 1 == count, notes, e);
		free(buf);
		if (!ok)
			return false;
	}
	return true;
}

bool
journal_show(const char *dir, bool as_json, FILE *out, FILE *notes, struct error *e)
{
	struct show s = {.out = out, .json = as_json};
	uint32_t *numbers = NULL;
	char hash[2 * JOURNAL_HASH_LEN + 1];
	bool ok = false;
	size_t count;
	int dir_fd;

	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot open the directory %s", dir);
	if (!segment_list(dir_fd, &numbers, &count, e))
		goto out;
	if (count == 0) {
		(void)error_set(e, ERROR_NOT_FOUND, "there is no journal in %s", dir);
		goto out;
	}
	if (!show_segments(&s, dir_fd, numbers, count, notes, e))
		goto out;
	hex_encode(s.hash, sizeof s.hash, hash);
	(void)fprintf(notes,
	    "%llu records in segments %u to %u: whole, up to record %llu with %s\n",
	    (unsigned long long)s.records, numbers[0], numbers[count - 1],
	    (unsigned long long)s.seq, hash);
	if (numbers[0] > 1)
		(void)fprintf(notes, "the segments before %u are not here\n", numbers[0]);
	ok = fflush(out) == 0 || error_set_errno(e, ERROR_SYSTEM, "cannot write the records");
out:
	free(numbers);
	(void)close(dir_fd);
	return ok;
}
