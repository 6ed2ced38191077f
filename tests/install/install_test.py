#!/usr/bin/env python3
"""Installs weft into a folder of its own and builds the README's daemon against it.

usage: install_test.py BUILD_FOLDER

By pkg-config and by CMake, with GCC and clang, as C++20 and C++23, without exceptions and RTTI,
with warnings as errors; shared and static. Each result must echo, and end cleanly on SIGTERM.
Each public header must compile by itself.
"""

import glob
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

FLAGS = ["-O1", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-fno-exceptions",
         "-fno-rtti"]
PORT_IN_README = "7777"
CMAKELISTS = """\
cmake_minimum_required(VERSION 3.20)
project(daemon CXX)
find_package(weft 0.1 REQUIRED)
foreach(kind weft static)
  add_executable(daemon-${kind} daemon.cc)
  target_link_libraries(daemon-${kind} weft::${kind})
endforeach()
"""
# One P, and a goroutine that only computes: the program ends only if that can be stopped.
COMPUTING = """#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/time.h"
volatile unsigned calls = 0;
[[gnu::noinline]] void Count(unsigned n) { calls = calls + n; }
int main() {
  weft::RuntimeOptions options;
  options.max_procs = 1;
  return weft::Main(options, [] {
    weft::Go([] { for (;;) Count(1); });
    weft::Sleep(absl::Milliseconds(1));
  });
}
"""
POLLS_CMAKELISTS = """cmake_minimum_required(VERSION 3.20)
project(computing CXX)
find_package(weft 0.1 REQUIRED)
add_executable(computing computing.cc)
target_link_libraries(computing weft::weft weft::polls)
"""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(str(c) for c in command)}\n{done.stdout}")
    return done.stdout


def readme_daemon(root):
    with open(os.path.join(root, "README.md"), encoding="utf-8") as file:
        blocks = re.findall(r"```cpp\n(.*?)```", file.read(), re.DOTALL)
    daemons = [b for b in blocks if "int main(" in b]
    if len(daemons) != 1:
        sys.exit("README.md must hold exactly one cpp block with a main()")
    return daemons[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, process):
    """Connects as soon as the daemon listens: tries while it runs."""
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except ConnectionRefusedError:
            if process.poll() is not None:
                sys.exit(f"the daemon ended with code {process.returncode}")


def exercise(program, port, libdir):
    environment = dict(os.environ, LD_LIBRARY_PATH=libdir)
    process = subprocess.Popen([program], env=environment)
    try:
        with connect(port, process) as peer:
            peer.sendall(b"hello weft")
            peer.shutdown(socket.SHUT_WR)
            echoed = b""
            while chunk := peer.recv(100):
                echoed += chunk
        if echoed != b"hello weft":
            sys.exit(f"{program} echoed {echoed!r}")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)
        if code != 0:
            sys.exit(f"{program} ended with code {code} after SIGTERM")
    finally:
        process.kill()
        process.wait()


