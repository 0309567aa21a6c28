"""The real chancery-signer alone, with this test in the places of supervisor and
issuer: it speaks the signer's protocol itself (daemon/core/signproto.h)."""

import hashlib
import os
import signal
import socket
import struct
from types import SimpleNamespace

from .chanceryd import SANITIZER_ENVIRONMENT, program, write_yaml
from .decisions import Key, Statement
from .limits import body
from .lone_issuer import CONTROL_DRAIN, CONTROL_SIGNER_CHANNEL, Child
from .process import PATIENCE_S, SANITIZER

STATUS, KEY_GENERATE, KEY_FIND, SIGN, STREAM_BEGIN, STREAM_DATA, STREAM_END, LIMITS_SET, INSTALL, RESEED, PIN, \
    KEY_DESTROY, STREAM_DROP = range(1, 14)
STATUS_OK, KEY_OK, SIGNED, FAILED = 0x8001, 0x8002, 0x8003, 0x8004
CERTIFICATE, CRL, REQUEST = 1, 2, 3
ECDSA_SHA256, ECDSA_SHA384, RSA_SHA256 = 33, 34, 1
VERSION = 4

CODES = ("none", "usage", "config", "input", "limit", "denied", "not-found", "conflict", "unavailable", "timeout",
         "locked", "elsewhere", "busy", "system", "internal")
STATES = ("", "ready", "no-pin", "pin-wrong", "token-away", "module-broken", "closed", "locked", "at-device", "blocked")


def string(value):
    if isinstance(value, str):
        value = value.encode()
    return struct.pack(">I", len(value)) + value


