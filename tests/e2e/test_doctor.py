"""chancery doctor: what it finds in a service that is well, and in each thing that
can be wrong with it, or with a place where clients look."""

import json
import os
import re

import psycopg2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness.authority import locations
from harness import clients
from harness.process import wait_until
from harness.slapd import Slapd
from harness.web import Web
from test_renewal import Parent

STORE = "SET search_path = chancery_store; "


@pytest.fixture(scope="module")
def place():
    """A web server that serves what a test puts there."""
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="module")
def directory(new_dir):
    server = Slapd(new_dir("slapd")).create().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def clinic(shared_instance, place, directory):
    """A CA whose CRLs are looked for in the service, on a web server that nobody
    keeps up to date, and in a directory."""
    a = shared_instance
    with open(os.path.join(a.daemon.credentials_dir, "directory"), "w", encoding="ascii") as f:
        f.write(directory.password)
    os.chmod(f.name, 0o600)

    def ldap(attribute):
        return f"{directory.url}/cn=clinic,{directory.suffix}?{attribute};binary"

    targets = [{"name": f"dir-{artifact}", "artifact": artifact, "kind": "ldap", "write": ldap(attribute),
                "read": ldap(attribute), "bind_dn": directory.root_dn, "credential": "directory"}
               for artifact, attribute in (("crl", "certificateRevocationList"), ("delta-crl", "deltaRevocationList"),
                                           ("ca-certificate", "cACertificate"))]
    a.clinic = "clinic"
    a.create_issuing(a.clinic, targets=targets, locations=locations(
        [a.daemon.crl_url(a.clinic), place.url + "/clinic.crl", ldap("certificateRevocationList")],
        [a.daemon.crl_url(a.clinic, delta=True), ldap("deltaRevocationList")],
        [a.daemon.aia_url(a.clinic), ldap("cACertificate")]))
    a.crl(a.clinic, delta=True)  # it follows the complete one
    well(a, place)
    return a


def published(a):
    return a.database.one(STORE + "SELECT count(*) FROM publication WHERE state <> 'done'") == 0


def well(a, place):
    """Everything in its place."""
    place.files["/clinic.crl"] = a.crl(a.clinic)
    wait_until(lambda: published(a), what="publication")


def examine(a, *words, status=0):
    result = a.cli.result("--json", "doctor", *words)
    assert result.returncode == status, result.stdout + result.stderr
    answer = json.loads(result.stdout)
    assert status == (answer["state"] == "critical")
    return answer["findings"]


def wrong(findings):
    return {(f["state"], f["object"], f["check"], f["detail"]) for f in findings if f["state"] != "ok"}


def only(findings, check, *words, state="critical", of="clinic"):
    """Exactly one thing is wrong, this one."""
    found = wrong(findings)
    assert len(found) == 1, found
    one = found.pop()
    assert one[:3] == (state, of, check), one
    for word in words:
        assert word in one[3], one


def test_all_is_well(clinic):
    a = clinic
    findings = examine(a)
    assert wrong(findings) == set()
    looked = [f["detail"].split(": ")[0] for f in findings if "://" in f["detail"]]
    assert len(looked) == len(set(looked)) >= 7
    for url in (a.daemon.crl_url(a.root), a.daemon.aia_url(a.root), a.daemon.crl_url("clinic", delta=True)):
        assert url in looked
    said = a.cli("doctor", "clinic")
    assert said.count("ok        clinic, crl: ") == 3 and "critical" not in said
    assert a.root not in said.replace(a.daemon.crl_url(a.root), "").replace(a.daemon.aia_url(a.root), "")


def test_a_place_that_does_not_answer(clinic, place):
    saved = place.files.pop("/clinic.crl")
    try:
        only(examine(clinic, "clinic", status=1), "crl", place.url, "404")
    finally:
        place.files["/clinic.crl"] = saved


def test_a_place_that_is_behind(clinic, place):
    clinic.issue_crl("clinic")
    wait_until(lambda: published(clinic), what="publication")
    only(examine(clinic, "clinic"), "crl", place.url, "the service has issued number", state="warning")
    well(clinic, place)


