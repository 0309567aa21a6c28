"""The outbox on real targets: files, a web server, a directory server."""

import base64
import copy
import ctypes
import datetime
import hashlib
import os
import re
import signal
import subprocess
import threading
import urllib.parse

import psycopg2
import pytest

from harness.nginx import Nginx
from harness.outbox import Issuer, Outbox
from harness.process import PATIENCE_S, has_ended, run, wait_until
from harness.slapd import Slapd

PIDFD_GETFD = 438  # on every machine


@pytest.fixture
def directory(new_dir):
    """A directory server of the test's own, which it may stop."""
    server = Slapd(new_dir("slapd")).create().start()
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.stop()


@pytest.fixture(scope="session")
def tls(new_dir):
    """(CA certificate, server certificate for 127.0.0.1, its key), as files."""
    d = new_dir("tls")
    ca, key, crt = (os.path.join(d, n) for n in ("ca.pem", "server.key", "server.pem"))
    run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=Test TLS CA", "-keyout", os.path.join(d, "ca.key"), "-out", ca])
    run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", crt + ".csr"])
    run(["openssl", "x509", "-req", "-in", crt + ".csr", "-CA", ca, "-CAkey", os.path.join(d, "ca.key"),
         "-days", "2", "-copy_extensions", "copy", "-out", crt])
    return ca, crt, key


def ldap_url(server, name, attribute="certificateRevocationList;binary", base=None):
    return f"{base or server.url}/{name},{server.suffix}?{attribute}"


def ldap_target(outbox, server, name, artifact="crl", entry="cn=demo", attribute="certificateRevocationList;binary",
                **options):
    outbox.credential("directory", server.password)
    options = {"bind_dn": server.root_dn, "credential": "directory", **options}
    outbox.target(name, "ldap", artifact, ldap_url(server, entry, attribute), **options)


# ------------------------------------------------------------- all goes well


@pytest.mark.smoke
def test_every_kind_of_target(outbox, nginx, slapd, work_dir):
    entry = "cn=every"
    os.chmod(work_dir, 0o755)
    outbox.target("file", "file", "crl", f"{work_dir}/demo.crl", f"file://{work_dir}/demo.crl")
    outbox.target("put", "http", "crl", f"{nginx.url}/put/demo.crl")
    outbox.target("move", "http", "crl", f"{nginx.url}/moved.crl", webdav=True)
    ldap_target(outbox, slapd, "ldap", entry=entry)
    ldap_target(outbox, slapd, "ldap-delta", "delta-crl", entry, "deltaRevocationList;binary")
    ldap_target(outbox, slapd, "ldap-ca", "ca-certificate", "cn=every-ca", "cACertificate;binary")
    outbox.target("ca-file", "file", "ca-certificate", f"{work_dir}/demo.cer", f"file://{work_dir}/demo.cer")
    outbox.start()
    crl = outbox.publish_crl(7)
    delta = outbox.publish_crl(8, "delta-crl")
    certificate = outbox.issuer.certificate(1)
    outbox.publish(outbox.artifact("ca-certificate", 0, certificate, scoped=False, ends="30 days"))
    names = ("file", "put", "move", "ldap", "ldap-delta", "ldap-ca", "ca-file")
    outbox.wait_done(*names)
    with open(f"{work_dir}/demo.crl", "rb") as f:
        assert f.read() == crl
    assert os.stat(f"{work_dir}/demo.crl").st_mode & 0o7777 == 0o644
    assert sorted(os.listdir(work_dir)) == ["demo.cer", "demo.crl"]
    assert nginx.read("put/demo.crl") == crl
    assert nginx.read("moved.crl") == crl
    assert not [n for n in os.listdir(nginx.root) if "part" in n]
    assert slapd.read(f"{entry},{slapd.suffix}", "certificateRevocationList;binary") == [crl]
    assert slapd.read(f"{entry},{slapd.suffix}", "deltaRevocationList;binary") == [delta]
    assert slapd.read(f"cn=every-ca,{slapd.suffix}", "cACertificate;binary") == [certificate]
    for name in names:
        assert outbox.attempts(name) == [("done", None)], name
    assert outbox.one("SELECT count(*) FROM audit WHERE action = 'artifact.published'") == len(names)
    # The successor takes the place of its predecessor.
    second = outbox.publish_crl(9)
    outbox.wait_done("file", "put", "move", "ldap")
    assert nginx.read("moved.crl") == second
    assert slapd.read(f"{entry},{slapd.suffix}", "certificateRevocationList;binary") == [second]
    outbox.stop()


def test_artifact_of_many_chunks(outbox, nginx, work_dir):
    data = os.urandom(5 * (1 << 20) + 4321)
    outbox.target("file", "file", "crl", f"{work_dir}/big", f"file://{work_dir}/big")
    outbox.target("put", "http", "crl", f"{nginx.url}/big", webdav=True)
    outbox.start()
    outbox.publish(outbox.artifact("crl", 1, data))
    outbox.wait_done("file", "put")
    with open(f"{work_dir}/big", "rb") as f:
        assert f.read() == data
    assert nginx.read("big") == data
    outbox.stop()


def test_ca_certificates_stay_together(outbox, slapd):
    """Every unexpired certificate of the CA stays in the entry, an ended one goes."""
    now = outbox.issuer.now
    ends = [now + datetime.timedelta(days=d) for d in (-1, 5, 30)]
    certificates = [outbox.issuer.certificate(i + 1, ends=e) for i, e in enumerate(ends)]
    for index, der in enumerate(certificates):
        outbox.generation(index, der, ends[index].isoformat() + "Z")
    dn = f"cn=together,{slapd.suffix}"
    with slapd.connect() as connection:  # somebody's entry, which holds no certificates yet
        assert connection.add(dn, ["applicationProcess"], {"cn": "together"})
    ldap_target(outbox, slapd, "ldap", "ca-certificate", "cn=together", "cACertificate")
    outbox.start()
    outbox.publish(outbox.artifact("ca-certificate", 2, certificates[2], scoped=False, ends="30 days"))
    outbox.wait_done("ldap")
    assert sorted(slapd.read(dn, "cACertificate")) == sorted(certificates[1:])
    assert b"pkiCA" in slapd.read(dn, "objectClass")


