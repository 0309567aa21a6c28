"""CRL duty: of two signers of one key on one token one at a time signs its CRLs, and
whoever takes over goes on where the other one stood."""

import re
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from harness import der
from harness.lone_root import LoneRoot
from harness.process import wait_until
from harness.signer import Order, Refused, Signer
from harness.softhsm import Token


class Hosts:
    """Two signers of one root, each with a journal of its own."""

    def __init__(self, new_dir):
        token = Token(new_dir("token")).create()
        self.one = Signer(new_dir("one"), token, 1, crl_lease="1h").start()
        self.two = Signer(new_dir("two"), token, 2, crl_lease="1h")
        self.root = LoneRoot("duty", signer_ids="1,2").make(self.one)
        self.two.start()
        # It finds the key, and the certificate that the token remembers.
        assert self.two.generate(self.root.made_by).spki == self.root.spki
        pem = x509.load_der_x509_certificate(self.root.certificate).public_bytes(Encoding.PEM).decode()
        self.two.install(self.root, Order("ca-install", self.root.ca, pem, (self.root.operator,)))

    def restart(self, signer, lease):
        signer.stop()
        signer.configure(crl_lease=lease)
        return signer.start()

    def close(self):
        self.one.stop()
        self.two.stop()


@pytest.fixture
def hosts(new_dir):
    made = Hosts(new_dir)
    try:
        yield made
    finally:
        made.close()


def refusal(root, signer, **what):
    with pytest.raises(Refused) as refused:
        root.sign_crl(signer, **what)
    return refused.value.code, refused.value.text


def take_over(root, signer, **what):
    """As soon as the other one's lease has ended."""

    def signed():
        try:
            return root.sign_crl(signer, **what)
        except Refused as refused:
            assert refused.code in ("elsewhere", "unavailable"), refused
            return None

    return wait_until(signed, what=f"signer {signer.signer_id} in charge")


def test_the_duty_moves(hosts):
    root, one, two = hosts.root, hosts.one, hosts.two
    root.verify(root.crl(number=1), root.sign_crl(one, number=1))
    code, text = refusal(root, two, number=2)
    assert code == "elsewhere" and re.search(r"CA duty are signed by signer 1, which has that duty until 20\S+Z; "
                                             r"this is signer 2", text), text
    assert "which has that duty" not in two.process.log()  # nothing is wrong
    # Certificates are nobody's duty: each signer has serials of its own.
    leaf = root.leaf(root.serial(2))
    root.verify(leaf, root.sign(two, leaf))
    root.sign_crl(one, number=2, base=1)
    root.sign_crl(one, number=3)

    # Stopped in good order it lets go.
    one.stop()
    root.sign_crl(two, number=4)
    two.stop()
    two.start()
    one.configure(crl_lease="1s")
    one.start()

    # The holder dies: its lease has to end.
    root.sign_crl(one, number=4)
    one.die()
    root.verify(root.crl(number=5, base=4), take_over(root, two, number=5, base=4))
    assert two.process.log().count("taken the CRL duty over from signer 1") == 2
    # What signer 1 signed is not signed again with other content, nor on a base that never was.
    for what, words in (({"number": 4}, "was used for another"), ({"number": 5, "base": 1}, "was used for another"),
                        ({"number": 3}, "does not follow"), ({"number": 6, "base": 2}, "is none of the last")):
        code, text = refusal(root, two, at=root.now + 1, **what)
        assert code == "denied" and words in text, (what, text)
    root.sign_crl(two, number=6, base=3)

    # It comes back, and leaves the CRLs to the other one.
    one.configure(crl_lease="1h")
    one.start()
    code, text = refusal(root, one, number=7)
    assert code == "elsewhere" and "signed by signer 2" in text
    two = hosts.restart(two, "1s")
    root.sign_crl(two, number=7)
    root.verify(root.crl(number=8), take_over(root, one, number=8))
    assert refusal(root, two, number=9)[0] == "elsewhere"
    root.sign_crl(one, number=9, base=7)
    code, text = refusal(root, one, number=9, base=8)
    assert code == "denied" and "was used for another delta CRL" in text


def test_both_are_asked_at_once(hosts):
    """Leases that end all the time, and an issuer that asks both signers for the same
    numbers with different contents: each number gets one at most."""
    root = hosts.root
    signers = [hosts.restart(hosts.one, "1s"), hosts.restart(hosts.two, "1s")]
    won = {1: [], 2: []}
    enough = threading.Event()
    failures = []

    def ask(signer):
        number = 1
        while not enough.is_set():
            number = max([number, *(n + 1 for n in won[1][-1:] + won[2][-1:])])
            try:
                root.sign_crl(signer, number=number, next_update=der.time(root.now + 86400 + signer.signer_id))
                won[signer.signer_id].append(number)
            except Refused as refused:
                if refused.code == "denied":
                    number += 1
                elif refused.code not in ("elsewhere", "unavailable"):
                    failures.append(refused)
            except Exception as failed:  # noqa: BLE001: a thread's own
                failures.append(failed)
                return

    def is_enough():
        changes = sum(s.process.log().count("taken the CRL duty over") for s in signers)
        return failures or changes >= 3 and won[1] and won[2]

    threads = [threading.Thread(target=ask, args=(s,)) for s in signers]
    for thread in threads:
        thread.start()
    try:
        wait_until(is_enough, what="three changes of the duty")
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    assert not set(won[1]) & set(won[2])
