"""Revocations and CRLs in the database: whatever commits when, no revocation
falls between a base and its delta, and no number has two contents."""

import random
import threading

import psycopg2
import pytest

from harness.issuer_sql import SqlIssuer
from harness.process import wait_until

HOLD, REMOVE = 6, 8


@pytest.fixture
def other(store):
    """Another issuer, whose steps are committed by hand."""
    made = SqlIssuer(store, autocommit=False)
    yield made
    made.close()


@pytest.fixture
def ca(store):
    return store.ca()


def full(store, issuer, ca, deltas=True, age="10 s"):
    """A scheduled complete CRL now, with its delta: their entries."""
    store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE id = %s", ca.scope)
    entries, together = issuer.build(issuer.begin(ca.scope), deltas)
    beside = issuer.build(together, deltas)[0] if together else None
    store.age(ca, age)
    return entries, beside


def ordered(store, issuer, ca, delta=False, deltas=True, age="10 s"):
    """A CRL on an operator's order: its entries."""
    decision = store.decision("crl-issue", ca=ca)
    entries, together = issuer.build(issuer.begin(ca.scope, delta, decision), deltas)
    if together:
        issuer.build(together, deltas)
    assert store.decision_state(decision)[0] == "applied"
    store.age(ca, age)
    return entries


def blocked(connection):
    """Whether the server has this connection wait for a lock."""
    pid = connection.info.backend_pid
    return lambda store: store.rows("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", pid) == [("Lock",)]


