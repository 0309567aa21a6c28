#!/bin/sh
# Chancery's main job on private services, every step shown. `make demo` has
# installed and built what this needs; `make stop` ends what it leaves running.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

# One at a time in this tree. -o: what stays running does not keep the lock.
if [ "${1:-}" != locked ]; then
	mkdir -p var
	flock -n -o -E 75 var/lock scripts/demo.sh locked || {
		status=$?
		[ $status != 75 ] || echo "demo: another make demo is at work in this tree; wait for its end" >&2
		exit $status
	}
	exit 0
fi
trap 'echo "demo: interrupted; make stop ends what was started, make demo begins anew" >&2; exit 130' INT TERM

BUILD=${BUILD:-build}
case $BUILD in
/*) ;;
*) BUILD=$(pwd)/$BUILD ;;
esac
export BUILD

bold="" plain=""
if [ -t 1 ]; then
	bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

heading()
{
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

say()
{
	printf '   %s\n' "$*"
}

# Runs a command quietly; shows it with its output only if it fails.
quiet()
{
	if ! "$@" >"$D/work/output" 2>&1; then
		printf '   $ %s\n' "$*"
		cat "$D/work/output"
		fail "this should have worked"
	fi
}

# The same, and shows the command with the last line of its output.
brief()
{
	quiet "$@"
	say "\$ $*"
	say "  $(tail -n 1 "$D/work/output")"
}

# Shows a command as a reader would type it, runs it, shows its output.
show()
{
	printf '   $ %s\n' "$1"
	shift
	if ! "$@" >"$D/work/output" 2>&1; then
		cat "$D/work/output"
		fail "this should have worked"
	fi
	sed 's/^/     /' "$D/work/output"
}

fail()
{
	echo "demo: $*" >&2
	[ ! -f "$D/chanceryd.log" ] || {
		echo "demo: the end of $D/chanceryd.log:" >&2
		tail -n 20 "$D/chanceryd.log" >&2
	}
	exit 1
}

chancery()
{
	"$BUILD/chancery" --passphrase-file "$D/operator/passphrase" "$@"
}

# The second operator, at his own desk.
bob()
{
	CHANCERY_OPERATOR_KEY="$D/operator/bob.pem" chancery "$@"
}

# The decision that waits for further signatures.
collecting()
{
	field '.decisions[0].id' decision list --state collecting
}

# A field of `chancery --json ...`.
field()
{
	path=$1
	shift
	chancery --json "$@" | jq -r "$path"
}

rest()
{
	curl -sS --fail-with-body --unix-socket "$CHANCERY_SOCKET" "$@"
}

wait_state()
{
	state=$(rest "http://localhost/v1/requests/$1?wait=20" | jq -r .state)
	[ "$state" = "$2" ] || fail "request $1 is $state, not $2"
}

# ------------------------------------------------------------------ services

if [ -e var/demo ]; then
	scripts/services.sh stop
	echo "An earlier demo is removed; this one begins anew."
fi
heading "Private services below var/demo"
started=$(date +%s%N)
scripts/services.sh start
. var/demo/env
mkdir -p "$D/chancery"
install -d -m 700 "$D/work" "$D/credentials" "$D/operator"
(
	umask 077
	cp "$D/slapd/password" "$D/credentials/directory"
	random_digits >"$D/operator/passphrase"
)
for module in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
	[ -e "$module" ] && break
done
URL=http://127.0.0.1:$HTTP_PORT
LDAP=ldap://127.0.0.1:$LDAP_PORT
DN=cn=demo-issuing,o=example
cat >"$D/chanceryd.yaml" <<EOT
state_dir: $D/chancery/state
log_level: info
separation: none      # all as the user who runs the demo
sandbox: best-effort  # what this kernel has
database:
  owner: "host=$D/postgres/s dbname=chancery user=chancery_owner"
  issuer: "host=$D/postgres/s dbname=chancery user=chancery_issuer"
  front: "host=$D/postgres/s dbname=chancery user=chancery_front"
tokens:
  - name: main
    module: $module
    select: {label: "chancery-demo"}
    pin_file: $D/token/pin
    threads: 2
    environment: {SOFTHSM2_CONF: $D/token/softhsm2.conf}
front:
  unix: {path: $D/api.sock, mode: "0660"}
  http: ["127.0.0.1:$HTTP_PORT"]
issuer:
  signer_id: 1
  credentials_dir: $D/credentials
EOT
chmod 600 "$D/chanceryd.yaml"
quiet "$BUILD/chanceryd" --config "$D/chanceryd.yaml" --migrate --migrations migrations
setsid "$BUILD/chanceryd" --config "$D/chanceryd.yaml" >>"$D/chanceryd.log" 2>&1 </dev/null &
echo $! >"$D/chanceryd.pid"
export CHANCERY_SOCKET="$D/api.sock" CHANCERY_OPERATOR_KEY="$D/operator/alice.pem"
wait_for "chanceryd" rest http://localhost/v1/status || fail "chanceryd does not answer"
say "PostgreSQL (Unix socket), SoftHSM token chancery-demo, slapd ($LDAP), chanceryd ($URL)"
main_job=$(date +%s%N)

# -------------------------------------------------------------- 1. authorities

heading "1. Two operators, a root CA and an issuing CA; their keys are made on the token"
quiet chancery operator init
quiet chancery operator add alice --role administrator --role manager
quiet bob operator init
quiet chancery operator add bob --role administrator --key "$D/operator/bob.pem.pub"
say "operators alice and bob: their own keys sign each decision; the issuer verifies it"
for template in daemon/templates/*.yaml; do
	quiet chancery template apply "$template"
done
say "templates: $(chancery --json template list | jq -r '[.. | .name? // empty] | unique | join(", ")')"
cat >"$D/work/demo-root.yaml" <<EOT
subject: "CN=Demo Root CA,O=Example,C=DE"
kind: root
token: main
key: rsa3072
validity: 20y
templates: [sub-ca]
crl: {period: 90d, overlap: 7d}
locations:
  cdp: [{url: "$URL/crl/<CaName>.crl", flags: [in_certificates]}]
  aia: [{url: "$URL/aia/<CaName>.cer", flags: [in_certificates]}]
EOT
cat >"$D/work/demo-issuing.yaml" <<EOT
subject: "CN=Demo Issuing CA,O=Example,C=DE"
kind: subordinate
token: main
key: rsa2048
path_length: 0
templates: [tls-server, tls-client, user, device]
limits:
  quorum: 2
  operators:
    - {person: alice, rights: [limits, decide]}
    - {person: bob, rights: [limits]}
crl: {period: 7d, overlap: 12h, delta_period: 1d, delta_overlap: 1h}
locations:
  delta_suffix: "-delta"
  cdp:
    - {url: "$URL/crl/<CaName><DeltaCRLAllowed>.crl", flags: [in_certificates, in_freshest]}
    - {url: "$LDAP/$DN?certificateRevocationList;binary", flags: [in_certificates, publish], bind_dn: "cn=admin,o=example", credential: directory, tls: none}
  aia: [{url: "$URL/aia/<CaName>.cer", flags: [in_certificates]}]
targets:
  - {name: ldap-delta, artifact: delta-crl, kind: ldap, write: "$LDAP/$DN?deltaRevocationList;binary", read: "$LDAP/$DN?deltaRevocationList;binary", bind_dn: "cn=admin,o=example", credential: directory, tls: none}
  - {name: ldap-ca, artifact: ca-certificate, kind: ldap, write: "$LDAP/$DN?cACertificate;binary", read: "$LDAP/$DN?cACertificate;binary", bind_dn: "cn=admin,o=example", credential: directory, tls: none}
EOT
quiet chancery ca create demo-root --policy "$D/work/demo-root.yaml"
say "demo-root: RSA-3072 key on the token (sensitive, not extractable), self-signed"
quiet chancery ca create demo-issuing --policy "$D/work/demo-issuing.yaml"
quiet bob decision sign "$(collecting)"
say "ceremony: alice ordered demo-issuing and the limits of its key, bob saw the same and signed it, too;"
say "they compare with the signer's console, chancery-signer --show-limits:"
"$BUILD/chancery-signer" --config "$D/chanceryd.yaml" --token main --show-limits |
    sed -n '/^CA demo-issuing$/,/^$/{/ limits \|^  key \| quorum /p}' | sed 's/^/   /'
chancery ca csr demo-issuing >"$D/work/demo-issuing.csr"
id=$(field .id request submit --ca demo-root --template sub-ca "$D/work/demo-issuing.csr")
wait_state "$id" pending
quiet chancery request approve "$id" --reason "the demo's issuing CA"
wait_state "$id" issued
rest "http://localhost/v1/requests/$id/certificate" >"$D/work/demo-issuing-chain.pem"
quiet chancery ca install demo-issuing "$D/work/demo-issuing-chain.pem"
quiet bob decision sign "$(collecting)"
rest "http://localhost/v1/cas/demo-root/chain" >"$D/work/root.pem"
say "demo-issuing: RSA-2048 key on the token, its CSR approved and signed by demo-root"
show "chancery ca list" chancery ca list

# ------------------------------------------------------------------ 2. submit

heading "2. Three CSRs from three tools, submitted the three ways that exist"
cd "$D/work"
quiet openssl req -new -newkey rsa:2048 -nodes -keyout web.key -out web.csr -subj /CN=web.example \
    -addext subjectAltName=DNS:web.example,DNS:www.web.example
quiet certtool --generate-privkey --key-type ecdsa --curve secp256r1 --outfile mail.key
printf 'cn = "mail.example"\ndns_name = "mail.example"\ntls_www_server\n' >mail.cfg
quiet certtool --generate-request --load-privkey mail.key --template mail.cfg --outfile mail.csr
pki --gen --type ecdsa --size 384 --outform pem >shadow.key 2>pki.log
pki --req --in shadow.key --type priv --dn "CN=shadow.example" --san shadow.example \
    --outform pem >shadow.csr 2>>pki.log
web=$(
	psql_as webshop chancery -At -v csr="$(cat web.csr)" <<-'SQL'
		SELECT chancery.submit_request('demo-issuing', 'tls-server', :'csr');
	SQL
)
say "openssl RSA-2048:  SELECT chancery.submit_request(...) by psql as service webshop -> $web"
mail=$(field .id request submit --ca demo-issuing --template tls-server mail.csr)
say "certtool P-256:    chancery request submit mail.csr                       -> $mail"
shadow=$(jq -n --rawfile csr shadow.csr '{ca: "demo-issuing", template: "tls-server", csr: $csr}' |
    rest -H 'Content-Type: application/json' --data-binary @- http://localhost/v1/requests | jq -r .id)
say "strongSwan P-384:  curl --unix-socket api.sock .../v1/requests            -> $shadow"

# ------------------------------------------------------------------ 3. decide

heading "3. They wait; the operator approves two and denies one"
for id in "$web" "$mail" "$shadow"; do
	wait_state "$id" pending
done
show "chancery request list --state pending" chancery request list --state pending
quiet chancery request approve "$web" --reason "ticket 4711"
quiet chancery request approve "$mail" --reason "ticket 4712"
quiet chancery request deny "$shadow" --reason "nobody ordered this host"
wait_state "$web" issued
wait_state "$mail" issued
wait_state "$shadow" denied
show "chancery request list" chancery request list
# The service that submitted by SQL reads its certificate by SQL: DER, and the chain.
psql_as webshop chancery -At -c "SELECT encode(certificate, 'base64') FROM chancery.request_status('$web')" |
    base64 -d | openssl x509 -inform DER -out web.pem
rest "http://localhost/v1/requests/$mail/certificate" >mail-chain.pem
openssl x509 -in mail-chain.pem -out mail.pem
rest "http://localhost/v1/cas/demo-issuing/chain" | openssl x509 -out issuing.pem
say "fetched: web.pem by SQL, mail-chain.pem ($(grep -c BEGIN mail-chain.pem) certificates) by REST, below var/demo/work"

# -------------------------------------------------------------- 4. CRL, delta

crl_text()
{
	openssl crl -inform DER -in "$1" -noout -text |
	    awk '/CRL Number|Delta CRL Indicator/ { n = $0; getline; sub(/^ +/, ""); sub(/^ +X509v3 /, "", n);
	             sub(/:.*/, "", n); printf "%s %s, ", n, $0 }
	         /Serial Number/ { entries++ }
	         END { printf "entries: %d", entries }'
}

