"""The main job from end to end, judged by programs that others wrote."""

import datetime
import hashlib
import os
import re
import select
import time

import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from harness import clients
from harness.process import PATIENCE_S, run, wait_until


def load(pem):
    return x509.load_pem_x509_certificate(pem.encode())


def serial_hex(pem):
    return f"{load(pem).serial_number:040x}"


# -------------------------------------------------------------- one whole pass


@pytest.mark.smoke
def test_whole_job(new_authority, slapd, work_dir):
    """Submit by SQL, command line and REST; decide; issue; CRL, revocation,
    delta; HTTP and LDAP; openssl, GnuTLS and strongSwan as judges."""
    dn = f"cn=whole-job,{slapd.suffix}"

    def target(name, artifact, attribute):
        url = f"{slapd.url}/{dn}?{attribute};binary"
        return {"name": name, "artifact": artifact, "kind": "ldap", "write": url, "read": url,
                "bind_dn": slapd.root_dn, "credential": "directory", "tls": "none"}

    def credential(daemon):
        path = clients.write(daemon.credentials_dir, "directory", slapd.password)
        run(["chmod", "600", path])

    a = new_authority(
        key="rsa2048",
        settings=credential,
        targets=[
            target("crl", "crl", "certificateRevocationList"),
            target("delta", "delta-crl", "deltaRevocationList"),
            target("ca", "ca-certificate", "cACertificate"),
        ],
    )

    # Three tools, three ways.
    by_sql = clients.openssl_csr(work_dir, "sql", dns=["sql.example", "www.sql.example"], key="rsa2048")
    by_cli = clients.certtool_csr(work_dir, "cli", dns=["cli.example"], key="p256")
    by_rest = clients.pki_csr(work_dir, "rest", dns=["rest.example"], key="p384")
    sql_id = str(a.database.one(
        "SELECT chancery.submit_request(%s, 'tls-server', %s::text)", (a.issuing, by_sql.pem), "service_one"))
    cli_id = a.submit(by_cli)
    rest_id = a.api.submit(a.issuing, "tls-server", by_rest.pem)

    for request in (sql_id, cli_id, rest_id):
        a.wait_state(request, "pending")
    listed = a.cli("request", "list", "--state", "pending")
    for request in (sql_id, cli_id, rest_id):
        assert request[:8] in listed
    assert all(len(line) <= 100 for line in listed.splitlines()), listed

    a.approve(sql_id)
    a.approve(cli_id)
    a.deny(rest_id, "nobody ordered this")
    good = clients.split_pem(a.issued(sql_id))[0]
    bad = clients.split_pem(a.issued(cli_id))[0]
    denied = a.wait_state(rest_id, "denied")
    assert "nobody ordered this" in str(denied)

    # The service reads its certificate by SQL, with the chain.
    (state, _, der, chain), = a.database.execute(
        "SELECT * FROM chancery.request_status(%s)", (sql_id,), "service_one")
    assert state == "issued"
    assert bytes(der) == load(good).public_bytes(Encoding.DER)
    issuing, root = a.ca_pem(a.issuing), a.ca_pem(a.root)
    assert [bytes(c) for c in chain] == [load(p).public_bytes(Encoding.DER) for p in (issuing, root)]

    # A CRL, a revocation, a delta.
    a.issue_crl(a.root)
    a.issue_crl()
    full = a.crl()
    a.cli("cert", "revoke", serial_hex(bad), "--reason", "keyCompromise")
    a.issue_crl(delta=True)
    delta = wait_until(lambda: revoked(a.crl(delta=True)) and a.crl(delta=True), what="the delta CRL")
    assert revoked(full) == {}
    assert revoked(delta) == {load(bad).serial_number: x509.ReasonFlags.key_compromise}
    assert crl_number(delta) > crl_number(full) == base_number(delta)

    # The directory holds the same bytes.
    for attribute, content in (("certificateRevocationList;binary", full), ("deltaRevocationList;binary", delta),
                               ("cACertificate;binary", load(issuing).public_bytes(Encoding.DER))):
        wait_until(lambda a=attribute, c=content: slapd.read(dn, a) == [c], what=f"{attribute} in the directory")

    # The judges.
    for leaf, expected in ((good, True), (bad, False)):
        accepted, said = clients.openssl_verify(work_dir, leaf, issuing, root, [full], [delta])
        assert accepted is expected, said
        accepted, said = clients.pki_verify(work_dir, leaf, issuing, root)
        assert accepted is expected, said
        assert ("was revoked" in said) is not expected, said
        accepted, said = clients.certtool_verify(work_dir, leaf, issuing, root)
        assert accepted, said  # without CRLs: the chain itself

    # A new full CRL tells those who read no deltas.
    a.issue_crl()
    full = wait_until(lambda: revoked(a.crl()) and a.crl(), what="the second full CRL")
    root_crl = a.crl(a.root)
    for leaf, expected in ((good, True), (bad, False)):
        accepted, said = clients.certtool_verify(work_dir, leaf, issuing, root, [full, root_crl])
        assert accepted is expected, said
    assert a.daemon.stop() == 0


