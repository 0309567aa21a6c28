"""HTTP at the real front: what must be refused, doors, conditions, ranges."""

import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import time
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from harness.clients import openssl_csr, self_signed
from harness.front import Front, Rows
from harness.process import PATIENCE_S, wait_until

SMALL = os.urandom(70_001)  # cached
BIG = os.urandom(6_500_000)  # beyond what the cache holds: streamed from its chunks
CER = b"\x30\x82" + os.urandom(700)


@pytest.fixture(scope="module")
def front(postgres, migrated, new_dir):
    database = postgres.database(migrated)
    front = Front(new_dir("f"), database)
    rows = front.rows = Rows(database)
    front.demo = rows.ca("demo")
    front.big = rows.ca("big")
    rows.artifact(front.demo, "crl", 1, b"an older one")
    rows.artifact(front.demo, "crl", 2, SMALL, chunk=30_000)
    rows.artifact(front.demo, "delta-crl", 3, b"a delta")
    rows.artifact(front.demo, "ca-certificate", 0, CER)
    rows.artifact(front.big, "crl", 1, BIG)
    front.start()
    yield front
    assert front.stop() == 0


def unix(front):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE_S)
    s.connect(front.socket_path)
    return s


def read_all(s):
    data = b""
    try:
        while piece := s.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def replies(data):
    """How many replies stand in the bytes."""
    return len(re.findall(rb"HTTP/1\.1 [0-9]{3} [A-Z]", data))


def exchange(front, text):
    """Sends bytes and reads until the server closes."""
    with unix(front) as s:
        s.sendall(text)
        return read_all(s)


