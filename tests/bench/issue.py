"""Certificates: the token alone, and Chancery end to end.

A round of Chancery: services submit CSRs that were made before and read their
certificates (load); it lasts from the first submission until the last certificate
was read. Rounds of raw C_Sign and of Chancery take turns, and each round of
Chancery is compared with the raw rounds before and after it.

    issue    8 services, 64 requests in each transaction
    backlog  one transaction submits all; it lasts from its commit
    shape    other numbers of services, and of requests in each transaction
    latency  services that do not wait for each other, one request each
"""

import os
import statistics
import time

import measure
from results import Ratios, heading, line
from world import CSRS, KEYS, THREADS

SUBMITTERS, GROUP = 8, 64
# Where the token is slow, shapes differ little.
SHAPES = {"p256": [(1, 1), (1, 16), (1, 256), (8, 1), (8, 16), (8, 256), (64, 1), (64, 4)],
          "rsa2048": [(1, 1), (8, 16), (64, 1)]}
PERCENTILES = ["p50_ms", "p90_ms", "p99_ms", "max_ms"]
DETAILED = [("rsa2048", "rsa_csr"), ("p256", "rsa_csr")]


def raw(bench):
    """By threads and processes."""
    kinds = [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2)]
    wanted = [key for key in KEYS if bench.wants(f"raw.{key}")]
    if not wanted:
        return
    heading("Raw C_Sign, signatures per second (threads x processes)")
    line(("", -8), *((f"{t} x {p}", 8) for t, p in kinds), ("CPU us", 8))
    for key in wanted:
        rates = []
        for threads, processes in kinds:
            rate, cpu = bench.world.raw(key, bench.seconds / 2, threads, processes)
            rates.append(bench.results.put(f"raw.{key}.threads{threads}.processes{processes}.per_s", rate))
            if (threads, processes) == (THREADS, 1):
                bench.results.put(f"raw.{key}.cpu_us", cpu)
        line((key, -8), *((f"{rate:.0f}", 8) for rate in rates), (f"{bench.results[f'raw.{key}.cpu_us']:.0f}", 8))


# -------------------------------------------------------------------- a series


def series(bench, name, key, run, rounds):
    """Rounds of run(count) between raw ones; run answers what load said, and the
    seconds that count."""
    results, taken = bench.results, Ratios()
    raws = [bench.world.raw(key, bench.raw_seconds)]
    taken.reference(raws[0][0])
    count = bench.count(300)
    rate = count / run(count)[1]  # a warm-up, which also says how many make a round
    spent, issued = {}, 0
    for _ in range(rounds):
        count = bench.count(rate * bench.seconds)
        said, seconds = run(count)
        rate = count / seconds
        raws.append(bench.world.raw(key, bench.raw_seconds))
        taken.own(rate)
        taken.reference(raws[-1][0])
        issued += count
        for part, value in said["cpu"].items():
            spent[part] = spent.get(part, 0.0) + value
    results.spread(f"{name}.per_s", taken.ours)
    results.put(f"{name}.raw_per_s", statistics.median(taken.references))
    results.spread(f"{name}.ratio_to_raw", taken.ratios())
    each = measure.put_cpu(results, name, spent, issued)
    results.put(f"{name}.cpu_us.raw", statistics.median(r[1] for r in raws))
    # What the CPU time for each certificate allows, if nothing ever waited.
    most = os.cpu_count() * 1e6 / results[f"{name}.cpu_us.total"] / results[f"{name}.raw_per_s"]
    results.put(f"{name}.ratio_most", most)
    line((name, -27), (f"{results[name + '.raw_per_s']:.0f}", 7), (f"{results[name + '.per_s']:.0f}", 7),
         (results.range(f"{name}.ratio_to_raw"), 16), (f"{most:.2f}", 5),
         (f"{results[name + '.cpu_us.total']:.0f}", 6), (measure.cpu_text(each), -1))


def series_heading(text):
    heading(text)
    line(("", -27), ("raw/s", 7), ("here/s", 7), ("ratio (spread)", 16), ("most", 5), ("CPU us", 6),
         ("of them for each certificate", -1))


def issue(bench):
    named = [(f"{kind}.{key}.{csr}", kind, key, csr) for key in KEYS for csr in CSRS for kind in ("issue", "backlog")
             if kind == "issue" or (key, csr) in DETAILED]
    named = [n for n in named if bench.wants(n[0])]
    if not named:
        return
    series_heading(f"End to end beside raw C_Sign with {THREADS} threads ({SUBMITTERS} submitters, {GROUP} requests in "
                   "each transaction; most: what the CPU time allows)")
    for name, kind, key, csr in named:
        def run(count):
            if kind == "backlog":
                said = bench.world.load(key, csr, count, 1, count)
                return said, said["total_s"] - said["submit_s"]
            said = bench.world.load(key, csr, count, SUBMITTERS, GROUP)
            return said, said["total_s"]

        series(bench, name, key, run, bench.rounds)


