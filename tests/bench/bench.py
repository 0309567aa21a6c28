"""Certificates per second, end to end, beside what the token alone can do.

    make bench                      # BENCH_ARGS="--quick --only issue.p256"

One run with a private PostgreSQL that waits for the disk, a private SoftHSM
token and the real daemon. Rounds of raw C_Sign (csign) and of Chancery take
turns, so that both see the same machine; what is compared is each round of
Chancery with the raw rounds before and after it. Ratios travel between machines,
figures do not.

A round of Chancery: services submit CSRs that were made before and read their
certificates (load); it lasts from the first submission until the last
certificate was read.

    issue    16 services, each request in a transaction of its own
    bulk     8 services, 16 requests in each transaction
    backlog  one transaction submits all; it lasts from its commit

Token and everything else, services and database too, share the machine's cores.
"most" is the ratio if these processes had all cores and none ever waited: what
the CPU time for each certificate allows.

Writes var/bench/latest.json: an object of dotted names to numbers.
"""

import argparse
import contextlib
import glob
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile

BENCH = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [BENCH, os.path.join(BENCH, "..", "e2e")]

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402

import measure  # noqa: E402
from harness.authority import Authority  # noqa: E402
from harness.chanceryd import Chanceryd, build_dir  # noqa: E402
from harness.postgres import REPO, Database, Postgres  # noqa: E402
from harness.softhsm import Token  # noqa: E402

THREADS = 2
RAW_S = 1.0  # each raw round
ROUND_S = 1.5  # each round of Chancery, about
CSRS = 2000
TEMPLATE = """\
name: bench
approval: automatic
validity: 90d
key:
  types: [rsa, ec]
  rsa_min_bits: 2048
  curves: [p256]
subject:
  from: request
  required: [CN]
  allowed: [CN]
san:
  allowed: [dns]
  required: true
  max: 4
key_usage: [digitalSignature]
extended_key_usage: [serverAuth]
exceed_issuer: cut
"""
CAS = [("rsa2048", "rsa"), ("p256", "ec")]
CSR_KINDS = ["rsa_csr", "p256_csr"]


class Results(dict):
    """What goes into latest.json."""

    def put(self, name, value):
        self[name] = round(float(value), 4)


