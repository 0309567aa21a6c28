"""Limits of a CA's key, written by hand, and the parts of those that the command
line made."""

import base64
import datetime
import hashlib
import os
import re

from cryptography import x509
from cryptography.x509.oid import NameOID

from .decisions import timestamp


def name_der(common_name):
    """A Name as policies have it: CN=... as UTF8String."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]).public_bytes()


def operator(person, key, rights="limits,decide"):
    """A line of the document. key: a harness.decisions.Key."""
    return f"{person} {rights} {base64.b64encode(key.spki).decode()}"


def document(ca, operators, subject, policy=None, quorum=1, **more):
    """operators: lines made by operator(). more: other fields ("not_after")."""
    fields = {
        "ca": ca, "version": 1, "previous": "-", "key": "-", "token": "main", "kind": "root", "algorithm": "p256",
        "signatures": "ecdsa-sha256", "subject": subject.hex(),
        "not-after": timestamp(datetime.datetime.utcnow() + datetime.timedelta(days=3650)), "path-length": "-",
        "signer-ids": "1", "permitted": "-", "excluded": "-", "responders": "-", "quorum": quorum,
    }  # fmt: skip
    tail = {
        "nonce": os.urandom(16).hex(),
        "policy-sha256": hashlib.sha256(policy.encode()).hexdigest() if policy is not None else "-",
    }
    templates = more.pop("templates", [])
    retired = more.pop("retired", None)
    for name, value in more.items():
        name = name.replace("_", "-")
        assert name in fields or name in tail, name
        (fields if name in fields else tail)[name] = value
    lines = ["chancery-limits: 1"] + [f"{k}: {v}" for k, v in fields.items()]
    if retired is not None:
        lines.insert(1 + list(fields).index("algorithm"), f"retired: {retired}")
    lines += [f"operator: {line}" for line in sorted(operators)] + [f"template: {t}" for t in sorted(templates)]
    return "\n".join(lines + [f"{k}: {v}" for k, v in tail.items()]) + "\n"


def body(text, policy=""):
    """What a statement about limits covers."""
    return f"{text}---\n{policy}"


def field(text, name):
    """The value of a line of a document; of several the list."""
    values = re.findall(rf"(?m)^{re.escape(name)}: (.*)$", text)
    return values if name in ("operator", "template") else values[0]
