// Suspending goroutines in each state, on real threads; and functions run for every P.
#include "runtime/suspend.h"

#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "runtime/sched.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::WaitGroup;
using weft::runtime::Entry;
using weft::runtime::G;
using weft::runtime::Gdead;
using weft::runtime::Grunnable;
using weft::runtime::Gsyscall;
using weft::runtime::Gwaiting;
using weft::runtime::kScan;
using weft::runtime::P;
using weft::runtime::ReadGStatus;

G* Self() {
  return weft::runtime::GetM()->curg;
}

// False: it was dead.
bool Look(G* g, std::function<void(G* g)> look) {
  Entry entry;
  return weft::runtime::LookAt(
      entry.m(), g, [](G* target, void* p) { (*static_cast<decltype(look)*>(p))(target); }, &look);
}

uint32_t StateWhileSuspended(G* g) {
  uint32_t state = Gdead;
  Look(g, [&state](G* target) { state = ReadGStatus(target); });
  return state;
}

void WaitFor(G* g, weft::runtime::GState state) {
  while (ReadGStatus(g) != state) weft::Yield();
}

WEFT_TEST(Suspend, Parked) {
  Chan<int> chan;
  std::atomic<G*> g{nullptr};
  WaitGroup wg;
  wg.Go([&] {
    g = Self();
    EXPECT_EQ(chan.Receive(), 7);
  });
  while (g == nullptr) weft::Yield();
  WaitFor(g, Gwaiting);
  EXPECT_EQ(StateWhileSuspended(g), Gwaiting | kScan);
  EXPECT_EQ(ReadGStatus(g), Gwaiting);
  EXPECT_TRUE(chan.Send(7));
  wg.Wait();
}

WEFT_TEST(Suspend, QueuedAndNotStarted) {
  std::atomic<G*> g{nullptr};
  WaitGroup wg;
  wg.Go([&] {
    g = Self();
    weft::Yield();
  });
  while (g == nullptr) weft::Yield();
  // Whatever it is just now, it is held still, or dead.
  for (int i = 0; i < 100; i++) {
    const uint32_t state = StateWhileSuspended(g);
    EXPECT_TRUE(state == Gdead || (state & kScan) != 0) << state;
    weft::Yield();
  }
  wg.Wait();
}

// A loop with polls and without anything else.
WEFT_TEST(Suspend, RunningStandsStill) {
  std::atomic<G*> g{nullptr};
  std::atomic<uint64_t> steps{0};
  std::atomic<bool> done{false};
  WaitGroup wg;
  wg.Go([&] {
    g = Self();
    while (!done) {
      const Entry poll;
      steps.fetch_add(1, std::memory_order_relaxed);
    }
  });
  while (g == nullptr) weft::Yield();
  for (int i = 0; i < 20; i++) {
    EXPECT_TRUE(Look(g, [&steps](G*) {
      const uint64_t before = steps;
      for (int k = 0; k < 1000; k++) EXPECT_EQ(steps, before);
    }));
    const uint64_t after = steps;
    while (steps == after) weft::Yield();  // it goes on
  }
  done = true;
  wg.Wait();
}

WEFT_TEST(Suspend, InBlocking) {
  std::atomic<G*> g{nullptr};
  std::atomic<bool> done{false};
  WaitGroup wg;
  wg.Go([&] {
    g = Self();
    weft::Blocking([&done] {
      while (!done) std::this_thread::yield();
    });
  });
  while (g == nullptr) weft::Yield();
  WaitFor(g, Gsyscall);
  EXPECT_EQ(StateWhileSuspended(g), Gsyscall | kScan);
  done = true;
  wg.Wait();
}

WEFT_TEST(Suspend, DeadIsNotLookedAt) {
  std::atomic<G*> g{nullptr};
  WaitGroup wg;
  wg.Go([&] { g = Self(); });
  wg.Wait();
  WaitFor(g, Gdead);
  EXPECT_FALSE(Look(g, [](G*) { ADD_FAILURE() << "it is dead"; }));
}

