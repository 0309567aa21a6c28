"""The command line, run as a person runs it."""

import json
import os

from .process import PATIENCE_S, SANITIZER, run


class CommandFailed(AssertionError):
    """The command ended with another status than 0."""

    def __init__(self, argv, result):
        self.status = result.returncode
        self.stdout = result.stdout
        self.stderr = result.stderr
        super().__init__(
            f"{' '.join(map(str, argv))}: exit {self.status}\n{self.stdout}\n{self.stderr}"
        )


class Cli:
    """`chancery` with a socket and an operator's key; calls return its output."""

    def __init__(self, program, socket_path, home, operator_key=None, passphrase_file=None):
        self.program = program
        self.socket_path = socket_path
        self.home = home
        self.operator_key = operator_key
        self.passphrase_file = passphrase_file

    def as_operator(self, operator_key, passphrase_file):
        return Cli(self.program, self.socket_path, self.home, operator_key, passphrase_file)

    def make_operator_key(self):
        """operator init. The key stands then under the same passphrase in a way that takes less work to open it:
        what slows guesses down would be a large part of all that the tests do."""
        self("operator", "init")
        with open(self.passphrase_file, encoding="utf-8") as f:
            passphrase = "pass:" + f.read().rstrip("\n")
        run(["openssl", "pkcs8", "-topk8", "-in", self.operator_key, "-passin", passphrase, "-passout", passphrase,
             "-v2", "aes-256-cbc", "-iter", "1", "-out", self.operator_key + ".easy"])
        os.chmod(self.operator_key + ".easy", 0o600)
        os.replace(self.operator_key + ".easy", self.operator_key)

    def argv(self, *args):
        argv = [self.program]
        if self.passphrase_file:
            argv += ["--passphrase-file", self.passphrase_file]
        return argv + list(args)

    def environment(self):
        env = dict(os.environ, HOME=self.home)
        env.pop("CHANCERY_OPERATOR_KEY", None)
        if self.socket_path:
            env["CHANCERY_SOCKET"] = self.socket_path
        if self.operator_key:
            env["CHANCERY_OPERATOR_KEY"] = self.operator_key
        return env

    def result(self, *args, timeout=PATIENCE_S, **kwargs):
        """Runs the command whatever its end."""
        result = run(
            self.argv(*args), check=False, text=True, timeout=timeout, env=self.environment(), **kwargs
        )
        assert not SANITIZER.search(result.stderr), result.stderr
        assert result.returncode >= 0, f"{args}: killed by signal {-result.returncode}"
        return result

    def __call__(self, *args, **kwargs):
        """Runs the command; its output, or CommandFailed."""
        result = self.result(*args, **kwargs)
        if result.returncode != 0:
            raise CommandFailed(self.argv(*args), result)
        return result.stdout

    def json(self, *args, **kwargs):
        return json.loads(self("--json", *args, **kwargs))

    def fails(self, *args, status=1, **kwargs):
        """Runs the command, which must fail with status; what it said."""
        result = self.result(*args, **kwargs)
        assert result.returncode == status, (
            f"{args}: exit {result.returncode}, not {status}\n{result.stdout}\n{result.stderr}"
        )
        return result.stderr
