// Contexts and completions: cancelling against callbacks, children and waits.
#include "tests/model/model.h"
#include "weft/completion.h"
#include "weft/context.h"

namespace weft::model {
namespace {

// Memory that ends with its owner: touched afterwards, the explorer says so.
struct Counted : ContextCallback {
  explicit Counted(os::Plain<int>* total)
      : ContextCallback([](ContextCallback* self) {
          Counted* counted = static_cast<Counted*>(self);
          counted->calls = counted->calls + 1;
          *counted->sum = *counted->sum + 1;
        }),
        sum(total) {}
  os::Plain<int> calls = 0;
  os::Plain<int>* sum;
};

// After Remove no call runs any more, and there was one at most.
MODEL(context_remove_against_cancel) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  os::Plain<int> total = 0;
  Spawn("remover", [&ctx, &total] {
    Counted counted(&total);
    const bool added = ctx.AddCallback(&counted);
    counted.Remove();
    Check(counted.calls <= (added ? 1 : 0), "called once at most");
  });
  Spawn("canceller", [&ctx] { ctx.Cancel(); });
  Join();
  Check(total <= 1, "called once at most");
}

// One of two cancellers calls; a callback that was added in time is called.
MODEL(context_two_cancellers) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  os::Plain<int> total = 0;
  Counted counted(&total);
  Check(ctx.AddCallback(&counted), "it is not done");
  os::Atomic<int> won(0);
  const auto cancel = [&ctx, &won] {
    if (ctx.Cancel()) won.FetchAdd(1, os::kRelaxed<"test.won">);
    Check(ctx.IsDone(), "it is done");
  };
  Spawn("canceller1", cancel);
  Spawn("canceller2", cancel);
  Join();
  Check(won.Load(os::kRelaxed<"test.won.look">) == 1 && total == 1, "one of them");
  counted.Remove();
}

// A child that comes to be, and goes, while its parent is cancelled.
MODEL(context_child_against_cancel) {
  CancelContext parent = Context::WithCancel(Context::Background());
  Spawn("deriver", [&parent] {
    os::Plain<int> total = 0;
    CancelContext child = Context::WithCancel(parent);
    Counted counted(&total);
    if (!child.AddCallback(&counted)) Check(child.IsDone(), "it says why");
    counted.Remove();
    Check(total <= 1, "called once at most");
  });
  Spawn("canceller", [&parent] { parent.Cancel(); });
  Join();
}

// Done() is closed, whoever makes it.
MODEL(context_done_channel) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  Spawn("waiter", [&ctx] { (void)ctx.Done().Receive(); });
  Spawn("canceller", [&ctx] { ctx.Cancel(); });
  Join();
}

MODEL(completion_two_waiters) {
  Completion<int> value;
  os::Plain<int> payload = 0;
  os::Atomic<int> got(0);
  const auto wait = [&] {
    const absl::StatusOr<int> result = value.Wait(Context::Background());
    if (!result.ok()) return;
    Check(*result == 5 && payload == 1, "the value, and what came before it");
    got.FetchAdd(1, os::kRelaxed<"test.got">);
  };
  Spawn("setter", [&] {
    payload = 1;
    Check(value.Set(5), "the first");
  });
  Spawn("waiter1", wait);
  Spawn("waiter2", wait);
  Join();
  Check(got.Load(os::kRelaxed<"test.got.look">) == 1, "one of them has it");
}

// Nothing is lost: the value, or the cancellation; a value that was not taken is there.
MODEL(completion_against_cancel) {
  Completion<int> value;
  CancelContext ctx = Context::WithCancel(Context::Background());
  os::Plain<bool> taken = false;
  Spawn("setter", [&value] { value.Set(5); });
  Spawn("canceller", [&ctx] { ctx.Cancel(); });
  Spawn("waiter", [&] { taken = value.Wait(ctx).ok(); });
  Join();
  Check(value.Wait(Context::Background()).ok() != taken, "who gave up has left it");
}

// The last handles go in any order.
MODEL(completion_dropped) {
  auto* shared = new Completion<int>;
  Spawn("setter", [handle = shared]() mutable {
    Completion<int> own(*handle);
    own.Set(5);
  });
  Spawn("waiter", [handle = shared] {
    Completion<int> own(*handle);
    (void)own.Wait(Context::Background());
  });
  Join();
  delete shared;
}

}  // namespace
}  // namespace weft::model
