"""Tokens other than SoftHSM loaded directly: behind p11-kit's client, in a TPM, and
opencryptoki's soft token. Each is private: with its own directory, its own processes,
and for opencryptoki, whose paths are fixed, its own view of the file system.

They have what softhsm.Token has, and close(). Unavailable says why this machine
cannot have one.
"""

import glob
import os
import socket
import sys

from .process import Process, find_program, run, wait_until
from .softhsm import Token

TOKEN_INIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "token_init.py")


class Unavailable(Exception):
    """This machine cannot have such a token."""


def find_module(*names):
    """The path of a module in one of the places where Debian has them."""
    for name in names:
        for directory in ("", "pkcs11/"):
            found = glob.glob(f"/usr/lib/*-linux-gnu/{directory}{name}")
            if found:
                return found[0]
    raise FileNotFoundError(f"{names[0]} is not installed: run scripts/bootstrap.sh check")


def answers(path):
    """Whether somebody listens at that Unix socket."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(path) == 0


class OtherToken:
    """What these have in common. writable, unix_sockets: for the signer's sandbox."""

    unix_sockets = True
    prefix = []  # of the command line of whoever is to see the token

    def __init__(self, directory, label="chancery-test", pin="12345678", so_pin="87654321"):
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self.label, self.pin, self.so_pin = label, pin, so_pin
        self.pin_file = os.path.join(self.directory, "pin")
        self.environment = {}
        self.writable = []
        self.processes = []
        self.write_pin(pin)

    write_pin = Token.write_pin

    def mend(self):
        """Nothing is left half written by who is killed."""

    def run_process(self, name, argv, **more):
        process = Process(name, argv, os.path.join(self.directory, f"{name}.log"), cwd=self.directory, **more)
        self.processes.append(process.start())
        return process

    def initialise(self):
        run([*self.prefix, sys.executable, "-B", TOKEN_INIT, self.module, self.label, self.so_pin, self.pin],
            env=dict(os.environ, **self.environment))

    def close(self):
        for process in reversed(self.processes):
            process.stop()
        self.processes.clear()


class P11KitToken(OtherToken):
    """SoftHSM in another process, as if it were a network HSM."""

    def create(self):
        self.module = find_module("p11-kit-client.so")
        self.behind = Token(os.path.join(self.directory, "softhsm"), self.label, self.pin).create()
        self.socket = os.path.join(self.directory, "p11.sock")
        self.environment = {"P11_KIT_SERVER_ADDRESS": f"unix:path={self.socket}"}
        self.start_server()
        return self

    def start_server(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.server = self.run_process(
            "p11-kit-server",
            [find_program("p11-kit"), "server", "--foreground", "--name", self.socket, "--provider",
             self.behind.module, f"pkcs11:token={self.label}"],
            env=self.behind.environment)
        wait_until(lambda: os.path.exists(self.socket), what="p11-kit's server", alive=self.server)


# A bus for two: the TPM's resource manager, and the module.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class TpmToken(OtherToken):
    """tpm2-pkcs11, its resource manager, and a TPM in software."""

    def create(self):
        self.module = find_module("libtpm2_pkcs11.so", "libtpm2_pkcs11.so.1")
        bus, tpm = (os.path.join(self.directory, name) for name in ("bus.sock", "tpm.sock"))
        store = os.path.join(self.directory, "store")
        state = os.path.join(self.directory, "state")
        os.makedirs(store, exist_ok=True)
        os.makedirs(state, exist_ok=True)
        self.environment = {
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}",
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_STORE": store,
        }
        self.writable = [store]
        self.start_bus(bus)
        swtpm = self.run_process(
            "swtpm", [find_program("swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={state}", "--server",
                      f"type=unixio,path={tpm}", "--ctrl", f"type=unixio,path={tpm}.ctrl", "--flags",
                      "not-need-init,startup-clear"])
        wait_until(lambda: os.path.exists(tpm), what="the TPM", alive=swtpm)
        manager = self.run_process(
            "tpm2-abrmd", [find_program("tpm2-abrmd"), "--session", "--allow-root", f"--tcti=swtpm:path={tpm}"],
            env=self.environment)
        wait_until(lambda: "com.intel.tss2.Tabrmd" in self.names(), what="the TPM's resource manager", alive=manager)
        self.initialise()
        return self

    def start_bus(self, path):
        conf = os.path.join(self.directory, "bus.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(BUS.format(path=path))
        bus = self.run_process("dbus-daemon", [find_program("dbus-daemon"), "--nofork", "--nopidfile",
                                               f"--config-file={conf}"])
        wait_until(lambda: os.path.exists(path) and answers(path), what="the message bus", alive=bus)

    def names(self):
        """Who is on the bus."""
        return run(["dbus-send", f"--bus={self.environment['DBUS_SESSION_BUS_ADDRESS']}", "--print-reply",
                    "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus",
                    "org.freedesktop.DBus.ListNames"]).stdout.decode()


# Runs in a mount and an IPC namespace of its own: what is mounted here nobody else
# sees, and the real places are not touched.
OPENCRYPTOKI = """set -eu
mkdir -p lib/swtok/TOK_OBJ run/lock/opencryptoki/swtok shm
chown -R root:pkcs11 lib run/lock
chmod -R 770 lib run/lock
printf 'version opencryptoki-3.1\\nslot 3\\n{\\nstdll = libpkcs11_sw.so\\n}\\n' >conf
mount --bind lib /var/lib/opencryptoki
mount --bind run /run
mount --bind shm /dev/shm
mount --bind conf /etc/opencryptoki/opencryptoki.conf
exec "$1" -f
"""


class OpencryptokiToken(OtherToken):
    """opencryptoki's soft token, which knows RSA only."""

    def create(self):
        self.module = find_module("libopencryptoki.so.0")
        slotd = find_program("pkcsslotd")
        self.check_machine()
        daemon = self.run_process(
            "pkcsslotd", [find_program("unshare"), "--mount", "--ipc", "--propagation", "private", "sh", "-c",
                          OPENCRYPTOKI, "sh", slotd])
        wait_until(lambda: os.path.exists(os.path.join(self.directory, "run", "pkcsslotd.socket")),
                   what="opencryptoki's daemon", alive=daemon)
        self.prefix = [find_program("nsenter"), "--mount", "--ipc", f"--target={daemon.pid}", f"--wd={os.getcwd()}",
                       "--"]
        # Its shared memory, its locks and its log.
        self.writable = ["/var/lib/opencryptoki", "/run", "/dev/shm"]
        self.initialise()
        return self

    def check_machine(self):
        if os.geteuid() != 0:
            raise Unavailable("opencryptoki's daemon runs as root only")
        tried = run(["unshare", "--mount", "--ipc", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"],
                    check=False)
        if tried.returncode != 0:
            raise Unavailable(f"no mount namespace of its own for opencryptoki: {tried.stderr.decode().strip()}")
