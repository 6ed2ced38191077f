// Close, half close and the last handle, from anywhere, at any moment. Ported in meaning from
// Go's net (net_test.go, TestCloseRead, TestCloseUnblocksRead, TestListenerClose,
// TestConcurrentOpenClose) and internal/poll (fd_mutex_test.go), own code.
#include <string>
#include <utility>
#include <vector>

#include "net/fd_mutex.h"
#include "tests/fixture.h"
#include "tests/net_pair.h"
#include "weft/chan.h"
#include "weft/net.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

using net::Chunk;
using net::Conn;
using net::Listener;
using testing::AwaitWaiting;
using testing::ConnectedPair;
using testing::FillUp;
using testing::MoreThanFits;
using testing::Pair;

void ExpectClosed(const absl::Status& status) {
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_NE(status.message().find("use of closed connection"), absl::string_view::npos) << status;
}

WEFT_TEST_POLLERS(NetClose, WakesAReaderThatWaits) {
  Pair pair = ConnectedPair();
  WaitGroup reader;
  reader.Go([&] { ExpectClosed(pair.client.Receive().status()); });
  AwaitWaiting(WaitReason::kIoRead, 1);
  EXPECT_TRUE(pair.client.Close());
  reader.Wait();
  EXPECT_FALSE(pair.client.Close());
}

WEFT_TEST_POLLERS(NetClose, WakesAWriterThatWaits) {
  Pair pair = ConnectedPair();
  FillUp(pair.client);
  WaitGroup writer;
  writer.Go([&] { ExpectClosed(pair.client.WriteAll(MoreThanFits())); });
  AwaitWaiting(WaitReason::kIoWrite, 1);
  EXPECT_TRUE(pair.client.Close());
  writer.Wait();
}

WEFT_TEST_POLLERS(NetClose, WakesEveryAcceptor) {
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  WaitGroup acceptors;
  for (int i = 0; i < 3; i++) {
    acceptors.Go([&] { ExpectClosed(listener->Accept().status()); });
  }
  AwaitWaiting(WaitReason::kIoRead, 1);
  AwaitWaiting(WaitReason::kIoLock, 2);
  EXPECT_TRUE(listener->Close());
  acceptors.Wait();
  EXPECT_NE(listener->Addr().port(), 0);
  // The port is free again.
  EXPECT_TRUE(net::Listen("tcp", listener->Addr().ToString()).ok());
}

WEFT_TEST(NetClose, WakesReadersThatQueueForTheirTurn) {
  Pair pair = ConnectedPair();
  WaitGroup readers;
  for (int i = 0; i < 5; i++) {
    readers.Go([&] {
      char byte = 0;
      ExpectClosed(pair.client.Read({&byte, 1}).status());
    });
  }
  AwaitWaiting(WaitReason::kIoRead, 1);
  AwaitWaiting(WaitReason::kIoLock, 4);
  EXPECT_TRUE(pair.client.Close());
  readers.Wait();
}

WEFT_TEST(NetClose, EveryCallFailsAfterwards) {
  Pair pair = ConnectedPair();
  pair.client.Close();
  char buffer[8];
  ExpectClosed(pair.client.Read(buffer).status());
  ExpectClosed(pair.client.Receive().status());
  ExpectClosed(pair.client.Write("x").status());
  ExpectClosed(pair.client.WriteAll("x"));
  const std::string_view parts[] = {"x", "y"};
  ExpectClosed(pair.client.Writev(parts));
  ExpectClosed(pair.client.CloseWrite());
  pair.client.SetDeadline(absl::Now());
  EXPECT_FALSE(pair.client.LocalAddr().empty());
}

