"""Published files that belong to another user, in directories where only that user may
write: written by a process of that user, which can do nothing else. With real users,
started as root."""

import os
import signal
import stat
import subprocess
import sys

import pytest
from harness import separation
from harness.authority import Authority
from harness.nginx import Nginx
from harness.process import wait_until
from harness.separation import ISSUER, status_of, tries, uid_of

NOT_HERE = separation.has_tools()
LANDLOCK = separation.landlock_version()
root_only = pytest.mark.skipif(NOT_HERE is not None, reason=NOT_HERE or "")
WEB, NUMBER = "www-data", 47005


@pytest.fixture(scope="module")
def owned(postgres, migrated, new_dir):
    """An authority that publishes into directories of its own, of a web server's user and of
    a user who is only a number, where nobody else may even look."""
    if NOT_HERE:
        pytest.skip(NOT_HERE)
    nginx = Nginx(new_dir("nginx")).create()
    a = Authority(new_dir("i"), postgres.database(migrated))
    a.own, a.web, a.closed = (os.path.join(nginx.root, name) for name in ("own", "web", "closed"))
    a.way, a.late, a.outside = os.path.join(a.files, "way"), os.path.join(nginx.root, "late"), new_dir("outside")
    separation.give(a.outside, WEB)
    os.symlink(a.web, a.way)
    for folder, user, mode in ((a.own, ISSUER, 0o755), (a.web, WEB, 0o755), (a.closed, NUMBER, 0o700)):
        os.mkdir(folder)
        separation.give(folder, user, mode)

    def settings(daemon):
        separation.separate(daemon)
        daemon.config["issuer"]["publish_dirs"] = [
            nginx.root, {"path": a.web, "user": WEB}, {"path": a.closed, "user": f"{NUMBER}:{NUMBER}"},
            {"path": a.way, "user": WEB}, {"path": a.late, "user": WEB}]

    nginx.start()
    try:
        a.create(settings=settings, targets=[
            {"name": name, "artifact": "crl", "kind": "file", "write": f"{folder}/a.crl",
             "read": f"{nginx.url}/{name}/a.crl", **more}
            for name, folder, more in (("own", a.own, {}), ("web", a.web, {"mode": "0640", "group": WEB}),
                                       ("closed", a.closed, {}))] + [
            {"name": name, "artifact": "crl", "kind": "file", "write": f"{folder}/{name}.crl",
             "read": f"{nginx.url}/{read}/{name}.crl"}
            for name, folder, read in (("way", a.way, "web"), ("late", a.late, "late"), ("astray", f"{a.web}/out", "out"))])  # fmt: skip
        yield a
    finally:
        a.close()
        nginx.stop()


def read(path):
    with open(path, "rb") as f:
        return f.read()


def publications(a, target):
    return [p for p in a.cli.json("publish", "status")["publications"] if p["target"].endswith(target)]


def processes(daemon):
    return {p["name"]: p for p in daemon.api.get("/v1/status").json()["processes"]}


def published_everywhere(a):
    full = a.crl()
    wait_until(lambda: all(os.path.exists(f"{d}/a.crl") and read(f"{d}/a.crl") == full for d in (a.own, a.web, a.closed)),
               what="the CRL in all directories", alive=a.daemon.process)  # fmt: skip
    return full


@root_only
def test_files_belong_to_the_user_of_their_directory(owned):
    first = published_everywhere(owned)
    owned.issue_crl()
    assert published_everywhere(owned) != first
    found = {}
    for folder in (owned.own, owned.web, owned.closed):
        assert set(os.listdir(folder)) <= {"a.crl", "way.crl"}
        st = os.lstat(f"{folder}/a.crl")
        found[folder] = (st.st_uid, stat.S_IMODE(st.st_mode))
    assert found == {owned.own: (uid_of("issuer"), 0o644), owned.web: (33, 0o640), owned.closed: (NUMBER, 0o644)}
    assert "does not allow the system call" not in owned.daemon.process.log()


def descriptors(pid):
    """What is open there, without numbers of sockets and pipes."""
    folder = f"/proc/{pid}/fd"
    return {int(n): os.readlink(f"{folder}/{n}").split(":")[0] for n in os.listdir(folder)}


