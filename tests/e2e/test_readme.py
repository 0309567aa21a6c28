"""README.md told true: each example in it is run, each table held against the tree.

The commands are run by a shell as they stand there, one after the other, on an
instance that was made from the README's own configuration. Only what a reader
would replace, too, is replaced: ID, SERIAL, and the places in the file system.
"""

import getpass
import grp
import json
import os
import re
import shlex

import pytest
import yaml
from harness import clients, separation
from harness.chanceryd import SANITIZER_ENVIRONMENT, Chanceryd, build_dir, program
from harness.postgres import REPO, Database, Postgres
from harness.process import SANITIZER, run, wait_until
from harness.programs import make
from harness.softhsm import Token

UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class Block:
    """A fenced block: its language, its text, the number of its first line."""

    def __init__(self, language, line):
        self.language = language
        self.line = line
        self.text = ""

    def __repr__(self):
        return f"README.md:{self.line}"

    def commands(self):
        """Of a sh block: (line number, command without its comment)."""
        begun = ""
        for number, line in enumerate(self.text.splitlines(), self.line):
            command = begun + re.sub(r"\s+#.*", "", line).strip()
            if command.endswith("\\"):
                begun = command[:-1]
                continue
            begun = ""
            if command:
                yield number, command

    def file_name(self):
        found = re.match(r"# file: (\S+)\n", self.text)
        assert found, f"{self}: a yaml block begins with '# file: NAME'"
        return found.group(1)


def read_readme():
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as f:
        text = f.read()
    blocks, current = [], None
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.startswith("```"):
            if current:
                current.text += line
        elif current:
            blocks.append(current)
            current = None
        else:
            current = Block(line[3:].strip(), number + 1)
    assert current is None, f"{current}: the block does not end"
    return text, blocks


README, BLOCKS = read_readme()
PROSE = re.sub(r"(?ms)^```.*?^```$", "", README)


def blocks(language):
    return [b for b in BLOCKS if b.language == language]


def files():
    return {b.file_name(): b.text for b in blocks("yaml")}


def section(title):
    found = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README)
    assert found, f"README.md has no section '{title}'"
    return found.group(1)


def table(title):
    """The rows of a section's table: lists of cells."""
    rows = [line.strip("|").split("|") for line in section(title).splitlines() if line.startswith("|")]
    assert len(rows) > 2, title
    return [[cell.strip() for cell in row] for row in rows[2:]]


def code(text):
    return re.findall(r"`([^`\n]+)`", text)


def makefile():
    with open(os.path.join(REPO, "Makefile"), encoding="utf-8") as f:
        return f.read()


def folders(path):
    """The folders below path that hold something of the project's own."""
    return {
        name
        for name in os.listdir(os.path.join(REPO, path))
        if os.path.isdir(os.path.join(REPO, path, name)) and not name.startswith((".", "__"))
    }


# ---------------------------------------------------------------- without a run


