// Context, Scope and SignalContext. Ported in meaning from Go's context tests where these have a
// counterpart.
#include "weft/context.h"

#include <signal.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/runtime.h"
#include "weft/scope.h"
#include "weft/select.h"
#include "weft/signal_context.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::CancelContext;
using weft::Chan;
using weft::Context;
using weft::ContextCallback;
using weft::CurrentContext;
using weft::Mutex;
using weft::MutexLock;
using weft::Scope;
using weft::WaitGroup;

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
  CancelContext parent = Context::WithTimeout(Context::Background(), absl::Milliseconds(1));
  CancelContext child = Context::WithCancel(parent);
  struct Closing : ContextCallback {
    Closing()
        : ContextCallback(
              [](ContextCallback* self) { static_cast<Closing*>(self)->chan.Close(); }) {}
    Chan<bool> chan;
  } callback;
  ASSERT_TRUE(child.AddCallback(&callback));
  EXPECT_EQ(callback.chan.Receive(), std::nullopt);
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

// ---- Scope ----

WEFT_TEST(Scope, WaitReturnsWhenAllChildrenHaveEnded) {
  int done[20] = {};
  {
    Scope scope;
    for (int& d : done) {
      scope.Go([&d] {
        weft::Yield();
        d = 1;
      });
    }
    EXPECT_TRUE(scope.Wait().ok());
    for (int d : done) EXPECT_EQ(d, 1);
    scope.Go([&done] { done[0] = 2; });
  }
  EXPECT_EQ(done[0], 2) << "its end waits as well";
}

WEFT_TEST(Scope, ChildrenAreGivenItsContextAsTheirOwn) {
  Scope scope;
  scope.Go([&](const Context& ctx) {
    EXPECT_EQ(ctx, scope.context());
    EXPECT_EQ(Context::Current(), scope.context());
    return absl::OkStatus();
  });
  EXPECT_TRUE(scope.Wait().ok());
  EXPECT_EQ(Context::Current(), Context::Background());
}

WEFT_TEST(Scope, TheFirstErrorCancelsTheOthersAndIsReturned) {
  Scope scope(Context::Background());
  for (int i = 0; i < 5; i++) {
    scope.Go([](const Context& ctx) {
      weft::Select(ctx.OnDone());
      EXPECT_TRUE(absl::IsInternal(ctx.cause()));
      return ctx.status();
    });
  }
  scope.Go([] { return absl::InternalError("boom"); });
  EXPECT_EQ(scope.Wait(), absl::InternalError("boom"));
  EXPECT_EQ(scope.context().cause(), absl::InternalError("boom"));
}

WEFT_TEST(Scope, IndependentChildrenAreNotCancelledByAnError) {
  Scope scope(Context::Background(), Scope::kIndependent);
  Chan<bool> failed;
  int finished = 0;
  scope.Go([&](const Context& ctx) {
    weft::Select(failed.OnReceive(nullptr));
    EXPECT_FALSE(ctx.IsDone());
    finished++;
    return absl::OkStatus();
  });
  scope.Go([&] {
    failed.Close();
    return absl::InternalError("boom");
  });
  EXPECT_EQ(scope.Wait(), absl::InternalError("boom"));
  EXPECT_EQ(finished, 1);
}

WEFT_TEST(Scope, AnErrorOfTheBodyCancelsTheChildrenInEitherMode) {
  for (Scope::Mode mode : {Scope::kFailFast, Scope::kIndependent}) {
    Scope scope(Context::Background(), mode);
    scope.Go([](const Context& ctx) {
      weft::Select(ctx.OnDone());
      return ctx.status();
    });
    EXPECT_EQ(scope.Wait(absl::DataLossError("listener gone")),
              absl::DataLossError("listener gone"));
  }
}

WEFT_TEST(Scope, WhenTheParentIsCancelledItsReasonIsReturned) {
  for (Scope::Mode mode : {Scope::kFailFast, Scope::kIndependent}) {
    CancelContext parent = Context::WithCancel(Context::Background());
    Scope scope(parent, mode);
    scope.Go([](const Context& ctx) {
      weft::Select(ctx.OnDone());
      return absl::CancelledError("accept: operation cancelled");
    });
    parent.Cancel(absl::CancelledError("told to stop"));
    EXPECT_EQ(scope.Wait(), parent.status());
    EXPECT_EQ(scope.Wait(absl::CancelledError("the body's own words")), parent.status());
  }
}

WEFT_TEST(Scope, ChildrenThatObeyCancelMakeNoError) {
  Scope scope(Context::Background());
  scope.Go([](const Context& ctx) {
    weft::Select(ctx.OnDone());
    return ctx.status();
  });
  scope.Cancel();
  EXPECT_TRUE(scope.Wait().ok());
}

