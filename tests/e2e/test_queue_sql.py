"""The queue's functions, as submitters and issuers call them."""

import base64
import threading
import time

import psycopg2
import pytest

from harness.process import wait_until
from harness.rows import Issuer, certificate, seed, serial, submit


@pytest.fixture
def queue(database):
    return seed(database)


@pytest.fixture
def issuer(queue):
    made = Issuer(queue)
    yield made
    made.close()


@pytest.fixture
def other_issuer(queue):
    made = Issuer(queue)
    yield made
    made.close()


def refusal(code, call, *args, **kwargs):
    """The sentence of a refusal with that SQLSTATE."""
    with pytest.raises(psycopg2.Error) as caught:
        call(*args, **kwargs)
    assert caught.value.pgcode == code, caught.value
    return caught.value.diag.message_primary


def state(queue, request):
    return queue.one("SELECT state FROM chancery_store.request WHERE public_id = %s", (request,))


def audit(queue, request):
    rows = queue.execute("SELECT action FROM chancery_store.audit WHERE object = %s OR detail->>'request' = %s"
                         " ORDER BY id", (str(request), str(request)))
    return [row[0] for row in rows]


def as_service(queue, sql, *args, user="service_one"):
    return queue.one("SELECT " + sql, args, user=user)


# ------------------------------------------------------------------ submitting


def test_submit_is_refused_with_a_sentence(queue):
    def submit_as(ca="demo", template="auto", csr=b"\x30\x00", attributes="{}", key=None):
        return as_service(queue, "chancery.submit_request(%s, %s, %s::bytea, %s, %s)", ca, template, csr, attributes, key)

    assert "known are: demo" in refusal("CH404", submit_as, ca="nope")
    assert "known are: demo" in refusal("CH404", submit_as, ca=None)
    assert "it issues: auto, manual" in refusal("CH404", submit_as, template="nope")
    assert "it issues: auto, manual" in refusal("CH404", submit_as, template="unused")
    assert "it issues: auto, manual" in refusal("CH404", submit_as, template="applied-later")
    assert "empty" in refusal("CH400", submit_as, csr=b"")
    assert "empty" in refusal("CH400", submit_as, csr=None)
    assert "neither DER nor" in refusal("CH400", submit_as, csr=b"junk")
    assert "neither DER nor" in refusal("CH400", submit_as, csr=b"ju\0nk")
    assert "65536" in refusal("CH413", submit_as, csr=b"\x30" + bytes(65536))
    assert "131072" in refusal("CH413", submit_as, csr=b"\x30" + bytes(1 << 20))
    assert "JSON object" in refusal("CH400", submit_as, attributes="[1]")
    assert "JSON object" in refusal("CH400", submit_as, attributes='{"a": "%s"}' % ("x" * 20000))
    assert "1 to 200" in refusal("CH400", submit_as, key="")
    assert "1 to 200" in refusal("CH400", submit_as, key="x" * 201)
    queue.execute("UPDATE chancery_store.ca SET state = 'awaiting-certificate'")
    assert "waiting for its own certificate" in refusal("CH409", submit_as)
    queue.execute("UPDATE chancery_store.ca SET state = 'retired'")
    assert "retired" in refusal("CH409", submit_as)
    assert queue.one("SELECT count(*) FROM chancery_store.request") == 0


def pem(der, label="CERTIFICATE REQUEST", line="\n"):
    text = base64.encodebytes(der).decode().replace("\n", line)
    return f"-----BEGIN {label}-----{line}{text}-----END {label}-----{line}"


def test_submit_takes_pem_as_text_and_as_octets(queue):
    der = b"\x30\x82\x01\x00" + bytes(range(256))
    for text in (pem(der), pem(der, "NEW CERTIFICATE REQUEST"), "Data: x\n" + pem(der) + "bye", pem(der, line="\r\n")):
        for value in (text, text.encode()):
            request = as_service(queue, "chancery.submit_request('demo', 'auto', %s)", value)
            assert bytes(queue.one("SELECT csr FROM chancery_store.request_record WHERE public_id = %s", (request,))) == der
    as_service(queue, "chancery.submit_request('demo', 'auto', '\\x3000')")  # an untyped literal

    def submit_text(text):
        return as_service(queue, "chancery.submit_request('demo', 'auto', %s)", text)

    assert "2 CSRs" in refusal("CH400", submit_text, pem(der) + pem(der))
    assert "base64" in refusal("CH400", submit_text, pem(der).replace("MII", "M*I"))
    assert "no DER" in refusal("CH400", submit_text, pem(b"\x31\x00"))
    assert "neither DER nor" in refusal("CH400", submit_text, pem(der, "CERTIFICATE"))


def test_newest_version_of_a_template_is_taken_and_kept(queue):
    first, = submit(queue)
    queue.execute("INSERT INTO chancery_store.template_version (template_id, version, body, body_sha256, automatic)"
                  " SELECT id, 2, 'new', sha256('new'), true FROM chancery_store.template WHERE name = 'auto'")
    second, = submit(queue)
    versions = dict(queue.execute("SELECT public_id, version FROM chancery_store.request r"
                                  " JOIN chancery_store.template_version v ON v.id = r.template_version_id"))
    assert (versions[first], versions[second]) == (1, 2)


