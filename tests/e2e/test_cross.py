"""Cross-certificates: a CA elsewhere certifies a key of ours, and whoever trusts only that
one finds the way to what ours issued."""

import datetime
import json
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from harness import clients
from harness.process import run, wait_until
from harness.slapd import Slapd, ad_schema


class Abroad:
    """A root of somebody else's, made and used with openssl."""

    def __init__(self, directory, name="Abroad Root"):
        self.directory, self.name = directory, name.replace(" ", "-")
        self.key, self.root = (f"{directory}/{self.name}.{x}" for x in ("key", "pem"))
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3000",
             "-subj", f"/C=FR/O=Abroad/CN={name}", "-keyout", self.key, "-out", self.root,
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"])

    def certify(self, csr, name="cross", days=2000, constraints="CA:TRUE", usage="keyCertSign,cRLSign", **more):
        """Path of the certificate, PEM."""
        out = f"{self.directory}/{name}.pem"
        extensions = clients.write(self.directory, f"{name}.ext", f"basicConstraints=critical,{constraints}\n"
                                   f"keyUsage=critical,{usage}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        run(["openssl", "x509", "-req", "-in", csr, "-CA", self.root, "-CAkey", more.get("key", self.key), "-days", str(days),
             "-extfile", extensions, "-out", out])
        return out


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


def pem_of(path):
    with open(path, encoding="ascii") as f:
        return f.read()


def read(path):
    return x509.load_pem_x509_certificate(pem_of(path).encode())


def chain_of(a, ca):
    return clients.split_pem(a.api.get(f"/v1/cas/{ca}/chain").body.decode())


@pytest.fixture(scope="module")
def a(shared_instance, slapd):
    """A root whose certificates stand in a directory, with a CA below it."""
    a = shared_instance
    a.root3, a.sub3 = "cross-root", "cross-issuing"
    a.dn = f"cn={a.root3},{slapd.suffix}"
    os.chmod(clients.write(a.daemon.credentials_dir, "abroad", slapd.password), 0o600)
    url = f"{slapd.url}/{a.dn}?cACertificate;binary"
    a.create_root(a.root3, targets=[{"name": "directory", "artifact": "ca-certificate", "kind": "ldap", "write": url,
                                     "read": url, "bind_dn": slapd.root_dn, "credential": "abroad", "tls": "none"}])
    a.create_issuing(a.sub3, deltas=False, root=a.root3)
    request = a.submit(clients.openssl_csr(a.files, "crossed", dns=["crossed.example"]), ca=a.sub3)
    a.approve(request)
    a.leaf = clients.split_pem(a.issued(request))[0]
    a.abroad = Abroad(a.files)
    a.csr = f"{a.files}/{a.root3}.csr"
    a.cli("key", "attest", a.root3, "--out", a.csr)
    wait_until(lambda: slapd.read(a.dn, "cACertificate;binary") or None, what="the root in the directory")
    return a


def of(a):
    return a.cli.json("ca", "show", a.root3)


def ended(a, path):
    """The same certificate, but that its time is over."""
    c = read(path)
    with open(a.abroad.key, "rb") as f:
        key = load_pem_private_key(f.read(), None)
    builder = x509.CertificateBuilder(
        c.issuer, c.subject, c.public_key(), x509.random_serial_number(), datetime.datetime(2020, 1, 1),
        datetime.datetime(2021, 1, 1), c.extensions)
    return clients.write(a.files, "ended.pem", pem(builder.sign(key, hashes.SHA256())))


def test_what_is_no_cross_certificate_is_refused(a):
    """Nobody here would notice what is wrong with it: those who follow it would."""
    abroad, other = a.abroad, Abroad(a.files, "Other Root")
    good = abroad.certify(a.csr, "good")
    renamed = f"{a.files}/renamed.csr"
    run(["openssl", "req", "-new", "-key", other.key, "-subj", f"/C=DE/O=Chancery Test/CN={a.root3}", "-out", renamed])
    own = clients.write(a.files, "own.pem", chain_of(a, a.root3)[0])
    for files, said in (
            ([good], "give its issuer's certificate"),
            ([good, other.root], "give its issuer's certificate"),
            ([abroad.certify(renamed, "renamed"), abroad.root], "none of the certificates is another one for the key"),
            ([abroad.root], "none of the certificates is another one for the key"),
            ([own], "none of the certificates is another one for the key"),
            ([abroad.certify(a.csr, "leaf", constraints="CA:FALSE"), abroad.root], "basicConstraints does not say cA"),
            ([abroad.certify(a.csr, "usage", usage="digitalSignature"), abroad.root], "keyUsage lacks keyCertSign"),
            ([clients.write(a.files, "text.pem", "no certificate"), abroad.root], "")):
        assert said in a.cli.fails("ca", "install-cross", a.root3, *files), files
    # Signed by another key under the same name.
    os.makedirs(f"{a.files}/forger")
    forged = Abroad(f"{a.files}/forger")
    bad = forged.certify(a.csr, "forged")
    assert "verifies the signature" in a.cli.fails("ca", "install-cross", a.root3, bad, abroad.root)
    assert "the cross-certificate ended at" in a.cli.fails(
        "ca", "install-cross", a.root3, ended(a, good), abroad.root)
    assert of(a)["crosses"] == []


