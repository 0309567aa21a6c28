"""The gate of CRLs: what is signed is compared with the events once more before
anybody gets to see it. Random histories against a model that knows no SQL; and a
database in which something went wrong, under the running daemon."""

import datetime
import itertools
import os
import random
from typing import NamedTuple

import pytest
from cryptography import x509

from harness.issuer_sql import SqlIssuer, Store, plain
from harness.process import wait_until
from test_crl import at_rest, one, serial_of, sql

HISTORIES = int(os.environ.get("GATE_HISTORIES", "1"))  # of each combination
STEPS = 14
HOLD, REMOVE = 6, 8
HOUR = 3600


class Model:
    """What a CA's CRLs have to say, from RFC 5280 3.3, 4.2.1.13, 5.2.4, 5.2.5 and 5.3.1 alone.
    Of each of its scopes: the events run through all of them. some: {scope: (that of all
    reasons, its reasons)}; keeps_since: entries of certificates that end later never leave."""

    def __init__(self, scopes, some=(), keeps_since=None):
        self.now = 0
        self.some, self.keeps_since = dict(some), keeps_since
        self.events = []     # (serial, reason), REMOVE for a release
        self.ends = {}       # serial: end of its certificate
        self.scope = {}      # serial: of which CRL it is for ever
        self.complete = {s: [] for s in scopes}    # (number, upto, entries)
        self.regular = {s: None for s in scopes}   # (time, upto) of the last regularly scheduled one

    def is_about(self, scope, serial, reason):
        whole, reasons = self.some.get(scope, (scope, None))
        return self.scope[serial] == whole and (reasons is None or reason in reasons)

    def state(self, scope, upto):
        now = {}
        for seq, (serial, reason) in enumerate(self.events[:upto], 1):
            now[serial] = (reason, seq)
        return {serial: value for serial, value in now.items() if value[0] != REMOVE and self.is_about(scope, serial, value[0])}

    def changed(self, scope, after):
        """Serials that a delta on a CRL of that time has to name."""
        return {serial for upto in range(after + 1, len(self.events) + 1) for serial in [self.events[upto - 1][0]]
                if serial in self.state(scope, upto) or serial in self.state(scope, upto - 1)}

    def may_leave(self, scope, serial, seq):
        regular = self.regular[scope]
        return regular is not None and self.ends[serial] < regular[0] and seq <= regular[1] \
            and (self.keeps_since is None or self.ends[serial] < self.keeps_since)

    def full(self, scope):
        return {serial: reason for serial, (reason, seq) in self.state(scope, len(self.events)).items()
                if not self.may_leave(scope, serial, seq)}

    def revoke(self, serial, reason):
        """Whether it is legal."""
        before = self.state(self.scope[serial], len(self.events)).get(serial)
        legal = before is None if reason == HOLD else \
            before is not None and before[0] == HOLD if reason == REMOVE else \
            before is None or before[0] == HOLD
        if reason == 0 and any(whole == self.scope[serial] for whole, _ in self.some.values()):
            legal = False  # 5.2.5: which of them it is about must be known
        if legal:
            self.events.append((serial, reason))
        return legal


def apply_delta(complete, delta):
    result = dict(complete)
    for serial, reason in delta.items():
        if reason == REMOVE:
            result.pop(serial, None)
        else:
            result[serial] = reason
    return result


class QuickStore(Store):
    """With one connection for all it does."""

    def __init__(self, database):
        super().__init__(database)
        self.connection = database.connect()
        self.execute("SET search_path = chancery_store")
        self.execute("SET synchronous_commit = off")

    def _run(self, query, args):
        cursor = self.connection.cursor()
        cursor.execute(query, args)
        return cursor

    def one(self, query, *args):
        return self._run(query, args).fetchone()[0]

    def rows(self, query, *args):
        return [tuple(plain(v) for v in row) for row in self._run(query, args).fetchall()]

    def execute(self, query, *args):
        self._run(query, args)


