// Channels: sending, receiving, closing, order. Ported in meaning from Go's channel tests where
// these have a counterpart; select is in select_test.cc, what becomes of the values in
// chan_value_test.cc.
#include "weft/chan.h"

#include <array>
#include <atomic>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/g.h"
#include "tests/fixture.h"
#include "weft/go.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::Goroutine;
using weft::WaitGroup;
using weft::WaitReason;

constexpr size_t kCapacities[] = {0, 1, 2, 3, 7, 20, 64};

// Starts `fn`, to be waited for by `group`, and returns once it is parked for `reason`.
template <class F>
void GoAndAwaitParked(WaitGroup& group, WaitReason reason, F fn) {
  std::atomic<Goroutine*> self{nullptr};
  group.Go([&self, fn]() mutable {
    self = weft::Current();
    fn();
  });
  while (self == nullptr) weft::Yield();
  const Goroutine* g = self;
  while (weft::runtime::ReadGStatus(g) != weft::runtime::Gwaiting || g->wait_reason != reason) {
    weft::Yield();
  }
}

void Fill(Chan<int>& chan) {
  for (size_t i = 0; i < chan.capacity(); i++) ASSERT_TRUE(chan.TrySend(static_cast<int>(i)));
}

WEFT_TEST(Chan, ReceiveFromEmptyBlocksUntilASend) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    std::atomic<int> received = 0;
    WaitGroup group;
    for (int i = 0; i < 2; i++) {
      GoAndAwaitParked(group, WaitReason::kChanReceive, [&] { received += *chan.Receive(); });
    }
    ASSERT_EQ(received, 0);
    ASSERT_TRUE(chan.Send(1));
    ASSERT_TRUE(chan.Send(10));
    group.Wait();
    EXPECT_EQ(received, 11);
  }
}

WEFT_TEST(Chan, SendToFullBlocksUntilAReceive) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    Fill(chan);
    WaitGroup group;
    GoAndAwaitParked(group, WaitReason::kChanSend, [&] { ASSERT_TRUE(chan.Send(77)); });
    EXPECT_EQ(chan.size(), capacity);
    for (size_t i = 0; i < capacity; i++) ASSERT_EQ(chan.Receive(), static_cast<int>(i));
    ASSERT_EQ(chan.Receive(), 77) << "a parked sender's value comes behind the buffered ones";
    group.Wait();
  }
}

WEFT_TEST(Chan, TryOperationsDoNotBlock) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    EXPECT_EQ(chan.TryReceive(), std::nullopt);
    Fill(chan);
    EXPECT_FALSE(chan.TrySend(0));
    for (size_t i = 0; i < capacity; i++) ASSERT_EQ(chan.TryReceive(), static_cast<int>(i));
    EXPECT_EQ(chan.TryReceive(), std::nullopt);
  }
}

WEFT_TEST(Chan, TryOperationsMeetWhoIsParked) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    WaitGroup group;
    GoAndAwaitParked(group, WaitReason::kChanReceive, [&] { EXPECT_EQ(chan.Receive(), 5); });
    ASSERT_TRUE(chan.TrySend(5)) << "to the parked receiver, past the buffer";
    EXPECT_EQ(chan.size(), 0u);
    group.Wait();
    Fill(chan);
    GoAndAwaitParked(group, WaitReason::kChanSend, [&] { ASSERT_TRUE(chan.Send(6)); });
    for (size_t i = 0; i < capacity; i++) ASSERT_EQ(chan.TryReceive(), static_cast<int>(i));
    ASSERT_EQ(chan.TryReceive(), 6);
    group.Wait();
  }
}

WEFT_TEST(Chan, ClosedGivesWhatIsBufferedThenNothing) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    Fill(chan);
    EXPECT_FALSE(chan.IsClosed());
    EXPECT_TRUE(chan.Close());
    EXPECT_TRUE(chan.IsClosed());
    EXPECT_FALSE(chan.Close()) << "the second time";
    EXPECT_FALSE(chan.Send(0));
    EXPECT_FALSE(chan.TrySend(0));
    for (size_t i = 0; i < capacity; i++) ASSERT_EQ(chan.Receive(), static_cast<int>(i));
    EXPECT_EQ(chan.Receive(), std::nullopt);
    EXPECT_EQ(chan.TryReceive(), std::nullopt);
    EXPECT_FALSE(chan.Send(0)) << "closed and drained";
  }
}

WEFT_TEST(Chan, CloseWakesEveryReceiver) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    WaitGroup group;
    for (int i = 0; i < 5; i++) {
      GoAndAwaitParked(group, WaitReason::kChanReceive,
                       [&] { EXPECT_EQ(chan.Receive(), std::nullopt); });
    }
    chan.Close();
    group.Wait();
  }
}

