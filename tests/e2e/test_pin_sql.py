"""What waits for a PIN, and the entries on their way: the functions of 0010_pin.sql."""

import hashlib
import os

import psycopg2
import pytest

from harness.rows import Issuer, certificate, seed, serial, submit

TOKEN_UP = ("SELECT report_token(1, 'main', 'locked', 'waits for a PIN', '', '', '', 1, 0, now(), NULL, NULL, 'operation',"
            " %s, 'text', '\\x01', '\\x02')")
START = "ab" * 16


@pytest.fixture
def queue(database):
    return seed(database)


@pytest.fixture
def issuer(queue):
    made = Issuer(queue)
    with made.connection.cursor() as cursor:
        cursor.execute("SET search_path = chancery_store, pg_temp")  # as db/connect.c pins it
    yield made
    made.close()


def signing(queue, issuer, count=1):
    """Claims of requests whose serial and bytes are committed, with those bytes."""
    submit(queue, count=count)
    claims = sorted(issuer.claim(limit=256), key=lambda c: c["request_id"])
    tbs = [b"tbs" + serial() for _ in claims]
    issuer.finish(claims)
    assert len(issuer.begin(claims, [t[3:] for t in tbs], tbs)) == count
    return claims, tbs


def wait(issuer, claims, said=None, wait_s=3600, signer=1):
    return issuer.ids("await_pins(%s::bigint[], %s::int[], %s::text[], %s, %s)", *issuer.keys(claims),
                      [said] * len(claims), signer, wait_s)


def take(issuer, digests, signer=1, token="main"):
    return sorted(issuer.call("claim_pins(%s, %s, %s::bytea[], 60)", token, signer, digests), key=lambda c: c["request_id"])


def waiting(queue):
    return queue.one("SELECT count(*) FROM chancery_store.pin_operation")


def digest(tbs):
    return hashlib.sha256(tbs).digest()


def test_what_waits_is_listed_taken_once_and_issued(queue, issuer):
    claims, tbs = signing(queue, issuer, 3)
    assert len(wait(issuer, claims)) == 3
    assert wait(issuer, claims) == []  # it waits already
    states = queue.execute("SELECT state, lease_until, retry_at = 'infinity', reason FROM chancery_store.request_queue")
    assert states == [("awaiting-pin", None, True, 'waits for a PIN of token "main" (chancery pin enter)')] * 3
    assert issuer.claim() == []
    listed = queue.one("SELECT chancery.api_pin_operations('uid:0', 'main', NULL, NULL)", user="chancery_front")["operations"]
    assert [o["sha256"] for o in listed] == [digest(t).hex() for t in tbs]
    assert {(o["kind"], o["ca"], o["template"], o["cka_id"]) for o in listed} == {("certificate", "demo", "auto/1", "01")}
    assert queue.one("SELECT chancery.api_pin_operations('uid:0', 'other', NULL, NULL)", user="chancery_front") == {
        "operations": [], "next": None}
    # Another signer's issuer, another token, another digest: nothing.
    assert take(issuer, [digest(tbs[0])], signer=2) == []
    assert take(issuer, [digest(tbs[0])], token="other") == []
    assert take(issuer, [digest(b"other")]) == []
    taken = take(issuer, [digest(tbs[1]), digest(tbs[1]), digest(tbs[0])])
    assert [(c["request_id"], c["epoch"], c["tbs"]) for c in taken] == [
        (claims[0]["request_id"], 2, tbs[0]), (claims[1]["request_id"], 2, tbs[1])]
    assert take(issuer, [digest(tbs[0])]) == [] and waiting(queue) == 1
    # The former claim is fenced off.
    assert issuer.complete(claims[:1], [certificate(tbs[0])]) == []
    assert len(issuer.complete(taken, [certificate(tbs[0]), certificate(tbs[1])])) == 2


