"""Several tokens with the same key: the signer prefers the first that works, goes on with
the next when that fails or hangs, and returns; or uses all of them."""

import contextlib
import glob
import hashlib
import os
import shutil
import signal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from harness import clients, limits
from harness.chanceryd import program
from harness.journal import Journal
from harness.lone_root import DAY, TEMPLATE, LoneRoot
from harness.process import run, wait_until
from harness.signer import KEY_DESTROY, SIGN, SIGNED, Order, Refused, Signer, string
from harness.softhsm import GroupToken

TOKEN_LOST, MODULE_HUNG = 3, 5  # daemon/core/role.h
NAMES = GroupToken.labels


class GroupRoot(LoneRoot):
    """With a key that was on the tokens before."""

    def __init__(self, name, key, **more):
        super().__init__(name, **more)
        self.public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def order(self):
        end = limits.timestamp(limits.datetime.datetime.utcfromtimestamp(self.now + 3000 * DAY))
        self.text = limits.document(
            self.ca, [limits.operator("alice", self.operator)], self.name, not_after=end, signer_ids=self.signer_ids,
            key=hashlib.sha256(self.public).hexdigest(),
            templates=[TEMPLATE.format("automatic"), TEMPLATE.format("manual")])
        return Order("ca-create", self.ca, limits.body(self.text), (self.operator,))

    def agree(self, signer):
        """As root does at the console; the order that was agreed to is the one that make() uses."""
        order = self.order()
        console(signer, "--adopt", hashlib.sha256(self.text.encode()).hexdigest())
        self.order = lambda: order
        return self


def console(signer, *args, check=True):
    return run([program("chancery-signer"), "--config", signer.config, "--token", "main", *args], text=True, check=check)


class Group:
    def __init__(self, directory, **options):
        self.token = GroupToken(os.path.join(directory, "token"), program("faults/shim.so")).create()
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.signer = Signer(directory, self.token, select={"label": NAMES}, **options)

    def make(self, labels=NAMES, **more):
        for n, label in enumerate(labels):
            self.token.put(self.key, label, cka_id=f"0{n}0b")  # as it comes with each
        self.signer.start()
        self.root = GroupRoot("Group", self.key, **more).agree(self.signer).make(self.signer)
        return self

    def again(self, status=TOKEN_LOST):
        """The supervisor's part, when the signer has ended. Returns how it ended."""
        assert self.signer.process.wait() == status, self.signer.process.log_tail()
        self.signer.process.kill()
        self.signer.start()

    def issue(self, **what):
        root = self.root
        tbs = root.leaf(**what)
        root.verify(tbs, root.sign(self.signer, tbs))

    def signed(self):
        return Journal(self.signer).signed()

    def says(self, *words):
        text = self.signer.status().text
        return text if all(w in text for w in words) else None

    def wait(self, *words):
        return wait_until(lambda: self.says(*words), what=" ".join(words))

    def blamed(self, label):
        """What is written down about a member that failed."""
        name = hashlib.sha256(label.encode()).hexdigest()[:16]
        path = os.path.join(self.signer.state_dir, "signer-main", f"member-{name}", "blamed")
        return open(path).read() if os.path.exists(path) else None

    def settle(self, *words):
        """However often it starts again for that: in the end both are in use, or what words say."""
        def settled():
            if not self.signer.process.alive():
                self.again()
            try:
                return self.says(*(words or ("'hsm-a' signs", "'hsm-b' stands by")))
            except ConnectionError:
                return None
        return wait_until(settled, what=" ".join(words) or "both are in use")

    def wait_return(self):
        """It starts again by itself, once the other is there, and uses both."""
        self.again()
        return self.wait("'hsm-a' signs", "'hsm-b' stands by")


@pytest.fixture(scope="module")
def group(new_dir):
    made = Group(new_dir("group"), call_timeout="1s")
    made.make()
    yield made
    made.token.fail()
    made.signer.stop()


