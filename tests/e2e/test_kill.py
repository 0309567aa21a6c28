"""Sudden death at random: nothing lost, nothing twice, no unknown signature."""

import hashlib
import os
import random
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from harness import clients
from harness.chanceryd import sanitized
from harness.process import wait_until

REQUESTS = 500
FINAL = ("issued", "rejected", "denied", "expired", "withdrawn", "failed")


KILLS = 7  # the supervisor waits twice as long after each death: 0.1 s to 6.4 s


def submit(a, requests):
    """All in one transaction: they arrive at once. Returns their ids."""
    connection = a.database.connect("service_one", autocommit=False)
    try:
        with connection.cursor() as cursor:
            ids = []
            for key, csr in requests:
                cursor.execute(
                    "SELECT chancery.submit_request(%s, 'many', %s::bytea, '{}', %s)", (a.issuing, csr, key))
                ids.append(str(cursor.fetchone()[0]))
        connection.commit()
        return ids
    finally:
        connection.close()


def kill_in_the_middle(a, role, chance):
    """Kills a role while it works on what just came; how long after is up to chance."""
    wait_until(lambda: a.daemon.pids(role), what=f"a living {role}", alive=a.daemon.process)
    time.sleep(chance.uniform(0, 0.12))
    return a.daemon.kill_role(role)


def states(a):
    return dict(a.database.execute("SELECT state, count(*) FROM chancery_store.request GROUP BY state"))


@pytest.mark.slow
@pytest.mark.parametrize("roles", [["signer"], ["issuer"], ["signer", "issuer"]], ids="-".join)
def test_kill_at_random(new_authority, recorded_token, roles):
    a = new_authority(token=recorded_token)
    a.apply_automatic()
    a.create_issuing("kill-issuing", templates=["many"])
    a.issuing = "kill-issuing"
    a.token.forget()  # keys were made, CSRs signed
    others = sum(states(a).values())

    count = REQUESTS // 5 if sanitized() else REQUESTS
    seed = int(os.environ.get("CHANCERY_SEED", time.time()))
    print(f"CHANCERY_SEED={seed}")
    chance = random.Random(seed)
    plan = (roles * KILLS)[: KILLS + len(roles) - 1]
    chance.shuffle(plan)
    requests = [(f"kill-{n}", clients.host_csr(f"k{n}.example")) for n in range(count)]
    size = -(-count // len(plan))
    ids = []
    killed = 0
    for n, role in enumerate(plan):
        ids += submit(a, requests[n * size : (n + 1) * size])
        killed += kill_in_the_middle(a, role, chance)
    a.end_leases()  # of those that died
    assert len(ids) == count
    assert killed >= len(plan) - 1, f"{killed} kills of {len(plan)}"
    wait_until(
        lambda: sum(n for s, n in states(a).items() if s not in FINAL) == 0,
        timeout=300, what="an end of all requests", alive=a.daemon.process)
    assert states(a) == {"issued": others + count}
    check_nothing_lost_nothing_twice(a, ids)


def check_nothing_lost_nothing_twice(a, ids):
    rows = a.database.execute(
        """SELECT r.public_id, c.serial, c.der, c.issuer_name_id FROM chancery_store.request r
           JOIN chancery_store.certificate c ON c.request_id = r.id WHERE r.public_id = ANY (%s::uuid[])""",
        (ids,))
    assert sorted(str(r[0]) for r in rows) == sorted(ids)
    assert len({bytes(r[1]) for r in rows}) == len(rows)

    issuing = x509.load_pem_x509_certificate(a.ca_pem(a.issuing).encode()).public_key()
    for _, serial, der, name in rows:
        certificate = x509.load_der_x509_certificate(bytes(der))
        assert certificate.serial_number == int.from_bytes(bytes(serial), "big")
        issuing.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
        # The certificate's to-be-signed bytes are those that were committed before.
        committed = a.database.one(
            "SELECT tbs_sha256 FROM chancery_store.serial_intent WHERE issuer_name_id = %s AND serial = %s",
            (name, bytes(serial)))
        assert bytes(committed) == hashlib.sha256(certificate.tbs_certificate_bytes).digest()

    # Each request has one live serial, and each serial's bytes became its certificate.
    orphans = a.database.execute(
        """SELECT i.serial FROM chancery_store.serial_intent i
           LEFT JOIN chancery_store.certificate c USING (issuer_name_id, serial)
           WHERE c.id IS NULL AND i.request_id IS NOT NULL""")
    assert orphans == [], f"{len(orphans)} serials without certificate"
    check_no_unknown_signature(a, len(ids))


def check_no_unknown_signature(a, least):
    """Each signature that the token made is over bytes that the database knew."""
    known = {
        bytes(r[0]).hex()
        for r in a.database.execute(
            """SELECT tbs_sha256 FROM chancery_store.serial_intent
               UNION SELECT tbs_sha256 FROM chancery_store.crl WHERE tbs_sha256 IS NOT NULL""")
    }
    assert not a.token.calls("sign-update")
    signed = [data for result, data in a.token.calls("sign") if result == "0x0"]
    unknown = [digest for digest in signed if digest not in known]
    assert len(signed) >= least and not unknown, (
        f"{len(unknown)} of {len(signed)} signatures are not in the database")
