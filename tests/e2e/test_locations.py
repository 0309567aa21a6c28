"""chancery ca locations: what becomes of the locations of a policy, warnings, and the
import from AD CS."""

import json

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from harness.chanceryd import write_yaml
from harness import clients

GETREG = r"""
  CRLPublicationURLs REG_MULTI_SZ =
    0: 65:C:\Windows\system32\CertSrv\CertEnroll\%3%8%9.crl
    CSURL_SERVERPUBLISH -- 1
    CSURL_SERVERPUBLISHDELTA -- 40 (64)

    1: 14:ldap://ds/CN=%7%8,CN=Public Key Services,CN=Services,%6%10
    2: 134:http://%1/CertEnroll/%3%8%9.crl
    3: 0:file://%1/CertEnroll/%3%8%9.crl
CertUtil: -getreg command completed successfully.
  CACertPublicationURLs REG_MULTI_SZ =
    0: 2:http://%1/CertEnroll/%1_%3%4.crt
    1: 32:http://ocsp.corp.example/ocsp
"""

POLICY = {"subject": "CN=Draft", "kind": "root", "token": "main", "key": "p256", "validity": "1y"}
CRL = {"period": "7d", "overlap": "1d", "delta_period": "1d", "delta_overlap": "1h"}


@pytest.fixture
def locations(shared_instance, work_dir):
    """locations(section, crl, *arguments): lines and findings for a draft of CA "draft"."""

    def show(section, crl=None, *arguments):
        path = write_yaml(f"{work_dir}/draft.yaml", {**POLICY, "crl": {**CRL, **(crl or {})}, "locations": section})
        said = shared_instance.cli.json("ca", "locations", "draft", "--policy", path, *arguments)
        return [(line["artifact"], line["crl"], line["generation"], line["url"]) for line in said["locations"]], \
            said["findings"]

    return show


def test_addresses_of_a_running_ca(shared_instance):
    a = shared_instance
    said = a.cli.json("ca", "locations", a.issuing)
    assert [(line["artifact"], line["generation"], line["flags"], line["url"]) for line in said["locations"]] == [
        ("CRL", 0, "in_certificates", a.daemon.crl_url(a.issuing)),
        ("delta CRL", 0, "in_freshest", a.daemon.crl_url(a.issuing, delta=True)),
        ("certificate", 0, "in_certificates", a.daemon.aia_url(a.issuing))]
    assert said["findings"] == []
    words = a.cli("ca", "locations", a.issuing, "--simulate")
    assert a.daemon.crl_url(a.issuing) in words and "CRL, generation 1" in words
    simulated = a.cli.json("ca", "locations", a.issuing, "--simulate")["findings"]
    assert len(simulated) == 3 and sum("it needs <CRLNameSuffix>" in f for f in simulated) == 2
    assert sum("it needs <CertificateName>" in f for f in simulated) == 1


def test_every_generation_and_partition(locations):
    name = "http://h/<CaName><CRLPartitionIndex><CRLNameSuffix><DeltaCRLAllowed>.crl"
    lines, findings = locations(
        {"delta_suffix": "-d", "cdp": [{"url": name, "flags": ["in_certificates", "in_idp", "in_freshest"]}],
         "aia": [{"url": "http://h/%3%4.cer", "flags": ["in_certificates"]}]},
        {"shards": 2, "by_kind": True}, "--simulate")
    assert [line for line in lines if line[2] == 1] == [
        *((kind, label, 1, f"http://h/draft{label}(1){suffix}.crl") for label in ("~user~1of2", "~user~2of2", "~ca")
          for kind, suffix in (("CRL", ""), ("delta CRL", "-d"))),
        ("certificate", "", 1, "http://h/draft(1).cer")]
    assert findings == ["a root has delta CRLs: there is little to gain where few certificates are revoked, and none while "
                        "it is offline"]


