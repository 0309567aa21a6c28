"""A private nginx with DAV, as a web server that a CA publishes to."""

import os

from .process import Process, find_program, free_port, port_answers, wait_until


class Nginx:
    def __init__(self, directory, tls=None, client_ca=None):
        """tls: (certificate file, key file) to speak HTTPS instead of HTTP; client_ca:
        who writes needs a certificate of this CA."""
        self.directory = os.path.abspath(directory)
        self.root = os.path.join(self.directory, "www")
        self.port = free_port()
        self.tls, self.client_ca = tls, client_ca
        self.process = None

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def create(self):
        os.makedirs(self.root, exist_ok=True)
        d = self.directory
        tls = f"ssl_certificate {self.tls[0]}; ssl_certificate_key {self.tls[1]};" if self.tls else ""
        only = ""
        if self.client_ca:
            tls += f" ssl_client_certificate {self.client_ca}; ssl_verify_client optional;"
            only = ('set $w "$request_method$ssl_client_verify"; if ($w ~ "^(PUT|MOVE|DELETE)(?!SUCCESS)") '
                    "{ return 403; } ")
        conf = os.path.join(d, "nginx.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(
                f"{'user root;' if os.geteuid() == 0 else ''}\n"
                "daemon off; worker_processes 1; master_process off;\n"
                f"pid {d}/nginx.pid; error_log stderr;\n"
                "events { worker_connections 64; }\n"
                "http {\n"
                f"  access_log {d}/access.log;\n"
                f"  client_body_temp_path {d}/body; proxy_temp_path {d}/proxy;\n"
                f"  fastcgi_temp_path {d}/fastcgi; uwsgi_temp_path {d}/uwsgi; scgi_temp_path {d}/scgi;\n"
                "  client_max_body_size 256m;\n"
                "  types { application/pkix-crl crl; application/pkix-cert cer; }\n"
                "  server {\n"
                f"    listen 127.0.0.1:{self.port} {'ssl' if self.tls else ''}; {tls}\n"
                f"    root {self.root};\n"
                f"    location / {{ {only}"
                "dav_methods PUT DELETE MKCOL MOVE; create_full_put_path on; }\n"
                "    location /forbidden/ { limit_except GET { deny all; } }\n"
                "  }\n"
                "}\n"
            )
        self.process = Process(
            "nginx",
            [find_program("nginx"), "-p", d, "-e", "stderr", "-c", conf],
            os.path.join(d, "nginx.log"),
        )
        return self

    def start(self):
        self.process.start()
        wait_until(lambda: port_answers(self.port), what="nginx", alive=self.process)
        return self

    def stop(self):
        self.process.stop()

    def read(self, name):
        with open(os.path.join(self.root, name), "rb") as f:
            return f.read()
