"""CRLs of some reasons beside those of all (RFC 5280 4.2.1.13, 5.2.5), and CRLs divided by
an attribute of templates; what OpenSSL and strongSwan make of them."""

import os
import re

import pytest
from cryptography import x509

from harness import clients
from harness.chanceryd import write_yaml
from harness.postgres import REPO
from harness.process import run
from test_crl import Read, certificate, one, serial_of, sql
from test_partitions import at_rest

R = x509.ReasonFlags
FLAGS = ["in_certificates", "in_certificate_freshest", "in_idp", "in_freshest"]
NAME = "<CaName><CRLPartitionIndex><CRLNameSuffix><DeltaCRLAllowed>.crl"
CRL = {"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h"}
SETS = [{"name": "bad", "reasons": ["keyCompromise", "cACompromise", "aACompromise"]},
        {"name": "paused", "reasons": ["certificateHold"]}]
BAD = {R.key_compromise, R.ca_compromise, R.aa_compromise}
PAUSED = {R.certificate_hold}


def locations(a):
    return {"delta_suffix": "-delta", "cdp": [{"url": f"http://127.0.0.1:{a.daemon.http_port}/crl/{NAME}", "flags": FLAGS}],
            "aia": [{"url": f"http://127.0.0.1:{a.daemon.http_port}/aia/<CaName>.cer", "flags": ["in_certificates"]}]}


def points(pem, kind=x509.CRLDistributionPoints):
    """[(URL, reasons)]"""
    return [(p.full_name[0].value, None if p.reasons is None else set(p.reasons)) for p in
            x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(kind).value]


@pytest.fixture(scope="module")
def coded(shared_instance):
    a = shared_instance
    a.create_issuing("coded", locations=locations(a), crl={**CRL, "by_reasons": SETS})
    at_rest(a, "coded")
    a.pems = [certificate(a, "coded", f"coded-{i}")[1] for i in range(4)]
    return a


def served(a, label="", delta=False, directory=None, ca="coded"):
    return Read(a.crl(f"{ca}{label}", delta), a.ca_pem(ca), directory)


def state(a, directory, delta=False):
    """What each CRL says now: {label: {serial: reason}}."""
    return {label: served(a, label, delta, directory).reasons for label in ("", "~bad", "~paused")}


def test_a_certificate_names_them_with_their_reasons(coded):
    a = coded
    for kind, delta in ((x509.CRLDistributionPoints, False), (x509.FreshestCRL, True)):
        # That of all reasons is there, and the first (RFC 5280 4.2.1.13).
        assert points(a.pems[0], kind) == [(a.daemon.crl_url("coded", delta), None), (a.daemon.crl_url("coded~bad", delta), BAD),
                                           (a.daemon.crl_url("coded~paused", delta), PAUSED)]


def test_a_crl_says_which_reasons_it_is_about(coded, work_dir):
    a = coded
    for label, reasons in (("", None), ("~bad", BAD), ("~paused", PAUSED)):
        for delta in (False, True):
            if delta:
                a.issue_crl("coded", delta=True)
            crl = served(a, label, delta, work_dir)
            point = crl.extension(x509.IssuingDistributionPoint)
            assert point.critical and [n.value for n in point.value.full_name] == [a.daemon.crl_url("coded" + label)]
            assert point.value.only_some_reasons == (frozenset(reasons) if reasons else None)
            if not delta:  # 5.2.6: without reasons
                assert [(p.full_name[0].value, p.reasons) for p in crl.value(x509.FreshestCRL)] == \
                    [(a.daemon.crl_url("coded" + label, True), None)]


