"""Sudden death between C_Sign and the journal, and between the journal and the answer.

What happened is taken from two witnesses of tests/faults that the signer does not know
of: shim.so stands before the token and writes down each C_Sign, witness.so is
preloaded and writes down what goes to the journal's file, when the disk has it, and
what leaves. They kill the signer at the moment that is asked for.
"""

import hashlib
from collections import Counter, defaultdict

import pytest

from harness import der
from harness.chanceryd import program
from harness.journal import Journal
from harness.lone_root import ECDSA, PSS, RSA, LoneRoot
from harness.signer import CRL, SIGN, SIGNED, Refused, Signer
from harness.softhsm import RecordedToken

AT_ONCE = 3  # certificates that are under way when the signer dies

# Where it dies, for each algorithm. "sign die 3": when the third signature was made. With
# a 2 the first certificate is answered before the others are asked for.
WINDOWS = {
    "between C_Sign and the journal": [
        "sign die 1", "sign die 2", "sign die 3", "sign die 3", "journal-write die 1", "journal-write die 2",
        "journal-write tear 1", "journal-sync die 2"],
    "between the journal and the answer": [
        "journal-synced die 1", "journal-synced die 1", "journal-synced die 2", "journal-synced die 2",
        "answer die 1", "answer die 1", "answer die 2", "answer die 2"],
}  # fmt: skip
LEAST = 20  # kills in each window


class Asked:
    """One certificate: its bytes, which nobody else ever asked for."""

    answer = None

    def __init__(self, root, serial, approval):
        self.root, self.serial, self.approval = root, serial, approval
        root.asked = getattr(root, "asked", 0) + 1
        self.tbs = root.leaf(serial, not_after=der.time(root.now + 3600 + root.asked))  # no two are the same
        self.sha256 = hashlib.sha256(self.tbs).hexdigest()

    def message(self, signer):
        return self.root.message(signer, self.tbs, self.approval)

    def again(self, signer):
        return self.root.sign(signer, self.tbs, self.approval)


class Log:
    """The witnesses' log, since it was last begun anew."""

    def __init__(self, token):
        with open(token.log_path, encoding="ascii") as f:
            self.lines = [line.split() for line in f]
        self.words = [line[0] for line in self.lines]
        # The digests of what the token signed; a DigestInfo ends with one.
        self.signed = Counter(line[2][-64:] for line in self.lines if line[:2] == ["sign", "0x0"])

    def after_last(self, word):
        return self.words[len(self.words) - self.words[::-1].index(word):]


class Witnessed:
    """A signer with three keys, and all that was ever asked of it."""

    def __init__(self, directory, token):
        self.token = token
        self.signer = Signer(directory, token, preload=program("faults/witness.so"))
        self.signer.start()
        self.roots = {"RSA PKCS#1": LoneRoot("kill-rsa", RSA), "ECDSA": LoneRoot("kill-ecdsa", ECDSA),
                      "RSA-PSS": LoneRoot("kill-pss", PSS)}
        for root in self.roots.values():
            root.make(self.signer)
        self.asked = []
        self.now = max(root.now for root in self.roots.values())
        self.signed = Counter()  # by the token, all of them

    def log(self):
        return Log(self.token)

    def journaled(self):
        """digest -> signatures that the journal has for it, as an auditor reads it"""
        found = defaultdict(list)
        for row in Journal(self.signer).signed():
            found[row["tbs-sha256"]].append(row["signature"])
        return found

    def certificate(self, root, approval=None, serial=None):
        made = Asked(root, serial or root.serial(), approval or root.approval())
        self.asked.append(made)
        return made

    def kill(self, root, where):
        """Asks for some certificates, and the signer dies of it: the certificates, with what left before as their
        answers, and the log."""
        # Another second for each: after a torn record no serial of its time is taken.
        self.now += 1
        root.now = self.now
        asked = [self.certificate(root) for _ in range(AT_ONCE)]
        self.token.forget()
        self.token.fail(where)
        if where.endswith("2"):
            asked[0].answer = asked[0].again(self.signer)
        waiting = [one for one in asked if one.answer is None]
        requests = self.signer.send_all(SIGN, [one.message(self.signer) for one in waiting])
        answers = {request: payload[4:] for kind, request, payload in self.signer.wait_death() if kind == SIGNED}
        for one, request in zip(waiting, requests):
            one.answer = answers.get(request)
        self.token.fail()
        self.token.mend()
        return asked, self.log()


@pytest.fixture(scope="module")
def world(new_dir):
    token = RecordedToken(new_dir("token"), program("faults/shim.so")).create()
    made = Witnessed(new_dir("kills"), token)
    try:
        yield made
    finally:
        made.signer.stop()


