"""The asynchronous connection and the stream on a real server: the test
programs in C, run on a private cluster."""

import os
import subprocess

import pytest

from harness.programs import unit_program


@pytest.mark.smoke
@pytest.mark.parametrize("name", ["db_server_test", "db_stream_test"])
def test_against_a_server(postgres, name):
    database = postgres.database()
    done = subprocess.run([unit_program(name)], env=dict(os.environ, CHANCERY_TEST_DB=database.dsn()), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "PASSED" in done.stdout and "Sanitizer" not in done.stdout
    database.drop()
