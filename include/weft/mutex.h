// Mutex: mutual exclusion between goroutines (and plain threads).
//
//     weft::Mutex mu;
//     int balance WEFT_GUARDED_BY(mu);
//     { weft::MutexLock lock(mu); balance++; }         // or std::scoped_lock lock(mu);
//
// Who waits blocks its goroutine, not its thread; on a plain thread it blocks the thread. A Mutex
// is not bound to who locked it: another may unlock it. It is not recursive. It may be locked
// across blocking calls.
//
// Fairness: waiters are served first come first served, but a newcomer that runs may take a
// free mutex before a waiter has woken up, which is several times faster. A waiter that has
// waited for more than 1 ms gets it by hand-over, ahead of all newcomers.
//
// A Mutex is not copied or moved. It may be constant-initialized (a global is usable before
// main). It may be destroyed as soon as nobody holds it or waits for it, also by who locked it
// last while the Unlock before is still returning.
//
// Cost, uncontended: one RMW for Lock and one for Unlock, inline.
#pragma once

#include <cstdint>

#include "weft/internal/atomic.h"
#include "weft/internal/room.h"
#include "weft/internal/thread_annotations.h"

namespace weft {

class WEFT_CAPABILITY("mutex") Mutex {
 public:
  constexpr Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Lock waits until the mutex is the caller's.
  [[gnu::always_inline]] void Lock() WEFT_ACQUIRE() {
    uint32_t free = 0;
    // Acquire: sees what the last holder wrote; pairs with mutex.unlock.
    if (!state_.CompareExchange(free, kLocked, os::kAcquire<"mutex.lock">)) [[unlikely]] {
      LockSlow();
    }
  }

  // TryLock does not wait. False: somebody holds it.
  [[nodiscard]] bool TryLock() WEFT_TRY_ACQUIRE(true);

  // Unlock gives it up. Fatal when nobody holds it. Does not wait.
  [[gnu::always_inline]] void Unlock() WEFT_RELEASE() {
    uint32_t locked = kLocked;
    // Release: hands on what was written under the mutex; pairs with mutex.lock.
    if (!state_.CompareExchange(locked, 0, os::kRelease<"mutex.unlock">)) [[unlikely]] {
      UnlockSlow();
    }
  }

  // Fatal when nobody holds it. (It does not know who does.)
  void AssertHeld() WEFT_ASSERT_CAPABILITY();

  // For std::scoped_lock and its kin.
  void lock() WEFT_ACQUIRE() { Lock(); }
  [[nodiscard]] bool try_lock() WEFT_TRY_ACQUIRE(true) { return TryLock(); }
  void unlock() WEFT_RELEASE() { Unlock(); }

 private:
  friend struct MutexProtocol;  // sync/mutex.cc

  static constexpr uint32_t kLocked = 1;

  void LockSlow();
  void UnlockSlow();

  os::Atomic<uint32_t> state_{0};
  internal::WaitQueueRoom queue_;
};

// Holds a Mutex from its construction to its end.
class WEFT_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) WEFT_ACQUIRE(mutex) : mutex_(mutex) { mutex_.Lock(); }
  ~MutexLock() WEFT_RELEASE() { mutex_.Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace weft
