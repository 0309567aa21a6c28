"""Several CRLs of one CA: by shard and by kind, each with its own numbers, deltas,
addresses and targets; and what relying parties make of them."""

import os

import pytest
from cryptography import x509

from harness import clients
from harness.process import PATIENCE_S, run, wait_until
from test_crl import Read, certificate, one, serial_of, sql

SHARDS = 3
FLAGS = ["in_certificates", "in_idp", "in_freshest"]
NAME = "<CaName><CRLPartitionIndex><CRLNameSuffix><DeltaCRLAllowed>.crl"


def locations(a, *more):
    return {"delta_suffix": "-delta",
            "cdp": [{"url": f"http://127.0.0.1:{a.daemon.http_port}/crl/{NAME}", "flags": FLAGS}, *more],
            "aia": [{"url": f"http://127.0.0.1:{a.daemon.http_port}/aia/<CaName>.cer", "flags": ["in_certificates"]}]}


def label_of(pem):
    """The partition that the certificate names, by its one CDP."""
    names = [n.value for p in x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
        x509.CRLDistributionPoints).value for n in p.full_name]
    assert len(names) == 1
    return names[0].rsplit("/", 1)[1][:-len(".crl")].partition("~")[2]


def at_rest(a, ca):
    wait_until(lambda: one(
        a, "SELECT bool_and(next_full_at > now() + interval '1 h' AND NOT EXISTS (SELECT FROM crl WHERE scope_id = s.id "
        "AND state IN ('building', 'signing'))) FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = %s", ca),
        what="CRLs at rest")


@pytest.fixture(scope="module")
def parts(shared_instance):
    """A CA with three shards, published to a folder, and a certificate in each."""
    a = shared_instance
    a.public = os.path.join(a.daemon.config["issuer"]["publish_dirs"][0], "parts") \
        if a.daemon.config["issuer"].get("publish_dirs") else os.path.join(a.directory, "parts")
    os.makedirs(a.public, exist_ok=True)
    a.create_issuing(
        "parts", locations=locations(a, {"url": f"file://{a.public}/{NAME}", "flags": ["publish", "publish_delta"]}),
        crl={"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h", "shards": SHARDS})
    at_rest(a, "parts")
    a.held = {}
    for i in range(40):
        _, pem = certificate(a, "parts", f"part-{i}")
        a.held.setdefault(label_of(pem), []).append(pem)
        if len(a.held) == SHARDS and all(len(v) >= 2 for v in a.held.values()):
            break
    assert set(a.held) == {f"{i}of{SHARDS}" for i in range(1, SHARDS + 1)}
    return a


def read(a, ca, label, directory, delta=False):
    return Read(a.crl(f"{ca}~{label}", delta), a.ca_pem(ca), directory)


def url(a, ca, label, delta=False):
    return a.daemon.crl_url(f"{ca}~{label}", delta)


def test_each_shard_has_its_own_certificates(parts, work_dir):
    a = parts
    label, (victim, *_) = sorted(a.held.items())[1]
    serial = serial_of(victim)
    a.cli("cert", "revoke", f"{serial:040x}", "--reason", "superseded")
    a.issue_crl("parts")
    at_rest(a, "parts")
    numbers = {}
    for other in a.held:
        crl = read(a, "parts", other, work_dir)
        numbers[other] = crl.number
        assert set(crl.revoked) == ({serial} if other == label else set())
        point = crl.extension(x509.IssuingDistributionPoint)
        assert point.critical and [n.value for n in point.value.full_name] == [url(a, "parts", other)]
        assert not point.value.only_contains_user_certs and not point.value.only_contains_ca_certs
        assert [n.value for p in crl.value(x509.FreshestCRL) for n in p.full_name] == [url(a, "parts", other, True)]
        delta = read(a, "parts", other, work_dir, delta=True)
        assert delta.number == crl.number and delta.value(x509.IssuingDistributionPoint) == point.value
    assert len(set(numbers.values())) == 1  # the order made one of each
    assert a.daemon.web.get("/crl/parts.crl").status == 404  # no CRL stands for all

    # A delta of one shard changes no other.
    second = serial_of(a.held[label][1])
    a.cli("cert", "hold", f"{second:040x}")
    a.issue_crl("parts", delta=True)
    assert set(read(a, "parts", label, work_dir, delta=True).revoked) == {second}
    assert all(set(read(a, "parts", o, work_dir, delta=True).revoked) == set() for o in a.held if o != label)
    assert a.daemon.web.get(f"/crl/parts~{label}+.crl").body == a.crl(f"parts~{label}", delta=True)
    assert a.daemon.web.get(f"/crl/parts~{label}++.crl").status == a.daemon.web.get(f"/aia/parts+.cer").status == 404
    page = a.daemon.web.get("/").body.decode()
    assert all(f'href="crl/parts~{o}.crl"' in page and f'href="crl/parts~{o}-delta.crl"' in page for o in a.held)


