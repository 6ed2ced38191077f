// What weft says when it dies, and what it says on request: fatal errors, deadlock reports, dumps.
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "runtime/g.h"
#include "runtime/sanitizer.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/net.h"
#include "weft/park.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace fatal_test {

// Named and not inlined, to be looked for in traces. The statement behind the call keeps it from
// being a tail call.
[[gnu::noinline]] void ReceivesHere(weft::Chan<int>& chan) {
  (void)chan.Receive();
  asm volatile("");
}
[[gnu::noinline]] void SelectsHere(weft::Chan<int>& chan) {
  weft::Select(chan.OnReceive(nullptr));
  asm volatile("");
}
[[gnu::noinline]] void LocksHere(weft::Mutex& mutex) WEFT_NO_THREAD_SAFETY_ANALYSIS {
  mutex.Lock();
  asm volatile("");
}
[[gnu::noinline]] void ParksHere() {
  weft::Park(nullptr, nullptr, weft::WaitReason::kUser);
  asm volatile("");
}
struct SadError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
[[gnu::noinline]] void ThrowsHere(int depth) {
  if (depth == 0) throw SadError("too deep");
  ThrowsHere(depth - 1);
  asm volatile("");
}
volatile int deepest = 1 << 30;
[[gnu::noinline]] int RecursesHere(int depth) {
  if (depth == deepest) return 0;
  volatile char frame[512];
  memset(const_cast<char*>(frame), depth, sizeof(frame));
  return RecursesHere(depth + 1) + frame[3];
}
// What a frame that reaches `bytes` beyond the end of the stack does when only its low end is
// written.
[[gnu::noinline]] void StepsOverTheGuard(size_t bytes) {
  *reinterpret_cast<volatile char*>(weft::Current()->stack.lo - bytes) = 1;
}

}  // namespace fatal_test

namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::KilledBySignal;
using ::testing::Not;
using weft::Chan;

weft::RuntimeOptions Procs(int n) {
  return {.max_procs = n, .netpoll = ""};
}

// For EXPECT_EXIT of what EXPECT_FATAL does not start: no core is wanted.
template <class F>
void WithoutCore(F fn) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  fn();
}

// TSan has a thread of its own, which could wake anybody.
#ifdef WEFT_TSAN
#define SKIP_WHERE_FOREIGN_THREADS_RUN() GTEST_SKIP() << "TSan's own thread counts"
#else
#define SKIP_WHERE_FOREIGN_THREADS_RUN() static_cast<void>(0)
#endif

// The goroutine that `fn` runs on, once it is parked.
template <class F>
weft::Goroutine* GoParked(F fn) {
  std::atomic<weft::Goroutine*> self{nullptr};
  weft::Go([&self, fn]() mutable {
    self = weft::Current();
    fn();
  });
  while (self == nullptr) weft::Yield();
  weft::Goroutine* g = self;
  while (weft::runtime::ReadGStatus(g) != weft::runtime::Gwaiting) weft::Yield();
  return g;
}

// ---- Deadlock. ----

void DeadlockOfFour() {
  Chan<int> chan;
  weft::Mutex mutex;
  fatal_test::LocksHere(mutex);
  GoParked([&] { fatal_test::ReceivesHere(chan); });
  GoParked([&] { fatal_test::SelectsHere(chan); });
  GoParked([&] { fatal_test::LocksHere(mutex); });
  fatal_test::ParksHere();
}

TEST(Deadlock, ListsEveryGoroutineWithReasonAndPlace) {
  SKIP_WHERE_FOREIGN_THREADS_RUN();
  for (int procs : {1, 2, 8}) {
    EXPECT_FATAL_WITH(Procs(procs), DeadlockOfFour,
                      AllOf(HasSubstr("fatal: all goroutines are asleep - deadlock!"),
                            ContainsRegex("goroutine 1 \\[parked\\]:\n[^[]*ParksHere"),
                            ContainsRegex("\\[chan receive\\]:\n[^[]*ReceivesHere"),
                            ContainsRegex("\\[select\\]:\n[^[]*SelectsHere"),
                            ContainsRegex("\\[mutex lock\\]:\n[^[]*LocksHere")));
  }
}

