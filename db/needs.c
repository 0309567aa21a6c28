#include "db/needs.h"

#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "db/connect_int.h"

#define PORT_DEFAULT 5432 /* libpq's, unless the string says another */
#define PORT_DNS 53	  /* for answers that do not fit a datagram */

static const char *
value_of(const PQconninfoOption *options, const char *keyword)
{
	for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
		if (strcmp(o->keyword, keyword) == 0)
			return o->val != NULL && o->val[0] != '\0' ? o->val : NULL;
	}
	return NULL;
}

/* True when one of the names, which commas separate, is no directory or abstract name. */
static bool
has_host(const char *hosts)
{
	while (hosts != NULL && *hosts != '\0') {
		if (*hosts != '/' && *hosts != '@' && *hosts != ',')
			return true;
		hosts += strcspn(hosts, ",");
		hosts += *hosts == ',';
	}
	return false;
}

static void
allow_ports(struct sandbox *s, const char *ports)
{
	unsigned long port;
	char *end;

	if (ports == NULL)
		sandbox_port(s, PORT_DEFAULT);
	while (ports != NULL && *ports != '\0') {
		port = strtoul(ports, &end, 10);
		/* An empty one among several is the default. */
		sandbox_port(s, end == ports ? PORT_DEFAULT : (uint16_t)port);
		ports = end + strcspn(end, ",");
		ports += *ports == ',';
	}
	sandbox_port(s, PORT_DNS);
}

/* Passwords and certificates: what the string names, and what libpq looks for in
 * the home directory. */
static void
allow_files(struct sandbox *s, const PQconninfoOption *options)
{
	static const char *const keywords[] = {
	    "passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir"};
	static const char *const at_home[] = {".pgpass", ".pg_service.conf", ".postgresql"};
	const struct passwd *user;
	const char *home = getenv("HOME"), *file;
	char path[PATH_MAX];

	for (size_t i = 0; i < COUNT_OF(keywords); i++) {
		file = value_of(options, keywords[i]);
		if (file != NULL && file[0] == '/')
			sandbox_directory_of(s, SANDBOX_READ, file);
	}
	if (home == NULL) {
		user = getpwuid(geteuid());
		home = user != NULL ? user->pw_dir : NULL;
	}
	for (size_t i = 0; home != NULL && i < COUNT_OF(at_home); i++) {
		(void)snprintf(path, sizeof path, "%s/%s", home, at_home[i]);
		sandbox_path(s, SANDBOX_READ, path);
	}
}

bool
db_needs(const char *conninfo, bool alone, struct sandbox *s, struct error *err)
{
	PQconninfoOption *options;
	bool network, unknown;

	if (!conninfo_check(conninfo, err))
		return false;
	options = PQconninfoParse(conninfo, NULL);
	if (options == NULL)
		return error_set(err, ERROR_SYSTEM, "out of memory for a connection string");
	/* A service file may say anything. */
	unknown = value_of(options, "service") != NULL;
	network = unknown || value_of(options, "hostaddr") != NULL ||
		  has_host(value_of(options, "host"));
	/* Local sockets also for the C library, which asks services of this host for
	 * users and names. */
	sandbox_sockets(s, true, network);
	if (alone && network && !unknown)
		allow_ports(s, value_of(options, "port"));
	allow_files(s, options);
	PQconninfoFree(options);
	return true;
}

bool
db_conninfo_check(const char *conninfo, struct error *err)
{
	return conninfo_check(conninfo, err);
}