def test_names_in_crls_and_certificates_are_the_same_octets(parts):
    a = parts
    for label, (pem, *_) in a.held.items():
        der = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
            x509.CRLDistributionPoints).value.public_bytes()
        name = url(a, "parts", label).encode()
        whole = b"\x86" + bytes([len(name)]) + name  # [6] uniformResourceIdentifier
        idp = bytes(one(a, "SELECT idp FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'parts' AND label = %s",
                        "~" + label))
        assert whole in der and whole in idp and idp in a.crl(f"parts~{label}")
        assert one(a, "SELECT s.label FROM certificate c JOIN crl_scope s ON s.id = c.scope_id WHERE c.serial = %s",
                   serial_of(pem).to_bytes(20, "big")) == "~" + label


def test_each_is_published_to_its_own_place(parts):
    a = parts

    def there():
        rows = sql(a, "SELECT t.write_url, r.id, p.published_id = p.artifact_id FROM publication p JOIN target t ON "
                   "t.id = p.target_id JOIN crl_scope s ON s.id = p.scope_id JOIN ca a ON a.id = s.ca_id JOIN artifact r "
                   "ON r.id = p.artifact_id WHERE a.name = 'parts'")
        return rows if len(rows) == 2 * SHARDS and all(done for *_, done in rows) else None

    rows = wait_until(there, what="the folder")
    assert len({path for path, *_ in rows}) == 2 * SHARDS
    for label in a.held:
        for delta in (False, True):
            with open(f"{a.public}/parts~{label}{'-delta' if delta else ''}.crl", "rb") as f:
                assert f.read() == a.crl(f"parts~{label}", delta)


# ------------------------------------------------------------ relying parties


def chain(a, ca="parts"):
    return a.ca_pem(ca), a.ca_pem(a.root)


def openssl(a, directory, pem, labels, deltas=True):
    """Words of openssl verify with the CRLs of these shards."""
    issuing, root = chain(a)
    crls = []
    for label in labels:
        for delta in (False, True) if deltas else (False,):
            der = clients.write(directory, f"{label}-{delta}.crl", a.crl(f"parts~{label}", delta))
            crls.append(clients.write(directory, f"{label}-{delta}.pem",
                                      run(["openssl", "crl", "-inform", "DER", "-in", der], text=True).stdout))
    result = run(["openssl", "verify", "-crl_check", "-extended_crl", *(["-use_deltas"] if deltas else []),
                  "-CAfile", clients.write(directory, "root.pem", root),
                  "-untrusted", clients.write(directory, "issuing.pem", issuing),
                  *[w for c in crls for w in ("-CRLfile", c)], clients.write(directory, "leaf.pem", pem)],
                 check=False, text=True)
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def judged(parts):
    """One revoked in the complete CRL, one only in the delta behind it, one good."""
    a = parts
    label = f"1of{SHARDS}"
    while len(a.held[label]) < 3:
        _, pem = certificate(a, "parts", f"more-{sum(map(len, a.held.values()))}")
        a.held[label_of(pem)].append(pem)
    revoked, late, good = a.held[label][:3]
    a.cli("cert", "revoke", f"{serial_of(revoked):040x}", "--reason", "superseded")
    a.issue_crl("parts")
    a.cli("cert", "revoke", f"{serial_of(late):040x}", "--reason", "superseded")
    a.issue_crl("parts", delta=True)
    return label, revoked, late, good


