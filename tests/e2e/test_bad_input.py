"""What is wrong is refused with a sentence, and breaks nothing."""

import base64
import os
import signal
import socket
import time

import pytest
from asn1crypto import csr as asn1_csr

from harness import chanceryd as daemon_module
from harness import clients
from harness.process import run, wait_until
from harness.softhsm import Token

REFUSED_AT_SUBMIT = (400, 413)


@pytest.fixture(scope="module")
def good(session_dir):
    directory = os.path.join(session_dir, f"bad-input-{os.getpid()}")
    os.makedirs(directory, exist_ok=True)
    return clients.openssl_csr(directory, "good", dns=["good.example"])


def outcome(a, der, template="tls-server"):
    """What becomes of a CSR: ("refused", code, sentence) or ("rejected", -, reason)."""
    answer = a.api.post("/v1/requests", {
        "ca": a.issuing, "template": template, "csr": base64.b64encode(der).decode()})
    if answer.status != 201:
        assert answer.status in REFUSED_AT_SUBMIT, answer
        return "refused", answer.error_code, answer.error_message
    state = a.wait_state(answer.json()["id"], "pending", "rejected", "issued", "failed")
    return state["state"], None, state.get("reason") or ""


def refused(a, der, *words, template="tls-server"):
    kind, _, sentence = outcome(a, der, template)
    assert kind in ("refused", "rejected"), (kind, sentence)
    assert len(sentence) > 10, sentence
    for word in words:
        assert word.lower() in sentence.lower(), sentence
    return sentence


# ------------------------------------------------------------------------ CSRs


def test_no_csr_at_all(shared_instance):
    a = shared_instance
    for content in (b"\x30\x00", b"\x30\x03\x02\x01\x00", b"0" * 100, os.urandom(300)):
        refused(a, content)
    for text in ("", "hello", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", "\u0000", "-----BEGIN CERTIFICATE "
                 "REQUEST-----\n!!!!\n-----END CERTIFICATE REQUEST-----\n"):
        answer = a.api.post("/v1/requests", {"ca": a.issuing, "template": "tls-server", "csr": text})
        assert answer.status == 400, (text, answer)


@pytest.mark.smoke
def test_truncated_at_every_byte(shared_instance, good):
    """Each prefix is refused; the issuer lives on."""
    a = shared_instance
    der = good.der
    issuer = a.daemon.pids("issuer")
    waiting = []
    for length in range(len(der)):
        answer = a.api.post("/v1/requests", {
            "ca": a.issuing, "template": "tls-server", "csr": base64.b64encode(der[:length]).decode()})
        if answer.status == 201:
            waiting.append(answer.json()["id"])
        else:
            assert answer.status == 400, answer
    for request in waiting:
        assert a.wait_state(request, "rejected", "pending", "issued")["state"] == "rejected"
    assert a.daemon.pids("issuer") == issuer


def test_changed_byte_breaks_the_signature(shared_instance, good):
    der = bytearray(good.der)
    der[-1] ^= 1
    refused(shared_instance, bytes(der), "signature")


def test_signature_of_another_key(shared_instance, good, work_dir):
    """The proof of possession: the public key of one, the signature of another."""
    other = clients.openssl_csr(work_dir, "other", dns=["good.example"], subject="/CN=good")
    parsed = asn1_csr.CertificationRequest.load(good.der)
    parsed["signature"] = asn1_csr.CertificationRequest.load(other.der)["signature"].native
    refused(shared_instance, parsed.dump(force=True), "signature")


def test_trailing_bytes(shared_instance, good):
    refused(shared_instance, good.der + b"\x00")


def test_one_megabyte(shared_instance):
    a = shared_instance
    answer = a.api.post("/v1/requests", {
        "ca": a.issuing, "template": "tls-server", "csr": base64.b64encode(b"\x30" * 1048576).decode()})
    assert answer.status == 413, answer


