#ifndef CHANCERY_CORE_MONOTONIC_H
#define CHANCERY_CORE_MONOTONIC_H

/*
 * Time since some moment in the past by CLOCK_MONOTONIC (clock_gettime(2)), which nobody sets
 * and which is the same in all processes of a host: for deadlines, pauses and durations. It
 * stands still while the host sleeps; what must not is measured by CLOCK_BOOTTIME.
 */

#include <stdint.h>

/* In nanoseconds, and whole micro-, milliseconds and seconds. They cannot fail. */
int64_t monotonic_ns(void);
int64_t monotonic_us(void);
int64_t monotonic_ms(void);
int64_t monotonic_s(void);

#endif
