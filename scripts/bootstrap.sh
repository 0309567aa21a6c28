#!/bin/sh
# Installs what is missing on Debian 12, and nothing else.
#
#   scripts/bootstrap.sh [build] [demo] [check] [bench] [lint]
#
# build  compiler and libraries
# demo   PostgreSQL, SoftHSM, slapd and the third-party tools of `make demo`
# check  what the tests need beyond that
# bench  perf, and the peers that `make bench` measures beside Chancery
# lint   clang-tidy, clang-format, cppcheck, libFuzzer's runtime
#
# A warm run only asks dpkg. The distribution's own services of freshly
# installed packages are neither started now nor enabled for the next boot:
# Chancery's scripts run private ones.
set -eu

BUILD="gcc libc6-dev make pkg-config libssl-dev libevent-dev libyaml-dev libjansson-dev
    libcurl4-openssl-dev libldap-dev libsasl2-dev libpq-dev libp11-dev libp11-kit-dev libseccomp-dev
    libgfshare-dev"
DEMO="openssl curl ca-certificates util-linux postgresql postgresql-client softhsm2 slapd
    ldap-utils jq gnutls-bin strongswan-pki libstrongswan-standard-plugins
    libstrongswan-extra-plugins"
CHECK="libcmocka-dev nginx-light openssh-server p11-kit mandoc openjdk-17-jdk-headless
    libnss3-tools dirmngr python3-pytest python3-pytest-xdist python3-psycopg2 python3-cryptography python3-ldap3
    python3-asn1crypto python3-hypothesis python3-yaml p11-kit-modules swtpm tpm2-abrmd
    dbus-daemon libtss2-tcti-tabrmd0 libtss2-tcti-swtpm0 libtpm2-pkcs11-1 libtpm2-pkcs11-tools
    opencryptoki krb5-kdc krb5-admin-server libsasl2-modules-gssapi-mit"
BENCH="linux-perf golang-cfssl libengine-pkcs11-openssl"
LINT="clang clang-tidy clang-format cppcheck libclang-rt-14-dev"

wanted=""
for group in "${@:-build}"; do
	case $group in
	build) wanted="$wanted $BUILD" ;;
	demo) wanted="$wanted $DEMO" ;;
	check) wanted="$wanted $CHECK" ;;
	bench) wanted="$wanted $BENCH" ;;
	lint) wanted="$wanted $LINT" ;;
	*)
		echo "bootstrap.sh: unknown group '$group'; known are build, demo, check, bench, lint" >&2
		exit 2
		;;
	esac
done

missing()
{
	# shellcheck disable=SC2086
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
	    sed -n 's/^installed //p' | tr -s ' ,' '\n\n')
	for package in $wanted; do
		echo "$installed" | grep -qxF "$package" || printf ' %s' "$package"
	done
}

if ! command -v dpkg-query >/dev/null; then
	echo "bootstrap.sh: this is no Debian; install the counterparts of:" $wanted >&2
	exit 1
fi
packages=$(missing)
[ -n "$packages" ] || exit 0

as_root=""
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "bootstrap.sh: neither root nor sudo; install as root: apt-get install$packages" >&2
		exit 1
	fi
	as_root=sudo
fi
echo "installing:$packages"

# The whole of it as one script for one sudo.
$as_root env PACKAGES="$packages" sh -eu <<'ROOT'
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
umask 022 # packages make directories that others have to read
policy=/usr/sbin/policy-rc.d
log=$(mktemp /tmp/chancery-bootstrap.XXXXXX)

# invoke-rc.d asks this file before it starts a service; 101 forbids it.
restore()
{
	rm -f $policy
	[ ! -e $policy.chancery ] || mv $policy.chancery $policy
}
[ ! -e $policy ] || mv $policy $policy.chancery
trap restore EXIT
trap 'exit 1' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' >$policy
chmod 755 $policy

present()
{
	dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}
services=""
present postgresql-common || services="$services postgresql"
present slapd || services="$services slapd"
present nginx || present nginx-light || services="$services nginx"
present openssh-server || services="$services ssh"
present opencryptoki || services="$services opencryptoki pkcsslotd"
present tpm2-abrmd || services="$services tpm2-abrmd"
present krb5-kdc || services="$services krb5-kdc krb5-admin-server"

mkdir -p /usr/share/man/man1 # Java's packages fail without it on slim systems
# Waits for another apt (a new machine upgrades itself), for a mirror not for ever,
# and leaves its input alone, which is this script.
apt()
{
	apt-get -q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Acquire::http::Timeout=60 \
	    -o Acquire::https::Timeout=60 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
	    "$@" </dev/null >"$log" 2>&1
}
install()
{
	apt install --no-install-recommends $PACKAGES
}
if ! install; then
	apt update && install || {
		tail -n 30 "$log" >&2
		echo "bootstrap.sh: apt-get failed; its output is in $log" >&2
		exit 1
	}
fi
for service in $services; do
	systemctl disable $service >/dev/null 2>&1 || update-rc.d $service disable >/dev/null 2>&1 || :
done
rm -f "$log"
ROOT

left=$(missing)
if [ -n "$left" ]; then
	echo "bootstrap.sh: still missing:$left" >&2
	exit 1
fi
