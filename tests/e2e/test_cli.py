"""The command line against the real daemon: every command, what it prints, how
it ends."""

import hashlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from harness import clients
from harness.authority import PASSPHRASE, Authority
from harness.chanceryd import program
from harness.cli import Cli
from harness.process import PATIENCE_S, free_port, run, wait_until

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NOBODY = "00000000-0000-4000-8000-000000000000"
DEAD = "http://127.0.0.1:9/never.crl"  # discard: nobody listens


@pytest.fixture(scope="module")
def office(postgres, migrated, new_dir):
    """An instance that also listens on HTTPS and has a target that is away."""
    authority = Authority(new_dir("i"), postgres.database(migrated))
    authority.tls = clients.self_signed(authority.files, "server")

    def https(daemon):
        daemon.https_port = free_port()
        daemon.config["front"]["https"] = [
            {"listen": f"127.0.0.1:{daemon.https_port}", "certificate": authority.tls[0], "key": authority.tls[1]}
        ]

    try:
        authority.create(
            settings=https,
            targets=[{"name": "away", "artifact": "crl", "kind": "http", "write": DEAD, "read": DEAD}],
        )
        yield authority
    finally:
        authority.close()


def submit(a, name, **more):
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"], **more))
    a.wait_state(request, "pending")
    return request


def serial_of(pem):
    return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:040x}"


def write_secret(directory, name, content):
    path = clients.write(directory, name, content)
    os.chmod(path, 0o600)
    return path


# ---------------------------------------------------------------- usage


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("reqest list", 'did you mean "request"?'),
        ("ca", '"ca" needs a further word: create, list, show, csr, install'),
        ("ca lst", 'did you mean "ca list"?'),
        ("ca frob", "one of create, list, show, csr, install"),
        ("ca show", 'usage: chancery ca show NAME; "chancery help ca show" says more'),
        ("ca show a b", "usage: chancery ca show NAME"),
        ("status now", "no further words"),
        ("ca create x", "--policy"),
        ("ca show x --delta", '"ca show" has no option --delta'),
        ("request submit x", "--ca CA and --template NAME"),
        ("request deny x", "--reason"),
        ("request list --limit 0", "1 to 1000"),
        ("request list --limit", "--limit needs a value: N"),
        ("request list --ca --json", "the option --json"),
        ("request list --ca=", "the value of --ca is empty"),
        ("request list --sate pending", "did you mean --state?"),
        ("token split-pin alice --need 2", "usage: chancery token split-pin OPERATOR OPERATOR..."),
        ("cert revoke abc", "--reason"),
        ("cert revoke abc --reason bored", "RFC 5280 5.3.1"),
        ("cert show xyz", "names no certificate"),
        ("cert get abc --der --chain", "--der"),
        ("operator add bob", "--role"),
        ("operator add bob --role king", 'no role "king"'),
        ("operator add bob --role manager --tls", "--tls needs --key"),
        ("--url http://x status", "https://"),
        ("--url https://x status", "--client-cert and --client-key"),
        ("--client-cert x status", "--url only"),
        ("--passphrase-fd 3 crl issue x", "exclude each other"),
        ("help frob", 'no command "frob"'),
        ("help ca frob", 'no command "ca frob"'),
        ("ca show ..", '".." is no name'),
    ],
)
def test_usage_errors(office, words, sentence):
    result = office.cli.result(*words.split())
    assert result.returncode == 2, result
    assert sentence in result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("chancery: ") and result.stderr.count("\n") == 1


def test_help(office):
    assert office.cli.result().returncode == 2
    everything = office.cli("help")
    assert everything == office.cli("--help") == office.cli("-h") == office.cli("help", "help")
    assert office.cli.result().stderr == everything
    for line in everything.splitlines():
        assert len(line) <= 100, line
    of_group = office.cli("help", "request")
    assert of_group == office.cli("request", "--help") == office.cli("request", "help")
    assert "--idempotency-key" in of_group and "ca create" not in of_group
    one = office.cli("help", "request", "deny")
    assert one == office.cli("request", "deny", "ID", "--help")
    assert "--reason" in one and "request approve" not in one
    # What has to be given stands in the usage, in a line by itself where it is long.
    assert one.startswith("usage: chancery [options] request deny ID... --reason TEXT\n")
    assert "\n  request submit FILE --ca CA --template NAME\n" in everything
    assert office.cli("help", "status").startswith("usage: chancery [options] status\n")
    assert office.cli("help", "request").startswith("usage: chancery [options] request COMMAND\n")
    assert re.fullmatch(r"chancery \d+\.\d+\.\d+\n", office.cli("--version"))


