"""What programs that others wrote make of CRLs of some reasons (onlySomeReasons, RFC 5280
5.2.5): of certificates that are in one of the lists, in all that apply, or in none, and of
lists that are not to be had. README has the table: "What readers of CRLs make of them"."""

import pytest
from cryptography import x509

from harness import clients
from harness.process import run
from harness.web import Web
from test_readers import FETCH, READER, Dirmngr, Nss, serial_of
from test_reasons import SETS

ROOT = "reason-root"
ALL = ""  # the list of all reasons
SOME = ("~bad", "~paused", "~rest")  # together they are about all reasons, too
EVERY = [*SETS, {"name": "rest", "reasons": ["affiliationChanged", "superseded", "cessationOfOperation", "privilegeWithdrawn"]}]

# What stands where the certificates of each CA say.
SERVED = {
    "whole": (ALL, *SOME),
    "parts": SOME,
    "gap": ("~bad", "~paused"),
}
LEAVES = {"good": (), "bad": ("revoke", "--reason", "keyCompromise"), "held": ("hold",), "old": ("revoke", "--reason", "superseded")}
GOOD = {"good"}  # the only one that passes, whoever looks


class Ca:
    """With one certificate for each word of LEAVES."""

    def __init__(self, a, place, name):
        self.a, self.name = a, name
        a.create_issuing(name, "rsa2048", deltas=False, root=ROOT, templates=["many"],
                         crl={"period": "7d", "overlap": "12h", "by_reasons": EVERY},
                         locations={"cdp": [{"url": f"{place.url}/<CaName><CRLPartitionIndex>.crl", "flags": ["in_certificates", "in_idp"]}],
                                    "aia": [{"url": a.daemon.aia_url(name), "flags": ["in_certificates"]}]})
        requests = {word: a.submit(clients.openssl_csr(a.files, f"{name}-{word}", dns=[f"{word}.example"]), ca=name, template="many")
                    for word in LEAVES}
        self.leaves = {word: clients.split_pem(a.issued(request))[0] for word, request in requests.items()}
        for word, action in LEAVES.items():
            if action:
                a.cli("cert", *action, serial_of(self.leaves[word]))
        a.issue_crl(name)
        self.issuing, self.root = a.ca_pem(name), a.ca_pem(ROOT)
        self.crls = {label: a.crl(name + label) for label in (ALL, *SOME)}
        for label in SERVED[name]:
            place.files[f"/{name}{label}.crl"] = self.crls[label]

    def passing(self, verify):
        return {word for word, pem in self.leaves.items() if verify(pem)}


@pytest.fixture(scope="module")
def cas(shared_instance):
    a, place = shared_instance, Web()
    a.apply_automatic()
    a.create_root(ROOT, "rsa2048")
    yield {name: Ca(a, place, name) for name in SERVED}
    place.close()


def test_java(cas, work_dir):
    """It knows reasons, and passes nobody unless it has all, among them the bit that stands for
    none (RFC 5280 4.2.1.13), so that only the list of all reasons will do."""
    asked = [(ca, word) for ca in cas.values() for word in LEAVES]
    files = [clients.write(work_dir, "root.pem", cas["whole"].root)]
    for ca, word in asked:
        files += [clients.write(work_dir, f"{ca.name}.pem", ca.issuing), clients.write(work_dir, f"{ca.name}-{word}.pem", ca.leaves[word])]
    lines = run(["java", "-Dcom.sun.security.enableCRLDP=true", "-Xshare:auto", "-XX:TieredStopAtLevel=1", READER, *files],
                text=True, timeout=170).stdout.splitlines()
    said = {(ca.name, word): line for (ca, word), line in zip(asked, lines)}
    assert said["whole", "good"] == "good"
    for word, reason in (("bad", "KEY_COMPROMISE"), ("held", "CERTIFICATE_HOLD"), ("old", "SUPERSEDED")):
        assert said["whole", word].startswith("REVOKED ") and reason in said["whole", word]
    assert {line.split()[0] for (name, _), line in said.items() if name != "whole"} == {"UNDETERMINED_REVOCATION_STATUS"}


