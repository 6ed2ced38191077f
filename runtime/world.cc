// Stopping the world, starting it, and changing the number of Ps while it stands.
//
// The problem. Some changes need all Ps at rest: no goroutine runs on any. They run, sit in system
// calls or idle, and move between these while they are being stopped.
//
// Actors: the stopper, a goroutine that owns the world (`world_owner`: one at a time, others wait
// parked); Ms that run on Ps; sysmon; Ms on their way into and out of Blocking.
//   1. Under sched_lock the stopper sets stopwait to the number of Ps and stop_wanted to 1, and
//   asks
//      every running goroutine to stop at its next poll (PreemptAll).
//   2. It takes what it can itself: its own P, Ps in Psyscall (CAS -> Pgcstop), idle Ps. Each one
//      less in stopwait.
//   3. A running M comes to Schedule (by a poll, a park, a yield), sees stop_wanted, and under
//      sched_lock gives its P up as Pgcstop; the last one wakes stopnote. An M that enters Blocking
//      does the same for its P (syscall.cc). HandOffP does it for a P that it was to give away.
//   4. The stopper sleeps on stopnote until stopwait is 0, asking again every 100 us: a request can
//      meet a goroutine that was just being switched in. It does so on its system stack, in
//      Gwaiting (AsWaiting): a suspender of it holds a P that it waits for.
//   5. StartTheWorld puts every P back: those with goroutines get an M, the others are idle.
// stopwait is counted down only under sched_lock and only by who moved a P's state to Pgcstop, so
// each P is counted once. An M that read stop_wanted early and takes the lock late checks stopwait
// and the state again under it. What goes on while the world stands: Ms without a P. The netpoller
// readies goroutines (Gwaiting -> Grunnable, to the global queue); nobody runs them.
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"
#include "runtime/suspend.h"
#include "weft/runtime.h"