def test_what_was_refused_waits_again_with_the_sentence(queue, issuer):
    claims, tbs = signing(queue, issuer)
    wait(issuer, claims)
    until = queue.one("SELECT expires_at FROM chancery_store.pin_operation")
    taken = take(issuer, [digest(tbs[0])])
    wait(issuer, taken, said="the token is away")
    assert queue.execute("SELECT said, expires_at FROM chancery_store.pin_operation") == [("the token is away", until)]
    assert "before: the token is away" in queue.one("SELECT reason FROM chancery_store.request_queue")


def test_a_crash_between_entry_and_signature_waits_again(queue, issuer):
    claims, tbs = signing(queue, issuer)
    wait(issuer, claims)
    take(issuer, [digest(tbs[0])])
    queue.execute("UPDATE chancery_store.request_queue SET lease_until = now() - interval '1 s'")
    assert issuer.ids("sweep_leases()") == [1] and waiting(queue) == 0
    again = issuer.claim()
    assert [c["tbs"] for c in again] == tbs  # the same bytes, and no other
    assert len(issuer.begin(again, [again[0]["serial"]], tbs)) == 1 and len(wait(issuer, again)) == 1


def test_it_gets_a_new_serial_when_nobody_came(queue, issuer):
    claims, tbs = signing(queue, issuer, 2)
    wait(issuer, claims[:1], wait_s=0)
    wait(issuer, claims[1:])
    assert issuer.ids("expire_pins()") == [1] and waiting(queue) == 1
    again = issuer.claim()
    assert [(c["request_id"], c["serial"]) for c in again] == [(claims[0]["request_id"], None)]
    fresh = serial()
    assert len(issuer.begin(again, [fresh])) == 1
    assert queue.one("SELECT count(*) FROM chancery_store.serial_intent") == 3  # the first one stays given away


def test_an_entry_is_handed_out_once(queue, issuer):
    queue.execute("SET search_path = chancery_store, pg_temp; " + TOKEN_UP, (START,))

    def enter(nonce=None, instance=START, expires="5 min", token="main", user="uid:0"):
        return queue.one("SELECT chancery.api_pin_enter(%s, %s, 'pin-operate', %s, 1, %s, now() + %s::interval, 'statement',"
                         " 'body', '\\x01', '\\x02')", (user, token, instance, nonce or os.urandom(16), expires),
                         user="chancery_front")

    def deliver(instance=START, signer=1):
        return issuer.call("take_pin_entry('main', %s, %s, false)", signer, instance)

    nonce = os.urandom(16)
    first = enter(nonce)
    assert first["state"] == "queued"
    assert enter(nonce)["id"] == first["id"]  # sent again, not carried twice
    assert deliver(signer=2) == []
    row, = deliver()
    assert (row["statement"], row["body"], row["spki"], row["signature"]) == ("statement", "body", b"\x01", b"\x02")
    assert deliver() == []
    assert queue.execute("SELECT state, num_nonnulls(statement, body, spki, signature) FROM chancery_store.pin_entry") == [
        ("delivered", 0)]
    issuer.call("end_pin_entry(%s, 'done', 'signs 1 operation')", row["id"])
    issuer.call("end_pin_entry(%s, 'refused', 'no')", row["id"])  # it has its end
    seen = queue.one("SELECT chancery.api_pin_entry('uid:0', %s)", (first["id"],), user="chancery_front")
    assert (seen["state"], seen["outcome"]) == ("done", "signs 1 operation")
    # Refused at once, and on record all the same.
    assert "started anew" in enter(instance="cd" * 16)["outcome"]
    assert "no issuer reports" in enter(token="none")["outcome"]
    assert "has expired" in enter(expires="-1 s")["outcome"]
    assert "ten minutes" in enter(expires="1 h")["outcome"]
    with pytest.raises(psycopg2.Error) as caught:
        enter(user="tls:" + "00" * 32)
    assert caught.value.pgcode == "CH403"
    # The signer starts anew while an entry waits.
    late = enter()
    assert deliver(instance="cd" * 16) == []
    assert "started anew" in queue.one("SELECT outcome FROM chancery_store.pin_entry WHERE public_id = %s", (late["id"],))
    actions = [a for a, in queue.execute("SELECT action FROM chancery_store.audit WHERE action LIKE 'pin.%%' ORDER BY id")]
    assert actions == ["pin.received", "pin.refused", "pin.done"] + ["pin.refused"] * 4 + ["pin.received", "pin.refused"]


