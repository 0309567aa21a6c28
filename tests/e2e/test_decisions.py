"""Decisions forged by whoever has the front's database role: the running issuer
refuses them with a sentence, and nothing changes."""

import datetime
import hashlib
import os
import re
import signal

import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from harness import clients, limits
from harness.authority import PASSPHRASE
from harness.decisions import Front, Key, Statement, timestamp
from harness.process import wait_until

# All that a decision could change.
STORE = [
    "SELECT public_id, state, cleared FROM request ORDER BY id",
    "SELECT serial, reason, seq FROM revocation ORDER BY serial",
    "SELECT count(*) FROM revocation_event",
    "SELECT name, event_seq, state FROM ca ORDER BY id",
    "SELECT count(*) FROM token_key",
    "SELECT person_id, kind, spki_sha256, revoked_at FROM credential ORDER BY id",
    "SELECT * FROM person_role ORDER BY 1, 2",
    "SELECT template_id, version FROM template_version ORDER BY id",
    "SELECT last_number FROM crl_scope ORDER BY id",
    "SELECT count(*) FROM certificate",
]


@pytest.fixture(scope="module")
def a(shared_instance):
    """The instance at rest: the first CRLs are made."""
    wait_until(lambda: shared_instance.database.one(
        "SELECT count(*) FROM chancery_store.crl_scope WHERE next_full_at > now() + interval '1 h' AND NOT EXISTS "
        "(SELECT FROM chancery_store.crl WHERE state IN ('building', 'signing'))") == 2, what="the first CRLs")
    return shared_instance


@pytest.fixture(scope="module")
def front(a):
    return Front(a.database)


@pytest.fixture(scope="module")
def alice(a):
    """Her key as the command line made it."""
    return Key.load(a.operator_key, PASSPHRASE)


@pytest.fixture(scope="module")
def bob(a, front, alice):
    """A second operator, who is no administrator."""
    key = Key()
    body = f"person: bob\nroles: manager\nkind: operator_key\n{key.pem}"
    s = Statement("operator-add", object="bob", body=body)
    state, sentence = front.outcome(front.decide(s, signature=alice.sign(s.text), credential=alice.sha256, body=body))
    assert state == "applied", sentence
    # The limits of the issuing CA are older than he.
    a.cli("ca", "limits", "change", a.issuing, "--add-operator", "bob")
    return key


@pytest.fixture
def unchanged(a):
    """Whatever the test does: the database is afterwards as it was."""

    def state():
        return [a.database.execute("SET search_path = chancery_store; " + sql) for sql in STORE]

    # What tests before this one left on its way has arrived.
    wait_until(lambda: a.database.one(
        "SELECT NOT EXISTS (SELECT FROM chancery_store.request WHERE state IN ('submitted', 'approved', 'claimed', "
        "'signing')) AND NOT EXISTS (SELECT FROM chancery_store.decision WHERE state IN ('queued', 'working')) "
        "AND NOT EXISTS (SELECT FROM chancery_store.crl WHERE state IN ('building', 'signing'))"), what="rest")
    before = state()
    yield
    assert state() == before


def pending(a, name):
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]))
    shown = a.wait_state(request, "pending")
    return request, shown["csr_sha256"]


@pytest.fixture(scope="module")
def request_a(a):
    return pending(a, "forged-a")


@pytest.fixture(scope="module")
def request_b(a):
    return pending(a, "forged-b")


def issued(a, name):
    """The SHA-256 of a new certificate."""
    _, pem = a.certificate(name)
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


@pytest.fixture(scope="module")
def certificate(a):
    return issued(a, "forged-c")


@pytest.fixture
def approve(a, request_a):
    request, csr = request_a
    return Statement("approve", a.issuing, request, template="tls-server/1", csr=csr)


def refused(front, decision, words):
    state, sentence = front.outcome(decision)
    assert state == "refused" and words in sentence, sentence
    # And the operator can read it.
    assert front.database.execute(
        "SELECT detail->>'outcome' FROM chancery_store.audit WHERE action = 'decision.refused' AND object = %s",
        (decision,)) == [(sentence,)]


# ---------------------------------------------------- what the role cannot do


