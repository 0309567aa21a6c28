"""The command line against a service that lies: terminal escapes, wrong types,
huge answers, other objects than were asked for."""

import base64
import hashlib
import http.server
import json
import os
import re
import socket
import socketserver
import threading
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from harness import clients, limits
from harness.authority import PASSPHRASE, locations
from harness.chanceryd import program, write_yaml
from harness.cli import Cli
from harness.decisions import Key, Statement

ID = "2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11"
OTHER = "00000000-0000-4000-8000-000000000000"
# CSI, its one-octet form in UTF-8, an OSC that sets the title, a carriage return,
# a mark that turns the direction of text, an invisible character.
EVIL = "\x1b[2J\u009b31m\x1b]0;title\x07\rfake \u202etxet\u200b"
DECEIVING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Service:
    """Answers by self.answer(method, path, query, body): a JSON value, bytes, or
    (status, either); what was asked is in self.asked."""

    def __init__(self, path):
        self.path = path
        self.asked = []
        self.answer = lambda *_: (404, {})
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                where = urllib.parse.urlsplit(self.path)
                body = json.loads(body) if body else None
                service.asked.append((self.command, where.path, body))
                answer = service.answer(self.command, where.path, where.query, body)
                status, answer = answer if isinstance(answer, tuple) else (200, answer)
                if not isinstance(answer, bytes):
                    answer = json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", "http://localhost/v1/elsewhere")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                try:
                    self.wfile.write(answer)
                except OSError:
                    pass  # the client had enough

            do_GET = do_POST = serve

            def address_string(self):
                return "client"

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self.server = Server(path, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def posted(self, path):
        return [body for method, asked, body in self.asked if method == "POST" and asked == path]


@pytest.fixture
def service(work_dir):
    made = Service(os.path.join(work_dir, "s"))
    yield made
    made.close()


@pytest.fixture
def cli(service, work_dir):
    phrase = clients.write(work_dir, "phrase", PASSPHRASE)
    os.chmod(phrase, 0o600)
    made = Cli(program("chancery"), service.path, work_dir, os.path.join(work_dir, "me.pem"), phrase)
    made.make_operator_key()
    return made


def harmless(text):
    found = DECEIVING.search(text)
    assert not found, (found, text)
    return text


# Every command that reads, and what it must get to show anything.
READING = {
    "ca list": {"cas": [{"name": EVIL, "subject": EVIL, "key": {"algorithm": EVIL}, "state": [EVIL]}], "next": EVIL},
    "ca show x": {"name": "x", "subject": EVIL, "templates": [EVIL, EVIL], "key": {"label": EVIL}, "policy": EVIL,
                  "crls": [{"label": EVIL, "alarm": EVIL}]},
    "decision list": {"decisions": [
        {"id": EVIL, "action": EVIL, "object": EVIL, "state": "collecting", "expires_at": EVIL,
         "needs": [{"signed": [EVIL], "missing": 1, "may_sign": [EVIL]}]},
        {"id": EVIL, "state": "refused", "outcome": EVIL, "operator": EVIL, "needs": []}], "next": EVIL},
    f"decision show {ID}": {
        "id": ID, "state": EVIL, "outcome": EVIL, "body": None, "needs": [{"ca": EVIL, "may_sign": [EVIL, None]}],
        "signatures": [{"operator": EVIL, "received_at": EVIL, "spki": EVIL, "signature": EVIL}],
        "statement": Statement("crl-issue", "x", "full").text},
    "operator list": {"operators": [{"name": EVIL, "roles": [EVIL], "credentials": [{"kind": EVIL, "sha256": EVIL}]}]},
    "request list": {"requests": [{"id": EVIL, "subject": EVIL, "reason": EVIL}], "next": EVIL},
    f"request show {ID}": {"id": ID, "subject": EVIL, "reason": EVIL, "names": [EVIL]},
    "cert list": {"certificates": [{"serial": EVIL, "subject": EVIL}]},
    f"cert show {ID}": {"request": ID, "subject": EVIL, "names": [EVIL]},
    "crl show x": {"crls": [{"number": EVIL, "state": EVIL}], "next": EVIL},
    "publish status": {"publications": [{"id": EVIL, "ca": EVIL, "last_error": EVIL}],
        "backlog": [{"ca": EVIL, "target": EVIL, "looked_at": EVIL}]},
    "template list": {"templates": [{"name": EVIL, "version": EVIL}]},
    "template show x": {"name": "x", "body": "name: x\n"},
    "token status": {"tokens": [{"token": EVIL, "sentence": EVIL}]},
    "status": {"cas": {EVIL: 1}, "open_requests": {EVIL: EVIL}, "operators": EVIL, "database_time": EVIL},
}


@pytest.mark.parametrize("words", READING)
def test_escapes(service, cli, words):
    service.answer = lambda *_: READING[words]
    for flags in ([], ["--json"]):
        result = cli.result(*flags, *words.split())
        assert result.returncode == 0, result
        harmless(result.stdout + result.stderr)
        if flags:
            assert json.loads(result.stdout) == READING[words]
        elif words != "template show x":
            assert "\\u{1b}[2J" in result.stdout
            assert all(len(line) <= 100 for line in result.stdout.splitlines()
                       if "list" in words and not line.startswith("  "))
        if "next" in READING[words] and not flags:
            assert result.stderr == "There may be more.\n"


@pytest.mark.parametrize("words", READING)
def test_escapes_in_failures(service, cli, words):
    service.answer = lambda *_: (409, {"error": {"code": EVIL, "message": EVIL * 100}})
    said = cli.fails(*words.split())
    harmless(said)
    # The C1 control is gone before the command line sees it: two octets, two "?".
    assert said.startswith("chancery: ") and "??31m" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"null", b"[]", b"[[]]", b'"x"', b"1", b"{}", b"{", b"\xff\xfe", b'{"a": 1}{"b": 2}', b"<html>" + b"x" * 9999,
     b'{"a": 1, "a": 2}', b"[" * 100000, b'{"a":' * 5000, b'{"name": "\\u0000"}', b'{"n": 1' + b"0" * 400 + b"}"],
    ids=lambda a: repr(a[:20]),
)  # fmt: skip
def test_no_answer_at_all(service, cli, answer):
    service.answer = lambda *_: answer
    for i, words in enumerate(READING):
        result = cli.result(*["--json"][: i % 2], *words.split())
        harmless(result.stderr)
        assert result.returncode == 1 and result.stdout == "", result
        assert "the service's answer" in result.stderr


