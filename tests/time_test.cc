// Sleeping, timers and tickers. Ported in meaning from Go's time tests where these have a
// counterpart.
#include "absl/time/time.h"

#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "runtime/os/clock.h"
#include "runtime/sanitizer.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::Context;
using weft::FuncTimer;
using weft::Mutex;
using weft::MutexLock;
using weft::Ticker;
using weft::Timer;
using weft::WaitGroup;

constexpr absl::Duration kLong = absl::Hours(1);

#ifdef WEFT_TSAN
constexpr bool kForeignThread = true;
#else
constexpr bool kForeignThread = false;
#endif

// ---- Sleep ----

WEFT_TEST(Sleep, LastsAtLeastAsLongAsAsked) {
  for (absl::Duration d : {absl::Nanoseconds(1), absl::Microseconds(50), absl::Milliseconds(20)}) {
    const absl::Time start = absl::Now();
    weft::Sleep(d);
    EXPECT_GE(absl::Now() - start, d);
  }
}

WEFT_TEST(Sleep, ZeroAndNegativeReturnAtOnce) {
  for (int i = 0; i < 100; i++) {
    weft::Sleep(absl::ZeroDuration());
    weft::Sleep(-absl::InfiniteDuration());
    weft::SleepUntil(absl::InfinitePast());
    Chan<bool> chan(1);
    ASSERT_TRUE(chan.Send(true));
    ASSERT_TRUE(chan.Receive().has_value());
  }
}

WEFT_TEST(Sleep, OfOtherGoroutinesGoesOnMeanwhile) {
  const absl::Time start = absl::Now();
  WaitGroup group;
  for (int i = 0; i < 1000; i++) group.Go([] { weft::Sleep(absl::Milliseconds(20)); });
  group.Wait();
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

WEFT_TEST(Sleep, EndsWithItsContext) {
  weft::CancelContext ctx = Context::WithCancel(Context::Background());
  WaitGroup group;
  group.Go([&] { EXPECT_TRUE(absl::IsCancelled(weft::Sleep(absl::InfiniteDuration(), ctx))); });
  group.Go([&] { EXPECT_TRUE(absl::IsCancelled(weft::Sleep(kLong, ctx))); });
  weft::Yield();
  ctx.Cancel();
  group.Wait();
  EXPECT_TRUE(absl::IsCancelled(weft::Sleep(kLong, ctx)));
  EXPECT_TRUE(weft::Sleep(absl::Microseconds(10), Context::Background()).ok());
}

WEFT_TEST(Sleep, BlocksAPlainThreadOnly) {
  std::thread thread([] {
    const absl::Time start = absl::Now();
    weft::Sleep(absl::Milliseconds(5));
    EXPECT_GE(absl::Now() - start, absl::Milliseconds(5));
    EXPECT_TRUE(weft::Sleep(absl::Milliseconds(5), Context::Background()).ok());
    EXPECT_GE(absl::Now() - start, absl::Milliseconds(10));
  });
  weft::Blocking([&] { thread.join(); });
}

// ---- Timer ----

WEFT_TEST(Timer, FiresOnceWhenItsTimeHasPassed) {
  if (weft::testing::IsEmulated()) GTEST_SKIP() << "10 ms pass before it has looked";
  const absl::Time start = absl::Now();
  Timer timer(absl::Milliseconds(10));
  EXPECT_EQ(timer.TryWait(), std::nullopt);
  const absl::Time fired = timer.Wait();
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(10));
  EXPECT_GE(fired - start, absl::Milliseconds(9)) << "the wall clock may have been stepped";
  EXPECT_EQ(timer.TryWait(), std::nullopt);
  EXPECT_FALSE(timer.Stop()) << "it was received";
}

WEFT_TEST(Timer, ZeroAndNegativeFireAtOnce) {
  for (int i = 0; i < 2000; i++) {
    Timer timer(i % 2 == 0 ? absl::ZeroDuration() : -absl::InfiniteDuration());
    timer.Wait();
  }
}

WEFT_TEST(Timer, InfiniteNeverFiresAndLeavesNothingToWakeFor) {
  Timer timer(absl::InfiniteDuration());
  Timer large(absl::Hours(24) * 366 * 1000);
  EXPECT_EQ(weft::Stats().timers, 0);
  EXPECT_EQ(weft::Select(timer.OnFire(), large.OnFire(), weft::After(absl::Milliseconds(1))), 2);
  EXPECT_TRUE(timer.Stop());
  EXPECT_FALSE(timer.Stop());
  EXPECT_TRUE(large.Reset(absl::ZeroDuration()));
  large.Wait();
}

