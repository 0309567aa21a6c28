"""The issuer was taken over: it has the signer's channel, and some material that
operators really signed, and tries to get signatures that they did not allow.

What it tries stands in tests/attacks.md, with the rule that must stop it: each line
there that names this file is a test here, and each attack here has its line.
"""

import os
import re
import time
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from harness import der, limits
from harness.chanceryd import program
from harness.process import run
from harness.signer import (
    CERTIFICATE, CRL, ECDSA_SHA384, REQUEST, RSA_SHA256, SIGN, Refused)  # fmt: skip
from harness.softhsm import Token
from harness.world import DAY, HOST, World, constraints

TABLE = os.path.join(os.path.dirname(__file__), "..", "attacks.md")


def read_table():
    """(attack, rule, file, test) of each line of the table."""
    with open(TABLE, encoding="utf-8") as f:
        cells = [[c.strip() for c in line.strip().strip("|").split("|")] for line in f if line.startswith("| ")]
    return [(c[0], c[1], *c[2].split(": ", 1)) for c in cells if c[0] != "attack"]


ROWS = read_table()


@pytest.fixture(scope="module")
def world(new_dir):
    made = World(new_dir("oracle"), Token(new_dir("token")).create())
    try:
        made.start()
        made.install()
        yield made
    finally:
        made.signer.stop()


# ---------------------------------------------------------------- attacks

ATTACKS = {}


def attack(function):
    ATTACKS[function.__name__] = function
    return function


def attacks(**lambdas):
    ATTACKS.update(lambdas)


def purposes(*names):
    return der.extension("extKeyUsage", der.sequence(*map(der.oid, names)))


def usage(*names, critical=True):
    return der.extension("keyUsage", der.named_bits(names), critical)


def alt_names(*names, critical=False):
    return der.extension("subjectAltName", der.names_value(*names), critical)


def aki(value):
    return der.extension("authorityKeyIdentifier", value)


CA = constraints(der.boolean(True))
SIGNS = usage("keyCertSign", "cRLSign")


# ---- one kind of structure for another
attacks(
    a_digest_instead_of_a_structure=lambda w: w.signer.sign(w.key, CERTIFICATE, os.urandom(32), "auto"),
    a_request_called_a_certificate=lambda w: w.signer.sign(
        w.key, CERTIFICATE, der.request_info(w.key.name, w.key.spki), "auto"),
    a_crl_called_a_certificate=lambda w: w.signer.sign(w.key, CERTIFICATE, w.crl().der, "auto"),
    a_certificate_called_a_crl=lambda w: w.signer.sign(w.key, CRL, w.certificate().der),
    a_certificate_called_a_request=lambda w: w.signer.sign(w.key, REQUEST, w.certificate().der),
    a_streamed_certificate=lambda w: w.signer.stream(w.key, w.certificate().der),
    a_whole_signed_certificate=lambda w: w.signer.sign(w.key, CERTIFICATE, w.key.certificate, "auto"),
    a_tls_handshake=lambda w: w.signer.sign(
        w.key, CERTIFICATE, b"\x20" * 64 + b"TLS 1.3, server CertificateVerify\0" + os.urandom(32), "auto"),
    two_certificates_at_once=lambda w: w.signer.sign(
        w.key, CERTIFICATE, w.certificate().der + w.certificate().der, "auto"),
)

# ---- DER that is not quite
attacks(
    an_indefinite_length=lambda w: w.signer.sign(
        w.key, CERTIFICATE, b"\x30\x80" + w.certificate().der[4:] + b"\0\0", "auto"),
    a_length_with_a_zero=lambda w: w.signer.sign(
        w.key, CERTIFICATE, b"\x30\x83\x00" + w.certificate().der[2:], "auto"),
    a_version_1_certificate=lambda w: w.issue(version=b""),
    a_negative_serial=lambda w: w.issue(serial=der.integer(b"\x81" + w.serial()[1:])),
    a_padded_serial=lambda w: w.issue(serial=der.integer(b"\0" + w.serial())),
    a_zero_serial=lambda w: w.issue(serial=der.integer(0)),
    generalized_time_before_2050=lambda w: w.issue(
        not_after=der.generalized_time(time.strftime("%Y%m%d%H%M%SZ", time.gmtime(w.now + DAY)))),
    utc_time_with_an_offset=lambda w: w.issue(not_before=der.utc_time("261122120000+0100")),
    utc_time_without_seconds=lambda w: w.issue(not_before=der.utc_time("2611221200Z")),
    an_extension_twice=lambda w: w.issue(more=usage("digitalSignature")),
    a_boolean_of_one=lambda w: w.issue(basic_constraints=der.sequence(
        der.oid("basicConstraints"), b"\x01\x01\x01", der.octets(der.sequence()))),
    ca_false_written_out=lambda w: w.issue(basic_constraints=constraints(der.boolean(False))),
    a_unique_identifier=lambda w: w.issue(tail=der.element(0x82, b"\0\1")),
    a_nul_in_a_host_name=lambda w: w.issue(alt_names=alt_names(("dns", "host.example.com\0.evil.test"))),
)

