"""Instructions of the hot paths: by callgrind here, by the emulator's log of each on arm64.

A path is run N and 2N times; the difference, over N, is what one takes, start and end apart.
"""
import re
import subprocess
import sys

from harness import machine

PATHS = {
    "switch": "context switch",
    "yield": "yield, 2 goroutines",
    "spawn": "spawn + exit",
    "chan": "unbuffered channel, round trip",
    "poll": "entry with its poll",
    "status": "status CAS",
}
CROSS = machine.ROOT / "build-arm64"
SYSROOT = machine.ROOT / "build-machine/sysroot"
EMULATOR = "qemu-aarch64-static"


def _native(path, n):
    """All threads together: sysmon is among them, so that n is large."""
    argv = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
            machine.BUILD / "bench/counts", path, str(n)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return {"all": int(re.search(r"Collected : (\d+)", done.stderr)[1])}


def _emulated(path, n):
    """By threads: the log has a line for each instruction, "Trace THREAD: ..."."""
    argv = [EMULATOR, "-L", SYSROOT, "-singlestep", "-d", "exec,nochain",
            CROSS / "bench/counts", path, str(n)]
    run = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    awk = subprocess.run(["awk", "{n[$2]++} END {for (i in n) print i, n[i]}"], stdin=run.stderr,
                         capture_output=True, text=True, check=True)
    if run.wait() != 0:
        raise SystemExit(f"bench/run: counts {path} failed under {EMULATOR}")
    return {thread: int(lines) for thread, lines in map(str.split, awk.stdout.splitlines())}


def _each(count, path, n):
    """Of the thread whose count grows most: the one that does the work."""
    once, twice = count(path, n), count(path, 2 * n)
    return max(twice[thread] - once.get(thread, 0) for thread in twice) / n


def run():
    crossed = (CROSS / "bench/counts").exists()
    if not crossed:
        print(f"arm64: {CROSS} is not built; ./check --arm64 builds it", file=sys.stderr)
    print(f"{'instructions each':34}{'x86_64':>10}{'arm64':>10}")
    for path, title in PATHS.items():
        text = f"{title:34}{_each(_native, path, 100_000):10.1f}"
        if crossed:
            text += f"{_each(_emulated, path, 3_000):10.1f}"
        print(text, flush=True)