def test_weak_and_unknown_keys(shared_instance, work_dir):
    a = shared_instance
    refused(a, clients.openssl_csr(work_dir, "weak", dns=["w.example"], key="rsa1024").der, "1024")
    refused(a, clients.openssl_csr(work_dir, "ed", dns=["e.example"], key="ed25519").der, "key")
    refused(a, clients.openssl_csr(work_dir, "ed448", dns=["e.example"], key="ed448").der, "key")
    key = os.path.join(work_dir, "k1.key")
    run(["openssl", "ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", key])
    der = run(["openssl", "req", "-new", "-key", key, "-batch", "-subj", "/CN=k1", "-addext",
               "subjectAltName=DNS:k1.example", "-outform", "DER"]).stdout
    refused(a, der, "curve")


def with_extensions(work_dir, extensions):
    """A CSR with a list of asn1crypto extensions, properly signed."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    base = clients.openssl_csr(work_dir, "ext", dns=["ext.example"])
    parsed = asn1_csr.CertificationRequest.load(base.der)
    info = parsed["certification_request_info"]
    info["attributes"] = [{"type": "extension_request", "values": [extensions]}]
    with open(base.key, "rb") as f:
        key = load_pem_private_key(f.read(), None)
    parsed["signature"] = key.sign(info.dump(force=True), ec.ECDSA(hashes.SHA256()))
    return parsed.dump(force=True)


def san(name):
    from asn1crypto import x509

    return {"extn_id": "subject_alt_name", "critical": False,
            "extn_value": x509.GeneralNames([x509.GeneralName("dns_name", name)])}


def test_duplicate_extension(shared_instance, work_dir):
    refused(shared_instance, with_extensions(work_dir, [san("a.example"), san("b.example")]), "twice")


def test_extensions_built_by_hand_are_taken(shared_instance, work_dir):
    """The builder above makes good CSRs: the refusal is about the duplicate."""
    assert outcome(shared_instance, with_extensions(work_dir, [san("a.example")]))[0] == "pending"


def test_names_beyond_the_template(shared_instance, work_dir):
    a = shared_instance
    refused(a, clients.openssl_csr(work_dir, "mail", email=["x@example.com"]).der, "email")
    refused(a, clients.openssl_csr(work_dir, "nosan").der)
    many = clients.openssl_csr(work_dir, "many", dns=[f"h{n}.example" for n in range(150)])
    refused(a, many.der, "100")


def test_ca_certificate_is_not_to_be_had(shared_instance, work_dir):
    """What the template says stands, whatever the CSR asks for."""
    a = shared_instance
    csr = clients.openssl_csr(work_dir, "ca", dns=["ca.example"], extensions=["basicConstraints=critical,CA:TRUE"])
    kind, _, _ = outcome(a, csr.der)
    if kind == "pending":
        request = a.submit(csr)
        a.approve(request)
        text = clients.openssl_text(
            clients.write(work_dir, "ca.pem", clients.split_pem(a.issued(request))[0]))
        assert "CA:TRUE" not in text and "Certificate Sign" not in text
    else:
        assert kind in ("refused", "rejected")


def test_bad_csr_through_the_command_line(shared_instance, work_dir):
    a = shared_instance
    path = clients.write(work_dir, "junk.csr", b"this is no CSR\n")
    said = a.cli.fails("request", "submit", "--ca", a.issuing, "--template", "tls-server", path)
    assert "CSR" in said or "PEM" in said
    said = a.cli.fails("request", "submit", "--ca", a.issuing, "--template", "tls-server", work_dir + "/absent")
    assert "absent" in said

    # What people give instead of a request is named, and does not leave their machine.
    _, pem = a.certificate("no-request")
    path = clients.write(work_dir, "cert.pem", pem)
    run(["openssl", "x509", "-in", path, "-outform", "DER", "-out", path + ".der"])
    for given, named in ((path, "PEM of a CERTIFICATE"), (path + ".der", "it is a certificate, no certificate request")):
        said = a.cli.fails("request", "submit", "--ca", a.issuing, "--template", "tls-server", given)
        assert named in said and given in said, said


def test_certificate_of_a_request_that_has_none(shared_instance, work_dir):
    """Forgotten approvals are the commonest mistake of all."""
    a = shared_instance
    request = a.submit(clients.openssl_csr(work_dir, "early", dns=["early.example"]))
    a.wait_state(request, "pending")
    for words in (("get", request), ("show", request), ("revoke", request, "--reason", "superseded")):
        said = a.cli.fails("cert", *words)
        assert f"request {request} has no certificate: it is pending" in said and "request approve" in said, said
    a.deny(request, "no")
    a.wait_state(request, "denied")
    said = a.cli.fails("cert", "get", request)
    assert "it is denied" in said and "approve" not in said, said


# -------------------------------------------------------------- unknown objects


def test_unknown_names(shared_instance, good):
    a = shared_instance
    answer = a.api.post("/v1/requests", {"ca": a.issuing, "template": "no-such", "csr": good.pem})
    assert answer.status == 404 and "no-such" in answer.error_message, answer
    answer = a.api.post("/v1/requests", {"ca": "no-such-ca", "template": "tls-server", "csr": good.pem})
    assert answer.status == 404 and "no-such-ca" in answer.error_message, answer
    said = a.cli.fails("request", "submit", "--ca", a.issuing, "--template", "no-such", good.path)
    assert "no-such" in said
    missing = "00000000-0000-4000-8000-000000000000"
    assert a.api.get(f"/v1/requests/{missing}").status == 404
    assert a.api.get("/v1/requests/not-a-uuid").status in (400, 404)
    assert a.api.get("/v1/cas/no-such").status == 404
    assert a.api.get("/v1/no-such").status == 404
    assert missing[:8] in a.cli.fails("request", "show", missing)


def test_template_not_of_this_ca(shared_instance, good):
    a = shared_instance
    answer = a.api.post("/v1/requests", {"ca": a.issuing, "template": "sub-ca", "csr": good.pem})
    assert answer.status == 404, answer


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"{}", b"null", b'"x"', b'{"ca": 5, "template": "tls-server", "csr": "x"}',
    b'{"ca": "x", "template": "tls-server", "csr": "x", "more": 1}', b'{"ca": "\xff\xfe"}', b"\x00",
    b'{"ca": "x"' + b" " * 10000 + b"}", b"[" * 100000,
], ids=lambda body: body[:24].decode("ascii", "replace"))
def test_bad_json(shared_instance, body):
    answer = shared_instance.api.call("POST", "/v1/requests", body, {"Content-Type": "application/json"})
    assert answer.status in (400, 413), answer
    assert answer.error_message


# ------------------------------------------------------------------- decisions


def test_approving_twice_and_what_was_denied(shared_instance, work_dir):
    a = shared_instance
    request = a.submit(clients.openssl_csr(work_dir, "twice", dns=["twice.example"]))
    a.approve(request)
    a.wait_state(request, "issued")
    said = a.cli.fails("request", "approve", request)
    assert "issued" in said
    said = a.cli.fails("request", "deny", request, "--reason", "too late")
    assert "issued" in said

    request = a.submit(clients.openssl_csr(work_dir, "denied", dns=["denied.example"]))
    a.deny(request, "no")
    a.wait_state(request, "denied")
    said = a.cli.fails("request", "approve", request)
    assert "denied" in said


def test_revoking_twice_and_the_unknown(shared_instance):
    a = shared_instance
    _, pem = a.certificate("revoke-twice")
    path = clients.write(a.files, "revoke-twice.pem", pem)
    serial = run(["openssl", "x509", "-in", path, "-noout", "-serial"], text=True).stdout.strip()[7:].lower()
    a.cli("cert", "revoke", serial, "--reason", "superseded")
    assert "revoked" in a.cli.fails("cert", "revoke", serial, "--reason", "superseded")
    assert "hold" in a.cli.fails("cert", "release", serial)
    a.cli.fails("cert", "revoke", "01" + "23" * 19, "--reason", "superseded")
    a.cli.fails("cert", "revoke", serial, "--reason", "because", status=2)


def test_decision_without_or_with_wrong_key(shared_instance, work_dir):
    """Another person's key is not known; a wrong passphrase opens nothing."""
    a = shared_instance
    request = a.submit(clients.openssl_csr(work_dir, "forged", dns=["forged.example"]))
    a.wait_state(request, "pending")
    stranger = a.cli.as_operator(os.path.join(work_dir, "stranger.pem"), a.passphrase_file)
    stranger("operator", "init")
    stranger.fails("request", "approve", request)
    wrong = clients.write(work_dir, "wrong", "not the passphrase\n")
    os.chmod(wrong, 0o600)
    assert "passphrase" in a.cli.as_operator(a.operator_key, wrong).fails("request", "approve", request).lower()
    assert a.api.get(f"/v1/requests/{request}").json()["state"] == "pending"


