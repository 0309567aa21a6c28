"""What is measured: a private PostgreSQL that waits for the disk, a private token,
a running authority with a CA for each kind of key, and the programs that load it."""

import contextlib
import os
import struct
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

import measure
from harness.authority import Authority
from harness.chanceryd import Chanceryd, build_dir
from harness.postgres import Database, Postgres
from harness.process import wait_until
from harness.softhsm import Token

THREADS = 2  # signing sessions of the daemon, and of the raw rounds it is compared with
KEYS = ["rsa2048", "rsa3072", "p256", "p384"]
CSRS = ["rsa_csr", "p256_csr"]
SUBMITTER = "service_one"
SIGNER_IDS = [1, 2, 3, 4, 5]  # 1 is the daemon's
TEMPLATE = """\
name: bench
approval: automatic
validity: 90d
key:
  types: [rsa, ec]
  rsa_min_bits: 2048
  curves: [p256]
subject:
  from: request
  required: [CN]
  allowed: [CN]
san:
  allowed: [dns]
  required: true
  max: 4
key_usage: [digitalSignature]
extended_key_usage: [serverAuth]
exceed_issuer: cut
"""


def program(name):
    return os.path.join(build_dir(), "bench", name)


def make_csrs(kind, count):
    """Requests of a few keys, each with names of its own."""
    if kind == "rsa_csr":
        keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    else:
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    for n in range(count):
        name = f"host{n}.bench.example"
        yield x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
                        ).sign(keys[n % len(keys)], hashes.SHA256())


def write_records(path, records):
    """Each after its length in 4 octets."""
    with open(path, "wb") as f:
        for record in records:
            f.write(struct.pack(">I", len(record)) + record)
    return path


@contextlib.contextmanager
def waiting(argv, environment=None):
    """A program that has said that it is ready; it starts when go() is called, and
    may wait for the end of its input before it ends."""
    with subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, **(environment or {}))) as process:
        try:
            assert process.stdout.readline() == "ready\n", f"{argv[0]} failed"
            yield process
            process.stdin.close()
            process.wait(30)
        finally:
            process.kill()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


