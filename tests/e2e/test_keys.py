"""Keys that were elsewhere before: the CA of another product moves here with its key,
which comes out of a PKCS#12 file, and with its certificate."""

import hashlib
import json
import os
import re
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from harness import clients
from harness.authority import Authority
from harness.chanceryd import program
from harness.cli import CommandFailed
from harness.decisions import Key
from harness.limits import body, document, name_der, operator
from harness.process import run, wait_until
from harness.signer import Order, Refused, Signer
from harness.softhsm import Token

PASSWORD = "a password of the export"
OPENSSL = """[req]
distinguished_name = dn
prompt = no
string_mask = nombstr
[dn]
C = DE
O = Old Office
CN = {name}
[ca]
basicConstraints = critical, CA:TRUE{length}
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


def openssl_ca(files, name, signer=None, key="rsa:2048", length=""):
    """A CA as OpenSSL makes one, with PrintableStrings as an AD CS of its time."""
    path = os.path.join(files, name)
    with open(path + ".cnf", "w", encoding="ascii") as f:
        f.write(OPENSSL.format(name=name, length=length))
    options = [] if key.startswith("rsa") else ["-pkeyopt", "ec_paramgen_curve:P-256"]
    run(["openssl", "req", "-new", "-nodes", "-newkey", key, *options, "-config", path + ".cnf", "-keyout",
         path + ".key", "-out", path + ".csr"])
    by = ["-CA", signer + ".pem", "-CAkey", signer + ".key"] if signer else ["-signkey", path + ".key"]
    run(["openssl", "x509", "-req", "-in", path + ".csr", *by, "-days", "3000", "-extfile", path + ".cnf",
         "-extensions", "ca", "-out", path + ".pem"])
    return path


def export(path, password=PASSWORD):
    run(["openssl", "pkcs12", "-export", "-inkey", path + ".key", "-in", path + ".pem", "-out", path + ".p12",
         "-passout", f"pass:{password}"])
    return path + ".p12"


class Office(Authority):
    """Without CAs, and with its signer's console."""

    def start(self):
        self.daemon.start()
        self.add_first_operator("alice")
        self.apply_templates()
        self.password_file = clients.write(self.files, "password", PASSWORD + "\n")
        os.chmod(self.password_file, 0o600)
        return self

    def console(self, *args, check=True):
        return run([program("chancery-signer"), "--config", self.daemon.config_path, "--token", "main", *args],
                   check=check, text=True, env=dict(os.environ))

    def import_key(self, p12, *args, check=True):
        return self.console("--import-key", p12, "--passphrase-file", self.password_file, *args, check=check)

    def keys(self):
        return [json.loads(line) for line in self.console("--keys", "--json").stdout.splitlines()]

    def adopt(self, name, certificate, **more):
        """Creates the CA, agreeing at the console when the signer asks for it."""
        policy = self.issuing_policy(name, "rsa2048", deltas=False, **more)
        failure = []

        def create():
            try:
                self.cli("ca", "create", name, "--policy", policy, "--adopt", certificate)
            except CommandFailed as e:
                failure.append(e)

        before = len(self.daemon.process.log())
        creating = threading.Thread(target=create)
        creating.start()
        asked = wait_until(
            lambda: failure or re.search(r"chancery-signer --adopt ([0-9a-f]{64})", self.daemon.process.log()[before:]),
            what="the question at the console")
        if not failure:
            self.console("--adopt", asked.group(1))
        creating.join()
        if failure:
            raise failure[0]


@pytest.fixture
def office(database, new_dir):
    made = Office(new_dir("i"), database)
    try:
        yield made.start()
    finally:
        made.close()


