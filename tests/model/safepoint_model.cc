// A function for each P, wherever the P is: running, in a call, on its way in or out (f0dd0028).
#include "runtime/sched.h"
#include "runtime/suspend.h"
#include "tests/model/model.h"
#include "tests/model/world.h"

namespace weft::model {
namespace {

using runtime::M;
using runtime::P;
using runtime::Rt;

struct Runs {
  os::Plain<int> of[4] = {0, 0, 0, 0};

  static void Count(P* p, void* runs) {
    os::Plain<int>& n = static_cast<Runs*>(runs)->of[p->id];
    n = n + 1;
  }
  void CheckAll(int procs) {
    for (int i = 0; i < procs; i++) Check(of[i] == 1, "each has run it once");
  }
};

// A runtime that starts no Ms: somebody searches.
struct World {
  BareRuntime bare{2};
  Runs runs;
  os::Atomic<int> returned{0};

  World() { Rt()->spinning.Store(1, os::kRelaxed<"test.searches">); }
  void Call() {
    runtime::ForEachP(BeM(0, 0), Runs::Count, &runs);
    runs.CheckAll(2);
    returned.Store(1, os::kRelaxed<"test.returned">);
  }
};

// As an M that computes on its P and comes to the scheduler now and then.
void ComeToTheScheduler(World& w) {
  P* p = Rt()->all_ps[1];
  while (w.returned.Load(os::kRelaxed<"test.returned.look">) == 0) {
    runtime::RunSafePoint(p);
    SpinPause();
  }
}

MODEL(safe_point_running) {
  World w;
  Spawn("caller", [&w] { w.Call(); });
  Spawn("other", [&w] {
    BeM(1, 1);
    ComeToTheScheduler(w);
  });
  Join();
}

// The last one goes to sleep: it runs the function, or the caller does.
MODEL(safe_point_goes_idle) {
  World w;
  Spawn("caller", [&w] { w.Call(); });
  Spawn("other", [] {
    M* m = BeM(1, 1);
    runtime::HandOffP(m, runtime::ReleaseP(m));
  });
  Join();
}

MODEL(safe_point_against_call) {
  World w;
  Spawn("caller", [&w] { w.Call(); });
  Spawn("other", [] {
    BeGoroutine(1, 1);
    internal::EnterBlocking();
  });
  Join();
}

// It comes back before the caller has taken its P, or finds it gone.
MODEL(safe_point_against_return) {
  World w;
  Spawn("caller", [&w] { w.Call(); });
  Spawn("other", [&w] {
    BeGoroutine(1, 1);
    internal::EnterBlocking();
    P* p = Rt()->all_ps[1];
    uint32_t in_syscall = runtime::Psyscall;
    // As ExitBlocking, which would go on to another P.
    if (!p->state.CompareExchange(in_syscall, runtime::Prunning, os::kAcqRel<"test.return">))
      return;
    ComeToTheScheduler(w);
  });
  Join();
}

// sysmon takes the P from the call meanwhile.
MODEL(safe_point_against_retake) {
  World w;
  Rt()->all_ps[1]->state.Store(runtime::Psyscall, os::kRelaxed<"test.call">);
  Spawn("caller", [&w] { w.Call(); });
  Spawn("sysmon", [] { runtime::RetakeFromSyscall(Rt()->all_ps[1]); });
  Join();
}

// The race of f0dd0028: M1 has seen that the world was to stop, and looks again when M2 has brought
// its P back into the same state, for a call of its own.
MODEL(safe_point_after_a_stop, kOneBudget) {
  World w;
  Spawn("caller", [&w] {
    M* m = BeM(0, 0);
    runtime::StopTheWorld(m, runtime::StopReason::kResize);
    runtime::StartTheWorld(m, 2);
    runtime::ForEachP(m, Runs::Count, &w.runs);
    w.runs.CheckAll(2);
    Check(Rt()->all_ps[1]->state.Load(os::kRelaxed<"test.state">) != runtime::Pgcstop, "it runs");
  });
  Spawn("M1", [] {
    BeGoroutine(1, 1);
    internal::EnterBlocking();
  });
  Spawn("M2", [] {
    // Back from a call, without a P.
    P* p = nullptr;
    for (;;) {
      {
        runtime::LockGuard guard(Rt()->sched_lock);
        p = runtime::PopIdlePLocked();
      }
      if (p != nullptr) break;
      SpinPause();
    }
    BeGoroutine(2, p->id);
    internal::EnterBlocking();
  });
  Join();
}

}  // namespace
}  // namespace weft::model
