"""After its use no PIN is left anywhere. The scanner first has to find what was put there for it,
and the PIN itself while a login is held open."""

import base64
import os
import secrets
import signal
import subprocess

import pytest
from harness.authority import PASSPHRASE
from harness.chanceryd import program
from harness.decisions import Key
from harness.envelope import Shares, combine
from harness.persons import Persons
from harness.process import wait_until
from harness.softhsm import RecordedToken
from harness.traces import Traces, can_look, descendants, spellings

NEVER = "http://127.0.0.1:9/never.crl"  # discard: nobody listens


def test_the_scanner_knows_each_spelling(new_dir):
    secret = "P1N-" + secrets.token_hex(6)
    here = new_dir("t")
    traces = Traces(secret)
    for name, octets in spellings(secret).items():
        path = os.path.join(here, "x")
        for padding in (0, (1 << 20) - 5):  # across the end of a piece
            with open(path, "wb") as f:
                f.write(b"." * padding + octets + b".")
            assert name in traces.in_file(path), name
    with open(path, "wb") as f:
        f.write(secret[:-1].encode())
    assert not traces.in_file(path)


def with_bob(a):
    """A second operator, who can hold a share."""
    key = f"{a.files}/bob.pem"
    bob = a.cli.as_operator(key, a.passphrase_file)
    bob("operator", "init")
    a.daemon.config["tokens"][0]["pin_operators"].append({"name": "bob", "key": key + ".pub"})
    return bob


def split(a, bob):
    """The new PIN, which we alone can know, and the shares."""
    a.cli("operator", "add", "bob", "--role", "manager", "--key", f"{a.files}/bob.pem.pub")
    bob("operator", "pin-signer", "main", a.fingerprint())
    a.entered("token", "split-pin", "--need", "2", "alice", "bob")
    text = wait_until(lambda: a.token_row()["pin_shares"], what="the shares to be shown")
    document = Shares(base64.b64decode(text).decode())
    opened = [document.open(Key.load(path, PASSPHRASE)) for path in (a.operator_key, f"{a.files}/bob.pem")]
    pin = combine({int(name[0]): octets for name, octets in opened})
    assert pin.isalnum() and len(pin) == 32
    return pin, [octets for _, octets in opened]


