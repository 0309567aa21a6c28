"""CRLs as the running daemon makes them: what OpenSSL, cryptography and asn1crypto
read in them, how much memory they take, and what sudden death leaves behind."""

import datetime
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest
from asn1crypto import crl as asn1_crl
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness import clients
from harness.chanceryd import sanitized
from harness.process import PATIENCE_S, run, wait_until

STORE = "SET search_path = chancery_store; "


def sql(a, query, *args):
    return a.database.execute(STORE + query, args)


def one(a, query, *args):
    return a.database.one(STORE + query, args)


# ----------------------------------------------------------- reading one CRL


class Read:
    """A CRL as three libraries agree on it."""

    def __init__(self, der, issuer_pem, directory):
        self.der = der
        self.asn1 = asn1_crl.CertificateList.load(der, strict=True)
        assert self.asn1.dump(force=True) == der, "not DER"
        self.crl = x509.load_der_x509_crl(der)
        issuer = x509.load_pem_x509_certificate(issuer_pem.encode())
        assert self.crl.is_signature_valid(issuer.public_key())
        self.extensions = {e["extn_id"].native: e for e in self.asn1["tbs_cert_list"]["crl_extensions"]}
        path = clients.write(directory, "read.crl", der)
        ca = clients.write(directory, "read-ca.pem", issuer_pem)
        verified = run(["openssl", "crl", "-inform", "DER", "-in", path, "-noout", "-CAfile", ca], check=False, text=True)
        assert "verify OK" in verified.stdout + verified.stderr, verified
        self.text = clients.openssl_text(path, "crl", der=True)

        # RFC 5280 5.1, 5.2: what every CRL must be.
        tbs = self.asn1["tbs_cert_list"]
        assert tbs["version"].native == "v2"
        assert tbs["signature"].dump() == self.asn1["signature_algorithm"].dump()
        assert tbs["issuer"].dump() == asn1_x509.Certificate.load(
            issuer.public_bytes(Encoding.DER)).subject.dump()
        assert self.crl.last_update < self.crl.next_update
        for moment in (tbs["this_update"], tbs["next_update"]):
            assert moment.chosen.dump()[0] == 0x17  # UTCTime until 2049
        aki = self.value(x509.AuthorityKeyIdentifier)
        ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert aki.key_identifier == ski and aki.authority_cert_issuer is None
        self.number = self.value(x509.CRLNumber).crl_number

    def extension(self, kind):
        return self.crl.extensions.get_extension_for_class(kind)

    def value(self, kind):
        return self.extension(kind).value

    @property
    def names(self):
        return set(self.extensions)

    @property
    def critical(self):
        return {name for name, e in self.extensions.items() if e["critical"].native}

    @property
    def base(self):
        """The number in deltaCRLIndicator; None in a complete CRL."""
        try:
            return self.value(x509.DeltaCRLIndicator).crl_number
        except x509.ExtensionNotFound:
            return None

    @property
    def revoked(self):
        """{serial: (time, reason, invalidity date)}, the absent ones None."""
        result = {}
        for entry in self.crl:
            known = {}
            for extension in entry.extensions:
                assert not extension.critical
                known[type(extension.value)] = extension.value
            reason = known.pop(x509.CRLReason, None)
            invalid = known.pop(x509.InvalidityDate, None)
            assert not known
            assert entry.serial_number not in result
            result[entry.serial_number] = (
                entry.revocation_date, reason and reason.reason, invalid and invalid.invalidity_date)
        return result

    @property
    def reasons(self):
        return {serial: entry[1] for serial, entry in self.revoked.items()}


@pytest.fixture
def read(work_dir):
    """read(a, ca, delta): the CRL that is served."""

    def served(a, ca=None, delta=False):
        ca = ca or a.issuing
        return Read(a.crl(ca, delta), a.ca_pem(ca), work_dir)

    return served


def scope_of(a, ca):
    return one(a, "SELECT s.id FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = %s", ca)


def at_rest(a, ca=None):
    """No CRL of this CA is under way."""
    scope = scope_of(a, ca or a.issuing)
    wait_until(lambda: one(
        a, "SELECT next_full_at > now() + interval '1 h' AND NOT EXISTS (SELECT FROM crl WHERE scope_id = s.id AND "
        "state IN ('building', 'signing')) FROM crl_scope s WHERE id = %s", scope), what="CRLs at rest")
    return scope


def serial_of(pem):
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


# ------------------------------------------------------------------- contents


