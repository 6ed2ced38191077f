"""What the tests of httpd share: requests, responses, a daemon for a class of tests."""

import subprocess
import unittest

import daemon
from daemon import Daemon

HELLO = b"Hello, World!"


class Response:
    """One response, read off a Peer."""

    def __init__(self, peer, without_body=False):
        head = peer.read_until(b"\r\n\r\n").decode("ascii").split("\r\n")
        self.version, status, self.reason = head[0].split(" ", 2)
        self.status = int(status)
        self.fields = {}
        for line in head[1:-2]:
            name, value = line.split(": ", 1)
            if name.lower() in self.fields:
                raise AssertionError(f"{name} twice in {head}")
            self.fields[name.lower()] = value
        self.body = b""
        if not without_body and status != "100":
            self.body = peer.read(int(self.fields["content-length"]))


def request(target, method="GET", body=b"", *fields):
    lines = [f"{method} {target} HTTP/1.1", "Host: test", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*pieces):
    head = b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def send_in_two_parts(peer):
    """A request whose body has a deadline of its own."""
    peer.send(request("/echo", "POST", b"", "Expect: 100-continue", "Content-Length: 4"))
    if Response(peer).status != 100:
        raise AssertionError("it does not wait for the body")
    peer.send(b"body")
    if Response(peer).body != b"body":
        raise AssertionError("it does not send the body back")


class Served(unittest.TestCase):
    """Tests that share one daemon."""

    flags = ()

    @classmethod
    def setUpClass(cls):
        cls.httpd = Daemon("httpd", *cls.flags)
        cls.url = f"http://127.0.0.1:{cls.httpd.port}"

    @classmethod
    def tearDownClass(cls):
        cls.httpd.end()

    def ask(self, data):
        with self.httpd.connect() as peer:
            peer.send(data)
            return Response(peer)

    def curl(self, *arguments):
        done = subprocess.run([daemon.tool("curl"), "-sS", "--max-time", str(daemon.PATIENCE),
                               *arguments], capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout
