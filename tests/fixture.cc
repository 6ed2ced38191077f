#include "tests/fixture.h"

#include <dirent.h>
#include <liburing.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <thread>

#include "runtime/sanitizer.h"
#include "tests/emulated.h"
#include "weft/go.h"

namespace weft::testing {
namespace {

unsigned TestSeconds() {
#ifdef WEFT_TSAN
  return 300;
#else
  return IsEmulated() ? 300 : 60;
#endif
}

// Chosen: the first tries are for goroutines that are about to end, and cost nothing; a busy
// machine needs the slow ones (each at least 100 us, so that they last for 2 s and more).
constexpr int kFastTries = 10'000;
constexpr int kSlowTries = 20'000;

// The names in a directory of /proc/self: "fd" or "task".
std::set<std::string> ListProc(const char* what) {
  std::set<std::string> names;
  DIR* dir = opendir((std::string("/proc/self/") + what).c_str());
  if (dir == nullptr) return names;
  const std::string own = std::to_string(dirfd(dir));
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.' && entry->d_name != own) names.insert(entry->d_name);
  }
  closedir(dir);
  return names;
}

// Threads that were not there `before`, once there are none or they have had 2 s to end: a thread
// is listed a moment longer than it runs. (One of `before` may have been on its way out then.)
std::set<std::string> NewThreads(const std::set<std::string>& before) {
  std::set<std::string> fresh;
  for (int i = 0; i < kSlowTries; i++) {
    fresh.clear();
    for (const std::string& thread : ListProc("task")) {
      if (before.count(thread) == 0) fresh.insert(thread);
    }
    if (fresh.empty()) break;
    usleep(100);
  }
  return fresh;
}

std::string LinkTarget(const std::string& path) {
  char target[PATH_MAX];
  const ssize_t n = readlink(path.c_str(), target, sizeof(target));
  return std::string(target, n > 0 ? static_cast<size_t>(n) : 0);
}

// The open descriptors and what they are, but for those of the program's own files: absl's
// symbolizer keeps them, once more for each that symbolizes at the same time.
std::set<std::string> Descriptors() {
  const std::string program = LinkTarget("/proc/self/exe");
  std::set<std::string> own;
  for (const std::string& fd : ListProc("fd")) {
    const std::string target = LinkTarget("/proc/self/fd/" + fd);
    if (target == program || target.find(".so") != std::string::npos) continue;
    own.insert(fd + " (" + target + ")");
  }
  return own;
}

// SIGALRM: the test hangs. The runtime's SIGQUIT dumps every goroutine and ends the process.
void OnTimeout(int) {
  static constexpr char kText[] = "fixture: the test takes too long\n";
  [[maybe_unused]] const ssize_t n = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  kill(getpid(), SIGQUIT);
}

bool IoUringWorks() {
  static const bool works = [] {
    io_uring ring;
    if (io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) !=
        0) {
      return false;
    }
    io_uring_queue_exit(&ring);
    return true;
  }();
  return works;
}

bool IsQuiet(const RuntimeStats& before, const RuntimeStats& now) {
  return now.goroutines == before.goroutines && now.timers == before.timers &&
         now.poll_descriptors == before.poll_descriptors && now.running_procs <= 1 &&
         now.syscall_procs == 0;
}

// The first quiet moment, or the last try's.
RuntimeStats WaitUntilQuiet(const RuntimeStats& before) {
  RuntimeStats now = {};
  for (int i = 0; i < kFastTries + kSlowTries; i++) {
    now = Stats();
    if (IsQuiet(before, now)) break;
    if (i < kFastTries) {
      Yield();
    } else {
      Blocking([] { usleep(100); });
    }
  }
  return now;
}

std::string Print(const RuntimeStats& stats) {
  std::ostringstream out;
  out << "goroutines " << stats.goroutines << ", timers " << stats.timers << ", descriptors "
      << stats.poll_descriptors << ", Ps " << stats.procs << " (" << stats.idle_procs << " idle, "
      << stats.running_procs << " running, " << stats.syscall_procs << " in calls), Ms "
      << stats.threads << " (" << stats.idle_threads << " idle)";
  return out.str();
}

}  // namespace

void RuntimeTest::RunBody() {
  const RuntimeStats before = Stats();
  ASSERT_EQ(before.goroutines, 1) << "a fresh runtime: " << Print(before);
  ASSERT_EQ(before.procs, procs()) << "a fresh runtime: " << Print(before);
  Body();
  // A test that failed may well have left something; its own message is the one to read.
  if (HasFailure()) return;
  const RuntimeStats after = WaitUntilQuiet(before);
  if (IsQuiet(before, after)) return;
  ADD_FAILURE() << "the test left something behind\n  before: " << Print(before)
                << "\n  after:  " << Print(after);
  DumpGoroutines(STDERR_FILENO);
}

void RuntimeTest::TestBody() {
  if (setup_.netpoll == std::string("io_uring") && !IoUringWorks()) {
    GTEST_SKIP() << "the kernel refuses io_uring";
  }
  const std::set<std::string> descriptors = Descriptors();
  const std::set<std::string> threads = ListProc("task");
  signal(SIGALRM, OnTimeout);
  alarm(TestSeconds());
  Main(RuntimeOptions{.max_procs = setup_.procs, .netpoll = setup_.netpoll}, [this] { RunBody(); });
  alarm(0);
  if (HasFailure()) return;
  EXPECT_EQ(NewThreads(threads), std::set<std::string>()) << "threads outlived the runtime";
  // After them: libc opens a file of /proc as a thread ends that has freed much.
  EXPECT_EQ(descriptors, Descriptors()) << "descriptors were left open";
}

bool RegisterRuntimeTests(const char* suite, const char* name, bool pollers, const char* file,
                          int line, MakeTest make) {
  static constexpr const char* kDefault[] = {""};
  static constexpr const char* kPollers[] = {"io_uring", "epoll"};
  for (const char* netpoll : pollers ? std::span<const char* const>(kPollers) : kDefault) {
    for (int procs : {1, 2, 8}) {
      std::string full = std::string(name) + "/";
      if (pollers) full += std::string(netpoll) + "_";
      full += std::to_string(procs) + "P";
      const RuntimeTest::Setup setup{procs, netpoll};
      ::testing::RegisterTest(suite, full.c_str(), nullptr, nullptr, file, line,
                              [make, setup]() -> ::testing::Test* { return make(setup); });
    }
  }
  return true;
}

int RunToDeath(const RuntimeOptions& options, void (*fn)(void*), void* arg) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  alarm(TestSeconds());
  const int code = Main(options, [fn, arg] { fn(arg); });
  std::fprintf(stderr, "fixture: nothing was fatal, the runtime ended with code %d\n", code);
  std::exit(0);
}

}  // namespace weft::testing

// The runtime's own SIGSEGV handler is the one to be tested in sanitized builds as well.
extern "C" {
const char* __asan_default_options();
const char* __tsan_default_options();
const char* __asan_default_options() {
  return "handle_segv=0";
}
const char* __tsan_default_options() {
  return "handle_segv=0";
}
}

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  // A death test starts anew: after a fork alone the runtime of an earlier test, and a
  // sanitizer's threads, would be missing.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // TSan starts a thread of its own with the first one made: not within a test.
  std::thread([] {}).join();
  return RUN_ALL_TESTS();
}
