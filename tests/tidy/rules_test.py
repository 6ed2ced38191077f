#!/usr/bin/env python3
"""Each house rule fires on what it forbids, and stays silent on what is allowed."""

import unittest

import rules
from source import Source


def found(rule, path, text):
    return [line for line, _, _ in rule(Source(path, text))]


class Layering(unittest.TestCase):
    def test_arrows_run_one_way(self):
        up = '#include "net/conn.h"\n'
        for path in ("runtime/g.cc", "netpoll/epoll.cc", "sync/mutex.cc", "runtime/os/ring.cc"):
            self.assertEqual(found(rules.layering, path, up), [1], path)
        self.assertEqual(found(rules.layering, "runtime/os/ring.h", '#include "runtime/g.h"\n'), [1])
        self.assertEqual(found(rules.layering, "net/conn.cc", '#include "netpoll/netpoll.h"\n'), [])

    def test_public_headers_include_nothing_inside(self):
        self.assertEqual(
            found(rules.layering, "include/weft/go.h",
                  '#include "runtime/g.h"\n#include "weft/park.h"\n#include "absl/time/time.h"\n'
                  '#include "absl/strings/str_cat.h"\n'), [1, 4])

    def test_examples_use_the_public_headers(self):
        self.assertEqual(found(rules.layering, "examples/echod.cc",
                               '#include "weft/net.h"\n#include "runtime/g.h"\n'), [2])


class Seam(unittest.TestCase):
    FORBIDDEN = ["std::atomic<int> a;", "__atomic_load_n(&a, 0);", "syscall(SYS_futex, p);",
                 "::mmap(nullptr, n);", "pthread_self();", "clock_gettime(c, &t);",
                 "sigaction(n, &a, nullptr);", "epoll_wait(e, v, n, t);",
                 "io_uring_submit(&r);", "thread_local int x;", "std::mutex m;",
                 "a.load(std::memory_order_acquire);"]

    def test_names_of_the_kernel_and_of_atomics(self):
        for text in self.FORBIDDEN:
            self.assertEqual(found(rules.seam, "runtime/sched.cc", text), [1], text)
            self.assertEqual(found(rules.seam, "runtime/os/futex.cc", text), [], text)

    def test_members_comments_and_strings_are_free(self):
        for text in ("sigs.signal(3);", "os::mmap(3);", "// mmap(2) says so", '"io_uring (x)";'):
            self.assertEqual(found(rules.seam, "runtime/sched.cc", text), [], text)


class MemoryOrders(unittest.TestCase):
    def test_each_names_its_site(self):
        self.assertEqual(found(rules.memory_orders, "runtime/g.cc", "a.Load(os::kRelaxed);"), [1])
        self.assertEqual(found(rules.memory_orders, "runtime/g.cc",
                               'a.Load(os::kRelaxed<"Bad name">);'), [1])

    def test_each_has_a_reason(self):
        bare = 'a.Load(os::kAcquire<"g.load">);'
        self.assertEqual(found(rules.memory_orders, "runtime/g.cc", bare), [1])
        self.assertEqual(found(rules.memory_orders, "runtime/g.cc", "// pairs with g.store\n" + bare), [])
        steps = "// The steps:\n//   1. this\n//   2. that\n" + "int x;\n" * 40 + bare
        self.assertEqual(found(rules.memory_orders, "runtime/g.cc", steps), [])

    def test_a_name_is_used_once(self):
        text = '// why\na.Load(os::kRelaxed<"g.load">);\n'
        twice = [Source("runtime/g.cc", text), Source("runtime/m.cc", text)]
        self.assertEqual([(p, n) for p, n, _, _ in rules.site_names(twice)], [("runtime/m.cc", 2)])


