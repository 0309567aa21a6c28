"""Keys and CAs that operators retired, and CAs whose certificate a CA above revoked: no
certificates any more, CRLs as before."""

import hashlib
import os
import re
import time

import pytest
from cryptography import x509

from harness import clients, limits
from harness.authority import PASSPHRASE
from harness.chanceryd import program
from harness.decisions import Front, Key, Statement
from harness.postgres import REPO
from harness.process import run, wait_until


@pytest.fixture(scope="module")
def a(shared_instance):
    return shared_instance


def suffixed(url, variable):
    stem, dot, ending = url.rpartition(".")
    return stem + variable + dot + ending


def make_issuing(a, name, root=None, template="sub-ca", **more):
    """A CA whose addresses tell its keys apart."""
    crl, aia = suffixed(a.daemon.crl_url(name), "<CRLNameSuffix>"), suffixed(a.daemon.aia_url(name), "<CertificateName>")
    where = {"cdp": [{"url": crl, "flags": ["in_certificates"]}], "aia": [{"url": aia, "flags": ["in_certificates"]}]}
    a.cli("ca", "create", name, "--policy", a.issuing_policy(name, deltas=False, **{"locations": where, **more}))
    install(a, name, root, template)


def install(a, ca, root=None, template="sub-ca"):
    csr = clients.write(a.files, f"{ca}.csr", a.cli("ca", "csr", ca))
    request = a.submit(csr, ca=root or a.root, template=template)
    a.approve(request)
    return a.cli("ca", "install", ca, clients.write(a.files, f"{ca}.pem", a.issued(request)))


def leaf_of(a, name, ca):
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]), ca=ca)
    a.approve(request)
    return clients.split_pem(a.issued(request))[0]


def serial_of(pem):
    return f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:040x}"


def revoked_serials(a, name):
    der = a.crl(name)
    return [f"{entry.serial_number:040x}" for entry in x509.load_der_x509_crl(der)]


def generations(a, ca):
    """By their index: state, and whether the key is retired."""
    shown = a.cli.json("ca", "show", ca)["generations"]
    return {g["index"]: (g["state"], g["key_retired_at"] is not None) for g in shown}


def reason_of(a, request, words):
    return wait_until(lambda: words in (a.api.get(f"/v1/requests/{request}").json()["reason"] or "") or None,
                      what=f"'{words}' as the reason of a request")


def findings(a, ca):
    """What the doctor says of the CA itself, all of it fine: {check: words}."""
    found = [f for f in a.cli.json("doctor", ca)["findings"] if f["object"] == ca]
    assert {f["state"] for f in found} == {"ok"}, found
    return {f["check"]: f["detail"] for f in found}


def end_certificates(a, ca):
    """As if all had ended that a CA issued."""
    for change in ("certificate SET not_after = now() - interval '1 s' WHERE true",
                   "generation SET used_until = NULL WHERE true",
                   "crl_scope SET next_full_at = now() WHERE next_full_at IS NOT NULL"):
        a.database.execute(f"UPDATE chancery_store.{change} AND ca_id = (SELECT id FROM chancery_store.ca WHERE name = %s)",
                           (ca,))


def wait_over(a, ca, index):
    wait_until(lambda: generations(a, ca)[index][0] == "retired" or None, what=f"the end of {ca}, generation {index}")