# ---- whose certificate it is
attacks(
    another_issuer=lambda w: w.issue(issuer=w.root.name),
    an_issuer_that_only_compares_equal=lambda w: w.issue(issuer=der.name(("CN", "Oracle CA", 0x13))),
    issuer_and_subject_changed_over=lambda w: w.issue(issuer=HOST, subject=w.key.name),
    another_algorithm_inside=lambda w: w.issue(algorithm=der.algorithm("ecdsa-sha384")),
    parameters_beside_the_algorithm=lambda w: w.issue(algorithm=der.algorithm("ecdsa-sha256", b"\x05\x00")),
    an_algorithm_outside_the_limits=lambda w: w.issue(alg=ECDSA_SHA384, algorithm=der.algorithm("ecdsa-sha384")),
    an_algorithm_of_another_key=lambda w: w.issue(alg=RSA_SHA256),
    a_short_serial=lambda w: w.issue(serial=der.integer(b"\x01\x00\x01")),
    another_signers_serial=lambda w: w.issue(serial=der.integer(w.serial(2))),
    a_serial_of_last_month=lambda w: w.issue(serial=der.integer(w.serial(1, w.now - 30 * DAY))),
    a_serial_of_tomorrow=lambda w: w.issue(serial=der.integer(w.serial(1, w.now + DAY))),
    no_authority_key_id=lambda w: w.issue(authority_key_id=b""),
    the_roots_authority_key_id=lambda w: w.issue(authority_key_id=aki(der.sequence(
        der.element(0x80, w.root.key_id)))),
    an_authority_by_issuer_and_serial=lambda w: w.issue(authority_key_id=aki(der.sequence(
        der.element(0x80, w.key.key_id), der.explicit(1, der.explicit(4, w.root.name)), der.element(0x82, b"\5")))),
    the_cas_subject_key_id=lambda w: w.issue(subject_key_id=der.extension(
        "subjectKeyIdentifier", der.octets(w.key.key_id))),
)

# ---- for how long
attacks(
    backdated=lambda w: w.issue(not_before=der.time(w.now - 10 * DAY)),
    postdated=lambda w: w.issue(not_before=der.time(w.now + DAY)),
    longer_than_its_template=lambda w: w.issue(not_after=der.time(w.now + 30 * DAY)),
    beyond_the_cas_own_certificate=lambda w: w.issue(not_after=der.time(w.now + 901 * DAY)),
    beyond_the_limits=lambda w: w.issue(not_after=der.time(w.now + 3001 * DAY)),
    the_year_9999=lambda w: w.issue(not_after=der.generalized_time("99991231235959Z")),
)

# ---- a CA, or what else it could be
attacks(
    a_ca_by_an_end_entitys_template=lambda w: w.issue(basic_constraints=CA, key_usage=SIGNS),
    a_ca_somebody_approved_as_a_host=lambda w: w.approved(basic_constraints=CA, key_usage=SIGNS),
    cert_sign_without_ca=lambda w: w.issue(key_usage=usage("digitalSignature", "keyCertSign")),
    crl_sign_without_ca=lambda w: w.issue(key_usage=usage("digitalSignature", "cRLSign")),
    more_key_usage_than_the_template=lambda w: w.issue(key_usage=usage("digitalSignature", "keyEncipherment")),
    no_key_usage=lambda w: w.issue(key_usage=b""),
    another_purpose=lambda w: w.issue(ext_key_usage=purposes("codeSigning")),
    a_purpose_more=lambda w: w.issue(ext_key_usage=purposes("serverAuth", "clientAuth")),
    any_purpose=lambda w: w.issue(ext_key_usage=purposes("anyExtendedKeyUsage")),
    no_purpose_at_all=lambda w: w.issue(ext_key_usage=b""),
    a_responder_by_the_hosts_template=lambda w: w.issue(ext_key_usage=purposes("OCSPSigning")),
    a_responder_of_a_stranger=lambda w: w.approved(
        "ocsp", w.approval(template="ocsp"), ext_key_usage=purposes("OCSPSigning")),
    a_responders_key_for_a_host=lambda w: w.issue(
        spki=w.responder.spki, subject_key_id=der.extension(
            "subjectKeyIdentifier", der.octets(der.key_id(w.responder.spki)))),
    netscape_ca=lambda w: w.issue(more=der.extension("2.16.840.1.113730.1.1", der.bits(b"\x07"))),
    a_precertificate=lambda w: w.issue(more=der.extension("1.3.6.1.4.1.11129.2.4.3", b"\x05\x00", True)),
    name_constraints_of_its_own=lambda w: w.issue(more=der.extension(
        "nameConstraints", der.sequence(der.explicit(0, der.sequence(der.general_name("dns", "")))), True)),
    constraints_nobody_has_to_read=lambda w: w.issue(basic_constraints=constraints(critical=False)),
    key_usage_nobody_has_to_read=lambda w: w.issue(key_usage=usage("digitalSignature", critical=False)),
    a_crl_issuer_of_its_own=lambda w: w.issue(more=der.extension("crlDistributionPoints", der.sequence(der.sequence(
        der.explicit(2, der.explicit(4, der.name(("CN", "Evil")))))))),
)


