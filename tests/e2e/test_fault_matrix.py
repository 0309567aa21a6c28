"""Every function of PKCS#11 that the signer calls, with every code that the standard lets
it answer: once, and until the fault ends; while the signer signs or makes a key, and
while it opens the token.

Whatever happens: no request is lost or answered twice; no answer and no end of a process
takes longer than the deadline of the call (and MARGIN_S, for a busy machine); only the
signer's own process ends, and only with a status that says why; the PIN is not sent
again to who may have counted it; and when the fault ends, signing goes on.

Besides: each function crashes, hangs and is slow; the sessions are dropped, or the login is
lost, in the middle of each; and signatures are wrong.

The cases wait more than they work, and are walked in many worlds at once, in an order by a
seed that stands in the output (CHANCERY_SEED).
"""

import collections
import concurrent.futures
import hashlib
import os
import random
import signal
import time

import pytest
from harness import limits
from harness.chanceryd import program
from harness.journal import Journal
from harness.pkcs11_codes import NUMBERS, RETURNS
from harness.signer import CERTIFICATE, SIGN, Refused
from harness.softhsm import RecordedToken
from harness.world import World

TOKEN_LOST, MODULE_HUNG = 3, 5  # daemon/core/role.h
CALL_TIMEOUT_S = 2
LONG_FACTOR = 10  # pkcs11/call.h: to make a key
MARGIN_S = 60
WORLDS = 16
LONG_S = 150
AWAY = ("unavailable", "timeout")
RENEWS = "sign-init 0xb3 1"  # and then looks for the key and the login again

# The work that meets a fault in this function, and what leads there.
SIGNING = {
    "sign-init": "", "sign": "", "open-session": RENEWS, "get-session-info": RENEWS, "close-session": RENEWS,
    "find-objects-init": RENEWS, "find-objects": RENEWS, "find-objects-final": RENEWS, "get-attribute-value": RENEWS,
}  # fmt: skip
MAKING = ("generate-key-pair", "create-object", "get-mechanism-list", "get-mechanism-info", "open-session",
          "find-objects-init", "get-attribute-value")
OPENING = ("get-function-list", "initialize", "get-info", "get-slot-list", "get-slot-info", "get-token-info",
           "close-all-sessions", "open-session", "login", "find-objects-init", "find-objects", "find-objects-final",
           "get-attribute-value", "create-object", "destroy-object", "close-session")
LOGGED_IN = OPENING[OPENING.index("find-objects-init"):]
SLOW = (("signing", "find-objects"), ("making", "get-mechanism-list"), ("opening", "get-slot-list"),
        ("opening", "get-token-info"), ("opening", "find-objects"))
CLOSING = ("finalize", "close-session", "open-session", "destroy-object")
# These say that the PIN is at fault; or, from a token that never took it, that it may be.
PIN_CODES = ("PIN_INCORRECT", "PIN_LOCKED")


def all_cases():
    """(work, function, fault) of each."""
    cases = []
    for function, codes in RETURNS.items():
        answers = [f"0x{NUMBERS[code]:x}" for code in codes]
        for work, functions in (("signing", SIGNING), ("making", MAKING)):
            if function in functions:
                cases += [(work, function, f"{a}{how}") for a in answers for how in (" 1", "")]
        if function in OPENING:
            cases += [("opening", function, a) for a in answers]
        if function in CLOSING:
            cases += [("closing", function, a) for a in answers]
        works = [w for w, f in (("signing", SIGNING), ("making", MAKING), ("opening", OPENING)) if function in f]
        cases += [(work, function, what) for work in works for what in ("crash once", "hang once", "delay 50")]
    for work, functions in (("signing", SIGNING), ("making", MAKING), ("opening", LOGGED_IN)):
        cases += [(work, function, what) for function in functions for what in ("drop once", "logout once")]
    cases += [(work, function, "delay 300") for work, function in SLOW]
    cases += [("signing", "sign", "wrong 1"), ("signing", "sign", "wrong"), ("making", "sign", "wrong once")]
    return cases


def in_order(cases, seed):
    """Shuffled; what takes longest begins first: a key has ten times as long as other calls."""
    random.Random(seed).shuffle(cases)
    return sorted(cases, key=lambda case: case != ("making", "generate-key-pair", "hang once"))