@pytest.mark.smoke
def test_a_key_is_retired(a):
    make_issuing(a, "first")
    leaf = leaf_of(a, "f0", "first")
    said = a.cli.result("ca", "retire", "first", "--generation", "0")
    assert said.returncode == 0 and "key 0 of CA first is retired and signs no certificates any more" in said.stdout, said
    assert "its CRLs go on until the last certificate that it signed has ended, at 20" in said.stdout
    assert "+ retired: key" in said.stderr and "- template: tls-server" in said.stderr, said.stderr
    assert generations(a, "first") == {0: ("active", True)}
    console = run([program("chancery-signer"), "--config", a.daemon.config_path, "--token", "main", "--show-limits"],
                  text=True).stdout
    assert re.search(r"CA first\n(  .*\n)+  retired +the key, which signs CRLs and no certificate any more\n", console), console
    words = "the key of CA first is retired: the CA issues nothing until it has a new one"
    assert words in a.cli("ca", "show", "first")

    # Requests are taken, and wait; nobody approves what the signer would refuse.
    request = a.submit(clients.openssl_csr(a.files, "f1", dns=["f1.example"]), ca="first")
    a.wait_state(request, "pending")
    assert "operators retired the key of CA first" in a.cli.fails("request", "approve", request)
    # CRLs go on.
    a.cli("cert", "revoke", serial_of(leaf), "--reason", "superseded")
    a.issue_crl("first")
    wait_until(lambda: serial_of(leaf) in revoked_serials(a, "first") or None, what="the revocation on a CRL")

    # For good; another key goes on.
    assert "is retired already" in a.cli.fails("ca", "retire", "first", "--generation", "0")
    assert "has no generation 7" in a.cli.fails("ca", "retire", "first", "--generation", "7")
    assert "--new-key\" gives it another one" in a.cli.fails("ca", "renew", "first", "--same-key")
    assert "must not stand where the key is retired" in a.cli.fails(
        "ca", "limits", "change", "first", "--template", "tls-server")
    a.cli("ca", "renew", "first", "--new-key")
    assert "ends when another renewal takes its place" in a.cli.fails("ca", "retire", "first", "--generation", "1")
    assert "signs under its renewed certificate" in install(a, "first")
    assert a.cli.json("ca", "show", "first")["stopped"] is None
    a.approve(request)
    a.issued(request)
    assert generations(a, "first") == {0: ("superseded", True), 1: ("active", False)}
    # A CA with a certificate renewed under one key has one to retire, as its newest.
    a.cli("ca", "renew", "first", "--same-key")
    installed = int(time.time())
    wait_until(lambda: time.time() >= installed + 1, what="a second in which no certificate was ordered to be installed")
    install(a, "first")
    assert "it is retired as generation 2" in a.cli.fails("ca", "retire", "first", "--generation", "1")


def test_an_old_keys_operators_do_not_retire_the_ca(a):
    """Who may change the limits of a key that the CA no longer signs with."""
    key = next(g["key_sha256"] for g in a.cli.json("ca", "show", "first")["generations"] if g["index"] == 0)
    text = a.cli.json("ca", "limits", "show", "first", "--key-sha256", key)["document"]
    version = int(limits.field(text, "version"))
    fresh = text.replace("retired: key", "retired: ca").replace(f"version: {version}", f"version: {version + 1}").replace(
        f"previous: {limits.field(text, 'previous')}", f"previous: {hashlib.sha256(text.encode()).hexdigest()}")
    body = limits.body(fresh)
    statement = Statement("ca-limits", ca="first", object="first", body=body)
    alice = Key.load(a.operator_key, PASSPHRASE)
    front = Front(a.database)
    state, words = front.outcome(front.decide(
        statement, signature=alice.sign(statement.text), credential=alice.sha256, body=body))
    assert state == "refused" and "is retired by the limits of the key that it signs with" in words, words
    assert a.cli.json("ca", "show", "first")["state"] == "active"


