"""Tokens whose PIN persons have, met as the issuer meets them: by the frames of the
signer's channel, which here also brings what a taken-over issuer or database would."""

import base64
import datetime
import hashlib
import os
import subprocess
import time
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key
from harness import der
from harness.chanceryd import program
from harness.decisions import Key, timestamp
from harness.envelope import (
    Envelope, OperatedSigner, PinSigner, Shares, UnlockedSigner, announcement, listed, listed_order, operation, session)  # fmt: skip
from harness.process import run, wait_until
from harness.signer import CERTIFICATE, CRL, ECDSA_SHA256, KEY_FIND, PIN, REQUEST, RESEED, RSA_SHA256, Refused, Signer, string
from harness.softhsm import RecordedToken
from harness.tokens import OpencryptokiToken, P11KitToken, TpmToken, Unavailable
from harness.world import World

TOKEN_LOST = 3  # daemon/core/role.h
ALICE, BOB, MALLORY = Key(), Key(), Key()


def entered_by(signer, pin):
    """Its PIN is Alice's."""
    return type(signer.__name__, (signer,), {"operator": ALICE, "pin": pin})


def new_world(new_dir, signer, options, prefix, **token):
    token = RecordedToken(new_dir("token"), program("faults/shim.so"), **token).create()
    os.unlink(token.pin_file)
    world = World(new_dir(prefix), token, entered_by(signer, token.pin), **options)
    world.token = token
    world.pin = PinSigner(world.signer, token.pin)
    try:
        world.start()
        world.install()
    except BaseException:
        world.signer.process.kill()
        raise
    return world


@pytest.fixture(scope="module")
def opened(new_dir):
    """access: session, with its keys made; each test begins with an open token."""
    options = {**session(alice=ALICE, bob=BOB), "session_max": "4h"}
    world = new_world(new_dir, UnlockedSigner, options, "session")
    yield world
    world.token.fail()
    world.signer.stop()


@pytest.fixture
def unlocked(opened):
    if opened.signer.status().state == "blocked":
        opened.pin.clear(BOB)
    opened.pin.unlock(ALICE)
    opened.token.forget()
    return opened


@pytest.fixture(scope="module")
def operated(new_dir):
    world = new_world(new_dir, OperatedSigner, operation(alice=ALICE, bob=BOB), "operation")
    yield world
    world.token.fail()
    world.signer.enters = False
    world.signer.stop()


@pytest.fixture
def alone(operated):
    """What is asked for there is not entered by itself, and no entry is under way."""
    operated.signer.enters = True
    if operated.signer.status().state == "blocked":
        operated.pin.clear(BOB)
    if operated.signer.status().state == "ready":
        operated.pin.lock(BOB)
    operated.signer.enters = False
    operated.token.forget()
    return operated


def logins(world):
    return [line.split(" ") for line in read(os.path.join(world.signer.state_dir, "signer-main", "logins")).splitlines()]


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def refused(code, words, call, *args, **kwargs):
    with pytest.raises(Refused, match=words) as e:
        call(*args, **kwargs)
    assert e.value.code == code


# ---------------------------------------------------------------- who it is


def test_announces_itself_and_shows_its_identity_at_the_console(opened):
    status = opened.signer.status()
    start = announcement(status)
    assert (start["token"], start["access"], start["signer-id"]) == ("main", "session", "1")
    assert start["token-serial"] == status.serial
    shown = subprocess.run([program("chancery-signer"), "--config", opened.signer.config, "--token", "main", "--identity"],
                           capture_output=True, text=True, check=True).stdout
    assert shown == f"{opened.pin.envelope(ALICE, 'pin-lock').fields['signer']}\n"
    key = os.path.join(opened.signer.state_dir, "signer-main", "identity.pem")
    assert os.stat(key).st_mode & 0o777 == 0o600


# ---------------------------------------------------------------- session


def test_a_restart_locks_and_says_who_lost_the_login(unlocked):
    before = announcement(unlocked.signer.status())
    unlocked.signer.process.kill()
    unlocked.token.mend()
    Signer.start(unlocked.signer)
    status = unlocked.signer.status()
    assert status.state == "locked" and "unlocked by alice" in status.text and "ended the login" in status.text
    after = announcement(status)
    assert after["instance"] != before["instance"] and after["key"] != before["key"]
    refused("locked", "is locked; an operator opens it", unlocked.issue)
    unlocked.pin.unlock(BOB)
    status = unlocked.signer.status()
    assert (status.state, status.unlocked_by) == ("ready", "bob")
    unlocked.issue()


def test_locks_on_command(unlocked):
    unlocked.issue()
    unlocked.pin.lock(BOB)
    status = unlocked.signer.status()
    assert (status.state, status.until, status.unlocked_by) == ("locked", 0, "")
    assert "ended the login" not in status.text
    assert [call[0] for call in unlocked.token.calls("logout")] == ["0x0"]
    refused("locked", "is locked", unlocked.issue)
    assert [line[2] for line in logins(unlocked)[-3:]] == ["open", "ok", "out"] and logins(unlocked)[-1][6] == "command"


