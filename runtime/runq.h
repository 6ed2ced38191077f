// A P's run queue: a ring of goroutines plus runnext.
//
// The problem. The owner pushes and pops at every switch, thieves take half of it at once; the
// owner must not pay for thieves that are not there.
//
// Actors: the owner (the M that holds the P) and any number of thieves. head_ is advanced by
// compare-and-swap by whoever takes goroutines; tail_ is written by the owner alone.
//   Push: 1. reads head_ (acquire), 2. if there is room writes the slot, 3. publishes tail_.
//   Pop:  1. reads head_, 2. reads the slot, 3. takes it by CAS on head_.
//   Steal: 1. reads head_ (acquire), 2. reads tail_ (acquire), 3. reads half of the slots,
//          4. takes them by CAS on head_ (release). A failed CAS: from 1.
// A thief reads slots before it owns them, so what it read counts only when its CAS succeeds: the
// slot at head h is written again only after head_ has passed h (Push 1 reads it with acquire,
// pairs with Steal 4's release), and then the CAS from h fails. Indices are 32 bits and wrap; a
// thief would have to sleep through 2^32 pushes to be fooled.
// runnext: the goroutine made ready by the running one; it goes next and inherits the time
// slice. The owner puts with an exchange; everyone takes by CAS. Thieves take it only from a P
// that has nothing else, and last.
// Alone: while there is one P there are no thieves (a thief holds a P of its own), and the owner
// takes by plain stores. It changes only while the world stands, when no thief is under way: that
// saves a yield 6 of 28 ns, a channel's round trip 25 of 145 (bench/micro, one P).
// Idea not taken: a lock-free deque that thieves take one at a time from (Chase-Lev): pops at the
// owner's end are LIFO, which starves, and stealing half makes one steal do for a burst.
#pragma once

#include <cstdint>

#include "runtime/g.h"
#include "weft/internal/atomic.h"

namespace weft::runtime {

template <uint32_t kCapacity>
class RunQueue {
  static_assert((kCapacity & (kCapacity - 1)) == 0);

 public:
  // Owner. Makes `g` the last. When the ring is full half of it is moved to `overflow`, with `g`.
  [[gnu::always_inline]] void Push(G* g, GQueue* overflow) {
    for (;;) {
      // Pairs with the thieves' take: their reads of the slot are over.
      uint32_t head = head_.Load(os::kAcquire<"runq.push.head">);
      // The owner's own word.
      uint32_t tail = tail_.Load(os::kRelaxed<"runq.push.tail">);
      if (tail - head < kCapacity) [[likely]] {
        // Published by the next store.
        slot_[tail % kCapacity].Store(g, os::kRelaxed<"runq.push.slot">);
        // The slot is written before the tail; pairs with runq.steal.tail.
        tail_.Store(tail + 1, os::kRelease<"runq.push.publish">);
        return;
      }
      if (SpillHalf(head, overflow)) {
        overflow->PushBack(g);
        return;
      }
    }
  }

  // Owner. `g` goes next; who was to go next is returned, to be pushed.
  [[gnu::always_inline]] G* PutNext(G* g) {
    if (alone_) {
      G* kicked = next_.Load(os::kRelaxed<"runq.next.alone">);  // nobody else is there
      next_.Store(g, os::kRelease<"runq.next.put.alone">);      // for a later owner
      return kicked;
    }
    // A full barrier between queueing work and looking for who sleeps (wake.cc, essay); release
    // for what a thief of it reads.
    return next_.Exchange(g, os::kSeqCst<"runq.next.put">);
  }

  // Owner. Null when empty. `*inherits`: it was runnext.
  [[gnu::always_inline]] G* Pop(bool* inherits) {
    // Only compared with null and by the CAS below.
    G* next = next_.Load(os::kRelaxed<"runq.next.look">);
    if (next != nullptr) {
      if (alone_) {
        next_.Store(nullptr, os::kRelaxed<"runq.next.take.alone">);  // nobody else is there
        *inherits = true;
        return next;
      }
      // What its putter wrote is this owner's own, or came with the P. Release: who sees it gone
      // sees in the ring what it was put over; pairs with runq.empty.next.
      if (next_.CompareExchange(next, nullptr, os::kRelease<"runq.next.take">)) {
        *inherits = true;
        return next;
      }
    }
    *inherits = false;
    for (;;) {
      // A failed CAS below means a thief moved it.
      uint32_t head = head_.Load(os::kRelaxed<"runq.pop.head">);
      // The owner's own word.
      uint32_t tail = tail_.Load(os::kRelaxed<"runq.pop.tail">);
      if (tail == head) return nullptr;
      // The owner wrote the slot itself.
      const os::ReadStamp stamp = os::StampReads();
      G* g = slot_[head % kCapacity].Load(os::kRelaxed<"runq.pop.slot">);
      if (alone_) {
        head_.Store(head + 1, os::kRelaxed<"runq.pop.take.alone">);  // as the CAS
        return g;
      }
      // The slot is written again by this owner, or one that the P was handed to.
      if (head_.CompareExchange(head, head + 1, os::kRelaxed<"runq.pop.take">)) {
        slot_[head % kCapacity].Commit(stamp);
        return g;
      }
    }
  }