def test_repeat_gets_the_first_answer(queue):
    first, = submit(queue, key="order 1")
    assert submit(queue, key="order 1") == [first]
    assert submit(queue, key="order 1", user="service_two") != [first]
    assert submit(queue, key="order 2") != [first]
    for other in ({"csr": b"\x30\x01"}, {"template": "manual"}):
        assert str(first) in refusal("CH409", submit, queue, key="order 1", **other)
    queue.execute("UPDATE chancery_store.ca SET state = 'retired'")
    assert submit(queue, key="order 1") == [first]
    assert audit(queue, first) == ["request.submitted"]


def test_repeats_at_once_make_one_request(queue):
    answers = []

    def run():
        answers.append(submit(queue, key="same")[0])

    first = queue.connect("service_one", autocommit=False)
    with first.cursor() as cursor:
        cursor.execute("SELECT chancery.submit_request('demo', 'auto', '\\x3000'::bytea, '{}', 'same')")
        answers.append(cursor.fetchone()[0])
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: queue.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                     " AND usename = 'service_one' AND datname = current_database()") == 4,
                   what="four sessions that wait for the first")
        first.commit()
    for thread in threads:
        thread.join()
    assert len(answers) == 5 and len(set(answers)) == 1
    first.close()


def submit_many(queue, csrs, keys=None, attributes=None, user="service_one", template="auto"):
    return queue.one("SELECT chancery.submit_requests('demo', %s, %s::bytea[], %s::jsonb[], %s::text[])::text[]",
                     (template, csrs, attributes, keys), user=user)


def test_many_are_submitted_at_once(queue, issuer):
    ders = [b"\x30\x82" + bytes([n]) * 300 for n in range(9)]
    ids = submit_many(queue, ders[:8] + [pem(ders[8]).encode()], attributes=[f'{{"n": {n}}}' for n in range(9)])
    assert len(ids) == len(set(ids)) == 9
    rows = {row[0]: (bytes(row[1]), row[2]) for row in queue.execute(
        "SELECT public_id::text, csr, attributes->'n' FROM chancery_store.request_record")}
    assert [rows[i] for i in ids] == list(zip(ders, range(9)))
    assert audit(queue, ids[0]) == ["request.submitted"]
    assert {str(c["public_id"]): c["csr"] for c in issuer.claim()} == {i: r[0] for i, r in rows.items()}
    assert queue.one("SELECT count(*) FROM chancery_store.request WHERE submitter = 'sql:service_one'") == 9


def test_repeats_among_many_get_the_first_answer(queue):
    first, = submit(queue, key="b")
    ids = submit_many(queue, [b"\x30\x01", b"\x30\x00", b"\x30\x02", b"\x30\x03", b"\x30\x02"],
                                     keys=["a", "b", "c", None, "c"])
    assert ids[1] == first and ids[2] == ids[4] and len(set(ids)) == 4
    again = submit_many(queue, [b"\x30\x02", b"\x30\x01", b"\x30\x05"], keys=["c", "a", None])
    assert again[:2] == [ids[2], ids[0]] and again[2] not in ids
    assert queue.one("SELECT count(*) FROM chancery_store.request") == 5 == \
        queue.one("SELECT count(*) FROM chancery_store.request_queue")
    before = queue.one("SELECT count(*) FROM chancery_store.audit")
    # One that was used for something else refuses them all.
    assert f'"b" was used for request {first}' in refusal(
        "CH409", submit_many, queue, [b"\x30\x09", b"\x30\x01"], keys=["new", "b"])
    assert '"d" was used' in refusal("CH409", submit_many, queue, [b"\x30\x07", b"\x30\x08"], keys=["d", "d"])
    assert queue.one("SELECT count(*) FROM chancery_store.audit") == before
    queue.execute("UPDATE chancery_store.ca SET state = 'retired'")
    assert submit_many(queue, [b"\x30\x02", b"\x30\x01"], keys=["c", "a"]) == again[:2]
    assert "retired" in refusal("CH409", submit_many, queue, [b"\x30\x02", b"\x30\x01"], keys=["c", None])


def test_many_are_refused_as_one(queue):
    for csrs, rest in (([], {}), ([b"\x30\x00"] * 1025, {}), ([b"\x30\x00"], {"keys": ["a", "b"]}),
                       ([b"\x30\x00"], {"attributes": []})):
        assert "1 to 1024" in refusal("CH400", submit_many, queue, csrs, **rest)
    assert "empty" in refusal("CH400", submit_many, queue, [b"\x30\x00", b""])
    assert "empty" in refusal("CH400", submit_many, queue, [b"\x30\x00", None])
    assert "JSON object" in refusal("CH400", submit_many, queue, [b"\x30\x00", b"\x30\x01"], attributes=["{}", "[1]"])
    assert "1 to 200" in refusal("CH400", submit_many, queue, [b"\x30\x00"], keys=[""])
    assert "it issues" in refusal("CH404", submit_many, queue, [b"\x30\x00"], template="nope")
    assert queue.one("SELECT count(*) FROM chancery_store.request_record") == 0
    assert len(submit_many(queue, [b"\x30\x00"] * 1024)) == 1024


