// The gate that plain threads pass when they wake goroutines, so that a Runtime is not taken down
// under them.
//
// The problem. Any thread may send to a channel or set a Completion at any time, also while Main
// returns or after it; the goroutine that it wakes belongs to a Runtime that is about to go.
// Actors: plain threads T; the thread E that ends the runtime. One word: how many T are inside, and
// a bit that says closed.
//   1. T: adds itself (acquire). Closed: takes itself back; there is nobody to wake.
//   2. T: uses the Runtime, takes itself back (release).
//   3. E: sets closed, waits until nobody is inside (acquire).
// The word's modification order decides: T's add comes before E's bit, and E waits for it, or after
// it, and T turns back.
#pragma once

#include <cstdint>

#include "runtime/os/futex.h"
#include "weft/internal/atomic.h"

namespace weft::runtime {

class ForeignGate {
 public:
  // False: no runtime. True: Leave must follow.
  [[nodiscard]] bool Enter() {
    // Pairs with Open: the runtime is seen as it was built.
    if ((word_.FetchAdd(1, os::kAcquire<"gate.enter">) & kClosed) == 0) return true;
    Leave();
    return false;
  }
  void Leave() {
    // What was done inside comes before the end; pairs with Close.
    if (word_.FetchSub(1, os::kRelease<"gate.leave">) == (kClosed | 1)) os::FutexWake(word_, 1);
  }

  void Open() {
    word_.FetchAnd(~kClosed, os::kRelease<"gate.open">);  // pairs with Enter
  }
  void Close() {
    uint32_t inside = word_.FetchOr(kClosed, os::kAcquire<"gate.close">) & ~kClosed;
    while (inside != 0) {
      os::FutexWait(word_, kClosed | inside);
      inside = word_.Load(os::kAcquire<"gate.wait">) & ~kClosed;  // pairs with Leave
    }
  }

 private:
  static constexpr uint32_t kClosed = uint32_t{1} << 31;
  os::Atomic<uint32_t> word_{kClosed};
};

inline constinit ForeignGate foreign_gate;

}  // namespace weft::runtime
