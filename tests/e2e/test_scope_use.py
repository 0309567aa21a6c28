"""How long a superseded scope has CRLs: until its last certificate has ended and stood on one
more, without a look at all certificates, and without a row that issuance waits for."""

import os
import threading

import pytest

from harness.issuer_sql import SqlIssuer
from harness.process import PATIENCE_S, wait_until

MANY = 20000


def until(store, scope):
    """Whole seconds from now on; None without a certificate."""
    rows = store.rows("SELECT ceil(extract(epoch FROM until - clock_timestamp()))::bigint FROM scope_use WHERE scope_id = %s AND "
                      "isfinite(until)", scope)
    return rows[0][0] if rows else None


def supersede(store, ca):
    store.execute("UPDATE crl_scope SET current = false WHERE id = ANY (%s)", ca.scopes)


def regular(store, issuer, scope):
    """Its next regular CRL; whether there will be another one."""
    store.execute("UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE id = %s", scope)
    store.execute("UPDATE crl SET this_update = this_update - interval '1 min' WHERE scope_id = %s", scope)
    issuer.build(issuer.begin(scope), deltas=False)
    return goes_on(store, scope)


def goes_on(store, scope):
    return store.one("SELECT next_full_at IS NOT NULL FROM crl_scope WHERE id = %s", scope)


def end_all(store, scope):
    store.execute("UPDATE scope_use SET until = now() - interval '1 min' WHERE scope_id = %s", scope)


def insert_many(store, ca, count, not_after):
    """Certificates of requests, in one statement, as issuance has them."""
    store.execute("SET session_replication_role = replica; INSERT INTO serial_intent (issuer_name_id, serial, generation_id, "
                  "scope_id, epoch, tbs_sha256) SELECT %s, '\\x02' || substr(sha256(i::text::bytea), 1, 19), %s, %s, 1, sha256('') "
                  "FROM generate_series(1, %s) i", ca.issuer, ca.generation, ca.scope, count)
    store.execute("INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before, not_after, "
                  "spki_sha256, sha256, der) SELECT issuer_name_id, serial, %s, generation_id, scope_id, 'CN=x', now(), %s, "
                  "sha256(serial), sha256('1' || serial), '\\x30' FROM serial_intent WHERE scope_id = %s AND request_id IS NULL",
                  ca.id, not_after, ca.scope)


def test_nobody_looks_for_a_scopes_certificates_among_all(store, issuer, database):
    ca = store.ca()
    insert_many(store, ca, MANY, "2001-01-01")
    supersede(store, ca)
    database.execute("VACUUM ANALYZE chancery_store.certificate")
    job = issuer.begin(ca.scope)
    snapshot = issuer.snapshot(job)
    assert issuer.spool(job, snapshot.upto, snapshot.entries())
    snapshot.close()
    connection = database.connect()
    with connection.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET client_min_messages = log;"
                       "SET auto_explain.log_nested_statements = on; SET search_path = chancery_store;"
                       "SET enable_seqscan = off; SET SESSION AUTHORIZATION chancery_issuer")
        cursor.execute("SELECT * FROM crl_issued(%s, %s, 'head', 'tail', sha256(''), 3600, NULL, NULL, 60)", (job.crl_id, job.epoch))
    plans = "\n".join(connection.notices)
    connection.close()
    assert "Conflict Arbiter Indexes: scope_use_pkey" in plans
    assert " on certificate" not in plans and "Seq Scan on scope_use" not in plans, plans
    assert not goes_on(store, ca.scope)


def test_goes_on_until_its_last_certificate_has_ended(store, issuer):
    ca = store.ca(reasons=[{1}])
    store.certificate(ca, "1 hour")
    store.certificate(ca, "-1 hour")
    assert 3600 <= until(store, ca.scope) <= 3600 + 3600 / 32
    end_all(store, ca.scope)
    assert all(regular(store, issuer, s) for s in ca.scopes)  # of those that new certificates get
    store.certificate(ca, "1 hour")
    supersede(store, ca)
    assert all(regular(store, issuer, s) for s in ca.scopes)
    end_all(store, ca.scope)
    assert not any(regular(store, issuer, s) for s in ca.scopes)