def test_a_reason_that_changes_moves_the_entry(coded, work_dir):
    """Hold, release, hold again, revoked for good: complete CRL and delta after each."""
    a = coded
    serial = serial_of(a.pems[0])
    hexed = f"{serial:040x}"
    a.issue_crl("coded")
    base = state(a, work_dir)
    assert base == {"": {}, "~bad": {}, "~paused": {}}
    for action, deltas in (
            (("hold", hexed), {"": {serial: R.certificate_hold}, "~bad": {}, "~paused": {serial: R.certificate_hold}}),
            (("release", hexed), {"": {serial: R.remove_from_crl}, "~bad": {}, "~paused": {serial: R.remove_from_crl}}),
            (("hold", hexed), {"": {serial: R.certificate_hold}, "~bad": {}, "~paused": {serial: R.certificate_hold}}),
            (("revoke", hexed, "--reason", "keyCompromise"),
             {"": {serial: R.key_compromise}, "~bad": {serial: R.key_compromise}, "~paused": {serial: R.remove_from_crl}})):
        a.cli("cert", *action)
        a.issue_crl("coded", delta=True)
        assert state(a, work_dir, delta=True) == deltas, action
    a.issue_crl("coded")
    assert state(a, work_dir) == {"": {serial: R.key_compromise}, "~bad": {serial: R.key_compromise}, "~paused": {}}
    # One of a reason that no other list is about.
    other = serial_of(a.pems[1])
    a.cli("cert", "revoke", f"{other:040x}", "--reason", "superseded")
    a.issue_crl("coded", delta=True)
    assert [other in crl for crl in state(a, work_dir, delta=True).values()] == [True, False, False]


def test_nothing_is_unspecified_there(coded):
    a = coded
    words = a.cli.fails("cert", "revoke", f"{serial_of(a.pems[2]):040x}", "--reason", "unspecified")
    assert "a reason must be given that is not unspecified (RFC 5280 5.2.5)" in words
    assert one(a, "SELECT count(*) FROM revocation_event WHERE serial = %s", serial_of(a.pems[2]).to_bytes(20, "big")) == 0


def test_openssl_needs_a_crl_for_every_reason(coded, work_dir):
    """RFC 5280 6.3.3: a list of some reasons revokes, but only all reasons clear a
    certificate. Without -extended_crl OpenSSL takes no list with onlySomeReasons."""
    a = coded
    bad, good = a.pems[0], a.pems[3]
    if not one(a, "SELECT count(*) FROM revocation WHERE serial = %s", serial_of(bad).to_bytes(20, "big")):
        a.cli("cert", "revoke", f"{serial_of(bad):040x}", "--reason", "keyCompromise")
    a.issue_crl("coded")

    def openssl(pem, labels, *options):
        crls = []
        for label in labels:
            der = clients.write(work_dir, f"c{label}.crl", a.crl(f"coded{label}"))
            crls += ["-CRLfile", clients.write(work_dir, f"c{label}.pem", run(
                ["openssl", "crl", "-inform", "DER", "-in", der], text=True).stdout)]
        result = run(["openssl", "verify", "-crl_check", *options, "-CAfile", clients.write(work_dir, "root.pem", a.ca_pem(a.root)),
                      "-untrusted", clients.write(work_dir, "ca.pem", a.ca_pem("coded")), *crls,
                      clients.write(work_dir, "leaf.pem", pem)], check=False, text=True)
        return result.stdout + result.stderr

    extended = "-extended_crl"
    assert "certificate revoked" in openssl(bad, ["~bad"], extended)
    assert "certificate revoked" in openssl(bad, ["", "~bad", "~paused"], extended)
    assert ": OK" in openssl(good, ["", "~bad", "~paused"], extended)
    for labels, options in ((["~bad"], [extended]), (["~bad", "~paused"], [extended]), (["~bad"], [])):
        said = openssl(good, labels, *options)
        assert ": OK" not in said and "certificate revoked" not in said, said
    assert "certificate revoked" not in openssl(bad, ["~bad"])


def test_strongswan_takes_the_list_of_all_reasons(coded, work_dir):
    """It knows no reasons of points: the first list that it finds is that of all."""
    a = coded
    for pem, revoked in ((a.pems[3], False), (a.pems[0], True)):
        accepted, said = clients.pki_verify(work_dir, pem, a.ca_pem("coded"), a.ca_pem(a.root))
        assert accepted is not revoked, said
        assert "/crl/coded.crl" in said


