"""Several issuers on one database, and the end of one with work in flight."""

import hashlib
import time

import pytest
from cryptography import x509

from harness import clients, limits
from harness.authority import AUTOMATIC, PASSPHRASE
from harness.chanceryd import program, sanitized
from harness.decisions import Front, Key, Statement
from harness.lone_issuer import LoneIssuer
from harness.process import run, wait_until


class Resting:
    """An authority that was set up, and whose daemon was stopped; orders are
    signed and handed in by SQL."""

    def __init__(self, authority):
        self.a = authority
        self.database = authority.database
        self.front = Front(authority.database)
        self.key = Key.load(authority.operator_key, PASSPHRASE)

    def sql(self, query, *args):
        return self.database.execute("SET search_path = chancery_store; " + query, args)

    def one(self, query, *args):
        return self.database.one("SET search_path = chancery_store; " + query, args)

    def content(self, artifact):
        return b"".join(bytes(data) for data, in self.sql(
            "SELECT data FROM artifact_chunk WHERE artifact_id = %s ORDER BY position", artifact))

    def order(self, statement, body=None):
        return self.front.decide(statement, signature=self.key.sign(statement.text), credential=self.key.sha256, body=body)

    def outcome(self, decision):
        state, sentence = self.front.outcome(decision)
        assert state == "applied", sentence

    def submit(self, name, ca, template, key=None):
        return self.a.submit_by_sql(clients.host_csr(name, key), ca, template)


@pytest.fixture
def resting(new_authority):
    a = new_authority(signer_ids=[1, 2, 3])
    a.apply_automatic()
    a.create_issuing("many", templates=["many", "tls-server"], limits={"signer_ids": [1, 2, 3]})
    wait_until(lambda: a.database.one(
        "SELECT count(*) FROM chancery_store.crl_scope s WHERE next_full_at > now() + interval '1 h' AND NOT EXISTS "
        "(SELECT FROM chancery_store.crl WHERE scope_id = s.id AND state IN ('building', 'signing'))") == 3,
        what="the first CRLs")
    assert a.daemon.stop() == 0
    return Resting(a)


@pytest.fixture
def new_issuer(resting, new_dir):
    made = []

    def make(signer_id, **more):
        issuer = LoneIssuer(new_dir(f"issuer{signer_id}"), resting.a, signer_id, **more)
        made.append(issuer)
        return issuer.start()

    yield make
    for issuer in made:
        issuer.close()


def check_crls(r):
    """What is issued is what was committed; nothing is open."""
    wait_until(lambda: r.one("SELECT count(*) FROM crl WHERE state IN ('building', 'signing')") == 0,
               what="an end of all CRLs")
    for number, committed, artifact in r.sql(
            "SELECT number, tbs_sha256, artifact_id FROM crl WHERE state = 'issued' ORDER BY id"):
        crl = x509.load_der_x509_crl(r.content(artifact))
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
        assert hashlib.sha256(crl.tbs_certlist_bytes).digest() == bytes(committed)


# ------------------------------------------------------------- several at once


