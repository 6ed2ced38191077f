// WaitQueue: goroutines that wait for something that a word elsewhere says. Mutexes, conditions,
// wait groups and the channel's parkable lock are made of a word and a WaitQueue.
#pragma once

#include <cstdint>

#include "runtime/lock.h"
#include "weft/park.h"

namespace weft::runtime {

// The protocol is Go's notify-on-semaphore, with the queue in the object instead of a table:
//   waiter: 1. takes the queue's lock, 2. asks `still_waiting` (which reads the word) under it,
//           3. links itself, 4. parks; the lock is released once it is parked.
//   waker:  a. changes the word, b. takes the lock, c. unlinks a waiter, d. readies it.
// A waker that changed the word before 2 is seen by 2; one after 2 finds the waiter linked (b
// comes after 4, or after the lock is released by 3+4's commit).
class WaitQueue {
 public:
  struct Waiter {
    os::Plain<Goroutine*> g;
    os::Plain<Waiter*> next;
    os::Plain<Waiter*> prev;
    void* tag;                  // the caller's
    os::Plain<bool> queued;     // [lock]
    os::Plain<uint8_t> result;  // set by who unlinks it; the waiter reads it after its park
  };

  // Waits unless `still_waiting(arg)`, asked under the queue's lock, is false. True: it waited
  // and was woken. `lifo` puts it first in line.
  bool Wait(bool (*still_waiting)(void*), void* arg, WaitReason reason, bool lifo = false,
            Waiter* waiter = nullptr);
  // Wakes the first in line with `result`; false: nobody waits. `changed`, when given, is called
  // under the lock before, with whether there is anybody, and whether others remain behind him.
  // The queue is not touched after he is readied.
  bool WakeOne(uint8_t result = 0, void (*changed)(void*, bool any, bool more) = nullptr,
               void* arg = nullptr);
  int WakeAll(uint8_t result = 0);
  // Takes `waiter` out if it is still queued and wakes it with `result`; false: it was not.
  bool Cancel(Waiter* waiter, uint8_t result);
  bool empty() const { return head_.Load(os::kRelaxed<"waitqueue.empty">) == nullptr; }

 private:
  void Unlink(Waiter* waiter);
  Waiter* FirstAlive();

  Lock lock_{LockRank::kWaitQueue};
  os::Atomic<Waiter*> head_{nullptr};  // [lock_]; empty() peeks
  os::Plain<Waiter*> tail_ = nullptr;  // [lock_]
};

}  // namespace weft::runtime
