"""CAs renewed: with the same key and with a new one, root and subordinate, and what is
refused on the way."""

import datetime
import json
import os
import re
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from harness import clients
from harness.chanceryd import program
from harness.process import run, wait_until


@pytest.fixture(scope="module")
def a(shared_instance):
    """Root and issuing CA, and a certificate of the first generation."""
    a = shared_instance
    a.leafs = [a.certificate("first")[1]]
    made = int(time.time())  # or before
    wait_until(lambda: time.time() >= made + 1, what="a second in which no root was made")
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


def openssl_verify_all(*args):
    return clients.openssl_verify(*args, every=True)


def check(a, leaf, good=True):
    """OpenSSL and GnuTLS, with the CRLs of issuing CA and root, under the chain of now."""
    issuing, root = chain_of(a, a.issuing)[0], chain_of(a, a.root)[0]
    crls = [a.crl(), a.crl(a.root)]
    for verify in (openssl_verify_all, clients.certtool_verify):
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
        if ca:
            made = made.add_extension(x509.KeyUsage(*[False] * 5, True, True, False, False), True)
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
    yield "another-key", root.sign(name, root.key.public_key()) + root.pem, "for the key of CA test-issuing: was another CSR signed?"
    yield "the-same", before, "in force already"
    yield "no-certificate", "nothing", "no certificate in PEM or DER"
    yield "a-leaf", a.leafs[0], "for the key of CA test-issuing: was another CSR signed?"
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


def test_forms_of_an_answer(a):
    """A parent elsewhere sends the certificate alone in DER, or PKCS#7 in PEM: the chain is
    completed with what is known here."""
    forms = {"der": lambda c: c.public_bytes(Encoding.DER),
             "p7b": lambda c: pkcs7.serialize_certificates([c], Encoding.PEM)}
    for form, write in forms.items():
        a.cli("ca", "renew", a.issuing, "--same-key")
        installed = x509.load_pem_x509_certificate(chain_of(a, a.issuing)[0].encode()).not_valid_before
        wait_until(lambda at=installed: datetime.datetime.utcnow() >= at + datetime.timedelta(seconds=2) or None,
                   what="a second of its own")
        made = x509.load_pem_x509_certificate(clients.split_pem(signed_by_root(a, a.issuing))[0].encode())
        said = a.cli("ca", "install", a.issuing, clients.write(a.files, f"answer.{form}", write(made)))
        assert f"CA {a.issuing} signs under its renewed certificate" in said, form
        chain = chain_of(a, a.issuing)
        assert x509.load_pem_x509_certificate(chain[0].encode()) == made and chain[1:] == chain_of(a, a.root), form


def test_after_a_restart(a):
    """A signer that comes anew has limits and certificates of before."""
    a.daemon.stop()
    a.daemon.start()
    a.leafs.append(a.certificate("restarted")[1])
    check(a, a.leafs[-1])
    fresh_crl(a, a.root)


# ------------------------------------------------------------------- new keys


def suffixed(url, variable):
    """NAME(n).crl and the like."""
    stem, dot, ending = url.rpartition(".")
    return stem + variable + dot + ending


def policy_with_suffixes(a, name, kind, **more):
    """Its addresses have the variables that tell generations apart."""
    crl, aia = suffixed(a.daemon.crl_url(name), "<CRLNameSuffix>"), suffixed(a.daemon.aia_url(name), "<CertificateName>")
    where = {"cdp": [{"url": crl, "flags": ["in_certificates"]}], "aia": [{"url": aia, "flags": ["in_certificates"]}]}
    if kind == "root":
        return a.policy(name, "root", "p256", **{"templates": ["sub-ca"], "crl": {"period": "30d", "overlap": "3d"},
                                                 "locations": where, **more})
    return a.issuing_policy(name, deltas=False, **{"locations": where, **more})


