"""What is done at the signer's console where persons have the token's PIN: they enter it
there, once, and on the record."""

import json
import os
import pty
import termios

import pytest
from harness import clients
from harness.chanceryd import program
from harness.decisions import Key
from harness.envelope import OperatedSigner, PinSigner, UnlockedSigner, operation, session
from harness.process import run, wait_until
from harness.signer import Signer
from harness.softhsm import RecordedToken
from harness.world import World

ALICE, BOB = Key(), Key()
ACCESS = {"session": (UnlockedSigner, {**session(alice=ALICE, bob=BOB), "session_max": "4h"}),
          "operation": (OperatedSigner, operation(alice=ALICE, bob=BOB))}


@pytest.fixture(scope="module", params=list(ACCESS))
def world(request, new_dir):
    """One with keys, whose signer is stopped."""
    signer, options = ACCESS[request.param]
    token = RecordedToken(new_dir("token"), program("faults/shim.so")).create()
    os.unlink(token.pin_file)
    made = World(new_dir("console"), token, type("Entered", (signer,), {"operator": ALICE, "pin": token.pin}), **options)
    made.token, made.pin = token, PinSigner(made.signer, token.pin)
    made.start()
    running = console(made, "--keys", check=False)
    made.signer.enters = False
    made.signer.stop()
    assert running.returncode == 1 and "by hand it takes a signer that is stopped" in running.stderr
    return made


def argv(world, *args):
    return [program("chancery-signer"), "--config", world.signer.config, "--token", "main", *args]


def console(world, *args, pin=None, check=True, **more):
    """With the PIN through a descriptor."""
    read, write = os.pipe()
    os.write(write, ((world.token.pin if pin is None else pin) + "\n").encode())
    os.close(write)
    try:
        return run(argv(world, *args, "--pin-fd", str(read)), check=check, text=True, pass_fds=(read,),
                   env=dict(os.environ), **more)
    finally:
        os.close(read)


def recorded(world):
    path = os.path.join(world.signer.state_dir, "signer-main", "logins")
    with open(path, encoding="ascii") as f:
        return [(line.split(" ")[2], line.split(" ")[6]) for line in f.read().splitlines()]


def test_keys_are_listed_imported_and_destroyed(world):
    world.token.forget()
    before = len(recorded(world))
    keys = [json.loads(line) for line in console(world, "--keys", "--json").stdout.splitlines()]
    assert {"CA oracle", "CA oracle-root"} <= {key["owner"] for key in keys}
    assert world.token.calls("login") == [["0x0"]] and world.token.calls("logout")[0] == ["0x0"]
    assert recorded(world)[before:] == [("open", "console"), ("ok", "CKR_OK"), ("out", "console")]

    files = world.signer.directory
    run(["openssl", "req", "-x509", "-new", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=x", "-keyout",
         os.path.join(files, "x.key"), "-out", os.path.join(files, "x.pem")])
    p12 = os.path.join(files, "x.p12")
    run(["openssl", "pkcs12", "-export", "-inkey", os.path.join(files, "x.key"), "-in", os.path.join(files, "x.pem"), "-out", p12,
         "-passout", "pass:word"])
    word = clients.write(files, "word", "word\n")
    os.chmod(word, 0o600)
    console(world, "--import-key", p12, "--passphrase-file", word, "--label", "elsewhere")
    made, = (k for k in map(json.loads, console(world, "--keys", "--json").stdout.splitlines()) if k["label"] == "elsewhere")
    console(world, "--destroy-key", made["key"], input="elsewhere\n")
    assert [json.loads(line) for line in console(world, "--keys", "--json").stdout.splitlines()] == keys


@pytest.mark.parametrize("world", ["session"], indirect=True)
def test_a_probe(world):
    said = json.loads(console(world, "--probe", "--json").stdout)
    assert said["token"] == world.token.label and said["login"] == "by PIN"
    assert recorded(world)[-1] == ("out", "console")


def test_at_the_terminal(world):
    """Without echo, and not where others could read it."""
    words = argv(world, "--keys")
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.execv(words[0], words)
        finally:
            os._exit(127)  # and no second pytest
    seen = b""
    while b"PIN of token main: " not in seen:
        seen += os.read(terminal, 4096)
    wait_until(lambda: termios.tcgetattr(terminal)[3] & termios.ECHO == 0, what="what is typed is not shown")
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        assert world.token.pin.encode() not in f.read()
    os.write(terminal, world.token.pin.encode() + b"\n")
    try:
        while True:
            seen += os.read(terminal, 4096)
    except OSError:
        pass  # its other end is closed
    assert os.waitpid(pid, 0)[1] == 0, seen
    os.close(terminal)
    assert b"of CA oracle" in seen, seen
    assert world.token.pin.encode() not in seen


def test_a_wrong_pin_blocks(world):
    """For whoever comes next, here or with an envelope; it cost one try."""
    world.token.forget()
    refused = console(world, "--keys", pin="wrong-pin", check=False)
    assert refused.returncode == 1 and "refused the PIN" in refused.stderr and "wrong-pin" not in refused.stderr
    assert len(world.token.calls("login")) == 1
    again = console(world, "--keys", check=False)
    assert again.returncode == 1 and "chancery token clear main" in again.stderr
    assert len(world.token.calls("login")) == 1
    Signer.start(world.signer)
    try:
        wait_until(lambda: world.signer.status().state == "blocked", what="the signer knows of it")
        world.pin.clear(BOB)
        wait_until(lambda: world.signer.status().state == "locked", what="it was cleared")
    finally:
        world.signer.stop()
    assert "CA oracle" in console(world, "--keys").stdout


def test_what_is_not_tried(world):
    """No PIN, or one that the token could not have, costs nothing."""
    world.token.forget()
    for pin, words in (("", "no device to enter one at"), ("x", "is not of the length"), ("9" * 300, "longer than")):
        refused = console(world, "--keys", pin=pin, check=False)
        assert refused.returncode == 1 and words in refused.stderr, refused.stderr
    assert world.token.calls("login") == []
    assert run(argv(world, "--keys", "--pin-fd", "77"), check=False).returncode == 2
    assert "CA oracle" in console(world, "--keys").stdout