@root_only
def test_the_process_has_no_more_than_it_needs(owned):
    """By the kernel's word; and then as an attacker who has its user."""
    shown = {n: p for n, p in processes(owned.daemon).items() if n.startswith("writer-")}
    assert set(shown) == {f"writer-{WEB}", f"writer-{NUMBER}:{NUMBER}"}
    for name, uid, folder in ((f"writer-{WEB}", 33, owned.web), (f"writer-{NUMBER}:{NUMBER}", NUMBER, owned.closed)):
        p = shown[name]
        assert (p["state"], p["uid"], p["gid"], p["profile"], p["sockets"]) == ("running", uid, uid, "writer", "none")
        assert p["missing"] == ([] if LANDLOCK else ["landlock"]) and p["landlock"] == LANDLOCK
        kernel = status_of(p["pid"])
        assert kernel["Uid"].split() == kernel["Gid"].split() == [str(uid)] * 4
        assert {kernel["Groups"], kernel["Seccomp"], kernel["NoNewPrivs"]} == {str(uid), "2", "1"}
        for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(kernel[capabilities], 16) == 0, capabilities
        # Control channel, channel to the issuer, and the loop's own: no database, no
        # signer, no listener, no file.
        # While a file is written, two more.
        own = ["anon_inode", "pipe", "pipe", "socket", "socket"]
        wait_until(lambda pid=p["pid"]: sorted(v for fd, v in descriptors(pid).items() if fd > 2) == own,
                   what=f"no more than {own}", alive=owned.daemon.process)  # fmt: skip
        with open(f"/proc/{p['pid']}/environ", "rb") as f:
            assert {v.split(b"=")[0] for v in f.read().split(b"\0") if v} <= {
                b"PATH", b"TZ", b"JOURNAL_STREAM", b"CHANCERY_SANDBOX", b"ASAN_OPTIONS", b"LSAN_OPTIONS",
                b"UBSAN_OPTIONS", b"TSAN_OPTIONS"}  # fmt: skip
        assert read(f"/proc/{p['pid']}/cmdline").split(b"\0")[1:-1] == [b"--role", name.encode(), b"--", *(
            path.encode() for path in ([folder] if uid == NUMBER else [folder, owned.way, owned.late]))]  # fmt: skip
    d = owned.daemon
    spool, secret = os.path.join(d.state_dir, "spool"), os.path.join(d.state_dir, "signer-main")
    attempts = [f"os.listdir({path!r})" for path in (spool, secret, d.state_dir, owned.closed)]
    attempts += [f"socket.socket(socket.AF_UNIX).connect({d.socket_path!r})",
                 f"os.open({os.path.join(owned.own, 'x')!r}, os.O_CREAT | os.O_WRONLY)"]  # fmt: skip
    attempts += [f"os.open('/proc/{p['pid']}/{f}', os.O_RDONLY)" for p in processes(d).values() for f in ("mem", "fd/3")]
    assert set(tries(WEB, *attempts)) <= {"EACCES", "EPERM"}
    # Nor may the issuer write there, with or without a sandbox.
    assert tries(ISSUER, *(f"os.open({path + '/x'!r}, os.O_CREAT | os.O_WRONLY)" for path in (owned.web, owned.closed))
                 ) == ["EACCES"] * 2  # fmt: skip


@root_only
def test_it_comes_back(owned):
    """Killed: the writer, the issuer, and both while the issuer has much to publish."""
    d, name = owned.daemon, f"writer-{WEB}"

    def children():
        return {n: c["pid"] for n, c in (d.run_state() or {"children": {}})["children"].items() if c["state"] == "running"}

    for victims in ((name,), ("issuer",), (name, "issuer")):
        before = children()
        for victim in victims:
            os.kill(before[victim], signal.SIGKILL)
        wait_until(lambda v=victims, b=before: all(children().get(n, b[n]) != b[n] for n in v), what=f"{victims}",
                   alive=d.process)  # fmt: skip
        last = read(f"{owned.web}/a.crl")
        owned.issue_crl()
        assert published_everywhere(owned) != last
    assert os.lstat(f"{owned.web}/a.crl").st_uid == 33


@root_only
def test_a_directory_that_is_not_the_users(owned):
    """Who may not write is named; the others' files go on; and nothing has to be restarted
    when the right is there."""
    # None is under way, which would leave its unfinished copy where it may no longer remove it.
    wait_until(lambda: all(p["state"] == "done" for name in ("/web", "/way") for p in publications(owned, name)), what="all")
    os.chown(owned.web, 0, 0)
    stood = read(f"{owned.web}/a.crl")
    owned.issue_crl()

    def said():
        return next((p for p in publications(owned, "web") if p["state"] != "done" and p["last_error"]), None)

    waiting = wait_until(said, what="the refusal")
    assert "user id 33 may not write there; give it the right to write in the folder" in waiting["last_error"]
    full = owned.crl()
    wait_until(lambda: read(f"{owned.own}/a.crl") == read(f"{owned.closed}/a.crl") == full, what="the others")
    assert "user id 33 may not write there" in owned.cli.result("doctor").stdout
    assert read(f"{owned.web}/a.crl") == stood and not [n for n in os.listdir(owned.web) if n.startswith(".")]
    separation.give(owned.web, WEB)
    owned.cli("publish", "retry", str(waiting["id"]))
    wait_until(lambda: read(f"{owned.web}/a.crl") == full, what="the list", alive=owned.daemon.process)


