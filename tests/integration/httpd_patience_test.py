"""httpd's timeouts, and slow clients that are within them."""

import os
import select
import signal
import time
import unittest

import daemon
from daemon import Daemon
from httpd_client import HELLO, Response, Served, request, send_in_two_parts


class Slow(Served):
    flags = ("--head_timeout", "300ms", "--body_timeout", "400ms", "--idle_timeout", "500ms")

    def test_gives_up_on_a_slow_head(self):
        for sent in b"G", request("/")[:-1]:
            with self.httpd.connect() as peer:
                peer.send(sent)
                self.assertEqual(Response(peer).status, 408)
                self.assertEqual(peer.read_all(), b"")

    def test_gives_up_on_a_head_that_trickles_in(self):
        """Each piece comes in time, the whole does not."""
        with self.httpd.connect() as peer:
            peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
            deadline = time.monotonic() + daemon.PATIENCE
            while not select.select([peer.socket], [], [], 0.02)[0]:
                self.assertLess(time.monotonic(), deadline)
                peer.send(b"X: y\r\n")
            self.assertEqual(Response(peer).status, 408)

    def test_gives_up_on_a_slow_body(self):
        with self.httpd.connect() as peer:
            peer.send(request("/echo", "POST", b"body")[:-1])
            self.assertEqual(Response(peer).status, 408)
            self.assertEqual(peer.read_all(), b"")

    def test_closes_an_idle_connection_without_a_word(self):
        with self.httpd.connect() as fresh, self.httpd.connect() as used:
            used.send(request("/"))
            self.assertEqual(Response(used).body, HELLO)
            self.assertEqual(used.read_all(), b"")
            self.assertEqual(fresh.read_all(), b"")

    def test_keeps_a_busy_connection(self):
        """For several times as long as an idle one, also when each request comes in two parts."""
        with self.httpd.connect() as peer:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                begin = time.monotonic()
                peer.send(request("/")[:10])
                time.sleep(0.01)
                peer.send(request("/")[10:] + request("/")[:5])
                if time.monotonic() - begin > 0.2:
                    self.skipTest("this side was held up: its request came too slowly")
                self.assertEqual(Response(peer).body, HELLO)
                peer.send(request("/")[5:])
                self.assertEqual(Response(peer).body, HELLO)

    def test_answers_what_came_in_time_while_it_was_held_up(self):
        """The deadline had passed before it looked, and it answered 408."""
        with self.httpd.connect() as peer:
            peer.send(request("/")[:10])
            time.sleep(0.01)
            os.kill(self.httpd.pid, signal.SIGSTOP)
            peer.send(request("/")[10:])
            time.sleep(0.35)
            os.kill(self.httpd.pid, signal.SIGCONT)
            self.assertEqual(Response(peer).body, HELLO)

    def test_gives_up_on_who_does_not_read(self):
        with self.httpd.connect() as peer:
            body = b"x" * 100_000
            with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                deadline = time.monotonic() + daemon.PATIENCE
                while time.monotonic() < deadline:
                    peer.send(request("/echo", "POST", body))


class Patience(unittest.TestCase):
    def test_for_idling_is_not_that_for_a_body(self):
        """A body in parts left its deadline behind, which was taken for more than enough."""
        flags = "--body_timeout", "30s", "--idle_timeout", "200ms"
        with Daemon("httpd", *flags) as httpd, httpd.connect() as peer:
            send_in_two_parts(peer)
            begin = time.monotonic()
            self.assertEqual(peer.read_all(), b"")
            self.assertLess(time.monotonic() - begin, 15)

    def test_may_be_without_end(self):
        """The end of it was a sum that overflowed, which UBSan's build does not survive."""
        flags = [word for name in ("head", "body", "idle") for word in (f"--{name}_timeout", "inf")]
        with Daemon("httpd", *flags) as httpd, httpd.connect() as peer:
            for _ in range(3):
                peer.send(request("/"))
                self.assertEqual(Response(peer).body, HELLO)
                send_in_two_parts(peer)


daemon.main()
