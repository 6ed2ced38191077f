// WaitGroup: see weft/waitgroup.h.
//
// The problem. The last Done must wake every waiter, and a waiter may destroy the group as soon as
// it runs: often it lies on the waiter's stack.
//
// Words: state_ is the count times 2, plus kWaiters while the queue is not empty; that bit changes
// under the queue's lock only.
//   1. Wait: the count is 0: returns. Else, under the queue's lock, it looks again: 0: returns;
//      else it sets kWaiters by CAS, links itself and parks.
//   2. Add: one RMW. It leaves a count of 0 without kWaiters: nothing more is touched.
//   3. It leaves 0 with kWaiters: takes the waiters out one by one and readies them; the last one
//      out clears kWaiters, under the lock.
// No wakeup is lost: kWaiters is set by a CAS on the count that it saw: a Done that makes it 0
// comes before (the waiter sees 0) or after (it sees kWaiters, and takes the lock when the waiter
// is linked and parked). Lifetime: at 2 the group may be gone right after the RMW. At 3 there is a
// waiter that cannot leave before it is readied; the last one is readied last, and nothing is
// touched after that.
//
// Orders: Add is acq_rel: what each Done's caller did is handed to the last one, and from it, by
// the queue's lock and Ready, to the waiters; a Wait that finds 0 acquires it from the word.
#include "weft/waitgroup.h"

#include "runtime/fatal.h"
#include "sync/core.h"

namespace weft {

struct WaitGroupProtocol {
  static constexpr int64_t kWaiters = 1;
  static constexpr int64_t kOne = 2;  // of the count

  static bool MustWait(void* arg) {
    WaitGroup* group = static_cast<WaitGroup*>(arg);
    int64_t seen = group->state_.Load(os::kAcquire<"waitgroup.look_again">);
    do {
      if (seen < kOne) return false;
    } while (
        !group->state_.CompareExchange(seen, seen | kWaiters, os::kAcquire<"waitgroup.queue">));
    return true;
  }

  static void Emptied(void* arg) {
    // Under the queue's lock, which orders it.
    static_cast<WaitGroup*>(arg)->state_.FetchAnd(~kWaiters, os::kRelaxed<"waitgroup.emptied">);
  }
};

void WaitGroup::Add(int delta) {
  using P = WaitGroupProtocol;
  const int64_t change = int64_t{delta} * P::kOne;
  const int64_t now = state_.FetchAdd(change, os::kAcqRel<"waitgroup.add">) + change;
  if (now < 0) {
    runtime::Fatal("weft::WaitGroup: its count became %d; more Done than Add, in goroutine %u",
                   now >> 1, GoroutineId());
  }
  if (now == P::kWaiters) sync::WakeAllAndTell(sync::QueueIn(queue_), P::Emptied, this);
}

void WaitGroup::Wait() {
  using P = WaitGroupProtocol;
  // Pairs with waitgroup.add: sees what was done before the last Done.
  if (state_.Load(os::kAcquire<"waitgroup.wait">) < P::kOne) return;
  sync::QueueIn(queue_).Wait(P::MustWait, this, WaitReason::kWaitGroupWait);
}

}  // namespace weft
