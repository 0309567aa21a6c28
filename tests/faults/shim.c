/*
 * A PKCS#11 module in front of another one. It writes down what the token is asked
 * for, and fails on command: tests learn from it what a signer really did, whatever
 * the signer says.
 *
 *   SHIM_MODULE   path of the real module
 *   SHIM_LOG      file to append to, one line "CALL RESULT" for each call that came
 *                 to an end or never will. CALL: the function's name in small letters
 *                 ("open-session"), RESULT: its code, in hex; or "hang", "crash". After
 *                 that of sign: the data, in hex, if it has up to 64 octets (a digest,
 *                 a DigestInfo), otherwise its SHA-256
 *   SHIM_LABELS   if set, a line of sign ends with the label of the token that was asked
 *   SHIM_SIGN_MS  from the call of C_Sign to its answer, as long as a network HSM takes;
 *                 the real module's own time is part of it, and sessions do not wait for
 *                 each other
 *   SHIM_DEVICE   file: a login without a PIN waits until it is there, and takes the PIN
 *                 from it; empty, it was cancelled. After the result of a login for
 *                 another type of user: that type, in hex
 *   SHIM_FAULTS   file, read at each call while it exists; replaced as a whole it
 *                 counts anew. Lines of
 *                   CALL RV [COUNT [after|spoil|after-spoil]]
 *                                     that call answers RV (hex) instead of being made;
 *                                     with "after" it is made all the same. spoil: and
 *                                     then login and get-token-info answer RV until the
 *                                     module is initialised anew, which is what SoftHSM
 *                                     does that met a half-written token
 *                   CALL hang [COUNT], CALL crash [COUNT]
 *                                     it never returns; the process gets SIGSEGV
 *                   CALL die [N]      SIGKILL when the Nth of these calls was made and is
 *                                     written down
 *                   CALL delay MS [COUNT]
 *                   CALL hold         it is made once the file is another one
 *                   CALL wrong [COUNT]
 *                                     of sign: the signature is not what it should be
 *                   CALL drop [COUNT], CALL logout [COUNT]
 *                                     before it is made, all sessions of the token are
 *                                     closed; the user is logged out
 *                   token-flags BITS  the token has these flags, too
 *                 CALL@LABEL: only of the token with that label (no blanks in it);
 *                 any@LABEL: whatever that token, or a session of it, is asked for
 *                 COUNT: at most so many times in this process and file; or "once": by
 *                 whichever process comes first, and with it the whole file goes
 */

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/sha.h>

#include "pkcs11/functions.h"

#define DATA_MAX 64
#define WORD_MAX 32
#define FAULTS_MAX 4096
#define LINES_MAX 64
#define PIN_MAX 256
#define NS_PER_S 1000000000

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST faked;
static const char *log_path, *faults_path, *device_path, *labels;
static int64_t sign_ns;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static CK_RV loaded = CKR_GENERAL_ERROR;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for all that follows */
static struct stat known;				 /* the faults that were counted */
static unsigned long used[LINES_MAX];			 /* by their lines */
static CK_RV spoilt; /* what a spoilt view of the token answers; 0: it is whole */
static CK_SLOT_ID slot;
static CK_SESSION_HANDLE logged_in;

/* The slot or the session that this thread is just asking. */
static _Thread_local unsigned long subject;

/* What shall become of a call. */
struct fault {
	bool instead, after, wrong, die;
	CK_RV rv;
};

/* "C_OpenSession": "open-session". */
static void
word_of(const char *function, char word[WORD_MAX])
{
	size_t n = 0;

	for (const char *p = function + 2; *p != '\0' && n < WORD_MAX - 2; p++) {
		if (n > 0 && isupper((unsigned char)*p) && islower((unsigned char)p[-1]))
			word[n++] = '-';
		word[n++] = (char)tolower((unsigned char)*p);
	}
	word[n] = '\0';
}

static void
record(const char *call, const char *result, const char *more)
{
	char line[3 * WORD_MAX + 2 * DATA_MAX + 8];
	int fd, n;

	if (log_path == NULL)
		return;
	n = snprintf(
	    line, sizeof line, "%s %s%s%s\n", call, result, more[0] != '\0' ? " " : "", more);
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0) {
		if (write(fd, line, (size_t)n) != n)
			abort();
		close(fd);
	}
}

static void
record_end(const char *call, CK_RV rv, const char *more)
{
	char result[WORD_MAX];

	snprintf(result, sizeof result, "0x%lx", rv);
	record(call, result, more);
}

