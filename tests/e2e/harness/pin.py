"""Envelopes with a token's PIN, as far as a test makes them by hand."""

import base64
import os

from .decisions import Statement


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
