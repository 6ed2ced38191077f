// Every entry into the runtime polls: a goroutine that does nothing but ask gives way when its time
// slice is over, whatever it asks.
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/completion.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/net.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

// Does `ask` until another goroutine has had its turn on the same P.
void AskUntilAnotherRan(const std::function<void()>& ask) {
  const int procs = MaxProcs(1);
  std::atomic<bool> ran = false;
  WaitGroup group;
  group.Go([&] { ran = true; });
  while (!ran) ask();
  group.Wait();
  MaxProcs(procs);
}

WEFT_TEST(Polls, AChannelOfTrivialElements) {
  Chan<int> chan(1);
  AskUntilAnotherRan([&] { (void)chan.TryReceive(); });
}

WEFT_TEST(Polls, AChannelOfOtherElements) {
  Chan<std::string> chan(1);
  ASSERT_TRUE(chan.Send("resource"));
  AskUntilAnotherRan([&] { ASSERT_TRUE(chan.Send(*chan.Receive())); });
}

WEFT_TEST(Polls, IsClosed) {
  Chan<std::string> chan(1);
  AskUntilAnotherRan([&] { ASSERT_FALSE(chan.IsClosed()); });
}

WEFT_TEST(Polls, IsSet) {
  Completion<int> completion;
  AskUntilAnotherRan([&] { ASSERT_FALSE(completion.IsSet()); });
}

WEFT_TEST(Polls, TryLock) {
  Mutex mutex;
  mutex.Lock();
  AskUntilAnotherRan([&] { ASSERT_FALSE(mutex.TryLock()); });
  mutex.Unlock();
}

// A peer that reads on a thread of its own, so that the writer need not wait.
class Sink {
 public:
  Sink() {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds_) != 0) std::abort();
    reader_ = std::thread([fd = fds_[1]] {
      char buffer[4096];
      while (read(fd, buffer, sizeof(buffer)) > 0) {
      }
    });
  }
  ~Sink() {
    Blocking([this] { reader_.join(); });
    close(fds_[1]);
  }
  net::Conn Connect() { return *net::Conn::Adopt(fds_[0]); }

 private:
  int fds_[2];
  std::thread reader_;
};

WEFT_TEST_POLLERS(Polls, Write) {
  Sink sink;
  net::Conn conn = sink.Connect();
  AskUntilAnotherRan([&] { ASSERT_TRUE(conn.Write("x").ok()); });
  conn.Close();
}

WEFT_TEST_POLLERS(Polls, SetReadDeadline) {
  Sink sink;
  net::Conn conn = sink.Connect();
  AskUntilAnotherRan([&] { conn.SetReadDeadline(absl::InfiniteFuture()); });
  conn.Close();
}

// ---- Locks of channels whose elements have constructors of their own. ----

// In Blocking nothing can park; a lock that is held for a moment is waited for.
WEFT_TEST(ForeignElements, TrySendInBlocking) {
  Chan<std::string> chan(4);
  std::atomic<bool> stop = false;
  WaitGroup group;
  group.Go([&] {
    while (!stop) {
      (void)chan.TryReceive();
      Yield();
    }
  });
  for (int i = 0; i < 20'000; i++) {
    Blocking([&] { (void)chan.TrySend(std::string(40, 'x')); });
  }
  stop = true;
  group.Wait();
}

// Its move takes another channel's lock, under its own channel's.
struct Hopping {
  explicit Hopping(Chan<std::string>* c) : chan(c) {}
  Hopping(Hopping&& other) noexcept : chan(other.chan) {
    Yield();
    if (chan != nullptr) (void)chan->TryReceive();
  }
  Hopping& operator=(Hopping&&) = delete;
  Chan<std::string>* chan;
};

// A select that does not wait looks at both channels at one moment: in the order low, high, while
// a move goes from high to low.
WEFT_TEST(ForeignElements, TrySelectAgainstAMoveThatTakesTheOtherChannel) {
  Chan<std::string> low(1);
  Chan<Hopping> high(1);
  std::atomic<bool> stop = false;
  WaitGroup group;
  group.Go([&] {
    while (!stop) {
      std::optional<std::string> from_low;
      std::optional<Hopping> from_high;
      (void)TrySelect(low.OnReceive(&from_low), high.OnReceive(&from_high));
      Yield();
    }
  });
  for (int i = 0; i < 1000; i++) {
    (void)high.TrySend(Hopping(&low));
    Yield();
  }
  stop = true;
  group.Wait();
}

// ---- What throws leaves nothing behind. ----

struct ThrowsWhenCopied {
  ThrowsWhenCopied() = default;
  ThrowsWhenCopied(ThrowsWhenCopied&&) noexcept {}
  ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("copy"); }
  void operator()() const {}
};

WEFT_TEST(Throwing, AWaitGroupsFunction) {
  WaitGroup group;
  const ThrowsWhenCopied fn;
  EXPECT_THROW(group.Go(fn), std::runtime_error);
  group.Wait();
}

WEFT_TEST(Throwing, ACompletionsValue) {
  Completion<ThrowsWhenCopied> completion;
  const ThrowsWhenCopied value;
  EXPECT_THROW(completion.Set(value), std::runtime_error);
  EXPECT_FALSE(completion.IsSet());
  EXPECT_TRUE(completion.Set(ThrowsWhenCopied()));
  EXPECT_TRUE(completion.Wait().ok());
}

struct MoveOnlyOnce {
  explicit MoveOnlyOnce(int v) : value(v) {}
  MoveOnlyOnce(MoveOnlyOnce&&) noexcept = default;
  MoveOnlyOnce& operator=(MoveOnlyOnce&&) = delete;
  int value;
};

WEFT_TEST(Chan, RangeForNeedsNoAssignment) {
  Chan<MoveOnlyOnce> chan(3);
  for (int i = 0; i < 3; i++) ASSERT_TRUE(chan.Send(MoveOnlyOnce(i)));
  chan.Close();
  int next = 0;
  for (const MoveOnlyOnce& one : chan) EXPECT_EQ(one.value, next++);
  EXPECT_EQ(next, 3);
}

WEFT_TEST(TrySelect, ATimeOutOfZeroHasPassed) {
  Chan<int> chan;
  std::optional<int> in;
  EXPECT_EQ(TrySelect(chan.OnReceive(&in), After(absl::ZeroDuration())), 1);
  EXPECT_EQ(TrySelect(chan.OnReceive(&in), After(absl::Hours(1))), -1);
}

}  // namespace
}  // namespace weft
