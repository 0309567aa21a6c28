"""The limits of a key at the signer itself: what it believes when its files are
damaged, older, somebody else's or gone, and whose signatures change them."""

import hashlib
import os
import re
import shutil

import pytest
from harness import clients, limits
from harness.authority import PASSPHRASE
from harness.chanceryd import program
from harness.decisions import Key
from harness.process import run, wait_until
from harness.signer import KEY_FIND, REQUEST, Order, Refused, Signer, string
from harness.softhsm import Token


def show_limits(config, environment=None):
    """What the signer's console prints, whatever its end: (status, {CA: {field: value}}, standard error)."""
    said = run([program("chancery-signer"), "--config", config, "--token", "main", "--show-limits"], check=False,
               text=True, env=environment)
    keys = {}
    for paragraph in said.stdout.split("\n\n"):
        head, *lines = paragraph.strip("\n").split("\n")
        fields, last = {}, None
        for line in lines:
            last = line[2:15].strip() or last
            fields.setdefault(last, []).append(line[15:])
        keys[head.removeprefix("CA ")] = fields
    return said.returncode, keys, said.stderr


# ------------------------------------------------------- with the whole daemon


class Keys:
    """The signer's files of the keys of a running daemon's CAs."""

    def __init__(self, a):
        self.a = a
        self.dir = os.path.join(a.daemon.state_dir, "signer-main")

    def name(self, ca, suffix):
        document = limits_of(self.a, ca, 1)["document"]
        return os.path.join(self.dir, hashlib.sha256(document.encode()).hexdigest()[:32] + suffix)

    def restart(self):
        """The supervisor starts a fresh signer, which reads everything anew."""
        self.a.daemon.kill_role("signer")

    def show(self):
        return show_limits(self.a.daemon.config_path)

    def refused(self, words):
        """The issuing CA issues nothing now; the request waits, and says why."""
        self.restart()
        request = self.a.submit(clients.openssl_csr(self.a.files, "refused", dns=["refused.example"]))
        self.a.approve(request)

        def answer():
            return self.a.api.get(f"/v1/requests/{request}").json()

        wait_until(lambda: words in (answer().get("reason") or ""), what=words)
        assert answer()["state"] not in ("issued", "failed")
        return request



def limits_of(a, ca, version=None):
    answer = a.api.get(f"/v1/cas/{ca}/limits", **({"version": version} if version else {}))
    assert answer.status == 200, answer
    return answer.json()


@pytest.fixture(scope="module")
def a(shared_instance):
    return shared_instance


@pytest.fixture(scope="module")
def keys(a):
    return Keys(a)


def test_console_shows_what_was_signed(a, keys):
    """A quorum of one, by default: whoever created the CA."""
    status, shown, said = keys.show()
    assert (status, said) == (0, "")
    assert {a.root, a.issuing} <= set(shown)
    alice = hashlib.sha256(Key.load(a.operator_key, PASSPHRASE).spki).hexdigest()
    for ca in (a.root, a.issuing):
        have, want = shown[ca], limits_of(a, ca)
        assert have["limits"] == [f"version 1, SHA-256 {want['sha256']}"]
        assert have["key"][0] == f"SHA-256 {want['key_sha256']}"
        assert have["key"][1].endswith(f"on token main, CKA_ID {want['sha256'][:32]}")
        assert have["quorum"] == ["1 of 1 may change the limits"]
        assert f"alice (limits, decides), key SHA-256 {alice}" in have["operators"]
        assert have["signer ids"] == ["1"]
        assert have["not after"][0].startswith(limits.field(want["document"], "not-after"))
        assert re.fullmatch(r"valid from \S+Z to \S+Z(, path length 0)?", have["certificate"][0])
        named = [t.split()[0] for t in limits.field(want["document"], "template")]
        assert [line.split(":")[0] for line in have["templates"]] == named
    assert shown[a.root]["subject"] == [f"CN={a.root},O=Chancery Test,C=DE, a root"]
    assert shown[a.issuing]["certificate"][0].endswith(", path length 0")