TEST(Deadlock, IsSeenWithABoundGoroutine) {
  SKIP_WHERE_FOREIGN_THREADS_RUN();
  EXPECT_FATAL(
      [] {
        weft::LockOSThread();
        (void)Chan<int>().Receive();
      },
      AllOf(HasSubstr("deadlock!"), HasSubstr("[chan receive, locked to thread]")));
}

TEST(Deadlock, IsSeenAfterThreadsAndTimersHaveGone) {
  SKIP_WHERE_FOREIGN_THREADS_RUN();
  EXPECT_FATAL(
      [] {
        std::thread thread([] {});
        weft::Blocking([&] { thread.join(); });
        weft::Sleep(absl::Milliseconds(1));
        (void)Chan<int>().Receive();
      },
      "deadlock!");
}

// What never fires wakes nobody.
TEST(Deadlock, IsSeenBesideInfiniteTimeouts) {
  SKIP_WHERE_FOREIGN_THREADS_RUN();
  EXPECT_FATAL([] { weft::Sleep(absl::InfiniteDuration()); }, "deadlock!");
}

WEFT_TEST(Deadlock, IsNotReportedWhileATimerRuns) {
  Chan<int> chan;
  weft::FuncTimer timer =
      weft::AfterFunc(absl::Milliseconds(20), [chan]() mutable { ASSERT_TRUE(chan.Send(1)); });
  EXPECT_EQ(chan.Receive(), 1);
}

WEFT_TEST(Deadlock, IsNotReportedWhileAForeignThreadExists) {
  Chan<int> chan;
  const weft::Goroutine* self = weft::Current();
  std::thread thread([&] {
    while (weft::runtime::ReadGStatus(self) != weft::runtime::Gwaiting) std::this_thread::yield();
    // Every M has gone to sleep, so each has asked whether there is a deadlock.
    for (weft::RuntimeStats s = weft::Stats(); s.idle_threads < s.threads; s = weft::Stats()) {
      std::this_thread::yield();
    }
    ASSERT_TRUE(chan.Send(1));
  });
  EXPECT_EQ(chan.Receive(), 1);
  weft::Blocking([&] { thread.join(); });
}

// Another process writes when all threads of this one have slept for a while.
[[noreturn]] void WriteWhenAllSleep(int fd, pid_t process) {
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  for (int quiet = 0; quiet < 200; quiet++) {
    DIR* dir = opendir(tasks.c_str());
    if (dir == nullptr) _exit(1);
    while (const dirent* entry = readdir(dir)) {
      if (entry->d_name[0] == '.') continue;
      FILE* stat = fopen((tasks + "/" + entry->d_name + "/stat").c_str(), "r");
      char state = '?';
      if (stat != nullptr && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state != 'S')
        quiet = 0;
      if (stat != nullptr) fclose(stat);
    }
    closedir(dir);
  }
  _exit(write(fd, "x", 1) == 1 ? 0 : 1);
}

void ReadFromAnotherProcess() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) _exit(3);
  const pid_t parent = getpid();
  if (fork() == 0) WriteWhenAllSleep(fds[1], parent);
  Chan<bool> done;
  weft::Go([fd = fds[0], done]() mutable {
    absl::StatusOr<weft::net::Conn> conn = weft::net::Conn::Adopt(fd);
    char byte = 0;
    const bool ok = conn.ok() && conn->Read(std::span<char>(&byte, 1)).ok() && byte == 'x';
    (void)done.Send(ok);
  });
  _exit(done.Receive() == true ? 7 : 8);
}

