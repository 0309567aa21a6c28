"""A whole authority: running daemon, operator, root CA and issuing CA.

Made the way a person makes it, through the command line.
"""

import glob
import os

from . import clients
from .chanceryd import Chanceryd, program, write_yaml
from .cli import Cli
from .postgres import REPO
from .process import PATIENCE_S, wait_until
from .softhsm import Token

PASSPHRASE = "correct horse battery staple"
# A template by which whoever asks gets a certificate for a host.
AUTOMATIC = """\
name: many
approval: automatic
validity: 30d
key: {types: [ec], curves: [p256]}
subject: {from: request, required: [CN], allowed: [CN]}
san: {allowed: [dns], required: true, max: 4}
key_usage: [digitalSignature]
extended_key_usage: [serverAuth]
exceed_issuer: cut
"""


def locations(cdp=(), freshest=(), aia=(), idp=False):
    """The section of a policy: complete CRLs and deltas at addresses of their own."""
    flags = ["in_certificates"] + ["in_idp"] * idp
    return {
        "cdp": [{"url": url, "flags": flags} for url in cdp]
        + [{"url": url, "flags": ["in_freshest"]} for url in freshest],
        "aia": [{"url": url, "flags": ["in_certificates"]} for url in aia],
    }


class Authority:
    """self.daemon, self.cli (as the operator), self.api, self.database, self.token."""

    root = "test-root"
    issuing = "test-issuing"
    signer_ids = None

    def __init__(self, directory, database, token=None):
        self.directory = directory
        self.database = database
        self.token = token or Token(os.path.join(directory, "token")).create()
        self.files = os.path.join(directory, "files")
        os.makedirs(self.files)
        self.daemon = Chanceryd(directory, database, {"main": self.token})
        self.api = self.daemon.api
        self.operator_key = os.path.join(self.files, "operator.pem")
        self.passphrase_file = clients.write(self.files, "passphrase", PASSPHRASE + "\n")
        os.chmod(self.passphrase_file, 0o600)
        self.cli = Cli(
            program("chancery"), self.daemon.socket_path, self.files, self.operator_key, self.passphrase_file
        )

    def create(self, key="p256", root_key="p256", deltas=True, targets=(), operator="alice", settings=None,
               threads=2, signer_ids=None):
        """Starts the daemon and makes operator, root CA and issuing CA.

        settings: a function that changes self.daemon before its first start.
        targets: publication targets of the issuing CA, as its policy has them.
        signer_ids: the signers that may use the keys, if more than the one that is there.
        """
        self.signer_ids = signer_ids
        self.daemon.config["tokens"][0]["threads"] = threads
        if settings:
            settings(self.daemon)
        self.daemon.start()
        self.add_first_operator(operator)
        self.apply_templates()
        self.create_root(self.root, root_key)
        self.create_issuing(self.issuing, key, deltas, targets)
        return self

    def add_first_operator(self, name):
        self.cli.make_operator_key()
        self.cli("operator", "add", name, "--role", "administrator", "--role", "manager")

    def apply_templates(self):
        """The built-in ones."""
        for path in sorted(glob.glob(os.path.join(REPO, "daemon", "templates", "*.yaml"))):
            self.cli("template", "apply", path)

    def apply_automatic(self, name="many"):
        self.cli("template", "apply", clients.write(self.files, f"{name}.yaml", AUTOMATIC.replace("name: many", f"name: {name}")))

    def policy(self, name, kind, key, **more):
        policy = {
            "subject": f"CN={name},O=Chancery Test,C=DE",
            "kind": kind,
            "token": "main",
            "key": key,
            **more,
        }
        if kind == "root":
            policy.setdefault("validity", "20y")
        if self.signer_ids:
            policy.setdefault("limits", {}).setdefault("signer_ids", self.signer_ids)
        return write_yaml(os.path.join(self.files, f"{name}.yaml"), policy)

    def create_root(self, name, key="p256", **more):
        policy = self.policy(
            name,
            "root",
            key,
            **{
                "templates": ["sub-ca"],
                "crl": {"period": "30d", "overlap": "3d"},
                "locations": locations([self.daemon.crl_url(name)], aia=[self.daemon.aia_url(name)]),
                **more,
            },
        )
        self.cli("ca", "create", name, "--policy", policy)

    def issuing_policy(self, name, key="p256", deltas=True, targets=(), idp=False, **more):
        crl = {"period": "7d", "overlap": "12h"}
        freshest = []
        if deltas:
            crl.update(delta_period="1d", delta_overlap="1h")
            freshest = [self.daemon.crl_url(name, delta=True)]
        return self.policy(
            name,
            "subordinate",
            key,
            **{
                "path_length": 0,
                "templates": ["tls-server", "tls-client", "user", "device"],
                "crl": crl,
                "locations": locations([self.daemon.crl_url(name)], freshest, [self.daemon.aia_url(name)], idp),
                "targets": list(targets),
                **more,
            },
        )

    def create_issuing(self, name, key="p256", deltas=True, targets=(), root=None, **more):
        """Its key on the token, its CSR signed by the root, its chain installed."""
        root = root or self.root
        self.cli("ca", "create", name, "--policy", self.issuing_policy(name, key, deltas, targets, **more))
        csr = clients.write(self.files, f"{name}.csr", self.cli("ca", "csr", name))
        request = self.submit(csr, ca=root, template="sub-ca")
        self.approve(request)
        chain = clients.write(self.files, f"{name}-chain.pem", self.issued(request))
        self.cli("ca", "install", name, chain)

    # ------------------------------------------------------------- requests

    def submit(self, csr, ca=None, template="tls-server"):
        """csr: a path or a clients.Csr. Returns the request's id."""
        path = csr.path if isinstance(csr, clients.Csr) else csr
        return self.cli.json("request", "submit", "--ca", ca or self.issuing, "--template", template, path)["id"]

    def submit_by_sql(self, csr, ca=None, template="many"):
        """As a service does it, without the front. csr: DER."""
        return self.database.one("SELECT chancery.submit_request(%s, %s, %s::bytea)", (ca or self.issuing, template, csr), "service_one")

    def wait_state(self, request, *states, timeout=PATIENCE_S):
        def reached():
            answer = self.api.wait_request(request, 5)
            return answer if answer["state"] in states else None

        return wait_until(reached, timeout, what=f"request {request} in {'/'.join(states)}")

    def end_leases(self):
        """As if it were long ago that an issuer died: what it had in hand is for whoever comes next."""
        for table, which in (("request_queue", "state IN ('claimed', 'signing')"), ("crl", "lease_until IS NOT NULL"),
                             ("decision", "state = 'working' AND lease_until < 'infinity'")):
            self.database.execute(
                f"UPDATE chancery_store.{table} SET lease_until = now() - interval '1 s' WHERE {which}")

    def approve(self, request, reason="test"):
        self.wait_state(request, "pending")
        self.cli("request", "approve", request, "--reason", reason)

    def deny(self, request, reason):
        self.wait_state(request, "pending")
        self.cli("request", "deny", request, "--reason", reason)

    def issued(self, request):
        """The PEM chain of an issued request, leaf first."""
        self.wait_state(request, "issued")
        answer = self.api.get(f"/v1/requests/{request}/certificate")
        assert answer.status == 200, answer
        return answer.body.decode()

    def certificate(self, name, **csr):
        """Submits, approves and fetches: (request id, PEM of the leaf)."""
        csr.setdefault("dns", [f"{name}.example"])
        request = self.submit(clients.openssl_csr(self.files, name, **csr))
        self.approve(request)
        return request, clients.split_pem(self.issued(request))[0]

    # ----------------------------------------------------------------- CRLs

    def ca_pem(self, name):
        """The CA's own certificate."""
        answer = self.api.get(f"/v1/cas/{name}/chain")
        assert answer.status == 200, answer
        return clients.split_pem(answer.body.decode())[0]

    def crl(self, ca=None, delta=False, timeout=PATIENCE_S):
        """The DER bytes that the distribution listener serves."""
        ca = ca or self.issuing
        path = f"/crl/{ca}{'-delta' if delta else ''}.crl"
        return wait_until(lambda: self._get(path), timeout, what=path)

    def _get(self, path):
        answer = self.daemon.web.get(path)
        return answer.body if answer.status == 200 else None

    def issue_crl(self, ca=None, delta=False):
        self.cli("crl", "issue", ca or self.issuing, *(["--delta"] if delta else []))

    # ------------------------------------------------------------------ end

    def close(self):
        """Stops the daemon, looks at its log for a sanitizer's words."""
        try:
            if self.daemon.process.alive():
                self.daemon.stop()
            self.daemon.check_logs()
        finally:
            self.daemon.process.kill()
            self.database.drop()
