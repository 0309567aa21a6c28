"""What else Debian installs, with the same requests, in turns with Chancery.

    openssl ca, one process for all requests (-infiles): through the same token, by
        the PKCS#11 engine. Nothing is durable before it ends, and it writes its
        index once.
    openssl ca, a process for each request, as a script does it that answers requests
        one by one: through the same token.
    cfssl, its HTTP API and its certificate database in the same PostgreSQL: with a
        software key, because it knows no PKCS#11.
"""

import json
import os
import shutil
import subprocess
import time

from cryptography.hazmat.primitives.serialization import Encoding

from harness.process import Process, find_program, free_port, port_answers, run, wait_until
from issue import GROUP, SUBMITTERS
from results import heading, line
from world import go, program, waiting, write_records

CSR = "rsa_csr"
KEYS = ["rsa2048", "p256"]
CONNECTIONS = 8
ENGINE = "/usr/lib/{}/engines-3/pkcs11.so"

OPENSSL_CNF = """\
[ca]
default_ca = peer
[peer]
database = {directory}/index.txt
new_certs_dir = {directory}/new
rand_serial = yes
default_md = sha256
default_days = 90
policy = policy
copy_extensions = copy
unique_subject = no
x509_extensions = leaf
[policy]
commonName = supplied
[leaf]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectKeyIdentifier = hash
crlDistributionPoints = URI:http://127.0.0.1/crl/peer.crl
"""

# certdb/pg/migrations of cfssl.
CFSSL_SQL = """
CREATE TABLE certificates (serial_number bytea NOT NULL, authority_key_identifier bytea NOT NULL, ca_label bytea,
    status bytea NOT NULL, reason int, expiry timestamptz, revoked_at timestamptz, pem bytea NOT NULL,
    PRIMARY KEY (serial_number, authority_key_identifier));
CREATE TABLE ocsp_responses (serial_number bytea NOT NULL, authority_key_identifier bytea NOT NULL, body bytea NOT NULL,
    expiry timestamptz, PRIMARY KEY (serial_number, authority_key_identifier),
    FOREIGN KEY (serial_number, authority_key_identifier) REFERENCES certificates);
"""


def engine_installed():
    return any(os.path.exists(ENGINE.format(d)) for d in os.listdir("/usr/lib"))