def with_key(spki):
    return {"spki": spki, "subject_key_id": der.extension("subjectKeyIdentifier", der.octets(der.key_id(spki)))}


def off_the_curve(spki):
    return spki[:-1] + bytes([spki[-1] ^ 1])


def rsa(bits, exponent):
    modulus = (1 << bits) - 159
    public = der.sequence(der.integer(modulus), der.integer(exponent))
    spki = der.sequence(der.algorithm("rsaEncryption", b"\x05\x00"), der.bits(public))
    return {"spki": spki, "subject_key_id": der.extension(
        "subjectKeyIdentifier", der.octets(der.hashlib.sha1(public).digest()))}


attacks(
    the_cas_own_key=lambda w: w.issue(**with_key(w.key.spki)),
    the_roots_key_for_a_host=lambda w: w.issue(**with_key(w.root.spki)),
    a_key_off_the_curve=lambda w: w.issue(**with_key(off_the_curve(w.host.spki))),
    a_small_rsa_key=lambda w: w.issue(**rsa(1024, 65537)),
    an_rsa_key_with_exponent_1=lambda w: w.issue(**rsa(2048, 1)),
    an_rsa_key_with_exponent_3=lambda w: w.issue(**rsa(2048, 3)),
    another_curve=lambda w: w.issue(spki=der.sequence(
        der.algorithm("ecPublicKey", der.oid("1.3.132.0.10")), der.bits(b"\x04" + bytes(64)))),
)

# ---- for whom
attacks(
    the_cas_own_name=lambda w: w.issue(subject=w.key.name),
    the_cas_own_name_in_capitals=lambda w: w.issue(subject=der.name(("CN", "ORACLE  ca"))),
    neither_subject_nor_name=lambda w: w.issue(subject=der.sequence(), alt_names=b""),
    a_name_outside_the_permitted=lambda w: w.issue(alt_names=alt_names(("dns", "evil.test"))),
    a_permitted_name_and_another=lambda w: w.issue(alt_names=alt_names(
        ("dns", "host.example.com"), ("dns", "evil.test"))),
    a_name_that_ends_alike=lambda w: w.issue(alt_names=alt_names(("dns", "evilexample.com"))),
    a_common_name_outside=lambda w: w.issue(subject=der.name(("CN", "evil.test"))),
    a_common_name_with_a_dot=lambda w: w.issue(subject=der.name(("CN", "evil.test."))),
    a_second_common_name_outside=lambda w: w.issue(subject=der.name(
        ("CN", "evil.test"), ("CN", "host.example.com"))),
    an_excluded_name=lambda w: w.issue(alt_names=alt_names(("dns", "www.secret.example.com"))),
    a_wildcard_over_an_excluded_name=lambda w: w.issue(alt_names=alt_names(("dns", "*.example.com"))),
    a_directory_name=lambda w: w.issue(alt_names=alt_names(
        ("dns", "host.example.com"), ("raw", der.explicit(4, w.root.name)))),
    a_principal_name=lambda w: w.issue(alt_names=alt_names(("raw", der.explicit(
        0, der.oid("1.3.6.1.4.1.311.20.2.3"), der.explicit(0, der.element(0x0C, b"admin@corp.test")))))),
)

