"""Test programs in C that need a service which only these tests start."""

import os
import re

from .chanceryd import build_dir
from .postgres import REPO
from .process import run


def unit_program(name):
    """The path of tests/unit/<name>.c as a program of the build under test."""
    directory = build_dir()
    path = os.path.join(directory, "unit", name)
    try:
        with open(os.path.join(directory, "flags"), encoding="utf-8") as f:
            found = re.search(r"-fsanitize=(\S+)", f.read())
    except FileNotFoundError:
        found = None
    sanitize = found.group(1) if found else ""
    run(["make", "-s", "-C", REPO, f"BUILD={directory}", f"SANITIZE={sanitize}", path])
    return path