@pytest.mark.smoke
def test_a_ca_is_retired(a):
    make_issuing(a, "second")
    leaf = leaf_of(a, "s0", "second")
    pending = a.submit(clients.openssl_csr(a.files, "s1", dns=["s1.example"]), ca="second")
    a.wait_state(pending, "pending")
    a.cli("ca", "renew", "second", "--new-key")
    said = a.cli.result("ca", "retire", "second")
    assert said.returncode == 0 and "CA second is retired and signs no certificates any more" in said.stdout, said
    assert "The CA gets no other key" in said.stderr and "+ retired: ca" in said.stderr
    shown = a.cli.json("ca", "show", "second")
    assert shown["state"] == "retired" and "issues no certificates any more" in shown["stopped"]
    assert generations(a, "second") == {0: ("active", True), 1: ("retired", False)}

    assert "operators retired CA second" in a.cli.fails("request", "approve", pending)
    a.cli("request", "deny", pending, "--reason", "no CA any more")
    assert "takes no requests: it is retired" in a.cli.fails(
        "request", "submit", "--ca", "second", "--template", "tls-server", os.path.join(a.files, "s1.csr"))
    for command in (["ca", "renew", "second", "--new-key"], ["ca", "renew", "second", "--same-key"],
                    ["ca", "install", "second", os.path.join(a.files, "second.pem")]):
        assert "CA \"second\" is retired for good" in a.cli.fails(*command), command
    assert "is retired already" in a.cli.fails("ca", "retire", "second")
    # Its limits still change, but not that.
    a.cli("ca", "limits", "change", "second", "--not-after", "9y")
    # Clients still look at its places.
    found = findings(a, "second")
    assert "the CA is retired and issues no certificates" in found["certificate"] and "number 1" in found["crl"]

    # Also after a restart: CRLs, and nothing but CRLs.
    a.daemon.stop()
    a.daemon.start()
    a.cli("cert", "revoke", serial_of(leaf), "--reason", "keyCompromise")
    a.issue_crl("second")
    wait_until(lambda: serial_of(leaf) in revoked_serials(a, "second") or None, what="the revocation on a CRL")
    issuing, root = a.ca_pem("second"), a.ca_pem(a.root)
    good, said = clients.openssl_verify(a.files, leaf, issuing, root, [a.crl("second")])
    assert not good and "revoked" in said, said


def test_requests_under_way_when_a_ca_is_retired(a):
    """Approved, and not signed: they end, and say why."""
    make_issuing(a, "third")
    request = a.submit(clients.openssl_csr(a.files, "t0", dns=["t0.example"]), ca="third")
    a.wait_state(request, "pending")
    a.cli("ca", "retire", "third")
    # As if its approval had come a moment earlier.
    a.database.execute("UPDATE chancery_store.request_queue SET state = 'approved', cleared = true, retry_at = now() "
                       "WHERE public_id = %s", (request,))
    assert "CA third is retired and issues no certificates any more" in a.wait_state(request, "failed")["reason"]


def test_a_root_is_retired(a):
    a.create_root("third-root")
    csr = clients.openssl_csr(a.files, "sub", subject="/CN=A CA below")
    request = a.submit(csr, ca="third-root", template="sub-ca")
    a.wait_state(request, "pending")
    a.cli("ca", "retire", "third-root")
    assert "operators retired CA third-root" in a.cli.fails("request", "approve", request)
    a.issue_crl("third-root")


def test_ends(a):
    """When the last certificate has ended and one more CRL is there."""
    end_certificates(a, "first")
    end_certificates(a, "second")
    wait_over(a, "first", 0)
    assert "generation 0 is over already" in a.cli.fails("ca", "retire", "first", "--generation", "0")
    assert generations(a, "first")[2] == ("active", False)
    wait_over(a, "second", 0)
    assert "it signs no CRLs any more" in a.cli.fails("crl", "issue", "second")
    # The last one ends, and nothing is said of it.
    a.database.execute("UPDATE chancery_store.artifact SET not_after = now() - interval '1 s' WHERE kind = 'crl' AND ca_id = "
                       "(SELECT id FROM chancery_store.ca WHERE name = 'second')")
    assert set(findings(a, "second")) == {"certificate", "chain", "ca-certificate", "publication"}
    assert 'chancery_crl_left_seconds{ca="second"' not in a.api.get("/metrics").body.decode()
    assert a.database.execute("SELECT bool_and(next_full_at IS NULL) FROM chancery_store.crl_scope WHERE ca_id = "
                              "(SELECT id FROM chancery_store.ca WHERE name = 'second')")[0][0]
    # A root that never signed a certificate but its own.
    wait_over(a, "third-root", 0)