def test_who_trusts_only_the_one_abroad_finds_the_way(a, slapd):
    before = chain_of(a, a.root3), of(a)["certificate"]
    cross = a.abroad.certify(a.csr)
    assert read(cross).issuer != read(cross).subject
    p7 = f"{a.files}/cross.p7b"
    run(["openssl", "crl2pkcs7", "-nocrl", "-certfile", cross, "-certfile", a.abroad.root, "-outform", "DER", "-out", p7])
    said = a.cli("ca", "install-cross", a.root3, p7)
    assert "Abroad Root" in said and f"vouches for CA {a.root3} until" in said
    assert "already" in a.cli.fails("ca", "install-cross", a.root3, p7)
    shown, = of(a)["crosses"]
    assert "Abroad Root" in shown["issuer"]
    # It is beside the chain, not in it: what the CA issues under is what it was.
    assert (chain_of(a, a.root3), of(a)["certificate"]) == before
    bundle = pkcs7.load_der_pkcs7_certificates(wait_until(
        lambda: a.daemon.web.get(f"/aia/{a.root3}.p7c").body, what="the bundle"))
    assert read(cross) in bundle
    trusted, issuing = pem_of(a.abroad.root), chain_of(a, a.sub3)[0]
    assert not clients.openssl_verify(a.files, a.leaf, issuing, trusted)[0]
    served = issuing + "".join(pem(c) for c in bundle)
    accepted, said = clients.openssl_verify(a.files, a.leaf, served, trusted)
    assert accepted, said
    accepted, said = clients.openssl_verify(a.files, a.leaf, served, before[0][0])  # and as ever
    assert accepted, said

    # In the directory, as others certified it; cACertificate is the CA's own alone.
    pair, = wait_until(lambda: slapd.read(a.dn, "crossCertificatePair;binary") or None, what="the pair in the directory")
    der = in_pair(pair)
    assert x509.load_der_x509_certificate(der) == read(cross)
    assert [x509.load_der_x509_certificate(d) for d in slapd.read(a.dn, "cACertificate;binary")] == [
        x509.load_pem_x509_certificate(before[0][0].encode())]
    from_directory = issuing + pem(x509.load_der_x509_certificate(der))
    accepted, said = clients.openssl_verify(a.files, a.leaf, from_directory, trusted)
    assert accepted, said


def in_pair(der):
    """issuedToThisCA of a CertificatePair (RFC 4523 2.3), which has nothing else."""

    def content(octets, tag):
        assert octets[0] == tag and octets[1] == 0x82
        length = int.from_bytes(octets[2:4], "big")
        assert len(octets) == length + 4
        return octets[4:]

    return content(content(der, 0x30), 0xa0)


def look_again(a):
    """As the issuer does from time to time with what was published."""
    a.database.execute("UPDATE chancery_store.publication SET state = 'pending', attempts = 1, next_at = now() WHERE state = 'done'")
    a.database.execute("SELECT pg_notify('chancery_publish', '')")


def test_an_entry_that_is_made_anew_has_the_pair(a, slapd):
    pair = slapd.read(a.dn, "crossCertificatePair;binary")
    with slapd.connect() as connection:
        assert connection.delete(a.dn)
    look_again(a)
    wait_until(lambda: slapd.read(a.dn, "crossCertificatePair;binary") == pair or None, what="the pair in a new entry")
    assert len(pair) == 1 and len(slapd.read(a.dn, "cACertificate;binary")) == 1


