"""The whole job with a token whose PIN persons enter."""

import pytest
from harness import clients
from harness.persons import Persons
from harness.process import PATIENCE_S, wait_until


@pytest.fixture
def new_persons(postgres, migrated, new_dir):
    made = []

    def make(access, **options):
        made.append(Persons(new_dir("p"), postgres.database(migrated), access, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def crls(a):
    """Number and kind of the CRLs that the issuing CA has."""
    rows = a.api.get(f"/v1/cas/{a.issuing}/crls").json()["crls"]
    return [(int(r["number"]), r["delta"]) for r in rows if r["state"] == "issued"]


def test_main_job_by_operation(new_persons):
    a = new_persons("operation")
    a.create()
    requests = [a.submit(clients.openssl_csr(a.files, f"r{i}", dns=[f"r{i}.example"])) for i in range(3)]
    for request in requests:
        a.approve(request)
    shown = a.enter_for("certificate", 3)
    assert all(f"dns:r{i}.example" in shown for i in range(3))
    for request in requests:
        a.wait_state(request, "issued")
    a.enter_until(lambda: {d for _, d in crls(a)} == {True, False}, "a CRL and a delta CRL")
    # An order, too.
    before = max(n for n, _ in crls(a))
    a.cli("crl", "issue", a.issuing)
    a.enter_until(lambda: max(n for n, _ in crls(a)) > before, "the CRL that was ordered")


def test_main_job_by_session(new_persons):
    a = new_persons("session")
    a.create()
    requests = [a.certificate(f"r{i}") for i in range(3)]
    assert len(requests) == 3
    wait_until(lambda: {d for _, d in crls(a)} == {True, False}, what="a CRL and a delta CRL")
    a.cli("token", "lock", "main")
    request = a.submit(clients.openssl_csr(a.files, "late", dns=["late.example"]))
    a.approve(request)
    reason = wait_until(lambda: a.api.get(f"/v1/requests/{request}").json()["reason"], what="a reason to wait")
    assert "main" in reason and "alice" in reason, reason
    assert a.state(request) == "approved"
    a.unlock()
    a.wait_state(request, "issued")
