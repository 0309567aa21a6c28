/* Operators' keys in files, and the passphrases that open them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/pem.h>

#include "daemon/cli/operator_key.h"

#define PASSPHRASE "correct horse battery staple"

static char dir[] = "/tmp/chancery-operator-XXXXXX";
static struct error err;

static const char *
in_dir(const char *name)
{
	static char paths[16][128];
	static size_t next;
	char *path = paths[next++ % COUNT_OF(paths)];

	(void)snprintf(path, sizeof paths[0], "%s/%s", dir, name);
	return path;
}

static void
write_file(const char *path, const char *text, size_t len, mode_t mode)
{
	FILE *f;

	(void)unlink(path);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static size_t
read_file(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(out, 1, size - 1, f);
	out[n] = '\0';
	assert_int_equal(fclose(f), 0);
	return n;
}

static mode_t
mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

/* A passphrase by the way of --passphrase-file. */
static struct secret *
secret(const char *text)
{
	struct options o = {0};
	struct secret *s;
	char path[128];

	(void)snprintf(path, sizeof path, "%s/phrase", dir);
	write_file(path, text, strlen(text), 0600);
	o.value[OPTION_PASSPHRASE_FILE] = path;
	err = ERROR_INIT;
	s = secret_read(&o, "", &err);
	assert_non_null(s);
	return s;
}

static void
expect_error(enum error_code code, const char *words)
{
	if (err.code != code || strstr(err.text, words) == NULL)
		fail_msg("%d: %s", (int)err.code, err.text);
	err = ERROR_INIT;
}

/* ---------------------------------------------------------------- the file */

static void
make(const char *path)
{
	struct secret *s = secret(PASSPHRASE);
	struct operator_key k;

	if (!operator_key_create(path, s, false, &k, &err))
		fail_msg("%s", err.text);
	operator_key_clear(&k);
	secret_free(s);
}

