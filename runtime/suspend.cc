// Suspending one goroutine, whatever it does (3f834114).
//
// The problem. A profile, a debugger or a collector must read the stack of a goroutine that others
// run, ready and end meanwhile. Nothing but its status word says who may.
//
// Actors: suspenders, any number, of the same or of each other's goroutines; the goroutine G and
// the M that runs it; readiers of G, who act at any time.
//   1. G does not run (Grunnable, Gwaiting, Gsyscall): the suspender takes the scan bit. Whoever
//      wants to move G waits until ResumeG gives it back.
//   2. G runs: the suspender sets kStopWanted in the word, then poisons stackguard0, and waits. At
//      its next poll G leaves its M (ServePreemption), which, once the registers are saved, takes
//      the word to Gscan|Gpreempted, lets go of G, and takes the scan bit off (PreemptPark).
//   3. A G in Gpreempted is in no queue and nobody readies it. One suspender takes it to Gwaiting
//      (CasGFromPreempted) and has to ready it from then on: `stopped`. Then as 1: another
//      suspender may be faster with the scan bit; the ready then waits for that one too.
//   4. Gdead: there is nothing to suspend. It may be reused at any time.
//   5. G parks, ends, yields or calls Blocking before it polls: the bit makes its CAS fail, and the
//      slow half (status.cc) clears it and tells the suspenders, who look again.
// A request is made once and holds: the bit stands until G leaves Grunning, and the guard that was
// poisoned after it is reset before G becomes Grunning (Execute, RunNext) or by the poll that then
// looks for the bit.
//
// Waiting. A suspender spins briefly, then sleeps on suspend_told, which counts what suspenders
// may wait for (status.h, rule 5). It reads the count before the status word. So either it sees the
// new state, or the count differs from what it read and the kernel does not let it sleep. Who tells
// counts after its change (release; pairs with the acquire of the look), then looks for sleepers;
// they count themselves before they sleep (seq_cst on both sides: one sees the other).
//
// Two that suspend each other. Each waits on its M's system stack with its own goroutine in
// Gwaiting: 1 holds for both, none waits for the other. When its suspending is over, it goes on
// only when nobody holds its scan bit (AsWaiting). Who stops the world waits in the same way, or a
// suspender of it, which holds a P, and the stopper would wait for each other.
//
// A suspender keeps its P while it sleeps: what G waits for outside of the scheduler may be held by
// a goroutine that only this P would run.
//
// Budget: SuspendG and ResumeG of a parked goroutine 3 atomic read-modify-writes, the scan bit on
// and off and the count; 55 ns where a yield takes 49 (bench/micro, "suspend+resume").
#include "runtime/suspend.h"

#include <cstring>

#include "runtime/os/clock.h"
#include "runtime/os/futex.h"
#include "runtime/sanitizer.h"
#include "runtime/sched.h"