WEFT_TEST_POLLERS(NetClose, ThePeerReadsEndOfStreamWhenTheLastHandleGoes) {
  Pair pair = ConnectedPair();
  Conn copy = pair.client;
  EXPECT_TRUE(copy == pair.client);
  pair.client = Conn();
  ASSERT_TRUE(copy.WriteAll("still there").ok());
  absl::StatusOr<Chunk> chunk = pair.server.Receive();
  ASSERT_TRUE(chunk.ok());
  EXPECT_EQ(chunk->view(), "still there");
  WaitGroup reader;
  reader.Go([&] {
    absl::StatusOr<Chunk> end = pair.server.Receive();
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_TRUE(end->empty());
  });
  AwaitWaiting(WaitReason::kIoRead, 1);
  copy = Conn();
  reader.Wait();
}

WEFT_TEST_POLLERS(NetClose, ClosedWhileItsPollIsArmedThePeerStillReadsEndOfStream) {
  // The kernel's poll holds the socket: unless it is taken out before close, no FIN is sent.
  Pair pair = ConnectedPair();
  WaitGroup readers;
  readers.Go([&] { ExpectClosed(pair.client.Receive().status()); });
  readers.Go([&] {
    absl::StatusOr<Chunk> end = pair.server.Receive();
    ASSERT_TRUE(end.ok()) << end.status();
    EXPECT_TRUE(end->empty());
  });
  AwaitWaiting(WaitReason::kIoRead, 2);
  pair.client.Close();
  readers.Wait();
}

WEFT_TEST_POLLERS(NetClose, RacesWithReadersAndWriters) {
  for (int round = 0; round < 30; round++) {
    Pair pair = ConnectedPair();
    WaitGroup all;
    for (int i = 0; i < 2; i++) {
      all.Go([&] {
        while (pair.client.Receive().ok()) {
        }
      });
      all.Go([&] {
        while (pair.client.WriteAll("some bytes to fill it").ok()) {
        }
      });
      all.Go([&, i] {
        for (int j = 0; j < (round * 7 + i) % 8; j++) Yield();
        pair.client.Close();
      });
    }
    all.Go([&] {
      for (;;) {
        absl::StatusOr<Chunk> chunk = pair.server.Receive();
        if (!chunk.ok() || chunk->empty() || !pair.server.WriteAll(*chunk).ok()) break;
      }
    });
    all.Wait();
  }
}

WEFT_TEST_POLLERS(NetClose, RacesWithAccept) {
  for (int round = 0; round < 50; round++) {
    absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
    ASSERT_TRUE(listener.ok()) << listener.status();
    WaitGroup all;
    for (int i = 0; i < 2; i++) {
      all.Go([&] {
        for (;;) {
          absl::StatusOr<Conn> conn = listener->Accept();
          if (conn.ok()) continue;
          ExpectClosed(conn.status());
          return;
        }
      });
    }
    all.Go([&] {
      for (int i = 0; i < 5; i++) {
        net::Dial("tcp", listener->Addr().ToString()).status().IgnoreError();
      }
    });
    all.Go([&] {
      for (int i = 0; i < round % 20; i++) Yield();
      listener->Close();
    });
    all.Wait();
  }
}

// The number of a closed descriptor is given to the next socket at once: nobody may still use it.
WEFT_TEST_POLLERS(NetClose, AReusedNumberBelongsToItsNewOwnerAlone) {
  for (int round = 0; round < 100; round++) {
    Pair old = ConnectedPair();
    WaitGroup reader;
    reader.Go([&] { ExpectClosed(old.client.Receive().status()); });
    if (round % 2 == 0) AwaitWaiting(WaitReason::kIoRead, 1);
    old.client.Close();
    Pair fresh = ConnectedPair();
    ASSERT_TRUE(fresh.server.WriteAll("for the new one").ok());
    absl::StatusOr<Chunk> chunk = fresh.client.Receive();
    ASSERT_TRUE(chunk.ok()) << chunk.status();
    EXPECT_EQ(chunk->view(), "for the new one");
    reader.Wait();
  }
}

// ---- FdMutex by itself ----

using net::internal::FdMutex;
using net::internal::kClosed;
using net::internal::kContextDone;
using net::internal::Side;

