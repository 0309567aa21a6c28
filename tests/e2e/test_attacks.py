"""Attacks, each carried out, and what stops it.

| attack                                                       | what stops it                                       |
|--------------------------------------------------------------|-----------------------------------------------------|
| a service withdraws in a transaction that it leaves open     | a row lock that foreign keys pass; NOWAIT in the    |
|                                                              | issuer, 1 s in withdraw, lock_timeout elsewhere     |
| a login takes the advisory lock that our functions want      | none of them wants one                              |
| a login fills the disk (large objects, temporary tables)     | EXECUTE on lo_* and TEMPORARY are taken from PUBLIC |
| the issuer's role dates or signs audit entries for others    | INSERT on audit is granted for four columns only    |
| attributes that blow up, or nest deeper than stacks          | stored size, text size and depth are capped         |
| a CSR's PEM text that sends the regular expression astray    | one pass over at most 128 KiB                       |
| a service speaks for another, or for the front               | session_user, row-level security, grants            |
| SET ROLE, SET search_path, functions of the attacker's own   | session_user, pinned paths, no schema to create in  |
| a stranger's key asks which CAs exist                        | the caller is judged before the name                |
| NOTIFY by the thousand                                       | hints are merged: one look for all that wait        |
| bytes of a header in a path or name come back in the reply   | decoded names have no control bytes; JSON escapes   |
| a page makes an operator's browser POST                      | Origin must be the server's own; JSON only          |
| JSON of 100,000 levels, duplicate keys, surrogates, NULs     | jansson's depth limit, strict decoding              |
| slow heads, slow readers at every connection of a door       | the slowest makes room for the next                 |
| 230 clients send half a body each                            | HTTP_HELD_MAX octets for each door                  |
| one client waits at every connection of a door               | WAITING_EACH_MAX waits for each identity            |
| a crowd at the distribution, a locked table                  | a database connection of its own                    |
| few descriptors (ulimit -n 64)                               | each door has its share                             |
| a child keeps what it should not have                        | close_range, an environment made anew               |
| SIGSTOP of any child                                         | deadlines, leases; SIGKILL after drain_timeout      |
| the database throws everybody out, again and again           | reconnection, leases, the same serial again         |
| the disk of the database is full                             | CH503 until there is room; nothing half-written     |
| the disk of state_dir is full                                | the lock's text and run.json are dispensable        |
"""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time

import psycopg2
import pytest
from harness import chanceryd as daemon
from harness import clients
from harness import front as front_harness
from harness.front import Front, Rows
from harness.postgres import Database
from harness.process import wait_until
from harness.rows import Issuer, seed, submit

# ------------------------------------------------------------- with SQL alone


@pytest.fixture
def queue(database):
    return seed(database)


def refused(code, call, *args, **kwargs):
    with pytest.raises(psycopg2.Error) as caught:
        call(*args, **kwargs)
    assert caught.value.pgcode == code, (caught.value.pgcode, caught.value)
    return caught.value.diag.message_primary


# Far more than what is meant to come at once takes on a busy machine, far less
# than what would have to wait for the attacker: he lets go of nothing.
AT_ONCE_S = 60


class Clock:
    def __enter__(self):
        self.start = time.monotonic()
        return self

    def __exit__(self, *exc):
        self.seconds = time.monotonic() - self.start


def cpu_seconds(pid):
    """What a process has computed so far, however busy the machine is."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def refused_cheaply(database, sql, args, user, limit_s):
    """Refused with CH400 at the cost of so many seconds of a backend's time; what it said."""
    connection = database.connect(user)
    try:
        pid = connection.info.backend_pid
        before = cpu_seconds(pid)
        with connection.cursor() as cursor:
            words = refused("CH400", cursor.execute, sql, args)
        assert cpu_seconds(pid) - before < limit_s
        return words
    finally:
        connection.close()


def pending(queue, issuer):
    """A checked request of service_one, waiting for a decision."""
    (request,) = submit(queue, template="manual")
    issuer.finish(issuer.claim())
    return request


