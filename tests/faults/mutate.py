#!/usr/bin/python3
"""Takes each rule out of the signer's guard, of its journal and of the CRL duty in turn,
and shows which tests notice.

    mutate.py BUILD [RULE ...]

BUILD is a build of the tree. For each rule pkcs11/guard.c is compiled with
-DGUARD_WITHOUT="rule" and linked into the guard's unit test, and into a signer that
tests/e2e/test_oracle.py attacks. The unit test must fail, and so must every attack that
tests/attacks.md says this rule stops. The rules of journal and duty are no table: they
are taken out of a copy of the source (MORE), and their unit tests must fail. Without
RULE: all of them.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNIT, ORACLE = "pkcs11_guard_test", "test_oracle.py"

STATE, CRL, DUTY = (f"pkcs11/{name}.c" for name in ("journal_state", "journal_crl", "duty"))
RULES, DUTIES = (f"pkcs11_{name}_test" for name in ("journal_rules", "duty"))
# rule: (file, what stands there, what instead, the unit test)
MORE = {
    "journal-serial": (STATE, "if (same_content(serial, content)) {", "if (true) {", RULES),
    "journal-serial-floor": (STATE, "if (is_forgotten(use->serial_time, serial_floor(s)))", "if (false)", RULES),
    "journal-decision": (STATE, "return !use->has_decision || check_decision(s, use, content, e);", "return true;", RULES),
    "journal-decision-floor": (STATE, "if (d == NULL && is_forgotten(use->decision_issued, decision_floor(s)))", "if (false)",
                                RULES),
    "journal-decision-while-it-waited": (STATE, "return d == NULL || same_content(d, m->content);", "return true;", RULES),
    "journal-CRL-content": (CRL, "if (memcmp(last->content, content, JOURNAL_CONTENT_LEN) != 0)", "if (false)", RULES),
    "journal-CRL-number": (CRL, "if (order < 0 || (order == 0 && !own && use->this_update != last->this_update))", "if (false)",
                            RULES),
    "journal-CRL-time": (CRL, "if (use->this_update < last->this_update)", "if (false)", RULES),
    "journal-CRL-base": (CRL, "if (compare(base, number_of(&sc->bases[i])) == 0)", "if (true)", RULES),
    "journal-CRL-scopes": (CRL, "if (own < JOURNAL_KEY_SCOPES_MAX && s->scope_count < JOURNAL_SCOPES_MAX)", "if (true)", RULES),
    "duty-lease": (DUTY, "if (is_held(d, &found))", "if (false)", DUTIES),
    "duty-future": (DUTY, "held->until <= now + CONFIG_CRL_LEASE_MAX_S + CLOCKS_DIFFER_S &&", "true &&", DUTIES),
    "duty-limits": (DUTY, "may_hold(d, held->holder);", "true;", DUTIES),
    "duty-numbers": (DUTY, "return journal_raise_scope(d->place.journal, &sc, d->place.now, e);", "return true;", DUTIES),
    "duty-note": (DUTY, "return swap_value(d, d->scope_label, d->numbers, &d->numbers_len, value, len, &why) ||",
                   "return len > 0 ||", DUTIES),
    "duty-confirm": (DUTY, "if (found.holder == d->place.signer_id && found.epoch == d->epoch)", "if (true)", DUTIES),
    "duty-first": (DUTY, "if (first == d->place.signer_id)", "if (true)", DUTIES),
    "duty-epoch": (DUTY, "if (epoch > d->epoch && !write_lease(d, epoch + 1, e))", "if (false)", DUTIES),
}


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


def commands(build, source, names):
    """How make compiles one source, and links what has it in it: asked of make itself."""
    targets = [os.path.join(build, name) for name in names]
    result = run("make", f"BUILD={build}", "-n", "-W", source, *targets, check=True)
    lines = result.stdout.replace("\\\n", " ").splitlines()
    compiling = next(line for line in lines if line.endswith(f" {source}"))
    linking = [next(line for line in lines if f" -o {target} " in line) for target in targets]
    return compiling, os.path.join(build, source.replace(".c", ".o")), list(zip(linking, targets))


def build_in(place, compiling, compiled, links):
    made = os.path.join(place, os.path.basename(compiled))
    lines = [compiling.replace(f"-o {compiled}", f"-o {made}").replace("-MMD -MP", "")]
    # Before the archive, whose own is then not taken.
    lines += [line.replace(f" -o {target} ", f" -o {place}/{os.path.basename(target)} {made} ") for line, target in links]
    for command in lines:
        result = run("sh", "-c", command)
        if result.returncode != 0:
            raise SystemExit(f"{command}\n{result.stderr}")


def unit_test(place, name):
    """The tests that failed."""
    result = run(os.path.join(place, name), timeout=300)
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


def mutate_guard(rule, parts):
    compiling, compiled, links = parts
    attacks = attacks_on(rule)
    with tempfile.TemporaryDirectory(prefix="chancery-mutate-") as place:
        build_in(place, f"{compiling} '-DGUARD_WITHOUT=\"{rule}\"'", compiled, links)
        return unit_test(place, UNIT), *oracle(place, rule, attacks), attacks


def mutate_source(build, rule):
    source, there, instead, unit = MORE[rule]
    with open(os.path.join(ROOT, source), encoding="utf-8") as f:
        text = f.read()
    if " ".join(text.split()).count(" ".join(there.split())) != 1:
        raise SystemExit(f"{rule}: {source} does not have this once: {there}")
    pattern = r"\s+".join(map(re.escape, there.split()))
    compiling, compiled, links = commands(build, source, [os.path.join("unit", unit)])
    with tempfile.TemporaryDirectory(prefix="chancery-mutate-") as place:
        mutant = os.path.join(place, os.path.basename(source))
        with open(mutant, "w", encoding="utf-8") as f:
            f.write(re.sub(pattern, lambda _: instead, text))
        # What has no more use is part of taking it out.
        build_in(place, compiling.removesuffix(source) + f"-Wno-error {mutant}", compiled, links)
        return unit_test(place, unit), [], 0, []


def main():
    build = os.path.abspath(sys.argv[1])
    rules = sys.argv[2:] or rules_of(build) + list(MORE)
    parts = commands(build, "pkcs11/guard.c", [os.path.join("unit", UNIT), "chancery-signer"])
    missed = []

    def mutate(rule):
        return mutate_source(build, rule) if rule in MORE else mutate_guard(rule, parts)

    with ThreadPoolExecutor(2) as pool:
        for rule, (unit, noticed, signed, attacks) in zip(rules, pool.map(mutate, rules)):
            print(f"{rule:34} {len(noticed):2} of {len(attacks):2} attacks noticed, {signed:2} were signed; unit tests: "
                  f"{', '.join(unit) or 'NONE'}", flush=True)
            if not unit or noticed != attacks:
                missed.append(rule)
    print(f"{len(rules)} rules taken out, {len(rules) - len(missed)} noticed by every test that should")
    if missed:
        raise SystemExit(f"not noticed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
