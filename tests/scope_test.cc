// Scope and SignalContext.
#include "weft/scope.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/fixture.h"
#include "weft/chan.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/runtime.h"
#include "weft/select.h"
#include "weft/signal_context.h"
#include "weft/time.h"
#include "weft/waitgroup.h"

namespace {

using weft::CancelContext;
using weft::Chan;
using weft::Context;
using weft::Mutex;
using weft::MutexLock;
using weft::Scope;
using weft::WaitGroup;

void AwaitDone(const Context& ctx) {
  ASSERT_EQ(weft::Select(ctx.OnDone(), weft::After(absl::Seconds(20))), 0) << "never done";
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
  absl::Time start;
  scope.Go([&](const Context& ctx) {
    weft::Select(ctx.OnDone());
    EXPECT_TRUE(!grace.IsDone() || absl::Now() - start >= absl::Milliseconds(20));
    weft::Select(grace.OnDone());
    EXPECT_EQ(grace.status(), ctx.status());
    return ctx.status();
  });
  start = absl::Now();
  parent.Cancel();
  EXPECT_EQ(scope.Wait(), parent.status());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(20));
  Scope over(parent, Scope::Options{.grace = absl::ZeroDuration()});
  AwaitDone(over.grace_context());
}

// Stderr, for as long as it lives.
class StderrPipe {
 public:
  StderrPipe() : stderr_(dup(2)) {
    EXPECT_EQ(pipe(ends_), 0);
    dup2(ends_[1], 2);
  }
  ~StderrPipe() {
    dup2(stderr_, 2);
    for (int fd : {stderr_, ends_[0], ends_[1]}) close(fd);
  }
  std::string ReadLine() {
    std::string line;
    weft::Blocking([&] {
      char c = 0;
      while (read(ends_[0], &c, 1) == 1 && c != '\n') line += c;
    });
    return line;
  }

 private:
  int stderr_;
  int ends_[2];
};

WEFT_TEST(Scope, NamesThoseThatOutstayTheGraceAndGoesOnWaiting) {
  CancelContext parent = Context::WithCancel(Context::Background());
  std::string line;
  uint64_t goroutine = 0;
  bool ended = false;
  {
    StderrPipe text;
    Scope scope(parent, Scope::Options{.grace = absl::Milliseconds(5)});
    scope.Go([&] {
      goroutine = weft::GoroutineId();
      line = text.ReadLine();
      ended = true;
    });
    parent.Cancel(absl::CancelledError("told to stop"));
    EXPECT_TRUE(scope.Wait().ok());
    EXPECT_TRUE(ended);
  }
  EXPECT_EQ(
      line,
      "weft: a scope was told to end 5ms ago or longer (CANCELLED: context cancelled: told to "
      "stop) and still waits for 1 goroutine: " +
          std::to_string(goroutine) + ". SIGQUIT shows what they do.");
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
  CancelContext child = Context::WithTimeout(ctx, absl::Hours(1000));
  EXPECT_FALSE(ctx.IsDone());
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
    EXPECT_FALSE(second.IsDone());
    kill(getpid(), SIGUSR1);
    AwaitDone(second);
  }
}

WEFT_TEST_POLLERS(SignalContext, EndsWithItsParent) {
  CancelContext parent = Context::WithCancel(Context::Background());
  Context ctx = weft::SignalContext({SIGUSR1}, parent);
  parent.Cancel();
  EXPECT_TRUE(absl::IsCancelled(ctx.status()));
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

// While it is there somebody outside can wake the program: no deadlock. The signal comes from a
// timer of the kernel, since another thread of the process would rule a deadlock out as well.
WEFT_TEST_POLLERS(SignalContext, WaitingForItAloneIsNoDeadlock) {
  Context ctx = weft::SignalContext({SIGUSR1});
  sigevent event = {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR1;
  timer_t timer;
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  const itimerspec in_10_ms = {.it_interval = {}, .it_value = {.tv_sec = 0, .tv_nsec = 10'000'000}};
  ASSERT_EQ(timer_settime(timer, 0, &in_10_ms, nullptr), 0);
  weft::Select(ctx.OnDone());
  timer_delete(timer);
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