class Walker:
    """One world, and what must hold for it whatever fails."""

    def __init__(self, new_dir):
        token = RecordedToken(new_dir("token"), program("faults/shim.so")).create()
        self.world = World(new_dir("faults"), token, call_timeout=f"{CALL_TIMEOUT_S}s")
        self.signer, self.token = self.world.signer, token
        self.world.start()
        self.world.install()
        self.called = self.calls()
        self.made, self.asked = 0, []
        self.outcomes = collections.Counter()
        self.slowest = self.latest = 0
        self.deadline_s = CALL_TIMEOUT_S

    def calls(self):
        with open(self.token.log_path, encoding="ascii") as f:
            return {line.split()[0] for line in f}

    # ---- one request, until it is answered for good

    def start(self):
        """It may be gone before it has its channel."""
        while True:
            try:
                return self.signer.start(ready=False)
            except OSError:
                self.bury()

    def in_time(self, begun):
        """Since then no more than one call can have hung."""
        self.latest = max(self.latest, time.monotonic() - begun - self.deadline_s)
        assert self.latest < MARGIN_S, f"{self.latest:.0f} s after the deadline of {self.deadline_s} s"

    def bury(self):
        begun = time.monotonic()
        status = self.signer.process.wait()
        self.in_time(begun)
        assert status in (TOKEN_LOST, MODULE_HUNG, -signal.SIGSEGV), (status, self.signer.process.log_tail())
        self.outcomes[f"ended {status}"] += 1
        self.token.mend()

    def settle(self):
        """A process that ended is started again, as the supervisor does."""
        if not self.signer.process.alive():
            self.bury()
            self.start()

    def once(self, ask):
        """None while it is away; otherwise the answer, or the refusal for good."""
        begun = time.monotonic()
        try:
            return ask()
        except Refused as refused:
            if refused.code not in AWAY:
                return refused
        except OSError:
            assert self.signer.process.wait() != 0
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.in_time(begun)
        return None

    def insist(self, ask):
        deadline = time.monotonic() + LONG_S
        while True:
            answer = self.once(ask)
            if answer is not None:
                return answer
            assert time.monotonic() < deadline, self.signer.process.log_tail()
            # What lost the token ends; what is away says so.
            time.sleep(0.02)
            self.settle()

    def signing(self):
        tbs = self.world.certificate().der
        self.asked.append(hashlib.sha256(tbs).hexdigest())
        message = self.signer.sign_message(self.world.key, CERTIFICATE, tbs, "auto")
        return (lambda: self.signer.ask(SIGN, message)), lambda answer: self.world.verify(tbs, answer[4:])

    def making(self):
        self.made += 1
        name = f"faults-{self.made}"
        order = self.world.order("ca-create", name, limits.body(self.world.limits(name, f"Faults {self.made}")))
        return (lambda: self.signer.generate(order)), lambda answer: len(answer.id) == 16 or pytest.fail(name)

    # ---- cases

    def meet(self, work, function, fault):
        """The fault comes while the signer works, and ends some time."""
        lead = SIGNING[function] + "\n" if work == "signing" and SIGNING[function] else ""
        ask, check = getattr(self, work)()
        self.token.forget()
        self.token.fail(f"{lead}{function} {fault}")
        answer = self.once(ask)
        self.token.fail()
        outcome = "done all the same" if answer is not None else "waited"
        if isinstance(answer, Refused):
            outcome = f"refused as {answer.code}"
        if answer is None or isinstance(answer, Refused):
            self.settle()
            again = self.insist(ask)
            assert not isinstance(again, Refused), (work, function, fault, again)
            answer = again
        check(answer)
        self.outcomes[outcome] += 1
        # Nobody tries a PIN in order to find out.
        assert [c for c in self.token.calls("login") if c != ["0x0"]] == []

    def open(self, function, fault):
        self.signer.drain()
        assert self.signer.process.wait() == 0
        self.token.forget()
        self.token.fail(f"{function} {fault}")
        self.start()
        ask, check = self.signing()
        answer = self.once(ask)
        logins = self.token.calls("login")
        self.token.fail()
        if function != "login":
            assert [c for c in logins if c not in (["0x0"], ["0x100"])] == [], (function, fault, logins)
        if function == "login" and fault in [f"0x{NUMBERS[code]:x}" for code in PIN_CODES]:
            assert len(logins) == 1
            self.token.write_pin(self.token.pin)
        self.outcomes["opened all the same" if answer is not None else "opened later"] += 1
        assert not isinstance(answer, Refused), (function, fault, answer)
        check(self.insist(ask) if answer is None else answer)

    def close(self, function, fault):
        self.token.fail(f"{function} {fault}")
        begun = time.monotonic()
        self.signer.drain()
        assert self.signer.process.wait() == 0
        self.in_time(begun)
        self.token.fail()
        self.start()
        ask, check = self.signing()
        check(self.insist(ask))
        self.outcomes["closed all the same"] += 1

    def meet_case(self, work, function, fault):
        self.deadline_s = CALL_TIMEOUT_S * (LONG_FACTOR if function == "generate-key-pair" else 1)
        if work == "opening":
            self.open(function, fault)
        elif work == "closing":
            self.close(function, fault)
        else:
            self.meet(work, function, fault)

    def end(self):
        """What was signed is in the journal, each serial once."""
        self.token.fail()
        self.signer.stop()
        journaled = collections.Counter(row["tbs-sha256"] for row in Journal(self.signer).signed())
        assert all(journaled[digest] == 1 for digest in self.asked), "not once in the journal"


def walk(new_dir, cases):
    """The walkers, and what went wrong: then the rest meets a world of its own."""
    walkers, wrong = [Walker(new_dir)], []
    for case in cases:
        try:
            walkers[-1].meet_case(*case)
        except (AssertionError, OSError, ValueError) as e:
            log = walkers[-1].signer.process
            wrong.append(f"{' '.join(case)}: {e!r}\n{log.log_tail(8)}")
            log.kill()
            walkers.append(Walker(new_dir))
    walkers[-1].end()
    return walkers, wrong


def test_every_function_and_every_code(new_dir, record_property):
    seed = int(os.environ.get("CHANCERY_SEED", random.SystemRandom().randrange(10**6)))
    cases = in_order(all_cases(), seed)
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(WORLDS) as pool:
        done = list(pool.map(lambda n: walk(new_dir, cases[n::WORLDS]), range(WORLDS)))
    walkers = [w for some, _ in done for w in some]
    wrong = [text for _, texts in done for text in texts]
    outcomes = sum((w.outcomes for w in walkers), collections.Counter())
    took, slowest = time.monotonic() - begun, max(w.slowest for w in walkers)
    latest = max(w.latest for w in walkers)
    record_property("figures", f"{len(cases)} faults (seed {seed}) in {took:.1f} s, slowest answer "
                    f"{slowest:.1f} s, {latest:.1f} s after its deadline at the latest: "
                    + ", ".join(f"{n} {what}" for what, n in sorted(outcomes.items()))
                    + f", {len(wrong)} wrong")
    assert not wrong, "\n\n".join(wrong)
    called = set().union(*(w.called for w in walkers))
    assert called <= set(RETURNS), "functions without a list of codes"
