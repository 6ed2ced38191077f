// Context: see weft/context.h.
//
// The problem. A tree of contexts is cancelled from anywhere: by goroutines, by timers inside the
// scheduler, by several at once; while it grows, shrinks and is looked at. Callbacks must be called
// once; and Remove must be able to promise that they are over.
//
// A child is in its parent's list of callbacks, by its link. It holds a handle of its parent, so a
// tree is freed from its leaves. No lock is held while anything is called, and no more than one
// context's lock at a time.
//
// Actors: cancellers, adders, removers, the last handle's owner.
//   1. Finish. Under the lock: the reason is written, then done = 1; only the first canceller gets
//      so far, and it alone goes on with this context: it closes the channel, deletes the timer.
//   2. It takes callbacks out of the list one by one: under the lock it moves the first into
//      `running`; then calls it without the lock; then takes the next.
//   3. A callback that is a link: the child is finished (1), and unless another canceller was
//      first, the canceller goes down and does the child's list (2) before it goes on. It finds
//      its way up by the child's link: no recursion, so any depth will do on any stack.
//   4. Add: under the lock: done: says no; else links the callback.
//   5. Remove: under the lock: linked: takes it out. In `running`: leaves a Waiter in `remover`,
//      which the canceller wakes under 2 when the call is over. Neither: it was called before, or
//      never added.
//   6. The last handle: Remove of the link (5), so no canceller comes from above any more, and
//      one that was there has left our list; nobody else can come, as Cancel and callbacks hold
//      handles; then the timer is deleted, or its function waited for; then it is freed, and the
//      parent's handle dropped, in a loop for the same reason as in 3.
//
// What a canceller touches stays alive: the context it began with by its caller's handle (or, for
// a deadline, because 6 waits for the timer's function); each one below it since its link is
// `running` in its parent, so that 6 waits at 5.
//
// Cancellers may be timers: nothing here blocks, allocates or frees on the way down. (`cause` is
// shared by counting.) That is why status() makes its message when it is asked for it.
//
// Orders: done is a release store, after the reason; handles read it with acquire, and then the
// reason without the lock. has_chan the same for the channel. All else is under the lock.
#include "weft/context.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "runtime/context_slot.h"
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "sync/context_state.h"
#include "sync/core.h"

