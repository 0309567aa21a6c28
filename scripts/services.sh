#!/bin/sh
# Private services for the demo, below var/demo, never the system's own:
#
#   scripts/services.sh start    fresh PostgreSQL, SoftHSM token and slapd
#   scripts/services.sh stop     stops them, and the chanceryd that uses them
#   scripts/services.sh status   what runs
#
# start writes var/demo/env: shell variables that say where everything is.
# PostgreSQL has a Unix socket only, slapd a free port on loopback.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

# Where everything lives. PostgreSQL does not run as root; where its user cannot
# reach the source tree (a clone below /root), or the path is too long for a
# Unix socket (108 bytes) or has characters that some configuration file would
# want quoted, the directory lies in /tmp with a link to it here.
make_demo_dir()
{
	mkdir -p var
	here=$(pwd)/var/demo
	odd=$(printf %s "$here" | LC_ALL=C tr -d 'A-Za-z0-9/._-')
	if [ -z "$odd" ] && [ ${#here} -le 70 ] && as_postgres test -x "${here%/*}"; then
		mkdir -p "$here"
	else
		ln -s "$(mktemp -d /tmp/chancery-demo.XXXXXX)" "$here"
	fi
	chmod 755 "$here/."
	D=$(cd "$here" && pwd -P)
}

# Root's demo cannot be ended by another user; and root would run PostgreSQL's
# tools as a user that cannot read another one's data.
refuse_others()
{
	owner=$(stat -L -c %U var/demo 2>/dev/null) || return 0
	[ "$owner" = "$(id -un)" ] || {
		echo "var/demo belongs to $owner: have that user run 'make stop', and remove it" >&2
		exit 1
	}
}

remove_demo_dir()
{
	[ -e var/demo ] || [ -L var/demo ] || return 0
	real=$(cd var/demo 2>/dev/null && pwd -P) || real=""
	[ -z "$real" ] || rm -rf "$real"
	rm -rf var/demo
}

start_postgres()
{
	mkdir -p "$D/postgres/s"
	install -d -m 700 "$D/postgres/data"
	chmod 755 "$D/postgres" "$D/postgres/s"
	[ "$(id -u)" != 0 ] || chown -R postgres:postgres "$D/postgres"
	as_postgres "$PG_BIN/initdb" -D "$D/postgres/data" -U postgres -A peer -E UTF8 --locale=C.UTF-8 \
	    >"$D/postgres-initdb.log"
	# PostgreSQL knows the system user and lets it have our roles: no passwords.
	as_postgres sh -c 'cat >"$1/postgresql.auto.conf" && printf "%s\n" "local all all peer map=chancery" \
	    >"$1/pg_hba.conf"' - "$D/postgres/data" <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$D/postgres/s'
		shared_buffers = 64MB
	CONF
	for role in postgres chancery_owner chancery_issuer chancery_front webshop; do
		for user in $(printf '%s\n' "$(id -un)" postgres | sort -u); do
			printf 'chancery %s %s\n' "$user" $role
		done
	done | as_postgres sh -c 'cat >"$1/pg_ident.conf"' - "$D/postgres/data"
	as_postgres "$PG_BIN/pg_ctl" -D "$D/postgres/data" -l "$D/postgres/log" -w -s start
	psql_as postgres postgres -c "CREATE DATABASE chancery"
	psql_as postgres chancery -f migrations/bootstrap.sql
	psql_as postgres chancery -c "CREATE ROLE webshop LOGIN IN ROLE chancery_submitter"
}

start_token()
{
	install -d -m 700 "$D/token" "$D/token/tokens"
	cat >"$D/token/softhsm2.conf" <<-CONF
		directories.tokendir = $D/token/tokens
		objectstore.backend = file
		log.level = ERROR
		slots.removable = false
	CONF
	(
		umask 077
		random_digits >"$D/token/pin"
	)
	SOFTHSM2_CONF=$D/token/softhsm2.conf softhsm2-util --init-token --free --label chancery-demo \
	    --pin "$(cat "$D/token/pin")" --so-pin "$(random_digits)" >/dev/null
}

start_slapd()
{
	install -d -m 700 "$D/slapd" "$D/slapd/db"
	slapd=$(find_program slapd)
	# Debian's AppArmor profile binds slapd, by its path, to the system's directories.
	if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
		cp "$slapd" "$D/slapd/slapd"
		slapd=$D/slapd/slapd
	fi
	(
		umask 077
		printf '%s' "demo-$(random_digits)" >"$D/slapd/password"
		cat >"$D/slapd/slapd.conf" <<-CONF
			include /etc/ldap/schema/core.schema
			modulepath /usr/lib/ldap
			moduleload back_mdb
			pidfile $D/slapd/pid
			database mdb
			maxsize 1073741824
			suffix "o=example"
			rootdn "cn=admin,o=example"
			rootpw $(cat "$D/slapd/password")
			directory $D/slapd/db
			access to * by * read
		CONF
	)
	LDAP_PORT=$(free_port)
	"$slapd" -f "$D/slapd/slapd.conf" -h "ldap://127.0.0.1:$LDAP_PORT/"
	wait_for "slapd" ldapsearch -x -LLL -o nettimeout=2 -H "ldap://127.0.0.1:$LDAP_PORT" -s base -b "" 1.1
	printf 'dn: o=example\nobjectClass: organization\no: example\n' |
	    ldapadd -x -H "ldap://127.0.0.1:$LDAP_PORT" -D cn=admin,o=example -y "$D/slapd/password" >/dev/null
}

start()
{
	stop
	remove_demo_dir
	make_demo_dir
	start_postgres
	start_token
	start_slapd
	cat >"$D/env" <<-ENV
		D=$D
		LDAP_PORT=$LDAP_PORT
		HTTP_PORT=$(free_port)
	ENV
}

stop()
{
	refuse_others
	D=$(cd var/demo 2>/dev/null && pwd -P) || return 0
	stop_pid "$D/chanceryd.pid" chanceryd 40
	stop_pid "$D/slapd/pid" slapd 20
	if [ -f "$D/postgres/data/postmaster.pid" ]; then
		as_postgres "$PG_BIN/pg_ctl" -D "$D/postgres/data" -m fast -s stop || :
	fi
}

status()
{
	D=$(cd var/demo 2>/dev/null && pwd -P) || {
		echo "There is no demo; make demo makes one."
		return 0
	}
	for service in chanceryd:chanceryd.pid slapd:slapd/pid postgres:postgres/data/postmaster.pid; do
		pid=$(head -n 1 "$D/${service#*:}" 2>/dev/null || :)
		if runs "$pid" "${service%%:*}"; then
			echo "${service%%:*} runs (pid $pid)"
		else
			echo "${service%%:*} does not run"
		fi
	done
}

case ${1:-} in
start) start ;;
stop)
	stop
	if [ -d var/demo ]; then
		echo "The demo is stopped; var/demo keeps its data and logs."
	else
		echo "There is no demo; make demo makes one."
	fi
	;;
status) status ;;
*)
	echo "usage: scripts/services.sh start|stop|status" >&2
	exit 2
	;;
esac
