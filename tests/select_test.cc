// Select. Ported in meaning from Go's channel tests where these have a counterpart.
#include "weft/select.h"

#include <array>
#include <atomic>
#include <cmath>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "runtime/g.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/waitgroup.h"

namespace {

using weft::Chan;
using weft::Goroutine;
using weft::Select;
using weft::TrySelect;
using weft::WaitGroup;
using weft::WaitReason;

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

// ---- One moment. ----

// Go's TestNonblockSelectRace. From the selecting goroutine's start at least one of two channels
// can always be received from:
//   1. `first` holds a value, the goroutine is started,
//   2. `second` gets a value (or is closed), 3. `first` is emptied.
// A TrySelect that looks at `second` before 2 and at `first` after 3 finds neither.
WEFT_TEST(Select, TrySelectSeesAllChannelsAtOneMoment) {
  const int rounds = weft::testing::Rounds(100'000);
  Chan<bool> found(1);
  for (int i = 0; i < rounds; i++) {
    Chan<int> first(1);
    Chan<int> second(1);
    ASSERT_TRUE(first.Send(1));
    weft::Go([first, second, found]() mutable {
      const int winner = TrySelect(first.OnReceive(nullptr), second.OnReceive(nullptr));
      ASSERT_TRUE(found.Send(winner >= 0));
    });
    ASSERT_TRUE(second.Send(1));
    (void)first.TryReceive();
    ASSERT_EQ(found.Receive(), true) << "round " << i;
  }
}

// Go's TestNonblockSelectRace2.
WEFT_TEST(Select, TrySelectSeesACloseAndAValueAtOneMoment) {
  const int rounds = weft::testing::Rounds(100'000);
  Chan<bool> found(1);
  for (int i = 0; i < rounds; i++) {
    Chan<int> first(1);
    Chan<int> second;
    ASSERT_TRUE(first.Send(1));
    weft::Go([first, second, found]() mutable {
      const int winner = TrySelect(first.OnReceive(nullptr), second.OnReceive(nullptr));
      ASSERT_TRUE(found.Send(winner >= 0));
    });
    second.Close();
    (void)first.TryReceive();
    ASSERT_EQ(found.Receive(), true) << "round " << i;
  }
}

// TrySelect from `first`, many channels that never are ready, and `second`.
template <size_t... kNever>
int TryOverMany(Chan<int>& first, Chan<int>& never, Chan<int>& second,
                std::index_sequence<kNever...>) {
  return TrySelect(first.OnReceive(nullptr),
                   (static_cast<void>(kNever), never.OnReceive(nullptr))...,
                   second.OnReceive(nullptr));
}

// The same race with a wider window: the selecting thread has many channels to look at, and is
// about to when the other begins.
WEFT_TEST(Select, TrySelectOverManyChannelsSeesOneMoment) {
  // A hand-over each: on busy CPUs a time slice of the kernel's.
  const int rounds = weft::testing::Rounds(4'000);
  Chan<int> first(1), second(1), never;
  std::atomic<int> filled = -1, begun = -1, done = -1;
  int misses = 0;
  std::thread thread([&] {
    for (int i = 0; i < rounds; i++) {
      while (filled != i) weft::Yield();
      begun = i;
      misses += TryOverMany(first, never, second, std::make_index_sequence<40>()) < 0;
      done = i;
    }
  });
  for (int i = 0; i < rounds; i++) {
    ASSERT_TRUE(first.TrySend(1));
    filled = i;
    while (begun != i) {
    }
    ASSERT_TRUE(second.TrySend(1));
    (void)first.TryReceive();
    while (done != i) weft::Yield();
    (void)first.TryReceive();
    (void)second.TryReceive();
  }
  weft::Blocking([&] { thread.join(); });
  EXPECT_EQ(misses, 0) << "of " << rounds << " selects found neither";
}

// ---- Partners. ----

// Go's TestSelfSelect: both directions of one channel in one select.
WEFT_TEST(Select, DoesNotMeetItself) {
  for (size_t capacity : {0, 10}) {
    Chan<int> chan(capacity);
    WaitGroup group;
    for (int p = 0; p < 2; p++) {
      group.Go([&, p] {
        for (int i = 0; i < 5000; i++) {
          int out = p;
          std::optional<int> in;
          const bool send_first = p == 0 || i % 2 == 0;
          const int winner = send_first ? Select(chan.OnSend(&out), chan.OnReceive(&in))
                                        : 1 - Select(chan.OnReceive(&in), chan.OnSend(&out));
          if (winner == 1 && capacity == 0) {
            ASSERT_NE(in, p) << "from itself";
          }
        }
      });
    }
    group.Wait();
  }
}

// Go's TestSelectStress: single senders and receivers, and one select over all four channels in
// each direction.
WEFT_TEST(Select, StressOfSelectsAgainstSelectsAndSinglePartners) {
  constexpr int kEach = 10'000;
  const std::array<Chan<int>, 4> chans = {Chan<int>(), Chan<int>(), Chan<int>(2), Chan<int>(3)};
  WaitGroup group;
  for (Chan<int> chan : chans) {
    group.Go([chan]() mutable {
      for (int i = 0; i < kEach; i++) ASSERT_TRUE(chan.Send(0));
    });
    group.Go([chan]() mutable {
      for (int i = 0; i < kEach; i++) ASSERT_TRUE(chan.Receive().has_value());
    });
  }
  // Who has had its share of a channel waits for it no longer.
  auto count = [](std::array<Chan<int>, 4>& c, std::array<int, 4>& n, int winner) {
    const size_t i = static_cast<size_t>(winner);
    if (++n[i] == kEach) c[i] = Chan<int>(nullptr);
  };
  group.Go([&chans, count] {
    std::array<Chan<int>, 4> c = chans;
    std::array<int, 4> n = {};
    int value = 0;
    for (int i = 0; i < 4 * kEach; i++) {
      const int winner = 3 - Select(c[3].OnSend(&value), c[2].OnSend(&value), c[1].OnSend(&value),
                                    c[0].OnSend(&value));
      count(c, n, winner);
    }
  });
  group.Go([&chans, count] {
    std::array<Chan<int>, 4> c = chans;
    std::array<int, 4> n = {};
    for (int i = 0; i < 4 * kEach; i++) {
      const int winner = Select(c[0].OnReceive(nullptr), c[1].OnReceive(nullptr),
                                c[2].OnReceive(nullptr), c[3].OnReceive(nullptr));
      count(c, n, winner);
    }
  });
  group.Wait();
}

// Two selects over the same channels in opposite directions: each may find the other while it
// queues itself.
WEFT_TEST(Select, TwoSelectsThatFindEachOtherGoOn) {
  const int rounds = weft::testing::Rounds(20'000);
  Chan<int> a;
  Chan<int> b;
  WaitGroup group;
  int a_sent = 0, b_sent = 0;
  int a_received = 0, b_received = 0;
  group.Go([&] {
    for (int i = 0; i < rounds; i++) {
      (Select(a.OnSend(&i), b.OnSend(&i)) == 0 ? a_sent : b_sent)++;
    }
  });
  for (int i = 0; i < rounds; i++) {
    std::optional<int> in;
    (Select(b.OnReceive(&in), a.OnReceive(&in)) == 0 ? b_received : a_received)++;
    ASSERT_EQ(in, i);
  }
  group.Wait();
  EXPECT_EQ(a_sent, a_received);
  EXPECT_EQ(b_sent, b_received);
}

// Go's TestSelectDuplicateChannel: a goroutine that waits in one channel's queue twice leaves it
// whole. A selects on (c, c, d), B receives from c; A is woken through d, then B through c.
WEFT_TEST(Select, AChannelMayBeNamedTwice) {
  Chan<int> c;
  Chan<int> d;
  WaitGroup a;
  WaitGroup b;
  GoAndAwaitParked(a, WaitReason::kSelect, [&] {
    EXPECT_EQ(Select(c.OnReceive(nullptr), c.OnReceive(nullptr), d.OnReceive(nullptr)), 2);
  });
  GoAndAwaitParked(b, WaitReason::kChanReceive, [&] { EXPECT_EQ(c.Receive(), 8); });
  ASSERT_TRUE(d.Send(7));
  a.Wait();
  ASSERT_TRUE(c.TrySend(8)) << "B waits for it";
  b.Wait();
  EXPECT_FALSE(c.TrySend(9)) << "nobody else does";
}

WEFT_TEST(Select, CloseWakesASelectOfBothDirectionsOnce) {
  for (int i = 0; i < 100; i++) {
    Chan<int> chan;
    Chan<int> other;
    WaitGroup group;
    GoAndAwaitParked(group, WaitReason::kSelect, [&] {
      std::optional<int> in = 1;
      int out = 2;
      bool sent = true;
      const int winner =
          Select(other.OnReceive(nullptr), chan.OnReceive(&in), chan.OnSend(&out, &sent));
      EXPECT_TRUE((winner == 1 && in == std::nullopt && sent) || (winner == 2 && in == 1 && !sent))
          << winner;
    });
    chan.Close();
    group.Wait();
  }
}

WEFT_TEST(Select, OnSendToAClosedChannelWinsAndSaysSo) {
  Chan<int> chan;
  WaitGroup group;
  int value = 5;
  bool sent = true;
  GoAndAwaitParked(group, WaitReason::kSelect,
                   [&] { EXPECT_EQ(Select(chan.OnSend(&value, &sent)), 0); });
  chan.Close();
  group.Wait();
  EXPECT_FALSE(sent);
  EXPECT_EQ(value, 5);
  sent = true;
  EXPECT_EQ(TrySelect(chan.OnSend(&value, &sent)), 0);
  EXPECT_FALSE(sent);
}

// ---- Choice. ----

// Go's TestSelectFairness. 4.89 standard deviations: one failure in a million runs.
WEFT_TEST(Select, ChoosesReadyChannelsAlike) {
  constexpr int kTrials = 10'000;
  Chan<char> c1(kTrials + 1), c2(kTrials + 1);
  for (int i = 0; i < kTrials + 1; i++) {
    ASSERT_TRUE(c1.TrySend(1));
    ASSERT_TRUE(c2.TrySend(2));
  }
  Chan<char> never1, never2, out, done;
  WaitGroup group;
  group.Go([&] {
    for (;;) {
      std::optional<char> value;
      Select(never1.OnReceive(&value), never2.OnReceive(&value), c1.OnReceive(&value),
             c2.OnReceive(&value));
      if (Select(out.OnSend(&*value), done.OnReceive(nullptr)) == 1) return;
    }
  });
  int count[3] = {};
  for (int i = 0; i < kTrials; i++) count[static_cast<size_t>(*out.Receive())]++;
  done.Close();
  group.Wait();
  EXPECT_EQ(count[1] + count[2], kTrials);
  const double off = std::abs(double(count[1]) / kTrials - 0.5);
  EXPECT_LE(off, 4.891676 / (2 * std::sqrt(kTrials))) << count[1] << " against " << count[2];
}

// Go's TestPseudoRandomSend.
WEFT_TEST(Select, ChoosesAmongItsOwnSendsAtRandom) {
  constexpr int kValues = 200;
  for (size_t capacity : {0, kValues}) {
    Chan<int> chan(capacity);
    int ones = 0;
    WaitGroup group;
    group.Go([&] {
      for (int i = 0; i < kValues; i++) {
        weft::Yield();
        ones += *chan.Receive();
      }
    });
    int one = 1, zero = 0;
    for (int i = 0; i < kValues; i++) Select(chan.OnSend(&one), chan.OnSend(&zero));
    group.Wait();
    EXPECT_GT(ones, kValues / 10) << "capacity " << capacity;
    EXPECT_LT(ones, kValues - kValues / 10) << "capacity " << capacity;
  }
}

// ---- Time. ----

WEFT_TEST(SelectTimeout, ZeroAndNegativeEndAtOnceUnlessSomethingIsReady) {
  Chan<int> chan(1);
  for (absl::Duration d : {absl::ZeroDuration(), -absl::Seconds(1), -absl::InfiniteDuration()}) {
    EXPECT_EQ(Select(chan.OnReceive(nullptr), weft::After(d)), 1);
    ASSERT_TRUE(chan.Send(3));
    std::optional<int> in;
    EXPECT_EQ(Select(weft::After(d), chan.OnReceive(&in)), 1) << "what is ready comes first";
    EXPECT_EQ(in, 3);
  }
}

WEFT_TEST(SelectTimeout, EndsNotBeforeItsTime) {
  Chan<int> chan;
  for (absl::Duration d : {absl::Microseconds(1), absl::Microseconds(300), absl::Milliseconds(3)}) {
    const absl::Time start = absl::Now();
    EXPECT_EQ(Select(chan.OnReceive(nullptr), weft::After(d)), 1);
    EXPECT_GE(absl::Now() - start, d);
  }
  EXPECT_EQ(Select(weft::After(absl::Microseconds(5))), 0) << "nothing but a timeout";
}

WEFT_TEST(SelectTimeout, TheEarliestOfSeveralCounts) {
  Chan<int> chan;
  EXPECT_EQ(Select(weft::After(absl::Hours(1)), weft::After(absl::Milliseconds(1)),
                   chan.OnReceive(nullptr), weft::After(absl::InfiniteDuration())),
            1);
}

WEFT_TEST(SelectTimeout, IsTakenBackWhenAnotherCaseWins) {
  Chan<int> chan;
  WaitGroup group;
  for (absl::Duration d :
       {absl::Hours(1), absl::Hours(24) * 365 * 1000, absl::InfiniteDuration()}) {
    GoAndAwaitParked(group, WaitReason::kSelect, [&] {
      std::optional<int> in;
      EXPECT_EQ(Select(weft::After(d), chan.OnReceive(&in)), 1);
      EXPECT_EQ(in, 4);
    });
    ASSERT_TRUE(chan.Send(4));
    group.Wait();
  }
  EXPECT_EQ(weft::Stats().timers, 0);
}

// The timer fires while the partner comes: one of the two wins, the value goes over or stays.
WEFT_TEST(SelectTimeout, RacingWithAPartnerHasOneWinner) {
  constexpr int kRounds = 5000;
  Chan<int> chan;
  int received = 0;
  std::atomic<bool> end = false;
  WaitGroup group;
  int sent = 0;
  group.Go([&] {
    while (!end) {
      int value = sent;
      if (Select(chan.OnSend(&value), weft::After(absl::Microseconds(20))) == 0) sent++;
    }
  });
  for (int i = 0; i < kRounds; i++) {
    std::optional<int> in;
    if (Select(chan.OnReceive(&in), weft::After(absl::Microseconds(i % 30))) == 0) {
      ASSERT_EQ(in, received++);
    }
  }
  end = true;
  group.Wait();
  EXPECT_EQ(sent, received);
}

// ---- Null channels, plain threads. ----

WEFT_TEST(Select, NeverChoosesANullChannel) {
  Chan<int> none(nullptr);
  Chan<int> chan(1);
  int value = 1;
  EXPECT_EQ(TrySelect(none.OnReceive(nullptr), none.OnSend(&value)), -1);
  EXPECT_EQ(Select(none.OnReceive(nullptr), chan.OnSend(&value), none.OnSend(&value)), 1);
  EXPECT_EQ(Select(none.OnSend(&value), weft::After(absl::Microseconds(1))), 1);
}

TEST(SelectDeath, WithoutCasesOrWithNullOnesIsADeadlock) {
  EXPECT_FATAL([] { Select(); }, "deadlock!");
  EXPECT_FATAL([] { Select(Chan<int>(nullptr).OnReceive(nullptr)); }, "select \\(no cases\\)");
}

WEFT_TEST(Select, WorksOnPlainThreadsInAllRoles) {
  constexpr int kEach = 2000;
  Chan<int> a;
  Chan<int> b(2);
  Chan<int> stop;
  std::atomic<int> received = 0;
  auto receive = [&] {
    for (;;) {
      std::optional<int> in;
      const int winner = Select(a.OnReceive(&in), b.OnReceive(&in), stop.OnReceive(nullptr),
                                weft::After(absl::Milliseconds(1)));
      if (winner == 2) return;
      if (winner < 2) received++;
    }
  };
  auto send = [&] {
    for (int i = 0; i < kEach; i++) {
      while (Select(a.OnSend(&i), b.OnSend(&i), weft::After(absl::Milliseconds(1))) == 2) {
      }
    }
  };
  WaitGroup receiver;
  WaitGroup sender;
  receiver.Go(receive);
  sender.Go(send);
  std::thread receiving_thread(receive);
  std::thread sending_thread(send);
  sender.Wait();
  weft::Blocking([&] { sending_thread.join(); });
  while (b.size() > 0) weft::Yield();
  stop.Close();
  receiver.Wait();
  weft::Blocking([&] { receiving_thread.join(); });
  EXPECT_EQ(received, 2 * kEach);
}

}  // namespace