def test_openssl_takes_the_right_shard(parts, judged, work_dir):
    a = parts
    label, revoked, late, good = judged
    others = [o for o in a.held if o != label]
    assert "certificate revoked" in openssl(a, work_dir, revoked, [label])
    assert "certificate revoked" in openssl(a, work_dir, late, [label])
    assert "certificate revoked" not in openssl(a, work_dir, late, [label], deltas=False)
    assert ": OK" in openssl(a, work_dir, good, [label, *others])
    # The lists of the other shards say nothing of this one's certificates.
    words = openssl(a, work_dir, revoked, others)
    assert ": OK" not in words and "certificate revoked" not in words


def test_strongswan_finds_shard_and_delta_itself(parts, judged, work_dir):
    a = parts
    label, revoked, late, good = judged
    for pem, expected in ((revoked, False), (late, False), (good, True)):
        accepted, said = clients.pki_verify(work_dir, pem, *chain(a))
        assert accepted is expected, said
        assert f"/crl/parts~{label}.crl" in said and ("certificate was revoked" in said) is not expected, said
    assert f"/crl/parts~{label}-delta.crl" in clients.pki_verify(work_dir, late, *chain(a))[1]


def test_gnutls_takes_the_one_it_is_given(parts, judged, work_dir):
    """It reads no issuingDistributionPoint: with another shard's list a revoked
    certificate passes, as the README says."""
    a = parts
    label, revoked, _, good = judged
    other = next(o for o in a.held if o != label)
    for pem, which, expected in ((revoked, label, False), (good, label, True), (revoked, other, True)):
        crls = [a.crl(f"parts~{which}"), a.crl(a.root)]
        accepted, said = clients.certtool_verify(work_dir, pem, *chain(a), crls)
        assert accepted is expected, said


# -------------------------------------------------------------------- by kind


def test_user_and_ca_certificates(shared_instance, work_dir):
    a = shared_instance
    a.create_root("kinds", templates=["sub-ca", "tls-server"], locations={
        "cdp": [{"url": f"http://127.0.0.1:{a.daemon.http_port}/crl/<CaName><CRLPartitionIndex>.crl",
                 "flags": ["in_certificates", "in_idp"]}]},
        crl={"period": "30d", "overlap": "3d", "by_kind": True, "expired_certificates": True})
    a.create_issuing("kind-sub", root="kinds")
    at_rest(a, "kinds")
    _, user = certificate(a, "kinds", "kind-user")
    assert (label_of(a.ca_pem("kind-sub")), label_of(user)) == ("ca", "user")
    for pem in (user, a.ca_pem("kind-sub")):
        a.cli("cert", "revoke", f"{serial_of(pem):040x}", "--reason", "superseded")
    a.issue_crl("kinds")
    for label, pem in (("user", user), ("ca", a.ca_pem("kind-sub"))):
        crl = read(a, "kinds", label, work_dir)
        assert set(crl.revoked) == {serial_of(pem)}
        point = crl.value(x509.IssuingDistributionPoint)
        assert (point.only_contains_user_certs, point.only_contains_ca_certs) == (label == "user", label == "ca")
        assert [n.value for n in point.full_name] == [url(a, "kinds", label)]
        expired = [e for e in crl.crl.extensions if e.oid.dotted_string == "2.5.29.60"]
        assert len(expired) == 1 and not expired[0].critical and expired[0].value.value[:2] == b"\x18\x0f"
    # OpenSSL takes the list of the kind, and none of the other.
    for label, verdict in (("user", "certificate revoked"), ("ca", "different CRL scope")):
        der = clients.write(work_dir, f"kind-{label}.crl", a.crl(f"kinds~{label}"))
        pem = run(["openssl", "crl", "-inform", "DER", "-in", der], text=True).stdout
        said = run(["openssl", "verify", "-crl_check", "-extended_crl", "-CAfile",
                    clients.write(work_dir, "kinds.pem", a.ca_pem("kinds")), "-CRLfile",
                    clients.write(work_dir, f"kind-crl-{label}.pem", pem), clients.write(work_dir, "kind-user.pem", user)],
                   check=False, text=True)
        assert verdict in said.stdout + said.stderr, said
    # A root's own certificate is a CA's.
    assert one(a, "SELECT s.kind FROM certificate c JOIN crl_scope s ON s.id = c.scope_id JOIN ca a ON a.id = c.ca_id "
               "WHERE a.name = 'kinds' AND c.request_id IS NULL") == "ca"


