"""An issuer made of SQL alone: the functions that the real one calls, in any
interleaving, without a token. CRLs made here have entries, but no DER."""

import datetime
import hashlib
import itertools
import os
from types import SimpleNamespace

JOB = ("crl_id, epoch, artifact_id, scope_id, token_key_id, delta, resume, number, base_number, this_update, next_update, "
       "upto_seq, base_seq, drop_expired_before, drop_upto_seq, entries, tbs_sha256, ca_name, decision_id")

PERIOD_S, LIFE_S, DELTA_PERIOD_S, DELTA_LIFE_S, LEASE_S = 7 * 86400, 8 * 86400, 86400, 90000, 60


def plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


class Store:
    """What the owner of the database puts there: a CA, its certificates, an
    operator and decisions that are claimed already."""

    def __init__(self, database):
        self.database = database
        self._serials = itertools.count(1)
        self._idle = []  # connections of snapshots that are over

    def snapshot_connection(self):
        if self._idle:
            return self._idle.pop()
        connection = self.database.connect("chancery_issuer")
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = chancery_store")
        return connection

    def snapshot_over(self, connection):
        with connection.cursor() as cursor:
            cursor.execute("ROLLBACK")
        self._idle.append(connection)

    def one(self, sql, *args):
        return self.database.one("SET search_path = chancery_store; " + sql, args)

    def rows(self, sql, *args):
        return [tuple(plain(v) for v in row)
                for row in self.database.execute("SET search_path = chancery_store; " + sql, args) or []]

    def execute(self, sql, *args):
        self.database.execute("SET search_path = chancery_store; " + sql, args)

    def ca(self, name="sql-ca", division=(("all", 0, 1),), reasons=()):
        """division: (kind, shard, shards, attribute) of its CRLs, the attribute if there is one;
        "renewed": what follows is of another key. reasons: sets of CRLReasons; of each there
        is a CRL beside every one of these. ca.scope is the first one, ca.parts are those that
        have certificates, ca.scopes all, and ca.some {scope: (that of all reasons, set)}."""
        subject, spki, der = (os.urandom(40) for _ in range(3))
        issuer = self.one("INSERT INTO issuer_name (der, der_sha256, readable) VALUES (%s, sha256(%s), %s) RETURNING id",
                          subject, subject, f"CN={name}")
        ca = self.one("INSERT INTO ca (name, issuer_name_id, kind, state, policy) VALUES (%s, %s, 'root', 'active', '') "
                      "RETURNING id", name, issuer)
        key = self._key(name, spki)
        generation = self.one(
            "INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, certificate, sha256) "
            "VALUES (%s, 0, 0, %s, 'active', %s, sha256(%s)) RETURNING id", ca, key, der, der)
        scopes, some = [], {}
        for part in division:
            if part == "renewed":
                key = self._key(name, os.urandom(40))
                self.execute("UPDATE generation SET state = 'superseded' WHERE ca_id = %s", ca)
                der = os.urandom(40)
                self.execute(
                    "INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, certificate, sha256) "
                    "VALUES (%s, 1, 1, %s, 'active', %s, sha256(%s))", ca, key, der, der)
                continue
            kind, shard, shards, attribute = (*part, "")[:4]
            label = "".join(f"~{word}" for word in (kind if kind != "all" else "", attribute,
                                                    f"{shard + 1}of{shards}" if shards > 1 else "") if word)
            whole = None
            for i, reason_set in enumerate([None, *reasons]):
                own = label + (f"~r{i}" if i else "")
                scope = self.one(
                    "INSERT INTO crl_scope (ca_id, token_key_id, next_full_at, kind, shard, shards, attribute, label, idp, whole_id, "
                    "reasons) VALUES (%s, %s, clock_timestamp(), %s, %s, %s, %s, %s, nullif(convert_to(%s, 'UTF8'), ''), %s, %s) "
                    "RETURNING id", ca, key, kind, shard, shards, attribute, own, own, whole, reason_set and list(reason_set))
                if reason_set:
                    some[scope] = (whole, set(reason_set))
                else:
                    whole = scope
                    scopes.append(scope)
        return SimpleNamespace(id=ca, name=name, issuer=issuer, generation=generation, scope=scopes[0], parts=scopes,
                               scopes=sorted([*scopes, *some]), some=some)

    def _key(self, label, spki):
        return self.one("INSERT INTO token_key (token, cka_id, label, purpose, algorithm, spki, spki_sha256) "
                        "VALUES ('main', %s, %s, 'ca', 'p256', %s, sha256(%s)) RETURNING id",
                        os.urandom(8), label, spki, spki)

    def key_scopes(self, scope):
        """All scopes of this one's key, in their order."""
        return [s for s, in self.rows("SELECT o.id FROM crl_scope s JOIN crl_scope o ON o.token_key_id = s.token_key_id "
                                      "WHERE s.id = %s ORDER BY o.id", scope)]

    def certificate(self, ca, not_after="1 year", scope=None):
        """Its internal id; not_after from now on, as an interval."""
        scope = scope or ca.scope
        serial = bytes([1]) + next(self._serials).to_bytes(19, "big")
        self.execute("INSERT INTO serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256) "
                     "VALUES (%s, %s, %s, %s, 1, %s)", ca.issuer, serial, ca.generation, scope, os.urandom(32))
        certificate = self.one(
            "INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before, "
            "not_after, spki_sha256, sha256, der) VALUES (%s, %s, %s, %s, %s, 'CN=x', now() - interval '10 y', "
            "date_trunc('second', clock_timestamp()) + %s::interval, %s, %s, '\\x30') RETURNING id",
            ca.issuer, serial, ca.id, ca.generation, scope, not_after, os.urandom(32), os.urandom(32))
        return SimpleNamespace(id=certificate, serial=serial)

    def decision(self, action, certificate=None, ca=None, state="working", epoch=1, one=None):
        """A decision that an issuer has claimed: its internal id. one: the
        function that inserts it, by default in a transaction of its own."""
        return (one or self.one)(
            "INSERT INTO decision (action, certificate_id, ca_id, statement, nonce, expires_at, state, epoch, "
            "lease_until, received_via) VALUES (%s, %s, %s, %s, %s, now() + interval '10 min', %s, %s, "
            "clock_timestamp() + interval '60 s', 'uid:0') RETURNING id",
            action, certificate.id if certificate else None, ca.id if ca else None, f"action: {action}\n",
            os.urandom(16), state, epoch)

    def age(self, ca, interval):
        """Lets time pass for a CA: all its times move into the past."""
        self.execute("UPDATE crl SET this_update = this_update - %s::interval, next_update = next_update - %s::interval, "
                     "lease_until = lease_until - %s::interval WHERE scope_id = ANY (%s)", interval, interval, interval, ca.scopes)
        self.execute("UPDATE crl_scope SET next_full_at = next_full_at - %s::interval, next_delta_at = next_delta_at - %s::interval, "
                     "expired_since = expired_since - %s::interval WHERE id = ANY (%s)", interval, interval, interval, ca.scopes)
        self.execute("UPDATE certificate SET not_after = not_after - %s::interval WHERE scope_id = ANY (%s)", interval, ca.scopes)
        self.execute("UPDATE scope_use SET until = until - %s::interval WHERE scope_id = ANY (%s)", interval, ca.scopes)
        self.execute("UPDATE revocation SET not_after = not_after - %s::interval WHERE scope_id = ANY (%s)", interval, ca.scopes)
        # What happened is append-only: a trigger says so.
        self.execute("SET session_replication_role = replica; UPDATE revocation_event SET not_after = not_after - %s::interval "
                     "WHERE scope_id = ANY (%s)", interval, ca.scopes)

    def decision_state(self, decision):
        return self.rows("SELECT state, outcome FROM decision WHERE id = %s", decision)[0]


