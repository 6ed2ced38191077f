// Once: see weft/once.h.
//
//   1. The first: CAS kNew -> kRunning, runs the function.
//   2. Others: under the queue's lock they look again; kDone: they return. Else they set
//      kWaitedFor by CAS, link themselves and park.
//   3. The first, finished: exchanges the state for kDone. It was kRunning: nothing more is
//   touched.
//      It was kWaitedFor: it wakes all who are queued.
// No wakeup is lost: kWaitedFor is set under the queue's lock by a CAS: the exchange of 3 comes
// before (the other sees kDone) or after (it finds kWaitedFor, and takes the lock when the other is
// linked). The state stays kDone, so a waiter that comes later does not wait; the queue is not
// touched any more once its last waiter is readied, so that a Once may end with its users.
#include "weft/once.h"

#include "sync/core.h"

namespace weft {

struct OnceProtocol {
  static bool MustWait(void* arg) {
    Once* once = static_cast<Once*>(arg);
    uint32_t seen = once->state_.Load(os::kAcquire<"once.look_again">);
    do {
      if (seen == Once::kDone) return false;
      // Relaxed would do on success; on failure kDone may be found, and what the function did
      // must be seen.
    } while (!once->state_.CompareExchange(seen, Once::kWaitedFor, os::kAcquire<"once.queue">));
    return true;
  }
};

bool Once::Begin() {
  uint32_t seen = kNew;
  // Acquire: as in Do, when it is found done.
  if (state_.CompareExchange(seen, kRunning, os::kAcquire<"once.begin">)) return true;
  if (seen != kDone) sync::QueueIn(queue_).Wait(OnceProtocol::MustWait, this, WaitReason::kOnce);
  return false;
}

void Once::Finish() {
  // Release: hands on what the function did; pairs with once.do. The waiters are under the lock.
  if (state_.Exchange(kDone, os::kRelease<"once.finish">) == kWaitedFor) {
    sync::WakeAllAndTell(
        sync::QueueIn(queue_), [](void*) {}, nullptr);
  }
}

}  // namespace weft
