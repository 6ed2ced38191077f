// The kernel refuses for a while what the netpoller asks of it: nothing is lost, nothing hangs.
#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/fixture.h"
#include "tests/poll_owner.h"

namespace weft {
namespace {

using testing::AwaitWaiting;
using testing::ConnectedPair;
using testing::Faults;
using testing::Pair;
using testing::RawPair;
using testing::Reader;
using testing::StartHere;

// ---- io_uring_enter fails. ----

std::atomic<uint32_t> enters;

template <uint32_t kEvery, int kError>
int FailEvery(os::FaultPoint point) {
  return point == os::FaultPoint::kUringEnter && enters++ % kEvery == 0 ? kError : 0;
}
// All calls for a while, then none for a while.
int FailInSpells(os::FaultPoint point) {
  return point == os::FaultPoint::kUringEnter && enters++ % 1000 < 500 ? EAGAIN : 0;
}
int FailAlmostAlways(os::FaultPoint point) {
  const uint32_t n = point == os::FaultPoint::kUringEnter ? enters++ % 3 : 2;
  return n == 0 ? EAGAIN : n == 1 ? EBUSY : 0;
}

// Connections that are opened, carry bytes to and fro and are closed by one of the ends.
void Traffic(int connections) {
  WaitGroup all;
  for (int c = 0; c < connections; c++) {
    all.Go([c] {
      Pair pair = ConnectedPair();
      WaitGroup echo;
      echo.Go([&] {
        absl::StatusOr<net::Chunk> chunk = pair.server.Receive();
        while (chunk.ok() && !chunk->empty() && pair.server.WriteAll(*chunk).ok()) {
          chunk = pair.server.Receive();
        }
        EXPECT_TRUE(chunk.ok() || absl::IsCancelled(chunk.status())) << chunk.status();
      });
      for (int i = 0; i < 20; i++) {
        const std::string sent = std::to_string(c * 1000 + i);
        ASSERT_TRUE(pair.client.WriteAll(sent).ok());
        absl::StatusOr<net::Chunk> got = pair.client.Receive();
        ASSERT_TRUE(got.ok()) << got.status();
        ASSERT_EQ(got->view(), sent);
      }
      (c % 2 == 0 ? pair.client : pair.server).Close();
      echo.Wait();
    });
  }
  all.Wait();
}

void TrafficWith(os::FaultHook hook) {
  enters = 0;
  Faults faults(hook);
  Traffic(8);
  // Whoever sleeps in a ring is woken in spite of it.
  Reader reader;
  reader.Start();
  AwaitWaiting(WaitReason::kIoRead, 1);
  reader.Send();
  Blocking([&] { EXPECT_TRUE(reader.AwaitServed()); });
  if (testing::UsesRings()) {
    EXPECT_GT(enters, 0u);
  }
}

WEFT_TEST_POLLERS(NetpollFault, EnterThatIsToBeTriedAgainLosesNothing) {
  TrafficWith(FailEvery<2, EAGAIN>);
  TrafficWith(FailEvery<7, EAGAIN>);
}

WEFT_TEST_POLLERS(NetpollFault, EnterThatFindsTheRingBusyLosesNothing) {
  TrafficWith(FailEvery<2, EBUSY>);
  TrafficWith(FailEvery<7, EBUSY>);
}

WEFT_TEST_POLLERS(NetpollFault, EnterThatMostlyFailsLosesNothing) {
  TrafficWith(FailAlmostAlways);
}

WEFT_TEST_POLLERS(NetpollFault, EnterThatFailsForAWhileLosesNothing) {
  TrafficWith(FailInSpells);
}

// The kernel had no memory for a completion.
WEFT_TEST_POLLERS(NetpollFault, ACompletionThatTheKernelDroppedLosesNothing) {
  TrafficWith(FailEvery<5, EBADR>);
}

// ---- epoll_ctl fails. ----

std::atomic<int> adds;

int NoMoreWatches(os::FaultPoint point) {
  if (point != os::FaultPoint::kEpollAdd) return 0;
  adds++;
  return ENOSPC;
}

void ExpectNoSpace(const absl::Status& status) {
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_NE(status.message().find("No space left on device"), absl::string_view::npos) << status;
}

WEFT_TEST_POLLERS(NetpollFault, AListenerThatCannotBeWatchedSaysSo) {
  absl::StatusOr<net::Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  {
    Faults faults(NoMoreWatches);
    ExpectNoSpace(listener->Accept().status());
  }
  // Others are not concerned, nor is anybody later.
  Pair pair = ConnectedPair();
  ASSERT_TRUE(pair.client.WriteAll("x").ok());
  EXPECT_TRUE(pair.server.Receive().ok());
}

// A bound goroutine's connections are in the shared set, with both pollers.
WEFT_TEST_POLLERS(NetpollFault, AConnectionThatCannotBeWatchedSaysSo) {
  RawPair pair;
  {
    Faults faults(NoMoreWatches);
    LockOSThread();
    char byte = 0;
    ExpectNoSpace(pair.conn.Read({&byte, 1}).status());
    ExpectNoSpace(pair.conn.Receive().status());
    UnlockOSThread();
    // What is there needs no waiting.
    EXPECT_TRUE(pair.conn.WriteAll("y").ok());
  }
  EXPECT_TRUE(pair.conn.Close());
  Reader later;
  later.Start();
  later.Send();
}

// The connection is in no poller any more then: its reader tries, and registers it again, or is
// told that this is refused as well.
WEFT_TEST_POLLERS(NetpollFault, AConnectionThatCannotBeMovedIsServedOrSaysSo) {
  if (!testing::UsesRings()) return;
  adds = 0;
  Faults faults(NoMoreWatches);
  Reader reader;
  StartHere(reader);
  Blocking([&] {
    reader.Send();
    EXPECT_TRUE(reader.AwaitServed());
  });
  if (!reader.status().ok()) ExpectNoSpace(reader.status());
  EXPECT_GT(adds, 0);
}

WEFT_TEST_POLLERS(NetpollFault, AConnectionWhoseMoveFailedIsServedAfterwards) {
  if (!testing::UsesRings()) return;
  adds = 0;
  Faults faults(NoMoreWatches);
  Reader reader;
  StartHere(reader);
  Blocking([&] {
    EXPECT_TRUE(testing::AwaitOnThread([] { return adds > 0; }));
    testing::AwaitRest();
    faults.End();
    reader.Send();
    EXPECT_TRUE(reader.AwaitServed());
  });
  if (!reader.status().ok()) ExpectNoSpace(reader.status());
}

WEFT_TEST_POLLERS(NetpollFault, ManyThatCannotBeMovedAreServedOrSaySo) {
  constexpr int kReaders = 50;
  Reader readers[kReaders];
  StartHere(readers);
  Faults faults([](os::FaultPoint point) {
    return point == os::FaultPoint::kEpollAdd && adds++ % 3 != 0 ? ENOSPC : 0;
  });
  Blocking([&] {
    for (const Reader& reader : readers) reader.Send();
    for (Reader& reader : readers) EXPECT_TRUE(reader.AwaitServed());
  });
  for (Reader& reader : readers) {
    if (!reader.status().ok()) ExpectNoSpace(reader.status());
  }
}

}  // namespace
}  // namespace weft
