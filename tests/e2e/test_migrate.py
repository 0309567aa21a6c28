"""Migrations as the program runs them, and the refusal of a schema it does not know."""

import os
import shutil
import subprocess

import psycopg2
import pytest

from harness.postgres import MIGRATIONS
from harness.process import PATIENCE_S, wait_until
from harness.programs import unit_program

LOCK = 7238129047158  # MIGRATION_LOCK


@pytest.fixture(scope="module")
def program():
    return unit_program("db_server_test")


@pytest.fixture
def migrate(program, empty_database):
    """Runs `migrate` on the empty database; returns (exit code, output)."""

    def run(directory=MIGRATIONS, user="chancery_owner"):
        done = subprocess.run([program, "migrate", empty_database.dsn(user), directory], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def check(program, empty_database):
    def run(user="chancery_front"):
        done = subprocess.run([program, "check", empty_database.dsn(user)], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout

    return run


@pytest.fixture
def own(work_dir):
    """A directory of small migrations: own("0001_a.sql", "SELECT 1", ...)."""

    def write(*files):
        for name, text in zip(files[::2], files[1::2]):
            with open(os.path.join(work_dir, name), "w", encoding="utf-8") as f:
                f.write(text)
        return work_dir

    return write


def refused(answer, *words):
    code, output = answer
    assert code == 1, output
    for word in words:
        assert word in output
    return True


def versions(database):
    return [row[0] for row in database.execute("SELECT version FROM chancery_migration.applied ORDER BY 1")]


def test_all_are_applied_once_and_recorded(migrate, check, empty_database):
    files = sorted(f for f in os.listdir(MIGRATIONS) if f[0].isdigit())
    assert refused(check(), "no schema of ours", "chanceryd --migrate")
    assert migrate() == (0, f"{len(files)}\n")
    assert migrate() == (0, "0\n")
    recorded = empty_database.execute("SELECT name, sha256 FROM chancery_migration.applied ORDER BY version",
                                      user="chancery_front")
    assert [name for name, _ in recorded] == files
    for name, digest in recorded:
        with open(os.path.join(MIGRATIONS, name), "rb") as f:
            assert empty_database.one("SELECT encode(sha256(%s), 'hex')", (f.read(),)) == digest
    for user in ("chancery_owner", "chancery_issuer", "chancery_front"):
        assert check(user) == (0, "")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        empty_database.execute("DELETE FROM chancery_migration.applied", user="chancery_front")


def test_two_at_once_are_safe(program, empty_database, own):
    directory = own("0001_a.sql", "CREATE TABLE a (); SELECT pg_sleep(0.2);", "0002_b.sql", "CREATE TABLE b ();")
    empty_database.execute("ALTER SCHEMA public OWNER TO chancery_owner")
    # Held back by the lock until all have started.
    holder = empty_database.connect()
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        running = [
            subprocess.Popen([program, "migrate", empty_database.dsn("chancery_owner"), directory], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(4)
        ]
        wait_until(lambda: empty_database.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                                              " AND NOT granted") == 4, what="four that wait")
        cursor.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))
    outputs = sorted(p.communicate(timeout=PATIENCE_S)[0] for p in running)
    assert [p.returncode for p in running] == [0] * 4 and outputs == ["0\n", "0\n", "0\n", "2\n"]
    holder.close()


def test_changed_file_is_refused(migrate, check, empty_database, work_dir):
    directory = shutil.copytree(MIGRATIONS, os.path.join(work_dir, "m"))
    assert migrate(directory)[0] == 0
    with open(os.path.join(directory, "0002_queue.sql"), "a", encoding="utf-8") as f:
        f.write("\n-- harmless\n")
    assert refused(migrate(directory), "0002_queue.sql was changed after it was applied")
    empty_database.execute("UPDATE chancery_migration.applied SET sha256 = repeat('0', 64) WHERE version = 1")
    assert refused(migrate(), "0001_schema.sql was changed after it was applied")
    assert refused(check(), "not this program's", "0001_schema.sql was applied with another content")


def test_missing_and_renamed_files_are_refused(migrate, empty_database, own):
    directory = own("0001_a.sql", "SELECT 1", "0002_b.sql", "SELECT 2", "0003_c.sql", "SELECT 3")
    assert migrate(directory) == (0, "3\n")
    os.rename(os.path.join(directory, "0002_b.sql"), os.path.join(directory, "0002_other.sql"))
    assert refused(migrate(directory), "0002_other.sql was applied under the name 0002_b.sql")
    os.remove(os.path.join(directory, "0002_other.sql"))
    assert refused(migrate(directory), "0002_b.sql was applied and its file is missing")
    os.rename(os.path.join(directory, "0003_c.sql"), os.path.join(directory, "0002_b.sql"))
    assert refused(migrate(directory), "0002_b.sql was changed")
    assert versions(empty_database) == [1, 2, 3]