WEFT_TEST(Scope, ChildrenMayStartChildren) {
  Mutex mutex;
  int count = 0;
  struct Tree {
    Scope& scope;
    Mutex& mutex;
    int& count;
    void Grow(int depth) {
      scope.Go([this, depth] {
        {
          MutexLock lock(mutex);
          count++;
        }
        if (depth > 0) {
          Grow(depth - 1);
          Grow(depth - 1);
        }
      });
    }
  };
  Scope scope;
  Tree tree{scope, mutex, count};
  tree.Grow(7);
  EXPECT_TRUE(scope.Wait().ok());
  EXPECT_EQ(count, 255);
}

WEFT_TEST(Scope, DestroysAFunctionBeforeItCountsItsEnd) {
  for (int round = 0; round < 200; round++) {
    auto token = std::make_shared<int>(0);
    {
      Scope scope;
      for (int i = 0; i < 3; i++) scope.Go([token] { weft::Yield(); });
    }
    ASSERT_EQ(token.use_count(), 1);
  }
}

WEFT_TEST(Scope, AnExceptionThatEndsTheBlockCancels) {
  bool stopped = false;
  auto body = [&] {
    Scope scope(Context::Background());
    scope.Go([&](const Context& ctx) {
      weft::Select(ctx.OnDone());
      stopped = true;
      return ctx.status();
    });
    throw std::runtime_error("body failed");
  };
  EXPECT_THROW(body(), std::runtime_error);
  EXPECT_TRUE(stopped);
}

WEFT_TEST(Scope, GraceContextOutlivesTheContext) {
  CancelContext parent = Context::WithCancel(Context::Background());
  Scope scope(parent, Scope::Options{.grace = absl::Milliseconds(20)});
  const Context& grace = scope.grace_context();
  scope.Go([&](const Context& ctx) {
    weft::Select(ctx.OnDone());
    EXPECT_FALSE(grace.IsDone()) << "20 ms to finish what is in flight";
    weft::Select(grace.OnDone());
    EXPECT_EQ(grace.status(), ctx.status());
    return ctx.status();
  });
  const absl::Time start = absl::Now();
  parent.Cancel();
  EXPECT_EQ(scope.Wait(), parent.status());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
  Scope over(parent, Scope::Options{.grace = absl::ZeroDuration()});
  AwaitDone(over.grace_context());
}

WEFT_TEST(Scope, NamesThoseThatOutstayTheGraceAndGoesOnWaiting) {
  CancelContext parent = Context::WithCancel(Context::Background());
  Chan<uint64_t> id(1);
  Chan<bool> end;
  ::testing::internal::CaptureStderr();
  {
    Scope scope(parent, Scope::Options{.grace = absl::Milliseconds(5)});
    scope.Go([&] {
      ASSERT_TRUE(id.Send(weft::GoroutineId()));
      weft::Select(end.OnReceive(nullptr));
    });
    parent.Cancel(absl::CancelledError("told to stop"));
    // Long enough for the message; the child ends only then.
    weft::AfterFunc(absl::Milliseconds(100), [&] { end.Close(); });
    EXPECT_TRUE(scope.Wait().ok());
    EXPECT_TRUE(end.IsClosed());
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, ::testing::ContainsRegex(
                        "weft: a scope was told to end 5ms ago or longer \\(CANCELLED: context "
                        "cancelled: told to stop\\) and still waits for 1 goroutine: " +
                        std::to_string(*id.Receive())));
}

WEFT_TEST(Scope, MayBeUsedFromAPlainThread) {
  std::thread thread([] {
    int sum = 0;
    Mutex mutex;
    Scope scope;
    for (int i = 0; i < 10; i++) {
      scope.Go([&, i] {
        MutexLock lock(mutex);
        sum += i;
      });
    }
    EXPECT_TRUE(scope.Wait().ok());
    EXPECT_EQ(sum, 45);
  });
  weft::Blocking([&] { thread.join(); });
}

WEFT_TEST(Scope, ChildrenCancelAndEndInAnyOrder) {
  for (int round = 0; round < 200; round++) {
    CancelContext parent = Context::WithTimeout(Context::Background(), absl::Microseconds(round));
    Scope scope(parent, round % 2 == 0 ? Scope::kFailFast : Scope::kIndependent);
    for (int i = 0; i < 6; i++) {
      scope.Go([i](const Context& ctx) -> absl::Status {
        if (i == 3) return absl::InternalError("three");
        if (i % 2 == 0) weft::Yield();
        return i == 5 ? ctx.status() : absl::OkStatus();
      });
    }
    if (round % 3 == 0) parent.Cancel();
    static_cast<void>(scope.Wait());
  }
}

