#include "daemon/front/processes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DONE "done"

/* ---- what the supervisor says */

static bool
take_word(const char **text, char *out, size_t size)
{
	size_t len = strcspn(*text, " ");

	if (len == 0 || len >= size || (*text)[len] != ' ')
		return false;
	memcpy(out, *text, len);
	out[len] = '\0';
	*text += len + 1;
	return true;
}

static bool
parse(const char *text, struct process_entry *e, struct error *err)
{
	const char *at = text;
	char pid[12];

	*e = (struct process_entry){0};
	if (!take_word(&at, e->name, sizeof e->name) || !take_word(&at, pid, sizeof pid) ||
	    strspn(pid, "0123456789") != strlen(pid) || !take_word(&at, e->state, sizeof e->state))
		return error_set(err, ERROR_INPUT, "'%.100s' describes no process", text);
	e->pid = (int)strtol(pid, NULL, 10);
	if (strcmp(at, "-") == 0)
		return true;
	e->has_report = true;
	return sandbox_report_parse(at, &e->report, err);
}

static struct process_entry *
find(struct processes *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++) {
		if (strcmp(p->entries[i].name, name) == 0)
			return &p->entries[i];
	}
	return NULL;
}

bool
processes_take(struct processes *p, const char *text, struct error *err)
{
	struct process_entry fresh, *known;

	if (!parse(text, &fresh, err))
		return false;
	known = find(p, fresh.name);
	if (strcmp(fresh.state, DONE) == 0) {
		if (known != NULL)
			*known = p->entries[--p->count];
		return true;
	}
	if (known == NULL && p->count == PROCESSES_MAX)
		return error_set(err, ERROR_LIMIT, "more than %d processes", PROCESSES_MAX);
	if (known == NULL)
		known = &p->entries[p->count++];
	*known = fresh;
	return true;
}

/* ---- what clients read */

static json_t *
missing_json(const char *words)
{
	json_t *list = json_array();

	while (list != NULL && *words != '\0') {
		size_t len = strcspn(words, ",");

		(void)json_array_append_new(list, json_stringn(words, len));
		words += len + (words[len] == ',');
	}
	return list;
}

static json_t *
entry_json(const struct process_entry *e)
{
	const struct sandbox_report *r = &e->report;
	json_t *o = json_pack("{s:s, s:o, s:s}", "name", e->name, "pid",
	    e->pid > 0 ? json_integer(e->pid) : json_null(), "state", e->state);
	char capabilities[20];

	if (o == NULL || !e->has_report)
		return o;
	(void)snprintf(capabilities, sizeof capabilities, "%" PRIx64, r->capabilities);
	(void)json_object_set_new(o, "uid", json_integer(r->uid));
	(void)json_object_set_new(o, "gid", json_integer(r->gid));
	(void)json_object_set_new(o, "capabilities", json_string(capabilities));
	(void)json_object_set_new(o, "no_new_privileges", json_boolean(r->no_new_privileges));
	(void)json_object_set_new(o, "profile", json_string(r->profile));
	(void)json_object_set_new(o, "seccomp_filters", json_integer(r->filters));
	(void)json_object_set_new(o, "landlock", json_integer(r->landlock));
	(void)json_object_set_new(o, "sockets", json_string(r->sockets));
	(void)json_object_set_new(o, "missing", missing_json(r->missing));
	return o;
}

static int
by_name(const void *a, const void *b)
{
	const struct process_entry *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

json_t *
processes_json(const struct processes *p)
{
	const struct process_entry *sorted[PROCESSES_MAX];
	json_t *list = json_array();

	if (list == NULL)
		return NULL;
	for (size_t i = 0; i < p->count; i++)
		sorted[i] = &p->entries[i];
	qsort(sorted, p->count, sizeof sorted[0], by_name);
	for (size_t i = 0; i < p->count; i++)
		(void)json_array_append_new(list, entry_json(sorted[i]));
	return list;
}
