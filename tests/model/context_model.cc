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

// Two ask for the channel at once, one of them makes it; the handles go in any order.
MODEL(context_done_twice, 1) {
  alignas(Context) static char rooms[2][sizeof(Context)];
  Context* handles[2] = {};
  {
    CancelContext ctx = Context::WithCancel(Context::Background());
    for (int i = 0; i < 2; i++) handles[i] = new (rooms[i]) Context(ctx);
    ctx.Cancel();
  }
  for (Context* handle : handles) {
    Spawn("waiter", [handle] {
      (void)handle->Done().Receive();
      Check(handle->status().code() == absl::StatusCode::kCancelled, "it says why");
      handle->~Context();
    });
  }
  Join();
}

// A child holds its parent: the last handle of either frees it, with all that was done before.
MODEL(context_dropped_by_child) {
  alignas(Context) static char rooms[2][sizeof(Context)];
  Context* parent = nullptr;
  Context* child = nullptr;
  {
    CancelContext ctx = Context::WithCancel(Context::Background());
    parent = new (rooms[0]) Context(ctx);
    child = new (rooms[1]) Context(Context::WithCancel(ctx));
  }
  Spawn("parent", [parent] {
    os::Plain<int> total = 0;
    Counted counted(&total);
    Check(parent->AddCallback(&counted), "it is not done");
    counted.Remove();
    parent->~Context();
  });
  Spawn("child", [child] { child->~Context(); });
  Join();
}

// Done is seen with its reason.
MODEL(context_status) {
  CancelContext ctx = Context::WithCancel(Context::Background());
  Spawn("looker", [&ctx] {
    const absl::StatusCode code = ctx.status().code();
    Check(code == absl::StatusCode::kOk || code == absl::StatusCode::kCancelled, "it says why");
  });
  Spawn("canceller", [&ctx] { ctx.Cancel(); });
  Join();
}

MODEL(completion_two_waiters, 1) {
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
MODEL(completion_against_cancel, 1) {
  Completion<int> value;
  CancelContext ctx = Context::WithCancel(Context::Background());
  os::Plain<bool> taken = false;
  Spawn("setter", [&value] { value.Set(5); });
  Spawn("canceller", [&ctx] { ctx.Cancel(); });
  Spawn("waiter", [&] { taken = value.Wait(ctx).ok(); });
  Join();
  Check(value.Wait(Context::Background()).ok() != taken, "who gave up has left it");
}

// A value whose end must come after all that was done with it.
struct Tracked {
  explicit Tracked(int first) : value(first) {}
  os::Plain<int> value;
};

// The handles go in any order; the last destroys a value that nobody has taken.
MODEL(completion_dropped) {
  alignas(Completion<Tracked>) static char rooms[2][sizeof(Completion<Tracked>)];
  auto* first = new (rooms[0]) Completion<Tracked>;
  auto* second = new (rooms[1]) Completion<Tracked>(*first);
  Spawn("setter", [first] {
    first->Set(Tracked(5));
    first->~Completion();
  });
  Spawn("looker", [second] {
    (void)second->IsSet();
    second->~Completion();
  });
  Join();
}

MODEL(completion_void) {
  Completion<void> done;
  os::Plain<int> payload = 0;
  Spawn("setter", [&] {
    payload = 1;
    done.Set();
  });
  Spawn("waiter", [&] {
    Check(done.Wait(Context::Background()).ok() && payload == 1, "what came before is seen");
  });
  Join();
}

}  // namespace
}  // namespace weft::model