@pytest.fixture(scope="module")
def b(shared_instance, slapd):
    """A root, which is in a directory, too, and a CA below it; their addresses tell generations apart."""
    a = shared_instance
    a.root2, a.sub2 = "second-root", "second-issuing"
    a.root2_dn = f"cn={a.root2},{slapd.suffix}"
    os.chmod(clients.write(a.daemon.credentials_dir, "directory", slapd.password), 0o600)
    url = f"{slapd.url}/{a.root2_dn}?cACertificate;binary"
    a.cli("ca", "create", a.root2, "--policy", policy_with_suffixes(a, a.root2, "root", targets=[
        {"name": "directory", "artifact": "ca-certificate", "kind": "ldap", "write": url, "read": url,
         "bind_dn": slapd.root_dn, "credential": "directory", "tls": "none"}]))
    a.cli("ca", "create", a.sub2, "--policy", policy_with_suffixes(a, a.sub2, "subordinate"))
    install(a, a.sub2, a.root2)
    a.generations = [(leaf_of(a, "g0"), chain_of(a, a.sub2)[0], chain_of(a, a.root2)[0])]
    return a


def install(a, ca, root):
    csr = clients.write(a.files, f"{ca}.csr", a.cli("ca", "csr", ca))
    request = a.submit(csr, ca=root, template="sub-ca")
    a.approve(request)
    return a.cli("ca", "install", ca, clients.write(a.files, f"{ca}.pem", a.issued(request)))


def leaf_of(a, name, ca=None):
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]), ca=ca or a.sub2)
    a.approve(request)
    return clients.split_pem(a.issued(request))[0]


def urls(pem):
    """CDP and AIA of a certificate."""
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    return (extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name[0].value,
            extensions.get_extension_for_class(x509.AuthorityInformationAccess).value[0].access_location.value)


def fetched(a, url):
    path = "/" + url.split("/", 3)[3].replace("(", "%28").replace(")", "%29")

    def there():
        answer = a.daemon.web.get(path)
        return answer.body if answer.status == 200 else None

    return wait_until(there, what=url)  # a first CRL may still be on its way


def check_generation(a, leaf, issuing, root, good=True):
    """By what its own certificate and its CA's name as their addresses, and nothing else."""
    crls = [fetched(a, urls(leaf)[0]), fetched(a, urls(issuing)[0])]
    at_aia = x509.load_der_x509_certificate(fetched(a, urls(leaf)[1]))
    assert at_aia.public_key().public_numbers() == x509.load_pem_x509_certificate(issuing.encode()).public_key() \
        .public_numbers()
    for verify in (openssl_verify_all, clients.certtool_verify):
        accepted, said = verify(a.files, leaf, issuing, root, crls)
        assert accepted is good, said
        assert good or "revoked" in said, said


def test_fixed_addresses_are_refused(a):
    said = a.cli.fails("ca", "renew", a.issuing, "--new-key")
    assert "would be the address of the old key's CRL and of the new key's" in said and "<CRLNameSuffix>" in said
    assert "--same-key or --new-key" in a.cli.fails("ca", "renew", a.issuing, status=2)
    assert "goes with --new-key" in a.cli.fails("ca", "renew", a.issuing, "--same-key", "--not-after", "5y", status=2)


@pytest.mark.smoke
def test_subordinate_with_a_new_key(b):
    a = b
    before = shown(a, a.sub2)
    said = a.cli.result("ca", "renew", a.sub2, "--new-key")
    assert said.returncode == 0 and "waits for its renewed certificate" in said.stdout, said
    assert f"object: {before['key']['spki_sha256']}" in said.stderr and "action: ca-rekey" in said.stderr
    now = shown(a, a.sub2)
    assert now["waiting"] == 1 and now["key"] == before["key"]
    # Both keys are there; the old one signs.
    meanwhile = leaf_of(a, "meanwhile0")
    check_generation(a, meanwhile, *a.generations[0][1:])
    assert f"CA {a.sub2} signs under its renewed certificate" in install(a, a.sub2, a.root2)

    after = shown(a, a.sub2)
    assert after["certificate"]["index"] == 1 and after["key"]["spki_sha256"] != before["key"]["spki_sha256"]
    leaf = leaf_of(a, "g1")
    a.generations.append((leaf, chain_of(a, a.sub2)[0], chain_of(a, a.root2)[0]))
    assert key_of(a.generations[1][1]) != key_of(a.generations[0][1])
    assert [urls(g[0]) for g in a.generations] == [
        (a.daemon.crl_url(a.sub2 + s), a.daemon.aia_url(a.sub2 + s)) for s in ("", "(1)")]
    wait_until(lambda: a.daemon.web.get(f"/crl/{a.sub2}%281%29.crl").status == 200 or None, what="the new key's first CRL")
    for generation in a.generations:
        check_generation(a, *generation)
    check_generation(a, meanwhile, *a.generations[0][1:])