REASONS = [{1, 2, 10}, {HOLD, 4}]


class Combination(NamedTuple):
    """Of all that a policy may ask for at once."""
    kinds: bool
    attribute: bool
    shards: bool
    reasons: bool
    deltas: bool
    keeps_expired: bool
    renewed: bool

    def division(self):
        parts = [("user" if self.kinds else "all", shard, 1 + self.shards, attribute)
                 for attribute in ["", "devices"][:1 + self.attribute] for shard in range(1 + self.shards)]
        return parts + [("ca", 0, 1, "")] * self.kinds


class History:
    """keeps_expired: entries of certificates that end an hour after its beginning, or later."""

    def __init__(self, store, issuers, seed, combination):
        self.choice = random.Random(seed)
        self.store, self.issuers, self.with_deltas = store, issuers, combination.deltas
        division = combination.division()
        self.ca = store.ca(f"history-{seed}", division + (["renewed"] + division) * combination.renewed,
                           REASONS * combination.reasons)
        self.model = Model(self.ca.scopes, self.ca.some, HOUR if combination.keeps_expired else None)
        # Numbers of up to 20 octets (RFC 5280 5.2.3).
        for scope in self.ca.scopes:
            store.execute("UPDATE crl_scope SET last_number = %s, expired_since = CASE WHEN %s THEN "
                          "date_trunc('second', clock_timestamp()) + interval '1 h' END WHERE id = %s",
                          self.choice.choice([0, 254, 2**63, 2**159 - 1000]), combination.keeps_expired, scope)
        self.certificates = []
        for _ in range(self.choice.randint(2, 6)):
            end = self.choice.choice([1, 2, 5, 1000])
            scope = self.choice.choice(self.ca.parts)
            certificate = store.certificate(self.ca, f"{end - 0.5} hours", scope)  # never on the hour
            self.model.ends[certificate.serial] = (end - 0.5) * HOUR
            self.model.scope[certificate.serial] = scope
            self.certificates.append(certificate)
        homes = set(self.model.scope.values())
        self.busy = [s for s in self.ca.scopes if self.ca.some.get(s, (s,))[0] in homes]

    def any_scope(self):
        """Most often one that has something to say."""
        return self.choice.choice(self.busy if self.choice.random() < 0.9 else self.ca.scopes)

    @property
    def issuer(self):
        """Any of them, at each step another."""
        return self.choice.choice(self.issuers)

    def act(self):
        certificate = self.choice.choice(self.certificates)
        action = self.choice.choices(["revoke", "hold", "release"], [2, 5, 4])[0]
        reason = {"hold": HOLD, "release": REMOVE}.get(action) or self.choice.choice([0, 1, 4, 9])
        legal = self.model.revoke(certificate.serial, reason)
        decision = self.issuer.revoke(certificate, reason, action)
        assert (self.store.decision_state(decision)[0] == "applied") == legal

    def pass_time(self):
        hours = self.choice.choice([1, 1, 3])
        self.store.age(self.ca, f"{hours} hours")
        self.model.now += hours * HOUR

    def decision(self, scope):
        """An order whose turn this scope is."""
        decision = self.store.decision("crl-issue", ca=self.ca)
        before = [s for s in self.store.key_scopes(scope) if s < scope]
        if before:
            self.store.execute("UPDATE decision SET result = jsonb_build_object('scope', %s) WHERE id = %s",
                               before[-1], decision)
        return decision

    def crl(self, scheduled):
        """A complete one; base and delta of any age give the same list."""
        m, scope = self.model, self.any_scope()
        if scheduled:
            self.store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE id = %s", scope)
        job = self.issuer.begin(scope, False, None if scheduled else self.decision(scope))
        assert job.scope_id == scope
        entries, together = self.issuer.build(job, self.with_deltas)
        assert entries == m.full(scope)
        assert (together is not None) == self.with_deltas
        m.complete[scope].append((int.from_bytes(job.number, "big"), len(m.events), entries))
        if together:
            assert (together.number, together.this_update, together.upto_seq) == (
                job.number, job.this_update, self.store.one("SELECT event_seq FROM ca WHERE id = %s", self.ca.id))
            self.check_delta(scope, self.issuer.build(together)[0], together)
        if scheduled:
            m.regular[scope] = (m.now, len(m.events))
        self.store.age(self.ca, "2 seconds")

    def delta(self):
        scope = self.any_scope()
        if not self.model.complete[scope] or not self.with_deltas:
            return
        job = self.issuer.begin(scope, True, self.decision(scope))
        self.check_delta(scope, self.issuer.build(job)[0], job)
        self.store.age(self.ca, "2 seconds")

    def check_delta(self, scope, entries, job):
        """RFC 5280 5.2.4: with any complete CRL from its base on it gives the list
        as it is now, but for what has expired: that may stay or not."""
        m = self.model
        base = int.from_bytes(job.base_number, "big")
        now = {serial: reason for serial, (reason, _) in m.state(scope, len(m.events)).items()}
        for number, _, complete in m.complete[scope]:
            if base <= number <= int.from_bytes(job.number, "big"):
                got = apply_delta(complete, entries)
                assert {s: r for s, r in got.items() if m.ends[s] >= m.now} == \
                    {s: r for s, r in now.items() if m.ends[s] >= m.now}
                assert all(now[s] == r for s, r in got.items())
        assert set(entries) == m.changed(scope, next(u for n, u, _ in m.complete[scope] if n == base))

    def burn(self):
        """One that came to nothing releases nothing."""
        scope = self.any_scope()
        self.store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE id = %s", scope)
        job = self.issuer.begin(scope)
        self.issuer.burn(job)

    def run(self, steps):
        for _ in range(steps):
            self.choice.choices(
                [self.act, self.pass_time, lambda: self.crl(True), lambda: self.crl(False), self.delta, self.burn],
                [10, 3, 3, 1, 3, 1])[0]()
        # Whatever it went through, the list of each scope in the end.
        for scope in self.ca.scopes:
            for number, upto, entries in self.model.complete[scope][-1:]:
                assert set(entries) <= {s for s, home in self.model.scope.items()
                                        if home == self.ca.some.get(scope, (scope,))[0]}
                assert number < 2**159 and upto <= len(self.model.events)


