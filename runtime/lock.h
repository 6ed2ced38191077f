// The core's own lock: a futex word whose release is two plain instructions.
//
// The problem. A channel operation is one lock and one unlock; a read-modify-write costs 5 ns on
// the machines measured (bench/micro, "CAS"), so that an unlock without one is a third of a
// buffered send. A futex mutex needs the RMW because it must see, in one step with the release,
// whether somebody sleeps.
//
// Actors: the holder H and waiters W. Words: held_ (0 free, 1 held, 2 held and somebody may sleep)
// and sleepers_ (how many W sleep or are about to).
//   1. Lock: CAS held_ 0 -> 1 (acquire). Fails: spin a little, then
//   2. W adds itself to sleepers_,
//   3. W calls Membarrier: every running thread of the process passes a full fence,
//   4. W tries the CAS again, now 0 -> 2; if it fails, marks held_ 2 and futex-waits while it is
//      2; again from 4; when it holds the lock it leaves sleepers_.
//   5. Unlock: H stores held_ = 0 (release), compiler fence, loads sleepers_; not 0: futex-wakes
//      one.
// No wakeup is lost: if H's load (5) does not see W's add (2), H's load came before W's barrier
// (3) in H's instruction order, so H's store did too, and W's CAS at 4 sees it. Several waiters:
// each that leaves step 4 with the lock unlocks later, and wakes the next.
// ReleaseLast is for a holder whose release lets somebody destroy the lock's owner (the commit of
// a park: who is readied may free the channel or mutex). It touches the lock once: an exchange,
// which finds the 2 of 4. A W that marks after it fails its CAS and takes the lock.
// Where membarrier is refused (seccomp), Unlock uses a full fence in its place; the flag is set
// once, before the first lock is taken.
//
// A core lock is held for tens of instructions, never over a call into foreign code or a park
// (but see UnlockOnPark in chan.cc). Its holder's m->locks is not 0, so nothing stops it.
#pragma once

#include <cstdint>

#include "runtime/lockrank.h"
#include "runtime/os/futex.h"
#include "weft/internal/atomic.h"

namespace weft::runtime {

class Lock {
 public:
  constexpr explicit Lock(LockRank rank) : rank_(rank) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  [[gnu::always_inline]] void Acquire() {
    uint32_t free = 0;
    if (!held_.CompareExchange(free, 1, os::kAcquire<"lock.acquire">)) [[unlikely]]
      AcquireSlow();
    NoteAcquired(this, rank_);
  }

  [[gnu::always_inline]] bool TryAcquire() {
    uint32_t free = 0;
    if (!held_.CompareExchange(free, 1, os::kAcquire<"lock.try">)) return false;
    NoteAcquired(this, rank_);
    return true;
  }

  [[gnu::always_inline]] void Release() {
    NoteReleased(this, rank_);
    held_.Store(0, os::kRelease<"lock.release">);
    os::AsymmetricFastFence();  // partner: Membarrier in AcquireSlow (3)
    if (sleepers_.Load(os::kRelaxed<"lock.release.look">) != 0) [[unlikely]]
      WakeSleeper();
  }

  // The last access to the lock by this holder; see the essay.
  [[gnu::always_inline]] void ReleaseLast() {
    NoteReleased(this, rank_);
    if (held_.Exchange(0, os::kRelease<"lock.release_last">) == 2) [[unlikely]]
      WakeSleeper();
  }

  // The caller holds it; checked against the lock itself.
  void AssertHeld() const;

 private:
  void AcquireSlow();
  void WakeSleeper();

  os::Atomic<uint32_t> held_{0};
  os::Atomic<uint16_t> sleepers_{0};
  LockRank rank_;
};
static_assert(sizeof(Lock) == 8 || !os::kPlainAtomics);

class LockGuard {
 public:
  explicit LockGuard(Lock& lock) : lock_(lock) { lock_.Acquire(); }
  ~LockGuard() { lock_.Release(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace weft::runtime
