#include "daemon/cli/locations_import.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/x509/location.h"

#define LINE_MAX_LEN 4096

struct import {
	FILE *lists[2]; /* cdp, aia */
	char *text[2];
	size_t len[2];
	bool aia;	    /* whose section the lines stand in */
	unsigned variables; /* of what was taken over */
	size_t count, line;
};

static bool
begins(const char *text, const char *word)
{
	return strncasecmp(text, word, strlen(word)) == 0;
}

/* "$name", "$(...)", "%name%": the last one with its signs escaped. */
static bool
has_script_variable(const char *url)
{
	const char *at = strchr(url, '$'), *end;

	if (at != NULL && (at[1] == '(' || at[1] == '_' || isalpha((unsigned char)at[1])))
		return true;
	at = strstr(url, "%25");
	end = at != NULL ? strstr(at + 3, "%25") : NULL;
	return end != NULL && strcspn(at + 3, "/<%") == (size_t)(end - at - 3);
}

/* Why it has no place in a policy, or NULL. */
static const char *
obstacle(const char *url, unsigned flags)
{
	const unsigned placed = LOCATION_PUBLISH | LOCATION_PUBLISH_DELTA;

	if (flags == 0)
		return "has no flags, so it is for nothing";
	if (has_script_variable(url))
		return "has a variable of the script or of Windows: write what it stands for";
	if (begins(url, "https:"))
		return (flags & ~placed) != 0
			   ? "clients cannot verify certificates with what takes "
			     "a certificate to fetch (RFC 5280 8)"
			   : NULL;
	if (begins(url, "http:") || begins(url, "ldap:") || begins(url, "ldaps:") ||
	    (begins(url, "file:///") && (flags & ~placed) == 0 && url[9] != ':'))
		return NULL;
	return "is a path of Windows, or a share: let a target or the flag publish name the place";
}

static void
put_entry(FILE *out, const char *url, unsigned flags)
{
	char text[LOCATION_FLAGS_TEXT_MAX];

	fprintf(out, "    - url: \"");
	for (; *url != '\0'; url++)
		fprintf(out, *url == '\\' || *url == '"' ? "\\%c" : "%c", *url);
	location_flags_text(flags, text);
	fprintf(out, "\"\n      flags: [%s]\n", text);
}

static bool
take_location(struct import *im, const char *line, struct error *e)
{
	char url[LOCATION_URL_MAX + 1];
	bool aia = im->aia;
	const char *why;
	unsigned flags;
	FILE *out;

	if (!location_from_adcs(line, &aia, &flags, url, e))
		return error_wrap(e, "line %zu", im->line);
	out = im->lists[aia];
	im->count++;
	why = obstacle(url, flags);
	if (why != NULL) {
		fprintf(out, "    # %s: %s\n", url, why);
		return true;
	}
	if (begins(url, "ldap") && (flags & (LOCATION_PUBLISH | LOCATION_PUBLISH_DELTA)) != 0)
		fprintf(out,
		    "    # to publish there needs a server in the URL, bind_dn, credential "
		    "and tls\n");
	put_entry(out, url, flags);
	im->variables |= location_variables(url);
	return true;
}

static const char *const lists[] = {"CRLPublicationURLs", "CACertPublicationURLs"};
static const char *const commands[] = {
    "Add-CACrlDistributionPoint", "Add-CAAuthorityInformationAccess"};

/* Where the line speaks of locations: the list's name, or the command; NULL: nowhere.
 * *which: of CRLs or of certificates. */
static const char *
find_any(const char *line, const char *const words[2], size_t *which)
{
	for (size_t i = 0; i < 2; i++) {
		const char *at = strcasestr(line, words[i]);

		if (at != NULL) {
			*which = i;
			return at;
		}
	}
	return NULL;
}

static bool
begins_with_any(const char *line, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (begins(line, words[i]))
			return true;
	return false;
}

static bool
take_line(struct import *im, const char *line, struct error *e)
{
	static const char *const remarks[] = {"#", "::", "rem ", "HKEY_"};
	/* What else stands in listings, and in scripts that set up a CA. */
	static const char *const others[] = {"CSURL_", "CertUtil", "@", "echo ", "net ", "sc ",
	    "Restart-", "Start-", "Stop-", "Import-", "Get-", "Remove-", "Write-", "foreach", "$",
	    "}"};
	const char *at;
	size_t which = 0;

	line += strspn(line, " \t");
	if (*line == '\0' || begins_with_any(line, remarks, COUNT_OF(remarks)))
		return true;
	at = find_any(line, commands, &which);
	if (at != NULL)
		return take_location(im, at, e);
	at = find_any(line, lists, &which);
	if (at == NULL)
		return begins_with_any(line, others, COUNT_OF(others)) ||
		       take_location(im, line, e);
	im->aia = which == 1;
	at += strlen(lists[which]);
	/* The head of a listing: the locations are in the lines below. */
	if (strcasestr(line, "-setreg") == NULL && strpbrk(at, "\"0123456789") == NULL)
		return true;
	if (strcasestr(at, "REG_MULTI_SZ") != NULL)
		return true;
	/* "certutil -setreg CA\CRLPublicationURLs "65:...": the value follows. */
	return take_location(im, at + strcspn(at, "\"0123456789"), e);
}

