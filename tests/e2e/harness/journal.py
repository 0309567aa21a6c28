"""The signer's journal as an auditor reads it."""

import json
import os

from .chanceryd import program
from .process import run


class Journal:
    """Of one token of a Chanceryd."""

    def __init__(self, daemon, token="main"):
        self.daemon = daemon
        self.token = token
        self.state = os.path.join(daemon.state_dir, f"signer-{token}")
        self.directory = os.path.join(self.state, "journal")

    def read(self, *args):
        """chancery-signer --journal, with the state of the disk as it is."""
        return run([program("chancery-signer"), "--config", self.daemon.config_path, "--token", self.token, "--journal",
                    *args], check=False, text=True)

    def records(self, kind=None):
        """All records (or those of one type) as dictionaries; the chain must be whole."""
        shown = self.read("--json")
        assert shown.returncode == 0 and "whole" in shown.stderr, shown
        rows = [json.loads(line) for line in shown.stdout.splitlines()]
        return [row for row in rows if kind in (None, row["type"])]

    def signed(self):
        """What was signed: the records of the uses, each with its signature."""
        uses = {row["record"]: row for row in self.records("use")}
        return [{**uses[row["use"]], "signature": row["signature"]} for row in self.records("signature")]

    def segments(self):
        return sorted(name for name in os.listdir(self.directory) if name.endswith(".seg"))

    def end(self):
        """Where the records of the newest segment end: its number of octets in use."""
        path = os.path.join(self.directory, self.segments()[-1])
        with open(path, "rb") as f:
            return path, len(f.read().rstrip(b"\0"))
