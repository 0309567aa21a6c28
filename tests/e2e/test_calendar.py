"""When CRLs are made, and what is said of it beforehand."""

import datetime
import json

import pytest
from cryptography import x509

from harness.process import wait_until

STORE = "SET search_path = chancery_store, pg_temp; "
DAY, WEEK, HOUR = 86400, 604800, 3600


@pytest.mark.parametrize("made, period, unit, offset, due", [
    # A period after the last one.
    ("2026-11-22 13:05:07", DAY, None, 0, "2026-11-23 13:05:07"),
    # Each day at two; on time, somewhat late, and after a tick was missed.
    ("2026-11-22 02:00:00", DAY, DAY, 2 * HOUR, "2026-11-23 02:00:00"),
    ("2026-11-22 02:09:00", DAY, DAY, 2 * HOUR, "2026-11-23 02:00:00"),
    ("2026-11-22 01:59:59", DAY, DAY, 2 * HOUR, "2026-11-22 02:00:00"),
    ("2026-11-25 17:00:00", DAY, DAY, 2 * HOUR, "2026-11-26 02:00:00"),
    # Every third day at two; every six hours from two on.
    ("2026-11-22 02:01:00", 3 * DAY, DAY, 2 * HOUR, "2026-11-25 02:00:00"),
    ("2026-11-22 08:00:30", 6 * HOUR, DAY, 2 * HOUR, "2026-11-22 14:00:00"),
    # Sundays at two: 22 November 2026 is one.
    ("2026-11-22 02:00:01", WEEK, WEEK, 3 * DAY + 2 * HOUR, "2026-11-29 02:00:00"),
    ("2026-11-25 12:00:00", WEEK, WEEK, 3 * DAY + 2 * HOUR, "2026-11-29 02:00:00"),
    ("2026-11-22 02:00:01", 2 * WEEK, WEEK, 3 * DAY + 2 * HOUR, "2026-12-06 02:00:00"),
    # A delta of each day in such a week.
    ("2026-11-22 02:00:01", DAY, WEEK, 3 * DAY + 2 * HOUR, "2026-11-23 02:00:00"),
])
def test_ticks(database, made, period, unit, offset, due):
    found = database.execute(STORE + "SELECT next_tick(%s::timestamptz, %s, %s, %s, 0) AT TIME ZONE 'UTC'",
                             (made + "Z", period, unit, offset))
    assert found[0][0] == datetime.datetime.fromisoformat(due)


def test_jitter(database):
    rows = database.execute(STORE + "SELECT extract(epoch FROM next_tick('2026-11-22 02:00Z', 86400, 86400, 7200, 600) - "
                            "'2026-11-23 02:00Z')::int FROM generate_series(1, 200)")
    found = {r[0] for r in rows}
    assert min(found) >= 0 and max(found) < 600 and len(found) > 50
    # However late it came: the next is counted from the tick.
    assert database.one(STORE + "SELECT next_tick('2026-11-22 02:09:59Z', 86400, 86400, 7200, 0)") == \
        datetime.datetime(2026, 11, 23, 2, tzinfo=datetime.timezone.utc)


def test_a_ca_keeps_to_the_wall_clock(shared_instance):
    a = shared_instance
    a.create_issuing("weekly", crl={"period": "7d", "overlap": "1d", "delta_period": "1d", "delta_overlap": "2h",
                                    "align": "sunday 02:00", "jitter": "10m"})
    a.crl("weekly")

    def ticks():
        return a.database.execute(STORE + "SELECT next_full_at AT TIME ZONE 'UTC', next_delta_at AT TIME ZONE 'UTC', "
                                  "clock_timestamp() AT TIME ZONE 'UTC' FROM crl_scope WHERE ca_id = (SELECT id FROM ca "
                                  "WHERE name = 'weekly')")[0]

    full, delta, now = wait_until(lambda: (t := ticks())[1] is not None and t, what="the calendar")
    assert full.isoweekday() == 7 and full.hour == 2 and full.minute < 10 and now < full <= now + datetime.timedelta(7, 600)
    assert delta.hour == 2 and delta.minute < 10 and now < delta <= now + datetime.timedelta(1, 600)


def test_forecast(shared_instance):
    a = shared_instance
    a.crl(delta=True)

    def forecast():
        return {x["kind"]: x for x in json.loads(a.cli("--json", "crl", "forecast", a.issuing))["crls"]}

    before = wait_until(lambda: len(f := forecast()) == 2 and f, what="both kinds")
    assert before["crl"]["because"] == "calendar" and not before["crl"]["pin"]
    assert before["delta-crl"]["due_at"] < before["crl"]["due_at"]
    _, pem = a.certificate("forecast")
    serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
    a.cli("cert", "revoke", f"{serial:x}", "--reason", "superseded")
    after = wait_until(lambda: (f := forecast())["delta-crl"]["entries"] == before["delta-crl"]["entries"] + 1 and f,
                       what="the revocation")
    assert after["crl"]["entries"] == before["crl"]["entries"] + 1
    assert after["crl"]["size"] == before["crl"]["size"] + 40
    # What comes is about what was said.
    a.issue_crl()
    size = len(wait_until(lambda: len(c := a.crl()) != before["crl"]["size"] and c, what="the CRL"))
    assert abs(size - after["crl"]["size"]) < 40
    everything = a.cli("crl", "forecast")
    assert a.root in everything and "delta-crl" in everything
    assert "is not known" in a.cli.fails("crl", "forecast", "nobody")