@pytest.mark.smoke
def test_complete_and_delta(shared_instance, read):
    a = shared_instance
    a.create_issuing("contents", idp=True)
    at_rest(a, "contents")
    _, first = certificate(a, "contents", "one")
    _, second = certificate(a, "contents", "two")
    a.cli("cert", "revoke", f"{serial_of(first):040x}", "--reason", "superseded")
    a.issue_crl("contents")
    full = read(a, "contents")
    assert full.names == {"authority_key_identifier", "crl_number", "issuing_distribution_point", "freshest_crl"}
    assert full.critical == {"issuing_distribution_point"}  # RFC 5280 5.2.5
    assert full.reasons == {serial_of(first): x509.ReasonFlags.superseded}
    assert full.base is None
    freshest = full.value(x509.FreshestCRL)
    assert [n.value for p in freshest for n in p.full_name] == [a.daemon.crl_url("contents", delta=True)]
    point = full.value(x509.IssuingDistributionPoint)
    assert [n.value for n in point.full_name] == [a.daemon.crl_url("contents")]
    assert not (point.only_contains_user_certs or point.only_contains_ca_certs or point.only_contains_attribute_certs
                or point.indirect_crl or point.only_some_reasons)
    assert full.crl.next_update - full.crl.last_update == datetime.timedelta(days=7, hours=12)

    a.cli("cert", "revoke", f"{serial_of(second):040x}", "--reason", "unspecified")
    a.issue_crl("contents", delta=True)
    delta = read(a, "contents", delta=True)
    assert delta.names == {"authority_key_identifier", "crl_number", "issuing_distribution_point", "delta_crl_indicator"}
    assert delta.critical == {"issuing_distribution_point", "delta_crl_indicator"}  # 5.2.4
    assert delta.base == full.number < delta.number
    assert delta.reasons == {serial_of(second): None}  # 5.3.1: unspecified is left away
    assert (delta.extension(x509.IssuingDistributionPoint).value == point)  # the same scope
    assert delta.crl.next_update - delta.crl.last_update == datetime.timedelta(days=1, hours=1)
    assert read(a, "contents").der == full.der  # a delta changes nothing else

    # The next complete CRL and the delta of that moment have one number, one time.
    a.issue_crl("contents")
    newer, beside = read(a, "contents"), read(a, "contents", delta=True)
    assert newer.number == beside.number > delta.number and newer.crl.last_update == beside.crl.last_update
    assert beside.base == full.number
    assert newer.reasons == {**full.reasons, **beside.reasons}


def certificate(a, ca, name):
    request = a.submit(clients.openssl_csr(a.files, f"{ca}-{name}", dns=[f"{name}.example"]), ca=ca)
    a.approve(request)
    return request, clients.split_pem(a.issued(request))[0]


@pytest.mark.parametrize("key, more", [
    ("rsa2048", {}), ("rsa2048", {"pss": True}), ("p384", {}), ("rsa3072", {"signature": "sha512"}),
], ids=["rsa", "pss", "p384", "sha512"])
def test_algorithms(shared_instance, read, key, more, request):
    """Read verifies the signature twice, by OpenSSL and by cryptography."""
    a = shared_instance
    name = "crl-" + request.node.callspec.id
    a.create_issuing(name, key, deltas=False, **more)
    at_rest(a, name)
    if "pss" in more:
        der = a.crl(name)
        path = clients.write(a.files, "pss.crl", der)
        ca = clients.write(a.files, "pss-ca.pem", a.ca_pem(name))
        verified = run(["openssl", "crl", "-inform", "DER", "-in", path, "-noout", "-CAfile", ca], text=True)
        assert "verify OK" in verified.stdout + verified.stderr
        assert "rsassaPss" in clients.openssl_text(path, "crl", der=True)
        return
    crl = read(a, name)
    assert crl.number == 1 and crl.reasons == {}
    assert crl.names == {"authority_key_identifier", "crl_number"}


def test_since_when_it_was_not_to_be_trusted(shared_instance, read):
    """invalidityDate (RFC 5280 5.3.2): before the revocation, in CRL, delta CRL and API."""
    a = shared_instance
    at_rest(a)
    _, pem = a.certificate("invalid-since")
    serial = f"{serial_of(pem):040x}"
    since = datetime.datetime(2026, 1, 2, 3, 4, 5)
    assert "still to come (RFC 5280 5.3.2)" in a.cli.fails(
        "cert", "revoke", serial, "--reason", "keyCompromise", "--invalid-since", "2999-01-01T00:00:00Z")
    assert "is a time such as" in a.cli.fails("cert", "revoke", serial, "--reason", "keyCompromise", "--invalid-since", "yesterday", status=2)
    a.cli("cert", "revoke", serial, "--reason", "keyCompromise", "--invalid-since", "2026-01-02T03:04:05Z")
    a.issue_crl(delta=True)
    a.issue_crl()
    for crl in (read(a, delta=True), read(a)):
        when, reason, invalid = crl.revoked[serial_of(pem)]
        assert (reason, invalid) == (x509.ReasonFlags.key_compromise, since) and when > since
    shown = a.cli.json("cert", "show", serial)
    assert shown["invalid_since"] == "2026-01-02T03:04:05Z" and shown["revocation_reason"] == "keyCompromise"


def test_empty_list_is_absent(shared_instance, read):
    """RFC 5280 5.1.2.6: no revoked certificates, no list."""
    a = shared_instance
    at_rest(a, a.root)
    crl = read(a, a.root)
    assert crl.asn1["tbs_cert_list"]["revoked_certificates"].native is None
    assert "No Revoked Certificates" in crl.text


