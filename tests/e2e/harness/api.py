"""The REST API as a client sees it: over the Unix socket, or over HTTPS."""

import base64
import http.client
import json
import socket
import ssl
import urllib.parse


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Answer:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    @property
    def error_code(self):
        return self.json()["error"]["code"]

    @property
    def error_message(self):
        return self.json()["error"]["message"]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Api:
    """One connection for each call, as curl does it."""

    def __init__(self, socket_path=None, port=None, client=None, ca_file=None, plain=False, timeout=120):
        """socket_path, or port on loopback with client=(certificate, key) and
        ca_file; plain: HTTP without TLS (the distribution listener)."""
        self.socket_path = socket_path
        self.port = port
        self.timeout = timeout
        self.plain = plain
        self.context = None
        if port and not plain:
            self.context = ssl.create_default_context(cafile=ca_file)
            if not ca_file:
                self.context.check_hostname = False
                self.context.verify_mode = ssl.CERT_NONE
            if client:
                self.context.load_cert_chain(*client)

    def _connection(self, timeout):
        if self.socket_path:
            return _UnixConnection(self.socket_path, timeout)
        if self.plain:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context)

    def call(self, method, path, body=None, headers=None, timeout=None):
        headers = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection = self._connection(timeout or self.timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path, **query):
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return self.call("GET", path)

    def post(self, path, body=None):
        return self.call("POST", path, {} if body is None else body)

    def submit(self, ca, template, csr, **more):
        """csr: PEM text, or DER bytes. Returns the request's id."""
        if isinstance(csr, bytes) and not csr.startswith(b"-----"):
            csr = base64.b64encode(csr).decode()
        elif isinstance(csr, bytes):
            csr = csr.decode()
        answer = self.post("/v1/requests", {"ca": ca, "template": template, "csr": csr, **more})
        assert answer.status == 201, answer
        return answer.json()["id"]

    def wait_request(self, request, seconds=30):
        answer = self.get(f"/v1/requests/{request}", wait=seconds)
        assert answer.status == 200, answer
        return answer.json()