def test_one_that_ends_is_told_of_and_goes_away(a, slapd):
    def finding():
        found = json.loads(a.cli.result("--json", "doctor", a.root3).stdout)["findings"]
        return [(f["state"]) for f in found if f["object"] == a.root3 and f["check"] == "cross"]

    assert finding() == ["ok"]
    a.database.execute("UPDATE chancery_store.cross_certificate SET not_after = now() + interval '20 d'")
    assert finding() == ["warning"]
    a.database.execute("UPDATE chancery_store.cross_certificate SET not_after = now() - interval '1 d'")
    assert finding() == ["warning"]
    text = a.database.execute("SELECT chancery_store.metrics_of_service()")[0][0]
    assert f'chancery_cross_left_seconds{{ca="{a.root3}",issuer="' in text
    # When the place is looked at the next time; others' attributes are left alone elsewhere.
    look_again(a)
    wait_until(lambda: slapd.read(a.dn, "crossCertificatePair;binary") == [] or None, what="the pair to be taken away")
    assert len(slapd.read(a.dn, "cACertificate;binary")) == 1
    old = len(pkcs7.load_der_pkcs7_certificates(a.daemon.web.get(f"/aia/{a.root3}.p7c").body))
    assert old == 1
    # Another one of the same CA takes its place.
    again = a.abroad.certify(a.csr, "again", days=1500)
    assert read(again).not_valid_after > datetime.datetime.utcnow()
    a.cli("ca", "install-cross", a.root3, again, a.abroad.root)
    assert finding() == ["ok"]
    wait_until(lambda: slapd.read(a.dn, "crossCertificatePair;binary") or None, what="the new pair")


def test_active_directory(a, new_dir):
    """There the attribute is an octet string, and its name stands alone: OpenLDAP's takes it
    in no other spelling then. The entry is AD's, too, when the pair is what makes it."""
    directory = new_dir("ad")
    server = Slapd(directory, core=ad_schema(directory)).create().start()
    try:
        name = "cross-ad"
        dn = f"cn={name},{server.suffix}"
        url = f"{server.url}/{dn}?cACertificate?base?objectClass=certificationAuthority"
        os.chmod(clients.write(a.daemon.credentials_dir, "ad", server.password), 0o600)
        a.create_root(name, targets=[{"name": "ad", "artifact": "ca-certificate", "kind": "ldap", "schema": "ad", "write": url,
                                      "read": url, "bind_dn": server.root_dn, "credential": "ad", "tls": "none"}])
        own = wait_until(lambda: server.read(dn, "cACertificate") or None, what="the root in the directory")

        def attributes():
            with server.connect() as connection:
                connection.search(dn, "(objectClass=certificationAuthority)", attributes=["*"])
                return dict(connection.response[0]["raw_attributes"]) if connection.response else {}

        def pair():
            return attributes().get("crossCertificatePair") or None

        a.cli("key", "attest", name, "--out", f"{a.files}/{name}.csr")
        crosses = {}
        for abroad in (a.abroad, Abroad(a.files, "Second Root")):
            crosses[abroad.name] = abroad.certify(f"{a.files}/{name}.csr", f"ad-{abroad.name}")
            a.cli("ca", "install-cross", name, crosses[abroad.name], abroad.root)
        found = wait_until(lambda: (p := pair()) and len(p) == 2 and p, what="both pairs")
        assert sorted(in_pair(p) for p in found) == sorted(read(c).public_bytes(Encoding.DER) for c in crosses.values())
        assert attributes()["cACertificate"] == own and attributes()["objectClass"] == [b"certificationAuthority"]

        with server.connect() as connection:
            assert connection.delete(dn)
        look_again(a)
        wait_until(lambda: sorted(pair() or []) == sorted(found), what="the pairs in a new entry")
        assert attributes()["cACertificate"] == own and attributes()["certificateRevocationList"] == [b"\0"]

        a.database.execute("UPDATE chancery_store.cross_certificate x SET not_after = now() - interval '1 d' FROM chancery_store.ca "
                           "WHERE ca.id = x.ca_id AND ca.name = %s", (name,))
        look_again(a)
        wait_until(lambda: not pair() and server.read(dn, "cACertificate") == own, what="the pairs to be taken away")
    finally:
        server.stop()


def test_a_subordinate_by_the_csr_that_it_has(a):
    csr = clients.write(a.files, "sub3.csr", a.cli("ca", "csr", a.sub3))
    cross = a.abroad.certify(csr, "sub-cross", constraints="CA:TRUE,pathlen:0")
    der = f"{a.files}/sub-cross.der"
    run(["openssl", "x509", "-in", cross, "-outform", "DER", "-out", der])
    a.cli("ca", "install-cross", a.sub3, der, a.abroad.root)
    bundle = pkcs7.load_der_pkcs7_certificates(a.daemon.web.get(f"/aia/{a.sub3}.p7c").body)
    assert [pem(c) for c in bundle[:2]] == chain_of(a, a.sub3)  # what it issues under comes first
    by_abroad = pem(next(c for c in bundle if c.issuer == read(a.abroad.root).subject))
    accepted, said = clients.openssl_verify(a.files, a.leaf, by_abroad, pem_of(a.abroad.root))
    assert accepted, said
    # And who trusts our root alone is not led astray.
    accepted, said = clients.openssl_verify(a.files, a.leaf, "".join(map(pem, bundle)), chain_of(a, a.root3)[0])
    assert accepted, said