namespace weft {

using internal::ContextState;
using sync::Guard;

namespace internal {

ContextState* StateOf(const Context& ctx) {
  return static_cast<ContextState*>(ctx.word_);
}

// Marks links; they are not called (step 3).
void ContextState::IsLink(ContextCallback*) {
  runtime::Fatal("a context's link was called");
}

bool ContextState::Finish(ContextState* s, Reason reason, const absl::Status& cause) {
  bool has_chan = false;
  {
    Guard guard(s->lock);
    if (s->reason != kLive) return false;
    s->reason = reason;
    s->cause = cause;
    has_chan = s->has_chan.Load(os::kRelaxed<"context.finish_chan">) != 0;
    s->done.Store(1, os::kRelease<"context.finish">);
  }
  if (has_chan) s->chan.Close();
  // Deleted, its function will not come. Not deleted: it was never added, or it comes yet, finds
  // the context done, and says itself that it is over.
  if (s->timed != nullptr && runtime::DeleteTimer(&s->timed->timer)) s->timed->timer_over.Wake(1);
  return true;
}

ContextCallback* ContextState::Next(ContextState* s) {
  sync::Waiter* waiting = nullptr;
  ContextCallback* next = nullptr;
  {
    Guard guard(s->lock);
    waiting = std::exchange(s->remover, nullptr);
    next = s->first;
    if (next != nullptr) Unqueue(s, next);
    s->running = next;
  }
  if (waiting != nullptr) waiting->Wake(1);
  return next;
}

bool ContextState::Cancel(ContextState* root, Reason reason, const absl::Status& cause) {
  if (!Finish(root, reason, cause)) return false;
  ContextState* s = root;
  for (;;) {
    ContextCallback* callback = Next(s);
    if (callback == nullptr) {
      if (s == root) return true;
      s = StateOf(s->link.context_);  // up; `s` may be gone once Next has been asked there
    } else if (callback->function_ == IsLink) {
      ContextState* child = static_cast<Link*>(callback)->owner;
      if (Finish(child, root->reason, root->cause)) s = child;
    } else {
      callback->function_(callback);
    }
  }
}

void ContextState::Unqueue(ContextState* s, ContextCallback* callback) {
  (callback->prev_ != nullptr ? callback->prev_->next_ : s->first) = callback->next_;
  (callback->next_ != nullptr ? callback->next_->prev_ : s->last) = callback->prev_;
  callback->next_ = callback->prev_ = nullptr;
  callback->queued_ = false;
}

bool ContextState::Add(ContextState* s, ContextCallback* callback, const Context& handle) {
  WEFT_CHECK(StateOf(callback->context_) == nullptr);
  Guard guard(s->lock);
  if (s->reason != kLive) return false;
  callback->context_ = handle;
  callback->prev_ = s->last;
  (s->last != nullptr ? s->last->next_ : s->first) = callback;
  s->last = callback;
  callback->queued_ = true;
  return true;
}

Context ContextState::Take(ContextCallback* callback) {
  if (ContextState* s = StateOf(callback->context_); s != nullptr) {
    sync::Waiter over;
    bool wait = false;
    {
      Guard guard(s->lock);
      if (callback->queued_) {
        Unqueue(s, callback);
      } else if (s->running == callback) {
        s->remover = &over;
        wait = true;
      }
    }
    if (wait) over.Wait(WaitReason::kContextDone);
  }
  return std::move(callback->context_);
}

void ContextState::Attach(ContextState* s, const Context& parent) {
  ContextState* p = StateOf(parent);
  if (p != nullptr && p->when < s->when) s->when = p->when;
  if (p != nullptr && !Add(p, &s->link, parent)) CancelLike(s, p);
}

Chan<ContextDone>& ContextState::ChanOf(ContextState* s) {
  // Pairs with context.chan: sees the channel.
  if (s->has_chan.Load(os::kAcquire<"context.chan_look">) != 0) return s->chan;
  Chan<ContextDone> made;  // outside the lock: it allocates
  bool done = false;
  {
    Guard guard(s->lock);
    if (s->has_chan.Load(os::kRelaxed<"context.chan_again">) == 0) {
      s->chan = made;
      s->has_chan.Store(1, os::kRelease<"context.chan">);
    }
    done = s->reason != kLive;
  }
  if (done) s->chan.Close();  // the canceller came before there was a channel
  return s->chan;
}

void DestroyContext(ContextWord* word) {
  while (word != nullptr) {
    ContextState* s = static_cast<ContextState*>(word);
    Context parent = ContextState::Take(&s->link);
    if (DeadlineState* timed = s->timed; timed != nullptr && timed->timer_over.Peek() == 0) {
      if (!runtime::DeleteTimer(&timed->timer)) timed->timer_over.Wait(WaitReason::kContextDone);
    }
    s->destroy(s);
    // Not by the handle's own destructor, which would recurse.
    word = std::exchange(parent.word_, nullptr);
    // As context.unref.
    if (word == nullptr || word->refs.FetchSub(1, os::kAcqRel<"context.unref_parent">) != 1) return;
  }
}

namespace {

void DeadlinePassed(void* arg, uintptr_t) {
  DeadlineState* s = static_cast<DeadlineState*>(arg);
  ContextState::Cancel(s, ContextState::kDeadline, absl::OkStatus());
  s->timer_over.Wake(1);  // the last touch
}

ContextState* Derive(const Context& parent, int64_t when) {
  const ContextState* p = StateOf(parent);
  if (when >= (p != nullptr ? p->when : INT64_MAX)) {
    ContextState* s = new ContextState([](ContextState* state) { delete state; });
    ContextState::Attach(s, parent);
    return s;
  }
  DeadlineState* s =
      new DeadlineState([](ContextState* state) { delete static_cast<DeadlineState*>(state); });
  s->when = when;
  if (when <= runtime::Nanotime()) {
    if (parent.IsDone()) ContextState::Attach(s, parent);  // takes over its reason
    ContextState::Cancel(s, ContextState::kDeadline, absl::OkStatus());
    return s;
  }
  // The timer first: a parent that is done, now or in a moment, then finds it to delete.
  s->timed = s;
  runtime::AddTimer(&s->timer, when, 0, DeadlinePassed, s, 0);
  ContextState::Attach(s, parent);
  return s;
}

}  // namespace
}  // namespace internal

namespace {

constinit const Context background_context;

absl::Status WithCause(const absl::Status& cause) {
  if (cause.ok()) return absl::CancelledError("context cancelled");
  const std::string why =
      absl::IsCancelled(cause) ? std::string(cause.message()) : cause.ToString();
  absl::Status status = absl::CancelledError(absl::StrCat("context cancelled: ", why));
  cause.ForEachPayload([&status](absl::string_view url, const absl::Cord& payload) {
    status.SetPayload(url, payload);
  });
  return status;
}

}  // namespace

const Context& Context::Background() {
  return background_context;
}

const Context& Context::Current() {
  const void* own = runtime::CurrentContextSlot();
  return own != nullptr ? *static_cast<const Context*>(own) : background_context;
}

CancelContext Context::WithCancel(const Context& parent) {
  return CancelContext(internal::Derive(parent, INT64_MAX));
}

CancelContext Context::WithTimeout(const Context& parent, absl::Duration timeout) {
  return CancelContext(
      internal::Derive(parent, sync::WhenAfter(absl::ToInt64Nanoseconds(timeout))));
}

CancelContext Context::WithDeadline(const Context& parent, absl::Time deadline) {
  return WithTimeout(parent, deadline - absl::FromUnixNanos(os::UnixNanos()));
}

absl::Status Context::status() const {
  if (!IsDone()) return absl::OkStatus();
  const ContextState* s = internal::StateOf(*this);
  if (s->reason == ContextState::kDeadline) {
    return absl::DeadlineExceededError("context deadline exceeded");
  }
  return WithCause(s->cause);
}

absl::Status Context::cause() const {
  if (!IsDone()) return absl::OkStatus();
  const ContextState* s = internal::StateOf(*this);
  return s->cause.ok() ? status() : s->cause;
}

std::optional<absl::Time> Context::deadline() const {
  const ContextState* s = internal::StateOf(*this);
  if (s == nullptr || s->when == INT64_MAX) return std::nullopt;
  return absl::FromUnixNanos(os::UnixNanos()) + absl::Nanoseconds(s->when - runtime::Nanotime());
}

Chan<ContextDone> Context::Done() const {
  ContextState* s = internal::StateOf(*this);
  return s != nullptr ? ContextState::ChanOf(s) : Chan<ContextDone>(nullptr);
}

Chan<ContextDone>::ReceiveCase Context::OnDone() const {
  ContextState* s = internal::StateOf(*this);
  if (s == nullptr) return Chan<ContextDone>(nullptr).OnReceive(nullptr);
  return ContextState::ChanOf(s).OnReceive(nullptr);
}

bool Context::AddCallback(ContextCallback* callback) const {
  if (word_ == nullptr) return true;
  return !IsDone() && ContextState::Add(internal::StateOf(*this), callback, *this);
}

bool CancelContext::Cancel() {
  return Cancel(absl::OkStatus());
}

bool CancelContext::Cancel(absl::Status cause) {
  ContextState* s = internal::StateOf(*this);
  return s != nullptr && ContextState::Cancel(s, ContextState::kCancelled, cause);
}

void ContextCallback::Remove() {
  ContextState::Take(this);
}

CurrentContext::CurrentContext(Context ctx)
    : context_(std::move(ctx)), previous_(runtime::CurrentContextSlot()) {
  runtime::SetCurrentContextSlot(&context_);
}

CurrentContext::~CurrentContext() {
  runtime::SetCurrentContextSlot(previous_);
}

}  // namespace weft
