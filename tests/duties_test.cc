// Duties: an M sleeps in its ring, watches the shared set or keeps the timers, and then leaves the
// scheduler, for a call or with a goroutine that is bound to it. Somebody else must take its duty
// over. Each test lets everything come to rest first: then nobody looks by chance.
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <atomic>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "tests/emulated.h"
#include "tests/fixture.h"
#include "tests/poll_owner.h"
#include "weft/chan.h"
#include "weft/time.h"

namespace weft {
namespace {

using testing::AwaitOnThread;
using testing::AwaitRest;
using testing::AwaitWaiting;
using testing::kPatience;
using testing::OneProc;
using testing::RawPair;
using testing::Reader;
using testing::StartHere;

// A plain thread that does something once all is at rest.
template <class F>
std::thread OnceAtRest(F fn) {
  return std::thread([fn]() mutable {
    AwaitRest();
    fn();
  });
}

void Join(std::thread& thread) {
  Blocking([&] { thread.join(); });
}

void ExpectByte(net::Conn& conn) {
  char byte = 0;
  absl::StatusOr<size_t> got = conn.Read({&byte, 1});
  EXPECT_TRUE(got.ok() && *got == 1) << got.status();
}

// ---- Bound goroutines. ----

WEFT_TEST_POLLERS(BoundDuty, ABoundGoroutineWaitsForItsOwnConnection) {
  RawPair pair;
  LockOSThread();
  std::thread peer = OnceAtRest([&] { pair.Send(); });
  ExpectByte(pair.conn);
  Join(peer);
  UnlockOSThread();
}

WEFT_TEST_POLLERS(BoundDuty, ABoundGoroutineAccepts) {
  absl::StatusOr<net::Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  LockOSThread();
  net::Conn client;
  std::thread peer = OnceAtRest([&] {
    absl::StatusOr<net::Conn> dialled = net::Dial("tcp", listener->Addr().ToString());
    ASSERT_TRUE(dialled.ok());
    client = *std::move(dialled);
  });
  EXPECT_TRUE(listener->Accept().ok());
  Join(peer);
  UnlockOSThread();
}

// It waited for another connection before, as any goroutine does: its M has a ring.
WEFT_TEST_POLLERS(BoundDuty, ABoundGoroutineThatHadARingWaitsForItsOwnConnection) {
  RawPair before;
  RawPair pair;
  before.conn.SetReadDeadline(absl::Now() + absl::Milliseconds(1));
  char byte = 0;
  EXPECT_TRUE(absl::IsDeadlineExceeded(before.conn.Read({&byte, 1}).status()));
  LockOSThread();
  std::thread peer = OnceAtRest([&] { pair.Send(); });
  ExpectByte(pair.conn);
  Join(peer);
  UnlockOSThread();
}

// The M sleeps for its goroutine only; what is in its ring belongs to others.
WEFT_TEST_POLLERS(BoundDuty, WhatARingsOwnerPollsIsServedWhenAGoroutineBindsIt) {
  Reader reader;
  StartHere(reader);
  LockOSThread();
  Chan<int> done;
  std::thread peer = OnceAtRest([&, done]() mutable {
    reader.Send();
    EXPECT_TRUE(reader.AwaitServed());
    EXPECT_TRUE(done.Send(1));
  });
  EXPECT_EQ(done.Receive(), 1);
  Join(peer);
  UnlockOSThread();
}

// The M ends with the goroutine that is bound to it, and its ring with it.
WEFT_TEST_POLLERS(BoundDuty, WhatARingPollsIsServedWhenItsMEnds) {
  for (int round = 0; round < 3; round++) {
    Reader reader;
    {
      const OneProc one;
      reader.Start();
      one.AwaitReaders(1);
      WaitGroup bound;
      bound.Go([] { LockOSThread(); });
      Yield();  // to it, on this M
      bound.Wait();
    }
    std::thread peer = OnceAtRest([&] { reader.Send(); });
    Blocking([&] { EXPECT_TRUE(reader.AwaitServed()); });
    Join(peer);
  }
}

// ---- Blocking. ----

// The goroutine that goes into Blocking was woken by readiness a moment before: the M that runs it
// was the one that watched and kept the timers.
WEFT_TEST_POLLERS(BlockingDuty, AConnectionIsServedWhenItsWatcherBlocks) {
  Reader reader;
  reader.Start();
  AwaitWaiting(WaitReason::kIoRead, 1);
  RawPair pair;
  std::thread peer = OnceAtRest([&] { pair.Send(); });
  ExpectByte(pair.conn);
  Blocking([&] {
    AwaitRest();
    reader.Send();
    EXPECT_TRUE(reader.AwaitServed());
  });
  Join(peer);
}

WEFT_TEST_POLLERS(BlockingDuty, AListenerIsServedWhenItsWatcherBlocks) {
  absl::StatusOr<net::Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  std::binary_semaphore accepted(0);
  WaitGroup acceptor;
  acceptor.Go([&] {
    EXPECT_TRUE(listener->Accept().ok());
    accepted.release();
  });
  AwaitWaiting(WaitReason::kIoRead, 1);
  RawPair pair;
  std::thread peer = OnceAtRest([&] { pair.Send(); });
  ExpectByte(pair.conn);
  std::thread client([&] {
    AwaitRest();
    EXPECT_TRUE(net::Dial("tcp", listener->Addr().ToString()).ok());
  });
  Blocking([&] { EXPECT_TRUE(accepted.try_acquire_for(kPatience)); });
  acceptor.Wait();
  Join(peer);
  Join(client);
}

// Goroutines that sleep for a moment: long enough for everything to come to rest before.
class Sleepers {
 public:
  Sleepers(int count, absl::Duration moment) {
    for (int i = 0; i < count; i++) {
      group_.Go([this, moment] {
        Sleep(moment);
        fired_++;
        signal_.release();
      });
    }
    // On a very busy machine some may be over already.
    while (testing::CountWaiting(WaitReason::kSleep) + fired_ < count) Yield();
  }
  ~Sleepers() { group_.Wait(); }
  Sleepers(const Sleepers&) = delete;
  Sleepers& operator=(const Sleepers&) = delete;