@pytest.mark.parametrize(
    "odd", [None, True, 7, 1.5, "text", [], {}, [None, 1, "x", [], {}], {"a": []}, [[["deep"]]], [{"id": {}}]],
    ids=repr)  # fmt: skip
def test_members_of_wrong_types(service, cli, odd):
    """Each member of each answer in turn: a table, or a sentence, never a crash."""
    for words, answer in READING.items():
        for member in answer:
            changed = dict(answer, **{member: odd})
            service.answer = lambda *_, changed=changed: changed
            result = cli.result(*words.split())
            assert result.returncode in (0, 1), (words, member)
            harmless(result.stdout + result.stderr)
            if result.returncode:
                assert "service" in result.stderr and result.stdout == "", (words, member, result)


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (500, b"oops", "HTTP status 500"),
        (200, b"<html>", "no JSON object"),
        (302, b"", "HTTP status 302"),
        (404, {"error": "text"}, "HTTP status 404"),
        (404, {"error": {"message": 7}}, "HTTP status 404"),
        (404, {"error": {"message": ""}}, "HTTP status 404"),
        (403, {"error": {"message": "not for you"}}, "not for you"),
        (204, b"", "no JSON object"),
    ],
)
def test_statuses(service, cli, status, body, sentence):
    service.answer = lambda *_: (status, body)
    assert sentence in cli.fails("status")
    assert len(service.asked) == 1  # no redirection is followed


def test_huge_answers(service, cli):
    service.answer = lambda *_: b'{"x": "' + b"x" * (17 << 20) + b'"}'
    for words in (["status"], ["ca", "list"], ["cert", "get", ID], ["--json", "request", "list"]):
        result = cli.result(*words)
        assert result.returncode == 1 and result.stdout == ""
        assert "longer than 16777216 octets" in result.stderr
    # Long, but within bounds.
    service.answer = lambda *_: {"name": "x", "subject": "y" * (8 << 20), "templates": ["t"] * 100000}
    said = cli("ca", "show", "x")
    assert "y" * (8 << 20) in said and "and 99000 more, see --json" in said


