#!/usr/bin/env python3
"""idle.py PORT CONNS PID: what idle echo connections cost their server.

Opens CONNS connections to the echo server PID, sends 64 bytes over each and takes them back,
then leaves all alone. Prints one line of JSON:
  bytes_each          growth of resident memory and page tables, for each connection
  wakeups_per_second  how often threads of the server went to sleep by themselves, which is once
                      for each time that one was woken
  cpu_us_per_second   CPU time that the server used meanwhile
"""
import json
import os
import socket
import sys
import time

SETTLE_SECONDS = 1.0
IDLE_SECONDS = 2.0


def memory_bytes(pid):
    wanted = ("VmRSS:", "VmPTE:")
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return sum(int(line.split()[1]) * 1024 for line in status if line.startswith(wanted))


def voluntary_switches(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as status:
            total += sum(int(line.split()[1]) for line in status
                         if line.startswith("voluntary_ctxt_switches:"))
    return total


def cpu_ns(pid):
    return time.clock_gettime_ns((~pid << 3) | 2)  # CPUCLOCK_SCHED of the whole process


def connect(port, index):
    # One loopback address has 28,000 ephemeral ports.
    c = socket.create_connection((f"127.0.0.{1 + index // 20000}", port))
    c.sendall(b"x" * 64)
    if len(c.recv(64, socket.MSG_WAITALL)) != 64:
        raise SystemExit("idle: the server closed a connection")
    return c


def main():
    port, count, pid = (int(a) for a in sys.argv[1:4])
    connect(port, 0).close()  # what the first connection makes once is not counted
    time.sleep(0.2)
    before = memory_bytes(pid)
    connections = [connect(port, i) for i in range(count)]
    time.sleep(SETTLE_SECONDS)
    after = memory_bytes(pid)

    switches, cpu, begin = voluntary_switches(pid), cpu_ns(pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    elapsed = time.monotonic() - begin
    print(json.dumps({
        "bytes_each": round((after - before) / count),
        "wakeups_per_second": round((voluntary_switches(pid) - switches) / elapsed, 1),
        "cpu_us_per_second": round((cpu_ns(pid) - cpu) / 1e3 / elapsed, 1),
    }))
    for c in connections:
        c.close()


if __name__ == "__main__":
    main()
