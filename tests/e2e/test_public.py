"""What the distribution has for people and for tools that want a chain."""

import hashlib
import html.parser

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from harness import clients
from harness.process import run


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.links, self.text, self.tags = [], "", set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.text += data


def chain(a, ca):
    return clients.split_pem(a.api.get(f"/v1/cas/{ca}/chain").body.decode())


def test_the_index(shared_instance):
    a = shared_instance
    a.crl(delta=True)  # after the complete one
    answer = a.daemon.web.get("/")
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
    page = Page(answer.body.decode())
    for ca in (a.root, a.issuing):
        der = x509.load_pem_x509_certificate(chain(a, ca)[0].encode()).public_bytes(Encoding.DER)
        assert hashlib.sha256(der).hexdigest() in page.text
        assert f"CN={ca}" in page.text
    for link in page.links:
        assert a.daemon.web.get("/" + link).status == 200, link
    assert {f"crl/{a.issuing}.crl", f"crl/{a.issuing}-delta.crl", f"aia/{a.root}.cer"} <= set(page.links)
    assert f"crl/{a.root}-delta.crl" not in page.links
    head = a.daemon.web.call("HEAD", "/")
    assert head.status == 200 and head.body == b"" and head.headers["Content-Length"] == str(len(answer.body))


def test_nothing_in_the_index_is_markup(shared_instance):
    a = shared_instance
    a.create_root("marked", subject="CN=\\<script\\>alert('1')\\</script\\> & \\\"Sons\\\",O=Chancery Test")
    body = a.daemon.web.get("/").body.decode()
    page = Page(body)
    assert "script" not in page.tags and "<script" not in body.replace("\\", "")
    assert "\\<script\\>alert('1')" in page.text and '& \\"Sons' in page.text


def test_chains(shared_instance, work_dir):
    a = shared_instance
    want = chain(a, a.issuing)
    assert len(want) == 2
    pem = a.daemon.web.get(f"/aia/{a.issuing}.pem")
    assert pem.status == 200 and pem.headers["Content-Type"] == "application/x-pem-file"
    assert clients.split_pem(pem.body.decode()) == want
    cms = a.daemon.web.get(f"/aia/{a.issuing}.p7c")
    assert cms.status == 200 and cms.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    certificates = [x509.load_pem_x509_certificate(one.encode()) for one in want]
    # A SET OF: DER orders it.
    assert set(pkcs7.load_der_pkcs7_certificates(cms.body)) == set(certificates)
    path = clients.write(work_dir, "chain.p7c", cms.body)
    said = run(["openssl", "pkcs7", "-inform", "DER", "-in", path, "-print_certs"], text=True).stdout
    assert said.count("BEGIN CERTIFICATE") == 2
    said = run(["openssl", "cms", "-cmsout", "-print", "-inform", "DER", "-in", path], text=True).stdout
    assert "signerInfos:\n      <EMPTY>" in said and "eContent: <ABSENT>" in said


@pytest.mark.parametrize("end", [".pem", ".p7c"])
def test_a_ca_that_is_not_there(shared_instance, end):
    web = shared_instance.daemon.web
    assert web.get(f"/aia/nobody{end}").status == 404
    assert web.call("POST", f"/aia/{shared_instance.root}{end}", b"").status == 405
    assert web.get(f"/aia/{end}").status == 404