def queue_decision(queue, request, action="approve"):
    """A decision as the front hands it in, claimed by the issuer: (id, epoch)."""
    rows = Rows(queue)
    key = os.urandom(64)
    rows.person("mallory-watches", ["manager"], "operator_key", key)
    csr = queue.one("SELECT encode(csr_sha256, 'hex') FROM chancery_store.request_summary JOIN chancery_store.request "
                    "ON id = request_id WHERE public_id = %s", (request,))
    front = queue.connect("chancery_front")
    with front.cursor() as cursor:
        cursor.execute("SET statement_timeout = '30s'")
        cursor.execute(
            "SELECT chancery.api_decide('uid:0', true, %s, 'demo', %s, decode(%s, 'hex'), 'manual/1', '-', NULL, %s, "
            "now(), now() + interval '5 min', 'text', 'signature', sha256(%s), NULL)",
            (action, str(request), csr, os.urandom(16), key),
        )
    front.close()
    return as_issuer(queue, "SELECT id, epoch FROM claim_decisions(5, 60)")[0]


def as_issuer(queue, sql, args=None):
    return queue.execute("SET search_path = chancery_store, pg_temp; " + sql, args, user="chancery_issuer")


def test_open_transaction_holds_nobody_up(queue):
    issuer = Issuer(queue)
    request = pending(queue, issuer)
    service = queue.connect("service_one", autocommit=False)
    with service.cursor() as cursor:
        cursor.execute("SELECT chancery.withdraw_request(%s)", (request,))
    with Clock() as clock:
        held = queue_decision(queue, request)  # the front's INSERT has a foreign key to the row
        as_issuer(queue, "SELECT apply_request_decision(%s, %s)", held)
        assert queue.one("SELECT state FROM chancery_store.decision WHERE id = %s", held[:1]) == "queued"
    assert clock.seconds < AT_ONCE_S
    with Clock() as clock:
        words = refused("CH503", queue.one, "SELECT chancery.front_withdraw_request('uid:0', %s, true)", (request,),
                        user="chancery_front")
    assert "another session" in words and clock.seconds < AT_ONCE_S
    service.rollback()
    service.close()

    def applied():
        for claim in as_issuer(queue, "SELECT id, epoch FROM claim_decisions(5, 60)"):
            as_issuer(queue, "SELECT apply_request_decision(%s, %s)", claim)
        return queue.one("SELECT state FROM chancery_store.request WHERE public_id = %s", (request,)) == "approved"

    wait_until(applied, what="the decision, applied")
    issuer.close()


def test_a_lock_is_not_waited_for_long(postgres, migrated, new_dir):
    """Whatever else is locked: our connections give up after 5 s."""
    with running_front(postgres, migrated, new_dir) as front:
        settings = front.database.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND usename = 'chancery_front'"
        )
        assert {name for name, in settings} == {"chancery front", "chancery distribution"}
        locker = front.database.connect(autocommit=False)
        with locker.cursor() as cursor:
            cursor.execute("LOCK TABLE chancery_store.template IN ACCESS EXCLUSIVE MODE")
        with Clock() as clock:
            assert front.api.get("/v1/templates").status == 503
        assert 4 < clock.seconds < AT_ONCE_S
        locker.rollback()
        locker.close()
        assert front.api.get("/v1/templates").status == 200


def test_no_advisory_locks(queue):
    assert queue.execute("SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
                         "WHERE n.nspname IN ('chancery', 'chancery_store') AND prosrc ~ 'pg_[a-z_]*advisory'") == []


@pytest.mark.parametrize("user", ["service_one", "auditor_one", "chancery_front", "chancery_issuer"])
def test_logins_cannot_fill_the_disk(queue, user):
    for sql in (
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_import('/etc/passwd')",
        "CREATE TEMPORARY TABLE t (a int)",
        "CREATE TABLE public.t (a int)",
        "CREATE TABLE chancery.t (a int)",
        "CREATE SCHEMA s",
        "CREATE FUNCTION pg_temp.now() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/x'",
    ):
        refused("42501", queue.execute, sql, user=user)


@pytest.mark.parametrize("column, value", [("writer", "'postgres'"), ("at", "now() - interval '1 y'")])
def test_audit_entries_are_dated_and_signed_by_the_server(queue, column, value):
    refused("42501", queue.execute,
            f"INSERT INTO chancery_store.audit (actor, action, object, {column}) VALUES ('a', 'b', 'c', {value})",
            user="chancery_issuer")
    queue.execute("INSERT INTO chancery_store.audit (actor, action, object) VALUES ('a', 'b', 'c')", user="chancery_issuer")
    assert queue.one("SELECT writer FROM chancery_store.audit WHERE object = 'c'") == "chancery_issuer"