def test_decision_forged_with_the_fronts_role(shared_instance, work_dir):
    """The front's database role may store a decision; the issuer does not believe it."""
    a = shared_instance
    request = a.submit(clients.openssl_csr(work_dir, "front", dns=["front.example"]))
    a.wait_state(request, "pending")
    statement, _ = captured_statement(a, request)
    answer = a.api.post("/v1/decisions", {
        "statement": statement, "signature": base64.b64encode(os.urandom(70)).decode(),
        "credential": operator_credential(a)})
    if answer.status == 202:
        decision = a.api.get(f"/v1/decisions/{answer.json()['id']}", wait=20).json()
        assert decision["state"] == "refused", decision
        assert "signature" in decision["outcome"].lower()
    else:
        assert answer.status in (400, 403), answer
    assert a.api.get(f"/v1/requests/{request}").json()["state"] == "pending"


def operator_credential(a):
    return a.database.one(
        "SELECT encode(spki_sha256, 'hex') FROM chancery_store.credential WHERE kind = 'operator_key' ORDER BY id LIMIT 1")


def captured_statement(a, request):
    """An approval in the exact form, as somebody without the key would write it."""
    shown = a.api.get(f"/v1/requests/{request}").json()
    now = time.time()

    def stamp(t):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))

    version = a.database.one(
        """SELECT t.name || '/' || v.version FROM chancery_store.request r
           JOIN chancery_store.template_version v ON v.id = r.template_version_id
           JOIN chancery_store.template t ON t.id = v.template_id WHERE r.public_id = %s""", (request,))
    return (
        "chancery-statement: 1\naction: approve\n"
        f"ca: {a.issuing}\nobject: {request}\ncsr-sha256: {shown['csr_sha256']}\n"
        f"template: {version}\nreason: -\nbody-sha256: -\n"
        f"nonce: {os.urandom(16).hex()}\nissued: {stamp(now)}\nexpires: {stamp(now + 600)}\n"
    ), shown


