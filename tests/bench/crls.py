"""Long CRLs: from rows of the database to DER, beside OpenSSL's X509_CRL API on the
same rows; and the whole way of the issuer, with spool, signer, digest and gates."""

import os
import resource
import subprocess
import time

import measure
from harness.process import wait_until
from results import heading, line
from world import program

KEY = "p256"
SIZES = [10_000, 100_000, 1_000_000]
LARGE = [10_000_000]
OPENSSL_MAX = 1_000_000  # it takes 400 bytes of memory for each entry
DELTA = 1000
CHUNK = 500_000

REVOKE = """
WITH new AS MATERIALIZED (
    SELECT n AS seq, '\\x01'::bytea || substr(int8send(1795348800 + n / 100), 3) || substr(sha256(int8send(n)), 1, 13) AS serial,
        CASE n %% 4 WHEN 0 THEN 0 WHEN 1 THEN 1 WHEN 2 THEN 4 ELSE 5 END AS reason,
        date_trunc('second', now()) - interval '1 day' AS revoked_at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
), event AS (
    INSERT INTO chancery_store.revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at)
    SELECT %(ca)s, seq, %(scope)s, serial, 'revoke', reason, revoked_at FROM new
)
INSERT INTO chancery_store.revocation (scope_id, serial, revoked_at, not_after, seq, reason)
SELECT %(scope)s, serial, revoked_at, now() + interval '1 year', seq, reason FROM new ORDER BY serial
"""


class List:
    """The revocations of one CA, which become more and more."""

    def __init__(self, bench):
        self.bench = bench
        self.world = bench.world
        self.name = self.world.ca(KEY)
        self.database = self.world.main.database
        self.scope = self.world.ids(KEY)[2]
        self.ca = self.database.one("SELECT id FROM chancery_store.ca WHERE name = %s", (self.name,))

    def revoke(self, upto):
        """Until the CA has so many; as rows, without the certificates."""
        last = self.database.one("SELECT event_seq FROM chancery_store.ca WHERE id = %s", (self.ca,))
        while last < upto:
            first, last = last + 1, min(last + CHUNK, upto)
            self.database.execute(REVOKE, {"first": first, "last": last, "ca": self.ca, "scope": self.scope})
            self.database.execute("UPDATE chancery_store.ca SET event_seq = %s WHERE id = %s", (last, self.ca))
        # Autovacuum would do it some minutes later.
        self.database.execute("VACUUM ANALYZE chancery_store.revocation, chancery_store.revocation_event")

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

    def order(self, delta=False):
        """Seconds from the issuer's beginning until the CRL is issued."""
        before = self.database.one("SELECT coalesce(max(id), 0) FROM chancery_store.crl")
        # CRLs of one second would have one number; the order waits for the next.
        self.world.main.issue_crl(self.name, delta)
        return wait_until(lambda: self.database.execute(
            "SELECT extract(epoch FROM issued_at - created_at)::float8 FROM chancery_store.crl WHERE scope_id = %s AND id > %s "
            "AND delta = %s AND state = 'issued' ORDER BY id LIMIT 1", (self.scope, before, delta)),
            timeout=600, what="the CRL")[0][0]


def show(bench, name, text, ours, theirs, way):
    results = bench.results
    results.put(f"{name}.s", min(o[2] for o in ours))
    results.put(f"{name}.peak_mib", max(o[3] for o in ours))
    results.put(f"{name}.cpu_s", min(o[4] for o in ours))
    results.put(f"{name}.issuer_s", way)
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
    line(*columns, (f"{way * 1e3:.0f} ms", 9))


def crl(bench):
    sizes = [bench.most_entries] if bench.tiny else SIZES + [s for s in LARGE if bench.wants_large(f"crl.{s}")]
    sizes = [s for s in sizes if bench.wants(f"crl.{s}")]
    if not sizes:
        return
    bench.world.wake()
    made = List(bench)
    heading("CRLs: encoder and database alone, OpenSSL's X509_CRL on the same rows, and the issuer's whole way")
    line(("entries", -22), ("here", 9), ("resident", 8), ("OpenSSL", 9), ("resident", 8), ("OpenSSL / here", 18), ("CPU", 14), ("issuer", 9))
    for size in sizes:
        made.revoke(size)
        rounds = bench.rounds if size <= SIZES[1] else 2
        ours, theirs = [], []
        for n in range(rounds):
            ours.append(made.make("crl_stream"))
            if size <= OPENSSL_MAX and (n == 0 or size < SIZES[-1]):
                theirs.append(made.make("crl_openssl"))
        way = made.order()
        show(bench, f"crl.{size}", f"{size:,}", ours, theirs, way)
        made.revoke(size + DELTA)
        delta = [(made.make("crl_stream", size), made.make("crl_openssl", size)) for _ in range(rounds)]
        time.sleep(1)  # a CRL of the same second as the last one is not begun
        show(bench, f"delta.{size}", f"  delta of {DELTA:,}", [d[0] for d in delta], [d[1] for d in delta], made.order(True))
    for role, pids in bench.world.roles().items():
        for pid in pids:
            bench.saw_memory(role, pid)