def test_strongswan(cas, work_dir):
    """It knows no reasons: the first list that it gets is for it that of all. That is right
    as long as the one of all, the first in each certificate, is there; without it, what
    other lists hold passes."""
    accepted = {name: ca.passing(lambda pem, ca=ca: clients.pki_verify(work_dir, pem, ca.issuing, ca.root)[0]) for name, ca in cas.items()}
    assert accepted == {"whole": GOOD, "parts": {"good", "held", "old"}, "gap": {"good", "held", "old"}}


def test_gnutls(cas, work_dir):
    """It knows no reasons either, and of an issuer's lists it keeps the one with the latest thisUpdate: of those
    of one second the last that it is given."""
    ca = cas["whole"]
    since = {label: x509.load_der_x509_crl(der).last_update for label, der in ca.crls.items()}
    passing = {ALL: GOOD, "~bad": {"good", "held", "old"}, "~paused": {"good", "bad", "old"}, "~rest": {"good", "bad", "held"}}

    def accepted(*labels):
        return ca.passing(lambda pem: clients.certtool_verify(work_dir, pem, ca.issuing, ca.root, [ca.crls[x] for x in labels])[0])

    for labels in (ALL,), ("~bad",), (*SOME, ALL), (ALL, "~bad"), ("~bad", "~paused"), (ALL, *SOME):
        _, _, kept = max((since[label], n, label) for n, label in enumerate(labels))
        assert accepted(*labels) == passing[kept], labels


def test_openssl(cas, work_dir):
    """As RFC 5280 6.3.3 says, with -extended_crl."""
    ca = cas["whole"]

    def accepted(*labels):
        return ca.passing(lambda pem: verify(pem, [ca.crls[x] for x in labels]))

    def verify(pem, crls):
        texts = b"".join(run(["openssl", "crl", "-inform", "DER"], input=der).stdout for der in crls)
        return run(["openssl", "verify", "-crl_check", "-extended_crl", "-CAfile", clients.write(work_dir, "root.pem", ca.root),
                    "-untrusted", clients.write(work_dir, "ca.pem", ca.issuing), "-CRLfile", clients.write(work_dir, "crls.pem", texts),
                    clients.write(work_dir, "leaf.pem", pem)], check=False).returncode == 0

    assert accepted(ALL) == accepted(ALL, *SOME) == GOOD
    assert accepted(*SOME) == GOOD
    assert accepted("~bad", "~paused") == accepted("~bad") == set()


def test_dirmngr(cas, new_dir):
    """A critical issuingDistributionPoint is nothing that it knows: no certificate passes."""
    asked = Dirmngr(new_dir("dirmngr"), cas["whole"].root, [ca.issuing for ca in cas.values()])
    try:
        for ca in cas.values():
            said = [asked.ask(ca.leaves[word]) for word in LEAVES]
            assert not any(accepted for accepted, _ in said) and said[0][1].split(" ", 2)[2] in ("Invalid CRL <Dirmngr>", "No data <Dirmngr>")
            assert {words.split(" ", 2)[2] for _, words in said[1:]} == {"No CRL known <Dirmngr>"}
    finally:
        asked.close()


def test_nss(cas, new_dir):
    """The same with libpkix; a database takes none of the lists, and without one all passes."""
    nss = Nss(new_dir("nss"), cas["whole"].root)
    for ca in cas.values():
        assert ca.passing(lambda pem, ca=ca: "Chain is good!" in nss.verify(pem, ca.issuing, *FETCH)) == set()
    ca = cas["whole"]
    nss.add("whole", ca.issuing)
    for crl in ca.crls.values():
        assert "SEC_ERROR_CRL_UNKNOWN_CRITICAL_EXTENSION" in nss.take_crl(crl)
    assert ca.passing(lambda pem: "Chain is good!" in nss.verify(pem, ca.issuing)) == set(LEAVES)