# ---- who decided
attacks(
    a_template_outside_the_limits=lambda w: w.issue("nonesuch"),
    a_manual_template_without_a_decision=lambda w: w.issue("manual"),
    a_certificate_without_a_template=lambda w: w.issue(""),
    a_decision_of_a_stranger=lambda w: w.approved(approval=w.approval(key=w.mallory)),
    a_decision_without_the_right=lambda w: w.approved(approval=w.approval(key=w.bob)),
    a_decision_about_another_ca=lambda w: w.approved(approval=w.approval(ca="oracle-root")),
    a_decision_about_another_template=lambda w: w.approved(approval=w.approval(template="auto")),
    a_decision_about_another_csr=lambda w: w.approved(
        approval=w.approval(csr_sha256=der.hashlib.sha256(w.host_csr()).hexdigest())),
    a_denial=lambda w: w.approved(approval=w.approval(action="deny", reason="no")),
    a_decision_of_last_month=lambda w: w.approved(
        approval=w.approval(issued="2020-01-01T00:00:00Z", expires="2020-01-01T00:10:00Z")),
    a_decision_of_the_future=lambda w: w.approved(
        approval=w.approval(issued="2050-01-01T00:00:00Z", expires="2050-01-01T00:10:00Z")),
    another_key_than_approved=lambda w: w.approved(**with_key(w.mallory.spki)),
    another_subject_than_approved=lambda w: w.approved(subject=der.name(("CN", "other.example.com"))),
    another_name_than_approved=lambda w: w.approved(alt_names=alt_names(("dns", "other.example.com"))),
    a_name_more_than_approved=lambda w: w.approved(alt_names=alt_names(
        ("dns", "host.example.com"), ("dns", "other.example.com"))),
    more_purposes_than_approved=lambda w: w.approved(ext_key_usage=purposes("serverAuth", "clientAuth")),
)


@attack
def a_changed_decision(w):
    approval = w.approval()
    approval.text = approval.text.replace("reason: -", "reason: yes")
    w.approved(approval=approval)


@attack
def a_decision_signed_by_nobody(w):
    approval = w.approval()
    approval.signature = b"\x30\x06\x02\x01\x01\x02\x01\x01"
    w.approved(approval=approval)


@attack
def a_statement_with_a_line_more(w):
    approval = w.approval()
    approval.text += "csr-sha256: -\n"
    approval.signature = w.alice.sign(approval.text)
    w.approved(approval=approval)


@attack
def an_order_as_a_decision(w):
    """What alice signed when the CA was made."""
    order = w.order("ca-create", "oracle", limits.body(w.key.limits))
    w.approved(approval=SimpleNamespace(csr=w.host_csr(), text=order.statement.text, spki=w.alice.spki,
                                        signature=w.alice.sign(order.statement.text)))


@attack
def a_csr_that_is_none(w):
    w.approved(approval=w.approval(csr=w.host_csr() + b"\0"))


@attack
def a_decision_for_a_second_certificate(w):
    approval = w.approval()
    w.approved(approval=approval)
    w.approved(approval=approval)


@attack
def a_serial_for_a_second_certificate(w):
    serial = der.integer(w.serial())
    w.issue(serial=serial)
    w.issue(serial=serial, subject=der.name(("CN", "other.example.com")))


# ---- CRLs
def idp(*parts):
    return der.extension("issuingDistributionPoint", der.sequence(*parts), True)


def delta(base):
    return der.extension("deltaCRLIndicator", der.integer(base), True)


attacks(
    a_crl_of_another_issuer=lambda w: w.sign_crl(issuer=w.root.name),
    a_crl_with_another_key_id=lambda w: w.sign_crl(authority_key_id=aki(der.sequence(
        der.element(0x80, w.root.key_id)))),
    a_crl_with_another_algorithm_inside=lambda w: w.sign_crl(algorithm=der.algorithm("ecdsa-sha384")),
    a_crl_of_tomorrow=lambda w: w.sign_crl(this_update=der.time(w.now + DAY)),
    a_crl_of_last_month=lambda w: w.sign_crl(this_update=der.time(w.now - 30 * DAY)),
    a_crl_that_outlives_the_ca=lambda w: w.sign_crl(next_update=der.time(w.now + 901 * DAY)),
    a_crl_for_years=lambda w: w.signer.sign(w.root, CRL, der.Crl(w.root.name, w.root.key_id, w.now, 1, {
        "next_update": der.time(w.now + 1500 * DAY)}).der),
    a_crl_without_its_end=lambda w: w.sign_crl(next_update=b""),
    an_indirect_crl=lambda w: w.sign_crl(more=idp(der.element(0x84, b"\xff"))),
    a_crl_for_some_reasons=lambda w: w.sign_crl(more=idp(der.element(0x83, b"\x06\x40"))),
    a_crl_of_users_and_cas=lambda w: w.sign_crl(more=idp(der.element(0x81, b"\xff"), der.element(0x82, b"\xff"))),
    a_delta_nobody_has_to_read=lambda w: w.sign_crl(more=der.extension("deltaCRLIndicator", der.integer(1))),
    an_empty_list_written_out=lambda w: w.sign_crl(revoked=der.sequence()),
    an_entry_with_its_own_issuer=lambda w: w.sign_crl(revoked=der.sequence(der.sequence(
        der.integer(5), der.time(w.now), der.sequence(der.extension(
            "2.5.29.29", der.sequence(der.explicit(4, w.root.name)), True))))),
    a_release_in_a_complete_crl=lambda w: w.sign_crl(revoked=der.sequence(der.sequence(
        der.integer(5), der.time(w.now), der.sequence(der.extension("reasonCode", b"\x0a\x01\x08"))))),
    a_version_1_crl=lambda w: w.sign_crl(version=b""),
    a_crl_time_with_an_offset=lambda w: w.sign_crl(this_update=der.utc_time("261122120000+0100")),
    a_crl_that_ends_before_it_begins=lambda w: w.sign_crl(next_update=der.time(w.now - 60)),
    something_behind_a_crl=lambda w: w.sign_crl(tail=b"\x05\x00"),
    a_crl_as_a_set=lambda w: w.signer.sign(w.key, CRL, b"\x31" + w.crl().der[1:]),
    a_crl_with_octets_to_spare=lambda w: w.signer.sign(w.key, CRL, w.crl().der + b"\0"),
    an_endless_extension=lambda w: w.sign_crl(more=der.extension("1.2.3", der.octets(bytes(20000)))),
    a_crl_without_a_number=lambda w: w.sign_crl(number=b""),
    a_negative_crl_number=lambda w: w.sign_crl(number=der.extension("crlNumber", der.integer(b"\xff"))),
    a_crl_issuer_by_directory=lambda w: w.sign_crl(more=idp(der.explicit(0, der.explicit(
        0, der.explicit(4, w.root.name))))),
    a_crl_longer_than_announced=lambda w: w.signer.stream(w.key, w.crl().der, total=100),
    a_crl_shorter_than_announced=lambda w: w.signer.stream(w.key, w.crl().der, total=1000),
)