def test_counts_signatures(unlocked):
    unlocked.pin.unlock(ALICE, signatures=2)
    unlocked.issue()
    tbs = unlocked.certificate(serial=b"\x05").der
    refused("denied", "not positive", unlocked.signer.sign, unlocked.key, CERTIFICATE, tbs, "auto")  # costs none
    assert unlocked.signer.status().left == 1
    unlocked.issue()
    refused("locked", "is locked", unlocked.issue)
    wait_until(lambda: unlocked.signer.status().state == "locked", what="the last signature locks")
    wait_until(lambda: logins(unlocked)[-1][6] == "count", what="the logout")


def test_an_idle_token_is_locked(unlocked):
    # Longer than the pauses between looks whether the token is there, which are no use of it.
    unlocked.pin.unlock(ALICE, idle=7)
    assert unlocked.signer.status().idle == 7
    wait_until(lambda: unlocked.signer.status().state == "locked", what="idleness locks")
    wait_until(lambda: logins(unlocked)[-1][6] == "idle", what="the logout")


def test_the_end_of_the_time_locks(unlocked):
    end = datetime.datetime.utcnow() + datetime.timedelta(seconds=3)
    unlocked.pin.unlock(ALICE, until=timestamp(end))
    wait_until(lambda: unlocked.signer.status().state == "locked", what="the time locks")
    refused("locked", "is locked", unlocked.issue)
    wait_until(lambda: logins(unlocked)[-1][6] == "time", what="the logout")


def test_an_unlock_keeps_to_the_caps(unlocked):
    until = timestamp(datetime.datetime.utcnow() + datetime.timedelta(hours=5))
    refused("denied", "session_max.*allows 14400", unlocked.pin.unlock, ALICE, until=until)
    refused("denied", "in the past", unlocked.pin.unlock, ALICE, until="2026-01-01T00:00:00Z")
    assert unlocked.token.calls("login") == []


def test_a_wrong_pin_blocks_at_once_and_is_not_sent_twice(unlocked):
    unlocked.pin.lock(ALICE)
    unlocked.token.forget()
    refused("denied", "refused the PIN .CKR_PIN_INCORRECT", unlocked.pin.unlock, ALICE, pin="654321")
    assert len(unlocked.token.calls("login")) == 1
    assert unlocked.signer.status().state == "blocked"
    refused("locked", "is blocked: the token refused the last PIN", unlocked.pin.unlock, ALICE)
    refused("locked", "is blocked", unlocked.issue)
    assert len(unlocked.token.calls("login")) == 1
    # A restart changes nothing.
    unlocked.signer.stop()
    Signer.start(unlocked.signer)
    assert unlocked.signer.status().state == "blocked"
    refused("locked", "is blocked", unlocked.pin.unlock, ALICE)
    assert len(unlocked.token.calls("login")) == 1
    refused("denied", "another operator has to see to it", unlocked.pin.clear, ALICE)
    unlocked.pin.clear(BOB)
    assert unlocked.signer.status().state == "locked"
    unlocked.pin.unlock(ALICE)
    events = [(line[2], line[3]) for line in logins(unlocked)[-5:]]
    assert events == [("open", "alice"), ("wrong", "alice"), ("clear", "bob"), ("open", "alice"), ("ok", "alice")]


def test_the_journal_tells_auditors_of_logins(unlocked):
    unlocked.pin.lock(BOB)
    shown = run([program("chancery-signer"), "--config", unlocked.signer.config, "--token", "main", "--journal"]).stdout
    lines = [" ".join(line) for line in logins(unlocked)]
    told = [line for line in lines if line in shown.decode()]
    assert told[-3:] == lines[-3:] and [line.split(" ")[2] for line in told[-3:]] == ["open", "ok", "out"]


def test_the_journal_tells_auditors_of_logins_by_itself(new_dir):
    """access: auto."""
    signer = Signer(new_dir("auto"), RecordedToken(new_dir("token"), program("faults/shim.so")).create()).start()
    wait_until(lambda: signer.status().state == "ready", what="the login")
    told = [" ".join(line) for line in logins_of(signer)]
    signer.stop()
    shown = run([program("chancery-signer"), "--config", signer.config, "--token", "main", "--journal"]).stdout.decode()
    assert [line.split(" ")[2] for line in told] == ["open", "ok"] and all(line in shown for line in told)


def test_nothing_of_the_pin_is_written_down(unlocked):
    for folder, _, files in os.walk(unlocked.signer.directory):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                assert unlocked.token.pin.encode() not in f.read(), name


