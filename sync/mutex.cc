// Mutex: see weft/mutex.h for what it promises.
//
// The problem. A mutex that always goes to who waits longest costs a switch for each critical
// section; one that goes to whoever comes first starves waiters. So it is Go's protocol: normally
// newcomers may overtake, and a waiter that was overtaken for 1 ms changes the mode.
//
// Words: state_, and a queue of waiters with its own lock (runtime::WaitQueue).
//   kLocked    somebody holds it
//   kWoken     one goroutine is awake and wants it: it was woken to try, or spins. It has this
//              bit, so there is at most one; Unlock need not wake another
//   kStarving  ownership is handed over; nobody takes it by itself. Only while kLocked
//   kWaiters   the queue is not empty. Changes under the queue's lock only
//
// Actors: holder H, newcomer N, waiter W (queued), woken waiter.
//   1. N: CAS 0 -> kLocked. That is all, when nobody else is there.
//   2. N finds it locked: spins a little where that can help, taking kWoken if W are queued.
//   3. N asks for the queue's lock, and under it looks again (StillLocked): free: takes it, by
//      CAS, and does not wait. Locked: sets kWaiters, gives kWoken back if it had it, links
//      itself and parks; the queue's lock is released once it is parked.
//   4. H unlocks: CAS kLocked -> 0. That is all, when nobody waits.
//   5. H finds kWaiters without kWoken and kStarving: one CAS gives the mutex up and takes kWoken.
//      Then it takes the first W out of the queue and readies it; the last one out clears
//      kWaiters. W, awake, owns kWoken and tries to take the mutex like N, clearing kWoken by the
//      same CAS; when it is locked again it goes back to 3, first in line.
//   6. W was woken, 1 ms after it came, and finds the mutex locked: in 3 it sets kStarving too.
//   7. H finds kStarving: it leaves kLocked standing and readies the first W, whose mutex it now
//      is. The last one out clears kStarving. W clears it as well when it has not waited for 1 ms.
//
// No wakeup is lost: N sets kWaiters under the queue's lock. Either H's CAS came before it, then N
// sees the mutex free (3); or H sees kWaiters, and then the lock that it takes in 5 comes after
// N's, when N is linked and parked. A W in the queue is woken by the next H: kWoken is only set
// when somebody is on its way to take the mutex, who then is the next H. 5 finds a W: only who has
// kWoken, or unlocks under kStarving, takes one out; kStarving is set only by who has kWoken. So
// between H's CAS and its taking the W nobody else takes one.
//
// Waiters whose runtime has ended do not count: the queue drops them. When H finds no other, what
// it set for the W is taken back under the queue's lock, in 5 kWoken as well; in 7 it unlocks anew.
//
// H touches the mutex after it gave it up only when it has kWoken, or under 7 before the hand-over:
// then there is a W, which cannot leave before H readies it. So whoever holds the mutex last may
// destroy it. (Go subtracts first and looks at the result afterwards, in memory that it may.)
//
// Orders: taking is acquire, giving up is release, on state_; a hand-over is ordered by the
// queue's lock and by Ready. The other changes of the bits are relaxed: what they guard is the
// queue, under its lock.
#include "weft/mutex.h"

#include "arch/arch.h"
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "sync/core.h"
#include "weft/go.h"

namespace weft {

using runtime::Fatal;
using runtime::WaitQueue;

struct MutexProtocol {
  static constexpr uint32_t kLocked = Mutex::kLocked;
  static constexpr uint32_t kWoken = 2;
  static constexpr uint32_t kStarving = 4;
  static constexpr uint32_t kWaiters = 8;

  // What a waiter finds in Waiter::result.
  static constexpr uint8_t kTryAgain = 1;
  static constexpr uint8_t kHandedOver = 2;

