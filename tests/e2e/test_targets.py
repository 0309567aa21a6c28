"""Targets of other kinds, and other ways to say who we are: S3, certificates,
SFTP, Active Directory's schema, programs."""

import grp
import hashlib
import hmac
import os
import re
import shutil
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from harness import separation
from harness.chanceryd import sanitized
from harness.kdc import REALM, Kdc
from harness.nginx import Nginx
from harness.outbox import Outbox
from harness.process import run, wait_until
from harness.slapd import Slapd, ad_schema
from harness.sshd import Sshd

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EMPTY = hashlib.sha256(b"").hexdigest()


# ------------------------------------------------------------------------- S3


def signature(secret, method, path, headers, signed, scope):
    """AWS Signature Version 4, as its manual has it: of a request without query."""
    date, region, service, _ = scope.split("/")
    canonical = "\n".join([method, urllib.parse.quote(path, safe="/-_.~%"), ""]
                          + [f"{n}:{' '.join(headers[n].split())}" for n in signed]
                          + ["", ";".join(signed), headers["x-amz-content-sha256"]])
    text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def test_the_published_example_of_a_signature():
    """GET Object of the manual's "Authenticating Requests"."""
    headers = {"host": "examplebucket.s3.amazonaws.com", "range": "bytes=0-9", "x-amz-content-sha256": EMPTY,
               "x-amz-date": "20130524T000000Z"}
    assert signature(SECRET, "GET", "/test.txt", headers, sorted(headers), "20130524/us-east-1/s3/aws4_request") == \
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"


def signed_by(secret, region):
    """Answers 403 to what is not signed with the secret for what is sent."""
    def check(handler):
        found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=AKID/([^,]+), ?SignedHeaders=([^,]+), ?Signature=(\w+)",
                             handler.headers.get("Authorization", ""))
        if not found:
            return None if handler.command == "GET" and "Authorization" not in handler.headers else 403
        scope, signed = found[1], found[2].split(";")
        headers = {n.lower(): v for n, v in handler.headers.items()}
        date = headers["x-amz-date"][:8]
        good = (scope == f"{date}/{region}/s3/aws4_request"
                and {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed)
                and signature(secret, handler.command, handler.path, headers, signed, scope) == found[3]
                and hashlib.sha256(handler.body).hexdigest() == headers["x-amz-content-sha256"])
        return None if good else 403
    return check


def test_s3(outbox, web):
    outbox.known_key()
    for path in ("/bucket/ca%20one/demo.crl", "/bucket/wrong.crl"):
        for method in ("PUT", "GET"):
            web.answers[(method, path)] = signed_by(SECRET, "eu-central-1")
    outbox.credential("s3", f"AKID:{SECRET}")
    outbox.credential("bad", "AKID:another")
    options = {"auth": "aws-sigv4", "region": "eu-central-1"}
    outbox.target("s3", "http", "crl", f"{web.url}/bucket/ca%20one/demo.crl", credential="s3", **options)
    outbox.target("wrong", "http", "crl", f"{web.url}/bucket/wrong.crl", credential="bad", **options)
    outbox.start()
    crl = outbox.publish_crl(4)
    outbox.wait_done("s3")
    outbox.wait_failed("wrong", "answer 403")
    assert web.files == {"/bucket/ca%20one/demo.crl": crl}
    looks = [h for m, p, h in web.seen if m == "GET" and "one" in p]
    # The writer looks with its signature; what clients get is fetched without one.
    assert "Authorization" in looks[0] and "Authorization" not in looks[-1]
    # A newer one in the bucket stays.
    web.files["/bucket/ca%20one/demo.crl"] = outbox.issuer.crl(9)
    outbox.publish_crl(5)
    outbox.wait_failed("s3", "number 9")
    outbox.stop()
    assert SECRET not in outbox.process.log()


# --------------------------------------------------------------- certificates


@pytest.fixture(scope="module")
def pki(new_dir):
    """ca.pem; server.pem and .key for 127.0.0.1; publisher.pem, certificate and key."""
    d = new_dir("pki")

    def issue(name, *extension):
        run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
             f"/CN={name}", *extension, "-keyout", f"{d}/{name}.key", "-out", f"{d}/{name}.csr"])
        run(["openssl", "x509", "-req", "-in", f"{d}/{name}.csr", "-CA", f"{d}/ca.pem", "-CAkey", f"{d}/ca.key", "-days",
             "2", "-copy_extensions", "copy", "-out", f"{d}/{name}.pem"])

    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=Publication CA", "-keyout", f"{d}/ca.key", "-out", f"{d}/ca.pem"])
    issue("server", "-addext", "subjectAltName=IP:127.0.0.1")
    issue("publisher")
    return d


