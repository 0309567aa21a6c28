"""Programs that others wrote read what the service publishes: Java, NSS and GnuPG's dirmngr
beside OpenSSL, GnuTLS and strongSwan (test_crl.py, test_partitions.py, test_renewal.py),
each for what it supports. README has the table: "What readers of CRLs make of them"."""

import hashlib
import os
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness import clients
from harness.authority import locations
from harness.postgres import REPO
from harness.process import find_program, run, wait_until

ROOT = "readers-root"
READER = os.path.join(REPO, "tests", "e2e", "harness", "PathReader.java")
FLAGS = ["in_certificates", "in_idp"]


def serial_of(pem):
    return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:040x}"


class Kind:
    """A CA of one kind of CRLs, with a certificate that is good, one that is revoked in
    the complete CRL and, where there are deltas, one that is revoked in the delta only."""

    def __init__(self, a, name, deltas=False, key="rsa2048", **policy):
        self.a, self.name = a, name
        a.create_issuing(name, key, deltas=deltas, root=ROOT, **policy)
        self.good, self.bad = self.leaf(f"{name}-good"), self.leaf(f"{name}-bad")
        self.issuing = a.ca_pem(name)
        self.revoke(self.bad)
        a.issue_crl(name)
        if deltas:
            self.late = self.leaf(f"{name}-late")
            self.revoke(self.late)
            a.issue_crl(name, delta=True)

    def leaf(self, name):
        request = self.a.submit(clients.openssl_csr(self.a.files, name, dns=[f"{name}.example"]), ca=self.name)
        self.a.approve(request)
        return clients.split_pem(self.a.issued(request))[0]

    def revoke(self, pem):
        self.a.cli("cert", "revoke", serial_of(pem), "--reason", "keyCompromise")

    def crl(self, label="", delta=False):
        return self.a.crl(self.name + label, delta)


@pytest.fixture(scope="module")
def kinds(shared_instance, slapd):
    """Full and delta over HTTP; in a directory alone; by kind and by shard; under a second key."""
    a = shared_instance
    path = clients.write(a.daemon.credentials_dir, "directory", slapd.password)
    os.chmod(path, 0o600)
    base = f"{slapd.url}/cn=readers,{slapd.suffix}?"
    at = {artifact: f"{base}{attribute};binary" for artifact, attribute in (
        ("crl", "certificateRevocationList"), ("ca-certificate", "cACertificate"))}
    targets = [{"name": artifact, "artifact": artifact, "kind": "ldap", "write": url, "read": url,
                "bind_dn": slapd.root_dn, "credential": "directory", "tls": "none"} for artifact, url in at.items()]
    crl = {"period": "7d", "overlap": "12h"}
    web = f"http://127.0.0.1:{a.daemon.http_port}"

    def numbered(ending):
        return {"cdp": [{"url": f"{web}/crl/<CaName><CRLPartitionIndex><CRLNameSuffix>.crl", "flags": FLAGS[:ending]}],
                "aia": [{"url": f"{web}/aia/<CaName><CertificateName>.cer", "flags": ["in_certificates"]}]}

    a.create_root(ROOT, "rsa2048")
    made = {
        "full": Kind(a, "full", deltas=True),
        "directory": Kind(a, "directory", targets=targets, locations=locations([at["crl"]], aia=[at["ca-certificate"]])),
        "by-kind": Kind(a, "by-kind", crl={**crl, "by_kind": True}, locations=numbered(2)),
        "shards": Kind(a, "shards", key="p256", crl={**crl, "shards": 2}, locations=numbered(2)),
        "renewed": Kind(a, "renewed", locations=numbered(1)),
    }
    first = made["renewed"]
    a.cli("ca", "renew", "renewed", "--new-key")
    csr = clients.write(a.files, "renewed-again.csr", a.cli("ca", "csr", "renewed"))
    request = a.submit(csr, ca=ROOT, template="sub-ca")
    a.approve(request)
    a.cli("ca", "install", "renewed", clients.write(a.files, "renewed-again.pem", a.issued(request)))
    second = made["second-key"] = Kind.__new__(Kind)
    second.a, second.name, second.issuing = a, "renewed", a.ca_pem("renewed")
    second.good, second.bad = second.leaf("second-good"), second.leaf("second-bad")
    second.revoke(second.bad)
    a.issue_crl("renewed")
    assert first.issuing != second.issuing
    wait_until(lambda: a.database.one("SELECT count(*) FROM chancery_store.publication WHERE state <> 'done'") == 0,
               what="the directory")
    return made


EXPECTED = {"good": True, "bad": False}


def leaves(kind):
    return [(word, getattr(kind, word)) for word in EXPECTED]


# --------------------------------------------------------------------------- Java