  // Blocks the thread until one more has fired.
  bool AwaitOne() { return signal_.try_acquire_for(kPatience); }

 private:
  std::atomic<int> fired_ = 0;
  std::counting_semaphore<> signal_{0};
  WaitGroup group_;
};

// Wakes the keeper of the timers by readiness, before they are due.
std::thread SendOnceIdle(const RawPair& pair) {
  return std::thread([&pair] {
    EXPECT_TRUE(AwaitOnThread([] { return Stats().idle_procs == Stats().procs; }));
    pair.Send();
  });
}

WEFT_TEST_POLLERS(BlockingDuty, TimersFireWhenTheirKeeperBlocks) {
  constexpr int kTimers = 4;
  RawPair pair;
  Sleepers sleepers(kTimers, absl::Milliseconds(100));
  std::thread peer = SendOnceIdle(pair);
  ExpectByte(pair.conn);
  Blocking([&] {
    for (int i = 0; i < kTimers; i++) EXPECT_TRUE(sleepers.AwaitOne());
  });
  Join(peer);
}

WEFT_TEST_POLLERS(BlockingDuty, TimersFireWhenTheirKeeperIsBound) {
  RawPair pair;
  Sleepers sleepers(1, absl::Milliseconds(100));
  std::thread peer = SendOnceIdle(pair);
  ExpectByte(pair.conn);
  LockOSThread();
  Chan<int> done;
  std::thread teller([&, done]() mutable {
    EXPECT_TRUE(sleepers.AwaitOne());
    EXPECT_TRUE(done.Send(1));
  });
  EXPECT_EQ(done.Receive(), 1);
  UnlockOSThread();
  Join(peer);
  Join(teller);
}

// ---- Ms that run without a break. ----

// With one P only the yielder's own visits to the scheduler can look at the ring.
WEFT_TEST_POLLERS(BusyDuty, ALoneYielderServesItsConnections) {
  const int before = MaxProcs(1);
  Reader reader;
  reader.Start();
  AwaitWaiting(WaitReason::kIoRead, 1);
  std::atomic<bool> served = false;
  std::thread peer([&] {
    reader.Send();
    EXPECT_TRUE(reader.AwaitServed());
    served = true;
  });
  while (!served) Yield();
  Join(peer);
  MaxProcs(before);
}

double CpuSeconds(clockid_t clock) {
  timespec used = {};
  clock_gettime(clock, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) * 1e-9;
}

// A timer is due, and its keeper has no P to fire it with: it must not wake again and again.
WEFT_TEST_POLLERS(BusyDuty, AKeeperWithoutAPDoesNotSpin) {
  if (testing::IsEmulated()) GTEST_SKIP() << "compares CPU times, which an emulator distorts";
  const OneProc one;
  const Sleepers sleeper(1, absl::Milliseconds(20));
  // Makes an M that keeps the timer when this one has come back.
  Blocking([] { EXPECT_TRUE(AwaitOnThread([] { return Stats().idle_procs == 1; })); });
  const double all = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
  const double own = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
  while (CpuSeconds(CLOCK_THREAD_CPUTIME_ID) - own < 0.06) {
  }
  const double used = CpuSeconds(CLOCK_THREAD_CPUTIME_ID) - own;
  EXPECT_LT(CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - all - used, used / 2);
}

// A plain thread sees the end of the stream while the closer computes.
void ExpectEndWhileComputing(const RawPair& pair, std::atomic<bool>& ended) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!ended && std::chrono::steady_clock::now() < until) {
  }
  EXPECT_TRUE(ended) << "of descriptor " << pair.peer;
}

