"""The hardening of the processes: users of their own, seccomp, Landlock, and what
`status` says of them, with the real daemon as root. Then the same as an attacker
who has one of these users."""

import os
import re
import shutil
import signal
import stat

import pytest
from cryptography import x509
from harness import clients, separation
from harness.authority import Authority
from harness.chanceryd import Chanceryd, program
from harness.nginx import Nginx
from harness.postgres import REPO
from harness.process import run, wait_until
from harness.separation import FRONT, ISSUER, SIGNER, as_user, status_of, tries, uid_of
from harness.softhsm import Token

NOT_HERE = separation.has_tools()
LANDLOCK = separation.landlock_version()
root_only = pytest.mark.skipif(NOT_HERE is not None, reason=NOT_HERE or "")
PTRACE_ATTACH, PTRACE, READV = 16, 101, 310  # on x86-64
x86_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls")


@pytest.fixture(scope="module")
def served(postgres, migrated, new_dir, nginx_root, slapd):
    """An authority whose roles have users of their own, with as much of a sandbox as
    this kernel has, that publishes by HTTP, LDAP and file."""
    if NOT_HERE:
        pytest.skip(NOT_HERE)
    authority = Authority(new_dir("i"), postgres.database(migrated))
    folder = os.path.join(nginx_root.root, "disk")
    os.mkdir(folder)
    separation.give(folder, ISSUER)
    dn = f"cn=sandboxed,{slapd.suffix}"
    place = f"{slapd.url}/{dn}?certificateRevocationList;binary"

    def settings(daemon):
        separation.separate(daemon)
        daemon.config["issuer"]["publish_dirs"] = [folder]
        path = clients.write(daemon.credentials_dir, "directory", slapd.password)
        separation.give(path, ISSUER, 0o600)

    try:
        authority.create(settings=settings, targets=[
            {"name": "web", "artifact": "crl", "kind": "http", "write": f"{nginx_root.url}/a.crl",
             "read": f"{nginx_root.url}/a.crl"},
            {"name": "ldap", "artifact": "crl", "kind": "ldap", "write": place, "read": place,
             "bind_dn": slapd.root_dn, "credential": "directory", "tls": "none"},
            {"name": "disk", "artifact": "crl", "kind": "file", "write": f"{folder}/a.crl",
             "read": f"{nginx_root.url}/disk/a.crl"},
            {"name": "astray", "artifact": "crl", "kind": "file", "write": f"{authority.files}/a.crl",
             "read": f"{nginx_root.url}/disk/b.crl"},
        ])  # fmt: skip
        authority.folder, authority.dn, authority.nginx, authority.slapd = folder, dn, nginx_root, slapd
        yield authority
    finally:
        authority.close()


@pytest.fixture(scope="module")
def nginx_root(new_dir):
    server = Nginx(new_dir("nginx")).create()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bare(bare_instance):
    """Not started, with users for the roles."""
    return separation.separate(bare_instance)


def refused(daemon, *words):
    """It does not start, and says why in one sentence."""
    daemon.write_config()
    before = len(daemon.process.log())
    daemon.process.start()
    assert daemon.process.wait() == 1
    said = [line for line in daemon.process.log()[before:].splitlines() if line.startswith("chanceryd: ")]
    assert len(said) == 1, daemon.process.log()
    for word in words:
        assert word in said[0], said[0]
    assert daemon.run_state() is None


def processes(daemon):
    return {p["name"]: p for p in daemon.api.get("/v1/status").json()["processes"]}


def running(daemon, name, not_pid=None):
    """What status says of a process that is ready, and another than before; or None."""
    try:
        found = processes(daemon).get(name)
    except (OSError, KeyError):
        return None  # the front is the one that is away
    return found if found and found["state"] == "running" and found["pid"] != not_pid else None


# ------------------------------------------------------------------- main job


