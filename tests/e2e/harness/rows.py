"""Rows that stand for a CA with templates, for tests of SQL without a token."""

import os
import struct
import time

SEED = r"""
SET search_path = chancery_store, pg_temp;
INSERT INTO issuer_name (der, der_sha256, readable) VALUES ('\x3000', sha256('\x3000'), 'CN=Demo');
INSERT INTO token_key (token, cka_id, label, purpose, algorithm, spki, spki_sha256)
    VALUES ('main', '\x01', 'demo', 'ca', 'rsa2048', '\x02', sha256('\x02'));
INSERT INTO ca (name, issuer_name_id, kind, state, policy) VALUES ('demo', 1, 'subordinate', 'active', '');
INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, certificate, chain)
    VALUES (1, 0, 0, 1, 'active', '\x3001', ARRAY['\x3002'::bytea]);
INSERT INTO crl_scope (ca_id, token_key_id) VALUES (1, 1);
INSERT INTO template (name) VALUES ('manual'), ('auto'), ('unused');
INSERT INTO template_version (template_id, version, body, body_sha256, automatic)
    SELECT id, 1, name, sha256(convert_to(name, 'UTF8')), name = 'auto' FROM template;
INSERT INTO ca_template VALUES (1, 'manual'), (1, 'auto'), (1, 'applied-later');
"""


def seed(database):
    """CA "demo", active, issues "manual" (wants a decision) and "auto"."""
    database.execute(SEED)
    return database


def serial():
    return bytes([7, 0, 1]) + struct.pack(">Q", int(time.time()))[2:] + os.urandom(11)


def submit(database, template="auto", csr=b"\x30\x00", user="service_one", key=None, count=1):
    """Ids of new requests, oldest first."""
    connection = database.connect(user)
    with connection, connection.cursor() as cursor:
        ids = []
        for _ in range(count):
            cursor.execute("SELECT chancery.submit_request('demo', %s, %s::bytea, '{}', %s)", (template, csr, key))
            ids.append(cursor.fetchone()[0])
    connection.close()
    return ids


class Issuer:
    """The functions of the queue as an issuer calls them; rows are dicts."""

    def __init__(self, database):
        self.connection = database.connect("chancery_issuer")

    def close(self):
        self.connection.close()

    def call(self, sql, *args):
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT * FROM chancery_store." + sql, args)
            names = [c.name for c in cursor.description]
            return [
                {n: bytes(v) if isinstance(v, memoryview) else v for n, v in zip(names, row)}
                for row in cursor.fetchall()
            ]

    def ids(self, sql, *args):
        return sorted(next(iter(row.values())) for row in self.call(sql, *args))

    def claim(self, limit=64, lease_s=60, look_ms=0, cas=(1,), since_us=0, signs=True):
        n = len(cas)
        return self.call("claim_requests(%s::bigint[], %s::bigint[], %s::boolean[], %s, %s, %s)",
                         list(cas), [since_us] * n, [signs] * n, limit, lease_s, look_ms)

    @staticmethod
    def keys(claims):
        return [c["request_id"] for c in claims], [c["epoch"] for c in claims]

    def finish(self, claims, outcome="passed", reason=None):
        n = len(claims)
        rows = self.call(
            "finish_checks(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],"
            " %s::bytea[], %s::bytea[])",
            *self.keys(claims), [outcome] * n, [reason] * n, ["CN=a"] * n, ["dns:a\ndns:b"] * n, ["rsa2048"] * n,
            [b"s" * 32] * n, [b"c" * 32] * n,
        )
        return {row["request_id"]: row["state"] for row in rows}

    def begin(self, claims, serials=None, tbs=None):
        n = len(claims)
        serials = serials or [serial() for _ in claims]
        tbs = tbs or [b"tbs" + s for s in serials]
        return self.ids(
            "begin_signing(%s::bigint[], %s::int[], %s::bigint[], %s::bytea[], %s::bigint[], %s::bigint[], %s::bytea[])",
            *self.keys(claims), [1] * n, serials, [1] * n, [1] * n, tbs,
        )

    def complete(self, claims, ders):
        n = len(claims)
        return self.ids(
            "complete_requests(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],"
            " %s::timestamptz[], %s::bytea[], %s::bytea[])",
            *self.keys(claims), ["CN=a"] * n, ["dns:a\ndns:b"] * n, ["rsa2048"] * n, ["2026-01-01Z"] * n,
            ["2027-01-01Z"] * n, [b"s" * 32] * n, ders,
        )

    def release(self, claims, after_s=0, reason="token away"):
        return self.ids("release_requests(%s::bigint[], %s::int[], %s, %s)", *self.keys(claims), after_s, reason)


def certificate(tbs, signature=b"signature"):
    """A SEQUENCE that begins with tbs, as a certificate does."""
    content = tbs + signature
    if len(content) < 128:
        return bytes([0x30, len(content)]) + content
    return b"\x30\x82" + struct.pack(">H", len(content)) + content
