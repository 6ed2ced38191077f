"""Programs under measurement: starting them pinned, reading their CPU clock, ending them by pid."""
import os
import socket
import subprocess
import time
from pathlib import Path

from harness import machine


class Failed(Exception):
    """A program did not do what it was started for; says what, for the report."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(cpus, argv, env=None, timeout=120):
    """Runs a program to its end and returns what it printed."""
    try:
        done = subprocess.run(machine.pinned(cpus, argv), env={**os.environ, **(env or {})},
                              capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as e:
        raise Failed(f"{Path(argv[0]).name}: no end after {timeout} s") from e
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Failed(f"{Path(argv[0]).name}: exit {done.returncode}: {last}")
    return done.stdout


class Program:
    """A program in the background, alive from `with` to the end of its block."""

    def __init__(self, cpus, argv, env=None):
        self._name = Path(str(argv[0])).name
        self._argv = machine.pinned(cpus, argv)
        self._env = {**os.environ, **(env or {})}

    def __enter__(self):
        self._log = open(machine.OUT / f"{self._name}.log", "w+", encoding="utf-8")
        self._process = subprocess.Popen(self._argv, env=self._env, stdin=subprocess.DEVNULL,
                                         stdout=self._log, stderr=self._log)
        self.pid = self._process.pid  # taskset execs: it is the program's own
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def wait_for_port(self, port, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._log.seek(0)
                said = self._log.read().strip().splitlines() or ["no message"]
                raise Failed(f"{self._name}: exit {self._process.returncode}: {said[-1]}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                time.sleep(0.1)  # that connection is gone before anything is measured
                return
            except OSError:
                time.sleep(0.02)
        raise Failed(f"{self._name}: nothing listens on port {port} after {seconds} s")

    def cpu_ns(self):
        """CPU time of all threads that it and its children have or had, in nanoseconds."""
        return sum(_cpu_ns(pid) for pid in [self.pid, *_children(self.pid)])


def _cpu_ns(pid):
    # The kernel's clock of a whole process (clock_getcpuclockid(3)): CPUCLOCK_SCHED is 2.
    return time.clock_gettime_ns((~pid << 3) | 2)


def _children(pid):
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text(encoding="ascii").split()):
            found += [child, *_children(child)]
    return found
