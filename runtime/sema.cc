#include "runtime/sema.h"

#include "runtime/fatal.h"
#include "runtime/sched.h"

namespace weft::runtime {

namespace {
bool ReleaseLock(Goroutine*, void* lock) {
  static_cast<Lock*>(lock)->ReleaseLast();
  return true;
}
}  // namespace

bool WaitQueue::Wait(bool (*still_waiting)(void*), void* arg, WaitReason reason, bool lifo,
                     Waiter* waiter) {
  Waiter own;
  if (waiter == nullptr) {
    own.tag = nullptr;
    waiter = &own;
  }
  Entry entry;
  waiter->g = entry.m() != nullptr ? entry.m()->curg : Current();
  waiter->result = 0;
  lock_.Acquire();
  if (!still_waiting(arg)) {
    waiter->queued = false;
    lock_.Release();
    return false;
  }
  waiter->queued = true;
  Waiter* first = head_.Load(os::kRelaxed<"waitqueue.head.wait">);  // under the lock
  if (first == nullptr) {
    waiter->next = waiter->prev = nullptr;
    head_.Store(waiter, os::kRelaxed<"waitqueue.head.only">);  // under the lock
    tail_ = waiter;
  } else if (lifo) {
    waiter->prev = nullptr;
    waiter->next = first;
    first->prev = waiter;
    head_.Store(waiter, os::kRelaxed<"waitqueue.head.first">);  // under the lock
  } else {
    waiter->next = nullptr;
    waiter->prev = tail_;
    tail_->next = waiter;
    tail_ = waiter;
  }
  ParkIn(entry, ReleaseLock, &lock_, reason);
  return true;
}

void WaitQueue::Unlink(Waiter* waiter) {
  lock_.AssertHeld();
  WEFT_CHECK(waiter->queued);
  waiter->queued = false;
  if (waiter->prev != nullptr) {
    waiter->prev->next = waiter->next;
  } else {
    head_.Store(waiter->next, os::kRelaxed<"waitqueue.head.unlink">);  // under the lock
  }
  if (waiter->next != nullptr) {
    waiter->next->prev = waiter->prev;
  } else {
    tail_ = waiter->prev;
  }
}

// Goroutines whose runtime has ended wait for ever: what they stand in line for goes to who is
// left.
WaitQueue::Waiter* WaitQueue::FirstAlive() {
  for (;;) {
    Waiter* first = head_.Load(os::kRelaxed<"waitqueue.head.wake">);  // under the lock
    // Set before the thread that asks could know that the runtime had ended.
    const bool dead =
        first != nullptr && first->g->abandoned.Load(os::kRelaxed<"waitqueue.abandoned">);
    if (!dead) return first;
    Unlink(first);
  }
}

bool WaitQueue::WakeOne(uint8_t result, void (*changed)(void*, bool, bool), void* arg) {
  Entry entry;
  Goroutine* g = nullptr;
  {
    LockGuard guard(lock_);
    Waiter* first = FirstAlive();
    if (changed != nullptr)
      changed(arg, first != nullptr, first != nullptr && first->next != nullptr);
    if (first == nullptr) return false;
    Unlink(first);
    first->result = result;
    g = first->g;
  }
  ReadyG(entry.m(), g);
  return true;
}

int WaitQueue::WakeAll(uint8_t result) {
  Entry entry;
  Waiter* list = nullptr;
  {
    LockGuard guard(lock_);
    list = head_.Load(os::kRelaxed<"waitqueue.head.all">);  // under the lock
    for (Waiter* w = list; w != nullptr; w = w->next) {
      w->queued = false;
      w->result = result;
    }
    head_.Store(nullptr, os::kRelaxed<"waitqueue.head.none">);  // under the lock
    tail_ = nullptr;
  }
  int woken = 0;
  while (list != nullptr) {
    // Its memory is the waiter's stack: gone once it is ready.
    Waiter* next = list->next;
    ReadyG(entry.m(), list->g);
    list = next;
    woken++;
  }
  return woken;
}

bool WaitQueue::Cancel(Waiter* waiter, uint8_t result) {
  Entry entry;
  Goroutine* g = nullptr;
  {
    LockGuard guard(lock_);
    if (!waiter->queued) return false;
    Unlink(waiter);
    waiter->result = result;
    g = waiter->g;
  }
  ReadyG(entry.m(), g);
  return true;
}

}  // namespace weft::runtime
