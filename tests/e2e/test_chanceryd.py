"""The daemon's command line, its manual, and its life as others see it."""

import os
import re
import signal

import pytest
from harness.chanceryd import program
from harness.postgres import REPO
from harness.process import run, wait_until


def chanceryd(*args):
    result = run([program("chanceryd"), *args], check=False, text=True)
    return result.returncode, result.stdout, result.stderr


def test_help_and_version():
    status, out, err = chanceryd("--help")
    assert (status, out, err) == chanceryd("-h")
    assert (status, err) == (0, "")
    assert out.startswith("usage: chanceryd")
    status, out, err = chanceryd("--version")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"chanceryd \d+\.\d+\.\d+\n", out)


def test_every_option_is_in_the_manual():
    _, out, _ = chanceryd("--help")
    with open(os.path.join(REPO, "daemon/man/chanceryd.8"), encoding="utf-8") as f:
        manual = f.read()
    options = re.findall(r"^  --([a-z-]+)", out, re.M)
    assert len(options) >= 7
    for option in options:
        assert f"\n.It Fl -{option}" in manual, option


@pytest.mark.parametrize("args, words", [
    (["--colour"], "--colour"),
    (["--config"], "--config needs a value"),
    (["--check-config=yes"], "--check-config=yes"),
    (["start"], "'start'"),
    (["--check-config", "--migrate"], "only one of"),
    (["--role", "signer"], "allowed: issuer, front"),
    (["--migrations", "/tmp"], "--migrate"),
])
def test_wrong_use_is_one_sentence(args, words):
    status, out, err = chanceryd(*args)
    assert (status, out) == (2, "")
    assert err.startswith("chanceryd: ") and err.count("\n") == 1 and words in err


def test_a_role_started_by_hand_says_what_is_wrong(bare_instance):
    bare_instance.write_config()
    result = bare_instance.run("--role", "front", check=False)
    assert result.returncode == 1
    assert "only the supervisor starts a role" in result.stderr


def test_migrating_needs_no_token(empty_database, token, new_dir):
    from harness.chanceryd import Chanceryd

    d = Chanceryd(new_dir("m"), empty_database, {"main": token})
    d.config["tokens"][0]["module"] = "/nonexistent/module.so"
    assert "applied" in d.migrate().stdout
    assert "up to date" in d.migrate().stdout


def test_run_file_names_processes_and_addresses(bare_instance):
    d = bare_instance
    d.config["front"]["http"] = ["127.0.0.1:0"]
    d.start()
    state = d.run_state()
    assert state["pid"] == d.process.pid
    assert set(state["children"]) == {"signer-main", "issuer", "front"}
    assert [state["children"]["front"]["pid"]] == d.pids("front")
    assert [state["children"]["signer-main"]["pid"]] == d.pids("signer")
    listeners = {entry["kind"]: entry for entry in state["listeners"]}
    assert listeners["unix"]["address"] == d.socket_path
    assert listeners["http"]["port"] > 0
    wait_until(lambda: d.run_state()["state"] == "running", what="all parts", alive=d.process)
    assert d.stop() == 0
    assert d.run_state() is None and not os.path.exists(d.socket_path)


def test_all_parts_come_back(bare_instance):
    d = bare_instance
    d.start()
    wait_until(lambda: d.run_state()["state"] == "running", what="all parts", alive=d.process)
    for name in ("signer-main", "issuer", "front"):
        before = d.run_state()["children"][name]["pid"]
        os.kill(before, signal.SIGKILL)

        def is_back():
            child = d.run_state()["children"][name]
            return child["state"] == "running" and child["pid"] != before

        wait_until(is_back, what=name, alive=d.process)
    # The front serves before its database is connected, and says so.
    wait_until(lambda: d.api.get("/v1/status").status == 200, what="the front's database", alive=d.process)
    assert d.stop() == 0