def test_connection_ends_early(service, cli):
    def hang_up(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    service.server.RequestHandlerClass.do_GET = hang_up
    assert "cannot be reached" in cli.fails("status")


def test_other_objects_than_asked_for(service, cli):
    def says(words, answer):
        service.answer = lambda *_: answer
        said = cli.fails(*words.split())
        assert "asked for" in said, said

    says("ca show x", {"name": "y"})
    says("template show x", {"name": "y", "body": ""})
    says(f"request show {ID}", {"id": OTHER})
    says(f"cert show {ID}", {"request": OTHER, "sha256": "0" * 64, "serial": "1" * 40})
    says("cert show " + "1" * 40, {"request": ID, "sha256": "0" * 64, "serial": "2" * 40})
    says("cert show " + "a" * 64, {"request": ID, "sha256": "b" * 64, "serial": "2" * 40})


def test_pem_is_written_anew(service, cli, work_dir):
    """Nothing around the blocks gets through, and only blocks of that kind."""
    path, _ = clients.self_signed(work_dir, "c")
    with open(path, encoding="ascii") as f:
        pem = f.read()
    csr = clients.openssl_csr(work_dir, "r").pem
    service.answer = lambda *_: (EVIL + pem + EVIL).encode()
    assert cli("cert", "get", ID) == pem
    assert cli.json("cert", "get", ID) == {"pem": pem}
    service.answer = lambda *_: (EVIL + pem + EVIL + pem).encode()
    assert "more than 1 block" in cli.fails("cert", "get", ID)
    assert cli("cert", "get", ID, "--chain") == pem + pem
    service.answer = lambda *_: pem.encode() * 17
    assert "more than 16 blocks" in cli.fails("cert", "get", ID, "--chain")
    service.answer = lambda *_: (csr + EVIL).encode()
    assert cli("ca", "csr", "x") == csr
    harmless(cli.fails("cert", "get", ID))
    for text in (b"", b"x", pem.encode()[:100], pem.encode() + b"\0", pem.encode().replace(b"M", b"\x1b", 1)):
        service.answer = lambda *_, text=text: text
        for words in (["cert", "get", ID], ["cert", "get", ID, "--der"], ["ca", "csr", "x"]):
            result = cli.result(*words)
            assert result.returncode == 1 and result.stdout == "", (text, words)
            harmless(result.stderr)


# ------------------------------------------------------------- what is signed


class Liar:
    """The part of the API that deciding needs; `lie` changes its answers."""

    def __init__(self, service, lie=lambda kind, answer: answer):
        self.lie = lie
        self.statement = None
        self.operators = []
        service.answer = self.answer

    def answer(self, method, path, query, body):
        if method == "POST":
            self.statement = body["statement"]
            return 202, self.lie("posted", {"id": ID, "action": "x", "state": "queued"})
        if path.startswith("/v1/decisions/"):
            return self.lie("decision", {"id": path.split("/")[3], "state": "applied", "outcome": "done" + EVIL,
                                         "statement": self.statement})
        if path == "/v1/operators":
            return {"operators": self.operators}
        if path == "/v1/tokens":
            return {"tokens": [{"token": "main", "signer_id": 7}, {"token": "other", "signer_id": 8}]}
        if path.startswith("/v1/templates/"):
            return 404, {"error": {"code": "not-found", "message": "no such template"}}
        return self.lie("object", None)


def field(statement, name):
    return re.search(rf"(?m)^{name}: (.*)$", statement)[1]


def request_with(csr, **more):
    return {"id": ID, "ca": "web", "template": "tls-server/3", "subject": "CN=harmless", "csr": csr, **more}


def test_signed_is_what_the_csr_says(service, cli, work_dir):
    """The service shows another CSR than it has, and another subject than the
    CSR: shown is the CSR's own, and the signature is good for that CSR only."""
    csr = clients.openssl_csr(work_dir, "bank", dns=["bank.example"])
    liar = Liar(service, lambda kind, answer: request_with(csr.pem) if kind == "object" else answer)
    result = cli.result("request", "approve", ID)
    assert result.returncode == 0 and result.stdout.startswith("done\\u{1b}")
    assert "subject  CN=bank\n" in result.stderr and "name     dns:bank.example\n" in result.stderr
    assert "harmless" not in result.stderr
    assert field(liar.statement, "csr-sha256") == hashlib.sha256(csr.der).hexdigest()
    assert field(liar.statement, "object") == ID and field(liar.statement, "template") == "tls-server/3"
    assert all(f"  {line}\n" in result.stderr for line in liar.statement.splitlines())
    harmless(result.stdout + result.stderr)


def test_nothing_is_approved_without_possession(service, cli, work_dir):
    """A CSR whose signature is not its key's: somebody else's key could be in it. It may
    be denied."""
    der = bytearray(clients.openssl_csr(work_dir, "thief", dns=["bank.example"]).der)
    der[der.index(b"bank.example")] ^= 1
    pem = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    Liar(service, lambda kind, answer: request_with(pem) if kind == "object" else answer)
    assert "did not prove to have the private key" in cli.fails("request", "approve", ID)
    assert not service.posted("/v1/decisions")
    assert cli.result("request", "deny", ID, "--reason", "stolen").returncode == 0


@pytest.mark.parametrize(
    "change",
    [{"id": OTHER}, {"id": None}, {"ca": None}, {"ca": "web\naction: x"}, {"ca": EVIL}, {"ca": "w" * 5000},
     {"template": None}, {"template": "tls-server"}, {"template": "/3"}, {"template": "tls-server/3x"},
     {"template": "tls-server/-3"}, {"template": "tls-server/0"}, {"template": "t" * 500 + "/3"},
     {"template": "tls-server/99999999"}, {"csr": None}, {"csr": EVIL}, {"csr": ""}, {"csr": "x" * 200000}, {"csr": 7}],
    ids=lambda c: repr(c)[:40],
)  # fmt: skip
def test_nothing_is_signed_of_an_odd_request(service, cli, work_dir, change):
    csr = clients.openssl_csr(work_dir, "odd")
    Liar(service, lambda kind, answer: request_with(csr.pem, **{**change}) if kind == "object" and "csr" not in change
         else {**request_with(csr.pem), **change} if kind == "object" else answer)
    result = cli.result("request", "approve", ID)
    assert result.returncode in (1, 2) and result.stdout == ""
    harmless(result.stderr)
    assert not service.posted("/v1/decisions")


def test_broken_csrs(service, cli, work_dir):
    """Cut off anywhere, or changed: nothing is signed."""
    import base64

    der = clients.openssl_csr(work_dir, "cut", dns=["cut.example"]).der

    def pem(octets):
        return "-----BEGIN CERTIFICATE REQUEST-----\n%s-----END CERTIFICATE REQUEST-----\n" % base64.encodebytes(
            octets).decode()

    for cut in range(0, len(der), 23):
        Liar(service, lambda kind, answer, cut=cut: request_with(pem(der[:cut])) if kind == "object" else answer)
        cli.fails("request", "approve", ID)
    assert not service.posted("/v1/decisions")


def test_revoked_is_the_certificate_that_was_named(service, cli, work_dir):
    files = [clients.self_signed(work_dir, name, cn=name)[0] for name in ("one", "two")]
    pems = [open(path, encoding="ascii").read() for path in files]
    certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]
    serials = [f"{c.serial_number:040x}" for c in certificates]
    digests = [hashlib.sha256(c.public_bytes(Encoding.DER)).hexdigest() for c in certificates]

    def lie(pem, sha256):
        def answer(method, path, query, body):
            if path.endswith("/pem"):
                return pem.encode()
            if path.startswith("/v1/certificates/"):
                return {"sha256": sha256, "serial": serials[0], "ca": "web", "subject": "CN=one", "request": ID}
            return liar.answer(method, path, query, body)

        liar = Liar(service)
        service.answer = answer
        return liar

    for ref in (serials[0], digests[0], digests[0].upper()):
        liar = lie(pems[0], digests[0])
        result = cli.result("cert", "revoke", ref, "--reason", "superseded")
        assert result.returncode == 0 and "  subject  CN=one\n" in result.stderr, result
        assert field(liar.statement, "object") == digests[0]
        # Another certificate under that name, or another digest for it.
        for pem, sha256 in ((pems[1], digests[1]), (pems[1], digests[0]), (pems[0], digests[1])):
            liar = lie(pem, sha256)
            for words in (["revoke", ref, "--reason", "superseded"], ["hold", ref], ["release", ref]):
                assert "asked for" in cli.fails("cert", *words)
            assert liar.statement is None
    # By the request's id the service has to be believed; what it is, is shown.
    liar = lie(pems[1], digests[1])
    assert "  subject  CN=two\n" in cli.result("cert", "hold", ID).stderr
    assert field(liar.statement, "object") == digests[1]
    lie(pems[1], digests[1])
    assert "asked for" in cli.fails("cert", "get", serials[0])