@pytest.fixture(autouse=True)
def forgiven(group):
    """Nobody is left alone for longer than the first time, for what earlier tests did to it."""
    for directory in glob.glob(os.path.join(group.signer.state_dir, "signer-main", "member-*")):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(directory, "blamed"))


@pytest.mark.smoke
def test_the_first_signs(group):
    text = group.wait("'hsm-a' signs", "'hsm-b' stands by")
    assert "a group of 2 tokens" in text
    group.token.forget()
    for _ in range(4):
        group.issue()
    assert group.token.signers() == {"hsm-a": 4}


@pytest.mark.smoke
def test_the_next_one_when_it_fails_and_back(group):
    """What was under way is signed with the same bytes; CRL numbers go on; no PIN is tried where nobody answers."""
    root, signer = group.root, group.signer
    root.sign_crl(signer, number=1)
    decided = root.approval()
    tbs = root.leaf()
    group.token.forget()
    group.token.fail("any@hsm-a 0x30")  # CKR_DEVICE_ERROR
    with pytest.raises(Refused) as refused:
        root.sign(signer, tbs, decided)
    assert refused.value.code == "unavailable"
    group.again()
    group.wait("'hsm-a' is away", "'hsm-b' signs")
    group.token.forget()
    root.verify(tbs, root.sign(signer, tbs, decided))
    with pytest.raises(Refused, match="decision"):  # still once
        root.sign(signer, root.leaf(), decided)
    with pytest.raises(Refused, match="was used for another"):
        root.sign_crl(signer, number=1, at=root.now + 1)
    root.sign_crl(signer, number=2, base=1)
    root.sign_crl(signer, number=3)
    for _ in range(3):
        group.issue()
    assert set(group.token.signers()) == {"hsm-b"} and group.token.calls("login") == []
    signed = len(group.signed())

    group.token.fail()
    group.wait_return()
    group.token.forget()
    group.issue()
    root.sign_crl(signer, number=4, base=3)
    with pytest.raises(Refused, match="was used for another"):
        root.sign_crl(signer, number=3, at=root.now + 1)
    assert set(group.token.signers()) == {"hsm-a"}
    assert len(group.signed()) == signed + 2


def test_one_comes_back_while_a_crl_is_on_its_way(group):
    """Which is signed before the signer starts again; nothing else is waited for."""
    root, signer = group.root, group.signer
    group.token.fail("any@hsm-a 0x30")
    with pytest.raises(Refused):
        group.issue()
    group.again()
    group.wait("'hsm-a' is away", "'hsm-b' signs")
    crl = root.crl(number=4)
    request = signer.begin_stream(root, crl)
    group.token.fail()

    def stops():
        try:
            group.issue()
        except Refused as refused:
            assert "is stopping" in str(refused)
            return True
        return False
    wait_until(stops, what="it takes nothing new")
    root.verify(crl, signer.end_stream(request, crl))
    assert signer.process.wait() == TOKEN_LOST
    group.wait_return()


def test_one_that_hangs(group):
    before = group.blamed("hsm-a")
    group.token.fail("sign@hsm-a hang")
    root, tbs = group.root, group.root.leaf()
    with pytest.raises(Refused, match="C_Sign has not come back"):
        root.sign(group.signer, tbs)
    assert group.signer.process.wait() == MODULE_HUNG
    assert group.blamed("hsm-a") != before
    group.token.fail("any@hsm-a 0x30")  # so that it stays away for longer than it is left alone
    group.again(MODULE_HUNG)
    group.wait("'hsm-a' is away", "'hsm-b' signs")
    root.sign(group.signer, tbs)
    group.token.fail()
    group.wait_return()