def test_ca_without_deltas(shared_instance):
    a = shared_instance
    at_rest(a, a.root)
    assert a.daemon.web.get(f"/crl/{a.root}-delta.crl").status == 404
    said = a.cli.fails("crl", "issue", a.root, "--delta")
    assert "has no delta CRLs" in said


def test_hold_release_and_remove(shared_instance, read):
    a = shared_instance
    a.create_issuing("crl-holds")
    at_rest(a, "crl-holds")
    _, pem = certificate(a, "crl-holds", "held")
    serial = serial_of(pem)
    base = read(a, "crl-holds").number
    a.cli("cert", "hold", f"{serial:040x}")
    a.issue_crl("crl-holds", delta=True)
    held = read(a, "crl-holds", delta=True)
    assert held.reasons == {serial: x509.ReasonFlags.certificate_hold} and held.base == base
    assert "Certificate Hold" in held.text
    a.issue_crl("crl-holds")
    assert read(a, "crl-holds").reasons == {serial: x509.ReasonFlags.certificate_hold}
    a.cli("cert", "release", f"{serial:040x}")
    a.issue_crl("crl-holds", delta=True)
    released = read(a, "crl-holds", delta=True)
    assert released.reasons == {serial: x509.ReasonFlags.remove_from_crl} and released.base > base
    assert "Remove From CRL" in released.text
    a.issue_crl("crl-holds")
    after = read(a, "crl-holds")
    assert after.reasons == {}
    # Who still holds the older base learns of it from the delta beside.
    assert read(a, "crl-holds", delta=True).reasons == {serial: x509.ReasonFlags.remove_from_crl}
    a.cli("cert", "revoke", f"{serial:040x}", "--reason", "keyCompromise")
    a.issue_crl("crl-holds", delta=True)
    assert read(a, "crl-holds", delta=True).reasons == {serial: x509.ReasonFlags.key_compromise}


def test_numbers_of_twenty_octets(shared_instance, read):
    """Through database, signer, journal, gate, front and command line."""
    a = shared_instance
    a.create_issuing("octets")
    scope, last = at_rest(a, "octets"), 2**159 - 1
    sql(a, "UPDATE crl_scope SET last_number = %s WHERE id = %s", last - 3, scope)
    assert f"CRL number {last - 2} of octets is issued" in a.cli("crl", "issue", "octets")
    assert f"CRL number {last - 1} of octets is issued" in a.cli("crl", "issue", "octets", "--delta")
    full, delta = read(a, "octets"), read(a, "octets", delta=True)
    assert (full.number, delta.number, delta.value(x509.DeltaCRLIndicator).crl_number) == (last - 2, last - 1, last - 2)
    shown = {c["number"] for c in a.cli.json("crl", "show", "octets")["crls"]}
    assert {str(last - 2), str(last - 1)} < shown
    assert str(last - 2) in json.dumps(a.cli.json("doctor", "octets"))
    a.cli("crl", "issue", "octets")
    assert "used up the CRL numbers of 20 octets (RFC 5280 5.2.3)" in a.cli.fails("crl", "issue", "octets")


def test_calendar_by_itself(shared_instance, read):
    """Complete CRLs and deltas come without anybody's order."""
    a = shared_instance
    a.create_issuing("ticking", crl={"period": "6s", "overlap": "5s", "delta_period": "2s", "delta_overlap": "1s"})
    scope = scope_of(a, "ticking")
    # Each complete CRL has a delta beside it; those between them are left out by a machine that is late.
    wait_until(lambda: one(a, "SELECT count(*) FILTER (WHERE NOT delta) >= 3 AND count(*) FILTER (WHERE delta) > "
                           "count(*) FILTER (WHERE NOT delta) FROM crl WHERE scope_id = %s AND state = 'issued'", scope),
               what="three complete CRLs, and deltas between them")
    rows = sql(a, "SELECT number::int, delta, this_update, scheduled, state FROM crl WHERE scope_id = %s AND "
               "state = 'issued' ORDER BY id", scope)
    assert all(scheduled for _, _, _, scheduled, _ in rows)
    times = {}
    for number, _, this_update, _, _ in rows:
        assert times.setdefault(number, this_update) == this_update
    in_order = [times[n] for n in sorted(times)]
    assert all(a < b for a, b in zip(in_order, in_order[1:]))
    assert read(a, "ticking").number >= 3
    sql(a, "UPDATE crl_scope SET next_full_at = NULL, next_delta_at = NULL WHERE id = %s", scope)


# ------------------------------------------------------------------ long lists


