#include "pkcs11/logins.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/canon.h"

#define FIELDS 8
#define KEEP_AS ".1"
#define DAMAGED_AS ".damaged"

struct logins {
	char state_dir[4096];
	pthread_mutex_t lock; /* for everything below */
	int fd;
	char line[LOGINS_LINE_SIZE]; /* the last that was written */
	uint64_t seq, size;
	char chain[2 * SHA256_DIGEST_LENGTH + 1];
	bool damaged, wrong;
	unsigned int unfinished;
	bool in, was_in; /* now; and when the last process ended */
	char last[65];	 /* whoever tried */
	char person[65];
	int64_t since; /* these two of the last login that succeeded */
};

static const char *const event_names[] = {
    [LOGINS_OPEN] = "open",
    [LOGINS_OK] = "ok",
    [LOGINS_WRONG] = "wrong",
    [LOGINS_FAILED] = "failed",
    [LOGINS_UNCLEAR] = "unclear",
    [LOGINS_OUT] = "out",
    [LOGINS_CLEAR] = "clear",
    [LOGINS_SPLIT] = "split",
    [LOGINS_NEW_PIN] = "new-pin",
};

/* ---- what follows from the lines */

static void
apply(struct logins *l, enum logins_event event, const char *person, int64_t time)
{
	switch (event) {
	case LOGINS_OPEN:
		l->unfinished++;
		(void)snprintf(l->last, sizeof l->last, "%s", person);
		break;
	case LOGINS_OK:
		l->unfinished = 0;
		l->wrong = false;
		l->in = strcmp(person, "-") != 0; /* who has no PIN to enter loses nothing */
		l->was_in = false;
		l->since = time;
		(void)snprintf(l->person, sizeof l->person, "%s", person);
		break;
	case LOGINS_WRONG:
		l->unfinished = 0;
		l->wrong = true;
		break;
	case LOGINS_FAILED:
		l->unfinished -= l->unfinished > 0;
		break;
	case LOGINS_UNCLEAR:
		break;
	case LOGINS_OUT:
		l->in = false;
		break;
	case LOGINS_CLEAR:
		l->unfinished = 0;
		l->wrong = false;
		break;
	case LOGINS_SPLIT:
	case LOGINS_NEW_PIN:
		break;
	}
}

/* SHA-256 of the chain so far and the line up to its own link. */
static bool
link_of(const char *chain, const char *line, size_t len, char out[2 * SHA256_DIGEST_LENGTH + 1])
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok;

	ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(md, chain, strlen(chain)) == 1 &&
	     EVP_DigestUpdate(md, line, len) == 1 && EVP_DigestFinal_ex(md, digest, NULL) == 1;
	EVP_MD_CTX_free(md);
	if (ok)
		hex_encode(digest, sizeof digest, out);
	return ok;
}

static bool
event_of(const char *word, enum logins_event *event)
{
	for (size_t i = 0; i < COUNT_OF(event_names); i++)
		if (strcmp(event_names[i], word) == 0) {
			*event = (enum logins_event)i;
			return true;
		}
	return false;
}

/* One line without its end, which is cut into words. The first line of a file goes on
 * from wherever the one before it ended. */
static bool
read_line(struct logins *l, char *line, bool first)
{
	char *words[FIELDS], *rest = line, want[2 * SHA256_DIGEST_LENGTH + 1];
	enum logins_event event;
	const char *last = strrchr(line, ' ');
	uint64_t seq = 0;
	int64_t time = 0;

	if (last == NULL || !link_of(first ? "" : l->chain, line, (size_t)(last - line), want))
		return false;
	for (size_t i = 0; i < FIELDS; i++) {
		words[i] = canon_next_word(&rest, ' ');
		if (words[i] == NULL)
			return false;
	}
	if (rest != NULL || !canon_number(words[0], UINT64_MAX / 2, &seq) ||
	    !canon_time(words[1], &time) || !event_of(words[2], &event) ||
	    strcmp(words[7], want) != 0 || (!first && seq != l->seq + 1))
		return false;
	l->seq = seq;
	memcpy(l->chain, want, sizeof l->chain);
	apply(l, event, words[3], time);
	return true;
}