SUBMIT = "SELECT chancery.submit_request('demo', 'auto', %s::bytea, %s::jsonb)"


def submit_with(queue, attributes="{}", csr=b"\x30\x00", user="service_one"):
    return queue.one(SUBMIT, (csr, attributes), user=user)


def test_attributes_that_blow_up(queue):
    bomb = '{"a": [%s]}' % ",".join(["1e131071"] * 60_000)
    assert "16384" in refused_cheaply(queue, SUBMIT, (b"\x30\x00", bomb), "service_one", 5)
    assert "16 levels" in refused("CH400", submit_with, queue, '{"a":' + "[" * 4000 + "]" * 4000 + "}")
    assert "16 levels" in refused("CH400", submit_with, queue, '{"a":' * 17 + "1" + "}" * 17)
    submit_with(queue, '{"a":' * 16 + "1" + "}" * 16)


@pytest.mark.parametrize("csr", [
    b"-----BEGIN CERTIFICATE REQUEST-----" * 3700,
    b"-----BEGIN NEW CERTIFICATE REQUEST-----" + b"A" * 131_000,
    b"-" * 131_072,
    b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----" * 1800,
], ids=["begins", "no end", "dashes", "empty blocks"])
def test_pem_that_sends_the_expression_astray(queue, csr):
    refused_cheaply(queue, SUBMIT, (csr, "{}"), "service_one", 3)


def test_services_speak_for_themselves(queue):
    first = queue.one("SELECT chancery.submit_request('demo', 'auto', '\\x3000'::bytea, '{}', 'same')", user="service_one")
    other = queue.one("SELECT chancery.submit_request('demo', 'auto', '\\x3000'::bytea, '{}', 'same')", user="service_two")
    assert first != other
    assert "not yours" in refused("CH404", queue.one, "SELECT chancery.request_status(%s)", (first,), user="service_two")
    assert "not yours" in refused("CH404", queue.one, "SELECT chancery.withdraw_request(%s)", (first,), user="service_two")
    for sql in (
        "SELECT chancery.front_submit_request('uid:0', 'demo', 'auto', '\\x3000', '{}', NULL)",
        "SELECT chancery.api_requests('uid:0', NULL, NULL, NULL, NULL)",
        "SELECT chancery_store.enqueue_request('uid:0', 'demo', 'auto', '\\x3000', '{}', NULL)",
        "SELECT * FROM chancery_store.request",
        "SET ROLE chancery_api",
        "SET ROLE chancery_front",
        "SET SESSION AUTHORIZATION chancery_front",
    ):
        refused("42501", queue.execute, sql, user="service_two")
    refused("CH403", queue.one,
            "SELECT chancery.front_submit_request('sql:service_one', 'demo', 'auto', '\\x3000'::bytea, '{}', NULL)",
            user="chancery_front")
    refused("42501", queue.one,
            "SELECT chancery.api_submit('uid:0', 'demo', 'auto', '\\x3000'::bytea, '{}', NULL)", user="service_two")
    # The group's role changes nothing of who it is.
    done = queue.execute("SET ROLE chancery_submitter; SET search_path = pg_temp, public; "
                         "SELECT chancery.submit_request('demo', 'auto', '\\x3000'::bytea)", user="service_two")
    assert queue.one("SELECT submitter FROM chancery_store.request WHERE public_id = %s", done[0]) == "sql:service_two"
    refused("42501", queue.execute, "SET row_security = off; SELECT chancery.request_status(%s)", (first,),
            user="service_two")


def test_strangers_learn_no_names(queue):
    stranger = "tls:" + "0" * 64
    for name in ("demo", "nope"):
        for sql in ("api_ca(%s, %s)", "api_ca_csr(%s, %s)", "api_ca_chain(%s, %s, NULL)", "api_ca_crls(%s, %s, NULL, NULL)", "api_ca_valid(%s, %s)",
                    "api_publications(%s, %s, NULL, NULL)", "api_certificates(%s, %s, NULL, NULL, NULL, NULL)"):
            refused("CH403", queue.one, "SELECT chancery." + sql, (stranger, name), user="chancery_front")


# ------------------------------------------------------------------- the front


