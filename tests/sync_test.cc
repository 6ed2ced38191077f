// Cond, WaitGroup and Once. Ported in meaning from Go's sync tests where these have a
// counterpart.
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "runtime/g.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "tests/racing.h"
#include "weft/chan.h"
#include "weft/cond.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/once.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::CancelContext;
using weft::Chan;
using weft::Cond;
using weft::Context;
using weft::Goroutine;
using weft::Mutex;
using weft::MutexLock;
using weft::Once;
using weft::WaitGroup;
using weft::WaitReason;
using weft::testing::Race;
using weft::testing::Rounds;

constinit Mutex global_mutex;
constinit WaitGroup global_group;
constinit Once global_once;
constinit Cond global_cond;

// Returns once `g` is parked for `reason`.
void AwaitParked(Goroutine* g, WaitReason reason) {
  while (weft::runtime::ReadGStatus(g) != weft::runtime::Gwaiting || g->wait_reason != reason) {
    weft::Yield();
  }
}

// Starts `fn` and returns once it is parked for `reason`.
template <class F>
void GoAndAwaitParked(WaitReason reason, F fn) {
  Chan<Goroutine*> self(1);
  weft::Go([self, fn]() mutable {
    ASSERT_TRUE(self.Send(weft::Current()));
    fn();
  });
  AwaitParked(*self.Receive(), reason);
}

WEFT_TEST(Sync, ObjectsMayBeConstants) {
  std::scoped_lock lock(global_mutex);
  global_group.Wait();
  int runs = 0;
  global_once.Do([&] { runs++; });
  global_cond.Signal();
  EXPECT_LE(runs, 1);
}

// ---- Cond ----

WEFT_TEST(Cond, SignalWakesExactlyOne) {
  constexpr int kWaiters = 2;
  Mutex mutex;
  Cond cond;
  Chan<bool> running(kWaiters);
  Chan<bool> awake(kWaiters);
  for (int i = 0; i < kWaiters; i++) {
    weft::Go([&, running, awake]() mutable {
      MutexLock lock(mutex);
      ASSERT_TRUE(running.Send(true));
      cond.Wait(mutex);
      ASSERT_TRUE(awake.Send(true));
    });
  }
  for (int i = 0; i < kWaiters; i++) ASSERT_TRUE(running.Receive().has_value());
  for (int i = 0; i < kWaiters; i++) {
    EXPECT_EQ(awake.TryReceive(), std::nullopt) << "nobody was signalled";
    mutex.Lock();
    cond.Signal();
    mutex.Unlock();
    ASSERT_TRUE(awake.Receive().has_value());
    EXPECT_EQ(awake.TryReceive(), std::nullopt) << "one signal, two awake";
  }
  cond.Signal();
  MutexLock lock(mutex);  // the last waiter has left it
}

WEFT_TEST(Cond, SignalWakesTheOneThatWaitsLongest) {
  constexpr int kWaiters = 100;
  Mutex mutex;
  Cond cond;
  Chan<bool> running(kWaiters);
  Chan<int> awake(kWaiters);
  WaitGroup group;
  for (int i = 0; i < kWaiters; i++) {
    group.Go([&, i] {
      MutexLock lock(mutex);
      ASSERT_TRUE(running.Send(true));
      cond.Wait(mutex);
      ASSERT_TRUE(awake.Send(i));
    });
    if (i > 0) {
      ASSERT_EQ(awake.Receive(), i - 1);
    }
    ASSERT_TRUE(running.Receive().has_value());
    MutexLock lock(mutex);
    cond.Signal();
  }
  group.Wait();
}

WEFT_TEST(Cond, BroadcastWakesAllOnce) {
  constexpr int kWaiters = 50;
  constexpr int kRounds = 20;
  Mutex mutex;
  Cond cond;
  Chan<int> running(kWaiters);
  Chan<int> awake(kWaiters);
  bool exit = false;
  WaitGroup group;
  for (int i = 0; i < kWaiters; i++) {
    group.Go([&, i] {
      MutexLock lock(mutex);
      while (!exit) {
        ASSERT_TRUE(running.Send(i));
        cond.Wait(mutex);
        ASSERT_TRUE(awake.Send(i));
      }
    });
  }
  for (int round = 0; round < kRounds; round++) {
    for (int i = 0; i < kWaiters; i++) ASSERT_TRUE(running.Receive().has_value());
    if (round == kRounds - 1) {
      MutexLock lock(mutex);
      exit = true;
    }
    EXPECT_EQ(awake.TryReceive(), std::nullopt);
    mutex.Lock();
    cond.Broadcast();
    mutex.Unlock();
    std::vector<bool> seen(kWaiters);
    for (int i = 0; i < kWaiters; i++) {
      const int g = *awake.Receive();
      EXPECT_FALSE(seen[static_cast<size_t>(g)]) << "woken twice";
      seen[static_cast<size_t>(g)] = true;
    }
  }
  group.Wait();
  EXPECT_EQ(running.TryReceive(), std::nullopt);
  cond.Broadcast();
}

