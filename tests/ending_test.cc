// The end of a runtime, and of its threads: what others still hold of it, who waits, who is
// counted.
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "runtime/sanitizer.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "tests/poll_owner.h"
#include "weft/chan.h"
#include "weft/completion.h"
#include "weft/file.h"
#include "weft/mutex.h"
#include "weft/scope.h"
#include "weft/select.h"
#include "weft/signal_context.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

using ::testing::AllOf;
using testing::AwaitRest;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using testing::Rounds;

RuntimeOptions Procs(int n) {
  return {.max_procs = n, .netpoll = ""};
}

// ---- What outlives Main. ----

TEST(Ending, ACompletionWithAnAbandonedWaiterMayBeSetAfterwards) {
  for (int procs : {1, 2, 8}) {
    Completion<std::string> late;
    Main(Procs(procs), [&] {
      Go([late]() mutable { (void)late.Wait(); });
      testing::AwaitWaiting(WaitReason::kCompletion, 1);
    });
    EXPECT_TRUE(late.Set("for nobody"));
  }
}

TEST(Ending, AChannelWithAbandonedWaitersMayBeUsedAfterwards) {
  Chan<std::string> receivers;
  Chan<std::string> senders(1);
  Main(Procs(2), [&] {
    for (int i = 0; i < 3; i++) {
      Go([receivers]() mutable { (void)receivers.Receive(); });
      Go([senders]() mutable {
        (void)senders.Send(std::string(100, 'a'));
        (void)senders.Send(std::string(100, 'b'));
      });
    }
    testing::AwaitWaiting(WaitReason::kChanReceive, 3);
    testing::AwaitWaiting(WaitReason::kChanSend, 3);
  });
  for (int i = 0; i < 2; i++) (void)receivers.TrySend(std::string(100, 'c'));
  for (int i = 0; i < 2; i++) (void)senders.TryReceive();
  receivers.Close();
  senders.Close();
  // And in another runtime.
  Main(Procs(2), [&] { EXPECT_EQ(receivers.Receive(), std::nullopt); });
}

// ---- Timers whose runtime has ended. ----

TEST(Ending, WhatOwnsATimerMayGoAfterwards) {
  Context deadline;
  std::optional<CancelContext> cancelled;
  std::optional<Timer> timer;
  Main(Procs(2), [&] {
    deadline = Context::WithTimeout(Context::Background(), absl::Hours(1));
    cancelled.emplace(Context::WithTimeout(Context::Background(), absl::Hours(1)));
    timer.emplace(absl::Hours(1));
  });
  EXPECT_TRUE(cancelled->Cancel());
  EXPECT_TRUE(timer->Stop());
  timer.reset();
  cancelled.reset();
  deadline = Context();
}

TEST(Ending, PlainThreadsSleepToTheirEnd) {
  Chan<int> nothing;
  std::counting_semaphore<3> asleep(0);
  std::vector<std::thread> threads;
  CancelContext never = Context::WithCancel(Context::Background());
  Main(Procs(2), [&] {
    threads.emplace_back([&] {
      asleep.release();
      Sleep(absl::Milliseconds(100));
    });
    threads.emplace_back([&] {
      asleep.release();
      std::optional<int> in;
      EXPECT_EQ(Select(nothing.OnReceive(&in), After(absl::Milliseconds(100))), 1);
    });
    threads.emplace_back([&] {
      asleep.release();
      EXPECT_TRUE(Sleep(absl::Milliseconds(100), never).ok());
    });
    for (int i = 0; i < 3; i++) Blocking([&] { asleep.acquire(); });
  });
  for (std::thread& thread : threads) thread.join();
}

TEST(Ending, AnAbandonedScopesContextMayBeCancelledAfterwards) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  Main(Procs(2), [&] {
    Go([ctx] {
      Scope scope(ctx);
      scope.Go([](const Context&) { Sleep(absl::Hours(1)); });
      (void)scope.Wait();
    });
    testing::AwaitWaiting(WaitReason::kSleep, 1);
  });
  EXPECT_TRUE(ctx.Cancel());
}

// The lock goes past the goroutine that waits for it in vain, to who is left.
TEST(Ending, AMutexForWhichAnAbandonedGoroutineStandsInLine) {
  Mutex mutex;
  std::thread thread;
  Main(Procs(2), [&]() WEFT_NO_THREAD_SAFETY_ANALYSIS {
    mutex.Lock();
    Go([&]() WEFT_NO_THREAD_SAFETY_ANALYSIS { mutex.Lock(); });
    testing::AwaitWaiting(WaitReason::kMutexLock, 1);
    thread = std::thread([&] {
      mutex.Lock();
      mutex.Unlock();
    });
  });
  [&]() WEFT_NO_THREAD_SAFETY_ANALYSIS { mutex.Unlock(); }();
  thread.join();
}

