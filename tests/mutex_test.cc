// Mutex. Ported in meaning from Go's mutex tests where these have a counterpart.
#include "weft/mutex.h"

#include <cstring>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "runtime/g.h"
#include "runtime/sema.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::Goroutine;
using weft::Mutex;
using weft::MutexLock;
using weft::WaitGroup;
using weft::WaitReason;

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
  WaitGroup group;
  const auto lock_twice = [&]() WEFT_NO_THREAD_SAFETY_ANALYSIS {
    mutex.Lock();
    group.Go([&]() WEFT_NO_THREAD_SAFETY_ANALYSIS { mutex.Unlock(); });
    mutex.Lock();
    mutex.Unlock();
  };
  lock_twice();
  group.Wait();
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
  GoAndAwaitParked(WaitReason::kMutexLock, [&, finished]() mutable {
    mutex.Lock();
    served = true;
    mutex.Unlock();
    finished.Close();
  });
  const absl::Time limit = absl::Now() + absl::Seconds(10);
  while (!served && absl::Now() < limit) {
    mutex.Unlock();
    mutex.Lock();
  }
  EXPECT_TRUE(served);
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

TEST(MutexMisuse, UnlockOfAnUnlockedMutexNamesTheGoroutine) {
  EXPECT_FATAL([]() WEFT_NO_THREAD_SAFETY_ANALYSIS { Mutex().Unlock(); },
               "unlock of an unlocked weft::Mutex by goroutine [0-9]+");
  EXPECT_FATAL(
      []() WEFT_NO_THREAD_SAFETY_ANALYSIS {
        Mutex mutex;
        mutex.Lock();
        mutex.Unlock();
        mutex.Unlock();
      },
      "unlock of an unlocked weft::Mutex");
}

TEST(MutexMisuse, AssertHeldOfAnUnlockedMutexIsFatal) {
  EXPECT_FATAL([]() WEFT_NO_THREAD_SAFETY_ANALYSIS { Mutex().AssertHeld(); }, "should be held");
}

}  // namespace