class SqlIssuer:
    """One issuer's connection. With autocommit off every step waits for commit()."""

    def __init__(self, store, autocommit=True):
        self.store = store
        self.connection = store.database.connect("chancery_issuer")
        self.call("SET search_path = chancery_store")
        self.connection.autocommit = autocommit

    def call(self, sql, *args):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, args)
            if cursor.description is None:
                return []
            return [tuple(plain(v) for v in row) for row in cursor.fetchall()]

    def commit(self):
        self.connection.commit()

    def rollback(self):
        self.connection.rollback()

    def close(self):
        self.connection.close()

    # ---------------------------------------------------------- revocations

    def apply(self, decision, reason=1, epoch=1, publish_s=None):
        self.call("SELECT apply_revocation(%s, %s, %s::smallint, %s)", decision, epoch, reason, publish_s)

    def revoke(self, certificate, reason=1, action="revoke", publish_s=None):
        decision = self.store.decision(action, certificate, one=lambda *query: self.call(*query)[0][0])
        self.apply(decision, reason, publish_s=publish_s)
        return decision

    def hold(self, certificate):
        return self.revoke(certificate, 0, "hold")

    def release(self, certificate):
        return self.revoke(certificate, 0, "release")

    # ----------------------------------------------------------------- CRLs

    def jobs(self, sql, *args):
        names = JOB.split(", ")
        return [SimpleNamespace(**dict(zip(names, row))) for row in self.call(f"SELECT {JOB} FROM {sql}", *args)]

    def begin(self, scope, delta=False, decision=None, life_s=None, lease_s=LEASE_S):
        """The job, or None when there is nothing to do."""
        jobs = self.jobs("begin_crl(%s, %s, %s, 1, %s, %s)", scope, delta, decision,
                         life_s or (DELTA_LIFE_S if delta else LIFE_S), lease_s)
        return jobs[0] if jobs else None

    def due(self, limit=8, without=()):
        return self.call("SELECT scope_id, delta FROM due_scopes('{main}', ARRAY[%s], %s::bigint[])", limit, list(without))

    def snapshot(self, job):
        """A snapshot as the builder opens it: call with entries(), then close()."""
        return Snapshot(self.store, job)

    def spool(self, job, upto, entries):
        tbs = repr((job.number, upto, entries)).encode()
        self.call("INSERT INTO artifact_chunk (artifact_id, position, data) VALUES (%s, 1, %s)", job.artifact_id, tbs)
        return self.call("SELECT crl_spooled(%s, %s, %s, %s, %s, %s, %s)", job.crl_id, job.epoch, upto, len(entries),
                         hashlib.sha256(tbs).digest(), LEASE_S, len(tbs))[0][0]

    def issued(self, job, deltas=True):
        """Completes it; the delta CRL that goes with it, or None."""
        jobs = self.jobs("crl_issued(%s, %s, %s, %s, %s, %s, %s, %s, %s)", job.crl_id, job.epoch, b"head", b"tail",
                         os.urandom(32), PERIOD_S, DELTA_PERIOD_S if deltas else None,
                         DELTA_LIFE_S if deltas else None, LEASE_S)
        return jobs[0] if jobs else None

    def build(self, job, deltas=True):
        """A job from the snapshot to the end: ({serial: reason}, the job of the
        delta that goes with it)."""
        snapshot = self.snapshot(job)
        entries = snapshot.entries()
        assert entries == snapshot.expected()  # what the gate would say
        snapshot.close()
        assert self.spool(job, snapshot.upto, entries)
        return entries, self.issued(job, deltas)

    def burn(self, job, reason="broken", final=False):
        self.call("SELECT burn_crl(%s, %s, %s, %s)", job.crl_id, job.epoch, reason, final)