fetch()
{
	tries=0
	until curl -sf -o "$2" "$1"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || fail "$1 is not there"
		sleep 0.05
	done
}

# The directory's value of an attribute, until it is byte for byte the file.
same_in_directory()
{
	tries=0
	until ldapsearch -x -LLL -o ldif-wrap=no -H "$LDAP" -s base -b "$DN" "$1" 2>/dev/null |
	    sed -n "s/^$1:: //p" | base64 -d 2>/dev/null | cmp -s - "$2"; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || fail "$1 of $DN is not what HTTP serves"
		sleep 0.05
	done
	say "ldapsearch -b $DN '$1': byte-identical"
}

heading "4. A full CRL; a revocation; a delta CRL; read back over HTTP and LDAP"
quiet chancery crl issue demo-root
quiet chancery crl issue demo-issuing
fetch "$URL/crl/demo-issuing.crl" full.crl
say "GET $URL/crl/demo-issuing.crl: $(crl_text full.crl)"
same_in_directory "certificateRevocationList;binary" full.crl
serial=$(openssl x509 -in mail.pem -noout -serial | sed 's/serial=//' | tr 'A-F' 'a-f')
brief chancery cert revoke "$serial" --reason keyCompromise
quiet chancery crl issue demo-issuing --delta
fetch "$URL/crl/demo-issuing-delta.crl" delta.crl
say "GET $URL/crl/demo-issuing-delta.crl: $(crl_text delta.crl)"
same_in_directory "deltaRevocationList;binary" delta.crl
show "chancery publish status" chancery publish status

