"""A CA whose parent is a CA of another Chancery, over HTTPS with a TLS authority of one's
own: made and renewed through its API, with an operator of the parent in between."""

import os
import subprocess
from types import SimpleNamespace

import pytest

from harness import clients
from harness.authority import Authority
from harness.cli import SANITIZER
from harness.process import PATIENCE_S, free_port, run, wait_until


def tls_files(directory):
    """A TLS authority, and by it a server's certificate for 127.0.0.1 with its key."""
    ca, key, crt = (os.path.join(directory, n) for n in ("tls-ca.pem", "server.key", "server.pem"))
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run([*new, "-x509", "-days", "2", "-subj", "/CN=TLS of the parent", "-keyout", ca + ".key", "-out", ca])
    run([*new, "-new", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
         "-out", crt + ".csr"])
    run(["openssl", "x509", "-req", "-in", crt + ".csr", "-CA", ca, "-CAkey", ca + ".key", "-days", "2",
         "-copy_extensions", "copy", "-out", crt])
    os.chmod(key, 0o600)
    return ca, crt, key


@pytest.fixture(scope="module")
def parent(postgres, migrated, new_dir):
    """The service above, with a door for HTTPS, and a client there that may submit."""
    a = Authority(new_dir("parent"), postgres.database(migrated))
    a.tls_ca, certificate, key = tls_files(a.files)
    a.https_port = free_port()
    a.client, a.client_key = clients.self_signed(a.files, "child", cn="child")

    def door(daemon):
        daemon.config["front"]["https"] = [
            {"listen": f"127.0.0.1:{a.https_port}", "certificate": certificate, "key": key}]

    try:
        a.create(settings=door)
        a.cli("operator", "add", "child", "--role", "submitter", "--tls", "--key", a.client)
        yield a
    finally:
        a.close()


@pytest.fixture(scope="module")
def child(postgres, migrated, new_dir):
    """The service below, on a token and a database of its own."""
    b = Authority(new_dir("child"), postgres.database(migrated))
    try:
        b.daemon.start()
        b.add_first_operator("carol")
        yield b
    finally:
        b.close()


def way(parent, **changes):
    """The options that lead to the parent."""
    options = {"parent": f"https://127.0.0.1:{parent.https_port}", "parent-ca": parent.root,
               "parent-cert": parent.client, "parent-key": parent.client_key, "parent-roots": parent.tls_ca,
               **{name.replace("_", "-"): value for name, value in changes.items()}}
    return [word for name, value in options.items() if value for word in ("--" + name, value)]


class Command:
    """The child's command line, which waits for its parent."""

    def __init__(self, b, *command):
        self.said = os.path.join(b.files, "said")
        with open(self.said, "w", encoding="utf-8") as err:
            self.process = subprocess.Popen(b.cli.argv(*command), env=b.cli.environment(), stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=err, text=True)

    def stderr(self):
        with open(self.said, encoding="utf-8") as f:
            return f.read()

    def end(self):
        out, _ = self.process.communicate(timeout=PATIENCE_S)
        assert not SANITIZER.search(self.stderr()), self.stderr()
        return SimpleNamespace(returncode=self.process.returncode, stdout=out, stderr=self.stderr())


def waiting(parent):
    """The request that waits at the parent for an operator."""
    def look():
        rows = parent.api.get("/v1/requests", state="pending").json()["requests"]
        return rows[0] if rows else None

    return wait_until(look, what="a request at the parent")


def index_of(b, ca):
    return b.cli.json("ca", "show", ca)["certificate"]["index"]


@pytest.fixture(scope="module")
def online(parent, child):
    """A CA made in one go: key, CSR, the parent's approval, certificate and chain."""
    policy = child.issuing_policy("online", deltas=False, limits={"not_after": "30y"})
    command = Command(child, "ca", "create", "online", "--policy", policy, *way(parent))
    request = waiting(parent)
    assert request["submitter"].startswith("tls:") and request["subject"] == "CN=online,O=Chancery Test,C=DE"
    parent.cli("request", "approve", request["id"])
    said = command.end()
    assert said.returncode == 0 and "CA online is active" in said.stdout, said
    assert f"Request {request['id']} waits at the parent for an operator's approval." in said.stderr
    return child


def test_created(online, parent):
    chain = clients.split_pem(online.api.get("/v1/cas/online/chain").body.decode())
    assert chain[1] == parent.ca_pem(parent.root) and len(chain) == 2
    good, said = clients.openssl_verify(online.files, chain[0], chain[0], chain[1])
    assert good, said


def test_who_is_not_believed(online, parent, child):
    """Another TLS authority, a client that is unknown there, none at all, a CA of no such name."""
    stranger, key = clients.self_signed(child.files, "stranger", cn="stranger")
    other_ca = clients.self_signed(child.files, "other-ca")[0]
    for changes, words in (
            ({"parent_roots": other_ca}, "certificate"),
            ({"parent_roots": None}, "certificate"),
            ({"parent_cert": stranger, "parent_key": key}, "the parent at https://127.0.0.1"),
            ({"parent_ca": "nobody"}, "nobody")):
        said = child.cli.fails("ca", "renew", "online", "--same-key", *way(parent, **changes))
        assert words in said, (changes, said)
    assert "--client-cert" in child.cli.fails("ca", "renew", "online", "--same-key", *way(
        parent, parent_cert=None, parent_key=None), status=2)
    assert index_of(child, "online") == 0
    assert not parent.api.get("/v1/requests", state="pending").json()["requests"]


def test_refused(online, parent, child):
    """The parent's operator says no, and the CA goes on as it was."""
    before = child.cli.json("ca", "show", "online")
    command = Command(child, "ca", "renew", "online", "--same-key", *way(parent))
    parent.cli("request", "deny", waiting(parent)["id"], "--reason", "not before May")
    said = command.end()
    assert said.returncode == 1 and "is denied: not before May" in said.stderr, said
    assert child.cli.json("ca", "show", "online")["certificate"] == before["certificate"]
    # The same CSR again is the same request there.
    assert "is denied: not before May" in child.cli.fails("ca", "install", "online", *way(parent))


def test_the_parent_is_started_anew_meanwhile(online, parent, child):
    command = Command(child, "ca", "renew", "online", "--same-key", *way(parent))
    request = waiting(parent)["id"]
    parent.daemon.stop()
    wait_until(lambda: "The parent does not answer, and is asked again" in command.stderr() or None,
               what="the note that the parent is away")
    parent.daemon.start()
    parent.cli("request", "approve", request)
    said = command.end()
    assert said.returncode == 0 and "CA online signs under its renewed certificate" in said.stdout, said


def test_the_child_is_started_anew_meanwhile(online, parent, child):
    """Whoever waited is gone; ca install goes on."""
    before = index_of(child, "online")
    command = Command(child, "ca", "renew", "online", "--same-key", *way(parent))
    request = waiting(parent)["id"]
    child.daemon.stop()
    child.daemon.start()
    parent.cli("request", "approve", request)
    first = command.end()
    if first.returncode != 0:
        assert "signs under its renewed certificate" in child.cli("ca", "install", "online", *way(parent)), first
    assert index_of(child, "online") > before
