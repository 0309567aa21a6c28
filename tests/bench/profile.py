"""Where the time of signer, issuer and PostgreSQL goes, by perf.

    make profile                       P-256 CA, RSA CSRs
    make profile ONLY=rsa2048.p256_csr
    make profile BENCH_SECONDS=20

One load as in `make bench`; each process is sampled by itself. Needs the right to
use perf: as root, or kernel.perf_event_paranoid of at most 2, which lets one sample
the user's part of one's own processes. Leaves var/bench/profile-*.data for
`perf report`.
"""

import contextlib
import os
import signal
import subprocess
import sys

import bench
import measure
from harness.process import find_program
from harness.postgres import REPO
from issue import GROUP, SUBMITTERS
from results import heading, line
from world import CSRS, KEYS, World, go, program, waiting

LINES = 18
FREQUENCY = 997
# Of these parts the stacks are kept, and functions of these objects are shown with
# all that they call.
OURS = {"signer": ("chancery-signer", "libsofthsm2.so"), "issuer": ("chanceryd",)}


def chosen_series(only):
    key, _, csr = (only or "p256.rsa_csr").removeprefix("issue.").partition(".")
    csr = csr or "rsa_csr"
    if key not in KEYS or csr not in CSRS:
        sys.exit(f"profile: {only} is none of {', '.join(f'{k}.{c}' for k in KEYS for c in CSRS)}")
    return key, csr


class Perf:
    """perf on some processes, from begin() to end()."""

    def __init__(self, part, pids, path):
        self.part, self.path = part, path
        event = "cpu-clock" if os.geteuid() == 0 else "cpu-clock:u"
        stacks = ["--call-graph", "dwarf,16384"] if part in OURS else []
        command, self._command = os.pipe()
        self._answer, answer = os.pipe()
        self.process = subprocess.Popen(
            [find_program("perf"), "record", "-q", "-e", event, "-F", str(FREQUENCY), *stacks, "-D", "-1", "-o", path,
             f"--control=fd:{command},{answer}", "-p", ",".join(map(str, pids))],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(command, answer))
        os.close(command)
        os.close(answer)

    def begin(self):
        """Returns when it records."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._command, b"enable\n")
        if not os.read(self._answer, 5).startswith(b"ack"):
            sys.exit(f"profile: perf does not record: {self.process.communicate()[1].strip()[:400]}\n"
                     "Run it as root, or set kernel.perf_event_paranoid to 2 or less.")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        os.close(self._command)
        os.close(self._answer)


def rows(path, whole=False):
    """(percent, symbol, object) of a report, functions without a name taken together;
    whole: with all that they call."""
    options = ["--children", "-F", "overhead_children,sym,dso"] if whole else ["--no-children", "-F", "overhead,sym,dso"]
    said = subprocess.run([find_program("perf"), "report", "--stdio", "-q", "-g", "none", "--percent-limit", "0", "-t", "\t",
                           *options, "-i", path],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    sums = {}
    for row in said.splitlines():
        columns = [c.strip() for c in row.split("\t")]
        if len(columns) != 3 or not columns[0].endswith("%"):
            continue
        name = columns[1][4:].removesuffix(" (inlined)")
        key = ("(no name)" if name.startswith("0x") else name, columns[2])
        sums[key] = sums.get(key, 0.0) + float(columns[0][:-1])
    return sorted(((value, *key) for key, value in sums.items()), reverse=True)


def report(part, path, us):
    """By object, by function, and for our own processes by what the time was for."""
    heading(f"{part}: {us:.0f} us of CPU for each certificate")
    own = rows(path)
    objects = {}
    for percent, _, dso in own:
        objects[dso] = objects.get(dso, 0.0) + percent
    line(("", 6), ("", 6), (", ".join(f"{dso} {value:.0f} %" for dso, value in sorted(objects.items(), key=lambda i: -i[1]) if value >= 1), -1))
    for percent, symbol, dso in own[:LINES]:
        line((f"{percent:.1f} %", 7), (f"{percent * us / 100:.1f}", 6), (symbol[:60], -60), (dso, -1))
    if part in OURS:
        print("  with all that they call:")
        whole = [r for r in rows(path, whole=True) if r[2] in OURS[part] and r[1] != "(no name)"]
        for percent, symbol, dso in whole[:LINES]:
            line((f"{percent:.1f} %", 7), (f"{percent * us / 100:.1f}", 6), (symbol[:60], -60), (dso, -1))


def profile(world, key, csr, seconds, place):
    said = world.load(key, csr, 1000, SUBMITTERS, GROUP)
    count = int(1000 / said["total_s"] * seconds)
    argv = [program("load"), world.main.database.dsn("service_one"), world.ca(key), "bench", world.csrs(csr), count,
            SUBMITTERS, GROUP, 0]
    cpu = measure.Cpu(world.roles(), world.cluster)
    with waiting(argv) as process:
        parts = {part: pids for part, pids in cpu.roles.items() if part in ("issuer", "signer")}
        for pid, part in cpu.postgres().items():
            parts.setdefault(part, []).append(pid)
        recorders = [Perf(part, pids, os.path.join(place, f"profile-{part}.data")) for part, pids in parts.items()]
        for recorder in recorders:
            recorder.begin()
        before = cpu.look()
        go(process)
        for _ in range(7):
            assert process.stdout.readline(), "load failed"
        spent = cpu.between(before, cpu.look())
        for recorder in recorders:
            recorder.end()
    for part in ("signer", "issuer", "postgres.issuer", "postgres.services", "postgres.other"):
        report(part, os.path.join(place, f"profile-{part}.data"), spent[part] / count)


def main():
    chosen = bench.options()
    bench.end_in_order()
    os.umask(0o022)
    key, csr = chosen_series(chosen.only)
    place = os.path.join(REPO, "var", "bench")
    os.makedirs(place, exist_ok=True)
    with bench.place(chosen.keep) as directory, World(directory) as world:
        profile(world, key, csr, 5 * chosen.seconds, place)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("profile: stopped")
