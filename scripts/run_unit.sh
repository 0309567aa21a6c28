#!/bin/sh
# Runs unit tests, as many at a time as there are cores (JOBS=), all of them even
# when one fails, and fails at the end if any did. What each said comes in one piece.
set -u
umask 022 # tests make files of certain modes
export ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export LSAN_OPTIONS="print_suppressions=0${LSAN_OPTIONS:+:$LSAN_OPTIONS}"
export UBSAN_OPTIONS="print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

place=$(mktemp -d) || exit 1
export place
trap 'rm -rf "$place"' EXIT
trap 'exit 1' INT TERM HUP

# No test takes a minute; what takes ten hangs.
# shellcheck disable=SC2016
printf '%s\0' "$@" | xargs -0 -n 1 -P "${JOBS:-$(nproc)}" sh -c '
	log=$place/$$
	timeout -k 10 600 "$1" >"$log" 2>&1 || echo "$1 (status $?)" >>"$place/failed"
	exec 9>"$place/lock" && flock 9
	echo "== $1"
	cat "$log"
' run_unit
if [ -s "$place/failed" ]; then
	echo "failed unit tests:" $(cat "$place/failed") >&2
	exit 1
fi
