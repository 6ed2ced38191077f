// Scope: see weft/scope.h.
//
// The problem. The owner waits for children that come and go, may start others and may outlast
// the scope's block in their last instructions; errors and cancellation come from any of them; and
// time limits come from the scheduler's timers.
//
// So each ticket, hence each child, is counted to its very last step (`leaving`), and the owner
// destroys the state after that. All else is under `lock`, a core lock, since 4 is called by
// cancellers that may be timers.
//   1. Go: a ticket counts one child (`pending`).
//   2. The child's goroutine links itself into `children`, takes the scope's context for its
//      own, and runs.
//   3. It ends: it records its error; the first error under kFailFast cancels the context (outside
//      the lock). Only then it unlinks itself and counts itself out: the last one wakes the owner.
//   4. The context is done, for whatever reason (`watch`): the grace begins: a timer is added.
//   5. It passes: grace_over is set, the owner is woken, and the grace context, if there is one,
//      is cancelled like the context.
//   6. The owner waits for: no children; or, once, grace_over; it then goes on waiting, with a
//      timer of its own after which it names those that remain.
//   7. The end: after 6 the watch is removed (so 4 does not begin any more), the timer is deleted
//      or its function waited for, `leaving` is waited for, and the state is destroyed.
//
// The owner's Waiter lies on its stack; `waiter` is set and read under the lock, so a waker (3, 5)
// finds it alive. An owner that 3 has woken cannot be sure that this child has left the lock: that
// is what `leaving` is for.
//
// Idea not taken: a reference for each child, the last of which destroys the state. A child may
// give way in the middle of that, and a program that ends then would leave half of it behind.
#include "weft/scope.h"

#include <exception>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "runtime/context_slot.h"
#include "runtime/fatal.h"
#include "runtime/os/thread.h"
#include "sync/context_state.h"
#include "sync/core.h"
#include "sync/waiter.h"

namespace weft {

using sync::Guard;

namespace internal {

namespace {

constexpr sync::Waiter::Reason kAllEnded = 1;
constexpr sync::Waiter::Reason kGraceOver = 2;
constexpr sync::Waiter::Reason kRemind = 3;

// Chosen: a line that is still readable.
constexpr int kNamedGoroutines = 16;
// Chosen: long for a goroutine that is on its way out, short for somebody who watches.
constexpr int64_t kAfterGrace_ns = 1'000'000'000;

// `status` may say no more than that `ctx` is done.
bool IsEndOf(const absl::Status& status, const Context& ctx) {
  return (absl::IsCancelled(status) || absl::IsDeadlineExceeded(status)) && ctx.IsDone();
}

}  // namespace

// Rules of access: [l] under `lock`   [c] constant   [o] the owner's
struct ScopeState {
  // Tells when the context is done (step 4).
  struct Watch : ContextCallback {
    explicit Watch(ScopeState* s)
        : ContextCallback(
              [](ContextCallback* self) { static_cast<Watch*>(self)->scope->BeginGrace(); }),
          scope(s) {}
    ScopeState* scope;
  };

  ScopeState(const Context& parent_ctx, const Scope::Options& options)
      : parent(parent_ctx),
        context(Context::WithCancel(parent_ctx)),
        mode(options.mode),
        grace_ns(absl::ToInt64Nanoseconds(options.grace)),
        exceptions(std::uncaught_exceptions()) {
    if (!context.AddCallback(&watch)) BeginGrace();
  }

  sync::CallCount leaving;  // tickets and children that may touch this
  runtime::Lock lock{runtime::LockRank::kWaitQueue};
  const Context parent;                // [c]
  CancelContext context;               // [c]
  const Scope::Mode mode;              // [c]
  const int64_t grace_ns;              // [c] INT64_MAX: for ever
  const int exceptions;                // [c] in flight when it was made
  int64_t pending = 0;                 // [l] children that have not ended
  ScopeChild* children = nullptr;      // [l] those that run
  sync::Waiter* waiter = nullptr;      // [l] the owner's, while it waits
  absl::Status first_error;            // [l]
  bool child_stopped = false;          // [l] one has ended because it was told to
  bool grace_over = false;             // [l]
  bool timed = false;                  // [l] grace_timer was added
  std::optional<CancelContext> grace;  // [l] written once; made when it is asked for
  Watch watch{this};
  runtime::Timer grace_timer;
  sync::Waiter grace_timer_over;

