// Completion: see weft/completion.h. The values are moved there; here is who may move, and when.
//
// Words: state, kEmpty -> kFilling -> kSet -> kTaken; the queue of those who wait; refs.
//   1. Set: CAS kEmpty -> kFilling: the setter owns the slot, and builds the value in it without
//      any lock. Others find something else and leave. If the constructor throws: kEmpty again.
//   2. It stores kSet (release) and wakes all who are queued.
//   3. Wait: under the queue's lock it looks for kSet and for the end of its context; neither: it
//      links itself and parks.
//   4. The context's callback takes its waiter out of the queue, if it is there, and wakes it.
//   5. Awake or not needing to wait, having seen kSet (acquire): CAS kSet -> kTaken: the winner
//      owns the slot.
// No wakeup is lost: 2 stores before it takes the queue's lock, 3 looks under it. Nor is a
// cancellation: the context is done before its callback runs; a callback that takes the lock
// before the waiter is linked comes before 3's look.
// Lifetime: setter and waiters hold handles. The last handle destroys a value that is in kSet:
// kFilling is a setter's state, which holds a handle.
#include "weft/completion.h"

#include "runtime/sema.h"
#include "sync/core.h"

namespace weft::internal {

namespace {

enum CompletionState : uint32_t { kEmpty, kFilling, kSet, kTaken };

constexpr uint8_t kContextDone = 1;  // WaitQueue's result

struct Watch : ContextCallback {
  explicit Watch(runtime::WaitQueue& q)
      : ContextCallback([](ContextCallback* self) {
          Watch* watch = static_cast<Watch*>(self);
          watch->queue.Cancel(&watch->waiter, kContextDone);
        }),
        queue(q) {}
  runtime::WaitQueue& queue;
  runtime::WaitQueue::Waiter waiter{};
};

bool HasValue(const CompletionCore* core) {
  // Pairs with completion.publish.
  return core->state.Load(os::kAcquire<"completion.is_set">) >= kSet;
}

struct Question {
  const CompletionCore* core;
  const Context* ctx;
};

bool MustWait(void* arg) {
  const Question* q = static_cast<Question*>(arg);
  return !HasValue(q->core) && !q->ctx->IsDone();
}

}  // namespace

void RefCompletion(CompletionCore* core) {
  // A new handle comes from one that is held.
  core->refs.FetchAdd(1, os::kRelaxed<"completion.ref">);
}

bool UnrefCompletion(CompletionCore* core) {
  return core->refs.FetchSub(1, os::kAcqRel<"completion.unref">) == 1;
}

bool ClaimCompletion(CompletionCore* core) {
  uint32_t empty = kEmpty;
  // Pairs with completion.unclaim (a constructor that threw: not explored); what the setter writes
  // is handed on by completion.publish.
  return core->state.CompareExchange(empty, kFilling, os::kAcquire<"completion.claim">);
}

void UnclaimCompletion(CompletionCore* core) {
  core->state.Store(kEmpty, os::kRelease<"completion.unclaim">);  // for the next who claims
}

void PublishCompletion(CompletionCore* core) {
  core->state.Store(kSet, os::kRelease<"completion.publish">);
  sync::QueueIn(core->queue).WakeAll();
}

bool IsCompletionSet(const CompletionCore* core) {
  if (HasValue(core)) return true;
  { runtime::Entry poll; }  // who asks in a loop gives way
  return false;
}

absl::Status AwaitCompletion(CompletionCore* core, const Context& ctx) {
  if (HasValue(core)) return absl::OkStatus();
  Watch watch(sync::QueueIn(core->queue));
  if (!ctx.AddCallback(&watch)) return ctx.status();
  Question question{core, &ctx};
  watch.queue.Wait(MustWait, &question, WaitReason::kCompletion, false, &watch.waiter);
  watch.Remove();
  return HasValue(core) ? absl::OkStatus() : ctx.status();
}

bool TakeCompletion(CompletionCore* core) {
  uint32_t set = kSet;
  // Only who has seen the value there (AwaitCompletion) asks for it.
  return core->state.CompareExchange(set, kTaken, os::kRelaxed<"completion.take">);
}

bool HoldsCompletionValue(const CompletionCore* core) {
  return core->state.Load(os::kRelaxed<"completion.last">) == kSet;  // after completion.unref
}

absl::Status CompletionTaken() {
  return absl::FailedPreconditionError("the completion's value was taken by another Wait");
}

}  // namespace weft::internal