@pytest.mark.parametrize("section, words", [
    ({"cdp": [{"url": "http://h/%3%9.crl", "flags": ["in_certificates", "in_freshest"]}]}, "has a '+' in its path"),
    ({"cdp": [{"url": "ldap:///CN=%3,O=x%10", "flags": ["in_certificates", "in_freshest"]}]}, "names no server"),
    ({"cdp": [{"url": "ldap://h/CN=%3,O=x%10", "flags": ["in_certificates", "in_freshest"]}]}, "in a directory only"),
    ({"cdp": [{"url": "http://h/x.crl", "flags": ["in_certificates"]}]}, "no location has the flag in_freshest"),
    ({"cdp": [{"url": "http://h/x.crl", "flags": ["in_freshest"]}]}, "no location of CRLs has the flag in_certificates"),
    ({"cdp": [{"url": "http://h/x", "flags": ["in_certificates"]}],
      "aia": [{"url": "http://h/x", "flags": ["in_certificates"]}]}, "is the address of two artifacts, a CRL and a certificate"),
])
def test_what_is_questionable(locations, section, words):
    _, findings = locations(section)
    assert sum(words in finding for finding in findings) == 1, findings


@pytest.mark.parametrize("url, words", [
    ("https://h/x.crl", "has the scheme https"),
    ("http://h/\u00e4.crl", "non-ASCII"),
    ("ldap://h/nonsense%10", "DN that does not parse"),
    ("http://%1/x.crl", "'locations.server' does not say"),
    ("http://h/<CaNam>.crl", "'<CaNam>', which does not exist"),
])
def test_what_no_policy_may_have(shared_instance, work_dir, url, words):
    path = write_yaml(f"{work_dir}/draft.yaml", {**POLICY, "crl": CRL, "locations": {
        "cdp": [{"url": url, "flags": ["in_certificates"]}]}})
    assert words in shared_instance.cli.fails("ca", "locations", "draft", "--policy", path)


def test_import(shared_instance, work_dir, locations):
    """What certutil printed becomes a section that a policy can have."""
    import yaml
    a = shared_instance
    text = a.cli("ca", "locations", "--import-adcs", clients.write(work_dir, "getreg.txt", GETREG))
    assert "# C:\\Windows\\system32" in text and "has no flags, so it is for nothing" in text
    section = yaml.safe_load(text)["locations"]
    assert section == {
        "cdp": [{"url": "ldap://ds/CN=<CATruncatedName><CRLNameSuffix>,CN=Public%20Key%20Services,CN=Services,"
                        "<ConfigurationContainer><CDPObjectClass>",
                 "flags": ["in_certificates", "in_freshest", "in_crl_published_location"]},
                {"url": "http://<ServerDNSName>/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl",
                 "flags": ["in_certificates", "in_freshest", "in_idp"]}],
        "aia": [{"url": "http://<ServerDNSName>/CertEnroll/<ServerDNSName>_<CaName><CertificateName>.crt",
                 "flags": ["in_certificates"]},
                {"url": "http://ocsp.corp.example/ocsp", "flags": ["as_ocsp"]}]}
    section.update(server="ca1.corp.example", config_dn="CN=Configuration,DC=corp,DC=example")
    lines, _ = locations(section)
    assert ("delta CRL", "", 0, "http://ca1.corp.example/CertEnroll/draft+.crl") in lines
    assert ("certificate", "", 0, "http://ca1.corp.example/CertEnroll/ca1.corp.example_draft.crt") in lines
    # The same as commands: certutil's with its \\n between two locations, and PowerShell's.
    commands = r'''certutil -setreg CA\CRLPublicationURLs "134:http://%1/CertEnroll/%3%8%9.crl\n14:ldap://ds/CN=%7%8,O=x%10"
certutil -setreg CA\CACertPublicationURLs "2:http://%1/CertEnroll/%1_%3%4.crt\n32:http://ocsp.corp.example/ocsp"
Restart-Service certsvc
'''
    powershell = '''Add-CACrlDistributionPoint -Uri "http://<ServerDNSName>/CertEnroll/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl" \
-AddToCertificateCdp -AddToFreshestCrl -AddToCrlIdp -Force
Add-CAAuthorityInformationAccess -AddToCertificateAia "http://<ServerDNSName>/CertEnroll/<ServerDNSName>_<CaName><CertificateName>.crt"
'''.replace("\\\n", "").replace('Aia "', 'Aia -Uri "')
    web = section["cdp"][1]["url"]
    for name, text, cdp in (("setreg.txt", commands, [(web, ["in_certificates", "in_freshest", "in_idp"]),
                                                      ("ldap://ds/CN=<CATruncatedName><CRLNameSuffix>,O=x<CDPObjectClass>",
                                                       ["in_certificates", "in_freshest", "in_crl_published_location"])]),
                            ("powershell.ps1", powershell, [(web, ["in_certificates", "in_freshest", "in_idp"])])):
        read = yaml.safe_load(a.cli("ca", "locations", "--import-adcs", clients.write(work_dir, name, text)))["locations"]
        assert [(entry["url"], entry["flags"]) for entry in read["cdp"]] == cdp
        assert read["aia"][0] == section["aia"][0]
    assert "is no location of AD CS" in a.cli.fails(
        "ca", "locations", "--import-adcs", clients.write(work_dir, "junk.txt", "65:http://a/\nhello\n"))
    assert "there is no location" in a.cli.fails(
        "ca", "locations", "--import-adcs", clients.write(work_dir, "none.txt", "# nothing\n"))
    assert json.loads(a.cli("--json", "ca", "locations", a.root))["findings"] == []


