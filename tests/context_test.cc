// Context and ContextCallback. Ported in meaning from Go's context tests where these have a
// counterpart.
#include "weft/context.h"

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/fixture.h"
#include "tests/racing.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/waitgroup.h"

namespace {

using weft::CancelContext;
using weft::Chan;
using weft::Context;
using weft::ContextCallback;
using weft::CurrentContext;
using weft::WaitGroup;
using weft::testing::Race;

constexpr absl::Duration kLong = absl::Hours(1000);

// Whether OnDone's case can go on now.
bool IsDoneBySelect(const Context& ctx) {
  return weft::TrySelect(ctx.OnDone()) == 0;
}

void ExpectLive(const Context& ctx) {
  EXPECT_FALSE(ctx.IsDone());
  EXPECT_FALSE(IsDoneBySelect(ctx));
  EXPECT_TRUE(ctx.status().ok());
  EXPECT_TRUE(ctx.cause().ok());
}

void ExpectDone(const Context& ctx, absl::StatusCode code) {
  EXPECT_TRUE(ctx.IsDone());
  EXPECT_TRUE(IsDoneBySelect(ctx));
  EXPECT_EQ(ctx.status().code(), code) << ctx.status();
}

void AwaitDone(const Context& ctx) {
  ASSERT_EQ(weft::Select(ctx.OnDone(), weft::After(absl::Seconds(20))), 0) << "never done";
}

// Counts its calls.
struct Counting : ContextCallback {
  Counting()
      : ContextCallback([](ContextCallback* self) { static_cast<Counting*>(self)->calls++; }) {}
  int calls = 0;
};

// ---- Context ----

WEFT_TEST(Context, BackgroundIsNeverDone) {
  const Context background;
  ExpectLive(background);
  ExpectLive(Context::Background());
  EXPECT_EQ(background, Context::Background());
  EXPECT_EQ(background.deadline(), std::nullopt);
  Counting callback;
  EXPECT_TRUE(background.AddCallback(&callback));
  EXPECT_TRUE(callback.Watches(background));
  callback.Remove();
}

WEFT_TEST(Context, CancelEndsItAndAllThatDeriveFromIt) {
  CancelContext parent = Context::WithCancel(Context::Background());
  CancelContext child = Context::WithCancel(parent);
  CancelContext timed = Context::WithTimeout(parent, kLong);
  CancelContext grandchild = Context::WithCancel(timed);
  CancelContext other = Context::WithCancel(Context::Background());
  for (const Context& ctx :
       {Context(parent), Context(child), Context(timed), Context(grandchild)}) {
    ExpectLive(ctx);
  }
  EXPECT_TRUE(parent.Cancel());
  EXPECT_FALSE(parent.Cancel());
  for (const Context& ctx :
       {Context(parent), Context(child), Context(timed), Context(grandchild)}) {
    ExpectDone(ctx, absl::StatusCode::kCancelled);
  }
  ExpectLive(other);
  EXPECT_EQ(weft::Stats().timers, 0) << "a cancelled context keeps no timer";
  ExpectDone(Context::WithCancel(parent), absl::StatusCode::kCancelled);
  ExpectDone(Context::WithTimeout(parent, kLong), absl::StatusCode::kCancelled);
}

WEFT_TEST(Context, AChildThatEndsFirstLeavesItsParentAlone) {
  CancelContext parent = Context::WithCancel(Context::Background());
  CancelContext child = Context::WithCancel(parent);
  child.Cancel();
  ExpectDone(child, absl::StatusCode::kCancelled);
  ExpectLive(parent);
}

WEFT_TEST(Context, StatusCarriesTheCause) {
  CancelContext parent = Context::WithCancel(Context::Background());
  CancelContext child = Context::WithTimeout(parent, kLong);
  absl::Status cause = absl::DataLossError("disk on fire");
  cause.SetPayload("weft/test", absl::Cord("seven"));
  EXPECT_TRUE(parent.Cancel(cause));
  EXPECT_FALSE(child.Cancel(absl::InternalError("too late")));
  EXPECT_EQ(child.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(child.status().message(),
            "context cancelled: DATA_LOSS: disk on fire [weft/test='seven']");
  EXPECT_EQ(child.cause(), cause);
  EXPECT_TRUE(child.status().GetPayload("weft/test").has_value());
  CancelContext plain = Context::WithCancel(Context::Background());
  plain.Cancel();
  EXPECT_EQ(plain.status(), absl::CancelledError("context cancelled"));
  EXPECT_EQ(plain.cause(), plain.status());
  CancelContext told = Context::WithCancel(Context::Background());
  told.Cancel(absl::CancelledError("user left"));
  EXPECT_EQ(told.status(), absl::CancelledError("context cancelled: user left"));
}

WEFT_TEST(Context, ADeadlineEndsIt) {
  for (const CancelContext& ctx :
       {Context::WithTimeout(Context::Background(), absl::Milliseconds(1)),
        Context::WithDeadline(Context::Background(), absl::Now() + absl::Milliseconds(1)),
        Context::WithTimeout(Context::WithTimeout(Context::Background(), absl::Milliseconds(1)),
                             kLong),
        Context::WithCancel(Context::WithTimeout(Context::Background(), absl::Milliseconds(1)))}) {
    EXPECT_TRUE(ctx.deadline().has_value());
    AwaitDone(ctx);
    ExpectDone(ctx, absl::StatusCode::kDeadlineExceeded);
    EXPECT_TRUE(absl::IsDeadlineExceeded(ctx.cause()));
  }
}

WEFT_TEST(Context, ADeadlineInThePastEndsItAtOnce) {
  ExpectDone(Context::WithTimeout(Context::Background(), absl::ZeroDuration()),
             absl::StatusCode::kDeadlineExceeded);
  ExpectDone(Context::WithDeadline(Context::Background(), absl::Now() - absl::Seconds(1)),
             absl::StatusCode::kDeadlineExceeded);
  ExpectDone(Context::WithDeadline(Context::Background(), absl::InfinitePast()),
             absl::StatusCode::kDeadlineExceeded);
}

WEFT_TEST(Context, TheEarliestDeadlineOfAllParentsCounts) {
  const absl::Time when = absl::Now() + absl::Hours(2);
  CancelContext early = Context::WithDeadline(Context::Background(), when);
  CancelContext late = Context::WithTimeout(early, absl::Hours(5));
  CancelContext never = Context::WithDeadline(late, absl::InfiniteFuture());
  EXPECT_EQ(weft::Stats().timers, 1) << "one deadline can pass first, it alone has a timer";
  for (const Context& ctx : {Context(early), Context(late), Context(never)}) {
    ASSERT_TRUE(ctx.deadline().has_value());
    EXPECT_LT(absl::AbsDuration(*ctx.deadline() - when), absl::Minutes(1));
  }
  EXPECT_EQ(Context::WithTimeout(Context::Background(), absl::InfiniteDuration()).deadline(),
            std::nullopt);
}

WEFT_TEST(Context, CancelBeforeTheDeadlineIsACancellation) {
  CancelContext ctx = Context::WithTimeout(Context::Background(), kLong);
  EXPECT_TRUE(ctx.Cancel());
  ExpectDone(ctx, absl::StatusCode::kCancelled);
}

WEFT_TEST(Context, DroppingTheHandlesFreesTimerAndPlaceInTheParent) {
  CancelContext parent = Context::WithCancel(Context::Background());
  for (int i = 0; i < 100; i++) {
    CancelContext child = Context::WithTimeout(parent, kLong);
    Context grandchild = Context::WithCancel(child);
    EXPECT_EQ(weft::Stats().timers, 1);
  }
  EXPECT_EQ(weft::Stats().timers, 0);
  parent.Cancel();
}

WEFT_TEST(Context, AChildKeepsItsParent) {
  std::optional<CancelContext> parent =
      Context::WithTimeout(Context::Background(), absl::Milliseconds(2));
  CancelContext child = Context::WithCancel(*parent);
  parent.reset();
  AwaitDone(child);
  ExpectDone(child, absl::StatusCode::kDeadlineExceeded);
}

// A chain that no recursion on a goroutine's stack could follow, down or up.
WEFT_TEST(Context, ADeepChainIsCancelledAndFreed) {
  constexpr int kDepth = 100'000;
  CancelContext root = Context::WithCancel(Context::Background());
  Context leaf = root;
  Context middle;
  for (int i = 0; i < kDepth; i++) {
    leaf = Context::WithCancel(leaf);
    if (i == kDepth / 2) middle = leaf;
  }
  EXPECT_TRUE(root.Cancel());
  EXPECT_TRUE(leaf.IsDone());
  leaf = Context();
  EXPECT_TRUE(middle.IsDone());
}

WEFT_TEST(Context, DoneIsTheSameClosedChannelForAll) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  Context copy = ctx;
  EXPECT_EQ(ctx.Done(), copy.Done());
  WaitGroup group;
  for (int i = 0; i < 5; i++)
    group.Go([done = copy.Done()]() mutable { EXPECT_EQ(done.Receive().has_value(), false); });
  ctx.Cancel();
  group.Wait();
  CancelContext cancelled = Context::WithCancel(Context::Background());
  cancelled.Cancel();
  EXPECT_TRUE(cancelled.Done().IsClosed()) << "asked for after the cancellation";
  EXPECT_EQ(Context::Background().Done(), Chan<weft::ContextDone>(nullptr));
}

// Go's TestSimultaneousCancels.
WEFT_TEST(Context, AWholeTreeMayBeCancelledAtOnce) {
  std::vector<CancelContext> tree = {Context::WithCancel(Context::Background())};
  for (size_t i = 0; tree.size() < 100; i++) {
    for (int k = 0; k < 4; k++) {
      CancelContext child = Context::WithCancel(tree[i]);
      tree.push_back(std::move(child));
    }
  }
  WaitGroup group;
  for (size_t i = tree.size(); i-- > 0;) group.Go([ctx = tree[i]]() mutable { ctx.Cancel(); });
  for (const CancelContext& ctx : tree) AwaitDone(ctx);
  group.Wait();
}

// Go's TestInterlockedCancels.
WEFT_TEST(Context, CancellingAChildFromItsParentsEndDoesNotBlock) {
  CancelContext parent = Context::WithCancel(Context::Background());
  CancelContext child = Context::WithCancel(parent);
  WaitGroup group;
  group.Go([&] {
    weft::Select(parent.OnDone());
    child.Cancel();
  });
  parent.Cancel();
  AwaitDone(child);
  group.Wait();
}

WEFT_TEST(Context, CancelMayRaceWithDerivingAndDropping) {
  for (int round = 0; round < 100; round++) {
    CancelContext parent = Context::WithCancel(Context::Background());
    WaitGroup group;
    for (int g = 0; g < 4; g++) {
      group.Go([&, g] {
        for (int i = 0; i < 50; i++) {
          CancelContext child = g % 2 == 0 ? Context::WithCancel(parent)
                                           : Context::WithTimeout(parent, absl::Microseconds(i));
          CancelContext grandchild = Context::WithCancel(child);
          if (i % 8 == g) grandchild.Cancel();
          if (i % 16 == 5) weft::Yield();
        }
      });
    }
    group.Go([&] {
      weft::Yield();
      parent.Cancel();
    });
    group.Wait();
    EXPECT_EQ(weft::Stats().timers, 0);
  }
}

WEFT_TEST(Context, DroppingAChildMayRaceWithItsParentsCancel) {
  for (int round = 0; round < 1000; round++) {
    CancelContext parent = Context::WithCancel(Context::Background());
    Context child = Context::WithCancel(Context::WithCancel(parent));
    Race(
        round, [&] { parent.Cancel(); }, [&] { child = Context(); });
  }
}

WEFT_TEST(Context, DeadlinesMayPassWhileTheyAreCancelledAndDropped) {
  for (int i = 0; i < 2000; i++) {
    CancelContext ctx =
        Context::WithTimeout(Context::Background(), absl::Nanoseconds(i % 60 * 100));
    CancelContext child = Context::WithCancel(ctx);
    if (i % 3 == 0) weft::Yield();
    if (i % 2 == 0) ctx.Cancel();
  }
}

WEFT_TEST(Context, MayBeUsedOnPlainThreads) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  std::thread thread([&] {
    EXPECT_EQ(Context::Current(), Context::Background());
    CurrentContext own(ctx);
    EXPECT_EQ(Context::Current(), ctx);
    CancelContext child = Context::WithTimeout(ctx, absl::Milliseconds(1));
    weft::Select(child.OnDone());
    EXPECT_TRUE(absl::IsDeadlineExceeded(child.status()));
    ctx.Cancel();
  });
  AwaitDone(ctx);
  weft::Blocking([&] { thread.join(); });
}