def test_two_logins_that_did_not_end_block(unlocked):
    unlocked.pin.lock(ALICE)
    for _ in range(2):
        unlocked.token.forget()
        unlocked.token.fail("login hang")
        order = unlocked.pin.envelope(ALICE, "pin-unlock", pin=unlocked.token.pin).order()
        unlocked.signer.send(PIN, order.octets)
        wait_until(lambda: unlocked.token.calls("login"), what="the call hangs")
        unlocked.signer.process.kill()
        unlocked.token.fail()
        unlocked.token.mend()
        Signer.start(unlocked.signer)
    status = unlocked.signer.status()
    assert status.state == "blocked" and "nobody knows how the last 2 logins ended" in status.text
    refused("locked", "is blocked", unlocked.pin.unlock, ALICE)
    unlocked.pin.clear(BOB)
    unlocked.pin.unlock(ALICE)
    unlocked.issue()


def restart(world):
    """As the supervisor does with one that has ended by itself."""
    assert world.signer.process.wait() == TOKEN_LOST
    world.token.fail()
    Signer.start(world.signer)


def at_rest(signer):
    """"ended", or the state that it stays in."""
    if not signer.process.alive():
        return "ended"
    try:
        state = signer.status().state
    except OSError:
        return None
    return state if state in ("locked", "blocked") else None


# Code, the event on record, and how often the token was asked with that one entry.
ANSWERS = [
    ("0x30", "unclear", 1),  # CKR_DEVICE_ERROR
    ("0x5", "unclear", 1),  # CKR_GENERAL_ERROR
    ("0x6", "unclear", 1),  # CKR_FUNCTION_FAILED
    ("0x80000001", "unclear", 1),  # a vendor's
    ("0xe0", "failed", 1),  # CKR_TOKEN_NOT_PRESENT
    ("0xb3", "failed", 1),  # CKR_SESSION_HANDLE_INVALID
    ("0xe1", "failed", 3),  # CKR_TOKEN_NOT_RECOGNIZED: half written
    ("0xa0", "wrong", 1),  # CKR_PIN_INCORRECT
    ("0xa3", "wrong", 1),  # CKR_PIN_EXPIRED
    ("0xa4", "wrong", 1),  # CKR_PIN_LOCKED
]


@pytest.mark.parametrize("code, event, calls", ANSWERS)
def test_what_the_token_answers_to_a_pin(unlocked, code, event, calls):
    unlocked.pin.lock(BOB)
    unlocked.token.forget()
    unlocked.token.fail(f"login {code}")
    with pytest.raises(Refused):
        unlocked.pin.unlock(ALICE)
    assert unlocked.token.calls("login") == [[code]] * calls
    assert [line[2] for line in logins(unlocked)[-2:]] == ["open", event]
    # Whatever it was, the process goes on, or the next one does, and nothing more is tried by itself.
    unlocked.token.fail()
    if wait_until(lambda: at_rest(unlocked.signer), what="it comes to rest") == "ended":
        restart(unlocked)
    assert unlocked.signer.status().state == ("blocked" if event == "wrong" else "locked")
    assert len(unlocked.token.calls("login")) == calls
    if event == "wrong":
        unlocked.pin.clear(BOB)
    unlocked.pin.unlock(ALICE)
    unlocked.issue()


def test_a_login_that_is_lost_ends_locked_with_an_alarm(unlocked):
    unlocked.token.fail("sign-init logout 1")
    with pytest.raises(Refused) as e:
        unlocked.issue()
    assert e.value.code in ("unavailable", "locked")
    restart(unlocked)
    status = unlocked.signer.status()
    assert status.state == "locked" and "unlocked by alice" in status.text and "ended the login" in status.text
    assert "ended the login" in unlocked.signer.process.log()
    assert len(unlocked.token.calls("login")) == 0


def test_a_logout_that_fails_ends_the_process(unlocked):
    unlocked.token.fail("logout 0x30")
    unlocked.pin.lock(BOB)
    restart(unlocked)
    assert unlocked.signer.status().state == "locked"


# ---------------------------------------------------------------- what is no envelope


def test_an_envelope_is_good_for_one_time(unlocked):
    order = unlocked.pin.envelope(ALICE, "pin-unlock", pin=unlocked.token.pin).order()
    unlocked.pin.send(order)
    unlocked.pin.lock(BOB)
    refused("denied", "was used already", unlocked.pin.send, order)
    assert unlocked.signer.status().state == "locked"


def test_an_envelope_for_another_start(unlocked):
    order = unlocked.pin.envelope(ALICE, "pin-unlock", pin=unlocked.token.pin).order()
    clear = unlocked.pin.envelope(ALICE, "pin-clear").order()
    unlocked.signer.stop()
    Signer.start(unlocked.signer)
    for old in (order, clear):
        refused("denied", "for another start of this signer", unlocked.pin.send, old)
    assert unlocked.signer.status().state == "locked"


def change(**fields):
    def apply(world, envelope):
        envelope.fields.update(fields)
        return envelope.seal().order()
    return apply


def expired(world, envelope):
    past = datetime.datetime.utcnow() - datetime.timedelta(seconds=30)
    return envelope.order(issued=timestamp(past - datetime.timedelta(minutes=5)), expires=timestamp(past))