def test_a_ca_moves_here(office):
    root = openssl_ca(office.files, "old-root")
    old = openssl_ca(office.files, "old-issuing", root, length=", pathlen:0")
    p12 = export(old)

    # Into the token, and out of the file.
    wrong = clients.write(office.files, "wrong", "another\n")
    os.chmod(wrong, 0o600)
    refused = office.console("--import-key", p12, "--passphrase-file", wrong, check=False)
    assert refused.returncode == 1 and "the passphrase does not fit" in refused.stderr
    assert office.keys() == []
    os.link(p12, p12 + ".second-name")
    said = office.import_key(p12, "--wipe", "--label", "from the old office").stdout
    assert "It has been outside" in said and not os.path.exists(p12)
    assert os.path.getsize(p12 + ".second-name") == 0  # what a second name still leads to
    key, = office.keys()
    assert key["key"] in said and key["kind"] == "rsa2048" and key["label"] == "from the old office"
    assert key["owner"].startswith("nobody here") and key["can_leave"] is False
    again = office.import_key(export(old), check=False)
    assert again.returncode == 1 and "has this key already" in again.stderr

    # The name has to be the same to the octet; how to write it is said.
    with pytest.raises(CommandFailed) as refused:
        office.adopt("old-issuing", old + ".pem", subject="CN=old-issuing,O=Old Office,C=DE")
    subject = re.search(r'subject: "(.+)"', refused.value.stderr).group(1)
    office.adopt("old-issuing", old + ".pem", subject=subject)
    office.cli("ca", "install", "old-issuing", old + ".pem", root + ".pem")
    key, = office.keys()
    assert key["owner"] == "CA old-issuing"

    # What it issues now belongs to its old certificate.
    request = office.submit(clients.openssl_csr(office.files, "host", dns=["host.example"]), ca="old-issuing")
    office.approve(request)
    leaf = clients.write(office.files, "leaf.pem", clients.split_pem(office.issued(request))[0])
    der = clients.write(office.files, "crl.der", office.crl("old-issuing"))
    crl = os.path.join(office.files, "crl.pem")
    run(["openssl", "crl", "-inform", "DER", "-in", der, "-CAfile", old + ".pem", "-out", crl])
    run(["openssl", "verify", "-CAfile", root + ".pem", "-untrusted", old + ".pem", "-CRLfile", crl,
         "-crl_check", leaf])

    # By the command's own names; what a CA has is not destroyed by hand, what nobody has is.
    here = ["--config", office.daemon.config_path]
    owned, = office.keys()
    assert office.cli.json("key", "list", "main", *here) == owned
    refused = office.cli.fails("key", "destroy", "main", owned["key"], "--label", owned["label"], *here)
    assert "there are limits for this key" in refused
    stray = openssl_ca(office.files, "stray", key="ec")
    office.console("--import-key", export(stray), "--passphrase-file", office.password_file, "--label", "stray one")
    left, = (k for k in office.keys() if k["label"] == "stray one")
    refused = office.cli.fails("key", "destroy", "main", left["key"], "--label", "stray", *here)
    assert "this is not the key's label" in refused and left in office.keys()
    office.cli("key", "destroy", "main", left["key"], *here, input="stray one\n")
    assert office.keys() == [owned]
    assert "no public key" in office.cli.fails("key", "destroy", "main", left["key"], "--label", "stray one", *here)


def console(signer, *args):
    return run([program("chancery-signer"), "--config", signer.config, "--token", "main", *args], text=True).stdout


def order(thief, key, **more):
    """Limits that name their own operator, as an issuer that was taken over can write them."""
    text = document("mine", [operator("thief", thief)], name_der("Mine"), key=hashlib.sha256(key).hexdigest(), **more)
    return text, Order("ca-create", "mine", body(text), [thief])


def test_nobody_takes_a_key_over_alone(new_dir):
    """Limits say themselves whose signatures count: without root's leave at the console they
    get no key that was there, and never one that has limits."""
    directory = new_dir("keys")
    token = Token(os.path.join(directory, "token")).create()
    thief = Key()
    foreign = ec.generate_private_key(ec.SECP256R1())
    path = clients.write(directory, "foreign.pem", foreign.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    run(["softhsm2-util", "--import", path, "--token", token.label, "--label", "of others", "--id", "0a0b", "--pin",
         token.pin], env=dict(os.environ, **token.environment))
    spki = foreign.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    signer = Signer(directory, token).start()
    try:
        text, wish = order(thief, spki)
        with pytest.raises(Refused, match="root of the signer's host has to agree"):
            signer.generate(wish)
        other, _ = order(thief, spki)
        console(signer, "--adopt", hashlib.sha256(other.encode()).hexdigest())
        with pytest.raises(Refused, match="root of the signer's host has to agree"):
            signer.generate(wish)
        owner, = [json.loads(line) for line in console(signer, "--keys", "--json").splitlines()]
        assert owner["cka_id"] == "0a0b" and owner["owner"].startswith("nobody here")

        # With it, it is the one that the limits name, and once.
        console(signer, "--adopt", hashlib.sha256(text.encode()).hexdigest())
        key = signer.generate(wish)
        assert key.spki == spki and key.id == hashlib.sha256(text.encode()).digest()[:16]
        assert signer.generate(wish).id == key.id
        again, wish = order(thief, spki)
        console(signer, "--adopt", hashlib.sha256(again.encode()).hexdigest())
        with pytest.raises(Refused, match="has limits already"):
            signer.generate(wish)

        # One that is not there.
        text, wish = order(thief, b"nothing")
        console(signer, "--adopt", hashlib.sha256(text.encode()).hexdigest())
        with pytest.raises(Refused, match="no public key with the SHA-256"):
            signer.generate(wish)
    finally:
        signer.stop()


def test_attest(instance):
    """The key of a certificate answers, and that of no other certificate does."""
    for ca in (instance.root, instance.issuing):
        said = instance.cli("key", "attest", ca)
        assert "signed just now" in said
        certificate = clients.write(instance.files, f"{ca}.pem", instance.ca_pem(ca))
        assert instance.cli("key", "attest", ca, certificate) == said
    other = openssl_ca(instance.files, "impostor")
    refused = instance.cli.fails("key", "attest", instance.issuing, other + ".pem")
    assert "did not sign what it was asked for" in refused
    refused = instance.cli.fails("key", "attest", instance.issuing, os.path.join(instance.files, f"{instance.root}.pem"))
    assert "did not sign what it was asked for" in refused
    assert "not known" in instance.cli.fails("key", "attest", "nobody", other + ".pem")
    shown = instance.cli.json("key", "attest", instance.issuing)
    assert shown["action"] == "key-attest" and shown["outcome"].startswith("the key signed: ecdsa-sha256 ")
