// Blocking: a goroutine that leaves the scheduler on its own thread, and its way back.
//
// The problem. The call may take a microsecond or an hour. Giving the P away costs 5 us and is
// wasted on short calls; keeping it starves others on long ones.
//
// Actors: the caller's M; sysmon; who stops the world.
//   1. Enter: the M lets go of its P but leaves it in Psyscall, remembered in m->syscall_p; the G
//      becomes Gsyscall first.
//   2. sysmon, when the P stays in Psyscall for a tick and could be used, takes it: CAS Psyscall
//      -> Pidle, and hands it to another M; ForEachP the same. StopTheWorld: CAS Psyscall ->
//      Pgcstop.
//   3. Exit: the M takes the same P back: CAS Psyscall -> Prunning. Whoever's CAS succeeds owns
//      the P; one of 2 and 3 does.
//   4. The P is gone: any idle P will do. None: the G is queued globally and the M goes to sleep.
// ABA: between 1 and 3 the P may have been taken, run and left in Psyscall again by another M. 3
// then takes it from under that M's call, which finds it gone at its own 3 and goes to 4: one
// owner at every moment, nothing lost.
// Enter and a world that is about to stop: the M stores Psyscall, then (seq_cst) reads
// stop_wanted; the stopper sets stop_wanted, then (seq_cst) reads the P's state. One sees the
// other; if both do, the CAS to Pgcstop decides who counts the P as stopped.
// The CASes out of Psyscall hand the P on: what its M left in it comes with the store of 1, and
// goes on under sched_lock. Of the P's fields the explorer follows the run queue only.
#include "runtime/fatal.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"
#include "weft/go.h"

namespace weft::runtime {

namespace {

void StopInSyscall(P* p) {
  Runtime* rt = Rt();
  LockGuard guard(rt->sched_lock);
  if (rt->stopwait <= 0) return;
  uint32_t in_syscall = Psyscall;
  // As the stopper's own (world.cc). Release: sched_lock hands it on too. Acquire: for what another
  // M left (ABA), which no harness reaches.
  if (!p->state.CompareExchange(in_syscall, Pgcstop, os::kAcqRel<"syscall.gcstop">)) return;
  if (--rt->stopwait == 0) rt->stopnote.Wakeup();
}

P* TakeIdleP() {
  Runtime* rt = Rt();
  // A hint that saves the lock.
  if (rt->idle_p_count.Load(os::kRelaxed<"exitsyscall.idle">) == 0) return nullptr;
  LockGuard guard(rt->sched_lock);
  return PopIdlePLocked();
}

// Step 4, on g0.
void ExitWithoutP(void* arg) {
  M* m = static_cast<M*>(arg);
  AfterSwitchTo(m->g0_fake_stack);
  G* g = m->curg;
  m->curg = &m->g0;
  m->dump_curg.Store(nullptr, os::kRelaxed<"exitsyscall.dump">);  // for dumps
  g->m.Store(nullptr, os::kRelaxed<"exitsyscall.m">);             // for dumps
  Runtime* rt = Rt();
  bool locked = m->lockedg.Load(os::kRelaxed<"exitsyscall.lockedg">) != nullptr;
  CasGStatus<Gsyscall, Grunnable>(g);
  P* p = nullptr;
  {
    LockGuard guard(rt->sched_lock);
    p = PopIdlePLocked();
    if (p == nullptr) PushGlobalLocked(g);
  }
  if (p != nullptr) {
    AcquireP(m, p);
    Execute(m, g, false);
  }
  // Queued; another M finds it, and if it is locked hands a P to this one.
  if (locked) {
    StopLockedM(m);
    Execute(m, g, false);
  }
  StopM(m);
  Schedule(m);
}

}  // namespace

bool RetakeFromSyscall(P* p) {
  uint32_t in_syscall = Psyscall;
  // Step 2. Acquire: the P as its M left it. The run queue's look (HandOffP) would acquire that M's
  // last push; the caches are not followed by the explorer.
  if (!p->state.CompareExchange(in_syscall, Pidle, os::kAcqRel<"syscall.retake">)) return false;
  // A counter.
  Rt()->handoffs.FetchAdd(1, os::kRelaxed<"syscall.handoffs">);
  HandOffP(GetM(), p);
  return true;
}

}  // namespace weft::runtime

namespace weft::internal {

using runtime::G;
using runtime::M;
using runtime::P;

void EnterBlocking() {
  M* m = runtime::GetM();
  if (m == nullptr || m->blocking_depth++ > 0) return;
  m->locks++;
  G* g = m->curg;
  P* p = m->p;
  m->syscall_p = p;
  m->events.Add(runtime::Event::kSyscall, g->goid);
  runtime::CasGStatus<runtime::Grunning, runtime::Gsyscall>(g);
  runtime::Bump(p->syscalltick);
  m->p = nullptr;
  p->m.Store(nullptr, os::kRelaxed<"syscall.p.m">);     // a hint
  m->has_p.Store(false, os::kRelaxed<"syscall.hint">);  // for sysmon
  // Step 1; seq_cst against stop_wanted, see the essay.
  p->state.Store(runtime::Psyscall, os::kSeqCst<"syscall.enter">);
  runtime::Runtime* rt = runtime::Rt();
  if (rt->stop_wanted.Load(os::kSeqCst<"syscall.stop">) != 0) runtime::StopInSyscall(p);
  // It slept because no P was in use.
  if (rt->sysmon_sleeps.Load(os::kRelaxed<"syscall.sysmon">) != 0) {
    runtime::LockGuard guard(rt->sched_lock);
    runtime::WakeSysmonLocked();
  }
  m->locks--;
}

void ExitBlocking() {
  M* m = runtime::GetM();
  if (m == nullptr || --m->blocking_depth > 0) return;
  m->locks++;
  G* g = m->curg;
  P* p = m->syscall_p;
  m->syscall_p = nullptr;
  m->events.Add(runtime::Event::kSyscallExit, g->goid);
  uint32_t in_syscall = runtime::Psyscall;
  // Step 3. Acquire: what another M may have done with the P meanwhile. Its release half is for
  // nobody, as in AcquireP.
  if (p->state.CompareExchange(in_syscall, runtime::Prunning, os::kAcqRel<"syscall.exit">)) {
    p->m.Store(m, os::kRelease<"syscall.exit.p.m">);  // as in AcquireP
    m->p = p;
    m->has_p.Store(true, os::kRelaxed<"syscall.exit.hint">);  // for sysmon
    runtime::CasGStatus<runtime::Gsyscall, runtime::Grunning>(g);
  } else if (P* idle = runtime::TakeIdleP(); idle != nullptr) {
    runtime::AcquireP(m, idle);
    runtime::CasGStatus<runtime::Gsyscall, runtime::Grunning>(g);
  } else {
    m = runtime::Mcall(m, g, runtime::ExitWithoutP);
  }
  // Short calls one after the other are no way around the time slice: a request finds the
  // goroutine, as in Entry, or its P while it is away.
  if (m->locks == 1 &&
      (g->stackguard0.Load(os::kRelaxed<"syscall.poll">) == runtime::kStackPreempt ||
       m->p->preempt.Load(os::kRelaxed<"syscall.poll.p">))) {
    m = runtime::ServePreemption(m);
  }
  m->locks--;
}

}  // namespace weft::internal