def future(world, envelope):
    later = datetime.datetime.utcnow() + datetime.timedelta(minutes=5)
    return envelope.order(issued=timestamp(later), expires=timestamp(later + datetime.timedelta(minutes=5)))


def another_nonce(world, envelope):
    return envelope.order(nonce="00" * 16)


def unsealed_change(**fields):
    """The body is signed anew, by who may sign, and the box stays."""
    def apply(world, envelope):
        envelope.fields.update(fields)
        return envelope.order()
    return apply


def another_box(world, envelope):
    box = bytearray(base64.b64decode(envelope.box))
    box[100] ^= 1
    envelope.box = base64.b64encode(box).decode()
    return envelope.order()


def stolen(world, envelope):
    """Bob may sign, but it is Alice's PIN entry."""
    return envelope.order(BOB)


def another_body(world, envelope):
    order = envelope.order()
    order.body = envelope.seal().body
    return order


def two_persons(world, envelope):
    return envelope.order(ALICE, BOB)


def sealed_to_another_key(world, envelope):
    envelope.public = bytes(31) + b"\x09"
    return envelope.seal().order()


NEVER_OPENED = [
    ("by nobody of the configuration", lambda w, e: Envelope(w.signer.status(), MALLORY, "pin-unlock", pin="123456").order(),
     "denied", "not among the pin_operators"),
    ("re-signed by another operator", stolen, "denied", "sealed by another operator"),
    ("by two at once", two_persons, "denied", "one operator signs"),
    ("a forged signature", lambda w, e: forged(e), "denied", "does not verify"),
    ("expired", expired, "denied", "expired"),
    ("from the future", future, "denied", "in the future"),
    ("longer than ten minutes", lambda w, e: e.order(expires=timestamp(
        datetime.datetime.utcnow() + datetime.timedelta(minutes=14))), "limit", "at most 600 s"),
    ("another token", change(token="other"), "denied", "for token 'other'"),
    ("a statement about another token", lambda w, e: e.order(object="other"), "denied", "not about the PIN of token"),
    ("another signer", change(signer="ab" * 32), "denied", "for another signer"),
    ("another instance", change(instance="ab" * 16), "denied", "another start"),
    ("another action", lambda w, e: e.order(action="pin-operate"), "input", "not one for 'pin-operate'"),
    ("no PIN action", lambda w, e: e.order(action="signer-reseed"), "denied", "not about the PIN"),
    ("a body that was not signed", another_body, "denied", "not the one that the operator signed"),
    ("a longer time", unsealed_change(until=timestamp(
        datetime.datetime.utcnow() + datetime.timedelta(hours=3))), "denied", "does not open"),
    ("more signatures", unsealed_change(signatures="1000000"), "denied", "does not open"),
    ("no idle time", unsealed_change(idle="86400"), "denied", "does not open"),
    ("another nonce", another_nonce, "denied", "does not open"),
    ("another box", another_box, "denied", "does not open"),
    ("sealed to another key", sealed_to_another_key, "denied", "does not open"),
    ("operations in a session", lambda w, e: Envelope(
        w.signer.status(), ALICE, "pin-operate", pin="123456", operations=[f"order - {'ab' * 32}"]).order(),
     "denied", "access: session, which takes no 'pin-operate'"),
]


def forged(envelope):
    order = envelope.order()
    order.keys = (SimpleNamespace(spki=ALICE.spki, sign=MALLORY.sign),)
    return order


@pytest.mark.parametrize("make, code, words", [row[1:] for row in NEVER_OPENED], ids=[row[0] for row in NEVER_OPENED])
def test_an_envelope_that_is_not_right_never_reaches_the_token(unlocked, make, code, words):
    unlocked.pin.lock(BOB)
    envelope = unlocked.pin.envelope(ALICE, "pin-unlock", pin=unlocked.token.pin, idle=600, signatures=10)
    refused(code, words, unlocked.pin.send, make(unlocked, envelope))
    assert unlocked.signer.status().state == "locked"
    assert unlocked.token.calls("login") == []
    assert "what an operator sent was refused" in unlocked.signer.process.log()


# ---------------------------------------------------------------- operation


