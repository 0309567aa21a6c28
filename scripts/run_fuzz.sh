#!/bin/sh
# Runs each fuzz target for a while:
#
#   scripts/run_fuzz.sh SECONDS BUILD_DIR NAME...
#
# Seeds come from tests/fuzz/corpus/NAME and are not changed; what is found on
# the way stays in BUILD_DIR/corpus-NAME for the next run. An input that crashes
# a target is left as BUILD_DIR/NAME-crash-*: it belongs into the corpus,
# together with the fix.
set -u
seconds=$1 build=$2
shift 2
failed=""
for name in "$@"; do
	mkdir -p "$build/corpus-$name"
	seeds=""
	[ ! -d "tests/fuzz/corpus/$name" ] || seeds=tests/fuzz/corpus/$name
	log=$build/$name.log
	# No input takes a second; the minute is for a machine that does much else.
	# shellcheck disable=SC2086
	if timeout -k 10 $((seconds + 600)) "$build/fuzz_$name" -max_total_time="$seconds" \
	    -timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$build/$name-" "$build/corpus-$name" $seeds \
	    >"$log" 2>&1; then
		echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, no finding"
	else
		tail -n 40 "$log"
		echo "fuzz $name: FAILED, see $log" >&2
		failed="$failed $name"
	fi
done
[ -z "$failed" ]