def test_entries_have_their_turn(queue, issuer):
    """Whoever was served last waits longest; who locks waits for nobody; nobody fills the queue."""
    queue.execute("SET search_path = chancery_store, pg_temp; " + TOKEN_UP, (START,))

    def enter(user, action="pin-operate"):
        # As the front does it, for whoever calls.
        return queue.one("SET search_path = chancery_store, pg_temp; INSERT INTO pin_entry (token, signer_id, instance, action,"
                         " operations, spki_sha256, nonce, statement, body, spki, signature, expires_at, received_via, state)"
                         " VALUES ('main', 1, %s, %s, 1, sha256('x'), %s, 's', 'b', '\\x01', '\\x02', now() + interval '5 min',"
                         " %s, 'queued') RETURNING id", (START, action, os.urandom(16), user))

    def take(busy=False):
        rows = issuer.call("take_pin_entry('main', 1, %s, %s)", START, busy)
        return rows[0]["id"] if rows else None

    def obstacle(user, action="pin-operate"):
        return queue.one("SET search_path = chancery_store, pg_temp; SELECT pin_entry_obstacle(%s, 'main', %s, %s,"
                         " now() + interval '5 min')", (user, action, START))

    a = [enter("uid:1") for _ in range(3)]
    b = [enter("uid:2") for _ in range(2)]
    lock = enter("uid:3", "pin-lock")
    assert take(busy=True) == lock and take(busy=True) is None
    issuer.call("end_pin_entry(%s, 'done', 'locked')", lock)
    served = []
    for _ in range(5):
        served.append(take())
        issuer.call("end_pin_entry(%s, 'done', 'x')", served[-1])
    assert served == [a[0], b[0], a[1], b[1], a[2]]
    # One that the signer did not look at keeps its place.
    first, second = enter("uid:1"), enter("uid:1")
    assert take() == first
    issuer.call("return_pin_entry(%s, 's', 'b', '\\x01', '\\x02', 'another PIN entry has 3 operations to go')", first)
    seen = queue.one("SET search_path = chancery_store, pg_temp; SELECT pin_entry_json(e) FROM pin_entry e WHERE id = %s", (second,))
    assert (seen["state"], seen["ahead"]) == ("queued", 1)
    assert take() == first
    issuer.call("return_pin_entry(%s, 's', 'b', '\\x01', '\\x02', 'x')", second)  # it was not given out
    # Bounded, for each and for all; a full queue keeps nobody from locking.
    assert obstacle("uid:1") is None
    enter("uid:1"), enter("uid:1")
    assert "four of your entries" in obstacle("uid:1") and obstacle("uid:2") is None
    for n in range(12):
        enter(f"uid:{n + 10}")
    assert "sixteen entries" in obstacle("uid:2") and obstacle("uid:1", "pin-lock") is None
    queue.execute("UPDATE chancery_store.pin_entry SET expires_at = now() - interval '1 s'")
    assert take() is None and obstacle("uid:1") is None


