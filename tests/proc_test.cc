// The scheduler as a program sees it: yielding, parallelism, slices, goroutines bound to threads,
// calls that block, the number of Ps. Ported in meaning from Go's proc tests where these have a
// counterpart.
#include <unistd.h>

#include <atomic>
#include <memory>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "runtime/sanitizer.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::Select;
using weft::TrySelect;
using weft::WaitGroup;

bool ThreadExists(int tid) {
  return access(("/proc/self/task/" + std::to_string(tid)).c_str(), F_OK) == 0;
}

// ---- Yield. ----

// Go's TestYieldProgress: who only yields lets others run, and sees what they do.
WEFT_TEST(Yield, LetsOthersMakeProgress) {
  for (bool locked : {false, true}) {
    Chan<bool> stop;
    Chan<bool> stopped;
    weft::Go([stop, stopped, locked]() mutable {
      if (locked) weft::LockOSThread();
      while (TrySelect(stop.OnReceive(nullptr)) < 0) weft::Yield();
      ASSERT_TRUE(stopped.Send(true));
    });
    weft::Sleep(absl::Milliseconds(5));
    ASSERT_TRUE(stop.Send(true));
    ASSERT_EQ(stopped.Receive(), true);
  }
}

WEFT_TEST(Yield, OfTwoGoroutinesTakesTurns) {
  if (procs() != 1) GTEST_SKIP() << "turns are of one P";
  std::string order;
  WaitGroup group;
  for (char name : {'a', 'b'}) {
    group.Go([&order, name] {
      for (int i = 0; i < 5; i++) {
        order += name;
        weft::Yield();
      }
    });
  }
  group.Wait();
  EXPECT_THAT(order, ::testing::AnyOf("ababababab", "bababababa"));
}

// Go's TestYieldLocked: yields and sleeps while bound, ends bound.
WEFT_TEST(Yield, WorksOnABoundGoroutine) {
  Chan<bool> done;
  weft::Go([done]() mutable {
    weft::LockOSThread();
    for (int i = 0; i < 10; i++) {
      weft::Yield();
      weft::Sleep(absl::Microseconds(200));
    }
    ASSERT_TRUE(done.Send(true));
  });
  ASSERT_EQ(done.Receive(), true);
}

// ---- Parallelism. ----

// Go's TestGoroutineParallelism: as many goroutines as Ps run at once, none of them polls. Started
// in one go, or by two others.
WEFT_TEST(Scheduler, RunsAsManyAtOnceAsThereArePs) {
  constexpr uint32_t kProcs = 3;
  const int before = weft::MaxProcs(kProcs);
  for (int round = 0; round < 10; round++) {
    std::atomic<uint32_t> turn = 0;
    WaitGroup group;
    auto run = [&](uint32_t p) {
      for (uint32_t i = 0; i < 3; i++) {
        while (turn != kProcs * i + p) {
        }
        turn++;
      }
    };
    for (uint32_t p = 0; p < kProcs; p++) {
      if (round % 2 == 0 || p == 0) {
        group.Go([&, p] { run(p); });
      } else {
        group.Go([&, p] { group.Go([&, p] { run(p); }); });
      }
    }
    group.Wait();
  }
  weft::MaxProcs(before);
}

// ---- Time slices. ----

// Go's TestTimerFairness: two goroutines that keep a P busy with each other do not starve a timer.
WEFT_TEST(Scheduler, BusyChannelsDoNotStarveATimer) {
  Chan<bool> busy;
  Chan<bool> done;
  WaitGroup group;
  for (int i = 0; i < 2; i++) {
    group.Go([&] {
      bool value = true;
      while (Select(busy.OnSend(&value), done.OnReceive(nullptr)) == 0) {
      }
    });
  }
  weft::Timer timer(absl::Milliseconds(20));
  while (Select(busy.OnReceive(nullptr), timer.OnFire()) == 0) {
  }
  done.Close();
  group.Wait();
}