@pytest.mark.smoke
def test_both_keys_sign_crls(b):
    """Each revocation is on the CRL of the key that signed the certificate."""
    a = b
    numbers = {}
    for leaf, _, _ in a.generations:
        old = fetched(a, urls(leaf)[0])
        numbers[urls(leaf)[0]] = x509.load_der_x509_crl(old)
        serial = x509.load_pem_x509_certificate(leaf.encode()).serial_number
        a.cli("cert", "revoke", f"{serial:040x}", "--reason", "keyCompromise")
    a.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() WHERE ca_id = (SELECT id FROM "
                       "chancery_store.ca WHERE name = %s)", (a.sub2,))
    for leaf, issuing, root in a.generations:
        wait_until(lambda: len(x509.load_der_x509_crl(fetched(a, urls(leaf)[0]))) == 1 or None, what="the CRL of each key")
        crl = x509.load_der_x509_crl(fetched(a, urls(leaf)[0]))
        assert crl.is_signature_valid(x509.load_pem_x509_certificate(issuing.encode()).public_key())
        check_generation(a, leaf, issuing, root, good=False)


def test_old_keys_can_be_held_to_crls(b):
    """Operators take the templates out of an old key's limits: it signs CRLs and nothing else."""
    a = b
    generations = a.cli.json("ca", "generations", a.sub2)["generations"]
    assert [(g["index"], g["key_index"], g["state"]) for g in generations] == [(1, 1, "active"), (0, 0, "superseded")]
    old = generations[1]["key_sha256"]
    assert "superseded" in a.cli("ca", "generations", a.sub2) and old[:8] in a.cli("ca", "generations", a.sub2)
    templates = shown(a, a.sub2)["templates"]
    remove = [w for t in templates for w in ("--remove-template", t)]
    assert "do not know template nonesuch" in a.cli.fails(
        "ca", "limits", "change", a.sub2, "--key-sha256", old, "--remove-template", "nonesuch")
    assert "do not go with" in a.cli.fails(
        "ca", "limits", "change", a.sub2, "--key-sha256", old, "--template", templates[0], status=2)
    said = a.cli("ca", "limits", "change", a.sub2, "--key-sha256", old, *remove)
    assert f"key SHA-256  {old}" in said and "version 2" in said
    assert "\ntemplate: " not in a.cli.json("ca", "limits", "show", a.sub2, "--key-sha256", old)["document"]
    assert "\ntemplate: " in a.cli.json("ca", "limits", "show", a.sub2)["document"]
    assert f'CA "{a.sub2}" has no key 0000: ' in a.cli.fails("ca", "limits", "show", a.sub2, "--key-sha256", "0000")
    leaf_of(a, "g1-again")
    before = fetched(a, urls(a.generations[0][0])[0])
    a.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() WHERE ca_id = (SELECT id FROM "
                       "chancery_store.ca WHERE name = %s)", (a.sub2,))
    wait_until(lambda: fetched(a, urls(a.generations[0][0])[0]) != before or None, what="the old key's next CRL")


@pytest.mark.smoke
def test_root_with_a_new_key(b):
    a = b
    old = chain_of(a, a.root2)[0]
    said = a.cli("ca", "renew", a.root2, "--new-key")
    assert f"CA {a.root2} signs under its renewed certificate" in said and "key SHA-256" in said
    new = chain_of(a, a.root2)[0]
    assert key_of(new) != key_of(old)
    a.cli("ca", "create", "third-issuing", "--policy", policy_with_suffixes(a, "third-issuing", "subordinate"))
    install(a, "third-issuing", a.root2)
    below_new = (leaf_of(a, "below-new", "third-issuing"), chain_of(a, "third-issuing")[0], new)
    below_old = (leaf_of(a, "below-old"), chain_of(a, a.sub2)[0], old)
    wait_until(lambda: a.daemon.web.get(f"/crl/{a.root2}%281%29.crl").status == 200 or None, what="the new root's first CRL")
    for generation in (below_new, below_old):
        check_generation(a, *generation)