@contextlib.contextmanager
def running_front(postgres, migrated, new_dir):
    database = postgres.database(migrated)
    front = Front(new_dir("f"), database)
    front.rows = Rows(database)
    front.demo = front.rows.ca("demo")
    front.rows.artifact(front.demo, "crl", 1, b"a CRL")
    front.start()
    wait_until(lambda: database.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                    "AND application_name = 'chancery distribution'") == 1, what="the distribution")
    try:
        yield front
        assert front.stop() == 0
    finally:
        front.process.kill()
        database.drop()


@pytest.fixture(scope="module")
def front(postgres, migrated, new_dir):
    with running_front(postgres, migrated, new_dir) as made:
        yield made


@pytest.fixture
def few_descriptors(monkeypatch, work_dir):
    """chanceryd runs under ulimit -n 64."""
    real = daemon.program("chanceryd")
    wrapper = os.path.join(work_dir, "chanceryd")
    with open(wrapper, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\nulimit -n 64 && exec "{real}" "$@"\n')
    os.chmod(wrapper, 0o755)

    def program(name, find=daemon.program):
        return wrapper if name == "chanceryd" else find(name)

    monkeypatch.setattr(daemon, "program", program)
    monkeypatch.setattr(front_harness, "program", program)


@pytest.mark.parametrize("path", [
    "/crl/%0d%0aSet-Cookie:%20a=b.crl", "/crl/demo%00.crl", "/crl/%c3%a9.crl", "/aia/..%2f..%2fetc.cer",
    "/v1/cas/%0d%0aX-Evil:1", "/v1/requests?state=%0d%0aX-Evil:1", "/v1/cas/%22%3e%3cscript%3e",
])
def test_nothing_of_the_request_splits_the_reply(front, path):
    answer = front.api.get(path)
    assert answer.status in (400, 404)
    assert "X-Evil" not in answer.headers and "Set-Cookie" not in answer.headers
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/json" and answer.error_message


def test_pages_of_others_post_nothing(front):
    csr = {"ca": "demo", "template": "tls-server", "csr": "MAA="}
    request = front.api.submit("demo", "tls-server", b"\x30\x00")
    for origin in ("https://evil.example", "null", "http://localhost", "https://localhost.evil.example", ""):
        answer = front.api.call("POST", f"/v1/requests/{request}/withdraw", b"", {"Origin": origin})
        assert answer.status in (400, 403), (origin, answer)
        assert front.api.call("POST", "/v1/requests", csr, {"Origin": origin}).status in (400, 403)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert front.api.call("POST", "/v1/requests", json.dumps(csr), {"Content-Type": kind}).status == 415
    assert front.api.wait_request(request, 0)["state"] == "submitted"
    own = front.api.call("POST", f"/v1/requests/{request}/withdraw", b"", {"Origin": "https://localhost"})
    assert own.status == 200


@pytest.mark.parametrize("body", [
    b"[" * 100_000,
    b'{"a":' * 80_000,
    b'{"ca":"demo","ca":"demo"}',
    b'{"ca":"\\ud800"}',
    b'{"ca":"de\\u0000mo","template":"t","csr":"MAA="}',
    b'{"ca":"\xff\xfe"}',
    b'{"ca":1e999}',
    b'{"ca":"demo"} x',
    b'{"ca":' + b"9" * 400_000 + b"}",
], ids=["lists", "objects", "twice", "surrogate", "NUL", "no UTF-8", "number", "more", "digits"])
def test_json_that_is_none(front, body):
    answer = front.api.call("POST", "/v1/requests", body, {"Content-Type": "application/json"})
    assert answer.status == 400 and answer.error_code == "input"


def test_notify_by_the_thousand(front):
    request = front.api.submit("demo", "tls-server", b"\x30\x00")
    waiter = threading.Thread(target=front.api.wait_request, args=(request, 8))
    waiter.start()
    service = front.database.connect("service_one")
    with service.cursor() as cursor:
        for n in range(40):
            cursor.execute("SELECT count(pg_notify('chancery_done', repeat('x', 7000) || i || 'of' || %s)) "
                           "FROM generate_series(1, 200) i", (n,))
            if n % 10 == 0:
                with Clock() as clock:
                    assert front.api.get("/v1/status").status == 200
                assert clock.seconds < AT_ONCE_S
    service.close()
    front.rows.checked(request)
    waiter.join(AT_ONCE_S)
    assert not waiter.is_alive()


def test_distribution_and_api_do_not_wait_for_each_other(front):
    locker = front.database.connect(autocommit=False)
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE chancery_store.artifact IN ACCESS EXCLUSIVE MODE")
    stuck = [threading.Thread(target=front.web.get, args=(f"/crl/nothing-{i}.crl",)) for i in range(30)]
    for thread in stuck:
        thread.start()
    assert front.api.get("/v1/status").status == 200
    assert any(thread.is_alive() for thread in stuck)  # they wait still: nobody waited for them
    locker.rollback()
    for thread in stuck:
        thread.join(AT_ONCE_S)
    with locker.cursor() as cursor:
        cursor.execute("LOCK TABLE chancery_store.template IN ACCESS EXCLUSIVE MODE")
    stuck = threading.Thread(target=front.api.get, args=("/v1/templates",))
    stuck.start()
    assert front.web.get("/crl/demo.crl").body == b"a CRL"
    assert stuck.is_alive()
    locker.rollback()
    locker.close()
    stuck.join(AT_ONCE_S)


def test_waiting_at_every_connection(front):
    request = front.api.submit("demo", "tls-server", b"\x30\x00")
    crowd = []
    try:
        for _ in range(160):
            s = socket.socket(socket.AF_UNIX)
            s.connect(front.socket_path)
            s.sendall(f"GET /v1/requests/{request}?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            s.setblocking(False)
            crowd.append(s)
        answered = set()

        def some():
            for s in crowd:
                with contextlib.suppress(BlockingIOError):
                    if s.recv(100).startswith(b"HTTP/1.1 200"):
                        answered.add(s)
            return len(answered) >= 32

        wait_until(some, what="those beyond the limit")
        assert len(answered) == 32  # the others wait their half minute
        assert front.api.get("/v1/status").status == 200
    finally:
        for s in crowd:
            s.close()


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def test_half_bodies_of_many(front):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 600:
        pytest.skip("not enough descriptors for the attacker")
    wait_until(lambda: len(os.listdir(f"/proc/{front.process.pid}/fd")) < 100, what="the end of earlier crowds")
    before = memory_kib(front.process.pid)
    head = (b"POST /v1/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 524288\r\n\r\n")
    crowd, refusals = [], 0
    try:
        for _ in range(230):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(AT_ONCE_S)
            s.connect(front.socket_path)
            crowd.append(s)
            s.sendall(head)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                s.sendall(b" " * 400_000)
        for s in crowd:
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionResetError):
                refusals += b" 503 " in s.recv(100)
        assert refusals > 20
        if not daemon.sanitized():
            assert memory_kib(front.process.pid) - before < 150 * 1024
        assert front.api.get("/v1/status").status == 200
    finally:
        for s in crowd:
            s.close()
    assert wait_until(lambda: front.api.post("/v1/requests", {"ca": "demo", "template": "tls-server", "csr": "MAA="}).status == 201)


def test_few_descriptors_and_slow_clients(few_descriptors, postgres, migrated, new_dir):
    """13 of 64 descriptors are for HTTP; an attacker holds each as slowly as he can."""
    with running_front(postgres, migrated, new_dir) as front:
        assert "only 64 descriptors" in front.process.log()
        crowd = []

        def slow(n=1):
            for _ in range(n):
                s = socket.create_connection(("127.0.0.1", front.http_port))
                s.sendall(b"GET /crl/demo.crl HTTP/1.1\r\nHost: ")
                crowd.append(s)

        def served():
            with contextlib.suppress(OSError):
                return front.web.get("/crl/demo.crl").body == b"a CRL"
            return False

        def out_of_time():
            """Whether one of the crowd heard that its 10 s for a head are over."""
            for s in crowd:
                s.setblocking(False)
                with contextlib.suppress(OSError):
                    if b" 408 " in s.recv(100):
                        return True
            return False

        try:
            for _ in range(5):  # a busy machine may not come to it within those 10 s
                slow(90)
                assert front.api.get("/v1/status").status == 200  # the other door is open
                wait_until(served, what="a CRL in spite of the crowd")
                if not out_of_time():
                    break
            else:
                raise AssertionError("a CRL only when the time of the slow heads was over")
            slow(90)
            wait_until(served, what="a CRL, again")
        finally:
            for s in crowd:
                s.close()


# ------------------------------------------------------- the whole, its parts


def children(instance):
    found = {}
    for role in ("front", "issuer", "signer"):
        (found[role],) = instance.pids(role)
    return found


def links(pid):
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            yield int(fd), os.readlink(f"/proc/{pid}/fd/{fd}")


def listening_inodes():
    found = set()
    with open("/proc/net/tcp", encoding="ascii") as f:
        found |= {line.split()[9] for line in list(f)[1:] if line.split()[3] == "0A"}
    with open("/proc/net/unix", encoding="ascii") as f:
        found |= {line.split()[6] for line in list(f)[1:] if line.split()[3] == "00010000"}
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="the children show themselves to root only")
def test_children_have_what_they_need_and_no_more(bare_instance):
    bare_instance.process.env["SECRET_OF_THE_ADMINISTRATOR"] = "x"
    bare_instance.process.env["LD_PRELOAD_NOT"] = "x"
    bare_instance.process.env["PGPASSWORD"] = "x"
    # Something open in the supervisor without close-on-exec, as a careless parent leaves it.
    left = "/etc/passwd"
    bare_instance.process.argv = ["sh", "-c", f'exec "$@" 7<{left}', "sh", *bare_instance.process.argv]
    bare_instance.start()
    assert left in dict(links(bare_instance.process.pid)).values()
    listening = listening_inodes()
    for role, pid in children(bare_instance).items():
        with open(f"/proc/{pid}/environ", "rb") as f:
            environment = f.read()
        assert b"SECRET" not in environment and b"PGPASSWORD" not in environment and b"LD_" not in environment
        open_files = dict(links(pid))
        assert not any(path.endswith("/lock") for path in open_files.values()), open_files
        assert left not in open_files.values()
        serves = [path for path in open_files.values() if path.startswith("socket:") and path[8:-1] in listening]
        assert bool(serves) == (role == "front"), (role, open_files)
        assert not any(path.endswith(("pin", ".pem", "chancery.yaml")) for path in open_files.values())
        files = [path for fd, path in open_files.items() if fd > 3 and path.startswith("/") and "/dev/" not in path]
        if role == "front":
            # But its own, without names, for large CRLs.
            nameless = bare_instance.state_dir + "/#"
            assert not [f for f in files if not (f.startswith(nameless) and f.endswith(" (deleted)"))], files
    assert bare_instance.stop() == 0