/* Whether that line may be used (once more). */
static bool
take(size_t line, const char *count)
{
	bool ok;

	if (count[0] == '\0')
		return true;
	if (strcmp(count, "once") == 0)
		return unlink(faults_path) == 0;
	pthread_mutex_lock(&lock);
	ok = line < LINES_MAX && used[line] < strtoul(count, NULL, 10);
	if (ok)
		used[line]++;
	pthread_mutex_unlock(&lock);
	return ok;
}

static void
suffer(const char *call, const char *what)
{
	volatile int *nowhere = NULL;

	record(call, what, "");
	/* Not raise: our caller's thread may block the signal. */
	if (strcmp(what, "crash") == 0)
		*nowhere = 0;
	for (;;)
		pause();
}

/* Its argument is not how often, but when. */
static bool
is_death(size_t line, const char *what, const char *number, struct fault *f)
{
	unsigned long n = number[0] == '\0' ? 1 : strtoul(number, NULL, 10);

	if (strcmp(what, "die") != 0)
		return false;
	pthread_mutex_lock(&lock);
	f->die = line < LINES_MAX && ++used[line] == n;
	pthread_mutex_unlock(&lock);
	return true;
}

/* Its argument is the time. */
static bool
is_delay(size_t line, const char *what, const char *ms, const char *count)
{
	if (strcmp(what, "delay") != 0)
		return false;
	if (take(line, count))
		usleep((useconds_t)strtoul(ms, NULL, 10) * 1000);
	return true;
}

/* Until somebody has put another file there, or none. */
static bool
is_held(const char *what)
{
	struct stat before, now;

	if (strcmp(what, "hold") != 0)
		return false;
	if (stat(faults_path, &before) == 0)
		while (stat(faults_path, &now) == 0 && now.st_ino == before.st_ino)
			usleep(10000);
	return true;
}

static void
lose(const char *what)
{
	if (strcmp(what, "drop") == 0)
		(void)real->C_CloseAllSessions(slot);
	else
		(void)real->C_Logout(logged_in);
}

static bool
takes_slot(const char *call)
{
	static const char *const calls[] = {"get-slot-info", "get-token-info", "get-mechanism-list",
	    "get-mechanism-info", "init-token", "open-session", "close-all-sessions"};

	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		if (strcmp(calls[i], call) == 0)
			return true;
	}
	return false;
}

static bool
takes_neither(const char *call)
{
	return strcmp(call, "initialize") == 0 || strcmp(call, "finalize") == 0 ||
	       strcmp(call, "get-info") == 0 || strcmp(call, "get-slot-list") == 0 ||
	       strcmp(call, "get-function-list") == 0;
}

/* The label of the token that the call is made on, with a blank behind it. */
static bool
find_label(const char *call, CK_TOKEN_INFO *token)
{
	CK_SLOT_ID id = subject;
	CK_SESSION_INFO session;

	if (takes_neither(call))
		return false;
	if (!takes_slot(call)) {
		if (real->C_GetSessionInfo(subject, &session) != CKR_OK)
			return false;
		id = session.slotID;
	}
	return real->C_GetTokenInfo(id, token) == CKR_OK;
}

static bool
is_on(const char *label, const char *call)
{
	size_t len = strlen(label);
	CK_TOKEN_INFO token;

	return len < sizeof token.label && find_label(call, &token) &&
	       memcmp(token.label, label, len) == 0 && token.label[len] == ' ';
}

/* "sign", "sign@label", "any@label" */
static bool
is_meant(char *word, const char *call)
{
	char *label = strchr(word, '@');

	if (label != NULL)
		*label++ = '\0';
	return (strcmp(word, call) == 0 || (label != NULL && strcmp(word, "any") == 0)) &&
	       (label == NULL || is_on(label, call));
}

