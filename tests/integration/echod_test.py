"""echod from outside."""

import random
import socket
import subprocess
import threading
import time
import unittest

import daemon
from daemon import Daemon


class Echod(unittest.TestCase):
    def test_sends_back_what_it_is_sent(self):
        with Daemon("echod") as echod, echod.connect() as peer:
            peer.send(b"hello")
            self.assertEqual(peer.read(5), b"hello")
            peer.finish()
            self.assertEqual(peer.read_all(), b"")

    def test_says_where_and_how_it_serves(self):
        with Daemon("echod") as echod:
            self.assertRegex(echod.banner, r"^echod: serving on 127\.0\.0\.1:\d+ \(.*, \d+ Ps?\)$")

    def test_serves_ipv6_and_ipv4_on_the_ipv6_wildcard(self):
        if not socket.has_ipv6:
            self.skipTest("no IPv6")
        with Daemon("echod", bind="::") as echod:
            for host in "127.0.0.1", "::1":
                with daemon.Peer(host, echod.port) as peer:
                    peer.send(b"x")
                    self.assertEqual(peer.read(1), b"x")

    def test_keeps_many_streams_apart(self):
        """Random pieces on many connections at once; each gets its own back."""
        rng = random.Random(1)
        texts = [rng.randbytes(rng.randrange(1, 300_000)) for _ in range(20)]
        failures = []

        def talk(echod, text):
            with echod.connect() as peer:
                sender = threading.Thread(target=lambda: (peer.send(text), peer.finish()))
                sender.start()
                if peer.read_all() != text:
                    failures.append(len(text))
                sender.join()

        with Daemon("echod") as echod:
            talkers = [threading.Thread(target=talk, args=(echod, text)) for text in texts]
            for talker in talkers:
                talker.start()
            for talker in talkers:
                talker.join()
        self.assertEqual(failures, [])

    def test_survives_peers_that_reset(self):
        with Daemon("echod") as echod:
            for _ in range(50):
                with echod.connect() as peer:
                    peer.send(b"x" * 100_000)
                    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1] + 7 * [0]))
            with echod.connect() as peer:
                peer.send(b"still there")
                self.assertEqual(peer.read(11), b"still there")

    def test_sigterm_ends_it_while_peers_idle(self):
        with Daemon("echod") as echod:
            peers = [echod.connect() for _ in range(20)]
            for peer in peers:
                peer.send(b"x")
                peer.read(1)
            begin = time.monotonic()
            echod.end()
            self.assertLess(time.monotonic() - begin, 8)  # not the whole grace of 10 s
            for peer in peers:
                self.assertEqual(peer.read_all(), b"")
                peer.close()

    def test_sigterm_lets_it_write_what_it_has_read(self):
        """A peer that reads late still gets all that was taken from it."""
        with Daemon("echod") as echod, echod.connect() as peer:
            peer.socket.settimeout(1)  # until its buffers are full
            sent = 0
            try:
                while True:
                    sent += peer.socket.send(b"x" * 65536)
            except TimeoutError:
                pass
            peer.socket.settimeout(daemon.PATIENCE)
            echod.terminate()
            peer.finish()
            received = 0
            try:
                while data := peer.socket.recv(65536):
                    received += len(data)
            except ConnectionResetError:
                pass  # what it has not taken is refused
            self.assertEqual(echod.wait(), 0)
            self.assertGreater(received, 0)
            self.assertLessEqual(received, sent)

    def test_explains_itself(self):
        said = subprocess.run([f"{daemon.folder}/echod", "--help"], capture_output=True, text=True,
                              check=False, timeout=daemon.PATIENCE).stdout
        for word in "--port", "--bind":
            self.assertIn(word, said)

    def test_says_why_it_cannot_listen(self):
        with Daemon("echod") as echod:
            second = subprocess.run(
                [f"{daemon.folder}/echod", "--port", str(echod.port)], capture_output=True,
                text=True, check=False, timeout=daemon.PATIENCE)
            self.assertEqual(second.returncode, 1)
            self.assertIn("Address already in use", second.stderr)


daemon.main()