def test_output_that_cannot_be_written(office):
    with open("/dev/full", "w", encoding="ascii") as full:
        for words in (["help"], ["status"], ["--json", "ca", "list"]):
            result = subprocess.run(
                office.cli.argv(*words), stdout=full, stderr=subprocess.PIPE, env=office.cli.environment(), check=False
            )
            assert result.returncode == 1 and b"standard output" in result.stderr, words
    said = office.cli.fails("ca", "csr", office.issuing, "--out", "/nowhere/x")
    assert "/nowhere/x cannot be written" in said


# --------------------------------------------------------- the way there


def test_unreachable_socket(office, work_dir):
    def said(path):
        return Cli(program("chancery"), path, work_dir).fails("status")

    assert "there is no such socket: chanceryd does not run" in said(os.path.join(work_dir, "absent"))
    clients.write(work_dir, "file", "x")
    assert "nobody listens there" in said(os.path.join(work_dir, "file"))
    assert "longer than 107 octets" in Cli(program("chancery"), "/" + "x" * 200, work_dir).fails("status", status=2)
    # The option goes before the variable.
    assert office.cli("--socket", office.daemon.socket_path, "status")
    assert "there is no such socket" in office.cli.fails("--socket", "/nowhere", "status")


def test_socket_of_others(office, work_dir):
    if os.geteuid() != 0:
        pytest.skip("needs to be root, to be somebody else")
    copy = os.path.join(work_dir, "chancery")
    run(["install", "-m", "755", program("chancery"), copy])
    result = run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", copy, "--socket",
                  office.daemon.socket_path, "status"], check=False, text=True)
    assert result.returncode == 1 and "you may not open it" in result.stderr, result


