#ifndef CHANCERY_CORE_ERROR_H
#define CHANCERY_CORE_ERROR_H

/*
 * The one error type of the program.
 *
 * A function that can fail takes a `struct error *` as its last argument,
 * returns false (or NULL) on failure and has then filled the error in. The
 * first error wins: setting an error that is already set changes nothing, so
 * clean-up code may fail without hiding the cause. Use ERROR_INIT for a fresh
 * one. Nothing in it is allocated; it can be copied and dropped freely.
 *
 * The text is one sentence for a person: it names the object, the rule and,
 * where there is something to do, what to do. It carries no secret.
 */

#include <stdarg.h>
#include <stdbool.h>

#include "daemon/core/attr.h"

#define ERROR_TEXT_MAX 512
#define ERROR_FOREIGN_MAX 48

enum error_code {
	ERROR_NONE = 0,
	ERROR_USAGE,	   /* wrong use of the command line */
	ERROR_CONFIG,	   /* configuration file, policy file, template */
	ERROR_INPUT,	   /* bytes or values from outside break a rule */
	ERROR_LIMIT,	   /* a named limit was exceeded */
	ERROR_DENIED,	   /* the caller may not do this */
	ERROR_NOT_FOUND,   /* the named object does not exist */
	ERROR_CONFLICT,	   /* the object is in another state than needed */
	ERROR_UNAVAILABLE, /* token, database or peer is away: try again later */
	ERROR_TIMEOUT,	   /* a deadline passed */
	ERROR_LOCKED,	   /* the token waits for a person's PIN */
	ERROR_ELSEWHERE,   /* another signer does it; nothing is wrong */
	ERROR_BUSY,	   /* something of the same kind is under way: wait for its end */
	ERROR_SYSTEM,	   /* the operating system refused */
	ERROR_INTERNAL,	   /* a bug, or a state that must not be */
};

enum error_source {
	ERROR_OURS = 0,
	ERROR_ERRNO,
	ERROR_OPENSSL,
	ERROR_PKCS11,
	ERROR_POSTGRES,
	ERROR_LDAP,
	ERROR_CURL,
};

struct error {
	enum error_code code;
	enum error_source source;
	char foreign[ERROR_FOREIGN_MAX]; /* errno name, CKR name, SQLSTATE, ... */
	char text[ERROR_TEXT_MAX];
};

#define ERROR_INIT ((struct error){0})

/* Fills e in unless it is set already. Always returns false, so that a
 * function may end with `return error_set(...)`. e may be NULL. */
bool error_set(struct error *e, enum error_code code, const char *fmt, ...) PRINTF(3, 4);

/* The same with the foreign code's name; foreign may be NULL. */
bool error_set_foreign(struct error *e, enum error_code code, enum error_source source,
    const char *foreign, const char *fmt, ...) PRINTF(5, 6);

/* The same, with ": strerror(errno)" appended and errno's name as foreign. */
bool error_set_errno(struct error *e, enum error_code code, const char *fmt, ...) PRINTF(3, 4);

/* The same, with the reason of OpenSSL's newest queued error appended; empties
 * the queue. */
bool error_set_openssl(struct error *e, enum error_code code, const char *fmt, ...) PRINTF(3, 4);

/* Puts words before the text of a set error: "context: text". Returns false. */
bool error_wrap(struct error *e, const char *fmt, ...) PRINTF(2, 3);

#if defined __clang_analyzer__ && !defined ERROR_DEFINITIONS
/* An analyser reads one file at a time and cannot see what these return. */
#define error_set(...) ((void)error_set(__VA_ARGS__), false)
#define error_set_foreign(...) ((void)error_set_foreign(__VA_ARGS__), false)
#define error_set_errno(...) ((void)error_set_errno(__VA_ARGS__), false)
#define error_set_openssl(...) ((void)error_set_openssl(__VA_ARGS__), false)
#define error_wrap(...) ((void)error_wrap(__VA_ARGS__), false)
#endif

bool error_is_set(const struct error *e);
void error_clear(struct error *e);

/* True for errors that may pass by themselves: the caller keeps the work and
 * tries again (ERROR_UNAVAILABLE, ERROR_TIMEOUT, ERROR_LOCKED, ERROR_BUSY). */
bool error_is_retryable(const struct error *e);

/* Stable lower-case word for a code ("not-found"), for JSON and logs. */
const char *error_code_name(enum error_code code);

#endif
