"""The services that the other tests stand on do what they claim."""

import os

import psycopg2
import pytest

from harness import clients
from harness.process import run


def test_cluster_is_migrated_and_roles_are_separate(database):
    assert database.one("SELECT count(*) FROM chancery_store.request_state") == 12
    assert database.one("SELECT session_user", user="chancery_issuer") == "chancery_issuer"
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.execute("SELECT * FROM chancery_store.request", user="service_one")


def test_cluster_has_no_tcp(postgres):
    assert postgres.execute("postgres", "SHOW listen_addresses") == [("",)]


def test_databases_are_fresh(database, postgres, migrated):
    other = postgres.database(migrated)
    assert other.name != database.name
    other.drop()


def test_role_can_be_added(postgres, database):
    postgres.add_role("service_added", "chancery_submitter")
    assert database.one("SELECT current_user", user="service_added") == "service_added"


def test_token_logs_in(token):
    result = run(
        ["p11tool", "--provider", token.module, "--login", "--list-all", f"pkcs11:token={token.label}"],
        env=dict(os.environ, GNUTLS_PIN=token.pin, **token.environment), check=False, text=True,
    )
    assert "No matching objects" in result.stdout + result.stderr


def test_directory_takes_entries(slapd):
    with slapd.connect() as connection:
        assert connection.add(f"cn=probe,{slapd.suffix}", ["applicationProcess"], {"cn": "probe"})
    assert slapd.read(f"cn=probe,{slapd.suffix}", "cn") == [b"probe"]


def test_web_server_takes_files(nginx, work_dir):
    path = clients.write(work_dir, "x", b"content")
    run(["curl", "-sf", "-T", path, f"{nginx.url}/a/b.crl"])
    assert nginx.read("a/b.crl") == b"content"
    answer = run(["curl", "-si", f"{nginx.url}/a/b.crl"]).stdout
    assert b"application/pkix-crl" in answer


@pytest.mark.parametrize("make", [clients.openssl_csr, clients.certtool_csr, clients.pki_csr, clients.keytool_csr])
@pytest.mark.parametrize("key", ["rsa2048", "p256"])
def test_tools_make_csrs(make, key, work_dir):
    csr = make(work_dir, "probe", dns=["probe.example"], key=key)
    text = clients.openssl_text(csr.path, "req")
    assert "DNS:probe.example" in text
    assert ("rsaEncryption" if key == "rsa2048" else "prime256v1") in text
    run(["openssl", "req", "-in", csr.path, "-verify", "-noout"])


@pytest.mark.parametrize("fault", [False, True])
def test_recorded_token(recorded_token, fault):
    if fault:
        recorded_token.fail("login 0xa0")
    run(
        ["p11tool", "--provider", recorded_token.module, "--login", "--list-all",
         f"pkcs11:token={recorded_token.label}"],
        env=dict(os.environ, GNUTLS_PIN=recorded_token.pin, **recorded_token.environment), check=False,
    )
    logins = recorded_token.calls("login")
    assert logins and all(call == (["0xa0"] if fault else ["0x0"]) for call in logins)