@pytest.mark.smoke
def test_https_door(office, work_dir):
    """A manager with a client certificate lists, submits and decides from afar."""
    a = office
    certificate, key = clients.self_signed(work_dir, "client", cn="bob", days=10)
    bob = Cli(program("chancery"), None, work_dir, os.path.join(work_dir, "bob.pem"), a.passphrase_file)
    url = f"https://127.0.0.1:{a.daemon.https_port}"
    way = ["--url", url, "--client-cert", certificate, "--client-key", key, "--ca-file", a.tls[0]]

    fingerprint = hashlib.sha256(
        x509.load_pem_x509_certificate(open(certificate, "rb").read()).public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    said = bob.fails(*way, "status")
    assert "not registered" in said and fingerprint in said
    bob("operator", "init")
    a.cli("operator", "add", "bob", "--role", "manager", "--key", os.path.join(work_dir, "bob.pem.pub"))
    said = a.cli.result("operator", "add", "bob", "--role", "manager", "--tls", "--key", certificate).stderr
    assert f"TLS client, SHA-256 {fingerprint}" in said
    listed = {o["name"]: o for o in a.cli.json("operator", "list")["operators"]}
    assert {c["kind"] for c in listed["bob"]["credentials"]} == {"operator_key", "tls_client"}
    assert f"tls {fingerprint[:16]}" in a.cli("operator", "list")

    assert "operators" in bob(*way, "status")
    csr = clients.openssl_csr(work_dir, "far", dns=["far.example"])
    request = bob.json(*way, "request", "submit", "--ca", a.issuing, "--template", "tls-server", csr.path)["id"]
    a.wait_state(request, "pending")
    said = bob.fails(*way, "request", "approve", request, "--reason", "from afar")
    assert f"the limits of CA {a.issuing} do not name this key of operator bob" in said
    assert f"chancery ca limits change {a.issuing} --add-operator bob" in said
    a.cli("ca", "limits", "change", a.issuing, "--add-operator", "bob")
    bob(*way, "request", "approve", request, "--reason", "from afar")
    a.wait_state(request, "issued")
    pem = bob(*way, "cert", "get", request)
    assert "far.example" in clients.openssl_text(clients.write(work_dir, "far.pem", pem))
    # The certificates of both ends are those that end.
    found = {f["object"]: f for f in json.loads(bob.result(*way, "--json", "doctor", a.root).stdout)["findings"]
             if f["check"] == "tls"}
    assert found["operator"]["state"] == "warning" and f"{certificate} is good for " in found["operator"]["detail"]
    assert found["service"]["state"] == "ok" and f"{url[8:]} is good for " in found["service"]["detail"]
    left, = re.findall(rf'chancery_tls_certificate_left_seconds\{{listen="{url[8:]}"\}} (\d+)', a.api.get("/metrics").body.decode())
    assert 29 * 86400 <= int(left) <= 30 * 86400
    # Not an administrator, whatever the door.
    said = bob.fails(*way, "template", "apply", clients.write(work_dir, "t.yaml", a.cli("template", "show", "device")))
    assert "administrator" in said

    # Another root, no root, another key, a key that others can read.
    other = clients.self_signed(work_dir, "other")
    for words in (way[:-1] + [other[0]], way[:-2]):
        said = bob.fails(*words, "status")
        assert "cannot be reached" in said and "--ca-file" in said
    said = bob.fails("--url", url, "--client-cert", certificate, "--client-key", other[1], "--ca-file", a.tls[0],
                     "status")
    assert "cannot be reached" in said
    os.chmod(key, 0o644)
    assert "mode 0644" in bob.fails(*way, "status")


# ------------------------------------------------------- every command once


@pytest.mark.smoke
def test_every_command(office, work_dir):
    """In the order of an operator's day; those that `create` needs are done."""
    a = office
    cli = a.cli
    out = os.path.join(work_dir, "out")

    # CAs
    assert re.search(rf"{a.issuing} +subordinate +active +p256 +main +\d{{4}}-", cli("ca", "list"))
    shown = cli("ca", "show", a.issuing)
    assert f"CN={a.issuing},O=Chancery Test,C=DE" in shown and "tls-server" in shown
    cli("ca", "create", "third", "--policy", a.issuing_policy("third"))
    assert "awaiting-certificate" in cli("ca", "show", "third")
    csr = cli("ca", "csr", "third")
    cli("ca", "csr", "third", "--out", out)
    assert open(out, encoding="ascii").read() == csr
    assert "CN = third" in clients.openssl_text(out, "req")
    assert "root" in cli.fails("ca", "csr", a.root)
    request = a.submit(out, ca=a.root, template="sub-ca")
    a.wait_state(request, "pending")
    cli("request", "approve", request)
    a.wait_state(request, "issued")
    cli("cert", "get", request, "--chain", "--out", out)
    assert "is no certificate in PEM or DER" in cli.fails("ca", "install", "third", os.path.join(a.files, "third.yaml"))
    other = clients.write(work_dir, "other.pem", cli("cert", "get", a.certificate("not-third")[0], "--chain"))
    said = cli.fails("ca", "install", "third", other)
    assert "none of the certificates is for the key of CA third" in said and "To be signed" not in said
    cli("ca", "install", "third", out)
    assert "active" in cli("ca", "show", "third")

    # Operators
    said = cli("operator", "list")
    assert re.search(r"alice +administrator,manager +operator [0-9a-f]{16} +\d{4}-", said), said

    # Requests
    csr = clients.openssl_csr(work_dir, "every", dns=["every.example"])
    words = ["request", "submit", "--ca", a.issuing, "--template", "tls-server", "--idempotency-key", "e1"]
    said = cli(*words, csr.path)
    request = UUID.match(said)[0]
    assert said == f"{request} is pending\n"
    with open(csr.path, "rb") as f:  # the same by standard input, in DER
        again = cli(*words[:6], "-", input=f.read().decode())
    assert UUID.match(again)[0] != request
    der = clients.write(work_dir, "every.der", csr.der)
    withdrawn = UUID.match(cli(*words[:6], der))[0]
    assert UUID.match(cli(*words, csr.path))[0] == request
    assert re.search(rf"{request} +pending +{a.issuing} +tls-server/1", cli("request", "list", "--state", "pending"))
    shown = cli("request", "show", request)
    assert f"CSR SHA-256          {hashlib.sha256(csr.der).hexdigest()}\n" in shown
    assert "names                dns:every.example\n" in shown
    assert cli("request", "show", request.upper()) == shown
    assert cli("request", "withdraw", withdrawn) == f"{withdrawn} is withdrawn\n"
    denied = UUID.match(again)[0]
    cli("request", "deny", denied, "--reason", "nobody ordered this")
    assert "reason               nobody ordered this\n" in cli("request", "show", denied)
    assert cli("request", "approve", request, "--reason", "ticket 1") == f"request {request} is approved\n"
    a.wait_state(request, "issued")

    # Certificates
    pem = cli("cert", "get", request)
    serial = serial_of(pem)
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    sha256 = hashlib.sha256(der).hexdigest()
    colons = ":".join(re.findall("..", serial)).upper()
    for ref in (serial, colons, sha256, sha256.upper(), request, request.upper()):
        assert cli("cert", "get", ref) == pem
        assert f"SHA-256      {sha256}\n" in cli("cert", "show", ref)
    cli("cert", "get", serial, "--der", "--out", out)
    assert open(out, "rb").read() == der
    chain = cli("cert", "get", serial, "--chain")
    assert clients.split_pem(chain) == [pem, a.ca_pem(a.issuing), a.ca_pem(a.root)]
    assert re.search(rf"{serial} +good +{a.issuing}", cli("cert", "list", "--ca", a.issuing))
    assert "on-hold" in cli("cert", "hold", serial) or "on-hold" in cli("cert", "show", serial)
    cli("cert", "release", serial)
    assert "status       good\n" in cli("cert", "show", serial)
    result = cli.result("cert", "revoke", colons, "--reason", "superseded")
    assert result.returncode == 0 and "revoked" in result.stdout
    assert "subject  CN=every" in result.stderr and f"object: {sha256}" in result.stderr
    shown = cli("cert", "show", serial)
    assert "status       revoked\n" in shown and "reason       superseded\n" in shown

    # CRLs, publication
    # What is said of a complete CRL is about it, and not about the delta that is issued beside it.
    cli("crl", "issue", a.issuing)
    said = cli("crl", "issue", a.issuing)
    full = next(c for c in cli.json("crl", "show", a.issuing)["crls"] if not c["delta"])
    assert int(full["entries"]) > 0
    assert said == f"CRL number {full['number']} of {a.issuing} is issued with {full['entries']} entries\n"
    assert cli("crl", "issue", a.issuing, "--delta").endswith(" is issued with 0 entries\n")
    wait_until(lambda: len(re.findall("issued", cli("crl", "show", a.issuing))) >= 2, what="the CRLs")
    assert re.search(r"(?m)^\d+ +yes +\d+ +issued", cli("crl", "show", a.issuing))
    failed = wait_until(
        lambda: [p for p in cli.json("publish", "status")["publications"] if p["last_error"]], what="a failed try")
    shown = cli("publish", "status", a.issuing)
    assert re.search(rf"(?m)^{failed[0]['id']} +{a.issuing} +away +crl ", shown)
    assert f"\n  {failed[0]['id']}: " in shown
    assert re.search(r"NEXT TRY +STANDS +AGE +UNTIL", shown)
    standing = [p for p in cli.json("publish", "status")["publications"] if p["stands"]]
    assert all(re.fullmatch(r"\d+ (s|min)", p["stands_age"]) for p in standing), standing
    assert cli("publish", "status", a.root) == "Nothing is published: no CA has targets.\n"
    assert "is tried again now" in cli("publish", "retry", failed[0]["id"])
    assert '"away" is no publication\'s ID: "chancery publish status" shows them' in cli.fails("publish", "retry", "away", status=2)

    # Templates
    text = cli("template", "show", "device")
    assert text == open(clients.write(work_dir, "device.yaml", text), encoding="utf-8").read()
    assert "device/1" in cli("template", "apply", os.path.join(work_dir, "device.yaml"))
    assert re.search(r"device +1 +no ", cli("template", "list"))

    # The service
    assert re.search(r"main +ready +", wait_until(
        lambda: (s := cli("token", "status")) and "main" in s and s, what="the token's report"))
    said = cli("status")
    assert re.search(r"(?m)^CAs +3 active$", said) and re.search(r"(?m)^operators +\d+$", said)


SHOWN = {
    "ca list": ("cas", "next"),
    "ca show test-issuing": ("name", "id", "kind", "state", "subject", "key", "certificate", "templates", "policy"),
    "operator list": ("operators", "next"),
    "request list": ("requests", "next"),
    "request show {request}": ("id", "ca", "template", "state", "subject", "names", "csr_sha256", "csr"),
    "cert list": ("certificates", "next"),
    "cert show {request}": ("sha256", "serial", "ca", "status", "subject", "names", "not_before", "not_after"),
    "crl show test-issuing": ("crls", "next"),
    "publish status": ("publications", "backlog", "next"),
    "template list": ("templates", "next"),
    "template show tls-server": ("name", "version", "automatic", "body"),
    "token status": ("tokens",),
    "status": ("database_time", "cas", "open_requests", "open_decisions", "unpublished", "operators"),
    "ca csr test-issuing": ("pem",),
    "cert get {request} --chain": ("pem",),
}


def test_json_of_what_lists_and_shows(office):
    request, _ = office.certificate("json")
    for words, keys in SHOWN.items():
        result = office.cli.result("--json", *words.format(request=request).split())
        assert result.returncode == 0 and result.stderr == "", (words, result)
        answer = json.loads(result.stdout)
        assert set(keys) <= set(answer), (words, sorted(answer))
    assert answer["pem"].startswith("-----BEGIN CERTIFICATE-----\n")


def test_json_of_decisions_and_failures(office, work_dir):
    a = office
    one, two, three = (submit(a, f"jd{i}") for i in range(3))
    decision = a.cli.json("request", "approve", one)
    assert decision["state"] == "applied" and decision["operator"] == "alice" and decision["request"] == one
    # Several: a list, also when it has one element only.
    decisions = a.cli.json("request", "approve", two, three)
    assert [d["request"] for d in decisions] == [two, three]
    four = submit(a, "jd4")
    result = a.cli.result("--json", "request", "deny", NOBODY, four, "--reason", "no")
    assert result.returncode == 1 and [d["request"] for d in json.loads(result.stdout)] == [four]
    result = a.cli.result("--json", "request", "approve", NOBODY)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr == f"chancery: request {NOBODY} is not known\n"
    # A rejected request: the object says why, and so does the sentence.
    csr = clients.openssl_csr(work_dir, "wrong", dns=["x.example"], subject="/CN=a/postalCode=1")
    result = a.cli.result("--json", "request", "submit", "--ca", a.issuing, "--template", "tls-server", csr.path)
    assert result.returncode == 1
    rejected = json.loads(result.stdout)
    assert rejected["state"] == "rejected" and rejected["reason"] in result.stderr
    # What is signed is shown in any case.
    result = a.cli.result("--json", "crl", "issue", a.issuing)
    assert json.loads(result.stdout)["action"] == "crl-issue" and "  action: crl-issue\n" in result.stderr


def test_lists_have_pages(office):
    a = office
    ids = [submit(a, f"page{i}") for i in range(5)]
    seen, after = [], []
    for _ in range(5):
        result = a.cli.result("request", "list", "--limit", "2", *after)
        rows = [line.split()[0] for line in result.stdout.splitlines() if UUID.match(line)]
        seen += rows
        assert len(rows) <= 2
        if not result.stderr:
            break
        after = [re.search(r"--after=\S+", result.stderr)[0]]
    assert set(ids) <= set(seen) or len(seen) == 10
    assert seen[:5] == ids[::-1] and len(set(seen)) == len(seen)
    page = a.cli.json("request", "list", "--limit", "1")
    assert page["next"] == ids[4] == page["requests"][0]["id"]
    for words in (["ca", "list"], ["template", "list"], ["crl", "show", a.root], ["cert", "list"]):
        result = a.cli.result(*words, "--limit", "1")
        assert result.returncode == 0 and "--after=" in result.stderr, words
        value = re.search(r"--after=\S+", result.stderr)[0]
        assert a.cli(*words, "--limit", "1", value) != result.stdout
    assert "--after" not in a.cli.result("ca", "list", "--limit", "1000").stderr
    assert a.cli("ca", "list", "--after", "zzz") == "There are no more.\n"


def test_tables_fit(office, work_dir):
    """Long names of many kinds; what is copied stays whole."""
    a = office
    requests = []
    for i, cn in enumerate(["Ü" * 60, "日本語" * 20, "m" * 64]):
        requests.append(a.submit(clients.pki_csr(work_dir, f"long{i}", cn=cn, dns=["long.example"])))
        a.wait_state(requests[-1], "pending")
    a.cli("request", "deny", requests[0], "--reason", "schön ist das nicht, " * 8 + "nein")
    a.cli("request", "approve", *requests[1:])
    for request in requests[1:]:
        a.wait_state(request, "issued")
    tables = [a.cli(*words.split()) for words in (
        "request list", "cert list", "ca list", "crl show test-issuing", "publish status", "template list",
        "operator list", "token status")]
    for table in tables:
        lines = [line for line in table.splitlines() if not line.startswith("  ")]
        assert all(columns(line) <= 100 for line in lines), table
    assert all(request in tables[0] for request in requests)
    assert re.search(r"(?m)^[0-9a-f]{40} ", tables[1])
    shown = a.cli("request", "show", requests[1])
    assert "日本語" * 20 in shown
    # In a locale that knows only ASCII the same.
    env = dict(a.cli.environment(), LC_ALL="C")
    again = run(a.cli.argv("request", "show", requests[1]), env=env).stdout.decode()
    assert again == shown


def columns(line):
    return sum(2 if ord(c) >= 0x1100 and c != "…" and ord(c) not in range(0x2000, 0x2100) else 1 for c in line)


# --------------------------------------------------------------- deciding


def test_several_at_once(office):
    """All are shown before anything is signed; one that fails keeps none."""
    a = office
    ids = [submit(a, f"many{i}") for i in range(4)]
    result = a.cli.result("request", "approve", *ids[:2], NOBODY, "no-id", *ids[2:], "--reason", "all of them")
    assert result.returncode == 1
    assert result.stdout == "".join(f"request {i} is approved\n" for i in ids)
    assert f"chancery: request {NOBODY}: request {NOBODY} is not known\n" in result.stderr
    assert "chancery: request no-id: " in result.stderr
    assert result.stderr.endswith("chancery: 2 of 6 requests are not approved\n")
    for i, request in enumerate(ids):
        assert f"\n  object: {request}\n" in result.stderr
        assert f"  name     dns:many{i}.example\n" in result.stderr
        a.wait_state(request, "issued")
    result = a.cli.result("request", "approve", ids[0], ids[1])
    assert result.returncode == 1 and result.stderr.count("no longer waits for a decision") == 2


def test_wrong_passphrase_and_open_files(office, work_dir):
    a = office
    request = submit(a, "wrongpass")
    wrong = write_secret(work_dir, "wrong", "not this one\n")
    said = a.cli.as_operator(a.operator_key, wrong).fails("request", "approve", request, request)
    assert said.count("the passphrase is wrong") == 1
    short = write_secret(work_dir, "short", "\n")
    assert "is empty" in a.cli.as_operator(a.operator_key, short).fails("request", "approve", request)

    key = os.path.join(work_dir, "key.pem")
    run(["install", "-m", "644", a.operator_key, key])
    said = a.cli.as_operator(key, a.passphrase_file).fails("request", "approve", request)
    assert "mode 0644" in said and "chmod 0600" in said
    os.chmod(key, 0o600)
    phrase = os.path.join(work_dir, "phrase")
    run(["install", "-m", "640", a.passphrase_file, phrase])
    assert "mode 0640" in a.cli.as_operator(key, phrase).fails("request", "approve", request)
    assert "No such file" in a.cli.as_operator(work_dir + "/absent", a.passphrase_file).fails(
        "request", "approve", request)
    assert a.api.get(f"/v1/requests/{request}").json()["state"] == "pending"
    a.cli.as_operator(key, a.passphrase_file)("request", "approve", request)


def test_passphrase_from_a_descriptor(office):
    a = office
    request = submit(a, "fd")
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode() + b"\n")
    os.close(writing)
    cli = a.cli.as_operator(a.operator_key, None)
    try:
        cli("--passphrase-fd", str(reading), "request", "approve", request, pass_fds=[reading])
    finally:
        os.close(reading)


