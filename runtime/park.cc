// Park, Ready and Yield; and the switch from goroutine to goroutine.
//
// The problem. A goroutine that parks must become Gwaiting before anybody readies it, but not
// before its registers are saved: another M could resume it from a stale stack. The way through
// the system stack (g0) is safe and costs two switches; most parks know already who runs next.
//
// Actors: G, which leaves; N, which comes; M, their thread, in m->locks all the while; readiers.
//   1. On G's stack: M takes N from its P's queue and makes it Grunning. G is still Grunning.
//   2. M notes G in m->prev, and in m->after what shall become of it.
//   3. weft_switch saves G's registers on its stack and goes on with N's.
//   4. On N's stack, first of all (FinishSwitch): G becomes Gwaiting, and only then its commit
//      runs, which lets readiers see it (releases the channel's lock, publishes it in a
//      descriptor). For a yield: G becomes Grunnable and is queued. For an exit: G is freed.
// Readiers find G only through what the commit publishes, so after 4; and its registers were
// saved at 3, in the same thread, before. The status CAS's release hands them on.
// A commit that says no: M makes G runnable again itself.
//
// N may be new: then it has no context; it is given a stack and weft_gostart does 4. When G exits
// and N is new, N gets G's stack, with nothing to save or load.
// The direct way is taken when N is at hand, a bounded number of times in a row (kDirectSwitches)
// and when nothing waits for the scheduler: no stop wanted, no thread-bound goroutine; else the
// switch goes through g0 (Mcall), which does 4 and schedules. So timers, the netpoller and the
// global queue wait at most that many switches.
//
// Budget (bench/micro on the machine of bench/README.md): yield = 3 CAS (G's state, N's state, the
// queue's head) + 1 release store.
#include "weft/park.h"

#include <cstring>

#include "runtime/fatal.h"
#include "runtime/gate.h"
#include "runtime/os/clock.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"
#include "runtime/suspend.h"
#include "runtime/threadg.h"
#include "weft/go.h"

