// A channel's core and its waiters, shared by chan.cc and select.cc.
#pragma once

#include <cstdint>
#include <cstring>

#include "runtime/g.h"
#include "runtime/lock.h"
#include "runtime/sema.h"
#include "weft/chan.h"

namespace weft::runtime {

// One goroutine's wait on one channel; on the waiting goroutine's stack.
struct ChanWaiter {
  os::Plain<Goroutine*> g = nullptr;
  os::Plain<ChanWaiter*> next = nullptr;
  os::Plain<ChanWaiter*> prev = nullptr;
  os::Plain<void*> value = nullptr;  // where the value is, or shall be
  internal::ChanCore* chan = nullptr;
  os::Plain<uint64_t> ticket = 0;  // of the select that it is part of; 0: none
  int case_index = 0;
  os::Plain<bool> queued = false;
  // Set by who takes it from the queue, under the channel's lock:
  os::Plain<bool> won = false;
  os::Plain<bool> ok = false;          // a value went over
  os::Plain<bool> needs_ready = true;  // its goroutine is parked for it
};

// Where a select's word stands, beside its ticket: see select.cc.
enum SelectState : uint64_t { kSelectQueueing = 0, kSelectWon = 1, kSelectParked = 2 };
inline constexpr uint64_t kSelectStateBits = 3;
inline constexpr uint64_t kSelectTicketStep = 4;

class ChanWaiterList {
 public:
  void PushBack(ChanWaiter* w) {
    w->queued = true;
    w->next = nullptr;
    w->prev = tail_;
    (tail_ != nullptr ? tail_->next : head_) = w;
    tail_ = w;
  }
  void Remove(ChanWaiter* w) {
    if (!w->queued) return;
    w->queued = false;
    (w->prev != nullptr ? w->prev->next : head_) = w->next;
    (w->next != nullptr ? w->next->prev : tail_) = w->prev;
  }
  // The first whose wait is not over already: a waiter that is part of a select counts only for
  // who wins the select's word. Null: none.
  [[gnu::always_inline]] ChanWaiter* Pop() {
    ChanWaiter* w = head_;
    if (w == nullptr) return nullptr;
    if (w->ticket != 0) return PopOfSelects();
    Remove(w);
    w->won = true;
    return w;
  }
  // Whether Pop would find one just now, other than the waiters of `ticket` of goroutine `g`.
  bool HasOther(const Goroutine* g, uint64_t ticket) const;

 private:
  ChanWaiter* PopOfSelects();
  os::Plain<ChanWaiter*> head_ = nullptr;
  os::Plain<ChanWaiter*> tail_ = nullptr;
};

// A lock whose waiters park: for channels whose elements run foreign code when they move.
//
// word_: 0 free, 1 held, 2 held and somebody may wait in queue_ (who links himself there sets it
// under the queue's lock). The holder's release may be its last moment with the channel (the commit
// of a park: its waiter is linked, and who takes the lock next may serve it and drop the channel).
// So it frees the word last of all:
//   1. word 1 -> 0: nobody waits, done.
//   2. It is 2: under the queue's lock: somebody waits: he is unlinked, word = 0. His handle keeps
//      the channel alive until he is readied, which is the last step.
//   3. Nobody does (he who did has gone, or taken the lock): word 2 -> 1 under the queue's lock, so
//      that nobody links himself between; from 1. The lock is still held, and with it the channel.
class ParkLock {
 public:
  void Acquire() {
    uint32_t free = 0;
    if (word_.CompareExchange(free, 1, os::kAcquire<"parklock.acquire">)) return;  // as a mutex
    AcquireSlow();
  }
  [[nodiscard]] bool TryAcquire() {
    uint32_t free = 0;
    return word_.CompareExchange(free, 1, os::kAcquire<"parklock.try">);  // as Acquire
  }
  // The last access to the lock: who takes it next may free it.
  void Release() {
    uint32_t held = 1;
    if (!word_.CompareExchange(held, 0, os::kRelease<"parklock.release">)) ReleaseSlow();
  }

 private:
  void AcquireSlow();
  void ReleaseSlow();
  os::Atomic<uint32_t> word_{0};
  WaitQueue queue_;
};

}  // namespace weft::runtime

namespace weft::internal {

// Everything but refs and closed is under the lock.
struct ChanCore {
  os::Atomic<uint32_t> refs{1};
  os::Atomic<bool> closed{false};
  bool trivial = true;  // elements move by memcpy
  runtime::Lock lock{runtime::LockRank::kChan};
  size_t capacity = 0;
  os::Atomic<size_t> count{0};  // written under the lock, peeked at
  os::Plain<size_t> send_index = 0;
  os::Plain<size_t> receive_index = 0;
  ElementOps ops;
  runtime::ChanWaiterList receivers;
  runtime::ChanWaiterList senders;
  char* buffer = nullptr;
  uint64_t id = 0;  // the order in which several are locked together
  runtime::ParkLock park_lock;

  char* At(size_t index) { return buffer + index * ops.size; }
  size_t Next(size_t index) const { return index + 1 == capacity ? 0 : index + 1; }
  void Move(void* to, void* from) const {
    if (trivial) [[likely]] {
      if (ops.size == 8) {
        memcpy(to, from, 8);
      } else {
        memcpy(to, from, ops.size);
      }
    } else {
      ops.move(to, from);
    }
  }
  // Out of a slot that is empty afterwards.
  void MoveOut(void* to, void* slot) const {
    Move(to, slot);
    if (!trivial) ops.destroy(slot);
  }
};

// Locks the channel, from outside of the runtime (m->locks may be 0).
void LockChan(ChanCore* c);
void UnlockChan(ChanCore* c);

// One attempt, lock held. True: done, `*wake` (may be null) is to be readied after the release.
// False: it would have to wait.
bool TrySendLocked(ChanCore* c, void* value, bool* ok, Goroutine** wake);
bool TryReceiveLocked(ChanCore* c, void* value, bool* ok, Goroutine** wake);

}  // namespace weft::internal
