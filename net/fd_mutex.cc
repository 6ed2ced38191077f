#include "net/fd_mutex.h"

#include "runtime/fatal.h"

namespace weft::net::internal {

namespace {
// What ends a wait in a queue.
enum WaitResult : uint8_t { kInherited, kClosedMeanwhile, kCancelled };
}  // namespace

struct FdMutex::Attempt {
  FdMutex* mutex;
  Side side;
  const Context* ctx;
  Outcome entry = 0;  // what step 2 came to, when it did not wait
};

// Step 2, under the queue's lock.
bool FdMutex::StillWaiting(void* arg) {
  Attempt* attempt = static_cast<Attempt*>(arg);
  const Side side = attempt->side;
  os::Atomic<uint32_t>& shared = attempt->mutex->word_;
  uint32_t word = shared.Load(os::kRelaxed<"fdmutex.queue.look">);  // checked by the CAS
  for (;;) {
    if ((word & kClosedBit) != 0) {
      attempt->entry = kClosed;
      return false;
    }
    if (attempt->ctx->IsDone()) {
      attempt->entry = kContextDone;
      return false;
    }
    if ((word & Busy(side)) == 0) {
      // As fdmutex.enter.
      if (shared.CompareExchange(word, (word | Busy(side)) + kReference,
                                 os::kAcquire<"fdmutex.queue.enter">)) {
        attempt->entry = 0;
        return false;
      }
    } else if (shared.CompareExchange(word, word | Waiting(side),
                                      os::kRelaxed<"fdmutex.queue.wait">)) {
      // The queue's lock hands the rest on to the leaver, who takes it after he saw the bit.
      return true;
    }
  }
}

namespace {
// Takes a queued waiter out when its Context is done. If that comes before the waiter is linked,
// step 2 sees the Context done: both are under the queue's lock.
class CancelWait : public ContextCallback {
 public:
  CancelWait(runtime::WaitQueue* queue, runtime::WaitQueue::Waiter* waiter)
      : ContextCallback(Run), queue_(queue), waiter_(waiter) {}

 private:
  static void Run(ContextCallback* self) {
    const CancelWait* cancel = static_cast<CancelWait*>(self);
    cancel->queue_->Cancel(cancel->waiter_, kCancelled);
  }
  runtime::WaitQueue* queue_;
  runtime::WaitQueue::Waiter* waiter_;
};
}  // namespace

Outcome FdMutex::EnterSlow(Side side, const Context& ctx) {
  Attempt attempt{this, side, &ctx};
  runtime::WaitQueue& queue = queues_[static_cast<int>(side)];
  runtime::WaitQueue::Waiter waiter{};
  CancelWait cancel(&queue, &waiter);
  if (!ctx.AddCallback(&cancel)) return closed() ? kClosed : kContextDone;
  const bool waited =
      queue.Wait(StillWaiting, &attempt, WaitReason::kIoLock, /*lifo=*/false, &waiter);
  cancel.Remove();
  if (!waited) return attempt.entry;
  switch (waiter.result) {
    case kInherited:
      return 0;
    case kClosedMeanwhile:
      return kClosed;
    case kCancelled:
      return kContextDone;
  }
  runtime::Fatal("fd mutex: woken with result %u", waiter.result);
}

// Step 4, under the queue's lock, before the first in line is readied.
void FdMutex::MoreWait(void* arg, bool, bool more) {
  const Attempt* attempt = static_cast<Attempt*>(arg);
  if (!more) return;
  // Those who remain are linked, and the lock that they are linked under is held.
  attempt->mutex->word_.FetchOr(Waiting(attempt->side), os::kRelaxed<"fdmutex.leave.more">);
}

bool FdMutex::LeaveSlow(Side side) {
  Attempt attempt{this, side, nullptr};
  for (;;) {
    // Who inherits the side sees what was done inside by the queue's lock.
    uint32_t word = word_.FetchAnd(~Waiting(side), os::kRelaxed<"fdmutex.leave.clear">);
    if (queues_[static_cast<int>(side)].WakeOne(kInherited, MoreWait, &attempt)) return false;
    word &= ~Waiting(side);
    const uint32_t left = (word & ~Busy(side)) - kReference;
    // As fdmutex.leave; a failure may be another waiter, or a change that does not matter.
    if (word_.CompareExchange(word, left, os::kAcqRel<"fdmutex.leave.slow">)) return IsLast(left);
  }
}

// `bits` set and one reference more, unless a bit of `refused_by` is set: then nothing is changed.
// What was there before.
uint32_t FdMutex::AddReference(uint32_t bits, uint32_t refused_by) {
  uint32_t word = word_.Load(os::kRelaxed<"fdmutex.ref.look">);  // checked by the CAS
  for (;;) {
    if ((word & refused_by) != 0) return word;
    if ((word & kReferenceMask) == kReferenceMask) {
      runtime::Fatal("too many operations at once on one descriptor");
    }
    // Acquire: what was done before a Close is seen by who frees; release: closed is seen with
    // what its closer did.
    if (word_.CompareExchange(word, (word | bits) + kReference, os::kAcqRel<"fdmutex.ref">)) {
      return word;
    }
  }
}

bool FdMutex::Reference() {
  return (AddReference(0, kClosedBit) & kClosedBit) == 0;
}

bool FdMutex::Unreference() {
  // As fdmutex.leave.
  const uint32_t before = word_.FetchSub(kReference, os::kAcqRel<"fdmutex.unref">);
  WEFT_CHECK((before & kReferenceMask) != 0);
  return IsLast(before - kReference);
}

bool FdMutex::Close() {
  if ((AddReference(kClosedBit, kClosedBit) & kClosedBit) != 0) return false;
  for (runtime::WaitQueue& queue : queues_) queue.WakeAll(kClosedMeanwhile);
  return true;
}

bool FdMutex::CloseIfIdle() {
  uint32_t word = 0;
  // A spurious waiting bit may stand though nobody is inside; it says nothing.
  do {
    if ((word & ~(Waiting(Side::kRead) | Waiting(Side::kWrite))) != 0) return false;
    // Acquire: what the operations before did is seen by the new owner.
  } while (!word_.CompareExchange(word, word | kClosedBit, os::kAcquire<"fdmutex.close_idle">));
  return true;
}

}  // namespace weft::net::internal