@root_only
def test_main_job_with_all_there_is(served):
    a = served
    _, good = a.certificate("good")
    _, bad = a.certificate("bad")
    serial = x509.load_pem_x509_certificate(bad.encode()).serial_number
    a.cli("cert", "revoke", f"{serial:040x}", "--reason", "keyCompromise")
    a.issue_crl()

    def revoked():
        crl = a.crl()
        return x509.load_der_x509_crl(crl).get_revoked_certificate_by_serial_number(serial) and crl

    full, delta = wait_until(revoked, what="the CRL with the revocation"), a.crl(delta=True)
    issuing, root = a.ca_pem(a.issuing), a.ca_pem(a.root)
    for leaf, expected in ((good, True), (bad, False)):
        accepted, said = clients.openssl_verify(a.files, leaf, issuing, root, [full], [delta])
        assert accepted is expected, said
    wait_until(lambda: a.nginx.read("a.crl") == full, what="the CRL at the web server")
    wait_until(lambda: a.slapd.read(a.dn, "certificateRevocationList;binary") == [full], what="the CRL in the directory")
    path = os.path.join(a.folder, "a.crl")
    with open(path, "rb") as f:
        assert f.read() == full
    assert os.stat(path).st_uid == uid_of("issuer")
    # Nothing of that made a process break its rules and come back.
    assert "does not allow the system call" not in a.daemon.process.log()
    assert {c["restarts"] for c in a.daemon.run_state()["children"].values()} == {0}


@root_only
def test_each_process_has_what_status_says(served):
    """By the kernel's word, not by the daemon's."""
    shown = processes(served.daemon)
    assert set(shown) == {"supervisor", "issuer", "front", "signer-main"}
    for name, p in shown.items():
        kernel = status_of(p["pid"])
        assert kernel["Uid"].split() == [str(p["uid"])] * 4, name
        assert kernel["Gid"].split() == [str(p["gid"])] * 4, name
        assert int(kernel["CapEff"], 16) | int(kernel["CapPrm"], 16) == int(p["capabilities"], 16), name
        assert kernel["NoNewPrivs"] == str(int(p["no_new_privileges"])) == "1", name
        assert int(kernel["Seccomp_filters"]) == p["seccomp_filters"], name
        assert p["missing"] == ([] if LANDLOCK or name == "supervisor" else ["landlock"]), name
        if name == "supervisor":
            assert p["uid"] == 0
            continue
        assert p["uid"] == uid_of(name), name
        assert kernel["Seccomp"] == "2" and p["seccomp_filters"] >= 1, name
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(kernel[capabilities], 16) == 0, (name, capabilities)
        assert set(kernel["Groups"].split()) <= {str(p["gid"])}, name
        assert p["landlock"] == LANDLOCK, name
        with open(f"/proc/{p['pid']}/limits", encoding="ascii") as f:
            assert re.search(r"Max core file size +0 +0 ", f.read()), name
    assert {n: p["profile"] for n, p in shown.items()} == {
        "supervisor": "none", "issuer": "issuer", "front": "front", "signer-main": "softhsm"}  # fmt: skip
    assert shown["signer-main"]["sockets"] == "none"
    assert shown["front"]["sockets"] == "local"
    # Few of root's capabilities are left to the supervisor: chown, kill, setgid,
    # setuid, setpcap, net_bind_service.
    assert int(shown["supervisor"]["capabilities"], 16) & ~0x5E1 == 0
    table = served.cli("status")
    for name, p in shown.items():
        assert re.search(rf"(?m)^{name} +{p['pid']} +running +{p['uid']} ", table), table
    assert len(table.splitlines()[-1]) <= 100


@root_only
def test_files_belong_to_those_who_need_them(served):
    d = served.daemon
    signer = os.path.join(d.state_dir, "signer-main")
    for path, owner, mode in (
        (d.state_dir, 0, 0o711), (signer, SIGNER, 0o700), (os.path.join(d.state_dir, "spool"), uid_of("issuer"), 0o700),
        (d.run_file, 0, 0o600), (d.socket_path, 0, 0o660),
    ):  # fmt: skip
        st = os.lstat(path)
        assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (owner, mode), path
    assert os.listdir(signer)
    for name in os.listdir(signer):
        assert os.lstat(os.path.join(signer, name)).st_uid == SIGNER, name