WEFT_TEST(Chan, CloseWakesEverySenderWhoseValueIsLost) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    Fill(chan);
    WaitGroup group;
    for (int i = 0; i < 5; i++) {
      GoAndAwaitParked(group, WaitReason::kChanSend, [&] { EXPECT_FALSE(chan.Send(99)); });
    }
    chan.Close();
    group.Wait();
    int received = 0;
    for (int value : chan) ASSERT_EQ(value, received++);
    EXPECT_EQ(received, static_cast<int>(capacity));
  }
}

WEFT_TEST(Chan, WaitersAreServedInTheOrderOfTheirComing) {
  Chan<int> chan;
  std::array<int, 10> got = {};
  WaitGroup group;
  for (int& slot : got) {
    GoAndAwaitParked(group, WaitReason::kChanReceive, [&] { slot = *chan.Receive(); });
  }
  for (int i = 0; i < 10; i++) ASSERT_TRUE(chan.TrySend(i));
  group.Wait();
  EXPECT_THAT(got, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  for (int i = 0; i < 10; i++) {
    GoAndAwaitParked(group, WaitReason::kChanSend, [&chan, i] { ASSERT_TRUE(chan.Send(i)); });
  }
  for (int i = 0; i < 10; i++) ASSERT_EQ(chan.TryReceive(), i);
  group.Wait();
}

WEFT_TEST(Chan, ValuesArriveInOrder) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    WaitGroup group;
    group.Go([&] {
      for (int i = 0; i < 500; i++) ASSERT_TRUE(chan.Send(i));
    });
    for (int i = 0; i < 500; i++) ASSERT_EQ(chan.Receive(), i);
    group.Wait();
  }
}

WEFT_TEST(Chan, FourSendersAndReceiversLoseAndDoubleNothing) {
  constexpr int kEach = 1000;
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    std::array<std::atomic<int>, kEach> seen = {};
    WaitGroup group;
    for (int p = 0; p < 4; p++) {
      group.Go([&] {
        for (int i = 0; i < kEach; i++) ASSERT_TRUE(chan.Send(i));
      });
      group.Go([&] {
        for (int i = 0; i < kEach; i++) seen[static_cast<size_t>(*chan.Receive())]++;
      });
    }
    group.Wait();
    for (const std::atomic<int>& times : seen) ASSERT_EQ(times, 4);
  }
}

WEFT_TEST(Chan, SizeAndCapacityAreAsFilled) {
  for (size_t capacity : kCapacities) {
    Chan<int> chan(capacity);
    EXPECT_EQ(chan.size(), 0u);
    EXPECT_EQ(chan.capacity(), capacity);
    Fill(chan);
    EXPECT_EQ(chan.size(), capacity);
    if (capacity == 0) continue;
    ASSERT_TRUE(chan.Receive().has_value());
    EXPECT_EQ(chan.size(), capacity - 1);
    ASSERT_TRUE(chan.TrySend(1)) << "around the buffer's end";
    EXPECT_EQ(chan.size(), capacity);
  }
}

WEFT_TEST(Chan, CopiesNameTheSameChannel) {
  Chan<int> a(2);
  Chan<int> b = a;
  EXPECT_TRUE(a == b);
  EXPECT_FALSE(a == Chan<int>(2));
  ASSERT_TRUE(a.Send(1));
  ASSERT_TRUE(b.Send(2));
  Chan<int> c = std::move(a);
  EXPECT_TRUE(c == b);
  a = Chan<int>(nullptr);
  b = c;
  EXPECT_EQ(c.Receive(), 1);
  c = Chan<int>(5);
  EXPECT_EQ(c.size(), 0u);
  EXPECT_EQ(b.Receive(), 2);
}

// Go's TestNonblockRecvRace: a value and a close at once are never seen as neither.
WEFT_TEST(Chan, TryReceiveRacingWithACloseFindsTheValueOrTheEnd) {
  constexpr int kRounds = 10'000;
  WaitGroup group;
  for (int i = 0; i < kRounds; i++) {
    Chan<int> chan(1);
    ASSERT_TRUE(chan.Send(1));
    group.Go([chan]() mutable {
      const bool received = chan.TryReceive().has_value();
      EXPECT_TRUE(received || chan.IsClosed());
    });
    chan.Close();
    (void)chan.Receive();
  }
  group.Wait();
}

WEFT_TEST(Chan, RangeEndsWhenClosedAndDrained) {
  Chan<int> chan(3);
  WaitGroup group;
  group.Go([&] {
    for (int i = 0; i < 1000; i++) ASSERT_TRUE(chan.Send(i));
    chan.Close();
  });
  int next = 0;
  for (int& value : chan) ASSERT_EQ(value, next++);
  EXPECT_EQ(next, 1000);
  group.Wait();
}

