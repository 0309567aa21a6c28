"""Ceremonies: limits of a CA's key that several persons sign, at one desk or at
several, and what an operator is told who has it wrong."""

import base64
import hashlib
import os
import re
import shutil

import psycopg2
import pytest
from harness import clients, limits
from harness.authority import PASSPHRASE, locations
from harness.chanceryd import program
from harness.decisions import Front, Key, Statement
from harness.process import run, wait_until

UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class Person:
    """An operator with a key, a passphrase and a desk of his own."""

    def __init__(self, a, name, roles, said=None):
        self.name = name
        self.home = os.path.join(a.files, name)
        os.makedirs(self.home)
        self.key_file = os.path.join(self.home, "operator.pem")
        self.phrase = f"{PASSPHRASE} of {name}"
        phrase_file = clients.write(self.home, "phrase", self.phrase + "\n")
        os.chmod(phrase_file, 0o600)
        self.cli = a.cli.as_operator(self.key_file, phrase_file)
        self.cli.make_operator_key()
        added = a.cli.result("operator", "add", name, *[w for role in roles for w in ("--role", role)],
                             "--key", self.key_file + ".pub")
        assert added.returncode == 0, added
        if said is not None:
            said.append(added)

    @property
    def key(self):
        return Key.load(self.key_file, self.phrase)


@pytest.fixture(scope="module")
def a(bare_authority):
    """A running daemon with templates and operators, and no CA yet. alice is
    registered by the socket; bob and carol by her; dave only manages."""
    a = bare_authority
    a.daemon.start()
    a.add_first_operator("alice")
    a.apply_templates()
    a.bob = Person(a, "bob", ["administrator"])
    a.carol = Person(a, "carol", ["administrator"])
    a.dave = Person(a, "dave", ["manager"])
    # Its time is over from the start; the issuer sees to that some time later.
    a.expired = begun(a, "expired")
    a.database.execute("UPDATE chancery_store.decision SET expires_at = now() - interval '1 s' WHERE public_id = %s",
                       (a.expired,))
    return a


def policy(a, name, quorum=2, operators=("alice", "bob", "carol"), **more):
    """The policy of a root that operators have the limits of together."""
    said = {"quorum": quorum, "operators": [{"person": p, "rights": ["limits", "decide"]} for p in operators]}
    said.update(more.pop("limits", {}))
    return a.policy(name, "root", "p256", templates=["sub-ca"], crl={"period": "30d", "overlap": "3d"},
                    locations=locations([a.daemon.crl_url(name)]), limits=said, **more)


def decision_of(output):
    return UUID.search(output)[0]


def limits_of(a, ca, version=None):
    answer = a.api.get(f"/v1/cas/{ca}/limits", **({"version": version} if version else {}))
    assert answer.status == 200, answer
    shown = answer.json()
    assert hashlib.sha256(shown["document"].encode()).hexdigest() == shown["sha256"]
    return shown


def on_console(a):
    """What the signer goes by, as its console shows it, for each CA."""
    shown = run([program("chancery-signer"), "--config", a.daemon.config_path, "--token", "main", "--show-limits"],
                text=True).stdout
    return {part.split("\n")[0]: part for part in shown.split("CA ")[1:]}


# ------------------------------------------------------------------- creating


