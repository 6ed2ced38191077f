"""A daemon under test: started, found by the line that it prints, ended by its pid.

The tests are programs: NAME_test.py FOLDER_WITH_THE_DAEMONS [unittest's arguments]. The netpoller
and the number of Ps come from the environment, as for any user.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

PATIENCE = 60  # seconds until something is taken to hang; sanitizers and busy machines are slow
SKIPPED = 77   # meson's exit code for it

folder = None  # of the daemons


def main(**arguments):
    """Runs the calling module's tests; to be called at its end."""
    global folder
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER_WITH_THE_DAEMONS")
    folder = sys.argv.pop(1)
    program = unittest.main(module="__main__", exit=False, verbosity=2, **arguments)
    result = program.result
    if result.wasSuccessful() and result.testsRun > 0 and len(result.skipped) == result.testsRun:
        sys.exit(SKIPPED)
    sys.exit(0 if result.wasSuccessful() else 1)


def tool(name):
    """The path of a program; skips the test where it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise unittest.SkipTest(f"{name} is not installed")
    return path


def eventually(condition, what):
    """Looks until `condition()` is true; fails with `what()` when that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {PATIENCE} s: {what()}")
        time.sleep(0.01)


class Daemon:
    """A running daemon; a context manager that expects it to end well on SIGTERM."""

    def __init__(self, name, *flags, port=0, bind="127.0.0.1"):
        self.name = name
        self._told = False
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [os.path.join(folder, name), "--port", str(port), "--bind", bind, *flags],
            stdout=subprocess.PIPE, stderr=self._log, text=True)
        self.pid = self._process.pid
        self.banner = self._first_line()
        match = re.match(rf"{name}: serving on (?:http://)?(\S+):(\d+) \((.+), (\d+) Ps?\)\n$",
                         self.banner)
        if match is None:
            self._process.kill()
            self._process.wait()
            if "io_uring is refused" in self.log():
                raise unittest.SkipTest(self.log().strip())
            raise AssertionError(f"{name} began with {self.banner!r}; stderr: {self.log()}")
        self.host, self.port = match[1].strip("[]"), int(match[2])
        self.netpoll, self.procs = match[3], int(match[4])

    def _first_line(self):
        """What it prints first; "" when it ends before, or says nothing for too long."""
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        return line

    def log(self):
        self._log.seek(0)
        return self._log.read()

    def connect(self):
        return Peer(self.host, self.port)

    def connect_narrowly(self):
        """A peer that takes little before it reads: the daemon's writes soon have to wait."""
        return Peer(self.host, self.port, narrow=True)

    def refuses_connections(self):
        try:
            self.connect().close()
        except ConnectionError:  # refused; reset, when the listener closes just then
            return True
        return False

    @contextlib.contextmanager
    def held_up(self):
        """It does nothing meanwhile; the kernel takes connections and input for it."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def terminate(self, number=signal.SIGTERM):
        """SIGTERM. A second one would end it at once."""
        self._told = True
        self._process.send_signal(number)

    def wait(self):
        """Its exit code."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)  # says what its goroutines do
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            raise AssertionError(f"{self.name} does not end; it said: {self.log()}") from None

    def forget(self):
        """It has ended; how, the test has checked."""
        self._process.stdout.close()
        self._log.close()

    def end(self):
        """SIGTERM, and it must end with code 0 and without a complaint. Once or more often."""
        if self._log.closed:
            return
        if not self._told:
            self.terminate()
        code = self.wait()
        said = self.log()
        self.forget()
        if code != 0 or said:
            raise AssertionError(f"{self.name} ended with code {code}; it said: {said}")

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.end()
            return
        try:
            self.end()
        except AssertionError as more:  # the test's own error comes first, with this beside it
            print(more, file=sys.stderr)


class Peer:
    """A TCP client that says exactly what it is told to. Each call gives up after PATIENCE."""

    def __init__(self, host, port, narrow=False):
        if narrow:
            self.socket = self._narrow_socket(host, port)
        else:
            self.socket = socket.create_connection((host, port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    @staticmethod
    def _narrow_socket(host, port):
        """With small segments the other side's send buffer stays small as well."""
        narrow = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        narrow.settimeout(PATIENCE)
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the least there is
        narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)  # likewise
        narrow.connect((host, port))
        return narrow

    def send(self, data):
        self.socket.sendall(data)

    def send_now(self, data):
        """Returns when the other side's kernel has it."""
        self.send(data)

        def unsent():
            return struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)))[0]

        eventually(lambda: unsent() == 0, lambda: f"{unsent()} bytes are not acknowledged")

    def finish(self):
        """No more comes from here."""
        self.socket.shutdown(socket.SHUT_WR)

    def _fill(self):
        data = self.socket.recv(65536)
        self._buffer += data
        return bool(data)

    def read(self, count):
        """Exactly so many bytes."""
        while len(self._buffer) < count:
            if not self._fill():
                raise AssertionError(f"closed after {self._buffer!r}, wanted {count} bytes")
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read_until(self, end):
        """Up to and with `end`."""
        while end not in self._buffer:
            if not self._fill():
                raise AssertionError(f"closed after {self._buffer!r}, wanted {end!r}")
        return self.read(self._buffer.index(end) + len(end))

    def read_all(self):
        """Until the other side closes; it must not reset the connection."""
        while self._fill():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