@pytest.mark.parametrize("suffix", [".limits-1", ".key"])
def test_damaged_file_is_noticed(a, keys, suffix):
    path = keys.name(a.issuing, suffix)
    with open(path, "rb") as f:
        good = f.read()
    clients.write(keys.dir, os.path.basename(path), good[:100] + bytes([good[100] ^ 1]) + good[101:])
    os.chmod(path, 0o600)
    request = keys.refused("damaged")
    status, shown, said = keys.show()
    assert status == 1 and "damaged" in said
    assert a.root in shown and a.issuing not in shown
    clients.write(keys.dir, os.path.basename(path), good)
    os.chmod(path, 0o600)
    a.issued(request)


def test_limits_of_other_operators_do_not_fit_the_key(a, keys):
    """The files of another key, whose operators are others, under this one's name: what an
    attacker could fill a lost state directory with."""
    theirs, ours = (keys.name(ca, ".limits-1") for ca in (a.root, a.issuing))
    shutil.move(ours, ours + ".kept")
    shutil.copy2(theirs, ours)
    request = keys.refused("the key was made for another document")
    shutil.move(ours + ".kept", ours)
    a.issued(request)


def test_lost_limits_come_back_as_they_were(a, keys):
    """The issuer hands the orders in again, and the signer believes them because the token does."""
    a.cli("ca", "limits", "change", a.issuing, "--policy",
          a.issuing_policy(a.issuing, limits={"excluded": ["dns:secret.example"]}))
    now = limits_of(a, a.issuing)
    assert now["version"] == 2
    before = keys.show()[1]
    assert before[a.issuing]["limits"] == [f"version 2, SHA-256 {now['sha256']}"]
    gone = [keys.name(a.issuing, suffix) for suffix in (".key", ".limits-1", ".limits-2")]
    gone += [keys.name(a.root, suffix) for suffix in (".key", ".limits-1")]
    for path in gone:
        os.unlink(path)
    keys.restart()
    wait_until(lambda: keys.show()[:2] == (0, before), what="both keys' limits")
    a.certificate("again")
    # The newest alone.
    os.unlink(gone[2])
    keys.restart()
    wait_until(lambda: keys.show()[:2] == (0, before), what="version 2")


# ------------------------------------------------- with the issuer taken over


@pytest.fixture(scope="module")
def signer(new_dir):
    directory = new_dir("limits")
    s = Signer(directory, Token(os.path.join(directory, "token")).create()).start()
    yield s
    s.stop()


class Ca:
    """A subordinate whose limits alice and bob change together; carol decides."""

    def __init__(self, signer, name):
        self.signer, self.name = signer, name
        self.alice, self.bob, self.carol, self.mallory = (Key() for _ in range(4))
        self.text = limits.document(
            name, [limits.operator("alice", self.alice), limits.operator("bob", self.bob, "limits"),
                   limits.operator("carol", self.carol, "decide")],
            limits.name_der(name), kind="subordinate", quorum=2)
        self.first = self.order("ca-create", self.text, self.alice, self.bob)
        self.key = signer.generate(self.first)

    def order(self, action, text, *signers):
        return Order(action, self.name, limits.body(text), signers)

    def next(self, **changes):
        """The next version of the text."""
        version = int(limits.field(self.text, "version"))
        return self.changed(version=str(version + 1), previous=hashlib.sha256(self.text.encode()).hexdigest(),
                            key=hashlib.sha256(self.key.spki).hexdigest(), nonce=os.urandom(16).hex(), **changes)

    def changed(self, **changes):
        text = self.text
        for name, value in changes.items():
            text = re.sub(rf"(?m)^{name.replace('_', '-')}: .*$", f"{name.replace('_', '-')}: {value}", text)
        return text

    def change(self, text, *signers):
        self.signer.set_limits(self.key, self.order("ca-limits", text, *signers))
        self.text = text

    def find(self):
        """Whether the signer would use the key."""
        return self.signer.ask(KEY_FIND, string(self.key.id))

    def path(self, suffix):
        return os.path.join(self.signer.state_dir, "signer-main", self.key.id.hex() + suffix)

    def version(self):
        return show_limits(self.signer.config)[1][self.name]["limits"][0]

    def is_in_force(self):
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return self.version() == f"version {limits.field(self.text, 'version')}, SHA-256 {digest}"


