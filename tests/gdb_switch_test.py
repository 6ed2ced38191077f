"""gdb's backtraces through goroutines and through every instruction of weft_switch.

Run as `gdb_switch_test.py SWITCH_TEST`: starts gdb on that program and itself inside of gdb. With
`gdb_switch_test.py SWITCH_TEST EMULATOR...` the program runs under qemu-user, and a gdb for all
machines talks to that. Exits with 77 (skipped) where there is no gdb or it may not trace.
"""

import os
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
PROGRAM_ARGS = ["--gtest_filter=Switch.ForTheDebugger/1P"]


def outside(program):
    gdb = shutil.which("gdb")
    if gdb is None:
        print("skipped: no gdb")
        return SKIPPED
    probe = subprocess.run([gdb, "-nx", "-batch", "-ex", "python print('py' + 'thon')",
                            "-ex", "starti", "--args", "/bin/true"],
                           capture_output=True, text=True, timeout=60)
    if "python" not in probe.stdout or "Program stopped" not in probe.stdout:
        print("skipped: this gdb has no Python or may not trace:", probe.stderr)
        return SKIPPED
    return walk([gdb, "-nx", "-batch", "-ex", f"source {os.path.abspath(__file__)}",
                 "--args", program] + PROGRAM_ARGS)


def outside_of_emulator(program, emulator):
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        print("skipped: no gdb-multiarch")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "gdb")
        # The emulator of one program has no io_uring, whatever the machine's tests insist on.
        environment = {k: v for k, v in os.environ.items() if k != "WEFT_NETPOLL"}
        with subprocess.Popen(emulator + ["-g", socket, program] + PROGRAM_ARGS, env=environment,
                              stdout=subprocess.DEVNULL) as emulated:
            try:
                return walk(["timeout", "100", gdb, "-nx", "-batch", "-ex", f"file {program}",
                             "-ex", "python import time, os",
                             "-ex", f"python while not os.path.exists('{socket}'): time.sleep(.1)",
                             "-ex", f"target remote {socket}",
                             "-ex", f"source {os.path.abspath(__file__)}"])
            finally:
                emulated.kill()


def walk(command):
    run = subprocess.run(command, capture_output=True, text=True, timeout=110)
    sys.stdout.write(run.stdout[-8000:])
    sys.stderr.write(run.stderr[-2000:])
    return 0 if "GDB-TEST-PASSED" in run.stdout else 1


def frames():
    names = []
    frame = gdb.newest_frame()
    while frame is not None and len(names) < 50:
        names.append(frame.name() or "?")
        frame = frame.older()
    return names


def expect(condition, what):
    if not condition:
        print("FAILED:", what)
        print("\n".join(f"  #{i} {name}" for i, name in enumerate(frames())))
        gdb.execute("quit 1")


def check_breakpoint():
    """At a breakpoint in a goroutine's function the user's frames are seen, down to the start."""
    gdb.execute("break switch_test::StopsHere")
    # A remote program has been started already.
    gdb.execute("continue" if gdb.selected_inferior().pid != 0 else "run")
    for _ in range(4):
        names = frames()
        expect(names[0] == "switch_test::StopsHere", "stopped in StopsHere")
        expect("switch_test::CallsStopsHere" in names[1], "its caller is seen")
        expect(names[-2].endswith("weft_goroutine_main") and names[-1] == "weft_gostart",
               "the walk ends at the start")
        gdb.execute("continue")


def check_each_instruction():
    """Through weft_switch: before the stacks change its caller is seen, afterwards the other's."""
    gdb.execute("delete")
    gdb.execute("break weft_switch")
    gdb.execute("set scheduler-locking step")
    for _ in range(4):
        gdb.execute("continue")
        expect(frames()[0] == "weft_switch", "stopped in weft_switch")
        before = frames()[1:]
        expect(before[-1] == "weft_gostart", "the caller's frames at the first instruction")
        steps = 0
        while gdb.newest_frame().name() == "weft_switch":
            names = frames()
            expect(names[-1] == "weft_gostart", f"frames after {steps} instructions")
            expect(len(names) >= 2, f"a caller after {steps} instructions")
            gdb.execute("stepi", to_string=True)
            steps += 1
            expect(steps < 100, "weft_switch ends")
        expect(steps > 20, f"all of weft_switch was seen, not {steps} instructions")
        expect(frames()[-1] == "weft_gostart", "where it went on")


def inside():
    gdb.execute("set pagination off")
    gdb.execute("set confirm off")
    gdb.execute("handle SIGALRM pass nostop noprint")
    check_breakpoint()
    check_each_instruction()
    print("GDB-TEST-PASSED")
    gdb.execute("kill")


if "gdb" in sys.modules:
    import gdb
    inside()
elif len(sys.argv) > 2:
    sys.exit(outside_of_emulator(sys.argv[1], sys.argv[2:]))
else:
    sys.exit(outside(sys.argv[1]))