@pytest.mark.slow
def test_few_descriptors_are_enough_to_issue(few_descriptors, new_authority):
    authority = new_authority()
    _, pem = authority.certificate("few")
    assert "BEGIN CERTIFICATE" in pem


@pytest.mark.slow
def test_stopped_children(new_authority):
    authority = new_authority()
    files = authority.files
    for role in ("signer", "issuer", "front"):
        (pid,) = authority.daemon.pids(role)
        request = authority.submit(clients.openssl_csr(files, f"before-{role}", dns=["a.example"]))
        authority.wait_state(request, "pending")
        os.kill(pid, signal.SIGSTOP)
        try:
            if role == "signer":
                authority.cli("request", "approve", request, "--reason", "while it sleeps")
                assert authority.api.get("/v1/status").status == 200
            elif role == "issuer":
                assert authority.api.wait_request(request, 1)["state"] == "pending"
                assert authority.daemon.web.get(f"/crl/{authority.issuing}.crl").status == 200
            time.sleep(2)
        finally:
            os.kill(pid, signal.SIGCONT)
        if role != "signer":
            authority.approve(request)
        authority.issued(request)
        assert authority.daemon.pids(role) == [pid]


def test_stopped_child_does_not_stop_the_end(bare_instance):
    bare_instance.config["drain_timeout"] = "2s"
    bare_instance.start()
    for pid in children(bare_instance).values():
        os.kill(pid, signal.SIGSTOP)
    with Clock() as clock:
        assert bare_instance.stop() == 1  # it says that it had to kill
    assert clock.seconds < AT_ONCE_S
    assert not os.path.exists(bare_instance.socket_path)


