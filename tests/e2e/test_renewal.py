"""CAs renewed: with the same key, root and subordinate, and what is refused on the way."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from harness import clients
from harness.process import wait_until


@pytest.fixture(scope="module")
def a(shared_instance):
    """Root and issuing CA, and a certificate of the first generation."""
    a = shared_instance
    a.leafs = [a.certificate("first")[1]]
    return a


def chain_of(a, ca):
    return clients.split_pem(a.api.get(f"/v1/cas/{ca}/chain").body.decode())


def shown(a, ca):
    return a.cli.json("ca", "show", ca)


def key_of(pem):
    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ends(pem):
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after


def signed_by_root(a, ca):
    """The newest CSR of the CA, signed by the root: PEM chain."""
    csr = clients.write(a.files, f"{ca}-again.csr", a.cli("ca", "csr", ca))
    request = a.submit(csr, ca=a.root, template="sub-ca")
    a.approve(request)
    return a.issued(request)


def fresh_crl(a, ca):
    """A CRL that was made after now."""
    before = a.crl(ca)
    a.issue_crl(ca)
    return wait_until(lambda: (lambda der: der if der != before else None)(a.crl(ca)), what=f"a new CRL of {ca}")


def check(a, leaf, good=True):
    """OpenSSL and GnuTLS, with the CRLs of issuing CA and root, under the chain of now."""
    issuing, root = chain_of(a, a.issuing)[0], chain_of(a, a.root)[0]
    crls = [a.crl(), a.crl(a.root)]
    for verify in (clients.openssl_verify, clients.certtool_verify):
        accepted, said = verify(a.files, leaf, issuing, root, crls)
        assert accepted is good, said
        assert good or "revoked" in said, said


@pytest.mark.smoke
def test_root_with_the_same_key(a):
    before = chain_of(a, a.root)[0]
    said = a.cli.fails("ca", "renew", a.root, "--same-key")
    assert "would end no later than the one in force" in said and "--not-after 30y" in said
    a.cli("ca", "limits", "change", a.root, "--not-after", "30y")

    said = a.cli.result("ca", "renew", a.root, "--same-key")
    assert said.returncode == 0 and f"CA {a.root} signs under its renewed certificate" in said.stdout, said
    sha256 = x509.load_pem_x509_certificate(before.encode()).fingerprint(hashes.SHA256()).hex()
    assert f"SHA-256      {sha256}" in said.stderr and "action: ca-renew" in said.stderr
    after = chain_of(a, a.root)[0]
    assert after != before and key_of(after) == key_of(before) and ends(after) > ends(before)
    assert shown(a, a.root)["certificate"]["index"] == 1 and shown(a, a.root)["waiting"] is None
    # What was issued below stays good, under either, and the root goes on issuing.
    check(a, a.leafs[0])
    assert clients.openssl_verify(a.files, a.leafs[0], chain_of(a, a.issuing)[0], before)[0]
    fresh_crl(a, a.root)
    check(a, a.leafs[0])
    # Clients find the new one at the AIA.
    served = a.daemon.web.get(f"/aia/{a.root}.cer").body
    assert x509.load_der_x509_certificate(served) == x509.load_pem_x509_certificate(after.encode())


@pytest.mark.smoke
def test_subordinate_with_the_same_key(a):
    before = chain_of(a, a.issuing)[0]
    assert "does not wait for a certificate" in a.cli.fails("ca", "install", a.issuing, clients.write(
        a.files, "before.pem", before))
    said = a.cli.result("ca", "renew", a.issuing, "--same-key")
    assert said.returncode == 0 and "waits for its renewed certificate" in said.stdout, said
    assert f"chancery ca install {a.issuing} CERTIFICATE" in said.stdout
    assert shown(a, a.issuing)["waiting"] == 1 and shown(a, a.issuing)["state"] == "active"
    # It goes on meanwhile.
    a.leafs.append(a.certificate("meanwhile")[1])

    chain = clients.split_pem(signed_by_root(a, a.issuing))
    for name, bad, words in mistakes(a, before, chain):
        assert words in a.cli.fails("ca", "install", a.issuing, clients.write(a.files, f"{name}.pem", bad)), name
    assert shown(a, a.issuing)["certificate"]["index"] == 0

    # The parent hands out PKCS#7; what is above is known.
    bundle = pkcs7.serialize_certificates([x509.load_pem_x509_certificate(chain[0].encode())], Encoding.DER)
    said = a.cli("ca", "install", a.issuing, clients.write(a.files, "bundle.p7b", bundle))
    assert f"CA {a.issuing} signs under its renewed certificate" in said
    after = chain_of(a, a.issuing)
    assert after[0] == chain[0] and key_of(after[0]) == key_of(before) and len(after) == 2
    assert shown(a, a.issuing)["certificate"]["index"] == 1 and shown(a, a.issuing)["waiting"] is None

    request, leaf = a.certificate("renewed")
    a.leafs.append(leaf)
    for pem in a.leafs:
        check(a, pem)
    # One key, one CRL: it revokes certificates of both generations.
    for pem in (a.leafs[0], leaf):
        serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
        a.cli("cert", "revoke", f"{serial:040x}", "--reason", "superseded")
    fresh_crl(a, a.issuing)
    check(a, a.leafs[0], good=False)
    check(a, a.leafs[1])
    check(a, a.leafs[2], good=False)
    assert "does not wait for a certificate" in a.cli.fails("ca", "install", a.issuing, clients.write(
        a.files, "again.pem", chain[0]))


class Parent:
    """A CA outside, which signs what it is asked to: for what no CA of ours would."""

    def __init__(self, name, above=None, path_length=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name.from_rfc4514_string(name)
        self.above = above
        by = above or self
        self.pem = by.sign(self.name, self.key.public_key(), path_length=path_length)

    def sign(self, subject, key, days=4000, path_length=None, ca=True, since=-1):
        now = datetime.datetime.utcnow()
        made = x509.CertificateBuilder(
            self.name, subject, key, x509.random_serial_number(), now + datetime.timedelta(since),
            now + datetime.timedelta(days))
        made = made.add_extension(x509.BasicConstraints(ca, path_length if ca else None), True).add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key), False).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        return made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def mistakes(a, before, chain):
    """Name, what is installed, and what is said of it."""
    csr = x509.load_pem_x509_csr(a.cli("ca", "csr", a.issuing).encode())
    key, name = csr.public_key(), csr.subject
    root = Parent("CN=Outside Root")
    narrow = Parent("CN=Narrow Root", path_length=0)
    middle = Parent("CN=Middle", above=root)
    below_narrow = Parent("CN=Below", above=narrow)
    impostor = Parent("CN=Outside Root")
    other = x509.Name.from_rfc4514_string("CN=Somebody else")
    yield "another-key", root.sign(name, root.key.public_key()) + root.pem, "for this CA's key: was another CSR signed?"
    yield "the-same", before, "in force already"
    yield "no-certificate", "nothing", "no certificate in PEM or DER"
    yield "a-leaf", a.leafs[0], "for this CA's key: was another CSR signed?"
    yield "another-name", root.sign(other, key) + root.pem, "subject is not byte for byte the one this CA asked for"
    yield "no-ca", root.sign(name, key, ca=False) + root.pem, "RFC 5280 4.2.1.9: CN=test-issuing,O=Chancery Test,C=DE is not"
    yield "expired", root.sign(name, key, since=-30, days=-1) + root.pem, "is not valid now"
    yield "not-yet", root.sign(name, key, since=30) + root.pem, "is not valid now"
    yield "shorter", root.sign(name, key, days=100, path_length=0) + root.pem, "earlier than the one in force"
    yield "long-path", below_narrow.sign(name, key) + below_narrow.pem + narrow.pem, "pathLenConstraint of CN=Narrow Root is 0"
    yield "no-middle", middle.sign(name, key) + root.pem, "the certificate of CN=Middle is missing: give the whole chain"
    yield "impostor", root.sign(name, key) + impostor.pem, "no certificate of CN=Outside Root verifies the signature"


def test_two_renewals(a):
    """One that is begun again gives way; limits of another do not count."""
    a.cli("ca", "renew", a.issuing, "--same-key")
    first = shown(a, a.issuing)["waiting"]
    a.cli("ca", "renew", a.issuing, "--same-key")
    assert shown(a, a.issuing)["waiting"] == first + 1
    states = a.database.execute(
        "SELECT certificate_index, g.state FROM chancery_store.generation g JOIN chancery_store.ca a ON a.id = g.ca_id "
        "WHERE a.name = %s ORDER BY 1", (a.issuing,))
    assert [state for _, state in states] == ["superseded", "active", "retired", "awaiting-certificate"]


def test_after_a_restart(a):
    """A signer that comes anew has limits and certificates of before."""
    a.daemon.stop()
    a.daemon.start()
    a.leafs.append(a.certificate("restarted")[1])
    check(a, a.leafs[-1])
    fresh_crl(a, a.root)
