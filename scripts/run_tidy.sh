#!/bin/sh
# clang-tidy on some sources: options (-I..., -D...) and files in any order.
set -eu
flags="" files=""
for word in "$@"; do
	case $word in
	-*) flags="$flags $word" ;;
	*) files="$files $word" ;;
	esac
done
# shellcheck disable=SC2086
clang-tidy --quiet --warnings-as-errors='*' $files -- -std=gnu11 -I. -D_GNU_SOURCE \
    '-DCHANCERY_VERSION="lint"' '-DCHANCERY_LIBEXECDIR="/usr/local/libexec/chancery"' \
    '-DCHANCERY_DATADIR="/usr/local/share/chancery"' $flags 2>&1 |
    awk '/warnings? generated\.$|^Suppressed |^Use -header-filter/ { next } { print; found = 1 } END { exit found }'