// Nobody is left: the lock is free.
TEST(Ending, AMutexForWhichOnlyAnAbandonedGoroutineStandsInLine) {
  Mutex mutex;
  Main(Procs(2), [&]() WEFT_NO_THREAD_SAFETY_ANALYSIS {
    mutex.Lock();
    Go([&]() WEFT_NO_THREAD_SAFETY_ANALYSIS { mutex.Lock(); });
    testing::AwaitWaiting(WaitReason::kMutexLock, 1);
  });
  [&]() WEFT_NO_THREAD_SAFETY_ANALYSIS {
    mutex.Unlock();
    mutex.Lock();
    std::thread waiter([&]() WEFT_NO_THREAD_SAFETY_ANALYSIS {
      mutex.Lock();
      mutex.Unlock();
    });
    mutex.Unlock();
    waiter.join();
  }();
}

// A copy that an abandoned goroutine holds keeps the first runtime's watcher.
TEST(Ending, ASignalContextWorksInTheNextRuntime) {
  Main(Procs(2), [] {
    Go([ctx = SignalContext({SIGUSR1})] { (void)Sleep(absl::Hours(1), ctx); });
    testing::AwaitWaiting(WaitReason::kSleep, 1);
  });
  Main(Procs(2), [] {
    const Context ctx = SignalContext({SIGUSR2});
    kill(getpid(), SIGUSR2);
    EXPECT_TRUE(absl::IsCancelled(Sleep(absl::Minutes(1), ctx)));
  });
}

TEST(Ending, ASignalContextMayGoAfterwards) {
  Context ctx;
  Main(Procs(2), [&] { ctx = SignalContext({SIGUSR1}); });
  ctx = Context();
}

// ---- The runtime's memory. ----

int64_t MappedPages() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  file >> pages;
  return pages;
}

TEST(Ending, GivesItsMemoryBack) {
  const auto run = [] {
    Main(Procs(2), [] {
      WaitGroup group;
      for (int i = 0; i < 100; i++) group.Go([] { Yield(); });
      group.Wait();
    });
  };
  mallopt(M_ARENA_MAX, 1);             // one arena more is 64 MiB, and libc's
  for (int i = 0; i < 10; i++) run();  // what the process keeps for all of them
  const int64_t before = MappedPages();
  for (int i = 0; i < 30; i++) run();
  // A runtime maps 17 MiB and more.
  EXPECT_LT((MappedPages() - before) * sysconf(_SC_PAGESIZE), int64_t{64} << 20);
}

TEST(Ending, PlainThreadsMayWakeGoroutinesAllTheTime) {
  for (int round = 0; round < 50; round++) {
    std::atomic<bool> stop = false;
    std::thread thread;
    Main(Procs(2), [&] {
      Chan<int> chan(1);
      for (int i = 0; i < 4; i++) {
        Go([chan]() mutable {
          for (;;) (void)chan.Receive();
        });
      }
      thread = std::thread([&stop, chan]() mutable {
        while (!stop) (void)chan.TrySend(1);
      });
      for (int i = 0; i < round; i++) Yield();
    });
    stop = true;
    thread.join();
  }
}

void EndWhileFilesAreRead(const char* poller, int readers, int yields) {
  Main(RuntimeOptions{.max_procs = 2, .netpoll = poller}, [&] {
    absl::StatusOr<File> file = File::Open("/proc/self/exe");
    ASSERT_TRUE(file.ok()) << file.status();
    for (int i = 0; i < readers; i++) {
      Go([file = *file]() mutable {
        std::array<char, 64> bytes;
        for (;;) (void)file.ReadAt(bytes, 0);
      });
    }
    for (int i = 0; i < yields; i++) Yield();
  });
}

TEST(Ending, GoroutinesMayReadFiles) {
  if (testing::IsEmulated()) GTEST_SKIP() << "Main's patience, 200 ms, is a slice of an emulator";
  for (int round = 0; round < 20; round++) EndWhileFilesAreRead("auto", 32, round * 5);
  // Each of these runs for a whole slice.
  for (int round = 0; round < 20; round++) EndWhileFilesAreRead("epoll", 3, round % 3);
}

// The ring's thread leaves while plain threads are at any point of an operation.
TEST(Ending, PlainThreadsMayReadFilesAllTheTime) {
  constexpr int kThreads = 3;
  struct Shared {
    std::atomic<bool> stop = false;
    std::counting_semaphore<> returned{0};
  };
  for (int round = 0; round < Rounds(150); round++) {
    // Of the threads as well: one that does not come back is left alone.
    auto shared = std::make_shared<Shared>();
    Main(Procs(2), [&] {
      absl::StatusOr<File> file = File::Open("/proc/self/exe");
      ASSERT_TRUE(file.ok()) << file.status();
      for (int i = 0; i < kThreads; i++) {
        std::thread([shared, file = *file]() mutable {
          std::array<char, 64> bytes;
          while (!shared->stop) {
            absl::StatusOr<size_t> n = file.ReadAt(bytes, 0);
            EXPECT_TRUE(n.ok() || absl::IsCancelled(n.status())) << n.status();
          }
          file = File();
          shared->returned.release();
        }).detach();
      }
      Sleep(absl::Milliseconds(1 + round % 3));
    });
    shared->stop = true;
    for (int i = 0; i < kThreads; i++) {
      ASSERT_TRUE(shared->returned.try_acquire_for(std::chrono::seconds(10)))
          << "a thread sleeps for ever, in round " << round;
    }
  }
}

