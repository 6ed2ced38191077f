// The inside of a Context, and the operations on it that Scope and SignalContext need as well.
// The protocol's essay is in context.cc.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "runtime/fatal.h"
#include "runtime/lock.h"
#include "runtime/timer.h"
#include "sync/waiter.h"
#include "weft/context.h"

namespace weft::internal {

// Rules of access:
//   [k] under `lock`   [c] constant once made   [f] written under `lock` before `done`, then
//   constant
struct ContextState : ContextWord {
  enum Reason : uint8_t { kLive, kCancelled, kDeadline };

  // Our place in the parent.
  struct Link : ContextCallback {
    explicit Link(ContextState* s) : ContextCallback(IsLink), owner(s) {}
    ContextState* owner;
  };

  explicit ContextState(void (*destroy_fn)(ContextState*)) : destroy(destroy_fn), link(this) {}
  ~ContextState() { WEFT_CHECK(first == nullptr && running == nullptr); }

  runtime::Lock lock{runtime::LockRank::kContext};
  os::Plain<Reason> reason = kLive;               // [f]
  absl::Status cause;                             // [f] OK: none was given
  os::Plain<ContextCallback*> first = nullptr;    // [k] callbacks, children's links among them
  os::Plain<ContextCallback*> last = nullptr;     // [k]
  os::Plain<ContextCallback*> running = nullptr;  // [k] the one that the canceller is calling
  os::Plain<sync::Waiter*> remover = nullptr;     // [k] waits for `running` to be over
  os::Atomic<uint32_t> has_chan{0};               // [k] writes; `chan` is there, and constant
  Chan<ContextDone> chan{nullptr};                // [k] writes, once
  int64_t when = INT64_MAX;               // [c] effective deadline, as Nanotime; INT64_MAX: none
  struct DeadlineState* timed = nullptr;  // [c] this, when it has a timer of its own
  void (*destroy)(ContextState*);         // [c] frees it
  Link link;                              // [c] once attached

  // Puts a new state under `parent`; done if that is done.
  static void Attach(ContextState* s, const Context& parent);
  // Ends it and all that derive from it; false: it was done. Step numbers: see context.cc.
  static bool Cancel(ContextState* s, Reason reason, const absl::Status& cause);
  // Ends `s` with the reason of `source`, which is done. Allocates nothing.
  static bool CancelLike(ContextState* s, const ContextState* source) {
    return Cancel(s, source->reason, source->cause);
  }
  static bool Add(ContextState* s, ContextCallback* callback, const Context& handle);
  // The channel behind Done(); made at the first call.
  static Chan<ContextDone>& ChanOf(ContextState* s);
  // Takes `callback` out; returns the handle that it held.
  static Context Take(ContextCallback* callback);

 private:
  static bool Finish(ContextState* s, Reason reason, const absl::Status& cause);  // 1
  static ContextCallback* Next(ContextState* s);                                  // 2
  static void Unqueue(ContextState* s, ContextCallback* callback);                // [k]
  static void IsLink(ContextCallback* callback);
};

struct DeadlineState : ContextState {
  using ContextState::ContextState;
  runtime::Timer timer;
  // Woken once when the timer has been deleted or its function has ended.
  sync::Waiter timer_over;
};

}  // namespace weft::internal
