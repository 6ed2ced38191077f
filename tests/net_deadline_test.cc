// Deadlines and Contexts of connections. Ported in meaning from Go's net (timeout_test.go:
// TestReadTimeout, TestReadTimeoutMustNotReturn, TestReadTimeoutFluctuation,
// TestVariousDeadlines, TestReadWriteDeadlineRace, TestConcurrentSetDeadline), own code.
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/fixture.h"
#include "tests/net_pair.h"
#include "weft/chan.h"
#include "weft/net.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace weft {
namespace {

using net::Chunk;
using net::Conn;
using net::Listener;
using testing::AwaitWaiting;
using testing::ConnectedPair;
using testing::FillUp;
using testing::LetOthersRun;
using testing::MoreThanFits;
using testing::Pair;

absl::Time In(int64_t ms) {
  return absl::Now() + absl::Milliseconds(ms);
}

WEFT_TEST_POLLERS(NetDeadline, InThePastFailsAtOnce) {
  Pair pair = ConnectedPair();
  ASSERT_TRUE(pair.server.WriteAll("there is input").ok());
  for (absl::Time when : {absl::InfinitePast(), absl::UnixEpoch(), In(-1)}) {
    pair.client.SetDeadline(when);
    absl::Status read = pair.client.Receive().status();
    EXPECT_TRUE(absl::IsDeadlineExceeded(read)) << read;
    EXPECT_NE(read.message().find("read tcp4 "), absl::string_view::npos);
    EXPECT_TRUE(absl::IsDeadlineExceeded(pair.client.WriteAll("x")));
  }
  pair.client.SetDeadline(absl::InfiniteFuture());
  absl::StatusOr<Chunk> chunk = pair.client.Receive();
  ASSERT_TRUE(chunk.ok()) << chunk.status();
  EXPECT_EQ(chunk->view(), "there is input");
  EXPECT_TRUE(pair.client.WriteAll("x").ok());
}

WEFT_TEST_POLLERS(NetDeadline, ReadsTimeOutNeitherEarlyNorVeryLate) {
  Pair pair = ConnectedPair();
  for (int64_t ms : {1, 2, 5, 10, 20, 50}) {
    const absl::Time begin = absl::Now();
    pair.client.SetReadDeadline(begin + absl::Milliseconds(ms));
    absl::Status status = pair.client.Receive().status();
    const absl::Duration took = absl::Now() - begin;
    EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
    // The monotonic clock measures, the wall clock is asked here: they may differ by a little.
    EXPECT_GE(took, absl::Milliseconds(ms) - absl::Microseconds(100));
    EXPECT_LE(took, absl::Milliseconds(ms) + absl::Seconds(2));
  }
}

WEFT_TEST_POLLERS(NetDeadline, WritesTimeOut) {
  Pair pair = ConnectedPair();
  FillUp(pair.client);
  pair.client.SetWriteDeadline(In(20));
  EXPECT_TRUE(absl::IsDeadlineExceeded(pair.client.WriteAll(MoreThanFits())));
  // Reading has a deadline of its own: none.
  ASSERT_TRUE(pair.server.WriteAll("y").ok());
  EXPECT_TRUE(pair.client.Receive().ok());
}

WEFT_TEST_POLLERS(NetDeadline, SetWhileAReaderWaitsItEndsTheWait) {
  Pair pair = ConnectedPair();
  WaitGroup reader;
  reader.Go([&] { EXPECT_TRUE(absl::IsDeadlineExceeded(pair.client.Receive().status())); });
  AwaitWaiting(WaitReason::kIoRead, 1);
  pair.client.SetReadDeadline(In(-1));
  reader.Wait();
  reader.Go([&] { EXPECT_TRUE(absl::IsDeadlineExceeded(pair.client.Receive().status())); });
  pair.client.SetReadDeadline(In(10));
  reader.Wait();
}

WEFT_TEST_POLLERS(NetDeadline, MovedAwayItDoesNotFire) {
  // Again with a later one where it passed before it was moved.
  bool moved = false;
  for (absl::Duration wait = absl::Milliseconds(30); !moved; wait *= 2) {
    Pair pair = ConnectedPair();
    const absl::Time deadline = absl::Now() + wait;
    pair.client.SetReadDeadline(deadline);
    absl::Status status;
    WaitGroup reader;
    reader.Go([&] { status = pair.client.Receive().status(); });
    while (testing::CountWaiting(WaitReason::kIoRead) != 1 && absl::Now() < deadline) Yield();
    pair.client.SetReadDeadline(absl::InfiniteFuture());
    moved = absl::Now() < deadline;
    Sleep(2 * wait);
    ASSERT_TRUE(pair.server.WriteAll("late").ok());
    reader.Wait();
    EXPECT_TRUE(status.ok() || !moved) << status;
  }
}

WEFT_TEST_POLLERS(NetDeadline, MovedToAnEarlierTimeItFiresThen) {
  Pair pair = ConnectedPair();
  WaitGroup reader;
  pair.client.SetReadDeadline(absl::Now() + absl::Hours(1));
  reader.Go([&] { EXPECT_TRUE(absl::IsDeadlineExceeded(pair.client.Receive().status())); });
  AwaitWaiting(WaitReason::kIoRead, 1);
  pair.client.SetReadDeadline(In(5));
  reader.Wait();
}

WEFT_TEST_POLLERS(NetDeadline, ATimeoutLosesNoData) {
  Pair pair = ConnectedPair();
  std::string got;
  WaitGroup writer;
  writer.Go([&] {
    for (int i = 0; i < 100; i++) {
      ASSERT_TRUE(pair.server.WriteAll("0123456789").ok());
      if (i % 4 == 0) Sleep(absl::Microseconds(300));
    }
  });
  int timeouts = 0;
  while (got.size() < 1000) {
    pair.client.SetReadDeadline(absl::Now() + absl::Microseconds(100));
    absl::StatusOr<Chunk> chunk = pair.client.Receive();
    if (chunk.ok()) {
      got.append(chunk->view());
    } else {
      ASSERT_TRUE(absl::IsDeadlineExceeded(chunk.status())) << chunk.status();
      timeouts++;
    }
  }
  EXPECT_EQ(got.size(), 1000u);
  writer.Wait();
}

WEFT_TEST_POLLERS(NetDeadline, MaySetConcurrentlyWithEverything) {
  Pair pair = ConnectedPair();
  WaitGroup all;
  for (int i = 0; i < 3; i++) {
    all.Go([&] {
      for (int j = 0; j < 500; j++) {
        pair.client.SetReadDeadline(absl::Now() + absl::Microseconds(j % 7 * 20));
        pair.client.SetWriteDeadline(absl::Now() + absl::Microseconds(j % 5 * 20));
        Yield();
      }
    });
  }
  WaitGroup io;
  io.Go([&] {
    for (;;) {
      absl::StatusOr<Chunk> chunk = pair.client.Receive();
      if (!chunk.ok() && absl::IsCancelled(chunk.status())) return;
      Yield();
    }
  });
  io.Go([&] {
    for (;;) {
      if (absl::IsCancelled(pair.client.WriteAll("some data"))) return;
      Yield();
    }
  });
  io.Go([&] {
    for (;;) {
      absl::StatusOr<Chunk> chunk = pair.server.Receive();
      if (!chunk.ok() || chunk->empty()) return;
      pair.server.SetWriteDeadline(In(1));
      pair.server.WriteAll(*chunk).IgnoreError();
    }
  });
  all.Wait();
  pair.client.Close();
  io.Wait();
}

// ---- Contexts ----

WEFT_TEST_POLLERS(NetContext, CancelEndsReadWriteAndAccept) {
  Pair pair = ConnectedPair();
  FillUp(pair.client);
  absl::StatusOr<Listener> listener = net::Listen("tcp", "127.0.0.1:0");
  ASSERT_TRUE(listener.ok());
  CancelContext ctx = Context::WithCancel(Context::Background());
  WaitGroup all;
  const auto expect_cancelled = [](const absl::Status& status) {
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    EXPECT_NE(status.message().find("enough"), absl::string_view::npos) << status;
  };
  all.Go([&] { expect_cancelled(pair.client.Receive(ctx).status()); });
  all.Go([&] { expect_cancelled(pair.client.Receive(ctx).status()); });  // waits for its turn
  all.Go([&] { expect_cancelled(pair.client.WriteAll(MoreThanFits(), ctx)); });
  all.Go([&] { expect_cancelled(listener->Accept(ctx).status()); });
  AwaitWaiting(WaitReason::kIoRead, 2);
  AwaitWaiting(WaitReason::kIoWrite, 1);
  AwaitWaiting(WaitReason::kIoLock, 1);
  ctx.Cancel(absl::CancelledError("enough"));
  all.Wait();
  // Done for good, and for itself alone.
  expect_cancelled(pair.client.Receive(ctx).status());
  expect_cancelled(pair.server.WriteAll("x", ctx));
  ASSERT_TRUE(pair.server.WriteAll("x").ok());
  EXPECT_TRUE(pair.client.Receive().ok());
}

WEFT_TEST_POLLERS(NetContext, DeadlineEndsAWait) {
  Pair pair = ConnectedPair();
  CancelContext ctx = Context::WithTimeout(Context::Background(), absl::Milliseconds(10));
  absl::Status status = pair.client.Receive(ctx).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
}

WEFT_TEST(NetContext, TheGoroutinesOwnIsTheDefault) {
  Pair pair = ConnectedPair();
  CancelContext ctx = Context::WithCancel(Context::Background());
  WaitGroup reader;
  reader.Go([&] {
    CurrentContext mine(ctx);
    EXPECT_TRUE(absl::IsCancelled(pair.client.Receive().status()));
  });
  AwaitWaiting(WaitReason::kIoRead, 1);
  ctx.Cancel();
  reader.Wait();
}

WEFT_TEST_POLLERS(NetContext, EachWaitHeedsItsOwn) {
  Pair pair = ConnectedPair();
  CancelContext first = Context::WithCancel(Context::Background());
  CancelContext second = Context::WithCancel(Context::Background());
  ASSERT_TRUE(pair.server.WriteAll("1").ok());
  ASSERT_TRUE(pair.client.Receive(first).ok());
  WaitGroup reader;
  Chan<int> ended(1);
  reader.Go([&] {
    EXPECT_TRUE(absl::IsCancelled(pair.client.Receive(second).status()));
    ASSERT_TRUE(ended.Send(1));
  });
  AwaitWaiting(WaitReason::kIoRead, 1);
  first.Cancel();  // registered once, and no more
  LetOthersRun();
  EXPECT_EQ(ended.size(), 0u);
  second.Cancel();
  reader.Wait();
}

// A cancel that is lost leaves its reader waiting for ever.
WEFT_TEST_POLLERS(NetContext, NoCancelIsLost) {
  Pair pair = ConnectedPair();
  for (int round = 0; round < 1000; round++) {
    CancelContext ctx = Context::WithCancel(Context::Background());
    WaitGroup canceller;
    canceller.Go([&, round] {
      for (int i = 0; i < round % 5; i++) Yield();
      ctx.Cancel();
    });
    // Messages come in between, so that reports and cancels meet.
    if (round % 3 == 0) {
      ASSERT_TRUE(pair.server.WriteAll("x").ok());
    }
    for (;;) {
      absl::StatusOr<Chunk> chunk = pair.client.Receive(ctx);
      if (chunk.ok()) continue;
      ASSERT_TRUE(absl::IsCancelled(chunk.status())) << chunk.status();
      break;
    }
    canceller.Wait();
  }
}

}  // namespace
}  // namespace weft
