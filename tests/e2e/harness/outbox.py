"""The outbox alone: its driver, a CA with targets, and real CRLs to publish."""

import datetime
import hashlib
import json
import os
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .chanceryd import SANITIZER_ENVIRONMENT, build_dir
from .postgres import REPO
from .process import PATIENCE_S, SANITIZER, Process, run, wait_until
from .programs import make_build_dir

CHUNK = 1 << 20


def build_driver(directory):
    """Compiles the driver with the flags of the build under test."""
    build = make_build_dir()
    with open(os.path.join(build_dir(), "flags"), encoding="utf-8") as f:
        flags = f.read().strip()
    libraries = " ".join(os.path.join(build, f"lib{n}.a") for n in ("publish", "db", "x509", "core"))
    packages = "libcurl ldap libpq libevent libcrypto yaml-0.1 libseccomp"
    out = os.path.join(directory, "outbox_driver")
    subprocess.run(
        f"{flags} $(pkg-config --cflags {packages}) -pie -o {out} tests/e2e/outbox_driver.c "
        f"{libraries} $(pkg-config --libs {packages}) -lpthread -ldl",
        shell=True, check=True, cwd=REPO,
    )
    return out


class Issuer:
    """A CA made by another tool, whose CRLs and certificates are real ones."""

    def __init__(self, common_name):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        self.now = datetime.datetime.utcnow().replace(microsecond=0)

    def certificate(self, serial, days=30, ends=None):
        ends = ends or self.now + datetime.timedelta(days=days)
        made = (
            x509.CertificateBuilder().subject_name(self.name).issuer_name(self.name)
            .public_key(self.key.public_key()).serial_number(serial)
            .not_valid_before(min(self.now, ends - datetime.timedelta(days=2))).not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.DER)

    def crl(self, number, base=None, entries=0):
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(self.name)
            .last_update(self.now).next_update(self.now + datetime.timedelta(days=7))
            .add_extension(x509.CRLNumber(number), False)
        )
        if base is not None:
            builder = builder.add_extension(x509.DeltaCRLIndicator(base), True)
        for i in range(entries):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(1 + i).revocation_date(self.now).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Outbox:
    """One database with one CA; rows are made by SQL, as the issuer makes them."""

    def __init__(self, database, directory, program, attempt_s=20, watch_s=600):
        self.database = database
        self.directory = directory
        self.state_dir = os.path.join(directory, "state")
        self.credentials_dir = os.path.join(directory, "credentials")
        self.commands_dir = os.path.join(directory, "commands")
        self.attempt_s, self.watch_s = attempt_s, watch_s
        self.ca_file = ""
        self.krb5_config = None
        self.environment = {}
        self.program = program
        for path in (self.state_dir, self.credentials_dir, self.commands_dir):
            os.makedirs(path, mode=0o700, exist_ok=True)
        self.issuer = Issuer("Outbox CA")
        self.process = None
        self._make_ca()

    def sql(self, text, args=None, user="postgres"):
        return self.database.execute("SET search_path = chancery_store, pg_temp; " + text, args, user)

    def one(self, text, args=None, user="postgres"):
        rows = self.sql(text, args, user)
        assert len(rows) == 1, rows
        return rows[0][0]

    def _make_ca(self):
        der = self.issuer.name.public_bytes()
        name = self.one("INSERT INTO issuer_name (der, der_sha256, readable) VALUES (%s, %s, 'CN=Outbox CA') "
                        "RETURNING id", (der, hashlib.sha256(der).digest()))
        spki = self.issuer.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = self.one(
            "INSERT INTO token_key (token, cka_id, label, purpose, algorithm, spki, spki_sha256) "
            "VALUES ('main', '\\x01', 'k', 'ca', 'p256', %s, %s) RETURNING id",
            (spki, hashlib.sha256(spki).digest()))
        self.ca = self.one("INSERT INTO ca (name, issuer_name_id, kind, state, policy) "
                           "VALUES ('demo', %s, 'root', 'active', '') RETURNING id", (name,))
        self.scope = self.one("INSERT INTO crl_scope (ca_id, token_key_id) VALUES (%s, %s) RETURNING id",
                              (self.ca, self.key_id))

    def known_key(self):
        """From here on couriers know whose CRLs these are."""
        self.generation(0, self.issuer.certificate(1),
                        (self.issuer.now + datetime.timedelta(days=30)).isoformat() + "Z")

    def generation(self, index, der, ends):
        return self.one(
            "INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, certificate, "
            "sha256, not_before, not_after) VALUES (%s, %s, 0, %s, 'superseded', %s, %s, now(), %s) RETURNING id",
            (self.ca, index, self.key_id, der, hashlib.sha256(der).digest(), ends))

    def credential(self, name, text, mode=0o600):
        path = os.path.join(self.credentials_dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text + "\n")
        os.chmod(path, mode)

    def command(self, name, text, mode=0o700):
        """A program of the operators'."""
        path = os.path.join(self.commands_dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + text + "\n")
        os.chmod(path, mode)

    def target(self, name, kind, artifact, write, read=None, **options):
        return self.one(
            "INSERT INTO target (ca_id, name, kind, artifact, write_url, read_url, options) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (self.ca, name, kind, artifact, write, read or write, json.dumps(options)))

    def artifact(self, kind, rank, data, scoped=True, ends="7 days", begins="-1 hour"):
        """A complete artifact in its chunks, that nobody wants published yet."""
        made = self.one(
            "INSERT INTO artifact (kind, ca_id, scope_id, rank, size, sha256, not_before, not_after, complete) "
            "VALUES (%s, %s, %s, %s, %s, %s, now() + %s::interval, now() + %s::interval, true) RETURNING id",
            (kind, self.ca, self.scope if scoped else None, rank, len(data), hashlib.sha256(data).digest(),
             begins, ends))
        for position, start in enumerate(range(0, len(data), CHUNK)):
            self.sql("INSERT INTO artifact_chunk VALUES (%s, %s, %s)",
                     (made, position, data[start:start + CHUNK]))
        return made

    def publish(self, artifact):
        """How many targets want it now; as the issuer's role does it."""
        return self.one("SELECT publish_artifact(%s)", (artifact,), "chancery_issuer")

    def publish_crl(self, number, kind="crl", **options):
        data = self.issuer.crl(number, base=1 if kind == "delta-crl" else None)
        self.publish(self.artifact(kind, number, data, **options))
        return data

    def row(self, target):
        names = ("id", "state", "attempts", "last_error", "rank", "epoch", "artifact_id", "published_id")
        rows = self.sql(f"SELECT {', '.join('p.' + n for n in names)} FROM publication p "
                        "JOIN target t ON t.id = p.target_id WHERE t.name = %s", (target,))
        return dict(zip(names, rows[0])) if rows else None

    def attempts(self, target):
        return self.sql("SELECT x.outcome, x.error FROM publication_attempt x "
                        "JOIN publication p ON p.id = x.publication_id JOIN target t ON t.id = p.target_id "
                        "WHERE t.name = %s ORDER BY x.id", (target,))

    def wait_done(self, *targets, timeout=PATIENCE_S):
        for target in targets:
            wait_until(lambda t=target: self.row(t)["state"] == "done", timeout,
                       what=f"publication to {target}", alive=self.process)

    def wait_failed(self, target, word, timeout=PATIENCE_S):
        """Until an attempt failed for a reason that holds the word; returns it."""
        def found():
            return [e for o, e in self.attempts(target) if o == "failed" and word in e]
        return wait_until(found, timeout, what=f"'{word}' at {target}", alive=self.process)[0]

    def retry(self, target):
        self.sql("SELECT retry_publication(%s)", (self.row(target)["id"],), "chancery_issuer")

    def spooled(self):
        folder = os.path.join(self.state_dir, "spool")
        return os.listdir(folder) if os.path.isdir(folder) else []

    def start(self, signer_id=1):
        self.process = Process(
            "outbox",
            [self.program, self.database.dsn("chancery_issuer"), self.state_dir, self.credentials_dir,
             self.ca_file, str(signer_id), str(self.attempt_s), str(self.watch_s), self.commands_dir]
            + ([self.krb5_config] if self.krb5_config else []),
            os.path.join(self.directory, "outbox.log"), env={**SANITIZER_ENVIRONMENT, **self.environment})
        self.process.start()
        wait_until(lambda: "runs" in self.process.log(), what="the outbox", alive=self.process)
        return self

    def stop(self):
        """Ends it in order; nothing may be left in the spool."""
        assert self.process.stop() == 0, self.process.log_tail()
        assert self.spooled() == []
        self.check_log()

    def kill(self):
        self.process.kill()
        self.check_log()

    def check_log(self):
        found = SANITIZER.search(self.process.log())
        assert not found, self.process.log_tail(200)

    def couriers(self):
        """Process ids of the couriers of this outbox."""
        listed = run(["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], check=False, text=True).stdout
        return [int(line.split()[0]) for line in listed.splitlines() if "--role courier" in line]