  // Taken from Go: starvationThresholdNs.
  static constexpr int64_t kStarvationNs = os::Scaled(1'000'000, 1'500);
  static constexpr int kSpins = 4;          // taken from Go: active_spin
  static constexpr int kRelaxesASpin = 30;  // taken from Go: active_spin_cnt

  struct Claim {
    Mutex* mutex;
    bool woken;     // the caller has kWoken
    bool starving;  // it has waited for too long
  };

  static WaitQueue& Queue(Mutex* mutex) { return sync::QueueIn(mutex->queue_); }

  static bool TryTake(Mutex* mutex, uint32_t seen, bool woken) {
    const uint32_t taken = (woken ? seen & ~kWoken : seen) | kLocked;
    return mutex->state_.CompareExchange(seen, taken, os::kAcquire<"mutex.take">);
  }

  // Step 3, under the queue's lock. False: the mutex was free and is the caller's now.
  static bool StillLocked(void* arg) {
    Claim* claim = static_cast<Claim*>(arg);
    Mutex* mutex = claim->mutex;
    for (;;) {
      uint32_t seen = mutex->state_.Load(os::kRelaxed<"mutex.still">);
      if ((seen & kLocked) == 0) {
        if (TryTake(mutex, seen, claim->woken)) return false;
        continue;
      }
      uint32_t queued = seen | kWaiters;
      if (claim->woken) queued &= ~kWoken;
      if (claim->starving) queued |= kStarving;
      if (mutex->state_.CompareExchange(seen, queued, os::kRelaxed<"mutex.queue">)) return true;
    }
  }

  // Steps 5 and 7: the queue's lock is held, one waiter is about to be taken out, if there is any.
  static void OnWake(void* arg, bool any, bool more) {
    if (more) return;
    static_cast<Mutex*>(arg)->state_.FetchAnd(any ? ~kWaiters : ~(kWaiters | kWoken),
                                              os::kRelaxed<"mutex.wake_last">);
  }
  static void OnHandOver(void* arg, bool, bool more) {
    if (more) return;
    static_cast<Mutex*>(arg)->state_.FetchAnd(~(kWaiters | kStarving),
                                              os::kRelaxed<"mutex.hand_last">);
  }

  // Whether the holder is likely to run, and the caller has nothing better to do: then waiting
  // for a moment is cheaper than a park.
  static bool CanSpin(int spins) {
    if (spins >= kSpins) return false;
    const runtime::M* m = runtime::GetM();
    if (m == nullptr || m->p == nullptr) return false;
    const runtime::Runtime* rt = runtime::Rt();  // not a plain thread's to read: it may be ending
    // Guesses: a wrong one costs a spin.
    const int busy = rt->procs.Load(os::kRelaxed<"mutex.procs">) -
                     rt->idle_p_count.Load(os::kRelaxed<"mutex.idle">) -
                     rt->spinning.Load(os::kRelaxed<"mutex.spinning">);
    return busy > 1 && m->p->runq.Empty();
  }

  static void Spin() {
    for (int i = 0; i < kRelaxesASpin; i++) arch::CpuRelax();
  }

  // Step 7, after the hand-over: the waiter shall run now, not at the end of our time slice.
  static void GiveWay() {
    const runtime::M* m = runtime::GetM();
    if (m != nullptr && m->locks == 0) Yield();
  }

  // Who fights for a mutex in a loop ends its time slice here: the fast paths do not look.
  static void Poll() { runtime::Entry entry; }
};

void Mutex::LockSlow() {
  using P = MutexProtocol;
  P::Poll();
  P::Claim claim{this, false, false};
  int64_t since = 0;
  int spins = 0;
  for (;;) {
    uint32_t seen = state_.Load(os::kRelaxed<"mutex.look">);
    if ((seen & kLocked) == 0) {
      if (P::TryTake(this, seen, claim.woken)) return;
      continue;
    }
    if ((seen & P::kStarving) == 0 && P::CanSpin(spins)) {  // step 2
      if ((seen & (P::kWoken | P::kWaiters)) == P::kWaiters && !claim.woken) {
        claim.woken = state_.CompareExchange(seen, seen | P::kWoken, os::kRelaxed<"mutex.spin">);
      }
      P::Spin();
      spins++;
      continue;
    }
    const bool first_time = since == 0;
    if (first_time) since = os::Nanotime();
    WaitQueue::Waiter waiter{};
    if (!P::Queue(this).Wait(P::StillLocked, &claim, WaitReason::kMutexLock, !first_time,
                             &waiter)) {
      return;
    }
    const bool too_long = os::Nanotime() - since > P::kStarvationNs;
    if (waiter.result == P::kHandedOver) {
      // It is ours already; relaxed, as others that change the word meanwhile do not look at it.
      if (!too_long) state_.FetchAnd(~P::kStarving, os::kRelaxed<"mutex.recover">);
      return;
    }
    claim.woken = true;
    claim.starving = claim.starving || too_long;
    spins = 0;
  }
}

bool Mutex::TryLock() {
  uint32_t seen = state_.Load(os::kRelaxed<"mutex.try_look">);
  while ((seen & kLocked) == 0) {
    // As in Lock; pairs with mutex.unlock.
    if (state_.CompareExchange(seen, seen | kLocked, os::kAcquire<"mutex.try">)) return true;
  }
  MutexProtocol::Poll();  // who tries in a loop gives way
  return false;
}

void Mutex::UnlockSlow() {
  using P = MutexProtocol;
  for (;;) {
    uint32_t seen = state_.Load(os::kRelaxed<"mutex.unlock_look">);
    if ((seen & kLocked) == 0)
      Fatal("unlock of an unlocked weft::Mutex by goroutine %u", GoroutineId());
    if ((seen & P::kStarving) != 0) {  // step 7
      if (!P::Queue(this).WakeOne(P::kHandedOver, P::OnHandOver, this)) continue;
      P::GiveWay();
      return;
    }
    const bool wake = (seen & (P::kWaiters | P::kWoken)) == P::kWaiters;
    const uint32_t given_up = (wake ? seen | P::kWoken : seen) & ~kLocked;
    if (!state_.CompareExchange(seen, given_up, os::kRelease<"mutex.give_up">)) continue;
    if (wake) P::Queue(this).WakeOne(P::kTryAgain, P::OnWake, this);  // step 5
    P::Poll();
    return;
  }
}

void Mutex::AssertHeld() {
  if ((state_.Load(os::kRelaxed<"mutex.assert">) & kLocked) == 0) {
    Fatal("a weft::Mutex that should be held is not, in goroutine %u", GoroutineId());
  }
}

}  // namespace weft
