#include "daemon/supervisor/roster.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "NAME PID STATE REPORT" and its NUL: a pid has at most 7 digits. */
_Static_assert(CHILD_NAME_MAX + 8 + sizeof "stopping" + SANDBOX_TEXT_MAX <= CONTROL_TEXT_MAX,
    "a process fits into a message");

static void
describe(const struct child *c, char out[CONTROL_TEXT_MAX])
{
	(void)snprintf(out, CONTROL_TEXT_MAX, "%s %d %s %s", c->name, (int)c->pid,
	    child_state_name(c->state), c->sandbox[0] != '\0' ? c->sandbox : "-");
}

void
roster_tell(struct child *front, struct child *c, bool anew)
{
	char text[CONTROL_TEXT_MAX];

	describe(c, text);
	if (!anew && strcmp(text, c->told) == 0)
		return;
	memcpy(c->told, text, sizeof c->told);
	child_send(front, CONTROL_PROCESS, text, 0, -1);
}

void
roster_tell_supervisor(struct child *front)
{
	char text[CONTROL_TEXT_MAX], sandbox[SANDBOX_TEXT_MAX];
	struct sandbox_report report;

	sandbox_current(&report);
	sandbox_report_format(&report, sandbox);
	(void)snprintf(text, sizeof text, "supervisor %d running %s", (int)getpid(), sandbox);
	child_send(front, CONTROL_PROCESS, text, 0, -1);
}

void
roster_tell_gone(struct child *front, const struct child *c)
{
	char text[CONTROL_TEXT_MAX];

	(void)snprintf(text, sizeof text, "%s 0 done -", c->name);
	child_send(front, CONTROL_PROCESS, text, 0, -1);
}