@pytest.mark.slow
def test_two_issuers_share_everything(resting, new_issuer):
    """Requests, decisions and CRLs: each is done once, by whoever comes first; the
    sudden death of one stops nothing."""
    r = resting
    count = 60 if sanitized() else 200
    one, two = new_issuer(1), new_issuer(2)
    requests = [r.submit(f"n{n}.example", "many", "many") for n in range(count)]
    orders = [r.order(Statement("crl-issue", "many", "full")) for _ in range(3)]
    wait_until(lambda: r.one("SELECT count(*) FROM request WHERE state = 'issued' AND public_id = ANY (%s::uuid[])",
                             [str(q) for q in requests]) > count // 4, what="a quarter of the certificates")
    one.kill()
    requests += [r.submit(f"m{n}.example", "many", "many") for n in range(count // 2)]
    r.a.end_leases()
    one = new_issuer(3)
    wait_until(lambda: r.one("SELECT count(*) FROM request WHERE state <> 'issued' AND public_id = ANY (%s::uuid[])",
                             [str(q) for q in requests]) == 0, what="all certificates")
    for order in orders:
        r.outcome(order)

    rows = r.sql("SELECT r.public_id, c.serial, c.der, i.tbs_sha256 FROM request r JOIN certificate c ON c.request_id = r.id "
                 "JOIN serial_intent i USING (issuer_name_id, serial) WHERE r.public_id = ANY (%s::uuid[])",
                 [str(q) for q in requests])
    assert len(rows) == len(requests) == len({bytes(row[1]) for row in rows})
    makers = set()
    for _, serial, der, committed in rows:
        certificate = x509.load_der_x509_certificate(bytes(der))
        assert hashlib.sha256(certificate.tbs_certificate_bytes).digest() == bytes(committed)
        makers.add(int.from_bytes(bytes(serial)[1:3], "big"))
    print(f"serials of the issuers {sorted(makers)}")
    assert len(makers) >= 2
    check_crls(r)
    assert two.issuer.alive() and one.issuer.alive()


@pytest.mark.smoke
def test_orders_reach_a_host_that_was_away(resting, new_issuer):
    """A host without any files of the first one learns of the keys by what operators ordered, and of what they
    changed while it was off before it is asked to sign: nothing is refused meanwhile."""
    r = resting
    two = new_issuer(2)

    def issued_by_two(name):
        request = r.submit(name, "many", "many")
        wait_until(lambda: r.one("SELECT state FROM request WHERE public_id = %s", request) in ("issued", "failed"),
                   what="an end")
        serial, = r.sql("SELECT c.serial FROM request r JOIN certificate c ON c.request_id = r.id WHERE r.public_id = %s",
                        request)
        return bytes(serial[0])[1:3] == b"\x00\x02"

    def shown():
        return run([program("chancery-signer"), "--config", two.settings.config_path, "--token", "main",
                    "--show-limits"], text=True).stdout.split("CA many\n")[1]

    assert issued_by_two("before.example") and "version 1," in shown()
    two.kill()
    r.a.daemon.start()
    key = clients.write(r.a.files, "carol.pub", Key().pem)
    r.a.cli("operator", "add", "carol", "--role", "manager", "--key", key)
    r.a.cli("ca", "limits", "change", "many", "--add-operator", "carol")
    r.a.cli("ca", "limits", "change", "many", "--remove-operator", "carol")
    assert r.a.daemon.stop() == 0
    two.start()
    assert issued_by_two("after.example") and "version 3," in shown()


def test_another_issuer_takes_a_crl_over(resting, new_issuer):
    """The first one's token hangs; when its lease has ended the second one signs
    the same bytes, and what the first one does afterwards changes nothing."""
    r = resting
    slow = new_issuer(9, silent=True)
    order = r.order(Statement("crl-issue", "many", "full"))
    row = wait_until(lambda: r.sql("SELECT id, number, tbs_sha256 FROM crl WHERE state = 'signing'"), what="signing")[0]
    new_issuer(2)

    def taken_over():
        # Again and again: the first one renews it, for as long as it is its own.
        r.sql("UPDATE crl SET lease_until = now() WHERE id = %s AND epoch = 1", row[0])
        return r.one("SELECT epoch FROM crl WHERE id = %s", row[0]) > 1

    wait_until(taken_over, what="the second one's turn")
    r.outcome(order)
    assert r.sql("SELECT number, tbs_sha256, state, epoch FROM crl WHERE id = %s", row[0]) == [(row[1], row[2], "issued", 2)]
    # The first one notices by its next renewal and lets go.
    wait_until(lambda: "another issuer took this CRL over" in slow.issuer.log(), what="the first one's insight")
    check_crls(r)


def test_a_crl_is_left_to_who_has_the_duty(resting, new_issuer):
    """Its signer says who that is; the issuer puts the CRL back, and makes no noise about it."""
    r = resting
    one = new_issuer(1, crl_lease="1h")
    r.outcome(r.order(Statement("crl-issue", "many", "full")))
    one.kill()
    two = new_issuer(2)
    order = r.order(Statement("crl-issue", "many", "full"))
    row = wait_until(lambda: r.sql("SELECT id, number, tbs_sha256 FROM crl WHERE state = 'signing'"), what="signing")[0]
    wait_until(lambda: "by signer 1, which has that duty until" in two.issuer.log(), what="whose it is")
    wait_until(lambda: r.one("SELECT epoch FROM crl WHERE id = %s", row[0]) > 1, what="another attempt")
    one.start()
    r.outcome(order)
    assert r.sql("SELECT number, tbs_sha256, state FROM crl WHERE id = %s", row[0]) == [(row[1], row[2], "issued")]
    said = [line for line in two.issuer.log().splitlines() if "which has that duty" in line]
    assert [line.split()[1] for line in said if " debug " not in line] == ["info"], said
    check_crls(r)


def test_a_dead_signer_begins_no_number(resting, new_issuer):
    """An issuer without a signer leaves CRLs to others and tells the operator."""
    r = resting
    issuer = new_issuer(9, silent=True)
    issuer.channel.close()
    issuer.channel = None
    wait_until(lambda: "lost the signer" in issuer.issuer.log(), what="the loss")
    numbers = r.sql("SELECT last_number FROM crl_scope ORDER BY id")
    order = r.order(Statement("crl-issue", "many", "full"))
    wait_until(lambda: r.one("SELECT outcome FROM decision WHERE public_id = %s", order) is not None, what="a sentence")
    assert r.one("SELECT outcome FROM decision WHERE public_id = %s", order) == "token main has no signer running"
    r.sql("UPDATE crl_scope SET next_full_at = now()")
    wait_until(lambda: r.one("SELECT epoch FROM decision WHERE public_id = %s", order) >= 2, what="further attempts")
    assert r.sql("SELECT last_number FROM crl_scope ORDER BY id") == numbers
    issuer.issuer.kill()
    new_issuer(2)
    r.outcome(order)


def test_an_issuer_without_the_token_leaves_its_work_to_others(resting, new_issuer):
    """It does what needs no token, and does not take up what it would have to put back."""
    r = resting
    stranger = new_issuer(2, silent=True, token="elsewhere")
    request = r.submit("left.example", "many", "many")
    crl = r.order(Statement("crl-issue", "many", "full"))
    for n in range(2):  # each of its looks is at requests and orders
        r.sql("UPDATE decision SET received_at = now() WHERE public_id = %s", crl)
        text = AUTOMATIC.replace("name: many", f"name: other{n}")
        r.outcome(r.order(Statement("template-apply", "-", f"other{n}", body=text), text))
    assert r.sql("SELECT state, epoch FROM request WHERE public_id = %s", request) == [("submitted", 0)]
    assert r.sql("SELECT state, epoch FROM decision WHERE public_id = %s", crl) == [("queued", 0)]
    new_issuer(1)
    wait_until(lambda: r.one("SELECT state FROM request WHERE public_id = %s", request) == "issued", what="the certificate")
    r.outcome(crl)
    assert stranger.issuer.alive()
    check_crls(r)


def test_an_order_that_no_host_can_carry_out_is_told_of(resting, new_issuer):
    r = resting
    new_issuer(2, silent=True, token="elsewhere")
    crl = r.order(Statement("crl-issue", "many", "full"))
    r.sql("UPDATE decision SET received_at = now() - interval '11 s' WHERE public_id = %s", crl)
    wait_until(lambda: r.one("SELECT outcome FROM decision WHERE public_id = %s", crl) is not None, what="a sentence")
    assert r.one("SELECT outcome FROM decision WHERE public_id = %s", crl) == "token main has no signer running"


def test_a_hanging_token_holds_up_its_own_orders_only(resting, new_issuer):
    """More of them than the issuer takes in hand, and its signer never answers: what needs no token is decided."""
    r = resting
    silent = new_issuer(9, silent=True)
    orders = [r.order(Statement("key-attest", "many", "many")) for _ in range(40)]
    state = "SELECT state, outcome FROM decision WHERE public_id = ANY (%s::uuid[])"
    wait_until(lambda: all(row != ("queued", None) for row in r.sql(state, orders)), what="each order's turn")
    text = AUTOMATIC.replace("name: many", "name: meanwhile")
    r.outcome(r.order(Statement("template-apply", "-", "meanwhile", body=text), text))
    rows = r.sql(state, orders)
    assert {row[0] for row in rows} <= {"queued", "working"}
    assert sum(row == ("working", None) for row in rows) == 4
    assert {row[1] for row in rows} == {None, "4 other orders wait for token main, and no more are taken up at a time"}
    silent.kill()
    r.a.end_leases()
    new_issuer(1)
    for order in orders:
        r.outcome(order)


def test_a_hanging_token_keeps_no_other_from_signing(resting, new_issuer):
    """Its signer does not even say whether it has its key: the other one is told what it needs, and signs."""
    r = resting
    r.sql("UPDATE token_key SET token = 'aside' WHERE id = (SELECT min(id) FROM token_key)")
    assert r.sql("SELECT token FROM key_versions(1)")[0] == ("aside",)
    new_issuer(1, beside="aside")
    request = r.submit("beside.example", "many", "many")
    wait_until(lambda: r.one("SELECT state FROM request WHERE public_id = %s", request) == "issued", what="a certificate")


# ------------------------------------------------------ the end, work in flight


@pytest.mark.smoke
def test_supervisor_gone_with_work_in_flight(resting, new_issuer):
    """The issuer ends by itself and in order: in the sanitizer's pass nothing is
    used after its end and nothing is left behind. All that it held goes back, so
    that nobody has to wait for a lease to end."""
    r = resting
    issuer = new_issuer(9, silent=True)
    request = r.submit("in-flight.example", "many", "many")
    crl = r.order(Statement("crl-issue", "many", "full"))
    policy = "subject: CN=never made\nkind: root\ntoken: main\nkey: p256\nvalidity: 10y\ntemplates: [sub-ca]\n" \
             "crl: {period: 30d, overlap: 3d}\n"
    made = limits.document("never-made", [limits.operator("alice", r.key)], limits.name_der("never made"), policy,
                           signer_ids="1,2")
    body = limits.body(made, policy)
    create = r.order(Statement("ca-create", "never-made", "never-made", body=body), body)

    def state():
        return (r.one("SELECT state FROM request WHERE public_id = %s", request),
                r.one("SELECT count(*) FROM crl WHERE state = 'signing' AND lease_until > now()"),
                r.one("SELECT state FROM decision WHERE public_id = %s", create))

    wait_until(lambda: state() == ("signing", 1, "working"), what="all three in the signer's hands")
    issuer.issuer.abandon()
    assert issuer.issuer.wait() == 1  # not by a signal, and not clean: it was not asked to
    assert state() == ("approved", 0, "queued")
    # The next one carries all of it out.
    new_issuer(2)
    r.outcome(crl)
    r.outcome(create)
    wait_until(lambda: state()[0] == "issued", what="the certificate")
    check_crls(r)


@pytest.mark.smoke
def test_database_gone_with_work_in_flight(resting, new_issuer):
    """Everything that waits for the database at that moment is answered or let go,
    and taken up again."""
    r = resting
    issuer = new_issuer(1)
    orders = []
    for turn in range(3):
        requests = [r.submit(f"t{turn}n{n}.example", "many", "many") for n in range(20)]
        orders.append(r.order(Statement("crl-issue", "many", "full")))
        time.sleep(0.05 * turn)  # another moment each time
        r.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chancery_issuer' AND "
              "datname = current_database()")
        r.a.end_leases()
        # Those in its hands just then have a lease that counts again.
        wait_until(lambda: r.one("SELECT count(*) FROM request WHERE state <> 'issued' AND public_id = ANY (%s::uuid[])",
                                 [str(q) for q in requests]) == 0, what="all certificates",
                   alive=issuer.issuer)
    for order in orders:
        r.outcome(order)
    check_crls(r)
    issuer.drain()
    assert issuer.issuer.wait() == 0
