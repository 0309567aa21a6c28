#!/bin/sh
# Runs unit tests one after the other, all of them even when one fails, and
# fails at the end if any did.
set -u
umask 022 # tests make files of certain modes
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
tests=$(cd "$(dirname "$0")/../tests" && pwd)
export LSAN_OPTIONS="suppressions='$tests/lsan.supp':print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

failed=""
for test in "$@"; do
	echo "== $test"
	timeout -k 10 600 "$test" || failed="$failed $test"
done
if [ -n "$failed" ]; then
	echo "failed unit tests:$failed" >&2
	exit 1
fi