def test_random_histories(database):
    """Of every combination of what a policy may ask for."""
    store = QuickStore(database)
    issuers = [SqlIssuer(store) for _ in range(3)]
    for issuer in issuers:
        issuer.call("SET synchronous_commit = off")
    seed = random.randrange(1 << 30)
    print(f"histories from seed {seed}")
    kinds = set()
    try:
        for combination in list(itertools.product([False, True], repeat=len(Combination._fields))) * HISTORIES:
            seed += 1
            history = History(store, issuers, seed, Combination(*combination))
            try:
                history.run(STEPS)
            except AssertionError as e:
                raise AssertionError(f"history of seed {seed}, {Combination(*combination)}") from e
            kinds |= {reason for _, reason in history.model.events}
    finally:
        for issuer in issuers:
            issuer.close()
        store.connection.close()
    assert {HOLD, REMOVE, 1} <= kinds


# ------------------------------------------------------- the daemon at the gate


@pytest.fixture(scope="module")
def gated(shared_instance):
    """An issuing CA at rest with two revoked certificates and one on hold."""
    a = shared_instance
    a.scope = at_rest(a)
    a.serials = []
    for number in range(3):
        _, pem = a.certificate(f"gate-{number}")
        a.serials.append(serial_of(pem).to_bytes(20, "big"))
        a.cli("cert", *(["hold"] if number == 2 else ["revoke"]), a.serials[number].hex(),
              *([] if number == 2 else ["--reason", "superseded"]))
    a.issue_crl()
    return a


def number_of(a, delta=False):
    return x509.load_der_x509_crl(a.crl(delta=delta)).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