@pytest.mark.smoke
def test_root_of_two_of_three(a):
    """alice begins, nothing is made; bob sees all of it, signs, and the CA is there."""
    said = a.cli.result("ca", "create", "shared-root", "--policy", policy(a, "shared-root"))
    assert said.returncode == 0, said
    # What alice signed was shown to her: names, fingerprints, readable.
    for person in (a.bob, a.carol):
        assert f"key SHA-256 {person.key.sha256.hex()}" in said.stderr
    assert "# CN=shared-root,O=Chancery Test,C=DE\n" in said.stderr
    assert "# each certificate takes an operator's decision; certificates of at most 3650 days; they are CAs" in said.stderr
    assert "waits for 1 more signature." in said.stdout and "  bob\n  carol\n" in said.stdout
    decision = decision_of(said.stdout)
    assert f"chancery decision sign {decision}" in said.stdout

    listed = a.cli.json("decision", "list", "--state", "collecting")["decisions"][0]
    assert listed["id"] == decision and listed["state"] == "collecting"
    assert listed["needs"] == [{"ca": "shared-root", "quorum": 2, "signed": ["alice"], "missing": 1,
                                "may_sign": ["bob", "carol"]}]
    said = a.cli("decision", "list")
    assert re.search(rf"{decision} +ca-create +shared-root +collecting +alice +1\n", said), said
    assert re.search(rf"  {decision}: 1 more until [^ ]+: bob, carol\n", said), said
    assert a.cli.json("status")["collecting_decisions"] >= 1
    assert a.cli.json("ca", "list")["cas"] == []

    shown = a.bob.cli("decision", "show", decision)
    assert "signed by    alice" in shown and "may sign     bob, carol" in shown and "operators:" in shown
    said = a.bob.cli.result("decision", "sign", decision)
    assert said.returncode == 0 and "CA shared-root is active" in said.stdout, said
    # bob saw the same document, and both get the same digest to compare.
    shown = limits_of(a, "shared-root")
    assert all(f"  {line}\n" in said.stderr for line in shown["document"].splitlines())
    assert f"limits       version 1, SHA-256 {shown['sha256']}\n" in said.stdout
    assert f"key SHA-256  {shown['key_sha256']}\n" in said.stdout and "chancery-signer --show-limits" in said.stdout
    console = on_console(a)["shared-root"]
    assert f"version 1, SHA-256 {shown['sha256']}\n" in console and f"SHA-256 {shown['key_sha256']}\n" in console
    assert "2 of 3 may change the limits" in console
    assert limits.field(shown["document"], "quorum") == "2" and shown["version"] == 1
    assert shown["key_sha256"] in a.carol.cli("ca", "limits", "show", "shared-root")
    assert a.carol.cli.json("ca", "limits", "show", "shared-root") == shown

    assert "takes no more signatures, it is applied: CA shared-root is active" in a.carol.cli.fails(
        "decision", "sign", decision)
    audit = [row[0] for row in a.database.execute(
        "SELECT action FROM chancery_store.audit WHERE object = %s ORDER BY id", (decision,))]
    assert audit == ["decision.received", "decision.signed", "decision.applied"]


@pytest.mark.smoke
def test_all_at_one_desk(a):
    """Three sign one after the other, each with his own passphrase; a subordinate of theirs takes all three to
    be installed."""
    phrases = clients.write(a.files, "phrases", f"{PASSPHRASE}\n{a.bob.phrase}\n{a.carol.phrase}\n")
    os.chmod(phrases, 0o600)
    desk = a.cli.as_operator(a.operator_key, phrases)
    also = ["--also-sign", a.bob.key_file, "--also-sign", a.carol.key_file]
    said = desk("ca", "create", "desk-root", "--policy", policy(a, "desk-root", quorum=3), *also)
    assert "CA desk-root is active" in said and "key SHA-256" in said

    of_two = policy(a, "desk-sub", quorum=2)
    with open(of_two, encoding="utf-8") as f:
        text = f.read().replace("kind: root", "kind: subordinate").replace("templates:\n- sub-ca", "templates:\n- device")
    of_two = clients.write(a.files, "desk-sub.yaml", text)
    # The third key is one too many, and said to be.
    said = desk.result("ca", "create", "desk-sub", "--policy", of_two, *also)
    assert said.returncode == 0 and "Enough have signed; 1 of the keys on this desk was not needed" in said.stderr
    csr = clients.write(a.files, "desk-sub.csr", a.cli("ca", "csr", "desk-sub"))
    request = a.submit(csr, ca="desk-root", template="sub-ca")
    a.approve(request)
    chain = clients.write(a.files, "desk-sub-chain.pem", a.issued(request))
    said = a.cli("ca", "install", "desk-sub", chain)
    decision = decision_of(said)
    assert "waits for 1 more signature." in said
    # Who signs after others sees whose certificate it is.
    shown = a.carol.cli("decision", "show", decision)
    assert "subject      (this CA) CN=desk-sub,O=Chancery Test,C=DE\n" in shown
    assert "issuer       CN=desk-root,O=Chancery Test,C=DE\n" in shown
    assert "CA desk-sub is active" in a.carol.cli("decision", "sign", decision)

    # A wrong passphrase of the second leaves nothing half done.
    os.unlink(phrases)
    clients.write(a.files, "phrases", f"{PASSPHRASE}\nwrong one\n")
    os.chmod(phrases, 0o600)
    before = a.cli.json("decision", "list")["decisions"][0]["id"]
    said = desk.fails("ca", "create", "never", "--policy", policy(a, "never"), "--also-sign", a.bob.key_file)
    assert f"{a.bob.key_file} cannot be opened: the passphrase is wrong" in said
    said = desk.fails("ca", "create", "never", "--policy", policy(a, "never"), "--also-sign", a.operator_key)
    assert "the passphrase is wrong" in said  # of line 2
    said = desk.fails("ca", "create", "never", "--policy", policy(a, "never"), *also)
    assert "the passphrase is wrong" in said
    assert a.cli.json("decision", "list")["decisions"][0]["id"] == before