static void
test_create_and_load(void **state)
{
	const char *path = in_dir("made/for/this/operator.pem");
	struct secret *s = secret(PASSPHRASE);
	struct operator_key made, loaded;
	char text[4096], pem[1024];

	if (!operator_key_create(path, s, false, &made, &err))
		fail_msg("%s", err.text);
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(mode_of(in_dir("made")), 0700);
	(void)read_file(path, text, sizeof text);
	assert_non_null(strstr(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----"));
	if (!operator_key_load(path, s, &loaded, &err))
		fail_msg("%s", err.text);
	assert_int_equal(EVP_PKEY_eq(made.key, loaded.key), 1);
	assert_string_equal(made.sha256, loaded.sha256);
	assert_int_equal(made.spki_len, loaded.spki_len);
	assert_memory_equal(made.spki, loaded.spki, made.spki_len);
	/* Its public half lies beside it, for others. */
	assert_true(public_key_pem(made.spki, made.spki_len, pem, sizeof pem, &err));
	(void)read_file(
	    in_dir("made/for/this/operator.pem" OPERATOR_KEY_PUBLIC), text, sizeof text);
	assert_string_equal(text, pem);
	assert_int_equal(mode_of(in_dir("made/for/this/operator.pem" OPERATOR_KEY_PUBLIC)), 0644);
	operator_key_clear(&made);
	operator_key_clear(&loaded);
	operator_key_clear(&loaded);
	secret_free(s);
}

/* The private number is in memory that is locked and wiped. */
static void
test_key_is_in_the_locked_heap(void **state)
{
	struct secret *s = secret(PASSPHRASE);
	struct operator_key k;
	size_t before;

	make(in_dir("heap.pem"));
	assert_int_equal(CRYPTO_secure_malloc_initialized(), 1);
	before = CRYPTO_secure_used(); /* random numbers' seeds are there too */
	assert_true(operator_key_load(in_dir("heap.pem"), s, &k, &err));
	assert_true(CRYPTO_secure_used() > before);
	operator_key_clear(&k);
	assert_int_equal(CRYPTO_secure_used(), before);
	secret_free(s);
}

static void
test_existing_key_stays(void **state)
{
	const char *path = in_dir("mine.pem");
	char before[4096], after[4096];
	struct secret *s = secret(PASSPHRASE);
	struct operator_key k;

	make(path);
	(void)read_file(path, before, sizeof before);
	assert_false(operator_key_check_new(path, false, &err));
	expect_error(ERROR_CONFLICT, "--force");
	assert_false(operator_key_create(path, s, false, &k, &err));
	expect_error(ERROR_CONFLICT, "exists already");
	(void)read_file(path, after, sizeof after);
	assert_string_equal(before, after);
	/* Nor is a link followed that leads nowhere yet. */
	assert_int_equal(symlink("/nowhere/at/all", in_dir("dangling.pem")), 0);
	assert_false(operator_key_create(in_dir("dangling.pem"), s, false, &k, &err));
	expect_error(ERROR_CONFLICT, "exists already");

	assert_true(operator_key_create(path, s, true, &k, &err));
	operator_key_clear(&k);
	(void)read_file(path, after, sizeof after);
	assert_string_not_equal(before, after);
	assert_int_equal(mode_of(path), 0600);
	secret_free(s);
}

static void
test_create_where_nothing_can_be(void **state)
{
	struct secret *s = secret(PASSPHRASE);
	struct operator_key k;

	write_file(in_dir("file"), "x", 1, 0600);
	assert_false(operator_key_create(in_dir("file/operator.pem"), s, false, &k, &err));
	expect_error(ERROR_SYSTEM, "creating");
	assert_null(k.key);
	secret_free(s);
}

static void
expect_load_refused(const char *path, const char *phrase, enum error_code code, const char *words)
{
	struct secret *s = secret(phrase);
	struct operator_key k;

	assert_false(operator_key_load(path, s, &k, &err));
	expect_error(code, words);
	assert_null(k.key);
	secret_free(s);
}

static void
test_load_refusals(void **state)
{
	const char *path = in_dir("refused.pem");
	char text[4096];
	size_t len;

	make(path);
	expect_load_refused(path, "incorrect horse", ERROR_DENIED, "the passphrase is wrong");
	assert_int_equal(chmod(path, 0644), 0);
	expect_load_refused(path, PASSPHRASE, ERROR_CONFIG, "mode 0644");
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(symlink(path, in_dir("link.pem")), 0);
	expect_load_refused(in_dir("link.pem"), PASSPHRASE, ERROR_CONFIG, "symbolic link");
	expect_load_refused(in_dir("absent.pem"), PASSPHRASE, ERROR_CONFIG, "No such file");
	expect_load_refused(dir, PASSPHRASE, ERROR_CONFIG, "no regular file");
	len = read_file(path, text, sizeof text);
	for (size_t cut = 0; cut < len - 1; cut += 17) {
		struct secret *s = secret(PASSPHRASE);
		struct operator_key k;

		write_file(path, text, cut, 0600);
		assert_false(operator_key_load(path, s, &k, &err));
		expect_error(ERROR_CONFIG, "is no operator key");
		secret_free(s);
	}
}

/* Keys in other forms: not encrypted, PEM's own encryption, another algorithm. */
static void
write_key(const char *path, EVP_PKEY *key, bool pkcs8, const EVP_CIPHER *cipher)
{
	BIO *bio = BIO_new_file(path, "w");
	int len = cipher != NULL ? (int)strlen(PASSPHRASE) : 0;
	const char *phrase = cipher != NULL ? PASSPHRASE : NULL;

	assert_non_null(bio);
	assert_non_null(key);
	if (pkcs8)
		assert_int_equal(
		    PEM_write_bio_PKCS8PrivateKey(bio, key, cipher, phrase, len, NULL, NULL), 1);
	else
		assert_int_equal(PEM_write_bio_PrivateKey_traditional(bio, key, cipher,
				     (const unsigned char *)phrase, len, NULL, NULL),
		    1);
	BIO_free(bio);
	assert_int_equal(chmod(path, 0600), 0);
}

static void
test_keys_of_other_kinds(void **state)
{
	EVP_PKEY *p256 = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384");
	EVP_PKEY *ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	struct secret *s = secret(PASSPHRASE);
	struct operator_key k;

	write_key(in_dir("k.pem"), p256, true, NULL);
	expect_load_refused(in_dir("k.pem"), PASSPHRASE, ERROR_CONFIG, "is no operator key");
	write_key(in_dir("k.pem"), p256, false, EVP_aes_256_cbc());
	expect_load_refused(in_dir("k.pem"), PASSPHRASE, ERROR_CONFIG, "is no operator key");
	write_key(in_dir("k.pem"), p384, true, EVP_aes_256_cbc());
	expect_load_refused(in_dir("k.pem"), PASSPHRASE, ERROR_INPUT, "P-256");
	/* As "openssl pkcs8 -topk8" makes them. */
	write_key(in_dir("k.pem"), p256, true, EVP_aes_256_cbc());
	assert_true(operator_key_load(in_dir("k.pem"), s, &k, &err));
	operator_key_clear(&k);
	write_key(in_dir("k.pem"), ed25519, true, EVP_aes_256_cbc());
	assert_true(operator_key_load(in_dir("k.pem"), s, &k, &err));
	operator_key_clear(&k);
	secret_free(s);
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(ed25519);
}

static void
test_path(void **state)
{
	struct options o = {0};
	char path[256], *home = getenv("HOME") != NULL ? strdup(getenv("HOME")) : NULL;

	assert_int_equal(unsetenv(OPERATOR_KEY_VARIABLE), 0);
	assert_int_equal(setenv("HOME", "/home/x", 1), 0);
	assert_true(operator_key_path(&o, path, sizeof path, &err));
	assert_string_equal(path, "/home/x/.config/chancery/operator.pem");
	assert_false(operator_key_path(&o, path, 20, &err));
	expect_error(ERROR_USAGE, "too long");
	assert_int_equal(setenv(OPERATOR_KEY_VARIABLE, "/v", 1), 0);
	assert_true(operator_key_path(&o, path, sizeof path, &err));
	assert_string_equal(path, "/v");
	o.value[OPTION_OPERATOR_KEY] = "/o";
	assert_true(operator_key_path(&o, path, sizeof path, &err));
	assert_string_equal(path, "/o");
	o.value[OPTION_OPERATOR_KEY] = NULL;
	assert_int_equal(unsetenv(OPERATOR_KEY_VARIABLE), 0);
	assert_int_equal(unsetenv("HOME"), 0);
	assert_false(operator_key_path(&o, path, sizeof path, &err));
	expect_error(ERROR_USAGE, "--operator-key");
	if (home != NULL)
		(void)setenv("HOME", home, 1);
	free(home);
}

/* -------------------------------------------------------------- passphrases */

static void
expect_secret(const char *content, const char *expected)
{
	struct secret *s = secret(content);

	assert_string_equal(s->text, expected);
	assert_int_equal(s->len, strlen(expected));
	secret_free(s);
}

static void
expect_no_secret(struct options *o, bool fresh, enum error_code code, const char *words)
{
	struct secret *s = fresh ? secret_read_new(o, "", &err) : secret_read(o, "", &err);

	assert_null(s);
	expect_error(code, words);
}

static void
test_passphrase_files(void **state)
{
	struct options o = {0};
	const char *path = in_dir("p");
	char longest[SECRET_MAX + 2];

	expect_secret("secret\nsecond line\n", "secret");
	expect_secret("secret", "secret");
	expect_secret("secret\r\n", "secret");
	expect_secret(" with blanks \n", " with blanks ");
	memset(longest, 'x', sizeof longest);
	longest[SECRET_MAX] = '\0';
	expect_secret(longest, longest);

	o.value[OPTION_PASSPHRASE_FILE] = path;
	longest[SECRET_MAX] = 'x';
	write_file(path, longest, sizeof longest - 1, 0600);
	expect_no_secret(&o, false, ERROR_LIMIT, "longer than 256 octets");
	write_file(path, "\nx", 2, 0600);
	expect_no_secret(&o, false, ERROR_INPUT, "is empty");
	write_file(path, "", 0, 0600);
	expect_no_secret(&o, false, ERROR_INPUT, "is empty");
	write_file(path, "1234567", 7, 0600);
	expect_no_secret(&o, true, ERROR_INPUT, "at least 8 octets");
	write_file(path, "12345678", 8, 0640);
	expect_no_secret(&o, false, ERROR_CONFIG, "mode 0640");
	o.value[OPTION_PASSPHRASE_FD] = "0";
	expect_no_secret(&o, false, ERROR_USAGE, "exclude each other");
}

static void
test_passphrase_descriptors(void **state)
{
	static const char *const bad[] = {"x", "1x", "-1", "", "99999999999"};
	struct options o = {0};
	struct secret *s;
	char number[16];
	int fds[2];

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		o.value[OPTION_PASSPHRASE_FD] = bad[i];
		expect_no_secret(&o, false, ERROR_USAGE, "number of an open descriptor");
	}
	o.value[OPTION_PASSPHRASE_FD] = "1000000";
	expect_no_secret(&o, false, ERROR_SYSTEM, "Bad file descriptor");
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "through a pipe\nrest", 19), 19);
	assert_int_equal(close(fds[1]), 0);
	(void)snprintf(number, sizeof number, "%d", fds[0]);
	o.value[OPTION_PASSPHRASE_FD] = number;
	s = secret_read_new(&o, "", &err);
	assert_non_null(s);
	assert_string_equal(s->text, "through a pipe");
	secret_free(s);
	assert_int_equal(close(fds[0]), 0);
	secret_free(NULL);
}

static int
set_up(void **state)
{
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_create_and_load),
	    cmocka_unit_test(test_key_is_in_the_locked_heap),
	    cmocka_unit_test(test_existing_key_stays),
	    cmocka_unit_test(test_create_where_nothing_can_be),
	    cmocka_unit_test(test_load_refusals),
	    cmocka_unit_test(test_keys_of_other_kinds),
	    cmocka_unit_test(test_path),
	    cmocka_unit_test(test_passphrase_files),
	    cmocka_unit_test(test_passphrase_descriptors),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