def test_rollover(b, slapd):
    """Who trusts one of the root's certificates verifies what the other key signed. All four
    stand in the directory as the root's own (RFC 4523 4.2: issued to itself, they are no pair
    with another CA's), and behind the address in certificates."""
    a = b
    assert "is no root" in a.cli.fails("ca", "rollover", a.sub2)
    assert "has no older key" in a.cli.fails("ca", "rollover", a.root)
    assert ("warning", "rollover") in doctor(a, a.root2, a.root2)
    said = a.cli("ca", "rollover", a.root2)
    assert f"key 0 of CA {a.root2} vouches for its key 1" in said and f"key 1 of CA {a.root2} vouches for its key 0" in said
    bundle = pkcs7.load_der_pkcs7_certificates(a.daemon.web.get(f"/aia/{a.root2}.p7c").body)
    old, new = (x509.load_pem_x509_certificate(certificate_of(a, a.root2, n).encode()) for n in (0, 1))
    rolled = [c for c in bundle if c not in (old, new)]
    assert len(rolled) == 2 and new in bundle
    assert {key_of(pem_of(c)) for c in rolled} == {key_of(pem_of(old)), key_of(pem_of(new))}

    def in_directory():
        return {x509.load_der_x509_certificate(der) for der in slapd.read(a.root2_dn, "cACertificate;binary")}

    wait_until(lambda: in_directory() == {old, new, *rolled} or None, what="all four in the directory")
    assert slapd.read(a.root2_dn, "crossCertificatePair;binary") == []
    rolled = [c for c in in_directory() if c not in (old, new)]
    for trusted, ca, below in ((old, "third-issuing", "below-new2"), (new, a.sub2, "below-old2")):
        leaf = leaf_of(a, below, ca)
        issuing = chain_of(a, ca)[0]
        crls = [fetched(a, urls(leaf)[0]), *(fetched(a, a.daemon.crl_url(a.root2 + s)) for s in ("", "(1)"))]
        alone = clients.openssl_verify(a.files, leaf, issuing, pem_of(trusted))
        assert not alone[0], alone
        with_bundle = issuing + "".join(pem_of(c) for c in rolled)
        accepted, said = openssl_verify_all(a.files, leaf, with_bundle, pem_of(trusted), crls)
        assert accepted, said


def doctor(a, ca, of):
    """{(state, check)} of the findings about one object."""
    found = json.loads(a.cli.result("--json", "doctor", ca).stdout)["findings"]
    return {(f["state"], f["check"]) for f in found if f["object"] == of}


def test_doctor_looks_at_the_former_key(b):
    a = b
    assert ("ok", "rollover") in doctor(a, a.root2, a.root2)
    assert doctor(a, a.root2, f"{a.root2} (key 0)") == {("ok", "crl")}
    text = a.database.execute("SELECT chancery_store.metrics_of_service()")[0][0]
    assert f'chancery_rollover_left_seconds{{ca="{a.root2}",signer_key="0",subject_key="1"}}' in text


