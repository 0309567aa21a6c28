"""The real front process alone, with this test in the supervisor's place, and
rows in its database for it to show."""

import base64
import ctypes
import datetime
import hashlib
import os
import socket
import struct
import subprocess
from types import SimpleNamespace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from .api import Api
from .chanceryd import SANITIZER_ENVIRONMENT, Chanceryd, program
from .clients import self_signed
from .process import PATIENCE_S, Process, wait_until

CONTROL_FD = 3
CONTROL_LISTENER, CONTROL_RELOAD, CONTROL_DRAIN, CONTROL_READY = 2, 3, 4, 5


class _FrontProcess(Process):
    """Gets its end of the control channel as descriptor 3."""

    def __init__(self, argv, log, control):
        super().__init__("front", argv, log, env=SANITIZER_ENVIRONMENT)
        self.control = control

    def start(self):
        far = self.control.fileno()

        def inherit():
            os.dup2(far, CONTROL_FD, inheritable=True)
            ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL

        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv[self.argv.index("--") + 1 :],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                start_new_session=True,
                pass_fds=(CONTROL_FD, far),
                preexec_fn=inherit,
            )
        self.control.close()
        return self


class Front:
    """Serves self.socket_path, self.http_port and self.https_port."""

    def __init__(self, directory, database):
        self.directory = directory
        self.database = database
        self.tls = self_signed(directory, "server")
        os.chmod(self.tls[1], 0o600)
        token = SimpleNamespace(
            module="/usr/lib/softhsm/libsofthsm2.so", label="x", pin_file="/nonexistent", environment={}
        )
        self.settings = Chanceryd(directory, database, {"main": token}, https=self.tls)
        self.socket_path = self.settings.socket_path
        self.http_port = self.settings.http_port
        self.https_port = self.settings.https_port
        self.api = Api(socket_path=self.socket_path)
        self.web = Api(port=self.http_port, plain=True)
        self.control = None
        self.process = None

    def https(self, client=None):
        return Api(port=self.https_port, client=client)

    def start(self):
        self.settings.write_config()
        self.control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = _FrontProcess(
            [program("chanceryd"), "--role", "front", "--config", self.settings.config_path],
            os.path.join(self.directory, "front.log"),
            far,
        )
        self.process.start()
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(self.socket_path)
        self._listen("unix", unix)
        for kind, port in (("http", self.http_port), ("https", self.https_port)):
            tcp = socket.socket()
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind(("127.0.0.1", port))
            self._listen(kind, tcp)
        self.control.settimeout(PATIENCE_S)
        while self.control.recv(512)[0] != CONTROL_READY:
            pass

        def ready():
            return self.api.get("/v1/status").status == 200

        wait_until(ready, what="front", alive=self.process)
        return self

    def _listen(self, kind, sock):
        sock.listen(128)
        text = kind.encode()
        message = bytes([CONTROL_LISTENER]) + struct.pack(">I", len(text)) + text + struct.pack(">H", 0)
        socket.send_fds(self.control, [message], [sock.fileno()])
        sock.close()

    def reload(self):
        self.control.send(bytes([CONTROL_RELOAD]))

    def drain(self):
        self.control.send(bytes([CONTROL_DRAIN]))

    def stop(self):
        """Drains it; returns its exit status."""
        if self.process.alive():
            self.drain()
            self.process.wait()
        self.settings.process.log_path = self.process.log_path
        self.settings.check_logs()
        return self.process.popen.returncode