def own_certificate(outbox, pki):
    with open(f"{pki}/publisher.pem", encoding="ascii") as one, open(f"{pki}/publisher.key", encoding="ascii") as two:
        outbox.credential("own", one.read() + two.read())


def test_client_certificate(outbox, new_dir, pki):
    server = Nginx(new_dir("nginx"), tls=(f"{pki}/server.pem", f"{pki}/server.key"), client_ca=f"{pki}/ca.pem")
    server.create().start()
    outbox.ca_file = f"{pki}/ca.pem"
    own_certificate(outbox, pki)
    outbox.target("with", "http", "crl", f"{server.url}/with.crl", certificate="own", webdav=True)
    outbox.target("without", "http", "crl", f"{server.url}/without.crl")
    outbox.start()
    crl = outbox.publish_crl(1)
    outbox.wait_done("with")
    outbox.wait_failed("without", "answer 403")
    assert server.read("with.crl") == crl
    os.chmod(os.path.join(outbox.credentials_dir, "own"), 0o644)
    outbox.publish_crl(2)
    outbox.wait_failed("with", "credentials/own")
    outbox.stop()
    server.stop()


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_directory_by_certificate(outbox, new_dir, pki, tls):
    """SASL EXTERNAL: the directory takes the certificate's subject for who writes."""
    server = Slapd(new_dir("slapd"), tls=(f"{pki}/server.pem", f"{pki}/server.key"),
                   more=f"TLSCACertificateFile {pki}/ca.pem\nTLSVerifyClient try\n")
    server.create().start()
    outbox.ca_file = f"{pki}/ca.pem"
    own_certificate(outbox, pki)
    base = server.url if tls == "starttls" else server.tls_url
    url = f"{base}/cn=external,{server.suffix}?certificateRevocationList;binary"
    outbox.target("external", "ldap", "crl", url, url.replace(server.tls_url, server.url), certificate="own", tls=tls)
    outbox.target("clear", "ldap", "crl", f"{server.url}/cn=c,{server.suffix}", certificate="own")
    outbox.start()
    crl = outbox.publish_crl(1)
    outbox.wait_done("external")
    assert server.read(f"cn=external,{server.suffix}", "certificateRevocationList") == [crl]
    outbox.wait_failed("clear", "shown in TLS only")
    outbox.stop()
    server.stop()


# ----------------------------------------------------------------------- files


def test_mode_and_group_of_a_file(outbox, work_dir):
    """In the courier's sandbox, whoever started it: only a group of the user's own."""
    group = grp.getgrgid((os.getgroups() or [os.getgid()])[-1])
    other = next(g for g in grp.getgrall() if g.gr_gid not in {os.getgid(), *os.getgroups()})
    outbox.target("own", "file", "crl", f"{work_dir}/own.crl", f"file://{work_dir}/own.crl", mode="0640",
                  group=group.gr_name)
    outbox.target("nobody", "file", "crl", f"{work_dir}/nobody.crl", f"file://{work_dir}/nobody.crl",
                  group="no-such-group")
    outbox.target("others", "file", "crl", f"{work_dir}/others.crl", f"file://{work_dir}/others.crl",
                  group=other.gr_name)
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_done("own")
    found = os.stat(f"{work_dir}/own.crl")
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o640, os.getuid(), group.gr_gid)
    outbox.wait_failed("nobody", "there is no group 'no-such-group'")
    outbox.wait_failed("others", f"cannot be given to the group '{other.gr_name}'")
    assert os.listdir(work_dir) == ["own.crl"]
    outbox.stop()


# ------------------------------------------------------------------- Kerberos


@pytest.fixture(scope="module")
def kdc(new_dir):
    server = Kdc(new_dir("kdc")).create().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def kerberos_directory(kdc, pki, new_dir):
    """A slapd that lets only one principal write, and takes no password for it."""
    directory = new_dir("slapd")
    kdc.keytab("ldap/127.0.0.1", f"{directory}/keytab")
    server = Slapd(directory, tls=(f"{pki}/server.pem", f"{pki}/server.key"),
                   env={**kdc.env, "KRB5_KTNAME": f"FILE:{directory}/keytab", "KRB5RCACHETYPE": "none"},
                   more=f"sasl-host 127.0.0.1\nsasl-realm {REALM}\n"
                        "authz-regexp ^uid=publisher/([^,]*),.*cn=gssapi,cn=auth$ cn=publisher\n")
    yield server.create().start()
    server.stop()


