// Time: sleeping, timers, tickers.
//
// Durations are timed on the monotonic clock; steps of the wall clock do not move them. A timer
// fires when its time has passed, never before; how long after depends on the load. Zero and
// negative durations fire at once. InfiniteDuration, and what exceeds 292 years, never fires and
// does not count as something that could still wake a goroutine.
//
// Everything here wants a runtime to be running (fatal otherwise). What blocks blocks the
// goroutine; on a plain thread, the thread.
#pragma once

#include <optional>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "weft/chan.h"
#include "weft/context.h"

namespace weft {

// Sleep blocks for at least `d`; not at all when it is zero or negative. No context ends it.
void Sleep(absl::Duration d);
// As above, at most until `ctx` is done: then its status.
[[nodiscard]] absl::Status Sleep(absl::Duration d, const Context& ctx);
// Until the wall clock as it stands now would show `when`.
void SleepUntil(absl::Time when);

namespace internal {
struct TimerState;
struct FuncTimerState;
// The handle's half of a timer: a pointer that can be moved.
class TimerHandle {
 public:
  TimerHandle(TimerHandle&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  TimerHandle& operator=(TimerHandle&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~TimerHandle();

 protected:
  TimerHandle(absl::Duration first, absl::Duration period);

  TimerState* state_;
};
}  // namespace internal

// Fires once. Any goroutine and thread may call its members, except its end. It may be moved while
// nobody uses it; one that was moved from may only be destroyed or assigned to.
// One allocation for it, one for its channel. Its end stops it; it blocks for a moment when
// the timer is firing just then.
class Timer : private internal::TimerHandle {
 public:
  // Fires when `d` has passed.
  explicit Timer(absl::Duration d);

  // Stop keeps it from firing. True: this call prevented it: nobody has received this firing or
  // will. False: it was received, or stopped before. Does not block.
  //
  // After Stop or Reset has returned, no firing from before can be received.
  bool Stop();
  // Stop, and fires when `d` has passed from now. What it returns is as for Stop.
  bool Reset(absl::Duration d);

  // Wait blocks until it fires, and returns when it did; while it is stopped: until it is Reset.
  // Each firing is received once.
  absl::Time Wait();
  // When `ctx` is done first: its status.
  [[nodiscard]] absl::StatusOr<absl::Time> Wait(const Context& ctx);
  // Does not block: nullopt when it has not fired.
  [[nodiscard]] std::optional<absl::Time> TryWait();

  // A case for Select: `fired` (may be null) becomes the time at which it fired. The timer must
  // outlive the Select.
  [[nodiscard]] Chan<absl::Time>::ReceiveCase OnFire(std::optional<absl::Time>* fired = nullptr);
};

// Fires every `period`. Ticks that nobody has received when the next one comes are dropped, and
// so are those that the machine was too busy to fire: the rest stay multiples of the period.
class Ticker : private internal::TimerHandle {
 public:
  // Fatal when `period` is not positive.
  explicit Ticker(absl::Duration period);

  // As Timer's.
  void Stop();
  void Reset(absl::Duration period);
  absl::Time Wait();
  [[nodiscard]] absl::StatusOr<absl::Time> Wait(const Context& ctx);
  [[nodiscard]] std::optional<absl::Time> TryWait();
  [[nodiscard]] Chan<absl::Time>::ReceiveCase OnTick(std::optional<absl::Time>* tick = nullptr);
};

// What AfterFunc returns: the right to stop it. Its end does not stop it.
class FuncTimer {
 public:
  FuncTimer(FuncTimer&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  FuncTimer& operator=(FuncTimer&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~FuncTimer();

  // True: the function will not run. False: it has been started, or stopped before; the call does
  // not wait for it. Does not block. One goroutine at a time.
  bool Stop();

 private:
  friend FuncTimer AfterFunc(absl::Duration d, absl::AnyInvocable<void() &&> fn);
  explicit FuncTimer(internal::FuncTimerState* state) : state_(state) {}

  internal::FuncTimerState* state_;
};

// AfterFunc runs `fn()` on a new goroutine when `d` has passed.
FuncTimer AfterFunc(absl::Duration d, absl::AnyInvocable<void() &&> fn);

}  // namespace weft
