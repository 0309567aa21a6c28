"""The token fails in every way that tests/faults/shim.c knows: what the signer makes of
it, alone and with issuer and database."""

import pytest
from harness.chanceryd import program
from harness.process import wait_until
from harness.signer import CERTIFICATE, SIGN, Refused
from harness.softhsm import RecordedToken
from harness.world import World

MODULE_HUNG = 5  # daemon/core/role.h


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


@pytest.mark.parametrize("call", ["initialize", "get-slot-list", "get-token-info", "open-session", "login",
                                  "find-objects-init"])
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