def test_delta_in_entry_of_another_class(outbox, slapd):
    dn = f"ou=delta,{slapd.suffix}"
    with slapd.connect() as connection:
        assert connection.add(dn, ["organizationalUnit", "pkiCA"], {"ou": "delta"})
    ldap_target(outbox, slapd, "ldap", "delta-crl", "ou=delta", "deltaRevocationList")
    outbox.start()
    delta = outbox.publish_crl(3, "delta-crl")
    outbox.wait_done("ldap")
    assert slapd.read(dn, "deltaRevocationList") == [delta]
    assert b"deltaCRL" in slapd.read(dn, "objectClass")


# ------------------------------------------------------------ and when it does not


@pytest.mark.parametrize("options", [{}, {"tls": "starttls"}], ids=["plain", "starttls"])
def test_stalled_directory_delays_nothing(new_outbox, new_dir, tls, nginx, options):
    outbox = new_outbox(attempt_s=8)
    outbox.ca_file = tls[0]
    server = Slapd(new_dir("slapd"), tls=tls[1:]).create().start()
    ldap_target(outbox, server, "ldap", **options)
    outbox.target("put", "http", "crl", f"{nginx.url}/demo.crl")
    outbox.start()
    server.process.send_signal(signal.SIGSTOP)
    try:
        outbox.publish_crl(1)
        outbox.wait_done("put")
        assert outbox.row("ldap")["state"] == "working"
        outbox.publish_crl(2)
        outbox.wait_done("put")
        # All that while the one attempt lasted, which then ends by itself.
        assert outbox.attempts("ldap") == [] and len(outbox.couriers()) == 1
        wait_until(lambda: outbox.attempts("ldap"), what="the end of the attempt")
        assert outbox.attempts("ldap")[0][0] == "failed"
    finally:
        server.process.send_signal(signal.SIGCONT)
    outbox.wait_done("ldap")
    assert server.read(f"cn=demo,{server.suffix}", "certificateRevocationList") == [nginx.read("demo.crl")]
    outbox.stop()
    server.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="looks into processes, which needs root")
def test_couriers_share_no_open_file(outbox, directory):
    """Offset and flags of an open file are whose process has it, and some have other users."""
    spool = os.path.join(os.path.realpath(outbox.state_dir), "spool")

    def artifact(pid):
        for n in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{n}").startswith(spool):
                return int(n)
        return None

    for name in ("one", "two"):
        ldap_target(outbox, directory, name, entry=f"cn={name}")
    outbox.start()
    directory.process.send_signal(signal.SIGSTOP)
    outbox.publish_crl(1)
    pids = wait_until(lambda: (p := outbox.couriers()) and len(p) == 2 and all(artifact(n) for n in p) and p, what="both")
    taken = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, os.pidfd_open(pids[0]), artifact(pids[0]), 0)
    assert taken >= 0, os.strerror(ctypes.get_errno())
    os.lseek(taken, 1, os.SEEK_SET)
    os.close(taken)
    at = []
    for pid in pids:
        with open(f"/proc/{pid}/fdinfo/{artifact(pid)}", encoding="ascii") as f:
            at.append(f.readline().split())
    assert at == [["pos:", "1"], ["pos:", "0"]]
    directory.process.send_signal(signal.SIGCONT)
    for name in ("one", "two"):
        outbox.wait_done(name)


def test_dead_directory_is_tried_again(outbox, directory, nginx):
    directory.stop()
    ldap_target(outbox, directory, "ldap")
    outbox.target("put", "http", "crl", f"{nginx.url}/demo.crl")
    outbox.start()
    crl = outbox.publish_crl(1)
    outbox.wait_done("put")
    wait_until(lambda: len(outbox.attempts("ldap")) >= 2, what="a second attempt")
    assert "Can't contact LDAP server" in outbox.attempts("ldap")[0][1]
    assert outbox.row("ldap")["last_error"] == outbox.attempts("ldap")[0][1]
    directory.start()
    outbox.wait_done("ldap")
    assert directory.read(f"cn=demo,{directory.suffix}", "certificateRevocationList") == [crl]
    outbox.stop()


def test_wrong_password(outbox, slapd):
    ldap_target(outbox, slapd, "ldap", entry="cn=password")
    outbox.credential("directory", "wrong")
    outbox.start()
    outbox.publish_crl(1)
    error = outbox.wait_failed("ldap", "Invalid credentials")
    assert "bind_dn" in error and "wrong" not in error
    outbox.credential("directory", slapd.password)
    outbox.wait_done("ldap")
    outbox.stop()
    assert slapd.password not in outbox.process.log()


def test_credential_must_be_private(outbox, slapd):
    ldap_target(outbox, slapd, "ldap", entry="cn=private")
    outbox.credential("directory", slapd.password, 0o644)
    outbox.start()
    outbox.publish_crl(1)
    assert slapd.password not in outbox.wait_failed("ldap", "credentials/directory")


def test_a_password_that_would_be_read_or_missed(outbox, slapd):
    """Over a wire without TLS it is not sent, and without one nobody is bound as anybody (RFC 4513 5.1.2)."""
    ldap_target(outbox, slapd, "name")
    far = "ldap://192.0.2.1/cn=x,o=example?certificateRevocationList"
    outbox.target("clear", "ldap", "crl", far, bind_dn=slapd.root_dn, credential="directory")
    outbox.target("half", "ldap", "crl", ldap_url(slapd, "cn=half"), bind_dn=slapd.root_dn)
    outbox.target("other", "ldap", "crl", ldap_url(slapd, "cn=half"), credential="directory")
    outbox.start()
    outbox.publish_crl(1)
    assert "starttls or ldaps" in outbox.wait_failed("clear", "would send its password in the clear to")
    for name in ("half", "other"):
        outbox.wait_failed(name, "needs bind_dn and credential together")
    outbox.wait_done("name")
    assert slapd.read(f"cn=half,{slapd.suffix}", "certificateRevocationList") == []
    outbox.stop()