def finished(queue, ids, user="service_one"):
    return {row[0]: row[1:] for row in queue.execute(
        "SELECT request::text, state, reason, certificate, chain FROM chancery.finished_requests(%s::uuid[])",
        ([str(i) for i in ids],), user=user)}


def test_finished_requests_are_told_to_who_submitted_them(queue, issuer):
    ids = submit_many(queue, [b"\x30\x00"] * 4)
    assert finished(queue, ids) == {}
    claims = {str(c["public_id"]): c for c in issuer.claim()}
    issuer.finish([claims[ids[0]]], "rejected", "no good")
    issuer.begin([claims[ids[1]]], tbs=[b"tbs"])
    issuer.complete([claims[ids[1]]], [certificate(b"tbs")])
    told = finished(queue, ids + ["00000000-0000-0000-0000-000000000000"])
    assert set(told) == set(ids[:2])
    assert told[ids[0]] == ("rejected", "no good", None, None)
    state_, reason, der, chain = told[ids[1]]
    assert (state_, reason, bytes(der), [bytes(c) for c in chain]) \
        == ("issued", None, certificate(b"tbs"), [b"\x30\x01", b"\x30\x02"])
    assert finished(queue, ids, user="service_two") == {}


# --------------------------------------------------------------- the whole path


def test_automatic_request_is_issued(queue, issuer):
    request, = submit(queue)
    claim, = issuer.claim()
    assert claim["public_id"] == request and claim["epoch"] == 1 and claim["automatic"] and not claim["cleared"]
    assert claim["csr"] == b"\x30\x00" and claim["attributes"] == {} and claim["serial"] is None
    assert claim["statement"] is None and claim["signature"] is None and claim["spki"] is None
    number = serial()
    assert issuer.finish([claim]) == {claim["request_id"]: "claimed"}
    assert issuer.begin([claim], [number], [b"tbs"]) == [claim["request_id"]]
    assert state(queue, request) == "signing"
    der = certificate(b"tbs")
    assert issuer.complete([claim], [der]) == [claim["request_id"]]
    row = queue.execute("SELECT * FROM chancery.request_status(%s)", (request,), user="service_one")[0]
    assert row[0] == "issued" and bytes(row[2]) == der and [bytes(c) for c in row[3]] == [b"\x30\x01", b"\x30\x02"]
    assert queue.one("SELECT count(*) FROM chancery_store.intent_tbs") == 0
    assert queue.execute("SELECT encode(serial, 'hex'), names, sha256 = sha256(der) FROM chancery_store.certificate") \
        == [(number.hex(), ["dns:a", "dns:b"], True)]
    assert audit(queue, request) == ["request.submitted", "request.checked", "certificate.issued"]


def test_automatic_request_is_checked_and_begun_at_once(queue, issuer):
    request, manual = submit(queue) + submit(queue, "manual")
    claims = issuer.claim()
    begun, = issuer.begin(claims)
    assert begun == next(c["request_id"] for c in claims if c["public_id"] == request)
    assert state(queue, request) == "signing" and state(queue, manual) == "claimed"
    issuer.release([c for c in claims if c["public_id"] == request])
    again, = issuer.claim()
    assert again["cleared"] and again["tbs"] is not None


def test_manual_request_waits_for_a_decision(queue, issuer):
    request, = submit(queue, "manual")
    claim, = issuer.claim()
    assert issuer.finish([claim]) == {claim["request_id"]: "pending"}
    assert issuer.claim() == []
    assert issuer.begin([claim]) == []
    assert queue.one("SELECT (subject, names, key_type)::text FROM chancery_store.request_summary") \
        == '(CN=a,"{dns:a,dns:b}",rsa2048)'
    approval = "chancery-statement: 1\naction: approve\nreason: für den Wirt\n"
    queue.execute("UPDATE chancery_store.request_queue SET state = 'approved', cleared = true, retry_at = now()")
    queue.execute("INSERT INTO chancery_store.person (name) VALUES ('alice')")
    queue.execute("INSERT INTO chancery_store.credential (person_id, kind, spki, spki_sha256)"
                  " VALUES (1, 'operator_key', 'key', sha256('key'))")
    for action, applied in (("approve", "refused"), ("deny", "refused"), ("approve", "applied")):
        queue.execute(
            "INSERT INTO chancery_store.decision (action, request_id, credential_id, statement, signature, nonce,"
            " expires_at, state, received_via) SELECT %s, id, 1, %s, 'sig', substr(sha256(%s), 1, 16), now(), %s,"
            " 'uid:0' FROM chancery_store.request",
            (action, approval if applied == "applied" else "another", f"{action} {applied}".encode(), applied))
    claim, = issuer.claim()
    assert claim["cleared"] and claim["epoch"] == 2
    # What approved it goes with it, for the signer.
    assert (claim["statement"], claim["signature"], claim["spki"]) == (approval.encode(), b"sig", b"key")
    assert len(issuer.begin([claim])) == 1
    assert state(queue, request) == "signing"