FILL = """
SET search_path = chancery_store;
UPDATE ca SET event_seq = event_seq + %(count)s WHERE id = (SELECT ca_id FROM crl_scope WHERE id = %(scope)s);
INSERT INTO revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after, invalidity_date)
SELECT m.ca, m.seq + n, %(scope)s,
    decode(lpad(to_hex(1 + n %% 120), 2, '0') || lpad(to_hex(%(first)s + n), 38, '0'), 'hex'),
    CASE n %% 9 WHEN 6 THEN 'hold' ELSE 'revoke' END, (ARRAY[0, 1, 2, 3, 4, 5, 6, 9, 10])[1 + n %% 9],
    (ARRAY['2026-01-02 03:04:05Z', '2049-12-31 23:59:59Z', '2051-06-07 08:09:10Z'])[1 + n %% 3]::timestamptz,
    now() + interval '1 y',
    CASE WHEN n %% 5 = 0 THEN timestamptz '2025-05-05 05:05:05Z' END
FROM (SELECT id AS ca, event_seq - %(count)s + 1 AS seq FROM ca
      WHERE id = (SELECT ca_id FROM crl_scope WHERE id = %(scope)s)) m, generate_series(0, %(count)s - 1) n;
INSERT INTO revocation (scope_id, serial, revoked_at, not_after, seq, reason, invalidity_date)
SELECT scope_id, serial, revoked_at, not_after, seq, reason, invalidity_date FROM revocation_event
WHERE scope_id = %(scope)s AND seq > (SELECT event_seq - %(count)s FROM ca WHERE id = revocation_event.ca_id);
"""


def fill(a, scope, count, first=0):
    """Revocations with their events, as the owner of the database puts them in:
    serials, times, reasons of all kinds."""
    connection = a.database.connect(autocommit=False)
    try:
        connection.cursor().execute(FILL, {"scope": scope, "count": count, "first": first})
        connection.commit()
    finally:
        connection.close()


def expected(a, scope):
    words = {0: None, 1: "key_compromise", 2: "ca_compromise", 3: "affiliation_changed", 4: "superseded",
             5: "cessation_of_operation", 6: "certificate_hold", 9: "privilege_withdrawn", 10: "aa_compromise"}

    def naive(moment):
        return moment and moment.astimezone(datetime.timezone.utc).replace(tzinfo=None)

    return {
        int.from_bytes(bytes(serial), "big"):
            (naive(at), words[reason] and getattr(x509.ReasonFlags, words[reason]), naive(invalid))
        for serial, at, reason, invalid in
        sql(a, "SELECT serial, revoked_at, reason, invalidity_date FROM revocation WHERE scope_id = %s", scope)
    }


@pytest.fixture
def long_ca(new_authority):
    """An instance whose issuing CA is at rest."""
    a = new_authority()
    a.scope = at_rest(a)
    return a



def test_three_thousand_entries(long_ca, read):
    """Every one of them as it stands in the database, in a complete CRL and in a
    delta; with serials that the DER form makes longer, and the longest."""
    a = long_ca
    fill(a, a.scope, 3000)
    for serial in (b"\x7f", b"\x80", b"\xff" * 19, b"\x7f" + b"\xff" * 19, b"\x01"):
        seq = one(a, "UPDATE ca SET event_seq = event_seq + 1 WHERE name = %s RETURNING event_seq", a.issuing)
        sql(a, "INSERT INTO revocation_event (ca_id, seq, scope_id, serial, kind, reason, revoked_at, not_after) "
            "SELECT ca_id, %s, id, %s, 'revoke', 0, '2026-01-01Z', '2030-01-01Z' FROM crl_scope WHERE id = %s", seq, serial, a.scope)
        sql(a, "INSERT INTO revocation VALUES (%s, %s, '2026-01-01Z', '2030-01-01Z', %s, 0)", a.scope, serial, seq)
    want = expected(a, a.scope)
    assert len(want) == 3005
    a.issue_crl(delta=True)
    delta = read(a, delta=True)
    assert delta.revoked == want
    a.issue_crl()
    full = read(a)
    assert full.revoked == want
    assert one(a, "SELECT entries FROM crl WHERE NOT delta AND scope_id = %s ORDER BY id DESC LIMIT 1", a.scope) == 3005
    # The digest that was committed before the token was asked is the one of its bytes.
    assert bytes(one(a, "SELECT tbs_sha256 FROM crl WHERE NOT delta AND scope_id = %s ORDER BY id DESC LIMIT 1",
                     a.scope)) == hashlib.sha256(full.crl.tbs_certlist_bytes).digest()
    assert bytes(one(a, "SELECT f.sha256 FROM crl c JOIN artifact f ON f.id = c.artifact_id WHERE NOT c.delta AND "
                     "c.scope_id = %s ORDER BY c.id DESC LIMIT 1", a.scope)) == hashlib.sha256(full.der).digest()


def peak_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))


