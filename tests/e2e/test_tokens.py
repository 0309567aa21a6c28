"""Every kind of token that runs without hardware: a root CA on it, a certificate and
a CRL, judged by OpenSSL; and what a token cannot do is said when the CA is made."""

import contextlib
import json
import os
import signal
from types import SimpleNamespace

import pytest
from harness import clients
from harness.authority import Authority, locations
from harness.cli import CommandFailed
from harness.postgres import REPO
from harness.chanceryd import Chanceryd, program
from harness.process import Process, has_ended, run, wait_until
from harness.signer import KEY_FIND, string
from harness.softhsm import Token
from harness.tokens import OpencryptokiToken, P11KitToken, TpmToken, Unavailable
from harness.world import World

# Class, signing threads, keys of CAs that work (and the policy's line beside), and keys
# that do not, with a part of what is said of them.
PSS = {"pss": True}
KINDS = {
    "p11-kit": (P11KitToken, 2, [("p256", {}), ("rsa2048", PSS)], []),
    "tpm": (TpmToken, 1, [("p256", {}), ("rsa2048", {})],
            [("rsa4096", {}, "its CKM_RSA_PKCS_KEY_PAIR_GEN goes from 1024 to 3072 bits"),
             ("rsa2048", PSS, "it has no CKM_RSA_PKCS_PSS"),
             ("ed25519", {}, "it has no CKM_EC_EDWARDS_KEY_PAIR_GEN")]),
    "opencryptoki": (OpencryptokiToken, 2, [("rsa2048", {}), ("rsa2048", PSS)],
                     [("p256", {}, "it has no CKM_EC_KEY_PAIR_GEN")]),
}


class PlainToken(Token):
    """SoftHSM, loaded directly."""

    prefix, unix_sockets = [], False

    def close(self):
        """It has no process."""


# In the order of README.md's table.
PROBED = {"softhsm": PlainToken, "p11-kit": P11KitToken, "tpm": TpmToken, "opencryptoki": OpencryptokiToken}


class TokenAuthority(Authority):
    """An instance with an operator, whose token is one of the others."""

    def start(self, threads):
        self.daemon.config["tokens"][0]["threads"] = threads
        self.daemon.process.argv = self.token.prefix + self.daemon.process.argv
        self.daemon.start()
        self.add_first_operator("alice")
        self.apply_templates()
        return self

    def close(self):
        try:
            super().close()
        finally:
            self.token.close()

    def newest_crl(self, ca):
        """The number of the newest CRL."""
        return max(int(crl["number"]) for crl in self.cli.json("crl", "show", ca)["crls"])

    def create_root(self, name, key="p256", **more):
        super().create_root(name, key, templates=["tls-server", "sub-ca"], **more)


@pytest.fixture(scope="module", params=list(KINDS))
def place(request, postgres, migrated, new_dir):
    """A running instance on that kind of token, without a CA. works, refuses: from KINDS."""
    kind, threads, works, refuses = KINDS[request.param]
    token = kind(new_dir("token"))
    try:
        token.create()
    except Unavailable as why:
        pytest.skip(str(why))
    except BaseException:
        token.close()
        raise
    made = TokenAuthority(new_dir("i"), postgres.database(migrated), token)
    made.works, made.refuses = works, refuses
    pids = [p.pid for p in token.processes]
    try:
        yield made.start(threads)
    finally:
        made.close()
    assert all(map(has_ended, pids))


UNDER_WAY = 4 * 64  # BATCHES and LIMIT_START in daemon/issuer/issue*
BACKLOG = UNDER_WAY + 44
CRLS_UNDER_WAY = 8  # CRL_BUILDS_MAX in daemon/issuer/crl_calendar.h
FAR_CRLS = CRLS_UNDER_WAY + 3