class Install:
    def __init__(self, build, work):
        self.work = work
        stage = os.path.join(work, "stage")
        run("meson", "install", "-C", build, "--no-rebuild", "--destdir", stage)
        pc = glob.glob(f"{stage}/**/weft.pc", recursive=True)[0]
        self.libdir = os.path.dirname(os.path.dirname(pc))
        self.pkg_environment = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc))
        self.include = glob.glob(f"{stage}/**/include/weft", recursive=True)[0]

    def pkg_config(self, *options):
        return run("pkg-config", *options, "weft", env=self.pkg_environment).split()

    def by_pkg_config(self, compiler, standard, source):
        objects = os.path.join(self.work, "daemon.o")
        run(compiler, f"-std={standard}", *FLAGS, *self.pkg_config("--cflags"), "-c", source,
            "-o", objects)
        shared = os.path.join(self.work, "daemon-shared")
        run(compiler, objects, *self.pkg_config("--libs"), "-o", shared)
        static = os.path.join(self.work, "daemon-static")
        libraries = [f"{self.libdir}/libweft.a" if flag == "-lweft" else flag
                     for flag in self.pkg_config("--libs", "--static")]
        run(compiler, objects, *libraries, "-o", static)
        return [shared, static]

    def by_cmake(self, compiler, standard, source):
        tree = tempfile.mkdtemp(dir=self.work)
        shutil.copy(source, f"{tree}/daemon.cc")
        with open(f"{tree}/CMakeLists.txt", "w", encoding="utf-8") as file:
            file.write(CMAKELISTS)
        run("cmake", "-S", tree, "-B", f"{tree}/build", f"-DCMAKE_PREFIX_PATH={self.libdir}/cmake",
            f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_CXX_STANDARD={standard}",
            f"-DCMAKE_CXX_FLAGS={' '.join(FLAGS)}")
        run("cmake", "--build", f"{tree}/build")
        return [f"{tree}/build/daemon-weft", f"{tree}/build/daemon-static"]

    def headers_compile_alone(self, compiler, standard):
        flags = self.pkg_config("--cflags")
        for header in sorted(glob.glob(f"{self.include}/*.h")):
            run(compiler, f"-std={standard}", *FLAGS, *flags, "-fsyntax-only", "-x", "c++", "-",
                input=f'#include "weft/{os.path.basename(header)}"\n')

    def computing(self, source):
        """GCC's only, as the flags are. lld takes the archive only: it lets functions that call other
        code call __morestack_non_split, but does not look for that in shared libraries."""
        flags = self.pkg_config("--variable=poll_cflags")
        objects = os.path.join(self.work, "computing.o")
        run("g++", "-std=c++20", *FLAGS, *self.pkg_config("--cflags"), *flags, "-c", source, "-o",
            objects)
        programs = []
        archive = f"{self.libdir}/libweft.a"
        for linker, library in (("bfd", "-lweft"), ("bfd", archive), ("lld", archive)):
            if shutil.which(f"ld.{linker}") is None:
                continue
            program = os.path.join(self.work, f"computing-{len(programs)}")
            run("g++", f"-fuse-ld={linker}", objects,
                *[library if flag == "-lweft" else flag
                  for flag in self.pkg_config("--libs", "--static")], "-o", program)
            programs.append(program)
        tree = tempfile.mkdtemp(dir=self.work)
        shutil.copy(source, f"{tree}/computing.cc")
        with open(f"{tree}/CMakeLists.txt", "w", encoding="utf-8") as file:
            file.write(POLLS_CMAKELISTS)
        run("cmake", "-S", tree, "-B", f"{tree}/build", f"-DCMAKE_PREFIX_PATH={self.libdir}/cmake",
            "-DCMAKE_CXX_COMPILER=g++")
        run("cmake", "--build", f"{tree}/build")
        return programs + [f"{tree}/build/computing"]

    def exports_are_public(self):
        library = f"{self.libdir}/libweft.so"
        for line in run("nm", "-DC", "--defined-only", library).splitlines():
            name = line.split(None, 2)[-1]
            if name.startswith(("__morestack", "weft_errno_location")):  # the poll flags' names
                continue
            if re.search(r"^(weft::(runtime|netpoll)::|(?!.*weft::))", name):
                sys.exit(f"{library} exports {name}\nfix: weft.map says what is public")


def main():
    build = os.path.abspath(sys.argv[1])
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    daemon = readme_daemon(root)
    with tempfile.TemporaryDirectory() as work:
        install = Install(build, work)
        install.exports_are_public()
        print("libweft.so exports public names only")
        source = os.path.join(work, "daemon.cc")
        for compiler in ("g++", "clang++"):
            install.headers_compile_alone(compiler, "c++20")
            for standard, flag in (("20", "c++20"), ("23", "c++2b")):
                port = free_port()
                with open(source, "w", encoding="utf-8") as file:
                    file.write(daemon.replace(PORT_IN_README, str(port)))
                programs = install.by_pkg_config(compiler, flag, source)
                programs += install.by_cmake(compiler, standard, source)
                for program in programs:
                    exercise(program, port, install.libdir)
                print(f"{compiler}, C++{standard}: pkg-config, CMake, shared, static")
        if platform.machine() == "x86_64":
            source = os.path.join(work, "computing.cc")
            with open(source, "w", encoding="utf-8") as file:
                file.write(COMPUTING)
            for program in install.computing(source):
                run("timeout", "60", program, env=dict(os.environ, LD_LIBRARY_PATH=install.libdir))
            print("what computes with the flags that weft.pc offers is stopped")


if __name__ == "__main__":
    main()
