#ifndef CHANCERY_CLI_LIMITS_NOTE_H
#define CHANCERY_CLI_LIMITS_NOTE_H

/*
 * Limits are signed once and know what there was then. Who adds an operator or
 * applies a template later is told which CAs' limits do not know it, and how
 * they are widened. These are hints on standard error: whatever goes wrong on
 * the way to them is no failure.
 */

#include "daemon/cli/cli.h"
#include "daemon/x509/der.h"
#include "daemon/x509/template.h"

/* A key of a new manager: which limits do not let it approve. */
void limits_note_operator(struct cli *cli, const char *person, struct bytes spki);

/* A new version of a template: which limits do not know it, or allow less. */
void limits_note_template(struct cli *cli, const struct template *t);

#endif