def test_rejected_and_failed_are_final(queue, issuer):
    submit(queue, count=2)
    first, second = issuer.claim()
    assert issuer.finish([first], "rejected", "RFC 2986 3: the signature is wrong") == {first["request_id"]: "rejected"}
    assert issuer.begin([second]) == [second["request_id"]]
    assert issuer.finish([second], "rejected", "too late") == {}  # it was found good
    assert issuer.finish([second], "failed", "no") == {second["request_id"]: "failed"}
    assert queue.execute("SELECT state, reason FROM chancery.request_status(%s)", (first["public_id"],),
                         user="service_one") == [("rejected", "RFC 2986 3: the signature is wrong")]
    assert issuer.claim() == []
    assert issuer.finish([first]) == {}
    assert audit(queue, second["public_id"])[-1] == "request.failed"


def test_batch_leaves_out_what_is_stale(queue, issuer):
    submit(queue, count=64)
    claims = issuer.claim()
    assert len(claims) == 64 and issuer.claim() == []
    claims[3]["epoch"] = 0
    claims[5]["epoch"] = 2
    good = sorted(c["request_id"] for i, c in enumerate(claims) if i not in (3, 5))
    assert sorted(issuer.finish(claims)) == good
    serials = [serial() for _ in claims]
    assert issuer.begin(claims, serials) == good
    assert issuer.complete(claims, [certificate(b"tbs" + s) for s in serials]) == good
    assert queue.execute("SELECT state, count(*) FROM chancery_store.request GROUP BY 1 ORDER BY 1") \
        == [("claimed", 2), ("issued", 62)]
    assert queue.one("SELECT count(*) FROM chancery_store.serial_intent") == 62
    assert queue.one("SELECT count(*) FROM chancery_store.audit WHERE action = 'certificate.issued'") == 62


# ------------------------------------------------------------- claims and leases


def second_ca(queue):
    """CA 2, which issues "auto" too."""
    queue.execute(r"""
        SET search_path = chancery_store, pg_temp;
        INSERT INTO issuer_name (der, der_sha256, readable) VALUES ('\x3003', sha256('\x3003'), 'CN=Other');
        INSERT INTO ca (name, issuer_name_id, kind, state, policy) VALUES ('other', 2, 'subordinate', 'active', '');
        INSERT INTO ca_template VALUES (2, 'manual'), (2, 'auto')""")

    def submit_to(template="auto", count=1):
        for _ in range(count):
            as_service(queue, "chancery.submit_request('other', %s, '\\x3000'::bytea)", template)

    return submit_to


def cas_of(claims):
    return [sum(c["ca_id"] == n for c in claims) for n in (1, 2)]


def test_each_ca_gets_its_share(queue, issuer):
    """A backlog of one does not keep the others waiting, and takes what they leave."""
    submit_to = second_ca(queue)
    submit(queue, count=100)
    submit_to(count=3)
    assert cas_of(issuer.claim(limit=16, cas=(1, 2))) == [13, 3]
    assert cas_of(issuer.claim(limit=16, cas=(2, 1))) == [16, 0]
    submit_to(count=30)
    assert cas_of(issuer.claim(limit=16, cas=(1, 2))) == [8, 8]
    assert cas_of(issuer.claim(limit=200, cas=(1, 2))) == [63, 22]
    assert issuer.claim(cas=(1, 2)) == []


def test_requests_of_other_cas_are_left_to_others(queue, issuer):
    submit_to = second_ca(queue)
    submit_to(count=2)
    assert issuer.claim() == [] and issuer.claim(cas=()) == []
    submit(queue)
    assert cas_of(issuer.claim()) == [1, 0]
    assert cas_of(issuer.claim(cas=(1, 2))) == [0, 2]


def test_without_a_token_only_what_needs_no_signature_is_claimed(queue, issuer):
    submit(queue, count=3)
    manual, = submit(queue, "manual")
    claim, = issuer.claim(signs=False)
    assert claim["public_id"] == manual
    issuer.finish([claim])
    queue.execute("UPDATE chancery_store.request_queue SET state = 'approved', cleared = true, retry_at = now()"
                  " WHERE state = 'pending'")
    assert issuer.claim(signs=False) == []
    assert len(issuer.claim()) == 4


def test_a_look_begins_where_the_last_one_ended(queue, issuer):
    submit(queue, count=3)
    first, second = issuer.claim(limit=2)
    assert first["due_us"] < second["due_us"]
    assert len(issuer.claim(since_us=second["due_us"] + 1)) == 1
    assert issuer.release([first]) and issuer.claim(since_us=second["due_us"] + 1)  # due again from now on
    queue.execute("UPDATE chancery_store.request_queue SET lease_until = now()")
    assert issuer.call("sweep_leases()")[0]["sweep_leases"] == 3
    assert issuer.claim(since_us=int(time.time() * 1e6)) == []  # they have their old places
    assert len(issuer.claim()) == 3