def shapes(bench):
    """One round of each, and one raw round for all of a key."""
    results = bench.results
    for key, csr in DETAILED:
        wanted = [(s, g) for s, g in SHAPES[key] if bench.wants(f"shape.{key}.{csr}.{s}x{g}")]
        if not wanted:
            continue
        heading(f"End to end, {key} CA, {csr.replace('_', ' ')}s: submitters x requests in each transaction")
        for submitters, group in wanted:
            name = f"shape.{key}.{csr}.{submitters}x{group}"
            before = bench.world.raw(key, bench.raw_seconds / 2)[0]
            count = bench.count(20 if submitters == 1 and group == 1 else 100)
            rate = count / bench.world.load(key, csr, count, submitters, group)["total_s"]
            count = bench.count(rate * bench.seconds)
            said = bench.world.load(key, csr, count, submitters, group)
            after = bench.world.raw(key, bench.raw_seconds / 2)[0]
            rate = results.put(f"{name}.per_s", count / said["total_s"])
            results.put(f"{name}.ratio_to_raw", 2 * rate / (before + after))
            each = measure.put_cpu(results, name, said["cpu"], count)
            line((f"{submitters} x {group}", -9), (f"{rate:.0f}/s", 8),
                 (f"{results[name + '.ratio_to_raw']:.2f} of raw", 12),
                 (f"{results[name + '.cpu_us.total']:.0f} us:", 9), (measure.cpu_text(each), -1))


# --------------------------------------------------------------------- latency


def commit_ms(bench):
    """A transaction of one row, and nothing else going on."""
    connection = bench.world.main.database.connect()
    times = []
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS public.bench_commit (n int)")
        for n in range(60):
            start = time.perf_counter()
            cursor.execute("INSERT INTO public.bench_commit VALUES (%s)", (n,))
            times.append(time.perf_counter() - start)
    connection.close()
    return statistics.median(times) * 1e3


def sync_ms(bench):
    """What one record of a journal costs: an append, and fdatasync."""
    times = []
    with open(bench.world.path("sync"), "ab", buffering=0) as f:
        for _ in range(60):
            start = time.perf_counter()
            f.write(b"x" * 200)
            os.fdatasync(f.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def latency(bench):
    results = bench.results
    wanted = [(key, csr) for key, csr in DETAILED if bench.wants(f"latency.{key}.{csr}")]
    if not wanted:
        return
    commit = results.put("latency.commit_ms", commit_ms(bench))
    sync = results.put("latency.sync_ms", sync_ms(bench))
    heading(f"Latency, submission to certificate in ms (at rest a commit takes {commit:.2f}, a synced record {sync:.2f})")
    line(("", -16), ("at", -12), ("/s", 6), ("p50", 7), ("p90", 7), ("p99", 7), ("most", 7), ("two commits, a sync, a signature", -1))
    for key, csr in wanted:
        name = f"latency.{key}.{csr}"
        sign = 1e3 / bench.world.raw(key, bench.raw_seconds / 2, threads=1)[0]
        least = results.put(f"{name}.least_ms", 2 * commit + sync + sign)
        rate = 400.0
        for _ in range(2):
            count = bench.count(rate * bench.seconds)
            rate = count / bench.world.load(key, csr, count, 64)["total_s"]
        results.put(f"{name}.peak_per_s", rate)
        for what, share, at, submitters in (("half", "50 % of peak", rate / 2, 64), ("full", "90 % of peak", rate * 0.9, 64),
                                            ("rest", "little", 20, 2)):
            if what == "rest" and not bench.tiny:
                time.sleep(3)  # the issuer looks by itself for two seconds when there was a crowd
            rounds = [bench.world.load(key, csr, bench.count(at * bench.seconds * 1.5), submitters, rate=at)
                      for _ in range(bench.rounds if what == "half" else 1)]
            for percentile in PERCENTILES:
                results.spread(f"{name}.{what}.{percentile}", [said[percentile] for said in rounds])
            line((f"{key} {csr}", -16), (share, -12), (f"{at:.0f}", 6),
                 *((f"{results[f'{name}.{what}.{p}']:.1f}", 7) for p in PERCENTILES), (f"{least:.1f}", 5),
                 (f"p99 {results.range(f'{name}.{what}.p99_ms', 0)}" if what == "half" else "", -1))