WEFT_TEST(Context, CurrentIsTheGoroutinesOwn) {
  EXPECT_EQ(Context::Current(), Context::Background());
  CancelContext outer = Context::WithCancel(Context::Background());
  {
    CurrentContext own(outer);
    EXPECT_EQ(Context::Current(), outer);
    CancelContext inner = Context::WithCancel(Context::Current());
    {
      CurrentContext nested(inner);
      EXPECT_EQ(Context::Current(), inner);
      WaitGroup group;
      group.Go([] { EXPECT_EQ(Context::Current(), Context::Background()) << "not inherited"; });
      group.Wait();
    }
    EXPECT_EQ(Context::Current(), outer);
  }
  EXPECT_EQ(Context::Current(), Context::Background());
}

// ---- ContextCallback ----

WEFT_TEST(ContextCallback, IsCalledOnceAndNotAfterRemove) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  Counting called;
  Counting removed;
  ASSERT_TRUE(ctx.AddCallback(&called));
  ASSERT_TRUE(ctx.AddCallback(&removed));
  EXPECT_TRUE(called.Watches(ctx));
  EXPECT_FALSE(called.Watches(Context::Background()));
  removed.Remove();
  removed.Remove();
  EXPECT_FALSE(removed.Watches(ctx));
  ctx.Cancel();
  EXPECT_EQ(called.calls, 1);
  EXPECT_EQ(removed.calls, 0);
  called.Remove();
  EXPECT_FALSE(ctx.AddCallback(&called)) << "done already";
  EXPECT_EQ(called.calls, 1);
}

