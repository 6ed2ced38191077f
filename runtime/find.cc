// Looking for work: an M with a P that has run dry.
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"

namespace weft::runtime {

uint32_t RandomBelow(M* m, uint32_t n) {
  // xorshift64*: not for secrets; no global state, so that a run can be replayed.
  uint64_t x = m->random_state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  m->random_state = x;
  return static_cast<uint32_t>((x * 0x2545F4914F6CDD1DULL >> 32) * n >> 32);
}

namespace {

constexpr int kStealRounds = 4;           // taken from Go
constexpr int64_t kNextGrace_ns = 3'000;  // a P that runs will mostly take its runnext itself

bool MayBecomeSearcher(Runtime* rt) {
  int32_t busy =
      rt->procs.Load(os::kRelaxed<"spin.procs">) - rt->idle_p_count.Load(os::kRelaxed<"spin.idle">);
  // A bound, not an invariant: half as many searchers as busy Ps.
  return 2 * rt->spinning.Load(os::kRelaxed<"spin.count">) < busy;
}

// Waits a little for `victim` to take its runnext itself.
void WaitForOwner(P* victim) {
  if (victim->state.Load(os::kRelaxed<"steal.state">) != Prunning) return;  // a hint
  int64_t until = os::Nanotime() + kNextGrace_ns;
  while (os::Nanotime() < until && !victim->runq.Empty()) arch::CpuRelax();
}

G* StealFrom(M* m, P* victim, bool last_round) {
  G* batch[kRunQueueCapacity / 2];
  uint32_t n = victim->runq.Steal(batch, false);
  if (n == 0 && last_round && !victim->runq.Empty()) {
    WaitForOwner(victim);
    n = victim->runq.Steal(batch, true);
  }
  if (n == 0) return nullptr;
  P* p = m->p;
  for (uint32_t i = 1; i < n; i++) PushLocal(p, batch[i]);
  Bump(p->steals, uint64_t{n});
  m->events.Add(Event::kSteal, n);
  return batch[0];
}

// A goroutine of another P; or null. Fires other Ps' timers in the last round.
G* Steal(M* m) {
  Runtime* rt = Rt();
  bool inherits = false;
  // Ps are added before the count, pairs with ResizeProcs. It does not change while a P is held,
  // which was handed on under sched_lock after the change: any order would do.
  uint32_t procs = static_cast<uint32_t>(rt->procs.Load(os::kAcquire<"steal.procs">));
  for (int round = 0; round < kStealRounds; round++) {
    bool last = round == kStealRounds - 1;
    uint32_t start = RandomBelow(m, procs);
    for (uint32_t i = 0; i < procs; i++) {
      if (rt->stop_wanted.Load(os::kRelaxed<"steal.stop">) != 0) return nullptr;  // a hint
      P* victim = rt->all_ps[(start + i) % procs];
      if (victim == m->p) continue;
      if (last && victim->timers.first_when.Load(os::kRelaxed<"steal.timers">) != 0) {
        RunTimers(victim, os::Nanotime());
        if (G* g = m->p->runq.Pop(&inherits); g != nullptr) return g;
      }
      if (G* g = StealFrom(m, victim, last); g != nullptr) return g;
    }
  }
  return nullptr;
}

}  // namespace

G* FindRunnable(M* m, bool* inherits) {
  Runtime* rt = Rt();
  for (;;) {
    P* p = m->p;
    // Served by Schedule; for the order see there.
    if (rt->stop_wanted.Load(os::kAcquire<"find.stop">) != 0) return nullptr;
    // As above.
    if (rt->exiting.Load(os::kAcquire<"find.exiting">) != 0) return nullptr;
    if (p->timers.first_when.Load(os::kRelaxed<"find.timers">) != 0) {  // own P's, a hint
      RunTimers(p, os::Nanotime());
    }
    if (G* g = p->runq.Pop(inherits); g != nullptr) return g;
    if (rt->global_size.Load(os::kRelaxed<"find.global">) != 0) {  // a hint
      LockGuard guard(rt->sched_lock);
      if (G* g = PopGlobalLocked(p, 0); g != nullptr) return g;
    }
    if (rt->poller != nullptr) {
      InjectReady(m, rt->poller->poll(m), kLooksNext);
      if (G* g = p->runq.Pop(inherits); g != nullptr) return g;
    }
    if (m->spinning || MayBecomeSearcher(rt)) {
      if (!m->spinning) {
        m->spinning = true;
        // Who reads it is found by the last look, if not by the steals (wake.cc: counting in takes
        // no order).
        rt->spinning.FetchAdd(1, os::kSeqCst<"search.begin">);
      }
      if (G* g = Steal(m); g != nullptr) return g;
    }
    {
      LockGuard guard(rt->sched_lock);
      // Set under the lock, or seen at the next round.
      if (rt->stop_wanted.Load(os::kRelaxed<"find.stop.locked">) != 0) return nullptr;
      if (G* g = PopGlobalLocked(p, 0); g != nullptr) return g;
      RunSafePointLocked(p);
      ReleaseP(m);
      PushIdlePLocked(p);
      PushIdleMLocked(m);
    }
    SleepWithoutWork(m);
  }
}

}  // namespace weft::runtime
