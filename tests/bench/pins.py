"""What a PIN for each operation costs: certificates with access operation, 200 in one entry,
beside access auto on a token of the same kind."""

import os
import signal
import time

from harness import clients
from harness.authority import Authority
from harness.persons import Persons
from harness.process import wait_until
from harness.softhsm import Token
from results import heading, line

COUNT = 200


def approved(a, csr, count):
    """Requests that have all that they need but the token."""
    ids = [a.api.submit(a.issuing, "tls-server", csr) for _ in range(count)]
    wait_until(lambda: a.database.one("SELECT count(*) FROM chancery_store.request_queue WHERE state = 'pending'") == count,
               what="the checks")
    return ids


def ended(a):
    """When the last certificate was stored, in seconds since the epoch."""
    wait_until(lambda: a.database.one("SELECT count(*) FROM chancery_store.request_queue") == 0, timeout=300, what="the end")
    return a.database.one("SELECT extract(epoch FROM max(issued_at))::float8 FROM chancery_store.certificate")


def by_operation(a, csr, count):
    a.cli("request", "approve", *approved(a, csr, count), "--reason", "bench")
    wait_until(lambda: len(a.waiting("certificate")) == count, what="what waits for a PIN")
    a.entered("pin", "enter", *(r["id"] for r in a.waiting("certificate")))
    last = ended(a)
    return count / (last - a.database.one("SELECT extract(epoch FROM max(ended_at))::float8 FROM chancery_store.pin_entry"))


def by_auto(a, csr, count):
    """The signer is stopped until all are approved."""
    ids = approved(a, csr, count)
    signer, = a.daemon.pids("signer")
    os.kill(signer, signal.SIGSTOP)
    a.cli("request", "approve", *ids, "--reason", "bench")
    begun = time.time()
    os.kill(signer, signal.SIGCONT)
    return count / (ended(a) - begun)


def authority(bench, name):
    cluster, home = bench.world.cluster, bench.world.path(f"pins-{name}")
    database = cluster.database()
    cluster.bootstrap(database.name)
    os.makedirs(home)
    token = Token(os.path.join(home, "token")).create()
    a = Authority(home, database, token) if name == "auto" else Persons(home, database, name, token)
    a.daemon.migrate()
    return a


def rates(bench, name, rate):
    a = authority(bench, name)
    try:
        a.create(deltas=False)
        if name != "auto":
            a.enter_until(lambda: not a.waiting() and a.crls(), "nothing to wait")
        csr = clients.openssl_csr(a.files, "x", dns=["x.example"]).pem
        return [rate(a, csr, 12 if bench.tiny else COUNT) for _ in range(bench.rounds)]
    finally:
        a.close()


def operation(bench):
    """One after the other, since each has a daemon of its own."""
    if not bench.wants("operation.p256"):
        return
    heading("Certificates per second with P-256 on SoftHSM, by who has the PIN")
    for name, rate in (("auto", by_auto), ("operation", by_operation)):
        bench.results.spread(f"operation.p256.{name}.per_s", rates(bench, name, rate))
        line((name, -12), (bench.results.range(f"operation.p256.{name}.per_s", 0), -1))
    ratio = bench.results["operation.p256.operation.per_s"] / bench.results["operation.p256.auto.per_s"]
    bench.results.put("operation.p256.ratio", ratio)
    line(("operation / auto", -18), (f"{ratio:.2f}", -1))