# ------------------------------------------------- an attacker with one of them


def fails(user, expected, attempts):
    """Nothing of it works for that user; each fails in one of these ways."""
    for attempt, outcome in zip(attempts, tries(user, *attempts)):
        assert outcome in expected, (user, attempt, outcome)


@root_only
def test_what_the_others_users_cannot_reach(served):
    d, token = served.daemon, served.token
    signer, spool = os.path.join(d.state_dir, "signer-main"), os.path.join(d.state_dir, "spool")
    limits = os.path.join(signer, sorted(os.listdir(signer))[0])
    credential = os.path.join(d.credentials_dir, "directory")
    of_signer = [f"os.open({path!r}, os.O_RDONLY)" for path in (signer, limits, token.pin_file, token.directory)]
    of_issuer = [f"os.open({path!r}, os.O_RDONLY)" for path in (spool, credential)]
    of_all = [f"os.listdir({d.state_dir!r})",
              # The socket of the API is for root and a group.
              f"socket.socket(socket.AF_UNIX).connect({d.socket_path!r})"]  # fmt: skip
    of_all += [f"os.open({path!r}, os.O_RDONLY)" for path in (d.run_file, os.path.join(d.state_dir, "lock"))]
    of_all += [f"os.open({path!r}, os.O_CREAT | os.O_WRONLY)" for path in (
        os.path.join(d.state_dir, "x"), d.socket_path + ".x", d.config_path)]  # fmt: skip
    of_all += [f"os.rename({path!r}, {path + '.gone'!r})" for path in (d.socket_path, d.config_path, signer, spool)]
    of_all += [f"os.symlink('/etc', {os.path.join(d.state_dir, name)!r})" for name in ("signer-x", "run.json.new")]
    fails(ISSUER, {"EACCES"}, of_signer + of_all)
    fails(FRONT, {"EACCES"}, of_signer + of_issuer + of_all)
    fails(SIGNER, {"EACCES"}, of_issuer + of_all)
    assert tries(SIGNER, of_signer[1]) == tries(ISSUER, of_issuer[1]) == ["worked"]


@root_only
@x86_only
def test_processes_do_not_touch_each_other(served):
    """Not even those of the same user: nobody looks into a memory with PINs and keys."""
    before = {name: p["pid"] for name, p in processes(served.daemon).items()}
    ptrace = f"call({PTRACE}, {PTRACE_ATTACH}, %d, 0, 0)"
    memory = (f"b = ctypes.create_string_buffer(16); v = (ctypes.c_void_p * 2)(ctypes.addressof(b), 16); "
              f"call({READV}, %d, v, 1, v, 1, 0)")  # fmt: skip
    for user, own in ((ISSUER, "issuer"), (FRONT, "front"), (SIGNER, "signer-main")):
        for name, pid in before.items():
            fails(user, {"EPERM", "EACCES"}, [ptrace % pid, memory % pid] + [
                f"os.open('/proc/{pid}/{file}', os.O_RDONLY)" for file in ("mem", "environ", "maps", "fd/3", "cwd/x")])
        fails(user, {"EPERM"}, [f"os.kill({pid}, signal.SIGKILL)" for name, pid in before.items() if name != own])
    assert {name: p["pid"] for name, p in processes(served.daemon).items()} == before


@root_only
def test_database_roles_go_with_users(served):
    """The user of the front does not get at the issuer's database role."""
    def login(user, role):
        return as_user(user, "psql", "-X", "-At", "-c", "SELECT 1", served.database.dsn(role)).returncode == 0

    assert login(ISSUER, "chancery_issuer") and login(FRONT, "chancery_front")
    for user, role in ((FRONT, "chancery_issuer"), (FRONT, "chancery_owner"), (ISSUER, "chancery_owner"),
                       (ISSUER, "chancery_front")):  # fmt: skip
        assert not login(user, role), (user, role)