// Go's TestRace.
WEFT_TEST(Cond, PassesAValueBetweenThreeGoroutines) {
  Mutex mutex;
  Cond cond;
  int x = 0;
  WaitGroup group;
  group.Go([&] {
    MutexLock lock(mutex);
    x = 1;
    cond.Wait(mutex);
    EXPECT_EQ(x, 2);
    x = 3;
    cond.Signal();
  });
  group.Go([&] {
    for (;;) {
      {
        MutexLock lock(mutex);
        if (x == 1) {
          x = 2;
          cond.Signal();
          return;
        }
      }
      weft::Yield();
    }
  });
  group.Go([&] {
    for (;;) {
      {
        MutexLock lock(mutex);
        if (x == 2) {
          cond.Wait(mutex);
          EXPECT_EQ(x, 3);
          return;
        }
        if (x == 3) return;
      }
      weft::Yield();
    }
  });
  group.Wait();
}

// Go's TestCondSignalStealing: a waiter that comes later must not take the wake-up of one that
// waits already.
WEFT_TEST(Cond, LaterWaitersDoNotStealABroadcast) {
  for (int round = 0; round < 300; round++) {
    Mutex mutex;
    Cond cond;
    Chan<bool> ch;
    bool done = false;
    WaitGroup group;
    group.Go([&] {
      mutex.Lock();
      EXPECT_TRUE(ch.Send(true));
      cond.Wait(mutex);
      mutex.Unlock();
      ASSERT_TRUE(ch.Send(true));
    });
    ASSERT_TRUE(ch.Receive().has_value());
    mutex.Lock();
    mutex.Unlock();
    group.Go([&] { cond.Broadcast(); });
    group.Go([&] {
      MutexLock lock(mutex);
      cond.Wait(mutex, [&] { return done; });
    });
    ASSERT_EQ(weft::Select(ch.OnReceive(nullptr), weft::After(absl::Seconds(10))), 0);
    mutex.Lock();
    done = true;
    mutex.Unlock();
    cond.Broadcast();
    group.Wait();
  }
}

WEFT_TEST(Cond, WaitEndsWithItsContext) {
  Mutex mutex;
  Cond cond;
  CancelContext ctx = Context::WithCancel(Context::Background());
  absl::Status status;
  Chan<bool> finished;
  GoAndAwaitParked(WaitReason::kCondWait, [&, finished]() mutable {
    mutex.Lock();
    status = cond.Wait(mutex, ctx);
    mutex.AssertHeld();
    mutex.Unlock();
    finished.Close();
  });
  ctx.Cancel();
  EXPECT_EQ(finished.Receive(), std::nullopt);
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  MutexLock lock(mutex);
  EXPECT_TRUE(absl::IsCancelled(cond.Wait(mutex, ctx))) << "done before";
  EXPECT_TRUE(absl::IsCancelled(cond.Wait(
      mutex, [] { return false; }, ctx)));
  EXPECT_TRUE(cond.Wait(
                      mutex, [] { return true; }, ctx)
                  .ok());
}

// One of two waiters is cancelled while one signal comes: it must end one of the two waits, or the
// other waiter would wait for ever.
WEFT_TEST(Cond, ASignalIsNotSpentOnACancelledWait) {
  for (int round = 0; round < Rounds(400); round++) {
    Mutex mutex;
    Cond cond;
    CancelContext ctx = Context::WithCancel(Context::Background());
    int signalled = 0;
    WaitGroup group;
    for (int i = 0; i < 2; i++) {
      group.Add(1);
      GoAndAwaitParked(WaitReason::kCondWait, [&, i] {
        mutex.Lock();
        if (cond.Wait(mutex, i == 0 ? ctx : Context::Background()).ok()) signalled++;
        mutex.Unlock();
        group.Done();
      });
    }
    Race(
        round, [&] { ctx.Cancel(); }, [&] { cond.Signal(); });
    for (;;) {
      MutexLock lock(mutex);
      if (signalled > 0) break;
      weft::Yield();
    }
    cond.Signal();
    group.Wait();
    ASSERT_LE(signalled, 2);
  }
}

WEFT_TEST(Cond, WorksOnPlainThreads) {
  Mutex mutex;
  Cond cond;
  int turn = 0;
  auto play = [&](int me) {
    for (int i = 0; i < 100; i++) {
      MutexLock lock(mutex);
      cond.Wait(mutex, [&] { return turn % 2 == me; });
      turn++;
      cond.Broadcast();
    }
  };
  std::thread thread(play, 0);
  play(1);
  weft::Blocking([&] { thread.join(); });
  EXPECT_EQ(turn, 200);
}