def test_expired_entries_stay_where_the_policy_says_so(shared_instance, work_dir):
    a = shared_instance
    served = {}
    for name, keeps in (("keeps", True), ("drops", False)):
        a.create_issuing(name, deltas=False, crl={"period": "7d", "overlap": "12h", "expired_certificates": keeps})
        at_rest(a, name)
        _, pem = certificate(a, name, "gone")
        a.cli("cert", "revoke", f"{serial_of(pem):040x}", "--reason", "superseded")
        for _ in range(2):  # the second finds it expired, and on a regular CRL before
            number = Read(a.crl(name), a.ca_pem(name), work_dir).number
            sql(a, "UPDATE crl_scope SET next_full_at = now() WHERE ca_id = (SELECT id FROM ca WHERE name = %s)", name)
            wait_until(lambda n=number: Read(a.crl(name), a.ca_pem(name), work_dir).number > n, PATIENCE_S, what="a CRL")
            at_rest(a, name)
            end = one(a, "SELECT CASE WHEN %s THEN (SELECT expired_since FROM crl_scope s JOIN ca a ON a.id = s.ca_id "
                      "WHERE a.name = 'keeps') ELSE now() - interval '1 h' END", keeps)
            for table in ("revocation", "revocation_event"):
                sql(a, f"SET session_replication_role = replica; UPDATE {table} SET not_after = %s WHERE serial = %s", end,
                    serial_of(pem).to_bytes(20, "big"))
        served[name] = set(Read(a.crl(name), a.ca_pem(name), work_dir).revoked)
        expected = {serial_of(pem)} if keeps else set()
        assert served[name] == expected, name


# ---------------------------------------------------------- another policy


def change(a, ca, crl, section, **more):
    """Gives the CA another policy; what the service says of it."""
    path = a.issuing_policy(ca, crl=crl, locations=section, **more)
    return a.cli("ca", "limits", "change", ca, "--policy", path)


