"""Third-party tools: those that make CSRs, and those that judge certificates.

Nothing here uses our own code, so that a mistake of ours cannot hide behind
the same mistake in the test.
"""

import os
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from .process import find_program, run


class Csr:
    """A CSR and its key, as files."""

    def __init__(self, path, key):
        self.path = path
        self.key = key

    @property
    def pem(self):
        with open(self.path, encoding="ascii") as f:
            return f.read()

    @property
    def der(self):
        return run(["openssl", "req", "-in", self.path, "-outform", "DER"]).stdout


def _new_key_options(key):
    if key.startswith("rsa"):
        return ["-newkey", f"rsa:{key[3:]}"]
    if key in ("p256", "p384", "p521"):
        curve = {"p256": "P-256", "p384": "P-384", "p521": "P-521"}[key]
        return ["-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}"]
    return ["-newkey", key]


def openssl_csr(directory, name, subject=None, dns=(), ip=(), email=(), key="p256", extensions=()):
    """key: rsa2048, p256 and the like, or what `openssl req -newkey` takes."""
    path = os.path.join(directory, name + ".csr")
    key_path = os.path.join(directory, name + ".key")
    names = [f"DNS:{d}" for d in dns] + [f"IP:{i}" for i in ip] + [f"email:{e}" for e in email]
    argv = ["openssl", "req", "-new", "-nodes", "-batch", *_new_key_options(key), "-keyout", key_path,
            "-out", path, "-subj", subject or f"/CN={name}"]
    if names:
        argv += ["-addext", "subjectAltName=" + ",".join(names)]
    for extension in extensions:
        argv += ["-addext", extension]
    run(argv)
    return Csr(path, key_path)


