"""Three issuers at work on one CA: they issue, revoke, hold, release and make CRLs and deltas,
all at once. What came of it is held against the model of test_gate.py, which knows nothing
of them: it replays the decisions in the order in which they were numbered."""

import hashlib
import random

import psycopg2
import pytest
from cryptography import x509

from harness.decisions import Statement
from harness.process import wait_until
from test_gate import HOLD, REMOVE, Model, apply_delta
from test_issuers import Resting, check_crls, new_issuer  # noqa: F401 (a fixture)

SETS = [{"name": "bad", "reasons": ["keyCompromise"]}, {"name": "paused", "reasons": ["certificateHold"]}]
CERTIFICATES, ROUNDS = 10, 5
REASONS = {"keyCompromise": 1, "superseded": 4, "certificateHold": HOLD}
CODES = {x509.ReasonFlags.key_compromise: 1, x509.ReasonFlags.superseded: 4, x509.ReasonFlags.certificate_hold: HOLD,
         x509.ReasonFlags.remove_from_crl: REMOVE}


@pytest.fixture
def resting(new_authority):
    a = new_authority(signer_ids=[1, 2, 3])
    a.apply_automatic()
    name = "<CaName><CRLPartitionIndex><DeltaCRLAllowed>.crl"
    a.create_issuing("busy", templates=["many"], limits={"signer_ids": [1, 2, 3]}, crl={
        "period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h", "on_revocation": "1s", "shards": 2,
        "by_reasons": SETS}, locations={"cdp": [{"url": f"http://127.0.0.1/{name}", "flags": ["in_certificates", "in_idp", "in_freshest"]}]})
    wait_until(lambda: a.database.one(
        "SELECT bool_and(next_delta_at > now() AND next_full_at > now() + interval '1 h' AND NOT EXISTS (SELECT FROM chancery_store.crl "
        "WHERE scope_id = s.id AND state IN ('building', 'signing'))) FROM chancery_store.crl_scope s JOIN chancery_store.ca a "
        "ON a.id = s.ca_id WHERE a.name = 'busy'"), what="the first CRLs")
    assert a.daemon.stop() == 0
    r = Resting(a)
    r.ca = r.one("SELECT id FROM ca WHERE name = 'busy'")
    return r


def revoke(r, choice, certificate):
    action, reason = choice.choices([("hold", "certificateHold"), ("release", "-"), ("revoke", "keyCompromise"), ("revoke", "superseded")],
                                    [5, 4, 1, 1])[0]
    try:
        return [r.order(Statement(action, "busy", certificate, reason=reason))]
    except psycopg2.Error as e:  # as it stands now it is no decision; one that is taken may still turn out so
        assert e.pgcode == "CH409"
        return []


def entries(r, artifact):
    return {e.serial_number: CODES[e.extensions.get_extension_for_class(x509.CRLReason).value.reason]
            for e in x509.load_der_x509_crl(r.content(artifact))}


def replay(r):
    """The model after all that was decided, and the database's numbers of its events."""
    some = {s: (whole, set(reasons)) for s, whole, reasons in r.sql(
        "SELECT id, whole_id, reasons FROM crl_scope WHERE ca_id = %s AND whole_id IS NOT NULL", r.ca)}
    m = Model([s for s, in r.sql("SELECT id FROM crl_scope WHERE ca_id = %s", r.ca)], some)
    for serial, scope in r.sql("SELECT serial, scope_id FROM certificate WHERE ca_id = %s AND request_id IS NOT NULL", r.ca):
        serial = int.from_bytes(bytes(serial), "big")
        m.scope[serial], m.ends[serial] = scope, 1
    numbers = []
    for serial, action, words, seq in r.sql(
            "SELECT c.serial, d.action, substring(d.statement FROM '(?n)^reason: (.*)$'), (d.result->>'seq')::bigint FROM decision d "
            "JOIN certificate c ON c.id = d.certificate_id WHERE c.ca_id = %s AND d.state = 'applied' ORDER BY 4", r.ca):
        assert m.revoke(int.from_bytes(bytes(serial), "big"), REMOVE if action == "release" else REASONS[words]), (serial, seq)
        numbers.append(seq)
    return m, numbers


