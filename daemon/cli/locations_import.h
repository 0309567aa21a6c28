#ifndef CHANCERY_CLI_LOCATIONS_IMPORT_H
#define CHANCERY_CLI_LOCATIONS_IMPORT_H

/* Locations of AD CS, as its administrators have them, made the section `locations`
 * of a CA policy. */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/* text: what certutil -getreg printed, arguments of certutil -setreg, commands of
 * PowerShell, one location to a line, or a script of such commands. What cannot be taken
 * over stands as a comment with the reason. *yaml is the caller's to free. ERROR_INPUT when
 * there is none. */
bool locations_import(const char *text, char **yaml, struct error *e) MUST_CHECK;

#endif