def by_ticket(outbox, kdc, pki, principal):
    outbox.ca_file = f"{pki}/ca.pem"
    outbox.krb5_config = kdc.config
    keytab = os.path.join(outbox.credentials_dir, "keytab")
    kdc.keytab(principal, keytab)
    return keytab


@pytest.mark.parametrize("tls", ["none", "starttls", "ldaps"])
def test_directory_by_kerberos(outbox, kdc, kerberos_directory, pki, tls):
    """SASL GSSAPI with a keytab; nothing that the operator has about Kerberos counts."""
    server = kerberos_directory
    by_ticket(outbox, kdc, pki, f"publisher/{tls}")
    outbox.environment = {"KRB5_CONFIG": "/nonexistent", "KRB5CCNAME": "FILE:/nonexistent/cc",
                          "KRB5_CLIENT_KTNAME": "/nonexistent/keytab", "SASL_PATH": "/nonexistent"}
    dn = f"cn=kerberos {tls},{server.suffix}"
    url = f"/{dn.replace(' ', '%20')}?certificateRevocationList;binary"
    outbox.target("kerberos", "ldap", "crl", (server.tls_url if tls == "ldaps" else server.url) + url,
                  server.url + url, auth="gssapi", credential="keytab", tls=tls)
    outbox.start()
    for number in (1, 2):
        crl = outbox.publish_crl(number)
        outbox.wait_done("kerberos")
    assert server.read(dn, "certificateRevocationList") == [crl]
    outbox.stop()


def test_kerberos_by_a_cache_of_tickets(outbox, kdc, kerberos_directory, pki):
    server = kerberos_directory
    keytab = by_ticket(outbox, kdc, pki, "publisher/cached")
    kdc.tickets("publisher/cached", keytab, os.path.join(outbox.credentials_dir, "tickets"))
    url = f"{server.url}/cn=cached,{server.suffix}?certificateRevocationList;binary"
    outbox.target("cached", "ldap", "crl", url, auth="gssapi", credential="tickets")
    outbox.start()
    crl = outbox.publish_crl(1)
    outbox.wait_done("cached")
    assert server.read(f"cn=cached,{server.suffix}", "certificateRevocationList") == [crl]
    outbox.stop()


def test_kerberos_that_fails_says_why(outbox, kdc, kerberos_directory, pki, new_dir):
    server = kerberos_directory
    by_ticket(outbox, kdc, pki, "somebody/else")
    outbox.credential("text", "no keytab")
    shutil.copy(os.path.join(outbox.credentials_dir, "keytab"), os.path.join(outbox.credentials_dir, "open"))
    os.chmod(os.path.join(outbox.credentials_dir, "open"), 0o644)
    # Of a realm that made its keys anew meanwhile.
    other = Kdc(new_dir("kdc")).create()
    other.keytab("publisher/old", os.path.join(outbox.credentials_dir, "old"))
    plain = Slapd(new_dir("slapd")).create().start()
    url = f"{server.url}/cn=refused,{server.suffix}?certificateRevocationList;binary"
    for name, where, credential in (("rights", url, "keytab"), ("text", url, "text"), ("open", url, "open"),
                                    ("old", url, "old"), ("plain", url.replace(server.url, plain.url), "keytab")):
        outbox.target(name, "ldap", "crl", where, f"{url}?{name}", auth="gssapi", credential=credential)
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_failed("rights", "give bind_dn the right to write")
    outbox.wait_failed("text", "neither a keytab nor a cache of tickets")
    outbox.wait_failed("open", "credentials/open")
    outbox.wait_failed("old", "publisher/old@")
    outbox.wait_failed("plain", "binding with a Kerberos ticket")
    outbox.stop()
    plain.stop()


# ----------------------------------------------------------- Active Directory


