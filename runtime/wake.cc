// Which Ms run, look for work or sleep; and that no wakeup is lost.
//
// The problem. Work appears anywhere (a goroutine readies another, the netpoller, a foreign
// thread); Ms without work must sleep; waking one costs 3 us. Waking one for each goroutine burns
// CPUs, waking none leaves a P idle beside work.
//
// Actors: submitters S, who make a goroutine runnable; searchers, Ms with a P and no work, counted
// in `spinning`; sleepers, Ms in the idle list without a P.
// Rules (they are Go's):
//   1. S queues the goroutine, then (full barrier) looks: is a P idle and nobody spinning? If so
//      it counts a searcher in (CAS 0 -> 1) and starts an M with an idle P for it (WakeP).
//   2. A searcher that finds nothing gives its P to the idle list, sleeps in the idle list from
//      then on, counts itself out of `spinning`, and (full barrier) looks at every queue once
//      more. If something is there it takes a P back and searches on.
//   3. A searcher that finds work counts itself out and calls WakeP: there may be more.
//   4. Who gives up a P otherwise (HandOffP) looks at every queue once more too, and calls WakeP.
// No lost wakeup: S's queueing comes before its look at `spinning` and at the idle Ps, the last
// searcher's count-out and giving back of its P before its last look at the queues. Both are
// seq_cst, so S sees nobody spinning (and an idle P) and wakes one, or the searcher sees the
// goroutine. S may have looked while another searcher was counted in: then that one is bound by
// rule 2 or 3. An M that is no searcher (there were enough) takes the last look too when it has
// given its P up: the searcher that S relied on may have found no idle P and been counted out, or
// have found work and called WakeP, just before.
//
// What orders that: search.fence on the searcher's side; wakep.idle and wakep.look, after the
// barrier of who queued, on the other (the explorer finds each of them weakened). The exchanges on
// spinning and idle_p_count are seq_cst as well, so that no site depends on which fence is near;
// x86 and arm64 make the same code of acq_rel. Those on a P's state and an M's sleep check and
// count; what lies behind them is handed on under sched_lock. To count in takes no order: a
// submitter that reads it looked before that M counts out, and so queued before the look, or WakeP,
// that follows.
//
// Duties of idle Ms. Somebody asleep watches the shared set (a ring's sleeper does, too), and
// somebody asleep keeps the timers. An M that wakes with a P gives its duty up; if it then runs
// long while all else is idle, sysmon is awake and sees to both. Before the last P goes idle by
// another way than its M's sleep (HandOffP), and before sysmon sleeps, somebody must have the
// duties (IsNeglectedLocked).
//
// How an M sleeps. Its word m->sleep: kAwake, how it sleeps (futex, ring, shared set), kNotified.
//   a. The sleeper, in the idle list, moves kAwake -> how (CAS; kNotified found: it does not
//      sleep), then sleeps in the kernel, then exchanges kAwake in.
//   b. A waker sets m->nextp under sched_lock as it takes M off the list, then exchanges
//      kNotified in, and wakes by what it found: futex wake, the ring's eventfd, the shared set's.
// The waker's exchange comes after a's CAS: the kernel sleep is ended (each of the three ways
// holds a wake that comes before the sleep). Before it: the CAS fails. A sleeper may also be
// awakened by readiness or its timeout; then it looks for a P itself. A stale kNotified makes a
// later sleep return at once: harmless.
//
// Timers. One sleeper, the timer keeper, wakes at the earliest timer of all Ps; `timer_until` says
// when. It publishes that, then (full barrier) looks at the heaps again; who adds a timer
// publishes it in its heap, then (full barrier) reads timer_until, and wakes somebody if that is
// too late (timer.cc).
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"

