"""What the signer's guard and journal cost for each certificate, without token and
database around them."""

import os
import subprocess

from harness.chanceryd import program
from results import heading, line


def journal(bench):
    """CPU is of one thread; the time on the clock is what the disk takes, alone or shared by a group."""
    if not bench.wants("journal.p256"):
        return
    rounds = []
    for n in range(bench.rounds):
        place = bench.world.path(f"journal-{n}")
        os.mkdir(place, 0o700)
        said = subprocess.run([program("bench/journal"), place, str(bench.seconds)], stdout=subprocess.PIPE, text=True,
                              timeout=600, check=True).stdout
        rounds.append({name: float(value) for name, value in map(str.split, said.splitlines())})
    heading("Guard and journal, microseconds for each certificate of a P-256 CA")
    for name in rounds[0]:
        bench.results.spread(f"journal.p256.{name}", [r[name] for r in rounds])
        line((name, -30), (bench.results.range(f"journal.p256.{name}", 1), -1))
    bench.results.spread("journal.p256.us_per_certificate",
                         [r["guard.automatic.cpu_us"] + r["group64.cpu_us"] for r in rounds])
    line(("CPU, automatic, by 64", -30), (bench.results.range("journal.p256.us_per_certificate", 1), -1))
