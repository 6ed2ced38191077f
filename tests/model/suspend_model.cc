// Suspending a goroutine: against all that it and others may do meanwhile (3f834114).
#include "runtime/sched.h"
#include "runtime/suspend.h"
#include "tests/model/model.h"
#include "tests/model/world.h"

namespace weft::model {
namespace {

using runtime::CasGStatus;
using runtime::G;
using runtime::Gdead;
using runtime::Grunnable;
using runtime::Grunning;
using runtime::Gwaiting;
using runtime::M;
using runtime::ReadGStatus;
using runtime::Suspended;

// A goroutine without a thread of its own: who stands for its M moves it.
struct Target {
  BareRuntime bare{3};
  G* g = bare.goroutine(2);
  os::Plain<int> stack = 0;  // belongs to whoever the status says
  os::Plain<int> looks = 0;

  Target() { CasGStatus<Gdead, Grunnable>(g); }
  void Run() { CasGStatus<Grunnable, Grunning>(g); }
  void Touch() { stack = stack + 1; }
};

// As an M that has nothing else to do.
Suspended Look(Target& t, int m) {
  M* self = BeM(m, m);
  const Suspended s = runtime::SuspendG(self, t.g);
  if (!s.dead) {
    t.Touch();
    t.looks = t.looks + 1;
  }
  runtime::ResumeG(self, s);
  return s;
}

// Until somebody asks.
void StopWhenAsked(Target& t) {
  while (t.g->stackguard0.Load(os::kRelaxed<"test.poll">) != runtime::kStackPreempt) SpinPause();
  t.Touch();
  runtime::PreemptPark(t.g);
}

// It waits, is readied and run again.
MODEL(suspend_parked) {
  Target t;
  t.Run();
  CasGStatus<Grunning, Gwaiting>(t.g);
  Spawn("suspender", [&t] { Check(!Look(t, 0).stopped, "it did not stop it"); });
  Spawn("itself", [&t] {
    CasGStatus<Gwaiting, Grunnable>(t.g);
    t.Run();
    t.Touch();
    CasGStatus<Grunning, Gwaiting>(t.g);
  });
  Join();
  Check(t.stack == 2 && ReadGStatus(t.g) == Gwaiting, "it ran and was looked at");
}

MODEL(suspend_running) {
  Target t;
  t.Run();
  Spawn("suspender", [&t] { Check(Look(t, 0).stopped, "it stopped it"); });
  Spawn("itself", [&t] { StopWhenAsked(t); });
  Join();
  Check(t.stack == 2 && ReadGStatus(t.g) == Grunnable, "readied by who stopped it");
}

// One of them has to ready it, the other only looks; in whatever order.
MODEL(suspend_two_suspenders, kOneBudget) {
  Target t;
  t.Run();
  os::Plain<int> stopped[2] = {0, 0};
  Spawn("suspender1", [&] { stopped[0] = Look(t, 0).stopped; });
  Spawn("suspender2", [&] { stopped[1] = Look(t, 1).stopped; });
  Spawn("itself", [&t] { StopWhenAsked(t); });
  Join();
  Check(stopped[0] + stopped[1] == 1 && t.looks == 2, "one claims it, both have looked");
  Check(ReadGStatus(t.g) == Grunnable, "it can go on");
}

// It parks in place of a poll: the request must not keep it, nor its suspender wait for ever.
MODEL(suspend_against_park) {
  Target t;
  t.Run();
  Spawn("suspender", [&t] { Check(!Look(t, 0).stopped, "it parked by itself"); });
  Spawn("itself", [&t] {
    t.Touch();
    CasGStatus<Grunning, Gwaiting>(t.g);
  });
  Spawn("readier", [&t] {
    while (runtime::StateOf(ReadGStatus(t.g)) != Gwaiting) SpinPause();
    CasGStatus<Gwaiting, Grunnable>(t.g);
  });
  Join();
  Check(t.stack == 2 && ReadGStatus(t.g) == Grunnable, "looked at, and readied");
}

// It parks and is run again, then polls: the first request or a second finds it.
MODEL(suspend_runs_again) {
  Target t;
  t.Run();
  Spawn("suspender", [&t] { Look(t, 0); });
  Spawn("itself", [&t] {
    CasGStatus<Grunning, Gwaiting>(t.g);
    CasGStatus<Gwaiting, Grunnable>(t.g);
    t.g->stackguard0.Store(0, os::kRelaxed<"test.guard">);  // as Execute does
    t.Run();
    while (t.looks == 0) {
      if (t.g->stackguard0.Load(os::kRelaxed<"test.poll.again">) == runtime::kStackPreempt) {
        runtime::PreemptPark(t.g);
        return;
      }
      SpinPause();
    }
  });
  Join();
  Check(t.looks == 1, "looked at");
}

// Somebody else holds the scan bit, as a dump does: the suspender is told when it is given back.
MODEL(suspend_against_scan) {
  Target t;
  Spawn("suspender", [&t] { Check(!Look(t, 0).stopped, "it did not run"); });
  Spawn("scanner", [&t] {
    while (!runtime::CasToGScanStatus(t.g, Grunnable)) SpinPause();
    t.Touch();
    runtime::CasFromGScanStatus(t.g, Grunnable);
  });
  Join();
  Check(t.stack == 2, "both have looked");
}

// So does who gives stack pages back.
MODEL(suspend_against_shrink) {
  Target t;
  Spawn("suspender", [&t] { Check(!Look(t, 0).stopped, "it did not run"); });
  Spawn("shrinker", [&t] {
    Check(runtime::CasGCopyStack(t.g) == Grunnable, "it is queued");
    t.Touch();
    CasGStatus<runtime::Gcopystack, Grunnable>(t.g);
  });
  Join();
  Check(t.stack == 2, "both have looked");
}

MODEL(suspend_against_exit) {
  Target t;
  t.Run();
  Spawn("suspender", [&t] { Check(Look(t, 0).dead, "there was nothing to suspend"); });
  Spawn("itself", [&t] { CasGStatus<Grunning, Gdead>(t.g); });
  Join();
  Check(t.looks == 0 && ReadGStatus(t.g) == Gdead, "it ended");
}

// Its struct is used again for another goroutine.
MODEL(suspend_reused) {
  Target t;
  t.Run();
  Spawn("suspender", [&t] { Check(!Look(t, 0).stopped, "it never polled"); });
  Spawn("itself", [&t] {
    CasGStatus<Grunning, Gdead>(t.g);
    CasGStatus<Gdead, Grunnable>(t.g);
  });
  Join();
  Check(ReadGStatus(t.g) == Grunnable, "it can run");
}

// ---- With the scheduler. ----

// One that computes, with polls, leaves its P to whoever is queued, and goes on afterwards.
MODEL(suspend_go_running, kOneBudget) {
  Scheduler scheduler(2);
  os::Atomic<G*> target(nullptr);
  os::Atomic<int> looked(0);
  scheduler.Go([&] {
    target.Store(runtime::GetM()->curg, os::kRelease<"test.target">);
    while (looked.Load(os::kRelaxed<"test.looked.look">) == 0) {
      runtime::Entry poll;
      SpinPause();
    }
  });
  scheduler.Go([&] {
    G* g = nullptr;
    while ((g = target.Load(os::kAcquire<"test.target.look">)) == nullptr) SpinPause();
    runtime::Entry entry;
    runtime::LookAt(
        entry.m(), g,
        [](G*, void* p) {
          static_cast<os::Atomic<int>*>(p)->Store(1, os::kRelaxed<"test.looked">);
        },
        &looked);
  });
  scheduler.Run();
}

// Two suspend each other, at once.
MODEL(suspend_each_other, kOneBudget) {
  Scheduler scheduler(2);
  struct Pair {
    os::Atomic<G*> g[2] = {os::Atomic<G*>(nullptr), os::Atomic<G*>(nullptr)};
  } pair;
  const auto suspend = [&pair](int self) {
    pair.g[self].Store(runtime::GetM()->curg, os::kRelease<"test.self">);
    G* other = nullptr;
    while ((other = pair.g[1 - self].Load(os::kAcquire<"test.other">)) == nullptr) SpinPause();
    runtime::Entry entry;
    runtime::LookAt(
        entry.m(), other, [](G*, void*) {}, nullptr);
  };
  scheduler.Go([&] { suspend(0); });
  scheduler.Go([&] { suspend(1); });
  scheduler.Run();
}

}  // namespace
}  // namespace weft::model