def test_one_that_crashes(group):
    """The module dies over it, and the process with it."""
    before = group.blamed("hsm-a")
    group.token.fail("sign@hsm-a crash")
    with pytest.raises(ConnectionError):
        group.issue()
    assert group.signer.process.wait() == -signal.SIGSEGV
    group.token.fail("any@hsm-a 0x30")  # so that it stays away for longer than it is left alone
    group.again(-signal.SIGSEGV)
    assert group.blamed("hsm-a") != before
    group.wait("'hsm-a' is away", "'hsm-b' signs")
    group.issue()
    group.token.fail()
    group.wait_return()


def test_one_that_crashes_as_soon_as_it_is_opened(group):
    """The module dies at each start, before anybody could sign; the others are not taken along for long."""
    group.token.fail("login@hsm-a crash")
    group.signer.stop()
    group.signer.start(ready=False)
    group.again(-signal.SIGSEGV)  # it is left alone now
    group.token.fail()
    group.settle()
    group.issue()


def test_one_that_hangs_while_it_stands_by(group):
    """It is the one to blame, not the one that signs."""
    before = {label: group.blamed(label) for label in NAMES}
    group.token.fail("create-object@hsm-b hang")
    with pytest.raises(Refused, match="C_CreateObject has not come back"):
        group.root.sign_crl(group.signer, number=5)  # is written to both
    assert group.signer.process.wait() == MODULE_HUNG
    assert group.blamed("hsm-a") == before["hsm-a"] and group.blamed("hsm-b") != before["hsm-b"]
    group.token.fail()
    group.again(MODULE_HUNG)
    group.settle()


def test_one_that_hangs_when_it_is_looked_for(group):
    """The thread that looks never comes back: another process leaves it alone, and looks again later."""
    group.token.fail("any@hsm-a 0x30")
    with pytest.raises(Refused):
        group.issue()
    group.again()
    group.wait("'hsm-a' is away", "'hsm-b' signs")
    before = group.blamed("hsm-a")
    group.token.fail("get-token-info@hsm-a hang")
    group.again()  # and no request has met it
    assert "'hsm-a' does not answer who looks for it" in group.signer.process.log()
    assert group.blamed("hsm-a") != before
    group.wait("'hsm-a' is away", "'hsm-b' signs")
    group.issue()
    group.token.fail()
    group.wait_return()


def test_one_hangs_and_another_is_missing(new_dir):
    """Who looks for the one does not ask the other."""
    labels = [*NAMES, "hsm-c"]
    made = Group(new_dir("three"), call_timeout="1s")
    made.token.init("hsm-c", made.token.pin)
    made.signer.configure(select={"label": labels}, call_timeout="1s")
    made.make(labels)
    try:
        made.wait("'hsm-a' signs", "'hsm-b' stands by", "'hsm-c' stands by")
        made.signer.stop()
        made.token.fail("get-token-info@hsm-b hang", "any@hsm-c 0x30")
        made.signer.start(ready=False)
        made.again(MODULE_HUNG)  # it is left alone now
        made.settle("'hsm-a' signs", "'hsm-b' is away", "'hsm-c' is away")
        # Nor does one that stays away keep it from being found.
        made.token.fail("any@hsm-a 0x30", "any@hsm-c 0x30")
        made.settle("'hsm-a' is away", "'hsm-b' signs", "'hsm-c' is away")
        made.token.fail("any@hsm-a 0x30")
        made.settle("'hsm-a' is away", "'hsm-b' signs", "'hsm-c' stands by")
    finally:
        made.signer.process.kill()


def test_one_that_only_stands_by(group):
    """Nobody is disturbed when it goes."""
    process = group.signer.process
    group.token.fail("any@hsm-b 0x30")
    group.root.sign_crl(group.signer, number=10)  # is written to both
    group.wait("'hsm-a' signs", "'hsm-b' is away")
    group.issue()
    assert group.signer.process is process and process.alive()
    group.token.fail()
    group.wait_return()


