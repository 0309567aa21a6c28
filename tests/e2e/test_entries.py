"""Certificates of people and machines in the directory entries of their subjects, with a
real slapd: added beside those that are there, taken out again, and never in another's."""

import os
import re
import signal

import psycopg2
import pytest
import yaml

from harness import clients
from harness.issuer_sql import Store
from harness.postgres import REPO
from harness.process import wait_until
from harness.slapd import Slapd

PEOPLE = "ou=people,o=example"


class Directory(Slapd):
    def add_person(self, uid, *classes, mail=None, **more):
        with self.connect() as connection:
            assert connection.add(f"uid={uid},{PEOPLE}", ["person", "uidObject", *classes],
                                  {"cn": uid, "sn": uid, **({"mail": mail} if mail else {}), **more}), connection.result

    def certificates(self, uid):
        return sorted(self.read(f"uid={uid},{PEOPLE}", "userCertificate"))


@pytest.fixture(scope="module")
def directory(new_dir):
    schema = "/etc/ldap/schema"
    server = Directory(new_dir("slapd"),
                       more=f"include {schema}/cosine.schema\ninclude {schema}/inetorgperson.schema\n").create().start()
    with server.connect() as connection:
        assert connection.add(PEOPLE, ["organizationalUnit"], {"ou": "people"})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def people(shared_instance, directory):
    """A CA whose users get their certificates into the directory."""
    a = shared_instance
    path = clients.write(a.daemon.credentials_dir, "directory", directory.password)
    os.chmod(path, 0o600)
    with open(os.path.join(REPO, "daemon/templates/user.yaml"), encoding="utf-8") as f:
        user = yaml.safe_load(f)
    for name, approval in (("unseen", "automatic"), ("mailer", "manual")):
        a.cli("template", "apply", clients.write(a.files, f"{name}.yaml", yaml.safe_dump(
            {**user, "name": name, "approval": approval})))
    writer = {"credential": "directory", "bind_dn": directory.root_dn}
    a.create_issuing("people", templates=["user", "mailer", "unseen"], entries=[
        {"name": "by-uid", "entry": f"{directory.url}/uid=<subject.UID>,{PEOPLE}", "templates": ["user", "unseen"],
         "remove": ["revoked", "expired"], **writer},
        {"name": "by-mail", "entry": f"{directory.url}/{PEOPLE}??sub?(mail=<san.email>)", "templates": ["mailer"],
         "remove": ["revoked"], **writer},
        {"name": "by-requester", "entry": f"{directory.url}/uid=<requester>,{PEOPLE}", "templates": ["unseen"], **writer},
    ])
    return a


def get(a, name, template="user", ca="people", **csr):
    """An issued certificate: its DER and its serial."""
    request = a.submit(clients.openssl_csr(a.files, name, **csr), ca=ca, template=template)
    if template != "unseen":
        a.approve(request)
    a.issued(request)
    return certificate_of(a, request)


def certificate_of(a, request):
    der, serial = a.database.execute(
        "SELECT c.der, encode(c.serial, 'hex') FROM chancery_store.certificate c JOIN chancery_store.request_record r "
        "ON r.id = c.request_id WHERE r.public_id = %s", (request,))[0]
    return bytes(der), serial


def rows(a, serial):
    """{target: (state, absent, last error)}"""
    return {name: rest for name, *rest in a.database.execute(
        "SELECT t.name, p.state, p.absent, p.last_error FROM chancery_store.publication p JOIN chancery_store.target t "
        "ON t.id = p.target_id JOIN chancery_store.certificate c ON c.id = p.certificate_id "
        "WHERE encode(c.serial, 'hex') = %s", (serial,))}


def wait_row(a, serial, target, state, absent=False):
    def reached():
        return rows(a, serial).get(target, [])[:2] == [state, absent]
    wait_until(reached, what=f"{target} {state}", alive=a.daemon.process)


