// Goroutines that compute in code with polling prologues are stopped there, and go on as they were.
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "runtime/os/thread.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"
#include "runtime/suspend.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "tests/split/code.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace {

using weft::WaitGroup;
using weft::runtime::Entry;
using weft::runtime::G;
using weft::runtime::GetM;
using weft::runtime::M;
using weft::testing::Rounds;

#define SKIP_WITHOUT_SPLIT_STACKS() \
  if (!weft::testing::HasSplitStacks()) GTEST_SKIP() << "the compiler has no -fsplit-stack"

// A thread that asks every P's goroutine to stop, again and again.
class Asking {
 public:
  Asking() {
    thread_ = std::thread([this] {
      weft::runtime::Runtime* rt = weft::runtime::Rt();
      const int procs = weft::MaxProcs(0);
      while (!stop_) {
        for (int i = 0; i < procs; i++) weft::runtime::PreemptOne(rt->all_ps[i]);
        std::this_thread::yield();
      }
    });
  }
  ~Asking() {
    stop_ = true;
    weft::Blocking([this] { thread_.join(); });
  }

 private:
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

void EverythingArrives(int seed) {
  ASSERT_TRUE(weft::testing::IntegersArrive(seed));
  ASSERT_TRUE(weft::testing::DoublesArrive(seed));
  ASSERT_TRUE(weft::testing::VariableArgumentsArrive(seed));
  ASSERT_TRUE(weft::testing::VectorsArrive(seed));
  ASSERT_TRUE(weft::testing::StructsArrive(seed));
  ASSERT_TRUE(weft::testing::BlocksStay(seed));
  ASSERT_TRUE(weft::testing::ExceptionsArrive(seed));
}

WEFT_TEST(Split, ArgumentsOfEveryKindArrive) {
  WaitGroup group;
  Asking asking;
  for (int g = 0; g < 4; g++) {
    group.Go([g] {
      for (int i = 0; i < Rounds(3000); i++) EverythingArrives(g * 100'000 + i);
    });
  }
  group.Wait();
}

// As above, whatever the timing: each call finds its slot poisoned, and its goroutine is to stop.
WEFT_TEST(Split, EveryPrologueMayStop) {
  SKIP_WITHOUT_SPLIT_STACKS();
  weft::testing::before_each_call = [] { weft::runtime::PreemptOne(GetM()->p); };
  WaitGroup group;
  for (int g = 0; g < 2; g++) {
    group.Go([g] {
      for (int i = 0; i < 200; i++) EverythingArrives(g * 100'000 + i);
    });
  }
  group.Wait();
  weft::testing::before_each_call = [] {};
}

// Of goroutines that are moved by polls, each keeps its own.
WEFT_TEST(Split, ErrnoStays) {
  SKIP_WITHOUT_SPLIT_STACKS();
  weft::testing::before_each_call = [] { weft::runtime::PreemptOne(GetM()->p); };
  WaitGroup group;
  for (int g = 1; g <= 4; g++) {
    group.Go([g] {
      for (int i = 0; i < 200; i++) ASSERT_TRUE(weft::testing::ErrnoStays(g));
    });
  }
  group.Wait();
  weft::testing::before_each_call = [] {};
}

// Go's TestPreemption: on one P as well.
WEFT_TEST(Split, WhoComputesGivesWay) {
  SKIP_WITHOUT_SPLIT_STACKS();
  const int computing = 2 * procs();
  std::vector<int64_t> calls(static_cast<size_t>(computing));
  volatile bool stop = false;
  WaitGroup group;
  for (int64_t& count : calls) {
    group.Go([&count, &stop] { count = weft::testing::ComputeUntil(&stop); });
  }
  weft::Yield();
  // Each of them has had a turn when this goroutine has one again, behind all of them, for the
  // second time.
  weft::Yield();
  stop = true;
  group.Wait();
  for (int64_t count : calls) EXPECT_GE(count, 0);
}

// Go's TestStopTheWorldDeadlock, beside computing goroutines.
WEFT_TEST(Split, TheWorldStopsBesideThoseThatCompute) {
  SKIP_WITHOUT_SPLIT_STACKS();
  volatile bool stop = false;
  WaitGroup group;
  for (int i = 0; i < 3; i++) group.Go([&stop] { (void)weft::testing::ComputeUntil(&stop); });
  const int before = weft::MaxProcs(0);
  for (int i = 0; i < Rounds(40); i++) weft::MaxProcs(1 + i % 4);
  weft::MaxProcs(before);
  stop = true;
  group.Wait();
}

// A suspender has nothing but the goroutine.
WEFT_TEST(Split, WhoComputesIsSuspended) {
  SKIP_WITHOUT_SPLIT_STACKS();
  volatile bool stop = false;
  std::atomic<G*> g{nullptr};
  WaitGroup group;
  group.Go([&] {
    g = GetM()->curg;
    (void)weft::testing::ComputeUntil(&stop);
  });
  while (g == nullptr) weft::Yield();
  int looks = 0;
  for (int i = 0; i < Rounds(500); i++) {
    Entry entry;
    ASSERT_TRUE(weft::runtime::LookAt(
        entry.m(), g, [](G*, void* n) { ++*static_cast<int*>(n); }, &looks));
  }
  EXPECT_EQ(looks, Rounds(500));
  stop = true;
  group.Wait();
}

// Foreign frames below: as by a channel operation, the goroutine moves with them.
WEFT_TEST(Split, InACallbackOfLibcToo) {
  std::vector<int> numbers(20'000);
  for (size_t i = 0; i < numbers.size(); i++) numbers[i] = static_cast<int>(i * 7919 % 20'011);
  Asking asking;
  WaitGroup group;
  for (int g = 0; g < 4; g++) {
    group.Go([mine = numbers]() mutable {
      qsort(mine.data(), mine.size(), sizeof(int), weft::testing::Compare);
      EXPECT_TRUE(std::is_sorted(mine.begin(), mine.end()));
    });
  }
  group.Wait();
}

// ---- Where nothing may stop. ----

std::atomic<int> handled = 0;

void Handler(int) {
  handled += weft::testing::Nothing(0);
}

WEFT_TEST(Split, OnASignalStackNothingStops) {
  SKIP_WITHOUT_SPLIT_STACKS();
  weft::LockOSThread();
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = Handler;
  action.sa_flags = SA_ONSTACK;
  ASSERT_EQ(sigaction(SIGUSR2, &action, &before), 0);
  sigset_t usr2;
  sigemptyset(&usr2);
  sigaddset(&usr2, SIGUSR2);
  ASSERT_EQ(pthread_sigmask(SIG_UNBLOCK, &usr2, nullptr), 0);
  handled = 0;
  M* m = GetM();
  const uint64_t before_signal = m->p->preemptions.Load(weft::os::kRelaxed<"test.preemptions">);
  weft::runtime::PreemptOne(m->p);
  pthread_kill(pthread_self(), SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr2, nullptr);
  EXPECT_EQ(handled, 1);
  EXPECT_EQ(GetM(), m);
  EXPECT_EQ(m->p->preemptions.Load(weft::os::kRelaxed<"test.preemptions">), before_signal)
      << "no time slice has ended in it";
  ASSERT_EQ(sigaction(SIGUSR2, &before, nullptr), 0);
  weft::UnlockOSThread();
}

WEFT_TEST(Split, InAChildOfVforkNothingStops) {
  SKIP_WITHOUT_SPLIT_STACKS();
  M* m = GetM();
  weft::runtime::PreemptOne(m->p);
  const pid_t child = vfork();
  if (child == 0) _exit(weft::testing::Nothing(41));
  ASSERT_GT(child, 0);
  EXPECT_EQ(GetM(), m) << "the parent's goroutine was not switched by it";
  int status = 0;
  weft::Blocking([&] { waitpid(child, &status, 0); });
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Split, InAChildOfForkNothingStops) {
  SKIP_WITHOUT_SPLIT_STACKS();
  weft::Main({.max_procs = 1}, [] {
    weft::runtime::PreemptOne(GetM()->p);
    const pid_t child = fork();
    if (child == 0) {
      const int result = weft::testing::Nothing(41);
      _exit(weft::runtime::ClearSlot(GetM()) ? 1 : result);
    }
    ASSERT_GT(child, 0);
    int status = 0;
    weft::Blocking([&] { waitpid(child, &status, 0); });
    EXPECT_EQ(WEXITSTATUS(status), 42);
  });
}

// It would leave its slot to whoever gets its memory.
TEST(SplitDeath, AThreadOfTheRuntimeIsNotEndedByItsGoroutine) {
#ifdef WEFT_TSAN
  GTEST_SKIP() << "TSan has forgotten the thread by then";
#endif
  EXPECT_FATAL([] { pthread_exit(nullptr); }, "pthread_exit on a goroutine");
}

WEFT_TEST(Split, InBlockingNothingStops) {
  SKIP_WITHOUT_SPLIT_STACKS();
  weft::Blocking([] {
    M* m = GetM();
    weft::runtime::PoisonSlot(m);
    EXPECT_EQ(weft::testing::Nothing(1), 2);
    EXPECT_FALSE(weft::runtime::ClearSlot(m)) << "it would slow down every call";
  });
}

}  // namespace
