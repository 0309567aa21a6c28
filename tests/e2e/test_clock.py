"""A clock that jumps: nothing is signed with it until an operator confirms it."""

import json
import os
import subprocess

import pytest

from harness import clients
from harness.authority import locations
from harness.postgres import REPO
from harness.process import PATIENCE_S, wait_until

STORE = "SET search_path = chancery_store, pg_temp; "


def sql(a, text, *args):
    return a.database.execute(STORE + text, args or None)


def clock(a):
    return json.loads(a.cli("--json", "status"))["clock"]


def signed(a):
    """(certificates, CRLs) that are issued."""
    return sql(a, "SELECT (SELECT count(*) FROM certificate), (SELECT count(*) FROM crl WHERE state = 'issued')")[0]


def start(a, *commands):
    """Runs commands that wait for what they order."""
    return [subprocess.Popen(a.cli.argv(*words), env=a.cli.environment(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for words in commands]


def all_succeed(processes):
    for process in processes:
        assert process.wait(PATIENCE_S) == 0, process.stdout.read()
        process.stdout.close()


@pytest.fixture
def held(shared_instance):
    """How the issuers find the mark decides what jumped."""
    a = shared_instance

    def jump(shift):
        wait_until(lambda: sql(a, "SELECT mark FROM clock_watch")[0][0], what="a look at the clock")
        sql(a, "UPDATE clock_watch SET mark = clock_timestamp() + %s::interval", shift)
        return wait_until(lambda: clock(a)["held"] and clock(a), what="the watch over the clock")

    yield jump
    sql(a, "UPDATE clock_watch SET reason = NULL, since = NULL, mark = clock_timestamp()")


@pytest.mark.parametrize("shift, word", [("2 hours", "was seen before"), ("-200 days", "200 days after")])
def test_nothing_is_signed_until_confirmed(shared_instance, held, shift, word):
    a = shared_instance
    name = f"clock{word[0]}"
    request = a.submit(clients.openssl_csr(a.files, name, dns=[f"{name}.example"]))
    a.wait_state(request, "pending")
    found = held(shift)
    assert word in found["reason"] and found["since"]
    assert "NOTHING IS SIGNED" in a.cli("status")
    findings = json.loads(a.cli.result("--json", "doctor", a.root).stdout)["findings"]
    assert [f for f in findings if f["check"] == "clock" and f["state"] == "critical" and word in f["detail"]]
    before = signed(a)
    a.cli("request", "approve", request, "--reason", "test")
    sql(a, "UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE ca_id = (SELECT id FROM ca WHERE name = %s)",
        a.issuing)
    # The CRL is due, the calendar looks each second, and asks in vain.
    looks = sql(a, "SELECT clock_doubt() IS NOT NULL, (SELECT count(*) FROM due_scopes('{main}', '{8}', '{}'))")
    assert looks == [(True, 1)]
    assert sql(a, "SELECT count(*) FROM begin_crl((SELECT scope_id FROM due_scopes('{main}', '{8}', '{}')), false, NULL, NULL, 60, 5)") \
        == [(0,)]
    assert signed(a) == before
    assert "confirmed" in a.cli("clock", "confirm")
    a.issued(request)
    wait_until(lambda: signed(a)[1] > before[1], what="a CRL")
    assert clock(a) == {"held": False, "reason": None, "since": None, "apart": None}
    actions = [r[0] for r in sql(a, "SELECT action FROM audit WHERE object = 'clock' ORDER BY id DESC LIMIT 2")]
    assert actions == ["clock.confirmed", "clock.held"]
    assert "nothing to confirm" in a.cli.fails("clock", "confirm")


def test_orders_about_a_ca_wait(shared_instance, held):
    """A root's own certificate carries the time, too; an order that signs nothing goes on."""
    a = shared_instance
    held("2 hours")
    policy = a.policy("late-root", "root", "p256", templates=["sub-ca"], crl={"period": "30d", "overlap": "3d"},
                      locations=locations([a.daemon.crl_url("late-root")]))
    before = sql(a, "SELECT count(*) FROM serial_intent")[0][0]
    processes = start(a, ("ca", "create", "late-root", "--policy", policy), ("ca", "renew", a.issuing, "--same-key"))
    waiting = "SELECT array_agg(action ORDER BY action) FROM decision WHERE state = 'queued' AND action LIKE 'ca-%'"
    wait_until(lambda: sql(a, waiting)[0][0] == ["ca-create", "ca-renew"] or any(p.poll() for p in processes),
               what="the orders")
    a.cli("template", "apply", os.path.join(REPO, "daemon/templates/device.yaml"))
    assert sql(a, "SELECT count(*) FROM claim_decisions(8, 1)") == [(0,)]
    assert sql(a, waiting)[0][0] == ["ca-create", "ca-renew"]
    assert sql(a, "SELECT count(*) FROM serial_intent")[0][0] == before
    a.cli("clock", "confirm")
    all_succeed(processes)
    assert sql(a, "SELECT count(*) FROM serial_intent")[0][0] == before + 1


def test_a_jump_between_two_looks(database):
    """What no issuer has seen yet stops a CRL all the same, and by itself."""
    one = lambda text: database.one(STORE + text)  # noqa: E731
    assert one("SELECT clock_doubt()") is None  # a database that no issuer has met
    for shift, word in (("2 minutes", "back"), ("-61 minutes", "ahead")):
        database.execute(STORE + "UPDATE clock_watch SET mark = clock_timestamp() + %s::interval", (shift,))
        assert word in one("SELECT clock_doubt()")
    # A pause of the service is no jump: the first look moves the mark.
    assert one("SELECT doubt FROM watch_clock(clock_timestamp(), 0)") is None
    assert one("SELECT clock_doubt()") is None
    # A small step back is time service at work.
    database.execute(STORE + "UPDATE clock_watch SET mark = clock_timestamp() + interval '30 s'")
    assert one("SELECT doubt FROM watch_clock(clock_timestamp(), -30)") is None
    # An issuer's own clock only stops itself.
    assert "the clock of an issuer" in one("SELECT doubt FROM watch_clock(clock_timestamp() + interval '1 day', 0)")
    assert "the clock of an issuer" in one("SELECT clock_json()->>'apart'")
    assert one("SELECT clock_doubt()") is None
    assert "jumped back by 120 min" in one("SELECT doubt FROM watch_clock(clock_timestamp(), -7200)")
    assert one("SELECT clock_json()->>'held'") == "true"


def test_who_may_confirm(shared_instance, held):
    a = shared_instance
    held("3 hours")
    with pytest.raises(Exception, match="CH401|not known|CH403"):
        a.database.execute("SELECT chancery.api_clock_confirm('cert:nobody')", user="chancery_front")
    assert clock(a)["held"]


@pytest.fixture
def apart(shared_instance):
    """apart(True): the clocks of the issuer's host and of the database differ by more than the database allows, which is
    nothing. Returns when the issuer has been told, each time."""
    a = shared_instance
    whole = sql(a, "SELECT pg_get_functiondef('watch_clock'::regproc)")[0][0]
    assert "> 300 THEN" in whole

    def tell(differ):
        sql(a, whole.replace("> 300 THEN", ">= 0 THEN") if differ else whole)
        before = sql(a, "SELECT mark FROM clock_watch")[0][0]
        wait_until(lambda: sql(a, "SELECT mark > %s FROM clock_watch", before)[0][0], what="a look at the clock")

    yield tell
    tell(False)


def test_an_issuer_whose_clock_is_apart_signs_nothing(shared_instance, apart):
    """Neither certificates nor CRLs nor a CA's own; and without confirmation it goes on."""
    a = shared_instance
    request = a.submit(clients.openssl_csr(a.files, "apart", dns=["apart.example"]))
    a.wait_state(request, "pending")
    apart(True)
    wait_until(lambda: "the clock of an issuer's host shows" in (clock(a)["apart"] or ""), what="the word of it")
    assert not clock(a)["held"]
    apart(True)  # what the answer was on its way to is done
    policy = a.policy("apart-root", "root", "p256", crl={"period": "30d", "overlap": "3d"}, locations={})
    sql(a, "UPDATE crl_scope SET next_full_at = clock_timestamp() WHERE ca_id = (SELECT id FROM ca WHERE name = %s)", a.root)
    before = signed(a), sql(a, "SELECT count(*) FROM crl")
    processes = start(a, ("ca", "create", "apart-root", "--policy", policy), ("crl", "issue", a.issuing),
                      ("request", "approve", request, "--reason", "test"))
    orders = "SELECT count(*) FROM decision WHERE {} AND action IN ('ca-create', 'crl-issue')"
    wait_until(lambda: sql(a, orders.format("state IN ('queued', 'working')"))[0][0] == 2 or any(p.poll() for p in processes),
               what="the orders")
    apart(True)
    apart(True)
    assert (signed(a), sql(a, "SELECT count(*) FROM crl")) == before
    assert sql(a, orders.format("state IN ('queued', 'working')"))[0][0] == 2
    apart(False)
    a.issued(request)
    all_succeed(processes)
    wait_until(lambda: sql(a, "SELECT next_full_at > now() FROM crl_scope WHERE ca_id = (SELECT id FROM ca WHERE name = %s)",
                           a.root) == [(True,)], what="the CRL that was due")
