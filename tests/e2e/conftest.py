"""Fixtures: a cluster, tokens, a directory server, running instances.

`postgres` and `slapd` live as long as the session (one each for every xdist
worker); databases, tokens and instances are fresh for each test or module.
"""

import faulthandler
import os
import resource
import shutil
import signal
import sys
import tempfile

import pytest

# Crowds of connections need more than the 1,024 files of an ordinary login.
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (16384 if hard == resource.RLIM_INFINITY else min(16384, hard), hard))
os.umask(0o022)  # other users (PostgreSQL's, nginx's) read what the tests make
sys.path.insert(0, os.path.dirname(__file__))

from harness import chanceryd as daemon  # noqa: E402
from harness.authority import Authority  # noqa: E402
from harness.issuer_sql import SqlIssuer, Store  # noqa: E402
from harness.nginx import Nginx  # noqa: E402
from harness.outbox import Outbox, build_driver  # noqa: E402
from harness.postgres import Database, Postgres  # noqa: E402
from harness.slapd import Slapd  # noqa: E402
from harness.softhsm import RecordedToken, Token  # noqa: E402
from harness.web import Web  # noqa: E402

# A test that takes longer hangs. The first limit ends what it does just then; the
# second one, for what no exception reaches, ends the whole worker.
TEST_LIMIT_S = 600
WORKER_LIMIT_S = TEST_LIMIT_S + 300


@pytest.fixture(scope="session")
def session_dir():
    """A directory that PostgreSQL's user can reach, and short enough for the
    path of a Unix socket."""
    path = tempfile.mkdtemp(prefix="chancery-", dir=os.environ.get("TMPDIR", "/tmp"))
    os.chmod(path, 0o755)
    yield path
    if os.environ.get("CHANCERY_KEEP"):
        print(f"kept: {path}", file=sys.stderr)
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def new_dir(session_dir):
    """A function that makes a directory of its own below session_dir."""

    def make(prefix="d"):
        path = tempfile.mkdtemp(prefix=prefix + "-", dir=session_dir)
        os.chmod(path, 0o755)
        return path

    return make


@pytest.fixture
def work_dir(new_dir):
    """A directory for the files of one test."""
    return new_dir("w")


@pytest.fixture(scope="session")
def postgres(new_dir):
    """The private cluster. It does not wait for the disk, unless
    CHANCERY_TEST_FSYNC is set: what the tests kill is our own processes."""
    cluster = Postgres(new_dir("pg"), fsync=bool(os.environ.get("CHANCERY_TEST_FSYNC")))
    cluster.create()
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def migrated(postgres, new_dir):
    """The name of a migrated database to copy from. Made by `chanceryd
    --migrate` when there is one, otherwise by psql."""
    name = "chancery_template"
    postgres.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
    postgres.bootstrap(name)
    postgres.add_services()
    if os.path.exists(daemon.program("chanceryd")):
        directory = new_dir("migrate")
        token = Token(os.path.join(directory, "token")).create()
        daemon.Chanceryd(directory, Database(postgres, name), {"main": token}).migrate()
    else:
        postgres.migrate_with_psql(name)
    return name


@pytest.fixture
def database(postgres, migrated):
    """A fresh migrated database."""
    made = postgres.database(migrated)
    yield made
    made.drop()


@pytest.fixture
def store(database):
    """What the database's owner puts into a fresh one (harness/issuer_sql.py) ..."""
    return Store(database)


@pytest.fixture
def issuer(store):
    """... and an issuer on it that is made of SQL."""
    made = SqlIssuer(store)
    yield made
    made.close()


@pytest.fixture
def empty_database(postgres, migrated):
    """A fresh database with the roles (bootstrap.sql), not migrated."""
    made = postgres.database()
    postgres.bootstrap(made.name)
    yield made
    made.drop()


@pytest.fixture
def token(new_dir):
    """A fresh SoftHSM token."""
    return Token(new_dir("token")).create()


@pytest.fixture
def recorded_token(new_dir):
    """A fresh token that records what it is asked for, and fails on command."""
    return RecordedToken(new_dir("token"), daemon.program("faults/shim.so")).create()


@pytest.fixture(scope="session")
def slapd(new_dir):
    server = Slapd(new_dir("slapd")).create()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nginx(new_dir):
    server = Nginx(new_dir("nginx")).create()
    server.start()
    yield server
    server.stop()




@pytest.fixture
def new_authority(postgres, migrated, new_dir):
    """A function that makes a running instance with an operator, a root and an
    issuing CA; keyword arguments of Authority.create, and token."""
    made = []

    def make(token=None, **options):
        authority = Authority(new_dir("i"), postgres.database(migrated), token)
        made.append(authority)
        authority.create(**options)
        return authority

    make.made = made
    yield make
    for authority in made:
        authority.close()


@pytest.fixture
def instance(new_authority):
    """A running instance of its own: operator, root CA, issuing CA."""
    return new_authority()


@pytest.fixture(scope="module")
def shared_instance(postgres, migrated, new_dir):
    """The same for all tests of a module: for those that only add to it."""
    authority = Authority(new_dir("i"), postgres.database(migrated))
    try:
        authority.create()
        yield authority
    finally:
        authority.close()


@pytest.fixture(scope="module")
def bare_authority(postgres, migrated, new_dir):
    """An Authority that was not started and made nothing, for all tests of a module."""
    authority = Authority(new_dir("i"), postgres.database(migrated))
    try:
        yield authority
    finally:
        authority.close()


@pytest.fixture
def bare_instance(database, token, new_dir):
    """A daemon on a fresh database and token, not started and without CAs."""
    made = daemon.Chanceryd(new_dir("i"), database, {"main": token})
    yield made
    if made.process.alive():
        made.stop()
    made.check_logs()


def took_too_long(*_):
    signal.alarm(120)  # for the clearing up
    raise AssertionError(f"the test hangs: it took longer than {TEST_LIMIT_S} s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol():
    signal.signal(signal.SIGALRM, took_too_long)
    signal.alarm(TEST_LIMIT_S)
    faulthandler.dump_traceback_later(WORKER_LIMIT_S, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of the logs of its daemons."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        for one in getattr(value, "made", [value]):
            process = getattr(getattr(one, "daemon", one), "process", None)
            if hasattr(process, "log_tail") and not isinstance(one, Postgres):
                report.sections.append((f"log of {name}", process.log_tail(120)))


def pytest_terminal_summary(terminalreporter):
    """What tests say in figures (record_property) is shown at the end."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(value)


@pytest.fixture(scope="session")
def outbox_program(new_dir):
    return build_driver(new_dir("driver"))


@pytest.fixture
def new_outbox(database, new_dir, outbox_program):
    made = []

    def make(**options):
        made.append(Outbox(database, new_dir("o"), outbox_program, **options))
        return made[-1]

    yield make
    for outbox in made:
        if outbox.process is not None and outbox.process.alive():
            outbox.stop()


@pytest.fixture
def outbox(new_outbox):
    return new_outbox()


@pytest.fixture
def web():
    server = Web()
    yield server
    server.close()