class TwoTokens(Authority):
    """One token at hand and one behind a network, each with a module and a signer of its own."""

    def start(self, far):
        self.far = self.daemon.tokens["far"] = far
        self.daemon.config["tokens"].append({
            "name": "far", "module": far.module, "select": {"label": far.label}, "pin_file": far.pin_file,
            "threads": 1, "environment": far.environment, "unix_sockets": True, "call_timeout": "10m"})
        self.daemon.start()
        self.add_first_operator("alice")
        self.apply_templates()
        self.apply_automatic()
        self.create_root("near-ca", templates=["many"], token="main")
        self.create_root("far-ca", templates=["many"], token="far", crl={"period": "30d", "overlap": "3d", "shards": FAR_CRLS},
                         locations=locations([self.daemon.crl_url("<CaName><CRLPartitionIndex>")], idp=True))
        wait_until(lambda: self.issued_crls() == {"near-ca": 1, "far-ca": FAR_CRLS}, what="the first CRLs")
        return self

    @contextlib.contextmanager
    def far_hangs(self):
        os.killpg(self.far.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.far.server.pid, signal.SIGCONT)

    def make_due(self, ca, since):
        """All CRLs of a CA."""
        self.database.execute("UPDATE chancery_store.crl_scope SET next_full_at = now() - %s::interval "
                              "WHERE ca_id = (SELECT id FROM chancery_store.ca WHERE name = %s)", (since, ca))

    def _crls(self, states):
        return dict(self.database.execute(
            "SELECT a.name, count(*) FROM chancery_store.crl c JOIN chancery_store.crl_scope s ON s.id = c.scope_id "
            "JOIN chancery_store.ca a ON a.id = s.ca_id WHERE c.state = ANY (%s) GROUP BY 1", (states,)))

    def issued_crls(self):
        """How many, by CA."""
        return self._crls(["issued"])

    def under_way(self):
        return self._crls(["signing"])

    def submit_many(self, ca, count):
        """In one transaction, so that they are there at once."""
        csr = clients.openssl_csr(self.files, ca, dns=["host.example"]).der
        rows = self.database.execute("SELECT chancery.submit_request(%s, 'many', %s::bytea)::text "
                                     "FROM generate_series(1, %s)", (ca, csr, count), "service_one")
        return [row[0] for row in rows]

    def queued(self, ca):
        """(state, how often it was claimed) of each that is not issued."""
        return self.database.execute(
            "SELECT q.state, q.epoch FROM chancery_store.request_queue q JOIN chancery_store.ca ON ca.id = q.ca_id "
            "WHERE ca.name = %s", (ca,))


def judge(place, ca, leaf):
    """OpenSSL verifies the certificate, with the CA's CRL."""
    files = place.files
    root = clients.write(files, f"{ca}.pem", place.ca_pem(ca))
    leaf = clients.write(files, f"{ca}-leaf.pem", leaf)
    crl = os.path.join(files, f"{ca}.crl.pem")
    der = clients.write(files, f"{ca}.crl", place.crl(ca))
    run(["openssl", "crl", "-inform", "DER", "-in", der, "-CAfile", root, "-out", crl])
    run(["openssl", "verify", "-CAfile", root, "-CRLfile", crl, "-crl_check", leaf])
    return leaf, root


def test_issues(place):
    for number, (key, more) in enumerate(place.works):
        ca = f"ca-{number}"
        place.create_root(ca, key, **more)
        request = place.submit(clients.openssl_csr(place.files, ca, dns=["host.example"]), ca=ca)
        place.approve(request)
        judge(place, ca, clients.split_pem(place.issued(request))[0])


def test_goes_on_after_a_restart(place):
    """What the token remembers of limits and journal is what the signer expects of it."""
    for _ in range(2):
        place.daemon.stop()
        place.daemon.start()
        newest = place.newest_crl("ca-0")
        place.issue_crl("ca-0")
        wait_until(lambda: place.newest_crl("ca-0") > newest, what="a CRL")


def test_says_what_it_cannot_do(place):
    """Before anything is made."""
    kept = os.path.join(place.daemon.state_dir, "signer-main")
    before = sorted(os.listdir(kept))
    for key, more, words in place.refuses:
        with pytest.raises(CommandFailed) as refused:
            place.create_root("impossible", key, **more)
        assert "token 'main': the token cannot" in refused.value.stderr and words in refused.value.stderr
    assert sorted(os.listdir(kept)) == before