def test_who_may_do_what(queue, issuer):
    for statement in ("SELECT chancery.api_pin_operations('uid:0', NULL, NULL, NULL)",
                      "SELECT chancery.api_pin_entry('uid:0', 'x')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            queue.execute(statement, user="service_one")
    for statement in ("SELECT FROM chancery_store.pin_entry", "SELECT chancery_store.take_pin_entry('main', 1, '', false)",
                      "SELECT chancery_store.claim_pins('main', 1, '{}', 1)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            queue.execute(statement, user="chancery_front")
    for statement in ("INSERT INTO chancery_store.pin_entry DEFAULT VALUES", "DELETE FROM chancery_store.pin_entry",
                      "UPDATE chancery_store.pin_entry SET instance = ''", "UPDATE chancery_store.pin_operation SET sha256 = ''"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            queue.execute(statement, user="chancery_issuer")


def building(queue, issuer, upto=0):
    queue.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() - interval '1 s'")
    job, = issuer.call("begin_crl(1, false, NULL, NULL, 3600, 30)")
    issuer.call("crl_spooled(%s, %s, %s, 0, %s, 30, 0)", job["crl_id"], job["epoch"], upto, digest(b"crl%d" % job["crl_id"]))
    assert issuer.call("await_pin_crl(%s, %s, 1, NULL)", job["crl_id"], job["epoch"]) == []
    return job


def prepared(queue, issuer):
    """A complete CRL that waits, and the delta beside it, which is still to be spooled."""
    queue.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() - interval '1 s'")
    job, = issuer.call("begin_crl(1, false, NULL, NULL, 3600, 30)")
    issuer.call("crl_spooled(%s, %s, 0, 0, %s, 30, 0)", job["crl_id"], job["epoch"], digest(b"crl%d" % job["crl_id"]))
    delta, = issuer.call("await_pin_crl(%s, %s, 1, NULL, 600, 30)", job["crl_id"], job["epoch"])
    assert delta["prepared"] and delta["delta"] and delta["number"] == job["number"] and not delta["resume"]
    return job, delta


def spool_delta(issuer, delta):
    return issuer.call("crl_spooled(%s, %s, 0, 0, %s, 30, 0)", delta["crl_id"], delta["epoch"], digest(b"crl%d" % delta["crl_id"]))


def test_a_delta_waits_beside_its_complete_crl(queue, issuer):
    job, delta = prepared(queue, issuer)
    assert waiting(queue) == 1 and due(issuer) == []  # what is not spooled cannot be listed
    spool_delta(issuer, delta)
    assert waiting(queue) == 2 and due(issuer) == []
    # It does not go alone.
    digests = [digest(b"crl%d" % j["crl_id"]) for j in (job, delta)]
    assert issuer.call("claim_pin_crls('main', 1, %s::bytea[], 30)", digests[1:]) == [] and waiting(queue) == 2
    taken, = issuer.call("claim_pin_crls('main', 1, %s::bytea[], 30)", digests)
    assert taken["crl_id"] == job["crl_id"] and waiting(queue) == 0
    # The PIN was wrong: both wait again.
    assert issuer.call("await_pin_crl(%s, %s, 1, 'no', 600, 30)", taken["crl_id"], taken["epoch"]) == []
    assert waiting(queue) == 2
    # One that is made anew takes both along.
    queue.execute("UPDATE chancery_store.crl SET stale_at = now(), this_update = this_update - interval '1 s'")
    _, second = prepared(queue, issuer)
    assert queue.execute("SELECT number::int, delta, state, artifact_id IS NULL FROM chancery_store.crl ORDER BY id") == [
        (1, False, "burnt", True), (1, True, "burnt", True), (2, False, "awaiting-pin", False), (2, True, "prepared", False)]
    # Who prepared it is gone, or failed: it is made when the complete one is issued.
    issuer.call("burn_crl(%s, %s, 'no disk', true)", second["crl_id"], second["epoch"])
    assert queue.execute("SELECT state, lease_until FROM chancery_store.crl WHERE id = %s", (second["crl_id"],)) == [("prepared", None)]
    assert queue.one("SELECT alarm FROM chancery_store.crl_scope").startswith("CRL number 2 waits for a PIN")


def due(issuer):
    return issuer.call("due_scopes('{main}', '{10}', '{}')")


def test_a_crl_waits_and_is_made_anew_for_a_compromise(queue, issuer):
    job = building(queue, issuer)
    alarm = queue.one("SELECT alarm FROM chancery_store.crl_scope")
    assert "CRL number 1 waits for a PIN" in alarm and "clients have none yet" in alarm
    assert due(issuer) == [] and issuer.call("begin_crl(1, false, NULL, NULL, 3600, 30)") == []
    event = ("INSERT INTO chancery_store.revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at,"
             " not_after) VALUES (1, %s, 1, '\\x01', 'revoke', %s, now(), now() + interval '1 y')")
    queue.execute(event, (1, 4))
    assert due(issuer) == []  # superseded: the next one shows it
    queue.execute(event, (2, 1))
    assert len(due(issuer)) == 1
    queue.execute("UPDATE chancery_store.crl SET this_update = this_update - interval '1 s'")
    second = building(queue, issuer, upto=2)
    assert second["crl_id"] != job["crl_id"] and due(issuer) == []
    assert queue.execute("SELECT state FROM chancery_store.crl ORDER BY id") == [("burnt",), ("awaiting-pin",)]
    assert queue.execute("SELECT crl_id, object FROM chancery_store.pin_operation") == [(second["crl_id"], "2")]
    taken, = issuer.call("claim_pin_crls('main', 1, %s::bytea[], 30)", [digest(b"crl%d" % second["crl_id"])])
    assert (taken["crl_id"], taken["resume"], taken["epoch"]) == (second["crl_id"], True, second["epoch"] + 1)
    assert waiting(queue) == 0


def test_an_order_displaces_the_calendar(queue, issuer):
    building(queue, issuer)
    queue.execute("UPDATE chancery_store.crl SET this_update = this_update - interval '1 s'")
    queue.execute("INSERT INTO chancery_store.decision (action, ca_id, statement, nonce, expires_at, state, received_via, epoch)"
                  " VALUES ('crl-issue', 1, '', substr(sha256('n'), 1, 16), now(), 'working', 'uid:0', 1)")
    job, = issuer.call("begin_crl(1, false, 1, 1, 3600, 30)")
    assert queue.execute("SELECT state FROM chancery_store.crl ORDER BY id") == [("burnt",), ("building",)]
    issuer.call("crl_spooled(%s, %s, 0, 0, %s, 30, 0)", job["crl_id"], job["epoch"], digest(b"ordered"))
    issuer.call("await_pin_crl(%s, %s, 1, NULL)", job["crl_id"], job["epoch"])
    assert queue.execute("SET search_path = chancery_store; SELECT waits_for_pin(d) FROM decision d") == [(True,)]


def test_a_crl_grows_stale(queue, issuer):
    building(queue, issuer)
    queue.execute("UPDATE chancery_store.crl SET stale_at = now(), this_update = this_update - interval '1 s'")
    assert len(due(issuer)) == 1
    building(queue, issuer)
    assert waiting(queue) == 1


def test_each_look_is_served_by_an_index(queue, issuer):
    queue.execute("INSERT INTO chancery_store.pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, request_id,"
                  " expires_at) SELECT 'main', 1, 'certificate', 'demo', n::text, '\\x01', sha256(n::text::bytea), n,"
                  " now() + interval '1 day' FROM generate_series(1, 20000) n")
    queue.execute("ANALYZE chancery_store.pin_operation")
    for condition, index in (
            ("sha256 = '\\x00' AND token = 'main'", "by_digest"),
            ("token = 'other' AND id > 5 ORDER BY id LIMIT 10", "by_token"),
            ("expires_at <= now() AND request_id IS NOT NULL ORDER BY request_id LIMIT 10", "by_end"),
            ("public_id = '00000000-0000-4000-8000-000000000000'", "public_id")):
        plan = "\n".join(r for r, in queue.execute("EXPLAIN SELECT * FROM chancery_store.pin_operation WHERE " + condition))
        assert index in plan and "Seq Scan" not in plan, plan
