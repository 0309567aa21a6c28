"""The database was taken over, and the daemon works on: whoever owns its tables
writes what they like into them, and gets no signature outside the limits. Lines of
tests/attacks.md."""

import hashlib
import os
import re

import pytest
from cryptography import x509

from harness import clients, der
from harness.authority import AUTOMATIC, PASSPHRASE
from harness.decisions import Front, Key, Statement
from harness.process import wait_until

REFUSED_NUMBER = re.compile(r"signer\[.*CRL number")
STORE = "SET search_path = chancery_store; "


class Owner:
    """Owns the tables of a running instance, and has alice's key for what she is
    asked to decide in good faith."""

    def __init__(self, authority):
        self.a = authority
        self.front = Front(authority.database)
        self.alice = Key.load(authority.operator_key, PASSPHRASE)
        self.mallory = Key()

    def sql(self, query, *args):
        return self.a.database.execute(STORE + query, args)

    def rewrite(self, table, query, *args):
        """Changes rows that a trigger keeps as they were."""
        self.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        self.sql(query, *args)
        self.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")

    def one(self, query, *args):
        return self.a.database.one(STORE + query, args)

    def submit(self, name, template="tls-server", ca=None, csr=None):
        return self.a.submit_by_sql(csr or clients.host_csr(name), ca, template)

    def pending(self, name, **more):
        """A request that waits for a decision, and its CSR."""
        csr = clients.host_csr(name)
        request = self.submit(name, csr=csr, **more)
        self.a.wait_state(request, "pending")
        return request, csr

    def statement(self, request, csr, ca=None, template="tls-server/1", **more):
        return Statement("approve", ca or self.a.issuing, request, template=template,
                         csr=hashlib.sha256(csr).hexdigest(), **more)

    def decision(self, request, text, signature, spki):
        """A row as the issuer leaves it behind when it has verified a decision."""
        self.sql(
            "INSERT INTO decision (action, request_id, credential_id, statement, signature, nonce, expires_at, state,"
            " received_via) SELECT 'approve', r.id, c.id, %s, %s, %s, now(), 'applied', 'uid:0' FROM request r, credential c"
            " WHERE r.public_id = %s AND c.spki = %s", text, signature, os.urandom(16), str(request), spki)

    def clear(self, request):
        """Decided, as far as the row says."""
        self.sql("UPDATE request_queue SET state = 'approved', cleared = true, retry_at = now() WHERE public_id = %s",
                 str(request))
        self.sql("NOTIFY chancery_work")

    def wake(self):
        """The issuer keeps what it has read of CAs: a new one reads it again."""
        self.a.daemon.kill_role("issuer")
        self.a.daemon.wait_ready()

    def refused(self, request, rule):
        answer = self.a.wait_state(request, "failed", "issued")
        assert answer["state"] == "failed", "it was issued"
        assert f": rule {rule} (" in answer["reason"], answer["reason"]
        assert self.one("SELECT count(*) FROM certificate c JOIN request r ON r.id = c.request_id WHERE r.public_id = %s",
                        str(request)) == 0


@pytest.fixture(scope="module")
def owner(shared_instance):
    a = shared_instance
    a.apply_automatic()
    a.create_issuing("quick", templates=["many", "tls-server"])
    made = Owner(a)
    # What is forged below is one change to these.
    a.wait_state(made.submit("good.example", "many", "quick"), "issued")
    request, csr = made.pending("approved.example")
    s = made.statement(request, csr)
    made.front.decide(s, signature=made.alice.sign(s.text), credential=made.alice.sha256)
    a.wait_state(request, "issued")
    made.genuine = s.text, made.alice.sign(s.text)
    return made


# ---------------------------------------------------------------- decisions


@pytest.mark.smoke
def test_approved_by_a_row(owner):
    request, _ = owner.pending("row.example")
    owner.clear(request)
    owner.refused(request, "approval")


def test_decision_with_a_made_up_signature(owner):
    request, csr = owner.pending("made-up.example")
    owner.decision(request, owner.statement(request, csr).text, os.urandom(70), owner.alice.spki)
    owner.clear(request)
    owner.refused(request, "decision-signature")


def test_operator_made_by_rows(owner):
    key = owner.mallory
    owner.sql("INSERT INTO person (name) VALUES ('mallory')")
    owner.sql("INSERT INTO person_role SELECT id, 'manager' FROM person WHERE name = 'mallory'")
    owner.sql("INSERT INTO credential (person_id, kind, spki, spki_sha256) SELECT id, 'operator_key', %s, sha256(%s)"
              " FROM person WHERE name = 'mallory'", key.spki, key.spki)
    request, csr = owner.pending("mallory.example")
    text = owner.statement(request, csr).text
    owner.decision(request, text, key.sign(text), key.spki)
    owner.clear(request)
    owner.refused(request, "decider")