WEFT_TEST(Timer, StopSaysWhetherItPreventedTheFiring) {
  Timer timer(kLong);
  EXPECT_TRUE(timer.Stop());
  EXPECT_FALSE(timer.Stop());
  EXPECT_EQ(weft::Stats().timers, 0);
  Timer fired(absl::ZeroDuration());
  // It has fired once another one, set later, was received.
  Timer(absl::Milliseconds(2)).Wait();
  EXPECT_TRUE(fired.Stop()) << "it had fired, but nobody had received that";
  EXPECT_EQ(fired.TryWait(), std::nullopt);
}

WEFT_TEST(Timer, StoppedTimersDoNotFireLater) {
  Timer early(absl::Milliseconds(2));
  Timer late(absl::Milliseconds(4));
  EXPECT_TRUE(early.Stop());
  EXPECT_TRUE(late.Stop());
  Timer(absl::Milliseconds(8)).Wait();
  EXPECT_EQ(early.TryWait(), std::nullopt);
  EXPECT_EQ(late.TryWait(), std::nullopt);
}

WEFT_TEST(Timer, ResetMovesIt) {
  const absl::Time start = absl::Now();
  Timer timer(kLong);
  EXPECT_TRUE(timer.Reset(absl::Milliseconds(10)));
  timer.Wait();
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(10));
  EXPECT_FALSE(timer.Reset(kLong)) << "it had fired and was received";
  EXPECT_TRUE(timer.Reset(-kLong));
  timer.Wait();
}

// Go's TestTimerModifiedEarlier.
WEFT_TEST(Timer, MovedEarlierManyTimesFiresAtOnce) {
  for (int i = 0; i < 200; i++) {
    Timer timer(kLong);
    for (int j = 0; j < 10; j++) {
      timer.Stop();
      timer.Reset(-kLong);
    }
    Timer limit(absl::Seconds(10));
    ASSERT_EQ(weft::Select(timer.OnFire(), limit.OnFire()), 0);
  }
}

// Go's TestAdjustTimers: a hundred timers in different states of the same life.
WEFT_TEST(Timer, ManyChangeInTheSameHeap) {
  struct Life {
    std::optional<Timer> timer;
    int state = 0;
  };
  std::vector<Life> lives(100);
  uint64_t random = 1;
  while (!lives.empty()) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const size_t i = (random >> 33) % lives.size();
    Life& life = lives[i];
    switch (life.state++) {
      case 0:
        life.timer.emplace(absl::ZeroDuration());
        break;
      case 1:
        life.timer->Wait();
        break;
      case 2:
        ASSERT_FALSE(life.timer->Reset(absl::Minutes(1)));
        break;
      case 4:
        ASSERT_FALSE(life.timer->Reset(absl::Minutes(3)));
        break;
      case 6:
        ASSERT_FALSE(life.timer->Reset(absl::Minutes(2)));
        break;
      case 3:
      case 5:
      case 7:
        ASSERT_TRUE(life.timer->Stop());
        break;
      case 8:
        ASSERT_FALSE(life.timer->Reset(absl::ZeroDuration()));
        break;
      case 9:
        life.timer->Wait();
        break;
      default:
        std::swap(life, lives.back());
        lives.pop_back();
    }
  }
}

// By the clock that tells when a timer fired: absl's may be microseconds off.
absl::Time WallNow() {
  return absl::FromUnixNanos(weft::os::UnixNanos());
}

// Go's testAfterQueuing. When they fired counts, not when their receivers ran.
WEFT_TEST(Timer, FireInTheOrderOfTheirTimes) {
  struct Slot {
    Timer timer;
    absl::Time earliest, latest;  // it is due between them: setting it takes its time
    absl::Time fired;
  };
  std::vector<Slot> slots;
  for (int n : {5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0}) {
    const absl::Duration wait = n * absl::Milliseconds(4);
    const absl::Time before = WallNow();
    Timer timer(wait);
    slots.push_back({std::move(timer), before + wait, WallNow() + wait, {}});
  }
  for (Slot& slot : slots) slot.fired = slot.timer.Wait();
  for (const Slot& slot : slots) EXPECT_GE(slot.fired, slot.earliest);
  if (procs() > 1) return;  // two Ms may fire two timers at once
  for (const Slot& a : slots) {
    for (const Slot& b : slots) {
      EXPECT_TRUE(a.latest >= b.earliest || a.fired <= b.fired);
    }
  }
}

// The timer fires while it is stopped: afterwards there must be nothing to receive.
WEFT_TEST(Timer, NothingStaleIsReceivedAfterStop) {
  int prevented = 0;
  for (int i = 0; i < 3000; i++) {
    Timer timer(absl::Nanoseconds(i % 50 * 100));
    if (i % 3 == 0) weft::Yield();
    if (timer.Stop()) {
      prevented++;
      ASSERT_EQ(timer.TryWait(), std::nullopt);
      weft::Yield();
    }
    ASSERT_EQ(timer.TryWait(), std::nullopt);
  }
  EXPECT_GT(prevented, 0);
}

