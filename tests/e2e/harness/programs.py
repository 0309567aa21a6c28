"""make with the flags of the build under test; test programs in C that need a
service which only these tests start."""

import os
import re

from .chanceryd import build_dir
from .postgres import REPO
from .process import run


def build_flags():
    """Arguments that have make use the build under test."""
    directory = build_dir()
    try:
        with open(os.path.join(directory, "flags"), encoding="utf-8") as f:
            found = re.search(r"-fsanitize=(\S+)", f.read())
    except FileNotFoundError:
        found = None
    return [f"BUILD={directory}", f"SANITIZE={found.group(1) if found else ''}"]


def unit_program(name):
    """The path of tests/unit/<name>.c as a program of the build under test."""
    path = os.path.join(build_dir(), "unit", name)
    run(["make", "-s", "-C", REPO, *build_flags(), path])
    return path