# ------------------------------------------------------------------ 5. judges

heading "5. Third-party verifiers judge"
openssl crl -inform DER -in full.crl >crls.pem
openssl crl -inform DER -in delta.crl >>crls.pem

# judge WHAT EXPECTED COMMAND...: the verdict, with the last words of the tool.
judge()
{
	what=$1 expected=$2
	shift 2
	if "$@" >verdict 2>&1; then verdict=good; else verdict=refused; fi
	[ "$verdict" = "$expected" ] || {
		cat verdict
		fail "$what: $verdict, but it should be $expected"
	}
	say "$(printf '%-52s %s' "$what" "$verdict")$(sed -n 's/.*\(certificate revoked\|certificate was revoked\|certificate is revoked\).*/ (\1)/p' verdict | head -n 1)"
}

for name in web mail; do
	if [ $name = web ]; then expected=good; else expected=refused; fi
	judge "openssl verify -crl_check -use_deltas $name.pem" $expected \
	    openssl verify -x509_strict -CAfile root.pem -untrusted issuing.pem -crl_check -extended_crl \
	    -use_deltas -CRLfile crls.pem $name.pem
	judge "strongSwan pki --verify --online $name.pem" $expected \
	    pki --verify --in $name.pem --cacert issuing.pem --cacert root.pem --online
done

ended=$(date +%s%N)
cd - >/dev/null
heading "Done: services up in $(((main_job - started) / 1000000)) ms, the main job took $(((ended - main_job) / 1000000)) ms"
cat <<EOT
   The service keeps running. To go on:
     . var/demo/shell          # sets PATH, socket, operator key and passphrase file
     chancery request list     # also: cert list, ca show demo-issuing, crl show demo-issuing
     chancery request submit --ca demo-issuing --template tls-server FILE.csr
     chancery request approve ID
     chancery ca limits show demo-issuing
     chancery ca renew demo-issuing --same-key   # takes two: then bob decision sign ID
     less var/demo/chanceryd.log
     make stop                 # stops it; var/demo can then be removed
EOT
cat >"$D/shell" <<EOT
export PATH="$BUILD:\$PATH"
export CHANCERY_SOCKET="$CHANCERY_SOCKET"
export CHANCERY_OPERATOR_KEY="$CHANCERY_OPERATOR_KEY"
chancery() { command chancery --passphrase-file "$D/operator/passphrase" "\$@"; }
# The second operator, who signs what takes two.
bob() { CHANCERY_OPERATOR_KEY="$D/operator/bob.pem" chancery "\$@"; }
EOT
