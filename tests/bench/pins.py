#!/usr/bin/python3 -B
"""What a PIN for each operation costs: certificates a second with access operation, 200 in one
entry, beside access auto on a token of the same kind.

    CHANCERY_BUILD=build tests/bench/pins.py [ROUNDS]
"""

import os
import shutil
import signal
import statistics
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import clients
from harness.authority import Authority
from harness.persons import Persons
from harness.postgres import Postgres
from harness.process import wait_until
from harness.softhsm import Token

COUNT = 200


def approved(a, csr):
    """Requests that have all that they need but the token."""
    ids = [a.api.submit(a.issuing, "tls-server", csr) for _ in range(COUNT)]
    wait_until(lambda: a.database.one("SELECT count(*) FROM chancery_store.request_queue WHERE state = 'pending'") == COUNT,
               what="the checks")
    return ids


def ended(a):
    """When the last certificate was stored, in seconds since the epoch."""
    wait_until(lambda: a.database.one("SELECT count(*) FROM chancery_store.request_queue") == 0, timeout=300, what="the end")
    return a.database.one("SELECT extract(epoch FROM max(issued_at))::float8 FROM chancery_store.certificate")


def by_operation(a, csr):
    a.cli("request", "approve", *approved(a, csr), "--reason", "bench")
    wait_until(lambda: len(a.waiting("certificate")) == COUNT, what="what waits for a PIN")
    a.entered("pin", "enter", *(r["id"] for r in a.waiting("certificate")))
    last = ended(a)
    return COUNT / (last - a.database.one("SELECT extract(epoch FROM max(ended_at))::float8 FROM chancery_store.pin_entry"))


def by_auto(a, csr):
    """The signer is stopped until all are approved."""
    ids = approved(a, csr)
    signer, = a.daemon.pids("signer")
    os.kill(signer, signal.SIGSTOP)
    a.cli("request", "approve", *ids, "--reason", "bench")
    begun = time.time()
    os.kill(signer, signal.SIGCONT)
    return COUNT / (ended(a) - begun)


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    directory = tempfile.mkdtemp(prefix="chancery-pins-")
    os.chmod(directory, 0o755)
    postgres = Postgres(os.path.join(directory, "p"))
    postgres.create()
    postgres.start()
    made = []
    try:
        for name, rate in (("auto", by_auto), ("operation", by_operation)):
            database = postgres.database()
            postgres.bootstrap(database.name)
            home = os.path.join(directory, name)
            os.makedirs(home)
            token = Token(os.path.join(home, "token")).create()
            a = Authority(home, database, token) if name == "auto" else Persons(home, database, name, token)
            a.daemon.migrate()
            try:
                a.create(deltas=False)
                if name != "auto":
                    a.enter_until(lambda: not a.waiting() and a.crls(), "nothing to wait")
                csr = clients.openssl_csr(a.files, "x", dns=["x.example"]).pem
                made.append(statistics.median(rate(a, csr) for _ in range(rounds)))
                print(f"{name}: {made[-1]:.0f} certificates a second")
            finally:
                a.close()
        print(f"operation / auto: {made[1] / made[0]:.2f}")
    finally:
        postgres.stop()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
