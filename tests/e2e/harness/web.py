"""A web server on loopback that does what a test wants."""

import hashlib
import http.server
import sys
import threading


class Web(http.server.ThreadingHTTPServer):
    """A web server that does what a test wants: answers are a dictionary
    (method, path) -> status or function; what was PUT is kept. listener: a socket to
    serve, of whatever host."""

    daemon_threads = True

    def __init__(self, listener=None):
        self.files, self.answers, self.seen = {}, {}, []
        self.etags = False
        super().__init__(("127.0.0.1", 0), Handler, bind_and_activate=listener is None)
        if listener is not None:
            self.socket.close()
            self.socket, self.server_address = listener, listener.getsockname()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *request):
        """Who asked may be gone by now."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*request)

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        self.body = body = self.rfile.read(length)
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        special = self.server.answers.get((self.command, self.path))
        if callable(special):
            special = special(self)
        if special is None and self.command == "PUT":
            self.server.files[self.path] = body
            special = 201
        data = b""
        if special is None:
            data = self.server.files.get(self.path)
            special = 200 if data is not None else 404
        self.send_response(special)
        if 300 <= special <= 399:
            self.send_header("Location", "/elsewhere")
        if self.server.etags and data:
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    do_GET = do_PUT = do_MOVE = do_DELETE = answer