@pytest.mark.slow
def test_thrown_out_of_the_database_under_load(new_authority):
    authority = new_authority()
    stop = threading.Event()

    def throw_out():
        while not stop.wait(0.3):
            authority.database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND usename IN ('chancery_issuer', 'chancery_front')")

    requests = [clients.openssl_csr(authority.files, f"load-{i}", dns=[f"l{i}.example"]) for i in range(6)]
    thrower = threading.Thread(target=throw_out)
    thrower.start()
    ids = []
    try:
        for i, csr in enumerate(requests):
            with open(csr.path, encoding="ascii") as f:
                body = {"ca": authority.issuing, "template": "tls-server", "csr": f.read(), "idempotency_key": f"k{i}"}

            def sent(body=body):
                answer = authority.api.post("/v1/requests", body)
                assert answer.status in (201, 503), answer
                return answer.json().get("id")

            ids.append(wait_until(sent, what="a request taken"))
    finally:
        stop.set()
        thrower.join()
    for request in ids:
        authority.approve(request)
        authority.issued(request)
    assert authority.database.one("SELECT count(*) FROM chancery_store.request WHERE submitter LIKE 'uid:%' AND "
                                  "idempotency_key LIKE 'k%'") == len(ids)
    assert authority.database.one("SELECT count(*) FROM (SELECT serial FROM chancery_store.certificate "
                                  "GROUP BY serial HAVING count(*) > 1) twice") == 0


