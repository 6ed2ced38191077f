// Scope: goroutines that end before the block that started them.
//
//     weft::Scope scope(ctx);
//     scope.Go([&](const weft::Context& ctx) { return Fetch(a, &x, ctx); });
//     scope.Go([&](const weft::Context& ctx) { return Fetch(b, &y, ctx); });
//     if (absl::Status s = scope.Wait(); !s.ok()) return s;       // both have ended
//
// Its context(), which each child is given, derives from the parent context; it is also the
// children's Context::Current().
//
// Errors. kFailFast (the default): the first child that returns an error cancels the others, and
// Wait returns that error. kIndependent: an error cancels nobody; Wait returns the first one.
// A child that returns kCancelled or kDeadlineExceeded once context() is done has obeyed; that is
// no error of its own.
//
// Cancellation and its time limit. When the parent is done, when Cancel is called or a child's
// error cancels the others, context() is done at once: children should stop taking new work and
// end. What is in flight may be finished within the grace (10 s): grace_context() stays live so
// much longer, for the calls that finish it. Goroutines cannot be killed: a second after the grace
// Wait (and the Scope's end) names on stderr the goroutines that remain, and goes on waiting, with
// another such line after twice as long each time. (A daemon's SignalContext leaves the second
// signal to end the process.)
#pragma once

#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "weft/context.h"
#include "weft/go.h"

namespace weft {

namespace internal {
struct ScopeState;

// The scope's count of one child that is to run: moves into the child's goroutine.
class ScopeTicket {
 public:
  explicit ScopeTicket(ScopeState* state);
  ScopeTicket(ScopeTicket&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  ScopeTicket& operator=(ScopeTicket&&) = delete;
  ~ScopeTicket();  // counts it as ended, if it has not run

  ScopeState* Take() { return std::exchange(state_, nullptr); }

 private:
  ScopeState* state_;
};

// A child while it runs; lives on its stack.
class ScopeChild {
 public:
  explicit ScopeChild(ScopeState* state);
  ScopeChild(const ScopeChild&) = delete;
  ScopeChild& operator=(const ScopeChild&) = delete;
  const Context& context() const;
  // The last thing that it does: the scope may be gone afterwards.
  void End(absl::Status status);

 private:
  friend struct ScopeState;

  ScopeState* state_;
  ScopeChild* next_ = nullptr;
  ScopeChild* prev_ = nullptr;
  uint64_t goroutine_;
  void* previous_context_;
};
}  // namespace internal

class Scope {
 public:
  enum Mode : uint8_t { kFailFast, kIndependent };

  struct Options {
    Mode mode = kFailFast;
    // How long grace_context() stays live after context(). Infinite: it stays live, and nobody is
    // named.
    absl::Duration grace = absl::Seconds(10);
  };

  explicit Scope(const Context& parent = Context::Current(), Mode mode = kFailFast);
  Scope(const Context& parent, const Options& options);
  // Waits for the children, as Wait does. Does not cancel them, unless an exception ends the
  // block: a body that gives up early calls Wait(status) or Cancel.
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

  // Go runs `fn` on a new goroutine. `fn` takes a `const Context&` or nothing, and returns an
  // absl::Status or nothing. It is destroyed before the child counts as ended, so that what it
  // captures never outlives the scope. The owner and the children may call Go; does not block.
  // After cancellation children are still started, and find their context done.
  template <class F>
  void Go(F&& fn) {
    Go(GoOptions{}, std::forward<F>(fn));
  }
  template <class F>
  void Go(const GoOptions& options, F&& fn) {
    using Fn = std::decay_t<F>;
    weft::Go(options, [ticket = internal::ScopeTicket(state_),
                       fn = std::optional<Fn>(std::forward<F>(fn))]() mutable {
      internal::ScopeChild child(ticket.Take());
      absl::Status status = Run(*fn, child.context());
      fn.reset();
      child.End(std::move(status));
    });
  }

  // What the children stop by. Good for as long as the scope.
  const Context& context() const;
  // What finishes work in flight: done `grace` after context(), with the same reason.
  const Context& grace_context();

  // Cancel tells the children to stop. Does not block. `cause`: as for CancelContext.
  void Cancel(absl::Status cause = absl::OkStatus());

  // Wait blocks until all children have ended; the owner calls it. Returns OK or the first error;
  // and when children have stopped because the parent is done: the parent's status.
  [[nodiscard]] absl::Status Wait();
  // For a body that ends with `status`. If that is an error the children are cancelled, in either
  // mode. Returns `status`; but where it says only that the scope was cancelled, the reason for
  // that: the parent's status, or the child's error (kFailFast).
  [[nodiscard]] absl::Status Wait(absl::Status status);

 private:
  template <class Fn>
  static absl::Status Run(Fn& fn, const Context& ctx) {
    if constexpr (std::is_invocable_v<Fn&, const Context&>) {
      return Result([&]() -> decltype(auto) { return fn(ctx); });
    } else {
      static_assert(std::is_invocable_v<Fn&>,
                    "Scope::Go takes a function of (const Context&) or of nothing");
      return Result(fn);
    }
  }
  template <class Call>
  static absl::Status Result(Call&& call) {
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      return absl::OkStatus();
    } else {
      static_assert(std::is_convertible_v<decltype(call()), absl::Status>,
                    "a scope's function returns absl::Status or void");
      return call();
    }
  }

  internal::ScopeState* state_;
};

}  // namespace weft
