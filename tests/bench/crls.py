"""Long CRLs: from rows of the database to DER, beside OpenSSL's X509_CRL API on the
same rows; and the whole way of the issuer, with spool, signer, digest and gates."""

import contextlib
import http.client
import os
import re
import resource
import subprocess
import threading
import time

from cryptography.hazmat.primitives.serialization import Encoding

import measure
from harness import clients
from harness.process import PATIENCE_S, wait_until
from harness.slapd import Slapd
from results import heading, line
from world import SUBMITTER, program

KEY, NAME = "p256", "bench-crl"
ATTRIBUTE = "deltaRevocationList"
SIZES = [10_000, 100_000, 1_000_000]
LARGE = [10_000_000]
DELTA = 1000
CHUNK = 500_000
CERTIFICATES = 16  # that are revoked one by one
REVOCATIONS = 5
WAY = ["issuer_s", "way_cpu_s", "spool_s", "sign_s", "gate_s", "gate_per_s", "published_s", *(f"{role}_peak_mib" for role in (
    "issuer", "signer", "front", "courier"))]

REVOKE = """
WITH new AS MATERIALIZED (
    SELECT n AS seq, '\\x01'::bytea || substr(int8send(1795348800 + n / 100), 3) || substr(sha256(int8send(n)), 1, 13) AS serial,
        CASE n %% 4 WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 4 ELSE 5 END AS reason,
        date_trunc('second', now()) - interval '1 day' AS revoked_at, now() + interval '1 year' AS not_after
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
), event AS (
    INSERT INTO chancery_store.revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after)
    SELECT %(ca)s, seq, %(scope)s, serial, 'revoke', reason, revoked_at, not_after FROM new
)
INSERT INTO chancery_store.revocation (scope_id, serial, revoked_at, not_after, seq, reason)
SELECT %(scope)s, serial, revoked_at, not_after, seq, reason FROM new ORDER BY serial
"""