def test_unregistered_key(office, work_dir):
    stranger = office.cli.as_operator(os.path.join(work_dir, "stranger.pem"), office.passphrase_file)
    stranger("operator", "init")
    request = submit(office, "stranger")
    assert "is not registered" in stranger.fails("request", "approve", request)


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, cli, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored, where the tests run in the background
            os.execve(cli.program, cli.argv(*words), cli.environment())
        self.said = ""

    def wait_for(self, text, timeout=PATIENCE_S):
        deadline = time.monotonic() + timeout
        while text not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.fd], [], [], 1)[0]:
                self.said += os.read(self.fd, 4096).decode()
        return self

    def type(self, text):
        os.write(self.fd, text.encode())
        return self

    def end(self):
        while True:
            try:
                more = os.read(self.fd, 4096)
            except OSError:
                more = b""
            if not more:
                break
            self.said += more.decode()
        os.close(self.fd)
        return os.waitpid(self.pid, 0)[1]


def test_terminal(office):
    """Asked for once, without echo, after everything was shown."""
    a = office
    ids = [submit(a, "tty1"), submit(a, "tty2")]
    cli = a.cli.as_operator(a.operator_key, None)
    t = Terminal(cli, "request", "approve", *ids).wait_for("Passphrase of your operator key: ")
    assert t.said.count("chancery-statement: 1") == 2
    assert all(a.api.get(f"/v1/requests/{i}").json()["state"] == "pending" for i in ids)
    assert t.type(PASSPHRASE + "\n").end() == 0, t.said
    assert t.said.count("Passphrase") == 1 and PASSPHRASE not in t.said
    for request in ids:
        a.wait_state(request, "issued")


