"""CRLs that are made because of a revocation: when, with what, and that the
calendar goes on as if nothing had happened."""

import time

import pytest
from cryptography import x509

from harness.process import wait_until
from test_crl import at_rest, one, serial_of, sql
from test_revocation_sql import full

# ------------------------------------------------------------- in the database


@pytest.fixture
def ca(store, issuer):
    """One with a complete CRL, at rest."""
    made = store.ca()
    full(store, issuer, made)
    assert issuer.due() == []
    return made


def calendar(store, ca):
    return store.rows("SELECT next_full_at, next_delta_at FROM crl_scope WHERE id = %s", ca.scope)[0]


def wanted(store, ca):
    return store.rows("SELECT wanted_at <= clock_timestamp(), wanted_seq FROM crl_scope WHERE id = %s", ca.scope)[0]


def test_nothing_is_wanted_unless_the_policy_says_so(store, issuer, ca):
    issuer.revoke(store.certificate(ca))
    assert wanted(store, ca) == (None, None) and issuer.due() == []
    assert issuer.begin(ca.scope, True) is None


def test_at_once_and_outside_the_calendar(store, issuer, ca):
    certificate, before = store.certificate(ca), calendar(store, ca)
    issuer.revoke(certificate, publish_s=0)
    assert issuer.due() == [(ca.scope, True)]
    job = issuer.begin(ca.scope, True)
    entries, _ = issuer.build(job)
    assert entries == {certificate.serial: 1}
    assert store.rows("SELECT scheduled FROM crl WHERE id = %s", job.crl_id) == [(False,)]
    assert calendar(store, ca) == before
    assert wanted(store, ca)[0] is None and issuer.due() == []


def test_several_share_one(store, issuer, ca):
    """The first one's time counts, and all that happened until then."""
    one_, two = store.certificate(ca), store.certificate(ca)
    issuer.revoke(one_, publish_s=3600)
    assert wanted(store, ca) == (False, 1) and issuer.due() == [] and issuer.begin(ca.scope, True) is None
    issuer.revoke(two, publish_s=7200)
    assert wanted(store, ca) == (False, 2)
    store.execute("UPDATE crl_scope SET wanted_at = wanted_at - interval '1 h' WHERE id = %s", ca.scope)
    assert issuer.due() == [(ca.scope, True)]
    assert set(issuer.build(issuer.begin(ca.scope, True))[0]) == {one_.serial, two.serial}
    assert issuer.due() == []


def test_an_urgent_one_does_not_wait_for_the_others(store, issuer, ca):
    issuer.revoke(store.certificate(ca), publish_s=3600)
    issuer.revoke(store.certificate(ca), publish_s=0)
    assert wanted(store, ca) == (True, 2)


def test_what_comes_while_one_is_made_gets_another(store, issuer, ca):
    issuer.revoke(store.certificate(ca), publish_s=0)
    job = issuer.begin(ca.scope, True)
    snapshot = issuer.snapshot(job)
    late = store.certificate(ca)
    issuer.revoke(late, publish_s=0)
    entries = snapshot.entries()
    snapshot.close()
    assert late.serial not in entries
    issuer.spool(job, snapshot.upto, entries)
    assert issuer.issued(job) is None
    assert wanted(store, ca) == (True, 2)
    store.age(ca, "10 s")
    assert late.serial in issuer.build(issuer.begin(ca.scope, True))[0]
    assert wanted(store, ca)[0] is None


def test_a_ca_without_deltas_makes_a_complete_one(store, issuer):
    ca = store.ca("no-deltas")
    full(store, issuer, ca, deltas=False)
    before = calendar(store, ca)
    certificate = store.certificate(ca)
    issuer.revoke(certificate, publish_s=0)
    assert issuer.due() == [(ca.scope, False)]
    assert issuer.build(issuer.begin(ca.scope, False), deltas=False)[0] == {certificate.serial: 1}
    assert calendar(store, ca) == before and issuer.due() == []


def test_a_burnt_one_stays_wanted(store, issuer, ca):
    issuer.revoke(store.certificate(ca), publish_s=0)
    issuer.burn(issuer.begin(ca.scope, True))
    assert issuer.due() == [(ca.scope, True)]


def test_it_releases_no_entry(store, issuer, ca):
    """RFC 5280 3.3 means a regularly scheduled CRL."""
    ca = store.ca("releases")
    full(store, issuer, ca, deltas=False)
    short, other = store.certificate(ca, "1 hour"), store.certificate(ca)
    issuer.revoke(short)
    full(store, issuer, ca, deltas=False)
    store.age(ca, "2 hours")
    for _ in range(2):
        issuer.revoke(other, 6 if _ == 0 else 1, "hold" if _ == 0 else "revoke", publish_s=0)
        assert short.serial in issuer.build(issuer.begin(ca.scope), deltas=False)[0]
        store.age(ca, "10 s")
    assert short.serial in full(store, issuer, ca, deltas=False)[0]
    assert short.serial not in full(store, issuer, ca, deltas=False)[0]


# ----------------------------------------------------------------- by the daemon


@pytest.fixture(scope="module")
def prompt(shared_instance):
    """A CA that says at once what was revoked, but takes its time with a hold."""
    a = shared_instance
    a.create_issuing("prompt", crl={"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h",
                                    "on_revocation": "1h", "on_compromise": "0s"})
    a.scope = at_rest(a, "prompt")
    return a


def issue(a, name):
    from harness import clients
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]), ca="prompt")
    a.approve(request)
    return serial_of(clients.split_pem(a.issued(request))[0])


def served(a):
    return {r.serial_number for r in x509.load_der_x509_crl(a.crl("prompt", delta=True))}


def test_a_compromised_key_is_known_at_once(prompt):
    a = prompt
    slow, urgent = issue(a, "slow"), issue(a, "urgent")
    before = sql(a, "SELECT next_full_at, next_delta_at FROM crl_scope WHERE id = %s", a.scope)
    a.cli("cert", "hold", f"{slow:040x}")
    assert one(a, "SELECT wanted_at > now() + interval '50 min' FROM crl_scope WHERE id = %s", a.scope)
    assert slow not in served(a)
    began = time.monotonic()
    a.cli("cert", "revoke", f"{urgent:040x}", "--reason", "keyCompromise")
    wait_until(lambda: urgent in served(a), what="a delta CRL that says so")
    print(f"revoke command to readable: {time.monotonic() - began:.3f} s")
    assert slow in served(a)  # on the same one
    assert sql(a, "SELECT next_full_at, next_delta_at FROM crl_scope WHERE id = %s", a.scope) == before
    assert one(a, "SELECT wanted_at FROM crl_scope WHERE id = %s", a.scope) is None
    assert one(a, "SELECT count(*) FROM crl WHERE scope_id = %s AND NOT delta AND state = 'issued'", a.scope) == 1
