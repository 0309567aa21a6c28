"""A private slapd on loopback with core.schema, which has all that a CA needs."""

import os
import re
import shutil

import ldap3

from .process import Process, find_program, free_port, wait_until


def _confined():
    try:
        with open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as f:
            return f.read().strip() == "Y"
    except FileNotFoundError:
        return False


class Slapd:
    def __init__(self, directory, suffix="o=example", password="ldap-secret", tls=None, more="", core="/etc/ldap/schema/core.schema", env=None):
        """tls: (certificate file, key file) to offer StartTLS and LDAPS; more: lines
        of the configuration; core: the schema; env: variables of its process."""
        self.directory = os.path.abspath(directory)
        self.suffix = suffix
        self.root_dn = f"cn=admin,{suffix}"
        self.password = password
        self.port = free_port()
        self.tls_port = free_port() if tls else None
        self.tls = tls
        self.more, self.core, self.env = more, core, env
        self.process = None

    @property
    def url(self):
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self):
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def create(self):
        database = os.path.join(self.directory, "db")
        os.makedirs(database, mode=0o700, exist_ok=True)
        program = find_program("slapd")
        if _confined():
            # Debian's AppArmor profile binds /usr/sbin/slapd to the system's own
            # directories; it goes by path.
            program = shutil.copy(program, os.path.join(self.directory, "slapd"))
        tls = ""
        if self.tls:
            tls = f"TLSCertificateFile {self.tls[0]}\nTLSCertificateKeyFile {self.tls[1]}\n"
        conf = os.path.join(self.directory, "slapd.conf")
        with open(conf, "w", encoding="utf-8") as f:
            f.write(
                f"include {self.core}\n"
                "modulepath /usr/lib/ldap\n"
                "moduleload back_mdb\n"
                f"pidfile {self.directory}/slapd.pid\n"
                "sockbuf_max_incoming_auth 67108864\n"
                f"{tls}{self.more}"
                "database mdb\n"
                "maxsize 268435456\n"
                f'suffix "{self.suffix}"\n'
                f'rootdn "{self.root_dn}"\n'
                f"rootpw {self.password}\n"
                f"directory {database}\n"
                "access to * by dn.exact=cn=publisher write by * read\n"
            )
        os.chmod(conf, 0o600)
        urls = self.url + "/" + (f" {self.tls_url}/" if self.tls else "")
        self.process = Process(
            "slapd",
            [program, "-f", conf, "-h", urls, "-d", "0"],
            os.path.join(self.directory, "slapd.log"),
            env=self.env,
        )
        return self

    def start(self):
        self.process.start()
        wait_until(self.answers, what="slapd", alive=self.process)
        self._add_suffix()
        return self

    def stop(self):
        self.process.stop()

    def answers(self):
        try:
            with self.connect():
                return True
        except ldap3.core.exceptions.LDAPException:
            return False

    def connect(self):
        server = ldap3.Server("127.0.0.1", port=self.port, connect_timeout=60)
        return ldap3.Connection(server, self.root_dn, self.password, auto_bind=True, receive_timeout=60)

    def _add_suffix(self):
        with self.connect() as connection:
            attribute, value = self.suffix.split(",")[0].split("=")
            assert attribute == "o"
            connection.add(self.suffix, ["organization"], {"o": value})

    def read(self, dn, attribute):
        """All values of one attribute of an entry, as bytes; [] if there is none."""
        with self.connect() as connection:
            connection.search(dn, "(objectClass=*)", ldap3.BASE, attributes=[attribute])
            if not connection.response or connection.response[0]["type"] != "searchResEntry":
                return []
            found = connection.response[0]["raw_attributes"]
            for name, values in found.items():
                if name.split(";")[0].lower() == attribute.split(";")[0].lower():
                    return values
            return []


def ad_schema(directory):
    """core.schema with what we write as Active Directory has it: octet strings, no
    ";binary", both lists of revoked certificates a must."""
    with open("/etc/ldap/schema/core.schema", encoding="utf-8") as f:
        text = f.read()
    text = re.sub(r"(NAME 'cACertificate'.*?)EQUALITY certificateExactMatch", r"\1", text, count=1, flags=re.S)
    for name in ("cACertificate", "certificateRevocationList", "authorityRevocationList", "deltaRevocationList",
                 "crossCertificatePair"):
        text, n = re.subn(r"(NAME '" + name + r"'.*?SYNTAX )1\.3\.6\.1\.4\.1\.1466\.115\.121\.1\.(?:8|9|10)\b",
                          r"\g<1>1.3.6.1.4.1.1466.115.121.1.40", text, count=1, flags=re.S)
        assert n == 1, name
    text, n = re.subn(r"objectclass \( 2\.5\.6\.16 .*?\n\n", (
        "objectclass ( 2.5.6.16 NAME 'certificationAuthority' SUP top STRUCTURAL\n"
        "\tMUST ( cn $ authorityRevocationList $ certificateRevocationList $ cACertificate )\n"
        "\tMAY ( crossCertificatePair $ deltaRevocationList ) )\n\n"), text, count=1, flags=re.S)
    assert n == 1
    text = re.sub(r"objectclass \( 2\.5\.6\.16\.2 .*?\n\n", "", text, count=1, flags=re.S)
    path = os.path.join(directory, "ad.schema")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path