def test_added_beside_others_and_taken_out(people, directory):
    a = people
    directory.add_person("alice")  # of no class that has certificates
    first, one = get(a, "alice1", subject="/UID=alice/CN=Alice")
    wait_row(a, one, "by-uid", "done")
    second, two = get(a, "alice2", subject="/UID=alice/CN=Alice")
    wait_row(a, two, "by-uid", "done")
    assert directory.certificates("alice") == sorted([first, second])
    assert set(rows(a, one)) == {"by-uid"}  # of its template
    a.cli("cert", "hold", one)
    wait_row(a, one, "by-uid", "done", absent=True)
    assert directory.certificates("alice") == [second]
    a.cli("cert", "release", one)
    wait_row(a, one, "by-uid", "done")
    assert directory.certificates("alice") == sorted([first, second])
    a.cli("cert", "revoke", two, "--reason", "superseded")
    wait_row(a, two, "by-uid", "done", absent=True)
    assert directory.certificates("alice") == [first]
    # Time passes.
    a.database.execute("UPDATE chancery_store.publication p SET absent_from = now() - interval '1 s' FROM "
                       "chancery_store.certificate c WHERE c.id = p.certificate_id AND encode(c.serial, 'hex') = %s", (one,))
    assert a.database.execute("SELECT chancery_store.expire_in_entries(10)") == [(1,)]
    wait_row(a, one, "by-uid", "done", absent=True)
    assert directory.certificates("alice") == []
    actions = [row[0] for row in a.database.execute(
        "SELECT action FROM chancery_store.audit WHERE object = 'people/by-uid' ORDER BY id")]
    assert actions == ["artifact.published"] * 2 + ["artifact.removed", "artifact.published"] + ["artifact.removed"] * 2


def test_who_has_no_entry_is_a_state(people, directory):
    a = people
    der, serial = get(a, "late", subject="/UID=late/CN=Late")
    wait_row(a, serial, "by-uid", "no-entry")
    assert "does not exist" in rows(a, serial)["by-uid"][2]
    shown = [p for p in a.cli.json("publish", "status", "people")["publications"] if p["serial"] == serial]
    assert [(p["target"], p["state"], p["artifact"]) for p in shown] == [("by-uid", "no-entry", "certificate")]
    assert shown[0]["next_at"] is not None and "does not exist" in shown[0]["last_error"]
    assert "is not published" not in [line for line in a.daemon.process.log().splitlines() if "by-uid" in line][-1]
    # Somebody makes the entry, and has it tried again.
    directory.add_person("late", "pkiUser")
    a.cli("publish", "retry", shown[0]["id"])
    wait_row(a, serial, "by-uid", "done")
    assert directory.certificates("late") == [der]
    # What is done is not in the way.
    assert serial not in [p["serial"] for p in a.cli.json("publish", "status", "people")["publications"]]
    # Nobody's.
    _, serial = get(a, "none", subject="/CN=None")
    wait_row(a, serial, "by-uid", "no-entry")
    assert "no name that <subject.UID>" in rows(a, serial)["by-uid"][2]


def test_found_by_a_search(people, directory):
    a = people
    directory.add_person("carol", "inetOrgPerson", mail="carol@x.example")
    directory.add_person("dave", "inetOrgPerson", mail="star*@x.example")
    der, serial = get(a, "carol", template="mailer", email=["carol@x.example"])
    wait_row(a, serial, "by-mail", "done")
    assert directory.certificates("carol") == [der]
    # A star is a star.
    _, other = get(a, "star", template="mailer", email=["*@x.example"])
    wait_row(a, other, "by-mail", "no-entry")
    assert "no entry below" in rows(a, other)["by-mail"][2]
    # Two have the address by now: nobody guesses. It is taken out of where it was put.
    directory.add_person("carol2", "inetOrgPerson", mail="carol@x.example")
    _, third = get(a, "carol3", template="mailer", email=["carol@x.example"])
    wait_row(a, third, "by-mail", "no-entry")
    assert "several entries match" in rows(a, third)["by-mail"][2]
    a.cli("cert", "revoke", serial, "--reason", "superseded")
    wait_row(a, serial, "by-mail", "done", absent=True)
    assert directory.certificates("carol") == directory.certificates("carol2") == directory.certificates("dave") == []


def test_a_requester_chooses_nobody_else(people, directory):
    """What nobody looked at says who asked, and nothing that its requester wrote counts."""
    a = people
    directory.add_person("victim", "pkiUser")
    directory.add_person("service_one", "pkiUser")
    csr = clients.openssl_csr(a.files, "mallory", subject="/UID=victim/CN=Victim")
    request = a.submit_by_sql(csr.der, "people", "unseen")
    a.wait_state(request, "issued")
    der, serial = certificate_of(a, request)
    wait_row(a, serial, "by-uid", "no-entry")
    assert "without an operator's decision" in rows(a, serial)["by-uid"][2]
    wait_row(a, serial, "by-requester", "done")
    assert directory.certificates("victim") == []
    assert directory.certificates("service_one") == [der]
    # Whom only the front knows has no name.
    _, serial = get(a, "local", template="unseen", subject="/UID=victim/CN=Victim")
    wait_row(a, serial, "by-requester", "no-entry")
    assert directory.certificates("victim") == []
    # And with a decision the name is one name.
    _, serial = get(a, "inject", subject="/UID=victim,ou=people/CN=Injected")
    wait_row(a, serial, "by-uid", "no-entry")
    assert directory.certificates("victim") == []