def check_place(window, where, asked, log, journaled):
    """It died there, and at least one signature that was made then had to wait for what did not happen."""
    waiting = [one for one in asked if one.answer is None and log.signed[one.sha256]]
    call = where.split()[0]
    if window == "between C_Sign and the journal":
        if call == "journal-sync":  # written, and the disk has not said that it has it
            assert "journal-synced" not in log.after_last(call)
        else:
            waiting = [one for one in waiting if not journaled[one.sha256]]
    else:
        waiting = [one for one in waiting if journaled[one.sha256]]
        assert "journal-synced" in log.words
        assert call == "answer" or "answer" not in log.after_last("journal-synced")
    assert waiting, f"{where}: nothing was caught in the window: {log.lines}"


def check_released(asked, log, journaled):
    """Nothing was released unjournaled; the journal has nothing that the token did not sign."""
    for one in asked:
        assert len(journaled[one.sha256]) <= 1
        assert one.answer is None or [one.answer.hex()] == journaled[one.sha256]
        assert log.signed[one.sha256] or not journaled[one.sha256]


def check_no_other(world, one):
    """Other bytes with the same serial, or the same decision, are refused."""
    for other in (world.certificate(one.root, serial=one.serial), world.certificate(one.root, one.approval)):
        with pytest.raises(Refused, match="was used for another certificate") as refused:
            other.again(world.signer)
        assert refused.value.code == "denied"


def check_again(world, asked, log, journaled):
    """The same bytes are answered, from the journal when they are in it; before that, too, nothing else is."""
    for one in asked:
        if log.signed[one.sha256]:
            check_no_other(world, one)
        try:
            signature = one.again(world.signer)
        except Refused as refused:
            # Half a record was dropped: what it may have been is not taken again. The token never signed it.
            assert refused.code == "conflict" and not log.signed[one.sha256], refused
            continue
        one.root.verify(one.tbs, signature)
        assert signature.hex() in journaled[one.sha256] or not journaled[one.sha256]
        check_no_other(world, one)


@pytest.mark.parametrize("algorithm", ["RSA PKCS#1", "ECDSA", "RSA-PSS"])
@pytest.mark.parametrize("window", list(WINDOWS))
def test_killed(world, record_property, window, algorithm):
    root, outcome = world.roots[algorithm], Counter()
    assert len(WINDOWS[window]) * len(world.roots) >= LEAST
    for where in WINDOWS[window]:
        asked, log = world.kill(root, where)
        world.signer.start()
        journaled = world.journaled()
        check_place(window, where, asked, log, journaled)
        check_released(asked, log, journaled)
        world.token.forget()
        check_again(world, asked, log, journaled)
        again = world.log()
        # What the journal had was not signed a second time.
        assert not [one for one in asked if again.signed[one.sha256] and journaled[one.sha256]]
        world.signed += log.signed + again.signed
        outcome += Counter(kills=1, signed=sum(one.sha256 in log.signed for one in asked), journaled=sum(len(journaled[one.sha256]) for one in asked),
                           answered=sum(one.answer is not None for one in asked))
    contents = defaultdict(set)
    for one in world.asked:
        if world.signed[one.sha256]:
            contents[one.serial].add(one.sha256)
    assert contents and all(len(digests) == 1 for digests in contents.values())
    assert sum(world.signed.values()) == sum(world.signed[one.sha256] for one in world.asked)  # nothing else either
    figures = ", ".join(f"{count} {what}" for what, count in outcome.items())
    record_property("figures", f"{algorithm}, {window}: {figures}; {len(contents)} serials, each with one content")


@pytest.mark.parametrize("algorithm", ["RSA PKCS#1", "ECDSA", "RSA-PSS"])
def test_killed_with_a_crl(world, algorithm):
    """The same for CRL numbers: one content each, whatever was on the token and not yet in the journal."""
    root = world.roots[algorithm]
    for where in ("sign die 1", "journal-write die 1", "journal-synced die 1", "answer die 1"):
        world.now += 1
        root.now = world.now
        tbs = root.crl()
        world.token.forget()
        world.token.fail(where)
        world.signer.send(SIGN, root.message(world.signer, tbs, kind=CRL))
        assert SIGNED not in [kind for kind, _, _ in world.signer.wait_death()]
        world.token.fail()
        world.token.mend()
        world.signer.start()
        digest = hashlib.sha256(tbs).hexdigest()
        assert world.log().signed[digest] == 1, where
        journaled = world.journaled()[digest]
        assert len(journaled) == (where.split()[0] in ("journal-synced", "answer"))
        for _ in range(2):
            with pytest.raises(Refused, match=f"number {root.number} was used for another complete CRL") as refused:
                root.sign_crl(world.signer, number=root.number, at=root.now + 1)
            assert refused.value.code == "denied"
            payload = world.signer.ask(SIGN, root.message(world.signer, tbs, kind=CRL))
            root.verify(tbs, payload[4:])
            assert journaled in ([], [payload[4:].hex()])
