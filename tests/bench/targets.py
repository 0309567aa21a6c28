"""What Chancery wants to reach, each beside what this run measured."""

from results import heading, line


def at_least(name, limit):
    return name, limit, True


def at_most(name, limit):
    return name, limit, False


# (name in latest.json, in words, what must hold); a limit may be a function of the results.
TARGETS = [
    ("rsa2048", "RSA-2048 CA: 0.90 of raw C_Sign",
     [at_least(f"issue.rsa2048.{csr}.ratio_to_raw", 0.90) for csr in ("rsa_csr", "p256_csr")]),
    ("rsa3072", "RSA-3072 CA: 0.92 of raw C_Sign",
     [at_least(f"issue.rsa3072.{csr}.ratio_to_raw", 0.92) for csr in ("rsa_csr", "p256_csr")]),
    ("p256_rsa_csr", "P-256 CA, RSA CSRs: 0.42 of raw C_Sign", [at_least("issue.p256.rsa_csr.ratio_to_raw", 0.42)]),
    ("p256_p256_csr", "P-256 CA, P-256 CSRs: 0.34 of raw C_Sign", [at_least("issue.p256.p256_csr.ratio_to_raw", 0.34)]),
    ("sessions", "token of 5 ms, 30 sessions: 0.95 of sessions / latency",
     [at_least("machines.5ms.issuers1.ratio_to_sessions", 0.95)]),
    ("cfssl", "P-256 CA, RSA CSRs: 8 times cfssl", [at_least("peers.p256.chancery_by_cfssl", 8)]),
    ("openssl_ca", "P-256 CA, RSA CSRs: 5 times openssl ca, one process for all",
     [at_least("peers.p256.chancery_by_openssl_ca_infiles", 5)]),
    ("latency_p50", "half load: p50 under twice (two commits, a sync, a signature)",
     [at_most(f"latency.{key}.rsa_csr.half.p50_ms", lambda r, key=key: 2 * r[f"latency.{key}.rsa_csr.least_ms"])
      for key in ("rsa2048", "p256")]),
    ("latency_p99", "half load: p99 under 50 ms", [at_most(f"latency.{key}.rsa_csr.half.p99_ms", 50) for key in ("rsa2048", "p256")]),
    ("scale", "10 M certificates stored: 0.9 of the empty database's rate (BENCH_LARGE=1)",
     [at_least("scale.10000000.ratio_to_empty", 0.9)]),
    ("memory", "issuer, front, signer: under 64 MiB each", [at_most(f"memory.{role}.peak_mib", 64) for role in ("issuer", "front", "signer")]),
    ("crl_time", "CRL of 1 M entries: a seventh of the time of OpenSSL's API", [at_least("crl.1000000.openssl_by_ours", 7)]),
    ("crl_whole", "CRL of 1 M entries, signed and checked by the gate: a third of the time of OpenSSL's API",
     [at_most("crl.1000000.issuer_s", lambda r: r["crl.1000000.openssl_s"] / 3)]),
    *((f"crl_memory_{size}", f"CRL of {text} entries: issuer, signer and front grow by less than 16 MiB from 10,000",
       [at_most(f"crl.{size}.{role}_peak_mib", lambda r, role=role: r[f"crl.10000.{role}_peak_mib"] + 16)
        for role in ("issuer", "signer", "front")]) for size, text in ((1000000, "1 M"), (10000000, "10 M (BENCH_LARGE=1)"))),
    ("readable", "revoked until readable in a delta, over HTTP and LDAP: under 1 s",
     [at_most(f"readable.{place}_ms", 1000) for place in ("http", "ldap")]),
]


def judge(results):
    """Prints them, and puts target.NAME: 1 met, 0 missed; none of what this run did
    not measure."""
    heading("Targets")
    for name, text, conditions in TARGETS:
        met, values = True, []
        try:
            measured = [(results[value_name], limit(results) if callable(limit) else limit, least)
                        for value_name, limit, least in conditions]
        except KeyError:  # neither may be of a series that this run left out
            line(("not measured", -12), (text, -1))
            continue
        for value, limit, least in measured:
            met = met and (value >= limit if least else value < limit)
            values.append(f"{value:.3g}" if not callable(conditions[0][1]) else f"{value:.3g} of {limit:.3g}")
        results.put(f"target.{name}", met)
        line(("met" if met else "MISSED", -12), (f"{text}: {', '.join(values)}", -1))
