"""The asynchronous connection and the stream on a real server: the test
programs in C, run on a private cluster."""

import os
import subprocess

import pytest

from harness.postgres import MIGRATIONS
from harness.process import PATIENCE_S
from harness.programs import unit_program
from harness.rows import seed, submit


def run_program(path, **environment):
    done = subprocess.run([path], env=dict(os.environ, **environment), text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=2 * PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout
    assert "PASSED" in done.stdout and "Sanitizer" not in done.stdout


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["db_server_test", "db_stream_test"])
def test_against_a_server(postgres, name):
    database = postgres.database()
    run_program(unit_program(name), CHANCERY_TEST_DB=database.dsn())
    database.drop()


@pytest.mark.smoke
def test_calls_of_the_queue(empty_database):
    """Migrated by the program itself, which works on no other schema."""
    migrate = [unit_program("db_server_test"), "migrate", empty_database.dsn("chancery_owner"), MIGRATIONS]
    subprocess.run(migrate, check=True, timeout=PATIENCE_S)
    seed(empty_database)
    submit(empty_database, count=3)
    run_program(unit_program("db_request_test"), CHANCERY_TEST_QUEUE=empty_database.dsn("chancery_issuer"))