def signer_argv(token, directory, threads=2):
    """chancery-signer at the console of a token's host."""
    daemon = Chanceryd(directory, SimpleNamespace(dsn=lambda role: "dbname=none"), {"main": token})
    daemon.config["tokens"][0]["threads"] = threads
    daemon.write_config()
    return [*token.prefix, program("chancery-signer"), "--config", daemon.config_path, "--token", "main"]


@pytest.fixture
def other_token(new_dir):
    """A function that makes a token of a kind, without a daemon."""
    made = []

    def make(kind):
        made.append(kind(new_dir("token")))
        return made[-1].create()

    yield make
    for token in made:
        token.close()


@pytest.fixture(scope="module")
def two(postgres, migrated, new_dir):
    far = P11KitToken(new_dir("token")).create()
    place = TwoTokens(new_dir("i"), postgres.database(migrated))
    try:
        yield place.start(far)
    finally:
        place.close()
        far.close()


def test_a_token_that_hangs_holds_up_no_other(two):
    with two.far_hangs():
        two.submit_many("far-ca", BACKLOG)
        wait_until(lambda: two.queued("far-ca").count(("signing", 1)) == UNDER_WAY,
                   what="all that goes to one token at a time")
        for request in two.submit_many("near-ca", 3):
            two.issued(request)
        # They did not have to wait until anything there was given up.
        assert two.queued("far-ca").count(("signing", 1)) == UNDER_WAY
    wait_until(lambda: two.queued("far-ca") == [], what="the others' certificates")


def test_a_token_that_hangs_holds_up_no_others_crls(two):
    """More of its CRLs are due than are made at a time, and before all others."""
    before = dict(two.issued_crls())
    with two.far_hangs():
        two.make_due("far-ca", "1 min")
        wait_until(lambda: two.under_way() == {"far-ca": CRLS_UNDER_WAY}, what="all that goes to one token at a time")
        for count in (1, 2):
            two.make_due("near-ca", "0 s")
            wait_until(lambda n=count: two.issued_crls()["near-ca"] == before["near-ca"] + n, what="the other token's CRL")
        two.issue_crl("near-ca")
        # They did not have to wait until anything there was given up.
        assert two.under_way() == {"far-ca": CRLS_UNDER_WAY} and two.issued_crls()["far-ca"] == before["far-ca"]
    wait_until(lambda: two.issued_crls()["far-ca"] == before["far-ca"] + FAR_CRLS and two.under_way() == {}, what="all CRLs")


def test_a_module_that_mistakes_objects(other_token, new_dir):
    """tpm2-pkcs11 gives a new object another one's handle once the first of all was removed: the old value of
    the journal's anchor, which is that here, stays, and nothing is destroyed that was not meant."""
    world = World(new_dir("mistaken"), other_token(TpmToken), threads=1, unix_sockets=True)
    try:
        for _ in range(2):
            world.signer.start()
            world.signer.stop()
        world.start()
        world.install()
        world.issue()
        for _ in range(2):
            world.sign_crl()
        world.signer.stop()
        world.signer.start()
        for key in (world.root, world.bare, world.key):
            assert key.spki in world.signer.ask(KEY_FIND, string(key.id))
        world.sign_crl()
        world.issue()
        assert "mistakes one object" not in world.signer.process.log()
    finally:
        world.signer.stop()


def matrix():
    """{row: {kind: cell}} of README.md's table of tokens, without the rates."""
    with open(os.path.join(REPO, "README.md"), encoding="utf-8") as f:
        text = f.read()
    lines = text[text.index("| | SoftHSM 2.6.1 |"):].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0].replace("`", ""): dict(zip(PROBED, row[1:], strict=True)) for row in rows
            if not row[0].startswith("signatures/s")}