@attack
def a_crl_number_twice(w):
    w.sign_crl()
    w.crl_number -= 1
    w.sign_crl(revoked=der.sequence(der.sequence(der.integer(5), der.time(w.now))))


@attack
def a_lower_crl_number(w):
    w.sign_crl()
    w.sign_crl(number=der.extension("crlNumber", der.integer(0)))


@attack
def a_crl_before_the_last(w):
    w.sign_crl()
    w.sign_crl(this_update=der.time(w.now - 60))


@attack
def a_delta_on_a_base_that_never_was(w):
    w.sign_crl()
    w.crl_number += 5
    w.sign_crl(more=delta(w.crl_number - 1))


# ---- the key's own request, and a root's own certificate
attacks(
    a_request_with_another_key=lambda w: w.request(spki=w.mallory.spki),
    a_request_with_another_subject=lambda w: w.request(subject=HOST),
    a_request_with_a_password=lambda w: w.request(attributes=der.sequence(
        der.oid("challengePassword"), der.set_of(der.element(0x0C, b"secret")))),
    a_request_for_a_host_name=lambda w: w.request(extensions=alt_names(("dns", "evil.test"))),
    a_request_for_a_longer_path=lambda w: w.request(extensions=constraints(der.boolean(True), der.integer(3))),
    a_second_root_certificate=lambda w: w.signer.sign(w.root, CERTIFICATE, w.root_certificate(
        not_after=der.time(w.now + 2998 * DAY)).der),
    a_root_with_another_key=lambda w: w.bare_root(**with_key(w.mallory.spki), authority_key_id=aki(der.sequence(
        der.element(0x80, w.bare.key_id)))),
    a_root_with_another_subject=lambda w: w.bare_root(subject=HOST),
    a_root_with_a_longer_path=lambda w: w.bare_root(basic_constraints=CA),
    a_root_that_is_no_ca=lambda w: w.bare_root(basic_constraints=constraints()),
    a_root_that_signs_documents=lambda w: w.bare_root(key_usage=usage("digitalSignature", "keyCertSign", "cRLSign")),
    a_root_with_a_host_name=lambda w: w.bare_root(alt_names=alt_names(("dns", "evil.test"))),
    a_root_that_outlives_its_limits=lambda w: w.bare_root(not_after=der.time(w.now + 3001 * DAY)),
)


def renewal(w, **changes):
    """What operators sign to have the root's certificate renewed."""
    fields = {"ca": "oracle-root", "replaces": der.hashlib.sha256(w.root.tbs).hexdigest(),
              "key": der.hashlib.sha256(w.root.spki).hexdigest(), "signer": der.hashlib.sha256(w.root.spki).hexdigest(),
              "not-after": limits.timestamp(limits.datetime.datetime.utcfromtimestamp(w.now + 2999 * DAY)),
              **{name.replace("_", "-"): value for name, value in changes.items()}}
    return "chancery-renewal: 1\n" + "".join(f"{name}: {value}\n" for name, value in fields.items())


def renewal_order(w, *keys, action="ca-renew", body=None, **more):
    return w.order(action, more.pop("ca", "oracle-root"), body or renewal(w), *keys, **more)