@pytest.mark.parametrize("sql", [
    "INSERT INTO chancery_store.decision (action, statement, nonce, expires_at, received_via) "
    "VALUES ('approve', 'x', '\\x00112233445566778899aabbccddeeff', now(), 'uid:0')",
    "UPDATE chancery_store.decision SET state = 'applied'",
    "UPDATE chancery_store.request_queue SET state = 'approved', cleared = true",
    "INSERT INTO chancery_store.person (name) VALUES ('mallory')",
    "INSERT INTO chancery_store.revocation_event SELECT * FROM chancery_store.revocation_event",
    "DELETE FROM chancery_store.revocation",
    "UPDATE chancery_store.credential SET revoked_at = NULL",
    "SELECT * FROM chancery_store.decision",
    "SELECT chancery_store.apply_request_decision(1, 1)",
    "SELECT chancery_store.apply_revocation(1, 1, 1::smallint, NULL)",
    "SELECT chancery_store.claim_decisions(1, 1)",
    "SELECT chancery_store.apply_operator(1, 1, 'mallory', '{manager}', 'operator_key', '\\x00')",
    "SELECT chancery_store.begin_crl(1, false, NULL, NULL, 60, 60)",
    "SET ROLE chancery_issuer",
    "SET ROLE chancery_api",
])
def test_role_front_cannot(a, unchanged, sql):
    with pytest.raises(psycopg2.Error) as e:
        a.database.execute(sql, user="chancery_front")
    assert e.value.pgcode == "42501", e.value


# --------------------------------------------------------------- the honest way


def test_honest_decisions_are_applied(a, front, alice, bob):
    """What is refused below is refused for the forgery, not for its form."""
    request, csr = pending(a, "honest")
    s = Statement("approve", a.issuing, request, template="tls-server/1", csr=csr, reason="as agreed")
    decision = front.decide(s, signature=bob.sign(s.text), credential=bob.sha256)
    assert front.outcome(decision) == ("applied", f"request {request} is approved")
    assert a.wait_state(request, "issued")


# ------------------------------------------------------------------- signatures


def test_no_signature_at_all(front, unchanged, approve):
    code, sentence = front.refusal(approve)
    assert code == "CH403" and "must be signed by an operator" in sentence


@pytest.mark.parametrize("forge", [
    lambda s, alice: os.urandom(70),
    lambda s, alice: b"\x30\x06\x02\x01\x01\x02\x01\x01",
    lambda s, alice: b"",
    lambda s, alice: alice.sign(s.text)[:-1],
    lambda s, alice: alice.sign(s.text + "\n"),
    lambda s, alice: alice.sign(s.but(reason="other").text),
    lambda s, alice: b"\0" * 1000,
], ids=["random", "one-one", "empty", "short", "longer-text", "other-text", "long"])
def test_bad_signature(front, unchanged, approve, alice, forge):
    decision = front.decide(approve, signature=forge(approve, alice), credential=alice.sha256)
    refused(front, decision, "signature")


def test_another_persons_key(front, unchanged, approve, alice, bob):
    """Signed by bob, said to be alice's."""
    refused(front, front.decide(approve, signature=bob.sign(approve.text), credential=alice.sha256), "signature")


def test_unknown_key(front, unchanged, approve):
    mallory = Key()
    code, sentence = front.refusal(approve, signature=mallory.sign(approve.text), credential=mallory.sha256)
    assert code == "CH403" and "is not registered" in sentence


def test_manager_makes_no_operators(front, unchanged, bob):
    body = f"person: mallory\nroles: administrator,manager\nkind: operator_key\n{Key().pem}"
    s = Statement("operator-add", object="mallory", body=body)
    code, sentence = front.refusal(s, signature=bob.sign(s.text), credential=bob.sha256, body=body)
    assert code == "CH403" and "bob is no administrator" in sentence
    # Nor under the name of an action that a manager may order: the text decides.
    row = s.but(action="template-apply")
    assert front.refusal(row, text=s.text, signature=bob.sign(s.text), credential=bob.sha256, body=body)[0] == "CH403"


def test_a_managers_statement_under_another_action(a, front, unchanged, bob, certificate):
    """The row says what bob may do, the text what he may not."""
    body = f"person: mallory\nroles: administrator\nkind: operator_key\n{Key().pem}"
    text = Statement("operator-add", object="mallory", body=body).text
    row = Statement("revoke", a.issuing, certificate, reason="keyCompromise")
    decision = front.decide(row, text=text, signature=bob.sign(text), credential=bob.sha256)
    refused(front, decision, "the statement says operator-add where the row says revoke")