def some_certificate(name):
    """One of a key that nobody keeps: the front shows it, and looks no further."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    now = datetime.datetime.now(datetime.timezone.utc)
    return (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=365)).sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


class Rows:
    """Puts rows into the tables as the issuer would."""

    def __init__(self, database):
        self.database = database

    def one(self, sql, *args):
        return self.database.one(sql, args)

    def ca(self, name, templates=("tls-server",)):
        subject = f"DER of {name}".encode()
        name_id = self.one(
            "INSERT INTO chancery_store.issuer_name (der, der_sha256, readable) VALUES (%s, sha256(%s), %s) RETURNING id",
            subject, subject, f"CN={name}",
        )  # fmt: skip
        ca = self.one(
            "INSERT INTO chancery_store.ca (name, issuer_name_id, kind, state, policy) "
            "VALUES (%s, %s, 'root', 'active', 'kind: root') RETURNING id",
            name, name_id,
        )  # fmt: skip
        spki = os.urandom(64)
        key = self.one(
            "INSERT INTO chancery_store.token_key (token, cka_id, label, purpose, algorithm, spki, spki_sha256) "
            "VALUES ('main', %s, %s, 'ca', 'p256', %s, sha256(%s)) RETURNING id",
            os.urandom(8), name, spki, spki,
        )  # fmt: skip
        der = some_certificate(name)
        generation = self.one(
            "INSERT INTO chancery_store.generation (ca_id, certificate_index, key_index, token_key_id, state, csr, "
            "certificate, sha256, ski, not_before, not_after, installed_at) "
            "VALUES (%s, 0, 0, %s, 'active', %s, %s, sha256(%s), '\\x01', now(), now() + interval '1 y', now()) RETURNING id",
            ca, key, der, der, der,
        )  # fmt: skip
        scope = self.one(
            "INSERT INTO chancery_store.crl_scope (ca_id, token_key_id) VALUES (%s, %s) RETURNING id", ca, key
        )
        for template in templates:
            self.template(template)
            self.database.execute(
                "INSERT INTO chancery_store.ca_template VALUES (%s, %s)", (ca, template)
            )
        return SimpleNamespace(
            id=ca, name=name, issuer_name=name_id, generation=generation, scope=scope, der=der
        )

    def limits(self, ca, text, version=1):
        """The limits of a CA's key, signed by nobody."""
        self.database.execute(
            "WITH d AS (INSERT INTO chancery_store.decision (action, ca_id, statement, nonce, expires_at, state, "
            "received_via) VALUES ('ca-limits', %s, %s, %s, now(), 'applied', 'uid:0') RETURNING id) "
            "INSERT INTO chancery_store.ca_limits (ca_id, version, document, sha256, decision_id) "
            "SELECT %s, %s, %s, sha256(convert_to(%s, 'UTF8')), id FROM d",
            (ca.id, f"ca: {ca.name}\nobject: {ca.name}\n", os.urandom(16), ca.id, version, text, text),
        )

    def template(self, name):
        template = self.one(
            "INSERT INTO chancery_store.template (name) VALUES (%s) ON CONFLICT (name) DO UPDATE SET name = %s RETURNING id",
            name, name,
        )  # fmt: skip
        self.database.execute(
            "INSERT INTO chancery_store.template_version (template_id, version, body, body_sha256, automatic) "
            "VALUES (%s, 1, 'name: x', sha256('name: x'), false) ON CONFLICT DO NOTHING",
            (template,),
        )

    def artifact(self, ca, kind, rank, data, chunk=1 << 20, life_s=3600):
        """A complete artifact whose not_before is in the past by rank minutes less a day."""
        scope = ca.scope if kind != "ca-certificate" else None
        artifact = self.one(
            "INSERT INTO chancery_store.artifact (kind, ca_id, scope_id, rank, size, sha256, not_before, not_after, complete) "
            "VALUES (%s, %s, %s, %s, %s, %s, date_trunc('second', now()) - interval '1 d' + make_interval(mins => %s), "
            "now() + make_interval(secs => %s), false) RETURNING id",
            kind, ca.id, scope, rank, len(data), hashlib.sha256(data).digest(), rank, life_s,
        )  # fmt: skip
        for position, start in enumerate(range(0, len(data), chunk)):
            self.database.execute(
                "INSERT INTO chancery_store.artifact_chunk VALUES (%s, %s, %s)",
                (artifact, position, data[start : start + chunk]),
            )
        self.database.execute("UPDATE chancery_store.artifact SET complete = true WHERE id = %s", (artifact,))
        return artifact

    def person(self, name, roles, kind, spki):
        person = self.one("INSERT INTO chancery_store.person (name) VALUES (%s) RETURNING id", name)
        for role in roles:
            self.database.execute("INSERT INTO chancery_store.person_role VALUES (%s, %s)", (person, role))
        self.credential(person, kind, spki)
        return person

    def credential(self, person, kind, spki):
        self.database.execute(
            "INSERT INTO chancery_store.credential (person_id, kind, spki, spki_sha256) VALUES (%s, %s, %s, sha256(%s))",
            (person, kind, spki, spki),
        )

    def checked(self, public_id):
        """The request was checked by an issuer and waits for a decision."""
        self.database.execute(
            "INSERT INTO chancery_store.request_summary (request_id, subject, names, key_type, spki_sha256, csr_sha256) "
            "SELECT id, 'CN=a', '{dns:a.example}', 'p256', sha256('x'), sha256(csr) "
            "FROM chancery_store.request_record WHERE public_id = %s",
            (public_id,),
        )
        self.move(public_id, "claimed", "pending")

    def move(self, public_id, *states):
        """Through states of the queue, or to an end without a certificate."""
        for state in states:
            if self.one("SELECT final FROM chancery_store.request_state WHERE name = %s", state):
                self.database.execute(
                    "INSERT INTO chancery_store.request_end (request_id, state) "
                    "SELECT id, %s FROM chancery_store.request_record WHERE public_id = %s",
                    (state, public_id),
                )
            else:
                self.database.execute(
                    "UPDATE chancery_store.request_queue SET state = %s WHERE public_id = %s", (state, public_id)
                )

    def certificate(self, ca, request=None, name="a.example"):
        """An issued certificate, of the request if one is named, which is being signed
        then; returns (SHA-256, serial) in hex."""
        serial = bytes([1]) + os.urandom(19)
        der = b"\x30\x82" + os.urandom(300)
        self.database.execute(
            "INSERT INTO chancery_store.serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256, "
            "request_id) VALUES (%s, %s, %s, %s, 0, sha256('x'), "
            "(SELECT id FROM chancery_store.request_record WHERE public_id = %s))",
            (ca.issuer_name, serial, ca.generation, ca.scope, request),
        )
        self.one(
            "INSERT INTO chancery_store.certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, "
            "request_id, subject, names, not_before, not_after, spki_sha256, sha256, der) "
            "VALUES (%s, %s, %s, %s, %s, (SELECT id FROM chancery_store.request_record WHERE public_id = %s), %s, %s, now(), "
            "now() + interval '90 d', sha256('k'), sha256(%s), %s) RETURNING id",
            ca.issuer_name, serial, ca.id, ca.generation, ca.scope, request, f"CN={name}", [f"dns:{name}"], der, der,
        )  # fmt: skip
        return hashlib.sha256(der).hexdigest(), serial.hex()

    def revocation(self, ca, serial, reason):
        self.database.execute(
            "INSERT INTO chancery_store.revocation VALUES (%s, decode(%s, 'hex'), now(), now(), 1, %s) "
            "ON CONFLICT (scope_id, serial) DO UPDATE SET reason = EXCLUDED.reason",
            (ca.scope, serial, reason),
        )

    def publication(self, ca, artifact, state="pending"):
        target = self.one(
            "INSERT INTO chancery_store.target (ca_id, name, kind, artifact, write_url, read_url) "
            "VALUES (%s, %s, 'file', 'crl', '/tmp/x', 'http://127.0.0.1/x') RETURNING id",
            ca.id, f"t-{state}",
        )  # fmt: skip
        return self.one(
            "INSERT INTO chancery_store.publication (target_id, scope_id, artifact_id, rank, state) "
            "VALUES (%s, %s, %s, 1, %s) RETURNING id",
            target, ca.scope, artifact, state,
        )  # fmt: skip


def statement(action, ca="-", object="-", csr="-", template="-", reason="-", body="-", nonce=None, issued=0, life=600):
    """The text of an operator's statement; issued counts from now."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(seconds=issued)
    form = "%Y-%m-%dT%H:%M:%SZ"
    return (
        f"chancery-statement: 1\naction: {action}\nca: {ca}\nobject: {object}\ncsr-sha256: {csr}\n"
        f"template: {template}\nreason: {reason}\nbody-sha256: {body}\nnonce: {nonce or os.urandom(16).hex()}\n"
        f"issued: {now.strftime(form)}\nexpires: {(now + datetime.timedelta(seconds=life)).strftime(form)}\n"
    )


def decision(text, key, body=None):
    """What POST /v1/decisions takes. key: harness.decisions.Key, or just the octets of one: the front looks into
    the signature only of what several persons sign."""
    octets = key if isinstance(key, bytes) else key.spki
    document = {
        "statement": text,
        "signature": base64.b64encode(b"0" * 70 if isinstance(key, bytes) else key.sign(text)).decode(),
        "credential": hashlib.sha256(octets).hexdigest(),
    }
    if body is not None:
        document["body"] = body
    return document