def test_lies_about_decisions(service, cli):
    def says(kind, change, sentence, status=1):
        Liar(service, lambda k, answer: {**answer, **change} if k == kind else answer)
        result = cli.result("crl", "issue", "web")
        assert result.returncode == status and sentence in result.stderr, result
        harmless(result.stdout + result.stderr)

    says("posted", {"id": None}, "id")
    says("posted", {"id": "x" * 5000}, "at most 64 octets")
    says("posted", {"id": ".."}, "for an id")
    says("posted", {"id": EVIL}, "for an id")
    says("decision", {"id": OTHER}, "asked for")
    says("decision", {"statement": "chancery-statement: 1\n"}, "another statement")
    says("decision", {"statement": None}, "statement")
    says("decision", {"state": None}, "state")
    says("decision", {"state": "refused", "outcome": "no" + EVIL}, "refused: no")
    says("decision", {"state": "refused", "outcome": None}, "no reason given")
    says("decision", {"outcome": None}, "", status=0)


def test_waits_without_a_tight_loop(service, cli):
    """A service that answers at once, though it was asked to wait."""
    states = iter(["queued"] * 5 + ["applied"])
    Liar(service, lambda kind, answer: {**answer, "state": next(states)} if kind == "decision" else answer)
    cli("crl", "issue", "web")
    assert len([a for a in service.asked if a[1].startswith("/v1/decisions/")]) == 6


