"""Envelopes with a token's PIN, and signers that open them: written apart from the program's
own, from what its headers say."""

import base64
import datetime
import hashlib
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .decisions import Statement, timestamp

DOMAIN = b"chancery-pin-envelope X25519 HKDF-SHA256 AES-256-GCM\0"


def envelope(token, instance, key, signer="00" * 32, operations=(), enc="-", box="-"):
    """The body of a statement; without a PIN, as pin-lock and pin-clear have it."""
    lines = ["chancery-pin-envelope: 1", f"token: {token}", f"signer: {signer}", f"instance: {instance}",
             f"operator: {key.sha256.hex()}", "until: -", "idle: -", "signatures: -"]
    lines += ["operation: " + o for o in operations]
    return "\n".join(lines + [f"enc: {enc}", f"box: {box}"]) + "\n"


def entry(action, token, body, key, **changes):
    """What POST /v1/tokens/{token}/pin takes."""
    text = Statement(action, object=token, body=body, nonce=os.urandom(16).hex()).but(**changes).text
    return {"statement": text, "body": body, "signature": base64.b64encode(key.sign(text)).decode(),
            "spki": base64.b64encode(key.spki).decode()}


def field(text, name):
    """The values of a text's lines with that key."""
    return [line.split(": ", 1)[1] for line in text.splitlines() if line.startswith(name + ": ")]


def raw(key):
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def spki(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Signer:
    """What a signer announces of its start, in a database without one."""

    def __init__(self, token="main", signer_id=1, access="operation"):
        self.token, self.signer_id, self.access = token, signer_id, access
        self.identity = ed25519.Ed25519PrivateKey.generate()
        self.start()

    def start(self):
        self.key = x25519.X25519PrivateKey.generate()
        self.instance = os.urandom(16).hex()
        now = timestamp(datetime.datetime.utcnow())
        self.announced = (
            f"chancery-signer-start: 1\ntoken: {self.token}\ntoken-serial: -\nsigner-id: {self.signer_id}\n"
            f"access: {self.access}\ninstance: {self.instance}\n"
            f"key: {base64.b64encode(spki(self.key.public_key())).decode()}\nstarted: {now}\n")
        self.signature = self.identity.sign(b"chancery-signer-start\0" + self.announced.encode())

    @property
    def fingerprint(self):
        return hashlib.sha256(spki(self.identity.public_key())).hexdigest()

    def report(self, database, state="locked", **changes):
        """As its issuer tells the database."""
        said = {"announced": self.announced, "signature": self.signature, "identity": spki(self.identity.public_key()),
                **changes}
        database.execute(
            "SET search_path = chancery_store; SELECT report_token(%s, %s, %s, 'it waits', '', '', '', 1, 0, now(), NULL, NULL,"
            " %s, %s, %s, %s, %s)",
            (self.signer_id, self.token, state, self.access, self.instance, said["announced"], said["signature"],
             said["identity"]))

    def open(self, statement, body):
        """The PIN in an envelope."""
        head = body[: body.index("\nenc: ") + 1].encode()
        enc = base64.b64decode(field(body, "enc")[0])
        shared = self.key.exchange(x25519.X25519PublicKey.from_public_bytes(enc))
        material = HKDF(hashes.SHA256(), 44, enc + raw(self.key.public_key()), DOMAIN + hashlib.sha256(head).digest()).derive(
            shared)
        nonce = bytes.fromhex(field(statement, "nonce")[0])
        plain = AESGCM(material[:32]).decrypt(material[32:], base64.b64decode(field(body, "box")[0]), head + nonce)
        length = int.from_bytes(plain[:2], "big")
        assert not any(plain[2 + length :])
        return plain[2 : 2 + length]