def test_signs_what_was_listed_and_nothing_else(alone):
    first, second, third = (alone.certificate().der for _ in range(3))
    refused("locked", "waits for an operator to enter its PIN", alone.signer.sign, alone.key, CERTIFICATE, first, "auto")
    alone.pin.operate(ALICE, *(listed(CERTIFICATE, alone.key, tbs) for tbs in (first, second)))
    status = alone.signer.status()
    assert (status.state, status.unlocked_by, status.left) == ("ready", "alice", 2)
    assert alone.token.calls("login") == []  # not before there is something to sign
    alone.verify(first, alone.signer.sign(alone.key, CERTIFICATE, first, "auto"))
    refused("locked", "", alone.signer.sign, alone.key, CERTIFICATE, first, "auto")  # once each
    refused("locked", "", alone.signer.sign, alone.key, CERTIFICATE, third, "auto")  # another digest
    refused("locked", "", alone.signer.sign, alone.root, CERTIFICATE, second, "auto")  # another key
    refused("locked", "", alone.signer.ask, KEY_FIND, string(alone.key.id))
    alone.verify(second, alone.signer.sign(alone.key, CERTIFICATE, second, "auto"))
    assert alone.signer.status().state == "locked"
    assert [call[0] for call in alone.token.calls("logout")] == ["0x0"]
    # One login, and the key's own for each signature.
    assert [call[0] for call in alone.token.calls("login")] == ["0x0"] * 3
    refused("locked", "", alone.signer.sign, alone.key, CERTIFICATE, third, "auto")


def test_lists_hold_crls_requests_and_orders(alone):
    tbs, order = alone.crl().der, alone.order("signer-reseed", "-", "x", object="main")
    alone.pin.operate(BOB, listed(CRL, alone.key, tbs), listed_order(order))
    alone.signer.stream(alone.key, tbs)
    with pytest.raises(Refused) as e:
        alone.signer.ask(RESEED, order.octets)
    assert e.value.code == "input"  # it came through, and is no document
    assert alone.signer.status().state == "locked"


def test_says_of_a_crl_what_it_is_while_it_is_locked(alone):
    first = alone.crl()
    alone.pin.operate(ALICE, listed(CRL, alone.key, first.der))
    alone.signer.stream(alone.key, first.der)
    alone.token.forget()

    def told(tbs, scope=b""):
        payload = alone.signer.stream(alone.key, tbs, abstract=scope)
        size = len(payload) - 4 - 64  # before the signature
        text = payload[:size]
        load_der_public_key(alone.signer.status().identity).verify(payload[-64:], b"chancery-crl-abstract\0" + text)
        return dict(line.split(": ", 1) for line in text.decode().splitlines())

    tbs = alone.crl().der
    said = told(tbs)
    assert said["sha256"] == hashlib.sha256(tbs).hexdigest() and said["length"] == str(len(tbs))
    assert said["key"] == alone.key.id.hex() and said["token"] == "main" and said["last"] != "-"
    assert told(tbs, b"\1" * 32)["last"] == "-"  # of another scope than it was compared with
    # The guard looks at it as if it were to be signed; and nothing is.
    refused("denied", "", told, alone.crl(issuer=alone.root.name).der)
    assert alone.token.calls("login") == alone.token.calls("sign") == []
    refused("locked", "", alone.signer.stream, alone.key, tbs)


def test_keys_want_the_pin_for_each_signature(alone):
    """The token itself enforces it: logged in, it does not sign without."""
    assert "the token wants the PIN for each signature with its key" in alone.signer.process.log()


def test_another_entry_waits_for_its_turn(alone):
    tbs = alone.certificate().der
    alone.pin.operate(ALICE, listed(CERTIFICATE, alone.key, tbs))
    refused("busy", "another PIN entry has 1 operations to go", alone.pin.operate, BOB, listed_order(
        alone.order("signer-reseed", "-", "x", object="main")))
    alone.signer.sign(alone.key, CERTIFICATE, tbs, "auto")


def test_a_wrong_pin_for_an_operation_blocks(alone):
    tbs = alone.certificate().der
    alone.pin.operate(ALICE, listed(CERTIFICATE, alone.key, tbs), pin="654321")
    refused("denied", "refused the PIN", alone.signer.sign, alone.key, CERTIFICATE, tbs, "auto")
    assert alone.signer.status().state == "blocked"
    refused("locked", "is blocked", alone.signer.sign, alone.key, CERTIFICATE, tbs, "auto")
    assert len(alone.token.calls("login")) == 1
    alone.pin.clear(BOB)
    alone.pin.operate(ALICE, listed(CERTIFICATE, alone.key, tbs))
    alone.verify(tbs, alone.signer.sign(alone.key, CERTIFICATE, tbs, "auto"))


def test_a_list_that_was_altered(alone):
    tbs = alone.certificate().der
    envelope = alone.pin.envelope(ALICE, "pin-operate", pin=alone.token.pin,
                                  operations=[listed(CERTIFICATE, alone.key, alone.certificate().der)])
    envelope.operations = [listed(CERTIFICATE, alone.key, tbs)]
    refused("denied", "does not open", alone.pin.send, envelope.order())
    refused("locked", "", alone.signer.sign, alone.key, CERTIFICATE, tbs, "auto")


def test_a_lock_ends_an_entry(alone):
    tbs = alone.certificate().der
    alone.pin.operate(ALICE, listed(CERTIFICATE, alone.key, tbs))
    alone.pin.lock(BOB)
    refused("locked", "", alone.signer.sign, alone.key, CERTIFICATE, tbs, "auto")
    assert alone.token.calls("login") == []