WEFT_TEST(FdMutex, LetsOneReaderAndOneWriterIn) {
  FdMutex mutex;
  const Context& ctx = Context::Background();
  ASSERT_EQ(mutex.Enter(Side::kRead, ctx), 0);
  ASSERT_EQ(mutex.Enter(Side::kWrite, ctx), 0);
  ASSERT_TRUE(mutex.Reference());
  EXPECT_FALSE(mutex.CloseIfIdle());
  Chan<int> in(1);
  WaitGroup second;
  second.Go([&] {
    ASSERT_EQ(mutex.Enter(Side::kRead, ctx), 0);
    ASSERT_TRUE(in.Send(1));
    EXPECT_FALSE(mutex.Leave(Side::kRead));
  });
  AwaitWaiting(WaitReason::kIoLock, 1);
  EXPECT_EQ(in.size(), 0u);
  EXPECT_FALSE(mutex.Leave(Side::kRead));
  EXPECT_EQ(in.Receive(), 1);
  second.Wait();
  EXPECT_FALSE(mutex.Leave(Side::kWrite));
  EXPECT_FALSE(mutex.Unreference());
  EXPECT_TRUE(mutex.CloseIfIdle());
  EXPECT_EQ(mutex.Enter(Side::kRead, ctx), kClosed);
  EXPECT_FALSE(mutex.Reference());
}

WEFT_TEST(FdMutex, TheLastToLeaveFrees) {
  FdMutex mutex;
  const Context& ctx = Context::Background();
  ASSERT_EQ(mutex.Enter(Side::kRead, ctx), 0);
  ASSERT_TRUE(mutex.Close());
  EXPECT_FALSE(mutex.Close());
  EXPECT_FALSE(mutex.Unreference());
  EXPECT_TRUE(mutex.Leave(Side::kRead));
}

WEFT_TEST(FdMutex, AWaiterWhoseContextEndsGivesUp) {
  FdMutex mutex;
  ASSERT_EQ(mutex.Enter(Side::kWrite, Context::Background()), 0);
  CancelContext ctx = Context::WithCancel(Context::Background());
  WaitGroup waiters;
  for (int i = 0; i < 3; i++) {
    waiters.Go([&] { EXPECT_EQ(mutex.Enter(Side::kWrite, ctx), kContextDone); });
  }
  AwaitWaiting(WaitReason::kIoLock, 3);
  ctx.Cancel();
  waiters.Wait();
  // A waiting bit that nobody answers to does no harm.
  EXPECT_FALSE(mutex.Leave(Side::kWrite));
  ASSERT_EQ(mutex.Enter(Side::kWrite, Context::Background()), 0);
  EXPECT_FALSE(mutex.Leave(Side::kWrite));
  EXPECT_TRUE(mutex.CloseIfIdle());
}

WEFT_TEST(FdMutex, ExcludesUnderLoadAndFreesOnce) {
  for (int round = 0; round < 20; round++) {
    FdMutex mutex;
    int inside[2] = {0, 0};
    int freed = 0;
    WaitGroup all;
    for (int i = 0; i < 8; i++) {
      all.Go([&, i] {
        const Side side = i % 2 == 0 ? Side::kRead : Side::kWrite;
        int& count = inside[i % 2];
        for (int j = 0; j < 200; j++) {
          CancelContext ctx = Context::WithCancel(Context::Background());
          if (j % 5 == 0) ctx.Cancel();
          if (mutex.Enter(side, ctx) != 0) continue;
          EXPECT_EQ(count++, 0);
          if (j % 3 == 0) Yield();
          EXPECT_EQ(--count, 0);
          if (mutex.Leave(side)) freed++;
        }
      });
    }
    all.Go([&] {
      for (int j = 0; j < round * 10; j++) Yield();
      EXPECT_TRUE(mutex.Close());
      if (mutex.Unreference()) freed++;
    });
    all.Wait();
    EXPECT_EQ(freed, 1);
  }
}

}  // namespace
}  // namespace weft