def test_none_is_left(group):
    group.token.fail("any@hsm-a 0x30", "any@hsm-b 0x30")
    with pytest.raises(Refused):
        group.issue()
    group.again()
    wait_until(lambda: group.signer.status().state == "token-away", what="nobody is there")
    group.token.fail("any@hsm-a 0x30")
    group.wait("'hsm-b' signs")  # blame or not
    group.issue()
    group.token.fail()
    group.wait_return()


def test_an_older_disk_with_half_of_the_group(group, new_dir):
    """The mark of the journal is on both."""
    signer = group.signer
    signer.stop()
    kept = os.path.join(new_dir("kept"), "state")
    shutil.copytree(signer.state_dir, kept)
    signer.start()
    group.issue()
    signer.stop()
    newer = os.path.join(os.path.dirname(kept), "newer")
    shutil.move(signer.state_dir, newer)
    shutil.copytree(kept, signer.state_dir)
    group.token.fail("any@hsm-a 0x30")
    signer.start()
    wait_until(lambda: signer.status().state == "closed", what="it sees that")
    assert "an older copy was put back" in signer.status().text
    signer.stop()
    group.token.fail()
    shutil.rmtree(signer.state_dir)
    shutil.move(newer, signer.state_dir)
    signer.start()
    group.wait("'hsm-a' signs", "'hsm-b' stands by")


# ---------------------------------------------------------------- who belongs to it


@pytest.fixture
def single(new_dir):
    """A CA on one token, which becomes a group."""
    made = Group(new_dir("single"))
    made.signer.configure(select={"label": NAMES[0]})
    made.make([NAMES[0]])
    made.signer.stop()
    made.signer.configure(select={"label": NAMES})
    yield made
    made.token.fail()
    made.signer.stop()


def test_a_single_one_becomes_a_group(single):
    """Without the key it is refused; with it, it has to be seen beside the other one first."""
    single.signer.start()
    single.wait("'hsm-a' signs", "'hsm-b' is refused", "has no key for CA Group", single.root.id.hex())
    single.issue()
    single.signer.stop()
    single.token.put(single.key, "hsm-b", "0b0c")
    single.token.fail("any@hsm-a 0x30")
    single.signer.start()
    wait_until(lambda: single.signer.status().state == "closed", what="it does not know this token")
    assert "the token's anchor, which it had, is gone" in single.signer.status().text
    with pytest.raises(Refused, match="closed"):
        single.issue()
    single.token.fail()
    single.signer.stop()
    single.signer.start()
    single.wait("'hsm-a' signs", "'hsm-b' stands by")
    single.token.fail("any@hsm-a 0x30")
    with pytest.raises(Refused):
        single.issue()
    single.again()
    single.wait("'hsm-b' signs")
    single.issue()


def test_another_key(single):
    single.token.put(ec.generate_private_key(ec.SECP256R1()), "hsm-b", cka_id=single.root.id.hex())
    single.signer.start()
    single.wait("'hsm-a' signs", "'hsm-b' is refused", "has another key for CA Group")
    single.token.fail("any@hsm-a 0x30")
    with pytest.raises(Refused):
        single.issue()
    single.again()
    # It does not step in.
    wait_until(lambda: single.signer.status().state != "ready", what="nobody")
    with pytest.raises(Refused) as refused:
        single.issue()
    assert refused.value.code == "unavailable"


def test_another_pin(new_dir):
    """One try, over all starts; the other one signs on."""
    made = Group(new_dir("pins"))
    run(["softhsm2-util", "--init-token", "--token", "hsm-b", "--label", "hsm-b", "--pin", "999999", "--so-pin",
         made.token.so_pin], env=dict(os.environ, **made.token.environment))
    try:
        for _ in range(3):
            made.signer.start()
            made.wait("'hsm-a' signs", "'hsm-b' is away")
            made.signer.stop()
        assert len([line for line in made.token.calls("login") if line[0] == "0xa0"]) == 1
        text = made.signer.process.log()
        assert "ready: " in text
    finally:
        made.signer.process.kill()

