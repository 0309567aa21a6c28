"""Does it keep its rate with many certificates in the database? An authority with
an empty database and one with a full one take turns.

The rows are copies of what one issued request left in each table, with serials,
digests and ids of their own.

    issuance    as in issue.py
    revocation  orders handed in one after the other, from the first until the last
                is applied
    search      the API's answers to an operator
    CRL         the issuer's time for a CRL and a delta of the same few entries
"""

import concurrent.futures
import statistics
import time

import measure
from harness.authority import PASSPHRASE
from harness.decisions import Key, Statement
from harness.process import wait_until
from harness.softhsm import Token
from issue import GROUP, SUBMITTERS
from results import Ratios, heading, line

KEY, CSR = "p256", "rsa_csr"
REVOKED = 64
SEARCHES = 20
SIZES = [1_000_000, 10_000_000]
CHUNK = 50_000
WRITERS = 4

DIGEST = "sha256(int8send(n))"
SERIAL = (f"set_byte('\\x01'::bytea || substr(m.serial, 2, 2) || substr(int8send(1795348800 + n / 1000), 3) || "
          f"substr({DIGEST}, 1, 11), 0, 1 + get_byte({DIGEST}, 31) %% 127)")
REQUEST, CERTIFICATE = "%(request)s + n", "%(certificate)s + n"
# {table: (which row is the model, {column: what a copy has there})}
COPIES = {
    "request_record": ("id = %(model)s", {"id": REQUEST, "public_id": "new_public_id()"}),
    "serial_intent": ("request_id = %(model)s", {"request_id": REQUEST, "serial": SERIAL}),
    "certificate": ("request_id = %(model)s", {"id": CERTIFICATE, "request_id": REQUEST, "serial": SERIAL, "sha256": DIGEST}),
    "audit": ("object IN (SELECT public_id::text FROM request WHERE id = %(model)s UNION ALL SELECT encode(sha256, 'hex') "
              "FROM certificate WHERE request_id = %(model)s)", {"id": None, "object": f"encode({DIGEST}, 'hex')"}),
}


def statement(database, table):
    model, changed = COPIES[table]
    columns = [row[0] for row in database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = ('chancery_store.' || %s)::regclass AND attnum > 0 "
        "AND NOT attisdropped AND attgenerated = ''", (table,))]
    columns = [c for c in columns if changed.get(c, "") is not None]
    values = [changed.get(c, f"m.{c}") for c in columns]
    return (f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE SELECT {', '.join(values)} "
            f"FROM generate_series(%(first)s::bigint, %(last)s::bigint) n, (SELECT * FROM {table} WHERE {model}) m")


def fill(database, have, want):
    """From have certificates to want."""
    statements = [statement(database, table) for table in COPIES]
    model, request, certificate = database.execute(
        "SELECT (SELECT max(request_id) FROM chancery_store.certificate), "
        "(SELECT max(id) FROM chancery_store.request_record), (SELECT max(id) FROM chancery_store.certificate)")[0]
    # Copied as they are: no trigger, no foreign key.
    script = ("SET search_path = chancery_store; SET session_replication_role = replica; SET synchronous_commit = off; "
              + "; ".join(statements))

    def copy(first):
        database.execute(script, {"model": model, "request": request - have, "certificate": certificate - have,
                                  "first": first, "last": min(first + CHUNK - 1, want)})

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(copy, range(have + 1, want + 1, CHUNK)))
    for table in ("request_record", "certificate"):
        database.execute(f"SELECT setval(pg_get_serial_sequence('chancery_store.{table}', 'id'), "
                         f"(SELECT max(id) FROM chancery_store.{table}))")
    connection = database.connect()
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")  # many gigabytes
        cursor.execute("VACUUM (ANALYZE) " + ", ".join(f"chancery_store.{table}" for table in COPIES))
        cursor.execute("CHECKPOINT")
    connection.close()


