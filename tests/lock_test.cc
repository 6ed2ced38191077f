// The core's own lock: mutual exclusion, with the membarrier and without, and the order of ranks.
#include "runtime/lock.h"

#include <atomic>
#include <thread>
#include <vector>

#include "runtime/os/futex.h"
#include "tests/emulated.h"
#include "tests/fixture.h"

namespace {

using weft::runtime::Lock;
using weft::runtime::LockGuard;
using weft::runtime::LockRank;

// Where the kernel refuses membarrier, both sides use a full fence. Set while no lock is in use.
class MembarrierRefused {
 public:
  explicit MembarrierRefused(bool refused) : before_(weft::os::membarrier_refused) {
    if (refused) weft::os::membarrier_refused = true;
  }
  ~MembarrierRefused() { weft::os::membarrier_refused = before_; }

 private:
  bool before_;
};

class LockTest : public ::testing::TestWithParam<bool> {
 protected:
  MembarrierRefused refused_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Membarrier, LockTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Refused" : "Used"; });

// More threads than CPUs, so that holders lose theirs and waiters sleep. The counter is plain: TSan
// sees whether the lock orders its uses.
TEST_P(LockTest, ExcludesManyThreads) {
  constexpr int kThreads = 16;
  const int each = weft::testing::Rounds(20'000);
  Lock lock(LockRank::kSched);
  int64_t counter = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < each; i++) {
        LockGuard guard(lock);
        const int64_t seen = counter;
        // Now and then the holder gives its CPU away.
        if (i % 64 == t) std::this_thread::yield();
        counter = seen + 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, int64_t{kThreads} * each);
}

// A sleeper is always woken: two threads take turns by the lock alone, one of them asleep most of
// the time.
TEST_P(LockTest, LosesNoWakeup) {
  const int rounds = weft::testing::Rounds(5000);
  Lock lock(LockRank::kSched);
  std::atomic<int> wanted = 0, got = 0;
  std::thread waiter([&] {
    for (int i = 1; i <= rounds; i++) {
      while (wanted < i) std::this_thread::yield();
      LockGuard guard(lock);
      got = i;
    }
  });
  for (int i = 1; i <= rounds; i++) {
    lock.Acquire();
    wanted = i;
    for (int k = i % 40; k > 0; k--) std::this_thread::yield();  // it spins, or sleeps
    EXPECT_LT(got, i);
    lock.Release();
    while (got < i) std::this_thread::yield();
  }
  waiter.join();
}

TEST_P(LockTest, TryAcquireDoesNotWait) {
  Lock lock(LockRank::kSched);
  ASSERT_TRUE(lock.TryAcquire());
  std::thread([&] { EXPECT_FALSE(lock.TryAcquire()); }).join();
  lock.AssertHeld();
  lock.Release();
  ASSERT_TRUE(lock.TryAcquire());
  lock.Release();
}

TEST(LockRank, RanksHaveNames) {
  EXPECT_STREQ(weft::runtime::LockRankName(LockRank::kSched), "kSched");
}

TEST(LockDeath, AssertHeldOfAFreeLockIsFatal) {
  EXPECT_FATAL([] { Lock(LockRank::kTimers).AssertHeld(); }, "lock kTimers is not held");
}

#ifdef WEFT_LOCK_CHECKS
TEST(LockDeath, AnEarlierRankUnderALaterOneIsFatal) {
  EXPECT_FATAL(
      [] {
        Lock sched(LockRank::kSched), chan(LockRank::kChan);
        LockGuard first(sched);
        LockGuard second(chan);
      },
      "lock order: kChan taken while kSched is held");
}

TEST(LockDeath, TwoOfOneRankAreFatalUnlessAllowed) {
  EXPECT_FATAL(
      [] {
        Lock a(LockRank::kSched), b(LockRank::kSched);
        LockGuard first(a);
        LockGuard second(b);
      },
      "lock order: kSched taken while kSched is held");
  Lock a(LockRank::kTimers), b(LockRank::kTimers);
  LockGuard first(a);
  LockGuard second(b);
}

TEST(LockDeath, AssertHeldKnowsWhoHoldsIt) {
  EXPECT_FATAL(
      [] {
        static Lock lock(LockRank::kTimers);
        lock.Acquire();
        std::thread([] { lock.AssertHeld(); }).join();
      },
      "lock kTimers is held by another thread");
}

TEST(LockDeath, AReleaseByAnotherThreadIsFatal) {
  EXPECT_FATAL(
      [] {
        static Lock lock(LockRank::kTimers);
        lock.Acquire();
        std::thread([] { lock.Release(); }).join();
      },
      "released by a thread that does not hold it");
}
#endif

}  // namespace