  // Owner. Who was to go next, if anybody.
  G* TakeNext() {
    // As in Pop.
    G* next = next_.Load(os::kRelaxed<"runq.next.take.look">);
    if (next == nullptr) return nullptr;
    return next_.CompareExchange(next, nullptr, os::kRelease<"runq.next.take.all">) ? next
                                                                                    : nullptr;
  }

  // Thief. Takes half, at least one, into `out`; its number is returned. runnext too when there
  // is nothing else and `take_next`.
  uint32_t Steal(G* out[kCapacity / 2], bool take_next) {
    for (;;) {
      // Before the tail is read: else more might be counted than there ever was (which is seen
      // below, and costs a round; so no harness notices).
      uint32_t head = head_.Load(os::kAcquire<"runq.steal.head">);
      // The slots up to it are written; pairs with runq.push.publish.
      uint32_t tail = tail_.Load(os::kAcquire<"runq.steal.tail">);
      uint32_t n = tail - head;
      n -= n / 2;
      if (n == 0) return take_next ? StealNext(out) : 0;
      if (n > kCapacity / 2) continue;  // head and tail are not of one moment
      const os::ReadStamp stamp = os::StampReads();
      for (uint32_t i = 0; i < n; i++) {
        // Counts only when the CAS below succeeds.
        out[i] = slot_[(head + i) % kCapacity].Load(os::kRelaxed<"runq.steal.slot">);
      }
      // Release: the reads above come before it; pairs with runq.push.head.
      if (head_.CompareExchange(head, head + n, os::kRelease<"runq.steal.take">)) {
        for (uint32_t i = 0; i < n; i++) slot_[(head + i) % kCapacity].Commit(stamp);
        return n;
      }
    }
  }

  // Owner: there is no other P.
  bool alone() const { return alone_; }
  // With the world stopped.
  void SetAlone(bool alone) { alone_ = alone; }

  // Any thread; a moment's truth. Head is read again, so that an element that moves from the
  // ring to runnext and back is not missed.
  bool Empty() const {
    for (;;) {
      // The three are read in this order, and as of one moment: the tail did not move in between.
      // The last is the one that must be new: runq.empty.next has seen to that. Acquire keeps head
      // and tail before it; in any order they say, if equal, that all up to that tail was taken,
      // and what is put later its putter sees to (wake.cc, rule 1).
      uint32_t head = head_.Load(os::kAcquire<"runq.empty.head">);
      uint32_t tail = tail_.Load(os::kAcquire<"runq.empty.tail">);
      G* next = next_.Load(os::kAcquire<"runq.empty.next">);
      if (tail == tail_.Load(os::kRelaxed<"runq.empty.again">)) {
        return head == tail && next == nullptr;
      }
    }
  }

  uint32_t Size() const {
    // For counters and dumps.
    uint32_t size =
        tail_.Load(os::kRelaxed<"runq.size.tail">) - head_.Load(os::kRelaxed<"runq.size.head">);
    return size + (next_.Load(os::kRelaxed<"runq.size.next">) != nullptr ? 1 : 0);
  }

 private:
  // Moves half of a full ring to `out`. False: a thief was faster.
  bool SpillHalf(uint32_t head, GQueue* out) {
    G* batch[kCapacity / 2];
    const os::ReadStamp stamp = os::StampReads();
    for (uint32_t i = 0; i < kCapacity / 2; i++) {
      // The owner wrote them.
      batch[i] = slot_[(head + i) % kCapacity].Load(os::kRelaxed<"runq.spill.slot">);
    }
    // As Pop takes.
    if (!head_.CompareExchange(head, head + kCapacity / 2, os::kRelaxed<"runq.spill.take">)) {
      return false;
    }
    for (uint32_t i = 0; i < kCapacity / 2; i++) slot_[(head + i) % kCapacity].Commit(stamp);
    for (G* g : batch) out->PushBack(g);
    return true;
  }

  uint32_t StealNext(G** out) {
    // Only compared with null and by the CAS below.
    G* next = next_.Load(os::kRelaxed<"runq.next.peek">);
    if (next == nullptr) return 0;
    // Acquire: what its putter wrote; pairs with runq.next.put.
    if (!next_.CompareExchange(next, nullptr, os::kAcquire<"runq.next.steal">)) return 0;
    out[0] = next;
    return 1;
  }

  bool alone_ = false;            // written while the world stands
  os::Atomic<uint32_t> head_{0};  // who takes, by CAS
  os::Atomic<uint32_t> tail_{0};  // the owner alone
  os::Atomic<G*> next_{nullptr};  // the owner puts, anyone takes by CAS
  os::Speculative<G*> slot_[kCapacity] = {};
};

}  // namespace weft::runtime
