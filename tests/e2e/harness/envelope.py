"""Operators' PIN envelopes, made by hand: the format of daemon/x509/pin_envelope.h with
another implementation of its cryptography, and everything that can be wrong with one."""

import base64
import datetime
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from .decisions import Statement, timestamp
from .signer import CERTIFICATE, CRL, PIN, REQUEST, Order, Signer

DOMAIN = b"chancery-pin-envelope X25519 HKDF-SHA256 AES-256-GCM\0"
KINDS = {CERTIFICATE: "certificate", CRL: "crl", REQUEST: "csr-info"}


def announcement(status):
    """The start's fields, once its signature was verified."""
    text = status.start
    ed25519.Ed25519PublicKey.verify(load_der_public_key(status.identity), status.start_signature,
                                    b"chancery-signer-start\0" + text.encode())
    return dict(line.split(": ", 1) for line in text.splitlines())


def listed(kind, key, octets):
    """What an entry says of a to-be-signed structure."""
    return f"{KINDS[kind]} {key.id.hex()} {hashlib.sha256(octets).hexdigest()}"


def listed_order(order):
    return f"order - {hashlib.sha256(order.statement.text.encode()).hexdigest()}"


class Envelope:
    """For a signer as its status shows it. fields: of the body, for others than the right ones."""

    def __init__(self, status, key, action, pin=None, operations=(), among=None, until=None, idle="-", signatures="-",
                 lasts=600, fields=(), share=None):
        """share: (number, split) of the share that pin is then; among: how many and whose, of a split."""
        start = announcement(status)
        self.action, self.key, self.pin = action, key, pin
        self.public = base64.b64decode(start["key"])[-32:]
        if until is None:
            until = timestamp(datetime.datetime.utcnow() + datetime.timedelta(hours=1)) if action == "pin-unlock" else "-"
        self.token = start["token"]
        self.fields = {
            "token": start["token"], "signer": hashlib.sha256(status.identity).hexdigest(),
            "instance": start["instance"], "operator": key.sha256.hex(), "until": until, "idle": str(idle),
            "signatures": str(signatures), **dict(fields)}
        if share:
            self.fields["share"] = f"{share[0]} {share[1]}"
        if among:
            self.fields["split-among"] = " ".join([str(among[0]), *sorted(among[1:])])
        self.operations = sorted(operations, key=order_of)
        now = datetime.datetime.utcnow()
        self.statement = Statement(action, object=self.token, body="", expires=timestamp(
            now + datetime.timedelta(seconds=lasts)))
        self.seal()

    @property
    def head(self):
        return "chancery-pin-envelope: 1\n" + "".join(f"{name}: {value}\n" for name, value in self.fields.items()) \
            + "".join(f"operation: {line}\n" for line in self.operations)

    def seal(self):
        self.enc = self.box = "-"
        if self.pin is not None:
            head, private = self.head.encode(), x25519.X25519PrivateKey.generate()
            enc = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            shared = private.exchange(x25519.X25519PublicKey.from_public_bytes(self.public))
            material = HKDF(hashes.SHA256(), 44, enc + self.public, DOMAIN + hashlib.sha256(head).digest()).derive(shared)
            pin = self.pin.encode() if isinstance(self.pin, str) else self.pin
            plain = (len(pin).to_bytes(2, "big") + pin).ljust(258, b"\0")
            box = AESGCM(material[:32]).encrypt(material[32:], plain, head + bytes.fromhex(self.statement["nonce"]))
            self.enc, self.box = (base64.b64encode(octets).decode() for octets in (enc, box))
        return self

    @property
    def body(self):
        return f"{self.head}enc: {self.enc}\nbox: {self.box}\n"

    def order(self, *keys, **changes):
        """Signed; changes: of the statement."""
        order = Order("x", "-", self.body, keys or (self.key,))
        order.statement = self.statement.but(
            **{"body_sha256": hashlib.sha256(self.body.encode()).hexdigest(), **changes})
        return order


def order_of(line):
    kind, key, digest = line.split(" ")
    return ["certificate", "crl", "csr-info", "order"].index(kind), key, digest