def test_other_names_open_other_crls(shared_instance, work_dir):
    """The certificates that exist keep their CRL, at its place, until the last has ended."""
    a = shared_instance
    crl = {"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h"}
    a.create_issuing("moves", locations=locations(a), crl=crl)
    at_rest(a, "moves")
    _, before = certificate(a, "moves", "before")
    assert label_of(before) == ""
    other = locations(a)
    other["cdp"][0]["url"] = other["cdp"][0]["url"].replace("127.0.0.1", "localhost")
    # How many that concerns is said before anybody signs.
    path = a.issuing_policy("moves", crl={**crl, "shards": 2}, locations=other)
    passphrase = clients.write(a.files, "wrong-passphrase", "not this one\n")
    os.chmod(passphrase, 0o600)
    words = a.cli.as_operator(a.operator_key, passphrase).fails(
        "ca", "limits", "change", "moves", "--policy", path)
    assert "valid certificates that go on naming the old places: 1, the last of them until 20" in words, words
    assert "Passphrase" in words or "passphrase" in words
    assert a.cli.json("ca", "limits", "show", "moves")["version"] == 1
    said = change(a, "moves", {**crl, "shards": 2}, other)
    assert "valid certificates that may name the old places: 1; these are kept until the last of them has ended" in said
    at_rest(a, "moves")
    assert sql(a, "SELECT label, current FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'moves' ORDER BY s.id") \
        == [("", False), ("~1of2~v2", True), ("~2of2~v2", True)]
    _, after = certificate(a, "moves", "after")
    label = label_of(after)
    assert label in ("1of2~v2", "2of2~v2") and "localhost" in after_cdp(after)
    for pem in (before, after):
        a.cli("cert", "revoke", f"{serial_of(pem):040x}", "--reason", "superseded")
    a.issue_crl("moves")
    old, new = Read(a.crl("moves"), a.ca_pem("moves"), work_dir), read(a, "moves", label, work_dir)
    assert set(old.revoked) == {serial_of(before)} and set(new.revoked) == {serial_of(after)}
    assert [n.value for n in old.value(x509.IssuingDistributionPoint).full_name] == [a.daemon.crl_url("moves")]
    assert [n.value for n in new.value(x509.IssuingDistributionPoint).full_name] == [after_cdp(after)]
    examined = a.cli.json("doctor", "moves")
    assert examined["state"] in ("ok", "warning")
    # The old one is looked at where its certificates say.
    assert {f["check"] for f in examined["findings"] if f["object"] == "moves (key 0)" and f["state"] == "ok"
            and f["detail"].startswith(a.daemon.crl_url("moves"))} == {"crl"}
    assert after_cdp(after) in {line["url"] for line in a.cli.json("ca", "locations", "moves")["locations"]}

    # Its last certificate ends: one regular CRL more, and then none.
    scope = one(a, "SELECT s.id FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'moves' AND label = ''")
    assert one(a, "SELECT until > now() FROM scope_use WHERE scope_id = %s", scope)
    sql(a, "UPDATE certificate SET not_after = now() - interval '1 min' WHERE scope_id = %s", scope)
    sql(a, "UPDATE scope_use SET until = now() - interval '1 min' WHERE scope_id = %s", scope)
    sql(a, "UPDATE crl_scope SET next_full_at = now() WHERE id = %s", scope)
    wait_until(lambda: one(a, "SELECT next_full_at IS NULL AND max(c.number) FILTER (WHERE c.delta) = max(c.number) FROM crl_scope s "
                           "JOIN crl c ON c.scope_id = s.id AND c.state = 'issued' WHERE s.id = %s GROUP BY s.id", scope),
               what="the end of the old CRL, with the delta beside the last one")
    assert one(a, "SELECT next_delta_at FROM crl_scope WHERE id = %s", scope) is None
    assert Read(a.crl("moves"), a.ca_pem("moves"), work_dir).number > old.number
    a.issue_crl("moves")  # only of those that go on
    assert one(a, "SELECT count(*) FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = 'moves' AND "
               "next_full_at IS NOT NULL") == 2


def after_cdp(pem):
    return [n.value for p in x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
        x509.CRLDistributionPoints).value for n in p.full_name][0]


def test_a_crl_without_a_name_is_not_divided(shared_instance):
    a = shared_instance
    crl = {"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h"}
    a.create_issuing("whole")
    at_rest(a, "whole")
    certificate(a, "whole", "one")
    path = a.issuing_policy("whole", crl={**crl, "shards": 2}, locations=locations(a))
    words = a.cli.fails("ca", "limits", "change", "whole", "--policy", path)
    assert "a CRL without one is about every certificate of the key" in words and "RFC 5280 5.2.5" in words
    assert a.cli.json("ca", "limits", "show", "whole")["version"] == 1  # the signer was not asked