@pytest.mark.parametrize("what, words", [
    ("delta", ["a delta CRL stands where clients expect a complete one"]),
    ("other", ["issuer is not the CA's subject"]),
    ("cut", ["is another than the number of its octets"]),
    ("flipped", [""]),
    ("html", ["no CRL in DER"]),
    ("empty", ["empty"]),
])
def test_a_place_that_has_something_else(clinic, place, what, words):
    a = clinic
    good = a.crl("clinic")
    flipped = bytearray(good)
    flipped[-3] ^= 1
    place.files["/clinic.crl"] = {
        "delta": a.crl("clinic", delta=True), "other": a.crl(a.issuing), "cut": good[:-1], "flipped": bytes(flipped),
        "html": b"<html>It works!</html>", "empty": b""}[what]
    try:
        only(examine(a, "clinic", status=1), "crl", place.url, *words)
    finally:
        place.files["/clinic.crl"] = good


def test_a_number_that_the_service_does_not_know(clinic, place):
    """The database was put back behind what is published."""
    a = clinic
    row = a.database.execute(STORE + "SELECT c.id FROM crl c JOIN crl_scope s ON s.id = c.scope_id JOIN ca ON ca.id = "
                             "s.ca_id WHERE ca.name = 'clinic' AND NOT delta AND c.state = 'issued' ORDER BY c.id DESC "
                             "LIMIT 1")[0][0]
    kept = a.database.one(STORE + "SELECT sha256 FROM artifact WHERE id = (SELECT artifact_id FROM crl WHERE id = %s)", (row,))
    a.database.execute(STORE + "UPDATE crl SET state = 'burnt' WHERE id = %s", (row,))
    try:
        found = wrong(examine(a, "clinic", status=1))
        assert {(state, check) for state, _, check, _ in found} == {("critical", "crl")}
        assert all("is unknown to the service" in detail for *_, detail in found) and len(found) == 3
        # Or another one of the same number was signed.
        a.database.execute(STORE + "UPDATE crl SET state = 'issued' WHERE id = %s; UPDATE artifact SET sha256 = sha256(sha256) WHERE id = "
                           "(SELECT artifact_id FROM crl WHERE id = %s)", (row, row))
        found = wrong(examine(a, "clinic", status=1))
        assert len(found) == 3 and all(detail.endswith("is not the CRL of that number that the service issued") for *_, detail in found)
    finally:
        a.database.execute(STORE + "UPDATE artifact SET sha256 = %s WHERE id = (SELECT artifact_id FROM crl WHERE id = %s)", (kept, row))
        a.database.execute(STORE + "UPDATE crl SET state = 'issued' WHERE id = %s", (row,))


def test_a_directory_that_is_away(clinic, directory, place):
    a = clinic
    directory.stop()
    try:
        found = wrong(examine(a, "clinic", status=1))
        assert {check for _, _, check, _ in found} == {"crl", "delta-crl", "ca-certificate"}
        a.issue_crl("clinic")
        place.files["/clinic.crl"] = a.crl("clinic")
        found = wrong(examine(a, status=1))
        assert {("warning", "publication")} <= {(state, check) for state, _, check, _ in found}
    finally:
        directory.start()
    a.database.execute(STORE + "UPDATE publication SET next_at = now() WHERE state <> 'done'")
    well(a, place)
    assert wrong(examine(a)) == set()


def test_a_delta_without_its_base(clinic, place):
    """Where clients look first there is an older complete CRL than the delta CRL builds on."""
    a = clinic
    a.create_issuing("paired", locations=locations(
        [place.url + "/paired.crl", a.daemon.crl_url("paired")], [place.url + "/paired-delta.crl"], [place.url + "/paired.cer"]))
    place.files["/paired.crl"] = older = a.crl("paired")
    a.issue_crl("paired")
    newer = wait_until(lambda: (c := a.crl("paired")) != older and c, what="the next complete CRL")
    first = a.crl("paired", delta=True)
    a.issue_crl("paired", delta=True)
    place.files["/paired-delta.crl"] = wait_until(lambda: (c := a.crl("paired", delta=True)) != first and c, what="the next delta")
    place.files["/paired.cer"] = x509.load_pem_x509_certificate(a.ca_pem("paired").encode()).public_bytes(Encoding.DER)
    found = wrong(examine(a, "paired", status=1))
    assert {(state, check) for state, _, check, _ in found} == {("warning", "crl"), ("critical", "delta-crl")}
    assert any("needs the complete CRL 2, and clients find number 1" in detail for *_, detail in found)
    place.files["/paired.crl"] = newer
    assert wrong(examine(a, "paired")) == set()
    place.files["/paired.cer"] = a.ca_pem("paired").encode()
    only(examine(a, "paired", status=1), "ca-certificate", place.url, "something else than the CA's certificate in DER", of="paired")


