"""The harness of `make bench` itself, with a dozen certificates a round: every kind
of series runs to its end and writes its numbers. What they are is not judged."""

import json
import math
import os
import subprocess
import sys

from harness.chanceryd import program
from harness.postgres import REPO
from harness.process import PATIENCE_S, find_program, run, wait_until

# One of each kind.
SERIES = ["raw.p256", "issue.p256.rsa_csr", "backlog.p256.rsa_csr", "shape.p256.rsa_csr.64x4", "latency.p256", "peers.p256",
          "crl", "scale", "journal", "queue.16", "signers.p256.2", "machines.5ms.issuers2", "bloat"]
NUMBERS = [
    "raw.p256.threads2.processes1.per_s", "issue.p256.rsa_csr.ratio_to_raw", "issue.p256.rsa_csr.ratio_to_raw_min",
    "issue.p256.rsa_csr.cpu_us.signer", "issue.p256.rsa_csr.cpu_us.postgres.issuer", "issue.p256.rsa_csr.cpu_us.postgres.services",
    "backlog.p256.rsa_csr.per_s", "shape.p256.rsa_csr.64x4.per_s", "latency.p256.rsa_csr.half.p50_ms", "latency.p256.rsa_csr.least_ms",
    "crl.500.s", "crl.500.openssl_by_ours", "crl.500.issuer_s", "crl.500.gate_per_s", "delta.500.s", "readable.http_ms", "readable.ldap_ms", "scale.500.search_ratio_to_empty", "scale.500.ratio_to_empty", "queue.16.per_s", "journal.p256.us_per_certificate",
    "signers.p256.2.ratio_to_raw", "machines.5ms.issuers2.ratio_to_sessions", "machines.5ms.issuers2.cpu_us.signer",
    "bloat.500.queue_mib", "memory.issuer.peak_mib", "memory.front.peak_mib", "memory.signer.peak_mib", "memory.postgres.pss_mib",
    "target.memory", "run.took_s",
]


def programs_of(directory):
    """What runs with a file of that directory among its arguments or in its
    environment: all that a bench starts has."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            for name in ("cmdline", "environ"):
                with open(f"/proc/{entry}/{name}", "rb") as f:
                    text = f.read()
                if entry.isdigit() and os.fsencode(directory) in text:
                    found.append(text.replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            pass
    return found


def test_slow_token(token, work_dir):
    """Behind shim.so no session signs more often than its latency allows, and none
    waits for another."""
    key = os.path.join(work_dir, "key.pem")
    environment = dict(os.environ, **token.environment)
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key])
    run([find_program("softhsm2-util"), "--import", key, "--token", token.label, "--label", "k", "--id", "a1", "--pin", token.pin],
        env=environment)
    environment.update(SHIM_MODULE=token.module, SHIM_SIGN_MS="100")
    rates = {}
    for threads in (1, 8):
        said = run([program("bench/csign"), program("faults/shim.so"), token.label, token.pin, "a1", threads, "1"], env=environment,
                   input=b"\n").stdout.split()
        assert said[0] == b"ready"
        rates[threads] = float(said[1])
    assert 0 < rates[1] <= 10 and rates[1] < rates[8] <= 80, rates


def test_bench_runs(work_dir):
    assert os.path.exists(program("bench/load")), "the programs of the bench are not built: make bench-build"
    place = os.path.join(work_dir, "b")
    os.mkdir(place, 0o755)
    out = os.path.join(work_dir, "latest.json")
    result = subprocess.run(
        [sys.executable, "-B", os.path.join(REPO, "tests/bench/bench.py"), "--tiny", "--only", ",".join(SERIES), "--out", out],
        env=dict(os.environ, TMPDIR=place), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=500, check=False)
    assert result.returncode == 0, result.stdout
    with open(out, encoding="ascii") as f:
        numbers = json.load(f)
    assert [n for n in NUMBERS if n not in numbers] == []
    assert [n for n, v in numbers.items() if not (isinstance(v, (int, float)) and math.isfinite(v) and v >= 0)] == []
    assert numbers["issue.p256.rsa_csr.per_s"] > 0 and numbers["crl.500.octets"] > 500 * 30
    assert "Targets" in result.stdout and "not measured" in result.stdout
    assert os.listdir(place) == []
    wait_until(lambda: not programs_of(place), what="the end of all that the bench started")


def test_bench_stops_in_order(work_dir):
    """SIGTERM in the middle: nothing stays, neither a process nor a file."""
    bench = subprocess.Popen(
        [sys.executable, "-B", os.path.join(REPO, "tests/bench/bench.py"), "--only", "issue.p256", "--seconds", "30", "--out",
         os.path.join(work_dir, "latest.json")],
        env=dict(os.environ, TMPDIR=work_dir), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: any("bench/csign" in p or "bench/load" in p for p in programs_of(work_dir)), what="a round")
    bench.terminate()
    output = bench.communicate(timeout=PATIENCE_S)[0]
    assert bench.returncode == 1 and "bench: stopped" in output, output
    wait_until(lambda: not programs_of(work_dir), what="the end of all that the bench started")
    assert os.listdir(work_dir) == []
