"""What the schema refuses, whoever asks: moves, rewriting history, foreign rows."""

import psycopg2
import pytest

from harness.rows import Issuer, seed, submit


@pytest.fixture
def store(database):
    return seed(database)


def code_of(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except psycopg2.Error as e:
        return e.pgcode
    return None


# ------------------------------------------------------------------------ moves


MOVE = "UPDATE chancery_store.request_queue SET state = '{}'"
END = "INSERT INTO chancery_store.request_end (request_id, state) VALUES (1, '{}')"
CERTIFICATE = ("INSERT INTO chancery_store.certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, request_id,"
               " subject, not_before, not_after, spki_sha256, sha256, der)"
               " VALUES (1, decode(repeat('{0}', 20), 'hex'), 1, 1, 1, {1}, '', now(), now(), '', '\\x{0}', '')")
MOVES = {"issued": CERTIFICATE.format("01", 1)}


def test_every_illegal_move_is_refused(store):
    """All pairs of states, as the owner of everything: the superuser."""
    final = dict(store.execute("SELECT name, final FROM chancery_store.request_state"))
    legal = set(store.execute("SELECT from_state, to_state FROM chancery_store.request_move"))
    assert len(final) == 12 and len(legal) > 20
    submit(store)
    store.execute("INSERT INTO chancery_store.serial_intent (issuer_name_id, serial, request_id, generation_id, scope_id,"
                  " epoch, tbs_sha256) VALUES (1, decode(repeat('01', 20), 'hex'), 1, 1, 1, 1, sha256(''))")
    connection = store.connect(autocommit=False)
    refused = 0
    with connection.cursor() as cursor:
        for before in final:
            for after in final:
                cursor.execute("SET LOCAL session_replication_role = replica")
                cursor.execute("UPDATE chancery_store.request_queue SET state = %s", (before,))
                cursor.execute("SET LOCAL session_replication_role = origin")
                try:
                    cursor.execute(MOVES.get(after, END if final[after] else MOVE).format(after))
                    assert (before, after) in legal
                    cursor.execute("SELECT state FROM chancery_store.request")
                    assert cursor.fetchall() == [(after,)]
                except psycopg2.Error as e:
                    assert (before, after) not in legal
                    assert e.pgcode == "CH409", e
                    assert after == "issued" or f"is {before} and cannot become {after}" in str(e)
                    refused += 1
                connection.rollback()
    assert refused == 144 - len(legal)
    connection.close()


def test_unknown_states_are_refused(store):
    submit(store)
    assert code_of(store.execute, "UPDATE chancery_store.request_queue SET state = 'nonsense'") == "CH409"
    assert code_of(store.execute, "UPDATE chancery_store.request_queue SET state = NULL") is not None
    assert code_of(store.execute, END.format("issued")) == "23514"


def test_a_request_leaves_the_queue_by_its_end_alone(store):
    submit(store, count=2)
    for user in ("postgres", "chancery_issuer"):
        assert code_of(store.execute, "DELETE FROM chancery_store.request_queue", user=user) == "CH403"
    assert code_of(store.execute, "TRUNCATE chancery_store.request_queue") == "CH403"
    store.execute(END.format("withdrawn"))
    assert store.execute("SELECT request_id FROM chancery_store.request_queue") == [(2,)]
    assert code_of(store.execute, END.format("withdrawn")) == "23505"
    assert code_of(store.execute, END.format("expired").replace("(1,", "(2,")) == "CH409"
    assert code_of(store.execute, END.format("withdrawn").replace("(1,", "(99,")) == "CH409"
    assert store.execute("SELECT id, state FROM chancery_store.request ORDER BY 1") == [(1, "withdrawn"), (2, "submitted")]


def test_a_certificate_needs_its_intent_and_a_request_that_is_being_signed(store):
    submit(store, count=3)
    issuer = Issuer(store)
    claims = issuer.claim()
    serials = [bytes([n]) * 20 for n in (1, 2, 3)]
    assert len(issuer.begin(claims[:2], serials[:2])) == 2
    ids = [c["request_id"] for c in claims]

    def certificate(n, request):
        return code_of(store.execute, "SET search_path = chancery_store; " + CERTIFICATE.format(f"0{n}", request),
                       user="chancery_issuer")

    assert certificate(3, ids[2]) == "23503"     # no serial
    assert certificate(1, ids[1]) == "23503"     # the other's serial
    assert certificate(1, "NULL") == "23503"
    assert certificate(1, ids[0]) is None
    assert certificate(1, ids[0]) == "23505"     # once
    issuer.finish(claims[1:2], "failed", "no")
    assert certificate(2, ids[1]) == "CH409"     # it has ended
    assert store.execute("SELECT state FROM chancery_store.request ORDER BY id") == [("issued",), ("failed",), ("claimed",)]
    issuer.close()


def test_nobody_but_the_functions_puts_into_the_queue(store):
    submit(store)
    columns = "request_id, public_id, ca_id, template_version_id"
    for extra, value in (("state", "'approved'"), ("cleared", "true"), ("epoch", "5"), ("retry_at", "now()"), (None, None)):
        sql = (f"INSERT INTO chancery_store.request_queue ({columns}{', ' + extra if extra else ''})"
               f" VALUES (2, gen_random_uuid(), 1, 1{', ' + value if extra else ''})")
        assert code_of(store.execute, sql, user="chancery_issuer") == "42501", sql
        if extra:
            assert code_of(store.execute, "SET ROLE chancery_api; " + sql) == "42501", sql
    assert code_of(store.execute, "SET ROLE chancery_api; INSERT INTO chancery_store.request_record (ca_id, template_version_id,"
                   " public_id, submitter, csr) VALUES (1, 1, gen_random_uuid(), 'sql:service_one', '')") == "42501"


def test_final_states_have_no_way_out(store):
    assert store.execute("SELECT m.* FROM chancery_store.request_move m JOIN chancery_store.request_state s"
                         " ON s.name = m.from_state WHERE s.final") == []
    # and every other state can be left and reached
    assert store.execute("SELECT name FROM chancery_store.request_state s WHERE NOT final AND NOT EXISTS"
                         " (SELECT FROM chancery_store.request_move WHERE from_state = s.name)") == []
    assert store.execute("SELECT name FROM chancery_store.request_state s WHERE name <> 'submitted' AND NOT EXISTS"
                         " (SELECT FROM chancery_store.request_move WHERE to_state = s.name)") == []


# ---------------------------------------------------------------------- history


@pytest.mark.parametrize("user", ["postgres", "chancery_owner", "chancery_issuer"])
def test_history_is_append_only(store, user):
    submit(store)
    submit(store, count=1)
    store.execute(END.format("withdrawn"))
    for table in ("audit", "revocation_event", "serial_intent", "template_version", "request_record", "request_end"):
        for sql in (f"UPDATE chancery_store.{table} SET {table_column(table)} = NULL", f"DELETE FROM chancery_store.{table}",
                    f"TRUNCATE chancery_store.{table} CASCADE"):
            assert code_of(store.execute, sql, user=user) in ("CH403", "42501"), (user, sql)
    assert store.one("SELECT count(*) FROM chancery_store.audit") == 2
    assert store.one("SELECT count(*) FROM chancery_store.request WHERE state = 'withdrawn'") == 1


def table_column(table):
    return {"audit": "detail", "revocation_event": "reason", "serial_intent": "tbs_sha256", "template_version": "body",
            "request_record": "csr", "request_end": "state"}[table]


def test_issuer_cannot_rewrite(store):
    submit(store)
    for sql in (
        "UPDATE request_record SET submitter = 'x'",
        "UPDATE request_record SET csr = '\\x00'",
        "DELETE FROM request_record",
        "UPDATE request_queue SET ca_id = 1",
        "UPDATE request_queue SET template_version_id = 1",
        "UPDATE request_queue SET public_id = gen_random_uuid()",
        "INSERT INTO request_queue (request_id, public_id, ca_id, template_version_id) VALUES (9, gen_random_uuid(), 1, 1)",
        "UPDATE request_end SET state = 'expired'",
        "DELETE FROM request_end",
        "UPDATE certificate SET der = ''",
        "DELETE FROM certificate",
        "UPDATE intent_tbs SET tbs = ''",
        "UPDATE decision SET statement = ''",
        "UPDATE decision SET signature = ''",
        "UPDATE decision SET body = ''",
        "DELETE FROM decision",
        "UPDATE credential SET spki = ''",
        "UPDATE person SET name = 'x'",
        "INSERT INTO request_move VALUES ('denied', 'approved')",
        "INSERT INTO request_state VALUES ('x', true, '')",
        "INSERT INTO role VALUES ('x', '')",
        "UPDATE artifact_chunk SET data = ''",
        "CREATE TABLE chancery_store.t ()",
        "CREATE TABLE public.t ()",
        "CREATE TEMP TABLE t ()",
        "ALTER TABLE request DISABLE TRIGGER ALL",
        "ALTER TABLE request NO FORCE ROW LEVEL SECURITY",
        "DROP TRIGGER audit_append_only ON audit",
        "SET session_replication_role = replica",
        "SET ROLE chancery_owner",
        "SET ROLE chancery_api",
    ):
        assert code_of(store.execute, "SET search_path = chancery_store; " + sql, user="chancery_issuer") == "42501", sql


def test_constraints_hold(store):
    """What no program of ours should write, tried with all rights."""
    for sql in (
        "INSERT INTO person (name) VALUES ('with space')",
        "INSERT INTO issuer_name (der, der_sha256, readable) VALUES ('\\x01', sha256('\\x02'), '')",
        "INSERT INTO template_version (template_id, version, body, body_sha256, automatic)"
        " VALUES (1, 9, 'a', sha256('b'), true)",
        "INSERT INTO serial_intent (issuer_name_id, serial, generation_id, epoch, tbs_sha256)"
        " VALUES (1, '\\x01', 1, 1, sha256(''))",
        "INSERT INTO serial_intent (issuer_name_id, serial, generation_id, epoch, tbs_sha256)"
        " VALUES (1, '\\x00' || substr(sha256(''), 1, 19), 1, 1, sha256(''))",
        "INSERT INTO serial_intent (issuer_name_id, serial, generation_id, epoch, tbs_sha256)"
        " VALUES (1, '\\x80' || substr(sha256(''), 1, 19), 1, 1, sha256(''))",
        "INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state)"
        " VALUES (1, 1, 0, 1, 'active')",
        "INSERT INTO crl_scope (ca_id, token_key_id) VALUES (1, 1)",
        "INSERT INTO crl_scope (ca_id, token_key_id, shard, shards) VALUES (1, 1, 2, 2)",
        "INSERT INTO crl (scope_id, number, delta, scheduled, this_update, next_update, state)"
        " VALUES (1, 1, true, true, now(), now(), 'building')",
        "INSERT INTO crl (scope_id, number, delta, scheduled, this_update, next_update, state)"
        " VALUES (1, 0, false, true, now(), now(), 'building')",
        "INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, not_before,"
        " not_after, spki_sha256, sha256, der) VALUES (1, '\\x01', 1, 1, 1, '', now(), now(), '', '', '')",
        "INSERT INTO ca (name, issuer_name_id, kind, state, policy) VALUES ('same', 1, 'root', 'active', '')",
    ):
        assert (code_of(store.execute, "SET search_path = chancery_store; " + sql) or "").startswith("23"), sql


def test_numbers_of_crls_take_20_octets(store):
    number = 2 ** 159 - 1
    store.execute("INSERT INTO chancery_store.crl (scope_id, number, delta, scheduled, this_update, next_update, state)"
                  " VALUES (1, %s, false, true, now(), now(), 'building')", (number,))
    assert store.one("SELECT number FROM chancery_store.crl") == number


# ------------------------------------------------------------------- the front


def test_what_the_front_cannot_do(store):
    """The front may be taken over; its role can only call what was made for it."""
    request, = submit(store)
    for sql in (
        # tables, to read and to write
        *(f"SELECT * FROM chancery_store.{table}" for table in (
            "request", "request_record", "request_queue", "request_end", "certificate", "decision", "credential", "person",
            "ca", "audit",
            "token_key", "serial_intent", "intent_tbs", "artifact_chunk", "publication", "target")),
        "INSERT INTO chancery_store.request_record (ca_id, template_version_id, public_id, submitter, csr)"
        " VALUES (1, 1, gen_random_uuid(), 'x', '')",
        "UPDATE chancery_store.request_queue SET state = 'approved'",
        "UPDATE chancery_store.request_queue SET cleared = true",
        "INSERT INTO chancery_store.request_end (request_id, state) VALUES (1, 'withdrawn')",
        "DELETE FROM chancery_store.request_queue",
        "DELETE FROM chancery_store.audit",
        "INSERT INTO chancery_store.person_role VALUES (1, 'administrator')",
        "INSERT INTO chancery_store.decision (action) VALUES ('approve')",
        # the issuer's functions
        "SELECT * FROM chancery_store.claim_requests(ARRAY[1], ARRAY[0], ARRAY[true], 1, 1)",
        "SELECT chancery_store.sweep_leases()",
        "SELECT chancery_store.expire_requests('1s')",
        "SELECT chancery_store.enqueue_request('sql:x', 'demo', 'auto', '\\x3000', '{}', NULL)",
        "SELECT chancery_store.withdraw('x', NULL, '%s')" % request,
        # the submitters' functions: it would speak as itself
        "SELECT chancery.submit_request('demo', 'auto', '\\x3000'::bytea)",
        "SELECT chancery.withdraw_request('%s')" % request,
        # becoming somebody else, or making something
        "SET ROLE chancery_owner",
        "SET ROLE chancery_api",
        "SET ROLE chancery_issuer",
        "SET SESSION AUTHORIZATION chancery_issuer",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.t ()",
        "CREATE TEMP TABLE request ()",
        "CREATE FUNCTION chancery.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION chancery.request_status(request uuid) RETURNS TABLE (state text, reason text,"
        " certificate bytea, chain bytea[]) LANGUAGE sql AS $$ SELECT '', '', ''::bytea, '{}'::bytea[] $$",
        "CREATE ROLE x",
        "CREATE EXTENSION dblink",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
        "SET session_replication_role = replica",
        "ALTER SYSTEM SET fsync = off",
        "SELECT lo_import('/etc/passwd')",
    ):
        assert code_of(store.execute, sql, user="chancery_front") in ("42501", "42939"), sql
    assert code_of(store.execute, "SELECT chancery.front_submit_request('sql:service_one', 'demo', 'auto', '\\x3000')",
                   user="chancery_front") == "CH403"
    assert store.one("SELECT state FROM chancery_store.request") == "submitted"
    assert store.one("SELECT count(*) FROM chancery_store.audit") == 1


def test_front_can_submit_and_withdraw_for_its_callers(store):
    def front(sql, *args):
        return store.one("SELECT " + sql, args, user="chancery_front")

    request = front("chancery.front_submit_request('uid:1000', 'demo', 'auto', '\\x3000', '{}', 'k')")
    assert front("chancery.front_submit_request('uid:1000', 'demo', 'auto', '\\x3000', '{}', 'k')") == request
    assert front("chancery.front_submit_request('uid:1001', 'demo', 'auto', '\\x3000', '{}', 'k')") != request
    assert store.one("SELECT submitter FROM chancery_store.request WHERE public_id = %s", (request,)) == "uid:1000"
    assert code_of(front, "chancery.front_withdraw_request('uid:1001', %s)", request) == "CH404"
    front("chancery.front_withdraw_request('uid:1000', %s)", request)
    other, = submit(store)
    front("chancery.front_withdraw_request('tls:00', %s, true)", other)
    assert store.execute("SELECT DISTINCT reason FROM chancery_store.request WHERE state = 'withdrawn' ORDER BY 1") \
        == [("taken back by tls:00",), ("taken back by uid:1000",)]


def test_functions_made_for_others_are_bound_by_row_level_security(store):
    """Even a function with a hole in it can only submit and withdraw, and shows
    a service nothing but its own."""
    mine, = submit(store, user="service_one")
    submit(store, user="service_two")
    store.execute("CREATE FUNCTION chancery.hole(what text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER"
                  " SET search_path = chancery_store, pg_temp AS $f$ DECLARE n bigint;"
                  " BEGIN EXECUTE what; GET DIAGNOSTICS n = ROW_COUNT; RETURN n; END $f$;"
                  " ALTER FUNCTION chancery.hole OWNER TO chancery_api;"
                  " GRANT EXECUTE ON FUNCTION chancery.hole TO chancery_submitter, chancery_front")

    def through(user, sql):
        return store.one("SELECT chancery.hole(%s)", (sql,), user=user)

    theirs = store.one("SELECT id FROM chancery_store.request_record WHERE submitter = 'sql:service_two'")
    for table in ("request", "request_record", "request_queue"):
        assert through("service_one", f"SELECT FROM {table}") == 1, table
        assert through("chancery_front", f"SELECT FROM {table}") == 2, table
    for sql in (f"INSERT INTO request_end (request_id, state) VALUES ({theirs}, 'withdrawn')",
                "INSERT INTO request_end (request_id, state) SELECT request_id, 'rejected' FROM request_queue"):
        assert code_of(through, "service_one", sql) == "42501", sql
    for user in ("service_one", "chancery_front"):
        assert code_of(through, user, "DELETE FROM request_queue") == "CH403"
        for sql in ("UPDATE request_queue SET state = 'claimed'", "UPDATE request_queue SET cleared = true",
                    "UPDATE request_queue SET epoch = 9", "UPDATE request_record SET submitter = 'x'",
                    "INSERT INTO request_record (ca_id, template_version_id, public_id, submitter, csr)"
                    " VALUES (1, 1, gen_random_uuid(), 'sql:service_two', '')",
                    "INSERT INTO request_queue (request_id, public_id, ca_id, template_version_id, cleared)"
                    " VALUES (99, gen_random_uuid(), 1, 1, true)",
                    "DELETE FROM request_record", "DELETE FROM request_end", "UPDATE ca SET state = 'retired'",
                    "INSERT INTO person (name) VALUES ('x')", "INSERT INTO certificate DEFAULT VALUES",
                    "INSERT INTO credential DEFAULT VALUES"):
            assert code_of(through, user, sql) == "42501", (user, sql)
    assert store.one("SELECT count(*) FROM chancery_store.request WHERE state = 'submitted'") == 2
    assert mine


# -------------------------------------------------------------------- submitters


def test_what_a_submitter_cannot_see_or_do(store):
    foreign, = submit(store, user="service_two")
    assert store.execute("SELECT state FROM chancery.request_status(%s)", (foreign,), user="service_two")
    assert code_of(store.execute, "SELECT * FROM chancery.request_status(%s)", (foreign,), user="service_one") == "CH404"
    assert code_of(store.execute, "SELECT chancery.withdraw_request(%s)", (foreign,), user="service_one") == "CH404"
    functions = [row[0] for row in store.execute(
        "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname IN ('chancery', 'chancery_store')"
        " AND has_function_privilege('service_one', p.oid, 'EXECUTE') ORDER BY 1")]
    assert functions == [
        "chancery.finished_requests(uuid[])",
        "chancery.request_status(uuid)",
        "chancery.submit_request(text,text,bytea,jsonb,text)",
        "chancery.submit_request(text,text,text,jsonb,text)",
        "chancery.submit_requests(text,text,bytea[],jsonb[],text[])",
        "chancery.withdraw_request(uuid)",
    ]
    for sql in ("SELECT * FROM chancery_store.request", "SELECT * FROM chancery_store.ca",
                "CREATE TEMP TABLE t ()", "SET ROLE chancery_api"):
        assert code_of(store.execute, sql, user="service_one") == "42501", sql


# ----------------------------------------------------------------- all functions


def test_functions_are_pinned_owned_and_granted(store):
    rows = store.execute(
        "SELECT p.oid::regprocedure::text, n.nspname, p.prosecdef, r.rolname, p.proconfig, p.proacl::text"
        " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner"
        " WHERE n.nspname IN ('chancery', 'chancery_store')")
    assert len(rows) > 20
    for name, schema, definer, owner, config, acl in rows:
        # an empty list would mean the default, which is EXECUTE for everybody
        assert acl is not None, name
        assert not any(item.strip('{}"').startswith("=") for item in acl.split(",")), f"PUBLIC may call {name}"
        if definer:
            assert owner == "chancery_api", name
            assert any(c.startswith("search_path=chancery_store, pg_temp") for c in config or []), name
        if schema == "chancery":
            assert definer, name


def test_only_tables_with_requests_have_policies_and_these_are_forced(store):
    assert store.execute("SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
                         " WHERE relname IN ('request_record', 'request_queue', 'request_end') ORDER BY 1") \
        == [("request_end", True, True), ("request_queue", True, True), ("request_record", True, True)]
    submit(store)
    assert store.one("SELECT count(*) FROM chancery_store.request", user="chancery_owner") == 0
    assert Issuer(store).claim()


def test_public_has_nothing(store):
    assert store.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE a.grantee = 0 AND n.nspname LIKE 'chancery%'"
        " AND n.nspname <> 'chancery_migration'") == []
    assert store.execute("SELECT datname FROM pg_database CROSS JOIN LATERAL aclexplode(datacl) a"
                         " WHERE a.grantee = 0 AND datname = current_database()") == []
