// Mutex, Cond, WaitGroup, Once and Completion. Ported in meaning from Go's sync tests where these
// have a counterpart.
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "runtime/g.h"
#include "runtime/sema.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/completion.h"
#include "weft/cond.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/once.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::Completion;
using weft::Cond;
using weft::Context;
using weft::Goroutine;
using weft::Mutex;
using weft::MutexLock;
using weft::Once;
using weft::WaitGroup;
using weft::WaitReason;

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

TEST(WaitQueueRoom, LooksLikeANewWaitQueue) {
  static constinit weft::runtime::WaitQueue queue;
  static constinit weft::internal::WaitQueueRoom room;
  EXPECT_EQ(std::memcmp(&queue, room.raw(), sizeof(queue)), 0);
  static constinit weft::runtime::Lock lock(weft::runtime::LockRank::kWaitQueue);
  static constinit weft::internal::CoreLockRoom lock_room;
  EXPECT_EQ(std::memcmp(&lock, lock_room.raw(), sizeof(lock)), 0);
}

// ---- Mutex ----

WEFT_TEST(Mutex, TryLockFailsWhileItIsHeld) {
  Mutex mutex;
  mutex.Lock();
  EXPECT_FALSE(mutex.TryLock());
  mutex.Unlock();
  ASSERT_TRUE(mutex.TryLock());
  mutex.AssertHeld();
  mutex.Unlock();
}

WEFT_TEST(Mutex, ExcludesTenHammeringGoroutines) {
  Mutex mutex;
  int counter = 0;
  int expected = 0;
  WaitGroup group;
  for (int g = 0; g < 10; g++) {
    group.Go([&] {
      int own = 0;
      for (int i = 0; i < 1000; i++) {
        if (i % 3 == 0) {
          if (!mutex.TryLock()) continue;
        } else {
          mutex.Lock();
        }
        const int seen = counter;
        if (i % 7 == 0) weft::Yield();
        counter = seen + 1;
        own++;
        mutex.Unlock();
      }
      MutexLock lock(mutex);
      expected += own;
    });
  }
  group.Wait();
  EXPECT_EQ(counter, expected);
  EXPECT_GE(counter, 6660);
}

WEFT_TEST(Mutex, ExcludesPlainThreadsAndGoroutines) {
  Mutex mutex;
  int counter = 0;
  auto work = [&] {
    for (int i = 0; i < 2000; i++) {
      MutexLock lock(mutex);
      counter++;
    }
  };
  std::thread a(work);
  std::thread b(work);
  WaitGroup group;
  for (int g = 0; g < 4; g++) group.Go(work);
  group.Wait();
  weft::Blocking([&] {
    a.join();
    b.join();
  });
  EXPECT_EQ(counter, 12'000);
}

WEFT_TEST(Mutex, IsLockableByTheStandardLibrary) {
  Mutex a;
  Mutex b;
  int shared = 0;
  WaitGroup group;
  for (int g = 0; g < 4; g++) {
    group.Go([&, g] {
      for (int i = 0; i < 200; i++) {
        if (g % 2 == 0) {
          std::scoped_lock lock(a, b);
          shared++;
        } else {
          std::scoped_lock lock(b, a);
          shared++;
        }
      }
    });
  }
  group.Wait();
  EXPECT_EQ(shared, 800);
  std::unique_lock<Mutex> lock(a, std::try_to_lock);
  EXPECT_TRUE(lock.owns_lock());
}

WEFT_TEST(Mutex, MayBeUnlockedByAnotherGoroutine) {
  Mutex mutex;
  mutex.Lock();
  weft::Go([&] { mutex.Unlock(); });
  mutex.Lock();
  mutex.Unlock();
}

WEFT_TEST(Mutex, ServesWaitersInTheOrderOfTheirComing) {
  Mutex mutex;
  std::vector<int> order;
  WaitGroup group;
  mutex.Lock();
  for (int i = 0; i < 5; i++) {
    group.Add(1);
    GoAndAwaitParked(WaitReason::kMutexLock, [&, i] {
      mutex.Lock();
      order.push_back(i);
      mutex.Unlock();
      group.Done();
    });
  }
  mutex.Unlock();
  group.Wait();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4}));
}