// ---- SignalContext ----

// Counts in a handler of the program's own.
volatile sig_atomic_t program_handler_calls = 0;

WEFT_TEST_POLLERS(SignalContext, IsCancelledByTheSignalAndNamesIt) {
  Context ctx = weft::SignalContext({SIGUSR1, SIGUSR2});
  CancelContext child = Context::WithTimeout(ctx, kLong);
  ExpectLive(ctx);
  kill(getpid(), SIGUSR2);
  AwaitDone(child);
  EXPECT_EQ(ctx.status().message(), "context cancelled: received SIGUSR2");
  EXPECT_EQ(weft::SignalOf(ctx.status()), SIGUSR2);
  EXPECT_EQ(weft::SignalOf(child.status()), SIGUSR2);
  EXPECT_EQ(weft::SignalOf(absl::CancelledError("other")), 0);
}

WEFT_TEST_POLLERS(SignalContext, GivesTheEarlierHandlerBack) {
  program_handler_calls = 0;
  struct sigaction before;
  struct sigaction own = {};
  own.sa_handler = [](int) { program_handler_calls = program_handler_calls + 1; };
  sigaction(SIGUSR1, &own, &before);
  {
    Context first = weft::SignalContext({SIGUSR1});
    Context second = weft::SignalContext({SIGUSR1, SIGUSR2});
    second = Context();
    kill(getpid(), SIGUSR1);
    AwaitDone(first);
    EXPECT_EQ(program_handler_calls, 0);
  }
  struct sigaction now;
  sigaction(SIGUSR1, nullptr, &now);
  EXPECT_EQ(now.sa_handler, own.sa_handler);
  sigaction(SIGUSR2, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
  sigaction(SIGUSR1, &before, nullptr);
}

WEFT_TEST_POLLERS(SignalContext, ANewOneTakesASignalThatAnotherHasSpent) {
  for (int round = 0; round < 5; round++) {
    Context first = weft::SignalContext({SIGUSR1});
    kill(getpid(), SIGUSR1);
    AwaitDone(first);
    Context second = weft::SignalContext({SIGUSR1});
    ExpectLive(second);
    kill(getpid(), SIGUSR1);
    AwaitDone(second);
  }
}

WEFT_TEST_POLLERS(SignalContext, EndsWithItsParent) {
  CancelContext parent = Context::WithCancel(Context::Background());
  Context ctx = weft::SignalContext({SIGUSR1}, parent);
  parent.Cancel();
  ExpectDone(ctx, absl::StatusCode::kCancelled);
  EXPECT_EQ(weft::SignalOf(ctx.status()), 0);
}

// The watcher may be who drops the last handle: here the test's handle goes while it cancels.
WEFT_TEST_POLLERS(SignalContext, MayBeDroppedWhileTheSignalArrives) {
  for (int round = 0; round < 50; round++) {
    Context keeps_handler = weft::SignalContext({SIGUSR1});
    Context ctx = weft::SignalContext({SIGUSR1});
    WaitGroup group;
    group.Go([&] { kill(getpid(), SIGUSR1); });
    group.Go([&] { ctx = Context(); });
    group.Wait();
    AwaitDone(keeps_handler);
  }
}

// While it is there somebody outside can wake the program: no deadlock.
WEFT_TEST_POLLERS(SignalContext, WaitingForItAloneIsNoDeadlock) {
  Context ctx = weft::SignalContext({SIGUSR1});
  std::thread killer([] {
    // Time for all goroutines to be parked, and for a wrong report; the test passes without.
    absl::SleepFor(absl::Milliseconds(20));
    kill(getpid(), SIGUSR1);
  });
  weft::Select(ctx.OnDone());
  weft::Blocking([&] { killer.join(); });
}

TEST(SignalContextDeath, ASecondSignalEndsTheProcess) {
  EXPECT_EXIT(weft::Main([] {
                Context ctx = weft::SignalContext({SIGINT, SIGTERM});
                kill(getpid(), SIGINT);
                weft::Select(ctx.OnDone());
                kill(getpid(), SIGTERM);
                weft::Sleep(absl::Seconds(30));
              }),
              ::testing::KilledBySignal(SIGTERM), "");
}

TEST(SignalContextMisuse, SignalsThatCannotBeCaughtAreFatal) {
  EXPECT_FATAL([] { static_cast<void>(weft::SignalContext({SIGKILL})); },
               "signal 9 cannot be caught");
  EXPECT_FATAL([] { static_cast<void>(weft::SignalContext({65})); }, "no signal 65");
}

}  // namespace