def test_the_queue_is_left_behind_as_it_was(queue, issuer):
    """What was issued leaves nothing in the queue that a vacuum cannot clear away,
    and its updates touch no index."""
    submit_many(queue, [b"\x30\x00"] * 1024)
    for _ in range(4):
        claims = issuer.claim(limit=256)
        serials = [serial() for _ in claims]
        issuer.begin(claims, serials)
        issuer.complete(claims, [certificate(b"tbs" + s) for s in serials])
    issuer.connection.close()
    issuer.connection = queue.connect("chancery_issuer")
    queue.execute("VACUUM chancery_store.request_queue")
    queue.execute("VACUUM chancery_store.intent_tbs")
    assert queue.one("SELECT count(*) FROM chancery_store.request WHERE state = 'issued'") == 1024
    for table in ("request_queue", "intent_tbs"):
        assert queue.one(f"SELECT pg_relation_size('chancery_store.{table}')") == 0, table
    wait_until(lambda: queue.one("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'request_queue'") == 2048,
               what="the statistics")
    assert queue.one("SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'request_queue'") > 2048 * 0.8


def test_two_claimers_never_get_the_same_row(queue):
    submit(queue, count=300)
    got = []

    def work():
        issuer = Issuer(queue)
        while True:
            claims = issuer.claim(limit=7)
            if not claims:
                break
            got.extend(c["request_id"] for c in claims)
        issuer.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 300 and len(set(got)) == 300


def test_claim_passes_over_locked_rows(queue, issuer):
    first, second = submit(queue, count=2)
    holder = queue.connect(autocommit=False)
    with holder.cursor() as cursor:
        cursor.execute("SELECT FROM chancery_store.request_queue WHERE public_id = %s FOR UPDATE", (first,))
        assert [c["public_id"] for c in issuer.claim()] == [second]
    holder.close()


def test_oldest_is_claimed_first_and_released_ones_wait(queue, issuer):
    requests = submit(queue, count=3)
    claim, = issuer.claim(limit=1)
    assert claim["public_id"] == requests[0]
    assert issuer.release([claim], after_s=3600) == [claim["request_id"]]
    assert state(queue, requests[0]) == "submitted"
    assert sorted(c["public_id"] for c in issuer.claim()) == sorted(requests[1:])
    assert queue.execute("SELECT reason FROM chancery.request_status(%s)", (requests[0],), user="service_one") \
        == [("token away",)]
    queue.execute("UPDATE chancery_store.request_queue SET retry_at = now() WHERE state = 'submitted'")
    again, = issuer.claim()
    assert again["epoch"] == 2


def test_stale_epoch_can_do_nothing(queue, issuer, other_issuer):
    request, = submit(queue)
    late, = issuer.claim(lease_s=0)
    issuer.finish([late])
    number = serial()
    issuer.begin([late], [number], [b"tbs"])
    assert other_issuer.call("sweep_leases()")[0]["sweep_leases"] == 1
    assert state(queue, request) == "approved"
    claim, = other_issuer.claim()
    assert claim["epoch"] == 2
    # The issuer that was thought dead returns: nothing of it counts.
    der = certificate(b"tbs")
    assert issuer.complete([late], [der]) == []
    assert issuer.finish([late]) == {}
    assert issuer.begin([late], [number], [b"tbs"]) == []
    assert issuer.release([late]) == []
    assert issuer.finish([late], "failed", "x") == {}
    assert issuer.ids("extend_leases(%s::bigint[], %s::int[], 60)", *issuer.keys([late])) == []
    assert state(queue, request) == "claimed"
    # The retry carries serial and bytes of the first try, and may use no others.
    assert claim["serial"] == number and claim["tbs"] == b"tbs" and claim["generation_id"] == 1
    assert other_issuer.begin([claim]) == []
    assert other_issuer.begin([claim], [number], [b"other"]) == []
    assert other_issuer.begin([claim], [number], [b"tbs"]) == [claim["request_id"]]
    assert other_issuer.complete([claim], [der]) == [claim["request_id"]]
    assert queue.one("SELECT count(*) FROM chancery_store.serial_intent") == 1


def test_lease_can_be_extended(queue, issuer):
    submit(queue)
    claims = issuer.claim(lease_s=0)
    assert issuer.ids("extend_leases(%s::bigint[], %s::int[], 60)", *issuer.keys(claims)) == [claims[0]["request_id"]]
    assert issuer.call("sweep_leases()")[0]["sweep_leases"] == 0


def test_completion_is_repeatable_and_holds_to_the_committed_bytes(queue, issuer):
    request, = submit(queue)
    claims = issuer.claim()
    issuer.finish(claims)
    issuer.begin(claims, tbs=[b"t" * 300])
    assert issuer.complete(claims, [certificate(b"u" * 300)]) == []
    assert state(queue, request) == "signing"
    der = certificate(b"t" * 300)
    assert issuer.complete(claims, [der]) == [claims[0]["request_id"]]
    assert issuer.complete(claims, [der]) == [claims[0]["request_id"]]
    assert issuer.complete(claims, [certificate(b"t" * 300, b"another")]) == []
    assert queue.one("SELECT count(*) FROM chancery_store.certificate") == 1
    assert audit(queue, request).count("certificate.issued") == 1