@pytest.fixture(scope="module")
def ca(signer):
    return Ca(signer, "taken-over")


def test_key_is_made_once(ca, signer):
    again = signer.generate(ca.first)
    assert (again.id, again.spki) == (ca.key.id, ca.key.spki)
    assert ca.key.id == hashlib.sha256(ca.text.encode()).digest()[:16]
    assert len(show_limits(signer.config)[1]) == 1


def test_limits_change_only_by_their_quorum(ca):
    text = ca.next(permitted="dns:example.com")
    for signers, words in (
        ((ca.alice,), "signed: alice; could also sign: bob"),
        ((ca.alice, ca.alice), "signed: alice; could also sign: bob"),
        ((ca.alice, ca.mallory), "signed: alice; could also sign: bob"),
        ((ca.alice, ca.carol), "signed: alice; could also sign: bob"),
        ((ca.mallory, Key(), Key()), "signed: nobody; could also sign: alice, bob"),
    ):
        with pytest.raises(Refused, match=words) as refusal:
            ca.change(text, *signers)
        assert refusal.value.code == "denied"
    order = ca.order("ca-limits", text, ca.alice, ca.bob)
    order.body = order.body.replace("example.com", "example.net")
    with pytest.raises(Refused, match="digest differs"):
        ca.signer.set_limits(ca.key, order)
    with pytest.raises(Refused, match="signed 'ca-create' about"):
        ca.signer.set_limits(ca.key, ca.order("ca-create", text, ca.alice, ca.bob))
    assert ca.is_in_force() and limits.field(ca.text, "version") == "1"
    ca.change(text, ca.alice, ca.bob)
    assert ca.is_in_force() and limits.field(ca.text, "version") == "2"


def test_limits_follow_those_in_force(ca):
    for changes, words in (
        ({"version": "2"}, "does not follow"),
        ({"version": "4"}, "does not follow"),
        ({"previous": "00" * 31 + "01"}, "'previous' is not"),
        ({"key": "00" * 31 + "01"}, "'key' is not"),
        ({"token": "other"}, "another CA, token"),
        ({"kind": "root"}, "another CA, token"),
        ({"algorithm": "p384", "signatures": "ecdsa-sha384"}, "algorithm and subject"),
        ({"subject": limits.name_der("else").hex()}, "algorithm and subject"),
    ):
        text = ca.next()
        before, ca.text = ca.text, text
        text = ca.changed(**changes)
        ca.text = before
        with pytest.raises(Refused, match=words) as refusal:
            ca.change(text, ca.alice, ca.bob)
        assert refusal.value.code == "conflict"
    assert ca.is_in_force()
    # The first order again: neither the limits nor the key change by it.
    with pytest.raises(Refused, match="does not follow"):
        ca.signer.set_limits(ca.key, ca.order("ca-limits", limits.document(
            ca.name, [limits.operator("mallory", ca.mallory)], limits.name_der(ca.name), kind="subordinate"),
            ca.mallory))
    assert ca.signer.generate(ca.first).spki == ca.key.spki
    assert ca.is_in_force()


def test_who_left_signs_nothing_any_more(ca):
    text = ca.next()
    left = re.sub(r"(?m)^operator: bob .*\n", "", text)
    joined = re.sub(r"(?m)^(operator: alice .*\n)", rf"\1operator: ben {limits.operator('', Key(), 'limits').strip()}\n", left)
    ca.change(joined, ca.alice, ca.bob)
    with pytest.raises(Refused, match="signed: alice; could also sign: ben"):
        ca.change(ca.next(), ca.alice, ca.bob)
    assert ca.is_in_force()