# ------------------------------------------------------------------ attributes


def template(a, name, attribute, version=""):
    with open(os.path.join(REPO, "daemon", "templates", "tls-server.yaml"), encoding="utf-8") as f:
        text = f.read().replace("name: tls-server", f"name: {name}")
    if attribute:
        text = text.replace("renewal: 30d", f"renewal: 30d\ncrl_attribute: {attribute}")
    a.cli("template", "apply", clients.write(a.files, f"{name}{version}.yaml", text))


def issue(a, ca, name, by):
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]), ca=ca, template=by)
    a.approve(request)
    return clients.split_pem(a.issued(request))[0]


def test_templates_name_their_partition(shared_instance, work_dir):
    a = shared_instance
    template(a, "router", "devices")
    template(a, "badge", "people")
    template(a, "other", "nobody")
    names = ["router", "badge", "other", "tls-server"]
    a.create_issuing("attributed", locations=locations(a), templates=names,
                     crl={**CRL, "by_attribute": ["devices", "people"]})
    at_rest(a, "attributed")
    expected = {"router": "~devices", "badge": "~people", "other": "", "tls-server": ""}
    pems = {name: issue(a, "attributed", name, name) for name in names}
    for name, pem in pems.items():
        assert points(pem) == [(a.daemon.crl_url("attributed" + expected[name]), None)]
        a.cli("cert", "revoke", f"{serial_of(pem):040x}", "--reason", "superseded")
    a.issue_crl("attributed")
    for label in ("", "~devices", "~people"):
        crl = served(a, label, False, work_dir, "attributed")
        assert set(crl.revoked) == {serial_of(pem) for name, pem in pems.items() if expected[name] == label}
        point = crl.extension(x509.IssuingDistributionPoint)
        assert point.critical and [n.value for n in point.value.full_name] == [a.daemon.crl_url("attributed" + label)]
    assert sql(a, "SELECT s.attribute FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'attributed' ORDER BY s.id") \
        == [("",), ("devices",), ("people",)]

    # What was issued stays where it is when its template says another name.
    before = issue(a, "attributed", "before", "router")
    template(a, "router", "people", "-2")
    after = issue(a, "attributed", "after", "router")
    assert [points(p)[0][0] for p in (before, after)] == [a.daemon.crl_url("attributed~" + x) for x in ("devices", "people")]
    for pem in (before, after):
        a.cli("cert", "hold", f"{serial_of(pem):040x}")
    a.issue_crl("attributed", delta=True)
    for label, pem in (("~devices", before), ("~people", after)):
        assert set(served(a, label, True, work_dir, "attributed").revoked) == {serial_of(pem)}