@root_only
def test_files_are_published_only_where_that_is_allowed(served):
    """The owner of the database names another folder, and a link in an allowed one."""
    a = served
    a.issue_crl()

    def failed(name, words):
        said = [p for p in a.cli.json("publish", "status")["publications"] if p["target"].endswith(name)]
        return said and words in str(said[0])

    wait_until(lambda: failed("astray", "publish_dirs"), what="the refusal")
    assert not os.path.exists(os.path.join(a.files, "a.crl"))
    if not LANDLOCK:
        return
    outside = os.path.join(a.files, "outside")
    os.mkdir(outside)
    separation.give(outside, ISSUER)
    as_user(ISSUER, "ln", "-s", outside, os.path.join(a.folder, "link"), check=True)
    a.database.execute("UPDATE chancery_store.target SET write_url = %s WHERE name = 'astray'",
                       (f"{a.folder}/link/a.crl",))  # fmt: skip
    for publication in a.cli.json("publish", "status")["publications"]:
        if publication["target"].endswith("astray"):
            a.cli("publish", "retry", str(publication["id"]))
    wait_until(lambda: failed("astray", "EACCES") or failed("astray", "may not write there"), what="the kernel's refusal")
    assert os.listdir(outside) == []


# ------------------------------------------------------------------ configuration


def test_root_has_to_decide(bare_instance):
    if os.geteuid() != 0:
        pytest.skip("this is about root")
    del bare_instance.config["separation"]
    refused(bare_instance, "'separation'", "is missing, and this is root", "separation: {signer: USER", "none")
    result = bare_instance.run("--check-config", check=False)
    assert result.returncode == 1 and "'separation'" in result.stderr


@root_only
@pytest.mark.parametrize("change, words", [
    ({"issuer": f"{SIGNER}:1"}, ["'separation.issuer'", "user of the signer as well"]),
    ({"front": "root"}, ["'separation.front'", "is root"]),
    ({"front": "47003:0"}, ["'separation.front'", "root's group"]),
    ({"signer": "no-such-user"}, ["'separation.signer'", "is no user of this host", "uid:gid"]),
    ({"signer": "47001"}, ["'separation.signer'", "is no user of this host"]),
    ({"signer": "4294967295:1"}, ["'separation.signer'", "is no user of this host"]),
])
def test_users_that_separate_nothing(bare, change, words):
    bare.config["separation"].update(change)
    refused(bare, *words)


@root_only
def test_a_user_for_each_token(database, new_dir):
    """One login to a token is one process with a user of its own, which reaches nothing of the other's."""
    tokens = {name: Token(new_dir("token")).create() for name in ("main", "second")}
    d = separation.separate(Chanceryd(new_dir("i"), database, tokens))
    second = SIGNER + 1
    d.config["tokens"][1]["user"] = f"{second}:{second}"
    refused(d, "'tokens[1].pin_file'", f"cannot be read by uid {second}")
    separation.give(tokens["second"].directory, second)
    d.start()
    try:
        users = {name: running(d, name)["uid"] for name in ("signer-main", "signer-second")}
        assert users == {"signer-main": SIGNER, "signer-second": second}
        for name, uid in users.items():
            assert os.stat(os.path.join(d.state_dir, name)).st_uid == uid
            assert os.stat(os.path.join(d.state_dir, name, "journal")).st_uid == uid
        private = [tokens["second"].pin_file, os.path.join(d.state_dir, "signer-second", "journal")]
        assert separation.tries(SIGNER, *(f"os.open({path!r}, os.O_RDONLY)" for path in private)) == ["EACCES"] * 2
        # An operator at the console, as root: what is written then belongs to the signer.
        signer = os.path.join(d.directory, "bin", "chancery-signer")
        run([signer, "--config", d.config_path, "--token", "second", "--keys"])
        for directory, _, files in os.walk(tokens["second"].directory):
            assert {os.stat(os.path.join(directory, f)).st_uid for f in files} <= {second}
        d.config["tokens"][1]["user"] = "47009:47009"
        d.write_config()
        before = len(d.process.log())
        d.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "47009" in d.process.log()[before:] or "only by a restart" in d.process.log()[before:],
                   what="a refusal")
    finally:
        assert d.stop() == 0
    d.config["tokens"][1]["user"] = ISSUER
    refused(d, "'tokens[1].user'", "is the user of issuer or front as well")


