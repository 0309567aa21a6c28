"""A private Kerberos realm on loopback: MIT's KDC from Debian, with its own krb5.conf."""

import os
import subprocess

from .process import Process, find_program, free_port, port_answers, run, wait_until

REALM = "CHANCERY.TEST"


class Kdc:
    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.port = free_port()
        self.config = os.path.join(self.directory, "krb5.conf")
        self.env = {"KRB5_CONFIG": self.config, "KRB5_KDC_PROFILE": os.path.join(self.directory, "kdc.conf")}
        self.process = None

    def create(self):
        d = self.directory
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"[libdefaults]\ndefault_realm = {REALM}\ndns_lookup_kdc = false\ndns_lookup_realm = false\n"
                    "dns_canonicalize_hostname = false\nrdns = false\nudp_preference_limit = 1\n"
                    f"[realms]\n{REALM} = {{\nkdc = 127.0.0.1:{self.port}\n}}\n"
                    f"[domain_realm]\n127.0.0.1 = {REALM}\n")
        with open(self.env["KRB5_KDC_PROFILE"], "w", encoding="utf-8") as f:
            f.write(f"[kdcdefaults]\nkdc_listen = 127.0.0.1:{self.port}\nkdc_tcp_listen = 127.0.0.1:{self.port}\n"
                    f"[realms]\n{REALM} = {{\ndatabase_name = {d}/principal\nkey_stash_file = {d}/stash\n"
                    f"acl_file = {d}/none\nmax_life = 1h\n}}\n[logging]\nkdc = FILE:{d}/kdc.log\n")
        self._run("kdb5_util", "create", "-r", REALM, "-s", "-P", "a-master-key")
        self.process = Process("krb5kdc", [find_program("krb5kdc"), "-n", "-r", REALM],
                               os.path.join(d, "krb5kdc.out"), env=self.env)
        return self

    def _run(self, program, *arguments):
        run([find_program(program), *arguments], env={**os.environ, **self.env}, stdin=subprocess.DEVNULL)

    def start(self):
        self.process.start()
        wait_until(lambda: port_answers(self.port), what="krb5kdc", alive=self.process)
        return self

    def stop(self):
        self.process.stop()

    def keytab(self, principal, path):
        """A new principal with a random key, which the keytab gets."""
        self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {principal}")
        self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -q -k {path} {principal}")
        os.chmod(path, 0o600)

    def tickets(self, principal, keytab, path):
        """A cache with the principal's ticket, as `kinit` makes it."""
        self._run("kinit", "-k", "-t", keytab, "-c", f"FILE:{path}", principal)
        os.chmod(path, 0o600)