/* One line of the faults. May not return. */
static bool
match(size_t line, const char *text, const char *call, struct fault *f)
{
	char word[WORD_MAX], what[WORD_MAX], count[WORD_MAX] = "", how[WORD_MAX] = "";
	int fields = sscanf(text, "%31s %31s %31s %31s", word, what, count, how);

	if (fields < 2 || !is_meant(word, call) || is_delay(line, what, count, how) ||
	    is_held(what))
		return false;
	if (is_death(line, what, count, f))
		return f->die;
	if (!take(line, count))
		return false;
	if (strcmp(what, "hang") == 0 || strcmp(what, "crash") == 0)
		suffer(call, what);
	if (strcmp(what, "drop") == 0 || strcmp(what, "logout") == 0) {
		lose(what);
		return true;
	}
	f->wrong = strcmp(what, "wrong") == 0;
	if (f->wrong)
		return true;
	f->rv = strtoul(what, NULL, 16);
	f->after = strncmp(how, "after", 5) == 0;
	f->instead = !f->after;
	if (strstr(how, "spoil") != NULL) {
		pthread_mutex_lock(&lock);
		spoilt = f->rv;
		pthread_mutex_unlock(&lock);
	}
	return true;
}

/* Another file, or none any more: what was used is forgotten. */
static void
compare(const struct stat *st)
{
	pthread_mutex_lock(&lock);
	if (st->st_ino != known.st_ino || st->st_mtim.tv_sec != known.st_mtim.tv_sec ||
	    st->st_mtim.tv_nsec != known.st_mtim.tv_nsec)
		memset(used, 0, sizeof used);
	known = *st;
	pthread_mutex_unlock(&lock);
}

static struct fault
faulty(const char *call)
{
	char text[FAULTS_MAX], *save = NULL;
	struct fault f = {0};
	struct stat st = {0};
	ssize_t n = -1;
	size_t line = 0;
	int fd;

	if (faults_path == NULL)
		return f;
	fd = open(faults_path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = fstat(fd, &st) == 0 ? read(fd, text, sizeof text - 1) : -1;
		close(fd);
	}
	compare(&st);
	text[n < 0 ? 0 : n] = '\0';
	for (char *p = strtok_r(text, "\n", &save); p != NULL; p = strtok_r(NULL, "\n", &save)) {
		if (match(line++, p, call, &f))
			break;
	}
	return f;
}

/* The same for what depends on the module's view of the token. */
static struct fault
faulty_view(const char *call)
{
	struct fault f = {.instead = true};

	pthread_mutex_lock(&lock);
	f.rv = spoilt;
	pthread_mutex_unlock(&lock);
	return f.rv != CKR_OK ? f : faulty(call);
}

/* ---- the functions */

#define SHIM(function, parameters, arguments)           \
	static CK_RV shim_##function parameters         \
	{                                               \
		char word_[WORD_MAX];                   \
		struct fault fault_;                    \
		CK_RV rv_ = CKR_OK;                     \
                                                        \
		word_of(#function, word_);              \
		subject = (unsigned long)a;             \
		fault_ = faulty(word_);                 \
		if (!fault_.instead)                    \
			rv_ = real->function arguments; \
		if (fault_.instead || fault_.after)     \
			rv_ = fault_.rv;                \
		record_end(word_, rv_, "");             \
		if (fault_.die)                         \
			raise(SIGKILL);                 \
		return rv_;                             \
	}
PKCS11_FUNCTIONS(SHIM)
#undef SHIM

static CK_RV
initialize(CK_VOID_PTR args)
{
	pthread_mutex_lock(&lock);
	spoilt = CKR_OK;
	pthread_mutex_unlock(&lock);
	return shim_C_Initialize(args);
}

static CK_RV
get_token_info(CK_SLOT_ID id, CK_TOKEN_INFO *info)
{
	struct fault f, flags;
	CK_RV rv;

	subject = id;
	f = faulty_view("get-token-info");
	rv = f.rv;
	if (!f.instead)
		rv = real->C_GetTokenInfo(id, info);
	if (f.after)
		rv = f.rv;
	flags = faulty("token-flags");
	if (rv == CKR_OK && flags.instead)
		info->flags |= flags.rv;
	record_end("get-token-info", rv, "");
	return rv;
}

static CK_RV
open_session(
    CK_SLOT_ID id, CK_FLAGS flags, void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
	pthread_mutex_lock(&lock);
	slot = id;
	pthread_mutex_unlock(&lock);
	return shim_C_OpenSession(id, flags, application, notify, session);
}

/* Somebody comes to the token's device and types what is then in the file: the PIN, or
 * nothing. */
static CK_ULONG
wait_at_device(CK_BYTE pin[PIN_MAX])
{
	ssize_t n;
	int fd;

	while ((fd = open(device_path, O_RDONLY | O_CLOEXEC)) < 0)
		usleep(10000);
	n = read(fd, pin, PIN_MAX);
	close(fd);
	return n > 0 ? (CK_ULONG)n : 0;
}

static CK_RV
call_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG pin_len)
{
	CK_BYTE typed[PIN_MAX];

	if (pin != NULL || device_path == NULL)
		return real->C_Login(session, user, pin, pin_len);
	pin_len = wait_at_device(typed);
	return pin_len > 0 ? real->C_Login(session, user, typed, pin_len) : CKR_FUNCTION_CANCELED;
}