class Running(threading.Thread):
    """A statement that may wait for a lock."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call = call
        self.error = None
        self.start()

    def run(self):
        try:
            self.call()
        except psycopg2.Error as e:
            self.error = e

    def finish(self):
        self.join(120)
        assert not self.is_alive()
        if self.error:
            raise self.error


# ------------------------------------------------------------- event numbers


def test_numbers_are_in_the_order_of_commits(store, issuer, other, ca):
    """The second revocation waits for the first one's commit, also when that
    one began earlier and its clock is behind."""
    one, two = store.certificate(ca), store.certificate(ca)
    other.revoke(one)
    late = Running(lambda: issuer.revoke(two))
    wait_until(lambda: blocked(issuer.connection)(store), what="the wait for the CA's row")
    other.commit()
    late.finish()
    assert store.rows("SELECT seq, serial FROM revocation_event ORDER BY seq") == [(1, one.serial), (2, two.serial)]
    assert store.one("SELECT event_seq FROM ca") == 2


def test_a_rolled_back_revocation_leaves_no_gap(store, issuer, other, ca):
    one, two = store.certificate(ca), store.certificate(ca)
    other.revoke(one)
    other.rollback()
    issuer.revoke(two)
    assert store.rows("SELECT seq, serial FROM revocation_event") == [(1, two.serial)]


def test_a_release_is_what_leaves_the_list(store, issuer, ca):
    """The gate knows a release by its reason alone (removeFromCRL)."""
    one = store.certificate(ca)
    issuer.hold(one)
    for kind, reason in (("release", 6), ("release", 0), ("revoke", 8), ("hold", 8)):
        with pytest.raises(psycopg2.errors.CheckViolation):
            store.execute("INSERT INTO revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after) "
                          "SELECT ca_id, 2, scope_id, serial, %s, %s, revoked_at, not_after FROM revocation_event", kind, reason)
    issuer.release(one)
    assert store.rows("SELECT kind, reason FROM revocation_event ORDER BY seq") == [("hold", 6), ("release", 8)]


def test_a_refused_revocation_uses_no_number(store, issuer, ca):
    one = store.certificate(ca)
    issuer.revoke(one)
    again = issuer.revoke(one)
    state, outcome = store.decision_state(again)
    assert state == "refused" and "is revoked already" in outcome
    assert store.one("SELECT event_seq FROM ca") == 1


def test_two_cas_do_not_wait_for_each_other(store, issuer, other, ca):
    one, two = store.certificate(ca), store.certificate(store.ca("other-ca"))
    other.revoke(one)
    issuer.revoke(two)  # would hang
    other.commit()
    assert store.rows("SELECT seq FROM revocation_event") == [(1,), (1,)]


def test_what_is_not_committed_is_in_the_next_delta(store, issuer, other, ca):
    """A revocation that is under way while the base takes its snapshot."""
    early, open_one, late = (store.certificate(ca) for _ in range(3))
    issuer.revoke(early)
    job = issuer.begin(ca.scope)
    other.revoke(open_one)  # number 2, not committed
    snapshot = issuer.snapshot(job)
    assert snapshot.upto == 1
    issuer_two = SqlIssuer(store)
    waiting = Running(lambda: issuer_two.revoke(late))
    wait_until(lambda: blocked(issuer_two.connection)(store), what="the wait for the CA's row")
    other.commit()
    waiting.finish()
    # Two are committed by now; the snapshot stands where it stood.
    base = snapshot.entries()
    snapshot.close()
    assert base == {early.serial: 1}
    issuer.spool(job, snapshot.upto, base)
    beside = issuer.issued(job)
    assert issuer.build(beside)[0] == {}  # against itself: there is no older base
    store.age(ca, "10 s")
    assert ordered(store, issuer, ca, delta=True) == {open_one.serial: 1, late.serial: 1}
    issuer_two.close()


@pytest.mark.parametrize("moment", ["begun", "snapshot", "spooled", "issued"])
def test_a_revocation_at_any_moment_of_a_crl(store, issuer, other, ca, moment):
    """It is in the complete CRL, or in the delta that follows: never in neither."""
    one = store.certificate(ca)

    def at(now):
        if now == moment:
            other.revoke(one)
            other.commit()

    job = issuer.begin(ca.scope)
    at("begun")
    snapshot = issuer.snapshot(job)
    at("snapshot")
    base = snapshot.entries()
    snapshot.close()
    issuer.spool(job, snapshot.upto, base)
    at("spooled")
    beside = issuer.issued(job)
    at("issued")
    assert issuer.build(beside)[0] == {}
    store.age(ca, "10 s")
    delta = ordered(store, issuer, ca, delta=True)
    assert (one.serial in base, one.serial in delta) == ((moment == "begun"), (moment != "begun"))


def apply_delta(base, delta):
    """What a client does with a base CRL and a delta CRL (RFC 5280 5.2.4)."""
    result = dict(base)
    for serial, reason in delta.items():
        if reason == REMOVE:
            result.pop(serial, None)
        else:
            result[serial] = reason
    return result


def test_any_interleaving(store, ca):
    """Four operators revoke, hold and release as they like while CRLs are made.
    Each delta, applied to any complete CRL that it fits, gives what a complete
    CRL of that moment would say; each event is in the CRLs that follow it."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    certificates = [store.certificate(ca) for _ in range(12)]
    stop = threading.Event()
    failures = []

    def operate(number):
        choice = random.Random(seed + number)
        actor = SqlIssuer(store, autocommit=False)
        try:
            while not stop.is_set():
                actor.revoke(choice.choice(certificates), choice.choice([0, 1, 4]),
                             choice.choices(["revoke", "hold", "release"], [1, 9, 9])[0])
                if choice.random() < 0.2:
                    actor.rollback()
                else:
                    actor.commit()
        except psycopg2.Error as e:
            failures.append(e)
        finally:
            actor.close()

    issuer = SqlIssuer(store)
    fulls, deltas = [], []  # (number, base number, upto, entries)
    operators = [threading.Thread(target=operate, args=(n,)) for n in range(4)]
    for thread in operators:
        thread.start()
    try:
        for turn in range(40):
            if turn % 4 == 0:
                store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp()")
            job = issuer.begin(ca.scope, delta=turn % 4 != 0,
                               decision=store.decision("crl-issue", ca=ca) if turn % 4 else None)
            while job is not None:
                snapshot = issuer.snapshot(job)
                entries = snapshot.entries()
                snapshot.close()
                issuer.spool(job, snapshot.upto, entries)
                row = (int.from_bytes(job.number, "big"),
                       int.from_bytes(job.base_number or b"", "big"), snapshot.upto, entries)
                (deltas if job.delta else fulls).append(row)
                job = issuer.issued(job)
            store.age(ca, "10 s")
    finally:
        stop.set()
        for thread in operators:
            thread.join()
        issuer.close()
    assert not failures, failures

    events = store.rows("SELECT seq, serial, kind, reason FROM revocation_event ORDER BY seq")
    assert [e[0] for e in events] == list(range(1, len(events) + 1))
    assert len(events) > 40

    def truth(upto):
        now = {}
        for seq, serial, kind, reason in events[:upto]:
            if kind == "release":
                del now[serial]
            else:
                now[serial] = reason
        return now

    for _, _, upto, entries in fulls:
        assert entries == truth(upto)
    fitting = 0
    for number, base_number, upto, entries in deltas:
        for full_number, _, _, full_entries in fulls:
            if base_number <= full_number < number:  # RFC 5280 5.2.4 (c), (d)
                assert apply_delta(full_entries, entries) == truth(upto)
                fitting += 1
    assert fitting > 30
    beside = [d for d in deltas if d[0] in {f[0] for f in fulls}]
    assert len(beside) == len(fulls) == 10
    for number, _, upto, _ in beside:
        assert upto == next(f[2] for f in fulls if f[0] == number)