BREAK = {
    "lost": "DELETE FROM revocation WHERE serial = %(s)s",
    "unknown": "INSERT INTO revocation SELECT scope_id, '\\x0badcafe', revoked_at, not_after, seq, 1 FROM revocation WHERE serial = %(s)s",
    "reason": "UPDATE revocation SET reason = 3 WHERE serial = %(s)s",
    "time": "UPDATE revocation SET revoked_at = revoked_at - interval '1 s' WHERE serial = %(s)s",
    "invalidity": "UPDATE revocation SET invalidity_date = revoked_at WHERE serial = %(s)s",
    "serial": "UPDATE revocation SET serial = '\\x0badcafe' WHERE serial = %(s)s",
}


@pytest.mark.parametrize("fault", BREAK)
def test_what_the_events_do_not_say_stays_inside(gated, fault):
    a = gated
    served, number = a.crl(), number_of(a)
    rows = sql(a, "SELECT * FROM revocation WHERE scope_id = %s", a.scope)
    a.database.execute("SET search_path = chancery_store; " + BREAK[fault], {"s": a.serials[0]})
    words = a.cli.fails("crl", "issue", a.issuing)
    assert "is kept back and the one before stays in place" in words
    assert ("more or fewer entries" in words) == (fault in ("lost", "unknown"))
    assert a.crl() == served
    alarm, since = sql(a, "SELECT alarm, alarm_since FROM crl_scope WHERE id = %s", a.scope)[0]
    assert "kept back" in alarm and since <= datetime.datetime.now(datetime.timezone.utc)
    assert one(a, "SELECT count(*) FROM audit WHERE action = 'crl.burnt' AND detail->>'reason' = %s", alarm) >= 1

    sql(a, "DELETE FROM revocation WHERE scope_id = %s", a.scope)
    for row in rows:
        sql(a, "INSERT INTO revocation VALUES (%s, %s, %s, %s, %s, %s, %s)", *row)
    a.issue_crl()
    assert number_of(a) > number + 1  # the one in between is used up
    assert sql(a, "SELECT alarm, alarm_since FROM crl_scope WHERE id = %s", a.scope) == [(None, None)]


def test_none_leaves_the_list_before_its_end(gated):
    """Expired, but for the events: a regular CRL does not release it."""
    a = gated
    served = a.crl()
    sql(a, "UPDATE revocation SET not_after = not_after - interval '10 y' WHERE serial = %s", a.serials[0])
    # What stood in a regular one may leave the next.
    sql(a, "UPDATE crl SET scheduled = true WHERE scope_id = %s AND state = 'issued'", a.scope)
    sql(a, "UPDATE crl_scope SET next_full_at = now() WHERE id = %s", a.scope)
    wait_until(lambda: "more or fewer entries" in (one(a, "SELECT alarm FROM crl_scope WHERE id = %s", a.scope) or ""),
               what="the gate's alarm")
    assert a.crl() == served
    sql(a, "UPDATE revocation SET not_after = not_after + interval '10 y' WHERE serial = %s", a.serials[0])
    a.issue_crl()
    at_rest(a)


def test_a_delta_that_leaves_something_out(gated):
    """As if the query that deltas are built from had a mistake."""
    a = gated
    source = one(a, "SELECT pg_get_functiondef('crl_delta_entries'::regproc)")
    a.cli("cert", "release", a.serials[2].hex())
    served = a.crl(delta=True)
    a.database.execute(STORE_PATH + source.replace("e.seq <= p_upto", "e.seq <= p_upto AND e.kind <> 'release'"))
    try:
        assert "more or fewer entries" in a.cli.fails("crl", "issue", a.issuing, "--delta")
        assert a.crl(delta=True) == served
    finally:
        a.database.execute(STORE_PATH + source)
    a.issue_crl(delta=True)
    wait_until(lambda: a.crl(delta=True) != served, what="the delta CRL")
    assert a.serials[2] in {r.serial_number.to_bytes(20, "big") for r in x509.load_der_x509_crl(a.crl(delta=True))}