// Go's TestMutexFairness: one goroutine holds it almost always; the other must get its turns.
WEFT_TEST(Mutex, IsNotKeptByWhoTakesItAgainAndAgain) {
  Mutex mutex;
  Chan<bool> stop;
  Chan<bool> done(1);
  WaitGroup group;
  group.Go([&] {
    for (;;) {
      mutex.Lock();
      weft::Sleep(absl::Microseconds(100));
      mutex.Unlock();
      if (weft::TrySelect(stop.OnReceive(nullptr)) == 0) return;
    }
  });
  group.Go([&] {
    for (int i = 0; i < 10; i++) {
      weft::Sleep(absl::Microseconds(100));
      mutex.Lock();
      mutex.Unlock();
    }
    ASSERT_TRUE(done.Send(true));
  });
  EXPECT_EQ(weft::Select(done.OnReceive(nullptr), weft::After(absl::Seconds(10))), 0);
  stop.Close();
  group.Wait();
}

// On one P a goroutine that unlocks and locks at once always overtakes the waiter that it has
// woken; after a millisecond it may not any more.
WEFT_TEST(Mutex, IsHandedToAWaiterThatWasOvertakenForAMillisecond) {
  Mutex mutex;
  bool served = false;
  mutex.Lock();
  Chan<bool> finished;
  GoAndAwaitParked(WaitReason::kMutexLock, [&] {
    mutex.Lock();
    served = true;
    mutex.Unlock();
    finished.Close();
  });
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (!served) {
    ASSERT_LT(absl::Now(), limit);
    mutex.Unlock();
    mutex.Lock();
  }
  mutex.Unlock();
  EXPECT_EQ(finished.Receive(), std::nullopt);
}

WEFT_TEST(Mutex, MayBeDestroyedByWhoLocksItLast) {
  struct Shared {
    Mutex mutex;
    int refs = 4;
  };
  for (int round = 0; round < 500; round++) {
    Shared* shared = new Shared;
    WaitGroup group;
    for (int g = 0; g < 4; g++) {
      group.Go([shared] {
        shared->mutex.Lock();
        const bool last = --shared->refs == 0;
        shared->mutex.Unlock();
        if (last) delete shared;
      });
    }
    group.Wait();
  }
}

WEFT_TEST(Mutex, MayBeAConstant) {
  std::scoped_lock lock(global_mutex);
  global_group.Wait();
  int runs = 0;
  global_once.Do([&] { runs++; });
  global_cond.Signal();
  EXPECT_LE(runs, 1);
}

TEST(MutexMisuse, UnlockOfAnUnlockedMutexNamesTheGoroutine) {
  EXPECT_FATAL([] { Mutex().Unlock(); }, "unlock of an unlocked weft::Mutex by goroutine [0-9]+");
  EXPECT_FATAL(
      [] {
        Mutex mutex;
        mutex.Lock();
        mutex.Unlock();
        mutex.Unlock();
      },
      "unlock of an unlocked weft::Mutex");
}

