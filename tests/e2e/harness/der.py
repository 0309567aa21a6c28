"""DER written by hand, right or wrong: what an issuer that was taken over could
send to the signer."""

import calendar
import datetime
import hashlib

CONTEXT, CONSTRUCTED = 0x80, 0x20

OID = {
    "subjectKeyIdentifier": "2.5.29.14", "keyUsage": "2.5.29.15", "subjectAltName": "2.5.29.17",
    "basicConstraints": "2.5.29.19", "crlNumber": "2.5.29.20", "reasonCode": "2.5.29.21",
    "deltaCRLIndicator": "2.5.29.27", "issuingDistributionPoint": "2.5.29.28", "nameConstraints": "2.5.29.30",
    "crlDistributionPoints": "2.5.29.31", "certificatePolicies": "2.5.29.32", "authorityKeyIdentifier": "2.5.29.35",
    "extKeyUsage": "2.5.29.37", "freshestCRL": "2.5.29.46", "authorityInfoAccess": "1.3.6.1.5.5.7.1.1",
    "serverAuth": "1.3.6.1.5.5.7.3.1", "clientAuth": "1.3.6.1.5.5.7.3.2", "codeSigning": "1.3.6.1.5.5.7.3.3",
    "OCSPSigning": "1.3.6.1.5.5.7.3.9", "anyExtendedKeyUsage": "2.5.29.37.0",
    "ecdsa-sha256": "1.2.840.10045.4.3.2", "ecdsa-sha384": "1.2.840.10045.4.3.3", "ecPublicKey": "1.2.840.10045.2.1",
    "P-256": "1.2.840.10045.3.1.7", "rsaEncryption": "1.2.840.113549.1.1.1", "CN": "2.5.4.3",
    "emailAddress": "1.2.840.113549.1.9.1", "extensionRequest": "1.2.840.113549.1.9.14",
    "challengePassword": "1.2.840.113549.1.9.7",
}  # fmt: skip

USAGES = ("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign",
          "cRLSign", "encipherOnly", "decipherOnly")


def element(tag, content):
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*parts):
    return element(0x30, b"".join(parts))


def set_of(*parts):
    return element(0x31, b"".join(parts))


def explicit(number, *parts):
    return element(CONTEXT | CONSTRUCTED | number, b"".join(parts))


def integer(value):
    """An int, or the content's octets as they are."""
    if isinstance(value, int):
        value = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return element(0x02, value)


def boolean(value):
    return element(0x01, b"\xff" if value else b"\x00")


def oid(name):
    arcs = [int(a) for a in OID.get(name, name).split(".")]
    content = b""
    for arc in [arcs[0] * 40 + arcs[1]] + arcs[2:]:
        octets = [arc & 0x7F]
        while arc > 0x7F:
            arc >>= 7
            octets.insert(0, arc & 0x7F | 0x80)
        content += bytes(octets)
    return element(0x06, content)


def octets(content):
    return element(0x04, content)


def bits(content, unused=0):
    return element(0x03, bytes([unused]) + content)


def named_bits(names, all_names=USAGES):
    value = sum(1 << (15 - all_names.index(n)) for n in names)
    content = value.to_bytes(2, "big").rstrip(b"\0")
    unused = next((i for i in range(8) if content and content[-1] >> i & 1), 0)
    return bits(content, unused)


def utc_time(text):
    return element(0x17, text.encode())


def generalized_time(text):
    return element(0x18, text.encode())


def time(moment):
    """As RFC 5280 4.1.2.5 wants it; seconds since 1970."""
    t = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=moment)
    if 1950 <= t.year < 2050:
        return utc_time(t.strftime("%y%m%d%H%M%SZ"))
    return generalized_time(t.strftime("%Y%m%d%H%M%SZ"))


def seconds(moment):
    return calendar.timegm(moment.timetuple())


