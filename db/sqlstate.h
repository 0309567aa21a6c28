#ifndef CHANCERY_DB_SQLSTATE_H
#define CHANCERY_DB_SQLSTATE_H

/* What an SQLSTATE means to us (PostgreSQL's manual, appendix A; class CH is
 * our own functions'). */

#include "daemon/core/error.h"

/* ERROR_INTERNAL for one that should not happen. sqlstate NULL: the connection
 * is gone. */
enum error_code sqlstate_code(const char *sqlstate);

/* Sets err: the sentence of a function of ours as it stands; any other message
 * with what was attempted in front. Returns false. */
bool error_set_sqlstate(
    struct error *err, const char *sqlstate, const char *attempted, const char *message);

#endif
