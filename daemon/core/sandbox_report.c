#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/sandbox.h"

#define STATUS_LINE_MAX 1024

static const char *const modes[] = {
    [SANDBOX_BEST_EFFORT] = "best-effort",
    [SANDBOX_REQUIRE] = "require",
    [SANDBOX_OFF] = "off",
};

const char *
sandbox_mode_name(enum sandbox_mode mode)
{
	return modes[mode];
}

bool
sandbox_mode_parse(const char *word, enum sandbox_mode *mode)
{
	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		if (strcmp(word, modes[i]) == 0) {
			*mode = (enum sandbox_mode)i;
			return true;
		}
	}
	return false;
}

/* The value of a line "Name:\tvalue", or NULL. */
static const char *
value_of(const char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len) != 0 || line[len] != ':')
		return NULL;
	line += len + 1;
	return line + strspn(line, "\t ");
}

static void
read_line(const char *line, struct sandbox_report *r, bool *has_filters)
{
	const char *v;

	if ((v = value_of(line, "CapPrm")) != NULL || (v = value_of(line, "CapEff")) != NULL)
		r->capabilities |= strtoull(v, NULL, 16);
	else if ((v = value_of(line, "NoNewPrivs")) != NULL)
		r->no_new_privileges = v[0] == '1';
	else if ((v = value_of(line, "Seccomp")) != NULL && !*has_filters)
		r->filters = v[0] == '2'; /* kernels before 5.9 do not say how many */
	else if ((v = value_of(line, "Seccomp_filters")) != NULL) {
		r->filters = (unsigned)strtoul(v, NULL, 10);
		*has_filters = true;
	}
}

void
sandbox_look(struct sandbox_report *report)
{
	bool has_filters = false;
	char line[STATUS_LINE_MAX];
	FILE *in;

	*report = (struct sandbox_report){
	    .profile = "none", .sockets = "any", .uid = geteuid(), .gid = getegid()};
	in = fopen("/proc/self/status", "re");
	if (in == NULL) {
		(void)snprintf(report->missing, sizeof report->missing, "proc");
		return;
	}
	while (fgets(line, sizeof line, in) != NULL)
		read_line(line, report, &has_filters);
	(void)fclose(in);
}

/* ---- text. Writer and reader side by side. */

void
sandbox_report_format(const struct sandbox_report *r, char out[SANDBOX_TEXT_MAX])
{
	(void)snprintf(out, SANDBOX_TEXT_MAX,
	    "profile=%s uid=%" PRIu32 " gid=%" PRIu32 " caps=%" PRIx64
	    " nnp=%d filters=%u landlock=%u sockets=%s missing=%s",
	    r->profile, r->uid, r->gid, r->capabilities, r->no_new_privileges, r->filters,
	    r->landlock, r->sockets, r->missing[0] != '\0' ? r->missing : "-");
}

/* One word of a-z, 0-9, "+", "-" and ","; at the end of the text or before a blank. */
static bool
take_word(const char **text, const char *key, char *out, size_t size)
{
	size_t len;

	if (strncmp(*text, key, strlen(key)) != 0)
		return false;
	*text += strlen(key);
	len = strspn(*text, "abcdefghijklmnopqrstuvwxyz0123456789+-,");
	if (len == 0 || len >= size || ((*text)[len] != ' ' && (*text)[len] != '\0'))
		return false;
	memcpy(out, *text, len);
	out[len] = '\0';
	*text += len + ((*text)[len] == ' ');
	return true;
}

static bool
take_number(const char **text, const char *key, int base, uint64_t max, uint64_t *out)
{
	char word[24], *end;

	if (!take_word(text, key, word, sizeof word))
		return false;
	*out = strtoull(word, &end, base);
	return *end == '\0' && word[0] != '-' && word[0] != '+' && *out <= max;
}

bool
sandbox_report_parse(const char *text, struct sandbox_report *report, struct error *err)
{
	struct sandbox_report r = {0};
	uint64_t uid, gid, nnp, filters, landlock;
	char again[SANDBOX_TEXT_MAX];
	const char *at = text;

	if (!take_word(&at, "profile=", r.profile, sizeof r.profile) ||
	    !take_number(&at, "uid=", 10, UINT32_MAX, &uid) ||
	    !take_number(&at, "gid=", 10, UINT32_MAX, &gid) ||
	    !take_number(&at, "caps=", 16, UINT64_MAX, &r.capabilities) ||
	    !take_number(&at, "nnp=", 10, 1, &nnp) ||
	    !take_number(&at, "filters=", 10, UINT16_MAX, &filters) ||
	    !take_number(&at, "landlock=", 10, UINT16_MAX, &landlock) ||
	    !take_word(&at, "sockets=", r.sockets, sizeof r.sockets) ||
	    !take_word(&at, "missing=", r.missing, sizeof r.missing))
		return error_set(err, ERROR_INPUT, "'%.100s' is no report on a sandbox", text);
	if (strcmp(r.missing, "-") == 0)
		r.missing[0] = '\0';
	r.uid = (uint32_t)uid;
	r.gid = (uint32_t)gid;
	r.no_new_privileges = nnp == 1;
	r.filters = (unsigned)filters;
	r.landlock = (unsigned)landlock;
	sandbox_report_format(&r, again);
	if (strcmp(again, text) != 0)
		return error_set(err, ERROR_INPUT, "'%.100s' is no report on a sandbox", text);
	*report = r;
	return true;
}