/* Two characters that stand for the end of a line: certutil's, or PowerShell's. */
static char *
find_two(char *line)
{
	for (; *line != '\0'; line++)
		if ((line[0] == '\\' || line[0] == '`') && line[1] == 'n' && line[2] != '\0' &&
		    strchr("\"0123456789", line[2]) != NULL)
			return line;
	return NULL;
}

static bool
take_parts(struct import *im, char *line, struct error *e)
{
	char *two;

	while ((two = find_two(line)) != NULL) {
		*two = '\0';
		if (!take_line(im, line, e))
			return false;
		line = two + 2;
	}
	return take_line(im, line, e);
}

/* Cuts off what ends a line; true: a backtick of PowerShell, and the line goes on. */
static bool
trim_end(char *line, size_t *len)
{
	while (*len > 0 && strchr(" \t\r", line[*len - 1]) != NULL)
		--*len;
	line[*len] = '\0';
	if (*len == 0 || line[*len - 1] != '`')
		return false;
	line[*len - 1] = ' ';
	return true;
}

static bool
take_text(struct import *im, const char *text, struct error *e)
{
	char line[LINE_MAX_LEN];
	size_t len = 0;

	while (*text != '\0') {
		size_t more = strcspn(text, "\n");

		im->line++;
		if (len + more >= sizeof line)
			return error_set(e, ERROR_LIMIT, "line %zu is longer than %d bytes",
			    im->line, LINE_MAX_LEN - 1);
		memcpy(line + len, text, more);
		len += more;
		text += more + (text[more] == '\n');
		if (trim_end(line, &len) && *text != '\0')
			continue;
		len = 0;
		if (!take_parts(im, line, e))
			return false;
	}
	return im->count > 0 || error_set(e, ERROR_INPUT, "there is no location of AD CS");
}

/* A byte order mark says how the text is written. */
static const char *
after_mark(const char *text, struct error *e)
{
	if (begins(text, "\xff\xfe") || begins(text, "\xfe\xff")) {
		(void)error_set(e, ERROR_INPUT,
		    "it is UTF-16, as \">\" of PowerShell writes it: save it as UTF-8 or ASCII");
		return NULL;
	}
	return begins(text, "\xef\xbb\xbf") ? text + 3 : text;
}

static bool
write_section(const struct import *im, char **yaml, struct error *e)
{
	static const char *const words[] = {"cdp", "aia"};
	const unsigned server = 1u << LOCATION_SERVER_DNS_NAME | 1u << LOCATION_SERVER_SHORT_NAME,
		       container = 1u << LOCATION_CONFIGURATION_CONTAINER;
	size_t size;
	FILE *out = open_memstream(yaml, &size);

	if (out == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a policy's section");
	fprintf(out, "locations:\n");
	if ((im->variables & server) != 0)
		fprintf(out, "  # server: what <ServerDNSName> stands for\n");
	if ((im->variables & container) != 0)
		fprintf(out, "  # config_dn: what <ConfigurationContainer> stands for\n");
	for (size_t i = 0; i < 2; i++) {
		bool some = strstr(im->text[i], "- url:") != NULL;

		if (im->len[i] > 0)
			fprintf(out, "  %s:%s\n%s", words[i], some ? "" : " []", im->text[i]);
	}
	if (fclose(out) == 0)
		return true;
	free(*yaml);
	*yaml = NULL;
	return error_set_errno(e, ERROR_SYSTEM, "writing a policy's section");
}

bool
locations_import(const char *text, char **yaml, struct error *e)
{
	struct import im = {0};
	bool ok = true;

	*yaml = NULL;
	text = after_mark(text, e);
	if (text == NULL)
		return false;
	for (size_t i = 0; i < 2; i++) {
		im.lists[i] = open_memstream(&im.text[i], &im.len[i]);
		ok = ok && im.lists[i] != NULL;
	}
	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "allocating a policy's section");
	ok = ok && take_text(&im, text, e);
	for (size_t i = 0; i < 2; i++)
		if (im.lists[i] != NULL && fclose(im.lists[i]) != 0)
			ok = ok && error_set_errno(e, ERROR_SYSTEM, "writing a policy's section");
	ok = ok && write_section(&im, yaml, e);
	for (size_t i = 0; i < 2; i++)
		free(im.text[i]);
	return ok;
}