def test_import_of_scripts(shared_instance, work_dir):
    """What administrators have at hand: batch files, scripts of PowerShell, files of Windows."""
    import yaml
    a = shared_instance

    def read(name, text, encoding="utf-8"):
        path = f"{work_dir}/{name}"
        with open(path, "wb") as f:
            f.write(text.replace("\n", "\r\n").encode(encoding))
        return path

    def imported(*words):
        text = a.cli("ca", "locations", "--import-adcs", read(*words))
        section = yaml.safe_load(text)["locations"]
        return text, *([(e["url"], e["flags"]) for e in section.get(k) or []] for k in ("cdp", "aia"))

    crl, certificate = "http://pki.example/<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl", "http://pki.example/<CaName>.crt"
    batch = r"""@echo off
rem where clients look; not certutil -setreg CA\CRLPublicationURLs "2:http://old/"
certutil -setreg CA\CRLPeriodUnits 1
certutil -setreg CA\CRLPublicationURLs "65:%windir%\system32\CertSrv\CertEnroll\%%3%%8%%9.crl\n6:http://pki.example/%%3%%8%%9.crl"
certutil -setreg CA\CACertPublicationURLs "+2:http://pki.example/%%3.crt"
net stop certsvc & net start certsvc
"""
    text, cdp, aia = imported("set.cmd", batch)
    assert cdp == [(crl, ["in_certificates", "in_freshest"])] and aia == [(certificate, ["in_certificates"])]
    assert "has a variable of the script or of Windows" in text
    shell = r"""Import-Module ADCSAdministration
$list = Get-CACrlDistributionPoint; foreach ($crl in $list) {Remove-CACrlDistributionPoint $crl.uri -Force};
# Add-CACrlDistributionPoint -Uri http://old/ -AddToCertificateCdp
$null = Add-CACRLDistributionPoint -Uri "http://pki.example/%3%8%9.crl" `
    -AddToCertificateCDP `
    -AddToFreshestCrl -Force -ErrorAction Stop | Out-Null
Add-CACRLDistributionPoint -Uri "http://$name/%3.crl" -AddToCertificateCDP -Force
Add-CAAuthorityInformationAccess -AddToCertificateAia http://pki.example/%3.crt -Force
Restart-Service certsvc
"""
    text, cdp, aia = imported("set.ps1", shell, "utf-8-sig")
    assert cdp == [(crl, ["in_certificates", "in_freshest"])] and aia == [(certificate, ["in_certificates"])]
    assert "# http://$name/<CaName>.crl: has a variable of the script" in text

    for text, words in (
            ('certutil -setreg CA\\CRLPublicationURLs $value\n', "line 1: '' is no location of AD CS"),
            ("2:http://a/\n2:http://b/\\n2x:http://c/", "line 2: '2x:http://c/' is no location"),
            ("2:http://a/\nAdd-CACrlDistributionPoint -Uri http://a -Forec\n", "line 2: '-Forec' is no switch of")):
        assert words in a.cli.fails("ca", "locations", "--import-adcs", read("bad.txt", text))
    assert "it is UTF-16" in a.cli.fails("ca", "locations", "--import-adcs", read("wide.txt", GETREG, "utf-16"))


