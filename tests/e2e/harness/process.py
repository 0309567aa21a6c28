"""Child processes that cannot outlive the tests, free ports, waiting."""

import atexit
import os
import pwd
import random
import re
import signal
import socket
import subprocess
import time

# Words that a sanitizer writes; none may stand in any log.
SANITIZER = re.compile(
    r"ERROR: AddressSanitizer|AddressSanitizer:DEADLYSIGNAL|runtime error:|"
    r"WARNING: ThreadSanitizer|ERROR: LeakSanitizer|SUMMARY: \w+Sanitizer"
)

_running = set()


# How long the tests wait for what comes by itself: patience, for a busy machine,
# and never the thing that is tested.
PATIENCE_S = 180


def _kill_all():
    for process in list(_running):
        process.kill()


atexit.register(_kill_all)


def command_as(argv, user=None, pdeathsig="KILL"):
    """argv as another user (only root can), killed when its parent dies.

    setpriv sets the signal after it changed the uid, which would clear it;
    it then execs, so that the pid is the program's own.
    """
    prefix = ["setpriv", "--pdeathsig", pdeathsig]
    if user is not None and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        prefix += ["--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--init-groups"]
    return prefix + ["--"] + [str(a) for a in argv]


class Process:
    """One program in its own process group, its output in a log file."""

    def __init__(self, name, argv, log, env=None, cwd=None, user=None, pdeathsig="KILL"):
        self.name = name
        self.argv = command_as(argv, user, pdeathsig)
        self.log_path = log
        self.env = dict(os.environ, **(env or {}))
        self.cwd = cwd
        self.popen = None

    def start(self):
        assert not self.alive(), f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        _running.add(self)
        return self

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen is not None and self.popen.poll() is None

    def send_signal(self, number):
        self.popen.send_signal(number)

    def wait(self, timeout=PATIENCE_S):
        return self.popen.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=PATIENCE_S):
        """Asks to end, waits, kills what is left; returns the exit status."""
        if self.popen is None:
            return None
        if self.alive():
            self.send_signal(number)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"{self.name} did not end within {timeout} s\n{self.log_tail()}"
                ) from None
        self._kill_group()
        _running.discard(self)
        return self.popen.returncode

    def kill(self):
        if self.popen is None:
            return
        self._kill_group()
        self.popen.wait()
        _running.discard(self)

    def _kill_group(self):
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=60):
        return f"--- {self.log_path}\n" + "\n".join(self.log().splitlines()[-lines:])


def wait_until(condition, timeout=PATIENCE_S, interval=None, what="condition", alive=None):
    """Calls condition until it returns something true, and returns that.

    interval: between two looks, in seconds; without one they become rarer while it lasts (a look at
    the database is a connection), so that who waits leaves the processor to who works.
    alive: a Process whose end also ends the waiting.
    """
    begun = time.monotonic()
    deadline = begun + timeout
    while True:
        result = condition()
        if result:
            return result
        if alive is not None and not alive.alive():
            raise AssertionError(
                f"{alive.name} ended (status {alive.popen.returncode}) while waiting for "
                f"{what}\n{alive.log_tail()}"
            )
        if time.monotonic() > deadline:
            tail = "\n" + alive.log_tail() if alive is not None else ""
            raise AssertionError(f"{what}: not within {timeout} s{tail}")
        time.sleep(interval or min(0.02 + (time.monotonic() - begun) / 20, 0.1))


def has_ended(pid):
    """True for a pid that is gone, and for one that only waits to be reaped: in
    a container without an init nobody does that for orphans."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


_reserved = {}


def free_port():
    """A TCP port on loopback that nobody listens on, and that no other test gets
    while this process lives.

    Below the kernel's ephemeral range, so that no outgoing connection takes it
    between the answer and its use. Reserved for all tests on this machine by a
    name in the abstract namespace, which goes away with the process.
    """
    while True:
        port = random.randrange(20000, 32000)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0chancery-test-port-{port}")
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved[port] = reservation
        return port


def port_answers(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def find_program(name):
    """The path of a program, also of those outside an ordinary user's PATH."""
    for directory in os.environ.get("PATH", "").split(":") + ["/usr/local/sbin", "/usr/sbin", "/sbin"]:
        path = os.path.join(directory, name)
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"{name} is not installed: run scripts/bootstrap.sh check")


def run(argv, check=True, timeout=PATIENCE_S, **kwargs):
    """Runs a program to its end; on failure the message holds its output."""
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    if "input" in kwargs:
        kwargs.pop("stdin")
    result = subprocess.run(
        [str(a) for a in argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        **kwargs,
    )
    if check and result.returncode != 0:
        raise AssertionError(
            f"{' '.join(map(str, argv))}: exit {result.returncode}\n"
            f"{_text(result.stdout)}\n{_text(result.stderr)}"
        )
    return result


def _text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