@root_only
def test_files_that_the_wrong_user_has(bare):
    d, token = bare, bare.tokens["main"]
    os.chown(token.pin_file, 0, 0)
    refused(d, "'tokens[0].pin_file'", f"cannot be read by uid {SIGNER}, to whom it must belong")
    os.chown(token.pin_file, uid_of("issuer"), 0)
    refused(d, "'tokens[0].pin_file'", f"uid {SIGNER}")
    os.chown(token.pin_file, SIGNER, SIGNER)
    os.chmod(token.pin_file, 0o640)
    refused(d, "'tokens[0].pin_file'", "chmod 0600")
    os.chmod(token.pin_file, 0o400)
    os.chown(d.credentials_dir, 0, 0)
    refused(d, "'issuer.credentials_dir'", f"cannot be used by uid {uid_of('issuer')}")
    separation.give(d.credentials_dir, ISSUER)
    d.config_mode = 0o600
    refused(d, "'separation.signer'", f"uid {SIGNER} cannot read", d.config_path)
    d.config_mode = 0o644
    before = d.config["database"]["front"]
    d.config["database"]["front"] = before + " password=x"
    refused(d, "'database.front'", "passfile=FILE")
    d.config["database"]["front"] = before + " passfile=/nonexistent"
    d.start()
    assert d.stop() == 0


@root_only
def test_root_does_not_work_where_others_can_lead_it_astray(bare, work_dir):
    """Directories of others, links and what stands in the place of a directory."""
    d = bare
    secret = os.path.join(work_dir, "secret")
    os.mkdir(secret, 0o700)

    os.chown(d.state_dir, uid_of("issuer"), 0)
    refused(d, "'state_dir'", f"belongs to uid {uid_of('issuer')}")
    os.chown(d.state_dir, 0, 0)
    os.chmod(d.state_dir, 0o770)
    refused(d, "'state_dir'", "0711")
    os.chmod(d.state_dir, 0o700)

    shared = os.path.join(work_dir, "shared")
    os.mkdir(shared)
    os.chmod(shared, 0o777)
    d.config["state_dir"] = os.path.join(shared, "state")
    refused(d, shared, "chmod go-w")
    os.chmod(shared, 0o755)
    os.chown(shared, uid_of("issuer"), 0)
    refused(d, shared, f"belongs to uid {uid_of('issuer')}")
    os.symlink(shared, os.path.join(work_dir, "way"))
    d.config["state_dir"] = os.path.join(work_dir, "way", "state")
    refused(d, shared, f"belongs to uid {uid_of('issuer')}")
    assert os.listdir(shared) == []
    d.config["state_dir"] = d.state_dir

    own = os.path.join(d.state_dir, "signer-main")
    os.symlink(secret, own)
    refused(d, own, "allowed: a directory, or nothing")
    os.unlink(own)
    os.mkdir(own, 0o700)
    clients.write(own, "limits", "x")
    refused(d, own, "belongs to uid 0", f"chown -R -h --from=0 {SIGNER}:{SIGNER}")
    assert os.lstat(own).st_uid == 0
    shutil.rmtree(own)
    os.mkdir(own, 0o700)  # what a crash between two steps leaves

    d.config["front"]["unix"]["path"] = os.path.join(shared, "api.sock")
    refused(d, shared, f"belongs to uid {uid_of('issuer')}")
    d.config["front"]["unix"]["path"] = d.socket_path
    d.start()
    assert os.lstat(own).st_uid == SIGNER
    assert os.lstat(secret).st_uid == 0
    assert d.stop() == 0


