"""kvd from outside: redis-cli for what a user does, raw RESP for the rest."""

import random
import signal
import subprocess
import threading
import time
import unittest

import daemon
import resp
from daemon import Daemon
from resp import ask


class Served(unittest.TestCase):
    """Tests that share one daemon, whose keys each finds gone."""

    @classmethod
    def setUpClass(cls):
        cls.kvd = Daemon("kvd")

    @classmethod
    def tearDownClass(cls):
        cls.kvd.end()

    def setUp(self):
        self.peer = self.kvd.connect()
        self.addCleanup(self.peer.close)
        self.assertEqual(self.ask("FLUSHALL"), "OK")

    def ask(self, *words):
        return ask(self.peer, *words)


class RedisCli(Served):
    def cli(self, *words, text=None):
        done = subprocess.run([daemon.tool("redis-cli"), "-p", str(self.kvd.port), *words],
                              input=text, capture_output=True, text=True, check=False,
                              timeout=daemon.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_sets_and_gets(self):
        self.assertEqual(self.cli("set", "a", "1"), "OK\n")
        self.assertEqual(self.cli("get", "a"), "1\n")
        self.assertEqual(self.cli("get", "b"), "\n")

    def test_reads_commands_from_a_pipe(self):
        said = self.cli(text='set a "x y"\nget a\nincr n\nincr n\nnonsense\n')
        self.assertEqual(said.split("\n")[:4], ["OK", "x y", "1", "2"])
        self.assertIn("ERR unknown command 'nonsense'", said)

    def test_loads_in_bulk(self):
        text = b"".join(resp.command("SET", f"k{i}", i) for i in range(10_000))
        done = subprocess.run([daemon.tool("redis-cli"), "-p", str(self.kvd.port), "--pipe"],
                              input=text, capture_output=True, check=False,
                              timeout=daemon.PATIENCE)
        self.assertIn(b"errors: 0, replies: 10000", done.stdout)
        self.assertEqual(self.ask("DBSIZE"), 10_000)

    def test_tells_about_itself(self):
        said = self.cli("info")
        for line in "redis_version:", "connected_clients:", "# Keyspace":
            self.assertIn(line, said)
        self.assertNotIn("# Server", self.cli("info", "keyspace"))
        self.assertEqual(self.cli("config", "get", "save"), "save\n\n")


class Protocol(Served):
    def test_answers_pipelined_commands_in_order(self):
        count = 5000
        self.peer.send(b"".join(resp.command("ECHO", i) for i in range(count)))
        for i in range(count):
            self.assertEqual(resp.read_reply(self.peer), b"%d" % i)

    def test_takes_commands_while_replies_wait(self):
        """More than buffers hold, by a client that reads only afterwards."""
        count, text = 3000, b"x" * 5000
        sender = threading.Thread(target=lambda: self.peer.send(resp.command("ECHO", text) * count))
        sender.start()
        for _ in range(count):
            self.assertEqual(resp.read_reply(self.peer), text)
        sender.join()

    def test_takes_commands_in_pieces_of_any_size(self):
        text = (resp.command("SET", "k", b"\r\n$*\x00") + b"PING\r\n" + resp.command("GET", "k") +
                b"*0\r\n\r\n" + b'set q "a \\x41\\n"\n' + resp.command("GET", "q"))
        replies = "OK", "PONG", b"\r\n$*\x00", "OK", b"a A\n"
        for size in 1, 2, 3, 5, 11, 1000:
            for at in range(0, len(text), size):
                self.peer.send(text[at:at + size])
            for reply in replies:
                self.assertEqual(resp.read_reply(self.peer), reply)

    def test_takes_a_nul_for_the_end_of_a_line(self):
        """Where Redis waits for another line end, for ever."""
        for line in b"ECHO a\x00b", b"ECHO a \x00 b", b'ECHO "a"\x00"', b"ECHO a\x00":
            self.peer.send(line + b"\r\n")
            self.assertEqual(resp.read_reply(self.peer), b"a", line)
        self.check_refused(b'ECHO "a\x00b"\r\n', "unbalanced quotes in request")

    def test_keeps_values_of_any_size(self):
        for size in 0, 1, 4095, 4096, 16_000, 65_536, 1_000_000, 20_000_000:
            value = random.Random(size).randbytes(size)
            self.assertEqual(self.ask("SET", "k", value), "OK")
            self.assertEqual(self.ask("GET", "k"), value)
            self.assertEqual(self.ask("MGET", "k", "none", "k"), [value, None, value])

    def test_takes_many_words(self):
        words = [str(i) for i in range(100_000)]
        self.assertEqual(self.ask("MSET", *words), "OK")
        self.assertEqual(self.ask("DBSIZE"), 50_000)
        self.assertEqual(self.ask("DEL", *words), 50_000)

    def check_refused(self, data, error):
        with self.kvd.connect() as peer:
            peer.send(data)
            self.assertEqual(resp.read_reply(peer), resp.Error("ERR Protocol error: " + error))
            self.assertEqual(peer.read_all(), b"")

    def test_refuses_what_is_malformed(self):
        self.check_refused(b"*x\r\n", "invalid multibulk length")
        self.check_refused(b"*1\r\nPING\r\n", "expected '$', got 'P'")
        self.check_refused(b"*1\r\n$-1\r\n", "invalid bulk length")
        self.check_refused(b"*1\r\n$04\r\nPING\r\n", "invalid bulk length")
        self.check_refused(b'get "a\r\n', "unbalanced quotes in request")
        self.check_refused(b"get 'a'b\r\n", "unbalanced quotes in request")

    def test_refuses_what_is_too_large(self):
        self.check_refused(b"*1048577\r\n", "invalid multibulk length")
        self.check_refused(b"*1\r\n$536870913\r\n", "invalid bulk length")
        self.check_refused(b"x" * 70_000, "too big inline request")
        self.check_refused(b"*" + b"1" * 70_000, "too big mbulk count string")
        self.check_refused(b"*1\r\n$" + b"1" * 70_000, "too big bulk count string")

    def test_refuses_so_that_who_goes_on_sending_sees_it(self):
        with self.kvd.connect() as peer:
            peer.send(resp.command("SET", "a", "1") + b"*1\r\n!\r\n" + b"x" * 1_000_000)
            self.assertEqual(resp.read_reply(peer), "OK")
            self.assertIsInstance(resp.read_reply(peer), resp.Error)
            self.assertEqual(peer.read_all(), b"")

    def test_quits(self):
        self.peer.send(resp.command("QUIT") + resp.command("PING"))
        self.assertEqual(self.peer.read_all(), b"+OK\r\n")

    def test_tells_its_settings_in_the_order_asked_for(self):
        self.assertEqual(self.ask("CONFIG", "GET", "timeout", "MaxMemory", "time*", "databases"),
                         [b"timeout", b"0", b"MaxMemory", b"0", b"databases", b"1"])

    def test_lets_no_setting_be_changed(self):
        for words in ["save", ""], ["timeout", "1", "save", ""]:
            answer = self.ask("CONFIG", "SET", *words)
            self.assertEqual(answer, resp.Error(
                f"ERR CONFIG SET failed (possibly related to argument '{words[0]}') - "
                "can't set immutable config"))

    def test_describes_its_commands(self):
        commands = self.ask("COMMAND")
        self.assertEqual(len(commands), self.ask("COMMAND", "COUNT"))
        described = {c[0]: c for c in commands}
        self.assertEqual(described[b"get"][1:6], [2, ["readonly"], 1, 1, 1])
        self.assertEqual(self.ask("COMMAND", "INFO", "mset", "none"), [described[b"mset"], None])
        self.assertEqual(self.ask("COMMAND", "DOCS"), [])


class Expiry(Served):
    def test_removes_keys_that_nobody_looks_for(self):
        for i in range(1000):
            self.peer.send(resp.command("SET", i, "x", "PX", 1 + i % 200))
        for _ in range(1000):
            self.assertEqual(resp.read_reply(self.peer), "OK")
        self.ask("SET", "stays", "x")
        self.ask("SET", "stays long", "x", "EX", "1000")
        daemon.eventually(lambda: self.ask("DBSIZE") == 2, lambda: self.ask("DBSIZE"))

    def test_takes_a_nearer_time_while_it_waits_for_a_later_one(self):
        self.ask("SET", "later", "x", "EX", "1000")
        self.ask("SET", "soon", "x", "PX", "20")
        daemon.eventually(lambda: self.ask("DBSIZE") == 1, lambda: self.ask("DBSIZE"))
        self.ask("EXPIRE", "later", "1")
        daemon.eventually(lambda: self.ask("DBSIZE") == 0, lambda: self.ask("DBSIZE"))

    def test_does_not_find_a_key_past_its_time(self):
        self.ask("SET", "k", "x", "PX", "30")
        self.assertGreater(self.ask("PTTL", "k"), 0)
        daemon.eventually(lambda: self.ask("PTTL", "k") == -2, lambda: self.ask("PTTL", "k"))
        for words, reply in [(["GET", "k"], None), (["EXISTS", "k"], 0), (["TTL", "k"], -2),
                             (["PERSIST", "k"], 0), (["SET", "k", "y", "XX"], None),
                             (["INCR", "k"], 1)]:
            self.assertEqual(self.ask(*words), reply)
        self.assertEqual(self.ask("TTL", "k"), -1)

    def test_keeps_the_time_or_forgets_it_as_the_command_says(self):
        def expires():
            return self.ask("TTL", "k") > 0

        self.ask("SET", "k", "1", "EX", "1000")
        self.ask("INCR", "k")
        self.assertTrue(expires())
        self.ask("SET", "k", "1", "KEEPTTL")
        self.assertTrue(expires())
        self.ask("SET", "k", "1")
        self.assertFalse(expires())
        self.ask("EXPIRE", "k", "1000")
        self.ask("MSET", "k", "2")
        self.assertFalse(expires())
        self.ask("EXPIRE", "k", "1000")
        self.assertEqual(self.ask("PERSIST", "k"), 1)
        self.assertFalse(expires())


class Together(Served):
    def talk(self, count, function):
        """`function(peer)` on so many connections at once."""
        failures = []

        def run():
            with self.kvd.connect() as peer:
                try:
                    function(peer)
                except AssertionError as error:
                    failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_loses_no_increment(self):
        def increment(peer):
            peer.send(resp.command("INCR", "n") * 1000)
            for _ in range(1000):
                self.assertIsInstance(resp.read_reply(peer), int)

        self.talk(8, increment)
        self.assertEqual(self.ask("GET", "n"), b"8000")

    def test_sets_several_keys_at_once(self):
        """No reader sees one of them new and another old."""
        keys = [f"k{i}" for i in range(10)]

        def write(value):
            return lambda peer: [ask(peer, "MSET", *[w for k in keys for w in (k, value)])
                                 for _ in range(200)]

        def read(peer):
            for _ in range(200):
                self.assertEqual(len(set(ask(peer, "MGET", *keys))), 1)

        todo = [write("x"), write("y"), write("z"), read, read, read]
        lock = threading.Lock()

        def next_one(peer):
            with lock:
                one = todo.pop()
            one(peer)

        self.talk(len(todo), next_one)

    def test_counts_its_clients_and_lets_them_go(self):
        def connected():
            said = self.ask("INFO", "clients").decode()
            return int(said.split("connected_clients:")[1].split()[0])

        peers = [self.kvd.connect() for _ in range(20)]
        for peer in peers:
            ask(peer, "PING")
        self.assertGreaterEqual(connected(), 21)
        for peer in peers:
            peer.close()
        daemon.eventually(lambda: connected() == 1, connected)


class Ends(unittest.TestCase):
    def begin(self, kvd, data):
        """A connection that kvd has accepted, with `data` sent."""
        peer = kvd.connect()
        peer.send(data)
        with kvd.connect() as later:
            ask(later, "PING")
        return peer

    def test_sigterm_ends_it_while_clients_idle(self):
        with Daemon("kvd") as kvd:
            peers = [self.begin(kvd, resp.command("PING")) for _ in range(20)]
            begin = time.monotonic()
            kvd.end()
            self.assertLess(time.monotonic() - begin, 8)  # not the whole grace of 10 s
            for peer in peers:
                self.assertEqual(peer.read_all(), b"+PONG\r\n")
                peer.close()

    def test_sigterm_lets_commands_finish(self):
        text = resp.command("ECHO", "x" * 1000)
        cuts = 1, 10, 500, len(text) - 1
        with Daemon("kvd") as kvd:
            peers = [self.begin(kvd, text[:at]) for at in cuts]
            kvd.terminate()
            daemon.eventually(kvd.refuses_connections, lambda: "it goes on accepting")
            for peer, at in zip(peers, cuts):
                peer.send(text[at:])
                self.assertEqual(resp.read_reply(peer), b"x" * 1000)
                self.assertEqual(peer.read_all(), b"")
                peer.close()

    def test_sigint_ends_it_as_well(self):
        with Daemon("kvd") as kvd:
            kvd.terminate(signal.SIGINT)

    def test_ends_with_keys_that_will_expire(self):
        with Daemon("kvd") as kvd, kvd.connect() as peer:
            ask(peer, "SET", "k", "v", "EX", "1000")


daemon.main()
