// Context: how work learns that it shall stop.
//
// A Context is live until it is cancelled, its deadline passes, or its parent is done; then it is
// done for good, with the reason in status(). Blocking calls of weft take one as their last
// argument and return when it is done; the default is the goroutine's own, Context::Current().
//
//     weft::CancelContext ctx = weft::Context::WithTimeout(parent, absl::Seconds(2));
//     absl::StatusOr<Row> row = Query(key, ctx);      // gives up after 2 s, or when `parent` does
//
// A Context is a counted handle: copies name the same context, a child keeps its parent, and what
// it holds (its place in the parent, its timer) is given back with its last handle; nothing need
// be cancelled to free it. One handle is used by one goroutine at a time, as a shared_ptr is;
// different handles of one context by any goroutines and threads.
//
// Costs: IsDone() is one acquire load. Copying a handle is one RMW, none for Background. Deriving
// allocates once and takes the parent's lock for an insertion; a deadline adds one timer.
// Dropping the last handle does the reverse; it blocks for a moment when the parent, or the
// timer, is just then telling this very context. Cancelling costs one lock, and one callback for
// each child and registered callback.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weft/chan.h"
#include "weft/internal/atomic.h"

namespace weft {

class CancelContext;
class Context;
class ContextCallback;

namespace internal {
struct ContextState;

// The part of a context's state that handles look at.
struct ContextWord {
  os::Atomic<uint32_t> done{0};  // 1 once the reason is written
  os::Atomic<uint32_t> refs{1};  // handles, children and callbacks
};
void DestroyContext(ContextWord* word);
ContextState* StateOf(const Context& ctx);
}  // namespace internal

// What Done()'s channel would carry; it is only ever closed.
struct ContextDone {};

class Context {
 public:
  // The background context.
  constexpr Context() = default;
  Context(const Context& other) : word_(other.word_) { Ref(); }
  // A context that was moved from is the background context.
  Context(Context&& other) noexcept : word_(std::exchange(other.word_, nullptr)) {}
  Context& operator=(Context other) noexcept {
    std::swap(word_, other.word_);
    return *this;
  }
  ~Context() { Unref(); }

  // Never done. The root of all others.
  static const Context& Background();

  // The calling goroutine's own: its Scope's, what CurrentContext has set, else Background. A
  // goroutine started by Go does not inherit. On a plain thread: the thread's own.
  // The reference is good until what set it ends; copy it to keep it longer.
  static const Context& Current();

  // A context that is done when its Cancel is called or when `parent` is done.
  [[nodiscard]] static CancelContext WithCancel(const Context& parent);
  // As WithCancel, and done with kDeadlineExceeded at `deadline` (in the past: at once). Timed
  // on the monotonic clock: later steps of the wall clock do not move it.
  [[nodiscard]] static CancelContext WithDeadline(const Context& parent, absl::Time deadline);
  [[nodiscard]] static CancelContext WithTimeout(const Context& parent, absl::Duration timeout);

  // Whether it is done: one acquire load. Does not block, and does not give way either: a loop of
  // nothing but this keeps its P.
  [[gnu::always_inline]] bool IsDone() const {
    // Pairs with context.finish: who sees it done sees the reason.
    return word_ != nullptr && word_->done.Load(os::kAcquire<"context.is_done">) != 0;
  }

  // OK while it is live; then kDeadlineExceeded, or kCancelled with the cause in its message and
  // the cause's payloads. Does not block.
  absl::Status status() const;
  // OK while it is live; then what Cancel was given, or else what status() says.
  absl::Status cause() const;

  // When it will be done at the latest, its parents' deadlines included; nullopt: no deadline.
  std::optional<absl::Time> deadline() const;

  // A case for Select that wins once the context is done. The context must outlive the Select.
  // The channel behind it is made at the first call (one allocation).
  [[nodiscard]] Chan<ContextDone>::ReceiveCase OnDone() const;
  // That channel: closed once the context is done. Background's is no channel (Chan(nullptr)).
  Chan<ContextDone> Done() const;

