"""Short loads from wrk and redis-benchmark: no wrong answer, nothing left behind, a clean end."""

import contextlib
import http.client
import json
import random
import re
import selectors
import subprocess
import unittest

import daemon
import resp
from daemon import Daemon


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          check=False, timeout=2 * daemon.PATIENCE)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout


class Wrk(unittest.TestCase):
    def watch(self, httpd):
        """A connection of our own, for /stats."""
        return contextlib.closing(
            http.client.HTTPConnection(httpd.host, httpd.port, timeout=daemon.PATIENCE))

    def stats(self, watch):
        watch.request("GET", "/stats")
        return json.load(watch.getresponse())

    def held(self, watch):
        stats = self.stats(watch)
        return {name: stats[name] for name in ("goroutines", "poll_descriptors", "timers")}

    def check(self, connections, *more):
        wrk = daemon.tool("wrk")
        with Daemon("httpd") as httpd, self.watch(httpd) as watch:
            self.held(watch)  # the first one sets a deadline for writing
            before = self.held(watch)
            said = run(wrk, "-t1", f"-c{connections}", "-d1s", "--timeout", "30s", *more,
                       f"http://127.0.0.1:{httpd.port}/")
            self.assertNotIn("Non-2xx", said)
            self.assertNotIn("Socket errors", said)
            self.assertGreater(int(re.search(r"(\d+) requests in", said)[1]), 0)
            daemon.eventually(lambda: self.held(watch) == before,
                              lambda: f"{self.held(watch)}, before: {before}")

    def test_few_connections(self):
        self.check(8)

    def test_many_connections(self):
        self.check(400)

    def test_a_new_connection_for_each_request(self):
        self.check(16, "-H", "Connection: close")

    def test_sigterm_under_load(self):
        """Each request that was sent is answered or its connection closed; the end is clean."""
        wrk = daemon.tool("wrk")
        with Daemon("httpd") as httpd, self.watch(httpd) as watch:
            load = subprocess.Popen(
                [wrk, "-t1", "-c64", "-d60s", f"http://127.0.0.1:{httpd.port}/"],
                stdout=subprocess.PIPE, text=True)
            try:
                begin = self.stats(watch)["context_switches"]
                daemon.eventually(lambda: self.stats(watch)["context_switches"] > begin + 2000,
                                  lambda: "no load")
                httpd.end()
            finally:
                load.terminate()  # wrk would go on trying
                load.communicate()


class RedisBenchmark(unittest.TestCase):
    def test_all_that_it_can_ask(self):
        program = daemon.tool("redis-benchmark")
        with Daemon("kvd") as kvd:
            for more in ["-n", 10_000], ["-n", 50_000, "-P", 16], ["-n", 10_000, "-r", 1000]:
                said = run(program, "-p", kvd.port, "-c", 64, "-t",
                           "ping_inline,ping_mbulk,set,get,incr,mset", "--csv", *more)
                self.assertNotIn("rror", said)
                self.assertEqual(len(re.findall(r'^"[A-Z_]+.*","[\d.]+"', said, re.M)), 6, said)

    def test_counts_right(self):
        program = daemon.tool("redis-benchmark")
        with Daemon("kvd") as kvd, kvd.connect() as peer:
            run(program, "-p", kvd.port, "-c", 50, "-n", 20_000, "-P", 8, "-t", "incr", "-q")
            self.assertEqual(resp.ask(peer, "GET", "counter:__rand_int__"), b"20000")


class Echo(unittest.TestCase):
    def test_many_connections_at_once(self):
        """Each sends the next message when it has got the last one back."""
        rng = random.Random(2)
        with Daemon("echod") as echod:
            peers = [echod.connect() for _ in range(200)]
            left = {}  # by socket: the bytes that come back, messages to go
            with selectors.DefaultSelector() as selector:
                for peer in peers:
                    selector.register(peer.socket, selectors.EVENT_READ)
                    left[peer.socket] = [b"", 20]
                    self.go_on(rng, peer.socket, left)
                while left:
                    ready = selector.select(daemon.PATIENCE)
                    self.assertTrue(ready, f"{len(left)} connections hear nothing")
                    for key, _ in ready:
                        self.hear(key.fileobj, left)
                        self.go_on(rng, key.fileobj, left)
                        if key.fileobj not in left:
                            selector.unregister(key.fileobj)
            for peer in peers:
                peer.close()

    def hear(self, sock, left):
        data = sock.recv(65536)
        awaited = left[sock][0]
        self.assertTrue(data and awaited.startswith(data), "not what was sent")
        left[sock][0] = awaited[len(data):]

    def go_on(self, rng, sock, left):
        awaited, messages = left[sock]
        if awaited:
            return
        if messages == 0:
            del left[sock]
            return
        message = rng.randbytes(rng.randrange(1, 2000))
        left[sock] = [message, messages - 1]
        sock.sendall(message)


daemon.main()