namespace weft::runtime {

namespace {

// A stack for a new goroutine. False: the P has none at hand.
bool StackFromCache(P* p, const G* g, Stack* out) {
  return g->stack_class == Rt()->default_stack_class && p->stacks.Pop(out);
}

// Who can run at once, without the scheduler. Null: nobody; m->take_next may then hold one that
// needs it.
[[gnu::always_inline]] inline G* TakeDirect(M* m, P* p, bool* inherits) {
  if (--p->direct_budget <= 0) return nullptr;
  // Requests are served at a bounded tick anyhow; a stale value costs a few switches.
  if (p->preempt.Load(os::kRelaxed<"park.preempt">)) [[unlikely]]
    return nullptr;
  if (m->lockedg.Load(os::kRelaxed<"park.lockedg">) != nullptr) [[unlikely]]
    return nullptr;
  G* next = p->runq.Pop(inherits);
  if (next == nullptr) return nullptr;
  // Written by the goroutine itself, before it was queued.
  if (next->lockedm.Load(os::kRelaxed<"park.lockedm">) != nullptr) [[unlikely]] {
    m->take_next = next;
    return nullptr;
  }
  return next;
}

// N's side of the switch: it is this M's running goroutine from here on. `fresh`: the stack that it
// begins on, if it is new. It gets it when it is this M's: who holds the scan bit owns the stack.
[[gnu::always_inline]] inline void RunNext(M* m, P* p, G* next, bool inherits, const Stack* fresh) {
  // As in Execute.
  next->stackguard0.Store(fresh != nullptr ? fresh->lo : next->stack.lo,
                          os::kRelaxed<"park.guard">);
  CasGStatus<Grunnable, Grunning>(next);
  if (fresh != nullptr) [[unlikely]] {
    next->stack = *fresh;
    next->started = true;
    next->sanitizer_fiber = NewFiber();
  }
  if (!inherits) Bump(p->schedtick);
  Bump(p->switches);
  m->curg = next;
  // As in Execute.
  m->dump_curg.Store(next, os::kRelease<"park.dump.next">);
  next->m.Store(m, os::kRelaxed<"park.m">);  // for dumps
  memcpy(m->eh_globals, next->eh_globals, sizeof(next->eh_globals));
}

void ScheduleFromSwitch(void* arg) {
  M* m = static_cast<M*>(arg);
  AfterSwitchTo(m->g0_fake_stack);
  m->curg = &m->g0;
  m->dump_curg.Store(nullptr, os::kRelaxed<"park.dump">);  // for dumps
  // Behind what waits globally: on this P alone it would come round 61 times before them.
  if (m->after == AfterSwitch::kYield &&
      Rt()->global_size.Load(os::kRelaxed<"park.global">) != 0) {  // a hint
    m->after = AfterSwitch::kGlobalYield;
  }
  FinishSwitch(m);
  Schedule(m);
}

}  // namespace

namespace {

// Leaves `g` for `next`; null: for the scheduler.
[[gnu::always_inline]] inline M* SwitchTo(M* m, G* g, AfterSwitch after, G* next, bool inherits) {
  P* p = m->p;
  m->prev = g;
  m->after = after;
  Stack fresh;
  const Stack* begins_on = nullptr;
  if (next != nullptr && !next->started) [[unlikely]] {
    if (StackFromCache(p, next, &fresh)) {
      begins_on = &fresh;
    } else {
      m->take_next = next;
      next = nullptr;
    }
  }
  memcpy(g->eh_globals, m->eh_globals, sizeof(g->eh_globals));
  void** fake_stack = after == AfterSwitch::kExit ? nullptr : &g->sanitizer_fake_stack;
  if (next == nullptr) {
    BeforeSwitch(fake_stack, m->g0_lo, m->g0_hi, m->g0_fiber);
    m = static_cast<M*>(arch::weft_mcall(&g->sp, m->g0_sp, ScheduleFromSwitch, m));
  } else {
    RunNext(m, p, next, inherits, begins_on);
    if (begins_on != nullptr) [[unlikely]]
      next->sp = arch::MakeContext(next->stack.hi, arch::weft_gostart);
    BeforeSwitch(fake_stack, next->stack.lo, next->stack.hi, next->sanitizer_fiber);
    m = static_cast<M*>(arch::weft_switch(&g->sp, next->sp, m));
  }
  AfterSwitchTo(g->sanitizer_fake_stack);
  FinishSwitch(m);
  return m;
}

}  // namespace

M* SwitchAway(M* m, G* g, AfterSwitch after) {
  bool inherits = false;
  G* next = TakeDirect(m, m->p, &inherits);
  return SwitchTo(m, g, after, next, inherits);
}

M* Mcall(M* m, G* g, void (*fn)(void*)) {
  memcpy(g->eh_globals, m->eh_globals, sizeof(g->eh_globals));
  BeforeSwitch(&g->sanitizer_fake_stack, m->g0_lo, m->g0_hi, m->g0_fiber);
  m = static_cast<M*>(arch::weft_mcall(&g->sp, m->g0_sp, fn, m));
  AfterSwitchTo(g->sanitizer_fake_stack);
  FinishSwitch(m);
  return m;
}

void ExitGoroutine(M* m, G* g) {
  P* p = m->p;
  bool inherits = false;
  G* next = TakeDirect(m, p, &inherits);
  if (next == nullptr || next->started || next->stack_class != g->stack_class) {
    SwitchTo(m, g, AfterSwitch::kExit, next, inherits);
    Fatal("goroutine %u was resumed after its end", g->goid);
  }
  const Stack stack = g->stack;
  g->stack = Stack();
  m->prev = g;
  m->after = AfterSwitch::kExit;
  RunNext(m, p, next, inherits, &stack);  // no context: this very stack is begun anew
  UnpoisonStack(next->stack.lo, next->stack.hi);
  BeforeSwitch(nullptr, next->stack.lo, next->stack.hi, next->sanitizer_fiber);
  arch::weft_restart(reinterpret_cast<void*>(next->stack.hi), m);
}

namespace {

// A thief's last look may have come between N's pop and this push, and N may compute now. On g0
// nobody is needed if `prev` is all that there is: the M looks through the queues next.
[[gnu::always_inline]] inline void WakeForQueued(M* m) {
  P* p = m->p;
  if (p->runq.alone()) return;  // it is held: no P is idle
  const int32_t queued = Rt()->global_size.Load(os::kRelaxed<"yield.global">);  // a hint
  if (m->curg == &m->g0 && static_cast<int32_t>(p->runq.Size()) + queued <= 1) return;
  FenceAndWakeP();
}

}  // namespace

namespace {

[[gnu::noinline]] void FinishPark(M* m, G* prev) {
  ParkCommit commit = m->park_commit;
  void* arg = m->park_arg;
  CasGStatus<Grunning, Gwaiting>(prev);
  // From here on `prev` may run elsewhere, unless the commit is what publishes it.
  if (commit == nullptr || commit(prev, arg)) return;
  CasGStatus<Gwaiting, Grunnable>(prev);
  PushNext(m->p, prev);
  WakeForQueued(m);
}

[[gnu::noinline]] void FinishYield(M* m, G* prev) {
  CasGStatus<Grunning, Grunnable>(prev);
  P* p = m->p;
  if (p->runq.alone()) return PushLocal(p, prev);
  PushLocal(p, prev);
  WakeForQueued(m);
}

[[gnu::noinline]] void FinishRest(M* m, G* prev) {
  switch (m->after) {
    case AfterSwitch::kPark:
    case AfterSwitch::kYield:
      return;
    case AfterSwitch::kGlobalYield:
      CasGStatus<Grunning, Grunnable>(prev);
      PushGlobal(prev);
      WakeForQueued(m);
      return;
    case AfterSwitch::kStopped:
      PreemptPark(prev);
      return;
    case AfterSwitch::kExit:
      ReleaseExited(m, prev);
      return;
    case AfterSwitch::kNothing:
      Fatal("switch away from goroutine %u without a reason", prev->goid);
  }
}

}  // namespace

void FinishSwitchSlow(M* m, G* prev) {
  prev->m.Store(nullptr, os::kRelaxed<"finish.m">);  // for dumps
  // The two that goroutines do all the time come first, without a frame or a jump table.
  if (m->after == AfterSwitch::kPark) return FinishPark(m, prev);
  if (m->after == AfterSwitch::kYield) return FinishYield(m, prev);
  FinishRest(m, prev);
}

namespace {

void ReadyGlobally(G* g) {
  CasGStatus<Gwaiting, Grunnable>(g);
  PushGlobal(g);
  FenceAndWakeP();
}

// From a plain thread, to which a runtime may end meanwhile.
[[gnu::noinline]] void ReadyFromOutside(G* g) {
  if (!foreign_gate.Enter()) return;
  // Set before a later runtime's gate was opened.
  if (!g->abandoned.Load(os::kRelaxed<"ready.outside.abandoned">)) ReadyGlobally(g);
  foreign_gate.Leave();
}

}  // namespace

void ReadyG(M* m, G* g) {
  if (g->is_thread) {
    ReadyThread(g);
  } else if (m == nullptr) {
    ReadyFromOutside(g);
  } else if (g->abandoned.Load(os::kRelaxed<"ready.abandoned">)) [[unlikely]] {
    // Its runtime has ended: what it waited for outlived it.
  } else if (m->p == nullptr) {
    ReadyGlobally(g);
  } else {
    CasGStatus<Gwaiting, Grunnable>(g);
    PushNext(m->p, g);
    WakeP();
  }
}

namespace {

// The time slice is over, but nobody waits for this P, and nothing comes in by its M alone. Then
// the goroutine stays where it is: to the kernel, one thread computes, and the other, which serves
// what comes in, is one that sleeps most of the time and runs at once when it wakes. (When all Ps
// compute so, sysmon reads the shared set.)
bool MayGoOn(M* m, P* p) {
  const Runtime* rt = Rt();
  // Hints; who is missed comes at the end of the next slice.
  return (m->ring_polls.Load(os::kRelaxed<"slice.polls">) == 0 ||
          rt->idle_p_count.Load(os::kRelaxed<"slice.idle">) > 0) &&
         m->take_next == nullptr && p->runq.Size() == 0 &&
         rt->global_size.Load(os::kRelaxed<"slice.global">) == 0 &&
         rt->stop_wanted.Load(os::kRelaxed<"slice.stop">) == 0 &&
         p->run_safe_point.Load(os::kRelaxed<"slice.safe_point">) == 0 &&
         rt->exiting.Load(os::kRelaxed<"slice.exiting">) == 0 &&
         p->timers.first_when.Load(os::kRelaxed<"slice.timers">) == 0 && !rt->debug.migrate;
}

}  // namespace

M* ServePreemption(M* m) {
  G* g = m->curg;
  P* p = m->p;
  // In Blocking, or in the runtime already, there is nothing to give up: the next poll will.
  if (p == nullptr || m->locks != 1 || g->is_thread) return m;
  // Only the request is taken back; the next slice sets the guard anew. Pairs with SuspendG's: its
  // bit is seen below, or the guard asks again.
  g->stackguard0.Exchange(g->stack.lo, os::kAcquire<"preempt.clear">);
  const bool stop = (ReadGStatus(g) & kStopWanted) != 0;
  p->preempt.Store(false, os::kRelaxed<"preempt.served">);  // a hint, set again when needed
  if (!stop && MayGoOn(m, p)) {
    Bump(p->schedtick);  // a new slice, for sysmon
    return m;
  }
  Bump(p->preemptions);
  m->events.Add(Event::kPreempt, g->goid);
  g->wait_reason = WaitReason::kPreempted;
  p->direct_budget = 0;
  return SwitchAway(m, g, stop ? AfterSwitch::kStopped : AfterSwitch::kGlobalYield);
}

}  // namespace weft::runtime

