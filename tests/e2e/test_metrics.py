"""What a monitoring system scrapes, and the alert rules over it."""

import contextlib
import os
import re
import shutil

import pytest
import yaml

from harness.api import Api
from harness.postgres import REPO
from harness.process import run, wait_until

STORE = "SET search_path = chancery_store, pg_temp; "
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\\\n]|\\\\.)*",?)*)\})? (-?[0-9.e+]+)')


def parse(text):
    """{name: [(labels, value)]}; every sample has its type before it."""
    found, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in typed, line
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            name, labels, value = SAMPLE.fullmatch(line).groups()
            assert name in typed, line
            found.setdefault(name, []).append((dict(re.findall(r'([a-z]+)="([^"]*)"', labels or "")), float(value)))
    return found


@pytest.fixture(scope="module")
def watched(shared_instance):
    """The shared instance, with a listener for metrics."""
    a = shared_instance
    a.daemon.config["front"]["metrics"] = "127.0.0.1:0"
    a.daemon.write_config()
    before = a.daemon.pids("front")
    a.daemon.reload()
    wait_until(lambda: [x for x in a.daemon.run_state()["listeners"] if x["kind"] == "metrics"], what="the listener")
    wait_until(lambda: a.daemon.pids("front") and a.daemon.pids("front") != before, what="the new front")
    port, = [x["port"] for x in a.daemon.run_state()["listeners"] if x["kind"] == "metrics"]
    a.scraper = Api(port=port, plain=True)
    wait_until(lambda: a.scraper.get("/metrics").status == 200, what="metrics")
    return a


def scrape(a):
    answer = a.scraper.get("/metrics")
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer
    return parse(answer.body.decode())


def test_the_facts(watched):
    a = watched
    a.crl(delta=True)
    found = wait_until(lambda: (m := scrape(a))["chancery_database_up"] == [({}, 1)] and m, what="the database")
    newest = {(x["ca"], x["kind"]): v for x, v in found["chancery_crl_left_seconds"]}
    assert {(a.root, "crl"), (a.issuing, "crl"), (a.issuing, "delta-crl")} <= set(newest)
    assert all(v > 0 for v in newest.values())
    assert all(0 <= v < 3600 for _, v in found["chancery_crl_age_seconds"])
    assert all(v > 100 for _, v in found["chancery_crl_size_bytes"])
    assert {v for _, v in found["chancery_crl_alarm"]} == {0}
    assert [v for x, v in found["chancery_token_ready"] if x["token"] == "main"] == [1]
    assert found["chancery_clock_held"] == [({}, 0)]
    assert {x["process"] for x, v in found["chancery_process_running"] if v == 1} >= {"front", "issuer", "supervisor"}
    half = {x["ca"]: v for x, v in found["chancery_ca_certificate_life_seconds"]}
    assert all(half[x["ca"]] / 2 < v <= half[x["ca"]] for x, v in found["chancery_ca_certificate_left_seconds"])
    a.database.execute(STORE + "UPDATE crl_scope SET alarm = 'kept \"back\"', next_full_at = next_full_at WHERE ca_id = "
                       "(SELECT id FROM ca WHERE name = %s)", (a.root,))
    assert {x["ca"] for x, v in scrape(a)["chancery_crl_alarm"] if v == 1} == {a.root}
    a.database.execute(STORE + "UPDATE crl_scope SET alarm = NULL")


def test_what_is_late(watched):
    """A CRL that is due and not there, and one that is there and not published."""
    a = watched
    # Never committed, and let go of at once when something is wrong.
    with contextlib.closing(a.database.connect(autocommit=False)) as connection, connection.cursor() as cursor:
        cursor.execute(STORE + "UPDATE crl_scope SET next_full_at = now() - interval '2 h' WHERE ca_id = (SELECT id FROM ca WHERE "
                       "name = %s); INSERT INTO target (ca_id, name, kind, artifact, write_url, read_url, options) SELECT id, 'web', "
                       "'http', 'crl', 'http://127.0.0.1:9/', 'http://127.0.0.1:9/', '{}' FROM ca WHERE name = %s; "
                       "SELECT publish_newest(id) FROM ca WHERE name = %s", (a.root, a.issuing, a.issuing))

        def measured(name):
            cursor.execute("SELECT concat(metrics_of_scopes(), metrics_of_publications())")
            return {labels["ca"]: value for labels, value in parse(cursor.fetchone()[0]).get(name, [])}

        late = measured("chancery_crl_late_seconds")
        assert 7200 <= late[a.root] < 7200 + 600 and late[a.issuing] == 0
        cursor.execute("UPDATE artifact SET created_at = now() - interval '1 h'")
        assert 3600 <= measured("chancery_publication_waiting_seconds")[a.issuing] < 3600 + 600
        assert measured("chancery_publication_attempts") == {a.issuing: 0} and not measured("chancery_published_left_seconds")
        cursor.execute("UPDATE publication SET state = 'done', published_id = artifact_id")
        assert measured("chancery_publication_waiting_seconds") == {a.issuing: 0}
        assert 6 * 86400 < measured("chancery_published_left_seconds")[a.issuing] < 8 * 86400


def test_who_is_served_what(watched):
    a = watched
    for path in ("/", "/v1/status", f"/crl/{a.root}.crl"):
        assert a.scraper.get(path).status == 403, path
    assert a.scraper.call("POST", "/metrics", b"").status == 405
    assert a.daemon.web.get("/metrics").status == 403  # not at the distribution
    assert "chancery_database_up 1" in a.api.get("/metrics").body.decode()  # but to operators


def test_numbers_that_cannot_be_had(watched):
    """The front's own come all the same; an operator is told."""
    a = watched
    a.database.execute("REVOKE EXECUTE ON FUNCTION chancery.api_metrics(text) FROM chancery_front")
    try:
        found = scrape(a)
        assert found["chancery_database_up"] == [({}, 0)] and "chancery_crl_alarm" not in found
        assert a.api.get("/metrics").status >= 500
    finally:
        a.database.execute("GRANT EXECUTE ON FUNCTION chancery.api_metrics(text) TO chancery_front")
    assert scrape(a)["chancery_database_up"] == [({}, 1)]


def test_no_metric_reads_a_whole_table(watched):
    """What grows is found by an index, whatever the planner would like for a small table."""
    connection = watched.database.connect()
    with connection.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET client_min_messages = log;"
                       "SET auto_explain.log_nested_statements = on; SET SESSION AUTHORIZATION chancery_front;"
                       "SET enable_seqscan = off; SET enable_bitmapscan = off")
        cursor.execute("SELECT chancery.api_metrics(NULL)")
    plans = "\n".join(connection.notices)
    connection.close()
    read = set(re.findall(r"Seq Scan on (\w+)", plans))
    assert "crl_newest" in plans and "request_queue_pkey" in plans and "decision_queue" in plans
    assert not read & {"crl", "artifact", "request_queue", "request_record", "certificate", "decision", "revocation",
                       "revocation_event", "publication_attempt", "audit"}, read


def test_alert_rules(watched):
    path = os.path.join(REPO, "daemon/front/alerts.yaml")
    with open(path, encoding="utf-8") as f:
        rules = yaml.safe_load(f)["groups"][0]["rules"]
    known = set(re.findall(r"# TYPE (\w+)", watched.scraper.get("/metrics").body.decode())) | {"up"}
    for rule in rules:
        names = set(re.findall(r"\b(?:chancery_\w+|up)\b", rule["expr"]))
        assert names and names <= known, (rule["alert"], names - known)
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]
    if shutil.which("promtool"):
        run(["promtool", "check", "rules", path])