def test_each_flag_writes_what_it_says(shared_instance):
    """All of them in one policy: the octets of a certificate, a CRL and a delta CRL, in the policy's order."""
    a = shared_instance
    here, name = f"http://127.0.0.1:{a.daemon.http_port}/crl", "<CaName><CRLNameSuffix><DeltaCRLAllowed>.crl"
    entry = "ldap://ds.example/CN=%7%8,CN=%2,%6"
    a.create_issuing("flags", crl=CRL, locations={
        "server": "ca1.corp.example", "config_dn": "O=Example Corp", "delta_suffix": "-delta",
        "cdp": [{"url": "http://%1/first/%3%8.crl", "flags": ["in_certificates", "in_crl_published_location"]},
                {"url": f"{here}/{name}", "flags": ["in_certificates", "in_idp", "in_freshest"]},
                {"url": entry + "%10", "flags": ["in_certificates", "in_freshest", "in_certificate_freshest"]},
                {"url": "http://h/not-in-anything%9", "flags": ["in_freshest"]},
                {"url": "http://h/published", "flags": ["in_crl_published_location"]}],
        "aia": [{"url": "http://ocsp.example/", "flags": ["as_ocsp"]},
                {"url": "http://%1/%3%4.cer", "flags": ["in_certificates"]},
                {"url": entry + "%11", "flags": ["in_certificates"]}]})
    request = a.submit(clients.openssl_csr(a.files, "flags", dns=["flags.example"]), ca="flags")
    a.approve(request)
    leaf = x509.load_pem_x509_certificate(clients.split_pem(a.issued(request))[0].encode())
    full, delta = (x509.load_der_x509_crl(a.crl("flags", delta=d)) for d in (False, True))

    def urls(of, kind):
        points = of.extensions.get_extension_for_class(kind).value
        return [n.value for p in points for n in p.full_name]

    entry = "ldap://ds.example/CN=flags,CN=ca1,O=Example%20Corp?{}RevocationList;binary?base?objectClass=cRLDistributionPoint"
    assert urls(leaf, x509.CRLDistributionPoints) == [
        "http://ca1.corp.example/first/flags.crl", f"{here}/flags.crl", entry.format("certificate")]
    assert urls(leaf, x509.FreshestCRL) == [entry.format("delta")]
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [(d.access_method, d.access_location.value) for d in access] == [  # responders last
        (AuthorityInformationAccessOID.CA_ISSUERS, "http://ca1.corp.example/flags.cer"),
        (AuthorityInformationAccessOID.CA_ISSUERS, "ldap://ds.example/CN=flags,CN=ca1,O=Example%20Corp?cACertificate;binary?"
         "base?objectClass=certificationAuthority"),
        (AuthorityInformationAccessOID.OCSP, "http://ocsp.example/")]
    freshest = [f"{here}/flags-delta.crl", entry.format("delta"), "http://h/not-in-anything-delta"]
    assert urls(full, x509.FreshestCRL) == freshest
    with pytest.raises(x509.ExtensionNotFound):  # RFC 5280 5.2.6
        delta.extensions.get_extension_for_class(x509.FreshestCRL)
    for crl in (full, delta):
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical and [n.value for n in point.value.full_name] == [f"{here}/flags.crl"]
        places = next(e for e in crl.extensions if e.oid.dotted_string == "1.3.6.1.4.1.311.21.14")
        # A sequence of distribution points, as in cRLDistributionPoints.
        found = [places.value.value.find(url.encode()) for url in ("http://ca1.corp.example/first/flags.crl", "http://h/published")]
        assert not places.critical and 0 < found[0] < found[1] and places.value.value.count(b"\x86") == 2


