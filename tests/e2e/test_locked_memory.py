"""A signer's memory stays out of the swap: all of it where that is permitted, and the pages
with PINs everywhere."""

import os

import pytest
from harness.chanceryd import program
from harness.process import run
from harness.signer import Signer
from harness.softhsm import Token
from harness.world import World


class Limited(Token):
    """Its signer starts with this RLIMIT_MEMLOCK."""

    def __init__(self, directory, limit):
        super().__init__(directory)
        self.prefix = ["prlimit", f"--memlock={limit}:{limit}"]


def status_text(signer):
    with open(f"/proc/{signer.process.pid}/status", encoding="ascii") as f:
        return f.read()


def status(signer):
    return dict(line.split(":", 1) for line in status_text(signer).splitlines())


def kib(text):
    return int(text.split()[0])


def world_with(token, new_dir, **options):
    world = World(new_dir("locked"), token, **options)
    world.start()
    world.install()
    return world


def unlimited(new_dir):
    """A world whose signer may lock all its memory: by the limit; or, where nobody can raise that, by a
    capability that no sandbox takes away."""
    if run(["prlimit", "--memlock=unlimited:unlimited", "true"], check=False).returncode == 0:
        return world_with(Limited(new_dir("token"), "unlimited").create(), new_dir)
    if os.geteuid() != 0:
        pytest.skip("RLIMIT_MEMLOCK cannot be raised here")
    return world_with(Token(new_dir("token")).create(), new_dir, signer=Privileged)


class Privileged(Signer):
    def __init__(self, directory, token, **options):
        super().__init__(directory, token, preload=program("faults/unlimited.so"), **options)

    def environment(self):
        return super().environment() | {"CHANCERY_SANDBOX": "off"}


def test_all_of_it(new_dir):
    world = unlimited(new_dir)
    try:
        world.issue()
        now = status(world.signer)
        # But for what the kernel itself put there (vdso, vvar).
        assert kib(now["VmLck"]) > kib(now["VmSize"]) - 256
        assert "not locked" not in world.signer.status().text and "not locked" not in world.signer.process.log()
        # A page is locked when it is touched, and not before: threads' stacks cost nothing.
        assert kib(now["VmRSS"]) < kib(now["VmSize"]) / 2
    finally:
        world.signer.stop()


def test_where_it_is_not_permitted(new_dir):
    world = world_with(Limited(new_dir("token"), 8 * 1024 * 1024).create(), new_dir)
    try:
        for _ in range(3):
            world.issue()
        assert kib(status(world.signer)["VmLck"]) < 8192
        assert world.signer.status().state == "ready"
        assert world.signer.status().text.endswith("its memory is not locked (RLIMIT_MEMLOCK)")
        assert "RLIMIT_MEMLOCK is not unlimited" in world.signer.process.log()
    finally:
        world.signer.stop()


def test_no_page_for_a_pin(new_dir):
    """The floor: without a page that is locked, no PIN is read."""
    signer = Signer(new_dir("locked"), Limited(new_dir("token"), 0).create())
    signer.start()
    try:
        if "CapEff:\t0000000000000000" in status_text(signer):
            assert signer.status().state == "no-pin" and "RLIMIT_MEMLOCK" in signer.status().text
        else:
            assert signer.status().state == "ready"  # who has CAP_IPC_LOCK may lock whatever the limit says
    finally:
        signer.stop()