def test_a_certificate_that_ends(clinic):
    """Half of its life is over, all of it, or nobody above it is known."""
    a = clinic
    above = Parent("CN=Above")
    csr = x509.load_pem_x509_csr(a.cli("ca", "csr", a.issuing).encode())
    generation = "generation g SET certificate = {}, chain = {} FROM ca WHERE ca.id = g.ca_id AND g.state = 'active' AND ca.name = {}"
    kept = a.database.execute(STORE + "SELECT g.certificate, g.chain FROM generation g JOIN ca ON ca.id = g.ca_id "
                              "WHERE g.state = 'active' AND ca.name = %s", (a.issuing,))[0]

    def der(pem):
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)

    def said(days, since=-30, parent=above):
        made = der(above.sign(csr.subject, csr.public_key(), days=days, since=since))
        a.database.execute(STORE + "UPDATE " + generation.format("%s", "%s", "%s"), (made, [der(parent.pem)], a.issuing))
        found = json.loads(a.cli.result("--json", "doctor", a.issuing).stdout)["findings"]
        return {f["check"]: (f["state"], f["detail"]) for f in found if f["check"] in ("certificate", "chain")}

    try:
        fine = said(35.5)
        assert fine["certificate"] == ("ok", "valid for 35 d") and fine["chain"] == ("ok", "2 certificates up to a root")
        half = said(25.5)
        assert half["certificate"] == ("warning", "valid for 25 d; less than half of its life is left: renew the CA")
        assert half["chain"][0] == "ok"
        over = said(-3.5)
        assert over["certificate"] == ("critical", "ended 3 d ago")
        assert over["chain"] == ("critical", "certificate 1 of 2: it is not valid now")
        assert said(35, parent=Parent("CN=Elsewhere"))["chain"] == ("critical", "certificate 1 of 2: the next one has another name")
        state, words = said(35, parent=Parent("CN=Above"))["chain"]  # of the same name
        assert state == "critical" and words.startswith("certificate 1 of 2: ") and "signature" in words
    finally:
        a.database.execute(STORE + "UPDATE " + generation.format("%s", "%s", "%s"), (*kept, a.issuing))


def test_an_alarm_of_the_calendar(clinic, place):
    a = clinic
    a.database.execute(STORE + "UPDATE crl_scope SET alarm = 'kept back', alarm_since = now() WHERE ca_id = "
                       "(SELECT id FROM ca WHERE name = 'clinic')")
    only(examine(a, "clinic", status=1), "calendar", "kept back")
    a.issue_crl("clinic")
    well(a, place)
    assert wrong(examine(a, "clinic")) == set()


def test_a_crl_that_ended(clinic, place):
    """Its place is not kept up to date, and clients refuse what stands there."""
    a = clinic
    a.create_issuing("brief", deltas=False, crl={"period": "2s", "overlap": "1s"},
                     locations=locations([place.url + "/brief.crl"], aia=[a.daemon.aia_url("brief")]))
    place.files["/brief.crl"] = a.crl("brief")

    def ended():
        result = a.cli.result("--json", "doctor", "brief")
        return result.returncode == 1 and [f for f in json.loads(result.stdout)["findings"] if "ended" in f["detail"]]

    found = wait_until(ended, what="the end of a CRL")
    assert found[0]["check"] == "crl" and "clients refuse it" in found[0]["detail"]


