// A function run once for every P, at a point where its owner stands still in the scheduler
// (f0dd0028).
//
// The problem. To flush what Ps cache, each P's owner must do it, or somebody while the P has
// none; the world need not stop for it. Ps run, sit in system calls or idle, and move between these
// meanwhile.
//
// Actors: the caller, who owns the world (so that nobody stops it or changes the number of Ps), on
// its system stack in Gwaiting; Ms with Ps; sysmon; Ms on their way into and out of Blocking.
//   1. Under sched_lock the caller sets the function, safe_point_wait to the number of other Ps,
//      run_safe_point of each of them, and asks their goroutines to come to the scheduler. It runs
//      the function for the idle ones itself: under the lock nobody takes them.
//   2. It runs the function for its own P.
//   3. It takes Ps in Psyscall away (CAS -> Pidle: they are its own then), runs the function for
//      them and hands them off.
//   4. A P's owner who comes to Schedule or into its possession (AcquireP), or is about to put the
//   P
//      into the idle list, looks at run_safe_point, and runs the function.
//   5. The caller sleeps on safe_point_note until safe_point_wait is 0, and does 3, and asks, again
//      every 100 us: a P may come into Psyscall, or a goroutine onto a P, just after the look.
// Who runs the function has taken run_safe_point from 1 to 0 by an exchange: once for each P. Only
// that actor then counts safe_point_wait down, under sched_lock. A P that is in nobody's hands is
// idle or in Psyscall. It comes to the idle list under sched_lock: before 1, which then finds it
// there, or after, and then who puts it there sees run_safe_point (4).
//
// Why counts of their own (the race of f0dd0028, with stopwait in place of safe_point_wait):
//   1. The stopper S sets stop_wanted. 2. M1 enters Blocking: P1 is Psyscall; it reads stop_wanted
//   and waits for sched_lock (StopInSyscall). 3. S takes P1, starts the world again: P1 is idle.
//   4. M2 comes back from a call, takes P1, begins another call: P1 is Psyscall again, by M2 (ABA).
//   5. ForEachP begins, and counts in stopwait. 6. M1 gets the lock at last, sees stopwait > 0 and
//   P1 in Psyscall, takes P1 for stopped and counts it: stopwait is 0 before all have run the
//   function, and P1 stands in Pgcstop with nobody to start it.
// With its own count 6 finds stopwait 0 and goes away.
#include "runtime/sched.h"
#include "runtime/suspend.h"

namespace weft::runtime {

namespace {

// True: the caller has run the function for its P.
bool TakeAndRun(P* p) {
  // Saves the exchange. Set under sched_lock by who waits; a stale 0 is found at the next look.
  if (p->run_safe_point.Load(os::kRelaxed<"safe_point.peek">) == 0) return false;
  // Acquire: the function; pairs with the caller's release.
  if (p->run_safe_point.Exchange(0, os::kAcquire<"safe_point.take">) == 0) return false;
  void (*fn)(P * p, void* arg) = Rt()->safe_point_fn;
  fn(p, Rt()->safe_point_arg);
  return true;
}

void CountLocked() {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  if (--rt->safe_point_wait == 0) rt->safe_point_note.Wakeup();
}

}  // namespace

void RunSafePointLocked(P* p) {
  if (TakeAndRun(p)) CountLocked();
}

void RunSafePoint(P* p) {
  if (!TakeAndRun(p)) return;
  LockGuard guard(Rt()->sched_lock);
  CountLocked();
}

namespace {

struct Call {
  void (*fn)(P* p, void* arg);
  void* arg;
};

// Step 1. False: there is no other P.
bool AskAllLocked(M* m, const Call& call) {
  Runtime* rt = Rt();
  const int32_t procs = rt->procs.Load(os::kRelaxed<"safe_point.procs">);  // the world is owned
  rt->safe_point_note.Clear();
  rt->safe_point_fn = call.fn;
  rt->safe_point_arg = call.arg;
  rt->safe_point_wait = procs - 1;
  for (int32_t i = 0; i < procs; i++) {
    P* p = rt->all_ps[i];
    if (p == m->p) continue;
    // Release: the function; pairs with TakeAndRun.
    p->run_safe_point.Store(1, os::kRelease<"safe_point.ask">);
    p->preempt.Store(true, os::kRelaxed<"safe_point.preempt">);  // a hint, made again
  }
  for (P* p = rt->idle_ps; p != nullptr; p = p->link) RunSafePointLocked(p);
  return procs > 1;
}

// Steps 3 and 5: who has not answered.
void AskAgain(M* m) {
  Runtime* rt = Rt();
  const int32_t procs = rt->procs.Load(os::kRelaxed<"safe_point.again">);  // the world is owned
  for (int32_t i = 0; i < procs; i++) {
    P* p = rt->all_ps[i];
    // A hint: who has run it is not asked again.
    if (p == m->p || p->run_safe_point.Load(os::kRelaxed<"safe_point.left">) == 0) continue;
    uint32_t in_syscall = Psyscall;
    // As in RetakeFromSyscall. Acquire: the P as its M left it, for the function; the explorer's
    // touches nothing of it.
    if (p->state.CompareExchange(in_syscall, Pidle, os::kAcquire<"safe_point.syscall">)) {
      RunSafePoint(p);
      HandOffP(m, p);
    } else if (in_syscall == Prunning) {
      PreemptOne(p);
    }
  }
}

void ForEachPOnG0(M* m, void* arg) {
  Runtime* rt = Rt();
  const Call& call = *static_cast<Call*>(arg);
  bool wait = false;
  {
    LockGuard guard(rt->sched_lock);
    wait = AskAllLocked(m, call);
  }
  call.fn(m->p, call.arg);
  if (!wait) return;
  do {
    // As in StopOnG0: only the flag is read by it.
    if (rt->exiting.Load(os::kAcquire<"safe_point.exiting">) != 0) ExitM(m);
    AskAgain(m);
  } while (!rt->safe_point_note.Sleep(kAskAgain_ns));
  LockGuard guard(rt->sched_lock);
  if (rt->safe_point_wait != 0) {
    Fatal("a safe point with %d Ps not counted", static_cast<int64_t>(rt->safe_point_wait));
  }
}

}  // namespace

void ForEachP(M* m, void (*fn)(P* p, void* arg), void* arg) {
  m->events.Add(Event::kForEachP, 0);
  Call call{fn, arg};
  AsWaiting(m, WaitReason::kForEachP, ForEachPOnG0, &call);
}

}  // namespace weft::runtime
