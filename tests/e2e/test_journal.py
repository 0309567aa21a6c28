"""The signer's journal: it tells all that was signed, and a signer that has lost it
signs nothing until its operators say where to go on."""

import hashlib
import os
import shutil
import signal
import time

import pytest
from cryptography import x509

from harness import clients
from harness.journal import Journal
from harness.process import wait_until


def token_status(a):
    return a.cli.json("token", "status")["tokens"][0]


def wait_token(a, state):
    return wait_until(lambda: token_status(a) if token_status(a)["state"] == state else None, what=f"state {state}")


def known_to_the_database(a):
    """SHA-256 of all to-be-signed bytes: certificates and CRLs, wherever they are."""
    return {bytes(row[0]).hex() for row in a.database.execute(
        "SELECT tbs_sha256 FROM chancery_store.serial_intent UNION SELECT tbs_sha256 FROM chancery_store.crl "
        "WHERE tbs_sha256 IS NOT NULL")}


def own_requests(a):
    """Those of CAs whose key is on the token; they are not kept as what was signed."""
    return [row for row in Journal(a.daemon).signed() if row["kind"] == "csr-info"]


def issue(a, name):
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]))
    a.approve(request)
    return request


@pytest.mark.smoke
def test_the_journal_tells_all(new_authority):
    a = new_authority()
    leaves = [a.certificate(f"told-{n}")[1] for n in range(3)]
    a.issue_crl()
    journal = Journal(a.daemon)
    # Also while the signer is at work.
    assert len(journal.signed()) >= 3
    assert a.daemon.stop() == 0

    signed = journal.signed()
    by_digest = {row["tbs-sha256"]: row for row in signed}
    known = known_to_the_database(a)
    assert {d for d, row in by_digest.items() if row["kind"] != "csr-info"} <= known
    assert len(own_requests(a)) == 1
    for pem in leaves:
        leaf = x509.load_pem_x509_certificate(pem.encode())
        row = by_digest[hashlib.sha256(leaf.tbs_certificate_bytes).hexdigest()]
        assert row["signature"] == leaf.signature.hex()
        assert int(row["serial"], 16) == leaf.serial_number
    issued = a.database.execute("SELECT number::text, delta, tbs_sha256 FROM chancery_store.crl WHERE state = 'issued'")
    assert len(issued) >= 4
    for number, delta, digest in issued:
        row = by_digest[bytes(digest).hex()]
        assert (row["number"], "base" in row) == (number, delta)
    kinds = [row["type"] for row in journal.records()]
    assert kinds[:2] == ["segment", "floors"] and kinds[-1] == "stop" and "anchored" in kinds
    assert sorted(row["origin"] for row in journal.records("key")) == ["made", "made"]

    text = journal.read()
    assert text.returncode == 0 and len(text.stdout.splitlines()) == len(kinds)
    # A copy reads the same; one that was changed, or cut off, says so.
    copy = os.path.join(a.files, "copy")
    shutil.copytree(journal.directory, copy)
    path, end = journal.end()
    name = os.path.basename(path)
    assert Journal(a.daemon).read(f"--journal={copy}").stdout == text.stdout
    with open(os.path.join(copy, name), "r+b") as f:
        f.seek(end // 2)
        octet = f.read(1)
        f.seek(end // 2)
        f.write(bytes([octet[0] ^ 1]))
    damaged = journal.read(f"--journal={copy}")
    assert damaged.returncode == 1 and f"{name} is damaged" in damaged.stderr
    os.truncate(os.path.join(copy, name), end)
    assert "was cut off" in journal.read(f"--journal={copy}").stderr
    assert journal.read("--show-limits").returncode == 2


def test_a_lost_journal_closes_the_signer(new_authority):
    a = new_authority()
    journal = Journal(a.daemon)
    a.certificate("before")
    before = x509.load_der_x509_crl(a.crl()).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    waiting = a.submit(clients.openssl_csr(a.files, "waiting", dns=["waiting.example"]))
    a.wait_state(waiting, "pending")
    assert a.daemon.stop() == 0
    shutil.rmtree(journal.directory)
    a.daemon.start()

    closed = wait_token(a, "closed")
    assert "there is none, and the token has the anchor of one" in closed["sentence"]
    assert "chancery signer reseed main" in closed["sentence"]
    # Decisions of the second in which it closed are taken for older ones.
    then = time.time()
    wait_until(lambda: int(time.time()) > int(then), what="the next second")
    a.cli("request", "approve", waiting, "--reason", "in time")
    wait_until(lambda: "the journal is closed" in (a.api.get(f"/v1/requests/{waiting}").json().get("reason") or ""),
               what="a reason")
    assert a.api.get(f"/v1/requests/{waiting}").json()["state"] != "issued"
    # A restart changes nothing, not even the challenge.
    assert a.daemon.stop() == 0
    a.daemon.start()
    assert wait_token(a, "closed")["challenge"] == closed["challenge"]

    # One key after the other, where they have more CRLs than a reseed holds.
    key = a.cli.json("ca", "generations", a.issuing)["generations"][0]["key_sha256"]
    assert f"no key {key} of CA {a.root} on token main" in a.cli.fails("signer", "reseed", "main", "--ca", a.root, "--key-sha256", key)
    a.cli("signer", "reseed", "main", "--key-sha256", key.upper())
    wait_token(a, "ready")
    assert "is open in the journal" in a.cli.fails("signer", "reseed", "main")
    a.wait_state(waiting, "issued")
    a.cli("signer", "reseed", "main", "--ca", a.root)
    reseeded = int(time.time())
    wait_until(lambda: time.time() >= reseeded + 1, what="a second in which decisions are not over")
    # What was approved while it was closed is issued; and all goes on.
    a.wait_state(waiting, "issued")
    a.certificate("after")
    a.issue_crl()
    wait_until(lambda: x509.load_der_x509_crl(a.crl()).extensions.get_extension_for_class(
        x509.CRLNumber).value.crl_number > before, what="a CRL with a higher number")
    assert a.daemon.stop() == 0
    reseed, of_root = journal.records("reseed")
    assert a.root in of_root["document"] and a.root not in reseed["document"]
    assert closed["challenge"] in reseed["document"] and "action: signer-reseed" in reseed["statement"]
    assert {row["tbs-sha256"] for row in journal.signed()} <= known_to_the_database(a)
    assert all(row["origin"] == "reseed" for row in journal.records("key"))
    a.daemon.start()
    wait_token(a, "ready")
    a.certificate("after-a-restart")


def test_an_older_copy_is_noticed(new_authority):
    a = new_authority()
    journal = Journal(a.daemon)
    assert a.daemon.stop() == 0
    old = os.path.join(a.files, "old")
    shutil.copytree(journal.directory, old)
    a.daemon.start()
    a.certificate("newer")
    assert a.daemon.stop() == 0
    new = os.path.join(a.files, "new")
    os.rename(journal.directory, new)
    shutil.copytree(old, journal.directory)
    a.daemon.start()
    assert "an older copy was put back" in wait_token(a, "closed")["sentence"]
    waiting = issue(a, "waiting")
    assert a.daemon.stop() == 0
    # The right one again: nothing was lost, and nobody has to say anything.
    shutil.rmtree(journal.directory)
    os.rename(new, journal.directory)
    a.daemon.start()
    wait_token(a, "ready")
    a.wait_state(waiting, "issued")


def test_a_serial_that_nobody_can_vouch_for(new_authority, recorded_token):
    """Serials are committed, the signer dies with half a record at the end of its
    journal: it takes none of that time, and the issuer gives them up."""
    a = new_authority(token=recorded_token)
    journal = Journal(a.daemon)
    a.daemon.kill_role("signer", signal.SIGSTOP)  # so that it takes nothing of what follows
    requests = [issue(a, f"half-{n}") for n in range(2)]  # more wait for an end of these
    intents = "SELECT count(*) FROM chancery_store.intent_tbs"
    wait_until(lambda: a.database.one(intents) == 2, what="serials")
    recorded_token.fail("login 0x30")  # CKR_DEVICE_ERROR: the token is away
    a.daemon.kill_role("signer")
    wait_token(a, "token-away")
    path, end = journal.end()
    first = {bytes(row[0]) for row in a.database.execute("SELECT serial FROM chancery_store.intent_tbs")}
    with open(path, "r+b") as f:
        f.seek(end)
        f.write(b"cj\1\6half a record")
    recorded_token.fail()
    for request in requests:
        a.wait_state(request, "issued")
    serials = {bytes(row[0]) for row in a.database.execute(
        "SELECT c.serial FROM chancery_store.certificate c JOIN chancery_store.request r ON r.id = c.request_id "
        "WHERE r.public_id = ANY (%s::uuid[])", (requests,))}
    assert len(serials) == 2 and not serials & first
    # The ones given up stay on record.
    kept = {bytes(row[0]) for row in a.database.execute("SELECT serial FROM chancery_store.serial_intent")}
    assert first | serials <= kept
    assert any("were dropped" in row.get("note", "") for row in journal.records("start"))
