"""What processes cost: CPU time and memory, from /proc.

CPU time is what the scheduler accounts for each thread, in nanoseconds: a busy
machine makes a round longer, but hardly changes what it costs. The ticks of
/proc/PID/stat are too coarse for sessions that work some milliseconds each.
"""

import os


def children(pid):
    """The processes that pid started and that still live."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(entry))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def cpu_us(pid):
    """Microseconds of CPU that the process's threads have had so far."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return total / 1000


def ended_children_s(pid):
    """Seconds of CPU that the ended children of a process had: for PostgreSQL, its
    sessions and parallel workers. In ticks, and a moment late."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def machine_ticks():
    """(busy, all) of the whole machine so far."""
    with open("/proc/stat", encoding="ascii") as f:
        ticks = [int(v) for v in f.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def memory_mib(pid):
    """(resident now, resident at most) of a process."""
    values = {}
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            key, _, rest = line.partition(":")
            values[key] = rest
    return tuple(int(values[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))


def forget_peak(pid):
    """"At most" counts from now on (proc(5), clear_refs)."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as f:
        f.write("5")


def proportional_mib(pids):
    """Memory of processes, each shared page counted once among all that share it."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
        except (FileNotFoundError, ProcessLookupError):
            pass  # a session that has just ended
    return total / 1024


class Cpu:
    """CPU time by part of the system, between two looks."""

    def __init__(self, roles, cluster):
        """roles: {part: [pid, ...]}; the server's processes are found by themselves."""
        self.roles = dict(roles)
        self.postmaster = cluster.process.pid

    def postgres(self):
        """Each process of the server, by what it is for."""
        found = {}
        for pid in [self.postmaster] + children(self.postmaster):
            try:
                with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
                    title = f.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if "chancery_issuer" in title:
                found[pid] = "postgres.issuer"
            elif "service_" in title:
                found[pid] = "postgres.services"
            else:
                found[pid] = "postgres.other"
        return found

    def look(self):
        """{(part, pid): microseconds}"""
        now = {(part, pid): cpu_us(pid) for part, pids in self.roles.items() for pid in pids}
        now.update({(part, pid): cpu_us(pid) for pid, part in self.postgres().items()})
        return now

    @staticmethod
    def between(before, after):
        """{part: microseconds}; what a process had when it was first seen counts."""
        spent = {}
        for key, value in after.items():
            spent[key[0]] = spent.get(key[0], 0.0) + value - before.get(key, 0.0)
        return spent


def put_cpu(results, name, spent, certificates):
    """Microseconds for each certificate; returns {part: microseconds}."""
    each = {part: value / certificates for part, value in spent.items()}
    for part, value in each.items():
        results.put(f"{name}.cpu_us.{part}", value)
    results.put(f"{name}.cpu_us.total", sum(each.values()))
    return each


def cpu_text(each):
    return ", ".join(f"{part} {value:.0f}" for part, value in sorted(each.items(), key=lambda i: -i[1]) if value >= 1)
