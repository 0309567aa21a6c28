"""Certificates per second, end to end, beside what the token alone can do and
beside peers; latency, queue, CRLs, memory, several issuers.

    make bench                              under five minutes
    make bench ONLY=issue.p256,latency      series whose names begin so
    make bench BENCH_SECONDS=5 BENCH_ROUNDS=5
    make bench BENCH_LARGE=1                10 M certificates, 10 M revocations: an hour, 40 GB in TMPDIR
    make bench ONLY=scale.1000000           a part of that

One run with a private PostgreSQL that waits for the disk, a private SoftHSM token
and the real daemon; all that is compared takes turns, so that both see the same
machine. Ratios travel between machines, figures do not. Token, database, services
and all else share the machine's cores.

Writes var/bench/latest.json: an object of dotted names to numbers. A name with
_min and _max beside it is a median; cpu_us is for each certificate.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time

BENCH = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [BENCH, os.path.join(BENCH, "..", "e2e")]

import costs  # noqa: E402
import crls  # noqa: E402
import issue  # noqa: E402
import machines  # noqa: E402
import measure  # noqa: E402
import peers  # noqa: E402
import pins  # noqa: E402
import scale  # noqa: E402
import targets  # noqa: E402
from harness.postgres import REPO  # noqa: E402
from results import Results, heading, line  # noqa: E402
from world import World  # noqa: E402

# The daemon runs in the first ones and rests in the last.
SERIES = [issue.raw, issue.issue, issue.shapes, issue.latency, peers.peers, crls.crl, scale.scale]
AT_REST = [costs.journal, pins.operation, machines.queue, machines.signers, machines.machines, machines.bloat]
KINDS = ["raw", "issue", "backlog", "shape", "latency", "peers", "crl", "scale", "journal", "operation", "queue", "signers",
         "machines", "bloat"]

TINY_COUNT = 12


class Bench:
    """What the series share: the world, the results, and how long to measure."""

    def __init__(self, world, results, only="", seconds=1.0, rounds=3, large=False, tiny=False):
        self.world, self.results = world, results
        self.only = [o for o in only.split(",") if o]
        self.seconds, self.rounds = (0.05, 1) if tiny else (seconds, rounds)
        self.raw_seconds = self.seconds / 2
        self.large, self.tiny = large, tiny
        self.most_entries = 500 if tiny else sys.maxsize
        self.hosts = {}  # of machines
        self._memory = {}

    def wants(self, name):
        """Series are named as in latest.json; "issue.p256" is a part of "issue.p256.rsa_csr"."""
        return not self.only or any(f"{name}.".startswith(f"{o}.") for o in self.only)

    def wants_large(self, name):
        """What takes long is measured with BENCH_LARGE=1, and when it is named."""
        return self.large or bool(self.only) and any(name.startswith(o) and o != name.partition(".")[0] for o in self.only)

    def count(self, wanted):
        """How many certificates a round has."""
        return TINY_COUNT if self.tiny else max(int(wanted), 10)

    def saw_memory(self, role, pid):
        now, most = measure.memory_mib(pid)
        self._memory[role] = tuple(map(max, zip((now, most), self._memory.get(role, (0, 0)))))

    def look_at_memory(self):
        for role, pids in self.world.roles().items():
            for pid in pids:
                self.saw_memory(role, pid)
        postmaster = self.world.cluster.process.pid
        self.results.put("memory.postgres.pss_mib", measure.proportional_mib([postmaster] + measure.children(postmaster)))

    def show_memory(self):
        heading("Resident memory of a process, MiB (at the end of its rounds, at most)")
        for role, (now, most) in self._memory.items():
            self.results.put(f"memory.{role}.rss_mib", now)
            self.results.put(f"memory.{role}.peak_mib", most)
            line((role, -12), (f"{now:.1f}", 7), (f"{most:.1f}", 7))
        line(("postgres", -12), (f"{self.results['memory.postgres.pss_mib']:.1f}", 7), ("all its processes, shared pages once", -1))

    def timed(self, series):
        start = time.monotonic()
        series(self)
        self.results.put(f"run.{series.__name__}_s", time.monotonic() - start)

    def run(self):
        for series in SERIES:
            self.timed(series)
        self.look_at_memory()
        for series in AT_REST:
            self.timed(series)
        self.show_memory()
        targets.judge(self.results)


def options():
    environment = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="series whose names begin so, separated by commas")
    parser.add_argument("--seconds", type=float, default=float(environment("BENCH_SECONDS", "1")), help="of a round, about")
    parser.add_argument("--rounds", type=int, default=int(environment("BENCH_ROUNDS", "3")))
    parser.add_argument("--large", action="store_true", default=environment("BENCH_LARGE") == "1")
    parser.add_argument("--tiny", action="store_true", help="a dozen certificates a round: does it work at all?")
    parser.add_argument("--out", default=os.path.join(REPO, "var", "bench", "latest.json"))
    parser.add_argument("--keep", action="store_true", help="leave the directory with all logs")
    chosen = parser.parse_args()
    if chosen.seconds <= 0 or chosen.rounds < 1:
        parser.error("seconds and rounds must be positive")
    return chosen


@contextlib.contextmanager
def place(keep=False):
    """A directory that PostgreSQL's user can reach, short enough for a socket's path."""
    directory = tempfile.mkdtemp(prefix="chancery-bench-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chmod(directory, 0o755)
    try:
        yield directory
    finally:
        if keep:
            print(f"everything is in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


def end_in_order():
    """SIGTERM ends everything as Ctrl-C does."""
    def stop(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)


def main():
    chosen = options()
    unknown = [o for o in chosen.only.split(",") if o and o.partition(".")[0] not in KINDS]
    if unknown:
        sys.exit(f"bench: no series begins with {', '.join(unknown)}; there are {', '.join(KINDS)}")
    end_in_order()
    os.umask(0o022)
    results = Results()
    start = time.monotonic()
    os.makedirs(os.path.dirname(os.path.abspath(chosen.out)), exist_ok=True)
    results.put("run.cores", os.cpu_count())
    results.put("run.load_before", os.getloadavg()[0])
    with place(chosen.keep) as directory, World(directory, csr_count=20 if chosen.tiny else 1000) as world:
        results.put("run.setup_s", time.monotonic() - start)
        Bench(world, results, chosen.only, chosen.seconds, chosen.rounds, chosen.large, chosen.tiny).run()
    results.put("run.took_s", time.monotonic() - start)
    results.save(chosen.out)
    print(f"\n{len(results)} numbers in {os.path.relpath(chosen.out)}, after {results['run.took_s']:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("bench: stopped")