// ---- WaitGroup ----

WEFT_TEST(WaitGroup, IsABarrierAndCanBeUsedAgain) {
  constexpr int kGoroutines = 16;
  WaitGroup first;
  WaitGroup second;
  for (int round = 0; round < 8; round++) {
    Chan<bool> exited(kGoroutines);
    first.Add(kGoroutines);
    second.Add(kGoroutines);
    for (int i = 0; i < kGoroutines; i++) {
      weft::Go([&, exited]() mutable {
        first.Done();
        second.Wait();
        ASSERT_TRUE(exited.Send(true));
      });
    }
    first.Wait();
    first.Wait();
    for (int i = 0; i < kGoroutines; i++) {
      EXPECT_EQ(exited.TryReceive(), std::nullopt) << "released too soon";
      second.Done();
    }
    for (int i = 0; i < kGoroutines; i++) ASSERT_TRUE(exited.Receive().has_value());
  }
}

WEFT_TEST(WaitGroup, WaitSeesWhatWasDoneBeforeDoneAndMayDestroyTheGroup) {
  for (int round = 0; round < 1000; round++) {
    std::optional<WaitGroup> group(std::in_place);
    int a = 0;
    int b = 0;
    group->Add(2);
    weft::Go([&] {
      a++;
      group->Done();
    });
    weft::Go([&] {
      b++;
      group->Done();
    });
    group->Wait();
    ASSERT_EQ(a + b, 2) << "woken without cause";
    std::memset(static_cast<void*>(&group), 0x5a, sizeof(group));
    new (&group) std::optional<WaitGroup>();
  }
}

WEFT_TEST(WaitGroup, TheLastDoneMayRaceWithWait) {
  for (int round = 0; round < Rounds(1000); round++) {
    WaitGroup group;
    bool done = false;
    group.Add(1);
    Race(
        round,
        [&] {
          done = true;
          group.Done();
        },
        [&] {
          group.Wait();
          EXPECT_TRUE(done);
        });
  }
}

WEFT_TEST(WaitGroup, GoDestroysTheFunctionBeforeItCounts) {
  struct Mark {
    std::shared_ptr<int> token;
  };
  for (int round = 0; round < 200; round++) {
    auto token = std::make_shared<int>(0);
    WaitGroup group;
    for (int i = 0; i < 3; i++) group.Go([mark = Mark{token}] { static_cast<void>(mark); });
    group.Wait();
    ASSERT_EQ(token.use_count(), 1);
  }
}

WEFT_TEST(WaitGroup, IsDoneFromPlainThreads) {
  WaitGroup group;
  group.Add(2);
  std::thread a([&] { group.Done(); });
  std::thread b([&] { group.Done(); });
  group.Wait();
  weft::Blocking([&] {
    a.join();
    b.join();
  });
}

TEST(WaitGroupMisuse, MoreDoneThanAddIsFatal) {
  EXPECT_FATAL(
      [] {
        WaitGroup group;
        group.Add(1);
        group.Done();
        group.Done();
      },
      "weft::WaitGroup: its count became -1");
}

// ---- Once ----

WEFT_TEST(Once, RunsOnceAndAllOthersWaitForIt) {
  for (int round = 0; round < 200; round++) {
    Once once;
    int value = 0;
    WaitGroup group;
    for (int i = 0; i < 10; i++) {
      group.Go([&] {
        once.Do([&] {
          weft::Yield();
          value++;
        });
        EXPECT_EQ(value, 1);
        EXPECT_TRUE(once.IsDone());
      });
    }
    group.Wait();
    ASSERT_EQ(value, 1);
  }
}

WEFT_TEST(Once, TwoMayComeAtOnce) {
  for (int round = 0; round < 1000; round++) {
    Once once;
    int value = 0;
    const auto come = [&] {
      once.Do([&] { value++; });
      EXPECT_EQ(value, 1);
    };
    Race(round, come, come);
  }
}

WEFT_TEST(Once, CountsAsDoneWhenTheFunctionThrows) {
  Once once;
  EXPECT_THROW(once.Do([] { throw std::runtime_error("failed"); }), std::runtime_error);
  once.Do([] { FAIL() << "run a second time"; });
  EXPECT_TRUE(once.IsDone());
}

TEST(Once, NeedsNoRuntime) {
  Once once;
  int runs = 0;
  for (int i = 0; i < 3; i++) once.Do([&] { runs++; });
  EXPECT_EQ(runs, 1);
}

}  // namespace