class World:
    """Open with `with`; everything ends with it."""

    def __init__(self, directory, csr_count=1000):
        self.directory = directory
        self.csr_count = csr_count
        self.cluster = Postgres(os.path.join(directory, "pg"), fsync=True)
        self.token = None
        self.template_database = None
        self.authorities = []
        self.main = None
        self._csrs = {}
        self._key_ids = {}

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *ignored):
        try:
            for authority in self.authorities:
                authority.close()
        finally:
            self.cluster.stop()

    def _start(self):
        self.cluster.create()
        with open(os.path.join(self.cluster.data, "postgresql.auto.conf"), "a", encoding="ascii") as f:
            f.write("shared_buffers = 128MB\n"  # the server's own default
                    "max_connections = 120\n"
                    "max_wal_size = 4GB\n")  # a checkpoint in a round would be luck
        self.cluster.start()
        self.template_database = self.cluster.database().name
        self.cluster.bootstrap(self.template_database)
        self.cluster.add_services()
        self.token = Token(self.path("t")).create()
        Chanceryd(self.path("m"), Database(self.cluster, self.template_database), {"main": self.token}).migrate()
        self.main = self.authority("i", self.token)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def authority(self, name, token, threads=THREADS):
        """One that runs, on a database of its own, without issuing CAs of ours."""
        os.makedirs(self.path(name))
        authority = Authority(self.path(name), self.cluster.database(self.template_database), token)
        self.authorities.append(authority)
        authority.create(threads=threads, settings=lambda d: d.config.update(log_level="info"))
        template = self.path(name, "bench.yaml")
        with open(template, "w", encoding="ascii") as f:
            f.write(TEMPLATE)
        authority.cli("template", "apply", template)
        return authority

    def ca(self, key, authority=None):
        """The name of the CA with such a key; made when it is first asked for."""
        authority = authority or self.main
        name = f"bench-{key}"
        if (authority, key) not in self._key_ids:
            authority.create_issuing(name, key, templates=["bench"], limits={"signer_ids": SIGNER_IDS})
            self._key_ids[authority, key] = authority.database.one(
                "SELECT encode(k.cka_id, 'hex') FROM chancery_store.ca a JOIN chancery_store.generation g ON g.ca_id = a.id "
                "JOIN chancery_store.token_key k ON k.id = g.token_key_id WHERE a.name = %s AND g.state = 'active'", (name,))
        return name

    def key_id(self, key):
        self.ca(key)
        return self._key_ids[self.main, key]

    def csr_objects(self, kind):
        if kind not in self._csrs:
            self._csrs[kind] = list(make_csrs(kind, self.csr_count))
        return self._csrs[kind]

    def csrs(self, kind):
        """A file of CSRs as load reads it."""
        path = self.path(kind)
        if not os.path.exists(path):
            write_records(path, [c.public_bytes(Encoding.DER) for c in self.csr_objects(kind)])
        return path

    # --------------------------------------------------------------- measures

    def raw(self, key, seconds, threads=THREADS, processes=1, token=None):
        """The token alone: signatures per second, microseconds of CPU for each."""
        token = token or self.token
        argv = [program("csign"), token.module, token.label, token.pin, self.key_id(key), threads, seconds]
        # The module has the allocator that a signer gives it (daemon/supervisor/child.c).
        environment = {**token.environment, "GLIBC_TUNABLES": "glibc.malloc.tcache_count=100"}
        with contextlib.ExitStack() as stack:
            # One after the other: SoftHSM's logins disturb each other.
            running = [stack.enter_context(waiting(argv, environment)) for _ in range(processes)]
            for process in running:
                go(process)
            said = [[float(v) for v in process.stdout.readline().split()] for process in running]
        return sum(s[0] for s in said), sum(s[1] for s in said) / processes

    def roles(self, authority=None):
        """The daemon's processes, by part."""
        daemon = (authority or self.main).daemon
        parts = {"supervisor": [daemon.process.pid]}
        for role in ("front", "issuer", "signer"):
            parts[role] = daemon.pids(role)
        return parts

    def load(self, key, csr, count, submitters, group=1, rate=0, authority=None, roles=None):
        """One round of services: what load says, and CPU time by part."""
        authority = authority or self.main
        argv = [program("load"), authority.database.dsn(SUBMITTER), self.ca(key, authority), "bench", self.csrs(csr),
                count, submitters, group, rate]
        cpu = measure.Cpu(roles if roles is not None else self.roles(authority), self.cluster)
        with waiting(argv) as process:
            cpu.roles["load"] = [process.pid]
            before = cpu.look()
            go(process)
            said = {}
            for _ in range(7):
                name, _, value = process.stdout.readline().partition(" ")
                assert value, "load failed"
                said[name] = float(value)
            said["cpu"] = cpu.between(before, cpu.look())
        return said

    def ids(self, key, authority=None):
        """(issuer name, generation, scope, CA), as the database counts them."""
        authority = authority or self.main
        return authority.database.execute(
            "SELECT a.issuer_name_id, g.id, s.id, a.id FROM chancery_store.ca a JOIN chancery_store.generation g ON g.ca_id = a.id "
            "AND g.state = 'active' JOIN chancery_store.crl_scope s ON s.ca_id = a.id WHERE a.name = %s",
            (self.ca(key, authority),))[0]

    def rest(self):
        """The daemon ends when its calendar has no CRL open; others may work on its
        database then."""
        if self.main.daemon.process.alive():
            wait_until(lambda: self.main.database.one(
                "SELECT count(*) FROM chancery_store.crl WHERE state IN ('building', 'signing')") == 0,
                what="an end of all CRLs")
            self.main.daemon.stop()

    def wake(self):
        if not self.main.daemon.process.alive():
            self.main.daemon.start()