def test_intent_can_be_given_up_for_another(queue, issuer):
    request, = submit(queue)
    claims = issuer.claim()
    issuer.finish(claims)
    first = serial()
    issuer.begin(claims, [first], [b"first"])
    issuer.release(claims)
    claims = issuer.claim()
    assert claims[0]["serial"] == first
    assert issuer.ids("abandon_intents(%s::bigint[], %s::int[])", *issuer.keys(claims)) == [claims[0]["request_id"]]
    second = serial()
    assert issuer.begin(claims, [second], [b"second"]) == [claims[0]["request_id"]]
    assert issuer.complete(claims, [certificate(b"first")]) == []
    assert issuer.complete(claims, [certificate(b"second")]) == [claims[0]["request_id"]]
    assert queue.one("SELECT count(*) FROM chancery_store.serial_intent WHERE request_id IS NOT NULL") == 2
    assert [bytes(row[0]) for row in queue.execute("SELECT tbs FROM chancery_store.intent_tbs")] == [b"first"]
    assert "serial.abandoned" in audit(queue, request)


def test_intent_is_given_up_while_signing(queue, issuer):
    """The signer could not tell whether its serial was used."""
    request, = submit(queue)
    claims = issuer.claim()
    issuer.finish(claims)
    issuer.begin(claims, [serial()], [b"first"])
    ids, epochs = issuer.keys(claims)
    assert issuer.ids("abandon_intents(%s::bigint[], %s::int[])", ids, [epoch + 1 for epoch in epochs]) == []
    assert issuer.ids("abandon_intents(%s::bigint[], %s::int[])", ids, epochs) == ids
    assert issuer.complete(claims, [certificate(b"first")]) == []
    issuer.release(claims)
    claims = issuer.claim()
    assert claims[0]["serial"] is None
    assert issuer.begin(claims, [serial()], [b"second"]) == ids
    assert issuer.complete(claims, [certificate(b"second")]) == ids
    assert queue.one("SELECT count(*) FROM chancery_store.serial_intent WHERE request_id IS NOT NULL") == 2


def test_serials_that_the_signer_does_not_take(queue, issuer):
    """Each waits longer for the next one, and it does not go on for ever."""
    request, = submit(queue)
    claims = issuer.claim()
    issuer.finish(claims)
    issuer.release(claims)
    waits = []
    for turn in range(20):
        queue.execute("UPDATE chancery_store.request_queue SET retry_at = now()")
        claims = issuer.claim()
        assert claims[0]["serial"] is None
        issuer.begin(claims, [serial()], [b"%d" % turn])
        ids, epochs = issuer.keys(claims)
        refuse = "refuse_intents(%s::bigint[], %s::int[], %s::text[])"
        assert issuer.ids(refuse, ids, [epoch + 1 for epoch in epochs], ["stale"]) == []
        assert issuer.ids(refuse, ids, epochs, ["too old"]) == ids
        assert issuer.ids(refuse, ids, epochs, ["too old"]) == []
        waits += [float(row[0]) for row in queue.execute(
            "SELECT extract(epoch FROM retry_at - changed_at) FROM chancery_store.request_queue "
            "WHERE state = 'approved' AND reason = 'too old'")]
    assert [round(w) for w in waits] == [min(3600, 2 ** n) for n in range(19)]
    assert queue.execute("SELECT state, reason FROM chancery_store.request_end") == [("failed", "too old")]
    assert queue.one("SELECT count(*) FROM chancery_store.serial_intent") == 20
    assert audit(queue, request).count("serial.abandoned") == 20 and "request.failed" in audit(queue, request)


def test_serial_is_given_away_once(queue, issuer):
    submit(queue, count=2)
    claims = issuer.claim()
    issuer.finish(claims)
    number = serial()
    issuer.begin(claims[:1], [number], [b"content"])
    refusal("23505", issuer.begin, claims[1:], [number], [b"other content"])
    issuer.complete(claims[:1], [certificate(b"content")])
    assert "serial_intent_pkey" in refusal("23505", issuer.begin, claims[1:], [number], [b"other content"])
    assert issuer.begin(claims[1:]) == [claims[1]["request_id"]]


# -------------------------------------------------------- withdrawing, expiring


def test_withdrawing(queue, issuer):
    first, second, third = submit(queue, "manual", count=3)

    def withdraw(request, user="service_one"):
        queue.execute("SELECT chancery.withdraw_request(%s)", (request,), user=user)

    withdraw(first)
    assert state(queue, first) == "withdrawn"
    assert "withdrawn" in refusal("CH409", withdraw, first)
    assert "not yours" in refusal("CH404", withdraw, second, "service_two")
    claims = issuer.claim(limit=1)
    assert claims[0]["public_id"] == second
    assert "claimed" in refusal("CH409", withdraw, second)
    issuer.finish(claims)
    withdraw(second)  # pending
    assert audit(queue, second) == ["request.submitted", "request.checked", "request.withdrawn"]
    assert [c["public_id"] for c in issuer.claim()] == [third]


def test_pending_requests_expire(queue, issuer):
    request, = submit(queue, "manual")
    issuer.finish(issuer.claim())
    assert issuer.call("expire_requests('1 hour')")[0]["expire_requests"] == 0
    queue.execute("UPDATE chancery_store.request_queue SET changed_at = now() - interval '2 hours'")
    assert issuer.call("expire_requests('1 hour')")[0]["expire_requests"] == 1
    assert state(queue, request) == "expired"
    assert audit(queue, request)[-1] == "request.expired"


