"""httpd from outside: curl for what a user does, raw sockets for what nobody should do."""

import json
import re
import signal
import subprocess
import threading
import time
import unittest

import daemon
from daemon import Daemon
from httpd_client import HELLO, Response, Served, chunked, request, send_in_two_parts


class Curl(Served):
    def test_get_answers_a_hello(self):
        self.assertEqual(self.curl(self.url), HELLO)

    def test_head_answers_as_get_without_the_body(self):
        head = self.curl("--head", self.url).decode()
        self.assertTrue(head.startswith("HTTP/1.1 200 OK\r\n"), head)
        self.assertIn(f"Content-Length: {len(HELLO)}\r\n", head)

    def test_reuses_a_connection(self):
        said = self.curl("-w", "%{num_connects} ", self.url, self.url, self.url).decode()
        self.assertEqual(said, "Hello, World!1 Hello, World!0 Hello, World!0 ")

    def test_echoes_a_body_with_a_length_and_one_in_chunks(self):
        body = bytes(range(256)) * 4000  # just below the limit
        for fields in [], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]:
            got = subprocess.run(
                [daemon.tool("curl"), "-sS", "--data-binary", "@-", *fields, self.url + "/echo"],
                input=body, capture_output=True, check=False, timeout=daemon.PATIENCE)
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertEqual(got.stdout, body)

    def test_refuses_a_large_upload_so_that_curl_sees_it(self):
        for fields in [], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]:
            got = subprocess.run(
                [daemon.tool("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                 "--data-binary", "@-", *fields, self.url + "/echo"],
                input=b"x" * 3_000_000, capture_output=True, check=False, timeout=daemon.PATIENCE)
            self.assertEqual(got.stdout, b"413", got.stderr)

    def test_is_well_and_counts(self):
        self.assertEqual(self.curl(self.url + "/healthz"), b"ok\n")
        stats = json.loads(self.curl(self.url + "/stats"))
        self.assertEqual(stats["procs"], self.httpd.procs)
        self.assertGreaterEqual(stats["goroutines"], 2)
        self.assertGreater(stats["context_switches"], 0)

    def test_passes_over_an_offer_of_http2(self):
        self.assertEqual(self.curl("--http2", self.url), HELLO)


class Raw(Served):
    def test_names_what_it_does_not_have(self):
        self.assertEqual(self.ask(request("/nothing")).status, 404)
        self.assertEqual(self.ask(request("/echo/")).status, 404)
        for target, method, allowed in [("/", "POST", "GET, HEAD"), ("/echo", "GET", "POST"),
                                        ("/", "DELETE", "GET, HEAD")]:
            answer = self.ask(request(target, method))
            self.assertEqual((answer.status, answer.fields["allow"]), (405, allowed))

    def test_finds_the_path_in_every_form_of_target(self):
        for target in "/", "/?a=b", "/?", "http://test", "http://test/", "http://test/?x":
            self.assertEqual(self.ask(request(target)).body, HELLO, target)

    def test_tells_the_time(self):
        date = self.ask(request("/")).fields["date"]
        then = time.strptime(date, "%a, %d %b %Y %H:%M:%S GMT")
        self.assertAlmostEqual(time.mktime(then) - time.timezone, time.time(), delta=5)

    def test_answers_pipelined_requests_in_order(self):
        with self.httpd.connect() as peer:
            bodies = [b"%d" % i * (i % 50) + b"." for i in range(500)]
            peer.send(b"".join(request("/echo", "POST", b) for b in bodies))
            for body in bodies:
                self.assertEqual(Response(peer).body, body)

    def test_takes_pipelined_requests_while_responses_wait(self):
        """More requests than buffers hold, by a client that reads only afterwards."""
        with self.httpd.connect() as peer:
            count, body = 2000, b"x" * 2000
            sender = threading.Thread(
                target=lambda: peer.send(request("/echo", "POST", body) * count))
            sender.start()
            for _ in range(count):
                self.assertEqual(Response(peer).body, body)
            sender.join()

    def test_takes_requests_in_pieces_of_any_size(self):
        text = (request("/echo", "POST", b"one") + chunked(b"t", b"wo" * 20) + request("/") +
                request("/", "HEAD") + request("/echo", "POST", b"last"))
        for size in 1, 2, 3, 7, 50:
            with self.httpd.connect() as peer:
                for at in range(0, len(text), size):
                    peer.send(text[at:at + size])
                self.assertEqual(Response(peer).body, b"one")
                self.assertEqual(Response(peer).body, b"t" + b"wo" * 20)
                self.assertEqual(Response(peer).body, HELLO)
                self.assertEqual(Response(peer, without_body=True).status, 200)
                self.assertEqual(Response(peer).body, b"last")

    def test_takes_a_chunked_body_with_extensions_and_trailers(self):
        with self.httpd.connect() as peer:
            peer.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                      b"3;why=not\r\nabc\r\n0\r\nHost: not a second one\r\nX-Sum: 1\r\n\r\n" +
                      request("/"))
            self.assertEqual(Response(peer).body, b"abc")
            self.assertEqual(Response(peer).body, HELLO)

    def test_says_continue_to_who_waits_for_it(self):
        with self.httpd.connect() as peer:
            peer.send(request("/echo", "POST", b"", "Expect: 100-continue", "Content-Length: 4"))
            self.assertEqual(Response(peer).status, 100)
            peer.send(b"body")
            self.assertEqual(Response(peer).body, b"body")

    def test_takes_blanks_around_an_expectation(self):
        expect = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n%s\r\n\r\n"
        for field in b"Expect: 100-continue ", b"Expect:\t 100-Continue\t \t", b"Expect:100-continue":
            for size in 1, 1000:
                with self.subTest(field=field, size=size), self.httpd.connect() as peer:
                    text = expect % field
                    for at in range(0, len(text), size):
                        peer.send(text[at:at + size])
                    self.assertEqual(Response(peer).status, 100)
                    peer.send(b"body")
                    self.assertEqual(Response(peer).body, b"body")
        for field in b"Expect: ", b"Expect:", b"Expect: \t ":  # nothing
            with self.subTest(field), self.httpd.connect() as peer:
                peer.send(expect % field + b"body")
                self.assertEqual(Response(peer).body, b"body")
        for field in b"Expect: 100- continue", b"Expect: 100-continue x", b"Expect: 100-continu":
            with self.subTest(field):
                self.check_refused(expect % field, 417)

    def test_says_nothing_to_who_does_not_wait(self):
        with self.httpd.connect() as peer:
            peer.send(request("/echo", "POST", b"body", "Expect: 100-continue"))
            self.assertEqual(Response(peer).status, 200)

    def test_keeps_http_1_0_open_only_when_asked(self):
        with self.httpd.connect() as peer:
            peer.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
            first, second = Response(peer), Response(peer)
            self.assertEqual(first.fields["connection"], "keep-alive")
            self.assertEqual(second.fields["connection"], "close")
            self.assertEqual(peer.read_all(), b"")

    def test_closes_when_asked(self):
        with self.httpd.connect() as peer:
            peer.send(request("/", "GET", b"", "Connection: close") + request("/nothing"))
            self.assertEqual(Response(peer).fields["connection"], "close")
            self.assertEqual(peer.read_all(), b"")

    def test_answers_who_sends_no_more(self):
        with self.httpd.connect() as peer:
            peer.send(request("/"))
            peer.finish()
            self.assertEqual(Response(peer).body, HELLO)
            self.assertEqual(peer.read_all(), b"")

    def check_refused(self, data, status):
        with self.httpd.connect() as peer:
            peer.send(data)
            answer = Response(peer)
            self.assertEqual(answer.status, status, data[:100])
            self.assertEqual(answer.fields["connection"], "close")
            self.assertEqual(peer.read_all(), b"", data[:100])

    def test_refuses_what_is_malformed(self):
        host = b"Host: a\r\n"
        for data in [
                b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"GET\r\n\r\n",
                b"GET / HTTP/1.1\r\n\r\n",                              # no Host
                b"GET / HTTP/1.1\r\n" + host + host + b"\r\n",
                b"GET / HTTP/1.1\r\n" + host + b"Bad Name: x\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + host + b"No colon\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + host + b"A: b\x00c\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + host + b"A: \x00\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + host + b"Connection: \x00close\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + host + b"A:\x7fb\r\n\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Content-Length: x\r\n\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Content-Length: -1\r\n\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
                # What is smuggled past proxies.
                b"POST /echo HTTP/1.1\r\n" + host +
                b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
                b"POST /echo HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n"
                b"fffffffffffffffff\r\n"]:
            with self.subTest(data):
                self.check_refused(data, 400)

    def test_refuses_other_versions_and_expectations(self):
        self.check_refused(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505)
        self.check_refused(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417)

    def test_refuses_what_is_too_large(self):
        long_target = "/" + 9000 * "a"
        self.check_refused(request(long_target), 414)
        self.check_refused(request("/" + 100_000 * "a"), 414)
        self.check_refused(request("/", "GET", b"", "X: " + 40_000 * "a"), 431)
        self.check_refused(request("/", "GET", b"", 40_000 * "a" + ": x"), 431)
        self.check_refused(request("/", "GET", b"", *["X: y"] * 101), 431)
        self.check_refused(request("/echo", "POST", b"", "Content-Length: 1048577"), 413)
        self.check_refused(request("/echo", "POST", b"", "Content-Length: 99999999999999999"), 413)
        self.check_refused(chunked(*[b"x" * 1000] * 1049), 413)

    def test_takes_what_just_fits(self):
        self.assertEqual(self.ask(request("/?" + 8000 * "a")).status, 200)
        self.assertEqual(self.ask(request("/", "GET", b"", *["X: y"] * 98)).status, 200)
        body = b"x" * (1 << 20)
        self.assertEqual(self.ask(request("/echo", "POST", body)).body, body)

    def test_answers_what_came_before_the_fault(self):
        with self.httpd.connect() as peer:
            peer.send(request("/") + b"nonsense\r\n\r\n")
            self.assertEqual(Response(peer).body, HELLO)
            self.assertEqual(Response(peer).status, 400)
            self.assertEqual(peer.read_all(), b"")


class FullBatches(unittest.TestCase):
    """Responses that are written before all requests of one read are answered."""

    # As many as one read brings; their responses are several batches.
    burst = b"GET /stats HTTP/1.1\nHost:\n\n" * 150

    def test_gives_up_on_who_does_not_read_the_first_responses(self):
        """A fresh connection's first write had no deadline: it held its goroutine for ever."""
        with Daemon("httpd", "--idle_timeout", "500ms") as httpd, httpd.connect() as watch:
            def descriptors():
                watch.send(request("/stats"))
                return json.loads(Response(watch).body)["poll_descriptors"]

            before = descriptors()
            with httpd.held_up():  # its first read finds all of it
                peer = httpd.connect_narrowly()
                sent = 2 * self.burst
                peer.send_now(sent)
            with peer:
                daemon.eventually(lambda: descriptors() > before, descriptors)
                daemon.eventually(lambda: descriptors() == before, descriptors)
                said = b""
                try:
                    while data := peer.socket.recv(65536):
                        said += data
                except ConnectionResetError:
                    pass
                # Else nothing has waited.
                self.assertLess(said.count(b"HTTP/1.1 200 OK"), sent.count(b"GET"))

    def test_answers_after_a_pause_that_is_shorter_than_idling_may_be(self):
        """A write sets a deadline; a body in parts then moves that of idling, but not of writing,
        of which enough is left; a pause takes that time. The next burst was written too late."""
        idle = 1.5
        with Daemon("httpd", "--idle_timeout", f"{idle}s") as httpd, httpd.connect() as peer:
            begin = time.monotonic()
            peer.send(request("/"))
            Response(peer)
            time.sleep(begin + 0.4 * idle - time.monotonic())
            send_in_two_parts(peer)
            time.sleep(begin + 1.6 * idle - time.monotonic())
            peer.send(self.burst)
            for _ in range(self.burst.count(b"GET")):
                self.assertEqual(Response(peer).status, 200)


class LetsGo(unittest.TestCase):
    def test_of_everything_that_clients_leave(self):
        """Goroutines, descriptors and timers are as before."""
        with Daemon("httpd") as httpd, httpd.connect() as watch:
            def held():
                watch.send(request("/stats"))
                stats = json.loads(Response(watch).body)
                return {name: stats[name] for name in ("goroutines", "poll_descriptors", "timers")}

            held()  # the first one sets a deadline for writing
            before = held()
            peers = [httpd.connect() for _ in range(50)]
            for number, peer in enumerate(peers):
                peer.send(request("/")[:number])
            for peer in peers:
                peer.close()
            daemon.eventually(lambda: held() == before, lambda: f"{held()}, before: {before}")


class Ends(unittest.TestCase):
    def test_says_where_and_how_it_serves(self):
        with Daemon("httpd") as httpd:
            self.assertRegex(httpd.banner, r"^httpd: serving on http://127\.0\.0\.1:\d+ \(")

    def test_sigterm_ends_it_while_clients_idle(self):
        with Daemon("httpd") as httpd:
            peers = [httpd.connect() for _ in range(20)]
            for peer in peers:
                peer.send(request("/"))
                Response(peer)
            begin = time.monotonic()
            httpd.end()
            self.assertLess(time.monotonic() - begin, 8)  # not the whole grace of 10 s
            for peer in peers:
                self.assertEqual(peer.read_all(), b"")
                peer.close()

    def begin(self, httpd, data):
        """A connection that httpd has accepted, with `data` sent."""
        peer = httpd.connect()
        peer.send(data)
        with httpd.connect() as later:
            later.send(request("/"))
            Response(later)
        return peer

    def test_sigterm_lets_requests_finish(self):
        text = request("/echo", "POST", b"body")
        cuts = 1, 20, len(text) - 5, len(text) - 1
        with Daemon("httpd") as httpd:
            peers = [self.begin(httpd, text[:at]) for at in cuts]
            httpd.terminate()
            daemon.eventually(httpd.refuses_connections, lambda: "it goes on accepting")
            for peer, at in zip(peers, cuts):
                peer.send(text[at:])
                answer = Response(peer)
                self.assertEqual(answer.body, b"body")
                self.assertEqual(answer.fields["connection"], "close")
                self.assertEqual(peer.read_all(), b"")
                peer.close()

    def test_sigterm_serves_who_waits_to_be_accepted(self):
        """Requests were sent, then came the signal, and the backlog was reset by the close."""
        count = 900  # fits into the usual limit of descriptors
        with Daemon("httpd") as httpd:
            with httpd.held_up():
                peers = [httpd.connect() for _ in range(count)]
                for peer in peers:
                    peer.send_now(request("/"))
                httpd.terminate()
            for peer in peers:
                answer = Response(peer)
                self.assertEqual(answer.body, HELLO)
                peer.close()

    def test_sigterm_is_not_put_off_by_who_goes_on_connecting(self):
        with Daemon("httpd") as httpd:
            def connect():
                while not httpd.refuses_connections():
                    time.sleep(0.002)  # so that ports last for as long as it would be put off

            flood = [threading.Thread(target=connect) for _ in range(4)]
            for thread in flood:
                thread.start()
            begin = time.monotonic()
            httpd.end()
            self.assertLess(time.monotonic() - begin, 8)
            for thread in flood:
                thread.join()

    def test_sigterm_waits_for_nobody_longer_than_10_seconds(self):
        with Daemon("httpd", "--head_timeout", "100s") as httpd:
            with self.begin(httpd, b"GET /"):
                begin = time.monotonic()
                httpd.end()
                took = time.monotonic() - begin
        self.assertGreater(took, 9)
        self.assertLess(took, 20)

    def test_a_second_signal_ends_it_at_once(self):
        with Daemon("httpd", "--head_timeout", "100s") as httpd, httpd.connect() as idle:
            with self.begin(httpd, b"GET /"):
                idle.send(request("/"))
                Response(idle)
                httpd.terminate()
                idle.read_all()  # the first one has been taken note of
                httpd.terminate()
                self.assertEqual(httpd.wait(), -signal.SIGTERM)
                httpd.forget()

    def test_explains_itself(self):
        said = subprocess.run([f"{daemon.folder}/httpd", "--help"], capture_output=True, text=True,
                              check=False, timeout=daemon.PATIENCE).stdout
        for word in "--port", "--bind", "--head_timeout", "--body_timeout", "--idle_timeout":
            self.assertTrue(re.search(rf"^\s+{word}\b", said, re.M), said)


daemon.main()