# ------------------------------------------------------------------- changing


@pytest.fixture(scope="module")
def shared(a):
    """A root of alice, bob and carol, of whom two change its limits."""
    a.bob.cli("decision", "sign", decision_of(a.cli("ca", "create", "change-root", "--policy", policy(a, "change-root"))))
    return "change-root"


def test_change_shows_what_changes(a, shared):
    old = limits_of(a, shared)
    said = a.cli.result("ca", "limits", "change", shared, "--add-operator", "dave", "--remove-operator", "carol",
                        "--quorum", "2")
    assert said.returncode == 0, said
    gone = [line for line in old["document"].splitlines() if line.startswith("operator: carol")]
    assert f"- {gone[0]}\n" in said.stderr and f"+ operator: {limits.operator('dave', a.dave.key, 'decide')}\n" in said.stderr
    assert "- version: 1\n+ version: 2\n- previous: -\n" in said.stderr and f"+ previous: {old['sha256']}\n" in said.stderr
    assert f"  operator: {limits.operator('alice', Key.load(a.operator_key, PASSPHRASE))}\n" in said.stderr
    decision = decision_of(said.stdout)
    assert limits_of(a, shared) == old  # until the second has signed
    # Those in force count: carol, whom the new ones do not name, is one of them.
    assert f"- {gone[0]}\n" in a.carol.cli("decision", "show", decision)
    said = a.carol.cli("decision", "sign", decision)
    new = limits_of(a, shared)
    assert f"the limits of CA {shared} are at version 2" in said and f"version 2, SHA-256 {new['sha256']}" in said
    assert new["version"] == 2 and limits.field(new["document"], "previous") == old["sha256"]
    assert limits.field(new["document"], "key") == new["key_sha256"] == old["key_sha256"]
    assert [line.split()[0] for line in limits.field(new["document"], "operator")] == ["alice", "bob", "dave"]
    assert limits_of(a, shared, version=1)["document"] == old["document"]
    assert f"version 2, SHA-256 {new['sha256']}\n" in on_console(a)[shared]
    # Now she is not.
    said = a.cli("ca", "limits", "change", shared, "--add-operator", "carol:limits")
    decision = decision_of(said)
    assert "those who may sign: alice, bob" in a.carol.cli.fails("decision", "sign", decision)
    assert a.bob.cli("decision", "sign", decision)
    assert limits.operator("carol", a.carol.key, "limits") in limits.field(limits_of(a, shared)["document"], "operator")