def name(*attributes):
    """name(("CN", "x"), ...), least specific first; a third part is the string's tag."""
    return sequence(*(set_of(sequence(oid(a[0]), element(a[2] if len(a) > 2 else 0x0C, a[1].encode())))
                      for a in attributes))


def algorithm(which="ecdsa-sha256", *parameters):
    return sequence(oid(which), *parameters)


def extension(which, value, critical=False):
    return sequence(oid(which), boolean(True) if critical else b"", octets(value))


def key_of(spki):
    """The content of the BIT STRING of a P-256 SubjectPublicKeyInfo."""
    return spki[-65:]


def key_id(spki):
    return hashlib.sha1(key_of(spki)).digest()


# What GeneralNames are, by a short word.
def general_name(kind, value):
    tags = {"email": 1, "dns": 2, "uri": 6, "ip": 7}
    if kind == "raw":
        return value
    return element(CONTEXT | tags[kind], value if isinstance(value, bytes) else value.encode())


def names_value(*names):
    return sequence(*(general_name(kind, value) for kind, value in names))


def points_value(*urls):
    """CRLDistributionPoints with one point."""
    full = explicit(0, *(general_name("uri", u) for u in urls))
    return sequence(sequence(explicit(0, full)))


class Certificate(dict):
    """The fields of a TBSCertificate, each whole DER; changes replace them."""

    def __init__(self, issuer, subject, spki, serial, now, issuer_key_id, changes):
        super().__init__(
            version=explicit(0, integer(2)), serial=integer(serial), algorithm=algorithm(), issuer=issuer,
            not_before=time(now), not_after=time(now + 30 * 86400 - 1), subject=subject, spki=spki, tail=b"",
            basic_constraints=extension("basicConstraints", sequence(), True),
            key_usage=extension("keyUsage", named_bits(["digitalSignature"]), True),
            ext_key_usage=extension("extKeyUsage", sequence(oid("serverAuth"))),
            authority_key_id=extension("authorityKeyIdentifier", sequence(element(0x80, issuer_key_id))),
            subject_key_id=extension("subjectKeyIdentifier", octets(key_id(spki))),
            alt_names=extension("subjectAltName", names_value(("dns", "host.example.com"))), more=b"",
        )  # fmt: skip
        assert set(changes) <= set(self), changes
        self.update(changes)

    EXTENSIONS = ("basic_constraints", "key_usage", "ext_key_usage", "authority_key_id", "subject_key_id", "alt_names",
                  "more")

    @property
    def der(self):
        extensions = b"".join(self[e] for e in self.EXTENSIONS)
        return sequence(
            self["version"], self["serial"], self["algorithm"], self["issuer"],
            sequence(self["not_before"], self["not_after"]), self["subject"], self["spki"],
            explicit(3, sequence(extensions)) if extensions else b"", self["tail"],
        )  # fmt: skip


class Crl(dict):
    """The fields of a TBSCertList, each whole DER; changes replace them."""

    def __init__(self, issuer, issuer_key_id, now, number, changes):
        super().__init__(
            version=integer(1), algorithm=algorithm(), issuer=issuer, this_update=time(now),
            next_update=time(now + 7 * 86400),
            revoked=b"",
            authority_key_id=extension("authorityKeyIdentifier", sequence(element(0x80, issuer_key_id))),
            number=extension("crlNumber", integer(number)), more=b"", tail=b"",
        )  # fmt: skip
        assert set(changes) <= set(self), changes
        self.update(changes)

    @property
    def der(self):
        return sequence(
            self["version"], self["algorithm"], self["issuer"], self["this_update"], self["next_update"],
            self["revoked"],
            explicit(0, sequence(self["authority_key_id"], self["number"], self["more"])), self["tail"],
        )  # fmt: skip


def request_info(subject, spki, extensions=b"", attributes=b"", version=0):
    """A CertificationRequestInfo."""
    if extensions:
        attributes += sequence(oid("extensionRequest"), set_of(sequence(extensions)))
    return sequence(integer(version), subject, spki, explicit(0, attributes))