namespace weft::runtime {

namespace {
bool WorldIsTaken(void* rt) {
  os::Atomic<uint32_t>& owner = static_cast<Runtime*>(rt)->world_owner;
  // Free, and nobody was faster: taken for the caller, who then does not wait. 2: others may wait.
  return owner.Exchange(2, os::kAcquire<"world.lock.again">) != 0;
}
}  // namespace

void LockWorld() {
  Runtime* rt = Rt();
  uint32_t free = 0;
  // Acquire: the former owner's changes.
  if (rt->world_owner.CompareExchange(free, 1, os::kAcquire<"world.lock">)) return;
  while (rt->world_queue.Wait(WorldIsTaken, rt, WaitReason::kStopTheWorld)) {
  }
}

void UnlockWorld() {
  Runtime* rt = Rt();
  // Release: for the next owner. 2: somebody waits or may be about to.
  if (rt->world_owner.Exchange(0, os::kRelease<"world.unlock">) == 2) rt->world_queue.WakeOne();
}

void PreemptOne(P* p) {
  // Hints, served at the next poll or switch; a stale M or G is asked in vain, and again later. The
  // guard by an exchange: what a suspender released by the same word goes on (suspend.guard).
  // Acquire: each as it was made (p.acquire.m, execute.dump); the explorer's were made before.
  p->preempt.Store(true, os::kRelaxed<"preempt.p">);
  M* m = p->m.Load(os::kAcquire<"preempt.m">);
  if (m == nullptr) return;
  G* g = m->dump_curg.Load(os::kAcquire<"preempt.g">);
  if (g == nullptr) return;
  g->stackguard0.Exchange(kStackPreempt, os::kRelaxed<"preempt.guard">);
  PoisonSlot(m);
}

void PreemptAll() {
  Runtime* rt = Rt();
  int32_t procs = rt->procs.Load(os::kRelaxed<"preempt.procs">);  // the world is owned
  for (int32_t i = 0; i < procs; i++) {
    P* p = rt->all_ps[i];
    // A hint.
    if (p->state.Load(os::kRelaxed<"preempt.state">) == Prunning) PreemptOne(p);
  }
}

namespace {

// Step 2.
void TakeStillPsLocked(M* m) {
  Runtime* rt = Rt();
  int32_t procs = rt->procs.Load(os::kRelaxed<"stop.procs">);  // the world is owned
  // Its own P. Release as for the others below: this M starts the world itself, under sched_lock.
  m->p->state.Store(Pgcstop, os::kRelease<"stop.own">);
  rt->stopwait--;
  for (int32_t i = 0; i < procs; i++) {
    P* p = rt->all_ps[i];
    uint32_t in_syscall = Psyscall;
    // seq_cst against EnterBlocking's store and look (syscall.cc).
    if (p->state.CompareExchange(in_syscall, Pgcstop, os::kSeqCst<"stop.syscall">)) {
      rt->stopwait--;
    }
  }
  while (P* p = PopIdlePLocked()) {
    // Pairs with StartTheWorld.
    p->state.Store(Pgcstop, os::kRelease<"stop.idle">);
    rt->stopwait--;
  }
}

}  // namespace

namespace {

void StopOnG0(M* m, void* /*arg*/) {
  Runtime* rt = Rt();
  bool wait = false;
  {
    LockGuard guard(rt->sched_lock);
    rt->stopnote.Clear();
    rt->stopwait = rt->procs.Load(os::kRelaxed<"stop.count">);  // the world is owned
    // Step 1; seq_cst against EnterBlocking.
    rt->stop_wanted.Store(1, os::kSeqCst<"stop.wanted">);
    PreemptAll();
    TakeStillPsLocked(m);
    wait = rt->stopwait > 0;
  }
  while (wait && !rt->stopnote.Sleep(kAskAgain_ns)) {
    // Ms that end do not count their Ps. Only the flag is read by it (exit.begin); the explorer
    // does not end a runtime here. The stopper ends with it.
    if (rt->exiting.Load(os::kAcquire<"stop.exiting">) != 0) ExitM(m);
    PreemptAll();
  }
  LockGuard guard(rt->sched_lock);
  if (rt->stopwait != 0) {
    Fatal("the world is stopped with %d Ps not counted", static_cast<int64_t>(rt->stopwait));
  }
  // For counters, which read it relaxed: the release has no partner.
  rt->stopped.Store(1, os::kRelease<"world.stopped">);
}

}  // namespace

void StopTheWorld(M* m, StopReason reason) {
  m->events.Add(Event::kStopWorld, static_cast<uint64_t>(reason));
  AsWaiting(m, WaitReason::kStopTheWorld, StopOnG0, nullptr);
}

// Step 3.
void StopForWorld(M* m) {
  Runtime* rt = Rt();
  m->events.Add(Event::kStop, 0);
  if (m->spinning) {
    m->spinning = false;
    rt->spinning.FetchSub(1, os::kSeqCst<"stop.spinning">);  // its looks were in vain
  }
  P* p = ReleaseP(m);
  {
    LockGuard guard(rt->sched_lock);
    if (rt->stop_wanted.Load(os::kRelaxed<"stop.check">) != 0) {  // set under the lock
      // Pairs with StartTheWorld.
      p->state.Store(Pgcstop, os::kRelease<"stop.running">);
      if (--rt->stopwait == 0) rt->stopnote.Wakeup();
      p = nullptr;
    }
  }
  if (p != nullptr) {  // it has been started again already
    AcquireP(m, p);
    return;
  }
  StopM(m);
}

namespace {

void InitP(Runtime* rt, int32_t id) {
  P* p = rt->all_ps[id];
  if (p == nullptr) {
    p = rt->alloc.New<P>();
    p->id = id;
    rt->all_ps[id] = p;
    rt->made_procs.Store(id + 1, os::kRelease<"p.made">);  // pairs with who counts over all Ps
  }
  p->state.Store(Pgcstop, os::kRelaxed<"p.init">);  // the world stands
}

// A P beyond the new count gives up all that it has.
void RetireP(M* m, P* p) {
  Runtime* rt = Rt();
  bool inherits = false;
  while (G* g = p->runq.Pop(&inherits)) PushGlobalLocked(g);
  if (!p->dead_gs.empty()) {
    LockGuard guard(rt->dead_lock);
    rt->dead_gs.Append(std::move(p->dead_gs));
  }
  rt->stacks.Drain(&p->stacks, rt->default_stack_class, 0);
  MoveTimers(p, rt->all_ps[0]);
  if (m->p == p) m->p = nullptr;
  p->m.Store(nullptr, os::kRelaxed<"p.retire.m">);  // a hint
  p->state.Store(Pdead, os::kRelaxed<"p.dead">);    // the world stands
}

}  // namespace

// With the world stopped and sched_lock held. The caller's M has a P afterwards.
void ResizeProcs(M* m, int n) {
  Runtime* rt = Rt();
  int32_t before = rt->procs.Load(os::kRelaxed<"resize.before">);  // the world is owned
  for (int32_t i = 0; i < n; i++) {
    if (i >= before) InitP(rt, i);
  }
  for (int32_t i = n; i < before; i++) RetireP(m, rt->all_ps[i]);
  for (int32_t i = 0; i < n; i++) rt->all_ps[i]->runq.SetAlone(n == 1);
  // The Ps are made before the count; pairs with who walks all_ps without a lock.
  rt->procs.Store(n, os::kRelease<"resize.procs">);
  if (m->p == nullptr) {
    m->p = rt->all_ps[0];
    m->p->m.Store(m, os::kRelease<"resize.m">);  // a hint; pairs with PreemptOne
  }
  m->p->state.Store(Prunning, os::kRelease<"resize.own">);  // the world stands
}

void StartTheWorld(M* m, int procs) {
  Runtime* rt = Rt();
  P* runnable = nullptr;
  m->events.Add(Event::kStartWorld, static_cast<uint64_t>(procs));
  {
    LockGuard guard(rt->sched_lock);
    ResizeProcs(m, procs);
    for (int32_t i = procs - 1; i >= 0; i--) {
      P* p = rt->all_ps[i];
      if (p == m->p) continue;
      p->m.Store(nullptr, os::kRelaxed<"start.m">);  // a hint
      // Pairs with AcquireP.
      p->state.Store(Pidle, os::kRelease<"start.idle">);
      if (p->runq.Empty()) {
        PushIdlePLocked(p);
      } else {
        p->link = runnable;
        runnable = p;
      }
    }
    rt->stopped.Store(0, os::kRelease<"world.started">);  // for counters
    // Under the lock; Ms that see 1 a moment longer check again under it.
    rt->stop_wanted.Store(0, os::kSeqCst<"start.wanted">);
    if (rt->sysmon_sleeps.Load(os::kRelaxed<"start.sysmon">) != 0) WakeSysmonLocked();
  }
  while (runnable != nullptr) {
    P* p = runnable;
    runnable = p->link;
    p->link = nullptr;
    StartM(m, p, false);
  }
  // Goroutines that became runnable meanwhile wait in the global queue.
  os::Fence(os::kSeqCst<"start.fence">);
  WakeP();
}

// ---- Goroutines bound to a thread. ----

// The M of a bound goroutine gives its P away and sleeps until it gets one to run it.
void StopLockedM(M* m) {
  Runtime* rt = Rt();
  if (m->p != nullptr) HandOffP(m, ReleaseP(m));
  {
    LockGuard guard(rt->sched_lock);
    rt->idle_locked_count++;
    CheckDeadlockLocked();
  }
  P* p = nullptr;
  for (;;) {
    uint32_t awake = kAwake;
    // As in SleepIdle.
    if (m->sleep.CompareExchange(awake, kOnFutex, os::kAcqRel<"locked.sleep">)) {
      os::FutexWait(m->sleep, kOnFutex);
    }
    m->sleep.Exchange(kAwake, os::kAcqRel<"locked.awake">);  // as in SleepIdle
    // Given by StartLockedM before it woke us.
    p = m->nextp.Exchange(nullptr, os::kAcquire<"locked.nextp">);
    if (p != nullptr) break;
    if (rt->exiting.Load(os::kAcquire<"locked.exiting">) != 0) ExitM(m);  // set before the wake
  }
  {
    LockGuard guard(rt->sched_lock);
    rt->idle_locked_count--;
  }
  AcquireP(m, p);
}

// Hands this M's P to the thread that `g` is bound to, and sleeps. `g` is in no queue.
void StartLockedM(M* m, G* g) {
  M* bound = g->lockedm.Load(os::kRelaxed<"locked.start">);  // the goroutine does not run
  P* p = ReleaseP(m);
  // Pairs with StopLockedM.
  bound->nextp.Store(p, os::kRelease<"locked.give">);
  WakeM(bound);
  StopM(m);
}

}  // namespace weft::runtime

namespace weft {

int MaxProcs(int n) {
  runtime::Runtime* rt = runtime::Rt();
  if (rt == nullptr) return 0;
  int before = rt->procs.Load(os::kRelaxed<"maxprocs.read">);  // a moment's truth
  if (n <= 0) return before;
  if (n > runtime::kMaxProcs) n = runtime::kMaxProcs;
  if (runtime::GetM() == nullptr) {
    runtime::Fatal("weft::MaxProcs(%d) on a plain thread", static_cast<int64_t>(n));
  }
  if (runtime::GetM()->p == nullptr) {
    runtime::Fatal("weft::MaxProcs(%d) inside weft::Blocking", static_cast<int64_t>(n));
  }
  runtime::LockWorld();
  {
    runtime::Entry entry;
    runtime::M* m = entry.m();
    before = rt->procs.Load(os::kRelaxed<"maxprocs.locked">);  // the world is owned
    if (n != before) {
      runtime::StopTheWorld(m, runtime::StopReason::kResize);
      runtime::StartTheWorld(m, n);
    }
  }
  runtime::UnlockWorld();
  return before;
}

}  // namespace weft