# ------------------------------------------------------------------------ hints


def listen(queue, *channels):
    """What comes in: a function that answers with what came since it was last asked."""
    listener = queue.connect("service_two")
    with listener.cursor() as cursor:
        for channel in channels:
            cursor.execute(f"LISTEN {channel}")

    def heard():
        with listener.cursor() as cursor:
            cursor.execute("SELECT 1")  # everything committed before has been delivered then
        found = [(n.channel, n.payload) for n in listener.notifies]
        del listener.notifies[:]
        return found

    return heard


def test_no_hints_while_an_issuer_has_promised_to_look(queue, issuer):
    heard = listen(queue, "chancery_request")
    submit(queue)
    wait_until(heard, what="the first hint")
    assert len(issuer.claim(look_ms=9000)) == 1
    submit(queue)
    assert heard() == []
    for value in (0, "extract(epoch from now())::bigint * 1000 + 3600000"):  # over; the clock was set back
        queue.execute(f"SELECT setval('chancery_store.issuer_looks_at', {value})")
        submit(queue)
        wait_until(heard, what="a hint without a promise")
    assert issuer.claim(look_ms=50) and issuer.claim(look_ms=9000) == []
    submit(queue)
    wait_until(heard, what="a hint shortly before the look")  # what found nothing promised nothing


def test_hints_travel_both_ways(queue, issuer):
    heard = listen(queue, "chancery_request", "chancery_done")
    submit(queue, count=5)
    found = []
    wait_until(lambda: found.extend(heard()) or found, what="a hint to the issuer")
    assert set(found) == {("chancery_request", "")} and len(found) == 1  # five in one transaction
    claims = issuer.claim()
    issuer.finish(claims)
    serials = [serial() for _ in claims]
    issuer.begin(claims, serials)
    del found[:]
    heard()
    issuer.complete(claims, [certificate(b"tbs" + s) for s in serials])
    wait_until(lambda: found.extend(heard()) or found, what="a hint to who waits")
    assert set(found) == {("chancery_done", "")}


# ------------------------------------------------------------------------ plans


BIG = """
SET session_replication_role = replica;  -- no triggers: finished requests at once
INSERT INTO chancery_store.request_record (ca_id, template_version_id, submitter, public_id, csr)
    SELECT 1, 1, 'sql:service_one', gen_random_uuid(), '\\x3000' FROM generate_series(1, 20000);
INSERT INTO chancery_store.serial_intent (issuer_name_id, serial, request_id, generation_id, scope_id, epoch, tbs_sha256)
    SELECT 1, '\\x01'::bytea || substr(sha256(id::text::bytea), 1, 19), id, 1, 1, 1, sha256('\\x')
    FROM chancery_store.request_record;
INSERT INTO chancery_store.certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, request_id,
    subject, not_before, not_after, spki_sha256, sha256, der)
    SELECT 1, serial, 1, 1, 1, request_id, 'CN=a', now(), now(), '', sha256(serial), '' FROM chancery_store.serial_intent;
"""
# Pages without rows, but for the last: what a crowd leaves behind.
CROWD_GONE = """
SET session_replication_role = replica;
INSERT INTO chancery_store.request_queue (request_id, ca_id, template_version_id, public_id, retry_at, state)
    SELECT -n, 1, 1, gen_random_uuid(), 'infinity', 'pending' FROM generate_series(1, 20000) n;
DELETE FROM chancery_store.request_queue WHERE request_id > -20000;
"""
ROUNDS = 8


@pytest.mark.parametrize("analysed", ["while empty", "vacuumed while empty", "when full"])
def test_each_row_is_found_by_its_key(queue, issuer, analysed):
    """However wrong the statistics: no sequential scan, and as many rows read
    as the batches have, not as the tables hold."""
    tables = ("request_record", "request_queue", "request_end", "serial_intent", "certificate", "intent_tbs",
              "request_summary", "decision", "credential")

    def read():
        for connection in (issuer.connection, queue_reader):
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_stat_force_next_flush()")
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        return {name: (scans, rows) for name, scans, rows in queue.execute(
            "SELECT relname, seq_scan, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
            " WHERE relname = ANY (%s)", (list(tables),))}

    def looks():
        """Only a claim looks for what is due."""
        return queue.one("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'request_due'")

    queue_reader = queue.connect()
    if analysed != "when full":
        if analysed == "vacuumed while empty":
            queue.execute(CROWD_GONE)
            queue.execute("VACUUM chancery_store.request_queue")
        queue.execute("ANALYZE")
        issuer.claim()
        queue.execute(BIG)
    else:
        queue.execute(BIG + "ANALYZE")
    submit(queue, count=64 * ROUNDS)
    before, looked = read(), looks()
    for _ in range(ROUNDS):
        claims = issuer.claim()
        issuer.finish(claims)
        serials = [serial() for _ in claims]
        ders = [certificate(b"tbs" + s) for s in serials]
        assert len(issuer.begin(claims, serials)) == 64
        issuer.ids("extend_leases(%s::bigint[], %s::int[], 60)", *issuer.keys(claims))
        assert len(issuer.complete(claims, ders)) == 64
        issuer.complete(claims, ders)  # a repeat
        issuer.release(claims)
        issuer.call("sweep_leases()")
        issuer.call("expire_requests('1 hour')")
    after = read()
    for table in tables:
        assert after[table][0] == before[table][0], f"sequential scan of {table}"
        assert after[table][1] - before[table][1] < 64 * ROUNDS * 25, table
    assert looks() - looked <= 4 * ROUNDS
    queue_reader.close()


