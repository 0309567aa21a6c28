"""The command line's part of a PIN's way: what it shows, whom it believes, and what it
seals. A signer written here opens what it made."""

import datetime
import hashlib
import os
import pty
import select
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from harness import pin
from harness.chanceryd import program
from harness.cli import Cli
from harness.decisions import Key
from harness.front import Front, Rows
from harness.process import PATIENCE_S

PASSPHRASE = "correct horse battery"
PIN = "Tok3n-PIN!"


def name(common):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Office:
    """A front, rows, an operator with a key, and a signer that is announced."""

    def __init__(self, front, directory):
        self.front, self.database, self.directory = front, front.database, directory
        secret = self.secret("passphrase", PASSPHRASE)
        self.cli = Cli(program("chancery"), front.socket_path, directory, os.path.join(directory, "op.pem"), secret)
        self.cli.make_operator_key()
        self.key = Key.load(self.cli.operator_key, PASSPHRASE)
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.demo = front.rows.ca("demo", ["tls-server"])
        ca = self.certificate("Demo CA", x509.SubjectKeyIdentifier.from_public_key(self.ca_key.public_key()),
                              key=self.ca_key.public_key())
        self.database.execute("UPDATE chancery_store.generation SET certificate = %s",
                              (ca.public_bytes(Encoding.DER),))
        self.key_id = self.database.one("SELECT encode(cka_id, 'hex') FROM chancery_store.token_key")
        self.signer = pin.Signer()

    def secret(self, file, text):
        path = os.path.join(self.directory, file)
        with open(path, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(text + "\n")
        return path

    def certificate(self, subject, *extensions, key=None):
        now = datetime.datetime(2030, 1, 2)
        made = x509.CertificateBuilder(name("Demo CA"), name(subject), key or self.ca_key.public_key(),
                                       x509.random_serial_number(), now, now + datetime.timedelta(days=30))
        for extension in extensions:
            made = made.add_extension(extension, False)
        return made.sign(self.ca_key, hashes.SHA256())

    def wait(self, kind, tbs, token="main", signer=1, digest=None, key_id=None):
        """Something that waits, with these octets."""
        self.waits = getattr(self, "waits", 0) + 1
        return self.database.execute(
            "INSERT INTO chancery_store.pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, tbs, request_id,"
            " expires_at) VALUES (%s, %s, %s, 'demo', 'x', decode(%s, 'hex'), %s, %s, %s, now() + interval '1 day')"
            " RETURNING public_id::text",
            (token, signer, kind, None if kind == "order" else key_id or self.key_id,
             digest or hashlib.sha256(tbs).digest(), tbs, self.waits))[0][0]

    def run(self, *args, pin_text=PIN, expect=0):
        """A command with the PIN on a descriptor; the signer, if there is one, answers."""
        read, write = os.pipe()
        os.write(write, (pin_text + "\n").encode())
        os.close(write)
        try:
            result = self.cli.result(*args, "--pin-fd", str(read), pass_fds=(read,))
        finally:
            os.close(read)
        assert result.returncode == expect, (args, result)
        return result

    def entered(self):
        return self.database.execute("SELECT statement, body FROM chancery_store.pin_entry WHERE body IS NOT NULL")


@pytest.fixture
def office(postgres, migrated, new_dir):
    front = Front(new_dir("f"), postgres.database(migrated))
    front.rows = Rows(front.database)
    front.start()
    yield Office(front, new_dir("o"))
    assert front.stop() == 0


@pytest.fixture
def answered(office):
    """Takes each entry as an issuer does, and says that it is done."""
    office.signer.report(office.database)
    office.cli("operator", "pin-signer", "main", office.signer.fingerprint)
    office.taken, ended = [], threading.Event()

    def answer():
        while not ended.wait(0.05):
            for row in office.database.execute(
                    "SELECT id, statement, body FROM chancery_store.pin_entry WHERE state = 'queued'"):
                office.taken.append(row[1:])
                office.database.execute(
                    "SET search_path = chancery_store; SELECT end_pin_entry(%s, 'done', 'taken')", (row[0],))

    thread = threading.Thread(target=answer)
    thread.start()
    yield office
    ended.set()
    thread.join()


def test_what_is_entered_is_shown_and_nothing_else_is_sealed(answered):
    office = answered
    leaf = office.certificate("shop.example", x509.SubjectAlternativeName(
        [x509.DNSName("shop.example"), x509.DNSName("www.shop.example")]))
    first = office.wait("certificate", leaf.tbs_certificate_bytes)
    second = office.wait("certificate", office.certificate("other").tbs_certificate_bytes)
    listed = office.cli("pin", "list")
    assert first in listed and second in listed and "certificate" in listed
    result = office.run("pin", "enter", first)
    assert "CN=shop.example" in result.stderr and "dns:www.shop.example" in result.stderr
    assert "2030-01-02T00:00:00Z to 2030-02-01T00:00:00Z" in result.stderr and "CN=Demo CA" in result.stderr
    assert f"{leaf.serial_number:x}" in result.stderr and "CN=other" not in result.stderr
    assert "1 operation" in result.stderr and result.stdout == "taken\n"
    (statement, body), = office.taken
    assert office.signer.open(statement, body) == PIN.encode()
    digest = hashlib.sha256(leaf.tbs_certificate_bytes).hexdigest()
    assert pin.field(body, "operation") == [f"certificate {office.key_id} {digest}"]
    assert pin.field(body, "signer") == [office.signer.fingerprint]
    assert pin.field(statement, "action") == ["pin-operate"] and pin.field(statement, "object") == ["main"]
    assert pin.field(statement, "body-sha256") == [hashlib.sha256(body.encode()).hexdigest()]
    # Both, of every kind.
    csr = x509.CertificateSigningRequestBuilder(name("New CA")).sign(office.ca_key, hashes.SHA256())
    office.wait("csr-info", csr.tbs_certrequest_bytes)
    order = pin.entry("pin-lock", "main", pin.envelope("main", "ab" * 16, office.key), office.key)["statement"].encode()
    office.wait("order", order)
    crl = x509.CertificateRevocationListBuilder(name("Demo CA"), datetime.datetime(2030, 1, 1),
                                                datetime.datetime(2030, 1, 8))
    for extension in (x509.CRLNumber(77),
                      x509.AuthorityKeyIdentifier.from_issuer_public_key(office.ca_key.public_key())):
        crl = crl.add_extension(extension, False)
    for revoked in range(1, 4):
        crl = crl.add_revoked_certificate(
            x509.RevokedCertificateBuilder(revoked, datetime.datetime(2029, 1, 1)).build())
    crl = crl.sign(office.ca_key, hashes.SHA256())
    office.wait("crl", crl.tbs_certlist_bytes)
    result = office.run("pin", "enter", "--all")
    for words in ("CN=New CA", "action: pin-lock", "CRL          77", "revoked      3", "all certificates", "5 operations",
                  "2030-01-01T00:00:00Z to 2030-01-08T00:00:00Z"):
        assert words in result.stderr, (words, result.stderr)
    kinds = sorted(o.split()[0] for o in pin.field(office.taken[1][1], "operation"))
    assert kinds == ["certificate", "certificate", "crl", "csr-info", "order"]


def test_a_certificate_of_a_ca_is_called_one(answered):
    office = answered
    office.wait("certificate", office.certificate("Evil", x509.BasicConstraints(True, None)).tbs_certificate_bytes)
    assert "YES: a certificate of a CA" in office.run("pin", "enter", "--all").stderr


def test_the_service_is_believed_in_nothing(answered):
    office = answered
    leaf = office.certificate("a").tbs_certificate_bytes
    for kind, octets, digest, words in (
            ("certificate", leaf, hashlib.sha256(b"other").digest(), "with another digest"),
            ("certificate", b"0\0", None, "no certificate"),
            ("crl", leaf, None, "no CRL of CA demo"),
            ("csr-info", leaf, None, "no request"),
            ("order", leaf, None, "no order")):
        operation = office.wait(kind, octets, digest=digest)
        assert words in office.run("pin", "enter", operation, expect=1).stderr
    assert office.taken == []


def test_an_abstract_is_believed_of_the_pinned_signer_alone(answered):
    office = answered
    office.wait("certificate", office.certificate("x").tbs_certificate_bytes)  # only to be there
    octets = b"a very long CRL"
    digest = hashlib.sha256(octets)
    operation = office.wait("crl", octets)

    def tell(signer=office.signer, tag=b"chancery-crl-abstract\0", replace=("", "")):
        text = (f"chancery-crl-abstract: 1\ntoken: main\nsigner: {office.signer.fingerprint}\nkey: {office.key_id}\n"
                f"sha256: {digest.hexdigest()}\nlength: 50000000\nnumber: 300\nbase: -\nscope: -\n"
                "this-update: 2030-01-01T00:00:00Z\nnext-update: 2030-01-08T00:00:00Z\nentries: 1000000\n"
                "reason: unspecified 999990\nreason: keyCompromise 10\nlast: 2029-12-31T00:00:00Z\nnew: 31\n").replace(*replace)
        office.database.execute("UPDATE chancery_store.pin_operation SET abstract = %s, abstract_signature = %s WHERE kind = 'crl'",
                                (text.encode(), signer.identity.sign(tag + text.encode())))

    tell()
    said = office.run("pin", "enter", operation, "--summary").stderr
    for words in ("50000000 octets", "CRL          300", "revoked      1000000", "10 keyCompromise", "31 since the last one",
                  "2030-01-01T00:00:00Z to 2030-01-08T00:00:00Z"):
        assert words in said, (words, said)
    assert pin.field(office.taken[0][1], "operation") == [f"crl {office.key_id} {digest.hexdigest()}"]
    # Without being asked to, the client looks itself.
    assert "no CRL of CA demo" in office.run("pin", "enter", operation, expect=1).stderr
    for changes, words in (
            ({"signer": pin.Signer()}, "not that of the signer's identity key"),
            ({"tag": b"chancery-signer-start\0"}, "not that of the signer's identity key"),
            ({"replace": (digest.hexdigest(), "ab" * 32)}, "about another CRL"),
            ({"replace": (office.key_id, "ab" * 16)}, "about another CRL"),
            ({"replace": ("token: main", "token: other")}, "about another CRL"),
            ({"replace": ("keyCompromise 10", "keyCompromise 11")}, "'reason'"),
            ({"replace": ("new: 31", "new: 031")}, "'last'")):
        tell(**changes)
        assert words in office.run("pin", "enter", operation, "--summary", expect=1).stderr, changes
    assert len(office.taken) == 1


def test_no_trust_on_first_use(office):
    office.wait("certificate", office.certificate("a").tbs_certificate_bytes)
    office.signer.report(office.database)
    said = office.run("pin", "enter", "--all", expect=1).stderr
    assert "chancery-signer --config CONFIG --token main --identity" in said and "pin-signer main" in said
    assert office.signer.fingerprint not in said  # what the service shows is no help
    office.cli("operator", "pin-signer", "main", "ab" * 32)
    assert "not the one that you pinned" in office.run("pin", "enter", "--all", expect=1).stderr
    # One is not changed in passing.
    assert "--force" in office.cli.fails("operator", "pin-signer", "main", office.signer.fingerprint)
    office.cli("operator", "pin-signer", "main", office.signer.fingerprint, "--force")
    assert "as it was" in office.cli("operator", "pin-signer", "main", office.signer.fingerprint)
    # The identity is the pinned one; the announcement is not by it, or of something else.
    other = pin.Signer()
    for changes, words in (
            ({"announced": other.announced}, "announcement"),
            ({"signature": other.signature}, "announcement"),
            ({"announced": other.announced, "signature": other.signature}, "announcement")):
        office.signer.report(office.database, **changes)
        assert words in office.run("pin", "enter", "--all", expect=1).stderr
    elsewhere = pin.Signer("other")
    elsewhere.identity = office.signer.identity
    elsewhere.start()
    office.signer.report(office.database, announced=elsewhere.announced, signature=elsewhere.signature)
    assert "of token other" in office.run("pin", "enter", "--all", expect=1).stderr
    assert office.entered() == []
    # The file is private, and stays so.
    path = office.cli.operator_key + ".signers"
    assert os.stat(path).st_mode & 0o777 == 0o600
    os.chmod(path, 0o644)
    assert "0600" in office.run("pin", "enter", "--all", expect=1).stderr


def test_a_refusal_is_said(office):
    office.wait("certificate", office.certificate("a").tbs_certificate_bytes)
    office.signer.report(office.database)
    office.cli("operator", "pin-signer", "main", office.signer.fingerprint, "--signer", "1")
    # The signer starts anew between the list and the entry.
    old = office.signer.instance
    office.database.execute("UPDATE chancery_store.token_status SET instance = %s", ("00" * 16,))
    assert "started anew" in office.run("pin", "enter", "--all", expect=1).stderr
    office.database.execute("UPDATE chancery_store.token_status SET instance = %s", (old,))
    office.signer.report(office.database, state="blocked")
    assert "token clear main" in office.run("pin", "enter", "--all", expect=1).stderr
    assert office.entered() == []


def test_several_signers_of_one_token(answered):
    office = answered
    second = pin.Signer(signer_id=2)
    second.report(office.database)
    mine = office.wait("certificate", office.certificate("a").tbs_certificate_bytes)
    theirs = office.wait("certificate", office.certificate("b").tbs_certificate_bytes, signer=2)
    assert "several tokens or signers" in office.run("pin", "enter", mine, theirs, expect=2).stderr
    assert "not the one that you pinned" in office.run("pin", "enter", theirs, expect=1).stderr
    office.cli("operator", "pin-signer", "main", second.fingerprint, "--signer", "2")
    office.run("pin", "enter", theirs)
    assert "1 more wait" in office.run("pin", "enter", "--all").stderr
    statement, body = office.taken[0]
    assert second.open(statement, body) == PIN.encode()
    assert "--signer" in office.cli.fails("token", "lock", "main", status=2)


def test_unlock_lock_and_clear(answered):
    office = answered
    assert "wants a PIN for each operation" in office.run("token", "unlock", "main", expect=1).stderr
    office.signer.access = "session"
    office.signer.start()
    office.signer.report(office.database)
    assert "unlocked for a time" in office.run(
        "pin", "enter", office.wait("certificate", office.certificate("a").tbs_certificate_bytes), expect=1).stderr
    office.run("token", "unlock", "main", "--for", "2h", "--idle", "10m", "--signatures", "5")
    office.cli("token", "lock", "main")
    office.cli("token", "clear", "main")
    unlock, lock, clear = office.taken
    assert office.signer.open(*unlock) == PIN.encode()
    assert (pin.field(unlock[1], "idle"), pin.field(unlock[1], "signatures")) == (["600"], ["5"])
    assert [pin.field(s, "action")[0] for s, _ in office.taken] == ["pin-unlock", "pin-lock", "pin-clear"]
    assert pin.field(lock[1], "box") == pin.field(clear[1], "box") == ["-"]
    table = office.cli("token", "list")
    assert "session" in table and "locked" in table
    for words in (("--for", "x"), ("--for", "0s"), ("--idle", "-1"), ("--signatures", "0")):
        office.run("token", "unlock", "main", *words, expect=2)
    office.signer.access = "operation"
    office.signer.start()
    office.signer.report(office.database)


def test_usage(office):
    office.signer.report(office.database)
    assert "or --all" in office.cli.fails("pin", "enter", status=2)
    assert "or --all" in office.cli.fails("pin", "enter", "--all", "x", status=2)
    assert "no such token" in office.cli.fails("token", "lock", "nowhere")
    assert "Nothing waits" in office.cli("pin", "enter", "--all")
    assert "Nothing waits" in office.cli("pin", "list", "--token", "main")
    for words in (("list",), ("enter", "--all")):  # a slip of the pen is not "nothing waits"
        assert "no such token: mian" in office.cli.fails("pin", *words, "--token", "mian")
    assert "only 0 of these 1" in office.cli.fails("pin", "enter", "00000000-0000-4000-8000-000000000000")
    for words in (("main", "ab"), ("main", "xy" * 32), ("ma in", "ab" * 32)):
        office.cli.fails("operator", "pin-signer", *words, status=2)


def test_the_terminal_asks_without_echo(answered):
    office = answered
    office.wait("certificate", office.certificate("a").tbs_certificate_bytes)
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(office.cli.program, office.cli.argv("pin", "enter", "--all"), office.cli.environment())
    seen, sent = b"", False
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if not select.select([fd], [], [], 1)[0]:
            continue
        try:
            seen += os.read(fd, 4096)
        except OSError:  # the end, on Linux
            break
        if b"PIN of token main: " in seen and not sent:
            sent = True
            os.write(fd, PIN.encode() + b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
    os.close(fd)
    assert PIN.encode() not in seen and b"taken" in seen
    assert office.signer.open(*office.taken[0]) == PIN.encode()