@pytest.mark.skipif(not can_look(), reason="CAP_SYS_PTRACE is needed to read the signer's memory")
@pytest.mark.parametrize("way", ["operation", "session", "shares"])
def test_no_trace_of_a_pin(postgres, migrated, new_dir, way):
    canary = "canary-" + secrets.token_hex(4)
    pin = "P1N-" + secrets.token_hex(10)
    token = RecordedToken(new_dir("token"), program("faults/shim.so"), pin=pin).create()
    directory = new_dir(canary)  # which all processes of ours know by their configuration
    a = Persons(directory, postgres.database(migrated), "operation" if way == "operation" else "session", token,
                call_timeout="10m")
    if way == "shares":
        bob = with_bob(a)
    try:
        a.daemon.start()
        a.add_first_operator("alice")
        a.apply_templates()
        with open(os.path.join(a.files, "canary.yaml"), "w", encoding="utf-8") as f:
            f.write(a.cli("template", "show", "tls-server").replace("tls-server", canary))
        a.cli("template", "apply", f.name)
        a.create_root(a.root, targets=[{"name": "away", "artifact": "crl", "kind": "http", "write": NEVER, "read": NEVER}])
        if way == "operation":
            a.enter_until(lambda: not a.waiting(), "nothing to wait for a PIN")
        backend = a.database.connect()  # a process of PostgreSQL's that has met the canary
        with backend.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), set_config('chancery.canary', %s, false)", (canary,))
            backend_pid = cursor.fetchone()[0]
            cursor.execute("DO $$ BEGIN RAISE WARNING '%' ; END $$".replace("'%'", f"'{canary}'"))
            cursor.execute("CHECKPOINT")

        ours = descendants(a.daemon.process.popen.pid)
        # Couriers come and go.
        lasting = [a.daemon.process.popen.pid] + [pid for role in ("issuer", "front", "signer") for pid in a.daemon.pids(role)]
        assert len(lasting) == 4 and set(lasting) <= set(ours)
        database_pids = descendants(postgres.process.popen.pid)
        here = [directory, postgres.directory]
        proof = Traces(canary)
        for pid in lasting + [backend_pid]:
            assert proof.in_process(pid), f"the canary is not found in process {pid}"
        own = a.database.one("SELECT oid::text FROM pg_database WHERE datname = current_database()")

        def of_others(path):  # other tests' databases
            parts = path.split(os.sep)
            return "base" in parts and parts[parts.index("base") + 1] != own

        found = proof.in_files(*here, without=of_others)
        for part in ("chanceryd.log", "chancery.yaml", "postgres.log", "/pg_wal/", "/base/"):
            assert any(part in path for path in found), f"the canary is not found in {part}: {sorted(found)}"

        shares = []
        if way == "shares":
            pin, shares = split(a, bob)
        traces = Traces(pin)

        def in_processes(pids):
            seen_shared = False
            found = {}
            for pid in pids:
                try:
                    places = traces.in_process(pid, shared=not seen_shared)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # it has ended
                seen_shared = seen_shared or pid in database_pids
                if places:
                    found[pid] = places
            return found

        # The client has sealed the PIN, and waits for an answer that does not come.
        if way == "operation":
            a.cli("crl", "issue", a.root)
            row, = wait_until(lambda: a.waiting("crl"), what="a CRL to wait")
            command, ordered = ["pin", "enter", row["id"]], row["object"]
        else:
            a.cli("token", "lock", "main")
            command = ["token", "unlock", "main"]
        if way == "shares":
            assert "1 of 2" in a.cli(*command)
        issuer, = a.daemon.pids("issuer")
        os.kill(issuer, signal.SIGSTOP)
        read, write = os.pipe()
        os.write(write, (pin + "\n").encode())
        os.close(write)
        cli = bob if way == "shares" else a.cli
        client = subprocess.Popen(cli.argv(*command, "--pin-fd", str(read)), env=cli.environment(), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(read,))
        os.close(read)
        wait_until(lambda: a.database.one("SELECT count(*) FROM chancery_store.pin_entry WHERE state = 'queued'") == 1,
                   what="the entry")
        assert proof.in_process(client.pid) and not traces.in_process(client.pid)
        assert not in_processes(ours + database_pids)
        # The login is held open: there it is, in the signer and nowhere else.
        token.fail("login hold")
        os.kill(issuer, signal.SIGCONT)
        signer, = a.daemon.pids("signer")
        before = len(token.calls("logout"))
        during = wait_until(lambda: traces.in_process(signer), what="the PIN to be found while it is used")
        os.kill(signer, signal.SIGSTOP)
        try:
            assert all("raw" in names for names in during.values())
            assert set(in_processes(ours + database_pids)) == {signer}
        finally:
            token.fail()
            os.kill(signer, signal.SIGCONT)
        assert client.wait() == 0
        if way == "operation":
            wait_until(lambda: int(ordered) in [n for n, _ in a.crls(a.root)], what="the CRL", alive=a.daemon.process)
        else:
            wait_until(lambda: a.token_row()["state"] == "ready", what="the token to be unlocked")
            # Of an unlocked token nobody keeps the PIN, but the token's own module.
            assert not in_processes(ours + database_pids)
            a.cli("token", "lock", "main")
        wait_until(lambda: len(token.calls("logout")) > before, what="the logout")
        with backend.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        traces = Traces(pin, *shares)
        left = in_processes(ours + database_pids)
        print(f"while used: {sorted(during)}")
        assert not left, left  # of the module's own heap, too
        assert not traces.in_files(*here, token.directory, without=of_others)
        backend.close()
    finally:
        a.close()