class Core(unittest.TestCase):
    def test_no_malloc_stdio_or_containers(self):
        for text in ("void* p = malloc(3);", "int* p = new int;", "delete p->q;", "std::string s;",
                     'fprintf(stderr, "x");', "std::vector<int> v;"):
            self.assertEqual(found(rules.core_memory, "runtime/g.cc", text), [1], text)
            self.assertEqual(found(rules.core_memory, "net/conn.cc", text), [], text)

    def test_placement_new_and_deleted_functions(self):
        for text in ("new (p) G();", "G(const G&) = delete;", "std::string_view s;"):
            self.assertEqual(found(rules.core_memory, "runtime/g.cc", text), [], text)

    def test_the_machine_is_arch(self):
        for text in ("#ifdef __x86_64__\n", "#if defined(__aarch64__)\n", "#ifdef __ARM_FEATURE_SVE\n",
                     'asm volatile("isb");\n', "__builtin_ia32_pause();\n",
                     "#include <arm_acle.h>\n", '#include "arch/arm64/context.h"\n'):
            self.assertEqual(found(rules.machine, "runtime/g.cc", text), [1], text)
            self.assertEqual(found(rules.machine, "arch/arch.h", text), [], text)
        for text in ('asm volatile("" ::"r"(x));\n', '#include "arch/arch.h"\n'):
            self.assertEqual(found(rules.machine, "runtime/g.cc", text), [], text)
        family = "subdir(host_machine.cpu_family())\n"
        self.assertEqual(found(rules.machine, "tests/model/meson.build", family), [1])


class Size(unittest.TestCase):
    def function(self, lines):
        return "namespace x {\nvoid F(int a) {\n" + "  Do();\n" * (lines - 2) + "}\n}\n"

    def test_long_functions(self):
        self.assertEqual(found(rules.function_size, "net/a.cc", self.function(100)), [])
        self.assertEqual(found(rules.function_size, "net/a.cc", self.function(101)), [2])
        self.assertEqual(found(rules.long_functions, "net/a.cc", self.function(61)), [2])

    def test_braces_in_strings_do_not_count(self):
        text = 'void F() {\n  Print("{");\n}\nvoid G() {\n' + "  Do();\n" * 60 + "}\n"
        self.assertEqual(found(rules.long_functions, "net/a.cc", text), [4])

    def test_long_files(self):
        self.assertEqual(found(rules.file_size, "net/a.cc", "\n" * 600), [])
        self.assertEqual(found(rules.file_size, "net/a.cc", "\n" * 601), [1])


class Words(unittest.TestCase):
    def test_forbidden(self):
        for text in ("// TODO: later", "// FIXME(ann) now", "// see issue 12", "// see #12",
                     "using namespace std;", "strcpy(a, b);", "int n = atoi(s);", "NULL;"):
            self.assertEqual(found(rules.words, "net/a.cc", text), [1], text)

    def test_allowed(self):
        for text in ("// TODO(ann): later", "// step 2", "using std::swap;", "runq.rand();"):
            self.assertEqual(found(rules.words, "net/a.cc", text), [], text)

    def test_names(self):
        self.assertEqual(found(rules.names, "net/util.h", "#pragma once\n"), [1])
        self.assertEqual(found(rules.names, "net/conn.h", ""), [1])
        self.assertEqual(found(rules.names, "net/conn.h", "#pragma once\n"), [])
        self.assertEqual(found(rules.names, "tests/pch/tests.h", ""), [])

    def test_tests_do_not_sleep(self):
        self.assertEqual(found(rules.sleeping_tests, "tests/a_test.cc", "usleep(5);"), [1])


class Orphans(unittest.TestCase):
    def test_unbuilt_and_unincluded(self):
        tree = [Source("net/meson.build", "files('conn.cc')"), Source("net/conn.cc", ""),
                Source("net/lost.cc", ""), Source("net/lost.h", "")]
        self.assertEqual([p for p, _, _, _ in rules.orphans(tree)], ["net/lost.cc", "net/lost.h"])


if __name__ == "__main__":
    unittest.main()