namespace weft::runtime {

void TellSuspenders() {
  Runtime* rt = Rt();
  if (rt == nullptr) return;
  // The essay, Waiting. seq_cst as the look that follows, which would do: x86 and arm64 make the
  // same code of acq_rel.
  rt->suspend_told.FetchAdd(1, os::kSeqCst<"suspend.tell">);
  if (rt->suspend_sleepers.Load(os::kSeqCst<"suspend.sleepers">) != 0) {
    os::FutexWake(rt->suspend_told, INT32_MAX);
  }
}

namespace {

// About what a wake costs: a goroutine that polls often stops sooner.
constexpr int kSpins = os::Scaled(20, 1);

// Until something that suspenders wait for has happened since `told` was read, at the latest.
void WaitToBeTold(const M* m, uint32_t told, int round) {
  Runtime* rt = Rt();
  if (round < kSpins) {
    os::SpinWait(round);
    return;
  }
  rt->suspend_sleepers.FetchAdd(1, os::kSeqCst<"suspend.sleep">);
  // What polls by its slot alone may have been missed by AskToStop.
  const bool slots = m->poll_slot.Load(os::kRelaxed<"suspend.slots">) != nullptr;  // its own
  os::FutexWait(rt->suspend_told, told, slots ? kAskAgain_ns : -1);
  // A count too high for a moment costs a wake in vain.
  rt->suspend_sleepers.FetchSub(1, os::kRelaxed<"suspend.awake">);
}

// Asks a G that was seen running. False: it is not any more.
bool AskToStop(const M* m, G* g, uint32_t seen) {
  if (seen == Grunning && !CasGWantStop(g)) return false;
  // Release: the bit comes before; pairs with the poll's exchange (preempt.clear).
  g->stackguard0.Store(kStackPreempt, os::kRelease<"suspend.guard">);
  if (m->poll_slot.Load(os::kRelaxed<"suspend.slot">) != nullptr) PoisonSlotOf(g);  // its own
  return true;
}

}  // namespace

Suspended SuspendG(M* m, G* g) {
  WEFT_CHECK(m->curg == &m->g0 && !g->is_thread);
  bool stopped = false;
  for (int round = 0;;) {
    // Before the status; pairs with TellSuspenders.
    const uint32_t told = Rt()->suspend_told.Load(os::kAcquire<"suspend.look">);
    const uint32_t seen = ReadGStatus(g);
    switch (seen) {
      case Gidle:
      case Gdead:
        return {g, true, false};
      case Gpreempted:
        if (CasGFromPreempted(g)) stopped = true;
        continue;
      case Grunnable:
      case Gwaiting:
      case Gsyscall:
        if (CasToGScanStatus(g, static_cast<GState>(seen))) return {g, false, stopped};
        continue;
      case Grunning:
      case Grunning | kStopWanted:
        if (!AskToStop(m, g, seen)) continue;
        break;
      default:  // somebody else has it
        break;
    }
    WaitToBeTold(m, told, round++);
  }
}

void ResumeG(M* m, const Suspended& suspended) {
  if (suspended.dead) return;
  G* g = suspended.g;
  CasFromGScanStatus(g, static_cast<GState>(StateOf(ReadGStatus(g))));
  if (suspended.stopped) ReadyG(m, g);
}

void PreemptPark(G* g) {
  CasGToPreemptScan(g);
  CasFromGScanStatus(g, Gpreempted);
}

namespace {

struct WaitingCall {
  void (*fn)(M* m, void* arg);
  void* arg;
};

void CallWaiting(void* arg) {
  M* m = static_cast<M*>(arg);
  AfterSwitchTo(m->g0_fake_stack);
  G* g = m->curg;
  auto* call = static_cast<WaitingCall*>(m->park_arg);
  m->curg = &m->g0;
  m->dump_curg.Store(nullptr, os::kRelaxed<"waiting.dump">);  // for dumps
  CasGStatus<Grunning, Gwaiting>(g);
  call->fn(m, call->arg);
  // Waits for who suspended it meanwhile.
  CasGStatus<Gwaiting, Grunning>(g);
  m->curg = g;
  // Who asked meanwhile found no goroutine to ask, only the P.
  if (m->p->preempt.Load(os::kRelaxed<"waiting.preempt">)) {
    g->stackguard0.Store(kStackPreempt, os::kRelaxed<"waiting.guard">);
    PoisonSlot(m);
  }
  // As in Execute: the explorer's were all made before.
  m->dump_curg.Store(g, os::kRelease<"waiting.dump.back">);
  memcpy(m->eh_globals, g->eh_globals, sizeof(g->eh_globals));
  BeforeSwitch(&m->g0_fake_stack, g->stack.lo, g->stack.hi, g->sanitizer_fiber);
  arch::weft_gogo(g->sp, m);
}

}  // namespace

void AsWaiting(M* m, WaitReason reason, void (*fn)(M* m, void* arg), void* arg) {
  WEFT_CHECK(m->locks == 1);
  G* g = m->curg;
  if (g == &m->g0) {
    fn(m, arg);
    return;
  }
  if (m->p == nullptr) Fatal("a goroutine is to stop others inside weft::Blocking");
  WaitingCall call{fn, arg};
  g->wait_reason = reason;
  m->park_arg = &call;
  Mcall(m, g, CallWaiting);
}

bool LookAt(M* m, G* g, void (*look)(G* g, void* arg), void* arg) {
  struct Call {
    G* g;
    void (*look)(G* g, void* arg);
    void* arg;
    bool dead;
  } call{g, look, arg, false};
  AsWaiting(
      m, WaitReason::kSuspend,
      [](M* self, void* p) {
        Call& c = *static_cast<Call*>(p);
        const Suspended suspended = SuspendG(self, c.g);
        c.dead = suspended.dead;
        if (!c.dead) c.look(c.g, c.arg);
        ResumeG(self, suspended);
      },
      &call);
  return !call.dead;
}

}  // namespace weft::runtime