// Go's TestMultiConsumer.
WEFT_TEST(Chan, ManyConsumersHandleEachItemOnce) {
  constexpr int kWorkers = 23;
  constexpr int kItems = 100'000;
  constexpr int kPrimes[] = {2, 3, 7, 11, 13, 17, 19, 23, 27, 31};
  constexpr int kPrimeCount = static_cast<int>(std::size(kPrimes));
  Chan<int> work(kWorkers * 3);
  Chan<int> results(kWorkers * 3);
  WaitGroup workers;
  for (int w = 0; w < kWorkers; w++) {
    workers.Go([&, w] {
      for (int value : work) {
        if (kPrimes[w % kPrimeCount] == value) weft::Yield();  // out of step with the others
        ASSERT_TRUE(results.Send(value));
      }
    });
  }
  int64_t expected = 0;
  WaitGroup feeder;
  feeder.Go([&] {
    for (int i = 0; i < kItems; i++) {
      expected += kPrimes[i % kPrimeCount];
      ASSERT_TRUE(work.Send(kPrimes[i % kPrimeCount]));
    }
    work.Close();
    workers.Wait();
    results.Close();
  });
  int64_t sum = 0;
  int count = 0;
  for (int value : results) {
    sum += value;
    count++;
  }
  feeder.Wait();
  EXPECT_EQ(count, kItems);
  EXPECT_EQ(sum, expected);
}

WEFT_TEST(Chan, OfNothingNeverGoesOn) {
  Chan<int> none(nullptr);
  EXPECT_EQ(none.TryReceive(), std::nullopt);
  EXPECT_FALSE(none.TrySend(1));
  EXPECT_FALSE(none.IsClosed());
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.capacity(), 0u);
  Chan<int> copy = none;
  EXPECT_TRUE(copy == none);
}

TEST(ChanDeath, BlockingOnNothingIsADeadlock) {
  EXPECT_FATAL([] { (void)Chan<int>(nullptr).Receive(); }, "asleep - deadlock");
  EXPECT_FATAL([] { (void)Chan<int>(nullptr).Send(1); }, "asleep - deadlock");
}

TEST(ChanDeath, CloseOfNothingIsFatal) {
  EXPECT_FATAL([] { Chan<int>(nullptr).Close(); }, "close of a null channel");
}

// ---- Plain threads. ----

WEFT_TEST(ChanThreads, SendAndReceiveWithGoroutinesAndEachOther) {
  constexpr int kEach = 2000;
  for (size_t capacity : {0, 3}) {
    Chan<int> chan(capacity);
    std::atomic<int64_t> sum = 0;
    std::atomic<int> received = 0;
    WaitGroup senders;
    WaitGroup receivers;
    auto send = [&] {
      for (int i = 0; i < kEach; i++) ASSERT_TRUE(chan.Send(i));
    };
    auto receive = [&] {
      for (int value : chan) {
        sum += value;
        received++;
      }
    };
    std::vector<std::thread> sending_threads;
    std::vector<std::thread> receiving_threads;
    for (int i = 0; i < 2; i++) {
      senders.Go(send);
      receivers.Go(receive);
      sending_threads.emplace_back(send);
      receiving_threads.emplace_back(receive);
    }
    senders.Wait();
    weft::Blocking([&] {
      for (std::thread& thread : sending_threads) thread.join();
    });
    chan.Close();
    receivers.Wait();
    weft::Blocking([&] {
      for (std::thread& thread : receiving_threads) thread.join();
    });
    EXPECT_EQ(received, 4 * kEach);
    EXPECT_EQ(sum, 4 * int64_t{kEach} * (kEach - 1) / 2);
  }
}

WEFT_TEST(ChanThreads, PingPongWithAGoroutine) {
  constexpr int kRounds = 5000;
  Chan<int> ping;
  Chan<int> pong;
  std::thread thread([&] {
    for (int i = 0; i < kRounds; i++) {
      ASSERT_EQ(ping.Receive(), i);
      ASSERT_TRUE(pong.Send(-i));
    }
  });
  for (int i = 0; i < kRounds; i++) {
    ASSERT_TRUE(ping.Send(i));
    ASSERT_EQ(pong.Receive(), -i);
  }
  weft::Blocking([&] { thread.join(); });
}

WEFT_TEST(ChanThreads, ACloseByAThreadWakesGoroutinesAndThreads) {
  Chan<int> chan;
  std::thread waiting([&] { EXPECT_EQ(chan.Receive(), std::nullopt); });
  WaitGroup group;
  for (int i = 0; i < 3; i++) {
    GoAndAwaitParked(group, WaitReason::kChanReceive,
                     [&] { EXPECT_EQ(chan.Receive(), std::nullopt); });
  }
  std::thread closer([&] { chan.Close(); });
  group.Wait();
  weft::Blocking([&] {
    closer.join();
    waiting.join();
  });
}

TEST(ChanThreads, NeedNoRuntime) {
  Chan<int> chan;
  std::thread thread([&] {
    for (int i = 0; i < 1000; i++) ASSERT_TRUE(chan.Send(i));
    chan.Close();
  });
  int next = 0;
  for (int value : chan) ASSERT_EQ(value, next++);
  EXPECT_EQ(next, 1000);
  thread.join();
}

}  // namespace