class Refused(Exception):
    """The signer answered FAILED."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


class Order:
    """What operators signed: a statement and its body."""

    def __init__(self, action, ca, document="", keys=(), **more):
        self.body = document
        self.statement = Statement(action, ca=ca, object=more.pop("object", ca), body=document, **more)
        self.keys = keys

    @property
    def octets(self):
        text = self.statement.text
        signed = b"".join(string(k.spki) + string(k.sign(text)) for k in self.keys)
        return string(text) + string(self.body) + struct.pack(">B", len(self.keys)) + signed


class Signer:
    """One signer for the token; ask() and the methods below it play the issuer."""

    def __init__(self, directory, token, signer_id=1, preload=None, **options):
        """preload: a shared library of tests/faults that looks on. options: more of the token's, in the
        configuration; None takes one out."""
        self.directory, self.token, self.preload = directory, token, preload
        self.state_dir = os.path.join(directory, "state")
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        self.config = self.config_path = os.path.join(directory, "signer.yaml")
        self.signer_id = signer_id
        self.configure(**options)
        self.process = self.channel = None
        self.last = 0

    def configure(self, **options):
        """Takes effect at the next start."""
        entry = {"name": "main", "module": self.token.module, "select": {"label": self.token.label},
                 "pin_file": self.token.pin_file, "threads": 2, "environment": dict(self.token.environment),
                 "writable": self.token.writable, **options}
        write_yaml(self.config, {
            "state_dir": self.state_dir,
            "database": {"owner": "x", "issuer": "x", "front": "x"},
            "tokens": [{name: value for name, value in entry.items() if value is not None}],
            "front": {"unix": {"path": os.path.join(self.directory, "api.sock")}},
            "issuer": {"signer_id": self.signer_id, "credentials_dir": self.directory},
        }, 0o600)

    def start(self, ready=True):
        argv = [*getattr(self.token, "prefix", []), program("chancery-signer"), "--config", self.config, "--token", "main"]
        self.process = Child("signer", argv, os.path.join(self.directory, "signer.log"),
                             self.environment()).start()
        self.give_channel()
        if ready:
            self.process.wait_ready()
        return self

    def environment(self):
        made = dict(self.token.environment)
        if self.preload:
            options = SANITIZER_ENVIRONMENT.get("ASAN_OPTIONS", "")
            made |= {"LD_PRELOAD": self.preload, "ASAN_OPTIONS": f"{options}:verify_asan_link_order=0"}
        return made

    def give_channel(self):
        """A fresh channel, as after the issuer was restarted."""
        if self.channel is not None:
            self.channel.close()
        self.channel, theirs = socket.socketpair()
        self.channel.settimeout(PATIENCE_S)
        self.process.send(CONTROL_SIGNER_CHANNEL, "main", theirs.fileno())
        theirs.close()

    def drain(self):
        self.process.send(CONTROL_DRAIN)

    def stop(self):
        if self.process is None:
            return
        if self.process.alive():
            self.drain()
            assert self.process.wait() == 0
        self.process.kill()
        if self.channel is not None:
            self.channel.close()
        assert not SANITIZER.search(self.process.log()), self.process.log_tail(200)

    def die(self):
        """Sudden death, as kill -9."""
        self.process.kill()
        self.token.mend()
        self.channel.close()
        self.channel = None

    def wait_death(self):
        """It was killed: the answers that had left before. [(kind, request, payload)]"""
        answers = []
        try:
            while True:
                answers.append(self.receive())
        except (ConnectionError, ConnectionResetError):
            pass
        assert self.process.wait() == -signal.SIGKILL, self.process.log_tail()
        self.process.kill()
        self.channel.close()
        self.channel = None
        return answers

    # ---- frames

    def send(self, kind, payload=b"", request=None):
        if request is None:
            self.last += 1
            request = self.last
        self.channel.sendall(struct.pack(">IHHQ", len(payload), kind, 0, request) + payload)
        return request

    def send_all(self, kind, payloads):
        """At once: the signer may die of the first one. Returns the requests' numbers."""
        requests = [self.last + 1 + n for n in range(len(payloads))]
        self.last += len(payloads)
        self.channel.sendall(b"".join(struct.pack(">IHHQ", len(payload), kind, 0, request) + payload
                                      for request, payload in zip(requests, payloads)))
        return requests

    def _octets(self, count):
        data = b""
        while len(data) < count:
            more = self.channel.recv(count - len(data))
            if not more:
                raise ConnectionError("the signer closed the channel")
            data += more
        return data

    def receive(self):
        length, kind, _, request = struct.unpack(">IHHQ", self._octets(16))
        return kind, request, self._octets(length)

    def answer(self, request):
        """The answer to that request; Refused when it is FAILED."""
        kind, number, payload = self.receive()
        assert number == request, (number, request)
        if kind == FAILED:
            fields = payload[2:]
            size, = struct.unpack(">I", fields[:4])
            text = fields[4 + size + 4:].decode()
            raise Refused(CODES[payload[0]], text)
        return payload

    def ask(self, kind, payload):
        return self.answer(self.send(kind, payload))

    # ---- messages

    def status(self):
        """STATUS_OK's fields, by name."""
        data = self.ask(STATUS, struct.pack(">H", VERSION))[2:]
        made = SimpleNamespace()

        def number(name, form):
            nonlocal data
            size = struct.calcsize(">" + form)
            setattr(made, name, struct.unpack(">" + form, data[:size])[0])
            data = data[size:]

        def octets(name, text=True):
            nonlocal data
            size, = struct.unpack(">I", data[:4])
            setattr(made, name, data[4:4 + size].decode() if text else data[4:4 + size])
            data = data[4 + size:]

        number("instance", "Q")
        for name in ("token_name", "label", "serial", "model"):
            octets(name)
        number("state", "B")
        octets("text")
        number("threads", "I")
        number("signatures", "Q")
        number("since", "Q")
        octets("journal")
        octets("challenge")
        number("access", "B")
        octets("start")
        octets("start_signature", text=False)
        octets("identity", text=False)
        octets("shares")
        octets("unlocked_by")
        number("until", "Q")
        number("idle", "I")
        number("left", "Q")
        assert not data
        made.state = STATES[made.state]
        return made

    def generate(self, order):
        """The new key: its id and SubjectPublicKeyInfo."""
        payload = self.ask(KEY_GENERATE, order.octets)
        size, = struct.unpack(">I", payload[:4])
        return SimpleNamespace(id=payload[4:4 + size], spki=payload[8 + size:])

    def install(self, key, order):
        return self.ask(INSTALL, string(key.id) + order.octets)

    def set_limits(self, key, order):
        return self.ask(LIMITS_SET, string(key.id) + order.octets)

    def sign_message(self, key, kind, tbs, template="", approval=None, alg=ECDSA_SHA256, order=None):
        a = approval or SimpleNamespace(csr=b"", text="", signature=b"", spki=b"")
        return (string(key.id) + struct.pack(">HBI", alg, kind, 20000) + string(tbs) + string(template)
                + string(a.csr) + string(a.text) + string(a.signature) + string(a.spki)
                + (b"\1" + order.octets if order else b"\0"))

    def sign(self, key, kind, tbs, template="", approval=None, alg=ECDSA_SHA256, order=None):
        payload = self.ask(SIGN, self.sign_message(key, kind, tbs, template, approval, alg, order))
        return payload[4:]

    def begin_stream(self, key, tbs, kind=CRL, alg=ECDSA_SHA256, total=None, abstract=None, deadline_ms=0):
        """The request's number. abstract: the scope, or b"", where nothing shall be signed."""
        return self.send(STREAM_BEGIN, string(key.id) + struct.pack(
            ">HBQIB", alg, kind, len(tbs) if total is None else total, deadline_ms, abstract is not None)
            + string(abstract or b""))

    def end_stream(self, request, tbs, piece=1000):
        """The signature; of an abstract its text and signature."""
        for at in range(0, len(tbs), piece):
            self.send(STREAM_DATA, string(tbs[at:at + piece]), request)
        self.send(STREAM_END, b"", request)
        return self.answer(request)[4:]

    def stream(self, key, tbs, **how):
        return self.end_stream(self.begin_stream(key, tbs, deadline_ms=20000, **how), tbs)


class Approval:
    """An operator's decision about a CSR, in the form that a SIGN carries."""

    def __init__(self, csr, key, ca, template, **changes):
        self.csr = csr
        statement = Statement("approve", ca=ca, object="2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11",
                              csr=hashlib.sha256(csr).hexdigest(), template=f"{template}/1").but(**changes)
        self.text = statement.text
        self.signature = key.sign(self.text)
        self.spki = key.spki


__all__ = ["Approval", "Key", "Order", "Refused", "Signer", "body"]
