"""What the front refuses at once of operators' statements, lists in pages, and
what its database role cannot do."""

import base64
import hashlib
import os
import threading

import psycopg2
import pytest
from harness import limits
from harness.clients import openssl_csr, self_signed
from harness.decisions import Key
from harness.front import Front, Rows, decision, statement


@pytest.fixture(scope="module")
def front(postgres, migrated, new_dir):
    front = Front(new_dir("f"), postgres.database(migrated))
    front.rows = Rows(front.database)
    front.demo = front.rows.ca("demo", ["tls-server"])
    front.start()
    front.csr = openssl_csr(new_dir("c"), "a", dns=["a.example"])
    yield front
    assert front.stop() == 0


@pytest.fixture(scope="module")
def keys(front):
    """Keys of operators by role. The first person makes the unsigned way close."""
    made = {}
    for role in ("administrator", "manager", "auditor", "former"):
        made[role] = os.urandom(91)
        front.rows.person(role, ["manager"] if role == "former" else [role], "operator_key", made[role])
    front.database.execute(
        "UPDATE chancery_store.credential SET revoked_at = now() FROM chancery_store.person p "
        "WHERE p.id = person_id AND p.name = 'former'"
    )
    made["stranger"] = os.urandom(91)
    return made


def hand_in(front, key, action, body=None, expect=202, **fields):
    """The answer to a statement, whose status must be the expected one."""
    answer = front.api.post("/v1/decisions", decision(statement(action, **fields), key, body))
    assert answer.status == expect, answer
    return answer


def settle(front, answer, state="applied"):
    """What the issuer does with a decision, as far as it is this row."""
    front.database.execute(
        "UPDATE chancery_store.decision SET state = %s WHERE public_id = %s", (state, answer.json()["id"])
    )


def pending(front):
    request = front.api.submit("demo", "tls-server", front.csr.pem)
    front.rows.checked(request)
    return request


def about(front, request):
    answer = front.api.get(f"/v1/requests/{request}").json()
    return {"ca": "demo", "object": request, "csr": answer["csr_sha256"], "template": answer["template"]}


def test_first_operator(postgres, migrated, new_dir):
    """Unsigned once, at the Unix socket, by root or the daemon's own user."""
    front = Front(new_dir("f"), postgres.database(migrated))
    rows = Rows(front.database)
    front.start()
    body = "alice administrator,manager\n-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"
    text = statement("operator-add", object="alice", body=hashlib.sha256(body.encode()).hexdigest())
    client = self_signed(new_dir("c"), "client")
    assert front.https(client).post("/v1/decisions", {"statement": text, "body": body}).status == 403
    answer = front.api.post("/v1/decisions", {"statement": text, "body": body})
    assert answer.status == 202
    # The same again, because the answer was lost: the same answer.
    assert front.api.post("/v1/decisions", {"statement": text, "body": body}).json() == answer.json()
    assert front.api.get(f"/v1/decisions/{answer.json()['id']}").json()["received_via"] == f"uid:{os.getuid()}"
    unsigned = {"statement": statement("crl-issue", ca="demo", object="full")}
    answer = front.api.post("/v1/decisions", unsigned)
    assert answer.status == 403 and "must be signed" in answer.error_message
    rows.person("alice", ["administrator"], "operator_key", b"k")
    text = statement("operator-add", object="bob", body=hashlib.sha256(body.encode()).hexdigest())
    assert front.api.post("/v1/decisions", {"statement": text, "body": body}).status == 403
    assert front.stop() == 0


def test_who_may_sign(front, keys):
    for key, word in (("stranger", "not registered"), ("former", "no longer valid"), ("auditor", "no manager"),
                      ("administrator", "no manager")):  # fmt: skip
        answer = hand_in(front, keys[key], "crl-issue", ca="demo", object="full", expect=403)
        assert word in answer.error_message
    apply = statement("template-apply", object="x", body=hashlib.sha256(b"x").hexdigest())
    answer = front.api.post("/v1/decisions", decision(apply, keys["manager"], "x"))
    assert answer.status == 403 and "no administrator" in answer.error_message


