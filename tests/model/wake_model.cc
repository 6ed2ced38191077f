// Going to sleep against work that appears: one M that searches, others that queue, without the
// rest of the scheduler.
#include "runtime/os/clock.h"
#include "runtime/sched.h"
#include "tests/model/model.h"
#include "tests/model/world.h"

namespace weft::model {
namespace {

using runtime::G;
using runtime::M;
using runtime::Rt;

void MakeRunnable(G* g) {
  runtime::CasGStatus<runtime::Gdead, runtime::Grunnable>(g);
}

// Queues one goroutine as one that runs here does, and computes from then on.
void Submit(int proc, G* g) {
  M* m = BeM(proc, proc);
  MakeRunnable(g);
  runtime::PushNext(m->p, g);
  runtime::WakeP();
}

G* FindWork(int proc, bool searcher) {
  M* m = BeM(proc, proc);
  if (searcher) {
    m->spinning = true;
    Rt()->spinning.FetchAdd(1, os::kSeqCst<"test.searcher">);
  }
  bool inherits = false;
  return runtime::FindRunnable(m, &inherits);
}

// As Schedule does, before it runs what was found.
void StopSearching() {
  if (M* m = runtime::GetM(); m->spinning) runtime::StopSpinning(m);
}

// The last searcher goes to sleep as work appears: it finds it, or is woken.
MODEL(wake_last_searcher) {
  BareRuntime bare(2);
  G* g = bare.goroutine(0);
  Spawn("searcher", [g] { Check(FindWork(0, true) == g, "it finds the work"); });
  Spawn("submitter", [g] { Submit(1, g); });
  Join();
}

// One that is no searcher sleeps beside the last searcher (wake.cc, the last look).
MODEL(wake_sleeper_that_did_not_search) {
  BareRuntime bare(2);
  G* g = bare.goroutine(0);
  Spawn("dry", [g] { Check(FindWork(0, false) == g, "it finds the work"); });
  Spawn("submitter", [g] { Submit(1, g); });
  Join();
}

// From a thread, through the global queue.
MODEL(wake_from_outside) {
  BareRuntime bare(1);
  G* g = bare.goroutine(0);
  Spawn("searcher", [g] { Check(FindWork(0, true) == g, "it finds the work"); });
  Spawn("thread", [g] {
    MakeRunnable(g);
    runtime::PushGlobal(g);
    runtime::FenceAndWakeP();
  });
  Join();
}

// One that was to go next makes room for another: both are found, by a thief that then runs what it
// found, and by one that goes to sleep.
void KickBeside(bool looker_searches) {
  BareRuntime bare(3);
  G* g = bare.goroutine(0);
  G* h = bare.goroutine(1);
  Spawn("submitter", [g, h] {
    Submit(0, g);
    MakeRunnable(h);
    runtime::PushNext(runtime::GetM()->p, h);
    runtime::WakeP();
  });
  Spawn("thief", [] {
    FindWork(1, true);
    StopSearching();
  });
  Spawn("looker", [looker_searches] {
    FindWork(2, looker_searches);
    StopSearching();
  });
  Join();
}
MODEL(wake_kicked, kOneBudget) {
  KickBeside(true);
}
// Who goes to sleep is no searcher: who searches relies on it all the same.
MODEL(wake_kicked_dry, kOneBudget) {
  KickBeside(false);
}

// A timer is added as the last M goes to sleep: it sleeps no longer than that.
MODEL(wake_for_timer) {
  BareRuntime bare(2);
  G* g = bare.goroutine(0);
  MakeRunnable(g);
  runtime::CasGStatus<runtime::Grunnable, runtime::Grunning>(g);
  runtime::CasGStatus<runtime::Grunning, runtime::Gwaiting>(g);
  runtime::Timer timer;
  Spawn("sleeper", [g] { Check(FindWork(0, false) == g, "the timer readies it"); });
  Spawn("adder", [g, &timer] {
    BeM(1, 1);
    runtime::AddTimer(
        &timer, os::Nanotime() + 10'000, 0,
        [](void* arg, uintptr_t) { runtime::ReadyG(runtime::GetM(), static_cast<G*>(arg)); }, g, 0);
  });
  Join();
}

// What a call that blocks had with it goes on: the P is taken by sysmon, or by who comes back.
MODEL(wake_hand_off) {
  BareRuntime bare(2);
  G* g = bare.goroutine(0);
  // A P in Blocking, with work.
  Spawn("sysmon", [g] {
    MakeRunnable(g);
    runtime::P* p = Rt()->all_ps[1];
    runtime::GQueue overflow;
    p->runq.Push(g, &overflow);
    p->state.Store(runtime::Psyscall, os::kRelease<"test.syscall">);
    Check(runtime::RetakeFromSyscall(p), "it is there to be taken");
  });
  Spawn("searcher", [g] { Check(FindWork(0, true) == g, "it finds the work"); });
  Join();
}

// A P without work is handed off beside a searcher, which finds something and searches no more:
// nothing is left queued beside an idle P that nobody looks for.
MODEL(wake_hand_off_beside_work) {
  BareRuntime bare(3);
  G* g = bare.goroutine(0);
  Rt()->all_ps[2]->state.Store(runtime::Psyscall, os::kRelaxed<"test.syscall.idle">);
  Rt()->spinning.Store(1, os::kRelaxed<"test.searches">);
  Spawn("sysmon", [] { runtime::RetakeFromSyscall(Rt()->all_ps[2]); });
  Spawn("searcher", [] {
    BeM(0, 0)->spinning = true;
    StopSearching();
  });
  Spawn("submitter", [g] { Submit(1, g); });
  Join();
  Check(Rt()->spinning.Load(os::kRelaxed<"test.searches.look">) > 0 ||
            Rt()->idle_p_count.Load(os::kRelaxed<"test.idle">) == 0,
        "no P is idle beside work");
}

// sysmon takes the P of a call that is about to return; another P is idle.
MODEL(blocking_return_against_retake) {
  BareRuntime bare(2);
  Spawn("caller", [] {
    BeGoroutine(0, 0);
    internal::EnterBlocking();
    internal::ExitBlocking();
    Check(runtime::GetM()->p != nullptr, "it has a P again");
  });
  Spawn("sysmon", [] {
    {
      runtime::LockGuard guard(Rt()->sched_lock);
      runtime::PushIdlePLocked(Rt()->all_ps[1]);
    }
    runtime::RetakeFromSyscall(Rt()->all_ps[0]);
  });
  Join();
}

// The world stops as a goroutine goes into a call: one of the two counts its P.
MODEL(world_stop_against_call) {
  BareRuntime bare(2);
  Spawn("stopper", [] {
    M* m = BeM(0, 0);
    runtime::StopTheWorld(m, runtime::StopReason::kResize);
    Check(Rt()->all_ps[1]->state.Load(os::kRelaxed<"test.state">) == runtime::Pgcstop, "it stands");
  });
  Spawn("caller", [] {
    BeGoroutine(1, 1);
    internal::EnterBlocking();
  });
  Join();
}

}  // namespace
}  // namespace weft::model
