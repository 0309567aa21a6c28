"""Two hosts that both live, on one database, in different networks: chancery doctor --from
says what each of them reaches, and what becomes of a host that dies while it looks."""

import json
import os
import socket
import threading

import psycopg2
import pytest

from harness.apart import Apart
from harness.authority import locations
from harness.chanceryd import Chanceryd
from harness.process import free_port, run, wait_until
from harness.web import Web
from test_doctor import STORE, examine, wrong

OTHER = "host-two"


class Hosts:
    """a: the first one, whose network is that of this test; daemon: the second one's. Where
    either of them looks there are three web servers: one that is only here, one that is only
    there, and one at the same address on both; and a directory that is only here."""

    def __init__(self, a, directory, slapd):
        self.a, self.slapd = a, slapd
        ports = [free_port() for _ in range(2)]
        self.apart = Apart(OTHER, ports)
        self.here, self.everywhere = Web(), Web(socket.create_server(("127.0.0.1", ports[1])))
        self.there, self.everywhere_too = (Web(s) for s in self.apart.listeners)
        self.everywhere_too.files = self.everywhere.files
        self.daemon = Chanceryd(directory, a.database, {"main": a.token})
        self.daemon.config["issuer"]["signer_id"] = 2
        self.daemon.process.argv = self.apart.enter + self.daemon.process.argv
        self.root, self.ca = "beyond", "far"  # in this order doctor looks at them
        self.entry = f"cn=far,{slapd.suffix}"

    def make(self):
        a, url = self.a, f"{self.everywhere.url}/%s"
        a.create_root(self.root, locations=locations([url % "root.crl"], aia=[url % "root.cer"]))
        cdp = [url % "far.crl", self.here.url + "/far.crl", f"{self.slapd.url}/{self.entry}?certificateRevocationList;binary",
               self.there.url + "/far.crl"]
        a.create_issuing(self.ca, deltas=False, root=self.root, locations=locations(cdp, aia=[url % "far.cer"]))
        crl = a.crl(self.ca)
        for place in (self.here, self.there, self.everywhere):
            place.files["/far.crl"] = crl
        self.everywhere.files.update({"/root.crl": a.crl(self.root), "/root.cer": self.certificate(self.root),
                                      "/far.cer": self.certificate(self.ca)})
        with self.slapd.connect() as connection:
            assert connection.add(self.entry, ["cRLDistributionPoint"], {"certificateRevocationList;binary": crl})
        both = {url % name for name in ("root.crl", "root.cer", "far.crl", "far.cer")}
        self.reached = {os.uname().nodename: both | set(cdp[1:3]), OTHER: both | set(cdp[3:])}
        return self

    def certificate(self, ca):
        return self.a.daemon.web.get(f"/aia/{ca}.cer").body

    def start(self):
        self.daemon.start()
        wait_until(lambda: OTHER in {h["name"] for h in self.a.cli.json("status")["hosts"]}, what="its report")

    def close(self):
        if self.daemon.process.alive():
            self.daemon.stop()
        self.daemon.check_logs()
        for place in (self.here, self.there, self.everywhere, self.everywhere_too):
            place.close()
        self.apart.close()


@pytest.fixture(scope="module")
def hosts(shared_instance, new_dir, slapd):
    made = Hosts(shared_instance, new_dir("host2"), slapd)
    try:
        made.make().start()
        yield made
    finally:
        made.close()


def places(findings):
    """{URL: state} of all that is about one."""
    return {f["detail"].split(": ")[0]: f["state"] for f in findings if "://" in f["detail"]}


@pytest.mark.parametrize("first", [True, False])
def test_each_host_says_what_it_reaches(hosts, first):
    """By its name and by its number; the same, whichever front is asked; and what it says is
    what the command itself finds when it runs on that host."""
    a = hosts.a
    name = os.uname().nodename if first else OTHER
    everything = set.union(*hosts.reached.values())
    wanted = {url: "ok" if url in hosts.reached[name] else "critical" for url in everything}
    assert set(wanted.values()) == {"ok", "critical"}
    for words in ((), ("--socket", hosts.daemon.socket_path)):
        for host in (name, "1" if first else "2"):
            result = a.cli.result("--json", *words, "doctor", hosts.ca, "--from", host)
            answer = json.loads(result.stdout)
            assert (result.returncode, answer["state"]) == (1, "critical")
            assert places(answer["findings"]) == wanted
            for finding in answer["findings"]:
                assert finding.get("from") == (host if "://" in finding["detail"] else None)
    text = a.cli.result("doctor", hosts.ca, "--from", name)
    assert text.returncode == 1
    for url, state in wanted.items():
        line, = (x for x in text.stdout.splitlines() if f" as seen from {name}: {url}: " in x)
        assert line.startswith(f"{state:8}  {hosts.ca}")
    there = run([*hosts.apart.enter, *a.cli.argv("--json", "doctor", hosts.ca)] if not first else
                a.cli.argv("--json", "doctor", hosts.ca), check=False, text=True, env=a.cli.environment())
    assert there.returncode == 1 and places(json.loads(there.stdout)["findings"]) == wanted