# ------------------------------------------------------------ hold and release


def test_hold_release_and_revoke_in_deltas(store, issuer, ca):
    held, kept, revoked = (store.certificate(ca) for _ in range(3))
    full(store, issuer, ca)
    for certificate in (held, kept, revoked):
        issuer.hold(certificate)
    assert ordered(store, issuer, ca, delta=True) == {c.serial: HOLD for c in (held, kept, revoked)}
    issuer.release(held)
    issuer.revoke(revoked, 1)
    # The base has none of them; the release is told all the same (5.2.4).
    assert ordered(store, issuer, ca, delta=True) == {held.serial: REMOVE, kept.serial: HOLD, revoked.serial: 1}
    entries, beside = full(store, issuer, ca)
    assert entries == {kept.serial: HOLD, revoked.serial: 1}
    assert beside == {held.serial: REMOVE, kept.serial: HOLD, revoked.serial: 1}  # for holders of the older base
    assert ordered(store, issuer, ca, delta=True) == {}


def test_hold_and_release_between_two_crls(store, issuer, ca):
    one = store.certificate(ca)
    full(store, issuer, ca)
    issuer.hold(one)
    issuer.release(one)
    assert ordered(store, issuer, ca, delta=True) == {one.serial: REMOVE}
    issuer.hold(one)
    assert ordered(store, issuer, ca, delta=True) == {one.serial: HOLD}


@pytest.mark.parametrize("first, second, words", [
    ("revoke", "revoke", "is revoked already"),
    ("revoke", "hold", "is revoked or on hold already"),
    ("revoke", "release", "only a hold can be released"),
    ("hold", "hold", "is revoked or on hold already"),
    (None, "release", "is not on hold"),
])
def test_moves_that_are_refused(store, issuer, ca, first, second, words):
    one = store.certificate(ca)
    if first:
        issuer.revoke(one, action=first)
    before = store.rows("SELECT * FROM revocation"), store.rows("SELECT * FROM revocation_event")
    state, outcome = store.decision_state(issuer.revoke(one, action=second))
    assert state == "refused" and words in outcome
    assert before == (store.rows("SELECT * FROM revocation"), store.rows("SELECT * FROM revocation_event"))


def test_a_hold_becomes_a_revocation(store, issuer, ca):
    one = store.certificate(ca)
    issuer.hold(one)
    issuer.revoke(one, 4)
    assert store.rows("SELECT serial, reason, seq FROM revocation") == [(one.serial, 4, 2)]


def test_a_stale_lease_changes_nothing(store, issuer, ca):
    one = store.certificate(ca)
    decision = store.decision("revoke", one, epoch=2)
    with pytest.raises(psycopg2.Error) as e:
        issuer.apply(decision, epoch=1)
    assert e.value.pgcode == "CH409"
    assert store.rows("SELECT * FROM revocation_event") == []
    assert store.one("SELECT event_seq FROM ca") == 0


def test_events_are_append_only(store, issuer, ca):
    issuer.revoke(store.certificate(ca))
    for sql in ("UPDATE revocation_event SET reason = 0", "DELETE FROM revocation_event"):
        with pytest.raises(psycopg2.Error):
            issuer.call(sql)
        with pytest.raises(psycopg2.Error) as e:
            store.execute(sql)  # the superuser: the trigger
        assert e.value.pgcode == "CH403"