def test_interrupt_at_the_passphrase(office):
    """Nothing is signed, and the terminal has its echo again."""
    import termios

    a = office
    request = submit(a, "interrupt")
    cli = a.cli.as_operator(a.operator_key, None)
    for _ in range(5):  # as soon as the question is there: the key is missed at no moment
        t = Terminal(cli, "request", "approve", request).wait_for("Passphrase of your operator key: ")
        assert not termios.tcgetattr(t.fd)[3] & termios.ECHO
        t.type("half a passphr\x03")
        wait_until(lambda fd=t.fd: termios.tcgetattr(fd)[3] & termios.ECHO, what="the echo")
        status = t.end()
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
        assert "passphr" not in t.said.split("operator key: ")[1]
    assert a.api.get(f"/v1/requests/{request}").json()["state"] == "pending"


def test_no_terminal(office):
    request = submit(office, "notty")
    cli = office.cli.as_operator(office.operator_key, None)
    said = cli.fails("request", "approve", request, status=2, start_new_session=True)
    assert "there is no terminal" in said and "--passphrase-file" in said


# --------------------------------------------------------------- operators


def test_operator_init(work_dir, office):
    key = os.path.join(work_dir, "deep", "below", "me.pem")
    cli = Cli(program("chancery"), None, work_dir, key, office.passphrase_file)
    made = cli.json("operator", "init")
    assert made["file"] == key and made["public_key_file"] == key + ".pub"
    assert os.stat(key).st_mode & 0o7777 == 0o600 and os.stat(os.path.dirname(key)).st_mode & 0o7777 == 0o700
    assert os.stat(key + ".pub").st_mode & 0o7777 == 0o644
    before = open(key, "rb").read()
    said = run(["openssl", "pkey", "-in", key, "-passin", f"file:{office.passphrase_file}", "-pubout"], text=True)
    assert said.stdout == open(key + ".pub", encoding="ascii").read()
    der = run(["openssl", "pkey", "-pubin", "-in", key + ".pub", "-outform", "DER"]).stdout
    assert hashlib.sha256(der).hexdigest() == made["sha256"]

    # It does not overwrite, and says so before it asks for anything.
    said = Cli(program("chancery"), None, work_dir, key, None).fails("operator", "init", start_new_session=True)
    assert "exists already" in said and "--force" in said
    assert open(key, "rb").read() == before
    assert made["sha256"] not in cli("operator", "init", "--force")
    assert open(key, "rb").read() != before
    assert sorted(os.listdir(os.path.dirname(key))) == ["me.pem", "me.pem.pub"]

    # Where it is without options, and too short a passphrase.
    home = Cli(program("chancery"), None, work_dir, None, write_secret(work_dir, "short", "seven77\n"))
    assert "at least 8 octets" in home.fails("operator", "init")
    home.passphrase_file = office.passphrase_file
    home("operator", "init")
    assert os.path.exists(os.path.join(work_dir, ".config", "chancery", "operator.pem"))