@pytest.fixture
def small_disk(new_dir):
    """A function that mounts a file system of so many KiB; only root can."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    mounted = []

    def make(kib):
        path = new_dir("disk")
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=0755", "small", path], check=False)
        if made.returncode != 0:
            pytest.skip("no disk can be mounted here")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=False)


def fill(path):
    with contextlib.suppress(OSError), open(os.path.join(path, "filler"), "wb", buffering=0) as f:
        while True:
            f.write(b"x" * 4096)
    return os.path.join(path, "filler")


@pytest.mark.slow
def test_full_disk_of_the_state_directory(small_disk, new_authority):
    """It starts, issues and signs CRLs that fit nowhere on its disk later."""
    def settings(instance):
        instance.state_dir = instance.config["state_dir"] = os.path.join(small_disk(12 * 1024), "state")
        os.mkdir(instance.state_dir, 0o700)

    authority = new_authority(settings=settings)
    filler = fill(os.path.dirname(authority.daemon.state_dir))
    _, pem = authority.certificate("full")
    assert "BEGIN CERTIFICATE" in pem
    os.unlink(filler)
    authority.crl()
    filler = fill(os.path.dirname(authority.daemon.state_dir))
    authority.daemon.stop()
    os.truncate(filler, max(0, os.path.getsize(filler) - 4096))  # run.json is what tells the test
    authority.daemon.start()
    _, pem = authority.certificate("full-again")
    assert "BEGIN CERTIFICATE" in pem


@pytest.mark.slow
def test_full_disk_of_the_database(small_disk, postgres, migrated, new_dir):
    disk = small_disk(96 * 1024)
    place = os.path.join(disk, "space")
    os.mkdir(place, 0o700)
    if postgres.user:
        subprocess.run(["chown", postgres.user, place], check=True)
    postgres.execute("postgres", f"CREATE TABLESPACE small LOCATION '{place}'")
    name = "on_a_small_disk"
    try:
        postgres.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {migrated} TABLESPACE small")
        postgres.bootstrap(name)
        database = Database(postgres, name)
        front = Front(new_dir("f"), database)
        front.rows = Rows(database)
        front.demo = front.rows.ca("demo")
        front.rows.artifact(front.demo, "crl", 1, b"a CRL")
        front.start()
        try:
            body = {"ca": "demo", "template": "tls-server", "csr": "MAA=", "attributes": {"a": os.urandom(6000).hex()}}
            filler = fill(disk)
            taken = []

            def full():
                answer = front.api.post("/v1/requests", body)
                assert answer.status in (201, 503), answer
                if answer.status == 201:
                    taken.append(answer.json()["id"])
                return answer.status == 503

            wait_until(full, what="a full disk")
            assert front.web.get("/crl/demo.crl").body == b"a CRL"
            os.unlink(filler)
            wait_until(lambda: front.api.post("/v1/requests", body).status == 201, what="room again")
            for request in taken:  # what was answered with 201 is there, whole
                assert front.api.get(f"/v1/requests/{request}").json()["attributes"] == body["attributes"]
        finally:
            assert front.stop() == 0
            front.process.kill()
    finally:
        postgres.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        postgres.execute("postgres", "DROP TABLESPACE IF EXISTS small")
