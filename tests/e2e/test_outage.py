"""The token fails in every way that tests/faults/shim.c knows: what the signer makes of
it, alone and with issuer and database."""

import os
import signal

import pytest
from harness.chanceryd import program
from harness.process import wait_until
from harness.signer import CERTIFICATE, SIGN, STREAM_DROP, Refused
from harness.softhsm import RecordedToken
from harness.world import World

TOKEN_LOST, MODULE_HUNG = 3, 5  # daemon/core/role.h
STREAMS_MAX = 16  # pkcs11/signer.h


def new_world(new_dir, **options):
    token = RecordedToken(new_dir("token"), program("faults/shim.so")).create()
    world = World(new_dir("outage"), token, **options)
    world.token = token
    try:
        world.start()
        world.install()
    except BaseException:
        world.signer.process.kill()
        raise
    return world


@pytest.fixture(scope="module")
def quick(new_dir):
    """One whose module must answer within a second."""
    world = new_world(new_dir, call_timeout="1s")
    yield world
    world.token.fail()
    world.signer.stop()


def sign(world):
    """Asks, and gives the request's number and what is to be signed."""
    tbs = world.certificate().der
    return world.signer.send(SIGN, world.signer.sign_message(world.key, CERTIFICATE, tbs, "auto")), tbs


def refusal(world, words):
    """Whether a certificate is refused in these words; otherwise it is signed."""
    try:
        world.issue()
    except Refused as refused:
        assert words in str(refused)
        return True
    return False


# ---------------------------------------------------------------- calls that hang


def test_a_signature_that_hangs(quick):
    quick.token.fail("sign hang")
    request, tbs = sign(quick)
    wait_until(lambda: ["hang"] in quick.token.calls("sign"), what="the call hangs")
    with pytest.raises(Refused, match="C_Sign has not come back for 1 s") as refused:
        quick.signer.answer(request)
    assert refused.value.code == "unavailable"
    assert quick.signer.process.wait() == MODULE_HUNG
    assert quick.signer.process.log().count("the module hangs: C_Sign has not come back") == 1
    quick.token.fail()
    quick.signer.start()
    quick.verify(tbs, quick.signer.sign(quick.key, CERTIFICATE, tbs, "auto"))


@pytest.mark.parametrize("call", ["initialize", "get-slot-list", "login", "find-objects-init"])
def test_an_opening_that_hangs(quick, call):
    quick.signer.stop()
    quick.token.forget()
    quick.token.fail(f"{call} hang")
    quick.signer.start(ready=False)
    assert quick.signer.process.wait() == MODULE_HUNG
    assert ["hang"] in quick.token.calls(call)
    quick.token.fail()
    quick.signer.start()
    quick.issue()


def test_a_hang_at_the_end(quick):
    """Nothing is left to be answered: it ends all the same."""
    quick.token.fail("close-session hang")
    quick.signer.drain()
    assert quick.signer.process.wait() == MODULE_HUNG
    quick.token.fail()
    quick.signer.start()
    quick.issue()


def test_the_end_waits_for_what_is_on_its_way(quick):
    """A structure that comes in pieces is signed; then it ends, whoever still has a channel."""
    signer, crl = quick.signer, quick.crl().der
    request = signer.begin_stream(quick.key, crl)
    signer.status()  # by now it has begun
    signer.drain()
    wait_until(lambda: refusal(quick, "is stopping"), what="it takes nothing new")
    assert signer.process.alive()
    quick.verify(crl, signer.end_stream(request, crl))
    assert signer.process.wait() == 0
    signer.process.kill()
    signer.start()
    quick.issue()


def test_a_stream_that_is_given_up(quick):
    """It makes room for another one, and holds up no end."""
    signer = quick.signer
    first = [signer.begin_stream(quick.key, quick.crl().der) for _ in range(STREAMS_MAX)]
    crl = quick.crl().der
    with pytest.raises(Refused, match="unavailable: .*are being streamed already"):
        signer.answer(signer.begin_stream(quick.key, crl))
    signer.send(STREAM_DROP, request=first.pop())
    signer.send(STREAM_DROP, request=signer.last + 1)  # which nobody began
    quick.verify(crl, signer.end_stream(signer.begin_stream(quick.key, crl), crl))
    signer.drain()
    wait_until(lambda: refusal(quick, "is stopping"), what="it takes nothing new")
    assert signer.process.alive()
    for request in first:
        signer.send(STREAM_DROP, request=request)
    assert signer.process.wait() == 0
    signer.process.kill()
    signer.start()
    quick.issue()


def test_status_while_a_call_hangs(new_dir):
    world = new_world(new_dir)
    try:
        world.token.fail("sign hang 1")
        hanging, _ = sign(world)
        wait_until(lambda: ["hang"] in world.token.calls("sign"), what="the call hangs")
        # The other thread signs on.
        world.issue()
        wait_until(lambda: "C_Sign has not come back for" in world.signer.status().text, what="it says so")
        assert world.signer.status().state == "ready"
    finally:
        world.signer.process.kill()