def revoked(crl):
    """{serial: reason} of a CRL."""
    result = {}
    for entry in x509.load_der_x509_crl(crl):
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except x509.ExtensionNotFound:
            reason = None
        result[entry.serial_number] = reason
    return result


def crl_number(crl):
    return x509.load_der_x509_crl(crl).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def base_number(crl):
    extension = x509.load_der_x509_crl(crl).extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert extension.critical
    return extension.value.crl_number


# ---------------------------------------------------------------- certificates


def test_certificate_contents(shared_instance):
    a = shared_instance
    before = datetime.datetime.utcnow()
    _, pem = a.certificate("contents", dns=["contents.example", "*.contents.example"], ip=["192.0.2.7"])
    certificate = load(pem)
    issuing = load(a.ca_pem(a.issuing))
    extensions = certificate.extensions

    def value(kind):
        return extensions.get_extension_for_class(kind).value

    assert certificate.version == x509.Version.v3
    assert certificate.issuer.public_bytes() == issuing.subject.public_bytes()
    serial = certificate.serial_number.to_bytes(20, "big")
    assert 1 <= serial[0] <= 0x7F
    assert serial[1:3] == b"\x00\x01"  # signer id
    assert abs(int.from_bytes(serial[3:9], "big") - datetime.datetime.now().timestamp()) < 3600
    assert abs((certificate.not_valid_before - before).total_seconds()) < 3600
    assert certificate.not_valid_after <= issuing.not_valid_after
    assert value(x509.SubjectAlternativeName).get_values_for_type(x509.DNSName) == [
        "contents.example", "*.contents.example"]
    assert [str(i) for i in value(x509.SubjectAlternativeName).get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert x509.oid.ExtendedKeyUsageOID.SERVER_AUTH in value(x509.ExtendedKeyUsage)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    assert (value(x509.AuthorityKeyIdentifier).key_identifier
            == issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest)
    assert len(value(x509.SubjectKeyIdentifier).digest) == 20
    points = [n.value for point in value(x509.CRLDistributionPoints) for n in point.full_name]
    assert a.daemon.crl_url(a.issuing) in points
    access = value(x509.AuthorityInformationAccess)
    assert [d.access_location.value for d in access] == [a.daemon.aia_url(a.issuing)]
    try:
        assert not value(x509.BasicConstraints).ca
    except x509.ExtensionNotFound:
        pass


def test_ca_certificates(shared_instance):
    a = shared_instance
    root, issuing = load(a.ca_pem(a.root)), load(a.ca_pem(a.issuing))
    for certificate, length in ((root, None), (issuing, 0)):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical and constraints.value.ca
        assert constraints.value.path_length == length
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical and usage.value.key_cert_sign and usage.value.crl_sign
    assert root.issuer == root.subject == issuing.issuer
    with pytest.raises(x509.ExtensionNotFound):
        root.extensions.get_extension_for_oid(ExtensionOID.CRL_DISTRIBUTION_POINTS)


@pytest.mark.parametrize("tool", [clients.openssl_csr, clients.certtool_csr, clients.pki_csr, clients.keytool_csr])
def test_csrs_of_all_tools(shared_instance, tool, work_dir):
    a = shared_instance
    name = tool.__name__.replace("_", "-")
    request = a.submit(tool(work_dir, name, dns=[f"{name}.example"], key="rsa2048"))
    a.approve(request)
    leaf = clients.split_pem(a.issued(request))[0]
    accepted, said = clients.openssl_verify(work_dir, leaf, a.ca_pem(a.issuing), a.ca_pem(a.root))
    assert accepted, said


@pytest.mark.parametrize("key", ["rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521"])
def test_ca_keys(shared_instance, key, work_dir):
    """An issuing CA with each kind of key; its certificates and CRLs verify."""
    a = shared_instance
    name = f"keys-{key}"
    a.create_issuing(name, key)
    request = a.submit(clients.openssl_csr(work_dir, name, dns=["x.example"]), ca=name)
    a.approve(request)
    leaf = clients.split_pem(a.issued(request))[0]
    a.issue_crl(name)
    accepted, said = clients.openssl_verify(work_dir, leaf, a.ca_pem(name), a.ca_pem(a.root), [a.crl(name)])
    assert accepted, said
    accepted, said = clients.certtool_verify(work_dir, leaf, a.ca_pem(name), a.ca_pem(a.root))
    assert accepted, said


def test_pss_ca(shared_instance, work_dir):
    a = shared_instance
    a.create_issuing("keys-pss", "rsa2048", pss=True)
    request = a.submit(clients.openssl_csr(work_dir, "pss", dns=["x.example"]), ca="keys-pss")
    a.approve(request)
    leaf = clients.split_pem(a.issued(request))[0]
    assert "rsassaPss" in clients.openssl_text(clients.write(work_dir, "pss.pem", leaf))
    accepted, said = clients.openssl_verify(work_dir, leaf, a.ca_pem("keys-pss"), a.ca_pem(a.root))
    assert accepted, said


def test_keys_stay_on_the_token(shared_instance):
    """As another PKCS#11 program sees them."""
    a = shared_instance
    listed = run(
        ["p11tool", "--provider", a.token.module, "--login", "--list-privkeys", f"pkcs11:token={a.token.label}"],
        env=dict(os.environ, GNUTLS_PIN=a.token.pin, **a.token.environment), text=True).stdout
    flags = re.findall(r"Flags: (.*)", listed)
    assert len(flags) >= 2, listed
    for line in flags:
        assert "CKA_SENSITIVE" in line and "CKA_EXTRACTABLE" not in line.replace("CKA_NEVER_EXTRACTABLE", ""), listed


# ----------------------------------------------------------------------- queue


def test_repeat_with_the_same_key_gets_the_first_answer(shared_instance, work_dir):
    a = shared_instance
    one = clients.openssl_csr(work_dir, "one", dns=["one.example"])
    two = clients.openssl_csr(work_dir, "two", dns=["two.example"])
    first = a.api.submit(a.issuing, "tls-server", one.pem, idempotency_key="order-1")
    assert a.api.submit(a.issuing, "tls-server", one.pem, idempotency_key="order-1") == first
    answer = a.api.post("/v1/requests", {"ca": a.issuing, "template": "tls-server", "csr": two.pem,
                                         "idempotency_key": "order-1"})
    assert answer.status == 409, answer


def test_services_see_only_their_own(shared_instance, work_dir):
    a = shared_instance
    csr = clients.openssl_csr(work_dir, "own", dns=["own.example"])
    request = a.database.one(
        "SELECT chancery.submit_request(%s, 'tls-server', %s::text)", (a.issuing, csr.pem), "service_one")
    assert a.database.one("SELECT state FROM chancery.request_status(%s)", (request,), "service_one")
    with pytest.raises(psycopg2.Error) as e:
        a.database.execute("SELECT * FROM chancery.request_status(%s)", (request,), "service_two")
    assert e.value.pgcode == "CH404"


def test_waiting_service_learns_at_once(shared_instance, work_dir):
    """LISTEN chancery_done: no polling needed, and quickly."""
    a = shared_instance
    csr = clients.openssl_csr(work_dir, "listen", dns=["listen.example"])
    request = a.submit(csr)
    a.wait_state(request, "pending")
    connection = a.database.connect("service_one")
    try:
        connection.cursor().execute("LISTEN chancery_done")
        a.cli("request", "approve", request)
        deadline = time.monotonic() + PATIENCE_S
        while a.api.get(f"/v1/requests/{request}").json()["state"] != "issued":
            assert time.monotonic() < deadline
            assert select.select([connection], [], [], PATIENCE_S)[0], "no notification"
            connection.poll()
            connection.notifies.clear()
    finally:
        connection.close()


def test_withdraw(shared_instance, work_dir):
    a = shared_instance
    request = a.submit(clients.openssl_csr(work_dir, "back", dns=["back.example"]))
    a.wait_state(request, "pending")
    a.cli("request", "withdraw", request)
    a.wait_state(request, "withdrawn")
    a.cli.fails("request", "approve", request)


# ------------------------------------------------------------- hold and release


def test_hold_and_release(shared_instance):
    a = shared_instance
    a.create_issuing("holds")
    request = a.submit(clients.openssl_csr(a.files, "held", dns=["held.example"]), ca="holds")
    a.approve(request)
    leaf = clients.split_pem(a.issued(request))[0]
    serial = load(leaf).serial_number
    a.issue_crl("holds")
    first = crl_number(a.crl("holds"))

    def newer(number, delta=False):
        return wait_until(
            lambda: (c := a.crl("holds", delta)) and crl_number(c) > number and c, what="a newer CRL")

    a.cli("cert", "hold", serial_hex(leaf))
    a.issue_crl("holds", delta=True)
    delta = newer(first, delta=True)
    assert revoked(delta) == {serial: x509.ReasonFlags.certificate_hold}

    a.cli("cert", "release", serial_hex(leaf))
    a.issue_crl("holds", delta=True)
    delta = newer(crl_number(delta), delta=True)
    assert revoked(delta) in ({serial: x509.ReasonFlags.remove_from_crl}, {})
    a.issue_crl("holds")
    full = newer(crl_number(delta))
    assert revoked(full) == {}
    text = run(["openssl", "crl", "-inform", "DER", "-noout", "-text"], input=full).stdout.decode()
    assert "No Revoked Certificates" in text


# ---------------------------------------------------------------- distribution


def test_distribution_headers(shared_instance):
    a = shared_instance
    a.issue_crl()
    a.crl()
    answer = a.daemon.web.get(f"/crl/{a.issuing}.crl")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/pkix-crl"
    assert "max-age=" in answer.headers["Cache-Control"]
    assert answer.headers["Last-Modified"]
    etag = answer.headers["ETag"]
    again = a.daemon.web.call("GET", f"/crl/{a.issuing}.crl", headers={"If-None-Match": etag})
    assert again.status == 304 and again.body == b""
    head = a.daemon.web.call("HEAD", f"/crl/{a.issuing}.crl")
    assert head.status == 200 and head.body == b"" and head.headers["Content-Length"] == str(len(answer.body))

    answer = a.daemon.web.get(f"/aia/{a.issuing}.cer")
    assert answer.headers["Content-Type"] == "application/pkix-cert"
    assert answer.body == load(a.ca_pem(a.issuing)).public_bytes(Encoding.DER)


def test_distribution_listener_has_no_api(shared_instance):
    assert shared_instance.daemon.web.get("/v1/requests").status == 403


# ------------------------------------------------------------- process plumbing


@pytest.mark.smoke
def test_restart_keeps_everything(new_authority, work_dir):
    a = new_authority()
    request = a.submit(clients.openssl_csr(work_dir, "kept", dns=["kept.example"]))
    a.wait_state(request, "pending")
    assert a.daemon.stop() == 0
    a.daemon.start()
    a.approve(request)
    leaf = clients.split_pem(a.issued(request))[0]
    accepted, said = clients.openssl_verify(work_dir, leaf, a.ca_pem(a.issuing), a.ca_pem(a.root))
    assert accepted, said


@pytest.mark.parametrize("role", ["front", "issuer", "signer"])
def test_killed_role_comes_back(new_authority, role, work_dir):
    a = new_authority()
    old = a.daemon.pids(role)
    assert len(old) == 1
    a.daemon.kill_role(role)
    wait_until(lambda: a.daemon.pids(role) not in ([], old), what=f"a new {role}", alive=a.daemon.process)
    wait_until(lambda: answers(a), what="the API")
    _, pem = a.certificate(f"after-{role}")
    assert load(pem)


def answers(a):
    try:
        return a.api.get("/v1/status").status == 200
    except OSError:
        return False


def test_no_secret_in_argument_lists_or_logs(shared_instance):
    a = shared_instance
    for role in ("front", "issuer", "signer"):
        for pid in a.daemon.pids(role):
            for name in ("cmdline", "environ"):
                try:
                    with open(f"/proc/{pid}/{name}", "rb") as f:
                        assert a.token.pin.encode() not in f.read(), f"{role} {name}"
                except PermissionError:  # the signer shows its environment to root only
                    assert name == "environ" and os.geteuid() != 0
    assert a.token.pin not in a.daemon.process.log()


def test_pem_and_der_csrs_are_the_same(shared_instance, work_dir):
    a = shared_instance
    csr = clients.openssl_csr(work_dir, "der", dns=["der.example"])
    request = a.api.submit(a.issuing, "tls-server", csr.der)
    other = a.api.submit(a.issuing, "tls-server", csr.pem)
    shown = [a.wait_state(r, "pending") for r in (request, other)]
    assert shown[0]["csr_sha256"] == shown[1]["csr_sha256"] == hashlib.sha256(csr.der).hexdigest()