/* False: damaged. What stands behind the last line's end is cut off. */
static bool
read_lines(struct logins *l, char *text, size_t *whole)
{
	char *at = text, *end;

	*whole = 0;
	while ((end = strchr(at, '\n')) != NULL) {
		*end = '\0';
		if (!read_line(l, at, at == text))
			return false;
		at = end + 1;
		*whole = (size_t)(at - text);
	}
	return true;
}

/* ---- the file */

static void
path_of(const struct logins *l, const char *suffix, char out[4200])
{
	(void)snprintf(out, 4200, "%s/" LOGINS_FILE "%s", l->state_dir, suffix);
}

static bool
sync_dir(const struct logins *l, struct error *e)
{
	int fd = open(l->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd >= 0 && fsync(fd) == 0;

	if (!ok)
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot write %s", l->state_dir);
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

static bool
open_file(struct logins *l, struct error *e)
{
	char path[4200];

	path_of(l, "", path);
	l->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (l->fd < 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot open %s", path);
	/* The signer, and somebody at its console. */
	if (flock(l->fd, LOCK_EX | LOCK_NB) != 0)
		return error_set_errno(e, ERROR_UNAVAILABLE, "another process has %s", path);
	return sync_dir(l, e);
}

/* Puts the file aside and begins another one. */
static bool
begin_anew(struct logins *l, const char *suffix, struct error *e)
{
	char path[4200], aside[4200];

	path_of(l, "", path);
	path_of(l, suffix, aside);
	if (rename(path, aside) != 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot put %s aside", path);
	(void)close(l->fd);
	l->fd = -1;
	l->size = 0;
	l->chain[0] = '\0';
	return open_file(l, e);
}

static bool
read_whole(int fd, char *text, size_t size)
{
	size_t got = 0;
	ssize_t n;

	while (got < size) {
		n = pread(fd, text + got, size - got, (off_t)got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	text[size] = '\0';
	return true;
}

static bool
load(struct logins *l, struct error *e)
{
	size_t whole = 0;
	char *text = NULL;
	struct stat st;
	bool ok = false;

	if (fstat(l->fd, &st) != 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot read the record of logins");
	l->size = (uint64_t)st.st_size;
	l->damaged = st.st_size > 2 * LOGINS_SIZE_MAX;
	if (l->damaged)
		return true;
	text = malloc((size_t)st.st_size + 1);
	if (text == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the record of logins");
	if (!read_whole(l->fd, text, (size_t)st.st_size)) {
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot read the record of logins");
		goto out;
	}
	l->damaged = strlen(text) != (size_t)st.st_size || !read_lines(l, text, &whole);
	if (!l->damaged && whole < (size_t)st.st_size) {
		if (ftruncate(l->fd, (off_t)whole) != 0) {
			(void)error_set_errno(e, ERROR_SYSTEM, "cannot mend the record of logins");
			goto out;
		}
		l->size = whole;
	}
	l->was_in = l->in;
	l->in = false;
	ok = true;
out:
	free(text);
	return ok;
}

bool
logins_open(const char *state_dir, struct logins **logins, struct error *e)
{
	struct logins *l = calloc(1, sizeof *l);

	*logins = NULL;
	if (l == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the record of logins");
	l->fd = -1;
	(void)pthread_mutex_init(&l->lock, NULL);
	(void)snprintf(l->state_dir, sizeof l->state_dir, "%s", state_dir);
	if (!open_file(l, e) || !load(l, e)) {
		logins_close(l);
		return false;
	}
	/* What a new file does not say must not matter. */
	if (!l->damaged && l->size > LOGINS_SIZE_MAX && !l->wrong && l->unfinished == 0 &&
	    !l->was_in && !begin_anew(l, KEEP_AS, e)) {
		logins_close(l);
		return false;
	}
	*logins = l;
	return true;
}

void
logins_close(struct logins *l)
{
	if (l == NULL)
		return;
	if (l->fd >= 0)
		(void)close(l->fd);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

/* ---- writing */

static bool
format(const struct logins *l, enum logins_event event, const struct logins_who *who,
    const char *detail, int64_t now, char out[LOGINS_LINE_SIZE], size_t *len, struct error *e)
{
	char chain[2 * SHA256_DIGEST_LENGTH + 1], time[CANON_TIME_SIZE];
	struct canon_writer w;

	canon_time_text(now, time);
	canon_writer_init(&w, out, LOGINS_LINE_SIZE);
	canon_put(&w, "%llu %s %s ", (unsigned long long)l->seq + 1, time, event_names[event]);
	if (who != NULL) {
		canon_put(&w, "%s ", who->person);
		canon_put_hex(&w, who->key_sha256, sizeof who->key_sha256);
		canon_put(&w, " ");
		canon_put_hex(&w, who->nonce, sizeof who->nonce);
	} else {
		canon_put(&w, "- - -");
	}
	canon_put(&w, " %s", detail != NULL ? detail : "-");
	if (w.failed || !link_of(l->chain, out, w.len, chain))
		return error_set(e, ERROR_INTERNAL, "cannot write a line about a login");
	canon_put(&w, " %s\n", chain);
	*len = w.len;
	return !w.failed || error_set(e, ERROR_INTERNAL, "a line about a login is too long");
}

static bool
append(struct logins *l, const char *line, size_t len, struct error *e)
{
	ssize_t n;

	do
		n = write(l->fd, line, len);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)len && fdatasync(l->fd) == 0)
		return true;
	(void)error_set_errno(
	    e, ERROR_SYSTEM, "the disk did not take what was written about a login");
	/* A half line would hide what comes after it. */
	if (n > 0 && ftruncate(l->fd, (off_t)l->size) != 0)
		l->damaged = true;
	return false;
}

static bool
write_locked(struct logins *l, enum logins_event event, const struct logins_who *who,
    const char *detail, int64_t now, struct error *e)
{
	char line[LOGINS_LINE_SIZE];
	const char *link;
	size_t len = 0;

	if (l->damaged && event == LOGINS_CLEAR) {
		if (!begin_anew(l, DAMAGED_AS, e))
			return false;
		l->damaged = false;
	}
	if (l->damaged)
		return error_set(e, ERROR_DENIED, "the record of logins is damaged");
	if (!format(l, event, who, detail, now, line, &len, e) || !append(l, line, len, e))
		return false;
	link = line + len - 1 - (sizeof l->chain - 1);
	memcpy(l->chain, link, sizeof l->chain - 1);
	l->chain[sizeof l->chain - 1] = '\0';
	(void)snprintf(l->line, sizeof l->line, "%.*s", (int)len - 1, line);
	l->seq++;
	l->size += len;
	apply(l, event, who != NULL ? who->person : "-", now);
	return true;
}

bool
logins_write(struct logins *l, enum logins_event event, const struct logins_who *who,
    const char *detail, int64_t now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&l->lock);
	ok = write_locked(l, event, who, detail, now, e);
	(void)pthread_mutex_unlock(&l->lock);
	return ok;
}

void
logins_last_line(struct logins *l, char line[LOGINS_LINE_SIZE])
{
	(void)pthread_mutex_lock(&l->lock);
	memcpy(line, l->line, LOGINS_LINE_SIZE);
	(void)pthread_mutex_unlock(&l->lock);
}

bool
logins_blocked(struct logins *l, char text[ERROR_TEXT_MAX])
{
	bool blocked;

	(void)pthread_mutex_lock(&l->lock);
	blocked = l->damaged || l->wrong || l->unfinished >= LOGINS_UNFINISHED_MAX;
	if (l->damaged)
		(void)snprintf(text, ERROR_TEXT_MAX,
		    "the record of logins (%.300s/" LOGINS_FILE ") is damaged", l->state_dir);
	else if (l->wrong)
		(void)snprintf(text, ERROR_TEXT_MAX, "the token refused the last PIN");
	else if (blocked)
		(void)snprintf(text, ERROR_TEXT_MAX,
		    "nobody knows how the last %u logins ended, and each may have used up one of "
		    "the token's tries",
		    l->unfinished);
	(void)pthread_mutex_unlock(&l->lock);
	return blocked;
}

void
logins_last_person(struct logins *l, char person[65])
{
	(void)pthread_mutex_lock(&l->lock);
	(void)snprintf(person, 65, "%s", l->last);
	(void)pthread_mutex_unlock(&l->lock);
}

bool
logins_lost(struct logins *l, char person[65], int64_t *since)
{
	bool lost;

	(void)pthread_mutex_lock(&l->lock);
	lost = l->was_in && !l->in;
	(void)snprintf(person, 65, "%s", l->person);
	*since = l->since;
	(void)pthread_mutex_unlock(&l->lock);
	return lost;
}