def test_older_files_put_back_are_noticed(signer):
    """The token remembers what the disk forgot; a signer that was restarted asks it."""
    ca = Ca(signer, "older")
    ca.change(ca.next(), ca.alice, ca.bob)
    ca.change(ca.next(), ca.alice, ca.bob)
    ca.find()
    for missing, words in (
        ((".limits-3",), "limits of CA older here are version 2, and the token remembers version 3"),
        ((".limits-3", ".limits-2"), "here are version 1, and the token remembers version 3"),
        ((".limits-1",), r"the key has no limits \(.*limits-1 does not exist"),
        ((".key",), r"the key has no limits \(.*key is missing\), so it signs nothing"),
    ):
        signer.stop()
        for suffix in missing:
            shutil.move(ca.path(suffix), ca.path(suffix) + ".kept")
        signer.start()
        with pytest.raises(Refused, match=words) as refusal:
            ca.find()
        assert refusal.value.code == "denied"
        with pytest.raises(Refused, match=words) as refusal:
            signer.sign(ca.key, REQUEST, b"0")
        assert refusal.value.code == "unavailable"  # what is to be signed waits
        for suffix in missing:
            shutil.move(ca.path(suffix) + ".kept", ca.path(suffix))
        ca.find()


def test_another_document_of_the_same_version_is_noticed(signer, new_dir):
    """As well signed, but not what the token saw: made where the operators were asked twice."""
    ca = Ca(signer, "twice")
    one, other = ca.next(permitted="dns:example.com"), ca.next(permitted="dns:example.net")
    before = ca.text
    ca.change(one, ca.alice, ca.bob)
    with open(ca.path(".limits-2"), "rb") as f:
        good = f.read()
    ca.text = before
    with pytest.raises(Refused, match="version 2 does not follow version 2"):
        ca.change(other, ca.alice, ca.bob)
    # On a disk that lost the first of the two.
    signer.stop()
    os.unlink(ca.path(".limits-2"))
    signer.start()
    with pytest.raises(Refused, match="the token remembers another version 2 of the limits"):
        ca.change(other, ca.alice, ca.bob)
    ca.change(one, ca.alice, ca.bob)
    ca.find()
    with open(ca.path(".limits-2"), "rb") as f:
        assert len(f.read()) == len(good)


def test_key_belongs_to_a_token_and_a_signer(signer):
    alice = Key()
    for field, value, words in (("token", "other", "for a key on token 'other'"),
                                ("signer_ids", "2", "do not name the signer id 1")):
        text = limits.document("elsewhere", [limits.operator("alice", alice)], limits.name_der("elsewhere"),
                               **{field: value})
        with pytest.raises(Refused, match=words):
            signer.generate(Order("ca-create", "elsewhere", limits.body(text), [alice]))
    with pytest.raises(Refused, match="signed: nobody"):
        text = limits.document("elsewhere", [limits.operator("alice", alice)], limits.name_der("elsewhere"))
        signer.generate(Order("ca-create", "elsewhere", limits.body(text), [Key()]))
    assert "elsewhere" not in show_limits(signer.config)[1]


def test_console_without_keys(new_dir):
    directory = new_dir("none")
    s = Signer(directory, Token(os.path.join(directory, "token")).create())
    os.makedirs(os.path.join(s.state_dir, "signer-main"))
    said = run([program("chancery-signer"), "--config", s.config, "--token", "main", "--show-limits"], text=True)
    assert said.stdout.startswith("No key has limits in ")
    said = run([program("chancery-signer"), "--config", s.config, "--token", "no", "--show-limits"], check=False, text=True)
    assert said.returncode == 1 and "has no token 'no'" in said.stderr