def test_twenty_with_one_pin(alone):
    structures = [alone.certificate().der for _ in range(20)]
    alone.pin.operate(ALICE, *(listed(CERTIFICATE, alone.key, tbs) for tbs in structures))
    began = time.monotonic()
    for tbs in structures:
        alone.verify(tbs, alone.signer.sign(alone.key, CERTIFICATE, tbs, "auto"))
    print(f"20 certificates with one PIN: {time.monotonic() - began:.2f} s")
    assert alone.signer.status().state == "locked"
    assert len(alone.token.calls("logout")) == 1


def test_the_last_try_is_not_used(alone):
    alone.pin.envelope(ALICE, "pin-lock")
    alone.token.fail("token-flags 0x20000")
    tbs = alone.certificate().der
    refused("denied", "one PIN try left", alone.pin.operate, ALICE, listed(CERTIFICATE, alone.key, tbs))
    alone.token.fail()
    assert alone.token.calls("login") == []


def test_a_certificate_request_with_its_pin(alone):
    info = der.request_info(alone.key.name, alone.key.spki)
    alone.pin.operate(ALICE, listed(REQUEST, alone.key, info))
    alone.signer.sign(alone.key, REQUEST, info)


# ---------------------------------------------------------------- devices, and what else tokens are like


@pytest.fixture(scope="module")
def device(new_dir):
    """A token with a PIN entry of its own; its PIN is as long as SoftHSM takes any."""
    world = new_world(new_dir, UnlockedSigner, session(alice=ALICE, bob=BOB), "device", pin="7" * 255)
    world.token.fail("token-flags 0x100")
    yield world
    world.token.fail()
    world.signer.stop()


def at_device(world):
    """An unlock without a PIN, while somebody should come: the request's number."""
    world.token.forget()
    request = world.signer.send(PIN, world.pin.envelope(ALICE, "pin-unlock", pin="").order().octets)
    wait_until(lambda: world.signer.status().state == "at-device", what="it waits at the device")
    return request


def test_somebody_enters_the_pin_at_the_device(device):
    device.pin.lock(BOB)
    request = at_device(device)
    device.token.type_at_device(device.token.pin)
    device.signer.answer(request)
    device.token.type_at_device(None)
    assert device.signer.status().state == "ready"
    device.issue()


def test_somebody_cancels_at_the_device(device):
    device.pin.lock(BOB)
    request = at_device(device)
    device.token.type_at_device("")
    refused("unavailable", "CKR_FUNCTION_CANCELED", device.signer.answer, request)
    device.token.type_at_device(None)
    assert device.signer.status().state == "locked"
    assert logins(device)[-1][2:4] == ["failed", "alice"]


def test_no_pin_for_a_token_without_a_device(device):
    device.pin.lock(BOB)
    device.token.fail()
    device.token.forget()
    refused("denied", "no device to enter one at", device.pin.send, device.pin.envelope(
        ALICE, "pin-unlock", pin="").order())
    assert device.token.calls("login") == []
    device.token.fail("token-flags 0x100")


def test_the_longest_pin(device):
    device.pin.unlock(ALICE)
    device.issue()
    refused("denied", "not of the length that token .* takes .4 to 255.; it was not tried",
            device.pin.unlock, ALICE, pin="7" * 256)


def test_a_vendors_user(new_dir):
    token = RecordedToken(new_dir("token"), program("faults/shim.so")).create()
    signer = Signer(new_dir("vendor"), token, **session(alice=ALICE), user_type=2147483649).start()
    refused("internal", "CKR_USER_TYPE_INVALID", PinSigner(signer, token.pin).unlock, ALICE)
    assert token.calls("login") == [["0x103", "0x80000001"]]
    signer.stop()


# ---------------------------------------------------------------- other tokens