WEFT_TEST(Timer, NothingStaleIsReceivedAfterReset) {
  for (int i = 0; i < 20'000; i++) {
    Timer timer(absl::Nanoseconds(i % 50 * 20));
    if (i % 3 == 0) weft::Yield();
    timer.Reset(kLong);
    ASSERT_EQ(timer.TryWait(), std::nullopt);
    weft::Yield();
    ASSERT_EQ(timer.TryWait(), std::nullopt);
    ASSERT_TRUE(timer.Stop());
  }
}

// Every firing is received, or its Stop or Reset has said that it was prevented; never both.
WEFT_TEST(Timer, EachFiringIsReceivedOrPrevented) {
  constexpr int kRounds = 2000;
  Timer timer(absl::InfiniteDuration());
  EXPECT_TRUE(timer.Stop());
  Chan<bool> stop;
  int received = 0;
  WaitGroup group;
  group.Go([&] {
    while (weft::Select(timer.OnFire(), stop.OnReceive(nullptr)) == 0) received++;
  });
  int armed = 0;
  int prevented = 0;
  for (int i = 0; i < kRounds; i++) {
    if (timer.Reset(absl::Nanoseconds(i % 40 * 100))) prevented++;
    armed++;
    if (i % 4 == 0) weft::Yield();
    if (i % 5 == 0 && timer.Stop()) prevented++;
  }
  if (timer.Stop()) prevented++;
  stop.Close();
  group.Wait();
  EXPECT_EQ(received + prevented, armed);
}

WEFT_TEST(Timer, MayBeStoppedAndResetFromManyGoroutines) {
  Timer timer(absl::Microseconds(1));
  WaitGroup group;
  for (int g = 0; g < 4; g++) {
    group.Go([&, g] {
      for (int i = 0; i < 500; i++) {
        switch ((i + g) % 4) {
          case 0:
            timer.Reset(absl::Microseconds(i % 7));
            break;
          case 1:
            timer.Stop();
            break;
          case 2:
            static_cast<void>(timer.TryWait());
            break;
          default:
            timer.Reset(absl::ZeroDuration());
        }
      }
    });
  }
  group.Wait();
  timer.Stop();
  EXPECT_EQ(timer.TryWait(), std::nullopt);
}

WEFT_TEST(Timer, MayEndWhileItFires) {
  for (int i = 0; i < 3000; i++) {
    Timer timer(absl::Nanoseconds(i % 60 * 100));
    if (i % 4 == 0) weft::Yield();
  }
  EXPECT_EQ(weft::Stats().timers, 0);
}

WEFT_TEST(Timer, MoveKeepsItArmed) {
  std::vector<Timer> timers;
  timers.emplace_back(absl::Milliseconds(1));
  Timer moved = std::move(timers.back());
  timers.clear();
  moved.Wait();
}

WEFT_TEST(Timer, WaitEndsWithItsContext) {
  weft::CancelContext ctx = Context::WithCancel(Context::Background());
  Timer timer(kLong);
  weft::Go([&, ctx]() mutable { ctx.Cancel(); });
  EXPECT_TRUE(absl::IsCancelled(timer.Wait(ctx).status()));
  timer.Reset(absl::ZeroDuration());
  EXPECT_TRUE(timer.Wait(Context::Background()).ok());
}

WEFT_TEST(Timer, WorksOnPlainThreads) {
  std::thread thread([] {
    Timer timer(absl::Milliseconds(1));
    timer.Wait();
    timer.Reset(kLong);
    EXPECT_TRUE(timer.Stop());
  });
  weft::Blocking([&] { thread.join(); });
}

// ---- AfterFunc ----

// Go's TestAfterFunc: each starts the next.
WEFT_TEST(AfterFunc, MayStartTheNext) {
  struct Chain {
    int left = 10;
    Chan<bool> done;
    void Next() {
      if (left-- == 0) {
        Chan<bool>(done).Close();  // by a handle of its own: the chain may end
        return;
      }
      weft::AfterFunc(absl::ZeroDuration(), [this] { Next(); });
    }
  } chain;
  chain.Next();
  EXPECT_EQ(chain.done.Receive(), std::nullopt);
}

WEFT_TEST(AfterFunc, RunsOnAGoroutineThatMayBlock) {
  Chan<uint64_t> ran;
  Chan<bool> go_on;
  FuncTimer timer = weft::AfterFunc(absl::Microseconds(10), [ran, go_on]() mutable {
    weft::Select(go_on.OnReceive(nullptr));
    ASSERT_TRUE(ran.Send(weft::GoroutineId()));
  });
  go_on.Close();
  EXPECT_NE(ran.Receive(), weft::GoroutineId());
  EXPECT_FALSE(timer.Stop());
}

