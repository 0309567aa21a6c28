"""Does it keep its rate with many certificates in the database? An authority with
an empty database and one with a full one take turns.

The rows are copies of what one issued request left in each table, with serials,
digests and ids of their own."""

import measure
from harness.softhsm import Token
from issue import GROUP, SUBMITTERS
from results import Ratios, heading, line

KEY, CSR = "p256", "rsa_csr"
SIZES = [1_000_000, 10_000_000]
CHUNK = 100_000

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
        "SELECT (SELECT id FROM chancery_store.request WHERE state = 'issued' ORDER BY id LIMIT 1), "
        "(SELECT max(id) FROM chancery_store.request_record), (SELECT max(id) FROM chancery_store.certificate)")[0]
    while have < want:
        first, have = have + 1, min(have + CHUNK, want)
        # Copied as they are: no trigger, no foreign key.
        database.execute(
            "SET search_path = chancery_store; SET session_replication_role = replica; SET synchronous_commit = off; "
            + "; ".join(statements), {"model": model, "request": request - first + 1, "certificate": certificate - first + 1,
                                      "first": first, "last": have})
        request += have - first + 1
        certificate += have - first + 1
    for table in ("request_record", "certificate"):
        database.execute(f"SELECT setval(pg_get_serial_sequence('chancery_store.{table}', 'id'), "
                         f"(SELECT max(id) FROM chancery_store.{table}))")
    database.execute("VACUUM ANALYZE")
    database.execute("CHECKPOINT")


def scale(bench):
    sizes = [bench.most_entries] if bench.tiny else [s for s in SIZES if bench.wants_large(f"scale.{s}")]
    sizes = [s for s in sizes if bench.wants(f"scale.{s}")]
    if not sizes:
        return
    world, results = bench.world, bench.results
    world.wake()
    full = world.authority("full", Token(world.path("t2")).create())  # a token belongs to one installation

    def run(authority):
        rate = 2000.0
        for _ in range(2):
            count = bench.count(rate * bench.seconds)
            said = world.load(KEY, CSR, count, SUBMITTERS, GROUP, authority=authority)
            rate = count / said["total_s"]
        return rate, said["cpu"], count

    run(world.main)
    run(full)
    heading(f"Many certificates in the database, {KEY} CA, {CSR.replace('_', ' ')}s")
    line(("certificates", -14), ("empty/s", 8), ("full/s", 8), ("ratio (spread)", 18), ("CPU us with the full one", -1))
    have = 0
    for size in sizes:
        name = f"scale.{size}"
        fill(full.database, have, size)
        have = size
        taken = Ratios()
        taken.reference(run(world.main)[0])
        spent, issued = {}, 0
        for _ in range(bench.rounds):
            rate, cpu, count = run(full)
            taken.own(rate)
            taken.reference(run(world.main)[0])
            issued += count
            for part, value in cpu.items():
                spent[part] = spent.get(part, 0.0) + value
        results.spread(f"{name}.per_s", taken.ours)
        results.spread(f"{name}.empty_per_s", taken.references)
        results.spread(f"{name}.ratio_to_empty", taken.ratios())
        each = measure.put_cpu(results, name, spent, issued)
        line((f"{size:,}", -14), (f"{results[name + '.empty_per_s']:.0f}", 8), (f"{results[name + '.per_s']:.0f}", 8),
             (results.range(f"{name}.ratio_to_empty"), 18), (measure.cpu_text(each), -1))
    full.close()
    world.authorities.remove(full)
