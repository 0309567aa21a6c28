"""The real daemon: its configuration, start, readiness, end, and its logs."""

import json
import os
import signal

import yaml

from .api import Api
from .postgres import MIGRATIONS, REPO
from .process import PATIENCE_S, SANITIZER, Process, free_port, has_ended, run, wait_until


def build_dir():
    """Where the binaries under test are: CHANCERY_BUILD, by default build."""
    return os.path.join(REPO, os.environ.get("CHANCERY_BUILD", "build"))


def program(name):
    return os.path.join(build_dir(), name)


def sanitized():
    """True when the binaries under test carry AddressSanitizer: they are slower."""
    try:
        with open(program("chanceryd"), "rb") as f:
            return b"__asan_init" in f.read()
    except FileNotFoundError:
        return False


class _PlainDumper(yaml.SafeDumper):
    """No anchors and aliases: the daemon refuses them."""

    def ignore_aliases(self, data):
        return True


def write_yaml(path, value, mode=0o644):
    with open(path, "w", encoding="utf-8") as f:
        yaml.dump(value, f, Dumper=_PlainDumper, sort_keys=False, default_flow_style=False)
    os.chmod(path, mode)
    return path


SANITIZER_ENVIRONMENT = {
    "LSAN_OPTIONS": "print_suppressions=0",
    "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1:abort_on_error=0:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Chanceryd:
    """An instance in its own directory, with its own ports.

    Change self.config (a dictionary, as the YAML file has it) before start().
    """

    def __init__(self, directory, database, tokens, https=None):
        """tokens: {configuration's name: softhsm.Token}; https: (certificate file,
        key file) for a TLS listener."""
        self.directory = os.path.abspath(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.database = database
        self.tokens = tokens
        self.state_dir = os.path.join(self.directory, "state")
        self.socket_path = os.path.join(self.directory, "api.sock")
        self.config_path = os.path.join(self.directory, "chancery.yaml")
        self.credentials_dir = os.path.join(self.directory, "credentials")
        self.config_mode = 0o600
        self.http_port = free_port()
        self.https_port = free_port() if https else None
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        os.makedirs(self.credentials_dir, mode=0o700, exist_ok=True)
        self.config = {
            "state_dir": self.state_dir,
            "separation": "none",
            "log_level": "debug",
            "drain_timeout": "60s",
            "database": {
                "owner": database.dsn("chancery_owner"),
                "issuer": database.dsn("chancery_issuer"),
                "front": database.dsn("chancery_front"),
            },
            "tokens": [
                {
                    "name": name,
                    "module": token.module,
                    "select": {"label": token.label},
                    "pin_file": token.pin_file,
                    "threads": 2,
                    "environment": token.environment,
                    "writable": getattr(token, "writable", []),
                    "unix_sockets": getattr(token, "unix_sockets", False),
                }
                for name, token in tokens.items()
            ],
            "front": {
                "unix": {"path": self.socket_path, "mode": "0660"},
                "http": [f"127.0.0.1:{self.http_port}"],
            },
            "issuer": {
                "signer_id": 1,
                "credentials_dir": self.credentials_dir,
                "publish_dirs": [os.path.dirname(self.directory)],  # all directories of the tests
            },
        }
        if https:
            self.config["front"]["https"] = [
                {"listen": f"127.0.0.1:{self.https_port}", "certificate": https[0], "key": https[1]}
            ]
        self.process = Process(
            "chanceryd",
            [program("chanceryd"), "--config", self.config_path],
            os.path.join(self.directory, "chanceryd.log"),
            env=SANITIZER_ENVIRONMENT,
            pdeathsig="TERM",
        )
        self.api = Api(socket_path=self.socket_path)
        self.web = Api(port=self.http_port, plain=True)

    def write_config(self):
        return write_yaml(self.config_path, self.config, self.config_mode)

    def run(self, *args, check=True, timeout=PATIENCE_S):
        """Runs chanceryd with arguments to its end (--migrate, --check-config)."""
        return run(
            [program("chanceryd"), "--config", self.config_path, *args],
            check=check,
            text=True,
            timeout=timeout,
            env=dict(os.environ, **SANITIZER_ENVIRONMENT),
        )

    def migrate(self):
        self.write_config()
        return self.run("--migrate", "--migrations", MIGRATIONS)

    def start(self, wait=True, timeout=PATIENCE_S):
        self.write_config()
        try:
            os.unlink(self.run_file)  # of an earlier life: it would look ready at once
        except FileNotFoundError:
            pass
        self.process.start()
        if wait:
            self.wait_ready(timeout)
        return self

    @property
    def run_file(self):
        return os.path.join(self.state_dir, "run.json")

    def run_state(self):
        """What the supervisor wrote into run.json, or None."""
        try:
            with open(self.run_file, encoding="utf-8") as f:
                return json.load(f)
        except (FileNotFoundError, ValueError):
            return None

    def wait_ready(self, timeout=PATIENCE_S):
        """Until the supervisor says that all roles are ready, and the API answers."""

        def ready():
            if (self.run_state() or {}).get("state") != "running":
                return False
            try:
                return self.api.get("/v1/status").status == 200
            except OSError:
                return False

        wait_until(ready, timeout, what="chanceryd", alive=self.process)

    def stop(self, timeout=PATIENCE_S):
        """SIGTERM: drains and ends with status 0."""
        status = self.process.stop(timeout=timeout)
        self.check_logs()
        return status

    def check_logs(self):
        found = SANITIZER.search(self.process.log())
        assert not found, f"a sanitizer spoke:\n{self.process.log_tail(200)}"

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def pids(self, role):
        """The processes of a role: front, issuer or signer (all tokens)."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
                if parent != self.process.pid:
                    continue
                with open(f"/proc/{entry}/cmdline", "rb") as f:
                    argv = f.read().decode().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if role == "signer":
                matches = os.path.basename(argv[0]) == "chancery-signer"
            else:
                matches = f"--role={role}" in argv or (
                    "--role" in argv and argv[argv.index("--role") + 1] == role
                )
            if matches:
                found.append(int(entry))
        return found

    def kill_role(self, role, number=signal.SIGKILL):
        """Kills a role's processes; how many there were."""
        pids = self.pids(role)
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        if role == "signer" and number == signal.SIGKILL:
            wait_until(lambda: all(map(has_ended, pids)), what="the end of the signers")
            for token in self.tokens.values():
                token.mend()
        return len(pids)

    def crl_url(self, ca, delta=False):
        return f"http://127.0.0.1:{self.http_port}/crl/{ca}{'-delta' if delta else ''}.crl"

    def aia_url(self, ca):
        return f"http://127.0.0.1:{self.http_port}/aia/{ca}.cer"

    def api_silent(self):
        """True when nobody answers on the API with a success."""
        try:
            return self.api.get("/v1/status").status != 200
        except OSError:
            return True
