#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/core/monotonic.h"

static int64_t
kernel_ns(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Each unit lies between two readings of the kernel's clock. */
static void
units(void **state)
{
	int64_t (*const read[])(void) = {monotonic_ns, monotonic_us, monotonic_ms, monotonic_s};
	const int64_t ns[] = {1, 1000, 1000000, 1000000000};

	for (size_t i = 0; i < sizeof ns / sizeof ns[0]; i++) {
		int64_t before = kernel_ns(), now = read[i](), after = kernel_ns();

		assert_true(before / ns[i] <= now && now <= after / ns[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(units)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
