#!/usr/bin/env python3
"""stress/stress counts runs, keeps the output of those that fail and ends those that hang."""

import os
import re
import shutil
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def stress(*arguments):
    done = subprocess.run([os.path.join(ROOT, "stress", "stress"), *arguments],
                          capture_output=True, text=True, timeout=60)
    kept = re.findall(r"^(/\S+/\d{5}): ", done.stdout, re.M)
    texts = []
    for path in kept:
        with open(path, encoding="utf-8") as file:
            texts.append(file.read())
    for folder in {os.path.dirname(path) for path in kept}:
        shutil.rmtree(folder)
    return done.returncode, done.stdout, texts


class StressTool(unittest.TestCase):
    def test_counts_runs(self):
        code, output, kept = stress("-p", "3", "-count", "10", "true")
        self.assertEqual((code, kept), (0, []))
        self.assertIn("10 runs so far, 0 failures", output)

    def test_keeps_the_output_of_failing_runs(self):
        code, output, kept = stress("-count", "2", "sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual(code, 1)
        self.assertIn("2 runs so far, 2 failures", output)
        self.assertEqual(len(kept), 2)
        for text in kept:
            self.assertIn("exit code 3", text)
            self.assertIn("out\nerr\n", text)

    def test_ends_what_hangs(self):
        code, output, kept = stress("-count", "1", "-timeout", "200ms", "sleep", "1000")
        self.assertEqual(code, 1)
        self.assertIn("timed out after 0.2 s, then killed by SIGQUIT", kept[0])


if __name__ == "__main__":
    unittest.main()