def test_change_by_a_policy(a, shared):
    """What the new policy does not say stays; what it may not change is named."""
    before = limits_of(a, shared)
    with open(policy(a, shared, limits={"permitted": ["dns:example.com"]}), encoding="utf-8") as f:
        text = f.read()
    other = clients.write(a.files, "other.yaml", text.replace("validity: 20y", "validity: 21y"))
    assert "differs from the one that the CA was made with in 'validity'" in a.cli.fails(
        "ca", "limits", "change", shared, "--policy", other)
    text = re.sub(r"(?s)  operators:\n.*?(?=  permitted)", "", text).replace("  quorum: 2\n", "")
    text = text.replace("templates:\n- sub-ca", "templates:\n- sub-ca\n- device\n- not-yet")
    fresh = clients.write(a.files, "fresh.yaml", text)
    said = a.cli.result("ca", "limits", "change", shared, "--policy", fresh)
    assert "Template not-yet is not applied yet" in said.stderr and "+ permitted: dns:example.com\n" in said.stderr
    decision = decision_of(said.stdout)
    shown = a.bob.cli("decision", "show", decision)
    assert "+ template: device " in shown and f"The policy of CA {shared}:\n" in shown and "    - not-yet\n" not in shown
    a.bob.cli("decision", "sign", decision)
    after = limits_of(a, shared)
    for field in ("operator", "quorum", "not-after", "signer-ids"):
        assert limits.field(after["document"], field) == limits.field(before["document"], field), field
    ca = a.api.get(f"/v1/cas/{shared}").json()
    assert ca["policy"] == text and ca["templates"] == ["device", "not-yet", "sub-ca"]
    assert limits.field(after["document"], "policy-sha256") == hashlib.sha256(text.encode()).hexdigest()

    # A template that came later.
    template = a.cli("template", "show", "device").replace("name: device", "name: not-yet")
    said = a.cli.result("template", "apply", clients.write(a.files, "not-yet.yaml", template))
    assert f'"chancery ca limits change {shared} --template not-yet"' in said.stderr
    request = a.submit(clients.openssl_csr(a.files, "late", subject="/CN=late.example.com/serialNumber=1"), ca=shared,
                       template="not-yet")
    a.wait_state(request, "pending")
    said = a.cli.fails("request", "approve", request)
    assert f"the limits of CA {shared} do not know template not-yet" in said
    assert f"chancery ca limits change {shared} --template not-yet" in said
    a.bob.cli("decision", "sign", decision_of(a.cli("ca", "limits", "change", shared, "--template", "not-yet")))
    a.approve(request)
    a.wait_state(request, "issued")
    # In force already: nothing to sign.
    assert "nothing of the limits" in a.cli.fails("ca", "limits", "change", shared, "--template", "not-yet")
    same = clients.write(a.files, "same-policy.yaml", a.cli.json("ca", "show", shared)["policy"])
    assert "nothing of the limits" in a.cli.fails("ca", "limits", "change", shared, "--policy", same)
    assert "does not name template nowhere" in a.cli.fails("ca", "limits", "change", shared, "--template", "nowhere")


# ------------------------------------------------- what can be misunderstood


def begun(a, name, **more):
    """A ceremony that alice began: the id of its decision."""
    return decision_of(a.cli("ca", "create", name, "--policy", policy(a, name, **more)))


def test_the_same_person_twice(a):
    decision = begun(a, "twice")
    said = a.cli.fails("decision", "sign", decision)
    assert f"you (alice) have signed decision {decision} already: each person counts once" in said
    # Nor with another key that the limits name: a person, not a key, counts.
    second = os.path.join(a.files, "second.pem")
    a.cli.as_operator(second, a.passphrase_file)("operator", "init")
    a.cli("operator", "add", "alice", "--role", "manager", "--key", second + ".pub")
    decision = begun(a, "twice")
    assert "you (alice) have signed" in a.cli.as_operator(second, a.passphrase_file).fails("decision", "sign", decision)
    # The service says the same to who asks it directly.
    answer = add_signature(a, decision, Key.load(second, PASSPHRASE))
    assert answer.status == 409 and "alice has signed decision" in answer.error_message
    assert answer.error_message.endswith("another one has to sign: bob, carol")
    assert "is alice's, who signs already" in with_phrases(a, PASSPHRASE, PASSPHRASE).fails(
        "ca", "create", "twice", "--policy", policy(a, "twice"), "--also-sign", second)


def with_phrases(a, *phrases):
    path = clients.write(a.files, f"phrases-{os.urandom(4).hex()}", "".join(f"{p}\n" for p in phrases))
    os.chmod(path, 0o600)
    return a.cli.as_operator(a.operator_key, path)


def add_signature(a, decision, key, statement=None, **changes):
    text = statement or a.api.get(f"/v1/decisions/{decision}").json()["statement"]
    body = {"signature": base64.b64encode(key.sign(text)).decode(), "credential": key.sha256.hex()}
    return a.api.post(f"/v1/decisions/{decision}/signatures", body | changes)