namespace weft {

using runtime::AfterSwitch;
using runtime::G;
using runtime::GetM;
using runtime::M;

void Park(ParkCommit commit, void* arg, WaitReason reason) {
  M* m = GetM();
  if (m == nullptr) {
    runtime::ParkThread(commit, arg, reason);
    return;
  }
  G* g = m->curg;
  if (m->p == nullptr) runtime::Fatal("a blocking weft call inside weft::Blocking");
  if (g == &m->g0) runtime::Fatal("a blocking weft call in a callback that must not block");
  m->locks++;
  WEFT_CHECK(m->locks == 1);
  g->wait_reason = reason;
  m->park_commit = commit;
  m->park_arg = arg;
  m = runtime::SwitchAway(m, g, AfterSwitch::kPark);
  m->locks--;
}

void Ready(Goroutine* g) {
  M* m = GetM();
  if (m != nullptr) m->locks++;
  runtime::ReadyG(m, g);
  if (m != nullptr) m->locks--;
}

Goroutine* Current() {
  M* m = GetM();
  return m != nullptr ? m->curg : runtime::ThreadG();
}

uintptr_t ParkResult(const Goroutine* g) {
  return g->park_result;
}
void SetParkResult(Goroutine* g, uintptr_t result) {
  g->park_result = result;
}

void Yield() {
  runtime::Entry entry;
  M* m = entry.m();
  if (m == nullptr) {
    os::YieldThread();
    return;
  }
  if (m->p == nullptr) return;  // in Blocking
  if (m->locks != 1 || m->curg == &m->g0) [[unlikely]] {
    runtime::Fatal("weft::Yield in a callback that must not block");
  }
  entry.Moved(runtime::SwitchAway(m, m->curg, AfterSwitch::kYield));
}

}  // namespace weft