WEFT_TEST(ContextCallback, IsCalledByTheDeadlineOfAParent) {
  struct Closing : ContextCallback {
    Closing()
        : ContextCallback(
              [](ContextCallback* self) { static_cast<Closing*>(self)->chan.Close(); }) {}
    Chan<bool> chan;
  };
  // Again with a later one where a deadline passed before the callback was added.
  for (absl::Duration timeout = absl::Milliseconds(1);; timeout *= 2) {
    Closing callback;
    CancelContext child = Context::WithCancel(Context::WithTimeout(Context::Background(), timeout));
    if (!child.AddCallback(&callback)) continue;
    EXPECT_EQ(callback.chan.Receive(), std::nullopt);
    return;
  }
}

WEFT_TEST(ContextCallback, KeepsItsContext) {
  std::optional<CancelContext> ctx =
      Context::WithTimeout(Context::Background(), absl::Milliseconds(1));
  struct Closing : ContextCallback {
    Closing()
        : ContextCallback(
              [](ContextCallback* self) { static_cast<Closing*>(self)->chan.Close(); }) {}
    Chan<bool> chan;
  } callback;
  ASSERT_TRUE(ctx->AddCallback(&callback) || ctx->IsDone());
  const bool added = callback.Watches(*ctx);
  ctx.reset();
  if (added) weft::Select(callback.chan.OnReceive(nullptr));
}