TEST(Deadlock, IsNotReportedWhileTheNetpollerWaits) {
  for (const char* poller : {"io_uring", "epoll"}) {
    EXPECT_EXIT(
        weft::Main(weft::RuntimeOptions{.netpoll = poller}, [] { ReadFromAnotherProcess(); }),
        ExitedWithCode(7), "")
        << poller;
  }
}

// ---- Exceptions and faults. ----

TEST(Fatal, AnExceptionThatLeavesAGoroutineIsNamedWithItsTrace) {
  EXPECT_FATAL(
      [] {
        weft::Go([] { fatal_test::ThrowsHere(3); });
        fatal_test::ParksHere();
      },
      AllOf(ContainsRegex("an exception left goroutine [0-9]+"), HasSubstr("fatal_test::SadError"),
            ContainsRegex("running on M [0-9]+.*ThrowsHere.*ThrowsHere"),
            ContainsRegex("ThrowsHere.*weft_gostart")));
}

TEST(Fatal, AnExceptionThatLeavesTheFirstGoroutineIsNamedToo) {
  EXPECT_FATAL([] { fatal_test::ThrowsHere(0); },
               AllOf(HasSubstr("an exception left goroutine 1"), HasSubstr("ThrowsHere")));
}

TEST(Fatal, AStackOverflowNamesTheGoroutineAndItsTrace) {
  EXPECT_FATAL(
      [] {
        weft::Go([] { fatal_test::RecursesHere(0); });
        fatal_test::ParksHere();
      },
      AllOf(ContainsRegex("stack overflow in goroutine [2-9][0-9]*: 196608 bytes"),
            HasSubstr("GoOptions::stack_size"), ContainsRegex("#[0-9]+ .*RecursesHere")));
  EXPECT_FATAL(
      [] {
        weft::Go(weft::GoOptions{.stack_size = 64 << 10}, [] { fatal_test::RecursesHere(0); });
        fatal_test::ParksHere();
      },
      "stack overflow in goroutine [0-9]+: 65536 bytes");
}