static CK_RV
login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG pin_len)
{
	char type[WORD_MAX] = "";
	struct fault f;
	CK_RV rv;

	subject = session;
	f = faulty_view("login");
	rv = f.rv;
	if (user != CKU_USER && user != CKU_CONTEXT_SPECIFIC)
		snprintf(type, sizeof type, "0x%lx", user);
	pthread_mutex_lock(&lock);
	logged_in = session;
	pthread_mutex_unlock(&lock);
	if (!f.instead)
		rv = call_login(session, user, pin, pin_len);
	if (f.after)
		rv = f.rv;
	record_end("login", rv, type);
	if (f.die)
		raise(SIGKILL);
	return rv;
}

static void
wait_since(struct timespec t)
{
	int64_t answer_ns = (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec + sign_ns;

	t = (struct timespec){answer_ns / NS_PER_S, (long)(answer_ns % NS_PER_S)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void
hex_of(const CK_BYTE *data, CK_ULONG len, char hex[2 * DATA_MAX + 1])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	if (len > DATA_MAX) {
		SHA256(data, len, digest);
		data = digest;
		len = sizeof digest;
	}
	hex[0] = '\0';
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", data[i]);
}

static CK_RV
sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG data_len, CK_BYTE *signature,
    CK_ULONG *signature_len)
{
	char hex[2 * DATA_MAX + 1 + WORD_MAX];
	CK_TOKEN_INFO token;
	struct timespec begun;
	struct fault f;
	CK_RV rv = CKR_OK;

	(void)clock_gettime(CLOCK_MONOTONIC, &begun);
	subject = session;
	f = faulty("sign");
	if (!f.instead)
		rv = real->C_Sign(session, data, data_len, signature, signature_len);
	if (f.instead || f.after)
		rv = f.rv;
	if (f.wrong && rv == CKR_OK && signature != NULL)
		signature[*signature_len - 1] ^= 1;
	if (signature != NULL && log_path != NULL) {
		hex_of(data, data_len, hex);
		if (labels != NULL && find_label("sign", &token))
			snprintf(hex + strlen(hex), WORD_MAX, " %.*s",
			    (int)strcspn((const char *)token.label, " "), token.label);
		record_end("sign", rv, hex);
	}
	if (f.die)
		raise(SIGKILL);
	if (sign_ns > 0)
		wait_since(begun);
	return rv;
}

static CK_RV
get_function_list(CK_FUNCTION_LIST **list)
{
	*list = &faked;
	return CKR_OK;
}

static void
load(void)
{
	CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
	const char *path = getenv("SHIM_MODULE"), *ms = getenv("SHIM_SIGN_MS");
	void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (module != NULL)
		*(void **)&get = dlsym(module, "C_GetFunctionList");
	loaded = get == NULL ? CKR_GENERAL_ERROR : get(&real);
	if (loaded != CKR_OK)
		return;
	log_path = getenv("SHIM_LOG");
	faults_path = getenv("SHIM_FAULTS");
	device_path = getenv("SHIM_DEVICE");
	labels = getenv("SHIM_LABELS");
	sign_ns = ms == NULL ? 0 : (int64_t)(strtod(ms, NULL) * 1e6);
	faked = *real;
#define REPLACE(function, parameters, arguments) faked.function = shim_##function;
	PKCS11_FUNCTIONS(REPLACE)
#undef REPLACE
	faked.C_GetFunctionList = get_function_list;
	faked.C_Initialize = initialize;
	faked.C_GetTokenInfo = get_token_info;
	faked.C_OpenSession = open_session;
	faked.C_Login = login;
	faked.C_Sign = sign;
}

/* Loads the real module at the first call. */
CK_RV
C_GetFunctionList(CK_FUNCTION_LIST **list)
{
	struct fault f;
	CK_RV rv;

	pthread_once(&once, load);
	rv = loaded;
	if (rv == CKR_OK) {
		subject = 0;
		f = faulty("get-function-list");
		rv = f.rv;
		*list = &faked;
		record_end("get-function-list", rv, "");
	}
	return rv;
}
