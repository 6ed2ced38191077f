// Channels: Go's protocol.
//
// Everything happens under the channel's lock. Invariants, whenever it is free:
//   - senders wait only while the buffer is full, receivers only while it is empty;
//   - so at most one of the two queues has waiters, unless one select waits in both.
// Send: a receiver waits: the value goes to it directly, past the (empty) buffer. Room: into the
// buffer. Else the sender queues itself and parks; the lock is released once it is parked
// (park.cc), so that whoever finds it in the queue may ready it.
// Receive, when senders wait: the buffer is full (or there is none): the receiver takes the
// oldest, and the first sender's value takes its place at the other end. Order is kept.
// Who takes a waiter from a queue writes the result into it, then readies its goroutine after it
// has let go of the lock; the waiter lies on the goroutine's stack and is not touched after that.
// Close: takes every waiter out of both queues, with ok = false.
//
// Elements that are not trivially copyable move by their own constructors: foreign code, which
// may be stopped anywhere, so it must not run under a core lock. Their channels use a ParkLock: who
// waits for it parks, and a stopped holder holds up this channel's users only.
//
// Budget (bench/micro, "chan buffered 128"): an operation that does not wait is 1 CAS; a
// hand-over adds the ready (2 RMW) and the park (2 CAS).
#include "runtime/chan.h"

#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"

namespace weft::runtime {

ChanWaiter* ChanWaiterList::PopOfSelects() {
  for (;;) {
    ChanWaiter* w = head_;
    if (w == nullptr) return nullptr;
    Remove(w);
    if (w->ticket == 0) {
      w->won = true;
      return w;
    }
    // Wins the select, once (select.cc, 4). Acquire pairs with who opened the ticket and parked;
    // release with the goroutine that finds itself won, which passes this channel's lock before it
    // reads anything (select.cc, 5).
    uint64_t seen = w->ticket | kSelectParked;
    bool parked = w->g->select_word.CompareExchange(seen, w->ticket | kSelectWon,
                                                    os::kAcqRel<"select.win.parked">);
    if (!parked && seen == w->ticket) {
      // It may park at this moment: then the word changes once more, and this fails. Acquire:
      // that it has parked is seen by the failure as by the next exchange; one would do.
      if (!w->g->select_word.CompareExchange(seen, w->ticket | kSelectWon,
                                             os::kAcqRel<"select.win.queueing">)) {
        if (seen != (w->ticket | kSelectParked)) continue;
        parked = w->g->select_word.CompareExchange(seen, w->ticket | kSelectWon,
                                                   os::kAcqRel<"select.win.again">);
        if (!parked) continue;
      }
    } else if (!parked) {
      continue;
    }
    w->won = true;
    w->needs_ready = parked;
    return w;
  }
}

bool ChanWaiterList::HasOther(const Goroutine* g, uint64_t ticket) const {
  for (const ChanWaiter* w = head_; w != nullptr; w = w->next) {
    if (w->g == g && w->ticket == ticket) continue;
    if (w->ticket == 0) return true;
    // A moment's truth: the winner of its word decides.
    uint64_t word = w->g->select_word.Load(os::kRelaxed<"select.peek">);
    if ((word & ~kSelectStateBits) == w->ticket && (word & kSelectWon) == 0) return true;
  }
  return false;
}

void ParkLock::AcquireSlow() {
  // In Blocking, or in a callback on the system stack, nothing can park; its holder is running, or
  // will be again.
  if (const M* m = GetM(); m != nullptr && (m->p == nullptr || m->curg == &m->g0)) {
    for (int round = 0; !TryAcquire(); round++) os::SpinWait(round);
    return;
  }
  for (;;) {
    bool waited = queue_.Wait(
        [](void* word) {
          // Takes it if it is free; 2: others may wait.
          return static_cast<os::Atomic<uint32_t>*>(word)->Exchange(
                     2, os::kAcquire<"parklock.again">) != 0;
        },
        &word_, WaitReason::kChanLock);
    if (!waited) return;
  }
}

void ParkLock::ReleaseSlow() {
  for (;;) {
    bool woke = queue_.WakeOne(
        0,
        [](void* word, bool any, bool) {
          // Under the queue's lock, which orders it for who waits; release for who does not.
          static_cast<os::Atomic<uint32_t>*>(word)->Store(any ? 0 : 1,
                                                          os::kRelease<"parklock.release.slow">);
        },
        &word_);
    if (woke) return;
    uint32_t held = 1;
    if (word_.CompareExchange(held, 0, os::kRelease<"parklock.release.again">)) return;  // as first
  }
}

}  // namespace weft::runtime

