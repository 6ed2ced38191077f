"""The table of what is to be reached: one row for each line of the issue's "How fast"."""
from dataclasses import dataclass, field

from harness import experiments as x


@dataclass(frozen=True)
class Limit:
    """What weft may take at most: `factor` times a contender of the same run, or `value`."""
    value: float | None = None
    factor: float | None = None
    of: str | None = None

    def text(self):
        if self.of is None:
            return f"{self.value:g}"
        return self.of if self.factor == 1 else f"{self.factor:g}x {self.of}"


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    unit: str
    experiment: str
    metric: str
    limits: list
    subject: str = "weft"
    others: list = field(default_factory=list)  # contenders that are shown
    # Go's figure on the machine for which absolute limits were written. A limit of 60 ns there
    # is 60 / 167 of Go's here.
    go_reference: float | None = None


def at_most(value):
    return Limit(value=value)


def no_more_than(contender, factor=1.0):
    return Limit(factor=factor, of=contender)


CONNECTIONS = (64, 1000, 4000)

EXPERIMENTS = {
    "yield": x.yielding,
    "spawn": lambda: x.micro("spawn+exit", boost=True, tokio=True),
    "chan": lambda: x.micro("chan pingpong (roundtrip)", boost=True, tokio=True),
    "chan-buffered": lambda: x.micro("chan buffered 128 spsc", boost=True, tokio=True),
    "select": lambda: x.micro("select 2 (pingpong)"),
    "mutex": lambda: x.micro("mutex uncontended", boost=True),
    "mutex-contended": lambda: x.micro("mutex contended 8g"),
    "timer": lambda: x.micro("timer sleep 1us x1000g"),
    "park": x.parking,
    **{f"echo-{n}": (lambda n=n: x.echo(n)) for n in CONNECTIONS},
    **{f"echo2-{n}": (lambda n=n: x.echo_two(n)) for n in CONNECTIONS},
    "latency": x.latency,
    "idle": x.idle,
    "http-64": lambda: x.http(64),
    "http-1000": lambda: x.http(1000),
    "kv": lambda: x.kv(1),
    "kv-pipelined": lambda: x.kv(16),
}


def _micro(name, title, limits, others, go_reference=None):
    return Row(name, title, "ns", name, "ns", limits, others=others, go_reference=go_reference)


ROWS = [
    _micro("yield", "yield, 2 goroutines, one P", [no_more_than("model", 1.15)],
           ["go", "boost.fiber", "tokio", "model"]),
    _micro("spawn", "spawn + exit", [at_most(60)], ["go", "boost.fiber", "tokio"], 167),
    _micro("chan", "unbuffered channel, round trip", [at_most(85)], ["go", "boost.fiber", "tokio"],
           250),
    _micro("chan-buffered", "buffered channel, per item", [at_most(15)],
           ["go", "boost.fiber", "tokio"], 33),
    _micro("select", "select of two, round trip", [at_most(115)], ["go"], 230),
    _micro("mutex", "mutex, uncontended", [no_more_than("go")], ["go", "boost.fiber"]),
    _micro("mutex-contended", "mutex, 8 goroutines contended", [no_more_than("go")], ["go"]),
    _micro("timer", "timer sleep 1 us, 1000 goroutines", [no_more_than("go")], ["go"]),
    _micro("park", "start 1 M goroutines and park them, each", [no_more_than("go")], ["go"]),
    *[Row(f"echo-{n}", f"echo 64 B, {n} connections, one P", "us/request", f"echo-{n}", "us",
          [no_more_than("uring C", 1.05), no_more_than("tokio")],
          others=["go", "uring C", "tokio", "epoll C"]) for n in CONNECTIONS],
    *[Row(f"echo-{n}-epoll", f"the same by the epoll poller, {n}", "us/request", f"echo-{n}", "us",
          [no_more_than("epoll C", 1.05)], subject="weft epoll", others=["epoll C"])
      for n in CONNECTIONS],
    *[Row(f"echo2-{n}", f"echo 64 B, {n} connections, two Ps", "us/request", f"echo2-{n}", "us",
          [no_more_than("tokio")], others=["go", "tokio"]) for n in CONNECTIONS],
    Row("latency-p99", "echo p99 at half load, beside one that computes", "us", "latency",
        "p99_us", [no_more_than("epoll C", 1.5)], others=["epoll C", "epoll C, busy"]),
    Row("latency-p99.9", "echo p99.9 at half load, beside one that computes", "us", "latency",
        "p999_us", [no_more_than("epoll C", 1.5)], others=["epoll C", "epoll C, busy"]),
    *[Row(f"idle-bytes{tag}", f"8000 idle connections{text}: each", "B", "idle", "bytes_each",
          [at_most(5500)], subject=subject, others=["go", "tokio"])
      for tag, text, subject in (("", "", "weft"), ("-epoll", ", epoll poller", "weft epoll"))],
    *[Row(f"idle-wakeups{tag}", f"8000 idle connections{text}: wakeups", "1/s", "idle",
          "wakeups_per_second", [at_most(0)], subject=subject, others=["go", "tokio"])
      for tag, text, subject in (("", "", "weft"), ("-epoll", ", epoll poller", "weft epoll"))],
    *[Row(f"http-{n}", f"HTTP hello, wrk -t1 -c{n}, one P", "us/request", f"http-{n}", "us",
          [no_more_than("nginx")], others=["go", "nginx"]) for n in (64, 1000)],
    Row("kv", "kvd GET, redis-benchmark -c 64, one P", "us/request", "kv", "us",
        [no_more_than("redis")], others=["redis"]),
    Row("kv-pipelined", "kvd GET, -c 64 -P 16, one P", "us/request", "kv-pipelined", "us",
        [no_more_than("redis")], others=["redis"]),
]


def select(names):
    """Rows whose name is given or begins with a given one: `echo` is all of echo-*."""
    if not names:
        return list(ROWS)
    unknown = [n for n in names if not any(r.name == n or r.name.startswith(n) for r in ROWS)]
    if unknown:
        raise SystemExit(f"no row is called {', '.join(unknown)}; bench/run --list names them")
    return [r for r in ROWS if any(r.name == n or r.name.startswith(n) for n in names)]