def check_scope(r, m, numbers, scope):
    """Of one scope: how many complete CRLs and deltas there are."""
    complete, last = {}, (0, None, 0)
    rows = r.sql("SELECT c.number, c.delta, c.this_update, c.upto_seq, b.number, b.upto_seq, c.artifact_id FROM crl c LEFT JOIN crl b "
                 "ON b.id = c.base_id WHERE c.scope_id = %s AND c.state = 'issued' ORDER BY c.id", scope)
    for number, delta, this_update, upto, base, base_upto, artifact in rows:
        found, events = entries(r, artifact), sum(seq <= upto for seq in numbers)
        # Issued together: one number, one time, the same events; and otherwise all rise (RFC 5280 5.2.3).
        together = delta and number == last[0]
        assert (this_update, upto) == last[1:] if together else number > last[0] and upto >= last[2] and \
            (last[1] is None or this_update > last[1])
        last = (number, this_update, upto)
        now = {serial: reason for serial, (reason, _) in m.state(scope, events).items()}
        if not delta:
            assert found == now
            complete[number] = found
            continue
        since = Model(m.complete)
        since.some, since.scope, since.events = m.some, m.scope, m.events[:events]
        assert set(found) == since.changed(scope, sum(seq <= base_upto for seq in numbers))
        assert base in complete
        for of, full in complete.items():
            if base <= of <= number:
                assert apply_delta(full, found) == now
    return len(complete), len(rows) - len(complete)


def test_concurrent_histories(resting, new_issuer):  # noqa: F811
    r, seed = resting, random.randrange(1 << 30)
    print(f"decisions from seed {seed}")
    choice = random.Random(seed)
    issuers = [new_issuer(n) for n in (1, 2, 3)]
    requests = [r.submit(f"n{n}.example", "busy", "many") for n in range(CERTIFICATES)]

    def certificates():
        return [hashlib.sha256(bytes(der)).hexdigest() for der, in r.sql(
            "SELECT der FROM certificate WHERE ca_id = %s AND request_id IS NOT NULL ORDER BY id", r.ca)]

    orders, late = [], []
    wait_until(lambda: len(certificates()) >= CERTIFICATES // 2, what="half of the certificates")
    for n in range(ROUNDS):
        # Nobody waits for anybody; more certificates come meanwhile.
        orders += [o for _ in range(8) for o in revoke(r, choice, choice.choice(certificates()))]
        if n % 2:
            late.append(r.order(Statement("crl-issue", "busy", "delta" if n == 1 else "full")))
        requests.append(r.submit(f"m{n}.example", "busy", "many"))
        wait_until(lambda o=orders[-1]: r.one("SELECT state FROM decision WHERE public_id = %s", o) in ("applied", "refused"), what="the orders")
    outcomes = [r.front.outcome(order) for order in orders]
    assert 1 < sum(state == "applied" for state, _ in outcomes)
    for state, sentence in outcomes:
        assert state == "applied" or "on hold" in sentence or "is revoked" in sentence, sentence
    for order in (*late, r.order(Statement("crl-issue", "busy", "full"))):
        r.outcome(order)
    wait_until(lambda: r.one("SELECT count(*) FROM request WHERE state <> 'issued' AND public_id = ANY (%s::uuid[])",
                             [str(q) for q in requests]) == 0, what="all certificates")
    # What a revocation wanted is there.
    wait_until(lambda: r.one("SELECT count(*) FROM crl_scope WHERE wanted_at IS NOT NULL") == 0, what="all CRLs")
    check_crls(r)

    m, numbers = replay(r)
    counts = [check_scope(r, m, numbers, scope) for scope in m.complete]
    assert len(counts) == 6 and all(full >= 2 and deltas >= 2 for full, deltas in counts), counts
    for scope in m.complete:  # the last list has everything
        assert r.one("SELECT max(upto_seq) >= (SELECT coalesce(max(seq), 0) FROM revocation_event WHERE scope_id = %s) FROM crl "
                     "WHERE scope_id = %s AND state = 'issued' AND NOT delta", scope, scope)
    assert r.one("SELECT count(*) FROM crl_scope WHERE alarm IS NOT NULL") == 0
    assert all(i.issuer.alive() for i in issuers)
    makers = {bytes(serial)[1:3] for serial, in r.sql("SELECT serial FROM certificate WHERE ca_id = %s AND request_id IS NOT NULL", r.ca)}
    print(f"{len(makers)} of them issued, complete CRLs and deltas of each scope: {counts}")