namespace weft::internal {

using runtime::ChanWaiter;
using runtime::Entry;
using runtime::M;

namespace {

os::Atomic<uint64_t> next_chan_id{1};

constexpr size_t HeaderBytes() {
  return (sizeof(ChanCore) + 63) & ~size_t{63};
}

bool ReleaseOnPark(Goroutine*, void* c) {
  static_cast<ChanCore*>(c)->lock.ReleaseLast();
  return true;
}

bool ReleaseForeignOnPark(Goroutine*, void* c) {
  static_cast<ChanCore*>(c)->park_lock.Release();
  return true;
}

// Who took `w` from a queue has moved its value: the goroutine that waits is to be readied when it
// is parked for it (else it is on its way and finds out itself).
[[gnu::always_inline]] inline void Won(ChanWaiter* w, bool ok, Goroutine** wake) {
  w->ok = ok;
  if (!w->needs_ready) return;
  // Who selects has other waiters, and must be told which one it was.
  if (w->ticket != 0) w->g->park_result = reinterpret_cast<uintptr_t>(w);
  *wake = w->g;
}

[[gnu::always_inline]] inline void ReadyWaiter(Entry& entry, Goroutine* g) {
  runtime::ReadyG(entry.m(), g);
}

[[noreturn]] void BlockForEver(WaitReason reason) {
  for (;;) Park(nullptr, nullptr, reason);
}

}  // namespace

size_t ChanBytes(size_t capacity, const ElementOps& ops) {
  if (capacity > (SIZE_MAX - 4096) / (ops.size == 0 ? 1 : ops.size)) {
    runtime::Fatal("a channel of %u elements does not fit into memory",
                   static_cast<uint64_t>(capacity));
  }
  size_t offset = (HeaderBytes() + ops.alignment - 1) & ~(ops.alignment - 1);
  return offset + capacity * ops.size;
}

ChanCore* InitChan(void* memory, size_t capacity, const ElementOps& ops) {
  if (ops.alignment > 64) runtime::Fatal("a channel's elements may be aligned to 64 bytes at most");
  ChanCore* c = new (memory) ChanCore;
  c->capacity = capacity;
  c->ops = ops;
  c->trivial = ops.move == nullptr;
  // Only the order among ids matters.
  c->id = next_chan_id.FetchAdd(1, os::kRelaxed<"chan.id">);
  c->buffer =
      static_cast<char*>(memory) + ((HeaderBytes() + ops.alignment - 1) & ~(ops.alignment - 1));
  return c;
}

void RefChan(ChanCore* c) {
  // The caller holds a handle: nothing to order.
  c->refs.FetchAdd(1, os::kRelaxed<"chan.ref">);
}

bool UnrefChan(ChanCore* c) {
  // Everything that was done through a handle comes before the destruction by the last.
  if (c->refs.FetchSub(1, os::kAcqRel<"chan.unref">) != 1) return false;
  if (!c->trivial) {
    size_t count = c->count.Load(os::kRelaxed<"chan.destroy.count">);  // nobody else is left
    for (size_t i = 0; i < count; i++) {
      c->ops.destroy(c->At(c->receive_index));
      c->receive_index = c->Next(c->receive_index);
    }
  }
  c->~ChanCore();
  return true;
}

[[gnu::always_inline]] inline bool SendLockedInline(ChanCore* c, void* value, bool* ok,
                                                    Goroutine** wake) {
  // Written under the lock.
  if (c->closed.Load(os::kRelaxed<"chan.send.closed">)) [[unlikely]] {
    *ok = false;
    return true;
  }
  if (ChanWaiter* w = c->receivers.Pop(); w != nullptr) {
    c->Move(w->value, value);
    Won(w, true, wake);
    return true;
  }
  size_t count = c->count.Load(os::kRelaxed<"chan.send.count">);  // under the lock
  if (count == c->capacity) return false;
  c->Move(c->At(c->send_index), value);
  c->send_index = c->Next(c->send_index);
  c->count.Store(count + 1, os::kRelaxed<"chan.send.more">);  // under the lock; peeked at
  return true;
}

[[gnu::always_inline]] inline bool ReceiveLockedInline(ChanCore* c, void* value, bool* ok,
                                                       Goroutine** wake) {
  size_t count = c->count.Load(os::kRelaxed<"chan.receive.count">);  // under the lock
  if (count > 0) {
    char* slot = c->At(c->receive_index);
    c->MoveOut(value, slot);
    c->receive_index = c->Next(c->receive_index);
    if (ChanWaiter* w = c->senders.Pop(); w != nullptr) {
      // The buffer was full: the slot just emptied is the last.
      c->Move(slot, w->value);
      c->send_index = c->receive_index;
      Won(w, true, wake);
    } else {
      c->count.Store(count - 1, os::kRelaxed<"chan.receive.less">);  // under the lock; peeked at
    }
    return true;
  }
  if (ChanWaiter* w = c->senders.Pop(); w != nullptr) {
    c->Move(value, w->value);
    Won(w, true, wake);
    return true;
  }
  // Written under the lock.
  if (!c->closed.Load(os::kRelaxed<"chan.receive.closed">)) return false;
  *ok = false;
  return true;
}

bool TrySendLocked(ChanCore* c, void* value, bool* ok, Goroutine** wake) {
  return SendLockedInline(c, value, ok, wake);
}

bool TryReceiveLocked(ChanCore* c, void* value, bool* ok, Goroutine** wake) {
  return ReceiveLockedInline(c, value, ok, wake);
}

void LockChan(ChanCore* c) {
  if (!c->trivial) {
    c->park_lock.Acquire();
    return;
  }
  if (M* m = runtime::GetM(); m != nullptr) m->locks++;
  c->lock.Acquire();
}

void UnlockChan(ChanCore* c) {
  if (!c->trivial) {
    c->park_lock.Release();
    return;
  }
  c->lock.Release();
  if (M* m = runtime::GetM(); m != nullptr) m->locks--;
}

namespace {

using Attempt = bool (*)(ChanCore* c, void* value, bool* ok, Goroutine** wake);

// Elements with constructors of their own: no core lock, no m->locks while they move.
[[gnu::noinline]] ChanResult OperateForeign(ChanCore* c, void* value, bool block, Attempt attempt,
                                            runtime::ChanWaiterList* queue, WaitReason reason) {
  { Entry poll; }
  bool ok = true;
  Goroutine* wake = nullptr;
  c->park_lock.Acquire();
  if (attempt(c, value, &ok, &wake)) {
    c->park_lock.Release();
    if (wake != nullptr) Ready(wake);
    return ok ? ChanResult::kOk : ChanResult::kClosed;
  }
  if (!block) {
    c->park_lock.Release();
    return ChanResult::kWouldBlock;
  }
  ChanWaiter w;
  w.g = Current();
  w.value = value;
  w.chan = c;
  queue->PushBack(&w);
  Park(ReleaseForeignOnPark, c, reason);
  return w.ok ? ChanResult::kOk : ChanResult::kClosed;
}

// Trivial elements: the whole operation is inside the runtime.
template <class AttemptInline>
[[gnu::always_inline]] inline ChanResult Operate(ChanCore* c, void* value, bool block,
                                                 AttemptInline attempt,
                                                 runtime::ChanWaiterList* queue,
                                                 WaitReason reason) {
  Entry entry;
  if (entry.m() == nullptr) Current();  // a plain thread's first call allocates: not under the lock
  bool ok = true;
  Goroutine* wake = nullptr;
  c->lock.Acquire();
  if (attempt(c, value, &ok, &wake)) {
    c->lock.Release();
    if (wake != nullptr) ReadyWaiter(entry, wake);
    return ok ? ChanResult::kOk : ChanResult::kClosed;
  }
  if (!block) {
    c->lock.Release();
    return ChanResult::kWouldBlock;
  }
  ChanWaiter w;
  w.g = entry.m() != nullptr ? entry.m()->curg : Current();
  w.value = value;
  w.chan = c;
  queue->PushBack(&w);
  runtime::ParkIn(entry, ReleaseOnPark, c, reason);  // it is locked, and released once parked
  return w.ok ? ChanResult::kOk : ChanResult::kClosed;
}

}  // namespace

ChanResult SendChan(ChanCore* c, void* value, bool block) {
  if (c == nullptr) {
    if (!block) return ChanResult::kWouldBlock;
    BlockForEver(WaitReason::kChanSend);
  }
  if (!c->trivial) {
    return OperateForeign(c, value, block, TrySendLocked, &c->senders, WaitReason::kChanSend);
  }
  return Operate(
      c, value, block, [](auto... args) { return SendLockedInline(args...); }, &c->senders,
      WaitReason::kChanSend);
}

ChanResult ReceiveChan(ChanCore* c, void* value, bool block) {
  if (c == nullptr) {
    if (!block) return ChanResult::kWouldBlock;
    BlockForEver(WaitReason::kChanReceive);
  }
  if (!c->trivial) {
    return OperateForeign(c, value, block, TryReceiveLocked, &c->receivers,
                          WaitReason::kChanReceive);
  }
  return Operate(
      c, value, block, [](auto... args) { return ReceiveLockedInline(args...); }, &c->receivers,
      WaitReason::kChanReceive);
}

bool CloseChan(ChanCore* c) {
  if (c == nullptr) runtime::Fatal("close of a null channel");
  { Entry poll; }
  LockChan(c);
  if (c->closed.Load(os::kRelaxed<"chan.close.twice">)) {  // under the lock
    UnlockChan(c);
    return false;
  }
  // Release: IsChanClosed without the lock sees what came before the close.
  c->closed.Store(true, os::kRelease<"chan.close">);
  ChanWaiter* list = nullptr;
  for (runtime::ChanWaiterList* waiters : {&c->receivers, &c->senders}) {
    while (ChanWaiter* w = waiters->Pop()) {
      Goroutine* wake = nullptr;
      Won(w, false, &wake);
      if (wake == nullptr) continue;
      w->next = list;
      list = w;
    }
  }
  UnlockChan(c);
  while (list != nullptr) {
    ChanWaiter* next = list->next;  // its memory goes when it is ready
    Ready(list->g);
    list = next;
  }
  return true;
}

bool IsChanClosed(const ChanCore* c) {
  // Pairs with chan.close.
  if (c != nullptr && c->closed.Load(os::kAcquire<"chan.is_closed">)) return true;
  { Entry poll; }  // who asks in a loop gives way
  return false;
}

size_t ChanLength(const ChanCore* c) {
  // A moment's truth.
  return c == nullptr ? 0 : c->count.Load(os::kRelaxed<"chan.length">);
}

size_t ChanCapacity(const ChanCore* c) {
  return c == nullptr ? 0 : c->capacity;
}

}  // namespace weft::internal
