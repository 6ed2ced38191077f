// Once: doing something exactly once, whoever comes first.
//
//     static weft::Once once;
//     once.Do([] { table = BuildTable(); });
//
// Any goroutine and any plain thread may use it. It may be constant-initialized. (A function's
// static variable will not do on goroutines: its guard blocks the thread.)
#pragma once

#include <cstdint>
#include <utility>

#include "weft/internal/atomic.h"
#include "weft/mutex.h"

namespace weft {

class Once {
 public:
  constexpr Once() = default;
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  // The first caller runs `fn()`; the others block until it has returned. `fn` is not run again
  // when it throws. Fatal misuse: calling Do for the same Once within `fn` waits for ever.
  // Cost, once done: one acquire load.
  template <class F>
  void Do(F&& fn) {
    // Pairs with once.finish: sees what `fn` did.
    if (state_.Load(os::kAcquire<"once.do">) == kDone) [[likely]]
      return;
    if (!Begin()) return;
    struct Finisher {
      Once* once;
      ~Finisher() { once->Finish(); }
    } finisher{this};
    std::forward<F>(fn)();
  }

  bool IsDone() const {
    // As in Do.
    return state_.Load(os::kAcquire<"once.is_done">) == kDone;
  }

 private:
  friend struct OnceProtocol;  // sync/once.cc

  static constexpr uint32_t kNew = 0;
  static constexpr uint32_t kRunning = 1;
  static constexpr uint32_t kWaitedFor = 2;  // running, and others are in the queue
  static constexpr uint32_t kDone = 3;

  bool Begin();  // true: the caller is the first; else it has waited for the first
  void Finish();

  os::Atomic<uint32_t> state_{kNew};
  internal::WaitQueueRoom queue_;
};

}  // namespace weft