@root_only
def test_links_and_directories_that_come_later(owned):
    """A link to a directory is as good as the directory; one in it leads nowhere else. What
    was not there at the start is used when it is."""
    os.symlink(owned.outside, f"{owned.web}/out")

    def said(target, words):
        found = publications(owned, target)
        for p in found:
            if p["state"] != "done" and words in (p["last_error"] or ""):
                return p
            owned.cli("publish", "retry", str(p["id"]))
        return None

    late = wait_until(lambda: said("late", "the folder does not exist; create it"), what="that there is none")
    if LANDLOCK:
        wait_until(lambda: said("astray", "user id 33 may not write there"), what="the kernel's refusal")
        assert os.listdir(owned.outside) == []
    writer = processes(owned.daemon)[f"writer-{WEB}"]["pid"]
    os.mkdir(owned.late)
    separation.give(owned.late, WEB)

    def there():
        if os.path.exists(f"{owned.late}/late.crl"):
            return True
        owned.cli("publish", "retry", str(late["id"]))
        return False

    wait_until(there, what="the list in the new directory", alive=owned.daemon.process)
    assert os.lstat(f"{owned.late}/late.crl").st_uid == 33
    assert processes(owned.daemon)[f"writer-{WEB}"]["pid"] != writer
    wait_until(lambda: read(f"{owned.web}/way.crl") == owned.crl(), what="the list behind the link")


@root_only
def test_a_reload_adds_and_removes_users(owned):
    d = owned.daemon
    dirs = d.config["issuer"]["publish_dirs"]
    dirs.append({"path": d.directory, "user": "backup"})
    d.write_config()
    d.reload()

    def running(wanted):
        return wait_until(lambda: (p := processes(d)) and ("writer-backup" in p) is wanted and all(
            v["state"] == "running" for v in p.values()) and p, what=f"writer-backup: {wanted}", alive=d.process)  # fmt: skip

    assert running(True)["writer-backup"]["uid"] == 34
    # Nothing of it is his to write: he says so from the start.
    wait_until(lambda: f"user id 34 cannot write in {d.directory}" in d.run_state()["children"]["writer-backup"]["status"],
               what="what it says", alive=d.process)  # fmt: skip
    dirs.pop()
    d.write_config()
    d.reload()
    running(False)
    last = read(f"{owned.web}/a.crl")
    owned.issue_crl()
    assert published_everywhere(owned) != last


@root_only
def test_who_has_its_user_holds_up_nobody_else(bare_instance, new_dir):
    """Its processes may be stopped by all others of that user, at any moment of their start: the rest
    starts without it, and it goes on where it is let."""
    d, folder, user = separation.separate(bare_instance), new_dir("stopped"), NUMBER + 4
    separation.give(folder, user)
    d.config["issuer"]["publish_dirs"] = [{"path": folder, "user": f"{user}:{user}"}]
    stop = "import os, signal\nprint(flush=True)\nwhile True:\n try: os.kill(-1, signal.SIGSTOP)\n except OSError: pass"
    with subprocess.Popen([sys.executable, "-c", stop], user=user, group=user, extra_groups=[],
                          stdout=subprocess.PIPE) as stopper:
        try:
            # It is there before they are, and ahead of what else wants a processor.
            assert stopper.stdout.readline() == b"\n"
            os.setpriority(os.PRIO_PROCESS, stopper.pid, -20)
            d.start()
            assert processes(d)[f"writer-{user}:{user}"]["state"] != "running"
        finally:
            stopper.kill()

    def runs():
        p = processes(d)[f"writer-{user}:{user}"]
        if p["state"] != "running" and p["pid"]:
            os.kill(p["pid"], signal.SIGCONT)
        return p["state"] == "running"

    wait_until(runs, what="the writer", alive=d.process)


# ------------------------------------------------------------------ configuration


def refused(daemon, *words):
    daemon.write_config()
    result = daemon.run("--check-config", check=False)
    assert result.returncode == 1
    for word in words:
        assert word in str(result.stderr), result.stderr
    assert len(str(result.stderr).strip().splitlines()) == 1


@root_only
@pytest.mark.parametrize("user, words", [
    ("no-such-user", ["'no-such-user' is no user of this host"]),
    ("root", ["'root' is root"]),
    (ISSUER, [f"'{ISSUER}' is the user of the issuer, who writes there without 'user'"]),
    (f"{separation.SIGNER}:1", ["is the user of the signers"]),
])
def test_users_whom_files_cannot_belong_to(bare_instance, user, words):
    d = separation.separate(bare_instance)
    d.config["issuer"]["publish_dirs"] = ["/srv", {"path": "/srv/www", "user": user}]
    refused(d, "'issuer.publish_dirs[1].user'", *words)


def test_only_with_separation(bare_instance):
    """Whoever is not root cannot start a process as somebody else."""
    bare_instance.config["issuer"]["publish_dirs"] = [{"path": "/srv/www", "user": WEB}]
    refused(bare_instance, "'issuer.publish_dirs[0].user'", "only where root starts the daemon",
            "belong to the user who runs the daemon")  # fmt: skip