@root_only
def test_what_a_reload_changes(bare):
    """A new token gets its directory from a supervisor that gave root's rights up;
    users and sandbox stay."""
    d = bare
    d.start()
    second = dict(d.config["tokens"][0], name="second")
    d.config["tokens"].append(second)
    d.write_config()
    d.reload()
    wait_until(lambda: (d.run_state()["children"].get("signer-second") or {}).get("state") == "running",
               what="the second signer", alive=d.process)  # fmt: skip
    assert os.lstat(os.path.join(d.state_dir, "signer-second")).st_uid == SIGNER
    assert processes(d)["signer-second"]["uid"] == SIGNER
    d.config["tokens"].remove(second)
    d.write_config()
    d.reload()
    wait_until(lambda: "signer-second" not in processes(d), what="the end of the second signer", alive=d.process)
    d.config["sandbox"] = "off"
    d.write_config()
    d.reload()
    wait_until(lambda: "cannot be changed by a reload" in d.process.log(), what="the refusal", alive=d.process)
    # Nor does a process that starts anew believe the file: what is in force counts.
    for role in ("front", "issuer", "signer-main"):
        before = wait_until(lambda r=role: running(d, r), what=role, alive=d.process)["pid"]
        os.kill(before, signal.SIGKILL)
        found = wait_until(lambda r=role, b=before: running(d, r, b), what=role, alive=d.process)
        assert found["profile"] == {"signer-main": "softhsm"}.get(role, role)
        assert found["missing"] == ([] if LANDLOCK else ["landlock"])
    assert "is not confined" not in d.process.log()
    assert d.stop() == 0


@root_only
def test_pin_as_a_credential(bare, work_dir):
    """As systemd has it for a service of root's: only root may read it."""
    directory = os.path.join(work_dir, "credentials")
    os.mkdir(directory, 0o700)
    path = clients.write(directory, "pin", bare.tokens["main"].pin + "\n")
    os.chmod(path, 0o400)
    os.chmod(directory, 0o500)
    token = bare.config["tokens"][0]
    del token["pin_file"]
    token["pin_credential"] = "pin"
    bare.process.env["CREDENTIALS_DIRECTORY"] = directory
    bare.start()
    assert "ready: token" in bare.process.log()
    pid = processes(bare)["signer-main"]["pid"]
    with open(f"/proc/{pid}/environ", "rb") as f:
        assert b"CREDENTIALS_DIRECTORY" not in f.read()
    # Once more, as after a lost token.
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bare.process.log().count("ready: token") == 2, what="the second login", alive=bare.process)
    assert bare.stop() == 0


@root_only
def test_pin_file_is_read_anew(bare):
    """Put in place by another name, as editors do it: the sandbox does not mind."""
    token = bare.tokens["main"]
    bare.config["tokens"][0]["pin_file"] = pin = os.path.join(token.directory, "pin2")
    clients.write(token.directory, "pin2", "000000\n")
    separation.give(pin, SIGNER, 0o600)
    bare.start()
    wait_until(lambda: "pin-wrong" in bare.process.log(), what="the wrong PIN", alive=bare.process)
    clients.write(token.directory, "fresh", token.pin + "\n")
    separation.give(os.path.join(token.directory, "fresh"), SIGNER, 0o600)
    os.rename(os.path.join(token.directory, "fresh"), pin)
    wait_until(lambda: "ready: token" in bare.process.log(), what="the right PIN", alive=bare.process)
    assert bare.stop() == 0


# ----------------------------------------------------------- other kernels, modes