WANTS, IGNORES = "the token wants the PIN for each signature", "the token signs with its key without the PIN"
OTHERS = {
    "tpm": (TpmToken, 1, "p256", WANTS),
    "opencryptoki": (OpencryptokiToken, 2, "rsa2048", IGNORES),
    "p11-kit": (P11KitToken, 2, "p256", WANTS),
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_operations_on_other_tokens(new_dir, kind):
    made, threads, algorithm, words = OTHERS[kind]
    name, alg = ("rsa-sha256", RSA_SHA256) if algorithm == "rsa2048" else ("ecdsa-sha256", ECDSA_SHA256)
    token = made(new_dir("token"), pin="12345678")
    try:
        token.create()
        os.unlink(token.pin_file)
        options = {**operation(alice=ALICE), "threads": threads, "unix_sockets": token.unix_sockets}
        world = World(new_dir("other"), token, entered_by(OperatedSigner, token.pin), **options)
        world.signer.start()
        key = world.make_key("other", "Other CA", kind="subordinate", algorithm=algorithm, signatures=name)
        for _ in range(2):
            info = der.request_info(key.name, key.spki)
            assert world.signer.sign(key, REQUEST, info, alg=alg)
        assert world.signer.status().state == "locked"
        world.signer.enters = False
        refused("locked", "waits for an operator", world.signer.sign, key, REQUEST, info, alg=alg)
        assert words in world.signer.process.log()
        world.signer.process.kill()  # what these modules leak at their end is theirs
    except Unavailable as why:
        pytest.skip(str(why))
    finally:
        token.close()


# ---------------------------------------------------------------- a PIN that nobody knows


class Split:
    """A token whose PIN two of three hold together."""

    def __init__(self, new_dir):
        self.token = RecordedToken(new_dir("token"), program("faults/shim.so")).create()
        self.carol, self.ed = Key(), Key(ed25519.Ed25519PrivateKey.generate())
        options = session(alice=ALICE, bob=BOB, carol=self.carol, ed=self.ed, twin=ALICE)
        self.signer = Signer(new_dir("split"), self.token, **options).start()
        self.pin = PinSigner(self.signer, self.token.pin)
        self.present = None  # the shares that open it; None: the PIN that everybody knows does

    def split(self):
        """Anew, whatever the PIN is."""
        if self.signer.status().state == "blocked":
            self.pin.clear(BOB)
        if self.present is None:
            assert "any 2 of these open it" in self.pin.split(ALICE, 2, "alice", "bob", "carol")
        else:
            self.resplit(ALICE)
            assert "any 2 of these" in self.resplit(BOB)
        self.present = Shares(self.signer.status().shares)

    def resplit(self, key):
        name, octets = self.present.open(key)
        return self.pin.split(key, 2, "alice", "bob", "carol", pin=octets, share=name)

    @property
    def shares(self):
        return self.present

    def envelope(self, key, share=None, action="pin-unlock", **more):
        name, octets = share or self.shares.open(key)
        return self.pin.envelope(key, action, pin=octets, share=name, **more)

    def bring(self, key, share=None, **more):
        """What the signer says of it."""
        return self.signer.ask(PIN, self.envelope(key, share, **more).order().octets)[4:].decode()


@pytest.fixture(scope="module")
def split(new_dir):
    made = Split(new_dir)
    made.split()
    made.token.forget()
    yield made
    made.token.fail()
    made.signer.stop()


def test_two_of_three_open_the_token(split):
    assert "took the share of alice: 1 of 2" in split.bring(ALICE, idle=600)
    assert split.token.calls("login") == [] and split.signer.status().state == "locked"
    assert split.bring(split.carol, idle=60, signatures=5) == ""
    status = split.signer.status()
    assert (status.state, status.idle, status.left) == ("ready", 60, 5)  # the shorter of both
    split.pin.lock(BOB)


def test_two_shares_of_one_person_are_one(split):
    split.token.forget()
    split.bring(ALICE)
    refused("conflict", "two of one person are one", split.bring, ALICE)
    assert split.token.calls("login") == []
    split.pin.lock(BOB)  # what was brought is forgotten
    assert "1 of 2" in split.bring(BOB)
    split.pin.lock(BOB)


def test_what_is_no_share_never_reaches_the_token(split):
    split.token.forget()
    name, octets = split.shares.open(BOB)
    refused("denied", "is not that of alice", split.bring, ALICE, (name, octets))
    spoilt = bytes([octets[0] ^ 1]) + octets[1:]
    refused("denied", "is not what was committed to", split.bring, BOB, (name, spoilt))
    refused("denied", "is of another split", split.bring, BOB, ((name[0], "ab" * 16), octets))
    refused("denied", "is split: 2 of 3 operators each bring a share", split.pin.unlock, ALICE)
    assert split.token.calls("login") == []
    assert split.signer.status().state == "locked"


def test_nobody_knows_the_pin(split):
    """The old one is wrong, and no file of the signer has the new one, or a share in the clear."""
    octets = [split.shares.open(key)[1] for key in (ALICE, BOB, split.carol)]
    split.bring(ALICE)
    split.bring(BOB)
    assert split.signer.status().state == "ready"
    split.pin.lock(BOB)
    for folder, _, files in os.walk(split.signer.directory):
        for name in files:
            with open(os.path.join(folder, name), "rb") as f:
                text = f.read()
            assert not any(o in text or o.hex().encode() in text for o in octets), name
    refused("denied", "is split", split.pin.unlock, ALICE)


def test_who_can_hold_a_share_is_asked_first(split):
    split.token.forget()
    for names, words in ((("alice", "dave"), "dave is not among the pin_operators"),
                         (("alice", "ed"), "the key of ed: .*P-256"),
                         (("alice", "twin"), "have the same key")):
        refused("denied" if "P-256" not in words else "input", words, split.pin.split, ALICE, 2, *names)
    refused("limit", "at least 2", split.pin.split, ALICE, 1, "alice", "bob")
    refused("limit", "at most", split.pin.split, ALICE, 3, "alice", "bob")
    assert split.token.calls("login") == split.token.calls("set-pin") == []


def test_those_who_hold_it_split_it_anew(split):
    """One alone cannot; what they agree about is among whom."""
    old = split.present
    assert "1 of 2" in split.resplit(ALICE)
    name, octets = old.open(BOB)
    assert "1 of 2" in split.pin.split(BOB, 2, "bob", "carol", pin=octets, share=name)  # something else
    split.pin.lock(BOB)
    split.split()
    assert split.present.fields["split"] != old.fields["split"]
    refused("denied", "of another split", split.bring, ALICE, old.open(ALICE))
    split.bring(ALICE)
    split.bring(split.carol)
    assert split.signer.status().state == "ready"
    split.pin.lock(BOB)
    assert [line[2] for line in logins_of(split.signer)[-11:]] == [
        "open", "ok", "split", "out", "open", "ok", "new-pin", "out", "open", "ok", "out"]


def logins_of(signer):
    return [line.split(" ") for line in read(os.path.join(signer.state_dir, "signer-main", "logins")).splitlines()]


def files(split):
    return sorted(n for n in os.listdir(os.path.join(split.signer.state_dir, "signer-main")) if n.startswith("pin-shares"))


def came_back(split):
    """After the end of its process."""
    split.signer.process.wait()
    split.token.fail()
    split.token.mend()
    split.signer.start()
    return split.signer.status()


def split_and_die(split, *faults):
    """Both bring their shares for a new split, and the process ends in it."""
    split.resplit(ALICE)
    split.token.forget()
    split.token.fail(*faults)
    name, octets = split.present.open(BOB)
    order = split.pin.envelope(BOB, "pin-split", pin=octets, among=(2, "alice", "bob", "carol"), share=name).order()
    split.signer.send(PIN, order.octets)
    return came_back(split)


def opens(split, shares):
    for key in (ALICE, BOB):
        name, octets = shares.open(key)
        split.bring(key, (name, octets))
    assert split.signer.status().state == "ready"
    assert files(split) == ["pin-shares"]
    split.pin.lock(BOB)


# Where it ends, and whether the token then has the new PIN.
DEATHS = {
    "at the first login": (["login die"], False, ["pin-shares"]),
    "before the token is told": (["set-pin crash"], False, ["pin-shares", "pin-shares.next"]),
    "when the token has it": (["set-pin die"], True, ["pin-shares", "pin-shares.next"]),
    "when it was tried": (["login die 2"], True, ["pin-shares", "pin-shares.next"]),
    "at the last logout": (["logout die 2"], True, ["pin-shares"]),
}


@pytest.mark.parametrize("where", list(DEATHS))
def test_a_split_that_is_cut_short_leaves_a_pin_that_its_holders_have(split, where):
    faults, new, left = DEATHS[where]
    old = split.present
    status = split_and_die(split, *faults)
    assert files(split) == left
    assert ("was being split" in status.text) == ("pin-shares.next" in left)
    if new:
        split.present = Shares(status.shares)
        assert split.present.fields["split"] != old.fields["split"]
    opens(split, split.present)


def test_the_wrong_guess_after_a_cut_costs_one_try(split):
    """Nobody knows which PIN it has: the new one is tried, is wrong, and the old one goes on."""
    status = split_and_die(split, "set-pin crash")
    split.bring(ALICE, Shares(status.shares).open(ALICE))
    refused("denied", "refused the PIN", split.bring, BOB, Shares(status.shares).open(BOB))
    assert split.signer.status().state == "blocked"
    split.pin.clear(ALICE)
    opens(split, split.present)


@pytest.mark.parametrize("fault, has", [("set-pin 0xa1 1", "old"), ("set-pin 0x6 1 after", "unknown"),
                                        ("set-pin 0x30 1 after", "unknown")])
def test_a_token_that_does_not_say_that_it_took_the_pin(split, fault, has):
    split.resplit(ALICE)
    split.token.fail(fault)
    with pytest.raises(Refused) as e:
        split.resplit(BOB)
    split.token.fail()
    assert ("the PIN is what it was" if has == "old" else "nobody knows which PIN") in str(e.value)
    if wait_until(lambda: at_rest(split.signer), what="it comes to rest") == "ended":
        came_back(split)
    if split.signer.status().state == "blocked":
        split.pin.clear(ALICE)
    if has == "unknown":
        split.present = Shares(split.signer.status().shares)
    opens(split, split.present)


def test_a_full_disk_stops_a_split_before_the_token_is_told(split):
    split.resplit(ALICE)
    split.token.forget()
    # The next document cannot be put there: a folder has its name.
    place = os.path.join(split.signer.state_dir, "signer-main", ".pin-shares.next.new")
    os.mkdir(place)
    refused("system", "cannot write", split.resplit, BOB)
    os.rmdir(place)
    assert split.token.calls("set-pin") == [] and files(split) == ["pin-shares"]
    opens(split, split.present)