class OpensslCa:
    """`openssl ca` with the key that Chancery's CA has on the token."""

    def __init__(self, bench, key):
        world = bench.world
        self.directory = world.path(f"openssl-{key}")
        os.makedirs(os.path.join(self.directory, "new"))
        self._write("ca.cnf", OPENSSL_CNF.format(directory=self.directory))
        self._write("index.txt", "")
        self._write("ca.pem", world.main.ca_pem(world.ca(key)))
        self.csrs = []
        for n, csr in enumerate(world.csr_objects(CSR)):
            self._write(f"{n}.csr", csr.public_bytes(Encoding.PEM).decode())
            self.csrs.append(f"{n}.csr")
        id_text = "".join(f"%{b:02X}" for b in bytes.fromhex(world.key_id(key)))
        self.argv = ["openssl", "ca", "-config", "ca.cnf", "-batch", "-notext", "-cert", "ca.pem", "-engine", "pkcs11", "-keyform",
                     "engine", "-keyfile", f"pkcs11:token={world.token.label};id={id_text};type=private;pin-value={world.token.pin}"]
        self.environment = dict(os.environ, **world.token.environment, PKCS11_MODULE_PATH=world.token.module)

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as f:
            f.write(text)

    def _run(self, *arguments):
        result = subprocess.run(self.argv + list(arguments), cwd=self.directory, env=self.environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        assert result.returncode == 0, result.stderr[-1000:]

    def batch(self, count):
        """Certificates per second."""
        before = len(os.listdir(os.path.join(self.directory, "new")))
        count = min(count, len(self.csrs))
        start = time.perf_counter()
        self._run("-infiles", *self.csrs[:count])
        took = time.perf_counter() - start
        assert len(os.listdir(os.path.join(self.directory, "new"))) == before + count
        return count / took

    def one_by_one(self, count):
        start = time.perf_counter()
        for n in range(count):
            self._run("-in", self.csrs[n % len(self.csrs)])
        return count / (time.perf_counter() - start)


class Cfssl:
    """`cfssl serve` with a software key and its PostgreSQL database."""

    def __init__(self, bench, key):
        world = bench.world
        directory = world.path(f"cfssl-{key}")
        os.makedirs(directory)
        database = world.cluster.database()
        database.execute(CFSSL_SQL)
        key_option = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "p256" else ["rsa:2048"]
        run(["openssl", "req", "-x509", "-newkey", *key_option, "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650",
             "-subj", "/CN=cfssl", "-addext", "keyUsage=critical,keyCertSign,cRLSign"], cwd=directory)
        for name, value in (
                ("db.json", {"driver": "postgres", "data_source": f"{database.dsn()} sslmode=disable"}),
                ("config.json", {"signing": {"default": {
                    "usages": ["digital signature", "server auth"], "expiry": "2160h", "crl_url": "http://127.0.0.1/crl/peer.crl"}}})):
            with open(os.path.join(directory, name), "w", encoding="ascii") as f:
                json.dump(value, f)
        self.database = database
        self.port = free_port()
        self.bodies = write_records(os.path.join(directory, "bodies"), [
            json.dumps({"certificate_request": c.public_bytes(Encoding.PEM).decode()}).encode() for c in world.csr_objects(CSR)])
        self.process = Process(
            "cfssl", [find_program("cfssl"), "serve", "-loglevel", "3", "-address", "127.0.0.1", "-port", self.port, "-ca", "ca.pem", "-ca-key", "ca.key",
                      "-config", "config.json", "-db-config", "db.json"], os.path.join(directory, "cfssl.log"), cwd=directory)

    def __enter__(self):
        self.process.start()
        wait_until(lambda: port_answers(self.port), what="cfssl", alive=self.process)
        return self

    def __exit__(self, *ignored):
        self.process.kill()

    def serve(self, count):
        """Certificates per second."""
        before = self.database.one("SELECT count(*) FROM certificates")
        with waiting([program("post"), self.port, "/api/v1/cfssl/sign", self.bodies, count, CONNECTIONS]) as process:
            go(process)
            said = process.stdout.readline()
            assert said, "post failed"
        assert self.database.one("SELECT count(*) FROM certificates") == before + count
        return count / float(said)


def in_turns(bench, name, peers):
    """peers: {name: function of a count}; the first is Chancery."""
    rates = {peer: [] for peer in peers}
    size = {peer: bench.count(40) for peer in peers}
    for peer, measured in peers.items():
        size[peer] = bench.count(measured(size[peer]) * bench.seconds)
    for _ in range(bench.rounds):
        for peer, measured in peers.items():
            rates[peer].append(measured(size[peer]))
    ours = rates["chancery"]
    for peer, values in rates.items():
        bench.results.spread(f"{name}.{peer}.per_s", values)
        if peer != "chancery":
            bench.results.spread(f"{name}.chancery_by_{peer}", [a / b for a, b in zip(ours, values)])


def peers(bench):
    wanted = [key for key in KEYS if bench.wants(f"peers.{key}")]
    if not wanted:
        return
    if not engine_installed() or shutil.which("cfssl") is None:
        heading("Peers: left out, because they are not installed (scripts/bootstrap.sh bench)")
        return
    bench.world.wake()
    heading(f"Peers, {CSR.replace('_', ' ')}s, certificates per second (cfssl has a software key, the others the token)")
    line(("CA key", -9), ("Chancery", 20), ("openssl ca -infiles", 20), ("Chancery / it", 18), ("openssl ca each", 20),
         ("Chancery / it", 18), ("cfssl", 20), ("Chancery / it", 18))
    for key in wanted:
        name = f"peers.{key}"
        openssl = OpensslCa(bench, key)
        with Cfssl(bench, key) as cfssl:
            in_turns(bench, name, {
                "chancery": lambda n: n / bench.world.load(key, CSR, n, SUBMITTERS, GROUP)["total_s"],
                "openssl_ca_infiles": openssl.batch,
                "openssl_ca_each": openssl.one_by_one,
                "cfssl": cfssl.serve,
            })
        columns = [(key, -9), (bench.results.range(f"{name}.chancery.per_s", 0), 20)]
        for peer in ("openssl_ca_infiles", "openssl_ca_each", "cfssl"):
            columns += [(bench.results.range(f"{name}.{peer}.per_s", 0), 20),
                        (bench.results.range(f"{name}.chancery_by_{peer}", 1), 18)]
        line(*columns)