# --------------------------------------------------------------------- numbers


def test_one_sequence_and_one_number_for_what_goes_together(store, issuer, ca):
    full(store, issuer, ca)
    ordered(store, issuer, ca, delta=True)
    ordered(store, issuer, ca)
    full(store, issuer, ca)
    assert store.rows("SELECT number::int, delta, scheduled FROM crl ORDER BY id") == [
        (1, False, True), (1, True, True), (2, True, False), (3, False, False), (3, True, False),
        (4, False, True), (4, True, True)]
    for number in (1, 3, 4):
        pair = store.rows("SELECT this_update, upto_seq FROM crl WHERE number = %s", number)
        assert len(pair) == 2 and pair[0] == pair[1]
    # Each delta's base: the complete CRL before it; the first one has only its own.
    assert store.rows("SELECT c.number::int, b.number::int FROM crl c JOIN crl b ON b.id = c.base_id ORDER BY c.id") == [
        (1, 1), (2, 1), (3, 1), (4, 3)]


def test_the_forecast_of_a_delta_is_no_debt(store, issuer, ca):
    """Where the entries of the last one were smaller than those of the complete CRL, by which it is reckoned."""
    def delta():
        (entries, size), = store.rows("SELECT entries, size FROM crl_forecast(%s) WHERE kind = 'delta-crl'", ca.id)
        return entries, size

    full(store, issuer, ca)
    for _ in range(20):
        issuer.revoke(store.certificate(ca))
    ordered(store, issuer, ca, delta=True)
    store.execute("UPDATE artifact f SET size = 200 FROM crl c WHERE c.artifact_id = f.id AND c.delta AND c.entries = 20")
    assert delta() == (20, 600 + 20 * 40)
    full(store, issuer, ca, deltas=False)
    store.execute("UPDATE crl_scope SET next_delta_at = clock_timestamp() + interval '1 day'")
    assert delta() == (0, 600)


def test_no_crl_outlives_its_ca(store, issuer, ca):
    """RFC 5280 6.3: nor would the signer sign it."""
    end = "UPDATE generation SET not_after = date_trunc('second', now()) + make_interval(secs => %s) WHERE id = %s"
    store.execute(end, 60, ca.generation)
    full(store, issuer, ca, age="0 s")
    assert store.rows("SELECT delta, next_update = (SELECT not_after FROM generation WHERE id = %s) FROM crl ORDER BY id",
                      ca.generation) == [(False, True), (True, True)]
    store.execute(end, -1, ca.generation)
    store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE id = %s", ca.scope)
    assert issuer.begin(ca.scope) is None
    with pytest.raises(psycopg2.DatabaseError, match="own certificate has ended"):
        issuer.begin(ca.scope, decision=store.decision("crl-issue", ca=ca))


def test_one_second_has_one_number(store, issuer, other, ca):
    """What a client must take as issued at the same time has the same number."""
    issuer.build(issuer.begin(ca.scope), deltas=False)
    decision = store.decision("crl-issue", ca=ca)

    def in_one_second():
        """The job of an attempt that began and ended in the second of the newest CRL."""
        store.execute("SELECT pg_sleep_until(date_trunc('second', clock_timestamp()) + interval '1 s')")
        store.execute("UPDATE crl SET this_update = date_trunc('second', clock_timestamp())")
        job = other.begin(ca.scope, True, decision)
        lasted = store.one("SELECT bool_and(this_update = date_trunc('second', clock_timestamp())) FROM crl")
        other.rollback()
        return [job] if lasted else None

    assert wait_until(in_one_second, what="an attempt within a second") == [None]
    job = wait_until(lambda: issuer.begin(ca.scope, True, decision), what="the next second")
    times = store.rows("SELECT this_update FROM crl ORDER BY id")
    assert job.number == b"\2" and times[0] < times[1]


