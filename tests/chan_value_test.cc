// What becomes of the values in channels: they move when their operation wins and not otherwise,
// each that was made is destroyed once, and their bytes arrive whatever their size and alignment.
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "runtime/g.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/select.h"
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

// Move-only; knows how many of it there are, and whether it was moved from.
class Counted {
 public:
  explicit Counted(int value) : value_(value) { live++; }
  Counted(Counted&& other) noexcept : value_(std::exchange(other.value_, -1)) {
    live++;
    moves++;
  }
  Counted& operator=(Counted&& other) noexcept {
    value_ = std::exchange(other.value_, -1);
    return *this;
  }
  ~Counted() { live--; }

  int value() const { return value_; }  // -1: it was moved from

  static inline std::atomic<int> live = 0;
  static inline std::atomic<int> moves = 0;

 private:
  int value_;
};

WEFT_TEST(ChanValue, MovesOnlyWhenTheOperationWins) {
  Chan<Counted> chan(1);
  Counted value(1);
  ASSERT_TRUE(chan.Send(std::move(value)));
  EXPECT_EQ(value.value(), -1);
  Counted late(2);
  EXPECT_FALSE(chan.TrySend(std::move(late)));
  EXPECT_EQ(late.value(), 2) << "the channel is full";
  chan.Close();
  EXPECT_FALSE(chan.Send(std::move(late)));
  EXPECT_FALSE(chan.TrySend(std::move(late)));
  EXPECT_EQ(late.value(), 2) << "the channel is closed";
  EXPECT_EQ(chan.Receive()->value(), 1);
}

WEFT_TEST(ChanValue, OfAParkedSenderStaysWhenTheChannelCloses) {
  Chan<Counted> chan;
  WaitGroup group;
  GoAndAwaitParked(group, WaitReason::kChanSend, [&] {
    Counted value(7);
    EXPECT_FALSE(chan.Send(std::move(value)));
    EXPECT_EQ(value.value(), 7);
  });
  GoAndAwaitParked(group, WaitReason::kSelect, [&] {
    Counted value(8);
    bool sent = true;
    EXPECT_EQ(Select(chan.OnSend(&value, &sent)), 0);
    EXPECT_FALSE(sent);
    EXPECT_EQ(value.value(), 8);
  });
  chan.Close();
  group.Wait();
  EXPECT_EQ(Counted::live, 0);
}

WEFT_TEST(ChanValue, OfSelectMovesOnlyWithItsCase) {
  Chan<Counted> full(1), free(1), empty;
  ASSERT_TRUE(full.Send(Counted(0)));
  Counted a(1), b(2);
  std::optional<Counted> in;
  EXPECT_EQ(Select(full.OnSend(&a), free.OnSend(&b), empty.OnReceive(&in)), 1);
  EXPECT_EQ(a.value(), 1);
  EXPECT_EQ(b.value(), -1);
  EXPECT_EQ(in, std::nullopt);
  EXPECT_EQ(TrySelect(full.OnSend(&a), empty.OnSend(&a)), -1);
  EXPECT_EQ(Select(full.OnSend(&a), weft::After(absl::Microseconds(50))), 1);
  EXPECT_EQ(a.value(), 1);
  EXPECT_EQ(Select(free.OnReceive(&in), full.OnSend(&a)), 0);
  EXPECT_EQ(in->value(), 2);
  // Parked, then woken through one of the cases.
  Counted c(3);
  WaitGroup group;
  GoAndAwaitParked(group, WaitReason::kSelect,
                   [&] { EXPECT_EQ(Select(full.OnSend(&a), empty.OnSend(&c)), 1); });
  EXPECT_EQ(empty.Receive()->value(), 3);
  group.Wait();
  EXPECT_EQ(a.value(), 1);
  EXPECT_EQ(c.value(), -1);
}

WEFT_TEST(ChanValue, BufferedOnesDieWithTheChannel) {
  {
    Chan<Counted> chan(4);
    for (int i = 0; i < 4; i++) ASSERT_TRUE(chan.Send(Counted(i)));
    EXPECT_EQ(Counted::live, 4) << "the senders' own are gone";
    for (int i = 0; i < 3; i++) ASSERT_EQ(chan.Receive()->value(), i);
    for (int i = 4; i < 6; i++) ASSERT_TRUE(chan.Send(Counted(i)));
    EXPECT_EQ(Counted::live, 3) << "around the buffer's end";
    Chan<Counted> copy = chan;
    chan = Chan<Counted>(1);
    EXPECT_EQ(Counted::live, 3) << "another handle is left";
  }
  EXPECT_EQ(Counted::live, 0);
}

