#!/usr/bin/env python3
"""Counts test results: tally.py LOGS_FOLDER... prints "passed failed skipped".

Each folder is a meson-logs. testlog.json knows each program, testlog.junit.xml the cases inside
those of GoogleTest.
"""

import json
import os
import sys
import xml.etree.ElementTree as ElementTree


def count_cases(suites):
    passed = failed = skipped = 0
    for suite in suites:
        for case in suite.findall("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None or case.get("status") == "notrun":
                skipped += 1
            else:
                passed += 1
    return passed, failed, skipped


def count(folder):
    suites = list(ElementTree.parse(os.path.join(folder, "testlog.junit.xml")).iter("testsuite"))
    with open(os.path.join(folder, "testlog.json"), encoding="utf-8") as file:
        tests = [json.loads(line) for line in file]
    for test in tests:
        inside = [s for s in suites if f".{test['name']}." in s.get("name", "")]
        passed, failed, skipped = count_cases(inside)
        good = test["result"] in ("OK", "EXPECTEDFAIL")
        if test["result"] == "SKIP":
            skipped += not inside
        elif good:
            passed += not inside
        elif failed == 0:  # it crashed, hung or failed after its last case
            failed = 1
        yield passed, failed, skipped


if __name__ == "__main__":
    results = [result for folder in sys.argv[1:] for result in count(folder)]
    print(*(sum(column) for column in zip((0, 0, 0), *results)))