def test_new_names_at_the_same_address_are_refused(shared_instance):
    a = shared_instance
    a.create_issuing("narrow", deltas=False, idp=True)
    at_rest(a, "narrow")
    section = {"cdp": [{"url": a.daemon.crl_url("narrow").replace("127.0.0.1", "localhost"),
                        "flags": ["in_certificates", "in_idp"]}]}
    path = a.issuing_policy("narrow", deltas=False, locations=section)
    words = a.cli.fails("ca", "limits", "change", "narrow", "--policy", path)
    assert "could be the address of both: it needs <CRLPartitionIndex>" in words


def test_old_places_are_kept_up_to_date(shared_instance):
    """Where the CRL has no name, it goes to the old places as well as to the new ones."""
    a = shared_instance
    folder = os.path.dirname(a.public) if hasattr(a, "public") else a.directory
    old, new = os.path.join(folder, "kept-old.crl"), os.path.join(folder, "kept-new.crl")
    crl = {"period": "7d", "overlap": "12h"}

    def section(path):
        return {"cdp": [{"url": a.daemon.crl_url("kept"), "flags": ["in_certificates"]},
                        {"url": "file://" + path, "flags": ["publish"]}]}

    def is_there(path):
        return os.path.exists(path) and open(path, "rb").read() == a.crl("kept")

    a.create_issuing("kept", deltas=False, crl=crl, locations=section(old))
    at_rest(a, "kept")
    wait_until(lambda: is_there(old), what="the old place")
    certificate(a, "kept", "one")
    assert "valid certificates that may name the old places: 1;" in change(a, "kept", crl, section(new), deltas=False)
    wait_until(lambda: is_there(new), what="the new place")
    a.issue_crl("kept")
    wait_until(lambda: is_there(old) and is_there(new), what="both places")
    assert one(a, "SELECT t.until = c.not_after FROM target t JOIN ca a ON a.id = t.ca_id JOIN certificate c ON c.ca_id = a.id "
               "WHERE a.name = 'kept' AND t.write_url = %s", old)
    # Told otherwise, it leaves the old one as it is.
    said = change(a, "kept", crl, {**section(old), "keep_old": False}, deltas=False)
    assert "valid certificates that may name places where nothing is published any more: 1" in said
    wait_until(lambda: is_there(old), what="the old place again")
    a.issue_crl("kept")
    wait_until(lambda: is_there(old), what="the old place again")
    assert not is_there(new)
    # Nothing moves, so there is nothing to say.
    assert "certificates that" not in change(a, "kept", {**crl, "period": "6d"}, {**section(old), "keep_old": False}, deltas=False)


def test_what_a_variable_stands_for_moves_places_too(shared_instance):
    """The operator is told, although no location has changed in the policy's text."""
    a = shared_instance
    crl = {"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h"}
    section = {"server": "old.example", "config_dn": "O=old", "delta_suffix": "-delta", "cdp": [
        {"url": "http://%1/<CaName>.crl", "flags": ["in_certificates"]},
        {"url": "ldap://h/CN=x,%6%10", "flags": ["in_certificates"]},
        {"url": "http://h/<CaName>%9.crl", "flags": ["in_freshest"]}],
        "aia": [{"url": "http://%2/x.cer", "flags": ["in_certificates"]}]}
    a.create_issuing("values", locations=section, crl=crl)
    at_rest(a, "values")

    def said(**changed):
        path = a.issuing_policy("values", crl=crl, locations={**section, **changed})
        return a.cli.result("ca", "limits", "change", "values", "--policy", path).stderr

    warning = "warning: the policy changes where clients look"
    assert warning not in said()
    for changed in ({"server": "new.example"}, {"config_dn": "O=new"}, {"delta_suffix": "-d"}):
        section.update(changed)
        words = said()
        assert f"{warning}, for certificates that are issued from then on; no valid certificate names the old places" in words
    _, pem = certificate(a, "values", "one")
    section["server"] = "third.example"
    assert "valid certificates that go on naming the old places: 1, the last of them until 20" in said()
    assert warning in said(keep_old=False, aia=[]) and "not kept up to date ('locations.keep_old')" in said(keep_old=False)
