#ifndef CHANCERY_X509_LOCATION_INT_H
#define CHANCERY_X509_LOCATION_INT_H

/* What the files of locations share. */

#include <stddef.h>

#include "daemon/x509/location.h"

/* The length of a variable's number at "%...", 0: there is none. adcs: where every
 * number is a variable's, since nothing is an escape. *variable is one of enum
 * location_variable. */
size_t location_number_at(const char *at, bool adcs, size_t *variable);
/* The same for a name in brackets, in any case. */
size_t location_name_at(const char *at, size_t *variable);

/* Text of at most LOCATION_URL_MAX bytes, always ended. */
struct location_writer {
	char *out;
	size_t len;
	bool full; /* something did not fit */
};

void location_put(struct location_writer *w, const char *text, size_t len);
/* "%2B" */
void location_put_escaped(struct location_writer *w, char c);

#endif