def test_all_divisions_at_once(shared_instance, work_dir):
    """Kinds, attributes, shards and reasons, with deltas and expired certificates."""
    a = shared_instance
    template(a, "gate", "devices")
    a.create_root("every", templates=["sub-ca", "tls-server", "gate"], locations=locations(a), crl={
        **CRL, "by_kind": True, "by_attribute": ["devices"], "shards": 2, "expired_certificates": True, "by_reasons": SETS[:1]})
    at_rest(a, "every")
    whole = ["~user~1of2", "~user~2of2", "~user~devices~1of2", "~user~devices~2of2", "~ca"]
    labels = [s for s, in sql(a, "SELECT s.label FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'every' ORDER BY s.id")]
    assert labels == whole + [f"{label}~bad" for label in whole]
    a.create_issuing("every-sub", root="every")
    pems = [a.ca_pem("every-sub")] + [issue(a, "every", f"every-{i}", by) for by in ("tls-server", "gate") for i in range(2)]
    for i, pem in enumerate(pems):
        a.cli("cert", "revoke", f"{serial_of(pem):040x}", "--reason", "superseded" if i % 2 else "keyCompromise")
    a.issue_crl("every")
    homes = {}
    for i, pem in enumerate(pems):
        (url, none), (bad_url, reasons) = points(pem)
        label = url[len(a.daemon.crl_url("every")) - len(".crl"):-len(".crl")]
        assert none is None and reasons == BAD and bad_url == a.daemon.crl_url(f"every{label}~bad")
        homes.setdefault(label, set()).add(serial_of(pem))
        if not i % 2:
            homes.setdefault(label + "~bad", set()).add(serial_of(pem))
        assert label.startswith("~ca" if i == 0 else "~user~devices~" if i > 2 else "~user~") and (i > 2) == ("devices" in label)
    for label in labels:
        for delta in (False, True):
            crl = served(a, label, delta, work_dir, "every")
            point = crl.value(x509.IssuingDistributionPoint)
            assert [n.value for n in point.full_name] == [a.daemon.crl_url("every" + label)]
            assert (point.only_contains_user_certs, point.only_contains_ca_certs) == ("user" in label, "~ca" in label)
            assert point.only_some_reasons == (frozenset(BAD) if label.endswith("~bad") else None)
            assert set(crl.revoked) == homes.get(label, set())
            assert any(e.oid.dotted_string == "2.5.29.60" for e in crl.crl.extensions)
    assert a.cli.json("doctor", "every")["state"] in ("ok", "warning")
    shown = a.cli("ca", "show", "every")
    for line in ("CRLs by kind +yes", "CRLs by attribute +devices", "CRLs by shards +2",
                 "CRLs by reasons +bad: keyCompromise cACompromise aACompromise"):
        assert re.search(f"(?m)^{line}$", shown), (line, shown)
    assert "CRLs by" not in a.cli("ca", "show", "every-sub")


def test_another_policy_brings_crls_of_some_reasons(shared_instance):
    """Beside those that stand; certificates that exist go on as they are."""
    a = shared_instance
    a.create_issuing("later", locations=locations(a), crl=CRL)
    at_rest(a, "later")
    _, before = certificate(a, "later", "later-before")
    path = a.issuing_policy("later", locations=locations(a), crl={**CRL, "by_reasons": SETS[1:]})
    a.cli("ca", "limits", "change", "later", "--policy", path)
    at_rest(a, "later")
    _, after = certificate(a, "later", "later-after")
    assert points(after) == [(a.daemon.crl_url("later~v2"), None), (a.daemon.crl_url("later~paused~v2"), PAUSED)]
    for pem in (before, after):
        a.cli("cert", "hold", f"{serial_of(pem):040x}")
    held = {f"{label}": n for label, n in sql(
        a, "SELECT s.label, count(r.serial) FROM crl_scope s JOIN ca a ON a.id = s.ca_id LEFT JOIN revocation r ON r.scope_id = s.id "
        "WHERE a.name = 'later' GROUP BY s.id")}
    assert held == {"": 1, "~v2": 1, "~paused~v2": 1}
    assert {line["url"] for line in a.cli.json("ca", "locations", "later")["locations"] if line["artifact"] == "CRL"} == \
        {url for pem in (before, after) for url, _ in points(pem)}


def test_what_the_rfc_does_not_allow(shared_instance, work_dir):
    a = shared_instance
    for crl, section, words in (
            ({"by_reasons": SETS}, {"cdp": [{"url": "http://h/<CRLPartitionIndex>", "flags": ["in_certificates"]}]},
             "RFC 5280 4.2.1.13, 6.3.3"),
            ({"by_attribute": ["devices"]}, {"cdp": [{"url": "http://h/<CRLPartitionIndex>", "flags": ["in_certificates"]}]},
             "RFC 5280 5.2.5"),
            ({"by_reasons": [{"name": "x", "reasons": ["unspecified"]}]}, {}, "RFC 5280 4.2.1.13, 5.2.5")):
        path = write_yaml(f"{work_dir}/draft.yaml", {
            "subject": "CN=Draft", "kind": "root", "token": "main", "key": "p256", "validity": "1y",
            "crl": {"period": "7d", "overlap": "1d", **crl}, "locations": section})
        assert words in a.cli.fails("ca", "locations", "draft", "--policy", path)
