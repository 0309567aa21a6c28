"""CAs whose keys are Ed25519 (RFC 8410): root, issuing CA, certificate, CRL and delta CRL,
judged by OpenSSL."""

import os

from harness import clients
from harness.process import run, wait_until


def crl_pem(a, ca, issuer, delta=False):
    name = os.path.join(a.files, f"{ca}{'-delta' if delta else ''}")
    der = clients.write(a.files, os.path.basename(name) + ".crl", a.crl(ca, delta))
    run(["openssl", "crl", "-inform", "DER", "-in", der, "-CAfile", issuer, "-out", name + ".pem"])
    return name + ".pem"


def test_everything(new_authority):
    a = new_authority(key="ed25519", root_key="ed25519")
    root = clients.write(a.files, "root.pem", a.ca_pem(a.root))
    issuing = clients.write(a.files, "issuing.pem", a.ca_pem(a.issuing))
    text = run(["openssl", "x509", "-in", issuing, "-noout", "-text"]).stdout.decode()
    assert text.count("Signature Algorithm: ED25519") == 2 and "Public Key Algorithm: ED25519" in text

    _, leaf = a.certificate("host")
    leaf = clients.write(a.files, "leaf.pem", leaf)
    crls = [crl_pem(a, a.root, root), crl_pem(a, a.issuing, issuing)]
    crl_files = [option for crl in crls for option in ("-CRLfile", crl)]
    judge = ["openssl", "verify", "-CAfile", root, "-untrusted", issuing, *crl_files, "-crl_check_all"]
    run([*judge, leaf])

    # A CRL comes in pieces, and is signed whole; so is a delta.
    serial = run(["openssl", "x509", "-in", leaf, "-noout", "-serial"]).stdout.decode().strip().split("=")[1]
    a.cli("cert", "revoke", serial, "--reason", "keyCompromise")
    a.issue_crl()
    wait_until(lambda: serial in clients.openssl_text(crl_pem(a, a.issuing, issuing), "crl"), what="the revocation")
    refused = run([*judge, leaf], check=False)
    assert refused.returncode != 0 and b"revoked" in refused.stderr
    a.issue_crl(delta=True)
    crl_pem(a, a.issuing, issuing, delta=True)

    # The same key shows itself, and has no digest to choose.
    assert "signed just now" in a.cli("key", "attest", a.issuing)
    policy = a.issuing_policy("hashed", "ed25519", signature="sha256")
    assert "does not go with the key ed25519" in a.cli.fails("ca", "create", "hashed", "--policy", policy)
