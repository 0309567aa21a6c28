"""When CRLs are made, and what is said of it beforehand."""

import datetime
import json

import pytest
from cryptography import x509

from harness import clients
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
    # The jitter counts; that both ticks fall on the first second by chance happens once in 360,000 times.
    assert (full.minute, full.second, delta.minute, delta.second) != (0, 0, 0, 0)


def test_forecast(shared_instance):
    a = shared_instance
    a.crl(delta=True)

    def forecast():
        return {x["kind"]: x for x in json.loads(a.cli("--json", "crl", "forecast", a.issuing))["crls"]}

    before = wait_until(lambda: len(f := forecast()) == 2 and f, what="both kinds")
    assert before["crl"]["because"] == "calendar" and not before["crl"]["pin"]
    assert before["delta-crl"]["due_at"] < before["crl"]["due_at"]
    assert abs(before["delta-crl"]["size"] - len(a.crl(delta=True))) < 100
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
    a.issue_crl(delta=True)
    assert abs(forecast()["delta-crl"]["size"] - len(a.crl(delta=True))) < 100
    everything = a.cli("crl", "forecast")
    assert a.root in everything and "delta-crl" in everything
    assert "is not known" in a.cli.fails("crl", "forecast", "nobody")


def test_forecast_of_several_crls(shared_instance):
    """Each by its name; and one that a revocation wants, beside the calendar's."""
    a = shared_instance
    a.create_issuing("parted", crl={"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h", "shards": 2,
                                    "on_revocation": "12h"},
                     locations={"cdp": [{"url": "http://h/<CaName><CRLPartitionIndex>%9", "flags": [
                         "in_certificates", "in_idp", "in_freshest"]}]})

    def forecast():
        return [(x["label"], x["kind"], x["because"]) for x in a.cli.json("crl", "forecast", "parted")["crls"]]

    regular = [(f"~{i}of2", kind, "calendar") for i in (1, 2) for kind in ("crl", "delta-crl")]
    wait_until(lambda: sorted(forecast()) == regular, what="both CRLs in the calendar")
    request = a.submit(clients.openssl_csr(a.files, "parted", dns=["parted.example"]), ca="parted")
    a.approve(request)
    a.issued(request)
    a.cli("cert", "revoke", request, "--reason", "superseded")
    found = forecast()
    assert sorted(found) in [sorted(regular + [(f"~{i}of2", "delta-crl", "revocation")]) for i in (1, 2)]
    assert found[0][2] == "revocation"  # in 12 hours, before the calendar's of a day
    assert "~2of2" in a.cli("crl", "forecast", "parted")


# ------------------------------------------------------------ another calendar


@pytest.fixture
def moved(shared_instance, request):
    """move(crl): a CA with a calendar of a week and deltas of a day gets this one; the rows of its
    calendar, in hours from thisUpdate of the newest complete CRL on."""
    a, name = shared_instance, request.node.name.replace("_", "-")[-30:].lstrip("-")

    def crl(delta=False):
        return x509.load_der_x509_crl(a.crl(name, delta))

    def calendar():
        rows = a.database.execute(STORE + "SELECT extract(epoch FROM next_full_at - this_update) / 3600, extract(epoch FROM "
                                  "next_delta_at - this_update) / 3600 FROM crl_scope s CROSS JOIN LATERAL (SELECT this_update FROM "
                                  "crl WHERE scope_id = s.id AND state = 'issued' AND NOT delta ORDER BY id DESC LIMIT 1) c WHERE "
                                  "ca_id = (SELECT id FROM ca WHERE name = %s)", (name,))
        return rows[0] if rows else (None, None)

    def move(new, deltas=True, **more):
        path = a.issuing_policy(name, deltas=deltas, crl=new, **more)
        a.cli("ca", "limits", "change", name, "--policy", path)

    a.create_issuing(name)
    wait_until(lambda: calendar()[1] is not None, what="the first CRLs")
    a.crl(name, delta=True)
    move.crl, move.calendar, move.name = crl, calendar, name
    return move