def test_signatures_that_are_none(a):
    """What does not verify is not counted, and takes nobody's place."""
    decision = begun(a, "junk")
    bob, carol, dave = a.bob.key, a.carol.key, a.dave.key
    # bob's name, carol's signature; bob's signature of something else; of nothing
    for changes in ({"credential": bob.sha256.hex()}, {"signature": base64.b64encode(bob.sign("other")).decode()}):
        answer = add_signature(a, decision, carol, **changes)
        assert answer.status == 403 and "does not verify" in answer.error_message, answer
    assert add_signature(a, decision, bob, signature="AAAA").status == 403
    assert add_signature(a, decision, bob, signature="A" * 110).status == 400
    answer = add_signature(a, decision, dave)
    assert answer.status == 409 and "do not name this key as that of operator dave" in answer.error_message
    assert answer.error_message.endswith("those who may sign: bob, carol")
    assert add_signature(a, decision, Key()).status == 403
    shown = a.cli.json("decision", "show", decision)
    assert [s["operator"] for s in shown["signatures"]] == ["alice"] and shown["state"] == "collecting"
    # The same signature once more, because the answer was lost, is the same answer.
    text = shown["statement"]
    body = {"signature": base64.b64encode(bob.sign(text)).decode(), "credential": bob.sha256.hex()}
    first, again = (a.api.post(f"/v1/decisions/{decision}/signatures", body) for _ in range(2))
    assert first.status == again.status == 202 and first.json()["missing"] == again.json()["missing"] == 0
    wait_until(lambda: a.api.get(f"/v1/decisions/{decision}").json()["state"] == "applied", what="the CA")
    again = a.api.post(f"/v1/decisions/{decision}/signatures", body)
    assert again.status == 202 and again.json()["state"] == "applied"
    assert "is carried out already" in add_signature(a, decision, carol).error_message


def test_withdrawn_before_all_have_signed(a):
    """It takes no more signatures; the same CA can be begun anew."""
    decision = begun(a, "second-thoughts")
    assert a.cli("decision", "withdraw", decision) == f"{decision} is withdrawn\n"
    shown = a.cli.json("decision", "show", decision)
    assert shown["state"] == "refused" and re.fullmatch(r"withdrawn by uid:\d+ before all had signed", shown["outcome"])
    answer = add_signature(a, decision, a.bob.key)
    assert answer.status == 409 and "withdrawn by" in answer.error_message
    assert "only one that waits for signatures can be withdrawn" in a.cli.fails("decision", "withdraw", decision)
    assert a.database.one("SELECT count(*) FROM chancery_store.audit WHERE action = 'decision.withdrawn' AND object = %s",
                          (decision,)) == 1
    assert a.cli.json("decision", "show", begun(a, "second-thoughts"))["state"] == "collecting"


def hand_in(a, name, operators, quorum):
    """Limits made by hand, handed in by alice."""
    key = Key.load(a.operator_key, PASSPHRASE)
    body = limits.body(limits.document(name, operators, limits.name_der(name), quorum=quorum))
    s = Statement("ca-create", name, name, body=body)
    return a.api.post("/v1/decisions", {
        "statement": s.text, "signature": base64.b64encode(key.sign(s.text)).decode(), "credential": key.sha256.hex(),
        "body": body})


def test_one_person_under_two_names(a):
    """What alice registered as her second key cannot stand in the limits as somebody else's."""
    other = os.path.join(a.files, "alise.pem")
    a.cli.as_operator(other, a.passphrase_file)("operator", "init")
    a.cli("operator", "add", "alice", "--role", "manager", "--key", other + ".pub")
    said = a.cli.fails("ca", "create", "names", "--policy", policy(a, "names", operators=["alice", "alise"]),
                       "--limits-operator", f"alise={other}.pub")
    assert f"The key in {other}.pub is registered as that of alice, and not of alise" in said
    assert "alise and alice have one and the same key" in said
    alice, alise = Key.load(a.operator_key, PASSPHRASE), Key.load(other, PASSPHRASE)
    answer = hand_in(a, "names", [limits.operator("alice", alice), limits.operator("alise", alise),
                                  limits.operator("bob", a.bob.key), limits.operator("nobody", Key())], 2)
    decision = answer.json()["id"]
    answer = add_signature(a, decision, alise)
    assert answer.status == 409 and "do not name this key as that of operator alice" in answer.error_message
    assert a.cli.json("decision", "show", decision)["needs"][0]["missing"] == 1
    shown = a.bob.cli("decision", "show", decision)
    assert "! the key of alise is registered as that of alice\n! the key of nobody is not registered\n" in shown