def test_what_a_directory_refuses(outbox, slapd):
    """Junk instead of a CRL; an entry whose parent is missing; a name that is
    not ours to make."""
    ldap_target(outbox, slapd, "junk", "delta-crl", "cn=junk", "deltaRevocationList")
    ldap_target(outbox, slapd, "orphan", entry="cn=x,ou=missing")
    ldap_target(outbox, slapd, "name", entry="uid=x")
    outbox.start()
    outbox.publish(outbox.artifact("delta-crl", 1, b"no CRL at all"))
    outbox.publish_crl(2)
    assert "Invalid syntax" in outbox.wait_failed("junk", "cn=junk")
    outbox.wait_failed("orphan", "entry above it does not exist")
    outbox.wait_failed("name", "only entries named by one cn, ou or o")


def test_clients_get_something_else(outbox, web):
    """Written well, but the address that clients use shows another file."""
    outbox.target("put", "http", "crl", f"{web.url}/in/demo.crl", f"{web.url}/out/demo.crl")
    web.files["/out/demo.crl"] = b"an old one"
    outbox.start()
    crl = outbox.publish_crl(1)
    error = outbox.wait_failed("put", "gives clients something else")
    assert "(10 octets" in error
    assert outbox.row("put")["state"] != "done"
    web.files["/out/demo.crl"] = crl
    written = len([s for s in web.seen if s[0] == "PUT"])
    outbox.retry("put")
    outbox.wait_done("put")
    assert len([s for s in web.seen if s[0] == "PUT"]) <= written + 1


def test_newer_one_of_ours_stands_there(outbox, web):
    outbox.target("put", "http", "crl", f"{web.url}/in", f"{web.url}/out")
    newer = outbox.issuer.crl(6)
    web.files["/out"] = newer
    newer_id = outbox.artifact("crl", 6, newer)
    outbox.start()
    outbox.publish_crl(5)
    outbox.wait_done("put")
    assert outbox.attempts("put") == [("superseded", None)]
    assert outbox.row("put")["published_id"] == newer_id


def test_older_one_of_ours_does_not_count(outbox, web):
    outbox.target("put", "http", "crl", f"{web.url}/in", f"{web.url}/out")
    older = outbox.issuer.crl(4)
    web.files["/out"] = older
    outbox.artifact("crl", 4, older)
    outbox.start()
    outbox.publish_crl(5)
    outbox.wait_failed("put", "something else")


def test_redirect_is_refused(outbox, web):
    web.answers[("PUT", "/a")] = 302
    web.answers[("GET", "/b")] = 301
    outbox.target("write", "http", "crl", f"{web.url}/a")
    outbox.target("read", "http", "crl", f"{web.url}/in", f"{web.url}/b")
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_failed("write", "redirects are not followed")
    outbox.wait_failed("read", "redirects are not followed")
    assert not [s for s in web.seen if s[1] == "/elsewhere"]


def test_web_server_refuses(outbox, nginx, web):
    outbox.target("forbidden", "http", "crl", f"{nginx.url}/forbidden/demo.crl")
    outbox.target("method", "http", "crl", f"{web.url}/x.crl", webdav=True)
    web.answers[("PUT", "/full")] = 507
    outbox.target("full", "http", "crl", f"{web.url}/full")
    crl = outbox.issuer.crl(1)
    part = f"/.x.crl.{hashlib.sha256(crl).hexdigest()[:16]}.part"
    web.answers[("MOVE", part)] = 405
    outbox.start()
    outbox.publish(outbox.artifact("crl", 1, crl))
    outbox.wait_failed("forbidden", "answer 403")
    outbox.wait_failed("method", "does not take this method")
    outbox.wait_failed("full", "no room left")
    assert ("DELETE", part) in [s[:2] for s in web.seen]


def test_web_credentials(outbox, web):
    def wants(header):
        return lambda handler: None if handler.headers.get("Authorization") == header else 401

    outbox.credential("basic", "publisher:p:ass")
    outbox.credential("bearer", "tok-en")
    web.answers[("PUT", "/basic")] = wants("Basic " + base64.b64encode(b"publisher:p:ass").decode())
    web.answers[("PUT", "/bearer")] = wants("Bearer tok-en")
    web.answers[("PUT", "/without")] = wants("Bearer tok-en")
    outbox.target("basic", "http", "crl", f"{web.url}/basic", credential="basic")
    outbox.target("bearer", "http", "crl", f"{web.url}/bearer", credential="bearer", auth="bearer")
    outbox.target("without", "http", "crl", f"{web.url}/without")
    outbox.target("clear", "http", "crl", "http://192.0.2.1/x", credential="basic")
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_done("basic", "bearer")
    outbox.wait_failed("without", "answer 401")
    outbox.wait_failed("clear", "in the clear")
    assert not [s for s in web.seen if s[0] == "GET" and "Authorization" in s[2]]


