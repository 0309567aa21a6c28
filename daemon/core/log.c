#include "daemon/core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static const char *log_role = "chancery";
static enum log_level log_threshold = LOG_LEVEL_INFO;
static bool log_to_journal;

static const struct {
	const char *word;
	enum log_level level;
} levels[] = {
    {"error", LOG_LEVEL_ERROR},
    {"warning", LOG_LEVEL_WARNING},
    {"info", LOG_LEVEL_INFO},
    {"debug", LOG_LEVEL_DEBUG},
};

void
log_init(const char *role, enum log_level threshold)
{
	log_role = role;
	log_threshold = threshold;
	log_to_journal = getenv("JOURNAL_STREAM") != NULL;
}

bool
log_level_parse(const char *word, enum log_level *level)
{
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		if (strcmp(word, levels[i].word) == 0) {
			*level = levels[i].level;
			return true;
		}
	}
	return false;
}

static const char *
level_word(enum log_level level)
{
	for (size_t i = 0; i < COUNT_OF(levels); i++) {
		if (levels[i].level == level)
			return levels[i].word;
	}
	return "info";
}

static size_t
write_prefix(char *line, size_t cap, enum log_level level, const char *object)
{
	char when[32] = "";
	struct tm tm;
	time_t now;
	int n;

	if (log_to_journal) {
		n = snprintf(
		    line, cap, "<%d>%s[%d] %s: ", (int)level, log_role, (int)getpid(), object);
	} else {
		now = time(NULL);
		if (gmtime_r(&now, &tm) != NULL)
			(void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
		n = snprintf(line, cap, "%s %s %s[%d] %s: ", when, level_word(level), log_role,
		    (int)getpid(), object);
	}
	if (n < 0)
		return 0;
	return (size_t)n < cap ? (size_t)n : cap - 1;
}

void
log_line(enum log_level level, const char *object, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	size_t used, room;
	va_list ap;
	int n;

	if (level > log_threshold)
		return;
	used = write_prefix(line, sizeof line - 1, level, object);
	room = sizeof line - 1 - used;
	va_start(ap, fmt);
	n = vsnprintf(line + used, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		used += (size_t)n < room ? (size_t)n : room - 1;
	for (size_t i = 0; i < used; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
	}
	line[used++] = '\n';
	/* Nobody to tell when standard error is gone. */
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}

void
log_failure(enum log_level level, const char *object, const struct error *e)
{
	if (e->foreign[0] != '\0')
		log_line(level, object, "%s [%s]", e->text, e->foreign);
	else
		log_line(level, object, "%s", e->text);
}
