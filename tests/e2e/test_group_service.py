"""A CA whose key came to two tokens from outside, and one of them goes while requests
come: nothing is lost or made twice, no serial is given up, CRL numbers go on."""

import os
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from harness import clients
from harness.chanceryd import program
from harness.cli import CommandFailed
from harness.process import wait_until
from harness.softhsm import GroupToken
from test_keys import Office, export, openssl_ca

STORE = "SET search_path = chancery_store; "


class Pair(Office):
    def __init__(self, directory, database):
        super().__init__(directory, database, GroupToken(os.path.join(directory, "pair"), program("faults/shim.so")).create())
        self.daemon.config["tokens"][0].update(select={"label": self.token.labels}, call_timeout="3s")
        self.requests = []

    def submit_many(self, count):
        for _ in range(count):
            csr = clients.host_csr(f"h{len(self.requests)}.example", self.key)
            self.requests.append(self.submit_by_sql(csr, "pair"))

    def done(self):
        return self.database.one(STORE + "SELECT count(*) FROM certificate c JOIN request r ON r.id = c.request_id "
                                 "WHERE r.public_id = ANY (%s::uuid[])", (self.requests,))

    def wait_status(self, *words):
        def said():
            row, = self.cli.json("token", "status")["tokens"]
            return all(w in row["sentence"] for w in words)

        wait_until(said, what=" ".join(words))

    def crl_number(self):
        before = self.last_number()
        self.issue_crl("pair")
        wait_until(lambda: self.last_number() > before, what="a CRL")
        return self.last_number()

    def last_number(self):
        crl = x509.load_der_x509_crl(self.crl("pair"))
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.fixture(scope="module")
def pair(postgres, migrated, new_dir):
    made = Pair(new_dir("i"), postgres.database(migrated))
    made.key = ec.generate_private_key(ec.SECP256R1())
    try:
        yield made.start()
    finally:
        made.close()


def test_one_goes_under_load(pair):
    root = openssl_ca(pair.files, "pair-root")
    old = openssl_ca(pair.files, "pair", root, length=", pathlen:0")
    p12 = export(old)
    refused = pair.import_key(p12, check=False)
    assert refused.returncode == 1 and "say --member with one of: 'hsm-a', 'hsm-b'" in refused.stderr
    for label in pair.token.labels:
        pair.import_key(p12, "--member", label)
    pair.apply_automatic()
    with pytest.raises(CommandFailed) as failed:  # how the name is written, to the octet
        pair.adopt("pair", old + ".pem", subject="CN=pair")
    subject = re.search(r'subject: "(.+)"', failed.value.stderr).group(1)
    pair.adopt("pair", old + ".pem", subject=subject, templates=["many"])
    pair.cli("ca", "install", "pair", old + ".pem", root + ".pem")
    pair.wait_status("'hsm-a' signs; 'hsm-b' stands by")
    numbers = [pair.crl_number()]

    pair.submit_many(40)
    wait_until(lambda: pair.done() > 5, what="some certificates", interval=0.005)
    pair.token.fail("any@hsm-a 0x30")  # CKR_DEVICE_ERROR
    pair.submit_many(20)
    numbers.append(pair.crl_number())
    wait_until(lambda: pair.done() == len(pair.requests), what="all of them")
    pair.wait_status("'hsm-a' is away", "'hsm-b' signs")
    pair.token.fail()
    pair.submit_many(10)
    pair.wait_status("'hsm-a' signs; 'hsm-b' stands by")
    numbers.append(pair.crl_number())
    wait_until(lambda: pair.done() == len(pair.requests), what="the last ones")

    assert numbers == sorted(set(numbers))
    rows = pair.database.execute(
        STORE + "SELECT r.public_id::text, c.serial FROM certificate c JOIN request r ON r.id = c.request_id "
        "WHERE r.public_id = ANY (%s::uuid[])", (pair.requests,))
    assert sorted(row[0] for row in rows) == sorted(pair.requests)
    serials = {bytes(row[1]) for row in rows}
    begun = {bytes(row[0]) for row in pair.database.execute(STORE + "SELECT serial FROM serial_intent")}
    assert len(serials) == len(pair.requests) and serials <= begun
    # What was under way went on with the serial that it had.
    assert begun == serials
    assert {"hsm-a", "hsm-b"} == set(pair.token.signers())