def test_a_key_is_destroyed_on_all(new_dir):
    """Where the copy is away it goes when that is back."""
    made = Group(new_dir("destroy"))
    for n, label in enumerate(NAMES):
        made.token.put(made.key, label, f"0{n}0b")
    signer = made.signer.start()
    try:
        root = GroupRoot("Group", made.key).agree(signer)
        key = signer.generate(root.order())
        made.wait("'hsm-a' signs", "'hsm-b' stands by")
        made.token.fail("any@hsm-b 0x30")
        made.wait("'hsm-b' is away")
        text = f"chancery-key-destruction: 1\nca: Group\ntoken: main\nkey: {hashlib.sha256(key.spki).hexdigest()}\nlabel: ca\n"
        signer.ask(KEY_DESTROY, string(key.id) + Order("key-destroy", "Group", text, (root.operator,)).octets)

        def on(label):
            return hashlib.sha256(key.spki).hexdigest() in console(signer, "--keys", "--member", label).stdout

        made.token.fail()
        made.wait_return()
        signer.stop()
        assert not on("hsm-a") and not on("hsm-b")
    finally:
        signer.stop()


# ---------------------------------------------------------------- all of them


def test_spread(new_dir):
    made = Group(new_dir("spread"), spread=True, threads=4).make()
    root, signer = made.root, made.signer
    try:
        made.wait("'hsm-a' signs; 'hsm-b' signs")
        made.token.forget()
        asked = [(root.leaf(), root.approval() if n % 2 else None) for n in range(60)]
        for tbs, approval in asked[:30]:
            signer.send(SIGN, root.message(signer, tbs, approval))
        for _ in asked[:30]:
            assert signer.receive()[0] == SIGNED
        assert set(made.token.signers()) == set(NAMES)
        # One is gone with work in its hands.
        for n, (tbs, approval) in enumerate(asked[30:]):
            if n == 10:
                made.token.fail("any@hsm-b 0x30")
            with contextlib.suppress(ConnectionError):
                signer.send(SIGN, root.message(signer, tbs, approval))
        with contextlib.suppress(ConnectionError):
            while True:
                signer.receive()
        made.again()
        made.wait("'hsm-a' signs; 'hsm-b' is away")
        # What got no signature is asked for again, and what did gets the same one.
        for tbs, approval in asked:
            root.verify(tbs, root.sign(signer, tbs, approval))
        rows = made.signed()
        assert len(rows) == len(asked) + 1 == len({row["tbs-sha256"] for row in rows}) == len(
            {row["serial"] for row in rows})
        root.sign_crl(signer, number=1)
        made.token.fail()
        made.again()
        made.wait("'hsm-a' signs; 'hsm-b' signs")
        made.token.forget()
        root.sign_crl(signer, number=2)
        root.sign_crl(signer, number=3, base=2)
        assert set(made.token.signers()) == {"hsm-a"}
    finally:
        made.token.fail()
        signer.stop()


def test_several_hosts(new_dir):
    """Where hosts may see different ones, the first signer of the limits signs CRLs."""
    made = Group(new_dir("hosts")).make(signer_ids="1,2")
    root, signer = made.root, made.signer
    try:
        root.sign_crl(signer, number=1)
    finally:
        signer.stop()
    directory = new_dir("other")
    two = Signer(directory, made.token, signer_id=2, select={"label": NAMES}).start()
    try:
        assert two.generate(root.order()).id == root.id
        pem = x509.load_der_x509_certificate(root.certificate).public_bytes(serialization.Encoding.PEM).decode()
        two.install(root, Order("ca-install", root.ca, pem, (root.operator,)))
        leaf = root.leaf(root.serial(2))
        root.verify(leaf, root.sign(two, leaf))
        for _ in range(2):
            with pytest.raises(Refused, match="signer 1, the first of its limits, since its token is a group") as refused:
                root.sign_crl(two, number=2)
            assert refused.value.code == "elsewhere"
    finally:
        two.stop()
