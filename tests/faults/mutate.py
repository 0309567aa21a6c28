#!/usr/bin/python3
"""Takes each rule out of the signer's guard in turn, and shows which tests notice.

    mutate.py BUILD [RULE ...]

BUILD is a build of the tree. For each rule pkcs11/guard.c is compiled with
-DGUARD_WITHOUT="rule" and linked into the guard's unit test, and into a signer that
tests/e2e/test_oracle.py attacks. The unit test must fail, and so must every attack that
tests/attacks.md says this rule stops. Without RULE: all that the signer lists.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNIT, ORACLE = "pkcs11_guard_test", "test_oracle.py"


def run(*argv, **more):
    return subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, **more)


def rules_of(build):
    result = run(os.path.join(build, "chancery-signer"), "--rules", check=True)
    return [line.split("\t")[1] for line in result.stdout.splitlines()]


def attacks_on(rule):
    """Those of the table that the oracle's test tries one by one."""
    with open(os.path.join(ROOT, "tests/attacks.md"), encoding="utf-8") as f:
        names = re.findall(rf"(?m)^\| [^|]+ \| {rule} \| {ORACLE}: (\w+) \|$", f.read())
    return [name for name in names if not name.startswith("test_")]


def commands(build):
    """How make compiles the guard, and links what has it in it: asked of make itself."""
    targets = [os.path.join(build, "unit", UNIT), os.path.join(build, "chancery-signer")]
    result = run("make", f"BUILD={build}", "-n", "-W", "pkcs11/guard.c", *targets, check=True)
    lines = result.stdout.replace("\\\n", " ").splitlines()
    compiling = next(line for line in lines if line.endswith(" pkcs11/guard.c"))
    linking = [next(line for line in lines if f" -o {target} " in line) for target in targets]
    return compiling, os.path.join(build, "pkcs11/guard.o"), list(zip(linking, targets))


def build_without(rule, place, compiling, compiled, links):
    guard = os.path.join(place, "guard.o")
    made = [compiling.replace(f"-o {compiled}", f"-o {guard}").replace("-MMD -MP", "") + f" '-DGUARD_WITHOUT=\"{rule}\"'"]
    # Before the archive, whose own is then not taken.
    made += [line.replace(f" -o {target} ", f" -o {place}/{os.path.basename(target)} {guard} ") for line, target in links]
    for command in made:
        result = run("sh", "-c", command)
        if result.returncode != 0:
            raise SystemExit(f"{command}\n{result.stderr}")


def unit_test(place):
    """The tests that failed."""
    result = run(os.path.join(place, UNIT), timeout=300)
    words = result.stdout + result.stderr
    failed = list(dict.fromkeys(re.findall(r"^\[  FAILED  \] (\w+)$", words, re.M)))
    return failed or (["a crash"] if result.returncode != 0 else [])


def oracle(place, rule, attacks):
    """The attacks that were not refused by the rule, and how many of them were signed."""
    if not attacks:
        return [], 0
    tests = [f"tests/e2e/{ORACLE}::test_attack[{rule}-{name}]" for name in attacks]
    result = run("/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rf", *tests, timeout=600,
                 env={**os.environ, "CHANCERY_BUILD": place, "COLUMNS": "300"})
    noticed = [name for name in attacks if f"FAILED tests/e2e/{ORACLE}::test_attack[{rule}-{name}]" in result.stdout]
    return noticed, len(re.findall(r"(?m)^FAILED .* DID NOT RAISE", result.stdout))


def mutate(rule, parts):
    attacks = attacks_on(rule)
    with tempfile.TemporaryDirectory(prefix="chancery-mutate-") as place:
        build_without(rule, place, *parts)
        return unit_test(place), *oracle(place, rule, attacks), attacks


def main():
    build = os.path.abspath(sys.argv[1])
    rules = sys.argv[2:] or rules_of(build)
    parts = commands(build)
    missed = []
    with ThreadPoolExecutor(2) as pool:
        for rule, (unit, noticed, signed, attacks) in zip(rules, pool.map(lambda rule: mutate(rule, parts), rules)):
            print(f"{rule:18} {len(noticed):2} of {len(attacks):2} attacks noticed, {signed:2} were signed; unit tests: "
                  f"{', '.join(unit) or 'NONE'}", flush=True)
            if not unit or noticed != attacks:
                missed.append(rule)
    print(f"{len(rules)} rules taken out, {len(rules) - len(missed)} noticed by every test that should")
    if missed:
        raise SystemExit(f"not noticed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