# -------------------------------------------------------------------- database


def test_database_away_at_start(postgres, bare_instance):
    """The daemon starts, says so, and serves once the database is there."""
    d = bare_instance
    postgres.stop()
    try:
        d.start(wait=False)
        wait_until(lambda: "database" in d.process.log().lower(), what="a word about the database", alive=d.process)
        time.sleep(1)
        assert d.process.alive()
    finally:
        postgres.start()
    d.wait_ready()


def test_database_goes_away(postgres, new_authority, work_dir):
    """Nothing is lost: what was submitted before is issued after."""
    a = new_authority()
    before = a.submit(clients.openssl_csr(work_dir, "before", dns=["before.example"]))
    a.wait_state(before, "pending")
    postgres.stop(signal.SIGQUIT)
    try:
        answer = a.api.get("/v1/requests")
        assert answer.status == 503, answer
        assert "database" in answer.error_message.lower()
    finally:
        postgres.start()
    wait_until(lambda: a.api.get("/v1/requests").status == 200, what="the reconnection", alive=a.daemon.process)
    a.approve(before)
    assert a.issued(before)
    a.certificate("after")


def test_unknown_schema(bare_instance):
    """The daemon refuses a schema that is not its own."""
    d = bare_instance
    d.database.execute("INSERT INTO chancery_migration.applied (version, name, sha256) "
                       "VALUES (9999, '9999_future.sql', repeat('0', 64))")
    d.start(wait=False)
    wait_until(lambda: "9999" in d.process.log() or "schema" in d.process.log(), what="the refusal")
    assert d.api_silent()


def test_two_migrations_at_once(empty_database, token, new_dir):
    import threading

    made = [daemon_module.Chanceryd(new_dir("m"), empty_database, {"main": token}) for _ in range(2)]
    results = []
    threads = [threading.Thread(target=lambda d=d: results.append(d.migrate().returncode)) for d in made]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [0, 0]
    assert made[0].migrate().returncode == 0


