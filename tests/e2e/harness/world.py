"""A root and a CA below it on one token, made through the signer's channel alone: with
limits that operators signed, and what it takes to ask for anything in their name."""

import os
import time
from types import SimpleNamespace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from . import der, limits
from .signer import CERTIFICATE, CRL, REQUEST, Approval, Key, Order, Signer

DAY = 86400
HOST = der.name(("CN", "host.example.com"))


class World:
    """A root and a CA below it on one token, with limits that operators signed, and
    what it takes to ask for anything in their name."""

    def __init__(self, directory, token, signer=Signer, **options):
        """signer: its class. options: of the token, in the configuration."""
        self.now = int(time.time())
        self.alice, self.bob, self.mallory, self.host, self.responder = (Key() for _ in range(5))
        self.signer = signer(directory, token, **options)
        self.serials = self.renewals = 0

    def serial(self, signer_id=1, at=None):
        self.serials += 1
        at = self.now if at is None else at
        return bytes([1]) + signer_id.to_bytes(2, "big") + at.to_bytes(6, "big") + self.serials.to_bytes(4, "big") \
            + os.urandom(7)

    def limits(self, ca, common_name, **more):
        end = limits.timestamp(limits.datetime.datetime.utcfromtimestamp(self.now + 3000 * DAY))
        return limits.document(
            ca, [limits.operator("alice", self.alice), limits.operator("bob", self.bob, "limits")],
            limits.name_der(common_name), not_after=end, **more)

    def order(self, action, ca, body, *keys, **more):
        return Order(action, ca, body, keys or (self.alice,), **more)

    def make_key(self, ca, common_name, **more):
        text = self.limits(ca, common_name, **more)
        key = self.signer.generate(self.order("ca-create", ca, limits.body(text)))
        return SimpleNamespace(ca=ca, id=key.id, spki=key.spki, name=limits.name_der(common_name), limits=text,
                               key_id=der.key_id(key.spki))

    def assemble(self, tbs, signature):
        return der.sequence(tbs, der.algorithm(), der.bits(signature))

    def pem(self, *certificates):
        return "".join(x509.load_der_x509_certificate(c).public_bytes(Encoding.PEM).decode() for c in certificates)

    def start(self):
        self.signer.start()
        self.root = self.make_key("oracle-root", "Oracle Root", kind="root", templates=[
            "sub-ca manual ca=yes key-usage=keyCertSign,cRLSign eku=- validity=86400000 path-length=1"])
        tbs = self.root_certificate().der
        self.root.tbs = tbs
        self.root.certificate = self.assemble(tbs, self.signer.sign(self.root, CERTIFICATE, tbs))
        self.bare = self.make_key("oracle-bare", "Oracle Bare Root", kind="root", path_length="1")
        responders = der.hashlib.sha256(self.responder.spki).hexdigest()
        self.key = self.make_key(
            "oracle", "Oracle CA", kind="subordinate", path_length="0", responders=responders,
            permitted="dns:example.com", excluded="dns:secret.example.com", quorum=1, templates=[
                "auto automatic ca=no key-usage=digitalSignature eku=serverAuth validity=2592000 path-length=-",
                "manual manual ca=no key-usage=digitalSignature,keyEncipherment eku=serverAuth validity=2592000"
                " path-length=-",
                "ocsp manual ca=no key-usage=digitalSignature eku=OCSPSigning validity=2592000 path-length=-",
            ])
        return self

    def install(self):
        self.key.certificate = self.sub_ca(self.key)
        self.signer.install(self.key, self.order(
            "ca-install", "oracle", self.pem(self.key.certificate, self.root.certificate)))

    def sub_ca(self, key):
        csr = self.csr(der.request_info(key.name, key.spki), lambda info: self.signer.sign(key, REQUEST, info))
        tbs = self.sub_ca_tbs(key).der
        approval = Approval(csr, self.alice, "oracle-root", "sub-ca")
        return self.assemble(tbs, self.signer.sign(self.root, CERTIFICATE, tbs, "sub-ca", approval))

    def csr(self, info, sign):
        return der.sequence(info, der.algorithm(), der.bits(sign(info)))

    def host_csr(self, key=None, names=(("dns", "host.example.com"),), subject=None):
        key = key or self.host
        wish = der.extension("subjectAltName", der.names_value(*names)) if names else b""
        info = der.request_info(subject or HOST, key.spki, wish)
        return self.csr(info, lambda octets: key.private.sign(octets, ec.ECDSA(hashes.SHA256())))

    # ---- what passes, but for the changes

    def root_certificate(self, key=None, **changes):
        key = key or self.root
        fields = dict(
            not_after=der.time(self.now + 2999 * DAY), authority_key_id=b"", alt_names=b"", ext_key_usage=b"",
            basic_constraints=der.extension("basicConstraints", der.sequence(der.boolean(True)), True),
            key_usage=der.extension("keyUsage", der.named_bits(["keyCertSign", "cRLSign"]), True))
        return der.Certificate(key.name, key.name, key.spki, self.serial(), self.now, key.key_id,
                               {**fields, **changes})

    def sub_ca_tbs(self, key, **changes):
        root = self.root
        fields = dict(
            not_after=der.time(self.now + 900 * DAY), alt_names=b"", ext_key_usage=b"",
            basic_constraints=der.extension(
                "basicConstraints", der.sequence(der.boolean(True), der.integer(0)), True),
            key_usage=der.extension("keyUsage", der.named_bits(["keyCertSign", "cRLSign"]), True))
        return der.Certificate(root.name, key.name, key.spki, self.serial(), self.now, root.key_id,
                               {**fields, **changes})

    def bare_root(self, **changes):
        """The own certificate of a root that has none yet."""
        fields = dict(basic_constraints=constraints(der.boolean(True), der.integer(1)))
        return self.signer.sign(self.bare, CERTIFICATE, self.root_certificate(self.bare, **{**fields, **changes}).der)

    def certificate(self, **changes):
        key = self.key
        return der.Certificate(key.name, HOST, self.host.spki, self.serial(), self.now, key.key_id, changes)

    def issue(self, template="auto", approval=None, alg=None, **changes):
        """A certificate for a host."""
        more = {} if alg is None else {"alg": alg}
        return self.signer.sign(self.key, CERTIFICATE, self.certificate(**changes).der, template, approval, **more)

    def approval(self, csr=None, key=None, ca="oracle", template="manual", **changes):
        return Approval(csr or self.host_csr(), key or self.alice, ca, template, **changes)

    def approved(self, template="manual", approval=None, **changes):
        return self.issue(template, approval or self.approval(), **changes)

    def crl(self, **changes):
        self.crl_number = getattr(self, "crl_number", 0) + 1
        key = self.key
        return der.Crl(key.name, key.key_id, self.now, self.crl_number, changes)

    def sign_crl(self, **changes):
        return self.signer.sign(self.key, CRL, self.crl(**changes).der)

    def request(self, key=None, **more):
        key = key or self.key
        info = der.request_info(more.pop("subject", key.name), more.pop("spki", key.spki), **more)
        return self.signer.sign(self.key, REQUEST, info)

    def verify(self, tbs, signature):
        load_der_public_key(self.key.spki).verify(signature, tbs, ec.ECDSA(hashes.SHA256()))


def constraints(*parts, critical=True):
    return der.extension("basicConstraints", der.sequence(*parts), critical)