def test_active_directory(outbox, new_dir):
    directory = new_dir("slapd")
    server = Slapd(directory, core=ad_schema(directory)).create().start()
    outbox.credential("directory", server.password)
    options = {"bind_dn": server.root_dn, "credential": "directory", "schema": "ad"}
    certificate = outbox.issuer.certificate(1)
    for name, artifact, entry, attribute in (
            ("ca", "ca-certificate", "cn=aia", "cACertificate"), ("crl", "crl", "cn=cdp", "certificateRevocationList"),
            ("delta", "delta-crl", "cn=cdp", "deltaRevocationList")):
        outbox.target(name, "ldap", artifact, f"{server.url}/{entry},{server.suffix}?{attribute}?base?objectClass=*",
                      **options)
    outbox.start()
    outbox.publish(outbox.artifact("ca-certificate", 0, certificate, scoped=False))
    crl = outbox.publish_crl(7)
    delta = outbox.publish_crl(8, "delta-crl")
    outbox.wait_done("ca", "crl", "delta")
    aia, cdp = f"cn=aia,{server.suffix}", f"cn=cdp,{server.suffix}"
    assert server.read(aia, "objectClass") == [b"certificationAuthority"]
    assert server.read(aia, "cACertificate") == [certificate]
    assert server.read(aia, "certificateRevocationList") == [b"\0"]
    assert server.read(cdp, "objectClass") == [b"cRLDistributionPoint"]
    assert server.read(cdp, "certificateRevocationList") == [crl]
    assert server.read(cdp, "deltaRevocationList") == [delta]
    outbox.stop()
    server.stop()


# ----------------------------------------------------------------------- SFTP


@pytest.fixture(scope="module")
def sshd(new_dir):
    server = Sshd(new_dir("sshd")).create().start()
    yield server
    server.stop()


def test_sftp(outbox, sshd):
    outbox.known_key()
    with open(sshd.client_key, encoding="ascii") as f:
        outbox.credential("ssh", f.read().rstrip("\n"))
    read = f"file://{sshd.root}"
    options = {"user": sshd.user, "host_key": sshd.host_key, "credential": "ssh"}
    outbox.target("sftp", "sftp", "crl", sshd.url("demo%20one.crl"), f"{read}/demo%20one.crl", **options)
    outbox.target("stranger", "sftp", "crl", sshd.url("a.crl"), f"{read}/a.crl", **{**options, "host_key": "A" * 43})
    outbox.target("folder", "sftp", "crl", sshd.url("none/a.crl"), f"{read}/none/a.crl", **options)
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_done("sftp")
    second = outbox.publish_crl(2)
    outbox.wait_done("sftp")
    with open(f"{sshd.root}/demo one.crl", "rb") as f:
        assert f.read() == second
    assert os.stat(f.name).st_mode & 0o7777 == 0o644
    assert os.listdir(sshd.root) == ["demo one.crl"]
    outbox.wait_failed("stranger", "fingerprint")
    assert "No such file" in outbox.wait_failed("folder", "SFTP to")
    newer = outbox.issuer.crl(9)
    with open(f.name, "wb") as f:
        f.write(newer)
    outbox.publish_crl(3)
    outbox.wait_failed("sftp", "number 9")
    with open(f.name, "rb") as f:
        assert f.read() == newer
    outbox.stop()


@pytest.fixture
def sshd_by_password(new_dir):
    server = Sshd(new_dir("sshd"), password="correct horse: battery").create().start()
    yield server
    server.stop()


def test_sftp_by_password(outbox, sshd_by_password):
    server = sshd_by_password
    outbox.credential("right", server.password)
    outbox.credential("wrong", "another")
    options = {"user": server.user, "host_key": server.host_key, "auth": "password"}
    for name in ("right", "wrong"):
        outbox.target(name, "sftp", "crl", server.url(f"{name}.crl"), f"file://{server.root}/{name}.crl", credential=name, **options)
    outbox.start()
    crl = outbox.publish_crl(1)
    outbox.wait_done("right")
    with open(f"{server.root}/right.crl", "rb") as f:
        assert f.read() == crl
    outbox.wait_failed("wrong", "SFTP to")
    assert os.listdir(server.root) == ["right.crl"]
    outbox.stop()
    assert server.password not in outbox.process.log()


# ------------------------------------------------------------------- programs