def test_submitted_though_the_rest_fails(service, cli, work_dir):
    """The id is not lost when the second look does not succeed."""
    csr = clients.openssl_csr(work_dir, "lost")
    for second in ((503, {"error": {"message": "later"}}), {"id": OTHER, "state": "pending"}, b""):
        service.answer = lambda method, *_, second=second: (
            (201, {"id": ID, "state": "submitted"}) if method == "POST" else second)
        result = cli.result("request", "submit", "--ca", "web", "--template", "tls-server", csr.path)
        assert result.returncode == 0 and result.stdout == f"{ID} is submitted\n"
        assert "the request is submitted" in result.stderr
    assert all(p["csr"] for p in service.posted("/v1/requests"))


def test_what_is_handed_in(service, cli, work_dir):
    """The first operator unsigned; all else with signature, credential and body."""
    liar = Liar(service)
    cli("operator", "add", "alice", "--role", "manager", "--role", "administrator")
    (posted,) = service.posted("/v1/decisions")
    assert set(posted) == {"statement", "body"}
    assert posted["body"].startswith("person: alice\nroles: administrator,manager\nkind: operator_key\n-----BEGIN")
    assert field(liar.statement, "body-sha256") == hashlib.sha256(posted["body"].encode()).hexdigest()

    policy = write_yaml(os.path.join(work_dir, "p.yaml"), {
        "subject": "CN=x", "kind": "root", "token": "main", "key": "p256", "validity": "10y", "templates": ["sub-ca"],
        "crl": {"period": "7d", "overlap": "1d"}, "locations": locations(["http://127.0.0.1/x.crl"])})
    with open(os.path.join(work_dir, "me.pem"), "rb") as f:
        key = Key(load_pem_private_key(f.read(), PASSPHRASE.encode()))
    liar.operators = [{"name": "alice", "roles": ["administrator"], "credentials": [
        {"kind": "operator_key", "sha256": key.sha256.hex(), "spki": base64.b64encode(key.spki).decode()}]}]
    said = cli.result("ca", "create", "x", "--policy", policy)
    posted = service.posted("/v1/decisions")[-1]
    assert set(posted) == {"statement", "body", "signature", "credential"}
    document, yaml = posted["body"].split("---\n", 1)
    assert yaml == open(policy, encoding="utf-8").read()
    assert limits.field(document, "policy-sha256") == hashlib.sha256(yaml.encode()).hexdigest()
    assert limits.field(document, "operator") == [limits.operator("alice", key)]
    assert limits.field(document, "signer-ids") == "7" and limits.field(document, "template") == []
    assert f"SHA-256 {hashlib.sha256(document.encode()).hexdigest()}" in said.stdout
    # What is signed was shown, line by line, and what was left out was said.
    assert all(f"  {line}\n" in said.stderr for line in document.splitlines())
    assert f"key SHA-256 {key.sha256.hex()}" in said.stderr and "# CN=x\n" in said.stderr
    assert "Template sub-ca is not applied yet" in said.stderr
    cli("crl", "issue", "x")
    posted = service.posted("/v1/decisions")[-1]
    assert set(posted) == {"statement", "signature", "credential"}
    assert cli.json("operator", "init", "--force")["sha256"] != posted["credential"]