def test_quorum_beyond_the_operators(a):
    said = a.cli.fails("ca", "create", "beyond", "--policy", policy(a, "beyond", quorum=3, operators=["alice", "bob"]))
    assert "key 'limits.quorum': is 3, but 'operators' names only 2 persons with the right 'limits'" in said
    path = a.policy("beyond", "root", "p256", templates=[], crl={"period": "30d", "overlap": "3d"}, limits={"quorum": 2})
    assert "'operators' is not given, and then only the operator who creates the CA" in a.cli.fails(
        "ca", "create", "beyond", "--policy", path)
    # A document made by hand is refused by the front.
    answer = hand_in(a, "beyond", [limits.operator("alice", Key.load(a.operator_key, PASSPHRASE))], 2)
    assert answer.status == 400 and "limits, field 'quorum': must be from 1 to 1" in answer.error_message


def test_who_is_not_among_them(a):
    said = a.cli.fails("ca", "create", "others", "--policy", policy(a, "others", operators=["bob", "carol"]))
    assert "do not name your key with the right \"limits\"" in said and "those who may sign: bob, carol" in said
    said = a.cli.fails("ca", "create", "others", "--policy", policy(a, "others", operators=["alice", "erin"]))
    assert "erin is to be named in the limits, but has no registered operator's key" in said
    assert "--limits-operator erin=FILE.pub" in said
    # Hers from a file is taken, and that it is not registered is said.
    erin = os.path.join(a.files, "erin.pem")
    a.cli.as_operator(erin, a.passphrase_file)("operator", "init")
    said = a.cli.result("ca", "create", "others", "--policy", policy(a, "others", operators=["alice", "erin"]),
                        "--limits-operator", f"erin={erin}.pub")
    assert said.returncode == 0 and f"The key in {erin}.pub is not registered; erin can sign nothing" in said.stderr
    said = a.cli.fails("ca", "create", "others", "--policy", policy(a, "others"), "--limits-operator",
                       f"erin={erin}.pub", status=2)
    assert "gives a key of erin, whom the limits do not name" in said
    said = a.cli.fails("ca", "create", "others", "--policy", policy(a, "others"), "--limits-operator", "erin", status=2)
    assert "is PERSON=FILE" in said


def test_a_manager_who_came_later(a):
    """By default the limits know the managers of the day; who comes later is told of."""
    path = a.policy("usual", "root", "p256", templates=["device"], crl={"period": "30d", "overlap": "3d"},
                    locations=locations([a.daemon.crl_url("usual")]))
    said = a.cli.result("ca", "create", "usual", "--policy", path)
    assert "CA usual is active" in said.stdout  # alone, and at once
    named = {line.split()[0]: line.split()[1] for line in limits.field(limits_of(a, "usual")["document"], "operator")}
    assert named["alice"] in ("decide", "limits,decide") and named["dave"] == "decide" and "bob" not in named
    said = []
    late = Person(a, "frank", ["manager"], said)
    assert '"chancery ca limits change usual --add-operator frank"' in said[0].stderr
    request = a.submit(clients.openssl_csr(a.files, "usual", subject="/CN=d/serialNumber=1"), ca="usual", template="device")
    a.wait_state(request, "pending")
    said = late.cli.fails("request", "approve", request)
    assert "the limits of CA usual do not name this key of operator frank with the right \"decide\"" in said
    assert "chancery ca limits change usual --add-operator frank" in said
    a.cli("ca", "limits", "change", "usual", "--add-operator", "frank")
    late.cli("request", "approve", request)
    a.wait_state(request, "issued")
    # Who only decides changes nothing.
    said = late.cli.fails("ca", "limits", "change", "usual", "--remove-operator", "dave")
    assert "do not name your key with the right \"limits\"" in said and "those who may sign: alice" in said


