// Timers: one 4-ary heap a P, under a lock of its own.
//
// Actors: owners, who add and delete; Ms, which fire what is due in their own P's heap at every
// scheduler round and in others' when they look for work; the timer keeper, an idle M that
// sleeps until the earliest (wake.cc).
//   Add:    1. under the heap's lock: link, t->heap = heap, first_when; 2. full barrier; 3. if a P
//   is idle
//           and no keeper wakes early enough, wake the keeper or an M.
//   Delete: 1. read t->heap; null: it has fired. 2. lock that heap; 3. t->heap still the same:
//           unlink, t->heap = null. Else again from 1 (its P was retired meanwhile).
//   Fire:   1. under the lock: unlink, t->heap = null (or put back by its period), read function,
//           argument and seq; 2. unlock; 3. call the function.
// t->heap changes only under the lock of the heap that it names or comes to name, so Delete 3
// decides: whoever holds the lock with t in the heap owns t. A delete that comes between Fire 1
// and 3 says false, and the function still runs: owners that must not be called any more check
// `seq` under a lock of their own.
// first_when is the heap's root for who has no lock: a stale value makes somebody look in vain, or
// a moment late; the barriers of Add 2 and of the keeper make sure that one of the two sees the
// other's word.
#include "runtime/timer.h"

#include <cstring>

#include "runtime/fatal.h"
#include "runtime/gate.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"
#include "weft/go.h"