class Snapshot:
    """The builder's own connection: one REPEATABLE READ transaction, whose first
    statement asks for the newest event's number."""

    def __init__(self, store, job):
        self.job, self.store = job, store
        self.connection = store.snapshot_connection()
        with self.connection.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SELECT a.event_seq FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE s.id = %s",
                           (job.scope_id,))
            self.upto = cursor.fetchone()[0]
        if job.upto_seq is not None:
            self.upto = job.upto_seq

    def _dropped(self):
        """As the builder passes them: an absent one is 1970, and no event."""
        j = self.job
        return (j.scope_id, j.drop_expired_before or datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc),
                j.drop_upto_seq if j.drop_upto_seq is not None else -1)

    def _reasons(self, sql, *args):
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT serial, reason FROM " + sql, args)
            return {bytes(serial): reason for serial, reason in cursor.fetchall()}

    def entries(self):
        if self.job.delta:
            return self._reasons("crl_delta_entries(%s, %s, %s)", self.job.scope_id, self.job.base_seq, self.upto)
        return self._reasons("crl_complete_entries(%s, %s, %s)", *self._dropped())

    def expected(self):
        """What the gate compares them with."""
        if self.job.delta:
            return self._reasons("crl_delta_expected(%s, %s, %s)", self.job.scope_id, self.job.base_seq, self.upto)
        newest = self._reasons("(SELECT DISTINCT ON (serial) serial, reason FROM crl_complete_history(%s, %s, %s, %s) "
                               "ORDER BY serial, seq DESC) n", *self._dropped(), self.upto)
        return {serial: reason for serial, reason in newest.items() if reason != 8}

    def close(self):
        self.store.snapshot_over(self.connection)
