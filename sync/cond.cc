// Cond: see weft/cond.h.
//
// The problem. Between unlocking the mutex and being parked no signal may be lost, and a signal
// must wake one of those who waited when it came: not one who came later, and not two.
//
// Actors: waiters, signallers, contexts. head_..tail_ is a list of entries on the waiters'
// stacks, under a core lock; the order of the list is the order of coming, since waiters enter it
// while they hold the mutex.
//   1. The waiter, which holds the mutex, links its entry under the list's lock.
//   2. It unlocks the mutex, then waits on the entry's Waiter, which may have been woken already.
//   3. Signal unlinks the first entry under the lock, and wakes it outside. Broadcast all of them.
//   4. A context that is done unlinks the entry of its waiter, if it is still linked, and wakes it.
//   5. The waiter, awake, locks the mutex.
// Whoever unlinks an entry wakes it, nobody else does: so no signal goes to a waiter that its
// context has ended (4), and an entry may end once it was woken. A waiter with a context ends only
// after its callback was removed, since 4 looks at the entry under the lock.
//
// Not taken: tickets as in Go's notifyList, which serve a list that is entered after the mutex is
// unlocked. Here linking takes the list's lock for a few instructions with the mutex held, which
// a Signal under the mutex would have to wait for anyway.
#include "weft/cond.h"

#include "sync/core.h"
#include "sync/waiter.h"

namespace weft {

struct CondProtocol {
  static constexpr sync::Waiter::Reason kSignalled = 1;
  static constexpr sync::Waiter::Reason kContextDone = 2;

  // [l] under the Cond's lock
  struct Entry {
    sync::Waiter waiter;
    Entry* next = nullptr;  // [l]
    Entry* prev = nullptr;  // [l]
    bool linked = false;    // [l]
  };

  struct Watch : ContextCallback {
    Watch(Cond* c, Entry* e) : ContextCallback(OnDone), cond(c), entry(e) {}
    static void OnDone(ContextCallback* self) {
      Watch* watch = static_cast<Watch*>(self);
      {
        sync::Guard guard(Lock(watch->cond));
        if (!watch->entry->linked) return;
        Unlink(watch->cond, watch->entry);
      }
      watch->entry->waiter.Wake(kContextDone);
    }
    Cond* cond;
    Entry* entry;
  };

  static runtime::Lock& Lock(Cond* cond) { return sync::LockIn(cond->lock_); }

  static void Link(Cond* cond, Entry* entry) {
    sync::Guard guard(Lock(cond));
    entry->prev = static_cast<Entry*>(cond->tail_);
    if (entry->prev != nullptr) {
      entry->prev->next = entry;
    } else {
      cond->head_ = entry;
    }
    cond->tail_ = entry;
    entry->linked = true;
  }

  static void Unlink(Cond* cond, Entry* entry) {
    if (entry->prev != nullptr) {
      entry->prev->next = entry->next;
    } else {
      cond->head_ = entry->next;
    }
    if (entry->next != nullptr) {
      entry->next->prev = entry->prev;
    } else {
      cond->tail_ = entry->prev;
    }
    entry->linked = false;
  }
};

void Cond::Wait(Mutex& mutex) {
  CondProtocol::Entry entry;
  CondProtocol::Link(this, &entry);
  mutex.Unlock();
  entry.waiter.Wait(WaitReason::kCondWait);
  mutex.Lock();
}

absl::Status Cond::Wait(Mutex& mutex, const Context& ctx) {
  CondProtocol::Entry entry;
  CondProtocol::Watch watch(this, &entry);
  CondProtocol::Link(this, &entry);
  if (!ctx.AddCallback(&watch)) {
    sync::Guard guard(CondProtocol::Lock(this));
    // A Signal may have come between: then it has been spent on this Wait.
    if (entry.linked) {
      CondProtocol::Unlink(this, &entry);
      entry.waiter.Wake(CondProtocol::kContextDone);
    }
  }
  mutex.Unlock();
  const sync::Waiter::Reason reason = entry.waiter.Wait(WaitReason::kCondWait);
  watch.Remove();
  mutex.Lock();
  return reason == CondProtocol::kSignalled ? absl::OkStatus() : ctx.status();
}

void Cond::Signal() {
  CondProtocol::Entry* first = nullptr;
  {
    sync::Guard guard(CondProtocol::Lock(this));
    first = static_cast<CondProtocol::Entry*>(head_);
    if (first == nullptr) return;
    CondProtocol::Unlink(this, first);
  }
  first->waiter.Wake(CondProtocol::kSignalled);
}

void Cond::Broadcast() {
  CondProtocol::Entry* entry = nullptr;
  {
    sync::Guard guard(CondProtocol::Lock(this));
    entry = static_cast<CondProtocol::Entry*>(head_);
    head_ = tail_ = nullptr;
    for (CondProtocol::Entry* e = entry; e != nullptr; e = e->next) e->linked = false;
  }
  while (entry != nullptr) {
    CondProtocol::Entry* next = entry->next;  // the entry ends when it is woken
    entry->waiter.Wake(CondProtocol::kSignalled);
    entry = next;
  }
}

}  // namespace weft