def test_a_ca_without_a_certificate(clinic):
    a = clinic
    a.cli("ca", "create", "waiting", "--policy", a.issuing_policy("waiting"))
    only(examine(a, "waiting"), "certificate", "waits for its certificate", state="warning", of="waiting")


def test_a_place_is_looked_at_on_demand(clinic, directory):
    """By an issuer, as it sees it; and put right where somebody else wrote."""
    a = clinic

    def row():
        rows = a.cli.json("publish", "status", "clinic")["publications"]
        return next(p for p in rows if p["target"] == "dir-crl")

    before = row()
    a.database.execute(STORE + "UPDATE publication SET checked_at = checked_at - interval '1 h' WHERE id = %s", (before["id"],))
    assert "again" in a.cli("publish", "retry", before["id"])
    after = wait_until(lambda: (r := row())["state"] == "done" and r["checked_at"] >= before["checked_at"] and r, what="a look")
    assert after["done_at"] == before["done_at"] and after["stands"] == before["number"]
    with directory.connect() as connection:
        dn = f"cn=clinic,{directory.suffix}"
        assert connection.modify(dn, {"certificateRevocationList;binary": [("MODIFY_REPLACE", [a.crl(a.root)])]})
    a.cli("publish", "retry", before["id"])
    wait_until(lambda: directory.read(dn, "certificateRevocationList") == [a.crl("clinic")], what="the repair")
    wait_until(lambda: published(a), what="publication")


def test_the_service_itself(clinic):
    """Disk, and requests that nobody decides on."""
    a = clinic
    fine = {f["check"]: f for f in examine(a, "clinic")}
    assert "MiB of" in fine["disk"]["detail"] and fine["disk"]["state"] == "ok"
    request = a.submit(clients.openssl_csr(a.files, "forgotten", dns=["forgotten.example"]))
    a.wait_state(request, "pending")
    found = {f["check"]: f for f in examine(a, "clinic")}
    assert found["requests"]["state"] == "ok"
    a.database.execute(STORE + "UPDATE request_queue SET changed_at = now() - interval '8 days' WHERE public_id = %s",
                       (request,))
    only(examine(a, "clinic"), "requests", "since 8 d", state="warning", of="service")
    a.cli("request", "withdraw", request)
    # Nobody reports for a host of this number.
    a.database.execute(STORE + "INSERT INTO host_status VALUES (4711, 1048576, 1048576000)")
    only(examine(a, "clinic", status=1), "disk", "issuer 4711 has 1 MiB of 1000 left", of="service")
    a.database.execute(STORE + "UPDATE host_status SET disk_free = 40000000, disk_size = 1000, reported_at = now() - "
                       "interval '2 hours' WHERE signer_id = 4711")
    assert wrong(examine(a, "clinic")) == set()
    # An issuer whose clock goes wrong signs nothing. What counts for a minute was said in an hour, so
    # that it does however long an examination takes.
    a.database.execute(STORE + "UPDATE clock_watch SET apart = 'the clock of an issuer''s host shows noon', "
                       "apart_at = now() + interval '1 h'")
    only(examine(a, "clinic", status=1), "clock", "an issuer signs nothing: ", "shows noon", of="service")
    assert "chancery_clock_apart 1\n" in a.database.one(STORE + "SELECT metrics_of_service()")
    a.database.execute(STORE + "UPDATE clock_watch SET apart_at = now() - interval '61 s'")
    # A token that its issuer cannot use, one that waits for a person, and an issuer that is silent.
    for state, access, ago, words, expected in (
            ("token-away", "auto", "-1 h", "token-away: somebody pulled it out", "critical"),
            ("locked", "session", "-1 h", "locked: somebody pulled it out", "warning"),
            ("ready", "auto", "61 s", "ready: its issuer has not reported for a minute", "critical")):
        a.database.execute(STORE + "INSERT INTO token_status (signer_id, token, state, access, sentence, label, serial, model, threads, "
                           "signatures, since, reported_at) VALUES (4711, 'elsewhere', %s, %s, 'somebody pulled it out', '', '', '', 1, 0, "
                           "now(), now() - %s::interval)", (state, access, ago))
        only(examine(a, "clinic", status=int(expected == "critical")), "token", words, state=expected, of="elsewhere")
        assert f'chancery_token_ready{{token="elsewhere",signer="4711"}} 0\n' in a.database.one(STORE + "SELECT metrics_of_service()")
        a.database.execute(STORE + "DELETE FROM token_status WHERE signer_id = 4711")


