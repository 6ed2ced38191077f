"""The machine that the benchmarks run on: its CPUs, how they are given out, what it says it is."""
import os
import platform
import resource
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PEERS = BUILD / "bench-peers"
OUT = BUILD / "bench"

_CPUS = sorted(os.sched_getaffinity(0))

# Single-threaded comparisons: the server alone on the first CPU, the load generator on the last.
# Two Ps against two workers: the server on the first two; where there are only two, the load
# generator shares one of them, for every contender alike.
SERVER_CPU = _CPUS[:1]
SERVER_CPUS = _CPUS[:2]
LOAD_CPU = _CPUS[-1:]
ALL_CPUS = _CPUS


def pinned(cpus, argv):
    return ["taskset", "-c", ",".join(map(str, cpus)), *map(str, argv)]


def _line(*argv):
    try:
        out = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        return out.strip().splitlines()[0] if out.strip() else ""
    except OSError:
        return ""


def describe():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), platform.machine())
    versions = PEERS / "versions"
    return {
        "cpu": model,
        "cpus": len(_CPUS),
        "kernel": platform.release(),
        "commit": _line("git", "rev-parse", "--short", "HEAD"),
        "dirty": bool(_line("git", "status", "--porcelain", "--untracked-files=no")),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "peers": versions.read_text(encoding="utf-8").splitlines() if versions.exists() else [],
    }


class OthersWatch:
    """How much of the machine was used by programs that are not ours, while it is open.

    All our programs are reaped before it closes, so that what is not in our children's CPU time
    was somebody else's.
    """

    def __enter__(self):
        self._begin = time.monotonic(), _busy_seconds(), _our_seconds()
        return self

    def __exit__(self, *_):
        began, busy, ours = self._begin
        elapsed = time.monotonic() - began
        others = (_busy_seconds() - busy) - (_our_seconds() - ours)
        self.cpus = max(0.0, others / elapsed)


def _busy_seconds():
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _our_seconds():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total