def test_two_persons_retire_a_ca(a):
    home = clients.write(a.files, "bob-phrase", "bob's own words\n")
    os.chmod(home, 0o600)
    bob = a.cli.as_operator(os.path.join(a.files, "bob.pem"), home)
    bob("operator", "init")
    a.cli("operator", "add", "bob", "--role", "administrator", "--key", os.path.join(a.files, "bob.pem.pub"))
    people = [{"person": p, "rights": ["limits", "decide"]} for p in ("alice", "bob")]

    def order(*command):
        said = a.cli(*command)
        assert "waits for 1 more signature" in said, said
        return re.search(r"Decision ([0-9a-f-]{36}) waits", said)[1]

    bob("decision", "sign", order("ca", "create", "shared", "--policy", a.policy(
        "shared", "root", "p256", limits={"quorum": 2, "operators": people}, templates=["sub-ca"],
        crl={"period": "30d", "overlap": "3d"})))
    decision = order("ca", "retire", "shared")
    assert a.cli.json("ca", "show", "shared")["state"] == "active"
    shown = bob("decision", "show", decision)
    assert "retired: ca" in shown and "nothing takes this back" in shown
    said = bob.result("decision", "sign", decision)
    assert said.returncode == 0 and "CA shared is retired" in said.stdout, said
    assert a.cli.json("ca", "show", "shared")["state"] == "retired"


def test_revoked_by_its_parent(a):
    """A CA in the middle on hold, released, revoked: it and what is below it stop at once."""
    with open(os.path.join(REPO, "daemon", "templates", "sub-ca.yaml"), encoding="utf-8") as f:
        text = f.read().replace("name: sub-ca", "name: policy-ca").replace("path_length: 0", "path_length: 1")
    a.cli("template", "apply", clients.write(a.files, "policy-ca.yaml", text))
    a.create_root("tall-root", templates=["policy-ca"])
    make_issuing(a, "middle", "tall-root", "policy-ca", path_length=1, templates=["sub-ca", "tls-server"],
                 limits={"not_after": "30y"})
    make_issuing(a, "below", "middle")
    middle = serial_of(a.ca_pem("middle"))
    a.cli("cert", "hold", middle)
    words = {ca: f"CA {ca} issues nothing: the certificate of CA middle was put on hold by CA tall-root at 20"
             for ca in ("middle", "below")}
    for ca, sentence in words.items():
        assert sentence in a.cli("ca", "show", ca)
        wait_until(lambda text=sentence: text in a.daemon.process.log() or None, what="the issuer's word")
    requests = []
    for ca in words:
        requests.append(a.submit(clients.openssl_csr(a.files, f"held-{ca}", dns=["held.example"]), ca=ca))
        a.approve(requests[-1])
        reason_of(a, requests[-1], words[ca])
    a.issue_crl("below")
    # Others are not concerned.
    leaf_of(a, "elsewhere", a.issuing)
    assert a.api.get(f"/v1/requests/{requests[1]}").json()["state"] == "approved"

    a.cli("cert", "release", middle)
    for request in requests:
        a.issued(request)
    a.cli("cert", "revoke", middle, "--reason", "cACompromise")
    assert "was revoked by CA tall-root at 20" in a.cli("ca", "show", "below")
    assert "(cACompromise)" in a.cli.json("ca", "show", "middle")["stopped"]
    # A new key with a new certificate is another matter.
    a.cli("ca", "renew", "below", "--new-key")
    assert install(a, "below")
    assert a.cli.json("ca", "show", "below")["stopped"] is None
    leaf_of(a, "again", "below")
