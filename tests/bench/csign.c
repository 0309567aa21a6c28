/*
 * How many signatures a token makes in a second, with nothing of ours around:
 *
 *   csign MODULE TOKEN_LABEL PIN rsa|ec THREADS SECONDS
 *
 * Each thread has its own session and signs with the first private key of that
 * type: SHA-256 DigestInfo with CKM_RSA_PKCS, or a digest with CKM_ECDSA, as
 * chancery-signer does it. Prints how many a second, and the microseconds of CPU
 * that each took.
 */

#include <dlfcn.h>
#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#define SLOTS_MAX 64
#define THREADS_MAX 64

static CK_FUNCTION_LIST *p11;
static CK_SLOT_ID slot;
static CK_KEY_TYPE key_type;
static atomic_bool ended;
static atomic_ulong signatures;

static void
check(const char *call, CK_RV rv)
{
	if (rv != CKR_OK)
		errx(1, "%s: 0x%lx", call, rv);
}

static CK_SLOT_ID
find_slot(const char *label)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG n = SLOTS_MAX;
	size_t len = strlen(label);

	check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, slots, &n));
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;

		check("C_GetTokenInfo", p11->C_GetTokenInfo(slots[i], &info));
		if (len <= sizeof info.label && memcmp(info.label, label, len) == 0 &&
		    (len == sizeof info.label || info.label[len] == ' '))
			return slots[i];
	}
	errx(1, "no token has the label %s", label);
}

static CK_OBJECT_HANDLE
find_key(CK_SESSION_HANDLE session)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE template[] = {
	    {CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &key_type, sizeof key_type}};
	CK_OBJECT_HANDLE key;
	CK_ULONG n;

	check("C_FindObjectsInit", p11->C_FindObjectsInit(session, template, 2));
	check("C_FindObjects", p11->C_FindObjects(session, &key, 1, &n));
	check("C_FindObjectsFinal", p11->C_FindObjectsFinal(session));
	if (n == 0)
		errx(1, "the token has no such key");
	return key;
}

static void *
sign(void *arg)
{
	static const unsigned char digest_info[19 + 32] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60,
	    0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	CK_MECHANISM mechanism = {key_type == CKK_RSA ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0};
	unsigned char data[sizeof digest_info], signature[1024];
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;

	memcpy(data, digest_info, sizeof data);
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
	key = find_key(session);
	while (!ended) {
		CK_ULONG len = sizeof signature;

		data[sizeof data - 1]++;
		check("C_SignInit", p11->C_SignInit(session, &mechanism, key));
		check("C_Sign", p11->C_Sign(session, key_type == CKK_RSA ? data : data + 19,
				    key_type == CKK_RSA ? sizeof data : 32, signature, &len));
		signatures++;
	}
	return NULL;
}

/* Seconds of CPU that this process has had. */
static double
cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int
main(int argc, char **argv)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;
	pthread_t threads[THREADS_MAX];
	CK_SESSION_HANDLE login;
	struct timespec begin, end;
	double seconds, cpu;
	void *module;
	int n;

	if (argc != 7 || (n = atoi(argv[5])) < 1 || n > THREADS_MAX)
		errx(2, "usage: csign MODULE TOKEN_LABEL PIN rsa|ec THREADS SECONDS");
	module = dlopen(argv[1], RTLD_NOW);
	if (module == NULL)
		errx(1, "%s", dlerror());
	*(void **)&get = dlsym(module, "C_GetFunctionList");
	if (get == NULL)
		errx(1, "%s is no PKCS#11 module", argv[1]);
	check("C_GetFunctionList", get(&p11));
	check("C_Initialize", p11->C_Initialize(&args));
	slot = find_slot(argv[2]);
	key_type = strcmp(argv[4], "rsa") == 0 ? CKK_RSA : CKK_EC;
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &login));
	check("C_Login", p11->C_Login(login, CKU_USER, (unsigned char *)argv[3], strlen(argv[3])));

	cpu = cpu_s();
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, sign, NULL) != 0)
			errx(1, "pthread_create");
	usleep((useconds_t)(atof(argv[6]) * 1e6));
	ended = true;
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	clock_gettime(CLOCK_MONOTONIC, &end);
	seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
	printf("%.0f %.1f\n", (double)signatures / seconds,
	    (cpu_s() - cpu) * 1e6 / (double)signatures);
	return 0;
}