class Installation:
    """One of the two: what it does, and how long that takes."""

    def __init__(self, bench, authority):
        self.bench, self.world, self.authority = bench, bench.world, authority
        self.database = authority.database
        self.name = self.world.ca(KEY, authority)
        self.key = Key.load(authority.operator_key, PASSPHRASE)

    def issue(self):
        """(certificates per second, CPU time by part, how many)"""
        rate = 2000.0
        for _ in range(2):
            count = self.bench.count(rate * self.bench.seconds)
            said = self.world.load(KEY, CSR, count, SUBMITTERS, GROUP, authority=self.authority)
            rate = count / said["total_s"]
        return rate, said["cpu"], count

    def revoke(self):
        """Revocations per second."""
        rows = self.database.execute(
            "SELECT encode(sha256, 'hex') FROM chancery_store.certificate c WHERE NOT EXISTS (SELECT FROM "
            "chancery_store.revocation r WHERE r.scope_id = c.scope_id AND r.serial = c.serial) AND ca_id = "
            "(SELECT id FROM chancery_store.ca WHERE name = %s) ORDER BY id DESC LIMIT %s", (self.name, self.bench.count(REVOKED)))
        orders = [Statement("revoke", self.name, sha256, reason="superseded") for sha256, in rows]
        signed = [(row, self.key.sign(row.text)) for row in orders]
        connection = self.database.connect("chancery_front")
        with connection.cursor() as cursor:
            for row, signature in signed:
                cursor.execute(
                    "SELECT chancery.api_decide('uid:0', true, 'revoke', %s, %s, NULL, NULL, 'superseded', NULL, %s, %s, %s, %s, %s, %s, NULL)",
                    (row["ca"], row["object"], bytes.fromhex(row["nonce"]), row["issued"], row["expires"], row.text, signature,
                     self.key.sha256))
        connection.close()
        open_orders = "SELECT count(*) FROM chancery_store.decision WHERE state IN ('queued', 'working')"
        wait_until(lambda: self.database.one(open_orders) == 0, interval=0.02, what="the last revocation")
        applied, took = self.database.execute(
            "SELECT count(*) FILTER (WHERE state = 'applied'), extract(epoch FROM max(applied_at) - min(received_at))::float8 FROM "
            "(SELECT * FROM chancery_store.decision ORDER BY id DESC LIMIT %s) d", (len(orders),))[0]
        assert applied == len(orders), "revocations were refused"
        return applied / took

    def search(self):
        """Milliseconds of an answer, in the mean of all kinds."""
        serial, sha256 = self.database.execute(
            "SELECT encode(serial, 'hex'), encode(sha256, 'hex') FROM chancery_store.certificate ORDER BY id LIMIT 1 OFFSET 10")[0]
        times = []
        for path in (f"/v1/certificates?serial={serial}", f"/v1/certificates/{sha256}", f"/v1/certificates?ca={self.name}&limit=50",
                     "/v1/certificates?limit=50", "/v1/requests?state=issued&limit=50", f"/v1/requests?ca={self.name}&state=issued",
                     "/v1/requests?state=rejected"):
            took = []
            for _ in range(SEARCHES):
                start = time.perf_counter()
                answer = self.authority.api.get(path)
                took.append(time.perf_counter() - start)
                assert answer.status == 200, answer
            times.append(statistics.median(took))
        return statistics.mean(times) * 1e3

    def crl(self):
        """Seconds of the issuer for a complete CRL and a delta."""
        total = 0
        for delta in (False, True):
            before = self.database.one("SELECT max(id) FROM chancery_store.crl")
            self.authority.issue_crl(self.name, delta)
            total += wait_until(lambda: self.database.execute(
                "SELECT extract(epoch FROM c.issued_at - c.created_at)::float8 FROM chancery_store.crl c "
                "JOIN chancery_store.crl_scope s ON s.id = c.scope_id JOIN chancery_store.ca a ON a.id = s.ca_id "
                "WHERE c.id > %s AND a.name = %s AND c.delta = %s AND c.state = 'issued' ORDER BY c.id LIMIT 1",
                (before, self.name, delta)), what="a CRL")[0][0]
        return total


# (name, function, unit, whether more is better)
OTHERS = [("revocation", Installation.revoke, "per_s", True), ("search", Installation.search, "ms", False),
          ("crl", Installation.crl, "s", False)]


def compare(bench, name, empty, full):
    """The others take turns as well; each ratio above 1 is in the full one's favour."""
    results, texts = bench.results, []
    for what, run, unit, more in OTHERS:
        taken = Ratios()
        taken.reference(run(empty))
        for _ in range(bench.rounds):
            taken.own(run(full))
            taken.reference(run(empty))
        results.spread(f"{name}.{what}_{unit}", taken.ours)
        results.spread(f"{name}.{what}_empty_{unit}", taken.references)
        results.spread(f"{name}.{what}_ratio_to_empty", [r if more else 1 / r for r in taken.ratios()])
        texts.append(f"{what} {results[f'{name}.{what}_{unit}']:.3g} {unit.replace('per_s', '/s')}, "
                     f"ratio {results.range(f'{name}.{what}_ratio_to_empty')}")
    line(("", -14), ("; ".join(texts), -1))


def scale(bench):
    sizes = [bench.most_entries] if bench.tiny else [s for s in SIZES if bench.wants_large(f"scale.{s}")]
    sizes = [s for s in sizes if bench.wants(f"scale.{s}")]
    if not sizes:
        return
    world, results = bench.world, bench.results
    world.wake()
    authority = world.authority("full", Token(world.path("t2")).create())  # a token belongs to one installation
    empty, full = Installation(bench, world.main), Installation(bench, authority)
    empty.issue()
    full.issue()
    heading(f"Many certificates in the database, {KEY} CA, {CSR.replace('_', ' ')}s")
    line(("certificates", -14), ("empty/s", 8), ("full/s", 8), ("ratio (spread)", 18), ("CPU us with the full one", -1))
    have = 0
    for size in sizes:
        name = f"scale.{size}"
        fill(full.database, have, size)
        have = size
        taken = Ratios()
        taken.reference(empty.issue()[0])
        spent, issued = {}, 0
        for _ in range(bench.rounds):
            rate, cpu, count = full.issue()
            taken.own(rate)
            taken.reference(empty.issue()[0])
            issued += count
            for part, value in cpu.items():
                spent[part] = spent.get(part, 0.0) + value
        results.spread(f"{name}.per_s", taken.ours)
        results.spread(f"{name}.empty_per_s", taken.references)
        results.spread(f"{name}.ratio_to_empty", taken.ratios())
        each = measure.put_cpu(results, name, spent, issued)
        line((f"{size:,}", -14), (f"{results[name + '.empty_per_s']:.0f}", 8), (f"{results[name + '.per_s']:.0f}", 8),
             (results.range(f"{name}.ratio_to_empty"), 18), (measure.cpu_text(each), -1))
        compare(bench, name, empty, full)
    authority.close()
    world.authorities.remove(authority)