def test_a_token_that_is_none_any_more(clinic):
    """Of a host that is gone, or of a configuration that was; not where nobody else has it."""
    a = clinic

    def tokens():
        found = {(t["token"], t["signer_id"]) for t in a.cli.json("token", "status")["tokens"]}
        measured = set(re.findall(r'chancery_token_ready\{token="(\w+)",signer="(\d+)"', a.database.one(STORE + "SELECT metrics_of_service()")))
        assert measured == {(name, str(signer)) for name, signer in found}
        return found

    def silent(token, since):
        a.database.execute(STORE + "DELETE FROM token_status WHERE signer_id = 4711; SELECT report_token(4711, %s, 'ready', '', '', '', "
                           "'', 1, 0, now()); UPDATE token_status SET reported_at = now() - %s::interval WHERE signer_id = 4711", (token, since))

    silent("main", "23 h")
    assert tokens() == {("main", 1), ("main", 4711)}
    assert "no closed signer" in a.cli.fails("signer", "reseed", "main")
    silent("main", "25 h")
    assert tokens() == {("main", 1)}
    assert "no closed signer" not in a.cli.fails("signer", "reseed", "main")  # it is the only one
    silent("alone", "25 h")
    assert tokens() == {("main", 1), ("alone", 4711)}
    only(examine(a, "clinic", status=1), "token", "has not reported for a minute", of="alone")
    a.database.execute(STORE + "SELECT report_host(4711, 1000000000000, 1000000000000, 'gone')")
    assert tokens() == {("main", 1)}
    silent("alone", "2 min")
    assert tokens() == {("main", 1), ("alone", 4711)}
    a.database.execute(STORE + "DELETE FROM token_status WHERE signer_id = 4711; UPDATE host_status SET reported_at = now() - interval "
                       "'2 hours' WHERE signer_id = 4711")
    assert 'chancery_disk_free_bytes{signer="4711"}' not in a.database.one(STORE + "SELECT metrics_of_service()")


def test_wrong_words(clinic):
    assert 'CA "nobody" is not known' in clinic.cli.fails("doctor", "nobody")
    clinic.cli.fails("doctor", "clinic", "other", status=2)
    assert "there is no such socket" in clinic.cli.fails("--socket", "/nowhere", "doctor")


def test_a_ca_that_its_parent_revoked(clinic):
    a = clinic
    a.create_issuing("condemned", deltas=False)
    serial = a.database.one(STORE + "SELECT encode(c.serial, 'hex') FROM certificate c JOIN generation g ON g.sha256 = "
                            "c.sha256 JOIN ca ON ca.id = g.ca_id WHERE ca.name = 'condemned'")
    a.crl("condemned")
    assert not [f for f in examine(a, "condemned") if f["check"] == "revocation"]
    a.cli("cert", "revoke", serial, "--reason", "cACompromise")
    a.issue_crl(a.root)
    # Its own CRLs and its parent's are in order; it is not. The parent's were looked at before.
    for words in (("condemned",), ()):
        found = [f for f in examine(a, *words, status=1) if f["check"] == "revocation"]
        assert [(f["state"], f["object"]) for f in found] == [("critical", "condemned (above, 1)")]
        assert a.daemon.crl_url(a.root) in found[0]["detail"] and "its key is compromised" in found[0]["detail"]
    text = a.database.one(STORE + "SELECT metrics_of_service()")
    assert 'chancery_ca_certificate_revoked{ca="condemned"} 1' in text
    assert 'chancery_ca_certificate_revoked{ca="clinic"} 0' in text


# ---- as a host sees it; two of them: test_hosts.py


def said(finding):
    """What was looked at; and not what room others leave on this machine's disk in between."""
    return re.sub(r"\d+ MiB", "N MiB", finding["detail"].split(": ")[0])


