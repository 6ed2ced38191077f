"""What is measured: each experiment takes one sample of one contender at a time.

An experiment is (contenders by name, a function that takes one sample). A sample is a dict from
metric to number. Repetitions are interleaved by the caller: weft, peer, weft, peer ...
"""
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Callable

from harness import contenders as c
from harness import machine
from harness import process


@dataclass
class Plan:
    """How long samples take. Seconds are for each sample."""
    micro_seconds: float = 0.3
    serve_seconds: float = 2.0
    parked: int = 1_000_000
    idle: int = 8000


@dataclass
class Experiment:
    contenders: dict
    sample: Callable  # (name, Contender, Plan) -> {metric: value}
    notes: list = field(default_factory=list)


# ---- the micro table: every program prints "name   value unit" lines -------------------------

def _printed(text):
    values = {}
    for line in text.splitlines():
        match = re.match(r"(.+?)\s{2,}([\d.]+) (ns/op|B)$", line)
        if match:
            values[match[1].strip()] = float(match[2])
    return values


def _one(text, row):
    values = _printed(text)
    if row not in values:
        raise process.Failed(f"no row '{row}' in what it printed")
    return {"ns": values[row]}


def _micro_sample(row):
    def sample(name, contender, plan):
        arguments = {
            "weft": ["--seconds", plan.micro_seconds, row],
            "go": ["-seconds", plan.micro_seconds, row],
            "boost.fiber": [plan.micro_seconds, row],
            "tokio": [row],
        }[name]
        argv = [*contender.argv, *arguments]
        return _one(process.run(machine.SERVER_CPU, argv, contender.env), row)
    return sample


def micro(row, boost=False, tokio=False):
    contenders = {"weft": c.weft("micro"), "go": c.go("gobench", 1)}
    if boost:
        contenders["boost.fiber"] = c.peer("boostfiber")
    if tokio:
        contenders["tokio"] = c.peer("tokiopeer", "micro")
    return Experiment(contenders, _micro_sample(row))


def yielding():
    """The yield row, beside the bare model of one. weft keeps the floating-point control words for
    each goroutine, so that it is compared with the model that does."""
    row = "yield(2 goroutines)"
    experiment = micro(row, boost=True, tokio=True)
    experiment.contenders["model"] = c.peer("yl")
    plain = experiment.sample

    def sample(name, contender, plan):
        if name != "model":
            return plain(name, contender, plan)
        text = process.run(machine.SERVER_CPU, [*contender.argv, plan.micro_seconds])
        return {**_one(text, "yield with control words"),
                "bare_ns": _one(text, "yield bare")["ns"]}

    experiment.sample = sample
    return experiment


def parking():
    def sample(name, contender, plan):
        flag = "--park" if name == "weft" else "-park"
        text = process.run(machine.SERVER_CPU, [*contender.argv, flag, plan.parked], contender.env)
        return {**_one(text, "start and park"), "bytes": _printed(text)["parked goroutine"]}
    return Experiment({"weft": c.weft("micro"), "go": c.go("gobench", 1)}, sample)


# ---- servers ---------------------------------------------------------------------------------

def _load(program, port, conns, seconds, rate=None):
    argv = [machine.PEERS / "load", "--port", port, "--conns", conns, "--seconds", seconds,
            "--pid", program.pid]
    if rate:
        argv += ["--rate", rate]
    return json.loads(process.run(machine.LOAD_CPU, argv))


def _serve(contender, cpus, port):
    return process.Program(cpus, contender.command(port), contender.env)


def _echo_sample(conns, cpus):
    def sample(_name, contender, plan):
        port = process.free_port()
        with _serve(contender, cpus, port) as server:
            server.wait_for_port(port)
            got = _load(server, port, conns, plan.serve_seconds)
        return {"us": got["server_us_per_request"], "per_second": got["per_second"],
                "p99_us": got["p99_us"]}
    return sample


def echo(conns):
    """One thread against one P; the load generator on a CPU of its own."""
    return Experiment({
        "weft": c.weft("echod", "io_uring", 1),
        "weft epoll": c.weft("echod", "epoll", 1),
        "uring C": c.peer("uringecho", "PORT"),
        "epoll C": c.peer("epollecho", "PORT"),
        "tokio": c.peer("tokiopeer", "echo", 0, "PORT"),
        "go": c.go("goecho", 1),
    }, _echo_sample(conns, machine.SERVER_CPU))


def echo_two(conns):
    return Experiment({
        "weft": c.weft("echod", None, 2),
        "tokio": c.peer("tokiopeer", "echo", 2, "PORT"),
        "go": c.go("goecho", 2),
    }, _echo_sample(conns, machine.SERVER_CPUS))


