#include "daemon/cli/limits_show.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/cli/table.h"
#include "daemon/core/encode.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/name.h"

#define DAY 86400
#define LINE_MAX_OCTETS (LIMITS_TEXT_MAX + 1)

/* ------------------------------------------------- what a line means, or "" */

static void
explain_subject(const char *hex, char *out, size_t size)
{
	uint8_t der[LIMITS_SUBJECT_MAX];
	struct error ignored = ERROR_INIT;
	size_t len = strlen(hex) / 2;

	if (len > sizeof der || !canon_hex(hex, der, len) ||
	    !name_to_text((struct bytes){der, len}, out, size, &ignored))
		(void)snprintf(out, size, "(no name that can be read)");
}

static void
explain_end(const char *time, int64_t now, char *out, size_t size)
{
	int64_t t;

	if (canon_time(time, &t))
		(void)snprintf(out, size, "nothing that the key signs lives longer; %s %lld days",
		    t >= now ? "in" : "passed since",
		    (long long)((llabs((long long)(t - now)) + DAY - 1) / DAY));
}

/* "alice limits,decide BASE64" */
static void
explain_operator(const char *value, char *out, size_t size)
{
	const char *rights = strchr(value, ' '),
		   *key = rights != NULL ? strchr(rights + 1, ' ') : NULL;
	uint8_t spki[STATEMENT_SPKI_MAX], digest[SHA256_DIGEST_LENGTH];
	struct error ignored = ERROR_INIT;
	char hex[2 * SHA256_DIGEST_LENGTH + 1];
	bool limits, decide;
	size_t len;

	if (key == NULL || !base64_decode((struct bytes){(const uint8_t *)key + 1, strlen(key + 1)},
			       false, spki, sizeof spki, &len, &ignored))
		return;
	limits = strncmp(rights + 1, "limits", 6) == 0;
	decide = strncmp(rights + 1, "limits ", 7) != 0;
	SHA256(spki, len, digest);
	hex_encode(digest, sizeof digest, hex);
	(void)snprintf(out, size, "%s%s%s; key SHA-256 %s", limits ? "signs changes of limits" : "",
	    limits && decide ? " and " : "", decide ? "approves requests" : "", hex);
}

static void
explain_template(const char *value, char *out, size_t size)
{
	const char *validity = strstr(value, " validity=");
	long long days = validity != NULL ? strtoll(validity + 10, NULL, 10) / DAY : 0;

	(void)snprintf(out, size, "%s; certificates of at most %lld days%s",
	    strstr(value, " automatic ") != NULL ? "issues without an operator's decision"
						 : "each certificate takes an operator's decision",
	    days, strstr(value, " ca=yes ") != NULL ? "; they are CAs" : "");
}

static void
explain(const char *line, int64_t now, char *out, size_t size)
{
	const char *value = strstr(line, ": ");

	out[0] = '\0';
	if (value == NULL)
		return;
	value += 2;
	if (strncmp(line, "subject:", 8) == 0)
		explain_subject(value, out, size);
	else if (strncmp(line, "key:", 4) == 0 && strcmp(value, "-") != 0)
		(void)snprintf(out, size, "SHA-256 of the CA's public key");
	else if (strncmp(line, "not-after:", 10) == 0)
		explain_end(value, now, out, size);
	else if (strncmp(line, "retired:", 8) == 0)
		(void)snprintf(out, size, "the key signs %s; nothing takes this back",
		    strcmp(value, "ca") == 0
			? "no certificate any more, and the CA gets no other key"
			: "no certificate any more, and CRLs as before");
	else if (strncmp(line, "operator:", 9) == 0)
		explain_operator(value, out, size);
	else if (strncmp(line, "template:", 9) == 0)
		explain_template(value, out, size);
	else if (strncmp(line, "quorum:", 7) == 0)
		(void)snprintf(
		    out, size, "as many persons with the right \"limits\" must sign a change");
	else if (strncmp(line, "permitted:", 10) == 0 && strcmp(value, "-") == 0)
		(void)snprintf(out, size, "names are not restricted");
	else if (strncmp(line, "signer-ids:", 11) == 0)
		(void)snprintf(out, size, "only these signers may use the key");
	else if (strncmp(line, "challenge:", 10) == 0)
		(void)snprintf(
		    out, size, "of the journal that is closed; its signer logs the same");
	else if (strncmp(line, "floor:", 6) == 0)
		(void)snprintf(out, size,
		    "serial numbers and approvals up to then are over: nothing signed later may be "
		    "unknown to the database");
	else if (strncmp(line, "crl:", 4) == 0)
		(void)snprintf(out, size,
		    "no number up to this one is used again: compare it with the newest CRL that "
		    "was "
		    "published");
}

/* -------------------------------------------------------------------- lines */

/* The line that begins at text, without its end, into buf; the next one. */
static const char *
take_line(const char *text, char buf[LINE_MAX_OCTETS])
{
	size_t len = strcspn(text, "\n"), kept = len < LINE_MAX_OCTETS ? len : LINE_MAX_OCTETS - 1;

	memcpy(buf, text, kept);
	buf[kept] = '\0';
	return text + len + (text[len] == '\n');
}

static void
put_line(FILE *out, const char *mark, const char *line, int64_t now)
{
	char words[NAME_TEXT_MAX];

	(void)fprintf(out, "%s", mark);
	table_write_escaped(out, line, false);
	explain(line, now, words, sizeof words);
	if (words[0] != '\0') {
		(void)fprintf(out, "\n%*s# ", (int)strlen(mark) + 4, "");
		table_write_escaped(out, words, false);
	}
	(void)fputc('\n', out);
}

static bool
has_line(const char *document, const char *line)
{
	size_t len = strlen(line);

	for (const char *p = document; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
		if (strncmp(p, line, len) == 0 && (p[len] == '\n' || p[len] == '\0'))
			return true;
	}
	return false;
}

static bool
same_key(const char *a, const char *b)
{
	return strncmp(a, b, strcspn(a, ":") + 1) == 0;
}

/* Lines of old with the key of line that the new document does not have. */
static void
put_gone(FILE *out, const char *old, const char *fresh, const char *line, int64_t now, char *buf)
{
	while (*old != '\0') {
		old = take_line(old, buf);
		if (same_key(line, buf) && !has_line(fresh, buf))
			put_line(out, "- ", buf, now);
	}
}

void
limits_show(FILE *out, const char *document, int64_t now)
{
	char *line = malloc(LINE_MAX_OCTETS);

	while (line != NULL && *document != '\0') {
		document = take_line(document, line);
		put_line(out, "  ", line, now);
	}
	free(line);
}

/* Keys stand in the same order in all documents; only templates may be missing, and
 * `retired`, which nothing takes away. */
void
limits_show_change(FILE *out, const char *old, const char *fresh, int64_t now)
{
	char *line = malloc(LINE_MAX_OCTETS), *gone = malloc(LINE_MAX_OCTETS), last[32] = "";
	const char *at = fresh;

	while (line != NULL && gone != NULL && *at != '\0') {
		at = take_line(at, line);
		if (!same_key(last, line)) {
			if (same_key("nonce:", line) && !same_key("template:", last))
				put_gone(out, old, fresh, "template:", now, gone);
			put_gone(out, old, fresh, line, now, gone);
		}
		(void)snprintf(last, sizeof last, "%.*s:", (int)strcspn(line, ":"), line);
		put_line(out, has_line(old, line) ? "  " : "+ ", line, now);
	}
	free(line);
	free(gone);
}