// Go's TestTimerFairness2: the same with both ends in one goroutine, and calls that leave the
// scheduler for a moment.
WEFT_TEST(Scheduler, BusyChannelsAndShortCallsDoNotStarveTimers) {
  Chan<bool> busy;
  WaitGroup group;
  for (int i = 0; i < 2; i++) {
    group.Go([&] {
      weft::Timer timer(absl::Milliseconds(20));
      bool value = true;
      for (;;) {
        weft::Blocking([] { return getppid(); });
        if (Select(busy.OnSend(&value), busy.OnReceive(nullptr), timer.OnFire()) == 2) return;
      }
    });
  }
  group.Wait();
}

// Go's TestPingPongHog: a pair of goroutines that hand each other the P shares one time slice, so
// that a pair with long turns does not get a thousand times what a pair with short ones gets. The
// turns are far shorter than a slice and end in a poll, so preemption by polls is enough.
WEFT_TEST(Scheduler, PairsThatWakeEachOtherShareASlice) {
  const int before = weft::MaxProcs(1);
  Chan<bool> done;
  Chan<bool> hog_wake, light_wake;
  volatile int64_t hog_count = 0, light_count = 0;
  WaitGroup group;
  auto run = [&group, done](int limit, volatile int64_t* counter, Chan<bool> wake) {
    group.Go([done, limit, counter, wake]() mutable {
      bool token = true;
      while (Select(done.OnReceive(nullptr), wake.OnReceive(nullptr)) == 1) {
        for (int i = 0; i < limit; i++) *counter = *counter + 1;
        if (Select(done.OnReceive(nullptr), wake.OnSend(&token)) == 0) return;
      }
    });
  };
  for (int i = 0; i < 2; i++) run(100'000, &hog_count, hog_wake);
  for (int i = 0; i < 2; i++) run(100, &light_count, light_wake);
  ASSERT_TRUE(hog_wake.Send(true));
  ASSERT_TRUE(light_wake.Send(true));
  // Slices enough, however late sysmon is to end them.
  const uint64_t ended = weft::Stats().preemptions;
  while (weft::Stats().preemptions < ended + 15) weft::Sleep(absl::Milliseconds(10));
  done.Close();
  group.Wait();
  weft::MaxProcs(before);
  // As Go's test: if slices were not shared the factor would be near 1000.
  EXPECT_LT(hog_count / 20, light_count);
  EXPECT_LT(light_count / 20, hog_count);
}

WEFT_TEST(Scheduler, AGoroutineThatOnlyPollsIsPreempted) {
  const int before = weft::MaxProcs(1);
  std::atomic<bool> stop = false;
  WaitGroup group;
  group.Go([&] {
    // GoroutineId is no poll; Stats is.
    while (!stop) (void)weft::Stats();
  });
  const uint64_t preemptions = weft::Stats().preemptions;
  weft::Yield();
  weft::Sleep(absl::Milliseconds(1));
  stop = true;
  group.Wait();
  EXPECT_GT(weft::Stats().preemptions, preemptions);
  weft::MaxProcs(before);
}

// ---- LockOSThread. ----

WEFT_TEST(LockOSThread, KeepsTheThreadOverParksAndYields) {
  WaitGroup group;
  for (int w = 0; w < 4; w++) {
    group.Go([] {
      weft::LockOSThread();
      const int tid = gettid();
      Chan<int> chan;
      for (int i = 0; i < 100; i++) {
        weft::Yield();
        ASSERT_EQ(gettid(), tid);
        weft::Go([chan]() mutable { ASSERT_TRUE(chan.Send(gettid())); });
        ASSERT_NE(*chan.Receive(), tid) << "nobody else runs on it";
        ASSERT_EQ(gettid(), tid);
        weft::Blocking([&] { ASSERT_EQ(gettid(), tid); });
        if (i % 10 == 0) weft::Sleep(absl::Microseconds(10));
        ASSERT_EQ(gettid(), tid);
      }
      weft::UnlockOSThread();
    });
  }
  group.Wait();
}

// Go's TestBlockLocked.
WEFT_TEST(LockOSThread, ABoundSenderMeetsAFreeReceiver) {
  Chan<int> chan;
  WaitGroup group;
  group.Go([&] {
    weft::LockOSThread();
    for (int i = 0; i < 100; i++) ASSERT_TRUE(chan.Send(i));
    weft::UnlockOSThread();
  });
  for (int i = 0; i < 100; i++) ASSERT_EQ(chan.Receive(), i);
  group.Wait();
}

WEFT_TEST(LockOSThread, Nests) {
  weft::LockOSThread();
  weft::LockOSThread();
  weft::UnlockOSThread();
  const int tid = gettid();
  Chan<int> chan;
  for (int i = 0; i < 20; i++) {
    weft::Go([chan]() mutable { ASSERT_TRUE(chan.Send(gettid())); });
    ASSERT_NE(*chan.Receive(), tid) << "still bound";
    ASSERT_EQ(gettid(), tid);
  }
  weft::UnlockOSThread();
}

WEFT_TEST(LockOSThread, AGoroutineThatEndsBoundEndsItsThread) {
  Chan<int> chan(1);
  for (int i = 0; i < 10; i++) {
    weft::Go([chan]() mutable {
      weft::LockOSThread();
      weft::Yield();
      ASSERT_TRUE(chan.Send(gettid()));
    });
    const int tid = *chan.Receive();
    // The fixture's alarm ends it when that never happens.
    while (ThreadExists(tid)) weft::Yield();
  }
}

WEFT_TEST(LockOSThread, ManyBoundGoroutinesTalkToEachOther) {
  constexpr int kRing = 8;
  std::vector<Chan<int>> chans(kRing);
  WaitGroup group;
  for (size_t i = 0; i < kRing; i++) {
    group.Go([&chans, i] {
      weft::LockOSThread();
      for (;;) {
        const int hops = *chans[i].Receive();
        // The last round tells each to end; the last of it has nobody to tell.
        if (hops > 0) {
          ASSERT_TRUE(chans[(i + 1) % kRing].Send(hops - 1));
        }
        if (hops < kRing) return;
      }
    });
  }
  ASSERT_TRUE(chans[0].Send(500));
  group.Wait();
}

// ---- Blocking. ----

WEFT_TEST(Blocking, GivesThePToOthers) {
  std::binary_semaphore blocked(0);
  std::binary_semaphore go_on(0);
  WaitGroup group;
  group.Go([&] {
    weft::Blocking([&] {
      blocked.release();
      go_on.acquire();
    });
  });
  weft::Blocking([&] { blocked.acquire(); });
  // With one P this is only reached when the other's call has lost it.
  go_on.release();
  group.Wait();
}

WEFT_TEST(Blocking, NestsAndReturnsWhatTheFunctionDoes) {
  std::binary_semaphore go_on(0);
  WaitGroup group;
  group.Go([&] { go_on.release(); });
  EXPECT_EQ(weft::Blocking([&] {
              const int inner = weft::Blocking([&] {
                go_on.acquire();
                return 3;
              });
              return inner + 1;
            }),
            4);
  group.Wait();
  auto owner = weft::Blocking([] { return std::make_unique<int>(5); });
  EXPECT_EQ(*owner, 5);
  EXPECT_THROW(weft::Blocking([] { throw std::runtime_error("inside"); }), std::runtime_error);
  weft::Yield();
}

WEFT_TEST(Blocking, DoesNothingOnAPlainThread) {
  std::thread thread([] { EXPECT_EQ(weft::Blocking([] { return 7; }), 7); });
  weft::Blocking([&] { thread.join(); });
  EXPECT_EQ(weft::Stats().syscall_procs, 0);
}

WEFT_TEST(Blocking, AllowsWhatDoesNotBlock) {
  Chan<int> chan(1);
  Chan<int> meet;
  WaitGroup group;
  group.Go([&] { EXPECT_EQ(meet.Receive(), 2); });
  weft::Blocking([&] {
    ASSERT_TRUE(chan.Send(1));
    while (!meet.TrySend(2)) std::this_thread::yield();
    group.Go([&] { EXPECT_EQ(chan.Receive(), 1); });
    weft::Yield();
  });
  group.Wait();
}

// A goroutine whose only entries into the runtime are short calls:
//   1. it is asked to stop (sysmon, after 10 ms), 2. it enters and leaves Blocking, 3. it takes its
//   P back, since nobody took it during so short a call.
// If neither 2 nor 3 looks at the request, it keeps its P until the kernel happens to take the
// CPU from it inside a call, which takes seconds.
// Disabled: EnterBlocking and ExitBlocking do not poll.
WEFT_TEST(Blocking, OfShortCallsEndsWithTheSlice) {
  const int before = weft::MaxProcs(1);
  std::atomic<bool> stop = false;
  WaitGroup group;
  group.Go([&] {
    while (!stop) weft::Blocking([] { return getppid(); });
  });
  const absl::Time start = absl::Now();
  for (int i = 0; i < 20; i++) weft::Yield();
  // Chosen: ten times what twenty slices take.
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
  stop = true;
  group.Wait();
  weft::MaxProcs(before);
}

WEFT_TEST(Blocking, HundredAtOnceEachHaveAThread) {
  constexpr int kCalls = 100;
  std::atomic<int> inside = 0;
  WaitGroup group;
  for (int i = 0; i < kCalls; i++) {
    group.Go([&] {
      weft::Blocking([&] {
        inside++;
        while (inside < kCalls) std::this_thread::yield();
      });
    });
  }
  group.Wait();
  EXPECT_EQ(inside, kCalls);
}

// ---- MaxProcs. ----

WEFT_TEST(MaxProcs, SaysAndSetsTheNumber) {
  EXPECT_EQ(weft::MaxProcs(0), procs());
  EXPECT_EQ(weft::MaxProcs(-1), procs());
  EXPECT_EQ(weft::MaxProcs(5), procs());
  EXPECT_EQ(weft::MaxProcs(procs()), 5);
  EXPECT_EQ(weft::MaxProcs(1'000'000), procs());
  EXPECT_EQ(weft::MaxProcs(procs()), 1024);
  EXPECT_EQ(weft::Stats().procs, procs());
}

WEFT_TEST(MaxProcs, ChangesFromOneToAHundredWhileGoroutinesRun) {
  Chan<bool> stop;
  std::atomic<bool> stopping = false;
  WaitGroup group;
  Chan<int> ring[3];
  for (size_t i = 0; i < 3; i++) {
    group.Go([&, i] {
      for (int value : ring[i]) {
        if (Select(ring[(i + 1) % 3].OnSend(&value), stop.OnReceive(nullptr)) == 1) break;
      }
    });
  }
  for (int i = 0; i < 3; i++) {
    group.Go([&] {
      while (!stopping) weft::Sleep(absl::Microseconds(50));
    });
    group.Go([&] {
      while (!stopping) {
        weft::Blocking([] { std::this_thread::yield(); });
        weft::Yield();
      }
    });
    group.Go([&] {
      while (!stopping) {
        WaitGroup children;
        for (int c = 0; c < 20; c++) children.Go([] { weft::Yield(); });
        children.Wait();
      }
    });
  }
  std::thread thread([&] {
    Chan<bool> ran;
    while (!stopping) {
      weft::Go([ran]() mutable { ASSERT_TRUE(ran.Send(true)); });
      ASSERT_EQ(ran.Receive(), true);
    }
  });
  ASSERT_TRUE(ring[0].Send(1));
  for (int n = 1; n <= 100; n++) {
    weft::MaxProcs(n);
    ASSERT_EQ(weft::Stats().procs, n);
    if (n % 7 == 0) weft::MaxProcs(1);
  }
  weft::MaxProcs(procs());
  stopping = true;
  weft::Blocking([&] { thread.join(); });
  stop.Close();
  for (Chan<int>& chan : ring) chan.Close();
  group.Wait();
}

// Go's TestStopTheWorldDeadlock: several who stop the world, while goroutines are made all the
// time.
WEFT_TEST(MaxProcs, SeveralCallersWaitForEachOther) {
  std::atomic<bool> stop = false;
  WaitGroup spawners;
  struct Perpetual {
    std::atomic<bool>* stop;
    WaitGroup* group;
    void operator()() const {
      if (!*stop) group->Go(*this);
    }
  };
  spawners.Go(Perpetual{&stop, &spawners});
  WaitGroup callers;
  for (int w = 0; w < 3; w++) {
    callers.Go([w] {
      for (int i = 0; i < 100; i++) weft::MaxProcs(2 + (w + i) % 3);
    });
  }
  callers.Wait();
  stop = true;
  spawners.Wait();
  weft::MaxProcs(procs());
}

}  // namespace