// The first goroutine's stack is the lowest of its arena: below its guard there is no other stack.
TEST(Fatal, AStackOverflowOfTheFirstGoroutineIsNamedWhateverItsFrame) {
#ifdef WEFT_TSAN
  GTEST_SKIP() << "TSan's own list of calls overflows before 8 MiB of stack do";
#endif
  const auto named = ContainsRegex("stack overflow in goroutine 1: 8388608 bytes");
  EXPECT_FATAL([] { fatal_test::RecursesHere(0); }, named);
  for (size_t bytes : {size_t{1}, size_t{40'000}, size_t{3'000'000}}) {
    EXPECT_FATAL([=] { fatal_test::StepsOverTheGuard(bytes); }, named);
  }
}

// A neighbour's live frames lie below the guard.
TEST(Fatal, AStackOverflowByAnOrdinaryBufferIsNamed) {
  for (size_t bytes : {size_t{5'000}, size_t{64} << 10}) {
    EXPECT_FATAL_WITH(
        Procs(1),
        [=] {
          for (int i = 0; i < 3; i++) weft::Go([] { fatal_test::ParksHere(); });
          weft::Go([=] { fatal_test::StepsOverTheGuard(bytes); });
          fatal_test::ParksHere();
        },
        "stack overflow in goroutine [0-9]+: 196608 bytes");
  }
}

#ifndef WEFT_ASAN
TEST(Fatal, AFaultThatIsNoOverflowIsTheProgramsOwn) {
  EXPECT_EXIT(WithoutCore([] {
                weft::Main([] {
                  int* volatile nowhere = reinterpret_cast<int*>(uintptr_t{8});
                  *nowhere = 1;
                });
              }),
              KilledBySignal(SIGSEGV), "");
}
#endif

// ---- Misuse. ----

TEST(Fatal, ABlockingCallInsideBlocking) {
  EXPECT_FATAL([] { weft::Blocking([] { (void)Chan<int>().Receive(); }); },
               "a blocking weft call inside weft::Blocking");
  EXPECT_FATAL([] { weft::Blocking([] { weft::Sleep(absl::Seconds(1)); }); },
               "a blocking weft call inside weft::Blocking");
  EXPECT_FATAL([] { weft::Blocking([] { (void)Chan<std::string>().Receive(); }); },
               "a blocking weft call inside weft::Blocking");
}

TEST(Fatal, ASecondReadyForOnePark) {
  EXPECT_FATAL_WITH(
      Procs(1),
      [] {
        weft::Goroutine* g = GoParked([] { fatal_test::ParksHere(); });
        weft::Ready(g);
        weft::Ready(g);
      },
      AllOf(ContainsRegex("illegal transition of goroutine [0-9]+: it is Grunnable, expected "
                          "Gwaiting, to become Grunnable"),
            ContainsRegex("\\[runnable\\]:\n[^[]*ParksHere")));
}

TEST(Fatal, ReadyOfTheRunningGoroutine) {
  EXPECT_FATAL([] { weft::Ready(weft::Current()); }, "it is Grunning, expected Gwaiting");
}

TEST(Fatal, LocksOfThreads) {
  EXPECT_FATAL([] { weft::UnlockOSThread(); }, "UnlockOSThread: goroutine 1 is not locked");
  EXPECT_FATAL(
      [] {
        weft::LockOSThread();
        weft::UnlockOSThread();
        weft::UnlockOSThread();
      },
      "UnlockOSThread: goroutine 1 is not locked");
  EXPECT_FATAL(
      [] { std::thread([] { weft::LockOSThread(); }).join(); },
      AllOf(HasSubstr("LockOSThread on a plain thread"), HasSubstr("on a plain thread, tid")));
}

TEST(Fatal, WithoutARuntime) {
  EXPECT_EXIT(WithoutCore([] { weft::Go([] {}); }), KilledBySignal(SIGABRT),
              "weft::Go before weft::Main or after its end");
  EXPECT_EXIT(WithoutCore([] {
                weft::Main([] {});
                weft::Go([] {});
              }),
              KilledBySignal(SIGABRT), "weft::Go before weft::Main or after its end");
}

TEST(Fatal, TwoRuntimes) {
  EXPECT_FATAL([] { weft::Main([] {}); }, "weft::Main on a goroutine");
  EXPECT_FATAL([] { std::thread([] { weft::Main([] {}); }).join(); },
               "weft::Main while another runtime runs");
}

TEST(Fatal, EndingInsideBlocking) {
  EXPECT_FATAL(
      [] {
        weft::Go([] { weft::internal::EnterBlocking(); });
        fatal_test::ParksHere();
      },
      "goroutine [0-9]+ ends inside weft::Blocking");
}

// ---- The hook, the events. ----

void WriteMessage(std::string_view message) {
  constexpr std::string_view kHead = "the hook got: ";
  (void)!write(2, kHead.data(), kHead.size());
  (void)!write(2, message.data(), message.size());
}

TEST(Fatal, PassesItsMessageToTheHook) {
  EXPECT_FATAL(
      [] {
        EXPECT_EQ(weft::SetFatalHook(WriteMessage), nullptr);
        weft::UnlockOSThread();
      },
      ContainsRegex("the hook got: [^\n]*UnlockOSThread: goroutine 1 is not locked"));
  EXPECT_FATAL(
      [] {
        weft::SetFatalHook(WriteMessage);
        EXPECT_EQ(weft::SetFatalHook(nullptr), WriteMessage);
        weft::UnlockOSThread();
      },
      Not(HasSubstr("the hook got")));
}

TEST(Fatal, PrintsTheThreadsEvents) {
  EXPECT_FATAL([] { weft::UnlockOSThread(); }, "M [0-9]+, latest first: .*;");
}

// ---- Dumps. ----

// One goroutine parked, one that computes, one in Blocking. Returns when they are.
void StartThree() {
  static Chan<int> never;
  GoParked([] { fatal_test::ReceivesHere(never); });
  static std::atomic<bool> computing = false;
  static std::atomic<bool> blocking = false;
  weft::Go([] {
    for (;;) computing = true;
  });
  weft::Go([] {
    weft::Blocking([] {
      blocking = true;
      for (;;) pause();
    });
  });
  while (!computing || !blocking) weft::Yield();
}

TEST(Dump, SigquitListsAllAndEndsTheProcessWithTwo) {
  EXPECT_EXIT(weft::Main(Procs(4),
                         [] {
                           StartThree();
                           kill(getpid(), SIGQUIT);
                           fatal_test::ParksHere();
                         }),
              ExitedWithCode(2),
              AllOf(ContainsRegex("\\[chan receive\\]:\n[^[]*ReceivesHere[^[]*weft_gostart"),
                    ContainsRegex("\\[on cpu, M [0-9]+\\]"), HasSubstr("created by")));
}

// libunwind and the symbolizer open descriptors at their first use, for good: before the fixture
// counts them.
class SymbolizerIsOpen : public ::testing::Environment {
  void SetUp() override {
    weft::Main([] {
      GoParked([] { fatal_test::ParksHere(); });
      const int fd = open("/dev/null", O_WRONLY);
      weft::DumpGoroutines(fd);
      close(fd);
    });
  }
};
[[maybe_unused]] ::testing::Environment* const symbolizer_is_open =
    ::testing::AddGlobalTestEnvironment(new SymbolizerIsOpen);

std::string ReadAll(int fd) {
  std::string text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(n));
  }
  return text;
}

WEFT_TEST(Dump, GoesIntoAPipe) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  std::string text;
  std::thread reader([&] { text = ReadAll(fds[0]); });
  Chan<int> chan;
  constexpr int kParked = 500;  // more than a pipe holds
  weft::WaitGroup group;
  std::atomic<int> started = 0;
  for (int i = 0; i < kParked; i++) {
    group.Go([&] {
      started++;
      fatal_test::ReceivesHere(chan);
    });
  }
  weft::DumpGoroutines(fds[1]);
  while (started < kParked) weft::Yield();
  weft::DumpGoroutines(fds[1]);
  close(fds[1]);
  weft::Blocking([&] { reader.join(); });
  close(fds[0]);
  chan.Close();
  group.Wait();
  EXPECT_THAT(text, ContainsRegex("goroutine 1 \\[on cpu, M [0-9]+\\]:\n[^[]*Dump_GoesIntoAPipe"));
  EXPECT_THAT(text, ContainsRegex("\\[chan receive\\]:\n[^[]*ReceivesHere"));
}

WEFT_TEST(Dump, OfGoroutinesOnTheMoveIsHarmless) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  std::thread reader([&] { (void)ReadAll(fds[0]); });
  Chan<int> ring[4];
  weft::WaitGroup group;
  for (size_t i = 0; i < 4; i++) {
    group.Go([&, i] {
      for (int value : ring[i]) {
        if (!ring[(i + 1) % 4].Send(value)) return;
      }
    });
  }
  ASSERT_TRUE(ring[0].Send(1));
  for (int i = 0; i < 30; i++) {
    weft::DumpGoroutines(fds[1]);
    weft::Yield();
  }
  for (Chan<int>& chan : ring) chan.Close();
  group.Wait();
  close(fds[1]);
  weft::Blocking([&] { reader.join(); });
  close(fds[0]);
}

TEST(Dump, WithoutARuntimeSaysSo) {
  int fds[2];
  ASSERT_EQ(pipe(fds), 0);
  weft::DumpGoroutines(fds[1]);
  close(fds[1]);
  EXPECT_EQ(ReadAll(fds[0]), "weft: no runtime\n");
  close(fds[0]);
}

}  // namespace