def pem_of(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


def test_new_keys_after_a_restart(b):
    a = b
    a.daemon.stop()
    a.daemon.start()
    leaf = leaf_of(a, "restarted1")
    check_generation(a, leaf, *a.generations[1][1:])
    a.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now()")
    wait_until(lambda: a.database.execute(
        "SELECT count(*) FROM chancery_store.crl_scope WHERE next_full_at > now() + interval '1 h'")[0][0] == a.database.execute(
        "SELECT count(*) FROM chancery_store.crl_scope")[0][0] or None, what="a CRL of every key")


class Approver(threading.Thread):
    """The parent's operator, who approves the first request that waits there."""

    def __init__(self, a):
        super().__init__()
        self.a, self.request = a, None
        self.start()

    def run(self):
        def waiting():
            rows = self.a.api.get("/v1/requests", state="pending").json()["requests"]
            return rows[0]["id"] if rows else None

        self.request = wait_until(waiting, what="a request at the parent")
        self.a.cli("request", "approve", self.request, "--reason", "test")


def test_parent_online(b):
    """Made and renewed by the service of the CA above, which here is one of its own."""
    a = b
    parent = ["--parent", a.daemon.socket_path, "--parent-ca", a.root2]
    policy = policy_with_suffixes(a, "online", "subordinate")
    assert "--parent-ca" in a.cli.fails("ca", "create", "online", "--policy", policy, *parent[:2], status=2)
    assert "needs --parent" in a.cli.fails("ca", "create", "online", "--policy", policy, *parent[2:], status=2)
    approver = Approver(a)
    said = a.cli.result("ca", "create", "online", "--policy", policy, *parent)
    approver.join()
    assert said.returncode == 0 and "CA online is active" in said.stdout, said
    assert f"Request {approver.request} waits at the parent for an operator's approval." in said.stderr
    first = leaf_of(a, "online0", "online")

    # What nobody knows there ends here, and is fetched later.
    said = a.cli.fails("ca", "renew", "online", "--same-key", *parent[:3], "nonesuch")
    assert "the parent at" in said and "nonesuch" in said and shown(a, "online")["waiting"] == 1
    approver = Approver(a)
    said = a.cli("ca", "install", "online", *parent)
    approver.join()
    assert "CA online signs under its renewed certificate" in said
    approver = Approver(a)
    said = a.cli("ca", "renew", "online", "--new-key", *parent)
    approver.join()
    assert "CA online signs under its renewed certificate" in said and "ca install" not in said
    assert shown(a, "online")["certificate"]["index"] == 2
    check_generation(a, first, certificate_of(a, "online", 0), chain_of(a, a.root2)[0])
    assert "a root" in a.cli.fails("ca", "renew", a.root2, "--new-key", *parent, status=2)
    assert "or --parent to fetch them" in a.cli.fails("ca", "install", "online", status=2)


def test_half_of_its_life(b):
    """It is said once, by whichever issuer sees it, that a CA should be renewed."""
    a = b
    due = shown(a, "online")["certificate"]["renewal_due_at"]
    begun, ended = shown(a, "online")["certificate"]["not_before"], shown(a, "online")["certificate"]["not_after"]
    assert begun < due < ended and "online" not in a.cli.json("status")["renewals_due"]
    a.database.execute("UPDATE chancery_store.generation SET not_before = now() - (not_after - now()) - interval '1 h' "
                       "WHERE state = 'active' AND ca_id = (SELECT id FROM chancery_store.ca WHERE name = 'online')")
    said = lambda: a.daemon.process.log().count("online: half of the life of its certificate is over")  # noqa: E731
    wait_until(said, what="the reminder")
    assert a.cli.json("status")["renewals_due"] == ["online"] and "renewal due" in a.cli("status")
    assert 'chancery_ca_renewal_due{ca="online"} 1' in a.api.get("/metrics").body.decode()
    a.daemon.stop()
    a.daemon.start()
    told = "SELECT count(*) FROM chancery_store.audit WHERE action = 'ca.renewal-due'"
    assert said() == 1 and a.database.execute(told)[0][0] == 1
    approver = Approver(a)
    a.cli("ca", "renew", "online", "--same-key", "--parent", a.daemon.socket_path, "--parent-ca", a.root2)
    approver.join()
    assert a.cli.json("status")["renewals_due"] == []


def certificate_of(a, ca, index):
    row = a.database.execute("SELECT g.certificate FROM chancery_store.generation g JOIN chancery_store.ca a ON a.id = g.ca_id "
                             "WHERE a.name = %s AND g.certificate_index = %s", (ca, index))[0][0]
    return x509.load_der_x509_certificate(bytes(row)).public_bytes(Encoding.PEM).decode()


def test_without_a_chain(a):
    """A CA whose chain leads nowhere issues nothing; its requests wait, its CRLs go on."""
    outside = Parent("CN=Outside Root of All")
    a.cli("ca", "create", "chained", "--policy", a.issuing_policy("chained"))
    csr = x509.load_pem_x509_csr(a.cli("ca", "csr", "chained").encode())
    made = outside.sign(csr.subject, csr.public_key(), path_length=0)
    a.cli("ca", "install", "chained", clients.write(a.files, "chained.pem", made + outside.pem))
    leaf_of(a, "chained0", "chained")
    a.daemon.stop()
    one = lambda query, *values: a.database.execute(query, values)[0][0]  # noqa: E731
    kept = one("UPDATE chancery_store.generation SET chain = '{}' WHERE ca_id = (SELECT id FROM chancery_store.ca "
               "WHERE name = 'chained') RETURNING (SELECT chain FROM chancery_store.generation g WHERE g.id = generation.id)")
    a.daemon.start()
    wait_until(lambda: "chained: issues nothing until its chain leads to an installed root again" in a.daemon.process.log()
               or None, what="the issuer's complaint")
    assert "the certificate of CN=Outside Root of All is missing" in a.daemon.process.log()
    request = a.submit(clients.openssl_csr(a.files, "chained1", dns=["chained1.example"]), ca="chained")
    a.approve(request)
    fresh_crl(a, "chained")
    leaf_of(a, "others", a.issuing)
    assert a.api.get(f"/v1/requests/{request}").json()["state"] == "approved"
    a.daemon.stop()
    a.database.execute("UPDATE chancery_store.generation SET chain = %s WHERE ca_id = (SELECT id FROM chancery_store.ca "
                       "WHERE name = 'chained')", (kept,))
    a.daemon.start()
    a.issued(request)


def test_retired(b):
    """An old key ends when its last certificate has ended and a CRL was made after that."""
    a = b
    one = lambda query, *values: a.database.execute(query, values)[0][0]  # noqa: E731
    ca = one("SELECT id FROM chancery_store.ca WHERE name = %s", a.sub2)
    state = "SELECT state FROM chancery_store.generation WHERE ca_id = %s AND certificate_index = 0"
    used = "SELECT used_until > now() FROM chancery_store.generation WHERE ca_id = %s AND certificate_index = 0"
    wait_until(lambda: one(used, ca), what="a look at the old key's certificates")
    assert one(state, ca) == "superseded"
    a.database.execute("UPDATE chancery_store.certificate SET not_after = now() - interval '1 s' WHERE ca_id = %s", (ca,))
    a.database.execute("UPDATE chancery_store.generation SET used_until = NULL WHERE ca_id = %s", (ca,))
    assert one("SELECT bool_and(next_full_at IS NOT NULL) FROM chancery_store.crl_scope WHERE ca_id = %s", ca)
    a.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() WHERE ca_id = %s", (ca,))
    wait_until(lambda: one(state, ca) == "retired" or None, what="the old key's end")
    assert one("SELECT count(*) FROM chancery_store.crl_scope WHERE ca_id = %s AND next_full_at IS NULL", ca) == 1
    assert shown(a, a.sub2)["state"] == "active"


def destruction(a, key, *more, ca=None):
    return "key", "destroy", "main", key, "--ca", ca or a.sub2, *more


def test_a_key_ends(b):
    """By an order of its operators, once nothing needs it; what it signed stays."""
    a = b
    now, old = a.cli.json("ca", "generations", a.sub2)["generations"]
    label = ("--label", a.sub2)
    assert "is active" in a.cli.fails(*destruction(a, now["key_sha256"], *label))
    assert "is on token main, not on" in a.cli.fails("key", "destroy", "other", old["key_sha256"], "--ca", a.sub2, *label)
    # A certificate of it that has not ended, and whose CRL it would have to sign.
    scopes = ("WHERE scope_id IN (SELECT s.id FROM chancery_store.crl_scope s JOIN chancery_store.token_key k "
              "ON k.id = s.token_key_id WHERE k.spki_sha256 = %(key)s)")
    ends = ("UPDATE chancery_store.certificate SET not_after = now() + interval %(left)s " + scopes +
            "; UPDATE chancery_store.scope_use SET until = now() + interval %(left)s " + scopes)
    key = bytes.fromhex(old["key_sha256"])
    a.database.execute(ends, {"left": "50 years", "key": key})
    assert re.search(r"still needed: \d certificates that it signed are valid until .*, and no CRL",
                     a.cli.fails(*destruction(a, old["key_sha256"], *label)))
    a.database.execute(ends, {"left": "-1 s", "key": key})

    # The signer compares what was typed with the token.
    assert "is 'second-issuing', and not 'second'" in a.cli.fails(*destruction(a, old["key_sha256"], "--label", "second"))
    said = a.cli.result(*destruction(a, old["key_sha256"]), input=a.sub2 + "\n")
    assert said.returncode == 0 and f"the key {old['key_sha256']} of CA {a.sub2} is destroyed" in said.stdout, said
    assert "action: key-destroy" in said.stderr and f"label: {a.sub2}" in said.stderr
    assert "was destroyed already" in a.cli.fails(*destruction(a, old["key_sha256"], *label))
    _, gone = a.cli.json("ca", "generations", a.sub2)["generations"]
    assert gone["key_destroyed_at"] and gone["state"] == "retired"
    here = ("--config", a.daemon.config_path)
    on_token = [json.loads(line)["key"] for line in a.cli("key", "list", "main", *here, "--json").splitlines()]
    assert old["key_sha256"] not in on_token and now["key_sha256"] in on_token
    journal = run([program("chancery-signer"), *here, "--token", "main", "--journal", "--json"],
                  text=True).stdout.splitlines()
    record, = (r for r in map(json.loads, journal) if r["type"] == "destroy")
    assert f"label: {a.sub2}\n" in record["document"] and "action: key-destroy" in record["statement"]
    # The public record, and the other keys.
    assert "\nquorum: " in a.cli.json("ca", "limits", "show", a.sub2, "--key-sha256", old["key_sha256"])["document"]
    assert certificate_of(a, a.sub2, 0) and fetched(a, urls(a.generations[0][0])[0])
    a.daemon.stop()
    a.daemon.start()
    leaf_of(a, "still-there")


def test_renewals_of_two(shared_instance):
    """Where the limits take two persons, so does each renewal; who is missing sees all of it."""
    a = shared_instance
    home = clients.write(a.files, "bob-phrase", "bob's own words\n")
    os.chmod(home, 0o600)
    bob = a.cli.as_operator(os.path.join(a.files, "bob.pem"), home)
    bob("operator", "init")
    a.cli("operator", "add", "bob", "--role", "administrator", "--key", os.path.join(a.files, "bob.pem.pub"))
    both = {"quorum": 2, "operators": [{"person": p, "rights": ["limits", "decide"]} for p in ("alice", "bob")]}

    def agreed(*command):
        said = a.cli(*command)
        assert "waits for 1 more signature" in said, said
        decision = re.search(r"Decision ([0-9a-f-]{36}) waits", said)[1]
        shown_to_bob = bob("decision", "show", decision)
        said = bob.result("decision", "sign", decision)
        assert said.returncode == 0, said.stderr
        return shown_to_bob, said

    agreed("ca", "create", "shared", "--policy", policy_with_suffixes(a, "shared", "root", limits={
        **both, "not_after": "30y"}))
    first = chain_of(a, "shared")[0]
    since = x509.load_pem_x509_certificate(first.encode()).not_valid_before
    wait_until(lambda: datetime.datetime.utcnow() > since + datetime.timedelta(seconds=2) or None, what="the next second")
    for how, words in (("--same-key", "The certificate that is in force now:"),
                       ("--new-key", "The limits of the key of CA shared, version 1")):
        seen, said = agreed("ca", "renew", "shared", how)
        assert words in seen and "signed by    alice" in seen and "may sign     bob" in seen, seen
        assert "CA shared signs under its renewed certificate" in said.stdout
    assert key_of(chain_of(a, "shared")[0]) != key_of(first) and shown(a, "shared")["certificate"]["index"] == 2

    # What was begun before another renewal is about another key by then.
    since = x509.load_pem_x509_certificate(chain_of(a, "shared")[0].encode()).not_valid_before
    wait_until(lambda: datetime.datetime.utcnow() > since + datetime.timedelta(seconds=2) or None, what="the next second")
    said = a.cli("ca", "renew", "shared", "--same-key")
    late = re.search(r"Decision ([0-9a-f-]{36}) waits", said)[1]
    agreed("ca", "renew", "shared", "--new-key")
    assert "another key or certificate than CA shared has now" in bob.fails("decision", "sign", late)

    # So it is when an old key ends.
    key, = (g["key_sha256"] for g in a.cli.json("ca", "generations", "shared")["generations"] if g["index"] == 0)
    a.database.execute("UPDATE chancery_store.generation SET state = 'retired' WHERE state = 'superseded' AND ca_id = "
                       "(SELECT id FROM chancery_store.ca WHERE name = 'shared') AND key_index = 0")
    a.database.execute("UPDATE chancery_store.crl_scope s SET next_full_at = NULL, next_delta_at = NULL FROM "
                       "chancery_store.token_key k WHERE k.id = s.token_key_id AND k.spki_sha256 = %s", (bytes.fromhex(key),))
    end = destruction(a, key, "--label", "shared", ca="shared")
    seen, said = agreed(*end)
    assert "chancery-key-destruction: 1" in seen and "signed by    alice" in seen, seen
    assert f"the key {key} of CA shared is destroyed" in said.stdout