def read_reply(s, head=False):
    """One reply of a connection that stays open: (status, fields, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = s.recv(1)
        assert piece, data
        data += piece
    lines = data.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:-2])
    left = 0 if head else int(fields.get("content-length", 0))
    body = b""
    while len(body) < left:
        piece = s.recv(left - len(body))
        assert piece
        body += piece
    return int(lines[0].split()[1]), fields, body


H = b"Host: localhost\r\n"
SECOND = b"GET /v1/cas HTTP/1.1\r\n" + H + b"\r\n"
POST = b"POST /v1/requests HTTP/1.1\r\n" + H + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# name: (status, bytes). What follows the first message must never be run.
REFUSED = {
    "content-length-differs": (400, POST + b"Content-Length: 2\r\nContent-Length: 44\r\n\r\n{}" + SECOND),
    "content-length-twice": (400, POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" + SECOND),
    "content-length-list": (400, POST + b"Content-Length: 2, 2\r\n\r\n{}" + SECOND),
    "content-length-sign": (400, POST + b"Content-Length: +2\r\n\r\n{}" + SECOND),
    "content-length-hex": (400, POST + b"Content-Length: 0x2\r\n\r\n{}" + SECOND),
    "content-length-overflow": (413, POST + b"Content-Length: 18446744073709551618\r\n\r\n{}" + SECOND),
    "content-length-blank": (400, POST + b"Content-Length : 2\r\n\r\n{}" + SECOND),
    "coding-blank": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND),
    "coding-and-length": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND),
    "length-and-coding": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SECOND),
    "coding-unknown": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND),
    "coding-gzip": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SECOND),
    "coding-twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND),
    "coding-1.0": (400, b"POST /v1/requests HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND),
    "chunk-0x": (400, CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n" + SECOND),
    "chunk-sign": (400, CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n" + SECOND),
    "chunk-overflow": (400, CHUNKED + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n" + SECOND),
    "chunk-big": (413, CHUNKED + b"7fffffff\r\n{}\r\n0\r\n\r\n" + SECOND),
    "chunk-longer": (400, CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n" + SECOND),
    "chunk-bare-lf": (400, CHUNKED + b"2\n{}\n0\n\n" + SECOND),
    "chunk-extension-lf": (400, CHUNKED + b"2;\n{}\r\n0\r\n\r\n" + SECOND),
    "trailer-length": (400, CHUNKED + b"0\r\nContent-Length: 9\r\n\r\n" + SECOND),
    "host-missing": (400, b"GET /v1/cas HTTP/1.1\r\n\r\n" + SECOND),
    "host-twice": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"Host: b\r\n\r\n" + SECOND),
    "host-bad": (400, b"GET /v1/cas HTTP/1.1\r\nHost: a@b\r\n\r\n" + SECOND),
    "host-differs": (400, b"GET http://b/v1/cas HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "control-in-target": (400, b"GET /v1/cas\x01 HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "nul-in-target": (400, b"GET /v1/\x00cas HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "high-in-target": (400, b"GET /v1/\xffcas HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "control-in-value": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X: a\x02\r\n\r\n" + SECOND),
    "nul-in-name": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X\x00: a\r\n\r\n" + SECOND),
    "folded": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X: a\r\n b\r\n\r\n" + SECOND),
    "bare-lf": (400, b"GET /v1/cas HTTP/1.1\n" + H + b"\r\n" + SECOND),
    "bare-lf-value": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X: a\nContent-Length: 5\r\n\r\n" + SECOND),
    "bare-cr-value": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X: a\rY: b\r\n\r\n" + SECOND),
    "no-colon": (400, b"GET /v1/cas HTTP/1.1\r\n" + H + b"nothing\r\n\r\n" + SECOND),
    "two-blanks": (400, b"GET  /v1/cas HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "version-2": (505, b"GET /v1/cas HTTP/2.0\r\n" + H + b"\r\n" + SECOND),
    "version-0.9": (400, b"GET /v1/cas\r\n" + SECOND),
    "http-2-preface": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECOND),
    "connect": (400, b"CONNECT a:1 HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "expectation": (417, POST + b"Content-Length: 2\r\nExpect: magic\r\n\r\n{}" + SECOND),
    "target-long": (414, b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\n" + H + b"\r\n" + SECOND),
    "head-long": (431, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X: " + b"a" * 70_000 + b"\r\n\r\n" + SECOND),
    "fields-many": (431, b"GET /v1/cas HTTP/1.1\r\n" + H + b"X: a\r\n" * 200 + b"\r\n" + SECOND),
    "body-of-get": (413, b"GET /v1/cas HTTP/1.1\r\n" + H + b"Content-Length: 3\r\n\r\nabc" + SECOND),
    "body-long": (413, POST + b"Content-Length: 600000\r\n\r\n" + b"a" * 100_000),
    "tls-hello": (400, bytes.fromhex("16030100c8010000c40303") + SECOND),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", REFUSED)
def test_refused(front, name):
    """One reply, the connection closed, and no second request run."""
    status, text = REFUSED[name]
    reply = exchange(front, text)
    assert reply.startswith(b"HTTP/1.1 %d " % status), reply[:200]
    assert replies(reply) == 1, reply
    head, body = reply.split(b"\r\n\r\n", 1)
    assert b"\r\nConnection: close" in head
    assert json.loads(body)["error"]["message"]


@pytest.mark.parametrize("name", ["content-length-differs", "host-missing", "chunk-0x", "folded"])
def test_refused_byte_by_byte(front, name):
    status, text = REFUSED[name]
    with unix(front) as s:
        try:
            for i in range(len(text)):
                s.sendall(text[i : i + 1])
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = read_all(s)
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert replies(reply) == 1


def test_refused_over_tls_and_tcp(front):
    """The same parser stands behind every door."""
    status, text = REFUSED["content-length-differs"]
    with socket.create_connection(("127.0.0.1", front.http_port), PATIENCE_S) as s:
        s.sendall(text)
        assert replies(read_all(s)) == 1
    context = ssl._create_unverified_context()
    with context.wrap_socket(socket.create_connection(("127.0.0.1", front.https_port), PATIENCE_S)) as s:
        s.sendall(text)
        reply = read_all(s)
    assert replies(reply) == 1 and reply.startswith(b"HTTP/1.1 400 ")


@pytest.mark.slow
def test_slow_bytes_are_cut_off(front):
    """A byte every half second keeps no connection open: not a head's, not a
    body's, not a TLS handshake's, and a silent one neither."""
    slow = unix(front)
    slow.sendall(b"GET /v1/cas HTTP/1.1\r\nX: ")
    silent = unix(front)
    handshake = socket.create_connection(("127.0.0.1", front.https_port), PATIENCE_S)
    body = unix(front)
    body.sendall(POST + b"Content-Length: 100000\r\n\r\n")
    sent = {slow: b"a", handshake: b"\x16", body: b"{"}
    ended = {}
    start = time.monotonic()
    while len(ended) < 3 and time.monotonic() - start < PATIENCE_S:
        for s in list(sent):
            if s in ended:
                continue
            try:
                s.sendall(sent[s])
                s.settimeout(0.15)
                data = s.recv(1000)
                ended[s] = (time.monotonic() - start, data)
            except socket.timeout:
                pass
            except (BrokenPipeError, ConnectionResetError):
                ended[s] = (time.monotonic() - start, b"")
    assert len(ended) == 3
    assert 8 < ended[slow][0] and ended[slow][1].startswith(b"HTTP/1.1 408 ")
    assert 20 < ended[body][0] and ended[body][1].startswith(b"HTTP/1.1 408 ")
    silent.settimeout(PATIENCE_S)
    assert silent.recv(1) == b""
    for s in (slow, silent, handshake, body):
        s.close()


def test_keep_alive_and_pipelining(front):
    with unix(front) as s:
        s.sendall(
            b"GET /v1/cas/demo HTTP/1.1\r\n" + H + b"\r\n"
            b"HEAD /v1/status HTTP/1.1\r\n" + H + b"\r\n"
            b"\r\nGET http://localhost/v1/cas/nothing HTTP/1.1\r\n" + H + b"\r\n"
            + POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nX-Sum: 1\r\n\r\n"
            b"GET /v1/cas/big HTTP/1.0\r\n\r\n" + SECOND
        )  # fmt: skip
        assert json.loads(read_reply(s)[2])["name"] == "demo"
        status, fields, _ = read_reply(s, head=True)
        assert status == 200 and int(fields["content-length"]) > 10
        assert read_reply(s)[0] == 404
        status, _, body = read_reply(s)
        assert status == 400 and b'\\"ca\\" is missing' in body
        status, fields, body = read_reply(s)
        assert status == 200 and fields["connection"] == "close"
        assert read_all(s) == b""  # HTTP/1.0 without keep-alive ends the connection


def test_http_1_0_keep_alive(front):
    with unix(front) as s:
        for _ in range(2):
            s.sendall(b"GET /v1/status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            status, fields, _ = read_reply(s)
            assert status == 200 and fields["connection"] == "keep-alive"


def test_half_closed(front):
    """A client that closes its side after the request still gets the reply."""
    with unix(front) as s:
        s.sendall(SECOND + SECOND)
        s.shutdown(socket.SHUT_WR)
        assert replies(read_all(s)) == 2


def test_expect_continue(front):
    with unix(front) as s:
        s.sendall(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"{}")
        assert read_reply(s)[0] == 400
    reply = exchange(front, POST + b"Content-Length: 600000\r\nExpect: 100-continue\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 413 ")
    reply = exchange(
        front, b"POST /v1/nothing HTTP/1.1\r\n" + H + b"Content-Length: 600000\r\nExpect: 100-continue\r\n\r\n"
    )
    assert reply.startswith(b"HTTP/1.1 404 ")


def test_methods_and_paths(front):
    answer = front.api.call("DELETE", "/v1/cas")
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"
    answer = front.api.call("GET", "/v1/requests/x/withdraw")
    assert answer.status == 405 and answer.headers["Allow"] == "POST"
    for path in ("/x", "/v1", "/v1/", "/v1/cas/", "/v1/cas/demo/", "//v1/cas", "/v1/../v1/cas", "/V1/cas", "/crl/.crl"):
        assert front.api.get(path).status == 404, path
    assert front.api.get("/v1/cas/%64emo").json()["name"] == "demo"
    assert front.api.get("/v1/cas/demo%2Fcsr").status == 404
    assert front.api.get("/v1/cas/demo%0d%0aX:%20y").status == 404
    for query in ("limit=0", "limit=1001", "limit=-1", "limit=1&limit=2", "limit=", "x=1", "after=%ff", "limit=1e3"):
        assert front.api.get("/v1/cas?" + query).status == 400, query
    assert front.api.get("/v1/cas/demo?name=big").status == 400


def test_bodies(front):
    def post(body, **headers):
        headers.setdefault("Content-Type", "application/json")
        return front.api.call("POST", "/v1/requests", body, headers)

    assert post("{}", **{"Content-Type": "text/plain"}).status == 415
    assert post("{}", **{"Content-Encoding": "gzip"}).status == 415
    for body in ("", "[]", "{", '{"ca": 1}', '{"ca": "a", "ca": "b"}', '{"x": 1}', '{"ca": "\\u0000"}', b'{"ca": "\xff"}',
                 "[" * 5000):  # fmt: skip
        answer = post(body)
        assert answer.status == 400, body
        assert answer.error_code == "input"


# ------------------------------------------------------------------ doors


def spki(certificate):
    with open(certificate, "rb") as f:
        loaded = x509.load_pem_x509_certificate(f.read())
    return loaded.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.fixture(scope="module")
def clients(front, new_dir):
    """Client certificates by name; all but "stranger" are registered."""
    directory = new_dir("c")
    made = {name: self_signed(directory, name) for name in ("manager", "auditor", "submitter", "stranger", "former")}
    for name in ("manager", "auditor", "submitter", "former"):
        front.rows.person(f"tls-{name}", ["submitter" if name == "former" else name], "tls_client", spki(made[name][0]))
    front.database.execute(
        "UPDATE chancery_store.credential SET revoked_at = now() FROM chancery_store.person p "
        "WHERE p.id = person_id AND p.name = 'tls-former'"
    )
    return made


def test_tls_door(front, clients):
    assert front.https().get("/v1/cas").status == 401
    assert front.https().get("/v1/openapi.yaml").status == 401
    for name in ("stranger", "former"):
        answer = front.https(clients[name]).get("/v1/cas")
        assert answer.status == 403 and "not registered" in answer.error_message
    for name in ("manager", "auditor", "submitter"):
        assert front.https(clients[name]).get("/v1/cas").status == 200
    assert front.https(clients["auditor"]).get("/v1/requests").status == 200
    assert front.https(clients["submitter"]).get("/v1/status").status == 403
    assert front.https(clients["submitter"]).get("/v1/certificates").status == 403
    # Distribution needs no certificate, whichever the door.
    assert front.https().get("/crl/demo.crl").body == SMALL
    assert front.api.get("/crl/demo.crl").body == SMALL
    assert front.https().get("/crl/big.crl").body == BIG


def test_tls_refuses_old_versions(front):
    context = ssl._create_unverified_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with context.wrap_socket(socket.create_connection(("127.0.0.1", front.https_port), PATIENCE_S)) as s:
        assert s.version() == "TLSv1.2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        context.wrap_socket(socket.create_connection(("127.0.0.1", front.https_port), PATIENCE_S))


def test_plain_http_door(front):
    answer = front.web.get("/v1/status")
    assert answer.status == 403 and answer.error_code == "denied"
    assert front.web.post("/v1/requests", {}).status == 403
    assert front.web.get("/crl/demo.crl").status == 200


def test_submitters_see_their_own(front, clients, work_dir):
    csr = openssl_csr(work_dir, "own", dns=["own.example"]).pem
    submitter, auditor = front.https(clients["submitter"]), front.https(clients["auditor"])
    mine = submitter.submit("demo", "tls-server", csr)
    other = front.api.submit("demo", "tls-server", csr)
    assert submitter.get(f"/v1/requests/{mine}").json()["submitter"].startswith("tls:")
    assert front.api.get(f"/v1/requests/{other}").json()["submitter"] == f"uid:{os.getuid()}"
    assert submitter.get(f"/v1/requests/{other}").status == 404
    assert [r["id"] for r in submitter.get("/v1/requests").json()["requests"]] == [mine]
    assert submitter.post(f"/v1/requests/{other}/withdraw").status == 404
    assert submitter.post(f"/v1/requests/{mine}/withdraw").status == 200
    answer = auditor.post("/v1/requests", {"ca": "demo", "template": "tls-server", "csr": csr})
    assert answer.status == 403
    assert auditor.post(f"/v1/requests/{other}/withdraw").status == 404


def test_tls_certificate_is_reloaded(front, new_dir):
    def served():
        der = ssl.get_server_certificate(("127.0.0.1", front.https_port))
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(der)).digest()

    before = served()
    for path, new in zip(front.tls, self_signed(new_dir("t"), "renewed")):
        with open(new, "rb") as f, open(path, "wb") as g:
            g.write(f.read())
    front.reload()
    wait_until(lambda: served() != before, what="the new certificate")


# ----------------------------------------------------------- distribution


def test_distribution(front):
    answer = front.web.get("/crl/demo.crl")
    assert answer.status == 200 and answer.body == SMALL
    assert answer.headers["Content-Type"] == "application/pkix-crl"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(SMALL).hexdigest()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    age = int(answer.headers["Cache-Control"].split("max-age=")[1].split(",")[0])
    assert 3400 < age <= 3600
    assert answer.headers["Last-Modified"].endswith(" GMT") and answer.headers["Date"].endswith(" GMT")
    assert front.web.get("/crl/demo(0).crl").body == SMALL
    assert front.web.get("/crl/demo-delta.crl").body == b"a delta"
    answer = front.web.get("/aia/demo.cer")
    assert answer.body == CER and answer.headers["Content-Type"] == "application/pkix-cert"
    assert front.web.get("/aia/demo(0).cer").body == CER
    for path in ("/crl/nobody.crl", "/crl/demo(1).crl", "/aia/demo(7).cer", "/crl/big-delta.crl", "/crl/demo(x).crl"):
        assert front.web.get(path).status == 404, path
    head = front.web.call("HEAD", "/crl/demo.crl")
    assert head.status == 200 and head.body == b"" and head.headers["Content-Length"] == str(len(SMALL))


@pytest.mark.parametrize("path, data", [("/crl/demo.crl", SMALL), ("/crl/big.crl", BIG)], ids=["cached", "streamed"])
def test_conditions_and_ranges(front, path, data):
    first = front.web.get(path)
    assert first.body == data
    etag, modified = first.headers["ETag"], first.headers["Last-Modified"]

    def get(**headers):
        return front.web.call("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    for headers in ({"If_None_Match": etag}, {"If_None_Match": f'"x", W/{etag}'}, {"If_None_Match": "*"},
                    {"If_Modified_Since": modified}, {"If_None_Match": etag, "If_Modified_Since": "x"}):  # fmt: skip
        answer = get(**headers)
        assert answer.status == 304 and answer.body == b"" and answer.headers["ETag"] == etag, headers
    for headers in ({"If_None_Match": '"x"'}, {"If_Modified_Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
                    {"If_None_Match": '"x"', "If_Modified_Since": modified}, {"If_Modified_Since": "junk"}):  # fmt: skip
        assert get(**headers).body == data, headers

    n = len(data)
    for value, a, b in (("0-0", 0, 1), ("10-99", 10, 100), (f"{n - 5}-", n - 5, n), ("-7", n - 7, n),
                        (f"25000-{n + 10}", 25000, n), ("0-", 0, n)):  # fmt: skip
        answer = get(Range=f"bytes={value}")
        assert answer.status == 206 and answer.body == data[a:b], value
        assert answer.headers["Content-Range"] == f"bytes {a}-{b - 1}/{n}"
    answer = get(Range=f"bytes={n}-")
    assert answer.status == 416 and answer.headers["Content-Range"] == f"bytes */{n}"
    for value in ("bytes=5-2", "bytes=0-1,3-4", "lines=1-2"):
        assert get(Range=value).body == data
    assert get(Range="bytes=1-2", If_Range=etag).status == 206
    assert get(Range="bytes=1-2", If_Range=modified).status == 206
    assert get(Range="bytes=1-2", If_Range='"x"').status == 200
    assert get(Range="bytes=1-2", If_Range="W/" + etag).status == 200
    assert front.web.call("HEAD", path, headers={"Range": "bytes=1-2"}).status == 200


@pytest.mark.parametrize("path, data", [("/crl/demo.crl", SMALL), ("/crl/big.crl", BIG), ("/aia/demo.cer", CER)],
                         ids=["cached", "streamed", "certificate"])
def test_nothing_is_packed(front, path, data):
    """DER is signed as it is, and caches keep it so (RFC 9111 5.2.2.6)."""
    for accepted in ("gzip", "gzip, br;q=1.0, identity;q=0", "*"):
        answer = front.web.call("GET", path, headers={"Accept-Encoding": accepted})
        assert answer.body == data and "Content-Encoding" not in answer.headers
        assert "no-transform" in answer.headers["Cache-Control"]


def test_several_fronts_serve_one_thing(front, new_dir):
    """A client that is sent to another one goes on where it was."""
    other = Front(new_dir("f"), front.database)
    other.start()
    try:
        for path, data in (("/crl/demo.crl", SMALL), ("/crl/big.crl", BIG)):
            one, two = front.web.get(path), other.web.get(path)
            for field in ("ETag", "Last-Modified", "Content-Length"):
                assert one.headers[field] == two.headers[field]
            half = len(data) // 2
            rest = other.web.call("GET", path, headers={"Range": f"bytes={half}-", "If-Range": one.headers["ETag"]})
            assert rest.status == 206 and data[:half] + rest.body == data
            assert other.web.call("GET", path, headers={"If-None-Match": one.headers["ETag"]}).status == 304
    finally:
        assert other.stop() == 0


def test_slow_reader_gets_it_whole(front):
    """Replies wait for their reader, others go on meanwhile, and memory stays."""
    readers = []
    for _ in range(8):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        s.settimeout(PATIENCE_S)
        s.connect(("127.0.0.1", front.http_port))
        s.sendall(b"GET /crl/big.crl HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
        readers.append(s)
    assert front.api.get("/v1/status").status == 200
    with open(f"/proc/{front.process.pid}/status", encoding="ascii") as f:
        resident = next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
    assert front.web.get("/crl/big.crl").body == BIG
    for s in readers:
        assert read_all(s).endswith(b"\r\n\r\n" + BIG)
        s.close()
    assert resident < 400_000  # kB, with a sanitizer's own memory


def on_disk(front):
    """What the files without a name hold that the front has."""
    folder, held = f"/proc/{front.process.pid}/fd", []
    for n in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # a connection that has ended
            if os.readlink(f"{folder}/{n}").endswith(" (deleted)"):
                with open(f"{folder}/{n}", "rb") as f:
                    held.append(f.read())
    return held


def test_large_ones_come_from_the_disk(front):
    """After the first reader the kernel sends them from a file; nobody else can see it."""
    assert len(on_disk(front)) == 4
    ca = front.rows.ca("disk")
    data = [os.urandom(5_000_000 - n) for n in range(7)]

    def is_kept(which):  # and nothing behind it, of a longer one before
        return which in on_disk(front)

    for n in range(6):  # more than there are files: the oldest makes room
        front.rows.artifact(ca, "crl", n + 1, data[n])
        wait_until(lambda n=n: front.web.get("/crl/disk.crl").body == data[n] and is_kept(data[n]),
                   what="a copy on the disk", alive=front.process)
    assert [is_kept(d) for d in data[:6]] == [False, False, True, True, True, True]
    # The database has it no more, and no reader notices: from the file.
    front.database.execute("DELETE FROM chancery_store.artifact_chunk WHERE artifact_id IN (SELECT id FROM "
                           "chancery_store.artifact WHERE ca_id = %s)", (ca.id,))
    for get in (front.web.get, front.api.get, front.https().get):
        assert get("/crl/disk.crl").body == data[5]
    answer = front.web.call("GET", "/crl/disk.crl", headers={"Range": "bytes=1000001-4000000"})
    assert answer.status == 206 and answer.body == data[5][1000001:4000001]
    # One that is cut off in the database is cut off here, too, and is not kept.
    front.rows.artifact(ca, "crl", 7, data[6])
    front.database.execute("DELETE FROM chancery_store.artifact_chunk WHERE position = 3 AND artifact_id = (SELECT max(id) "
                           "FROM chancery_store.artifact WHERE ca_id = %s)", (ca.id,))
    with socket.create_connection(("127.0.0.1", front.http_port), PATIENCE_S) as s:
        s.sendall(b"GET /crl/disk.crl HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
        assert len(read_all(s)) < len(data[6])
    assert "is not kept on the disk" in front.process.log()


def test_newest_at_once_and_never_mixed(front):
    ca = front.rows.ca("moving")
    for n in range(1, 6):
        data = bytes([n]) * 2_000_000
        front.rows.artifact(ca, "crl", n, data)
        assert front.web.get("/crl/moving.crl").body == data
    # An artifact that is still being written is not there.
    front.database.execute(
        "INSERT INTO chancery_store.artifact (kind, ca_id, scope_id, rank) VALUES ('crl', %s, %s, 9)", (ca.id, ca.scope)
    )
    assert front.web.get("/crl/moving.crl").body == data
    # One is replaced while it is read.
    old = os.urandom(6_000_000)
    front.rows.artifact(ca, "crl", 10, old)
    with socket.create_connection(("127.0.0.1", front.http_port), PATIENCE_S) as s:
        s.sendall(b"GET /crl/moving.crl HTTP/1.1\r\n" + H + b"Connection: close\r\n\r\n")
        start = s.recv(100_000)
        front.rows.artifact(ca, "crl", 11, b"new")
        assert front.web.get("/crl/moving.crl").body == b"new"
        assert (start + read_all(s)).endswith(b"\r\n\r\n" + old)


def test_waiting(front, work_dir):
    csr = openssl_csr(work_dir, "wait", dns=["wait.example"]).pem
    request = front.api.submit("demo", "tls-server", csr)
    start = time.monotonic()
    assert front.api.wait_request(request, 1)["state"] == "submitted"
    assert 0.9 < time.monotonic() - start < 30
    with unix(front) as s, unix(front) as leaving, unix(front) as gone:
        for c in (s, leaving, gone):
            c.sendall(f"GET /v1/requests/{request}?wait=30 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        gone.close()
        leaving.shutdown(socket.SHUT_WR)
        assert b'"submitted"' in read_all(leaving)
        front.rows.move(request, "withdrawn")
        front.database.execute("NOTIFY chancery_done")
        assert json.loads(read_reply(s)[2])["state"] == "withdrawn"
    # By the hint, and not by the slow poll, which comes after 2 s: by chance earlier, but not so often.
    late = 0
    for _ in range(7):
        request = front.api.submit("demo", "tls-server", csr)
        with unix(front) as s:
            s.sendall(f"GET /v1/requests/{request}?wait=30 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            start = time.monotonic()
            front.rows.move(request, "withdrawn")
            front.database.execute("NOTIFY chancery_done")
            assert json.loads(read_reply(s)[2])["state"] == "withdrawn"
            late += time.monotonic() - start > 1
    assert late <= 1
    other = front.api.submit("demo", "tls-server", csr)
    with unix(front) as s:  # the hint is lost: the slow poll finds it
        s.sendall(f"GET /v1/requests/{other}?wait=30 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        front.rows.move(other, "withdrawn")
        assert json.loads(read_reply(s)[2])["state"] == "withdrawn"
    assert front.api.get(f"/v1/requests/{other}?wait=61").status == 400


def test_connection_limit(front):
    """A crowd at the public door keeps nobody out of another one, and idle
    connections make room for new ones."""
    crowd = []
    for _ in range(1030):
        s = socket.create_connection(("127.0.0.1", front.http_port), PATIENCE_S)
        crowd.append(s)
    assert front.api.get("/v1/status").status == 200
    for s in crowd:
        s.close()

    def served_again():
        try:
            return front.web.get("/crl/demo.crl").status == 200
        except OSError:
            return False

    wait_until(served_again, what="a free place")
    idle = []
    for _ in range(1030):
        s = socket.create_connection(("127.0.0.1", front.http_port), PATIENCE_S)
        s.sendall(b"HEAD /crl/demo.crl HTTP/1.1\r\n" + H + b"\r\n")
        read_reply(s, head=True)
        idle.append(s)
    for s in idle:
        s.close()


def test_database_away(new_dir, postgres, migrated):
    """Cached artifacts are served on, the rest answers 503, and it comes back."""
    database = postgres.database(migrated)
    front = Front(new_dir("f"), database)
    rows = Rows(database)
    ca = rows.ca("demo")
    rows.artifact(ca, "crl", 1, SMALL)
    rows.artifact(rows.ca("other"), "crl", 1, b"never asked for")
    front.start()
    assert front.web.get("/crl/demo.crl").body == SMALL
    postgres.execute("postgres", f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS false")
    postgres.execute("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.name}'")
    answer = wait_until(
        lambda: (a := front.api.get("/v1/status")).status == 503 and a, what="the loss of the database"
    )
    assert answer.headers["Retry-After"] and answer.error_code == "unavailable"
    answer = front.web.get("/crl/demo.crl")
    assert answer.status == 200 and answer.body == SMALL
    answer = front.web.get("/crl/other.crl")
    assert answer.status == 503 and answer.headers["Retry-After"]
    assert front.api.get("/v1/openapi.yaml").status == 200
    postgres.execute("postgres", f"ALTER DATABASE {database.name} ALLOW_CONNECTIONS true")
    wait_until(lambda: front.api.get("/v1/status").status == 200, what="the database again")
    assert front.web.get("/crl/other.crl").body == b"never asked for"
    assert front.stop() == 0
    database.drop()


def test_drain(new_dir, postgres, migrated, work_dir):
    """What is in flight is finished, waiting clients are answered, idle ones closed."""
    database = postgres.database(migrated)
    front = Front(new_dir("f"), database)
    rows = Rows(database)
    rows.artifact(rows.ca("demo"), "crl", 1, BIG)
    front.start()
    request = front.api.submit("demo", "tls-server", openssl_csr(work_dir, "d", dns=["d.example"]).pem)
    idle, waiting, reading = unix(front), unix(front), unix(front)
    idle.sendall(SECOND)
    read_reply(idle)
    waiting.sendall(f"GET /v1/requests/{request}?wait=50 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    reading.sendall(b"GET /crl/demo.crl HTTP/1.1\r\n" + H + b"\r\n")
    start = reading.recv(1000)
    front.drain()
    assert idle.recv(1) == b""
    assert b'"submitted"' in read_all(waiting)
    assert (start + read_all(reading)).endswith(BIG)
    assert front.process.wait() == 0
    assert front.stop() == 0
    database.drop()