def test_key_that_was_taken_away(a, front, approve, bob):
    a.database.execute("UPDATE chancery_store.credential SET revoked_at = now() WHERE spki_sha256 = %s", (bob.sha256,))
    try:
        code, sentence = front.refusal(approve, signature=bob.sign(approve.text), credential=bob.sha256)
        assert code == "CH403" and "no longer valid" in sentence
    finally:
        a.database.execute("UPDATE chancery_store.credential SET revoked_at = NULL WHERE spki_sha256 = %s", (bob.sha256,))


def test_role_that_was_taken_away(a, front, unchanged, request_b, bob):
    """The role ends between the front's look and the issuer's."""
    request, csr = request_b
    s = Statement("approve", a.issuing, request, template="tls-server/1", csr=csr)
    a.daemon.kill_role("issuer", signal.SIGSTOP)
    try:
        decision = front.decide(s, signature=bob.sign(s.text), credential=bob.sha256)
        a.database.execute("DELETE FROM chancery_store.person_role WHERE person_id = "
                           "(SELECT id FROM chancery_store.person WHERE name = 'bob')")
        a.daemon.kill_role("issuer", signal.SIGCONT)
        refused(front, decision, "approve needs the role manager, which bob does not have")
    finally:
        a.daemon.kill_role("issuer", signal.SIGCONT)
        a.database.execute("INSERT INTO chancery_store.person_role SELECT id, 'manager' FROM chancery_store.person "
                           "WHERE name = 'bob' ON CONFLICT DO NOTHING")


def test_a_decision_that_had_to_wait_counts_as_of_its_arrival(a, front, alice):
    """Handed in in time and looked at after its end: that is not the operator's fault."""
    for seconds in (2, 4, 8, 16, 32):  # the last ones for a machine too busy to hand it in in time
        request, csr = pending(a, f"waited-{seconds}")
        then = datetime.datetime.utcnow() + datetime.timedelta(seconds=seconds)
        s = Statement("approve", a.issuing, request, template="tls-server/1", csr=csr, expires=timestamp(then))
        a.daemon.kill_role("issuer", signal.SIGSTOP)
        try:
            decision = front.decide(s, signature=alice.sign(s.text), credential=alice.sha256)
            wait_until(lambda t=then: datetime.datetime.utcnow() > t + datetime.timedelta(seconds=1), what="its end")
        finally:
            a.daemon.kill_role("issuer", signal.SIGCONT)
        if a.database.one("SELECT received_at < expires_at FROM chancery_store.decision WHERE public_id = %s", (decision,)):
            break
    assert front.outcome(decision)[0] == "applied"


# ------------------------------------------------------------ bodies and objects


def test_altered_body(front, unchanged, alice):
    """The digest beside the row fits the forged body; that in the statement not."""
    shown = "name: harmless\n"
    s = Statement("template-apply", object="harmless", body=shown)
    forged = shown + "approval: automatic\n"
    row = s.but(body_sha256=hashlib.sha256(forged.encode()).hexdigest())
    decision = front.decide(row, text=s.text, signature=alice.sign(s.text), credential=alice.sha256, body=forged)
    refused(front, decision, "what came beside the statement is not what the operator signed")


def test_body_left_away(front, unchanged, alice):
    s = Statement("template-apply", object="harmless", body="name: harmless\n")
    decision = front.decide(s.but(body_sha256="-"), text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, "do not belong together")


def test_altered_policy_of_a_ca(a, front, unchanged, alice):
    policy = "subject: \"CN=Good\"\nkind: root\n"
    shown = limits.body(limits.document("forged-ca", [limits.operator("alice", alice)], limits.name_der("Good"), policy),
                        policy)
    forged = shown.replace("Good", "Evil")
    s = Statement("ca-create", "forged-ca", "forged-ca", body=shown)
    row = s.but(body_sha256=hashlib.sha256(forged.encode()).hexdigest())
    decision = front.decide(row, text=s.text, signature=alice.sign(s.text), credential=alice.sha256, body=forged)
    refused(front, decision, "its digest differs")


