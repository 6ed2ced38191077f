// sysmon: a thread of its own that sees to what Ms cannot see to themselves.
//
// It needs no P and runs every 20 us to 10 ms, longer the longer there was nothing to do:
//   - takes Ps from goroutines that stay in Blocking (syscall.cc, 2),
//   - asks goroutines to stop that have run for 10 ms on a P,
//   - reads the netpoller when nobody did, and what has no attendant (netpoll/),
//   - starts an M for timers that are overdue.
// When every P has been idle for some rounds it sleeps until one is taken from the idle list
// (sysmon_sleeps, under sched_lock): a program at rest does not wake up. It does not sleep while
// anything depends on it: timers or the shared set without an idle M that sees to them, a ring
// whose owner is away. Whoever had such a duty and left the scheduler with it (in Blocking, bound
// to a goroutine, at its end) is found by that; HandOffP finds most of them at once.
#include "runtime/fatal.h"
#include "runtime/os/clock.h"
#include "runtime/sched.h"

namespace weft::runtime {

namespace {

constexpr int64_t kShortNap_ns = 20'000;           // taken from Go
constexpr int64_t kLongNap_ns = 10'000'000;        // taken from Go: also the slice
constexpr int kNapsBeforeLonger = 50;              // taken from Go
constexpr int64_t kSlice_ns = 10'000'000;          // taken from Go
constexpr int64_t kTimerGrace_ns = 1'000'000;      // Ms see to timers first
constexpr int64_t kIdleBesideBusy_ns = 1'000'000;  // chosen: a connection waits no longer unseen
constexpr int64_t kWatchRings_ns = 100'000;        // a ring that waits for its owner gets so long

// A server that idles between requests must not wake sysmon for each of them.
constexpr int kQuietRounds = 60;

// True: something was taken or asked for.
bool WatchP(P* p, int64_t now) {
  Runtime* rt = Rt();
  // All of it is a moment's truth; the CAS in RetakeFromSyscall decides.
  uint32_t state = p->state.Load(os::kRelaxed<"sysmon.state">);
  if (state == Prunning || state == Psyscall) {
    uint32_t tick = p->schedtick.Load(os::kRelaxed<"sysmon.schedtick">);
    if (p->seen_schedtick != tick) {
      p->seen_schedtick = tick;
      p->seen_sched_when = now;
    } else if (now - p->seen_sched_when >= kSlice_ns) {
      PreemptOne(p);
    }
  }
  if (state != Psyscall) return false;
  uint32_t tick = p->syscalltick.Load(os::kRelaxed<"sysmon.syscalltick">);
  if (p->seen_syscalltick != tick) {
    p->seen_syscalltick = tick;
    p->seen_syscall_when = now;
    return false;
  }
  // Nobody wants it: left with its M, so that it finds it when it comes back; but not for ever,
  // since sysmon cannot sleep beside it.
  bool wanted = !p->runq.Empty() || rt->global_size.Load(os::kRelaxed<"sysmon.global">) != 0 ||
                rt->spinning.Load(os::kRelaxed<"sysmon.spinning">) +
                        rt->idle_p_count.Load(os::kRelaxed<"sysmon.idle">) ==
                    0 ||
                p->timers.first_when.Load(os::kRelaxed<"sysmon.timers">) != 0;
  if (!wanted && now - p->seen_syscall_when < kSlice_ns) return false;
  return RetakeFromSyscall(p);
}

bool AllIdle() {
  Runtime* rt = Rt();
  // A hint; decided under the lock.
  return rt->idle_p_count.Load(os::kRelaxed<"sysmon.idle.peek">) >=
         rt->procs.Load(os::kRelaxed<"sysmon.procs">);
}

// Sleeps until a P is taken from the idle list, if all are there and nobody needs sysmon.
void SleepWhileIdle() {
  Runtime* rt = Rt();
  bool neglected = false;
  {
    LockGuard guard(rt->sched_lock);
    if (!AllIdle() || rt->exiting.Load(os::kRelaxed<"sysmon.exiting.locked">) != 0) return;
    if (rt->poller != nullptr && rt->poller->has_left_ring()) return;
    neglected = IsNeglectedLocked();
    if (!neglected) {
      CheckDeadlockLocked();
      rt->sysmon_note.Clear();
      rt->sysmon_sleeps.Store(1, os::kRelaxed<"sysmon.sleeps">);  // under the lock
    }
  }
  if (neglected) {
    StartM(GetM(), nullptr, false);  // it runs dry, and takes the duty over as it goes to sleep
    return;
  }
  // Idle Ms keep the timers themselves (wake.cc).
  rt->sysmon_note.Sleep();
}

// True: to be called again soon, once. (A busy server's ring waits at every look: not more often
// for that, or sysmon takes a twelfth of its CPU.)
bool Round(int64_t now) {
  Runtime* rt = Rt();
  bool soon = false;
  if (rt->poller != nullptr) {
    GQueue ready = rt->poller->sysmon(now, &soon);
    InjectReady(GetM(), std::move(ready), kBusy);
  }
  int64_t timer = EarliestTimer();
  if (timer != 0 && timer + kTimerGrace_ns < now) StartM(GetM(), nullptr, false);
  return soon;
}

}  // namespace

void WakeSysmonLocked() {
  Runtime* rt = Rt();
  rt->sched_lock.AssertHeld();
  rt->sysmon_sleeps.Store(0, os::kRelaxed<"sysmon.wake">);  // under the lock
  rt->sysmon_note.Wakeup();
}

void SysmonMain(void* arg) {
  M* m = static_cast<M*>(arg);
  Runtime* rt = Rt();
  weft_set_m(m);
  m->curg = &m->g0;
  m->locks = 1;
  int64_t nap = kShortNap_ns;
  int64_t next_nap = nap;
  int idle_rounds = 0;
  int quiet_rounds = 0;
  // Set before sysmon is woken for it.
  while (rt->exiting.Load(os::kAcquire<"sysmon.exiting">) == 0) {
    os::SleepThread(next_nap);
    quiet_rounds = AllIdle() ? quiet_rounds + 1 : 0;
    if (quiet_rounds >= kQuietRounds) {
      SleepWhileIdle();
      nap = next_nap = kShortNap_ns;
      idle_rounds = quiet_rounds = 0;
      continue;
    }
    int64_t now = os::Nanotime();
    const bool look_again = Round(now);
    bool acted = false;
    int32_t procs = rt->procs.Load(os::kAcquire<"sysmon.walk">);  // pairs with ResizeProcs
    for (int32_t i = 0; i < procs; i++) acted |= WatchP(rt->all_ps[i], now);
    idle_rounds = acted ? 0 : idle_rounds + 1;
    if (idle_rounds == 0) {
      nap = kShortNap_ns;
    } else if (idle_rounds > kNapsBeforeLonger) {
      // Beside idle Ps a connection may wait for an owner that computes: looked at more often.
      bool some_idle = rt->idle_p_count.Load(os::kRelaxed<"sysmon.nap">) > 0;
      int64_t longest = some_idle ? kIdleBesideBusy_ns : kLongNap_ns;
      nap = nap * 2 < longest ? nap * 2 : longest;
    }
    next_nap = look_again && nap > kWatchRings_ns ? kWatchRings_ns : nap;
  }
  weft_set_m(nullptr);
  // As in LeaveRuntime.
  rt->live_threads.FetchSub(1, os::kRelease<"sysmon.live">);
  os::FutexWake(rt->live_threads, 1);
}

}  // namespace weft::runtime