class List:
    """A CA, the revocations of which become more and more. Its deltas stand at the
    front and in a directory, its complete CRLs also in a file."""

    def __init__(self, bench, directory):
        self.bench, self.slapd = bench, directory
        self.world = bench.world
        self.main = self.world.main
        self.database = self.main.database
        self.name = NAME
        self.dn = f"cn={NAME},{directory.suffix}"
        self.main.create_issuing(NAME, KEY, targets=self._targets(), templates=["bench"], crl={
            "period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h", "on_revocation": "0s"})
        self.scope, self.ca = self.database.execute(
            "SELECT s.id, a.id FROM chancery_store.ca a JOIN chancery_store.crl_scope s ON s.ca_id = a.id WHERE a.name = %s",
            (NAME,))[0]
        self.spare = self._certificates(CERTIFICATES)

    def _targets(self):
        web, place = self.main.daemon.crl_url(NAME), f"{self.slapd.url}/{self.dn}?{ATTRIBUTE};binary"
        os.makedirs(self.world.path("published"))
        clients.write(self.main.daemon.credentials_dir, "directory", self.slapd.password)
        os.chmod(os.path.join(self.main.daemon.credentials_dir, "directory"), 0o600)
        return [{"name": "file", "artifact": "crl", "kind": "file", "write": self.world.path("published", "list.crl"), "read": web},
                {"name": "directory", "artifact": "delta-crl", "kind": "ldap", "write": place, "read": place,
                 "bind_dn": self.slapd.root_dn, "credential": "directory", "tls": "none"}]

    def _certificates(self, count):
        """Serials of some that can be revoked one by one."""
        ders = [c.public_bytes(Encoding.DER) for c in self.world.csr_objects("p256_csr")[:count]]
        self.database.execute("SELECT chancery.submit_requests(%s, 'bench', %s::bytea[])", (NAME, ders), SUBMITTER)
        return wait_until(lambda: (lambda rows: [r[0] for r in rows] if len(rows) == count else None)(self.database.execute(
            "SELECT serial FROM chancery_store.certificate WHERE ca_id = %s", (self.ca,))), what="certificates to revoke")

    def revoke(self, upto):
        """Until the CA has so many; as rows, without the certificates."""
        last = self.database.one("SELECT event_seq FROM chancery_store.ca WHERE id = %s", (self.ca,))
        while last < upto:
            first, last = last + 1, min(last + CHUNK, upto)
            self.database.execute(REVOKE, {"first": first, "last": last, "ca": self.ca, "scope": self.scope})
            self.database.execute("UPDATE chancery_store.ca SET event_seq = %s WHERE id = %s", (last, self.ca))
        # Autovacuum and the checkpointer would do it some minutes later.
        connection = self.database.connect()
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute("VACUUM ANALYZE chancery_store.revocation, chancery_store.revocation_event")
            cursor.execute("CHECKPOINT")
        connection.close()
        return last

    def make(self, tool, after=-1):
        """(entries, octets, seconds, MiB resident, seconds of CPU with the database's)"""
        out = self.world.path("crl.der")
        postmaster = self.world.cluster.process.pid
        before = self._ended_s(postmaster)
        said = subprocess.run([program(tool), self.database.dsn("chancery_issuer"), str(self.scope), str(after), out],
                              check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        os.unlink(out)
        time.sleep(0.1)  # until the server has seen its session's end
        return int(said[0]), int(said[1]), float(said[2]), int(said[3]) / 1024, self._ended_s(postmaster) - before

    @staticmethod
    def _ended_s(postmaster):
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime + measure.ended_children_s(postmaster)

    # ------------------------------------------------------ by the issuer itself

    def order(self, delta=False):
        """{what: seconds, or MiB} of one that an operator orders: from the issuer's
        beginning until it is issued, and until it was read back where it is published."""
        before = self.database.one("SELECT coalesce(max(id), 0) FROM chancery_store.crl")
        roles = {role: pids[0] for role, pids in self.world.roles().items()}
        for pid in roles.values():
            measure.forget_peak(pid)
        cpu = measure.Cpu(self.world.roles(), self.world.cluster)
        spent = cpu.look()
        said = self.main.cli.result("crl", "issue", self.name, *(["--delta"] if delta else []))
        assert said.returncode == 0 or "still waits" in said.stderr, said.stderr
        artifact, issued = wait_until(lambda: self.database.execute(
            "SELECT artifact_id, extract(epoch FROM issued_at - created_at)::float8 FROM chancery_store.crl "
            "WHERE scope_id = %s AND id > %s AND delta = %s AND state = 'issued' ORDER BY id LIMIT 1",
            (self.scope, before, delta)), timeout=1800, what="the CRL")[0]
        spent = cpu.between(spent, cpu.look())
        courier = [0.0]

        def published():
            for pid in measure.children(roles["issuer"]):
                with contextlib.suppress(OSError, KeyError):
                    courier.append(measure.memory_mib(pid)[1])
            return self.database.execute(
                "SELECT extract(epoch FROM p.done_at - c.created_at)::float8 FROM chancery_store.publication p "
                "JOIN chancery_store.crl c ON c.artifact_id = p.artifact_id WHERE p.artifact_id = %s AND p.state = 'done'", (artifact,))

        said = {"issuer_s": issued, "published_s": wait_until(published, timeout=1800, interval=0.02, what="its publication")[0][0]}
        said.update({f"{role}_peak_mib": measure.memory_mib(pid)[1] for role, pid in roles.items() if role != "supervisor"})
        said["courier_peak_mib"] = max(courier)
        for role, pid in roles.items():
            self.bench.saw_memory(role, pid)
        said.update(self._stages("delta CRL" if delta else "CRL"))
        said["way_cpu_s"] = sum(spent.values()) / 1e6
        return said

    def middle_order(self, rounds):
        """That of them which took neither least nor longest."""
        said = []
        for _ in range(rounds):
            said.append(self.order())
            time.sleep(1.1)  # a CRL of the same second as the last one is not begun
        return sorted(said, key=lambda s: s["issuer_s"])[rounds // 2]

    def _stages(self, kind):
        """What the issuer's log says of the last one."""
        with open(self.main.daemon.process.log_path, encoding="utf-8", errors="replace") as f:
            found = re.findall(rf"{NAME}\b.* issued {kind} number \S+ (\d+) entries, spooled in (\S+) s, signed in (\S+) s, "
                               r"checked in (\S+) s", f.read())
        assert found, "the issuer's log says nothing of its CRL"
        entries, *seconds = map(float, found[-1])
        said = dict(zip(("spool_s", "sign_s", "gate_s"), seconds))
        said["gate_per_s"] = entries / max(said["gate_s"], 1e-3)
        return said

    def until_readable(self):
        """{place: milliseconds} from the revocation's commit, on behalf of an operator,
        until the delta with it is read at the place; "order": from the command's start."""
        serial = self.spare.pop()
        readers = {"http": HttpReader(self), "ldap": LdapReader(self)}
        threads = [threading.Thread(target=r.watch, args=(serial,)) for r in readers.values()]
        for t in threads:
            t.start()
        started = time.time()
        self.main.cli("cert", "revoke", serial.hex(), "--reason", "superseded")
        for t in threads:
            t.join()
        recorded = self.database.one("SELECT extract(epoch FROM recorded_at)::float8 FROM chancery_store.revocation_event "
                                     "WHERE ca_id = %s AND serial = %s", (self.ca, serial))
        said = {place: (r.seen - recorded) * 1e3 for place, r in readers.items()}
        said["order"] = (recorded - started) * 1e3
        return said


class Reader:
    """Reads the delta again and again until it has a serial."""

    def watch(self, serial):
        self.seen = float("inf")
        end = time.time() + PATIENCE_S
        while time.time() < end:
            if serial in self.read():
                self.seen = time.time()
                break
            time.sleep(0.002)
        self.close()


class HttpReader(Reader):
    def __init__(self, made):
        self.connection = http.client.HTTPConnection("127.0.0.1", made.main.daemon.http_port, timeout=60)
        self.path = f"/crl/{NAME}-delta.crl"

    def read(self):
        self.connection.request("GET", self.path)
        return self.connection.getresponse().read()

    def close(self):
        self.connection.close()


class LdapReader(Reader):
    def __init__(self, made):
        self.connection, self.dn = made.slapd.connect(), made.dn

    def read(self):
        self.connection.search(self.dn, "(objectClass=*)", "BASE", attributes=[f"{ATTRIBUTE};binary"])
        return b"".join(v for r in self.connection.response or [] for values in r.get("raw_attributes", {}).values() for v in values)

    def close(self):
        self.connection.unbind()


def show(bench, name, text, ours, theirs, way):
    results = bench.results
    for what, value in way.items():
        results.put(f"{name}.{what}", value)
    results.put(f"{name}.s", min(o[2] for o in ours))
    results.put(f"{name}.peak_mib", max(o[3] for o in ours))
    results.put(f"{name}.cpu_s", min(o[4] for o in ours))
    results.put(f"{name}.octets", ours[0][1])
    columns = [(text, -22), (f"{results[name + '.s'] * 1e3:.0f} ms", 9), (f"{results[name + '.peak_mib']:.0f} MiB", 8)]
    if theirs:
        assert theirs[0][0] == ours[0][0], "the two lists differ"
        results.put(f"{name}.openssl_s", min(t[2] for t in theirs))
        results.put(f"{name}.openssl_peak_mib", max(t[3] for t in theirs))
        results.put(f"{name}.openssl_cpu_s", min(t[4] for t in theirs))
        results.spread(f"{name}.openssl_by_ours", [t[2] / o[2] for o, t in zip(ours, theirs)])
        columns += [(f"{results[name + '.openssl_s'] * 1e3:.0f} ms", 9), (f"{results[name + '.openssl_peak_mib']:.0f} MiB", 8),
                    (results.range(f"{name}.openssl_by_ours", 1), 18),
                    (f"{results[name + '.cpu_s'] * 1e3:.0f}/{results[name + '.openssl_cpu_s'] * 1e3:.0f} ms", 14)]
    else:
        columns += [("", 9), ("", 8), ("", 18), (f"{results[name + '.cpu_s'] * 1e3:.0f} ms", 14)]
    line(*columns, (f"{way['issuer_s'] * 1e3:.0f} ms", 9))


def show_way(bench, names):
    heading("CRLs, the issuer's whole way: seconds of its stages, until read back where it is published, and peak memory in MiB")
    line(("", -16), ("rows", 8), ("signature", 9), ("gate", 8), ("entries/s", 9), ("CPU", 8), ("read back", 9), ("issuer", 7), ("signer", 7),
         ("front", 7), ("courier", 7))
    for name in names:
        of = {what: bench.results[f"{name}.{what}"] for what in WAY}
        line((name, -16), (f"{of['spool_s']:.2f}", 8), (f"{of['sign_s']:.2f}", 9), (f"{of['gate_s']:.2f}", 8),
             (f"{of['gate_per_s']:.0f}", 9), (f"{of['way_cpu_s']:.2f}", 8), (f"{of['published_s']:.2f}", 9),
             *((f"{of[f'{role}_peak_mib']:.1f}", 7) for role in ("issuer", "signer", "front", "courier")))


def show_readable(bench, name, made):
    """Revocations one after the other, each with its delta."""
    rounds = []
    for _ in range(1 if bench.tiny else REVOCATIONS):
        time.sleep(1.1)  # a CRL of the same second as the last one is not begun
        rounds.append(made.until_readable())
    for what in rounds[0]:
        bench.results.spread(f"{name}.{what}_ms", [r[what] for r in rounds])
    line((name, -22), *((bench.results.range(f"{name}.{what}_ms", 0), 18) for what in ("order", "http", "ldap")))


def crl(bench):
    sizes = [bench.most_entries] if bench.tiny else SIZES + [s for s in LARGE if bench.wants_large(f"crl.{s}")]
    sizes = [s for s in sizes if bench.wants(f"crl.{s}")]
    if not sizes:
        return
    bench.world.wake()
    os.makedirs(bench.world.path("slapd"))
    directory = Slapd(bench.world.path("slapd")).create()
    try:
        directory.start()
        measure_sizes(bench, sizes, List(bench, directory))
    finally:
        directory.process.kill()


def measure_sizes(bench, sizes, made):
    heading("CRLs: encoder and database alone, OpenSSL's X509_CRL on the same rows, and the issuer's whole way")
    line(("entries", -22), ("here", 9), ("resident", 8), ("OpenSSL", 9), ("resident", 8), ("OpenSSL / here", 18), ("CPU", 14), ("issuer", 9))
    for size in sizes:
        made.revoke(size)
        rounds = bench.rounds if size <= SIZES[-1] else 1
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(made.make("crl_stream"))
            theirs.append(made.make("crl_openssl"))
        show(bench, f"crl.{size}", f"{size:,}", ours, theirs, made.middle_order(rounds))
        last = made.revoke(size + DELTA)
        delta = [(made.make("crl_stream", last - DELTA), made.make("crl_openssl", last - DELTA)) for _ in range(rounds)]
        time.sleep(1)  # a CRL of the same second as the last one is not begun
        show(bench, f"delta.{size}", f"  delta of {DELTA:,}", [d[0] for d in delta], [d[1] for d in delta], made.order(True))
    show_way(bench, [f"{kind}.{size}" for kind in ("crl", "delta") for size in sizes])
    heading(f"Revoked, until a delta behind {sizes[-1]:,} entries with it is read, ms (order: the command line's, until it is recorded)")
    line(("", -22), ("order", 18), ("HTTP", 18), ("LDAP", 18))
    show_readable(bench, "readable", made)
