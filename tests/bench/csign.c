/*
 * How many signatures a token makes in a second, with nothing of ours around:
 *
 *   csign MODULE TOKEN_LABEL PIN KEY_ID THREADS SECONDS
 *
 * Each thread has its own session and signs with the private key of that CKA_ID
 * (hex): SHA-256 DigestInfo with CKM_RSA_PKCS, or a digest with CKM_ECDSA, as
 * chancery-signer does it. Prints "ready" when all sessions are open, waits for a
 * line, so that several processes begin together, and prints how many signatures
 * it made a second and the microseconds of CPU that each took.
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
#define DIGEST_INFO_LEN (19 + 32)
#define SIGNATURE_MAX 1024

struct signer {
	pthread_t thread;
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	CK_KEY_TYPE key_type;
	unsigned long signatures;
};

static CK_FUNCTION_LIST *p11;
static CK_SLOT_ID slot;
static atomic_bool ended;

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

static size_t
parse_hex(const char *text, CK_BYTE *out, size_t size)
{
	size_t n = 0;

	for (; text[2 * n] != '\0'; n++) {
		if (n == size || sscanf(text + 2 * n, "%2hhx", &out[n]) != 1)
			errx(2, "%s is no key id", text);
	}
	return n;
}

static void
find_key(struct signer *s, const char *id)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_BYTE octets[64];
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
	    {CKA_ID, octets, parse_hex(id, octets, sizeof octets)}};
	CK_ATTRIBUTE type = {CKA_KEY_TYPE, &s->key_type, sizeof s->key_type};
	CK_ULONG n;

	check("C_FindObjectsInit", p11->C_FindObjectsInit(s->session, template, 2));
	check("C_FindObjects", p11->C_FindObjects(s->session, &s->key, 1, &n));
	check("C_FindObjectsFinal", p11->C_FindObjectsFinal(s->session));
	if (n == 0)
		errx(1, "the token has no key %s", id);
	check("C_GetAttributeValue", p11->C_GetAttributeValue(s->session, s->key, &type, 1));
}

static void *
sign(void *arg)
{
	static const CK_BYTE digest_info[DIGEST_INFO_LEN] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09,
	    0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	struct signer *s = arg;
	bool rsa = s->key_type == CKK_RSA;
	CK_MECHANISM mechanism = {rsa ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0};
	CK_BYTE data[DIGEST_INFO_LEN], signature[SIGNATURE_MAX];
	size_t skip = rsa ? 0 : 19;

	memcpy(data, digest_info, sizeof data);
	while (!ended) {
		CK_ULONG len = sizeof signature;

		data[sizeof data - 1]++;
		check("C_SignInit", p11->C_SignInit(s->session, &mechanism, s->key));
		check("C_Sign",
		    p11->C_Sign(s->session, data + skip, sizeof data - skip, signature, &len));
		s->signatures++;
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

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
load_module(const char *path)
{
	CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;
	void *module = dlopen(path, RTLD_NOW);

	if (module == NULL)
		errx(1, "%s", dlerror());
	*(void **)&get = dlsym(module, "C_GetFunctionList");
	if (get == NULL)
		errx(1, "%s is no PKCS#11 module", path);
	check("C_GetFunctionList", get(&p11));
	check("C_Initialize", p11->C_Initialize(&args));
}

int
main(int argc, char **argv)
{
	static struct signer signers[THREADS_MAX];
	unsigned long signatures = 0;
	CK_SESSION_HANDLE login;
	double start, cpu, took;
	int n;

	if (argc != 7 || (n = atoi(argv[5])) < 1 || n > THREADS_MAX)
		errx(2, "usage: csign MODULE TOKEN_LABEL PIN KEY_ID THREADS SECONDS");
	load_module(argv[1]);
	slot = find_slot(argv[2]);
	check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &login));
	check("C_Login", p11->C_Login(login, CKU_USER, (CK_BYTE *)argv[3], strlen(argv[3])));
	for (int i = 0; i < n; i++) {
		check("C_OpenSession",
		    p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &signers[i].session));
		find_key(&signers[i], argv[4]);
	}
	puts("ready");
	(void)fflush(stdout);
	if (getchar() == EOF)
		errx(1, "nobody wants to start");

	cpu = cpu_s();
	start = now();
	for (int i = 0; i < n; i++)
		if (pthread_create(&signers[i].thread, NULL, sign, &signers[i]) != 0)
			errx(1, "pthread_create");
	usleep((useconds_t)(atof(argv[6]) * 1e6));
	ended = true;
	for (int i = 0; i < n; i++) {
		pthread_join(signers[i].thread, NULL);
		signatures += signers[i].signatures;
	}
	took = now() - start;
	printf("%.1f %.1f\n", (double)signatures / took,
	    (cpu_s() - cpu) * 1e6 / (double)(signatures > 0 ? signatures : 1));
	return 0;
}