def latency():
    """p99 and p99.9 at half of what epoll C on one thread can serve, 64 connections.

    weft computes on one goroutine beside; epoll C does not. "epoll C, busy" is epoll C with a
    process beside that computes: what the kernel alone makes of the same work on these CPUs.
    """
    conns = 64
    half = []  # messages a second, found once

    def find_half(plan):
        contender, best = c.peer("epollecho", "PORT"), 0
        for _ in range(3):
            port = process.free_port()
            with _serve(contender, machine.SERVER_CPU, port) as server:
                server.wait_for_port(port)
                best = max(best, _load(server, port, conns, plan.serve_seconds)["per_second"])
        half.append(round(best / 2, -3))
        experiment.notes.append(f"half load: {half[0]:.0f} messages a second")

    def sample(name, contender, plan):
        if not half:
            find_half(plan)
        port = process.free_port()
        with ExitStack() as stack:
            server = stack.enter_context(_serve(contender, machine.SERVER_CPUS, port))
            server.wait_for_port(port)
            if name == "epoll C, busy":
                stack.enter_context(process.Program(machine.SERVER_CPUS, c.spinner()))
            got = _load(server, port, conns, plan.serve_seconds, half[0])
        return {"p99_us": got["p99_us"], "p999_us": got["p999_us"], "p50_us": got["p50_us"],
                "late_p99_us": got["late_us"]["p99"]}

    experiment = Experiment({
        "weft": c.weft("echo_busy", None, 2),
        "epoll C": c.peer("epollecho", "PORT"),
        "epoll C, busy": c.peer("epollecho", "PORT"),
    }, sample)
    return experiment


def idle():
    """As a user starts them: the runtime's own choice of Ps, no pinning."""
    def sample(_name, contender, plan):
        port = process.free_port()
        with _serve(contender, machine.ALL_CPUS, port) as server:
            server.wait_for_port(port)
            script = machine.ROOT / "bench" / "peers" / "idle.py"
            return json.loads(process.run(machine.ALL_CPUS, [script, port, plan.idle, server.pid]))
    return Experiment({
        "weft": c.weft("echod", "io_uring"),
        "weft epoll": c.weft("echod", "epoll"),
        "go": c.go("goecho"),
        "tokio": c.peer("tokiopeer", "echo", 0, "PORT"),
    }, sample)


def _wrk(port, conns, seconds):
    text = process.run(machine.LOAD_CPU, [
        "wrk", "-t1", f"-c{conns}", f"-d{max(1, round(seconds))}s", f"http://127.0.0.1:{port}/"])
    if "Non-2xx" in text or "Socket errors" in text:
        raise process.Failed("wrk: " + next(line.strip() for line in text.splitlines()
                                    if "Non-2xx" in line or "Socket errors" in line))
    return int(re.search(r"(\d+) requests in", text)[1])


def http(conns):
    def sample(name, contender, plan):
        port = process.free_port()
        if name == "nginx":
            c.write_nginx_conf(port)
        with _serve(contender, machine.SERVER_CPU, port) as server:
            server.wait_for_port(port)
            _wrk(port, conns, 1)  # warm: caches, and connections' first buffers
            before = server.cpu_ns()
            requests = _wrk(port, conns, plan.serve_seconds)
            cpu = server.cpu_ns() - before
        return {"us": cpu / 1e3 / requests, "per_second": requests / plan.serve_seconds}
    return Experiment({
        "weft": c.weft("httpd", None, 1),
        "nginx": c.nginx(),
        "go": c.go("gohttp", 1),
    }, sample)


def _redis_benchmark(port, test, count, *more):
    text = process.run(machine.LOAD_CPU, [
        "redis-benchmark", "-h", "127.0.0.1", "-p", port, "-t", test, "-n", count, "--csv", *more])
    match = re.search(rf'^"{test.upper()}","([\d.]+)"', text, re.MULTILINE)
    if match is None:
        raise process.Failed("redis-benchmark: no result")
    return float(match[1])


def kv(pipeline):
    """GETs that hit: the key is set first."""
    def sample(_name, contender, plan):
        port = process.free_port()
        more = ["-c", 64] + (["-P", pipeline] if pipeline > 1 else [])
        each_second = 100_000 if pipeline == 1 else 1_000_000
        count = max(10_000, int(each_second * plan.serve_seconds))
        with _serve(contender, machine.SERVER_CPU, port) as server:
            server.wait_for_port(port)
            _redis_benchmark(port, "set", 1000, "-c", 1)
            before = server.cpu_ns()
            per_second = _redis_benchmark(port, "get", count, *more)
            cpu = server.cpu_ns() - before
        return {"us": cpu / 1e3 / count, "per_second": per_second}
    return Experiment({"weft": c.weft("kvd", None, 1), "redis": c.redis()}, sample)
