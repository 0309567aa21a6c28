"""The whole job with a token whose PIN persons enter."""

import base64
import json
import os
import threading

import pytest
from harness import clients
from harness.authority import locations
from harness.persons import Persons
from harness.process import wait_until


@pytest.fixture
def new_persons(postgres, migrated, new_dir):
    made = []

    def make(access, **options):
        made.append(Persons(new_dir("p"), postgres.database(migrated), access, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_main_job_by_operation(new_persons):
    a = new_persons("operation")
    a.create()
    requests = [a.submit(clients.openssl_csr(a.files, f"r{i}", dns=[f"r{i}.example"])) for i in range(3)]
    for request in requests:
        a.approve(request)
    shown = a.enter_for("certificate", 3)
    assert all(f"dns:r{i}.example" in shown for i in range(3))
    for request in requests:
        a.wait_state(request, "issued")
    a.enter_until(lambda: {d for _, d in a.crls()} == {True, False}, "a CRL and a delta CRL")
    # The next ones are announced with what they need.
    assert {(c["kind"], c["pin"]) for c in a.cli.json("crl", "forecast", a.issuing)["crls"]} == {("crl", True), ("delta-crl", True)}
    # An order, too; one entry covers the complete CRL and the delta that goes with it.
    before = max(n for n, _ in a.crls())
    a.cli("crl", "issue", a.issuing)
    shown = a.enter_for("crl", 2)
    assert "2 operations" in shown, shown
    wait_until(lambda: {(before + 1, False), (before + 1, True)} <= set(a.crls()), what="both CRLs")
    # Who lists the complete one alone gets that, and the delta waits for another entry.
    a.cli("crl", "issue", a.issuing)
    wait_until(lambda: len(a.waiting("crl")) == 2, what="both to wait")
    a.entered("pin", "enter", a.waiting("crl")[0]["id"])
    wait_until(lambda: (before + 2, False) in a.crls() and len(a.waiting("crl")) == 1, what="the complete CRL")
    assert (before + 2, True) not in a.crls()
    a.enter_for("crl")
    wait_until(lambda: (before + 2, True) in a.crls(), what="the delta CRL")
    # What waits is displaced as one.
    a.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() WHERE ca_id = (SELECT id FROM chancery_store.ca "
                       "WHERE name = %s)", (a.issuing,))
    old = wait_until(lambda: len(w := a.waiting("crl")) == 2 and {o["id"] for o in w}, what="both to wait")
    a.cli("crl", "issue", a.issuing)
    wait_until(lambda: len(w := a.waiting("crl")) == 2 and not old & {o["id"] for o in w}, what="others in their place")
    a.enter_for("crl", 2)
    wait_until(lambda: {(before + 4, False), (before + 4, True)} <= set(a.crls()), what="both CRLs")
    assert not a.waiting("crl")


def test_main_job_by_session(new_persons):
    a = new_persons("session")
    a.create()
    requests = [a.certificate(f"r{i}") for i in range(3)]
    assert len(requests) == 3
    wait_until(lambda: {d for _, d in a.crls()} == {True, False}, what="a CRL and a delta CRL")
    a.cli("token", "lock", "main")
    request = a.submit(clients.openssl_csr(a.files, "late", dns=["late.example"]))
    a.approve(request)
    reason = wait_until(lambda: a.api.get(f"/v1/requests/{request}").json()["reason"], what="a reason to wait")
    assert "main" in reason and "alice" in reason, reason
    assert a.state(request) == "approved"
    # A CRL that is due is not begun, and missed aloud.
    before = a.crls()
    a.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now()")
    alarm = wait_until(lambda: a.api.get(f"/v1/cas/{a.issuing}").json()["crls"][0]["alarm"], what="an alarm")
    assert "locked" in alarm and "alice" in alarm and a.crls() == before
    a.unlock("--for", "1h", "--signatures", "100")
    a.wait_state(request, "issued")
    wait_until(lambda: len(a.crls()) > len(before), what="the CRL that was due")
    assert a.api.get(f"/v1/cas/{a.issuing}").json()["crls"][0]["alarm"] is None
    row = a.token_row()
    assert row["unlocked_by"] == "alice" and row["unlocked_until"] and row["signatures_left"] <= 100
    # The signer starts anew, and is locked.
    a.daemon.kill_role("signer")
    wait_until(lambda: a.token_row()["state"] == "locked", what="the token to be locked again")


# -------------------------------------------------------- what an entry lets through


@pytest.fixture(scope="module")
def desk(postgres, migrated, new_dir):
    """access: operation, root and issuing CA without deltas."""
    one = Persons(new_dir("d"), postgres.database(migrated), "operation")
    one.daemon.config["issuer"]["crl_abstract_from"] = 0  # the signer says of each what it is
    try:
        one.create(deltas=False)
        one.enter_until(lambda: not one.waiting() and one.crls(), "nothing more to sign")
        yield one
    finally:
        one.close()


def submit(a, *names):
    """Approved requests, all at once."""
    ids = [a.api.submit(a.issuing, "tls-server", clients.openssl_csr(a.files, n, dns=[f"{n}.example"]).pem) for n in names]
    for request in ids:
        a.wait_state(request, "pending")
    a.cli("request", "approve", *ids, "--reason", "test")
    for request in ids:
        a.wait_state(request, "awaiting-pin")
    return ids


def operation_of(a, request):
    row, = (r for r in a.waiting() if r["object"] == request)
    return row


def audited(a, action):
    """Outcomes on record, oldest first."""
    return [o for o, in a.database.execute(
        "SELECT detail->>'outcome' FROM chancery_store.audit WHERE action = %s ORDER BY id", (action,))]


def test_twenty_with_one_pin_and_none_besides(desk):
    first = submit(desk, *(f"many{i}" for i in range(20)))
    listed = [operation_of(desk, r)["id"] for r in first]
    late, = submit(desk, "late")
    serials = {r["id"]: r["sha256"] for r in desk.waiting()}
    assert "20 operations" in desk.entered("pin", "enter", *listed).stderr
    for request in first:
        desk.wait_state(request, "issued")
    assert desk.state(late) == "awaiting-pin"
    operation = operation_of(desk, late)
    assert operation["sha256"] == serials[operation["id"]]
    desk.entered("pin", "enter", operation["id"])
    desk.wait_state(late, "issued")


def test_a_second_entry_waits_for_its_turn(desk):
    """The first one lists something that does not come; who locks the token overtakes the second."""
    gone, = submit(desk, "gone")
    second, = submit(desk, "second")
    first, mine = operation_of(desk, gone)["id"], operation_of(desk, second)["id"]
    # No issuer has it waiting any more when the signer has the PIN for it.
    desk.database.execute(
        "CREATE FUNCTION public.never() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN UPDATE chancery_store.pin_operation"
        " SET signer_id = 99 WHERE request_id IS NOT NULL AND object = '" + gone + "'; RETURN NEW; END $$;"
        " CREATE TRIGGER never BEFORE INSERT ON chancery_store.pin_entry FOR EACH ROW EXECUTE FUNCTION public.never()")
    try:
        desk.entered("pin", "enter", first)
        wait_until(lambda: desk.token_row()["signatures_left"] == 1, what="the entry under way")
        said = []
        entering = threading.Thread(target=lambda: said.append(desk.with_pin("pin", "enter", mine)))
        entering.start()
        waits = wait_until(lambda: desk.database.one(
            "SELECT count(*) FROM chancery_store.pin_entry WHERE state = 'queued'"), what="the entry to wait")
        assert waits == 1 and desk.state(second) == "awaiting-pin"
        desk.cli("token", "lock", "main")  # overtakes it, and ends the first one
        entering.join()
        assert said[0].returncode == 0, said[0]
        desk.wait_state(second, "issued")
    finally:
        desk.database.execute("DROP FUNCTION public.never() CASCADE; UPDATE chancery_store.pin_operation SET signer_id = 1")
    desk.enter_until(lambda: not desk.waiting(), "nothing to wait")


@pytest.fixture
def meddled(desk):
    """A function: what the database's owner does to the next entry (SQL on NEW)."""
    made = []

    def meddle(statement):
        made.append(1)
        desk.database.execute(
            "CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + statement +
            " RETURN NEW; END $$; CREATE TRIGGER meddle BEFORE INSERT ON chancery_store.pin_entry FOR EACH ROW"
            " EXECUTE FUNCTION public.meddle(); GRANT EXECUTE ON FUNCTION public.meddle() TO PUBLIC")

    yield meddle
    if made:
        desk.database.execute("DROP FUNCTION public.meddle() CASCADE; DROP TABLE IF EXISTS public.captured")


def test_what_the_database_owner_alters_is_refused(desk, meddled):
    """Another operation slipped in: the operator's signature is over what was sent."""
    mine, = submit(desk, "mine")
    other, = submit(desk, "other")
    wanted, slipped = operation_of(desk, mine), operation_of(desk, other)
    meddled(f"NEW.body := replace(NEW.body, '{wanted['sha256']}', '{slipped['sha256']}');")
    said = desk.with_pin("pin", "enter", wanted["id"])
    assert said.returncode == 1 and "refused" in said.stderr, said
    assert (desk.state(mine), desk.state(other)) == ("awaiting-pin", "awaiting-pin")
    assert "not the one that the operator signed" in audited(desk, "pin.refused")[-1]


def test_a_replay_is_refused(desk, meddled):
    request, = submit(desk, "replayed")
    desk.database.execute("CREATE TABLE public.captured AS SELECT * FROM chancery_store.pin_entry LIMIT 0;"
                          " GRANT INSERT ON public.captured TO PUBLIC")
    meddled("INSERT INTO public.captured SELECT NEW.*;")
    desk.entered("pin", "enter", operation_of(desk, request)["id"])
    desk.wait_state(request, "issued")
    waiting, = submit(desk, "waiting")
    desk.database.execute("DROP TRIGGER meddle ON chancery_store.pin_entry")
    before = len(audited(desk, "pin.refused"))
    desk.database.execute(
        "INSERT INTO chancery_store.pin_entry (token, signer_id, instance, action, operations, spki_sha256, nonce, statement,"
        " body, spki, signature, expires_at, received_via, state) SELECT token, signer_id, instance, action, operations,"
        " spki_sha256, substr(sha256('x'), 1, 16), statement, body, spki, signature, expires_at, received_via, 'queued'"
        " FROM public.captured")
    refused = wait_until(lambda: audited(desk, "pin.refused")[before:], what="the replay to be refused")
    assert "before" in refused[0] or "already" in refused[0] or "used" in refused[0], refused
    assert desk.state(waiting) == "awaiting-pin"


def test_an_entry_for_another_start_is_refused(desk, meddled):
    """The signer starts anew between the list and the entry, which is no hindrance; an entry for
    its former start is none any more, also when it is handed to the new one."""
    request, = submit(desk, "restarted")
    operation = operation_of(desk, request)
    old = desk.token_row()["start"]
    desk.daemon.kill_role("signer")
    wait_until(lambda: desk.token_row()["start"] not in (None, old), what="the signer's next start")
    desk.entered("pin", "enter", operation["id"])
    desk.wait_state(request, "issued")
    request, = submit(desk, "redirected")
    old = desk.token_row()["start"]
    # What is handed in waits, as if there were no issuer, until the signer has started anew.
    meddled("NEW.state := 'delivered';")
    entering = threading.Thread(target=lambda: seen.append(desk.with_pin("pin", "enter", operation_of(desk, request)["id"])))
    seen = []
    entering.start()
    entry = wait_until(lambda: desk.database.one(
        "SELECT max(id) FROM chancery_store.pin_entry WHERE state = 'delivered' AND body IS NOT NULL"), what="the entry")
    # Nobody takes one that was delivered; the front is told so when the signer is another one.
    desk.database.execute("UPDATE chancery_store.pin_entry SET instance = 'elsewhere', signer_id = 99 WHERE id = %s", (entry,))
    desk.daemon.kill_role("signer")
    start = wait_until(lambda: desk.token_row()["start"] if desk.token_row()["start"] not in (None, old) else None,
                       what="the signer's next start")
    instance, = (line.split()[1] for line in start.splitlines() if line.startswith("instance: "))
    desk.database.execute("UPDATE chancery_store.pin_entry SET state = 'queued', instance = %s, signer_id = 1 WHERE id = %s",
                          (instance, entry))
    entering.join()
    assert seen[0].returncode == 1 and "another start" in seen[0].stderr, seen[0]
    assert "another start" in audited(desk, "pin.refused")[-1]
    assert desk.state(request) == "awaiting-pin"


def test_a_wrong_pin_blocks_until_an_operator_clears_it(desk):
    request, = submit(desk, "wrong")
    desk.with_pin("pin", "enter", operation_of(desk, request)["id"], pin="000000")
    row = wait_until(lambda: desk.token_row() if desk.token_row()["state"] == "blocked" else None, what="the block")
    assert "clear" in row["sentence"] and "alice" in row["sentence"], row
    assert "blocked" in desk.cli("token", "list")
    wait_until(lambda: desk.state(request) == "awaiting-pin", what="the request to wait again")
    said = desk.with_pin("pin", "enter", operation_of(desk, request)["id"])
    assert said.returncode == 1 and "token clear main" in said.stderr, said
    desk.cli("token", "clear", "main")
    wait_until(lambda: desk.token_row()["state"] == "locked", what="the block to be lifted")
    desk.entered("pin", "enter", operation_of(desk, request)["id"])
    desk.wait_state(request, "issued")


def test_what_waited_too_long_gets_a_new_serial(desk):
    request, = submit(desk, "stale")
    old = operation_of(desk, request)
    desk.database.execute("UPDATE chancery_store.pin_operation SET expires_at = now()")
    new = wait_until(lambda: next((r for r in desk.waiting() if r["object"] == request and r["id"] != old["id"]), None),
                     what="a new serial")
    assert new["sha256"] != old["sha256"]
    desk.entered("pin", "enter", new["id"])
    desk.wait_state(request, "issued")


def test_a_waiting_crl_is_made_anew_for_a_compromise(desk):
    victim, = submit(desk, "victim")
    desk.entered("pin", "enter", operation_of(desk, victim)["id"])
    desk.wait_state(victim, "issued")
    desk.enter_until(lambda: not desk.waiting("crl"), "no CRL to wait")
    assert "waits for a PIN" in desk.cli("crl", "issue", desk.issuing)
    old, = desk.waiting("crl")
    sentence = desk.api.get(f"/v1/cas/{desk.issuing}").json()["crls"][0]["alarm"]
    assert "waits for a PIN" in sentence and "ends at" in sentence
    assert f"{desk.issuing}: {sentence}" in desk.cli("ca", "show", desk.issuing)
    desk.cli("cert", "revoke", victim, "--reason", "keyCompromise")
    new = wait_until(lambda: next((r for r in desk.waiting("crl") if r["id"] != old["id"]), None), what="another CRL")
    assert int(new["object"]) > int(old["object"])
    assert "revoked      1" in desk.entered("pin", "enter", new["id"]).stderr
    wait_until(lambda: int(new["object"]) in [n for n, _ in desk.crls()], what="the CRL")
    assert desk.api.get(f"/v1/cas/{desk.issuing}").json()["crls"][0]["alarm"] is None


def test_a_waiting_crl_is_made_anew_when_it_grew_stale(desk):
    """Nobody entered a PIN for a quarter of its life, at most three days: it is an old CRL by now."""
    desk.enter_until(lambda: not desk.waiting("crl"), "no CRL to wait")
    assert "waits for a PIN" in desk.cli("crl", "issue", desk.issuing)
    old, = desk.waiting("crl")
    waited, = desk.database.execute("SELECT extract(epoch FROM stale_at - this_update)::int FROM chancery_store.crl"
                                    " WHERE state = 'awaiting-pin'")[0]
    assert 86400 < waited <= 3 * 86400
    desk.database.execute("UPDATE chancery_store.crl SET this_update = this_update - interval '3 d', stale_at = now()"
                          " WHERE state = 'awaiting-pin'")
    new = wait_until(lambda: next((r for r in desk.waiting("crl") if r["id"] != old["id"]), None), what="another CRL")
    assert int(new["object"]) > int(old["object"]) and new["sha256"] != old["sha256"]
    assert desk.with_pin("pin", "enter", old["id"]).returncode != 0  # nobody signs that one any more
    desk.entered("pin", "enter", new["id"])
    wait_until(lambda: int(new["object"]) in [n for n, _ in desk.crls()], what="the CRL")
    assert int(old["object"]) not in [n for n, _ in desk.crls()]


def test_a_long_crl_is_shown_by_what_its_signer_says(desk):
    """And one that is short, where that is asked for: the PIN is then bound to the same digest."""
    desk.enter_until(lambda: not desk.waiting("crl"), "no CRL to wait")
    victim, = submit(desk, "told")
    desk.entered("pin", "enter", operation_of(desk, victim)["id"])
    desk.wait_state(victim, "issued")
    # CRLs tell whole seconds: what is revoked in that of the last one is not new to it.
    wait_until(lambda: desk.database.one("SELECT max(this_update) < date_trunc('second', clock_timestamp()) FROM chancery_store.crl"),
               what="a second in which there was no CRL")
    desk.cli("cert", "revoke", victim, "--reason", "superseded")
    desk.cli("crl", "issue", desk.issuing)
    row, = desk.waiting("crl")
    text = base64.b64decode(row["abstract"]).decode()
    told = dict(line.split(": ", 1) for line in text.splitlines())
    assert told["sha256"] == row["sha256"] and told["key"] == row["cka_id"] and told["number"] == row["object"]
    assert "reason: superseded 1\n" in text and int(told["entries"]) >= 1
    assert told["new"] == "1" and told["last"] < told["this-update"]  # since the one before
    # So many pieces are not fetched, whatever is said of the digest.
    artifact = "(SELECT artifact_id FROM chancery_store.crl WHERE id = (SELECT crl_id FROM chancery_store.pin_operation" \
               f" WHERE public_id = '{row['id']}'))"
    desk.database.execute(f"INSERT INTO chancery_store.artifact_chunk (artifact_id, position, data) SELECT {artifact}, n, 'x'"
                          " FROM generate_series(100, 140) n")
    assert "It was not fetched" in desk.cli.result("pin", "enter", row["id"], "--pin-fd", "99").stderr
    desk.database.execute(f"DELETE FROM chancery_store.artifact_chunk WHERE artifact_id = {artifact} AND position >= 100")
    assert "It was not fetched" not in desk.cli.result("pin", "enter", row["id"], "--pin-fd", "99").stderr
    shown = desk.entered("pin", "enter", row["id"], "--summary").stderr
    assert "It was not fetched" in shown and "1 superseded" in shown and "1 since the last one" in shown
    wait_until(lambda: int(row["object"]) in [n for n, _ in desk.crls()], what="the CRL")


def test_the_doctor_knows_that_a_locked_token_is_well(desk):
    desk.enter_until(lambda: not desk.waiting(), "nothing to wait")
    wait_until(lambda: desk.token_row()["state"] == "locked", what="the token to be locked")

    def findings():
        said = json.loads(desk.cli.result("--json", "doctor", desk.issuing).stdout)  # whatever else is wrong
        return {(f["object"], f["check"]): f["state"] for f in said["findings"]}

    assert findings()["main", "token"] == "ok" and ("service", "pin") not in findings()
    request, = submit(desk, "forgotten")
    assert findings()["service", "pin"] == "ok"
    desk.database.execute("UPDATE chancery_store.pin_operation SET since = since - interval '2 h'")
    assert findings()["service", "pin"] == "warning"
    assert 'chancery_token_ready{token="main",signer="1"} 1\n' in desk.database.one(
        "SELECT chancery_store.metrics_of_service()")
    desk.entered("pin", "enter", operation_of(desk, request)["id"])
    desk.wait_state(request, "issued")


def test_two_persons_unlock_with_their_shares(new_persons):
    a = new_persons("session")
    keys = {"alice": a.operator_key, "bob": f"{a.files}/bob.pem"}
    bob = a.cli.as_operator(keys["bob"], a.passphrase_file)
    bob("operator", "init")
    a.daemon.config["tokens"][0]["pin_operators"] = [{"name": n, "key": k + ".pub"} for n, k in keys.items()]
    a.create()
    a.cli("operator", "add", "bob", "--role", "manager", "--key", keys["bob"] + ".pub")
    assert "among 2" not in a.cli("token", "lock", "main")
    said = a.entered("token", "split-pin", "--need", "2", "alice", "bob")
    assert "Token main gets a new PIN that nobody knows" in said.stderr and "any 2 of these open it" in said.stdout
    wait_until(lambda: a.token_row()["pin_shares"], what="the shares to be shown")
    bob("operator", "pin-signer", "main", a.fingerprint())
    assert "took the share of alice: 1 of 2" in a.cli("token", "unlock", "main")
    assert "is split: 2 of 2" in a.with_pin("token", "unlock", "main", "--whole-pin").stderr
    assert "token main is unlocked" in bob("token", "unlock", "main")
    a.certificate("after")


def test_one_token_under_two_ways_of_access_gets_no_ca(new_persons):
    """Found by its label with a PIN of persons, and by its serial number with one from a file: what
    the first asks people for, the second would sign without them."""
    a = new_persons("session")
    settings = a.daemon.config["tokens"]
    uuid, = os.listdir(f"{a.token.directory}/tokens")
    serial = uuid.replace("-", "")[-16:]  # SoftHSM names its directory so
    clients.write(a.token.directory, "pin", a.token.pin)
    os.chmod(a.token.pin_file, 0o600)
    loose = {k: v for k, v in settings[0].items() if k not in ("access", "pin_operators")}
    settings.append({**loose, "name": "open", "select": {"serial": serial}, "access": "auto", "pin_file": a.token.pin_file})
    a.daemon.start()
    a.add_first_operator("alice")
    a.apply_templates()
    wait_until(lambda: len(a.api.get("/v1/tokens").json()["tokens"]) == 2 or None, what="both ways to the token")
    a.unlock()
    for token in ("main", "open"):
        said = a.cli.result("ca", "create", f"mixed-{token}", "--policy", a.policy(f"mixed-{token}", "root", "p256", token=token,
                            crl={"period": "30d", "overlap": "3d"}))
        assert said.returncode != 0, said
        assert "are one and the same" in said.stderr and "share one way of access" in said.stderr, said
        assert "main (access: session)" in said.stderr and "open (access: auto)" in said.stderr, said
    assert a.database.execute("SELECT count(*) FROM chancery_store.token_key") == [(0,)]  # nothing was made on it


def test_new_limits_wait_for_a_pin(desk):
    """An order that several steps after its signatures reaches the token."""
    before = desk.api.get(f"/v1/cas/{desk.issuing}/limits").json()["version"]
    said = desk.cli("ca", "limits", "change", desk.issuing, "--not-after", "9y")
    assert "waits for a PIN" in said
    shown = desk.enter_for("order")
    assert "action: ca-limits" in shown and f"ca: {desk.issuing}" in shown
    wait_until(lambda: desk.api.get(f"/v1/cas/{desk.issuing}/limits").json()["version"] == before + 1, what="the new limits")


def test_a_root_that_is_half_made(desk):
    """Its key is there, its certificate waits for a PIN: nobody else makes that one."""
    said = desk.cli("ca", "create", "half", "--policy",
                    desk.policy("half", "root", "p256", crl={"period": "30d", "overlap": "3d"}))
    assert "waits for a PIN" in said
    desk.enter_for("order")
    wait_until(lambda: desk.waiting("certificate"), what="the certificate to wait")
    found, = [f for f in json.loads(desk.cli.result("--json", "doctor", "half").stdout)["findings"] if f["object"] == "half"
              and f["check"] == "certificate"]
    assert found["state"] == "warning" and "it makes it itself when its token signs" in found["detail"], found
    desk.enter_until(lambda: desk.cli.json("ca", "show", "half")["state"] == "active", "the CA")


def test_a_crl_of_an_older_key(desk):
    """The key that signed the certificates signs their CRLs, also once the CA has another one."""
    a, ca = desk, "twice"
    a.create_root(ca, locations=locations([a.daemon.crl_url("<CaName><CRLNameSuffix>")]))
    store = "SET search_path = chancery_store; "
    old = a.database.one(store + "SELECT s.id FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE a.name = %s", (ca,))
    newest = store + "SELECT max(id) FROM crl WHERE state = 'issued' AND scope_id = %s"
    a.cli("ca", "renew", ca, "--new-key")
    a.enter_until(lambda: a.cli.json("ca", "generations", ca)["generations"][0]["state"] == "active"
                  and len(a.cli.json("ca", "generations", ca)["generations"]) == 2, "the new key")
    a.enter_until(lambda: not a.waiting() and a.database.one(
        store + "SELECT count(*) FROM crl WHERE state = 'issued' AND scope_id > %s", (old,)), "the new key's CRL")
    before = a.database.one(newest, (old,))
    a.database.execute(store + "UPDATE crl_scope SET next_full_at = now() WHERE id = %s", (old,))
    a.enter_for("crl")
    wait_until(lambda: a.database.one(newest, (old,)) > before or None, what="the old key's CRL")