def test_as_many_at_once_as_sessions(new_dir):
    """A slow token is kept busy, and asked for no more sessions than README.md says."""
    world = new_world(new_dir, threads=3, call_timeout="10m")
    try:
        world.token.fail("sign hang")
        for _ in range(6):
            sign(world)
        wait_until(lambda: world.token.calls("sign").count(["hang"]) == 3, what="three at once")
        assert world.signer.status().threads == 3  # the loop goes on
        assert world.token.calls("sign").count(["hang"]) == 3
        opened = [call for call in world.token.calls("open-session") if call == ["0x0"]]
        assert len(opened) - len(world.token.calls("close-session")) in (4, 5)
    finally:
        world.signer.process.kill()


# ---------------------------------------------------------------- what is tried again


@pytest.fixture(scope="module")
def world(new_dir):
    """One that goes on from test to test."""
    made = new_world(new_dir)
    yield made
    made.token.fail()
    made.signer.stop()


def test_the_same_session_once_more(world):
    world.token.forget()
    world.token.fail("sign-init 0x31 2")  # CKR_DEVICE_MEMORY
    world.issue()
    assert world.token.calls("open-session") == []


def test_a_new_session(world):
    world.token.forget()
    world.token.fail("sign 0xb3 1")  # CKR_SESSION_HANDLE_INVALID
    world.issue()
    assert world.token.calls("open-session") == [["0x0"]] and world.token.calls("login") == []


def test_a_new_pin_that_the_module_dies_of(world):
    """It may have been counted: whoever comes next does not find that out by another try."""
    world.signer.stop()
    world.token.write_pin(world.token.pin)
    world.token.forget()
    world.token.fail("login crash once")
    world.signer.start(ready=False)
    assert world.signer.process.wait() == -signal.SIGSEGV
    world.token.mend()
    world.signer.start()
    assert world.signer.status().state == "pin-wrong"
    assert "did not come back from it, before" in world.signer.status().text
    assert world.token.calls("login") == [["crash"]]
    world.token.write_pin(world.token.pin)
    wait_until(lambda: world.signer.status().state == "ready", what="the file was changed")
    # What the token took before may be sent again.
    world.signer.stop()
    world.token.fail("login crash once")
    world.signer.start(ready=False)
    assert world.signer.process.wait() == -signal.SIGSEGV
    world.token.mend()
    world.signer.start()
    world.issue()


@pytest.mark.parametrize("fault, words", [
    ("sign-init drop once", "CKR_"),
    ("sign-init logout once", "CKR_"),
    ("sign 0x101 once", "CKR_USER_NOT_LOGGED_IN"),
    ("sign 0x30 once", "CKR_DEVICE_ERROR"),
    ("sign wrong once", "does not verify with its own public key"),
    ("sign-init 0xa3 once", "CKR_PIN_EXPIRED"),
])  # fmt: skip
def test_a_new_process(world, fault, words):
    """The request fails only for now; the next process finds the token well."""
    world.token.forget()
    world.token.fail(fault)
    with pytest.raises(Refused, match=words) as refused:
        world.issue()
    assert refused.value.code == "unavailable"
    assert world.signer.process.wait() == TOKEN_LOST
    world.signer.start()
    world.issue()
    assert world.token.calls("login") == [["0x0"]]


def test_a_lost_login_hides_the_keys(world):
    """A key that is not found is not missing for good."""
    world.signer.stop()
    world.signer.start()
    world.token.fail("find-objects-init logout once")
    with pytest.raises(Refused, match="CKR_USER_NOT_LOGGED_IN") as refused:
        world.issue()
    assert refused.value.code == "unavailable"
    assert world.signer.process.wait() == TOKEN_LOST
    world.signer.start()
    world.issue()


def test_a_token_that_opens_and_never_signs(world):
    """It is left alone for longer and longer, and an ordinary outage still costs nothing."""
    world.signer.stop()
    world.signer.start()
    world.issue()
    world.token.fail("sign 0x30")  # CKR_DEVICE_ERROR
    for losses in range(1, 4):
        with pytest.raises(Refused, match="CKR_DEVICE_ERROR" if losses == 1 else "unavailable"):
            world.issue()
        assert world.signer.process.wait() == TOKEN_LOST
        world.signer.start(ready=losses < 3)
    wait_until(lambda: "opened 3 times since 20" in world.signer.status().text, what="it says since when")
    assert world.signer.status().state == "token-away" and "CKR_DEVICE_ERROR" in world.signer.status().text
    with pytest.raises(Refused) as refused:
        world.issue()
    assert refused.value.code == "unavailable"
    # It is well again: some seconds later that is found out, and forgotten.
    world.token.fail()
    wait_until(lambda: world.signer.status().state == "ready", what="it was left alone long enough")
    world.issue()
    path = os.path.join(world.signer.state_dir, "signer-main", "losses")
    assert not os.path.exists(path)
    world.token.fail("sign 0x30 once")
    with pytest.raises(Refused):
        world.issue()
    assert world.signer.process.wait() == TOKEN_LOST
    before = len(world.signer.process.log())
    world.signer.start()
    world.issue()
    assert "failed each time" not in world.signer.process.log()[before:]


def test_an_outage_is_seen_without_requests(world):
    world.token.fail("get-session-info 0x30")
    assert world.signer.process.wait() == TOKEN_LOST
    world.token.fail("get-slot-list 0x30")
    world.signer.start()
    wait_until(lambda: world.signer.status().state == "token-away", what="the token is away")
    assert "CKR_DEVICE_ERROR" in world.signer.status().text
    world.token.fail()
    wait_until(lambda: world.signer.status().state == "ready", what="the token is back")
    world.issue()
