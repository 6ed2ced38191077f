// Connections that go to the ring of the M that their readers come to wait on.
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <string>
#include <thread>

#include "tests/emulated.h"
#include "tests/fixture.h"
#include "tests/poll_owner.h"

namespace weft {
namespace {

using testing::kPatience;
using testing::RawPair;

constexpr int kConns = 16;
constexpr std::chrono::microseconds kWork{5};
constexpr size_t kBulk = size_t{16} << 20;  // more than the socket's buffers hold

void Compute() {
  const auto until = std::chrono::steady_clock::now() + kWork;
  while (std::chrono::steady_clock::now() < until) {
  }
}

// Echoes until the end of the stream, with some work for each byte, so that thieves get a part.
void Serve(net::Conn& conn) {
  char byte = 0;
  while (conn.Read({&byte, 1}).value_or(0) == 1) {
    Compute();
    if (!conn.WriteAll({&byte, 1}).ok()) return;
  }
}

// The caller waits parked: its M serves its ring meanwhile.
template <class F>
void OnThread(F fn) {
  WaitGroup done;
  done.Add(1);
  std::thread thread([&] {
    fn();
    done.Done();
  });
  done.Wait();
  thread.join();
}

// From a plain thread: bytes to all, and back, until `done()`. Whether each came back as it was.
template <class F>
bool PlayUntil(const std::deque<RawPair>& pairs, F done) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  char sent = 0;
  while (!done() && std::chrono::steady_clock::now() < until) {
    sent++;
    for (const RawPair& pair : pairs) pair.Send(sent);
    for (const RawPair& pair : pairs) {
      char byte = 0;
      if (recv(pair.peer, &byte, 1, 0) != 1 || byte != sent) return false;
    }
  }
  return true;
}

// The rings' owners sleep meanwhile: nobody enters those that the connections have left.
bool SeesTheEndOf(const RawPair& pair) {
  const timeval patience = {.tv_sec = std::chrono::seconds(kPatience).count(), .tv_usec = 0};
  setsockopt(pair.peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  char byte = 0;
  return recv(pair.peer, &byte, 1, 0) == 0;
}

// (sysmon, which may find an owner busy for long, may have moved them to the shared set.)
bool StayInTheirRing(const RuntimeStats& before) {
  const RuntimeStats now = Stats();
  return now.netpoll_rehomed == before.netpoll_rehomed && now.netpoll_moved == before.netpoll_moved;
}

// One ring has all; then they are played with until some leave it, and for 100 rounds more.
void PlayWithNew() {
  const RuntimeStats before = Stats();
  std::deque<RawPair> pairs(kConns);
  WaitGroup served;
  {
    const testing::OneProc one;
    for (RawPair& pair : pairs) served.Go([&pair] { Serve(pair.conn); });
    one.AwaitReaders(kConns);
  }
  int rounds = 100;
  OnThread([&] {
    EXPECT_TRUE(PlayUntil(pairs, [&] { return !StayInTheirRing(before) && --rounds == 0; }));
  });
  EXPECT_EQ(rounds, 0) << "no connection has left the ring";
  for (RawPair& pair : pairs) EXPECT_TRUE(pair.conn.Close());
  OnThread([&] {
    for (const RawPair& pair : pairs) EXPECT_TRUE(SeesTheEndOf(pair));
  });
  served.Wait();
}

WEFT_TEST_POLLERS(Rehome, ConnectionsGoToTheRingWhereTheyAreRead) {
  if (!testing::UsesRings() || procs() == 1) return;
  if (testing::IsEmulated()) {
    GTEST_SKIP() << "on two emulated CPUs a thief comes by chance";
  }
  const uint64_t before = Stats().netpoll_rehomed;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (Stats().netpoll_rehomed == before && std::chrono::steady_clock::now() < until) {
    PlayWithNew();
  }
  EXPECT_GT(Stats().netpoll_rehomed, before);
}

// A writer that waits while the reader takes the connection along is served by the new ring.
WEFT_TEST_POLLERS(Rehome, AWriterThatWaitsIsServedByTheNewRing) {
  if (!testing::UsesRings() || procs() == 1) return;
  const RuntimeStats before = Stats();
  std::deque<RawPair> pairs(kConns);
  std::atomic<int> reads{0};
  WaitGroup done;
  {
    const testing::OneProc one;
    for (RawPair& pair : pairs) {
      done.Go([&pair, &reads] {
        char byte = 0;
        while (pair.conn.Read({&byte, 1}).value_or(0) == 1) {
          Compute();
          reads++;
        }
      });
      done.Go([&pair] { EXPECT_TRUE(pair.conn.WriteAll(std::string(kBulk, 'w')).ok()); });
    }
    one.AwaitReaders(kConns);
    testing::AwaitWaiting(WaitReason::kIoWrite, kConns);
  }
  OnThread([&] {
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (StayInTheirRing(before) && std::chrono::steady_clock::now() < until) {
      const int seen = reads;
      for (const RawPair& pair : pairs) pair.Send();
      while (reads < seen + kConns) {
      }
    }
    // The writers end.
    std::string sink(1 << 20, 0);
    for (const RawPair& pair : pairs) {
      for (size_t left = kBulk; left > 0;) {
        const ssize_t n = recv(pair.peer, sink.data(), sink.size(), 0);
        ASSERT_GT(n, 0);
        left -= static_cast<size_t>(n);
      }
    }
    for (RawPair& pair : pairs) pair.HangUp();
  });
  EXPECT_FALSE(StayInTheirRing(before));
  done.Wait();
}

}  // namespace
}  // namespace weft
