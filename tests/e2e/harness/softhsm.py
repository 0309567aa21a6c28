"""A private SoftHSM token: a real PKCS#11 module without hardware."""

import glob
import os
import shutil
from collections import Counter

from cryptography.hazmat.primitives import serialization

from .process import find_program, run

MODULES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
]


def module_path():
    for path in MODULES:
        if os.path.exists(path):
            return path
    raise FileNotFoundError("libsofthsm2 is not installed: run scripts/bootstrap.sh check")


class Token:
    """One or more tokens in a directory of their own."""

    def __init__(self, directory, label="chancery-test", pin="123456", so_pin="87654321"):
        self.directory = os.path.abspath(directory)
        self.label = label
        self.pin = pin
        self.so_pin = so_pin
        self.module = module_path()
        self.conf = os.path.join(self.directory, "softhsm2.conf")
        self.pin_file = os.path.join(self.directory, "pin")
        self.environment = {"SOFTHSM2_CONF": self.conf}
        self.writable = []  # for the module, beyond what SoftHSM needs
        self.whole = {}

    def create(self):
        tokens = os.path.join(self.directory, "tokens")
        os.makedirs(tokens, mode=0o700, exist_ok=True)
        os.chmod(self.directory, 0o700)
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(
                f"directories.tokendir = {tokens}\n"
                "objectstore.backend = file\n"
                "log.level = ERROR\n"
                "slots.removable = false\n"
            )
        self.write_pin(self.pin)
        self.init(self.label, self.pin)
        self.remember()
        return self

    def remember(self):
        """Keeps what mend() puts back."""
        for path in glob.glob(os.path.join(self.directory, "tokens", "*", "token.object")):
            with open(path, "rb") as f:
                self.whole[path] = f.read()

    def mend(self):
        """After kill -9 of a signer: SoftHSM empties the token's file at each login
        and writes it anew, and who dies between the two leaves no token."""
        for path, whole in self.whole.items():
            if os.path.getsize(path) < len(whole):
                with open(path + ".new", "wb") as f:
                    f.write(whole)
                shutil.chown(path + ".new", os.stat(path).st_uid, os.stat(path).st_gid)
                os.chmod(path + ".new", os.stat(path).st_mode & 0o7777)
                os.rename(path + ".new", path)

    def init(self, label, pin):
        """Makes a token beside those that exist."""
        run(
            [find_program("softhsm2-util"), "--init-token", "--free", "--label", label,
             "--pin", pin, "--so-pin", self.so_pin],
            env=dict(os.environ, **self.environment),
        )

    def write_pin(self, pin):
        descriptor = os.open(self.pin_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as f:
            f.write(pin + "\n")


class Recorded:
    """A token behind tests/faults/shim.c, which writes down what it is asked for and can
    be told to fail."""

    def put_shim_before(self, shim):
        self.log_path = os.path.join(self.directory, "shim.log")
        self.faults_path = os.path.join(self.directory, "shim.faults")
        self.device_path = os.path.join(self.directory, "device")
        self.environment = dict(
            self.environment,
            SHIM_DEVICE=self.device_path,
            SHIM_MODULE=self.module,
            SHIM_LOG=self.log_path,
            SHIM_FAULTS=self.faults_path,
        )
        self.module = shim
        self.writable = [self.directory]  # its log; and SoftHSM, behind it, has its tokens there

    def calls(self, name):
        """The recorded calls of one name: lists of result and data, as text."""
        try:
            with open(self.log_path, encoding="ascii") as f:
                lines = [line.split() for line in f]
        except FileNotFoundError:
            return []
        return [line[1:] for line in lines if line[0] == name]

    def type_at_device(self, pin):
        """Somebody enters it there; empty: and cancels. None: and goes away."""
        if pin is None:
            os.unlink(self.device_path)
            return
        with open(self.device_path + ".new", "w", encoding="ascii") as f:
            f.write(pin)
        os.rename(self.device_path + ".new", self.device_path)

    def forget(self):
        """Begins the record anew."""
        if os.path.exists(self.log_path):
            os.unlink(self.log_path)

    def fail(self, *lines):
        """Lines as shim.c takes them ("login 0xa0 1"); none: no faults."""
        temporary = self.faults_path + ".new"
        with open(temporary, "w", encoding="ascii") as f:
            f.write("".join(line + "\n" for line in lines))
        os.rename(temporary, self.faults_path)


class RecordedToken(Recorded, Token):
    """SoftHSM behind the shim."""

    def __init__(self, directory, shim, **more):
        super().__init__(directory, **more)
        self.put_shim_before(shim)


class GroupToken(RecordedToken):
    """Two tokens in one module behind the shim, which says of each signature whose it is."""

    labels = ["hsm-a", "hsm-b"]

    def __init__(self, directory, shim):
        super().__init__(directory, shim, label=self.labels[0])

    def create(self):
        super().create()
        self.init(self.labels[1], self.pin)
        self.environment["SHIM_LABELS"] = "1"
        return self

    def put(self, key, label, cka_id):
        """As a vendor's tool does that clones keys, or brings them from outside."""
        path = os.path.join(self.directory, f"{label}.pem")
        with open(path, "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))
        run([find_program("softhsm2-util"), "--import", path, "--token", label, "--label", "ca", "--id", cka_id,
             "--pin", self.pin], env=dict(os.environ, **self.environment))

    def signers(self):
        """How many signatures each of them has made."""
        return Counter(line[2] for line in self.calls("sign") if line[0] == "0x0")