TEST(MutexMisuse, AssertHeldOfAnUnlockedMutexIsFatal) {
  EXPECT_FATAL([] { Mutex().AssertHeld(); }, "should be held");
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
      ASSERT_TRUE(ch.Send(true));
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
  weft::CancelContext ctx = Context::WithCancel(Context::Background());
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

// Signals and cancellations race; whoever was not cancelled must get a signal.
WEFT_TEST(Cond, ASignalIsNotSpentOnACancelledWait) {
  for (int round = 0; round < 300; round++) {
    Mutex mutex;
    Cond cond;
    weft::CancelContext ctx = Context::WithCancel(Context::Background());
    int signalled = 0;
    WaitGroup group;
    for (int i = 0; i < 2; i++) {
      group.Add(1);
      GoAndAwaitParked(WaitReason::kCondWait, [&, i] {
        mutex.Lock();
        const absl::Status status = cond.Wait(mutex, i == 0 ? ctx : Context::Background());
        if (status.ok()) signalled++;
        mutex.Unlock();
        group.Done();
      });
    }
    group.Go([&] { ctx.Cancel(); });
    group.Go([&] { cond.Signal(); });
    if (round % 2 == 0) weft::Yield();
    // The first waiter either took the signal or left it to the second.
    mutex.Lock();
    mutex.Unlock();
    cond.Signal();
    group.Wait();
    EXPECT_GE(signalled, 1);
    EXPECT_LE(signalled, 2);
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

// ---- Completion ----

WEFT_TEST(Completion, BringsAMoveOnlyValueFromAPlainThread) {
  Completion<std::unique_ptr<int>> completion;
  EXPECT_FALSE(completion.IsSet());
  std::thread thread(
      [completion]() mutable { EXPECT_TRUE(completion.Set(std::make_unique<int>(7))); });
  absl::StatusOr<std::unique_ptr<int>> value = completion.Wait();
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(**value, 7);
  EXPECT_TRUE(completion.IsSet());
  weft::Blocking([&] { thread.join(); });
}

WEFT_TEST(Completion, IsSetOnce) {
  Completion<std::string> completion;
  std::string late = "late";
  EXPECT_TRUE(completion.Set("first"));
  EXPECT_FALSE(completion.Set(std::move(late)));
  EXPECT_EQ(late, "late");
  EXPECT_EQ(*completion.Wait(), "first");
  EXPECT_FALSE(completion.Set("again"));
  EXPECT_TRUE(absl::IsFailedPrecondition(completion.Wait().status())) << "the value is gone";
}

WEFT_TEST(Completion, GivesItsValueToOneOfManyWaiters) {
  for (int round = 0; round < 100; round++) {
    Completion<int> completion;
    int got = 0;
    int missed = 0;
    Mutex mutex;
    WaitGroup group;
    for (int i = 0; i < 8; i++) {
      group.Go([&] {
        absl::StatusOr<int> value = completion.Wait();
        MutexLock lock(mutex);
        value.ok() ? got++ : missed++;
      });
    }
    group.Go([&] { completion.Set(3); });
    group.Wait();
    ASSERT_EQ(got, 1);
    ASSERT_EQ(missed, 7);
  }
}

WEFT_TEST(Completion, OfVoidReleasesAllWaiters) {
  Completion<void> completion;
  WaitGroup group;
  for (int i = 0; i < 4; i++)
    group.Go([completion]() mutable { EXPECT_TRUE(completion.Wait().ok()); });
  EXPECT_TRUE(completion.Set());
  EXPECT_FALSE(completion.Set());
  group.Wait();
}

WEFT_TEST(Completion, OfStatusOrReturnsJustThat) {
  Completion<absl::StatusOr<int>> completion;
  completion.Set(absl::NotFoundError("no such row"));
  absl::StatusOr<int> value = completion.Wait();
  EXPECT_TRUE(absl::IsNotFound(value.status()));
}

WEFT_TEST(Completion, WaitEndsWithItsContextAndLeavesTheValue) {
  Completion<int> completion;
  weft::CancelContext ctx = Context::WithCancel(Context::Background());
  Chan<bool> finished;
  GoAndAwaitParked(WaitReason::kCompletion, [&, finished]() mutable {
    EXPECT_TRUE(absl::IsCancelled(completion.Wait(ctx).status()));
    finished.Close();
  });
  ctx.Cancel();
  EXPECT_EQ(finished.Receive(), std::nullopt);
  EXPECT_TRUE(absl::IsCancelled(completion.Wait(ctx).status()));
  completion.Set(5);
  EXPECT_EQ(*completion.Wait(ctx), 5) << "a value that is there is better than a cancellation";
}

WEFT_TEST(Completion, CancelAndSetMayRace) {
  for (int round = 0; round < 300; round++) {
    Completion<int> completion;
    weft::CancelContext ctx = Context::WithCancel(Context::Background());
    WaitGroup group;
    group.Go([&] { ctx.Cancel(); });
    group.Go([&] { completion.Set(1); });
    group.Go([&] {
      absl::StatusOr<int> value = completion.Wait(ctx);
      EXPECT_TRUE(value.ok() || absl::IsCancelled(value.status()));
    });
    group.Wait();
  }
}

WEFT_TEST(Completion, DestroysAValueThatNobodyTook) {
  auto token = std::make_shared<int>(0);
  {
    Completion<std::shared_ptr<int>> completion;
    completion.Set(token);
    EXPECT_EQ(token.use_count(), 2);
  }
  EXPECT_EQ(token.use_count(), 1);
}

}  // namespace
