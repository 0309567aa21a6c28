"""Roles with users of their own, as a service that is started as root has them.

No user is made for that: the signer runs as two numbers that no user has, issuer
and front as users of Debian's that own nothing, because PostgreSQL asks for the
names of those who log in. What the programs under test need lies in copies that
these users can reach, wherever the build is.
"""

import ctypes
import json
import os
import pwd
import shutil
import subprocess
import sys

from .chanceryd import program
from .process import run, wait_until

SIGNER = 47001  # uid and gid; below those that systemd hands out
ISSUER, FRONT = "news", "uucp"
USERS = {"signer": f"{SIGNER}:{SIGNER}", "issuer": ISSUER, "front": FRONT}
NO_LANDLOCK = os.path.join(os.path.dirname(__file__), "no_landlock.py")


def uid_of(role):
    return SIGNER if role.startswith("signer") else pwd.getpwnam({"issuer": ISSUER, "front": FRONT}[role]).pw_uid


def landlock_version():
    """Of this kernel; 0: it has none."""
    version = ctypes.CDLL(None).syscall(444, None, 0, 1)  # landlock_create_ruleset: no file, the version
    return max(version, 0)


def mode():
    """The most that this kernel can do."""
    return "require" if landlock_version() > 0 else "best-effort"


def give(path, user, file_mode=None):
    """A file or a directory with all below it."""
    for directory, _, files in os.walk(path):
        for name in [directory] + [os.path.join(directory, f) for f in files]:
            shutil.chown(name, user, user)
    if not os.path.isdir(path):
        shutil.chown(path, user, user)
    if file_mode is not None:
        os.chmod(path, file_mode)


def allow_logins(cluster):
    """Each role's user logs in as its own database role, and as no other."""
    with open(os.path.join(cluster.data, "pg_ident.conf"), encoding="ascii") as f:
        if f"chancery {ISSUER} " in f.read():
            return
    for user, role in ((ISSUER, "chancery_issuer"), (FRONT, "chancery_front")):
        cluster._write("pg_ident.conf", f"chancery {user} {role}\n", "a")
    cluster.execute("postgres", "SELECT pg_reload_conf()")
    wait_until(lambda: len(cluster.execute(
        "postgres", "SELECT 1 FROM pg_ident_file_mappings WHERE sys_name IN (%s, %s)", (ISSUER, FRONT))) == 2,
        what="the map of users")


def copy_programs(directory):
    """The programs under test where every user may execute them."""
    os.makedirs(directory, exist_ok=True)
    for name in ("chanceryd", "chancery-signer"):
        shutil.copy(program(name), directory)
        os.chmod(os.path.join(directory, name), 0o755)
    return os.path.join(directory, "chanceryd")


def separate(daemon, sandbox=None, without_landlock=False):
    """Makes a daemon that was not started yet one with a user for each role."""
    allow_logins(daemon.database.cluster)
    binary = copy_programs(os.path.join(daemon.directory, "bin"))
    argv = daemon.process.argv
    argv[argv.index(program("chanceryd"))] = binary
    if without_landlock:
        at = argv.index(binary)
        argv[at:at] = [sys.executable, NO_LANDLOCK]
    daemon.config["separation"] = dict(USERS)
    daemon.config["sandbox"] = sandbox or mode()
    daemon.config_mode = 0o644
    for token in daemon.tokens.values():
        give(token.directory, SIGNER)
    give(daemon.credentials_dir, ISSUER)
    return daemon


def as_user(user, *argv, check=False, **more):
    """Runs a command as that user, without root's groups: its result."""
    uid = user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
    gid = user if isinstance(user, int) else pwd.getpwnam(user).pw_gid
    return run(["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "--", *argv], check=check,
               text=True, cwd="/", **more)  # fmt: skip


ATTACKER = """
import ctypes, errno, json, os, signal, socket, sys

libc = ctypes.CDLL(None, use_errno=True)

def call(*args):
    if libc.syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in args)) < 0:
        raise OSError(ctypes.get_errno(), "a system call")

for code in json.loads(sys.stdin.read()):
    try:
        exec(code)
        print("worked")
    except OSError as e:
        print(errno.errorcode[e.errno])
"""


def tries(user, *attempts):
    """Runs lines of Python as that user; what came of each: "worked", or an errno."""
    result = as_user(user, "/usr/bin/python3", "-B", "-c", ATTACKER, input=json.dumps(attempts))
    assert result.returncode == 0, result.stderr
    outcomes = result.stdout.split()
    assert len(outcomes) == len(attempts)
    return outcomes


def status_of(pid):
    """/proc/PID/status as a dictionary."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: v.strip() for k, v in (line.split(":", 1) for line in f)}


def has_tools():
    """Why these tests cannot run here, or None."""
    if os.geteuid() != 0:
        return "only root can give roles users of their own"
    if subprocess.call(["setpriv", "--reuid", str(SIGNER), "true"]) != 0:
        return "this container does not let root become others"
    return None
