"""Issuers without a supervisor, this test in its place: as many as wanted on one
database, each with a real signer of its own or with one that never answers."""

import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess

from .chanceryd import SANITIZER_ENVIRONMENT, Chanceryd, program
from .process import PATIENCE_S, SANITIZER, Process

CONTROL_FD = 3
CONTROL_SIGNER_CHANNEL, CONTROL_DRAIN, CONTROL_READY = 1, 4, 5


class Child(Process):
    """A role with its end of a control channel as descriptor 3."""

    def __init__(self, name, argv, log, environment=None):
        super().__init__(name, argv, log, env={**SANITIZER_ENVIRONMENT, **(environment or {})})
        self.control = None

    def start(self):
        self.control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

        def inherit():
            os.dup2(far.fileno(), CONTROL_FD, inheritable=True)
            ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG

        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv[self.argv.index("--") + 1 :], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.env, start_new_session=True, pass_fds=(CONTROL_FD, far.fileno()), preexec_fn=inherit)
        far.close()
        return self

    def send(self, kind, text=None, descriptor=None):
        message = bytes([kind])
        if text is not None:
            message += struct.pack(">I", len(text)) + text.encode()
        if descriptor is None:
            self.control.send(message)
        else:
            socket.send_fds(self.control, [message], [descriptor])

    def wait_ready(self, timeout=PATIENCE_S):
        self.control.settimeout(timeout)
        while self.control.recv(512)[0] != CONTROL_READY:
            pass

    def abandon(self):
        """The supervisor is gone."""
        self.control.close()


class LoneIssuer:
    """One issuer on the database of an Authority whose own daemon rests."""

    def __init__(self, directory, authority, signer_id, silent=False, token="main", crl_lease="2s", beside=None):
        """silent: its signer takes everything and never answers; its id is in no limits, since nothing is asked of
        one that still has to be told something. token: under which name it has it; the CAs are of "main".
        beside: the name of a second token, whose signer never answers."""
        names = [token] + ([beside] if beside else [])
        self.settings = Chanceryd(directory, authority.database, {name: authority.token for name in names})
        self.token_name, self.beside = token, beside
        self.settings.config["issuer"]["signer_id"] = signer_id
        self.settings.config["tokens"][0]["crl_lease"] = crl_lease  # nobody waits long for one that was killed
        self.known = os.path.join(authority.daemon.state_dir, "signer-main")
        self.state = os.path.join(self.settings.state_dir, "signer-main")
        # Signer 1 goes on where the daemon's was; the others are other hosts, with journals of their own, and learn
        # of the keys by what operators ordered.
        if signer_id == 1:
            shutil.copytree(self.known, self.state)
        config = self.settings.write_config()
        self.issuer = Child(f"issuer {signer_id}", [program("chanceryd"), "--role", "issuer", "--config", config],
                            os.path.join(directory, "issuer.log"))
        self.signer = None if silent else Child(
            f"signer {signer_id}", [program("chancery-signer"), "--config", config, "--token", "main"],
            os.path.join(directory, "signer.log"), authority.token.environment)
        self.channel = self.second = None
        self.token = authority.token

    def start(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.issuer.start()
        if self.beside:
            self.second, near = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            self.issuer.send(CONTROL_SIGNER_CHANNEL, self.beside, near.fileno())
            near.close()
        self.issuer.send(CONTROL_SIGNER_CHANNEL, self.token_name, ours.fileno())
        if self.signer:
            self.signer.start()
            self.signer.send(CONTROL_SIGNER_CHANNEL, "main", theirs.fileno())
            theirs.close()
        else:
            self.channel = theirs
        ours.close()
        self.issuer.wait_ready()
        return self

    def drain(self):
        self.issuer.send(CONTROL_DRAIN)

    def kill(self):
        """Sudden death of the issuer, and of its signer."""
        for child in (self.issuer, self.signer):
            if child:
                child.kill()
        self.token.mend()

    def close(self):
        for child in (self.issuer, self.signer):
            if child and child.popen is not None:
                found = SANITIZER.search(child.log())
                child.kill()
                assert not found, child.log_tail(200)
        for channel in (self.channel, self.second):
            if channel:
                channel.close()
