// One round of the scheduler: choosing what an M with a P runs next. On g0.
#include <cstring>

#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"

namespace weft::runtime {

namespace {

// After so many time slices the global queue comes first: goroutines that yield to each other would
// starve it. Go looks when their number is a multiple of 61. Here the scheduler is passed every 61
// switches, which may be as many slices, so that it would miss the multiples for ever.
constexpr uint32_t kGlobalTick = 61;

G* PopGlobal(P* p, int32_t max) {
  // A hint: who pushes wakes somebody who takes the lock.
  if (Rt()->global_size.Load(os::kRelaxed<"schedule.global.peek">) == 0) return nullptr;
  LockGuard guard(Rt()->sched_lock);
  return PopGlobalLocked(p, max);
}

// The slice is over that each runnext has inherited from the one before: the next of them goes to
// the end of the queue, and who waits globally comes first. (A request by stackguard0 alone is lost
// when its goroutine parks just then, as goroutines that hand over to each other do.)
G* EndSlice(P* p) {
  p->preempt.Store(false,
                   os::kRelaxed<"schedule.preempt.served">);  // a hint, set again when needed
  Bump(p->schedtick);
  if (G* next = p->runq.TakeNext(); next != nullptr) {
    PushLocal(p, next);
    // For a moment it was in no queue, and a last look may have missed it.
    if (!p->runq.alone()) FenceAndWakeP();
  }
  return PopGlobal(p, 1);
}

// What to run, of the things at hand. Null: the M has run dry.
G* NextAtHand(M* m, P* p, bool* inherits) {
  *inherits = false;
  if (G* g = m->take_next; g != nullptr) {
    m->take_next = nullptr;
    return g;
  }
  if (p->preempt.Load(os::kRelaxed<"schedule.preempt">)) {  // a hint
    if (G* g = EndSlice(p); g != nullptr) return g;
  }
  const uint32_t slices = p->schedtick.Load(os::kRelaxed<"schedule.tick">);  // the P's own word
  if (slices - p->global_seen >= kGlobalTick) {
    p->global_seen = slices;
    if (G* g = PopGlobal(p, 1); g != nullptr) return g;
  }
  return p->runq.Pop(inherits);
}

// Debugging: the goroutine goes on on another M.
void Migrate(M* m, G* g) {
  P* p = m->p;
  PushNext(p, g);
  ReleaseP(m);
  StartM(m, p, false);
  StopM(m);
}

}  // namespace

void StopSpinning(M* m) {
  m->spinning = false;
  // Full order against submitters who look whether somebody spins: no other barrier stands between
  // the count-out and WakeP's look at the idle Ps. x86 and arm64 make the same code of acq_rel.
  int32_t before = Rt()->spinning.FetchSub(1, os::kSeqCst<"schedule.stop_spinning">);
  if (before <= 0) Fatal("spinning Ms: %d", static_cast<int64_t>(before));
  WakeP();
}

void Schedule(M* m) {
  WEFT_CHECK(m->locks == 1 && m->curg == &m->g0);
  for (;;) {
    Runtime* rt = Rt();
    // Pairs with BeginExit; only the flag itself is read by it (exit.begin).
    if (rt->exiting.Load(os::kAcquire<"schedule.exiting">) != 0) ExitM(m);
    if (m->end_thread) {
      HandOffP(m, ReleaseP(m));
      ExitM(m);
    }
    if (G* locked = m->lockedg.Load(os::kRelaxed<"schedule.lockedg">); locked != nullptr) {
      StopLockedM(m);
      Execute(m, locked, false);
    }
    // Who stops the world sets it before it looks at the Ps' states (world.cc 1-2). What counts is
    // read under sched_lock, this word too (StopForWorld): acquire orders nothing more.
    if (rt->stop_wanted.Load(os::kAcquire<"schedule.stop">) != 0) {
      if (G* g = m->take_next; g != nullptr) {
        m->take_next = nullptr;
        PushLocal(m->p, g);
      }
      StopForWorld(m);
      continue;
    }
    P* p = m->p;
    RunSafePoint(p);
    // Only the visit to the poller sets it anew: a goroutine that yields alone comes here each
    // time, by one switch.
    bool tick = p->direct_budget <= 0;
    if (tick) p->direct_budget = rt->debug.migrate ? 0 : kDirectSwitches;
    // Only a hint to read the clock.
    if (p->timers.first_when.Load(os::kRelaxed<"schedule.timers">) != 0) {
      RunTimers(p, os::Nanotime());
    }
    if (tick && rt->poller != nullptr) InjectReady(m, rt->poller->poll(m), kLooksNext);
    bool inherits = false;
    G* g = NextAtHand(m, p, &inherits);
    if (g == nullptr) {
      g = FindRunnable(m, &inherits);
      if (g == nullptr) continue;
    }
    if (m->spinning) StopSpinning(m);
    // Set by the goroutine itself, before it was queued.
    M* bound = g->lockedm.Load(os::kRelaxed<"schedule.lockedm">);
    if (bound != nullptr && bound != m) {
      StartLockedM(m, g);
      continue;
    }
    if (rt->debug.migrate && bound == nullptr && g->last_m == m) {
      Migrate(m, g);
      continue;
    }
    Execute(m, g, inherits);
  }
}

void Execute(M* m, G* g, bool inherits_slice) {
  P* p = m->p;
  // A new slice. Before the G runs: a suspender that sees it running asks by the guard.
  g->stackguard0.Store(g->stack.lo, os::kRelaxed<"execute.guard">);
  // Before its stack is touched: who holds the scan bit owns that.
  CasGStatus<Grunnable, Grunning>(g);
  if (!g->started) {
    if (g->stack_class == Rt()->default_stack_class) {
      if (p->stacks.size() == 0) Rt()->stacks.Refill(&p->stacks, g->stack_class);
      p->stacks.Pop(&g->stack);
    } else {
      g->stack = Rt()->stacks.Allocate(g->stack_class);
    }
    // Not over a request that has come meanwhile.
    uintptr_t none = 0;
    g->stackguard0.CompareExchange(none, g->stack.lo, os::kRelaxed<"execute.guard.new">);
    g->sp = arch::MakeContext(g->stack.hi, arch::weft_gostart);
    g->started = true;
    g->sanitizer_fiber = NewFiber();
  }
  if (!inherits_slice) Bump(p->schedtick);
  Bump(p->switches);
  m->curg = g;
  // Pairs with PreemptOne, which sees the G as it was made (the explorer's all were before).
  m->dump_curg.Store(g, os::kRelease<"execute.dump">);
  g->m.Store(m, os::kRelaxed<"execute.m">);  // for dumps
  if (Rt()->debug.migrate) g->last_m = m;
  m->events.Add(Event::kExecute, g->goid);
  memcpy(m->eh_globals, g->eh_globals, sizeof(g->eh_globals));
  BeforeSwitch(&m->g0_fake_stack, g->stack.lo, g->stack.hi, g->sanitizer_fiber);
  arch::weft_gogo(g->sp, m);
}

}  // namespace weft::runtime
