"""Certificates per second, end to end, beside what the token alone can do.

    make bench                      # or: python3 tests/bench/bench.py [COUNT]

One run: the raw C_Sign rate of the token, then COUNT requests (by default as
many as take some seconds) through the whole of Chancery, for RSA-2048 and
P-256, with the same token and as many threads. PostgreSQL waits for the disk,
as in production. Ratios travel between machines, figures do not.
"""

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import time

BENCH = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(BENCH, "..", "e2e"))

from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import Encoding  # noqa: E402

from harness.authority import Authority  # noqa: E402
from harness.chanceryd import Chanceryd, build_dir  # noqa: E402
from harness.postgres import REPO, Database, Postgres  # noqa: E402
from harness.softhsm import Token  # noqa: E402

THREADS = 2
TEMPLATE = """\
name: bench
approval: automatic
validity: 90d
key:
  types: [ec]
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


def requests(count):
    """CSRs of one key: what is measured is the issuing, not this program."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = []
    for n in range(count):
        name = f"host{n}.bench.example"
        builder = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        made.append(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    return made


def raw_rate(token, kind, seconds=3):
    output = subprocess.run(
        [os.path.join(build_dir(), "bench", "csign"), token.module, token.label, token.pin, kind, str(THREADS),
         str(seconds)],
        env=dict(os.environ, **token.environment), check=True, stdout=subprocess.PIPE, text=True)
    return float(output.stdout)


def issue_all(a, ca, csrs):
    """Submits all in one transaction, waits for the last; certificates per second."""
    connection = a.database.connect("service_one", autocommit=False)
    with connection.cursor() as cursor:
        for csr in csrs:
            cursor.execute("SELECT chancery.submit_request(%s, 'bench', %s::bytea)", (ca, csr))
    started = time.monotonic()
    connection.commit()
    connection.close()
    watch = a.database.connect()
    with watch.cursor() as cursor:
        while True:
            cursor.execute(
                "SELECT count(*) FROM chancery_store.certificate c JOIN chancery_store.ca a ON a.id = c.ca_id "
                "WHERE a.name = %s", (ca,))
            if cursor.fetchone()[0] >= len(csrs):
                break
            assert time.monotonic() < started + 300, "not all were issued within 300 s"
            time.sleep(0.02)
    elapsed = time.monotonic() - started
    watch.close()
    return len(csrs) / elapsed


def resident_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return 0.0


def lines_per_folder():
    folders = ["daemon/core", "daemon/x509", "daemon/issuer", "daemon/publish", "daemon/front", "daemon/supervisor",
               "daemon/cli", "pkcs11", "db", "migrations", "tests/unit", "tests/e2e", "tests/fuzz", "scripts"]
    for folder in folders:
        count = 0
        for ending in ("c", "h", "sql", "py", "sh"):
            for path in glob.glob(os.path.join(REPO, folder, "**", "*." + ending), recursive=True):
                with open(path, encoding="utf-8", errors="replace") as f:
                    count += sum(1 for _ in f)
        yield folder, count


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else None
    directory = tempfile.mkdtemp(prefix="chancery-bench-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chmod(directory, 0o755)
    cluster = Postgres(os.path.join(directory, "pg"), fsync=True)
    authority = None
    try:
        cluster.create()
        cluster.start()
        database = cluster.database()
        cluster.bootstrap(database.name)
        cluster.add_services()
        instance = os.path.join(directory, "i")
        os.makedirs(instance)
        Chanceryd(os.path.join(directory, "m"), Database(cluster, database.name),
                  {"main": Token(os.path.join(directory, "t")).create()}).migrate()
        authority = Authority(instance, database)
        authority.create(threads=THREADS, settings=lambda d: d.config.update(log_level="info"))
        path = os.path.join(instance, "bench.yaml")
        with open(path, "w", encoding="ascii") as f:
            f.write(TEMPLATE)
        authority.cli("template", "apply", path)
        print(f"{'':12} {'token alone':>14} {'Chancery':>14} {'share':>7}")
        for key, kind in (("rsa2048", "rsa"), ("p256", "ec")):
            ca = f"bench-{key}"
            authority.create_issuing(ca, key, templates=["bench"])
            raw = raw_rate(authority.token, kind)
            rate = issue_all(authority, ca, requests(count or int(min(max(raw * 3, 500), 8000))))
            print(f"{key:12} {raw:12.0f}/s {rate:12.0f}/s {100 * rate / raw:6.0f}%")
        print("\nresident memory")
        for role in ("front", "issuer", "signer"):
            for pid in authority.daemon.pids(role):
                print(f"  {role:10} {resident_mb(pid):6.1f} MB")
        print(f"  supervisor {resident_mb(authority.daemon.process.pid):6.1f} MB")
        print("\nlines")
        for folder, lines in lines_per_folder():
            print(f"  {folder:18} {lines:6}")
    finally:
        if authority:
            authority.close()
        cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