WEFT_TEST(ChanValue, EachThatIsMadeIsDestroyedOnce) {
  constexpr int kEach = 2000;
  for (size_t capacity : {0, 1, 5}) {
    Chan<Counted> chan(capacity);
    std::atomic<int64_t> sum = 0;
    WaitGroup senders, receivers;
    auto send = [&] {
      for (int i = 0; i < kEach; i++) {
        Counted value(i);
        if (i % 2 == 0) {
          ASSERT_TRUE(chan.Send(std::move(value)));
        } else {
          while (Select(chan.OnSend(&value), weft::After(absl::Microseconds(100))) == 1) {
            ASSERT_EQ(value.value(), i);
          }
        }
        ASSERT_EQ(value.value(), -1);
      }
    };
    auto receive = [&] {
      std::optional<Counted> in;
      do {
        if (Select(chan.OnReceive(&in), weft::After(absl::Microseconds(50))) == 1) in.emplace(0);
        if (in) sum += in->value();
      } while (in);
    };
    std::thread sending_thread(send);
    std::thread receiving_thread(receive);
    for (int i = 0; i < 3; i++) {
      senders.Go(send);
      receivers.Go(receive);
    }
    senders.Wait();
    weft::Blocking([&] { sending_thread.join(); });
    chan.Close();
    receivers.Wait();
    weft::Blocking([&] { receiving_thread.join(); });
    EXPECT_EQ(sum, 4 * int64_t{kEach} * (kEach - 1) / 2);
    EXPECT_EQ(Counted::live, 0);
  }
}

WEFT_TEST(ChanValue, StringsAndOwnersGoThroughWhole) {
  Chan<std::string> strings(2);
  Chan<std::unique_ptr<int>> owners;
  WaitGroup group;
  group.Go([&] {
    for (int i = 0; i < 1000; i++) {
      ASSERT_TRUE(strings.Send(std::string(static_cast<size_t>(i), 'x')));
      ASSERT_TRUE(owners.Send(std::make_unique<int>(i)));
    }
    const std::string copied = "copied";
    ASSERT_TRUE(strings.Send(copied));
    EXPECT_EQ(copied, "copied");
  });
  for (int i = 0; i < 1000; i++) {
    ASSERT_EQ(strings.Receive()->size(), static_cast<size_t>(i));
    ASSERT_EQ(**owners.Receive(), i);
  }
  EXPECT_EQ(strings.Receive(), "copied");
  group.Wait();
}

// The last receiver lets go of the channel at once, which frees it: who unlocked it last, for a
// value that is moved under its lock, must not touch it any more.
WEFT_TEST(ChanValue, ADyingChannelIsLeftAloneByItsLastUsers) {
  constexpr int kUsers = 4;
  for (int round = 0; round < 60; round++) {
    auto chan = std::make_unique<Chan<std::string>>(static_cast<size_t>(round % 3));
    std::atomic<int> left = 2 * kUsers;
    WaitGroup users;
    const auto drop = [&left, &chan] {
      if (left.fetch_sub(1) == 1) chan.reset();
    };
    for (int user = 0; user < kUsers; user++) {
      users.Go([&] {
        {
          Chan<std::string> own = *chan;
          for (int i = 0; i < 10; i++) ASSERT_TRUE(own.Send(std::string(60, 'x')));
        }
        drop();
      });
      users.Go([&] {
        {
          Chan<std::string> own = *chan;
          for (int i = 0; i < 10; i++) ASSERT_EQ(own.Receive()->size(), 60u);
        }
        drop();
      });
    }
    users.Wait();
  }
}

WEFT_TEST(ChanValue, AChannelMayDieRightAfterItsOnlyReceive) {
  for (int round = 0; round < 300; round++) {
    Chan<std::string> chan(static_cast<size_t>(round % 2));
    weft::Go([own = chan, round]() mutable {
      for (int i = 0; i < round % 5; i++) weft::Yield();
      (void)own.Send(std::string(60, 'x'));
    });
    ASSERT_EQ(chan.Receive()->size(), 60u);
  }
}