# ----------------------------------------------------------------------- token


def token_state(d):
    """The word that the API has for the state of the token, and its sentence."""
    for token in d.api.get("/v1/status").json()["tokens"]:
        return token
    return None


def test_wrong_pin_is_reported_and_not_retried(database, recorded_token, new_dir):
    d = daemon_module.Chanceryd(new_dir("i"), database, {"main": recorded_token})
    recorded_token.write_pin("000000")
    d.start(wait=False)
    try:
        wait_until(lambda: recorded_token.calls("login"), what="the login")
        wait_until(lambda: "PIN" in d.process.log(), what="the report", alive=d.process)
        d.kill_role("signer")  # a restart must not burn another try
        time.sleep(3)
        assert recorded_token.calls("login") == [["0xa0"]]
        assert "000000" not in d.process.log()
    finally:
        d.stop()


def test_right_pin_after_a_wrong_one(database, recorded_token, new_dir):
    d = daemon_module.Chanceryd(new_dir("i"), database, {"main": recorded_token})
    recorded_token.write_pin("000000")
    d.start(wait=False)
    try:
        wait_until(lambda: recorded_token.calls("login") == [["0xa0"]], what="the login")
        d.stop()
        recorded_token.write_pin(recorded_token.pin)
        d.start()
        wait_until(lambda: ["0x0"] in recorded_token.calls("login"), what="the second login", alive=d.process)
    finally:
        d.stop()


def test_missing_module(bare_instance):
    d = bare_instance
    d.config["tokens"][0]["module"] = "/nonexistent/module.so"
    d.write_config()
    result = d.run("--check-config", check=False)
    assert result.returncode != 0
    assert "/nonexistent/module.so" in result.stderr and "chancery.yaml:" in result.stderr, result.stderr
    assert d.run(check=False).returncode != 0  # and nothing starts


def test_module_that_is_none(bare_instance, work_dir):
    """A shared object without C_GetFunctionList: the signer says so; the rest serves."""
    d = bare_instance
    d.config["tokens"][0]["module"] = next(
        p for p in ("/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6") if os.path.exists(p))
    d.start(wait=False)
    wait_until(lambda: "libc.so.6" in d.process.log(), what="the report", alive=d.process)
    wait_until(lambda: status_of(d) == 200, what="the API", alive=d.process)


def status_of(d):
    try:
        return d.api.get("/v1/status").status
    except OSError:
        return None


def test_unknown_token_label(bare_instance):
    d = bare_instance
    d.config["tokens"][0]["select"] = {"label": "no-such-token"}
    d.start(wait=False)
    wait_until(lambda: "no-such-token" in d.process.log(), what="the report", alive=d.process)


def test_token_without_the_key(new_authority, new_dir, work_dir):
    """Another token under the same configuration: the journal is not of this token. Requests wait, and say why."""
    a = new_authority()
    assert a.daemon.stop() == 0
    other = Token(new_dir("token"), label=a.token.label, pin=a.token.pin).create()
    a.daemon.config["tokens"][0]["environment"] = other.environment
    a.daemon.config["tokens"][0]["pin_file"] = other.pin_file
    a.daemon.start()
    request = a.submit(clients.openssl_csr(work_dir, "nokey", dns=["nokey.example"]))
    a.approve(request)
    wait_until(lambda: "it may be another token" in (a.api.get(f"/v1/requests/{request}").json().get("reason") or ""), what="a reason")
    assert a.api.get(f"/v1/requests/{request}").json()["state"] != "issued"

    # With the right token again it is issued: nothing was lost.
    assert a.daemon.stop() == 0
    a.daemon.config["tokens"][0]["environment"] = a.token.environment
    a.daemon.config["tokens"][0]["pin_file"] = a.token.pin_file
    a.daemon.start()
    wait_until(lambda: a.api.get(f"/v1/requests/{request}").json()["state"] == "issued", what="the certificate")