@pytest.mark.slow
@pytest.mark.skipif(sanitized(), reason="a sanitizer's memory is its own")
def test_memory_stays_flat(long_ca):
    """From 10,000 to 200,000 entries the issuer's and the signer's peaks grow by
    less than 16 MiB, most of which is the channel between them."""
    a = long_ca
    (issuer,), (signer,) = a.daemon.pids("issuer"), a.daemon.pids("signer")

    def build(total):
        a.issue_crl()
        assert one(a, "SELECT entries FROM crl WHERE scope_id = %s AND NOT delta AND state = 'issued' "
                   "ORDER BY id DESC LIMIT 1", a.scope) == total
        return peak_kib(issuer), peak_kib(signer)

    fill(a, a.scope, 10_000)
    before = build(10_000)
    fill(a, a.scope, 190_000, 10_000)
    after = build(200_000)
    assert a.daemon.pids("issuer") == [issuer]
    print(f"peaks in KiB: {before} -> {after}")
    assert after[0] - before[0] < 16 * 1024 and after[1] - before[1] < 16 * 1024
    der = a.crl()
    assert len(der) > 6_000_000
    assert len(x509.load_der_x509_crl(der)) == 200_000
    path = clients.write(a.files, "long.crl", der)
    ca = clients.write(a.files, "long-ca.pem", a.ca_pem(a.issuing))
    verified = run(["openssl", "crl", "-inform", "DER", "-in", path, "-noout", "-CAfile", ca], text=True)
    assert "verify OK" in verified.stdout + verified.stderr


# ---------------------------------------------------------------- sudden death


class Stall:
    """Holds a lock in the database that stops a CRL at a certain step."""

    def __init__(self, a, table="artifact_chunk"):
        self.connection = a.database.connect(autocommit=False)
        # Reading goes on; what writes waits.
        self.connection.cursor().execute(f"LOCK TABLE chancery_store.{table} IN EXCLUSIVE MODE")

    def end(self):
        self.connection.close()