def test_malformed_statements(front, keys):
    good = decision(statement("crl-issue", ca="demo", object="full"), keys["manager"])
    for change in (
        {"statement": good["statement"] + "\n"},
        {"statement": good["statement"].replace("\n", "\r\n")},
        {"statement": good["statement"].replace("action: crl-issue", "action: do-it")},
        {"statement": good["statement"].replace("object: full", "object: some")},
        {"statement": "a" * 3000},
        {"signature": "!"},
        {"signature": "AAA"},
        {"signature": "AB=="},
        {"signature": base64.b64encode(b"0" * 200).decode()},
        {"signature": None},
        {"credential": "zz" * 32},
        {"credential": "00"},
        {"body": "what nobody asked for"},
        {"reason": "no such key"},
        {"statement": statement("crl-issue", ca="demo", object="full", issued=-1000, life=600)},
        {"statement": statement("crl-issue", ca="demo", object="full", issued=300)},
        {"statement": statement("crl-issue", ca="demo", object="full", life=5000)},
    ):
        answer = front.api.post("/v1/decisions", {**good, **change})
        assert answer.status == 400 and answer.error_code == "input", (change, answer)
    body = hashlib.sha256(b"name: x").hexdigest()
    apply = statement("template-apply", object="x", body=body)
    for wrong in (None, "name: y"):
        answer = front.api.post("/v1/decisions", decision(apply, keys["administrator"], wrong))
        assert answer.status == 400


def test_nonce_is_used_once(front, keys):
    nonce = os.urandom(16).hex()
    answer = hand_in(front, keys["manager"], "crl-issue", ca="demo", object="full", nonce=nonce)
    again = hand_in(front, keys["manager"], "crl-issue", ca="demo", object="delta", nonce=nonce, expect=409)
    assert "nonce" in again.error_message
    settle(front, answer)


def test_approve_and_deny(front, keys):
    manager = keys["manager"]
    request = pending(front)
    fields = about(front, request)
    nobody = {**fields, "object": "00000000-0000-0000-0000-000000000000"}
    hand_in(front, manager, "approve", expect=404, **nobody)
    for change in ({"csr": "00" * 32}, {"template": "tls-server/2"}, {"ca": "other"}):
        hand_in(front, manager, "approve", expect=409, **{**fields, **change})
    first = hand_in(front, manager, "approve", **fields)
    answer = hand_in(front, manager, "approve", expect=409, **fields)  # twice, while the first is worked on
    assert "being carried out" in answer.error_message
    settle(front, first)
    front.rows.move(request, "approved")
    answer = hand_in(front, manager, "approve", expect=409, **fields)
    assert f"request {request} is approved already" in answer.error_message
    answer = hand_in(front, manager, "deny", reason="too late", expect=409, **fields)
    assert "approved already" in answer.error_message

    denied = pending(front)
    fields = about(front, denied)
    settle(front, hand_in(front, manager, "deny", reason="not ours", **fields))
    front.rows.move(denied, "denied")
    answer = hand_in(front, manager, "approve", expect=409, **fields)
    assert "denied already" in answer.error_message
    answer = hand_in(front, manager, "deny", reason="again", expect=409, **fields)
    assert answer.error_code == "conflict"

    unchecked = front.api.submit("demo", "tls-server", front.csr.pem)
    answer = hand_in(front, manager, "approve", expect=409, **{**fields, "object": unchecked})
    assert "being checked" in answer.error_message


def test_a_refused_decision_frees_its_request(front, keys):
    request = pending(front)
    fields = about(front, request)
    settle(front, hand_in(front, keys["manager"], "approve", **fields), "refused")
    hand_in(front, keys["manager"], "approve", **fields)


