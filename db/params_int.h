#ifndef CHANCERY_DB_PARAMS_INT_H
#define CHANCERY_DB_PARAMS_INT_H

#include "db/params.h"

/* The values as libpq wants them; they live as long as p. p may be NULL. */
void params_values(const struct db_params *p, const char *values[DB_PARAMS_MAX]);

#endif