def test_a_directory_that_is_away(people, directory):
    a = people
    directory.add_person("erin", "pkiUser")
    directory.stop()
    der, serial = get(a, "erin", subject="/UID=erin/CN=Erin")
    wait_until(lambda: rows(a, serial)["by-uid"][2], what="a failed attempt", alive=a.daemon.process)
    assert rows(a, serial)["by-uid"][0] in ("pending", "working")
    directory.process.start()
    wait_until(directory.answers, what="slapd", alive=directory.process)
    wait_row(a, serial, "by-uid", "done")
    assert directory.certificates("erin") == [der]


def test_the_metrics_count_them(people):
    text = people.database.execute("SELECT chancery_store.metrics_of_publications()")[0][0]
    assert 'chancery_entry_certificates{ca="people",target="by-uid",state="no-entry"}' in text
    assert 'chancery_publication_waiting_seconds{ca="people",target="by-' not in text


STORE = "SET search_path = chancery_store; "


def settled(a, directory, ca, names, **more):
    """A CA that had certificates before its policy sent them anywhere: {name: (DER, serial)}."""
    a.create_issuing(ca, templates=["user", "mailer"])
    issued = {name: get(a, f"{ca}-{name}", ca=ca, subject=f"/UID={ca}-{name}/CN={name}") for name in names}
    for name in names:
        directory.add_person(f"{ca}-{name}", "pkiUser")
    assert "go to directory entries" in a.cli.fails("publish", "entries", ca)
    a.cli("ca", "limits", "change", ca, "--policy", a.issuing_policy(ca, templates=["user", "mailer"], entries=[
        {"name": "by-uid", "entry": f"{directory.url}/uid=<subject.UID>,{PEOPLE}", "templates": ["user"],
         "credential": "directory", "bind_dn": directory.root_dn, **more}]))
    return issued


def looked_through(a, ca):
    """What has come of its orders: (looked at, added) of each."""
    return a.database.execute(
        "SELECT (detail->>'looked_at')::int, (detail->>'added')::int FROM chancery_store.audit "
        "WHERE action = 'entries.looked-through' AND object = %s ORDER BY id", (f"{ca}/by-uid",))


def order_and_wait(a, ca, nth):
    assert "are on their way" in a.cli("publish", "entries", ca)
    wait_until(lambda: len(looked_through(a, ca)) == nth, what="the end of the look", alive=a.daemon.process)
    return looked_through(a, ca)[-1]