def make_csrs(path, kind):
    """CSRS requests of a few keys, each with names of its own; length and DER."""
    if kind == "rsa_csr":
        keys = [rsa.generate_private_key(65537, 2048) for _ in range(4)]
    else:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
    with open(path, "wb") as f:
        for n in range(CSRS):
            name = f"host{n}.bench.example"
            builder = x509.CertificateSigningRequestBuilder().subject_name(
                x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
            ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            der = builder.sign(keys[n % len(keys)], hashes.SHA256()).public_bytes(Encoding.DER)
            f.write(struct.pack(">I", len(der)) + der)


class Bench:
    """A running authority with a CA for each key, and what is measured on it."""

    def __init__(self, directory, results):
        self.directory = directory
        self.results = results
        self.cluster = Postgres(os.path.join(directory, "pg"), fsync=True)
        self.authority = None
        self.token = None

    def start(self):
        self.cluster.create()
        with open(os.path.join(self.cluster.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
            f.write("shared_buffers = 128MB\n")  # the server's own default
        self.cluster.start()
        database = self.cluster.database()
        self.cluster.bootstrap(database.name)
        self.cluster.add_services()
        self.token = Token(os.path.join(self.directory, "t")).create()
        Chanceryd(os.path.join(self.directory, "m"), Database(self.cluster, database.name),
                  {"main": self.token}).migrate()
        os.makedirs(os.path.join(self.directory, "i"))
        self.authority = Authority(os.path.join(self.directory, "i"), database, self.token)
        self.authority.create(threads=THREADS, settings=lambda d: d.config.update(log_level="info"))
        template = os.path.join(self.directory, "bench.yaml")
        with open(template, "w", encoding="ascii") as f:
            f.write(TEMPLATE)
        self.authority.cli("template", "apply", template)
        for key, _ in CAS:
            self.authority.create_issuing(f"bench-{key}", key, templates=["bench"])
        for kind in CSR_KINDS:
            make_csrs(self.csrs(kind), kind)

    def stop(self):
        try:
            if self.authority:
                self.authority.close()
        finally:
            self.cluster.stop()

    def csrs(self, kind):
        return os.path.join(self.directory, kind)

    # ------------------------------------------------------------ one measure

    def raw(self, kind, seconds=RAW_S):
        """The token alone: signatures per second, and microseconds of CPU for each."""
        output = subprocess.run(
            [os.path.join(build_dir(), "bench", "csign"), self.token.module, self.token.label, self.token.pin, kind,
             str(THREADS), str(seconds)],
            env=dict(os.environ, **self.token.environment), check=True, stdout=subprocess.PIPE, text=True)
        return tuple(float(v) for v in output.stdout.split())

    def load(self, key, csr, count, submitters, group=1, rate=0):
        """One round of services: what load says, and CPU time by part."""
        argv = [os.path.join(build_dir(), "bench", "load"), self.authority.database.dsn("service_one"),
                f"bench-{key}", "bench", self.csrs(csr), str(count), str(submitters), str(group), str(rate)]
        cpu = measure.Cpu(self.authority.daemon, self.cluster)
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            cpu.roles["load"] = [process.pid]
            before = cpu.look()
            process.stdin.write("\n")
            process.stdin.flush()
            said = {}
            for _ in range(7):
                name, _, value = process.stdout.readline().partition(" ")
                assert value, "load failed"
                said[name] = float(value)
            said["cpu"] = cpu.between(before, cpu.look())
            process.stdin.close()
        return said

    # --------------------------------------------------------------- a series

    def series(self, name, raw_kind, rounds, run):
        """Rounds of run(count) between rounds of raw; run answers with what load
        said and the seconds that count."""
        rates, ratios, spent, issued = [], [], {}, 0
        raws = [self.raw(raw_kind)]
        count = 300
        rate = count / run(count)[1]
        for _ in range(rounds):
            count = max(int(rate * ROUND_S), 100)
            said, seconds = run(count)
            raws.append(self.raw(raw_kind))
            rate = count / seconds
            rates.append(rate)
            ratios.append(rate / ((raws[-1][0] + raws[-2][0]) / 2))
            issued += count
            for part, value in said["cpu"].items():
                spent[part] = spent.get(part, 0.0) + value
        put = self.results.put
        put(f"{name}.per_s", statistics.median(rates))
        put(f"{name}.raw_per_s", statistics.median(r[0] for r in raws))
        put(f"{name}.ratio_to_raw", statistics.median(ratios))
        put(f"{name}.ratio_min", min(ratios))
        put(f"{name}.ratio_max", max(ratios))
        for part, value in spent.items():
            put(f"{name}.cpu_us.{part}", value / issued)
        put(f"{name}.cpu_us.raw", statistics.median(r[1] for r in raws))
        most = os.cpu_count() * 1e6 / (sum(spent.values()) / issued)
        put(f"{name}.ratio_most", most / statistics.median(r[0] for r in raws))
        self.show(name)

    def issue(self, key, raw_kind, csr, rounds):
        def run(count):
            said = self.load(key, csr, count, submitters=16)
            return said, said["total_s"]

        self.series(f"issue.{key}.{csr}", raw_kind, rounds, run)

    def bulk(self, key, raw_kind, csr, rounds):
        def run(count):
            said = self.load(key, csr, count, submitters=8, group=16)
            return said, said["total_s"]

        self.series(f"bulk.{key}.{csr}", raw_kind, rounds, run)

    def backlog(self, key, raw_kind, csr, rounds):
        def run(count):
            said = self.load(key, csr, count, submitters=1, group=count)
            return said, said["total_s"] - said["submit_s"]

        self.series(f"backlog.{key}.{csr}", raw_kind, rounds, run)

    def latency(self, key, csr, rate=20, count=200):
        said = self.load(key, csr, count, submitters=8, rate=rate)
        for name in ("p50_ms", "p90_ms", "p99_ms", "max_ms"):
            self.results.put(f"latency.{key}.{csr}.{name}", said[name])
        print(f"latency {key:8} {csr:9} at {rate}/s: p50 {said['p50_ms']:.1f} ms, p99 {said['p99_ms']:.1f} ms, "
              f"max {said['max_ms']:.1f} ms", flush=True)

    def memory(self):
        parts = {"supervisor": [self.authority.daemon.process.pid]}
        for role in ("front", "issuer", "signer"):
            parts[role] = self.authority.daemon.pids(role)
        print("\nresident memory, MiB (now, at most)")
        for part, pids in parts.items():
            now, most = (sum(v) for v in zip(*(measure.memory_mib(p) for p in pids)))
            self.results.put(f"memory.{part}.rss_mib", now)
            self.results.put(f"memory.{part}.peak_mib", most)
            print(f"  {part:12} {now:7.1f} {most:7.1f}")
        pss = measure.proportional_mib([self.cluster.process.pid] + measure.children(self.cluster.process.pid))
        self.results.put("memory.postgres.pss_mib", pss)
        print(f"  {'postgres':12} {pss:7.1f}         (shared pages counted once)")

    # ------------------------------------------------------------------ print

    @staticmethod
    def head():
        print(f"{'':24} {'raw/s':>7} {'CPU us':>6} {'Chancery/s':>11} {'ratio':>6} {'spread':>13} {'most':>5}   "
              "CPU us for each certificate")

    def show(self, name):
        r = self.results
        prefix = f"{name}.cpu_us."
        cpu = {k[len(prefix):]: v for k, v in r.items() if k.startswith(prefix) and k != prefix + "raw"}
        detail = ", ".join(f"{part} {value:.0f}" for part, value in sorted(cpu.items(), key=lambda i: -i[1])
                           if value >= 1)
        spread = f"({r[name + '.ratio_min']:.2f}-{r[name + '.ratio_max']:.2f})"
        print(f"{name:24} {r[name + '.raw_per_s']:7.0f} {r[prefix + 'raw']:6.0f} {r[name + '.per_s']:11.0f} "
              f"{r[name + '.ratio_to_raw']:6.2f} {spread:>13} {r[name + '.ratio_most']:5.2f}   {detail}", flush=True)


def lines_per_folder(results):
    folders = ["daemon/core", "daemon/x509", "daemon/issuer", "daemon/publish", "daemon/front", "daemon/supervisor",
               "daemon/cli", "pkcs11", "db", "migrations", "tests/unit", "tests/e2e", "tests/fuzz", "scripts"]
    print("\nlines")
    for folder in folders:
        count = 0
        for ending in ("c", "h", "sql", "py", "sh"):
            for path in glob.glob(os.path.join(REPO, folder, "**", "*." + ending), recursive=True):
                with open(path, encoding="utf-8", errors="replace") as f:
                    count += sum(1 for _ in f)
        results.put(f"lines.{folder}", count)
        print(f"  {folder:18} {count:6}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, no list of lines")
    parser.add_argument("--only", default="", help="only series whose name contains this")
    parser.add_argument("--keep", action="store_true", help="leave the directory with all logs")
    options = parser.parse_args()
    rounds = 1 if options.quick else 3
    results = Results()
    place = os.path.join(REPO, "var", "bench")
    os.makedirs(place, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="chancery-bench-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chmod(directory, 0o755)
    bench = Bench(directory, results)
    with contextlib.ExitStack() as stack:
        if options.keep:
            print(f"everything stays in {directory}")
        else:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        stack.callback(bench.stop)
        bench.start()
        results.put("run.cores", os.cpu_count())
        results.put("run.load_before", os.getloadavg()[0])
        bench.head()
        for key, raw_kind in CAS:
            for csr in CSR_KINDS:
                for series in (bench.issue, bench.bulk, bench.backlog):
                    if options.only in f"{series.__name__}.{key}.{csr}":
                        series(key, raw_kind, csr, rounds)
        print()
        for key, _ in CAS:
            if options.only in f"latency.{key}":
                bench.latency(key, "p256_csr")
        bench.memory()
        if not options.quick:
            lines_per_folder(results)
    with open(os.path.join(place, "latest.json"), "w", encoding="ascii") as f:
        json.dump(results, f, indent=1, sort_keys=True)
        f.write("\n")


if __name__ == "__main__":
    main()
