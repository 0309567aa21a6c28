#include "daemon/cli/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "daemon/core/config.h"

#define OPENSSL_HEAP (64 * 1024) /* locked; within what any user may lock */

/* Before the first secret. Best effort where a user's limits may be in the way. */
static void
protect_process(void)
{
	struct rlimit none = {0, 0};

	(void)setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__ /* whose leak checker traces the process */
	(void)prctl(PR_SET_DUMPABLE, 0);
#endif
	if (!CRYPTO_secure_malloc_initialized())
		(void)CRYPTO_secure_malloc_init(OPENSSL_HEAP, 32);
}

static struct secret *
secret_new(struct error *e)
{
	void *p;

	protect_process();
	p = mmap(NULL, sizeof(struct secret), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	    -1, 0);

	if (p == MAP_FAILED) {
		error_set_errno(e, ERROR_SYSTEM, "allocating memory for a passphrase");
		return NULL;
	}
	/* Best effort: an ordinary user's limit may be used up. */
	if (mlock(p, sizeof(struct secret)) != 0)
		errno = 0;
	(void)madvise(p, sizeof(struct secret), MADV_DONTDUMP);
	return p;
}

void
secret_free(struct secret *s)
{
	if (s == NULL)
		return;
	OPENSSL_cleanse(s, sizeof *s);
	(void)munmap(s, sizeof *s);
}

static volatile sig_atomic_t interrupted;

static void
note_signal(int number)
{
	interrupted = number;
}

/* One octet, as read does it. With a mask fd does not block, and signals are let
 * in only while nothing is there to read: none is missed. */
static ssize_t
read_octet(int fd, char *c, const sigset_t *mask)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	for (;;) {
		ssize_t n = read(fd, c, 1);

		if (n >= 0 || (errno != EINTR && (errno != EAGAIN || mask == NULL)))
			return n;
		if (errno == EAGAIN)
			(void)ppoll(&p, 1, NULL, mask);
		if (interrupted != 0) {
			errno = EINTR;
			return -1;
		}
	}
}

/* Reads one line; what follows it is not looked at. noun and what: "passphrase" from
 * "the terminal". */
static bool
read_line(int fd, const sigset_t *mask, struct secret *s, const char *noun, const char *what,
    struct error *e)
{
	char c = '\0';

	s->len = 0;
	for (;;) {
		ssize_t n = read_octet(fd, &c, mask);

		if (n < 0)
			return error_set_errno(
			    e, ERROR_SYSTEM, "reading the %s from %s", noun, what);
		if (n == 0 || c == '\n')
			break;
		if (s->len == SECRET_MAX)
			return error_set(e, ERROR_LIMIT, "the %s from %s is longer than %d octets",
			    noun, what, SECRET_MAX);
		s->text[s->len++] = c;
	}
	OPENSSL_cleanse(&c, sizeof c);
	/* Files from other systems. */
	if (s->len > 0 && s->text[s->len - 1] == '\r')
		s->len--;
	s->text[s->len] = '\0';
	return s->len > 0 || error_set(e, ERROR_INPUT, "the %s from %s is empty", noun, what);
}

static const int fatal_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/* Signals, while the terminal is not as it was. */
struct held_signals {
	struct sigaction old[COUNT_OF(fatal_signals)];
	sigset_t before;
	sigset_t reading; /* the mask that lets in those that end the program */
};

/* They are noted from now on, and let in by `reading` alone; what is ignored stays
 * so. The program cannot be stopped (SIGTSTP) at all. */
static void
hold_signals(struct held_signals *h)
{
	struct sigaction note = {.sa_handler = note_signal};
	sigset_t block;

	(void)sigemptyset(&block);
	(void)sigaddset(&block, SIGTSTP);
	for (size_t i = 0; i < COUNT_OF(fatal_signals); i++)
		(void)sigaddset(&block, fatal_signals[i]);
	(void)sigprocmask(SIG_BLOCK, &block, &h->before);
	h->reading = h->before;
	(void)sigaddset(&h->reading, SIGTSTP);
	interrupted = 0;
	for (size_t i = 0; i < COUNT_OF(fatal_signals); i++)
		if (sigaction(fatal_signals[i], &note, &h->old[i]) == 0 &&
		    h->old[i].sa_handler == SIG_IGN)
			(void)sigaction(fatal_signals[i], &h->old[i], NULL);
}

/* What came too late to be noted ends the program here. */
static void
release_signals(const struct held_signals *h)
{
	for (size_t i = 0; i < COUNT_OF(fatal_signals); i++)
		(void)sigaction(fatal_signals[i], &h->old[i], NULL);
	(void)sigprocmask(SIG_SETMASK, &h->before, NULL);
}

/* Asks with the echo off. A signal that ends the program finds the terminal as
 * it was. */
