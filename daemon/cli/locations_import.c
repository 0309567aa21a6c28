#include "daemon/cli/locations_import.h"

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

/* Why it has no place in a policy, or NULL. */
static const char *
obstacle(const char *url, unsigned flags)
{
	const unsigned placed = LOCATION_PUBLISH | LOCATION_PUBLISH_DELTA;

	if (flags == 0)
		return "has no flags, so it is for nothing";
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
	bool first = true;

	fprintf(out, "    - url: \"");
	for (; *url != '\0'; url++)
		fprintf(out, *url == '\\' || *url == '"' ? "\\%c" : "%c", *url);
	fprintf(out, "\"\n      flags: [");
	for (unsigned flag = 1; flag <= LOCATION_IN_CERTIFICATE_FRESHEST; flag <<= 1) {
		if ((flags & flag) == 0)
			continue;
		fprintf(out, "%s%s", first ? "" : ", ", location_flag_name(flag));
		first = false;
	}
	fprintf(out, "]\n");
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

/* Lines of certutil's listing that say nothing of their own. */
static bool
is_remark(const char *line)
{
	return *line == '\0' || *line == '#' || begins(line, "CSURL_") ||
	       begins(line, "CertUtil:") || begins(line, "HKEY_") ||
	       begins(line, "Restart-Service");
}

static bool
take_line(struct import *im, const char *line, struct error *e)
{
	line += strspn(line, " \t");
	if (is_remark(line))
		return true;
	/* "certutil -setreg CA\CRLPublicationURLs "65:...": the value follows. */
	for (size_t i = 0; i < 2; i++) {
		static const char *const names[] = {"CRLPublicationURLs", "CACertPublicationURLs"};
		const char *at = strcasestr(line, names[i]);

		if (at == NULL)
			continue;
		im->aia = i == 1;
		at += strlen(names[i]);
		line = strpbrk(at, "\"0123456789");
		/* The head of a listing: the locations are in the lines below. */
		if (line == NULL || strcasestr(at, "REG_MULTI_SZ") != NULL)
			return true;
		break;
	}
	return take_location(im, line, e);
}

/* Lines end at "\n", also at those two characters, which certutil -setreg takes. */
static bool
take_text(struct import *im, const char *text, struct error *e)
{
	char line[LINE_MAX_LEN];

	while (*text != '\0') {
		const char *end = text + strcspn(text, "\n"), *two = strstr(text, "\\n");
		size_t len, skip = *end == '\n';

		if (two != NULL && two < end && (two[2] == '"' || strchr("0123456789", two[2]))) {
			end = two;
			skip = 2;
		}
		len = (size_t)(end - text);
		im->line++;
		if (len >= sizeof line)
			return error_set(e, ERROR_LIMIT, "line %zu is longer than %d bytes",
			    im->line, LINE_MAX_LEN - 1);
		memcpy(line, text, len);
		if (len > 0 && line[len - 1] == '\r')
			len--;
		line[len] = '\0';
		if (!take_line(im, line, e))
			return false;
		text = end + skip;
	}
	return im->count > 0 || error_set(e, ERROR_INPUT, "there is no location of AD CS");
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