  void BeginGrace();                              // 4
  static void GracePassed(void* arg, uintptr_t);  // 5
  void AwaitChildren();                           // 6
  void Close();                                   // 7
  bool AwaitOnce(int64_t when, bool look_for_grace);
  void NameChildren();

  void Enter(ScopeChild* child);           // 2
  void Record(absl::Status status);        // 3
  void CountOut(const ScopeChild* child);  // 3; null: it never ran
};

void ScopeState::BeginGrace() {
  Guard guard(lock);
  if (grace_ns == INT64_MAX) return;
  // Without a runtime (it has ended, and this scope's goroutines with it) there is no grace to end.
  timed = runtime::TryAddTimer(&grace_timer, sync::WhenAfter(grace_ns), 0, GracePassed, this, 0);
}

void ScopeState::GracePassed(void* arg, uintptr_t) {
  ScopeState* s = static_cast<ScopeState*>(arg);
  ContextState* grace = nullptr;
  {
    Guard guard(s->lock);
    s->grace_over = true;
    if (s->waiter != nullptr) s->waiter->Wake(kGraceOver);
    if (s->grace.has_value()) grace = StateOf(*s->grace);
  }
  if (grace != nullptr) ContextState::CancelLike(grace, StateOf(s->context));
  s->grace_timer_over.Wake(1);  // the last touch
}

void ScopeState::Enter(ScopeChild* child) {
  Guard guard(lock);
  child->next_ = children;
  if (children != nullptr) children->prev_ = child;
  children = child;
}

void ScopeState::Record(absl::Status status) {
  const bool told_to = IsEndOf(status, context);
  {
    Guard guard(lock);
    if (told_to) {
      child_stopped = true;
      return;
    }
    if (!first_error.ok()) return;
    first_error = status;
  }
  if (mode == Scope::kFailFast) context.Cancel(std::move(status));
}

void ScopeState::CountOut(const ScopeChild* child) {
  {
    Guard guard(lock);
    if (child != nullptr) {
      (child->prev_ != nullptr ? child->prev_->next_ : children) = child->next_;
      if (child->next_ != nullptr) child->next_->prev_ = child->prev_;
    }
    if (--pending == 0 && waiter != nullptr) waiter->Wake(kAllEnded);
  }
  leaving.End();
}

// Waits until no child is left, or until `when`, or, if asked for, until the grace is over.
// True: no child is left.
bool ScopeState::AwaitOnce(int64_t when, bool look_for_grace) {
  sync::Waiter own;
  {
    Guard guard(lock);
    if (pending == 0) return true;
    if (look_for_grace && grace_over) return false;
    waiter = &own;
  }
  {
    sync::WakeTimer timer(own, kRemind, when);
    own.Wait(WaitReason::kScopeWait);
  }
  Guard guard(lock);
  waiter = nullptr;
  return pending == 0;
}

void ScopeState::AwaitChildren() {
  if (AwaitOnce(INT64_MAX, true)) return;
  // Who ends because the grace context did needs no mention.
  int64_t pause_ns = kAfterGrace_ns;
  for (;;) {
    if (AwaitOnce(sync::WhenAfter(pause_ns), false)) return;
    NameChildren();
    // Not too often: twice as long each time.
    pause_ns = pause_ns > INT64_MAX / 2 ? INT64_MAX : 2 * pause_ns;
  }
}

void ScopeState::NameChildren() {
  uint64_t ids[kNamedGoroutines];
  int named = 0;
  int64_t all = 0;
  {
    Guard guard(lock);
    all = pending;
    for (ScopeChild* c = children; c != nullptr && named < kNamedGoroutines; c = c->next_) {
      ids[named++] = c->goroutine_;
    }
  }
  std::string text = absl::StrCat(
      "weft: a scope was told to end ", absl::FormatDuration(absl::Nanoseconds(grace_ns)),
      " ago or longer (", context.status().ToString(), ") and still waits for ", all,
      all == 1 ? " goroutine:" : " goroutines:");
  for (int i = 0; i < named; i++) absl::StrAppend(&text, " ", ids[i]);
  if (named < all) absl::StrAppend(&text, " and ", all - named, " more");
  absl::StrAppend(&text, ". SIGQUIT shows what they do.\n");
  os::WriteAll(2, text.data(), text.size());
}

void ScopeState::Close() {
  watch.Remove();
  bool wait = false;
  {
    Guard guard(lock);
    wait = timed && !runtime::DeleteTimer(&grace_timer);
  }
  if (wait) grace_timer_over.Wait(WaitReason::kScopeWait);
  leaving.Drain(WaitReason::kScopeWait);
  delete this;
}

ScopeTicket::ScopeTicket(ScopeState* state) : state_(state) {
  // The caller is the owner or a child: the state is there.
  state->leaving.Begin();
  Guard guard(state->lock);
  state->pending++;
}

ScopeTicket::~ScopeTicket() {
  if (state_ != nullptr) state_->CountOut(nullptr);
}

ScopeChild::ScopeChild(ScopeState* state)
    : state_(state), goroutine_(GoroutineId()), previous_context_(runtime::CurrentContextSlot()) {
  runtime::SetCurrentContextSlot(static_cast<Context*>(&state->context));
  state->Enter(this);
}

const Context& ScopeChild::context() const {
  return state_->context;
}

void ScopeChild::End(absl::Status status) {
  runtime::SetCurrentContextSlot(previous_context_);
  if (!status.ok()) state_->Record(std::move(status));
  state_->CountOut(this);
}

}  // namespace internal

Scope::Scope(const Context& parent, Mode mode) : Scope(parent, Options{.mode = mode}) {}

Scope::Scope(const Context& parent, const Options& options)
    : state_(new internal::ScopeState(parent, options)) {}

Scope::~Scope() {
  if (std::uncaught_exceptions() > state_->exceptions) Cancel();
  state_->AwaitChildren();
  state_->Close();
}

const Context& Scope::context() const {
  return state_->context;
}

const Context& Scope::grace_context() {
  CancelContext made = Context::WithCancel(Context::Background());
  bool over = false;
  {
    Guard guard(state_->lock);
    if (!state_->grace.has_value()) state_->grace.emplace(std::move(made));
    over = state_->grace_over;
  }
  // The timer came before there was a context for it to cancel.
  if (over) {
    internal::ContextState::CancelLike(internal::StateOf(*state_->grace),
                                       internal::StateOf(state_->context));
  }
  return *state_->grace;
}

void Scope::Cancel(absl::Status cause) {
  state_->context.Cancel(std::move(cause));
}

absl::Status Scope::Wait() {
  return Wait(absl::OkStatus());
}

absl::Status Scope::Wait(absl::Status status) {
  const bool stopped = internal::IsEndOf(status, state_->context);
  if (!status.ok()) Cancel(status);
  state_->AwaitChildren();
  if (!status.ok() && !stopped) return status;
  absl::Status first_error;
  bool child_stopped = false;
  {
    Guard guard(state_->lock);
    first_error = state_->first_error;
    child_stopped = state_->child_stopped;
  }
  if (!first_error.ok() && (!stopped || state_->mode == kFailFast)) return first_error;
  // Why the scope was cancelled explains the body's end and the children's.
  if ((stopped || child_stopped) && state_->parent.IsDone()) return state_->parent.status();
  return status;
}

}  // namespace weft
