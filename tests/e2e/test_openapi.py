"""The OpenAPI document against the running server: every path and method in it
answers as it says, with the bodies it says."""

import base64
import hashlib
import re

import pytest
import yaml
from harness import limits, pin
from harness.clients import openssl_csr, self_signed
from harness.decisions import Key
from harness.front import Front, Rows, decision, statement

FORMATS = {
    "uuid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "hex": re.compile(r"([0-9a-f]{2})+"),
}
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


class Document:
    def __init__(self, text):
        self.root = yaml.safe_load(text)
        self.covered = set()

    def resolve(self, node):
        while "$ref" in node:
            found = self.root
            for part in node["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            node = found
        return node

    def validate(self, value, schema, at="$"):
        """The part of JSON Schema that the document uses, and no more of it."""
        schema = self.resolve(schema)
        known = {"type", "format", "nullable", "required", "additionalProperties", "properties", "items", "enum",
                 "description", "maxLength", "minimum", "maximum"}  # fmt: skip
        assert set(schema) <= known, (at, set(schema) - known)
        if value is None:
            assert schema.get("nullable"), f"{at} is null"
            return
        assert type(value) is TYPES[schema["type"]], f"{at} is {value!r}"
        if "enum" in schema:
            assert value in schema["enum"], f"{at} is {value!r}"
        if schema.get("format") in FORMATS:
            assert FORMATS[schema["format"]].fullmatch(value), f"{at} is {value!r}"
        if schema["type"] == "array":
            for i, item in enumerate(value):
                self.validate(item, schema["items"], f"{at}[{i}]")
        if schema["type"] == "object":
            properties = schema.get("properties", {})
            assert set(schema.get("required", ())) <= set(value), f"{at} lacks {set(schema['required']) - set(value)}"
            for key, item in value.items():
                more = schema.get("additionalProperties", True)
                if key in properties:
                    self.validate(item, properties[key], f"{at}.{key}")
                elif isinstance(more, dict):
                    self.validate(item, more, f"{at}.{key}")
                else:
                    assert more, f"{at} has {key}, which is not documented"

    def check(self, path, method, answer):
        """The answer against the operation; its status must be documented."""
        operation = self.root["paths"][path][method.lower()]
        status = str(answer.status)
        assert status in operation["responses"], f"{method} {path} answered {answer}"
        response = self.resolve(operation["responses"][status])
        self.covered.add((path, method, status))
        content = response.get("content")
        if content is None:
            assert answer.body == b""
            return
        kind = answer.headers["Content-Type"]
        assert kind in content, f"{method} {path} answered with {kind}"
        if kind == "application/json":
            self.validate(answer.json(), content[kind]["schema"])


@pytest.fixture(scope="module")
def front(postgres, migrated, new_dir):
    front = Front(new_dir("f"), postgres.database(migrated))
    front.rows = Rows(front.database)
    front.demo = front.rows.ca("demo", ["tls-server"])
    front.start()
    yield front
    assert front.stop() == 0


@pytest.fixture(scope="module")
def document(front):
    answer = front.api.get("/v1/openapi.yaml")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/yaml"
    return Document(answer.body)


@pytest.fixture(scope="module")
def world(front, new_dir):
    """One row of everything, so that lists are not empty."""
    rows, demo = front.rows, front.demo
    csr = openssl_csr(new_dir("c"), "a", dns=["a.example"]).pem
    alice, bob = Key(), Key()
    rows.person("alice", ["administrator", "manager"], "operator_key", alice.spki)
    rows.person("bob", ["administrator"], "operator_key", bob.spki)
    rows.limits(demo, limits.document("demo", [limits.operator("alice", alice)], limits.name_der("demo"), templates=[
        "tls-server manual ca=no key-usage=digitalSignature eku=serverAuth validity=34300800 path-length=-"]))
    issued, pending, fresh = (front.api.submit("demo", "tls-server", csr) for _ in range(3))
    for request in (issued, pending):
        rows.checked(request)
    rows.move(issued, "approved", "claimed", "signing")
    sha256, serial = rows.certificate(demo, issued)
    crl = rows.artifact(demo, "crl", 1, b"crl")
    rows.artifact(demo, "delta-crl", 2, b"delta")
    rows.artifact(demo, "ca-certificate", 0, b"cer")
    front.database.execute(
        "INSERT INTO chancery_store.crl (scope_id, number, delta, scheduled, this_update, next_update, state, artifact_id, "
        "entries, issued_at) VALUES (%s, 1, false, true, now(), now(), 'issued', %s, 0, now())",
        (demo.scope, crl),
    )
    front.database.execute(
        "SET search_path = chancery_store; SELECT report_token(1, 'main', 'closed', 'x', 'l', 's', 'm', 2, 3, now(), 'gone', "
        "repeat('0f', 16)); SELECT report_token(2, 'main', 'ready', 'ready', 'l', 's', 'm', 2, 3, now(), NULL, "
        "NULL, 'session', repeat('ab', 16), 'start', '\\x01', '\\x02', 'alice', now(), 5)"
    )
    front.database.execute(
        "SET search_path = chancery_store; SELECT report_host(1, 1, 1, 'here'); UPDATE ca SET policy = policy || "
        "E'\\n# http://named.example/a.crl' WHERE name = 'demo'"
    )
    waiting, = front.database.execute(
        "INSERT INTO chancery_store.pin_operation (token, signer_id, kind, ca, object, cka_id, sha256, tbs, request_id, "
        "expires_at) VALUES ('main', 2, 'certificate', 'demo', 'x', '\\x01', sha256('x'), 'x', "
        "(SELECT id FROM chancery_store.request_record WHERE public_id = %s), now()) RETURNING public_id::text", (pending,)
    )[0]
    front.database.execute(
        "INSERT INTO chancery_store.target (ca_id, name, kind, artifact, write_url, read_url) "
        "SELECT id, 'people', 'ldap', 'certificate', 'ldap://x', 'ldap://x' FROM chancery_store.ca WHERE name = 'demo'"
    )
    return {
        "key": alice,
        "bob": bob,
        "ca": "demo",
        "name": {"/v1/templates/{name}": "tls-server"},
        "request": issued,
        "fresh": fresh,
        "pending": pending,
        "certificate": sha256,
        "serial": serial,
        "publication": str(rows.publication(demo, crl)),
        "csr": csr,
        "operator": "alice",
        "waiting": waiting,
        "look_order": {"host": "1", "ca": "demo", "url": "http://named.example/a.crl", "artifact": "crl"},
    }


def identifier(path, world):
    """What {name} or {id} of a path stands for: something that exists."""
    if path.startswith("/v1/templates"):
        return "tls-server"
    if path.startswith("/v1/certificates"):
        return world["certificate"]
    if path.startswith("/v1/publications"):
        return world["publication"]
    if path.startswith("/v1/requests"):
        return world["fresh"] if path.endswith("withdraw") else world["request"]
    if path.endswith("/signatures"):
        return world["ceremony"]
    if path == "/v1/decisions/{id}/withdraw":
        return world["to_withdraw"]
    if path.startswith("/v1/tokens"):
        return "main"
    if path.startswith("/v1/pin/operations"):
        return world["waiting"]
    if path.startswith("/v1/pin/entries"):
        return world["entry"]
    if path.startswith("/v1/decisions"):
        return world["decision"]
    if path.startswith("/v1/looks"):
        return world["look"]
    return "demo"


def ceremony(world, name, quorum=2):
    """The order to create a CA that alice signed and bob has to, too."""
    document = limits.document(name, [limits.operator("alice", world["key"]), limits.operator("bob", world["bob"])],
                               limits.name_der(name), quorum=quorum)
    body = limits.body(document)
    text = statement("ca-create", ca=name, object=name, body=hashlib.sha256(body.encode()).hexdigest())
    return decision(text, world["key"], body)


def signature(world, key):
    """What POST /v1/decisions/{id}/signatures takes."""
    return {"signature": base64.b64encode(key.sign(world["to_sign"])).decode(), "credential": key.sha256.hex()}


def approve(world, front, **changes):
    request = front.api.get(f"/v1/requests/{world['pending']}").json()
    fields = dict(
        ca="demo", object=request["id"], csr=request["csr_sha256"], template=request["template"], reason="checked"
    )
    fields.update(changes)
    return decision(statement("approve", **fields), world["key"])


def call(front, api, path, method, world, query=""):
    target = re.sub(r"\{[^}]*\}", lambda _: identifier(path, world), path) + query
    if method == "GET":
        return api.call("GET", target)
    if path == "/v1/requests":
        return api.post(target, {"ca": "demo", "template": "tls-server", "csr": world["csr"]})
    if path == "/v1/decisions":
        return api.post(target, approve(world, front))
    if path.endswith("/signatures"):
        return api.post(target, signature(world, world["bob"]))
    if path.endswith("/pin"):
        return api.post(target, pin.entry("pin-lock", "main", pin.envelope("main", "ab" * 16, world["key"]), world["key"]))
    if path == "/v1/looks":
        return api.post(target, world["look_order"])
    return api.post(target)


def operations(document):
    # A decision is handed in before it is read.
    return sorted(
        ((path, method.upper()) for path, methods in document.root["paths"].items() for method in methods),
        key=lambda o: (o[1] == "GET", o),
    )


@pytest.mark.smoke
def test_every_operation_succeeds(front, document, world):
    begun = ceremony(world, "new")
    answer = front.api.post("/v1/decisions", begun)
    assert answer.json()["state"] == "collecting", answer
    document.check("/v1/decisions", "POST", answer)
    world["ceremony"], world["to_sign"] = answer.json()["id"], begun["statement"]
    world["to_withdraw"] = front.api.post("/v1/decisions", ceremony(world, "gone")).json()["id"]
    for path, method in operations(document):
        if path == "/v1/clock/confirm":
            front.database.execute("UPDATE chancery_store.clock_watch SET reason = 'it jumped', since = now()")
        answer = call(front, front.api, path, method, world)
        assert answer.status in (200, 201, 202), (method, path, answer)
        if (path, method) == ("/v1/decisions", "POST"):
            world["decision"] = answer.json()["id"]
        if path.endswith("/pin"):
            world["entry"] = answer.json()["id"]
            assert answer.json()["state"] == "queued"
        if path == "/v1/looks":
            world["look"] = answer.json()["id"]
        document.check(path, method, answer)
        if method == "GET":
            head = front.api.call("HEAD", re.sub(r"\{[^}]*\}", lambda _: identifier(path, world), path))
            assert head.status == 200 and head.body == b"", path
            if not path.startswith(("/v1/status", "/v1/tokens")):
                assert int(head.headers["Content-Length"]) == len(answer.body), path


def test_every_operation_wants_an_identity(front, document, world):
    for path, method in operations(document):
        if path.startswith("/v1/"):
            answer = call(front, front.https(), path, method, world)
            assert answer.status == 401 and answer.error_code == "unauthenticated", (method, path, answer)
            document.check(path, method, answer)


def test_documented_refusals(front, document, world, new_dir):
    """Each documented 4xx of each operation is brought about once."""
    api = front.api
    nobody = "00000000-0000-0000-0000-000000000000"
    text = approve(world, front)["statement"]
    stranger = front.https(self_signed(new_dir("t"), "stranger"))
    for path, method in operations(document):
        responses = document.root["paths"][path][method.lower()]["responses"]
        if "400" in responses and method == "GET":
            query = next(p for p in ("limit=x", "wait=x", "version=x", "chain=x", "signer=x", "piece=x")
                         if p.split("=")[0] in [document.resolve(q)["name"] for q in
                                                document.root["paths"][path]["get"]["parameters"]])  # fmt: skip
            document.check(path, method, call(front, api, path, method, world, "?" + query))
        if "403" in responses:
            document.check(path, method, call(front, stranger, path, method, world))
        if "404" in responses and "{" in path:
            missing = "999999" if "publications" in path else nobody
            document.check(path, method, api.call(method, re.sub(r"\{[^}]*\}", missing, path)))
        if "404" in responses and "?" not in path and "{" not in path and method == "GET":
            document.check(path, method, api.get(path, ca="nobody"))
        real = re.sub(r"\{[^}]*\}", lambda _: identifier(path, world), path)
        if "415" in responses:
            document.check(path, method, api.call(method, real, "x"))
        if "413" in responses:
            big = "A" * 600_000
            document.check(path, method, api.call(method, real, big, {"Content-Type": "application/json"}))
        if "304" in responses:
            document.check(path, method, api.call(method, path.replace("{ca}", "demo"), headers={"If-None-Match": "*"}))
        if "206" in responses:
            for ranges in ("bytes=0-0", "bytes=99-"):
                document.check(path, method, api.call(method, path.replace("{ca}", "demo"), headers={"Range": ranges}))
    document.check("/v1/clock/confirm", "POST", api.post("/v1/clock/confirm"))  # it is not held
    document.check("/v1/requests", "POST", api.post("/v1/requests", {}))
    document.check("/v1/requests", "POST", api.post("/v1/requests", {"ca": "x", "template": "y", "csr": world["csr"]}))
    submit = {"ca": "demo", "template": "tls-server", "csr": world["csr"], "idempotency_key": "k"}
    assert api.post("/v1/requests", submit).json() == api.post("/v1/requests", submit).json()
    answer = api.post("/v1/requests", {**submit, "attributes": {"a": "b"}})
    document.check("/v1/requests", "POST", answer)
    assert answer.status == 409
    document.check("/v1/decisions", "POST", api.post("/v1/decisions", {"statement": "x"}))
    document.check("/v1/decisions", "POST", api.post("/v1/decisions", approve(world, front)))  # being decided: 409
    path = "/v1/decisions/{id}/signatures"
    to_sign = path.replace("{id}", world["ceremony"])
    document.check(path, "POST", api.post(to_sign, {}))
    document.check(path, "POST", api.post(to_sign, signature(world, world["bob"]) | {"credential": "00" * 32}))
    document.check(path, "POST", api.post(to_sign, signature(world, world["bob"])))  # has signed: 409
    document.check(path, "POST", api.post(path.replace("{id}", nobody), signature(world, world["bob"])))
    path = "/v1/decisions/{id}/withdraw"
    document.check(path, "POST", api.post(path.replace("{id}", world["to_withdraw"])))  # again: 409
    document.check(path, "POST", api.post(path.replace("{id}", nobody)))
    document.check("/v1/decisions", "GET", api.get("/v1/decisions", after=nobody))
    answer = api.get("/v1/tokens/main/reseed", signer=2)
    assert answer.status == 409 and "tells no challenge" in answer.error_message
    document.check("/v1/tokens/{token}/reseed", "GET", answer)
    document.check("/v1/tokens/{token}/pin", "POST", api.post("/v1/tokens/main/pin", {}))
    document.check("/v1/pin/operations", "GET", api.get("/v1/pin/operations", after=nobody))
    document.check("/v1/looks", "POST", api.post("/v1/looks", world["look_order"] | {"url": 7}))
    document.check("/v1/looks", "POST", api.post("/v1/looks", world["look_order"] | {"host": "nowhere"}))
    for _ in range(33):  # and nobody takes them here
        answer = api.post("/v1/looks", world["look_order"])
    assert answer.status == 409 and "as many looks" in answer.error_message
    document.check("/v1/looks", "POST", answer)
    gone = decision(statement("crl-issue", ca="nobody", object="full"), world["key"])
    document.check("/v1/decisions", "POST", api.post("/v1/decisions", gone))
    assert "chancery-statement: 1" in text
    document.check("/v1/requests/{id}/withdraw", "POST", api.post(f"/v1/requests/{world['fresh']}/withdraw"))
    document.check("/v1/publications/{id}/retry", "POST", api.post("/v1/publications/x/retry"))
    front.database.execute("UPDATE chancery_store.publication SET state = 'over'")
    answer = api.post(f"/v1/publications/{world['publication']}/retry")
    assert answer.status == 409 and "is over" in answer.error_message
    document.check("/v1/publications/{id}/retry", "POST", answer)
    front.database.execute("UPDATE chancery_store.publication SET state = 'done'")
    document.check(
        "/v1/publications/{id}/retry", "POST", api.post(f"/v1/publications/{world['publication']}/retry")
    )
    front.database.execute(
        "INSERT INTO chancery_store.issuer_name (der, der_sha256, readable) VALUES ('n', sha256('n'), 'n')"
    )
    twin = front.rows.ca("twin")
    document.check("/v1/cas/{name}/entries", "POST", api.post("/v1/cas/twin/entries"))  # its policy has none: 409
    front.database.execute(
        "INSERT INTO chancery_store.serial_intent (issuer_name_id, serial, generation_id, scope_id, epoch, tbs_sha256) "
        "VALUES (%s, decode(%s, 'hex'), %s, %s, 0, sha256('x'))",
        (twin.issuer_name, world["serial"], twin.generation, twin.scope),
    )
    front.database.execute(
        "INSERT INTO chancery_store.certificate (issuer_name_id, serial, ca_id, generation_id, scope_id, subject, "
        "not_before, not_after, spki_sha256, sha256, der) VALUES (%s, decode(%s, 'hex'), %s, %s, %s, 'x', now(), now(), "
        "sha256('a'), sha256('twin'), 'twin')",
        (twin.issuer_name, world["serial"], twin.id, twin.generation, twin.scope),
    )
    answer = api.get(f"/v1/certificates/{world['serial']}")
    document.check("/v1/certificates/{id}", "GET", answer)
    assert answer.status == 409

    # 503 is what test_http.py tries with a database that is away.
    missed = {
        (path, method, status)
        for path, method in operations(document)
        for status in document.root["paths"][path][method.lower()]["responses"]
        if status != "503" and not (status == "401" or status[0] == "2")
    } - document.covered
    assert not missed, sorted(missed)


def test_digest_of_the_csr_is_of_its_der(front, world, new_dir):
    csr = openssl_csr(new_dir("c"), "b", dns=["b.example"])
    request = front.api.submit("demo", "tls-server", csr.der)
    front.rows.checked(request)
    answer = front.api.get(f"/v1/requests/{request}").json()
    assert answer["csr_sha256"] == hashlib.sha256(csr.der).hexdigest()
    assert answer["csr"].startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