def test_a_program(new_outbox, work_dir):
    outbox = new_outbox(attempt_s=5)
    outbox.known_key()
    os.chmod(work_dir, 0o755)
    target = f"{work_dir}/program.crl"
    read = f"file://{target}"
    outbox.command("copy", f'echo "$@" >{work_dir}/words; cat >{target}')
    outbox.command("fails", "cat >/dev/null; echo the other side is away >&2; exit 3")
    outbox.command("hangs", f"echo $$ >{work_dir}/pid; exec sleep 600")
    outbox.command("deaf", "exit 0")
    outbox.command("open", "exit 0", mode=0o777)
    for name in ("copy", "fails", "hangs", "deaf", "open", "missing"):
        outbox.target(name, "command", "crl", name, read)
    outbox.target("outside", "command", "crl", "../copy", read)
    outbox.start()
    big = outbox.issuer.crl(1, entries=4000)  # more than a pipe holds
    outbox.publish(outbox.artifact("crl", 1, big))
    outbox.wait_done("copy", "deaf")
    with open(target, "rb") as f:
        assert f.read() == big
    with open(f"{work_dir}/words", encoding="utf-8") as f:
        assert f.read().split() == ["demo/copy", "crl", str(len(big)), hashlib.sha256(big).hexdigest(), read]
    assert "status 3: the other side is away" in outbox.wait_failed("fails", "fails ended")
    outbox.wait_failed("open", "can be changed by others")
    outbox.wait_failed("missing", "No such file")
    outbox.wait_failed("outside", "no plain file name")
    outbox.wait_failed("hangs", "did not end in time")
    with open(f"{work_dir}/pid", encoding="ascii") as f:
        pid = int(f.read())
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the program's end")
    outbox.kill()


def test_a_program_in_the_issuers_sandbox(bare_instance, new_dir, work_dir):
    outbox = Outbox(bare_instance.database, new_dir("o"), None)
    bare_instance.config["issuer"]["commands_dir"] = outbox.commands_dir
    target = f"{work_dir}/sandboxed.crl"
    outbox.command("copy", f"cat >{target}.new && sed -n q {target}.new && mv {target}.new {target}")
    outbox.command("astray", f"echo x >{outbox.directory}/astray && cat >/dev/null")
    outbox.target("copy", "command", "crl", "copy", f"file://{target}")
    outbox.target("astray", "command", "crl", "astray", f"file://{target}")
    bare_instance.config["issuer"]["publish_dirs"] = [work_dir]
    bare_instance.write_config()
    bare_instance.start()
    outbox.process = bare_instance.process
    crl = outbox.publish_crl(1)
    outbox.wait_done("copy")
    with open(target, "rb") as f:
        assert f.read() == crl
    if separation.landlock_version():
        outbox.wait_failed("astray", "ermission denied")


# --------------------------------------------------------------------- memory


