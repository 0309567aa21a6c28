"""Entries of PINs at the front: what is none, or is not signed by the key beside it, goes no further."""

import os

import pytest
from harness import pin
from harness.clients import self_signed
from harness.decisions import Key
from harness.front import Front, Rows

START = "ab" * 16


@pytest.fixture(scope="module")
def front(postgres, migrated, new_dir):
    front = Front(new_dir("f"), postgres.database(migrated))
    front.rows = Rows(front.database)
    front.database.execute("SET search_path = chancery_store; SELECT report_token(1, 'main', 'locked', 'waits', '', '', '', 1,"
                           " 0, now(), NULL, NULL, 'session', %s, 'text', '\\x01', '\\x02')", (START,))
    front.start()
    yield front
    assert front.stop() == 0


def hand_in(front, entry, token="main", expect=202):
    answer = front.api.post(f"/v1/tokens/{token}/pin", entry)
    assert answer.status == expect, answer
    return answer


def test_what_is_no_entry_is_refused(front):
    key, other = Key(), Key()
    body = pin.envelope("main", START, key)
    good = pin.entry("pin-lock", "main", body, key)

    def refused(words, expect=400, token="main", **changes):
        assert words in hand_in(front, {**good, **changes}, token, expect).error_message

    refused("handed in for token other", token="other")
    refused("another envelope", body=pin.envelope("main", "cd" * 16, key))
    refused("signature", expect=403, spki=pin.entry("pin-lock", "main", body, other)["spki"])
    refused("signature", expect=403, statement=pin.entry("pin-lock", "main", body, key)["statement"])
    refused("envelope", body=body[:-1])
    refused("base64", spki="*")
    refused("base64", signature="A" * 150)
    for action in ("pin-unlock", "pin-operate"):  # which carry a PIN
        entry = pin.entry(action, "main", body, key)
        hand_in(front, entry, expect=400)
    operate = pin.envelope("main", START, key, operations=["order - " + "00" * 32])
    hand_in(front, pin.entry("pin-lock", "main", operate, key), expect=400)
    assert front.database.one("SELECT count(*) FROM chancery_store.pin_entry") == 0


def test_an_entry_is_kept_until_its_signer_takes_it(front, new_dir):
    key = Key()
    entry = pin.entry("pin-lock", "main", pin.envelope("main", START, key), key)
    answer = hand_in(front, entry).json()
    assert (answer["state"], answer["signer_id"], answer["operator_sha256"]) == ("queued", 1, key.sha256.hex())
    assert hand_in(front, entry).json() == answer
    assert front.api.get(f"/v1/pin/entries/{answer['id']}").json() == answer
    stranger = front.https(self_signed(new_dir("t"), "stranger"))
    assert stranger.post("/v1/tokens/main/pin", entry).status == 403
    gone = hand_in(front, pin.entry("pin-lock", "main", pin.envelope("main", os.urandom(16).hex(), key), key)).json()
    assert gone["state"] == "refused" and "started anew" in gone["outcome"]


def test_pieces_of_what_waits(front):
    demo = front.rows.ca("demo", ["tls-server"])
    artifact = front.rows.artifact(demo, "crl", 1, b"head")
    front.database.execute("INSERT INTO chancery_store.artifact_chunk (artifact_id, position, data) VALUES (%s, 1, 'ab'),"
                           " (%s, 2, 'cd')", (artifact, artifact))
    front.database.execute("DELETE FROM chancery_store.artifact_chunk WHERE artifact_id = %s AND position NOT IN (1, 2)",
                           (artifact,))
    front.database.execute("INSERT INTO chancery_store.crl (scope_id, number, delta, scheduled, this_update, next_update,"
                           " state, artifact_id) VALUES (%s, 1, false, true, now(), now(), 'awaiting-pin', %s)",
                           (demo.scope, artifact))
    operation, = front.database.execute(
        "INSERT INTO chancery_store.pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, crl_id, expires_at)"
        " SELECT 'main', 1, 'crl', 'demo', '1', '\\x01', sha256('abcd'), id, now() FROM chancery_store.crl"
        " RETURNING public_id::text")[0]
    first = front.api.get(f"/v1/pin/operations/{operation}/tbs").json()
    assert (first["piece"], first["pieces"], first["tbs"]) == (0, 2, "YWI=")
    assert front.api.get(f"/v1/pin/operations/{operation}/tbs", piece=1).json()["tbs"] == "Y2Q="
    assert front.api.get(f"/v1/pin/operations/{operation}/tbs", piece=2).status == 404
    assert front.api.get(f"/v1/pin/operations/{operation}/tbs", piece=-1).status == 400
    listed = front.api.get("/v1/pin/operations", token="main").json()
    assert [o["id"] for o in listed["operations"]] == [operation] and listed["next"] is None