@pytest.fixture(scope="module")
def java(kinds, new_dir):
    """What Java says of (kind, leaf): all in one run."""
    d = new_dir("java")
    a = next(iter(kinds.values())).a
    asked = [(name, word, pem) for name, kind in kinds.items() for word, pem in
             [*leaves(kind), *([("late", kind.late)] if name == "full" else [])]]
    files = [clients.write(d, "root.pem", a.ca_pem(ROOT))]
    for i, (name, _, pem) in enumerate(asked):
        files += [clients.write(d, f"{name}.pem", kinds[name].issuing), clients.write(d, f"leaf-{i}.pem", pem)]
    said = run(["java", "-Dcom.sun.security.enableCRLDP=true", "-Xshare:auto", "-XX:TieredStopAtLevel=1", READER, *files],
               text=True, timeout=170).stdout.splitlines()
    assert len(said) == len(asked), said
    return {(name, word): line for (name, word, _), line in zip(asked, said)}


@pytest.mark.parametrize("name", ["full", "directory", "by-kind", "shards", "renewed", "second-key"])
def test_java(java, name):
    """It fetches the CRL by itself, over HTTP and LDAP, and knows what an
    issuingDistributionPoint says."""
    assert java[name, "good"] == "good"
    assert java[name, "bad"].startswith("REVOKED ") and "KEY_COMPROMISE" in java[name, "bad"], java[name, "bad"]


def test_java_reads_no_delta(java):
    assert java["full", "late"] == "good"


# ------------------------------------------------------------------------ dirmngr


def der_of(pem):
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def sha1(octets):
    return hashlib.sha1(octets).hexdigest().upper()


class Dirmngr:
    """dirmngr in its server mode, asked as gpgsm asks it: it fetches CRLs by itself, and
    asks back for certificates and whom to trust."""

    def __init__(self, directory, root, certificates):
        os.chmod(directory, 0o700)
        self.root, self.certificates = root, [root, *certificates]
        self.log = os.path.join(directory, "dirmngr.log")
        self.process = subprocess.Popen(
            [find_program("dirmngr"), "--server", "--homedir", directory, "--log-file", self.log, "--verbose"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ, GNUPGHOME=directory))
        assert self.line().startswith(b"OK")

    def line(self):
        """The next that is no comment."""
        while True:
            line = self.process.stdout.readline().rstrip(b"\n")
            if not line.startswith((b"#", b"S ")):
                return line

    def send(self, line):
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def answer(self, leaf, words):
        """What it inquires: certificates by subject or key, and its trust."""
        kind, _, of = words.partition(b" ")
        octets = b""
        if kind == b"ISTRUSTED":
            octets = b"1" if of.decode() == sha1(der_of(self.root)) else b""
        elif kind == b"TARGETCERT" or not of:
            octets = der_of(leaf)
        else:
            key, _, name = of.decode().rpartition("/")
            octets = b"".join(der_of(c) for c in self.certificates
                              if subject_of(c) == name and key_id_of(c).startswith(key.strip()))
        for i in range(0, len(octets), 300):
            part = octets[i:i + 300]
            self.send(b"D " + part.replace(b"%", b"%25").replace(b"\r", b"%0D").replace(b"\n", b"%0A"))
        self.send(b"END")

    def ask(self, leaf):
        """Whether it takes the certificate, and its words."""
        c = x509.load_pem_x509_certificate(leaf.encode())
        issuer = sha1(c.issuer.rfc4514_string().encode())
        self.send(f"ISVALID {issuer}.{c.serial_number:040X}".encode())
        while True:
            line = self.line()
            if line.startswith(b"INQUIRE "):
                self.answer(leaf, line[8:])
            elif line.startswith((b"OK", b"ERR")):
                return line.startswith(b"OK"), line.decode()

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def subject_of(pem):
    return x509.load_pem_x509_certificate(pem.encode()).subject.rfc4514_string()


def key_id_of(pem):
    return x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier).value.digest.hex().upper()


@pytest.fixture
def dirmngr(kinds, new_dir):
    a = next(iter(kinds.values())).a
    asked = Dirmngr(new_dir("dirmngr"), a.ca_pem(ROOT), [k.issuing for k in kinds.values()])
    yield asked
    asked.close()


@pytest.mark.parametrize("name", ["full", "directory", "renewed", "second-key"])
def test_dirmngr(kinds, dirmngr, name):
    """It fetches the CRL by itself, over HTTP and LDAP."""
    assert dirmngr.ask(kinds[name].good) == (True, "OK")
    accepted, said = dirmngr.ask(kinds[name].bad)
    assert not accepted and "Certificate revoked" in said, said