def test_two_at_the_same_moment(front, keys):
    """Many operators press approve at once: one decision is taken."""
    fields = about(front, pending(front))
    statuses = []

    def press():
        text = statement("approve", **fields)
        statuses.append(front.api.post("/v1/decisions", decision(text, keys["manager"])).status)

    threads = [threading.Thread(target=press) for _ in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(statuses) == [202] + [409] * 11


def test_revoke_hold_release(front, keys):
    manager = keys["manager"]
    sha256, serial = front.rows.certificate(front.demo)
    fields = {"ca": "demo", "object": sha256}

    def status(expected, word, action, reason="-"):
        answer = hand_in(front, manager, action, reason=reason, expect=expected, **fields)
        if expected == 202:
            settle(front, answer)
        else:
            assert word in answer.error_message, answer

    hand_in(front, manager, "revoke", ca="demo", object="00" * 32, reason="superseded", expect=404)
    hand_in(front, manager, "revoke", ca="other", object=sha256, reason="superseded", expect=409)
    status(409, "is not on hold", "release")
    status(202, "", "hold", "certificateHold")
    front.rows.revocation(front.demo, serial, 6)
    assert front.api.get(f"/v1/certificates/{serial}").json()["status"] == "on-hold"
    status(409, "on hold already", "hold", "certificateHold")
    status(202, "", "release")
    status(202, "", "revoke", "keyCompromise")
    front.rows.revocation(front.demo, serial, 1)
    answer = front.api.get(f"/v1/certificates/{sha256}").json()
    assert (answer["status"], answer["revocation_reason"]) == ("revoked", "keyCompromise")
    status(409, "revoked already", "revoke", "superseded")
    status(409, "revoked already", "hold", "certificateHold")
    status(409, "only a hold can be released", "release")


def test_orders_for_cas(front, keys):
    administrator = Key()
    front.rows.person("ceremonious", ["administrator"], "operator_key", administrator.spki)

    def order(action, expect=202, body="chain", **fields):
        text = statement(action, body=hashlib.sha256(body.encode()).hexdigest(), **fields)
        answer = front.api.post("/v1/decisions", decision(text, administrator, body))
        assert answer.status == expect, answer
        return answer

    def create(name, expect=202, key=administrator):
        made = limits.document(name, [limits.operator("ceremonious", key)], limits.name_der(name), policy="kind: root")
        return order("ca-create", expect, limits.body(made, "kind: root"), ca=name, object=name)

    create("demo", 409)
    first = create("new")
    assert first.json()["state"] == "queued" and first.json()["missing"] == 0
    create("new", 409)
    settle(front, first)
    assert "do not name this key as that of operator" in create("newer", 403, Key()).error_message
    order("ca-install", 404, ca="nobody", object="nobody")
    order("ca-install", 409, ca="demo", object="demo")
    hand_in(front, keys["manager"], "crl-issue", ca="nobody", object="full", expect=404)
    front.database.execute("UPDATE chancery_store.ca SET state = 'awaiting-certificate' WHERE name = 'demo'")
    hand_in(front, keys["manager"], "crl-issue", ca="demo", object="full", expect=409)
    assert order("ca-install", 409, ca="demo", object="demo").error_message == 'CA "demo" has no limits'
    front.rows.limits(front.demo, limits.document("demo", [limits.operator("ceremonious", administrator)],
                                                  limits.name_der("demo")))
    settle(front, order("ca-install", ca="demo", object="demo"))
    front.database.execute("UPDATE chancery_store.ca SET state = 'active' WHERE name = 'demo'")


# ------------------------------------------------------------------- lists


def pages(front, path, key, limit, **query):
    """All objects of a list, page by page."""
    found, after = [], None
    while True:
        answer = front.api.get(path, limit=limit, **({"after": after} if after else {}), **query)
        assert answer.status == 200, answer
        page = answer.json()
        assert len(page[key]) <= limit
        found += page[key]
        after = page["next"]
        if after is None:
            return found


def test_pages(front):
    other = front.rows.ca("pages")
    made = [front.api.submit("pages", "tls-server", front.csr.pem) for _ in range(7)]
    certificates = [front.rows.certificate(other, name=f"n{i}.example")[0] for i in range(7)]
    for limit in (1, 3, 7, 1000):
        assert [r["id"] for r in pages(front, "/v1/requests", "requests", limit, ca="pages")] == made[::-1]
        assert [c["sha256"] for c in pages(front, "/v1/certificates", "certificates", limit, ca="pages")] == (
            certificates[::-1]
        )
    front.rows.move(made[3], "withdrawn")
    assert [r["id"] for r in pages(front, "/v1/requests", "requests", 2, ca="pages", state="withdrawn")] == [made[3]]
    names = [a["name"] for a in pages(front, "/v1/cas", "cas", 1)]
    assert names == sorted(names) and {"demo", "pages"} <= set(names)
    assert front.api.get("/v1/requests", after="x").status == 404
    assert front.api.get("/v1/requests", state="gone").status == 400
    assert front.api.get("/v1/certificates", serial="xyz").status == 400
    assert front.api.get("/v1/certificates", sha256=certificates[0]).json()["certificates"][0]["sha256"] == certificates[0]
    sha256 = certificates[0]
    upper = ":".join(sha256[i : i + 2] for i in range(0, 64, 2)).upper()
    assert front.api.get(f"/v1/certificates/{upper}").json()["sha256"] == sha256


@pytest.mark.parametrize("ca", ["NULL", "1"])
@pytest.mark.parametrize("submitter", ["NULL", "'uid:7'"])
@pytest.mark.parametrize("state", ["NULL", "'pending'", "'issued'", "'denied'"])
def test_lists_are_served_by_an_index(front, ca, submitter, state):
    """Whatever the filter, an index gives the page in its order."""
    plan, = plans(front, "ROLE chancery_api",
                  f"SELECT chancery_store.api_request_page({state}, {ca}, {submitter}, 1000000, 100)", "LIMIT")
    assert plan.count("Index") >= (1 if state == "NULL" else 2), plan
    assert "Sort" not in plan and "Seq Scan" not in plan, plan


def test_who_waits_is_served_by_an_index(front):
    plan, = plans(front, "SESSION AUTHORIZATION chancery_front",
                  "SELECT chancery.api_settled(ARRAY[gen_random_uuid()::text], ARRAY[gen_random_uuid()::text])", "UNION ALL")
    assert plan.count("Index") >= 3 and "Seq Scan" not in plan, plan


def plans(front, who, call, words):
    """How statements with these words are carried out in a call, by somebody whom
    policies bind. The planner is told to prefer indexes, because the tables are small
    here."""
    connection = front.database.connect()
    with connection.cursor() as cursor:
        cursor.execute("LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET client_min_messages = log;"
                       f"SET auto_explain.log_nested_statements = on; SET {who};"
                       "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
        cursor.execute(call)
    found = [n[n.index(words):] for n in connection.notices if words in n]
    connection.close()
    return found


# ------------------------------------------------- the role of the database


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM chancery_store.request",
        "SELECT * FROM chancery_store.credential",
        "INSERT INTO chancery_store.decision DEFAULT VALUES",
        "UPDATE chancery_store.request_queue SET state = 'approved'",
        "DELETE FROM chancery_store.audit",
        "SELECT chancery_store.claim_requests(ARRAY[1], ARRAY[0], ARRAY[true], 1, 1)",
        "SELECT chancery_store.apply_request_decision(1, 1)",
        "SELECT chancery_store.enqueue_request('sql:x', 'demo', 'tls-server', '\\x30', '{}', null)",
        "SELECT chancery_store.api_find_ca('demo')",
        "SELECT chancery.submit_request('demo', 'tls-server', '\\x3000'::bytea)",
        "CREATE TABLE chancery.x (y int)",
        "CREATE TABLE public.x (y int)",
        "SET ROLE chancery_issuer",
        "SET ROLE chancery_api",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ],
)
def test_the_front_cannot(front, sql):
    with pytest.raises(psycopg2.Error) as refused:
        front.database.execute(sql, user="chancery_front")
    assert refused.value.pgcode == "42501", refused.value


def test_the_front_cannot_submit_for_a_service(front):
    with pytest.raises(psycopg2.Error) as refused:
        front.database.execute(
            "SELECT chancery.api_submit('sql:service_one', 'demo', 'tls-server', '\\x3000', null, null)",
            user="chancery_front",
        )
    assert refused.value.pgcode == "CH401"