TEST(Ending, LeavesNoFileOpenThatAPlainThreadCloses) {
  const auto next_descriptor = [] {
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
  };
  const int before = next_descriptor();
  File file;
  Main(Procs(2), [&] { file = *File::Open("/proc/self/exe"); });
  std::array<char, 64> bytes;
  EXPECT_TRUE(absl::IsCancelled(file.ReadAt(bytes, 0).status()));
  EXPECT_TRUE(file.Close().ok());
  EXPECT_EQ(next_descriptor(), before);
}

// Who stops the world when the runtime ends waits for Ps that will not come.
TEST(Ending, AGoroutineMayBeInMaxProcs) {
  for (int round = 0; round < 60; round++) {
    Main(Procs(2), [&] {
      for (int i = 0; i < 2; i++) {
        Go([] {
          for (int n = 0;; n++) MaxProcs(2 + n % 3);
        });
      }
      for (int i = 0; i < round; i++) Yield();
    });
  }
}

// ---- Deadlock. ----

// TSan has a thread of its own, which could wake anybody.
#ifdef WEFT_TSAN
#define SKIP_WHERE_FOREIGN_THREADS_RUN() GTEST_SKIP() << "TSan's own thread counts"
#else
#define SKIP_WHERE_FOREIGN_THREADS_RUN() static_cast<void>(0)
#endif

// All others sleep when it ends: nobody else would ask any more.
TEST(Ending, OfTheLastThreadThatRanIsSeenAsADeadlock) {
  SKIP_WHERE_FOREIGN_THREADS_RUN();
  for (int procs : {1, 2, 8}) {
    EXPECT_FATAL_WITH(
        Procs(procs),
        [] {
          Go([] {
            LockOSThread();
            Sleep(absl::Milliseconds(20));
            // Long enough for the others to have asked.
            for (const absl::Time end = absl::Now() + absl::Milliseconds(20); absl::Now() < end;) {
            }
          });
          (void)Chan<int>().Receive();
        },
        AllOf(HasSubstr("deadlock!"), HasSubstr("[chan receive]")));
    EXPECT_FATAL_WITH(
        Procs(procs),
        [] {
          Go([] { LockOSThread(); });
          (void)Chan<int>().Receive();
        },
        "deadlock!");
  }
}

// In a process of its own, which has no descriptor left.
[[noreturn]] void WaitForAThreadWithoutDescriptors() {
  alarm(60);
  std::exit(Main(Procs(2), [] {
    Completion<int> done;
    std::binary_semaphore started(0);
    std::thread thread([done, &started]() mutable {
      started.release();
      AwaitRest();
      (void)done.Set(7);
    });
    Blocking([&] { started.acquire(); });
    rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{0, before.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    EXPECT_EQ(open("/proc/self/stat", O_RDONLY), -1);
    const int value = done.Wait().value_or(0);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    Blocking([&] { thread.join(); });
    return value;
  }));
}

TEST(Deadlock, IsNotReportedWhenThreadsCannotBeCounted) {
#ifdef WEFT_ASAN
  GTEST_SKIP() << "UBSan, its companion, looks at objects by way of a descriptor";
#endif
  EXPECT_EXIT(WaitForAThreadWithoutDescriptors(), ExitedWithCode(7), "");
}

// ---- Threads. ----

TEST(MaxProcs, InBlockingIsFatal) {
  EXPECT_FATAL([] { Blocking([] { MaxProcs(3); }); },
               "weft::MaxProcs\\(3\\) inside weft::Blocking");
}

// A goroutine's own thread may be bound to one CPU; threads that are started then may not.
WEFT_TEST(Threads, DoNotInheritWhatABoundGoroutineDidToItsOwn) {
  constexpr int kCalls = 12;
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one CPU";
  int some = 0;
  while (!CPU_ISSET(some, &all)) some++;
  WaitGroup group;
  group.Go([&] {
    LockOSThread();
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(some, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    // More threads than there are.
    std::atomic<int> inside = 0;
    WaitGroup calls;
    for (int i = 0; i < kCalls; i++) {
      calls.Go([&] {
        Blocking([&] {
          cpu_set_t mine;
          EXPECT_EQ(sched_getaffinity(0, sizeof(mine), &mine), 0);
          EXPECT_TRUE(CPU_EQUAL(&mine, &all)) << CPU_COUNT(&mine) << " CPUs";
          inside++;
          while (inside < kCalls) std::this_thread::yield();
        });
      });
    }
    calls.Wait();
    // It ends bound, and its thread with it.
  });
  group.Wait();
}

}  // namespace
}  // namespace weft

// What abandoned goroutines hold is never freed.
extern "C" {
const char* __lsan_default_suppressions();
const char* __lsan_default_suppressions() {
  return "leak:ending_test.cc";
}
}
