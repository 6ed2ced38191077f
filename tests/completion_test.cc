// Completion.
#include "weft/completion.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/g.h"
#include "tests/fixture.h"
#include "tests/racing.h"
#include "weft/chan.h"
#include "weft/context.h"
#include "weft/go.h"
#include "weft/mutex.h"
#include "weft/waitgroup.h"

namespace {

using weft::CancelContext;
using weft::Chan;
using weft::Completion;
using weft::Context;
using weft::Goroutine;
using weft::Mutex;
using weft::MutexLock;
using weft::WaitGroup;
using weft::WaitReason;
using weft::testing::Race;

// Returns once `g` is parked for `reason`.
void AwaitParked(Goroutine* g, WaitReason reason) {
  while (weft::runtime::ReadGStatus(g) != weft::runtime::Gwaiting || g->wait_reason != reason) {
    weft::Yield();
  }
}

// Starts `fn` and returns once it is parked for `reason`.
template <class F>
void GoAndAwaitParked(WaitReason reason, F fn) {
  Chan<Goroutine*> self(1);
  weft::Go([self, fn]() mutable {
    ASSERT_TRUE(self.Send(weft::Current()));
    fn();
  });
  AwaitParked(*self.Receive(), reason);
}

WEFT_TEST(Completion, BringsAMoveOnlyValueFromAPlainThread) {
  Completion<std::unique_ptr<int>> completion;
  EXPECT_FALSE(completion.IsSet());
  std::thread thread(
      [completion]() mutable { EXPECT_TRUE(completion.Set(std::make_unique<int>(7))); });
  absl::StatusOr<std::unique_ptr<int>> value = completion.Wait();
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(**value, 7);
  EXPECT_TRUE(completion.IsSet());
  weft::Blocking([&] { thread.join(); });
}

WEFT_TEST(Completion, IsSetOnce) {
  Completion<std::string> completion;
  std::string late = "late";
  EXPECT_TRUE(completion.Set("first"));
  EXPECT_FALSE(completion.Set(std::move(late)));
  EXPECT_EQ(late, "late");
  EXPECT_EQ(*completion.Wait(), "first");
  EXPECT_FALSE(completion.Set("again"));
  EXPECT_TRUE(absl::IsFailedPrecondition(completion.Wait().status())) << "the value is gone";
}

WEFT_TEST(Completion, GivesItsValueToOneOfManyWaiters) {
  for (int round = 0; round < 100; round++) {
    Completion<int> completion;
    int got = 0;
    int missed = 0;
    Mutex mutex;
    WaitGroup group;
    for (int i = 0; i < 8; i++) {
      group.Go([&] {
        absl::StatusOr<int> value = completion.Wait();
        MutexLock lock(mutex);
        value.ok() ? got++ : missed++;
      });
    }
    group.Go([&] { completion.Set(3); });
    group.Wait();
    ASSERT_EQ(got, 1);
    ASSERT_EQ(missed, 7);
  }
}

WEFT_TEST(Completion, OfVoidReleasesAllWaiters) {
  Completion<void> completion;
  WaitGroup group;
  for (int i = 0; i < 4; i++)
    group.Go([completion]() mutable { EXPECT_TRUE(completion.Wait().ok()); });
  EXPECT_TRUE(completion.Set());
  EXPECT_FALSE(completion.Set());
  group.Wait();
}

WEFT_TEST(Completion, OfStatusOrReturnsJustThat) {
  Completion<absl::StatusOr<int>> completion;
  completion.Set(absl::NotFoundError("no such row"));
  absl::StatusOr<int> value = completion.Wait();
  EXPECT_TRUE(absl::IsNotFound(value.status()));
}

WEFT_TEST(Completion, WaitEndsWithItsContextAndLeavesTheValue) {
  Completion<int> completion;
  CancelContext ctx = Context::WithCancel(Context::Background());
  Chan<bool> finished;
  GoAndAwaitParked(WaitReason::kCompletion, [&, finished]() mutable {
    EXPECT_TRUE(absl::IsCancelled(completion.Wait(ctx).status()));
    finished.Close();
  });
  ctx.Cancel();
  EXPECT_EQ(finished.Receive(), std::nullopt);
  EXPECT_TRUE(absl::IsCancelled(completion.Wait(ctx).status()));
  completion.Set(5);
  EXPECT_EQ(*completion.Wait(ctx), 5) << "a value that is there is better than a cancellation";
}

WEFT_TEST(Completion, SetMayRaceWithWait) {
  for (int round = 0; round < 1000; round++) {
    Completion<int> completion;
    Race(
        round, [&] { completion.Set(round); },
        [&] { EXPECT_EQ(completion.Wait().value(), round); });
  }
}

WEFT_TEST(Completion, CancelMayRaceWithWait) {
  for (int round = 0; round < 1000; round++) {
    Completion<int> completion;
    CancelContext ctx = Context::WithCancel(Context::Background());
    Race(
        round, [&] { ctx.Cancel(); },
        [&] { EXPECT_TRUE(absl::IsCancelled(completion.Wait(ctx).status())); });
  }
}

WEFT_TEST(Completion, CancelMayRaceWithSet) {
  for (int round = 0; round < 1000; round++) {
    Completion<int> completion;
    CancelContext ctx = Context::WithCancel(Context::Background());
    WaitGroup group;
    group.Go([&] {
      absl::StatusOr<int> value = completion.Wait(ctx);
      EXPECT_TRUE(value.ok() || absl::IsCancelled(value.status()));
    });
    Race(
        round, [&] { ctx.Cancel(); }, [&] { completion.Set(1); });
    group.Wait();
  }
}

WEFT_TEST(Completion, DestroysAValueThatNobodyTook) {
  auto token = std::make_shared<int>(0);
  {
    Completion<std::shared_ptr<int>> completion;
    completion.Set(token);
    EXPECT_EQ(token.use_count(), 2);
  }
  EXPECT_EQ(token.use_count(), 1);
}

}  // namespace