def test_former_keys_and_scopes_stand_where_their_certificates_say(shared_instance):
    """Another policy moves nothing of what exists."""
    a = shared_instance
    here = f"http://127.0.0.1:{a.daemon.http_port}/crl/<CaName>"

    def shown(ca):
        return [(line["artifact"], line["crl"], line["generation"], line["flags"], line["url"])
                for line in a.cli.json("ca", "locations", ca)["locations"]]

    def section(cdp, aia, *flags):
        return {"delta_suffix": "-delta", "cdp": [{"url": cdp, "flags": ["in_certificates", *flags]}],
                "aia": [{"url": aia, "flags": ["in_certificates"]}]}

    crl = {"period": "30d", "overlap": "3d"}
    a.create_root("old-key", locations=section(here + ".crl", "http://old/%3.cer"), crl=crl)
    a.crl("old-key")
    path = a.policy("old-key", "root", "p256", templates=["sub-ca"], crl=crl,
                    locations=section(here + "%8.crl", "http://new/%3%4.cer"))
    a.create_issuing("of-old-key", root="old-key")
    a.cli("ca", "renew", "old-key", "--new-key", "--policy", path)
    whole = here.replace("<CaName>", "old-key")
    expected = [("CRL", "", 0, "in_certificates", whole + ".crl"), ("certificate", "", 0, "in_certificates", "http://old/old-key.cer"),
                ("CRL", "", 1, "in_certificates", whole + "(1).crl"),
                ("certificate", "", 1, "in_certificates", "http://new/old-key(1).cer")]
    assert shown("old-key") == expected
    simulated = a.cli.json("ca", "locations", "old-key", "--simulate")
    assert {line["url"] for line in simulated["locations"]} == {line[4] for line in expected} | {
        whole + "(2).crl", "http://new/old-key(2).cer", "http://new/old-key(3).cer"}
    assert simulated["findings"] == []

    flags, name = ("in_idp", "in_freshest"), "<CRLPartitionIndex>%9.crl"
    a.create_issuing("old-name", locations=section(here + name, "http://h/x.cer", *flags), crl=CRL)
    a.crl("old-name", delta=True)
    request = a.submit(clients.openssl_csr(a.files, "old-name", dns=["old-name.example"]), ca="old-name")
    a.approve(request)
    a.issued(request)
    path = a.issuing_policy("old-name", crl=CRL, locations=section("http://new/<CaName>" + name, "http://h/x.cer", *flags))
    a.cli("ca", "limits", "change", "old-name", "--policy", path)
    whole = here.replace("<CaName>", "old-name")
    assert shown("old-name") == [
        ("CRL", "", 0, "in_certificates, in_idp", whole + ".crl"), ("delta CRL", "", 0, "in_freshest", whole + "-delta.crl"),
        ("CRL", "~v2", 0, "in_certificates, in_idp", "http://new/old-name~v2.crl"),
        ("delta CRL", "~v2", 0, "in_freshest", "http://new/old-name~v2-delta.crl"),
        ("certificate", "", 0, "in_certificates", "http://h/x.cer")]
