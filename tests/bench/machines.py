"""Several issuers on one database, and the queue without any.

The daemon rests meanwhile. Requests are submitted first, all in one transaction,
by the database itself; what is measured begins with its commit.

    queue     the calls that the issuer makes, nothing signed in between
    bloat     the same with a million requests: how large the queue's tables become
    machines  1, 2 and 4 issuers, each with a signer of its own, on a token that
              answers as late as a network HSM; throughput should be sessions /
              latency until something else is full
    signers   1 and 2 of them on the token as it is
"""

import copy
import os
import subprocess
import time

import measure
from harness.lone_issuer import LoneIssuer
from harness.chanceryd import build_dir
from harness.process import wait_until
from results import heading, line
from world import SIGNER_IDS, SUBMITTER, THREADS, program

KEY, CSR = "p256", "rsa_csr"
SESSIONS = 30
LATENCIES_MS = [1, 5, 20]
ISSUERS = [1, 2, 4]
BATCHES = [1, 16, 64, 256]
MILLION, BACKLOG = 1_000_000, 20_000
# Requests that a round takes beyond those that are measured: until all sessions
# have work, and while they run out of it.
EDGE = 256


def slowed(token, latency_ms):
    """The same token behind tests/faults/shim.c."""
    slow = copy.copy(token)
    slow.module = os.path.join(build_dir(), "faults", "shim.so")
    slow.environment = dict(token.environment, SHIM_MODULE=token.module, SHIM_SIGN_MS=str(latency_ms))
    slow.writable = [token.directory]  # where SoftHSM, behind it, has its tokens
    return slow


class Issuers:
    """Some issuers with their signers, each like another host; open with `with`. A
    host keeps its journal from one time to the next."""

    def __init__(self, bench, token, threads):
        """threads: of each."""
        self.bench = bench
        self.all = []
        for signer_id, n in zip(SIGNER_IDS[1:], threads, strict=False):
            if signer_id not in bench.hosts:
                bench.hosts[signer_id] = LoneIssuer(bench.world.path(f"host{signer_id}"), bench.world.main, signer_id)
            host = bench.hosts[signer_id]
            host.settings.config["log_level"] = "info"
            host.settings.config["tokens"][0].update(
                module=token.module, environment=token.environment, writable=token.writable, threads=n)
            host.settings.write_config()
            host.signer.env.update(token.environment)
            self.all.append(host)

    def __enter__(self):
        for host in self.all:
            host.start()
            host.signer.wait_ready()  # one after the other: SoftHSM's logins disturb each other
        return self

    def __exit__(self, failure, *ignored):
        for host in self.all:
            if failure is None:
                for role in ("issuer", "signer"):
                    self.bench.saw_memory(role, getattr(host, role).pid)
                host.drain()
                host.issuer.wait()
                host.signer.stop()
            host.close()

    def roles(self):
        return {"issuer": [i.issuer.pid for i in self.all], "signer": [i.signer.pid for i in self.all]}


def backlog(bench, count):
    """Submits them; they become visible at once."""
    world, database = bench.world, bench.world.main.database
    if database.one("SELECT to_regclass('public.bench_csr') IS NULL"):
        from cryptography.hazmat.primitives.serialization import Encoding
        connection = database.connect()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE public.bench_csr (n serial, der bytea); "
                           f"GRANT SELECT ON public.bench_csr TO {SUBMITTER}")
            cursor.executemany("INSERT INTO public.bench_csr (der) VALUES (%s)",
                               [(c.public_bytes(Encoding.DER),) for c in world.csr_objects(CSR)[:500]])
        connection.close()
    database.execute("SELECT count(chancery.submit_request(%s, 'bench', c.der)) FROM generate_series(1, %s) i "
                     "JOIN public.bench_csr c ON c.n = 1 + i %% (SELECT max(n) FROM public.bench_csr)",
                     (world.ca(KEY), count), SUBMITTER)


def newest(bench):
    return bench.world.main.database.one("SELECT coalesce(max(id), 0) FROM chancery_store.certificate")