class Shares:
    """What a signer shows of a split (daemon/x509/pin_share.h), and what holders make of it."""

    def __init__(self, text):
        lines = [line.split(": ", 1) for line in text.splitlines()]
        self.fields = dict(lines)
        self.holders = [value.split(" ") for name, value in lines if name == "holder"]

    def open(self, key):
        """(number and split, the share) of this operator."""
        number, _, holder, commitment, sealed = next(h for h in self.holders if h[2] == key.sha256.hex())
        sealed, split, length = base64.b64decode(sealed), self.fields["split"], int(self.fields["length"])
        enc, box = sealed[:91], sealed[91:]
        shared = key.private.exchange(ec.ECDH(), load_der_public_key(enc))
        info = b"chancery-pin-share\0" + bytes.fromhex(split) + bytes([int(number)]) + bytes.fromhex(holder)
        material = HKDF(hashes.SHA256(), 44, enc, info).derive(shared)
        share = AESGCM(material[:32]).decrypt(material[32:], box, bytes.fromhex(commitment))
        assert len(share) == length
        tag = b"chancery-pin-share\0" + bytes.fromhex(split) + bytes([int(number)]) + share
        assert hashlib.sha256(tag).hexdigest() == commitment
        return (number, split), share


def field_product(a, b):
    """In GF(2^8) as libgfshare has it."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def field_quotient(a, b):
    return next(q for q in range(256) if field_product(q, b) == a)


def combine(shares):
    """{number: octets}, as many as are needed: the PIN."""
    pin = bytes(len(next(iter(shares.values()))))
    for number, octets in shares.items():
        weight = 1
        for other in set(shares) - {number}:
            weight = field_product(weight, field_quotient(other, other ^ number))
        pin = bytes(p ^ field_product(o, weight) for p, o in zip(pin, octets))
    return pin.decode("ascii")


class PinSigner:
    """Operators before a running signer (harness.signer)."""

    def __init__(self, signer, pin):
        self.signer, self.pin = signer, pin

    def envelope(self, key, action, **more):
        return Envelope(self.signer.status(), key, action, **more)

    def send(self, order):
        self.signer.ask(PIN, order.octets)

    def unlock(self, key, pin=None, **more):
        self.send(self.envelope(key, "pin-unlock", pin=pin or self.pin, **more).order())

    def operate(self, key, *operations, pin=None, **more):
        self.send(self.envelope(key, "pin-operate", pin=pin or self.pin, operations=operations, **more).order())

    def split(self, key, need, *names, pin=None, **more):
        """What the signer says of it."""
        order = self.envelope(key, "pin-split", pin=pin or self.pin, among=(need, *names), **more).order()
        return self.signer.ask(PIN, order.octets)[4:].decode()

    def lock(self, key):
        self.send(self.envelope(key, "pin-lock").order())

    def clear(self, key):
        self.send(self.envelope(key, "pin-clear").order())


def persons(**keys):
    """The configuration's pin_operators."""
    return [{"name": name, "key": base64.b64encode(key.spki).decode()} for name, key in keys.items()]


def session(**keys):
    """A token's options for access: session."""
    return {"access": "session", "pin_file": None, "pin_operators": persons(**keys)}


def operation(**keys):
    return {"access": "operation", "pin_file": None, "pin_operators": persons(**keys)}


class UnlockedSigner(Signer):
    """One that an operator unlocks whenever it was started."""

    operator = pin = None

    def start(self, *args, **kwargs):
        super().start(*args, **kwargs)
        PinSigner(self, self.pin).unlock(self.operator)
        return self


class OperatedSigner(Signer):
    """One whose operator enters the PIN for everything that is asked for."""

    operator = pin = None
    enters = True

    def enter(self, *operations):
        if self.enters:
            PinSigner(self, self.pin).operate(self.operator, *operations)

    def generate(self, order):
        self.enter(listed_order(order))
        return super().generate(order)

    def install(self, key, order):
        self.enter(listed_order(order))
        return super().install(key, order)

    def sign(self, key, kind, tbs, *args, **more):
        self.enter(listed(kind, key, tbs))
        return super().sign(key, kind, tbs, *args, **more)