def host_csr(name, key=None):
    """DER, for one host; made in this process: a crowd of calls of a tool would take longer than the test."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def certtool_csr(directory, name, cn=None, dns=(), key="rsa2048"):
    """GnuTLS."""
    path = os.path.join(directory, name + ".csr")
    key_path = os.path.join(directory, name + ".key")
    template = os.path.join(directory, name + ".cfg")
    with open(template, "w", encoding="utf-8") as f:
        f.write(f'cn = "{cn or name}"\n' + "".join(f'dns_name = "{d}"\n' for d in dns))
        f.write("tls_www_server\nsigning_key\n")
    if key.startswith("rsa"):
        how = ["--key-type", "rsa", "--bits", key[3:]]
    else:
        how = ["--key-type", "ecdsa", "--curve", {"p256": "secp256r1", "p384": "secp384r1", "p521": "secp521r1"}[key]]
    run(["certtool", "--generate-privkey", *how, "--outfile", key_path])
    run(["certtool", "--generate-request", "--load-privkey", key_path, "--template", template,
         "--outfile", path])
    return Csr(path, key_path)


def pki_csr(directory, name, cn=None, dns=(), key="p256"):
    """strongSwan."""
    path = os.path.join(directory, name + ".csr")
    key_path = os.path.join(directory, name + ".key")
    if key.startswith("rsa"):
        how = ["--type", "rsa", "--size", key[3:]]
    else:
        how = ["--type", "ecdsa", "--size", {"p256": "256", "p384": "384", "p521": "521"}[key]]
    with open(key_path, "wb") as f:
        f.write(run([find_program("pki"), "--gen", *how, "--outform", "pem"]).stdout)
    argv = [find_program("pki"), "--req", "--in", key_path, "--type", "priv", "--dn",
            f"CN={cn or name}", "--outform", "pem"]
    for d in dns:
        argv += ["--san", d]
    with open(path, "wb") as f:
        f.write(run(argv).stdout)
    return Csr(path, key_path)


def keytool_csr(directory, name, cn=None, dns=(), key="p256"):
    """Java; some seconds slower than the others."""
    path = os.path.join(directory, name + ".csr")
    store = os.path.join(directory, name + ".p12")
    if key.startswith("rsa"):
        how = ["-keyalg", "RSA", "-keysize", key[3:]]
    else:
        how = ["-keyalg", "EC", "-groupname", {"p256": "secp256r1", "p384": "secp384r1", "p521": "secp521r1"}[key]]
    access = ["-keystore", store, "-storepass", "changeit", "-alias", "k"]
    run(["keytool", "-genkeypair", *how, "-dname", f"CN={cn or name}", *access])
    argv = ["keytool", "-certreq", "-file", path, *access]
    if dns:
        argv += ["-ext", "san=" + ",".join(f"dns:{d}" for d in dns)]
    run(argv)
    return Csr(path, store)


def self_signed(directory, name, cn="127.0.0.1", days=30):
    """A certificate for a TLS server of the tests, and its key."""
    path = os.path.join(directory, name + ".pem")
    key_path = os.path.join(directory, name + ".key")
    run(["openssl", "req", "-x509", "-nodes", "-batch", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-keyout", key_path, "-out", path, "-subj", f"/CN={cn}",
         "-days", str(days), "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"])
    os.chmod(key_path, 0o600)
    return path, key_path


def split_pem(text):
    """The certificates of a chain, one PEM text each."""
    return re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", text, re.S)


def write(directory, name, content):
    path = os.path.join(directory, name)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    return path


def openssl_text(path, what="x509", der=False):
    return run(["openssl", what, "-in", path, *(["-inform", "DER"] if der else []), "-noout", "-text"],
               text=True).stdout


def openssl_verify(directory, leaf, issuing, root, crls=(), deltas=(), every=False):
    """`openssl verify`, revocation of the leaf checked when CRLs are given; every: of
    all that is not the root.

    All certificates are PEM texts, CRLs DER bytes. Returns (accepted, output).
    """
    argv = ["openssl", "verify", "-x509_strict", "-purpose", "any",
            "-CAfile", write(directory, "v-root.pem", root),
            "-untrusted", write(directory, "v-issuing.pem", issuing)]
    if crls:
        pem = b"".join(
            run(["openssl", "crl", "-inform", "DER", "-outform", "PEM"], input=der).stdout
            for der in [*crls, *deltas]
        )
        argv += ["-crl_check_all" if every else "-crl_check", "-CRLfile", write(directory, "v-crls.pem", pem)]
        if deltas:
            argv += ["-extended_crl", "-use_deltas"]
    result = run([*argv, write(directory, "v-leaf.pem", leaf)], check=False, text=True)
    return result.returncode == 0, result.stdout + result.stderr


def certtool_verify(directory, leaf, issuing, root, crls=()):
    """GnuTLS, which reads no delta. Returns (accepted, output)."""
    chain = write(directory, "c-chain.pem", leaf + issuing)
    argv = ["certtool", "--verify", "--infile", chain,
            "--load-ca-certificate", write(directory, "c-root.pem", root)]
    if crls:
        pem = b"".join(
            run(["openssl", "crl", "-inform", "DER", "-outform", "PEM"], input=der).stdout for der in crls
        )
        argv += ["--load-crl", write(directory, "c-crls.pem", pem)]
    result = run(argv, check=False, text=True)
    return result.returncode == 0, result.stdout + result.stderr


# What `pki` loads by itself in Debian, as far as it takes to judge certificates.
PKI_PLUGINS = "random openssl gcrypt aes sha1 sha2 gmp pkcs1 pkcs7 pkcs8 pubkey pem x509 revocation constraints curl"


def pki_verify(directory, leaf, issuing, root, online=True, more_plugins=None):
    """strongSwan; online: fetches CRL and delta by itself from the URLs in the
    certificate and in the base CRL. more_plugins: of its own, which it has to be told
    to load (ldap). Returns (accepted, output)."""
    env = None
    if more_plugins:
        conf = write(directory, "strongswan.conf", f"pki {{\n  load = {PKI_PLUGINS} {more_plugins}\n}}\n")
        env = dict(os.environ, STRONGSWAN_CONF=conf)
    argv = [find_program("pki"), "--verify", "--in", write(directory, "p-leaf.pem", leaf),
            "--cacert", write(directory, "p-issuing.pem", issuing),
            "--cacert", write(directory, "p-root.pem", root)]
    if online:
        argv.append("--online")
    result = run(argv, check=False, text=True, **({"env": env} if env else {}))
    return result.returncode == 0, result.stdout + result.stderr
