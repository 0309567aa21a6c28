"""Looks for a secret where none may be: in the memory of processes, in files."""

import base64
import glob
import os

PIECE = 1 << 20
SHARED = "/dev/zero"  # PostgreSQL's buffers, which all of its processes see


def spellings(secret):
    """{what it is called: octets}: as it is, and as it might have been written down."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    found = {"raw": raw, "hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    if isinstance(secret, str):
        found.update({"UTF-16LE": secret.encode("utf-16-le"), "UTF-16BE": secret.encode("utf-16-be")})
    for shift in range(3):
        # The characters that do not depend on what stands before and behind.
        text = base64.b64encode(b"\0" * shift + raw + b"\0" * (-(shift + len(raw)) % 3))
        found[f"base64+{shift}"] = text[(0, 2, 3)[shift] : len(text) - (0 if (shift + len(raw)) % 3 == 0 else 4)]
    return found


class Traces:
    """All spellings of some secrets."""

    def __init__(self, *secrets):
        self.needles = {f"{name} {i}" if i else name: octets
                        for i, secret in enumerate(secrets) for name, octets in spellings(secret).items()}
        self.longest = max(map(len, self.needles.values()))

    def within(self, data):
        return {name for name, needle in self.needles.items() if needle in data}

    def in_stream(self, read):
        """In pieces, none of which hides what lies across its end."""
        found, tail = set(), b""
        while True:
            piece = read(PIECE)
            if not piece:
                return found
            found |= self.within(tail + piece)
            tail = piece[-self.longest :]

    def in_file(self, path):
        with open(path, "rb") as f:
            return self.in_stream(f.read)

    def in_files(self, *directories, without=lambda path: False):
        """{path: spellings} of all files below."""
        found = {}
        for directory in directories:
            for path in glob.glob(os.path.join(glob.escape(directory), "**"), recursive=True, include_hidden=True):
                if os.path.isfile(path) and not os.path.islink(path) and not without(path):
                    names = self.in_file(path)
                    if names:
                        found[path] = names
        return found

    def in_process(self, pid, shared=True):
        """{mapping: spellings} of all memory that the process can have written."""
        found = {}
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            maps = [line.split(maxsplit=5) for line in f]
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for span, rights, *rest in maps:
                name = rest[3].strip() if len(rest) > 3 else "anonymous"
                of_a_file = name.startswith("/") and not name.startswith(SHARED)
                if not rights.startswith("r") or (of_a_file and rights[1] != "w") or (
                        name in ("[vvar]", "[vvar_vclock]", "[vsyscall]")) or (not shared and name.startswith(SHARED)):
                    continue
                start, end = (int(a, 16) for a in span.split("-"))
                names = self._in_mapping(memory, start, end)
                if names:
                    found[f"{name} {span}"] = names
        return found

    def _in_mapping(self, memory, start, end):
        at = start

        def read(size):
            nonlocal at
            memory.seek(at)
            try:
                piece = memory.read(min(size, end - at))
            except OSError:  # a mapping without pages behind it
                return b""
            at += len(piece)
            return piece

        return self.in_stream(read)


def descendants(pid):
    """The process and all below it."""
    children = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
        except OSError:
            continue
        children.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(text.split(" ", 1)[0]))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def can_look():
    """Whether the memory of processes that no debugger may attach to can be read here."""
    with open("/proc/self/status", encoding="ascii") as f:
        effective, = (int(line.split()[1], 16) for line in f if line.startswith("CapEff:"))
    return bool(effective >> 19 & 1)  # CAP_SYS_PTRACE