def test_certificates_from_before_the_policy(people, directory):
    a = people
    issued = settled(a, directory, "late-policy", ["valid", "held", "revoked", "expired"], remove=["revoked", "expired"])
    other, _ = get(a, "late-policy-mailer", "mailer", ca="late-policy", subject="/UID=late-policy-valid/CN=Mailer")
    serial = {name: s for name, (_, s) in issued.items()}
    a.cli("cert", "hold", serial["held"])
    a.cli("cert", "revoke", serial["revoked"], "--reason", "superseded")
    a.database.execute("UPDATE chancery_store.certificate SET not_after = now() - interval '1 s' "
                       "WHERE encode(serial, 'hex') = %s", (serial["expired"],))
    new, new_serial = get(a, "late-policy-new", ca="late-policy", subject="/UID=late-policy-valid/CN=New")
    wait_row(a, new_serial, "by-uid", "done")
    assert directory.certificates("late-policy-valid") == [new]  # as without an order

    assert a.cli.json("publish", "entries", "late-policy") == {"ca": "late-policy", "targets": ["by-uid"]}
    wait_row(a, serial["valid"], "by-uid", "done")
    assert directory.certificates("late-policy-valid") == sorted([issued["valid"][0], new])
    wait_until(lambda: looked_through(a, "late-policy") == [(6, 2)], what="the end of the look", alive=a.daemon.process)
    assert rows(a, serial["revoked"]) == rows(a, serial["expired"]) == {}
    for name in ("held", "revoked", "expired"):
        assert directory.certificates(f"late-policy-{name}") == [], name
    # One that was on hold is as if it had been there before.
    a.cli("cert", "release", serial["held"])
    wait_row(a, serial["held"], "by-uid", "done")
    assert directory.certificates("late-policy-held") == [issued["held"][0]]
    # And one from before is taken out like any other.
    a.cli("cert", "revoke", serial["valid"], "--reason", "superseded")
    wait_row(a, serial["valid"], "by-uid", "done", absent=True)
    assert directory.certificates("late-policy-valid") == [new]
    # Once more changes nothing.
    before = a.database.execute("SELECT * FROM chancery_store.publication ORDER BY id")
    assert order_and_wait(a, "late-policy", 2) == (6, 0)
    assert a.database.execute("SELECT * FROM chancery_store.publication ORDER BY id") == before
    # Another policy, another template.
    a.cli("ca", "limits", "change", "late-policy", "--policy", a.issuing_policy(
        "late-policy", templates=["user", "mailer"], entries=[
            {"name": "by-uid", "entry": f"{directory.url}/uid=<subject.UID>,{PEOPLE}", "templates": ["user", "mailer"],
             "credential": "directory", "bind_dn": directory.root_dn}]))
    assert order_and_wait(a, "late-policy", 3) == (6, 1)
    wait_until(lambda: directory.certificates("late-policy-valid") == sorted([new, other]), what="the other template's")
    orders = a.database.execute("SELECT actor FROM chancery_store.audit WHERE action = 'entries.ordered' "
                                "AND object = 'late-policy/by-uid'")
    assert orders == [(f"uid:{os.getuid()}",)] * 3


def test_an_issuer_that_dies_on_the_way(people, directory):
    """The rest follows from where it was, and nothing is there twice."""
    a = people
    names = ["one", "two", "three", "four", "five"]
    issued = settled(a, directory, "killed", names)
    a.daemon.kill_role("issuer", signal.SIGSTOP)  # its part is played here, step by step
    a.cli("publish", "entries", "killed")
    step = STORE + "SELECT publish_before(%s)"
    assert a.database.execute(step, (2,), "chancery_issuer") == [(0,)]
    assert a.database.execute(step, (2,), "chancery_issuer") == [(1000,)]  # as many are in hand
    assert a.cli.json("publish", "status", "killed")["backlog"] == [
        {"ca": "killed", "target": "by-uid", "looked_at": 2, "added": 2}]
    assert re.search(r"(?m)^killed +by-uid +2 +2$", a.cli("publish", "status", "killed"))
    assert a.cli.json("publish", "status", "people")["backlog"] == []
    # The newest first.
    assert [bool(rows(a, issued[name][1])) for name in names] == [False] * 3 + [True] * 2
    connection = a.database.connect("chancery_issuer")
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute(step, (3,))
        # Nothing is revoked meanwhile, unseen.
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            a.database.execute(STORE + "SELECT event_seq FROM ca WHERE name = 'killed' FOR NO KEY UPDATE NOWAIT")
        # Another issuer does not wait for that one.
        assert a.database.execute(step, (3,), "chancery_issuer") == [(1000,)]
    connection.close()  # and it is dead
    assert a.database.execute(STORE + "SELECT looked_at, added FROM entry_backlog") == [(2, 2)]
    a.cli("publish", "entries", "killed")  # an impatient operator
    a.daemon.kill_role("issuer")
    wait_until(lambda: looked_through(a, "killed"), what="the end of the look", alive=a.daemon.process)
    assert looked_through(a, "killed")[-1][1] == 5
    for name in names:
        wait_row(a, issued[name][1], "by-uid", "done")
        assert directory.certificates(f"killed-{name}") == [issued[name][0]]
    assert a.database.execute(STORE + "SELECT count(*) FROM entry_backlog") == [(0,)]