static bool
ask(int fd, const char *words, struct secret *s, const char *noun, struct error *e)
{
	struct termios before, quiet;
	struct held_signals held;
	int flags;
	bool ok;

	if (tcgetattr(fd, &before) != 0)
		return error_set_errno(e, ERROR_SYSTEM, "reading the terminal's settings");
	hold_signals(&held);
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	quiet.c_lflag |= ECHONL;
	flags = fcntl(fd, F_GETFL);
	ok = tcsetattr(fd, TCSAFLUSH, &quiet) == 0 && dprintf(fd, "%s: ", words) > 0 &&
	     fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "writing to the terminal");
	else
		ok = read_line(fd, &held.reading, s, noun, "the terminal", e);
	(void)fcntl(fd, F_SETFL, flags);
	(void)tcsetattr(fd, TCSAFLUSH, &before);
	release_signals(&held);
	if (interrupted != 0) {
		(void)dprintf(fd, "\n");
		OPENSSL_cleanse(s, sizeof *s);
		(void)raise(interrupted);
	}
	return ok;
}

#define PASSPHRASE "passphrase"
#define PASSPHRASE_INSTEAD "--passphrase-file or --passphrase-fd"

static bool
read_terminal(
    const char *words, struct secret *s, const char *noun, const char *instead, struct error *e)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	bool ok;

	if (fd < 0)
		return error_set(e, ERROR_USAGE, "there is no terminal to ask for the %s: use %s",
		    noun, instead);
	ok = ask(fd, words, s, noun, e);
	(void)close(fd);
	return ok;
}

/* The number of --passphrase-fd, or -1. */
static int
descriptor(const char *number)
{
	char *end;
	long fd = strtol(number, &end, 10);

	return *number >= '0' && *number <= '9' && *end == '\0' && fd <= 1 << 20 ? (int)fd : -1;
}

bool
secret_check_options(const struct options *o, struct error *e)
{
	const char *number = o->value[OPTION_PASSPHRASE_FD];

	if (o->value[OPTION_PASSPHRASE_FILE] != NULL && number != NULL)
		return error_set(
		    e, ERROR_USAGE, "--passphrase-file and --passphrase-fd exclude each other");
	if (number != NULL && descriptor(number) < 0)
		return error_set(
		    e, ERROR_USAGE, "--passphrase-fd needs the number of an open descriptor");
	number = o->value[OPTION_PIN_FD];
	if (number != NULL && descriptor(number) < 0)
		return error_set(e, ERROR_USAGE, "--pin-fd needs the number of an open descriptor");
	return true;
}

/* The line of a file, from 0. */
static bool
read_file_line(const char *file, unsigned line, struct secret *s, struct error *e)
{
	bool ok = true;
	int fd;

	if (!config_open_secret(file, &fd, e))
		return error_wrap(e, "--passphrase-file");
	for (unsigned i = 0; ok && i <= line; i++)
		ok = read_line(fd, NULL, s, PASSPHRASE, file, e);
	(void)close(fd);
	if (!ok && line > 0)
		return error_wrap(e, "the passphrase of key %u, on line %u", line + 1, line + 1);
	return ok;
}

/* *asked: it came from a person at a terminal. */
static bool
read_somewhere(const struct options *o, const char *words, unsigned line, struct secret *s,
    bool *asked, struct error *e)
{
	const char *file = o->value[OPTION_PASSPHRASE_FILE],
		   *number = o->value[OPTION_PASSPHRASE_FD];

	*asked = false;
	if (!secret_check_options(o, e))
		return false;
	if (number != NULL)
		return read_line(descriptor(number), NULL, s, PASSPHRASE, "--passphrase-fd", e);
	if (file == NULL) {
		*asked = true;
		return read_terminal(words, s, PASSPHRASE, PASSPHRASE_INSTEAD, e);
	}
	return read_file_line(file, line, s, e);
}

struct secret *
secret_read_one(const struct options *options, unsigned line, const char *words, struct error *e)
{
	struct secret *s = secret_new(e);
	bool asked;

	if (s != NULL && read_somewhere(options, words, line, s, &asked, e))
		return s;
	secret_free(s);
	return NULL;
}

struct secret *
secret_read(const struct options *options, const char *words, struct error *e)
{
	return secret_read_one(options, 0, words, e);
}

struct secret *
secret_read_new(const struct options *options, const char *words, struct error *e)
{
	struct secret *s = secret_new(e), *again = NULL;
	bool asked, ok = false;

	if (s == NULL || !read_somewhere(options, words, 0, s, &asked, e))
		goto out;
	if (s->len < SECRET_MIN) {
		error_set(e, ERROR_INPUT, "a passphrase has at least %d octets", SECRET_MIN);
		goto out;
	}
	if (asked) {
		again = secret_new(e);
		if (again == NULL ||
		    !read_terminal("The same again", again, PASSPHRASE, PASSPHRASE_INSTEAD, e))
			goto out;
		if (again->len != s->len || CRYPTO_memcmp(again->text, s->text, s->len) != 0) {
			error_set(e, ERROR_INPUT, "the two passphrases differ");
			goto out;
		}
	}
	ok = true;
out:
	secret_free(again);
	if (ok)
		return s;
	secret_free(s);
	return NULL;
}

struct secret *
secret_read_pin(const struct options *options, const char *words, struct error *e)
{
	const char *number = options->value[OPTION_PIN_FD];
	struct secret *s = secret_new(e);

	if (s == NULL)
		return NULL;
	if (number != NULL ? read_line(descriptor(number), NULL, s, "PIN", "--pin-fd", e)
			   : read_terminal(words, s, "PIN", "--pin-fd", e))
		return s;
	secret_free(s);
	return NULL;
}