// When Remove returns the callback does not run: what it uses may be destroyed.
WEFT_TEST(ContextCallback, RemoveWaitsForACallThatIsUnderWay) {
  for (int round = 0; round < 500; round++) {
    CancelContext ctx = Context::WithCancel(Context::Background());
    WaitGroup group;
    for (int g = 0; g < 3; g++) {
      group.Go([&, g] {
        auto callback = std::make_unique<Counting>();
        if (!ctx.AddCallback(callback.get())) return;
        if (g == 1) weft::Yield();
        callback->Remove();
        const int calls = callback->calls;
        EXPECT_LE(calls, 1);
        callback.reset();
      });
    }
    group.Go([&] { ctx.Cancel(); });
    group.Wait();
  }
}

WEFT_TEST(ContextCallback, IsCalledOrRefusedWhenAddingRacesWithCancel) {
  for (int round = 0; round < 1000; round++) {
    CancelContext ctx = Context::WithCancel(Context::Background());
    Counting callback;
    bool added = false;
    Race(
        round, [&] { ctx.Cancel(); }, [&] { added = ctx.AddCallback(&callback); });
    ASSERT_EQ(callback.calls, added ? 1 : 0);
  }
}

// The callback's memory goes as soon as Remove returns.
WEFT_TEST(ContextCallback, RemoveMayRaceWithTheCall) {
  struct Slow : ContextCallback {
    Slow()
        : ContextCallback([](ContextCallback* self) {
            Slow* slow = static_cast<Slow*>(self);
            slow->running = true;
            for (int i = 0; i < 50; i++) slow->running.load();
            slow->running = false;
          }) {}
    std::atomic<bool> running = false;
  };
  for (int round = 0; round < 1000; round++) {
    CancelContext ctx = Context::WithCancel(Context::Background());
    Slow callback;
    ASSERT_TRUE(ctx.AddCallback(&callback));
    Race(
        round, [&] { ctx.Cancel(); },
        [&] {
          callback.Remove();
          EXPECT_FALSE(callback.running);
        });
  }
}

WEFT_TEST(ContextCallback, RemoveFromAPlainThreadWaitsToo) {
  for (int round = 0; round < 100; round++) {
    CancelContext ctx = Context::WithCancel(Context::Background());
    auto callback = std::make_unique<Counting>();
    const bool added = ctx.AddCallback(callback.get());
    ASSERT_TRUE(added);
    std::thread thread([&] {
      callback->Remove();
      callback.reset();
    });
    ctx.Cancel();
    weft::Blocking([&] { thread.join(); });
  }
}

}  // namespace