def test_who_may_order_it(people):
    a = people
    for statement in ("SELECT chancery_store.publish_before(1)", "INSERT INTO chancery_store.entry_backlog VALUES (1)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            a.database.execute(statement, user="chancery_front")
    assert "is not known" in a.cli.fails("publish", "entries", "nobody")


def test_every_look_at_certificates_has_its_index(people):
    """What is read is what is looked at, however many there are."""
    a = people
    ca = Store(a.database).ca("long-list")
    a.database.execute(STORE + """
        INSERT INTO serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256)
        SELECT %(issuer)s, '\\x01' || substr(sha256(i::text::bytea), 1, 19), %(generation)s, %(scope)s, 1, sha256('x') FROM generate_series(1, 20000) i;
        INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before, not_after,
            spki_sha256, sha256, der)
        SELECT %(issuer)s, '\\x01' || substr(sha256(i::text::bytea), 1, 19), %(ca)s, %(generation)s, %(scope)s, 'CN=x', now(), now() + interval '1 y',
            sha256('x'), sha256(i::text::bytea), '\\x30' FROM generate_series(1, 20000) i;
        INSERT INTO target (ca_id, name, kind, artifact, write_url, read_url, options)
        VALUES (%(ca)s, 'long-list', 'ldap', 'certificate', 'ldap://x', 'ldap://x', '{"templates": ["user"]}');
        INSERT INTO artifact (kind, ca_id, rank, size, complete) VALUES ('certificate', %(ca)s, 0, 1, true);
        INSERT INTO publication (target_id, certificate_id, artifact_id, rank, next_at)
        SELECT t.id, c.id, f.id, 0, now() + interval '9 minutes' FROM target t, certificate c, artifact f
        WHERE t.ca_id = %(ca)s AND c.ca_id = %(ca)s AND f.ca_id = %(ca)s;
        INSERT INTO revocation SELECT scope_id, serial, now(), not_after, id, 1 FROM certificate WHERE ca_id = %(ca)s""",
        {"issuer": ca.issuer, "generation": ca.generation, "scope": ca.scope, "ca": ca.id})
    a.database.execute("VACUUM ANALYZE chancery_store.certificate, chancery_store.publication, chancery_store.revocation")
    target = a.database.one(STORE + "SELECT id FROM target WHERE ca_id = %s", (ca.id,))

    def plan(query, which=target):
        return a.database.execute(STORE + "EXPLAIN (ANALYZE, FORMAT JSON) " + query, (which,), "chancery_issuer")[0][0][0]["Plan"]

    def scans(node):
        found = [s for n in node.get("Plans", []) for s in scans(n)]
        if "Scan" in node["Node Type"] and "Relation Name" in node:
            read = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            found.append((node["Relation Name"], node["Node Type"], node.get("Index Name"), read))
        return found

    everything = "SELECT * FROM certificates_before(%s, 9223372036854775807, 200)"
    older = scans(plan(everything, a.database.one(STORE + "SELECT target_id FROM publication ORDER BY id LIMIT 1")))
    assert all(read <= 200 for *_, read in older), older
    looked = scans(plan(everything))
    large = {name: (kind, index) for name, kind, index, _ in looked if name in ("certificate", "publication", "revocation")}
    assert large["certificate"][1] == "certificate_ca_id_id_idx" and large["revocation"][1] == "revocation_entry", looked
    assert large["publication"][1] in ("publication_by_certificate", "publication_target_id_coalesce_coalesce1_idx"), looked
    assert all("Seq" not in kind for kind, _ in large.values()) and all(read <= 200 for *_, read in looked), looked
    in_hand = scans(plan("SELECT count(*) FROM publications_in_hand(%s, 200)"))
    assert [s[2] for s in in_hand] == ["publication_due_at_target"] and in_hand[0][3] <= 200, in_hand


@pytest.mark.parametrize("change, words", [
    ({"entry": "ldap://ds.example/cn=all,o=example"}, "has no variable"),
    ({"templates": ["sub-ca"]}, "by which this CA does not issue"),
    ({"name": "dir"}, "the name of another target or entry"),
    ({"bind_dn": "cn=w,o=x", "credential": "c"}, "would cross the network unencrypted"),
    ({"remove": ["old"]}, "allowed: revoked, expired"),
    ({"write": "ldap://x/o=y"}, "unknown key"),
])
def test_policies_that_are_refused(shared_instance, change, words):
    a = shared_instance
    entry = {"name": "e", "entry": "ldap://ds.example/uid=<subject.UID>,o=example", "templates": ["user"], **change}
    path = a.issuing_policy("refused", entries=[entry], targets=[
        {"name": "dir", "artifact": "crl", "kind": "file", "write": "/srv/x.crl", "read": "http://127.0.0.1/x.crl"}])
    assert words in a.cli.fails("ca", "create", "refused", "--policy", path)
