"""Certificates of people and machines in the directory entries of their subjects, with a
real slapd: added beside those that are there, taken out again, and never in another's."""

import os

import pytest
import yaml

from harness import clients
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


def get(a, name, template="user", **csr):
    """An issued certificate: its DER and its serial."""
    request = a.submit(clients.openssl_csr(a.files, name, **csr), ca="people", template=template)
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
        return rows(a, serial)[target][:2] == [state, absent]
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
