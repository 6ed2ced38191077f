// FdMutex: who is inside a descriptor, and when it can be closed.
//
// The problem. A read and a write may go on at once, two reads may not; Close must take effect at
// once whoever is inside, but the descriptor's number must not be freed before the last of them
// has left (it would be reused, and they would read another's socket). And an operation that
// meets nobody should pay one read-modify-write on its way in and one on its way out.
//
// Actors: operations, each of one side (reading, writing) or of none (a deadline being set);
// closers. One word holds it all:
//     closed         no operation may enter any more
//     busy[side]     one is inside on this side
//     waiting[side]  others wait in the side's queue; it may be set with nobody there, not the
//                    reverse
//     references     operations inside, and closers under way
// and each side has a WaitQueue (runtime/sema.h), first come first served.
//   1. Enter: busy and closed not set: one CAS sets busy and adds a reference.
//   2. Else, under the queue's lock, again: if the side has become free, as 1; if closed, or the
//      Context is done, give up; else set waiting, and link into the queue in the same critical
//      section.
//   3. Leave, waiting not set: one CAS takes busy and the reference away.
//   4. Leave, waiting set: clear waiting, then wake the first in the queue, who inherits busy
//      and the reference with that (under the queue's lock, waiting is set again if more
//      remain). Nobody there: from 3 again.
//   5. Close: set closed and add a reference; wake all queues ("closed"); then leave as 6.
//   6. Whoever takes the last reference away while closed is set, frees the descriptor.
// Nobody is left waiting: who links himself at 2 sets waiting in the critical section that links
// him. If the leaver's CAS at 3 came after that, it fails and 4 follows; if before, 2 finds
// the side free. At 4 waiting is cleared before the queue is looked at: who sets it in between
// holds the queue's lock until he is linked, so that the look finds him; who sets it later makes
// the CAS at 3 fail. A waiter that gives up (its Context) is unlinked under the lock and may
// leave waiting set: the next leaver goes through 4 once for nothing.
// A closer at 5 that finds the queue empty has set closed before: later comers see it at 2.
// Close and hand-over may overlap: who inherits the side after Close enters a closing descriptor,
// finds that out in the netpoller, and leaves.
//
// Not taken: a lock for each side whose release is a plain store, as runtime/lock.h does. It
// saves one RMW of two, but Close would have to pay a membarrier for each connection.
// Not taken: Go's hand-over by semaphore, where a woken waiter competes with new comers: a
// reader that loops would always win.
#pragma once

#include <cstdint>

#include "net/outcome.h"
#include "runtime/sema.h"
#include "weft/context.h"
#include "weft/internal/atomic.h"

namespace weft::net::internal {

enum class Side : uint8_t { kRead = 0, kWrite = 1 };

class FdMutex {
 public:
  FdMutex() = default;
  FdMutex(const FdMutex&) = delete;
  FdMutex& operator=(const FdMutex&) = delete;

  // Waits until it is alone on `side`: 0, and Leave must follow; or kClosed, kContextDone.
  [[nodiscard]] [[gnu::always_inline]] Outcome Enter(Side side, const Context& ctx) {
    uint32_t word = word_.Load(os::kRelaxed<"fdmutex.enter.look">);  // checked by the CAS
    if ((word & (kClosedBit | Busy(side))) == 0) [[likely]] {
      // What the one before on this side did is seen; pairs with fdmutex.leave (3).
      if (word_.CompareExchange(word, (word | Busy(side)) + kReference,
                                os::kAcquire<"fdmutex.enter">)) [[likely]] {
        return 0;
      }
    }
    return EnterSlow(side, ctx);
  }

  // True: the caller was the last one inside a closed descriptor and must free it (6).
  [[nodiscard]] [[gnu::always_inline]] bool Leave(Side side) {
    uint32_t word = word_.Load(os::kRelaxed<"fdmutex.leave.look">);  // checked by the CAS
    while ((word & Waiting(side)) == 0) [[likely]] {
        const uint32_t left = (word & ~Busy(side)) - kReference;
        // Release: what was done inside, for the next one (1) and for who frees. Acquire: who
        // frees sees what all others did (fdmutex.leave, fdmutex.unref).
        if (word_.CompareExchange(word, left, os::kAcqRel<"fdmutex.leave">)) [[likely]] {
          return IsLast(left);
        }
      }
    return LeaveSlow(side);
  }

  // A reference without a side: any number at once, never waits. False: closed.
  [[nodiscard]] bool Reference();
  // True: as Leave.
  [[nodiscard]] bool Unreference();

  // Step 5. False: it was closed before, nothing to do. True: the caller holds a reference and
  // gives it back by Unreference when it has told the netpoller.
  [[nodiscard]] bool Close();
  // Closes if nobody is inside; true: the caller alone owns the descriptor now.
  [[nodiscard]] bool CloseIfIdle();

  bool closed() const {
    return (word_.Load(os::kRelaxed<"fdmutex.closed">) & kClosedBit) != 0;  // a hint
  }

 private:
  static constexpr uint32_t kClosedBit = 1;
  static constexpr uint32_t kReference = 1 << 5;
  static constexpr uint32_t kReferenceMask = ~(kReference - 1);
  static constexpr uint32_t Busy(Side side) { return 2u << static_cast<int>(side); }
  static constexpr uint32_t Waiting(Side side) { return 8u << static_cast<int>(side); }
  static constexpr bool IsLast(uint32_t word) {
    return (word & kReferenceMask) == 0 && (word & kClosedBit) != 0;
  }

  struct Attempt;
  static bool StillWaiting(void* attempt);
  static void MoreWait(void* attempt, bool any, bool more);
  Outcome EnterSlow(Side side, const Context& ctx);
  bool LeaveSlow(Side side);
  uint32_t AddReference(uint32_t bits, uint32_t refused_by);

  runtime::WaitQueue queues_[2];
  os::Atomic<uint32_t> word_{0};  // last: beside what its descriptor's user touches next
};

}  // namespace weft::net::internal