def test_tls_is_verified(new_outbox, new_dir, tls):
    server = Nginx(new_dir("nginx"), tls=tls[1:]).create().start()
    ldap = Slapd(new_dir("slapd"), tls=tls[1:]).create().start()
    outbox = new_outbox()
    outbox.ca_file = tls[0]
    outbox.target("https", "http", "crl", f"{server.url}/demo.crl", webdav=True)
    ldap_target(outbox, ldap, "starttls", tls="starttls")
    outbox.target("ldaps", "ldap", "crl", ldap_url(ldap, "cn=tls", base=ldap.tls_url), bind_dn=ldap.root_dn,
                  credential="directory")
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_done("https", "starttls", "ldaps")
    outbox.stop()
    # The same servers, and nobody vouches for them.
    outbox.ca_file = "/etc/ssl/certs/ca-certificates.crt"
    outbox.start()
    outbox.publish_crl(2)
    for target, word in (("https", "certificate"), ("starttls", "StartTLS"), ("ldaps", "certificate")):
        outbox.wait_failed(target, word)
    outbox.stop()
    server.stop()
    ldap.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_full_disk_for_published_files(outbox, work_dir):
    small = f"{work_dir}/small"
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        outbox.target("file", "file", "crl", f"{small}/demo.crl", f"file://{small}/demo.crl")
        outbox.start()
        first = outbox.publish_crl(1)
        outbox.wait_done("file")
        big = outbox.issuer.crl(2, entries=4000)
        assert len(big) > 65536
        outbox.publish(outbox.artifact("crl", 2, big))
        assert "until then the old file stays" in outbox.wait_failed("file", "no room")
        with open(f"{small}/demo.crl", "rb") as f:
            assert f.read() == first
        assert os.listdir(small) == ["demo.crl"]
        run(["mount", "-o", "remount,size=1m", small])
        outbox.wait_done("file")
        with open(f"{small}/demo.crl", "rb") as f:
            assert f.read() == big
    finally:
        run(["umount", "-l", small])


def test_missing_folder_is_said(outbox, work_dir):
    outbox.target("file", "file", "crl", f"{work_dir}/none/demo.crl", f"file://{work_dir}/none/demo.crl")
    outbox.start()
    outbox.publish_crl(1)
    outbox.wait_failed("file", "the folder does not exist; create it")
    os.mkdir(f"{work_dir}/none")
    outbox.wait_done("file")


def test_damaged_chunks_are_not_published(outbox, nginx):
    """What the database gives must be what was signed."""
    outbox.target("put", "http", "crl", f"{nginx.url}/damaged.crl")
    made = outbox.artifact("crl", 1, outbox.issuer.crl(1))
    outbox.sql("UPDATE artifact_chunk SET data = set_byte(data, 40, get_byte(data, 40) # 1) WHERE artifact_id = %s",
               (made,))
    outbox.start()
    outbox.publish(made)
    outbox.wait_failed("put", "do not have its SHA-256")
    assert not os.path.exists(f"{nginx.root}/damaged.crl")


# ------------------------------------------------------------- who may, and what wins


def test_older_never_takes_the_place_of_newer(outbox, nginx):
    outbox.target("put", "http", "crl", f"{nginx.url}/demo.crl")
    older = outbox.artifact("crl", 9, outbox.issuer.crl(9))
    newer_data = outbox.issuer.crl(10)
    newer = outbox.artifact("crl", 10, newer_data)
    outbox.start()
    assert outbox.publish(newer) == 1
    assert outbox.publish(older) == 0
    outbox.wait_done("put")
    assert outbox.publish(older) == 0
    assert outbox.row("put")["artifact_id"] == newer
    assert nginx.read("demo.crl") == newer_data


