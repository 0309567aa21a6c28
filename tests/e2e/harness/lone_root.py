"""A root CA of any algorithm on a lone signer (signer.py), with limits that operators
signed; the test issues by hand."""

import datetime
import os
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from . import der, limits
from .signer import CERTIFICATE, CRL, Approval, Key, Order

DAY = 86400
SHA256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), b"\x05\x00")
MGF1 = der.sequence(der.oid("1.2.840.113549.1.1.8"), SHA256)


class Algorithm:
    """What a CA signs with: its names, its number in the signer's protocol, its DER."""

    def __init__(self, key, signature, number, identifier):
        self.key, self.signature, self.number, self.der = key, signature, number, identifier


RSA = Algorithm("rsa2048", "rsa-sha256", 1, der.sequence(der.oid("1.2.840.113549.1.1.11"), b"\x05\x00"))
PSS = Algorithm("rsa2048", "pss-sha256", 17, der.sequence(
    der.oid("1.2.840.113549.1.1.10"),
    der.sequence(der.explicit(0, SHA256), der.explicit(1, MGF1), der.explicit(2, der.integer(32)))))
ECDSA = Algorithm("p256", "ecdsa-sha256", 33, der.algorithm())

TEMPLATE = ("{0} {0} ca=no key-usage=digitalSignature eku=serverAuth validity=2592000 path-length=-")


class LoneRoot:
    """make() orders its key and signs its certificate; what is signed afterwards is
    asked of any of the key's signers."""

    def __init__(self, name, algorithm=ECDSA, operator=None, signer_ids="1"):
        self.ca, self.algorithm = name, algorithm
        self.operator = operator or Key()
        self.signer_ids = signer_ids
        self.name = limits.name_der(name)
        self.host = Key()
        self.now = int(time.time())
        self.serials = self.number = 0

    def order(self):
        end = limits.timestamp(datetime.datetime.utcfromtimestamp(self.now + 3000 * DAY))
        text = limits.document(
            self.ca, [limits.operator("alice", self.operator)], self.name, algorithm=self.algorithm.key,
            signatures=self.algorithm.signature, signer_ids=self.signer_ids, not_after=end,
            templates=[TEMPLATE.format("automatic"), TEMPLATE.format("manual")])
        return Order("ca-create", self.ca, limits.body(text), (self.operator,))

    def make(self, signer):
        self.made_by = self.order()
        made = signer.generate(self.made_by)
        self.id, self.spki = made.id, made.spki
        self.key_id = x509.SubjectKeyIdentifier.from_public_key(load_der_public_key(self.spki)).digest
        self.tbs = self.root_tbs()
        self.certificate = self.assemble(self.tbs, signer.sign(self, CERTIFICATE, self.tbs, alg=self.algorithm.number))
        return self

    def assemble(self, tbs, signature):
        return der.sequence(tbs, self.algorithm.der, der.bits(signature))

    def serial(self, signer_id=1):
        self.serials += 1
        return (bytes([1]) + signer_id.to_bytes(2, "big") + self.now.to_bytes(6, "big")
                + self.serials.to_bytes(4, "big") + os.urandom(7))

    def root_tbs(self):
        return der.Certificate(self.name, self.name, self.spki, self.serial(), self.now, self.key_id, {
            "algorithm": self.algorithm.der, "not_after": der.time(self.now + 2999 * DAY), "authority_key_id": b"",
            "alt_names": b"", "ext_key_usage": b"",
            "subject_key_id": der.extension("subjectKeyIdentifier", der.octets(self.key_id)),
            "basic_constraints": der.extension("basicConstraints", der.sequence(der.boolean(True)), True),
            "key_usage": der.extension("keyUsage", der.named_bits(["keyCertSign", "cRLSign"]), True)}).der

    # ---- what is asked: (to-be-signed octets, and how to ask for them)

    def csr(self, host="host.example.com"):
        info = der.request_info(der.name(("CN", host)), self.host.spki,
                                der.extension("subjectAltName", der.names_value(("dns", host))))
        return der.sequence(info, der.algorithm(),
                            der.bits(self.host.private.sign(info, ec.ECDSA(hashes.SHA256()))))

    def approval(self, csr=None):
        issued = datetime.datetime.utcfromtimestamp(self.now)
        return Approval(csr or self.csr(), self.operator, self.ca, "manual", issued=limits.timestamp(issued),
                        expires=limits.timestamp(issued + datetime.timedelta(minutes=10)))

    def leaf(self, serial=None, host="host.example.com", **changes):
        return der.Certificate(
            self.name, der.name(("CN", host)), self.host.spki, serial or self.serial(), self.now, self.key_id,
            {"algorithm": self.algorithm.der, "alt_names": der.extension("subjectAltName", der.names_value(
                ("dns", host))), **changes}).der

    def crl(self, number=None, base=None, at=None, **changes):
        if number is None:
            self.number += 1
            number = self.number
        more = b"" if base is None else der.extension("deltaCRLIndicator", der.integer(base), True)
        return der.Crl(self.name, self.key_id, at or self.now, number,
                       {"algorithm": self.algorithm.der, "more": more, **changes}).der

    def message(self, signer, tbs, approval=None, kind=CERTIFICATE):
        """The payload of a SIGN."""
        template = "" if kind != CERTIFICATE else "manual" if approval else "automatic"
        return signer.sign_message(self, kind, tbs, template, approval, self.algorithm.number)

    def sign(self, signer, tbs, approval=None):
        template = "manual" if approval else "automatic"
        return signer.sign(self, CERTIFICATE, tbs, template, approval, self.algorithm.number)

    def sign_crl(self, signer, **what):
        return signer.sign(self, CRL, self.crl(**what), alg=self.algorithm.number)

    def verify(self, tbs, signature):
        key = load_der_public_key(self.spki)
        if isinstance(key, rsa.RSAPublicKey):
            salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            key.verify(signature, tbs, salted if self.algorithm is PSS else padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, tbs, ec.ECDSA(hashes.SHA256()))
