// Note: a one-time event between threads.
//
// One thread sleeps for it, others wake: at most one Wakeup between two Clears. Clear happens
// before the note can be woken again: who clears hands the note out afterwards, by a lock.
#pragma once

#include <cstdint>

#include "runtime/os/futex.h"
#include "weft/internal/atomic.h"

namespace weft::runtime {

class Note {
 public:
  // Ordered before the next Wakeup by whatever hands the note out.
  void Clear() { word_.Store(0, os::kRelaxed<"note.clear">); }

  void Wakeup() {
    // What the waker did before is seen by the sleeper; pairs with note.sleep.
    word_.Store(1, os::kRelease<"note.wakeup">);
    os::FutexWake(word_, 1);
  }

  // False: `timeout_ns` (< 0: none) passed without a Wakeup.
  bool Sleep(int64_t timeout_ns = -1) {
    // Pairs with note.wakeup.
    while (word_.Load(os::kAcquire<"note.sleep">) == 0) {
      if (os::FutexWait(word_, 0, timeout_ns) == os::FutexResult::kTimedOut) {
        // As above.
        return word_.Load(os::kAcquire<"note.late">) != 0;
      }
    }
    return true;
  }

 private:
  os::Atomic<uint32_t> word_{0};
};

}  // namespace weft::runtime
