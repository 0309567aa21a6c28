/*
 * A PKCS#11 module in front of another one. It writes down what the token is
 * asked for, and fails on command: tests learn from it what a signer really
 * did, whatever the signer says.
 *
 *   RECORDER_MODULE  path of the real module
 *   RECORDER_LOG     file to append to, one line for each call:
 *                      login RV
 *                      sign RV HEX    HEX: the data if it has up to 64 octets (a
 *                                     digest, a DigestInfo), otherwise its SHA-256
 *                      sign-part RV   C_SignUpdate, C_SignFinal: not followed
 *                      open-session RV, initialize RV, finalize RV
 *   RECORDER_FAULTS  file, read at each such call, and at token-info, while it
 *                    exists; lines of
 *                      CALL RV [COUNT]   that call (word as above) answers RV
 *                                        (hex), at most COUNT times per process
 *                                        and life of the file
 *                      CALL RV COUNT after
 *                                        the same, but the real call is made
 *                      CALL RV COUNT spoil, CALL RV COUNT after-spoil
 *                                        the same, and then login and token-info
 *                                        answer RV until the module is
 *                                        initialised anew: what SoftHSM does
 *                                        that met a half-written token
 *                      sign die [N]      SIGKILL when the Nth signature of this
 *                                        process was made, and is written down
 *                      CALL hang         that call never returns
 *                      CALL delay MS     that call takes so much longer
 *                      token-flags BITS  the token has these flags, too
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/sha.h>

#include <p11-kit/pkcs11.h>

#define DATA_MAX 64
#define FAULTS_MAX 4096

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST faked;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long failed_count;
static unsigned long until_death;
static CK_RV spoilt; /* what a spoilt view of the token answers; 0: it is whole */

/* Whether a call shall fail, and whether the real one is made all the same; or
 * the process dies of it. */
enum fault { FAULT_NONE, FAULT_INSTEAD, FAULT_AFTER, FAULT_DIE };

static void
record(const char *call, CK_RV rv, const char *more)
{
	char line[64 + 2 * DATA_MAX + 32];
	const char *path = getenv("RECORDER_LOG");
	int fd, n;

	if (path == NULL)
		return;
	n = snprintf(
	    line, sizeof line, "%s 0x%lx%s%s\n", call, rv, more[0] != '\0' ? " " : "", more);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd >= 0) {
		if (write(fd, line, (size_t)n) != n)
			abort();
		close(fd);
	}
}

/* One line of the faults; with a hit *rv is the answer. */
static enum fault
match(const char *line, const char *call, CK_RV *rv)
{
	char word[32], what[32], how[32] = "";
	unsigned long count = 0;
	int fields = sscanf(line, "%31s %31s %lu %31s", word, what, &count, how);
	bool hit;

	if (fields < 2 || strcmp(word, call) != 0)
		return FAULT_NONE;
	if (strcmp(what, "hang") == 0)
		for (;;)
			pause();
	if (strcmp(what, "delay") == 0) {
		usleep((useconds_t)count * 1000);
		return FAULT_NONE;
	}
	pthread_mutex_lock(&lock);
	if (strcmp(what, "die") == 0) {
		hit = ++until_death == (fields < 3 ? 1 : count);
		pthread_mutex_unlock(&lock);
		return hit ? FAULT_DIE : FAULT_NONE;
	}
	hit = fields < 3 || failed_count < count;
	if (hit) {
		*rv = strtoul(what, NULL, 16);
		failed_count++;
		if (strstr(how, "spoil") != NULL)
			spoilt = *rv;
	}
	pthread_mutex_unlock(&lock);
	if (!hit)
		return FAULT_NONE;
	return strncmp(how, "after", 5) == 0 ? FAULT_AFTER : FAULT_INSTEAD;
}

/* May not return. */
static enum fault
faulty(const char *call, CK_RV *rv)
{
	const char *path = getenv("RECORDER_FAULTS");
	char text[FAULTS_MAX], *line, *save = NULL;
	enum fault hit = FAULT_NONE;
	ssize_t n;
	int fd;

	fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		pthread_mutex_lock(&lock);
		failed_count = 0;
		pthread_mutex_unlock(&lock);
		return FAULT_NONE;
	}
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	for (line = strtok_r(text, "\n", &save); line != NULL && hit == FAULT_NONE;
	     line = strtok_r(NULL, "\n", &save))
		hit = match(line, call, rv);
	return hit;
}