def test_one_that_ends_with_the_last_certificate_of_all(store, issuer):
    """The bound is exact where little time is left."""
    ca = store.ca()
    store.certificate(ca, "-1 s")
    supersede(store, ca)
    assert not regular(store, issuer, ca.scope)


def test_issuance_writes_now_and_then(store):
    """Each certificate ends later than the one before it, and few of them change the row."""
    ca = store.ca()
    store.certificate(ca, "1 year")
    version = "SELECT xmin::text, ctid::text FROM scope_use"
    first = store.rows(version)
    writes = 0
    for second in range(1, 101):
        store.certificate(ca, f"1 year {second} min")
        writes += store.rows(version) != first
        first = store.rows(version)
    assert writes <= 1
    assert 365 * 86400 + 6000 <= until(store, ca.scope) <= (365 * 86400 + 6000) * 33 / 32


def test_a_key_does_not_need_crls_for_its_own_certificate(store):
    ca = store.ca()
    insert = ("INSERT INTO serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256) VALUES "
              "(%(i)s, %(s)s, %(g)s, %(c)s, 0, sha256('')); INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, "
              "scope_id, subject, not_before, not_after, spki_sha256, sha256, der) SELECT %(i)s, %(s)s, %(a)s, %(g)s, %(c)s, 'CN=x', "
              "now(), now() + interval '1 year', coalesce(%(k)s, k.spki_sha256), sha256(%(s)s), '\\x30' FROM crl_scope s "
              "JOIN token_key k ON k.id = s.token_key_id WHERE s.id = %(c)s")
    names = {"i": ca.issuer, "g": ca.generation, "c": ca.scope, "a": ca.id}
    store.database.execute("SET search_path = chancery_store; " + insert, {**names, "s": b"\x03" + os.urandom(19), "k": None})
    assert until(store, ca.scope) is None
    # Another key's, which it vouches for, is one to revoke.
    store.database.execute("SET search_path = chancery_store; " + insert, {**names, "s": b"\x03" + os.urandom(19), "k": os.urandom(32)})
    assert until(store, ca.scope) >= 365 * 86400


def test_a_late_certificate_brings_back_its_crls(store, issuer):
    """Its serial was given away before; and all others of the scope have ended since."""
    ca = store.ca(reasons=[{1}])
    supersede(store, ca)
    assert not any(regular(store, issuer, s) for s in ca.scopes)
    store.certificate(ca, "1 hour")
    assert all(goes_on(store, s) for s in ca.scopes)
    assert regular(store, issuer, ca.scope)


@pytest.mark.parametrize("first", ["certificate", "CRL"])
def test_a_certificate_and_the_last_crl_at_the_same_time(store, issuer, first):
    """Whichever commits first, the other one sees it."""
    ca = store.ca()
    supersede(store, ca)
    end_all(store, ca.scope)
    job = issuer.begin(ca.scope)
    snapshot = issuer.snapshot(job)
    assert issuer.spool(job, snapshot.upto, snapshot.entries())
    snapshot.close()
    holder = SqlIssuer(store, autocommit=False)
    try:
        steps = {"certificate": lambda one: one.call(
            "INSERT INTO serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256) VALUES (%s, %s, %s, %s, 1, "
            "sha256(''))", ca.issuer, b"\x04" + bytes(19), ca.generation, ca.scope) + one.call(
                "INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before, not_after, "
                "spki_sha256, sha256, der) VALUES (%s, %s, %s, %s, %s, 'CN=x', now(), now() + interval '1 hour', sha256('k'), "
                "sha256('c'), '\\x30')", ca.issuer, b"\x04" + bytes(19), ca.id, ca.generation, ca.scope),
                 "CRL": lambda one: one.issued(job, deltas=False)}
        steps[first](holder)
        second = "CRL" if first == "certificate" else "certificate"
        waiting = threading.Thread(target=steps[second], args=(issuer,))
        waiting.start()
        wait_until(lambda: store.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
                                     "current_database()") == 1, what="the second one's wait")
        holder.commit()
        waiting.join(PATIENCE_S)
        assert not waiting.is_alive()
    finally:
        holder.close()
    assert goes_on(store, ca.scope)
