"""make with the flags of the build under test; test programs in C that need a
service which only these tests start."""

import fcntl
import os
import re

from .chanceryd import build_dir
from .postgres import REPO
from .process import run


def make_build_dir():
    """build_dir() as make calls it: relative inside the tree, because another
    spelling means other flags, and because make knows no spaces in names."""
    inside = os.path.relpath(build_dir(), REPO)
    return build_dir() if inside.startswith("..") else inside


def build_flags():
    """Arguments that have make use the build under test."""
    try:
        with open(os.path.join(build_dir(), "flags"), encoding="utf-8") as f:
            found = re.search(r"-fsanitize=(\S+)", f.read())
    except FileNotFoundError:
        found = None
    return [f"BUILD={make_build_dir()}", f"SANITIZE={found.group(1) if found else ''}"]


def make(*targets):
    """One make at a time: the workers share the directory."""
    with open(os.path.join(build_dir(), "tests.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(["make", "-s", "-C", REPO, *build_flags(), *targets], timeout=600)


def unit_program(name):
    """The path of tests/unit/<name>.c as a program of the build under test."""
    make(os.path.join(make_build_dir(), "unit", name))
    return os.path.join(build_dir(), "unit", name)