  // Registers `callback`, which must be in no context: it is called once when the context is
  // done. False: it is done already, and the callback was neither registered nor called.
  // See ContextCallback. Any thread; does not block or allocate.
  [[nodiscard]] bool AddCallback(ContextCallback* callback) const;

  friend bool operator==(const Context& a, const Context& b) { return a.word_ == b.word_; }

 protected:
  explicit Context(internal::ContextWord* adopted) : word_(adopted) {}

 private:
  friend internal::ContextState* internal::StateOf(const Context& ctx);
  friend void internal::DestroyContext(internal::ContextWord* word);
  friend class ContextCallback;

  void Ref() {
    // A new handle comes from one that is held: nothing to order.
    if (word_ != nullptr) word_->refs.FetchAdd(1, os::kRelaxed<"context.ref">);
  }
  void Unref() {
    // Release: what this handle's user did comes before the destruction. Acquire: the last one
    // sees what all the others did.
    if (word_ != nullptr && word_->refs.FetchSub(1, os::kAcqRel<"context.unref">) == 1) {
      internal::DestroyContext(word_);
    }
  }

  internal::ContextWord* word_ = nullptr;
};

// A context, and the right to cancel it. Copies of it as a plain Context are without that right.
// Its end does not cancel: other handles stay live.
class CancelContext : public Context {
 public:
  // Cancel ends the context and all that derive from it, and calls their callbacks. False: it
  // was done already, or another Cancel is under way.
  //
  // When it returns true, each context that derives from this one is done, but for those that
  // another thread is cancelling at this very moment.
  // Any thread; does not block. It runs the callbacks, so it takes time in proportion.
  bool Cancel();
  // `cause` says why; an OK status is as none. If it is not kCancelled, status() is kCancelled
  // still, with `cause` in its message.
  bool Cancel(absl::Status cause);

 private:
  friend class Context;
  explicit CancelContext(internal::ContextWord* adopted) : Context(adopted) {}
};

// A function that is called when a context is done. Put it into the object that wants to know;
// registering it allocates nothing.
//
//     struct Watch : weft::ContextCallback {
//       Watch() : ContextCallback([](ContextCallback* self) { ... }) {}
//     };
//
// The function runs on the thread that cancels; for a deadline that is the scheduler itself. So it
// must not block, allocate or free memory, run foreign code, drop the last handle of a context,
// or call Remove for itself. It may ready goroutines (Ready, Cond::Signal, Chan::Close and TrySend
// of trivially copyable values, Cancel without a cause).
//
// A registered callback keeps its context alive. A callback object itself is not thread-safe:
// registering and Remove must not overlap.
class ContextCallback {
 public:
  using Function = void (*)(ContextCallback* self);

  constexpr explicit ContextCallback(Function function) : function_(function) {}
  ContextCallback(const ContextCallback&) = delete;
  ContextCallback& operator=(const ContextCallback&) = delete;
  ~ContextCallback() {
    if (context_.word_ != nullptr) Remove();
  }

  // Takes it out of its context. When it returns the function is not running and will not run.
  // Does nothing when it is in none. It blocks only while the function is running on another
  // thread. Whether the function ran is for the function to note.
  void Remove();

  // Whether it was registered with `ctx` (and not removed since): two loads. A caller that comes
  // with the same context again and again registers once and asks this.
  bool Watches(const Context& ctx) const { return context_.word_ == ctx.word_; }

 private:
  friend class Context;
  friend struct internal::ContextState;

  Context context_;  // where it is; null when in none, or in Background
  Function function_;
  os::Plain<ContextCallback*> next_ = nullptr;  // [context's lock]
  os::Plain<ContextCallback*> prev_ = nullptr;  // [context's lock]
  os::Plain<bool> queued_ = false;              // [context's lock]
};

// Makes `ctx` the calling goroutine's own for as long as this object lives; nests. To be
// destroyed by the goroutine that made it, in reverse order.
class CurrentContext {
 public:
  explicit CurrentContext(Context ctx);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;

 private:
  Context context_;
  void* previous_;
};

}  // namespace weft