def test_what_all_hosts_reach(hosts):
    for host in (os.uname().nodename, OTHER):
        findings = examine(hosts.a, hosts.root, "--from", host)
        assert len(places(findings)) == 2 and not [f for f in wrong(findings) if "://" in f[3]]


def test_an_address_that_never_answers(hosts):
    """On one of the hosts: its other addresses are looked at all the same."""
    a, never = hosts.a, threading.Event()
    hosts.everywhere_too.answers["GET", "/far.crl"] = lambda request: never.wait() and None
    try:
        findings = examine(a, hosts.ca, "--from", OTHER, status=1)
        found = {f["detail"].split(": ")[0]: f["detail"] for f in findings if f["state"] == "critical"}
        unreached = set.union(*hosts.reached.values()) - hosts.reached[OTHER]
        slow = hosts.everywhere.url + "/far.crl"
        assert set(found) == unreached | {slow}
        assert "within" in found[slow] or "time" in found[slow], found[slow]
        assert slow in hosts.reached[OTHER] and places(findings)[hosts.there.url + "/far.crl"] == "ok"
        assert places(examine(a, hosts.ca, "--from", "1", status=1))[slow] == "ok"
    finally:
        never.set()
        hosts.everywhere_too.answers.clear()


def test_an_issuer_that_dies_while_it_looks(hosts):
    """The next one on its host does what that one had taken."""
    a, asked, go = hosts.a, threading.Event(), threading.Event()

    def hold(request):
        asked.set()
        go.wait()

    hosts.everywhere_too.answers["GET", "/root.crl"] = hold
    said = []
    doctor = threading.Thread(target=lambda: said.extend(examine(a, hosts.root, "--from", OTHER)))
    doctor.start()
    try:
        assert asked.wait(180)
        assert hosts.daemon.kill_role("issuer") == 1
        assert a.database.one(STORE + "SELECT count(*) FROM look WHERE state = 'taken'") == 1
    finally:
        go.set()
        doctor.join()
        hosts.everywhere_too.answers.clear()
    assert set(places(said).values()) == {"ok"} and len(places(said)) == 2


def test_a_host_that_is_gone(hosts):
    """That needs no waiting: one that runs is heard of each five seconds."""
    a = hosts.a
    a.database.execute(STORE + "INSERT INTO host_status VALUES (47, 1, 1, now() - interval '1 h', 'host-gone')")
    try:
        found = [f for f in examine(a, hosts.root, "--from", "host-gone", status=1) if "from" in f]
        assert len(found) == 1 and "host host-gone is away: its issuer was last heard of 36" in found[0]["detail"]
    finally:
        a.database.execute(STORE + "DELETE FROM host_status WHERE signer_id = 47; DELETE FROM look WHERE signer_id = 47")


def test_a_host_that_dies_between_two_looks(hosts):
    """At a place that was judged before for another CA's sake: from there on nothing is
    known of it, and that is said."""
    a, seen = hosts.a, []
    with psycopg2.connect(a.database.dsn()) as connection, connection.cursor() as cursor:

        def hold(request):  # no other order gets in, while this one ends
            cursor.execute(STORE + "LOCK TABLE look IN SHARE UPDATE EXCLUSIVE MODE")
            seen.append(a.database.one(STORE + "SELECT max(id) FROM look"))

        hosts.there.answers["GET", "/far.crl"] = hold
        result = []
        doctor = threading.Thread(target=lambda: result.append(a.cli.result("--json", "doctor", "--from", OTHER)))
        doctor.start()
        wait_until(lambda: seen and a.database.one(STORE + "SELECT state FROM look WHERE id = %s", (seen[0],)) == "done",
                   what="the last look")
        hosts.daemon.process.kill()
        connection.rollback()
        doctor.join()
    a.token.mend()
    findings = json.loads(result[0].stdout)["findings"]
    away = [f for f in findings if "is away: its issuer was last heard of" in f["detail"]]
    assert result[0].returncode == 1 and len(away) == 1 and away[0]["state"] == "critical" and away[0]["from"] == OTHER
    assert away[0]["object"].startswith(hosts.ca + " (above") and away[0]["detail"].startswith(hosts.everywhere.url + "/root.crl: ")
    assert findings.index(away[0]) == max(i for i, f in enumerate(findings) if "from" in f)
    assert set(places(examine(a, hosts.root, "--from", "1")).values()) == {"ok"}
    hosts.start()  # another day
    assert set(places(examine(a, hosts.root, "--from", OTHER)).values()) == {"ok"}
