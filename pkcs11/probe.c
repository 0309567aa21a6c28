#include "pkcs11/probe_int.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "pkcs11/call.h"

static volatile sig_atomic_t interrupted;

static void
interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

bool
probe_is_interrupted(void)
{
	return interrupted != 0;
}

/* ---- the table */

static void
put_json(FILE *out, const char *text)
{
	(void)fputc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else
			(void)fputc(c, out);
	}
	(void)fputc('"', out);
}

void
probe_line(struct probe *p, const char *name, const char *fmt, ...)
{
	char value[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	if (p->options->json) {
		(void)fputs(p->begun ? ",\n  " : "{\n  ", p->out);
		put_json(p->out, name);
		(void)fputs(": ", p->out);
		put_json(p->out, value);
	} else {
		(void)fprintf(p->out, "%-22s %s\n", name, value);
		(void)fflush(p->out); /* the next line may take a while */
	}
	p->begun = true;
}

/* ---- the token */

bool
probe_open(struct probe *p, struct error *e)
{
	return console_login_open(&p->login, p->options->member, &p->token, e) &&
	       session_open(
		   token_functions(p->token), token_info(p->token)->slot, true, &p->session, e);
}

void
probe_close(struct probe *p)
{
	session_close(&p->session);
	console_login_close(&p->login, p->token);
	p->token = NULL;
}

static const char *
pin_state(CK_FLAGS flags)
{
	if ((flags & CKF_USER_PIN_LOCKED) != 0)
		return "locked";
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return "one try left";
	if ((flags & CKF_USER_PIN_COUNT_LOW) != 0)
		return "a wrong one was tried";
	return "no failed try is told";
}

static void
describe_count(CK_ULONG count, char out[32])
{
	if (count == CK_UNAVAILABLE_INFORMATION)
		(void)snprintf(out, 32, "not told");
	else if (count == CK_EFFECTIVELY_INFINITE || count == CK_UNAVAILABLE_INFORMATION - 1)
		(void)snprintf(out, 32, "no limit");
	else
		(void)snprintf(out, 32, "%lu", count);
}

static void
describe_token(struct probe *p)
{
	const struct token_info *info = token_info(p->token);
	CK_TOKEN_INFO now;
	char all[32], rw[32];

	probe_line(p, "token", "%s", info->label);
	probe_line(p, "serial", "%s", info->serial);
	probe_line(p, "model", "%s", info->model);
	probe_line(p, "threads",
	    token_thread_limit(p->token, 2) > 1 ? "several at once" : "one at a time");
	if (p->session.f->C_GetTokenInfo(info->slot, &now) != CKR_OK)
		return;
	probe_line(p, "login", "%s",
	    (now.flags & CKF_LOGIN_REQUIRED) == 0		   ? "not required"
	    : (now.flags & CKF_PROTECTED_AUTHENTICATION_PATH) != 0 ? "at the device"
								   : "by PIN");
	probe_line(p, "PIN length", "%lu to %lu", now.ulMinPinLen, now.ulMaxPinLen);
	probe_line(p, "PIN tries", "%s", pin_state(now.flags));
	describe_count(now.ulMaxSessionCount, all);
	describe_count(now.ulMaxRwSessionCount, rw);
	probe_line(p, "sessions, it says", "%s, read-write %s", all, rw);
}

/* ---- all of it */

static bool
run(struct probe *p, struct error *e)
{
	enum key_alg best = KEY_NONE;
	bool ok = true;

	describe_token(p);
	probe_data_objects(p);
	probe_keys(p, &best);
	probe_sessions(p);
	if (best == KEY_NONE)
		return error_set(
		    e, ERROR_CONFLICT, "the token signs with no key of a kind that a CA has");
	probe_rates(p, best);
	if (p->options->soak_s > 0 && !probe_is_interrupted())
		ok = probe_soak(p, best, e);
	return ok;
}

static bool
set_environment(const struct config_token *config, struct error *e)
{
	for (size_t i = 0; i < config->environment_count; i++) {
		if (setenv(config->environment[i].name, config->environment[i].value, 1) != 0)
			return error_set(e, ERROR_SYSTEM, "no memory for the environment");
	}
	return true;
}

/* A module that hangs hangs its thread for ever. The signer's process is then ended and
 * started anew; here there is nothing more to find out. */
static void *
watch(void *arg)
{
	const struct probe *p = arg;
	struct call call;

	while (!call_worst(p->call_timeout_s, &call) || call.age_ms < call.limit_ms)
		(void)nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
	(void)fprintf(p->notes,
	    "chancery-signer: the module hangs: %s is under way for %lld s; scratch keys may be "
	    "left "
	    "on the token with the label '%s'\n",
	    call.name, (long long)(call.age_ms / 1000), p->label);
	(void)fflush(NULL);
	_exit(3);
}

static bool
start_watch(struct probe *p, struct error *e)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, watch, p) != 0)
		return error_set(e, ERROR_SYSTEM, "cannot start a thread");
	(void)pthread_detach(thread);
	return true;
}

bool
probe_run(const struct config_token *config, const char *state_dir,
    const struct probe_options *options, FILE *out, FILE *notes, struct error *e)
{
	/* Lives on for who watches. */
	static struct probe p;
	struct sigaction action = {.sa_handler = interrupt};
	struct error left = ERROR_INIT;
	bool ok;

	p = (struct probe){.config = config,
	    .state_dir = state_dir,
	    .options = options,
	    .call_timeout_s = config->call_timeout_s,
	    .out = out,
	    .notes = notes};
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN); /* modules write to sockets */
	(void)snprintf(p.label, sizeof p.label, "chancery probe %ld", (long)getpid());
	ok = set_environment(config, e) &&
	     console_login_begin(&p.login, config, state_dir, options->pin_fd, e) &&
	     start_watch(&p, e) && probe_open(&p, e) && run(&p, e);
	if (p.token != NULL && !probe_clean(&p, &left)) {
		ok = false;
		(void)error_set(e, ERROR_CONFLICT, "%s", left.text);
	}
	if (p.begun && options->json)
		(void)fputs("\n}\n", out);
	probe_close(&p);
	console_login_end(&p.login);
	return ok;
}