namespace weft::runtime {

void PushIdlePLocked(P* p) {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  WEFT_CHECK(p->runq.Empty());
  p->link = rt->idle_ps;
  rt->idle_ps = p;
  // Rule 2: before the last look at the queues. The fence before that (search.fence) orders it.
  rt->idle_p_count.FetchAdd(1, os::kSeqCst<"idle.p.push">);
}

P* PopIdlePLocked() {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  P* p = rt->idle_ps;
  if (p == nullptr) return nullptr;
  rt->idle_ps = p->link;
  p->link = nullptr;
  // seq_cst as above, though who still reads the old number only takes the lock in vain.
  rt->idle_p_count.FetchSub(1, os::kSeqCst<"idle.p.pop">);
  if (rt->sysmon_sleeps.Load(os::kRelaxed<"idle.p.sysmon">) != 0) WakeSysmonLocked();  // under lock
  return p;
}

void PushIdleMLocked(M* m) {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  WEFT_CHECK(!m->in_idle_list && m->p == nullptr);
  m->in_idle_list = true;
  rt->idle_m_count++;
  // Owners of rings with connections go first: who else woke would have to be told by them.
  bool front = m->ring_polls.Load(os::kRelaxed<"idle.m.polls">) > 0 || rt->idle_ms == nullptr;
  M* after = front ? nullptr : rt->idle_ms_tail;
  M* before = front ? rt->idle_ms : nullptr;
  m->idle_prev = after;
  m->idle_next = before;
  (after != nullptr ? after->idle_next : rt->idle_ms) = m;
  (before != nullptr ? before->idle_prev : rt->idle_ms_tail) = m;
}

void RemoveIdleMLocked(M* m) {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  WEFT_CHECK(m->in_idle_list);
  m->in_idle_list = false;
  rt->idle_m_count--;
  (m->idle_prev != nullptr ? m->idle_prev->idle_next : rt->idle_ms) = m->idle_next;
  (m->idle_next != nullptr ? m->idle_next->idle_prev : rt->idle_ms_tail) = m->idle_prev;
  m->idle_next = m->idle_prev = nullptr;
}

void AcquireP(M* m, P* p) {
  WEFT_CHECK(m->p == nullptr);
  uint32_t idle = Pidle;
  // Acquire: what the P's former M left in it, which sched_lock hands on too. Its release half is
  // for nobody: Prunning is read as a hint.
  if (!p->state.CompareExchange(idle, Prunning, os::kAcqRel<"p.acquire">)) {
    Fatal("P %d taken in state %u, expected idle", static_cast<int64_t>(p->id),
          static_cast<uint64_t>(idle));
  }
  // A hint; pairs with PreemptOne, which sees the M as it was made (the explorer's all were
  // before).
  p->m.Store(m, os::kRelease<"p.acquire.m">);
  m->p = p;
  m->has_p.Store(true, os::kRelaxed<"p.acquire.hint">);  // for sysmon
  m->events.Add(Event::kAcquireP, static_cast<uint64_t>(p->id));
  RunSafePoint(p);
}

P* ReleaseP(M* m) {
  P* p = m->p;
  WEFT_CHECK(p != nullptr);
  m->p = nullptr;
  p->m.Store(nullptr, os::kRelaxed<"p.release.m">);       // a hint
  m->has_p.Store(false, os::kRelaxed<"p.release.hint">);  // for sysmon
  uint32_t running = Prunning;
  // Release: for the next AcquireP, which comes by sched_lock or nextp: they hand the P on as well.
  // Its acquire half is for nothing: this M wrote the state.
  if (!p->state.CompareExchange(running, Pidle, os::kAcqRel<"p.release">)) {
    Fatal("P %d given up in state %u, expected running", static_cast<int64_t>(p->id),
          static_cast<uint64_t>(running));
  }
  m->events.Add(Event::kReleaseP, static_cast<uint64_t>(p->id));
  return p;
}

void WakeM(M* m) {
  // Step b of the essay. Release: nextp, and what else the waker left for it. Acquire: m->ring, for
  // who wakes without a lock that has handed it on, as the end does (the explorer's rings are made
  // beforehand).
  uint32_t was = m->sleep.Exchange(kNotified, os::kAcqRel<"m.sleep.notify">);
  if (was == kOnFutex) {
    os::FutexWake(m->sleep, 1);
  } else if (was == kOnRing || was == kOnShared) {
    Rt()->poller->wake(m, static_cast<MSleep>(was));
  }
}

void StartM(M* m, P* p, bool spinning) {
  Runtime* rt = Rt();
  M* idle = nullptr;
  {
    LockGuard guard(rt->sched_lock);
    if (p == nullptr) {
      // At the end nobody is to search (start.cc); a foreign thread, which is not waited for,
      // must not start Ms then. Pairs with BeginExit (exit.begin).
      bool ends = rt->exiting.Load(os::kAcquire<"startm.exiting">) != 0;
      if (!ends) p = PopIdlePLocked();
      if (p == nullptr) {
        // Rule 1's searcher has nothing to search with. No look follows: no P is idle, and who
        // makes one idle comes after this by the lock, and looks (rule 2).
        if (spinning) rt->spinning.FetchSub(1, os::kSeqCst<"startm.no_p">);
        return;
      }
    }
    idle = rt->idle_ms;
    if (idle != nullptr) {
      RemoveIdleMLocked(idle);
      idle->next_spinning = spinning;
      // Read by the sleeper after it is woken, or under the lock.
      idle->nextp.Store(p, os::kRelaxed<"m.nextp.start">);
    }
  }
  if (m != nullptr) m->events.Add(Event::kHandoff, static_cast<uint64_t>(p->id));
  if (idle != nullptr) {
    WakeM(idle);
  } else {
    NewM(p, spinning);
  }
}

void WakeP() {
  Runtime* rt = Rt();
  // Rule 1. The callers' full barrier stands before: PutNext's exchange (none with one P: who put
  // it holds it, so no P is idle), PushNext's fence when that put another out, StopSpinning's,
  // FenceAndWakeP's.
  if (rt->idle_p_count.Load(os::kSeqCst<"wakep.idle">) == 0) return;
  // As above.
  if (rt->spinning.Load(os::kSeqCst<"wakep.look">) != 0) return;
  int32_t none = 0;
  // One searcher at a time is started; seq_cst as the look, though it counts in (essay).
  if (!rt->spinning.CompareExchange(none, 1, os::kSeqCst<"wakep.claim">)) return;
  StartM(GetM(), nullptr, true);
}

void FenceAndWakeP() {
  // Queued before the look: rule 1. (In the global queue sched_lock orders it against idle Ps, but
  // not against `spinning`.)
  os::Fence(os::kSeqCst<"wakep.fence">);
  WakeP();
}

namespace {
// After a full fence: a last look.
bool IsWorkQueued() {
  Runtime* rt = Rt();
  // Pairs with ResizeProcs: this M holds no P (the explorer has no resizing).
  int32_t procs = rt->procs.Load(os::kAcquire<"search.procs">);
  // seq_cst as all of rule 2; the fence before it orders it.
  bool work = rt->global_size.Load(os::kSeqCst<"search.global">) != 0;
  for (int32_t i = 0; i < procs && !work; i++) work = !rt->all_ps[i]->runq.Empty();
  return work;
}
}  // namespace

// Gives a P whose M goes away to whoever has a use for it.
void HandOffP(M* m, P* p) {
  Runtime* rt = Rt();
  bool work = !p->runq.Empty() || rt->global_size.Load(os::kRelaxed<"handoff.global">) != 0 ||
              p->timers.first_when.Load(os::kRelaxed<"handoff.timers">) != 0;
  if (work) {
    StartM(m, p, false);
    return;
  }
  // Nobody searches and nothing is idle: somebody must look for what others have too much of. A
  // hint, whatever its orders (seq_cst as in WakeP): both may change before the P is in the idle
  // list, so that rule 4's look follows.
  int32_t none = 0;
  if (rt->spinning.Load(os::kSeqCst<"handoff.look">) +
              rt->idle_p_count.Load(os::kSeqCst<"handoff.idle">) ==
          0 &&
      rt->spinning.CompareExchange(none, 1, os::kSeqCst<"handoff.claim">)) {
    StartM(m, p, true);
    return;
  }
  {
    LockGuard guard(rt->sched_lock);
    if (rt->stop_wanted.Load(os::kRelaxed<"handoff.stop">) != 0) {  // set under the lock
      // Pairs with AcquireP and StartTheWorld.
      p->state.Store(Pgcstop, os::kRelease<"handoff.gcstop">);
      if (--rt->stopwait == 0) rt->stopnote.Wakeup();
      return;
    }
    if (rt->global_queue.empty() && !IsNeglectedLocked()) {
      RunSafePointLocked(p);
      PushIdlePLocked(p);
      p = nullptr;
    }
  }
  if (p != nullptr) {
    StartM(m, p, false);
    return;
  }
  os::Fence(os::kSeqCst<"handoff.fence">);  // rule 4; pairs with the submitters' full barriers
  if (IsWorkQueued()) WakeP();
}

bool IsNeglectedLocked() {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  if (rt->poller != nullptr && rt->poller->is_unwatched()) return true;
  return EarliestTimer() != 0 &&
         rt->timer_until.Load(os::kRelaxed<"neglected.timers">) == 0;  // under the lock
}

namespace {

// Makes `m` the timer keeper if it would wake earlier than the one there is; until when it
// sleeps, 0: for ever.
int64_t KeepTimersLocked(M* m) {
  Runtime* rt = Rt();
  for (;;) {
    // Ms with Ps see to them; an M that wakes for one could not run it. Written under the lock that
    // is held: any order reads the newest.
    if (rt->idle_p_count.Load(os::kSeqCst<"timer_until.idle">) == 0) return 0;
    int64_t earliest = EarliestTimer();
    if (earliest == 0) return 0;
    int64_t kept = rt->timer_until.Load(os::kRelaxed<"timer_until.locked">);  // under the lock
    if (kept != 0 && kept <= earliest && rt->timer_keeper != m) return 0;
    rt->timer_keeper = m;
    // Published before the heaps are looked at again (essay, Timers): who adds must not go by an
    // earlier keeper's time. It cannot where search.fence was passed since that one woke; an M that
    // woke without a P, or comes by StopM, has passed none. kept: no harness has two keepers.
    rt->timer_until.Store(earliest, os::kSeqCst<"timer_until.set">);
    if (EarliestTimer() == earliest) return earliest;
  }
}

// Sleeps as an idle M until woken; what the netpoller readied meanwhile.
GQueue SleepIdle(M* m) {
  Runtime* rt = Rt();
  GQueue ready;
  MSleep how = rt->poller != nullptr ? rt->poller->choose_sleep(m) : kOnFutex;
  int64_t until = 0;
  {
    LockGuard guard(rt->sched_lock);
    until = KeepTimersLocked(m);
    CheckDeadlockLocked();
  }
  m->events.Add(Event::kSleep, how);
  uint32_t awake = kAwake;
  // Step a. Acquire pairs with WakeM when it was notified, as m.sleep.end does, which follows in
  // any case. Release: m->ring, for WakeM (see there).
  if (m->sleep.CompareExchange(awake, how, os::kAcqRel<"m.sleep.begin">)) {
    int64_t timeout = -1;
    if (until != 0) {
      timeout = until - os::Nanotime();
      if (timeout < 0) timeout = 0;
    }
    if (how == kOnFutex) {
      os::FutexWait(m->sleep, kOnFutex, timeout);
    } else {
      ready = rt->poller->sleep(m, how, timeout);
    }
  } else if (how != kOnFutex) {
    rt->poller->done_sleeping(m, how);
  }
  // Acquire pairs with WakeM: what a ring's owner was asked (nextp comes under the lock). Where the
  // explorer has rings a copy of this stands for it (netpoll_world.cc), so it does not see that.
  // Its release half is for nobody: who finds kAwake does nothing.
  m->sleep.Exchange(kAwake, os::kAcqRel<"m.sleep.end">);
  m->events.Add(Event::kWoken, static_cast<uint64_t>(ready.size()));
  return ready;
}

// An M in the idle list sleeps until it has a P.
void WaitForP(M* m) {
  Runtime* rt = Rt();
  for (;;) {
    GQueue ready = SleepIdle(m);
    P* p = nullptr;
    bool given = false;
    {
      LockGuard guard(rt->sched_lock);
      if (rt->timer_keeper == m) {
        rt->timer_keeper = nullptr;
        // Who still reads the old time is as who added before the wake: the next to sleep looks at
        // the heaps, and sysmon sees to them while this M runs (essay, Duties).
        rt->timer_until.Store(0, os::kSeqCst<"timer_until.clear">);
      }
      p = m->nextp.Load(os::kRelaxed<"m.nextp.locked">);
      if (p != nullptr) {
        given = true;
        m->nextp.Store(nullptr, os::kRelaxed<"m.nextp.taken">);  // under the lock
      } else {
        p = PopIdlePLocked();
        if (p != nullptr) RemoveIdleMLocked(m);
      }
    }
    if (p != nullptr) {
      AcquireP(m, p);
      if (!given) m->orphan_wakes = 0;
      m->spinning = given && m->next_spinning;
      InjectReady(m, std::move(ready), kLooksNext);
      return;
    }
    if (!ready.empty()) m->orphan_wakes++;
    InjectReady(m, std::move(ready), kBusy);
    // Set before every sleeper is woken for it; they are told again until they leave (exit.begin).
    if (rt->exiting.Load(os::kAcquire<"wait_for_p.exiting">) != 0) ExitM(m);
  }
}

}  // namespace

void StopM(M* m) {
  {
    LockGuard guard(Rt()->sched_lock);
    PushIdleMLocked(m);
  }
  m->events.Add(Event::kIdle, 0);
  WaitForP(m);
}

namespace {

// Rule 2's last look. True: there is work, and the M has a P for it.
bool LookOnceMore(M* m) {
  Runtime* rt = Rt();
  // The P was given back, and the M counted out, before the look; pairs with the submitters' full
  // barriers.
  os::Fence(os::kSeqCst<"search.fence">);
  if (!IsWorkQueued()) return false;
  P* p = nullptr;
  {
    LockGuard guard(rt->sched_lock);
    p = m->nextp.Load(os::kRelaxed<"m.nextp.search">);
    if (p != nullptr) {
      m->nextp.Store(nullptr, os::kRelaxed<"m.nextp.search.taken">);  // under the lock
    } else {
      p = PopIdlePLocked();
      if (p == nullptr) return false;
      RemoveIdleMLocked(m);
      m->next_spinning = true;
      // Counts in (essay): any order would do.
      rt->spinning.FetchAdd(1, os::kSeqCst<"search.again">);
    }
  }
  AcquireP(m, p);
  m->spinning = m->next_spinning;
  return true;
}

}  // namespace

void SleepWithoutWork(M* m) {
  if (m->spinning) {
    m->spinning = false;
    // Rule 2: counted out before the last look, whose fence orders it.
    Rt()->spinning.FetchSub(1, os::kSeqCst<"search.end">);
  }
  if (LookOnceMore(m)) return;
  m->events.Add(Event::kIdle, 0);
  WaitForP(m);
}

}  // namespace weft::runtime