WEFT_TEST(Suspend, ItselfAndEachOther) {
  EXPECT_EQ(StateWhileSuspended(Self()), Gwaiting | kScan);
  constexpr int kGoroutines = 4;
  std::vector<std::atomic<G*>> gs(kGoroutines);
  std::atomic<int> here{0};
  std::atomic<int> left{kGoroutines};
  WaitGroup wg;
  for (int i = 0; i < kGoroutines; i++) {
    wg.Go([&, i] {
      gs[static_cast<size_t>(i)] = Self();
      here++;
      while (here < kGoroutines) weft::Yield();
      for (int k = 0; k < 200; k++) {
        EXPECT_TRUE(Look(gs[static_cast<size_t>((i + k) % kGoroutines)], [](G*) {}));
      }
      left--;
      while (left > 0) weft::Yield();
    });
  }
  wg.Wait();
}

// One that is bound to a thread stops there, and goes on there.
WEFT_TEST(Suspend, LockedToItsThread) {
  std::atomic<G*> g{nullptr};
  std::atomic<bool> done{false};
  WaitGroup wg;
  wg.Go([&] {
    weft::LockOSThread();
    const pid_t thread = gettid();
    g = Self();
    while (!done) {
      const Entry poll;
      ASSERT_EQ(gettid(), thread);
    }
    weft::UnlockOSThread();
  });
  while (g == nullptr) weft::Yield();
  for (int i = 0; i < 50; i++) EXPECT_TRUE(Look(g, [](G*) {}));
  done = true;
  wg.Wait();
}

// The number of Ps changes while goroutines are suspended.
WEFT_TEST(Suspend, AgainstStopsOfTheWorld) {
  std::atomic<G*> g{nullptr};
  std::atomic<bool> done{false};
  WaitGroup wg;
  wg.Go([&] {
    g = Self();
    while (!done) const Entry poll;
  });
  while (g == nullptr) weft::Yield();
  WaitGroup stopper;
  stopper.Go([this] {
    for (int i = 0; i < 100; i++) weft::MaxProcs(1 + i % 5);
    weft::MaxProcs(procs());
  });
  for (int i = 0; i < 200; i++) EXPECT_TRUE(Look(g, [](G*) {}));
  stopper.Wait();
  done = true;
  wg.Wait();
}

// ---- A function for each P. ----

std::vector<int> RunForEachP() {
  std::vector<int> runs(static_cast<size_t>(weft::MaxProcs(0)));
  weft::runtime::LockWorld();
  {
    Entry entry;
    weft::runtime::ForEachP(
        entry.m(),
        [](P* p, void* all) {
          (*static_cast<std::vector<int>*>(all))[static_cast<size_t>(p->id)]++;
        },
        &runs);
  }
  weft::runtime::UnlockWorld();
  return runs;
}

WEFT_TEST(ForEachP, Idle) {
  for (int i = 0; i < 50; i++) EXPECT_THAT(RunForEachP(), ::testing::Each(1));
}

WEFT_TEST(ForEachP, RunningAndInCalls) {
  std::atomic<bool> done{false};
  WaitGroup wg;
  for (int i = 0; i < procs(); i++) {
    wg.Go([&done] {
      while (!done) const Entry poll;
    });
    wg.Go([&done] {
      while (!done) weft::Blocking([] { std::this_thread::yield(); });
    });
  }
  for (int i = 0; i < 50; i++) EXPECT_THAT(RunForEachP(), ::testing::Each(1));
  done = true;
  wg.Wait();
}

// A call that lasts: its P is taken from it.
WEFT_TEST(ForEachP, InALongCall) {
  std::atomic<bool> in_call{false};
  std::atomic<bool> done{false};
  WaitGroup wg;
  wg.Go([&] {
    weft::Blocking([&] {
      in_call = true;
      while (!done) std::this_thread::yield();
    });
  });
  while (!in_call) weft::Yield();
  EXPECT_THAT(RunForEachP(), ::testing::Each(1));
  done = true;
  wg.Wait();
}

}  // namespace
