#include "pkcs11/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "daemon/core/process.h"
#include "pkcs11/store.h"

#define PIN_PAGE 4096
#define MARK_MAX 256

/* In $CREDENTIALS_DIRECTORY systemd itself sees to owner and mode (it may be an
 * ACL, which shows as a group's right), so only the kind of file is checked. */
static bool
open_credential(const char *path, int *fd, struct error *e)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0)
		return error_set_errno(e, ERROR_CONFIG, "cannot open the credential %s", path);
	if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0007) == 0)
		return true;
	(void)close(*fd);
	*fd = -1;
	return error_set(
	    e, ERROR_CONFIG, "the credential %s must be a regular file closed to others", path);
}

/* Only the supervisor may open it, and gave it to us open: read from its start. */
static bool
open_passed(struct pin *pin, const char *name, int *fd, struct error *e)
{
	(void)snprintf(pin->source, sizeof pin->source, "the credential %s", name);
	*fd = fcntl(CREDENTIAL_FD, F_DUPFD_CLOEXEC, CREDENTIAL_FD + 1);
	if (*fd >= 0 && lseek(*fd, 0, SEEK_SET) == 0)
		return true;
	(void)error_set_errno(e, ERROR_CONFIG, "cannot read %s", pin->source);
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	return false;
}

static bool
open_source(const struct config_token *token, struct pin *pin, int *fd, struct error *e)
{
	const char *dir;
	int n;

	if (token->pin_file != NULL) {
		n = snprintf(pin->source, sizeof pin->source, "%s", token->pin_file);
		if (n < 0 || (size_t)n >= sizeof pin->source)
			return error_set(e, ERROR_CONFIG, "the path of the PIN file is too long");
		return config_open_secret(pin->source, fd, e);
	}
	if (token->pin_credential == NULL)
		return error_set(e, ERROR_CONFIG,
		    "token '%s' has no pin_file and no pin_credential", token->name);
	if (getenv(CREDENTIAL_VARIABLE) != NULL)
		return open_passed(pin, token->pin_credential, fd, e);
	dir = getenv("CREDENTIALS_DIRECTORY");
	if (dir == NULL)
		return error_set(e, ERROR_CONFIG,
		    "pin_credential '%s' needs systemd's LoadCredential: CREDENTIALS_DIRECTORY is "
		    "not set",
		    token->pin_credential);
	n = snprintf(pin->source, sizeof pin->source, "%s/%s", dir, token->pin_credential);
	if (n < 0 || (size_t)n >= sizeof pin->source)
		return error_set(e, ERROR_CONFIG, "the path of the PIN credential is too long");
	return open_credential(pin->source, fd, e);
}

static size_t
format_mark(const struct stat *st, char out[MARK_MAX])
{
	int n = snprintf(out, MARK_MAX,
	    "chancery-pin-mark: 1\ndevice: %llu\ninode: %llu\nchanged: %lld.%09ld\n",
	    (unsigned long long)st->st_dev, (unsigned long long)st->st_ino,
	    (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);

	return n > 0 ? (size_t)n : 0;
}

static bool
is_marked(
    const struct stat *st, const char *state_dir, const char *mark, bool *marked, struct error *e)
{
	char have[MARK_MAX], want[MARK_MAX];
	struct error why = ERROR_INIT;
	size_t len;

	*marked = false;
	if (!store_read(state_dir, mark, have, sizeof have, &len, &why)) {
		if (why.code == ERROR_NOT_FOUND)
			return true;
		*e = why;
		return false;
	}
	*marked = len == format_mark(st, want) && memcmp(have, want, len) == 0;
	return true;
}

/* A page that is never swapped, dumped, or inherited. */
bool
pin_make(struct pin *pin, struct error *e)
{
	void *page;

	page = mmap(NULL, PIN_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return error_set_errno(e, ERROR_SYSTEM, "no memory for the PIN");
	if (mlock(page, PIN_PAGE) != 0) {
		(void)error_set_errno(e, ERROR_SYSTEM,
		    "cannot lock a page of memory for the PIN; raise RLIMIT_MEMLOCK");
		(void)munmap(page, PIN_PAGE);
		return false;
	}
	(void)madvise(page, PIN_PAGE, MADV_DONTDUMP);
	(void)madvise(page, PIN_PAGE, MADV_WIPEONFORK);
	pin->text = page;
	return true;
}

static bool
read_text(struct pin *pin, int fd, struct error *e)
{
	size_t len = 0;
	ssize_t n;

	/* Room for the PIN, CR LF, and one byte that tells that it is too long. */
	do {
		n = read(fd, pin->text + len, PIN_MAX + 3 - len);
		if (n > 0)
			len += (size_t)n;
	} while (len < PIN_MAX + 3 && (n > 0 || (n < 0 && errno == EINTR)));
	if (n < 0)
		return error_set_errno(e, ERROR_CONFIG, "cannot read %s", pin->source);
	if (len > 0 && pin->text[len - 1] == '\n')
		len--;
	if (len > 0 && pin->text[len - 1] == '\r')
		len--;
	if (len == 0)
		return error_set(e, ERROR_CONFIG, "the PIN file %s is empty", pin->source);
	if (len > PIN_MAX)
		return error_set(e, ERROR_CONFIG,
		    "the PIN file %s holds more than one PIN of at most %d bytes", pin->source,
		    PIN_MAX);
	pin->len = len;
	return true;
}

bool
pin_read(const struct config_token *token, const char *state_dir, struct pin *pin, bool *marked,
    struct error *e)
{
	bool ok = false;
	int fd = -1;

	*pin = (struct pin){0};
	*marked = false;
	if (!open_source(token, pin, &fd, e))
		return false;
	if (fstat(fd, &pin->status) != 0) {
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot look at %s", pin->source);
		goto out;
	}
	if (!is_marked(&pin->status, state_dir, PIN_MARK_FILE, marked, e))
		goto out;
	ok = *marked || (pin_make(pin, e) && read_text(pin, fd, e));
out:
	(void)close(fd);
	if (!ok)
		pin_clear(pin);
	return ok;
}

void
pin_clear(struct pin *pin)
{
	if (pin->text != NULL) {
		OPENSSL_cleanse(pin->text, PIN_PAGE);
		(void)munmap(pin->text, PIN_PAGE);
	}
	pin->text = NULL;
	pin->len = 0;
}

bool
pin_mark_wrong(const struct pin *pin, const char *state_dir, struct error *e)
{
	char text[MARK_MAX];

	return store_remove(state_dir, PIN_GOOD_FILE, e) &&
	       store_write(
		   state_dir, PIN_MARK_FILE, text, format_mark(&pin->status, text), true, e);
}

bool
pin_is_proven(const struct pin *pin, const char *state_dir)
{
	struct error why = ERROR_INIT;
	bool marked;

	return is_marked(&pin->status, state_dir, PIN_GOOD_FILE, &marked, &why) && marked;
}

bool
pin_mark_good(const struct pin *pin, const char *state_dir, struct error *e)
{
	char text[MARK_MAX];

	if (!pin_mark_clear(state_dir, e))
		return false;
	return pin_is_proven(pin, state_dir) || store_write(state_dir, PIN_GOOD_FILE, text,
						    format_mark(&pin->status, text), false, e);
}

bool
pin_mark_clear(const char *state_dir, struct error *e)
{
	return store_remove(state_dir, PIN_MARK_FILE, e);
}