def test_approval_moved_to_another_request(front, unchanged, approve, request_b, alice):
    """alice approved request A; the row says B."""
    request, csr = request_b
    row = approve.but(object=request, csr_sha256=csr)
    decision = front.decide(row, text=approve.text, signature=alice.sign(approve.text), credential=alice.sha256)
    refused(front, decision, f"the statement is about request {approve['object']} and not about {request}")


def test_approval_of_another_csr(front, unchanged, approve, alice):
    s = approve.but(csr_sha256="00" * 32)
    decision = front.decide(approve, text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    # The row carries approve's nonce, which is the same here.
    refused(front, decision, "is not the one that the operator signed for")


def test_approval_under_another_template(front, unchanged, approve, alice):
    s = approve.but(template="tls-client/1")
    decision = front.decide(approve, text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, "is under template tls-server/1 and not under tls-client/1")


def test_statement_for_another_ca(a, front, unchanged, certificate, alice):
    s = Statement("revoke", a.root, certificate, reason="keyCompromise")
    decision = front.decide(s.but(ca=a.issuing), text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, f"the statement is about CA {a.root} and not about {a.issuing}")


def test_crl_of_another_ca(a, front, unchanged, alice):
    s = Statement("crl-issue", a.root, "full")
    decision = front.decide(s.but(ca=a.issuing), text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, f"the statement is about CA {a.root}")


def test_hold_made_a_revocation(a, front, unchanged, certificate, alice):
    s = Statement("hold", a.issuing, certificate, reason="certificateHold")
    row = s.but(action="revoke", reason="keyCompromise")
    decision = front.decide(row, text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, "the statement says hold where the row says revoke")


@pytest.mark.parametrize("text", [
    "", "x", "chancery-statement: 1\n", "action: approve\n" * 11,
    "chancery-statement: 2\n" + "x: y\n" * 10,
], ids=["empty", "letter", "one-line", "repeated", "version"])
def test_what_is_no_statement(front, unchanged, approve, alice, text):
    decision = front.decide(approve, text=text, signature=alice.sign(text), credential=alice.sha256)
    refused(front, decision, "statement")


def test_something_behind_a_statement(front, unchanged, approve, alice):
    text = approve.text + "object: 00000000-0000-0000-0000-000000000000\n"
    decision = front.decide(approve, text=text, signature=alice.sign(text), credential=alice.sha256)
    refused(front, decision, "something stands after")


# ----------------------------------------------------------------- time, nonces


@pytest.mark.parametrize("minutes, words", [(-20, "statement expired at"), (30, "is in the future")])
def test_time(front, unchanged, approve, alice, minutes, words):
    """The row claims to be of now; the statement is not."""
    then = datetime.datetime.utcnow() + datetime.timedelta(minutes=minutes)
    s = approve.but(issued=timestamp(then), expires=timestamp(then + datetime.timedelta(minutes=10)))
    decision = front.decide(approve, text=s.text, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, words)


def test_life_of_a_day(front, unchanged, approve, alice):
    s = approve.but(expires=timestamp(datetime.datetime.utcnow() + datetime.timedelta(days=1)))
    decision = front.decide(s, signature=alice.sign(s.text), credential=alice.sha256)
    refused(front, decision, "allowed: at most 900 s")


def test_replay(a, front, alice):
    """A hold that was released again must not come back by the old statement,
    nor a release after a second hold."""
    sha256 = issued(a, "replayed")
    done = {}

    def order(action, reason):
        s = Statement(action, a.issuing, sha256, reason=reason)
        decision = front.decide(s, signature=alice.sign(s.text), credential=alice.sha256)
        assert front.outcome(decision)[0] == "applied"
        done[action] = s, alice.sign(s.text), decision

    def replay(action, nonce=None):
        s, signature, _ = done[action]
        row = s.but(nonce=nonce) if nonce else s
        return front.decide(row, text=s.text, signature=signature, credential=alice.sha256)

    def status():
        return a.api.get(f"/v1/certificates/{sha256}").json()["status"]

    order("hold", "certificateHold")
    order("release", "-")
    assert status() == "good"
    assert replay("hold") == done["hold"][2]  # the same statement again: the first answer
    refused(front, replay("hold", os.urandom(16).hex()), "a statement counts once")
    assert status() == "good"
    order("hold", "certificateHold")
    refused(front, replay("release", os.urandom(16).hex()), "a statement counts once")
    assert status() == "on-hold"


def test_another_statement_under_a_used_nonce(front, unchanged, approve, alice):
    first = front.decide(approve, signature=os.urandom(70), credential=alice.sha256)
    refused(front, first, "signature")
    other = approve.but(reason="other")
    code, sentence = front.refusal(other, signature=alice.sign(other.text), credential=alice.sha256)
    assert code == "CH409" and "nonce was used" in sentence


# ------------------------------------------------------------ the first operator


@pytest.mark.parametrize("identity, local", [("uid:0", True), (f"uid:{os.geteuid()}", True), ("uid:4711", False)])
def test_no_second_first_operator(front, unchanged, identity, local):
    body = f"person: mallory\nroles: administrator,manager\nkind: operator_key\n{Key().pem}"
    s = Statement("operator-add", object="mallory", body=body)
    code, sentence = front.refusal(s, body=body, identity=identity, local=local)
    assert code == "CH403" and "must be signed" in sentence


def test_first_operator_twice_at_once(bare_instance):
    """Two unsigned ones, handed in before any operator exists: one counts."""
    front = Front(bare_instance.database)
    decisions = []
    for name in ("ann", "eve"):
        body = f"person: {name}\nroles: administrator,manager\nkind: operator_key\n{Key().pem}"
        decisions.append(front.decide(Statement("operator-add", object=name, body=body), body=body))
    bare_instance.start()
    outcomes = [front.outcome(d) for d in decisions]
    assert sorted(state for state, _ in outcomes) == ["applied", "refused"]
    assert any("an operator exists already" in sentence for _, sentence in outcomes)
    assert bare_instance.database.one("SELECT count(*) FROM chancery_store.person") == 1


def test_first_operator_from_elsewhere(bare_instance):
    """Unsigned, and not by root or the daemon's user: the front's word for where
    it came from is all there is, and it does not say so."""
    front = Front(bare_instance.database)
    body = f"person: eve\nroles: administrator\nkind: operator_key\n{Key().pem}"
    s = Statement("operator-add", object="eve", body=body)
    decision = front.decide(s, body=body, identity="uid:4711")
    bare_instance.start()
    refused(front, decision, "not signed by a registered operator's key")
    assert bare_instance.database.one("SELECT count(*) FROM chancery_store.person") == 0


# ------------------------------------------------------------- refused for good


@pytest.mark.parametrize("body, words", [
    ("name: [", "broken"),
    ("name: other-name\napproval: manual\nvalidity: 1d\nexceed_issuer: cut\nkey: {types: [ec], curves: [p256]}\n"
     "subject: {from: request, required: [CN], allowed: [CN]}\nsan: {allowed: [dns], required: true, max: 3}\n"
     "key_usage: [digitalSignature]\nextended_key_usage: [serverAuth]\n", "calls itself other-name and not broken"),
])
def test_signed_nonsense_is_refused_once(front, unchanged, alice, body, words):
    s = Statement("template-apply", object="broken", body=body)
    decision = front.decide(s, signature=alice.sign(s.text), credential=alice.sha256, body=body)
    refused(front, decision, words)
    assert front.database.one("SELECT epoch FROM chancery_store.decision WHERE public_id = %s", (decision,)) == 1


def test_what_the_database_refuses_for_good_is_closed(front, unchanged, alice):
    """A person's name that passes the statement's rules and no role that exists."""
    body = f"person: carol\nroles: emperor\nkind: operator_key\n{Key().pem}"
    s = Statement("operator-add", object="carol", body=body)
    decision = front.decide(s, signature=alice.sign(s.text), credential=alice.sha256, body=body)
    refused(front, decision, "roles are administrator, manager, auditor, submitter")


def test_the_log_names_who_and_what(a, front, approve, alice):
    decision = front.decide(approve.but(nonce=os.urandom(16).hex()), text=approve.text, signature=os.urandom(64),
                            credential=alice.sha256)
    front.outcome(decision)
    assert re.search(rf"{decision}: refused approve received via uid:0: .*signature", a.daemon.process.log())