def renew(w, order=None, **changes):
    tbs = w.root_certificate(**changes).der
    w.renewals += 1  # in one second there is one
    issued = limits.timestamp(limits.datetime.datetime.utcfromtimestamp(w.now + w.renewals))
    signature = w.signer.sign(w.root, CERTIFICATE, tbs, order=order or renewal_order(w, issued=issued))
    w.root.tbs = tbs
    return signature


attacks(
    a_renewal_by_a_stranger=lambda w: renew(w, renewal_order(w, w.mallory)),
    a_renewal_by_another_order=lambda w: renew(w, renewal_order(w, action="ca-install")),
    a_renewal_of_another_ca=lambda w: renew(w, renewal_order(w, ca="oracle-bare")),
    a_renewal_of_last_month=lambda w: renew(w, renewal_order(
        w, issued="2020-01-01T00:00:00Z", expires="2020-01-01T00:10:00Z")),
    a_renewal_of_another_certificate=lambda w: renew(w, renewal_order(w, body=renewal(w, replaces="00" * 32))),
    a_renewal_for_another_key=lambda w: renew(w, renewal_order(
        w, body=renewal(w, key=der.hashlib.sha256(w.mallory.spki).hexdigest()))),
    a_longer_root_than_ordered=lambda w: renew(w, not_after=der.time(w.now + 2999 * DAY + 60)),
    a_renewed_root_for_a_strangers_key=lambda w: renew(w, **with_key(w.mallory.spki), authority_key_id=aki(der.sequence(
        der.element(0x80, w.root.key_id)))),
)


@attack
def a_renewal_with_another_end(w):
    order = renewal_order(w)
    order.body = renewal(w, not_after="2099-01-01T00:00:00Z")
    renew(w, order)


@attack
def an_order_for_two_roots(w):
    order = renewal_order(w)
    renew(w, order)
    renew(w, order)


def rollover(w, order=None, key=None, document=None, **changes):
    """The root vouches for another key of its name."""
    spki = key or w.host.spki
    order = order or renewal_order(w, action="ca-rollover", body=renewal(w, **{
        "replaces": "-", "key": der.hashlib.sha256(spki).hexdigest(), **(document or {})}))
    return w.signer.sign(w.root, CERTIFICATE, w.root_certificate(**{**with_key(spki), "authority_key_id": aki(
        der.sequence(der.element(0x80, w.root.key_id))), **changes}).der, order=order)


attacks(
    a_rollover_by_a_stranger=lambda w: rollover(w, renewal_order(w, w.mallory, action="ca-rollover", body=renewal(
        w, replaces="-", key=der.hashlib.sha256(w.host.spki).hexdigest()))),
    a_rollover_by_another_key=lambda w: rollover(w, document={"signer": der.hashlib.sha256(w.bare.spki).hexdigest()}),
    a_rollover_of_last_month=lambda w: rollover(w, renewal_order(
        w, action="ca-rollover", issued="2020-01-01T00:00:00Z", expires="2020-01-01T00:10:00Z", body=renewal(
            w, replaces="-", key=der.hashlib.sha256(w.host.spki).hexdigest()))),
    a_rollover_for_a_strangers_key=lambda w: rollover(w, **with_key(w.mallory.spki)),
    a_longer_rollover_than_ordered=lambda w: rollover(w, document={
        "not_after": limits.timestamp(limits.datetime.datetime.utcfromtimestamp(w.now + 2998 * DAY))}),
    a_rollover_that_outlives_the_root=lambda w: rollover(w, document={"not_after": "2099-01-01T00:00:00Z"},
                                                         not_after=der.time(w.now + 2999 * DAY + 60)),
    a_rollover_under_another_name=lambda w: rollover(w, subject=HOST),
    a_rollover_order_for_a_renewal=lambda w: renew(w, renewal_order(w, action="ca-rollover", body=renewal(
        w, replaces="-"))),
)


@attack
def a_rollover_for_two_certificates(w):
    order = renewal_order(w, action="ca-rollover", body=renewal(
        w, replaces="-", key=der.hashlib.sha256(w.host.spki).hexdigest()))
    rollover(w, order)
    rollover(w, order)


def below_the_root(w, approval=None, **changes):
    """A CA for a key of the attacker's, by a decision that was made about it."""
    subject = changes.pop("subject", der.name(("CN", "Evil CA")))
    csr = w.host_csr(w.mallory, (), subject)
    key = SimpleNamespace(name=subject, spki=w.mallory.spki)
    return w.signer.sign(w.root, CERTIFICATE, w.sub_ca_tbs(key, **changes).der, "sub-ca",
                         approval or w.approval(csr, ca="oracle-root", template="sub-ca"))


