"""A private PostgreSQL cluster on a Unix socket, without TCP."""

import glob
import itertools
import os
import pwd
import shutil
import signal
import subprocess

import psycopg2

from .process import PATIENCE_S, Process, command_as, run, wait_until

REPO = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
MIGRATIONS = os.path.join(REPO, "migrations")

# The roles of migrations/bootstrap.sql that log in, and the superuser.
ROLES = ["postgres", "chancery_owner", "chancery_issuer", "chancery_front"]
# Logins for tests: two services that submit, one person who reads.
SERVICES = {
    "service_one": "chancery_submitter",
    "service_two": "chancery_submitter",
    "auditor_one": "chancery_auditor",
}


def _bin_dir():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda p: int(p.split("/")[4]))
    assert found, "no PostgreSQL server is installed: run scripts/bootstrap.sh check"
    return os.path.dirname(found[-1])


class Postgres:
    """One cluster. The server refuses root, so that root runs it as postgres."""

    def __init__(self, directory, fsync=True):
        self.directory = os.path.abspath(directory)
        self.data = os.path.join(self.directory, "data")
        self.socket_dir = os.path.join(self.directory, "s")
        self.user = "postgres" if os.geteuid() == 0 else None
        self.fsync = fsync
        self._numbers = itertools.count(1)
        self.process = Process(
            "postgres",
            [os.path.join(_bin_dir(), "postgres"), "-D", self.data],
            os.path.join(self.directory, "postgres.log"),
            user=self.user,
            cwd="/",
            pdeathsig="QUIT",
        )

    def create(self):
        """initdb, and who may log in as whom."""
        os.makedirs(self.directory, exist_ok=True)
        for path in (self.data, self.socket_dir):
            os.makedirs(path, mode=0o700, exist_ok=True)
            if self.user:
                shutil.chown(path, self.user, self.user)
        os.chmod(self.socket_dir, 0o755)
        run(
            command_as(
                [os.path.join(_bin_dir(), "initdb"), "-D", self.data, "-U", "postgres", "-A", "peer",
                 "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
                self.user,
            ),
            cwd="/",
        )
        self._write(
            "postgresql.auto.conf",
            f"listen_addresses = ''\n"
            f"unix_socket_directories = '{self.socket_dir}'\n"
            # Without fsync a commit still outlives the death of the server, only
            # not that of the machine.
            f"fsync = {'on' if self.fsync else 'off'}\n"
            f"full_page_writes = {'on' if self.fsync else 'off'}\n"
            "shared_buffers = 32MB\n"
            "max_connections = 80\n"
            "log_checkpoints = off\n"
            "log_line_prefix = '%m [%p] %u@%d '\n"
            "timezone = 'Europe/Berlin'\n",  # not UTC: what relies on the default shows
        )
        self._write("pg_hba.conf", "local all all peer map=chancery\n")
        self._write("pg_ident.conf", "")
        for role in ROLES + list(SERVICES):
            self._map(role)

    def start(self):
        self.process.start()
        wait_until(self.answers, what="PostgreSQL", alive=self.process)
        return self

    def stop(self, number=signal.SIGINT):
        """SIGINT: sessions are cut off, and what was committed stays."""
        self.process.stop(number)

    def answers(self):
        try:
            self.connect("postgres").close()
            return True
        except psycopg2.OperationalError:
            return False

    def _write(self, name, text, mode="w"):
        path = os.path.join(self.data, name)
        with open(path, mode, encoding="utf-8") as f:
            f.write(text)
        if self.user:
            shutil.chown(path, self.user, self.user)

    def _map(self, role):
        """Lets the user of the tests, and the server's own, log in as role."""
        for system_user in {pwd.getpwuid(os.geteuid()).pw_name, "root", "postgres"}:
            self._write("pg_ident.conf", f"chancery {system_user} {role}\n", "a")

    def add_role(self, name, member_of):
        """A login role for a service or an auditor."""
        self._map(name)
        self.execute(
            "postgres",
            f"CREATE ROLE \"{name}\" LOGIN IN ROLE {member_of}; SELECT pg_reload_conf()",
        )

        def mapped():
            try:
                self.connect("postgres", name).close()
                return True
            except psycopg2.OperationalError as e:
                return "does not have CONNECT" in str(e)

        wait_until(mapped, what=f"the map of role {name}")

    def dsn(self, dbname, user="postgres"):
        return f"host={self.socket_dir} dbname={dbname} user={user}"

    def connect(self, dbname, user="postgres", autocommit=True):
        # Nothing that a test asks for takes that long: a lock held by mistake ends it.
        connection = psycopg2.connect(
            self.dsn(dbname, user), connect_timeout=60, options=f"-c statement_timeout={PATIENCE_S}s")
        connection.autocommit = autocommit
        return connection

    def execute(self, dbname, sql, args=None, user="postgres"):
        """Runs SQL and returns the rows of its last statement, if it has any."""
        connection = self.connect(dbname, user)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, args)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def psql(self, dbname, *args, user="postgres", **kwargs):
        argv = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(dbname, user), *args]
        kwargs.setdefault("env", dict(os.environ, PGOPTIONS="-c client_min_messages=warning"))
        return run(argv, text=True, **kwargs).stdout

    def bootstrap(self, dbname):
        self.psql(dbname, "-f", os.path.join(MIGRATIONS, "bootstrap.sql"))

    def add_services(self):
        """The logins of SERVICES, once the groups exist."""
        for name, group in SERVICES.items():
            self.execute("postgres", f"CREATE ROLE {name} LOGIN IN ROLE {group}")

    def migrate_with_psql(self, dbname):
        """The migrations without the daemon: enough to test SQL, but the daemon
        refuses such a database, because it does not know by whom it was made."""
        for path in sorted(glob.glob(os.path.join(MIGRATIONS, "[0-9]*.sql"))):
            self.psql(dbname, "-1", "-f", path, user="chancery_owner")

    def database(self, template="template0"):
        """A fresh database; from a migrated template it takes some 0.1 s."""
        name = f"t{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        if template != "template0":
            self.bootstrap(name)  # rights on the database itself are not copied
        return Database(self, name)


class Database:
    """One database of a cluster, with the short forms that tests want."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    def dsn(self, user="postgres"):
        return self.cluster.dsn(self.name, user)

    def connect(self, user="postgres", autocommit=True):
        return self.cluster.connect(self.name, user, autocommit)

    def execute(self, sql, args=None, user="postgres"):
        return self.cluster.execute(self.name, sql, args, user)

    def one(self, sql, args=None, user="postgres"):
        """The first column of the only row."""
        rows = self.execute(sql, args, user)
        assert rows is not None and len(rows) == 1, rows
        return rows[0][0]

    def psql(self, *args, user="postgres", **kwargs):
        return self.cluster.psql(self.name, *args, user=user, **kwargs)

    def drop(self):
        try:
            self.cluster.execute("postgres", f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        except (psycopg2.Error, subprocess.SubprocessError):
            pass  # the cluster's directory goes away with everything