NEW_CA = """
SET search_path = chancery_store;
INSERT INTO issuer_name (der, der_sha256, readable) VALUES ('\\x3001', sha256('\\x3001'), 'CN=New');
INSERT INTO token_key (token, cka_id, label, purpose, algorithm, spki, spki_sha256)
    VALUES ('main', '\\x02', 'new', 'ca', 'rsa2048', '\\x03', sha256('\\x03'));
INSERT INTO ca (name, issuer_name_id, kind, state, policy) SELECT 'new', max(id), 'subordinate', 'active', '' FROM issuer_name;
INSERT INTO generation (ca_id, certificate_index, key_index, token_key_id, state, certificate, chain)
    SELECT max(id), 0, 0, (SELECT max(id) FROM token_key), 'active', '\\x3001', ARRAY['\\x3002'::bytea] FROM ca;
"""


def test_a_ca_that_has_issued_nothing_does_not_look_at_all_others_certificates(queue):
    queue.execute(BIG)
    queue.execute("ANALYZE")
    queue.execute(NEW_CA)
    (plan,), = queue.execute("SET search_path = chancery_store; EXPLAIN (ANALYZE, FORMAT JSON) SELECT name, issued FROM load_cas()")

    def read(node):
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return (rows if node.get("Relation Name") == "certificate" else 0) + sum(map(read, node.get("Plans", [])))

    assert queue.execute("SET search_path = chancery_store; SELECT name, issued FROM load_cas() ORDER BY name") == [("demo", True), ("new", False)]
    assert read(plan[0]["Plan"]) <= 10, plan


def test_a_thumbprint_is_found_part_by_part(queue):
    """In whichever part of the index; each part is asked by the index, until one has it."""
    queue.execute(BIG)
    queue.execute("SET search_path = chancery_store; ALTER TABLE certificate ALTER id RESTART WITH 3000000")
    queue.execute("SET session_replication_role = replica; SET search_path = chancery_store; INSERT INTO certificate (issuer_name_id, serial, ca_id, generation_id, "
                  "scope_id, subject, not_before, not_after, spki_sha256, sha256, der) SELECT issuer_name_id, sha256(serial), ca_id, "
                  "generation_id, scope_id, subject, not_before, not_after, spki_sha256, sha256('new'), der FROM certificate LIMIT 1")
    queue.execute("ANALYZE")
    for which in ("id = 3000000", "id = (SELECT min(id) FROM chancery_store.certificate)"):
        number, = queue.execute("SELECT id, encode(sha256, 'hex') FROM chancery_store.certificate WHERE " + which)
        found = queue.execute(f"SELECT id FROM chancery_store.certificate_by_sha256('\\x{number[1]}')")
        assert found == [(number[0],)]
    assert queue.execute("SELECT id FROM chancery_store.certificate_by_sha256(sha256('none'))") == []
    body = queue.execute("SELECT prosrc FROM pg_proc WHERE proname = 'certificate_by_sha256'")[0][0]
    (plan,), = queue.execute("SET search_path = chancery_store; PREPARE look (bytea) AS " + body.replace("p_sha256", "$1")
                             + "; EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE look (sha256('none'))")
    scans = []

    def walk(node):
        if node.get("Relation Name") == "certificate" and node["Actual Loops"] > 1:
            scans.append(node)
        for inner in node.get("Plans", []):
            walk(inner)

    walk(plan[0]["Plan"])
    (scan,) = scans
    assert scan["Index Name"] == "certificate_thumbprint" and scan["Actual Loops"] == 3000000 // 2**18 + 1, plan
    assert scan.get("Rows Removed by Filter", 0) == scan.get("Rows Removed by Index Recheck", 0) == 0, plan


def test_check_waits_for_a_sweep_and_then_sees_it(queue, issuer, other_issuer):
    """A call that waited for a row's lock judges the row as it is then."""
    submit(queue)
    claims = issuer.claim(lease_s=0)
    other_issuer.connection.autocommit = False
    assert other_issuer.call("sweep_leases()")[0]["sweep_leases"] == 1
    answers = []
    thread = threading.Thread(target=lambda: answers.append(issuer.finish(claims)))
    thread.start()
    wait_until(lambda: queue.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                                 " AND usename = 'chancery_issuer' AND datname = current_database()") == 1,
               what="the check to wait")
    other_issuer.connection.commit()
    thread.join()
    assert answers == [{}]
    assert queue.one("SELECT state FROM chancery_store.request") == "submitted"