def test_links_lead_to_sections():
    titles = re.findall(r"(?m)^##+ (.+)$", PROSE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    linked = set(re.findall(r"\]\(#([^)]+)\)", PROSE))
    assert len(linked) >= 10 and linked <= anchors, linked - anchors


def test_every_block_says_what_it_is():
    for block in BLOCKS:
        assert block.language in ("sh", "yaml", "sql", "text"), f"{block}: ```{block.language}"
    assert set(files()) == {"chanceryd.yaml", "root.yaml", "issuing.yaml"}


def test_make_targets_exist():
    named = set()
    for text in code(PROSE) + [command for b in blocks("sh") for _, command in b.commands()]:
        named.update(re.findall(r"\bmake ([a-z][a-z0-9-]*)", text))
    assert {"demo", "check", "stop", "help", "install", "bench"} <= named
    for target in named:
        assert re.search(rf"(?m)^{target}:.*## ", makefile()), f"make {target}: not in the Makefile, or not in its help"
    listed = run(["make", "-s", "-C", REPO, "help"], text=True).stdout
    assert named <= set(re.findall(r"(?m)^ *make (\S+)", listed))


def test_folders_are_those_of_the_tree():
    named = set()
    for cell, what in table("Folders"):
        for path in code(cell):
            assert os.path.isdir(os.path.join(REPO, path)), f"README.md names the folder {path}"
            named.add(path)
        if code(cell) == ["tests"]:
            assert set(code(what)) == folders("tests")
    built = set() if os.path.isabs(build_dir()) and not build_dir().startswith(REPO) else {"build"}
    top = folders(".") - built - {"build", "var"}
    assert top == {path.split("/")[0] for path in named}
    assert {f"daemon/{name}" for name in folders("daemon")} == {p for p in named if p.startswith("daemon/")}


def test_manuals_exist():
    named = set(re.findall(r"\b([a-z][a-z.-]*)\(([1-8])\)", PROSE))
    assert ("chanceryd.conf", "5") in named
    for name, number in named:
        assert os.path.exists(os.path.join(REPO, f"daemon/man/{name}.{number}")), f"{name}({number})"


def test_libraries_are_those_that_are_linked():
    pkg_config = {
        "OpenSSL 3": {"libcrypto", "libssl"}, "libp11": {"libp11"}, "p11-kit": {"p11-kit-1"},
        "libevent": {"libevent", "libevent_openssl"}, "libpq": {"libpq"}, "libcurl": {"libcurl"},
        "libldap": {"ldap"}, "jansson": {"jansson"}, "libyaml": {"yaml-0.1"},
        "libseccomp": {"libseccomp"}, "libgfshare": {"libgfshare"},
    }  # fmt: skip
    named = [name.strip() for cell, _ in table("What it stands on") for name in cell.split(",")]
    linked = {p for line in re.findall(r"(?m)^PKGS_\w+ *:= *(.*)$", makefile()) for p in line.split()}
    assert set().union(*(pkg_config[name] for name in named)) == linked


def test_only_the_signer_links_pkcs11():
    """And it does not link PostgreSQL: the table of the processes says so."""

    def linked(name):
        return run(["ldd", program(name)], text=True).stdout

    assert "libp11.so" in linked("chancery-signer")
    assert "libpq.so" not in linked("chancery-signer")
    assert "libpq.so" in linked("chanceryd")
    for name in ("chanceryd", "chancery"):
        assert "libp11.so" not in linked(name)
    assert "libpq.so" not in linked("chancery")


def test_states_are_those_of_the_database(database):
    (picture,) = [b for b in blocks("text") if b.text.startswith("submitted")]
    states = {row[0] for row in database.execute("SELECT name FROM chancery_store.request_state")}
    shown = set(re.findall(r"[a-z]+(?:-[a-z]+)*", picture.text))
    assert shown == states - {"awaiting-pin"}  # of what "Not yet" names
    path = [word.strip() for word in picture.text.splitlines()[0].split("─►")]
    for move in zip(path, path[1:]):
        assert database.one("SELECT count(*) FROM chancery_store.request_move WHERE (from_state, to_state) = (%s, %s)",
                            move) == 1, move  # fmt: skip


# -------------------------------------------------------------------- the story


README_USERS = {role: f"chancery-{role}" for role in ("signer", "issuer", "front")}

# What changes the machine itself, or waits at a terminal; the story brings
# about the same in its own directory.
NOT_RUN = [
    r"scripts/bootstrap\.sh build$",
    r"sudo groupadd ",
    r"for role in signer issuer front; do sudo useradd ",
    r"sudo install -[dm] ",
    r"sudo usermod -a -G chancery alice$",
    r"sudo apt-get install softhsm2 && sudo usermod -a -G softhsm chancery-signer$",
    r"sudo -u chancery-signer softhsm2-util --init-token --free --label chancery$",
    r"sudoedit /etc/chancery/pin$",
    r"sudo systemctl enable --now chanceryd$",
    r"sudo systemctl stop chanceryd$",
    r"sudo systemctl start chanceryd$",
    r"sudo tar -C / -cf host\.tar etc/chancery var/lib/chancery$",
    r"make (demo|check)$",
]


class InstanceOfReadme(Chanceryd):
    """A daemon with the README's configuration: its text, with other places."""

    def configure(self, places):
        text = files()["chanceryd.yaml"]
        for place, ours in places.items():
            assert place in text, f"the configuration of README.md names no {place}"
            text = text.replace(place, ours)
        self.text = self.with_our_users(text)

    def with_our_users(self, text):
        """Those that are there without making any; who is not root has only himself."""
        (line,) = re.findall(r"(?m)^separation: \{.*\}$", text)
        assert set(re.findall(r"chancery-\w+", line)) == set(README_USERS.values())
        group = grp.getgrgid(os.getegid()).gr_name
        assert "group: chancery}" in text
        text = text.replace("group: chancery}", f"group: {group}}}")
        if separation.has_tools():
            return text.replace(line, "separation: none")
        for role, user in README_USERS.items():
            line, before = line.replace(user, f'"{separation.USERS[role]}"'), line
            text = text.replace(before, line)
        binaries = os.path.join(self.directory, "bin")
        self.process.argv[self.process.argv.index(program("chanceryd"))] = separation.copy_programs(binaries)
        for token in self.tokens.values():
            separation.give(token.directory, separation.SIGNER)
        return text

    def write_config(self):
        with open(self.config_path, "w", encoding="utf-8") as f:
            f.write(self.text)
        os.chmod(self.config_path, 0o644)
        return self.config_path


class Story:
    """Runs the README's commands in a directory, as its reader would."""

    def __init__(self, daemon, postgres, directory, installed):
        self.daemon = daemon
        self.directory = directory
        self.installed = installed
        self.passphrase = clients.write(directory, "passphrase", "correct horse\n")
        os.chmod(self.passphrase, 0o600)
        self.values = {}
        self.environment = dict(
            os.environ, **SANITIZER_ENVIRONMENT, HOME=directory, PGHOST=postgres.socket_dir, PGUSER="postgres",
            CHANCERY_SOCKET=daemon.socket_path,
            PATH=f"{os.path.join(daemon.directory, 'bin')}:{build_dir()}:{os.environ['PATH']}",
        )  # fmt: skip
        self.environment.pop("CHANCERY_OPERATOR_KEY", None)

    def typed(self, command):
        """What is run for a command of the README."""
        command = re.sub(r"^sudo (-u \w+ )?", "", command)
        command = command.replace("/usr/local/share", shlex.quote(os.path.join(self.installed, "share")))
        command = command.replace("~alice/", shlex.quote(self.directory) + "/")
        command = command.replace("/run/chancery/api.sock", shlex.quote(self.daemon.socket_path))
        command = re.sub(r"^chanceryd\b", f"chanceryd --config {shlex.quote(self.daemon.config_path)}", command)
        if command.endswith(" --migrate"):  # compiled in: where it would be without DESTDIR
            command += " --migrations " + shlex.quote(os.path.join(self.installed, "share/chancery/migrations"))
        command = re.sub(r"^chancery\b", f"chancery --passphrase-file {shlex.quote(self.passphrase)}", command)
        for name, value in self.values.items():
            command = re.sub(rf"\b{name}\b", value, command)
        return command

    def run(self, number, command):
        """Runs one command; its output. Both tell where it stands."""
        typed = self.typed(command)
        result = run(["sh", "-c", typed], check=False, text=True, cwd=self.directory, env=self.environment)
        said = f"README.md:{number}: {command}\n{typed}\nexit {result.returncode}\n{result.stdout}\n{result.stderr}"
        assert result.returncode == 0, f"{said}\n{self.daemon.process.log_tail()}"
        assert not SANITIZER.search(result.stderr), said
        return result.stdout, result.stderr

    def wait_state(self, *states):
        wait_until(lambda: self.daemon.api.wait_request(self.values["ID"], 5)["state"] in states,
                   what=f"request {self.values['ID']} in {states}")  # fmt: skip


@pytest.fixture(scope="module")
def installed(new_dir):
    """`make install` into a directory of its own: what stands there as /usr/local."""
    directory = new_dir("installed")
    make("install", f"DESTDIR={directory}")
    return os.path.join(directory, "usr/local")


@pytest.fixture
def cluster(new_dir):
    """A cluster with the README's pg_hba.conf and pg_ident.conf.

    Instead of the users that the README makes there are others, or ourselves; lines of
    ours after those of the README let us in as superuser, and as the service.
    """
    cluster = Postgres(new_dir("pg"), fsync=False)
    cluster.create()
    (block,) = [b for b in blocks("text") if b.text.startswith("# pg_hba.conf")]
    hba, ident = re.split(r"(?m)^# pg_ident.conf.*\n", block.text)
    us = getpass.getuser()
    ours = {"root": us}
    for role in ("issuer", "front"):
        ours[README_USERS[role]] = us if separation.has_tools() else separation.USERS[role]
    assert set(re.findall(r"(?m)^chancery +([a-z-]+) +chancery_", ident)) == set(ours)
    cluster._write("pg_hba.conf", hba + "local all all peer map=ours\n")
    cluster._write(
        "pg_ident.conf",
        re.sub(r"(?m)^(chancery +)([a-z-]+)\b", lambda m: m[1] + ours[m[2]], ident)
        + f"ours {us} postgres\nchancery {us} webshop\nchancery {us} postgres\n",
    )
    cluster.start()
    assert cluster.execute("postgres", "SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL") == []
    assert cluster.execute("postgres", "SELECT error FROM pg_ident_file_mappings WHERE error IS NOT NULL") == []
    yield cluster
    cluster.stop()


@pytest.fixture
def story(cluster, installed, new_dir):
    directory = new_dir("story")
    token = Token(os.path.join(directory, "token"), label="chancery").create()
    daemon = InstanceOfReadme(directory, Database(cluster, "chancery"), {"main": token})
    daemon.configure({
        "/var/lib/chancery": daemon.state_dir,
        "/run/postgresql": cluster.socket_dir,
        "/usr/lib/softhsm/libsofthsm2.so": token.module,
        "/etc/chancery/pin": token.pin_file,
        "/etc/softhsm/softhsm2.conf": token.conf,
        "/run/chancery/api.sock": daemon.socket_path,
        "127.0.0.1:8080": f"127.0.0.1:{daemon.http_port}",
    })
    daemon.write_config()
    files_dir = os.path.join(directory, "files")
    os.makedirs(files_dir)
    for name in ("root.yaml", "issuing.yaml"):
        clients.write(files_dir, name, files()[name])
    yield Story(daemon, cluster, files_dir, installed)
    daemon.process.kill()


def test_installed_files(installed):
    """What the README says where to find, is there."""
    for command in {w for b in blocks("sh") for _, c in b.commands() for w in re.findall(r"/usr/local/(\S+)", c)}:
        assert os.path.exists(os.path.join(installed, command)), command
    for name in ("bin/chancery", "sbin/chanceryd", "libexec/chancery/chancery-signer",
                 "lib/systemd/system/chanceryd.service", "share/man/man5/chanceryd.conf.5"):  # fmt: skip
        assert os.path.exists(os.path.join(installed, name)), name


def test_every_command(story, cluster):
    """All commands of all blocks, in the README's order."""
    unused = set(NOT_RUN)
    reading = []
    stories = {
        r"make && sudo make install$": skip,  # the fixture has run it
        r"sudo chanceryd --check-config$": check_and_start,
        r"chancery request submit ": submit,
        r"chancery request approve ID": approve,
        r"chancery request deny ID": deny,
        r"chancery cert revoke SERIAL ": revoke,
        r"chancery request list --state pending$": list_pending,
        r"curl ": by_rest,
    }
    met = set()
    for block in BLOCKS:
        if block.language == "sql":
            by_sql(story, cluster, block)
        if block.language != "sh":
            continue
        for number, command in block.commands():
            not_run = [p for p in NOT_RUN if re.match(p, command)]
            if not_run:
                unused.difference_update(not_run)
                continue
            special = [p for p in stories if re.match(p, command)]
            met.update(special)
            if special:
                stories[special[0]](story, number, command)
            else:
                story.run(number, command)
            if re.match(r"chancery (\w+ (list|show|status)|status)\b", command):
                reading.append((number, command))
    assert not unused, f"no command of README.md is {unused}"
    assert met == set(stories), f"no command of README.md is {set(stories) - met}"
    # "Everything that lists or shows takes --json"
    assert len(reading) >= 3
    for number, command in reading:
        json.loads(story.run(number, command + " --json")[0])
    assert yaml.safe_load(story.daemon.api.get("/v1/openapi.yaml").body)["openapi"]
    the_delta_says(story)
    assert story.daemon.stop() == 0


def skip(story, number, command):
    pass


def check_and_start(story, number, command):
    story.run(number, command)
    story.daemon.start()
    for role in ("front", "issuer", "signer"):
        assert len(story.daemon.pids(role)) == 1, role


def submit(story, number, command):
    out, _ = story.run(number, command)
    story.values["ID"] = UUID.search(out).group()
    story.wait_state("pending", "issued")


def new_request(story, name):
    csr = clients.openssl_csr(story.directory, name, dns=[f"{name}.example"])
    submit(story, 0, f"chancery request submit --ca issuing --template tls-server {csr.path}")


def list_pending(story, number, command):
    """The daily work begins with requests that somebody submitted."""
    new_request(story, "daily")
    assert story.values["ID"][:8] in story.run(number, command)[0]


def approve(story, number, command):
    out, err = story.run(number, command)
    (shown,) = [b for b in blocks("text") if b.text.startswith("chancery-statement")]
    lines = [line.split(":")[0] for line in shown.text.splitlines() if line != "..."]
    at = err if "chancery-statement: 1" in err else out
    said = at[at.index("chancery-statement: 1") :].splitlines()
    assert [line.split(":")[0].strip() for line in said[: len(lines)]] == lines
    story.wait_state("issued")


def deny(story, number, command):
    new_request(story, "denied")
    story.run(number, command)
    story.wait_state("denied")
    new_request(story, "revoked")
    approve(story, number, "chancery request approve ID")
    shown = json.loads(story.run(number, "chancery --json cert show ID")[0])
    story.values["SERIAL"] = shown["serial"]


def revoke(story, number, command):
    story.run(number, command)


def by_rest(story, number, command):
    new_request(story, "rest")
    out, _ = story.run(number, command.replace("curl ", "curl -fsS "))
    assert [r["id"] for r in json.loads(out)["requests"]] == [story.values["ID"]]


def by_sql(story, cluster, block):
    """As a service whose role is made as the README says."""
    (role,) = [c for c in code(PROSE) if c.startswith("CREATE ROLE webshop ")]
    cluster.execute("chancery", role)
    csr = clients.openssl_csr(story.directory, "sql", dns=["sql.example"]).pem
    many = "{" + ",".join(f'"\\\\x{csr.encode().hex()}"' for _ in range(2)) + "}"
    values = {"csr": csr, "csrs": many, "keys": "{order-1,order-2}"}

    def psql(statement):
        variables = [f"{name}={value}" for name, value in {**values, "id": story.values["ID"]}.items()]
        return cluster.psql("chancery", "-At", *(a for v in variables for a in ("-v", v)), user="webshop", input=statement)

    submitted, status, withdrawn, submitted_many, finished = [s + ";" for s in block.text.split(";\n") if s.strip()]
    story.values["ID"] = UUID.search(psql(submitted)).group()
    story.wait_state("pending")
    assert psql(status).startswith("pending|")
    psql("LISTEN chancery_done;")
    psql(withdrawn)
    assert psql(status).startswith("withdrawn|")
    values["ids"] = psql(submitted_many).strip()
    ids = UUID.findall(values["ids"])
    assert len(set(ids)) == 2 and psql(submitted_many).strip() == values["ids"] and psql(finished) == ""
    psql(withdrawn.replace(":'id'", f"'{ids[1]}'"))
    assert psql(finished).startswith(f"{ids[1]}|withdrawn|")


def the_delta_says(story):
    """The delta CRL of the daily work holds the revocation of the daily work."""
    story.run(0, f"curl -fsS -o delta.crl {story.daemon.crl_url('issuing', delta=True)}")
    out, _ = story.run(0, "openssl crl -inform DER -in delta.crl -noout -text")
    assert story.values["SERIAL"].upper() in out and "Key Compromise" in out