def test_alices_credential_with_another_key(owner):
    """Her row, his key."""
    request, csr = owner.pending("exchanged.example")
    s = owner.statement(request, csr)
    other = Key()
    owner.sql("UPDATE credential SET spki = %s, spki_sha256 = sha256(%s) WHERE spki = %s", other.spki, other.spki,
              owner.alice.spki)
    try:
        owner.decision(request, s.text, other.sign(s.text), other.spki)
        owner.clear(request)
        owner.refused(request, "decider")
    finally:
        owner.sql("UPDATE credential SET spki = %s, spki_sha256 = sha256(%s) WHERE spki = %s", owner.alice.spki,
                  owner.alice.spki, other.spki)


def test_decision_of_another_request(owner):
    request, _ = owner.pending("another.example")
    owner.decision(request, *owner.genuine, owner.alice.spki)
    owner.clear(request)
    owner.refused(request, "decided-request")


def test_csr_exchanged_behind_the_decision(owner):
    request, csr = owner.pending("before.example")
    s = owner.statement(request, csr)
    owner.rewrite("request_record", "UPDATE request_record SET csr = %s WHERE public_id = %s",
                  clients.host_csr("after.example"), str(request))
    owner.front.decide(s, signature=owner.alice.sign(s.text), credential=owner.alice.sha256)
    owner.refused(request, "decided-request")


def test_request_moved_to_another_ca(owner):
    request, csr = owner.pending("moved.example")
    text = owner.statement(request, csr).text
    for table in ("request_record", "request_queue"):
        owner.rewrite(table, f"UPDATE {table} SET ca_id = (SELECT id FROM ca WHERE name = 'quick') WHERE public_id = %s", str(request))
    owner.decision(request, text, owner.alice.sign(text), owner.alice.spki)
    owner.clear(request)
    owner.refused(request, "decided-ca")


def test_denial_turned_into_an_approval(owner):
    request, csr = owner.pending("denied.example")
    s = Statement("deny", owner.a.issuing, request, template="tls-server/1", csr=hashlib.sha256(csr).hexdigest(),
                  reason="no")
    owner.decision(request, s.text, owner.alice.sign(s.text), owner.alice.spki)
    owner.clear(request)
    owner.refused(request, "action")


# ---------------------------------------------------------------- templates and CAs


def version(owner, body, name="many", automatic=True):
    """A new version of a template."""
    owner.sql("INSERT INTO template (name) VALUES (%s) ON CONFLICT DO NOTHING", name)
    owner.sql(
        "INSERT INTO template_version (template_id, version, body, body_sha256, automatic) SELECT t.id, coalesce(max("
        "v.version), 0) + 1, %s, sha256(convert_to(%s, 'UTF8')), %s FROM template t LEFT JOIN template_version v"
        " ON v.template_id = t.id WHERE t.name = %s GROUP BY t.id", body, body, automatic, name)


@pytest.mark.parametrize("rule, old, new", [
    ("key-usage", "[digitalSignature]", "[digitalSignature, nonRepudiation]"),
    ("extended-key-usage", "[serverAuth]", "[serverAuth, OCSPSigning]"),
    ("extended-key-usage", "extended_key_usage: [serverAuth]\n", ""),
    ("lifetime", "30d", "1y"),
], ids=["more usage", "a responder", "any purpose", "a year"])  # fmt: skip
def test_template_widened(owner, rule, old, new):
    assert old in AUTOMATIC
    version(owner, AUTOMATIC.replace(old, new))
    owner.refused(owner.submit("wide.example", "many", "quick"), rule)


def test_template_of_his_own(owner):
    version(owner, AUTOMATIC.replace("name: many", "name: evil"), "evil")
    owner.sql("INSERT INTO ca_template SELECT id, 'evil' FROM ca WHERE name = 'quick'")
    owner.sql("UPDATE ca SET policy = replace(policy, '- many', '- many' || E'\\n- evil') WHERE name = 'quick'")
    owner.wake()
    owner.refused(owner.submit("evil.example", "evil", "quick"), "template")


def test_manual_template_made_automatic(owner):
    body = owner.one("SELECT v.body FROM template_version v JOIN template t ON t.id = v.template_id"
                     " WHERE t.name = 'tls-client' ORDER BY version DESC LIMIT 1")
    version(owner, body.replace("approval: manual", "approval: automatic"), "tls-client")
    owner.refused(owner.submit("client.example", "tls-client"), "approval")