def test_several_issuers_race_for_one_scope(store, ca):
    issuers = [SqlIssuer(store) for _ in range(6)]
    barrier = threading.Barrier(len(issuers))
    jobs = []

    def race(issuer):
        barrier.wait()
        jobs.append(issuer.begin(ca.scope))

    threads = [threading.Thread(target=race, args=(i,)) for i in issuers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for issuer in issuers:
        issuer.close()
    assert len(jobs) == len(issuers) and sum(j is not None for j in jobs) == 1
    assert store.rows("SELECT number::int, state FROM crl") == [(1, "building")]
    assert store.one("SELECT last_number FROM crl_scope") == 1


def test_builder_and_newcomer_do_not_deadlock(store, issuer, other, ca):
    """The newcomer has the scope's row; the builder that completes waits for it
    and then goes through."""
    job = issuer.begin(ca.scope)
    issuer.spool(job, 0, {})
    assert other.begin(ca.scope) is None  # holds locks until the commit
    completing = Running(lambda: issuer.issued(job))
    wait_until(lambda: blocked(issuer.connection)(store), what="the wait for the scope's row")
    assert other.begin(ca.scope) is None
    other.commit()
    completing.finish()
    assert store.rows("SELECT state FROM crl WHERE NOT delta") == [("issued",)]


def test_an_issuer_that_died_while_building_burns_the_number(store, issuer, ca):
    first = issuer.begin(ca.scope)
    issuer.call("INSERT INTO artifact_chunk (artifact_id, position, data) VALUES (%s, 1, 'x')", first.artifact_id)
    assert issuer.due() == []
    assert issuer.begin(ca.scope) is None  # its lease stands
    store.age(ca, "2 min")
    assert issuer.due() == [(ca.scope, False)]
    second = issuer.begin(ca.scope)
    assert (first.number, second.number) == (b"\1", b"\2") and not second.resume
    assert store.rows("SELECT number::int, state, artifact_id IS NULL FROM crl ORDER BY id") == [
        (1, "burnt", True), (2, "building", False)]
    assert store.rows("SELECT artifact_id FROM artifact_chunk") == []
    # The late one comes back: nothing that it does counts.
    with pytest.raises(psycopg2.Error):
        issuer.spool(first, 0, {})
    assert not issuer.call("SELECT crl_spooled(%s, %s, 0, 0, sha256('x'), 60, 0)", first.crl_id, first.epoch)[0][0]
    with pytest.raises(psycopg2.Error) as e:
        issuer.issued(first)
    assert e.value.pgcode == "CH409"
    issuer.burn(first, final=True)
    assert store.rows("SELECT state FROM crl ORDER BY id") == [("burnt",), ("building",)]


def test_an_issuer_that_died_while_signing_leaves_the_same_bytes(store, issuer, other, ca):
    """The number is signed again with what was committed, also if more was
    revoked meanwhile."""
    first = issuer.begin(ca.scope)
    issuer.spool(first, 0, {})
    issuer.revoke(store.certificate(ca))
    store.age(ca, "2 min")
    again = issuer.begin(ca.scope)
    assert again.resume and again.crl_id == first.crl_id and again.epoch == first.epoch + 1
    assert again.number == first.number and again.upto_seq == 0 and again.entries == 0
    assert again.tbs_sha256 == store.rows("SELECT sha256(data) FROM artifact_chunk")[0][0]
    assert issuer.begin(ca.scope) is None
    with pytest.raises(psycopg2.Error) as e:  # the late one
        issuer.issued(first)
    assert e.value.pgcode == "CH409"
    issuer.issued(again)
    assert store.rows("SELECT number::int, state FROM crl WHERE NOT delta") == [(1, "issued")]


def test_a_crl_that_ended_before_it_was_signed_is_burnt(store, issuer, ca):
    job = issuer.begin(ca.scope)
    issuer.spool(job, 0, {})
    store.age(ca, "9 days")
    again = issuer.begin(ca.scope)
    assert not again.resume and again.number == b"\2"
    assert store.rows("SELECT number::int, state FROM crl ORDER BY id") == [(1, "burnt"), (2, "building")]


def test_a_repeated_completion_gets_the_same_answer(store, issuer, ca):
    """The connection was lost after the commit, and the issuer asks again."""
    job = issuer.begin(ca.scope)
    issuer.spool(job, 0, {})
    beside = issuer.issued(job)
    again = issuer.issued(job)
    assert (again.crl_id, again.epoch, again.number) == (beside.crl_id, beside.epoch, job.number)
    issuer.build(beside)
    assert issuer.issued(job) is None
    assert store.rows("SELECT number::int, delta, state FROM crl ORDER BY id") == [
        (1, False, "issued"), (1, True, "issued")]
    assert store.one("SELECT count(*) FROM audit WHERE action = 'crl.issued'") == 1


def test_burnt_numbers_are_never_used_again(store, issuer, ca):
    for _ in range(3):
        issuer.burn(issuer.begin(ca.scope))
    entries, together = issuer.build(issuer.begin(ca.scope))
    assert store.rows("SELECT number::int FROM crl WHERE state = 'burnt' ORDER BY 1") == [(1,), (2,), (3,)]
    assert together.number == b"\4"
    assert store.one("SELECT count(*) FROM artifact") == 2  # of the issued one and its delta


def test_numbers_of_twenty_octets(store, issuer, ca):
    last = 2**159 - 3
    store.execute("UPDATE crl_scope SET last_number = %s WHERE id = %s", last, ca.scope)
    job = issuer.begin(ca.scope)
    assert int.from_bytes(job.number, "big") == last + 1 and len(job.number) == 20
    issuer.burn(job)
    issuer.burn(issuer.begin(ca.scope))
    with pytest.raises(psycopg2.Error, match="used up the CRL numbers of 20 octets"):
        issuer.begin(ca.scope)
    assert store.one("SELECT last_number FROM crl_scope") == 2**159 - 1


@pytest.mark.parametrize("number", [1, 127, 128, 255, 256, 65535, 65536, 2**63, 2**64, 2**152 - 1, 2**159 - 1])
def test_octets_of_numbers(issuer, number):
    octets = issuer.call("SELECT number_octets(%s)", number)[0][0]
    assert octets == number.to_bytes((number.bit_length() + 7) // 8, "big")


# ---------------------------------------------------------------- the calendar


def test_calendar(store, issuer, ca):
    """A complete CRL each period, deltas in between, on-demand ones beside it."""

    def next_times():
        return store.rows("SELECT round(extract(epoch FROM next_full_at - clock_timestamp()) / 3600)::int, "
                          "round(extract(epoch FROM next_delta_at - clock_timestamp()) / 3600)::int FROM crl_scope")[0]

    assert issuer.due() == [(ca.scope, False)]
    full(store, issuer, ca)
    assert next_times() == (168, 24)
    assert issuer.due() == [] and issuer.begin(ca.scope) is None and issuer.begin(ca.scope, delta=True) is None
    ordered(store, issuer, ca)
    ordered(store, issuer, ca, delta=True)
    assert next_times() == (168, 24)
    store.age(ca, "25 h")
    assert issuer.due() == [(ca.scope, True)]
    issuer.build(issuer.begin(ca.scope, delta=True))
    assert next_times() == (143, 24)
    store.age(ca, "30 days")  # nobody was there: caught up once
    assert issuer.due() == [(ca.scope, False)]
    issuer.build(issuer.build(issuer.begin(ca.scope))[1])
    assert next_times() == (168, 24)
    assert issuer.due() == []


def test_a_ca_without_deltas(store, issuer, ca):
    entries, together = issuer.build(issuer.begin(ca.scope), deltas=False)
    assert entries == {} and together is None
    assert store.rows("SELECT next_delta_at FROM crl_scope") == [(None,)]


def test_scopes_that_the_caller_cannot_serve_hide_no_others(store, issuer):
    cas = [store.ca(f"ca-{n}") for n in range(5)]
    without = [c.scope for c in cas[:3]]
    assert sorted(s for s, _ in issuer.due(2, without)) == sorted(c.scope for c in cas[3:])


def test_due_scopes_of_one_token_hide_none_of_another(store, issuer):
    """Each token gets as many as there is room for; of one that is full, or of another host, none."""
    cas = [store.ca(f"ca-{n}") for n in range(7)]
    store.execute("UPDATE token_key SET token = CASE WHEN label IN ('ca-4', 'ca-5') THEN 'other' WHEN label = 'ca-6' THEN 'elsewhere' "
                  "ELSE 'main' END")
    store.execute("UPDATE crl_scope SET next_full_at = now() - make_interval(mins => 100 - id::int)")

    def due(main, other):
        return [cas.index(next(c for c in cas if c.scope == s)) for s, in issuer.call(
            "SELECT scope_id FROM due_scopes('{main,other}', ARRAY[%s, %s], '{}')", main, other)]

    assert sorted(due(2, 1)) == [0, 1, 4]  # the longest due of each
    assert sorted(due(0, 8)) == [4, 5] and sorted(due(8, -1)) == [0, 1, 2, 3]
    assert sorted(due(8, 8)) == list(range(6))


def test_what_is_due_is_found_by_indexes(store, database):
    """Each second: of many scopes, and of the CRLs of years, few are due."""
    ca = store.ca()
    store.execute("INSERT INTO crl_scope (ca_id, token_key_id, shard, shards, label, next_full_at) SELECT s.ca_id, s.token_key_id, i, "
                  "100000, '~' || i, now() + interval '1 day' FROM generate_series(1, 3000) i, crl_scope s WHERE s.id = %s", ca.scope)
    store.execute("INSERT INTO crl (scope_id, number, delta, scheduled, this_update, next_update, state) SELECT s.id, n, false, true, "
                  "now(), now(), 'issued' FROM crl_scope s, generate_series(1, 10) n")
    database.execute("VACUUM ANALYZE chancery_store.crl_scope, chancery_store.crl, chancery_store.token_key")
    body = database.one("SELECT prosrc FROM pg_proc WHERE proname = 'due_scopes'")
    for name, parameter in (("p_tokens", "$1"), ("p_rooms", "$2"), ("p_not", "$3")):
        body = body.replace(name, parameter)
    rows = database.execute("SET search_path = chancery_store; PREPARE look (text[], int[], bigint[]) AS " + body
                            + "; EXPLAIN (ANALYZE, FORMAT TEXT) EXECUTE look ('{main}', '{8}', '{}')")
    plan = "\n".join(row for row, in rows)
    assert "Seq Scan on crl" not in plan, plan
    assert all(name in plan for name in ("crl_scope_next_full_at_idx", "crl_scope_next_delta_at_idx", "crl_scope_wanted_at_idx",
                                         "crl_one_open")), plan


def test_a_delta_needs_a_base(store, issuer, ca):
    decision = store.decision("crl-issue", ca=ca)
    with pytest.raises(psycopg2.Error) as e:
        issuer.begin(ca.scope, True, decision)
    assert e.value.pgcode == "CH409" and "needs a complete CRL" in str(e.value)
    assert store.rows("SELECT * FROM crl") == []


# ------------------------------------------------- entries that may leave (3.3)


def test_expired_entries_leave_after_one_scheduled_crl(store, issuer, ca):
    """RFC 5280 3.3: not before they stood in one regularly scheduled CRL that was
    issued beyond the certificate's validity."""
    short, long = store.certificate(ca, "1 hour"), store.certificate(ca)
    issuer.revoke(short)
    issuer.revoke(long)
    both, only_long = {short.serial: 1, long.serial: 1}, {long.serial: 1}
    assert full(store, issuer, ca)[0] == both
    store.age(ca, "2 hours")  # short has expired
    assert ordered(store, issuer, ca) == both  # on demand: not the CRL that 3.3 means
    assert ordered(store, issuer, ca) == both
    assert full(store, issuer, ca)[0] == both  # this one is
    assert ordered(store, issuer, ca) == only_long
    entries, beside = full(store, issuer, ca)
    assert entries == only_long and beside == {}


def test_an_entry_made_after_the_scheduled_crl_stays(store, issuer, ca):
    """Revoked after its expiry and after the last scheduled CRL: it has not stood
    there yet."""
    one = store.certificate(ca, "-1 hour")
    full(store, issuer, ca)
    issuer.revoke(one)
    assert ordered(store, issuer, ca) == {one.serial: 1}
    assert full(store, issuer, ca)[0] == {one.serial: 1}
    assert full(store, issuer, ca)[0] == {}


def test_a_burnt_scheduled_crl_releases_nothing(store, issuer, ca):
    one = store.certificate(ca, "1 hour")
    issuer.revoke(one)
    full(store, issuer, ca)
    store.age(ca, "2 hours")
    store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp()")
    job = issuer.begin(ca.scope)
    issuer.spool(job, 1, {one.serial: 1})
    issuer.burn(job)
    assert full(store, issuer, ca)[0] == {one.serial: 1}
    assert full(store, issuer, ca)[0] == {}


def test_a_delta_names_what_expired_since(store, issuer, ca):
    """Revoked, expired, and no complete CRL in between: every delta says so."""
    one = store.certificate(ca, "1 hour")
    full(store, issuer, ca)
    issuer.revoke(one)
    assert ordered(store, issuer, ca, delta=True) == {one.serial: 1}
    store.age(ca, "2 hours")
    assert ordered(store, issuer, ca, delta=True) == {one.serial: 1}


def test_an_empty_list(store, issuer, ca):
    entries, beside = full(store, issuer, ca)
    assert entries == {} and beside == {}
    assert store.rows("SELECT entries, upto_seq FROM crl") == [(0, 0), (0, 0)]


# ---------------------------------------------------------------------- orders


def test_an_order_is_carried_by_its_crl(store, issuer, ca):
    """While the CRL is being made nobody claims the decision again; it is closed
    when the delta beside it stands, too."""
    decision = store.decision("crl-issue", ca=ca)
    job = issuer.begin(ca.scope, False, decision)
    assert job.decision_id == decision
    store.execute("UPDATE decision SET lease_until = least(lease_until, clock_timestamp() - interval '1 h') "
                  "WHERE lease_until < 'infinity'")
    assert issuer.call("SELECT id FROM claim_decisions(8, 60)") == []
    _, beside = issuer.build(job)
    assert store.decision_state(decision)[0] == "working"
    issuer.build(beside)
    assert store.decision_state(decision) == ("applied", "CRL number 1 of sql-ca is issued with 0 entries")


def test_an_order_survives_the_death_of_its_issuer(store, issuer, ca):
    decision = store.decision("crl-issue", ca=ca)
    issuer.begin(ca.scope, False, decision)
    store.age(ca, "2 min")
    store.execute("UPDATE crl_scope SET next_full_at = NULL")
    assert issuer.due() == [(ca.scope, False)]
    assert issuer.begin(ca.scope, delta=False) is None  # what the calendar asks: only the number is burnt
    assert store.decision_state(decision)[0] == "queued"
    wait_until(lambda: issuer.call("SELECT id FROM claim_decisions(8, 60)") == [(decision,)], what="the order's return")


def test_an_order_that_meets_another_crl_is_not_taken_for_it(store, issuer, ca):
    job = issuer.begin(ca.scope)
    issuer.spool(job, 0, {})
    decision = store.decision("crl-issue", ca=ca)
    assert issuer.begin(ca.scope, False, decision) is None
    store.age(ca, "2 min")
    resumed = issuer.begin(ca.scope, False, decision)
    assert resumed.resume and resumed.decision_id is None
    # The caller sees that it is not his, and asks again later.
    assert store.decision_state(decision)[0] == "working"


@pytest.mark.parametrize("final, state", [(True, "refused"), (False, "queued")])
def test_a_burnt_order(store, issuer, ca, final, state):
    decision = store.decision("crl-issue", ca=ca)
    issuer.burn(issuer.begin(ca.scope, False, decision), "the token does not know the key", final)
    assert store.decision_state(decision) == (state, "the token does not know the key")


def test_an_order_whose_delta_failed_was_carried_out(store, issuer, ca):
    decision = store.decision("crl-issue", ca=ca)
    _, beside = issuer.build(issuer.begin(ca.scope, False, decision))
    issuer.burn(beside, "no memory", final=True)
    state, outcome = store.decision_state(decision)
    assert state == "applied" and "not the delta CRL beside it: no memory" in outcome


def test_a_stale_order_begins_nothing(store, issuer, ca):
    decision = store.decision("crl-issue", ca=ca, epoch=2)
    with pytest.raises(psycopg2.Error) as e:
        issuer.begin(ca.scope, False, decision)
    assert e.value.pgcode == "CH409"
    assert store.one("SELECT last_number FROM crl_scope") == 0