WEFT_TEST(AfterFunc, DoesNotRunWhenStoppedInTime) {
  auto token = std::make_shared<int>(0);
  FuncTimer timer = weft::AfterFunc(kLong, [token] { FAIL() << "it was stopped"; });
  FuncTimer never = weft::AfterFunc(absl::InfiniteDuration(), [token] { FAIL(); });
  EXPECT_TRUE(timer.Stop());
  EXPECT_FALSE(timer.Stop());
  EXPECT_TRUE(never.Stop());
  EXPECT_FALSE(never.Stop());
  {
    FuncTimer dropped = weft::AfterFunc(absl::InfiniteDuration(), [token] { FAIL(); });
  }
  EXPECT_EQ(weft::Stats().timers, 0);
}

// Stop's answer and what happened must agree.
WEFT_TEST(AfterFunc, StopAndFiringAgree) {
  constexpr int kTimers = 1000;
  Mutex mutex;
  int ran = 0;
  int stopped = 0;
  WaitGroup group;
  for (int i = 0; i < kTimers; i++) {
    group.Add(1);
    FuncTimer timer = weft::AfterFunc(absl::Nanoseconds(i % 50 * 200), [&] {
      {
        MutexLock lock(mutex);
        ran++;
      }
      group.Done();
    });
    if (i % 3 == 0) weft::Yield();
    if (i % 2 == 0 && timer.Stop()) {
      stopped++;
      group.Done();
    }
  }
  group.Wait();
  EXPECT_EQ(ran + stopped, kTimers);
}

WEFT_TEST(AfterFunc, TakesAMoveOnlyFunction) {
  Chan<int> out(1);
  weft::AfterFunc(absl::ZeroDuration(), [value = std::make_unique<int>(4), out]() mutable {
    ASSERT_TRUE(out.Send(*value));
  });
  EXPECT_EQ(out.Receive(), 4);
}

// ---- Ticker ----

WEFT_TEST(Ticker, TicksOnceAPeriod) {
  const absl::Time start = absl::Now();
  Ticker ticker(absl::Milliseconds(5));
  for (int i = 0; i < 4; i++) ticker.Wait();
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
  ticker.Reset(absl::Milliseconds(10));
  for (int i = 0; i < 2; i++) ticker.Wait();
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(40));
  ticker.Stop();
  EXPECT_EQ(weft::Select(ticker.OnTick(), weft::After(absl::Milliseconds(25))), 1);
  EXPECT_EQ(weft::Stats().timers, 0);
}

WEFT_TEST(Ticker, DropsTicksForASlowReceiver) {
  Ticker ticker(absl::Milliseconds(1));
  weft::Sleep(absl::Milliseconds(20));
  ASSERT_TRUE(ticker.TryWait().has_value());
  ticker.Stop();
  EXPECT_EQ(ticker.TryWait(), std::nullopt) << "twenty ticks were due, one is kept";
}

// Go's TestAfterStress: a goroutine that is always busy with sleeps must not keep ticks away.
WEFT_TEST(Ticker, TicksUnderStress) {
  Chan<bool> stop;
  WaitGroup group;
  group.Go([&] {
    while (weft::TrySelect(stop.OnReceive(nullptr)) == -1) weft::Sleep(absl::Nanoseconds(1));
  });
  Ticker ticker(absl::Nanoseconds(1));
  for (int i = 0; i < 100; i++) ticker.Wait();
  ticker.Stop();
  stop.Close();
  group.Wait();
}

WEFT_TEST(Ticker, NothingStaleIsReceivedAfterStopOrReset) {
  Ticker ticker(absl::Nanoseconds(200));
  for (int i = 0; i < 1000; i++) {
    if (i % 3 == 0) weft::Yield();
    if (i % 2 == 0) {
      ticker.Stop();
    } else {
      ticker.Reset(kLong);
    }
    ASSERT_EQ(ticker.TryWait(), std::nullopt);
    weft::Yield();
    ASSERT_EQ(ticker.TryWait(), std::nullopt);
    ticker.Reset(absl::Nanoseconds(200));
  }
}

TEST(TickerMisuse, APeriodThatIsNotPositiveIsFatal) {
  EXPECT_FATAL([] { Ticker ticker(absl::ZeroDuration()); }, "period must be positive, not 0 ns");
  EXPECT_FATAL(
      [] {
        Ticker ticker(absl::Seconds(1));
        ticker.Reset(-absl::Seconds(1));
      },
      "period must be positive, not -1000000000 ns");
}

TEST(Deadlock, AnInfiniteSleepIsOne) {
  if (kForeignThread) GTEST_SKIP() << "TSan's own thread could wake a goroutine, for all we know";
  EXPECT_FATAL([] { weft::Sleep(absl::InfiniteDuration()); }, "all goroutines are asleep");
}

}  // namespace