def test_two_transactions_race_for_a_slot(outbox):
    """The older is committed last, with a snapshot from before the newer."""
    outbox.target("put", "http", "crl", "http://127.0.0.1:1/x")
    first = outbox.artifact("crl", 1, b"1")
    outbox.publish(first)
    older, newer = outbox.artifact("crl", 2, b"2"), outbox.artifact("crl", 3, b"3")
    connections = [outbox.database.connect("chancery_issuer", autocommit=False) for _ in range(2)]
    with connections[0].cursor() as a, connections[1].cursor() as b:
        b.execute("SELECT 1")
        a.execute("SELECT chancery_store.publish_artifact(%s)", (newer,))
        done = threading.Thread(target=lambda: b.execute("SELECT chancery_store.publish_artifact(%s)", (older,)))
        done.start()
        wait_until(lambda: outbox.one("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, what="the lock")
        connections[0].commit()
        done.join()
        assert b.fetchone()[0] == 0
        connections[1].commit()
    assert outbox.row("put")["artifact_id"] == newer
    for connection in connections:
        connection.close()


def claim(outbox, holder=1, limit=8, lease=30):
    return outbox.sql("SELECT publication_id, epoch, artifact_id, target FROM claim_publications(%s, %s, %s, %s, '{}')",
                      (holder, limit, limit, lease), "chancery_issuer")


def report(outbox, row, outcome="done", error=None):
    return outbox.one("SELECT outcome FROM report_publication(%s, %s, %s, %s, %s, NULL, NULL)",
                      (*row[:3], outcome, error), "chancery_issuer")


def test_only_the_holder_reports(outbox):
    outbox.target("put", "http", "crl", "http://127.0.0.1:1/x")
    outbox.publish(outbox.artifact("crl", 1, b"1"))
    first, = claim(outbox)
    assert claim(outbox, holder=2) == []
    # Its lease ends without a word.
    outbox.sql("UPDATE publication SET next_at = now(), lease_until = now()")
    second, = claim(outbox, holder=2)
    assert report(outbox, first) == "stale"
    assert outbox.row("put")["state"] == "working"
    # The first may have written after the second.
    assert report(outbox, second) == "replaced"
    third, = claim(outbox)
    assert report(outbox, third) == "done"
    assert report(outbox, third) == "stale" and claim(outbox) == []
    assert report(outbox, second, "failed", "no") == "stale"
    fourth, = claim(outbox)
    assert report(outbox, fourth) == "done" and claim(outbox) == []
    assert [o for o, _ in outbox.attempts("put")] == ["done"] * 3
    assert outbox.one("SELECT count(*) FROM audit WHERE action = 'artifact.published'") == 1


def test_an_issuer_that_comes_to_itself_too_late(outbox, new_dir, web):
    """It stood still on its way to a place that knows no conditions; another one took its work,
    and then it writes the older CRL over the newer one: not for long."""
    go = threading.Event()

    def slow(handler):
        web.answers.pop(("PUT", "/x"))
        go.wait(PATIENCE_S)

    web.answers[("PUT", "/x")] = slow
    outbox.target("x", "http", "crl", f"{web.url}/x")
    outbox.start()
    older = outbox.publish_crl(1)
    wait_until(lambda: ("PUT", "/x") not in web.answers, what="the write that takes so long")
    newer = outbox.publish_crl(2)
    other = copy.copy(outbox)
    other.directory = other.state_dir = new_dir("other")
    other.start(signer_id=2)
    outbox.sql("UPDATE publication SET lease_until = now(), next_at = now(); SELECT pg_notify('chancery_publish', '')")
    other.wait_done("x")
    assert web.files["/x"] == newer
    go.set()
    wait_until(lambda: [s[0] for s in web.seen].count("PUT") == 3, what="the repair")
    wait_until(lambda: web.files["/x"] == newer and outbox.row("x")["state"] == "done", what="its end")
    assert older != newer
    other.stop()
    outbox.stop()


def test_newer_waits_for_the_one_under_way(outbox):
    """While somebody writes the older, nobody else writes to that place."""
    outbox.target("put", "http", "crl", "http://127.0.0.1:1/x")
    outbox.publish(outbox.artifact("crl", 1, b"1"))
    held, = claim(outbox)
    newer = outbox.artifact("crl", 2, b"2")
    assert outbox.publish(newer) == 1
    assert claim(outbox, holder=2) == []
    assert report(outbox, held) == "replaced"
    again, = claim(outbox, holder=2)
    assert again[2] == newer
    assert report(outbox, again, "failed", "no") == "retry"
    assert claim(outbox) == []


@pytest.mark.parametrize("outcome", ["done", "failed"])
def test_another_certificate_of_the_entry_under_way(outbox, outcome):
    """Whoever was claimed before it was there brings the entry without it."""
    ldap = "ldap://127.0.0.1:1/cn=x?cACertificate;binary"
    outbox.target("entry", "ldap", "ca-certificate", ldap)
    outbox.publish(outbox.artifact("ca-certificate", 0, b"1", scoped=False))
    held, = claim(outbox)
    outbox.sql("SELECT ca_republish(%s)", (outbox.ca,), "chancery_issuer")
    assert claim(outbox, holder=2) == []
    assert report(outbox, held, outcome, "no") == "replaced"
    again, = claim(outbox, holder=2)
    assert again[2] == held[2] and report(outbox, again) == "done"
    assert outbox.sql("SELECT published_id, done_at IS NULL FROM publication") == [(held[2], False)]
    assert outbox.one("SELECT count(*) FROM audit WHERE action = 'artifact.published' AND object LIKE '%%/entry'") == 1
    outbox.sql("SELECT ca_republish(%s)", (outbox.ca,), "chancery_issuer")
    assert report(outbox, *claim(outbox)) == "done" and claim(outbox) == []


def test_one_claim_for_each_target(outbox):
    """Two slots of a target (two keys of a CA) are not worked on together."""
    outbox.target("put", "http", "crl", "http://127.0.0.1:1/x")
    outbox.publish(outbox.artifact("crl", 1, b"1"))
    outbox.scope = outbox.one("INSERT INTO crl_scope (ca_id, token_key_id, shard, shards, label) VALUES (%s, %s, 1, 2, '~2of2') "
                              "RETURNING id", (outbox.ca, outbox.key_id))
    outbox.publish(outbox.artifact("crl", 1, b"2"))
    first, = claim(outbox)
    assert claim(outbox, holder=2) == []
    assert report(outbox, first) == "done"
    assert len(claim(outbox, holder=2)) == 1


def test_backoff_doubles_to_ten_minutes(outbox):
    for attempts, most in ((1, 1), (2, 2), (5, 16), (10, 512), (11, 600), (1000, 600)):
        for _ in range(20):
            assert 0.75 * most <= outbox.one("SELECT publication_backoff_s(%s)", (attempts,)) <= most
    outbox.target("put", "http", "crl", "http://127.0.0.1:1/x")
    outbox.publish(outbox.artifact("crl", 1, b"1"))
    for most in (1, 2, 4, 8, 16, 32):
        outbox.sql("UPDATE publication SET next_at = now()")
        assert report(outbox, *claim(outbox), "failed", "no") == "retry"
        assert 0.75 * most <= outbox.one("SELECT extract(epoch FROM next_at - changed_at) FROM publication") <= most + 5


def test_others_may_not(outbox):
    outbox.target("put", "http", "crl", "http://127.0.0.1:1/x")
    made = outbox.artifact("crl", 1, b"1")
    functions = outbox.sql("SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.proname = ANY (%s)",
                           (["publish_artifact", "publish_newest", "claim_publications", "release_publications",
                             "next_publication_ms", "read_artifact_chunk", "report_publication",
                             "retry_publication", "publication_backoff_s", "expiring_publications",
                             "recheck_publications", "end_publications", "artifact_is_last"],))
    assert len(functions) == 13
    for role in ("chancery_front", "chancery_submitter", "chancery_auditor"):
        for (function,) in functions:
            assert not outbox.one("SELECT has_function_privilege(%s, %s, 'EXECUTE')", (role, function)), function
    for role in ("chancery_front", "service_one"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            outbox.database.execute(f"SELECT chancery_store.publish_artifact({made})", user=role)


# ------------------------------------------------------ the gate at the target


def forged(number):
    """Of the same name and another key."""
    return Issuer("Outbox CA").crl(number)


def test_a_newer_crl_at_the_target_stays(outbox, nginx, slapd, work_dir):
    """The database does not know it: it was put back, or another one works here."""
    outbox.known_key()
    newer = outbox.issuer.crl(9, entries=3000)
    dn = f"cn=gate,{slapd.suffix}"
    with slapd.connect() as connection:
        assert connection.add(dn, ["cRLDistributionPoint"],
                              {"cn": "gate", "certificateRevocationList;binary": newer})
    for path in (f"{work_dir}/gate.crl", f"{nginx.root}/gate.crl", f"{nginx.root}/gate-dav.crl"):
        with open(path, "wb") as f:
            f.write(newer)
    outbox.target("file", "file", "crl", f"{work_dir}/gate.crl", f"file://{work_dir}/gate.crl")
    outbox.target("put", "http", "crl", f"{nginx.url}/gate.crl")
    outbox.target("move", "http", "crl", f"{nginx.url}/gate-dav.crl", webdav=True)
    ldap_target(outbox, slapd, "ldap", entry="cn=gate")
    names = ("file", "put", "move", "ldap")

    def there():
        with open(f"{work_dir}/gate.crl", "rb") as f:
            return [f.read(), nginx.read("gate.crl"), nginx.read("gate-dav.crl"),
                    *slapd.read(dn, "certificateRevocationList")]

    outbox.start()
    outbox.publish_crl(5)
    for name in names:
        assert "number 9" in outbox.wait_failed(name, "it stays (RFC 5280 5.2.3)")
        assert outbox.row(name)["state"] != "done"
    assert there() == [newer] * 4
    tenth = outbox.publish_crl(10)
    outbox.wait_done(*names)
    assert there() == [tenth] * 4
    # What the database knows is superseded; it is not tried for ever.
    eleventh = outbox.issuer.crl(11)
    known = outbox.artifact("crl", 11, eleventh)
    with open(f"{nginx.root}/gate.crl", "wb") as f:
        f.write(eleventh)
    outbox.sql("UPDATE publication SET state = 'pending', next_at = now() WHERE target_id = "
               "(SELECT id FROM target WHERE name = 'put')")
    outbox.publish(outbox.artifact("crl", 10, outbox.issuer.crl(10, entries=1)))
    wait_until(lambda: outbox.row("put")["published_id"] == known, what="the newer one to count")
    outbox.stop()


def test_what_is_not_newer_or_not_ours_goes(outbox, web):
    outbox.known_key()
    other_kind = outbox.issuer.crl(60, base=59)
    web.files.update({"/forged": forged(99), "/junk": b"<html>It works!</html>", "/kind": other_kind,
                      "/cut": outbox.issuer.crl(70)[:-9], "/more": outbox.issuer.crl(80) + b"x"})
    for name in list(web.files):
        outbox.target(name[1:], "http", "crl", web.url + name)
    outbox.start()
    crl = outbox.publish_crl(5)
    outbox.wait_done("forged", "junk", "kind", "cut", "more")
    assert set(web.files.values()) == {crl}


def test_a_later_crl_of_another_scope_stays(outbox, web):
    """Numbers of two scopes do not compare; time does."""
    outbox.known_key()
    later = Issuer("Outbox CA")
    later.key, later.now = outbox.issuer.key, outbox.issuer.now + datetime.timedelta(minutes=1)
    web.files["/x"] = later.crl(2)
    outbox.target("x", "http", "crl", web.url + "/x")
    outbox.start()
    outbox.publish_crl(5)
    outbox.wait_failed("x", "it stays")
    assert not [s for s in web.seen if s[0] == "PUT"]


def test_no_crl_of_another_key_leaves(outbox, web):
    """Bytes that were put into the database by somebody else."""
    outbox.known_key()
    outbox.target("put", "http", "crl", web.url + "/x")
    outbox.start()
    outbox.publish(outbox.artifact("crl", 5, forged(5)))
    outbox.wait_failed("put", "signature")
    assert web.seen == []


def test_a_place_that_shows_nothing_is_written_in_time(new_outbox, web):
    """Whoever wants to know what stands there waits in vain, until it is written."""
    outbox = new_outbox(attempt_s=6)
    outbox.known_key()
    go, written = threading.Event(), threading.Event()
    web.answers[("GET", "/mute")] = lambda handler: None if written.is_set() else go.wait(60) and 500
    web.answers[("PUT", "/mute")] = lambda handler: written.set()
    outbox.target("mute", "http", "crl", web.url + "/mute")
    outbox.start()
    crl = outbox.publish_crl(5)
    outbox.wait_done("mute")
    assert web.files["/mute"] == crl and outbox.attempts("mute") == [("done", None)]
    go.set()


def test_a_write_counts_only_over_what_was_seen(outbox, web):
    """Another issuer writes between look and write: RFC 9110 13.1.1."""
    outbox.known_key()
    web.etags = True
    first, newer = outbox.issuer.crl(1), outbox.issuer.crl(9)

    def race(handler):
        web.answers.pop(("PUT", "/x"))
        web.files["/x"] = newer
        return 412 if handler.headers.get("If-Match") == f'"{hashlib.sha256(first).hexdigest()}"' else None

    web.files["/x"] = first
    web.answers[("PUT", "/x")] = race
    # One that has no idea of conditions refuses what it has just shown.
    web.files["/odd"] = first
    web.answers[("PUT", "/odd")] = lambda handler: 412 if "If-Match" in handler.headers else None
    web.answers[("PUT", "/new")] = lambda handler: None if handler.headers.get("If-None-Match") == "*" else 400
    for name in ("x", "odd", "new"):
        outbox.target(name, "http", "crl", f"{web.url}/{name}")
    outbox.start()
    crl = outbox.publish_crl(5)
    outbox.wait_failed("x", "number 9")
    outbox.wait_done("odd", "new")
    assert web.files == {"/x": newer, "/odd": crl, "/new": crl}


def test_a_move_counts_only_over_what_was_seen(outbox, web):
    """The same where the new file gets its name by a MOVE: RFC 4918 10.4, 10.6."""
    outbox.known_key()
    outbox.credential("basic", "publisher:secret")
    web.etags = True
    first, crl, newer = (outbox.issuer.crl(n) for n in (1, 5, 9))
    parts = {name: f"/.{name}.{hashlib.sha256(crl).hexdigest()[:16]}.part" for name in ("fine", "raced", "new")}

    def race(name):
        def at_part(handler):
            web.files[f"/{name}"] = newer
        return at_part

    def move(handler):
        place = urllib.parse.urlsplit(handler.headers["Destination"]).path
        stands = web.files.get(place)
        condition = re.fullmatch(r'<(.*)> \(\["([0-9a-f]{64})"\]\)', handler.headers.get("If", ""))
        if not handler.headers.get("Authorization", "").startswith("Basic "):
            return 401
        if condition and (condition[1] != handler.headers["Destination"]
                          or hashlib.sha256(stands or b"").hexdigest() != condition[2]):
            return 412
        if stands and handler.headers["Overwrite"] == "F":
            return 412
        web.files[place] = web.files.pop(handler.path)
        return 201

    for name, part in parts.items():
        web.answers[("MOVE", part)] = move
        outbox.target(name, "http", "crl", f"{web.url}/{name}", webdav=True, credential="basic")
    for name in ("raced", "new"):
        web.answers[("PUT", parts[name])] = race(name)
    web.files.update({"/fine": first, "/raced": first})
    outbox.start()
    outbox.publish(outbox.artifact("crl", 5, crl))
    outbox.wait_done("fine")
    for name in ("raced", "new"):
        outbox.wait_failed(name, "number 9")
        assert web.files[f"/{name}"] == newer
        assert ("DELETE", parts[name]) in [s[:2] for s in web.seen]
    assert web.files["/fine"] == crl
    sent = {path: headers for method, path, headers in web.seen if method == "MOVE"}
    assert "If" in sent[parts["fine"]] and "If" in sent[parts["raced"]] and sent[parts["new"]]["Overwrite"] == "F"
    outbox.stop()


# --------------------------------------------------------------- restarts


def test_restart_goes_on(new_outbox, directory, nginx):
    """Killed in the middle: its couriers die with it, and the next one takes up
    the work at once, without waiting for the end of the lease."""
    outbox = new_outbox(attempt_s=60)
    ldap_target(outbox, directory, "ldap")
    outbox.start()
    directory.process.send_signal(signal.SIGSTOP)
    crl = outbox.publish_crl(1)
    courier, = wait_until(outbox.couriers, what="a courier")
    assert len(outbox.spooled()) == 1
    outbox.kill()
    wait_until(lambda: has_ended(courier), what="the courier's end")
    directory.process.send_signal(signal.SIGCONT)
    outbox.target("put", "http", "crl", f"{nginx.url}/demo.crl")
    outbox.start()
    outbox.wait_done("ldap")
    assert directory.read(f"cn=demo,{directory.suffix}", "certificateRevocationList") == [crl]
    assert outbox.one("SELECT publish_newest(%s)", (outbox.ca,)) == 1
    outbox.wait_done("put")
    assert nginx.read("demo.crl") == crl
    outbox.stop()


def test_drain_finishes_what_is_under_way(outbox, web):
    go = threading.Event()
    web.answers[("PUT", "/slow")] = lambda handler: go.wait(20) and None
    web.files["/slow"] = outbox.issuer.crl(1)
    outbox.target("slow", "http", "crl", f"{web.url}/slow")
    made = outbox.artifact("crl", 1, web.files["/slow"])
    outbox.start()
    outbox.publish(made)
    wait_until(outbox.couriers, what="a courier")
    outbox.process.send_signal(signal.SIGTERM)
    outbox.target("late", "http", "crl", f"{web.url}/late")
    outbox.sql("SELECT publish_newest(%s)", (outbox.ca,))
    go.set()
    assert outbox.process.wait() == 0
    assert outbox.row("slow")["state"] == "done"
    assert outbox.row("late")["state"] == "pending"
    assert outbox.spooled() == []
    outbox.check_log()


def test_database_goes_away_meanwhile(outbox, web):
    """The connection is lost while a courier runs: its report comes later."""
    go = threading.Event()
    web.answers[("PUT", "/slow")] = lambda handler: go.wait(20) and None
    outbox.target("slow", "http", "crl", f"{web.url}/slow")
    crl = web.files["/slow"] = outbox.issuer.crl(1)
    outbox.start()
    outbox.publish(outbox.artifact("crl", 1, crl))
    wait_until(outbox.couriers, what="a courier")
    outbox.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'outbox_driver' "
               "AND datname = current_database()")
    go.set()
    outbox.wait_done("slow")
    assert outbox.attempts("slow") == [("done", None)]
    outbox.stop()


def test_many_dead_targets_leave_room(new_outbox, web):
    """A dozen targets that never answer do not hold up a fresh artifact."""
    outbox = new_outbox(attempt_s=20)
    go = threading.Event()
    for i in range(12):
        web.answers[("PUT", f"/stalled{i}")] = lambda handler: go.wait(60) and 500
        outbox.target(f"stalled{i}", "http", "delta-crl", f"{web.url}/stalled{i}")
    outbox.target("live", "http", "crl", f"{web.url}/live")
    outbox.sql("SELECT 1")
    outbox.publish(outbox.artifact("delta-crl", 1, b"delta"))
    outbox.sql("UPDATE publication SET attempts = 1")  # they have failed before
    outbox.start()
    wait_until(lambda: len(outbox.couriers()) >= 6, what="couriers at work")
    outbox.publish_crl(1)
    outbox.wait_done("live")
    assert not any(outbox.attempts(f"stalled{i}") for i in range(12))  # all of them stalled still
    assert len(outbox.couriers()) <= 8
    go.set()
    outbox.kill()


def test_warning_before_what_stands_ends(new_outbox, web):
    outbox = new_outbox(watch_s=1)
    outbox.target("put", "http", "crl", f"{web.url}/demo.crl")
    outbox.start()
    outbox.publish_crl(1, ends="20 minutes", begins="-2 days")
    outbox.wait_done("put")
    web.answers[("PUT", "/demo.crl")] = 503
    outbox.publish_crl(2)
    wait_until(lambda: "its successor is not published" in outbox.process.log(), what="the warning")
    assert "demo/put: what clients get as crl ends in 19 min" in outbox.process.log()


def test_what_was_published_is_looked_at_again(new_outbox, web):
    """Somebody puts an old copy back, hours later: it is found and replaced."""
    outbox = new_outbox(watch_s=1)
    outbox.known_key()
    for name in ("fine", "lost", "old"):
        outbox.target(name, "http", "crl", f"{web.url}/{name}")
    outbox.start()
    crl = outbox.publish_crl(5)
    outbox.wait_done("fine", "lost", "old")
    audited = outbox.one("SELECT count(*) FROM audit WHERE action = 'artifact.published'")
    written = [s[1] for s in web.seen if s[0] == "PUT"]
    del web.files["/lost"]
    web.files["/old"] = outbox.issuer.crl(4)
    outbox.sql("UPDATE publication SET checked_at = now() - interval '7 hours', done_at = now() - interval '8 hours'")
    wait_until(lambda: set(web.files.values()) == {crl} and len(web.files) == 3, what="the repair")
    outbox.wait_done("fine", "lost", "old")
    assert sorted([s[1] for s in web.seen if s[0] == "PUT"][len(written):]) == ["/lost", "/old"]
    # It is what was published then, and nothing new.
    assert outbox.one("SELECT count(*) FROM audit WHERE action = 'artifact.published'") == audited
    assert outbox.one("SELECT bool_and(done_at < now() - interval '7 hours' AND checked_at > now() - interval '10 minutes') "
                      "FROM publication")


def test_a_place_that_nobody_needs_is_left_alone(new_outbox, web):
    """A target that was given up, and the last CRL of a scope, once it has ended: not looked at,
    not written, not counted; until the target or the scope comes back."""
    outbox = new_outbox(watch_s=1)
    for name in ("kept", "dropped", "away"):
        outbox.target(name, "http", "crl", f"{web.url}/{name}")
    web.answers[("PUT", "/away")] = 503
    outbox.sql("UPDATE crl_scope SET next_full_at = now() + interval '1 h'")
    outbox.start()
    crl = outbox.publish_crl(5)
    outbox.wait_done("kept", "dropped")
    outbox.wait_failed("away", "503")
    written = len(web.seen)
    web.files.clear()
    outbox.sql("UPDATE target SET until = now() WHERE name IN ('dropped', 'away')")
    outbox.sql("UPDATE publication SET checked_at = now() - interval '7 hours' WHERE state = 'done'")
    wait_until(lambda: web.files.get("/kept") == crl, what="the repair")
    wait_until(lambda: {outbox.row(n)["state"] for n in ("dropped", "away")} == {"over"}, what="their end")
    outbox.wait_done("kept")
    assert {s[1] for s in web.seen[written:]} - {"/away"} == {"/kept"} and set(web.files) == {"/kept"}

    def shown():
        return outbox.one("SELECT chancery.api_publications('uid:0', NULL, NULL, NULL)")["publications"]

    def measured():
        return re.findall(r'(chancery_p\w+)\{ca="demo",target="(\w+)"', outbox.one("SELECT metrics_of_publications()"))

    assert [p["target"] for p in shown()] == ["kept"] and {target for _, target in measured()} == {"kept"}
    gone = outbox.row("dropped")["id"]
    with pytest.raises(psycopg2.Error, match="is over: nobody needs what stood at demo/dropped"):
        outbox.one(f"SELECT chancery.api_publication_retry('uid:0', {gone})")

    # A CRL that has ended is missed where another one is due, and only there.
    outbox.sql("UPDATE artifact SET not_after = now() - interval '1 s'")
    looked = outbox.one("SELECT recheck_publications(86400, 10)")
    assert looked == 0 and outbox.row("kept")["state"] == "done" and ("chancery_published_left_seconds", "kept") in measured()
    outbox.sql("UPDATE crl_scope SET next_full_at = NULL")
    wait_until(lambda: outbox.row("kept")["state"] == "over", what="the scope's end")
    assert shown() == [] and measured() == []
    assert outbox.one("SELECT publish_newest(%s)", (outbox.ca,)) == 0

    # Both come back.
    outbox.sql("UPDATE artifact SET not_after = now() + interval '1 day'")
    outbox.sql("UPDATE target SET until = NULL WHERE name = 'dropped'")
    outbox.sql("UPDATE crl_scope SET next_full_at = now()")
    assert outbox.one("SELECT publish_newest(%s)", (outbox.ca,), "chancery_issuer") == 2
    outbox.wait_done("kept", "dropped")
    assert web.files == {"/kept": crl, "/dropped": crl}
    outbox.stop()


def test_issuer_of_a_running_instance(bare_instance, new_dir, nginx, slapd):
    """The daemon's own issuer and its couriers, without the driver."""
    outbox = Outbox(bare_instance.database, new_dir("o"), None)
    outbox.credentials_dir = bare_instance.credentials_dir
    ldap_target(outbox, slapd, "ldap", entry="cn=instance")
    outbox.target("put", "http", "crl", f"{nginx.url}/instance.crl", webdav=True)
    bare_instance.start()
    outbox.process = bare_instance.process
    crl = outbox.publish_crl(1)
    outbox.wait_done("put", "ldap")
    assert nginx.read("instance.crl") == crl
    assert slapd.read(f"cn=instance,{slapd.suffix}", "certificateRevocationList") == [crl]