namespace weft::runtime {

namespace {

constexpr int32_t kArity = 4;

void Place(TimerHeap* h, int32_t i, Timer* t) {
  h->heap[i] = t;
  t->index = i;
}

void SiftUp(TimerHeap* h, int32_t i) {
  Timer* t = h->heap[i];
  while (i > 0) {
    int32_t parent = (i - 1) / kArity;
    if (h->heap[parent]->when <= t->when) break;
    Place(h, i, h->heap[parent]);
    i = parent;
  }
  Place(h, i, t);
}

void SiftDown(TimerHeap* h, int32_t i) {
  Timer* t = h->heap[i];
  for (;;) {
    int32_t first = i * kArity + 1;
    if (first >= h->size) break;
    int32_t end = first + kArity < h->size ? first + kArity : h->size;
    int32_t least = first;
    for (int32_t c = first + 1; c < end; c++) {
      if (h->heap[c]->when < h->heap[least]->when) least = c;
    }
    if (h->heap[least]->when >= t->when) break;
    Place(h, i, h->heap[least]);
    i = least;
  }
  Place(h, i, t);
}

void PublishFirst(TimerHeap* h) {
  // Nothing of the timer is read without the lock, so that the release hands nothing on; the word
  // itself is ordered by the barriers (essay).
  const int64_t first = h->size == 0 ? 0 : static_cast<int64_t>(h->heap[0]->when);
  h->first_when.Store(first, os::kRelease<"timer.first">);
}

void Grow(TimerHeap* h) {
  int32_t capacity = h->capacity == 0 ? 16 : h->capacity * 2;
  size_t bytes = static_cast<size_t>(capacity) * sizeof(Timer*);
  Timer** grown = static_cast<Timer**>(Rt()->alloc.Allocate(bytes));
  if (h->size > 0) memcpy(grown, h->heap, static_cast<size_t>(h->size) * sizeof(Timer*));
  if (h->heap != nullptr) {
    Rt()->alloc.Free(h->heap, static_cast<size_t>(h->capacity) * sizeof(Timer*));
  }
  h->heap = grown;
  h->capacity = capacity;
}

void InsertLocked(TimerHeap* h, Timer* t) {
  if (h->size == h->capacity) Grow(h);
  // Under the lock; Delete looks again under it. Release: the P of that heap, if it is new (the
  // explorer has no resizing).
  t->heap.Store(h, os::kRelease<"timer.heap.add">);
  Place(h, h->size++, t);
  SiftUp(h, h->size - 1);
}

void RemoveLocked(TimerHeap* h, Timer* t) {
  int32_t i = t->index;
  WEFT_CHECK(i >= 0 && i < h->size && h->heap[i] == t);
  Timer* last = h->heap[--h->size];
  if (last != t) {
    Place(h, i, last);
    SiftDown(h, i);
    SiftUp(h, last->index);
  }
  t->index = -1;
  // As above; release: who sees null may free it, or add it again. Who frees it waits for the
  // function first, and in the same heap the lock is passed, which both order it too. kept: no
  // harness adds one that has just fired to a second P's heap (a select, a deadline).
  t->heap.Store(nullptr, os::kRelease<"timer.heap.remove">);
}

// Add 3: somebody who sleeps must wake earlier now.
void WakeKeeper(int64_t when) {
  Runtime* rt = Rt();
  // Ms that hold Ps look at their timers by themselves. seq_cst as in WakeP, here and below: Add
  // 2's fence, just before, orders both.
  if (rt->idle_p_count.Load(os::kSeqCst<"timer.idle">) == 0) return;
  // Pairs with KeepTimersLocked.
  int64_t until = rt->timer_until.Load(os::kSeqCst<"timer.until">);
  if (until != 0 && until <= when) return;
  M* keeper = nullptr;
  if (until != 0) {
    LockGuard guard(rt->sched_lock);
    keeper = rt->timer_keeper;
  }
  if (keeper != nullptr) {
    WakeM(keeper);
  } else {
    WakeP();
  }
}

}  // namespace

int64_t Nanotime() {
  return os::Nanotime();
}

namespace {

// Where a timer is whose runtime ended before it fired: its function will not run.
constinit TimerHeap forgotten;

void AddTo(P* p, Timer* t, int64_t when, int64_t period, TimerFunction function, void* arg,
           uintptr_t seq) {
  if (when <= 0) when = 1;  // 0 says: no timer
  bool first = false;
  {
    LockGuard guard(p->timers.lock);
    WEFT_CHECK(t->index == -1);
    t->when = when;
    t->period = period;
    t->function = function;
    t->arg = arg;
    t->seq = seq;
    InsertLocked(&p->timers, t);
    first = p->timers.heap[0] == t;
    if (first) PublishFirst(&p->timers);
  }
  if (first) {
    // Step 2.
    os::Fence(os::kSeqCst<"timer.add.fence">);
    WakeKeeper(when);
  }
}

// One that the runtime's end has taken out.
bool TakeForgotten(Timer* t) {
  TimerHeap* seen = &forgotten;
  // Acquire: as it was left.
  return t->heap.CompareExchange(seen, nullptr, os::kAcquire<"timer.forgotten.take">);
}

bool DeleteFromHeap(Timer* t) {
  for (;;) {
    // Checked again under the lock that it names. Null: pairs with timer.heap.remove (see there).
    TimerHeap* h = t->heap.Load(os::kAcquire<"timer.heap.read">);
    if (h == nullptr) return false;
    if (h == &forgotten) return TakeForgotten(t);
    LockGuard guard(h->lock);
    if (t->heap.Load(os::kRelaxed<"timer.heap.locked">) != h) continue;  // under the lock
    bool first = t->index == 0;
    RemoveLocked(h, t);
    if (first) PublishFirst(h);
    return true;
  }
}

// No runtime may be touched any more: waits until the end has taken the timer out.
bool DeleteAfterEnd(Timer* t) {
  for (int round = 0;; round++) {
    const TimerHeap* h = t->heap.Load(os::kAcquire<"timer.heap.after">);  // as in DeleteFromHeap
    if (h == nullptr) return false;
    if (h == &forgotten) return TakeForgotten(t);
    os::SpinWait(round);
  }
}

}  // namespace

bool TryAddTimer(Timer* t, int64_t when, int64_t period, TimerFunction function, void* arg,
                 uintptr_t seq) {
  M* m = GetM();
  if (m == nullptr) {
    if (!foreign_gate.Enter()) return false;
    AddTo(Rt()->all_ps[0], t, when, period, function, arg, seq);
    foreign_gate.Leave();
    return true;
  }
  m->locks++;
  AddTo(m->p != nullptr ? m->p : Rt()->all_ps[0], t, when, period, function, arg, seq);
  m->locks--;
  return true;
}

void AddTimer(Timer* t, int64_t when, int64_t period, TimerFunction function, void* arg,
              uintptr_t seq) {
  if (!TryAddTimer(t, when, period, function, arg, seq)) {
    Fatal("a timer without a runtime: weft::Main is not running");
  }
}

bool DeleteTimer(Timer* t) {
  M* m = GetM();
  if (m == nullptr) {
    if (!foreign_gate.Enter()) return DeleteAfterEnd(t);
    const bool deleted = DeleteFromHeap(t);
    foreign_gate.Leave();
    return deleted;
  }
  m->locks++;
  const bool deleted = DeleteFromHeap(t);
  m->locks--;
  return deleted;
}

int64_t RunTimers(P* p, int64_t now) {
  TimerHeap* h = &p->timers;
  for (;;) {
    // A hint; see the essay. What is read of the timers is read under the lock: acquire is for
    // nothing more.
    int64_t first = h->first_when.Load(os::kAcquire<"timer.first.run">);
    if (first == 0 || first > now) return first;
    TimerFunction function = nullptr;
    void* arg = nullptr;
    uintptr_t seq = 0;
    {
      LockGuard guard(h->lock);
      if (h->size == 0 || h->heap[0]->when > now) continue;
      Timer* t = h->heap[0];
      function = t->function;
      arg = t->arg;
      seq = t->seq;
      if (t->period > 0) {
        t->when += t->period * (1 + (now - t->when) / t->period);
        SiftDown(h, 0);
      } else {
        RemoveLocked(h, t);
      }
      PublishFirst(h);
    }
    function(arg, seq);
  }
}

int64_t EarliestTimer() {
  Runtime* rt = Rt();
  int64_t earliest = 0;
  // Pairs with ResizeProcs: sysmon holds neither a P nor the lock (the explorer has no resizing).
  int32_t procs = rt->procs.Load(os::kAcquire<"timer.procs">);
  for (int32_t i = 0; i < procs; i++) {
    // Pairs with AddTimer's barrier: after timer_until.set, where search.fence is not near. (The
    // explorer's sleepers come by that.) x86 makes the same code of acquire.
    int64_t when = rt->all_ps[i]->timers.first_when.Load(os::kSeqCst<"timer.first.all">);
    if (when != 0 && (earliest == 0 || when < earliest)) earliest = when;
  }
  return earliest;
}

int CountTimers() {
  Runtime* rt = Rt();
  int count = 0;
  int32_t procs = rt->procs.Load(os::kAcquire<"timer.count">);  // pairs with ResizeProcs
  for (int32_t i = 0; i < procs; i++) {
    LockGuard guard(rt->all_ps[i]->timers.lock);
    count += rt->all_ps[i]->timers.size;
  }
  return count;
}

// Both locks at once: a deleter must find each timer in one heap or the other.
void MoveTimers(P* from, P* to) {
  LockGuard from_guard(from->timers.lock);
  LockGuard to_guard(to->timers.lock);
  for (int32_t i = 0; i < from->timers.size; i++) InsertLocked(&to->timers, from->timers.heap[i]);
  from->timers.size = 0;
  PublishFirst(&from->timers);
  PublishFirst(&to->timers);
}

// Their owners may outlive the runtime, and delete them then: DeleteTimer says that it came in
// time, since owners wait for a function that it does not keep from running.
void ForgetTimers(P* p) {
  LockGuard guard(p->timers.lock);
  for (int32_t i = 0; i < p->timers.size; i++) {
    Timer* t = p->timers.heap[i];
    t->index = -1;
    // Release: who sees it may free it; pairs with TakeForgotten.
    t->heap.Store(&forgotten, os::kRelease<"timer.heap.forget">);
  }
  p->timers.size = 0;
  PublishFirst(&p->timers);
}

// ---- Sleeping. ----

namespace {

struct SleepArgs {
  int64_t when;
};

bool CommitSleep(Goroutine* g, void* arg) {
  AddTimer(
      &g->sleep_timer, static_cast<SleepArgs*>(arg)->when, 0,
      [](void* sleeper, uintptr_t) { ReadyG(GetM(), static_cast<G*>(sleeper)); }, g, 0);
  return true;
}

}  // namespace

void SleepNs(int64_t ns) {
  if (GetM() == nullptr) {
    if (ns > 0) os::SleepThread(ns);
    return;
  }
  if (ns <= 0) {
    weft::Yield();
    return;
  }
  int64_t now = os::Nanotime();
  SleepArgs args = {ns > INT64_MAX - now ? INT64_MAX : now + ns};
  Park(CommitSleep, &args, WaitReason::kSleep);
}

}  // namespace weft::runtime