def as_in_matrix(table, takes_keys):
    """What the probe found, in the words of that table."""
    rsa = [bits for bits in ("2048", "3072", "4096") if table[f"key rsa{bits}"].startswith("yes:")]
    pss = {"pss-sha256" in table[f"key rsa{bits}"] for bits in rsa}
    assert len(pss) == 1 and all("rsa-sha256" in table[f"key rsa{bits}"] for bits in rsa)
    curves = [name for name in ("P-256", "P-384", "P-521")
              if table["key " + name.lower().replace("-", "")].startswith("yes: ecdsa-sha256")]

    def word(name):
        return table[name].split(":")[0]

    return {
        "RSA": ", ".join(rsa),
        "PKCS#1 v1.5, PSS": "both" if True in pss else "v1.5 only",
        "P-256, P-384, P-521": "all" if len(curves) == 3 else ", ".join(curves) or "none",
        "Ed25519 (CKM_EDDSA)": word("key ed25519"),
        "CKA_ALWAYS_AUTHENTICATE": word("always-authenticate"),
        "data objects (limits, journal)": word("data objects"),
        "session objects": word("session objects"),
        "keys from outside": "yes" if takes_keys else "no",
    }


def import_key(argv, directory):
    """Whether the token takes one; it is there afterwards."""
    path = os.path.join(directory, "outside")
    run(["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=outside", "-keyout", path + ".key",
         "-out", path + ".pem"])
    run(["openssl", "pkcs12", "-export", "-inkey", path + ".key", "-in", path + ".pem", "-out", path + ".p12",
         "-passout", "pass:outside"])
    password = clients.write(directory, "password", "outside\n")
    os.chmod(password, 0o600)
    said = run([*argv, "--import-key", path + ".p12", "--passphrase-file", password], check=False, text=True)
    assert said.returncode == 0 or "takes no private key from outside" in said.stderr, said.stderr
    return said.returncode == 0


@pytest.mark.parametrize("name", PROBED)
def test_probe(other_token, work_dir, name):
    """What a token can do, by trial, is what README.md says; and nothing is left on it."""
    try:
        argv = signer_argv(other_token(PROBED[name]), work_dir)
    except Unavailable as why:
        pytest.skip(str(why))
    asked = [*argv[:argv.index("--config") - 1], program("chancery"), "token", "probe", "main", "--json",
             "--config", argv[argv.index("--config") + 1]]
    for _ in range(1 + (name == "tpm")):  # what the first one leaves would be seen by the second
        table = json.loads(run(asked).stdout)
    assert as_in_matrix(table, import_key(argv, work_dir)) == {row: cells[name] for row, cells in matrix().items()}
    assert table["left on the token"] == "nothing"
    assert any(name.endswith("1 session") and value.endswith("signatures/s") for name, value in table.items())


def test_what_libp11_is_trusted_with():
    """It loads the module and lists slots. Its pool of sessions, its logins, its lists of keys and its signatures,
    with what is wrong with them (an endless wait for a session, a session that a failed login spoilt, a key of
    Ed25519 that hides all others), nobody can reach."""
    imported = {line.split()[-1].split("@")[0] for line in run(
        ["nm", "-D", "--undefined-only", program("chancery-signer")], text=True).stdout.splitlines()}
    assert {name for name in imported if name.startswith("PKCS11_")} == {
        "PKCS11_CTX_new", "PKCS11_CTX_load", "PKCS11_CTX_unload", "PKCS11_CTX_free", "PKCS11_enumerate_slots",
        "PKCS11_release_all_slots", "PKCS11_get_slotid_from_slot"}


def test_soak(other_token, work_dir):
    """A network HSM that goes away and comes back while it is soaked. One thread: p11-kit's
    client closes its descriptor under the others, which then wait for ever."""
    token = other_token(P11KitToken)
    soak = Process("soak", [*signer_argv(token, work_dir, threads=1), "--probe", "--soak", "600"],
                   os.path.join(work_dir, "soak.log")).start()
    try:
        wait_until(lambda: "p256, 1 session" in soak.log(), what="the table", alive=soak)
        token.server.stop()
        wait_until(lambda: " away: " in soak.log(), what="the outage", alive=soak)
        token.start_server()
        wait_until(lambda: " back: after " in soak.log(), what="the return", alive=soak)
        soak.send_signal(signal.SIGINT)
        assert soak.wait() == 0, soak.log_tail()
    finally:
        soak.kill()
    assert "soak, outages          1, the longest " in soak.log()
    assert "left on the token      nothing" in soak.log()