@root_only
def test_a_kernel_without_landlock(database, token, new_dir):
    d = separation.separate(Chanceryd(new_dir("i"), database, {"main": token}), "require", without_landlock=True)
    refused(d, "the kernel has no Landlock")
    d.config["sandbox"] = "best-effort"
    d.start()
    for name, p in processes(d).items():
        assert p["landlock"] == 0, name
        assert p["missing"] == ([] if name == "supervisor" else ["landlock"]), name
        assert p["uid"] == (0 if name == "supervisor" else uid_of(name))
    assert "warning" in d.process.log() and "the kernel has no Landlock" in d.process.log()
    assert d.stop() == 0


def test_off_is_shown(bare_instance):
    d = bare_instance
    d.config["sandbox"] = "off"
    d.start()
    for name, p in processes(d).items():
        assert (p["profile"], p["landlock"], p["missing"]) == ("none", 0, []), name
        assert p["seccomp_filters"] == int(status_of("self")["Seccomp_filters"]), name
    assert d.stop() == 0


@root_only
def test_an_ordinary_user_needs_no_decision(postgres, migrated, new_dir):
    """A developer's service: one user, and yet all else."""
    user = ISSUER
    separation.allow_logins(postgres)
    database = postgres.database(migrated)
    directory = new_dir("i")
    d = Chanceryd(directory, database, {"main": Token(os.path.join(directory, "token")).create()})
    d.process.argv[d.process.argv.index(program("chanceryd"))] = separation.copy_programs(os.path.join(directory, "bin"))
    at = d.process.argv.index("--")
    d.process.argv[at:at] = ["--reuid", str(uid_of("issuer")), "--regid", str(uid_of("issuer")), "--clear-groups"]
    del d.config["separation"]
    d.config["sandbox"] = separation.mode()
    d.config["database"]["front"] = d.config["database"]["issuer"]  # no more than it takes to connect
    d.write_config()
    separation.give(directory, user)
    d.process.start()
    wait_until(lambda: (d.run_state() or {}).get("state") == "running", what="all parts", alive=d.process)
    assert "all roles run as uid" in d.process.log()
    for name in ("issuer", "front", "signer-main"):
        kernel = status_of(d.run_state()["children"][name]["pid"])
        assert kernel["Uid"].split() == [str(uid_of("issuer"))] * 4
        assert (kernel["Seccomp"], kernel["NoNewPrivs"]) == ("2", "1")
        assert "missing=-" in d.run_state()["children"][name]["sandbox"] or not LANDLOCK
    assert d.stop() == 0
    d.config["separation"] = dict(separation.USERS)
    d.write_config()
    separation.give(d.config_path, user)
    d.process.start()
    assert d.process.wait() == 1
    assert "only root can give each role a user of its own" in d.process.log()
    database.drop()


# ---------------------------------------------------------------------- systemd


def test_the_unit_leaves_what_the_supervisor_needs():
    """Started as root, with no capability beyond those that the supervisor keeps."""
    with open(os.path.join(REPO, "scripts/chanceryd.service"), encoding="utf-8") as f:
        unit = f.read()
    assert not re.search(r"(?m)^(User|Group|DynamicUser)=", unit)
    (bounding,) = re.findall(r"(?m)^CapabilityBoundingSet=(.*)$", unit)
    assert set(bounding.split()) == {"CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"}
    assert "StateDirectoryMode=0711" in unit and "NoNewPrivileges=yes" in unit
    for call in ("seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "@setuid", "@chown"):
        assert re.search(rf"(?m)^SystemCallFilter=([^~].* )?{call}( |$)", unit), call


@root_only
def test_the_units_capabilities_are_enough(bare):
    """All that systemd leaves to the supervisor."""
    argv = bare.process.argv
    at = argv.index("--")
    argv[at:at] = ["--bounding-set", "-all,+chown,+kill,+setgid,+setpcap,+setuid", "--no-new-privs"]
    bare.start()
    assert {n: p["uid"] for n, p in processes(bare).items()} == {
        "supervisor": 0, "issuer": uid_of("issuer"), "front": uid_of("front"), "signer-main": SIGNER}  # fmt: skip
    assert bare.stop() == 0