def steady_rate(bench, after, edge):
    """Certificates per second from the end of one batch to the end of another, so
    that it does not matter how large they are; the first and last `edge`
    certificates are left out."""
    rows = bench.world.main.database.execute(
        "SELECT extract(epoch FROM max(issued_at))::float8, count(*) FROM chancery_store.certificate WHERE id > %s "
        "GROUP BY xmin::text ORDER BY 1", (after,))
    total, seen, window = sum(n for _, n in rows), 0, []
    for at, n in rows:
        seen += n
        if edge <= seen <= total - edge:
            window.append((at, seen))
    if len(window) < 2 or window[-1][0] <= window[0][0]:
        return 0.0
    return (window[-1][1] - window[0][1]) / (window[-1][0] - window[0][0])


def drain(bench, issuers, count, edge):
    """Submits so many and waits until they are issued: certificates per second,
    CPU time by part, and how busy the machine was."""
    after = newest(bench)
    backlog(bench, count)
    cpu = measure.Cpu(issuers.roles(), bench.world.cluster)
    before, ticks = cpu.look(), measure.machine_ticks()
    start = time.perf_counter()
    wait_until(lambda: newest(bench) - after >= count, timeout=120, interval=0.05, what="the backlog's end")
    took = time.perf_counter() - start
    busy, ended = (b - a for a, b in zip(ticks, measure.machine_ticks()))
    spent = cpu.between(before, cpu.look())
    return steady_rate(bench, after, edge) or count / took, spent, busy / max(ended, 1)