def number(crl):
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_the_next_crl_comes_when_either_calendar_wants_it(moved):
    before = number(moved.crl())
    assert moved.calendar() == (168, 24)
    moved({"period": "30d", "overlap": "2d", "delta_period": "2d", "delta_overlap": "2h"})
    assert moved.calendar() == (168, 24) and number(moved.crl()) == before
    moved({"period": "3d", "overlap": "1d", "delta_period": "12h", "delta_overlap": "2h"})
    assert moved.calendar() == (72, 12)
    moved({"period": "3d", "overlap": "1d", "delta_period": "12h", "delta_overlap": "2h", "align": "02:00", "jitter": "30m"})
    full, delta = moved.calendar()
    assert 0 < delta <= 12 and 48 <= full <= 72 and number(moved.crl()) == before


def test_one_that_is_due_by_the_new_calendar_comes_at_once(moved, shared_instance):
    a = shared_instance
    before = moved.crl()
    a.database.execute(STORE + "UPDATE crl SET this_update = this_update - interval '2 h' WHERE scope_id = (SELECT s.id FROM crl_scope s "
                       "JOIN ca a ON a.id = s.ca_id WHERE a.name = %s)", (moved.name,))
    moved({"period": "1h", "overlap": "30m", "delta_period": "30m", "delta_overlap": "10m"})
    wait_until(lambda: number(moved.crl()) > number(before), what="the CRL")
    after = moved.crl()
    assert after.next_update - after.last_update == datetime.timedelta(hours=1.5)
    wait_until(lambda: moved.calendar() == (1, 0.5), what="the calendar")


def test_delta_crls_end_and_begin(moved, shared_instance):
    """What says whether there are any is the complete CRL (RFC 5280 5.2.6)."""
    a, before = shared_instance, moved.crl()
    assert before.extensions.get_extension_for_class(x509.FreshestCRL)
    moved({"period": "7d", "overlap": "12h"}, deltas=False)
    wait_until(lambda: number(moved.crl()) > number(before), what="the CRL")
    without = moved.crl()
    with pytest.raises(x509.ExtensionNotFound):
        without.extensions.get_extension_for_class(x509.FreshestCRL)
    wait_until(lambda: moved.calendar() == (168, None), what="the calendar")
    assert "has no delta CRLs" in a.cli.fails("crl", "issue", moved.name, "--delta")
    moved({"period": "7d", "overlap": "12h", "delta_period": "1d", "delta_overlap": "1h"})
    wait_until(lambda: number(moved.crl(delta=True)) > number(without), what="the delta CRL")
    assert moved.crl().extensions.get_extension_for_class(x509.FreshestCRL)
    assert moved.calendar() == (168, 24)


def test_what_is_under_way_by_an_old_calendar(moved, shared_instance):
    """It is given up; and who has not heard of the new one begins nothing."""
    a = shared_instance
    scope = a.database.one(STORE + "SELECT s.id FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = %s", (moved.name,))
    old = a.database.one(STORE + "SELECT sha256(convert_to(policy, 'UTF8')) FROM ca WHERE name = %s", (moved.name,))
    # As another issuer, which then does nothing more with it.
    begin = STORE + "UPDATE crl SET this_update = this_update - interval '10 s' WHERE scope_id = %(s)s; UPDATE crl_scope SET " \
        "next_full_at = now() + interval '1 d' WHERE id = %(s)s; INSERT INTO crl (scope_id, number, delta, scheduled, this_update, " \
        "next_update, state, epoch, lease_until) VALUES (%(s)s, 1000, false, true, now(), now() + interval '1 d', 'building', 1, " \
        "now() + interval '1 h') RETURNING id"
    crl = a.database.one(begin, {"s": scope})
    moved({"period": "6d", "overlap": "1d", "delta_period": "1d", "delta_overlap": "1h"})
    assert a.database.one(STORE + "SELECT state FROM crl WHERE id = %s", (crl,)) == "burnt"
    question = STORE + "BEGIN; UPDATE crl_scope SET next_full_at = now() WHERE id = %(s)s; SELECT count(*) FROM begin_crl(%(s)s, false, " \
        "NULL, NULL, 3600, 30, {}); "
    assert a.database.one(question.format("%(p)s"), {"s": scope, "p": bytes(old)}) == 0
    assert a.database.one(question.format("(SELECT sha256(convert_to(policy, 'UTF8')) FROM ca WHERE name = %(n)s)"),
                          {"s": scope, "n": moved.name}) == 1
