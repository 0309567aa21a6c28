"""Operators' statements made by hand, and handed in by whoever has the front's
database role: what a broken-in front could try."""

import datetime
import hashlib
import os

import psycopg2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from .process import PATIENCE_S, wait_until

FIELDS = ("action", "ca", "object", "csr-sha256", "template", "reason", "body-sha256", "nonce", "issued", "expires")


def timestamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class Key:
    """An operator's private key in the test's own hands."""

    def __init__(self, private=None):
        self.private = private or ec.generate_private_key(ec.SECP256R1())

    @classmethod
    def load(cls, path, passphrase):
        with open(path, "rb") as f:
            return cls(load_pem_private_key(f.read(), passphrase.encode()))

    @property
    def spki(self):
        return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def pem(self):
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    @property
    def sha256(self):
        return hashlib.sha256(self.spki).digest()

    def sign(self, text):
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(text.encode())
        return self.private.sign(text.encode(), ec.ECDSA(hashes.SHA256()))


class Statement(dict):
    """The fields of a statement; absent ones are "-"."""

    def __init__(self, action, ca="-", object="-", reason="-", template="-", csr=None, body=None, **more):
        now = datetime.datetime.utcnow()
        super().__init__({
            "action": action, "ca": ca, "object": object, "csr-sha256": csr or "-", "template": template,
            "reason": reason, "body-sha256": hashlib.sha256(body.encode()).hexdigest() if body is not None else "-",
            "nonce": os.urandom(16).hex(), "issued": timestamp(now),
            "expires": timestamp(now + datetime.timedelta(minutes=10)),
        })
        self.update(more)

    @property
    def text(self):
        return "chancery-statement: 1\n" + "".join(f"{name}: {self[name]}\n" for name in FIELDS)

    def but(self, **changes):
        """A copy with other values ("body_sha256" for "body-sha256")."""
        copy = Statement("x")
        copy.update(self)
        copy.update({name.replace("_", "-"): value for name, value in changes.items()})
        return copy


class Front:
    """Calls chancery.api_decide with the front's database role."""

    def __init__(self, database):
        self.database = database

    def decide(self, row, text=None, signature=None, credential=None, body=None, identity="uid:0", local=True):
        """row: the Statement whose fields the front passes on beside the text.
        Returns the decision's public id; psycopg2.Error when it is not taken."""

        def field(name):
            return None if row[name] == "-" else row[name]

        def octets(name):
            return bytes.fromhex(row[name]) if row[name] != "-" else None

        answer = self.database.one(
            "SELECT chancery.api_decide(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (identity, local, row["action"], field("ca"), row["object"], octets("csr-sha256"), field("template"),
             field("reason"), octets("body-sha256"), octets("nonce"), row["issued"], row["expires"],
             row.text if text is None else text, signature, credential, body), "chancery_front")
        return answer["id"]

    def refusal(self, *args, **kwargs):
        """What the database says to one that it does not even take."""
        try:
            taken = self.decide(*args, **kwargs)
        except psycopg2.Error as e:
            return e.pgcode, e.diag.message_primary
        raise AssertionError(f"taken as {taken}")

    def outcome(self, decision, timeout=PATIENCE_S):
        """(state, sentence) when the issuer has closed it."""

        def closed():
            (state, sentence), = self.database.execute(
                "SELECT state, outcome FROM chancery_store.decision WHERE public_id = %s", (decision,))
            return (state, sentence) if state in ("applied", "refused") else None

        return wait_until(closed, timeout, what=f"an outcome of decision {decision}")