attacks(
    a_ca_without_a_decision=lambda w: w.signer.sign(w.root, CERTIFICATE, w.sub_ca_tbs(SimpleNamespace(
        name=HOST, spki=w.mallory.spki)).der, "sub-ca"),
    a_ca_with_a_longer_path=lambda w: below_the_root(w, basic_constraints=constraints(
        der.boolean(True), der.integer(2))),
    a_ca_without_a_path_length=lambda w: below_the_root(w, basic_constraints=CA),
    a_ca_that_signs_nothing=lambda w: below_the_root(w, key_usage=usage("cRLSign")),
    a_ca_of_the_roots_name=lambda w: below_the_root(w, subject=w.root.name),
    a_host_by_a_cas_template=lambda w: below_the_root(
        w, basic_constraints=constraints(), key_usage=usage("keyCertSign")),
    a_ca_below_path_length_0=lambda w: w.signer.sign(w.key, CERTIFICATE, w.certificate(
        basic_constraints=constraints(der.boolean(True), der.integer(0)), key_usage=SIGNS).der, "auto"),
)


# ---- what operators order
def wider(w, **more):
    """The next version of the limits, with a template more."""
    fields = dict(kind="subordinate", path_length="0", version=2, key=der.hashlib.sha256(w.key.spki).hexdigest(),
                  previous=der.hashlib.sha256(w.key.limits.encode()).hexdigest(),
                  templates=["evil automatic ca=no key-usage=digitalSignature eku=- validity=2592000 path-length=-"])
    return limits.body(w.limits("oracle", "Oracle CA", **{**fields, **more}))


def change(w, *keys, action="ca-limits", **more):
    w.signer.set_limits(w.key, w.order(action, "oracle", wider(w, **more), *keys))


attacks(
    limits_widened_by_a_stranger=lambda w: change(w, w.mallory),
    limits_widened_by_a_stranger_who_says_he_may=lambda w: w.signer.set_limits(w.key, w.order(
        "ca-limits", "oracle", wider(w).replace(
            limits.operator("bob", w.bob, "limits"), limits.operator("bob", w.mallory, "limits")), w.mallory)),
    limits_of_another_key=lambda w: change(w, w.alice, key="00" * 32),
    limits_that_follow_others=lambda w: change(w, w.alice, previous="00" * 32),
    limits_by_another_order=lambda w: change(w, w.alice, action="ca-create"),
    limits_of_another_ca=lambda w: w.signer.set_limits(w.root, w.order("ca-limits", "oracle", wider(w), w.alice)),
)


def retire(w):
    """A root whose operators retired it."""
    if not hasattr(w, "old"):
        w.old = w.make_key("oracle-old", "Oracle Old Root", kind="root")
        w.signer.sign(w.old, CERTIFICATE, w.root_certificate(w.old).der)
        change_old(w, 2, w.old.limits, retired="key")
    return w.old


def change_old(w, version, previous, **more):
    text = w.limits("oracle-old", "Oracle Old Root", kind="root", version=version,
                    key=der.hashlib.sha256(w.old.spki).hexdigest(),
                    previous=der.hashlib.sha256(previous.encode()).hexdigest(), **more)
    w.signer.set_limits(w.old, w.order("ca-limits", "oracle-old", limits.body(text), w.alice, w.bob))
    w.old.limits = text


attacks(
    a_certificate_by_a_retired_key=lambda w: w.signer.sign(
        retire(w), CERTIFICATE, w.root_certificate(retire(w)).der),
    a_request_by_a_retired_key=lambda w: w.signer.sign(
        retire(w), REQUEST, der.request_info(retire(w).name, retire(w).spki)),
    a_retired_key_brought_back=lambda w: change_old(w, 3, retire(w).limits),
)


@attack
def limits_with_another_body(w):
    order = w.order("ca-limits", "oracle", wider(w), w.alice)
    order.body = order.body.replace("evil automatic", "evil manual")
    w.signer.set_limits(w.key, order)


@attack
def a_longer_certificate_for_the_ca(w):
    """One that nobody ordered to install, by a key of the attacker's."""
    tbs = w.sub_ca_tbs(w.key, not_after=der.time(w.now + 2900 * DAY)).der
    made = w.assemble(tbs, w.mallory.private.sign(tbs, ec.ECDSA(hashes.SHA256())))
    w.signer.install(w.key, w.order("ca-install", "oracle", w.pem(made, w.root.certificate), w.mallory))


@attack
def another_cas_certificate(w):
    w.signer.install(w.key, w.order("ca-install", "oracle", w.pem(w.root.certificate), w.alice))


@attack
def a_key_by_a_stranger(w):
    text = w.limits("evil", "Evil CA", kind="root")
    w.signer.generate(w.order("ca-create", "evil", limits.body(text), w.mallory))