def test_schema_of_a_newer_program_is_refused(migrate, check, empty_database):
    assert migrate()[0] == 0
    empty_database.execute("INSERT INTO chancery_migration.applied (version, name, sha256) VALUES (9999, '9999_new.sql', '')")
    assert refused(migrate(), "9999_new.sql", "newer than this program")
    assert refused(check(), "newer than this program", "9999_new.sql")


def test_schema_of_an_older_program_is_refused_until_migrated(migrate, check, work_dir):
    directory = os.path.join(work_dir, "old")
    os.mkdir(directory)
    shutil.copy(os.path.join(MIGRATIONS, "0001_schema.sql"), directory)
    assert migrate(directory) == (0, "1\n")
    assert refused(check(), "older than this program", "0002_queue.sql", "chanceryd --migrate")
    assert migrate()[0] == 0
    assert check()[0] == 0


def test_file_that_comes_too_late_is_refused(migrate, own):
    directory = own("0001_a.sql", "SELECT 1", "0003_c.sql", "SELECT 3")
    assert migrate(directory) == (0, "2\n")
    own("0002_b.sql", "SELECT 2")
    assert refused(migrate(directory), "0002_b.sql comes too late: 0003_c.sql was applied before it")


def test_failing_migration_leaves_nothing_behind(migrate, empty_database, own):
    empty_database.execute("ALTER SCHEMA public OWNER TO chancery_owner")
    directory = own("0001_a.sql", "CREATE TABLE a ();",
                    "0002_b.sql", "CREATE TABLE b ();\n\nCREATE TABLE c (\n    x nonsense);\n")
    assert refused(migrate(directory), "migration 0002_b.sql:4:", "nonsense")
    assert versions(empty_database) == [1]
    assert empty_database.execute("SELECT to_regclass('a') IS NULL, to_regclass('b') IS NULL") == [(False, True)]
    own("0002_b.sql", "CREATE TABLE b ();")
    assert migrate(directory) == (0, "1\n")


def test_settings_do_not_leak_into_the_next_migration(migrate, own):
    directory = own("0001_a.sql", "SET search_path = pg_temp; SET lock_timeout = '7s'",
                    "0002_b.sql", "DO $$ BEGIN ASSERT current_setting('lock_timeout') = '0'; "
                    "ASSERT current_setting('search_path') LIKE '%public%'; END $$")
    assert migrate(directory) == (0, "2\n")


def test_migration_that_commits_by_itself_is_refused(migrate, empty_database, own):
    directory = own("0001_a.sql", "COMMIT;")
    assert refused(migrate(directory), "0001_a.sql ends the transaction")
    assert versions(empty_database) == []


@pytest.mark.parametrize("name", ["1_a.sql", "0001_A.sql", "0001-a.sql", "0000_a.sql", "0001_a.b.sql", "notes.sql"])
def test_names_are_held_to_their_form(migrate, own, name):
    assert refused(migrate(own(name, "SELECT 1")), name, "NNNN_name.sql")


def test_other_bad_directories(migrate, own, work_dir):
    assert refused(migrate("/nonexistent"), "/nonexistent")
    assert refused(migrate(work_dir), "holds no migrations")
    directory = own("0001_a.sql", "SELECT 1", "0001_b.sql", "SELECT 1")
    assert refused(migrate(directory), "0001_a.sql and 0001_b.sql have the same number")
    os.remove(os.path.join(directory, "0001_b.sql"))
    own("0001_a.sql", "SELECT 1;\0 SELECT 2")
    assert refused(migrate(directory), "NUL")
    own("0001_a.sql", " " * (4 << 20) + "x")
    assert refused(migrate(directory), "octets")
    own("0001_a.sql", "SELECT 1", "bootstrap.sql", "", "README", "", "0001_a.sql~", "")
    assert migrate(directory) == (0, "1\n")


def test_unreachable_and_forbidden_database(program, migrate, empty_database, own):
    done = subprocess.run([program, "check", "host=/nonexistent dbname=x"], text=True, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and done.stderr.startswith("unavailable:")
    assert refused(migrate(own("0001_a.sql", "SELECT 1"), user="chancery_front"), "permission denied")
