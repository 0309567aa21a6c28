#ifndef CHANCERY_CLI_LIMITS_SHOW_H
#define CHANCERY_CLI_LIMITS_SHOW_H

/*
 * Limits documents, and those of a reseed, as people read them: every line as it is
 * signed, and below those that are for machines what they mean.
 */

#include <stdint.h>
#include <stdio.h>

/* The whole document. now: seconds since 1970, for "in so many days". */
void limits_show(FILE *out, const char *document, int64_t now);

/* The whole new document, with "-" before lines that are gone and "+" before those
 * that are new. */
void limits_show_change(FILE *out, const char *old, const char *fresh, int64_t now);

#endif
