// Waiter: one goroutine (or plain thread) that waits for the first of several events.
//
// The problem. A goroutine may be readied only once it is parked, and once for each park; but it
// often must tell others of itself before it parks (a condition's list, a context's callbacks),
// and several of them may want to wake it at the same time.
//
// Actors: the waiter, who owns the object (it lives on the waiter's stack, or in what it owns),
// and wakers, each with a reason. The word: 0, nothing yet; a Goroutine*, parked; 1..7, the reason
// of the first waker.
//   1. The waiter hands the object to the wakers.
//   2. It calls Wait: a reason is there: returns it. Else it parks; once it is parked its commit
//      changes the word 0 -> itself. A reason that came meanwhile takes the park back.
//   3. A waker changes 0 or the Goroutine* -> its reason, and readies the goroutine that it found.
//      Who finds a reason is too late, and does nothing.
// So exactly one waker readies the goroutine, and only after it was parked.
//
// Lifetime: a waker's change of the word is the last it does with the object: a waiter that has
// seen a reason may end, as far as that waker goes. Wakers who come too late must be kept from
// coming by the waiter, before it ends (it takes itself out of lists under their locks, removes
// callbacks, stops timers).
//
// Orders: a waker's change is a release, and the waiter's reading of it an acquire: the waiter
// sees what the waker did before. The commit's is a release, the waker's an acquire, for the
// goroutine: its status word must be found as parked, or the readying fails on an older value.
#pragma once

#include <cstdint>

#include "runtime/m.h"
#include "runtime/threadg.h"
#include "runtime/timer.h"
#include "weft/internal/atomic.h"
#include "weft/park.h"

namespace weft::sync {

class Waiter {
 public:
  using Reason = uint8_t;  // 1..7, what they mean is between waiter and wakers

  // False: somebody was first. Any thread; does not block.
  bool Wake(Reason reason) {
    uintptr_t seen = word_.Load(os::kRelaxed<"waiter.look">);
    do {
      if (IsReason(seen)) return false;
    } while (!word_.CompareExchange(seen, reason, os::kAcqRel<"waiter.wake">));
    if (seen != 0) Ready(reinterpret_cast<Goroutine*>(seen));
    return true;
  }

  // The reason of the first waker; blocks until there is one.
  Reason Wait(WaitReason why) {
    if (Reason reason = Peek(); reason != 0) return reason;
    Park(
        [](Goroutine* self, void* arg) {
          uintptr_t nothing = 0;
          return static_cast<Waiter*>(arg)->word_.CompareExchange(
              nothing, reinterpret_cast<uintptr_t>(self), os::kRelease<"waiter.parked">);
        },
        this, why);
    return Peek();
  }

  // The reason, if there is one; else 0.
  Reason Peek() const {
    const uintptr_t seen = word_.Load(os::kAcquire<"waiter.peek">);
    return IsReason(seen) ? static_cast<Reason>(seen) : Reason{0};
  }

 private:
  static bool IsReason(uintptr_t word) { return word - 1 < 7; }

  os::Atomic<uintptr_t> word_{0};
};

// Counts calls that may touch an object, for its destroyer to wait for. Begin comes before the call
// can begin; End is the last that it does with the object.
//   1. The destroyer keeps new calls from beginning. 2. It sets kDraining; no calls: it is done.
//   3. Else it waits. End of the last call sees kDraining and wakes it; the object is there until
//      then. An End that does not see it does not touch the object any more.
class CallCount {
 public:
  void Begin() { word_.FetchAdd(1, os::kRelaxed<"calls.begin">); }
  void End() {
    // Release: the call comes before the destruction. Acquire: drainer_ is read.
    if (word_.FetchSub(1, os::kAcqRel<"calls.end">) == (kDraining | 1)) drainer_->Wake(1);
  }
  void Drain(WaitReason why) {
    Waiter drainer;
    drainer_ = &drainer;
    // Release: drainer_ is written. Acquire: what ended calls did.
    if (word_.FetchOr(kDraining, os::kAcqRel<"calls.drain">) != 0) drainer.Wait(why);
  }

 private:
  static constexpr uint32_t kDraining = uint32_t{1} << 31;

  os::Atomic<uint32_t> word_{0};
  os::Plain<Waiter*> drainer_ = nullptr;
};

// A timer on the stack that wakes a Waiter. Infinite (INT64_MAX): none. On a plain thread it is the
// thread's own, of which there is one at a time.
class WakeTimer {
 public:
  WakeTimer(Waiter& waiter, Waiter::Reason reason, int64_t when)
      : waiter_(waiter), reason_(reason), kind_(KindOf(when)) {
    if (kind_ == Kind::kInHeap) runtime::AddTimer(&timer_, when, 0, Fire, this, 0);
    if (kind_ == Kind::kThreads) runtime::SetThreadTimer(when, Fire, this, 0);
  }
  // The waiter can end once this has ended.
  ~WakeTimer() {
    if (kind_ == Kind::kThreads) runtime::SetThreadTimer(0, nullptr, nullptr, 0);
    if (kind_ == Kind::kInHeap && !runtime::DeleteTimer(&timer_)) {
      fired_.Wait(WaitReason::kSleep);
    }
  }
  WakeTimer(const WakeTimer&) = delete;
  WakeTimer& operator=(const WakeTimer&) = delete;

 private:
  enum class Kind : uint8_t { kNone, kInHeap, kThreads };

  static Kind KindOf(int64_t when) {
    if (when == INT64_MAX) return Kind::kNone;
    return runtime::GetM() != nullptr ? Kind::kInHeap : Kind::kThreads;
  }
  static void Fire(void* arg, uintptr_t) {
    WakeTimer* self = static_cast<WakeTimer*>(arg);
    self->waiter_.Wake(self->reason_);
    self->fired_.Wake(1);
  }

  Waiter& waiter_;
  Waiter::Reason reason_;
  Kind kind_;
  runtime::Timer timer_;
  Waiter fired_;
};

// Nanotime() `ns` from now; INT64_MAX when that is out of reach.
inline int64_t WhenAfter(int64_t ns) {
  const int64_t now = runtime::Nanotime();
  return ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

}  // namespace weft::sync
