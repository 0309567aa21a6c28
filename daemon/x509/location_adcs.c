/* Locations as AD CS writes them. */

#include <string.h>
#include <strings.h>

#include "daemon/x509/location_int.h"

static const struct {
	const char *name;
	bool aia;
	unsigned flag;
} switches[] = {
    {"-PublishToServer", false, LOCATION_PUBLISH},
    {"-PublishDeltaToServer", false, LOCATION_PUBLISH_DELTA},
    {"-AddToCertificateCdp", false, LOCATION_IN_CERTIFICATES},
    {"-AddToFreshestCrl", false, LOCATION_IN_FRESHEST},
    {"-AddToCrlCdp", false, LOCATION_IN_CRL_PUBLISHED},
    {"-AddToCrlIdp", false, LOCATION_IN_IDP},
    {"-AddToCertificateAia", true, LOCATION_IN_CERTIFICATES},
    {"-AddToCertificateOcsp", true, LOCATION_AS_OCSP},
};

static const char crl_command[] = "Add-CACrlDistributionPoint";
static const char aia_command[] = "Add-CAAuthorityInformationAccess";

static const char *
skip_blanks(const char *at)
{
	return at + strspn(at, " \t");
}

/* ---- the registry */

/* "65:" and what stands behind it; false when there is none. */
static bool
read_number(const char **text, unsigned *value)
{
	const char *at = skip_blanks(*text);
	size_t len = strspn(at, "0123456789");

	if (len == 0 || len > 5 || at[len] != ':')
		return false;
	*value = 0;
	for (size_t i = 0; i < len; i++)
		*value = *value * 10 + (unsigned)(at[i] - '0');
	*text = at + len + 1;
	return true;
}

/* The flags are the last number: certutil's listing has one of its own before. A '+' adds
 * what follows to what is there. */
static bool
read_registry(const char **text, unsigned *value, size_t *len)
{
	*text += strspn(*text, " \t\"+");
	if (!read_number(text, value))
		return false;
	(void)read_number(text, value);
	*text = skip_blanks(*text);
	*len = strcspn(*text, "\r\n\"");
	return true;
}

/* ---- PowerShell */

static bool
is_command(const char *text, const char *command)
{
	size_t len = strlen(command);

	return strncasecmp(text, command, len) == 0 && (text[len] == ' ' || text[len] == '\t');
}

/* One word, in quotes or not; false at the end of the command. */
static bool
next_word(const char **text, const char **word, size_t *len)
{
	const char *at = skip_blanks(*text);

	if (*at == '\0' || strchr("\r\n|;#", *at) != NULL)
		return false;
	if (*at == '"' || *at == '\'') {
		const char quote[] = {*at, '\n', '\0'};

		*word = at + 1;
		*len = strcspn(*word, quote);
		*text = *word + *len + ((*word)[*len] == quote[0]);
	} else {
		*word = at;
		*len = strcspn(at, " \t\r\n|;");
		*text = at + *len;
	}
	return true;
}

static bool
is_word(const char *word, size_t len, const char *wanted)
{
	return strlen(wanted) == len && strncasecmp(word, wanted, len) == 0;
}

static bool
read_switch(const char *word, size_t len, bool aia, unsigned *value, struct error *err)
{
	for (size_t i = 0; i < COUNT_OF(switches); i++) {
		if (switches[i].aia == aia && is_word(word, len, switches[i].name)) {
			*value |= switches[i].flag;
			return true;
		}
	}
	return error_set(err, ERROR_INPUT, "'%.*s' is no switch of %s", (int)(len < 80 ? len : 80),
	    word, aia ? aia_command : crl_command);
}

/* Switches that say nothing of the location. */
static bool
is_manner(const char *word, size_t len, const char **text)
{
	if (!is_word(word, len, "-ErrorAction"))
		return is_word(word, len, "-Force") || is_word(word, len, "-Confirm:$false") ||
		       is_word(word, len, "-Verbose");
	(void)next_word(text, &word, &len); /* its value */
	return true;
}

/* The URL stands behind -Uri, or alone. */
static bool
read_command(const char *text, bool aia, unsigned *value, const char **url, size_t *url_len,
    struct error *err)
{
	const char *word;
	size_t len;

	*url = NULL;
	*value = 0;
	if (!next_word(&text, &word, &len))
		return false;
	while (next_word(&text, &word, &len)) {
		bool named = is_word(word, len, "-Uri");

		if (named && !next_word(&text, &word, &len))
			break;
		if (named || (len > 0 && *word != '-')) {
			if (*url != NULL)
				return error_set(err, ERROR_INPUT,
				    "the command has a second URL, '%.*s'",
				    (int)(len < 80 ? len : 80), word);
			*url = word;
			*url_len = len;
		} else if (!is_manner(word, len, &text) &&
			   !read_switch(word, len, aia, value, err)) {
			return false;
		}
	}
	return *url != NULL || error_set(err, ERROR_INPUT, "the command has no -Uri");
}

/* ---- the URL */

/* In a batch file every '%' stands twice. */
static void
put_variable(struct location_writer *w, const char **at)
{
	bool twice = (*at)[0] == '%' && (*at)[1] == '%';
	size_t variable = 0, len = **at == '%' ? location_number_at(*at + twice, true, &variable)
					       : location_name_at(*at, &variable);
	const char *name;

	if (len > 0) {
		*at += twice;
		name = location_variable_name((enum location_variable)variable);
		location_put(w, name, strlen(name));
		*at += len;
	} else {
		location_put_escaped(w, *(*at)++);
	}
}

static void
put_url(struct location_writer *w, const char *url, size_t len)
{
	const char *end = url + len;

	while (end > url && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	while (url < end) {
		if (*url == '%' || *url == '<')
			put_variable(w, &url);
		else if (*url <= 0x20 || *url >= 0x7f || strchr("\">^`{|}", *url) != NULL)
			location_put_escaped(w, *url++);
		else
			location_put(w, url++, 1);
	}
}

bool
location_from_adcs(const char *text, bool *aia, unsigned *flags, char *out, struct error *err)
{
	struct location_writer w = {.out = out};
	const char *at = skip_blanks(text);
	unsigned value = 0, allowed;
	size_t len = 0;

	out[0] = '\0';
	if (is_command(at, crl_command) || is_command(at, aia_command)) {
		*aia = is_command(at, aia_command);
		if (!read_command(at, *aia, &value, &at, &len, err))
			return false;
	} else if (!read_registry(&at, &value, &len)) {
		return error_set(err, ERROR_INPUT,
		    "'%.80s' is no location of AD CS; they look like 65:http://%%1/%%3%%8%%9.crl",
		    text);
	}
	allowed = (*aia ? LOCATION_AIA_FLAGS : LOCATION_CDP_FLAGS) & 0xff;
	if ((value & ~allowed) != 0)
		return error_set(err, ERROR_INPUT,
		    "'%.80s' has the flags %u, of which %u are not known for %s", text, value,
		    value & ~allowed, *aia ? "CA certificates" : "CRLs");
	put_url(&w, at, len);
	if (w.full || w.len == 0)
		return error_set(err, ERROR_INPUT, "'%.80s' has no URL, or a too long one", text);
	*flags = value;
	return true;
}