def test_operator_init_at_a_terminal(work_dir):
    cli = Cli(program("chancery"), None, work_dir, os.path.join(work_dir, "me.pem"), None)
    t = Terminal(cli, "operator", "init").wait_for("new operator key: ").type("long enough\n")
    t.wait_for("The same again: ").type("long enouhg\n")
    assert os.waitstatus_to_exitcode(t.end()) == 1 and "the two passphrases differ" in t.said
    assert not os.path.exists(cli.operator_key)
    t = Terminal(cli, "operator", "init").wait_for("new operator key: ").type("long enough\n")
    assert t.wait_for("The same again: ").type("long enough\n").end() == 0


def test_operator_add(office, work_dir):
    a = office
    carol = a.cli.as_operator(os.path.join(work_dir, "carol.pem"), a.passphrase_file)
    made = carol.json("operator", "init")
    words = ["operator", "add", "carol", "--role", "auditor", "--role", "auditor", "--key"]
    assert "exists" not in a.cli.fails(*words, carol.operator_key)  # the private one, by mistake
    assert "No such file" in a.cli.fails(*words, "/nowhere")
    rsa = clients.openssl_csr(work_dir, "rsa", key="rsa2048")
    public = clients.write(work_dir, "rsa.pub", run(["openssl", "pkey", "-in", rsa.key, "-pubout"]).stdout)
    assert "P-256" in a.cli.fails(*words, public)
    result = a.cli.result(*words, made["public_key_file"])
    assert result.returncode == 0
    assert f"  person  carol\n  roles   auditor\n  key     operator's, SHA-256 {made['sha256']}\n" in result.stderr
    assert "registered already" in a.cli.fails(*words, made["public_key_file"])
    assert "person" in a.cli.fails("operator", "add", "no such\nname", "--role", "auditor", "--key",
                                   made["public_key_file"])
    # Her key signs, but an auditor decides nothing.
    request = submit(a, "carol")
    assert "manager" in carol.fails("request", "approve", request)


def test_first_operator_needs_no_signature_and_only_the_first(bare_instance, work_dir):
    bare_instance.start()
    phrase = write_secret(work_dir, "phrase", PASSPHRASE)
    cli = Cli(program("chancery"), bare_instance.socket_path, work_dir, os.path.join(work_dir, "a.pem"), phrase)
    assert cli("operator", "list").startswith("Nobody is registered")
    assert cli("ca", "list").startswith("There is no CA yet")
    cli("operator", "init")
    certificate, _ = clients.self_signed(work_dir, "c")
    said = cli.fails("operator", "add", "a", "--role", "manager", "--tls", "--key", certificate)
    assert "nobody is registered yet" in said
    result = cli.result("operator", "add", "alice", "--role", "administrator")
    assert result.returncode == 0 and "unsigned" in result.stderr
    other = Cli(program("chancery"), bare_instance.socket_path, work_dir, os.path.join(work_dir, "b.pem"), phrase)
    other("operator", "init")
    assert "is not registered" in other.fails("operator", "add", "bob", "--role", "administrator")
