# What services.sh and demo.sh share; read with ".", from the top of the tree.
# shellcheck shell=sh

# Programs speak as these scripts read them, also where the user's locale is not
# installed.
export LC_ALL=C.UTF-8

PG_BIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)

# A command as the user that runs PostgreSQL: "postgres" for root, which the
# server refuses, and otherwise ourselves. From /, because that user may not be
# allowed into the source tree: all paths are absolute.
as_postgres()
{
	if [ "$(id -u)" = 0 ]; then
		(cd / && exec runuser -u postgres -- "$@")
	else
		(cd / && exec "$@")
	fi
}

# psql_as ROLE DATABASE ARG...
psql_as()
{
	role=$1 database=$2
	shift 2
	PGOPTIONS="-c client_min_messages=warning" psql -X -q -v ON_ERROR_STOP=1 \
	    -h "$D/postgres/s" -U "$role" -d "$database" "$@"
}

# Programs of /usr/sbin are not on an ordinary user's PATH.
find_program()
{
	PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1"
}

random_digits()
{
	od -An -N8 -tu8 /dev/urandom | tr -d ' ' | cut -c1-8
}

# A TCP port on which nobody listens, below the kernel's ephemeral range.
free_port()
{
	while :; do
		port=$(shuf -i 20000-31999 -n 1)
		hex=$(printf '%04X' "$port")
		cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "^ *[0-9]*: [0-9A-F]*:$hex " || break
	done
	echo "$port"
}

# wait_for WHAT COMMAND...: until the command succeeds, at most 30 s.
wait_for()
{
	what=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		if [ $tries -gt 600 ]; then
			echo "$what does not answer" >&2
			return 1
		fi
		sleep 0.05
	done
}

# runs PID NAME: a process of that name has that pid. One that ended counts as
# gone, even where nobody waits for it, as in containers without an init.
runs()
{
	[ -n "$1" ] && grep -q "^$1 ($2) [^ZX]" "/proc/$1/stat" 2>/dev/null
}

# stop_pid FILE NAME SECONDS: SIGTERM, then SIGKILL.
stop_pid()
{
	pid=$(cat "$1" 2>/dev/null || :)
	runs "$pid" "$2" || return 0
	kill "$pid"
	tries=0
	while runs "$pid" "$2"; do
		tries=$((tries + 1))
		if [ $tries -gt $(($3 * 20)) ]; then
			echo "$2 (pid $pid) does not end; killed" >&2
			kill -KILL "$pid"
			break
		fi
		sleep 0.05
	done
	rm -f "$1"
}