// A move constructor is foreign code: it may park while the channel is locked.
struct Parking {
  explicit Parking(int v) : value(v) {}
  Parking(Parking&& other) noexcept : value(other.value) { weft::Yield(); }
  int value;
};

WEFT_TEST(ChanValue, AMoveThatParksHoldsUpOnlyItsChannel) {
  constexpr int kEach = 500;
  Chan<Parking> a;
  Chan<Parking> b(2);
  std::atomic<int64_t> sum = 0;
  WaitGroup group;
  for (int w = 0; w < 3; w++) {
    group.Go([&] {
      for (int i = 0; i < kEach; i++) {
        Parking value(i);
        Select(a.OnSend(&value), b.OnSend(&value));
      }
    });
    group.Go([&] {
      for (int i = 0; i < kEach; i++) {
        std::optional<Parking> in;
        Select(b.OnReceive(&in), a.OnReceive(&in));
        sum += in->value;
      }
    });
  }
  group.Wait();
  EXPECT_EQ(sum, 3 * int64_t{kEach} * (kEach - 1) / 2);
}

// ---- Bytes. ----

template <size_t kSize>
struct Odd {
  std::array<unsigned char, kSize> bytes;
  static Odd Of(int seed) {
    Odd odd;
    for (size_t i = 0; i < kSize; i++)
      odd.bytes[i] = static_cast<unsigned char>(size_t(seed) * 31 + i);
    return odd;
  }
  bool operator==(const Odd&) const = default;
};

template <class T>
void SendsAndReceivesWhole() {
  for (size_t capacity : {0, 1, 3}) {
    Chan<T> chan(capacity);
    WaitGroup group;
    group.Go([&] {
      for (int i = 0; i < 50; i++) {
        T value = T::Of(i);
        if (i % 3 == 0) {
          Select(chan.OnSend(&value));
        } else {
          ASSERT_TRUE(chan.Send(value));
        }
      }
      chan.Close();
    });
    int next = 0;
    for (;; next++) {
      std::optional<T> in;
      if (next % 2 == 0) {
        in = chan.Receive();
      } else {
        Select(chan.OnReceive(&in));
      }
      if (!in) break;
      ASSERT_TRUE(*in == T::Of(next)) << sizeof(T) << " bytes, value " << next;
    }
    EXPECT_EQ(next, 50);
    group.Wait();
  }
}

WEFT_TEST(ChanValue, OfOddSizesArriveWhole) {
  SendsAndReceivesWhole<Odd<1>>();
  SendsAndReceivesWhole<Odd<3>>();
  SendsAndReceivesWhole<Odd<7>>();
  SendsAndReceivesWhole<Odd<8>>();
  SendsAndReceivesWhole<Odd<9>>();
  SendsAndReceivesWhole<Odd<13>>();
  SendsAndReceivesWhole<Odd<127>>();
  SendsAndReceivesWhole<Odd<128>>();
  SendsAndReceivesWhole<Odd<129>>();
  SendsAndReceivesWhole<Odd<5000>>();
}

struct alignas(64) Line {
  explicit Line(int v) : value(v) { Check(); }
  Line(const Line& other) noexcept : value(other.value) { Check(); }
  Line& operator=(const Line&) = default;
  void Check() const { EXPECT_EQ(reinterpret_cast<uintptr_t>(this) % 64, 0u); }
  static Line Of(int seed) { return Line(seed); }
  bool operator==(const Line& other) const { return value == other.value; }
  int value;
};

// The closure that holds one is aligned to it as well.
WEFT_TEST(ChanValue, AlignedToACacheLineStayAligned) {
  SendsAndReceivesWhole<Line>();
  WaitGroup group;
  group.Go([line = Line(5)] { line.Check(); });
  group.Wait();
}

struct Empty {
  static Empty Of(int) { return {}; }
  bool operator==(const Empty&) const { return true; }
};

WEFT_TEST(ChanValue, OfAnEmptyTypeAreCounted) {
  SendsAndReceivesWhole<Empty>();
}

}  // namespace