def test_as_a_host_sees_it(clinic, place):
    """The same findings, but its issuer fetches; by name and by number."""
    a = clinic
    here = examine(a, "clinic")
    a.database.execute(STORE + "DELETE FROM look")
    for host in ("1", os.uname().nodename):
        there = examine(a, "clinic", "--from", host)
        assert wrong(there) == set()
        assert [said(f) for f in there] == [said(f) for f in here]
    urls = {f["detail"].split(": ")[0] for f in here if "://" in f["detail"]}
    rows = a.database.execute(STORE + "SELECT url, state, error, signer_id, length(content) = size, "
                              "sha256(content) = sha256 FROM look")
    assert {row[0] for row in rows} == urls and {row[1:] for row in rows} == {("done", None, 1, True, True)}
    saved = place.files.pop("/clinic.crl")
    try:
        only(examine(a, "clinic", "--from", "1", status=1), "crl", place.url, "404")
        place.files["/clinic.crl"] = a.crl(a.issuing)
        only(examine(a, "clinic", "--from", "1", status=1), "crl", place.url, "issuer is not the CA's subject")
        place.files["/clinic.crl"] = bytes(3 << 20)
        only(examine(a, "clinic", "--from", "1"), "crl", place.url, "3145728 octets, not the last CRL", state="warning")
    finally:
        place.files["/clinic.crl"] = saved


def test_who_sends_hosts_where(clinic, place):
    a = clinic
    said = a.cli.fails("doctor", "clinic", "--from", "nowhere", status=1)
    assert 'no issuer has reported from host "nowhere"; there are: ' in said and f"{os.uname().nodename} (1)" in said

    def look(url, identity="uid:0", ca="clinic"):
        return a.database.one("SELECT chancery.api_look(%s, '1', %s, %s, 'crl', NULL)", (identity, ca, url))

    def found(url):
        order = look(url)["id"]
        return wait_until(lambda: (k := a.database.one("SELECT chancery.api_look_result('uid:0', %s)", (order,)))["state"] == "done"
                          and k, what="the issuer's answer")

    good = place.url + "/clinic.crl"
    assert look(good)["state"] == "open" and found(good)["error"] is None
    asked = len(place.seen)
    for url in (good + "x", good[:-1], place.url + "/", "http://169.254.169.254/clinic.crl", good.replace("http", "file"),
                "http://u@" + good[7:], good + "?a=b", good + "#x", good + "\n", a.daemon.crl_url("other"), "file:///etc/passwd"):
        answer = found(url)
        assert 'CA "clinic" tells nobody to look at ' in answer["error"], url
        assert (answer["size"], answer["sha256"], answer["content"]) == (None, None, None)
    assert len(place.seen) == asked
    for url in ("http://", "http://" + "a" * 2041):
        with pytest.raises(psycopg2.Error, match="url has 8 to 2047 octets"):
            look(url)
    with pytest.raises(psycopg2.Error, match="is not known"):
        look(good, ca="nobody")
    with pytest.raises(psycopg2.Error, match="not registered"):
        look(good, identity="tls:" + "00" * 32)
    person = a.database.one(STORE + "INSERT INTO person (name) VALUES ('onlooker') RETURNING id")
    a.database.execute(STORE + "INSERT INTO person_role (person_id, role) VALUES (%s, 'auditor'); INSERT INTO credential "
                       "(person_id, kind, spki, spki_sha256) VALUES (%s, 'tls_client', 'x', sha256('x'))", (person, person))
    key = a.database.one("SELECT encode(sha256('x'), 'hex')")
    with pytest.raises(psycopg2.Error, match="no role that sends hosts to look"):
        look(good, identity="tls:" + key)
    a.database.execute(STORE + "INSERT INTO look (signer_id, ca_id, url, artifact, ordered_by) SELECT 99, (SELECT min(id) FROM ca), "
                       "'http://a/' || i, 'crl', 'x' FROM generate_series(1, 32) i")
    with pytest.raises(psycopg2.Error, match="as many looks"):
        look(good)
    a.database.execute(STORE + "DELETE FROM look")
