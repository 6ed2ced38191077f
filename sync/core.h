// How sync/ uses what lies in the core: its locks, and its queues inside public objects.
#pragma once

#include <new>

#include "runtime/lock.h"
#include "runtime/sched.h"
#include "runtime/sema.h"
#include "weft/mutex.h"

namespace weft::sync {

// Holds a core lock. The entry comes first and goes last: while the lock is held the goroutine is
// not preempted, and calls into the runtime do not give way.
class Guard {
 public:
  explicit Guard(runtime::Lock& lock) : lock_(lock) { lock_.Acquire(); }
  ~Guard() { lock_.Release(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  runtime::Entry entry_;
  runtime::Lock& lock_;
};

static_assert(sizeof(runtime::WaitQueue) == sizeof(internal::WaitQueueRoom));
static_assert(alignof(runtime::WaitQueue) <= alignof(internal::WaitQueueRoom));
static_assert(sizeof(runtime::Lock) == sizeof(internal::CoreLockRoom));
static_assert(alignof(runtime::Lock) <= alignof(internal::CoreLockRoom));
// The rooms' byte 6; that it is the rank's place is checked by sync_test (WaitQueueRoom).
static_assert(static_cast<int>(runtime::LockRank::kWaitQueue) == 2);

inline runtime::WaitQueue& QueueIn(internal::WaitQueueRoom& room) {
  return *std::launder(reinterpret_cast<runtime::WaitQueue*>(room.raw()));
}
inline runtime::Lock& LockIn(internal::CoreLockRoom& room) {
  return *std::launder(reinterpret_cast<runtime::Lock*>(room.raw()));
}

// Wakes all who wait in `queue`. `emptied(object)` is called under the queue's lock when the last
// one has been taken out: it clears the bit that told of them. The queue may be gone as soon as
// that one runs, so nothing touches it afterwards.
inline void WakeAllAndTell(runtime::WaitQueue& queue, void (*emptied)(void*), void* object) {
  struct Call {
    void (*emptied)(void*);
    void* object;
    bool more;
  } call{emptied, object, false};
  do {
    call.more = false;
    queue.WakeOne(
        0,
        [](void* arg, bool, bool more) {
          Call* c = static_cast<Call*>(arg);
          c->more = more;
          if (!more) c->emptied(c->object);
        },
        &call);
  } while (call.more);
}

}  // namespace weft::sync
