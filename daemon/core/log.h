#ifndef CHANCERY_CORE_LOG_H
#define CHANCERY_CORE_LOG_H

/*
 * Log lines to standard error, one write(2) each, so that lines of several
 * processes never mix. Under systemd (JOURNAL_STREAM set) a line starts with
 * the syslog priority "<N>"; otherwise with the UTC time and the level.
 *
 * Every line carries the role of its process, and the object it is about by
 * construction: log_* takes the object (a request's id, a CA's name, a
 * target's name) as its own argument; "-" where there is none. Control bytes
 * from outside are replaced. Never log a PIN, a passphrase or a key.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

enum log_level {
	LOG_LEVEL_ERROR = 3, /* numbers of syslog(3) */
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* Sets role and threshold; call once at start (again on reload). role must
 * outlive the process. */
void log_init(const char *role, enum log_level threshold);

/* "error", "warning", "info", "debug" to a level; false if it is none. */
bool log_level_parse(const char *word, enum log_level *level) MUST_CHECK;

void log_line(enum log_level level, const char *object, const char *fmt, ...) PRINTF(3, 4);

#define log_error(object, ...) log_line(LOG_LEVEL_ERROR, object, __VA_ARGS__)
#define log_warning(object, ...) log_line(LOG_LEVEL_WARNING, object, __VA_ARGS__)
#define log_info(object, ...) log_line(LOG_LEVEL_INFO, object, __VA_ARGS__)
#define log_debug(object, ...) log_line(LOG_LEVEL_DEBUG, object, __VA_ARGS__)

/* Logs a set error as one line: its text, and the foreign code in brackets. */
void log_failure(enum log_level level, const char *object, const struct error *e);

#endif
