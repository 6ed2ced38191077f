"""kvd beside redis-server: the same commands, the same replies, error texts included.

Commands are generated from a seed, which is printed; SEED=n in the environment sets it. Redis
listens on a socket in a temporary folder, keeps nothing, and is ended by its pid.
"""

import os
import random
import socket
import subprocess
import tempfile
import time
import unittest

import daemon
import resp
from daemon import Daemon

KEYS = ["a", "b", "c", "counter", "with space", "", "k\r\nn", "\x00\xff"]
NUMBERS = ["0", "1", "-1", "7", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
           "01", "+1", " 1", "1 ", "1.5", "", "x", "-0", "1e3", "100000000000000000000"]
VALUES = [*NUMBERS, "text", "\r\n", "\x00", "x" * 100, "x" * 5000, "ünïcode"]
TIMES = ["100", "1000", "0", "-1", "9223372036854775807", "9223372036854775", "x", "", "1.5"]


class Redis:
    """A redis-server of our own."""

    def __init__(self):
        program = daemon.tool("redis-server")
        self._folder = tempfile.TemporaryDirectory()
        self._path = os.path.join(self._folder.name, "redis.sock")
        self._process = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", self._path, "--save", "", "--appendonly", "no",
             "--databases", "1", "--dir", self._folder.name], stdout=subprocess.DEVNULL)
        daemon.eventually(self._answers, lambda: "redis-server does not listen")

    def _answers(self):
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self):
        return RedisPeer(self._path)

    def end(self):
        self._process.terminate()
        self._process.wait(daemon.PATIENCE)
        self._folder.cleanup()


class RedisPeer(daemon.Peer):
    def __init__(self, path):  # pylint: disable=super-init-not-called
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(daemon.PATIENCE)
        self._buffer = b""
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise


def any_case(rng, word):
    return rng.choice([word, word.lower(), word.capitalize()])


def generate(rng):
    """One command: mostly right, sometimes not."""
    key, value, number, when = (rng.choice(c) for c in (KEYS, VALUES, NUMBERS, TIMES))
    keys = rng.choices(KEYS, k=rng.randrange(1, 5))
    options = rng.choices(["EX", "PX", "NX", "XX", "GET", "KEEPTTL", when, when, "junk"],
                          [3, 3, 3, 3, 3, 3, 5, 5, 1], k=rng.randrange(0, 5))
    good = [
        ["SET", key, value], ["SET", key, value], ["SET", key, number], ["SET", key, value, *options],
        ["SET", key, value, rng.choice(["EX", "PX"]), when],
        ["SET", key, value, rng.choice(["NX", "XX"]), *rng.choices(["GET", "KEEPTTL"], k=1)],
        ["GET", key], ["GET", key], ["DEL", *keys], ["EXISTS", *keys], ["INCR", key], ["DECR", key],
        ["INCRBY", key, number], ["DECRBY", key, number], ["MGET", *keys],
        ["MSET", *[w for k in keys for w in (k, value)]], ["EXPIRE", key, when],
        ["EXPIRE", key, when, *rng.choices(["NX", "XX", "GT", "LT", "junk"], [4, 4, 4, 4, 1],
                                           k=rng.randrange(1, 3))],
        ["TTL", key], ["PTTL", key], ["PERSIST", key], ["TYPE", key], ["DBSIZE"], ["PING"],
        ["PING", value], ["ECHO", value], ["SELECT", rng.choice(["0", "1", "-1", "x", "99999999999"])],
    ]
    command = rng.choice(good)
    if rng.random() < 0.02:
        command = rng.choice([["FLUSHALL"], ["FLUSHALL", "ASYNC"], ["FLUSHALL", "junk"]])
    # Too few or too many arguments, or no such command. No NUL in a command's name: Redis compares
    # names as C strings when their hashes, which are seeded, fall into one bucket.
    if rng.random() < 0.08:
        command = rng.choice([command[:-1] or ["GET"], [*command, "more"],
                              ["NOSUCH", *command[1:]], ["x" * 200, "y" * 200, "z"],
                              ["g et"], ["GETT"], ["CONFIG"], ["CONFIG", "GET"],
                              ["CONFIG", "nonsense"], ["COMMAND", "nonsense"], ["COMMAND", "COUNT", "x"]])
    return [any_case(rng, command[0]), *command[1:]]


def encode(words):
    return resp.command(*[w.encode("latin-1") if w.isascii() or "\xff" in w else w.encode()
                          for w in words])


def same(words, ours, theirs):
    """Times that are left pass while we ask."""
    if words and words[0].upper() in ("TTL", "PTTL") and isinstance(ours, int) and ours > 0:
        slack = 3 if words[0].upper() == "TTL" else 3000
        return isinstance(theirs, int) and abs(ours - theirs) <= slack
    return ours == theirs


