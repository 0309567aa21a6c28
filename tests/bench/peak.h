#ifndef CHANCERY_BENCH_PEAK_H
#define CHANCERY_BENCH_PEAK_H

#include <stdio.h>

/* The largest resident size of this process so far, in KiB. Not ru_maxrss, which
 * begins with what the process had before exec: its parent's. */
static inline long
peak_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[256];
	long kib = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL && kib == 0) {
		if (sscanf(line, "VmHWM: %ld", &kib) != 1)
			kib = 0;
	}
	if (f != NULL)
		(void)fclose(f);
	return kib;
}

#endif