def split(sessions, issuers):
    return [sessions // issuers + (n < sessions % issuers) for n in range(issuers)]


def one_round(bench, name, token, threads, expected):
    """expected: certificates per second, for the size of the round; returns its rate."""
    with Issuers(bench, token, threads) as issuers:
        drain(bench, issuers, bench.count(EDGE * len(threads)), 0)
        edge = bench.count(EDGE * len(threads))
        count = bench.count(min(expected, 5000) * bench.seconds) + 2 * edge
        rate, spent, busy = drain(bench, issuers, count, edge)
    bench.results.put(f"{name}.per_s", rate)
    bench.results.put(f"{name}.machine_busy", busy)
    return rate, measure.put_cpu(bench.results, name, spent, count), busy


# (latency in ms, issuers, sessions of all of them together)
CELLS = [(ms, n, SESSIONS) for ms in LATENCIES_MS for n in ISSUERS]
CELLS += [(5, 1, SESSIONS // 2), (20, 2, 2 * SESSIONS), (20, 4, 4 * SESSIONS)]


def cell_name(ms, issuers, sessions):
    return f"machines.{ms}ms.issuers{issuers}" + (f".sessions{sessions}" if sessions != SESSIONS else "")


def machines(bench):
    wanted = [cell for cell in CELLS if bench.wants(cell_name(*cell))]
    if not wanted:
        return
    bench.world.ca(KEY)
    bench.world.rest()
    heading(f"Issuers on a token with latency ({KEY} CA, {CSR.replace('_', ' ')}s, a backlog; CPU allows: what the cores bear, "
            "signers and database together)")
    line(("", -28), ("sessions/latency", 16), ("CPU allows", 10), ("issued/s", 8), ("ratio", 5), ("busy", 5),
         ("CPU us for each certificate", -1))
    for cell in wanted:
        ms, n, sessions = cell
        name = cell_name(*cell)
        ideal = sessions * 1000 / ms
        rate, each, busy = one_round(bench, name, slowed(bench.world.token, ms), split(sessions, n), ideal)
        bench.results.put(f"{name}.ratio_to_sessions", rate / ideal)
        allows = bench.results.put(f"{name}.cpu_allows_per_s", os.cpu_count() * 1e6 / sum(each.values()))
        line((f"{ms} ms, {sessions} sessions, {n} x", -28), (f"{ideal:.0f}", 16), (f"{allows:.0f}", 10), (f"{rate:.0f}", 8),
             (f"{rate / ideal:.2f}", 5), (f"{busy:.0%}", 5), (measure.cpu_text(each), -1))


def signers(bench):
    wanted = [n for n in (1, 2) if bench.wants(f"signers.{KEY}.{n}")]
    if not wanted:
        return
    bench.world.ca(KEY)
    bench.world.rest()
    heading(f"Signer processes on the token as it is, each with {THREADS} threads and its issuer ({KEY} CA, a backlog)")
    for n in wanted:
        name = f"signers.{KEY}.{n}"
        raw = bench.results.put(f"{name}.raw_per_s", bench.world.raw(KEY, bench.raw_seconds, THREADS, n)[0])
        rate, each, busy = one_round(bench, name, bench.world.token, [THREADS] * n, 3000)
        bench.results.put(f"{name}.ratio_to_raw", rate / raw)
        line((f"{n} x {THREADS}", -6), (f"{rate:.0f}/s", 8), (f"{rate / raw:.2f} of raw", 12), (f"{busy:.0%} busy", 10),
             (measure.cpu_text(each), -1))


def pass_queue(bench, batch, ids):
    """Issues what waits, by the issuer's calls alone: (how many, seconds, the database's
    CPU in microseconds for each)."""
    postmaster = bench.world.cluster.process.pid
    time.sleep(0.1)  # until the server has seen the end of those that submitted
    before = measure.ended_children_s(postmaster)
    said = subprocess.run([program("queue"), bench.world.main.database.dsn("chancery_issuer"), str(batch), *map(str, ids)],
                          check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    time.sleep(0.1)  # until the server has seen its session's end
    count = int(said[0])
    return count, float(said[1]), (measure.ended_children_s(postmaster) - before) * 1e6 / count


def queue(bench):
    wanted = [batch for batch in BATCHES if bench.wants(f"queue.{batch}")]
    if not wanted:
        return
    ids = bench.world.ids(KEY)
    bench.world.rest()
    heading("The queue alone: claimed, begun and completed, nothing signed (requests in a batch)")
    for batch in wanted:
        rate = {1: 500, 16: 3000}.get(batch, 8000)
        backlog(bench, bench.count(rate * bench.seconds))
        count, seconds, us = pass_queue(bench, batch, ids)
        rate = bench.results.put(f"queue.{batch}.per_s", count / seconds)
        bench.results.put(f"queue.{batch}.cpu_us.postgres.issuer", us)
        line((f"{batch}", 5), (f"{rate:.0f}/s", 8), (f"{us:.0f} us of the database's CPU for each", -1))


def bloat(bench):
    name = f"bloat.{bench.most_entries if bench.tiny else MILLION}"
    if not bench.wants(name) or not bench.tiny and not bench.wants_large(name):
        return
    ids = bench.world.ids(KEY)
    bench.world.rest()
    heading(f"The queue's tables while requests pass in backlogs of {BACKLOG:,}, MiB with their indexes")
    line(("requests", 9), ("queue", 8), ("to be signed", 12), ("on their page", 14), ("database's CPU us", 18))
    passed = 0
    while passed < (bench.count(0) if bench.tiny else MILLION):
        backlog(bench, bench.count(BACKLOG))
        count, _, us = pass_queue(bench, 256, ids)
        passed += count
        sizes = bench.world.main.database.execute(
            "SELECT pg_total_relation_size(relid) / 1048576.0::float8, n_tup_hot_upd / greatest(n_tup_upd, 1)::float8 "
            "FROM pg_stat_user_tables WHERE relname IN ('request_queue', 'intent_tbs') ORDER BY relname DESC")
        if passed % (10 * BACKLOG) == 0 or bench.tiny:
            line((f"{passed:,}", 9), (f"{sizes[0][0]:.1f}", 8), (f"{sizes[1][0]:.1f}", 12), (f"{sizes[0][1]:.0%}", 14), (f"{us:.0f}", 18))
    for what, value in (("queue_mib", sizes[0][0]), ("intent_mib", sizes[1][0]), ("on_their_page", sizes[0][1])):
        bench.results.put(f"{name}.{what}", value)
