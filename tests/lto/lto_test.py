"""Builds migrate.cc and the library's own sources at -O3 with link-time optimization, as one
program, and runs it with each goroutine on another thread after every park.

Run as `lto_test.py BUILD_DIR`: which sources and include paths there are is read from what meson
left there.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
JOBS = 2
SOURCES_AT_ONCE = 15
SKIPPED = 77
LIBRARIES = ("weft_machine", "weft_core", "weft_outer")
# Dropped from the library's own flags: what the build writes beside the objects, and what is
# given here instead.
OWN_FLAGS = ("-M", "-O", "-g", "-fdiagnostics", "-fsanitize")


def library_sources(build):
    """(compiler, flags, source) of all sources of the library, as meson compiles them."""
    targets = json.loads((build / "meson-info/intro-targets.json").read_text())
    for target in targets:
        if target["name"] not in LIBRARIES or target["type"] != "static library":
            continue
        for group in target["target_sources"]:
            flags = [f for f in group.get("parameters", []) if not f.startswith(OWN_FLAGS)]
            for source in group.get("sources", []):
                yield [c for c in group["compiler"] if c != "ccache"], flags, source


def united(work, jobs):
    """The same jobs with up to SOURCES_AT_ONCE sources in one, where they are C++ with equal flags."""
    groups = {}
    for compiler, flags, source in jobs:
        key = (*compiler, *flags) if source.endswith(".cc") else source
        groups.setdefault(key, (compiler, flags, []))[2].append(source)
    for number, (compiler, flags, sources) in enumerate(groups.values()):
        for begin in range(0, len(sources), SOURCES_AT_ONCE):
            part = sources[begin:begin + SOURCES_AT_ONCE]
            if len(part) > 1:
                unit = pathlib.Path(work) / f"unit-{number}-{begin}.cc"
                unit.write_text("".join(f'#include "{source}"\n' for source in part))
                part = [str(unit)]
            yield compiler, flags, part[0]


def compile_one(work, compiler, flags, source):
    out = pathlib.Path(work) / (source.strip("/").replace("/", "_") + ".o")
    command = [*compiler, *flags, "-O3", "-g", "-flto", "-c", source, "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return str(out)


def pkg_config(*packages):
    return subprocess.run(["pkg-config", "--libs", *packages], check=True, capture_output=True,
                          text=True).stdout.split()


def main(build):
    jobs = list(library_sources(build))
    if not jobs:
        raise SystemExit("no sources of the library are known: is this a build directory?")
    compiler, flags, _ = next(j for j in jobs if j[2].endswith(".cc"))
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
    if "Free Software Foundation" not in version:
        print("skipped: the compiler is not GCC")
        return SKIPPED
    jobs.append((compiler, flags, str(HERE / "migrate.cc")))
    with tempfile.TemporaryDirectory() as work:
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            os.chdir(build)  # the include paths are relative to it
            objects = list(pool.map(lambda job: compile_one(work, *job), united(work, jobs)))
        program = os.path.join(work, "migrate")
        libs = pkg_config("absl_status", "absl_statusor", "absl_time", "absl_strings",
                          "absl_symbolize", "absl_any_invocable", "liburing")
        subprocess.run([*compiler, "-O3", "-g", f"-flto={JOBS}", "-fno-semantic-interposition",
                        *objects, "-o", program, "-pthread", *libs], check=True)
        for _ in range(3):
            run = subprocess.run([program], env={**os.environ, "WEFT_DEBUG": "migrate=1"},
                                 timeout=120)
            if run.returncode != 0:
                print(f"the program failed: {run.returncode}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