def test_dirmngr_does_not_know(kinds, dirmngr):
    """It takes no certificate whose CRL it cannot use; but an older key's CRL for that of
    another key of the same name."""
    for name, words in (("by-kind", "Invalid CRL"), ("shards", "too short")):  # that is an ECDSA signature
        accepted, said = dirmngr.ask(kinds[name].good)
        assert not accepted and words in said, (name, said)
    assert dirmngr.ask(kinds["full"].late) == (True, "OK")  # no delta
    assert dirmngr.ask(kinds["renewed"].good)[0] and dirmngr.ask(kinds["second-key"].bad)[0]


# ---------------------------------------------------------------------------- NSS


class Nss:
    """A certificate database that trusts the root."""

    def __init__(self, directory, root):
        self.directory = directory
        self.run("certutil", "-N", "--empty-password")
        self.add("root", root, "CT,C,C")

    def run(self, program, *args):
        result = run([program, "-d", f"sql:{self.directory}", *args], check=False, text=True)
        return result.stdout + result.stderr

    def file(self, name, content):
        return clients.write(self.directory, name, content)

    def add(self, name, pem, trust=",,"):
        self.run("certutil", "-A", "-n", name, "-t", trust, "-a", "-i", self.file(f"{name}.pem", pem))

    def take_crl(self, der):
        """What crlutil says; nothing when it takes the CRL."""
        return self.run("crlutil", "-I", "-i", self.file("one.crl", der))

    def verify(self, pem, issuing, *how):
        """Words of vfychain for a TLS server's certificate."""
        return self.run("vfychain", *how, "-u", "1", "-a", self.file("leaf.pem", pem),
                        *(["-a", self.file("issuing.pem", issuing)] if issuing else []))


FETCH = ["-pp", "-g", "leaf", "-h", "requireFreshInfo", "-m", "crl", "-s", "failIfNoInfo"]


@pytest.fixture
def nss(kinds, new_dir):
    a = next(iter(kinds.values())).a
    return Nss(new_dir("nss"), a.ca_pem(ROOT))


def test_nss(kinds, nss):
    """libpkix fetches CRLs over HTTP by itself, of each key of a CA its own."""
    for name in ("full", "renewed", "second-key"):
        said = nss.verify(kinds[name].good, kinds[name].issuing, *FETCH)
        assert "Chain is good!" in said, (name, said)
        said = nss.verify(kinds[name].bad, kinds[name].issuing, *FETCH)
        assert "Peer's Certificate has been revoked" in said, (name, said)


def test_nss_finds_the_issuer(kinds, nss):
    """By the address in the certificate (AIA), and then its CRL."""
    full = kinds["full"]
    assert "issuer is not recognized" in nss.verify(full.good, None, *FETCH)
    assert "Chain is good!" in nss.verify(full.good, None, *FETCH, "-f")
    assert "Peer's Certificate has been revoked" in nss.verify(full.bad, None, *FETCH, "-f")


def test_nss_does_not_know(kinds, nss):
    """No delta; no critical issuingDistributionPoint, no LDAP: there it takes nothing."""
    full = kinds["full"]
    assert "Chain is good!" in nss.verify(full.late, full.issuing, *FETCH)
    for name in ("directory", "by-kind", "shards"):
        assert "Chain is bad!" in nss.verify(kinds[name].good, kinds[name].issuing, *FETCH), name


def test_nss_database(kinds, nss):
    """CRLs that are put into a database: complete ones without critical extensions."""
    full = kinds["full"]
    nss.add("full", full.issuing)
    assert "Chain is good!" in nss.verify(full.bad, full.issuing)
    assert nss.take_crl(full.crl()) == ""
    assert "Chain is good!" in nss.verify(full.good, full.issuing)
    assert "Peer's Certificate has been revoked" in nss.verify(full.bad, full.issuing)
    for kind, label, delta in (("full", "", True), ("by-kind", "~user", False), ("shards", "~1of2", False)):
        nss.add(kind, kinds[kind].issuing)
        assert "SEC_ERROR_CRL_UNKNOWN_CRITICAL_EXTENSION" in nss.take_crl(kinds[kind].crl(label, delta)), kind
    # Of two keys of one name it takes the CRL of the newer one only.
    nss.add("renewed", kinds["renewed"].issuing)
    nss.add("second-key", kinds["second-key"].issuing)
    assert "SEC_ERROR_CRL_BAD_SIGNATURE" in nss.take_crl(kinds["renewed"].crl())
    assert nss.take_crl(kinds["renewed"].a.crl("renewed%281%29")) == ""


# ------------------------------------------------------ what stands elsewhere, too


def test_strongswan_by_ldap(kinds, work_dir):
    kind = kinds["directory"]
    for pem, expected in ((kind.good, True), (kind.bad, False)):
        accepted, said = clients.pki_verify(work_dir, pem, kind.issuing, kind.a.ca_pem(ROOT), more_plugins="ldap")
        assert accepted is expected and "ldap://" in said, said
        assert ("certificate was revoked" in said) is not expected, said
