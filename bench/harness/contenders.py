"""What is compared: each contender is a program and what it needs to be started."""
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness import machine

EXAMPLES = machine.BUILD / "examples"
BENCH = machine.BUILD / "bench"


@dataclass(frozen=True)
class Contender:
    """A program; in `argv` the word PORT stands for the port it is given."""
    argv: list
    env: dict = field(default_factory=dict)

    def command(self, port):
        return [str(a).replace("PORT", str(port)) for a in self.argv]

    def missing(self):
        """Why it can not run, or None."""
        program = str(self.argv[0])
        if shutil.which(program) or os.access(program, os.X_OK):
            return None
        path = Path(program)
        if path.is_absolute():
            return f"{path.relative_to(machine.ROOT)} is not built"
        return f"{program} is not installed"


def weft(program, poller=None, procs=None):
    env = {}
    if poller:
        env["WEFT_NETPOLL"] = poller
    if procs:
        env["WEFT_MAXPROCS"] = str(procs)
    path = BENCH / program if program in ("micro", "echo_busy") else EXAMPLES / program
    arguments = [] if program == "micro" else ["--bind", "127.0.0.1", "--port", "PORT"]
    return Contender([path, *arguments], env)


def peer(program, *arguments, **env):
    return Contender([machine.PEERS / program, *arguments], env)


def go(program, procs=None):
    arguments = [] if program == "gobench" else ["127.0.0.1:PORT"]
    return peer(program, *arguments, **({"GOMAXPROCS": str(procs)} if procs else {}))


def nginx():
    """nginx with one worker that answers every request with a hello."""
    program = shutil.which("nginx", path="/usr/sbin:" + os.environ.get("PATH", "")) or "nginx"
    return Contender([program, "-p", machine.OUT, "-e", "stderr",
                      "-c", machine.OUT / "nginx-PORT.conf"])


def write_nginx_conf(port):
    scratch = "\n".join(f"  {kind}_temp_path {machine.OUT}/nginx;"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = machine.OUT / f"nginx-{port}.conf"
    conf.write_text(f"""\
daemon off;
worker_processes 1;
pid {machine.OUT}/nginx.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
{scratch}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "Hello, World!"; }}
  }}
}}
""", encoding="utf-8")
    return conf


def redis():
    return Contender(["redis-server", "--port", "PORT", "--bind", "127.0.0.1", "--save", "",
                      "--appendonly", "no", "--daemonize", "no", "--dir", machine.OUT])


def spinner():
    """A process that computes, as the kernel's own measure of a busy neighbour."""
    return [sys.executable, "-c", "while True: pass"]
