#!/usr/bin/env python3
"""Checks the tree against the house rules (rules.py) and prints the fix for each finding.

Exceptions stand in allow.txt beside this file, one a line: PATH RULE REASON.
"""

import os
import subprocess
import sys

import rules
from source import Source

SUFFIXES = (".h", ".cc", ".c", ".S", ".py", ".sh", ".md", ".in", ".map", ".build", ".txt")
SCRIPTS = ("check", "demo", "stress/stress", "stress/prove", "bench/run", ".ci/run",
           "tests/arm64/boot", "tests/arm64/image", "tests/arm64/in_machine", "tests/arm64/init",
           "tests/arm64/run", "tests/arm64/sysroot")


def tracked(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True)
    if listed.returncode == 0:
        return sorted(set(listed.stdout.split("\n")) - {""})
    found = []  # an unpacked archive
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(("build", ".git", "__pycache__"))]
        found += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(found)


def load(root):
    sources = []
    for path in tracked(root):
        full = os.path.join(root, path)
        if os.path.isfile(full) and (path.endswith(SUFFIXES) or path in SCRIPTS):
            with open(full, encoding="utf-8") as file:
                sources.append(Source(path, file.read()))
    return sources


class Allowances:
    def __init__(self, path):
        self.path = path
        self.entries = {}
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                line = line.split("#")[0].strip()
                if line:
                    parts = line.split(None, 2)
                    if len(parts) < 3:
                        sys.exit(f"{path}:{number}: PATH RULE REASON, all three")
                    self.entries[parts[0], parts[1]] = number
        self.used = set()

    def permits(self, path, rule):
        if (path, rule) in self.entries:
            self.used.add((path, rule))
            return True
        return False

    def stale(self):
        return sorted(self.entries[entry] for entry in set(self.entries) - self.used)


def findings(sources, file_rules, tree_rules):
    for rule in file_rules:
        for source in sources:
            for line, wrong, fix in rule(source):
                yield rule.__name__, source.path, line, wrong, fix
    for rule in tree_rules:
        for path, line, wrong, fix in rule(sources):
            yield rule.__name__, path, line, wrong, fix


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    sources = load(root)
    allowed = Allowances(os.path.join(here, "allow.txt"))
    failures = 0
    for rule, path, line, wrong, fix in findings(sources, rules.FILE_RULES, rules.TREE_RULES):
        if allowed.permits(path, rule):
            continue
        failures += 1
        print(f"{path}:{line}: {wrong} [{rule}]\n    fix: {fix}")
    for number in allowed.stale():
        failures += 1
        print(f"tests/tidy/allow.txt:{number}: nothing needs this line\n    fix: delete it")
    for _, path, line, wrong, fix in findings(sources, rules.WARNINGS, []):
        print(f"{path}:{line}: warning: {wrong}\n    {fix}")
    print(f"{len(sources)} files, {failures} findings")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