def test_bytes_of_his_own_as_an_intent(owner):
    """What is to be signed, written into the table that retries are signed from."""
    a = owner.a
    chain = x509.load_pem_x509_certificate(a.ca_pem("quick").encode())
    version(owner, AUTOMATIC)
    request, _ = owner.pending("intent.example")
    key = owner.mallory
    serial = bytes([1, 0, 1]) + int(chain.not_valid_before.timestamp() + 60).to_bytes(6, "big") + os.urandom(11)
    now = der.seconds(chain.not_valid_before) + 60
    tbs = der.Certificate(
        chain.subject.public_bytes(), der.name(("CN", "Evil CA")), key.spki, serial, now,
        chain.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest, {
            "basic_constraints": der.extension("basicConstraints", der.sequence(der.boolean(True)), True),
            "key_usage": der.extension("keyUsage", der.named_bits(["keyCertSign"]), True),
        }).der  # fmt: skip
    for table in ("request_record", "request_queue"):
        owner.rewrite(
            table, f"UPDATE {table} r SET ca_id = c.id, template_version_id = (SELECT max(v.id) FROM template_version v JOIN"
            " template t ON t.id = v.template_id WHERE t.name = 'many') FROM ca c WHERE c.name = 'quick'"
            " AND r.public_id = %s", str(request))
    owner.sql(
        "INSERT INTO intent_tbs (issuer_name_id, generation_id, scope_id, request_id, serial, tbs) SELECT a.issuer_name_id,"
        " g.id, s.id, r.id, %s, %s FROM request_record r, ca a JOIN generation g ON g.ca_id = a.id JOIN crl_scope s ON"
        " s.ca_id = a.id WHERE a.name = 'quick' AND r.public_id = %s", serial, tbs, str(request))
    owner.clear(request)
    owner.refused(request, "basic-constraints")


def test_cas_policy_changed(owner):
    """Signatures by another digest than the limits allow."""
    policy = owner.one("SELECT policy FROM ca WHERE name = %s", owner.a.issuing)
    owner.sql("UPDATE ca SET policy = policy || E'signature: sha512\\n' WHERE name = %s", owner.a.issuing)
    owner.wake()
    try:
        request, csr = owner.pending("policy.example")
        s = owner.statement(request, csr)
        owner.front.decide(s, signature=owner.alice.sign(s.text), credential=owner.alice.sha256)
        owner.refused(request, "algorithm")
    finally:
        owner.sql("UPDATE ca SET policy = %s WHERE name = %s", policy, owner.a.issuing)
        owner.wake()


# ---------------------------------------------------------------- what was used already


def test_one_decision_for_two_certificates(owner):
    """The request is put back to before its certificate."""
    request, csr = owner.pending("twice.example")
    s = owner.statement(request, csr)
    owner.front.decide(s, signature=owner.alice.sign(s.text), credential=owner.alice.sha256)
    owner.a.wait_state(request, "issued")
    owner.sql("DELETE FROM certificate WHERE request_id = (SELECT id FROM request_record WHERE public_id = %s)", str(request))
    owner.sql("INSERT INTO request_queue (request_id, ca_id, template_version_id, public_id, epoch, cleared, state)"
              " SELECT id, ca_id, template_version_id, public_id, 9, true, 'approved' FROM request_record"
              " WHERE public_id = %s", str(request))
    owner.sql("NOTIFY chancery_work")
    answer = owner.a.wait_state(request, "failed", "issued")
    assert answer["state"] == "failed" and "decision" in answer["reason"], answer


def test_crl_numbers_put_back(owner):
    """Another CRL under the number of the last."""
    scope = owner.one("SELECT s.id FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'quick'")
    wait_until(lambda: owner.one("SELECT count(*) FROM crl WHERE scope_id = %s AND state <> 'issued'", scope) == 0,
               what="the first CRLs")
    number = owner.one("SELECT last_number FROM crl_scope WHERE id = %s", scope)
    owner.sql("DELETE FROM crl WHERE scope_id = %s AND number = %s AND delta", scope, number)
    owner.sql("DELETE FROM crl WHERE scope_id = %s AND number = %s", scope, number)
    owner.sql("UPDATE crl_scope SET last_number = last_number - 1 WHERE id = %s", scope)
    s = Statement("crl-issue", "quick", "full")
    owner.front.decide(s, signature=owner.alice.sign(s.text), credential=owner.alice.sha256)
    wait_until(lambda: REFUSED_NUMBER.search(owner.a.daemon.process.log()), what="the signer's refusal")
    assert owner.one("SELECT count(*) FROM crl WHERE scope_id = %s AND number = %s AND state = 'issued'", scope, number) == 0
