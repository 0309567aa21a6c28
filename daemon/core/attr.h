#ifndef CHANCERY_CORE_ATTR_H
#define CHANCERY_CORE_ATTR_H

/*
 * Compiler attributes under short names.
 *
 * MUST_CHECK  the caller has to look at the result
 * PRINTF(f,a) argument f is a printf format, a its first value
 */
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