class Differential(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = Redis()
        cls.addClassCleanup(cls.redis.end)
        cls.kvd = Daemon("kvd")
        cls.addClassCleanup(cls.kvd.end)
        cls.seed = int(os.environ.get("SEED", time.time_ns() % 1_000_000))
        print(f"SEED={cls.seed}", flush=True)

    def setUp(self):
        self.ours, self.theirs = self.kvd.connect(), self.redis.connect()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        self.both(resp.command("FLUSHALL"))

    def both(self, data):
        self.ours.send(data)
        self.theirs.send(data)
        return resp.read_reply(self.ours), resp.read_reply(self.theirs)

    def test_one_by_one(self):
        rng = random.Random(self.seed)
        for number in range(1500):
            words = generate(rng)
            ours, theirs = self.both(encode(words))
            if not same(words, ours, theirs):
                self.fail(f"command {number} of SEED={self.seed}: {words}\n"
                          f"  kvd:   {ours!r}\n  redis: {theirs!r}")

    def test_pipelined(self):
        rng = random.Random(self.seed + 1)
        for _ in range(20):
            batch = [generate(rng) for _ in range(50)]
            data = b"".join(encode(words) for words in batch)
            self.ours.send(data)
            self.theirs.send(data)
            for words in batch:
                ours, theirs = resp.read_reply(self.ours), resp.read_reply(self.theirs)
                if not same(words, ours, theirs):
                    self.fail(f"SEED={self.seed}, pipelined: {words}\n"
                              f"  kvd:   {ours!r}\n  redis: {theirs!r}")

    def test_inline(self):
        rng = random.Random(self.seed + 2)
        words = ["set", "get", "a", '"b c"', "'d'", '"\\x41\\n\\""', "'it\\'s'", "ping", "echo", "1",
                 "mset", '""', "''", 'a"b"', "\t", "del", "\\n"]
        for _ in range(300):
            line = " ".join(rng.choices(words, k=rng.randrange(1, 5))).strip() or "ping"
            line += rng.choice(["\r\n", "\n", " \r\n"])
            ours, theirs = self.both(b"\r\n" + line.encode())
            self.assertEqual(ours, theirs, f"SEED={self.seed}, inline: {line!r}")

    def test_inline_spaces(self):
        """Some end a word, some only stand between words or behind a quote."""
        for space in " ", "\t", "\r", "\v", "\f":
            for line in ("{0}ECHO{0}a", "{0}ECHO a{0}b", "ECHO{0} a", "ECHO {0}a{0}", 'ECHO "a"{0}',
                         'ECHO{0}"a"', "ECHO 'a'{0}'b'", 'MGET "a"{0}"b"', 'ECHO a{0}"b"',
                         'ECHO "a{0}b"', "{0}PING{0}"):
                ours, theirs = self.both(line.format(space).encode() + b"\r\n")
                self.assertEqual(ours, theirs, repr(line.format(space)))

    def test_config_get(self):
        """Names come back as they were asked for; Redis gives them in no certain order."""
        for words in ["SAVE"], ["Save", "save"], ["sav?"], ["[S]ave", "SAVE"], ["SAVE", "sav*"], \
                ["Timeout", "maxmemory", "none"], ["databases", "SAVE", "maxmemory"], ["none"], [""]:
            ours, theirs = self.both(resp.command("CONFIG", "GET", *words))
            self.assertEqual(sorted(zip(ours[::2], ours[1::2])),
                             sorted(zip(theirs[::2], theirs[1::2])), words)

    def test_config_set(self):
        """Where Redis refuses as well."""
        for words in [], ["a"], ["a", "b"], ["Databases", "2"], ["databases", "2", "a"], \
                ["a", "b", "databases", "2"], ["databases", "2", "a", "b"], ["a\r\nb", "1"]:
            ours, theirs = self.both(resp.command("CONFIG", "SET", *words))
            self.assertEqual(ours, theirs, words)

    def test_malformed(self):
        for data in [
                b"*x\r\n", b"*1\r\nPING\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$x\r\nPING\r\n", b"*1\r\n\r\n",
                b"*2\r\n$4\r\nPING\r\n:1\r\n", b'"unbalanced\r\n', b"'a'b\r\n", b'"a"b\r\n',
                b"*1\r\n$536870913\r\n", b"*99999999999\r\n", b"*1 \r\n", b"*\r\n", b"x" * 66_000,
                b"*" + b"1" * 66_000, b"*1\r\n$" + b"1" * 66_000, b"*01\r\n"]:
            with self.subTest(data[:40]):
                replies = []
                for server in self.kvd, self.redis:
                    with server.connect() as peer:
                        peer.send(data)
                        replies.append(peer.read_all())
                self.assertEqual(*replies)

    def test_empty_requests(self):
        for data in b"*0\r\n", b"*-1\r\n", b"\r\n", b"\n", b"   \r\n", b"*-99\r\n":
            ours, theirs = self.both(data + resp.command("PING"))
            self.assertEqual(ours, theirs, data)


daemon.main()