def test_every_attack_is_in_the_table():
    lines = [test for _, _, file, test in ROWS if file == os.path.basename(__file__)]
    assert sorted(set(lines) & set(ATTACKS)) == sorted(ATTACKS)
    assert len(set(lines)) >= 60


def test_every_line_names_a_test_that_exists():
    for what, _, file, test in ROWS:
        folder = os.path.join(os.path.dirname(__file__), "..", "unit" if file.endswith(".c") else "e2e")
        with open(os.path.join(folder, file), encoding="utf-8") as f:
            assert re.search(rf"\b{test}\b", f.read()), (what, file, test)


def guard_rules():
    return [line.split("\t")[1] for line in run([program("chancery-signer"), "--rules"]).stdout.decode().splitlines()]


def test_every_rule_stops_something():
    stopping = {rule for _, rule, _, _ in ROWS}
    assert [rule for rule in guard_rules() if rule not in stopping] == []
    assert [rule for rule in stopping if rule not in guard_rules() and rule not in WORDS] == []


# What the refusals of others than the guard say.
WORDS = {
    "journal: serial": "serial",
    "journal: decision": "decision",
    "journal: CRL": "CRL",
    "duty": "which has that duty",
    "order: quorum": "needs 1 of the operators",
    "order: action": "the operators signed",
    "order: body": "its digest differs",
    "order: previous": "field 'previous'",
    "order: ca": "they are of another CA",
    "order: key": "has the key of CA",
    "order: retired": "is retired for good",
    "frames": "no frame",
    "messages": "malformed",
}


@pytest.mark.parametrize("rule, name", [(rule, test) for _, rule, _, test in ROWS if test in ATTACKS],
                         ids=lambda value: value)
def test_attack(world, rule, name):
    with pytest.raises(Refused) as refused:
        ATTACKS[name](world)
    words = WORDS.get(rule, f": rule {rule} (")
    assert words in refused.value.text, refused.value
    assert refused.value.code in ("denied", "conflict", "input")


@pytest.mark.smoke
def test_what_is_allowed_is_signed(world):
    """The attacks are each one change to these."""
    w = world
    tbs = w.certificate().der
    w.verify(tbs, w.signer.sign(w.key, CERTIFICATE, tbs, "auto"))
    w.approved()
    csr = w.host_csr(w.responder, (), HOST)
    w.approved("ocsp", w.approval(csr, template="ocsp"), **with_key(w.responder.spki), alt_names=b"",
               ext_key_usage=purposes("OCSPSigning"))
    w.sign_crl()
    w.signer.stream(w.key, w.crl(revoked=der.sequence(*(
        der.sequence(der.integer(n), der.time(w.now)) for n in range(1, 500)))).der)
    w.request()
    below_the_root(w)
    assert renew(w)
    below_the_root(w)
    assert rollover(w)
    below_the_root(w)  # which is no certificate of its own
    w.issue(more=der.extension("crlDistributionPoints", der.points_value("http://anywhere.test/x.crl")))
    # The same octets again are the same signature.
    assert w.signer.sign(w.key, CERTIFICATE, tbs, "auto") == w.signer.sign(w.key, CERTIFICATE, tbs, "auto")
    utils.decode_dss_signature(w.signer.sign(w.key, CERTIFICATE, tbs, "auto"))


def test_before_the_ca_is_installed(new_dir):
    """A key that has its limits, but whose certificate nobody has shown."""
    w = World(new_dir("oracle"), Token(new_dir("token")).create())
    try:
        w.start()
        for rule, ask in (("installed", w.issue), ("crl-installed", w.sign_crl)):
            with pytest.raises(Refused) as refused:
                ask()
            assert f": rule {rule} (" in refused.value.text
    finally:
        w.signer.stop()


def test_messages_that_are_none(world):
    good = world.signer.sign_message(world.key, CERTIFICATE, world.certificate().der, "auto")
    for payload in (good[:-1], good + b"\0", good[:10], b"", os.urandom(100)):
        with pytest.raises(Refused) as refused:
            world.signer.ask(SIGN, payload)
        assert refused.value.code == "input" and "malformed SIGN" in refused.value.text
    for kind in (0, 99, 0x8003, 0xFFFF):
        with pytest.raises(Refused):
            world.signer.ask(kind, good)
    world.issue()


def test_frames_that_are_none(world):
    """The signer ends, since the next frame's beginning is unknown; a new one serves."""
    for octets in (b"\xff" * 16, b"\0\0\0\0\0\4\0\1" + b"\0" * 8, os.urandom(7) + b"\xff" * 64):
        world.signer.channel.sendall(octets)
        assert world.signer.process.wait() == 1
        assert "sent a message that is no frame" in world.signer.process.log()
        world.signer.start()
    world.issue()