/* The same for what depends on the module's view of the token. */
static enum fault
faulty_view(const char *call, CK_RV *rv)
{
	pthread_mutex_lock(&lock);
	*rv = spoilt;
	pthread_mutex_unlock(&lock);
	return *rv != CKR_OK ? FAULT_INSTEAD : faulty(call, rv);
}

static CK_RV
recorder_initialize(CK_VOID_PTR args)
{
	CK_RV rv;

	pthread_mutex_lock(&lock);
	spoilt = CKR_OK;
	pthread_mutex_unlock(&lock);
	if (faulty("initialize", &rv) == FAULT_NONE)
		rv = real->C_Initialize(args);
	record("initialize", rv, "");
	return rv;
}

static CK_RV
recorder_finalize(CK_VOID_PTR reserved)
{
	CK_RV rv;

	if (faulty("finalize", &rv) == FAULT_NONE)
		rv = real->C_Finalize(reserved);
	record("finalize", rv, "");
	return rv;
}

/* Asked for all the time: not recorded. */
static CK_RV
recorder_get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
	CK_RV rv, flags;

	if (faulty_view("token-info", &rv) == FAULT_NONE)
		rv = real->C_GetTokenInfo(slot, info);
	if (rv == CKR_OK && faulty("token-flags", &flags) != FAULT_NONE)
		info->flags |= flags;
	return rv;
}

static CK_RV
recorder_open_session(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify,
    CK_SESSION_HANDLE_PTR session)
{
	CK_RV rv;

	if (faulty("open-session", &rv) == FAULT_NONE)
		rv = real->C_OpenSession(slot, flags, application, notify, session);
	record("open-session", rv, "");
	return rv;
}

static CK_RV
recorder_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG pin_len)
{
	enum fault fault;
	CK_RV rv;

	fault = faulty_view("login", &rv);
	if (fault == FAULT_NONE)
		rv = real->C_Login(session, user, pin, pin_len);
	else if (fault == FAULT_AFTER)
		(void)real->C_Login(session, user, pin, pin_len);
	record("login", rv, "");
	return rv;
}

static CK_RV
recorder_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR signature,
    CK_ULONG_PTR signature_len)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	const unsigned char *p = data;
	size_t len = data_len;
	char hex[2 * DATA_MAX + 1];
	enum fault fault;
	CK_RV rv;

	if (len > DATA_MAX) {
		SHA256(data, len, digest);
		p = digest;
		len = sizeof digest;
	}
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", p[i]);
	hex[2 * len] = '\0';
	fault = faulty("sign", &rv);
	if (fault == FAULT_NONE || fault == FAULT_DIE)
		rv = real->C_Sign(session, data, data_len, signature, signature_len);
	if (signature != NULL)
		record("sign", rv, hex);
	if (fault == FAULT_DIE)
		raise(SIGKILL);
	return rv;
}

static CK_RV
recorder_sign_update(CK_SESSION_HANDLE session, CK_BYTE_PTR part, CK_ULONG part_len)
{
	CK_RV rv = real->C_SignUpdate(session, part, part_len);

	record("sign-part", rv, "");
	return rv;
}

static CK_RV
recorder_sign_final(CK_SESSION_HANDLE session, CK_BYTE_PTR signature, CK_ULONG_PTR signature_len)
{
	CK_RV rv = real->C_SignFinal(session, signature, signature_len);

	record("sign-part", rv, "");
	return rv;
}

static CK_RV
recorder_get_function_list(CK_FUNCTION_LIST_PTR_PTR list)
{
	*list = &faked;
	return CKR_OK;
}

/* Loads the real module at the first call. */
CK_RV
C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;
	const char *path = getenv("RECORDER_MODULE");
	CK_RV rv = CKR_OK;
	void *module;

	pthread_mutex_lock(&lock);
	if (real == NULL) {
		module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
		if (module != NULL)
			*(void **)&get = dlsym(module, "C_GetFunctionList");
		rv = get == NULL ? CKR_GENERAL_ERROR : get(&real);
		if (rv == CKR_OK) {
			faked = *real;
			faked.C_Initialize = recorder_initialize;
			faked.C_Finalize = recorder_finalize;
			faked.C_GetFunctionList = recorder_get_function_list;
			faked.C_GetTokenInfo = recorder_get_token_info;
			faked.C_OpenSession = recorder_open_session;
			faked.C_Login = recorder_login;
			faked.C_Sign = recorder_sign;
			faked.C_SignUpdate = recorder_sign_update;
			faked.C_SignFinal = recorder_sign_final;
		}
	}
	pthread_mutex_unlock(&lock);
	if (rv == CKR_OK)
		*list = &faked;
	return rv;
}
