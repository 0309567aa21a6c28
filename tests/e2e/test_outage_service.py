"""An authority whose token is behind p11-kit's server, as behind a network: cut off, stopped
and back again while requests come. Nothing is lost or made twice, people see what is
wrong and since when, and signing goes on by itself, soon."""

import os
import re
import signal
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from harness import clients
from harness.authority import Authority
from harness.chanceryd import program
from harness.process import wait_until
from harness.softhsm import Recorded
from harness.tokens import P11KitToken

STORE = "SET search_path = chancery_store; "
CALL_TIMEOUT_S = 3
OPEN = "SELECT count(*) FROM chancery_store.request_queue"
ISSUED = "SELECT count(*) FROM chancery_store.certificate"


class Network(Recorded, P11KitToken):
    """The network HSM, with a client that can be told to fail."""


class Service:
    def __init__(self, a):
        self.a, self.database, self.token = a, a.database, a.token
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.requests = []

    def submit(self, count):
        for _ in range(count):
            csr = clients.host_csr(f"h{len(self.requests)}.example", self.key)
            self.requests.append(self.a.submit_by_sql(csr, "many"))

    def issued(self):
        return self.database.one(ISSUED)

    def status(self):
        row, = self.a.api.get("/v1/tokens").json()["tokens"]
        return row

    def wait_away(self):
        wait_until(lambda: self.status()["state"] != "ready", what="a status that says so")
        return self.status()

    def first_signature(self):
        """Seconds until there is one more certificate."""
        begun, before = time.monotonic(), self.issued()
        wait_until(lambda: self.issued() > before, interval=0.005, what="a signature")
        return time.monotonic() - begun

    def check(self):
        """Each request has its certificate, and one."""
        wait_until(lambda: self.database.one(OPEN) == 0, what="an end of the queue")
        rows = self.database.execute(
            STORE + "SELECT r.public_id::text, c.serial FROM certificate c JOIN request r ON r.id = c.request_id "
            "WHERE r.public_id = ANY (%s::uuid[])", (self.requests,))
        assert sorted(row[0] for row in rows) == sorted(map(str, self.requests))
        assert len({bytes(row[1]) for row in rows}) == len(self.requests)

    # ---- the network

    def signal(self, number):
        os.killpg(self.token.server.pid, number)  # with its child, which has the module


@pytest.fixture(scope="module")
def service(postgres, migrated, new_dir):
    token = Network(new_dir("network")).create()
    token.put_shim_before(program("faults/shim.so"))
    a = Authority(new_dir("i"), postgres.database(migrated), token)
    try:
        a.create(settings=lambda d: d.config["tokens"][0].update(call_timeout=f"{CALL_TIMEOUT_S}s"))
        a.apply_automatic()
        a.create_issuing("many", templates=["many", "tls-server"])
        yield Service(a)
    finally:
        a.close()
        token.close()


def test_cut_off_and_back(service, record_property):
    service.submit(40)
    wait_until(lambda: service.issued() > 10, what="some certificates", interval=0.005)
    service.signal(signal.SIGKILL)
    service.submit(20)
    said = service.wait_away()
    # The queue takes what comes, and says what it waits for.
    service.submit(5)
    wait_until(lambda: (service.database.one(
        "SELECT reason FROM chancery.request_status(%s)", (service.requests[-1],), "service_one") or "").startswith(
            'token "main"'), what="a reason")
    # A CRL that is due raises an alarm that names the token.
    service.database.execute(STORE + "UPDATE crl_scope SET next_full_at = now() WHERE ca_id = "
                             "(SELECT id FROM ca WHERE name = 'many')")
    wait_until(lambda: "token main" in (service.database.one(
        STORE + "SELECT max(alarm) FROM crl_scope") or ""), what="an alarm")
    assert service.status()["since"] == said["since"]
    wait_until(lambda: (shown := service.a.cli("token", "status")) and said["since"] in shown
               and (service.status()["sentence"] or "no reason") in shown, what="since when, and why")
    metrics = service.a.api.get("/metrics").body.decode()
    assert re.search(r'(?m)^chancery_token_ready\{[^}]*token="main"[^}]*\} 0$', metrics)
    assert re.search(r'(?m)^chancery_crl_alarm\{[^}]*ca="many"[^}]*\} 1$', metrics)
    assert service.a.daemon.process.log().count("many: a CRL is due, and waits: ") == 1
    service.token.start_server()
    seconds = service.first_signature()
    service.check()
    assert service.status()["state"] == "ready" and service.status()["since"] >= said["since"]
    wait_until(lambda: service.database.one(STORE + "SELECT max(alarm) FROM crl_scope") is None, what="the CRL")
    record_property("figures", f"a token that was cut off signs {seconds:.2f} s after it is back")


def test_stopped_and_back(service, record_property):
    """Every call hangs: the deadline ends the signer, and what comes after it hangs, too."""
    ended = service.a.daemon.process.log().count("the module hangs")
    service.submit(30)
    service.signal(signal.SIGSTOP)
    service.submit(10)
    service.wait_away()
    wait_until(lambda: service.a.daemon.process.log().count("the module hangs") > ended, what="an end of the signer")
    service.signal(signal.SIGCONT)
    seconds = service.first_signature()
    service.check()
    record_property("figures", f"a token that was stopped signs {seconds:.2f} s after it goes on")


def test_stopped_for_a_moment(service):
    """Shorter than the deadline: the calls come back, and nobody is the wiser."""
    ended = service.a.daemon.process.log().count("the module hangs")
    service.submit(30)
    service.signal(signal.SIGSTOP)
    service.signal(signal.SIGCONT)
    service.check()
    assert service.a.daemon.process.log().count("the module hangs") == ended


@pytest.mark.parametrize("fault", ["sign crash once", "sign hang once", "sign 0x30 once", "sign wrong once",
                                   "sign-init 0xb3 once"])
def test_a_fault_under_load(service, fault):
    """What the matrix does with the signer alone (test_fault_matrix.py), with all the rest around it."""
    logins = service.token.calls("login")
    service.submit(10)
    service.token.fail(fault)
    service.submit(20)
    wait_until(lambda: not os.path.exists(service.token.faults_path), what="the fault")
    service.submit(5)
    service.check()
    assert all(call == ["0x0"] for call in service.token.calls("login")[len(logins):])
