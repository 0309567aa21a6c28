"""A private sshd on loopback that does SFTP and nothing else."""

import os
import pwd

from .chanceryd import program
from .process import Process, find_program, free_port, port_answers, run, wait_until


class Sshd:
    """Whoever runs the tests logs in, with the key client_key, or with a password if there is one."""

    def __init__(self, directory, password=None):
        self.password = password
        self.directory = os.path.abspath(directory)
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.client_key = os.path.join(self.directory, "client")
        self.root = os.path.join(self.directory, "files")
        self.process = None

    def create(self):
        d = self.directory
        host_key = os.path.join(d, "host")
        os.makedirs(self.root)
        for path in (host_key, self.client_key):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path])
        said = run(["ssh-keygen", "-l", "-f", host_key + ".pub"], text=True).stdout
        self.host_key = said.split()[1].removeprefix("SHA256:")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        conf = os.path.join(d, "sshd_config")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {host_key}\nPidFile none\n"
                    f"AuthorizedKeysFile {self.client_key}.pub\nStrictModes no\nUsePAM no\n"
                    + ("PubkeyAuthentication no\nPasswordAuthentication yes\nPermitRootLogin yes\n" if self.password else
                       "PasswordAuthentication no\nPermitRootLogin prohibit-password\n") +
                    "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n")
        env = {}
        if self.password:  # not one of the system's: tests/faults/shadow.c
            said = run(["openssl", "passwd", "-6", "-stdin"], input=self.password, text=True).stdout
            env = {"LD_PRELOAD": program("faults/shadow.so"), "SHADOW_HASH": said.strip()}
        self.process = Process("sshd", [find_program("sshd"), "-D", "-e", "-f", conf], os.path.join(d, "sshd.log"), env=env)
        return self

    def start(self):
        self.process.start()
        wait_until(lambda: port_answers(self.port), what="sshd", alive=self.process)
        return self

    def stop(self):
        self.process.stop()

    def url(self, name):
        return f"sftp://127.0.0.1:{self.port}{self.root}/{name}"
