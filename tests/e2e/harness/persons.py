"""An authority whose token's PIN is in no file: a person enters it."""

import os
import subprocess

from .authority import Authority
from .chanceryd import program
from .process import PATIENCE_S, wait_until


class Persons(Authority):
    """access: session or operation. alice is the operator, and the one who knows the PIN."""

    def __init__(self, directory, database, access, token=None, **options):
        super().__init__(directory, database, token)
        self.access = access
        self.cli.make_operator_key()
        os.unlink(self.token.pin_file)
        mine = self.daemon.config["tokens"][0]
        del mine["pin_file"]
        mine.update(access=access, pin_operators=[{"name": "alice", "key": self.operator_key + ".pub"}], **options)

    def add_first_operator(self, name):
        self.cli("operator", "add", name, "--role", "administrator", "--role", "manager")
        self.pin_signer()

    def fingerprint(self):
        """As somebody reads it at the signer's console."""
        return subprocess.run([program("chancery-signer"), "--identity", "-c", self.daemon.config_path, "--token", "main"],
                              check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout.split()[-1]

    def pin_signer(self):
        wait_until(lambda: self.token_row()["start"], what="the signer's announcement")
        self.cli("operator", "pin-signer", "main", self.fingerprint())

    def token_row(self):
        rows = self.api.get("/v1/tokens").json()["tokens"]
        return rows[0] if rows else {"start": None, "state": None}

    def with_pin(self, *args, pin=None, cli=None):
        """The result of a command that takes the PIN on a descriptor."""
        read, write = os.pipe()
        os.write(write, ((pin or self.token.pin) + "\n").encode())
        os.close(write)
        try:
            return (cli or self.cli).result(*args, "--pin-fd", str(read), pass_fds=(read,))
        finally:
            os.close(read)

    def entered(self, *args, **more):
        """The same, which must succeed."""
        result = self.with_pin(*args, **more)
        assert result.returncode == 0, (args, result.stdout, result.stderr)
        return result

    # ------------------------------------------------------------------ operation

    def waiting(self, kind=None):
        """What waits for a PIN."""
        rows = self.api.get("/v1/pin/operations", limit=1000).json()["operations"]
        return [row for row in rows if kind in (None, row["kind"])]

    def enter_for(self, kind, count=1):
        """Waits until so many of a kind wait, and enters the PIN for them; what was shown."""
        rows = wait_until(lambda: self.waiting(kind) if len(self.waiting(kind)) >= count else None,
                          what=f"{count} {kind} to wait for a PIN", alive=self.daemon.process)
        return self.entered("pin", "enter", *(row["id"] for row in rows)).stderr

    def enter_until(self, reached, what):
        """Enters the PIN for whatever waits until something is so."""

        def go_on():
            answer = reached()
            if not answer and self.waiting():
                self.with_pin("pin", "enter", "--all")
            return answer

        return wait_until(go_on, timeout=2 * PATIENCE_S, what=what, alive=self.daemon.process)

    # -------------------------------------------------------------------- session

    def unlock(self, *args):
        return self.entered("token", "unlock", "main", *args)

    # ---------------------------------------------------------------------- both

    def let_sign(self, reached, what):
        """A person does what it takes."""
        if self.access == "operation":
            return self.enter_until(reached, what)
        if self.token_row()["state"] == "locked":
            self.unlock()
        return wait_until(reached, timeout=2 * PATIENCE_S, what=what, alive=self.daemon.process)

    def ca_state(self, name):
        answer = self.api.get(f"/v1/cas/{name}")
        return answer.json()["state"] if answer.status == 200 else None

    def create_root(self, name, *args, **more):
        if self.access == "session":
            self.unlock()
        super().create_root(name, *args, **more)
        self.let_sign(lambda: self.ca_state(name) == "active", f"{name} to be active")

    def create_issuing(self, name, key="p256", deltas=True, targets=(), root=None, **more):
        from . import clients

        root = root or self.root
        self.cli("ca", "create", name, "--policy", self.issuing_policy(name, key, deltas, targets, **more))
        self.let_sign(lambda: self.ca_state(name) == "awaiting-certificate", f"the CSR of {name}")
        csr = clients.write(self.files, f"{name}.csr", self.cli("ca", "csr", name))
        request = self.submit(csr, ca=root, template="sub-ca")
        self.approve(request)
        self.let_sign(lambda: self.state(request) == "issued", f"the certificate of {name}")
        chain = clients.write(self.files, f"{name}-chain.pem", self.issued(request))
        self.cli("ca", "install", name, chain)
        self.let_sign(lambda: self.ca_state(name) == "active", f"{name} to be active")

    def state(self, request):
        return self.api.get(f"/v1/requests/{request}").json()["state"]

    def crls(self, ca=None):
        """Number and kind of the CRLs that a CA has issued."""
        rows = self.api.get(f"/v1/cas/{ca or self.issuing}/crls").json()["crls"]
        return [(int(r["number"]), r["delta"]) for r in rows if r["state"] == "issued"]
