// Cond: waiting until another goroutine says that something has changed.
//
//     weft::MutexLock lock(mu);
//     cond.Wait(mu, [&] { return !queue.empty(); });
//
// Any goroutine and any plain thread may use it. Signals are not remembered. There are no
// spurious wakeups: each Wait that returns was signalled, or its context is done.
// A Cond may be constant-initialized. It is destroyed when no Wait is under way.
#pragma once

#include <concepts>

#include "absl/status/status.h"
#include "weft/context.h"
#include "weft/mutex.h"

namespace weft {

class Cond {
 public:
  constexpr Cond() = default;
  Cond(const Cond&) = delete;
  Cond& operator=(const Cond&) = delete;

  // Wait unlocks `mutex`, blocks until signalled, and locks `mutex` again. A Signal that comes
  // after the unlocking is not missed. Waiters are signalled in the order in which they came.
  void Wait(Mutex& mutex) WEFT_REQUIRES(mutex);

  // As above, and ends when `ctx` is done: with its status. OK: signalled. A signal is never
  // spent on a Wait that ends by its context. `mutex` is locked again in either case.
  [[nodiscard]] absl::Status Wait(Mutex& mutex, const Context& ctx) WEFT_REQUIRES(mutex);

  // Waits until `condition()`, which is asked with `mutex` held, is true.
  template <std::predicate<> Condition>
  void Wait(Mutex& mutex, Condition condition) WEFT_REQUIRES(mutex) {
    while (!condition()) Wait(mutex);
  }

  // Waits until `condition()` is true: OK; or `ctx` is done and it is false: the status of `ctx`.
  template <std::predicate<> Condition>
  [[nodiscard]] absl::Status Wait(Mutex& mutex, Condition condition, const Context& ctx)
      WEFT_REQUIRES(mutex) {
    while (!condition()) {
      if (absl::Status status = Wait(mutex, ctx); !status.ok()) {
        return condition() ? absl::OkStatus() : status;
      }
    }
    return absl::OkStatus();
  }

  // Signal ends the wait of the goroutine that waits longest, Broadcast of all. The mutex may be
  // held or not. Any thread; does not block.
  void Signal();
  void Broadcast();

 private:
  friend struct CondProtocol;  // sync/cond.cc

  internal::CoreLockRoom lock_;
  void* head_ = nullptr;  // [lock_] waits longest
  void* tail_ = nullptr;  // [lock_]
};

}  // namespace weft