std::thread AwaitEnd(const RawPair& pair, std::atomic<bool>& ended) {
  return std::thread([&] {
    pollfd end = {.fd = pair.peer, .events = POLLRDHUP, .revents = 0};
    ended = poll(&end, 1, static_cast<int>(kPatience.count()) * 1000) == 1;
  });
}

// A goroutine that reads until the connection is closed; the caller's M polls for it.
void StartUntilClosed(RawPair& pair, WaitGroup& group) {
  const OneProc one;
  group.Go([&] {
    char byte = 0;
    EXPECT_TRUE(absl::IsCancelled(pair.conn.Read({&byte, 1}).status()));
  });
  one.AwaitReaders(1);
}

WEFT_TEST_POLLERS(BusyDuty, CloseByAnOwnerThatThenComputesIsSeenAtOnce) {
  RawPair pair;
  WaitGroup group;
  StartUntilClosed(pair, group);
  std::atomic<bool> ended = false;
  std::thread peer = AwaitEnd(pair, ended);
  EXPECT_TRUE(pair.conn.Close());
  if (procs() == 1) group.Wait();  // it holds the last reference to the descriptor
  ExpectEndWhileComputing(pair, ended);
  group.Wait();
  Join(peer);
}

// The cancelled poll's last report stands in line behind those of the others, of which the kernel
// hands out some at a time.
WEFT_TEST_POLLERS(BusyDuty, CloseBesideManyReportsIsSeenAtOnce) {
  constexpr int kOthers = 100;
  RawPair pair;
  Reader others[kOthers];
  {
    const OneProc one;
    for (Reader& other : others) other.Start();
    char byte = 0;
    pair.conn.SetReadDeadline(absl::Now() + absl::Milliseconds(1));
    EXPECT_TRUE(absl::IsDeadlineExceeded(pair.conn.Read({&byte, 1}).status()));
    one.AwaitReaders(kOthers);
  }
  std::atomic<bool> ended = false;
  std::thread peer = AwaitEnd(pair, ended);
  for (const Reader& other : others) other.Send();
  EXPECT_TRUE(pair.conn.Close());
  ExpectEndWhileComputing(pair, ended);
  Join(peer);
}

// The closer is on another M, the owner of the ring computes.
WEFT_TEST_POLLERS(BusyDuty, CloseBesideAnOwnerThatComputesIsSeenAtOnce) {
  if (procs() == 1) return;
  RawPair pair;
  WaitGroup group;
  StartUntilClosed(pair, group);
  std::atomic<bool> ended = false;
  std::thread peer = AwaitEnd(pair, ended);
  group.Go([&] { EXPECT_TRUE(pair.conn.Close()); });
  ExpectEndWhileComputing(pair, ended);
  group.Wait();
  Join(peer);
}

}  // namespace
}  // namespace weft