def long_crl(issuer, number, entries):
    """A CRL too long for other tools to make: its DER put together here."""
    def der(tag, content):
        n = len(content)
        length = bytes([n]) if n < 128 else bytes([0x80 | (n.bit_length() + 7) // 8]) + n.to_bytes((n.bit_length() + 7) // 8, "big")
        return bytes([tag]) + length + content

    small = issuer.crl(number, entries=1)
    parsed = x509.load_der_x509_crl(small)
    outer = small[4:] if small[1] == 0x82 else small[3:]
    tbs = parsed.tbs_certlist_bytes
    entry = parsed[0]
    mark = der(0x02, entry.serial_number.to_bytes(1, "big"))
    at = tbs.index(mark + b"\x17") - 2  # its SEQUENCE
    one = tbs[at:at + 2 + tbs[at + 1]]
    date = one[2 + len(mark):]
    listed = tbs[at - 2:at + len(one)]  # revokedCertificates
    algorithm = outer[len(tbs):]
    algorithm = algorithm[:2 + algorithm[1]]
    begin = bytes([0x30, 18 + len(date), 0x02, 16, 0x40])
    revoked = b"".join([begin + i.to_bytes(15, "big") + date for i in range(entries)])
    content = tbs[tbs.index(b"\x02\x01\x01"):].replace(listed, der(0x30, revoked), 1)
    tbs = der(0x30, content)
    signature = issuer.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return der(0x30, tbs + algorithm + der(0x03, b"\0" + signature))


def peak_kib(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmHWM:\s+(\d+)", f.read())[1])
    except (FileNotFoundError, ProcessLookupError, TypeError):
        return 0


@pytest.mark.skipif(sanitized(), reason="a sanitizer's memory is another matter")
def test_a_long_crl_in_flat_memory(outbox, nginx, work_dir):
    outbox.known_key()
    os.chmod(work_dir, 0o755)
    outbox.target("file", "file", "crl", f"{work_dir}/long.crl", f"file://{work_dir}/long.crl")
    outbox.target("put", "http", "crl", f"{nginx.url}/long.crl", webdav=True)
    with open(f"{work_dir}/long.crl", "wb") as f:
        f.write(long_crl(outbox.issuer, 1, 400_000))  # read before it is replaced
    crl = long_crl(outbox.issuer, 2, 400_000)
    assert x509.load_der_x509_crl(crl[:]).is_signature_valid(outbox.issuer.key.public_key())
    assert len(crl) > 13 << 20
    made = outbox.artifact("crl", 2, crl)
    outbox.start()
    before = peak_kib(outbox.process.pid)
    peaks = {}
    outbox.publish(made)

    def done():
        for pid in outbox.couriers():
            peaks[pid] = max(peaks.get(pid, 0), peak_kib(pid))
        return all(outbox.row(t)["state"] == "done" for t in ("file", "put"))

    wait_until(done, what="publication")
    with open(f"{work_dir}/long.crl", "rb") as f:
        assert f.read() == crl
    assert nginx.read("long.crl") == crl
    grown = peak_kib(outbox.process.pid) - before
    print(f"couriers {sorted(peaks.values())} KiB, outbox {before} + {grown} KiB, CRL {len(crl) >> 10} KiB")
    assert peaks and max(peaks.values()) < 20 << 10 and grown < 10 << 10
    outbox.stop()


# ------------------------------------------------------------- from the policy


def test_a_policy_says_all_that_a_target_needs(shared_instance, sshd):
    """From the policy's words to what couriers are told."""
    a = shared_instance
    read = "http://127.0.0.1:9/x.crl"
    fingerprint = f"SHA256:{sshd.host_key}"
    a.create_issuing("told", targets=[
        {"name": "s3", "artifact": "crl", "kind": "http", "write": "https://s3.example/b/x.crl", "read": read + "1",
         "credential": "c1", "auth": "aws-sigv4", "region": "eu-central-1"},
        {"name": "tls", "artifact": "crl", "kind": "http", "write": "https://web.example/x.crl", "read": read + "2",
         "certificate": "c2", "webdav": True},
        {"name": "ad", "artifact": "crl", "kind": "ldap", "read": read + "3", "certificate": "c3", "tls": "ldaps",
         "write": "ldap://ad.example/CN=told,CN=CDP?certificateRevocationList?base?objectClass=*", "schema": "ad"},
        {"name": "dir", "artifact": "crl", "kind": "file", "write": "/srv/told.crl", "read": read + "7", "mode": "0640",
         "group": "www-data"},
        {"name": "krb", "artifact": "crl", "kind": "ldap", "read": read + "6", "credential": "c5", "auth": "gssapi",
         "write": "ldap://ds.example/CN=told,CN=CDP?certificateRevocationList;binary"},
        {"name": "sftp", "artifact": "crl", "kind": "sftp", "write": sshd.url("told.crl"), "read": read + "4",
         "user": sshd.user, "host_key": fingerprint, "credential": "c4"},
        {"name": "sync", "artifact": "crl", "kind": "command", "write": "sync-crl", "read": read + "5"}])
    rows = a.database.execute("SELECT t.name, t.kind, t.options FROM chancery_store.target t JOIN chancery_store.ca ON "
                              "ca.id = t.ca_id WHERE ca.name = 'told'")
    assert {name: (kind, options) for name, kind, options in rows} == {
        "s3": ("http", {"credential": "c1", "auth": "aws-sigv4", "region": "eu-central-1"}),
        "tls": ("http", {"certificate": "c2", "webdav": True}),
        "ad": ("ldap", {"certificate": "c3", "tls": "ldaps", "schema": "ad"}),
        "dir": ("file", {"mode": "0640", "group": "www-data"}),
        "krb": ("ldap", {"credential": "c5", "auth": "gssapi", "tls": "none", "schema": "rfc4523"}),
        "sftp": ("sftp", {"credential": "c4", "auth": "key", "user": sshd.user, "host_key": sshd.host_key}),
        "sync": ("command", {})}
    wait_until(lambda: "sync-crl" in a.cli("--json", "publish", "status", "told"), what="its first CRL")