def test_an_ordinary_decision_takes_one(a):
    decision = a.cli.json("decision", "list", "--state", "applied")["decisions"][-1]["id"]
    assert "takes one signature only" in a.bob.cli.fails("decision", "sign", decision)
    assert "takes one signature only" in add_signature(a, decision, a.bob.key).error_message


# ----------------------------------------------- a front that was broken into


def test_front_counts_what_was_not_signed(a):
    """The database's functions believe the front that it verified; the issuer does not."""
    front, alice, bob = Front(a.database), Key.load(a.operator_key, PASSPHRASE), a.bob.key
    made = limits.document("forged", [limits.operator("alice", alice), limits.operator("bob", bob)],
                           limits.name_der("forged"), quorum=2)
    body = limits.body(made)
    s = Statement("ca-create", "forged", "forged", body=body)
    decision = front.decide(s, signature=alice.sign(s.text), credential=alice.sha256, body=body)
    signed = a.database.one("SELECT chancery.api_sign('uid:0', %s, %s, %s)", (decision, alice.sign(s.text), bob.sha256),
                            "chancery_front")
    assert signed["state"] == "queued"
    state, sentence = front.outcome(decision)
    assert state == "refused" and "signature of bob" in sentence
    for sql in ("INSERT INTO chancery_store.decision_signature SELECT id, 1, 'x', 'uid:0' FROM chancery_store.decision",
                "UPDATE chancery_store.decision SET state = 'queued'", "SELECT chancery_store.ceremony_go_on(NULL)"):
        with pytest.raises(psycopg2.Error) as e:
            a.database.execute(sql, user="chancery_front")
        assert e.value.pgcode == "42501"


# ------------------------------------------------------------ the end of time


def test_what_was_never_signed_expires(a):
    answer = add_signature(a, a.expired, a.bob.key)
    assert answer.status == 409 and "before enough operators had signed it" in answer.error_message
    wait_until(lambda: a.cli.json("decision", "show", a.expired)["state"] == "expired", what="its end")
    said = a.bob.cli.fails("decision", "sign", a.expired)
    assert "takes no more signatures, it is expired" in said
    assert "the limits of CA expired take 2 signatures and it had 1" in said
    assert re.search(rf"{a.expired} +ca-create +expired +expired", a.cli("decision", "list", "--state", "expired"))
    assert a.database.one("SELECT count(*) FROM chancery_store.audit WHERE object = %s AND action = 'decision.expired'",
                          (a.expired,)) == 1
    # The name is free for another ceremony.
    a.bob.cli("decision", "sign", begun(a, "expired"))


# ------------------------------------------------------------------- reseed


def test_reseed_takes_the_quorum_of_every_key(a, shared):
    """The journal is lost: nothing is signed until as many said where to go on as the limits of each key take."""
    assert a.daemon.stop() == 0
    shutil.rmtree(os.path.join(a.daemon.state_dir, "signer-main", "journal"))
    a.daemon.start()
    closed = wait_until(lambda: next((t for t in a.cli.json("token", "status")["tokens"] if t["state"] == "closed"), None),
                        what="a closed signer")
    assert closed["challenge"] in a.cli("token", "status")
    said = a.cli.result("signer", "reseed", "main")
    assert said.returncode == 0, said
    assert f"  challenge: {closed['challenge']}\n" in said.stderr and re.search(r"  key: [0-9a-f]{32} usual\n", said.stderr)
    assert re.search(r"  crl: - number=\d+ base=\d+ this-update=", said.stderr)
    decision = decision_of(said.stdout)
    needs = {n["ca"]: n for n in a.cli.json("decision", "show", decision)["needs"]}
    assert needs["usual"]["missing"] == 0 and needs[shared]["missing"] == 1 and needs["desk-root"]["missing"] == 2
    assert "you (alice) have signed" in a.cli.fails("decision", "sign", decision)
    assert "Where the signer of token main goes on:" in a.bob.cli("decision", "show", decision)
    assert "waits for 1 more signature." in a.bob.cli("decision", "sign", decision)
    assert a.cli.json("token", "status")["tokens"][0]["state"] == "closed"
    assert "signer 1 of token main goes on" in a.carol.cli("decision", "sign", decision)
    wait_until(lambda: a.cli.json("token", "status")["tokens"][0]["state"] == "ready", what="a signer that signs")
    a.cli("crl", "issue", "usual")