@pytest.fixture
def ordering(long_ca):
    """Orders a CRL without waiting for it."""
    started = []

    def order(*more, ca=long_ca.issuing):
        process = subprocess.Popen(
            long_ca.cli.argv("crl", "issue", ca, *more), env=long_ca.cli.environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    yield order
    for process in started:
        process.kill()
        process.wait()


def newest(a):
    rows = sql(a, "SELECT number::int, state, tbs_sha256, epoch, id FROM crl WHERE scope_id = %s AND NOT delta "
               "ORDER BY id DESC LIMIT 1", a.scope)
    return rows[0] if rows else None


def wait_state(a, state, number=None):
    def reached():
        row = newest(a)
        return row if row and row[1] == state and number in (None, row[0]) else None

    return wait_until(reached, what=f"a CRL that is {state}", alive=a.daemon.process)


def kill_issuer(a):
    """kill -9, and its lease is at its end: nobody waits half a minute here."""
    old = a.daemon.pids("issuer")
    sessions = [pid for pid, in sql(a, "SELECT pid FROM pg_stat_activity WHERE usename = 'chancery_issuer' AND "
                                    "datname = current_database()")]
    assert a.daemon.kill_role("issuer") == 1
    wait_until(lambda: not set(old) & set(a.daemon.pids("issuer")), what="the issuer's end")
    # The server finishes what it was asked for before it notices; what waits for a Stall does not.
    wait_until(lambda: one(a, "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s) AND "
                           "wait_event_type IS DISTINCT FROM 'Lock'", sessions) == 0, what="the end of its sessions")
    a.end_leases()


def check_numbers(a):
    """Each number has one complete and one delta CRL at most, what is issued is
    what was committed, and nothing is left open."""
    wait_until(lambda: one(a, "SELECT count(*) FROM crl WHERE state IN ('building', 'signing')") == 0,
               what="an end of all CRLs")
    for number, delta, committed, artifact in sql(
            a, "SELECT number, delta, tbs_sha256, artifact_id FROM crl WHERE state = 'issued' ORDER BY id"):
        der = b"".join(bytes(r[0]) for r in sql(
            a, "SELECT data FROM artifact_chunk WHERE artifact_id = %s ORDER BY position", artifact))
        crl = x509.load_der_x509_crl(der)
        assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == number
        assert hashlib.sha256(crl.tbs_certlist_bytes).digest() == bytes(committed), (number, delta)
    assert sql(a, "SELECT artifact_id FROM crl WHERE state = 'burnt' AND artifact_id IS NOT NULL") == []
    assert one(a, "SELECT count(*) FROM artifact WHERE NOT complete") == 0


def test_killed_while_building(long_ca, ordering, read):
    """The number is burnt; the order is carried out under the next one."""
    a = long_ca
    fill(a, a.scope, 100)
    stall = Stall(a)
    order = ordering()
    number = wait_state(a, "building")[0]
    kill_issuer(a)
    stall.end()
    a.end_leases()  # what was on its way when it died
    row = wait_state(a, "issued", number + 1)
    assert sql(a, "SELECT state, tbs_sha256 FROM crl WHERE number = %s AND scope_id = %s", number, a.scope) == [("burnt", None)]
    assert order.wait(PATIENCE_S) == 0
    assert len(read(a).revoked) == 100 and read(a).number == row[0]
    check_numbers(a)


def test_killed_while_signing(long_ca, ordering, read):
    """What was committed is signed after all, although more was revoked since."""
    a = long_ca
    fill(a, a.scope, 100)
    a.daemon.kill_role("signer", signal.SIGSTOP)
    order = ordering()
    number, _, digest, epoch, _ = wait_state(a, "signing")
    kill_issuer(a)
    fill(a, a.scope, 50, 100)
    a.daemon.kill_role("signer", signal.SIGCONT)
    row = wait_state(a, "issued", number)
    assert bytes(row[2]) == bytes(digest) and row[3] == epoch + 1
    assert order.wait(PATIENCE_S) == 0
    assert len(read(a).revoked) == 100
    a.issue_crl()
    assert len(read(a).revoked) == 150
    check_numbers(a)


def test_killed_while_completing(long_ca, ordering, read):
    """Signed, and dead before it could be stored: signed again, the same bytes."""
    a = long_ca
    fill(a, a.scope, 100)
    a.daemon.kill_role("signer", signal.SIGSTOP)
    ordering()
    number, _, digest, _, _ = wait_state(a, "signing")
    stall = Stall(a)
    a.daemon.kill_role("signer", signal.SIGCONT)
    wait_until(lambda: one(a, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
                           "query LIKE '%%crl_issued%%' AND datname = current_database()") == 1,
               what="the completion's wait")
    kill_issuer(a)
    stall.end()
    a.end_leases()
    row = wait_state(a, "issued", number)
    assert bytes(row[2]) == bytes(digest)
    assert len(read(a).revoked) == 100
    check_numbers(a)


def test_connection_lost_while_completing(long_ca, ordering, read):
    """The same issuer goes on; the signature that it has is kept."""
    a = long_ca
    fill(a, a.scope, 100)
    before = one(a, "SELECT count(*) FROM audit WHERE action = 'crl.issued'")
    a.daemon.kill_role("signer", signal.SIGSTOP)
    order = ordering()
    number, _, _, epoch, _ = wait_state(a, "signing")
    stall = Stall(a)
    a.daemon.kill_role("signer", signal.SIGCONT)
    pid = wait_until(lambda: sql(a, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND "
                                 "query LIKE '%%crl_issued%%' AND datname = current_database()"),
                     what="the completion's wait")[0][0]
    sql(a, "SELECT pg_terminate_backend(%s)", pid)
    stall.end()
    row = wait_state(a, "issued", number)
    assert row[3] == epoch
    assert order.wait(PATIENCE_S) == 0
    assert one(a, "SELECT count(*) FROM audit WHERE action = 'crl.issued'") == before + 1
    # The delta that goes with it, too.
    wait_until(lambda: read(a, delta=True).number == number, what="the delta beside it")
    check_numbers(a)


def test_database_lost_while_building(long_ca, ordering, read):
    a = long_ca
    fill(a, a.scope, 100)
    stall = Stall(a)
    order = ordering()
    number = wait_state(a, "building")[0]
    sql(a, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chancery_issuer' AND "
        "datname = current_database()")
    stall.end()
    a.end_leases()
    wait_until(lambda: newest(a)[0] > number and newest(a)[1] == "issued", what="the next CRL")
    assert order.wait(PATIENCE_S) == 0
    assert len(read(a).revoked) == 100
    check_numbers(a)


def test_server_dies_with_the_digest_committed(long_ca, ordering, postgres):
    """No chunk waits for the disk; the digest's commit does, and takes them along. What is
    configured in the database cannot change that."""
    a = long_ca
    fill(a, a.scope, 20_000)
    sql(a, f'ALTER DATABASE "{a.database.name}" SET synchronous_commit = off')
    postgres.execute("postgres", "ALTER SYSTEM SET wal_writer_delay = '10s'")
    try:
        sql(a, "SELECT pg_reload_conf(), pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename ~ '^chancery_' AND "
            "datname = current_database()")
        a.daemon.wait_ready()
        a.daemon.kill_role("signer", signal.SIGSTOP)
        order = ordering()
        number, _, digest, _, made = wait_state(a, "signing")
        postgres.stop(signal.SIGQUIT)
        postgres.start()
    finally:  # it is the server of other tests, too
        postgres.execute("postgres", "ALTER SYSTEM RESET wal_writer_delay")
        postgres.execute("postgres", "SELECT pg_reload_conf()")
    left = newest(a)
    chunks = [bytes(row[0]) for row in sql(
        a, "SELECT data FROM artifact_chunk k JOIN crl c ON c.artifact_id = k.artifact_id WHERE c.id = %s "
        "ORDER BY position", made)]
    a.daemon.kill_role("signer", signal.SIGCONT)
    assert left[:2] == (number, "signing") and bytes(left[2]) == bytes(digest)
    assert len(chunks) > 2 and hashlib.sha256(b"".join(chunks)).digest() == bytes(digest)
    assert bytes(wait_state(a, "issued", number)[2]) == bytes(digest)
    order.wait(PATIENCE_S)
    assert len(x509.load_der_x509_crl(a.crl())) == 20_000
    check_numbers(a)


def test_signer_killed_while_signing(long_ca, ordering, read):
    a = long_ca
    fill(a, a.scope, 100)
    a.daemon.kill_role("signer", signal.SIGSTOP)
    order = ordering()
    number, _, digest, epoch, _ = wait_state(a, "signing")
    a.daemon.kill_role("signer")
    row = wait_state(a, "issued", number)
    assert bytes(row[2]) == bytes(digest) and row[3] == epoch  # the issuer never let go of it
    assert order.wait(PATIENCE_S) == 0
    assert len(read(a).revoked) == 100
    check_numbers(a)


def test_signer_killed_while_building(long_ca, ordering, read):
    """The next one has not read along, and gets all of it from the spool."""
    a = long_ca
    fill(a, a.scope, 100)
    stall = Stall(a)
    order = ordering()
    number, _, _, epoch, _ = wait_state(a, "building")
    a.daemon.kill_role("signer")
    stall.end()
    row = wait_state(a, "issued", number)
    assert row[3] == epoch
    assert order.wait(PATIENCE_S) == 0
    assert len(read(a).revoked) == 100
    check_numbers(a)


BEHIND = "is behind: it reads the CRL later"
CHUNKS = "SELECT count(*) FROM artifact_chunk k JOIN crl c ON c.artifact_id = k.artifact_id WHERE c.state = 'building'"
ISSUED = "SELECT count(*) FROM crl WHERE scope_id = %s AND state = 'issued' AND NOT delta"


def held_up(a, ordering):
    """Orders a CRL and stops the signer until the channel is full and no more chunks come, since the rows
    wait for it; whether that was seen in time."""
    number, chunks = newest(a)[0], []
    a.daemon.kill_role("signer", signal.SIGSTOP)
    order = ordering()

    def seen():
        chunks.append(one(a, CHUNKS))
        if newest(a)[0] > number and newest(a)[1] == "signing":
            return "late"
        return chunks[-1] >= 31 and chunks[-3:].count(chunks[-1]) == 3 and "held up"

    return order, wait_until(seen, interval=0.05, what="rows that wait")


@pytest.mark.skipif(sanitized(), reason="as long as that a list takes a sanitizer minutes")
def test_signer_that_does_not_read_along(long_ca, ordering):
    """More than its channel holds. It is waited for; if it stays away it gets the rest, and
    the beginning again, later."""
    a = long_ca
    fill(a, a.scope, 210_000)
    a.daemon.kill_role("signer", signal.SIGSTOP)
    order = ordering()
    number, _, digest, epoch, _ = wait_state(a, "signing")
    a.daemon.kill_role("signer", signal.SIGCONT)
    row = wait_state(a, "issued", number)
    assert bytes(row[2]) == bytes(digest) and row[3] == epoch
    assert order.wait(PATIENCE_S) == 0
    der = a.crl()
    assert len(der) > 9_000_000 and len(x509.load_der_x509_crl(der)) == 210_000
    assert a.daemon.process.log().count(BEHIND) == 1

    # A busy machine may need some attempts to look in time.
    for _ in range(20):
        number, given_up = newest(a)[0], a.daemon.process.log().count(BEHIND)
        order, seen = held_up(a, ordering)
        a.daemon.kill_role("signer", signal.SIGCONT)
        wait_until(lambda n=number: newest(a)[0] > n and newest(a)[1] == "issued", what="the CRL")
        assert order.wait(PATIENCE_S) == 0
        if seen == "held up" and a.daemon.process.log().count(BEHIND) == given_up:
            break
    else:
        pytest.fail("a signer that was away for a moment was never waited for")
    assert len(x509.load_der_x509_crl(a.crl())) == 210_000

    # Killed while it is waited for.
    number = newest(a)[0]
    order, _ = held_up(a, ordering)
    a.daemon.kill_role("signer")
    wait_until(lambda: newest(a)[0] > number and newest(a)[1] == "issued", what="the CRL")
    assert order.wait(PATIENCE_S) == 0

    # Chunks that were stored are lost, as by a server that died and is back: no digest is committed.
    for _ in range(20):
        number = newest(a)[0]
        order, seen = held_up(a, ordering)
        # Looked at too late, the list is past it: what is signed has all its chunks.
        lost = seen == "held up" and sql(
            a, "DELETE FROM artifact_chunk k USING crl c WHERE c.artifact_id = k.artifact_id AND c.state = 'building' "
            "AND position < 4 RETURNING position")
        a.daemon.kill_role("signer", signal.SIGCONT)
        if lost:
            break
        wait_until(lambda n=number: newest(a)[0] > n and newest(a)[1] == "issued", what="the CRL")
    else:
        pytest.fail("no chunk was ever taken away in time")
    wait_until(lambda: "octets in the database where" in a.daemon.process.log(), what="the refusal of its digest")
    a.end_leases()
    wait_until(lambda: newest(a)[0] > number + 1 and newest(a)[1] == "issued", what="the CRL")
    assert sql(a, "SELECT DISTINCT state, tbs_sha256 FROM crl WHERE number = %s AND scope_id = %s", number + 1, a.scope) == [
        ("burnt", None)]
    assert order.wait(PATIENCE_S) == 0
    check_numbers(a)


@pytest.mark.skipif(sanitized(), reason="as long as that a list takes a sanitizer minutes")
def test_a_signer_that_comes_and_goes(long_ca, ordering):
    """Two lists of one token at a time, together more than its channel holds: neither keeps the
    other, or itself, from its end."""
    a = long_ca
    scopes = {a.scope: a.issuing, at_rest(a, a.root): a.root}
    for scope in scopes:
        fill(a, scope, 110_000)
    before = {scope: one(a, ISSUED, scope) for scope in scopes}
    choice = random.Random(int(os.environ.get("CHANCERY_SEED", "7")))
    orders = [ordering(), ordering(ca=a.root)]
    begun = time.monotonic()
    while not all(one(a, ISSUED, scope) > before[scope] for scope in scopes):
        assert time.monotonic() - begun < PATIENCE_S
        a.daemon.kill_role("signer", signal.SIGSTOP)
        time.sleep(choice.choice([0.02, 0.1, 0.3, 1.3]))  # how long is the test's point
        a.daemon.kill_role("signer", signal.SIGCONT)
        time.sleep(choice.choice([0.01, 0.05, 0.2]))
    assert [order.wait(PATIENCE_S) for order in orders] == [0, 0]
    for ca in scopes.values():
        assert len(x509.load_der_x509_crl(a.crl(ca))) == 110_000
    check_numbers(a)


def test_stopped_while_the_token_is_away(new_authority, recorded_token, read):
    """A drain does not wait for a token, and the next life goes on at once with
    the same number."""
    a = new_authority(token=recorded_token)
    a.scope = at_rest(a)
    fill(a, a.scope, 20)
    a.token.fail("sign 0x30")  # CKR_DEVICE_ERROR, from now on
    order = subprocess.Popen(a.cli.argv("crl", "issue", a.issuing), env=a.cli.environment(),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        number, _, digest, _, _ = wait_state(a, "signing")
        assert a.daemon.stop() == 0  # and nothing had to be killed
    finally:
        order.kill()
        order.wait()
    # Nobody has to wait for the end of a lease.
    assert sql(a, "SELECT state, lease_until <= now() FROM crl WHERE number = %s AND NOT delta AND scope_id = %s",
               number, a.scope) == [("signing", True)]
    a.token.fail()
    a.daemon.start()
    row = wait_state(a, "issued", number)
    assert bytes(row[2]) == bytes(digest)
    assert len(read(a).revoked) == 20
    check_numbers(a)


@pytest.mark.slow
def test_killed_at_random(new_authority, recorded_token):
    """Orders and deaths as they come. Whatever the token signed is the one content
    of one number, and the last order is carried out."""
    a = new_authority(token=recorded_token)
    a.scope = at_rest(a)
    seed = int(os.environ.get("CHANCERY_SEED", time.time()))
    print(f"CHANCERY_SEED={seed}")
    choice = random.Random(seed)
    deaths = ["issuer"] * 7 + ["signer"] * 5
    choice.shuffle(deaths)
    filled, orders = 0, []
    try:
        for role in deaths:
            wait_until(lambda r=role: a.daemon.pids(r), what=f"a living {role}", alive=a.daemon.process)
            fill(a, a.scope, 500, filled)
            filled += 500
            orders.append(subprocess.Popen(
                a.cli.argv("crl", "issue", a.issuing, *choice.choice([[], ["--delta"]])), env=a.cli.environment(),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(choice.uniform(0.05, 1.2))  # the moment of death is the test's point
            assert a.daemon.kill_role(role) == 1
            if role == "issuer":
                a.end_leases()
    finally:
        for order in orders:
            order.kill()
            order.wait()
    a.end_leases()
    # The supervisor lets roles that die so often rest for longer and longer.
    wait_until(lambda: one(a, "SELECT count(*) FROM decision WHERE state IN ('queued', 'working')") == 0, timeout=400,
               what="an end of all orders", alive=a.daemon.process)
    a.issue_crl()
    crl = x509.load_der_x509_crl(a.crl())
    assert len(crl) == filled
    check_numbers(a)
    contents = {}
    known = {bytes(r[0]).hex() for r in sql(a, "SELECT tbs_sha256 FROM serial_intent")}
    for scope, number, delta, digest in sql(
            a, "SELECT scope_id, number, delta, tbs_sha256 FROM crl WHERE tbs_sha256 IS NOT NULL"):
        contents.setdefault((scope, number, delta), set()).add(bytes(digest).hex())
        known.add(bytes(digest).hex())
    assert all(len(c) == 1 for c in contents.values())
    signed = {data for result, data in a.token.calls("sign") if result == "0x0"}
    # Of the issuing CA's own request, and what each of the two keys signed on trial when it was new.
    others = 3
    assert len(signed - known) <= others, signed - known
    issued = one(a, "SELECT count(*) FROM crl WHERE state = 'issued'")
    print(f"{issued} CRLs issued, {one(a, 'SELECT count(*) FROM crl WHERE state = %s', 'burnt')} numbers burnt, "
          f"{len(orders)} orders")
    assert issued > 5