STORE_PATH = "SET search_path = chancery_store; "


def test_an_older_list_never_follows(gated):
    """Numbers, times and events of what is issued only rise (RFC 5280 5.2.3)."""
    a = gated
    served = a.crl()
    for column, value in (("number", "number + 1000"), ("upto_seq", "upto_seq + 1000"),
                          ("this_update", "this_update + interval '10 s'")):
        saved = sql(a, f"SELECT id, {column} FROM crl WHERE scope_id = %s AND NOT delta AND state = 'issued' "
                    "ORDER BY number DESC LIMIT 1", a.scope)[0]
        sql(a, f"UPDATE crl SET {column} = {value} WHERE id = %s", saved[0])
        words = a.cli.fails("crl", "issue", a.issuing)
        sql(a, f"UPDATE crl SET {column} = %s WHERE id = %s", saved[1], saved[0])
        assert "which is newer (RFC 5280 5.2.3)" in words
        assert a.crl() == served
    a.issue_crl()
    assert a.crl() != served


def test_every_question_of_the_gate_has_its_index(gated):
    """A delta of a few against a long list touches the few."""
    a = gated
    ca = Store(a.database).ca("long-history")
    sql(a, "INSERT INTO revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after) "
        "SELECT %s, i, %s, sha256(i::text::bytea), 'revoke', 1, now(), now() FROM generate_series(1, 20000) i", ca.id, ca.scope)
    sql(a, "INSERT INTO revocation SELECT scope_id, serial, revoked_at, now(), seq, reason FROM revocation_event "
        "WHERE scope_id = %s", ca.scope)
    a.database.execute("VACUUM ANALYZE chancery_store.revocation_event, chancery_store.revocation")

    def plan(query, *args):
        return "\n".join(r[0] for r in sql(a, "EXPLAIN " + query, *args))

    complete = plan("SELECT * FROM crl_complete_history(%s, now(), 5, 20000) ORDER BY serial, seq DESC", ca.scope)
    assert "Index Only Scan using revocation_history" in complete, complete
    delta = plan("SELECT * FROM crl_delta_expected(%s, 19990, 20000) ORDER BY serial", ca.scope)
    assert "Index Only Scan using revocation_history" in delta, delta
    assert "Index Only Scan using revocation_event_scope_id_seq" in delta and "Seq Scan" not in delta, delta


def test_a_delta_reads_nothing_but_what_changed(gated):
    """A thousand events behind a base of many: rows that are read, not rows that exist."""
    a = gated
    ca = Store(a.database).ca("many-rows", [("user", 0, 2), ("user", 1, 2)])
    base, changed = 60000, 1000
    sql(a, "INSERT INTO revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after) "
        "SELECT %s, i, CASE WHEN i %% 2 = 0 THEN %s ELSE %s END, sha256(i::text::bytea), 'revoke', 1, now(), now() "
        "FROM generate_series(1, %s) i", ca.id, *ca.scopes, base + 2 * changed)
    a.database.execute("VACUUM ANALYZE chancery_store.revocation_event")

    def rows_read(function):
        """Of all scans, removed ones too; and how many rows come out."""
        query = f"EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM {function}(%s, %s, %s) ORDER BY serial"
        top = sql(a, query, ca.scope, base, base + 2 * changed)[0][0][0]["Plan"]

        def scans(node):
            below = [r for n in node.get("Plans", []) for r in scans(n)]
            if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan":
                loops = node["Actual Loops"]
                below.append((node["Node Type"], (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * loops))
            return below

        return scans(top), top["Actual Rows"]

    for function in ("crl_delta_entries", "crl_delta_expected"):
        scans, rows = rows_read(function)
        assert rows == changed and sum(n for _, n in scans) <= 2 * changed, scans
        assert all("Seq" not in kind for kind, _ in scans), scans