def test_token_fails_for_a_while(new_authority, recorded_token, work_dir):
    """CKR_DEVICE_ERROR, as a network HSM gives it during an outage."""
    a = new_authority(token=recorded_token)
    recorded_token.fail("sign 0x30")
    request = a.submit(clients.openssl_csr(work_dir, "outage", dns=["outage.example"]))
    a.approve(request)
    wait_until(lambda: ["0x30"] in [c[:1] for c in recorded_token.calls("sign")], what="the failure")
    recorded_token.fail()
    a.wait_state(request, "issued")


# --------------------------------------------------------------- configuration


def test_busy_port(bare_instance):
    d = bare_instance
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", d.http_port))
        s.listen()
        d.start(wait=False)
        status = d.process.wait()
    assert status != 0
    assert str(d.http_port) in d.process.log()


def test_two_daemons_on_one_state_directory(bare_instance):
    d = bare_instance
    d.start()
    second = d.run(check=False)
    assert second.returncode != 0
    assert str(d.process.pid) in second.stderr


@pytest.mark.parametrize("change, words", [
    (lambda c: c.update(colour="red"), ["colour", "chancery.yaml:"]),
    (lambda c: c["issuer"].update(signer_id=0), ["signer_id", "1"]),
    (lambda c: c["issuer"].update(batch="many"), ["batch"]),
    (lambda c: c["tokens"][0].update(select={}), ["select"]),
    (lambda c: c["tokens"][0].update(threads=1000), ["threads", "64"]),
    (lambda c: c["front"].update(http=["example.com"]), ["http"]),
    (lambda c: c.pop("database"), ["database"]),
    (lambda c: c["database"].update(issuer="dbnam=chancery"), ["database.issuer", "dbnam"]),
    (lambda c: c["database"].update(owner="chancery"), ["database.owner", 'missing "="']),
])
def test_wrong_configuration(bare_instance, change, words):
    d = bare_instance
    change(d.config)
    d.write_config()
    result = d.run("--check-config", check=False)
    assert result.returncode != 0
    for word in words:
        assert word in result.stderr, result.stderr


def test_open_pin_file(bare_instance):
    d = bare_instance
    os.chmod(d.tokens["main"].pin_file, 0o644)
    d.write_config()
    result = d.run("--check-config", check=False)
    assert result.returncode != 0 and "0600" in result.stderr, result.stderr


def test_reload_keeps_the_old_configuration_when_the_new_is_wrong(bare_instance):
    d = bare_instance
    d.start()
    issuer = d.pids("issuer")
    good = d.config["database"]["issuer"]
    d.config["database"]["issuer"] = "chancery"
    d.write_config()
    d.reload()
    wait_until(lambda: "key 'database.issuer'" in d.process.log(), what="the complaint", alive=d.process)
    d.config["database"]["issuer"] = good
    d.config["nonsense"] = True
    d.write_config()
    d.reload()
    wait_until(lambda: "nonsense" in d.process.log(), what="the complaint", alive=d.process)
    assert status_of(d) == 200 and d.pids("issuer") == issuer


# ------------------------------------------------------------------- full disk


def test_full_disk_for_published_files(new_authority, nginx):
    """A target on a full file system: what stood there stays whole, the CRL
    waits, everything else goes on, and it arrives once there is room."""
    full = os.path.join(nginx.root, "full")
    os.mkdir(full)
    if run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", full], check=False).returncode != 0:
        pytest.skip("mounting a small file system needs privileges")
    try:
        path = os.path.join(full, "test.crl")
        a = new_authority(targets=[
            {"name": "disk", "artifact": "crl", "kind": "file", "write": path,
             "read": f"{nginx.url}/full/test.crl"}])
        a.issue_crl()
        wait_until(lambda: os.path.exists(path), what="the published file")
        with open(path, "rb") as f:
            stood = f.read()
        with open(os.path.join(full, "ballast"), "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"\0" * 4096)
            except OSError:
                pass
        a.issue_crl()
        wait_until(lambda: "No space" in a.cli("--json", "publish", "status"), what="the report")
        with open(path, "rb") as f:
            assert f.read() == stood
        os.unlink(os.path.join(full, "ballast"))
        for publication in a.cli.json("publish", "status")["publications"]:
            a.cli("publish", "retry", str(publication["id"]))
        wait_until(lambda: open(path, "rb").read() != stood, what="the new file")
    finally:
        run(["umount", "-l", full], check=False)
